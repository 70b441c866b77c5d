# SPDX-License-Identifier: Apache-2.0
"""References of a real heap, held against what the interpreter says of each
object (gc.get_referents, and what the collector leaves out but Python tells);
and by them, that every object of the census is held by something: there are
none too many."""

import bisect
import collections
import json
import os
import re
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import elfcore
import heaptest

VARIANTS = (
    ([], "", None),
    (["--no-gc"], " with garbage", None),
    ([], " with debug hooks", {"PYTHONMALLOC": "debug"}),
    ([], " without pymalloc", {"PYTHONMALLOC": "malloc"}),
)

# References that only the code of an extension module knows how to find: in
# memory that it allocated for itself, or, for classes of ctypes, in what their
# dict refers to.
PRIVATE = {"module", "_ctypes.PyCPointerType", "_ctypes.PyCArrayType",
           "_ctypes.PyCFuncPtrType", "_ctypes.PyCSimpleType",
           "_ctypes.PyCStructType", "_ctypes.UnionType"}

# What neither the collector nor Python tells: (type, kind, name).
UNTOLD = {
    ("type", "field", "tp_subclasses"), ("type", "field", "tp_cache"),
    ("__main__.Plain", "dict", "__dict__"), ("type", "dict", "__dict__"), ("type", "field", "tp_dict"), ("type", "field", "ht_slots"),
    ("type", "field", "ht_qualname"), ("type", "field", "ht_module"),
    ("type", "field", "ht_name"), ("type", "field", "tp_bases"),
    ("code", "field", "co_zombieframe"), ("code", "field", "_co_code"),
    ("code", "field", "co_localsplusnames"),
    ("code", "field", "co_localspluskinds"),
    ("code", "field", "-"),     # what _co_cached holds
    ("module", "field", "md_name"),
}

# Types all of whose references the interpreter has told.
TOLD = {"list", "tuple", "dict", "set", "frozenset", "function", "method",
        "cell", "code", "type", "property", "traceback", "collections.deque",
        "module", "weakref.ReferenceType", "functools.partial",
        "wrapper_descriptor", "method_descriptor", "member_descriptor",
        "getset_descriptor", "classmethod_descriptor",
        "__main__.Plain", "__main__.Slotted", "__main__.Both",
        "__main__.SlottedWeak", "__main__.Wide", "__main__.Record",
        "__main__.MyError", "__main__.MyDict", "__main__.MyList",
        "__main__.MyTuple"}

Reference = collections.namedtuple("Reference", "kind address key index borrowed name")


