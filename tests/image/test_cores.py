#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real cores of a small program, by the kernel, gdb and lldb, as image_open()
sees them: against /proc of the living process, readelf, nm and eu-unstrip."""

import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import elfcore   # noqa: E402
import heaptest  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLE = os.path.join(HERE, "sample.c")
IMAGEINFO = os.path.join(heaptest.BUILD, "tests", "tools", "imageinfo")
NT_GNU = re.compile(r"Build ID: ([0-9a-f]+)")
PF_X, PF_W, PF_R = 1, 2, 4


def imageinfo(core, *args):
    done = heaptest.run([IMAGEINFO, core, *map(str, args)])
    assert done.returncode == 0, "imageinfo: " + done.stderr
    return json.loads(done.stdout)


def compiler():
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return name
    raise heaptest.Skip("no C compiler is installed")


def build(path, *options, source=SAMPLE, cc=None):
    done = heaptest.run([cc or compiler(), "-g", "-O1", "-pthread", "-rdynamic",
                         "-Wl,--build-id", *options, source, "-o", path])
    assert done.returncode == 0, "compiling: " + done.stderr
    return path


class Sample:
    """The program, running. Use as a context manager."""

    def __init__(self, path):
        self.folder = heaptest.tmp("run")
        os.makedirs(self.folder, exist_ok=True)
        self.path = path
        self.process = subprocess.Popen(
            [path, SAMPLE], cwd=self.folder, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline().split()
        assert ready[:1] == ["READY"], "the sample says %r" % ready
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def maps(self):
        """(start, end, protection, offset, path) of every mapping."""
        with open("/proc/%d/maps" % self.pid) as file:
            for line in file:
                fields = line.split(None, 5)
                start, end = (int(x, 16) for x in fields[0].split("-"))
                yield (start, end, fields[1], int(fields[2], 16),
                       fields[5].strip() if len(fields) > 5 else "")

    def threads(self):
        return sorted(map(int, os.listdir("/proc/%d/task" % self.pid)))

    def auxv(self):
        with open("/proc/%d/auxv" % self.pid, "rb") as file:
            words = file.read()
        words = [int.from_bytes(words[i:i + 8], "little")
                 for i in range(0, len(words), 8)]
        pairs = [[a, b] for a, b in zip(words[::2], words[1::2])]
        return [pair for pair in pairs if pair[0] != 0]

    def peek(self, places):
        """{address: bytes} of 64 bytes at each place that can be read."""
        found = {}
        with open("/proc/%d/mem" % self.pid, "rb", 0) as file:
            for address in places:
                try:
                    file.seek(address)
                    found[address] = file.read(64)
                except (OSError, ValueError, OverflowError):
                    pass
        return found


def places_of(sample):
    """Addresses to compare: the ends of every mapping, and its middle."""
    for start, end, _, _, path in sample.maps():
        if path.startswith(("[vvar", "[vsyscall")):
            continue
        for address in (start, start + (end - start) // 2 & ~63, end - 64):
            yield address


def read_back(core, places, *options):
    """{address: bytes or None} as imageinfo reads them."""
    found = {}
    places = list(places)
    for i in range(0, len(places), 500):
        args = [x for place in places[i:i + 500]
                for x in ("--read", place, 64)]
        for answer in imageinfo(core, *options, *args)["answers"]:
            found[answer["address"]] = (bytes.fromhex(answer["bytes"])
                                        if "bytes" in answer else None)
    return found


def build_id(path):
    done = heaptest.run([heaptest.tool("readelf", "binutils"), "-n", path])
    return NT_GNU.search(done.stdout)[1]


def module(info, path):
    found = [m for m in info["modules"] if m["path"] == path]
    assert len(found) == 1, "%d modules of %s" % (len(found), path)
    return found[0]


def nm(path, which="--syms"):
    """{name: {addresses}} of the defined symbols of a file."""
    done = heaptest.run([heaptest.tool("readelf", "binutils"), which, "-W",
                         path])
    found = {}
    for line in done.stdout.splitlines():
        fields = line.split()
        if (len(fields) < 8 or fields[6] in ("UND", "ABS")
                or not fields[0].endswith(":")
                or fields[3] not in ("NOTYPE", "OBJECT", "FUNC", "IFUNC")):
            continue
        name = fields[7].split("@")[0]
        found.setdefault(name, set()).add(int(fields[1], 16))
    return found


# ---- What every core must say

def merged(ranges):
    result = []
    for start, end in sorted(ranges):
        if start == end:
            continue
        if result and start <= result[-1][1]:
            result[-1][1] = max(end, result[-1][1])
        else:
            result.append([start, end])
    return result


def compare_with_headers(info, core):
    """The captured ranges are what readelf says that the file has."""
    done = heaptest.run([heaptest.tool("readelf", "binutils"), "-lW", core])
    loads = [list(map(lambda x: int(x, 16), line.split()[1:6]))
             for line in done.stdout.splitlines()
             if line.split()[:1] == ["LOAD"]]
    assert info["num_segments"] == len([x for x in loads if x[3] or x[4]]), (
        "%d segments, readelf has %d" % (info["num_segments"], len(loads)))
    expected = merged((x[1], x[1] + x[3]) for x in loads)
    got = merged((r["start"], r["end"]) for r in info["ranges"]
                 if r["source"] == "core")
    assert got == expected, "captured %r, readelf has %r" % (got, expected)
    assert info["segment_bytes"] == sum(x[3] for x in loads)


def compare_modules(info, sample_maps):
    """Every mapped program or library is a module, with its build id."""
    paths = {path for _, _, flags, _, path in sample_maps
             if path.startswith("/") and "x" in flags}
    for path in paths:
        found = module(info, path)
        starts = [start for start, _, _, offset, p in sample_maps
                  if p == path and offset == 0]
        assert found["start"] == min(starts), "%s starts at %#x, not %#x" % (
            path, found["start"], min(starts))
        ends = [end for _, end, _, _, p in sample_maps if p == path]
        assert found["end"] >= max(ends)
        assert found["build_id"] == build_id(path), path
        assert found["file_state"] == "matched", path
        assert found["bias"] == found["start"], path
    names = {m["path"] for m in info["modules"]}
    assert names == paths | {"[vdso]"}, "modules are %r" % names


def compare_symbols(core, path):
    """The program's symbols, and where they are."""
    info = imageinfo(core, "--symbols", path)
    found = module(info, path)
    expected = nm(path)
    bias = found["bias"]
    got = {}
    for symbol in found["symbols"]:
        got.setdefault(symbol["name"].split("@")[0], set()).add(
            symbol["address"] - bias)
    for name in expected:
        if name.startswith(".") or "$" in name:
            continue
        assert got.get(name) == expected[name], "%s: got %r, nm has %r" % (
            name, got.get(name), expected[name])
    wanted = {"exported_counter", "local_counter", "exported_function", "main"}
    assert wanted <= got.keys(), wanted - got.keys()
    place = bias + min(expected["exported_function"]) + 1
    answer = imageinfo(core, "--at", place)["answers"][0]
    assert answer.get("symbol") == "exported_function", answer


