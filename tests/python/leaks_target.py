# SPDX-License-Identifier: Apache-2.0
"""Programs that leak, each in one well known way, and programs that do not.

usage: leaks_target.py NAME     prints "READY PID" when there is something to see

Each function is the main module's main(): what it leaves behind is as it would
be in a program of that kind. A leak takes some 20 MiB, beside a program that
takes as much for good reasons.
"""
import asyncio
import atexit
import collections
import functools
import gc
import json
import logging
import os
import queue
import sys
import tempfile
import threading
import time
import weakref

ITEMS = 60_000


class Session:
    """What a service knows of a client."""

    def __init__(self, number):
        self.number = number
        self.token = "token-%032x" % (number * 0x9E3779B97F4A7C15)
        self.events = ["event %d of session %d" % (i, number) for i in range(3)]


class Client:
    """What a service was told by one."""


HEADERS = [("agent", "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/"),
           ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,"),
           ("language", "en-GB,en-US;q=0.7,en;q=0.")]


class Store:
    def __init__(self):
        self._by_token = {}


class Node:
    def __init__(self, before):
        self.before = before
        self.text = "a node of a list, the %d-th" % id(self)


class Service:
    @functools.lru_cache(maxsize=None)
    def answer(self, number):
        return "the answer to question %d, at length: %s" % (number, "x" * 200)


# ---- what leaks

STORE = Store()
REGISTRY = []
ROWS, STATES = [], {}
SEEN = set()


def leak_dict_attribute():
    for number in range(ITEMS):
        session = Session(number)
        STORE._by_token[session.token] = session


def leak_global_list():
    for number in range(ITEMS):
        REGISTRY.append(Session(number))


def leak_global_set():
    for number in range(4 * ITEMS):
        SEEN.add("https://example.org/articles/%d/comments" % number)


def leak_local_list():
    rows = []
    for number in range(ITEMS):
        rows.append(Session(number))
    wait(rows)


def leak_lru_cache():
    global SERVICE
    SERVICE = Service()
    for number in range(ITEMS):
        SERVICE.answer(number)


def leak_queue():
    global JOBS
    JOBS = queue.Queue()
    for number in range(ITEMS):
        JOBS.put(Session(number))


def leak_callbacks():
    global ON_CHANGE
    ON_CHANGE = []
    for number in range(ITEMS):
        session = Session(number)
        ON_CHANGE.append(lambda value, session=session: session.number + value)


def leak_at_exit():
    """As what closes each connection when the program ends."""
    for number in range(ITEMS):
        atexit.register(Session(number).__init__, number)


def leak_frames():
    """As a tracer that keeps what it was called with."""
    global FRAMES
    FRAMES = []

    def answer(page):
        return len(page)

    sys.settrace(lambda frame, event, argument: FRAMES.append(frame))
    for number in range(ITEMS // 2):
        answer("page %d of the answer" % number)
    sys.settrace(None)


def leak_exceptions():
    global ERRORS
    ERRORS = []

    def work(number):
        payload = ["line %d of a large payload %d" % (i, number)
                   for i in range(40)]
        raise ValueError(len(payload))

    for number in range(6_000):
        try:
            work(number)
        except ValueError as error:
            ERRORS.append(error)


def leak_closure():
    global HANDLER

    def make():
        history = []

        def handle(number):
            history.append(Session(number))
        return handle

    HANDLER = make()
    for number in range(ITEMS):
        HANDLER(number)


def leak_session():
    """As an ORM's session knows the state of each object that a list keeps."""
    for number in range(ITEMS):
        session = Session(number)
        ROWS.append([session])
        STATES[number] = session


def leak_results():
    """As a notebook keeps what each cell returned, by number and by name."""
    global Out
    Out = {}
    for number in range(40):
        Out[number] = [b"row %d of cell %d" % (i, number)
                       for i in range(12_000)]
        globals()["_%d" % number] = Out[number]


def leak_linked_list():
    global HEAD
    HEAD = None
    for _ in range(4 * ITEMS):
        HEAD = Node(HEAD)


def leak_garbage():
    gc.disable()
    for number in range(ITEMS):
        session = Session(number)
        session.me = session


def leak_last_error():
    def work():
        rows = [Session(number) for number in range(ITEMS)]
        raise RuntimeError(len(rows))

    try:
        work()
    except RuntimeError as error:
        # As the interactive interpreter does with what nobody caught.
        sys.last_type, sys.last_value = type(error), error
        sys.last_traceback = error.__traceback__


def leak_native():
    import ctypes
    for number in range(ITEMS):
        # Like an extension that forgets to give back what it got.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(Session(number)))


def leak_native_dicts():
    """Of a type that every program has many of."""
    import ctypes
    for number in range(ITEMS):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object({
            "number": number, "text": "text %d" % number}))


