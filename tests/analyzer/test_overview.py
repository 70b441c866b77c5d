# SPDX-License-Identifier: Apache-2.0
"""The overview of a program that has something in each section: their order and
size, and their numbers against those of the views that show all."""

import json
import os
import pty
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SCRIPT = os.path.join(HERE, "overview_target.py")
NATIVE = os.path.join(HERE, "native_leak_target.py")
MAPPED = os.path.join(HERE, "mapped_target.py")
HELD = os.path.join(HERE, "native_held_target.py")
LOST = 30000
BASES = 24
SECTIONS = ["SUSPECTS", "MEMORY", "TYPES", "RETAINED", "GARBAGE", "REFCOUNTS",
            "THREADS", "next:", "Names"]


def answer(dump, *words):
    done = heaptest.heapscan(dump, *words, "-f", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def screen_of(dump, *words):
    done = heaptest.heapscan(dump, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_shape(text):
    lines = text.splitlines()
    found = [line.split()[0] for line in lines
             if re.match(r"\w", line)][1:]
    assert [name for name in found if name in SECTIONS] == SECTIONS, found
    assert len(lines) <= 60 and max(map(len, lines)) <= 120, lines
    for line in lines:
        assert line == line.rstrip(), line
    for section, view in (("SUSPECTS", "suspects"), ("MEMORY", "memory"),
                          ("TYPES", "types"),
                          ("RETAINED", "retained"), ("GARBAGE", "cycles"),
                          ("REFCOUNTS", "refcounts"),
                          ("THREADS", "threads")):
        line, = [line for line in lines if line.startswith(section)]
        assert line.endswith(" " + view) and len(line) == 120, line


def check_sums(dump, document):
    """In exact bytes."""
    types = answer(dump, "types", "--top", "0")
    for key in "count", "size", "footprint":
        total = document["totals"]["heap_" + key]
        assert sum(row[key] for row in types["rows"]) == total
        assert document["totals"][key] == total
    coverage = document["coverage"]
    assert coverage["arena_bytes"] == coverage["blocks_in_use_bytes"] + (
        coverage["free_bytes"] + coverage["overhead_bytes"])


def check_memory(dump, document, text):
    view = answer(dump, "memory")
    total = view["totals"]["total"]
    assert sum(row["bytes"] for row in document["memory"]) == total
    for row in document["memory"]:
        assert row["bytes"] == sum(each["bytes"] for each in view["rows"]
                                   if each["group"] == row["group"])
    lines = text[text.index("MEMORY"):].splitlines()
    # People read rounded numbers; they are of the same rows.
    shares = [float(line.split()[2]) for line in lines[1:9]
              if re.match(r" +[\d.,]+ \w+ +[\d.]+ %", line)]
    assert abs(sum(shares) - 100) < 0.5, shares


def check_threads(dump, document, text):
    view = answer(dump, "threads", "--top", "0")
    assert document["threads"]["count"] == view["totals"]["threads"]
    first = view["rows"][0]
    line = text[text.index("THREADS"):].splitlines()[1]
    assert line.startswith("  %d %s  " % (first["tid"], first["name"])), line
    assert first["python"][0]["function"] in line, line


def check_garbage(dump, document, text, facts):
    gc = answer(dump, "gc")["totals"]
    got = document["garbage"]
    assert (got["objects"], got["freed"], got["bytes"], got["finalizers"],
            got["uncollectable"]) == (
        gc["garbage"], gc["freed"], gc["freed_bytes"], gc["finalizers"],
        gc["garbage_uncollectable"])
    assert got["gc_enabled"] is False
    line = re.search(r"^GARBAGE .*((?:\n  .*)*)", text, re.M)
    assert "; gc off, thresholds 701 11 12" in line[0], line[0]
    rings = re.search(r"^  ([\d,]+) __main__\.Ring, ", line[1], re.M)
    assert int(rings[1].replace(",", "")) == facts["rings"], line[0]
    assert 1 <= line[1].count("\n") <= 5


def check_counts(dump, document, text, facts):
    """The one that was released too often stands below the line about them."""
    refcounts = answer(dump, "refcounts", "--top", "0")
    totals, row = refcounts["totals"], refcounts["rows"][0]
    assert int(row["address"], 16) == facts["released"], row
    assert document["garbage"]["over_released"] == totals["over_released"] >= 1
    assert document["garbage"]["held_by_native_code"] == totals["unexplained"]
    assert re.search(r"^REFCOUNTS %d released too often.*\n"
                     r"  0x%x __main__\.Model has a count of %d and %d owners" % (
                         totals["over_released"], facts["released"],
                         row["refcount"], row["found"]), text, re.M), text


def check_largest(dump, document, facts):
    """What suspects do not say, each part of it once."""
    suspect = document["suspects"][0]
    assert int(suspect["address"], 16) == facts["visits"]
    rows = document["retained"]
    every = {row["address"]: row
             for row in answer(dump, "retained", "--top", "0")["rows"]}
    assert int(rows[0]["address"], 16) == facts["largest"], rows[0]
    assert re.search(r":MODEL\.weights\[\.\.\.\]$", rows[0]["path"]), rows[0]
    assert any(row["path"].endswith(":TABLE") for row in rows), rows
    memory = answer(dump, "suspects")["totals"]["memory"]
    chosen = {row["address"] for row in rows} | {suspect["address"]}
    for row in rows:
        assert row["retained"] == every[row["address"]]["retained"]
        assert row["retained"] >= memory // 100
        assert abs(row["share"] - row["retained"] / memory) < 1e-6
        above = every[row["address"]].get("dominator")
        while above:
            assert above not in chosen, row
            above = every[above].get("dominator")


def check_next(document, facts):
    first, second = document["next"]
    assert first.endswith(" path --type __main__.Visit"), first
    assert second.endswith(" retained"), second


def on_terminal(dump):
    """What appears on a terminal, and the first that does by itself."""
    child, terminal = pty.fork()
    if child == 0:
        try:
            os.environ.update(NO_COLOR="1", TERM="dumb")
            os.execv(heaptest.program("heapscan"),
                     ["heapscan", dump, "--no-index"])
        finally:
            os._exit(127)
    parts = []
    try:
        while True:
            part = os.read(terminal, 1 << 16)
            if not part:
                break
            parts.append(part)
    except OSError:         # the other end is closed
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


def test(interpreter):
    facts_path, dump = heaptest.tmp("facts"), heaptest.tmp("overview.core")
    with heaptest.start_target(interpreter, SCRIPT, [facts_path]) as target:
        with open(facts_path) as file:
            facts = json.load(file)
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "1m",
                                 "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    text, document = screen_of(dump), answer(dump)
    for name, check in (
            ("sections and size", lambda: check_shape(text)),
            ("sums", lambda: check_sums(dump, document)),
            ("garbage", lambda: check_garbage(dump, document, text, facts)),
            ("memory", lambda: check_memory(dump, document, text)),
            ("threads", lambda: check_threads(dump, document, text)),
            ("reference counts",
             lambda: check_counts(dump, document, text, facts)),
            ("the largest owners",
             lambda: check_largest(dump, document, facts)),
            ("what to ask next", lambda: check_next(document, facts)),
            ("the same on a terminal",
             lambda: heaptest.equal("%s: text on a terminal" % interpreter,
                                    on_terminal(dump), text))):
        with heaptest.case("%s: %s" % (interpreter, name)):
            check()
    with heaptest.case("%s: fewer rows are possible" % interpreter):
        assert len(screen_of(dump, "--top", "3").splitlines()) < 52
    os.unlink(dump)


def native_leak(interpreter, dump):
    """What C code has lost is named on the first screen, and asked for next."""
    with heaptest.start_target(interpreter, NATIVE, [LOST]) as target:
        done = heaptest.heapdump("-q", "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    text = screen_of(dump)
    row = re.search(r"^ +\S+ MiB +\S+ %  other malloc: (\S+) MiB that nothing "
                    r"refers to", text, re.M)
    # With the header of each chunk; remains of pointers keep a few.
    assert row, text
    assert 0.98 < float(row[1]) * (1 << 20) / (LOST * 1008) < 1.01, row[0]
    assert re.search(r"^(next:| ) +heapscan \S+ malloc --by owner$", text,
                     re.M), text
    told = re.search(r"^  native code: nothing refers to (\S+) MiB, which C "
                     r"code took and did not free$", text, re.M)
    assert told and told[1] == row[1], text
    os.unlink(dump)


def native_held(interpreter, dump):
    """Whose objects lead to what C code took, and who has these objects."""
    with heaptest.start_target(interpreter, HELD, [BASES]) as target:
        done = heaptest.heapdump("-q", "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    text = screen_of(dump)
    told = re.search(r"^  native code: objects lead to (\S+) MiB, %d "
                     r"sqlite3\.Connection to the most of it\n"
                     r"     %d of these in native_held_target\.py:BASES$" %
                     (BASES, BASES), text, re.M)
    assert told, text
    assert BASES < float(told[1]) < 2 * BASES, told[0]
    os.unlink(dump)


def mapped_memory(interpreter, dump):
    """What is mapped and no allocator's is named where no suspect is."""
    size = 40 << 20
    with heaptest.start_target(interpreter, MAPPED,
                               [size, heaptest.tmp()]) as target:
        done = heaptest.heapdump("-q", "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    text = screen_of(dump)
    assert "\n  none stands out\n" in text, text
    for name in "shared memory", "mapped files", "unexplained memory":
        open_one = re.search(r"^  not ruled out: %s (\S+) MiB, \S+ %% of RSS$" %
                             name, text, re.M)
        assert open_one, text
        assert 40 <= float(open_one[1]) < 41, open_one[0]
    os.unlink(dump)


for interpreter in heaptest.interpreters(few=True):
    if interpreter.free_threaded or interpreter.root:
        continue
    with heaptest.case("%s: target" % interpreter):
        test(interpreter)
    with heaptest.case("%s: what C code has lost" % interpreter):
        native_leak(interpreter, heaptest.tmp("native.zst"))
    with heaptest.case("%s: what C code took for objects" % interpreter):
        native_held(interpreter, heaptest.tmp("held.zst"))
    with heaptest.case("%s: mapped memory" % interpreter):
        mapped_memory(interpreter, heaptest.tmp("mapped.zst"))
heaptest.finish()
