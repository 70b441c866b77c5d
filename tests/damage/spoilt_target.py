# SPDX-License-Identifier: Apache-2.0
"""The program whose memory test_structures.py spoils. It builds a small heap,
prints the addresses of what is in it as one line of JSON, and stands still.
Runs on CPython 3.8 to 3.15."""

import ctypes
import json
import os
import sys
import threading

NODES = 2000
DEPTH = 100


class Node:
    def __init__(self, number):
        self.number = number


class Slot:
    __slots__ = ("first", "second")


class Derived(Node):
    pass


class Victim:
    pass


class Meta(type):
    pass


class OfMeta(metaclass=Meta):
    pass


def deep_class():
    """A class whose metaclass has a metaclass, and so on, DEPTH times."""
    meta = type
    for number in range(DEPTH):
        meta = meta("Meta%d" % number, (type,), {})
    return meta("Deep", (), {})


def second_interpreter():
    """Another interpreter, where this release lets us make one."""
    for name in "_interpreters", "_xxsubinterpreters":
        try:
            module = __import__(name)
        except ImportError:
            continue
        return module.create()
    return None


def interpreters():
    """Addresses of the interpreters and of the main one's thread states."""
    api = ctypes.pythonapi
    for name in ("PyInterpreterState_Head", "PyInterpreterState_Main",
                 "PyInterpreterState_Next", "PyInterpreterState_ThreadHead",
                 "PyThreadState_Next"):
        function = getattr(api, name)
        function.restype = ctypes.c_void_p
        function.argtypes = [ctypes.c_void_p] * (
            not name.endswith(("_Head", "_Main")))
    found, at = [], api.PyInterpreterState_Head()
    while at:
        found.append(at)
        at = api.PyInterpreterState_Next(at)
    main = api.PyInterpreterState_Main()
    threads, at = [], api.PyInterpreterState_ThreadHead(main)
    while at:
        threads.append(at)
        at = api.PyThreadState_Next(at)
    runtime = ctypes.addressof(ctypes.c_char.in_dll(api, "_PyRuntime"))
    return dict(runtime=runtime, main=main, interpreters=found,
                threads=threads)


def main():
    nodes = [Node(i) for i in range(NODES)]
    slots = [Slot() for _ in range(NODES)]
    derived = [Derived(i) for i in range(NODES // 2)]
    victims = [Victim() for _ in range(50)]
    of_meta = [OfMeta() for _ in range(100)]
    deep = deep_class()
    deeps = [deep() for _ in range(100)]
    text = "a text of some length that nobody else has"
    wide = "\u0416" * 40
    things = {
        "list": [object() for _ in range(30)],
        "small_list": [1, 2, 3],
        "tuple": tuple([object()] for _ in range(30)),
        "dict": {"key %d" % i: object() for i in range(30)},
        "set": {"item %d" % i for i in range(30)},
        "frozenset": frozenset("frozen %d" % i for i in range(30)),
        "int": 3 ** 200,
        "str": text + str(len(text)),
        "wide": wide + wide,
        "bytes": bytes(range(200)),
        "bytearray": bytearray(range(200)),
        "float": 1.5 * len(text),
        "function": main,
        "code": main.__code__,
        "cell": (lambda: nodes).__closure__[0],
        "class": Node,
    }
    scratch = bytearray(3 << 20)
    inside = (ctypes.c_char * len(scratch)).from_buffer(scratch)
    for _ in range(2):
        thread = threading.Thread(target=threading.Event().wait, daemon=True)
        thread.start()
    second = second_interpreter()
    classes = {cls.__name__: cls for cls in (Node, Slot, Derived, Victim, Meta,
                                             OfMeta)}
    told = dict(
        hexversion=sys.hexversion, pid=os.getpid(),
        nodes=[id(node) for node in nodes], slots=[id(slot) for slot in slots],
        victims=[id(victim) for victim in victims],
        things={name: id(thing) for name, thing in things.items()},
        items=[id(item) for item in things["list"]],
        scratch=ctypes.addressof(inside), scratch_size=len(scratch),
        types={cls.__name__: id(cls) for cls in (
            type, object, dict, str, tuple, list, int, set, *classes.values())},
        mro={name: id(cls.__mro__) for name, cls in classes.items()},
        bases={name: id(cls.__bases__) for name, cls in classes.items()},
        names={name: id(cls.__name__) for name, cls in classes.items()},
        counts={"__main__.Node": NODES, "__main__.Slot": NODES,
                "__main__.Derived": NODES // 2, "__main__.Victim": 50,
                "__main__.OfMeta": 100, "__main__.Deep": 100},
        **interpreters())
    print("TOLD " + json.dumps(told))
    print("READY", os.getpid(), flush=True)
    sys.stdin.read()
    return derived, of_meta, deeps, second


main()
