# SPDX-License-Identifier: Apache-2.0
"""The layout tables against the interpreters themselves: their C headers,
compiled, and their debug information, where they have it.

Headers declare the public and internal structures; those private to a .c file
are in debug information only. How many rows each could verify is printed, and
which none could.
"""

import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest

GDB_SCRIPT = os.path.join(heaptest.LIB, "gdb_layouts.py")

# Members that had another name in some release.
OTHER_NAMES = {("_PyRuntimeState", "_finalizing"): "finalizing",
               ("_Py_hashtable_t", "nentries"): "entries",
               ("_Py_hashtable_t", "nbuckets"): "num_buckets"}

# Structures that had another name before 3.12.
OTHER_STRUCTS = {"tracemalloc_traceback": "traceback_t",
                 "tracemalloc_frame": "frame_t"}

# Micro releases and configurations differ in these; the reader calibrates them.
CALIBRATED = {"_PyRuntimeState", "PyInterpreterState", "_gc_runtime_state",
              "_PyThreadStateImpl"}
CALIBRATED_SIZES = {"PyThreadState"}

INTERNAL = """runtime interp pystate gc pymem dict frame object code context hamt
    obmalloc typeobject genobject interpframe interpframe_structs
    interp_structs runtime_structs unicodeobject long tstate gil list tuple
    setobject moduleobject function structs tracemalloc hashtable""".split()


def read_tables():
    """{release: {(struct, member): (offset, size)}}, {release: source}"""
    tool = os.path.join(heaptest.BUILD, "tests", "tools", "layoutdump")
    tables, sources = {}, {}
    for line in heaptest.run([tool]).stdout.splitlines():
        if line.startswith("#"):
            _, release, source = line.split(" ", 2)
            sources[release] = source
            continue
        release, structure, member, offset, size = line.split()
        tables.setdefault(release, {})[structure, member] = (int(offset),
                                                             int(size))
    return tables, sources


# ---- Headers

def include_folder(interpreter):
    done = heaptest.run(
        [*interpreter.argv, "-I", "-c",
         "import sysconfig; print(sysconfig.get_path('include'))"],
        env=interpreter.environment())
    folder = (interpreter.root or "") + done.stdout.strip()
    if not os.path.isdir(os.path.join(folder, "internal")):
        raise heaptest.Skip("no headers with internal/ at " + folder)
    return folder


def marker(number, structure, member):
    """A line of C that leaves offset and size in the assembler text."""
    if member == "-":
        return ('asm volatile("\\n@ROW %d %%c0 %%c1" :: "i"(0), '
                '"i"(sizeof(%s)));' % (number, structure))
    return ('asm volatile("\\n@ROW %d %%c0 %%c1" :: "i"(__builtin_offsetof('
            '%s, %s)), "i"(sizeof(((%s *)0)->%s)));' % (
                number, structure, member, structure, member))


def build_defines(interpreter):
    """What its build defined beyond pyconfig.h: an experimental compiler, for
    one, adds fields to structures."""
    done = heaptest.run(
        [*interpreter.argv, "-I", "-c", "import sysconfig; print("
         "sysconfig.get_config_var('PY_CORE_CFLAGS') or '')"],
        env=interpreter.environment())
    return re.findall(r"-D_Py_\w+(?:=\S+)?", done.stdout)


def compile_rows(folder, defines, spelled):
    """spelled: {number: (type, member)}; {number: (offset, size)} of those that
    the compiler accepts. Rows that it rejects are taken out until it is
    content."""
    present = [name for name in INTERNAL if os.path.exists(
        os.path.join(folder, "internal", "pycore_%s.h" % name))]
    head = ["#define Py_BUILD_CORE 1", "#include <Python.h>",
            "#include <frameobject.h>", "#include <stddef.h>"]
    head += ['#include "internal/pycore_%s.h"' % name for name in present]
    head += ["void rows(void) {"]
    source = heaptest.tmp("rows.c")
    spelled = dict(spelled)
    while spelled:
        numbers = sorted(spelled)
        with open(source, "w") as file:
            file.write("\n".join(
                head + [marker(n, *spelled[n]) for n in numbers] + ["}", ""]))
        done = heaptest.run(
            [heaptest.tool("gcc", "gcc"), "-S", "-w", "-std=gnu11",
             "-fmax-errors=0", *defines, "-I" + folder, "-I" + folder + "/internal",
             "-I" + os.path.dirname(folder), "-o", "-", source])
        if done.returncode == 0:
            return {int(n): (int(offset), int(size)) for n, offset, size in
                    re.findall(r"^@ROW (\d+) (\d+) (\d+)$", done.stdout, re.M)}
        bad = {int(line) - len(head) - 1 for line in re.findall(
            r"^%s:(\d+):\d+: (?:fatal )?error" % re.escape(source),
            done.stderr, re.M)}
        bad = {numbers[i] for i in bad if 0 <= i < len(numbers)}
        if not bad:
            raise heaptest.Skip("the headers do not compile: "
                                + done.stderr[:300])
        for n in bad:
            del spelled[n]
    return {}


def by_headers(interpreter, rows):
    folder = include_folder(interpreter)
    defines = build_defines(interpreter)
    rows = sorted(rows)
    found = {}
    for spelling in "%s", "struct %s":
        for names in {}, OTHER_NAMES:
            wanted = {n: (spelling % row[0], names.get(row, row[1]))
                      for n, row in enumerate(rows) if row not in found}
            for n, place in compile_rows(folder, defines, wanted).items():
                found[rows[n]] = place
    return found


