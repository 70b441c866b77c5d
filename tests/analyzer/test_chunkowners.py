# SPDX-License-Identifier: Apache-2.0
"""heapscan malloc --by owner: a program in C++ and one in Python say of each of
their chunks who holds it; memcheck says of the first what is lost; a Python that
loses nothing shows nothing lost."""

import bisect
import collections
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

OWNERDUMP = os.path.join(heaptest.BUILD, "tests", "tools", "ownerdump")
NATIVE = os.path.join(HERE, "leaks_target.cc")
PYTHON = os.path.join(HERE, "leaks_target.py")

Chunk = collections.namedtuple("Chunk", "end owner inside head name")


def owners(core, status=(0,)):
    """{address: Chunk} as ownerdump has it."""
    done = heaptest.run([OWNERDUMP, core], timeout=120)
    assert done.returncode in status, (done.returncode, done.stderr)
    found = {}
    for line in done.stdout.splitlines():
        word, address, end, owner, inside, head, name = line.split(" ", 6)
        assert word == "CHUNK"
        found[int(address)] = Chunk(int(end), owner, int(inside), int(head),
                                    name)
    return found


def dump(core, pid, content="full"):
    done = heaptest.heapdump("-q", "--no-compress", "--content", content,
                             "--max-pause", "1m", "-o", core, pid)
    assert done.returncode == 0, done.stderr


def view(core, *options, status=0):
    done = heaptest.heapscan(core, "malloc", "--by", "owner", "--top", "0",
                             "--no-progress", "--no-index", *options)
    assert done.returncode == status, (done.returncode, done.stderr)
    return done.stdout


def answer(core, *options):
    return json.loads(view(core, "-f", "json", *options))


def check_view(core, found):
    """The view sums up what ownerdump says chunk by chunk."""
    whole = answer(core)
    totals, rows = whole["totals"], whole["rows"]
    counts = collections.Counter(chunk.owner for chunk in found.values())
    assert totals["chunks"] == len(found) == sum(row["chunks"] for row in rows)
    assert totals["leaked_chunks"] == counts["lost"]
    assert totals["leaked_with_chunks"] == counts["lost-with"]
    assert totals["owners"] == len(rows)
    assert totals["size"] == sum(row["size"] for row in rows) == sum(
        totals[key] for key in ("objects", "buffers", "referred", "leaked",
                                "leaked_with"))
    groups = whole["leaks"]
    assert sum(row["count"] for row in groups) == counts["lost"]
    assert sum(row["with"] for row in groups) == counts["lost-with"]
    assert sum(row["size"] for row in groups) == totals["leaked"]
    assert sum(row["with_size"] for row in groups) == totals["leaked_with"]
    for row in groups:
        chunk = found[int(row["sample"], 16)]
        assert chunk.owner == "lost"
        assert chunk.end - int(row["sample"], 16) + 16 == row["chunk_size"]
    assert [row["size"] for row in rows] == sorted(
        (row["size"] for row in rows), reverse=True)
    assert view(core, "--fail-if", "leaked_chunks>%d" % counts["lost"])
    view(core, "--fail-if", "leaked_chunks>=%d" % counts["lost"], status=5)
    assert "MALLOC  by owner" in view(core)
    # No number of workers matters, and no budget.
    one, three = (view(core, "-f", "json", "--sort", "chunks", *options)
                  for options in (("--threads", "1"),
                                  ("--threads", "3", "--memory", "1")))
    assert one == three
    chunks = [row["chunks"] for row in json.loads(one)["rows"]]
    assert chunks == sorted(chunks, reverse=True)
    return whole


def check_object(core, address, words):
    done = heaptest.heapscan(core, "object", "%#x" % (address + 8),
                             "--no-index")
    assert done.returncode == 1 and words in done.stderr, (words, done.stderr)
    assert "(at %#x)" % address in done.stderr, done.stderr


# ---- C++

def compiled():
    program = heaptest.tmp("leaks")
    done = heaptest.run([heaptest.tool("g++", "g++"), "-O1", NATIVE, "-o",
                         program, "-lpthread"])
    assert done.returncode == 0, done.stderr
    return program


