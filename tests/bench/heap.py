"""A heap of about N objects for the benchmarks: what ordinary programs hold.

SPDX-License-Identifier: Apache-2.0

usage: heap.py N [dense]     prints READY and the number of objects, then sleeps

dense: few kinds of objects with many references, to anywhere
"""
import gc
import sys
import time

gc.disable()
REQUEST = ('{"user": %d, "path": "/api/v1/items/%d", "ms": %d, '
           '"trace": "%s", "agent": "Mozilla/5.0 (X11; Linux x86_64)"}')
GOLDEN = 0x9E3779B97F4A7C15F39CC0605CEDC835


class Record:
    def __init__(self, number):
        self.number = number
        # Like a token or a key: text that does not compress to nothing.
        self.name = "%032x" % (number * GOLDEN % (1 << 128))
        self.weight = number * 0.37
        self.body = REQUEST % (number * 7919 % 100003, number % 977,
                               number * 31 % 1000, self.name[:12])


class Point:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x = x
        self.y = y


def dense(count):
    """Lists of ten references to others at random, and instances of two."""
    import random
    made, everywhere = [], random.Random(1)
    for number in range(count // 2):
        made.append([])
        made.append(Point(None, None))
    for thing in made:
        if type(thing) is list:
            thing.extend(everywhere.choices(made, k=10))
        else:
            thing.x, thing.y = everywhere.choices(made, k=2)
    return made


PER_ROUND = 13   # objects made by one turn of the loop
wanted = int(sys.argv[1])
store = []
if sys.argv[2:] == ["dense"]:
    store = dense(wanted)
    print("READY", wanted, flush=True)
    time.sleep(3600)
for number in range(1000, 1000 + wanted // PER_ROUND):
    record = Record(number << 12)            # instance, int, 2 str, float
    point = Point(number + 0.25, (number, str(number)))  # point, float, tuple, str
    store.append([record, point, {number: (point,)}])    # list, dict, tuple
print("READY", len(store) * PER_ROUND, flush=True)
time.sleep(3600)
