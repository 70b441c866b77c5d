# SPDX-License-Identifier: Apache-2.0
"""The program whose objects test_sizes.py measures from outside: one or more of
every builtin type and of the standard library's types in C, in every state in
which they have another size.

usage: sizes_target.py --census TO

Like target.py it forks: the twin writes down what Python says of every object
that can be reached, and the parent, blocked in waitpid, is dumped. The file
(a path, or fd:N) has one line of JSON for each object: [address, address of its
type, sys.getsizeof, name of the type, built, tp_flags], where built is 1 for
those made here on purpose. It prints "READY PID" when process PID can be dumped.
"""

import argparse
import array
import ast
import asyncio
import bisect
import bz2
import codecs
import collections
import contextvars
import csv
import datetime
import decimal
import enum
import fractions
import functools
import gc
import importlib
import io
import itertools
import json
import lzma
import operator
import os
import pickle
import queue
import random
import re
import select
import socket
import string
import struct
import sys
import threading
import time
import types
import typing
import warnings
import weakref
import xml.etree.ElementTree
import zlib

try:
    import ctypes
except ImportError:
    ctypes = None
try:
    import zoneinfo
except ImportError:
    zoneinfo = None

HELD = []
NEW = sys.version_info

MODULES = """
_abc _ast _asyncio _bisect _blake2 _bz2 _codecs _collections _contextvars
_csv _ctypes _datetime _decimal _elementtree _functools _hashlib _heapq _io
_json _locale _lsprof _lzma _md5 _multibytecodec _multiprocessing _opcode
_operator _pickle _posixshmem _queue _random _sha1 _sha256 _sha3 _sha512
_signal _socket _sqlite3 _sre _ssl _stat _statistics _string _struct _symtable
_thread _tracemalloc _typing _uuid _weakref _zoneinfo array atexit audioop
binascii cmath errno faulthandler fcntl gc grp itertools math mmap nis
ossaudiodev parser posix pwd pyexpat readline resource select spwd syslog
termios time unicodedata zlib _interpreters _interpqueues _suggestions _types
_zstd _hmac _sysconfig _xxsubinterpreters
""".split()


def hold(*things):
    HELD.extend(things)


# ---- Subclasses of builtins, in each of the ways that change the layout

def subclasses(base):
    def body(**members):
        return type("My" + base.__name__.title(), (base,), members)
    made = [body()]
    for slots in [(), ("one", "two"), ("__dict__",), ("__weakref__",)]:
        try:
            made.append(body(__slots__=slots))
        except TypeError:
            pass                # var-sized types have no room for slots
    return made


class WithSizeof(list):
    def __sizeof__(self):
        return 12345


class SizeofFirst:
    def __sizeof__(self):
        return 54321


class MixedIn(SizeofFirst, dict):
    pass


class MixinWithout:
    pass


class MixedWithout(MixinWithout, dict):
    pass


def lists():
    hold([], [1], [1] * 5, list(range(1000)), [None] * 100000)
    shrunk = list(range(1000))
    del shrunk[10:]
    appended = []
    for i in range(77):
        appended.append(i)
    cleared = [1, 2, 3]
    cleared.clear()
    hold(shrunk, appended, cleared, WithSizeof([1, 2]))
    for cls in subclasses(list):
        hold(cls(), cls([1, 2, 3]))


def tuples():
    hold((), (1,), tuple(range(2)), tuple(range(20)), tuple(range(5000)))
    for cls in subclasses(tuple):
        hold(cls(), cls([1]), cls([1, 2, 3]))
    Point = collections.namedtuple("Point", "x y")
    hold(Point(1, 2), Point)


