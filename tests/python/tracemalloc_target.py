# SPDX-License-Identifier: Apache-2.0
"""The program whose traced allocations are read from outside.

usage: tracemalloc_target.py NFRAME --census TO

Traces NFRAME frames of each traceback (0: does not trace), allocates on many
lines and through many callers, and forks: the twin takes a snapshot and writes
down in JSON (TO is a path, or fd:N) what tracemalloc says of it, and the
process itself, which has only waited for that, is dumped.

    lines        [[file, line, count, size]]
    tracebacks   [[[[file, line], ...], total, count, size]], the most recent
                 call first; total is null in 3.8
    objects      [[address, [[file, line], ...]]]
    traced, peak, limit

What either allocates for this is allocated in this file behind the line `own`,
in tracemalloc.py, _collections_abc.py, json, or by threading and random in the
twin: the test leaves those files out, but for the lines of this one before `own`.
"""

import argparse
import array
import ctypes
import gc
import json
import os
import sys
import time
import tracemalloc

KEPT = []
# Looked up before anything is traced: what ctypes makes for a moment to do so
# may be kept to be reused by either side.
RAW = ctypes.pythonapi.PyMem_RawMalloc
TRACK = ctypes.pythonapi.PyTraceMalloc_Track


class Node:
    def __init__(self, depth):
        self.name = "node %d" % depth
        self.children = []


class Slotted:
    __slots__ = ("a", "b")


def leaf(kind):
    if kind == 0:
        return Node(kind)
    if kind == 1:
        return [bytearray(1000 + kind), {}]
    if kind == 2:
        thing = Slotted()
        thing.a, thing.b = str(kind) * 100, (kind, [kind])
        return thing
    if kind == 3:
        return array.array("d", range(3000))
    return {str(i): float(i) for i in range(50 + kind)}


def deep(depth, kind):
    if depth:
        return deep(depth - 1, kind)
    return leaf(kind)


def first_caller(i):
    return deep(i % 7, i % 6)


def second_caller(i):
    return [deep(i % 17, i % 5) for _ in range(2)]


def generator(n):
    for i in range(n):
        yield object(), bytes(i + 40)


def allocate():
    for i in range(200):
        KEPT.append(first_caller(i))
        KEPT.append(second_caller(i))
    KEPT.append(list(generator(200)))
    # Names of files that are no ASCII, and that are long.
    for name in ("caf\u00e9.py", "\u6f22\u5b57/\U0001f40d.py",
                 "/" + "long/" * 60 + "end.py"):
        space = {}
        exec(compile("\n" * 41 + "def f(n):\n    return ['x' * 77 + str(i) "
                     "for i in range(n)]\nkept = f(30)\n", name, "exec"),
             space)
        KEPT.append(space)
    wide = "\n" + "\n".join("a%d = [b'x' * %d]" % (i, 40 + i)
                            for i in range(400))
    space = {}
    exec(compile(wide, "wide.py", "exec"), space)
    KEPT.append(space)
    # Raw memory, without and with a domain of its own.
    RAW.restype, RAW.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    KEPT.append([RAW(12345) for _ in range(5)])
    TRACK.argtypes = [ctypes.c_uint, ctypes.c_size_t, ctypes.c_size_t]
    for domain in (7, 1 << 20):
        for i in range(20):
            TRACK(domain, 0x1000 + 16 * i, 1000 + i)
    # Freed again: buckets that lists were taken out of.
    for thing in KEPT[::3]:
        if isinstance(thing, list):
            thing.clear()


own = True


def write(to, text):
    fd = (int(to[3:]) if to.startswith("fd:")
          else os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    data = text.encode("ascii")
    while data:
        data = data[os.write(fd, data):]


def frames(traceback):
    """The most recent call first."""
    return [[frame.filename, frame.lineno] for frame in reversed(traceback)]


def by_traceback(snapshot):
    """snapshot.statistics("traceback") forgets how many frames there were."""
    found, shared, count, size = {}, {}, 0, 0
    # Traces of one traceback share a tuple; to make a Traceback of each and to
    # hash that takes longer than all else here.
    for trace in snapshot.traces:
        _, size_of, frames_of, *total = trace._trace
        sums = shared.setdefault((id(frames_of), *total), [trace, 0, 0])
        sums[1] += 1
        sums[2] += size_of
    for trace, *each in shared.values():
        key = trace.traceback, getattr(trace.traceback, "total_nframe", None)
        sums = found.setdefault(key, [0, 0])
        sums[0] += each[0]
        sums[1] += each[1]
    for one in snapshot.statistics("traceback"):
        count += one.count
        size += one.size
    assert [count, size] == [sum(sums) for sums in zip(*found.values())]
    return found


def describe(objects):
    snapshot = tracemalloc.take_snapshot()
    traced, peak = tracemalloc.get_traced_memory()
    return json.dumps({
        "lines": [[*frames(one.traceback)[0], one.count, one.size]
                  for one in snapshot.statistics("lineno")],
        "tracebacks": [[frames(key[0]), key[1], *sums]
                       for key, sums in by_traceback(snapshot).items()],
        "objects": [[id(thing), frames(tracemalloc.get_object_traceback(
            thing) or [])] for thing in objects],
        "traced": traced, "peak": peak,
        "limit": tracemalloc.get_traceback_limit()})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("nframe", type=int)
    parser.add_argument("--census", required=True)
    arguments = parser.parse_args()
    if arguments.nframe:
        tracemalloc.start(arguments.nframe)
    gc.disable()
    allocate()
    if arguments.nframe:
        objects = [thing for thing in KEPT
                   if isinstance(thing, (Node, Slotted, dict, list,
                                         array.array))][::7]
        describe(objects)        # what is made only once is made now
        for last in False, True:
            # Twice: what is reused has then been allocated here. Or is not
            # there: what is kept to be reused stays traced, and a collection
            # gives it back.
            gc.collect()
            twin = os.fork()
            if twin == 0:
                text = describe(objects)
                if last:
                    write(arguments.census, text)
                os._exit(0)
            status = os.waitpid(twin, 0)[1]
            assert status == 0, status
    os.write(1, ("READY %d\n" % os.getpid()).encode())
    while os.read(0, 100):
        time.sleep(0.01)
    sys.exit(0)


main()
