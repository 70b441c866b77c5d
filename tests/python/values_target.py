# SPDX-License-Identifier: Apache-2.0
"""The program whose values test_values.py reads from outside.

usage: values_target.py --census TO

Builds objects of every kind that has a value to be shown, and writes one line
of JSON for each: [address, kind, text], where kind is "repr" (text is what
repr() says), "prefix" (text is what ours begins with, because Python's own repr
is another or cannot be asked for) or "printable" (text is a repr(), too, but
[address, kind, text, unknown] has the characters that this Python does not know
yet). The file is a path, or fd:N. Then it prints "READY PID".
"""

import argparse
import array
import collections
import datetime
import decimal
import enum
import json
import os
import random
import struct
import sys
import time
import unicodedata
import warnings

try:
    import ctypes
except ImportError:
    ctypes = None

HELD, LINES = [], []


def held(thing):
    HELD.append(thing)
    return thing


def add(*things):
    for thing in things:
        held(thing)
        LINES.append([id(thing), "repr", repr(thing)])


def add_prefix(thing, text):
    held(thing)
    LINES.append([id(thing), "prefix", text])


# ---- Classes

class Plain:
    pass


class Slotted:
    __slots__ = ("a",)


class Outer:
    class Inner:
        def method(self):
            return self


class MyError(Exception):
    pass


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyTuple(tuple):
    pass


class MySet(set):
    pass


class MyFrozenSet(frozenset):
    pass


class MyStr(str):
    pass


class MyBytes(bytes):
    pass


class MyByteArray(bytearray):
    pass


class MyInt(int):
    pass


class MyFloat(float):
    pass


class MyDate(datetime.date):
    pass


class MyDateTime(datetime.datetime):
    pass


class MyTimeDelta(datetime.timedelta):
    pass


class MyDeque(collections.deque):
    pass


class MyDefault(collections.defaultdict):
    pass


class MyOrdered(collections.OrderedDict):
    pass


Point = collections.namedtuple("Point", "x y")
Empty = collections.namedtuple("Empty", "")


class Point3(Point):
    """Inherits its repr."""
    __slots__ = ()


class Color(enum.Enum):
    RED = 1
    GREEN = "green"
    BOTH = (1, 2)


class Number(enum.IntEnum):
    ZERO = 0
    ONE = 1
    HUGE = 2 ** 70


class Perm(enum.Flag):
    R = 4
    W = 2
    X = 1


class Texts(str, enum.Enum):
    A = "a"


class Mine(Color.__class__):
    """A metatype on that of enumerations."""


def function():
    def inner():
        pass
    return inner


# ---- Values

def numbers():
    add(None, True, False, ..., NotImplemented)
    add(0, 1, -1, 255, -256, 2 ** 15, -(2 ** 15), 2 ** 30 - 1, 2 ** 30,
        -(2 ** 30), 2 ** 31, 2 ** 60 - 1, 2 ** 60, -(2 ** 61), 2 ** 63, 2 ** 64,
        10 ** 9, 10 ** 9 - 1, 10 ** 18, 10 ** 18 - 1, 10 ** 59, 10 ** 60 - 1,
        -(10 ** 60) + 1, 10 ** 60, 10 ** 61, 10 ** 300 + 7, -(10 ** 1000) - 3,
        10 ** 4000 + 12345)
    source = random.Random(1)
    for bits in range(1, 200, 3):
        add(source.getrandbits(bits), -source.getrandbits(bits))
    add_prefix(1 << 40000, "<int of 40001 bits>")
    add_prefix(-(1 << 59999), "<negative int of 60000 bits>")
    add(MyInt(-5), MyInt(10 ** 30))
    add(0.0, -0.0, 1.0, -1.0, 0.1, 1 / 3, 2 / 3, 1e16, 1e15, 123456789012345.6,
        9999999999999998.0, 1e22, 1e23, 1e-4, 1e-5, 0.00012345, 1.5e-5, 5e-324,
        2.2250738585072014e-308, 2.225073858507201e-308, 1.7976931348623157e308,
        float("inf"), -float("inf"), float("nan"), 3.141592653589793, 100.0,
        1e100, -1e-100, 123.456, MyFloat(2.5))
    for power in range(-1074, 1024, 7):
        add(2.0 ** power)
    for _ in range(300):
        value = struct.unpack("d", struct.pack("Q", source.getrandbits(64)))[0]
        add(value)
    for _ in range(100):
        add(round(source.uniform(-1000, 1000), source.randrange(6)))
    add(1j, -1j, 0j, complex(-0.0, 0.0), complex(1, 2), complex(1.5, -2.5),
        complex(0, -0.0), complex(-0.0, -0.0), complex(float("nan"), 1),
        complex(1, float("nan")), complex(float("inf"), -float("inf")),
        complex(1e22, 1e-7))
    for text in ("0", "-0", "1", "-1", "1.50", "0.000001", "0.0000001", "1E+5",
                 "-1.23E-10", "123456789012345678901234567890", "1E-19",
                 "10000000000000000000", "12345678901234567890.123456789",
                 "0E+3", "0.00", "-0E-7", "0E-6", "Infinity", "-Infinity",
                 "NaN", "-NaN", "sNaN", "NaN123", "9.99E+999", "1E-999999",
                 "0." + "123456789" * 20, "7" * 150, "1.5E+30"):
        add(decimal.Decimal(text))


