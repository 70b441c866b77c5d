# SPDX-License-Identifier: Apache-2.0
"""Garbage of types whose fields no table tells of, as those of Cython and mypyc,
against what gc.collect() does in a twin; what is lost without being garbage that
the collector finds; and that a collector whose threshold is 0 is not on."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

TARGET = os.path.join(HERE, "words_target.py")
SOURCE = os.path.join(HERE, "words_native.c")
PAIRS = 20000


def build(interpreter):
    """The folder with the module, for one interpreter."""
    done = heaptest.run(
        [*interpreter.argv, "-I", "-c", "import sysconfig; "
         "print(sysconfig.get_path('include')); "
         "print(sysconfig.get_config_var('EXT_SUFFIX'))"],
        env=interpreter.environment())
    include, suffix = done.stdout.split()
    if interpreter.root or not os.path.exists(include + "/Python.h"):
        raise heaptest.Skip("no headers of this interpreter")
    folder = heaptest.tmp("words-" + interpreter.name)
    os.makedirs(folder, exist_ok=True)
    done = heaptest.run([heaptest.tool("gcc", "gcc"), "-O1", "-w", "-shared",
                         "-fPIC", "-I", include, "-I",
                         # Debian's have a part of them beside it.
                         os.path.dirname(include), SOURCE, "-o",
                         os.path.join(folder, "words_native" + suffix)])
    assert done.returncode == 0, done.stderr
    return folder


def dump(interpreter, folder, what):
    """A dump, and what the twin said."""
    core = heaptest.tmp("words-%s-%s" % (interpreter.name, what))
    with heaptest.start_target(interpreter, TARGET, [folder, what]) as target:
        done = heaptest.heapdump("-q", "--max-pause", "1m", "-o", core,
                                 target.pid)
        assert done.returncode == 0, done.stderr
        told = [line for line in target.printed().splitlines()
                if line.startswith("{")]
    return core, json.loads(told[0])


def totals(core, *args):
    done = heaptest.heapscan(core, *args, "-f", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["totals"]


def text(core, *args):
    done = heaptest.heapscan(core, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def theories(shown):
    """What is ruled out, and what is not, in one line."""
    section = re.split(r"\n\n", shown[shown.index("SUSPECTS"):])[0]
    return " ".join(re.search(r"ruled out: (?s:.*)", section)[0].split())


def ways(core, name):
    """(count, text of the path) of each row."""
    return [(int(count.replace(",", "")), path) for count, path in re.findall(
        r"^ *([\d,]+) .*?(\([a-z].*\))$", text(core, "path", "--type", name),
        re.M)]


def check_seen(core, told):
    found = totals(core, "gc")
    pairs, freed = 2 * PAIRS, told["freed"]
    assert freed > pairs, told
    # A few more of the twin's own.
    assert 0 <= found["garbage"] - told["returned"] <= 100, (found, told)
    assert freed <= found["garbage_by_words"] <= found["garbage"], found
    assert found["lost"] == 0, found
    here = [*ways(core, "words_native.Seen"), *ways(core, "__main__.Child")]
    assert [path for _, path in here] == ["(garbage)"] * 2, here
    assert sum(count for count, _ in here) == freed, (here, told)
    cycles = totals(core, "cycles")
    assert cycles["garbage_cycles"] >= PAIRS + 200, cycles
    assert cycles["lost_cycles"] == 0 == cycles["lost"], cycles
    shown = text(core)
    assert re.search(r"^GARBAGE +[\d,]+ objects, in or hanging on 20,2\d\d "
                     r"cycles, ", shown, re.M), shown
    assert re.search(r"^  [\d,]+ of them if words of unknown structures are "
                     r"references$", shown, re.M), shown
    assert " objects are garbage, with " in shown, shown
    assert "the collector is off" in shown, shown
    assert re.search(r"^by words: [\d,]+ of them, ", text(core, "gc"), re.M)


def check_unseen(core, told):
    found = totals(core, "gc")
    # Nothing but the pairs beside them: of each a str as well.
    assert found["garbage_by_words"] == 100 == told["freed"], (found, told)
    assert found["lost"] == 3 * (PAIRS + 50), found
    assert found["lost_bytes"] > 400 * PAIRS, found
    for view in "cycles", "suspects":
        there = totals(core, view)
        assert (there["lost"], there["lost_bytes"]) == (
            found["lost"], found["lost_bytes"]), (view, there)
    assert totals(core, "cycles")["lost_cycles"] == PAIRS + 50
    assert ways(core, "words_native.Unseen") == [
        (2 * PAIRS + 50, "(nothing known leads to it)")]
    assert ways(core, "words_native.Seen") == [
        (150, "(garbage, or nothing known leads to it)")]
    for shown in text(core), text(core, "suspects"):
        assert re.search(r"^  not ruled out: 60,150 objects that nothing known "
                         r"leads to, nor gc.collect\(\) frees: \S+ MiB, ",
                         shown, re.M), shown
    for view in "gc", "cycles":
        assert re.search(r"^60,150 objects, \S+ MiB that nothing known leads "
                         r"to:$", text(core, view), re.M)


def check_inside(core, told):
    found = totals(core, "gc")
    assert told["freed"] == 0
    assert found["garbage_by_words"] == 0, found
    here = ways(core, "words_native.Inside")
    assert "(garbage)" not in [path for _, path in here], here


def check_never(core, told):
    found = totals(core, "gc")
    assert found["enabled"] is True
    assert told["returned"] >= 2 * PAIRS, told
    assert re.search(r"^the collector is enabled, but with a threshold of 0 it "
                     r"never runs by itself; ", text(core, "gc"), re.M)
    shown = text(core)
    assert re.search(r"^GARBAGE .*; gc on, but never by itself, thresholds 0 ",
                     shown, re.M), shown
    assert "its threshold is 0, so that it never runs by itself" in shown
    assert "is the collector off" not in shown
    assert found["garbage_by_words"] == 0 == found["lost"], found


CHECKS = {"seen": check_seen, "unseen": check_unseen, "inside": check_inside,
          "never": check_never}

for interpreter in heaptest.interpreters(few=True):
    folder = None
    with heaptest.case(interpreter.name + ": built"):
        if interpreter.free_threaded:
            raise heaptest.Skip("one module for builds with a GIL")
        folder = build(interpreter)
    if folder is None:
        continue
    for what, check in CHECKS.items():
        core = None
        with heaptest.case("%s: %s" % (interpreter.name, what)):
            core, told = dump(interpreter, folder, what)
            check(core, told)
        with heaptest.case("%s: %s: the same in both views" % (
                interpreter.name, what)):
            assert theories(text(core)) == theories(text(core, "suspects"))
        # Results that were kept say the same.
        with heaptest.case("%s: %s: without what was kept" % (
                interpreter.name, what)):
            for view in "gc", "cycles", "suspects":
                assert totals(core, view) == totals(core, view, "--no-index"), \
                    view
        if core:
            os.unlink(core)
heaptest.finish()
