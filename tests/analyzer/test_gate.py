#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--fail-if, on every view and by each of its keys: exit 5 when any row or total
meets it, whether shown or not, and 0 when none does. Keys are those that the
program names when asked for one that it does not have, and values those of the
whole answer in JSON, against which each condition must hold or not hold.

usage: test_gate.py; the newest interpreter of those that HEAPSCAN_INTERPRETERS
names, or else of pyenv's
"""
import concurrent.futures
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import heaptest  # noqa: E402

TARGET = """
import gc, os, sys, threading, time
gc.disable()

class Leak:
    def __init__(self, i):
        self.name = "name of %d" % i

class Knot:
    def __del__(self):
        pass

leaks = [Leak(i) for i in range(20000)]
copies = ["".join(["the same ", str(i % 5)]) for i in range(500)]
sparse = {i: i for i in range(1000)}
for i in range(990):
    del sparse[i]
empty = [[] for i in range(100)]
for i in range(50):
    knot = Knot()
    knot.self = [knot]
del knot
threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
with open(sys.argv[1], "w") as file:
    print(id(leaks[7]), file=file)
print("READY", os.getpid(), flush=True)
sys.stdin.read()
"""
# Each view, what it is asked, and options that show all of its keys.
ASKED = [("types", "--retained"), ("types --by owner", ""),
         ("types --by module", ""), ("objects --match Leak|Knot", "--retained"),
         ("objects", ""), ("object {leak}", "--retained"),
         ("path {leak}", ""), ("path --type __main__.Leak", ""),
         ("retained", ""), ("retained --by type", ""),
         ("retained --by module", ""), ("retained --by thread", ""),
         ("retained --by root", ""), ("cycles", ""), ("cycles --by type", ""),
         ("gc", ""), ("refcounts", ""), ("suspects", ""), ("overview", ""),
         ("collections", ""), ("duplicates", ""), ("threads", ""),
         ("tracemalloc", ""), ("memory", ""), ("malloc", ""), ("info", "")]


def keys_of(core, words):
    done = heaptest.heapscan(core, *words, "--fail-if", "nothing>1")
    found = re.search(r"\(it has (.*)\)", done.stderr)
    assert done.returncode == 2 and found, done
    return found[1].split(", ")


def values_of(answer, key):
    """What rows (of the overview, its leading table's) and the total say of a
    key, as lists: of numbers, truths or texts."""
    rows = [row[key] for row in answer.get("rows") or answer.get("types") or []
            if row.get(key) is not None]
    total = answer.get("totals", {}).get(key)
    return rows, [] if total is None else [total]


def conditions(key, values):
    """Conditions on a key and the status that each deserves."""
    if all(isinstance(value, bool) for value in values):
        for wanted in True, False:
            yield ("%s==%s" % (key, str(wanted).lower()),
                   5 if wanted in values else 0)
    elif all(isinstance(value, int) for value in values):
        yield "%s>=%d" % (key, max(values)), 5
        yield "%s>%d" % (key, max(values)), 0
        yield "%s<%d" % (key, min(values)), 0
    elif all(isinstance(value, (int, float)) for value in values):
        yield "%s>%f" % (key, max(values) - 1e-3), 5
        if max(values) < 0.99:
            yield "%s>%f" % (key, max(values) + 1e-3), 0
    elif all(isinstance(value, str) and len(value) < 90 for value in values):
        yield "%s==%s" % (key, values[-1]), 5
        yield key + ("==0x10" if values[0].startswith("0x") else
                     "==no such thing"), 0


def ask(core, words, options):
    """All keys of one question; returns the conditions, and those that were
    answered wrongly."""
    def show(*more):
        return heaptest.heapscan(core, *words, *options.split(), *more)

    done = show("--top", "0", "--format", "json")
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    asked, wrong = [], []
    for key in keys_of(core, words):
        rows, totals = values_of(answer, key)
        if rows and totals and type(rows[0]) is not type(totals[0]):
            asked += [*conditions(key, rows), *conditions(key, totals)]
        elif rows or totals:
            asked += conditions(key, rows + totals)
    # The last one again, of rows that no earlier question has found.
    found = [condition for condition, status in asked if status == 5]
    for condition, status, *more in [*asked, (found[-1], 5, "--no-index")]:
        done = show("--top", "1", "--fail-if", condition, *more)
        if done.returncode != status:
            wrong.append("%s: expected %d, got %d %s" % (
                condition, status, done.returncode, done.stderr))
    return asked, wrong


def check_views():
    """None is left out."""
    text = heaptest.heapscan("--help").stdout
    views = text.partition("\nViews")[2].partition("\n\n")[0]
    there = set(re.findall(r"^  ([a-z][\w-]*)", views, re.M))
    asked = {words.split()[0] for words, _ in ASKED}
    # Of several dumps: test_shared.py, test_diff.py. Of PyTorch: tests/torch.
    there -= {"shared", "diff", "tensors", "allocator", "torch-snapshot"}
    heaptest.equal("every view is asked", asked, there)


def main():
    check_views()
    found = [interpreter for interpreter in heaptest.interpreters()
             if os.environ.get("HEAPSCAN_INTERPRETERS")
             or "pyenv" in interpreter.name]
    if not found:
        raise heaptest.Skip("no interpreter of pyenv")
    script, facts = heaptest.tmp("target.py"), heaptest.tmp("facts")
    with open(script, "w") as file:
        file.write(TARGET)
    open(facts, "w").close()
    core = heaptest.tmp("core")
    with heaptest.start_target(found[-1], script, [facts],
                               env={"PYTHONTRACEMALLOC": "3"}) as target:
        done = heaptest.heapdump("-q", "--no-compress", "-o", core, target.pid)
        assert done.returncode == 0, done
    with open(facts) as file:
        leak = "0x%x" % int(file.read())
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = [(words, pool.submit(
            ask, core, words.format(leak=leak).split(), options))
                   for words, options in ASKED]
        for words, future in futures:
            with heaptest.case("--fail-if: " + words):
                asked, wrong = future.result()
                print("#", words, *(condition for condition, _ in asked))
                assert not wrong, "; ".join(wrong)
    heaptest.finish()


main()
