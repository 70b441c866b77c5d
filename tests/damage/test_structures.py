# SPDX-License-Identifier: Apache-2.0
"""Real processes with damaged Python objects: words of a core are changed at
addresses that the process itself told. Whatever is damaged, heapscan ends in
time, says so with a finding and its address, and lists all other objects just
as without the damage: address, type and size.

The oldest and the newest release share the damages, half of them each; those
between get a part of them, and so does the sanitized build. Interpreters that
are named get every damage."""

import collections
import concurrent.futures
import csv
import itertools
import os
import queue
import random
import re
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import damage
import elfcore
import heaptest
from damage import builds, patched

TARGET = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "spoilt_target.py")
U64 = struct.Struct("<Q")
U32 = struct.Struct("<I")
ABSURD = (1 << 64) - 1, 1 << 60, 1 << 63, 1 << 31
PART = 10           # releases between, and the sanitizers, get one in so many
GRAPHS = 4          # of so many damages one is looked at as a graph, too
PRESIZE = 32        # what lies before an object and belongs to it, at most
NOWHERE = 0x5ABCDE000

# PyTypeObject, the same from 3.8 to 3.15: held against the target below.
TP_NAME, TP_BASICSIZE, TP_ITEMSIZE, TP_FLAGS = 24, 32, 40, 168
TP_BASE, TP_DICT, TP_DICTOFFSET = 256, 264, 288
TP_BASES, TP_MRO, TP_SUBCLASSES = 336, 344, 360
OB_TYPE, OB_SIZE = 8, 16
GC_NEXT, GC_PREV = -16, -8
# struct pool_header and struct arena_object
POOL_COUNT, POOL_FREE, POOL_ARENA, POOL_CLASS, POOL_NEXT, POOL_LAST = \
    0, 8, 32, 36, 40, 44
ARENA_ENTRY = 48


class Change(tuple):
    """What patched() takes, and where that is in memory."""

    def __new__(cls, address, offset, data):
        change = super().__new__(cls, (offset, data))
        change.start, change.end = address, address + len(data)
        return change


class Subject:
    """A core of the target, what the target told, and how to spoil it."""

    def __init__(self, path, told):
        self.path, self.told = path, told
        self.version = told["hexversion"] >> 16 & 0xFF
        self.core = elfcore.ElfCore(path)
        self.pool = 16384 if self.version >= 10 else 4096
        self.types, self.things = told["types"], told["things"]
        self.random = random.Random(self.version)
        assert self.word(self.types["Node"] + TP_MRO) == told["mro"]["Node"]
        assert self.word(
            self.types["Node"] + TP_BASES) == told["bases"]["Node"]
        assert self.word(self.types["Node"] + TP_BASE) == self.types["object"]
        assert self.word(self.types["Node"] + OB_TYPE) == self.types["type"]

    def word(self, address):
        return self.core.word(address)

    def put(self, address, *values):
        """A change for patched(): words at an address."""
        data = b"".join(value if isinstance(value, bytes)
                        else U64.pack(value % (1 << 64)) for value in values)
        segment = self.core.segment_at(address)
        offset = segment.offset + address - segment.vaddr
        # What is adjacent in memory must be so in the file as well.
        last = address + len(data) - 1
        other = self.core.segment_at(last)
        assert other.offset + last - other.vaddr == offset + len(data) - 1, \
            "%#x and %#x" % (address, last)
        return Change(address, offset, data)

    def name_at(self, type_address):
        """Address of the word ht_name of a heap type."""
        name = next(self.told["names"][n] for n, a in self.types.items()
                    if a == type_address)
        for offset in range(400, 1200, 8):
            if self.word(type_address + offset) == name:
                return type_address + offset
        raise heaptest.Skip("no ht_name")

    def writable(self):
        return [s for s in self.core.segments if s.flags & elfcore.PF_W]

    def find_words(self, value):
        """Addresses of aligned words of this value in writable memory."""
        found, wanted = [], U64.pack(value)
        for segment in self.writable():
            data = self.core.read(segment.vaddr, segment.filesz)
            at = data.find(wanted)
            while at >= 0:
                if at % 8 == 0:
                    found.append(segment.vaddr + at)
                at = data.find(wanted, at + 1)
        return found

    def arena_entries(self):
        """Addresses of the arena_object of each arena in use: found by what
        they say of pools that are known to be there."""
        pools = {node & -self.pool for node in self.told["nodes"]}
        size = 1 << 20 if self.version >= 10 else 256 << 10
        found = []
        for segment in self.writable():
            data = self.core.read(segment.vaddr, segment.filesz & -8)
            words = memoryview(data).cast("Q")
            for i in range(len(words) - 5):
                start = words[i]
                if start % 4096 or not start or start >> 47 or not (
                        0 <= words[i + 1] - start <= size + self.pool):
                    continue
                free, total = U32.unpack_from(data, 8 * i + 16)[0], \
                    U32.unpack_from(data, 8 * i + 20)[0]
                if not size // self.pool - 1 <= total <= size // self.pool \
                        or free > total:
                    continue
                found.append((segment.vaddr + 8 * i, any(
                    start <= pool < start + size for pool in pools)))
        # An array that was too small was moved; what it was stays in memory
        # that is free now, but there the arenas since then are missing.
        arrays, last = [], 0
        for entry, known in sorted(found):
            if (entry - last) % ARENA_ENTRY or entry - last > 1 << 12:
                arrays.append([])
            arrays[-1].append((entry, known))
            last = entry
        array = max(arrays, key=lambda array: (sum(
            known for _, known in array), len(array)))
        return [entry for entry, known in array if known]

    def arena_array(self, entry):
        """Where the array of an arena_object begins: something that is no
        object points there."""
        for array in range(entry, entry - 64 * ARENA_ENTRY, -ARENA_ENTRY):
            if not in_core(self, array):
                return None
            # The links between arena_objects are no such pointers.
            if any(abs(pointer - self.told["runtime"]) < 4 << 20 for pointer
                   in s_pointers(self, array).get(array, ())):
                return array
        return None

    def list_head(self, address):
        """The head of the GC list that an object is in."""
        runtime, main = self.told["runtime"], self.told["main"]
        size = 1 << 12 if self.version < 12 else 1 << 20
        at = address - 16
        for _ in range(1 << 20):
            at = self.word(at) & ~3
            if 0 <= at - runtime < size or 0 <= at - main < size:
                return at
        raise AssertionError("the GC list of %#x has no end" % address)

    def dict_keys(self, address):
        return self.word(address + 32)


