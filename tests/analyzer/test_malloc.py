# SPDX-License-Identifier: Apache-2.0
"""heapscan malloc: each chunk of a program that records its own, and the sums
of mallinfo2() and malloc_info(), which it calls just before it is dumped; of
several releases of glibc, with and without symbols; and of damaged heaps."""

import bisect
import collections
import contextlib
import glob
import json
import os
import random
import re
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import damage
import elfcore
import heaptest

TOOLS = os.path.join(heaptest.BUILD, "tests", "tools")
SOURCE = os.path.join(HERE, "..", "tools", "malloctarget.c")
CXX = os.path.join(HERE, "malloc_target.cc")
INFO = ("arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks "
        "keepcost").split()

Chunk = collections.namedtuple("Chunk", "kind start end arena")
Arena = collections.namedtuple(
    "Arena", "address used free fast tcache top overhead lost system")


# ---- Programs

@contextlib.contextmanager
def started(argv, timeout=60):
    """The process id and what it printed, until it is ready."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, encoding="ascii")
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("READY "):
                break
        assert lines and lines[-1].startswith("READY "), argv
        yield process.pid, lines
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def dump(argv, core, kernels=None):
    """Dump it, and have the kernel do so; returns what it printed."""
    with started(argv) as (pid, lines):
        done = heaptest.heapdump("-q", "--no-compress", "--content", "full",
                                 "--max-pause", "1m", "-o", core, pid)
        assert done.returncode == 0, done.stderr
        if kernels:
            heaptest.kernel_core(pid, kernels)
    return lines


def compiled(name, *options):
    program = heaptest.tmp(name)
    done = heaptest.run([heaptest.tool("gcc", "gcc"), "-std=gnu17",
                         "-D_GNU_SOURCE", "-O1", *options, SOURCE, "-o",
                         program, "-lpthread", "-ldl"])
    assert done.returncode == 0, done.stderr
    return program


def root(*patterns):
    """A root folder that another test or script has made."""
    for pattern in patterns:
        found = sorted(glob.glob(os.path.join(heaptest.CACHE, pattern)))
        if found:
            return found[-1]
    raise heaptest.Skip("not fetched: " + patterns[0])


def by_loader(folder, program):
    """A command that runs a program with the libraries of another root."""
    loader = glob.glob(folder + "/lib64/ld-linux-x86-64.so.2") \
        or glob.glob(folder + "/usr/lib64/ld-linux-x86-64.so.2")
    libraries = [path for path in (folder + "/usr/lib/x86_64-linux-gnu",
                                   folder + "/lib/x86_64-linux-gnu")
                 if os.path.exists(path + "/libc.so.6")]
    if not loader or not libraries:
        raise heaptest.Skip("no libraries for this machine in " + folder)
    return [loader[0], "--library-path", ":".join(libraries), program]


def ours():
    return os.path.join(TOOLS, "malloctarget")


def old_libc():
    dev = root("roots/bullseye-dev/root")
    folders = [dev + "/usr/lib/x86_64-linux-gnu", dev + "/lib/x86_64-linux-gnu"]
    return by_loader(root("roots/bullseye-run/root"), compiled(
        "old", "--sysroot=" + dev, *("-B" + folder for folder in folders),
        *("-L" + folder for folder in folders)))


LIBRARIES = [
    ("the system's libc", lambda: [ours()]),
    ("glibc 2.31", old_libc),
    ("glibc 2.41", lambda: by_loader(root("roots/trixie-run/root"), ours())),
    ("the newest glibc", lambda: by_loader(
        root("interpreters/3.15*-debian/root",
             "interpreters/3.1*-debian/root"), ours())),
    ("a static program", lambda: [compiled("static", "-static")]),
]


# ---- What was found

class Found:
    """chunkdump's answer."""

    def __init__(self, core, *options):
        done = heaptest.run([os.path.join(TOOLS, "chunkdump"), core, *options])
        assert done.returncode == 0, done.stderr
        self.arenas, self.chunks, self.findings = [], [], []
        for line in done.stdout.splitlines():
            word, *fields = line.split()
            if word == "CHUNK":
                self.chunks.append(Chunk(fields[0], *map(int, fields[1:])))
            elif word == "ARENA":
                self.arenas.append(Arena(*map(int, fields)))
            elif word == "MAPPED":
                self.mapped = list(map(int, fields))
            else:
                assert word == "FINDING", line
                self.findings.append((fields[0], " ".join(fields[1:])))

    def codes(self):
        return {code for code, _ in self.findings}

    def of(self, *kinds):
        return [chunk for chunk in self.chunks if chunk.kind in kinds]

    def sum(self, field):
        return sum(getattr(arena, field) for arena in self.arenas)