def dicts():
    for n in (0, 1, 5, 6, 10, 11, 43, 200, 5000):
        hold({i: i for i in range(n)}, {"k%d" % i: i for i in range(n)},
             dict.fromkeys(range(n)))
    mixed = {"a": 1}
    mixed[2] = 3
    popped = {i: i for i in range(1000)}
    for i in range(990):
        del popped[i]
    cleared = {1: 2}
    cleared.clear()
    hold(mixed, popped, cleared, dict(popped), mixed.copy(), MixedIn(a=1),
         MixedWithout(a=1), collections.Counter("abracadabra"),
         collections.defaultdict(list, a=[1]), collections.defaultdict())
    for cls in subclasses(dict):
        hold(cls(), cls(a=1), cls((i, i) for i in range(50)))
    if "frozendict" in dir(__builtins__):
        hold(frozendict(), frozendict(a=1), frozendict(popped))  # noqa: F821


class Attributes:
    def __init__(self, n):
        for i in range(n):
            setattr(self, "attribute_%d" % i, i)


class Lone:
    def __init__(self):
        self.a = 1


class Slots:
    __slots__ = ("a", "b")


class SlotsAndMore(Slots):
    pass


class Referable(Slots):
    __slots__ = ("__weakref__",)


def instances():
    few = [Attributes(n) for n in (0, 1, 3, 29, 30, 31, 60)]
    hold(*few)
    hold(*[vars(thing) for thing in [Attributes(3), Attributes(40)]])
    seen = Attributes(3)
    hold(seen, vars(seen), vars(seen).copy())
    deleted = Lone()
    del deleted.a
    replaced = Lone()
    replaced.__dict__ = {"z": 1}
    lone = [Lone() for _ in range(3)]
    hold(deleted, replaced, vars(deleted), *lone)
    hold(vars(lone[0]), Slots(), SlotsAndMore(), Referable())
    extended = SlotsAndMore()
    extended.more = 1
    hold(extended, vars(extended))


def sets():
    for n in (0, 1, 4, 5, 8, 20, 1000):
        hold(set(range(n)), frozenset(range(n)))
    shrunk = set(range(1000))
    for i in range(995):
        shrunk.remove(i)
    cleared = set(range(100))
    cleared.clear()
    hold(shrunk, cleared, shrunk.copy())
    for base in (set, frozenset):
        for cls in subclasses(base):
            hold(cls(), cls(range(3)), cls(range(30)))


def strings():
    for character in ("a", "\xe9", "\u0416", "\U0001f600"):
        for n in (0, 1, 2, 7, 8, 40, 1000):
            hold(character * n, "x" + character * n)
    # The UTF-8 form is kept where C code asked for it.
    for text in ("\xe9\xe8" * 10, "\u0416" * 30, "\U0001f600" * 9):
        cls = type(text, (), {})
        hold(text, cls, cls.__name__)
    for cls in subclasses(str):
        hold(cls(), cls("abc"), cls("\u0416\u0416"), cls("\xe9" * 9),
             cls("\U0001f600"))
    hold(sys.intern("an interned string"))
    if ctypes and NEW < (3, 12):
        api = ctypes.pythonapi
        api.PyUnicode_FromUnicode.restype = ctypes.py_object
        api.PyUnicode_FromUnicode.argtypes = [ctypes.c_wchar_p,
                                              ctypes.c_ssize_t]
        api.PyUnicode_AsUnicode.argtypes = [ctypes.py_object]
        api.PyUnicode_AsUnicode.restype = ctypes.c_void_p
        for text in ("plain" * 5, "\xe9" * 9, "\u0416" * 8, "\U0001f600" * 7):
            text = text + str(len(HELD))
            api.PyUnicode_AsUnicode(text)
            hold(text)


def buffers():
    for n in (0, 1, 7, 8, 9, 100, 5000):
        hold(b"x" * n, bytearray(n), bytearray(b"y" * n))
    grown = bytearray()
    for i in range(100):
        grown.append(i)
    shifted = bytearray(range(200))
    del shifted[:150]
    cleared = bytearray(50)
    cleared.clear()
    hold(grown, shifted, cleared)
    for base in (bytes, bytearray):
        for cls in subclasses(base):
            hold(cls(), cls(b"abc"), cls(b"0" * 100))
    view = memoryview(bytearray(100))
    shaped = view.cast("B", (10, 10))
    hold(view, view[3:5], shaped, view.cast("i"),
         memoryview(array.array("d", [1, 2])))
    for code in "bBuhHiIlLqQfd":
        hold(array.array(code))
        fill = array.array(code)
        if code != "u":
            fill.extend(range(10))
            fill.append(1)
        hold(fill)
    for cls in subclasses(array.array):
        hold(cls("i", [1, 2, 3]))