# ---- Damages: functions that yield (name, changes, expectations)

class Expect:
    """What must hold. An object that a change lies in may be another or gone;
    of all others only

    lost     {type: how many of its objects may be so, too}
    also     addresses of objects that may be so: they own what is changed
    finding  is one needed, even if nothing is lost?
    silent   what is changed is nobody's: there must be no finding
    at       the addresses that one of the findings must be at, if that is sure
    failure  may heapscan refuse (exit 1)?
    graph    is it always looked at as a graph, too?
    """

    def __init__(self, lost=None, finding=True, failure=False, at=(), also=(),
                 graph=False, silent=False):
        self.lost = {} if lost is None else lost
        self.finding, self.failure = finding, failure
        self.at, self.also = at, also
        self.graph, self.silent = graph, silent


class Builtins(dict):
    """For lost: however many, but none of the types that the target made."""

    def get(self, name, default=None):
        return default if name and name.startswith("__main__.") else 1 << 30


def gc_lists(s):
    nodes = s.told["nodes"]
    a, b, c = nodes[500], nodes[501], nodes[502]
    at_b, at_c = Expect(at=[b]), Expect(at=[c])
    yield "GC list: next points back", [s.put(b + GC_NEXT, a - 16)], at_b
    yield "GC list: a cycle of one", [
        s.put(b + GC_NEXT, b - 16, b - 16)], at_b
    yield "GC list: next and prev are exchanged", [
        s.put(b + GC_NEXT, s.word(b + GC_PREV) & ~3, s.word(b + GC_NEXT) & ~3)
    ], at_b
    for value in (0x10, NOWHERE, (1 << 64) - 16, s.told["scratch"]):
        yield "GC list: next is %#x" % value, [
            s.put(b + GC_NEXT, value)], at_b
        yield "GC list: prev is %#x" % value, [
            s.put(b + GC_PREV, value)], at_b
        yield "GC list: both are %#x" % value, [
            s.put(c + GC_NEXT, value, value)], at_c
    yield "GC list: prev is another's", [
        s.put(b + GC_PREV, s.word(nodes[900] + GC_PREV))], at_b
    yield "GC list: an object in two lists", [
        s.put(c + GC_NEXT, *(s.core.words(nodes[900] - 16, 2)))], at_c
    for index in (100, 700):
        some = nodes[index:index + 40]
        yield "GC list: 40 heads filled with zeroes from %d on" % index, [
            s.put(node - 16, 0, 0) for node in some], Expect(at=some)
    head = s.list_head(b)
    at_head = Expect(at=[head])
    for value in (0x10, NOWHERE, (1 << 64) - 16, s.told["scratch"], a - 16):
        yield "the head of a GC list: next is %#x" % value, [
            s.put(head, value)], at_head
        yield "the head of a GC list: prev is %#x" % value, [
            s.put(head + 8, value)], at_head
        yield "the head of a GC list: both are %#x" % value, [
            s.put(head, value, value)], at_head
    yield "the head of a GC list: zeroes", [s.put(head, 0, 0)], at_head