def recorded(lines):
    """({address: usable}, {freed}, mallinfo2, the rest)"""
    used, freed = {}, set()
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "USED":
            address, size = rest.split()
            used[int(address)] = int(size)
        elif word == "FREED":
            freed.add(int(rest))
        elif word == "INFO":
            info = dict(zip(INFO, map(int, rest.split())))
    return used, freed - used.keys(), info, "".join(lines)


def check_chunks(found, used, freed):
    """Every recorded chunk, with its size, and of others hardly any."""
    chunks = {chunk.start + 16: chunk for chunk in found.of("used", "mapped")}
    missing = used.keys() - chunks.keys()
    assert not missing, "%d missing: %#x" % (len(missing), min(missing))
    for address, usable in used.items():
        chunk = chunks[address]
        # The last word is the next chunk's; a mapping has none behind.
        beyond = 0 if chunk.kind == "mapped" else 8
        assert chunk.end + beyond - address in (usable, usable + 8), (
            chunk, usable)
    # Only a thread's table of tcache may be where something was freed.
    again = {chunks[address].end - chunks[address].start
             for address in freed & chunks.keys()}
    assert again <= {0x290, 0x2A0, 0x300, 0x310}, again
    # What the library keeps itself: tables of threads, tcaches.
    assert len(chunks) - len(used) < 30, len(chunks) - len(used)
    spans = sorted((chunk.start, chunk.end) for chunk in found.chunks)
    for (_, end), (start, _) in zip(spans, spans[1:]):
        assert end <= start, "chunks overlap at %#x" % start


def check_sums(found, info, text):
    """What mallinfo2() says, and malloc_info() of each arena."""
    fast, top = found.of("fast"), found.sum("top")
    free = found.sum("free") + found.sum("fast") + top
    ours_ = {
        "arena": found.sum("system"),
        "ordblks": len(found.of("free")) + len(found.arenas),
        "smblks": len(fast), "hblks": found.mapped[0],
        "hblkhd": found.mapped[1], "usmblks": 0,
        "fsmblks": found.sum("fast"),
        "uordblks": found.sum("system") - free, "fordblks": free,
        "keepcost": found.arenas[0].top}
    assert ours_ == info, (ours_, info)
    assert found.mapped[2:] == [1, info["hblks"], info["hblkhd"]], found.mapped
    for arena in found.arenas:
        assert arena.used + arena.free + arena.fast + arena.tcache \
            + arena.top + arena.overhead == arena.system, arena
        assert arena.lost == 0, arena
    heaps = re.findall(r"<heap nr=.*?</heap>", text, re.S)
    assert len(heaps) == len(found.arenas)
    for arena, heap in zip(found.arenas, heaps):
        said = dict(re.findall(r'<total type="(\w+)" count="\d+" size="(\d+)"',
                               heap))
        system = re.search(r'<system type="current" size="(\d+)"', heap)[1]
        assert int(system) == arena.system, (heap[-300:], arena)
        assert int(said.get("fast", 0)) == arena.fast, (said, arena)
        # Its sizes have the flags of their chunks in them.
        flags = int(said["rest"]) - arena.free - arena.top
        assert 0 <= flags <= 5 * len(found.of("free")), (said, arena)


def answer(core, *options, status=(0,)):
    done = heaptest.heapscan(core, "malloc", "--top", "0", "-f", "json",
                             "--no-progress", *options)
    assert done.returncode in status, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def check_view(core, found):
    whole = answer(core)
    totals, rows = whole["totals"], whole["rows"]
    assert [row["arena"] for row in rows] == ["main"] + [
        str(i) for i in range(1, len(rows))]
    for row, arena in zip(rows, found.arenas):
        assert int(row["address"], 16) == arena.address
        assert row["used"] == arena.used and row["top"] == arena.top
        assert row["free"] == arena.free + arena.fast + arena.tcache
    for key in "used", "top", "tcache", "fast", "overhead":
        assert totals[key] == found.sum(key), key
    assert totals["mmapped"] == totals["mmapped_counted"] == found.mapped[1]
    assert rows[0]["chunks"] + sum(row["chunks"] for row in rows[1:]) == len(
        found.of("used", "mapped")) == totals["chunks"]
    assert totals["largest_free"] == max(
        chunk.end - chunk.start for chunk in found.of("free"))
    assert whole["dump"]["findings"] == 0, whole["dump"]
    done = heaptest.heapscan(core, "malloc", "--sort", "used")
    assert done.returncode == 0 and "DAMAGE" not in done.stdout, done.stdout


