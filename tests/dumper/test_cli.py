#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line of heapdump: every option, every exit status."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest

HERE = {"list", "demo", "content", "include", "exclude", "no-cmdline", "gpu",
        "environ", "output", "force", "method", "assume-fork-allowed",
        "max-pause", "dry-run", "level", "no-compress", "json", "quiet",
        "verbose", "no-progress", "completion", "help", "version", "watch",
        "min-free", "max-total", "children", "exec", "core-pattern",
        "install", "uninstall"}
# Options of watching: each with a value that is right, and wrong ones.
WATCHING = {
    "wait-name": ("x", "("), "rss": ("1G", "0", "big", "90%"),
    "pss": ("1G", "0"), "cgroup": ("90%", "101%", "0%", "x"),
    "growth": ("1G/h:5m", "1G", "1G/s", "0/h", "1G/h:soon", "1" * 80),
    "gpu-mem": ("1G", "much"),
    "psi": ("some 150000 1000000", "some 1", "any 1 1000000", "some 2 1",
            "full 1000001 1000000"),
    "oom-event": (None,), "threads": ("5", "0", "-1", "five"),
    "fds": ("5", "1.5"), "on-signal": ("USR1", "SIGNOTHING", "0", "KILL"),
    "on-exit": (None,), "on-oom": (None,), "baseline": (None,), "count": ("2", "0", "x"),
    "cooldown": ("5m", "long"), "for": ("1h", "0"),
    "interval": ("1s", "0", "1us"), "samples": ("x", "")}
LATER = {"arm": None}


def refused(*args):
    """A usage error; returns what is said about it."""
    done = heaptest.heapdump(*args)
    assert done.returncode == 2, "%s: exit %d" % (args, done.returncode)
    assert not done.stdout, done.stdout
    assert done.stderr.startswith("heapdump: ") and \
        done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_help():
    with heaptest.case("every option has its line in --help"):
        done = heaptest.heapdump("--help")
        assert done.returncode == 0 and not done.stderr
        found = set(re.findall(r"^ {2,6}(?:-\w, )?--([a-z-]+)", done.stdout,
                               re.M))
        every = HERE | set(WATCHING) | set(LATER)
        assert found == every, found ^ every
        assert max(map(len, done.stdout.splitlines())) <= 80
    with heaptest.case("-h is --help"):
        assert heaptest.heapdump("-h").stdout == done.stdout
    with heaptest.case("--version"):
        done = heaptest.heapdump("--version")
        assert re.fullmatch(r"heapdump \d+\.\d+\.\d+\n", done.stdout)
    with heaptest.case("completions are the options that work"):
        done = heaptest.run(["bash", "-c", "eval \"$('%s' --completion bash)\";"
                             " complete -p heapdump" % heaptest.program(
                                 "heapdump")])
        assert done.returncode == 0, done.stderr
        assert set(re.findall(r"--([a-z-]+)", done.stdout)) == \
            HERE | set(WATCHING)


def test_later():
    with heaptest.case("options of later versions are refused by name"):
        for name, value in LATER.items():
            told = refused("--" + name, *([value] if value else []), "1")
            assert "--%s: not in this version" % name in told, told
        for args in (["--gpu", "core"], ["--gpu=full"]):
            told = refused(*args, "1")
            assert args[0].split("=")[0] in told and \
                "not in this version" in told, told


