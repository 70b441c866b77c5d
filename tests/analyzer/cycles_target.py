# SPDX-License-Identifier: Apache-2.0
"""A process with many kinds of garbage, and of the same that lives, for
test_cycles.py. Runs on CPython 3.8 to 3.15 with the standard library only.

It prints "READY PID" and waits for a line; with --collecting it does so last,
and within a collection. Before or then two twins, made by fork, say
what the collector does, a line of JSON each, told apart by "twin": one with
gc.DEBUG_SAVEALL, which keeps what it finds in gc.garbage, one without.

  "referents"   of each object that the collector tracks: the addresses of what
                it refers to, but for its class
  "garbage"     addresses of gc.garbage then
  "uncollectable"   how many objects it said are that
  "gone"        addresses of objects that are no more
  "unsure"      addresses where there is an object as before, but perhaps
                another one: it refers to others, or to nothing, or is tracked
                no more, as tuples and dicts that can be in no cycle are
  "references"  addresses of weak references
  "returned"   by gc.collect()
  "finalized"  how often a __del__ or a finally ran
"""

import asyncio
import collections
import contextvars
import ctypes
import functools
import gc
import io
import itertools
import json
import os
import sys
import threading
import types
import weakref
import xml.etree.ElementTree

finalized = [0]


class Plain:
    def method(self):
        return self


class Slotted:
    __slots__ = "me", "other"


class Base:
    __slots__ = "me",


class Derived(Base):
    pass


class Finalized:
    def __del__(self):
        finalized[0] += 1


class FinalizedChild(Finalized):
    __slots__ = "me",


class Words(dict):
    pass


class Names(list):
    pass


class Pair(tuple):
    pass


class Failure(Exception):
    pass


class Wrapped(io.BytesIO):
    pass


def instance():
    it = Plain()
    it.me = it
    return it


def instance_with_dict():
    it = Plain()
    it.me = it
    it.__dict__["again"] = it.__dict__
    return it


def slots():
    it, other = Slotted(), Slotted()
    it.me, it.other, other.other = it, other, it
    return it


def slots_and_dict():
    it = Derived()
    it.me, it.text = it, "text %d" % id(it)
    return it


def with_del():
    it = Finalized()
    it.me = it
    return it


def child_with_del():
    it = FinalizedChild()
    it.me = it
    return it


class Legacy:
    """With a tp_del, as types in C might have before 3.4; of a function that
    does nothing."""


ctypes.c_size_t.from_address(
    id(Legacy) + (392 if "t" in sys.abiflags else 376)).value = ctypes.cast(
    ctypes.pythonapi.PyErr_Clear, ctypes.c_void_p).value


def with_tp_del():
    it = Legacy()
    it.me = [it, child_with_del()]
    return it


def nested_lists():
    it = [[], [["text %d" % 1234567]], {}]
    it[0].append(it)
    it[2]["tail"] = [[i, [str(i)]] for i in range(1000, 1040)]
    return it


def nested_dicts():
    it = {"a": {"b": {}}}
    it["a"]["b"]["c"] = it
    it[3] = {(1, 2): it}
    return it


def sets():
    it = Plain()
    it.members = {it, frozenset([it])}
    return it


def subclasses():
    it = Words(a=Names(), b=None)
    it["a"].append(Pair([it, 1]))
    it.attribute = it
    return it


def closure():
    def inner():
        return inner, counted
    counted = [0]
    return inner


def defaults():
    def function(a=[], *, b={}):
        return a, b
    function.__defaults__[0].append(function)
    function.__kwdefaults__["b"]["me"] = function
    return function


def klass():
    class Local:
        attribute = ["value"]

        def method(self):
            return Local

        @property
        def value(self):
            return self

        @staticmethod
        def static():
            return None

        @classmethod
        def made(cls):
            return cls()
    Local.instances = [Local(), Local()]
    return Local


def klass_with_meta():
    class Meta(type):
        pass

    class Child(Plain, metaclass=Meta):
        __slots__ = "here",
    return Child


def method():
    it = Plain()
    it.bound = it.method
    it.builtin = [].append
    it.builtin(it)
    return it


def generator_at_yield():
    def run(box):
        held = [box]
        try:
            yield held
        finally:
            finalized[0] += 1
    box = []
    box.append(run(box))
    next(box[0])
    return box


def generator_not_begun():
    def run(box):
        yield box
    box = []
    box.append(run(box))
    return box


def generator_ended():
    def run(box):
        yield box
    box = []
    box.append(run(box))
    list(box[0])
    return box


