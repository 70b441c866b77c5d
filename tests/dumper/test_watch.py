#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heapdump --watch and heapdump -- CMD: each trigger fires when it should and
not before, and the process that is watched is as it was without."""
import contextlib
import fcntl
import glob
import itertools
import json
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest

WATCHED = os.path.join(patients.HERE, "watched.py")
PYTHON = "/usr/bin/python3"
QUICK = ("--interval", "50ms", "--max-pause", "60s")
NUMBERS = itertools.count()


def new_folder(name):
    return patients.folder("%s.%d" % (name, next(NUMBERS)))


class Watched:
    """A running watched.py."""

    def __init__(self, *args, argv=(PYTHON, WATCHED), **options):
        self.process = subprocess.Popen(
            [*argv, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, **options)
        line = self.process.stdout.readline()
        assert line.startswith("READY "), line
        self.pid = int(line.split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def order(self, *words):
        """Do not wait for the answer."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def do(self, *words):
        self.order(*words)
        answer = self.process.stdout.readline().strip()
        assert answer, "the target ended: %s" % self.process.poll()
        return answer

    def field(self, name):
        with open("/proc/%d/status" % self.pid) as status:
            return re.search(r"^%s:\s+(\S+)" % name, status.read(), re.M)[1]

    def rss(self):
        return int(self.field("VmRSS")) << 10