def test_watching():
    with heaptest.case("options of watching say so, and what they take"):
        for name, (good, *bad) in WATCHING.items():
            told = refused("--" + name, *([good] if good else []), "1")
            assert "--%s goes with --watch" % name in told, told
            for value in bad:
                told = refused("--watch", "--" + name, value, "1")
                assert "--" + name in told, told
    with heaptest.case("whom to watch is asked for"):
        for args, word in (
                (["--watch"], "whom?"),
                (["--watch", "1", "2"], "one process"),
                (["--watch", "--wait-name", "x", "1"], "exclude"),
                (["1", "--", "true"], "exclude"),
                (["--wait-name", "x", "--", "true"], "exclude"),
                (["--"], "which command"),
                (["--watch", "--dry-run", "1"], "--dry-run"),
                (["--watch", "-o", "-", "1"], "--count 1"),
                (["-o", "-", "--", "true"], "standard output"),
                (["--watch", "--gpu-mem", "--", "true"], "--gpu-mem"),
                (["--children", "-o", "-", "1"], "standard output"),
                (["--max-total", "0", "1"], "--max-total"),
                (["--min-free", "x", "1"], "--min-free"),
                (["--exec", "", "1"], "--exec")):
            told = refused(*args)
            assert word in told, "%s: %s" % (args, told)
    with heaptest.case("nothing is watched where no dump can be made"):
        for place in "/nowhere/", "/nowhere/dump.zst":
            done = heaptest.heapdump("--watch", "-o", place, "--", "true")
            assert done.returncode == 1 and \
                done.stderr == "heapdump: the folder /nowhere/: " \
                "No such file or directory\n", done


def test_usage():
    with heaptest.case("usage errors say what was expected"):
        for args, word in (
                (["--lits"], "did you mean --list?"),
                (["--max-pauze", "1s", "1"], "did you mean --max-pause?"),
                (["--compress", "1"], "did you mean --no-compress?"),
                (["--xyzzyxyzzy", "1"], "--help"),
                (["-x", "1"], "-x"),
                ([], "which process"),
                (["abc"], "'abc' is not a process id"),
                (["0"], "'0' is not a process id"),
                (["-o"], "needs a value"),
                (["--output"], "needs a value"),
                (["--output="], "empty"),
                (["--quiet=1", "1"], "takes no value"),
                (["--max-pause", "soon", "1"], "soon"),
                (["--max-pause", "0", "1"], "--max-pause"),
                (["--level", "20", "1"], "--level"),
                (["-z0", "1"], "--level"),
                (["--content", "all", "1"], "stacks, heap, full"),
                (["--method", "magic", "1"], "magic"),
                (["--content", "stacks", "--method", "gcore", "1"], "gcore"),
                (["--content", "stacks", "--method", "stop,signal", "1"],
                 "signal"),
                (["--gpu", "yes", "1"], "auto"),
                (["--include", "(", "1"], "--include"),
                (["--exclude", "0x2-0x1(", "1"], "--exclude"),
                (["--completion", "fish"], "fish"),
                (["--install", "1"], "goes with --core-pattern"),
                (["--core-pattern", "--install", "--uninstall"], "opposites"),
                (["--core-pattern"], "what the kernel gives"),
                (["--core-pattern", *"1111111x"], "'x' is not a number"),
                (["-o", "-", "1", "2"], "standard output"),
                (["-o", "/nowhere/x", "1", "2"], "folder"),
                (["--demo", "-o", "-"], "--demo"),
                (["--list", "1"], "no process ids")):
            told = refused(*args)
            assert word in told, "%s: %s" % (args, told)


def test_failures(target):
    with heaptest.case("what cannot be written to is named"):
        done = heaptest.heapdump("-o", "/nowhere/x", target.pid)
        assert done.returncode == 1 and "/nowhere" in done.stderr, done.stderr
    with heaptest.case("a report that cannot be written is a failure"):
        with open("/dev/full", "w") as full:
            done = heaptest.run([heaptest.program("heapdump"), "--dry-run",
                                 str(target.pid)], stdout=full)
        assert done.returncode == 1, done.returncode
    with heaptest.case("a dump is not lost in a standard output that is closed"):
        done = heaptest.heapdump("-o", "-", target.pid,
                                 preexec_fn=lambda: os.close(1))
        assert done.returncode == 2 and "closed" in done.stderr, done
    with heaptest.case("one of several fails, the others are dumped"):
        folder = patients.folder("some")
        done = heaptest.heapdump("-q", "--max-pause", "60s", "-o", folder,
                                 2 ** 22 - 1, target.pid)
        assert done.returncode == 3 and len(os.listdir(folder)) == 1
        done = heaptest.heapdump("-q", "-o", folder, 2 ** 22 - 1, 2 ** 22 - 2)
        assert done.returncode == 1 and len(os.listdir(folder)) == 1
    with heaptest.case("a method list falls back to what there is"):
        done = heaptest.heapdump("-q", "--method", "snapshot,stop",
                                 "--max-pause=60s", "-o", heaptest.tmp("list"),
                                 target.pid)
        assert done.returncode == 0, done.stderr


