# SPDX-License-Identifier: Apache-2.0
"""--content heap: the data of big buffers is left out, every object stays, and
each view says the same as on the full dump of the same moment."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import elfcore
import heaptest

SCRIPT = os.path.join(HERE, "content_target.py")
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
# Options of heapscan whose answers must be the same.
VIEWS = (["types", "-n", "0"],
         ["objects", "-n", "300", "--values"],
         ["collections", "-n", "0"],
         ["duplicates", "-n", "100", "--values"])


def dump(pid, content, *options):
    path = heaptest.tmp(content)
    done = heaptest.heapdump("--content", content, "--max-pause", "5m",
                             "--json", "-o", path, *options, pid)
    assert done.returncode == 0, "heapdump: exit %d: %s" % (done.returncode,
                                                            done.stderr)
    return path, json.loads(done.stdout)


def scan(path, *words):
    done = heaptest.heapscan(path, *words, "-f", "json", "--no-progress")
    assert done.returncode == 0, "heapscan %s: exit %d: %s" % (
        " ".join(words), done.returncode, done.stderr)
    return json.loads(done.stdout)


def skipped(result, reason):
    return sum(one["bytes"] for one in result["skipped"]
               if one["reason"] == reason)


def check_same(view, heap, full):
    answers = [scan(path, *view) for path in (heap, full)]
    for answer in answers:
        del answer["dump"]["path"], answer["dump"]["captured_at"]
    for part in answers[1]:
        assert answers[0][part] == answers[1][part], \
            "%s: %s differ: %s" % (" ".join(view), part, first_difference(
                answers[0][part], answers[1][part]))
    assert answers[1]["rows"], "no rows at all"


def first_difference(a, b):
    if isinstance(a, list) and isinstance(b, list):
        for one, other in zip(a, b):
            if one != other:
                return "%.300r and %.300r" % (one, other)
        return "%d and %d of them" % (len(a), len(b))
    return "%.300r and %.300r" % (a, b)


def check_objects(target, heap, full):
    """Objects whose buffers only their owners tell from payload."""
    objects = dict(re.findall(r"^OBJECT (\S+) (\d+)$", target.printed(),
                              re.M))
    for name in "sparse-dict", "text", "ordered":
        words = "object", hex(int(objects[name])), "--values"
        answers = [scan(path, *words) for path in (heap, full)]
        for answer in answers:
            del answer["dump"]["path"], answer["dump"]["captured_at"]
        assert answers[0] == answers[1], "%s: %.300r and %.300r" % (
            name, answers[0], answers[1])


def is_missing(core, address):
    try:
        core.read(address, 8)
    except elfcore.Missing:
        return True
    return False


def is_left_out(core, name, address, size):
    first, last = address + 2 * PAGE, address + size - PAGE - 8
    missing = [is_missing(core, first + (last - first) * i // 16 & -8)
               for i in range(17)]
    assert all(missing) or not any(missing), "a part of " + name
    return all(missing)


def check_payload(target, heap, result):
    """What the target calls payload is not in the dump, but for the pages at
    both ends of each piece, and nothing else is missing."""
    pieces = [(name, int(address), int(size)) for name, address, size in
              re.findall(r"^PAYLOAD (\S+) (\d+) (\d+)$", target.printed(),
                         re.M)]
    dropped = skipped(result, "payload")
    with elfcore.ElfCore(heaptest.expand(heap, heaptest.tmp("core"))) as core:
        there = [piece for piece in pieces if not is_left_out(core, *piece)]
        for _, address, _ in pieces:
            assert core.read(address, 512), "its beginning stays"
    # One that shares its chunk with what was there before may stay.
    assert len(there) <= len(pieces) // 50 and not any(
        size > MIB for _, _, size in there), "in the dump are %r" % there
    told = [row for row in scan(heap, "info")["rows"]
            if "payload" in str(row.get("key", "")).lower()
            or "payload" in str(row.get("name", "")).lower()]
    assert told and any(str(dropped) in str(row) for row in told), \
        "info does not tell of it: %r" % told


def test(interpreter, label, words, env=None):
    name = "%s%s: " % (interpreter, label)
    with heaptest.start_target(interpreter, SCRIPT, words, env=env) as target:
        heap, result = dump(target.pid, "heap")
        full, whole = dump(target.pid, "full")
        with heaptest.case(name + "payload is left out"):
            assert skipped(whole, "payload") == 0
            check_payload(target, heap, result)
        for view in VIEWS:
            with heaptest.case(name + view[0]):
                check_same(view, heap, full)
        with heaptest.case(name + "each object"):
            check_objects(target, heap, full)


def payload_words(size, piece):
    return ["payload", str(size), str(piece)]


PAYLOAD = [*payload_words(64 * MIB, 64 * MIB), *payload_words(64 * MIB, 4 * MIB),
           *payload_words(16 * MIB, 64 << 10), "others", str(3 * MIB)]

ALLOCATORS = ((" without pymalloc", {"PYTHONMALLOC": "malloc"}),
              (" with debug hooks", {"PYTHONMALLOC": "debug"}))


@contextlib.contextmanager
def native_target(path=None):
    """A Target of another kind: printed() and pid will do."""
    class Native:
        pass
    path = path or os.path.join(heaptest.BUILD, "tests", "tools",
                                "nativetarget")
    process = subprocess.Popen([path], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        lines = []
        while not lines or not lines[-1].startswith("READY"):
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended"
        if "SANITIZED\n" in lines:
            raise heaptest.Skip("the target's malloc is the sanitizer's")
        target = Native()
        target.pid, target.printed = process.pid, lambda: "".join(lines)
        yield target
    finally:
        process.kill()
        process.communicate()


def check_tables(target, heap):
    tables = re.findall(r"^TABLE (\S+) (\d+) (\d+)$", target.printed(), re.M)
    assert tables
    with elfcore.ElfCore(heaptest.expand(heap, heaptest.tmp("core"))) as core:
        for name, address, size in tables:
            data = core.read(int(address), int(size))
            assert len(data) == int(size) and any(data), name


def test_native():
    with native_target() as target:
        heap, result = dump(target.pid, "heap")
        check_payload(target, heap, result)
        check_tables(target, heap)


def test_include():
    with native_target() as target:
        address, size = map(int, re.search(
            r"^PAYLOAD mapped (\d+) (\d+)$", target.printed(), re.M).groups())
        path, result = dump(target.pid, "heap", "--include",
                            "%#x-%#x" % (address, address + size))
        with elfcore.ElfCore(heaptest.expand(
                path, heaptest.tmp("core"))) as core:
            assert len(core.read(address, size)) == size
        assert skipped(result, "payload") > 0, "the others are not"


def test_doubt():
    """A Python that is not understood is dumped whole, and that is said. The
    target is a copy of this one's program under PyPy's name."""
    pypy = heaptest.tmp("libpypy3-c.so")
    shutil.copy(os.path.join(heaptest.BUILD, "tests", "tools",
                             "nativetarget"), pypy)
    with native_target(pypy) as target:
        path, result = dump(target.pid, "heap")
        assert skipped(result, "payload") == 0, result
        assert result.get("payload_kept"), result
        told = [row["value"] for row in scan(path, "info")["rows"]
                if row["key"] == "payload_kept"]
        assert told == [result["payload_kept"]], told


def of_each_release(found):
    """One interpreter of each, as few as there can be."""
    releases = {}
    for interpreter in found:
        releases.setdefault(interpreter.version[:2], interpreter)
    return list(releases.values())


if __name__ == "__main__":
    with heaptest.case("without Python: numbers go, tables of pointers stay"):
        test_native()
    with heaptest.case("--include keeps payload"):
        test_include()
    with heaptest.case("what is not understood stays"):
        test_doubt()
    found = of_each_release(heaptest.interpreters())
    for interpreter in found:
        with heaptest.case(str(interpreter)):
            test(interpreter, "", ["1", "objects", *PAYLOAD])
    for label, env in ALLOCATORS:
        for interpreter in found[-1:]:
            with heaptest.case("%s%s" % (interpreter, label)):
                test(interpreter, label, ["1", "objects", *PAYLOAD], env)
    packages = heaptest.with_packages()[-1:]
    for interpreter in packages:
        with heaptest.case(str(interpreter)):
            test(interpreter, "", ["1", "objects", *PAYLOAD])
    if not packages:
        heaptest.skip("arrays of numpy", "no environment with packages here: "
                      "tests/python/fetch_packages.sh makes them")
    heaptest.finish()
