# SPDX-License-Identifier: Apache-2.0
"""Results that heapscan keeps: the same answers with them as without, whatever
happened to the files and to the dump, and nobody else's business."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import damage
import elfcore
import heaptest
import keptindex
from heaptest import heapscan

SECRET = "hunter2-kept-secret"

TARGET = """
import json, os, sys, threading, weakref
SECRET = %r

class Node:
    def __init__(self, i):
        self.i = i
        self.other = None

class Deep(dict):
    pass

nodes = [Node(i) for i in range(4000)]
for a, b in zip(nodes[::2], nodes[1::2]):
    a.other, b.other = b, a
dropped = [Node(i) for i in range(50)]
for node in dropped:
    node.other = node
del dropped, node
table = {"k%%d" %% i: bytes(i) for i in range(900)}
chain = None
for i in range(300):
    chain = (chain, i, SECRET + str(i))
deep = Deep(a=nodes[:10], b={1, 2, 3}, c=weakref.ref(nodes[0]))
big = [0] * 200000

def wait(kept=[SECRET] * 30):
    started.set()
    done.wait()

started, done = threading.Event(), threading.Event()
import gc
gc.disable()
thread = threading.Thread(target=wait, daemon=True)
thread.start()
started.wait()
where = {"nodes": id(nodes), "node": id(nodes[7]), "table": id(table),
         "big": id(big), "type": id(Node), "deep": id(deep)}
with open(sys.argv[1], "w") as file:
    json.dump(where, file)
