#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The collector's own numbers, as tests/tools/gcinfo.c reads them from a core,
compared with what the module gc says in the process itself."""

import json
import math
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import damage    # noqa: E402
import elfcore   # noqa: E402
import heaptest  # noqa: E402

SCRIPT = os.path.join(HERE, "gcinfo_target.py")
# Of generation 0: what the target allocates after it has asked.
LATER = 60


def read(interpreter, core):
    argv = [heaptest.program("tests/tools/gcinfo"), core]
    if interpreter.root:
        argv.append(interpreter.root)
    done = heaptest.run(argv)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert len(answer["interpreters"]) == 1, answer
    return answer["interpreters"][0], answer["findings"]


def near(got, expected, what):
    assert abs(got - expected) <= LATER, "%s: expected about %d, got %d" % (
        what, expected, got)


def kind_of(interpreter):
    if interpreter.free_threaded:
        return "free-threaded"
    return ("incremental" if (3, 14) <= interpreter.version < (3, 14, 5)
            else "generational")


def same_thresholds(kind, generations, said):
    """The incremental collector has two, and says that the third is 0."""
    got = [one["threshold"] for one in generations]
    if kind == "incremental":
        got[2] = 0
    assert got == said["threshold"], (got, said["threshold"])


def numbers(interpreter, core, said):
    got, findings = read(interpreter, core)
    assert not findings, findings
    kind = kind_of(interpreter)
    assert got["kind"] == kind, got["kind"]
    assert not got["collecting"]
    assert got["enabled"] == said["enabled"] == 0
    for key in "debug", "garbage", "callbacks":
        assert got[key] == said[key], "%s: expected %r, got %r" % (
            key, said[key], got[key])
    # What the incremental collector had not come to before is there as well.
    assert got["garbage"] in (40, 40 * 2, 40 + 100), got["garbage"]
    assert got["garbage_list"] == hex(said["garbage_list"])
    generations = got["generations"]
    same_thresholds(kind, generations, said)
    counts = [one["count"] for one in generations]
    assert counts[1:] == said["count"][1:], (counts, said["count"])
    near(counts[0], said["count"][0], "count of generation 0")
    for index, (one, stats) in enumerate(zip(generations, said["stats"])):
        for key in stats:
            if key in one or key in ("collections", "collected",
                                     "uncollectable"):
                assert math.isclose(one[key], stats[key], rel_tol=1e-6), (
                    "%s of generation %d: expected %r, got %r" % (
                        key, index, stats[key], one[key]))
    assert generations[0]["collections"] >= 2
    assert generations[2]["collected"] > 0
    if interpreter.free_threaded:
        return                  # lists there are none
    assert got["frozen"] == said["frozen"] > 500, got["frozen"]
    objects = [one["objects"] for one in generations]
    if kind == "incremental":
        # The old objects are in two lists, which the module gc takes for one.
        objects[1:] = [0, objects[1] + objects[2]]
    assert objects[1:] == said["objects"][1:], (objects, said["objects"])
    near(objects[0], said["objects"][0], "objects of generation 0")
    assert min(filter(None, objects)) >= 150, objects
    print("# %r, frozen %d, %r" % (objects, got["frozen"], sorted(got)))


def inside(interpreter):
    """A collection is under way: what is said of it, and of the rest all."""
    core, census = heaptest.tmp("core.inside"), heaptest.tmp("census")
    with heaptest.start_target(interpreter, SCRIPT, ["--inside"],
                               census=census) as target:
        heaptest.plain_core(target.pid, core)
    with open(census) as file:
        said = json.load(file)
    got, _ = read(interpreter, core)
    os.unlink(core)
    assert got["collecting"]
    for key in "debug", "garbage", "callbacks", "frozen":
        assert got[key] == said[key], "%s: expected %r, got %r" % (
            key, said[key], got[key])
    same_thresholds(kind_of(interpreter), got["generations"], said)
    # The collector has most of them on its stack; none is counted twice.
    objects = [one.get("objects", 0) for one in got["generations"]]
    assert sum(objects) <= sum(said["objects"]) + LATER, (objects, said)


def damaged(interpreter, core):
    """One word of a list: not one object is lost, and a finding says where."""
    before, _ = read(interpreter, core)
    image = elfcore.ElfCore(core)
    # From the oldest object of gc.garbage: it is in a list, in the middle.
    items, = image.words(int(before["garbage_list"], 16) + 24, 1)
    thing, = image.words(items + 8 * 10, 1)
    for what, address, value in (
            ("next", thing - 16, 0xDEAD0000), ("prev", thing - 8, 0xDEAD0000),
            ("a cycle forward", thing - 16, thing - 16),
            ("next of nothing", thing - 16, 0)):
        segment = image.segment_at(address)
        at = segment.offset + address - segment.vaddr
        with damage.patched(core, (at, struct.pack("<Q", value))) as spoilt:
            after, findings = read(interpreter, spoilt)
        for key in ("frozen", "garbage"):
            assert after[key] == before[key], (what, key)
        lost = [a["objects"] - b["objects"] for a, b in
                zip(before["generations"], after["generations"])]
        assert sum(lost) == 0, "%s: lost %r" % (what, lost)
        assert "gc-list" in findings, "%s: %r" % (what, findings)


def main():
    interpreters = heaptest.interpreters()
    for interpreter in interpreters:
        name = interpreter.name
        if name.endswith("-loader"):
            continue
        core, census = heaptest.tmp("core"), heaptest.tmp("census")
        said = None
        with heaptest.case(name + ": the target runs"):
            with heaptest.start_target(interpreter, SCRIPT,
                                       census=census) as target:
                heaptest.plain_core(target.pid, core)
            with open(census) as file:
                said = json.load(file)
        if not said:
            continue
        with heaptest.case(name + ": the collector's numbers"):
            numbers(interpreter, core, said)
        if not interpreter.free_threaded:
            with heaptest.case(name + ": a broken list"):
                damaged(interpreter, core)
            with heaptest.case(name + ": inside a collection"):
                inside(interpreter)
        os.unlink(core)
    for release in heaptest.absent_releases(interpreters):
        heaptest.skip("the collector of Python " + release,
                      "this machine has no such interpreter")
    heaptest.finish()


if __name__ == "__main__":
    main()
