#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heapdump --on-oom: a dump of the moment at which memory runs out, in every
process of the command, and nothing else is otherwise than without."""
import contextlib
import glob
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest
from oomlistener import RAISED, THROWN
import oomlistener

TARGET = os.path.join(patients.HERE, "on_oom_target.py")
NATIVE = os.path.join(patients.HERE, "on_oom_native.cc")
LIBRARY = os.path.join(heaptest.BUILD, "libheapdump-onoom.so")
SYSTEM = ["/usr/bin/python3"]
NUMBERS = itertools.count()


def listening(answer=b"a"):
    return oomlistener.Listener(LIBRARY, answer)


def new_folder(name):
    return patients.folder("%s.%d" % (name, next(NUMBERS)))


def dumps_in(folder):
    return sorted(glob.glob(glob.escape(folder) + "/heapdump.*.zst"))


class Outcome:
    """What became of a command under --on-oom: .status, .out (of the command),
    .said (by heapdump), .reports (its JSON), .dumps (paths)."""

    def __init__(self, argv, *options, env=None):
        self.folder = new_folder("oom")
        done = heaptest.run(
            [heaptest.program("heapdump"), "--on-oom", "--json",
             "--max-pause", "60s", "-o", self.folder + "/",
             *map(str, options), "--", *map(str, argv)],
            env=dict(os.environ, **(env or {})))
        self.status, self.out = done.returncode, done.stdout
        lines = done.stderr.splitlines()
        self.reports = [json.loads(line) for line in lines
                        if line.startswith("{")]
        self.said = [line for line in lines if not line.startswith("{")]
        self.dumps = dumps_in(self.folder)

    def only(self):
        """Its one dump, and why it was made."""
        report, = self.reports
        assert report["trigger"] == "on-oom", report
        assert [report["path"]] == self.dumps, (report, self.dumps)
        assert report["complete"] is True, report
        return report["path"], report["reason"]


def python(interpreter, *steps):
    return [*interpreter.argv, TARGET, *steps]


def without(argv, env=None):
    """The same command alone."""
    return heaptest.run([*map(str, argv)],
                        env=dict(os.environ, **(env or {})))


def answer(dump, *words):
    done = heaptest.heapscan(dump, *words, "-f", "json", "-q", "--top", "0")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)["rows"]


def counts(dump):
    return {row["type"]: row["count"] for row in answer(dump, "types")}


def thread_of(dump, reason):
    """The thread that the reason names, with its frames."""
    tid = int(re.search(r" in thread (\d+)", reason)[1])
    row, = [row for row in answer(dump, "threads", "--locals")
            if row["tid"] == tid]
    return row


def check_evidence(dump, reason, last):
    """All frames are there with their variables, and what those hold."""
    thread = thread_of(dump, reason)
    names = [frame["function"] for frame in thread["python"]]
    assert last in names, names
    below = names[names.index(last) + 1:]
    assert below == ["deeper"] * 6 + ["work", "run", "main", "<module>"], names
    local = {(row["name"], row["type"]) for row in thread["locals"]}
    assert {("kept", "list"), ("depth", "int"),
            ("local_of_the_deepest", "__main__.Marker")} <= local, local
    assert counts(dump)["__main__.Marker"] == 1234 + 1
    return thread


# ---- Every interpreter



def test_interpreter(interpreter):
    name = interpreter.name
    gil = not interpreter.free_threaded
    if gil:
        with heaptest.case(name + ": what Python was refused"):
            argv = python(interpreter, "refused", "exit=3")
            seen = Outcome(argv)
            alone = without(argv)
            assert (seen.status, seen.out) == (3, alone.stdout.replace(
                "no time", "long" if "long" in seen.out else "no time")), seen
            dump, reason = seen.only()
            assert re.fullmatch(r"MemoryError in thread \d+: Python was refused"
                                r" 4\.00 EiB", reason), reason
            thread = check_evidence(dump, reason, "refused")
            failure = json.loads(heaptest.heapscan(
                dump, "-f", "json", "-q").stdout)["failure"]
            assert (failure["type"], failure["state"], failure["kind"],
                    failure["requested"], failure["tid"]) == (
                "MemoryError", "thrown", "cpu", 1 << 62, thread["tid"]), failure
            assert failure["place"].startswith("refused on_oom_target.py:"), (
                failure)
            native = [frame.get("function") for frame in thread["native"]]
            assert "onoom_tell" in native, native
        # One of them on each, as each takes its time.
        setting = ({"PYTHONMALLOC": "malloc"}, {"PYTHONDEVMODE": "1"},
                   {"PYTHONMALLOC": "malloc_debug"})[interpreter.version[1] % 3]
        with heaptest.case("%s: what Python was refused, with %s" % (name,
                                                                     setting)):
            seen = Outcome(python(interpreter, "refused", "exit=3"),
                           env=setting)
            assert seen.status == 3, seen.said
            dump, reason = seen.only()
            assert re.fullmatch(r"MemoryError in thread \d+: Python was refused"
                                r" 4\.00 EiB", reason), reason
            check_evidence(dump, reason, "refused")
        with heaptest.case(name + ": within a list that is being made"):
            seen = Outcome(python(interpreter, "limited"))
            assert (seen.status, seen.out) == (0, "limited MemoryError\n"), (
                seen.out, seen.said)
            dump, reason = seen.only()
            assert re.fullmatch(r"MemoryError in thread \d+: Python was refused"
                                r" [\d.]+ [KMG]?i?B", reason), reason
            check_evidence(dump, reason, "limited")
            # Nothing of it is left once the handler runs.
            assert counts(dump)["tuple"] > 400000, counts(dump)["tuple"]
    with heaptest.case(name + ": a MemoryError that is raised by name"):
        seen = Outcome(python(interpreter, "named"))
        assert (seen.status, seen.out) == (0, "named MemoryError\n"), seen.said
        dump, reason = seen.only()
        assert re.fullmatch(r"MemoryError in thread \d+", reason), reason
        check_evidence(dump, reason, "named")
    with heaptest.case(name + ": a class derived from it, once"):
        seen = Outcome(python(interpreter, "array"))
        assert (seen.status, seen.out) == (0, "array _ArrayMemoryError\n"), (
            seen.said)
        dump, reason = seen.only()
        assert re.fullmatch(r"_ArrayMemoryError in thread \d+", reason), reason
        check_evidence(dump, reason, "array")
    with heaptest.case(name + ": nobody is told of a program without any"):
        argv = python(interpreter, "plain", "exit=4")
        with listening() as listener:
            done = without(argv, listener.environment())
        alone = without(argv)
        assert not listener.heard, listener.heard
        assert (done.returncode, done.stdout, done.stderr) == (
            4, alone.stdout, alone.stderr), (done, alone)
        assert alone.returncode == 4 and "MemoryError" in alone.stdout
    with heaptest.case(name + ": a MemoryError is made, as ever"):
        with listening() as listener:
            done = without(python(interpreter, "made"), listener.environment())
        assert done.stdout == without(python(interpreter, "made")).stdout
        assert done.returncode == 0 and "True" in done.stdout, done
        assert [one[:2] for one in listener.heard] == [
            (RAISED, "MemoryError"), (RAISED, "_ArrayMemoryError"),
            (RAISED, "MemoryError")], listener.heard


def test_numpy():
    for interpreter in heaptest.with_extensions() or [None]:
        if interpreter is None:
            heaptest.skip("numpy's MemoryError", "no numpy: see "
                          "tests/python/fetch_packages.sh")
            continue
        with heaptest.case(interpreter.name + ": numpy's MemoryError"):
            if heaptest.run([*interpreter.argv, "-c", "import numpy"],
                            env=interpreter.environment()).returncode:
                raise heaptest.Skip("no numpy for it")
            seen = Outcome(python(interpreter, "numpy"), env=interpreter.env)
            assert "MemoryError" in seen.out and seen.status == 0, seen.said
            dump, reason = seen.only()
            # 3.11 and before make it when a handler is reached.
            # numpy 2 asks Python for the memory.
            assert re.fullmatch(r"((\S*\.)?_?(Array)?MemoryError in thread \d+|"
                                r"MemoryError in thread \d+: Python was "
                                r"refused 512.00 PiB)", reason), reason
            if interpreter.version >= (3, 12):
                check_evidence(dump, reason, "numpy")
            else:
                assert counts(dump)["__main__.Marker"] == 1235


# ---- C++

CUDA = ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total "
        "capacity of 79 GiB of which 10 MiB is free. And so on" + 16 * " and on"
        + ".")
HOST = ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 "
        "bytes. Error code 12 (Cannot allocate memory)")
LACKS = {"cuda": ("N3c1016OutOfMemoryErrorE", CUDA),
         "older": ("N3c1020CUDAOutOfMemoryErrorE", "older"),
         "derived": ("N12_GLOBAL__N_16HiddenE", "derived"),
         "second": ("6Second", "the second base says it"),
         "rmm": ("N3rmm6detail9bad_allocE", ""),
         "new": ("St9bad_alloc", ""),
         "host": ("N3c105ErrorE", HOST),
         "binary": ("N3c1016OutOfMemoryErrorE", "half ")}
OTHERS = ("error", "index", "runtime", "int", "pointer", "private", "length")


def compiled(name, *options):
    to = heaptest.tmp(name)
    if not os.path.exists(to):
        done = heaptest.run([heaptest.tool("g++", "g++"), "-std=c++17", "-O1",
                             "-Wno-alloc-size-larger-than", NATIVE, "-o", to,
                             "-pthread", *options])
        assert done.returncode == 0, done.stderr
    return to


def shared():
    return compiled("native.so", "-shared", "-fPIC")


def check_kinds(listener, heard):
    """All that lack memory were told, in that order, and nothing else."""
    assert [one[:2] for one in heard] == [
        (THROWN, LACKS[kind][0]) for kind in LACKS], heard
    for (_, _, text, _), kind in zip(heard, LACKS):
        assert LACKS[kind][1].startswith(text), (kind, text)
        assert text or not LACKS[kind][1], kind
    assert len(heard[0][2]) > 120


def test_cxx():
    everything = [*LACKS, *OTHERS]
    with heaptest.case("C++, a program: what lacks memory, and nothing else"):
        program = compiled("native")
        with listening() as listener:
            done = without([program, *everything], listener.environment())
        assert done.returncode == 7, done
        assert done.stdout == "".join(kind + " 1\n" for kind in everything), done
        check_kinds(listener, listener.heard)
    # RTLD_DEEPBIND finds the library's own libstdc++ before all others.
    for mode, label, seen in (
            (os.RTLD_NOW | os.RTLD_LOCAL, "RTLD_LOCAL", True),
            (os.RTLD_NOW | os.RTLD_GLOBAL, "RTLD_GLOBAL", True),
            (os.RTLD_NOW | os.RTLD_DEEPBIND, "RTLD_DEEPBIND", False)):
        with heaptest.case("C++, loaded with %s: %s" % (
                label, "the same" if seen else "not seen, and no harm")):
            steps = ["thrown=%s,%s,%d" % (shared(), kind, mode)
                     for kind in everything]
            with listening() as listener:
                done = without([*SYSTEM, TARGET, *steps],
                               listener.environment())
            assert (done.returncode, done.stdout, done.stderr) == (
                0, "", ""), done.stderr[-300:]
            if seen:
                check_kinds(listener, listener.heard)
            else:
                assert not listener.heard, listener.heard
    with heaptest.case("C++, a library with a libstdc++ of its own in it: not "
                       "seen, and no harm"):
        own = compiled("own.so", "-shared", "-fPIC", "-static-libstdc++",
                       "-Wl,--exclude-libs,ALL")
        with listening() as listener:
            done = without([*SYSTEM, TARGET, *(
                "thrown=%s,%s" % (own, kind) for kind in everything)],
                listener.environment())
        assert (done.returncode, done.stdout, done.stderr) == (
            0, "", ""), done.stderr[-300:]
        assert not listener.heard, listener.heard
    with heaptest.case("C++, two hundred thousand exceptions of four threads"):
        with listening() as listener:
            done = without([*SYSTEM, TARGET, "many=%s,50000" % shared()],
                           listener.environment())
        assert done.stdout == "200000\n", done
        assert not listener.heard
    with heaptest.case("C++: a dump, with what the exception says"):
        seen = Outcome([*SYSTEM, TARGET, "thrown=%s,cuda" % shared()])
        assert (seen.status, seen.out) == (0, ""), seen.said
        dump, reason = seen.only()
        assert re.fullmatch(
            r"c10::OutOfMemoryError in thread \d+: CUDA out of memory\. Tried "
            r"to allocate 20\.00 MiB\. GPU 0 has a total capacity of 79 GiB of "
            r"which 10 MiB is free", reason), reason
        thread = check_evidence(dump, reason, "thrown")
        native = " ".join(frame.get("function", "?")
                          for frame in thread["native"])
        assert re.search(r"__cxa_throw .*throw_one", native), native
    for kind, name in (("rmm", "rmm::detail::bad_alloc"),
                       ("new", "std::bad_alloc"), ("second", "Second"),
                       ("derived", "(anonymous namespace)::Hidden")):
        with heaptest.case("C++: %s by its name" % name):
            seen = Outcome([*SYSTEM, TARGET, "thrown=%s,%s" % (shared(), kind)])
            _, reason = seen.only()
            assert reason.startswith(name + " in thread "), reason


# ---- Many processes

def test_processes():
    system = heaptest.Interpreter("system", SYSTEM)
    for method in "fork", "spawn":
        with heaptest.case("workers by %s: a dump of each" % method):
            seen = Outcome(python(system, "workers=%s,3" % method))
            assert seen.status == 0 and "[0, 0, 0]" in seen.out, seen.out
            assert sorted(re.findall(r"worker (\d) failed", seen.out)) == [
                "0", "1", "2"], seen.out
            assert len({r["pid"] for r in seen.reports}) == 3, seen.reports
            assert sorted(r["path"] for r in seen.reports) == seen.dumps
            for report in seen.reports:
                assert "Python was refused 4.00 EiB" in report["reason"]
                kept = counts(report["path"])
                assert 1235 == (kept.get("__main__.Marker")
                                or kept["__mp_main__.Marker"])
                thread_of(report["path"], report["reason"])
    with heaptest.case("ranks of a launcher that ends all when the first has "
                       "failed: a dump of each"):
        seen = Outcome(python(system, "crew=4"))
        assert seen.status == 0 and len(seen.reports) == 4, seen.said
        assert sorted(r["path"] for r in seen.reports) == seen.dumps
        assert len({r["pid"] for r in seen.reports}) == 4, seen.reports
        assert all(r["complete"] for r in seen.reports), seen.reports
    with heaptest.case("the process and then its workers: each its own first "
                       "one"):
        seen = Outcome(python(system, "refused", "workers=fork,2", "refused"))
        assert seen.status == 0 and len(seen.reports) == 3, seen.said
        assert len({r["pid"] for r in seen.reports}) == 3, seen.reports
    with heaptest.case("programs that start others, of which the last has "
                       "one"):
        seen = Outcome(["sh", "-c", "exec \"$@\"", "x",
                        *python(system, "refused", "exit=9")])
        assert seen.status == 9, seen.said
        seen.only()
    with heaptest.case("in a PID namespace: the thread by its number there"):
        if os.geteuid() != 0:
            raise heaptest.Skip("a PID namespace needs root")
        seen = Outcome([heaptest.tool("unshare", "util-linux"), "--pid",
                        "--fork", *python(system, "refused", "exit=9")])
        assert seen.status == 9, seen.said
        dump, reason = seen.only()
        check_evidence(dump, reason, "refused")
    with heaptest.case("another user's process"):
        if os.geteuid() != 0:
            raise heaptest.Skip("becoming another user needs root")
        seen = Outcome([heaptest.tool("setpriv", "util-linux"), "--reuid",
                        "65534", "--regid", "65534", "--clear-groups",
                        *SYSTEM, "-c", "bytearray(1 << 62)"])
        assert seen.status == 1 and "MemoryError" in " ".join(seen.said)
        seen.only()


# ---- How often

def test_how_often():
    system = heaptest.Interpreter("system", SYSTEM)
    twice = python(system, "refused", "refused", "named")
    with heaptest.case("one dump of a process"):
        seen = Outcome(twice)
        assert seen.status == 0 and seen.out.count("MemoryError") == 3
        seen.only()
    with heaptest.case("--count 2 --cooldown 0s: two"):
        seen = Outcome(twice, "--count", 2, "--cooldown", "0s")
        assert [r["trigger"] for r in seen.reports] == ["on-oom"] * 2
        assert len(seen.dumps) == 2, seen.dumps
    with heaptest.case("--count 5: not again within ten seconds"):
        seen = Outcome(twice, "--count", 5)
        seen.only()
    with heaptest.case("beside other triggers"):
        seen = Outcome(python(system, "named", "exit=0"), "--baseline",
                       "--threads", 500)
        assert sorted(r["trigger"] for r in seen.reports) == [
            "baseline", "on-oom"], seen.reports
        assert any("lack of memory in any of its processes; threads >= 500" in
                   line for line in seen.said), seen.said
    with heaptest.case("after --for it holds nobody up"):
        seen = Outcome(["sh", "-c", "sleep 1; exec \"$@\"", "x", *twice],
                       "--for", "100ms")
        assert seen.status == 0 and not seen.reports, seen.reports
        assert "long" not in seen.out, seen.out
    with heaptest.case("a dump that fails lets it go on"):
        seen = Outcome(python(system, "refused", "exit=5"), "--min-free",
                       "1000000T")
        assert seen.status == 5 and not seen.dumps, seen.said
        assert any("min-free" in line for line in seen.said), seen.said


# ---- What is left as it was

def test_unharmed():
    system = heaptest.Interpreter("system", SYSTEM)
    with heaptest.case("the user's own LD_PRELOAD stays"):
        source, own = heaptest.tmp("own.c"), heaptest.tmp("libmine.so")
        with open(source, "w") as file:
            file.write("int mine;\n")
        done = heaptest.run([heaptest.tool("gcc", "gcc"), "-shared", "-fPIC",
                             source, "-o", own])
        assert done.returncode == 0, done.stderr
        seen = Outcome(python(system, "environ=LD_PRELOAD",
                              "mapped=libmine.so", "mapped=" + LIBRARY,
                              "named"), env={"LD_PRELOAD": own})
        assert seen.out.splitlines()[:3] == [
            own + ":" + LIBRARY, "True", "True"], seen.out
        seen.only()
    with heaptest.case("without --on-oom nothing is preloaded"):
        done = heaptest.heapdump("--threads", 500, "--", *python(
            system, "environ=LD_PRELOAD", "environ=HEAPDUMP_ON_OOM",
            "mapped=libheapdump-onoom"))
        assert done.stdout == "None\nNone\nFalse\n", done
    with heaptest.case("preloaded without a watcher it does nothing"):
        done = without(python(system, "refused", "named"),
                       {"LD_PRELOAD": LIBRARY})
        assert done.stdout == ("refused MemoryError\ntook no time\n"
                               "named MemoryError\n"), done
    with heaptest.case("the status of a command that a signal ends, and of one "
                       "that lets it pass"):
        seen = Outcome(["sh", "-c", "kill -9 $$"])
        assert seen.status == 128 + 9, seen.status
        seen = Outcome([*SYSTEM, TARGET, "uncaught"])
        assert seen.status == 1, seen.status
        seen.only()
        assert any(line == "MemoryError" for line in seen.said), seen.said
    with heaptest.case("programs that are no Python"):
        seen = Outcome(["sh", "-c", "echo one; ls / | wc -l >/dev/null; "
                        "echo two >&2; exit 6"])
        assert (seen.status, seen.out) == (6, "one\ntwo\n"[:4]), seen.out
        assert "two" in seen.said and not seen.dumps
    for value in "malloc", "malloc_debug", "debug":
        with heaptest.case("PYTHONMALLOC=%s: no harm" % value):
            seen = Outcome(python(system, "refused", "named"),
                           env={"PYTHONMALLOC": value})
            assert seen.status == 0 and "named MemoryError" in seen.out
            dump, reason = seen.only()
            assert "Python was refused" in reason, reason


# ---- When the watcher fails

class Waiting:
    """A command that waits for a file before it goes on, under heapdump."""

    def __init__(self, *steps, env=None):
        self.folder = new_folder("waiting")
        self.go = os.path.join(self.folder, "go")
        argv = [*SYSTEM, TARGET, "wait_file=" + self.go, *steps]
        self.process = subprocess.Popen(
            [heaptest.program("heapdump"), "-q", "--on-oom", "--max-pause",
             "60s", "-o", self.folder + "/", "--", *argv],
            stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, **(env or {})))
        assert self.process.stdout.readline() == "waiting\n"
        with open("/proc/%d/task/%d/children" % ((self.process.pid,) * 2)
                  ) as children:
            self.pid, = map(int, children.read().split())

    def let_go(self):
        with open(self.go, "w"):
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in (self.process.pid, self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def await_report(self):
        """It waits for the answer: a thread of it has the socket."""
        def connected():
            with contextlib.suppress(OSError):
                return any("socket:" in os.readlink(path) for path in glob.glob(
                    "/proc/%d/fd/*" % self.pid))
            return False
        patients.wait_for("the report", connected, 30)


def test_failing_watcher():
    with heaptest.case("heapdump is killed while it is waited for"):
        with Waiting("refused", "exit=0") as waiting:
            os.kill(waiting.process.pid, signal.SIGSTOP)
            waiting.let_go()
            waiting.await_report()
            time.sleep(0.3)
            os.kill(waiting.process.pid, signal.SIGKILL)
            out = waiting.process.stdout.read()
            assert out.startswith("refused MemoryError\n"), out
    with heaptest.case("heapdump is killed in the middle of the dump"):
        for nap in (0.02, 0.1, 0.2, 0.3):
            with Waiting("refused", "named", "exit=0") as waiting:
                waiting.let_go()
                waiting.await_report()
                time.sleep(nap)
                os.kill(waiting.process.pid, signal.SIGKILL)
                out = waiting.process.stdout.read()
                assert out.startswith("refused MemoryError\n") and out.endswith(
                    "named MemoryError\n"), out
    with heaptest.case("heapdump stands still: after HEAPDUMP_ON_OOM_WAIT it "
                       "goes on, and does not wait again"):
        with Waiting("refused", "refused", "named", "exit=0",
                     env={"HEAPDUMP_ON_OOM_WAIT": "1"}) as waiting:
            os.kill(waiting.process.pid, signal.SIGSTOP)
            waiting.let_go()
            out = "".join(waiting.process.stdout.readline()
                          for _ in range(5))
            assert out == ("refused MemoryError\ntook long\nrefused MemoryError"
                           "\ntook no time\nnamed MemoryError\n"), out
            os.kill(waiting.process.pid, signal.SIGCONT)
            assert waiting.process.wait(timeout=60) == 0
            assert not dumps_in(waiting.folder), "of one that is gone"
    with heaptest.case("heapdump is no more: nobody waits"):
        with Waiting("refused", "named", "exit=0") as waiting:
            os.kill(waiting.process.pid, signal.SIGKILL)
            waiting.process.wait()
            waiting.let_go()
            out = waiting.process.stdout.read()
            assert out == ("refused MemoryError\ntook no time\n"
                           "named MemoryError\n"), out
    with heaptest.case("strangers and those that say nothing are sent away"):
        with Waiting("named", "exit=0") as waiting:
            with open("/proc/%d/environ" % waiting.pid) as environ:
                name, _, secret = re.search(
                    r"HEAPDUMP_ON_OOM=([^\0]*)", environ.read())[1].partition(
                        ":")
            assert re.fullmatch("[0-9a-f]{32}", secret), secret
            silent, stranger = (socket.socket(
                socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
            with silent, stranger:
                silent.connect("\0" + name)
                stranger.connect("\0" + name)
                stranger.send(struct.pack("IIiIQ32s96s200s", 1, RAISED, 1, 0, 0,
                                          b"0" * 32, b"MemoryError", b""))
                assert stranger.recv(10) == b"" == silent.recv(10)
            waiting.let_go()
            assert waiting.process.stdout.read() == "named MemoryError\n"
            assert waiting.process.wait(timeout=60) == 0
            assert len(dumps_in(waiting.folder)) == 1
    with heaptest.case("whoever is no watcher is not waited for"):
        if os.geteuid() != 0:
            raise heaptest.Skip("becoming another user needs root")
        with listening(answer=b"o") as listener:
            done = without([heaptest.tool("setpriv", "util-linux"), "--reuid",
                            "65534", "--clear-groups", *SYSTEM, "-c",
                            "bytearray(1 << 62)"], listener.environment())
            assert done.returncode == 1 and len(listener.heard) == 1, done
        listener = listening()
        command = ("import os, socket, sys, time\n"
                   "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
                   "s.bind('\\0' + sys.argv[1])\ns.listen(5)\n"
                   "print('ready', flush=True)\ntime.sleep(1000)\n")
        other = subprocess.Popen(
            [heaptest.tool("setpriv", "util-linux"), "--reuid", "65534",
             "--clear-groups", *SYSTEM, "-c", command, listener.name],
            stdout=subprocess.PIPE)
        try:
            assert other.stdout.readline() == b"ready\n"
            done = without([*SYSTEM, TARGET, "refused"],
                           listener.environment())
            assert done.stdout == "refused MemoryError\ntook no time\n", done
        finally:
            other.kill()
            other.wait()
            other.stdout.close()
            listener.socket.close()


def test_excepthook():
    with heaptest.case("docs/production.md: a MemoryError by sys.excepthook"):
        with open(os.path.join(heaptest.SRC, "docs", "production.md"),
                  encoding="utf-8") as page:
            recipe, = [block for block in re.findall(
                r"^```python\n(.*?)^```", page.read(), re.M | re.S)
                if "sys.excepthook = " in block]
        folder, path = new_folder("hook"), heaptest.tmp("hook.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(recipe.replace("/var/dumps", folder))
        env = {"PATH": os.path.abspath(heaptest.BUILD) + os.pathsep
               + os.environ["PATH"]}
        done = without([*SYSTEM, TARGET, "recipe=" + path, "uncaught"], env)
        assert done.returncode == 1 and done.stderr.endswith("MemoryError\n")
        dump, = dumps_in(folder)
        # The traceback holds frames; what they computed is no more.
        assert counts(dump)["__main__.Marker"] == 1235


# ---- The command line, and where the library is

def test_usage():
    with heaptest.case("--on-oom goes with a command"):
        for args in (["--on-oom", "1"], ["--on-oom", "--watch", "1"],
                     ["--on-oom", "--watch", "--wait-name", "x"]):
            done = heaptest.heapdump(*args)
            assert done.returncode == 2 and "--on-oom goes with" in done.stderr
    with heaptest.case("as it is installed"):
        folder = patients.folder("installed")
        done = heaptest.run(
            ["make", "-s", "-o", "programs", "B=" + heaptest.BUILD,
             "DESTDIR=" + folder, "PREFIX=/opt/x", "install"],
            cwd=heaptest.SRC)
        assert done.returncode == 0, done.stderr
        library = folder + "/opt/x/lib/heapscan/libheapdump-onoom.so"
        assert os.path.exists(library)
        to = patients.folder("made")
        done = heaptest.run([folder + "/opt/x/bin/heapdump", "--on-oom", "-q",
                             "-o", to, "--", *SYSTEM, TARGET, "named"])
        assert done.stdout == "named MemoryError\n", done
        assert len(dumps_in(to)) == 1
    with heaptest.case("without the library the command is not started"):
        os.unlink(library)
        done = heaptest.run([folder + "/opt/x/bin/heapdump", "--on-oom", "-o",
                             to, "--", "echo", "started"])
        assert done.returncode == 1 and not done.stdout, done
        assert "libheapdump-onoom.so is neither in" in done.stderr
    with heaptest.case("a path that cannot be preloaded"):
        odd = patients.folder("od d")
        for name in ("heapdump", "libheapdump-onoom.so"):
            shutil.copy(os.path.join(heaptest.BUILD, name), odd)
        done = heaptest.run([odd + "/heapdump", "--on-oom", "--", "echo", "x"])
        assert done.returncode == 1 and not done.stdout, done
        assert "cannot be preloaded" in done.stderr, done.stderr
    with heaptest.case("the library needs glibc alone"):
        done = heaptest.run([heaptest.tool("readelf", "binutils"), "-dW",
                             LIBRARY])
        needed = re.findall(r"NEEDED.*\[(.*)\]", done.stdout)
        assert needed and all(re.match(r"lib(c|dl)\.so", name)
                              for name in needed), needed
        done = heaptest.run([heaptest.tool("nm", "binutils"), "-D",
                             "--defined-only", LIBRARY])
        assert [line.split()[-1] for line in done.stdout.splitlines()] == [
            "__cxa_throw"], done.stdout


def main():
    for interpreter in heaptest.interpreters():
        if interpreter.root is None:
            test_interpreter(interpreter)
    test_numpy()
    test_cxx()
    test_processes()
    test_how_often()
    test_unharmed()
    test_failing_watcher()
    test_excepthook()
    test_usage()
    heaptest.finish()


main()
