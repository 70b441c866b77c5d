# SPDX-License-Identifier: Apache-2.0
"""References of a real heap, held against what the interpreter says of each
object (gc.get_referents, and what the collector leaves out but Python tells);
and by them, that every object of the census is held by something: there are
none too many. Who calls these has the census of a twin (heaptest.Census) and a
core.

Heaps have a million references and more, so what can be said with sets of all
of them is said so, and only the differences are looked at one by one."""

import array
import bisect
import collections
import itertools
import os
import re
import struct
import subprocess

import census_compare
import elfcore
import heaptest

# What these refer to is only in part known to us: their own code keeps it in
# memory that it allocated for itself, as many blocks deep as is said here. See
# Private. Of modules the first block is their state, which is known.
PRIVATE = {
    "pyexpat.xmlparser": 1,     # the array of handlers
    "PyCapsule": 1,             # the context of its traverse function
    "module atexit": 2,         # an array of callbacks
    "module _decimal": 1,       # tables of signals
    "module _zoneinfo": 8,      # the list of the 8 zones used last
    "module _hmac": 6,          # a hash table, of chains of entries with values
}

# These tell as theirs what objects of another type hold for them: the dict of a
# class of ctypes is more than a dict, a cache of sqlite3 has a list of nodes.
HELD_BY = dict.fromkeys((
    "_ctypes.PyCPointerType", "_ctypes.PyCArrayType", "_ctypes.PyCFuncPtrType",
    "_ctypes.PyCSimpleType", "_ctypes.PyCStructType", "_ctypes.UnionType"),
    "StgDict")
HELD_BY["sqlite3.Cache"] = "sqlite3.Node"

# What neither the collector nor Python tells: (type, kind, name).
UNTOLD = {
    ("type", "field", "tp_subclasses"), ("type", "field", "tp_cache"),
    ("__main__.Plain", "dict", "__dict__"), ("type", "dict", "__dict__"),
    ("type", "field", "tp_dict"), ("type", "field", "ht_slots"),
    ("type", "field", "ht_qualname"), ("type", "field", "ht_module"),
    ("type", "field", "ht_name"), ("type", "field", "tp_bases"),
    ("type", "key", "-"),       # names that instances share
    ("code", "field", "co_zombieframe"), ("code", "field", "_co_code"),
    ("code", "field", "co_localsplusnames"),
    ("code", "field", "co_localspluskinds"),
    ("code", "field", "-"),     # what _co_cached holds
    ("module", "field", "md_name"),
}

# Of these the collector's view is not compared: what is behind it.
OTHERWISE_VISITED = {
    "module": "its state is known to its own code, and guessed here",
    "PyCapsule": "its traverse function is anybody's",
    "pyexpat.xmlparser": "its array of handlers moved in micro releases",
    "_ctypes.PyCPointerType": "up to 3.12 it visits what its StgDict holds",
    "typing.TypeVar": "its name is visited since a micro release of 3.13",
    "typing.ParamSpec": "the same", "typing.TypeVarTuple": "the same",
    "typing.TypeAliasType": "the same",
}

# So many of a million objects may have counts that nothing found explains: C
# code holds them in memory that it allocated, as the interpreter of 3.10 does its
# identifiers.
UNEXPLAINED = 2000

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

Kind = collections.namedtuple("Kind", "kind hold name")


