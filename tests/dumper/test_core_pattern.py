#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heapdump as the kernel's handler of cores: real crashes of processes of this
test, and of nobody else's.

The pattern that is set for the time of this test starts a small program that
looks whether the process that crashed carries this test's mark. Only then does
it start heapdump, with an /etc, /run and /dev of our own. Every other core goes
where it would have gone: into a file named core, if its limit permits that."""
import contextlib
import json
import os
import re
import resource
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest
from elfcore import ElfCore, Missing

PAGE = os.sysconf("SC_PAGESIZE")
QUIET = dict(os.environ, DEBUGINFOD_URLS="", LC_ALL="C")
MARK = "HEAPDUMP_TEST_" + secrets.token_hex(8)
NOBODY = 65534
DISPATCH = """#!/bin/sh
PATH=/usr/bin:/bin:/usr/sbin:/sbin
how=$(tr '\\0' '\\n' </proc/$1/environ | sed -n 's/^MARK=//p')
here=FOLDER
if [ -z "$how" ]; then
    # Somebody else's: what the kernel does with the pattern core.
    [ "$8" = 0 ] && exec cat >/dev/null
    cd "/proc/$1/cwd" && exec cat >core
fi
heapdump() {
    exec unshare -m sh -c '
        here=$1; shift
        mount --bind $here/etc /etc && mount --bind $here/run /run &&
        mount --bind $here/dev /dev && exec "$@"' x $here "$@"
}
case $how in
tee) tee $here/raw | heapdump HEAPDUMP --core-pattern "$@" ;;
cut:*) head -c ${how#cut:} | heapdump HEAPDUMP --core-pattern "$@" ;;
size) heapdump /usr/bin/python3 $here/size.py HEAPDUMP --core-pattern "$@" ;;
*) heapdump HEAPDUMP --core-pattern "$@" 1>&- 2>&- ;;
esac
"""
SIZE = """
import resource, subprocess, sys, os
subprocess.run(sys.argv[1:])
with open(os.path.dirname(os.path.abspath(__file__)) + "/maxrss", "w") as out:
    out.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""
CRASHER = """
import ctypes, os, signal, sys, threading, time, mmap
class Visit: pass
visits = [Visit() for _ in range(4321)]
gate = threading.Event()
for i in range(3):
    threading.Thread(target=gate.wait, daemon=True).start()
{preparation}
time.sleep(0.1)
os.kill(os.getpid(), signal.{signal})
time.sleep(60)
"""


