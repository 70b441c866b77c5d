#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Containers compared with what Python says of them: one by one, all of the
process, by tests/tools/collectiondump.c; and added up by type in the view."""

import collections
import os
import re
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import groups    # noqa: E402
import heaptest  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import damage    # noqa: E402
import elfcore   # noqa: E402

Truth = collections.namedtuple("Truth",
                               "address type capacity used wasted size")
SUBCLASSES = ["__main__." + name for name in "LDSFQOBA"]
COLUMNS = ("count", "capacity", "used", "wasted", "empty", "sparse", "size",
           "empty_size")


def is_sparse(thing):
    return (thing.used > 0 and thing.used * 2 < thing.capacity
            and thing.wasted > 0)


INTERNED_LEAST, NAMES_MORE = 3000, 4


def one_by_one(subject, things):
    argv = [heaptest.program("tests/tools/collectiondump"), subject.core]
    if subject.interpreter.root:
        argv.append(subject.interpreter.root)
    done = heaptest.run(argv, stdin=None, input="".join(
        "%x\n" % thing.address for thing in things))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(things)
    wrong = collections.Counter()
    for thing, line in zip(things, lines):
        expected = "%x %d %d %d %d" % (
            thing.address, thing.capacity, thing.used, thing.wasted,
            is_sparse(thing))
        if line != expected:
            # The twin's own code may have made a name since, which the table
            # of interned strings has.
            got = line.split()
            if thing.type == "dict" and thing.used > INTERNED_LEAST and \
                    abs(int(got[2]) - thing.used) <= NAMES_MORE:
                continue
            wrong[thing.type] += 1
            if wrong[thing.type] <= 3:
                print("# %s: expected %s, got %s" % (thing.type, expected,
                                                     line))
    kinds = {thing.type for thing in things}
    print("# %d containers of %d types" % (len(things), len(kinds)))
    assert len(things) > 2000 and len(kinds) >= 20, (len(things), kinds)
    assert not wrong, "wrong: %r" % wrong


def sums(things):
    """{type: {column: sum}}"""
    found = {}
    for thing in things:
        row = found.setdefault(thing.type, dict.fromkeys(COLUMNS, 0))
        empty = thing.used == 0
        for column, value in (("count", 1), ("capacity", thing.capacity),
                              ("used", thing.used), ("wasted", thing.wasted),
                              ("empty", empty), ("sparse", is_sparse(thing)),
                              ("size", thing.size),
                              ("empty_size", thing.size if empty else 0)):
            row[column] += value
    return found


def by_type(subject, things):
    answer = subject.answer("collections", "-n", "0")
    assert answer["schema"] == "heapscan.collections/1"
    rows = {row["type"]: row for row in answer["rows"]}
    expected = sums(things)
    for name in SUBCLASSES:
        got = {column: rows[name][column] for column in COLUMNS}
        assert got == expected[name], "%s: expected %r, got %r" % (
            name, expected[name], got)
    for name, row in expected.items():
        # Of these there are some that no object refers to.
        for column in ("count", "used", "size"):
            # Names that the twin has made since are in a dict of the parent's.
            names = NAMES_MORE if (name, column) == ("dict", "used") else 0
            assert rows[name][column] >= row[column] - names, (
                "%s: %s of %d, and Python has %d" % (
                    name, column, rows[name][column], row[column]))
    for column in COLUMNS:
        total = sum(row[column] for row in answer["rows"])
        assert answer["totals"][column] == total, column
    assert answer["totals"]["types"] == len(answer["rows"])
    wasted = [row["wasted"] for row in answer["rows"]]
    assert wasted == sorted(wasted, reverse=True), "not by wasted"
    # What `types` says of the same objects.
    types = {row["type_address"]: row
             for row in subject.answer("types", "-n", "0")["rows"]}
    for row in answer["rows"]:
        same = types[row["type_address"]]
        assert (row["count"], row["size"]) == (same["count"], same["size"])


def options(subject):
    answer = subject.answer("collections", "--type", "__main__.L")
    assert [row["type"] for row in answer["rows"]] == ["__main__.L"]
    answer = subject.answer("collections", "--match", r"^__main__\.[LD]$",
                            "--sort", "count")
    assert len(answer["rows"]) == 2
    assert answer["rows"][0]["count"] >= answer["rows"][1]["count"]
    root = "--sysroot", subject.interpreter.root or "/"
    done = heaptest.heapscan(subject.core, "collections", "-n", "3", *root)
    assert done.returncode == 0, done.stderr
    head, _, empty = done.stdout.partition("\nEMPTY")
    assert "COLLECTIONS  by wasted" in head and " more type" in head, head
    assert len(empty.splitlines()) == 4, done.stdout
    # Without the module's file the width of arrays is in no page there is.
    if subject.interpreter.root:
        done = heaptest.heapscan(subject.core, "collections", "--sysroot",
                                 "none")
        assert re.search(r"\d+ containers cannot be looked into",
                         done.stdout), done.stdout
    done = heaptest.heapscan(subject.core, "collections", "--type",
                             "__main__.Q", "--fail-if", "wasted>0")
    assert done.returncode == 5, done.returncode
    done = heaptest.heapscan(subject.core, "collections", "--sort", "owner")
    assert done.returncode == 2 and "capacity" in done.stderr, done.stderr


# Offsets from the object, as in every release from 3.8 to 3.15; in free-threaded
# builds the header is longer.
DAMAGES = [
    ("deque", "more spare blocks than are kept", 72, 1 << 40, "__main__.Q"),
    ("odict", "a list of 2^50 slots", None, 1 << 50, "__main__.O"),
    ("list", "room for 2^60 items", 32, 1 << 60, "__main__.L"),
    ("set", "a mask that is none", 32, 100, "__main__.S"),
    ("dict", "more entries than its table", 16, 1 << 40, "__main__.D"),
    ("array", "fewer items of room than items", 32, 1, "__main__.A"),
    ("bytearray", "more bytes than there are", 16, 1 << 40, "__main__.B"),
]


def damaged(subject):
    """One container may be lost, or be of unknown content; nothing else."""
    core = elfcore.ElfCore(subject.core)
    whole = subject.answer("collections", "-n", "0")
    before = {row["type_address"]: row for row in whole["rows"]}
    minor = subject.interpreter.version[1]
    for thing, what, offset, value, name in DAMAGES:
        if thing == "deque" and minor < 11:
            continue            # these keep spare blocks elsewhere
        if offset is None:      # od_fast_nodes_size, behind the dict
            offset = next(at for at in (56, 64, 72) if core.word(
                subject.things[thing] + subject.header_more + at) == 8)
        address = subject.things[thing] + subject.header_more + offset
        segment = core.segment_at(address)
        at = segment.offset + address - segment.vaddr
        with damage.patched(subject.core, (at, struct.pack("<Q", value))
                            ) as spoilt:
            answer = subject.answer("collections", "-n", "0", core=spoilt,
                                    allow=(0, 3))
            said = heaptest.heapscan(spoilt, "collections", "-v").stderr
        after = {row["type_address"]: row for row in answer["rows"]}
        for type_address, row in before.items():
            if row["type"] != name:
                assert after.get(type_address) == row, "%s: %s: %r, not %r" % (
                    what, row["type"], after.get(type_address), row)
                continue
            now = after[type_address]
            lost = row["count"] - now["count"]
            assert lost + now["unread"] == 1, "%s: %r" % (what, now)
            if now["unread"]:
                assert "collection at 0x%x: " % subject.things[thing] in said, (
                    "%s: %s" % (what, said))


def main():
    for subject in groups.subjects():
        name = subject.interpreter.name
        things = [Truth(*record) for record in subject.records["container"]]
        with heaptest.case(name + ": containers one by one"):
            one_by_one(subject, things)
        with heaptest.case(name + ": containers by type"):
            by_type(subject, things)
        with heaptest.case(name + ": options of collections"):
            options(subject)
        with heaptest.case(name + ": damaged containers"):
            damaged(subject)
    heaptest.finish()


if __name__ == "__main__":
    main()
