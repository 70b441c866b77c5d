# SPDX-License-Identifier: Apache-2.0
"""`retained`, and what other views say of it: held against a naive computation
on the references that refdump tells, and against what the target knows of its
own structures."""

import collections
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heapmodel
import heaptest

SCRIPT = os.path.join(HERE, "views_target.py")
RANKS = {"interpreter": "interpreters", "local": "frames", "stack": "frames",
         "frame": "frames", "thread": "thread states", "runtime": "the runtime"}
REMOVED = 60            # objects that are taken out to see what goes with them


def address_of(row, key="address"):
    return int(row[key], 16) if key in row else None


def differences(got, expected):
    wrong = [key for key in got.keys() | expected.keys()
             if got.get(key) != expected.get(key)]
    return "%d differ: %s" % (len(wrong), ", ".join(
        "%s: %s, expected %s" % (key if isinstance(key, str) else hex(key),
                                 got.get(key), expected.get(key))
        for key in sorted(wrong, key=str)[:5]))


class Heap:
    """What is compared: .model, .parent and .retained of it, .rows and .totals
    of heapscan retained."""

    def __init__(self, dump):
        self.dump, self.model = dump, heapmodel.Model(dump)
        self.parent = self.model.dominators()
        self.retained = collections.Counter()
        for address in self.parent:
            weight, at = self.model.objects[address].footprint, address
            while at is not None:
                self.retained[at] += weight
                at = self.parent[at]
        self.rows, document = heapmodel.rows_of(dump, "retained", "--top", "0")
        self.totals = document["totals"]


def check_tree(heap):
    got = {address_of(row): (address_of(row, "dominator"), row["retained"])
           for row in heap.rows}
    expected = {address: (heap.parent[address], heap.retained[address])
                for address in heap.parent}
    assert len(got) > 5000
    assert got == expected, differences(got, expected)
    order = [(-row["retained"], address_of(row)) for row in heap.rows]
    assert order == sorted(order)


def check_definition(heap, plants):
    """By taking single objects out."""
    model = heap.model
    chosen = [address_of(row) for row in heap.rows[:REMOVED]]
    chosen += [line["address"] for line in plants if "garbage" not in line]
    everything = model.reach(model.held)
    for address in chosen:
        gone = everything - model.reach(model.held, without=address)
        assert model.footprint(gone) == heap.retained[address], hex(address)


def check_sums(heap):
    model = heap.model
    everything = model.reach(model.held)
    top = sum(row["retained"] for row in heap.rows if "dominator" not in row)
    total = model.footprint(model.objects)
    assert top == heap.totals["retained"] == model.footprint(everything)
    assert top + heap.totals["unreached_bytes"] == total
    assert heap.totals["count"] == len(everything) == len(heap.rows)
    assert heap.totals["unreached"] == len(model.objects) - len(everything)


def check_plants(heap, plants):
    """What the target knows."""
    objects = heap.model.objects
    rows = {address_of(row): row for row in heap.rows}
    checked = 0
    for line in plants:
        if "members" not in line:
            continue
        expected = sum(objects[address].footprint
                       for address in line["members"])
        got = rows[line["address"]]["retained"]
        assert got == expected, "%s retains %d, not %d" % (line["name"], got,
                                                           expected)
        checked += 1
    assert checked >= 7


def by_group(heap, group_of):
    """What groups retain, as the definition says: of those that live by nobody
    of the same group."""
    sums = collections.Counter()
    for address in heap.parent:
        group, at = group_of(address), heap.parent[address]
        while at is not None and group_of(at) != group:
            at = heap.parent[at]
        if at is None:
            sums[group] += heap.retained[address]
    return sums


def check_by_type(heap):
    objects = heap.model.objects
    expected = by_group(heap, lambda address: objects[address].type)
    rows, _ = heapmodel.rows_of(heap.dump, "retained", "--by", "type",
                                "--top", "0")
    got = {address_of(row, "type_address"): row["retained"] for row in rows}
    assert {key: value for key, value in got.items() if value} == expected, \
        differences(got, expected)
    rows, _ = heapmodel.rows_of(heap.dump, "types", "--retained", "--top", "0")
    other = {address_of(row, "type_address"): row["retained"] for row in rows}
    assert other == got, differences(other, got)


def check_by_module(heap):
    """Of the modules that names begin with."""
    rows, _ = heapmodel.rows_of(heap.dump, "retained", "--by", "module",
                                "--top", "0")
    got = {row["type"]: row["retained"] for row in rows}
    objects = heap.model.objects
    expected = by_group(heap, lambda address: objects[address].name.startswith(
        "__main__."))[True]
    assert got["__main__"] == expected, (got["__main__"], expected)
    rows, _ = heapmodel.rows_of(heap.dump, "types", "--by", "module",
                                "--sort", "retained", "--top", "0")
    other = {row["type"]: row["retained"] for row in rows}
    assert other == got, differences(other, got)
    order = [row["retained"] for row in rows]
    assert order == sorted(order, reverse=True)


