# SPDX-License-Identifier: Apache-2.0
"""Interpreters beside the main one, with allocators of their own and without:
objects, references and counts held against a census that was taken inside of
each, garbage against what its collector finds."""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import census_compare
import elfcore
import heaptest
import references

TARGET = os.path.join(HERE, "subinterpreters_target.py")


class Subject:
    """A dump and what was told of it.

    .core       its path
    .census     of all interpreters together
    .parts      and of each of the others
    .garbage    addresses of what their collectors find
    """

    def __init__(self, interpreter):
        self.core = heaptest.tmp("core")
        path = heaptest.tmp("census")
        with heaptest.start_target(interpreter, TARGET, census=path,
                                   beside=[heaptest.TARGET]) as target:
            done = heaptest.heapdump("-q", "--no-compress", "--max-pause",
                                     "1m", "-o", self.core, target.pid)
            assert done.returncode == 0, done.stderr
            self.census, self.parts = heaptest.Census(path), []
            self.garbage = []
            while os.path.exists(self.file(target, "census")):
                self.parts.append(
                    heaptest.Census(self.file(target, "census")))
                with open(self.file(target, "garbage")) as file:
                    self.garbage.append(set(json.load(file)))
        for part in self.parts[1:]:
            self.census.join(part)
        self.census.join(self.parts[0])

    def file(self, target, name):
        return os.path.join(target.folder,
                            "%s.%d" % (name, len(self.garbage)))


def answer(core, *args):
    done = heaptest.heapscan(core, *args, "-f", "json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)["rows"]


def test_garbage(subject):
    done = subprocess.run([heaptest.program("tests/tools/collectordump"),
                           subject.core], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {"garbage": set(), "tracked": set()}
    for line in done.stdout.splitlines():
        name, *addresses = line.split()
        if name in found:
            found[name].add(int(addresses[0], 16))
    for i, (part, told) in enumerate(zip(subject.parts, subject.garbage)):
        assert len(told) > 50, "interpreter %d: %d" % (i, len(told))
        own = set(part.column("address"))
        told &= found["tracked"]
        got = found["garbage"] & own
        assert got == told, "interpreter %d: %d too many, %d missing" % (
            i, len(got - told), len(told - got))


def test_views(subject):
    """Modules are each interpreter's own, and paths say whose they are."""
    for number, part in enumerate(subject.parts, 1):
        # Up to 3.11 each of them sees what all have.
        users = [address for address, row in part.types.items()
                 if row.name == "__main__.Slotted"]
        paths = {answer(subject.core, "path", hex(address))[0]["path"]
                 for address in users}
        assert "target.py:Slotted in interpreter %d" % number in paths, paths
    at = ["sys.modules" + " in interpreter %d" % i * (i > 0)
          for i in range(len(subject.parts) + 1)]
    paths = {row["path"]: row["retained"]
             for row in answer(subject.core, "retained", "--type", "dict")}
    for path in at[1:]:
        assert paths.get(path, 0) > 1000000, (path, paths)


def test(interpreter):
    who = "%s: " % interpreter
    subject = Subject(interpreter)
    with heaptest.case(who + "there are others"):
        assert len(subject.parts) >= 2
        for part in subject.parts:
            assert len(part) > 10000, len(part)
        # There types of two interpreters may have one and the same number in the
        # cache of attributes, so that one has the other's __sizeof__.
        subject.census.sized = interpreter.version[:2] != (3, 12)
    with elfcore.ElfCore(subject.core) as core:
        with heaptest.case(who + "objects"):
            census_compare.compare(subject.census, core, subject.core)
        references.check(who, subject.census, core, subject.core,
                         census_compare.objects_of(subject.core))
    if interpreter.version[:2] == (3, 9):
        heaptest.skip(who + "garbage", "there gc.garbage is the main "
                      "interpreter's, whoever collects")
    else:
        with heaptest.case(who + "garbage"):
            test_garbage(subject)
    with heaptest.case(who + "paths"):
        test_views(subject)
    os.unlink(subject.core)


for interpreter in heaptest.interpreters(few=True):
    # Before 3.12 all share one allocator: as in any other process.
    if interpreter.version < (3, 12) \
            and not os.environ.get("HEAPSCAN_INTERPRETERS"):
        continue
    with heaptest.case("%s: target" % interpreter):
        test(interpreter)
heaptest.finish()