print("READY", os.getpid(), flush=True)
sys.stdin.read()
""" % SECRET

# Every view and option that is about the heap as a whole, and those about single
# objects.
QUESTIONS = ["retained", "retained --top 3", "retained --top 0",
             "retained --type dict", "retained --match Node --top 2",
             "retained --min-size 10K", "retained --fail-if retained>1",
             "retained --by type", "retained --by type --type dict",
             "retained --by module --top 0", "retained --by thread",
             "retained --by root --top 0", "types",
             "types --top 0 --sort count", "types --retained",
             "types --by module --top 0", "types --by module --retained",
             "types --by module --retained --type __main__.Node",
             "types --by module --sort retained --type dict",
             "types --by owner --top 0", "types --by owner --type dict",
             "types --by owner --match __main__ --sort count",
             "types --by owner --retained --top 0",
             "types --by owner --sort retained --type list",
             "objects", "objects --top 200", "objects --type list --top 5",
             "objects --min-size 1K", "objects --top 0 --type __main__.Deep",
             "objects --top 0 --min-size 1K", "objects --fail-if size>100K",
             "objects --top 30 --values", "objects --retained --top 5",
             *("objects --top 40 --sort " + key for key in (
                 "address", "type", "type_address", "refcount", "footprint",
                 "size_exact", "evidence", "referrers", "retained")),
             "objects --sort refcount --match Node --min-size 56",
             "object {node}", "object {nodes}", "object {big}",
             "object {type}", "object {deep}", "object {nodes} --values",
             "object {type} --top 3", "object {node} --retained",
             "path {node}", "path {node} --top 1", "path {big}",
             "path --type __main__.Deep", "path --type tuple --top 0",
             "path --match Node|dict", "suspects", "overview",
             "cycles", "cycles --top 0 --min-size 200",
             "cycles --type __main__.Node", "cycles --by type",
             "cycles --by type --match dict|type", "gc", "refcounts",
             "refcounts --top 0 --type str"]
FIRST = "retained"              # a question that makes results


def make_dumps(interpreter, dumps):
    """Dumps of one process, {name: options of heapdump}, nearly of the same
    moment; where things are in it."""
    script, facts = heaptest.tmp("target.py"), heaptest.tmp("facts")
    with open(script, "w") as file:
        file.write(TARGET)
    with heaptest.start_target(interpreter, script, [facts]) as target:
        for name, options in dumps.items():
            done = heaptest.heapdump("-q", *options, "-o", heaptest.tmp(name),
                                     target.pid)
            assert done.returncode == 0, done.stderr
    with open(facts) as file:
        return {name: "0x%x" % address
                for name, address in json.load(file).items()}


def fresh(name):
    """A folder that is not there yet."""
    path = heaptest.tmp("index-" + name)
    shutil.rmtree(path, ignore_errors=True)
    return path


def files(folder, suffix=".index"):
    return sorted(os.path.join(folder, name) for name in os.listdir(folder)
                  if name.endswith(suffix))


def ask(dump, question, *options, status=0):
    """(output, standard error) of a question, as JSON has it."""
    done = heapscan(dump, *question.split(), "-f", "json", *options)
    assert done.returncode == status, "exit %d: %s" % (done.returncode,
                                                       done.stderr)
    return done.stdout, done.stderr


def plainly(dump, question):
    """The answer without any results."""
    return ask(dump, question, "--no-index")


def settle():
    """What was written to just now is not believed by its times."""
    time.sleep(0.05)


def used_at(folder):
    seen, = files(folder, ".seen")
    return os.stat(seen).st_mtime_ns


# ---- The same answers

def check_questions(dump, where, questions):
    folder = fresh("questions")
    ask(dump, FIRST, "--index", folder)
    made, = files(folder)
    before = os.stat(made)
    for question in questions:
        with heaptest.case("%s of a %s dump" % (question,
                                                os.path.basename(dump))):
            words = question.format(**where)
            status = 5 if "--fail-if" in words else 0
            settle()
            used = used_at(folder)
            expected = ask(dump, words, "--no-index", status=status)
            got = ask(dump, words, "--index", folder, status=status)
            assert got[1] == expected[1], (got[1], expected[1])
            same(got[0], expected[0])
            assert used_at(folder) > used, "the results were not used"
            after = os.stat(made)
            assert (after.st_ino, after.st_mtime_ns) == \
                (before.st_ino, before.st_mtime_ns), "made anew"
            texts = [heapscan(dump, *words.split(), *option).stdout
                     for option in (["--no-index"], ["--index", folder])]
            assert texts[0] == texts[1], "%r, %r" % (texts[0][-500:],
                                                     texts[1][-500:])


def same(got, expected):
    if got == expected:
        return
    got, expected = json.loads(got), json.loads(expected)
    for key in expected:
        if key != "rows":
            assert got[key] == expected[key], "%s: expected %r, got %r" % (
                key, expected[key], got[key])
    for a, b in zip(got.get("rows", []), expected.get("rows", [])):
        assert a == b, "expected %r, got %r" % (b, a)
    raise AssertionError("documents differ")


def check_first_questions(dump, where):
    """What makes results answers as it does without."""
    for question in ("retained", "path {node}", "suspects", "overview"):
        with heaptest.case("results made by %s" % question):
            folder = fresh("first")
            words = question.format(**where)
            expected = plainly(dump, words)
            assert ask(dump, words, "--index", folder) == expected
            assert len(files(folder)) == 1, os.listdir(folder)
            assert ask(dump, FIRST, "--index", folder) == plainly(dump, FIRST)
    for question in "types", "objects", "object {node}", "info":
        with heaptest.case("no results made by %s" % question):
            folder = fresh("first")
            ask(dump, question.format(**where), "--index", folder)
            assert not os.path.exists(folder), os.listdir(folder)


def check_free_threaded():
    """Where counts are put together from several places, the same."""
    for interpreter in heaptest.interpreters():
        if not interpreter.free_threaded:
            continue
        name = interpreter.name
        where = make_dumps(interpreter, {name: ["--no-compress"]})
        # All of them if somebody asks for this interpreter.
        step = 1 if os.environ.get("HEAPSCAN_INTERPRETERS") else 3
        check_questions(heaptest.tmp(name), where, QUESTIONS[::step])
        os.unlink(heaptest.tmp(name))


# ---- Where they are

def check_live():
    with heaptest.case("nothing is kept of a process"):
        folder, process = fresh("live"), subprocess.Popen(
            ["/usr/bin/python3", "-c", "print(1, flush=True); input()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdout.readline()
        done = heapscan(process.pid, FIRST, "--index", folder)
        process.communicate()
        assert done.returncode == 0, done.stderr
        assert not os.path.exists(folder), os.listdir(folder)


def check_places(dump):
    with heaptest.case("--no-index writes nothing"):
        home = fresh("home")
        done = heapscan(dump, FIRST, "--no-index",
                        env=dict(os.environ, HOME=home, XDG_CACHE_HOME=home))
        assert done.returncode == 0, done.stderr
        assert not os.path.exists(home), os.listdir(home)
    for name, place in ("XDG_CACHE_HOME", "heapscan"), \
            ("HOME", ".cache/heapscan"):
        with heaptest.case("results in $%s" % name):
            home = fresh("home")
            os.mkdir(home)
            env = dict(os.environ, HOME=home)
            env.pop("XDG_CACHE_HOME")
            env[name] = home
            for _ in range(2):
                done = heapscan(dump, FIRST, env=env)
                assert (done.returncode, done.stderr) == (0, ""), done.stderr
            found = files(os.path.join(home, place))
            assert len(found) == 1, found
    with heaptest.case("only their owner can read them"):
        folder = fresh("modes")
        before = os.umask(0)
        try:
            ask(dump, FIRST, "--index", folder)
        finally:
            os.umask(before)
        modes = {name: stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode)
                 for name in os.listdir(folder)}
        assert set(modes.values()) == {0o600} and len(modes) == 2, modes
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    with heaptest.case("no value is among them"):
        for name in files(folder):
            with open(name, "rb") as file:
                data = file.read()
            assert b"__main__.Node" in data
            assert SECRET.encode() not in data
    with heaptest.case("at most 48 bytes an object and 8 a reference"):
        index = keptindex.Index(files(folder)[0])
        objects, edges = index.size("FLAGS"), index.size("OUT") // 4
        # What grows with the number of types, of roots and of pages is small
        # where a heap is large; a thirty-second of memory has the addresses;
        # few objects are in cycles.
        other = sum(map(index.size, [
            "TEXT", "TYPES", "TOTALS", "CELLS", "BIGS", "ROOTS", "BY_RETAINED",
            "BY_SIZE", "REACHED_BY_TYPE", "RETAINED_BY_TYPE",
            "RETAINED_BY_MODULE", "COMPONENTS", "COMPONENTS_AT", "CYCLE_SIZES",
            "CYCLE_SHAPES", "CYCLE_FINALIZERS", "WAYS", "HOLDERS", "GROUPS",
            "OWNED", "COLLECTORS"]))
        size = sum(map(index.size, keptindex.COLUMNS))
        assert size - other <= 48 * objects + 8 * edges + 8192, (
            size, other, objects, edges)


def not_kept(name, dump, folder, *words):
    """The answer is right, nothing is written, and with -v it says why."""
    with heaptest.case(name):
        expected = plainly(dump, FIRST)[0]
        before = sorted(os.listdir(folder)) if os.path.isdir(folder) else None
        out, err = ask(dump, FIRST, "--index", folder)
        assert (out, err) == (expected, ""), err
        out, err = ask(dump, FIRST, "--index", folder, "-v")
        assert out == expected
        assert "results are not kept" in err, err
        for word in words:
            assert word in err, err
        after = sorted(os.listdir(folder)) if os.path.isdir(folder) else None
        assert before == after, (before, after)


def check_bad_places(dump):
    for mode in 0o770, 0o707, 0o1777:
        folder = fresh("mode")
        os.mkdir(folder)
        os.chmod(folder, mode)
        not_kept("a folder of mode %o" % mode, dump, folder, "others")
    not_kept("a file instead of a folder", dump, dump)
    not_kept("below a file", dump, os.path.join(dump, "x"))
    not_kept("where nothing can be made", dump, "/proc/heapscan-index")
    if os.geteuid() == 0:
        folder = fresh("owner")
        os.mkdir(folder)
        os.chown(folder, 65534, 65534)
        not_kept("a folder of somebody else", dump, folder, "somebody else")
    with heaptest.case("a full disk"):
        with damage.small_disk(1 << 20) as disk:
            os.mkdir(os.path.join(disk, "d"))
            not_kept("a full disk, told", dump, os.path.join(disk, "d"), "disk")
    with heaptest.case("an index that others can write to is not read"):
        folder = fresh("writable")
        ask(dump, FIRST, "--index", folder)
        path, = files(folder)
        os.chmod(path, 0o666)
        out, err = ask(dump, "types", "--index", folder)
        assert out == plainly(dump, "types")[0]
        assert "others can write" in err, err
        assert not os.path.exists(path)
    with heaptest.case("a link instead of an index is not followed"):
        folder = fresh("link")
        ask(dump, FIRST, "--index", folder)
        path, = files(folder)
        elsewhere = heaptest.tmp("elsewhere")
        os.rename(path, elsewhere)
        os.symlink(elsewhere, path)
        assert ask(dump, FIRST, "--index", folder)[0] == plainly(dump, FIRST)[0]
        assert not os.path.islink(path) and os.path.exists(elsewhere)


def check_limit(dump):
    with heaptest.case("the longest unused go first"):
        folder = fresh("limit")
        os.mkdir(folder, 0o700)
        for i, (size, age) in enumerate([(4 << 30, 400), (4 << 30, 300),
                                         (3 << 30, 500), (3 << 30, 100)]):
            name = "%032x" % i
            for suffix, length in ("index", size), ("seen", 1):
                path = os.path.join(folder, name + "." + suffix)
                with open(path, "wb") as file:
                    file.truncate(length)
                when = time.time() - age
                # The index of the one used last is the oldest.
                os.utime(path, (when, when) if suffix == "seen" else (1, 1))
        with open(os.path.join(folder, "not ours"), "wb") as file:
            file.truncate(9 << 30)
        ask(dump, FIRST, "--index", folder)
        left = {int(os.path.basename(path).split(".")[0], 16)
                for path in files(folder)}
        assert left >= {1, 3} and not left & {0, 2} and len(left) == 3, left
        assert len(files(folder, ".seen")) == 3
        assert os.path.exists(os.path.join(folder, "not ours"))


# ---- Which dump it is

def check_identity(dump, where):
    path = damage.copy(dump, "changing")
    folder = fresh("identity")
    settle()
    question = "object " + where["nodes"]
    ask(path, FIRST, "--index", folder)
    index, = files(folder)
    inode = os.stat(index).st_ino
    with heaptest.case("a copy is answered by the same results"):
        copy = damage.copy(path, "copied")
        for _ in range(2):
            settle()
            used = used_at(folder)
            assert json.loads(ask(copy, question, "--index", folder)[0])["rows"]\
                == json.loads(plainly(copy, question)[0])["rows"]
            assert used_at(folder) > used
        assert os.stat(index).st_ino == inode and len(files(folder)) == 1
    with heaptest.case("a changed dump is not"):
        status = os.stat(path)
        with elfcore.ElfCore(path) as core:
            segment, offset = segment_at(core, int(where["nodes"], 16))
        damage.patch(path, offset, struct.pack("<Q", 77001))
        for times in None, (status.st_atime_ns, status.st_mtime_ns):
            if times:
                os.utime(path, ns=times)
            settle()
            got, err = ask(path, question, "--index", folder)
            assert json.loads(got)["rows"][0]["refcount"] == 77001, got
            same(got, plainly(path, question)[0])
        assert "another dump" in err or not files(folder) or \
            os.stat(files(folder)[0]).st_ino != inode, err
    with heaptest.case("and gets results of its own"):
        expected = plainly(path, FIRST)[0]
        for _ in range(2):
            settle()
            assert ask(path, FIRST, "--index", folder)[0] == expected
        got = ask(path, question, "--index", folder)[0]
        assert json.loads(got)["rows"][0]["refcount"] == 77001
    with heaptest.case("other files of the target, other results"):
        folder = fresh("sysroot")
        for options in [], ["--sysroot", "none"]:
            expected = ask(dump, FIRST, "--no-index", *options)
            for _ in range(2):
                assert ask(dump, FIRST, "--index", folder, *options) == expected
        assert len(files(folder)) == 2, os.listdir(folder)
    with heaptest.case("a dump that is cut off"):
        folder = fresh("cut")
        cut = damage.copy(dump, "cut")
        os.truncate(cut, os.path.getsize(cut) * 9 // 10)
        expected = heapscan(cut, FIRST, "--no-index", "-f", "json")
        for _ in range(3):
            done = heapscan(cut, FIRST, "--index", folder, "-f", "json")
            assert (done.returncode, done.stdout, done.stderr) == (
                3, expected.stdout, expected.stderr), done.stderr


def segment_at(core, address):
    """(segment, offset in the file) of an address."""
    segment = core.segment_at(address)
    return segment, segment.offset + address - segment.vaddr


# ---- Damage

def scan(build, *args):
    """Within no bounds of memory: an analysis asks for much that it does not
    use."""
    env = damage.sanitizer_environment() if build.sanitized else None
    done = damage.execute([build.program("heapscan"), *args], env=env)
    for report in damage.REPORTS:
        assert report not in done.err, "%s: %s" % (done, done.err[:3000])
    assert done.status >= 0, "ended by signal %d: %s" % (-done.status, done)
    return done


def spoilt(build, dump, folder, expected, what, status=(0,)):
    """Ask of a folder with damage in it: the answer is right all the same."""
    done = scan(build, dump, FIRST, "-f", "json", "--index", folder)
    assert done.status in status, "%s: %s" % (what, done)
    assert done.out == expected, "%s: another answer: %s" % (what, done.err)
    return done


def damages(index):
    """(what, bytes of a file) for each damage; all are to be found out."""
    pristine = bytes(index.data)

    def changed(offset, data, seal=False):
        other = keptindex.Index.__new__(keptindex.Index)
        other.__dict__.update(index.__dict__, data=bytearray(pristine))
        other.data[offset:offset + len(data)] = data
        if seal:
            other.seal()
        return bytes(other.data)

    def values(at, size):
        old = int.from_bytes(pristine[at:at + size], "little")
        return [value.to_bytes(size, "little") for value in
                (0, old + 1, old * 2 + 3 & (1 << size * 8) - 1,
                 (1 << size * 8) - 1) if value != old]

    for name, at in keptindex.FIELDS.items():
        for data in values(at, 4 if name in ("version", "columns") else 8):
            yield "header: %s is %s" % (name, data.hex()), changed(at, data)
            if name not in ("checksum", "key", "content"):
                yield ("header: %s is %s, sealed" % (name, data.hex()),
                       changed(at, data, seal=True))
    # Of the table a part of what can be: every other field, with one value.
    for i, entry in enumerate(index.entries):
        begin = keptindex.HEADER.size + i * keptindex.ENTRY.size
        for j, (name, at) in enumerate(keptindex.ENTRY_FIELDS.items()):
            if (i + j) % 2:
                continue
            data = values(begin + at, 4 if name in ("id", "width") else 8)
            yield "column %d: %s is %s" % (
                entry[0], name, data[(i + j) % len(data)].hex()), changed(
                    begin + at, data[(i + j) % len(data)], seal=True)
    for length in (0, 1, 7, 87, 88, 4096, len(pristine) // 2,
                   len(pristine) - 1):
        yield "cut to %d bytes" % length, pristine[:length]
    yield "a byte more", pristine + b"\0"
    chance = random.Random(5)
    for _ in range(40):
        column = chance.choice([name for name in keptindex.COLUMNS
                                if index.size(name)])
        offset, size = index.place(column)
        at = offset + chance.randrange(size)
        yield ("a bit of %s" % column,
               changed(at, bytes([pristine[at] ^ 1 << chance.randrange(8)])))


def lies(index):
    """(what, column, where, bytes): numbers that cannot be, with checksums that
    are right."""
    def word(value):
        return struct.pack("<I", value & 0xFFFFFFFF)

    objects = index.size("FLAGS")
    for column in "OBJECT_TYPES OUT IN TREE BY_RETAINED BY_SIZE".split():
        size = index.size(column)
        for at in 0, size // 8 * 4, size - 4:
            yield "too large", column, at, word(objects + (1 << 20))
            yield "much too large", column, at, word(0x3FFFFFFF)
    for column in "OUT_AT", "IN_AT", "TREE_AT", "COMPONENTS_AT":
        size = index.size(column)
        yield "not from 0", column, 0, word(1)
        yield "down again", column, size // 8 * 4, word(0x7FFFFFFF)
        yield "beyond the end", column, size - 4, word(0xFFFFFFFF)
    yield "its own parent", "PARENTS", 40, word(10)
    yield "a circle", "PARENTS", 400, word(101) + word(100)
    yield "no such object", "PARENTS", (objects - 1) * 4, word(objects)
    yield "before itself", "BEFORE", 40, word(10)
    yield "a circle", "BEFORE", 400, word(101) + word(100)
    yield "no such object", "BEFORE", (objects - 1) * 4, word(objects)
    yield "ways of no type", "WAYS", 16, word(0xFFFFFFFF)
    yield "ways to no object", "WAYS", 20, word(objects)
    yield "a shape that is none", "CYCLE_SHAPES", 0, bytes(8)
    yield "holders of no object", "HOLDERS", 0, word(objects)
    yield "holders of no kind", "HOLDERS", 8, word(99)
    yield "a group without a name", "GROUPS", 24, word(0)
    yield "a group of nothing", "GROUPS", 28, word(99)
    yield "owned by no type", "OWNED", 64, word(0x7FFFFFFF)
    yield "owned and of no type", "OWNED", 40, word(0x7FFFFFFF)
    yield "no such collector", "COLLECTORS", 0, word(3)
    yield "neither on nor off", "COLLECTORS", 24, b"\2"
    yield "another's child", "TREE", 0, word(objects - 1)
    yield "cells that do not count", "CELLS", 8, word(7)
    yield "cells of too many", "CELLS", 0, b"\xff" * 8
    for column in "UNEXPLAINED HELD GARBAGE FREED FROZEN".split():
        yield ("a set beyond the end", column, index.size(column) - 1,
               b"\x80")
    yield "chunks out of order", "CHUNKS", 0, b"\xff" * 8
    yield "text without an end", "TEXT", index.size("TEXT") - 1, b"x"
    yield "a type that there is not", "TOTALS", 40, word(0xFFFFFFFF)
    yield "more than there are", "FACTS", 8, word(objects + 1)
    yield "fewer than there are", "FACTS", 8, word(objects - 1)
    # Not all of these can be told.
    for at in range(0, 112, 8):
        yield "(a type)", "TYPES", at, word(0xFFFFFFFF)
    for at in range(0, 80, 8):
        yield "(a root)", "ROOTS", at, word(0xFFFFFFFF)
    for at in range(16, index.size("FACTS") - 3, 20):
        yield "(a fact)", "FACTS", at, word(0xFFFFFFFF)
    for column, size in ("HOLDERS", 80), ("WAYS", 32), ("GROUPS", 40):
        for at in range(0, size, 8):
            yield "(a row)", column, at, word(0xFFFFFFFF)
    for column in "CYCLE_SIZES", "CYCLE_FINALIZERS", "RETAINED_BY_MODULE":
        yield "(a sum)", column, 0, word(0xFFFFFFFF)


# Questions that look at what may be wrong without its being told.
USED_BY = {"TYPES": ["types --by owner", "path --match ."],
           "ROOTS": ["path --match .", "refcounts"],
           "FACTS": ["types", "suspects", "gc"], "HOLDERS": ["refcounts"],
           "WAYS": ["path --match ."], "GROUPS": ["retained --by root"],
           "CYCLE_SIZES": ["cycles"], "CYCLE_FINALIZERS": ["cycles --by type"],
           "RETAINED_BY_MODULE": ["types --by module --retained"]}


def check_damage(dump):
    for build in damage.builds():
        folder, good = fresh("spoilt"), fresh("good")
        first = scan(build, dump, FIRST, "-f", "json", "--index", good)
        expected = first.out
        index = keptindex.Index(files(good)[0])
        name = os.path.basename(files(good)[0])

        def restored():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(good, folder)
            return os.path.join(folder, name)

        def run(what, data):
            with open(restored(), "r+b") as file:
                file.write(data)
                file.truncate()
            done = spoilt(build, dump, folder, expected, what)
            assert "of no use" in done.err, "not found out"
            again = keptindex.Index(files(folder)[0])
            assert bytes(again.data[96:]) != data[96:] or \
                len(data) != len(again.data), "not made anew"

        step = 5 if build.sanitized else 1
        damage.series(build, "a damaged index is found out and made anew",
                      ((what, lambda what=what, data=data: run(what, data))
                       for what, data in itertools.islice(
                           damages(index), 0, None, step)))

        def lie(what, column, at, data):
            path = restored()
            spoiling = keptindex.Index(path)
            before = bytes(spoiling.data)
            spoiling.change(column, at, data)
            if bytes(spoiling.data) == before:
                return
            spoiling.seal_columns()
            spoiling.seal()
            spoiling.write(path)
            done = scan(build, dump, FIRST, "-f", "json", "--index", folder)
            assert done.status == 0, done
            if "of no use" in done.err:
                assert done.out == expected, done.err
                return
            # Nobody can tell that these are wrong; nothing may break by them.
            assert what[0] == "(", "not found out"
            for question in USED_BY.get(column, ["types", "suspects"]):
                done = scan(build, dump, *question.split(), "--index", folder)
                assert done.status == 0, done

        damage.series(build, "numbers that cannot be are found out",
                      [("%s at %d: %s" % (column, at, what),
                        lambda args=(what, column, at, data): lie(*args))
                       for what, column, at, data in
                       list(lies(index))[::3 if build.sanitized else 1]])

        with build.case("a good one is read through when its times are gone"):
            restored()
            for path in files(folder, ".seen"):
                os.unlink(path)
            done = spoilt(build, dump, folder, expected, "no .seen")
            assert done.err == "", done.err
            assert len(files(folder, ".seen")) == 1
        with build.case("a damaged .seen says nothing"):
            restored()
            seen, = files(folder, ".seen")
            for at in range(0, os.path.getsize(seen), 9):
                damage.patch(seen, at, b"\x55")
                done = spoilt(build, dump, folder, expected, "spoilt .seen")
                assert done.err == "", done.err
                seen, = files(folder, ".seen")


# ---- At the same time, and not to the end

def check_killed(dump):
    with heaptest.case("killed while it writes"):
        folder = fresh("killed")
        expected = plainly(dump, FIRST)[0]
        begun = time.monotonic()
        ask(dump, FIRST, "--index", fresh("whole"))
        whole = time.monotonic() - begun
        chance = random.Random(3)
        for _ in range(25):
            process = subprocess.Popen(
                [heaptest.program("heapscan"), dump, FIRST, "--index", folder],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(whole * chance.uniform(0.3, 1.1))
            process.send_signal(signal.SIGKILL)
            process.wait()
            if os.path.isdir(folder):
                out, err = ask(dump, "types", "--index", folder)
                assert err == "", err
                for path in files(folder) + files(folder, ".seen"):
                    os.unlink(path)
        out, err = ask(dump, FIRST, "--index", folder)
        assert (out, err) == (expected, ""), err
        names = sorted(os.listdir(folder))
        assert len(names) == 2 and names[0].endswith(".index") and \
            names[1].endswith(".seen"), names


def check_together(dump):
    with heaptest.case("several at once"):
        expected = plainly(dump, FIRST)[0]
        for _ in range(3):
            folder = fresh("together")
            processes = [subprocess.Popen(
                [heaptest.program("heapscan"), dump, FIRST, "-f", "json",
                 "--index", folder], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, encoding="utf-8") for _ in range(4)]
            for process in processes:
                out, err = process.communicate()
                assert (process.returncode, err) == (0, ""), err
                assert out == expected
            assert len(files(folder)) == 1, os.listdir(folder)
            assert len(os.listdir(folder)) == 2, os.listdir(folder)
            assert ask(dump, FIRST, "--index", folder) == (expected, "")


def check_reader(dump):
    with heaptest.case("who reads the answer does not wait for results"):
        process = subprocess.Popen(
            [heaptest.program("heapscan"), dump, FIRST, "--index",
             fresh("reader")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read()
        running = process.poll() is None
        process.communicate()
        assert running and process.returncode == 0


where = make_dumps(heaptest.Interpreter("system", ["/usr/bin/python3"]),
                   {"plain": ["--no-compress"], "zst": []})
plain, packed = heaptest.tmp("plain"), heaptest.tmp("zst")
settle()
check_first_questions(plain, where)
check_questions(plain, where, QUESTIONS)
check_questions(packed, where, QUESTIONS[::4])
check_free_threaded()
check_live()
check_places(plain)
check_bad_places(plain)
check_limit(plain)
check_identity(plain, where)
check_together(plain)
check_killed(plain)
check_reader(plain)
check_damage(plain)
heaptest.finish()
