# SPDX-License-Identifier: Apache-2.0
"""`path`: what holds an object, in words and step by step: held against what
the target planted, a breadth-first search that it made itself, and the
references that refdump tells."""

import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heapmodel
import heaptest

SCRIPT = os.path.join(HERE, "views_target.py")
GARBAGE = 4             # nodes that nothing holds


def paths_of(dump, address, *options):
    rows, document = heapmodel.rows_of(dump, "path", hex(address), *options)
    assert document["totals"]["paths"] == len(rows)
    return rows


def steps_of(row):
    return [int(step["address"], 16) for step in row["steps"]]


def check_words(dump, line):
    for option, key in (([], "path"), (["--values"], "values")):
        wanted = line.get(key) or line.get("path")
        if not wanted:
            continue
        wanted = wanted.replace("THREAD", str(line["thread"]))
        got = paths_of(dump, line["address"], "--top", "1", *option)[0]["path"]
        assert re.fullmatch(wanted, got) or (
            key == "values" and "values" not in line), \
            "%s, not %s" % (got, wanted)


def check_steps(dump, model, line):
    """Each leads to the next, the first is held, and no way is shorter."""
    row, = paths_of(dump, line["address"], "--top", "1")
    steps = steps_of(row)
    assert steps[-1] == line["address"]
    assert steps[0] in model.held
    for holder, referent in zip(steps, steps[1:]):
        assert referent in model.out[holder], "%#x does not refer to %#x" % (
            holder, referent)
    assert row["length"] == len(steps) - 1
    for step in row["steps"]:
        assert step["edge"] and step["type"]
    if row["steps"][0]["edge"] == "sys.modules" and len(steps) > 3:
        # A module's name and a name in it are no values.
        variable = re.match(r"views_target\.py:(\w+)", row["path"])
        if variable:
            assert row["steps"][1]["edge"] == "['__main__']", row["steps"]
            assert row["steps"][3]["edge"] == "['%s']" % variable[1], row
    if line["distance"] is not None:
        assert row["length"] == line["distance"], \
            "%d steps, the target finds one of %d: %s" % (
                row["length"], line["distance"], row["path"])


def check_others(dump, model, line):
    """Other paths share no object but the last, and sys.modules."""
    rows = paths_of(dump, line["address"], "--top", "10")
    every, document = heapmodel.rows_of(dump, "path", hex(line["address"]),
                                        "--top", "0")
    assert every[:10] == rows and document["totals"]["more"] is False
    modules = {address for address, roots in model.roots.items()
               if any(kind == "interpreter" for kind, _, _ in roots)}
    seen = set()
    for row in rows:
        steps = steps_of(row)
        inner = set(steps[:-1]) - (modules & set(steps[:1]))
        assert not inner & seen, "%s shares %s" % (row["path"],
                                                   inner & seen)
        seen |= inner
        for holder, referent in zip(steps, steps[1:]):
            assert referent in model.out[holder]
    lengths = [row["length"] for row in rows]
    assert len(rows) >= line.get("ways", 1), rows
    assert lengths[0] == min(lengths) or line["name"].startswith("local")


