# SPDX-License-Identifier: Apache-2.0
"""The program whose dumps hold as much of the standard library as there is:
every module that can be imported, and objects of its types in use, half-way
through what they do. It is dumped from inside a coroutine that runs.

usage: wide_target.py [--tasks N] [--census TO]

  --tasks N    tasks of the event loop (3000)
  --census TO  as in target.py, which gives READY, the twin, the census and the
               end of it all

Runs on CPython 3.8 to 3.15 with the standard library only. What a build of
Python lacks is left out; it prints "WIDE N" with the number of modules. The
types it makes are those of __main__, and their instances are everywhere.
"""

import sys

sys.dont_write_bytecode = True      # target.py may lie among the sources

import argparse
import array
import ast
import asyncio
import collections
import contextlib
import contextvars
import decimal
import functools
import gc
import importlib
import io
import itertools
import json
import mmap
import os
import pickle
import pkgutil
import queue
import random
import re
import select
import selectors
import socket
import struct
import subprocess
import tempfile
import threading
import time
import types
import unicodedata
import warnings
import weakref

import target
from target import HEAP

# Importing these prints, opens windows, reads input, or runs tests.
NOT_IMPORTED = re.compile(r"""
    antigravity | this | __hello__ | __phello__ | idlelib | turtledemo
    | turtle | lib2to3\.pgen2\.conv | test | site | sitecustomize
    | usercustomize | .*\b(tests?|__main__|idle_test)\b.* | _pyrepl\.windows.*
    | ensurepip\..* | _?pyrepl\.main | _xxtestfuzz | pip | setuptools
    | distutils\.command\.bdist_msi | _testembed""", re.VERBOSE)


class Load:
    """What this program puts into everything."""

    def __init__(self, number):
        self.number = number
        self.label = "load %d" % number


class Slim:
    __slots__ = ("load", "__weakref__")

    def __init__(self, load):
        self.load = load


class Failure(Exception):
    pass


class Awaitable:
    def __init__(self, future):
        self.future = future

    def __await__(self):
        return (yield from self.future)


# ---- Modules

def modules_below(package):
    for found in pkgutil.iter_modules(getattr(package, "__path__", ())):
        yield package.__name__ + "." + found.name


def import_everything():
    """Import the standard library; returns how much of it there was."""
    library = [path for path in sys.path if os.path.isdir(path)
               and "site-packages" not in path and "dist-packages" not in path
               and os.path.abspath(path) != os.path.dirname(
                   os.path.abspath(__file__))]
    pending = collections.deque(sorted(
        {found.name for found in pkgutil.iter_modules(library)}
        | set(sys.builtin_module_names)))
    count = 0
    while pending:
        name = pending.popleft()
        if NOT_IMPORTED.fullmatch(name):
            continue
        try:
            module = importlib.import_module(name)
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException:
            continue            # of another system, or not installed
        count += 1
        pending.extend(modules_below(module))
    return count


