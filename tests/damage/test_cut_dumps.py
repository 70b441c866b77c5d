# SPDX-License-Identifier: Apache-2.0
"""Cores that end too early, at every edge of every header, and dumps of
heapdump's with a spoilt frame, seek table or end. What is still there is
read and counted, what is missing is said to the byte, and the exit status
says that the answer is partial."""

import collections
import os
import random
import shutil
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import damage
import heaptest
from damage import builds, patched, series, some

NODES, OTHERS = 3000, 700
TARGET = """
import os, sys
class Node:
    def __init__(self, i):
        self.i = i
class Other:
    __slots__ = ("a", "b")
nodes = [Node(i) for i in range(%d)]
others = [Other() for i in range(%d)]
print("READY", os.getpid(), flush=True)
sys.stdin.read()
""" % (NODES, OTHERS)
RUNTIME_SIZE, TYPE_SIZE = 1 << 18, 1 << 10      # at least; in bytes
POOL = 1 << 14      # aligned like this, memory is one pool or none of it


class Truth:
    """Where the nodes of the undamaged core are, and what it takes to count
    them: their type, and the runtime."""

    def __init__(self, build, path):
        answer = build.answer("objects", path, "--top", "0", status=(0,))
        rows = [row for row in answer["rows"]
                if row["type"] == "__main__.Node"]
        self.nodes = {int(row["address"], 16) for row in rows}
        assert len(self.nodes) == NODES, len(self.nodes)
        self.type = int(rows[0]["type_address"], 16)
        runtime = next(row["value"] for row in build.info(path)["rows"]
                       if row["section"] == "runtime" and
                       row["key"] == "address")
        self.needed = ((int(runtime, 16), RUNTIME_SIZE),
                       (self.type, TYPE_SIZE))

    def whole(self, core, length):
        """The nodes whose pool is in the first length bytes of the core; none
        where these lack what it takes to count them."""
        ranges = []
        for _, _, offset, vaddr, filesz, _ in damage.Headers(core).loads():
            there = max(0, min(filesz, length - offset))
            ranges.append((vaddr, vaddr + there))

        def is_there(address, size):
            return any(start <= address and address + size <= end
                       for start, end in ranges)

        if not all(is_there(address, 1) and is_there(address + size - 1, 1)
                   for address, size in self.needed):
            return set()
        return {node for node in self.nodes if is_there(node & -POOL, POOL)}


def found_nodes(build, path, truth):
    """Addresses of nodes, or None where no Python is found; the sentence must
    then say that the file is damaged. Nodes by the address of their type, as
    its name may be what is lost."""
    done = build.heapscan(path, "objects", "--match", r"\bNode$|^\?",
                          "--top", "0", "-f", "ndjson")
    assert done.status in (0, 1, 3), done
    if done.status == 1:
        assert "partial" in done.err, done
        # That it is not there is no sign that it was not.
        assert "no Python in this process" not in done.err, done
        return None
    return {int(row["address"], 16)
            for row in map(damage.json.loads, done.out.splitlines())
            if int(row["type_address"], 16) == truth.type}


def look(build, path, missing, truth, whole, headless, saved=False):
    """One damaged file. missing: bytes of memory that are not there, None
    where the headers themselves are cut; whole: the nodes that must be found;
    saved: some of what is missing may have been saved. Returns how many nodes
    were found."""
    if headless:
        done = build.heapscan(path, "info")
        assert done.status == 1, "expected exit 1, got %s" % done
        assert path in done.err, done.err
        return None
    info = build.info(path, status=(3,))
    assert info["findings"], "no finding"
    if missing is not None:
        got = info["totals"]["missing_bytes"]
        assert got == missing or saved and got < missing, (
            "missing %d bytes, but said %d" % (missing, got))
    nodes = found_nodes(build, path, truth)
    assert nodes is not None or not whole, "no Python is found"
    nodes = nodes or set()
    extra, lost = nodes - truth.nodes, whole - nodes
    assert not extra, "nodes that are none: " + some(map(hex, extra))
    # What was cut may hold the neighbours in the list of the one or the other.
    assert len(lost) <= 4, "%d of %d nodes are there and were not found: %s" \
        % (len(lost), len(whole), some(map(hex, sorted(lost))))
    return len(nodes)