def compare_everything(core, sample, before, maps, threads, auxv, writer):
    info = imageinfo(core)
    assert info["writer"] == writer, info["writer"]
    assert not info["partial"], info["findings"]
    unproven = [f for f in info["findings"]
                if f["text"].startswith("nothing in the core shows that")]
    assert info["findings"] == unproven, info["findings"]
    assert info["machine"] == 62 or info["machine"] == 183
    assert info["page_size"] == os.sysconf("SC_PAGESIZE")
    assert info["pid"] == sample.pid
    tids = sorted(t["tid"] for t in info["threads"])
    assert tids == threads, "threads %r, expected %r" % (tids, threads)
    assert info["auxv"] == auxv, "auxv %r, expected %r" % (info["auxv"], auxv)
    compare_with_headers(info, core)
    files = [(f["start"], f["end"], f["offset"], f["path"])
             for f in info["files"]]
    expected = [(s, e, o, p) for s, e, _, o, p in maps if p.startswith("/")]
    assert files == expected, "files %r, expected %r" % (files, expected)
    compare_registers(core, info)
    # Whatever it says of memory must be what the process had.
    read = read_back(core, before)
    wrong = [hex(a) for a in before if read[a] not in (None, before[a])]
    assert not wrong, "read other bytes at " + ", ".join(wrong)
    return info, {a for a in before if read[a] is not None}