def headers(s):
    nodes, slots = s.told["nodes"], s.told["slots"]
    for value in (0, (1 << 64) - 1, 1 << 62):
        yield "a reference count of %#x" % value, [
            s.put(nodes[600], value)], Expect(at=[nodes[600]])
    for what, value in (("itself", nodes[610]), ("nowhere", NOWHERE),
                        ("a str", s.things["str"]), ("an instance", nodes[3]),
                        ("8", 8), ("an odd address", s.types["Node"] + 1),
                        ("the end of the address space", (1 << 64) - 8)):
        yield "an object whose type is " + what, [
            s.put(nodes[610] + OB_TYPE, value)], Expect(at=[nodes[610]])
        yield "an object without GC head whose type is " + what, [
            s.put(slots[610] + OB_TYPE, value)], Expect(finding=False)
    yield "two hundred objects without a type", [
        s.put(node + OB_TYPE, NOWHERE) for node in nodes[300:500]
    ], Expect(lost={"__main__.Node": 200})


def types(s):
    """The type of 50 objects is damaged; all others must still be counted, and
    these as well where what is left says how."""
    victim = s.types["Victim"]
    gone = {"__main__.Victim": 50}

    def one(name, offset, *values, lost=None, finding=True):
        return ("a type whose " + name, [s.put(victim + offset, *values)],
                Expect(lost=lost, finding=finding, at=[victim]))

    for what, value in (("itself", victim), ("nowhere", NOWHERE),
                        ("a str", s.things["str"]), ("0", 0),
                        ("an instance of itself", s.told["victims"][0]),
                        ("object", s.types["object"]),
                        ("another class", s.types["Node"])):
        yield one("type is " + what, OB_TYPE, value)
    for value in (0, NOWHERE, s.things["list"], s.told["mro"]["Node"],
                  victim, (1 << 64) - 8, 12345):
        yield one("tp_mro is %#x" % value, TP_MRO, value)
    mro = s.told["mro"]["Victim"]
    items = 32 if s.version >= 14 else 24
    of_mro = Expect(at=[mro, victim])
    for value in ABSURD + (0,):
        yield ("an MRO of %#x classes" % value, [s.put(mro + OB_SIZE, value)],
               of_mro)
    for what, value in (("nowhere", NOWHERE), ("0", 0),
                        ("another", s.types["Node"])):
        yield ("an MRO that begins with " + what, [s.put(mro + items, value)],
               of_mro)
    yield ("an MRO that ends nowhere", [s.put(mro + items + 8, NOWHERE)],
           of_mro)
    yield ("an MRO that is no tuple", [s.put(mro + OB_TYPE, s.types["str"])],
           of_mro)
    for value in (0, NOWHERE, victim, s.types["Derived"], s.things["dict"]):
        yield one("tp_base is %#x" % value, TP_BASE, value)
    yield ("types that are each other's base", [
        s.put(victim + TP_BASE, s.types["Slot"]),
        s.put(s.types["Slot"] + TP_BASE, victim)], Expect(at=[victim]))
    for value in (0, NOWHERE, s.things["list"], victim):
        yield one("tp_dict is %#x" % value, TP_DICT, value)
    for value in ABSURD + (0, 8, 4096):
        yield one("tp_basicsize is %#x" % value, TP_BASICSIZE, value,
                  lost=gone)
        # Small ones are true of other types.
        yield one("tp_itemsize is %#x" % value, TP_ITEMSIZE, value,
                  lost=gone, finding=value > 4096)
        yield one("tp_dictoffset is %#x" % value, TP_DICTOFFSET, value,
                  finding=value not in (0, (1 << 64) - 1))
    for value in (0, (1 << 64) - 1):
        yield one("tp_flags are %#x" % value, TP_FLAGS, value, lost=gone)
    for bit in range(64):
        yield one("tp_flags have bit %d turned" % bit, TP_FLAGS,
                  s.word(victim + TP_FLAGS) ^ 1 << bit, lost=gone,
                  finding=False)
    for value in (0, 1, NOWHERE, victim, (1 << 64) - 1):
        yield one("tp_subclasses is %#x" % value, TP_SUBCLASSES, value,
                  finding=value != 0)
        yield one("tp_bases is %#x" % value, TP_BASES, value)
    for what, data in (("all zeroes", bytes(400)), ("all ones", b"\xff" * 400),
                       ("random", s.random.randbytes(400))):
        yield ("a type that is " + what, [s.put(victim, data)],
               Expect(lost=gone, at=[victim]))


def core_types(s):
    """What everything else is told from."""
    for name in ("type", "object", "dict", "str", "tuple"):
        address = s.types[name]
        for offset, what in ((OB_TYPE, "type"), (TP_MRO, "tp_mro"),
                             (TP_BASE, "tp_base"), (TP_NAME, "tp_name"),
                             (TP_FLAGS, "tp_flags"), (TP_DICT, "tp_dict"),
                             (TP_BASICSIZE, "tp_basicsize")):
            for value in (0, NOWHERE, (1 << 64) - 1):
                # Since 3.12 the interpreter has their dicts.
                needed = what != "tp_dict" or value or s.version < 12
                # The base of object is none.
                needed = needed and s.word(address + offset) != value
                fatal = offset in (TP_FLAGS, TP_BASICSIZE)
                yield ("the %s of %s is %#x" % (what, name, value), [
                    s.put(address + offset, value)],
                    Expect(lost=Builtins() if fatal else {},
                           finding=needed, at=[address]))


