# SPDX-License-Identifier: Apache-2.0
"""The program whose collector is read from outside: objects in all
generations, some frozen, some in gc.garbage, thresholds and flags of its own.

usage: gcinfo_target.py [--inside] --census TO

Writes down what the module gc says, as the last thing that it does before it
waits: what it allocates meanwhile is in generation 0 alone. With --inside it
waits inside of a collection, in a finalizer.
"""

import argparse
import gc
import json
import os
import time

KEPT = []


class Node:
    def __init__(self):
        self.me = self


class Last(Node):
    def __del__(self):
        wait()


def lengths():
    """Objects in each generation, the lists that are made here not counted."""
    found = []
    for generation in range(3):
        found.append(len(gc.get_objects(generation=generation)))
    return found


def callback(phase, info):
    pass


def work():
    gc.callbacks.append(callback)
    KEPT.append([Node() for _ in range(500)])
    gc.freeze()
    KEPT.append([Node() for _ in range(300)])
    gc.collect()
    for _ in range(100):
        Node()
    gc.collect(1)
    gc.set_debug(gc.DEBUG_SAVEALL)
    for _ in range(40):
        Node()
    gc.collect()
    gc.set_debug(0)
    KEPT.append([Node() for _ in range(200)])
    gc.collect(0)
    gc.collect(0)
    gc.set_threshold(1234, 7, 5)
    gc.disable()
    KEPT.append([Node() for _ in range(150)])
    gc.set_debug(gc.DEBUG_UNCOLLECTABLE)


def wait():
    os.write(1, ("READY %d\n" % os.getpid()).encode())
    while os.read(0, 100):
        time.sleep(0.01)
    os._exit(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--census", required=True)
    parser.add_argument("--inside", action="store_true")
    arguments = parser.parse_args()
    to = arguments.census
    fd = (int(to[3:]) if to.startswith("fd:")
          else os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    work()
    objects = lengths()
    said = {"stats": gc.get_stats(), "frozen": gc.get_freeze_count(),
            "garbage": len(gc.garbage), "callbacks": len(gc.callbacks),
            "enabled": gc.isenabled(), "debug": gc.get_debug(),
            "threshold": gc.get_threshold(), "objects": objects,
            "garbage_list": id(gc.garbage), "count": gc.get_count()}
    os.write(fd, json.dumps(said).encode("ascii"))
    if arguments.inside:
        Last()
        gc.collect()
    wait()


main()
