"""A heap of about N objects for the benchmarks: what ordinary programs hold.

SPDX-License-Identifier: Apache-2.0

usage: heap.py N [KIND]      prints READY and the number of objects, then sleeps

dense: few kinds of objects with many references, to anywhere
points: instances with three references each: to their class and to two others,
    anywhere
chain: one list of links, each with a value of its own
"""
import gc
import itertools
import operator
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


class Pair:
    __slots__ = ("x", "y")


def points(count):
    """Instances that refer to two others, anywhere; made without a loop."""
    made = [Pair() for _ in itertools.repeat(None, count)]
    for member, factor in ((Pair.x, 0x9E3779B1), (Pair.y, 0x85EBCA6B)):
        numbers = map(operator.mod, map(operator.mul, range(1, count + 1),
                                        itertools.repeat(factor)),
                      itertools.repeat(count))
        any(map(member.__set__, made, map(made.__getitem__, numbers)))
    return made


def chain(count):
    """The first of as many links as make that many objects, values included."""
    link = None
    for number in range(count // 2):
        link = Point(number + 0.5, link)
    return link


KINDS = {"dense": dense, "points": points, "chain": chain}
PER_ROUND = 13   # objects made by one turn of the loop
wanted = int(sys.argv[1])
store = []
if sys.argv[2:]:
    store = KINDS[sys.argv[2]](wanted)
    print("READY", wanted, flush=True)
    time.sleep(3600)
for number in range(1000, 1000 + wanted // PER_ROUND):
    record = Record(number << 12)            # instance, int, 2 str, float
    point = Point(number + 0.25, (number, str(number)))  # point, float, tuple, str
    store.append([record, point, {number: (point,)}])    # list, dict, tuple
print("READY", len(store) * PER_ROUND, flush=True)
time.sleep(3600)