def native(program, core):
    process = subprocess.Popen([program], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, encoding="ascii")
    try:
        wants = []
        for line in process.stdout:
            word, *rest = line.split()
            if word == "READY":
                break
            wants.append((rest[0], *map(int, rest[1:])))
        dump(core, process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    found = owners(core)
    wrong = []
    for owner, inside, head, address, name in wants:
        chunk = found.get(address)
        if not chunk or (chunk.owner, chunk.inside, chunk.head) != (
                owner, inside, head) or (name and chunk.name != str(name)) \
                or (owner == "module" and chunk.name != program):
            wrong.append((owner, inside, hex(head), hex(address), name, chunk))
    assert len(wants) > 130 and not wrong, (len(wrong), wrong[:5])
    lost = {address for address, chunk in found.items()
            if chunk.owner.startswith("lost")}
    assert lost == {want[3] for want in wants if want[0].startswith("lost")}
    return found


def check_classes(core, found):
    whole = check_view(core, found)
    sessions = [row for row in whole["leaks"]
                if row.get("class") == "net::Session"]
    assert len(sessions) == 1, whole["leaks"]
    assert (sessions[0]["count"], sessions[0]["with"]) == (30, 30), sessions
    row = [row for row in whole["rows"] if row["owner"] == "leaks"][0]
    assert row["kind"] == "module" and row["chunks"] == 7, row
    # The one that only a pointer into its middle leads to.
    assert row["inside"] == 112, row


def memcheck(program, found):
    done = heaptest.run([heaptest.tool("valgrind", "valgrind"),
                         "--leak-check=full", program, "once"],
                        stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"(definitely|indirectly) lost: .* in ([\d,]+) blocks",
                      done.stderr)[:2]
    said = {word: int(count.replace(",", "")) for word, count in said}
    counts = collections.Counter(chunk.owner for chunk in found.values())
    if not said:
        raise heaptest.Skip("memcheck.h was not there, so it is not asked in "
                            "time")
    assert said == {"definitely": counts["lost"],
                    "indirectly": counts["lost-with"]}, (said, counts)


def at_random(core, found, runs=12):
    """Whatever malloc's words and pointers are, there is an end to it."""
    chance = random.Random(runs)
    places = [address - 16 + 8 * i for address in found for i in range(4)]
    with elfcore.ElfCore(core) as image:
        at = {place: image.segment_at(place).offset + place
              - image.segment_at(place).vaddr for place in places}
    for run in range(runs):
        chosen = chance.sample(places, 1 + 20 * run)
        before = [(at[place], damage.read(core, at[place], 8))
                  for place in chosen]
        for offset, _ in before:
            damage.patch(core, offset, struct.pack("<Q", chance.choice([
                0, 1, chance.choice(places), chance.getrandbits(64),
                chance.randrange(1 << 16)])))
        found = owners(core, status=(0, 1))
        for offset, data in reversed(before):
            damage.patch(core, offset, data)


def programs():
    core = heaptest.tmp("core")
    program = found = None
    with heaptest.case("each chunk of a program in C++"):
        program = compiled()
        found = native(program, core)
    if not found:
        return
    with heaptest.case("lost instances of classes"):
        check_classes(core, found)
    with heaptest.case("the same as memcheck says"):
        memcheck(program, found)
    with heaptest.case("words changed at random"):
        at_random(core, found)
    os.unlink(core)


# ---- Python

def wanted(text):
    for owner, name, address in re.findall(r"^WANT (\S+) (\S+) (\d+)$", text,
                                           re.M):
        yield owner, name, int(address)


def check_python(core, text):
    found = owners(core)
    starts = sorted(found)
    lost, others = 0, []
    for owner, name, address in wanted(text):
        # A table or an object begins some words into its chunk.
        chunk = found[starts[bisect.bisect(starts, address) - 1]]
        assert chunk and address < chunk.end, (owner, name, hex(address))
        if owner == "lost":
            lost += chunk.owner in ("lost", "lost-with")
        elif (chunk.owner, chunk.name) != (owner, name):
            others.append((owner, name, hex(address), chunk))
    # Some number or remains of a pointer may look like one of them, or lead into
    # the middle of one of the hundred links of a chain.
    assert 490 <= lost <= 500, lost
    # What is behind that link goes with it, to the end.
    for i, (owner, name, _, chunk) in enumerate(others):
        assert (owner, name, chunk.owner, chunk.inside, chunk.name) == (
            "by-object", "ctypes.c_void_p", "by-object", int(i == 0),
            others[0][3].name), others
    links = [hex(address) for _, name, address in wanted(text)
             if name == "ctypes.c_void_p"][-100:]
    assert len(others) <= 1 or [address for _, _, address, _ in others] == (
        links[-len(others):]), (others, links)
    whole = check_view(core, found)
    # What leaks comes first.
    assert whole["leaks"][0]["count"] > 100 \
        and whole["leaks"][0]["chunk_size"] in (1008, 1024), whole["leaks"][:3]
    lost = [address for owner, _, address in wanted(text) if owner == "lost"
            and found[address].owner == "lost"]
    check_object(core, lost[0], "in a chunk of malloc of")
    check_object(core, lost[0], "that nothing leads to")
    held = [address for owner, name, address in wanted(text)
            if name == "ctypes.c_void_p"]
    check_object(core, held[1], "that a ctypes.c_void_p leads to")


def healthy(core):
    whole = answer(core)
    leaked = whole["totals"]["leaked"] + whole["totals"]["leaked_with"]
    assert leaked <= 4096, whole["leaks"]
    # And nobody else is told to have what Python has.
    assert whole["totals"]["referred"] > 0, whole["totals"]
    # A page of the C library that it asks not to dump.
    assert whole["totals"]["missing"] <= 4096, whole["totals"]


def python():
    core = heaptest.tmp("python")
    # With numpy.
    extended = heaptest.with_extensions()
    found = heaptest.interpreters(few=True) + sorted(
        extended, key=lambda one: one.version)[-1:]
    for interpreter in found:
        with heaptest.case("%s: who holds what" % interpreter):
            with heaptest.start_target(interpreter, PYTHON, ["many"]) as target:
                text = target.printed()
                dump(core, target.pid)
            check_python(core, text)
        with heaptest.case("%s: nothing is lost" % interpreter):
            if os.path.exists(core):
                os.unlink(core)
            with heaptest.start_target(interpreter, PYTHON) as target:
                dump(core, target.pid)
            healthy(core)
        if os.path.exists(core):
            os.unlink(core)


def main():
    programs()
    python()
    heaptest.finish()


main()
