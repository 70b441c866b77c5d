# SPDX-License-Identifier: Apache-2.0
"""`object ADDR` and the values that --values shows, compared with what Python
says of the same objects: sizes, reference counts, generations, what they refer
to. And what is said of addresses at which there is no object."""

import csv
import io
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import heaptest
from heaptest import heapscan

SECRET = "hunter2-secret"

TARGET = r"""
import collections, ctypes, gc, json, os, sys
SECRET = %r

class Node:
    def __init__(self):
        self.number = 5
        self.secret = SECRET
        self.items = [1, 2]

class Slotted:
    __slots__ = ("left", "right", "unset")

class Kept(dict):
    pass

class Finalized:
    alive = []
    def __del__(self):
        Finalized.alive.append(self)

api = ctypes.pythonapi
for name in "PyMem_Malloc", "PyObject_Malloc":
    getattr(api, name).restype = ctypes.c_void_p
    getattr(api, name).argtypes = [ctypes.c_size_t]
api.PyObject_Free.argtypes = [ctypes.c_void_p]

node, slotted, kept, seen = Node(), Slotted(), Kept(), Node()
vars(seen)              # now it has a dict, too
slotted.left, slotted.right = node, SECRET
odd = Node()
odd.__dict__[SECRET] = 1        # an attribute whose name is no identifier
odd.__dict__["x y"] = 2
kept["a key"], kept[(1, 2)] = node, slotted
kept.mark = "m"
loose = {SECRET: [1], 7: node}
many = list(range(5000))
pair = (node, many)
some = {"only " + SECRET}
queue = collections.deque([node] * 150)
rest = collections.namedtuple("Rest", "one two")(1, node)
Finalized()
gc.collect()
gc.collect()
gc.freeze()
gc.collect()
young = [Node()]
gc.disable()

def facts(name, thing):
    where = None
    for generation in range(3 if sys.version_info >= (3, 8) else 0):
        if any(other is thing for other in gc.get_objects(generation)):
            where = generation
    return {"name": name, "address": id(thing), "size": sys.getsizeof(thing),
            "tracked": gc.is_tracked(thing), "generation": where,
            "type": type(thing).__qualname__}

old = [[name, globals()[name]] for name in
       "node slotted kept seen loose many pair some queue rest odd young"
       .split()]
old.append(["finalized", Finalized.alive[0]])
old.append(["class", Node])
listed = [facts(*pair) for pair in old]
for entry, pair_ in zip(listed, old):
    entry["refcount"] = ctypes.c_uint32.from_address(id(pair_[1])).value

def first(size):
    block = api.PyMem_Malloc(size)
    ctypes.memset(block, 0x41, size)
    return block

freed = [api.PyObject_Malloc(488) for _ in range(5)]
api.PyObject_Free(freed[2])
print("FACTS", json.dumps({
    "objects": listed,
    "ids": {"node.items": id(node.items), "five": id(node.number),
            "str": id(SECRET), "Node": id(Node), "one": id(1),
            "int": id(int),
            "list": id(loose[SECRET]), "Kept": id(Kept)},
    "buffer": ctypes.c_uint64.from_address(id(many) + 24).value,
    "raw": first(200), "free": freed[2],
}))
print("READY", os.getpid(), flush=True)
sys.stdin.read()
""" % SECRET


class Case:
    """The dump of a target, and what the target said of itself."""

    def __init__(self, core, printed):
        self.core = core
        self.facts = json.loads(re.search("^FACTS (.*)", printed, re.M)[1])
        self.objects = {fact["name"]: fact for fact in self.facts["objects"]}
        self.ids = self.facts["ids"]

    def show(self, address, *options, status=0):
        done = heapscan(self.core, "object", address if isinstance(
            address, str) else hex(address), *options)
        assert done.returncode == status, "exit %d: %s" % (done.returncode,
                                                           done.stderr)
        return done

    def row(self, name, *options):
        done = self.show(self.objects[name]["address"], "-f", "json", *options)
        answer = json.loads(done.stdout)
        assert answer["schema"] == "heapscan.object/1"
        assert len(answer["rows"]) == 1
        row = answer["rows"][0]
        assert answer["totals"]["fields"] >= len(row["fields"])
        return row

    def fields(self, name, *options):
        """{name: address} of its fields."""
        return {field["name"]: int(field["address"], 16)
                for field in self.row(name, *options)["fields"]}


