#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""image/base/pickle against pickle.load: what is written comes back, in opcodes
that the viewer of PyTorch knows."""

import math
import os
import pickle
import pickletools
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

TOOL = os.path.join(heaptest.BUILD, "tests", "tools", "pickletext")

# Of _memory_viz's page: everything else it refuses.
KNOWN = {"PROTO", "MARK", "STOP", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE",
         "LIST", "DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND",
         "APPENDS", "SETITEM", "SETITEMS", "NONE", "NEWTRUE", "NEWFALSE",
         "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
         "SHORT_BINUNICODE", "BINUNICODE", "BINGET", "LONG_BINGET", "BINPUT",
         "LONG_BINPUT", "MEMOIZE"}


def write(lines):
    done = subprocess.run([TOOL], capture_output=True,
                          input="".join(line + "\n" for line in lines).encode())
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines_of(value, key="-"):
    """What makes the tool write a value."""
    if isinstance(value, dict):
        yield "dict " + key
        for name, item in value.items():
            yield from lines_of(item, name)
        yield "end -"
    elif isinstance(value, list):
        yield "list " + key
        for item in value:
            yield from lines_of(item)
        yield "end -"
    elif value is None:
        yield "none " + key
    elif isinstance(value, bool):
        yield "bool %s %d" % (key, value)
    elif isinstance(value, int):
        yield "%s %s %d" % ("i64" if value < 1 << 63 else "u64", key, value)
    elif isinstance(value, float):
        yield "double %s %r" % (key, value)
    elif isinstance(value, tuple):
        yield "pair %s %d,%d" % ((key,) + value)
    else:
        yield "text %s %s" % (key, value.encode().hex())


def edges():
    for bits in range(65):
        for beside in (-2, -1, 0, 1):
            for sign in (1, -1):
                number = sign * ((1 << bits) + beside)
                if -1 << 63 <= number < 1 << 64:
                    yield number


def random_value(generator, depth=0):
    kind = generator.randrange(9 if depth < 8 else 7)
    if kind < 2:
        return generator.choice((1, -1)) * generator.getrandbits(
            generator.randrange(64))
    if kind == 2:
        return generator.random() * 10 ** generator.randrange(-300, 300)
    if kind == 3:
        return generator.choice((None, True, False))
    if kind == 4:
        return (generator.getrandbits(64), generator.getrandbits(3))
    if kind < 7:
        return "".join(chr(generator.choice((65, 0xe9, 0x4e00, 0x1f600)))
                       for _ in range(generator.choice((0, 3, 90, 300))))
    if kind == 7:
        return [random_value(generator, depth + 1)
                for _ in range(generator.choice((0, 1, 5)))]
    return {"k%d" % i: random_value(generator, depth + 1)
            for i in range(generator.choice((0, 1, 5, 70)))}


def same(value):
    written = write(lines_of(value))
    got = pickle.loads(written)
    assert got == value, (str(got)[:200], str(value)[:200])
    return written


def batches(written):
    """The lengths of what goes into one APPENDS or SETITEMS."""
    marks, lengths = [], []
    for opcode, _, _ in pickletools.genops(written):
        if opcode.name == "MARK":
            marks.append(0)
        elif opcode.name in ("APPENDS", "SETITEMS"):
            lengths.append(marks.pop())
            continue
        if marks and opcode.name in ("BININT", "BININT1", "BININT2"):
            marks[-1] += 1
    return lengths


def test_numbers():
    written = same(list(edges()))
    # Those that fit are as short as they can be: 8 bytes at most.
    for opcode, argument, position in pickletools.genops(written):
        if opcode.name == "LONG1" and -1 << 63 <= argument < 1 << 63:
            assert written[position + 1] <= 8, argument
    same([0.0, -0.5, 1e300, 5e-324, math.inf])
    assert math.isnan(pickle.loads(write(["double - nan"])))


def test_text():
    same(["", "a" * 255, "a" * 256, "é" * 127, "é" * 128, "\U0001f600",
          "\U0010ffff", "\ud7ff\ue000"])
    for wrong in (b"\xff", b"a\x80b", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80",
                  b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80"):
        got = pickle.loads(write(["text - " + wrong.hex()]))
        assert got.replace("\ufffd", "") == wrong.decode("ascii", "ignore"), got
        assert "\ufffd" in got


def test_random():
    generator = random.Random(7)
    used = set()
    for _ in range(150):
        written = same([random_value(generator)])
        used |= {opcode.name for opcode, _, _ in pickletools.genops(written)}
    assert used <= KNOWN, used - KNOWN
    assert {"LONG1", "SETITEMS", "BINGET", "TUPLE2", "BINUNICODE"} <= used, used


def test_batches():
    for count in (999, 1000, 1001, 2000, 2500):
        written = same(list(range(count)))
        assert max(batches(written)) <= 1000, batches(written)
        assert sum(batches(written)) == count


def test_shared():
    lines = ["list -"]
    for i in range(300):
        lines += ["list -", "keep -", "kept - %02x%02x" % (65 + i % 26, 97 + i % 5),
                  "end -"]
    lines += ["again - %d" % i for i in range(600)] + ["end -"]
    got = pickle.loads(write(lines))
    assert len(got) == 900
    for i in range(300):
        assert got[300 + 2 * i] is got[i], i
        assert got[301 + 2 * i] is got[i][0], i


def main():
    for name, test in sorted(globals().items()):
        if name.startswith("test_"):
            with heaptest.case("pickle: " + name[5:]):
                test()
    heaptest.finish()


main()
