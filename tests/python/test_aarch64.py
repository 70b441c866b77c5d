# SPDX-License-Identifier: Apache-2.0
"""Processes and programs of aarch64 on a machine that need not be one.

tests/python/fetch_aarch64.sh fetches interpreters of aarch64 and qemu-user,
which runs them, and writes an ELF core of its guest when a signal ends it. Such
a core has neither a list of mapped files nor any page of code, so it is the
poorest that people bring. It is held against the census of the forked twin, as
any other dump (census_compare), and its modules against /proc/PID/maps of qemu.

Then heapscan itself is built for aarch64,

    make CC="aarch64-linux-gnu-gcc --sysroot=$ROOT" \\
         PKG_CONFIG="env PKG_CONFIG_SYSROOT_DIR=$ROOT PKG_CONFIG_LIBDIR=$ROOT/\\
usr/lib/aarch64-linux-gnu/pkgconfig:$ROOT/usr/share/pkgconfig pkg-config" \\
         B=build/aarch64 programs

where ROOT is the fetched sysroot/root, and run by qemu: on dumps of both
machines it must say what the native one says, byte for byte. Some of the unit
tests are run so, too."""

import glob
import json
import os
import re
import resource
import shutil
import signal
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import census_compare
import elfcore
import heaptest
import oomlistener

FETCHED = os.path.join(heaptest.CACHE, "aarch64")
HOW = "tests/python/fetch_aarch64.sh fetches it"
SCALE = ["--scale", 300]
NO_FILES = ["--sysroot", "/nonexistent"]
THREADS = 4     # of the target: the main one, and --threads of them
# Unit tests to run built for aarch64: of what depends on the machine, or on
# how old the kernel is (qemu 7.2 knows no openat2).
UNIT_TESTS = ("backing", "image", "linkmap", "memory", "modules", "notes",
              "pyruntime", "workers")


# ---- What was fetched

def root_of(name):
    """A root folder that fetch_aarch64.sh made."""
    folder = os.path.join(FETCHED, name)
    if not os.path.exists(os.path.join(folder, "packages")):
        raise heaptest.Skip("no %s: %s" % (folder, HOW))
    return os.path.join(folder, "root")


def emulator(root):
    """How to start a program of aarch64 that finds its files in a root."""
    return [os.path.join(root_of("qemu"), "usr/bin/qemu-aarch64-static"),
            "-L", root]


def guests():
    """(interpreter, its root) of those fetched."""
    for packages in sorted(glob.glob(os.path.join(glob.escape(FETCHED),
                                                  "*-debian", "packages"))):
        root = os.path.join(os.path.dirname(packages), "root")
        python = [path for path in glob.glob(root + "/usr/bin/python3.*")
                  if re.fullmatch(r"python3\.\d+", os.path.basename(path))]
        yield (heaptest.Interpreter("aarch64", emulator(root) + python), root)


# ---- Cores by qemu

