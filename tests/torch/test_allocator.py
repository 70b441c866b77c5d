# SPDX-License-Identifier: Apache-2.0
"""heapscan allocator against torch.cuda.memory's own snapshot, statistics and
settings, and its --fits against what the allocator then does: on each release of
PyTorch that is here, with the libraries of fakecuda/ in place of a GPU's."""

import json
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SCRIPT = os.path.join(HERE, "allocator_target.py")
MIB = 1 << 20
# By hand, those whose names match.
ONLY = sys.argv[1] if len(sys.argv) > 1 else ""
EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
TUNED = {"PYTORCH_CUDA_ALLOC_CONF":
         "max_split_size_mb:40,roundup_power2_divisions:4,"
         "garbage_collection_threshold:0.8"}
# Scenario, environment, and the first release with what it needs.
RUNS = [("fragments", {}, (1, 13)), ("streams", EXPANDABLE, (2, 1)),
        ("devices", {}, (1, 13)), ("pools", {}, (2, 5)),
        ("training", {}, (1, 13)), ("full", {}, (1, 13)),
        ("raw", {}, (1, 13)), ("unused", {}, (1, 13))]
# Each is two of these put together: matrix.sh asks for them.
ALL = ONLY or os.environ.get("HEAPSCAN_TORCH") == "all"
OLDEST = ("fragments", "raw")           # what 1.13 has otherwise
if ALL:
    RUNS += [("streams", {}, (1, 13)), ("training", EXPANDABLE, (2, 1)),
             ("fragments", TUNED, (2, 0)), ("full", EXPANDABLE, (2, 1))]


def release(version):
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", version).groups()))


def answer(core, *words):
    done = heaptest.heapscan(core, "allocator", *words, "-n", "0", "-f", "json",
                             "-q")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def key(row):
    return int(row["device"][5:]), int(row["address"], 16)


# ---- What torch says

def same_segments(told, rows):
    ours = {key(row): row for row in rows}
    assert len(ours) == len(rows)
    theirs = {(one["device"], one["address"]): one for one in told["segments"]}
    assert ours.keys() == theirs.keys(), (ours.keys() ^ theirs.keys())
    for at, one in theirs.items():
        row = ours[at]
        assert row["size"] == one["total_size"], (row, one)
        assert row["allocated"] == one["allocated_size"], (row, one)
        assert row["active"] == one["active_size"], (row, one)
        assert row.get("requested") == one.get("requested_size"), (row, one)
        assert int(row["stream"], 0) == one["stream"], (row, one)
        assert row["pool"].split()[0] == one["segment_type"], (row, one)
        assert row["blocks"] == len(one["blocks"]), (row, one)
        if "segment_pool_id" in one:
            assert row["pool_id"] == str(tuple(one["segment_pool_id"]))
        assert row["expandable"] == one.get("is_expandable", False), (row, one)


def blocks_told(told):
    blocks = {}
    for segment in told["segments"]:
        at = segment["address"]
        for block in segment["blocks"]:
            assert block.get("address", at) == at
            blocks[segment["device"], at] = (
                block["size"], block.get("requested_size"), block["state"])
            at += block["size"]
    return blocks


def same_blocks(told, rows):
    ours = {key(row): (row["size"], row.get("requested"), row["state"])
            for row in rows}
    theirs = blocks_told(told)
    wrong = [at for at in ours.keys() | theirs.keys()
             if ours.get(at) != theirs.get(at)]
    assert not wrong, [(at, ours.get(at), theirs.get(at)) for at in wrong[:3]]
    states = {row["state"] for row in rows}
    assert not states or "inactive" in states


def same_stats(told, rows):
    names = {"allocated": "allocated_bytes.all.current",
             "reserved": "reserved_bytes.all.current",
             "active": "active_bytes.all.current",
             "requested": "requested_bytes.all.current",
             "inactive_split": "inactive_split_bytes.all.current",
             "allocated_peak": "allocated_bytes.all.peak",
             "reserved_peak": "reserved_bytes.all.peak",
             "retries": "num_alloc_retries", "ooms": "num_ooms"}
    assert len(rows) == len(told["stats"])
    for row, stats, total, name in zip(rows, told["stats"], told["totals"],
                                       told["names"]):
        for ours, theirs in names.items():
            # A device that was never used has no statistics at all.
            expected = stats.get(theirs, None if ours == "requested" else 0)
            if ours == "requested" and not stats and "requested" in row:
                expected = 0
            assert row.get(ours) == expected, (ours, row, stats)
        assert row["agrees"] is True
        if row["reserved"]:
            assert row["device_total"] == total, row
            assert row["model"] == name, row


