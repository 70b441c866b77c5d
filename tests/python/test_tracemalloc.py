#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`heapscan tracemalloc` and the site of an object, compared with what
tracemalloc says in the process itself, on every interpreter."""

import json
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import damage    # noqa: E402
import elfcore   # noqa: E402
import heaptest  # noqa: E402

SCRIPT = os.path.join(HERE, "tracemalloc_target.py")
with open(SCRIPT) as script:
    TEXT = script.read().split("\n")
OWN, MAIN = TEXT.index("own = True") + 1, TEXT.index("def main():") + 1


class Subject:
    """A core of the target, and what it said."""

    def __init__(self, interpreter, core, said):
        self.interpreter, self.core, self.said = interpreter, core, said
        self.answers = {}

    def root(self):
        return "--sysroot", self.interpreter.root or "/"

    def answer(self, *args):
        """The JSON of heapscan; asked once more, the text of before."""
        if args in self.answers:
            return json.loads(self.answers[args])
        texts = set()
        for threads in (1, 3):
            done = heaptest.heapscan(self.core, *args, "-f", "json",
                                     "--threads", threads, *self.root())
            assert done.returncode == 0, "exit %d: %s" % (done.returncode,
                                                          done.stderr)
            texts.add(done.stdout)
        assert len(texts) == 1, "the answer depends on --threads"
        self.answers[args] = texts.pop()
        return json.loads(self.answers[args])


def start(interpreter, nframe, **options):
    return heaptest.start_target(interpreter, SCRIPT, [nframe],
                                 census=heaptest.tmp("said"), **options)


def subject_of(interpreter, nframe, writer=heaptest.plain_core, **options):
    core = heaptest.tmp("core.%d" % nframe)
    with start(interpreter, nframe, **options) as target:
        writer(target.pid, core)
    with open(heaptest.tmp("said")) as file:
        text = file.read()
    return Subject(interpreter, core, json.loads(text) if text else None)


def is_own(file, line):
    """What the target allocates for taking its snapshot, and its twin when it
    begins: random takes a new seed there, where a site imports it."""
    name = os.path.basename(file)
    return (name in ("tracemalloc.py", "threading.py", "_weakrefset.py",
                     "random.py")
            or "/json/" in file or "_collections_abc" in name
            or name == os.path.basename(SCRIPT) and line >= OWN)


def any_own(frames):
    return is_own(*frames[0]) or any(is_own(file, line) and line < MAIN
                                     for file, line in frames)


# ---- Comparing

def difference(got, expected, least):
    """got and expected are dicts; nothing may differ."""
    wrong = ["%s: expected %r, got %r" % (key, expected.get(key),
                                          got.get(key))
             for key in sorted(set(got) | set(expected), key=str)
             if got.get(key) != expected.get(key)]
    for text in wrong[:5]:
        print("# " + text)
    print("# %d compared" % len(expected))
    assert len(expected) >= least, len(expected)
    assert not wrong, "%d of %d differ: %s" % (len(wrong), len(expected),
                                               wrong[0])


def lines(subject):
    answer = subject.answer("tracemalloc", "-n", "0")
    assert answer["schema"] == "heapscan.tracemalloc/1"
    assert answer["dump"]["findings"] == 0, answer["dump"]
    rows = answer["rows"]
    difference({(row["file"], row["line"]): (row["count"], row["size"])
                for row in rows if not is_own(row["file"], row["line"])},
               {(file, line): (count, size)
                for file, line, count, size in subject.said["lines"]
                if not is_own(file, line)}, 400)
    totals = answer["totals"]
    assert totals["sites"] == len(rows)
    for key in "count", "size":
        assert totals[key] == sum(row[key] for row in rows), key
    for row in rows:
        assert row["traceback"][0] == {"file": row["file"],
                                       "line": row["line"]}, row
        assert row["average"] == row["size"] // row["count"], row
    sizes = [row["size"] for row in rows]
    assert sizes == sorted(sizes, reverse=True), "not by size"
    assert totals["limit"] == subject.said["limit"], totals
    # Tracing goes on for a little while after that.
    assert totals["traced"] == totals["size"], totals
    assert totals["peak"] >= max(subject.said["peak"], totals["traced"])
    assert totals["peak"] < subject.said["peak"] * 1.5 + (1 << 22), totals


def tracebacks(subject):
    answer = subject.answer("tracemalloc", "-n", "0", "--tracebacks")
    said = subject.said["tracebacks"]
    kept = [one for one in said if not any_own(one[0])]
    got = {}
    for row in answer["rows"]:
        key = tuple((frame["file"], frame["line"])
                    for frame in row["traceback"])
        if not any_own(key):
            got[key, row.get("frames")] = row["count"], row["size"]
    difference(got, {(tuple(map(tuple, frames)), total): (count, size)
                     for frames, total, count, size in kept}, 400)
    longest = max(len(frames) for frames, *_ in kept)
    assert longest == subject.said["limit"], longest


def objects(subject):
    wrong = 0
    said = subject.said["objects"]
    if subject.interpreter.version[:2] == (3, 11):
        # It forgets what lies before instances with attributes.
        said = [one for one in said if one[1]]
    said = said[::len(said) // 9]
    for address, frames in said:
        row, = subject.answer("object", hex(address))["rows"]
        got = row.get("allocated")
        expected = frames and {
            "file": frames[0][0], "line": frames[0][1],
            "traceback": [{"file": file, "line": line}
                          for file, line in frames]} or None
        if got != expected:
            print("# 0x%x: expected %r, got %r" % (address, expected, got))
            wrong += 1
    traced = sum(1 for _, frames in said if frames)
    assert traced >= 9, "%d of %d are traced" % (traced, len(said))
    assert not wrong, "%d of %d differ" % (wrong, len(said))
    address, frames = next(one for one in said if one[1])
    text = heaptest.heapscan(subject.core, "object", hex(address),
                             *subject.root()).stdout
    assert "allocated  at " in text and ":%d\n" % frames[0][1] in text, text


def options(subject):
    def run(*args):
        return heaptest.heapscan(subject.core, "tracemalloc", *subject.root(),
                                 *args)

    done = run("-n", "3")
    assert done.returncode == 0, done.stderr
    assert "TRACEMALLOC  by size" in done.stdout, done.stdout
    assert " more lines" in done.stdout and "traced: " in done.stdout
    assert len(done.stdout.splitlines()) < 12, done.stdout
    done = run("-n", "2", "--tracebacks")
    assert done.returncode == 0 and " more tracebacks" in done.stdout, done
    answer = subject.answer("tracemalloc", "--match", r"caf.\.py$",
                            "--sort", "count")
    assert {row["file"] for row in answer["rows"]} == {"caf\u00e9.py"}
    counts = [row["count"] for row in answer["rows"]]
    assert counts == sorted(counts, reverse=True)
    assert answer["totals"]["count"] > sum(counts)
    answer = subject.answer("tracemalloc", "-n", "0", "--min-size", "10K")
    assert answer["rows"] and all(row["size"] >= 10240
                                  for row in answer["rows"])
    assert run("--fail-if", "peak>1K").returncode == 5
    assert run("--fail-if", "count>1000000000").returncode == 0
    assert run("--sort", "colour").returncode == 2
    assert run("--type", "dict").returncode == 2
    done = run("-f", "csv", "-n", "2")
    assert done.stdout.splitlines()[0].startswith("file,line,count,size"), done


def not_tracing(interpreter):
    with start(interpreter, 0) as target:
        core = heaptest.plain_core(target.pid, heaptest.tmp("core.0"))
    done = heaptest.heapscan(core, "tracemalloc")
    assert done.returncode == 1 and not done.stdout, done
    assert "did not trace" in done.stderr, done.stderr
    assert "PYTHONTRACEMALLOC" in done.stderr, done.stderr
    os.unlink(core)


def by_heapdump(interpreter):
    """What --content heap leaves out must not be any of this, and --content
    stacks has none of it."""
    with start(interpreter, 10) as target:
        for content, core in (("heap", "heap.zst"), ("stacks", "stacks.zst")):
            done = heaptest.heapdump("-q", "--content", content, "-o",
                                     heaptest.tmp(core), target.pid)
            assert done.returncode == 0, done.stderr
    with open(heaptest.tmp("said")) as file:
        subject = Subject(interpreter, heaptest.tmp("heap.zst"),
                          json.load(file))
    lines(subject)
    tracebacks(subject)
    done = heaptest.heapscan(heaptest.tmp("stacks.zst"), "tracemalloc")
    assert done.returncode == 1 and "traced its allocations, but" in done.stderr, (
        done.stderr)
    os.unlink(heaptest.tmp("heap.zst"))
    os.unlink(heaptest.tmp("stacks.zst"))


# ---- Damage

def shape(interpreter):
    """Where the words of a table are, and the table's of an entry."""
    if interpreter.version < (3, 9):
        return {"nentries": 8, "nbuckets": 0, "heads": 16}
    return {"nentries": 0, "nbuckets": 8, "heads": 16}


