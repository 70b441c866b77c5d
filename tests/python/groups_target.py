# SPDX-License-Identifier: Apache-2.0
"""The program whose containers, equal values and owners are read from outside:
containers in every state that makes them hold more or less than they need,
values that are equal without being the same object, and things that belong to
one object, to several, or to none.

usage: groups_target.py [--many] --census TO

Like target.py it forks: the twin writes down what Python says, and the parent,
blocked in waitpid, is dumped. The file (a path, or fd:N) has lines of JSON:

    ["container", address, type, capacity, used, wasted, size]
    ["value", address, type, key, size]      key: equal where values are
    ["owned", type, owner, count, size]
    ["thing", name, address]                 to be damaged

With --many there are also so many equal texts that whoever compares them needs
megabytes.
"""

import argparse
import array
import collections
import ctypes
import gc
import json
import os
import struct
import sys
import types

NEW = sys.version_info[:2]
# What the header of an object is longer by in free-threaded builds.
FREE = 16 if "t" in getattr(sys, "abiflags", "") else 0
HEAP = {}
# What large containers are filled with: the same for all of them, or most of
# the heap were numbers.
NUMBERS = list(range(60000))
KEYS = ["key%d" % i for i in range(43691)]


# ---- Containers

class L(list):
    pass


class D(dict):
    pass


class S(set):
    pass


class F(frozenset):
    pass


class Q(collections.deque):
    pass


class O(collections.OrderedDict):  # noqa: E742
    pass


class B(bytearray):
    pass


class A(array.array):
    pass


class Attributes:
    def __init__(self, n):
        for i in range(n):
            setattr(self, "attribute%d" % i, i)


def lists(kind):
    made = [kind(range(n)) for n in (0, 1, 2, 3, 7, 100)]
    for n in (1, 5, 9, 17, 100):
        grown = kind()
        for i in range(n):
            grown.append(i)
        made.append(grown)
        shrunk = kind(range(n * 10))
        del shrunk[n:]
        made.append(shrunk)
    cleared = kind(range(50))
    cleared.clear()
    popped = kind(range(1000))
    while len(popped) > 3:
        popped.pop()
    return made + [cleared, popped, kind([0]) * 33]


