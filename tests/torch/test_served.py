# SPDX-License-Identifier: Apache-2.0
"""A process that serves modules of TorchScript's, and has no object of Python's for
any tensor: each is found, and named as torch names it."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SCRIPT = os.path.join(HERE, "served_target.py")


def all_named(document, modules):
    rows = {int(row["data_ptr"], 16): row for row in document["rows"]
            if row.get("data_ptr")}
    for i, module in enumerate(modules):
        assert len(module) >= 6, module
        for name, data, size, role in module:
            row = rows[data]
            assert row["bytes"] == size and row["role"] == role, (name, row)
            path = r"local served\[%d\]\.%s in main\(\) thread \d+" % (
                i, re.escape(name))
            assert re.fullmatch(path, row["path"]), (name, row)


def test(interpreter):
    label = "%s with PyTorch %s: " % (interpreter, interpreter.torch)
    dump = heaptest.tmp("served.dump")
    with heaptest.start_target(interpreter, SCRIPT, timeout=600) as target:
        truth = json.loads(re.search(r"^SERVED (.*)$", target.printed(),
                                     re.M)[1])
        done = heaptest.heapdump("-q", "--max-pause", "5m", "-o", dump,
                                 target.pid)
        assert done.returncode == 0, done.stderr
    done = heaptest.heapscan(dump, "tensors", "-n", "0", "-f", "json", "-q")
    assert done.returncode == 0, (done.returncode, done.stderr)
    document = json.loads(done.stdout)
    with heaptest.case(label + "what is served has its names"):
        all_named(document, truth["modules"])
    with heaptest.case(label + "no object of Python's has told that"):
        assert truth["objects"] == 0, truth["objects"]
        assert not [row for row in document["rows"]
                    if row["held"] == "python"]
    os.remove(dump)


found = heaptest.with_torch(roots=True)
for each in found:
    with heaptest.case("%s with PyTorch %s" % (each, each.torch)):
        test(each)
if not found:
    heaptest.skip("modules of TorchScript's", "PyTorch is not here: "
                  "tests/python/fetch_torch.sh fetches it")
heaptest.finish()