def metatypes(s):
    """Chains of metatypes, built in memory that the target keeps for it."""
    victim, size = s.types["Victim"], 1024
    template = s.core.read(s.types["Meta"], 600)

    def chain(count, last):
        start = s.told["scratch"] + 4096 & -4096
        assert count * size + 8192 <= s.told["scratch_size"]
        changes = []
        for i in range(count):
            at = start + i * size
            following = last if i == count - 1 else at + size
            changes.append(s.put(at, template[:8] + U64.pack(following)
                                 + template[16:]))
        return changes + [s.put(victim + OB_TYPE, start)]

    start = s.told["scratch"] + 4096 & -4096
    gone = {"__main__.Victim": 50}
    for what, last in (("to type", s.types["type"]), ("nowhere", NOWHERE),
                       ("to itself", start + 999 * size),
                       ("to its beginning", start), ("to an int",
                                                     s.things["int"])):
        yield ("a chain of a thousand metatypes " + what, chain(1000, last),
               Expect(lost=gone, finding=False))
    yield ("a chain of 2900 metatypes to its middle",
           chain(2900, start + 1400 * size), Expect(lost=gone, finding=False))


def names(s):
    """Names are not what an object is, so nothing is lost."""
    victim = s.types["Victim"]
    ht_name = s.name_at(victim)
    told = Expect(at=[victim])
    edge = max((t for t in s.writable() if t.filesz >= 1 << 20),
               key=lambda t: t.vaddr)
    for what, value in (("0", 0), ("nowhere", NOWHERE), ("1", 1),
                        ("the type", victim),
                        ("the end of memory", (1 << 64) - 1)):
        yield ("tp_name is " + what, [s.put(victim + TP_NAME, value)],
               Expect(finding=False) if value == victim else told)
        yield ("ht_name is " + what, [s.put(ht_name, value)], told)
        yield ("both names are " + what, [
            s.put(victim + TP_NAME, value), s.put(ht_name, value)], told)
    for what, byte in (("letters", b"A"), ("ESC", b"\x1b"), ("0xff", b"\xff")):
        yield ("names without an end, of " + what, [
            s.put(s.told["scratch"], byte * s.told["scratch_size"]),
            s.put(victim + TP_NAME, s.told["scratch"]), s.put(ht_name, 0)],
            told)
        yield ("a name up to the end of a mapping, of " + what, [
            s.put(edge.vaddr + edge.filesz - 64, byte * 64),
            s.put(victim + TP_NAME, edge.vaddr + edge.filesz - 60),
            s.put(ht_name, 0)], told)
    for name in ("list", "dict", "int", "bytes", "Node", "code"):
        value = s.things.get(name, s.types["Node"])
        yield ("ht_name is a " + name, [s.put(ht_name, value)], told)
    yield ("ht_name is another str", [s.put(ht_name, s.things["wide"])],
           Expect(finding=False))
    for value in ABSURD:
        yield ("ht_name of %#x characters" % value, [
            s.put(s.told["names"]["Victim"] + 16, value)],
            Expect(finding=False))