def check_by_owner(heap):
    """What exactly one list or tuple holds. (Whose the others are,
    tests/python/test_owners.py knows.)"""
    objects, into = heap.model.objects, heap.model.into
    asked = {"list", "tuple", "dict", "set", "str", "bytes", "int", "float"}

    def group_of(address):
        holders = set(into.get(address, ())) | set(
            heap.model.guessed.get(address, ()))
        name = objects[address].name
        owner = objects[holders.pop()].name if len(holders) == 1 else ""
        if name in asked and owner in ("list", "tuple"):
            return "%s of %s" % (name, owner)
        return name

    counts = collections.Counter(map(group_of, objects))
    retained = by_group(heap, group_of)
    expected = {name: (counts[name], retained[name]) for name in counts
                if " of " in name}
    assert len(expected) >= 6 and any(
        retained[name] > 10000 for name in expected), expected
    rows, document = heapmodel.rows_of(heap.dump, "types", "--by", "owner",
                                       "--sort", "retained", "--top", "0")
    got = {row["type"]: (row["count"], row["retained"]) for row in rows
           if row["type"] in expected}
    assert got == expected, differences(got, expected)
    order = [row["retained"] for row in rows]
    assert order == sorted(order, reverse=True)
    # A row of objects that nobody owns retains no more than all of the type.
    by_type, _ = heapmodel.rows_of(heap.dump, "types", "--retained", "--top",
                                   "0")
    most = {row["type_address"]: row["retained"] for row in by_type}
    assert all(row["retained"] <= most[row["type_address"]] for row in rows)
    for name in ("list", "__main__.Node"):
        some, _ = heapmodel.rows_of(heap.dump, "types", "--by", "owner",
                                    "--retained", "--top", "0", "--type", name)
        assert {row["type"]: row["retained"] for row in some} == {
            row["type"]: row["retained"] for row in rows
            if row["type"].split(" of ")[0] == name}, name


def sums_of(heap, view):
    rows, _ = heapmodel.rows_of(heap.dump, *view)
    return {row["type"]: (row["count"], row["retained"]) for row in rows}


def check_by_root(heap):
    """What leads to them first."""
    model = heap.model
    starts = collections.defaultdict(set)
    for address in model.held:
        for kind, _, _ in model.roots.get(address, ()):
            starts[RANKS[kind]].add(address)
        if not model.roots.get(address):
            starts["immortal" if model.objects[address].refcount is None
                   else "native code"].add(address)
    left, expected = set(model.objects), {}
    for name in ("interpreters", "frames", "thread states", "the runtime",
                 "native code", "immortal"):
        found = model.reach(starts[name] & left, within=left)
        left -= found
        if found:
            expected[name] = len(found), model.footprint(found)
    expected["nothing"] = len(left), model.footprint(left)
    got = sums_of(heap, ("retained", "--by", "root"))
    assert got == expected, differences(got, expected)


def check_by_thread(heap, plants):
    model = heap.model
    starts = collections.defaultdict(set)
    for address in model.held:
        for _, thread, _ in model.roots.get(address) or [("", 0, "")]:
            starts[thread].add(address)
    none = model.reach(starts.pop(0))
    times, reached = collections.Counter(), {}
    for thread in starts:
        reached[thread] = model.reach(starts[thread]) - none
        times.update(reached[thread])
    groups = {"no thread": none,
              "several threads": {address for address in times
                                  if times[address] > 1},
              "nothing": set(model.objects) - none - set(times)}
    for thread in starts:
        groups["thread %d" % thread] = {
            address for address in reached[thread] if times[address] == 1}
    expected = {name: (len(group), model.footprint(group))
                for name, group in groups.items() if group}
    got = sums_of(heap, ("retained", "--by", "thread"))
    assert got == expected, differences(got, expected)
    named = {line["name"]: line for line in plants}
    assert "thread %d" % named["local of a thread"]["thread"] in got
    assert named["held by two threads"]["address"] in groups["several threads"]


