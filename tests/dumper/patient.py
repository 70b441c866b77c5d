# SPDX-License-Identifier: Apache-2.0
"""A target that notices harm: threads that wait in different system calls and
count, and memory of every kind at addresses that it tells.

usage: patient.py [--spawn] [--megabytes N]

Writes to its working folder: beat.NAME, rewritten about 20 times a second with
a number that grows, and complaints, which stays empty while all is well. Prints
a line "MEMORY NAME ADDRESS SIZE" for each piece of memory, then "READY PID".
"""
import argparse
import ctypes
import mmap
import os
import random
import select
import threading
import time

PAGE = mmap.PAGESIZE


def pattern(name, size):
    """Bytes that tests can make again."""
    return random.Random(name).randbytes(size) if hasattr(
        random.Random, "randbytes") else bytes(
            random.Random(name).getrandbits(8) for _ in range(size))


class Beat:
    """One file with one number."""

    def __init__(self, name):
        self.fd = os.open("beat." + name, os.O_RDWR | os.O_CREAT)
        self.count = 0

    def __call__(self):
        self.count += 1
        os.pwrite(self.fd, b"%020d" % self.count, 0)


def forever(name, wait):
    beat = Beat(name)
    while True:
        try:
            wait()
        except Exception as error:      # what a program would not expect
            with open("complaints", "a") as out:
                out.write("%s: %r\n" % (name, error))
        beat()


def start(name, wait):
    threading.Thread(target=forever, args=(name, wait), name=name,
                     daemon=True).start()


def waiters():
    epoll = select.epoll()
    reader, writer = os.pipe()
    epoll.register(reader, select.EPOLLIN)
    held = threading.Lock()
    held.acquire()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    yield "sleep", lambda: time.sleep(0.05)
    yield "epoll", lambda: epoll.poll(0.05)
    yield "poll", lambda: poll.poll(50)
    yield "select", lambda: select.select([reader], [], [], 0.05)
    yield "futex", lambda: held.acquire(timeout=0.05)
    yield "busy", lambda: sum(range(200000))


def spawn():
    """Threads that come and go."""
    done = [threading.Thread(target=time.sleep, args=(0.001,))
            for _ in range(20)]
    for thread in done:
        thread.start()
    for thread in done:
        thread.join()


def memory(megabytes):
    """Yield (name, mapping or None, address, size) of kept memory."""
    size = 300 * 1024
    libc = ctypes.CDLL(None, use_errno=True)
    for name, flags in (("private", mmap.MAP_PRIVATE),
                        ("shared", mmap.MAP_SHARED),
                        ("hidden", mmap.MAP_PRIVATE),
                        ("closed", mmap.MAP_PRIVATE),
                        ("file", None)):
        data = pattern(name, size)
        if flags is None:
            with open("mapped.file", "wb+") as out:
                out.write(data)
                out.flush()
                area = mmap.mmap(out.fileno(), size, mmap.MAP_PRIVATE,
                                 mmap.PROT_READ | mmap.PROT_WRITE)
            area[PAGE:PAGE + 5] = b"dirty"      # one page of its own
        else:
            area = mmap.mmap(-1, size, flags | mmap.MAP_ANONYMOUS)
            area[:len(data)] = data
        anchor = (ctypes.c_char * size).from_buffer(area)
        address = ctypes.addressof(anchor)
        if name == "hidden":
            libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), 16)
        if name == "closed":
            libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), 0)
        yield name, (area, anchor), address, size
    area = mmap.mmap(-1, 4 << 20)
    area[:4] = b"head"
    area[3 << 20:(3 << 20) + 4] = b"tail"
    anchor = (ctypes.c_char * (4 << 20)).from_buffer(area)
    yield "sparse", (area, anchor), ctypes.addressof(anchor), 4 << 20
    words = ["word %d" % i for i in range(megabytes * 10000)]
    yield "words", words, id(words), 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--spawn", action="store_true")
    parser.add_argument("--megabytes", type=int, default=20)
    options = parser.parse_args()
    open("complaints", "w").close()
    kept = []
    for name, thing, address, size in memory(options.megabytes):
        kept.append(thing)
        print("MEMORY", name, address, size)
    for name, wait in waiters():
        start(name, wait)
    if options.spawn:
        start("spawn", spawn)
    print("READY %d" % os.getpid(), flush=True)
    forever("main", lambda: time.sleep(0.05))


if __name__ == "__main__":
    main()