def compare_registers(core, info):
    with elfcore.ElfCore(core) as truth:
        status = [n.desc for n in truth.notes()
                  if n.name == "CORE" and n.type == elfcore.NT_PRSTATUS]
    registers = [d[112:-8].hex() for d in status]
    assert [t["registers"] for t in info["threads"]] == registers


def in_mappings(maps, test):
    return [(s, e) for s, e, flags, offset, path in maps if test(flags, path)]


def covered(addresses, ranges):
    return {a for a in addresses if any(s <= a < e for s, e in ranges)}


def test_kernel(path, filter, name):
    with heaptest.case("kernel core, filter %#x" % filter):
        with Sample(path) as sample:
            before = sample.peek(places_of(sample))
            maps, threads = list(sample.maps()), sample.threads()
            auxv = sample.auxv()
            core = heaptest.kernel_core(sample.pid, heaptest.tmp(name), filter)
        before = {a: b for a, b in before.items()}
        # The stack of the thread that dies changes while it does.
        stack = in_mappings(maps, lambda f, p: p == "[stack]")
        before = {a: b for a, b in before.items() if not covered([a], stack)}
        info, readable = compare_everything(core, sample, before, maps,
                                            threads, auxv, "kernel")
        assert info["signal"] == 6, info["signal"]
        if filter & 0x10:       # ELF headers: build ids
            assert not info["findings"], info["findings"]
            compare_modules(info, maps)
            code = covered(before, in_mappings(
                maps, lambda f, p: p.startswith("/") and "x" in f))
            assert code <= readable, "code is not read from the files"
            compare_symbols(core, path)
        elif not filter & 4:
            states = {m["file_state"] for m in info["modules"]
                      if m["path"] != "[vdso]"}
            assert states == {"other"}, "believed without proof: %r" % states
            assert info["findings"], "which is not said"
        data = covered(before, in_mappings(
            maps, lambda f, p: p == path and "w" in f))
        assert data and data <= readable, "data is not readable"
        return core
    return None


def test_gcore(path):
    with heaptest.case("gcore"):
        with Sample(path) as sample:
            before = sample.peek(places_of(sample))
            maps, threads = list(sample.maps()), sample.threads()
            auxv = sample.auxv()
            core = heaptest.gcore(sample.pid, heaptest.tmp("gcore"))
        info, readable = compare_everything(core, sample, before, maps,
                                            threads, auxv, "gcore")
        compare_modules(info, maps)
        compare_symbols(core, path)
        private = covered(before, in_mappings(
            maps, lambda f, p: "w" in f or f.startswith("r") and
            p.startswith("/") and p != SAMPLE))
        missing = private - readable
        assert not missing, "not readable: " + ", ".join(map(hex, missing))
        return core
    return None


def test_lldb(path):
    with heaptest.case("lldb core"):
        with Sample(path) as sample:
            before = sample.peek(places_of(sample))
            core = heaptest.lldb_core(sample.pid, heaptest.tmp("lldb"))
            threads = sample.threads()
        info = imageinfo(core)
        assert sorted(t["tid"] for t in info["threads"]) == threads
        read = read_back(core, before)
        assert any(read.values())
        wrong = [hex(a) for a in before if read[a] not in (None, before[a])]
        assert not wrong, "read other bytes at " + ", ".join(wrong)


# ---- Where files and symbols come from

