# SPDX-License-Identifier: Apache-2.0
"""A process with references that C code holds, leaks and releases too often,
for test_refcounts.py. It prints what it planted, as JSON, and "READY PID"."""

import asyncio
import collections
import ctypes
import decimal
import email
import json
import logging
import os
import sqlite3
import sys
import threading
import unittest

LEAKS = 1000

take = ctypes.pythonapi.Py_IncRef
release = ctypes.pythonapi.Py_DecRef
take.argtypes = release.argtypes = [ctypes.py_object]
take.restype = release.restype = None


class Leaked:
    pass


class Dropped:
    pass


class Released:
    pass


class Held:
    pass


def compiled():
    """As code that a compiler has written at run time has its constants."""
    mmap = ctypes.CDLL(None).mmap
    mmap.restype, mmap.argtypes = ctypes.c_size_t, [
        ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
        ctypes.c_int, ctypes.c_long]
    # Private and anonymous, to be read, written and run.
    code = mmap(0, 4096, 7, 0x22, -1, 0)
    assert code % 4096 == 0
    constant = collections.UserDict()
    ctypes.c_size_t.from_address(code + 72).value = id(constant)
    take(constant)
    return {"compiled": id(constant), "code": code + 72}


leaked, dropped, released, held = Leaked(), Dropped(), Released(), Held()
three = [released] * 3
for number in range(LEAKS):
    take(leaked)
take(dropped)               # and the last that Python had of it goes
release(released)
malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_size_t, [ctypes.c_size_t]
holder = malloc(4096) + 56
ctypes.c_size_t.from_address(holder).value = id(held)
take(held)
planted = {"leaked": id(leaked), "dropped": id(dropped),
           "released": id(released), "held": id(held), "leaks": LEAKS,
           "holder": holder, "threads": 3}
planted.update(compiled())
del dropped

waiting = threading.Event()
threads = [threading.Thread(target=waiting.wait, daemon=True)
           for number in range(3)]
for thread in threads:
    thread.start()

print(json.dumps(planted))
print("READY", os.getpid(), flush=True)
sys.stdin.readline()
os._exit(0)
