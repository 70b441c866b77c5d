# SPDX-License-Identifier: Apache-2.0
"""heapscan tensors --arrays on a process that has CuPy, and no PyTorch: its arrays
are as CuPy says, and so is what its pool has."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import damage
import elfcore
import heaptest

SCRIPT = os.path.join(HERE, "cupy_target.py")


def view(dump, *options):
    done = heaptest.heapscan(dump, "tensors", "--arrays", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def all_told(truth, dump):
    document = json.loads(view(dump, "-n", "0", "-f", "json"))
    rows = {int(row["address"], 16): row for row in document["rows"]}
    for one in truth["arrays"]:
        row = rows[one["id"]]
        assert (row["shape"], row["strides"], row["dtype"], row["role"],
                row["type"], row["device"]) == (
            str(one["shape"]), str(one["strides"]), one["dtype"], "array",
            "cupy.ndarray", "cuda:0"), (row, one)
        assert int(row.get("data_ptr", "0x0"), 16) == one["data"], (row, one)
        if one["bytes"]:
            assert (int(row["storage"], 16), row["bytes"]) == (
                one["storage"], one["bytes"]), (row, one)
    of_name = {one["name"]: rows[one["id"]] for one in truth["arrays"]}
    for name in "view", "transposed":
        assert of_name[name]["view"], of_name[name]
    assert of_name["borrowed"]["memory"] == "borrowed", of_name["borrowed"]
    assert "memory" not in of_name["large"], of_name["large"]
    assert of_name["layers[1]"]["path"].startswith("cupy_target.py:HELD["), (
        of_name["layers[1]"])
    assert sum(row["device"] == "cuda:0" for row in rows.values()) == len(
        truth["arrays"])
    assert any(row["shape"] == "[777]" and row["device"] == "cpu"
               for row in rows.values())
    totals = document["totals"]
    assert truth["used"] < truth["total"], truth
    assert (totals["cupy_used"], totals["cupy_allocated"]) == (
        truth["used"], truth["total"]), (totals, truth)
    assert totals["devices"] == truth["used"] + 4000, totals
    text = view(dump)
    assert re.search(r"^CuPy has \S+ MiB from devices; its pools have given out "
                     r"8\.\d MiB$", text, re.M), text
    return rows


def damaged(truth, dump, rows):
    """What cannot be an array is none, and the others are as they were."""
    core = elfcore.ElfCore(dump)
    ill = truth["arrays"][0]["id"]
    program = damage.builds()[-1]
    # The number of items, the start of its shape, the dtype, the pointer.
    for word in 4, 5, 13, 14:
        for value in 1, 7, (1 << 64) - 8, 0x4141414141414140:
            segment = core.segment_at(ill + word * 8)
            change = (segment.offset + ill + word * 8 - segment.vaddr,
                      value.to_bytes(8, "little"))
            with damage.patched(dump, change):
                answer = program.answer("tensors", dump, "--arrays", "-n", "0",
                                        "--no-index", "-q", mebibytes=64)
            now = {int(row["address"], 16): row for row in answer["rows"]}
            assert ill not in now and answer["totals"]["unread"] == 1, (
                word, value, now.get(ill))
            assert set(now) == set(rows) - {ill}, (word, value)


def test(interpreter):
    dump = heaptest.tmp("cupy.core")
    with heaptest.start_target(interpreter, SCRIPT) as target:
        truth = json.loads(re.search(r"^ARRAYS (.*)$", target.printed(),
                                     re.M)[1])
        done = heaptest.heapdump("-q", "--no-compress", "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    label = "%s, CuPy %s: " % (interpreter, truth["version"])
    with heaptest.case(label + "arrays and the pool are as CuPy says"):
        rows = all_told(truth, dump)
        with heaptest.case(label + "one that is damaged"):
            damaged(truth, dump, rows)
    os.unlink(dump)


found = heaptest.with_cupy()
for each in found:
    test(each)
if not found:
    heaptest.skip("arrays of CuPy", "no wheel of it: "
                  "tests/python/fetch_packages.sh fetches one")
heaptest.finish()
