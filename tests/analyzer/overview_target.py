# SPDX-License-Identifier: Apache-2.0
"""The program whose overview test_overview.py looks at.

usage: overview_target.py FACTS

It leaks one list, has two large things for good reasons, makes garbage, and
gives one reference back too often. FACTS gets what it knows of that, as JSON.
"""
import ctypes
import gc
import json
import os
import sys

gc.collect()
gc.disable()
gc.set_threshold(701, 11, 12)


class Visit:
    def __init__(self, number):
        self.number = number
        self.text = "visit %d " % number + "v" * 300


class Ring:
    """Garbage, and something that hangs on it."""


class Model:
    pass


VISITS = [Visit(number) for number in range(30_000)]
MODEL = Model()
MODEL.weights = {"layer": bytearray(3_000_000), "other": bytearray(10)}
TABLE = [[number] for number in range(9_000)]


def main():
    for _ in range(5_000):
        ring = Ring()
        ring.me, ring.text = ring, "r" * 300 + str(id(ring))
    del ring
    released = Model()
    keep = [released] * 3
    release = ctypes.pythonapi.Py_DecRef
    release.argtypes, release.restype = [ctypes.py_object], None
    release(released)
    with open(sys.argv[1], "w") as file:
        json.dump({"rings": 5_000, "released": id(released),
                   "visits": id(VISITS), "largest": id(MODEL.weights["layer"])}, file)
    print("READY", os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(keep is None)


main()
