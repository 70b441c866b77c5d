#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`types --by owner` and `--by module`, and the sums of reference counts: held
against the references that the garbage collector sees in the forked twin."""

import collections
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import groups    # noqa: E402
import heaptest  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import damage    # noqa: E402
import elfcore   # noqa: E402

SUMS = ("count", "size", "footprint", "refcounts", "immortal")


def rows_by_owner(answer):
    found = {}
    for row in answer["rows"]:
        kind, _, owner = row["type"].partition(" of ")
        # Two classes may have one name.
        sums = found.setdefault((kind, owner), dict.fromkeys(SUMS, 0))
        for key in SUMS:
            sums[key] += row[key]
    pairs = {(row["type_address"], row.get("owner_address"))
             for row in answer["rows"]}
    assert len(pairs) == len(answer["rows"]), "two rows of one pair of types"
    return found


def by_owner(subject):
    answer = subject.answer("types", "--by", "owner", "-n", "0")
    rows = rows_by_owner(answer)
    truth = {(kind, owner): (count, size)
             for kind, owner, count, size in subject.records["owned"]}
    mine = {pair: sums for pair, sums in truth.items()
            if pair[1].startswith("__main__.")}
    assert len(mine) > 20, mine
    for pair, sums in mine.items():
        row = rows.get(pair)
        assert row, "no row of %s of %s: %r" % (*pair, sums)
        got = row["count"], row["size"]
        assert got == sums, "%s of %s: expected %r, got %r" % (*pair, sums,
                                                               got)
    more = [pair for pair in rows
            if pair[1].startswith("__main__.") and pair not in truth]
    if subject.interpreter.version >= (3, 15):
        # The bytes of a bytearray are an object that nothing else sees.
        more.remove(("bytes", "__main__.B"))
    assert not more, "nobody owns these: %r" % more
    # Those of the library may have owners that the collector does not see.
    assert mine["dict", "__main__.Module"][0] == 40, mine
    assert mine["list", "__main__.Module"][0] == 40, mine
    assert rows["dict", "module"]["count"] > 20
    assert rows["dict", "type"]["count"] > 20
    return answer


def same_totals(subject):
    types = subject.answer("types", "-n", "0")
    for group in "owner", "module", "type":
        answer = subject.answer("types", "--by", group, "-n", "0")
        for key, value in types["totals"].items():
            if key != "types" or group == "type":
                assert answer["totals"][key] == value, (group, key)
        for key in SUMS:
            assert (sum(row[key] for row in answer["rows"])
                    == sum(row[key] for row in types["rows"])), (group, key)
        assert answer["coverage"] == types["coverage"]
    # Each type's objects are spread over its owners, and none is lost.
    spread = collections.Counter()
    for row in subject.answer("types", "--by", "owner", "-n", "0")["rows"]:
        spread[row["type_address"]] += row["count"]
    assert spread == {row["type_address"]: row["count"]
                      for row in types["rows"]}
    return types


def by_module(subject, types):
    answer = subject.answer("types", "--by", "module", "-n", "0")
    expected = collections.Counter()
    for row in types["rows"]:
        if "." not in row["type"]:
            expected["builtins"] += row["count"]
        elif row["type"].startswith("__main__."):
            expected["__main__"] += row["count"]
        elif row["type"].startswith("collections.") and (
                row["type"].count(".") == 1):
            expected["collections"] += row["count"]
    rows = {row["type"]: row for row in answer["rows"]}
    assert len(rows) == len(answer["rows"])
    for module in "builtins", "__main__", "collections":
        got = rows[module]["count"]
        if module == "builtins":        # and those of no module at all
            got += rows.get("?", {"count": 0})["count"]
        assert got == expected[module], "%s: %d, not %d" % (
            module, got, expected[module])
        assert "type_address" not in rows[module]


def refcounts(subject):
    """Against the reference counts of the same objects, one by one."""
    done = heaptest.heapscan(subject.core, "objects", "-n", "0", "-f", "csv",
                             "--sysroot", subject.interpreter.root or "/")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    head = lines[0].split(",")
    kind, count = head.index("type_address"), head.index("refcount")
    sums, immortal = collections.Counter(), collections.Counter()
    core = elfcore.ElfCore(subject.core)
    for line in lines[1:]:
        if '"' in line:
            line = line.replace('""', "").split('"')
            line = line[0] + "quoted" + line[-1]
        fields = line.split(",")
        if fields[count]:
            sums[fields[kind]] += int(fields[count])
        else:
            immortal[fields[kind]] += 1
    for row in subject.answer("types", "-n", "0")["rows"]:
        got = row["refcounts"], row["immortal"]
        expected = sums[row["type_address"]], immortal[row["type_address"]]
        assert got == expected, "%s: %r, not %r" % (row["type"], got, expected)
    if subject.interpreter.version >= (3, 12):
        assert sum(immortal.values()) > 100
    top = subject.answer("objects", "--sort", "refcount", "-n", "50")["rows"]
    counts = [row["refcount"] for row in top]       # all of them have one
    assert counts == sorted(counts, reverse=True)
    # In free-threaded builds they are in several places: test_census.py.
    for row in top if not subject.interpreter.free_threaded else ():
        assert core.word(int(row["address"], 16)) & 0xFFFFFFFF == (
            row["refcount"]), row


def options(subject):
    answer = subject.answer("types", "--by", "owner", "--match",
                            " of __main__", "-n", "0")
    assert answer["rows"] and all(
        " of __main__." in row["type"] for row in answer["rows"])
    assert answer["totals"]["heap_count"] > answer["totals"]["count"]
    answer = subject.answer("types", "--by", "owner", "--type", "list")
    assert all(row["type"].split(" of ")[0] == "list"
               for row in answer["rows"])
    answer = subject.answer("types", "--by", "module", "--type", "dict")
    assert [row["type"] for row in answer["rows"]] == ["builtins"]
    done = heaptest.heapscan(subject.core, "types", "--by", "owner", "-n", "3")
    assert "OWNERS  by size" in done.stdout and " more rows" in done.stdout
    for word in "thread", "root":
        done = heaptest.heapscan(subject.core, "types", "--by", word)
        assert done.returncode == 2 and "owner" in done.stderr
    done = heaptest.heapscan(subject.core, "types", "--by", "colour")
    assert done.returncode == 2 and "owner" in done.stderr
    done = heaptest.heapscan(subject.core, "objects", "--by", "owner")
    assert done.returncode == 2 and "no meaning" in done.stderr


def damaged(subject, whole):
    """The table of a dict of its own is lost: what it held has no owner, and
    all else has the one it had."""
    core = elfcore.ElfCore(subject.core)
    before = rows_by_owner(whole)
    address = subject.things["dict"] + subject.header_more + 32  # ma_keys
    segment = core.segment_at(address)
    at = segment.offset + address - segment.vaddr
    with damage.patched(subject.core, (at, b"\x08" + bytes(7))) as spoilt:
        answer = subject.answer("types", "--by", "owner", "-n", "0",
                                core=spoilt, allow=(0, 3))
    after = rows_by_owner(answer)
    changed = {pair for pair in before
               if after.get(pair, {}).get("count") != before[pair]["count"]}
    assert changed <= {("__main__.D", ""), ("int", "__main__.D"), ("int", ""),
                       ("dict", "dict")}, changed


def main():
    for subject in groups.subjects():
        name, whole, types = subject.interpreter.name, None, None
        with heaptest.case(name + ": owners"):
            whole = by_owner(subject)
        with heaptest.case(name + ": totals by owner, module and type"):
            types = same_totals(subject)
        with heaptest.case(name + ": modules"):
            by_module(subject, types)
        with heaptest.case(name + ": reference counts"):
            refcounts(subject)
        with heaptest.case(name + ": options of --by"):
            options(subject)
        if whole:
            with heaptest.case(name + ": owners in a damaged heap"):
                damaged(subject, whole)
    heaptest.finish()


if __name__ == "__main__":
    main()