class Watcher:
    """A running heapdump, quick unless told otherwise: .folder of its dumps,
    .samples of each look."""

    def __init__(self, *args, quick=True, prefix=(), stdin=None, watch=True,
                 **options):
        self.folder = new_folder("watch")
        self.samples = os.path.join(self.folder, "samples")
        self.errors = os.path.join(self.folder, "errors")
        argv = [*prefix, heaptest.program("heapdump"),
                *(["--watch"] if watch else []), *(QUICK if quick else ()),
                "--json", "-o", self.folder + "/", "--samples", self.samples]
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                [*argv, *map(str, args)], stdin=stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, text=True, **options)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def said(self):
        with open(self.errors) as file:
            return file.read()

    def await_start(self):
        patients.wait_for("the start of watching: " + self.said(), lambda:
                          "watching" in self.said()
                          or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.said()
        return self

    def looks(self):
        if not os.path.exists(self.samples):
            return 0
        with open(self.samples) as file:
            return len(file.readlines())

    def await_looks(self, number):
        """So many more looks."""
        wanted = self.looks() + number
        patients.wait_for("looks", lambda: self.looks() >= wanted, 60)

    def dumps(self):
        return sorted(glob.glob(glob.escape(self.folder) + "/heapdump.*.zst"))

    def await_dumps(self, number):
        patients.wait_for("%d dumps: %s" % (number, self.said()),
                          lambda: len(self.dumps()) >= number, 60)
        assert len(self.dumps()) == number, self.dumps()

    def end(self, status):
        """Its reports, once it has ended with this status."""
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == status, "exit %s: %s" % (
            self.process.returncode, self.said())
        return [json.loads(line) for line in out.splitlines()]


def facts_of(path):
    """What heapscan info tells of a dump: {key: value}."""
    done = heaptest.heapscan("info", path, "--format", "json")
    assert done.returncode in (0, 3), done.stderr
    return {row["key"]: row.get("value")
            for row in json.loads(done.stdout)["rows"]}


def markers_in(path):
    """How many objects of the target's own class there are."""
    done = heaptest.heapscan(path, "types", "--match", "^__main__.Marker$",
                             "--format", "json")
    assert done.returncode == 0, done.stderr
    return sum(row["count"] for row in json.loads(done.stdout)["rows"])


# ---- Thresholds

def test_thresholds():
    with heaptest.case("--rss fires when it is reached and not before, once "
                       "for each threshold"):
        with Watched() as target:
            base = target.rss()
            limits = [base + (40 << 20), base + (80 << 20)]
            with Watcher("--rss", limits[0], "--rss", limits[1],
                         target.pid) as watcher:
                said = watcher.await_start().said()
                assert "dump at RSS >= " in said and said.count("\n") == 1
                target.do("grow", 30)
                watcher.await_looks(10)
                assert not watcher.dumps(), watcher.said()
                target.do("grow", 15)
                watcher.await_dumps(1)
                watcher.await_looks(10)
                assert len(watcher.dumps()) == 1
                target.do("grow", 40)
                reports = watcher.end(0)
            assert [r["trigger"] for r in reports] == ["rss", "rss"]
            for report, limit in zip(reports, limits):
                facts = facts_of(report["path"])
                assert facts["trigger"] == "rss"
                assert facts["reason"] == report["reason"]
                assert re.match(r"RSS at [\d.]+ MiB \(threshold ",
                                facts["reason"]), facts["reason"]
                assert facts["rss"] >= limit > facts["rss"] - (20 << 20), (
                    facts["rss"], limit)
                assert markers_in(report["path"]) == 1234
            assert target.do("counts", 10) == "0"


def test_other_thresholds():
    for option, value, below, above in (
            ("threads", 8, ("threads", 5), ("threads", 3)),
            ("fds", 40, ("fds", 20), ("fds", 30)),
            ("pss", None, ("grow", 20), ("grow", 30))):
        with heaptest.case("--%s" % option):
            with Watched() as target:
                limit = value or target.rss() + (40 << 20)
                with Watcher("--" + option, limit, target.pid) as watcher:
                    watcher.await_start()
                    target.do(*below)
                    watcher.await_looks(8)
                    assert not watcher.dumps(), watcher.said()
                    target.do(*above)
                    report, = watcher.end(0)
                assert report["trigger"] == option, report
    with heaptest.case("--on-signal, each time, and it goes on until --count"):
        with Watched() as target, Watcher(
                "--on-signal", "USR1", "--count", 3, target.pid) as watcher:
            watcher.await_start()
            watcher.await_looks(4)
            for number in range(1, 4):
                assert len(watcher.dumps()) == number - 1
                os.kill(watcher.pid, signal.SIGUSR1)
                watcher.await_dumps(number)
            reports = watcher.end(0)
            assert all("SIGUSR1 from process %d" % os.getpid() in r["reason"]
                       for r in reports), reports


def test_growth():
    with heaptest.case("--growth sees a leak, and neither a jump nor a start"):
        with Watched() as target, Watcher(
                "--growth", "1G/h:2s", target.pid) as watcher:
            watcher.await_start()
            target.do("grow", 60)
            watcher.await_looks(60)
            assert not watcher.dumps(), watcher.said()
            # 2 MiB a second are 7 GiB an hour.
            target.do("leak", 2, 6)
            report, = watcher.end(0)
            grown = re.match(r"RSS grew by ([\d.]+) GiB an hour \(from .* MiB "
                             r"to .* MiB in [\d.]+ (?:s|ms), r squared "
                             r"([\d.]+)\)", report["reason"])
            assert grown, report["reason"]
            assert 1 <= float(grown[1]) < 12, report["reason"]
    with heaptest.case("--growth below its threshold is none"):
        with Watched() as target, Watcher(
                "--growth", "40G/h:1s", "--for", "4s", target.pid) as watcher:
            watcher.await_start()
            target.do("leak", 2, 3)
            assert not watcher.end(4)


def test_sooner():
    with heaptest.case("growth that would pass the threshold is looked at "
                       "sooner"):
        with Watched() as target:
            limit = target.rss() + (200 << 20)
            # It grows before the first looks, which are the interval apart
            # from those that follow, if there is nothing to be seen.
            target.order("leak", 20, 20)
            with Watcher("--rss", limit, "--interval", "20s", target.pid
                         ) as watcher:
                report, = watcher.end(0)
            facts = facts_of(report["path"])
            # Twenty seconds would be 400 MiB in all.
            assert limit <= facts["rss"] < limit + (120 << 20), (
                facts["rss"] - limit)


def test_repetition():
    with heaptest.case("--count and --cooldown"):
        with Watched() as target, Watcher(
                "--rss", "1M", "--count", 3, "--cooldown", "400ms",
                target.pid) as watcher:
            reports = watcher.end(0)
            times = sorted(facts_of(r["path"])["captured"] for r in reports)
            assert len(reports) == 3, reports
            first, *_, last = (os.stat(r["path"]).st_mtime for r in reports)
            assert last - first >= 0.8, times
    with heaptest.case("--baseline is a first dump at once"):
        with Watched() as target, Watcher(
                "--baseline", "--rss", "100G", "--for", "1s",
                target.pid) as watcher:
            report, = watcher.end(4)
            assert report["trigger"] == "baseline", report
    with heaptest.case("a process that ends before a trigger"):
        with Watched() as target, Watcher("--rss", "100G",
                                          target.pid) as watcher:
            watcher.await_start()
            target.order("exit", 0)
            assert not watcher.end(4)
            assert "ended before a trigger" in watcher.said()
    with heaptest.case("interrupted"):
        with Watched() as target, Watcher(target.pid) as watcher:
            watcher.await_start()
            watcher.process.send_signal(signal.SIGINT)
            assert not watcher.end(130)
            patients.wait_for("the end of tracing",
                              lambda: target.field("TracerPid") == "0")
    with heaptest.case("without --json, one line for each dump, on standard "
                       "error; -q says nothing"):
        with Watched() as target:
            folder = new_folder("lines")
            done = heaptest.heapdump("--watch", "--rss", "1M", "--max-pause",
                                     "60s", "-o", folder, target.pid)
            assert done.returncode == 0 and not done.stdout, done
            lines = done.stderr.splitlines()
            assert len(lines) == 2 and os.listdir(folder)[0] in lines[1], lines
            done = heaptest.heapdump("--watch", "--rss", "1M", "--max-pause",
                                     "60s", "-o", folder, "-q", target.pid)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with heaptest.case("a file of -o is not replaced by a later dump"):
        with Watched() as target:
            path = os.path.join(new_folder("file"), "a.core.zst")
            done = heaptest.heapdump(
                "--watch", "--rss", "1M", "--threads", "1", "--max-pause",
                "60s", "-o", path, target.pid)
            assert done.returncode == 0, done.stderr
            assert sorted(os.listdir(os.path.dirname(path))) == [
                "a-2.core.zst",
                "a.core.zst"]


# ---- cgroups

def memory_hierarchy():
    """Where cgroups with the memory controller can be made; and the names of
    the files of limit and usage there."""
    if os.geteuid() != 0:
        raise heaptest.Skip("making cgroups needs root")
    old = "/sys/fs/cgroup/memory"
    if os.path.exists(old + "/memory.limit_in_bytes"):
        return old, "memory.limit_in_bytes", "memory.usage_in_bytes"
    root = "/sys/fs/cgroup"
    try:
        with open(root + "/cgroup.subtree_control", "w") as file:
            file.write("+memory")
    except OSError as error:
        raise heaptest.Skip("no memory cgroup can be made: %s" % error)
    return root, "memory.max", "memory.current"


@contextlib.contextmanager
def memory_cgroup(limit, inner=False):
    """A cgroup with a limit, or one without below it."""
    root, limit_file, _ = memory_hierarchy()
    path = os.path.join(root, "heaptest.%d.%d" % (os.getpid(), next(NUMBERS)))
    folders = [path, path + "/inner"] if inner else [path]
    try:
        os.mkdir(path)
        if inner and limit_file == "memory.max":
            with open(path + "/cgroup.subtree_control", "w") as file:
                file.write("+memory")
        if inner:
            os.mkdir(folders[1])
    except OSError as error:
        raise heaptest.Skip("no cgroup can be made: %s" % error)

    def gone():
        try:
            for folder in reversed(folders):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(folder)
        except OSError:
            return False
        return True

    try:
        with open(os.path.join(path, limit_file), "w") as file:
            file.write(str(limit))
        yield folders[-1]
    finally:
        patients.wait_for("the end of the cgroup", gone)


def enter(cgroup, pid):
    with open(cgroup + "/cgroup.procs", "w") as file:
        file.write(str(pid))


def in_cgroup(cgroup):
    return dict(preexec_fn=lambda: enter(cgroup, os.getpid()))


def test_cgroup():
    with heaptest.case("without triggers: at 90 % of the cgroup's limit, "
                       "without pages of files"):
        with memory_cgroup(200 << 20) as cgroup, Watched(
                **in_cgroup(cgroup)) as target, Watcher(target.pid) as watcher:
            said = watcher.await_start().said()
            assert "cgroup >= 90 % of the limit; death by a signal" in said
            target.do("write", heaptest.tmp("pages"), 150)
            target.do("grow", 60)
            watcher.await_looks(10)
            with open(os.path.join(cgroup, memory_hierarchy()[2])) as file:
                assert int(file.read()) > 180 << 20, "the cache is not counted"
            assert not watcher.dumps(), watcher.said()
            target.do("grow", 118)
            watcher.await_dumps(1)
            # Death by a signal is still waited for.
            watcher.await_looks(4)
            target.order("abort")
            first, second = watcher.end(0)
            assert (first["trigger"], second["trigger"]) == ("cgroup",
                                                             "on-exit")
            facts = facts_of(first["path"])
            assert facts["cgroup_limit"] == 200 << 20, facts
            assert facts["cgroup_working"] >= 0.85 * (200 << 20), facts
            assert os.path.basename(cgroup) in facts["cgroup"], facts
            assert re.match(r"cgroup at [\d.]+ MiB, 9[\d.]+ % of its limit "
                            r"\(threshold 90 %\)$", facts["reason"]), facts
            assert "avg10=" in facts["psi_memory_some"]
            os.unlink(heaptest.tmp("pages"))
    with heaptest.case("--cgroup by the limit of the one above, and by size"):
        with memory_cgroup(200 << 20, inner=True) as cgroup, Watched(
                **in_cgroup(cgroup)) as target, Watcher(
                    "--cgroup", "50%", "--cgroup", "150M",
                    target.pid) as watcher:
            watcher.await_start()
            target.do("grow", 60)
            watcher.await_looks(8)
            assert not watcher.dumps(), watcher.said()
            target.do("grow", 45)
            watcher.await_dumps(1)
            watcher.await_looks(8)
            target.do("grow", 50)
            first, second = watcher.end(0)
            assert "threshold 50 %" in first["reason"]
            assert "threshold 150.0 MiB" in second["reason"]
    with heaptest.case("--cgroup without a limit is refused"):
        with Watched() as target:
            done = heaptest.heapdump("--watch", "--cgroup", "90%", "--for",
                                     "1s", "-o", new_folder("none"), target.pid)
            if done.returncode in (0, 4):
                raise heaptest.Skip("this machine's own cgroup has a limit")
            assert done.returncode == 1, done
            assert "has a limit" in done.stderr or \
                "not to be found" in done.stderr, done.stderr


def test_oom_event():
    with heaptest.case("--oom-event, when the kernel kills in the cgroup"):
        with memory_cgroup(150 << 20) as cgroup, Watched(
                **in_cgroup(cgroup)) as target, Watcher(
                    "--oom-event", "--interval", "30s", target.pid) as watcher:
            watcher.await_start()
            target.do("grow", 20)
            with Watched(**in_cgroup(cgroup)) as victim:
                with open("/proc/%d/oom_score_adj" % victim.pid, "w") as file:
                    file.write("1000")
                time.sleep(0.3)
                assert not watcher.dumps(), watcher.said()
                victim.order("grow", 200)
                assert victim.process.wait(60) == -signal.SIGKILL
            # An event, and long before the next look.
            report, = watcher.end(0)
            assert report["trigger"] == "oom-event"
            assert "the kernel killed a process" in report["reason"] or \
                "at its limit" in report["reason"], report


THRASH = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    area = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
while True:
    for at in range(0, len(area), 4096):
        area[at]
"""


def test_pressure():
    with heaptest.case("--psi, when tasks stall for lack of memory"):
        if not os.path.exists("/proc/pressure/memory"):
            raise heaptest.Skip("this kernel does not tell pressure")
        path = heaptest.tmp("thrash")
        with memory_cgroup(40 << 20) as cgroup, Watched() as target, Watcher(
                "--psi", "some 20000 2000000", "--interval", "60s",
                target.pid) as watcher:
            watcher.await_start()
            with open(path, "wb") as file:
                for _ in range(120):
                    file.write(os.urandom(1 << 20))
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            thrasher = subprocess.Popen([PYTHON, "-c", THRASH, path],
                                        **in_cgroup(cgroup))
            try:
                deadline = time.monotonic() + 40
                while watcher.process.poll() is None:
                    if time.monotonic() > deadline:
                        raise heaptest.Skip("no pressure could be made here")
                    time.sleep(0.1)
            finally:
                thrasher.kill()
                thrasher.wait()
                os.unlink(path)
            report, = watcher.end(0)
            assert report["trigger"] == "psi"
            assert "some tasks stalled" in report["reason"] and \
                "avg10=" in report["reason"], report


# ---- Death by a signal

def gdb_says(dump, *commands):
    core = heaptest.expand(dump, dump + ".plain")
    done = heaptest.run([
        heaptest.tool("gdb", "gdb"), "-q", "-batch", "-nx",
        *[word for command in commands for word in ("-ex", command)],
        PYTHON, core], env=dict(os.environ, DEBUGINFOD_URLS="", LC_ALL="C"))
    os.unlink(core)
    return done.stdout + done.stderr


def test_death():
    with heaptest.case("--on-exit: a fault in a thread, dumped where it "
                       "happened"):
        with Watched() as target, Watcher("--on-exit", target.pid) as watcher:
            watcher.await_start()
            target.do("threads", 3)
            thread = int(target.do("fault").split()[1])
            report, = watcher.end(0)
            assert target.process.wait(60) == -signal.SIGSEGV
            facts = facts_of(report["path"])
            assert facts["trigger"] == "on-exit"
            assert facts["reason"] == "death by SIGSEGV at address 0x123"
            assert facts["signal"] == "11 (SIGSEGV)", facts["signal"]
            assert report["threads"] == 5, report
            assert markers_in(report["path"]) == 1234
            assert report["complete"] is True
            death = report["path"]
    with heaptest.case("gdb sees that signal, on that thread, with its stack"):
        told = gdb_says(death, "info threads", "bt",
                        "p $_siginfo.si_signo",
                        "p/x $_siginfo._sifields._sigfault.si_addr")
        assert "terminated with signal SIGSEGV" in told, told
        assert re.search(r"^\* +1 .*\(LWP %d\)" % thread, told, re.M), told
        assert "$1 = 11" in told and "$2 = 0x123" in told, told
        assert re.search(r"^#\d+ .*(ffi_call|string_at)", told, re.M), told
    with heaptest.case("--on-exit: abort()"):
        with Watched() as target, Watcher("--on-exit", target.pid) as watcher:
            watcher.await_start()
            target.order("abort")
            report, = watcher.end(0)
            assert target.process.wait(60) == -signal.SIGABRT
            assert "SIGABRT, sent by process %d" % target.pid in \
                report["reason"], report
            assert "terminated with signal SIGABRT" in gdb_says(report["path"])
    with heaptest.case("SIGKILL is let through, and no dump is made of it"):
        with Watched() as target, Watcher("--on-exit", target.pid) as watcher:
            watcher.await_start()
            target.process.kill()
            assert target.process.wait(60) == -signal.SIGKILL
            assert not watcher.end(4)
    with heaptest.case("a normal exit passes with its status"):
        with Watched() as target, Watcher("--on-exit", target.pid) as watcher:
            watcher.await_start()
            target.order("exit", 42)
            assert target.process.wait(60) == 42
            assert not watcher.end(4)
    with heaptest.case("a process that another one traces is refused"):
        with Watched() as target, Watcher("--on-exit", target.pid) as first:
            first.await_start()
            done = heaptest.heapdump("--watch", "--on-exit", target.pid)
            assert done.returncode == 1, done
            assert "traced" in done.stderr, done.stderr
            assert "--on-signal" in done.stderr, "it is one of us"
    with heaptest.case("a dump by hand while a watcher waits for the death"):
        with Watched() as target, Watcher("--on-exit", target.pid) as watcher:
            watcher.await_start()
            folder = new_folder("hand")
            done = heaptest.heapdump("-q", "--max-pause", "60s", "-o", folder,
                                     target.pid)
            assert done.returncode == 0, done.stderr
            assert len(os.listdir(folder)) == 1 and not watcher.dumps()
            # The watcher takes it back, and sees the end.
            patients.wait_for("tracing", lambda: target.field("TracerPid")
                              != "0", 30)
            target.order("abort")
            report, = watcher.end(0)
            assert "SIGABRT" in report["reason"], report
    with heaptest.case("the first process of a pid namespace dies of a fault"):
        if os.geteuid() != 0:
            raise heaptest.Skip("a PID namespace needs root")
        unshare = heaptest.tool("unshare", "util-linux")
        outer = subprocess.Popen(
            [unshare, "--pid", "--fork", PYTHON, WATCHED],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            outer.stdout.readline()
            with open("/proc/%d/task/%d/children" % (outer.pid,
                                                     outer.pid)) as file:
                pid = int(file.read())
            with Watcher("--on-exit", pid) as watcher:
                watcher.await_start()
                outer.stdin.write("fault\n")
                outer.stdin.flush()
                report, = watcher.end(0)
                assert "SIGSEGV" in report["reason"], report
                assert markers_in(report["path"]) == 1234
                assert outer.wait(60) != 0
        finally:
            outer.kill()
            outer.communicate()


def test_untouched():
    with heaptest.case("signals and job control pass as they would without"):
        with Watched() as target, Watcher("--on-exit", target.pid) as watcher:
            watcher.await_start()
            for number in range(1, 201):
                os.kill(target.pid, signal.SIGUSR1)
                patients.wait_for("signal %d" % number, lambda: int(
                    target.do("counts", int(signal.SIGUSR1))) == number)
            target.do("churn", 200)
            os.kill(target.pid, signal.SIGSTOP)
            patients.wait_for("the stop", lambda: target.field("State")
                              in "Tt")
            os.kill(target.pid, signal.SIGUSR2)
            time.sleep(0.2)
            assert target.field("State") in "Tt"
            os.kill(target.pid, signal.SIGCONT)
            assert target.do("counts", int(signal.SIGUSR2)) == "1"
            assert not watcher.dumps()
    with heaptest.case("a stopped process stays stopped, without its watcher"):
        with Watched() as target:
            with Watcher("--on-exit", target.pid) as watcher:
                watcher.await_start()
                os.kill(target.pid, signal.SIGSTOP)
                patients.wait_for("the stop", lambda: target.field("State")
                                  in "Tt")
            time.sleep(0.2)
            assert target.field("State") == "T", target.field("State")
            assert target.field("TracerPid") == "0"
            os.kill(target.pid, signal.SIGCONT)
            assert target.do("grow", 1) == "None"
    with heaptest.case("a watcher that is killed leaves it running, 20 times"):
        with patients.patient("--spawn", "--megabytes", "2") as patient:
            for number in range(20):
                with Watcher("--on-exit", "--rss", "100G",
                             patient.pid) as watcher:
                    watcher.await_start()
                    time.sleep(number * 0.007)
                    watcher.process.kill()
                    watcher.process.wait()
                patients.wait_for("the end of tracing", lambda:
                                  "TracerPid:\t0" in open(
                                      "/proc/%d/status" % patient.pid).read())
            patient.assert_well()
    with heaptest.case("no signal is lost when the watcher is killed"):
        with Watched() as target:
            sent = 0
            for number in range(15):
                with Watcher("--on-exit", target.pid) as watcher:
                    watcher.await_start()
                    killer = subprocess.Popen([
                        "sh", "-c", "sleep 0.0%d; kill -9 %d"
                        % (number + 1, watcher.pid)])
                    while killer.poll() is None:
                        os.kill(target.pid, signal.SIGUSR1)
                        sent += 1
                        patients.wait_for(
                            "signal %d" % sent, lambda: int(target.do(
                                "counts", int(signal.SIGUSR1))) >= sent)
            assert int(target.do("counts", int(signal.SIGUSR1))) == sent


# ---- heapdump -- CMD

def command(*args, options=(), **keywords):
    keywords.setdefault("cwd", new_folder("command"))
    return heaptest.run([heaptest.program("heapdump"), *options, "--", *args],
                        **keywords)


def test_command():
    with heaptest.case("-- CMD ends as the command does"):
        for script, status in (("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137),
                               ("kill -15 $$", 143)):
            done = command("sh", "-c", script)
            assert done.returncode == status, (script, done)
        assert command("/nowhere/x").returncode == 127
        done = command("/etc/passwd")
        assert done.returncode == 126 and "/etc/passwd" in done.stderr, done
    with heaptest.case("standard input and output are the command's"):
        done = command("sh", "-c", "cat; echo err >&2", stdin=None,
                       input="in\n", options=["-q"])
        assert (done.stdout, done.stderr) == ("in\n", "err\n"), done
    with heaptest.case("-- CMD dumps at a death by a signal"):
        folder = new_folder("crash")
        done = command(PYTHON, "-c", "import os, time; time.sleep(0.5); "
                       "os.abort()", options=["-o", folder])
        assert done.returncode == 134, done
        path, = glob.glob(folder + "/*")
        assert facts_of(path)["signal"] == "6 (SIGABRT)"
        assert "SIGABRT" in done.stderr and path in done.stderr, done.stderr
    with heaptest.case("a death by SIGTERM is one, where no trigger is named"):
        for options, dumps in (([], 1), (["--on-exit"], 1),
                               (["--rss", "100G"], 0),
                               (["--rss", "100G", "--on-exit"], 1)):
            folder = new_folder("terminated" + "".join(options))
            done = command(PYTHON, "-c", "import os, time; time.sleep(0.5); "
                           "os.kill(os.getpid(), 15)",
                           options=["-o", folder, *options])
            assert done.returncode == 143, done
            assert len(os.listdir(folder)) == dumps, (options, done.stderr)
    with heaptest.case("a death that nobody could watch is told"):
        done = command("sh", "-c", "sh -c 'kill -SEGV $$'; exit $?")
        assert done.returncode == 139, done
        assert "no dump of a death by SIGSEGV" in done.stderr, done.stderr
        done = command("sh", "-c", "exit 139", options=["--rss", "100G"])
        assert "no dump" not in done.stderr, done.stderr
    with heaptest.case("signals are passed on, and ignored ones stay ignored"):
        with Watcher("--rss", "100G", "--", PYTHON, WATCHED, watch=False,
                     stdin=subprocess.PIPE) as watcher:
            child = watcher.process
            assert child.stdout.readline().startswith("READY ")

            def got():
                child.stdin.write("counts %d\n" % signal.SIGUSR1)
                child.stdin.flush()
                return int(child.stdout.readline())

            # Two that wait at the same time would be one.
            for number in range(1, 4):
                child.send_signal(signal.SIGUSR1)
                patients.wait_for("signal %d" % number,
                                  lambda: got() >= number)
            assert got() == 3
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 143, child.returncode
            child.stdin.close()
        script = "grep -E 'Sig(Ign|Blk)' /proc/self/status"
        plain = heaptest.run(["sh", "-c", script])
        assert command("sh", "-c", script).stdout == plain.stdout
    with heaptest.case("killed, it leaves the command running"):
        with Watcher("--on-exit", "--", PYTHON, WATCHED, watch=False,
                     stdin=subprocess.PIPE) as watcher:
            pid = int(watcher.process.stdout.readline().split()[1])
            watcher.await_start()
            watcher.process.kill()
            watcher.process.wait()
            patients.wait_for("the end of tracing", lambda:
                              "TracerPid:\t0" in open("/proc/%d/status"
                                                      % pid).read())
            watcher.process.stdin.write("grow 1\n")
            watcher.process.stdin.flush()
            assert watcher.process.stdout.readline() == "None\n"
            os.kill(pid, signal.SIGKILL)
            watcher.process.stdin.close()


KEYS = """
import signal, sys, time
def got(*_):
    print("GOT", flush=True)
signal.signal(signal.SIGINT, got)
print("READY", flush=True)
while True:
    time.sleep(0.05)
"""


def test_terminal():
    with heaptest.case("a key of the terminal reaches the command once"):
        controller, terminal = os.openpty()
        folder = new_folder("keys")

        def take_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            [heaptest.program("heapdump"), "-q", "-o", folder, "--", PYTHON,
             "-c", KEYS], stdin=terminal, stdout=terminal, stderr=terminal,
            preexec_fn=take_terminal)
        os.close(terminal)
        shown = b""

        def read_until(word):
            nonlocal shown
            deadline = time.monotonic() + 20
            while word not in shown:
                assert time.monotonic() < deadline, shown
                if select.select([controller], [], [], 0.1)[0]:
                    shown += os.read(controller, 4096)

        try:
            read_until(b"READY")
            os.write(controller, b"\x03")
            read_until(b"GOT")
            time.sleep(0.5)
            os.write(controller, b"\x1c")       # Ctrl-\\
            assert process.wait(60) == 128 + signal.SIGQUIT
            while select.select([controller], [], [], 0.1)[0]:
                try:
                    shown += os.read(controller, 4096)
                except OSError:
                    break
            assert shown.count(b"GOT") == 1, shown
            # A death by SIGQUIT is one by a signal.
            assert len(glob.glob(folder + "/heapdump.*")) == 1
        finally:
            process.kill()
            process.wait()
            os.close(controller)


ORPHANS = """
import os, signal, sys, time
def orphan():
    if os.fork() == 0:
        os._exit(0)
    os._exit(0)
for _ in range(5):
    if os.fork() == 0:
        orphan()
    os.wait()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(33))
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    states = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            states.append(open("/proc/%s/stat" % name).read().split()[2])
        except OSError:
            pass
    if "Z" not in states:
        break
    time.sleep(0.05)
