# SPDX-License-Identifier: Apache-2.0
"""What objects keep of devices, against PyTorch's allocator: a child of the target
lets go of each, and sees how much is allocated then. And what is suspected in a
program that keeps the graphs of its losses, and in one that is well. On the newest
release of PyTorch that is here, or on all, with the libraries of fakecuda/ in place
of a GPU's."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest
import keptindex

SCRIPT = os.path.join(HERE, "device_target.py")
BLOCK = 512             # that sizes are rounded up to


def answer(core, *words):
    done = heaptest.heapscan(core, *words, "-f", "json", "-q", "--index",
                             core + ".index")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def same_bytes(core, told):
    document = answer(core, "objects", "--sort", "device_retained", "-n", "500")
    rows = {int(row["address"], 16): row for row in document["rows"]}
    # 1.13 does not tell what was asked for, only what that was rounded to.
    rounded = told["version"].startswith("1.")
    for name, one in told["kept"].items():
        got = rows.get(one["id"], {}).get("device_retained", 0)
        slack = 50 * BLOCK if rounded and one["freed"] else 0
        assert one["freed"] - slack <= got <= one["freed"], (name, one, got)
    freed = {name: one["freed"] for name, one in told["kept"].items()}
    # The truth is one: what is shared goes with both of them only.
    assert freed["views"] and freed["losses"] > 6 << 20 and freed["running"]
    assert freed["first"] == freed["second"] == freed["model"] == 0
    assert freed["storage"] == freed["of_storage"] == freed["by_name"] == 0
    return freed


def same_in_process(core, told):
    for name, size in told["host"].items():
        row = answer(core, "object", hex(told["kept"][name]["id"]),
                     "--retained")["rows"][0]
        assert size <= row["retained"] <= size + (16 << 10), (name, size, row)
        assert row["device_retained"] == 0, row


def sums(core, told):
    """Each group of roots has its own: together they are all there is."""
    document = answer(core, "retained", "-n", "30")
    total = document["totals"]["device_retained"]
    assert document["rows"][0]["device_retained"] > 1 << 20, document["rows"]
    all_bytes = [row["retained"] + row["device_retained"]
                 for row in document["rows"]]
    assert all_bytes == sorted(all_bytes, reverse=True), all_bytes
    assert 0 <= told["allocated"] - total <= (
        300 * BLOCK if told["version"].startswith("1.") else 0), (told, total)
    for by in "root", "thread":
        rows = answer(core, "retained", "--by", by, "-n", "0")["rows"]
        assert sum(row["device_retained"] for row in rows) == total, (by, rows)
        # All of it is this program's variables'.
        largest = max(rows, key=lambda row: row["device_retained"])
        assert re.match("frames|thread", largest["type"]), largest
    of_lists = next(row for row in answer(core, "retained", "--by", "type",
                                          "-n", "0")["rows"]
                    if row["type"] == "list")
    freed = {name: one["freed"] for name, one in told["kept"].items()}
    least = freed["losses"] + freed["views"] + freed["plain"] + freed["other"]
    assert least - 300 * BLOCK <= of_lists["device_retained"] < (
        least + freed["running"]), (least, of_lists)


def suspected(core, told, freed):
    rows = answer(core, "suspects")["rows"]
    by = {re.sub(r"^local keep\.(\w+) in .*", r"\1", row["path"]): row
          for row in rows}
    row = by["losses"]
    assert rows[0] == row, rows
    assert row["device"] == "cuda:0" and row["pattern"] == "autograd graphs"
    assert abs(row["device_retained"] - freed["losses"]) < 50 * BLOCK, row
    assert row["count"] == 6 and "6 autograd graphs" in row["evidence"], row
    assert 0.2 < row["share"] < 1, row
    assert "of cuda:0 alive in 42 tensors" in row["sentence"], row
    # Results of one step have a graph in common; what a model consists of is
    # no leak; few tensors are none, either.
    assert by.keys() <= {"losses", "host_losses", "running"}, rows
    done = heaptest.heapscan(core, "-q", "--index", core + ".index")
    assert done.returncode == 0 and len(done.stdout.splitlines()) <= 60
    assert row["sentence"] in done.stdout, done.stdout
    assert re.search(r"^RETAINED +retained +on devices ", done.stdout, re.M)


def kept(core):
    """What comes of what was kept, is what comes without it."""
    done = heaptest.heapscan(core, "retained", "-n", "40", "-f", "json", "-q",
                             "--no-index")
    assert done.returncode == 0, done.stderr
    expected = json.loads(done.stdout)
    assert answer(core, "retained", "-n", "40") == expected
    # An owner that is no object.
    name, = (one for one in os.listdir(core + ".index")
             if one.endswith(".index"))
    path = os.path.join(core + ".index", name)
    spoilt = keptindex.Index(path)
    spoilt.change("STORAGES", 8, b"\xff\xff\xff\x7f")
    spoilt.seal_columns()
    spoilt.seal()
    spoilt.write(path)
    done = heaptest.heapscan(core, "retained", "-n", "40", "-f", "json",
                             "--index", core + ".index")
    assert done.returncode == 0 and "of no use" in done.stderr, done.stderr
    assert json.loads(done.stdout) == expected


def test(interpreter):
    label = "PyTorch %s: " % interpreter.torch
    cores = {word: heaptest.tmp(word + ".core") for word in ("leaks", "well")}
    with heaptest.start_target(interpreter, SCRIPT, timeout=600) as target:
        printed = target.printed()
        told = json.loads(re.search(r"^KEPT (.*)$", printed, re.M)[1])
        child = int(re.search(r"^HEALTHY (\d+)$", printed, re.M)[1])
        for word, pid in ("leaks", target.pid), ("well", child):
            done = heaptest.heapdump("-q", "--max-pause", "5m", "-o",
                                     cores[word], pid)
            assert done.returncode == 0, done.stderr
    with heaptest.case(label + "what goes with an object"):
        freed = same_bytes(cores["leaks"], told)
    with heaptest.case(label + "tensors in the process"):
        same_in_process(cores["leaks"], told)
    with heaptest.case(label + "groups have all of it"):
        sums(cores["leaks"], told)
    with heaptest.case(label + "graphs of losses are suspected"):
        suspected(cores["leaks"], told, freed)
    with heaptest.case(label + "the same from what was kept"):
        kept(cores["leaks"])
    with heaptest.case(label + "a program that is well"):
        rows = answer(cores["well"], "suspects")["rows"]
        assert not [row for row in rows if "device" in row], rows
        assert answer(cores["well"], "retained", "-n", "1")["totals"][
            "device_retained"] > 10 << 20


found = heaptest.with_torch(devices=2)
if os.environ.get("HEAPSCAN_TORCH") != "all":
    found = found[-1:]          # matrix.sh asks for the others
for each in found:
    with heaptest.case("PyTorch " + each.torch):
        test(each)
if not found:
    heaptest.skip("what objects keep of devices", "PyTorch is not here: "
                  "tests/python/fetch_torch.sh fetches it")
heaptest.finish()
