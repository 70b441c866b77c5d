# SPDX-License-Identifier: Apache-2.0
"""A process whose runtime is looked for in dumps: three threads beside the main
one, a second interpreter where the release can make one, and what Python itself
says about it, as one line of JSON before "READY PID". Ends with its input."""

import builtins
import ctypes
import gc
import json
import os
import sys
import threading
import types

kept = []


def second_interpreter():
    """Make one and keep it; True if there is one now."""
    for name in "_interpreters", "_xxsubinterpreters":
        try:
            kept.append(__import__(name).create())
            return True
        except Exception:
            continue
    return False


def runtime_address():
    try:
        symbol = ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime")
    except ValueError:
        return None
    return ctypes.addressof(symbol)


def main():
    event = threading.Event()
    for _ in range(3):
        threading.Thread(target=event.wait, daemon=True).start()
    truth = {
        "interpreters": 1 + second_interpreter(),
        "threads": 4,
        "runtime": runtime_address(),
        "version": sys.hexversion,
        "sysdict": id(sys.__dict__),
        "builtins": id(builtins.__dict__),
        "modules": id(sys.modules),
        "type": id(type), "object": id(object), "dict": id(dict),
        "str": id(str), "tuple": id(tuple), "module": id(types.ModuleType),
        "debug": hasattr(sys, "gettotalrefcount"),
        "free_threaded": "t" in sys.abiflags,
    }
    gc.collect()
    gc.disable()
    text = json.dumps(truth)
    tracked = len(gc.get_objects())
    os.write(1, b"%s\n%d\nREADY %d\n" % (text.encode(), tracked, os.getpid()))
    os.read(0, 1)


main()