print("READY", os.getppid(), states.count("Z"), flush=True)
time.sleep(60)
"""


def test_first_process():
    with heaptest.case("as PID 1: orphans are reaped, SIGTERM is passed on"):
        if os.geteuid() != 0:
            raise heaptest.Skip("a PID namespace needs root")
        folder = new_folder("init")
        with open(os.path.join(folder, "errors"), "w") as errors:
            outer = subprocess.Popen(
                [*heaptest.private_mounts(), "--pid", "--fork", "--mount-proc",
                 heaptest.program("heapdump"), "-o", folder, "--", PYTHON, "-c",
                 ORPHANS], stdout=subprocess.PIPE, stderr=errors, text=True)
            try:
                assert outer.stdout.readline() == "READY 1 0\n"
                with open("/proc/%d/task/%d/children" % (outer.pid,
                                                         outer.pid)) as file:
                    os.kill(int(file.read()), signal.SIGTERM)
                assert outer.wait(60) == 33
            finally:
                outer.kill()
                outer.communicate()
    with heaptest.case("as PID 1: a crash is dumped, its status is 128 + N"):
        done = heaptest.run([
            *heaptest.private_mounts(), "--pid", "--fork", "--mount-proc",
            heaptest.program("heapdump"), "-o", folder, "--", PYTHON, "-c",
            "import os, time; time.sleep(0.5); os.abort()"])
        assert done.returncode == 134, done
        path, = glob.glob(folder + "/heapdump.*")
        assert facts_of(path)["signal"] == "6 (SIGABRT)"


# ---- By name, with children

def test_wait_name():
    with heaptest.case("--wait-name waits for one, and then for the next"):
        name = "watched-%d" % os.getpid()
        # The shell's own command line has the name in it.
        with Watcher("--wait-name", name + "$", "--rss", "1M", "--count", 2,
                     prefix=("sh", "-c", '"$@"; exit $?', "sh")) as watcher:
            patients.wait_for("the start", lambda: "waiting" in watcher.said())
            time.sleep(0.5)
            assert "watching" not in watcher.said()
            pids = []
            for number in (1, 2):
                with Watched(name) as target:
                    pids.append(target.pid)
                    watcher.await_dumps(number)
            reports = watcher.end(0)
            # With --count it fires again after a pause: both may be of one.
            assert [r["pid"] for r in reports] == pids, (reports, pids)


def test_children():
    with heaptest.case("--children: a dump of each, and a manifest"):
        with Watched() as target:
            child = int(target.do("spawn", "child"))
            grandchild = int(target.do("tell", 0, "spawn", "grandchild"))
            folder = new_folder("tree")
            done = heaptest.heapdump("-q", "--children", "--max-pause", "60s",
                                     "-o", folder, target.pid)
            assert done.returncode == 0, done.stderr
            manifest, = glob.glob(folder + "/*.manifest.json")
            assert stat.S_IMODE(os.stat(manifest).st_mode) == 0o600
            with open(manifest) as file:
                told = json.load(file)
            assert told["schema"] == "heapdump.manifest/1"
            assert told["root"] == target.pid and told["trigger"] == "request"
            assert [(d["pid"], d.get("parent"), d["status"])
                    for d in told["dumps"]] == [
                (target.pid, None, "complete"),
                (child, target.pid, "complete"),
                (grandchild, child, "complete")], told
            for dump in told["dumps"]:
                assert dump["bytes"] == os.path.getsize(dump["path"])
                assert "watched.py" in dump["script"]
                assert markers_in(dump["path"]) == 1234
            assert len(os.listdir(folder)) == 4, os.listdir(folder)
    with heaptest.case("--watch --children: RSS of all together"):
        with Watched() as target:
            target.do("spawn", "child")
            limit = 2 * target.rss() + (60 << 20)
            with Watcher("--children", "--rss", limit, target.pid) as watcher:
                watcher.await_start()
                target.do("grow", 30)
                watcher.await_looks(8)
                assert not watcher.dumps(), watcher.said()
                target.do("tell", 0, "grow", 50)
                reports = watcher.end(0)
                assert len(reports) == 2 and {r["trigger"] for r in reports} \
                    == {"rss"}, reports
                assert len(glob.glob(watcher.folder + "/*.manifest.json")) == 1


# ---- Disk, commands, samples

def test_retention():
    folder = new_folder("total")
    with Watched() as target:
        def dump(*options):
            return heaptest.heapdump("--json", "--max-pause", "60s", "-o",
                                     folder, *options, target.pid)

        with heaptest.case("--max-total removes the oldest of its own, and "
                           "nothing else"):
            size = json.loads(dump().stdout)["bytes"]
            mine = [json.loads(dump().stdout)["path"] for _ in range(2)]
            first, = set(glob.glob(folder + "/*")) - set(mine)
            # A name that no dump of today takes when it is free.
            old = os.path.join(folder, "heapdump.h.s.1.x.core.zst")
            os.rename(first, old)
            first = old
            foreign = os.path.join(folder, "heapdump.a.b.1.c.core.zst")
            with open(foreign, "wb") as file:
                file.write(b"not a dump" * 1000)
            other = os.path.join(folder, "mine.core.zst")
            shutil.copy(first, other)
            link = os.path.join(folder, "heapdump.a.b.2.c.core.zst")
            os.symlink(other, link)
            theirs = os.path.join(folder, "heapdump.a.b.3.c.core.zst")
            if os.geteuid() == 0:
                shutil.copy(first, theirs)
                os.chown(theirs, 65534, 65534)
            cut = os.path.join(folder, "heapdump.a.b.4.c.core.zst")
            with open(first, "rb") as file, open(cut, "wb") as to:
                to.write(file.read()[:size // 2])
            for path in (foreign, other, cut):
                os.utime(path, (1, 1))
            done = dump("--max-total", int(3.4 * size))
            assert done.returncode == 0, done.stderr
            new = json.loads(done.stdout)["path"]
            assert not os.path.exists(first), "the oldest is still there"
            assert done.stderr.count("removed") == 1 and \
                os.path.basename(first) in done.stderr, done.stderr
            for path in (*mine, foreign, other, link, cut, new):
                assert os.path.lexists(path), path
            assert os.geteuid() != 0 or os.path.exists(theirs)
        with heaptest.case("a plain dump is known as well"):
            done = dump("--no-compress", "--max-total", "10G")
            plain = json.loads(done.stdout)["path"]
            os.utime(plain, (1, 1))
            done = dump("--max-total", int(4.5 * size))
            assert done.returncode == 0, done.stderr
            assert not os.path.exists(plain), done.stderr
        with heaptest.case("nothing is removed for a dump that is too large"):
            before = sorted(os.listdir(folder))
            done = dump("--max-total", "10K")
            assert done.returncode == 1 and "--max-total" in done.stderr, done
            assert sorted(os.listdir(folder)) == before
        with heaptest.case("--min-free refuses, and leaves nothing"):
            done = dump("--min-free", "1000T")
            assert done.returncode == 1 and "--min-free" in done.stderr, done
            assert sorted(os.listdir(folder)) == before
            assert dump("--min-free", "1M").returncode == 0


def test_exec():
    with heaptest.case("--exec gets the dump's path, and its failure is told"):
        folder = new_folder("exec")
        out = os.path.join(folder, "out")
        script = ('printf "%s|" "$1" "$HEAPDUMP_PATH" "$HEAPDUMP_PID" '
                  '"$HEAPDUMP_TRIGGER" "$(id -u)" >' + out)
        with Watched() as target:
            done = heaptest.heapdump("--max-pause", "60s", "-o", folder + "/",
                                     "--json", "--exec", script, target.pid)
            assert done.returncode == 0, done.stderr
            path = json.loads(done.stdout)["path"]
            with open(out) as file:
                assert file.read() == "%s|%s|%d|request|%d|" % (
                    path, path, target.pid, os.geteuid())
            done = heaptest.heapdump("-q", "--max-pause", "60s", "-o",
                                     folder + "/", "--exec", "exit 3",
                                     target.pid)
            assert done.returncode == 3, done
    with heaptest.case("--exec does not hold up the watcher"):
        with Watched() as target, Watcher(
                "--on-signal", "USR1", "--count", 2, "--exec",
                'echo "$HEAPDUMP_TRIGGER" >>%s; sleep 1' % out,
                target.pid) as watcher:
            watcher.await_start()
            os.kill(watcher.pid, signal.SIGUSR1)
            watcher.await_dumps(1)
            looks = watcher.looks()
            watcher.await_looks(3)
            os.kill(watcher.pid, signal.SIGUSR1)
            watcher.end(0)
            assert watcher.looks() > looks
            with open(out) as file:
                assert file.read().count("on-signal") == 2


def test_samples():
    with heaptest.case("--samples are the numbers of /proc"):
        with Watched() as target, Watcher("--rss", "100G",
                                          target.pid) as watcher:
            watcher.await_start()
            target.do("fds", 10)
            watcher.await_looks(4)
            with open(watcher.samples) as file:
                lines = [json.loads(line) for line in file]
            last = lines[-1]
            assert last["pid"] == target.pid
            assert abs(last["rss"] - target.rss()) < 4 << 20, last
            assert last["threads"] == int(target.field("Threads"))
            assert last["fds"] == len(os.listdir("/proc/%d/fd" % target.pid))
            assert lines[0]["pss"] <= lines[0]["rss"]
            assert abs(last["time_ns"] / 1e9 - time.time()) < 60
            assert all(a["monotonic_ns"] < b["monotonic_ns"]
                       for a, b in zip(lines, lines[1:]))
            assert stat.S_IMODE(os.stat(watcher.samples).st_mode) == 0o600
            moved = watcher.samples + ".1"
            os.rename(watcher.samples, moved)
            patients.wait_for("a new file",
                              lambda: os.path.exists(watcher.samples))
            watcher.await_looks(2)
    with heaptest.case("--samples follows no link"):
        link = heaptest.tmp("samples.link")
        os.symlink(heaptest.tmp("elsewhere"), link)
        with Watched() as target:
            done = heaptest.heapdump("--watch", "--samples", link, target.pid)
        assert done.returncode == 1 and link in done.stderr, done
        assert not os.path.exists(heaptest.tmp("elsewhere"))


NVML = r"""
#include <string.h>
#include <stdio.h>
#include <stdlib.h>
struct info { unsigned int pid; unsigned long long used; unsigned int gi, ci; };
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code ? "bad" : "good"; }
int nvmlDeviceGetCount_v2(unsigned int *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **d)
{ *d = (void *)(size_t)(i + 1); return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned int *n,
                                            struct info *list)
{
	FILE *file = fopen(getenv("FAKE_GPU"), "r");
	unsigned int room = *n, pid;
	unsigned long long used;