class Mapped:
    """The ELF files of a root that a guest has mapped, {path: address}, from
    what the kernel says of qemu: the guest's addresses are its own, but for a
    constant that the program's fixed address gives."""

    def __init__(self, pid, root, program):
        lowest = {}
        with open("/proc/%d/maps" % pid) as maps:
            for line in maps:
                fields = line.rstrip("\n").split(maxsplit=5)
                if len(fields) == 6 and fields[5].startswith(root + "/"):
                    start = int(fields[0].split("-")[0], 16)
                    lowest[fields[5]] = min(start, lowest.get(fields[5], start))
        with open(program, "rb") as file:
            assert file.read(18)[16] == 2, "%s is not of ET_EXEC" % program
        moved = lowest[os.path.realpath(program)] - 0x400000
        self.addresses = {path: start - moved for path, start in lowest.items()
                          if is_elf(path)}


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def qemu_core(target, path):
    """End a guest by SIGABRT; returns the path of the core qemu wrote."""
    try:
        resource.prlimit(target.pid, resource.RLIMIT_CORE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (PermissionError, ValueError):
        raise heaptest.Skip("the limit on core sizes (ulimit -c) cannot be "
                            "raised")
    # The kernel may add a core of qemu itself: without memory, please.
    with open("/proc/%d/coredump_filter" % target.pid, "w") as file:
        file.write("0")
    os.kill(target.pid, signal.SIGABRT)
    target.process.wait(timeout=60)
    cores = glob.glob(os.path.join(glob.escape(target.folder), "qemu_*.core"))
    assert len(cores) == 1, "expected one core by qemu, got %r" % cores
    shutil.move(cores[0], path)
    return path


def info(core, *options):
    done = heaptest.heapscan(core, "info", "--top", "0", "-f", "json", *options)
    assert done.returncode == 0, "heapscan info: exit %d: %s" % (
        done.returncode, done.stderr)
    return json.loads(done.stdout)


def check_info(interpreter, core, pid, tasks):
    table = info(core)
    facts = {(row["section"], row["key"]): row["value"]
             for row in table["rows"]}
    expected = {
        ("file", "writer"): "qemu",
        ("process", "arch"): "aarch64",
        ("process", "pid"): pid,
        ("runtime", "version"): "%d.%d.%d" % interpreter.version,
        ("runtime", "build"): "GIL, release",
        ("runtime", "allocator"): "pymalloc",
        ("runtime", "python_threads"): THREADS,
    }
    got = {key: facts.get(key) for key in expected}
    assert got == expected, "expected %r, got %r" % (expected, got)
    threads = [row["tid"] for row in table["threads"]]
    assert len(threads) == THREADS and set(threads) <= tasks, \
        "expected %d of the threads %r, got %r" % (THREADS, tasks, threads)
    assert table["threads"][0].get("signal") == signal.SIGABRT, \
        "the first thread: %r" % table["threads"][0]


def check_modules(core, root, mapped):
    """Every file is found where it was mapped, and is the one of the root."""
    modules = info(core, "--sysroot", root)["modules"]
    got = {}
    for module in modules:
        path = module["path"]
        if path.startswith("/"):
            assert module["file"] == "matched", "%s is %s" % (path,
                                                              module["file"])
            if not path.startswith(root + "/"):
                path = root + path
            path = os.path.realpath(path)
        got[int(module["start"], 16)] = path
    # The loader's own name lies among the code, which the core has not.
    expected = {
        start: path if "/ld-linux-" not in path else "[%#x]" % start
        for path, start in mapped.addresses.items()}
    assert got == expected, "expected %r, got %r" % (expected, got)
    program = [m["path"] for m in modules if m["executable"]]
    assert len(program) == 1 and "/python3." in program[0], program


def check_names(census, core, root):
    """With the files at hand every type has its name, C's as well."""
    wrong = {(census.types[row.type].name, row.name) for row in
             census_compare.objects_of(core, "--sysroot", root).values()
             if row.type in census.types
             and census.types[row.type].name != row.name}
    assert not wrong, census_compare.some(sorted(wrong))


class Code:
    """What an ELF file has at the addresses that it was linked for."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.fixed = self.data[16] == 2
        start, = struct.unpack_from("<Q", self.data, 32)
        size, count = struct.unpack_from("<HH", self.data, 54)
        self.loads = [load for load in (
            struct.unpack_from("<IIQQQQ", self.data, start + i * size)
            for i in range(count)) if load[0] == 1]

    def word(self, address):
        for _, _, offset, vaddr, _, size in self.loads:
            if vaddr <= address < vaddr + size:
                return struct.unpack_from("<I", self.data,
                                          offset + address - vaddr)[0]
        return 0


def is_call(word):
    """bl, blr, and blr that checks a signature."""
    return (word & 0xFC000000 == 0x94000000
            or word & 0xFFFFFC1F == 0xD63F0000
            or word & 0xFEFFF800 == 0xD63F0800)


def check_stacks(core, root, interpreter):
    """Native stacks reach their ends, by addresses behind calls; where code does
    not sign them, so that gdb can read them, they are gdb's."""
    done = heaptest.heapscan(core, "threads", "--sysroot", root, "-f", "json",
                             "--top", "0")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    starts = {module["path"]: int(module["start"], 16)
              for module in info(core, "--sysroot", root)["modules"]}
    codes = {}
    assert len(rows) == THREADS, rows
    for row in rows:
        assert "incomplete" not in row, row["incomplete"]
        assert row["python"][-1]["function"] in ("<module>", "_bootstrap"), row
        assert len(row["merged"]) == len(row["python"]) + len(row["native"])
        for frame in row["native"][1:]:
            path = frame["module"]
            if path not in codes:
                codes[path] = Code(path if path.startswith(root)
                                   else root + path)
            code = codes[path]
            at = int(frame["pc"], 16) - 4
            word = code.word(at if code.fixed else at - starts[path])
            assert is_call(word), (frame, hex(word))
    if interpreter.version > (3, 12):
        return
    done = heaptest.run([
        heaptest.tool("gdb-multiarch", "gdb-multiarch"), "-nx", "-batch",
        "-iex", "set debuginfod enabled off", "-iex", "set auto-load off",
        "-iex", "set sysroot " + root, "-x",
        os.path.join(heaptest.LIB, "gdb_stacks.py"), interpreter.command[-1],
        core], env=dict(os.environ, DEBUGINFOD_URLS=""))
    stacks = {int(tid): re.findall("^FRAME ([0-9]+)", frames, re.M)
              for tid, frames in re.findall(
                  r"^THREAD (\d+)\n((?:(?!THREAD).*\n?)*)", done.stdout, re.M)}
    ours = {row["tid"]: [str(int(frame["pc"], 16)) for frame in row["native"]]
            for row in rows}
    assert ours == stacks, (ours, stacks, done.stderr)


def test_guest(interpreter, root):
    """Returns the path of its core, which stays."""
    census_path = heaptest.tmp("census")
    core = heaptest.tmp("%s.core" % interpreter)
    with heaptest.start_target(interpreter, args=SCALE,
                               census=census_path) as target:
        pid = target.pid
        mapped = Mapped(pid, root, interpreter.command[-1])
        tasks = set(map(int, os.listdir("/proc/%d/task" % pid)))
        qemu_core(target, core)
    census = heaptest.Census(census_path)

    with heaptest.case("%s: what the core is" % interpreter):
        check_info(interpreter, core, pid, tasks)
    with heaptest.case("%s: modules by the loader's list" % interpreter):
        check_modules(core, root, mapped)
    with heaptest.case("%s: stacks" % interpreter):
        check_stacks(core, root, interpreter)
    with elfcore.ElfCore(core) as opened:
        for options, label in ((NO_FILES, "without"),
                               (["--sysroot", root], "with")):
            with heaptest.case("%s: objects, %s the files" % (interpreter,
                                                              label)):
                census_compare.compare(census, opened, core, *options)
    with heaptest.case("%s: names of all types, with the files" % interpreter):
        check_names(census, core, root)
    return core


# ---- heapscan for aarch64

def build():
    """Returns how to start programs built for aarch64."""
    root = root_of("sysroot")
    compiler = heaptest.tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    packages = ":".join(os.path.join(root, "usr", folder, "pkgconfig")
                        for folder in ("lib/aarch64-linux-gnu", "share"))
    folder = heaptest.tmp("aarch64")
    # Nothing of a make that started this test.
    env = {key: value for key, value in os.environ.items()
           if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CFLAGS",
                          "LDFLAGS", "SANITIZE", "VARIANT")}
    done = heaptest.run(
        [heaptest.tool("make", "make"), "-j2", "-C", heaptest.SRC, "WERROR=1",
         "CC=%s --sysroot=%s" % (compiler, root),
         "PKG_CONFIG=env PKG_CONFIG_SYSROOT_DIR=%s PKG_CONFIG_LIBDIR=%s "
         "pkg-config" % (root, packages), "B=" + folder,
         # What it warns of by looking closer is the same for all machines.
         "CFLAGS=-O1", "programs",
         *(os.path.join(folder, "tests", "unit", n) for n in UNIT_TESTS)],
        env=env, timeout=600)
    assert done.returncode == 0, "make: " + done.stderr[-1500:]
    for name in ("heapdump", "heapscan"):
        done = heaptest.run([heaptest.tool("readelf", "binutils"), "-hW",
                             os.path.join(folder, name)])
        assert "AArch64" in done.stdout, done.stdout + done.stderr
    return lambda name: emulator(root) + [os.path.join(folder, name)]


