# SPDX-License-Identifier: Apache-2.0
"""What the tests of heapdump share: targets that notice harm (patient.py),
signs of life, and a reader of the container's end."""
import contextlib
import glob
import os
import re
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import heaptest  # noqa: E402

PATIENT = os.path.join(HERE, "patient.py")
SEEK_MAGIC = 0x8F92EAB1
NOTES_MAGIC = 0x184D2A51
# Types of notes of owner HEAPDUMP, as docs/format.md numbers them.
HEADER, FACTS, MAPPINGS, THREADS, SKIPPED, FINAL, MISSING = (
    0x48440000 + number for number in (1, 2, 3, 4, 5, 16, 17))
REASONS = {1: "zero", 2: "device", 3: "unreadable", 4: "file", 5: "shared",
           6: "dontdump", 7: "excluded", 8: "payload", 9: "swapped",
           10: "failed", 11: "kernel", 12: "dontfork", 13: "wipeonfork",
           14: "content"}


class Patient:
    """A running patient.py; pid, folder, memory: {name: (address, size)}."""

    def __init__(self, target):
        self.target, self.pid = target, target.pid
        self.folder = target.folder
        self.memory = {name: (int(address), int(size))
                       for name, address, size in re.findall(
                           r"^MEMORY (\w+) (\d+) (\d+)$", target.printed(),
                           re.M)}

    def beats(self):
        found = {}
        for path in glob.glob(os.path.join(glob.escape(self.folder), "beat.*")):
            with open(path) as file:
                found[os.path.basename(path)[5:]] = int(file.read() or 0)
        return found

    def state(self):
        with open("/proc/%d/stat" % self.pid) as stat:
            return stat.read().rpartition(")")[2].split()[0]

    def states(self):
        found = set()
        for path in glob.glob("/proc/%d/task/*/stat" % self.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(path) as stat:
                    found.add(stat.read().rpartition(")")[2].split()[0])
        return found

    def assert_well(self):
        """Every thread goes on within 10 s, none is held, nobody complained."""
        before = self.beats()
        deadline = time.monotonic() + 10
        while True:
            now = self.beats()
            still = [name for name in before if now[name] <= before[name]]
            if not still:
                break
            assert time.monotonic() < deadline, "threads stand still: %s (%s)" \
                % (still, self.states())
            time.sleep(0.02)
        with open("/proc/%d/status" % self.pid) as status:
            tracer = re.search(r"^TracerPid:\s+(\d+)", status.read(), re.M)[1]
        assert tracer == "0", "still traced by %s" % tracer
        with open(os.path.join(self.folder, "complaints")) as file:
            complaints = file.read()
        assert not complaints, complaints


@contextlib.contextmanager
def patient(*args, interpreter=None, **options):
    if interpreter is None:
        interpreter = heaptest.Interpreter("system", ["/usr/bin/python3"])
    with heaptest.start_target(interpreter, PATIENT, args, **options) as target:
        yield Patient(target)


def folder(name):
    """A new empty folder."""
    path = heaptest.tmp(name)
    os.mkdir(path)
    return path


def wait_for(what, condition, timeout=20):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain: " + what
        time.sleep(0.005)


def written(process, folder):
    """Bytes of the file of a folder that a process has open, whether it has a
    name or none yet; None: it has none open."""
    open_files = "/proc/%d/fd" % process.pid
    for name in os.listdir(open_files):
        path = os.path.join(open_files, name)
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(path).startswith(folder + "/"):
                return os.stat(path).st_size
    return None


def parse_notes(data):
    """[(owner, type, content)] of ELF notes."""
    found, at = [], 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, at)
        at += 12
        name = data[at:at + name_size].rstrip(b"\0").decode()
        at += name_size + -name_size % 4
        found.append((name, kind, data[at:at + size]))
        at += size + -size % 4
    return found


def parse_facts(data):
    return dict(line.split("=", 1) for line in
                data.decode(errors="surrogateescape").split("\0") if line)


def parse_skipped(data):
    return [(start, end, REASONS[reason], errno) for start, end, reason, errno
            in struct.iter_unpack("<QQII", data)]


class Container:
    """The skippable frames at the end of a dump: .frames [(stored, expanded)],
    .facts of the final note, .missing ranges."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        count, descriptor, magic = struct.unpack("<IBI", data[-9:])
        assert magic == SEEK_MAGIC, "no seek table: %#x" % magic
        assert descriptor == 0
        start = len(data) - 9 - 8 * count - 8
        frame_magic, size = struct.unpack_from("<II", data, start)
        assert frame_magic == 0x184D2A5E and size == 8 * count + 9
        self.frames = list(struct.iter_unpack("<II",
                                              data[start + 8:start + 8
                                                   + 8 * count]))
        if self.frames:
            assert sum(stored for stored, _ in self.frames) == start
            assert self.frames[-1][1] == 0
            notes_at = start - self.frames[-1][0]
        else:
            notes_at = data.rindex(struct.pack("<I", NOTES_MAGIC), 0, start)
        magic, size = struct.unpack_from("<II", data, notes_at)
        assert magic == NOTES_MAGIC and notes_at + 8 + size == start
        self.core_size = notes_at
        self.facts, self.missing = {}, []
        for owner, kind, content in parse_notes(data[notes_at + 8:start]):
            assert owner == "HEAPDUMP", owner
            if kind == FINAL:
                self.facts = parse_facts(content)
            elif kind == MISSING:
                self.missing = parse_skipped(content)
