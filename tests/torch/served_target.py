# SPDX-License-Identifier: Apache-2.0
"""A server of TorchScript's modules, for test_served.py: they were loaded and some
were let go again, and no tensor has an object of Python's. Prints what torch says is
in them, and waits."""

import gc
import io
import json
import os
import random
import sys

import torch
from torch import nn

MODULES = 80


def load(width):
    inner = nn.Sequential(nn.Linear(width, width + 1),
                          nn.BatchNorm1d(width + 1))
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Sequential(inner, nn.ReLU())), file)
    file.seek(0)
    return torch.jit.load(file)


def load_all():
    """Where a module lies, there were others before."""
    kept, dropped = [], []
    for i in range(MODULES):
        module = load(3 + i % 40)
        (kept if random.random() < 0.5 else dropped).append(module)
        if len(dropped) > 3:
            dropped.pop(random.randrange(len(dropped)))
    return kept


def about(module):
    return [[name, one.data_ptr(), one.numel() * one.element_size(), role]
            for role, all_of in (("parameter", module.named_parameters()),
                                 ("buffer", module.named_buffers()))
            for name, one in all_of]


def about_all(served):
    """Asked for in a child: a tensor keeps the object that it was given."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with open(writer, "w") as out:
            json.dump([about(module) for module in served], out)
        os._exit(0)
    os.close(writer)
    with open(reader) as said:
        answer = json.load(said)
    os.waitpid(child, 0)
    return answer


def main():
    served = load_all()
    said = about_all(served)
    gc.collect()
    print("SERVED " + json.dumps({
        "modules": said,
        "objects": sum(isinstance(one, torch.Tensor)
                       for one in gc.get_objects())}), flush=True)
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