def dicts(kind):
    made = [kind()]
    # From 2^8 and 2^16 slots on the index has wider entries.
    large = (170, 171, 43690, 43691) if kind is dict else (171,)
    for n in (1, 4, 5, 6, 10, 11, 21, 22, 85, 86, *large):
        made.append(kind((i, i) for i in NUMBERS[:n]))
        made.append(kind((KEYS[i], i) for i in NUMBERS[:n]))
        made.append(kind(kind((i, i) for i in NUMBERS[:n])))
        partly = kind((i, i) for i in NUMBERS[:n])
        for i in range(n * 3 // 4):
            del partly[i]
        made.append(partly)
    mixed = kind(("m%d" % i, i) for i in range(30))
    mixed[5] = 5
    del mixed[5]
    cleared = kind((i, i) for i in range(20))
    cleared.clear()
    drained = kind((i, i) for i in range(20))
    for i in range(20):
        del drained[i]
    return made + [mixed, cleared, drained, kind(a=1, b=2)]


def sets(kind):
    made = [kind()]
    # Above 50,000 items sets grow by less.
    large = (60000,) if kind is set else ()
    for n in (1, 3, 4, 5, 6, 8, 9, 12, 18, 19, 20, 40, 77, 1000, *large):
        made.append(kind(NUMBERS[:n]))
        made.append(kind(set(NUMBERS[:n])))
        if hasattr(kind, "add"):
            grown = kind()
            for i in NUMBERS[:n]:
                grown.add(i)
            made.append(grown)
            for i in range(n * 3 // 4):
                grown.discard(i)
            made.append(kind(grown))
    return made


def deques(kind):
    made = [kind(range(n)) for n in (0, 1, 31, 32, 33, 63, 64, 65, 500)]
    rotated = kind(range(200))
    rotated.rotate(33)
    drained = kind(range(2000))
    for _ in range(1990):
        drained.popleft()
    emptied = kind(range(300))
    emptied.clear()
    bounded = kind(range(500), maxlen=7)
    return made + [rotated, drained, emptied, bounded]


def bytearrays(kind):
    made = [kind(n) for n in (0, 1, 15, 100, 5000)]
    for n in (1, 20, 3000):
        grown = kind()
        for i in range(n):
            grown.append(i & 255)
        made.append(grown)
        cut = kind(n * 10)
        del cut[n:]
        made.append(cut)
        front = kind(n * 10)
        del front[:n * 4]
        made.append(front)
    cleared = kind(100)
    cleared.clear()
    emptied = kind(100)
    while emptied:
        emptied.pop()
    return made + [cleared, emptied]


def arrays(kind):
    made = []
    for code in "bBhiIlLqQfd":
        made += [kind(code), kind(code, [1, 2, 3])]
        grown = kind(code)
        for i in range(50):
            grown.append(i)
        del grown[20:]
        made.append(grown)
    return made


def instances():
    made = []
    for n in (0, 1, 3, 7, 30, 31, 60):
        cls = type("Attributes%d" % n, (Attributes,), {})
        things = [cls(n) for _ in range(4)]
        vars(things[1])                 # a dict for the attributes
        vars(things[2])["later"] = 1
        if n:
            del things[3].attribute0
        made += things
    return made


def all_containers():
    found = []
    for kind in (list, L):
        found += lists(kind)
    for kind in (dict, D, collections.OrderedDict, O, collections.Counter):
        found += dicts(kind)
    found += dicts(lambda *a, **k: collections.defaultdict(list, *a, **k))
    for kind in (set, S, frozenset, F):
        found += sets(kind)
    for kind in (collections.deque, Q):
        found += deques(kind)
    for kind in (bytearray, B):
        found += bytearrays(kind)
    for kind in (array.array, A):
        found += arrays(kind)
    return found


def word(address):
    return ctypes.c_uint64.from_address(address).value


def raw_keys(thing):
    """Address of a dict's table, and its slots."""
    keys = word(id(thing) + FREE + 32)
    if NEW >= (3, 11):
        return keys, 1 << ctypes.c_uint8.from_address(keys + 8).value
    return keys, word(keys + 8)


def dict_room(thing):
    """(capacity, wasted, slots of the smallest table)"""
    keys, slots = raw_keys(thing)
    table = dict.__sizeof__(thing) - type(thing).__basicsize__
    # What has only grown is as small as can be. Since 3.11 tables of strings
    # alone have smaller entries.
    text = NEW >= (3, 11) and ctypes.c_uint8.from_address(keys + 10).value
    smallest = {}
    for i in range(len(thing)):
        smallest["%d" % i if text else i] = None
    tight = dict.__sizeof__(smallest) - dict.__basicsize__
    tight_slots = raw_keys(smallest)[1] if len(thing) else 0
    values = word(id(thing) + FREE + 40)
    if slots < 8:
        return 0, 0, 0
    if values:
        capacity = table // 8
        inside = NEW >= (3, 13) and ctypes.c_uint8.from_address(
            values + 2).value                   # PyDictValues.embedded
        return capacity, 0 if inside else (capacity - len(thing)) * 8, 0
    if word(keys) != 1:
        return slots * 2 // 3, 0, tight_slots
    return slots * 2 // 3, max(table - tight, 0), tight_slots


def set_room(thing, kind):
    mask = word(id(thing) + FREE + 32)
    capacity = 0
    while (capacity + 1) * 5 < mask * 3:
        capacity += 1
    copied = set(thing)
    return (max(capacity, len(thing)),
            max(kind.__sizeof__(thing) - type(thing).__basicsize__
                - (set.__sizeof__(copied) - set.__basicsize__), 0))


def deque_room(thing):
    blocks = (collections.deque.__sizeof__(thing)
              - type(thing).__basicsize__) // 528
    needed = max((len(thing) + 63) // 64, 1)
    kept = word(id(thing) + FREE + 72) if NEW >= (3, 11) else 0
    assert kept <= 16, kept
    return blocks * 64, (blocks - needed + kept) * 528


def room(thing):
    """(capacity, used, wasted) as Python says."""
    if isinstance(thing, list):
        capacity = (list.__sizeof__(thing)
                    - type(thing).__basicsize__) // 8
        return capacity, len(thing), (capacity - len(thing)) * 8
    if isinstance(thing, collections.OrderedDict):
        capacity, wasted, tight = dict_room(thing)
        return capacity, len(thing), wasted + max(
            nodes(thing) - tight, 0) * 8
    if isinstance(thing, dict):
        capacity, wasted, _ = dict_room(thing)
        return capacity, len(thing), wasted
    if isinstance(thing, (set, frozenset)):
        capacity, wasted = set_room(thing, set if isinstance(thing, set)
                                    else frozenset)
        return capacity, len(thing), wasted
    if isinstance(thing, collections.deque):
        capacity, wasted = deque_room(thing)
        return capacity, len(thing), wasted
    if isinstance(thing, bytearray):
        taken = bytearray.__sizeof__(thing) - type(thing).__basicsize__
        head = bytes.__basicsize__ if NEW >= (3, 15) else 1
        capacity = max(taken - head, 0)
        if len(thing) == 0:
            return capacity, 0, taken
        return capacity, len(thing), capacity - len(thing)
    taken = array.array.__sizeof__(thing) - type(thing).__basicsize__
    capacity = taken // thing.itemsize
    return (capacity, len(thing),
            (capacity - len(thing)) * thing.itemsize)


def nodes(thing):
    """Slots of the list of an OrderedDict: od_fast_nodes_size."""
    return word(id(thing) + dict.__basicsize__ + 24)


CONTAINERS = (list, dict, set, frozenset, collections.deque, bytearray,
              array.array)


# ---- Equal values

class Text(str):
    pass


class Raw(bytes):
    pass


class Pair(tuple):
    pass


class Named(collections.namedtuple("Named", "a b")):
    pass


class Same:
    """Equal to all others, and yet another object."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


def fresh(text):
    """An equal string that is another object."""
    return "".join(list(text)) if len(text) > 1 else text


def all_values():
    found = []
    for i in range(40):
        for text in ("planted value %d" % i, "pl\u00e4nted %d" % i,
                     "pl\u0416nted %d" % i, "pl\U0001f600nted %d" % i,
                     "long planted %d " % i * 300):
            found += [fresh(text) for _ in range(1 + i % 4)]
            found += [Text(text) for _ in range(1 + i % 3)]
            raw = text.encode()
            found += [bytes(bytearray(raw)) for _ in range(1 + i % 5)]
            found += [Raw(raw) for _ in range(1 + i % 2)]
    same = Same()
    for i in range(30):
        for _ in range(1 + i % 3):
            found += [tuple([i, "item", fresh("text %d" % i)]),
                      tuple([i + 0.5, (10 ** 30 + i, bytes([i] * 20))]),
                      tuple([-i, None, True, (i, (i, (i, (i, [])[:1])))]),
                      tuple([float(i), i]), tuple([i, float(i)]),
                      tuple([same, i]), tuple([Same(), i]),
                      tuple([Text("t"), i]), tuple(["x" * 5000 + str(i)]),
                      tuple(range(i, i + 1200)), Pair([i, (i, i)]),
                      Named(i, fresh("named %d" % i)),
                      tuple([0.0, i]), tuple([-0.0, i])]
    deep = ()
    for i in range(6):
        deep = (deep, i)
        found.append((deep, 1))
        found.append(((((((), 0), 1), 2), i), 1))
    return found


def item_key(thing, depth, left):
    """What an item of a tuple counts as; left: items and bytes to look at."""
    kind = type(thing)
    if left[0] <= 0:
        return "at", id(thing)
    left[0] -= 1
    if kind is tuple and depth < 3 and len(thing) <= left[0]:
        left[0] -= len(thing)
        return ("tuple", len(thing)) + tuple(
            item_key(item, depth + 1, left) for item in thing)
    if kind is str:
        width = max(map(ord, thing), default=0)
        size = len(thing) * (1 if width < 256 else 2 if width < 65536 else 4)
        value = thing
    elif kind is bytes:
        size, value = len(thing), thing.hex()
    elif kind is int:
        bits = sys.int_info.bits_per_digit
        size, value = (thing.bit_length() + bits - 1) // bits * 4, str(thing)
    elif kind is float:
        size, value = 0, struct.pack("d", thing).hex()
    else:
        return "at", id(thing)
    if size > left[1]:
        return "at", id(thing)
    left[1] -= size
    return kind.__name__, value


def value_key(thing):
    if isinstance(thing, str):
        return str.__str__(thing)
    if isinstance(thing, bytes):
        return bytes(thing).hex()
    left = [1024, 4096]
    return repr([item_key(item, 0, left) for item in tuple(thing)])


# ---- Owners

class Owner:
    """Attributes without a dict of their own, where the release does that."""


class OwnerOfDict:
    pass


class OwnerOfSlots:
    __slots__ = ("one", "other")


class OwnerOfBoth(OwnerOfSlots):
    pass


class OwnerWithClassData:
    table = {"planted": ["in a class"]}
    row = ["of a class"]


class OwnerOfList(list):
    pass


class OwnerOfItems(dict):
    pass


class Module(types.ModuleType):
    pass


class Borg:
    state = {}

    def __init__(self):
        self.__dict__ = self.state


def fill(thing, i):
    thing.one = ["list", i, [i, i]]
    thing.other = {"key": (i, i), "text": fresh("text of owner %d" % i)}


def owned():
    made = []
    shared = ["shared"]
    for i in range(40):
        for cls in (Owner, OwnerOfDict, OwnerOfSlots, OwnerOfBoth):
            thing = cls()
            fill(thing, i)
            made.append(thing)
        made[-1].extra = {"set": {i, i + 1}, "queue": collections.deque([i])}
        made[-3].twice = made[-3].again = collections.OrderedDict(a=i)
        vars(made[-3])
        made[-4].shared = shared
        made[-4].number = 10 ** 20 + i
        made[-4].real = i + 0.25
        made.append(OwnerOfList([[i], {i}, [i] * 2]))
        made.append(OwnerOfItems(a=[i], b=(i, "x")))
        made[-1].note = bytearray(b"note")
        module = Module("planted%d" % i)
        module.data = [i]
        made.append(module)
    mutual = OwnerOfSlots()
    mutual.one = []
    mutual.one.append(mutual.one)
    orphan = [[i] for i in range(7)]
    return made + [mutual, orphan, Borg(), Borg(), OwnerWithClassData()]


# ---- What the twin writes

ASKED = (list, tuple, dict, set, frozenset, str, bytes, bytearray, int, float,
         complex, collections.deque, collections.OrderedDict, array.array,
         collections.defaultdict, collections.Counter)


def referents(thing):
    """What it refers to. The collector leaves out keys that are text; and in
    3.13 the dict of attributes that it has visited in the object."""
    found = gc.get_referents(thing)
    if NEW == (3, 13) and type(thing).__flags__ & 1 << 4:   # MANAGED_DICT
        there = word(id(thing) - (8 if FREE else 24))
        if there:
            found.append(ctypes.cast(there, ctypes.py_object).value)
    return found + list(dict.keys(thing)) if isinstance(thing, dict) else found


def everything():
    """All objects that can be reached; the collector is off."""
    pending = [*gc.get_objects(), HEAP]
    seen, found = {id(pending)}, []
    frame = sys._getframe()
    while frame is not None and frame.f_code is not main.__code__:
        seen.add(id(frame))
        frame = frame.f_back
    while pending:
        thing = pending.pop()
        if id(thing) not in seen:
            seen.add(id(thing))
            found.append(thing)
            pending += referents(thing)
            pending.append(type(thing))
    return found


def name_of(cls):
    name = type.__dict__["__qualname__"].__get__(cls)
    module = type.__dict__["__module__"].__get__(cls)
    return name if module == "builtins" else "%s.%s" % (module, name)


def namespaces(found):
    """Addresses of dicts of attributes: the objects whose they are."""
    owners, made = collections.defaultdict(set), []
    there = {id(thing) for thing in found}
    for thing in found:
        cls = type(thing)
        if isinstance(thing, types.ModuleType):
            owners[id(vars(thing))].add(id(thing))
        elif cls.__module__ == "__main__" and not isinstance(thing, type):
            # It may be made by asking for it, and then stays.
            made.append(getattr(thing, "__dict__", None))
            if id(made[-1]) in there:
                owners[id(made[-1])].add(id(thing))
    return owners


def owners_of(found):
    """Yield (object, type of its owner or None), of those that some object
    of a class made here refers to."""
    holders = collections.defaultdict(set)
    by_id = {id(thing): thing for thing in found}
    # Before any attribute dict is asked for: that would make some.
    for thing in found:
        for referent in referents(thing):
            holders[id(referent)].add(id(thing))
    spaces = namespaces(found)
    for thing in found:
        if type(thing) not in ASKED:
            continue
        own = spaces.get(id(thing))
        by = own or holders.get(id(thing), set())
        if len(by) == 2 and NEW == (3, 13):
            # The collector visits some attributes of an object as well as
            # its dict, which hold the same references.
            by = by - set().union(*(spaces.get(one, ()) for one in by))
        if len(by) != 1:
            yield thing, None
            continue
        by, = by
        through = spaces.get(by, ())
        if len(through) == 1:
            by, = through
        yield thing, type(by_id[by])


def write(out, found):
    records, owned_by = [], collections.defaultdict(list)
    # Owners first: what follows makes dicts of attributes, and has caches.
    for thing, owner in owners_of(found):
        if owner and owner.__module__ in ("__main__", "builtins"):
            owned_by[name_of(type(thing)), name_of(owner)].append(
                sys.getsizeof(thing))
    for (name, owner), sizes in owned_by.items():
        records.append(("owned", name, owner, len(sizes), sum(sizes)))
    for thing in found:
        if isinstance(thing, CONTAINERS) and type(thing).__name__ not in (
                "StgDict",):
            records.append(("container", id(thing), name_of(type(thing)),
                            *room(thing), sys.getsizeof(thing)))
    values = HEAP["values"] + [thing for thing in found if type(thing) in (
        Text, Raw, Pair, Named)]
    for thing in {id(thing): thing for thing in values}.values():
        records.append(("value", id(thing), name_of(type(thing)),
                        value_key(thing), sys.getsizeof(thing)))
    for name, thing in HEAP["things"].items():
        records.append(("thing", name, id(thing)))
    for record in records:
        out.write(json.dumps(record).encode() + b"\n")


def twin(to, pid):
    status = 1
    try:
        found = everything()            # before anything is made
        with open(int(to[3:]) if to.startswith("fd:") else to, "wb") as out:
            write(out, found)
        os.write(1, b"READY %d\n" % pid)
        while os.read(0, 4096):
            pass
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(status)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--census")
    parser.add_argument("--many", action="store_true")
    arguments, pid = parser.parse_args(), os.getpid()
    HEAP["containers"] = all_containers()
    HEAP["instances"] = instances()
    HEAP["values"] = all_values()
    HEAP["owned"] = owned()
    HEAP["things"] = dict(
        list=L(range(100)), dict=D((i, i) for i in range(100)),
        set=S(range(100)), deque=Q(range(200)), odict=O(a=1),
        bytearray=B(100), array=A("i", range(10)),
        text=Text("damaged text"), pair=Pair([1, 2, 3]))
    if arguments.many:
        HEAP["many"] = [["many%d" % i for i in NUMBERS[:40000]]
                        for _ in range(2)]
    gc.collect()
    gc.disable()
    if ctypes.PyDLL(None).fork():
        os.waitpid(-1, 0)
        os._exit(0)
    twin(arguments.census, pid)


if __name__ == "__main__":
    main()
