# SPDX-License-Identifier: Apache-2.0
"""What variables of modules are called where something nearer than sys.modules
leads to the dict that they are in, and who is said to hold that."""

import contextlib
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest
import namespaces_target

SCRIPT = os.path.join(HERE, "namespaces_target.py")
NAMES = ["namespaces_target.py:FIRST", "namespaces_target.py:SECOND"]


@contextlib.contextmanager
def dump_of(interpreter, how):
    dump = heaptest.tmp("namespaces.dump")
    with heaptest.start_target(interpreter, SCRIPT, [how]) as target:
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "1m",
                                 "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    yield dump
    os.unlink(dump)


def text_of(dump, *args):
    done = heaptest.heapscan(dump, *args, "--no-index")
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer(dump, *args):
    return json.loads(text_of(dump, *args, "-f", "json"))


def large(dump, *options):
    """Paths of the large bytearrays, by address."""
    rows = answer(dump, "retained", "--type", "bytearray", *options)["rows"]
    return {row["address"]: row["path"] for row in rows
            if row["retained"] > namespaces_target.SIZE}


def check_names(dump):
    """The name is the module's, also where the steps are those of a shorter way
    than over sys.modules."""
    names = large(dump)
    assert sorted(names.values()) == NAMES, names
    for address, name in names.items():
        row = answer(dump, "path", address, "--top", "1")["rows"][0]
        assert row["path"] == name, row
        assert row["steps"][-1]["address"] == address, row


def check_dict(dump):
    """The dict itself is what its module calls it."""
    rows = answer(dump, "retained", "--type", "dict")["rows"]
    assert rows[0]["path"] == "sys.modules['__main__'].__dict__", rows[0]


def check_largest(dump):
    """The dict stands under no module in the tree, as frames hold it, too: what
    is said are the variables, still."""
    rows = answer(dump, "overview")["retained"]
    # From 3.15 on a bytearray has a bytes.
    paths = [row["path"].replace(".ob_bytes_object", "") for row in rows[:2]]
    assert sorted(paths) == NAMES, rows


def check_interpreter(dump):
    names = list(large(dump).values())
    assert names == ["__main__.FIRST in interpreter 1"], names


def check_counted(dump):
    """Only what nobody else holds is said to be held by native code alone."""
    text = text_of(dump, "suspects")
    lines = re.findall(r"([\d,]+) objects? held by C code alone, "
                       r"([\d.]+) MiB", text)
    assert len(lines) == 1, text
    assert 5 <= float(lines[0][1]) < 6, text
    excess = answer(dump, "refcounts", "--top", "0")["totals"]["unexplained"]
    alone = answer(dump, "suspects")["totals"]["unexplained"]
    assert 1 <= alone < excess, (alone, excess)
    text = text_of(dump, "overview")
    assert re.search(r"[\d,]+ objects? held by C code alone, 5\.\d MiB", text)
    assert re.search(r"^REFCOUNTS .*; {:,} objects held by native code  "
                     .format(excess), text, re.M), text


def test(interpreter, how, checks):
    with dump_of(interpreter, how) as dump:
        for check in checks:
            with heaptest.case("%s: %s: %s" % (interpreter, how,
                                               check.__name__)):
                check(dump)


for interpreter in heaptest.interpreters(few=True):
    for how, checks in (
            ("locals_lead_there", (check_names, check_dict, check_largest)),
            ("as_main", (check_names, check_dict, check_largest)),
            ("in_a_dict", (check_names, check_largest)),
            ("in_an_interpreter", (check_interpreter,)),
            ("counted", (check_counted,))):
        with heaptest.case("%s: %s" % (interpreter, how)):
            test(interpreter, how, checks)
heaptest.finish()