class Heap:
    """What refdump says: .types of objects, .references of each."""

    def __init__(self, dump):
        done = subprocess.run([heaptest.program("tests/tools/refdump"), dump],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.types = {}
        self.references = collections.defaultdict(list)
        for line in done.stdout.splitlines():
            words = line.split(" ", 5)
            if words[0] == "object":
                holder = int(words[1], 16)
                self.types[holder] = int(words[2], 16)
            else:
                self.references[holder].append(Reference(
                    words[0], int(words[1], 16), int(words[2], 16),
                    int(words[3]), words[4] == "borrowed", words[5]))


def pairs(words):
    return zip(words[::2], words[1::2])


def shown(counter):
    return "; ".join("%d of %s" % (count, what)
                     for what, count in counter.most_common(8))


def none_missing(census, heap):
    names = {address: row.name for address, row in census.types.items()}
    missing = collections.Counter()
    have = {holder: {r.address for r in references}
            for holder, references in heap.references.items()}
    for source in (census.references, census.hidden):
        for holder, referent in pairs(source):
            if holder in have and referent not in have[holder] \
                    and referent in heap.types:
                name = names.get(heap.types[holder])
                # Taking a census makes a type ready that was not yet.
                if name not in PRIVATE and \
                        {r.kind for r in heap.references[holder]} != {"type"}:
                    missing[name, hex(holder), hex(referent)] += 1
    assert not missing, "references missing: " + shown(missing)


def none_invented(census, heap):
    """Of types that are told in full, no reference beyond that."""
    names = {address: row.name for address, row in census.types.items()}
    told = collections.defaultdict(set)
    # Some releases visit the values of an instance's dict as the dict's, some
    # as the instance's, and then not the dict.
    for holder, references in heap.references.items():
        for reference in references:
            if reference.kind == "dict":
                told[reference.address] = told[holder]
    for source in (census.references, census.hidden):
        for holder, referent in pairs(source):
            told[holder].add(referent)
    invented = collections.Counter()
    for thing in census:
        name = names[thing.type]
        if name not in TOLD:
            continue
        references = heap.references[thing.address]
        # The table of interned strings, which forgets those that die.
        interned = {r.key for r in references
                    if r.kind == "value" and r.key == r.address}
        for reference in references:
            if reference.address in interned:
                continue
            what = (name, reference.kind, reference.name)
            if reference.kind not in ("type", "guess") \
                    and not reference.borrowed \
                    and reference.address not in told[thing.address] \
                    and what not in UNTOLD:
                invented[what] += 1
    assert not invented, "references invented: " + shown(invented)


class Modules:
    """Where files were loaded, bss included, by the program headers in their
    first pages."""

    def __init__(self, core):
        self.core = core
        self.spans = sorted(self.span(file.start) for file in core.files()
                            if file.offset == 0)
        self.starts = [start for start, _ in self.spans]

    def span(self, start):
        try:
            header = self.core.read(start, elfcore.EHDR.size)
            fields = elfcore.EHDR.unpack(header)
            phoff, phnum = fields[5], fields[10]
            loads = [row for row in (elfcore.PHDR.unpack(self.core.read(
                start + phoff + i * elfcore.PHDR.size, elfcore.PHDR.size))
                for i in range(phnum if header[:4] == b"\x7fELF" else 0))
                if row[0] == elfcore.PT_LOAD]
        except elfcore.Missing:
            loads = []
        if not loads:
            return start, start
        bias = start - (min(row[3] for row in loads) & ~0xFFF)
        return start, max(row[3] + row[6] for row in loads) + bias

    def hold(self, address):
        i = bisect.bisect_right(self.starts, address) - 1
        return i >= 0 and address < self.spans[i][1]

    def words(self):
        """Of their writable data, as far as the core has them."""
        for segment in self.core.segments:
            if segment.flags & elfcore.PF_W:
                end = segment.vaddr + segment.filesz
                for start, stop in self.spans:
                    low = max(start + 7 & ~7, segment.vaddr)
                    high = min(stop, end)
                    if low < high:
                        yield from self.core.words(low, (high - low) // 8)


class States:
    """The interpreters' states and those of their threads, by the layout
    tables (test_layouts.py holds those against the interpreter's own)."""

    def __init__(self, core, dump):
        self.core = core
        done = subprocess.run(
            [heaptest.program("tests/tools/runtimeinfo"), dump],
            capture_output=True, text=True, check=True)
        self.minor = int(re.search(r"^minor=(\d+)", done.stdout, re.M)[1])
        self.interpreters = [int(address, 16) for address in re.findall(
            r"^interpreter=.* address=(0x\w+)", done.stdout, re.M)]
        layouts = subprocess.run(
            [heaptest.program("tests/tools/layoutdump")],
            capture_output=True, text=True, check=True)
        self.at = {}
        for line in layouts.stdout.splitlines():
            words = line.split()
            if words[0] == "3.%d" % self.minor:
                self.at[words[1], words[2]] = int(words[3]), int(words[4])

    def size(self, structure):
        return self.at[structure, "-"][1]

    def field(self, address, structure, member):
        if not address or (structure, member) not in self.at:
            return 0
        return self.core.word(address + self.at[structure, member][0])

    def spans(self):
        """(address, bytes) of what they keep."""
        for interpreter in self.interpreters:
            yield interpreter, self.size("PyInterpreterState")
            state = (self.field(interpreter, "PyInterpreterState",
                                "threads.head")
                     or self.field(interpreter, "PyInterpreterState",
                                   "tstate_head"))
            while state:
                # Each has private members behind the public ones.
                yield state, self.size("PyThreadState") + 256
                chunk = self.field(state, "PyThreadState", "datastack_chunk")
                while chunk:
                    previous, size = self.core.words(chunk, 2)
                    yield chunk, size
                    chunk = previous
                state = self.field(state, "PyThreadState", "next")

    def words(self):
        for address, size in self.spans():
            # The core leaves out pages that are zero.
            for at in range(address, address + size & ~7, 8):
                try:
                    yield self.core.word(at)
                except elfcore.Missing:
                    pass


def stack_words(core):
    """Words of the threads' native stacks, from their stack pointers on."""
    register = {"x86-64": 19, "aarch64": 31}[core.machine]
    for note in core.notes():
        if note.name != "CORE" or note.type != elfcore.NT_PRSTATUS:
            continue
        sp, = struct.unpack_from("<Q", note.desc, 112 + 8 * register)
        segment = core.segment_at(sp)
        if segment:
            end = segment.vaddr + segment.filesz
            yield from core.words(sp, min(end - sp, 8 << 20) // 8)


def private_words(core, address):
    """What a C structure begins with that an object keeps for itself."""
    try:
        return core.words(address, 4)
    except elfcore.Missing:
        return ()


def reach(heap, core, seen, private):
    """Add what is held by those seen; of private types, also by memory that
    only their own code knows: a _io.StringIO has a PyUnicodeWriter."""
    pending = list(seen)
    while pending:
        holder = pending.pop()
        held = [r.address for r in heap.references[holder]]
        if heap.types[holder] in private:
            held += [word for r in heap.references[holder]
                     if r.kind == "guess" and r.address not in heap.types
                     for word in private_words(core, r.address)]
        for address in held:
            if address in heap.types and address not in seen:
                seen.add(address)
                pending.append(address)


def none_too_many(census, heap, core, dump):
    """Every object is reached from those of the twin and from roots."""
    names = {address: row.name for address, row in census.types.items()}
    modules = Modules(core)
    seen = {thing.address for thing in census} & heap.types.keys()
    seen |= {address for address in heap.types if modules.hold(address)}
    for words in (modules.words(), stack_words(core),
                  States(core, dump).words()):
        seen |= {word & ~3 for word in words if word & ~3 in heap.types}
    reach(heap, core, seen, {address for address, name in names.items()
                             if name == "_io.StringIO"})
    left = [address for address in heap.types if address not in seen]
    assert not left, "held by nothing: %s; %s" % (
        shown(collections.Counter(names.get(heap.types[address], "?")
                                  for address in left)),
        " ".join(map(hex, left[:8])))


def evidence_follows(heap, dump):
    """Certain is what is in a GC list or referred to by an object, by a
    reference that is no guess; of all else at most what the runtime itself has
    pointers to."""
    path = heaptest.tmp("objects.ndjson")
    done = heaptest.heapscan(dump, "objects", "--top", "0", "-f", "ndjson",
                             "-o", path)
    assert done.returncode == 0, done.stderr
    evidence = {}
    held = {reference.address for references in heap.references.values()
            for reference in references
            if reference.kind not in ("guess", "type")}
    wrong, certain = [], 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            evidence[row["address"]] = row["evidence"]
            certain += row["evidence"] == "certain"
            if int(row["address"], 16) in held \
                    and row["evidence"] != "certain":
                wrong.append("%s %s" % (row["address"], row["type"]))
    os.unlink(path)
    assert not wrong, "held, but not certain: " + ", ".join(wrong[:8])
    assert certain > len(heap.types) // 2
    return evidence


def evidence_of_few(dump, evidence):
    """Of a few objects it is found out in another way, with the same result:
    also of those that only the middle of a deque holds, or nothing."""
    for options in (["--top", "500"], ["--top", "900", "--type", "float"],
                    ["--top", "200", "--type", "str"],
                    ["--top", "40", "--type", "bytes"],
                    ["--top", "3", "--type", "object"],
                    ["--top", "1", "--type", "int"],
                    ["--top", "100", "--sort", "refcount"]):
        done = heaptest.heapscan(dump, "objects", "-f", "json", *options)
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)["rows"]
        assert rows, options
        wrong = ["%s %s: %s, not %s" % (row["address"], row["type"],
                                        row["evidence"],
                                        evidence[row["address"]])
                 for row in rows if row["evidence"] != evidence[row["address"]]]
        assert not wrong, "%s: %s" % (" ".join(options), ", ".join(wrong[:5]))


def test(interpreter, args, label, env):
    census_path, dump = heaptest.tmp("census"), heaptest.tmp("core")
    with heaptest.start_target(interpreter, args=["--scale", 300, *args],
                               census=census_path, env=env) as target:
        census = heaptest.Census(census_path)
        done = heaptest.heapdump("--max-pause", "1m", "-q", "--no-compress",
                                 "-o", dump, target.pid)
        assert done.returncode == 0, done.stderr
    heap = Heap(dump)
    who = "%s%s: " % (interpreter, label)
    with heaptest.case(who + "no reference is missing"):
        none_missing(census, heap)
    with heaptest.case(who + "none is invented"):
        none_invented(census, heap)
    with heaptest.case(who + "no object is held by nothing"):
        with elfcore.ElfCore(dump) as core:
            none_too_many(census, heap, core, dump)
    with heaptest.case(who + "evidence"):
        evidence_of_few(dump, evidence_follows(heap, dump))
    os.unlink(dump)


for interpreter in heaptest.interpreters():
    for args, label, env in VARIANTS:
        with heaptest.case("%s%s: target" % (interpreter, label)):
            if interpreter.free_threaded:
                raise heaptest.Skip("free-threaded heaps are not enumerated "
                                    "in this version")
            test(interpreter, args, label, env)
heaptest.finish()
