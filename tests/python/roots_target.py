# SPDX-License-Identifier: Apache-2.0
"""The program whose roots test_roots.py looks for from outside.

usage: roots_target.py --census TO

Plants objects in frames, in states of threads and of the interpreter, in
modules and in memory of C, and says for each where it is. The file (a path, or
fd:N) has one line of JSON for each, {"name", "address", …}: see plant(). Then
it prints "READY PID".
"""

import argparse
import atexit
import builtins
import codecs
import contextvars
import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
import types

LINES, READY, KEPT, FOREVER = [], [], [], threading.Event()
libc = ctypes.CDLL(None)


class Thing:
    def __call__(self, *args):
        return None


class KeyThing(Thing):
    pass


def plant(name, thing, path=None, **more):
    """path: a regular expression for a path to it, THREAD is the thread's
    number. more: "values": the same with values shown; "root": {column: text}
    of a line of rootdump that must be there; "holder": the same of a native
    one; "not_held_by": a kind of native holder that there is none of; "owned": so many roots that own a count lead to it."""
    line = dict(more, name=name, address=id(thing),
                thread=threading.get_native_id())
    if path is not None:
        line["path"] = path
    LINES.append(line)
    return thing


def keep(address):
    """One more count for an object, which nothing in Python holds."""
    ctypes.pythonapi.Py_IncRef(ctypes.c_void_p(address))


# ---- Modules

model = Thing()
model.layers = [Thing(), plant("item of a list", Thing(),
                               r"roots_target\.py:model\.layers\[1\]")]
model.cache = {"k": plant("value of a dict", Thing(),
                          r"roots_target\.py:model\.cache\[\.\.\.\]",
                          values=r"roots_target\.py:model\.cache\['k'\]")}
model.seen = {plant("element of a set", KeyThing(),
                    r"roots_target\.py:model\.seen\{\.\.\.\}")}
model.__dict__["not a name"] = plant(
    "attribute that is no name", Thing(),
    r"roots_target\.py:model\.__dict__\[\.\.\.\]",
    values=r"roots_target\.py:model\.__dict__\['not a name'\]")
Thing.shared = plant("class attribute", KeyThing(),
                     r"roots_target\.py:Thing\.shared")
plant("global", model, r"roots_target\.py:model")
plant("function", plant, r"roots_target\.py:plant")
sys.modules["shop.sessions"] = types.ModuleType("shop.sessions")
sys.modules["shop.sessions"].STORE = plant("global of a module", Thing(),
                                           r"shop\.sessions\.STORE")
plant("module", sys.modules["shop.sessions"],
      r"sys\.modules\['shop\.sessions'\]")
sys.planted = plant("in sys", Thing(), r"sys\.planted")
builtins.planted = plant("in builtins", Thing(), r"builtins\.planted")


def make():
    state = plant("closure", Thing(),
                  r"roots_target\.py:hook\.<closure state>")

    def inner():
        return state
    return inner


hook = make()


def numbers():
    x = plant("local of a generator", Thing(),
              r"roots_target\.py:generator\.<local x>")
    yield x
    del x


generator = numbers()
next(generator)


def failing():
    held = plant("local of a frame that failed", Thing(),
                 r"local held in failing\(\) \(frame kept by "
                 r"(roots_target\.py:caught|temporary value)\)")
    held.more = plant("behind that", Thing(),
                      r"(local held\.more|temporary value) in failing\(\) "
                      r"\(frame kept by "
                      r"(roots_target\.py:caught|temporary value)\)")
    raise ValueError


try:
    failing()
except ValueError as error:
    caught = error


# ---- Threads

def block():
    READY.append(threading.get_native_id())
    FOREVER.wait()


def helper(passed):
    block()


def train_step():
    loss = plant("local", Thing(), r"local loss in train_step\(\) thread THREAD",
                 owned=1)
    loss.grad = plant("attribute of a local", Thing(),
                      r"local loss\.grad in train_step\(\) thread THREAD")
    helper(plant("argument", Thing(),
                 r"local passed in helper\(\) thread THREAD"))


def stacker():
    return (plant("on the stack", Thing(),
                  r"temporary value in stacker\(\) thread THREAD"), block())


def c_stacker():
    READY.append(threading.get_native_id())
    return (plant("on the stack of a frame that calls C", Thing(),
                  root={"kind": "stack"} if sys.version_info >= (3, 11)
                  else None), FOREVER_LOCK.acquire())


def cells():
    kept = plant("cell variable", Thing(),
                 r"local kept in cells\(\) thread THREAD")

    def inner():
        return kept
    block()
    return inner


def running():
    y = plant("local of a running generator", Thing(),
              r"(local g\.<local y> in runner|local y in running)\(\) "
              "thread THREAD")
    block()
    yield y


def runner():
    g = running()
    for _ in g:
        pass


def handler():
    try:
        raise ValueError(plant(
            "exception being handled", Thing(),
            r"(exception being handled|temporary value)\.args\[0\] in "
            r"(handler\(\) )?thread THREAD"))
    except ValueError:
        block()


def thread_dict():
    get = ctypes.pythonapi.PyThreadState_GetDict
    get.restype = ctypes.c_void_p       # the reference is borrowed
    plant("thread's dict", ctypes.cast(get(), ctypes.py_object).value,
          root={"kind": "thread", "name": "dict"})
    block()


variable = contextvars.ContextVar("variable")


def context():
    variable.set(Thing())
    block()


def profiled():
    profile = plant("profile function", Thing(),
                    root={"kind": "thread", "name": "c_profileobj"})
    sys.setprofile(profile)
    del profile
    block()


