#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the dump cannot be written: a sentence that names the file, exit 1,
nothing left behind, and the target goes on. And what writing costs the target's
cgroup."""
import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest

# Every write fails from the third on.
FAILING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
static int count;
static int fails(void)
{
	if (atoi(getenv("FAILS_WITH")) == 0 ||
	    __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) < 3)
		return 0;
	errno = atoi(getenv("FAILS_WITH"));
	return 1;
}
ssize_t pwritev64(int fd, const struct iovec *vectors, int count_, off_t at)
{
	ssize_t (*real)(int, const struct iovec *, int, off_t) =
		dlsym(RTLD_NEXT, "pwritev64");
	return fails() ? -1 : real(fd, vectors, count_, at);
}
int fsync(int fd)
{
	int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
	if (getenv("SYNC_FAILS")) {
		errno = EIO;
		return -1;
	}
	return real(fd);
}
"""


def failing_library():
    source, library = heaptest.tmp("failing.c"), heaptest.tmp("failing.so")
    with open(source, "w") as file:
        file.write(FAILING)
    done = heaptest.run([heaptest.tool("gcc", "gcc"), "-shared", "-fPIC",
                         "-o", library, source, "-ldl"])
    assert done.returncode == 0, done.stderr
    return library


def assert_failed(done, folder, *words):
    assert done.returncode == 1, "exit %d: %s" % (done.returncode, done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    if folder:
        assert not os.listdir(folder), os.listdir(folder)


def test_errors(target):
    library = failing_library()
    for name, number in (("EIO", errno.EIO), ("EDQUOT", errno.EDQUOT),
                         ("ENOSPC", errno.ENOSPC)):
        for options in ([], ["--no-compress"]):
            with heaptest.case("a write that fails with %s %s" % (
                    name, " ".join(options))):
                folder = patients.folder("fails.%s%d" % (name, len(options)))
                done = heaptest.heapdump(
                    *options, "-o", folder, target.pid,
                    env=dict(os.environ, LD_PRELOAD=library,
                             FAILS_WITH=str(number)))
                assert_failed(done, folder, folder, os.strerror(number))
    with heaptest.case("a file that cannot be synced"):
        folder = patients.folder("fails.sync")
        done = heaptest.heapdump(
            "-o", folder, target.pid,
            env=dict(os.environ, LD_PRELOAD=library, FAILS_WITH="0",
                     SYNC_FAILS="1"))
        assert_failed(done, folder, os.strerror(errno.EIO))


def test_folders(target):
    with heaptest.case("a file system that may only be read"):
        folder = patients.folder("readonly")
        done = heaptest.run([
            *heaptest.private_mounts(), "sh", "-c",
            'mount -t tmpfs -o ro none "$1" && exec "$2" -o "$1" "$3"', "sh",
            folder, heaptest.program("heapdump"), str(target.pid)])
        assert_failed(done, folder, "Read-only file system")
    with heaptest.case("a folder that is removed meanwhile"):
        folder = patients.folder("removed")
        process = subprocess.Popen(
            [heaptest.program("heapdump"), "-z", "12", "-o", folder,
             str(target.pid)], stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        patients.wait_for("the file", lambda: patients.written(
            process, folder) is not None)
        shutil.rmtree(folder)
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 1, (process.returncode, out, errors)
        assert folder in errors, errors
        assert not os.path.exists(folder)


CGROUP = "/sys/fs/cgroup/memory/heapscan-cache-%d" % os.getpid()


def cache_of(folder):
    with open(os.path.join(folder, "memory.stat")) as file:
        for line in file:
            key, value = line.split()
            if key == "total_cache":
                return int(value)
    raise RuntimeError("no total_cache")


def test_cache():
    """Both in one cgroup, as heapdump is in a container."""
    with heaptest.case("at most 64 MiB of page cache for the target's cgroup"):
        try:
            os.mkdir(CGROUP)
        except OSError as error:
            raise heaptest.Skip("no memory cgroup of version 1 can be made "
                                "here: %s" % error)
        inside = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', CGROUP]
        code = ("import os, time\n"
                "kept = [os.urandom(1 << 20) for _ in range(400)]\n"
                "print('ready', flush=True)\ntime.sleep(1000)")
        target = subprocess.Popen([*inside, "/usr/bin/python3", "-c", code],
                                  stdout=subprocess.PIPE)
        try:
            target.stdout.readline()
            before, most = cache_of(CGROUP), 0
            path = heaptest.tmp("cache")
            process = subprocess.Popen(
                [*inside, heaptest.program("heapdump"), "-q", "--no-compress",
                 "-o", path, str(target.pid)])
            while process.poll() is None:
                most = max(most, cache_of(CGROUP))
                time.sleep(0.002)
            most = max(most, cache_of(CGROUP))
            assert process.returncode == 0, process.returncode
            assert os.path.getsize(path) > 400 << 20
            assert most - before < 64 << 20, (before, most)
            os.unlink(path)
        finally:
            target.kill()
            target.wait()
            target.stdout.close()
            with contextlib.suppress(OSError):
                patients.wait_for("the end of the cgroup", gone)


def gone():
    try:
        os.rmdir(CGROUP)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def main():
    with patients.patient("--megabytes", "40") as target:
        test_errors(target)
        test_folders(target)
        with heaptest.case("the target is well after all that"):
            target.assert_well()
    test_cache()
    heaptest.finish()


main()
