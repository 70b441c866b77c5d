#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the seed corpus of fuzz_backing: one tiny file for each container and
for each way in which one can be spoilt.

    tests/fuzz/make_corpus_backing.py [FOLDER]

The zstd and lz4 frames are put together by hand, of raw and run-length blocks,
so that nothing but Python's own library is needed and the files never change.
"""

import gzip
import lzma
import os
import struct
import sys

DEFAULT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus",
                       "backing")
CORE = (b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 4, 62)
        + b"a small core " * 40 + bytes(3000) + b"its end")
NOTES = 0x184D2A51
SEEK = 0x184D2A5E


def zstd(content, size="told", checksum=b""):
    """A frame of one raw block, or of one run-length block if it can be."""
    if size == "told":
        head = b"\xa0" + struct.pack("<I", len(content))
    else:
        head = b"\x00\x50"          # window of 1 MiB, no content size
    if checksum:
        head = bytes([head[0] | 4]) + head[1:]
    if content and content == content[:1] * len(content):
        block = struct.pack("<I", len(content) << 3 | 3)[:3] + content[:1]
    else:
        block = struct.pack("<I", len(content) << 3 | 1)[:3] + content
    return struct.pack("<I", 0xFD2FB528) + head + block + checksum


def skippable(magic, content):
    return struct.pack("<II", magic, len(content)) + content


def table(frames, descriptor=0):
    """frames: (stored, expanded) or (stored, expanded, checksum)."""
    return skippable(SEEK, b"".join(
        struct.pack("<%dI" % len(frame), *frame) for frame in frames)
        + struct.pack("<IBI", len(frames), descriptor, 0x8F92EAB1))


def dump(step=512, checksum=b""):
    """Our own container: its pieces, and the rows of its table."""
    pieces, rows = [], []
    for at in range(0, len(CORE), step):
        part = CORE[at:at + step]
        pieces.append(zstd(part, checksum=checksum))
        rows.append((len(pieces[-1]), len(part)))
    pieces.append(skippable(NOTES, b"final notes"))
    rows.append((len(pieces[-1]), 0))
    return pieces, rows


def xxh32(data):
    """For inputs below 16 bytes, which headers of lz4 frames are."""
    prime1, prime2, prime3, prime4, prime5 = (
        2654435761, 2246822519, 3266489917, 668265263, 374761393)
    mask = 0xFFFFFFFF

    def rotate(value, by):
        return (value << by | value >> (32 - by)) & mask

    value = (prime5 + len(data)) & mask
    at = 0
    while at + 4 <= len(data):
        word, = struct.unpack_from("<I", data, at)
        value = rotate((value + word * prime3) & mask, 17) * prime4 & mask
        at += 4
    for byte in data[at:]:
        value = rotate((value + byte * prime5) & mask, 11) * prime1 & mask
    value = (value ^ value >> 15) * prime2 & mask
    value = (value ^ value >> 13) * prime3 & mask
    return value ^ value >> 16


def lz4(content, claim=None):
    """A frame of one block that is not compressed."""
    head = struct.pack("<BBQ", 0x68, 0x40,
                       len(content) if claim is None else claim)
    return (struct.pack("<I", 0x184D2204) + head
            + bytes([xxh32(head) >> 8 & 0xFF])
            + struct.pack("<I", len(content) | 0x80000000) + content
            + struct.pack("<I", 0))


def zstd_files():
    pieces, rows = dump()
    data = b"".join(pieces)
    whole = data + table(rows)
    yield "dump", whole
    for name, cut in [("table", 3), ("table-frame", len(table(rows)) - 5),
                      ("notes", len(table(rows)) + 4),
                      ("frame", len(table(rows)) + len(pieces[-1]) + 2)]:
        yield "dump-cut-in-" + name, whole[:-cut]
    yield "dump-without-table", data
    yield "dump-without-notes", b"".join(pieces[:-1]) + table(rows[:-1])
    yield "dump-odd-frames", b"".join(dump(700)[0]) + table(dump(700)[1])
    yield "dump-table-with-checksums", data + table(
        [row + (7,) for row in rows], 0x80)
    yield "dump-table-wrong-sum", data + table(
        [(rows[0][0] + 1, rows[0][1])] + rows[1:])
    yield "dump-table-wrong-size", data + table(
        [(rows[0][0], rows[0][1] + 1)] + rows[1:])
    yield "dump-table-absurd", data + table(rows)[:-9] + struct.pack(
        "<IBI", 0x07FFFFFF, 0, 0x8F92EAB1)
    yield "dump-table-large-frame", data + table(
        [(rows[0][0], 1 << 30)] + rows[1:])
    yield "dump-garbage-behind", whole + b"garbage"
    spoilt = bytearray(whole)
    spoilt[rows[0][0]:rows[0][0] + 4] = b"XXXX"
    yield "dump-spoilt-frame-header", bytes(spoilt)
    yield "dump-wrong-checksums", (b"".join(dump(checksum=b"abcd")[0])
                                   + table(dump(checksum=b"abcd")[1]))
    yield "single", zstd(CORE)
    yield "single-size-untold", zstd(CORE, size="untold")
    yield "single-cut", zstd(CORE)[:200]
    yield "single-wrong-size", (zstd(CORE)[:5] + struct.pack("<I", 1 << 20)
                                + zstd(CORE)[9:])
    yield "middle-size-untold", (zstd(CORE[:99]) + zstd(CORE[99:999], "untold")
                                 + zstd(CORE[999:]))
    yield "zeroes", b"".join(zstd(bytes(100000)) for _ in range(20))
    yield "only-skippable", skippable(NOTES, b"x") * 3
    yield "skippable-too-long", skippable(0x184D2A50, b"")[:4] + b"\xff" * 4
    yield "empty-frames", zstd(b"") * 50
    yield "window-too-large", struct.pack("<I", 0xFD2FB528) + b"\x00\xff" * 5
    yield "size-absurd", struct.pack("<I", 0xFD2FB528) + b"\xe0" + b"\xff" * 9


def other_files():
    yield "plain", CORE
    trailer = skippable(NOTES, b"final notes") + table([])
    yield "plain-dump", CORE + trailer
    yield "plain-dump-table-only", CORE + table([])
    yield "plain-dump-notes-spoilt", CORE + b"X" + trailer[1:]
    yield "plain-trailer-only", trailer
    yield "empty", b""
    packed = gzip.compress(CORE, mtime=0)
    yield "gzip", packed
    yield "gzip-members", packed + gzip.compress(b"more", mtime=0) + bytes(9)
    yield "gzip-cut", packed[:-12]
    yield "gzip-garbage-behind", packed + b"garbage"
    yield "gzip-of-plain-dump", gzip.compress(CORE + trailer, mtime=0)
    packed = lzma.compress(CORE)
    yield "xz", packed
    yield "xz-streams", packed + bytes(4) + lzma.compress(b"more")
    yield "xz-cut", packed[:-20]
    yield "xz-spoilt", packed[:100] + b"\xff" + packed[101:]
    yield "lz4", lz4(CORE)
    yield "lz4-frames", skippable(0x184D2A55, b"xyz") + lz4(CORE) + lz4(b"more")
    yield "lz4-cut", lz4(CORE)[:-6]
    yield "lz4-claim", lz4(CORE, claim=1 << 50)
    yield "bzip2", b"BZh91AY&SY" + bytes(8)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    os.makedirs(folder, exist_ok=True)
    for name, content in [*zstd_files(), *other_files()]:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)


if __name__ == "__main__":
    main()
