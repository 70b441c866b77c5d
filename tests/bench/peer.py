"""The tools that count objects from inside a process, for `bench.py --only
peers`: makes the heap of heap.py, and counts it when told to.

SPDX-License-Identifier: Apache-2.0

usage: peer.py N

It prints READY and the number of objects; then, for each line of input, which
names a tool, its time and what it found: SECONDS OBJECTS, or a dash and why
not. What a tool imports is not in its time.
"""
import gc
import os
import runpy
import sys
import time


def guppy3():
    import guppy
    hpy = guppy.hpy()
    begun = time.monotonic()
    heap = hpy.heap()
    str(heap)
    return time.monotonic() - begun, heap.count


def pympler():
    from pympler import muppy, summary
    begun = time.monotonic()
    objects = muppy.get_objects()
    summary.summarize(objects)
    return time.monotonic() - begun, len(objects)


def objgraph():
    import objgraph as tool
    begun = time.monotonic()
    counts = tool.most_common_types(limit=1 << 30)
    return time.monotonic() - begun, sum(count for _, count in counts)


def serve(seconds):
    """In the place of heap.py's last call: the heap is made, and held."""
    for line in sys.stdin:
        name = line.strip()
        try:
            print(*{"guppy3": guppy3, "pympler": pympler,
                    "objgraph": objgraph}[name](), flush=True)
        except Exception as error:
            print("-", repr(error), flush=True)
        gc.collect()


time.sleep = serve
runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)),
                            "heap.py"), run_name="__main__")
