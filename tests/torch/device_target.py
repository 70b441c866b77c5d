# SPDX-License-Identifier: Apache-2.0
"""Three programs for test_device.py, of which one is well: a training step with its
model, optimizer, batch and activations. Another one keeps tensors in each way that
matters, and tells of each what it keeps: a child lets go of it, and asks PyTorch's
allocator how much is still allocated. The third does the same of sums that losses
are added to, step by step."""

import gc
import json
import os
import sys

import torch
from torch import nn

KIB = 1 << 10
WIDTH = 256
SUM_STEPS = 40


class Doubled(torch.autograd.Function):
    """A function in Python, which saves what it is given and more."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x, x > 0)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        x, mask = ctx.saved_tensors
        return gradient * 2 * mask


def written(tensor):
    """In the process, memory that was never touched takes nothing."""
    return tensor.fill_(1) if tensor.device.type == "cpu" else tensor


def empty(size, device="cuda:0", dtype=torch.float32):
    return written(torch.empty(
        size * KIB // torch.empty(0, dtype=dtype).element_size(),
        dtype=dtype, device=device))


def make_model(layers=3, device="cuda:0"):
    return nn.Sequential(*[nn.Linear(WIDTH, WIDTH)
                           for _ in range(layers)]).to(device)


def batch(rows=512, device="cuda:0"):
    return written(torch.empty(rows, WIDTH, device=device))


class Keeper:
    """Each attribute is all that refers to what is in it."""


def fill(keep):
    model = make_model()
    keep.optimizer = torch.optim.Adam(model.parameters())
    model(batch()).sum().backward()
    keep.optimizer.step()
    # Graphs, with and without results on the way that Python had a name for.
    keep.losses = []
    for _ in range(6):
        hidden = Doubled.apply(torch.relu(model(batch())))
        keep.losses.append((hidden * hidden).sum())
    # Results of one graph, which lives by neither.
    out = model(batch(1024)).exp()
    keep.shared_graph = {"sum": out.sum(), "max": out.max()}
    keep.running = 0
    for _ in range(6):
        keep.running = keep.running + model(batch(768)).tanh().sum()
    del out, hidden
    # One storage, by several tensors, in one place and in two.
    both = empty(1000)
    keep.views = [both[:1000], both[1000:]]
    both = empty(2000)
    keep.first, keep.second = both[1:], both.view(-1, 512)
    both = empty(500)
    keep.storage = (both.untyped_storage() if hasattr(both, "untyped_storage")
                    else both.storage())
    keep.of_storage = both.detach()
    del both
    keep.nested = {"a": [{"b": (empty(300), empty(100, dtype=torch.int8))}]}
    keep.plain = [empty(20) for _ in range(120)]
    keep.other = [empty(700, "cuda:1")]
    leaf = empty(400).requires_grad_()
    leaf.grad = empty(400)
    keep.leaf = leaf
    # Held by the graph of a result, and by name.
    named = empty(600).requires_grad_().exp()
    keep.by_graph, keep.by_name = named.exp(), named
    keep.model = model
    # In the process: pageable, and of arrays.
    keep.host = [empty(600, "cpu"), empty(200, "cpu")[:7]]
    keep.host_losses = []
    host_model = make_model(2, "cpu")
    for _ in range(5):
        keep.host_losses.append(host_model(batch(2048, "cpu")).exp().sum())


def allocated():
    """By tensors, as they asked for it; 1.13 does not know that."""
    total = 0
    for i in range(2):
        # Not torch.cuda's: that says nothing in a child.
        stats = torch._C._cuda_memoryStats(i)
        total += stats.get("requested_bytes",
                           stats["allocated_bytes"])["all"]["current"]
    return total


def in_child(work):
    """What work returns, done by a child."""
    into, out = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(out, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(out)
    with os.fdopen(into) as file:
        said = file.read()
    os.waitpid(child, 0)
    return json.loads(said)


def freed(keep, name):
    def work():
        gc.collect()
        before = allocated()
        delattr(keep, name)
        gc.collect()
        return before - allocated()

    return in_child(work)


class Meter:
    """As many programs have one: it adds up what it is given."""

    def __init__(self):
        self.sum, self.count, self.avg = 0, 0, 0

    def update(self, value, count):
        self.sum += value * count
        self.count += count
        self.avg = self.sum / self.count


def batches(model, device, steps):
    """Losses of an evaluation that forgot torch.no_grad()."""
    for step in range(steps):
        rows = 192 + step % 3 * 64      # no two steps in a row are alike
        yield torch.relu(model(batch(rows, device))).exp().mean()


def add_up(keep):
    keep.total = torch.zeros((), device="cuda:0")
    for loss in batches(make_model(), "cuda:0", SUM_STEPS):
        keep.total += loss
    keep.meter = Meter()
    for loss in batches(make_model(device="cuda:1"), "cuda:1", SUM_STEPS):
        keep.meter.update(loss, 64)
    # After backward() nothing is saved, and all nodes are still there.
    weight = torch.ones((), requires_grad=True)
    keep.trained = 0
    for _ in range(300):
        loss = weight
        for _ in range(500):
            loss = loss + 1
        loss.backward()
        keep.trained = keep.trained + loss


def sums():
    keep = Keeper()
    add_up(keep)
    gc.collect()
    told = {name: freed(keep, name) for name in vars(keep)}
    print("SUMS " + json.dumps(told), flush=True)
    wait("SUMMING")


def fail():
    """A step that did not get to its end, with what it had computed."""
    hidden = [batch(4096) for _ in range(6)]
    raise ValueError("no finite loss in %d layers" % len(hidden))


def errors():
    """An exception that was handled long ago, and is kept."""
    keep = Keeper()
    try:
        fail()
    except ValueError as error:
        keep.error = error
    gc.collect()
    print("ERRORS " + json.dumps(freed(keep, "error")), flush=True)
    wait("FAILED")


def in_flight():
    """Graphs that are as long as a sum's, and are no sum's."""
    # A recurrent network, whose losses are added up.
    cell, head = nn.GRUCell(64, 64).cuda(), nn.Linear(64, 64).cuda()
    state, total = torch.zeros(8, 64, device="cuda:0"), 0
    for _ in range(300):
        state = cell(torch.empty(8, 64, device="cuda:0"), state)
        total = total + head(state).exp().mean()
    # One that is linear, with gates that depend on the input alone.
    gate, linear = nn.Linear(64, 64).cuda(), torch.zeros(8, 64, device="cuda:0")
    for _ in range(100):
        x = torch.empty(8, 64, device="cuda:0")
        linear = linear * torch.sigmoid(gate(x)) + gate(x).tanh()
    # Deep ones, with something around each layer, and without.
    residual = plain = batch(64)
    layers = make_model(60)
    for layer in layers:
        residual = residual + torch.relu(layer(residual))
        plain = layer(plain)
    # Terms of one loss, and a batch that is looked at one by one.
    terms = sum(layers[0](plain)[:, i].mean() for i in range(200))
    samples = sum(layers[1](batch(256)).exp().mean() for _ in range(16))
    return total, linear.sum(), residual.sum(), terms, samples


def healthy():
    """Within a step: what belongs to it, and a cache of what was computed."""
    # Each by a name: in one tuple they would be a pile.
    total, linear, residual, terms, samples = in_flight()
    model = make_model(8)
    optimizer = torch.optim.Adam(model.parameters())
    history, cache = [], {}
    for step in range(5):
        x = batch(2048)
        hidden = [x]
        for layer in model:
            hidden.append(torch.relu(layer(hidden[-1])))
        losses = {"a": hidden[-1].sum(), "b": hidden[-2].mean(),
                  "c": hidden[-3].norm(), "d": hidden[-4].exp().sum()}
        loss = sum(losses.values())
        if step < 4:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    with torch.no_grad():
        cache["layers"] = [(batch(256), batch(256)) for _ in range(12)]
    # Nor is an exception that is being handled one that is kept.
    try:
        fail()
    except ValueError:
        wait("HEALTHY")
    del total, linear, residual, terms, samples


def wait(word):
    print("%s %d" % (word, os.getpid()), flush=True)
    sys.stdin.readline()


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    for program in healthy, sums, errors:
        if os.fork() == 0:
            program()
            os._exit(0)
    keep = Keeper()
    fill(keep)
    gc.collect()
    told = {"version": torch.__version__, "allocated": allocated(), "kept": {}}
    for name in sorted(vars(keep)):
        told["kept"][name] = {"id": id(getattr(keep, name)),
                              "freed": freed(keep, name)}
    told["host"] = {"host": 800 * KIB,
                    # exp() saves its result, and each layer what it is given;
                    # nobody but the graphs has the model any more.
                    "host_losses": 5 * 3 * 2048 * WIDTH * 4 + 5 * 4 +
                    2 * (WIDTH * WIDTH + WIDTH) * 4}
    print("KEPT " + json.dumps(told), flush=True)
    wait("READY")


if __name__ == "__main__":
    main()
