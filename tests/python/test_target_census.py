# SPDX-License-Identifier: Apache-2.0
"""Is the truth true? The census that target.py's twin takes must describe the
parent, as gdb's core of it and a reader without any of our code show it. What
file-backed pages a core leaves out cannot be compared."""

import collections
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import elfcore
import heaptest


def compare(census, core):
    """(entries confirmed, entries not in the core, names of all others)"""
    confirmed = missing = 0
    wrong = []
    for thing in census:
        try:
            if census.is_live(core, thing):
                confirmed += 1
            else:
                wrong.append("%s at %#x" % (census.types[thing.type].name,
                                            thing.address))
        except elfcore.Missing:
            missing += 1
    return confirmed, missing, wrong


def test_census(interpreter):
    census_path, core_path = heaptest.tmp("census"), heaptest.tmp("core")
    with heaptest.start_target(interpreter, args=["--scale", 500],
                               census=census_path) as target:
        heaptest.plain_core(target.pid, core_path)
        census = heaptest.Census(census_path)
        assert census.pid == target.pid, \
            "the census is of process %d, the core of %d" % (census.pid,
                                                             target.pid)
        status = target.end()
        assert status == 0, "the target ended with status %d" % status

    with elfcore.ElfCore(core_path) as core:
        confirmed, missing, wrong = compare(census, core)
    os.unlink(core_path)
    print("# %s: %d confirmed, %d not in the core, %d wrong: %s" % (
        interpreter, confirmed, missing, len(wrong),
        collections.Counter(wrong).most_common(5)))
    share = len(wrong) / (confirmed + len(wrong))
    assert share <= 0.001, (
        "expected at most 0.1 %% of the census to be wrong, got %.2f %%: %s"
        % (100 * share, ", ".join(wrong[:5])))
    assert missing <= len(census) // 10, (
        "expected nine tenths of the census in the core, but %d of %d entries "
        "are not" % (missing, len(census)))

    counted = collections.Counter(thing.type for thing in census)
    for (address, name), count in census.user_counts().items():
        assert counted[address] == count, "%s: expected %d, got %d" % (
            name, count, counted[address])
    by_name = collections.Counter()
    for (_, name), count in census.user_counts().items():
        by_name[name] += count
    # What target.py makes for certain, with --scale 500: see there.
    for name, least in (("__main__.Plain", 500 + 3 * 125 + 2 * 62 + 2 * 50),
                        ("__main__.Empty", 500 + 50),
                        ("__main__.Slotted", 500 + 50),
                        ("__main__.Large", 125), ("__main__.Twin", 100)):
        assert by_name[name] >= least, "expected %d of %s, got %d" % (
            least, name, by_name[name])


found = heaptest.interpreters()
for interpreter in found:
    with heaptest.case("census of %s holds for its parent" % interpreter):
        test_census(interpreter)
if not os.environ.get("HEAPSCAN_INTERPRETERS"):
    for release in heaptest.absent_releases(found):
        heaptest.skip("census of Python " + release,
                      "no such interpreter here (pyenv install %s, or "
                      "tests/python/fetch_interpreters.sh)" % release)
heaptest.finish()