def numbers():
    for value in (0, 1, 5, -1, 255, 256, 1000, 1023, 1024, 1025, 2 ** 29,
                  2 ** 30 - 1, 2 ** 30, 2 ** 60, 2 ** 1000, -2 ** 70):
        hold(value, -value, value * 1 + 0)
    for cls in subclasses(int):
        hold(cls(), cls(7), cls(2 ** 31), cls(-2 ** 100))
    hold(True, False, 1.5, 0.0, 1j, None, NotImplemented, ...)
    for base in (float, complex):
        for cls in subclasses(base):
            hold(cls(1))
    hold(fractions.Fraction(1, 3), random.Random(1))
    Number = decimal.Decimal
    hold(Number(1), Number("1" * 18), Number("1" * 100), Number("NaN"),
         Number("1") / 3, Number("Infinity"), Number("9" * 1000))
    with decimal.localcontext() as context:
        context.prec = 500
        hold(Number(1) / 7, context, context.flags, context.traps)
    for cls in subclasses(Number):
        hold(cls("3.5"), cls("2" * 200))

    class Color(enum.Enum):
        RED = 1

    class Flag(enum.IntFlag):
        A = 1
    hold(Color.RED, Color, Flag.A, Flag)


def times():
    zone = datetime.timezone.utc
    hold(datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1),
         datetime.datetime(2020, 1, 1, tzinfo=zone), datetime.time(1),
         datetime.time(1, tzinfo=zone), datetime.timedelta(5), zone,
         datetime.timezone(datetime.timedelta(hours=1), "name"),
         time.localtime(), os.stat("/"), sys.version_info, sys.flags,
         sys.float_info, sys.hash_info, sys.int_info, os.times(),
         os.uname(), time.get_clock_info("time"))
    if NEW >= (3, 9):
        hold(datetime.date(2020, 1, 1).isocalendar())
    for base in (datetime.date, datetime.datetime):
        for cls in subclasses(base):
            hold(cls(2020, 1, 1))
    for cls in subclasses(datetime.time):
        hold(cls(2), cls(2, tzinfo=zone))
    if zoneinfo:
        try:
            hold(zoneinfo.ZoneInfo("UTC"))
        except Exception:
            pass


def collections_of_c():
    Deque = collections.deque
    for n in (0, 1, 31, 32, 33, 63, 64, 65, 500):
        hold(Deque(range(n)))
    rotated = Deque(range(200))
    rotated.rotate(33)
    drained = Deque(range(1000))
    for _ in range(950):
        drained.popleft()
    hold(rotated, drained, Deque(range(10), maxlen=5), iter(rotated),
         reversed(rotated))
    for cls in subclasses(Deque):
        hold(cls(), cls(range(100)))
    Ordered = collections.OrderedDict
    for n in (0, 1, 5, 6, 100):
        hold(Ordered((i, i) for i in range(n)),
             Ordered(("k%d" % i, i) for i in range(n)))
    moved = Ordered((i, i) for i in range(20))
    moved.move_to_end(3)
    del moved[5]
    emptied = Ordered(a=1)
    emptied.clear()
    hold(moved, emptied, iter(moved), moved.keys(), moved.items())
    for cls in subclasses(Ordered):
        hold(cls(), cls(a=1))
    simple = queue.SimpleQueue()
    for i in range(30):
        simple.put(i)
    hold(simple, queue.SimpleQueue(), queue.Queue())