def well_closures():
    """As cffi has callbacks: what each calls is held by a closure of libffi, and
    that by an object which the collector cannot ask."""
    import ctypes
    closures = libffi()
    if closures is None:
        return
    interface = ctypes.create_string_buffer(64)
    default = 2 if os.uname().machine == "x86_64" else 1
    assert closures.ffi_prep_cif(
        interface, default, 0, ctypes.byref(
            ctypes.c_char.in_dll(closures, "ffi_type_void")), None) == 0
    function = ctypes.cast(closures.ffi_prep_cif, ctypes.c_void_p)
    closures.ffi_closure_alloc.restype = ctypes.c_void_p
    code = ctypes.c_void_p()
    global CALLBACKS
    CALLBACKS = [interface]
    for number in range(ITEMS):
        session = ctypes.py_object(Session(number))
        closure = ctypes.c_void_p(closures.ffi_closure_alloc(
            ctypes.c_size_t(128), ctypes.byref(code)))
        assert closures.ffi_prep_closure_loc(closure, interface, function,
                                             session, code) == 0
        ctypes.pythonapi.Py_IncRef(session)
        CALLBACKS.append(closure.value)


def well_closures_mapped_twice():
    """Where no memory can be written to and run, closures are mapped twice."""
    import ctypes
    PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1    # of Linux 6.3
    ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
    well_closures()


def libffi():
    """The library that ctypes has loaded, unless that is a part of it."""
    import ctypes
    try:
        with open("/proc/self/maps") as maps:
            paths = [line.split()[-1] for line in maps if "/libffi" in line]
    except FileNotFoundError:       # in a root folder of its own
        paths = ["libffi.so.8"]
    return ctypes.CDLL(paths[0]) if paths else None


def leak_tasks():
    global PENDING
    PENDING = []

    async def job(number):
        rows = Session(number)
        await asyncio.sleep(3600)
        return rows

    async def main():
        for number in range(30_000):
            PENDING.append(asyncio.ensure_future(job(number)))
        await asyncio.sleep(0)
        wait()

    asyncio.run(main())


def leak_handlers():
    global LOGGER
    LOGGER = logging.getLogger("leaky")
    for number in range(20_000):
        handler = logging.NullHandler()
        handler.context = Session(number)
        LOGGER.addHandler(handler)


def leak_copies():
    global CLIENTS
    CLIENTS = []
    for number in range(ITEMS):
        client = Client()
        # As parsers make them: equal, and each an object of its own.
        client.headers = {name: (value + "%d" % (number % 7))
                          for name, value in HEADERS}
        CLIENTS.append(client)


def leak_replies():
    """As parsers of JSON leave them: copies in a variable of a module."""
    def parse(text):
        """A function of the module, which refers to its variables."""
        return json.loads(text)
    global REPLIES, PARSE
    PARSE = parse
    REPLIES = [json.loads('{"tags": ["%s", "%s"]}' % ("a tag " * 10, "another"))
               for _ in range(ITEMS)]


def leak_threads():
    """Threads that wait for what never comes, each with what it has read."""
    def work():
        page = bytearray(300_000)
        started.release()
        never.wait()
        return page
    started, never = threading.Semaphore(0), threading.Event()
    for _ in range(80):
        threading.Thread(target=work, daemon=True).start()
        started.acquire()


def leak_labels():
    """As metrics with a label that never repeats."""
    global METRICS
    METRICS = {}
    for number in range(ITEMS):
        METRICS["GET", number] = Client()
        METRICS["GET", number].seconds = number / 7


def leak_few():
    global PAGES
    PAGES = []
    for _ in range(40):
        PAGES.append(bytearray(1 << 20))


def leak_made_types():
    """Rows that each have a type of their own, made for the call, as clients
    of botocore are."""
    global RECORDS
    RECORDS = []
    for i in range(3000):
        Row = collections.namedtuple("Row", "number page")
        RECORDS.append(Row(i, bytearray(8000)))


def leak_classes():
    """A class statement runs for each call, and each class is kept."""
    global HANDLERS
    HANDLERS = []
    for _ in range(12_000):
        class Handler:
            def run(self):
                return self
        HANDLERS.append(Handler)


