# SPDX-License-Identifier: Apache-2.0
"""What the tests of bad input share: programs run within bounds, plain and
sanitized, and files with a named part spoilt.

    for build in damage.builds():
        with build.case("a core of zeroes"):
            build.refuses([path], 1, "zero bytes")

Every run is held against what holds of any input: it ends by itself and in
time, takes no more memory than the file and its answer justify, prints no
sanitizer's report, and a failure says why in one sentence.
"""

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import elfcore
import heaptest

# What a run on the small cores of these tests may take. A loaded machine is
# slow, a hang is forever, and nothing is in between.
SECONDS = 30
MEBIBYTES = 96              # resident, beside the file itself
SANITIZED_MEBIBYTES = 320   # shadow memory and quarantine are not ours
SHOWN = int(os.environ.get("HEAPSCAN_SHOWN", "4"))     # failures of a series
ADDRESS_SPACE = 6 << 30     # of the plain build: no accident costs the machine

EHDR = elfcore.EHDR.size
PHDR = elfcore.PHDR.size
REPORTS = ("Sanitizer", "runtime error:", "Assertion", "stack smashing",
           "free():", "malloc():", "corrupted")
SANITIZER = "exitcode=86:allocator_may_return_null=1"


class Outcome:
    """How a program ended: .status (negative: by that signal), .out, .err,
    .seconds, .mebibytes (the most it was resident)."""

    def __init__(self, status, out, err, seconds, mebibytes):
        self.status, self.out, self.err = status, out, err
        self.seconds, self.mebibytes = seconds, mebibytes

    def __str__(self):
        return "exit %d, %.1f s, %d MiB: %s" % (
            self.status, self.seconds, self.mebibytes,
            self.err.strip()[-400:] or "(nothing on standard error)")

    def json(self):
        return json.loads(self.out)


def execute(argv, timeout=SECONDS, limits=(), during=None, **options):
    """Run a program and see what it took. limits: (resource, value) pairs.
    during: called with the Popen while it runs."""
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()

    def bound():
        for what, value in limits:
            resource.setrlimit(what, (value, value))

    began = time.monotonic()
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out,
                               stderr=err, preexec_fn=bound, **options)
    if during:
        during(process)
    deadline, hung = began + timeout, False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline and not hung:
            process.kill()
            hung = True
        time.sleep(0.002)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    texts = []
    for file in out, err:
        file.seek(0)
        texts.append(file.read().decode("utf-8", "surrogateescape"))
        file.close()
    assert not hung, "still running after %d s: %s" % (timeout,
                                                       " ".join(argv))
    return Outcome(process.returncode, *texts, seconds,
                   usage.ru_maxrss / 1024)


class Build:
    """The programs of one build; label is "" or says which."""

    def __init__(self, folder, label):
        self.folder, self.label = folder, label
        self.sanitized = bool(label)

    def case(self, name):
        return heaptest.case(name + self.label)

    def program(self, name):
        return os.path.join(self.folder, name)

    def heapscan(self, *args, **options):
        return self.run("heapscan", args, **options)

    def heapdump(self, *args, **options):
        return self.run("heapdump", args, **options)

    def run(self, name, args, mebibytes=0, limits=(), env=None, **options):
        """Run one of our programs on anything; mebibytes it may take beside
        what every run may."""
        argv = [self.program(name), *map(str, args)]
        limits = list(limits)
        env = dict(env or os.environ)
        if self.sanitized:
            env = sanitizer_environment(env)
        else:
            limits.append((resource.RLIMIT_AS, ADDRESS_SPACE))
        done = execute(argv, limits=limits, env=env, **options)
        for report in REPORTS:
            assert report not in done.err, "%s: %s" % (done, done.err[:3000])
        assert done.status >= 0, "ended by %s: %s" % (
            signal.Signals(-done.status).name, done)
        bound = SANITIZED_MEBIBYTES if self.sanitized else MEBIBYTES
        bound += mebibytes + sum(
            os.path.getsize(arg) >> 20 for arg in argv[1:]
            if os.path.isfile(arg))
        assert done.mebibytes <= bound, "expected at most %d MiB, got %s" % (
            bound, done)
        if done.status in (1, 2):
            sentence = done.err.strip()
            assert sentence.startswith(name + ": ") and len(sentence) > 20, \
                "no sentence says why: %s" % done
            assert done.status == 1 or not done.out, done.out[:200]
        return done

    def refuses(self, args, status, *words, **options):
        """The program cannot use its input: status, and words of the sentence
        that says so."""
        done = self.heapscan(*args, **options)
        assert done.status == status, "expected exit %d, got %s" % (status,
                                                                    done)
        for word in words:
            assert word in done.err, "expected %r in %r" % (word, done.err)
        return done

    def info(self, path, *args, status=(0, 3), **options):
        """The JSON of a core's info. What it is worth is in its exit status:
        3 exactly if the answer says that it is not complete."""
        return self.answer("info", path, *args, status=status, **options)

    def types(self, path, *args, status=(0, 3), **options):
        """{type name: count} of a core; types of one name are added up."""
        answer = self.answer("types", path, "--top", "0", *args,
                             status=status, **options)
        counts = {}
        for row in answer["rows"]:
            counts[row["type"]] = counts.get(row["type"], 0) + row["count"]
        assert sum(counts.values()) == answer["totals"]["count"]
        return counts

    def answer(self, view, path, *args, status=(0, 3), **options):
        done = self.heapscan(path, view, "-f", "json", *args, **options)
        assert done.status in status, "expected exit %s, got %s" % (
            " or ".join(map(str, status)), done)
        answer = done.json()
        assert answer["dump"]["complete"] == (done.status == 0), \
            "complete is %s, but exit %d" % (answer["dump"]["complete"],
                                             done.status)
        if done.status == 3:
            assert "partial" in done.err, done
            assert answer["dump"]["findings"] > 0, "partial without a finding"
        return answer


