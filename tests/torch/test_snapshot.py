# SPDX-License-Identifier: Apache-2.0
"""heapscan torch-snapshot against torch.cuda.memory._snapshot() of the same moment,
and what PyTorch's own viewer makes of it: on each release of PyTorch that is here.

What cannot be equal, and why:

time_us           PyTorch measures how its clock ran once more when asked; here there
                  is only the measurement from when it was imported: checked to 2 ms
                  and to 1 in 10,000 of the time since the first event
name, filename    of C++ frames: PyTorch's addr2line has arguments, templates' and
                  sources' names; here are symbols: checked to be in those, and to be
                  as many
the last event    a snapshot is itself an event, which it does not have yet
new settings      of 2.12 and later (NEW_SETTINGS), which are not read
"""

import contextlib
import importlib.util
import io
import json
import os
import pickle
import random
import re
import stat
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SCRIPT = os.path.join(HERE, "snapshot_target.py")
NEW_SETTINGS = {"graph_capture_record_stream_reuse", "max_cached_size",
                "max_round_threshold"}
SCENARIOS = {
    "plain": {}, "history": {}, "stacks": {}, "wrapped": {}, "streams": {},
    "pools": {}, "devices": {}, "oom": {}, "annotated": {},
    "conf": {"PYTORCH_CUDA_ALLOC_CONF":
             "expandable_segments:True,roundup_power2_divisions:4"},
}

# By hand, scenarios that match; what needs "history" without it is left out.
ONLY = sys.argv[1] if len(sys.argv) > 1 else ""
# In CI 1.13, which records no past, does those that are unlike 2.0's.
OLDEST = ("history", "oom")
ALL = os.environ.get("HEAPSCAN_TORCH") == "all"
EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
OLD_CONF = {"PYTORCH_CUDA_ALLOC_CONF":
            "max_split_size_mb:40,roundup_power2_divisions:4"}


