# SPDX-License-Identifier: Apache-2.0
"""A target for test_threads.py: a thread that calls Python from C and C from
Python, and that ends as it is told to.

usage: threads_target.py WAY [LIBRARY]

WAY is "wait", or how it ends when a byte comes in: "segfault" (it reads an
address where nothing is), "null" (it calls one), "abort". Of LIBRARY, which is
threads_native.cc: "extension" (it reads such an address), "bad_alloc" (it throws
what nobody catches), or "held": it waits and keeps the interpreter's lock. Prints
"READY PID", and when it ends by a signal, or gets SIGUSR1, faulthandler prints
where. Those that wait have threads of many kinds, but for "held", and for
"greenlets": there one runs that another one has started.
"""
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time

NOTHING = 0x18
DEEP = 3000
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int)
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
libc = ctypes.CDLL(None)
HELD = threading.Lock()
HELD.acquire()
EMPTY, _ = os.pipe()


def end_here(way):
    secret = "a value of the program"
    number = 7
    if way == "held":
        ctypes.PyDLL(os.path.abspath(sys.argv[2])).wait_here(0)
    while os.read(0, 1) and way in ("wait", "greenlets"):
        pass
    if way == "segfault":
        ctypes.string_at(NOTHING)
    elif way == "null":
        ctypes.CFUNCTYPE(None)(0x10)()
    elif way == "extension":
        touch = ctypes.PyDLL(os.path.abspath(sys.argv[2])).touch
        touch(ctypes.c_void_p(NOTHING))
    elif way == "bad_alloc":
        ctypes.PyDLL(os.path.abspath(sys.argv[2])).exhaust()
    os.abort()
    return secret, number


class Node:
    def __init__(self, way):
        self.way = way

    def __lt__(self, other):
        return self.descend(3)

    def descend(self, left):
        return self.descend(left - 1) if left else end_here(self.way)


def generate(way):
    yield sorted([Node(way), Node(way)])


def from_c(way):
    def called():
        try:
            raise KeyError("a secret key")
        except KeyError as error:
            try:
                raise ValueError("a secret value") from error
            except ValueError:
                for _ in generate(way):
                    pass
        return 0

    return CALLBACK(called)()


# ---- Other threads

def wait():
    HELD.acquire()


def deep(left=DEEP):
    return deep(left - 1) if left else HELD.acquire()


def compare(a, b):
    HELD.acquire()
    return 0


def sort():
    libc.qsort((ctypes.c_int * 2)(2, 1), 2, 4, COMPARE(compare))


async def leaf():
    HELD.acquire()


async def branch():
    await leaf()


async def trunk():
    await branch()


def run_coroutine():
    trunk().send(None)


def delegated():
    yield 1
    yield HELD.acquire()


def delegates():
    yield from delegated()


def run_generator():
    return list(delegates())


def read_nothing():
    os.read(EMPTY, 1)


def sleep():
    time.sleep(1000)


def in_library():
    ctypes.CDLL(os.path.abspath(sys.argv[2])).wait_here(EMPTY)


class Switches:
    def __init__(self, other):
        self.other = other

    def __lt__(self, other):
        return self.other.switch()


def in_greenlet():
    deep(3)


def switch():
    import greenlet
    other = Switches(greenlet.greenlet(in_greenlet))
    greenlet.greenlet(sorted).switch([other, other])


def hurry():
    while True:
        time.sleep(0.001)


def start(function):
    threading.Thread(target=function, daemon=True,
                     name=function.__name__ + "er").start()


def main():
    way = sys.argv[1]
    faulthandler.enable(sys.stdout, all_threads=True)
    faulthandler.register(signal.SIGUSR1, sys.stdout, all_threads=True)
    for i in range(3):
        start(wait)
    if way == "wait":
        sys.setrecursionlimit(2 * DEEP)
        threading.stack_size(64 << 20)
        for function in (deep, sort, run_coroutine, run_generator,
                         read_nothing, sleep, in_library):
            if function is not in_library or len(sys.argv) > 2:
                start(function)
        time.sleep(0.5)
    elif way == "held":
        start(hurry)
    elif way == "greenlets":
        start(switch)
        time.sleep(0.5)
    os.write(1, b"READY %d\n" % os.getpid())
    from_c(way)


main()
