# SPDX-License-Identifier: Apache-2.0
"""heapdump --on-oom with PyTorch: when memory for a tensor is refused, all tensors
that there were are in the dump, those too that only the function held that
failed; on each release of PyTorch that is here."""

import glob
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

TARGET = os.path.join(HERE, "on_oom_target.py")


def rows(dump, *words):
    done = heaptest.heapscan(dump, *words, "-f", "json", "-q", "--top", "0")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)["rows"]


def check(interpreter, device, says, env):
    """One dump of a training step that fails; what it holds."""
    folder = heaptest.tmp("%s.%s" % (interpreter.name, device))
    os.mkdir(folder)
    done = heaptest.heapdump(
        "--on-oom", "--json", "--max-pause", "60s", "-o", folder, "--",
        *interpreter.argv, TARGET, device,
        env=dict(interpreter.environment(), **env))
    assert done.returncode == 1, (done.returncode, done.stderr[-500:])
    *lines, last = done.stdout.splitlines()
    assert last.startswith(says[0]), last
    path, = glob.glob(glob.escape(folder) + "/*.zst")
    report = json.loads(re.search(r"^\{.*", done.stderr, re.M)[0])
    assert report["trigger"] == "on-oom" and report["complete"], report
    assert re.match(says[1], report["reason"]), report["reason"]
    said = [json.loads(line) for line in lines]
    assert len(said) > 20, len(said)
    found = {int(row["address"], 16): row for row in rows(path, "tensors")}
    for one in said:
        row = found.get(one["address"])
        assert row, "a tensor is missing: %s" % one
        assert row["shape"] == str(one["shape"]), (row, one)
        assert row["device"] == one["device"], (row, one)
        assert int(row["data_ptr"], 16) == one["data"], (row, one)
        assert row["bytes"] == one["bytes"], (row, one)
    tid = int(re.search(r" in thread (\d+)", report["reason"])[1])
    thread, = [row for row in rows(path, "threads", "--locals")
               if row["tid"] == tid]
    names = [frame["function"] for frame in thread["python"]]
    assert names == ["forward", "train", "main", "<module>"], names
    held = {row["name"] for row in thread["locals"]
            if row["frame"] == 0 and row["type"].endswith("Tensor")}
    assert {"hidden", "doubled", "batch"} <= held, held
    os.unlink(path)


def main():
    found = heaptest.with_torch()
    if not found:
        raise heaptest.Skip("no PyTorch: see tests/python/fetch_packages.sh")
    for interpreter in found:
        with heaptest.case("%s, PyTorch %s: memory of the machine" % (
                interpreter.name, interpreter.torch)):
            check(interpreter, "cpu", (
                "RuntimeError [enforce fail at ",
                r"c10::Error in thread \d+: DefaultCPUAllocator: can't "
                r"allocate memory: you tried to allocate 1125899906842624 "
                r"bytes"), {})
    heaptest.finish()


main()
