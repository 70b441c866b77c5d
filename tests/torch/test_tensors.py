# SPDX-License-Identifier: Apache-2.0
"""heapscan tensors against what PyTorch itself says of every tensor, and of what
autograd's graph has saved, and the ledger of a training loop on the CPU against the
kernel's numbers: on each release of PyTorch that is here."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SCRIPT = os.path.join(HERE, "tensors_target.py")


def resident(pid):
    with open("/proc/%d/smaps_rollup" % pid) as rollup:
        return int(re.search(r"^Rss:\s+(\d+)", rollup.read(), re.M)[1]) << 10


def answer(dump, *words):
    done = heaptest.heapscan(dump, *words, "-f", "json", "-q")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def short(name):
    return (name or "").rpartition(".")[2]


def same(said, row):
    """Nothing of what torch says is otherwise."""
    for ours, theirs in (("dtype", "dtype"), ("device", "device"),
                         ("requires_grad", "requires_grad")):
        assert row.get(ours) == said[theirs], (ours, row, said)
    assert short(row["type"]) == said["type"], (row, said)
    if said.get("wraps"):
        assert row["shape"] == str(said["shape"]), (row, said)
        assert not row["bytes"] and row.get("layout") is None, row
    elif "shape" in said:
        assert row["layout"] == said["layout"], (row, said)
        assert row["shape"] == str(said["shape"]), (row, said)
        assert row["strides"] == str(said["strides"]), (row, said)
        assert int(row["storage"], 16) == said["storage"], (row, said)
        assert row["bytes"] == (said["bytes"] if said["storage"] else 0), (
            row, said)
        # An empty one has no data by torch.
        if said["data"]:
            assert int(row["data_ptr"], 16) == said["data"], (row, said)
    else:
        assert row["layout"] == said["layout"], (row, said)
        assert row.get("shape") is None or not said["nested"], (row, said)
        assert row.get("strides") is None or said["layout"] in (
            "sparse_coo", "_mkldnn"), (row, said)
        assert row.get("bytes", 0) == 0 or said["nested"], (row, said)
    grad = row.get("grad")
    assert (int(grad, 16) if grad else None) == said.get("grad"), (row, said)
    if "grad_fn" in said:
        assert row.get("grad_fn") == said["grad_fn"], (row, said)
    if said["role"]:
        assert row["role"] == said["role"], (row, said)


def all_same(interpreter, said, document):
    rows = {int(row["address"], 16): row for row in document["rows"]}
    assert len(rows) == len(document["rows"])
    missing = [one for one in said if one["id"] not in rows]
    assert not missing, missing[:3]
    for one in said:
        same(one, rows[one["id"]])
    # What gc does not lead to is held by C++ alone, as gradients are, or was
    # made by torch for itself.
    known = {one["id"] for one in said}
    more = [row for address, row in rows.items() if address not in known]
    print("# %s: torch %s, %d tensors, %d more" % (
        interpreter, interpreter.torch, len(said), len(more)))
    of_python = [row for row in more if row["held"] == "python"
                 and row["role"] != "array"]
    assert len(of_python) <= len(said) // 10, of_python
    named = [one for one in said if one["role"] in ("parameter", "buffer")]
    for one in named:
        path = rows[one["id"]]["path"]
        assert re.fullmatch(r"local model\.%s in main\(\) thread \d+"
                            % re.escape(one["name"]), path), (one, path)


def storages_once(document):
    rows, totals = document["rows"], document["totals"]
    by = {}
    for row in rows:
        if row.get("bytes"):
            by.setdefault(row["storage"], []).append(row)
    for group in by.values():
        assert sum(not row["view"] for row in group) == 1, group
        assert len({row["bytes"] for row in group}) == 1, group
    assert totals["bytes"] == sum(group[0]["bytes"] for group in by.values())
    assert totals["bytes"] == sum(row.get("bytes", 0) for row in rows
                                  if not row["view"])
    assert totals["count"] == len(rows) and totals["unread"] == 0
    assert any(len(group) > 1 for group in by.values())
    parts = ("parameters", "gradients", "optimizer", "buffers", "inputs",
             "activations", "arrays", "other")
    assert sum(totals[part] for part in parts) == totals["bytes"]


def key_of(row):
    return (int(row.get("data_ptr") or "0", 16), row.get("shape"),
            row.get("strides"), row.get("dtype"))


def saved(document, truth):
    """All that nodes have saved is there, with what saved it, and what is said to
    be saved by one, is."""
    expected, rows = {}, {}
    for node in truth["nodes"]:
        for one in node["saved"]:
            key = (one["data"], str(one["shape"]), str(one["strides"]),
                   one["dtype"])
            expected.setdefault(key, set()).add(node["node"])
            sizes = {row["bytes"] for row in document["rows"]
                     if row.get("storage")
                     and int(row["storage"], 16) == one["storage"]}
            assert not one["storage"] or sizes == {one["bytes"]}, (one, sizes)
    for row in document["rows"]:
        rows.setdefault(key_of(row), []).append(row)
    assert len(expected) > 40, len(expected)
    missing = [key for key in expected if key not in rows]
    assert not missing, missing
    graph = [row for row in document["rows"] if row["held"] == "graph"
             and int(row["address"], 16) not in truth["made"]]
    assert len(graph) > 20, len(graph)
    for row in graph:
        names = set(row["path"].partition("graph: ")[2].split(", "))
        assert names <= expected.get(key_of(row), set()), (
            row, expected.get(key_of(row)))
        assert row["role"] in ("activation", "input"), row
    # What a function in Python has saved, by its own name, and what else it
    # has, by the loss that keeps its node.
    doubled = [row for row in graph if "DoubledBackward" in row["path"]]
    assert {row["dtype"] for row in doubled} == {"float32", "bool"}, doubled
    noise = [row["path"] for row in document["rows"]
             if row.get("shape") == "[55]"]
    assert len(noise) == 3 and all(re.fullmatch(
        r"local val_losses\[\d\] in main\(\) thread \d+ graph: "
        r"DoubledBackward\.noise", path) for path in noise), noise
    # Only what the losses keep: of each a list's item is the root.
    of_losses = [row["path"] for row in graph if "gelu" in row["path"].lower()
                 and "val_losses[" in row["path"]]
    assert of_losses, sorted({row["path"] for row in graph})
    assert document["totals"]["nodes"] >= len(truth["nodes"])


def packed(dump, document, truth):
    """What hooks made of what was to be saved is an activation, in the graph that
    has it, and goes with the result that leads there."""
    rows = {int(row["address"], 16): row for row in document["rows"]}
    nodes = r"(AddmmBackward0|ViewBackward0|GeluBackward0)"
    paths = [rows[one]["path"] for one in truth["made"]]
    assert len(paths) == 4, paths
    for name, steps in ("plain", ""), ("own", r"\.tensors\[0\]"):
        told = [path for path in paths if re.fullmatch(
            r"local %s in main\(\) thread \d+ graph: %s%s" % (
                name, nodes, steps), path)]
        assert len(told) == len(paths) // 2, (name, paths)
    offloaded = [row for row in document["rows"] if re.fullmatch(
        r"local offloaded in main\(\) thread \d+ graph: %s\[1\]" % nodes,
        row.get("path", ""))]
    assert offloaded
    assert all(row["role"] == "activation" for row in offloaded), offloaded
    least = sum({row["storage"]: row["bytes"] for row in offloaded}.values())
    of = {int(row["address"], 16): row["retained"] for row in answer(
        dump, "objects", "--type", "torch.Tensor", "--retained", "-n",
        "0")["rows"]}
    assert least <= of[truth["offloaded"]] <= 2 * least, (
        least, of[truth["offloaded"]])


def served(document, truth):
    """What a module of TorchScript's has in C++, by its names."""
    rows = {int(row["data_ptr"], 16): row for row in document["rows"]
            if row.get("data_ptr")}
    assert len(truth["served"]) == 7, truth["served"]
    for name, data, role in truth["served"]:
        row = rows[data]
        assert re.fullmatch(r"local served\.%s in main\(\) thread \d+" %
                            re.escape(name), row["path"]), (name, row)
        assert row["role"] == role, (name, row)


