# SPDX-License-Identifier: Apache-2.0
"""A heap as a graph in Python: what refdump and rootdump print of a dump, put
together by the definitions, and questions answered in the plainest way. Slow,
for small heaps."""

import array
import collections
import json
import os

import heaptest

STRONG = {"traversed", "untraversed"}
Object = collections.namedtuple("Object", "type name footprint size refcount")


def rows_of(dump, *args, status=(0,)):
    """The rows of a view, and its whole document."""
    path = heaptest.tmp("answer.json")
    done = heaptest.heapscan(dump, *args, "-f", "json", "-o", path)
    assert done.returncode in status, "%s: exit %d: %s" % (
        " ".join(map(str, args)), done.returncode, done.stderr[-600:])
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    os.unlink(path)
    return document["rows"], document


class Model:
    """.objects  {address: Object}, refcount None where immortal
    .out, .into  {address: [addresses]} of references that hold, each count once
    .roots       {address: [(kind, thread)]} of roots that hold
    .held        addresses that something outside holds
    """

    def __init__(self, dump):
        rows, _ = rows_of(dump, "objects", "--top", "0")
        self.objects = {
            int(row["address"], 16): Object(
                int(row["type_address"], 16), row["type"], row["footprint"],
                row["size"], row.get("refcount")) for row in rows}
        self.out = collections.defaultdict(list)
        self.into = collections.defaultdict(list)
        # References that hold an object though its count does not tell of them.
        self.uncounted = collections.Counter()
        guessed = collections.defaultdict(list)
        for holder, referent, hold in self.references(dump):
            if hold in STRONG:
                self.add(holder, referent)
            elif hold == "deferred":
                self.add(holder, referent)
                self.uncounted[referent] += 1
            elif hold == "guessed":
                guessed[referent].append(holder)
        # Who may hold an object: in doubt it has several owners.
        self.guessed = guessed
        self.roots, maybe = self.read_roots(dump)
        self.audit(guessed, maybe)

    def add(self, holder, referent):
        self.out[holder].append(referent)
        self.into[referent].append(holder)

    def references(self, dump):
        path = heaptest.tmp("references")
        done = heaptest.run([heaptest.program("tests/tools/refdump"),
                             "--doubt", "--words", path, dump])
        assert done.returncode == 0, done.stderr
        holds = [line.split(" ", 2)[1] for line in done.stdout.splitlines()]
        words = array.array("Q")
        with open(path, "rb") as file:
            words.fromfile(file, os.path.getsize(path) // 8)
        os.unlink(path)
        for holder, referent, number in zip(words[0::3], words[1::3],
                                            words[2::3]):
            if holder in self.objects and referent in self.objects:
                yield holder, referent, holds[number]

    def read_roots(self, dump):
        done = heaptest.run([heaptest.program("tests/tools/rootdump"), dump])
        assert done.returncode == 0, done.stderr
        owned = collections.defaultdict(list)
        maybe = collections.defaultdict(list)
        for line in done.stdout.splitlines():
            _, kind, hold, address, _, thread, _, name, _ = \
                line.split(" ", 8)
            address = int(address, 16)
            if address in self.objects and hold in ("owned", "traversed",
                                                    "deferred"):
                self.uncounted[address] += hold == "deferred"
                owned[address].append((kind, int(thread), name))
            elif address in self.objects and hold == "guessed":
                maybe[address].append((kind, int(thread), name))
        return owned, maybe

    def audit(self, guessed, maybe):
        """Counts tell which guesses hold, and what native code does."""
        self.held = set()
        for address, found in self.objects.items():
            owned = self.roots.get(address, ())
            known = len(self.into[address]) + len(owned)
            guesses = guessed.get(address, ())
            if found.refcount is None or owned:
                self.held.add(address)
            wanted = found.refcount
            if wanted is not None:
                wanted += self.uncounted[address]
            if wanted is None or known < wanted:
                for holder in guesses:
                    self.add(holder, address)
            if wanted is not None and known + len(guesses) < wanted:
                self.held.add(address)
                if address in maybe:
                    self.roots[address] = owned = list(owned) + maybe[address]

    def reach(self, starts, without=None, within=None):
        """All that can be reached."""
        seen = {start for start in starts if start != without}
        pending = list(seen)
        while pending:
            for referent in self.out[pending.pop()]:
                if referent not in seen and referent != without and (
                        within is None or referent in within):
                    seen.add(referent)
                    pending.append(referent)
        return seen

    def footprint(self, addresses):
        return sum(self.objects[address].footprint for address in addresses)

    def dominators(self):
        """{address: the nearest dominator, or None} of all that is reached, by
        going round until nothing changes (Cooper, Harvey and Kennedy)."""
        order, number = self.postorder()
        parent = {None: None}
        changed = True

        def common(a, b):
            while a != b:
                while number[a] < number[b]:
                    a = parent[a]
                while number[b] < number[a]:
                    b = parent[b]
            return a

        while changed:
            changed = False
            for address in reversed(order):
                best = None
                if address not in self.held:
                    holders = [holder for holder in self.into[address]
                               if holder in parent and holder != address]
                    best = holders[0]
                    for holder in holders[1:]:
                        best = common(best, holder)
                if parent.get(address, address) != best:
                    parent[address] = best
                    changed = True
        del parent[None]
        return parent

    def postorder(self):
        order, number, seen = [], {}, set()
        for start in sorted(self.held):
            if start in seen:
                continue
            seen.add(start)
            steps = [(start, iter(self.out[start]))]
            while steps:
                address, referents = steps[-1]
                for referent in referents:
                    if referent not in seen:
                        seen.add(referent)
                        steps.append((referent, iter(self.out[referent])))
                        break
                else:
                    steps.pop()
                    number[address] = len(order)
                    order.append(address)
        number[None] = len(order)
        return order, number