def run_unit_tests(programs):
    for name in UNIT_TESTS:
        with heaptest.case("aarch64's unit/" + name):
            done = heaptest.run(programs("tests/unit/" + name))
            failed = re.findall("^not ok .*", done.stdout, re.M)
            assert done.returncode == 0 and "\nok " in done.stdout, \
                "exit %d: %s" % (done.returncode, failed or done.stderr)


def tell_of_memory(interpreter, library):
    """The library of --on-oom: what each of its two hooks of Python tells."""
    script = ("import sys\n"
              "for step in (lambda: bytearray(1 << 62), lambda: exec("
              "'raise MemoryError')):\n"
              " try: step()\n"
              " except MemoryError: print('caught')\n")
    with oomlistener.Listener(library) as listener:
        given = [word for setting in listener.environment().items()
                 for word in ("-E", "=".join(setting))]
        emulated, *rest = interpreter.argv
        done = heaptest.run([emulated, *given, *rest, "-c", script],
                            env=interpreter.environment())
    assert done.stdout == "caught\ncaught\n", done.stdout + done.stderr
    # Up to 3.11 the first is made, too, when its handler is reached.
    told = [one[:2] for one in listener.heard]
    made = (oomlistener.RAISED, "MemoryError")
    assert told == [(oomlistener.REFUSED, ""), *[made] * (
        2 if interpreter.version < (3, 12) else 1)], told
    assert listener.heard[0][3] >= 1 << 62, listener.heard