def library(name, command):
    core = heaptest.tmp("core")
    with heaptest.case(name + ": each chunk"):
        lines = dump(command(), core)
        used, freed, info, text = recorded(lines)
        found = Found(core)
        assert not found.findings, found.findings[:5]
        check_chunks(found, used, freed)
        assert len(found.of("tcache")) > 100, "no tcache"
        assert (len(found.of("fast")) > 100) == (info["smblks"] > 0)
    if not os.path.exists(core):
        return
    with heaptest.case(name + ": sums"):
        check_sums(found, info, text)
    with heaptest.case(name + ": the view"):
        check_view(core, found)
    with heaptest.case(name + ": without any file of the target"):
        assert Found(core, "NONE").chunks == found.chunks
    if "system" in name:
        damaged(name, core, found)
        at_random(name, core, found)
    if "system" in name or "newest" in name:
        twice(name, core, found)
    os.unlink(core)


# ---- Damage

class Spoilt:
    """The core with words changed, for as long as it is looked at."""

    def __init__(self, core):
        self.core, self.before = core, []

    def __enter__(self):
        return self

    def word(self, address):
        with elfcore.ElfCore(self.core) as image:
            return image.word(address)

    def write(self, address, word):
        with elfcore.ElfCore(self.core) as image:
            segment = image.segment_at(address)
            at = segment.offset + address - segment.vaddr
        self.before.append((at, damage.read(self.core, at, 8)))
        damage.patch(self.core, at, struct.pack("<Q", word & (1 << 64) - 1))

    def __exit__(self, *_):
        for at, data in reversed(self.before):
            damage.patch(self.core, at, data)


