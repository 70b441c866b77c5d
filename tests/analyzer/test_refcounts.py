# SPDX-License-Identifier: Apache-2.0
"""heapscan refcounts: leaks and releases that a process of refcounts_target.py
has made through C stand first, and in what a program really has every count is
accounted for, but for what CPython itself leaks."""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import elfcore
import heaptest
import heldcounts
from heldcounts import answer

TARGET = os.path.join(HERE, "refcounts_target.py")
# Nothing else has the size of these, so that their memory stays free.
FREED = """
import ctypes, os, sys
class Session:
    __slots__ = ["field%d" % number for number in range(40)]
release = ctypes.pythonapi.Py_DecRef
release.argtypes, release.restype = [ctypes.py_object], None
class List(ctypes.Structure):
    _fields_ = [("head", ctypes.c_size_t * 3),
                ("items", ctypes.POINTER(ctypes.c_size_t))]
sessions = [Session() for number in range(3000)]
for number in range(1000, 1010):
    release(sessions[number])
List.from_address(id(sessions)).items[5] = 0x4141414141414140
print(id(sessions))
print("READY", os.getpid(), flush=True)
sys.stdin.read()
os._exit(0)
"""


def dumped(interpreter):
    core = heaptest.tmp("core")
    with heaptest.start_target(interpreter, TARGET) as target:
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "1m",
                                 "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
        return core, json.loads(target.printed().splitlines()[0])


def test_planted(core, planted):
    whole = answer(core, "-n", "0")
    rows = {int(row["address"], 16): row for row in whole["rows"]}
    first, second = whole["rows"][:2]
    assert int(first["address"], 16) == planted["released"], first
    assert first["excess"] == -1 and first["type"] == "__main__.Released"
    assert int(second["address"], 16) == planted["leaked"], second
    assert second["excess"] == planted["leaks"]
    assert second["excess"] > second["holders"] + second["guessed"]
    assert rows[planted["dropped"]]["excess"] == 1
    held = rows[planted["held"]]
    assert held["excess"] == 1 and held["holders"] > 0 and held["holder"], held
    for row in whole["rows"]:
        assert row["refcount"] - row["found"] == row["excess"] != 0, row
        assert not row["immortal"], row


def test_totals(interpreter, core, planted):
    whole = answer(core, "-n", "0")
    totals, rows = whole["totals"], whole["rows"]
    assert totals["unexplained"] == sum(row["excess"] > 0 for row in rows)
    assert totals["over_released"] == sum(row["excess"] < 0 for row in rows)
    unheld = [row for row in rows if row["excess"] > row["guessed"] +
              row.get("holders", 0)]
    assert totals["unheld"] == len(unheld)
    others = [row for row in rows
              if int(row["address"], 16) not in planted.values()]
    left = heldcounts.unheld(interpreter.version, core, others)
    assert not left, "; ".join(left)


def test_holders(interpreter, core, planted):
    rows = answer(core, "-n", "0")["rows"]
    with elfcore.ElfCore(core) as opened:
        kinds = heldcounts.check_holders(opened, rows, interpreter.root)
    assert kinds["stack"] >= planted["threads"], kinds
    held, = [row for row in rows
             if int(row["address"], 16) == planted["held"]]
    assert held["holder"].startswith("malloc block "), held
    assert int(held["holder_address"], 16) == planted["holder"], held
    compiled, = [row for row in rows
                 if int(row["address"], 16) == planted["compiled"]]
    assert compiled["holder"] == "executable memory at %#x" % (
        planted["code"]), compiled


def test_path(core, planted):
    """The path of what native code alone holds says where that has it."""
    for _ in range(2):      # also by what the first time has kept
        done = heaptest.heapscan(core, "path", "%#x" % planted["compiled"])
        assert "held by native code: <collections.UserDict>" in done.stdout
        assert "to the collections.UserDict at %#x leads executable memory " \
            "at %#x\n" % (planted["compiled"], planted["code"]) in \
            done.stderr, done.stderr
    done = heaptest.heapscan(core, "path", "%#x" % planted["held"])
    assert "leads" not in done.stderr, done.stderr


def test_interned(core):
    """The table of interned strings, which only a variable of C holds up to 3.11."""
    done = heaptest.heapscan(core, "retained", "--type", "dict", "-n", "0",
                             "-f", "json")
    assert done.returncode == 0, done.stderr
    paths = [row.get("path") for row in json.loads(done.stdout)["rows"]]
    assert paths.count("interned strings") == 1, paths[:20]


def test_options(core):
    rows = answer(core, "--type", "__main__.Leaked")["rows"]
    assert [row["type"] for row in rows] == ["__main__.Leaked"]
    done = heaptest.heapscan(core, "refcounts", "--fail-if", "excess<0")
    assert done.returncode == 5, done.stderr
    done = heaptest.heapscan(core, "refcounts", "--fail-if", "excess>1000000")
    assert done.returncode == 0, done.stderr
    done = heaptest.heapscan(core, "refcounts", "-n", "2")
    assert " more object" in done.stdout and "__main__.Released" in done.stdout


def test_freed(interpreter):
    """Objects that C code has released once too often, so that they are gone while
    a list still has them; and a word that never was one."""
    core, script = heaptest.tmp("freed"), heaptest.tmp("freed.py")
    with open(script, "w") as file:
        file.write(FREED)
    with heaptest.start_target(interpreter, script) as target:
        done = heaptest.heapdump("-q", "--max-pause", "1m", "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
        holder = int(target.printed().split()[0])
    done = heaptest.heapscan(core, "refcounts", "-f", "json", "-v")
    assert json.loads(done.stdout)["totals"]["dangling"] == 10 + 1, done.stderr
    lines = [line for line in done.stderr.splitlines()
             if "dangling-reference" in line]
    assert len(lines) == 8 and all(" at %#x: list refers to 0x" % holder in line
                                   for line in lines), done.stderr
    assert " refers to 0x4141414141414140," in done.stderr, done.stderr
    told = heaptest.heapscan(core).stdout
    assert "REFCOUNTS 11 references to no object (-v), no other released" in told
    os.unlink(core)


for interpreter in heaptest.interpreters(few=True):
    with heaptest.case("%s: dumped" % interpreter):
        core, planted = dumped(interpreter)
    with heaptest.case("%s: what was planted stands first" % interpreter):
        test_planted(core, planted)
    with heaptest.case("%s: all others are accounted for" % interpreter):
        test_totals(interpreter, core, planted)
    with heaptest.case("%s: holders are what they are said to be" %
                       interpreter):
        test_holders(interpreter, core, planted)
    with heaptest.case("%s: a path from native code" % interpreter):
        test_path(core, planted)
    with heaptest.case("%s: interned strings" % interpreter):
        test_interned(core)
    with heaptest.case("%s: options" % interpreter):
        test_options(core)
    if not interpreter.free_threaded:
        with heaptest.case("%s: what was freed while it was referred to" %
                           interpreter):
            test_freed(interpreter)
heaptest.finish()