def find_table(subject):
    """The table of traces, by its number of entries and buckets: an address
    that no symbol is needed for."""
    words = shape(subject.interpreter)
    count = subject.answer("tracemalloc")["totals"]["count"]
    if subject.interpreter.version >= (3, 9):
        count -= 40             # they are in tables of other domains
    core = elfcore.ElfCore(subject.core)
    found = []
    for segment in core.segments:
        if not segment.filesz or not segment.flags & 2:
            continue
        data = core.read(segment.vaddr, segment.filesz)
        at = data.find(struct.pack("<Q", count))
        while at >= 0:
            table = segment.vaddr + at - words["nentries"]
            try:
                buckets, = core.words(table + words["nbuckets"], 1)
                heads, = core.words(table + words["heads"], 1)
                if (table % 8 == 0 and buckets & (buckets - 1) == 0 and count < buckets < count
                        * 16 and core.words(heads + buckets * 8 - 8, 1)):
                    found.append((table, buckets, heads))
            except elfcore.Missing:
                pass
            at = data.find(struct.pack("<Q", count), at + 8)
    assert len(found) == 1, found
    return core, found[0]


def spoilt(subject, core, address, value, size=8):
    segment = core.segment_at(address)
    at = segment.offset + address - segment.vaddr
    data = struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF)[:size]
    return damage.patched(subject.core, (at, data))