def generator_of_itself():
    def run():
        me = yield
        yield me
    it = run()
    next(it)
    it.send(it)
    return it


def generator_delegates():
    def inner(box):
        yield box

    def outer(box):
        yield from inner(box)
    box = {}
    box["it"] = outer(box)
    next(box["it"])
    return box


def coroutine():
    @types.coroutine
    def wait():
        yield

    async def run(box):
        here = {"box": box}
        await wait()
        return here
    box = []
    box.append(run(box))
    box[0].send(None)
    return box


def async_generator():
    async def run(box):
        yield box
    box = []
    box.append(run(box))
    return box


def expression():
    box = []
    box.append(x for x in [box])
    return box


def traceback():
    try:
        raise Failure("text", [1])
    except Failure as error:
        kept = error
    return kept


def chained():
    try:
        try:
            {}["missing"]
        except KeyError as error:
            raise Failure() from error
    except Failure as error:
        kept = [error]
    return kept


def frame():
    here = sys._getframe()
    return here


def partials():
    box = []
    box.append(functools.partial(len, box, key=box))
    box[0].attribute = box
    return box


def cached():
    @functools.lru_cache(maxsize=8)
    def function(value=None):
        return function
    function(1)
    function("text")
    return function


def cached_endless():
    box = Plain()
    box.cached = functools.lru_cache(maxsize=None)(lambda value: box)
    box.cached((1, 2))
    return box


def deques():
    it = collections.deque(maxlen=500)
    it.extend([it] * 3)
    it.extend([i] for i in range(200))
    return it


def ordered():
    it = collections.OrderedDict()
    it["me"] = it
    it[Plain()] = [it]
    del it["me"]
    return it


def default_dict():
    it = collections.defaultdict(list)
    it["me"].append(it)
    it.default_factory = functools.partial(it.get, "me")
    return it


def counters():
    it = collections.ChainMap({}, collections.Counter("text"))
    it["me"] = it
    return it


def iterators():
    box = []
    box.append(iter(box))
    box += [enumerate(box), zip(box, box), map(str, box), filter(None, box),
            reversed(box), itertools.chain(box, box), itertools.count(1.5),
            itertools.cycle(box), itertools.islice(box, 3),
            itertools.starmap(max, box), itertools.accumulate(box),
            itertools.product(box, repeat=2), itertools.permutations(box, 1),
            itertools.groupby(box), itertools.repeat(box),
            itertools.zip_longest(box), *itertools.tee(box)]
    table = {"box": box}
    box += [iter(table), table.items(), iter(table.values()), iter({1, 2}),
            iter((box, table)), iter(len, box)]
    return box


def views():
    it = {}
    it["keys"], it["proxy"] = it.keys(), types.MappingProxyType(it)
    return it


def namespace():
    it = types.SimpleNamespace(a=1)
    it.me = it
    return it


def module():
    it = types.ModuleType("made")
    exec("def function():\n    return function\nvalue = [function]",
         it.__dict__)
    it.me = it
    return it


def descriptors():
    box = []
    box += [property(box.append), staticmethod(box), classmethod(box),
            super(Words, Words(box=box))]
    return box


def weak_references():
    it = Plain()
    it.me = it
    it.weak = weakref.ref(it)
    it.called = weakref.ref(it, lambda ref, box=[it]: None)
    it.table = weakref.WeakValueDictionary(me=it)
    it.proxy = weakref.proxy(it)
    return it


def context():
    variable = contextvars.ContextVar("variable %d" % len(dead))
    it = contextvars.copy_context()
    it.run(variable.set, [it])
    return it


def files():
    it = Wrapped(b"bytes")
    it.me = it
    it.reader = io.BufferedReader(it)
    it.text = io.TextIOWrapper(it.reader)
    # Finalizers set attributes: in dicts that are there already.
    it.reader.kept = it.text.kept = None
    return it


def elements():
    it = xml.etree.ElementTree.Element("a")
    child = xml.etree.ElementTree.SubElement(it, "b", key="value")
    child.text = Names([it])
    return it


class Structure(ctypes.Structure):
    _fields_ = [("object", ctypes.py_object), ("number", ctypes.c_long)]


def foreign():
    box = []
    it = Structure(box, 3)
    box += [it, ctypes.CFUNCTYPE(None)(box.clear), ctypes.pointer(it),
            (Structure * 2)(it, it)]
    return box


def locals_of_threads():
    it = threading.local()
    it.me = [it]
    return it


def locks():
    it = threading.Condition()
    it.owner = Plain()
    it.owner.lock = it
    return it


