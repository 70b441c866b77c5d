# SPDX-License-Identifier: Apache-2.0
"""A process whose memory is of many kinds, some of it told in exact bytes.

usage: memory_target.py SERVICE|FRAGMENTS|ARENAS

Prints JSON of what it made and what allocators say of themselves, waits, and on
a line of standard input calls malloc_trim().
"""
import ctypes
import gc
import json
import mmap
import os
import sys
import tempfile
import threading

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
keep = []


class Session:
    def __init__(self, number):
        self.number = number
        self.headers = {"host": str(number), "tags": [number] * 4}


def roomy():
    """As an object of C code that has more behind it than its type says."""
    python = ctypes.pythonapi
    python.PyObject_Malloc.restype = ctypes.c_void_p
    python.PyObject_Malloc.argtypes = [ctypes.c_size_t]
    python.PyObject_Init.restype = ctypes.py_object
    python.PyObject_Init.argtypes = [ctypes.c_void_p, ctypes.py_object]
    return python.PyObject_Init(python.PyObject_Malloc(1000), object)


class Ring:
    def __init__(self):
        self.me = self
        self.load = bytearray(700)


def touch(memory, pages):
    for page in range(pages):
        memory[page * PAGE] = 1


def anonymous():
    """Shared memory, a mapped file, and memory of nobody that is known."""
    shared = mmap.mmap(-1, 96 * PAGE)
    touch(shared, 64)
    file = tempfile.TemporaryFile()
    file.write(b"x" * 80 * PAGE)
    file.flush()
    mapped = mmap.mmap(file.fileno(), 80 * PAGE, access=mmap.ACCESS_READ)
    keep.extend([shared, file, mapped, sum(mapped[::PAGE])])
    return {"shared": 64 * PAGE, "file": 80 * PAGE}


def service():
    store = {"k%d" % i: Session(i) for i in range(20000)}
    keep.append(store)
    keep.append([os.urandom(1000) for _ in range(4000)])
    keep.append([roomy() for _ in range(500)])
    started = threading.Event()

    def work():
        deep = bytearray(1)
        started.set()
        threading.Event().wait()
        return deep

    for _ in range(5):
        started.clear()
        threading.Thread(target=work, daemon=True).start()
        started.wait()
    ended = threading.Thread(target=len, args=("",))
    ended.start()
    ended.join()
    # Chunks that only C knows of.
    chunks = [libc.malloc(3000) for _ in range(1000)]
    for chunk in chunks:
        ctypes.memset(chunk, 1, 3000)
    keep.append(chunks)
    gc.collect()
    gc.disable()
    for _ in range(1000):
        Ring()
    return {"threads": 5, "native": 1000 * 3000, "rings": 1000 * 700}


def fragments():
    small = [("x%d" % i, i + 1000) for i in range(200000)]
    keep.append(small[::2000])
    survivors = len(keep[-1])
    del small
    chunks = [libc.malloc(20000) for _ in range(1500)]
    for chunk in chunks:
        ctypes.memset(chunk, 1, 20000)
    for i, chunk in enumerate(chunks):
        if i % 10:
            libc.free(chunk)
    keep.append(chunks[::10])
    gc.collect()
    return {"survivors": survivors, "freed": 1350 * 20000}


class ArenaAllocator(ctypes.Structure):
    _fields_ = [("context", ctypes.c_void_p), ("alloc", ctypes.c_void_p),
                ("free", ctypes.c_void_p)]


def arenas():
    """As a host program that has Python's arenas from its own allocator: they
    begin where malloc has them. realloc(NULL, size) is malloc, and free(NULL)
    leaves what was mapped before alone."""
    allocator = ArenaAllocator(None, *(
        ctypes.cast(function, ctypes.c_void_p)
        for function in (libc.realloc, libc.free)))
    ctypes.pythonapi.PyObject_SetArenaAllocator(ctypes.byref(allocator))
    keep.append({"k%d" % i: Session(i) for i in range(20000)})
    started = threading.Event()

    def work():
        started.set()
        threading.Event().wait()

    threading.Thread(target=work, daemon=True).start()
    started.wait()
    return {}


def main():
    made = anonymous()
    made.update({"SERVICE": service, "FRAGMENTS": fragments,
                 "ARENAS": arenas}[sys.argv[1]]())
    print("MADE " + json.dumps(made))
    print("READY", os.getpid(), flush=True)
    sys.stdin.readline()
    libc.malloc_trim(0)
    print("TRIMMED", flush=True)
    sys.stdin.readline()


main()