class Heap:
    """What refdump says of all references, in the order of their holders.

    .types      {address: address of the type} of each object
    .holders .referents .numbers
                columns: who refers, to what, and the number of the kind
    .kinds      a Kind for each number
    """

    def __init__(self, dump):
        path = heaptest.tmp("references")
        done = heaptest.run([heaptest.program("tests/tools/refdump"),
                             "--words", path, dump])
        assert done.returncode == 0, done.stderr
        words = array.array("Q")
        with open(path, "rb") as file:
            words.fromfile(file, os.path.getsize(path) // 8)
        os.unlink(path)
        self.kinds = [Kind(*line.split(" ", 2))
                      for line in done.stdout.splitlines()]
        self.holders, self.referents = words[0::3], words[1::3]
        self.numbers = words[2::3]
        self.types = dict(self.of_kinds({"type"}))

    def chosen(self, column, wanted):
        """(holder, referent) of those rows of which this column is in a set."""
        return itertools.compress(zip(self.holders, self.referents),
                                  map(wanted.__contains__, column))

    def of_kinds(self, wanted):
        """(holder, referent) of references of some kinds, named by a set or
        told by a function of a Kind."""
        if isinstance(wanted, set):
            names, wanted = wanted, lambda kind: kind.kind in names
        return self.chosen(self.numbers, {
            number for number, kind in enumerate(self.kinds) if wanted(kind)})


def pairs(words):
    return zip(words[::2], words[1::2])


def shown(counter):
    return "; ".join("%d of %s" % (count, what)
                     for what, count in counter.most_common(8))


def is_known(kind):
    """Neither that of a type nor a word that may be no reference at all."""
    return kind.kind not in ("type", "guess")


def is_firm(kind):
    """And the holder's own."""
    return is_known(kind) and is_owned(kind)


def is_owned(kind):
    return kind.hold in ("traversed", "untraversed")


def is_visited(kind):
    """By the collector, be it that it takes a count for it or not."""
    return kind.hold in ("traversed", "deferred")


class Modules:
    """Where files were loaded, bss included, by the program headers in their
    first pages."""

    def __init__(self, core):
        self.core = core
        self.spans = []
        for start in sorted(file.start for file in core.files()
                            if file.offset == 0):
            # lld maps the first page of a small file again, as part of its text.
            if not self.spans or start >= self.spans[-1][1]:
                self.spans.append(self.span(start))
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


def layout_of(version, free_threaded):
    """{(struct, member): (offset, bytes)} of a release, by the layout tables
    (test_layouts.py holds those against the interpreter's own)."""
    done = subprocess.run([heaptest.program("tests/tools/layoutdump")],
                          capture_output=True, text=True, check=True)
    flags, at = "t" if free_threaded else "", {}
    for line in done.stdout.splitlines():
        words = line.split()
        span = re.fullmatch(r"3\.(\d+)(?:\.(\d+))?(t?)(?:-3\.\d+\.(\d+)t?)?",
                            words[0])
        if span and int(span[1]) == version[1] and span[3] == flags and (
                span[2] is None or int(span[2]) <= version[2]
                <= int(span[4] or span[2])):
            at[words[1], words[2]] = int(words[3]), int(words[4])
    return at


class States:
    """The interpreters' states and those of their threads."""

    def __init__(self, core, dump):
        self.core = core
        done = subprocess.run(
            [heaptest.program("tests/tools/runtimeinfo"), dump],
            capture_output=True, text=True, check=True)
        version = int(re.search(r"^version=(\w+)", done.stdout, re.M)[1], 0)
        self.free_threaded = "\nfree_threaded=1\n" in done.stdout
        self.interpreters = [int(address, 16) for address in re.findall(
            r"^interpreter=.* address=(0x\w+)", done.stdout, re.M)]
        self.at = layout_of((3, version >> 16 & 255, version >> 8 & 255),
                            self.free_threaded)

    def size(self, structure):
        return self.at[structure, "-"][1]

    def field(self, address, structure, member):
        if not address or (structure, member) not in self.at:
            return 0
        return self.core.word(address + self.at[structure, member][0])

    def threads(self, interpreter):
        state = (self.field(interpreter, "PyInterpreterState", "threads.head")
                 or self.field(interpreter, "PyInterpreterState",
                               "tstate_head"))
        while state:
            yield state
            state = self.field(state, "PyThreadState", "next")

    def thread_counts(self):
        """{address: what threads count for it in arrays of their own}, in
        free-threaded builds: the table says whose place is which, and leads
        from those that are free to the next one."""
        counts = collections.Counter()
        for interpreter in self.interpreters:
            table, size = (self.field(interpreter, "PyInterpreterState",
                                      "unique_ids." + name)
                           for name in ("table", "size"))
            owners = self.core.words(table, size) if table else ()
            for state in self.threads(interpreter):
                values, length = (self.field(state, "_PyThreadStateImpl",
                                             "refcounts." + name)
                                  for name in ("values", "size"))
                if not values or not owners:
                    continue
                for owner, count in zip(owners, self.core.words(values,
                                                                length)):
                    counts[owner] += (count ^ 1 << 63) - (1 << 63)
        return counts

    def spans(self):
        """(address, bytes) of what they keep."""
        for interpreter in self.interpreters:
            yield interpreter, self.size("PyInterpreterState")
            for state in self.threads(interpreter):
                # Each has private members behind the public ones.
                yield state, self.size("_PyThreadStateImpl") \
                    if self.free_threaded else self.size("PyThreadState") + 256
                chunk = self.field(state, "PyThreadState", "datastack_chunk")
                while chunk:
                    previous, size = self.core.words(chunk, 2)
                    yield chunk, size
                    chunk = previous

    def words(self):
        for address, size in self.spans():
            # The core leaves out pages that are zero.
            for at in range(address, address + size & ~7, 8):
                try:
                    word = self.core.word(at)
                except elfcore.Missing:
                    continue
                yield word
                if self.free_threaded and word and word % 16 == 0:
                    yield from self.table_words(word)

    def table_words(self, address):
        """Keys of a _Py_hashtable_t, if there is one: free-threaded builds keep
        one of each constant of all code."""
        try:
            entries, buckets, array = self.core.words(address, 3)
            if not 0 < entries < 1 << 24 or buckets & buckets - 1 \
                    or not 16 <= buckets < 1 << 24:
                return
            for entry in self.core.words(array, buckets):
                while entry:
                    entry, _, key, value = self.core.words(entry, 4)
                    yield key
                    yield value
        except elfcore.Missing:
            pass


def stack_pointers(core):
    """The threads' stack pointers."""
    register = {"x86-64": 19, "aarch64": 31}[core.machine]
    for note in core.notes():
        if note.name == "CORE" and note.type == elfcore.NT_PRSTATUS:
            yield struct.unpack_from("<Q", note.desc, 112 + 8 * register)[0]


def stack_words(core):
    """Words of the threads' native stacks, from their stack pointers on."""
    for sp in stack_pointers(core):
        segment = core.segment_at(sp)
        if segment:
            end = segment.vaddr + segment.filesz
            yield from core.words(sp, min(end - sp, 8 << 20) // 8)


class Private:
    """Memory that only the code of a type knows, and what it holds.

    Of an instance of the types in PRIVATE, a word that is no reference we know
    may point at a block of the type's own. All words of that block that are
    addresses of objects count as references, and where the table says so those
    of further blocks that it points at. A block is what the allocator says: of
    pymalloc's, what the header of its pool says, of mimalloc's, what the header
    of its segment says of its page, else what malloc has written before it. The
    block of an object is not private.
    """

    POOL_HEADER = struct.Struct("<QQQQIIII")
    HEADS = 0, 16, 32           # what lies before an object in its block

    def __init__(self, census, heap, core):
        self.core, self.heap = core, heap
        version = census.hexversion >> 16 & 255, census.hexversion >> 8 & 255
        self.at = layout_of((3, *version), True) if not census.gil else {}
        # What comes before the text of a compact str, and its length.
        self.length = 16 if census.gil else 32
        self.pool = 4096 if census.hexversion < 0x030A0000 else 16384
        self.text = 48 if census.hexversion < 0x030C0000 else \
            self.length + 24
        self.depth = self.depths(census)
        self.pointers = collections.defaultdict(set)
        for holder, referent in heap.of_kinds({"guess"}):
            if holder in self.depth and referent not in heap.types:
                self.pointers[holder].add(referent)

    def depths(self, census):
        """{address: blocks} of all that have private memory."""
        names = {address: row.name for address, row in census.types.items()}
        private = {address: PRIVATE[name] for address, name in names.items()
                   if name in PRIVATE}
        found = {address: private[cls]
                 for address, cls in self.heap.types.items() if cls in private}
        for holder, name in self.heap.of_kinds(
                lambda kind: kind.name == "md_name"):
            length = min(self.core.word(name + self.length), 99)
            name = self.core.read(name + self.text, length).decode("latin1")
            found[holder] = PRIVATE.get("module " + name, 0)
        return found

    def mimalloc_block(self, address):
        """(start, end) of the block of mimalloc that holds an address."""
        segment, slices = address & -(32 << 20), self.at["mi_segment_s",
                                                         "slices"]
        each = self.at["mi_page_s", "-"][1]

        def part(index, member):
            offset, length = self.at["mi_page_s", member]
            return int.from_bytes(self.core.read(
                segment + slices[0] + index * each + offset, length), "little")
        index = (address - segment) >> 16
        index -= part(index, "slice_offset") // each
        if self.at.get(("mi_page_s", "page_start"), (0, 0))[1]:
            start = part(index, "page_start")
            size = part(index, "block_size")
        else:
            size = part(index, "xblock_size")
            start = segment + (index << 16) + (
                3 * size if size <= 64 else size if size <= 512 else 0)
        if size < 8 or not start <= address < segment + (
                index + part(index, "slice_count") << 16):
            return None
        at = address - (address - start) % size
        return at, at + size

    def block(self, address):
        """(start, end) of the allocated block that holds an address."""
        if self.at:
            try:
                found = self.mimalloc_block(address)
                if found:
                    return found
            except elfcore.Missing:
                pass
        pool = address & -self.pool
        try:
            count, _, _, _, _, index, used, last = self.POOL_HEADER.unpack(
                self.core.read(pool, self.POOL_HEADER.size))
            size, at = (index + 1) * 16, address - pool - self.POOL_HEADER.size
            if index < 32 and 0 < count <= self.pool // size and at >= 0 \
                    and last == self.pool - size and used <= self.pool:
                start = address - at % size
                return start, start + size
        except elfcore.Missing:
            pass
        try:
            head = self.core.word(address - 8)
            size = head & ~7
            end = address - 16 + size
            if address % 16 == 0 and size >= 32 and size % 16 == 0 \
                    and (end % 4096 == 0 if head & 2
                         else self.core.word(end + 8) & 1):
                return address, end + (0 if head & 2 else 8)
        except elfcore.Missing:
            pass
        return None

    def held_by(self, holder):
        """Addresses of the objects that private memory of this one holds."""
        held, seen, at = set(), set(), self.pointers.get(holder, ())
        for _ in range(self.depth.get(holder, 0)):
            words = set()
            for block in set(map(self.block, at)) - seen - {None}:
                seen.add(block)
                start, end = block
                if any(start + head in self.heap.types
                       for head in self.HEADS if head < end - start):
                    continue
                try:
                    words.update(self.core.words(start, (end - start) // 8))
                except elfcore.Missing:
                    pass
            held |= words & self.heap.types.keys()
            at = words - held
        return held


def told_by(census):
    """All (holder, referent) that the interpreter tells."""
    told = set(pairs(census.references))
    told.update(pairs(census.hidden))
    return told


def held_through(heap, names, holders):
    """{holder: addresses} of what others hold for these: see HELD_BY."""
    links = {address: HELD_BY[names[cls]] for address, cls in heap.types.items()
             if address in holders and names.get(cls) in HELD_BY}
    kinds = {address: name for address, name in names.items()
             if name in links.values()}
    edges = collections.defaultdict(list)
    for holder, referent in heap.chosen(heap.holders, links.keys() | {
            address for address, cls in heap.types.items() if cls in kinds}):
        edges[holder].append(referent)
    held = {}
    for holder, link in links.items():
        held[holder], pending = set(), [holder]
        while pending:
            for referent in edges[pending.pop()]:
                if referent not in held[holder]:
                    held[holder].add(referent)
                    if kinds.get(heap.types.get(referent)) == link:
                        pending.append(referent)
    return held


def none_missing(census, told, heap, private):
    """Of what the interpreter tells, all is there."""
    missing = [(holder, referent) for holder, referent in
               told.difference(zip(heap.holders, heap.referents))
               if holder in heap.types and referent in heap.types]
    if not missing:
        return
    names = {address: row.name for address, row in census.types.items()}
    # Taking a census makes a type ready that was not yet.
    ready = collections.Counter(holder for holder, _ in heap.chosen(
        heap.holders, {holder for holder, _ in missing}))
    through = held_through(heap, names, {holder for holder, _ in missing})
    missing = collections.Counter(
        (names.get(heap.types[holder]), hex(holder), hex(referent))
        for holder, referent in missing
        if ready[holder] > 1 and referent not in private.held_by(holder)
        and referent not in through.get(holder, ()))
    assert not missing, "references missing: " + shown(missing)


def none_invented(census, told, heap):
    """Of types that are told in full, no reference beyond that."""
    names = {address: row.name for address, row in census.types.items()}
    # Some releases visit the values of an instance's dict as the dict's, some
    # as the instance's, and then not the dict.
    other = {}
    for holder, referent in heap.of_kinds({"dict"}):
        other[holder], other[referent] = referent, holder
    there = set(census.column("address"))
    untold = {(holder, referent) for holder, referent in itertools.filterfalse(
        told.__contains__, heap.of_kinds(is_firm))
        if holder in there and names.get(heap.types[holder]) in TOLD
        and (other.get(holder), referent) not in told}
    invented = collections.Counter()
    for holder, referent, number in zip(heap.holders, heap.referents,
                                        heap.numbers) if untold else ():
        kind = heap.kinds[number]
        if (holder, referent) in untold and is_firm(kind):
            what = names[heap.types[holder]], kind.kind, kind.name
            if what not in UNTOLD:
                invented[what] += 1
    assert not invented, "references invented: " + shown(invented)


def is_lent(heap, census, holder, kinds):
    """The collector visits some that own no count: entries of frames, since
    3.14, and interned strings in their table."""
    return kinds and all(kind.hold == "none" for kind in kinds) and (
        kinds[0].kind == "local" or kinds[0].name in ("f_code", "f_funcobj")
        or census.types[heap.types[holder]].name == "dict"
        and kinds[0].kind in ("key", "value"))


def by_holder(edges):
    groups = {}
    for holder, referent in edges:
        groups.setdefault(holder, []).append(referent)
    return groups


def visited_alike(census, heap, foreign=False):
    """What is said to be visited by tp_traverse is what gc.get_referents
    tells, each as often; of types of packages only if nothing is guessed."""
    ours = by_holder(heap.chosen(heap.numbers, {
        number for number, kind in enumerate(heap.kinds)
        if is_visited(kind)}))
    theirs = by_holder(pairs(census.references))
    names = {address: row.name for address, row in census.types.items()}
    there = heap.types.keys() & set(census.column("address"))
    found, told = collections.Counter(), collections.Counter()
    for holder in there:
        if sorted(ours.get(holder, ())) != sorted(theirs.get(holder, ())):
            found.update((holder, to) for to in ours.get(holder, ()))
            told.update((holder, to) for to in theirs.get(holder, ()))
    differ = {pair: [] for pair in found | told
              if found[pair] != told[pair] and pair[1] in heap.types}
    guessed = {heap.types[holder] for holder, _ in heap.of_kinds({"guess"})
               if foreign}
    holders = {holder for holder, _ in differ}
    for holder, referent, number in zip(heap.holders, heap.referents,
                                        heap.numbers) if holders else ():
        if holder in holders and (holder, referent) in differ:
            differ[holder, referent].append(heap.kinds[number])
    wrong = collections.Counter()
    for (holder, referent), kinds in differ.items():
        name = names.get(heap.types[holder])
        if name not in OTHERWISE_VISITED and not is_lent(
                heap, census, holder, kinds) \
                and heap.types[holder] not in guessed:
            wrong[name, names.get(heap.types[referent]), ", ".join(
                map("/".join, kinds)), "%d told, %d found" % (
                    told[holder, referent], found[holder, referent])] += 1
    assert not wrong, "visited otherwise: " + shown(wrong)


def counted(census, heap, core, there, others):
    """(address, count) of those objects whose count changes: that of the dump,
    as the references are. Where the twin comes to a dead object by a stale
    pointer of a frame, it lets go once more of what that held, and so may have
    a count too few; test_census.py compares its counts with these."""
    words = census_compare.count_words(
        census, core, [thing.address for thing in census])
    for thing in census:
        count = words.get(thing.address)
        if count is None:
            continue
        if not census.gil:
            if count >> 63:
                continue
            count += others[thing.address] - (count >> 62 << 63)
        elif census.hexversion >= 0x030C0000:
            if count & 1 << 31:
                continue
            count &= 0xFFFFFFFF
        # The static objects of 3.11.
        if thing.address in heap.types and thing.address not in there \
                and count < 999000000:
            yield thing.address, count


def counts_explained(census, heap, core, dump):
    """No object has more owners than references counted, and those that have
    fewer are held by words elsewhere, but for so many of a million."""
    if not census.counted:
        raise heaptest.Skip("the twin could not read counts")
    names = {address: row.name for address, row in census.types.items()}
    owners = collections.Counter(referent for _, referent in heap.of_kinds(
        is_owned))
    more, suspects, fewer, objects = collections.Counter(), set(), {}, 0
    others = States(core, dump).thread_counts()
    for address, count in counted(census, heap, core, census.own, others):
        objects += 1
        # numpy's get_info_no_cast() gives a tuple references to a class of
        # dtypes that it has not taken, and the tuple releases them: 24 for each
        # of integers when numpy begins, of which 10 are made up for by others
        # that it takes and keeps to itself. Since 3.12 these classes are
        # immortal; without pymalloc some of their owners are not found.
        if owners[address] > count \
                and not (census.hexversion >> 16 == 0x030B and
                         names.get(heap.types[address]) == "numpy._DTypeMeta"):
            more[names.get(heap.types[address]),
                 "%d owners, count %d" % (owners[address], count)] += 1
            suspects.add(address)
        elif owners[address] < count:
            fewer[address] = count - owners[address]
    # Who holds the one with the fewest owners is who is wrong.
    rare = min(owners.keys() & suspects, key=owners.get, default=None)
    assert not more, "more owners than references: %s; %#x is held by %s" % (
        shown(more), rare, ", ".join(
            "%#x (%s)" % (holder, names.get(heap.types.get(holder)))
            for holder, _ in heap.chosen(heap.referents, {rare})))
    for words in (Modules(core).words(), stack_words(core),
                  States(core, dump).words(), (
                      referent for _, referent in heap.of_kinds(
                          lambda kind: kind.hold == "guessed"))):
        for word in words:
            if word & ~3 in fewer:
                fewer[word & ~3] -= 1
    modules = Modules(core)
    left = {address for address, missing in fewer.items()
            if missing > modules.hold(address)}
    shown_left = shown(collections.Counter(names.get(heap.types[address])
                                           for address in left))
    print("# %d of %d objects have counts that are not explained: %s" % (
        len(left), objects, shown_left))
    assert len(left) * 1000000 <= UNEXPLAINED * objects, shown_left


DEFERRED, TRACKED = 1 << 6, 1 << 0      # of ob_gc_bits


def is_waiting(census, core, address, name):
    """Free-threaded: an object whose counting is deferred is not freed with the
    last reference to it, but by the next collection: it counts only what it
    began with. 3.13 makes such objects immortal once there is a second thread;
    they stay. Include/internal/pycore_gc.h, _PyObject_SetDeferredRefcount()."""
    if census.gil:
        return False
    flags, shared = core.words(address + 8, 2)
    local, bits = flags >> 32, flags >> 24 & 255
    if census.hexversion < 0x030E0000 and local == 0xFFFFFFFF:
        return name in ("function", "code", "type", "module")
    began = 1 if census.hexversion < 0x030E0000 else ((1 << 63) - 1) // 8
    return bits & DEFERRED and bits & TRACKED and \
        local + (shared >> 2) == began


def none_too_many(census, heap, core, dump, private):
    """Every object is reached from those of the twin and from roots."""
    names = {address: row.name for address, row in census.types.items()}
    modules = Modules(core)
    left = heap.types.keys() - set(census.column("address"))
    left = {address for address in left if not modules.hold(address)}
    tagged = {address | tag for address in left for tag in range(4)}
    for words in (modules.words(), stack_words(core),
                  States(core, dump).words()):
        left -= {word & ~3 for word in tagged.intersection(words)}
    left -= {address for address in left if is_waiting(
        census, core, address, names.get(heap.types[address]))}
    # Only who holds one of those left is of interest.
    holders = collections.defaultdict(list)
    for holder, referent in heap.chosen(heap.referents, left):
        holders[holder].append(referent)
    for holder in private.pointers:
        holders[holder] += left.intersection(private.held_by(holder))
    pending = [holder for holder in holders if holder not in left]
    while pending:
        for referent in holders[pending.pop()]:
            if referent in left:
                left.remove(referent)
                if referent in holders:
                    pending.append(referent)
    assert not left, "held by nothing: %s; %s" % (
        shown(collections.Counter(names.get(heap.types[address], "?")
                                  for address in left)),
        " ".join(map(hex, sorted(left)[:8])))


def evidence_follows(heap, found):
    """Certain is what is in a GC list or referred to by an object, by a
    reference that is no guess; of all else at most what the runtime itself has
    pointers to."""
    less = {address for address, row in found.items()
            if row.evidence != "certain"}
    assert len(less) < len(found) // 2
    wrong = {referent for _, referent in heap.of_kinds(is_known)
             if referent in less}
    assert not wrong, "held, but not certain: " + " ".join(
        map(hex, sorted(wrong)[:8]))


def check(who, census, core, dump, found):
    """The results of all of these, for a core that is open and what heapscan
    found in it (census_compare.objects_of)."""
    heap, told = Heap(dump), told_by(census)
    private = Private(census, heap, core)
    with heaptest.case(who + "no reference is missing"):
        none_missing(census, told, heap, private)
    with heaptest.case(who + "none is invented"):
        none_invented(census, told, heap)
    # In free-threaded builds code is visited, too, and threads count some
    # references for themselves.
    with heaptest.case(who + "the collector visits the same"):
        visited_alike(census, heap)
    with heaptest.case(who + "reference counts are explained"):
        counts_explained(census, heap, core, dump)
    with heaptest.case(who + "no object is held by nothing"):
        none_too_many(census, heap, core, dump, private)
    with heaptest.case(who + "evidence"):
        evidence_follows(heap, found)