def iterators():
    sample = {"a": 1}
    text = "abc"
    for thing in ([1], (1,), sample, {1}, text, "\u0416", b"x", bytearray(1),
                  range(3), range(10 ** 30), memoryview(b"ab"), sample.keys(),
                  sample.values(), sample.items()):
        hold(thing, iter(thing))
    hold(reversed([1]), reversed(sample), reversed(sample.values()),
         reversed(sample.items()), iter(int, 1), enumerate([]),
         enumerate([1], 10 ** 30), zip([1], [2]), map(str, [1]),
         map(max, [1], [2]), filter(None, []), reversed("abc"), range(1),
         slice(1, 2), iter(Sequence()))
    hold(itertools.count(), itertools.count(10 ** 30), itertools.cycle([1]),
         itertools.repeat(1), itertools.repeat(1, 2), itertools.chain([1]),
         itertools.islice([1], 1), itertools.groupby([1, 1]),
         itertools.accumulate([1]), itertools.starmap(max, [(1, 2)]),
         itertools.takewhile(bool, [1]), itertools.dropwhile(bool, [1]),
         itertools.filterfalse(bool, [1]), itertools.compress([1], [1]),
         itertools.zip_longest([1], [2, 3]), *itertools.tee(range(99)))
    for n in (0, 1, 2, 6):
        things = [itertools.product(range(3), repeat=n),
                  itertools.permutations(range(5), n),
                  itertools.combinations(range(7), n),
                  itertools.combinations_with_replacement(range(4), n)]
        hold(*things)
        for thing in things:
            next(thing, None)
    group = itertools.groupby([1, 1, 2])
    hold(*next(group))
    if NEW >= (3, 10):
        hold(itertools.pairwise([1, 2]))
    if NEW >= (3, 12):
        hold(itertools.batched([1, 2], 2))


class Sequence:
    def __getitem__(self, i):
        raise IndexError


def generator(a=1, *args, **kwargs):
    b, c = a, [a]
    yield b
    yield c


async def coroutine():
    await asyncio.sleep(0)


async def async_generator():
    yield 1


def closure(value):
    def inner(argument=value, *, keyword=value) -> int:
        nonlocal value
        value += 1
        return value, argument, keyword
    return inner


def many_locals():
    a = b = c = d = e = f = g = h = 1
    yield [a, b, c, d, e, f, g, h, [a, [b, [c, [d, (e, f, g, h)]]]]]


def raised():
    try:
        try:
            {}["x"]
        except KeyError as error:
            raise ValueError("y") from error
    except ValueError as error:
        return error


class Meta(type):
    pass


class OfMeta(metaclass=Meta):
    """A class with a docstring."""
    attribute = 1


class Descriptors:
    @property
    def a(self):
        """text"""

    @staticmethod
    def b():
        pass

    @classmethod
    def c(cls):
        pass

    @functools.lru_cache()
    def d(self):
        pass

    @functools.lru_cache(maxsize=None)
    def e(self):
        pass


