# SPDX-License-Identifier: Apache-2.0
"""Dumps of moments when an interpreter is not as it usually is: a class is half
made, the program has ended and finalizers run. Nothing of that is damage, and all
objects are there."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest
import moments_target

SCRIPT = os.path.join(HERE, "moments_target.py")
MOMENTS = ("half_made", "shutting_down", "exit_handlers")


def answer(dump, *args):
    done = heaptest.heapscan(dump, *args, "-v", "-f", "json", "--no-index")
    assert done.returncode == 0, done.stderr
    findings = re.findall("heapscan: [a-z-]+ at 0x.*", done.stderr)
    assert not [f for f in findings if "module-file" not in f], findings
    return json.loads(done.stdout)


def look_at(interpreter, moment):
    dump = heaptest.tmp("moments.dump")
    with heaptest.start_target(interpreter, SCRIPT, [moment]) as target:
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "1m",
                                 "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    for files in ([], ["--sysroot", "none"]):
        kept = answer(dump, "types", "--type", "__main__.Kept", *files)["rows"]
        assert [row["count"] for row in kept] == [moments_target.ITEMS], kept
        modules = answer(dump, "types", "--type", "module", *files)["rows"]
        assert [row["count"] for row in modules][0] > 10, modules
        answer(dump, *files)
    rows = answer(dump, "refcounts")["rows"]
    assert not [row for row in rows if row["excess"] < 0], rows
    os.unlink(dump)


for interpreter in heaptest.interpreters():
    for moment in MOMENTS:
        with heaptest.case("%s: %s" % (interpreter, moment)):
            look_at(interpreter, moment)
heaptest.finish()
