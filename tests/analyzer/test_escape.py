# SPDX-License-Identifier: Apache-2.0
"""Names chosen by an attacker, in a real process: what they become in each
format. The truth is the name itself, which the target is made from here."""

import csv
import io
import json
import os
import re
import sys
import tempfile
import unicodedata

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import heaptest
from heaptest import equal, heapscan

# What follows "__main__." in the name of a type, and how the terminal sees it.
NAMES = {
    "\x1b[31mred\x1b]0;title\x07": r"\x1b[31mred\x1b]0;title\x07",
    "two\nlines\r\ttab": r"two\x0alines\x0d\x09tab",
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0": "=cmd|' /C calc'!A0",
    'a","b': 'a","b',
    "pipe|cell`code`*bold*[x](http://y)": "pipe|cell`code`*bold*[x](http://y)",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\x9b31m": r"\x9b31m",
    "數據節點": "數據節點",
    "combiné e\u0301": "combiné e\u0301",
    "back\\slash": "back\\slash",
    "del\x7f": r"del\x7f",
}
# The same without a module before it: a cell that starts with the character.
BARE = ["=1+1", "+1", "-1", "@SUM(1)"]
LONG = "L" * 200000

TARGET = """
import os, sys

def instances(type, count):
    return [type() for i in range(count)]

keep = []
for count, name in enumerate(%r, 1):
    keep.append(instances(type(name, (), {}), 1000 + count))
for count, name in enumerate(%r, 1):
    keep.append(instances(type(name, (), {"__module__": "builtins"}),
                          2000 + count))
print("READY", os.getpid(), flush=True)
sys.stdin.read()
""" % ([*NAMES, LONG], BARE)

CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def columns(line):
    """Terminal columns of a line, by Python's own table of characters."""
    return sum(0 if unicodedata.combining(c) else
               2 if unicodedata.east_asian_width(c) in "WF" else 1
               for c in line)


def answer(core, form, *args):
    done = heapscan(core, "types", "--top", "0", "-f", form, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_text(core):
    text = answer(core, "text", "--match", "^__main__")
    equal("text: no control character", CONTROL.findall(text), [])
    for name, shown in NAMES.items():
        with heaptest.case("text: %r" % name):
            assert "__main__." + shown in text, text
    with heaptest.case("text: a line a type, in its columns"):
        lines = [line for line in text.splitlines() if "__main__." in line]
        assert len(lines) == len(NAMES) + 1, lines
        for line in lines:
            assert re.search(r" 1,0\d\d +[\d.]+ \w+ ", line), line
            assert columns(line) <= 120, line
        assert len({columns(line) for line in lines}) == 1, "not aligned"
    overview = heapscan(core).stdout
    equal("overview: no control character", CONTROL.findall(overview), [])
    with heaptest.case("overview: fits its screen"):
        lines = overview.splitlines()
        assert len(lines) <= 60 and max(map(columns, lines)) <= 120


def test_json(core):
    rows = {row["type"]: row for row in json.loads(answer(core, "json"))["rows"]}
    lines = answer(core, "ndjson").splitlines()
    equal("ndjson: the same rows", [json.loads(line) for line in lines],
          list(rows.values()))
    for count, name in enumerate(NAMES, 1):
        with heaptest.case("json: %r" % name):
            assert rows["__main__." + name]["count"] == 1000 + count
    for count, name in enumerate(BARE, 1):
        with heaptest.case("json: %r" % name):
            assert rows[name]["count"] == 2000 + count
    with heaptest.case("json: a very long name"):
        long = [name for name in rows if "LLLLLLLL" in name]
        assert len(long) == 1 and rows[long[0]]["count"] == 1001 + len(NAMES)
    with heaptest.case("json: nothing raw"):
        assert not CONTROL.search(answer(core, "json"))


def test_csv(core):
    text = answer(core, "csv")
    equal("csv: no control character", CONTROL.findall(text), [])
    rows = list(csv.DictReader(io.StringIO(text)))
    equal("csv: as many rows as in JSON", len(rows),
          len(json.loads(answer(core, "json"))["rows"]))
    equal("csv: no cell that a sheet would run",
          [row["type"] for row in rows if row["type"][:1] in "=+-@"], [])
    by_name = {row["type"]: row for row in rows}
    for count, name in enumerate(BARE, 1):
        with heaptest.case("csv: %r" % name):
            assert by_name["'" + name]["count"] == str(2000 + count)
    with heaptest.case("csv: quotes and commas"):
        assert '__main__.a","b' in by_name


def test_markdown(core):
    for args in ([], ["--match", "script|pipe"]):
        text = answer(core, "md", *args)
        with heaptest.case("md: %s" % (args or "all")):
            assert not CONTROL.search(text)
            assert "<script" not in text
            table = re.findall(r"^\|.*$", text, re.M)
            borders = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
            assert borders == {7}, borders
            # Neither a link nor code nor emphasis that was not ours.
            assert not re.search(r"(?<!\\)[\[`*]", "".join(table))


def test_arguments(core):
    """A name goes into a command to paste only where a shell reads it back."""
    commands = re.findall(r"(?:^next: |^      )(heapscan .*)$",
                          heapscan(core).stdout, re.M)
    with heaptest.case("commands of the overview are safe to paste"):
        assert len(commands) == 2
        for command in commands:
            assert not re.search(r"[;&$`|\\\n]", command), command


def main():
    folder = tempfile.mkdtemp(dir=heaptest.tmp())
    script = os.path.join(folder, "hostile.py")
    with open(script, "w") as file:
        file.write(TARGET)
    for interpreter in heaptest.interpreters():
        if interpreter.name.endswith("-system"):
            break
    core = os.path.join(folder, "hostile.core")
    with heaptest.start_target(interpreter, script) as target:
        heaptest.plain_core(target.pid, core)
    test_text(core)
    test_json(core)
    test_csv(core)
    test_markdown(core)
    test_arguments(core)
    heaptest.finish()


main()
