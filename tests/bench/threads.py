# SPDX-License-Identifier: Apache-2.0
"""A process of 64 threads in calls of Python and C, for bench.py.

usage: threads.py GIBIBYTES     prints READY and its process id, then waits

The memory beside them is one small file, mapped again and again, so that a dump
of it is large and the process is not.
"""
import mmap
import os
import sys
import threading
import time

THREADS, DEPTH, PIECE = 64, 20, 256 << 20
held = threading.Lock()
held.acquire()


class Held:
    def __lt__(self, other):
        return held.acquire()


def descend(left, number):
    if left:
        return descend(left - 1, number)
    # From here C calls Python, at one of several depths.
    return sorted([Held(), Held()])


def main():
    file = os.memfd_create("payload")
    for _ in range(PIECE >> 20):
        os.write(file, os.urandom(1 << 20))
    kept = [mmap.mmap(file, PIECE) for _ in
            range(int(float(sys.argv[1]) * (1 << 30)) // PIECE)]
    for piece in kept:
        for at in range(0, PIECE, mmap.PAGESIZE):
            piece[at]
    for i in range(THREADS - 1):
        threading.Thread(target=descend, args=(DEPTH + i % 8, i),
                         daemon=True).start()
    time.sleep(1)
    print("READY", os.getpid(), flush=True)
    time.sleep(3600)


main()
