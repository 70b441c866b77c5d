# SPDX-License-Identifier: Apache-2.0
"""The program whose variables test_namespaces.py asks for: its module's, to
whose dict something nearer than sys.modules leads.

usage: namespaces_target.py HOW     prints "READY PID" when it can be dumped

HOW is a name in HOWS: how the program itself is run.
"""
import os
import runpy
import sys
import threading
import time

FIRST = SECOND = None
SIZE = 7 << 20
NATIVE = 5 << 20


def wait():
    print("READY", os.getpid(), flush=True)
    while True:
        time.sleep(1000)


def locals_lead_there():
    global FIRST, SECOND
    FIRST, SECOND = bytearray(SIZE), bytearray(SIZE)
    namespace = globals()
    wait()
    return namespace


def as_main():
    """What python -m NAME and those who run a program for others begin with."""
    sys.argv = [sys.argv[0], "locals_lead_there"]
    runpy._run_module_as_main("namespaces_target")


def in_a_dict():
    """As profilers and debuggers do: the dict is no module's."""
    sys.argv = [sys.argv[0], "locals_lead_there"]
    variables = {"__file__": __file__, "__name__": "__main__"}
    with open(__file__, encoding="utf-8") as file:
        code = compile(file.read(), __file__, "exec")
    exec(code, variables)


def in_an_interpreter():
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    code = ("import os, time\n"
            "FIRST = bytearray(%d)\n"
            "def work():\n"
            "    namespace = globals()\n"
            "    print('READY', os.getpid(), flush=True)\n"
            "    time.sleep(1000)\n"
            "work()\n" % SIZE)
    thread = threading.Thread(target=interpreters.run_string,
                              args=(interpreters.create(), code))
    thread.start()
    thread.join()


def hold(thing):
    import ctypes
    count = ctypes.pythonapi.Py_IncRef
    count.argtypes = [ctypes.py_object]
    count(thing)


def leak():
    # In a frame that ends, of whose stack no word is left over.
    hold(bytearray(NATIVE))


def counted():
    """Native code holds two things: one that nobody else does."""
    global FIRST
    FIRST = [bytearray(SIZE)]
    hold(FIRST)
    leak()
    wait()


HOWS = {how.__name__: how for how in (locals_lead_there, as_main, in_a_dict,
                                      in_an_interpreter, counted)}
if __name__ == "__main__":
    HOWS[sys.argv[1]]()
