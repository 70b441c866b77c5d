# SPDX-License-Identifier: Apache-2.0
"""Programs that leak, each in one well known way, and programs that do not.

usage: leaks_target.py NAME     prints "READY PID" when there is something to see

Each function is the main module's main(): what it leaves behind is as it would
be in a program of that kind. A leak takes some 20 MiB, beside a program that
takes as much for good reasons.
"""
import asyncio
import collections
import functools
import gc
import json
import logging
import os
import queue
import sys
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


def wait(keep=None):
    print("READY", os.getpid(), flush=True)
    # Until standard input ends, so as to go with whoever started it.
    sys.stdin.read()
    return keep


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    wait()
