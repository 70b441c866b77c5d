#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A snapshot is of one moment, is made without harm, and leaves nothing behind:
neither when heapdump is killed at any step, nor when the target ends, runs
short of memory, or forbids it."""
import contextlib
import ctypes
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest
from elfcore import ElfCore

DUMPS = int(os.environ.get("HEAPSCAN_DUMPS", 100))
KILLS = int(os.environ.get("HEAPSCAN_KILLS", 60))
PAGE = os.sysconf("SC_PAGESIZE")
PROFILE = os.path.join(heaptest.SRC, "tests", "lib", "seccomp_profile.py")
DONTFORK, WIPEONFORK, DONTDUMP = 10, 18, 16


class Workload:
    """A running tests/tools/workload: pid and its numbers."""

    def __init__(self, process, path, errors):
        self.process, self.pid = process, process.pid
        self.path, self.errors = path, errors

    def numbers(self):
        with open(self.path, "rb") as file:
            data = file.read()
        return struct.unpack("<%dQ" % (len(data) // 8), data)

    def running(self):
        return [i for i, n in enumerate(self.numbers()) if i >= 8 and n]

    def assert_well(self):
        before = self.numbers()
        patients.wait_for("all threads of the workload", lambda: all(
            now > then for then, now in list(zip(before, self.numbers()))[8:]
            if then))
        now = self.numbers()
        with open(self.errors) as file:
            assert now[0] == 0, file.read()[:2000]
        assert now[4] == 0, "%d unknown children" % now[4]


@contextlib.contextmanager
def workload(*args, prefix=()):
    path, errors = heaptest.tmp("workload"), heaptest.tmp("workload.errors")
    with open(errors, "w") as out:
        process = subprocess.Popen(
            [*prefix, os.path.join(heaptest.BUILD, "tests/tools/workload"),
             path, *map(str, args)], stderr=out, stdin=subprocess.DEVNULL)
    target = Workload(process, path, errors)
    try:
        patients.wait_for("the workload", lambda: os.path.exists(path)
                          and os.path.getsize(path) and target.numbers()[3])
        yield target
    finally:
        process.kill()
        process.wait()
        for name in (path, errors):
            os.unlink(name)


@contextlib.contextmanager
def python(code, prefix=(), **options):
    """A process that runs code, which must print a line when it is ready."""
    process = subprocess.Popen([*prefix, "/usr/bin/python3", "-c", code],
                               stdout=subprocess.PIPE, text=True,
                               stdin=subprocess.DEVNULL, **options)
    try:
        process.ready = process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def tree(pid):
    """What must be as before: children, descriptors, mappings, the tracer."""
    children = set()
    for task in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(FileNotFoundError):
            with open("/proc/%d/task/%s/children" % (pid, task)) as file:
                children |= set(file.read().split())
    with open("/proc/%d/maps" % pid) as file:
        maps = [line.split(None, 5) for line in file]
    with open("/proc/%d/status" % pid) as file:
        tracer = re.search(r"TracerPid:\s+(\d+)", file.read())[1]
    return {"children": children, "tracer": tracer,
            "descriptors": len(os.listdir("/proc/%d/fd" % pid)),
            "mappings": [(line[0], line[1]) for line in maps]}


def dump(*args, status=0, **options):
    done = heaptest.heapdump("--json", *args, **options)
    assert done.returncode == status, "exit %d: %s" % (done.returncode,
                                                       done.stderr)
    return json.loads(done.stdout) if done.stdout else done.stderr


def refused(*args, **options):
    done = heaptest.heapdump(*args, **options)
    assert done.returncode == 1, "exit %d: %s" % (done.returncode, done.stderr)
    return done.stderr


# ---- of one moment

ORDERED = """
import ctypes, mmap
page = %d
memory = mmap.mmap(-1, 512 * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
words = (ctypes.c_uint64 * (512 * page // 8)).from_buffer(memory)
for i in range(0, len(words), page // 8):
    words[i] = 1
print(ctypes.addressof(words), flush=True)
round = 1
while True:
    round += 1
    for i in range(0, len(words), page // 8):
        words[i] = round
""" % PAGE


def test_one_moment():
    """Pages are written in order, for ever: at any moment the first ones have
    one number and the others the number before."""
    with heaptest.case("a snapshot is of one moment"), python(ORDERED) as target:
        address, seen = int(target.ready), set()
        for _ in range(10):
            path = heaptest.tmp("ordered")
            report = dump("--no-compress", "-o", path, target.pid)
            assert report["method"] == "snapshot"
            with ElfCore(path) as core:
                data = core.read(address, 512 * PAGE)
            found = [struct.unpack_from("<Q", data, i)[0]
                     for i in range(0, len(data), PAGE)]
            assert found == sorted(found, reverse=True), found
            assert found[0] - found[-1] <= 1, (found[0], found[-1])
            seen.add(found[0])
            os.unlink(path)
        assert len(seen) == 10, "the target stood still"


# ---- copied at once

NOHUGEPAGE = 15
MOSTLY_PAYLOAD = """
import ctypes, mmap, struct
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
secret = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
secret.write(b"secret!!" * (1 << 13))
secret.madvise(%d)
size, block = 2 << 30, struct.pack("<Q", %%s) * (1 << 20)
at = libc.malloc(ctypes.c_size_t(size))
libc.madvise(ctypes.c_void_p(at - 16), ctypes.c_size_t(size), %d)
for done in range(0, size, len(block)):
    ctypes.memmove(at + done, block, len(block))
""" % (DONTDUMP, NOHUGEPAGE)


def skipped(report, reason):
    return sum(one["bytes"] for one in report["skipped"]
               if one["reason"] == reason)


def is_copied(report):
    """Not forked: there is no window in which a thread was not itself."""
    assert report["method"] == "snapshot" and report["complete"] is True
    return "window_ms" not in report


def copied_dump(pid, path):
    """On a machine that is very busy it is given up: the fork is left then."""
    for _ in range(10):
        report = dump("--no-compress", "-o", path, pid)
        if is_copied(report):
            return report
    raise AssertionError("it was never copied: %r" % report)


def killed_dumps(pid, count):
    for _ in range(count):
        process = subprocess.Popen(
            [heaptest.program("heapdump"), "-q", "-o", "/dev/null", str(pid)],
            stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.25))
        process.kill()
        process.wait()


def test_copied():
    """Of a process that is mostly payload what is left is copied, not forked."""
    path = heaptest.tmp("copied")
    with open("/proc/meminfo") as file:
        if int(re.search(r"MemAvailable:\s+(\d+)", file.read())[1]) < 4 << 20:
            heaptest.skip("what little is not payload is copied",
                          "there are not 4 GiB of memory left")
            return
    with heaptest.case("what little is not payload is copied, of one moment"), \
            python(MOSTLY_PAYLOAD % "0x0123456789abcdef" + ORDERED) as target:
        before, address = tree(target.pid), int(target.ready)
        report = copied_dump(target.pid, path)
        assert skipped(report, "payload") > (2 << 30) - (1 << 20), report
        assert skipped(report, "dontdump") == 1 << 16, report
        with ElfCore(path) as core:
            data = core.read(address, 512 * PAGE)
        found = [struct.unpack_from("<Q", data, i)[0]
                 for i in range(0, len(data), PAGE)]
        assert found == sorted(found, reverse=True), found
        assert found[0] - found[-1] <= 1, (found[0], found[-1])
        done = heaptest.heapscan(path, "info", "-f", "json")
        facts = {row["key"]: row["value"]
                 for row in json.loads(done.stdout)["rows"]}
        assert int(facts["private_dirty"]) > 2 << 30, facts
        killed_dumps(target.pid, max(KILLS // 6, 4))
        assert_alone(target.pid)
        assert tree(target.pid) == before
        copied_dump(target.pid, path)
        with ElfCore(path) as core:
            assert struct.unpack("<Q", core.read(address, 8))[0] > found[0]
    with heaptest.case("where it is more than was expected there is a fork"), \
            python(MOSTLY_PAYLOAD % "id(libc)" + ORDERED) as target:
        before = tree(target.pid)
        report = dump("-o", path, target.pid)
        assert not is_copied(report) and skipped(report, "payload") == 0
        assert report["memory_bytes"] > 2 << 30
        assert report["pause_ms"] > report["window_ms"]
        assert_alone(target.pid)
        assert tree(target.pid) == before
    os.unlink(path)


# ---- no harm

def test_workload():
    with workload("threads", 64, "megabytes", 16) as target:
        with heaptest.case("%d dumps of a busy process do no harm" % DUMPS):
            patients.wait_for("50 threads that run",
                              lambda: len(target.running()) >= 50)
            path = heaptest.tmp("busy")
            before = tree(target.pid)
            for _ in range(DUMPS):
                # Beside other tests its threads can take seconds to stop.
                report = dump("--max-pause", "1m", "-o", path, target.pid)
                assert report["threads"] >= 50
            target.assert_well()
            assert_alone(target.pid)
            # Some of its threads map memory at any moment.
            after = tree(target.pid)
            assert after["descriptors"] == before["descriptors"]
            assert abs(len(after["mappings"]) - len(before["mappings"])) <= 8
            os.unlink(path)
        with heaptest.case("killed at %d random moments" % KILLS):
            folder = patients.folder("snapshot.killed")
            chance = random.Random(7)
            killed, lasts = 0, 0.1
            while killed < KILLS:
                begin = time.monotonic()
                process = subprocess.Popen(
                    [heaptest.program("heapdump"), "-q", "-o", folder,
                     str(target.pid)], stdin=subprocess.DEVNULL)
                time.sleep(chance.uniform(0, lasts))
                process.kill()
                if process.wait() == -signal.SIGKILL:
                    killed += 1
                else:
                    lasts = time.monotonic() - begin
            target.assert_well()
            names = os.listdir(folder)
            for name in names:
                if not name.startswith("."):
                    patients.Container(os.path.join(folder, name))
            assert_alone(target.pid)
            assert tree(target.pid)["descriptors"] == before["descriptors"]


def assert_alone(pid):
    """No twin, no zombie, nobody who traces."""
    def is_alone():
        found = tree(pid)
        for child in found["children"]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open("/proc/%s/stat" % child) as file:
                    state = file.read().rpartition(")")[2].split()[0]
                if state in "Zt":
                    return False
        return found["tracer"] == "0"
    patients.wait_for("the target to be alone", is_alone)


def may_be_served_first():
    code = ("import os; os.sched_setscheduler(0, os.SCHED_FIFO, "
            "os.sched_param(1))")
    return heaptest.run([sys.executable, "-c", code]).returncode == 0


def test_steps():
    """heapdump is killed at each step of the freezer, by the freezer."""
    program = os.path.join(heaptest.BUILD, "tests/tools/freezesteps")
    with workload("threads", 16) as target:
        with heaptest.case("the steps of a snapshot"):
            done = heaptest.run([program, str(target.pid)])
            told = done.stdout.split("\n")[:-1]
            steps = [line.split(",")[0] for line in told]
            assert done.returncode == 0 and steps[:2] == ["begin", "clone"], \
                (done.returncode, steps, done.stderr)
            assert "discard" in steps and "collected" in steps, steps
        with heaptest.case("where the target waits the freezer is served first"):
            if not may_be_served_first():
                raise heaptest.Skip("not allowed here")
            first = {line.split(",")[0] for line in told if "," in line}
            assert {"begin", "clone", "restored", "collect"} <= first, told
            assert not {"discard", "drop"} & first, told
        for name in dict.fromkeys(steps):
            with heaptest.case("killed at the step: " + name):
                done = heaptest.run([program, str(target.pid), name])
                assert done.returncode == -signal.SIGKILL, done.returncode
                assert_alone(target.pid)
                target.assert_well()


# ---- what nobody will read

PAYLOAD = """
import os, time
payload = bytearray(256 << 20)
payload[::4096] = bytes([7]) * (len(payload) // 4096)
kept = [os.urandom(1 << 20) for _ in range(60)]
print("ready", flush=True)
time.sleep(1000)
"""


def resident(pid):
    with open("/proc/%s/statm" % pid) as file:
        return int(file.read().split()[1]) * PAGE


def least_resident(pid):
    """Of a process until it ends."""
    seen = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        # One that is ending has no memory.
        while not seen or seen[-1]:
            seen.append(resident(pid))
            time.sleep(0.01)
    assert len(seen) > 5, seen
    return min(filter(None, seen))


def test_discard():
    """What is left out costs the target no copies while the rest is written."""
    for name, prefix in (("at once", []),
                         ("not where a filter is against it",
                          [sys.executable, PROFILE, "madvise=kill"])):
        with heaptest.case("the snapshot lets go of payload " + name), \
                python(PAYLOAD, prefix=prefix) as target:
            before = resident(target.pid)
            assert before > 316 << 20, before
            folder = patients.folder("snapshot.payload.%d" % target.pid)
            with slow_dump(target.pid, folder) as process:
                twin, = tree(target.pid)["children"]
                if prefix:
                    assert least_resident(twin) > 256 << 20
                else:
                    patients.wait_for("a smaller snapshot", lambda:
                                      resident(twin) < 128 << 20)
                    assert process.poll() is None, "the dump was over already"
                out, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
            report = json.loads(out)
            assert report["complete"] is True and report["bytes"] > 60 << 20
            assert [row["bytes"] for row in report["skipped"]
                    if row["reason"] == "payload"] > [255 << 20], report
            assert resident(target.pid) >= before - (1 << 20)
            assert_alone(target.pid)
            assert target.poll() is None


# ---- what is not inherited

UNUSUAL = """
import ctypes, mmap, os
libc = ctypes.CDLL(None)
def area(size, advice, text, flags=mmap.MAP_PRIVATE):
    memory = mmap.mmap(-1, size, flags=flags | mmap.MAP_ANONYMOUS)
    memory.write(text * (size // len(text)))
    if advice:
        memory.madvise(advice)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))
kept = [area(1 << 16, %d, b"dontfork"), area(32 << 20, %d, b"toolarge"),
        area(1 << 16, %d, b"wipefork"),
        area(1 << 16, 0, b"sharing!", mmap.MAP_SHARED)]
print(*(address for _, address in kept), flush=True)
import time
time.sleep(1000)
""" % (DONTFORK, DONTFORK, WIPEONFORK)


CHANGING = """
import ctypes, mmap, time
print("ready", flush=True)
while True:
    # At one address again and again, and marked before there is a secret.
    memory = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    time.sleep(0.002)
    memory.madvise(%d)
    view = ctypes.c_char.from_buffer(memory)
    ctypes.memset(ctypes.addressof(view), 0xa7, 1 << 16)
    time.sleep(0.002)
    del view
    memory.close()
""" % DONTDUMP


def test_changing():
    """Mappings that change while they are looked at are as the snapshot has
    them."""
    with heaptest.case("what was made secret just now stays so"), \
            python(CHANGING) as target:
        path = heaptest.tmp("changing")
        seen = 0
        for _ in range(20):
            report = dump("--no-compress", "-o", path, target.pid)
            seen += any(row["reason"] == "dontdump"
                        for row in report["skipped"])
            with open(path, "rb") as file:
                assert b"\xa7" * PAGE not in file.read()
        assert seen > 0, "it was never there"
        os.unlink(path)


def test_not_inherited():
    with heaptest.case("what a fork does not give is held or said to be left"), \
            python(UNUSUAL) as target:
        small, large, wiped, shared = map(int, target.ready.split())
        path = heaptest.tmp("unusual")
        report = dump("--no-compress", "-o", path, target.pid)
        assert report["complete"] is True, report
        with ElfCore(path) as core:
            assert core.read(small, 1 << 16) == b"dontfork" * (1 << 13)
            assert core.read(shared, 1 << 16) == b"sharing!" * (1 << 13)
            notes = {note.type: note.desc for note in core.notes()
                     if note.name == "HEAPDUMP"}
        reasons = {start: reason for start, _, reason, _
                   in patients.parse_skipped(notes[patients.SKIPPED])}
        assert reasons[large] == "dontfork", reasons.get(large)
        assert reasons[wiped] == "wipeonfork", reasons.get(wiped)
        count = struct.unpack_from("<I", notes[patients.MAPPINGS])[0]
        flags = {}
        for i in range(count):
            entry = struct.unpack_from("<7Q4I", notes[patients.MAPPINGS],
                                       8 + 72 * i)
            flags[entry[0]] = entry[8]
        assert flags[small] & 8 and flags[wiped] & 16, flags
        assert flags[shared] & 32, "not marked as no snapshot"
        # Stopped, all of it is there.
        dump("--no-compress", "--method", "stop", "-o", path, target.pid)
        with ElfCore(path) as core:
            assert core.read(large, 32 << 20) == b"toolarge" * (4 << 20)
            assert core.read(wiped, 1 << 16) == b"wipefork" * (1 << 13)
        os.unlink(path)


# ---- what happens to the target meanwhile

SLOW = ("-z", "15", "--max-pause", "60s")


@contextlib.contextmanager
def slow_dump(pid, folder):
    """A dump by a snapshot that is made and still being written."""
    process = subprocess.Popen(
        [heaptest.program("heapdump"), "--json", *SLOW, "-o", folder, str(pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)

    def is_made():
        for child in tree(pid)["children"]:
            with open("/proc/%s/stat" % child) as file:
                if file.read().rpartition(")")[2].split()[0] == "t":
                    return True
        return process.poll() is not None
    patients.wait_for("the snapshot", is_made)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


FULL = """
import os, signal, time
kept = [os.urandom(1 << 20) for _ in range(60)]
%s
print("ready", flush=True)
while True:
    time.sleep(1)
"""
BECOMES_SLEEP = """
signal.signal(signal.SIGUSR1,
              lambda *_: os.execv("/bin/sleep", ["sleep", "1000"]))
"""


def filled(setup="", **options):
    """A process whose memory takes some time to compress."""
    return python(FULL % setup, **options)


def test_target_ends():
    with heaptest.case("a target that is killed: its snapshot is dumped"), \
            filled() as target:
        folder = patients.folder("snapshot.ends")
        with slow_dump(target.pid, folder) as process:
            target.kill()
            target.wait()
            out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        report = json.loads(out)
        assert report["complete"] is True
        assert patients.Container(report["path"]).facts["complete"] == "yes"
    with heaptest.case("killed at any moment, it leaves no twin"):
        chance = random.Random(11)
        dumped = 0
        for _ in range(15):
            mark = "HEAPSCAN_TWIN=%d.%d" % (os.getpid(), chance.getrandbits(60))
            with python(FILTERED, env=dict(os.environ, **dict(
                    [mark.split("=")]))) as target:
                process = subprocess.Popen(
                    [heaptest.program("heapdump"), "-q", "-o",
                     heaptest.tmp("twin"), str(target.pid)],
                    stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                patients.wait_for("the freezer", lambda: process.poll()
                                  is not None or tree(target.pid)["tracer"]
                                  != "0")
                time.sleep(chance.uniform(0, 0.004))
                target.kill()
                target.wait()
                dumped += process.wait() == 0
                assert not processes_with(mark), processes_with(mark)
        assert dumped > 0, "no snapshot was in time"
    with heaptest.case("a target's files are closed when it ends"):
        reader, writer = os.pipe()
        with filled(pass_fds=[writer]) as target:
            os.close(writer)
            folder = patients.folder("snapshot.pipe")
            with slow_dump(target.pid, folder) as process:
                time.sleep(0.2)
                target.kill()
                target.wait()
                assert os.read(reader, 1) == b""
                assert process.poll() is None, "the dump was over already"
        os.close(reader)
    with heaptest.case("a target that becomes another program"), \
            filled(BECOMES_SLEEP) as target:
        folder = patients.folder("snapshot.exec")
        with slow_dump(target.pid, folder) as process:
            os.kill(target.pid, signal.SIGUSR1)
            patients.wait_for("exec", lambda: os.readlink(
                "/proc/%d/exe" % target.pid).endswith("sleep"))
            out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert json.loads(out)["complete"] is True
        assert_alone(target.pid)
    with heaptest.case("a target that was stopped stays so"), \
            filled() as target:
        os.kill(target.pid, signal.SIGSTOP)
        path = heaptest.tmp("stopped")
        report = dump("-o", path, target.pid)
        assert report["method"] == "snapshot"
        with open("/proc/%d/stat" % target.pid) as file:
            assert file.read().rpartition(")")[2].split()[0] == "T"
        os.kill(target.pid, signal.SIGCONT)
        assert_alone(target.pid)


def processes_with(mark):
    """Processes, but for the dead, with that in their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open("/proc/%s/environ" % pid, "rb") as file:
                if mark.encode() in file.read().split(b"\0"):
                    found.append(pid)
    return found


def test_interrupted():
    for number in (signal.SIGINT, signal.SIGTERM):
        with heaptest.case("ends in order at " + number.name), \
                filled() as target:
            folder = patients.folder("snapshot." + number.name)
            with slow_dump(target.pid, folder) as process:
                process.send_signal(number)
                _, errors = process.communicate(timeout=120)
            assert process.returncode == 130, (process.returncode, errors)
            assert not os.listdir(folder)
            assert_alone(target.pid)
    with heaptest.case("the snapshot is killed by somebody"), \
            filled() as target:
        folder = patients.folder("snapshot.gone")
        with slow_dump(target.pid, folder) as process:
            patients.wait_for("the first bytes",
                              lambda: patients.written(process, folder))
            os.kill(int(tree(target.pid)["children"].pop()), signal.SIGKILL)
            out, errors = process.communicate(timeout=60)
        assert process.returncode == 3, (process.returncode, errors)
        report = json.loads(out)
        assert report["complete"] is False and report["missing_bytes"] > 0
        container = patients.Container(report["path"])
        assert container.facts["complete"] == "no"
        assert sum(end - start for start, end, _, _ in container.missing) == \
            report["missing_bytes"]
        assert_alone(target.pid)


# ---- room

@contextlib.contextmanager
def cgroup(controller, **limits):
    """A cgroup of version 1 and a prefix that runs a program in it."""
    folder = "/sys/fs/cgroup/%s/heapscan-test-%d" % (controller, os.getpid())
    try:
        os.mkdir(folder)
        for name, value in limits.items():
            with open(os.path.join(folder, controller + "." + name),
                      "w") as file:
                file.write(str(value))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
        raise heaptest.Skip("no %s cgroup of version 1 can be made here: %s"
                            % (controller, error))
    try:
        yield folder, ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"',
                       folder]
    finally:
        patients.wait_for("the end of the cgroup", lambda: not os.path.exists(
            folder) or rmdir(folder))


def rmdir(folder):
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True


GROWING = """
import signal, sys, time
block = [bytearray(1 << 20) for _ in range(%d)]
for memory in block:
    for i in range(0, len(memory), 4096):
        memory[i] = 1 + i %% 250
def write(*_):
    for memory in block:
        for i in range(0, len(memory), 4096):
            memory[i] = 7
    print("written", flush=True)
signal.signal(signal.SIGUSR1, write)
print("ready", flush=True)
while True:
    time.sleep(1)
"""


def runs_short(folder):
    """A target that needs its memory while it is dumped. False: too early."""
    with cgroup("memory", limit_in_bytes=200 << 20) as (_, inside), \
            python(GROWING % 150, prefix=inside) as target:
        with slow_dump(target.pid, folder) as process:
            # Every page is copied for being written: 150 MB more than fit.
            os.kill(target.pid, signal.SIGUSR1)
            assert target.stdout.readline() == "written\n", target.poll()
            out, errors = process.communicate(timeout=60)
        assert target.poll() is None
        assert_alone(target.pid)
        if process.returncode == 1 and "before it was read" in errors:
            assert not os.listdir(folder), os.listdir(folder)
            return False
        assert process.returncode == 3, (process.returncode, errors)
        report = json.loads(out)
        assert report["complete"] is False and report["dropped"] is True
        container = patients.Container(report["path"])
        assert container.facts["complete"] == "no" and container.missing
    return True


def test_room():
    with heaptest.case("without room in the cgroup nothing is stopped"), \
            cgroup("memory", limit_in_bytes=200 << 20) as (_, inside), \
            python(GROWING % 194, prefix=inside) as target:
        told = refused("-o", patients.folder("room"), target.pid)
        assert "memory cgroup has" in told and "--method stop" in told, told
        report = dump("--method", "snapshot,stop", "-o", heaptest.tmp("room"),
                      "--max-pause", "60s", target.pid)
        assert report["method"] == "stop"
    with heaptest.case("a snapshot is read without taking memory"), \
            cgroup("memory", limit_in_bytes=200 << 20) as (folder, inside), \
            python(GROWING % 171, prefix=inside) as target:
        def number(name):
            with open(os.path.join(folder, "memory." + name)) as file:
                return int(file.read())
        before = number("usage_in_bytes")
        assert before > 0.85 * (200 << 20), before
        with open(os.path.join(folder, "memory.max_usage_in_bytes"),
                  "w") as file:
            file.write("0")
        assert dump("-o", heaptest.tmp("room"),
                    target.pid)["method"] == "snapshot"
        taken = number("max_usage_in_bytes") - before
        assert taken < 4 << 20, taken
    with heaptest.case("the snapshot goes before the target runs short"):
        # Where the target writes before anything of it has been read, there is
        # nothing to keep: that is no dump, and not what is looked for here.
        for attempt in range(5):
            if runs_short(patients.folder("short.%d" % attempt)):
                break
        else:
            raise AssertionError("each time before anything was read")
    with heaptest.case("no process more is allowed"), \
            cgroup("pids", max=1) as (_, inside), \
            filled(prefix=inside) as target:
        told = refused("-o", patients.folder("pids"), target.pid)
        assert "pids.max" in told and "--method stop" in told, told
        assert_alone(target.pid)


# ---- what may not be done

FILTERED = """
import os, time
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""
NO_ADMIN = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]


def filtered(rules):
    return python(FILTERED, prefix=[sys.executable, PROFILE, rules])


def test_seccomp():
    with heaptest.case("under the default profile of containers"), \
            filtered("container") as target:
        with open("/proc/%d/status" % target.pid) as file:
            assert re.search(r"^Seccomp:\s+2$", file.read(), re.M)
        assert dump("-o", heaptest.tmp("profile"),
                    target.pid)["method"] == "snapshot"
        assert_alone(target.pid)
        assert target.poll() is None
    for rules, call in (("clone=kill", "clone"), ("wait4=kill", "wait4"),
                        ("clone=errno", "clone")):
        with heaptest.case("a filter that forbids it: " + rules), \
                filtered(rules) as target:
            told = refused("-o", patients.folder(rules), target.pid)
            assert "seccomp filter forbids %s()" % call in told, told
            assert target.poll() is None
            assert_alone(target.pid)
            report = dump("--method", "snapshot,stop", "-o",
                          heaptest.tmp("filter"), target.pid)
            assert report["method"] == "stop"
    with heaptest.case("a filter that may not be read"), \
            filtered("container") as target:
        heaptest.tool("setpriv", "util-linux")
        args = [heaptest.program("heapdump"), "-q", "-o",
                patients.folder("unread"), str(target.pid)]
        done = heaptest.run([*NO_ADMIN, *args])
        assert done.returncode == 1, done.stderr
        assert "--assume-fork-allowed" in done.stderr, done.stderr
        done = heaptest.run([*NO_ADMIN, args[0], "--assume-fork-allowed",
                             *args[1:]])
        assert done.returncode == 0, done.stderr
        assert target.poll() is None


UNDUMPABLE = """
import ctypes, time
assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
print("ready", flush=True)
time.sleep(1000)
"""


def test_forbidden():
    for name, prefix in (("root's", []),
                         ("another user's", ["setpriv", "--reuid=65534",
                                             "--clear-groups"])):
        with heaptest.case("a process that forbids dumps, " + name):
            if os.geteuid() != 0:
                raise heaptest.Skip("needs root")
            with python(UNDUMPABLE, prefix=prefix) as target:
                for method in ("snapshot", "stop"):
                    told = refused("--method", method, "-o",
                                   patients.folder("forbids.%s.%d" % (
                                       method, len(prefix))), target.pid)
                    assert "forbids dumps" in told and "--force" in told, told
                dump("--force", "-o", heaptest.tmp("forced"), target.pid)
                assert_alone(target.pid)


VFORKED = r"""
#include <signal.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *vforking(void *none)
{
	(void)none;
	if (vfork() == 0) {
		sleep(1000);
		_exit(0);
	}
	return NULL;
}
int main(int argc, char **argv)
{
	pthread_t thread;
	(void)argv;
	if (argc == 1)
		vforking(NULL);
	pthread_create(&thread, NULL, vforking, NULL);
	usleep(200000);
	puts("ready");
	fflush(stdout);
	for (;;)
		usleep(1000);
}
"""


def test_vfork():
    source, program = heaptest.tmp("vforked.c"), heaptest.tmp("vforked")
    with open(source, "w") as file:
        file.write(VFORKED)
    done = heaptest.run([heaptest.tool("gcc", "gcc"), "-O1", "-pthread", "-o",
                         program, source])
    assert done.returncode == 0, done.stderr
    with heaptest.case("a thread that nothing can stop does not hinder"):
        process = subprocess.Popen([program, "threads"], stdout=subprocess.PIPE,
                                   start_new_session=True)
        try:
            process.stdout.readline()
            for method in ("snapshot", "stop"):
                path = heaptest.tmp("vfork.core")
                report = dump("--no-compress", "--method", method, "-o", path,
                              process.pid)
                assert report["threads"] == 2, report
                with ElfCore(path) as core:
                    # Of that one /proc told the registers.
                    statuses = [note.desc for note in core.notes()
                                if note.type == 1]
                    counters = [struct.unpack_from("<Q", status, 112 + 16 * 8)
                                for status in statuses]
                assert all(counter for counter, in counters), counters
            assert process.poll() is None
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
    with heaptest.case("a single thread that nothing can stop"):
        process = subprocess.Popen([program], stdout=subprocess.PIPE,
                                   start_new_session=True)
        try:
            patients.wait_for("vfork", lambda: os.path.exists(
                "/proc/%d/stat" % process.pid) and b" D " in open(
                    "/proc/%d/stat" % process.pid, "rb").read())
            told = refused("-o", patients.folder("vfork"), process.pid)
            assert "vfork()" in told or "did not stop" in told, told
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()


def test_heapscan():
    with heaptest.case("heapscan PID is by a snapshot"), \
            python(FILTERED) as target:
        done = heaptest.heapscan(str(target.pid), "info", "-f", "json")
        assert done.returncode == 0, done.stderr
        assert '"snapshot"' in done.stdout, done.stdout
        assert_alone(target.pid)


def test_facts():
    with heaptest.case("the environment is recorded when asked for"), \
            python(FILTERED, env=dict(os.environ, HEAPSCAN_SECRET="told you")) \
            as target:
        path = heaptest.tmp("environ")
        for options, views, seen in (
                ([], ["--values"], False), (["--environ"], [], False),
                (["--environ"], ["--values"], True)):
            dump("-o", path, *options, target.pid)
            done = heaptest.heapscan(path, "info", "-f", "json", *views)
            assert done.returncode == 0, done.stderr
            assert ("told you" in done.stdout) == seen, (options, views)
    with heaptest.case("a dry run tells what a snapshot would be like"), \
            python(FILTERED) as target:
        told = dump("--dry-run", target.pid)
        assert told["method"] == "snapshot" and told["method_fits"] is True
        assert 0 < told["pause_ms"] < 1000, told
        assert "refusal" not in told or told["refusal"] is None, told


def main():
    test_facts()
    test_one_moment()
    test_copied()
    test_workload()
    test_steps()
    test_discard()
    test_changing()
    test_not_inherited()
    test_target_ends()
    test_interrupted()
    test_room()
    test_seccomp()
    test_forbidden()
    test_vfork()
    test_heapscan()
    heaptest.finish()


main()
