# SPDX-License-Identifier: Apache-2.0
"""The program whose dumps are compared with what Python says about itself.

It builds a heap of everything that is awkward to read from outside, and then
stands still. Runs on CPython 3.8 to 3.15 with the standard library only.

usage: target.py [--scale N] [--threads N] [--no-gc] [--freeze]
                 [--collecting WHERE] [--census TO]

  --scale N    instances of the ordinary classes (2000)
  --threads N  threads, each blocked in another kind of call (3)
  --no-gc      no collection ever runs; otherwise it is only switched off before
               the cyclic garbage is made
  --freeze     gc.freeze() half-way: the first half lies in the permanent
               generation
  --collecting WHERE
               stand still inside of a collection of the garbage: in the
               "callback" of a weak reference, in a "finalizer", in the "hook"
               that the collector calls first; or collect when a byte of "input"
               comes, for a debugger to stop it
  --census TO  take the census, into the file TO, or into the inherited file
               descriptor N if TO is fd:N

It prints "READY PID" when process PID can be dumped; the end of its standard
input ends it.

The census. Counting objects makes objects, so it is not the process to be
dumped that counts, but a twin made by fork: a copy of the heap as it was. The
fork is a call of the C function with the interpreter lock held, so no at-fork
handler runs, on either side, and other threads' states stay as they are. From
then on the parent runs nothing but a call of waitpid, in which it blocks until
the twin is gone. The twin writes the census, says READY, and waits. So what
is dumped is the parent with the heap of the fork, but for a handful of freed
temporaries. With --collecting the twin ends when it has counted, and only then
the parent collects: what it stops in the midst of has freed nothing yet.

Format: one line of JSON, then five little-endian 64-bit words an object:
address, address of its type, sys.getsizeof, 1 if the collector tracks it, and
its reference count as it lies in memory, less the one of the census. That is 0
without ctypes. In a free-threaded build it is the sum of what all threads
count, as far as the object itself knows, and 1 << 63 if it is immortal.
Then two words for each reference that gc.get_referents tells, which is what
tp_traverse visits: the address of who refers, and of what is referred to; and
the same for each that the collector has no interest in, but Python can tell:
keys of dicts, members of code, names of types and descriptors.
The line: "pid", "python" (sys.version), "hexversion", "gil" (false in a
free-threaded build), "counted" (whether there are reference counts), "objects",
"references" and "hidden" references (how many), "own" (addresses of what the
code uses that ran since the fork, whose counts may differ from the parent's),
and "types": for each type's address [name, user, count], where name is
module-qualified unless from builtins, and user says that this program made the
type. tests/lib/heaptest.py reads it (Census).

Complete are: instances of the types this program made. Of other types the
census holds all that the collector tracks and everything reachable from there
and from frames by gc.get_referents, which knows no references from C code.
"""

import abc
import argparse
import array
import builtins
import collections
import contextvars
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gc
import io
import itertools
import json
import operator
import os
import re
import struct
import sys
import threading
import time
import types
import weakref

try:
    import ctypes
except ImportError:
    ctypes = None

FREE_THREADED = "t" in sys.abiflags
HEAP = {}       # everything that main() builds, by the name of its builder


# ---- Types, one for each way in which instances are laid out

class Plain:
    """A __dict__, which is split, inline or lazy by version."""

    def __init__(self, number):
        self.number = number
        self.text = "text %d" % number
        self.peer = None


class Slotted:
    __slots__ = ("first", "second", "third")

    def __init__(self, number):
        self.first = number
        self.second = float(number)
        # third stays unset: a null pointer in the object


class SlottedWeak:
    __slots__ = ("value", "__weakref__")

    def __init__(self, value):
        self.value = value


class Empty:
    """No slots and no dict: instances are not the collector's business."""

    __slots__ = ()


class Both(Slotted):
    """Slots of a base and a __dict__."""

    def __init__(self, number):
        super().__init__(number)
        self.extra = number


class Large:
    """Instances too large for the small-object allocator."""

    __slots__ = tuple("slot_%02d" % i for i in range(80))


class Wide:
    """More attributes than shared keys hold."""

    def __init__(self, number):
        for i in range(40):
            setattr(self, "attribute_%d" % i, number)


class Meta(type):
    """A metaclass, whose classes have small hash values: in a table of keys
    the pair (hash, class) looks like (reference count, type)."""

    def __hash__(cls):
        return 3


class OfMeta(metaclass=Meta):
    def __init__(self, number):
        self.number = number


class MetaOfMeta(Meta):
    pass


class DeepMeta(Meta, metaclass=type("MetaMeta", (type,), {})):
    pass


