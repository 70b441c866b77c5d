"""How long stacks and the heap of malloc take, and what of a dump is read.

SPDX-License-Identifier: Apache-2.0

Used by bench.py. Stacks beside gdb (native frames, and Python's with the script
that comes with the interpreter, where it does) and eu-stack on the same core.
What is read of it is what of the file is in the page cache afterwards that was
not before.
"""
import ctypes
import glob
import mmap
import os
import resource
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("HEAPSCAN_BUILD", "build/plain")
HEAPDUMP = os.path.join(BUILD, "heapdump")
HEAPSCAN = os.path.join(BUILD, "heapscan")
ROUNDS = 5
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                      ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def forget(path):
    """Put a file out of the page cache."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def cached(path):
    """Bytes of a file that are in the page cache."""
    size = os.path.getsize(path)
    file = os.open(path, os.O_RDONLY)
    at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
    pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    failed = libc.mincore(at, size, pages)
    libc.munmap(at, size)
    os.close(file)
    assert not failed, "mincore"
    return mmap.PAGESIZE * sum(page & 1 for page in pages.raw)


def seconds(argv):
    begun = time.monotonic()
    done = subprocess.run(argv, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True,
                          env=dict(os.environ, DEBUGINFOD_URLS=""))
    return time.monotonic() - begun, done.stdout


def peers(program, core):
    """Name, command, and what its answer must hold once for each thread."""
    gdb = ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off",
           "-iex", "set auto-load off"]
    yield ("gdb: thread apply all bt",
           [*gdb, "-ex", "thread apply all bt", program, core], r"#0 ")
    script = glob.glob(os.path.realpath(program) + "-gdb.py") + glob.glob(
        "/usr/share/gdb/auto-load" + os.path.realpath(program) + "-gdb.py")
    if script:
        yield ("gdb: thread apply all py-bt",
               [*gdb, "-ex", "source " + script[0], "-ex",
                "thread apply all py-bt", program, core], "Traceback")
    yield ("eu-stack", ["eu-stack", "-e", program, "--core", core], "TID ")


def bench_stacks(args):
    core = os.path.join(args.tmp, "bench.core")
    packed = core + ".zst"
    target = subprocess.Popen(
        [args.python, os.path.join(HERE, "threads.py"), str(args.stacks_gib)],
        stdout=subprocess.PIPE, text=True)
    try:
        ready = target.stdout.readline().split()
        assert ready[:1] == ["READY"], ready
        program = os.path.realpath(f"/proc/{target.pid}/exe")
        for path, option in (core, "--no-compress"), (packed, "--level=1"):
            subprocess.run([HEAPDUMP, "-q", "--content", "full", option, "-o",
                            path, str(target.pid)], check=True)
    finally:
        target.kill()
        target.wait()
    print("\nstacks of 64 threads, of a dump of %.1f GiB (%.1f compressed), "
          "median of %d" % (os.path.getsize(core) / (1 << 30),
                            os.path.getsize(packed) / (1 << 30), ROUNDS))
    print("  %-30s %8s %8s  %10s" % ("", "seconds", "ratio", "MB read"))
    ours = [HEAPSCAN, core, "threads", "--top", "0", "-v"]
    runs = [("heapscan threads", ours, r"thread"),
            ("heapscan threads, compressed", [HEAPSCAN, packed, *ours[2:]],
             r"thread"), *peers(program, core)]
    times = {name: [] for name, *_ in runs}
    read = {}
    for _ in range(ROUNDS):
        for name, argv, _ in runs:
            path = packed if packed in argv else core
            forget(path)
            before = cached(path)
            took, answer = seconds(argv)
            read[name] = cached(path) - before
            times[name].append(took)
            assert len(answer) > 1000, (name, answer)
    base = statistics.median(times["heapscan threads"])
    for name, _, _ in runs:
        median = statistics.median(times[name])
        print("  %-30s %8.2f %8.1f  %10.1f" % (name, median, median / base,
                                               read[name] / 1e6))
    for path in core, packed:
        os.remove(path)
    sys.stdout.flush()


def bench_malloc(args):
    """Every object of Python in a chunk of malloc."""
    core = os.path.join(args.tmp, "bench.core")
    target = subprocess.Popen(
        [args.python, os.path.join(HERE, "heap.py"),
         str(int(args.malloc_millions * 1e6))], stdout=subprocess.PIPE,
        text=True, env=dict(os.environ, PYTHONMALLOC="malloc"))
    try:
        assert target.stdout.readline().startswith("READY")
        subprocess.run([HEAPDUMP, "-q", "--no-compress", "--content", "full",
                        "-o", core, str(target.pid)], check=True)
    finally:
        target.kill()
        target.wait()
    walk = [os.path.join(BUILD, "tests/tools/chunkdump"), core, "COUNT"]
    whole = [HEAPSCAN, core, "malloc", "-f", "json"]
    times = {"walk": [], "malloc": []}
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds(whole)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times["malloc"].append(after.ru_utime - before.ru_utime +
                               after.ru_stime - before.ru_stime)
        _, answer = seconds(walk)
        count, walked = answer.splitlines()[-1].split()[1:]
        times["walk"].append(float(walked))
    walked, took = (statistics.median(times[key]) for key in ("walk", "malloc"))
    print("\nheap of malloc, %.1f million chunks in %.2f GiB, seconds of one "
          "processor, median of %d" % (
        int(count) / 1e6, os.path.getsize(core) / (1 << 30), ROUNDS))
    print("  one walk over all chunks: %.1f million chunks/s; heapscan malloc, all of it: %.2f s,"
          " %.1f million chunks/s" % (int(count) / walked / 1e6, took,
                                      int(count) / took / 1e6))
    os.remove(core)