def optional(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


# ---- Objects of the library

def made_by(*makers):
    """What these make; a library that is there may still lack some."""
    made = []
    for make in makers:
        try:
            made.append(make())
        except Exception as error:
            made.append(Failure(make, str(error)))
    return made


def data_bases():
    sqlite3 = optional("sqlite3")
    if not sqlite3:
        return []
    connection = sqlite3.connect(":memory:", detect_types=1)
    connection.row_factory = sqlite3.Row
    connection.execute("create table t (a integer, b text, c blob)")
    connection.executemany("insert into t values (?, ?, ?)", (
        (i, "text %d" % i, b"blob %d" % i) for i in range(2000)))
    connection.create_function("twice", 1, lambda value: 2 * value)
    connection.set_trace_callback(None)
    half = connection.execute("select a, twice(a), b, c from t order by a")
    rows = [half.fetchone() for _ in range(500)]
    many = connection.execute("select * from t").fetchall()
    failure = made_by(lambda: connection.execute("no statement"))
    made = [connection, half, rows, many, failure, rows[0].keys(),
            [connection.cursor() for _ in range(20)]]
    if hasattr(connection, "blobopen"):
        made.append(connection.blobopen("t", "c", 1))
    return made


def numbers():
    context = decimal.Context(prec=50, traps=[decimal.DivisionByZero])
    decimal.setcontext(context)
    return [context, decimal.getcontext().copy(),
            [decimal.Decimal(i) / 7 for i in range(500)],
            [decimal.Decimal(10) ** (i * 100) + 1 for i in range(50)],
            [decimal.Decimal(text) for text in ("NaN", "-Infinity", "0E+9")],
            context.flags, context.traps, decimal.localcontext(),
            random.Random(3), random.SystemRandom(), struct.Struct("<IQ10sd"),
            struct.iter_unpack("<I", bytes(400))]


def packed():
    text = b"what is packed " * 500
    made = []
    for name, pack, unpack in (
            ("zlib", lambda m: m.compressobj(), lambda m: m.decompressobj()),
            ("bz2", lambda m: m.BZ2Compressor(), lambda m: m.BZ2Decompressor()),
            ("lzma", lambda m: m.LZMACompressor(),
             lambda m: m.LZMADecompressor()),
            ("compression.zstd", lambda m: m.ZstdCompressor(),
             lambda m: m.ZstdDecompressor())):
        module = optional(name)
        if not module:
            continue
        for _ in range(5):
            packer, unpacker = pack(module), unpack(module)
            whole = packer.compress(text) + packer.flush()
            made += [packer, whole, unpacker,
                     unpacker.decompress(whole[:len(whole) // 2])]
            half = pack(module)
            half.compress(text)
            made.append(half)
        past_end = unpack(module)
        past_end.decompress(whole + b"unused")
        made.append(past_end)
    return made


def hashes():
    hashlib, hmac = optional("hashlib"), optional("hmac")
    made = []
    for name in sorted(hashlib.algorithms_available):
        made += made_by(lambda: hashlib.new(name, b"data"))
    for module, function in (("_md5", "md5"), ("_sha1", "sha1"),
                             ("_sha256", "sha256"), ("_sha512", "sha512"),
                             ("_sha2", "sha256"), ("_sha3", "sha3_256"),
                             ("_blake2", "blake2b"), ("_blake2", "blake2s")):
        made += made_by(lambda: getattr(optional(module), function)(b"data"))
    made += made_by(lambda: hmac.new(b"key", b"message", "sha256"),
                    lambda: hashlib.blake2b(b"x", key=b"k", digest_size=9))
    return made


def secure():
    ssl = optional("ssl")
    if not ssl:
        return []
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    half = context.wrap_bio(incoming, outgoing, server_hostname="example")
    with contextlib.suppress(ssl.SSLError):
        half.do_handshake()
    return [incoming, outgoing, context, half,
            [ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(5)]]


def documents():
    made = []
    trees = optional("xml.etree.ElementTree")
    expat = optional("xml.parsers.expat")
    dom = optional("xml.dom.minidom")
    text = "<root a='1'>" + "".join(
        "<item n='%d' k='v'>text %d<leaf/>tail</item>" % (i, i)
        for i in range(500)) + "</root>"
    if trees:
        root = trees.fromstring(text)
        root.append(trees.Comment("a comment"))
        root[3].set("load", "one more")
        half = trees.XMLPullParser(["start", "end"])
        half.feed(text[:2000])
        iterator = root.iter()
        for _ in range(10):
            next(iterator)
        made += [root, half, iterator, trees.TreeBuilder(), trees.XMLParser(),
                 trees.ElementTree(root), root.findall("item")]
    if expat:
        parser = expat.ParserCreate(namespace_separator=" ")
        load = Load(1)
        parser.StartElementHandler = lambda *given: load
        parser.CharacterDataHandler = [].append
        parser.buffer_text = True
        parser.Parse(text[:1000], False)
        made += [parser, *made_by(lambda: parser.Parse("<", True))]
    if dom:
        made.append(dom.parseString(text[:12] + "<a b='c'>d</a></root>"))
    return made


def texts():
    value = {"a": [1, 2.5, None, {"b": "c"}], "text": "\u0416" * 20}
    written = json.dumps([value] * 50, indent=1)
    encoder, decoder = json.JSONEncoder(indent=2), json.JSONDecoder()
    half = encoder.iterencode(value)
    next(half)
    reader = csv_reader()
    pickler_to = io.BytesIO()
    pickler = pickle.Pickler(pickler_to, protocol=4)
    shared = [Load(i) for i in range(30)]
    pickler.dump([shared, value])
    unpickler = pickle.Unpickler(io.BytesIO(pickler_to.getvalue()))
    again = unpickler.load()
    patterns = [re.compile("(?P<n%d>a+|b)*c{%d,}[\u0416x]" % (i, i % 9))
                for i in range(300)]
    return [written, json.loads(written), encoder, decoder, half,
            optional("_json"), reader, pickler, unpickler, again, patterns,
            [p.search("aac" * 9) for p in patterns[:20]],
            re.compile("a").scanner("banana"), re.compile("a").finditer("aa"),
            ast.parse("def f(a, *b: int, c=1):\n return [x for x in a]\n"),
            unicodedata.ucd_3_2_0, *incremental()]


def csv_reader():
    csv = optional("csv")
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL)
    writer.writerows([i, "quoted, %d" % i, 1.5 * i] for i in range(50))
    reader = csv.reader(io.StringIO(table.getvalue()))
    names = csv.DictReader(io.StringIO("a,b\n1,2\n3,4\n"))
    return [writer, reader, next(reader), names, next(names),
            csv.get_dialect("excel"), csv.Sniffer()]


def incremental():
    codecs = optional("codecs")
    made = []
    for name in ("utf-8", "utf-16", "big5", "shift_jis", "iso2022_jp", "hz"):
        with contextlib.suppress(LookupError):
            encoder = codecs.getincrementalencoder(name)()
            decoder = codecs.getincrementaldecoder(name)()
            decoder.decode(encoder.encode("text")[:1])
            made += [encoder, decoder, codecs.lookup(name)]
    return made


def memory():
    mapped = mmap.mmap(-1, 1 << 16)
    mapped.write(b"mapped " * 500)
    file = tempfile.TemporaryFile()
    file.write(bytes(5000))
    file.flush()
    words = array.array("Q", range(500))
    views = [memoryview(words)[i:i + 9] for i in range(100)]
    shaped = memoryview(bytes(24)).cast("B", (2, 3, 4))
    return [mapped, memoryview(mapped), file, mmap.mmap(file.fileno(), 4096),
            words, views, shaped, memoryview(words).cast("B"),
            [array.array(code, range(20)) for code in "bBhHiIlLqQfd"],
            array.array("d", [0.5] * 5000), bytearray(70000), bytes(70000),
            iter(words), io.BytesIO(bytes(3000)).getbuffer(),
            io.FileIO(__file__), io.BufferedRandom(io.BytesIO(b"x" * 99)),
            io.BufferedRWPair(io.BytesIO(), io.BytesIO()),
            io.TextIOWrapper(io.BytesIO(b"line\n" * 99), encoding="latin-1")]


def foreign():
    ctypes = optional("ctypes")
    if not ctypes:
        return []

    class Pair(ctypes.Structure):
        _fields_ = [("left", ctypes.c_int), ("right", ctypes.c_char_p),
                    ("bits", ctypes.c_uint, 3)]

    class Either(ctypes.Union):
        _fields_ = [("pair", Pair), ("text", ctypes.c_char * 40)]

    pairs = (Pair * 300)()
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.py_object)
    load = Load(2)
    held = [Pair(i, b"bytes %d" % i) for i in range(200)]
    return [Pair, Either(), pairs, pairs[5], held,
            ctypes.pointer(held[3]), ctypes.pointer(pairs),
            [callback(lambda given: load.number) for _ in range(20)],
            ctypes.py_object(load), ctypes.cast(pairs, ctypes.c_void_p),
            ctypes.create_string_buffer(5000), ctypes.c_wchar_p("wide"),
            (ctypes.py_object * 3)(load, Load(3), None),
            ctypes.CDLL(None).strlen, ctypes.byref(held[0]),
            [ctypes.c_int * n for n in range(20)]]


def iterated():
    loads = [Load(i) for i in range(100)]
    half = [
        itertools.accumulate(range(50)), itertools.chain([1] * 9, loads),
        itertools.chain.from_iterable([loads, loads]),
        itertools.combinations(loads, 3), itertools.compress(loads, [1] * 50),
        itertools.combinations_with_replacement(loads, 2),
        itertools.count(10 ** 20, 3), itertools.count(0.5),
        itertools.cycle(loads), itertools.dropwhile(bool, [1, 0, 2, 3]),
        itertools.filterfalse(None, [0, 0, 1, 0]), itertools.groupby(loads),
        itertools.islice(loads, 2, 90, 3), itertools.permutations(loads, 3),
        itertools.product(loads, repeat=3), itertools.repeat(loads[0], 99),
        itertools.starmap(divmod, [(9, 2)] * 9), itertools.takewhile(
            lambda load: True, loads), *itertools.tee(loads, 3),
        itertools.zip_longest(loads, [1], fillvalue=Load(0)),
        reversed(loads), reversed(dict.fromkeys(loads)), iter(set(loads)),
        iter(collections.deque(loads)), reversed(collections.deque(loads)),
        iter(collections.OrderedDict.fromkeys(loads)), iter(bytearray(9)),
        iter(dict.fromkeys(loads).items()), enumerate(loads),
        zip(loads, half_gen()),
        map(Slim, loads), filter(lambda load: load.number % 2, loads),
        os.scandir("/"), iter(memoryview(b"abc")), half_gen(),
        re.finditer("a", "banana" * 3), iter(loads.__len__, -1),
        (Slim(load) for load in loads),
    ]
    if hasattr(itertools, "pairwise"):
        half.append(itertools.pairwise(loads))
    if hasattr(itertools, "batched"):
        half.append(itertools.batched(loads, 7))
    return [half, [next(one) for one in half for _ in range(2)]]


def half_gen():
    local = [Slim(None), "half"]
    for i in range(99):
        inner = yield (local, i)
        del inner
    yield from half_gen()


def watched():
    loads = [Slim(i) for i in range(300)]
    return [loads, [weakref.ref(load) for load in loads],
            [weakref.finalize(load, print, load.load) for load in loads[:20]],
            weakref.WeakSet(loads[:99]), weakref.WeakMethod(Load(1).__init__),
            weakref.WeakValueDictionary(enumerate(loads)),
            [weakref.proxy(load) for load in loads[:50]]]


def contexts():
    variables = [contextvars.ContextVar("variable %d" % i) for i in range(60)]
    made = []
    for round in range(30):
        context = contextvars.copy_context()
        for i, variable in enumerate(variables[:round * 2]):
            context.run(variable.set, Load(i))
        made += [context, context.items(), iter(context)]
        next(made[-1])
    tokens = [variable.set(Load(1)) for variable in variables]
    return [variables, made, tokens]


def deep_failure(depth):
    local = Load(depth)
    if depth == 0:
        raise Failure("at the bottom", local)
    try:
        deep_failure(depth - 1)
    except Failure as failure:
        raise Failure("on the way", depth) from failure


def failures():
    made = made_by(*[lambda: deep_failure(i % 20) for i in range(100)])
    caught = []
    for i in range(50):
        try:
            deep_failure(i % 9)
        except Failure as failure:
            caught.append(failure)
            caught.append(sys.exc_info())
    others = made_by(
        lambda: b"\xff".decode("utf-8"), lambda: "\u0416".encode("ascii"),
        lambda: compile("(", "<made>", "exec"), lambda: open("/no/such/file"),
        lambda: [][1], lambda: {}["key"], lambda: next(iter(())),
        lambda: importlib.import_module("no_such"), lambda: no_such_name,
        lambda: Load(1).no_such)
    trace = caught[0].__traceback__
    return [made, caught, others, trace, trace.tb_frame,
            optional("traceback").extract_tb(trace)]


def processes():
    pipes = [os.pipe() for _ in range(5)]
    chooser = selectors.DefaultSelector()
    poller, chosen = select.poll(), select.epoll()
    for reader, _ in pipes:
        chooser.register(reader, selectors.EVENT_READ, Load(reader))
        poller.register(reader)
        chosen.register(reader)
    pair = socket.socketpair()
    made = [pipes, chooser, poller, chosen, pair, pair[0].makefile("rb")]
    with contextlib.suppress(OSError):
        made.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE))
    return made