def leak_failures():
    """As what tries again and notes each time why it failed."""
    global FAILURES
    FAILURES = []

    def parse(blob):
        fields = blob.split()
        raise KeyError(len(fields))

    for number in range(6_000):
        try:
            parse(" ".join("record:%d/%d" % (number, i)
                           for i in range(40)))
        except KeyError as error:
            FAILURES.append((number, error))


def leak_sparse():
    global ONLINE
    ONLINE = {number: None for number in range(1_000_000)}
    for number in range(1_000_000 - 20):
        del ONLINE[number]


# ---- what does not

def well_idle():
    pass


def well_library():
    import decimal, email, html.parser, http.server, sqlite3, unittest, xml.dom
    import argparse, concurrent.futures, difflib, doctest, multiprocessing
    import tarfile, urllib.request, xmlrpc.client, zipfile
    wait(locals())


def well_server():
    import http.server
    import urllib.request
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for _ in range(50):
        try:
            urllib.request.urlopen("http://127.0.0.1:%d/" %
                                   server.server_port).read()
        except Exception:
            pass
    wait(server)


def well_asyncio():
    async def serve():
        async def answer(reader, writer):
            writer.write(await reader.read(10))
            writer.close()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for _ in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"0123456789")
            await reader.read()
            writer.close()
        await asyncio.sleep(0.2)
        wait(server)
    asyncio.run(serve())


def well_decorated():
    """A library whose decorators register what they wrap."""
    import types
    code = "".join("""
@dispatched
def function_%d(graph, node, weight=None):
    'What it does, at length: %s'
    return [weight or 1 for each in graph if each is not node]
""" % (number, "%d words " % number * 300) for number in range(3_000))
    library, registered = types.ModuleType("library"), {}

    def dispatched(function):
        def dispatch(*args, **kwargs):
            return function(*args, **kwargs)
        registered[function.__name__] = function
        dispatch.plain = function
        return dispatch
    library.dispatched = dispatched
    exec(compile(code, "library.py", "exec"), vars(library))
    sys.modules["library"] = library
    wait(registered)


def well_threads():
    """A pool that waits, beside what the main thread has."""
    def work():
        line = bytearray(4_000)
        started.release()
        never.wait()
        return line
    started, never = threading.Semaphore(0), threading.Event()
    for _ in range(40):
        threading.Thread(target=work, daemon=True).start()
        started.acquire()


def well_json():
    text = json.dumps([{"id": i, "name": "name %d" % i, "tags": ["a", "b"]}
                       for i in range(5_000)])
    for _ in range(20):
        rows = json.loads(text)
    wait(rows)


def well_bounded_cache():
    @functools.lru_cache(maxsize=1000)
    def square(number):
        return number * number

    for number in range(200_000):
        square(number)
    recent = collections.deque(maxlen=1000)
    for number in range(200_000):
        recent.append("line %d" % number)
    wait((square, recent))


def well_decorated():
    """A library whose decorators register what they wrap."""
    import types
    code = "".join("""
@dispatched
def function_%d(graph, node, weight=None):
    'What it does, at length: %s'
    return [weight or 1 for each in graph if each is not node]
""" % (number, "%d words " % number * 300) for number in range(3_000))
    library, registered = types.ModuleType("library"), {}

    def dispatched(function):
        def dispatch(*args, **kwargs):
            return function(*args, **kwargs)
        registered[function.__name__] = function
        dispatch.plain = function
        return dispatch
    library.dispatched = dispatched
    exec(compile(code, "library.py", "exec"), vars(library))
    sys.modules["library"] = library
    wait(registered)


def well_threads():
    def work():
        total = 0
        while True:
            total += len([i for i in range(1000)])
            time.sleep(0.01)
    for _ in range(16):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(0.5)


def well_weak():
    cache = weakref.WeakValueDictionary()
    for number in range(100_000):
        cache[number] = Session(number)
    wait(cache)


def well_sqlite():
    import sqlite3
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
    connection.executemany("INSERT INTO t VALUES (?, ?)",
                           ((i, "row %d" % i) for i in range(50_000)))
    count = sum(1 for _ in connection.execute("SELECT * FROM t"))
    wait((connection, count))


def well_emptied():
    for number in range(ITEMS):
        REGISTRY.append(Session(number))
    REGISTRY.clear()


def well_workers():
    """A pool of threads behind a queue with a bound, which is full."""
    jobs, done = queue.Queue(maxsize=1_000), collections.Counter()

    def work():
        while True:
            number, payload = jobs.get()
            done[number % 10] += len(payload)
            jobs.task_done()

    for _ in range(8):
        threading.Thread(target=work, daemon=True).start()
    for number in range(20_000):
        jobs.put((number, b"x" * 100))
    jobs.join()

    # The next batch: nobody takes it, so that it stays as large as it gets.
    batch = queue.Queue(maxsize=1_500)
    for number in range(1_500):
        batch.put(os.urandom(8_000))
    wait((jobs, batch, done))


