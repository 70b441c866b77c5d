# SPDX-License-Identifier: Apache-2.0
"""What holds objects from outside of the heap, and what paths to them are
called: each object that roots_target.py has planted is found where it was put,
and the variables of all frames are those that sys._current_frames() tells."""

import collections
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import census_compare
import elfcore
import heaptest
import references

SCRIPT = os.path.join(HERE, "roots_target.py")

Root = collections.namedtuple(
    "Root", "kind hold address holder thread index name module text")


class Dump:
    """What rootdump prints: .roots, .holders {address: [Root]},
    .paths {address: text}."""

    def __init__(self, core, addresses, *options):
        done = heaptest.run([heaptest.program("tests/tools/rootdump"),
                             *options, core, *map("{:x}".format, addresses)])
        assert done.returncode == 0, done.stderr
        self.roots, self.paths = [], {}
        self.holders = collections.defaultdict(list)
        for line in done.stdout.splitlines():
            what, _, rest = line.partition(" ")
            if what == "path":
                address, _, text = rest.partition(" ")
                self.paths[int(address, 16)] = text
                continue
            root = Root(*rest.split(" ", 8))
            if what == "root":
                self.roots.append(root)
            else:
                self.holders[int(root.address, 16)].append(root)
        self.at = collections.defaultdict(list)
        for root in self.roots:
            self.at[int(root.address, 16)].append(root)


def is_there(roots, wanted):
    return any(all(getattr(root, key) == value
                   for key, value in wanted.items()) for root in roots)


def check_plant(line, dump, valued):
    address, thread = line["address"], str(line["thread"])
    if "path" in line:
        wanted = line["path"].replace("THREAD", thread)
        got = dump.paths[address]
        assert re.fullmatch(wanted, got), "path %s, not %s" % (got, wanted)
        wanted = line.get("values", line["path"]).replace("THREAD", thread)
        got = valued.paths[address]
        assert "values" not in line or re.fullmatch(wanted, got), \
            "with values %s, not %s" % (got, wanted)
    if line.get("root"):
        wanted = dict(line["root"])
        if wanted["kind"] in ("thread", "stack"):
            wanted["thread"] = thread
        assert is_there(dump.at[address], wanted), dump.at[address]
    if line.get("holder"):
        wanted = dict(line["holder"])
        if wanted["kind"] == "native-stack":
            wanted["thread"] = thread
        assert is_there(dump.holders[address], wanted), dump.holders[address]
        if "text" in line:
            texts = [root.text for root in dump.holders[address]]
            assert any(re.fullmatch(line["text"], text) for text in texts), \
                texts
    if "not_held_by" in line:
        assert not is_there(dump.holders[address],
                            {"kind": line["not_held_by"]}), \
            dump.holders[address]
    if "owned" in line and dump.frames_are_roots:
        owned = [root for root in dump.at[address] if root.hold == "owned"]
        assert len(owned) == line["owned"], dump.at[address]


def check_frames(frames, dump):
    """Up to 3.10 frames are objects, and a generator's is not a root."""
    missing = []
    locals_of = collections.defaultdict(set)
    for root in dump.roots:
        if root.kind == "local":
            name, _, function = root.text[6:].partition(" in ")
            function = re.match(r"(?:.*\.)?(.*)\(\)", function)
            locals_of[root.thread, function and function[1],
                      name].add(int(root.address, 16))
    for thread, function, of_generator, frame, variables in frames:
        if of_generator:
            continue
        if not dump.frames_are_roots:
            if not is_there(dump.at[frame], {"kind": "frame", "hold": "owned",
                                             "thread": str(thread)}):
                missing.append((thread, function))
            continue
        for name, address in variables.items():
            if address not in locals_of[str(thread), function, name]:
                missing.append((thread, function, name, hex(address)))
    assert not missing, missing
    assert len(frames) > 20


def references_in(core):
    """{address: references that objects own}, {address: guesses}"""
    done = heaptest.run([heaptest.program("tests/tools/refdump"), core])
    assert done.returncode == 0, done.stderr
    owned, guessed = collections.Counter(), collections.Counter()
    for line in done.stdout.splitlines():
        words = line.split(" ", 5)
        if words[0] == "object":
            continue
        if words[4] == "guessed":
            guessed[int(words[1], 16)] += 1
        elif words[4] not in ("none", "deferred"):
            owned[int(words[1], 16)] += 1
    return owned, guessed


def reader_of_counts(interpreter, memory, core):
    """A function of an address: the type of the object, and its count, None if
    it is immortal."""
    hexversion = interpreter.version[0] << 24 | interpreter.version[1] << 16
    if not interpreter.free_threaded:
        def read(address):
            count, cls = memory.words(address, 2)
            count &= 0xffffffff
            return cls, None if count >= 1 << 31 else count
        return read
    others = references.States(memory, core).thread_counts()

    def read_free(address):
        _, flags, shared, cls = memory.words(address, 4)
        word = census_compare.free_word(hexversion, flags, shared)
        return cls, census_compare.free_count(word, others[address])
    return read_free


def check_counts(interpreter, core, dump, types):
    """Lists and dicts that states own: no count is told twice, and what is
    left over is no more than what was guessed."""
    kinds = ["interpreter", "runtime"]
    if dump.frames_are_roots:
        kinds.append("thread")
    owned, guessed = references_in(core)
    wrong, exact = [], 0
    with elfcore.ElfCore(core) as memory:
        read = reader_of_counts(interpreter, memory, core)
        for address, roots in dump.at.items():
            ours = [root for root in roots if root.hold == "owned"]
            if not any(root.kind in kinds for root in ours):
                continue
            cls, count = read(address)
            if cls not in types or count is None:
                continue
            left = count - owned[address] - len(ours)
            maybe = guessed[address] + len(roots) - len(ours)
            exact += left == 0
            if not 0 <= left <= maybe:
                wrong.append((left, maybe, ours))
    assert not wrong, wrong
    assert exact > 10, exact


def test(interpreter):
    census, core = heaptest.tmp("plants"), heaptest.tmp("core")
    with heaptest.start_target(interpreter, SCRIPT, census=census) as target:
        with open(census) as file:
            lines = [json.loads(line) for line in file]
        done = heaptest.heapdump("--max-pause", "1m", "-q", "--no-compress",
                                 "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
    about = lines.pop()
    addresses = [line["address"] for line in lines]
    dump = Dump(core, addresses)
    valued = Dump(core, addresses, "--values")
    dump.frames_are_roots = interpreter.version >= (3, 11)
    for line in lines:
        with heaptest.case("%s: %s" % (interpreter, line["name"])):
            check_plant(line, dump, valued)
    with heaptest.case("%s: frames" % interpreter):
        check_frames(about["frames"], dump)
    with heaptest.case("%s: counts" % interpreter):
        check_counts(interpreter, core, dump, about["types"])
    os.unlink(core)


for interpreter in heaptest.interpreters():
    with heaptest.case("%s: target" % interpreter):
        test(interpreter)
heaptest.finish()
