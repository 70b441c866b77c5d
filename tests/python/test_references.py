# SPDX-License-Identifier: Apache-2.0
"""References of a real heap, held against what the interpreter says of each
object, and the heap against its references: no object is held by nothing. See
tests/lib/references.py."""

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
    os.unlink(dump)


for interpreter in heaptest.interpreters():
    for args, label, env in VARIANTS:
        with heaptest.case("%s%s: target" % (interpreter, label)):
            if interpreter.free_threaded:
                raise heaptest.Skip("free-threaded heaps are not enumerated "
                                    "in this version")
            test(interpreter, args, label, env)
heaptest.finish()