class Bench:
    """A folder with all that the handler sees."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="hd.", dir="/var/tmp")
        os.chmod(self.folder, 0o755)
        for name in ("etc", "run", "dev", "dumps"):
            os.mkdir(self.path(name), 0o755)
        os.mknod(self.path("dev/null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.chmod(self.path("dev/null"), 0o666)
        with open(self.path("dispatch"), "w") as file:
            file.write(DISPATCH.replace("FOLDER", self.folder)
                       .replace("HEAPDUMP", os.path.abspath(
                           heaptest.program("heapdump")))
                       .replace("MARK", MARK))
        os.chmod(self.path("dispatch"), 0o755)
        with open(self.path("size.py"), "w") as file:
            file.write(SIZE)
        self.log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.log.bind(self.path("dev/log"))
        self.log.settimeout(30)
        self.configure()

    def path(self, name):
        return os.path.join(self.folder, name)

    def configure(self, *lines):
        with open(self.path("etc/heapdump.conf"), "w") as file:
            file.write("\n".join(["folder = " + self.path("dumps"),
                                  "min_free = 1M", *lines]) + "\n")
        shutil.rmtree(self.path("run"))
        os.mkdir(self.path("run"), 0o755)

    def crash(self, how="plain", uid=0, preparation="", signal_name="SIGSEGV",
              megabytes=0):
        """Crash a process; returns (its pid, the line in the log)."""
        for name in self.dumps():
            os.unlink(name)
        if megabytes:
            preparation += "\nblob = os.urandom(1 << 20) * %d" % megabytes

        def become():
            os.chdir("/")
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)

        process = subprocess.Popen(
            ["/usr/bin/python3", "-c", CRASHER.format(
                preparation=preparation, signal=signal_name), "crasher"],
            env={MARK: how, "PATH": "/usr/bin:/bin"}, preexec_fn=become)
        status = process.wait(timeout=300)
        assert status == -getattr(signal, signal_name), status
        return process.pid, self.log.recv(65536).decode()

    def dumps(self):
        return sorted(os.path.join(self.path("dumps"), name)
                      for name in os.listdir(self.path("dumps")))

    def only_dump(self):
        found = self.dumps()
        assert len(found) == 1, found
        return found[0]

    def expand(self):
        plain = heaptest.tmp("plain")
        heaptest.expand(self.only_dump(), plain)
        return plain


def own_notes(core):
    return {note.type: bytes(note.desc) for note in core.notes()
            if note.name == "HEAPDUMP"}


def facts(core):
    return patients.parse_facts(own_notes(core)[patients.FACTS])


def types(path):
    done = heaptest.heapscan("types", path, "-n0", "-f", "json")
    assert done.returncode == 0, done.stderr
    return {row["type"]: row["count"] for row in json.loads(done.stdout)["rows"]}


def compare(ours, theirs, missing=()):
    """Every byte of the kernel's core is in the dump or has its reason."""
    reasons = patients.parse_skipped(own_notes(ours)[patients.SKIPPED])
    compared = 0
    for segment in theirs.segments:
        for at in range(segment.vaddr, segment.vaddr + segment.filesz, PAGE):
            try:
                got = ours.read(at, PAGE)
            except Missing:
                reason = [r for start, end, r, _ in reasons
                          if start <= at < end]
                assert reason and reason[0] in ("unreadable", "kernel"), (
                    hex(at), reason)
                continue
            if any(start <= at < end for start, end, _, _ in missing):
                continue
            assert got == theirs.read(at, PAGE), hex(at)
            compared += PAGE
    return compared


def test_same_as_kernel(bench):
    with heaptest.case("the dump is of what the kernel gave"):
        pid, line = bench.crash("tee")
        plain = bench.expand()
        with ElfCore(plain) as ours, ElfCore(bench.path("raw")) as theirs:
            assert compare(ours, theirs) > 8 << 20
            theirs_notes = [(n.name, n.type, bytes(n.desc))
                            for n in theirs.notes()]
            assert [(n.name, n.type, bytes(n.desc)) for n in ours.notes()
                    if n.name != "HEAPDUMP"] == theirs_notes
            about = facts(ours)
            threads = own_notes(ours)[patients.THREADS]
        assert about["method"] == "kernel", about
        assert about["trigger"] == "signal SIGSEGV", about
        assert about["host_pid"] == str(pid) and "crasher" in about["cmdline"]
        assert int(about["rss"]) > 1 << 20 and about["exe"], about
        assert len(threads) == 4 * 32 and threads.count(b"python3\0") == 4
        container = patients.Container(bench.only_dump())
        assert container.facts["complete"] == "yes" and not container.missing
    with heaptest.case("its owner's only, and its line in the log"):
        path = bench.only_dump()
        status = os.stat(path)
        assert stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == 0
        for word in ("dumped process %d" % pid, "trigger=signal SIGSEGV",
                     "bytes=%d" % status.st_size, "path=" + path):
            assert word in line, line
        done = heaptest.run(["sha256sum", path])
        assert "sha256=" + done.stdout.split()[0] in line, line
    with heaptest.case("gdb, readelf and heapscan tell the same of both"):
        def backtraces(path):
            done = heaptest.run([
                heaptest.tool("gdb", "gdb"), "-nx", "-batch", "-ex",
                "set debuginfod enabled off", "-ex", "thread apply all bt 30",
                "/usr/bin/python3", path], env=QUIET)
            return re.findall(r"^(?:Thread|#|Program).*", done.stdout, re.M)

        theirs = backtraces(bench.path("raw"))
        assert len(theirs) > 12 and backtraces(plain) == theirs, theirs
        done = heaptest.run([heaptest.tool("readelf", "binutils"), "-lhnW",
                             plain], env=QUIET, errors="replace")
        assert done.returncode == 0 and not done.stderr, done.stderr[:500]
        ours, theirs = types(bench.only_dump()), types(bench.path("raw"))
        assert ours["__main__.Visit"] == 4321 == theirs["__main__.Visit"]
        for name in theirs:
            assert abs(ours.get(name, 0) - theirs[name]) <= 2 + \
                theirs[name] // 1000, (name, ours.get(name), theirs[name])
        done = heaptest.heapscan("info", bench.only_dump())
        assert done.returncode == 0 and "SIGSEGV" in done.stdout
    with heaptest.case("parts of modules come from the process"):
        # The kernel gives the first page of a file alone.
        with ElfCore(plain) as ours, ElfCore(bench.path("raw")) as theirs:
            more = 0
            for mapped in ours.files():
                if not os.path.isfile(mapped.path) or mapped.offset == 0:
                    continue
                with open(mapped.path, "rb") as file:
                    file.seek(mapped.offset)
                    wanted = file.read(mapped.end - mapped.start)
                try:
                    theirs.read(mapped.start, PAGE)
                except Missing:
                    with contextlib.suppress(Missing):
                        assert ours.read(mapped.start, len(wanted)) == wanted
                        more += len(wanted)
            assert more > 1 << 20, more


