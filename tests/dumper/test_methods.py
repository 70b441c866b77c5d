#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--method gcore and signal: the dump is as good, and each does to the process
what it says and nothing else."""
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest
from elfcore import ElfCore

QUIET = dict(os.environ, DEBUGINFOD_URLS="", LC_ALL="C")
SLEEPER = """
import os, signal, sys, threading, time
%s
class Visit: pass
visits = [Visit() for _ in range(4321)]
gate = threading.Event()
for i in range(3):
    threading.Thread(target=gate.wait, name="w%%d" %% i, daemon=True).start()
print("READY", os.getpid(), flush=True)
time.sleep(3600)
"""


def sleeper(preparation=""):
    """A target that sleeps, after what preparation does."""
    path = heaptest.tmp("sleeper.py")
    with open(path, "w") as file:
        file.write(SLEEPER % preparation)
    return heaptest.start_target(
        heaptest.Interpreter("system", ["/usr/bin/python3"]), path)


def dump(pid, path, *options, status=0, **more):
    done = heaptest.heapdump("--json", "-o", path, *options, pid, **more)
    assert done.returncode == status, "exit %d: %s" % (done.returncode,
                                                       done.stderr)
    return json.loads(done.stdout) if status in (0, 3) else done.stderr


def facts(path):
    plain = path + ".plain"
    heaptest.expand(path, plain)
    with ElfCore(plain) as core:
        return patients.parse_facts(next(
            bytes(n.desc) for n in core.notes() if n.type == patients.FACTS))


def types(path):
    done = heaptest.heapscan("types", path, "-n0", "-f", "json")
    assert done.returncode == 0, done.stderr
    return {row["type"]: row["count"] for row in json.loads(done.stdout)["rows"]}


def close_enough(got, expected):
    """All user types alike; of the others a stray object may differ."""
    assert got["__main__.Visit"] == expected["__main__.Visit"] == 4321, got
    for name, count in expected.items():
        assert abs(got.get(name, 0) - count) <= 2 + count // 1000, (
            name, got.get(name), count)


def state(pid):
    with open("/proc/%d/stat" % pid) as file:
        return file.read().rpartition(")")[2].split()[0]


# ---- gcore

def test_gcore():
    heaptest.tool("gdb", "gdb")
    path, other = heaptest.tmp("gcore.zst"), heaptest.tmp("stop.zst")
    with sleeper() as target:
        dump(target.pid, other, "--max-pause", "60s")
        with heaptest.case("gcore: gdb's core becomes a dump"):
            told = dump(target.pid, path, "--method", "gcore", "--max-pause",
                        "60s")
            assert told["method"] == "gcore" and told["complete"] is True, told
            assert told["threads"] == 4, told
            assert 10 < told["pause_ms"] < 60000, told
            assert facts(path)["method"] == "gcore"
            close_enough(types(path), types(other))
        with heaptest.case("gcore: threads have their names"):
            with ElfCore(path + ".plain") as core:
                threads = next(bytes(n.desc) for n in core.notes()
                               if n.type == patients.THREADS)
            tasks = sorted(map(int, os.listdir("/proc/%d/task" % target.pid)))
            assert sorted(int.from_bytes(threads[at:at + 4], "little")
                          for at in range(0, len(threads), 32)) == tasks
            assert threads.count(b"python3\0") == 4, threads
        with heaptest.case("gcore: parts of modules come from the process"):
            compare_modules(path)
        with heaptest.case("gcore: without gdb it says so"):
            said = dump(target.pid, path, "--method", "gcore", status=1,
                        env=dict(os.environ, PATH="/nowhere"))
            assert "no gdb in $PATH" in said, said
        with heaptest.case("a list goes on to what is possible"):
            told = dump(target.pid, path, "--method", "gcore,stop",
                        "--max-pause", "60s",
                        env=dict(os.environ, PATH="/nowhere"))
            assert told["method"] == "stop", told
        with heaptest.case("gcore: too long a pause is refused beforehand"):
            said = dump(target.pid, path, "--method", "gcore", "--max-pause",
                        "100ms", status=1)
            assert "--max-pause" in said and "gdb would stop" in said, said
    with patients.patient("--megabytes", "10") as patient:
        test_gdb_ends(patient)


def compare_modules(path):
    """What is there of the mapped files is what the files hold."""
    compared = 0
    with ElfCore(path + ".plain") as core:
        for mapped in core.files():
            segment = core.segment_at(mapped.start)
            if not segment or segment.flags & 2 or not segment.filesz or \
                    mapped.offset == 0 or not os.path.isfile(mapped.path):
                continue
            size = min(segment.vaddr + segment.filesz, mapped.end) \
                - mapped.start
            with open(mapped.path, "rb") as file:
                file.seek(mapped.offset)
                wanted = file.read(size)
            # Relocated before it was made read-only: not the file's.
            if core.read(mapped.start, len(wanted)) == wanted:
                compared += len(wanted)
    assert compared > 1 << 20, compared


def fake_gdb(script):
    """A folder with a program that PATH finds as gdb."""
    folder = patients.folder("fake.%d" % len(os.listdir(heaptest.tmp())))
    path = os.path.join(folder, "gdb")
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + script)
    os.chmod(path, 0o755)
    return dict(os.environ, PATH=folder + ":" + os.environ["PATH"])


def test_gdb_ends(patient):
    path = heaptest.tmp("never.zst")
    attach = "exec %s -nx -batch -ex 'attach %d' -ex 'shell sleep 20'" % (
        heaptest.tool("gdb", "gdb"), patient.pid)
    with heaptest.case("gcore: a gdb that takes too long is ended"):
        began = time.monotonic()
        said = dump(patient.pid, path, "--method", "gcore", "--max-pause",
                    "1500ms", status=1, env=fake_gdb(attach))
        assert "was not done" in said, said
        assert time.monotonic() - began < 60
        patient.assert_well()
    with heaptest.case("gcore: a gdb that fails is quoted"):
        said = dump(patient.pid, path, "--method", "gcore", status=1,
                    env=fake_gdb("echo I will not >&2; exit 1"))
        assert "I will not" in said, said
        patient.assert_well()
    for number, times in ((signal.SIGKILL, 5), (signal.SIGINT, 2)):
        with heaptest.case("gcore: %s ends gdb as well, and nothing else"
                           % signal.Signals(number).name):
            for _ in range(times):
                process = subprocess.Popen(
                    [heaptest.program("heapdump"), "--method", "gcore",
                     "--max-pause", "60s", "-o", path, str(patient.pid)],
                    env=fake_gdb(attach), stderr=subprocess.PIPE)
                patients.wait_for("gdb", lambda: "t" in patient.states())
                process.send_signal(number)
                status = process.wait(timeout=30)
                process.stderr.close()
                assert status in (130, -number), status
                patients.wait_for("the end of gdb",
                                  lambda: "t" not in patient.states())
                patient.assert_well()
    with heaptest.case("gcore: nothing is left behind"):
        assert not os.path.exists(path)
        left = [name for name in os.listdir(heaptest.tmp())
                if "never" in name and "tmp" not in name]
        assert not left, left


# ---- signal

def core_is_file():
    with open("/proc/sys/kernel/core_pattern") as file:
        pattern = file.read().strip()
    return pattern and pattern[0] not in "|@" and \
        "%" not in os.path.dirname(pattern)


def cores_of(target):
    return [name for name in os.listdir(target.folder)
            if name.startswith("core")]


def test_signal():
    if not core_is_file():
        raise heaptest.Skip("cores are no files in one folder here "
                            "(kernel.core_pattern)")
    path, other = heaptest.tmp("signal.zst"), heaptest.tmp("before.zst")
    with sleeper() as target:
        dump(target.pid, other, "--max-pause", "60s")
        with heaptest.case("signal: the kernel's core becomes a dump"):
            told = dump(target.pid, path, "--method", "signal")
            assert told["method"] == "signal" and told["complete"] is True
            assert told["threads"] == 4 and told["pause_ms"] == 0, told
            assert target.process.wait(timeout=10) == -signal.SIGABRT
            about = facts(path)
            assert about["method"] == "signal"
            assert about["cmdline"].endswith("sleeper.py"), about
            assert int(about["rss"]) > 1 << 20, about
            close_enough(types(path), types(other))
        with heaptest.case("signal: the kernel's own file is removed"):
            assert not cores_of(target), os.listdir(target.folder)
        with heaptest.case("signal: parts of modules are there"):
            compare_modules(path)
        with heaptest.case("signal: gdb says which signal it was"):
            done = heaptest.run([heaptest.tool("gdb", "gdb"), "-nx", "-batch",
                                 "-ex", "info threads", "/usr/bin/python3",
                                 path + ".plain"], env=QUIET)
            assert "SIGABRT" in done.stdout, done.stdout
            assert done.stdout.count("LWP") >= 4, done.stdout
    with sleeper() as target:
        with heaptest.case("signal=SEGV sends that"):
            dump(target.pid, path, "--method", "signal=SEGV")
            assert target.process.wait(timeout=10) == -signal.SIGSEGV
    with sleeper() as target:
        with heaptest.case("signal: a limit of 0 on cores is raised"):
            resource.prlimit(target.pid, resource.RLIMIT_CORE,
                             (0, resource.RLIM_INFINITY))
            dump(target.pid, path, "--method", "signal")
    test_signal_refused()


def test_signal_refused():
    path = heaptest.tmp("refused.zst")
    for word, preparation in (
            ("ignores", "signal.signal(signal.SIGQUIT, signal.SIG_IGN)"),
            ("has a handler for",
             "signal.signal(signal.SIGQUIT, lambda *args: None)"),
            ("blocks", "signal.pthread_sigmask(signal.SIG_BLOCK,"
             " [signal.SIGQUIT])")):
        with sleeper(preparation) as target:
            with heaptest.case("signal: a process that %s it is not sent it"
                               % word):
                said = dump(target.pid, path, "--method", "signal=QUIT",
                            status=1)
                assert word in said and "--force" in said, said
                assert state(target.pid) == "S"
            if word == "ignores":
                with heaptest.case("signal: --force sends it, and it goes on"):
                    said = dump(target.pid, path, "--force", "--method",
                                "signal=QUIT", status=1)
                    assert "goes on after SIGQUIT" in said, said
                    assert state(target.pid) == "S"
    with sleeper() as target:
        with heaptest.case("--dry-run sends nothing, and says if it would"):
            done = heaptest.heapdump("--dry-run", "--json", "--method",
                                     "signal", target.pid)
            told = json.loads(done.stdout)
            assert told["method"] == "signal" and told["pause_ms"] == 0, told
            done = heaptest.heapdump("--dry-run", "--method", "signal=TERM",
                                     target.pid)
            assert "SIGTERM writes no core" in done.stdout, done.stdout
            done = heaptest.heapdump("--dry-run", "--json", "--method",
                                     "gcore", target.pid)
            assert json.loads(done.stdout)["pause_ms"] >= 500, done.stdout
            assert state(target.pid) == "S"
        with heaptest.case("signal: one that writes no core is refused"):
            said = dump(target.pid, path, "--method", "signal=TERM", status=2)
            assert "SIGTERM writes no core" in said, said
            assert state(target.pid) == "S"
        with heaptest.case("signal: no core, no dump, and a reason"):
            # The kernel cannot replace a folder by a core.
            with open("/proc/sys/kernel/core_uses_pid") as file:
                name = "core" + (".%d" % target.pid
                                 if file.read().strip() != "0" else "")
            with open("/proc/sys/kernel/core_pattern") as file:
                if file.read().strip() != "core":
                    raise heaptest.Skip("kernel.core_pattern is not core")
            os.mkdir(os.path.join(target.folder, name))
            said = dump(target.pid, path, "--method", "signal", status=1)
            assert "has written no core" in said, said
    assert not os.path.exists(path)


def test_patterns():
    """With other settings of the kernel, for a moment each."""
    path = heaptest.tmp("pattern.zst")
    folder = patients.folder("cores")
    for pattern, uses_pid in (("core", "1"), ("a[b*%%%p.%s-%u-%g.%t.%e.%h", "0"),
                              (folder + "/of.%P", "0"), ("x%", "1")):
        with sleeper() as target:
            with heaptest.case("signal: the core is found by the pattern "
                               + os.path.basename(pattern)):
                with heaptest.kernel_settings(core_pattern=pattern,
                                              core_uses_pid=uses_pid):
                    told = dump(target.pid, path, "--method", "signal")
                assert told["complete"] is True
                assert not [name for name in os.listdir(target.folder)
                            + os.listdir(folder) if not
                            name.startswith("sleeper")], (
                    os.listdir(target.folder), os.listdir(folder))
    with sleeper() as target:
        for pattern, words in (
                ("|/usr/lib/systemd/systemd-coredump %P", ["coredumpctl"]),
                ("|/opt/heapdump --core-pattern %P", ["heapdump itself"]),
                ("|/usr/bin/false %P", ["/usr/bin/false"]),
                (folder + "/%p/%t/core", ["another folder"]),
                ("/nowhere/at/all/core", ["/nowhere/at/all"])):
            with heaptest.case("signal: refused with the pattern " + pattern):
                with heaptest.kernel_settings(core_pattern=pattern,
                                              core_uses_pid="0"):
                    said = dump(target.pid, path, "--method", "signal",
                                status=1)
                assert all(word in said for word in words), said
                assert state(target.pid) == "S"


def main():
    try:
        test_gcore()
    except heaptest.Skip as reason:
        heaptest.skip("--method gcore", reason)
    try:
        with heaptest.core_pattern_lock(exclusive=False):
            test_signal()
    except heaptest.Skip as reason:
        heaptest.skip("--method signal", reason)
    with heaptest.core_pattern_lock(exclusive=True):
        test_patterns()
    heaptest.finish()


main()