def parts(document, truth):
    """What C++ or a class in Python has in a tensor, is told to be in it."""
    rows = {int(row["address"], 16): row for row in document["rows"]}
    inner = rows[truth["inner"]]
    outer = rows[truth["kinds"]["wrapper"]]
    assert inner["path"] == outer["path"].replace(" in main", ".inner in main"), (
        inner, outer)
    of_kinds = {}
    for row in document["rows"]:
        if row["held"] == "tensor" and " in its " in row["path"]:
            of_kinds.setdefault(row["path"].rpartition(" ")[2], []).append(
                row["shape"])
    assert of_kinds["PerChannelAffineQuantizer"] == ["[6]"], of_kinds
    bucket, = [row for row in document["rows"] if row.get("shape") == "[1009]"]
    assert (bucket["held"], bucket["role"], bucket["view"]) == (
        "tensor", "gradient", False), bucket
    both = [row for row in document["rows"] if row["held"] == "python, c++"]
    assert [int(row["address"], 16) for row in both] == [
        truth["kinds"]["scales"]], both
    assert "PerChannelAffine" in both[0]["owner"], both
    assert document["totals"]["python_and_cxx"] == 1, document["totals"]
    assert {"[9]", "[8]", "[4, 2, 2]"} <= set(
        of_kinds["SparseCsrTensorImpl"]), of_kinds
    assert "[2, 9]" in of_kinds["SparseTensorImpl"], of_kinds


def input_batch(document, truth):
    rows = {int(row["address"], 16): row for row in document["rows"]}
    row = rows[truth["input"]]
    assert row["role"] == "input", row
    assert re.match(r"shared /dev/shm/torch_\d+_", row["memory"]), row
    memory = {row.get("memory") for row in document["rows"]
              if row["role"] == "parameter"}
    assert memory == {None}, memory
    if truth["numpy"]:
        assert any(row.get("memory") == "numpy" for row in document["rows"])


