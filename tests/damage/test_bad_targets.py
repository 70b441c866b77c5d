# SPDX-License-Identifier: Apache-2.0
"""heapdump where there is nothing to dump, no permission, or nowhere to write:
exit 1 or 2, a sentence that says why, nothing left behind, and the process
unharmed. With the sanitized build as well; what a dump does to its target is
tested in tests/dumper."""

import os
import resource
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import damage
import heaptest

NOBODY = 65534
TARGET = """
import os, sys
pad = os.urandom(6 << 20)
print("READY", os.getpid(), flush=True)
sys.stdin.read()
"""


def state(pid):
    with open("/proc/%d/stat" % pid) as stat:
        return stat.read().rpartition(")")[2].split()[0]


def refuses(build, args, status, *words, **options):
    done = build.heapdump(*args, **options)
    assert done.status == status, "expected exit %d, got %s" % (status, done)
    for word in words:
        assert word in done.err, "expected %r in %r" % (word, done.err)


def free_pid():
    with open("/proc/sys/kernel/pid_max") as file:
        last = int(file.read()) - 1
    while os.path.exists("/proc/%d" % last):
        last -= 1
    return last


def test_pids(build, folder):
    for pid, words in ((free_pid(), ["no process"]), (2147483646, []),
                       (1 << 40, []), ("0", []), ("-1", []), ("1x", [])):
        with build.case("no process %s" % pid):
            done = build.heapdump("-o", folder, pid)
            assert done.status in (1, 2), done
            for word in words:
                assert word in done.err, done.err
    with build.case("a kernel thread"):
        if not os.path.exists("/proc/2/stat") or os.path.exists("/proc/2/exe"):
            raise heaptest.Skip("there is none to be seen here")
        refuses(build, ["-o", folder, 2], 1, "kernel")
    with build.case("nothing is left of them"):
        assert os.listdir(folder) == [], os.listdir(folder)


def test_outputs(build, pid):
    with build.case("into a folder that is not there"):
        refuses(build, ["-o", "/no/such/folder/dump", pid], 1,
                "/no/such/folder")
    with build.case("into a file as a folder"):
        path = heaptest.tmp("file")
        open(path, "w").close()
        refuses(build, ["-o", path + "/dump", pid], 1, "ot a directory")
    for options in [], ["--no-compress"]:
        with build.case("onto a disk of one mebibyte " + " ".join(options)):
            with damage.small_disk(1 << 20) as small:
                refuses(build, [*options, "--max-pause", "60s", "-o", small,
                                pid], 1, small)
                assert os.listdir(small) == [], os.listdir(small)
        with build.case("with a limit on the size of files "
                        + " ".join(options)):
            folder = heaptest.tmp("limited")
            os.makedirs(folder, exist_ok=True)
            refuses(build, [*options, "--max-pause", "60s", "-o", folder, pid],
                    1, folder, limits=[(resource.RLIMIT_FSIZE, 1 << 20)])
            assert os.listdir(folder) == [], os.listdir(folder)
    with build.case("to a full device"):
        refuses(build, ["--max-pause", "60s", "-o", "/dev/full", pid], 1,
                "/dev/full")
    with build.case("the target goes on"):
        assert state(pid) == "S", state(pid)


def test_permission(build, pid):
    if os.geteuid() != 0:
        raise heaptest.Skip("becoming another user needs root")
    with damage.public_folder() as public:
        shutil.copy(build.program("heapdump"), public)
        there = damage.Build(public, build.label)
        done = there.heapdump("-o", public, pid, user=NOBODY, group=NOBODY,
                              extra_groups=[])
        assert done.status == 1, done
        for way in "sudo", "start the process", "cap_sys_ptrace":
            assert way in done.err.lower(), "%r does not name %s" % (done.err,
                                                                     way)


def main():
    script = heaptest.tmp("target.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(TARGET)
    interpreter = heaptest.Interpreter("system", ["/usr/bin/python3"])
    with heaptest.start_target(interpreter, script) as running:
        for build in damage.builds():
            folder = heaptest.tmp("none" + str(build.sanitized))
            os.mkdir(folder)
            test_pids(build, folder)
            test_outputs(build, running.pid)
            with build.case("a process of somebody else"):
                test_permission(build, running.pid)
    heaptest.finish()


main()
