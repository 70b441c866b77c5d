#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Values of objects, compared with what repr() says of them in the target.

For each interpreter values_target.py builds a few thousand values; what
tests/tools/valuedump.c reads in a core of it must be their repr(), whole in a
large buffer, and up to a "…" in a small one. In the kernel's core, which lacks
read-only pages, with no module files at hand, the same is expected but for
names that are in those pages.
"""

import collections
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import heaptest  # noqa: E402

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "values_target.py")
LARGE, SMALL = 65536, 100
DOTS = "\u2026"

# An int of more than 60 digits is cut, and says how many bits it has.
LONG_INT = re.compile(r"(-?\d{60})%s\((\d+) bits\)$" % DOTS)

# Depth at which nested containers are cut.
DEPTH = 12

Truth = collections.namedtuple("Truth", "address kind text unknown")
Truth.__new__.__defaults__ = ((),)


def read_truth(path):
    with open(path) as file:
        return [Truth(*json.loads(line)) for line in file]


def valuedump(core, size, things, sysroot=None):
    argv = [heaptest.program("tests/tools/valuedump"), core, str(size)]
    if sysroot is not None:
        argv.append(sysroot)
    done = heaptest.run(argv, stdin=None, input="".join(
        "%x\n" % thing.address for thing in things))
    assert done.returncode == 0, done.stderr
    values = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(values) == len(things)
    return values


def code_point(shown):
    return int(shown[2:], 16) if shown[1:] else ord(shown)


def without_unknown(text, unknown):
    """A repr() without the characters that its Python does not know yet, which
    newer ones show as they are."""
    if not unknown:
        return text
    unknown = set(unknown)
    return re.sub(r"\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|[^\\]",
                  lambda found: "" if code_point(found[0]) in unknown
                  else found[0], text)


def is_value(thing, got):
    """Is this all of the value, or cut where it says so for other reasons than
    the size of the buffer?"""
    if thing.kind == "prefix":
        return got.startswith(thing.text)
    if thing.kind == "printable":
        return (without_unknown(got, thing.unknown)
                == without_unknown(thing.text, thing.unknown))
    if got == thing.text:
        return True
    long = LONG_INT.match(got)
    if long:
        value = int(thing.text)
        return (thing.text.startswith(long[1])
                and len(thing.text.lstrip("-")) > 60
                and int(long[2]) == value.bit_length())
    # Too deep: all that comes before is there, and that is much.
    opened = got.split(DOTS)[0]
    return (DOTS in got and thing.text.startswith(opened)
            and sum(map(opened.count, "[({")) >= DEPTH)


def is_beginning(thing, got, size):
    """Is this a value cut at the end of a buffer?"""
    if len(got.encode()) >= size:
        return False
    if not got.endswith(DOTS):
        return is_value(thing, got)
    shown, whole = got[:-1], thing.text
    if thing.kind == "printable":
        shown, whole = (without_unknown(text, thing.unknown)
                        for text in (shown, whole))
    if LONG_INT.match(got.split("(")[0] + "(1 bits)"):
        shown = shown.split(DOTS)[0]
    # Escapes of 10 bytes, a character of 4, and the dots may not have fitted.
    return (whole.startswith(shown.split(DOTS)[0])
            and len(got.encode()) >= size - 16)


def check_all(things, values, test):
    wrong = [(thing, got) for thing, got in zip(things, values)
             if not test(thing, got)]
    for thing, got in wrong[:40]:
        at = len(os.path.commonprefix([thing.text, got]))
        print("#   %#x: expected %s, got %s, the same up to %d" % (
            thing.address, ascii(thing.text[at:at + 80]),
            ascii(got[max(at - 10, 0):at + 80]), at))
    assert not wrong, "%d of %d values differ" % (len(wrong), len(things))


def needs_pages(thing):
    """Does the repr() have a name that is in a read-only page? Those of C
    functions, of fields of struct sequences, and the letter of an array."""
    return re.match(r"<built-in|time\.struct_time|sys\.|os\.terminal_size"
                    r"|array\(", thing.text)


def test_interpreter(interpreter):
    census, core = heaptest.tmp("census"), heaptest.tmp("core")
    fresh = heaptest.tmp("kernel.core")
    things = []
    with heaptest.start_target(interpreter, SCRIPT, census=census) as target:
        with heaptest.case("%s: values" % interpreter.name):
            things = read_truth(census)
            heaptest.plain_core(target.pid, core)
            values = valuedump(core, LARGE, things, interpreter.root)
            exact = sum(thing.text == got
                        for thing, got in zip(things, values))
            print("# %s: %d values, %d to the letter" % (
                interpreter.name, len(things), exact))
            check_all(things, values, is_value)
            # A test of nothing but beginnings would prove little.
            assert exact > len(things) * 9 // 10, exact
        with heaptest.case("%s: values in a small buffer" % interpreter.name):
            values = valuedump(core, SMALL, things, interpreter.root)
            cut = sum(got.endswith(DOTS) for got in values)
            assert cut > 100, cut
            check_all(things, values,
                      lambda thing, got: is_beginning(thing, got, SMALL))
        with heaptest.case("%s: values without read-only pages"
                           % interpreter.name):
            heaptest.kernel_core(target.pid, fresh)
            without = [thing for thing in things if not needs_pages(thing)]
            assert len(things) - 30 < len(without) < len(things)
            check_all(without, valuedump(fresh, LARGE, without, ""), is_value)
    for path in (census, core, fresh):
        if os.path.exists(path):
            os.unlink(path)


def main():
    interpreters = heaptest.interpreters()
    for interpreter in interpreters:
        if not interpreter.name.endswith("-loader"):
            test_interpreter(interpreter)
    for release in heaptest.absent_releases(interpreters):
        heaptest.skip("%s: values" % release,
                      "this machine has no such interpreter")
    heaptest.finish()


if __name__ == "__main__":
    main()
