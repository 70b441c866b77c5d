# SPDX-License-Identifier: Apache-2.0
"""heapscan tensors on structures that mirror.c makes, of each layout that PyTorch
has had, without PyTorch: what is told of each, and what is said when they are
damaged. Words of these structures are overwritten one after the other, and at
random: heapscan ends in time, with an answer and, where that is less than before,
a finding or a count that says so."""

import json
import os
import random
import re
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import damage
import elfcore
import heaptest

SCRIPT = os.path.join(HERE, "mirror_target.py")
U64 = struct.Struct("<Q")
# Bytes of counts and of the slot for the Python object, where a Python object has
# its tensor, where a node's own begins, where a SavedVariable has its flags.
LAYOUTS = {"1.13 to 2.2": (24, 16, 8, 392, 56),
           "2.3 to 2.9": (16, 16, 8, 472, 48),
           "2.10 and later": (16, 8, 0, 464, 40)}
RANDOM = int(os.environ.get("HEAPSCAN_DAMAGES", "12"))


def headers(interpreter):
    """The folder of a Python.h that compiles, or None."""
    done = heaptest.run([*interpreter.argv, "-c", "import sysconfig; print("
                         "sysconfig.get_path('include'))"],
                        env=interpreter.environment())
    include = done.stdout.strip()
    header = os.path.join(include, "Python.h")
    return include if os.path.exists(header) and heaptest.run(
        ["gcc", "-fsyntax-only", "-I", include, header]).returncode == 0 else None


def build(include, name="mirror"):
    folder = heaptest.tmp(name)
    os.makedirs(folder, exist_ok=True)
    done = heaptest.run([heaptest.tool("gcc", "gcc"), "-O1", "-g", "-shared",
                         "-fPIC", "-Wall", "-Wextra", "-I", include, "-o",
                         os.path.join(folder, "mirror.so"),
                         os.path.join(HERE, "mirror.c")])
    assert done.returncode == 0, done.stderr
    return folder


def paths(rows, address):
    return rows[address].get("path", ""), rows[address]["role"]


def all_told(made, document):
    rows = {int(row["address"], 16): row for row in document["rows"]}
    for address, items in made["plain"].items():
        row = rows[int(address)]
        assert (row["shape"], row["dtype"], row["role"], row["held"]) == (
            "[%d]" % items, "float32", "other", "python"), row
        assert row["bytes"] == items * 4, row
    assert rows[made["leaf"]]["requires_grad"] is True
    # Its owners are a node that saved it, and the one that adds up its gradient.
    assert rows[made["leaf"]]["held"] == "python", rows[made["leaf"]]
    both = rows[made["both"]]
    assert (both["held"], both["owner"]) == ("python, c++", "Reducer"), both
    assert both["path"].endswith(":both[0]"), both
    totals = document["totals"]
    assert (totals["python_and_cxx"], totals["python_and_cxx_bytes"]) == (
        1, 3600), totals
    assert rows[made["result"]]["grad_fn"] == "GeluBackward0"
    assert rows[made["result"]]["role"] == "activation"
    at = made["addresses"]
    for name, size in (("saved", 800), ("listed", 1200)):
        path, role = paths(rows, at[name])
        assert role == "activation", rows[at[name]]
        assert re.search(r"result.* graph: GeluBackward0$", path), path
        assert rows[at[name]]["bytes"] == size
    assert paths(rows, at["values"])[0] == "C++: Reducer", rows[at["values"]]
    assert re.search(r"sparse.* in its SparseTensorImpl$",
                     paths(rows, at["base"])[0]), rows[at["base"]]
    bases = [row for row in document["rows"]
             if row.get("path", "").endswith(": what it is a view of")]
    assert [row["bytes"] for row in bases] == [3200], bases
    assert at["gone"] not in rows and at["broken"] not in rows
    assert totals["released"] == 1 and totals["unread"] == 0, totals
    # What was in a node's memory before is nobody's.
    left = [row for row in document["rows"] if row.get("bytes") == 4]
    assert len(left) == 1 and left[0]["held"] != "graph", left
    return rows


def what_goes(made, dump):
    """With a list goes the tensor that nothing else holds, and not one that C++
    has as well."""
    retained = []
    for address in made["lists"]:
        done = heaptest.heapscan(dump, "object", hex(address), "--retained",
                                 "-f", "json", "--no-index")
        assert done.returncode == 0, done.stderr
        retained.append(json.loads(done.stdout)["rows"][0]["retained"])
    assert retained[0] < 100 < 180 < retained[1], retained


