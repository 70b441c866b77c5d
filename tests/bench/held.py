# SPDX-License-Identifier: Apache-2.0
"""What `heapscan tensors` costs: beside the walk over objects that it needs, and
how much of a dump it reads that is mostly data of tensors, as do the overview and
the ledger. The tensors are those of tests/torch/mirror.c, which are laid out as
PyTorch's are."""
import ctypes
import mmap
import os
import statistics
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TORCH = os.path.join(HERE, "..", "torch")
BUILD = os.environ.get("HEAPSCAN_BUILD", "build/plain")
HEAPDUMP = os.path.join(BUILD, "heapdump")
HEAPSCAN = os.path.join(BUILD, "heapscan")
LAYOUT = "16", "16", "8", "472", "48"
ROUNDS = 5


def compiled(python, folder):
    include = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
        check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-I", include, "-o",
                    os.path.join(folder, "mirror.so"),
                    os.path.join(TORCH, "mirror.c")], check=True)


def seconds(path, *view):
    begun = time.monotonic()
    subprocess.run([HEAPSCAN, path, *view, "--no-index", "-q", "-o",
                    os.devnull], check=True)
    return time.monotonic() - begun


def cached(path):
    """Bytes of a file that the page cache has."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = os.path.getsize(path)
    pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
    with open(path, "rb") as file:
        view = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE,
                         prot=mmap.PROT_READ | mmap.PROT_WRITE)
        states = (ctypes.c_ubyte * pages)()
        start = ctypes.addressof(ctypes.c_char.from_buffer(view))
        assert libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(size),
                            states) == 0
        return sum(state & 1 for state in states) * mmap.PAGESIZE


def dropped(path):
    """As after a restart, and without reading ahead of what is asked for."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(args, folder, plain, more, fn):
    path = os.path.join(os.path.abspath(args.tmp), "bench.tensors.core")
    process = subprocess.Popen(
        [args.python, os.path.join(TORCH, "mirror_target.py"), folder, *LAYOUT,
         str(plain), str(more)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True)
    try:
        process.stdout.readline()
        assert process.stdout.readline().split()[:1] == ["READY"]
        subprocess.run([HEAPDUMP, "--max-pause", "10m", "-q", "--no-compress",
                        "--content", "full", "-o", path, str(process.pid)],
                       check=True)
        fn(path)
    finally:
        process.kill()
        process.wait()
        if os.path.exists(path):
            os.remove(path)


def bench_tensors(args):
    def walk(path):
        # What it needs: all objects and their references, once.
        objects = statistics.median(seconds(path, "retained", "-n", "1")
                                    for _ in range(ROUNDS))
        tensors = statistics.median(seconds(path, "tensors")
                                    for _ in range(ROUNDS))
        print("heapscan tensors of %s tensors, median of %d: %.3f s; the graph "
              "of objects, and what dominates what, alone: %.3f s" % (
                  f"{args.tensors:,}", ROUNDS, tensors, objects), flush=True)

    def reads(path):
        size = os.path.getsize(path)
        for view in ["tensors"], [], ["memory"]:
            dropped(path)
            before = cached(path)
            subprocess.run([HEAPSCAN, path, *view, "--no-index", "-q", "-o",
                            os.devnull], check=True)
            after = cached(path)
            print("heapscan %s reads %.1f MiB of a dump of %.1f GiB: %.2f %% "
                  "(%.1f MiB were cached before)" % (
                      " ".join(view) or "DUMP", after / 2**20, size / 2**30,
                      100 * after / size, before / 2**20), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        compiled(args.python, folder)
        measure(args, folder, args.tensors, 0, walk)
        measure(args, folder, int(args.tensor_gib * 256), 4 << 20, reads)
