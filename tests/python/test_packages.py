# SPDX-License-Identifier: Apache-2.0
"""Every object of a process with numpy, lxml and pydantic, held against the
census of its forked twin, as in test_census.py, and the references of arrays,
as in test_references.py, and their counts. The packages come from fetch_packages.sh."""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import census_compare
import elfcore
import heaptest
import heldcounts
import references

SCRIPT = os.path.join(HERE, "packages_target.py")
# What these leak themselves, by patterns of type and value: Cython takes a
# count of each descriptor whose documentation it replaces and of types that its
# modules share, numpy of what it registers with its functions, of infinity for
# each type that a function has it as its start for, and, in tables of its own,
# of functions and types. Of classes of dtypes numpy also releases what it has not
# taken: see counts_explained().
LEAKS = (
    ("wrapper_descriptor", ""), ("method_descriptor", ""),
    (r"_cython_\w+\._common_types_metatype", ""),
    ("type", "'(reversed|enumerate)'"),
    ("tuple", r"^\(\(.*\), <PyCapsule"), ("float", "^-inf$"),
    (r"numpy\.ufunc", ""), ("type", r"'numpy\.ufunc'"),
    (r"numpy\._DTypeMeta", ""),
)
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
                references.counts_explained(census, heap, opened, core)
    with heaptest.case("%s%s: counts have holders" % (interpreter, label)):
        heldcounts.check_unheld(interpreter.version, dump,
                                heldcounts.answer(dump, "-n", "0"), LEAKS)
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
