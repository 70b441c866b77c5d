# SPDX-License-Identifier: Apache-2.0
"""heapscan shared: workers that look at, write to and collect what they were
forked with; against the size of that, and against what the kernel says of each
page: smaps and the bit of pagemap for pages that none else has."""

import contextlib
import glob
import json
import os
import shutil
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

TARGET = os.path.join(HERE, "shared_target.py")
PAGE = os.sysconf("SC_PAGESIZE")
MIB = 1 << 20


@contextlib.contextmanager
def forked(interpreter):
    """The root's pid, {how: pid} and {what: bytes}."""
    process = subprocess.Popen([*interpreter.command, TARGET],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               encoding="ascii")
    pids, sizes = {}, {}
    try:
        for line in process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "READY":
                break
            if word.isdigit():
                pids[rest] = int(word)
            else:
                sizes[word] = int(rest)
        yield process.pid, pids, sizes
    finally:
        for pid in pids.values():
            os.kill(pid, 9)
        process.kill()
        process.communicate()


def exclusive(pid):
    """Bytes of private writable memory that no other process has."""
    count = 0
    with open("/proc/%d/maps" % pid) as maps, \
            open("/proc/%d/pagemap" % pid, "rb", buffering=0) as pagemap:
        for line in maps:
            span, protection = line.split()[:2]
            if protection[1] != "w" or protection[3] != "p":
                continue
            start, end = (int(text, 16) // PAGE for text in span.split("-"))
            pagemap.seek(8 * start)
            entries = pagemap.read(8 * (end - start))
            # Present, not of a file, and nobody else's.
            count += sum(entry >> 56 & 1 and entry >> 63 and
                         not entry >> 61 & 1
                         for entry, in struct.iter_unpack("<Q", entries))
    return count * PAGE


def smaps(pid):
    with open("/proc/%d/smaps_rollup" % pid) as file:
        return {key: int(value.split()[0]) * 1024 for key, _, value in
                (line.partition(":") for line in file) if value.split()[1:]
                == ["kB"]}


def answer(*argv):
    done = heaptest.heapscan(*argv, "shared", "-f", "json", "--no-progress")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def near(got, wanted, slack):
    assert abs(got - wanted) <= slack, (got, wanted)


def check_row(how, row, alone, said, sizes):
    """Causes, by what the worker did; their sum, by what the kernel says."""
    differs = sum(row[key] for key in ("counts", "collector", "written", "new"))
    assert row["unknown"] == 0 and row["private_memory"] == \
        differs + row["same"], row
    # All that differs is private, and the rest of what is was put back.
    near(differs + row["restored"], alone, MIB // 4)
    for key, name in (("pss", "Pss"), ("shared_dirty", "Shared_Dirty"),
                      ("private_dirty", "Private_Dirty")):
        near(row[key], said[name], MIB // 4)
    wanted = dict.fromkeys(("counts", "collector", "written", "restored"), 0)
    if how == "counts":
        wanted["counts"] = sizes["FLOATS"]
        assert row["new"] >= sizes["FLOATS"] // 8, row
    elif how == "writes":
        wanted["written"] = sizes["BUFFER"]
    for key, size in wanted.items():
        if how == "collects" and key != "written":
            continue
        near(row[key], size, size // 8 + MIB)
    if how == "collects":
        # The lists' headers are put back, but for those at the ends.
        assert row["restored"] + row["collector"] > sizes["LISTS"] * 3 // 4


def family(interpreter):
    folder = heaptest.tmp("family")
    with heaptest.case("%s: workers" % interpreter):
        os.mkdir(folder)
        with forked(interpreter) as (root, pids, sizes):
            # Before a snapshot shares every page.
            alone = {pid: exclusive(pid) for pid in pids.values()}
            said = {pid: smaps(pid) for pid in pids.values()}
            done = heaptest.heapdump("-q", "--children", "--content", "full",
                                     "--max-pause", "1m", "-o", folder, root)
            assert done.returncode == 0, done.stderr
        manifest, = glob.glob(folder + "/*.manifest.json")
        whole = answer(manifest)
        rows = {row["pid"]: row for row in whole["rows"]}
        assert set(rows) == {root, *pids.values()}, rows.keys()
        for how, pid in pids.items():
            assert rows[pid]["parent"] == root
            check_row(how, rows[pid], alone[pid], said[pid], sizes)
        children = [rows[pid] for pid in pids.values()]
        assert "parent" not in rows[root]
        assert max(row["same"] for row in children) <= rows[root]["same"] \
            <= rows[root]["private_memory"]
        totals = whole["totals"]
        for key in "same", "counts", "collector", "written", "new", "restored":
            assert totals[key] == sum(row[key] for row in children), key
        assert totals["once"] == sum(
            row["private_memory"] for row in rows.values()) - totals["same"]
    cores = sorted(glob.glob(folder + "/*.core*"))
    if len(cores) == len(pids) + 1:
        check_others(interpreter, folder, manifest, cores, whole)
    shutil.rmtree(folder, ignore_errors=True)


def check_others(interpreter, folder, manifest, cores, whole):
    with heaptest.case("%s: named one by one, and moved" % interpreter):
        again = answer(*cores)
        key = lambda row: row["pid"]
        assert sorted(again["rows"], key=key) == sorted(whole["rows"], key=key)
        moved = folder + ".moved"
        shutil.rmtree(moved, ignore_errors=True)
        os.rename(folder, moved)
        try:
            there = answer(os.path.join(moved, os.path.basename(manifest)))
        finally:
            os.rename(moved, folder)
        for one, other in zip(there["rows"], whole["rows"]):
            assert {**one, "path": 0} == {**other, "path": 0}
    with heaptest.case("%s: for people" % interpreter):
        done = heaptest.heapscan(manifest, "shared")
        assert done.returncode == 0, done.stderr
        assert "gc.freeze() before the fork" in done.stdout, done.stdout
        done = heaptest.heapscan(manifest, "shared", "--fail-if",
                                 "counts>1MiB")
        assert done.returncode == 5, done.returncode


def damaged():
    """Manifests that are none."""
    path = heaptest.tmp("x.manifest.json")
    with heaptest.case("damaged manifests are refused"):
        for text in ("{}", "{", '{"schema": "heapdump.manifest/2"}',
                     '{"schema": "heapdump.manifest/1", "dumps": []}',
                     '{"schema": "heapdump.manifest/1", "dumps": [{"path": 7',
                     '{"a": ' + "[" * 10000, '{"a": "\\uZZZZ"}',
                     '{"schema": "heapdump.manifest/1", "dumps": [1]}'):
            with open(path, "w") as file:
                file.write(text)
            done = heaptest.heapscan(path, "shared")
            assert done.returncode == 1 and done.stderr.startswith(
                "heapscan: "), (text, done.returncode, done.stderr)


def main():
    chosen = {}
    for interpreter in heaptest.interpreters():
        if not interpreter.free_threaded and not interpreter.root:
            chosen[interpreter.version[:2]] = interpreter
    for release in (3, 8), (3, 12), (3, 15):
        if release in chosen:
            family(chosen[release])
        else:
            heaptest.skip("workers of %d.%d" % release, "no interpreter")
    damaged()
    heaptest.finish()


main()