def check_garbage(dump, line):
    done = heaptest.heapscan(dump, "path", hex(line["address"]), "-f", "json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and answer["rows"] == []
    assert answer["totals"]["paths"] == 0
    assert "garbage" in done.stderr, done.stderr


def check_ways(dump, model, plants):
    """Of a type: all of its objects, each in one row, with the path of one."""
    rows, document = heapmodel.rows_of(dump, "path", "--type", "__main__.Node",
                                       "--top", "0")
    nodes = {address for address, thing in model.objects.items()
             if thing.name == "__main__.Node"}
    assert sum(row["count"] for row in rows) == len(nodes)
    assert sum(row["size"] for row in rows) == sum(
        model.objects[address].size for address in nodes)
    assert document["totals"] == {"paths": len(rows), "count": len(nodes)}
    counts = [row["count"] for row in rows]
    assert counts == sorted(counts, reverse=True)
    # Leaves of the tree: three to the power of its depth.
    assert 81 in counts, counts
    garbage = [row for row in rows if "path" not in row]
    assert [row["count"] for row in garbage] == [GARBAGE], garbage
    for row in rows:
        address = int(row["address"], 16)
        assert address in nodes
        if "path" in row:
            single, = paths_of(dump, address, "--top", "1")
            assert single["steps"] == row["steps"]
    matched, _ = heapmodel.rows_of(dump, "path", "--match", r"_\.Node$",
                                   "--top", "0")
    assert matched == rows


def check_circles(dump):
    """Rounds of a list that is linked 300 times are one way in the end."""
    rows, _ = heapmodel.rows_of(dump, "path", "--type", "list", "--top", "0")
    long = [row for row in rows if row.get("path", "").startswith(
        "views_target.py:chain[0][0][0][0]")]
    assert 22 <= len(long) <= 32, [row["path"] for row in long]
    assert sum(row["count"] for row in long) == 296
    assert max(row["count"] for row in long) > 260


# ---- Graphviz

NODE = re.compile(r'"([^"]+)" \[(.*)\];')
EDGE = re.compile(r'"([^"]+)" -> "([^"]+)"(?: \[label="(.*)"\])?;')
LABEL = re.compile(r'label="((?:[^"\\]|\\.)*)"')


def drawn(text):
    """({node: label}, {(from, to): label}) of a digraph; nothing else is in
    it."""
    lines = text.splitlines()
    assert lines[0] == "digraph paths {" and lines[-1] == "}", text
    nodes, edges = {}, {}
    for line in lines[1:-1]:
        line = line.strip()
        edge, node = EDGE.fullmatch(line), NODE.fullmatch(line)
        if edge:
            assert edge[1] in nodes, line
            assert (edge[1], edge[2]) not in edges, line
            edges[edge[1], edge[2]] = edge[3]
        elif node:
            nodes[node[1]] = LABEL.search(node[2])[1]
        else:
            assert re.fullmatch(r"(rankdir|node|edge)\b.*;", line), line
    assert {end for edge in edges for end in edge} <= set(nodes)
    return nodes, edges


def check_dot(dump, line, *options):
    done = heaptest.heapscan(dump, "path", hex(line["address"]), "--dot",
                             *options)
    assert done.returncode == 0, done.stderr
    nodes, edges = drawn(done.stdout)
    rows = paths_of(dump, line["address"], *options)
    wanted = {}
    for row in rows:
        steps = row["steps"]
        wanted["root of " + steps[0]["address"], steps[0]["address"]] = None
        for holder, step in zip(steps, steps[1:]):
            wanted[holder["address"], step["address"]] = step["edge"]
            assert nodes[step["address"]].startswith(step["type"])
    assert edges.keys() == wanted.keys()
    for edge, text in wanted.items():
        if text and not re.search(r'["\\&\W]{2}', text):
            assert edges[edge] == text, (edges[edge], text)
    return nodes, edges


def check_dots(dump, named):
    check_dot(dump, named["leaf of the tree"])
    check_dot(dump, named["global of two modules"])
    _, edges = check_dot(dump, named["strange name"], "--values")
    text = "".join(filter(None, edges.values()))
    assert r'\"quoted' in text and "&amp;<name>" in text, text
    done = heaptest.heapscan(dump, "path", "--type", "__main__.Node", "--dot",
                             "--top", "0")
    nodes, _ = drawn(done.stdout)
    assert any(r"\n81 objects, " in label for label in nodes.values()), nodes
    if not any(os.access(os.path.join(folder, "dot"), os.X_OK)
               for folder in os.environ["PATH"].split(":")):
        return
    subprocess.run(["dot", "-Tsvg"], input=done.stdout, encoding="utf-8",
                   stdout=subprocess.DEVNULL, check=True)


def check_refusals(dump, named):
    address = hex(named["tree"]["address"])
    for args, words in ((["path"], "needs ADDR"),
                        (["types", "--dot"], "no meaning"),
                        (["path", address, "--type", "dict"], "not both"),
                        (["path", address, "--dot", "-f", "json"], "--dot"),
                        (["path", "0x10"], "is no object")):
        done = heaptest.heapscan(dump, *args)
        assert done.returncode == (1 if "0x10" in args else 2), (args, done)
        assert words in done.stderr, done.stderr
    done = heaptest.heapscan(dump, "path", hex(named["tree"]["address"] + 8))
    assert done.returncode == 0 and "in the memory of" in done.stderr
    for args, status in ((["path", address, "--fail-if", "length>1"], 5),
                         (["path", "--type", "__main__.Node", "--top", "1",
                           "--fail-if", "count<2"], 5),
                         (["path", address, "--fail-if", "paths>9"], 0)):
        done = heaptest.heapscan(dump, *args)
        assert done.returncode == status, (args, done.returncode)


def test(interpreter):
    census, dump = heaptest.tmp("plants"), heaptest.tmp("core")
    with heaptest.start_target(interpreter, SCRIPT, census=census) as target:
        with open(census) as file:
            plants = [json.loads(line) for line in file]
        done = heaptest.heapdump("--max-pause", "1m", "-q", "--no-compress",
                                 "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    model = heapmodel.Model(dump)
    named = {line["name"]: line for line in plants}
    for line in plants:
        with heaptest.case("%s: %s" % (interpreter, line["name"])):
            if line.get("garbage"):
                check_garbage(dump, line)
                continue
            check_words(dump, line)
            check_steps(dump, model, line)
            check_others(dump, model, line)
    for name, check in (
            ("of a type", lambda: check_ways(dump, model, plants)),
            ("a long list", lambda: check_circles(dump)),
            ("digraphs", lambda: check_dots(dump, named)),
            ("refusals and conditions", lambda: check_refusals(dump, named))):
        with heaptest.case("%s: %s" % (interpreter, name)):
            check()
    os.unlink(dump)


for interpreter in heaptest.interpreters(few=True):
    with heaptest.case("%s: target" % interpreter):
        test(interpreter)
heaptest.finish()
