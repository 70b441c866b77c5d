# SPDX-License-Identifier: Apache-2.0
"""Every object of a real process, held against the census that its forked
twin took: of user-defined types exactly the same objects, of all other types
at least the twin's. From heapdump's dump, gdb's core and the kernel's core
(which has no file-backed pages) of the same process, on every interpreter. And
the reference count of each object, held against its memory and the twin's."""

import os
import struct
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


def plant_on_stack(path, census):
    """Put what looks like an empty list that is not tracked on the first thread's
    stack, and a word that leads to it; its address."""
    kind = next(address for address, row in census.types.items()
                if row.name == "list")
    with elfcore.ElfCore(path) as core:
        address = next(references.stack_pointers(core)) + 64 & ~7
        segment = core.segment_at(address)
        assert address + 64 < segment.vaddr + segment.filesz
        offset = segment.offset + address - segment.vaddr
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(struct.pack("<8Q", 0, 0, 1, kind, 0, 0, 0, address + 16))
    return address + 16


def test(interpreter, args, label, env=None):
    census_path = heaptest.tmp("census")
    kinds = "heapdump", "gcore", "kernel"
    if not heaptest.looked_at_closely(interpreter):
        kinds = kinds[:1]
    cores = {kind: heaptest.tmp("core." + kind) for kind in kinds}
    with heaptest.start_target(interpreter, args=["--scale", 1000, *args],
                               census=census_path, env=env) as target:
        census = heaptest.Census(census_path)
        done = heaptest.heapdump("--max-pause", "1m", "-q", "-o",
                                 cores["heapdump"], target.pid)
        assert done.returncode == 0, "heapdump: exit %d: %s" % (
            done.returncode, done.stderr)
        if "gcore" in cores:
            with heaptest.case("%s%s: gcore's core is written" % (interpreter,
                                                                 label)):
                heaptest.gcore(target.pid, cores["gcore"])
        if "kernel" in cores:
            with heaptest.case("%s%s: kernel core is written" % (interpreter,
                                                                label)):
                heaptest.kernel_core(target.pid, cores["kernel"])

    with heaptest.case("%s%s: info says how objects are found" % (
            interpreter, label)):
        said = heaptest.heapscan(cores["heapdump"], "info").stdout
        assert ("GC lists and references" in said) == \
            ((env or {}).get("PYTHONMALLOC") == "malloc"), said
    plain = heaptest.tmp("core.plain")
    heaptest.expand(cores["heapdump"], plain)
    for kind, path in cores.items():
        if not os.path.exists(path):
            continue
        with heaptest.case("%s%s: objects of %s's dump" % (interpreter, label,
                                                           kind)):
            with elfcore.ElfCore(plain if kind == "heapdump" else path) as core:
                found = census_compare.compare(census, core, path)
                if kind == "heapdump":
                    with heaptest.case("%s%s: reference counts" % (interpreter,
                                                                   label)):
                        census_compare.counts_hold(census, core, path,
                                                   found)
    if not interpreter.free_threaded:
        with heaptest.case("%s%s: no object is on a stack" % (interpreter,
                                                             label)):
            planted = plant_on_stack(plain, census)
            done = heaptest.heapscan(plain, "object", hex(planted))
            assert done.returncode == 1 and "is no object" in done.stderr, done
    for path in [*cores.values(), plain]:
        if os.path.exists(path):
            os.unlink(path)


found_interpreters = heaptest.interpreters()
for interpreter in found_interpreters:
    for args, label, env in heaptest.allocators(interpreter, VARIANTS):
        with heaptest.case("%s%s" % (interpreter, label)):
            test(interpreter, args, label, env)
if not os.environ.get("HEAPSCAN_INTERPRETERS"):
    for release in heaptest.absent_releases(found_interpreters):
        heaptest.skip("objects of Python " + release,
                      "no such interpreter here: "
                      "tests/python/fetch_interpreters.sh fetches 3.13 to 3.15")
    for release in heaptest.absent_builds(found_interpreters):
        heaptest.skip("objects of Python " + release,
                      "no such interpreter here: "
                      "tests/python/build_interpreters.sh builds them")
heaptest.finish()