# ---- Debug information

def binaries(interpreter):
    """The executable, libpython, and the extension modules of an interpreter,
    and where separate debug information would be."""
    done = heaptest.run(
        [*interpreter.argv, "-I", "-c",
         "import sys, sysconfig; print(sys.executable); print(sysconfig."
         "get_config_var('LIBDIR')); print(sysconfig.get_path('stdlib'))"],
        env=interpreter.environment())
    root = interpreter.root or ""
    executable, libraries, stdlib = done.stdout.splitlines()
    release = "%d.%d" % interpreter.version[:2]
    # A Py_DEBUG build may have put its modules into the same folder.
    modules = [path for path in glob.glob(root + stdlib + "/lib-dynload/*.so")
               if not re.search(r"\.cpython-\d+t?d-", path)]
    return ([root + os.path.realpath(executable) if not root
             else root + "/usr/bin/python" + release]
            + glob.glob("%s%s/libpython%s*.so.1.0" % (root, libraries, release))
            + sorted(modules),
            root + "/usr/lib/debug")


def other_name(interpreter, row):
    """What this release calls a structure and a member."""
    structure, member = row
    if interpreter.version < (3, 9):
        member = OTHER_NAMES.get(row, member)
    if interpreter.version < (3, 12):
        structure = OTHER_STRUCTS.get(structure, structure)
    return structure, member


def by_debug_information(interpreter, rows):
    gdb = heaptest.tool("gdb", "gdb")
    files, debug_folder = binaries(interpreter)
    wanted, programs, found = heaptest.tmp("rows"), heaptest.tmp("files"), {}
    names = {other_name(interpreter, row): row for row in sorted(rows)}
    with open(wanted, "w") as file:
        file.writelines("%s %s\n" % name for name in names)
    with open(programs, "w") as file:
        file.writelines(path + "\n" for path in files)
    # One gdb for all of them: its start takes longer than most files.
    done = heaptest.run(
        [gdb, "-nx", "-batch", "-iex",
         "set debug-file-directory " + debug_folder, "-iex",
         "set auto-load off", "-x", GDB_SCRIPT],
        env=dict(os.environ, HEAPSCAN_ROWS=wanted, HEAPSCAN_FILES=programs,
                 DEBUGINFOD_URLS=""))
    assert done.returncode == 0, done.stderr[-600:]
    for line in done.stdout.splitlines():
        match = re.match(r"ROW (\S+) (\S+) (\d+) (\d+)$", line)
        if match:
            found[names[match[1], match[2]]] = int(match[3]), int(match[4])
    if not found:
        raise heaptest.Skip("no debug information")
    return found


# ---- Comparing

def is_calibrated(row):
    return row[0] in CALIBRATED or row[1] == "-" and row[0] in CALIBRATED_SIZES


def compare(name, table, found, same_release):
    """The rows that differ and should not, each as a sentence."""
    wrong = []
    for row, place in sorted(found.items()):
        if table[row] == place:
            continue
        text = "%s.%s: table %d, %d bytes; %s %d, %d bytes" % (
            *row, *table[row], name.split(": ")[-1], *place)
        # Of an array at the end only the beginning counts.
        if not same_release and is_calibrated(row):
            print("# %s: %s (calibrated)" % (name, text))
        elif place[0] == table[row][0] and place[1] == 0:
            continue
        else:
            wrong.append(text)
    return wrong


def table_of(interpreter, tables, sources):
    """What is known of this release, and whether just this one was read."""
    major, minor, micro = interpreter.version
    flags = "t" if interpreter.free_threaded else ""
    release = "%d.%d%s" % (major, minor, flags)
    table, source = dict(tables[release]), sources[release]
    for name, rows in tables.items():
        span = re.fullmatch(r"%d\.%d\.(\d+)%s(?:-%d\.%d\.(\d+)%s)?" % (
            major, minor, flags, major, minor, flags), name)
        if span and int(span[1]) <= micro <= int(span[2] or span[1]):
            table.update(rows)
            source = sources[name]
    table = {row: place for row, place in table.items() if place[1]}
    return table, re.search(r"v%d\.%d\.%d(rc\d+)?," % interpreter.version,
                            source) is not None


def test_interpreter(interpreter, tables, sources):
    table, same = table_of(interpreter, tables, sources)
    verified = set()
    for method, look in (("headers", by_headers),
                         ("debug information", by_debug_information)):
        name = interpreter.name + ": " + method
        with heaptest.case(name):
            found = look(interpreter, set(table))
            wrong = compare(name, table, found, same)
            verified |= set(found)
            print("# %s: %d of %d rows" % (name, len(found), len(table)))
            for text in wrong:
                print("# %s: %s" % (name, text))
            assert not wrong, "%d rows differ: %s" % (len(wrong),
                                                      "; ".join(wrong[:5]))
    left = sorted("%s.%s" % row for row in table if row not in verified)
    print("# %s: %d of %d rows verified%s" % (
        interpreter.name, len(verified), len(table),
        ", not: " + " ".join(left) if verified and left else ""))


def main():
    tables, sources = read_tables()
    seen = set()
    for interpreter in heaptest.interpreters():
        key = interpreter.version, interpreter.free_threaded
        if key in seen:
            continue            # the same build, started in another way
        seen.add(key)
        test_interpreter(interpreter, tables, sources)
    here = {version[:2] for version, _ in seen}
    for release in heaptest.RELEASES:
        if release not in here:
            heaptest.skip("layouts of %d.%d" % release,
                          "no such interpreter here")
    heaptest.finish()


main()
