#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the seed corpora of fuzz_image, fuzz_notes and fuzz_symbols: tiny
cores, notes and programs, good ones and ones that lie in one place each.

    tests/fuzz/make_corpus_image.py [FOLDER]

FOLDER gets one folder for each target. The same files come out every time.
"""

import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import elfcore  # noqa: E402

DEFAULT = os.path.join(HERE, "corpus")
PAGE = 4096
BASE = 0x7F0000000000
OWNER = "HEAPDUMP"
NOTE = 0x48440000   # docs/format.md
EVERYTHING = 2**64 - 1


# ---- A library, with .dynsym, .gnu.hash, a build id and section headers

def gnu_hash(name):
    value = 5381
    for byte in name.encode():
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def library(image_bias=0, sysv=False):
    """A library of one page. image_bias: added to the pointers of its
    PT_DYNAMIC, as the loader does."""
    names = [("alpha", 0x900), ("main", 0x910)]
    strings = b"\0" + b"".join(n.encode() + b"\0" for n, _ in names)
    symbols = bytes(24)
    for name, value in names:
        symbols += struct.pack("<IBBHQQ", strings.index(name.encode()), 0x12,
                               0, 1, value, 16)
    note = struct.pack("<III4s", 4, 20, 3, b"GNU\0") + b"\xab" * 20
    if sysv:
        table = struct.pack("<II", 1, 3) + struct.pack("<I", 1) + struct.pack(
            "<III", 0, 2, 0)
    else:
        hashes = [gnu_hash(n) for n, _ in names]
        table = struct.pack("<IIII", 1, 1, 1, 6) + struct.pack("<Q", 2**64 - 1)
        table += struct.pack("<I", 1) + struct.pack(
            "<II", hashes[0] & ~1, hashes[1] | 1)
    at = {"note": 0x200, "symbols": 0x300, "strings": 0x380, "hash": 0x400,
          "dynamic": 0x500, "names": 0x600, "sections": 0x680}
    dynamic = b"".join(struct.pack("<QQ", tag, value) for tag, value in (
        (6, at["symbols"] + image_bias), (5, at["strings"] + image_bias),
        (10, len(strings)), (4 if sysv else 0x6FFFFEF5,
                             at["hash"] + image_bias), (0, 0)))
    section_names = b"\0.dynsym\0.dynstr\0.data\0.shstrtab\0"

    def section(name, kind, flags, address, offset, size, link=0, entry=0):
        return struct.pack("<IIQQQQIIQQ", section_names.index(name), kind,
                           flags, address, offset, size, link, 0, 8, entry)

    sections = bytes(64) + section(b".data", 1, 3, 0x900, 0x900, 0x100)
    sections += section(b".dynsym", 11, 2, at["symbols"], at["symbols"],
                        len(symbols), 3, 24)
    sections += section(b".dynstr", 3, 2, at["strings"], at["strings"],
                        len(strings))
    sections += section(b".shstrtab", 3, 0, 0, at["names"],
                        len(section_names))
    header = elfcore.EHDR.pack(
        b"\x7fELF\x02\x01\x01" + bytes(9), 3, 62, 1, 0, 64, at["sections"], 0,
        64, 56, 3, 64, 5, 4)

    def segment(kind, flags, offset, size):
        return elfcore.PHDR.pack(kind, flags, offset, offset, 0, size, size,
                                 PAGE)

    page = bytearray(PAGE)
    headers = header + segment(1, 5, 0, PAGE) + segment(
        4, 4, at["note"], len(note)) + segment(2, 6, at["dynamic"],
                                               len(dynamic))
    for offset, data in ((0, headers), (at["note"], note),
                         (at["symbols"], symbols), (at["strings"], strings),
                         (at["hash"], table), (at["dynamic"], dynamic),
                         (at["names"], section_names),
                         (at["sections"], sections)):
        page[offset:offset + len(data)] = data
    return bytes(page)


# ---- Notes

def status(machine="x86-64", tid=7):
    desc = bytearray(336 if machine == "x86-64" else 392)
    struct.pack_into("<I", desc, 32, tid)
    return bytes(desc)


def facts(*pairs):
    return b"".join(pair.encode() + b"\0" for pair in pairs)


def mapping(start, end, name=0, reason=0):
    return struct.pack("<QQQQQQQIIII", start, end, 0, 0, 0, 0, 0, 4, 0,
                       reason, name)


def own_notes(core, final=True):
    core.add_note(OWNER, NOTE + 1, struct.pack("<IIII", 1, 0, 0, 18))
    core.add_note(OWNER, NOTE + 2, facts("creator=heapdump 1", "pid=7",
                                  "captured_at_ns=1700000000000000000"))
    names = b"\0/lib/x.so\0"
    core.add_note(OWNER, NOTE + 3, struct.pack("<II", 2, len(names)) +
                  mapping(BASE, BASE + PAGE, 1) +
                  mapping(BASE + PAGE, BASE + 2 * PAGE, 0, 2) + names)
    core.add_note(OWNER, NOTE + 4, struct.pack("<II16sII", 7, 7, b"main", 82, 0))
    core.add_note(OWNER, NOTE + 5, struct.pack("<QQII", BASE + PAGE, BASE + 2 * PAGE,
                                        1, 0))
    if final:
        core.add_note(OWNER, NOTE + 16, facts("complete=yes"))
        core.add_note(OWNER, NOTE + 17, struct.pack("<QQII", BASE + 0x10000,
                                             BASE + 0x10010, 10, 5))


def process_notes(core, machine="x86-64", files=True):
    core.add_note("CORE", 1, status(machine))
    core.add_note("CORE", 3, bytes(40) + b"program".ljust(96, b"\0"))
    core.add_note("CORE", 0x53494749, struct.pack("<iiiiQ", 11, 0, 1, 0,
                                                  BASE).ljust(128, b"\0"))
    core.add_note("CORE", 6, struct.pack("<6Q", 3, BASE + 64, 6, PAGE, 0, 0))
    if files:
        core.add_file_note([(BASE, BASE + PAGE, 0, "/lib/x.so")])


# ---- Cores

def whole(machine="x86-64", page=None, files=True, own=False):
    core = elfcore.CoreBuilder(machine, 16)
    process_notes(core, machine, files)
    if own:
        own_notes(core)
    core.add_segment(BASE, page or library(BASE), flags=5)
    core.add_segment(BASE + 0x10000, b"some bytes", memsz=PAGE)
    return core


def cores():
    yield "kernel", whole().bytes()
    yield "aarch64", whole("aarch64").bytes()
    yield "sysv-hash", whole(page=library(sysv=True)).bytes()
    yield "no-file-note", whole(files=False).bytes()
    yield "heapdump", whole(own=True).bytes()
    core = whole()
    core.add_segment(BASE + 0x10004, b"other bytes", memsz=64)
    core.add_segment(BASE + 0x20000, b"", memsz=2**62)
    core.add_segment(BASE + 0x30000, b"cut", filesz=2**63, memsz=2**63)
    core.add_segment(EVERYTHING - 0xFFF, b"the end", memsz=EVERYTHING)
    core.add_segment(0, b"", memsz=0)
    yield "claims", core.bytes()
    for cut in (63, 119, 200, 700):
        yield "cut-%d" % cut, whole().bytes()[:cut]
    image = bytearray(whole().bytes())
    struct.pack_into("<H", image, 56, 0xFFFF)
    yield "count-lost", bytes(image)
    struct.pack_into("<Q", image, 40, len(image) - 64)
    yield "count-elsewhere", bytes(image)
    for name, offset, value in (("hash-buckets", 0x400, 2**31),
                                ("hash-bloom", 0x408, 2**32 - 1),
                                ("strings", 0x380, 0x41414141)):
        page = bytearray(library(BASE))
        struct.pack_into("<I", page, offset, value)
        yield name, whole(page=bytes(page)).bytes()


def notes():
    """Each with the byte before it that chooses the machine."""
    core = elfcore.CoreBuilder()
    process_notes(core)
    own_notes(core)
    yield "all", b"\0" + bytes(core.notes)
    core = elfcore.CoreBuilder("aarch64")
    process_notes(core, "aarch64")
    yield "aarch64", b"\1" + bytes(core.notes)
    core = elfcore.CoreBuilder()
    core.add_note("CORE", 0x46494C45, struct.pack("<QQQQQ", 2**60, 2**40,
                                                  BASE, BASE + 1, 2**40))
    core.add_note(OWNER, NOTE + 3, struct.pack("<II", 2**32 - 1, 2**32 - 1))
    core.add_note(OWNER, NOTE + 2, b"no end")
    core.add_note(OWNER, NOTE + 1, struct.pack("<IIII", 1, 4, 0, 18))
    yield "claims", b"\0" + bytes(core.notes)
    yield "no-end", b"\0" + struct.pack("<III", 4, 4, 1) + b"COREabcd"
    yield "huge", b"\0" + struct.pack("<III", 2**32 - 1, 2**32 - 1, 1)


def programs():
    page = library()
    yield "library", page[:0x680 + 5 * 64]
    for name, offset, value in (("sections", 40, 0x6FF), ("link", 0x728, 77),
                                ("size", 0x720, 2**40), ("entry", 0x738, 1)):
        spoilt = bytearray(page[:0x680 + 5 * 64])
        struct.pack_into("<Q", spoilt, offset, value)
        yield name, bytes(spoilt)
    yield "cut", page[:0x700]


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    for target, seeds in (("image", cores()), ("notes", notes()),
                          ("symbols", programs())):
        place = os.path.join(folder, target)
        os.makedirs(place, exist_ok=True)
        for name, data in seeds:
            with open(os.path.join(place, name), "wb") as file:
                file.write(data)


main()