def containers(s):
    """One object each; nothing else is lost."""
    t = s.things
    # What is large lies outside of arenas: only who holds it leads there.
    # And 3.8 to 3.10 keep the frame of a function's last call.
    alone = {"bytes": 3, "frame": 1}
    # Since 3.15 their bytes are an object of its own, which is right.
    bytearrays = s.version < 15
    for name in ("list", "small_list", "tuple", "int", "str", "wide", "bytes",
                 "bytearray"):
        for value in ABSURD + (1 << 32, 100000):
            # Arithmetic leaves room behind small ints, -1 digit is one.
            sure = name != "int" or value != (1 << 64) - 1
            yield ("%s of %#x items" % (name, value), [
                s.put(t[name] + OB_SIZE, value)], Expect(
                    at=[t[name]],
                    finding=bytearrays if name == "bytearray" else sure))
    for value in (0, 8, NOWHERE, t["list"], t["dict"], (1 << 64) - 8):
        # Where something else is, nobody says that it is no buffer.
        provable = value not in (t["list"], t["dict"])
        yield ("a list whose items are at %#x" % value, [
            s.put(t["list"] + 24, value)],
            Expect(at=[t["list"]], finding=provable))
        yield ("a list of 2^60 items at %#x" % value, [
            s.put(t["list"] + OB_SIZE, 1 << 60, value, 1 << 60)],
            Expect(at=[t["list"]]))
        yield ("a bytearray whose bytes are at %#x" % value, [
            s.put(t["bytearray"] + 32, value, value)],
            Expect(at=[t["bytearray"]], finding=provable and bytearrays))
    for value in ABSURD:
        yield ("a list with room for %#x items" % value, [
            s.put(t["list"] + 32, value)], Expect(at=[t["list"]]))
        yield ("a bytearray with room for %#x bytes" % value, [
            s.put(t["bytearray"] + 24, value)],
            Expect(at=[t["bytearray"]], finding=bytearrays))
        for name in ("set", "frozenset"):
            for offset, what in ((16, "fill"), (24, "used"), (32, "mask")):
                yield ("a %s whose %s is %#x" % (name, what, value), [
                    s.put(t[name] + offset, value)], Expect(at=[t[name]]))
    of_dict = Expect(at=[t["dict"]], also=[t["dict"]])
    unsure = Expect(finding=False, also=[t["dict"]])
    for value in (0, NOWHERE, t["set"], (1 << 64) - 8):
        yield ("a set whose table is at %#x" % value, [
            s.put(t["set"] + 40, value)],
            Expect(at=[t["set"]], finding=value != t["set"]))
        yield ("a dict whose keys are at %#x" % value, [
            s.put(t["dict"] + 32, value)], of_dict)
        yield ("a dict whose values are at %#x" % value, [
            s.put(t["dict"] + 40, value)],
            unsure if value in (0, t["set"]) else of_dict)
    keys = s.dict_keys(t["dict"])
    for log2 in (200, 64, 63, 60, 32, 0, 255):
        old = s.core.read(keys + 8, 8)
        # 3.11 and later: bytes of log2_size, log2_index_bytes, kind.
        yield ("dict keys of log2_size %d" % log2, [
            s.put(keys + 8, bytes([log2]) + old[1:])
            if s.version >= 11 else s.put(keys + 8, (1 << log2) % (1 << 64))
        ], of_dict)
        if s.version >= 11:
            yield ("dict keys of log2_index_bytes %d" % log2, [
                s.put(keys + 8, old[:1] + bytes([log2]) + old[2:])],
                of_dict)
            # Kind 0 is the general one: keys of any type may be str.
            yield ("dict keys of kind %d" % log2, [
                s.put(keys + 8, old[:2] + bytes([log2]) + old[3:])],
                of_dict if log2 else unsure)
    counts = (16, 24) if s.version >= 11 else (24, 32)
    for offset in counts:
        for value in ABSURD:
            yield ("dict keys whose count at %d is %#x" % (offset, value), [
                s.put(keys + offset, value)], of_dict)
    yield ("dict keys that are random", [
        s.put(keys, s.random.randbytes(64))], of_dict)
    for value in ABSURD + (0,):
        yield ("a str of state %#x" % value, [
            s.put(t["str"] + 32, value)], Expect(at=[t["str"]]))
        yield ("code whose size is %#x" % value, [
            s.put(t["code"] + OB_SIZE, value)],
               Expect(finding=False, lost=alone))
    for name in ("function", "code", "cell", "class", "dict", "set"):
        size = {"class": 400, "code": 128}.get(name, 48)
        lost = {"class": {"__main__.Node": 2000, "__main__.Derived": 1000},
                "code": alone}.get(name)
        yield ("a %s that is random behind its type" % name, [
            s.put(t[name] + 16, s.random.randbytes(size - 16))],
            Expect(lost=lost, finding=False))


def runtimes(s):
    """Interpreters, threads, and what says where they are."""
    told = s.told
    main, threads = told["main"], told["threads"]
    assert len(threads) >= 3, threads
    # Static objects that only the frames of a lost thread lead to.
    running = {"code": 4, "bytes": 4, "str": 4, "tuple": 4}
    following = [o for o in range(0, 4096, 8)
                 if s.word(threads[0] + o) == threads[1]]
    before = [o for o in range(0, 4096, 8)
              if s.word(threads[1] + o) == threads[0]]
    for what, value in (("itself", threads[1]), ("the first", threads[0]),
                        ("nowhere", NOWHERE), ("the interpreter", main)):
        yield ("a thread list that goes on to " + what, [
            s.put(threads[1] + o, value) for o in following],
               Expect(lost=running, graph=True))
    yield ("a thread list that goes back to itself", [
        s.put(threads[1] + o, threads[1]) for o in before],
           Expect(lost=running))
    yield ("a thread list that ends at its first", [
        s.put(threads[0] + o, 0) for o in following],
           Expect(finding=False, lost=running))
    others = [i for i in told["interpreters"] if i != main]
    if others:
        other = others[-1]      # the one before main in the list
        links = [o for o in range(0, 1 << 16, 8)
                 if in_core(s, other + o) and s.word(other + o) == main
                 and s.word(main + o) == 0]
        assert links, "no link from %#x to %#x" % (other, main)
        for what, value in (("itself", other), ("nowhere", NOWHERE),
                            ("a str", s.things["str"]), ("0", 0)):
            yield ("an interpreter list that goes on to " + what, [
                s.put(other + links[0], value)], Expect())
        yield ("an interpreter list that is a cycle", [
            s.put(main + links[0], other)], Expect())
    runtime = told["runtime"]
    head = told["interpreters"][0]
    for what, value in (("nowhere", NOWHERE), ("0", 0),
                        ("itself", runtime), ("a str", s.things["str"])):
        heads = [o for o in range(0, 4096, 8)
                 if s.word(runtime + o) in (head, main)]
        yield ("a runtime whose interpreters are " + what, [
            s.put(runtime + o, value) for o in heads],
            Expect(failure=True))
    yield ("a runtime that is all zeroes", [s.put(runtime, bytes(4096))],
           Expect(failure=True))
    yield ("a runtime that is random", [
        s.put(runtime, s.random.randbytes(4096))], Expect(failure=True))


