# SPDX-License-Identifier: Apache-2.0
"""The equipment itself: on tests/torch/fakecuda each scenario of cuda_target.py runs
to its end, devices are as large as told and no larger, and PyTorch's own numbers
agree with each other and with what the equipment has given out."""

import json
import os
import pickle
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import elfcore
import heaptest

SCRIPT = os.path.join(HERE, "cuda_target.py")
CAPACITY = 3 << 30
# What is not in every release.
SINCE = {"oom_expandable": (2, 1), "expandable": (2, 1), "mempool": (2, 5),
         "history": (2, 0)}


class Scenario:
    """.truth and .snapshot of a program that has run."""

    def __init__(self, folder):
        with open(os.path.join(folder, "printed")) as file:
            self.printed = file.read()
        truth = re.search(r"^TRUTH (.*)$", self.printed, re.M)
        self.truth = truth and json.loads(truth[1])
        self.snapshot = {"segments": []}
        path = os.path.join(folder, "snapshot.pickle")
        if os.path.exists(path):
            with open(path, "rb") as file:
                self.snapshot = pickle.load(file)
        self.segments = self.snapshot["segments"]

    def blocks(self):
        """(segment, address, block) of each."""
        for segment in self.segments:
            at = segment["address"]
            for block in segment["blocks"]:
                yield segment, at, block
                at += block["size"]
            assert at == segment["address"] + segment["total_size"], segment


def agrees(scenario):
    """Statistics, snapshot, tensors and the device say the same."""
    truth = scenario.truth
    active = {}
    for number, (stats, free) in enumerate(zip(truth["stats"],
                                               truth["free"])):
        mine = [(at, block) for segment, at, block in scenario.blocks()
                if segment["device"] == number]
        reserved = sum(segment["total_size"] for segment in scenario.segments
                       if segment["device"] == number)
        allocated = sum(block["size"] for _, block in mine
                        if block["state"] == "active_allocated")
        # A device that nobody has used has no statistics.
        assert stats.get("reserved_bytes.all.current", 0) == reserved
        assert stats.get("allocated_bytes.all.current", 0) == allocated
        assert free == [CAPACITY - reserved, CAPACITY], (free, reserved)
        active["cuda:%d" % number] = {
            at: block for at, block in mine
            if block["state"] == "active_allocated"}
    for tensor in truth["tensors"]:
        if tensor["device"] not in active or not tensor.get("bytes"):
            continue
        block = active[tensor["device"]].get(tensor["storage"])
        assert block, (tensor, "is in no block")
        assert tensor["bytes"] <= block["size"], (tensor, block)


def special(name, scenario):
    truth, more = scenario.truth, scenario.truth["more"]
    states = {at: block["state"] for _, at, block in scenario.blocks()}
    if name.startswith("oom"):
        assert "out of memory" in more["message"], more
        assert more["kept"] == "OutOfMemoryError", more
        assert truth["stats"][0]["num_ooms"] == 1, truth["stats"][0]
        inactive = sum(block["size"] for _, _, block in scenario.blocks()
                       if block["state"] == "inactive")
        if name == "oom":   # all in all there was enough
            assert inactive + truth["free"][0][0] > more["wanted"], inactive
    elif name == "streams":
        assert {states[at] for at in more["pending"]} == {
            "active_pending_free"}, states
        assert len({segment["stream"] for segment
                    in scenario.segments}) == 3, scenario.segments
    elif name in ("graphs", "mempool"):
        pools = {tuple(pool) for pool in more.get("pools", [more.get("pool")])}
        here = {tuple(segment["segment_pool_id"])
                for segment in scenario.segments
                if "segment_pool_id" in segment}
        assert not here or here == pools | {(0, 0)}, (here, pools)
    elif name == "devices":
        assert {segment["device"] for segment in scenario.segments} == {0, 1}
    elif name == "history":
        assert any(scenario.snapshot["device_traces"]), "no trace"
    elif name == "many":
        assert len(truth["tensors"]) == 5000
        assert len(states) >= 10000, len(states)
    if name in ("oom_expandable", "expandable"):
        assert any(segment.get("is_expandable")
                   for segment in scenario.segments)


def all_scenarios(interpreter):
    folder = heaptest.tmp("each-" + interpreter.torch)
    os.mkdir(folder)
    done = heaptest.run(
        [*interpreter.argv, SCRIPT, "each"], cwd=folder, timeout=600,
        env=dict(interpreter.environment(), FAKECUDA_MEMORY=str(CAPACITY)))
    assert done.returncode == 0, done.stderr[-1000:]
    version = tuple(map(int, interpreter.torch.split(".")[:2]))
    for name, status in re.findall(r"^(\w+) (\d+)$", done.stdout, re.M):
        with heaptest.case("%s: %s" % (interpreter, name)):
            if version < SINCE.get(name, (0,)):
                raise heaptest.Skip("not in torch " + interpreter.torch)
            scenario = Scenario(os.path.join(folder, name))
            assert status == "0", scenario.printed[-1000:]
            agrees(scenario)
            special(name, scenario)


def left_out(interpreter):
    """Nothing of a device is in a dump, and what is pinned is."""
    dump = heaptest.tmp("pinned.dump")
    with heaptest.start_target(interpreter, SCRIPT, ["pinned"],
                               timeout=300) as target:
        more = json.loads(re.search(r"^TRUTH (.*)$", target.printed(),
                                    re.M)[1])["more"]
        done = heaptest.heapdump("-q", "--no-compress", "--content", "full",
                                 "--max-pause", "5m", "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    core = elfcore.ElfCore(dump)
    one = b"\0\0\x80\x3f"
    assert core.read(more["pinned"][1], 8) == 2 * one
    try:
        core.read(more["copies"][1], 8)
    except elfcore.Missing:
        pass
    else:
        raise AssertionError("the dump has memory of the device")


found = heaptest.with_torch(devices=2)
for each in found:
    with heaptest.case("%s: scenarios" % each):
        all_scenarios(each)
    with heaptest.case("%s: a dump has no memory of devices" % each):
        left_out(each)
if not found:
    heaptest.skip("CUDA without a GPU", "PyTorch is not here: "
                  "tests/python/fetch_torch.sh fetches it")
heaptest.finish()