def an_entry(core, heads, buckets, nth):
    """A bucket with an entry that another one follows."""
    for bucket in range(buckets):
        head, = core.words(heads + bucket * 8, 1)
        if head and core.words(head, 1)[0]:
            nth -= 1
            if nth < 0:
                return bucket, head
    raise AssertionError("no bucket has two entries")


def damaged(subject, builds):
    core, (table, buckets, heads) = find_table(subject)
    words = shape(subject.interpreter)
    bucket, entry = an_entry(core, heads, buckets, 20)
    inline = subject.interpreter.version < (3, 9)
    # 3.8: keys have the number of a domain behind them.
    value = entry + 28 if inline else core.words(entry + 24, 1)[0]
    traceback, = core.words(value + 8, 1)
    whole = subject.answer("tracemalloc", "-n", "0")["totals"]["count"]
    # what, where, value, at most so many traces lost, a finding expected
    cases = [
        ("a list that leads nowhere", entry, 0xDEAD0000, 20, True),
        ("a list that comes back", entry, entry, 20, True),
        ("a list that leads into another", entry,
         core.words(heads + an_entry(core, heads, buckets, 3)[0] * 8, 1)[0],
         20, True),
        ("a list cut off", entry, 0, 20, True),
        ("a hash", entry + 8, 0x123456789ABCDEF, 0, False),
        ("a key", entry + 16, 0x123456789ABCDEF, 0, False),
        ("a trace that is nowhere", entry + 24, 0xDEAD0000, 1, True),
        ("a size", value, 1 << 60, 1, True),
        ("a traceback that is nowhere", value + 8, 0xDEAD0000, 0, True),
        ("the number of frames", traceback + 8, 0, 0, True),
        ("the name of a file", traceback + 12, 0xDEAD0000, 0, False),
        ("the number of entries", table + words["nentries"], 1 << 50, 0,
         True),
        ("no entries", table + words["nentries"], 1, 0, True),
        ("the number of buckets", table + words["nbuckets"], 1 << 60, 0,
         True),
        ("half the buckets", table + words["nbuckets"], buckets // 16, 0,
         True),
        ("buckets that are nowhere", table + words["heads"], 0xDEAD0000,
         whole, True),
        ("a bucket", heads + bucket * 8, 0xDEADBEE8, 20, True),
    ]
    for what, address, new, lost, finding in cases:
        if inline and what == "a trace that is nowhere":
            continue
        size = 2 if what == "the number of frames" else 8
        with spoilt(subject, core, address, new, size) as core_file:
            for build in builds:
                done = build.heapscan(core_file, "tracemalloc", "-f", "json",
                                      "-n", "0", *subject.root())
                if lost == whole and done.status == 1:
                    assert "were not found" in done.err, (what, done.err)
                    continue
                assert done.status in (0, 3), "%s: %s" % (what, done)
                answer = done.json()
                now = answer["totals"]["count"]
                assert whole - lost <= now <= whole, "%s: %d of %d traces" % (
                    what, now, whole)
                assert bool(answer["dump"]["findings"]) == finding, (
                    "%s: %d findings" % (what, answer["dump"]["findings"]))


def main():
    interpreters = heaptest.interpreters(few=True)
    builds = damage.builds()
    tested = [one for one in interpreters if not one.free_threaded
              and not one.name.endswith("-loader")]
    for interpreter in tested:
        name = interpreter.name
        # Of each of the two layouts of tables one release.
        ends = interpreter in (tested[0], tested[-1])
        for nframe in (1, 10):
            suffix = ", %d frame%s" % (nframe, "s" * (nframe > 1))
            with heaptest.case(name + ": the target runs" + suffix):
                subject = None
                subject = subject_of(interpreter, nframe)
            if not subject:
                continue
            with heaptest.case(name + ": lines" + suffix):
                lines(subject)
            with heaptest.case(name + ": tracebacks" + suffix):
                tracebacks(subject)
            with heaptest.case(name + ": sites of objects" + suffix):
                objects(subject)
            if nframe == 1:
                with heaptest.case(name + ": options of tracemalloc"):
                    options(subject)
                with heaptest.case(name + ": damaged tables"):
                    damaged(subject, builds if ends else builds[:1])
            os.unlink(subject.core)
        with heaptest.case(name + ": not tracing"):
            not_tracing(interpreter)
        with heaptest.case(name + ": heapdump's dumps"):
            by_heapdump(interpreter)
        for value in ("malloc", "debug") if ends else ():
            with heaptest.case("%s: PYTHONMALLOC=%s" % (name, value)):
                lines(subject_of(interpreter, 3,
                                 env={"PYTHONMALLOC": value}))
    for release in heaptest.absent_releases(interpreters):
        heaptest.skip("tracemalloc of Python " + release,
                      "this machine has no such interpreter")
    heaptest.finish()


if __name__ == "__main__":
    main()