def check_objects(heap, plants):
    """The columns of `objects`, and `object`."""
    model = heap.model
    rows, _ = heapmodel.rows_of(heap.dump, "objects", "--retained", "--top",
                                "0")
    got = {address_of(row): (row["referrers"], row["retained"])
           for row in rows}
    expected = {address: (len(set(model.into[address])),
                          heap.retained.get(address, thing.footprint))
                for address, thing in model.objects.items()}
    assert got == expected, differences(got, expected)
    for key in "referrers", "retained":
        rows, _ = heapmodel.rows_of(heap.dump, "objects", "--sort", key)
        order = [(-row[key], address_of(row)) for row in rows]
        best = sorted((-pair[key == "retained"], address)
                      for address, pair in expected.items())[:20]
        assert order == best, "%s, expected %s" % (order, best)
    for line in plants:
        (row,), _ = heapmodel.rows_of(heap.dump, "object", hex(line["address"]),
                                      "--retained", "--top", "0")
        assert row["retained"] == expected[line["address"]][1], line["name"]
        holders = {address_of(other) for other in row["referrers"]}
        roots = [other for other in row["referrers"] if "address" not in other]
        assert holders - {None} == set(model.into[line["address"]]), \
            line["name"]
        assert len(roots) <= len(model.roots.get(line["address"], ()))


def check_gates(dump):
    for args in (["retained", "--fail-if", "size<16"],
                 ["retained", "--top", "1", "--fail-if", "retained<64"],
                 ["types", "--fail-if", "retained>100K"],
                 ["objects", "--fail-if", "referrers>50"],
                 ["objects", "--top", "0", "--fail-if", "retained>100K"]):
        done = heaptest.heapscan(dump, *args)
        wanted = 0 if "size<16" in args else 5
        assert done.returncode == wanted, "%s: exit %d" % (args,
                                                           done.returncode)
    done = heaptest.heapscan(dump, "types", "--by", "owner", "--fail-if",
                             "retained>100K")
    assert done.returncode == 5, done.stderr
    # What has no meaning is refused, with the view that has it.
    for view, group, other in (("types", "thread", "retained has it"),
                               ("types", "root", "retained has it"),
                               ("retained", "owner", "types has it"),
                               ("cycles", "module", "types has it"),
                               ("objects", "thread", "no meaning")):
        done = heaptest.heapscan(dump, view, "--by", group)
        assert done.returncode == 2 and other in done.stderr, done.stderr
    done = heaptest.heapscan(dump, "info", "--retained")
    assert done.returncode == 2, done.stderr
    header = heaptest.heapscan(dump, "objects", "-f", "csv",
                               "--retained").stdout.splitlines()[0]
    assert header.endswith(",referrers,retained"), header
    header = heaptest.heapscan(dump, "objects", "-f", "csv",
                               "--values").stdout.splitlines()[0]
    assert header.endswith(",size_exact,preview"), header


def check_threads(dump):
    """The number of workers changes nothing, nor does a budget of nothing."""
    for view in (["retained", "--top", "3000"], ["retained", "--by", "type"],
                 ["retained", "--by", "root"], ["types", "--retained"],
                 ["types", "--by", "owner", "--retained"],
                 ["objects", "--retained", "--sort", "referrers"],
                 ["path", "--type", "str"]):
        answers = {heaptest.heapscan(dump, *view, "-f", "json", "--threads",
                                     threads, "--memory", memory).stdout
                   for threads, memory in ((1, "1GiB"), (2, "1GiB"),
                                           (5, "1GiB"), (2, "4K"))}
        assert len(answers) == 1, "%s: %d different answers" % (view,
                                                                len(answers))


def test(interpreter):
    census, dump = heaptest.tmp("plants"), heaptest.tmp("core")
    with heaptest.start_target(interpreter, SCRIPT, census=census) as target:
        with open(census) as file:
            plants = [json.loads(line) for line in file]
        done = heaptest.heapdump("--max-pause", "1m", "-q", "--no-compress",
                                 "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    heap = Heap(dump)
    for name, check in (
            ("dominators", lambda: check_tree(heap)),
            ("what goes with an object",
             lambda: check_definition(heap, plants)),
            ("sums", lambda: check_sums(heap)),
            ("planted structures", lambda: check_plants(heap, plants)),
            ("by type", lambda: check_by_type(heap)),
            ("by module", lambda: check_by_module(heap)),
            ("by owner", lambda: check_by_owner(heap)),
            ("by root", lambda: check_by_root(heap)),
            ("by thread", lambda: check_by_thread(heap, plants)),
            ("objects", lambda: check_objects(heap, plants)),
            ("conditions", lambda: check_gates(dump)),
            ("independent of threads", lambda: check_threads(dump))):
        with heaptest.case("%s: %s" % (interpreter, name)):
            check()
    os.unlink(dump)


for interpreter in heaptest.interpreters(few=True):
    with heaptest.case("%s: target" % interpreter):
        test(interpreter)
heaptest.finish()
