# SPDX-License-Identifier: Apache-2.0
"""heapscan memory: the ledger against what the kernel says of each mapping, what
the program knows that it made, and what malloc_trim() then gives back; the same
of dumps with and without payload; of cores by others what they hold."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

SCRIPT = os.path.join(HERE, "memory_target.py")
PAGE = os.sysconf("SC_PAGE_SIZE")
ALLOWED = 0.01		# of the total: what the kernel counts moves a little


@contextlib.contextmanager
def started(interpreter, what, **environment):
    with heaptest.start_target(interpreter, SCRIPT, [what],
                               env=environment) as target:
        made = re.search(r"^MADE (.*)$", target.printed(), re.M)[1]
        target.made = json.loads(made)
        yield target


def smaps(pid):
    """(name, protection, resident bytes) of each mapping."""
    found = []
    with open("/proc/%d/smaps" % pid) as lines:
        for line in lines:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                words = line.split(None, 5)
                found.append([words[5].strip() if len(words) > 5 else "",
                              words[1], 0])
            elif line.startswith("Rss:"):
                found[-1][2] = int(line.split()[1]) << 10
    return found


def ledger(dump, *words):
    done = heaptest.heapscan(dump, "memory", "-f", "json", *words)
    assert done.returncode in (0, 3), done.stderr
    document = json.loads(done.stdout)
    total = document["totals"]["total"]
    assert document["totals"]["balanced"] is True
    assert sum(row["bytes"] for row in document["rows"]) == total
    assert len({row["category"] for row in document["rows"]}) == len(
        document["rows"])
    document["by"] = {row["category"]: row["bytes"] for row in document["rows"]}
    document["count"] = {row["category"]: row.get("count")
                         for row in document["rows"]}
    document["group"] = {}
    for row in document["rows"]:
        document["group"][row["group"]] = row["bytes"] + document["group"].get(
            row["group"], 0)
    return document


def near(got, expected, allowed, what):
    assert abs(got - expected) <= allowed, (what, got, expected, allowed)


def against_kernel(document, mappings):
    """Sums by kinds of mappings, which both can tell."""
    total = sum(size for _, _, size in mappings)
    allowed = total * ALLOWED
    by, group = document["by"], document["group"]
    near(document["totals"]["total"], total, allowed, "total")
    assert document["totals"]["by_kernel"] is True
    assert group.get("unexplained", 0) < total * 0.05, group
    files = sum(size for name, _, size in mappings
                if name.startswith("/") and not name.startswith("/dev/"))
    code = sum(size for name, protection, size in mappings
               if name.startswith("/") and "x" in protection)
    # What else modules have: variables that no file has the room for.
    told = group["modules"] + by.get("other mapped files", 0)
    assert files - allowed <= told <= files + allowed + (1 << 20), (told, files)
    near(by["code of modules"], code, allowed, "code")


def check_service(document, made):
    by, count = document["by"], document["count"]
    near(by["shared memory"], made["shared"], 2 * PAGE, "shared memory")
    assert by["other mapped files"] >= made["file"]
    assert by["str, bytes and bytearray"] > 4000 * 1033
    assert document["totals"]["objects"] > 100000
    assert count["stacks, in use"] == made["threads"] + 1
    assert document["totals"]["reclaimable_gc"] >= made["rings"]
    # Their addresses are in numbers of Python's, which are no pointers; that of
    # the last one or two may still lie somewhere.
    assert by["chunks that nothing refers to"] >= made["native"] * 0.99, by
    native = sum(size for name, size in by.items()
                 if name.startswith("chunks "))
    assert native >= made["native"], by
    assert native < made["native"] + (6 << 20), by


def check_roomy(dump):
    """What malloc gave for an object is its, whatever its type says."""
    done = heaptest.heapscan(dump, "types", "-f", "json", "--type",
                             "object")
    assert done.returncode in (0, 3), done.stderr
    row, = json.loads(done.stdout)["rows"]
    others = row["count"] - 500
    assert row["size"] == row["count"] * 16, row
    # An early one may have a chunk of malloc of its own as well.
    near(row["footprint"], 500 * 1008 + others * 16, others * 32, row)


def check_fragments(document, made, interpreter):
    """Arenas of mimalloc are given back page by page."""
    totals, by = document["totals"], document["by"]
    # Each piece that was freed lies between others, and has whole pages.
    assert totals["reclaimable_trim"] > made["freed"] * 0.6
    if interpreter.free_threaded:
        return
    pinned = {row["type"]: row["objects"] for row in document["pinned_by"]}
    assert totals["pinned_arenas"] > 5, totals
    assert by["free, in arenas that few blocks keep"] > 5 << 20
    assert pinned["tuple"] >= made["survivors"] * 0.8, pinned


def trimmed(target):
    """Bytes that malloc_trim() gives back, by the kernel."""
    before = sum(size for _, _, size in smaps(target.pid))
    target.process.stdin.write(b"\n")
    target.process.stdin.flush()
    deadline = time.monotonic() + 60
    while "TRIMMED" not in target.printed():
        assert time.monotonic() < deadline, target.printed()
        time.sleep(0.01)
    return before - sum(size for _, _, size in smaps(target.pid))


def same_rows(full, other):
    """Nothing depends on whether payload was captured, but what moves."""
    names = set(full["by"]) | set(other["by"])
    for name in names:
        near(other["by"].get(name, 0), full["by"].get(name, 0),
             max(32 * PAGE, full["by"].get(name, 0) * 0.02), name)


def of_service(interpreter, **environment):
    heap, full = heaptest.tmp("memory.heap"), heaptest.tmp("memory.full")
    with started(interpreter, "SERVICE", **environment) as process:
        for content, path in (("heap", heap), ("full", full)):
            done = heaptest.heapdump("-q", "--content", content, "-o", path,
                                     process.pid)
            assert done.returncode == 0, done.stderr
        mappings = smaps(process.pid)
    document = ledger(heap)
    against_kernel(document, mappings)
    check_service(document, process.made)
    same_rows(ledger(full), document)
    os.remove(full)
    return heap, document


def answers_again(dump, document):
    """From kept results, the same."""
    folder = heaptest.tmp("kept")
    for _ in range(2):
        again = ledger(dump, "--index", folder)
        for key in "rows", "totals", "pinned_by":
            assert again[key] == document[key], key


def gates(dump, document):
    unexplained = document["totals"]["unexplained"]
    for expression, status in (("unexplained>%d" % unexplained, 0),
                               ("unexplained>=%d" % unexplained, 5),
                               ("bytes>1TiB", 0), ("bytes>64KiB", 5)):
        done = heaptest.heapscan(dump, "memory", "--fail-if", expression)
        assert done.returncode == status, (expression, done.returncode)


def on_a_screen(dump, document):
    done = heaptest.heapscan(dump, "memory")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 120
    assert "each byte in one row" in lines[0]
    for row in document["rows"]:
        assert any(row["category"] in line for line in lines), row
    assert any(line.startswith("reclaimable: ") for line in lines)


def of_fragments(interpreter):
    dump = heaptest.tmp("memory.fragments")
    with started(interpreter, "FRAGMENTS") as process:
        done = heaptest.heapdump("-q", "-o", dump, process.pid)
        assert done.returncode == 0, done.stderr
        mappings = smaps(process.pid)
        given_back = trimmed(process)
    document = ledger(dump)
    against_kernel(document, mappings)
    check_fragments(document, process.made, interpreter)
    told = document["totals"]["reclaimable_trim"]
    near(told, given_back, 64 * PAGE + given_back * 0.02, "malloc_trim()")
    # The first screen leads to the view that says more of what there is most:
    # arenas that are nearly empty, or as much that malloc has free.
    done = heaptest.heapscan(dump, "-f", "json")
    screen = json.loads(done.stdout)
    view = {"pymalloc free and overhead": " memory",
            "malloc free and overhead": " malloc"}[screen["memory"][0]["group"]]
    assert screen["next"][0].endswith(view), screen["next"]
    os.remove(dump)


def of_arenas(interpreter):
    """Arenas and data stacks in chunks of malloc: each byte is told once."""
    dump = heaptest.tmp("memory.arenas")
    with started(interpreter, "ARENAS") as process:
        done = heaptest.heapdump("-q", "-o", dump, process.pid)
        assert done.returncode == 0, done.stderr
        mappings = smaps(process.pid)
    document = ledger(dump)
    against_kernel(document, mappings)
    assert document["group"]["Python objects"] > 20000 * 500, document["group"]
    assert document["group"].get("other malloc", 0) < 1 << 20, document["group"]
    done = heaptest.heapscan(dump, "memory", "-v")
    assert "arena" not in done.stderr, done.stderr
    os.remove(dump)


def of_others(interpreter):
    """Cores without the kernel's numbers: all that they hold is told."""
    core, kernels = heaptest.tmp("memory.gcore"), heaptest.tmp("memory.core")
    with started(interpreter, "SERVICE") as process:
        heaptest.gcore(process.pid, core)
        mappings = smaps(process.pid)
        heaptest.kernel_core(process.pid, kernels)
    for path in core, kernels:
        document = ledger(path)
        check_service_in_core(document, process.made)
        assert document["totals"]["by_kernel"] is False
        held = document["totals"]["total"] - document["by"].get(
            "pages of zeroes, touched or not", 0)
        private = sum(size for name, protection, size in mappings
                      if "w" in protection and name[:1] != "/")
        # Pages of zeroes were perhaps touched, and read-only ones are not all
        # written.
        assert held > private * 0.9, (held, private)
        os.remove(path)


