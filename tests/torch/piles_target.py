# SPDX-License-Identifier: Apache-2.0
"""Programs with PyTorch in which few large tensors pile up, and such that are well.

Each line of input is the name of one: a child becomes it, and the one before it
ends. Prints "READY PID" once it can be asked, and "AT NAME PID" of each child."""

import collections
import copy
import gc
import os
import signal
import sys

import torch
from torch import nn

MIB = 1 << 20
WIDTH = 512

RESULTS, LOSSES, ROWS, CHECKPOINTS = [], [], [], []
CACHE, SESSIONS, STATE, WEIGHTS, FEATURES = {}, {}, {}, {}, {}
RECENT = collections.deque(maxlen=100)
STRAY = SERVER = None


def full(mib, device="cpu"):
    return torch.ones(mib * MIB // 4, device=device)


def make_model(layers, width=WIDTH):
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)])


class Object:
    """Has what it is given."""


class Session:
    def __init__(self):
        self.past = [(full(2), full(2)) for _ in range(8)]


# --- few that pile up


def leak_three():
    RESULTS.extend(full(50) for _ in range(3))


def leak_on_device():
    keep = make_model(2).cuda()
    RESULTS.extend(full(20, "cuda:0") for _ in range(3))
    return keep


def leak_stray():
    global STRAY
    STRAY = full(200)


def leak_one_view():
    global STRAY
    STRAY = full(200)[:10]


def leak_views():
    """Each was meant to be all that is left of what it was taken from."""
    for _ in range(6):
        ROWS.append(full(25)[:10])


def leak_many_views():
    for _ in range(150):
        ROWS.append(full(1)[:10])


def leak_key_values():
    for i in range(4):
        CACHE["session-%d" % i] = [(full(2), full(2)) for _ in range(8)]


def leak_sessions():
    for i in range(4):
        SESSIONS[i] = Session()


def leak_server():
    """A program whose main() has all there is."""
    server = Object()
    server.sessions = {i: {"key": full(5), "value": full(5)}
                       for i in range(12)}
    return server


def leak_predictions():
    predictions = [full(7) for _ in range(20)]
    return predictions


def leak_losses():
    model = make_model(4)
    for _ in range(5):
        loss = model(torch.ones(3000, WIDTH)).relu().exp().mean()
        LOSSES.append({"loss": loss, "rows": 3000})


def leak_hooked():
    """Of each of four passes the results of all layers."""
    model = make_model(5)
    for layer in model:
        layer.register_forward_hook(
            lambda module, args, output: RESULTS.append(output))
    for _ in range(4):
        model(torch.ones(4000, WIDTH))


def leak_checkpoints():
    model = make_model(60)
    for _ in range(4):
        CHECKPOINTS.append(copy.deepcopy(model.state_dict()))
    return model


def leak_deque():
    for _ in range(20):
        RECENT.append(full(7))


# --- programs that are well


def well_full_deque():
    for _ in range(60):
        RECENT.append(full(3))


def well_average():
    """One tensor for each parameter."""
    model = make_model(120)
    STATE.update((name, one.detach().clone())
                 for name, one in model.named_parameters())
    return model


def well_moments():
    """An optimizer of one's own has two."""
    model = make_model(60)
    for i, one in enumerate(model.parameters()):
        STATE[i] = {"mean": torch.ones_like(one),
                    "square": torch.ones_like(one)}
    return model


def well_best():
    """What was best so far, by a list that is as long as the model's."""
    model = make_model(8, 1024)
    RESULTS.extend(one.detach().clone() for one in model.parameters())
    return model


class Server:
    """Its pool of keys and values is laid out in advance, by layer."""

    def __init__(self, layers):
        self.model = nn.ModuleList(nn.Linear(64, 64) for _ in range(layers))
        self.pool = [full(2) for _ in range(layers)]
        self.both = [full(1) for _ in range(2 * layers)]


def well_server():
    global SERVER
    SERVER = Server(28)


def well_weights():
    """A model that is a dict of tensors."""
    for i in range(80):
        WEIGHTS["layers.%d.weight" % i] = full(2)
        WEIGHTS["layers.%d.bias" % i] = torch.ones(WIDTH)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = make_model(24)
        self.table = full(200)

    def forward(self, x):
        hidden = []
        for layer in self.layers:
            x = layer(x)
            hidden.append(x)
        wait("well_forward")
        return hidden


def well_forward():
    with torch.no_grad():
        return Encoder()(torch.ones(4096, WIDTH))


def well_generation():
    """Keys and values of one text that is being made."""
    past = [(full(3), full(3)) for _ in range(24)]
    return past


def well_features():
    """What hooks keep of one pass: it has one graph."""
    model = nn.Sequential(*[m for _ in range(20)
                            for m in (nn.Linear(WIDTH, WIDTH), nn.Tanh())])
    for i, layer in enumerate(model):
        layer.register_forward_hook(
            lambda module, args, output, i=i:
                FEATURES.__setitem__(i, output))
    model(torch.ones(2000, WIDTH))
    return model


def well_variables():
    """Of a module, which are not a pile for being in one dict."""
    for name in "inputs", "targets", "mask":
        globals()[name] = full(40)


def well_training():
    model = make_model(6)
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(3):
        hidden = [torch.ones(6000, WIDTH)]
        for layer in model:
            hidden.append(layer(hidden[-1]).relu())
        loss = hidden[-1].mean()
        optimizer.zero_grad()
        if step < 2:
            loss.backward()
            optimizer.step()
    return model, optimizer, hidden, loss


def well_data():
    data = torch.utils.data.TensorDataset(full(150).view(-1, 256))
    loader = torch.utils.data.DataLoader(data, batch_size=64, num_workers=2)
    batches = iter(loader)
    return data, batches, next(batches)


# --- the children


def wait(name):
    print("AT %s %d" % (name, os.getpid()), flush=True)
    while True:
        signal.pause()


def become(name):
    kept = globals()[name]()
    gc.collect()
    wait(name)
    return kept


def main():
    torch.set_num_threads(1)
    print("READY %d" % os.getpid(), flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(line.strip())
        # The one that asks is done with it.
        sys.stdin.readline()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