def outside(core, told, scenario):
    """What is neither PyTorch's nor free."""
    row = answer(core, "--device-free", told["free"][0])["rows"][0]
    if row["reserved"]:
        assert row["outside"] == (told["totals"][0] - told["free"][0] -
                                  row["reserved"]), row
        assert row["device_free_from"] == "option", row
        row = answer(core)["rows"][0]
        if scenario != "full" or release(told["version"]) < (2, 0):
            assert "device_free" not in row and "outside" not in row, row
            return
        # What it was when memory ran out, and what was asked of the driver since.
        assert row["device_free_from"] == "event", row
        assert row["device_free"] == told["free"][0], (row, told["free"])
        assert "outside" in row, row


def same_settings(told, totals):
    settings = told["settings"]
    if not settings:
        return
    assert totals["expandable_segments"] == settings["expandable_segments"]
    limit = settings["max_split_size"]
    assert totals.get("max_split_size", -1) == limit, (totals, limit)
    assert abs(totals.get("garbage_collection_threshold", 0) -
               settings["garbage_collection_threshold"]) < 1e-9
    assert totals.get("conf", "") == settings["PYTORCH_CUDA_ALLOC_CONF"]


# ---- What Python has

def owned(told, rows, scenario):
    """Each tensor is where torch says, and has a path; others have none."""
    by = {int(row["address"], 16): row for row in rows}
    for address, size in told["tensors"]:
        row = by[address]
        assert row["state"] == "active_allocated" and row["tensors"] >= 1
        assert row.get("requested", size) == size, (row, size)
        assert re.match(r"local keeper\.tensors\[\d+\] in main\(\)",
                        row["owner"]), row
    view = by[told["tensors"][2][0]] if scenario == "fragments" else None
    assert view is None or view["tensors"] == 2, view
    if scenario == "training":
        roles = [row.get("role") for row in rows]
        assert roles.count("parameter") == 12, roles
        assert roles.count("gradient") == 12, roles
        assert roles.count("optimizer") == 24, roles
    for row in rows:
        if row["state"] == "inactive":
            assert row["tensors"] == 0 and "owner" not in row, row


def orphans(core, totals, scenario):
    document = answer(core, "--orphans")
    sizes = sorted(row["size"] for row in document["rows"]
                   if row["state"] == "active_allocated")
    assert sizes == ([1024, 8519680] if scenario == "raw" else []), sizes
    assert totals["orphans"] == len(sizes), totals
    assert totals["orphan_bytes"] == sum(sizes), totals
    if scenario == "raw":
        assert any("cuBLAS" in row["owner"] for row in document["rows"])


def held(document, segments):
    """The segments in which free bytes stay, and the largest tensor in each."""
    if any(row["expandable"] for row in segments):
        return
    expected = {row["address"]: row["free"] for row in segments
                if row["free"] and not row["whole"]}
    got = {row["segment"]: row for row in document["held"]}
    assert {at: row["stuck"] for at, row in got.items()} == expected
    assert sum(row["stuck"] for row in document["rows"]) == sum(
        expected.values())
    for row in got.values():
        assert row["tenants"] >= 1 and row["held_by"] >= row["tenant_size"]
    assert any(re.match(r"local keeper\.", row["tenant"])
               for row in got.values())


def whole(segments, blocks):
    """What empty_cache() would give back is one free block each."""
    of = {}
    for row in blocks:
        of.setdefault((row["device"], row["segment"]), []).append(row)
    for row in segments:
        own = of[row["device"], row["address"]]
        if not row["expandable"]:
            assert row["whole"] == (len(own) == 1 and
                                    own[0]["state"] == "inactive"), row


# ---- Would it fit

def ask(target, size, stream):
    """By which of its steps the allocator got so much."""
    before = len(re.findall(r"^SAID", target.printed(), re.M))
    target.process.stdin.write(b"ALLOC %d %s\n" % (size, stream.encode()))
    target.process.stdin.flush()
    for _ in range(6000):
        said = re.findall(r"^SAID (\w+)$", target.printed(), re.M)
        if len(said) > before:
            return said[-1]
        assert target.process.poll() is None, target.printed()
        time.sleep(0.01)
    raise AssertionError("no answer for %d bytes" % size)