def in_core(s, address):
    return s.core.segment_at(address) is not None


def debug_offsets(s):
    """_Py_DebugOffsets, from 3.13 on: a word after the other."""
    if s.version < 13:
        return
    runtime = s.told["runtime"]
    assert s.core.read(runtime, 8) == b"xdebugpy", "no cookie"
    for value in (0, (1 << 64) - 1):
        yield ("debug offsets whose cookie is %#x" % value, [
            s.put(runtime, value)], Expect(finding=False))
        yield ("debug offsets whose version is %#x" % value, [
            s.put(runtime + 8, value)], Expect(finding=False))
    yield ("debug offsets of a free-threaded build", [
        s.put(runtime + 16, 1)], Expect(failure=True))
    yield ("debug offsets whose flags are absurd", [
        s.put(runtime + 16, 1 << 40)], Expect(finding=False))
    end = {13: 584, 14: 696, 15: 824}[s.version]    # of the structure
    for offset in range(24, end, 8):
        for value in ((0, 1 << 20) if offset % 16 else
                      ((1 << 64) - 1, s.word(runtime + offset) + 8)):
            yield ("debug offsets whose word at %d is %#x" % (offset, value), [
                s.put(runtime + offset, value)],
                Expect(finding=False))
    yield ("debug offsets that are random", [
        s.put(runtime + 24, s.random.randbytes(end - 24))], Expect())
    yield ("debug offsets that are zeroes", [
        s.put(runtime + 24, bytes(end - 24))], Expect())


