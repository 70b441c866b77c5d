# SPDX-License-Identifier: Apache-2.0
"""heapscan malloc, with other allocators: each block of a program that records
its own, by jemalloc, tcmalloc and mimalloc of several suites of Debian, and their sums,
which the program asks them for just before it is dumped; with words changed at
random; and the mimalloc of free-threaded builds of Python.

tests/python/fetch_allocators.sh fetches the libraries."""

import bisect
import contextlib
import glob
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import damage
import elfcore
import heaptest

TOOLS = os.path.join(heaptest.BUILD, "tests", "tools")
SUITES = ["bullseye", "bookworm", "trixie", "sid"]
LIBRARIES = [("jemalloc", "libjemalloc.so.2"),
             ("tcmalloc", "libtcmalloc_minimal.so.4"),
             ("mimalloc", "libmimalloc.so.[23]")]


# ---- Programs

def preloaded(suite, library):
    """Run the target with a library of a suite: by the libraries of that suite,
    where those are newer than this machine's, else by these."""
    root = os.path.join(heaptest.CACHE, "allocators", suite, "root")
    folder = root + "/usr/lib/x86_64-linux-gnu"
    paths = glob.glob(os.path.join(folder, library))
    if not paths:
        raise heaptest.Skip("not fetched: %s of %s" % (library, suite))
    path = paths[0]
    target = os.path.join(TOOLS, "malloctarget")
    by_loader = [root + "/lib64/ld-linux-x86-64.so.2", "--library-path",
                 folder + ":" + root + "/lib/x86_64-linux-gnu", "--preload",
                 path, target]
    if os.path.exists(by_loader[0]) and subprocess.run(
            by_loader, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL).returncode == 0:
        return by_loader, root
    return ["env", "LD_PRELOAD=" + path, target], "/"


def dump(argv, core):
    """What it said before it was dumped."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, encoding="ascii")
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.split())
            if line.startswith("READY "):
                break
        assert lines and lines[-1][0] == "READY", argv
        # Behind env it is the same process.
        done = heaptest.heapdump("-q", "--no-compress", "--content", "full",
                                 "--max-pause", "1m", "-o", core,
                                 lines[-1][1])
        assert done.returncode == 0, done.stderr
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return lines


# ---- What was found

class Found:
    """blockdump's answer of the one allocator that is read."""

    def __init__(self, core, *options):
        done = heaptest.run([os.path.join(TOOLS, "blockdump"), core, *options],
                            timeout=60)
        assert done.returncode == 0, done.stderr
        self.names, self.pieces, self.findings = [], [], []
        self.kinds, self.classes = {}, []
        for line in done.stdout.splitlines():
            word, *fields = line.split()
            if word == "PIECE":
                self.pieces.append((fields[0], int(fields[1]), int(fields[2])))
            elif word == "KIND":
                self.kinds[fields[0]] = int(fields[1]), int(fields[2])
            elif word == "CLASS":
                self.classes.append(list(map(int, fields)))
            elif word in ("HEAP", "CACHES"):
                self.names.append(" ".join(fields))
            else:
                self.findings.append(line)

    def blocks(self, kind):
        return {start: end for one, start, end in self.pieces if one == kind}

    def bytes(self, *kinds):
        return sum(self.kinds[kind][0] for kind in kinds)


def check_blocks(name, found, lines):
    """Every recorded block with its size; of what was freed, none."""
    used = {int(line[1]): int(line[2]) for line in lines if line[0] == "USED"}
    freed = {int(line[1]) for line in lines if line[0] == "FREED"}
    blocks = found.blocks("used")
    missing = used.keys() - blocks.keys()
    if name == "mimalloc":
        # Those aligned to a page and more lie within a larger one.
        starts = sorted(blocks)
        for address in [one for one in missing if one % 4096 == 0]:
            start = starts[bisect.bisect(starts, address) - 1]
            assert address + used.pop(address) <= blocks[start]
            missing.discard(address)
    assert not missing, "%d missing: %#x" % (len(missing), min(missing))
    wrong = [address for address in used
             if blocks[address] - address != used[address]]
    assert not wrong, "%d of another size: %#x" % (len(wrong), wrong[0])
    # The libraries have a few of their own, also where something was freed.
    assert len(blocks) - len(used) < 30, len(blocks) - len(used)
    again = freed - used.keys() & blocks.keys()
    assert len(again) < 10, sorted(map(hex, again))
    end = 0
    for kind, start, limit in found.pieces:
        assert end <= start < limit, (kind, hex(start), hex(limit))
        end = limit


