# SPDX-License-Identifier: Apache-2.0
"""What ended a process, in words: programs that are made to end in each way, by
the kernel's core and by heapdump's, against what the program itself was told or
what libc and libstdc++ printed; and where the interpreter ends in itself, or in
one that it started, or after an exception."""

import json
import os
import re
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SOURCE = os.path.join(HERE, "endings_target.cc")
OVERFLOW = "below the thread's stack, which has overflowed"
# The signal, what is at the address, and what is said beside; the innermost
# function that is the program's.
WAYS = {
    "null": ("SIGSEGV", "not mapped", "null"),
    "constant": ("SIGSEGV", "mapped read-only", "constant"),
    "no_address": ("SIGSEGV", "at what can be no address", "no_address"),
    "overflow": ("SIGSEGV", OVERFLOW, "descend"),
    "large": ("SIGSEGV", OVERFLOW, "take"),
    "in_thread": ("SIGSEGV", OVERFLOW, "descend"),
    "smashed": ("SIGABRT", None, None),
    "freed_twice": ("SIGABRT", None, "freed_twice"),
    "asserted": ("SIGABRT", None, "asserted"),
    "thrown": ("SIGABRT", None, "thrown"),
    "aborted": ("SIGABRT", None, "aborted"),
    "killed": ("SIGQUIT", None, "killed"),
}
SAID = ("smashed", "freed_twice", "asserted")
# Run by the interpreter, after a line that says that it is there.
INSIDE = """
import ctypes, gc, sys
print("ready", flush=True)
sys.stdin.read()
def spoil(held):
    items = ctypes.cast(id(held) + 24, ctypes.POINTER(ctypes.c_void_p))[0]
    ctypes.cast(items, ctypes.POINTER(ctypes.c_void_p))[0] = 0x10
    gc.collect()
spoil([object()])
"""
BELOW = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
print("ready", flush=True)
sys.stdin.read()
def call(code):
    # 3.14 and later have exec() alone.
    getattr(interpreters, "run_string", getattr(interpreters, "exec", None))(
        interpreters.create(), code)
call("import os\\ndef inner():\\n  os.abort()\\ndef outer():\\n  inner()\\n"
     "outer()\\n")
"""


# Where an exception reaches the top, and where it is caught.
UNCAUGHT = """
import os, sys
sys.excepthook = lambda *about: os.abort()
print("ready", flush=True)
sys.stdin.read()
def shelve():
    raise MemoryError("a secret")
shelve()
"""
CAUGHT = """
import os, sys
print("ready", flush=True)
sys.stdin.read()
def shelve():
    raise MemoryError("a secret")
try:
    shelve()
except MemoryError:
    os.abort()
"""


def view(core, *options):
    done = heaptest.heapscan(core, *options, "-f", "json", "--no-progress")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def start(argv, **options):
    process = subprocess.Popen(argv, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               **options)
    assert process.stdout.readline() == b"ready\n"
    return process


def kernels(argv, core, last=lambda process: None):
    """The kernel's core of a process that ends by itself; what it printed."""
    with start(argv) as process:
        def end():
            process.stdin.close()
            last(process)
        heaptest.kernel_core(process.pid, core, end=end)
        return process.stderr.read().decode()


def heapdumps(argv, core):
    """heapdump's own, of the same."""
    with start([heaptest.program("heapdump"), "-o", core, "--", *argv],
               ) as process:
        said = b""
        while b": watching " not in said:
            said = process.stderr.readline()
            assert said
        process.stdin.close()
        printed = process.stderr.read().decode()
    assert os.path.exists(core), printed
    return printed


def check(core, way, printed):
    name, fault, function = WAYS[way]
    whole = view(core, "threads")
    totals, row = whole["totals"], whole["rows"][0]
    assert totals["signal"] == row["signal"] == name, totals
    assert totals.get("fault") == fault, totals
    assert ("fault_address" in totals) == (fault is not None and
                                           way != "no_address"), totals
    if way in SAID:
        assert totals["message"] in printed.splitlines(), (totals, printed)
    else:
        assert "message" not in totals, totals
    assert totals.get("exception") == (
        "shop::Refused" if way == "thrown" else None), totals
    assert way != "thrown" or totals["exception"] in printed
    assert totals.get("sent_by") == (os.getpid() if way == "killed" else None)
    names = [one.get("function") or "" for one in row["native"]]
    assert function is None or any(function in one for one in names), names
    text = heaptest.heapscan(core, "threads").stdout
    for key in "message", "exception", "fault":
        assert totals.get(key, "") in text, text
    overview = heaptest.heapscan(core, "--top", "3").stdout
    told = overview[overview.index("THREADS "):]
    assert "ended by " + name in told, told
    for key in "message", "exception", "fault":
        assert totals.get(key, "") in told, told
    assert "a secret" not in overview + text
    if function:
        assert re.search(r"^      .*\b%s\b" % function, told, re.M) or \
            way == "killed", told
    if function == "descend":
        rows = view(core, "memory")["rows"]
        stacks = sum(one["bytes"] for one in rows if one["group"] == "stacks")
        # What a process of these settings may have of stack; threads the same.
        assert stacks > 7 << 20, rows


