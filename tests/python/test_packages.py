# SPDX-License-Identifier: Apache-2.0
"""Every object of a process with numpy, lxml and pydantic, held against the
census of its forked twin, as in test_census.py, and the references of arrays,
as in test_references.py. The packages come from fetch_packages.sh."""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import census_compare
import elfcore
import heaptest
import references

SCRIPT = os.path.join(HERE, "packages_target.py")
WANTED = "numpy", "lxml", "pydantic"
ALLOCATORS = (
    ("", None),
    (" without pymalloc", {"PYTHONMALLOC": "malloc"}),
)


def test(interpreter, label, env):
    census_path = heaptest.tmp("census")
    dump, core = heaptest.tmp("dump.zst"), heaptest.tmp("core")
    with heaptest.start_target(
            interpreter, SCRIPT, census=census_path, env=env,
            beside=[heaptest.TARGET]) as target:
        there = re.search(r"^PACKAGES (.*)$", target.printed(), re.M)[1].split()
        census = heaptest.Census(census_path)
        done = heaptest.heapdump("--max-pause", "1m", "-q", "-o", dump,
                                 target.pid)
        assert done.returncode == 0, "heapdump: exit %d: %s" % (
            done.returncode, done.stderr)
        with heaptest.case("%s%s: kernel core is written" % (interpreter,
                                                             label)):
            heaptest.kernel_core(target.pid, core)
    print("# %s%s: %s, %d objects" % (interpreter, label, there, len(census)))
    for package in WANTED:
        if package not in there:
            heaptest.skip("%s%s: objects of %s" % (interpreter, label, package),
                          "not installed: tests/python/fetch_packages.sh")
    if "numpy" in there and os.path.exists(core):
        with elfcore.ElfCore(core) as opened:
            heap = references.Heap(core)
            with heaptest.case("%s%s: the collector visits the same" % (
                    interpreter, label)):
                references.visited_alike(census, heap, foreign=True)
            with heaptest.case("%s%s: reference counts" % (interpreter,
                                                           label)):
                # Records of arrays may hold objects as well: not known here.
                references.counts_explained(census, heap, opened, core, 20000)
    for kind, path in ("heapdump", dump), ("kernel", core):
        if os.path.exists(path):
            census_compare.check_dump("%s%s: objects of %s's dump" % (
                interpreter, label, kind), census, path)


found = heaptest.with_packages()
for interpreter in found:
    for label, env in ALLOCATORS:
        with heaptest.case("%s%s" % (interpreter, label)):
            test(interpreter, label, env)
if not found:
    heaptest.skip("objects of numpy, lxml and pydantic",
                  "no environment with packages here: "
                  "tests/python/fetch_packages.sh makes them")
heaptest.finish()