def test_owners(bench):
    with heaptest.case("the dump belongs to the user of the process"):
        os.chmod(bench.path("dumps"), 0o755)
        bench.crash(uid=NOBODY)
        status = os.stat(bench.only_dump())
        assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY), status
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert types(bench.only_dump())["__main__.Visit"] == 4321
    with heaptest.case("of a program with more rights it belongs to root"):
        bench.crash(preparation="os.setresuid(%d, 0, 0)\n"
                    "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)" % NOBODY)
        assert os.stat(bench.only_dump()).st_uid == 0


def test_cut(bench):
    with heaptest.case("a core that ends too early is a partial dump"):
        bench.crash("cut:9000000", megabytes=8)
        container = patients.Container(bench.only_dump())
        assert container.facts["complete"] == "no"
        assert container.missing and all(
            reason == "failed" for _, _, reason, _ in container.missing)
        done = heaptest.heapscan("info", bench.only_dump())
        assert done.returncode == 3, done.returncode
    with heaptest.case("one that ends in its headers is none"):
        _, line = bench.crash("cut:200")
        assert not bench.dumps() and "ends before" in line, line


def refused(bench, name, word, *configuration, before=None):
    with heaptest.case(name):
        bench.configure(*configuration)
        if before:
            before()
        began = time.monotonic()
        _, line = bench.crash()
        assert "no dump of process" in line and word in line, line
        assert not bench.dumps(), bench.dumps()
        assert time.monotonic() - began < 60