def tasks():
    async def waits(future):
        await future

    async def pass_by():
        await asyncio.sleep(0)
    future = loop.create_future()
    task = loop.create_task(waits(future))
    loop.run_until_complete(pass_by())
    future.me = [task]
    # The set of all tasks would lose its weak reference with the task.
    asyncio.tasks._unregister_task(task)
    return task


def aliases():
    box = []
    if sys.version_info >= (3, 9):
        box += [list[int], dict[str, Plain]]
    if sys.version_info >= (3, 10):
        box.append(int | Plain)
    box.append(slice(box, 1, None))
    return Names([box, box.append(box)])


def refers_to_what_lives():
    it = [alive, Plain, gc, "text", finalized]
    it.append(it)
    return it


KINDS = [value for value in list(globals().values())
         if isinstance(value, types.FunctionType)
         and value.__module__ == __name__]

loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda *about: None)
alive, dead, watched = [], [], []


def make():
    """Of each kind some that live, and some that do not."""
    for kind in KINDS:
        for number in range(3):
            alive.append(kind())
            it = kind()
            try:
                watched.append(weakref.ref(it, watched.count))
            except TypeError:
                pass
            del it
    # Held by nothing that the collector knows: these live as well.
    leaked = instance()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(leaked))
    del leaked



def objects(found):
    """{address of what is tracked now: addresses of what it refers to, but for
    its class, as text: objects of a kind that is not looked for}."""
    for thing in gc.get_objects():
        if thing is not found:
            found[id(thing)] = " ".join([
                str(id(it)) for it in gc.get_referents(thing)
                if it is not type(thing)])


# Without a GIL the header is {tid, flags and the owner's count, all others',
# which is four times as many and two flags, type}.
FREE_THREADED = "t" in sys.abiflags


def kind_of(address):
    return ctypes.c_size_t.from_address(
        address + (24 if FREE_THREADED else 8)).value


def lives(address, kind):
    """Whether there is an object of that type."""
    if FREE_THREADED:
        count = ctypes.c_uint32.from_address(address + 12).value + (
            ctypes.c_ssize_t.from_address(address + 16).value >> 2)
    else:
        count = ctypes.c_uint32.from_address(address).value
    return count != 0 and kind_of(address) == kind


def closed(before):
    """Free-threaded 3.13: the code of a generator that was closed is not visited
    any more, so that it seems to have come back to life."""
    if not FREE_THREADED or sys.version_info >= (3, 14):
        return []
    return [id(it.gi_code) for it in gc.get_objects()
            if type(it) is types.GeneratorType]


def twin(name, flags):
    """What the collector does in a copy of this process."""
    before, after = {}, {}
    told = {"twin": name, "referents": before, "state": {
        "frozen": gc.get_freeze_count(), "stats": gc.get_stats(),
        "threshold": gc.get_threshold()}}
    objects(before)
    kinds = {it: kind_of(it) for it in before}
    gc.set_debug(flags)
    finalized[0] = 0
    told["returned"] = gc.collect()
    told["finalized"] = finalized[0]
    objects(after)
    told["uncollectable"] = gc.get_stats()[2]["uncollectable"]
    told["garbage"] = [id(it) for it in gc.garbage]
    living = {it for it in before if lives(it, kinds[it])}
    told["gone"] = [it for it in before if it not in living]
    told["unsure"] = [it for it in living
                      if after.get(it) != before[it] or not before[it]]
    told["unsure"] += closed(before)
    told["references"] = [it for it in before
                          if kinds[it] == id(weakref.ReferenceType)]
    print(json.dumps(told), flush=True)
    os._exit(0)


def tell():
    for name, flags in ("saveall", gc.DEBUG_SAVEALL), ("plain", 0):
        pid = fork()
        if pid == 0:
            twin(name, flags)
        os.waitpid(pid, 0)
    print("TOLD", flush=True)


def ready(reference=None):
    """To be dumped, also from within a collection; not in a twin."""
    if os.getpid() == main_pid:
        print("READY", main_pid, flush=True)
        # Where sys.stdin is read from things are that go when it returns.
        os.read(0, 1)


def main():
    gc.disable()
    make()
    if "--collecting" in sys.argv:
        it = instance()
        watched.append(weakref.ref(it, ready))
        del it
        tell()
        gc.collect()
    else:
        ready()
        tell()
    sys.stdin.readline()


# By C: what modules run in a new process lets go of objects.
fork = ctypes.PyDLL(None).fork
main_pid = os.getpid()
gc.collect()
if "--freeze" in sys.argv:
    frozen = [instance()]
    gc.freeze()
main()