def natives():
    target = heaptest.tmp("endings")
    done = heaptest.run([heaptest.tool("g++", "g++"), "-O1", "-fno-inline",
                         "-fstack-protector-strong", "-pthread", "-w", SOURCE,
                         "-o", target])
    assert done.returncode == 0, done.stderr
    for way in WAYS:
        core = heaptest.tmp(way + ".core")

        def last(process):
            if way == "killed":
                assert process.stdout.readline() == b"waiting\n"
                os.kill(process.pid, signal.SIGQUIT)
        with heaptest.case("the kernel's core: " + way):
            check(core, way, kernels([target, way], core, last))
        os.path.exists(core) and os.unlink(core)
    for way in "no_address", "overflow", "in_thread", "freed_twice", "thrown":
        core = heaptest.tmp(way + ".dump")
        with heaptest.case("heapdump's: " + way):
            check(core, way, heapdumps([target, way], core))
        os.path.exists(core) and os.unlink(core)


def crashed_inside(interpreter):
    """In the interpreter itself: which of its functions is told."""
    core = heaptest.tmp("inside")
    kernels([*interpreter.argv, "-S", "-c", INSIDE], core)
    overview = heaptest.heapscan(core, "--top", "3").stdout
    told = overview[overview.index("THREADS "):].split("\n\n")[0]
    assert re.search(r"^      \w*(visit|traverse)\w* in ", told, re.M), told
    assert re.search(r"^      spoil <string>:", told, re.M), told
    text = heaptest.heapscan(core, "threads").stdout
    assert re.search(r"^      gc_collect\w*\+0x", text, re.M), text
    os.unlink(core)


def crashed_below(interpreter):
    """In an interpreter that another one has started: frames of both, those of
    the inner one first."""
    core = heaptest.tmp("below")
    kernels([*interpreter.argv, "-S", "-c", BELOW], core)
    whole = view(core, "threads")
    row = whole["rows"][0]
    names = [one["function"] for one in row["python"]]
    assert names == ["inner", "outer", "<module>", "call", "<module>"], names
    assert whole["totals"]["gil_holder"] == row["tid"], whole["totals"]
    merged = [one["function"] for one in row["merged"] if "function" in one]
    at = [merged.index(one) for one in ("abort", "inner", "outer", "call")]
    assert at == sorted(at), merged
    between = merged[at[2]:at[3]]
    assert any("run" in one or "exec" in one for one in between), between
    os.unlink(core)


def exceptions(interpreter):
    core = heaptest.tmp("exception")
    for code, told, also in (
            (UNCAUGHT, "the last exception that nobody caught",
             "the last that nobody caught"),
            (CAUGHT, "exception being handled", "being handled")):
        kernels([*interpreter.argv, "-S", "-c", code], core)
        place = ": MemoryError, raised in shelve <string>:"
        for text, words in ((heaptest.heapscan(core, "--top", "3").stdout, told),
                            (heaptest.heapscan(core, "threads").stdout, also)):
            assert re.search("^ *" + words + place, text, re.M), text
            assert "a secret" not in text
        text = heaptest.heapscan(core, "threads", "--values").stdout
        assert also + ": MemoryError('a secret'), raised in shelve" in text, text
        os.unlink(core)


def main():
    natives()
    for interpreter in heaptest.interpreters(few=True):
        if interpreter.root or interpreter.free_threaded:
            continue
        with heaptest.case("%s: in the interpreter" % interpreter):
            crashed_inside(interpreter)
        with heaptest.case("%s: in an inner interpreter" % interpreter):
            crashed_below(interpreter)
        with heaptest.case("%s: exceptions beside the signal" % interpreter):
            exceptions(interpreter)
    heaptest.finish()


if __name__ == "__main__":
    main()
