# SPDX-License-Identifier: Apache-2.0
"""A target that knows where its memory of malloc is.

usage: leaks_target.py [MANY]

With MANY it keeps, and loses, memory in many ways, and prints "WANT OWNERS NAME
ADDRESS" lines: which words ownerdump may say of the chunk at an address, and of
which type it is; "lost" stands for both words of what is lost. Without it
nothing is lost that is ours.
"""

import os
import sys


def offsets():
    """Where a list and a dict have the addresses of their tables."""
    head = 2 * 8
    return {"list": head + 8, "dict": head + 2 * 8}


def want(owners, name, address):
    print("WANT %s %s %d" % (owners, name, address))


def keep():
    import array
    import ctypes

    def word(address):
        return ctypes.c_uint64.from_address(address).value

    class Mine:
        pass

    kept = []
    many = list(range(10000))
    table = {i: i for i in range(5000)}
    numbers = array.array("q", range(3000))
    buffer = (ctypes.c_char * 5000)()
    changing = bytearray(b"b" * 3000)
    kept += [many, table, numbers, buffer, changing]
    if not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled():
        # In other builds mimalloc has them.
        want("buffer", "list", word(id(many) + offsets()["list"]))
        want("buffer", "dict", word(id(table) + offsets()["dict"]))
        want("buffer", "array.array", numbers.buffer_info()[0])
        want("buffer", "__main__.c_char_Array_5000", ctypes.addressof(buffer))
        view = (ctypes.c_char * 3000).from_buffer(changing)
        # Since 3.15 that is an object of its own.
        want(*(("buffer", "bytearray") if sys.version_info < (3, 15) else
               ("object", "bytes")), ctypes.addressof(view))
        for made in ("s" * 4000, b"b" * 4000, tuple(range(1000)), 3 ** 20000):
            want("object", type(made).__name__, id(made))
            kept.append(made)
        want("object", "type", id(Mine))
    kept.append(Mine)
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

    def malloc(size):
        made = libc.malloc(size)
        libc.memset(made, 0, size)
        return made

    # An object of an extension type has a pointer, and what it leads to another.
    first, second = malloc(200), malloc(200)
    pointer = ctypes.c_void_p(first)
    ctypes.c_uint64.from_address(first + 16).value = second
    want("by-object", "ctypes.c_void_p", first)
    want("by-object", "ctypes.c_void_p", second)
    kept.append(pointer)
    # A chain of small ones is of who has its first one, whatever words are left
    # in a buffer.
    nodes = [malloc(64) for _ in range(100)]
    for node, after in zip(nodes, nodes[1:]):
        ctypes.c_uint64.from_address(node).value = after
    ctypes.c_uint64.from_address(first + 24).value = nodes[0]
    remains = malloc(5000)
    for i, node in enumerate(nodes[1:]):
        ctypes.c_uint64.from_address(remains + 48 * i).value = node
    kept.append(ctypes.cast(remains, ctypes.c_char_p))
    want("by-object", "ctypes.c_char_p", remains)
    for node in nodes:
        want("by-object", "ctypes.c_void_p", node)
    lost = [malloc(1000 + i % 7) for i in range(500)]
    for address in lost:
        want("lost", "-", address)
    # Integers of Python are in digits of 30 bits, which lead nowhere. Nor does
    # the version of a dict, whatever it has counted up to.
    if not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled():
        for address in lost[:50]:
            kept.append({})
            ctypes.c_uint64.from_address(
                id(kept[-1]) + offsets()["dict"] - 8).value = address
    return kept, libc


def keep_sqlite(kept):
    import ctypes
    import sqlite3
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t(a)")
    connection.executemany("insert into t values(?)",
                           (("y" * 100,) for _ in range(2000)))
    want("by-object", "sqlite3.Connection", ctypes.c_uint64.from_address(
        id(connection) + 2 * 8).value)
    kept.append(connection)


def keep_numpy(kept):
    import numpy
    data = numpy.arange(4000)
    want("buffer", "numpy.ndarray", data.__array_interface__["data"][0])
    kept.append(data)


def main():
    kept = []
    if len(sys.argv) > 1:
        kept, _ = keep()
        for other in keep_sqlite, keep_numpy:
            try:
                other(kept)
            except ImportError as error:
                print("#", error)
    print("READY", os.getpid(), flush=True)
    sys.stdin.read()


main()