def test_limits(bench):
    refused(bench, "forbidden by the configuration", "forbids it",
            "forbid = kernel")
    refused(bench, "a limit of 0 on cores is respected where that is asked",
            "respect_limit", "respect_limit = yes")
    refused(bench, "disk must stay free", "min_free", "min_free = 1000T")
    refused(bench, "a configuration with an error", "heapdump.conf:3",
            "max_sise = 1G")
    refused(bench, "a configuration that others may write",
            "owned by root", before=lambda: os.chmod(
                bench.path("etc/heapdump.conf"), 0o666))
    os.unlink(bench.path("etc/heapdump.conf"))
    refused(bench, "a folder that others may write", "writable by nobody",
            before=lambda: os.chmod(bench.path("dumps"), 0o1777))
    os.chmod(bench.path("dumps"), 0o755)

    def link():
        os.rename(bench.path("dumps"), bench.path("real"))
        os.symlink("real", bench.path("dumps"))

    refused(bench, "a folder that is a link", bench.path("dumps"), before=link)
    os.unlink(bench.path("dumps"))
    os.rename(bench.path("real"), bench.path("dumps"))
    refused(bench, "a core that is too large", "is the most", "max_core = 1M")
    with heaptest.case("not more an hour than allowed"):
        bench.configure("max_rate = 1")
        bench.crash()
        assert bench.dumps()
        _, line = bench.crash()
        assert "max_rate" in line and not bench.dumps(), line
    with heaptest.case("not more at once than allowed"):
        bench.configure("max_concurrent = 0")
        _, line = bench.crash()
        assert "max_concurrent" in line and not bench.dumps(), line
    with heaptest.case("a full folder gets no more"):
        bench.configure("max_total = 10K")
        with open(bench.path("dumps/old"), "wb") as file:
            file.write(os.urandom(20000))
        # crash() would remove it.
        dumps, bench.dumps = bench.dumps, lambda: []
        _, line = bench.crash()
        bench.dumps = dumps
        assert "max_total" in line, line
        assert os.listdir(bench.path("dumps")) == ["old"]
    with heaptest.case("a dump is cut at its largest size, and says so"):
        bench.configure("max_size = 2M")
        bench.crash(preparation="blob = os.urandom(192 << 20)")
        container = patients.Container(bench.only_dump())
        assert container.facts["complete"] == "no" and container.missing
        # What is on the way when the limit is met still arrives.
        assert os.path.getsize(bench.only_dump()) < 64 << 20
    with heaptest.case("content is as the configuration says"):
        shared = "mapped = mmap.mmap(-1, 80 << 20); mapped[:4] = b'mark'"
        for word in ("heap", "full"):
            bench.configure("content = " + word)
            bench.crash(preparation=shared)
            with ElfCore(bench.expand()) as core:
                assert facts(core)["content"] == word
                skipped = [end - start for start, end, reason, _ in
                           patients.parse_skipped(
                               own_notes(core)[patients.SKIPPED])
                           if reason == "shared"]
            assert (80 << 20 in skipped) == (word == "heap"), (word, skipped)
    bench.configure()


def test_itself(bench):
    with heaptest.case("heapdump that crashes is not handled"):
        for name in bench.dumps():
            os.unlink(name)
        fifo = heaptest.tmp("fifo")
        os.mkfifo(fifo)
        process = subprocess.Popen([heaptest.program("heapdump"), "-o", fifo,
                                    str(os.getpid())],
                                   env={MARK: "plain"})
        patients.wait_for("heapdump at the pipe", lambda: "heapdump" in open(
            "/proc/%d/cmdline" % process.pid).read())
        time.sleep(0.3)
        process.send_signal(signal.SIGSEGV)
        assert process.wait(timeout=60) == -signal.SIGSEGV
        line = bench.log.recv(65536).decode()
        assert "it is heapdump itself" in line, line
        assert not bench.dumps()


def test_large(bench):
    with heaptest.case("its memory does not grow with the process's"):
        bench.crash("size", megabytes=1024)
        with open(bench.path("maxrss")) as file:
            most = int(file.read())
        print("# handler of 1 GiB: %.1f MiB at most" % (most / 1024))
        assert most < 64 << 10, most
        container = patients.Container(bench.only_dump())
        assert container.facts["complete"] == "yes"
        assert int(container.facts["image_bytes"]) > 1 << 30


def setting(name):
    with open("/proc/sys/kernel/" + name) as file:
        return file.read().strip()