def in_memory(document, truth):
    """What was never touched takes nothing."""
    rows = {int(row["address"], 16): row for row in document["rows"]}
    for name, size in truth["touched"].items():
        row = rows[truth["kinds"][name]]
        assert row["resident"] == size, (name, size, row)
    # Its header alone is there.
    assert truth["touched"]["untouched"] < 4096, truth["touched"]
    assert truth["touched"]["pages"] < 2 << 20, truth["touched"]
    # Of parts of one file it is known what they have together.
    mapped = truth["mapped"]
    parts = sum(rows[int(address)]["resident"] for address in mapped)
    assert abs(parts - sum(mapped.values())) <= 64 << 10, (parts, mapped)
    if mapped:
        assert document["totals"]["bare"] < 64 << 10, document["totals"]
    totals = document["totals"]
    assert totals["resident"] < totals["cpu"] - (70 << 20), totals


def arrays(document, truth):
    rows = {int(row["address"], 16): row for row in document["rows"]
            if row["role"] == "array"}
    for one in truth["arrays"] or ():
        row = rows[one["id"]]
        for key in "shape", "strides":
            assert row[key] == str(one[key]), (one, row)
        for key in "dtype", "bytes", "view":
            assert row[key] == one[key], (one, row)
        assert int(row["data_ptr"], 16) == one["data"], (one, row)


def grouped(dump, document):
    done = heaptest.heapscan(dump, "tensors", "-n", "0", "-q", "--sort",
                             "bytes")
    assert done.returncode == 0, done.stderr
    # Of one storage each: the largest first.
    lines = [line for line in done.stdout.splitlines()
             if re.search(r" parameter +float32 +\[1024, 256\] ", line)]
    alike = [row for row in document["rows"] if row["role"] == "parameter"
             and row["shape"] == "[1024, 256]"]
    assert len(lines) == 1 and re.search(r"B +%d +parameter" % len(alike),
                                         lines[0]), (lines, len(alike))
    assert "model.encoder.layers.*.linear1" in lines[0] or "…" in lines[0]


def ledger(dump, pid_resident, tensors):
    document = answer(dump, "memory")
    totals = document["totals"]
    assert totals["balanced"] is True
    assert sum(row["bytes"] for row in document["rows"]) == totals["total"]
    assert abs(totals["total"] - pid_resident) < pid_resident * 0.01, (
        totals, pid_resident)
    assert totals["unexplained"] < totals["total"] * 0.05, document["rows"]
    by = {row["category"]: row["bytes"] for row in document["rows"]}
    assert by["shared memory"] >= 1 << 20, by       # the tensor in it
    # A chunk has some bytes more than were asked for.
    private = {row["storage"]: row["resident"] for row in tensors["rows"]
               if row.get("bytes") and not row.get("memory")
               and row["role"] != "array"}
    expected = sum(private.values())
    got = by["data of tensors"] + by.get("data of arrays", 0)
    assert abs(got - expected) <= expected * 0.002 + 200 * len(private), (
        expected, by)


def test(interpreter):
    label = "%s with PyTorch %s: " % (interpreter, interpreter.torch)
    dump = heaptest.tmp("torch.dump")
    with heaptest.start_target(interpreter, SCRIPT, timeout=600) as target:
        truth = json.loads(re.search(r"^TENSORS (.*)$", target.printed(),
                                     re.M)[1])
        done = heaptest.heapdump("-q", "--max-pause", "5m", "-o", dump,
                                 target.pid)
        assert done.returncode == 0, done.stderr
        pages = resident(target.pid)
    said = truth["tensors"]
    with heaptest.case(label + "tensors are as torch says"):
        document = answer(dump, "tensors", "--arrays", "-n", "0")
        all_same(interpreter, said, document)
    with heaptest.case(label + "storages count once"):
        storages_once(document)
    with heaptest.case(label + "what autograd's graph has saved"):
        saved(document, truth)
    with heaptest.case(label + "what hooks made of what was to be saved"):
        packed(dump, document, truth)
    with heaptest.case(label + "what TorchScript has"):
        served(document, truth)
    with heaptest.case(label + "what is in tensors of other kinds"):
        parts(document, truth)
    with heaptest.case(label + "where the bytes of a storage are"):
        input_batch(document, truth)
    with heaptest.case(label + "what of it was in memory"):
        in_memory(document, truth)
    with heaptest.case(label + "arrays of NumPy"):
        arrays(document, truth)
    with heaptest.case(label + "equal ones make one row of text"):
        grouped(dump, document)
    with heaptest.case(label + "each byte has one row"):
        ledger(dump, pages, document)
    os.remove(dump)


found = heaptest.with_torch(roots=True)
for each in found:
    with heaptest.case("%s with PyTorch %s" % (each, each.torch)):
        test(each)
if not found:
    heaptest.skip("tensors of PyTorch", "PyTorch is not here: "
                  "tests/python/fetch_torch.sh fetches it")
heaptest.finish()