def strings():
    add("", "a", "abc", "it's", 'say "hi"', "both ' and \"", "back\\slash",
        "tab\tnewline\nreturn\r", "\0\x01\x1f\x7f", "\x80\x9f\xa0\xad",
        "\xe9t\xe9", "\u0416\u0436", "\u4e2d\u6587", "\U0001f600",
        "mixed \xe9 \u4e2d \U0001f600", "\ud800", "a\udfffb", "\u200b\u202e",
        "\u2028\u2029", "\ufeff", "\ufffe\uffff", "\U0010ffff", "\U000e0001",
        "\u3000", "\u00a0", "x" * 1000, "\u0416" * 700, "'" * 300,
        "\U0001f600" * 300, MyStr("mine"), MyStr("\u0416\xe9'"))
    # A cut text must not end inside of an escape or a character.
    for i in range(90, 110):
        add("x" * i + "\u0416\u0416", "x" * i + "\n\n", "x" * i + "\U0001f600")
    add(b"", b"abc", b"it's", b'"', b"'\"", b"\0\n\r\t\\\x7f\x80\xff",
        bytes(range(256)), b"z" * 3000, MyBytes(b"mine"), bytearray(),
        bytearray(b"abc'"), bytearray(b"\x00\xff" * 100), MyByteArray(b"m"))
    shifted = bytearray(b"0123456789")
    del shifted[:3]
    add(shifted)
    if ctypes and sys.version_info < (3, 12):
        # A str of the old kind, which has nothing but wide characters.
        create = ctypes.pythonapi.PyUnicode_FromUnicode
        create.restype = ctypes.py_object
        create.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
        wide = create(None, 3)
        area = ctypes.pythonapi.PyUnicode_AsUnicode
        area.restype = ctypes.c_void_p
        area.argtypes = [ctypes.py_object]
        characters = struct.pack("3I", 0x61, 0x416, 0x1f600)
        ctypes.memmove(area(wide), characters, len(characters))
        add_prefix(wide, repr("a\u0416\U0001f600"))


def every_character():
    """All of Unicode, in pieces; those that this release has not got yet are
    told apart."""
    for start in range(0, 0x110000, 0x200):
        text = "".join(map(chr, range(start, start + 0x200)))
        if not 0xe0400 <= start < 0x10fe00:
            held(text)
            LINES.append([id(text), "printable", repr(text),
                          [c for c in map(ord, text)
                           if unicodedata.category(chr(c)) == "Cn"]])