def allocator(s):
    """Arenas and pools."""
    entries = s.arena_entries()
    assert entries, "no arena was found"
    first = min(entries)
    for entry in sorted({first, entries[len(entries) // 2], max(entries)}):
        arena = s.word(entry)
        number = (entry - first) // ARENA_ENTRY
        spoilt = Expect(at=[entry])
        for what, value in (("nowhere", NOWHERE), ("1", 1), ("0", 0),
                            ("the end of memory", (1 << 64) - (1 << 20)),
                            ("another's", s.word(entries[0]))):
            if value != arena:
                yield ("arena %d whose address is %s" % (number, what), [
                    s.put(entry, value)], spoilt)
        for value in ABSURD + (0, arena + 1):
            yield ("arena %d whose pool address is %#x" % (number, value), [
                s.put(entry + 8, value)], spoilt)
            # Full ones are in no list, and what they say of it is stale.
            full = s.core.read(entry + 16, 4) == bytes(4)
            yield ("arena %d whose next is %#x" % (number, value), [
                s.put(entry + 32, value, value)],
                Expect(finding=False) if full or value == 0 else spoilt)
        for value in ((1 << 32) - 1, 1 << 31, 100000, 0):
            yield ("arena %d of %d pools" % (number, value), [
                s.put(entry + 16, U32.pack(value), U32.pack(value))], spoilt)
        yield ("arena %d whose entry is random" % number, [
            s.put(entry, s.random.randbytes(ARENA_ENTRY))], spoilt)
        yield ("arena %d whose entry is zeroes" % number, [
            s.put(entry, bytes(ARENA_ENTRY))], spoilt)
    array = s.arena_array(first)
    pointers = s_pointers(s, array)[array]
    # Where that pointer is is not known before 3.12.
    told_at = pointers if s.version >= 12 else [
        s.word(entry) + s.pool - 1 & -s.pool for entry in entries]
    for what, value in (("nowhere", NOWHERE), ("0", 0), ("1", 1),
                        ("a str", s.things["str"])):
        yield ("an array of arenas that is " + what, [
            s.put(p, value) for p in pointers], Expect(at=told_at))
    if s.version >= 12:
        for count in ((1 << 32) - 1, 1 << 24, 1 << 23, 1, 0):
            yield ("an array of %d arenas" % count, [
                s.put(p + 8, U32.pack(count)) for p in pointers],
                Expect(at=[p + 8 for p in pointers]))
    # Later ones have something there that this would damage.
    elif s.version < 10:
        # By the size of malloc's chunk.
        end = array + (s.word(array - 8) - 8) // ARENA_ENTRY * ARENA_ENTRY
        yield ("what could be a free arena behind the array of arenas", [
            s.put(end, 0), s.put(end + 32, array + ARENA_ENTRY * 100000)],
            Expect(finding=False, silent=True))
    pool = s.told["nodes"][1000] & -s.pool
    spoilt = Expect(at=[pool])
    # Which of its blocks are free is not known any more: nothing is lost.
    for name, offset, values in (
            ("count", POOL_COUNT, ((1 << 32) - 1, 1 << 31, 400000, 1, 0)),
            ("size class", POOL_CLASS, ((1 << 32) - 1, 200, 32, 31, 0)),
            ("next offset", POOL_NEXT, ((1 << 32) - 1, 0, 16, 50, s.pool)),
            ("last offset", POOL_LAST, ((1 << 32) - 1, 0, 50))):
        for value in values:
            if s.core.read(pool + offset, 4) != U32.pack(value):
                yield ("a pool whose %s is %d" % (name, value), [
                    s.put(pool + offset, U32.pack(value))], spoilt)
    for what, value in (("nowhere", NOWHERE), ("its header", pool),
                        ("no block of it", pool + 56),
                        ("its end", pool + s.pool - 8),
                        ("another pool", pool + s.pool + 48)):
        yield ("a pool whose free list is " + what, [
            s.put(pool + POOL_FREE, value)], spoilt)
    block = 16 * (U32.unpack(s.core.read(pool + POOL_CLASS, 4))[0] + 1)
    last = pool + 48 + 3 * block
    yield ("a pool whose free list is a cycle", [
        s.put(pool + POOL_FREE, last), s.put(last, last)], spoilt)
    for what, data in (("random", s.random.randbytes(48)),
                       ("all zeroes", bytes(48)),
                       ("all ones", b"\xff" * 48)):
        yield "a pool whose header is " + what, [s.put(pool, data)], spoilt
    # Its objects, and static ones that only an object of this pool leads to.
    gone = Expect(at=[pool], also=range(pool, pool + s.pool), lost={"int": 40})
    yield "a pool that is random", [
        s.put(pool, s.random.randbytes(s.pool))], gone
    yield "a pool that is all ones", [
        s.put(pool, b"\xff" * s.pool)], gone
    yield "a pool that is all zeroes", [s.put(pool, bytes(s.pool))], gone


def s_pointers(s, address, cache={}):
    """{address: words that point there}, if there are any."""
    key = s.path, address
    if key not in cache:
        found = s.find_words(address)
        cache[key] = {address: found} if found else {}
    return cache[key]


# ---- Running them

FINDING = re.compile(r"^heapscan: ([a-z-]+)(?: at (0x[0-9a-f]+))?: ", re.M)


def alike(one, other, end=False):
    """How many characters two texts begin, or end, with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if (one[len(one) - middle:] == other[len(other) - middle:] if end
                else one[:middle] == other[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def unlike(one, other):
    """The lines that only one of two texts has, as two sets. Most damages change
    few of very many lines: those before and behind are left out first."""
    begin = one.rfind("\n", 0, alike(one, other)) + 1
    one, other = one[begin:], other[begin:]
    line = one.find("\n", len(one) - alike(one, other, end=True))
    end = len(one) - line - 1 if line >= 0 else 0
    one, other = (set(text[:len(text) - end].splitlines())
                  for text in (one, other))
    return one - other, other - one


class Result:
    """What a build says of a subject that is not damaged, and of it damaged."""

    def __init__(self, build, subject, path):
        self.build, self.subject, self.path = build, subject, path
        done = self.objects()
        assert done.status == 0, done
        self.text = done.out
        self.findings = set(FINDING.findall(done.err))
        counts = collections.Counter(
            row.type for row in self.rows(self.text.splitlines()).values())
        for name, count in subject.told["counts"].items():
            assert counts[name] == count, "%s: expected %d, got %d" % (
                name, count, counts[name])

    def objects(self):
        return self.build.heapscan(self.path, "objects", "--top", "0", "-v",
                                   "-f", "csv")

    @staticmethod
    def rows(lines):
        """{address: Row} of lines of the table but its first."""
        rows = {}
        for fields in csv.reader(lines):
            if fields[0] == "address":
                assert fields[:3] == ["address", "type", "size"] and \
                    fields[6] == "type_address", fields
                continue
            row = Row(fields[1], int(fields[2]), fields[6])
            assert 0 < row.size < 1 << 40, fields
            rows[int(fields[0], 16)] = row
        return rows

    def differences(self, out):
        """(address, row before or None, row after or None) of all objects that
        are not what they were."""
        before, after = map(self.rows, unlike(self.text, out))
        for address in before.keys() | after.keys():
            old, new = before.get(address), after.get(address)
            # Names, counts and evidence are not what an object is.
            if (old and old[1:]) != (new and new[1:]):
                yield address, old, new

    def graph(self):
        """What goes through all references: it ends, and says that it is
        partial or not."""
        for view in (["retained", "--top", "5"], ["path", "--type",
                                                  "__main__.Node", "--top",
                                                  "5"]):
            done = self.build.heapscan(self.path, *view)
            assert done.status in (0, 3), done

    def check(self, changes, expect, graph):
        with patched(self.path, *changes):
            done = self.objects()
            if (graph or expect.graph) and done.status in (0, 3):
                self.graph()
        if done.status == 1 and expect.failure:
            return
        assert done.status in (0, 3), done
        lost, wrong = collections.Counter(), []
        for address, old, new in self.differences(done.out):
            end = address + max(row.size for row in (old, new) if row)
            if address in expect.also or any(
                    change.start < end and change.end > address - PRESIZE
                    for change in changes):
                continue
            name = old.type if old else None
            lost[name] += 1
            if lost[name] > expect.lost.get(name, 0):
                wrong.append("%#x was %s, is %s" % (address, old, new))
        assert not wrong, "%d others: %s" % (len(wrong), damage.some(wrong))
        findings = set(FINDING.findall(done.err)) - self.findings
        # What is lost is never lost in silence.
        if expect.silent:
            assert not findings, findings
        elif expect.finding or (lost and expect.at):
            assert findings, "no finding"
        if expect.at and (expect.finding or lost):
            assert any(int(address or "0", 16) in expect.at
                       for _, address in findings), "expected one at %s: %s" % (
                           " or ".join(map(hex, expect.at)), findings)


Row = collections.namedtuple("Row", "type size type_address")


class Damages:
    """One result for a family: its damages, spread over the processors, each
    with a copy of the core of its own."""

    def __init__(self, build, subject):
        self.build, self.subject = build, subject
        self.results = queue.SimpleQueue()
        # The core itself is read while damages are thought out.
        self.copies = [damage.copy(subject.path, "spoilt.%d" % i)
                       for i in range(len(os.sched_getaffinity(0)))]
        for path in self.copies:
            self.results.put(Result(build, subject, path))
        self.pool = concurrent.futures.ThreadPoolExecutor(len(self.copies))

    def one(self, changes, expect, graph):
        """The failure of one damage, or None; without a traceback, which would
        keep all that heapscan said."""
        result = self.results.get()
        try:
            result.check(changes, expect, graph)
        except Exception as error:
            return "%s: %s" % (type(error).__name__, str(error)[:1000])
        finally:
            self.results.put(result)

    def run(self, name, cases):
        waiting = [(what, self.pool.submit(self.one, changes, expect,
                                           number % GRAPHS == 0))
                   for number, (what, changes, expect) in enumerate(cases)]
        if waiting:
            damage.series(self.build, name, [(what, lambda future=future:
                                              self.passed(future.result()))
                                             for what, future in waiting])

    @staticmethod
    def passed(failure):
        assert failure is None, failure

    def end(self):
        self.pool.shutdown(cancel_futures=True)
        for path in self.copies:
            os.unlink(path)


FAMILIES = (gc_lists, headers, types, core_types, metatypes, names,
            containers, runtimes, debug_offsets, allocator)


def test(interpreter, chosen):
    """The damages that are number part of each parts, with each build:
    (build, part, parts)."""
    core = heaptest.tmp("spoilt.core")
    with heaptest.start_target(interpreter, TARGET) as target:
        told = heaptest.json.loads(re.search(r"^TOLD (.*)$", target.printed(),
                                             re.M)[1])
        heaptest.plain_core(target.pid, core)
    subject = Subject(core, told)
    try:
        for build, part, parts in chosen:
            damages = Damages(build, subject)
            try:
                for family in FAMILIES:
                    damages.run("%s: damaged %s" % (
                        interpreter, family.__name__.replace("_", " ")),
                        itertools.islice(family(subject), part, None, parts))
            finally:
                damages.end()
    finally:
        subject.core.close()
        os.unlink(core)


def main():
    found = builds()
    # Structures differ by release, and by nothing else that matters here.
    interpreters = heaptest.interpreters(few=True)
    chosen = {i.version[:2]: i for i in reversed(interpreters)
              if not i.free_threaded}
    ends = min(chosen, default=None), max(chosen, default=None)
    named = bool(os.environ.get("HEAPSCAN_INTERPRETERS"))
    for number, (release, interpreter) in enumerate(sorted(chosen.items())):
        with heaptest.case("%s: its memory can be spoilt" % interpreter):
            if named:
                test(interpreter, [(found[0], 0, 1)] + [
                    (build, 0, PART // 2) for build in found[1:]])
            elif release in ends:
                test(interpreter, [(found[0], ends.index(release), 2)] + [
                    (build, number % PART, PART) for build in found[1:]])
            else:
                test(interpreter, [(found[0], number % PART, PART)])
    if not named:
        for release in heaptest.absent_releases(interpreters):
            heaptest.skip("damaged objects of Python " + release,
                          "no such interpreter here: tests/python/"
                          "fetch_interpreters.sh fetches 3.13 to 3.15")
    heaptest.finish()


main()