def test_wrapped(core):
    """The same core in every wrapper people keep it in."""
    expected = imageinfo(core)
    for tool, package, suffix in (("zstd", "zstd", ".zst"),
                                  ("gzip", "gzip", ".gz"),
                                  ("xz", "xz-utils", ".xz"),
                                  ("lz4", "lz4", ".lz4")):
        with heaptest.case("a core packed with " + tool):
            packed = core + suffix
            with open(packed, "wb") as file:
                subprocess.run([heaptest.tool(tool, package), "-c", core],
                               stdout=file, stderr=subprocess.DEVNULL,
                               check=True)
            got = imageinfo(packed)
            assert got == expected, "differs from the plain one"


def test_truncated(core):
    """Cut at every header and in every segment: findings, and never a lie."""
    with elfcore.ElfCore(core) as truth:
        places = {s.vaddr: truth.read(s.vaddr, 64)
                  for s in truth.segments if s.filesz >= 64}
        cuts = {s.offset + s.filesz // 2 for s in truth.segments if s.filesz}
    cuts |= {64 + 56 * i for i in range(1, 4)} | {100, 200}
    with heaptest.case("cut off in %d places" % len(cuts)):
        for cut in sorted(cuts):
            short = heaptest.tmp("short")
            shutil.copyfile(core, short)
            os.truncate(short, cut)
            done = heaptest.run([IMAGEINFO, short, "--sysroot", ""])
            assert done.returncode in (0, 1), "status %d, cut at %d: %s" % (
                done.returncode, cut, done.stderr)
            if done.returncode == 1:
                assert "cut off" in done.stderr, done.stderr
                assert cut < 64 + 56, "refused when cut at %d" % cut
                continue
            info = json.loads(done.stdout)
            assert info["partial"], "not partial when cut at %d" % cut
            assert info["findings"], "no findings when cut at %d" % cut
            read = read_back(short, places, "--sysroot", "")
            wrong = [a for a in places if read[a] not in (None, places[a])]
            assert not wrong, "wrong bytes when cut at %d" % cut
            assert info["missing_bytes"] <= info["segment_bytes"]


def test_sysroot(core, path):
    with heaptest.case("files of another root"):
        root = heaptest.tmp("root")
        os.makedirs(root + os.path.dirname(path))
        info = imageinfo(core, "--sysroot", root)
        assert {m["file_state"] for m in info["modules"]} == {
            "missing", "not needed"}
        shutil.copy(path, root + path)
        info = imageinfo(core, "--sysroot", root)
        found = module(info, path)
        assert found["file_state"] == "matched"
        assert found["file"] == root + path, found["file"]
        os.unlink(root + path)
        identity = build_id(path)
        folder = os.path.join(root, ".build-id", identity[:2])
        os.makedirs(folder)
        shutil.copy(path, os.path.join(folder, identity[2:]))
        info = imageinfo(core, "--sysroot", root)
        assert module(info, path)["file_state"] == "matched", "by build id"


def test_deleted(core_of, path):
    """A program that was replaced while it ran is found by its build id."""
    with heaptest.case("a program replaced since"):
        running = build(heaptest.tmp("replaced"))
        with Sample(running) as sample:
            os.unlink(running)
            build(running, "-DLARGE_DIFFERENCE", "-O0")
            core = core_of(sample.pid, heaptest.tmp("replaced.core"))
        info = imageinfo(core)
        found = module(info, running)
        assert found["deleted"]
        assert found["file_state"] == "other", found["file_state"]


def test_no_file_note(core):
    """Without NT_FILE, which the kernel leaves out above 4 MiB: by the
    program headers, the loader's link map and ELF headers."""
    with heaptest.case("a core without a list of files"):
        expected = imageinfo(core)["modules"]
        bare = heaptest.tmp("bare")
        kind = elfcore.NT_FILE.to_bytes(4, "little") + b"CORE\0"
        with open(core, "rb") as file:
            data = file.read()
        assert data.count(kind) == 1
        with open(bare, "wb") as file:
            file.write(data.replace(kind, b"\0\0\0\x7fCORE\0"))
        info = imageinfo(bare)
        assert info["files"] == []
        got = {m["start"]: m for m in info["modules"]}
        assert len(got) == len(expected), "modules are %r" % got
        for m in expected:
            other = got[m["start"]]
            # The loader's names lead through links to the kernel's.
            assert os.path.realpath(other["path"]) == m["path"] or (
                m["path"] == "[vdso]" == other["path"]), other["path"]
            for key in ("bias", "end", "build_id", "executable", "file_state"):
                assert other[key] == m[key], "%s of %s: %r, expected %r" % (
                    key, m["path"], other[key], m[key])


def image_symbols(core, path):
    info = imageinfo(core, "--sysroot", "", "--symbols", path)
    found = module(info, path)
    assert found["symbols_source"] == "image", found["symbols_source"]
    return {(s["name"], s["address"] - found["bias"])
            for s in found["symbols"]}


def test_image_symbols(core, path):
    """.dynsym from the dumped image is that of the file."""
    with heaptest.case("exported symbols from the image alone"):
        libraries = [m["path"] for m in imageinfo(core)["modules"]
                     if m["path"].startswith("/")]
        for library in libraries:
            expected = {(name, address) for name, addresses in
                        nm(library, "--dyn-syms").items()
                        for address in addresses}
            got = image_symbols(core, library)
            assert got == expected, "%s: %d symbols, readelf has %d" % (
                library, len(got), len(expected))


def split_debug(path, stripped, debug):
    objcopy = heaptest.tool("objcopy", "binutils")
    for argv in ([objcopy, "--only-keep-debug", path, debug],
                 [objcopy, "--strip-all", path, stripped]):
        done = heaptest.run(argv)
        assert done.returncode == 0, done.stderr


def symbols_under(root, core, path):
    info = imageinfo(core, "--sysroot", root, "--symbols", path)
    found = module(info, path)
    return found["symbols_source"], {s["name"] for s in found["symbols"]}


def test_debug_files(core, path):
    stripped, debug = heaptest.tmp("stripped"), heaptest.tmp("sample.debug")
    objcopy = heaptest.tool("objcopy", "binutils")
    identity = build_id(path)

    def fresh_root(name):
        root = heaptest.tmp(name)
        os.makedirs(root + os.path.dirname(path))
        return root

    with heaptest.case("a debug file by build id"):
        split_debug(path, stripped, debug)
        root = fresh_root("root-id")
        shutil.copy(stripped, root + path)
        source, names = symbols_under(root, core, path)
        assert source == "file" and "local_counter" not in names
        assert "exported_counter" in names
        folder = root + "/usr/lib/debug/.build-id/" + identity[:2]
        os.makedirs(folder)
        shutil.copy(debug, "%s/%s.debug" % (folder, identity[2:]))
        source, names = symbols_under(root, core, path)
        assert source == "debug file", source
        assert {"local_counter", "exported_counter"} <= names

    with heaptest.case("a debug file by link"):
        root = fresh_root("root-link")
        done = heaptest.run([objcopy, "--add-gnu-debuglink=" + debug, stripped,
                             root + path])
        assert done.returncode == 0, done.stderr
        folder = os.path.dirname(root + path) + "/.debug"
        os.makedirs(folder)
        linked = os.path.join(folder, os.path.basename(debug))
        shutil.copy(debug, linked)
        source, names = symbols_under(root, core, path)
        assert source == "debug file" and "local_counter" in names
        with open(linked, "ab") as file:
            file.write(b"x")            # the checksum is another one now
        source, names = symbols_under(root, core, path)
        assert source == "file" and "local_counter" not in names

    with heaptest.case("symbols in .gnu_debugdata"):
        root = fresh_root("root-debugdata")
        mini = heaptest.tmp("mini")
        for argv in ([objcopy, "-S", "--keep-symbol=local_counter",
                      "--remove-section=.comment", debug, mini],
                     [heaptest.tool("xz", "xz-utils"), "-f", mini],
                     [objcopy, "--add-section", ".gnu_debugdata=%s.xz" % mini,
                      stripped, root + path]):
            done = heaptest.run(argv)
            assert done.returncode == 0, done.stderr
        source, names = symbols_under(root, core, path)
        assert source == "file", source
        assert "local_counter" in names, "not there"


def test_sections(core, path):
    with heaptest.case("sections of a file"):
        info = imageinfo(core, "--section", path, ".data",
                         "--section", path, ".no-such-section",
                         "--section", path, ".comment")
        done = heaptest.run([heaptest.tool("readelf", "binutils"), "-SW", path])
        line = re.search(r"\] \.data\s+PROGBITS\s+(\w+) \w+ (\w+)",
                         done.stdout)
        expected = [{"module": path, "name": ".data",
                     "address": module(info, path)["bias"] + int(line[1], 16),
                     "size": int(line[2], 16)}]
        assert info["answers"] == expected, info["answers"]


def test_aarch64():
    """A library of aarch64, in a core built here, read on any machine."""
    with heaptest.case("a core of aarch64"):
        cc = heaptest.tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
        source, path = heaptest.tmp("arm.c"), heaptest.tmp("libarm.so")
        with open(source, "w") as file:
            file.write("int arm_data = 3; int arm_bss[100];\n"
                       "int arm_function(int x) { return x + arm_data; }\n")
        build(path, "-shared", "-fPIC", "-nostdlib", source=source, cc=cc)
        with open(path, "rb") as file:
            library = file.read()
        done = heaptest.run([heaptest.tool("readelf", "binutils"), "-lW",
                             path])
        base, page = 0x7F8000000000, 65536
        core, files = elfcore.CoreBuilder("aarch64"), []
        core.add_note("CORE", elfcore.NT_PRSTATUS, bytes(392))
        core.add_note("CORE", elfcore.NT_AUXV, b"".join(
            x.to_bytes(8, "little") for x in (6, page, 0, 0)))
        for line in done.stdout.splitlines():
            if line.split()[:1] != ["LOAD"]:
                continue
            offset, vaddr, _, filesz, _ = (int(x, 16)
                                           for x in line.split()[1:6])
            start, end = vaddr & -page, (vaddr + filesz + page - 1) & -page
            data = library[offset & -page:offset + filesz]
            core.add_segment(base + start, data, memsz=end - start,
                             flags=PF_R | (PF_W if " RW " in line else PF_X))
            files.append((base + start, base + end, offset & -page, path))
        core.add_file_note(files, page)
        name = heaptest.tmp("arm.core")
        core.write(name)
        info = imageinfo(name)
        assert info["machine"] == 183 and info["page_size"] == page
        assert len(info["threads"][0]["registers"]) == 2 * 34 * 8
        found = module(info, path)
        assert found["bias"] == base and found["build_id"] == build_id(path)
        assert found["file_state"] == "matched"
        expected = {(n, a) for n, addresses in nm(path, "--dyn-syms").items()
                    for a in addresses}
        got = image_symbols(name, path)
        assert got == expected, "got %r, readelf has %r" % (got, expected)


def main():
    path = build(heaptest.tmp("sample"))
    core = test_kernel(path, 0x33, "core.33")
    test_kernel(path, 0x3, "core.3")
    test_kernel(path, 0x7F, "core.7f")
    fixed = build(heaptest.tmp("sample.fixed"), "-no-pie")
    with heaptest.case("a program at fixed addresses"):
        with Sample(fixed) as sample:
            place = heaptest.gcore(sample.pid, heaptest.tmp("fixed.core"))
        found = module(imageinfo(place), fixed)
        assert found["bias"] == 0 and found["executable"], found
        compare_symbols(place, fixed)
    live = test_gcore(path)
    test_lldb(path)
    if core:
        test_wrapped(core)
        test_truncated(core)
        test_sysroot(core, path)
        test_debug_files(core, path)
        test_sections(core, path)
    test_deleted(heaptest.gcore, path)
    if live:
        test_image_symbols(live, path)
        test_no_file_note(live)
    test_aarch64()
    heaptest.finish()


main()