def load(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def segments_of(snapshot):
    """1.13 has nothing but them."""
    return snapshot["segments"] if isinstance(snapshot, dict) else snapshot


def traces_of(snapshot):
    return snapshot["device_traces"] if isinstance(snapshot, dict) else []


def version(interpreter):
    return tuple(map(int, interpreter.torch.split(".")[:2]))


def is_pythons(frame):
    return frame["filename"].endswith(".py") or frame["filename"][:1] == "<"


def same_frames(ours, live, where, names):
    """Those of Python are equal; of C++ there are as many, with the same names but
    for what PyTorch adds. Where among them the others stand depends on names."""
    split = [[[frame for frame in frames if is_pythons(frame) == python]
              for python in (True, False)] for frames in (ours, live)]
    assert split[0][0] == split[1][0], (where, split[0][0], split[1][0])
    assert len(split[0][1]) == len(split[1][1]), where
    for frame, theirs in zip(split[0][1], split[1][1]):
        plain = re.sub(r"<.*", "", frame["name"]).rstrip("…")
        # 2.15 knows exported names alone, and takes the next one before a
        # function that has none of its own.
        if "??" not in (plain, theirs["name"]):
            names[plain not in theirs["name"]] += 1
        # Without lines of source, 2.15 has the library and the offset in it.
        if ".so" in frame["filename"] and ".so" in theirs["filename"]:
            assert (frame["filename"], frame["line"]) == (
                theirs["filename"], theirs["line"]), (where, frame, theirs)


def same(ours, live, where, names):
    """Equal but for frames of C++ and the clock."""
    assert set(ours) == set(live), (where, set(ours) ^ set(live))
    for key in ours:
        if key == "frames":
            same_frames(ours[key], live[key], where, names)
        elif key == "history":
            assert len(ours[key]) == len(live[key]), where
            for a, b in zip(ours[key], live[key]):
                same(a, b, where + " history", names)
        elif key not in ("time_us", "blocks"):
            assert ours[key] == live[key], (where, key, ours[key], live[key])


def same_segments(ours, live, names):
    assert len(ours) == len(live) > 0, (len(ours), len(live))
    for a, b in zip(ours, live):
        same(a, b, "segment 0x%x" % b["address"], names)
        assert len(a["blocks"]) == len(b["blocks"]), b
        for one, other in zip(a["blocks"], b["blocks"]):
            same(one, other, "block of 0x%x" % b["address"], names)


def same_times(ours, live):
    if not live or "time_us" not in live[0]:
        return
    first = live[0]["time_us"]
    for a, b in zip(ours, live):
        apart = abs(a["time_us"] - b["time_us"])
        assert apart < 2000 + (b["time_us"] - first) / 1e4, (a, b)
    times = [event["time_us"] for event in ours]
    assert times == sorted(times)


def same_traces(ours, live, most, names):
    assert len(ours) == len(live)
    for device, (a, b) in enumerate(zip(ours, live)):
        if b:
            assert a[-1]["action"] == "snapshot", a[-1]
        if a and a[-1]["action"] == "snapshot":
            # A full ring has lost its oldest for it; that of 2.1 has one place.
            assert len(b) <= most and len(a) - len(b) in (0, 1), (len(a), len(b))
            b = b[1 - (len(a) - len(b)):]
            a = a[:-1]
        assert len(a) == len(b), (device, len(a), len(b))
        for i, (one, other) in enumerate(zip(a, b)):
            same(one, other, "event %d of %d" % (i, device), names)
        same_times(a, b)


def same_host(ours, live, scenario):
    """Pinned memory, from 2.14 on: to the last key, but for the clock. Of a program
    that did not record it PyTorch tells nothing; it is there all the same."""
    if scenario == "plain" and "host_segments" in live:
        assert live["host_segments"] == [], live["host_segments"]
        assert sorted((one["total_size"], one["blocks"][0]["state"])
                      for one in ours["host_segments"]) == [
            (4, "active_allocated"), (16384, "active_allocated"),
            (1 << 19, "active_allocated"), (4 << 20, "active_allocated"),
            (16 << 20, "inactive")], ours["host_segments"]
    else:
        assert ours.get("host_segments") == live.get("host_segments")
    mine, theirs = (one.get("host_traces", []) for one in (ours, live))
    assert [dict(event, time_us=0) for event in mine] == [
        dict(event, time_us=0) for event in theirs]
    assert "host_traces" not in live or scenario != "history" or len(mine) > 10
    same_times(mine, theirs)


def same_rest(ours, live, scenario):
    """Settings, pinned memory and annotations."""
    mine = ours.get("allocator_settings")
    if "allocator_settings" in live:
        expected = {key: value for key, value
                    in live["allocator_settings"].items()
                    if key not in NEW_SETTINGS}
        assert mine == expected, (mine, expected)
    same_host(ours, live, scenario)
    notes = live.get("external_annotations", [])
    assert len(ours.get("external_annotations", [])) == len(notes)
    for a, b in zip(ours.get("external_annotations", []), notes):
        assert dict(a, time_us=0) == dict(b, time_us=0), (a, b)
        assert abs(a["time_us"] - b["time_us"]) < 10000, (a, b)


def viewer_of(interpreter):
    """PyTorch's own, without PyTorch."""
    path = os.path.join(interpreter.env["PYTHONPATH"], "torch", "cuda",
                        "_memory_viz.py")
    spec = importlib.util.spec_from_file_location("_memory_viz", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flames(viewer, snapshot):
    """What its flame graphs are made of."""
    bare = segments_of(snapshot)
    # It was a list for all of them, then the snapshot for these two.
    whole = snapshot if isinstance(snapshot, dict) else bare
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        return [viewer.memory(whole, str), viewer.segments(whole, str),
                viewer.compare(bare, [], str), printed.getvalue()]


def says(function, snapshot):
    """What it says, or how it fails: 2.0's cannot do without a trace, nor without
    anything free."""
    try:
        return function(snapshot)
    except (ValueError, ZeroDivisionError) as error:
        return "failed: %r" % error


def viewed(viewer, ours, live, same_names):
    """Its functions say the same of both, and make a page."""
    told = flames(viewer, ours)
    assert all(told), told
    if same_names:
        assert told == flames(viewer, live)
    for name in "segsum", "trace":
        function = getattr(viewer, name, None)
        if not function:
            continue
        if name == "trace" and "device_traces" not in live:
            continue
        told, of_live = says(function, ours), says(function, live)
        assert isinstance(told, str) and bool(told) == bool(of_live)
        if name == "segsum" or of_live.startswith("failed: "):
            assert told == of_live, (told, of_live)
    for name in "segment_plot", "trace_plot":
        function = getattr(viewer, name, None)
        if function:
            page = says(function, ours)
            assert "<script" in page or page == says(function, live), page[:200]


def dump_of(interpreter, scenario, variables):
    live, dump = heaptest.tmp(scenario + ".live"), heaptest.tmp(scenario)
    with heaptest.start_target(interpreter, SCRIPT, [scenario, live],
                               timeout=600,
                               env=dict(variables, FAKECUDA_MEMORY="1g")) as target:
        for content in (("heap", "stacks") if scenario == "history" else
                        ("heap",)):
            path = dump if content == "heap" else dump + ".stacks"
            done = heaptest.heapdump("-q", "--max-pause", "5m", "--content",
                                     content, "-o", path, target.pid)
            assert done.returncode == 0, done.stderr
    return dump, load(live)


def compare(interpreter, viewer, scenario, dump, said):
    live = said["snapshot"]
    path = heaptest.tmp(scenario + ".pickle")
    done = heaptest.heapscan(dump, "torch-snapshot", "-o", path)
    assert done.returncode == 0, done.stderr
    ours, names = load(path), [0, 0]
    assert type(ours) is type(live), (type(ours), type(live))
    assert "heapscan" not in ours, ours["heapscan"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    same_segments(segments_of(ours), segments_of(live), names)
    if scenario in ("history", "stacks") and version(interpreter) < (2, 1):
        assert any("history" in block and block["history"][0].get("frames")
                   for segment in segments_of(live)
                   for block in segment["blocks"])
    if isinstance(live, dict):
        assert set(ours) == set(live), set(ours) ^ set(live)
        most = 50 if scenario == "wrapped" else 100000
        same_traces(ours["device_traces"], live["device_traces"], most, names)
        same_rest(ours, live, scenario)
    if scenario == "stacks" and version(interpreter) >= (2, 1):
        assert names[0] > 2 * names[1] and names[0] > 100, names
    viewed(viewer, ours, live, scenario != "stacks")
    print("# %s, %s: %d segments, %d events, %d of %d names of C++" % (
        interpreter.torch, scenario, len(segments_of(ours)),
        sum(map(len, traces_of(ours))), names[0], sum(names)))


def size_of(message, words):
    """A number of the exception's message."""
    number, unit = re.search(r"([\d.]+) (\w+) ?" + words, message).groups()
    return float(number) * {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20,
                            "GiB": 1 << 30}[unit]


def near(got, expected):
    return abs(got - expected) <= max(expected * 0.01, 8 << 10)


def tensors(dump, screen):
    """The overview's section about tensors is the beginning of that view, and what
    it says to ask next can be asked."""
    rows = heaptest.heapscan(dump, "tensors", "-q").stdout.splitlines()
    section = screen[screen.index("\nTENSORS "):].strip().split("\n\n")[0]
    lines = section.splitlines()[2:]
    assert lines, section
    assert [line.split()[:5] for line in lines[:4]] == [
        line.split()[:5] for line in rows[2:2 + len(lines[:4])]], (section, rows)
    assert "\nTYPES     " in screen, screen
    following = re.findall(r"^(?:next:|     ) heapscan \S+ (.*)$", screen, re.M)
    assert [words.split()[0] for words in following] == [
        "allocator", "torch-snapshot"], screen
    fits = heaptest.heapscan(dump, *following[0].split(), "-q", "-f", "json")
    assert fits.returncode == 0, fits.stderr
    assert "--device-free" not in following[0], following
    assert json.loads(fits.stdout)["rows"][0]["fits"] == "no", fits.stdout


def why(dump, said):
    """The overview says why it failed, in the exception's numbers and those of the
    snapshot."""
    done = heaptest.heapscan(dump, "-f", "json", "-q")
    assert done.returncode == 0, done.stderr
    failure, message = json.loads(done.stdout)["failure"], said["message"]
    assert failure["state"] == "handled" and failure["kind"] == "tried", failure
    assert failure["requested"] == 200 << 20
    assert failure["device"] == "cuda:0"
    assert failure["allocated"] == said["allocated"] or near(
        failure["allocated"], said["allocated"]), failure
    # 2.3 ends its message before all that.
    if message.endswith(" GPU "):
        assert failure["device_free"] == 24 << 20, failure
    else:
        assert near(failure["device_free"], size_of(
            message, r"(?:is )?free")), (failure, message)
        assert near(failure["device_total"], 1 << 30), failure
    free = [block["size"] for segment in segments_of(said["snapshot"])
            for block in segment["blocks"] if block["state"] == "inactive"]
    assert failure["as_then"] is True, failure
    assert failure["pieces"] == len(free), failure
    assert failure["largest_free"] == max(free), failure
    assert near(failure["reserved_and_free"], sum(free)), failure
    events = [event for trace in traces_of(said["snapshot"])[:1]
              for event in trace if event["action"] == "oom"]
    assert failure["exact"] is bool(events), failure
    if events:
        assert failure["device_free"] == events[-1]["device_free"], failure
    # Of what the driver had free the other views know, too.
    row = json.loads(heaptest.heapscan(
        dump, "allocator", "-q", "-f", "json").stdout)["rows"][0]
    assert row["device_free"] == failure["device_free"], row
    assert row["device_free_from"] == ("event" if events else "exception")
    assert json.loads(done.stdout)["allocator"][0] == row
    assert failure["verdict"] == "pieces", failure
    assert failure["expandable_segments"] == "would", failure
    assert re.match(r"empty snapshot_target\.py:\d+ < ask snapshot_target"
                    r"\.py:\d+ < oom snapshot_target\.py:\d+$",
                    failure["place"]), failure
    screen = heaptest.heapscan(dump, "-q").stdout
    section = screen[screen.index("WHY IT FAILED"):].split("\n\n")[0]
    assert len(screen.splitlines()) <= 60, screen
    assert max(map(len, section.splitlines())) <= 120, section
    assert "…" not in section, section
    table = screen[screen.index("\nALLOCATOR "):].strip().split("\n\n")[0]
    assert " 1000.0 MiB " in table, table
    assert max(map(len, table.splitlines())) <= 100, table
    assert "empty() asked cuda:0 for 200.0 MiB:  empty snapshot_target.py:" in (
        section), section
    assert "in %d pieces, the largest 48.0 MiB" % len(free) in section, section
    assert "expandable_segments would have made" in section, section
    tensors(dump, screen)
    # Nothing of the text itself, unless asked for.
    assert "Tried to allocate" not in screen, section
    values = heaptest.heapscan(dump, "-q", "--values").stdout
    assert "Tried to allocate" in values, values


def apart(interpreter):
    """Where expandable segments would not have helped: nor do they."""
    dump, said = dump_of(interpreter, "apart", {})
    done = heaptest.heapscan(dump, "-f", "json", "-q")
    failure = json.loads(done.stdout)["failure"]
    assert failure["verdict"] == "pieces", failure
    assert failure["expandable_segments"] == "would_not", failure
    screen = heaptest.heapscan(dump, "-q").stdout
    assert "with pages for each stream it needs at least 1.11 GiB" in screen
    fits = heaptest.heapscan(dump, "allocator", "--fits", "500M", "-q", "-f",
                             "json").stdout
    row = json.loads(fits)["rows"][0]
    assert row["fits"] == "no" and "would not be enough: with pages" in row[
        "help"], row
    os.unlink(dump)
    dump, on = dump_of(interpreter, "apart", EXPANDABLE)
    assert "Tried to allocate 500.00 MiB" in on["message"], on["message"]
    failure = json.loads(heaptest.heapscan(
        dump, "-f", "json", "-q").stdout)["failure"]
    assert failure["expandable_segments"] == "on", failure
    os.unlink(dump)


def limited(interpreter):
    """It was not the device that refused it, but a limit that the program has set:
    on what is reserved, with the segment of 20 MiB that 2 MiB need."""
    dump, said = dump_of(interpreter, "limit", {})
    failure = json.loads(heaptest.heapscan(
        dump, "-f", "json", "-q").stdout)["failure"]
    assert near(failure["allowed"], size_of(said["message"], "allowed")), failure
    assert failure["device_free"] > 600 << 20, failure
    assert failure["verdict"] == "limit", failure
    assert failure["expandable_segments"] == "would_not", failure
    screen = heaptest.heapscan(dump, "-q").stdout
    assert "set_per_process_memory_fraction): 307.2 MiB are allowed" in screen, \
        screen
    os.unlink(dump)


def damaged(dump):
    """Bytes of the dump changed at random: a file that loads, or an error; never
    a crash; and where something was left out, the file says so."""
    generator = random.Random(11)
    plain = heaptest.tmp("plain.core")
    heaptest.expand(dump, plain)
    size = os.path.getsize(plain)
    partial = 0
    for i in range(6):
        with open(plain, "r+b") as core:
            for _ in range(2000):
                core.seek(generator.randrange(size // 8) * 8)
                core.write(generator.randbytes(8))
        path = heaptest.tmp("damaged.pickle")
        if os.path.exists(path):
            os.unlink(path)
        done = heaptest.heapscan(plain, "torch-snapshot", "-o", path,
                                 "--no-index", "-q")
        assert done.returncode in (0, 1, 3), (done.returncode, done.stderr)
        if done.returncode == 1:
            assert not os.path.exists(path), i
            continue
        ours = load(path)
        assert isinstance(ours, list) or {"segments", "device_traces"} <= set(
            ours), i
        partial += "heapscan" in ours
        if done.returncode == 3:
            assert ours["heapscan"]["complete"] is False
    return partial


def cut(dump):
    """Half a dump: an error, or a partial file that says so."""
    plain = heaptest.tmp("cut.core")
    heaptest.expand(dump, plain)
    os.truncate(plain, os.path.getsize(plain) * 2 // 3)
    path = heaptest.tmp("cut.pickle")
    done = heaptest.heapscan(plain, "torch-snapshot", "-o", path, "--no-index",
                             "-q")
    assert done.returncode in (1, 3), (done.returncode, done.stderr)
    if done.returncode == 3:
        assert load(path)["heapscan"]["complete"] is False
    else:
        assert not os.path.exists(path)


def refused(dump, old):
    """What makes no sense is said, and nothing is written."""
    path = heaptest.tmp("refused.pickle")
    for words, sentence in (((), "needs -o FILE"),
                            (("-o", path, "-f", "json"), "--format")):
        done = heaptest.heapscan(dump, "torch-snapshot", *words)
        assert done.returncode == 2 and sentence in done.stderr, done.stderr
        assert not os.path.exists(path)
    # Of a dump without the heap nobody says that there was no device; in 1.13 the
    # devices alone show where the allocator is.
    for words in () if old else (["torch-snapshot", "-o", path], ["allocator"],
                  ["allocator", "--blocks"], ["allocator", "--fits", "1g"]):
        done = heaptest.heapscan(dump + ".stacks", *words)
        assert done.returncode == 1 and not done.stdout, (words, done.stdout)
        assert "has devices, but the memory that they are in was not captured: " \
            "the dump was made with --content stacks" in done.stderr, done.stderr
        assert not os.path.exists(path)
    os.unlink(dump + ".stacks")


def test(interpreter, newest):
    label = "torch %s: " % interpreter.torch
    viewer, kept = viewer_of(interpreter), None
    for scenario, variables in SCENARIOS.items():
        dump = None
        if not re.search(ONLY, scenario):
            continue
        if version(interpreter) < (2, 0) and not ALL and (
                scenario not in OLDEST):
            continue
        if version(interpreter) < (2, 1) and scenario == "conf":
            variables = OLD_CONF
        with heaptest.case(label + "snapshot equals the live one: " + scenario):
            dump, said = dump_of(interpreter, scenario, variables)
            if scenario == "history":
                kept = dump
            compare(interpreter, viewer, scenario, dump, said)
        if dump and scenario == "oom":
            with heaptest.case(label + "why it failed"):
                why(dump, said)
        if dump and dump != kept:
            os.unlink(dump)
    # Of those whose settings are known.
    # 2.3 does not say what there was.
    if newest and version(interpreter) >= (2, 2) and (
            version(interpreter)[:2] != (2, 3) and re.search(ONLY, "apart")):
        with heaptest.case(label + "expandable segments would not help"):
            apart(interpreter)
        with heaptest.case(label + "a limit of the program's own"):
            limited(interpreter)
    if not kept:
        return
    with heaptest.case(label + "refused"):
        refused(kept, version(interpreter) < (2, 0))
    with heaptest.case(label + "a dump that is cut"):
        cut(kept)
    with heaptest.case(label + "a dump that is damaged"):
        print("# partial files: %d" % damaged(kept))


def main():
    found = heaptest.with_torch(devices=2)
    if not found:
        heaptest.skip("torch-snapshot", "no wheel of PyTorch: "
                      "tests/python/fetch_torch.sh fetches them")
    # The oldest and the newest, unless told otherwise.
    if not os.environ.get("HEAPSCAN_INTERPRETERS"):
        found = [one for one in found if one not in found[1:-1]]
    for interpreter in found:
        test(interpreter, interpreter is found[-1])
    heaptest.finish()


if __name__ == "__main__":
    main()