class OfDeepMeta(metaclass=DeepMeta):
    pass


class Itself(type):
    """Its classes are instances of themselves, as the sentinels of h11 are."""

    def __new__(cls, name, bases, namespace):
        made = super().__new__(cls, name, bases, namespace)
        made.__class__ = made
        return made


class OfItself(Itself, metaclass=Itself):
    pass


class Abstract(abc.ABC):
    @abc.abstractmethod
    def method(self):
        pass


class Concrete(Abstract):
    def method(self):
        return super().method()


class MyInt(int):
    pass


class MyStr(str):
    pass


class MyTuple(tuple):
    pass


class MySlottedTuple(tuple):
    __slots__ = ()


class MyDict(dict):
    pass


class MyList(list):
    pass


class MyBytes(bytes):
    pass


class MyFloat(float):
    __slots__ = ()


class MySet(set):
    __slots__ = ("label",)


class MyError(Exception):
    def __init__(self, message, payload):
        super().__init__(message)
        self.payload = payload


class Finalized:
    def __del__(self):
        pass


class Descriptor:
    def __get__(self, instance, owner=None):
        return self

    def __set__(self, instance, value):
        pass


class Member:
    """Properties, descriptors, static and class methods."""

    descriptor = Descriptor()

    @property
    def computed(self):
        return self._computed

    @computed.setter
    def computed(self, value):
        self._computed = value

    @staticmethod
    def static():
        pass

    @classmethod
    def of_class(cls):
        pass


@dataclasses.dataclass
class Record:
    name: str
    weight: float = 1.0
    tags: list = dataclasses.field(default_factory=list)


Point = collections.namedtuple("Point", "x y")


class Color(enum.Enum):
    RED = 1
    GREEN = "green"


class Bits(enum.IntFlag):
    LOW = 1
    HIGH = 1 << 40


def two_classes_of_one_name():
    def define(attribute):
        class Twin:
            def __init__(self):
                setattr(self, attribute, attribute)
        Twin.__qualname__ = "Twin"
        return Twin
    return define("left"), define("right")


# Names that a reader must escape, each for another place to be shown in.
ODD_NAMES = (
    "\x1b[31mRed\x1b[0m", "<script>alert(1)</script>", "=cmd|'/c calc'!A1",
    "new\nline", "tab\tand|pipe", 'quote"and\\backslash', "\u202edesrever",
    "\u0416\U0001f600", "", " ", "L" * 3000, "../../etc/passwd", "%s%n",
)


def odd_types():
    odd = [type(name, (), {}) for name in ODD_NAMES]
    odd.append(type("InOddModule", (), {"__module__": "evil\x1b]0;title\x07"}))
    odd.append(type("Renamed", (), {"__qualname__": "Outer.<locals>.Inner"}))
    return odd


# ---- Heaps