def same_answers(scan, dump, label, *options):
    """Both builds of heapscan say the same of a dump."""
    for view in ("types", "info"):
        with heaptest.case("aarch64's heapscan, %s of %s" % (view, label)):
            argv = [dump, view, "--top", "0", "-f", "json", *options]
            native, emulated = heaptest.heapscan(*argv), heaptest.run(
                scan + argv)
            assert native.returncode == 0 and len(native.stdout) > 1000, \
                "exit %d: %s" % (native.returncode, native.stderr)
            assert emulated.returncode == 0, "exit %d: %s" % (
                emulated.returncode, emulated.stderr)
            assert emulated.stdout == native.stdout, \
                "expected %d bytes that begin %r, got %d that begin %r" % (
                    len(native.stdout), native.stdout[:300],
                    len(emulated.stdout), emulated.stdout[:300])


def native_dumps():
    """Dumps of a process of this machine: by heapdump, and gdb's."""
    interpreter = heaptest.Interpreter("system", ["/usr/bin/python3"])
    dump, core = heaptest.tmp("native.core.zst"), heaptest.tmp("native.core")
    with heaptest.start_target(interpreter, args=SCALE) as target:
        done = heaptest.heapdump("--max-pause", "1m", "-q", "-o", dump,
                                 target.pid)
        assert done.returncode == 0, "heapdump: exit %d: %s" % (
            done.returncode, done.stderr)
        heaptest.gcore(target.pid, core)
    return dump, core


def test_build(core):
    """core: one that qemu wrote, or None."""
    programs = build()
    done = heaptest.run(programs("heapdump") + ["--version"])
    assert done.stdout.startswith("heapdump "), done.stdout + done.stderr
    heaptest.skip("aarch64's heapdump dumps a process",
                  "qemu-user emulates no ptrace; it was built and started")
    run_unit_tests(programs)
    for interpreter, _ in guests():
        with heaptest.case("%s: lack of memory is told" % interpreter):
            tell_of_memory(interpreter,
                           heaptest.tmp("aarch64/libheapdump-onoom.so"))
    scan = programs("heapscan")
    if core:
        same_answers(scan, core, "a core of aarch64", *NO_FILES)
    else:
        heaptest.skip("aarch64's heapscan on a core of aarch64",
                      "no such core was made")
    for dump, label in zip(native_dumps(), ("heapdump's dump", "gdb's core")):
        same_answers(scan, dump, "%s of this machine" % label, *NO_FILES)


# ---- Containers

def test_containers(core):
    """The same core in each of the forms that people compress it to."""
    plain = census_compare.type_counts(core, *NO_FILES)
    for suffix, package, argv in (
            (".zst", "zstd", ["zstd", "-q1"]), (".gz", "gzip", ["gzip", "-1"]),
            (".xz", "xz-utils", ["xz", "-0"]), (".lz4", "lz4", ["lz4", "-q"])):
        with heaptest.case("a core of aarch64 as " + suffix):
            heaptest.tool(argv[0], package)
            packed = core + suffix
            with open(packed, "wb") as out, open(core, "rb") as source:
                done = heaptest.run([*argv, "-c"], stdin=source, stdout=out)
            assert done.returncode == 0, done.stderr
            got = census_compare.type_counts(packed, *NO_FILES)
            assert got == plain, "expected %d types, got %d" % (len(plain),
                                                                len(got))
            os.unlink(packed)


def main():
    cores = []
    with heaptest.case("interpreters of aarch64"):
        found = list(guests())
        if not found:
            raise heaptest.Skip("none in %s: %s" % (FETCHED, HOW))
        # Each takes minutes under qemu.
        if not os.environ.get("HEAPSCAN_INTERPRETERS"):
            found = found[:1] + found[1:][-1:]
        for interpreter, root in found:
            with heaptest.case("%s: run and dumped by qemu" % interpreter):
                cores.append(test_guest(interpreter, root))
                if len(cores) > 1:
                    os.unlink(cores.pop())
    if cores:
        test_containers(cores[0])
    with heaptest.case("built for aarch64"):
        test_build(cores[0] if cores else None)
    heaptest.finish()


main()