def some(chunks, arena=0):
    """One in the middle of them."""
    chunks = [chunk for chunk in chunks if chunk.arena == arena]
    return chunks[len(chunks) // 2]


def check_damage(core, found, codes, share=0.2, view=False):
    """The damage is said, and most chunks are found all the same."""
    after = Found(core)
    assert set(codes) & after.codes(), (codes, after.findings[:5])
    before = set(found.of("used", "mapped"))
    kept = before & set(after.of("used", "mapped"))
    assert len(kept) >= (1 - share) * len(before), (len(kept), len(before))
    if view:
        whole = answer(core, status=(0, 3))
        assert whole["dump"]["findings"] > 0
        shown = heaptest.heapscan(core, "malloc")
        assert "\nDAMAGE" in shown.stdout, shown.stdout
    return after


def twice(name, core, found):
    """What was freed twice is in a list twice: the list goes in circles, or two
    lists have it."""
    with heaptest.case(name + ": freed twice"):
        chunk = some(found.of("tcache"))
        with Spoilt(core) as spoilt:
            place = chunk.start + 16
            spoilt.write(place, place ^ place >> 12)
            after = check_damage(core, found, ["malloc-tcache"], view=True)
            assert "freed twice" in str(after.findings), after.findings
        for chunk in found.of("fast")[5:6]:
            with Spoilt(core) as spoilt:
                place = chunk.start + 16
                spoilt.write(place, chunk.start ^ place >> 12)
                after = check_damage(core, found, ["malloc-fast-bin"])
                assert "freed twice" in str(after.findings), after.findings
        ours_, others = ([one for one in found.of("tcache") if one.arena == i
                          and one.end - one.start == 64] for i in (0, 1))
        with Spoilt(core) as spoilt:
            place = ours_[0].start + 16
            spoilt.write(place, others[0].start + 16 ^ place >> 12)
            check_damage(core, found, ["malloc-twice", "malloc-tcache"])


def damaged(name, core, found):
    used = some(found.of("used"))
    with heaptest.case(name + ": sizes overwritten"):
        for word in (0, 0x4141414141414141, used.end - used.start + 64 | 1,
                     33, 0x30 | 2):
            with Spoilt(core) as spoilt:
                spoilt.write(used.start + 8, word)
                after = check_damage(core, found, [
                    "malloc-chunk", "malloc-prev-size", "malloc-listed",
                    "malloc-unlisted"], view=word == 0)
                if word == 0:
                    assert after.arenas[0].lost > 0
    with heaptest.case(name + ": a heap that is overwritten from its middle"):
        with Spoilt(core) as spoilt:
            for i in range(512):
                spoilt.write(used.start + 8 * i, 0x4242424242424242)
            check_damage(core, found, ["malloc-chunk"], 0.3)
    with heaptest.case(name + ": a bin that leads astray"):
        chunk = some(found.of("free"), 1)
        with Spoilt(core) as spoilt:
            spoilt.write(chunk.start + 16, chunk.start)
            after = check_damage(core, found, ["malloc-bin"])
            assert len(after.of("free")) >= len(found.of("free")) - 2
    with heaptest.case(name + ": the top beyond the heap"):
        # In front of the bins, the first of which points 16 bytes before it.
        top = [one.start for one in found.of("top") if one.arena == 0][0]
        arena = found.arenas[0].address
        for word in (0, 1, 0x7FFFFFFFF000, top + (8 << 20)):
            with Spoilt(core) as spoilt:
                at = [at for at in range(arena, arena + 128, 8)
                      if spoilt.word(at) == top]
                spoilt.write(at[0], word)
                check_damage(core, found, ["malloc-top"])
    with heaptest.case(name + ": a ring of arenas that is broken"):
        arena, after = found.arenas[1].address, found.arenas[2].address
        for word in (0, 8, used.start, arena):
            with Spoilt(core) as spoilt:
                at = [at for at in range(arena + 2000, arena + 2400, 8)
                      if spoilt.word(at) == after]
                spoilt.write(at[0], word)
                left = check_damage(core, found, ["malloc-ring"])
                assert {one.address for one in left.arenas} == {
                    one.address for one in found.arenas}


def at_random(name, core, found, runs=25):
    """Whatever malloc's words are, there is an end, and an answer."""
    with heaptest.case(name + ": words changed at random"):
        chance = random.Random(runs)
        headers = [chunk.start for chunk in found.chunks]
        places = [arena.address + 8 * chance.randrange(280)
                  for arena in found.arenas for _ in range(50)]
        places += [header + 8 * chance.randrange(4)
                   for header in chance.sample(headers, 400)]
        places += [(arena.address & ~0x3FFFFFF) + 8 * i
                   for arena in found.arenas[1:] for i in range(4)]
        for run in range(runs):
            with Spoilt(core) as spoilt:
                for place in chance.sample(places, 1 + run % 7):
                    spoilt.write(place, chance.choice([
                        0, 1, chance.choice(headers), chance.getrandbits(64),
                        chance.choice(headers) + 16,
                        chance.randrange(1 << 16),
                        spoilt.word(place) ^ 1 << chance.randrange(40)]))
                done = heaptest.run(
                    [os.path.join(TOOLS, "chunkdump"), core, "COUNT"],
                    timeout=60)
                assert done.returncode == 0 or (
                    done.returncode == 1 and "malloc" in done.stderr), (
                        run, done.returncode, done.stderr)


# ---- Classes, other allocators, Python

def kernels():
    """Who has written the core makes no difference."""
    cores = heaptest.tmp("core"), heaptest.tmp("kernels")
    with heaptest.case("from the kernel's core"):
        dump([ours()], *cores)
        found = Found(cores[1])
        assert not found.findings and found.chunks == Found(cores[0]).chunks
    for core in filter(os.path.exists, cores):
        os.unlink(core)


def classes():
    core = heaptest.tmp("classes")
    with heaptest.case("C++ classes by their vtables"):
        program = heaptest.tmp("cxx")
        done = heaptest.run([heaptest.tool("g++", "g++"), "-O1", CXX, "-o",
                             program])
        assert done.returncode == 0, done.stderr
        dump([program], core)
        found = {row["class"]: row["count"] for row in
                 answer(core)["classes"] if not row["class"].startswith("std")}
        # Of 300 every third is a Secure; every tenth went, each third of them.
        assert found == {"net::Session": 200 - 20, "net::Secure": 100 - 10,
                         "Plain": 7}, found
        os.unlink(core)


def python():
    """Of Python most is in arenas of pymalloc, which are mappings of others."""
    core = heaptest.tmp("python")
    # Free-threaded builds have it all in mimalloc.
    for interpreter in [one for one in heaptest.interpreters(few=True)
                        if not one.free_threaded][-1:]:
        with heaptest.case("%s: its heap agrees with itself" % interpreter):
            script = heaptest.tmp("script.py")
            with open(script, "w") as file:
                file.write("import os, sys\n"
                           "kept = [bytearray(5000 + i) for i in range(3000)]\n"
                           "large = bytearray(3 << 20)\n"
                           "print('READY', os.getpid(), flush=True)\n"
                           "sys.stdin.read()\n")
            with heaptest.start_target(interpreter, script) as target:
                done = heaptest.heapdump("-q", "--max-pause", "1m", "-o", core,
                                         target.pid)
                assert done.returncode == 0, done.stderr
            whole = answer(core, "--sysroot", interpreter.root or "/")
            totals = whole["totals"]
            assert totals["allocator"] == "glibc" and totals["lost"] == 0
            assert whole["dump"]["findings"] == 0, whole
            assert totals["mmapped"] == totals["mmapped_counted"] > 3 << 20
            assert totals["used"] > 3000 * 5000
        os.unlink(core)


def main():
    for name, command in LIBRARIES:
        library(name, command)
    kernels()
    classes()
    python()
    heaptest.finish()


main()
