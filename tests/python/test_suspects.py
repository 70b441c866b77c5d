# SPDX-License-Identifier: Apache-2.0
"""Leak suspects of programs that leak in a known way, and of such as do not:
leaks_target.py has one function for each."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
import heaptest
import leaks_target

SCRIPT = os.path.join(HERE, "leaks_target.py")

# name: (pattern, regular expression of the path, element)
LEAKS = {
    "leak_dict_attribute": ("growing container",
                            r"^leaks_target\.py:STORE\._by_token$",
                            "__main__.Session"),
    "leak_global_list": ("growing container", r"^leaks_target\.py:REGISTRY$",
                         "__main__.Session"),
    "leak_global_set": ("growing container", r"^leaks_target\.py:SEEN$", "str"),
    "leak_local_list": ("growing container",
                        r"^local (rows in leak_local_list|keep in wait)\(\)",
                        "__main__.Session"),
    "leak_lru_cache": ("lru_cache", r"Service\.answer", "str"),
    "leak_queue": ("unbounded queue", r"^leaks_target\.py:JOBS\.queue$",
                   "__main__.Session"),
    "leak_callbacks": ("callbacks", r"^leaks_target\.py:ON_CHANGE$",
                       "function"),
    "leak_at_exit": ("callbacks", r"^atexit callback\[\.\.\.\]$", "method"),
    "leak_frames": ("exceptions", r"^leaks_target\.py:FRAMES$", "frame"),
    "leak_exceptions": ("exceptions", r"^leaks_target\.py:ERRORS$",
                        "ValueError"),
    "leak_failures": ("exceptions", r"^leaks_target\.py:FAILURES$", "tuple"),
    "leak_closure": ("closure", r"^leaks_target\.py:HANDLER\.<closure history>$",
                     "__main__.Session"),
    "leak_linked_list": ("chain", r"^leaks_target\.py:HEAD", "__main__.Node"),
    "leak_session": ("many objects", r"^leaks_target\.py:STATES$",
                     "__main__.Session"),
    "leak_results": ("many objects", r"^leaks_target\.py:Out$", "list"),
    "leak_garbage": ("garbage", None, None),
    "leak_last_error": ("last error", r"last_", "__main__.Session"),
    "leak_native": ("native references", None, "__main__.Session"),
    "leak_native_dicts": ("native references", None, "dict"),
    "leak_tasks": ("tasks", None, "_asyncio.Task"),
    "leak_handlers": ("callbacks", r"\.handlers$", "logging.NullHandler"),
    "leak_labels": ("growing container", r"^leaks_target\.py:METRICS$",
                    "__main__.Client"),
    "leak_few": ("growing container", r"^leaks_target\.py:PAGES$", "bytearray"),
    "leak_made_types": ("growing container", r"^leaks_target\.py:RECORDS$",
                        "__main__.Row"),
    "leak_classes": ("growing container", r"^leaks_target\.py:HANDLERS$",
                     "type"),
    "leak_sparse": ("large object", r"^leaks_target\.py:ONLINE$", None),
    "leak_threads": ("threads", r"^local page in leak_threads\.<locals>\.work\(\)$"
                     r"|^local page in work\(\)$", "bytearray"),
    "leak_replies": ("copies", r"^leaks_target\.py:REPLIES$", "str"),
    "leak_copies": ("copies", r"^__main__\.Client\.headers$", "str"),
}


def suspects_of(interpreter, name):
    dump = heaptest.tmp("suspects.dump")
    with heaptest.start_target(interpreter, SCRIPT, [name]) as target:
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "1m",
                                 "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    done = heaptest.heapscan(dump, "suspects", "-f", "json", "--no-index")
    assert done.returncode == 0, done.stderr
    os.unlink(dump)
    answer = json.loads(done.stdout)
    assert answer["totals"]["suspects"] == len(answer["rows"])
    return answer


def is_named(interpreter, name):
    pattern, path, element = LEAKS[name]
    rows = suspects_of(interpreter, name)["rows"]
    assert rows, "nothing is named"
    # Copies stand below what keeps them alive, and nobody else has some.
    copies = [row for row in rows if row["pattern"] == "copies"]
    assert bool(copies) == (pattern == "copies"), rows
    first = (copies or rows)[0]
    if name == "leak_copies":
        assert rows[0]["element"] == "__main__.Client", rows[0]
        assert first["count"] == 3 * leaks_target.ITEMS - 3 * 7, first
        assert "copies of 21 values" in first["sentence"], first
        size = sum(sys.getsizeof(value + "0") // 16 * 16 + 16
                   for _, value in leaks_target.HEADERS)
        # Of str and their lengths; the object's own part varies by release.
        assert 0.8 < first["retained"] / (size * leaks_target.ITEMS) < 1.2, (
            first, size)
    assert first["pattern"] == pattern, first
    assert first.get("element") == element, first
    assert first["share"] >= 0.05, first
    if pattern == "native references":
        # The program itself may have some.
        assert 0 <= first["count"] - leaks_target.ITEMS < 20, first
    counts = {"leak_session": leaks_target.ITEMS, "leak_results": 40,
              "leak_linked_list": 4 * leaks_target.ITEMS,
              "leak_made_types": 3000, "leak_classes": 12_000}
    assert name not in counts or first["count"] == counts[name], first
    if name == "leak_threads":
        assert first["count"] == 80 and len(rows) == 1, rows
        assert 1 <= first["retained"] / (80 * 300_000) < 1.01, first
    if name == "leak_frames":
        assert "; frames keep all their variables" in first["evidence"], first
    if name == "leak_classes":
        assert "classes of 1 name" in first["evidence"], first
    if name == "leak_sparse":
        assert "20 entries are left of 1,000,000:" in first["evidence"], first
    if path is not None:
        assert re.search(path, first["path"]), first["path"]


def none_is_named(interpreter, name):
    rows = suspects_of(interpreter, name)["rows"]
    assert not rows, [row["sentence"] + ": " + row.get("path", "-")
                      for row in rows]


with open(SCRIPT, encoding="utf-8") as script:
    functions = re.findall(r"^def ((?:leak|well)_\w+)", script.read(), re.M)
# Each takes half a minute: some of the releases do, unless others are named.
CHOSEN = re.compile(os.environ.get("HEAPSCAN_INTERPRETERS")
                    or r"^3\.(8|12|15).*-(pyenv|debian)$")
# That nothing is named depends on the release less than what is.
HEALTHY = re.compile(os.environ.get("HEAPSCAN_INTERPRETERS") or r"^3\.(8|15)")
for interpreter in heaptest.interpreters():
    if not CHOSEN.search(interpreter.name):
        continue
    for function in functions:
        if not function.startswith("leak") and not HEALTHY.search(
                interpreter.name):
            continue
        # An array of the interpreter's has them: before, the module's own state,
        # later, a list.
        if function == "leak_at_exit" and not (
                (3, 10) <= interpreter.version[:2] <= (3, 13)):
            continue
        with heaptest.case("%s: %s" % (interpreter, function)):
            if function.startswith("leak"):
                is_named(interpreter, function)
            else:
                none_is_named(interpreter, function)
heaptest.finish()