def sanitized_folder():
    """Where `make sanitized` builds."""
    return (os.environ.get("HEAPSCAN_SANITIZED")
            or os.path.join(heaptest.SRC, "build", "address-undefined"))


def sanitizer_environment(env=None):
    """With which a sanitizer's report cannot be taken for an answer."""
    return dict(env or os.environ, ASAN_OPTIONS=SANITIZER,
                UBSAN_OPTIONS="exitcode=86:print_stacktrace=1")


def builds():
    """The build under test, and the sanitized one where there is one."""
    found = [Build(heaptest.BUILD, "")]
    folder = sanitized_folder()
    if os.access(os.path.join(folder, "heapscan"), os.X_OK):
        if not os.path.samefile(folder, heaptest.BUILD):
            found.append(Build(folder, " (sanitized)"))
    else:
        heaptest.skip("bad input under ASan and UBSan",
                      "no sanitized build: make sanitized")
    return found


# ---- Files

def copy(path, name):
    """A copy to spoil; sparse where it can be."""
    to = heaptest.tmp(name)
    shutil.copyfile(path, to)
    return to


def patch(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def read(path, offset, size):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


@contextlib.contextmanager
def patched(path, *changes):
    """The file with (offset, bytes) changed, put back afterwards."""
    before = [(offset, read(path, offset, len(data)))
              for offset, data in changes]
    try:
        for offset, data in changes:
            patch(path, offset, data)
        yield path
    finally:
        for offset, data in reversed(before):
            patch(path, offset, data)


class Headers:
    """Where the headers of a plain core lie in the file.

    .segments  (index, type, offset, vaddr, filesz, memsz)
    .notes     (offset, size of the whole note, owner, type)
    """

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            fields = elfcore.EHDR.unpack(file.read(EHDR))
            self.phoff, self.phnum = fields[5], fields[10]
            assert self.phnum < elfcore.PN_XNUM
            self.segments, self.notes = [], []
            for i in range(self.phnum):
                file.seek(self.phoff + i * PHDR)
                p_type, _, offset, vaddr, _, filesz, memsz, _ = \
                    elfcore.PHDR.unpack(file.read(PHDR))
                self.segments.append((i, p_type, offset, vaddr, filesz, memsz))
            for _, p_type, offset, _, filesz, _ in self.segments:
                if p_type == elfcore.PT_NOTE:
                    file.seek(offset)
                    self._walk(file.read(filesz), offset)

    def _walk(self, data, offset):
        at = 0
        while at + 12 <= len(data):
            name, desc, kind = elfcore.NHDR.unpack_from(data, at)
            size = 12 + (name + 3 & ~3) + (desc + 3 & ~3)
            self.notes.append((offset + at, size,
                               data[at + 12:at + 12 + name].rstrip(b"\0")
                               .decode(), kind))
            at += size

    def loads(self):
        return [s for s in self.segments
                if s[1] == elfcore.PT_LOAD and s[4]]

    def header_at(self, index, field):
        """File offset of a field of program header index."""
        return self.phoff + index * PHDR + {
            "p_type": 0, "p_flags": 4, "p_offset": 8, "p_vaddr": 16,
            "p_filesz": 32, "p_memsz": 40, "p_align": 48}[field]

    def boundaries(self):
        """(offset, name) of every header's edge and of some within segments:
        where to cut."""
        found = {0: "nothing", 1: "one byte", 4: "the magic number",
                 16: "e_ident", EHDR - 1: "the ELF header but one byte",
                 EHDR: "the ELF header"}
        for i in range(self.phnum):
            found[self.phoff + i * PHDR] = "before program header %d" % i
            found[self.phoff + i * PHDR + 17] = "within program header %d" % i
        found[self.phoff + self.phnum * PHDR] = "the program headers"
        for offset, size, owner, kind in self.notes:
            name = "note %s %#x" % (owner, kind)
            found[offset] = "before " + name
            found[offset + 5] = "within the header of " + name
            found[offset + 12] = "before the owner of " + name
            found[offset + size - 1] = "all but a byte of " + name
        for i, p_type, offset, _, filesz, _ in self.segments:
            if filesz:
                found[offset] = "before segment %d" % i
        loads = self.loads()
        for i, _, offset, _, filesz, _ in (loads[0], loads[len(loads) // 2],
                                           loads[-1]):
            found[offset + 1] = "one byte of segment %d" % i
            found[offset + filesz // 2] = "half of segment %d" % i
            found[offset + filesz - 1] = "all but a byte of segment %d" % i
        for i, _, offset, _, filesz, _ in loads:
            for tenth in range(1, 10) if filesz > 1 << 18 else ():
                at = offset + filesz * tenth // 10
                found[at] = "%d tenths of segment %d" % (tenth, i)
        return sorted(found.items())


def missing_bytes(path, length):
    """Bytes of PT_LOADs that the first length bytes of a plain core lack."""
    return sum(filesz - max(0, min(filesz, length - offset))
               for _, p_type, offset, _, filesz, _ in Headers(path).segments
               if p_type == elfcore.PT_LOAD)


class Frames:
    """The parts of a dump of heapdump's: .frames (offset, size, expanded
    offset, expanded size) of the data, .notes and .table (offset, size) of the
    skippable frames."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        self.size = len(data)
        count, _, magic = struct.unpack("<IBI", data[-9:])
        assert magic == 0x8F92EAB1, "no seek table"
        start = len(data) - 9 - 8 * count
        self.table = start - 8, 8 + 8 * count + 9
        at = expanded = 0
        self.frames = []
        for stored, size in struct.iter_unpack("<II", data[start:-9]):
            if size:
                self.frames.append((at, stored, expanded, size))
                expanded += size
            else:
                self.notes = at, stored
            at += stored
        assert at == self.table[0]

    def boundaries(self):
        found = {0: "nothing", 3: "within the first magic number"}
        frames = self.frames
        for which, (at, size, _, _) in (
                ("the first frame", frames[0]), ("frame 1", frames[1]),
                ("the middle frame", frames[len(frames) // 2]),
                ("the last frame", frames[-1])):
            found[at] = "before " + which
            found[at + 4] = "within the header of " + which
            found[at + 9] = "behind the header of " + which
            found[at + size // 2] = "within " + which
            found[at + size - 4] = "before the checksum of " + which
            found[at + size - 1] = "all but a byte of " + which
        at, size = self.notes
        for offset, name in ((0, "before the final notes"),
                             (4, "within the header of the final notes"),
                             (8, "behind the header of the final notes"),
                             (8 + 12, "within the final notes"),
                             (size - 1, "all but a byte of the final notes")):
            found[at + offset] = name
        at, size = self.table
        for offset, name in ((0, "before the seek table"),
                             (4, "within the header of the seek table"),
                             (8, "before the first entry of the seek table"),
                             (8 + 4, "within an entry of the seek table"),
                             (size - 9, "before the footer"),
                             (size - 4, "before the footer's magic number"),
                             (size - 1, "all but a byte of the footer")):
            found[at + offset] = name
        return sorted(found.items())


# ---- Places

@contextlib.contextmanager
def small_disk(size):
    """A folder that is a tmpfs of size bytes; skips where none can be made."""
    if os.geteuid() != 0:
        raise heaptest.Skip("mounting a small tmpfs needs root")
    folder = tempfile.mkdtemp(dir=heaptest.tmp())
    done = heaptest.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size,
                         "tmpfs", folder])
    if done.returncode:
        os.rmdir(folder)
        raise heaptest.Skip("no tmpfs can be mounted: " + done.stderr.strip())
    try:
        yield folder
    finally:
        heaptest.run(["umount", "-l", folder])
        with contextlib.suppress(OSError):
            os.rmdir(folder)


@contextlib.contextmanager
def public_folder():
    """A folder that every user can enter, for programs that run as another."""
    folder = tempfile.mkdtemp(prefix="heapscan-public.")
    os.chmod(folder, 0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def some(items, shown=4):
    items = list(items)
    return "; ".join(map(str, items[:shown])) + (
        "" if len(items) <= shown else "; … %d in all" % len(items))


def series(build, name, runs):
    """One result for many runs: (what, function) each; a run fails by an
    exception. Says how many there were, and all that is needed of failures."""
    with build.case(name):
        failed, count = [], 0
        for what, function in runs:
            count += 1
            try:
                function()
            except heaptest.Skip:
                raise
            except Exception as error:
                failed.append("%s: %s: %s" % (what, type(error).__name__,
                                              error))
        print("# %s%s: %d runs" % (name, build.label, count))
        assert count, "no runs"
        assert not failed, some(failed, SHOWN)