def containers():
    add([], [1], [1, 2, 3], (), (1,), (1, 2), {}, {"a": 1}, {1: "b", None: ()},
        set(), {1}, frozenset(), frozenset({1}), frozenset({"a"}),
        set(range(100)), frozenset(range(50)), [[[]]], [(1, [2, {3: {4}}])],
        list(range(2000)), {i: str(i) for i in range(500)},
        tuple("abc"), ["it's", b"b", None, 1.5, 2j])
    add(MyList([1]), MyDict(a=1), MyTuple((1,)), MySet({1}), MySet(),
        MyFrozenSet({2}))
    emptied = {i: i for i in range(100)}
    for i in range(99):
        del emptied[i]
    add(emptied, dict.fromkeys("xyz"))
    # Attributes whose names are shared, set in this and in that order.
    for names in "abc", "cab", "b", "", "bac":
        thing = held(Plain())
        for number, name in enumerate(names):
            setattr(thing, name, number)
        if names == "bac":
            del thing.a
        add(vars(thing))
    thinned = set(range(100))
    for i in range(97):
        thinned.remove(i)
    add(thinned)
    me = []
    me.append(me)
    both = [1]
    both.append({"b": both})
    mine = {}
    mine["me"] = mine
    loop = ([],)
    loop[0].append(loop)
    odd = MySet()
    add(me, both, mine, loop, loop[0], odd)
    shared = [1]
    add([shared, shared], (shared, [shared]))
    deep = []
    for _ in range(100):
        deep = [deep]
    add(deep)
    deeper = {}
    for _ in range(30):
        deeper = {"k": (deeper,)}
    add(deeper)
    add(collections.deque(), collections.deque([1, 2]),
        collections.deque(range(300)), collections.deque([1], maxlen=5),
        collections.deque(maxlen=0), MyDeque([1]))
    turning = collections.deque(range(100))
    turning.rotate(37)
    turning.append(turning)
    add(turning)
    add(collections.OrderedDict(), collections.OrderedDict(a=1, b=2),
        MyOrdered(a=1))
    moved = collections.OrderedDict.fromkeys("abc", 0)
    moved.move_to_end("a")
    itself = collections.OrderedDict()
    itself["me"] = itself
    add(moved, itself)
    add(collections.defaultdict(int, a=1), collections.defaultdict(None),
        collections.defaultdict(list, {1: [2]}), MyDefault(int, b=2))
    nested = collections.defaultdict(int)
    nested["me"] = nested
    add(nested)
    if sys.version_info >= (3, 15):
        add(frozendict(), frozendict(a=1))        # noqa: F821
    for code in "bBhHiIlLqQ":
        add(array.array(code, [0, 1, 100]))
    add(array.array("b", [-1]), array.array("q", [-2 ** 63]),
        array.array("Q", [2 ** 64 - 1]), array.array("d", [0.1, -0.0]),
        array.array("f", [0.1, 2.0]), array.array("i"))
    add(Point(1, 2), Point("a", [Point(3, None)]), Point3(5, 6), Empty())
    add(time.gmtime(0), sys.version_info, sys.flags,
        os.terminal_size((80, 24)))
    add(range(5), range(1, 5), range(0, 10, 2), range(10, 0, -1),
        range(0, 5, 11), range(0, 10 ** 30), slice(None), slice(1, 2),
        slice(None, None, -1), slice("a", [1], ()))


def times():
    utc, zone = datetime.timezone.utc, datetime.timezone(
        datetime.timedelta(hours=-3, minutes=-30))
    named = datetime.timezone(datetime.timedelta(hours=1), "it's CET")
    zero = datetime.timezone(datetime.timedelta(0), "zero")
    add(utc, zone, named, zero)
    add(datetime.date(1, 1, 1), datetime.date(2024, 2, 29),
        datetime.date(9999, 12, 31), MyDate(2000, 1, 2))
    add(datetime.datetime(2024, 2, 29), datetime.datetime(2024, 1, 2, 3, 4),
        datetime.datetime(2024, 1, 2, 3, 4, 5),
        datetime.datetime(2024, 1, 2, 3, 4, 0, 6),
        datetime.datetime(2024, 1, 2, 23, 59, 59, 999999),
        datetime.datetime(2024, 1, 2, 3, 4, fold=1),
        datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=utc),
        datetime.datetime(2024, 1, 2, 3, 4, 5, 6, zone, fold=1),
        datetime.datetime(2024, 1, 2, tzinfo=named), MyDateTime(2000, 1, 2))
    add(datetime.time(), datetime.time(1), datetime.time(1, 2),
        datetime.time(1, 2, 3), datetime.time(1, 2, 0, 4),
        datetime.time(23, 59, 59, 999999), datetime.time(1, 2, fold=1),
        datetime.time(1, 2, tzinfo=utc), datetime.time(1, tzinfo=zone, fold=1))
    add(datetime.timedelta(), datetime.timedelta(1), datetime.timedelta(-1),
        datetime.timedelta(0, 5), datetime.timedelta(0, 0, 6),
        datetime.timedelta(1, 2, 3), datetime.timedelta(-1, 86399, 999999),
        datetime.timedelta.max, datetime.timedelta.min, MyTimeDelta(3))