def same_as_before(row, before):
    keys = "shape", "dtype", "bytes", "role", "path", "held"
    return all(row.get(key) == before.get(key) for key in keys)


def spoil(label, dump, made, rows):
    """Words of the structures, one by one."""
    core = elfcore.ElfCore(dump)
    chosen = random.Random(label)
    at = made["addresses"]
    places = []
    for name in ("saved", "values", "outer", "inner", "owner", "result"):
        places += [at[name] + 8 * word for word in range(24)]
        places.append(at[name] + 8 * chosen.randrange(24, 60))
    for address in list(made["plain"])[:4]:
        impl = int(rows[int(address)]["impl"], 16)
        places += [impl + 8 * word for word in range(20)]
    values = (0, 1, (1 << 64) - 1, 1 << 63, at["outer"], at["saved"] + 4,
              0x4141414141414141)
    program = damage.builds()[-1]
    for _ in range(RANDOM):
        address = chosen.choice(places)
        value = chosen.choice(values)
        segment = core.segment_at(address)
        change = (segment.offset + address - segment.vaddr,
                  U64.pack(value))
        with heaptest.case("%s%#x at %#x" % (label, value, address)), \
                damage.patched(dump, change):
            answer = program.answer("tensors", dump, "-n", "0", "-q",
                                    "--no-index", mebibytes=64)
            now = {int(row["address"], 16): row for row in answer["rows"]}
            # A word is part of what leads to others, but most tensors have
            # nothing to do with it.
            same = sum(one in now and same_as_before(now[one], rows[one])
                       for one in rows)
            assert same >= len(rows) - 8, (same, len(rows))


def dumped(dump, interpreter, *argv):
    """What was made."""
    with heaptest.start_target(interpreter, SCRIPT, args=argv) as target:
        made = json.loads(re.search(r"^MADE (.*)$", target.printed(),
                                    re.M)[1])
        done = heaptest.heapdump("-q", "--no-compress", "-o", dump,
                                 target.pid)
        assert done.returncode == 0, done.stderr
    return made


def tensors(dump):
    """The view, and what was said beside it."""
    done = heaptest.heapscan(dump, "tensors", "-n", "0", "-f", "json", "-v",
                             "--no-index")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def two_copies(interpreter, folder, another):
    """Of one release: all of both is told. Of two: what most tensors are of, and
    that there are others."""
    dump, most = heaptest.tmp("mirror.core"), "2.3 to 2.9"
    for releases in LAYOUTS:
        made = dumped(dump, interpreter, folder, *LAYOUTS[most], 40, 0, "--",
                      another, *LAYOUTS[releases], 8)
        document, said = tensors(dump)
        rows = {int(row["address"], 16): row for row in document["rows"]}
        assert set(map(int, made["plain"])) < set(rows), (releases, len(rows))
        assert {made["addresses"]["saved"], made["addresses"]["values"]} < set(
            rows), releases
        unread = document["totals"]["unread"]
        if releases == most:
            at = made["addresses_more"]
            assert {*made["more"], at["saved"], at["values"]} < set(rows)
            assert paths(rows, at["values"])[0] == "C++: Reducer"
            assert unread == 0 and "another copy" not in said, said
        else:
            assert not set(made["more"]) & set(rows), releases
            # Of another layout nobody sees that an object's tensor is none.
            assert unread > len(made["more"]) == 13, (unread, releases)
            assert re.search(r"14 tensors, the first at 0x\w+, are of another "
                             r"copy of PyTorch \(as of %s\), and are not told "
                             r"of: those that are shown are as of %s"
                             % (releases, most), said), said
        os.remove(dump)


def test(interpreter, folder, releases):
    label = "%s, as in %s: " % (interpreter, releases)
    dump = heaptest.tmp("mirror.core")
    made = dumped(dump, interpreter, folder, *LAYOUTS[releases])
    rows = {}
    with heaptest.case(label + "all is told"):
        document, said = tensors(dump)
        rows = all_told(made, document)
        assert "half made" in said, said
        what_goes(made, dump)
    if rows:
        spoil(label, dump, made, rows)
    os.remove(dump)


# The newest that extensions can be built for.
found = [each for each in heaptest.interpreters() if headers(each)][-1:]
for each in found:
    with heaptest.case("%s: structures as PyTorch has them" % each):
        where = build(headers(each))
        for name in LAYOUTS:
            test(each, where, name)
        with heaptest.case("%s: two copies of PyTorch" % each):
            two_copies(each, where, build(headers(each), "another"))
if not found:
    heaptest.skip("structures as PyTorch has them", "no interpreter with a Python.h is here")
heaptest.finish()
