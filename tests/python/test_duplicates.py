#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Equal values compared with what Python takes for equal: groups by type and
value, with their counts and sizes; and the same groups within little memory."""

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

Value = collections.namedtuple("Value", "address type key size")
SUBCLASSES = ["__main__." + name for name in ("Text", "Raw", "Pair", "Named")]


def expected(subject):
    """{lowest address: (type, count, size, wasted)} of what occurs twice."""
    found = collections.defaultdict(dict)
    for record in subject.records["value"]:
        value = Value(*record)
        found[value.type, value.key][value.address] = value.size
    return {min(sizes): (kind, len(sizes), sum(sizes.values()),
                         sum(sizes.values()) - max(sizes.values()))
            for (kind, _), sizes in found.items()}


def by_value(subject):
    answer = subject.answer("duplicates", "-n", "0")
    assert answer["schema"] == "heapscan.duplicates/1"
    rows = {int(row["address"], 16): row for row in answer["rows"]}
    assert len(rows) == len(answer["rows"])
    truth = expected(subject)
    several = {address: group for address, group in truth.items()
               if group[1] > 1}
    assert len(several) > 500 and len(several) < len(truth)
    for address, group in truth.items():
        if group[1] == 1 and group[0] != "tuple":
            # Alone among the planted ones; the heap has no other of these.
            assert address not in rows, "%s at %#x" % (group, address)
    for address, group in several.items():
        row = rows.get(address)
        assert row, "no row of %r at %#x" % (group, address)
        got = row["type"], row["count"], row["size"], row["wasted"]
        assert got == group, "at %#x: expected %r, got %r" % (address, group,
                                                             got)
    for name in SUBCLASSES:
        mine = sorted(group[1] for group in several.values()
                      if group[0] == name)
        got = sorted(row["count"] for row in answer["rows"]
                     if row["type"] == name)
        assert mine and got == mine, "%s: %r, not %r" % (name, got, mine)
    for column in "count", "size", "wasted":
        assert answer["totals"][column] == sum(
            row[column] for row in answer["rows"]), column
    assert answer["totals"]["values"] == len(answer["rows"])
    assert len({row["address"] for row in answer["rows"]}) == len(rows)
    types = subject.answer("types", "-n", "0")["rows"]
    counts = sum(row["count"] for row in types if row["type"] in (
        "str", "bytes", "tuple", *SUBCLASSES))
    assert answer["totals"]["looked_at"] >= counts > 0
    assert "preview" not in answer["rows"][0], "a value without --values"
    return answer


def values(subject, whole):
    """--values shows them; nothing else does."""
    answer = subject.answer("duplicates", "-n", "0", "--values")
    shown = {row["preview"]: row for row in answer["rows"]
             if row["type"] == "str"}
    for text in ("planted value 3", "pl\u00e4nted 5", "pl\u0416nted 7",
                 "pl\U0001f600nted 9"):
        assert text in shown, "no preview %r" % text
        assert shown[text]["length"] == len(text)
    shown = {row["preview"] for row in answer["rows"]
             if row["type"] == "bytes"}
    assert "b'planted value 3'" in shown
    assert "b'pl\\xc3\\xa4nted 6'" in shown
    for row in answer["rows"]:
        row.pop("preview", None)
    assert answer["rows"] == whole["rows"]
    for form in "text", "json", "csv", "md", "ndjson":
        done = heaptest.heapscan(subject.core, "duplicates", "-n", "0", "-f",
                                 form)
        assert done.returncode == 0 and "planted" not in done.stdout, form
    done = heaptest.heapscan(subject.core, "duplicates", "--values", "--type",
                             "bytes")
    assert "b'" in done.stdout and "preview" in done.stdout


def memory(subject, whole):
    """The same answer where not all of it fits: some ranges of hashes are put
    off to another look, and what occurs once is left out before."""
    for size in "2M", "4M":
        answer = subject.answer("duplicates", "--memory", size)
        answer["rows"] = answer["rows"][:20]
        assert answer["totals"] == whole["totals"], size
        assert answer["rows"] == whole["rows"][:20], size
        done = heaptest.heapscan(subject.core, "duplicates", "--memory", size,
                                 "-v")
        looks = int(done.stderr.partition("duplicates: ")[2].split()[0])
        # Two are the least: one to count, and one to compare.
        assert looks > 2, "%s is enough: %s" % (size, done.stderr)


def options(subject, whole):
    answer = subject.answer("duplicates", "--type", "__main__.Text", "-n", "0")
    assert answer["rows"] == [row for row in whole["rows"]
                              if row["type"] == "__main__.Text"]
    answer = subject.answer("duplicates", "--min-size", "8K", "-n", "0")
    assert answer["rows"] == [row for row in whole["rows"]
                              if row["size"] >= 8192]
    answer = subject.answer("duplicates", "--sort", "count", "-n", "10")
    most = sorted((row["count"] for row in whole["rows"]), reverse=True)
    assert [row["count"] for row in answer["rows"]] == most[:10]
    assert answer["totals"] == whole["totals"]
    done = heaptest.heapscan(subject.core, "duplicates", "-n", "3")
    assert len(done.stdout.splitlines()) == 5, done.stdout
    assert " more values" in done.stdout
    done = heaptest.heapscan(subject.core, "duplicates", "--fail-if",
                             "wasted>1KiB")
    assert done.returncode == 5


def damaged(subject, whole):
    """A str and a tuple that cannot be read cost themselves only."""
    core = elfcore.ElfCore(subject.core)
    for thing, offset in (("text", 16), ("pair", 16)):
        address = subject.things[thing] + subject.header_more + offset
        segment = core.segment_at(address)
        at = segment.offset + address - segment.vaddr
        with damage.patched(subject.core, (at, b"\xff" * 8)) as spoilt:
            answer = subject.answer("duplicates", "-n", "0", core=spoilt,
                                    allow=(0, 3))
        assert answer["rows"] == whole["rows"], thing


def main():
    for subject in groups.subjects("--many"):
        name, whole = subject.interpreter.name, None
        with heaptest.case(name + ": equal values"):
            whole = by_value(subject)
        if not whole:
            continue
        with heaptest.case(name + ": values with --values only"):
            values(subject, whole)
        with heaptest.case(name + ": equal values in little memory"):
            memory(subject, whole)
        with heaptest.case(name + ": options of duplicates"):
            options(subject, whole)
        with heaptest.case(name + ": damaged values"):
            damaged(subject, whole)
    heaptest.finish()


if __name__ == "__main__":
    main()