def check_pieces(name, found):
    """Sums of pieces are what the totals and classes say."""
    for kind, (size, _) in found.kinds.items():
        assert size == sum(end - start for one, start, end in found.pieces
                           if one == kind), kind
    for i, kind in enumerate(("used", "cached", "free")):
        assert found.kinds[kind][1] == len(found.blocks(kind)) == sum(
            row[3 + i] for row in found.classes), kind
    assert found.kinds["free"][1] > 100 and found.kinds["unused"][0] > 0
    assert (found.kinds["cached"][1] > 100) == (name != "mimalloc")


def check_said(name, found, lines):
    """What the allocator says of itself, to the byte."""
    said = {line[1]: int(line[2]) for line in lines if line[0] == "OTHER"}
    used = found.bytes("used", "cached")
    spans = used + found.bytes("free", "overhead")
    if name == "jemalloc":
        # It counts what threads have at hand as allocated.
        ours = {"stats.allocated": used, "stats.active": spans,
                "stats.retained": found.bytes("returned"),
                "stats.mapped": spans + found.bytes("unused", "metadata")}
    else:
        ours = {"generic.current_allocated_bytes": found.bytes("used"),
                "generic.heap_size": spans + found.bytes("unused", "returned"),
                "tcmalloc.central_cache_free_bytes":
                    found.bytes("free", "overhead"),
                "tcmalloc.pageheap_free_bytes": found.bytes("unused"),
                "tcmalloc.pageheap_unmapped_bytes": found.bytes("returned")}
        assert found.bytes("cached") == said.pop(
            "tcmalloc.current_total_thread_cache_bytes") + said.pop(
                "tcmalloc.transfer_cache_free_bytes")
    assert ours == said, (ours, said)
    assert found.bytes("returned") > 0


def answer(core, root, status=(0,)):
    done = heaptest.heapscan(core, "malloc", "--top", "0", "-f", "json",
                             "--no-progress", "--sysroot", root)
    assert done.returncode in status, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def check_view(name, core, root, found):
    whole = answer(core, root)
    row, = whole["others"]
    assert row["allocator"] == name and "unread" not in row, row
    for kind, (size, _) in found.kinds.items():
        assert row[kind] == size, kind
    assert row["blocks"] == found.kinds["used"][1]
    assert len(whole["sizes"]) == len(found.classes)
    assert whole["dump"]["findings"] == 0, whole["dump"]
    done = heaptest.heapscan(core, "malloc", "--sysroot", root)
    assert done.returncode == 0 and name in done.stdout \
        and "more sizes" in done.stdout, done.stdout


def library(name, file, suite):
    core, case = heaptest.tmp("core"), "%s of %s: " % (name, suite)
    with heaptest.case(case + "each block"):
        argv, root = preloaded(suite, file)
        lines = dump(argv, core)
        found = Found(core)
        assert found.names == [name + " -", "-"], found.names
        assert not found.findings, found.findings
        check_blocks(name, found, lines)
        check_pieces(name, found)
    if not os.path.exists(core):
        return
    # mimalloc counts requests, and not what is in use.
    if name != "mimalloc":
        with heaptest.case(case + "what it says of itself"):
            check_said(name, found, lines)
    with heaptest.case(case + "the view"):
        check_view(name, core, root, found)
    with heaptest.case(case + "without any file of the target"):
        assert Found(core, "NONE").pieces == found.pieces
    if suite == "bookworm":
        at_random(case, core, found)
    os.unlink(core)


def at_random(case, core, found, runs=20):
    """Whatever its words are, there is an end, and an answer."""
    with heaptest.case(case + "words changed at random"):
        chance = random.Random(runs)
        own = [(start, end) for kind, start, end in found.pieces
               if kind == "metadata"]
        blocks = list(found.blocks("free")) + list(found.blocks("cached"))
        words = []
        with elfcore.ElfCore(core) as image:
            for start, end in own + [(at, at + 8) for at in blocks]:
                for address in range(start, min(end, start + (1 << 20)), 8):
                    segment = image.segment_at(address)
                    with contextlib.suppress(elfcore.Missing):
                        if image.word(address):
                            words.append(segment.offset + address
                                         - segment.vaddr)
        said = 0
        for run in range(runs):
            before = []
            for _ in range(1 + 40 * (run % 5)):
                at = chance.choice(words)
                old = damage.read(core, at, 8)
                before.append((at, old))
                damage.patch(core, at, struct.pack("<Q", chance.choice([
                    0, 1, chance.choice(blocks), chance.getrandbits(64),
                    chance.getrandbits(16),
                    struct.unpack("<Q", old)[0] ^ 1 << chance.randrange(48)])))
            said += bool(Found(core).findings)
            for at, old in reversed(before):
                damage.patch(core, at, old)
        assert said > 0, "nothing was ever noticed"


# ---- Python

