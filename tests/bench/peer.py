"""The tools that count objects from inside a process, for `bench.py --only
peers`: makes the heap of heap.py, and counts it when told to.

SPDX-License-Identifier: Apache-2.0

usage: peer.py N

It prints READY and the number of objects; then, for each line of input, which
names a tool, its time and what it found: SECONDS OBJECTS, or a dash and why
not. What a tool imports is not in its time. The tool pyheap has the path of its
source and that of the file that it is to write behind its name.
"""
import gc
import os
import runpy
import sys
import time
import typing  # noqa: F401


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


def pyheap(source, heap_file):
    """What its program does in a process that it has stopped by gdb."""
    with open(os.path.join(source, "pyheap", "src", "dumper_inferior.py")) as file:
        code = compile(file.read(), "dumper_inferior.py", "exec")
    place = {"__name__": "dumper", "heap_file": heap_file, "str_repr_len": 100,
             "progress_file": heap_file + ".progress"}
    open(heap_file, "w").close()
    # It takes a name for annotations from there, which 3.13 has no more.
    sys.modules.setdefault("typing.io", sys.modules["typing"])
    begun = time.monotonic()
    exec(code, place)
    took = time.monotonic() - begun
    if not os.path.getsize(heap_file):
        raise OSError(place["result"])
    # Those that the collector knows, whose number is the least there can be.
    return took, len(gc.get_objects())


TOOLS = {"guppy3": guppy3, "pympler": pympler, "objgraph": objgraph,
         "pyheap": pyheap}


def serve(seconds):
    """In the place of heap.py's last call: the heap is made, and held."""
    for line in sys.stdin:
        name, *arguments = line.split()
        try:
            print(*TOOLS[name](*arguments), flush=True)
        except Exception as error:
            print("-", repr(error), flush=True)
        gc.collect()


time.sleep = serve
runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)),
                            "heap.py"), run_name="__main__")
