#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bundle: the tarball's programs run in roots of other suites, and the
static heapdump where there is musl only."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest

FETCH = os.path.join(heaptest.SRC, "dumper", "packaging",
                     "fetch_root.sh")
PLAIN = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
SUITES = {"bullseye": "2.31", "bookworm": "2.36", "trixie": "2.41"}
TARGET = """
import os, sys, threading, time
class Visit: pass
visits = [Visit() for _ in range(4321)]
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
print("READY", os.getpid(), flush=True)
sys.stdin.read()
"""
MUSL_TARGET = """
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static char marker[] = "a word of the musl target";
static void *wait_for_ever(void *unused) { pause(); return unused; }
int main(void)
{
	pthread_t thread;
	pthread_create(&thread, 0, wait_for_ever, 0);
	printf("READY %d\\n", getpid());
	fflush(stdout);
	getchar();
	return marker[0] == 0;
}
"""


def make_bundle():
    """Unpack it; returns its folder."""
    # With the flags that the build under test has, so that nothing of it is
    # made anew while other tests use it.
    with open(os.path.join(heaptest.BUILD, "flags")) as file:
        flags = file.read().split()
    if any("sanitize" in flag for flag in flags):
        raise heaptest.Skip("no bundle is made of a build with sanitizers")
    done = heaptest.run(["make", "-s", "CC=" + flags[0],
                         "B=" + os.path.relpath(heaptest.BUILD, heaptest.SRC),
                         *["WERROR=1"] * ("-Werror" in flags), "bundle"],
                        cwd=heaptest.SRC, timeout=900)
    unavailable = re.search(r"^.*not to be had: (.*)$", done.stderr, re.M)
    if unavailable:
        raise heaptest.Skip(unavailable[0])
    assert done.returncode == 0, done.stderr[-1000:]
    path = os.path.join(heaptest.SRC, done.stdout.split()[-1])
    folder = patients.folder("unpacked")
    done = heaptest.run(["tar", "-xJf", path, "-C", folder])
    assert done.returncode == 0, done.stderr
    found = os.listdir(folder)
    assert found == [os.path.basename(path)[:-len(".tar.xz")]], found
    return os.path.join(folder, found[0])


def fetch(name, suite, *packages):
    done = heaptest.run([FETCH, name, suite, *packages], timeout=600)
    if done.returncode:
        raise heaptest.Skip(done.stderr.strip())
    return done.stdout.strip()


class Root:
    """A copy-free view of a root: mounts of our own put the bundle, a folder
    for dumps and /proc into it."""

    def __init__(self, root, bundle):
        self.root, self.bundle = root, bundle
        self.shared = patients.folder("shared.%d" % len(
            glob.glob(heaptest.tmp("shared.*"))))
        for name in ("bundle", "shared", "proc"):
            os.makedirs(os.path.join(root, name), exist_ok=True)

    def argv(self, *command):
        return [*heaptest.private_mounts(), "sh", "-c",
                "root=$1; mount --bind \"$2\" $root/bundle && "
                "mount --bind \"$3\" $root/shared && "
                "mount -t proc proc $root/proc && shift 3 && "
                "exec chroot $root \"$@\"", "x", self.root, self.bundle,
                self.shared, *map(str, command)]

    def run(self, *command):
        return heaptest.run(self.argv(*command), env=PLAIN)

    def start(self, *command):
        """A target, and its id."""
        process = subprocess.Popen(self.argv(*command), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE,
                                   env=PLAIN)
        line = process.stdout.readline().decode()
        ready = re.match(r"READY (\d+)$", line)
        assert ready, "the target said " + repr(line)
        return process, int(ready[1])


def check_dump(root, program, pid, name):
    done = root.run(program, "--json", "--max-pause", "60s", "-o",
                    "/shared/" + name, pid)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["complete"] is True
    return os.path.join(root.shared, name)


