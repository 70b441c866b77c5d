# SPDX-License-Identifier: Apache-2.0
"""heapscan allocator and torch-snapshot on structures of PyTorch's allocator that
caching_target.c makes: of releases whose wheels run nowhere any more and of those
that do not exist yet, without symbols, by the hundred thousand, and damaged."""

import json
import os
import pickle
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SOURCE = os.path.join(HERE, "caching_target.c")
RELEASES = ("1.13", "2.0", "2.1", "2.6", "2.8", "2.14", "2.15", "3.0")
TEXTS = ("compile_context", "user_metadata", "internal_metadata")
# What it does, and whether all blocks are still found; None: that depends.
DAMAGE = {"next": True, "prev": True, "overlap": False, "size": False,
          "pool": True, "allocated": False, "count": True, "loop": None,
          "node": True, "actives": True, "slots": True, "stats": True,
          "device": False}


def built(*options, library="c10_cuda", driver=False):
    """The program, beside its library, and what passes for CUDA's."""
    folder = heaptest.tmp("caching" + "".join(options) + library)
    os.makedirs(folder)
    program = os.path.join(folder, "program")
    gcc = [heaptest.tool("gcc", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1"]
    more = []
    if driver:
        more = [["-fPIC", "-shared", "-x", "c", "/dev/null", "-o",
                 os.path.join(folder, "libcuda.so.1")]]
    for argv in (*more,
                 [*options, SOURCE, "-fPIC", "-shared", "-fvisibility=hidden",
                  "-o", os.path.join(folder, "lib%s.so" % library)],
                 ["-DPROGRAM", SOURCE, "-o", program, "-L" + folder,
                  "-l" + library, "-Wl,-rpath," + folder,
                  *(["-Wl,--no-as-needed", "-l:libcuda.so.1"] if driver
                    else [])]):
        done = heaptest.run(gcc + argv)
        assert done.returncode == 0, done.stderr
    return program


def dumped(core, *argv, events=None):
    """Segments and blocks as it printed them, and where it was damaged; events are
    added to the list."""
    segments, blocks, where = {}, {}, None
    process = subprocess.Popen(argv, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, encoding="ascii")
    try:
        for line in process.stdout:
            word, *rest = line.split()
            if word == "SEGMENT":
                device, address, *numbers = map(int, rest)
                segments[device, address] = numbers
            elif word == "BLOCK":
                device, address, size, requested = map(int, rest[:4])
                blocks[device, address] = (size, requested, rest[4])
            elif word == "EVENT" and events is not None:
                events.append((int(rest[0]), rest[1], *map(int, rest[2:])))
            elif word == "DAMAGE":
                where = int(rest[0])
            elif word == "READY":
                break
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "1m",
                                 "-o", core, process.pid)
        assert done.returncode == 0, done.stderr
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return segments, blocks, where


def answer(core, *words):
    done = heaptest.heapscan(core, "allocator", *words, "-n", "0", "-f", "json")
    assert done.returncode in (0, 3), (done.returncode, done.stderr)
    return json.loads(done.stdout)


def key(row):
    return int(row["device"][5:]), int(row["address"], 16)


def same_segments(core, expected, requested):
    rows = {key(row): row for row in answer(core, "--segments")["rows"]}
    assert rows.keys() == expected.keys(), (len(rows), len(expected))
    ids = ("(0, 0)", "(0, 1)", "(2, 0)")
    for at, (size, allocated, active, asked, stream, small, pool,
             expandable) in expected.items():
        row = rows[at]
        got = (row["size"], row["allocated"], row["active"],
               row.get("requested"), int(row["stream"], 0),
               row["pool"].split()[0], row["pool_id"], row["expandable"])
        assert got == (size, allocated, active, asked if requested else None,
                       stream, "small" if small else "large", ids[pool],
                       bool(expandable)), (at, got, expected[at])


def blocks_of(core):
    return {key(row): (row["size"], row.get("requested", 0), row["state"])
            for row in answer(core, "--blocks")["rows"]}


def same_totals(core, segments, requested):
    document = answer(core)
    assert len(document["rows"]) == 2
    for device, row in enumerate(document["rows"]):
        own = [numbers for at, numbers in segments.items() if at[0] == device]
        assert row["agrees"] is True
        assert row["segments"] == len(own)
        for i, name in enumerate(("reserved", "allocated", "active")):
            assert row[name] == sum(numbers[i] for numbers in own), (name, row)
        assert ("requested" in row) == requested
        assert (row["retries"], row["ooms"]) == (7, 3), row
        assert row["free"] == row["reserved"] - row["active"]
        assert row["returnable"] + row["stuck"] == row["free"]
        assert row["fragmentation"] == round(row["stuck"] / row["reserved"],
                                             10), row
    return document["totals"]


def snapshot_of(core):
    """What torch-snapshot writes, and its findings."""
    path = heaptest.tmp("pickle")
    done = heaptest.heapscan(core, "torch-snapshot", "-o", path, "-v")
    assert done.returncode in (0, 3), (done.returncode, done.stderr)
    with open(path, "rb") as file:
        return pickle.load(file), done.stderr


def told(device, event):
    """As the program printed it."""
    strings = [len(event[key]) for key in TEXTS if key in event]
    return (device, event["action"], event.get("addr", event.get("device_free")),
            event["size"], event["stream"], *strings)


def same_events(core, events):
    """Those of the pickle and of the history are what was recorded."""
    snapshot, _ = snapshot_of(core)
    assert "heapscan" not in snapshot, snapshot["heapscan"]
    ours = [told(device, event)
            for device, trace in enumerate(snapshot["device_traces"])
            for event in trace]
    # An internal_metadata that is empty is not there.
    assert ours == [event if event[-1] or len(event) < 8 else event[:-1]
                    for event in events], (
        ours[:3], events[:3])
    times = [event.get("time_us") for event in snapshot["device_traces"][0]]
    # In microseconds, of a clock that is found whatever is exported.
    assert times[0] is None or all(
        abs(time * 1000 - (1700000000000000000 + 1000 + 977 * i)) < 3000
        for i, time in enumerate(times)), times
    rows = answer(core, "--history")["rows"]
    assert len(rows) == len(events)
    assert sorted((row["action"], row["size"]) for row in rows) == sorted(
        (event[1], event[3]) for event in events)


def as_laid_out(program, release, found_by):
    core = heaptest.tmp("core")
    events = []
    segments, blocks, _ = dumped(core, program, release, "7", "60",
                                 events=events)
    totals = same_totals(core, segments, release != "1.13")
    assert totals["found_by"] == found_by, totals
    same_segments(core, segments, release != "1.13")
    assert blocks_of(core) == blocks
    if release != "1.13":
        assert len(events) == 101
        same_events(core, events)
    os.remove(core)


def past_lost(program, release, what):
    """What was recorded and is not known is told of, never taken for nothing."""
    core = heaptest.tmp("core")
    _, blocks, where = dumped(core, program, release, "7", "60", what)
    snapshot, stderr = snapshot_of(core)
    assert len(snapshot["device_traces"][1]) == 1, snapshot["device_traces"]
    assert snapshot["device_traces"][0] == []
    assert not snapshot["heapscan"]["complete"]
    finding, = snapshot["heapscan"]["findings"]
    assert finding.startswith("torch-trace at 0x"), finding
    assert what == "ring" or "torch-trace at 0x%x" % where in finding, finding
    assert finding in stderr, stderr
    done = heaptest.heapscan(core, "allocator", "--history", "-v")
    assert finding in done.stderr and "nothing was recorded" not in done.stderr
    assert blocks_of(core) == blocks
    os.remove(core)


def damaged(program, release, what, whole):
    core = heaptest.tmp("core")
    segments, blocks, where = dumped(core, program, release, "7", "60", what)
    done = heaptest.heapscan(core, "allocator", "-v", "-f", "json")
    assert done.returncode in (0, 3), (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines()
             if line.startswith("heapscan: allocator at 0x")]
    assert lines, done.stderr
    # Somewhere in the structure that was damaged, or of what it leads to.
    found = blocks_of(core)
    if whole:
        assert found == blocks, (len(found), len(blocks))
    else:
        assert found != blocks or whole is None
        assert len(found) >= len(blocks) // 2 - 2, (
            len(found), len(blocks))
    if what == "device":
        # The other one is not hurt.
        other = {at: block for at, block in blocks.items() if at[0] == 1}
        assert found == other
    if what in ("size", "allocated", "device"):
        assert any("0x%x" % where in line for line in lines), (where, lines)
    if what in ("size", "overlap", "stats"):
        assert json.loads(done.stdout)["rows"][0]["agrees"] is False
    os.remove(core)


