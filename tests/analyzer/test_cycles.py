# SPDX-License-Identifier: Apache-2.0
"""Garbage and cycles, held against what CPython's own collector does with the
same heap: twins of the dumped process collect, see cycles_target.py. And the
views made of that: cycles, gc."""

import collections
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import damage
import elfcore
import heaptest

TARGET = os.path.join(HERE, "cycles_target.py")


class Subject:
    """A dump, and what its twins told.

    .core     its path
    .saveall .plain     what the twins told
    .sets     {name: addresses} and .components, by collectordump
    """

    def __init__(self, interpreter, *args):
        self.frozen = "--freeze" in args
        self.collecting = "--collecting" in args
        self.core = heaptest.tmp("core")
        with heaptest.start_target(interpreter, TARGET, args) as target:
            done = heaptest.heapdump("-q", "--no-compress", "--max-pause",
                                     "1m", "-o", self.core, target.pid)
            assert done.returncode == 0, done.stderr
            target.process.stdin.write(b"\n")
            target.process.stdin.flush()
            while "TOLD" not in target.printed():
                assert target.process.poll() is None, target.printed()[-2000:]
            told = {line["twin"]: line for line in map(json.loads, (
                line for line in target.printed().splitlines()
                if line.startswith("{")))}
        self.saveall, self.plain = told["saveall"], told["plain"]
        done = heaptest.run([os.path.join(heaptest.BUILD, "tests", "tools",
                                          "collectordump"), self.core])
        assert done.returncode == 0, done.stderr
        self.sets = collections.defaultdict(set)
        self.components = []
        for line in done.stdout.splitlines():
            name, *addresses = line.split()
            addresses = [int(address, 16) for address in addresses]
            if name == "component":
                self.components.append(frozenset(addresses))
            else:
                self.sets[name].update(addresses)

    def answer(self, *args):
        done = heaptest.heapscan(self.core, *args, "-f", "json")
        assert done.returncode == 0, "exit %d: %s" % (done.returncode,
                                                      done.stderr)
        return json.loads(done.stdout)

    def described(self, addresses):
        """Types of some objects, for whoever reads why a test failed."""
        count = collections.Counter()
        for address in sorted(addresses)[:40]:
            done = heaptest.heapscan(self.core, "object", hex(address), "-f",
                                     "json", "-q")
            rows = json.loads(done.stdout or "{}").get("rows") or [{}]
            count[rows[0].get("type", "?")] += 1
        return "%d objects: %s" % (len(addresses), dict(count))


def same(subject, what, got, expected, told):
    """Two sets of tracked objects are the same, but for those where a twin has
    an object again."""
    expected &= subject.sets["tracked"]
    many = (got & subject.sets["tracked"]) - expected - set(told["unsure"])
    missing = expected - got
    assert not many and not missing, "%s: too many: %s; missing: %s" % (
        what, subject.described(many), subject.described(missing))


def components_of(graph):
    """Strongly connected components of {node: nodes}, without recursion, of
    more than one node or with an edge to itself (Kosaraju)."""
    order, seen = [], set()
    for root in graph:
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(graph[root]))]
        while stack:
            node, edges = stack[-1]
            for target in edges:
                if target in graph and target not in seen:
                    seen.add(target)
                    stack.append((target, iter(graph[target])))
                    break
            else:
                order.append(node)
                stack.pop()
    back = collections.defaultdict(list)
    for node, edges in graph.items():
        for target in edges:
            back[target].append(node)
    found, placed = set(), set()
    for root in reversed(order):
        if root in placed:
            continue
        placed.add(root)
        component, stack = [], [root]
        while stack:
            node = stack.pop()
            component.append(node)
            for source in back[node]:
                if source not in placed:
                    placed.add(source)
                    stack.append(source)
        if len(component) > 1 or root in graph[root]:
            found.add(frozenset(component))
    return found


def test_garbage(subject):
    """What the collector finds, and what it frees."""
    sets, told = subject.sets, subject.saveall
    assert len(told["garbage"]) > 1000, len(told["garbage"])
    # Closing a generator frees what its frame alone held, before anything is
    # put into gc.garbage.
    same(subject, "garbage", sets["garbage"],
         set(told["garbage"]) | set(told["gone"]), told)
    # A class takes the weak reference with it by which its base knows it.
    told = subject.plain
    same(subject, "freed", sets["freed"] - set(told["references"]),
         set(told["gone"]) - set(told["references"]), told)
    assert sets["garbage"] - sets["freed"] == sets["uncollectable"]
    assert len(sets["uncollectable"]) == told["uncollectable"] > 8, told[
        "uncollectable"]
    assert len(told["garbage"]) == 3
    assert set(told["garbage"]) < sets["uncollectable"]


