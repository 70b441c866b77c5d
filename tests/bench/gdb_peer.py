"""What gdb's Python takes for the same question, for `bench.py --only peers`:
each object in a list of CPython's collector, counted by the name of its type.

SPDX-License-Identifier: Apache-2.0

usage: gdb -batch -x gdb_peer.py PYTHON CORE

Needs debug information of the interpreter, as its own helper for gdb does.
Prints SECONDS OBJECTS, or a dash and why not.
"""
import collections
import time

import gdb


def count():
    head = gdb.lookup_type("PyGC_Head")
    pointer, thing = head.pointer(), gdb.lookup_type("PyObject").pointer()
    lists = gdb.parse_and_eval("&_PyRuntime.interpreters.head->gc.generations")
    counts = collections.Counter()
    for i in range(3):
        first = lists.dereference()[i]["head"].address
        at = first.dereference()["_gc_next"]
        while int(at) != int(first):
            node = gdb.Value(int(at) & ~3).cast(pointer)
            kind = (node + 1).cast(thing).dereference()["ob_type"]
            counts[int(kind)] += 1
            at = node.dereference()["_gc_next"]
    names = collections.Counter()
    for kind, number in counts.items():
        name = gdb.Value(kind).cast(gdb.lookup_type("PyTypeObject").pointer())
        names[name.dereference()["tp_name"].string()] += number
    return sum(names.values())


try:
    begun = time.monotonic()
    number = count()
    print("%.6f %d" % (time.monotonic() - begun, number))
except gdb.error as error:
    print("- " + str(error))
