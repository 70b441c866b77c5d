# SPDX-License-Identifier: Apache-2.0
"""Memory of devices cut up in each way that PyTorch's allocator knows, for
test_allocator.py: prints what torch tells of it, and answers what it is asked.

    allocator_target.py SCENARIO

"ALLOC N STREAM" allocates N bytes on a stream, 0 or a handle, frees them, and says by which of the allocator's steps that went: "cached" (nothing was asked
of the driver), "driver", "released" (segments were given back before), or "oom"."""

import gc
import json
import os
import sys

import torch

MIB = 1 << 20


class Keeper:
    """What a program has: tensors by name, in a list, and in a model."""

    def __init__(self):
        self.tensors = []
        self.named = {}


def empty(size, device="cuda:0"):
    return torch.empty(size, dtype=torch.uint8, device=device)


def fragments(keeper):
    """Blocks with holes between them, whole free segments, small ones, views."""
    many = [empty(size) for size in (3, 600, 5000, 70000, MIB, MIB + 1, 2 * MIB,
                                     7 * MIB, 12 * MIB, 33 * MIB + 5) * 6]
    large = [empty(64 * MIB) for _ in range(3)]
    keeper.tensors = many[::3] + large[1:2]
    keeper.named["view"] = keeper.tensors[2][1:]
    del many, large


def streams(keeper):
    """Other streams' pools, and blocks that wait for a stream."""
    fragments(keeper)
    others = [torch.cuda.Stream() for _ in range(2)]
    keeper.named["streams"] = others
    for stream in others:
        with torch.cuda.stream(stream):
            keeper.tensors += [empty(size * 1000) for size in range(1, 40, 6)]
            waits = empty(5 * MIB)
            keeper.named[stream] = empty(100)
            big = empty(100 * MIB)
        waits.record_stream(torch.cuda.default_stream())
        del big, waits


def devices(keeper):
    fragments(keeper)
    keeper.tensors += [empty(size * 10007, "cuda:1") for size in range(1, 300, 7)]
    del keeper.tensors[-10::2]


def pools(keeper):
    """A pool of the program's own."""
    fragments(keeper)
    if not hasattr(torch.cuda, "MemPool"):
        return
    pool = torch.cuda.MemPool()
    keeper.named["pool"] = pool
    with torch.cuda.use_mem_pool(pool):
        keeper.tensors += [empty(size * 100003) for size in range(1, 60, 9)]
        gone = empty(5 * MIB)
    del gone


def training(keeper):
    """Parameters, gradients, states, and what waits for backward()."""
    model = torch.nn.Sequential(*[torch.nn.Linear(300, 300) for _ in range(6)])
    model = model.cuda()
    optimizer = torch.optim.Adam(model.parameters())
    keeper.named.update(model=model, optimizer=optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
        optimizer.state[parameter] = {
            "exp_avg": torch.empty_like(parameter),
            "exp_avg_sq": torch.empty_like(parameter)}
    fragments(keeper)


def full(keeper):
    """Until there is no more, which is recorded; then holes, and what is given
    back to the driver and got from it."""
    keeper.tensors = []
    recorder = torch.cuda.memory._record_memory_history
    if torch.__version__ > "2.1":
        recorder(max_entries=1000)
    elif torch.__version__ > "2":
        recorder(True, trace_alloc_max_entries=1000)
    try:
        while True:
            keeper.tensors.append(empty(50 * MIB))
            keeper.tensors.append(empty(3 * MIB))
    except RuntimeError:
        pass
    del keeper.tensors[::4]
    torch.cuda.empty_cache()
    keeper.tensors.append(empty(70 * MIB))


def unused(keeper):
    """Initialised, and nothing was ever allocated."""


def raw(keeper):
    """Blocks that no tensor is in."""
    fragments(keeper)
    keeper.named["raw"] = torch.cuda.caching_allocator_alloc(8519680)
    keeper.named["more"] = torch.cuda.caching_allocator_alloc(777)


SCENARIOS = {f.__name__: f for f in (fragments, streams, devices, pools,
                                      training, full, unused, raw)}


def snapshot():
    told = torch.cuda.memory._snapshot()
    if isinstance(told, list):          # 1.13
        told = {"segments": told}
    return told


def about(keeper):
    stats = [dict(torch.cuda.memory_stats(i))
             for i in range(torch.cuda.device_count())]
    told = snapshot()
    for segment in told["segments"]:
        segment.pop("frames", None)
        for block in segment["blocks"]:
            block.pop("frames", None)
            block.pop("history", None)
    return {"version": torch.__version__, "stats": stats,
            "segments": told["segments"],
            "settings": told.get("allocator_settings"),
            "totals": [torch.cuda.get_device_properties(i).total_memory
                       for i in range(torch.cuda.device_count())],
            "names": [torch.cuda.get_device_name(i)
                      for i in range(torch.cuda.device_count())],
            "tensors": [[t.data_ptr(), t.numel()] for t in keeper.tensors],
            "free": [torch.cuda.mem_get_info(i)[0]
                     for i in range(torch.cuda.device_count())]}


def counters():
    stats = torch.cuda.memory_stats(0)
    return (stats["segment.all.allocated"], stats["segment.all.freed"],
            stats["reserved_bytes.all.allocated"],
            stats["num_alloc_retries"], stats["num_ooms"])


def allocate(size, handle):
    before = counters()
    stream = torch.cuda.ExternalStream(handle) if handle else \
        torch.cuda.default_stream()
    try:
        with torch.cuda.stream(stream):
            kept = empty(size)
        del kept
    except RuntimeError:
        return "oom"
    after = counters()
    if after[3] > before[3] or after[1] > before[1]:
        return "released"
    return "driver" if after[2] > before[2] else "cached"


def main():
    keeper = Keeper()
    torch.cuda.init()
    SCENARIOS[sys.argv[1]](keeper)
    gc.collect()
    print("TOLD " + json.dumps(about(keeper)), flush=True)
    print("READY %d" % os.getpid(), flush=True)
    for line in sys.stdin:
        word, size, handle = line.split()
        print("SAID %s" % allocate(int(size), int(handle, 0)), flush=True)


if __name__ == "__main__":
    main()
