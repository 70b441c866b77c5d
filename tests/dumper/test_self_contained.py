#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A dump needs no file of the target: heapscan says the same of it where none
is, and the parts of modules that symbols and unwinding need are in it."""
import json
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest
from elfcore import ElfCore, Missing

TARGET = """
import ctypes, decimal, json, lzma, os, sqlite3, sys, time
class Visit: pass
visits = [Visit() for _ in range(4321)]
print("READY", os.getpid(), flush=True)
time.sleep(3600)
"""
# What names functions, finds their callers, and says which build it is.
SECTIONS = (".dynsym", ".dynstr", ".gnu.hash", ".hash", ".gnu.version",
            ".eh_frame", ".eh_frame_hdr", ".note.gnu.build-id", ".rodata",
            ".gcc_except_table")


def sections_of(path):
    """[(name, address, offset, size)] by readelf."""
    done = heaptest.run([heaptest.tool("readelf", "binutils"), "-SW", path])
    return [(name, int(address, 16), int(offset, 16), int(size, 16))
            for name, address, offset, size in re.findall(
                r"^ +\[ *\d+\] (\.\S+) +(?:PROGBITS|NOTE|DYNSYM|STRTAB|GNU_HASH"
                r"|HASH|VERSYM|X86_64_UNWIND) +(\w+) (\w+) (\w+)", done.stdout,
                re.M)]


def first_address(path):
    """p_vaddr of the segment that begins the file."""
    done = heaptest.run([heaptest.tool("readelf", "binutils"), "-lW", path])
    return int(re.search(r"^ +LOAD +0x0+ (0x\w+)", done.stdout, re.M)[1], 16)


def check_modules(core, root):
    modules = checked = 0
    for mapped in core.files():
        path = (root or "") + mapped.path
        if mapped.offset != 0 or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            data = file.read()
        if data[:4] != b"\x7fELF":
            continue
        bias = mapped.start - first_address(path)
        names = set()
        for name, address, offset, size in sections_of(path):
            if name not in SECTIONS or not size:
                continue
            try:
                got = core.read(bias + address, size)
            except Missing as missing:
                raise AssertionError("%s of %s: %s" % (name, path, missing))
            assert got == data[offset:offset + size], (name, path)
            checked += size
            names.add(name)
        assert {".dynsym", ".eh_frame"} <= names, (path, names)
        modules += 1
    assert modules > 8 and checked > 1 << 20, (modules, checked)
    print("# %d modules, %.1f MiB" % (modules, checked / (1 << 20)))


def another_machine():
    """The start of a command line for heapscan, in a root that has nothing but
    it and its libraries, under other names; and that root."""
    if os.geteuid() != 0:
        raise heaptest.Skip("another root needs root")
    root = patients.folder("root")
    os.mkdir(root + "/x")
    program = heaptest.program("heapscan")
    done = heaptest.run(["ldd", program])
    for path in re.findall(r"(/\S+) \(", done.stdout):
        shutil.copy(path, root + "/x/")
    shutil.copy(program, root + "/x/heapscan")
    loader = [name for name in os.listdir(root + "/x") if
              name.startswith("ld-linux")]
    assert loader, done.stdout
    return [sys.executable, os.path.join(heaptest.LIB, "enter_root.py"), root,
            "/x", "/x/" + loader[0], "--library-path", "/x",
            "/x/heapscan"], root


def without_files(text):
    """What info says, without what is about the files themselves."""
    told = json.loads(text)
    told["dump"].pop("path")
    told["rows"] = [
        dict(row, value=re.sub(r" \(of the (file|dump)\)", "",
                               str(row["value"])))
        for row in told["rows"] if row["key"] not in (
            "path", "from_files", "not_captured_file")]
    for module in told.get("modules", ()):
        assert "file" in module
        del module["file"]
    return told


def test_same_elsewhere(elsewhere, root, name, path, sysroot):
    copied = root + "/x/dump"
    shutil.copy(path, copied)
    with heaptest.case("%s: types are the same without the files" % name):
        here = heaptest.heapscan("types", path, "-n0", "-f", "csv", *sysroot)
        there = heaptest.run([*elsewhere, "types", "/x/dump", "-n0", "-f",
                              "csv"])
        assert here.returncode == 0, here.stderr
        assert there.returncode == 0, there.stderr
        assert "Visit,4321," in here.stdout.replace('"', ""), here.stdout[:300]
        assert there.stdout == here.stdout
    with heaptest.case("%s: info is the same but for the files" % name):
        here = heaptest.heapscan("info", path, "-f", "json", *sysroot)
        there = heaptest.run([*elsewhere, "info", "/x/dump", "-f", "json"])
        assert here.returncode == there.returncode == 0, there.stderr
        assert "matched" not in there.stdout
        ours, theirs = map(without_files, (here.stdout, there.stdout))
        assert ours == theirs, [pair for pair in zip(ours["rows"],
                                                     theirs["rows"])
                                if pair[0] != pair[1]][:3]
    os.unlink(copied)


def main():
    try:
        elsewhere, root = another_machine()
    except heaptest.Skip as reason:
        heaptest.skip("a machine without the target's files", reason)
        heaptest.finish()
    script = heaptest.tmp("target.py")
    with open(script, "w") as file:
        file.write(TARGET)
    found = heaptest.interpreters()
    chosen = [i for i in found if i.name.endswith("-system")] + \
        [i for i in found if i.name.endswith("-pyenv")][-1:] + \
        [i for i in found if i.root][-1:]
    for interpreter in chosen or found[:1]:
        for method in ("snapshot,stop", "gcore", "signal"):
            name = "%s, %s" % (interpreter.name, method)
            path = heaptest.tmp("dump.zst")
            with heaptest.start_target(interpreter, script) as target:
                done = heaptest.heapdump("-q", "--max-pause", "60s", "--method",
                                         method, "-o", path, target.pid)
                if method in ("gcore", "signal") and done.returncode == 1 \
                        and ("core_pattern" in done.stderr
                             or "no gdb" in done.stderr):
                    heaptest.skip(name, done.stderr.strip())
                    continue
                with heaptest.case("%s: parts of modules equal the files"
                                   % name):
                    assert done.returncode == 0, done.stderr
                    plain = heaptest.tmp("dump.plain")
                    heaptest.expand(path, plain)
                    with ElfCore(plain) as core:
                        check_modules(core, interpreter.root)
            if done.returncode == 0:
                test_same_elsewhere(
                    elsewhere, root, name, path, ["--sysroot", interpreter.root]
                    if interpreter.root else [])
    heaptest.finish()


with heaptest.core_pattern_lock(exclusive=False):
    main()