def test_facts(case, interpreter):
    for name, fact in case.objects.items():
        with heaptest.case("%s: %s" % (interpreter.name, name)):
            row = case.row(name)
            assert int(row["address"], 16) == fact["address"]
            assert row["type"].endswith(fact["type"]), row["type"]
            assert row["size"] == fact["size"] and row["size_exact"] is True
            assert row["gc_tracked"] is fact["tracked"], row
            assert row["immortal"] is False
            assert row["refcount"] == fact["refcount"], (row, fact)
            assert row["evidence"] == "certain", row
            assert "static" not in row.get("flags", "")
            assert row["referrers"] and "preview" not in row
            assert SECRET not in json.dumps(row)
    with heaptest.case(interpreter.name + ": generations"):
        # Frozen ones are in none of the three.
        assert case.row("young")["generation"] == \
            case.objects["young"]["generation"]
        row = case.row("node")
        assert case.objects["node"]["generation"] is None
        assert "generation" not in row and "frozen" in row["flags"], row
    with heaptest.case(interpreter.name + ": a type in C"):
        row = json.loads(case.show(case.ids["int"], "-f", "json").stdout)[
            "rows"][0]
        assert row["type"] == "type" and "static" in row["flags"], row
        assert row["gc_tracked"] is False
    with heaptest.case(interpreter.name + ": finalized"):
        assert "finalized" in case.row("finalized")["flags"]
        assert "finalized" not in case.row("node").get("flags", "")


def test_fields(case, interpreter):
    ids, objects = case.ids, {name: fact["address"] for name, fact in
                              case.objects.items()}
    with heaptest.case(interpreter.name + ": attributes"):
        fields = case.fields("node")
        fields.pop("__dict__", None)
        assert fields == {"__class__": ids["Node"], "number": ids["five"],
                          "secret": ids["str"], "items": ids["node.items"]}
        names = [field["name"] for field in case.row("seen")["fields"]]
        assert sorted(names) == ["__class__", "__dict__", "items", "number",
                                 "secret"], names
    with heaptest.case(interpreter.name + ": slots"):
        fields = case.fields("slotted")
        assert fields.pop("__class__")
        assert fields == {"left": objects["node"], "right": ids["str"]}
    with heaptest.case(interpreter.name + ": items of a tuple"):
        fields = case.fields("pair")
        assert fields["[0]"] == objects["node"]
        assert fields["[1]"] == objects["many"] and len(fields) == 3
    with heaptest.case(interpreter.name + ": items of a deque"):
        fields = case.fields("queue", "--top", "0")
        assert [fields["[%d]" % i] for i in range(150)] == \
            [objects["node"]] * 150
    with heaptest.case(interpreter.name + ": entries of a dict"):
        fields = case.fields("loose")
        assert fields["entry 0"] == ids["list"]
        assert fields["entry 1"] == objects["node"] and "key 1" in fields
        fields = case.fields("loose", "--values")
        assert fields["[%r]" % SECRET] == ids["list"]
        assert fields["[7]"] == objects["node"]
    with heaptest.case(interpreter.name + ": a dict with attributes"):
        fields = case.fields("kept", "--values")
        assert fields["['a key']"] == objects["node"]
        assert fields["[(1, 2)]"] == objects["slotted"]
        assert "mark" in fields
        assert fields["__class__"] == ids["Kept"]
    with heaptest.case(interpreter.name + ": names that are no identifiers"):
        fields = case.fields("odd")
        assert "x y" not in fields and SECRET not in fields
        fields = case.fields("odd", "--values")
        assert fields["[%r]" % SECRET] == ids["one"] and "['x y']" in fields
    with heaptest.case(interpreter.name + ": a set"):
        assert case.fields("some", "--values").keys() == {"__class__",
                                                          "element 0"}
    with heaptest.case(interpreter.name + ": --top"):
        row = case.row("many")
        assert len(row["fields"]) == 20
        done = case.show(objects["many"], "--top", "0", "-f", "ndjson")
        assert len(json.loads(done.stdout)["fields"]) == 5001
        done = case.show(objects["many"], "--top", "3")
        assert "4,998 more" in done.stdout, done.stdout


def test_values(case, interpreter):
    with heaptest.case(interpreter.name + ": previews"):
        row = case.row("loose", "--values")
        assert row["preview"] == "{%r: [1], 7: <__main__.Node object at %s>}" \
            % (SECRET, hex(case.objects["node"]["address"]))
        previews = {field["name"]: field["preview"]
                    for field in case.row("node", "--values")["fields"]}
        assert previews["secret"] == repr(SECRET)
        assert previews["number"] == "5" and previews["items"] == "[1, 2]"
        assert previews["__class__"] == "<class '__main__.Node'>"
        assert case.row("rest", "--values")["preview"].startswith(
            "Rest(one=1, two=<")
    with heaptest.case(interpreter.name + ": previews of objects"):
        options = "objects", "--type", "list", "-n0", "-f", "json"
        without = heapscan(case.core, *options)
        done = heapscan(case.core, *options, "--values")
        rows = json.loads(done.stdout)["rows"]
        assert all("preview" in row for row in rows)
        by_address = {int(row["address"], 16): row for row in rows}
        assert by_address[case.ids["node.items"]]["preview"] == "[1, 2]"
        many = by_address[case.objects["many"]["address"]]["preview"]
        assert many.startswith("[0, 1, 2, ") and many.endswith("\u2026")
        for row in rows:
            del row["preview"]
        assert rows == json.loads(without.stdout)["rows"]
        largest = heapscan(case.core, "objects", "--type", "list", "--values")
        assert "[0, 1, 2" in largest.stdout
    with heaptest.case(interpreter.name + ": no values unless asked for"):
        for options in (("objects", "-n0"), ("objects", "-n0", "-f", "csv"),
                        ("objects", "-n50", "-f", "json")):
            done = heapscan(case.core, *options)
            assert done.returncode == 0 and done.stdout
            assert SECRET not in done.stdout, options
        for fact in case.objects.values():
            assert SECRET not in case.show(fact["address"], "-n0").stdout
        assert SECRET in heapscan(case.core, "objects", "-n0", "--type", "str",
                                  "--values").stdout