def user_instances(scale):
    nodes = [Plain(i) for i in range(scale)]
    for node, peer in zip(nodes, nodes[1:]):
        node.peer = peer

    materialized = [Plain(i) for i in range(scale // 4)]
    dicts = [vars(plain) for plain in materialized]

    deleted = [Plain(i) for i in range(scale // 4)]
    for plain in deleted:
        del plain.text
    extended = [Plain(i) for i in range(scale // 4)]
    for i, plain in enumerate(extended):
        setattr(plain, "own_%d" % (i % 50), i)
    replaced = [Plain(i) for i in range(scale // 8)]
    for plain in replaced:
        plain.__dict__ = {"other": plain.number}
    classes_as_values = [Plain(i) for i in range(scale // 8)]
    for plain in classes_as_values:
        plain.number, plain.text, plain.peer = Plain, Slotted, Empty

    watched = [SlottedWeak(i) for i in range(scale // 2)]
    left, right = two_classes_of_one_name()
    odd = odd_types()
    return dict(
        nodes=nodes, materialized=materialized, dicts=dicts, deleted=deleted,
        extended=extended, replaced=replaced,
        classes_as_values=classes_as_values,
        slotted=[Slotted(i) for i in range(scale)],
        watched=watched,
        weak=[weakref.ref(w) for w in watched[::2]],
        weak_with_callback=[weakref.ref(w, print) for w in watched[::3]],
        proxies=[weakref.proxy(w) for w in watched[::4]],
        weak_values=weakref.WeakValueDictionary(enumerate(watched[:50])),
        weak_keys=weakref.WeakKeyDictionary((w, 1) for w in watched[:50]),
        empty=[Empty() for _ in range(scale)],
        both=[Both(i) for i in range(scale // 2)],
        large=[Large() for _ in range(scale // 4)],
        wide=[Wide(i) for i in range(scale // 20)],
        of_meta=[OfMeta(i) for i in range(scale // 4)],
        meta_of_meta=[MetaOfMeta("Made%d" % i, (), {})() for i in range(5)],
        of_deep_meta=[OfDeepMeta() for _ in range(10)],
        concrete=[Concrete() for _ in range(10)],
        twins=[left() for _ in range(30)] + [right() for _ in range(70)],
        odd=odd, odd_instances=[cls() for cls in odd for _ in range(3)],
        my=[make(i) for i in range(scale // 10) for make in (
            MyInt, MyStr, MyFloat, lambda i: MyTuple((i, "x")),
            lambda i: MySlottedTuple((i,) * 5), lambda i: MyDict(a=i),
            lambda i: MyList([i] * 9), lambda i: MyBytes(b"%d" % i),
            lambda i: MySet({i}))],
        finalized=[Finalized() for _ in range(20)],
        members=[Member() for _ in range(20)],
        records=[Record("r%d" % i) for i in range(scale // 4)],
        points=[Point(i, i + 0.5) for i in range(scale // 4)],
        enums=[Color.RED, Color.GREEN, Bits.LOW | Bits.HIGH],
        errors=[MyError("e", [i]) for i in range(scale // 20)])


def numbers(scale):
    return dict(
        small=list(range(-10, 300)),
        ints=[10 ** 6 + i for i in range(scale)],
        big=[3 ** i for i in range(0, 3000, 7)],
        negative=[-(7 ** i) for i in range(100)],
        floats=[i / 7 for i in range(scale)],
        complexes=[complex(i, -i) for i in range(100)],
        fractions=[fractions.Fraction(i, 7) for i in range(50)],
        decimals=[decimal.Decimal(i) / 7 for i in range(50)],
        context=decimal.getcontext())


def strings(scale):
    kinds = dict(ascii="a", latin1="\xe9", ucs2="\u0416", ucs4="\U0001f600")
    heap = {}
    for kind, character in kinds.items():
        heap[kind] = [character * n + str(n)
                      for n in itertools.chain(range(60), range(60, 4000, 97))]
    heap["many"] = ["string number %d" % i for i in range(scale)]
    heap["interned"] = [sys.intern("interned_%d" % i) for i in range(500)]
    # A UTF-8 form is kept beside the characters of those used as names.
    for i, text in enumerate(heap["ucs2"][:20]):
        type(text, (), {})
        setattr(Descriptor, "attribute_%s" % text, i)
    heap["bytes"] = [b"\x00\xff" * n for n in range(0, 600, 7)]
    heap["bytearrays"] = [bytearray(n) for n in range(0, 600, 7)]
    heap["exports"] = [memoryview(b) for b in heap["bytearrays"][1:40]]
    heap["slices"] = [m[:1] for m in heap["exports"]]
    heap["arrays"] = [array.array(code, range(n))
                      for code in "bHiQd" for n in (0, 1, 9, 100)]
    # The front of the buffer is cut off, not copied away.
    heap["shifted"] = bytearray(range(200))
    del heap["shifted"][:50]
    return heap


def containers(scale):
    sparse = {i: str(i) for i in range(1000)}
    for i in range(0, 1000, 2):
        del sparse[i]
    cleared = {i: i for i in range(100)}
    cleared.clear()
    mixed = {"a": 1, "b": 2}
    mixed[3] = "c"
    ordered = collections.OrderedDict((str(i), i) for i in range(100))
    ordered.move_to_end("5")
    del ordered["7"]
    holey = set(range(200))
    holey -= set(range(50, 180))
    queue = collections.deque(range(500), maxlen=300)
    queue.rotate(123)
    shrunk = list(range(100))
    del shrunk[60:]
    loop = []
    loop.append(loop)
    loop_of_dict = {}
    loop_of_dict["self"] = loop_of_dict
    return dict(
        sparse=sparse, cleared=cleared, mixed=mixed, ordered=ordered,
        holey=holey, queue=queue, shrunk=shrunk, loop=loop,
        loop_of_dict=loop_of_dict,
        empties=[[], (), {}, set(), frozenset(), collections.deque(), "", b""],
        big_list=list(range(scale * 20)),
        big_tuple=tuple(float(i) for i in range(scale * 2)),
        big_dict={"key %d" % i: [i] for i in range(scale * 5)},
        big_set={"member %d" % i for i in range(scale * 2)},
        int_dicts=[dict.fromkeys(range(n)) for n in range(0, 40)],
        str_dicts=[{"k%d" % i: i for i in range(n)} for n in range(0, 40)],
        lists=[[i] * (i % 20) for i in range(scale)],
        tuples=[(i, str(i)) for i in range(scale)],
        sets=[set(range(n)) for n in range(40)],
        frozen=[frozenset("abcdefgh"[:n]) for n in range(9)],
        counter=collections.Counter("abracadabra"),
        by_default=collections.defaultdict(list, a=[1]),
        chain=collections.ChainMap({"a": 1}, {"b": 2}),
        user=collections.UserDict(a=1),
        space=types.SimpleNamespace(a=1, b=[2]),
        proxy=types.MappingProxyType({"p": 1}),
        views=[sparse.keys(), sparse.values(), sparse.items()],
        deep=functools.reduce(lambda inner, _: [inner], range(2000), []))


def generator(plain):
    local = [plain, "in a generator"]
    received = yield local
    yield received


async def coroutine(plain):
    local = SlottedWeak(plain)
    await pause()
    return local


@types.coroutine
def pause():
    yield "paused"


async def async_generator():
    local = Slotted(1)
    yield local
    yield None


def make_closure(value):
    cell = [value]
    unset = None
    del unset

    def closure(argument=Slotted(99), *, keyword="kw"):
        nonlocal unset
        unset = 1
        return cell, argument, keyword
    return closure


@functools.lru_cache(maxsize=64)
def cached(number):
    return Plain(number)


def raised(depth):
    """An exception whose traceback holds frames with locals."""
    local = Slotted(depth)
    if depth:
        return raised(depth - 1)
    try:
        try:
            raise MyError("inner", local)
        except MyError as inner:
            raise KeyError("outer") from inner
    except KeyError as error:
        return error


def code_and_frames():
    suspended = [generator(Plain(i)) for i in range(100)]
    for g in suspended[::2]:
        next(g)
    finished = [generator(Plain(i)) for i in range(10)]
    for g in finished:
        list(g)
    started = [coroutine(Plain(i)) for i in range(20)]
    for c in started:
        c.send(None)
    a_generators = [async_generator() for _ in range(10)]
    for a in a_generators[::2]:
        try:
            a.asend(None).send(None)
        except StopIteration:
            pass
    for i in range(100):
        cached(i)
    context = contextvars.copy_context()
    variable = contextvars.ContextVar("variable", default=Plain(0))
    context.run(variable.set, Plain(1))
    heap = dict(
        suspended=suspended, finished=finished, started=started,
        a_generators=a_generators,
        closures=[make_closure(Plain(i)) for i in range(50)],
        lambdas=[lambda x=i: x for i in range(50)],
        partials=[functools.partial(make_closure, i, key=i) for i in range(50)],
        methods=[Plain(i).__init__ for i in range(50)],
        builtins=[len, [].append, str.join, "".join, int.__add__, (5).__add__],
        supers=[super(Both, b) for b in (Both(1), Both(2))],
        cached=cached, cached_by_dispatch=functools.singledispatch(cached),
        errors=[raised(i) for i in range(20)],
        context=context, variable=variable,
        frame=sys._getframe(), code=compile("a = b'c' + 'd'", "<made>", "exec"),
        iterators=[iter([1, 2]), iter((1, 2)), iter({1: 2}), iter({3}),
                   iter("ab"), iter(b"ab"), reversed([1]), iter(range(9)),
                   zip([1], [2]), map(str, [1]), filter(None, [1]),
                   enumerate([1]), itertools.count(5), itertools.chain([1]),
                   itertools.tee([1, 2]), itertools.cycle([1]),
                   itertools.groupby([1]), iter(int, 1)],
        operators=[operator.itemgetter(1), operator.attrgetter("a.b"),
                   operator.methodcaller("m", 1, k=2)],
        slices=[slice(1, 10 ** 9), range(10 ** 9), Ellipsis, NotImplemented],
        module=types.ModuleType("made_by_hand", "doc"))
    if sys.version_info >= (3, 9):
        heap["aliases"] = [list[int], dict[str, list[Plain]]]
    if sys.version_info >= (3, 10):
        heap["unions"] = [int | None, Plain | str]
    if sys.version_info >= (3, 11):
        heap["groups"] = ExceptionGroup("group", [MyError("e", 1)])
    return heap


def library_objects():
    zone = datetime.timezone(datetime.timedelta(hours=1), "zone")
    now = datetime.datetime(2024, 2, 29, 12, 30, 1, 5, zone)
    text = io.StringIO()
    text.write("written " * 100)
    raw = io.BytesIO(b"raw bytes " * 100)
    local = threading.local()
    local.value = Plain(1)
    return dict(
        times=[now + datetime.timedelta(days=i) for i in range(100)],
        naive=datetime.datetime(2000, 1, 1), date=datetime.date(2000, 1, 1),
        delta=datetime.timedelta(1, 2, 3), time=datetime.time(1, tzinfo=zone),
        patterns=[re.compile(pattern) for pattern in
                  ("a+", "(?P<n>x|y)*z", "[\u0416-\u044f]{3}")],
        match=re.match("(a)(b)", "abc"), scanner=re.finditer("a", "aaa"),
        struct=struct.Struct("<IQ10s"),
        text=text, raw=raw, export=raw.getbuffer(),
        file=open(__file__, "rb"), buffered=io.BufferedReader(io.BytesIO(b"x")),
        wrapper=io.TextIOWrapper(io.BytesIO(b"line\n" * 10)),
        locks=[threading.Lock(), threading.RLock(), threading.Condition()],
        local=local,
        user_namespace=dict(vars(types)))


# ---- Memory that looks like objects and is none

def header(cls):
    """Words that begin an object of a class: a reference count and a type."""
    if FREE_THREADED:
        return [1, 1 << 32, 0, id(cls)]     # owner, local count, shared, type
    return [1, id(cls)]


MIMICKED = (Plain, Slotted, SlottedWeak, Empty, OfMeta, Record)


class Few:
    """An iterator that promises more than it gives: a list makes room."""

    def __init__(self, given, promised):
        self.given, self.promised = given, promised

    def __iter__(self):
        return self

    def __next__(self):
        if self.given == 0:
            raise StopIteration
        self.given -= 1
        return Plain

    def __length_hint__(self):
        return self.promised


def stale_memory(scale):
    """Freed objects of all kinds, and buffers with more room than they use: in
    the unused part, where an object would begin, lies an old header."""
    survivors = []
    makers = [lambda: Plain(1), lambda: Slotted(1), lambda: SlottedWeak(1),
              Empty, lambda: Both(1), lambda: OfMeta(1), lambda: Record("r"),
              lambda: [1] * 5, lambda: {"a": 1}, lambda: (1, 2, 3),
              lambda: "x" * 30, lambda: b"x" * 30, lambda: 10 ** 30,
              lambda: 1.5 * len(survivors), lambda: {1, 2}, lambda: object(),
              lambda: make_closure(1), lambda: MyError("e", 1),
              lambda: generator(1), Large]
    for make in makers:
        made = [make() for _ in range(scale // 10)]
        # One in ten stays, so that no pool becomes free as a whole.
        survivors.append(made[::10])
        del made

    # Headers one after the other: at any multiple of 16 there is one.
    images = [array.array("Q", (header(cls) * 32)[:words])
              for words in (4, 6, 8, 12, 16, 32, 60) for cls in MIMICKED]
    # These keep their buffer when they are shortened, and what is in it.
    shortened = [array.array("Q", image) for image in images for _ in range(9)]
    for words in shortened:
        del words[2:]
    characters = [bytearray(image) for image in images for _ in range(9)]
    for word in characters:
        del word[len(word) // 2 + 1:]
    # These are emptied, and lists take their buffers, uncleared.
    lists = [[] for _ in range(scale)]
    grown = [[] for _ in range(scale // 4)]
    few = [Few(1 + i % 2, (2, 5, 8, 14)[i // 2 % 4]) for i in range(scale)]
    emptied = [bytearray(image.tobytes()[:-1])
               for image in images for _ in range(scale // 20)]
    for word in emptied:
        word.clear()
    for items, iterator in zip(lists, few):
        items.extend(iterator)
    for i, items in enumerate(grown):
        for _ in range(1 + i % 2):
            items.append(Plain)
    queues = [collections.deque([Plain, 1]) for _ in range(20)]
    return dict(survivors=survivors, images=images, shortened=shortened,
                characters=characters, lists=lists, grown=grown, few=few,
                emptied=emptied, queues=queues)


def look_alikes(scale):
    """Live buffers whose words are those of objects of our own classes."""
    arrays, strings, c_arrays, small_ints, class_keys = [], [], [], [], []
    for i in range(scale // 4):
        cls = MIMICKED[i % len(MIMICKED)]
        words = header(cls)
        # As a collected object: two words of the collector's come first.
        collected = [0, 0] + words
        pattern = (words, collected, [0, 0] + collected)[i % 3]
        image = array.array("Q", (pattern + [0] * 8)[:4 + i % 12])
        arrays.append(image)
        strings.append(image.tobytes())
        strings.append(bytearray(image))
        if ctypes:
            c_arrays.append((ctypes.c_uint64 * len(image))(*image))
        small_ints.append([2, cls, 1, cls, cls, cls])
        class_keys.append({OfMeta: i, cls: i})
    return dict(arrays=arrays, strings=strings, c_arrays=c_arrays,
                small_ints=small_ints, class_keys=class_keys,
                class_tuples=[(Plain,) * n for n in range(20)])


def mapped_look_alikes():
    """Tuples of classes and entries of dicts begin like objects, seen from the
    middle. A program linked at a fixed address has its heap where immortal
    objects have their counts: 0x30000000 in 3.11, 0x90000000 since 3.12."""
    if not ctypes:
        return []
    mmap = ctypes.CDLL(None).mmap
    mmap.restype = ctypes.c_void_p
    mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 \
        + [ctypes.c_long]
    planted = array.array("Q", [0] * 100)   # too large for pymalloc
    for base in 0x30000000, 0x90000000:
        private_anonymous_fixed_noreplace = 0x100022
        if mmap(base, 4096, 3, private_anonymous_fixed_noreplace, -1,
                0) != base:
            continue        # there is something
        for i, words in enumerate((
                (base, id(object)),
                (base, id(list), 1, id(int), 1),
                (id(object) >> 4, id(object)))):
            address = base + 64 * i + 64
            (ctypes.c_uint64 * len(words)).from_address(address)[:] = words
            planted.append(address)
    return planted


def garbage(scale):
    """Cycles that nothing refers to; the collector must be off by now."""
    for i in range(scale // 10):
        node, peer = Plain(i), Plain(-i)
        node.peer, peer.peer = peer, node
        loop = [Slotted(i)]
        loop.append(loop)
        final = Finalized()
        final.me, final.free = final, Empty()


# ---- Threads, blocked each in another place

def blocked_in_lock(held):
    local = Slotted(1)
    lock = threading.Lock()
    lock.acquire()
    held.append(local)
    lock.acquire()


def blocked_in_sleep(held):
    held.append([Plain(1)])
    try:
        raise MyError("handled while asleep", Slotted(2))
    except MyError:
        time.sleep(10 ** 8)


def blocked_in_read(held):
    reader, writer = os.pipe()
    held.append([writer, Plain(2)])
    for _ in map(lambda n: os.read(reader, n), [1]):
        pass


def start_threads(count):
    blocked = [blocked_in_lock, blocked_in_sleep, blocked_in_read]
    held = []
    threads = [threading.Thread(target=blocked[i % 3], args=(held,),
                                name="blocked-%d" % i, daemon=True)
               for i in range(count)]
    for thread in threads:
        thread.start()
    # From the note that a thread leaves to its blocking call is not far.
    while len(held) < count:
        time.sleep(0.01)
    time.sleep(0.2)
    return dict(threads=threads, held=held)


# ---- The census

def qualified_name(cls):
    name = type.__dict__["__qualname__"].__get__(cls)
    try:
        module = type.__dict__["__module__"].__get__(cls)
    except AttributeError:      # some types made in C have none
        return name
    return name if module == "builtins" else "%s.%s" % (module, name)


# What a code object refers to is not the collector's business. These members
# are objects it holds; its other attributes are made when asked for.
CODE_MEMBERS = [name for name, member in vars(types.CodeType).items()
                if isinstance(member, types.MemberDescriptorType)]


def referents(thing):
    found = gc.get_referents(thing)
    if type(thing) is types.CodeType:
        for name in CODE_MEMBERS:
            member = getattr(thing, name)
            if type(member) is not int:
                found.append(member)
    return found


NAMED = (types.WrapperDescriptorType, types.MethodDescriptorType,
         types.ClassMethodDescriptorType, types.GetSetDescriptorType,
         types.MemberDescriptorType)
HEAPTYPE, READY = 1 << 9, 1 << 12
TYPE_MEMBERS = [type.__dict__[name].__get__ for name in (
    "__bases__", "__mro__", "__base__")]
TYPE_NAMES = [type.__dict__[name].__get__ for name in (
    "__name__", "__qualname__")]


def hidden_referents(thing):
    """What an object refers to beyond gc.get_referents, told by Python: only
    what is there and is not made when it is asked for."""
    cls = type(thing)
    if issubclass(cls, dict):   # isinstance() may make the type ready
        return list(dict.keys(thing))
    if cls is types.CodeType:
        return [member for member in (getattr(thing, name)
                                      for name in CODE_MEMBERS)
                if type(member) is not int]
    if cls in NAMED:
        return [thing.__name__, thing.__objclass__]
    if cls is type:
        flags = type.__dict__["__flags__"].__get__(thing)
        made_in_python = flags & HEAPTYPE
        if not flags & READY:       # asking would make it ready
            return ()
        told = [get(thing) for get in
                TYPE_MEMBERS + (TYPE_NAMES if made_in_python else [])]
        return [member for member in told if member is not None]
    return ()


def held_by_frames(own_frame):
    """What the running frames of all threads hold; of this thread's only those
    that ran when the twin was made, which own_frame is the last of.

    Up to 3.10 frames are objects, and their contents are found like others'.
    Since then a frame object is made only on demand: one made here does not
    exist in the parent, but what it shows does.
    """
    held = []
    if sys.version_info < (3, 11):
        return held
    frames = sys._current_frames()
    frames[threading.get_ident()] = own_frame
    for frame in frames.values():
        while frame is not None:
            held.append(frame.f_code)
            held.extend(frame.f_locals.values())
            frame = frame.f_back
    return held


def sizeof(thing):
    try:
        return sys.getsizeof(thing)
    except Exception:           # a __sizeof__ of its own
        return 0


def take_census():
    """Return everything that was there before the census began."""
    gc.disable()
    gc.unfreeze()               # what is frozen is in no get_objects()
    pending = gc.get_objects()
    seen = {id(pending)}
    frame = sys._getframe()
    while frame.f_code not in (stand_still.__code__,
                               counted_in_twin.__code__):
        seen.add(id(frame))
        frame = frame.f_back
    pending += [gc.garbage, sys.modules, HEAP]
    pending += held_by_frames(frame)
    found = []
    while pending:
        thing = pending.pop()
        if id(thing) not in seen:
            seen.add(id(thing))
            found.append(thing)
            pending += referents(thing)
            pending.append(type(thing))
    return found


IMMORTAL = 1 << 31      # 3.12 and later: so marked, a count does not change
COUNTED = bool(ctypes)
# Free-threaded: what deferred objects begin to count with.
DEFERRED = sys.maxsize // 8 if sys.version_info >= (3, 14) else 1


def raw_counts(found):
    """The first words of objects, by ctypes, while one list holds each: that
    does not count."""
    addresses, words = array.array("Q", map(id, found)), array.array("Q")
    append, word_at = words.append, ctypes.c_uint64.from_address
    if FREE_THREADED:
        for address in addresses:
            flags = word_at(address + 8).value
            local, shared = flags >> 32, word_at(address + 16).value
            count = local + ((shared ^ 1 << 63) - (1 << 63) >> 2)
            if flags >> 24 & 64 and count > DEFERRED // 2:
                count -= DEFERRED
            append(1 << 63 if local == 0xFFFFFFFF else (count - 1) % (1 << 63))
    elif sys.version_info < (3, 12):
        for address in addresses:
            append(word_at(address).value - 1)
    else:
        for address in addresses:
            word = word_at(address).value
            append(word if word & IMMORTAL else word - 1)
    return words


def own_objects():
    """What the code refers to that ran in the twin before raw_counts() had
    read, or in its parent since the fork; and what running frames do, as up to
    3.12 to look at their variables makes dicts of them."""
    own = [None, True, False, *range(-5, 257)]
    if COUNTED:
        own += [type(iter(array.array("Q"))), type(ctypes.c_uint64)]
    for function in (twin, write_census, take_census, referents,
                     held_by_frames, raw_counts, stand_still, counted_in_twin):
        code = function.__code__
        own += [function, code, code.co_consts, *code.co_consts]
        names = code.co_names + code.co_varnames
        own += names
        for place in (globals(), vars(builtins), vars(os), vars(gc), vars(sys),
                      vars(array), vars(types), vars(threading),
                      vars(ctypes) if ctypes else {},
                      *map(vars, (array.array, list, set, type, types.FrameType,
                                  *(ctypes.c_uint64.__mro__ if ctypes
                                    else ())))):
            own.append(place)
            own += [place[name] for name in names if name in place]
    for frame in sys._current_frames().values():
        while frame is not None:
            own += [frame, frame.f_code, frame.f_globals, frame.f_builtins]
            own += [*frame.f_locals, *frame.f_locals.values()]
            frame = frame.f_back
    return own


def write_census(to, pid):
    found = take_census()
    counts = (raw_counts(found) if COUNTED
              else array.array("Q", bytes(8 * len(found))))
    hidden, references = array.array("Q"), array.array("Q")
    for thing in found:
        for referent in gc.get_referents(thing):
            references.extend((id(thing), id(referent)))
    for thing in found:
        for referent in hidden_referents(thing):
            hidden.extend((id(thing), id(referent)))
    # Only now may something be made: asking an object of a type that was never
    # used for its size makes the type ready, with entries in its base's tables.
    words = array.array("Q")
    described = {}
    odd = {id(cls) for cls in HEAP.get("user", {}).get("odd", ())}
    for thing, count in zip(found, counts):
        cls = type(thing)
        words.extend((id(thing), id(cls), sizeof(thing), gc.is_tracked(thing),
                      count))
        if id(cls) not in described:
            name = qualified_name(cls)
            user = id(cls) in odd or name.startswith("__main__.")
            described[id(cls)] = [name, user, 0]
        described[id(cls)][2] += 1
    objects = len(words) // 5
    words.extend(references)
    words.extend(hidden)
    first_line = dict(
        pid=pid, python=sys.version, hexversion=sys.hexversion,
        gil=not FREE_THREADED, counted=COUNTED, objects=objects,
        own=sorted(set(map(id, own_objects()))),
        references=len(references) // 2,
        hidden=len(hidden) // 2, types=described)
    if sys.byteorder == "big":
        words.byteswap()
    if to.startswith("fd:"):
        to = int(to[3:])
    with open(to, "wb") as out:
        out.write(json.dumps(first_line).encode() + b"\n")
        words.tofile(out)


def wait_for_end_of_input():
    while os.read(0, 4096):
        pass


def twin(to, pid):
    """What the forked twin does instead of returning."""
    status = 1
    try:
        write_census(to, pid)
        os.write(1, b"READY %d\n" % pid)
        wait_for_end_of_input()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(status)


def stand_still(to, pid):
    """Be dumped: say READY and wait, with a census into to unless that is None.
    Never returns. Whatever called this is dumped as it is, half-way."""
    if to is None:
        os.write(1, b"READY %d\n" % pid)
        wait_for_end_of_input()
        os._exit(0)
    fork = ctypes.PyDLL(None).fork if ctypes else os.fork
    made = fork()
    if made:
        os.waitpid(made, 0)
        os._exit(0)
    twin(to, pid)


class Blocking:
    """Its end is where the process stands still, if it is told to."""

    where = None

    def __del__(self):
        if self.where == "finalizer":
            stand_still(None, os.getpid())


def blocked(*unused):
    stand_still(None, os.getpid())


def counted_in_twin(to, pid):
    """As stand_still(), but go on when the census is there."""
    # Names that only the cache of attributes holds, the twin finds among those
    # that are interned, and what its parent does next takes their place.
    (getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache)()
    made = ctypes.PyDLL(None).fork() if ctypes else os.fork()
    if made == 0:
        write_census(to, pid)
        os._exit(0)
    assert os.waitpid(made, 0)[1] == 0


def collect_half_way(where, to, pid):
    """Make one more piece of garbage, collect, and stop at it."""
    held, first = [], Blocking()
    first.me, first.where = first, where
    HEAP["collecting"] = held
    if where == "callback":
        held.append(weakref.ref(first, blocked))
    elif where == "hook":
        gc.callbacks.append(blocked)
    if where == "input":
        # One that the collector meets half-way through its list.
        os.write(1, b"OBJECT %#x\n" % id(HEAP["user"]["nodes"][-1]))
    del first
    counted_in_twin(to, pid)
    if where == "input":
        os.write(1, b"READY %d\n" % pid)
        os.read(0, 1)
    gc.collect()
    os.write(1, b"The collection has ended.\n")
    wait_for_end_of_input()
    os._exit(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument("--no-gc", action="store_true")
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--collecting", choices=(
        "callback", "finalizer", "hook", "input"))
    parser.add_argument("--census")
    arguments = parser.parse_args()
    scale, to, pid = arguments.scale, arguments.census, os.getpid()

    if arguments.no_gc:
        gc.disable()
    HEAP["user"] = user_instances(scale)
    HEAP["numbers"] = numbers(scale)
    HEAP["strings"] = strings(scale)
    if arguments.freeze:
        gc.freeze()
    HEAP["containers"] = containers(scale)
    HEAP["code"] = code_and_frames()
    HEAP["library"] = library_objects()
    HEAP["stale"] = stale_memory(scale)
    HEAP["look_alikes"] = look_alikes(scale)
    HEAP["mapped_look_alikes"] = mapped_look_alikes()
    HEAP["threads"] = start_threads(arguments.threads)
    gc.disable()
    garbage(scale)
    if arguments.collecting:
        collect_half_way(arguments.collecting, to, pid)
    stand_still(to, pid)


if __name__ == "__main__":
    main()