def test_suite(bundle, suite, libc):
    try:
        folder = fetch(suite + "-run", suite, "libc6", "python3-minimal",
                       "libpython3-stdlib")
    except heaptest.Skip as reason:
        heaptest.skip("the bundle in a root of " + suite, reason)
        return
    root = Root(folder, bundle)
    with open(root.shared + "/target.py", "w") as file:
        file.write(TARGET)
    with heaptest.case("%s: its glibc is %s" % (suite, libc)):
        done = root.run("/usr/bin/python3", "-c",
                        "import os; print(os.confstr('CS_GNU_LIBC_VERSION'))")
        assert done.stdout.strip() == "glibc " + libc, done
    for program in ("heapdump", "heapdump-static", "heapscan"):
        with heaptest.case("%s: %s starts" % (suite, program)):
            done = root.run("/bundle/bin/" + program, "--version")
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith(program.split("-")[0] + " ")
    for program in ("heapdump", "heapdump-static"):
        with heaptest.case("%s: %s --on-oom, with the library of the bundle"
                           % (suite, program)):
            name = "oom." + program
            os.mkdir(os.path.join(root.shared, name))
            done = root.run("/bundle/bin/" + program, "--on-oom", "--json",
                            "-o", "/shared/" + name, "--", "/usr/bin/python3",
                            "-c", "bytearray(1 << 62)")
            assert done.returncode == 1, done.stderr
            reports = re.findall(r"^\{.*", done.stderr, re.M)
            assert len(reports) == 1, done.stderr
            report = reports[0]
            assert re.search(r"MemoryError in thread \d+: Python was refused "
                             r"4\.00 EiB", report), report
            assert len(os.listdir(os.path.join(root.shared, name))) == 1
    process, pid = root.start("/usr/bin/python3", "/shared/target.py")
    try:
        for program in ("heapdump", "heapdump-static"):
            with heaptest.case("%s: %s dumps a process of that root"
                               % (suite, program)):
                path = check_dump(root, "/bundle/bin/" + program, pid, program)
                for argv in (root.argv("/bundle/bin/heapscan", "types",
                                       "/shared/" + program, "-n0", "-f",
                                       "csv"),
                             [heaptest.program("heapscan"), "types", path,
                              "-n0", "-f", "csv"]):
                    done = heaptest.run(argv)
                    assert done.returncode == 0, done.stderr
                    assert re.search(r"__main__\.Visit\"?,4321,", done.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_musl(bundle):
    try:
        folder = fetch("musl", "bookworm", "musl", "musl-dev")
    except heaptest.Skip as reason:
        heaptest.skip("the static heapdump where there is musl only", reason)
        return
    triplet = heaptest.run(["gcc", "-print-multiarch"]).stdout.strip()
    musl = triplet.replace("gnu", "musl")
    loader = "/lib/ld-musl-%s.so.1" % triplet.split("-")[0]
    headers = "%s/usr/include/%s" % (folder, musl)
    libraries = "%s/usr/lib/%s" % (folder, musl)
    bare = patients.folder("bare")
    os.mkdir(bare + "/lib")
    libc = "%s/lib/%s" % (folder, musl)
    shutil.copy(libc + "/libc.so", bare + loader)
    source = heaptest.tmp("musl_target.c")
    with open(source, "w") as file:
        file.write(MUSL_TARGET)
    done = heaptest.run([
        "gcc", "-no-pie", "-fno-stack-protector", "-nostdinc", "-isystem",
        headers, "-nostdlib", "-o", bare + "/target", libraries + "/crt1.o",
        libraries + "/crti.o", source, "-L" + libc, "-lc",
        libraries + "/crtn.o", "-Wl,-dynamic-linker," + loader])
    assert done.returncode == 0, done.stderr
    root = Root(bare, bundle)
    with heaptest.case("musl: no library of glibc's is there"):
        done = root.run("/bundle/bin/heapscan", "--version")
        assert done.returncode != 0
    with heaptest.case("musl: the static heapdump starts"):
        done = root.run("/bundle/bin/heapdump-static", "--version")
        assert done.returncode == 0, done.stderr
    process, pid = root.start("/target")
    try:
        with heaptest.case("musl: the static heapdump dumps a process"):
            path = check_dump(root, "/bundle/bin/heapdump-static", pid, "dump")
            done = heaptest.heapscan("info", path, "-f", "json")
            told = json.loads(done.stdout)
            assert told["totals"]["threads"] == 2, told["totals"]
            plain = heaptest.expand(path, heaptest.tmp("musl.plain"))
            with open(plain, "rb") as file:
                assert b"a word of the musl target" in file.read()
        with heaptest.case("musl: the process goes on"):
            process.stdin.write(b"\n")
            process.stdin.close()
            assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main():
    heaptest.private_mounts()
    bundle = make_bundle()
    with heaptest.case("the static heapdump needs no library"):
        done = heaptest.run([heaptest.tool("readelf", "binutils"), "-dW",
                             bundle + "/bin/heapdump-static"])
        assert "NEEDED" not in done.stdout, done.stdout
    for suite, libc in SUITES.items():
        test_suite(bundle, suite, libc)
    test_musl(bundle)
    heaptest.finish()


main()