def code():
    started = generator()
    next(started)
    ended = generator()
    list(ended)
    many = many_locals()
    next(many)
    waiting = coroutine()
    agen = async_generator()
    hold(generator(), started, ended, many, waiting, agen, agen.asend(None),
         agen.__anext__(), waiting.__await__(), (i for i in [1]))
    waiting.send(None)
    hold(started.gi_frame, many.gi_frame, many.gi_code)
    error = raised()
    hold(error, error.__traceback__, error.__traceback__.tb_frame,
         error.__cause__, error.__cause__.__traceback__.tb_frame)
    recursive = deep(20)
    while recursive:
        hold(recursive)
        recursive = recursive.f_back
    inner = closure(5)
    inner()
    hold(inner, inner.__closure__[0], inner.__code__, lambda: 0)
    for function in (hold, code, closure, many_locals, json.dumps,
                     argparse.ArgumentParser.parse_args, collections.namedtuple):
        hold(function.__code__, function.__code__.co_code,
             function.__code__.co_varnames, function)
    # Called often, code gets caches beside it.
    for _ in range(2000):
        busy(HELD)
    hold(busy.__code__)
    hold(len, [].append, dict.fromkeys, str.join, int.__add__, (5).__add__,
         type.__dict__["__dict__"], types.FunctionType.__dict__["__code__"],
         types.FunctionType.__dict__["__closure__"], Descriptors.__dict__["a"],
         Descriptors.__dict__["b"], Descriptors.__dict__["c"],
         Descriptors.d, Descriptors.e, Descriptors().c, super(OfMeta, OfMeta),
         Slots.a, functools.partial(max, 1, key=None),
         functools.cmp_to_key(max), operator.itemgetter(1),
         operator.itemgetter(1, 2), operator.attrgetter("a.b", "c"),
         operator.methodcaller("x", 1), weakref.ref(OfMeta),
         weakref.proxy(OfMeta), types.MappingProxyType({}),
         types.SimpleNamespace(a=1), types.MethodType(len, []))
    if NEW >= (3, 9):
        hold(list[int], typing.List[int])
    if NEW >= (3, 10):
        hold(int | str)
    hold(int, type, Meta, OfMeta, Slots, SlotsAndMore, Descriptors, OfMeta(),
         abc_type(), Exception, MyError, MyError(1, 2), OSError(1, "x", "y"),
         SyntaxError("x"), UnicodeDecodeError("a", b"b", 0, 1, "c"),
         StopIteration(1), SystemExit(1), ImportError("x", name="y"))
    if NEW >= (3, 11):
        hold(eval("ExceptionGroup('x', [ValueError()])"))
    if NEW >= (3, 12):
        scope = {}
        exec("type Alias[T] = list[T]\n"
             "def generic[T, *Ts, **P](x: T): pass\n"
             "class Generic[T]: pass\n", scope)
        hold(scope["Alias"], scope["generic"], scope["Generic"],
             *scope["generic"].__type_params__)
    if NEW >= (3, 14):
        hold(eval("t'a{1}b{2}'"))


def deep(n):
    local = [n] * n
    if n:
        return deep(n - 1)
    return sys._getframe()


def busy(things):
    return len(things) + len(str(things.__class__)) + sys.maxsize


def abc_type():
    import abc
    return abc.ABCMeta("Abstract", (), {})


class MyError(Exception):
    def __init__(self, *args):
        super().__init__(*args)
        self.extra = 1


def files():
    raw = io.BytesIO(b"abc")
    exported = io.BytesIO(b"0123456789" * 100)
    written = io.BytesIO()
    written.write(b"z" * 1000)
    shared = b"shared" * 100
    hold(raw, exported, exported.getbuffer(), written, io.BytesIO(),
         io.BytesIO(shared), shared, exported.getvalue())
    accumulating = io.StringIO()
    accumulating.write("abc")
    text = io.StringIO("long " * 100)
    text.read(3)
    text.write("x")
    hold(accumulating, text, io.StringIO())
    name = "sizes_target.tmp"   # in another root there is no /dev
    hold(open(name, "wb", buffering=100), open(name, "w+b"), open(name, "w"))
    null = open(name, "rb")
    hold(null, null.raw, open(name, "rb", buffering=0), open(name, "r"),
         io.BufferedReader(io.BytesIO(b"x")), io.BufferedRandom(io.BytesIO()),
         io.BufferedRWPair(io.BytesIO(), io.BytesIO()))
    closed = open(name, "rb")
    closed.close()
    hold(closed)
    for cls in subclasses(io.BytesIO) + subclasses(io.StringIO):
        hold(cls())


