#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names of types and sizes of objects, compared with what Python itself says.

For each interpreter sizes_target.py builds objects of every type; what
tests/tools/typedump.c reads in a core of it must equal type names and
sys.getsizeof wherever the answer claims to be exact. From gdb's core with the
module files at hand; and from the kernel's, which lacks read-only pages, with
no files at all: there names come from dictionaries. With the debug hooks of the
allocator, which note the size of each request, extents and claims are compared
with what was asked for.
"""

import collections
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import elfcore   # noqa: E402
import heaptest  # noqa: E402

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "sizes_target.py")

Truth = collections.namedtuple("Truth",
                               "address type size name built flags")
Dumped = collections.namedtuple("Dumped",
                                "address type name size extent word claims")

# Static types that no dictionary of a fresh process leads to. In a core
# without their names they stay anonymous.
UNREACHABLE_MAX = 50

# Types with a __sizeof__ of their own that the tables do not follow.
INEXACT = {"__main__.WithSizeof", "__main__.MixedIn", "__main__.SizeofFirst",
           "parser.st"}

# Types that ask for memory that tp_basicsize and ob_size do not tell of.
MORE_THAN_TOLD = {"EncodingMap", "datetime.IsoCalendarDate", "_pickle.Pdata"}

INLINE_VALUES, LONG_SUBCLASS = 1 << 2, 1 << 24      # of tp_flags


def read_census(path):
    with open(path) as file:
        return [Truth(*json.loads(line)) for line in file]


def typedump(core, things, sysroot=None):
    """What the tool says, in the order of things."""
    argv = [heaptest.program("tests/tools/typedump"), core]
    if sysroot is not None:
        argv.append(sysroot)
    done = heaptest.run(argv, stdin=None, input="".join(
        "%x\n" % thing.address for thing in things))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")[:-1]
    # A name may hold a newline; the columns after it are still those of one.
    dumped, text = [], ""
    for line in lines:
        text = text + "\n" + line if text else line
        columns = text.split("\t")
        if len(columns) >= 7:
            dumped.append(Dumped(int(columns[0], 16), columns[1],
                                 "\t".join(columns[2:-4]), *columns[-4:]))
            text = ""
    assert len(dumped) == len(things), (
        "asked for %d objects, got %d" % (len(things), len(dumped)))
    return dumped


def report(what, wrong):
    """The types with mismatches, most frequent first."""
    by_type = collections.Counter(name for name, _ in wrong)
    example = dict(reversed(wrong))
    print("# %s: %d objects of %d types" % (what, len(wrong), len(by_type)))
    for name, count in by_type.most_common(40):
        print("#     %6d %s: %s" % (count, ascii(name)[:80], example[name]))


def comparable(name):
    """A name as the tool prints it: cut where it is very long, and with bytes
    that are no UTF-8 where Python has lone surrogates."""
    raw = name.encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")
    return raw.decode("utf-8", "surrogateescape")


def compare(things, dumped, anonymous_allowed=False):
    names, sizes, inexact, untyped, refused = [], [], [], [], []
    anonymous = set()
    for thing, said in zip(things, dumped):
        if said.type == "-":
            untyped.append((thing.name, "%#x" % thing.address))
            continue
        if said.name.startswith("?0x"):
            anonymous.add(thing.name)
        elif said.name != comparable(thing.name):
            names.append((thing.name, "expected %s, got %s" % (
                ascii(thing.name), ascii(said.name))))
        if said.word == "refused":
            refused.append((thing.name, "%#x" % thing.address))
        elif said.word == "exact" and int(said.size) != thing.size:
            sizes.append((thing.name, "%#x: expected %d, got %s" % (
                thing.address, thing.size, said.size)))
        elif said.word != "exact" and thing.name not in INEXACT:
            inexact.append((thing.name, "%s: %s, %d, got %s" % (
                hex(thing.address), said.word, thing.size, said.size)))
    for what, wrong in (("type not found", untyped), ("refused", refused),
                        ("name", names), ("size", sizes),
                        ("not exact", inexact)):
        if wrong:
            report(what, wrong)
    if anonymous:
        print("# anonymous: %s" % " ".join(sorted(map(ascii, anonymous))))
    assert not untyped, "%d objects have no type" % len(untyped)
    assert not refused, "%d objects are refused" % len(refused)
    assert not names, "%d names differ" % len(names)
    assert not sizes, "%d sizes differ" % len(sizes)
    if anonymous_allowed:
        assert len(anonymous) <= UNREACHABLE_MAX, (
            "%d static types have no name" % len(anonymous))
    else:
        assert not anonymous, "%d types have no name" % len(anonymous)
        assert not inexact, "%d sizes are not exact" % len(inexact)


def request(core, block):
    """What the debug hooks of the allocator wrote before a block: how many
    bytes were asked for; None if that is no block of theirs. (Large blocks
    have the hooks of the raw allocator, "r", around them in addition.)"""
    try:
        head = core.read(block - 16, 16)
    except elfcore.Missing:
        return None
    if head[8:9] not in (b"m", b"o") or head[9:] != b"\xfd" * 7:
        return None
    size = int.from_bytes(head[:8], "big")
    try:
        return size if core.read(block + size, 8) == b"\xfd" * 8 else None
    except elfcore.Missing:
        return None


def plausible_extent(thing, extent, asked):
    """What is said is the least that can have been asked for, and nearly
    always just that, but for the eight bytes that requests are rounded to."""
    if (extent + 7) // 8 == (asked + 7) // 8:
        return True
    if thing.flags & INLINE_VALUES:
        # Room for one value more, when the class had few instances.
        return extent < asked <= extent + 16
    if thing.flags & LONG_SUBCLASS:
        return extent < asked           # leading zeros were dropped
    return thing.name in MORE_THAN_TOLD and extent < asked


def plausible_claim(version, size, asked):
    if version[:2] in ((3, 11), (3, 12)) and 24 <= size <= 272:
        # Values of attributes: the class once had room for more.
        return size <= asked <= size + 56
    # Nothing is asked for with one byte.
    return size in (0, asked) or (size == 1 and asked == 0)


def compare_requests(version, core, things, dumped):
    """Extents and claims against the sizes that the allocator was asked for."""
    core = elfcore.ElfCore(core)
    extents, claims, owners = [], [], {}
    found = claimed = 0
    for thing, said in zip(things, dumped):
        if said.type == "-" or said.word == "refused":
            continue
        for presize in (32, 16, 0):
            asked = request(core, thing.address - presize)
            if asked is not None:
                break
        if asked is not None:
            found += 1
            expected = asked - presize
            if not plausible_extent(thing, int(said.extent), expected):
                extents.append((thing.name, "%#x: asked for %d, got %s" % (
                    thing.address, expected, said.extent)))
        for claim in said.claims.split(",") if said.claims != "-" else ():
            address, _, size = claim.partition("+")
            asked = request(core, int(address, 16))
            claimed += 1
            if asked is None:
                claims.append((thing.name, "%#x claims %s, no block" % (
                    thing.address, claim)))
            elif not plausible_claim(version, int(size), asked):
                claims.append((thing.name, "%#x claims %s, asked for %d" % (
                    thing.address, claim, asked)))
            other = owners.setdefault(address, thing)
            if other.address != thing.address:
                claims.append((thing.name, "%#x claims %s, as does a %s" % (
                    thing.address, claim, other.name)))
    print("# %d blocks of objects, %d claims" % (found, claimed))
    if extents:
        report("extent", extents)
    if claims:
        report("claim", claims)
    assert found > len(things) // 3, "only %d objects in blocks" % found
    assert claimed > 1000, "only %d claims" % claimed
    assert not extents, "%d extents differ" % len(extents)
    assert not claims, "%d claims are wrong" % len(claims)


def test_requests(interpreter):
    """With PYTHONMALLOC=debug each block says what was asked for."""
    census, core = heaptest.tmp("census"), heaptest.tmp("core")
    with heaptest.case("%s: extents and claims" % interpreter.name), \
         heaptest.start_target(interpreter, SCRIPT, census=census,
                               env={"PYTHONMALLOC": "debug"}) as target:
        things = read_census(census)
        heaptest.plain_core(target.pid, core)
        dumped = typedump(core, things, interpreter.root)
        compare_requests(interpreter.version, core, things, dumped)


def test_interpreter(interpreter):
    census, core = heaptest.tmp("census"), heaptest.tmp("core")
    fresh = heaptest.tmp("kernel.core")
    things = []
    with heaptest.start_target(interpreter, SCRIPT, census=census) as target:
        with heaptest.case("%s: names and sizes" % interpreter.name):
            things = read_census(census)
            print("# %s: %d objects of %d types" % (
                interpreter.name, len(things),
                len({thing.type for thing in things})))
            heaptest.plain_core(target.pid, core)
            compare(things, typedump(core, things, interpreter.root))
        with heaptest.case("%s: names without read-only pages"
                           % interpreter.name):
            heaptest.kernel_core(target.pid, fresh)
            compare(things, typedump(fresh, things, ""),
                    anonymous_allowed=True)
    for path in (census, core, fresh):
        if os.path.exists(path):
            os.unlink(path)


def main():
    interpreters = heaptest.interpreters()
    for interpreter in interpreters:
        if not interpreter.name.endswith("-loader"):
            test_interpreter(interpreter)
            test_requests(interpreter)
    for release in heaptest.absent_releases(interpreters):
        heaptest.skip("%s: names and sizes" % release,
                      "this machine has no such interpreter")
    heaptest.finish()


if __name__ == "__main__":
    main()
