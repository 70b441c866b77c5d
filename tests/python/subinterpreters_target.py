# SPDX-License-Identifier: Apache-2.0
"""The program of test_subinterpreters.py: the heap of target.py in the main
interpreter, and in each of two others.

usage: subinterpreters_target.py --census TO

Of the others one is isolated: since 3.12 it has a lock, an allocator and types of
its own. One shares the main interpreter's, as before 3.12 all do. The census of
each is taken inside of it, in a twin of its own, as target.py describes: the main
interpreter's into TO, that of others into census.N, and then what the collector
finds there into garbage.N, as a JSON list of addresses, in this folder.
"""

import ctypes
import json
import os
import sys

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

SCALE = 100
TARGET = os.path.join(os.path.dirname(os.path.abspath(__file__)), "target.py")
# What all of them run: target.py but its end, where it would begin.
with open(TARGET) as file:
    SOURCE = file.read().rpartition("\nif __name__")[0]
exec(compile(SOURCE, TARGET, "exec"))
BUILD = """
import gc
__file__ = %r
exec(compile(%r, __file__, "exec"))

def held_by_frames(own_frame):
    return []           # the only one is that of the script

# A script runs as a function, and its constants are in a list of the compiler's:
# the twin alone has them.
SCRIPT = [None, None]

def is_of_script(thing):
    kind = type(thing)
    return kind is types.FunctionType and thing.__code__ is SCRIPT[0] or \\
        kind is list and any(item is SCRIPT[1] for item in thing) or \\
        kind in (tuple, types.CodeType) and any(thing is it for it in SCRIPT)

def referents(thing, of_all=referents):
    return [] if is_of_script(thing) else of_all(thing)

def take_census(of_all=take_census):
    return [thing for thing in of_all() if not is_of_script(thing)]

def stand_still(to, pid, garbage):
    code = sys._getframe(1).f_code
    SCRIPT[:] = code, to, code.co_consts, code.co_names
    write_census(to, pid)
    gc.set_debug(gc.DEBUG_SAVEALL)
    del gc.garbage[:]
    gc.collect()
    with open(garbage, "w") as file:
        json.dump(list(map(id, gc.garbage)), file)
    # Frames of the main interpreter may have got objects of this one, which
    # that would give to its own allocator.
    os._exit(0)

for build in user_instances, numbers, strings, containers, stale_memory:
    HEAP[build.__name__] = build(%d)
HEAP["user"] = HEAP["user_instances"]
HEAP["code"] = code_and_frames()
HEAP["library"] = library_objects()
gc.collect()
gc.disable()
garbage(%d)
"""


def run(number, script):
    failed = interpreters.run_string(number, script)
    if failed is not None:          # up to 3.12 it raises
        raise RuntimeError(failed.formatted)


def create():
    """One that is isolated, and one that shares: [interpreter]."""
    if sys.version_info >= (3, 13):
        return [interpreters.create(), interpreters.create("legacy")]
    if sys.version_info >= (3, 10):
        return [interpreters.create(), interpreters.create(isolated=False)]
    return [interpreters.create(), interpreters.create()]


def count_in_twin(number, script):
    made = HEAP["fork"]()
    if made:
        assert os.waitpid(made, 0)[1] == 0
        return
    try:
        run(number, script)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    os._exit(1)


def twins(to, pid):
    """Never returns: a twin that has a twin of its own for each of the others,
    and then counts itself."""
    if HEAP["fork"]():
        os.waitpid(-1, 0)
        os._exit(0)
    for number, script in zip(HEAP["others"], HEAP["scripts"]):
        count_in_twin(number, script)
    twin(to, pid)


def main():
    to, pid = sys.argv[2], os.getpid()
    HEAP["user"] = user_instances(SCALE)
    HEAP["others"] = others = create()
    for number in others:
        run(number, BUILD % (TARGET, SOURCE, SCALE, SCALE))
    HEAP["scripts"] = ["stand_still('census.%d', %d, 'garbage.%d')" % (i, pid, i)
                       for i in range(len(others))]
    HEAP["fork"] = ctypes.PyDLL(None).fork
    gc.disable()
    garbage(SCALE)
    # What twin() expects to have been called by.
    counted_in_twin.__code__ = twins.__code__
    counted_in_twin(to, pid)


main()
