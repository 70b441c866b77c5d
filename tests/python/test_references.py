# SPDX-License-Identifier: Apache-2.0
"""References of a real heap, held against what the interpreter says of each
object, and the heap against its references: no object is held by nothing. See
tests/lib/references.py."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import census_compare
import elfcore
import heaptest
import references

VARIANTS = (
    ([], "", None),
    (["--no-gc"], " with garbage", None),
    ([], " with debug hooks", {"PYTHONMALLOC": "debug"}),
    ([], " without pymalloc", {"PYTHONMALLOC": "malloc"}),
)


def evidence_of_few(dump, found):
    """Of a few objects it is found out in another way, with the same result:
    also of those that only the middle of a deque holds, or nothing."""
    for options in (["--top", "500"], ["--top", "900", "--type", "float"],
                    ["--top", "200", "--type", "str"],
                    ["--top", "40", "--type", "bytes"],
                    ["--top", "3", "--type", "object"],
                    ["--top", "1", "--type", "int"],
                    ["--top", "100", "--sort", "refcount"]):
        done = heaptest.heapscan(dump, "objects", "-f", "json", *options)
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)["rows"]
        assert rows, options
        wrong = ["%s %s: %s" % (row["address"], row["type"], row["evidence"])
                 for row in rows
                 if row["evidence"] != found[int(row["address"], 16)].evidence]
        assert not wrong, "%s: %s" % (" ".join(options), ", ".join(wrong[:5]))


def test(interpreter, args, label, env):
    census_path, dump = heaptest.tmp("census"), heaptest.tmp("core")
    with heaptest.start_target(interpreter, args=["--scale", 300, *args],
                               census=census_path, env=env) as target:
        census = heaptest.Census(census_path)
        done = heaptest.heapdump("--max-pause", "1m", "-q", "--no-compress",
                                 "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    found = census_compare.objects_of(dump)
    with elfcore.ElfCore(dump) as core:
        references.check("%s%s: " % (interpreter, label), census, core, dump,
                         found)
    with heaptest.case("%s%s: evidence of a few" % (interpreter, label)):
        evidence_of_few(dump, found)
    os.unlink(dump)


for interpreter in heaptest.interpreters():
    for args, label, env in heaptest.allocators(interpreter, VARIANTS):
        with heaptest.case("%s%s: target" % (interpreter, label)):
            test(interpreter, args, label, env)
heaptest.finish()
