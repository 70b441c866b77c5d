# SPDX-License-Identifier: Apache-2.0
"""Every object of a process that uses all of the standard library, held
against the census of its forked twin, as in test_census.py: wide_target.py has
imported what can be imported, and stands still in the midst of an event loop
with thousands of tasks, beside threads in all kinds of calls. And the other way
round, as in test_references.py: each object that the twin has not is held, and
each count has a holder, as in test_refcounts.py."""

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

SCRIPT = os.path.join(HERE, "wide_target.py")
MODULES_LEAST = 350     # imported at least, whatever a build lacks
# Without pymalloc objects are found by GC lists and references, by the same
# code for all releases: test_census.py looks at all of them, this at the ends
# and one between.
WITHOUT = r"^3\.(8|12|15)\."
ALLOCATORS = (
    ("", None),
    (" without pymalloc", {"PYTHONMALLOC": "malloc"}),
)


def nothing_is_damaged(dump):
    """There are no findings in a process that is well; but where it runs in a
    root of its own, files of this one are not those that it has."""
    done = heaptest.heapscan(dump, "types", "--top", "1", "-v")
    assert done.returncode == 0, done.stderr
    findings = [line for line in done.stderr.splitlines()
                if re.match(r"heapscan: [\w-]+ at 0x", line)
                and "module-file" not in line]
    assert not findings, "; ".join(findings[:5])


def test(interpreter, label, env):
    census_path = heaptest.tmp("census")
    dump, core = heaptest.tmp("dump"), heaptest.tmp("core")
    with heaptest.start_target(
            interpreter, SCRIPT, census=census_path, env=env,
            beside=[heaptest.TARGET]) as target:
        modules = int(re.search(r"^WIDE (\d+)$", target.printed(), re.M)[1])
        assert modules >= MODULES_LEAST, "only %d modules" % modules
        census = heaptest.Census(census_path)
        done = heaptest.heapdump("--max-pause", "1m", "-q", "--no-compress",
                                 "-o", dump, target.pid)
        assert done.returncode == 0, "heapdump: exit %d: %s" % (
            done.returncode, done.stderr)
        with heaptest.case("%s%s: kernel core is written" % (interpreter,
                                                             label)):
            heaptest.kernel_core(target.pid, core)
    print("# %s%s: %d modules, %d objects" % (interpreter, label, modules,
                                              len(census)))
    if os.path.exists(core):
        census_compare.check_dump("%s%s: objects of the kernel's core" % (
            interpreter, label), census, core)
    with heaptest.case("%s%s: nothing is damaged" % (interpreter, label)):
        nothing_is_damaged(dump)
    with elfcore.ElfCore(dump) as opened:
        with heaptest.case("%s%s: objects of heapdump's dump" % (interpreter,
                                                                label)):
            found = census_compare.compare(census, opened, dump)
            with heaptest.case("%s%s: reference counts" % (interpreter,
                                                           label)):
                census_compare.counts_hold(census, opened, dump, found)
            # By their own loader they are the same interpreters once more.
            if not interpreter.name.endswith("-loader"):
                references.check("%s%s: " % (interpreter, label), census,
                                 opened, dump, found)
    with heaptest.case("%s%s: counts have holders" % (interpreter, label)):
        if interpreter.free_threaded:
            raise heaptest.Skip("not yet exact in free-threaded builds")
        heldcounts.check_unheld(interpreter.version, dump,
                                heldcounts.answer(dump, "-n", "0"))
    os.unlink(dump)


found = heaptest.interpreters()
for interpreter in heaptest.interpreters(few=True):
    for label, env in heaptest.allocators(interpreter, ALLOCATORS):
        if env and not re.search(WITHOUT, interpreter.name) \
                and not os.environ.get("HEAPSCAN_INTERPRETERS"):
            continue
        with heaptest.case("%s%s" % (interpreter, label)):
            test(interpreter, label, env)
if not os.environ.get("HEAPSCAN_INTERPRETERS"):
    for release in heaptest.absent_releases(found):
        heaptest.skip("the library of Python " + release,
                      "no such interpreter here: "
                      "tests/python/fetch_interpreters.sh fetches 3.13 to 3.15")
heaptest.finish()
