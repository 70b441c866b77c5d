#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/etc/heapdump.conf: read strictly, and no option goes around it. Each run
has mounts of its own, where that file is ours."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest


class Machine:
    """Runs heapdump with an /etc of its own."""

    def __init__(self):
        self.etc = patients.folder("etc")
        os.chmod(self.etc, 0o755)
        self.conf = os.path.join(self.etc, "heapdump.conf")

    def configure(self, text, mode=0o644, owner=0):
        with open(self.conf, "w") as file:
            file.write(text)
        os.chmod(self.conf, mode)
        os.chown(self.conf, owner, owner)

    def heapdump(self, *args, **options):
        return heaptest.run([
            *heaptest.private_mounts(), "sh", "-c", "mount --bind \"$0\" /etc "
            "&& exec \"$@\"", self.etc,
            os.path.abspath(heaptest.program("heapdump")),
            *map(str, args)], **options)


def test_strict(machine, pid):
    for name, text, *words in (
            ("an unknown key", "# rules\n\nmax_sise = 1G\n", ":3: ",
             "'max_sise'", "max_size"),
            ("no value", "content =\n", ":1: ", "content"),
            ("no equals sign", "content heap\n", ":1: ", "key = value"),
            ("a key twice", "max_rate = 1\nmax_rate = 2\n", ":2: ", "twice"),
            ("a content that is none", "content = all\n", ":1: ", "'all'"),
            ("a content of live processes", "content = stacks\n", ":1: ",
             "'stacks'"),
            ("a method that is none", "forbid = stop, magic\n", ":1: ",
             "'magic'"),
            ("a folder that is none", "folder = dumps\n", ":1: ",
             "begin with /"),
            ("a size that is none", "max_size = much\n", ":1: ", "much"),
            ("a number that is none", "max_rate = -1\n", ":1: ", "'-1'"),
            ("neither yes nor no", "respect_limit = 1\n", ":1: ", "yes nor"),
            ("a line without an end", "#" * 5000, ":1: ", "too long")):
        with heaptest.case("refused: " + name):
            machine.configure(text)
            done = machine.heapdump("--force", "-o", heaptest.tmp("no"), pid)
            assert done.returncode == 1, done.returncode
            assert "/etc/heapdump.conf" in done.stderr, done.stderr
            assert all(word in done.stderr for word in words), done.stderr
            assert not os.path.exists(heaptest.tmp("no"))
    for name, options in (("writable by others", dict(mode=0o646)),
                          ("owned by somebody", dict(owner=65534))):
        with heaptest.case("refused: a file " + name):
            machine.configure("content = full\n", **options)
            done = machine.heapdump("--force", "-o", heaptest.tmp("no"), pid)
            assert done.returncode == 1, done.returncode
            assert "owned by root" in done.stderr, done.stderr


def test_rules(machine, pid):
    folder = patients.folder("allowed")
    dump = ("--json", "--max-pause", "60s")
    with heaptest.case("comments and white space are none of its business"):
        machine.configure("\n  # nothing\n\t content\t=  full  # all\n")
        done = machine.heapdump(*dump, "-o", heaptest.tmp("yes"), "--content",
                                "full", pid)
        assert done.returncode == 0, done.stderr
    with heaptest.case("content is capped"):
        machine.configure("content = heap\n")
        done = machine.heapdump(*dump, "--force", "--content", "full", "-o",
                                heaptest.tmp("no"), pid)
        assert done.returncode == 1 and "permits heap" in done.stderr
        assert machine.heapdump(*dump, "-o", heaptest.tmp("yes"),
                                pid).returncode == 0
    with heaptest.case("methods are forbidden, and a list goes on"):
        machine.configure("forbid = snapshot gcore\n")
        done = machine.heapdump(*dump, "-o", heaptest.tmp("no"), "--force",
                                "--method", "snapshot", pid)
        assert done.returncode == 1 and "forbids it" in done.stderr
        done = machine.heapdump(*dump, "-o", heaptest.tmp("yes"), "--method",
                                "snapshot,gcore,stop", pid)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["method"] == "stop"
    with heaptest.case("the folder is fixed"):
        machine.configure("folder = %s\n" % folder)
        done = machine.heapdump(*dump, pid, env=dict(
            os.environ, HEAPDUMP_DIR=heaptest.tmp()))
        assert done.returncode == 0, done.stderr
        assert os.path.dirname(json.loads(done.stdout)["path"]) == folder
        for output in (folder, folder + "/", os.path.join(folder, "named")):
            done = machine.heapdump(*dump, "-o", output, pid)
            assert done.returncode == 0, done.stderr
        for output in ("-", heaptest.tmp("elsewhere"), heaptest.tmp(),
                       os.path.join(folder, "..", "x"), "relative"):
            done = machine.heapdump(*dump, "--force", "-o", output, pid)
            assert done.returncode == 1, (output, done.returncode)
            assert "permits the folder " + folder in done.stderr, done.stderr
        assert not os.path.exists(heaptest.tmp("elsewhere"))
    with heaptest.case("no variable leads to another file"):
        machine.configure("content = heap\n")
        done = machine.heapdump(*dump, "--content", "full", "-o",
                                heaptest.tmp("no"), pid, env=dict(
                                    os.environ, HEAPDUMP_CONF="/dev/null"))
        assert done.returncode == 1, done.returncode


def main():
    heaptest.private_mounts()
    machine = Machine()
    with patients.patient("--megabytes", "4") as target:
        test_strict(machine, target.pid)
        test_rules(machine, target.pid)
        target.assert_well()
    heaptest.finish()


main()