def test_formats(case, interpreter):
    address = case.objects["loose"]["address"]
    row = case.row("loose", "--values")
    with heaptest.case(interpreter.name + ": formats"):
        done = case.show(address, "-f", "ndjson", "--values")
        assert done.stdout.count("\n") == 1 and json.loads(done.stdout) == row
        rows = list(csv.DictReader(io.StringIO(
            case.show(address, "-f", "csv", "--values").stdout)))
        assert len(rows) == 1 and rows[0]["address"] == row["address"]
        assert int(rows[0]["size"]) == row["size"]
        text = case.show(address, "--values").stdout
        for word in (row["address"], "dict", "FIELDS", "__class__", "tracked"):
            assert word in text, word
        assert "| __class__" in case.show(address, "-f", "md").stdout.replace(
            "\\", "")
    with heaptest.case(interpreter.name + ": threads do not change it"):
        answers = {case.show(address, "-f", "json", "--values", "--threads",
                             threads).stdout for threads in "125"}
        assert len(answers) == 1
    with heaptest.case(interpreter.name + ": other ways to ask"):
        whole = case.show(address).stdout
        assert heapscan("object", case.core, str(address)).stdout == whole
        assert case.show(hex(address).upper().replace("X", "x")).stdout == whole
    with heaptest.case(interpreter.name + ": --fail-if"):
        case.show(address, "--fail-if", "size>10", status=5)
        case.show(address, "--fail-if", "fields>10")


def test_addresses(case, interpreter):
    node, many = (case.objects[name]["address"] for name in ("node", "many"))
    with heaptest.case(interpreter.name + ": an address inside of an object"):
        done = case.show(node + 9)
        assert done.stdout == case.show(node).stdout
        assert "9 bytes inside of the __main__.Node at %#x" % node \
            in done.stderr, done.stderr
        assert case.show(node).stderr == ""
        assert case.show(node + 9, "-q").stderr == ""
    with heaptest.case(interpreter.name + ": the words before an object"):
        done = case.show(node - 8)
        assert "8 bytes before the __main__.Node at %#x" % node \
            in done.stderr, done.stderr
    for what, address, words in (
            ("start of a buffer", case.facts["buffer"], "list at %#x" % many),
            ("middle of a buffer", case.facts["buffer"] + 8 * 700,
             "list at %#x" % many),
            ("raw memory", case.facts["raw"], "C code"),
            ("raw memory, inside", case.facts["raw"] + 100, "C code"),
            ("free memory", case.facts["free"], "free memory"),
            ("nothing", 0x10, "no memory was mapped"),
            ("beyond all", (1 << 64) - 1, "no memory was mapped")):
        with heaptest.case("%s: %s" % (interpreter.name, what)):
            done = case.show(address, status=1)
            assert done.stdout == ""
            assert "%#x is no object" % address in done.stderr, done.stderr
            assert words in done.stderr, done.stderr


def test_interpreter(interpreter):
    script, core = heaptest.tmp("target.py"), heaptest.tmp("core")
    with open(script, "w") as file:
        file.write(TARGET)
    with heaptest.start_target(interpreter, script) as target:
        heaptest.plain_core(target.pid, core)
        case = Case(core, target.printed())
    test_facts(case, interpreter)
    test_fields(case, interpreter)
    test_values(case, interpreter)
    test_formats(case, interpreter)
    test_addresses(case, interpreter)
    os.unlink(core)


def main():
    interpreters = heaptest.interpreters()
    for interpreter in interpreters:
        if interpreter.free_threaded:
            heaptest.skip(interpreter.name + ": object",
                          "free-threaded builds have no generations")
        elif not interpreter.name.endswith("-loader"):
            test_interpreter(interpreter)
    for release in heaptest.absent_releases(interpreters):
        heaptest.skip("%s: object" % release,
                      "this machine has no such interpreter")
    heaptest.finish()


main()