def test_dry_run(target):
    folder = patients.folder("dry")
    with heaptest.case("--dry-run tells and does nothing"):
        done = heaptest.heapdump("--dry-run", "-o", folder, target.pid)
        assert done.returncode == 0 and not done.stderr
        for word in ("may be read", "memory", "file", "pause", "space",
                     "patient.py"):
            assert word in done.stdout, done.stdout
        assert not os.listdir(folder)
    with heaptest.case("its estimate is near the truth"):
        done = heaptest.heapdump("--dry-run", "--json", "-o", folder,
                                 target.pid)
        estimate = json.loads(done.stdout)
        done = heaptest.heapdump("--json", "--max-pause", "60s", "-o", folder,
                                 target.pid)
        real = json.loads(done.stdout)
        assert estimate["dry_run"] is True and estimate["space_fits"] is True
        assert abs(estimate["memory_bytes"] - real["memory_bytes"]) < \
            real["image_bytes"] / 5, (estimate, real)
        assert real["bytes"] / 3 < estimate["bytes"] < real["bytes"] * 3, (
            estimate, real)


def test_list(target):
    with heaptest.case("--list shows Python processes"):
        done = heaptest.heapdump("--list", "--json")
        assert done.returncode == 0, done.stderr
        rows = {row["pid"]: row for row in map(json.loads,
                                               done.stdout.splitlines())}
        row = rows[target.pid]
        assert row["can_dump"] is True and "patient.py" in row["script"]
        with open("/proc/%d/statm" % target.pid) as file:
            rss = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        assert abs(row["rss"] - rss) < 8 << 20
        done = heaptest.heapdump("--list")
        assert re.search(r"^ +%d .*patient\.py$" % target.pid, done.stdout,
                         re.M), done.stdout
    with heaptest.case("names from a process are made harmless"):
        folder = patients.folder("names")
        script = os.path.join(folder, "evil\033[31m\n$(id).py")
        with open(script, "w") as file:
            file.write("import sys; print('up', flush=True)\n"
                       "sys.stdin.read()\n")
        evil = subprocess.Popen(["/usr/bin/python3", script],
                                stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
        try:
            evil.stdout.readline()
            listed = heaptest.heapdump("--list")
            dumped = heaptest.heapdump("--max-pause", "60s", "-o",
                                       folder + "/", evil.pid)
            assert dumped.returncode == 0, dumped.stderr
            for text in (listed.stdout, dumped.stdout):
                assert "\033" not in text, text
            names = [name for name in os.listdir(folder)
                     if name.startswith("heapdump.")]
            assert len(names) == 1 and re.fullmatch(r"[\w.-]+", names[0]), names
        finally:
            evil.kill()
            evil.communicate()


def test_talk(target):
    path = heaptest.tmp("talk")
    with heaptest.case("-q says nothing"):
        done = heaptest.heapdump("-q", "--max-pause", "60s", "-o", path,
                                 target.pid)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with heaptest.case("the report names file, size, pause, next command"):
        done = heaptest.heapdump("--max-pause", "60s", "-o", path, target.pid)
        lines = done.stdout.splitlines()
        assert len(lines) == 3 and lines[0] == path, done.stdout
        assert re.search(r"MiB holding .* MiB of memory; process %d stood still"
                         r" for [\d.]+ m?s" % target.pid, lines[1]), lines[1]
        assert lines[2] == "  next: heapscan %s --top 20" % path
        assert not done.stderr, "no progress line without a terminal"
    with heaptest.case("-v tells what was left out"):
        done = heaptest.heapdump("-v", "--max-pause", "60s", "-o", path,
                                 target.pid)
        assert "left out" in done.stdout and "--content full" not in \
            done.stdout.replace("(--content full takes it)", "")
        assert "unchanged pages of files" in done.stdout
    with heaptest.case("a terminal gets a progress line, and only there"):
        done = heaptest.run([
            heaptest.tool("script", "bsdutils"), "-qec",
            "'%s' --max-pause 60s -z 15 -o %s %d" % (
                heaptest.program("heapdump"), path, target.pid),
            "/dev/null"])
        assert re.search(r"%d: .* of .* MiB \(\d+ %%\)" % target.pid,
                         done.stdout), done.stdout[-500:]
        done = heaptest.run([
            heaptest.tool("script", "bsdutils"), "-qec",
            "'%s' --no-progress --max-pause 60s -o %s %d" % (
                heaptest.program("heapdump"), path, target.pid),
            "/dev/null"])
        assert "%)" not in done.stdout


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def test_audit(target):
    with heaptest.case("a line in the system log"):
        # A /dev/log of our own, which nobody else sees.
        script = (
            "import os, socket, subprocess, sys\n"
            "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
            "s.bind('/dev/log'); s.settimeout(60)\n"
            "subprocess.run([sys.argv[1], '-q', '--max-pause', '60s', '-o',"
            " sys.argv[2], sys.argv[3]], check=True)\n"
            "print(s.recv(65536).decode())\n")
        done = heaptest.run([
            *heaptest.private_mounts(), "sh", "-c",
            "mount -t tmpfs none /dev && exec /usr/bin/python3 -c \"$0\" "
            "\"$@\"", script, heaptest.program("heapdump"),
            heaptest.tmp("audit"), str(target.pid)])
        assert done.returncode == 0, done.stderr
        for word in ("uid 0", "process %d" % target.pid, "patient.py",
                     "trigger=request", "content=heap", "bytes=%d"
                     % os.path.getsize(heaptest.tmp("audit")),
                     "sha256=" + sha256(heaptest.tmp("audit"))):
            assert word in done.stdout, done.stdout
        # authpriv.notice
        assert done.stdout.startswith("<%d>" % (10 << 3 | 5)), done.stdout


def test_demo():
    with heaptest.case("--demo without python3 says so"):
        done = heaptest.heapdump("--demo", env=dict(os.environ, PATH="/nowhere"))
        assert done.returncode == 1 and "python3" in done.stderr, done.stderr
    folder = patients.folder("demo")
    env = dict(os.environ, TMPDIR=folder,
               PATH="/usr/bin:" + os.environ["PATH"])
    with heaptest.case("--demo dumps and explains, and cleans up"):
        done = heaptest.heapdump("--demo", "--max-pause", "60s", env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "python3 memeater.py" in done.stdout
        assert "Visit" in done.stdout, done.stdout[-3000:]
        pid = int(re.search(r"memeater\.py, process (\d+)", done.stdout)[1])
        assert not os.path.exists("/proc/%d" % pid)
        assert not os.listdir(folder), os.listdir(folder)
    with heaptest.case("--demo keeps a dump that was asked for"):
        keep = os.path.join(folder, "kept.core.zst")
        done = heaptest.heapdump("--demo", "-q", "--max-pause", "60s", "-o",
                                 keep, env=env)
        assert done.returncode == 0, done.stderr
        assert patients.Container(keep).facts["complete"] == "yes"
        shutil.rmtree(folder)


def main():
    test_help()
    test_later()
    test_watching()
    test_usage()
    with patients.patient("--megabytes", "10") as target:
        test_failures(target)
        test_dry_run(target)
        test_list(target)
        test_talk(target)
        test_audit(target)
        with heaptest.case("the target is well after all that"):
            target.assert_well()
    test_demo()
    heaptest.finish()


main()
