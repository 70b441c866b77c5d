# SPDX-License-Identifier: Apache-2.0
"""Forks workers that each do to what they inherited what their number says:

    0   nothing
    1   looks at every object, which counts a reference more
    2   changes a byte of every page of a large buffer
    3   collects garbage

and prints "PID HOW", a line for each, "FLOATS BYTES" and "BUFFER BYTES", and
"READY", when all have done so."""

import gc
import os
import sys
import time

HOW = ["nothing", "counts", "writes", "collects"]


def work(how, floats, buffer, kept):
    if how == "counts":
        # As many references more as there are objects, in one go.
        kept.append(list(floats))
    elif how == "writes":
        for i in range(0, len(buffer), 4096):
            buffer[i] += 1
    elif how == "collects":
        gc.collect()


def main():
    gc.disable()
    floats = [i + 0.5 for i in range(400000)]
    lists = [[] for i in range(100000)]
    buffer = bytearray(range(256)) * (16 << 12)
    for name, kept in ("FLOATS", floats), ("LISTS", lists):
        block = (sys.getsizeof(kept[0]) + 15) // 16 * 16
        sys.stdout.write("%s %d\n" % (name, len(kept) * block))
    sys.stdout.write("BUFFER %d\n" % len(buffer))
    for how in HOW:
        sys.stdout.flush()
        done, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            kept = []
            work(how, floats, buffer, kept)
            os.write(told, b".")
            while True:
                time.sleep(1000)
        os.read(done, 1)
        sys.stdout.write("%d %s\n" % (pid, how))
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    sys.stdin.read()


main()
