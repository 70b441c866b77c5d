# SPDX-License-Identifier: Apache-2.0
"""A target for test_content.py: objects that are as large as a tensor's data,
and data that is nobody's object. It stands still once it is ready.

usage: content_target.py SCALE [objects] [payload SIZE PIECE] [native]

Prints "OBJECT NAME ADDRESS" and "PAYLOAD NAME ADDRESS SIZE" lines, then
"READY PID".
"""
import array
import collections
import ctypes
import gc
import io
import mmap
import os
import random
import sys
import time

KEPT = []


class Text(str):
    """Its characters are in a buffer of their own."""


class Octets(bytes):
    pass


class Number(int):
    pass


class Row(tuple):
    pass


def keep(name, thing):
    KEPT.append(thing)
    print("OBJECT", name, id(thing))


def payload(name, thing, address, size):
    KEPT.append(thing)
    print("PAYLOAD", name, address, size)


def noise(size):
    """Bytes that look like the numbers of a tensor."""
    number = random.Random(size)
    block = number.getrandbits(8 << 16).to_bytes(1 << 16, "little")
    return (block * (size // len(block) + 1))[:size]


def objects(scale):
    million = 1000000 * scale // 10
    values = list(range(1000, 1000 + million))
    keep("list", values)
    keep("dict", dict.fromkeys(values))
    keep("set", set(values))
    sparse = dict.fromkeys(values)
    for value in values[100:]:
        del sparse[value]
    keep("sparse-dict", sparse)
    few = set(values)
    for value in values[100:]:
        few.discard(value)
    keep("sparse-set", few)
    keep("nones", [None] * million)
    keep("tuple", tuple(values[::2]))
    keep("row", Row(values[:million // 4]))
    keep("deque", collections.deque(values[:million // 10]))
    ordered = collections.OrderedDict.fromkeys(values[:million // 10])
    for value in values[10:million // 10]:
        del ordered[value]
    keep("ordered", ordered)
    size = 5 * million
    keep("str", "a" * size)
    keep("str-twin", "".join(["a" * (size // 2)] * 2))
    keep("str-2", "\u0416" * (size // 2))
    keep("str-4", "\U0001F40D" * (size // 4))
    keep("str-utf8", "\u00e9" * (size // 2))
    # Asking for its length makes it keep its own UTF-8.
    size_t = ctypes.c_ssize_t()
    utf8 = ctypes.pythonapi.PyUnicode_AsUTF8AndSize
    utf8.restype = ctypes.c_void_p
    utf8.argtypes = [ctypes.py_object, ctypes.c_void_p]
    utf8(KEPT[-1], ctypes.addressof(size_t))
    keep("text", Text("b" * size))
    keep("text-twin", Text("b" * size))
    keep("bytes", noise(size))
    keep("octets", Octets(noise(size + 64)))
    keep("int", (1 << 8 * size) - 12345)
    keep("number", Number((1 << 8 * size) - 54321))
    writer = io.StringIO()
    writer.write("c" * (size // 4))
    keep("stringio", writer)
    reader = io.BytesIO()
    reader.write(noise(size // 4 + 8))
    keep("bytesio", reader)
    # Between them, in the heap: not on pages of their own.
    keep("middling", ["d" * (200000 + i) for i in range(50)])
    keep("middling-lists", [values[:20000] for i in range(50)])
    keep("middling-texts", [Text("e" * (150000 + i)) for i in range(50)])
    keep("zeroes", bytes(size))
    # What a list had room for once, and what it has now.
    grown = list(values)
    del grown[10:]
    keep("shrunk", grown)


def pieces(size, piece):
    try:
        import numpy
    except ImportError:
        numpy = None
    made = []
    for i in range(max(1, size // piece)):
        if numpy is not None:
            one = numpy.frombuffer(noise(piece), dtype="f8").copy()
            address = one.ctypes.data
        else:
            one = array.array("d", noise(piece))
            address = one.buffer_info()[0]
        payload("pieces", one, address, piece)
        made.append(one)
    return made


def others(size):
    one = bytearray(noise(size))
    if sys.version_info < (3, 15):      # then a bytes object holds its bytes
        payload("bytearray", one,
                ctypes.addressof(ctypes.c_char.from_buffer(one)), size)
    else:
        keep("bytearray", one)
    one = array.array("q", noise(size // 8 * 8))
    payload("array", one, one.buffer_info()[0], size // 8 * 8)
    one = (ctypes.c_char * size).from_buffer_copy(noise(size))
    payload("ctypes", one, ctypes.addressof(one), size)
    aligned = ctypes.c_void_p()
    libc = ctypes.CDLL(None)
    # As PyTorch's allocator does.
    libc.posix_memalign(ctypes.byref(aligned), ctypes.c_size_t(64),
                        ctypes.c_size_t(size))
    ctypes.memmove(aligned, noise(size), size)
    payload("aligned", aligned, aligned.value, size)
    try:
        import numpy
    except ImportError:
        return
    # References, so no payload.
    keep("object-array", numpy.array([str(i) for i in range(20000)] * 20,
                                     dtype=object))


def main():
    words = sys.argv[1:]
    scale = int(words.pop(0))
    gc.disable()
    while words:
        word = words.pop(0)
        if word == "objects":
            objects(scale)
        elif word == "payload":
            size, piece = int(words.pop(0)), int(words.pop(0))
            pieces(size, piece)
        elif word == "others":
            others(int(words.pop(0)))
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.read()


main()
