#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the first inputs of fuzz_convert: small cores, whole and cut off.

    tests/fuzz/make_corpus_convert.py [FOLDER]

The first byte of each: 1 as a file, 2 all content, 4 not compressed."""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from elfcore import CoreBuilder

DEFAULT = os.path.join(HERE, "corpus", "convert")
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV = 1, 3, 6
PAGE = 4096


def prstatus(tid):
    return struct.pack("<iiiHxxQQi", 11, 1, 0, 11, 0, 0, tid) + bytes(
        336 - 36)


def small():
    core = CoreBuilder()
    core.add_note("CORE", NT_PRSTATUS, prstatus(42))
    core.add_note("CORE", NT_PRPSINFO, bytes(24) + struct.pack("<i", 42)
                  + bytes(108))
    core.add_note("CORE", NT_PRSTATUS, prstatus(43))
    core.add_note("CORE", NT_AUXV, struct.pack("<4Q", 6, PAGE, 0, 0))
    core.add_file_note([(0x400000, 0x402000, 0, "/usr/bin/x"),
                        (0x402000, 0x404000, 0x2000, "/usr/bin/x"),
                        (0x700000, 0x701000, 0, "/dev/shm/y (deleted)")])
    core.add_segment(0x400000, b"\x7fELF" + bytes(PAGE - 4), memsz=2 * PAGE,
                     flags=4)
    core.add_segment(0x402000, b"", memsz=2 * PAGE, flags=5)
    core.add_segment(0x600000, b"heap" * (PAGE // 4), flags=6)
    core.add_segment(0x700000, b"shm!" * (PAGE // 4), flags=6)
    core.add_segment(0x800000, bytes(PAGE), flags=0)
    return core.bytes()


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    os.makedirs(folder, exist_ok=True)
    core = small()
    inputs = {"pipe": (0, core), "file": (1, core), "full": (3, core),
              "plain": (6, core), "cut": (0, core[:-5000]),
              "cut_notes": (0, core[:900]), "cut_headers": (1, core[:200]),
              "empty": (0, b"")}
    for name, (how, data) in inputs.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(bytes([how]) + data)


main()