def others():
    made = made_by(
        lambda: optional("zoneinfo").ZoneInfo("UTC"),
        lambda: optional("zoneinfo").ZoneInfo("Europe/Berlin"),
        lambda: optional("uuid").uuid4(), lambda: optional("ipaddress")
        .ip_network("10.0.0.0/8"), lambda: optional("fractions")
        .Fraction(1, 3), lambda: optional("statistics").NormalDist(),
        lambda: optional("string").Template("$a"), lambda: optional("pathlib")
        .Path("/a/b"), lambda: optional("email").message_from_string(
            "Subject: x\n\nbody"), lambda: optional("http.cookies")
        .SimpleCookie("a=b"), lambda: optional("configparser")
        .ConfigParser(), lambda: optional("argparse").ArgumentParser(),
        lambda: optional("logging").getLogger("wide"),
        lambda: optional("cProfile").Profile(), lambda: optional("zipfile")
        .ZipFile(io.BytesIO(), "w"), lambda: optional("tarfile").open(
            fileobj=io.BytesIO(), mode="w"), lambda: optional("symtable")
        .symtable("a = 1", "<made>", "exec"), lambda: optional("termios")
        .error("x"), lambda: optional("curses").error("x"),
        lambda: optional("dbm.gnu").error, lambda: optional("heapq").merge(
            [1], [2]), lambda: optional("operator").attrgetter("a.b"),
        lambda: optional("_queue").SimpleQueue(), lambda: functools
        .cached_property(len), lambda: optional("typing").TypeVar("T"),
        lambda: optional("typing").Generic, lambda: optional("enum")
        .Enum("Made", "a b c"), lambda: optional("types").SimpleNamespace(a=1),
        lambda: optional("resource").getrusage(0), lambda: os.stat("/"),
        lambda: time.localtime(), lambda: sys.flags, lambda: os.times(),
        lambda: optional("multiprocessing").RLock(),
        lambda: optional("concurrent.futures").Future(),
        lambda: optional("sched").scheduler(), lambda: optional("dis")
        .Bytecode("a = 1"), lambda: list(optional("tokenize").tokenize(
            io.BytesIO(b"a = 1\nb").readline)),
        lambda: optional("inspect").signature(deep_failure),
        lambda: functools.singledispatch(deep_failure))
    cached = functools.lru_cache(maxsize=100)(Load)
    unbounded = functools.lru_cache(maxsize=None)(Slim)
    for i in range(300):
        cached(i)
        unbounded(i)
    return [made, cached, unbounded]