def well_logging():
    import logging.handlers
    log = logging.getLogger("shop.orders")
    target = logging.StreamHandler(tempfile.TemporaryFile("w"))
    log.addHandler(logging.handlers.MemoryHandler(500, target=target))
    log.setLevel(logging.DEBUG)
    for number in range(20_000):
        log.info("order %d of %s: %r", number, "client", {"items": number % 7})
    wait(log)


def well_processes():
    import multiprocessing
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work(number):
        sender.send(sum(range(number)))
        time.sleep(3600)

    children = [context.Process(target=work, args=(number,), daemon=True)
                for number in range(3)]
    for child in children:
        child.start()
    sums = [receiver.recv() for _ in children]
    wait((children, sums))


def well_numbers():
    import decimal
    import fractions
    decimal.getcontext().prec = 60
    total, series = decimal.Decimal(0), fractions.Fraction(0)
    for number in range(1, 20_000):
        total += 1 / decimal.Decimal(number) ** 2
        if number < 200:
            series += fractions.Fraction(1, number * number)
    matrix = [[float(i * j % 17) for j in range(200)] for i in range(200)]
    wait((total, series, [sum(row) for row in matrix], matrix))


def well_document():
    import xml.etree.ElementTree as ElementTree
    root = ElementTree.Element("orders")
    for number in range(3_000):
        order = ElementTree.SubElement(root, "order", id=str(number))
        ElementTree.SubElement(order, "client").text = "client %d" % number
    text = ElementTree.tostring(root)
    for _ in range(3):
        tree = ElementTree.fromstring(text)
        names = [order.findtext("client") for order in tree]
    wait((tree, names))


def well_command():
    import argparse
    import configparser
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    for number in range(60):
        command = commands.add_parser("command%d" % number)
        for option in range(10):
            command.add_argument("--option%d" % option, type=int, default=option,
                                 help="option %d of command %d" % (option, number))
    config = configparser.ConfigParser()
    config.read_dict({"section %d" % i: {"key%d" % j: "value %d" % (i * j)
                                         for j in range(20)}
                      for i in range(300)})
    wait((parser, parser.parse_args(["command3", "--option4", "5"]), config))


def well_patterns():
    import re
    found = 0
    for number in range(600):       # more than the cache of re holds
        pattern = re.compile(r"(?:order|item) %d: (\w+) +(\d+)" % number)
        found += bool(pattern.match("order %d: book 12" % number))
    wait(found)


def well_classes():
    import dataclasses
    import enum
    import typing
    models = []
    for number in range(150):
        fields = [("field%d" % i, typing.Optional[typing.List[int]], None)
                  for i in range(6)]
        models.append(dataclasses.make_dataclass("Model%d" % number, fields))
    color = enum.Enum("Color", ["C%d" % i for i in range(200)])
    pairs = [collections.namedtuple("Pair%d" % i, "left right")
             for i in range(50)]
    wait((models, color, pairs))


def well_imports():
    """Many modules, a function of each of which is known elsewhere, too."""
    source = "".join("def part%d(left, right):\n    return left + right\n" % i
                     for i in range(20))
    code, known = compile(source, "part.py", "exec"), []
    for number in range(1_500):
        module = sys.modules["part%d" % number] = type(sys)("part%d" % number)
        exec(code, vars(module))
        known.append(module.part0)
    wait(known)


def well_warm_cache():
    """Full, and as large as it was made to be."""
    @functools.lru_cache(maxsize=1_000)
    def page(number):
        return "page %d: " % number + "x" * 10_000

    for number in range(5_000):
        page(number)
    wait(page)


def well_ring():
    """The last lines of a log, each a long one."""
    recent = collections.deque(maxlen=2_000)
    for number in range(10_000):
        recent.append("line %d: " % number + "y" * 5_000)
    wait(recent)


def well_connections():
    """Clients that are there and say nothing."""
    async def serve():
        async def answer(reader, writer):
            while await reader.readline():
                writer.write(b"yes\n")
            writer.close()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        clients = []
        for _ in range(150):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\n")
            await reader.readline()
            clients.append((reader, writer))
        wait((server, clients))
    asyncio.run(serve())


def wait(keep=None):
    print("READY", os.getpid(), flush=True)
    # Until standard input ends, so as to go with whoever started it.
    sys.stdin.read()
    return keep


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    wait()
