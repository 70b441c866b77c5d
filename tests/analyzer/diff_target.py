# SPDX-License-Identifier: Apache-2.0
"""A heap that grows when a line comes in, and what the interpreter itself says
of it: printed as JSON, before and after."""
import gc
import json
import os
import sys


class Visit:
    def __init__(self, number):
        self.number = number
        self.page = "/page/%d" % number


class Registry:
    def __init__(self):
        self.visits = []


registry = Registry()
scratch = ["scratch %d" % i for i in range(30000)]


def grow(count):
    for _ in range(count):
        registry.visits.append(Visit(len(registry.visits)))


def tell():
    """Counts of what nobody but this program makes."""
    gc.collect()
    visits = [o for o in gc.get_objects() if type(o) is Visit]
    print(json.dumps({
        "visits": len(visits), "size": sum(map(sys.getsizeof, visits)),
        "list": sys.getsizeof(registry.visits), "address": id(registry.visits),
        "type": id(Visit), "scratch": id(scratch)}), flush=True)


grow(int(sys.argv[1]))
tell()
print("READY", os.getpid(), flush=True)
sys.stdin.readline()
grow(int(sys.argv[2]))
scratch.clear()
# It goes on to grow by another class of the same name.
exec("class Visit:\n    pass")
later = [Visit() for _ in range(700)]
tell()
print("AGAIN", flush=True)
sys.stdin.readline()
