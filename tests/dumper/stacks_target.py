# SPDX-License-Identifier: Apache-2.0
"""A target for test_stacks.py: threads that wait in functions of many kinds,
and a heap that is not to be in the dump.

usage: stacks_target.py BYTES

Prints "HEAP ADDRESS SIZE", then "FRAME IDENT FUNCTION FIRST LINE FILE" for each
frame, the innermost first, as sys._current_frames() has them (the first line of
the function and the one where it is), then "READY PID".
"""
import ctypes
import os
import sys
import threading
import time

LOCK = threading.Lock()
LOCK.acquire()
EXECUTED = "<string of a caf\u00e9>"


def wait():
    LOCK.acquire()


def deep(left):
    if left:
        deep(left - 1)
    else:
        wait()


def generator():
    yield wait()


def through_generator():
    for _ in (one for one in generator()):
        pass


class Thing:
    def __lt__(self, other):
        return wait()

    def compare(self):
        return sorted([self, self])     # by way of C


def executed():
    code = "\n\ndef gr\u00f6\u00dfe():\n    wait()\ngr\u00f6\u00dfe()\n"
    exec(compile(code, EXECUTED, "exec"), {"wait": wait})


WORKERS = (wait, lambda: deep(5), lambda: deep(800), through_generator,
           Thing().compare, executed)


def frames():
    """{ident: [(code, line)]}, of all threads but this one."""
    found = {}
    for ident, frame in sys._current_frames().items():
        found[ident] = codes_from(frame)
    del found[threading.get_ident()]
    return found


def codes_from(frame):
    codes = []
    while frame:
        codes.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return codes


def settled():
    """The frames, once all threads wait where they will."""
    while True:
        found = frames()
        if len(found) == len(WORKERS) and all(
                codes[0][0] is wait.__code__ for codes in found.values()):
            time.sleep(0.1)
            if found == frames():
                return found
        time.sleep(0.01)


def hold(text):
    sys.stdout.flush(), os.write(1, text.encode()), os.read(0, 1)


def text_of(found, frame):
    """What to print: with this thread as it will be, holding."""
    line = hold.__code__.co_firstlineno + 1
    found[threading.get_ident()] = [(hold.__code__, line), *codes_from(frame)]
    return "\n".join(["FRAME %d %s %d %d %s" % (
        ident, code.co_name, code.co_firstlineno, line, code.co_filename)
        for ident, codes in found.items() for code, line in codes]
        + ["READY %d\n" % os.getpid()])


def main():
    sys.setrecursionlimit(5000)
    heap = bytearray(b"\xA5" * int(sys.argv[1]))
    print("HEAP %d %d" % (ctypes.addressof(ctypes.c_char.from_buffer(heap)),
                          len(heap)))
    for work in WORKERS:
        threading.Thread(target=work, daemon=True).start()
    hold(text_of(settled(), sys._getframe()))


main()
