#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A dump holds what the process held, and the tools that people have open it
without complaint."""
import glob
import hashlib
import json
import os
import re
import signal
import stat
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patient as patient_module
import patients
from patients import heaptest
from elfcore import ElfCore, Missing

PAGE = os.sysconf("SC_PAGESIZE")
QUIET = dict(os.environ, DEBUGINFOD_URLS="", LC_ALL="C")


def dump(pid, path, *options, method="stop"):
    """Dump; returns the JSON object about it."""
    done = heaptest.heapdump("--json", "--max-pause", "60s", "--method", method,
                             "-o", path, *options, pid)
    assert done.returncode == 0, "exit %d: %s" % (done.returncode, done.stderr)
    assert not done.stderr, done.stderr
    return json.loads(done.stdout)


class Own:
    """Our notes of a plain core."""

    def __init__(self, core):
        self.notes = {}
        self.order = []
        for note in core.notes():
            self.order.append((note.name, note.type))
            if note.name == "HEAPDUMP":
                self.notes[note.type] = note.desc
        self.version, _, _, self.frame_log2 = struct.unpack(
            "<4I", self.notes[patients.HEADER])
        self.facts = patients.parse_facts(self.notes[patients.FACTS])
        self.threads = [
            (tid, host, name.rstrip(b"\0").decode(), chr(state))
            for tid, host, name, state, _ in
            struct.iter_unpack("<II16sII", self.notes[patients.THREADS])]
        self.skipped = patients.parse_skipped(self.notes[patients.SKIPPED])

    def reason_at(self, address):
        for start, end, reason, _ in self.skipped:
            if start <= address < end:
                return reason
        return None


def test_container(target, path, report, method):
    with heaptest.case(method + ": the container is as its format says"):
        container = patients.Container(path)
        assert all(size == 1 << 17 for _, size in container.frames[:-2])
        assert sum(size for _, size in container.frames) == \
            report["image_bytes"]
        assert container.facts["complete"] == "yes"
        assert int(container.facts["pause_ns"]) > 0
        assert int(container.facts["image_bytes"]) == report["image_bytes"]
        assert not container.missing
    with heaptest.case(method + ": --json tells the size and the sum of the file"):
        with open(path, "rb") as file:
            data = file.read()
        assert report["bytes"] == len(data)
        assert report["sha256"] == hashlib.sha256(data).hexdigest()
        assert report["pid"] == target.pid
        assert report["path"] == path
        assert report["method"] == method and report["trigger"] == "request"
        assert 0 < report["pause_ms"] <= report["total_ms"]
        assert report["complete"] is True
    with heaptest.case(method + ": the file is its owner's only"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with heaptest.case(method + ": zstd tests the file and its checksums"):
        done = heaptest.run([heaptest.tool("zstd", "zstd"), "-t", path])
        assert done.returncode == 0, done.stderr


def test_notes(target, core, method):
    own = Own(core)
    with heaptest.case(method + ": notes are in the order that readers know"):
        kinds = [kind for name, kind in own.order if name != "HEAPDUMP"]
        count = kinds.count(1)
        assert count == len(own.threads) >= 7, kinds
        assert kinds[:4] == [1, 3, 0x53494749, 6], kinds
        assert kinds[-1] == 0x46494C45, kinds
        names = [name for name, _ in own.order]
        assert names.index("HEAPDUMP") == len(names) - names.count("HEAPDUMP")
    with heaptest.case(method + ": threads are named, the main one first"):
        assert own.threads[0][0] == own.threads[0][1] == target.pid
        with open("/proc/%d/comm" % target.pid) as file:
            assert own.threads[0][2] == file.read().strip()
        tasks = set(map(int, os.listdir("/proc/%d/task" % target.pid)))
        assert {host for _, host, _, _ in own.threads} == tasks
        assert all(state in "RSD" for _, _, _, state in own.threads), \
            own.threads
    with heaptest.case(method + ": facts"):
        facts = own.facts
        assert facts["pid"] == facts["host_pid"] == str(target.pid), facts
        assert facts["exe"] == os.readlink("/proc/%d/exe" % target.pid)
        assert facts["script"].startswith("python3 /"), facts["script"]
        assert facts["script"].endswith("patient.py"), facts["script"]
        assert "--megabytes" in facts["cmdline"], facts["cmdline"]
        assert facts["method"] == method
        assert facts["kernel"] == os.uname().release
        assert facts["host"] == os.uname().nodename
        with open("/proc/%d/status" % target.pid) as file:
            peak = re.search(r"VmHWM:\s+(\d+)", file.read())[1]
        assert abs(int(facts["rss_peak"]) - int(peak) * 1024) < 1 << 22
        assert facts["gpu"].startswith("not captured")
    with heaptest.case(method + ": mapped files are those of /proc/PID/maps"):
        with open("/proc/%d/maps" % target.pid) as file:
            expected = [(int(m[1], 16), int(m[2], 16), m[4])
                        for m in re.finditer(
                            r"^(\w+)-(\w+) \S+ (\w+) \S+ [1-9]\d* +(/.*)$",
                            file.read(), re.M)]
        # Shared memory without a file is not among them: gdb would complain.
        expected = [f for f in expected if f[2] != "/dev/zero (deleted)"]
        got = [(f.start, f.end, f.path) for f in core.files()]
        assert got == expected, (got[:3], expected[:3])
    return own


def test_memory(target, core, own, method):
    with heaptest.case(method + ": private and shared memory is captured"):
        for name in ("private", "shared"):
            address, size = target.memory[name]
            assert core.read(address, size) == patient_module.pattern(name,
                                                                      size)
    with heaptest.case(method + ": of a file mapping the changed page is captured"):
        address, size = target.memory["file"]
        data = bytearray(patient_module.pattern("file", size))
        data[PAGE:PAGE + 5] = b"dirty"
        assert core.read(address + PAGE, PAGE) == data[PAGE:2 * PAGE]
        assert own.reason_at(address) == "file"
        assert own.reason_at(address + 2 * PAGE) == "file"
    with heaptest.case(method + ": what is left out has its reason"):
        assert own.reason_at(target.memory["hidden"][0]) == "dontdump"
        assert own.reason_at(target.memory["closed"][0]) == "unreadable"
        address = target.memory["sparse"][0]
        assert core.read(address, 4) == b"head"
        assert core.read(address + (3 << 20), 4) == b"tail"
        assert own.reason_at(address + (1 << 20)) == "zero"
        with open("/proc/%d/maps" % target.pid) as file:
            vvar = int(re.search(r"^(\w+)-.*\[vvar\]$", file.read(), re.M)[1],
                       16)
        assert own.reason_at(vvar) == "kernel"
    with heaptest.case(method + ": the parts of modules needed elsewhere are captured"):
        for mapped in core.files():
            if mapped.offset == 0 and (".so" in mapped.path
                                       or "bin/python" in mapped.path):
                assert core.read(mapped.start, 4) == b"\x7fELF", mapped


def writable_private(pid):
    with open("/proc/%d/maps" % pid) as file:
        for line in file:
            fields = line.split(None, 5)
            start, end = (int(x, 16) for x in fields[0].split("-"))
            if fields[1].startswith("rw") and fields[1][3] == "p":
                yield start, end


def compare(ours, own, theirs, ranges):
    """Bytes compared; raises where a page of the two differs."""
    compared = 0
    for start, end in ranges:
        for address in range(start, end, PAGE):
            try:
                expected = theirs.read(address, PAGE)
            except Missing:
                continue
            try:
                got = ours.read(address, PAGE)
            except Missing:
                reason = own.reason_at(address)
                # Of a file mapping gdb has the unchanged pages as well.
                if reason in ("file", "dontdump"):
                    continue
                assert reason == "zero", "%#x: %s" % (address, reason)
                got = bytes(PAGE)
            assert got == expected, "the page at %#x differs" % address
            compared += PAGE
    return compared


def test_against_gcore(target):
    """Of a process that stands still anyway, two dumps must be equal."""
    os.kill(target.pid, signal.SIGSTOP)
    patients.wait_for("the stop", lambda: target.states() == {"T"})
    path = heaptest.tmp("still.core")
    plain = heaptest.tmp("plain.core")
    dump(target.pid, path + ".zst", "--content", "full", "--force")
    dump(target.pid, plain, "--content", "full", "--force", "--no-compress")
    heaptest.expand(path + ".zst", path)
    with heaptest.case("every byte equals gcore's"):
        reference = heaptest.gcore(target.pid, heaptest.tmp("gcore"))
        with ElfCore(path) as ours, ElfCore(reference) as theirs:
            compared = compare(ours, Own(ours), theirs,
                               writable_private(target.pid))
            assert compared > 20 << 20, compared
    with heaptest.case("--no-compress holds the same"):
        with ElfCore(path) as ours, ElfCore(plain) as theirs:
            assert [s[0:1] + s[2:] for s in ours.segments] == \
                [s[0:1] + s[2:] for s in theirs.segments]
            for segment in ours.segments:
                assert ours.read(segment.vaddr, segment.filesz) == \
                    theirs.read(segment.vaddr, segment.filesz), hex(
                        segment.vaddr)
            assert Own(theirs).frame_log2 == 0
        container = patients.Container(plain)
        assert container.facts["complete"] == "yes" and not container.frames
        status = os.stat(plain)
        assert status.st_blocks * 512 <= status.st_size + (1 << 20)
    with heaptest.case("a process that was stopped stays stopped"):
        assert target.states() == {"T"}, target.states()
    test_registers(target, path)
    os.kill(target.pid, signal.SIGCONT)
    target.assert_well()


def gdb(*commands, program="/usr/bin/python3", core=None, pid=None):
    argv = [heaptest.tool("gdb", "gdb"), "-nx", "-batch",
            "-ex", "set pagination off", "-ex", "set debuginfod enabled off"]
    for command in commands:
        argv += ["-ex", command]
    argv += [program, core] if core else ["-p", str(pid)]
    return heaptest.run(argv, env=QUIET)


def registers_of(text):
    """[{register: hex}] in the order of tids."""
    found = {}
    for lwp, rows in re.findall(
            r"^Thread \d+ \(.*?LWP (\d+)\).*?:\n(.*?)(?=^Thread |\Z)", text,
            re.M | re.S):
        found[int(lwp)] = {row.split()[0]: row.split()[1]
                           for row in rows.splitlines()
                           if re.match(r"\w+ +0x", row)}
    return found


def test_registers(target, path):
    with heaptest.case("registers of all threads equal those gdb reads"):
        wanted = "thread apply all info registers"
        ours = registers_of(gdb(wanted, core=path).stdout)
        theirs = registers_of(gdb(wanted, pid=target.pid).stdout)
        assert ours and ours.keys() == theirs.keys(), (ours.keys(),
                                                       theirs.keys())
        for tid in ours:
            for name, value in ours[tid].items():
                # gdb up to 13 looks for AVX-512 masks at Intel's offsets in
                # any processor's state; in the core they are there.
                if re.match(r"k\d$", name):
                    continue
                assert theirs[tid][name] == value, "%d %s: %s, gdb: %s" % (
                    tid, name, value, theirs[tid][name])
            assert len(ours[tid]) >= 20, ours[tid]


def complaints(text):
    """Lines that complain; frames show what the program holds, not that."""
    return [line for line in text.splitlines()
            if re.search(r"warning|error|malformed|corrupt|too (small|big)|"
                         r"cannot access|truncated", line, re.I)
            and not re.match(r"#\d+ |\s+frame #|\s*\d*\t", line)
            and not re.search(r"No such file or directory|debuginfo|"
                              r"auto-load", line)]


def test_tools(target, path):
    count = len(os.listdir("/proc/%d/task" % target.pid))
    address, size = target.memory["private"]
    words = struct.unpack("<4I", patient_module.pattern("private", size)[:16])
    with heaptest.case("readelf reads it without warnings"):
        done = heaptest.run([heaptest.tool("readelf", "binutils"), "-lhnW",
                             path], env=QUIET, errors="replace")
        assert done.returncode == 0 and not done.stderr, done.stderr[:500]
        assert not complaints(re.sub(r"description data:.*", "", done.stdout))
        assert len(re.findall(r"^  CORE .*NT_PRSTATUS", done.stdout,
                              re.M)) == count
    with heaptest.case("eu-readelf reads it without complaint"):
        done = heaptest.run([heaptest.tool("eu-readelf", "elfutils"), "-hln",
                             path], env=QUIET, errors="replace")
        assert done.returncode == 0 and not done.stderr, done.stderr[:500]
        assert len(re.findall(r"^  CORE +\d+  PRSTATUS", done.stdout,
                              re.M)) == count
    with heaptest.case("eu-stack shows every thread"):
        done = heaptest.run([heaptest.tool("eu-stack", "elfutils"), "--core",
                             path], env=QUIET)
        assert done.stdout.count("\nTID ") == count, done.stdout[:1000]
        assert "_start" in done.stdout and "clone" in done.stdout
    with heaptest.case("gdb opens it without complaint"):
        done = gdb("info threads", "bt", "info auxv", "x/4xw %d" % address,
                   "p $xmm0", core=path)
        text = done.stdout + done.stderr
        assert not complaints(text), complaints(text)
        assert len(re.findall(r"\(LWP \d+\)", done.stdout)) >= count
        assert re.search(r"#\d+ .*_start", done.stdout), done.stdout[-2000:]
        assert "AT_ENTRY" in done.stdout
        assert "\t".join("0x%08x" % word for word in words) in done.stdout
    with heaptest.case("lldb opens it without complaint"):
        done = heaptest.run([
            heaptest.tool("lldb", "lldb"), "-b", "-x", "-o", "thread list",
            "-o", "bt", "-o", "memory read -fx -c4 -s4 %#x" % address,
            "--core", path, "/usr/bin/python3"], env=QUIET)
        text = re.sub(r"Traceback.*?\n\w+Error: .*?\n", "",
                      done.stdout + done.stderr, flags=re.S)
        assert "was loaded" in text, text[:2000]
        assert not complaints(text), complaints(text)
        assert len(re.findall(r"^[* ] thread #\d+: tid", text, re.M)) == count
        assert "_start" in text
        assert " ".join("0x%08x" % word for word in words) in text


def test_outputs(target):
    with heaptest.case("to standard output"):
        path = heaptest.tmp("stdout.zst")
        with open(path, "wb") as out:
            done = heaptest.run([heaptest.program("heapdump"), "--max-pause",
                                 "60s", "-o", "-", str(target.pid)],
                                stdout=out)
        assert done.returncode == 0, done.stderr
        assert patients.Container(path).facts["complete"] == "yes"
        heaptest.expand(path, path + ".core")
        with ElfCore(path + ".core") as core:
            test = target.memory["private"]
            assert core.read(*test) == patient_module.pattern("private",
                                                              test[1])
    with heaptest.case("through a pipe"):
        heaptest.tool("zstd", "zstd")
        done = heaptest.run(["sh", "-c", "'%s' -q --max-pause 60s -o - %d | "
                             "zstd -dc | head -c 4 | tail -c 3" % (
                                 heaptest.program("heapdump"), target.pid)])
        assert done.stdout == "ELF", done
    with heaptest.case("the default name tells host, script, process, time"):
        where = patients.folder("default")
        done = heaptest.heapdump("-q", "--max-pause", "60s", target.pid,
                                 cwd=where)
        assert done.returncode == 0, done.stderr
        names = os.listdir(where)
        host = re.sub(r"[^A-Za-z0-9._-]", "_", os.uname().nodename)
        assert len(names) == 1 and re.fullmatch(
            r"heapdump\.%s\.patient\.py\.%d\.\d{8}T\d{6}Z\.core\.zst" % (
                re.escape(host), target.pid), names[0]), names
    with heaptest.case("two dumps of one second both stay"):
        where = patients.folder("same")
        for _ in range(3):
            heaptest.heapdump("-q", "--no-compress", "--max-pause", "60s",
                              target.pid, cwd="/",
                              env=dict(os.environ, HEAPDUMP_DIR=where))
        names = os.listdir(where)
        assert len(names) == 3 and all(".core" in name for name in names), names
    with heaptest.case("several processes into a folder"):
        where = patients.folder("several")
        with patients.patient("--megabytes", "1") as other:
            done = heaptest.heapdump("--json", "--max-pause", "60s", "-o",
                                     where, target.pid, other.pid)
            assert done.returncode == 0, done.stderr
            reports = [json.loads(line) for line in done.stdout.splitlines()]
            assert [r["pid"] for r in reports] == [target.pid, other.pid]
            assert all(os.path.dirname(r["path"]) == where for r in reports)
    with heaptest.case("--output replaces a file, and only when complete"):
        path = heaptest.tmp("replaced")
        with open(path, "w") as file:
            file.write("old")
        assert heaptest.heapdump("-o", path, "--max-pause", "1ms",
                                 target.pid).returncode == 1
        with open(path) as file:
            assert file.read() == "old"
        assert heaptest.heapdump("-q", "-o", path, "--max-pause", "60s",
                                 target.pid).returncode == 0
        assert os.path.getsize(path) > 1 << 20


def test_memory_use(target):
    with heaptest.case("memory stays within 64 MiB and 4 MiB a worker"):
        workers = min(8, len(os.sched_getaffinity(0)))
        process = subprocess.Popen(
            [heaptest.program("heapdump"), "-q", "--max-pause", "60s", "-o",
             heaptest.tmp("peak"), str(target.pid)])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        assert usage.ru_maxrss < (64 + 4 * workers) << 10, usage.ru_maxrss


def test_choices(target):
    address, size = target.memory["private"]
    path = heaptest.tmp("choices")

    def with_options(*options):
        dump(target.pid, path, "--no-compress", *options)
        return ElfCore(path)

    with heaptest.case("--exclude a range"):
        with with_options("--exclude", "%#x-%#x" % (
                address, address + 8 * PAGE)) as core:
            own = Own(core)
            assert own.reason_at(address + 7 * PAGE) == "excluded"
            assert core.read(address + 8 * PAGE, 4)
    with heaptest.case("--include and --exclude by name"):
        with with_options("--include", "mapped\\.file$", "--exclude",
                          r"^\[heap\]$") as core:
            own = Own(core)
            start, length = target.memory["file"]
            data = bytearray(patient_module.pattern("file", length))
            data[PAGE:PAGE + 5] = b"dirty"
            assert core.read(start, length) == data
            assert "excluded" in {reason for _, _, reason, _ in own.skipped}
    with heaptest.case("--no-cmdline leaves the arguments out of the notes"):
        with with_options("--no-cmdline") as core:
            for note in core.notes():
                assert b"--megabytes" not in note.desc, (note.name, note.type)
            assert Own(core).facts["script"].endswith("patient.py")
    with heaptest.case("a higher level is smaller"):
        sizes = [dump(target.pid, path, "-z", level)["bytes"]
                 for level in ("1", "9")]
        assert sizes[1] < sizes[0], sizes
    with heaptest.case("--gpu off is recorded"):
        with with_options("--gpu", "off") as core:
            assert Own(core).facts["gpu"] == "not captured: --gpu off"


def test_namespace():
    with heaptest.case("a process of another pid namespace"):
        with patients.patient("--megabytes", "1", pid_namespace=True) as target:
            assert target.pid != 1
            path = heaptest.tmp("namespace")
            dump(target.pid, path, "--no-compress")
            with ElfCore(path) as core:
                own = Own(core)
                assert own.facts["pid"] == "1", own.facts
                assert own.facts["host_pid"] == str(target.pid)
                assert own.threads[0][:2] == (1, target.pid)
                inside = {tid for tid, _, _, _ in own.threads}
                prstatus = {struct.unpack_from("<i", note.desc, 32)[0]
                            for note in core.notes()
                            if note.name == "CORE" and note.type == 1}
                assert prstatus == inside and max(inside) < 1000, prstatus
            target.assert_well()


def test_interpreters():
    for interpreter in heaptest.interpreters():
        with heaptest.case("dump of " + interpreter.name):
            with patients.patient("--megabytes", "2",
                                  interpreter=interpreter) as target:
                path = heaptest.tmp("interpreter")
                dump(target.pid, path, "--no-compress")
                with ElfCore(path) as core:
                    address, size = target.memory["private"]
                    assert len(core.read(address, size)) == size
                target.assert_well()


def main():
    with patients.patient("--megabytes", "20") as target:
        for method in ("snapshot", "stop"):
            path = heaptest.tmp("dump.core.zst")
            report = dump(target.pid, path, method=method)
            core_path = heaptest.expand(path, heaptest.tmp("dump.core"))
            test_container(target, path, report, method)
            with ElfCore(core_path) as core:
                own = test_notes(target, core, method)
                test_memory(target, core, own, method)
        test_tools(target, core_path)
        test_outputs(target)
        test_choices(target)
        if "address" not in os.path.basename(heaptest.BUILD):
            test_memory_use(target)
        with heaptest.case("the target is well after all that"):
            target.assert_well()
        test_against_gcore(target)
        for leftover in glob.glob(heaptest.tmp("*core*")):
            os.unlink(leftover)
    test_namespace()
    test_interpreters()
    heaptest.finish()


main()
