#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A dump made of the kernel's own core holds what that holds: from a file, from
a pipe, and as much of one that ends too early as there was."""
import os
import random
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "dumper"))
import patients
from patients import heaptest
from elfcore import CoreBuilder, ElfCore, Missing

PAGE = os.sysconf("SC_PAGESIZE")
TOOL = os.path.join(heaptest.BUILD, "tests", "tools", "convertcore")
QUIET = dict(os.environ, DEBUGINFOD_URLS="", LC_ALL="C")


def convert(core, path, *options, pipe=None):
    """Returns {key: number}, or the sentence it failed with. pipe: bytes that
    come in pieces of odd sizes, instead of a file."""
    if pipe is None:
        done = heaptest.run([TOOL, core, path, *map(str, options)])
        out, err, status = done.stdout, done.stderr, done.returncode
    else:
        process = subprocess.Popen([TOOL, "-", path, *map(str, options)],
                                   stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)

        def feed():
            sizes = random.Random(1)
            at = 0
            try:
                while at < len(pipe):
                    size = sizes.choice((1, 63, 4096, 65537, 1 << 20))
                    process.stdin.write(pipe[at:at + size])
                    at += size
                process.stdin.close()
            except BrokenPipeError:
                pass

        feeder = threading.Thread(target=feed)
        feeder.start()
        out = process.stdout.read().decode()
        err = process.stderr.read().decode()
        status = process.wait(timeout=120)
        feeder.join()
    if status == 1:
        return err.strip()
    assert status == 0, (status, err)
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", out)}


def opened(path):
    plain = path + ".plain"
    heaptest.expand(path, plain)
    return ElfCore(plain)


def bytes_of(core, start, end):
    try:
        return core.read(start, end - start)
    except Missing:
        return None


def taken(core):
    """The segments that a dump has: not what the process could not read, as
    with a live process."""
    return [s for s in core.segments if s.flags & 5]


def compare(ours, theirs, missing=()):
    """Every byte of theirs is in ours, but for what is missing; and what is
    missing is zero."""
    compared = 0
    for segment in taken(theirs):
        for at in range(segment.vaddr, segment.vaddr + segment.filesz, PAGE):
            expected = bytes_of(theirs, at, at + PAGE)
            got = bytes_of(ours, at, at + PAGE)
            assert got is not None, "%#x is not in the dump" % at
            for start, end in missing:
                low, high = max(at, start), min(at + PAGE, end)
                if low < high:
                    # What is missing reads as zeroes.
                    assert not any(got[low - at:high - at]), hex(low)
                    got = got[:low - at] + expected[low - at:high - at] + \
                        got[high - at:]
            assert got == expected, "the page at %#x differs" % at
            compared += PAGE
    return compared


def test_kernel_core(core):
    with open(core, "rb") as file:
        data = file.read()
    by_file, by_pipe = heaptest.tmp("file.zst"), heaptest.tmp("pipe.zst")
    with heaptest.case("the kernel's core, from a file"):
        told = convert(core, by_file)
        assert told["complete"] == 1 and told["missing"] == 0, told
        with opened(by_file) as ours, ElfCore(core) as theirs:
            assert compare(ours, theirs) > 20 << 20
            kinds = [(n.name, n.type, bytes(n.desc)) for n in ours.notes()
                     if n.name != "HEAPDUMP"]
            assert kinds == [(n.name, n.type, bytes(n.desc))
                             for n in theirs.notes()]
            assert told["threads"] == [k for _, k, _ in kinds].count(1)
    with heaptest.case("the same from a pipe"):
        assert convert(None, by_pipe, pipe=data)["complete"] == 1
        with opened(by_file) as one, opened(by_pipe) as other:
            assert [s[0:1] + s[2:] for s in one.segments] == \
                [s[0:1] + s[2:] for s in other.segments]
            assert compare(one, other) > 20 << 20
    with heaptest.case("a dump of a dump's core is the same memory"):
        again = heaptest.tmp("again.zst")
        assert convert(by_file + ".plain", again)["complete"] == 1
        with opened(by_file) as one, opened(again) as other:
            assert compare(other, one) > 20 << 20
    with heaptest.case("readelf and gdb read it as they read the kernel's"):
        done = heaptest.run([heaptest.tool("readelf", "binutils"), "-lhnW",
                             by_file + ".plain"], env=QUIET, errors="replace")
        assert done.returncode == 0 and not done.stderr, done.stderr[:500]

        def backtraces(path):
            done = heaptest.run([
                heaptest.tool("gdb", "gdb"), "-nx", "-batch", "-ex",
                "set debuginfod enabled off", "-ex", "thread apply all bt 40",
                "/usr/bin/python3", path], env=QUIET)
            return re.findall(r"^(?:Thread|#).*", done.stdout, re.M)

        theirs = backtraces(core)
        assert len(theirs) > 20, theirs
        assert backtraces(by_file + ".plain") == theirs
    with heaptest.case("heapscan tells the same of both"):
        def types(path):
            done = heaptest.heapscan("types", path, "-n0", "-f", "csv")
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert types(by_file) == types(core)
    test_cut(core, data)


def test_cut(core, data):
    with ElfCore(core) as theirs:
        first = min(s.offset for s in theirs.segments if s.filesz)
        segments = taken(theirs)
    choice = random.Random(7)
    with heaptest.case("cut off within its headers: refused with a reason"):
        for at in (0, 1, 63, 64, 100, 64 + 56 * 3 + 5):
            said = convert(None, heaptest.tmp("cut"), pipe=data[:at])
            assert isinstance(said, str) and "ends before" in said, (at, said)
    with heaptest.case("cut off within its notes: the memory is missing"):
        told = convert(None, heaptest.tmp("cut"), pipe=data[:first - 5000])
        assert told["complete"] == 0, told
        assert told["missing"] == sum(s.filesz for s in segments), told
    with heaptest.case("cut off within its memory: the rest is missing"):
        for at in [first, first + 1, len(data) - 1,
                   *(choice.randrange(first, len(data)) for _ in range(4))]:
            path = heaptest.tmp("cut.zst")
            told = convert(None, path, pipe=data[:at])
            missing = [(start, end) for start, end, reason, _
                       in patients.Container(path).missing]
            expected = []
            for segment in sorted(segments, key=lambda s: s.vaddr):
                there = max(0, min(segment.filesz, at - segment.offset))
                low = segment.vaddr + there
                high = segment.vaddr + segment.filesz
                if low < high and expected and expected[-1][1] == low:
                    expected[-1] = expected[-1][0], high
                elif low < high:
                    expected.append((low, high))
            assert missing == expected, (at, missing[:3], expected[:3])
            assert told["complete"] == 0
            assert told["missing"] == sum(h - l for l, h in expected)
            with opened(path) as ours, ElfCore(core) as theirs:
                compare(ours, theirs, missing)


def test_refused():
    def build(**options):
        builder = CoreBuilder(**options)
        builder.add_note("CORE", 1, bytes(336))
        builder.add_segment(0x10000, bytes(PAGE))
        return bytearray(builder.bytes())

    def refused(name, data, *words):
        with heaptest.case("refused: " + name):
            said = convert(None, heaptest.tmp("bad"), pipe=bytes(data))
            assert isinstance(said, str), said
            assert all(word in said for word in words), said

    good = build()
    with heaptest.case("a core of one page"):
        told = convert(None, heaptest.tmp("one"), pipe=bytes(good))
        assert told["complete"] == 1 and told["threads"] == 1, told
    refused("no ELF file", b"#!/bin/sh\n" + bytes(200), "not an ELF file")
    data = good[:]
    data[16] = 3
    refused("a library", data, "not a core")
    data = good[:]
    data[4] = 1
    refused("a 32-bit core", data, "64-bit")
    data = good[:]
    data[18] = 40
    refused("another machine", data, "arm")
    data = good[:]
    data[54:56] = (32).to_bytes(2, "little")
    refused("headers of another size", data, "program headers")
    builder = CoreBuilder()
    builder.add_note("CORE", 1, bytes(336))
    refused("no memory", builder.bytes(), "no memory")
    builder = CoreBuilder()
    builder.add_segment(0x10000, bytes(PAGE))
    refused("no notes", builder.bytes(), "no notes")
    builder = CoreBuilder()
    builder.add_note("CORE", 1, bytes(336))
    builder.add_segment(0x10000, bytes(PAGE), memsz=3 * PAGE)
    builder.add_segment(0x11000, bytes(PAGE))
    refused("segments over each other", builder.bytes(), "two segments")
    builder = CoreBuilder()
    builder.add_note("CORE", 1, bytes(336))
    builder.add_segment(0x10001, bytes(PAGE))
    refused("a segment that is no pages", builder.bytes(), "whole pages")


def test_limit():
    with heaptest.case("a limit on the size keeps what came before it"):
        core, small = heaptest.tmp("random.core"), heaptest.tmp("small.zst")
        builder = CoreBuilder()
        builder.add_note("CORE", 1, bytes(336))
        builder.add_segment(0x100000, random.Random(3).randbytes(96 << 20))
        builder.write(core)
        told = convert(core, small, 8 << 20)
        assert told["complete"] == 0 and told["missing"] > 0, told
        # What is on the way when the limit is met still arrives.
        assert 8 << 20 <= told["stored"] < 40 << 20, told
        container = patients.Container(small)
        assert container.facts["complete"] == "no"
        with opened(small) as ours, ElfCore(core) as theirs:
            assert compare(ours, theirs, [
                (start, end) for start, end, _, _ in container.missing])


def main():
    test_refused()
    test_limit()
    core = heaptest.tmp("kernel.core")
    with patients.patient("--megabytes", "24") as target:
        try:
            heaptest.kernel_core(target.pid, core)
        except heaptest.Skip as reason:
            heaptest.skip("the kernel's core as a dump", reason)
            heaptest.finish()
    test_kernel_core(core)
    heaptest.finish()


main()
