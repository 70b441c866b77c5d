# SPDX-License-Identifier: Apache-2.0
"""What extension modules keep outside of Python's own structures, held against
what they say of it: frames in suspended greenlets, data of numpy's arrays, blocks
and hash tables of pandas, memory of pyarrow. The packages come from
fetch_packages.sh."""

import collections
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest
import references

SCRIPT = os.path.join(HERE, "extensions_target.py")
WANTED = {
    (3, 8): ["greenlet", "numpy"], (3, 10): ["greenlet"],
    (3, 12): ["greenlet", "gevent", "numpy", "pandas", "pyarrow"],
    (3, 13): ["greenlet", "gevent"],
}
ROUNDING = 64       # bytes that blocks of allocators are larger than asked for


class Dump:
    """A dump of the target, and what it said.

    .facts    what it printed
    .garbage  addresses of what its collector found, after the dump
    .rows     {address: row} of `objects` for the types asked for
    """

    def __init__(self, interpreter):
        self.path = heaptest.tmp("dump.zst")
        with heaptest.start_target(interpreter, SCRIPT) as target:
            done = heaptest.heapdump("--max-pause", "1m", "-q", "-o",
                                     self.path, target.pid)
            assert done.returncode == 0, done.stderr
            target.process.stdin.write(b"\n")
            target.process.stdin.flush()
            while "\nGARBAGE" not in target.printed():
                assert target.process.poll() is None, target.printed()[-2000:]
            printed = target.printed()
        self.facts = json.loads(re.search("^FACTS (.*)$", printed, re.M)[1])
        self.garbage = set(json.loads(
            re.search("^GARBAGE (.*)$", printed, re.M)[1]))
        self.rows = {int(row["address"], 16) if isinstance(
            row["address"], str) else row["address"]: row
            for row in self.ask("objects", "--match",
                                r"Load|numpy\.ndarray|Mine|HashTable|pyarrow"
                                r"|greenlet\.greenlet$",
                                "--top", "0")}

    def ask(self, *question):
        done = heaptest.heapscan(self.path, *question, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["rows"]

    def path_to(self, address):
        rows = self.ask("path", hex(address), "--top", "1")
        return rows[0].get("path") if rows else None


def tool(name, *args):
    return subprocess.run([heaptest.program("tests/tools/" + name), *args],
                          capture_output=True, text=True,
                          check=True).stdout.splitlines()


# ---- greenlet

def check_greenlets(name, version, dump):
    heap = references.Heap(dump.path)
    told = collections.defaultdict(list)
    for (holder, referent), number in zip(zip(heap.holders, heap.referents),
                                          heap.numbers):
        told[holder].append((referent, heap.kinds[number]))
    types = set(heap.types.values())
    with heaptest.case(name + ": greenlets refer to what the collector visits"):
        # Of those that are active it says nothing.
        idle = [each for each in dump.facts["greenlets"] if not each["active"]]
        assert len(idle) == 6, idle
        for each in idle:
            visited = sorted(referent for referent, kind
                             in told[each["address"]]
                             if kind.hold == "traversed")
            assert visited == each["refers"], (each, visited)
    with heaptest.case(name + ": greenlets hold their frames' variables"):
        missing = []
        seen = 0
        for each in dump.facts["greenlets"]:
            assert bool(each["frames"]) == each["active"], each
            mine = told[each["address"]]
            # Frames that are objects, a generator on the stack, cells.
            within = {referent for referent, _ in mine}
            for _ in range(2):
                within |= {referent for holder in within
                           if holder not in types
                           for referent, _ in told[holder]}
            for function, variables in each["frames"]:
                for variable, address in variables.items():
                    seen += 1
                    if address not in within:
                        missing.append((function, variable, hex(address)))
        assert not missing, missing[:5]
        assert seen > 100, seen
    loads = {address for address, row in dump.rows.items()
             if row["type"].endswith(".Load")}
    # Up to 3.10 what C functions hold on stacks that wait is not told.
    if version >= (3, 11):
        heaptest.check(name + ": who holds what is in greenlets is known",
                       not [row for row in dump.ask("refcounts", "--top", "0")
                            if row["type"].endswith(".Load")],
                       "counts of Load are not explained")
    with heaptest.case(name + ": the collector leaves suspended greenlets"):
        found = collections.defaultdict(set)
        for line in tool("collectordump", dump.path):
            kind, *addresses = line.split()
            found[kind].update(int(address, 16) for address in addresses)
        heaptest.equal(name + ": garbage", loads & found["garbage"],
                       loads & dump.garbage)
        assert len(loads & dump.garbage) == 3
    # Chunks of their data stacks have 16 KiB, and few frames take a page.
    large = [row for row in dump.rows.values()
             if row["type"] == "greenlet.greenlet" and
             row["footprint"] >= 16 << 10]
    heaptest.check(name + ": what no frame has used takes no memory",
                   not large, large[:3])
    deep = next(variables["here"] for each in dump.facts["greenlets"]
                for function, variables in each["frames"]
                if function == "middle")
    path = dump.path_to(deep)
    heaptest.check(name + ": the path leads over the greenlet", re.fullmatch(
        r"extensions_target\.py:HELD\[\.\.\.\]\[0\]\[\d+\](\.gr_frame)?"
        r"\.<local (load in deepest\(\)|load)>", path), path)
    heaptest.check(name + ": what holds itself is no garbage",
                   dump.path_to(dump.facts["lonely"]) is not None, "no path")


# ---- data

def check_arrays(name, dump):
    wrong = []
    for each in dump.facts["arrays"]:
        row = dump.rows.get(each["address"])
        if not row or row["size"] != each["size"] or not row["size_exact"] or \
                not row["size"] <= row["footprint"] <= row["size"] + ROUNDING:
            wrong.append((each, row))
    heaptest.check(name + ": arrays are as large as sys.getsizeof says",
                   not wrong, wrong[:3])
    views = [each for each in dump.facts["arrays"] if not each["held"]]
    heaptest.check(name + ": views hold nothing", len(views) > 4 and all(
        dump.rows[each["address"]]["footprint"] < 96 + 64 + ROUNDING
        for each in views), views)
    with heaptest.case(name + ": object tells shape, items and data of arrays"):
        for each in dump.facts["arrays"]:
            row, = dump.ask("object", hex(each["address"]))
            got, wanted = row["array"], dict(each["array"])
            # An array without items may have its data anywhere.
            if wanted["bytes"] == 0:
                wanted["data_ptr"] = got["data_ptr"]
            # The unit of a time is in memory of its dtype's own.
            wanted["dtype"] = wanted["dtype"].partition("[")[0]
            assert got.get("base") == each["base"], (got, each)
            assert {key: got[key] for key in wanted} == wanted, (got, wanted)
            held = {place["address"] for place in row["outside"]}
            assert (got["data_ptr"] in held) == wanted["owns_data"], row
    suspects = [row.get("path") for row in dump.ask("suspects")]
    # Two dicts hold it, the one of them a variable of a function that runs.
    heaptest.check(name + ": a large array is a suspect", any(
        re.search(r"^(extensions_target\.py:HELD|local kept)\[\.\.\.\]\[1\]",
                  path or "") for path in suspects), suspects)


def check_pandas(name, dump):
    wrong = [(each, dump.rows.get(each["address"]))
             for each in dump.facts["columns"]
             if not each["bytes"] <= dump.rows[each["address"]]["footprint"]
             <= each["bytes"] + 256]
    heaptest.check(name + ": blocks hold the columns", not wrong, wrong)
    wrong = [(each, dump.rows.get(each["address"]))
             for each in dump.facts["tables"]
             if not each["bytes"] <= dump.rows[each["address"]]["footprint"]
             <= each["bytes"] + 256]
    heaptest.check(name + ": hash tables of indexes", not wrong, wrong)
    ways = {row.get("path", "") for row in dump.ask("path", "--type", "__main__.Load")}
    heaptest.check(name + ": the path leads into the block", any(
        re.search(r"\._mgr\.blocks\[0\]\.values\[\d+\]$", path)
        for path in ways), ways)


def check_arrow(name, dump):
    """Each buffer once, by what the pool has given in all."""
    held = sum(row["footprint"] - row["size"] for row in dump.rows.values()
               if row["type"].startswith("pyarrow.lib."))
    fact = dump.facts["arrow"]
    heaptest.check(name + ": memory of pyarrow has owners",
                   0 <= held - (fact["total"] - fact["shared"]) <= 8192,
                   "%d of %s" % (held, fact))


def test(interpreter):
    name = interpreter.name
    dump = Dump(interpreter)
    versions = dump.facts["versions"]
    print("# %s: %s" % (name, versions))
    for package in WANTED.get(interpreter.version[:2], ()):
        if package not in versions:
            heaptest.skip("%s: %s" % (name, package),
                          "not installed: tests/python/fetch_packages.sh")
    if "greenlet" in versions:
        check_greenlets(name, interpreter.version, dump)
    if "numpy" in versions:
        check_arrays(name, dump)
    if "pandas" in versions:
        check_pandas(name, dump)
    if "pyarrow" in versions:
        check_arrow(name, dump)
    done = heaptest.heapscan(dump.path, "types", "--format", "json")
    heaptest.equal(name + ": findings",
                   json.loads(done.stdout)["dump"]["findings"], 0)


found = heaptest.with_extensions()
for interpreter in found:
    with heaptest.case(interpreter.name):
        test(interpreter)
if not found:
    heaptest.skip("greenlets, arrays and tables of extension modules",
                  "none here: tests/python/fetch_packages.sh fetches them")
heaptest.finish()