def two_copies(program, another):
    """What another copy of PyTorch allocates is not told, and that is said. Both
    have the same here."""
    core = heaptest.tmp("core")
    segments, blocks, _ = dumped(core, program, "2.6", "7", "60", another)
    shown = same_totals(core, segments, True)["module"]
    assert blocks_of(core) == blocks
    done = heaptest.heapscan(core, "allocator", "-v")
    said = re.search(r"allocator at 0x\w+: (.*) has a caching allocator too, with "
                     r"its devices at 0x\w+: that one is not told of", done.stderr)
    assert said, done.stderr
    assert {shown, said[1]} == {another, os.path.join(
        os.path.dirname(program), "libc10_cuda.so")}, (shown, said[1])
    os.remove(core)


def many(program):
    core = heaptest.tmp("core")
    _, blocks, _ = dumped(core, program, "2.6", "1", "30000")
    assert len(blocks) > 100000, len(blocks)
    started = time.monotonic()
    rows = answer(core, "--fits", "1GiB")["rows"]
    took = time.monotonic() - started
    assert rows
    print("# %d blocks: %.2f s" % (len(blocks), took))
    assert took < (10 if "sanitized" in heaptest.BUILD else 3), took
    os.remove(core)


def absent():
    with subprocess.Popen(["sleep", "60"]) as process:
        core = heaptest.tmp("core")
        done = heaptest.heapdump("-q", "-o", core, process.pid)
        process.kill()
    assert done.returncode == 0, done.stderr
    for words in ((), ("--segments",), ("--blocks",), ("--fits", "1M")):
        done = heaptest.heapscan(core, "allocator", *words)
        assert done.returncode == 0, done.stderr
        assert "no PyTorch with CUDA" in done.stderr, done.stderr
    document = answer(core)
    assert document["rows"] == [] and "allocator" not in document["totals"]
    os.remove(core)