def library():
    for form in ("", "i", "iid4sq", "100i", "<hhl"):
        hold(struct.Struct(form))
    hold(struct.iter_unpack("b", b"ab"))
    pattern = re.compile("a(b|c)*(?P<d>e)?")
    hold(pattern, pattern.match("abcbe"), re.compile(b"x"),
         re.compile("|".join("word%d" % i for i in range(200))),
         pattern.finditer("abab"), pattern.scanner("ab"))
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream)
    pickler.dump([1, "abc", {"x": (1, 2)}, list(range(500)), "u" * 300])
    hold(pickler, pickle.Pickler(io.BytesIO()), pickler.memo)
    stream.seek(0)
    unpickler = pickle.Unpickler(stream)
    unpickler.load()
    hold(unpickler, pickle.Unpickler(io.BytesIO(), encoding="latin1",
                                     errors="ignore"), unpickler.memo)
    if NEW >= (3, 8):
        hold(pickle.PickleBuffer(b"abc"))
    Element = xml.etree.ElementTree.Element
    bare, full = Element("a"), Element("b", {"k": "v"})
    for i in range(4):
        full.append(Element("c%d" % i))
    many = Element("d")
    for i in range(50):
        many.append(Element("e"))
    emptied = Element("f", x="1")
    emptied.append(bare)
    emptied.remove(bare)
    hold(bare, full, many, emptied, iter(many), full.iter(),
         xml.etree.ElementTree.XMLParser(), xml.etree.ElementTree.TreeBuilder())
    context = contextvars.copy_context()
    variable = contextvars.ContextVar("v", default=1)
    hold(context, variable, context.run(variable.set, 5), iter(context),
         context.items())
    for i in range(40):
        context.run(contextvars.ContextVar("v%d" % i).set, i)
    hold(threading.Lock(), threading.RLock(), threading.local(),
         threading.current_thread(), threading.Condition(),
         zlib.compressobj(), zlib.decompressobj(), bz2.BZ2Compressor(),
         bz2.BZ2Decompressor(), lzma.LZMACompressor(), lzma.LZMADecompressor(),
         csv.reader([]), csv.writer(io.StringIO()), csv.excel(),
         select.poll(), select.epoll(), socket.socket(), json.JSONEncoder(),
         json.scanner.c_make_scanner(json.JSONDecoder()),
         codecs.getincrementaldecoder("utf-8")(), codecs.lookup("utf-8"),
         codecs.getincrementaldecoder("shift_jis")(),
         codecs.charmap_build("".join(map(chr, range(256)))),
         string.Formatter().parse("a{b}"), "".__class__.__dict__,
         ast.parse("x = 1 + 2"), os.scandir("/"),
         compile("1 + 1", "x", "eval"), warnings.catch_warnings())
    loop = asyncio.new_event_loop()
    waiting = coroutine()
    hold(loop, loop.create_future(), loop.create_task(waiting))
    try:
        import hashlib
        import ssl
        hold(hashlib.sha256(b"x"), hashlib.md5(b"x"), hashlib.blake2b(),
             hashlib.sha3_256(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
             ssl.MemoryBIO())
    except (ImportError, ValueError):
        pass
    try:
        import sqlite3
        db = sqlite3.connect(":memory:")
        db.row_factory = sqlite3.Row
        hold(db, db.cursor(), db.execute("select 1").fetchone(),
             db.execute("select 1"))
    except ImportError:
        pass
    import mmap
    hold(mmap.mmap(-1, 8192))
    hold(*[module for module in list(sys.modules.values())
           if isinstance(module, types.ModuleType)])


def foreign():
    if not ctypes:
        return
    c = ctypes

    class Pair(c.Structure):
        _fields_ = [("a", c.c_int), ("b", c.c_double * 3), ("c", c.c_char_p)]

    class Either(c.Union):
        _fields_ = [("a", c.c_int), ("b", c.c_longlong)]

    class Nested(c.Structure):
        _fields_ = [("pair", Pair), ("bits", c.c_int, 3), ("e", Either)]

    class Derived(Pair):
        _fields_ = [("more", c.c_int)]
    Grid = c.c_int * 5 * 4
    Callback = c.CFUNCTYPE(c.c_int, c.c_int)
    callback = Callback(lambda x: x)
    pair = Pair(1)
    hold(Pair, Either, Nested, Derived, Grid, Callback, c.POINTER(Pair), pair,
         Either(), Nested(), Derived(), Grid(), callback, c.pointer(pair),
         c.c_int(5), c.c_char_p(b"x"), c.create_string_buffer(1000),
         c.byref(pair), Pair.a, Pair.from_buffer(bytearray(100)), pair.b,
         c.CDLL(None), c.CDLL(None).getpid, c.c_void_p(), c.Structure,
         c._SimpleCData, c.c_wchar_p("abc"))
    if NEW < (3, 13):
        for cls in (Pair, Either, Nested, Grid, c.c_int, Callback):
            hold(*[d for d in gc.get_referents(cls) if isinstance(d, dict)])


# ---- Whatever else can be made by calling a type with nothing or a little

ARGUMENTS = [(), ([],), (b"abc",), ("abc",), (1,), ([], []), (1, 2), (len, [])]
NEVER = {"stderrprinter", "FileIO", "SemLock", "ExitStack",
         "SignalDictMixin"}     # crashes 3.8


def every_type():
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception:
            pass
    for cls in all_types():
        if cls.__flags__ & 1 << 9 and not cls.__flags__ & 1 << 8 and \
           not cls.__module__.startswith("_"):
            continue            # written in Python
        if cls.__name__ in NEVER or issubclass(cls, (SystemExit, type)):
            continue
        for arguments in ARGUMENTS:
            try:
                hold(cls(*arguments))
            except BaseException:
                continue


def all_types():
    seen, pending = set(), [object]
    while pending:
        cls = pending.pop()
        if cls not in seen:
            seen.add(cls)
            try:
                pending.extend(type.__subclasses__(cls))
            except Exception:
                pass
    return sorted(seen, key=lambda cls: (cls.__module__ or "", cls.__name__)
                  if isinstance(cls.__module__, str) else ("", ""))


# ---- The census

def type_name(cls):
    """As type's own attributes say it, whatever a metaclass makes of them."""
    try:
        module = type.__dict__["__module__"].__get__(cls)
    except AttributeError:
        module = None
    qualname = type.__dict__["__qualname__"].__get__(cls)
    if not isinstance(module, str) or module == "builtins":
        return qualname
    return "%s.%s" % (module, qualname)


def sizeof(thing):
    try:
        return sys.getsizeof(thing)
    except Exception:           # half-made objects of every_type()
        return None


def reachable():
    """Everything, by address, but what this function makes; and the sizes of
    what has another one while somebody holds its buffer, as this does."""
    seen, special = {}, {}
    for thing in HELD:
        if isinstance(thing, io.BytesIO):
            special[id(thing)] = sizeof(thing)
    pending = [HELD]
    pending.extend(gc.get_objects())
    ours = {id(pending), id(seen), id(special), id(sys._getframe())}
    while pending:
        thing = pending.pop()
        if id(thing) in seen or id(thing) in ours:
            continue
        if isinstance(thing, io.BytesIO):
            special.setdefault(id(thing), sizeof(thing))
        seen[id(thing)] = thing
        pending.extend(gc.get_referents(thing))
    return seen, special


def census(except_for=None):
    seen, special = reachable()
    built = {id(thing) for thing in HELD}
    names, lines = {}, []
    for address, thing in seen.items():
        cls = type(thing)
        if cls.__name__ == except_for:
            continue
        if cls not in names:
            names[cls] = type_name(cls)
        size = special.get(address) or sizeof(thing)
        if size is not None:
            lines.append(json.dumps(
                [address, id(cls), size, names[cls], int(address in built),
                 type.__dict__["__flags__"].__get__(cls)]) + "\n")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--census", required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for build in (lists, tuples, dicts, instances, sets, strings, buffers,
                  numbers, times, collections_of_c, iterators, code, files,
                  library, foreign, every_type):
        try:
            build()
        except Exception as error:
            print("%s: %r" % (build.__name__, error), flush=True)
    gc.collect()
    gc.disable()
    # A first census, thrown away: asking for a size completes types that are
    # made late, and functions that run often get caches. The links of lru_cache
    # are left out of it, so that one type stays incomplete in old releases.
    census(except_for="_lru_list_elem")
    pid = os.getpid()
    # Of the C function no handler takes notice, on either side.
    fork = ctypes.PyDLL(None).fork if ctypes else os.fork
    if fork():
        os.waitpid(-1, 0)
        os._exit(0)
    try:
        lines, to = census(), arguments.census
        with open(int(to[3:]) if to.startswith("fd:") else to, "w") as out:
            out.writelines(lines)
        os.write(1, b"READY %d\n" % pid)
        while os.read(0, 4096):
            pass
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