def test_install(bench):
    """With an /etc and /var/lib of our own; the kernel's settings are real."""
    folder = tempfile.mkdtemp(prefix="heapdump.", dir="/opt")
    try:
        os.chmod(folder, 0o755)
        program = os.path.join(folder, "heapdump")
        shutil.copy(heaptest.program("heapdump"), program)
        os.chmod(program, 0o755)
        for name in ("sysctl.d", "lib"):
            os.makedirs(bench.path(name))
        mounts = "mount --bind %s /etc/sysctl.d && mount --bind %s /var/lib" \
            " && mount --bind %s /etc && mkdir -p /etc/sysctl.d && " \
            "mount --bind %s /etc/sysctl.d && exec \"$@\"" % (
                bench.path("sysctl.d"), bench.path("lib"), bench.path("etc"),
                bench.path("sysctl.d"))

        def run(*args):
            return heaptest.run([*heaptest.private_mounts(), "sh", "-c", mounts,
                                 "x", program, "--core-pattern", *args])

        before = setting("core_pattern"), setting("core_pipe_limit")
        written = bench.path("sysctl.d/60-heapdump.conf")
        state = bench.path("lib/heapdump.core_pattern")
        pattern = "|%s --core-pattern %%P %%i %%s %%u %%g %%d %%t %%c" % program
        with heaptest.case("--install --dry-run prints and changes nothing"):
            dry = run("--install", "--dry-run")
            assert dry.returncode == 0, dry.stderr
            assert (setting("core_pattern"),
                    setting("core_pipe_limit")) == before
            assert not os.path.exists(written) and not os.path.exists(state)
            assert "'%s' -> '%s'" % (before[0], pattern) in dry.stdout
        with heaptest.case("--install does what it printed"):
            done = run("--install")
            assert done.returncode == 0, done.stderr
            assert setting("core_pattern") == pattern
            assert setting("core_pipe_limit") != "0"
            assert re.sub(r"(?m)^(set|wrote|made) ", "", done.stdout) == \
                re.sub(r"(?m)^would (set|write|make) ", "", dry.stdout)
            with open(written) as file:
                text = file.read()
            assert "kernel.core_pattern = " + pattern in text, text
        with heaptest.case("a second --install changes nothing"):
            again = run("--install")
            assert again.returncode == 0, again.stderr
            assert again.stdout.startswith("nothing to change"), again.stdout
        with heaptest.case("--uninstall puts back what was there"):
            done = run("--uninstall")
            assert done.returncode == 0, done.stderr
            assert (setting("core_pattern"),
                    setting("core_pipe_limit")) == before
            assert not os.path.exists(written) and not os.path.exists(state)
            assert "'%s' -> '%s'" % (pattern, before[0]) in done.stdout
            again = run("--uninstall")
            assert again.returncode == 1 and "not installed" in again.stderr
        with heaptest.case("--uninstall leaves alone what others have set"):
            assert run("--install").returncode == 0
            with open("/proc/sys/kernel/core_pattern", "w") as file:
                file.write("core.of.others")
            done = run("--uninstall")
            assert done.returncode == 0 and "left alone" in done.stdout
            assert setting("core_pattern") == "core.of.others"
            assert not os.path.exists(written) and not os.path.exists(state)
        with heaptest.case("a program that others may change is refused"):
            os.chmod(folder, 0o777)
            done = run("--install")
            assert done.returncode == 1 and folder in done.stderr, done.stderr
            assert setting("core_pattern") == "core.of.others"
    finally:
        shutil.rmtree(folder)


def main():
    heaptest.private_mounts()
    with heaptest.core_pattern_lock(exclusive=True):
        bench = Bench()
        try:
            with heaptest.kernel_settings(
                    core_pipe_limit="8",
                    core_pattern="|%s %%P %%i %%s %%u %%g %%d %%t %%c"
                    % bench.path("dispatch")):
                try:
                    bench.crash()
                except (socket.timeout, TimeoutError):
                    raise heaptest.Skip("the kernel starts no handler here")
                test_same_as_kernel(bench)
                test_owners(bench)
                test_cut(bench)
                test_limits(bench)
                test_itself(bench)
                test_large(bench)
            with heaptest.kernel_settings(core_pipe_limit="0",
                                          core_pattern="core"):
                test_install(bench)
        finally:
            shutil.rmtree(bench.folder)
    heaptest.finish()


main()