def newest():
    """Syntax that the oldest release cannot read."""
    made = {}
    for least, text in (
            ((3, 10), "def f(x):\n match x:\n  case [a, *b]: return b\n"),
            ((3, 11), "e = ExceptionGroup('g', [Failure(1), Failure(2)])\n"),
            ((3, 12), "type A[T] = list[T]\ndef f[T: int](x: T) -> T: pass\n"
                      "class C[*Ts, **P]: pass\nv = A.__value__\n"
                      "s = C[int, str]\n"),
            ((3, 14), "import string.templatelib\nname = 'x'\n"
                      "t = t'a {name!r:>{5}} b'\n"
                      "class L:\n a: NoSuch\n")):
        if sys.version_info >= least:
            made[least] = {"Failure": Failure, "__name__": __name__}
            exec(text, made[least])
    return made


# ---- Threads in all kinds of calls; each notes itself in held beforehand

def in_queue(held):
    held.append(Load(1))
    queue.Queue().get()


def in_simple_queue(held):
    held.append(Load(2))
    queue.SimpleQueue().get()


def in_accept(held):
    with socket.socket() as listener:
        held.append(Slim(listener))
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.accept()


def in_select(held):
    pair = socket.socketpair()
    held.append([pair, Load(3)])
    select.select([pair[0]], [], [])