with heaptest.case("the allocator's structures are built"):
    exported, stripped = built(), built("-DSTRIPPED")
    for release in RELEASES:
        with heaptest.case("allocator as %s lays it out" % release):
            as_laid_out(exported, release, "symbol")
        with heaptest.case("allocator of %s without symbols" % release):
            as_laid_out(stripped, release, "structure")
    with heaptest.case("allocator in a library of another name"):
        as_laid_out(built("-DSTRIPPED", library="all", driver=True), "2.6",
                    "structure")
    for what, whole in DAMAGE.items():
        for release in ("1.13", "2.6"):
            with heaptest.case("allocator of %s, damaged: %s" % (release, what)):
                damaged(exported, release, what, whole)
    for release in ("2.6", "2.15", "3.0"):
        for what in ("events", "ring"):
            with heaptest.case("the past of %s, damaged: %s" % (release, what)):
                past_lost(exported, release, what)
    with heaptest.case("two copies of PyTorch, with an allocator each"):
        two_copies(exported, os.path.join(os.path.dirname(built(
            "-DSTRIPPED", library="c10_cuda-2")), "libc10_cuda-2.so"))
    with heaptest.case("a hundred thousand blocks"):
        many(exported)
with heaptest.case("a process without PyTorch"):
    absent()
heaptest.finish()
