# SPDX-License-Identifier: Apache-2.0
"""heapscan diff with PyTorch: tensors that were added, on a GPU and beside it, and
what the allocator says, which stands beside the ledger as well; on each release of
PyTorch that is here."""

import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

TARGET = os.path.join(HERE, "diff_target.py")
MIB = 1 << 20


def dump(target, name):
    path = heaptest.tmp(name)
    done = heaptest.heapdump("-q", "--max-pause", "60s", "-o", path, target.pid)
    assert done.returncode == 0, done.stderr
    return path


def grown(interpreter):
    with heaptest.start_target(interpreter, TARGET) as target:
        old = dump(target, interpreter.name + ".old.zst")
        target.process.stdin.write(b"\n")
        target.process.stdin.flush()
        deadline = time.monotonic() + 60
        while "AGAIN" not in target.printed():
            assert time.monotonic() < deadline, target.printed()[-500:]
            time.sleep(0.01)
        new = dump(target, interpreter.name + ".new.zst")
        told = [json.loads(line) for line in target.printed().splitlines()
                if line.startswith("{")]
    return old, new, told


def check(interpreter):
    old, new, told = grown(interpreter)
    done = heaptest.heapscan("diff", old, new, "-f", "json", "-q", "--top", "0",
                             "--no-index")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    tensors = {(row["dtype"], row["shape"], row["device"], row["role"]): row
               for row in rows if row["kind"] == "tensor"}
    large = tensors["float32", "[256, 1024]", "cuda:0", "other"]
    assert (large["count_old"], large["count_new"]) == (5, 35), large
    assert large["size_delta"] == 30 * MIB, large
    view = tensors["float32", "[256, 10]", "cuda:0", "other"]
    assert (view["count_delta"], view["size_delta"]) == (1, 0), view
    small = tensors["float64", "[1000]", "cpu", "other"]
    assert (small["count_delta"], small["size_delta"]) == (30, 240000), small
    weights = tensors["float32", "[64, 64]", "cuda:0", "parameter"]
    assert (weights["count_new"], weights["size_delta"]) == (1, 0), weights
    for what in "allocated", "reserved":
        row, = (row for row in rows if row["kind"] == "device"
                and row["name"] == "cuda:0 " + what)
        assert row["size_old"] == told[0][what], (row, told)
        assert row["size_new"] == told[1][what], (row, told)
    memory = json.loads(heaptest.heapscan("memory", new, "-f", "json", "-q",
                                          "--no-index").stdout)
    device, = memory["devices"]
    assert device["device"] == "cuda:0", device
    assert {what: device[what] for what in told[1]} == told[1], (device, told)
    assert sum(row["bytes"] for row in memory["rows"]) == memory["totals"][
        "total"]
    os.unlink(old)
    os.unlink(new)


def main():
    found = heaptest.with_torch(devices=1)
    if not found:
        raise heaptest.Skip("no PyTorch: see tests/python/fetch_torch.sh")
    for interpreter in found:
        with heaptest.case("PyTorch %s: tensors before and after"
                           % interpreter.torch):
            check(interpreter)
    heaptest.finish()


main()