def test_plain(build, name, core):
    headers = damage.Headers(core)
    truth = Truth(build, core)
    table = headers.phoff + headers.phnum * damage.PHDR
    first = headers.phoff + damage.PHDR
    path = damage.copy(core, "cut.core")
    counts = []

    def cut(length):
        os.truncate(path, length)
        counts.append(look(
            build, path, damage.missing_bytes(core, length)
            if length >= table else None, truth,
            truth.whole(core, length) if length >= table else set(),
            length < first))

    # The copy only ever gets shorter. Every third edge of a program header is
    # as good as all of them, save the first and the last.
    edges = headers.boundaries()
    if build.sanitized:
        edges = edges[:12] + edges[12:-12:3] + edges[-12:]
    series(build, "%s cut off" % name, (
        ("%s (%d bytes)" % (what, length), lambda length=length: cut(length))
        for length, what in reversed(edges)))
    shutil.copyfile(core, path)
    with build.case("%s cut off: what is missing is not said to be there" % name):
        os.truncate(path, os.path.getsize(core) // 2)
        told = build.heapscan(path, "memory").out.splitlines()[0]
        assert " captured or missing, " in told, told
        assert " captured, " in build.heapscan(core, "memory").out
    os.unlink(path)
    print("# nodes found: %s" % collections.Counter(counts).most_common())
    with build.case("%s cut in its last segment still has its nodes" % name):
        assert counts[0] == NODES or counts[1] == NODES, counts[:8]


def test_compressed(build, dump, plain):
    frames = damage.Frames(dump)
    truth = Truth(build, dump)
    headers = damage.Headers(plain)
    table = headers.phoff + headers.phnum * damage.PHDR

    def expanded(length):
        """Bytes of the core that the first length bytes of the dump hold."""
        return max((start + size for at, stored, start, size in frames.frames
                    if at + stored <= length), default=0)

    path = damage.copy(dump, "cut.zst")
    counts = []

    def cut(length):
        os.truncate(path, length)
        there = expanded(length)
        if length >= frames.table[0]:
            # No data is lost, and the final notes are there.
            info = build.info(path, status=(0,))
            assert info["totals"]["missing_bytes"] == 0
            assert info["totals"]["findings"] > 0, "no finding"
            assert found_nodes(build, path, truth) == truth.nodes
            return
        if there < table:
            # Of the frame that is cut, something may be saved.
            done = build.heapscan(path, "info")
            assert done.status in (1, 3), "exit 1 or 3 expected: %s" % done
            assert path in done.err, done.err
            return
        # Where more is in the frame that is cut than in front of it, it is
        # looked into.
        begins = max(at for at, _, _, _ in frames.frames if at <= length)
        missing = damage.missing_bytes(plain, there)
        counts.append(look(
            build, path, missing, truth, truth.whole(plain, there), False,
            saved=length - begins > begins))

    series(build, "a dump cut off", (
        ("%s (%d bytes)" % (what, length), lambda length=length: cut(length))
        for length, what in reversed(frames.boundaries())))
    os.unlink(path)
    print("# nodes found: %s" % collections.Counter(counts).most_common())

    def overlaps(address, length, start, size):
        """Does memory lie in these bytes of the core?"""
        return any(
            offset + max(address, vaddr) - vaddr < start + size and
            offset + min(address + length, vaddr + filesz) - vaddr > start
            for _, _, offset, vaddr, filesz, _ in headers.loads()
            if address < vaddr + filesz and address + length > vaddr)

    def lose(which, changes):
        """Of one frame, which costs what is in it and nothing else."""
        at, _, start, size = frames.frames[which]
        with patched(dump, *((at + offset, data) for offset, data in changes)):
            if which == 0:
                build.refuses([dump, "info"], 1, dump)
                return
            nodes = found_nodes(build, dump, truth)
            build.info(dump)
        if any(overlaps(*needed, start, size) for needed in truth.needed):
            assert nodes is None or nodes <= truth.nodes
            return
        kept = {node for node in truth.nodes
                if not overlaps(node & -POOL, POOL, start, size)}
        assert nodes is not None, "no Python is found"
        assert nodes <= truth.nodes, "nodes that are none"
        assert len(kept - nodes) <= 4, "%d of %d nodes elsewhere are lost" % (
            len(kept - nodes), len(kept))

    places = {
        "magic number": lambda stored: [(0, b"\0")],
        "header": lambda stored: [(4, b"\xff")],
        "size": lambda stored: [(5, b"\xff\xff\xff\xff")],
        "first block": lambda stored: [(9, b"\xff\xff\xff")],
        "middle": lambda stored: [(stored // 2, b"\xa5" * 16)],
        "checksum": lambda stored: [(stored - 4, b"\x12\x34\x56\x78")],
        "all of it, zeroes": lambda stored: [(0, bytes(stored))],
        "all of it, random": lambda stored: [
            (0, random.Random(4).randbytes(stored))],
    }
    count = len(frames.frames)
    for what, changes in places.items():
        series(build, "a corrupt frame: " + what, (
            ("frame %d of %d" % (which, count), lambda w=which, c=changes:
             lose(w, c(frames.frames[w][1])))
            for which in (range(count) if what == "middle" else
                          (0, 1, count // 2, count - 1))))
    with build.case("every second frame corrupt"):
        with patched(dump, *((frames.frames[i][0] + 20, b"\xff" * 40)
                             for i in range(1, count, 2))):
            nodes = found_nodes(build, dump, truth)
            assert nodes is None or nodes <= truth.nodes
    with build.case("every frame corrupt"):
        with patched(dump, *((at + 20, b"\xff" * 40)
                             for at, _, _, _ in frames.frames)):
            build.refuses([dump, "info"], 1, dump)
    with build.case("frames in another order"):
        a, b = frames.frames[2], frames.frames[3]
        both = (damage.read(dump, b[0], b[1]) + damage.read(dump, a[0], a[1]))
        with patched(dump, (a[0], both)):
            nodes = found_nodes(build, dump, truth)
            assert nodes is None or nodes <= truth.nodes


def test_table(build, dump):
    """Without a table, or with one that lies, the frames tell themselves."""
    frames = damage.Frames(dump)
    truth = Truth(build, dump)
    at, size = frames.table
    entries, footer = at + 8, at + size - 9
    u32 = struct.Struct("<I").pack
    first = struct.unpack("<II", damage.read(dump, entries, 8))

    for what, offset, data in (
            ("the magic number at its end", footer + 5, u32(0x12345678)),
            ("its descriptor", footer + 4, b"\xff"),
            ("a descriptor that promises checksums", footer + 4, b"\x80"),
            ("a count of 0", footer, u32(0)),
            ("a count of one less", footer, u32(len(frames.frames))),
            ("a count of 2^32-1", footer, u32(0xFFFFFFFF)),
            ("its frame's magic number", at, u32(0x184D2A5F)),
            ("its frame's size", at + 4, u32(size + 100)),
            ("its frame's size of 2^32-1", at + 4, u32(0xFFFFFFFF)),
            ("its frame's size of 0", at + 4, u32(0)),
            ("the stored size of a frame", entries, u32(first[0] + 1)),
            ("a stored size of 2^32-1", entries, u32(0xFFFFFFFF)),
            ("a stored size of 0", entries, u32(0)),
            ("the expanded size of a frame", entries + 4, u32(first[1] - 8)),
            ("an expanded size of 2^32-1", entries + 4, u32(0xFFFFFFFF)),
            ("an expanded size of 0", entries + 4, u32(0)),
            ("two sizes exchanged", entries,
             damage.read(dump, entries + 8, 8) + damage.read(dump, entries, 8)),
            ("zeroes", entries, bytes(size - 17)),
            ("ones", entries, b"\xff" * (size - 17)),
            ("all of it", at, random.Random(5).randbytes(size))):
        with build.case("a corrupt seek table: " + what):
            with patched(dump, (offset, data)):
                nodes = found_nodes(build, dump, truth)
                info = build.info(dump)
                if nodes != truth.nodes:
                    assert info["dump"]["findings"], "damage without a finding"
                    assert not info["dump"]["complete"], "not partial"
                assert nodes == truth.nodes, "found %s nodes: %s" % (
                    nodes and len(nodes), info["findings"])

    notes_at, notes_size = frames.notes

    def rewritten(data):
        path = heaptest.tmp("rewritten.zst")
        with open(dump, "rb") as file:
            start = file.read(notes_at)
        with open(path, "wb") as out:
            out.write(start + data)
        return path

    with build.case("missing final notes"):
        path = rewritten(b"")
        info = build.info(path, status=(3,))
        assert "incomplete" in {f["code"] for f in info["findings"]}
        assert found_nodes(build, path, truth) == truth.nodes
    with build.case("missing final notes, but a table"):
        table = damage.read(dump, at, size)
        without = (table[:8 + 8 * len(frames.frames)]
                   + u32(len(frames.frames)) + table[-5:])
        without = without[:4] + u32(len(without) - 8) + without[8:]
        path = rewritten(without)
        info = build.info(path, status=(3,))
        assert "incomplete" in {f["code"] for f in info["findings"]}
        assert found_nodes(build, path, truth) == truth.nodes
    for what, offset, data in (
            ("of 2^32-1 bytes", 4, u32(0xFFFFFFFF)),
            ("of no bytes", 4, u32(0)),
            ("of another kind of frame", 0, u32(0x184D2A52)),
            ("whose owner is random", 8 + 12, b"\xff" * 8),
            ("whose sizes are absurd", 8, u32(0xFFFFFFF0) * 2),
            ("random", 8, random.Random(6).randbytes(notes_size - 8))):
        with build.case("final notes " + what):
            with patched(dump, (notes_at + offset, data)):
                info = build.info(dump)
                assert info["dump"]["findings"] > 0, info["dump"]
                assert found_nodes(build, dump, truth) == truth.nodes
    with build.case("bytes behind the dump"):
        for extra in (b"\n", bytes(9), bytes(5000),
                      random.Random(7).randbytes(1 << 20)):
            path = rewritten(damage.read(dump, notes_at, 1 << 20) + extra)
            build.info(path)
            assert found_nodes(build, path, truth) == truth.nodes
    with build.case("a dump behind a dump"):
        path = damage.copy(dump, "twice.zst")
        with open(dump, "rb") as source, open(path, "ab") as out:
            shutil.copyfileobj(source, out)
        build.info(path)
        nodes = found_nodes(build, path, truth)
        assert nodes is None or nodes <= truth.nodes


def test_uncompressed(build, path):
    """heapdump --no-compress: a core with the same two frames behind it."""
    truth = Truth(build, path)
    size = os.path.getsize(path)
    headers = damage.Headers(path)
    end = max(s[2] + s[4] for s in headers.loads())
    cut = damage.copy(path, "cut.plain")

    def shorten(length):
        os.truncate(cut, length)
        info = build.info(cut, status=(3,))
        assert info["totals"]["missing_bytes"] == damage.missing_bytes(
            path, length)
        assert found_nodes(build, cut, truth) == truth.nodes

    series(build, "an uncompressed dump cut off behind its core", (
        ("%d bytes" % length, lambda length=length: shorten(length))
        for length in (size - 1, size - 5, size - 9, size - 17, end + 30,
                       end + 8, end + 3, end)))
    os.unlink(cut)


def test_end(build, interpreter, script):
    """What the end of a dump has is lost, and not what tells the rest: libpython
    lies above the heap, but not in the file."""
    dump = heaptest.tmp("end.zst")
    with heaptest.start_target(interpreter, script) as running:
        done = heaptest.heapdump("-q", "--max-pause", "60s", "-o", dump,
                                 running.pid)
        assert done.returncode == 0, done.stderr
    for percent, least in (95, NODES * 0.8), (70, 1):
        os.truncate(dump, os.path.getsize(dump) * percent // 100)
        with build.case("%s: %d %% of a dump has its objects" % (interpreter,
                                                                 percent)):
            answer = build.answer("types", dump, "--match", "Node$",
                                  status=(3,))
            # The name of its module may be lost.
            found = sum(row["count"] for row in answer["rows"])
            assert least <= found <= NODES, answer["rows"]
    os.unlink(dump)


def main():
    script = heaptest.tmp("idle.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(TARGET)
    paths = {kind: heaptest.tmp(kind) for kind in
             ("gcore", "kernel", "dump.zst", "dump.core", "dump.plain")}
    interpreter = heaptest.Interpreter("system", ["/usr/bin/python3"])
    with heaptest.start_target(interpreter, script) as running:
        with heaptest.case("gcore's core to cut"):
            heaptest.gcore(running.pid, paths["gcore"])
        for path, options in ((paths["dump.zst"], []),
                              (paths["dump.plain"], ["--no-compress"])):
            done = heaptest.heapdump("-q", "--max-pause", "60s", *options,
                                     "-o", path, running.pid)
            assert done.returncode == 0, done.stderr
        with heaptest.case("a kernel core to cut"):
            heaptest.kernel_core(running.pid, paths["kernel"])
    with heaptest.case("a dump to cut"):
        heaptest.expand(paths["dump.zst"], paths["dump.core"])
    for build in builds():
        for name, kind in (("gcore's core", "gcore"),
                           ("the kernel's core", "kernel")):
            # They are read by the same code.
            if os.path.exists(paths[kind]) and not (
                    build.sanitized and kind == "kernel"):
                test_plain(build, name, paths[kind])
        if os.path.exists(paths["dump.core"]):
            test_compressed(build, paths["dump.zst"], paths["dump.core"])
        test_table(build, paths["dump.zst"])
        test_uncompressed(build, paths["dump.plain"])
        for each in heaptest.interpreters() if not build.sanitized else ():
            if each.name.endswith("-pyenv"):
                test_end(build, each, script)
    heaptest.finish()


main()