def on_c_stack():
    thing = Thing()
    address = id(thing)
    plant("on a native stack", thing, holder={"kind": "native-stack"})
    keep(address)
    del thing
    READY.append(threading.get_native_id())
    libc.poll(None, 0, -1, ctypes.c_void_p(address))


FOREVER_LOCK = threading.Lock()
FOREVER_LOCK.acquire()


# ---- The interpreter

def states():
    gc.garbage.append(plant("garbage", Thing(), r"gc\.garbage\[0\]"))
    gc.callbacks.append(plant("callback of the collector", Thing(),
                              r"gc\.callbacks\[\d\]"))
    codecs.register(plant("search function of codecs", Thing(),
                          r"search functions of codecs\[\d\]"))
    codecs.register_error("planted", plant("error handler", Thing(),
                                           r"error handlers of codecs"
                                           r"\[\.\.\.\]"))
    os.register_at_fork(before=plant("called before fork", Thing(),
                                     r"interpreter before_forkers\[0\]"))
    if sys.version_info >= (3, 10):
        # Up to 3.9 in memory of the module.
        path = (r"atexit callback\[\d+\]\[\d\]\[0\]"
                if sys.version_info >= (3, 14)
                else r"atexit callback\[?\d*\]?\[0\]")
        atexit.register(print, plant("argument of atexit", Thing(), path))
    else:
        atexit.register(plant("callback of atexit", Thing(),
                              holder={"kind": "native"}))
    where = ({"path": r"signal handler\[10\]"}
             if sys.version_info >= (3, 12) else
             {"holder": {"kind": "static"}})
    signal.signal(signal.SIGUSR1, plant("signal handler", Thing(), **where))
    if sys.version_info >= (3, 12):
        plant("dict of a static type",
              gc.get_referents(int.__dict__)[0], r"int\.__dict__",
              root={"kind": "interpreter", "name": "types.builtins.tp_dict"})


def native():
    chunk = libc.malloc
    chunk.restype = ctypes.c_void_p
    at = chunk(1000) + 512
    thing = Thing()
    ctypes.c_void_p.from_address(at).value = id(thing)
    plant("in memory of malloc", thing,
          holder={"kind": "native", "holder": "%x" % at, "name": "malloc",
                  "index": "512"},
          text=r"malloc block 0x%x\+512" % (at - 512))
    keep(id(thing))
    thing = Thing()
    at = chunk(5000)
    ctypes.c_void_p.from_address(at + 2000).value = id(thing)
    libc.free(ctypes.c_void_p(at))
    KEPT.append(plant("in freed memory", thing, not_held_by="native"))
    thing = Thing()
    KEPT.append([None] * 1000 + [
        plant("in a list's own memory", thing, not_held_by="native")])
    thing = Thing()
    static = ctypes.c_void_p.in_dll(libc, "argp_program_version")
    static.value = id(thing)
    plant("in a static variable", thing,
          holder={"kind": "static", "name": "argp_program_version",
                  "holder": "%x" % ctypes.addressof(static)},
          text=r"C variable libc.*:argp_program_version")
    keep(id(thing))


SUBINTERPRETER = """
import os
class Thing: pass
thing = Thing()
os.write(%d, b"%%d" %% id(thing))
"""


def subinterpreter():
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    came, went = os.pipe()
    number = interpreters.create()
    KEPT.append(number)             # up to 3.12 it ends with this
    interpreters.run_string(number, SUBINTERPRETER % went)
    LINES.append({"name": "in a subinterpreter", "thread": 0,
                  "address": int(os.read(came, 100)),
                  "path": r"__main__\.thing in interpreter \d+"})


GIVEN = []


def giver():
    """Free-threaded: when another thread lets go of this, it goes into a queue
    until this thread counts together, which it does not while it waits."""
    if "t" in sys.abiflags:
        GIVEN.append(plant("queued for its owner", Thing(), root={
            "kind": "thread", "name": "brc.objects_to_merge"}))
    block()


# ---- What runs

def frames():
    """Of each other thread, each frame: [thread, [function, is of a generator,
    address of the frame object, {variable: address}]]."""
    numbers = {thread.ident: thread.native_id
               for thread in threading.enumerate()}
    found = []
    for ident, frame in sys._current_frames().items():
        number = numbers[ident]
        while frame and ident != threading.get_ident():
            code, local = frame.f_code, frame.f_locals
            names = [name for name in code.co_varnames if name in local]
            found.append([number, code.co_name,
                          bool(code.co_flags & 0x20), id(frame),
                          {name: id(local[name]) for name in names
                           if name not in code.co_cellvars}])
            frame = frame.f_back
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--census")
    to = parser.parse_args().census
    threads = [train_step, stacker, c_stacker, cells, runner, handler,
               thread_dict, context, profiled, on_c_stack, giver]
    for function in threads:
        threading.Thread(target=function, daemon=True).start()
    states()
    native()
    subinterpreter()
    while len(READY) < len(threads) or not all(
            waits_in_kernel(number) for number in READY):
        pass
    running = frames()
    gc.collect()
    GIVEN.clear()
    with open(int(to[3:]) if to.startswith("fd:") else to, "w") as file:
        for line in LINES:
            file.write(json.dumps(line) + "\n")
        file.write(json.dumps({"frames": running,
                               "types": [id(list), id(dict)]}) + "\n")
    del running
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.read()


def waits_in_kernel(number):
    try:
        with open("/proc/self/task/%d/stat" % number) as file:
            return file.read().rpartition(")")[2].split()[0] == "S"
    except FileNotFoundError:       # no /proc in this root
        time.sleep(0.1)
        return True


main()