	*n = 100;
	if (room < 100)
		return 7;
	memset(list, 0, 100 * sizeof(*list));
	list[98].pid = 1;
	list[98].used = ~0ULL;
	if (fscanf(file, "%u %llu", &pid, &used) == 2) {
		list[99].pid = pid;
		list[99].used = used;
	}
	return fclose(file);
}
"""


def test_gpu():
    with heaptest.case("--gpu-mem without a GPU is refused"):
        if shutil.which("nvidia-smi"):
            raise heaptest.Skip("there may be a GPU")
        with Watched() as target:
            done = heaptest.heapdump("--watch", "--gpu-mem", "1G", target.pid)
        assert done.returncode == 1, done
        assert "--gpu-mem" in done.stderr and "libnvidia-ml" in done.stderr
    with heaptest.case("--gpu-mem by a library that says what it is told"):
        folder = new_folder("nvml")
        with open(os.path.join(folder, "nvml.c"), "w") as file:
            file.write(NVML)
        done = heaptest.run([heaptest.tool("gcc", "gcc"), "-shared", "-fPIC",
                             "-o", folder + "/libnvidia-ml.so.1",
                             folder + "/nvml.c"])
        assert done.returncode == 0, done.stderr
        used = os.path.join(folder, "used")

        def use(pid, mebibytes):
            with open(used + ".new", "w") as out:
                out.write("%d %d" % (pid, mebibytes << 20))
            os.rename(used + ".new", used)

        with Watched() as target:
            use(target.pid, 100)
            with Watcher("--gpu-mem", "512M", target.pid, env=dict(
                    os.environ, LD_LIBRARY_PATH=folder,
                    FAKE_GPU=used)) as watcher:
                watcher.await_start()
                use(target.pid + 1, 1000)
                watcher.await_looks(8)
                assert not watcher.dumps(), watcher.said()
                use(target.pid, 300)    # on each of two devices
                report, = watcher.end(0)
                assert report["reason"] == \
                    "GPU memory at 600.0 MiB (threshold 512.0 MiB)", report


# ---- What it costs

def cpu_ns(pid):
    with open("/proc/%d/schedstat" % pid) as file:
        return int(file.read().split()[0])


def kept_open(pid):
    """Descriptors of a process, without what a look has open for a moment."""
    return min(len(os.listdir("/proc/%d/fd" % pid)) for _ in range(50))


def test_cost():
    with heaptest.case("a look costs less than a thousandth of a second, "
                       "and none costs memory"):
        if "address" in heaptest.BUILD:
            raise heaptest.Skip("a sanitizer keeps what is freed")
        with Watched() as target, Watcher(
                "--interval", "2ms", "--rss", "100G", "--growth", "1G/h",
                "--cgroup", "100G", "--threads", 1000, "--fds", 100000,
                target.pid) as watcher:
            watcher.await_start()
            watcher.await_looks(200)
            fds = kept_open(watcher.pid)
            with open("/proc/%d/statm" % watcher.pid) as file:
                pages = int(file.read().split()[1])
            looks, spent = watcher.looks(), cpu_ns(watcher.pid)
            watcher.await_looks(1500)
            looks = watcher.looks() - looks
            spent = (cpu_ns(watcher.pid) - spent) / looks
            print("# %d looks, %.0f us each" % (looks, spent / 1000))
            # At the default of one look a second.
            assert spent < 1e9 / 1000, "%.0f us a look" % (spent / 1000)
            assert kept_open(watcher.pid) == fds
            with open("/proc/%d/statm" % watcher.pid) as file:
                more = int(file.read().split()[1]) - pages
            assert more < 64, "%d pages more" % more
            with open("/proc/%d/status" % watcher.pid) as file:
                rss = int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])
            print("# RSS of the watcher: %d KiB" % rss)


def main():
    test_thresholds()
    test_other_thresholds()
    test_growth()
    test_sooner()
    test_repetition()
    test_cgroup()
    test_oom_event()
    test_pressure()
    test_death()
    test_untouched()
    test_command()
    test_terminal()
    test_first_process()
    test_wait_name()
    test_children()
    test_retention()
    test_exec()
    test_samples()
    test_gpu()
    test_cost()
    heaptest.finish()


main()