def in_epoll(held):
    waiter, pair = select.epoll(), socket.socketpair()
    waiter.register(pair[0])
    pair[0].setblocking(True)
    held.append([waiter, pair])
    waiter.modify(pair[0], select.EPOLLIN)
    waiter.poll()


def in_condition(held):
    condition = threading.Condition()
    held.append(Slim(condition))
    with condition:
        condition.wait()


def in_sort(held):
    """Inside of a C function that has emptied the list it sorts."""
    items = [Load(i) for i in range(50)]

    def key(item):
        if item.number == 25:
            held.append(items)
            wait_forever()
        return item.number
    items.sort(key=key)


def in_tuple(held):
    """Inside of a C function that has a tuple half-way full."""
    def items():
        for i in range(40):
            if i == 17:
                held.append(1)
                wait_forever()
            yield Load(i)
    tuple(items())


def in_import(held):
    def finder(name, path=None, target=None):
        if name == "not_to_be_found_ever":
            held.append(Load(4))
            wait_forever()
    sys.meta_path.insert(0, types.SimpleNamespace(find_spec=finder))
    importlib.import_module("not_to_be_found_ever")


def in_generator(held):
    def generator():
        load = Load(5)
        held.append(load)
        wait_forever()
        yield load
    for _ in map(lambda one: one, generator()):
        pass