def test_components(subject):
    garbage = subject.sets["garbage"]
    graph = {int(node): [int(edge) for edge in edges.split()]
             for node, edges in subject.saveall["referents"].items()
             if int(node) in garbage}
    expected = components_of(graph)
    got = {component for component in subject.components
           if component & garbage}
    assert len(expected) > 100, len(expected)
    for component in list(expected - got)[:3] + list(got - expected)[:3]:
        print("# %s: %s" % ("missing" if component in expected else "extra",
                            subject.described(component)))
    assert got == expected, "%d too many, %d missing" % (
        len(got - expected), len(expected - got))


def test_cycles_view(subject):
    answer = subject.answer("cycles", "-n", "0")
    rows, totals = answer["rows"], answer["totals"]
    by_sample = {min(component): component for component in subject.components}
    assert len(rows) == len(by_sample) == totals["cycles"]
    for row in rows:
        component = by_sample[int(row["sample"], 16)]
        assert row["objects"] == len(component), row
        assert row["garbage"] == bool(component & subject.sets["garbage"]), row
        assert "count" not in row
    assert rows == subject.answer("cycles", "-n", "0", "--threads", 1)["rows"]
    order = [(not row["garbage"], -row["size"]) for row in rows]
    assert order == sorted(order)
    garbage = [row for row in rows if row["garbage"]]
    assert totals["garbage_cycles"] == len(garbage)
    for key in "objects", "size", "finalizers":
        assert totals["garbage_" + key] == sum(row[key] for row in garbage)
    assert totals["objects"] == sum(row["objects"] for row in rows)


def test_groups(subject):
    every = subject.answer("cycles", "-n", "0", "--match", "Finalized$")
    groups = subject.answer("cycles", "-n", "0", "--match", "Finalized$",
                            "--by", "type")
    # Three are garbage, three live; instances of 3.8 to 3.10 have dicts.
    assert [row["garbage"] for row in every["rows"]] == [True] * 3 + [False] * 3
    assert all(row["finalizers"] == 1 for row in every["rows"]), every
    assert [(row["count"], row["garbage"], row["finalizers"])
            for row in groups["rows"]] == [(3, True, 3), (3, False, 3)], groups
    assert groups["totals"] == every["totals"]
    assert "__main__.Finalized 1" in groups["rows"][0]["types"]


def test_gc_view(subject):
    answer = subject.answer("gc")
    rows, totals, sets = answer["rows"], answer["totals"], subject.sets
    state = subject.plain["state"]
    assert totals["garbage"] == len(sets["garbage"])
    assert totals["freed"] == len(sets["freed"])
    assert totals["tracked"] == len(sets["tracked"])
    assert totals["frozen"] == len(sets["frozen"])
    # Until a twin counts them a few of those go.
    assert 0 <= totals["frozen"] - state["frozen"] < 20, (totals, state)
    assert totals["garbage_uncollectable"] == len(sets["uncollectable"]) > 0
    assert totals["enabled"] is False and totals["collecting"] is subject.collecting
    assert totals["gc_garbage"] == 0
    assert totals["freed_bytes"] > 16 * totals["freed"]
    # Closing generators runs what is in their finally.
    assert totals["finalizers"] >= subject.plain["finalized"] > 6
    assert subject.plain["returned"] <= totals["garbage"], subject.plain[
        "returned"]
    for row, stats, threshold in zip(rows, state["stats"], state["threshold"]):
        for key, value in stats.items():
            if key in row:
                assert row[key] == value, (row, stats)
        assert row["threshold"] == threshold
    assert len(rows) == 3


def test_broken_list(subject):
    """A link of the list of frozen objects leads nowhere."""
    with elfcore.ElfCore(subject.core) as core:
        address = sorted(subject.sets["frozen"])[100] - 16
        segment = core.segment_at(address)
        at = segment.offset + address - segment.vaddr
    whole = subject.answer("gc")["totals"]
    with damage.patched(subject.core, (at, b"\x08" + bytes(7))) as spoilt:
        done = heaptest.heapscan(spoilt, "gc", "-v", "-f", "json")
        assert done.returncode in (0, 3), done.stderr
        assert "gc-list" in done.stderr, done.stderr
        totals = json.loads(done.stdout)["totals"]
    # What is beyond is found from the other end.
    assert whole["frozen"] - totals["frozen"] <= 1, totals
    assert totals["garbage"] == whole["garbage"], totals


found = heaptest.interpreters(few=True)
for interpreter in found:
    for args in [], ["--freeze"], ["--collecting"]:
        name = " ".join([interpreter.name, *args])
        with heaptest.case(name + ": dumped"):
            subject = Subject(interpreter, *args)
        for test in [test_garbage, test_components, test_cycles_view,
                     test_groups, test_gc_view, *[test_broken_list] * (
                         subject.frozen and not interpreter.free_threaded)]:
            with heaptest.case("%s: %s" % (name, test.__name__)):
                test(subject)
heaptest.finish()
