# SPDX-License-Identifier: Apache-2.0
"""A target for test_threads.py: a thread that calls Python from C and C from
Python, and that ends as it is told to.

usage: threads_target.py WAY

WAY is "wait", or how it ends when a byte comes in: "segfault" (it reads an
address where nothing is), "null" (it calls one), "abort". Prints "READY PID",
and when it ends by a signal faulthandler prints where.
"""
import ctypes
import faulthandler
import os
import sys
import threading

NOTHING = 0x18
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int)
libc = ctypes.CDLL(None)
HELD = threading.Lock()
HELD.acquire()


def end_here(way):
    secret = "a value of the program"
    number = 7
    while os.read(0, 1) and way == "wait":
        pass
    if way == "segfault":
        ctypes.string_at(NOTHING)
    elif way == "null":
        ctypes.CFUNCTYPE(None)(0x10)()
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


def wait():
    HELD.acquire()


def main():
    faulthandler.enable(sys.stdout, all_threads=True)
    for i in range(3):
        threading.Thread(target=wait, daemon=True, name="waiter").start()
    os.write(1, b"READY %d\n" % os.getpid())
    from_c(sys.argv[1])


main()