def in_handler(held):
    try:
        deep_failure(5)
    except Failure:
        held.append(Load(6))
        wait_forever()


def wait_forever():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def start_threads():
    blocked = [in_queue, in_simple_queue, in_accept, in_select, in_epoll,
               in_condition, in_sort, in_tuple, in_generator, in_handler,
               in_import]
    held = []
    threads = [threading.Thread(target=function, args=(held,), daemon=True,
                                name=function.__name__)
               for function in blocked]
    for thread in threads:
        before = len(held)
        thread.start()
        while len(held) == before and thread.is_alive():
            time.sleep(0.005)
    # From the note that a thread leaves to its blocking call is not far.
    time.sleep(0.3)
    return [threads, held]


# ---- The event loop

VARIABLE = contextvars.ContextVar("of tasks")


async def numbered(count):
    for i in range(count):
        load = Load(i)
        yield load
        await asyncio.sleep(0)


async def waits_for(future, number):
    VARIABLE.set(Load(number))
    local = Slim(number)
    async with contextlib.AsyncExitStack():
        return await Awaitable(future), local


async def consumes(fifo):
    async for load in numbered(10 ** 6):
        await fifo.put(load)


async def holds(lock, semaphore):
    async with semaphore:
        async with lock:
            await asyncio.sleep(10 ** 6)


async def fails(number):
    await asyncio.sleep(0)
    raise Failure(number, Load(number))


async def sleeps(number):
    return await asyncio.wait_for(asyncio.sleep(10 ** 6), 10 ** 6 + number)


async def gathers(futures):
    return await asyncio.gather(*futures, return_exceptions=True)


async def half_way(tasks, to, pid):
    """Start tasks, let them run for some turns of the loop, and be dumped."""
    loop = asyncio.get_running_loop()
    fifo, lock = asyncio.Queue(maxsize=20), asyncio.Lock()
    semaphore, event = asyncio.Semaphore(5), asyncio.Event()
    futures = [loop.create_future() for _ in range(tasks // 3)]
    started = [loop.create_task(waits_for(future, i))
               for i, future in enumerate(futures)]
    started += [loop.create_task(consumes(fifo)) for _ in range(30)]
    started += [loop.create_task(holds(lock, semaphore)) for _ in range(50)]
    started += [loop.create_task(fails(i)) for i in range(tasks // 10)]
    started += [loop.create_task(sleeps(i)) for i in range(tasks // 5)]
    started += [loop.create_task(event.wait()) for _ in range(tasks // 10)]
    started.append(loop.create_task(gathers(
        [loop.create_task(sleeps(0)) for _ in range(40)])))
    server = await asyncio.start_server(lambda *pair: sleeps(1), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname())
    for _ in range(20):
        await asyncio.sleep(0)
    for i, future in enumerate(futures[::4]):
        future.set_result(Load(i))
    for task in started[1:tasks // 3:4]:
        task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    # These are called at the loop's next turn, which never comes.
    for i, future in enumerate(futures[2::4]):
        future.set_exception(Failure(i, "late"))
    for i in range(100):
        loop.call_soon(print, Load(i))
        loop.call_later(10 ** 6 + i, Slim(i).load.__class__, i)
    generators = [numbered(5) for _ in range(50)]
    for generator in generators[::2]:
        await generator.__anext__()
    never = [waits_for(None, i) for i in range(30)]
    sent = [generator.asend(None) for generator in generators[1::4]]
    HEAP["asyncio"] = [fifo, lock, semaphore, event, futures, started, server,
                       reader, writer, generators, never, sent]
    gc.disable()
    async for load in numbered(3):
        target.stand_still(to, pid)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--census")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    modules = import_everything()
    # What was imported may have changed what all share.
    warnings.simplefilter("ignore")
    sys.stdout.flush()
    os.write(1, b"\nWIDE %d\n" % modules)
    for build in (data_bases, numbers, packed, hashes, secure, documents, texts,
                  memory, foreign, iterated, watched, contexts, failures,
                  processes, others, newest):
        HEAP[build.__name__] = build()
    HEAP["threads"] = start_threads()
    asyncio.run(half_way(arguments.tasks, arguments.census, os.getpid()))


if __name__ == "__main__":
    main()