def objects():
    add(Plain(), Slotted(), Outer.Inner(), object(), Outer.Inner().method)
    add(Plain, Outer.Inner, int, type, object, dict, MyError, Point, list,
        collections.deque, datetime.datetime, decimal.Decimal, enum.Enum)
    add(function, function(), Outer.Inner.method, lambda: 0)
    add((i for i in ()), len, [].append, "a".join, time.sleep)
    add(ValueError(), ValueError("e"), ValueError("e", 1), MyError("e", [1]),
        MyError("it's"), KeyError("k"), OSError(2, "no"), MyError(),
        Exception(("a",)), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
        StopIteration(5), MyError(MyError("inner")))
    nested = MyError("x")
    nested.args = (nested.args, [nested.args])
    add(nested)
    add(Color.RED, Color.GREEN, Color.BOTH, Number.ZERO, Number.ONE,
        Number.HUGE, Perm.R, Texts.A, [Color.RED], {Number.ONE: Perm.W})
    if sys.version_info >= (3, 11):
        add(Perm.R | Perm.W, Perm(0), Perm, enum.Flag)
    add(Color, Number, Texts)
    for name in ("sys", "builtins", "json", "__main__"):
        module = __import__(name)
        add_prefix(module, "<module %r>" % name)


def of_test_gdb():
    """The values that CPython's Lib/test/test_gdb expects its helper for gdb to
    show, as repr() has them: instances and frames are not shown with what is in
    them, which has rows of its own."""
    add(42, 0, -5, 1000000000000, -1000000000000000, True, False, None,
        1 << 32, {}, {"foo": "bar"}, {"foo": "bar", "douglas": 42},
        [], list(range(5)), b"", b"And now for something hopefully the same",
        b"string with embedded NUL here \0 and then some more text",
        b"this is byte 255:\xff and byte 128:\x80",
        "", " ", "And now for something hopefully the same",
        "string with embedded NUL here \0 and then some more text",
        chr(0x2620) + " " + chr(0xFE0F), "\u6587\u5b57\u5316\u3051",
        chr(0x1D121), (), (1,), ("foo", "bar", "baz"),
        set(), {"b"}, {4, 5, 6}, frozenset(), frozenset(["a"]),
        frozenset([4, 5, 6]), RuntimeError("I am an error"), [1, [2], 3])
    discarded = {"a", "b"}
    discarded.discard("a")
    add(discarded)
    try:
        1 / 0
    except ZeroDivisionError as error:
        add(error)
    ring, other = [3, 4, 5], [3, 4, 5]
    ring.append(ring)
    other.append([other])
    inner = {}
    outer = {"foo": inner}
    inner["bar"] = outer
    add(ring, other, outer)
    one, two = Plain(), Plain()
    one.an_attr, two.an_attr = one, one
    listed, tupled = MyList([1, 2, 3]), MyTuple((1, 2, 3))
    listed.an_int = tupled.an_int = 42
    add(one, two, listed, tupled, sys.stdin.readlines, ring.__len__)
    # Its class has a repr() written in Python, which is not run.
    LINES.append([id(held(help)), "repr", object.__repr__(help)])

    def foo(a, b, c):
        return sys._getframe()

    add(foo(1, 2, 3))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--census", required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    for build in (numbers, strings, every_character, containers, times,
                  objects, of_test_gdb):
        build()
    to = arguments.census
    with open(int(to[3:]) if to.startswith("fd:") else to, "w") as out:
        out.writelines(json.dumps(line) + "\n" for line in LINES)
    os.write(1, b"READY %d\n" % os.getpid())
    while os.read(0, 4096):
        pass


if __name__ == "__main__":
    main()
