# SPDX-License-Identifier: Apache-2.0
"""Uses a GPU's memory, and writes down what torch.cuda.memory._snapshot() says.

    snapshot_target.py SCENARIO FILE

Ends when its standard input does."""

import gc
import os
import pickle
import sys

import torch

KEPT = []


def record(**options):
    recorder = torch.cuda.memory._record_memory_history
    if torch.__version__ < "2":     # 1.13 keeps stacks with blocks, and no past
        return recorder(True)
    options.setdefault("stacks", "python")
    try:
        recorder(**options)
    except TypeError:           # 2.0 has other parameters, and others not all
        for name in "global_record_annotations", "record_pinned_host_memory":
            if options.pop(name, False):
                return record(**options)
        recorder(True, trace_alloc_max_entries=options.get("max_entries", 1000),
                 trace_alloc_record_context=True)


def empty(size, device="cuda:0"):
    return torch.empty(size, dtype=torch.uint8, device=device)


def step(rounds):
    """Blocks of all sizes, half of them given back."""
    for i in range(rounds):
        KEPT.append(empty(1000 + i * 977))
        KEPT.append(empty((3 << 20) + i * 70001))
        passing = empty(5 << 20)
        del passing
    del KEPT[::3]


def pin():
    """Memory of the host, which has an allocator of its own."""
    for count in 1, 3000, 1 << 20, 70000:
        KEPT.append(torch.empty(count).pin_memory())
    passing = torch.empty(3 << 20).pin_memory()
    del passing


def plain():
    step(20)
    pin()


def history():
    KEPT.append(torch.empty(1000).pin_memory())
    # That past is kept from 2.14 on.
    record(record_pinned_host_memory=True, max_entries=100000)
    step(20)
    pin()


def stacks():
    record(max_entries=100000, stacks="all")
    step(5)


def wrapped():
    """More events than are kept."""
    record(max_entries=50)
    step(40)


def streams():
    """A block that another stream may still use."""
    record(max_entries=100000)
    other = torch.cuda.Stream()
    with torch.cuda.stream(other):
        KEPT.append(empty(7 << 20))
        torch.cuda._sleep(10 ** 12)
    used = empty(9 << 20)
    used.record_stream(other)
    del used
    step(3)


def pools():
    record(max_entries=100000)
    # A second version, to compare with: events have to tell which it is. They do
    # from 2.15 on.
    if torch.__version__ >= "2.15":
        KEPT.append(type(torch.__version__)("2.1"))
    step(3)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        KEPT.append(empty(4 << 20))
        KEPT.append(empty(100))
    KEPT.append(graph)
    if hasattr(torch.cuda, "MemPool"):
        pool = torch.cuda.MemPool()
        with torch.cuda.use_mem_pool(pool):
            KEPT.append(empty(3 << 20))
        KEPT.append(pool)


def devices():
    record(max_entries=100000)
    step(3)
    KEPT.append(empty(123456, "cuda:1"))
    KEPT.append(empty(33 << 20, "cuda:1"))


def oom():
    """What is free would have been enough in one piece."""
    record(max_entries=100000)
    piece = 100 << 20
    while torch.cuda.mem_get_info()[0] >= piece:
        whole = empty(piece)
        del whole
        KEPT.append(empty(52 << 20))     # not into what is left of others
    try:
        ask(200 << 20)
    except torch.cuda.OutOfMemoryError as error:
        finish(sys.argv[2], str(error))


def apart():
    """The same, but each stream has something, for which expandable segments would
    take pages of its own."""
    for _ in range(30):
        KEPT.append(torch.cuda.Stream())
        with torch.cuda.stream(KEPT[-1]):
            KEPT.append(empty(12 << 20))
    for _ in range(2):
        whole = empty(320 << 20)
        del whole
        KEPT.append(empty(20 << 20))
    try:
        ask(500 << 20)
    except torch.cuda.OutOfMemoryError as error:
        finish(sys.argv[2], str(error))


def limit():
    """What the program itself has allowed is less than one segment away."""
    KEPT.extend(empty(30 << 20) for _ in range(10))
    torch.cuda.set_per_process_memory_fraction(0.3)     # 307 of 1,024 MiB
    try:
        ask(2 << 20)
    except torch.cuda.OutOfMemoryError as error:
        finish(sys.argv[2], str(error))


def ask(size):
    return empty(size)


def conf():
    """Whatever the environment says of how to allocate."""
    record(max_entries=100000)
    step(12)


def annotated():
    record(max_entries=100000, global_record_annotations=True)
    with torch.autograd.profiler.record_function("outer"):
        step(2)
        with torch.autograd.profiler.record_function("inner é"):
            step(2)


def finish(path, message=None):
    gc.collect()
    said = {"snapshot": torch.cuda.memory._snapshot(), "message": message,
            "allocated": torch.cuda.memory_allocated()}
    with open(path, "wb") as file:
        pickle.dump(said, file)
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.read()
    sys.exit()


def main():
    scenario, path = sys.argv[1:]
    torch.cuda.init()
    KEPT.append(globals()[scenario]())
    finish(path)


if __name__ == "__main__":
    main()
