# SPDX-License-Identifier: Apache-2.0
"""Suspects of programs with PyTorch in which few large tensors pile up, and of such
that are well: piles_target.py has one function for each. On the newest release of
PyTorch that is here, or on all, with the libraries of fakecuda/ in place of a
GPU's."""

import json
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SCRIPT = os.path.join(HERE, "piles_target.py")
MIB = 1 << 20

# name: (path, pattern, element, count, regular expression of the evidence)
LEAKS = {
    "leak_three": (r"^piles_target\.py:RESULTS$", "tensors", "torch.Tensor", 3,
                   r"^3 torch\.Tensor, 50\.0 MiB each; few, but large, in a "
                   r"global list$"),
    "leak_on_device": (r"^piles_target\.py:RESULTS$", "tensors",
                       "torch.Tensor", 3, r"20\.0 MiB each"),
    "leak_stray": (r"^piles_target\.py:STRAY$", "large object", None, 1,
                   r"^one tensor, of no module and no optimizer$"),
    "leak_one_view": (r"^piles_target\.py:STRAY$", "large object", None, 1,
                      r"a view of a larger storage: 40 B of the 200\.0 MiB"),
    "leak_views": (r"^piles_target\.py:ROWS$", "tensors", "torch.Tensor", 6,
                   r"views of larger storages: 240 B of the 150\.0 MiB"),
    "leak_many_views": (r"^piles_target\.py:ROWS$", "tensors", "torch.Tensor",
                        150, r"growing global list of tensors; views of larger "
                        r"storages: 5\.9 KiB of the"),
    "leak_key_values": (r"^piles_target\.py:CACHE$", "tensors", "list", 4,
                        r"^4 list, 32\.0 MiB each; few, but large, in a global "
                        r"dict$"),
    "leak_sessions": (r"^piles_target\.py:SESSIONS$", "tensors",
                      "__main__.Session", 4, r"32\.0 MiB each"),
    "leak_server": (r"^local \w+\.sessions in ", "tensors", "dict", 12,
                    r"10\.0 MiB each"),
    "leak_predictions": (r"^local \w+ in ", "tensors", "torch.Tensor", 20,
                         r"few, but large, in a (local )?list$"),
    "leak_losses": (r"^piles_target\.py:LOSSES$", "autograd graphs", "dict", 5,
                    r"^5 autograd graphs"),
    "leak_hooked": (r"^piles_target\.py:RESULTS$", "autograd graphs",
                    "torch.Tensor", 20, r"^4 autograd graphs"),
    "leak_checkpoints": (r"^piles_target\.py:CHECKPOINTS$", "tensors",
                         "collections.OrderedDict", 4, r"60\.1 MiB each"),
    "leak_deque": (r"^piles_target\.py:RECENT$", "tensors", "torch.Tensor", 20,
                   r"with a maxlen of 100: it would have 700\.0 MiB$"),
}


def said(target, name):
    """The child that a name becomes."""
    deadline = time.monotonic() + 120
    while True:
        found = re.search(r"^AT %s (\d+)$" % name, target.printed(), re.M)
        if found:
            return int(found[1])
        assert time.monotonic() < deadline, target.printed()[-500:]
        time.sleep(0.05)


def send(target, line):
    target.process.stdin.write(line.encode() + b"\n")
    target.process.stdin.flush()


def suspects_of(target, name):
    dump = heaptest.tmp("piles.core")
    send(target, name)
    try:
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "1m",
                                 "-o", dump, said(target, name))
        assert done.returncode == 0, done.stderr
    finally:
        send(target, "")
    done = heaptest.heapscan(dump, "suspects", "-f", "json", "--no-index", "-q")
    assert done.returncode == 0, done.stderr
    os.unlink(dump)
    return json.loads(done.stdout)["rows"]


def is_named(target, name):
    path, pattern, element, count, evidence = LEAKS[name]
    row, = suspects_of(target, name)
    assert re.search(path, row["path"]), row
    assert row["pattern"] == pattern and row.get("element") == element, row
    # One may be in what a function that has returned left on the stack, too.
    assert count - (count > 100) <= row["count"] <= count, row
    assert re.search(evidence, row["evidence"]), row
    on_device = name == "leak_on_device"
    assert row["device"] == ("cuda:0" if on_device else "cpu"), row
    assert row["share"] >= 0.2, row
    if on_device:
        assert row["device_retained"] == 60 * MIB, row


def none_is_named(target, name):
    rows = suspects_of(target, name)
    assert not rows, [(row["sentence"], row.get("path")) for row in rows]


def test(interpreter, functions):
    with heaptest.start_target(interpreter, SCRIPT, timeout=300) as target:
        for function in functions:
            with heaptest.case("PyTorch %s: %s" % (interpreter.torch,
                                                   function)):
                if function.startswith("leak"):
                    is_named(target, function)
                else:
                    none_is_named(target, function)


with open(SCRIPT, encoding="utf-8") as script:
    programs = re.findall(r"^def ((?:leak|well)_\w+)", script.read(), re.M)
found = heaptest.with_torch(devices=1)
if os.environ.get("HEAPSCAN_TORCH") != "all":
    found = found[-1:]          # matrix.sh asks for the others
for each in found:
    test(each, programs)
if not found:
    heaptest.skip("few tensors that pile up", "PyTorch is not here: "
                  "tests/python/fetch_torch.sh fetches it")
heaptest.finish()
