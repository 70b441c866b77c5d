# SPDX-License-Identifier: Apache-2.0
"""A program of test_on_oom.py whose memory for tensors runs out in a function that
holds some. It prints one line of JSON about each tensor there is just before.

usage: on_oom_target.py cpu|cuda [RECIPE.py]
"""
import gc
import json
import sys

import torch


def tell(tensors):
    for tensor in tensors:
        print(json.dumps({
            "address": id(tensor), "shape": list(tensor.shape),
            "data": tensor.data_ptr(), "device": str(tensor.device),
            "bytes": tensor.numel() * tensor.element_size()}))
    sys.stdout.flush()


def all_tensors():
    # 2.3 has some of its own on "meta", of which one cannot tell its items.
    return [one for one in gc.get_objects() if isinstance(one, torch.Tensor)
            and one.device.type != "meta"]


def forward(model, batch, device):
    """Activations are held by nothing but this frame and the graph."""
    hidden = model(batch).relu()
    doubled = hidden * 2
    everything = all_tensors()
    tell(everything)
    del everything
    # More than any address space, and more than any device has.
    too_much = torch.empty(1 << 50, dtype=torch.uint8, device=device)
    return doubled.sum() + too_much.sum()


def train(device):
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(),
                                torch.nn.Linear(128, 32)).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    for number in range(3):
        batch = torch.ones(16, 64, device=device)
        if number < 2:
            model(batch).sum().backward()
            optimizer.step()
        else:
            forward(model, batch, device)


def main():
    device = sys.argv[1]
    if len(sys.argv) > 2:
        with open(sys.argv[2], encoding="utf-8") as recipe:
            exec(recipe.read(), {})
    for wrong in (lambda: torch.ones(3).view(2), lambda: torch.ones(3)[7]):
        try:
            wrong()
        except (RuntimeError, IndexError):
            pass
    try:
        train(device)
    except RuntimeError as error:
        print(type(error).__name__, str(error).splitlines()[0])
        sys.exit(1)


main()
