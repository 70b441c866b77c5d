# SPDX-License-Identifier: Apache-2.0
"""Dumps of a process that is inside of a garbage collection, when the heads of
objects hold counts and list heads lie on the C stack: the same objects as in
the census that a twin took just before.

Two ways to get there. The collector calls Python, which blocks: a weak
reference's callback, a finalizer, a hook. And gdb stops it where no Python
runs: whenever it writes to the GC head of one object, which is when it copies
reference counts (update_refs), subtracts references (subtract_refs), and moves
what seems unreachable (move_unreachable)."""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import census_compare
import elfcore
import heaptest

SCALE = ["--scale", 200]
MOMENTS = 4             # at which gdb stops the collector, one after the other
GC_PREV = -8            # from an object to that word of its head
PREV_COLLECTING = 2     # its flag while the rest of the word is a count


def compare(name, census, path):
    with heaptest.case(name):
        plain = path
        if path.endswith(".zst"):
            plain = heaptest.expand(path, heaptest.tmp("core.plain"))
        with elfcore.ElfCore(plain) as core:
            census_compare.compare(census, core, path)
        done = heaptest.heapscan(path, "types", "-v")
        findings = [line for line in done.stderr.splitlines()
                    if re.match("heapscan: [a-z-]+ at 0x", line)
                    and "module-file" not in line]
        assert done.returncode == 0 and not findings, \
            "exit %d, and in a sound heap: %s" % (done.returncode, findings)
    for spent in {path, heaptest.tmp("core.plain")}:
        if os.path.exists(spent):
            os.unlink(spent)


def dump(pid, path):
    done = heaptest.heapdump("--max-pause", "1m", "-q", "-o", path, pid)
    assert done.returncode == 0, "heapdump: exit %d: %s" % (done.returncode,
                                                            done.stderr)


def test_blocked(interpreter, where):
    """In Python code that the collector calls."""
    census_path = heaptest.tmp("census")
    path, core = heaptest.tmp("dump.zst"), heaptest.tmp("core")
    with heaptest.start_target(
            interpreter, args=[*SCALE, "--collecting", where],
            census=census_path) as target:
        census = heaptest.Census(census_path)
        dump(target.pid, path)
        with heaptest.case("%s: kernel core in a %s" % (interpreter, where)):
            heaptest.kernel_core(target.pid, core)
    for kind, made in ("heapdump", path), ("kernel", core):
        if os.path.exists(made):
            compare("%s: %s's dump in a %s of a collection" % (
                interpreter, kind, where), census, made)


def stopped_by_gdb(pid, address, path):
    """Let gdb stop the collector whenever it writes to a word, MOMENTS times,
    with a core each; then leave the process stopped. Returns the cores."""
    cores = ["%s.%d" % (path, moment) for moment in range(MOMENTS)]
    commands = ["set pagination off", "watch *(unsigned long *)%#x" % address,
                "shell printf x >/proc/%d/fd/0" % pid]
    for core in cores:
        commands += ["continue", "generate-core-file " + core]
    # The signal waits for the process to run again, and stops it before it
    # has executed anything.
    commands += ["shell kill -STOP %d" % pid, "delete", "detach"]
    argv = [heaptest.tool("gdb", "gdb"), "-nx", "-batch", "-p", str(pid)]
    for command in commands:
        argv += ["-ex", command]
    done = heaptest.run(argv, env=dict(os.environ, DEBUGINFOD_URLS=""),
                        stderr=subprocess.STDOUT)
    if "Hardware watchpoint" not in done.stdout:
        raise heaptest.Skip("gdb has no hardware watchpoint here")
    for core in cores:
        assert os.path.exists(core), "gdb: " + done.stdout[-1500:]
    return cores


def test_stopped(interpreter):
    """Anywhere in the collector."""
    census_path = heaptest.tmp("census")
    path = heaptest.tmp("dump.zst")
    with heaptest.start_target(
            interpreter, args=[*SCALE, "--collecting", "input"],
            census=census_path) as target:
        census = heaptest.Census(census_path)
        told = re.search(r"^OBJECT (0x\w+)$", target.printed(), re.M)
        word = int(told[1], 16) + GC_PREV
        cores = stopped_by_gdb(target.pid, word, heaptest.tmp("core"))
        assert "has ended" not in target.printed()
        dump(target.pid, path)
    values = []
    for core in cores:
        with elfcore.ElfCore(core) as opened:
            values.append(opened.word(word))
    print("# %s: %s" % (interpreter, ", ".join(map(hex, values))))
    with heaptest.case("%s: the first moments are within the counting"
                       % interpreter):
        assert values[0] & PREV_COLLECTING and values[1] & PREV_COLLECTING, \
            "the words are %s" % list(map(hex, values))
    for moment, core in enumerate(cores):
        compare("%s: the collector's write number %d" % (
            interpreter, moment + 1), census, core)
    compare("%s: heapdump's dump of the stopped collector" % interpreter,
            census, path)


found = heaptest.interpreters()
for interpreter in heaptest.interpreters(few=True):
    for where in "callback", "finalizer", "hook":
        with heaptest.case("%s: %s" % (interpreter, where)):
            test_blocked(interpreter, where)
    with heaptest.case("%s: stopped by gdb" % interpreter):
        if interpreter.free_threaded:
            raise heaptest.Skip("free-threaded builds write elsewhere")
        test_stopped(interpreter)
if not os.environ.get("HEAPSCAN_INTERPRETERS"):
    for release in heaptest.absent_releases(found):
        heaptest.skip("collections of Python " + release,
                      "no such interpreter here: "
                      "tests/python/fetch_interpreters.sh fetches 3.13 to 3.15")
heaptest.finish()
