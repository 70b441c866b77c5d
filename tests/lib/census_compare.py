# SPDX-License-Identifier: Apache-2.0
"""What heapscan finds in a dump, held against the census that the target's twin
took of the same heap (heaptest.Census)."""

import collections
import itertools
import json
import os

import elfcore
import heaptest
import references

SHOWN = 5   # differences named in a failure

# Types whose sys.getsizeof is another in the twin than in its parent: code
# that the twin runs gets a cache (3.10 and older), and a buffer that the
# twin's census holds a reference to counts as shared.
SIZE_CHANGES = {"code", "_io.BytesIO"}

# Names that the cache of attributes took up or let go of while the twin looked
# at its objects, and how often all of them: an entry for each type and name, so
# that one name has as many as there are types.
NAMES_MAX, CACHED_MAX = 100, 200


# What heapscan says of an object. The size is None where it is not exact, the
# refcount where the object is immortal.
Found = collections.namedtuple("Found", "type name size refcount evidence")


def objects_of(dump, *options):
    """{address: Found} of all objects, by heapscan."""
    path = heaptest.tmp("objects.ndjson")
    done = heaptest.heapscan(dump, "objects", "--top", "0", "-f", "ndjson",
                             "-o", path, *options)
    assert done.returncode in (0, 3), \
        "heapscan objects: exit %d: %s" % (done.returncode, done.stderr[-600:])
    found, listed = {}, 0
    with open(path, encoding="utf-8") as lines:
        # Many lines as one array: a call for each takes as long as reading them.
        while some_lines := list(itertools.islice(lines, 20000)):
            rows = json.loads("[%s]" % ",".join(some_lines))
            assert len(rows) == len(some_lines), "a line is not one document"
            listed += len(rows)
            found.update((int(row["address"], 16), Found(
                int(row["type_address"], 16), row["type"],
                row["size"] if row.get("size_exact", True) else None,
                row.get("refcount"), row["evidence"])) for row in rows)
    os.unlink(path)
    assert listed == len(found), "%d objects are listed twice" % (
        listed - len(found))
    return found


def type_counts(dump, *options):
    """{type address: count} by heapscan's types view."""
    done = heaptest.heapscan(dump, "types", "--top", "0", "-f", "json",
                             *options)
    assert done.returncode in (0, 3), \
        "heapscan types: exit %d: %s" % (done.returncode, done.stderr[-600:])
    table = json.loads(done.stdout)
    counts = {int(row["type_address"], 16): row["count"]
              for row in table["rows"]}
    assert sum(counts.values()) == table["totals"]["count"]
    return counts


def some(items):
    items = list(items)
    more = "" if len(items) <= SHOWN else ", … %d in all" % len(items)
    return ", ".join(map(str, items[:SHOWN])) + more


def objects_hold(census, core, found, counts):
    """Of types the target made exactly the same objects; of others at least the
    twin's, as far as the core (an elfcore.ElfCore) holds them."""
    truth = {thing.address: thing for thing in census}
    users = {address for address, row in census.types.items() if row.user}
    wanted, missing, sizes = collections.defaultdict(set), [], []

    for thing in truth.values():
        if thing.type in users:
            wanted[thing.type].add(thing.address)
        seen = found.get(thing.address)
        if seen and seen.type == thing.type:
            if census.sized and seen.size not in (None, thing.size) \
                    and seen.name not in SIZE_CHANGES:
                sizes.append("%s at %#x: sys.getsizeof says %d, we %d" % (
                    seen.name, thing.address, thing.size, seen.size))
            continue
        try:
            live = census.is_live(core, thing)
        except elfcore.Missing:
            live = None     # pages that no core of this kind has
        if live:
            missing.append("%s at %#x" % (census.types[thing.type].name,
                                          thing.address))
    assert not missing, "of the twin's objects these are missing: " + some(
        "%s (%d)" % pair for pair in collections.Counter(
            text.split(" at ")[0] for text in missing).most_common()) \
        + "; " + some(missing)

    got = collections.defaultdict(set)
    for address, row in found.items():
        if row.type in users:
            got[row.type].add(address)
    for type_address in users:
        name = census.types[type_address].name
        extra = got[type_address] - wanted[type_address]
        assert not extra, "%s: %d objects too many: %s" % (
            name, len(extra), some(map(hex, sorted(extra))))
        assert counts.get(type_address, 0) == len(wanted[type_address]), \
            "types counts %d of %s, the twin %d" % (
                counts.get(type_address, 0), name, len(wanted[type_address]))
    assert sum(counts.values()) == len(found), \
        "types counts %d objects, objects lists %d" % (
            sum(counts.values()), len(found))
    assert not sizes, "sizes differ: " + some(sizes)


