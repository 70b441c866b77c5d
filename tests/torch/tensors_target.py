# SPDX-License-Identifier: Apache-2.0
"""A training loop on the CPU with PyTorch, and tensors of other kinds, for
test_tensors.py: prints every tensor that gc.get_objects() and what it holds lead
to, as torch itself tells it, and waits."""

import gc
import json
import os
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Samples(Dataset):
    def __init__(self):
        self.x = torch.randn(512, 64)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], i % 10


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(64, 256)
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.norm = nn.BatchNorm1d(256)
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        x = self.embed(x).unsqueeze(1)
        return self.head(self.norm(self.encoder(x).squeeze(1)))


class Own(torch.Tensor):
    """A subclass with attributes."""


def others():
    """Tensors of each kind, by a name."""
    kinds = {
        "shared": torch.zeros(1 << 18).share_memory_(),
        "scalar": torch.tensor(1.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "dimensions": torch.zeros(2, 1, 3, 1, 2, 1, 2, dtype=torch.int16),
        "leaf": torch.ones(7, 11, requires_grad=True),
        "own": torch.ones(33).as_subclass(Own),
        "sparse": torch.eye(9).to_sparse(),
        "meta": torch.empty(1 << 20, 1 << 20, device="meta"),
        "large": torch.full((1 << 21,), 3, dtype=torch.uint8),
    }
    for name in ("bool", "int8", "int32", "float16", "bfloat16", "complex64",
                 "float8_e5m2", "uint16", "uint64"):
        if hasattr(torch, name):
            kinds[name] = torch.zeros(5, 4).to(getattr(torch, name))
    large = kinds["large"]
    kinds["view"] = large[1024:].view(-1, 1024).t()
    kinds["strided"] = large[7::3]
    kinds["expanded"] = kinds["scalar"].expand(4, 5)
    kinds["own"].note = "kept"
    try:
        import numpy
        kinds["numpy"] = torch.from_numpy(numpy.arange(777, dtype="int64"))
    except (ImportError, RuntimeError):
        pass            # torch was built for another numpy
    return kinds


def all_tensors(kinds):
    found = {}

    def look(thing):
        if isinstance(thing, torch.Tensor):
            found.setdefault(id(thing), thing)

    for thing in gc.get_objects():
        if type(thing) in (dict, list, tuple) or isinstance(thing, dict):
            try:
                for value in list(thing.values() if isinstance(thing, dict)
                                  else thing):
                    if issubclass(type(value), torch.Tensor):
                        look(value)
            except RuntimeError:
                pass    # it changes as we look
        elif issubclass(type(thing), torch.Tensor):
            look(thing)
    return list(found.values())


def about(tensor, names, roles):
    dense = tensor.layout == torch.strided
    said = {"id": id(tensor), "dtype": str(tensor.dtype)[6:],
            "device": str(tensor.device), "type": type(tensor).__name__,
            "requires_grad": tensor.requires_grad,
            "role": roles.get(id(tensor)), "name": names.get(id(tensor))}
    if dense:
        said["shape"] = list(tensor.shape)
        said["strides"] = list(tensor.stride())
        said["data"] = tensor.data_ptr()
        storage = (tensor.untyped_storage() if hasattr(
            tensor, "untyped_storage") else tensor.storage())
        said["bytes"] = storage.nbytes()
        said["storage"] = (storage.data_ptr() if tensor.device.type == "cpu"
                           else 0)
    if tensor.is_leaf and tensor.grad is not None:
        said["grad"] = tensor.grad.data_ptr()
    if tensor.grad_fn is not None:
        said["grad_fn"] = tensor.grad_fn.name()
    return said


def main():
    torch.manual_seed(1)
    torch.set_num_threads(2)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    loader = DataLoader(Samples(), batch_size=32, num_workers=2,
                        persistent_workers=True)
    batches = iter(loader)
    for _ in range(4):
        x, y = next(batches)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = next(batches)
    out = model(x)
    loss = nn.functional.cross_entropy(out, y)
    kinds = others()
    gradients = [parameter.grad for parameter in model.parameters()]

    roles, names = {}, {}
    for name, parameter in model.named_parameters():
        roles[id(parameter)] = "parameter"
        names[id(parameter)] = name
    for name, buffer in model.named_buffers():
        roles[id(buffer)] = "buffer"
        names[id(buffer)] = name
    for gradient in gradients:
        roles[id(gradient)] = "gradient"
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                roles[id(value)] = "optimizer"
    for result in out, loss:
        roles[id(result)] = "activation"
    for name, tensor in kinds.items():
        names[id(tensor)] = name
        roles.setdefault(id(tensor), "other")
    gc.collect()
    listed = [about(tensor, names, roles) for tensor in all_tensors(kinds)]
    print("TENSORS " + json.dumps({"version": torch.__version__,
                                   "tensors": listed}), flush=True)
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