def probes(told, segments, blocks):
    """Sizes at and beside what is free, and at each limit."""
    free = sorted({row["size"] for row in blocks
                   if row["state"] == "inactive" and row["device"] == "cuda:0"})
    near = free[::max(1, len(free) // 4)][-4:] + free[-1:]
    sizes = {512, MIB, MIB + 1, 10 * MIB - 512, 10 * MIB}
    for size in near:
        sizes |= {size, max(1, size - 300), size + 1}
    return sorted(sizes)


def fits(core, target, told, segments, blocks):
    """What a free block is for leaves things as they are; then, by size, what the
    driver is asked for."""
    asked, done = [], set()
    free = told["free"][0]
    for size in probes(told, segments, blocks):
        for row in answer(core, "--fits", size, "--device-free",
                          free)["rows"]:
            if row["device"] == "cuda:0":
                asked.append((size, row))
    row = answer(core)["rows"][0]
    unknown = answer(core, "--fits", "1T")["rows"][0]
    assert unknown["fits"] == ("no" if "device_free" in row else
                               "depends"), unknown
    nothing = answer(core, "--fits", "1T", "--device-free", free)["rows"][0]
    assert nothing["fits"] == "no", nothing
    for size, row in asked:
        if row["fits"] == "cached":
            said = ask(target, size, row["stream"])
            assert said == "cached", (size, row, said)
            done.add(said)
    others = [(size, row) for size, row in asked
              if row["fits"] != "cached" and row["stream"] == "0"]
    if others:
        size, row = others[-1]
        said = ask(target, size, "0")
        assert said == row["fits"], (size, row, said)
        done.add(said)
    # It has given back all that it can, and that is not enough.
    done.add(ask(target, 1 << 40, "0"))
    assert "oom" in done
    print("# %d sizes: %s" % (len(asked), ", ".join(sorted(done))))


# ---- Without symbols

def stripped(core, segments):
    """The name of the pointer is no more in the dump, and no files are there."""
    name = b"_ZN3c104cuda20CUDACachingAllocator9allocatorE"
    with open(core, "r+b") as file:
        data = file.read()
        at = data.find(name)
        while at >= 0:
            file.seek(at)
            file.write(b"X" * len(name))
            at = data.find(name, at + 1)
    del data
    document = answer(core, "--sysroot", "none")
    assert document["totals"]["found_by"] == "structure", document["totals"]
    rows = answer(core, "--segments", "--sysroot", "none")["rows"]
    assert rows == segments


def overview(core, document):
    """The first screen has the devices that have memory, and one sum of each."""
    used = [row for row in document["rows"] if row["reserved"] or row["ooms"]]
    done = heaptest.heapscan(core, "-f", "json", "-q")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["allocator"] == used
    done = heaptest.heapscan(core, "-q")
    assert len(done.stdout.splitlines()) <= 60, done.stdout
    assert re.search(r"^  GPU       cuda:0 \S+ GiB = \S+ MiB allocated \+ \S+ MiB "
                     r"reserved and free \+ \S+ GiB free or outside PyTorch$",
                     done.stdout, re.M), done.stdout
    assert re.search(r"^ALLOCATOR +allocated +reserved .*\n  cuda:0 ",
                     done.stdout, re.M), done.stdout


def compare(interpreter, scenario, environment):
    core = heaptest.tmp("allocator.core")
    with heaptest.start_target(interpreter, SCRIPT, args=(scenario,),
                               env=environment, timeout=600) as target:
        told = json.loads(re.search(r"^TOLD (.*)$", target.printed(),
                                    re.M)[1])
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "5m",
                                 "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
        document = answer(core)
        segments = answer(core, "--segments")["rows"]
        blocks = answer(core, "--blocks")["rows"]
        assert document["totals"]["allocator"] == "native"
        print("# %s: torch %s, %s: %d segments, %d blocks, by %s" % (
            interpreter, told["version"], scenario, len(segments), len(blocks),
            document["totals"]["found_by"]))
        same_segments(told, segments)
        same_blocks(told, blocks)
        same_stats(told, document["rows"])
        same_settings(told, document["totals"])
        outside(core, told, scenario)
        whole(segments, blocks)
        owned(told, blocks, scenario)
        orphans(core, document["totals"], scenario)
        if scenario in ("fragments", "raw"):
            held(document, segments)
        if scenario in ("fragments", "streams", "full"):
            fits(core, target, told, segments, blocks)
        if scenario == "streams":
            assert document["totals"]["pending"] > 0 or environment, document
    if scenario == "fragments" and not environment:
        overview(core, document)
        stripped(core, segments)
    os.remove(core)


def unused(interpreter):
    """Imported, and CUDA was never initialised."""
    script = heaptest.tmp("imported.py")
    with open(script, "w") as file:
        file.write("import os, sys, torch\nkept = torch.zeros(3)\n"
                   "print('READY', os.getpid(), flush=True)\n"
                   "sys.stdin.read()\n")
    core = heaptest.tmp("imported.core")
    with heaptest.start_target(interpreter, script, timeout=600) as target:
        done = heaptest.heapdump("-q", "--max-pause", "5m", "-o", core,
                                 target.pid)
        assert done.returncode == 0, done.stderr
    done = heaptest.heapscan(core, "allocator")
    assert done.returncode == 0, done.stderr
    assert "CUDA was never" in done.stderr, done.stderr
    assert answer(core)["rows"] == []
    os.remove(core)


PLUGGABLE = """
#include <stddef.h>
int cudaMalloc(void **, size_t);
int cudaFree(void *);
void *get(size_t size, int device, void *stream)
{
	void *got = 0;
	cudaMalloc(&got, size);
	return got;
}
void give(void *at, size_t size, int device, void *stream) { cudaFree(at); }
"""
USE_PLUGGABLE = """
torch.cuda.memory.change_current_allocator(
    torch.cuda.memory.CUDAPluggableAllocator(sys.argv[1], 'get', 'give'))
"""


def backend(interpreter, kind, before="", conf=""):
    """Another allocator is named, and what cannot be shown is said."""
    script, library = heaptest.tmp(kind + ".py"), heaptest.tmp(kind + ".so")
    if before:
        source = heaptest.tmp(kind + ".c")
        with open(source, "w") as file:
            file.write(PLUGGABLE)
        heaptest.run(["cc", "-shared", "-fPIC", "-o", library, source],
                     check=True)
    with open(script, "w") as file:
        file.write("import os, sys, torch\n%skept = torch.empty(3 << 20, "
                   "device='cuda')\nprint('READY', os.getpid(), flush=True)\n"
                   "sys.stdin.read()\n" % before)
    core = heaptest.tmp(kind + ".core")
    with heaptest.start_target(
            interpreter, script, args=(library,), timeout=600,
            env={"PYTORCH_CUDA_ALLOC_CONF": conf} if conf else {}) as target:
        done = heaptest.heapdump("-q", "--max-pause", "5m", "-o", core,
                                 target.pid)
        assert done.returncode == 0, done.stderr
    document = answer(core)
    totals = document["totals"]
    assert totals["allocator"] == kind, totals
    assert document["rows"] == [] and "reserved" not in totals, document
    # Each tensor is known all the same.
    assert totals["foreign"] == 1 and totals["foreign_bytes"] == 12 << 20, totals
    done = heaptest.heapscan(core, "allocator")
    assert "allocates by" in done.stderr and kind in done.stderr, done.stderr
    assert "tensors have 12.0 MiB of GPUs, in 1 storage\n" in done.stdout
    done = heaptest.heapscan(core, "torch-snapshot", "-o", heaptest.tmp("none"))
    assert done.returncode == 1, done.returncode
    assert "makes no snapshot either" in done.stderr, done.stderr
    done = heaptest.heapscan(core, "-q")
    assert re.search(r"^  GPU       allocated by .*, not by PyTorch's", done.stdout,
                     re.M), done.stdout
    os.remove(core)


found = heaptest.with_torch(devices=2)
for interpreter in found:
    version = release(interpreter.torch)
    label = "PyTorch %s: " % interpreter.torch
    for scenario, environment, since in RUNS:
        if version < since:
            continue
        name = (label + scenario + " " +
                environment.get("PYTORCH_CUDA_ALLOC_CONF", ""))
        if not re.search(ONLY, name) or (version < (2, 0) and not ALL and
                                         scenario not in OLDEST):
            continue
        with heaptest.case(name):
            compare(interpreter, scenario, environment)
    if re.search(ONLY, label + "unused"):
        with heaptest.case(label + "CUDA never used"):
            unused(interpreter)
    if version >= (2, 0) and re.search(ONLY, label + "async"):
        with heaptest.case(label + "cudaMallocAsync"):
            backend(interpreter, "cudaMallocAsync",
                    conf="backend:cudaMallocAsync")
    if version >= (2, 0) and ALL and re.search(ONLY, label + "pluggable"):
        with heaptest.case(label + "a pluggable allocator"):
            backend(interpreter, "pluggable", before=USE_PLUGGABLE)
if not found:
    heaptest.skip("PyTorch's allocator", "PyTorch is not here: "
                  "tests/python/fetch_torch.sh fetches it")
heaptest.finish()
