# SPDX-License-Identifier: Apache-2.0
"""What is no core, cores with absurd headers, files that cannot be read or
expanded, and answers that cannot be written: a clear sentence and the exit
status of the manual, or the answer with a finding. Never a crash, a hang or
unbounded memory."""

import contextlib
import gzip
import os
import random
import resource
import shutil
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import damage
import elfcore
import heaptest
from damage import builds, patched, series, some

NODES = 3000
TARGET = """
import os, sys
class Node:
    def __init__(self, i):
        self.i = i
nodes = [Node(i) for i in range(%d)]
print("READY", os.getpid(), flush=True)
sys.stdin.read()
""" % NODES
U64 = struct.Struct("<Q")
U32 = struct.Struct("<I")
U16 = struct.Struct("<H")
ABSURD = (1 << 64) - 1, 1 << 63, 1 << 47, (1 << 40) + 5
NOBODY = 65534
# Views that read all of the memory, and not only what leads to objects.
WHOLE_MEMORY = (), ("suspects",), ("memory",), ("malloc", "--by", "owner")


@contextlib.contextmanager
def target(padding=0):
    """The running target, with a bytearray of padding bytes."""
    script = heaptest.tmp("idle.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write("pad = bytearray(b'pad') * (%d // 3)\n" % padding + TARGET)
    interpreter = heaptest.Interpreter("system", ["/usr/bin/python3"])
    with heaptest.start_target(interpreter, script) as running:
        yield running


# ---- What is no core

def ident(elf_class=2, order=1):
    return b"\x7fELF" + bytes((elf_class, order, 1)) + bytes(9)


def ehdr(e_type=elfcore.ET_CORE, machine=62, **fields):
    names = ("entry", "phoff", "shoff", "flags", "ehsize", "phentsize",
             "phnum", "shentsize", "shnum", "shstrndx")
    values = dict.fromkeys(names, 0)
    values.update(ehsize=64, phoff=64, phentsize=56, phnum=1)
    values.update(fields)
    return struct.pack("<16sHHI", ident(), e_type, machine, 1) + struct.pack(
        "<QQQIHHHHHH", *(values[name] for name in names))


# What the file holds, and what the sentence must say of it.
NO_CORES = {
    "text": (b"root:x:0:0\n" * 500, ["not an ELF"]),
    "random bytes": (random.Random(1).randbytes(100000), ["not an ELF"]),
    "zero bytes": (bytes(100000), ["not an ELF", "zero bytes"]),
    "one byte": (b"\x7f", ["not an ELF"]),
    "nothing": (b"", ["empty"]),
    "a script": (b"#!/bin/sh\nexit 0\n", ["script"]),
    "a minidump": (b"MDMP\x93\xa7" + bytes(4000), ["minidump"]),
    "32 bits": (ident(elf_class=1) + bytes(4000), ["32-bit"]),
    "big-endian": (ident(order=2) + bytes(4000), ["big-endian"]),
    "class 7": (ident(elf_class=7) + bytes(4000), ["class 7"]),
    "byte order 9": (ident(order=9) + bytes(4000), ["byte order 9"]),
    "machine i386": (ehdr(machine=3) + bytes(56), ["i386", "x86-64"]),
    "machine riscv": (ehdr(machine=243) + bytes(56), ["riscv"]),
    "machine 48879": (ehdr(machine=0xBEEF) + bytes(56), ["48879"]),
    "a GPU core": (ehdr(machine=190) + bytes(56), ["GPU"]),
    "an object file": (ehdr(e_type=1) + bytes(56), ["object file", "core"]),
    "type 0": (ehdr(e_type=0) + bytes(56), ["type 0", "not a core"]),
    "no program headers": (ehdr(phnum=0), ["program header"]),
    "headers behind the end": (ehdr(phoff=1 << 40), ["program headers"]),
    "headers at the end of time": (ehdr(phoff=(1 << 64) - 8, phnum=9),
                                   ["program headers"]),
    "headers of 0 bytes": (ehdr(phentsize=0) + bytes(560), ["0 bytes"]),
    "headers of 1 byte": (ehdr(phentsize=1) + bytes(560), ["1 bytes"]),
    "headers of 65535 bytes": (ehdr(phentsize=65535) + bytes(560),
                               ["65535 bytes"]),
    "a count that is nowhere": (ehdr(phnum=0xFFFF, shoff=1 << 50),
                                ["program headers"]),
    "gzip of text": (gzip.compress(b"no core at all\n" * 100), ["not an ELF"]),
    "gzip of gzip": (gzip.compress(gzip.compress(bytes(1000))),
                     ["compressed data within"]),
    "a zstd frame that needs a dictionary": (
        b"\x28\xb5\x2f\xfd\x21\x07\x05\x29\x00\x00hello", ["dictionary"]),
    "gzip, cut at once": (gzip.compress(b"no core")[:10], []),
    "a zstd frame of text": (b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello",
                             ["not an ELF"]),
    "a zstd frame that is none": (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, []),
    "a zstd frame of 2^60 bytes": (b"\x28\xb5\x2f\xfd\xe0" + U64.pack(1 << 60)
                                   + bytes(100), []),
    "skippable frames alone": (b"\x51\x2a\x4d\x18\x04\x00\x00\x00abcd" * 5,
                               []),
    "bzip2": (b"BZh91AY&SY" + bytes(100), ["bzip2"]),
}


def test_no_cores(build):
    path = heaptest.tmp("thing")

    def refuse(words):
        for view in "info", "types":
            done = build.refuses([path, view], 1, path, *words)
            assert done.err.count("\n") == 1, done.err

    for name, (data, words) in NO_CORES.items():
        with build.case("no core: " + name):
            with open(path, "wb") as file:
                file.write(data)
            refuse(words)
    for program in ("/bin/true", "/usr/bin/python3", sys.executable):
        with build.case("an executable, " + program):
            build.refuses([program], 1, "not a core", program)
    with build.case("a shared library"):
        with open("/proc/self/maps") as maps:
            library = next(line.split()[-1] for line in maps
                           if "/libc" in line)
        build.refuses([library], 1, "shared library", library)


def test_places(build, core):
    folder = heaptest.tmp("places" + str(build.sanitized))
    os.mkdir(folder)
    path = os.path.join(folder, "thing")
    with build.case("a directory"):
        build.refuses([folder], 2, "directory", folder)
    with build.case("a FIFO is not waited for"):
        os.mkfifo(path)
        build.refuses([path], 2, "pipe", path)
    with build.case("a device"):
        build.refuses(["/dev/zero"], 2, "/dev/zero")
    with build.case("no such file"):
        build.refuses([os.path.join(folder, "none")], 1, "No such file",
                      "none")
    with build.case("a link that leads to itself"):
        link = os.path.join(folder, "link")
        os.symlink(link, link)
        build.refuses([link], 1, "symbolic links", link)
    with build.case("a name that is too long"):
        build.refuses(["/" + "x" * 5000], 1, "too long")
    with build.case("a file of somebody else"):
        if os.geteuid() != 0:
            raise heaptest.Skip("becoming another user needs root")
        with damage.public_folder() as public:
            for name in "heapscan", "core":
                shutil.copy(build.program(name) if name == "heapscan"
                            else core, os.path.join(public, name))
            own = os.path.join(public, "core")
            os.chmod(own, 0o600)
            there = damage.Build(public, build.label)
            done = there.refuses([own], 1, "Permission denied", own,
                                 user=NOBODY, group=NOBODY, extra_groups=[])
            os.chmod(own, 0o644)
            os.chmod(public, 0o700)
            os.chown(public, NOBODY, NOBODY)
            assert there.types(own, user=NOBODY, group=NOBODY,
                               extra_groups=[])["__main__.Node"] == NODES, done


# ---- Absurd headers of a real core

def test_headers(build, core):
    """A core that is otherwise good, its headers changed one at a time."""
    headers = damage.Headers(core)
    loads = headers.loads()
    notes = next(s for s in headers.segments if s[1] == elfcore.PT_NOTE)
    full = build.types(core)
    assert full["__main__.Node"] == NODES

    def answers(changes, status=(0, 3), finding=None, nodes=NODES):
        """Both views answer; nodes: at least so many are found (None: there
        need be no Python)."""
        with patched(core, *changes):
            info = build.info(core, status=status)
            codes = {f["code"] for f in info.get("findings", ())}
            if finding:
                assert finding in codes, (finding, info.get("findings"))
            done = build.heapscan(core, "types", "-n", "0", "-f", "csv")
            if done.status == 1 and nodes is None:
                return
            assert done.status == info_status(info), done
            got = done.out.count("__main__.Node,") and int(next(
                line for line in done.out.splitlines()
                if line.startswith("__main__.Node,")).split(",")[1])
            assert (nodes or 0) <= got <= NODES, \
                "expected %d of Node, got %d" % (nodes, got)

    def info_status(info):
        return 0 if info["dump"]["complete"] else 3

    def field(index, name, value):
        return headers.header_at(index, name), U64.pack(value)

    def whole_memory(view):
        """A view that goes through all memory, step by step, comes to an end
        where that is the end of all addresses."""
        with patched(core, field(others[-1][0], "p_vaddr", (1 << 64) - 4096),
                     field(others[-1][0], "p_memsz", 1 << 20)):
            done = build.heapscan(core, *view, "--no-index")
        assert done.status == 3 and "end of the address space" in done.err, done

    # The segment with most of the nodes stays; another one is spoilt.
    heap = max(loads, key=lambda s: s[4])
    others = [s for s in loads if s is not heap]
    for name in "p_filesz", "p_memsz", "p_offset", "p_vaddr", "p_align":
        runs = []
        for value in ABSURD + (0, 1, 7):
            for s in (others[0], others[len(others) // 2], others[-1]):
                changes = [field(s[0], name, value)]
                runs.append(("segment %d, %#x" % (s[0], value),
                             lambda c=changes: answers(c, nodes=None)))
        series(build, "absurd %s of a segment" % name, runs)
        series(build, "absurd %s of every segment" % name, (
            ("%#x" % value, lambda value=value: answers(
                [field(s[0], name, value) for s in loads], nodes=None))
            for value in ABSURD + (0,)))
        series(build, "absurd %s of the notes" % name, (
            ("%#x" % value, lambda value=value: answers(
                [field(notes[0], name, value)], nodes=None))
            for value in ABSURD + (0, 1)))
    with build.case("a segment of 2^63 bytes in the file is partial"):
        answers([field(others[-1][0], "p_filesz", 1 << 63),
                 field(others[-1][0], "p_memsz", 1 << 63)], status=(3,),
                nodes=None)
    series(build, "a segment up to the last address, seen in every view", (
        (" ".join(view), lambda view=view: whole_memory(view))
        for view in WHOLE_MEMORY))
    with build.case("segments that all overlap"):
        answers([field(s[0], "p_vaddr", loads[0][3]) for s in loads],
                nodes=None)
    with build.case("segments that all are the whole address space"):
        answers([change for s in loads for change in (
            field(s[0], "p_vaddr", 0), field(s[0], "p_memsz", (1 << 64) - 1))],
            nodes=None)
    with build.case("segments that overlap by half"):
        answers([field(s[0], "p_vaddr", s[3] - (s[4] // 2 & -4096))
                 for s in others], nodes=None)
    with build.case("segments without addresses in order"):
        rows = [damage.read(core, headers.header_at(s[0], "p_type"), 56)
                for s in loads]
        random.Random(2).shuffle(rows)
        answers([(headers.header_at(s[0], "p_type"), row)
                 for s, row in zip(loads, rows)], status=(0,))
    with build.case("all segments said to be of another type"):
        answers([(headers.header_at(s[0], "p_type"), U32.pack(0x6ffffff0))
                 for s in loads], nodes=None)

    # e_phnum at 56, e_shoff at 40, sh_info at 44 of the section header.
    for count in 1, 2, headers.phnum - 1, headers.phnum + 1, 0xFFFE:
        with build.case("e_phnum %d" % count):
            answers([(56, U16.pack(count))], nodes=None)
    size = os.path.getsize(core)
    with open(core, "ab") as file:
        file.write(bytes(64))
    try:
        for count in (0, 1, headers.phnum, 0xFFFF, 1 << 20, 1 << 31,
                      (1 << 32) - 1):
            with build.case("PN_XNUM and a count of %d" % count):
                answers([(56, U16.pack(0xFFFF)), (40, U64.pack(size)),
                         (58, U16.pack(64)), (60, U16.pack(1)),
                         (size + 44, U32.pack(count))], nodes=None)
    finally:
        os.truncate(core, size)


def test_left_out(build, core):
    """A core as a coredump_filter without bit 0 makes it says what it lacks,
    whether the data of modules that tells where Python is was left out, too,
    or not."""
    headers = damage.Headers(core)
    with elfcore.ElfCore(core) as parsed:
        files = [(f.start, f.end) for f in parsed.files()]
    written = [s for s in headers.loads() if elfcore.PF_W & U32.unpack(
        damage.read(core, headers.header_at(s[0], "p_flags"), 4))[0]]
    own = [s for s in written
           if not any(start <= s[3] < end for start, end in files)]
    assert 0 < len(own) < len(written)
    for name, gone in ("anonymous memory", own), ("written memory", written):
        with build.case("no %s is in the core" % name), patched(core, *[
                (headers.header_at(s[0], "p_filesz"), U64.pack(0))
                for s in gone]):
            for view in (), ("types",):
                done = build.heapscan(core, *view, "--no-index")
                assert done.status == 1, done
                assert "coredump_filter" in done.err, done


def test_notes(build, core):
    """Notes whose sizes lead nowhere, behind the end, or back to themselves."""
    headers = damage.Headers(core)

    def answers(changes):
        with patched(core, *changes):
            info = build.info(core)
            done = build.heapscan(core, "types")
            assert done.status in (0, 1, 3), done
            return info

    huge = U32.pack(0xFFFFFFFF)
    for name, change in (
            ("an owner of 2^32-1 bytes", (0, huge)),
            ("a content of 2^32-1 bytes", (4, huge)),
            ("both of 2^32-1 bytes", (0, huge + huge)),
            # Sums of 32 bits that come to 0: the next note is this one.
            ("sizes that lead back to itself", (0, U32.pack(4)
                                                + U32.pack(0xFFFFFFF0))),
            ("sizes that lead back to the one before", (
                0, U32.pack(4) + U32.pack(0xFFFFFFE0))),
            ("no owner and no content", (0, bytes(8))),
            ("no owner and no content, type 0", (0, bytes(12))),
            ("a content of one byte", (4, U32.pack(1)))):
        series(build, "notes: " + name, (
            ("note %d" % i, lambda o=offset: answers(
                [(o + change[0], change[1])]))
            for i, (offset, _, _, _) in enumerate(headers.notes)))
    series(build, "notes: each filled with each byte", (
        ("note %d with %#x" % (i, byte), lambda o=offset, s=size, b=byte:
         answers([(o + 20, bytes([b]) * (s - 20))]))
        for i, (offset, size, _, _) in enumerate(headers.notes)
        if size > 20 for byte in (0, 1, 0x41, 0x7F, 0x80, 0xFF)))
    with build.case("notes: all of them random"):
        source = random.Random(3)
        for _ in range(8):
            info = answers([(offset, source.randbytes(size))
                            for offset, size, _, _ in headers.notes])
            assert info["dump"]["findings"] > 0, info["dump"]
    with build.case("NT_FILE that claims 2^60 files"):
        offset = next(offset for offset, _, owner, kind in headers.notes
                      if kind == elfcore.NT_FILE) + 20
        for count in 1 << 60, (1 << 64) - 1, 1 << 32:
            info = answers([(offset, U64.pack(count))])
            assert info["dump"]["findings"] > 0, info["dump"]


# ---- Expansion, and answers that cannot be written

def pack(name, path):
    """A core as systemd-coredump and logrotate keep it."""
    argv = {"zst": ["zstd", "-qcf"], "gz": ["gzip", "-c"],
            "xz": ["xz", "-c0"], "lz4": ["lz4", "-qcf"]}[name]
    packages = {"xz": "xz-utils"}
    heaptest.tool(argv[0], packages.get(name, argv[0]))
    to = "%s.%s" % (path, name)
    if not os.path.exists(to):
        with open(to, "wb") as out:
            done = heaptest.run([*argv, path], stdout=out)
        assert done.returncode == 0, done.stderr
    return to


def test_expansion(build, core):
    for name in "zst", "gz", "xz", "lz4":
        with build.case("%s, a disk without the space" % name):
            with damage.small_disk(1 << 20) as small:
                packed = pack(name, core)
                build.refuses(["--tmp", small, packed], 1, packed, small,
                              "--tmp")
                build.refuses([packed, "info"], 1, packed, "--tmp",
                              env=dict(os.environ, TMPDIR=small))
                assert not os.listdir(small), os.listdir(small)
        with build.case("%s, a limit on the size of files" % name):
            packed = pack(name, core)
            build.refuses([packed], 1, packed, "--tmp",
                          limits=[(resource.RLIMIT_FSIZE, 1 << 20)])
        with build.case("%s, a folder that is not there" % name):
            packed = pack(name, core)
            build.refuses(["--tmp", "/no/such/folder", packed], 1,
                          "/no/such/folder")
        with build.case("%s, spoilt and cut" % name):
            packed = pack(name, core)
            size = os.path.getsize(packed)
            for at in (5, 30, size // 3, size // 2, size - 6):
                with patched(packed, (at, b"\xee" * 5)):
                    build.heapscan(packed, "info")
                    build.heapscan(packed, "types")
            cut = damage.copy(packed, "cut." + name)
            for length in (size - 1, size - 9, size // 2, 100, 19, 7, 5):
                os.truncate(cut, length)
                done = build.heapscan(cut, "info")
                assert done.status in (1, 3), (length, str(done))
                assert cut in done.err or "partial" in done.err, done.err
    with build.case("zst, of a size that is only claimed"):
        packed = damage.copy(pack("zst", core), "claim.zst")
        head = damage.read(packed, 4, 1)[0]
        assert head >> 6 in (2, 3), "no size of content: %#x" % head
        for claim in (1 << 45, (1 << 60) + 1, 1):
            width = 8 if head >> 6 == 3 else 4
            at = 5 + (0 if head >> 5 & 1 else 1)
            damage.patch(packed, at, U64.pack(claim)[:width])
            done = build.heapscan(packed, "info")
            assert done.status in (1, 3), done


def test_output(build, core):
    with build.case("an answer into a folder that is not there"):
        build.refuses([core, "-o", "/no/such/folder/x"], 1, "No such file",
                      "/no/such/folder/x")
    with build.case("an answer into what is a folder"):
        build.refuses([core, "-o", heaptest.tmp()], 1, "s a directory")
    with build.case("an answer onto a full disk"):
        with damage.small_disk(16384) as small:
            answer = os.path.join(small, "answer")
            with open(answer, "w") as file:
                file.write("the old one")
            build.refuses([core, "objects", "-n", "0", "-o", answer], 1,
                          "No space left", answer)
            assert os.listdir(small) == ["answer"], os.listdir(small)
            with open(answer) as file:
                assert file.read() == "the old one"
    with build.case("an answer into a folder of somebody else"):
        if os.geteuid() != 0:
            raise heaptest.Skip("becoming another user needs root")
        with damage.public_folder() as public:
            shutil.copy(build.program("heapscan"), public)
            shutil.copy(core, os.path.join(public, "core"))
            os.chmod(os.path.join(public, "core"), 0o644)
            there = damage.Build(public, build.label)
            there.refuses([os.path.join(public, "core"), "-o",
                           os.path.join(public, "answer")], 1,
                          "Permission denied", "answer", user=NOBODY,
                          group=NOBODY, extra_groups=[])


# ---- A file that shrinks while it is read

def test_shrinking(build, core):
    size = os.path.getsize(core)

    def shrink(view, to):
        """Cut the file while the answer is being written and nobody reads it:
        the pipe is full, so the reading has not come to its end."""
        path = damage.copy(core, "shrinking")
        reader, writer = os.pipe()

        def cut(process):
            os.close(writer)
            deadline = time.monotonic() + 20
            while "pipe_write" not in wait_channel(process.pid):
                assert time.monotonic() < deadline, "the pipe is not full"
                time.sleep(0.005)
            os.truncate(path, to)
            while os.read(reader, 1 << 16):
                pass
            os.close(reader)

        argv = [build.program("heapscan"), path, view, "-n", "0"]
        env = dict(os.environ, ASAN_OPTIONS=damage.SANITIZER)
        process = damage.subprocess.Popen(
            argv, stdin=damage.subprocess.DEVNULL, stdout=writer,
            stderr=damage.subprocess.PIPE, env=env)
        cut(process)
        err = process.communicate(timeout=60)[1].decode()
        os.unlink(path)
        for report in damage.REPORTS:
            assert report not in err, err[:2000]
        return process.returncode, err

    def wait_channel(pid):
        with open("/proc/%d/wchan" % pid) as file:
            return file.read()

    with build.case("a file that shrinks while its answer is printed"):
        for to in 0, 4096, size // 2, size // 2 + 77:
            status, err = shrink("objects", to)
            assert status == 3, "cut to %d: exit %d: %s" % (to, status, err)
            assert "became unreadable" in err and "partial" in err, err

    def at_any_time(delay, to):
        path = damage.copy(core, "shrinking")

        def cut(process):
            time.sleep(delay)
            os.truncate(path, to)

        done = build.heapscan(path, "types", during=cut, mebibytes=size >> 20)
        os.unlink(path)
        assert done.status in (0, 1, 3), done
        return done.status

    runs = 30 if build.sanitized else 90
    statuses = []
    series(build, "a file that shrinks at any time", (
        ("after %d/10 ms" % i, lambda i=i: statuses.append(
            at_any_time(i * 1e-4 * (4 if build.sanitized else 1),
                        (0, 4096, size // 2)[i % 3])))
        for i in range(runs)))
    print("# exits: %s" % {s: statuses.count(s) for s in set(statuses)})


def main():
    core, kernel = heaptest.tmp("plain.core"), heaptest.tmp("kernel.core")
    large = heaptest.tmp("large.core")
    with target(20 << 20) as running:
        heaptest.plain_core(running.pid, large)
    with target() as running:
        heaptest.plain_core(running.pid, core)
        with heaptest.case("a kernel core to spoil"):
            heaptest.kernel_core(running.pid, kernel)
    for build in builds():
        test_no_cores(build)
        test_places(build, core)
        for path in filter(os.path.exists, (core, kernel)):
            if build.sanitized and path == kernel:
                continue            # the same code reads it
            test_headers(build, path)
            test_notes(build, path)
        if os.path.exists(kernel):
            test_left_out(build, kernel)
        test_expansion(build, core)
        test_output(build, core)
        test_shrinking(build, large)
    heaptest.finish()


main()
