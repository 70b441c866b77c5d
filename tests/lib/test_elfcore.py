# SPDX-License-Identifier: Apache-2.0
"""The independent core reader and the core builder agree with each other, and
with readelf."""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import elfcore
import heaptest


def awkward():
    core = elfcore.CoreBuilder("aarch64")
    core.add_note("CORE", elfcore.NT_PRSTATUS, b"seven b")
    core.add_file_note([(0x1000, 0x3000, 0x5000, "/lib/one"),
                        (0x8000, 0x9000, 0, "/two (deleted)")])
    core.add_segment(0x5000, b"A" * 0x1000)
    core.add_segment(0x1000, b"B" * 0x1800)
    core.add_segment(0x1800, b"C" * 0x1000)         # overlaps the one before
    core.add_segment(0x4000, b"D" * 0x800, memsz=0x1000)
    core.add_segment(0x9000, memsz=0x1000, flags=elfcore.PF_R)
    return core


def test_words(path):
    core = elfcore.CoreBuilder(alignment=1)
    core.add_segment(0x3000, b"B" * 19)
    core.add_segment(0x1000, b"\1" + bytes(7) + b"\2" + bytes(7))
    core.write(path)
    with elfcore.ElfCore(path) as core:
        wanted = [0x3008, 0x1000, 0x1008, 0x1010, 0x3010, 0x2000, 0]
        got = core.words_at(wanted)
        assert got == {0x1000: 1, 0x1008: 2,
                       0x3008: 0x4242424242424242}, got
        assert all(core.word(address) == got[address] for address in got)


def test_memory(path):
    awkward().write(path)
    with elfcore.ElfCore(path) as core:
        assert core.machine == "aarch64", core.machine
        assert not core.cut_off, "expected a whole file"
        for address, length, expected in (
                (0x5000, 4, b"AAAA"), (0x17FE, 4, b"BBBB"),
                (0x27FC, 4, b"BBBB"), (0x47FF, 1, b"D")):
            got = core.read(address, length)
            assert got == expected, "at %#x: expected %r, got %r" % (
                address, expected, got)
        for address, length, missing in (
                (0x27FE, 4, 0x2800), (0x4800, 1, 0x4800),
                (0x9000, 1, 0x9000), (0, 8, 0)):
            try:
                got = core.read(address, length)
                raise AssertionError("at %#x: expected nothing, got %r"
                                     % (address, got))
            except elfcore.Missing as error:
                assert error.address == missing, "expected %#x, got %s" % (
                    missing, error)


def test_notes(path):
    awkward().write(path)
    with elfcore.ElfCore(path) as core:
        notes = [(n.name, n.type) for n in core.notes()]
        assert notes == [("CORE", elfcore.NT_PRSTATUS),
                         ("CORE", elfcore.NT_FILE)], notes
        assert next(core.notes()).desc == b"seven b"
        assert core.files() == [(0x1000, 0x3000, 0x5000, "/lib/one"),
                                (0x8000, 0x9000, 0, "/two (deleted)")]


def test_cuts(path):
    """Wherever the file ends, what is there is read and the rest is missing."""
    builder = awkward()
    offset, length, _ = next(p for p in builder.parts()
                             if p[2] == "segment 0x5000")
    builder.write(path, offset + length - 1)
    with elfcore.ElfCore(path) as core:
        assert core.cut_off, "expected a file that is cut off"
        assert core.read(0x5000, 0xFFF) == b"A" * 0xFFF
        try:
            core.read(0x5FFF, 1)
            raise AssertionError("expected the last byte to be missing")
        except elfcore.Missing:
            pass


def test_many(path):
    builder = elfcore.CoreBuilder(alignment=1)
    builder.add_note("CORE", elfcore.NT_AUXV, bytes(16))
    for i in range(70000):
        builder.add_segment(0x10000 * i, b"%08d" % i)
    builder.write(path)
    with elfcore.ElfCore(path) as core:
        assert len(core.segments) == 70000, len(core.segments)
        assert core.read(0x10000 * 69999, 8) == b"00069999"


def readelf(path, *options):
    done = heaptest.run([heaptest.tool("readelf", "binutils"), "-W", *options,
                         path], env=dict(os.environ, LC_ALL="C"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_by_readelf(path):
    awkward().write(path)
    with elfcore.ElfCore(path) as core:
        expected = [(s.vaddr, s.offset, s.filesz, s.memsz)
                    for s in core.segments]
    got = [tuple(int(group, 16) for group in (v, o, f, m)) for o, v, f, m in
           re.findall(r"^ +LOAD +(\S+) (\S+) \S+ (\S+) (\S+)",
                      readelf(path, "-l"), re.M)]
    assert got == expected, "expected %r, readelf says %r" % (expected, got)
    assert "AArch64" in readelf(path, "-h")


def test_many_by_readelf(path):
    test_many(path)
    headers = re.search(r"Number of program headers: +(.*)",
                        readelf(path, "-h"))[1]
    assert headers == "65535 (70001)", headers


for name, test in sorted(globals().items()):
    if name.startswith("test_"):
        with heaptest.case(name[5:].replace("_", " ")):
            test(heaptest.tmp("core"))
heaptest.finish()
