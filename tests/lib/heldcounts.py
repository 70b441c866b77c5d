# SPDX-License-Identifier: Apache-2.0
"""What heapscan refcounts says of a real heap: every count is accounted for by
references or by words of memory, and each of those words is where it is said to
be. What is left are leaks of CPython itself, listed here, and of extensions."""

import bisect
import json
import os
import re
import struct

import elfcore
import heaptest

# Without a holder may be so many of a million objects.
UNHELD_MOST = 10

# (releases 3.x, value, why): C code of CPython has taken one count, or one more
# than it keeps a pointer for, and nothing will ever give it back.
KNOWN_LEAKS = (
    (8, 9, "<class 'str'>", "sqlite3 adds it as OptimizedUnicode"),
    (8, 9, "<class '_thread.lock'>", "_thread adds it as LockType"),
    (9, 9, "<class 'datetime.IsoCalendarDate'>", "_datetime makes it ready"),
    (9, 9, "<class 'select.poll'>", "select makes it"),
    (8, 9, "2147483647", "_multiprocessing adds it as SEM_VALUE_MAX"),
    (8, 8, "<module '_warnings'>", "what _PyWarnings_Init() returns"),
    (8, 8, "<module 'sys'>", "of another interpreter that began"),
    (8, 10, "'importlib'", "warnings: is_internal_frame()"),
    (8, 10, "'_bootstrap'", "the same"),
    (8, 11, "<class 'InterpreterID'>", "_xxsubinterpreters adds it"),
    (8, 11, "<class '_xxsubinterpreters.ChannelID'>", "the same"),
    (11, 11, "<decimal.Context", "_decimal: extended_context_template"),
    (8, 12, "<class '_testcapi.HeapCType'>", "_testcapi makes it"),
    (12, 12, "<class '_testcapi.LimitedVectorCallClass'>", "the same"),
)


def answer(core, *args):
    done = heaptest.heapscan(core, "refcounts", *args, "-f", "json")
    assert done.returncode == 0, "exit %d: %s" % (done.returncode, done.stderr)
    whole = json.loads(done.stdout)
    assert whole["totals"]["dangling"] == 0, done.stderr
    return whole


def left_of(row):
    """Counts that neither guesses nor words account for."""
    return max(0, row["excess"] - row["guessed"] - row.get("holders", 0))


def preview(core, row):
    done = heaptest.heapscan(core, "object", row["address"], "--values", "-f",
                             "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["rows"][0].get("preview", "")


def unheld(version, core, rows, known=()):
    """Rows with counts too few, or too many for the words that lead to the
    object, but for known leaks: of CPython's, or patterns (of the type, of the
    value)."""
    left = []
    for row in rows:
        if row["excess"] > 0 and not left_of(row):
            continue
        value = preview(core, row)
        leak = next((why for first, last, start, why in KNOWN_LEAKS
                     if first <= version[1] <= last
                     and value.startswith(start) and row["excess"] > 0), None)
        if not leak and not any(re.fullmatch(kind, row["type"]) and
                                re.search(what, value)
                                for kind, what in known):
            left.append("%s %s %s: %d too many, %s" % (
                row["address"], row["type"], value[:60], row["excess"],
                row.get("holder", "held by nothing")))
    return left


def check_unheld(version, core, whole, known=()):
    """All that is unheld is known, and where nothing of extensions is, there is
    no more of it than may be."""
    left = unheld(version, core, whole["rows"], known)
    nameless = sum(row["excess"] > 0 and not row["guessed"]
                   and "holder" not in row for row in whole["rows"])
    print("# of %d counts %d are others than the references found, %d have no "
          "holder, %d of these not known" % (
              whole["totals"]["audited"], len(whole["rows"]), nameless,
              len(left)))
    assert not left, "; ".join(left[:8])
    if not known:
        most = -(-whole["totals"]["audited"] * UNHELD_MOST // 1000000)
        assert nameless <= most, "%d without a holder" % nameless


# ---- Names of holders

class Symbols:
    """What readelf says of the symbols of the files in a core: by path, the
    places in the file's image that each name has."""

    def __init__(self, core, root):
        self.root, self.read = root or "", {}
        self.bases = sorted({(file.start, file.path) for file in core.files()
                             if file.offset == 0})

    def file_at(self, address):
        i = bisect.bisect_right(self.bases, (address, "\U0010ffff")) - 1
        return self.bases[i] if i >= 0 else (0, "")

    def of(self, path):
        if path not in self.read:
            found = {}
            file = self.root + path
            if os.path.exists(file):
                argv = [heaptest.tool("readelf", "binutils"), "-W"]
                loads = re.findall(r"^ +LOAD +\S+ +(\S+)", heaptest.run(
                    [*argv, "-l", file]).stdout, re.M)
                low = min(int(load, 16) for load in loads) & -4096
                for value, name in re.findall(
                        r"^ *\d+: (\w+) +\w+ OBJECT .* (\S+)$", heaptest.run(
                            [*argv, "-s", file]).stdout, re.M):
                    found.setdefault(name.partition("@")[0], []).append(
                        int(value, 16) - low)
            self.read[path] = found
        return self.read[path]


def stack_pointers(core):
    """{native number: stack pointer} of all threads."""
    register = {"x86-64": 19, "aarch64": 31}[core.machine]
    return {struct.unpack_from("<I", note.desc, 32)[0]:
            struct.unpack_from("<Q", note.desc, 112 + 8 * register)[0]
            for note in core.notes()
            if note.name == "CORE" and note.type == elfcore.NT_PRSTATUS}


def check_holders(core, rows, root=None):
    """Each holder is a word that leads to the object, or to its characters; a
    variable is where its symbol is, by the file itself; a stack is the nearest
    one below. Static objects hold themselves."""
    symbols, stacks = Symbols(core, root), stack_pointers(core)
    kinds = {"variable": 0, "named": 0, "stack": 0, "other": 0}
    for row in rows:
        if "holder" not in row:
            continue
        at, thing = int(row["holder_address"], 16), int(row["address"], 16)
        assert at == thing or 0 <= core.word(at) - thing < 96, row
        variable = re.fullmatch(r"C variable ([^:+]+)(?::(.+?))?(?:\+(\w+))?",
                                row["holder"])
        stack = re.fullmatch(r"stack of thread (\d+)", row["holder"])
        if variable:
            base, path = symbols.file_at(at)
            assert os.path.basename(path) == variable[1] or \
                os.path.basename(path).startswith(variable[1]), (row, path)
            kinds["variable"] += 1
            # Names may also come from a file with debug information.
            places = symbols.of(path).get(variable[2])
            if places:
                offset = int(variable[3] or "0", 0)
                assert any(base + place + offset == at
                           for place in places), (row, path)
                kinds["named"] += 1
        elif stack:
            below = [(sp, thread) for thread, sp in stacks.items()
                     if sp - 128 <= at]
            assert max(below)[1] == int(stack[1]), (row, max(below))
            kinds["stack"] += 1
        else:
            assert re.search(r" 0x[0-9a-f]+(\+\d+)?$", row["holder"]), row
            kinds["other"] += 1
    print("# holders: " + ", ".join("%d %s" % (n, kind)
                                    for kind, n in kinds.items()))
    assert kinds["variable"], kinds
    return kinds