def names_hold(census, found):
    """User types are called what the interpreter calls them."""
    wrong = set()
    for thing in found.values():
        row = census.types.get(thing.type)
        if row and row.user and row.name != thing.name:
            wrong.add("%r is called %r" % (row.name, thing.name))
    assert not wrong, some(sorted(wrong))


def reference_count(hexversion, word):
    """What the first word of an object says, None of one that is immortal.
    Include/object.h, Include/refcount.h: 3.12 made the count 32 bits, of which
    the highest marks those; in 3.11 static objects begin with a large one."""
    if hexversion >= 0x030C0000:
        return None if word >> 31 & 1 else word & 0xFFFFFFFF
    return None if hexversion >= 0x030B0000 and word >= 1 << 29 else word


FREE_IMMORTAL = 1 << 63     # of free_word(): never a count
BELOW_ZERO = 1 << 62        # from here on a word is that, less 1 << 63


def free_word(hexversion, flags, shared):
    """The count of an object of a free-threaded build, by its second and third
    word: what its owner counts, and all others; as in target.py."""
    local = flags >> 32
    if local == 0xFFFFFFFF:
        return FREE_IMMORTAL
    count = local + ((shared ^ 1 << 63) - (1 << 63) >> 2)
    deferred = ((1 << 63) - 1) // 8 if hexversion >= 0x030E0000 else 1
    if flags >> 24 & 64 and count > deferred // 2:
        count -= deferred
    return count % (1 << 63)


def free_count(word, others):
    """The count of a free_word() and of what threads count beside it; None: the
    object is immortal."""
    if word == FREE_IMMORTAL:
        return None
    return max(word - (word >= BELOW_ZERO) * (1 << 63) + others, 0)


def count_words(census, core, found):
    """{address: the word that counts} of those objects that the core has."""
    if census.gil:
        return core.words_at(found)
    flags = core.words_at(address + 8 for address in found)
    shared = core.words_at(address + 16 for address in found)
    return {address: free_word(census.hexversion, flags[address + 8],
                               shared[address + 16])
            for address in found
            if address + 8 in flags and address + 16 in shared}


def counts_hold(census, core, dump, found):
    """The reference count of every object is the one in its memory; and that is
    the one that the twin read in its own, before it had done much.

    The two differ where the code refers to an object that ran on either side
    after the fork (census.own). That code looks up attributes: the cache which
    the interpreter has for that refers to their names, and lets go of others.
    """
    words = count_words(census, core, found)
    if census.gil:
        counts = {word: reference_count(census.hexversion, word)
                  for word in set(words.values())}
        counts = {address: counts[word] for address, word in words.items()}
    else:
        others = references.States(core, dump).thread_counts()
        counts = {address: free_count(word, others[address])
                  for address, word in words.items()}
    wrong = ["%s at %#x: %r, we say %r" % (
        found[address].name, address, counts[address], found[address].refcount)
        for address in words if counts[address] != found[address].refcount]
    assert not wrong, "reference counts differ: " + some(wrong)
    assert len(words) >= len(found) * 9 // 10, \
        "of %d objects the core has %d" % (len(found), len(words))
    if not census.counted:
        return

    twins = dict(zip(census.column("address"), census.column("word")))
    types = dict(zip(census.column("address"), census.column("type")))
    # Others have died: the twin came to them by stale pointers of frames.
    words = {address: words[address] for address in twins.keys() & words.keys()}
    names = cached = 0
    for address, word in words.items() - twins.items():
        if address in census.own:
            continue
        name = census.types[types[address]].name
        if name == "str":
            names += 1
            cached += abs(word - twins[address])
        else:
            wrong.append("%s at %#x: %d here, %d in the twin" % (
                name, address, word, twins[address]))
    assert not wrong, "counts are not the twin's: " + some(wrong)
    assert names <= NAMES_MAX and cached <= CACHED_MAX, \
        "counts of %d names are not the twin's, by %d in all" % (names, cached)


def compare(census, core, dump, *options):
    """Assert all that must hold of a dump, and return its objects. core is an
    elfcore.ElfCore of it; the options are heapscan's."""
    found = objects_of(dump, *options)
    objects_hold(census, core, found, type_counts(dump, *options))
    names_hold(census, found)
    return found


def check_dump(name, census, path):
    """One result: compare() of a core, or of a dump of heapdump's, which is
    removed."""
    with heaptest.case(name):
        plain = path
        if path.endswith(".zst"):
            plain = heaptest.expand(path, heaptest.tmp("core.plain"))
        with elfcore.ElfCore(plain) as core:
            compare(census, core, path)
    for spent in {path, heaptest.tmp("core.plain")}:
        if os.path.exists(spent):
            os.unlink(spent)