def check_service_in_core(document, made):
    assert document["by"]["str, bytes and bytearray"] > 4000 * 1033
    assert document["totals"]["unexplained"] < document["totals"]["total"] / 20
    assert document["count"]["stacks, in use"] == made["threads"] + 1


def without_python():
    """A program that is none: its files, stacks and malloc."""
    dump = heaptest.tmp("memory.cat")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as cat:
        cat.stdin.write(b"x\n")
        cat.stdin.flush()
        cat.stdout.readline()
        done = heaptest.heapdump("-q", "-o", dump, cat.pid)
        assert done.returncode == 0, done.stderr
        mappings = smaps(cat.pid)
        cat.kill()
    document = ledger(dump)
    total = sum(size for _, _, size in mappings)
    near(document["totals"]["total"], total, total * ALLOWED, "total")
    assert "objects" not in document["totals"]
    assert document["totals"]["unexplained"] < total / 20, document["rows"]


def test_interpreter(interpreter):
    name = interpreter.name
    with heaptest.case(name + ": each byte of a service in one row"):
        dump, document = of_service(interpreter)
    with heaptest.case(name + ": free memory, and what malloc_trim() gives "
                       "back"):
        of_fragments(interpreter)
    if not interpreter.free_threaded:
        with heaptest.case(name + ": arenas that the program has from malloc"):
            of_arenas(interpreter)
        with heaptest.case(name + ": objects that have more than their type "
                           "says"):
            check_roomy(dump)
    if not heaptest.looked_at_closely(interpreter):
        return
    with heaptest.case(name + ": the same from kept results"):
        answers_again(dump, document)
    with heaptest.case(name + ": --fail-if"):
        gates(dump, document)
    with heaptest.case(name + ": a screen"):
        on_a_screen(dump, document)
    if not interpreter.free_threaded:
        with heaptest.case(name + ": objects in malloc's chunks"):
            of_service(interpreter, PYTHONMALLOC="malloc")
    with heaptest.case(name + ": cores by gcore and the kernel"):
        of_others(interpreter)


for each in heaptest.interpreters(few=True):
    test_interpreter(each)
with heaptest.case("a program that is no Python"):
    without_python()
heaptest.finish()