def ledger():
    """Of a Python whose malloc is another one: each byte in memory has a row,
    and what it has freed is that allocator's."""
    core, script = heaptest.tmp("core"), heaptest.tmp("freed.py")
    with open(script, "w") as file:
        file.write("import os\n"
                   "kept = [bytearray(3000 + i) for i in range(4000)]\n"
                   "gone = [bytearray(40000 + i) for i in range(900)]\n"
                   "gone = gone[::9]\n"
                   "os.write(1, b'READY %d\\n' % os.getpid())\n"
                   "os.read(0, 1)\n")
    for name, file in LIBRARIES:
        with heaptest.case("%s of bookworm: the ledger of a Python" % name):
            argv, _ = preloaded("bookworm", file)
            library = argv[argv.index("--preload") + 1] \
                if "--preload" in argv else argv[1].partition("=")[2]
            dump(["env", "LD_PRELOAD=" + library, "/usr/bin/python3", script],
                 core)
            done = heaptest.heapscan(core, "memory", "--top", "0", "-f",
                                     "json")
            assert done.returncode == 0, done.stderr
            whole = json.loads(done.stdout)
            rows = {row["category"]: row for row in whole["rows"]}
            totals = whole["totals"]
            assert totals["balanced"] and whole["dump"]["findings"] == 0, whole
            assert totals["unexplained"] < totals["total"] // 50, totals
            free = rows["other allocators, free"]["bytes"]
            assert 25 << 20 < free < 60 << 20, free
            used = rows["other allocators, in use"]
            assert used["most"] == name and used["bytes"] < 2 << 20, used
            assert rows["str, bytes and bytearray"]["bytes"] > 4000 * 3000 + (
                100 * 40000), rows
            os.unlink(core)


def python():
    """What sys.getallocatedblocks() counts, and what each part is for."""
    core, script = heaptest.tmp("core"), heaptest.tmp("script.py")
    with open(script, "w") as file:
        file.write("import gc, os, sys\n"
                   "kept = [{'i': i} for i in range(20000)]\n"
                   "less = [str(i) * 10 for i in range(50000)][::50]\n"
                   "raw = [bytearray(i % 3000) for i in range(5000)]\n"
                   "gc.collect()\n"
                   "said = 'READY %d %d\\n'\n"
                   "said = said % (os.getpid(), sys.getallocatedblocks())\n"
                   "os.write(1, said.encode())\n"
                   "os.read(0, 1)\n")
    for interpreter in heaptest.interpreters():
        if not interpreter.free_threaded:
            continue
        with heaptest.case("%s: its mimalloc" % interpreter):
            process = subprocess.Popen(
                [*interpreter.command, script], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE)
            try:
                _, pid, count = process.stdout.readline().split()
                done = heaptest.heapdump("-q", "--max-pause", "1m", "-o", core,
                                         pid.decode())
                assert done.returncode == 0, done.stderr
            finally:
                process.kill()
                process.communicate()
            whole = answer(core, interpreter.root or "/")
            rows = {row["part"]: row for row in whole["others"]}
            blocks = sum(row["blocks"] for row in rows.values())
            assert abs(blocks - int(count)) < 50, (blocks, count)
            tracked = rows["objects tracked"]["blocks"]
            assert 20000 < tracked < 20000 + 20000, rows
            assert rows["objects not tracked"]["free"] > 49000 * 64, rows
            assert 5000 * 1400 < rows["memory of C code"]["used"], rows
            assert whole["dump"]["findings"] == 0
        if os.path.exists(core):
            os.unlink(core)


def unread():
    """One that is known by its name alone says so."""
    core = heaptest.tmp("core")
    with heaptest.case("a library of that name with no such heap"):
        argv, root = preloaded("bookworm", "libtcmalloc_minimal.so.4")
        path = heaptest.tmp("libjemalloc.so.2")
        library = argv[argv.index("--preload") + 1] if "--preload" in argv \
            else argv[1].partition("=")[2]
        shutil.copy(library, path)
        dump([word.replace(library, path) for word in argv], core)
        rows = {row["allocator"]: row for row in answer(core, root)["others"]}
        assert set(rows) == {"jemalloc", "tcmalloc"}, rows
        assert rows["jemalloc"]["unread"] and "used" not in rows["jemalloc"]
        assert rows["tcmalloc"]["used"] > 0
        shown = heaptest.heapscan(core, "malloc", "--sysroot", root).stdout
        assert re.search("jemalloc is not broken down: ", shown), shown
        os.unlink(core)


def main():
    for name, file in LIBRARIES:
        for suite in SUITES:
            # Debian has it from bookworm on.
            if (name, suite) != ("mimalloc", "bullseye"):
                library(name, file, suite)
    unread()
    ledger()
    python()
    heaptest.finish()


main()
