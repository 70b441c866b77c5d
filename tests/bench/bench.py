#!/usr/bin/env python3
"""Figures, as ratios against a peer in the same run. `make bench`.

SPDX-License-Identifier: Apache-2.0

usage: bench.py [--sizes 1,10,30] [--python PYTHON] [--tmp DIR] [--pyheap DIR]
                [--only types|analysis|dump|content|peers|pause|service|
                        stacks|malloc|tensors]

Makes its own heaps (millions of objects each), dumps them plain and
compressed, and prints what heapscan and heapdump reach beside what the
machine can do: memcpy, plain zstd, process_vm_readv and write, gcore.
"""
import argparse
import glob
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time

import analysis
import held
import pause
import stacks

BUILD = os.environ.get("HEAPSCAN_BUILD", "build/plain")
HERE = os.path.dirname(os.path.abspath(__file__))
HEAPDUMP = os.path.join(BUILD, "heapdump")
HEAPSCAN = os.path.join(BUILD, "heapscan")
TOOL = os.path.join(BUILD, "tests/tools/benchtool")
CPUS = str(len(os.sched_getaffinity(0)))


class Heap:
    """A process with about `millions` million objects."""

    def __init__(self, python, millions):
        self.process = subprocess.Popen(
            [python, os.path.join(HERE, "heap.py"), str(int(millions * 1e6))],
            stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline().split()
        assert ready[:1] == ["READY"], ready
        self.pid = self.process.pid
        # It has still to come back from print(), whose temporaries would be
        # in the first dump and not in the second.
        time.sleep(0.5)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.wait()


def tool_says(*arguments):
    """Run benchtool: bytes, seconds."""
    out = subprocess.run([TOOL, *map(str, arguments)], check=True,
                         capture_output=True, text=True).stdout.split()
    return int(out[0]), float(out[1])


def tool_seconds(*arguments):
    return tool_says(*arguments)[1]


def tool(*arguments):
    """Run benchtool; bytes per second."""
    size, seconds = tool_says(*arguments)
    return size / seconds


class Peak(threading.Thread):
    """Peak RssAnon + RssShmem of a process, sampled every 2 ms."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, False
        self.start()

    def run(self):
        while not self.over:
            try:
                with open(f"/proc/{self.pid}/status") as status:
                    rows = dict(line.split(":", 1) for line in status)
                now = sum(int(rows.get(key, "0 kB").split()[0]) << 10
                          for key in ("RssAnon", "RssShmem"))
                self.peak = max(self.peak, now)
            except (OSError, ValueError):
                return
            time.sleep(0.002)


def types(dump, *options, watched=False):
    """heapscan DUMP types: (seconds, objects, peak bytes if watched).

    Who watches takes a part of a CPU, so what is timed is not watched.
    """
    begun = time.monotonic()
    process = subprocess.Popen(
        [HEAPSCAN, dump, "types", "-f", "json", "--top", "5",
         "--threads", CPUS, *options], stdout=subprocess.PIPE)
    watch = Peak(process.pid) if watched else None
    out = process.stdout.read()
    process.wait()
    seconds = time.monotonic() - begun
    if process.returncode not in (0, 3):
        sys.exit(f"heapscan failed on {dump}: {process.returncode}")
    objects = json.loads(out)["totals"]["count"]
    if not watched:
        return seconds, objects, 0
    watch.over = True
    return seconds, objects, watch.peak


def beside_decompressing(packed, threads, repeat=7):
    """types, and decompressing what it reads: (seconds, seconds, ratio).

    The speed of machines changes: each run stands between two of the other.
    """
    rows, before = [], tool_seconds("decompress", packed, threads)
    for _ in range(repeat):
        seconds = types(packed)[0]
        after = tool_seconds("decompress", packed, threads)
        rows.append((seconds, (before + after) / 2))
        before = after
    return (statistics.median(row[0] for row in rows),
            statistics.median(row[1] for row in rows),
            statistics.median(row[0] / row[1] for row in rows))


def objects_beside_types(dump, pairs=5):
    """What the largest objects take beside the types, as a median of pairs."""
    def seconds(*view):
        begun = time.monotonic()
        subprocess.run([HEAPSCAN, dump, *view, "--top", "20", "--threads", CPUS],
                       check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - begun
    return statistics.median(seconds("objects", "--sort", "size")
                             / seconds("types") for _ in range(pairs))


def cgroup_run(limit, dump):
    """Whether the same run passes in a cgroup of that many bytes."""
    v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
    old = os.path.exists(os.path.join(v1, "memory.limit_in_bytes"))
    folder = os.path.join(v1 if old else v2, f"heapscan-bench-{os.getpid()}")
    try:
        os.mkdir(folder)
        with open(os.path.join(folder, "memory.limit_in_bytes" if old
                               else "memory.max"), "w") as file:
            file.write(str(limit))
    except OSError as error:
        return f"not tried ({error.strerror})"
    try:
        def enter():
            with open(os.path.join(folder, "cgroup.procs"), "w") as file:
                file.write(str(os.getpid()))
        done = subprocess.run([HEAPSCAN, dump, "types", "-f", "json"],
                              stdout=subprocess.DEVNULL, preexec_fn=enter)
        return "passes" if done.returncode in (0, 3) else \
            f"FAILS (exit {done.returncode})"
    finally:
        for _ in range(50):
            try:
                os.rmdir(folder)
                break
            except OSError:
                time.sleep(0.1)


def warm(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(8 << 20):
            pass


def bench_types(args):
    print("heapscan DUMP types, median of 5, %s workers" % CPUS)
    print("  compressed: beside decompressing the same frames and no more, by one "
          "thread (as zstd -d does) and by %s" % CPUS)
    print("  objects      core   seconds  objects/s     GB/s  memcpy GB/s  "
          "compressed    by one  ratio    by all  ratio  peak B/object - 64 MiB"
          "  cgroup  objects --sort size / types")
    per_object = []
    for millions in args.sizes:
        plain = os.path.join(args.tmp, "bench.core")
        packed = os.path.join(args.tmp, "bench.core.zst")
        with Heap(args.python, millions) as heap:
            for path, extra in ((plain, ["--no-compress"]), (packed, [])):
                subprocess.run([HEAPDUMP, "--method", "stop", "--max-pause",
                                "10m", "-q", "-o", path, *extra,
                                str(heap.pid)], check=True)
        warm(plain)
        warm(packed)
        seconds, objects, _ = sorted(types(plain) for _ in range(5))[2]
        peak = types(plain, watched=True)[2]
        size = os.stat(plain).st_blocks * 512
        copy = tool("memcpy", plain, CPUS)
        packed_objects = types(packed)[1]
        assert packed_objects == objects, (packed_objects, objects)
        packed_seconds, by_one, ratio = beside_decompressing(packed, 1)
        _, by_all, ratio_all = beside_decompressing(packed, CPUS)
        limit = 24 * objects + (64 << 20) + (256 << 20)
        print("%9d  %5.2f GiB  %7.2f  %7.1f M  %7.2f  %11.2f  %8.2f s  "
              "%6.2f s  %5.2f  %6.2f s  %5.2f  %22.1f  %s  %26.2f" % (
                  objects, size / 2**30, seconds, objects / seconds / 1e6,
                  size / seconds / 1e9, copy / 1e9, packed_seconds, by_one,
                  ratio, by_all, ratio_all,
                  max(0, peak - (64 << 20)) / objects, cgroup_run(limit, plain),
                  objects_beside_types(plain)), flush=True)
        per_object.append(seconds / objects)
        os.remove(plain)
        os.remove(packed)
    if len(per_object) > 1:
        print("growth: %.2f times the time per object from the smallest heap "
              "to the largest" % (per_object[-1] / per_object[0]))


def timed(command, path):
    """Seconds until path, a new file, is made by command and on the disk."""
    if os.path.exists(path):
        os.remove(path)
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    # heapdump has done this itself, gcore has not. Not os.sync(): what
    # others have written is nobody's time here.
    for name in (path, os.path.dirname(path)):
        descriptor = os.open(name, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return time.monotonic() - begun


def dump_round(pid, packed, plain, copied):
    """Each once, one after the other: the machine is alike for all."""
    command = [HEAPDUMP, "--method", "stop", "--content", "full",
               "--max-pause", "10m", "-q", str(pid)]
    row = {
        "raw": timed([*command, "--no-compress", "-o", plain], plain),
        "packed": timed([*command, "-o", packed], packed),
    }
    status = os.stat(plain)
    row["image"] = image = status.st_blocks * 512
    row["times smaller"] = image / os.stat(packed).st_size
    row["alone"] = status.st_size / tool("compress", plain, CPUS)
    row["copy"] = image / tool("readwrite", pid, copied)
    if shutil.which("gcore"):
        core = f"{plain}.gcore.{pid}"
        row["gcore"] = timed(["gcore", "-o", plain + ".gcore", str(pid)], core)
        row["times gcore's"] = os.stat(core).st_size / os.stat(packed).st_size
        os.remove(core)
    for path in (packed, plain, copied):
        os.remove(path)
    return row


def bench_dump(args):
    names = ("bench.core.zst", "bench.core", "bench.bytes")
    paths = [os.path.join(os.path.abspath(args.tmp), name) for name in names]
    with Heap(args.python, args.dump_millions) as heap:
        rows = [dump_round(heap.pid, *paths)
                for _ in range(args.dump_rounds)]

    def median(key, beside=None):
        return statistics.median(row[key] / (row[beside] if beside else 1)
                                 for row in rows)

    image = median("image")
    print("heapdump --method stop --content full, %.2f GiB captured, synced, "
          "median of %d" % (image / 2**30, len(rows)))
    print("  compressed       %6.2f s   %.2f GiB/s   %.1f times smaller" % (
        median("packed"), image / median("packed") / 2**30,
        median("times smaller")))
    print("  zstd -1 alone    %6.2f s   heapdump reaches %.2f of its rate" % (
        median("alone"), median("alone", "packed")))
    print("  --no-compress    %6.2f s" % median("raw"))
    print("  readv + write    %6.2f s   heapdump reaches %.2f of its rate" % (
        median("copy"), median("copy", "raw")))
    if "gcore" in rows[0]:
        print("  gcore            %6.2f s   %.2f times heapdump's time, "
              "%.1f times its size" % (median("gcore"),
                                       median("gcore", "packed"),
                                       median("times gcore's")))


def content_round(pid, method, path):
    """A full dump and one without payload, one after the other."""
    row = {}
    for content in "full", "heap":
        command = [HEAPDUMP, "--method", method, "--content", content,
                   "--max-pause", "10m", "-q", "-o", path, str(pid)]
        row[content] = timed(command, path)
        row[content + " bytes"] = os.stat(path).st_size
        os.remove(path)
    return row


def bench_content(args):
    """A process that is mostly tensors: what --content heap saves."""
    for pages in [], ["--huge"]:
        bench_content_of(args, pages)


def bench_content_of(args, pages):
    path = os.path.join(os.path.abspath(args.tmp), "bench.content.core.zst")
    process = subprocess.Popen(
        [args.python, os.path.join(HERE, "tensors.py"),
         str(args.tensor_gib), *pages], stdout=subprocess.PIPE, text=True)
    try:
        ready = process.stdout.readline().split()
        assert ready[:1] == ["READY"], ready
        for method in "stop", "snapshot":
            rows = [content_round(process.pid, method, path)
                    for _ in range(args.dump_rounds)]
            ratios = sorted(row["full"] / row["heap"] for row in rows)
            print("heapdump --method %s of %.1f GiB of tensors in %s pages, "
                  "synced, median of %d" % (
                      method, args.tensor_gib, "huge" if pages else "4 KiB",
                      len(rows)))
            for content in "full", "heap":
                print("  --content %s   %7.3f s   %8.1f MiB" % (
                    content, statistics.median(row[content] for row in rows),
                    statistics.median(row[content + " bytes"]
                                      for row in rows) / 2**20))
            print("  heap is %.1f times faster (worst %.1f)" % (
                statistics.median(ratios), ratios[0]), flush=True)
    finally:
        process.kill()
        process.wait()


def with_packages():
    """A Python with the peers, made by fetch_packages.sh, or None."""
    cache = (os.environ.get("HEAPSCAN_CACHE")
             or os.path.expanduser("~/.cache/heapscan-tests"))
    found = glob.glob(os.path.join(glob.escape(cache), "packages",
                                   "*-packages", "installed"))
    return os.path.join(os.path.dirname(sorted(found)[-1]), "bin",
                        "python3") if found else None


def dump_and_count(pid, path, *options):
    """What heapdump and heapscan take for the same: seconds of each, objects."""
    begun = time.monotonic()
    subprocess.run([HEAPDUMP, "--max-pause", "10m", "-q", "-o", path, *options,
                    str(pid)], check=True)
    dumped = time.monotonic() - begun
    warm(path)      # heapdump leaves little of it in the page cache
    seconds, objects, _ = types(path)
    os.remove(path)
    return dumped, seconds, objects


def peer_line(what, took, found, ours, more=""):
    """Seconds and objects of a peer, beside objects per second of ours."""
    rate = found / took
    print("  %-32s %8.2f s %10d objects %9.4f M/s  heapscan's is %.0f times%s" % (
        what, took, found, rate / 1e6, ours / rate, more), flush=True)


def peer_absent(what, why):
    print("  %-32s cannot be had: %s" % (what, why.strip()), flush=True)


def bench_inside(process, ours, with_dump):
    """Tools that count objects of the process that they run in."""
    for name, what in (("guppy3", "guppy3 hpy().heap()"),
                       ("pympler", "pympler muppy, summary"),
                       ("objgraph", "objgraph most_common_types")):
        process.stdin.write(name + "\n")
        process.stdin.flush()
        took, found = process.stdout.readline().split(None, 1)
        if took == "-":
            peer_absent(what, found)
            continue
        peer_line(what, float(took), int(found), ours,
                  ", with heapdump %.0f times" % (
                      with_dump * float(took) / int(found)))


def bench_on_core(python, core, ours):
    """Tools that look at the same core from outside."""
    what = "gdb's Python, the GC lists"
    if not shutil.which("gdb"):
        peer_absent(what, "gdb is not installed")
    else:
        library = os.path.realpath(python)
        done = subprocess.run(
            ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-x",
             os.path.join(HERE, "gdb_peer.py"), library, core],
            capture_output=True, text=True)
        told = (done.stdout.strip().splitlines() or ["- " + done.stderr])[-1]
        took, _, found = told.partition(" ")
        if not found.isdigit():
            peer_absent(what, found)
        else:
            peer_line(what, float(took), int(found), ours)
    what = "chap count used, no types"
    if not shutil.which("chap"):
        peer_absent(what, "chap is not installed")
        return
    begun = time.monotonic()
    done = subprocess.run(["chap", core], input="count used\n",
                          capture_output=True, text=True)
    took = time.monotonic() - begun
    found = re.search(r"(\d+) allocations use", done.stdout)
    if not found:
        peer_absent(what, done.stdout[-200:] + done.stderr[-200:])
    else:
        peer_line(what, took, int(found[1]), ours)


def processor_time():
    """Of all that this program has run so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bench_retained(args, python, process, core):
    """Retained sizes of all objects, by heapscan and by pyheap's analyzer."""
    print("retained sizes of all objects of the same process; of processor time "
          "where others use the machine")
    runs = []
    for _ in range(3):
        begun, used = time.monotonic(), processor_time()
        done = subprocess.run([HEAPSCAN, core, "retained", "--no-index", "-f",
                               "json", "--threads", CPUS], check=True,
                              capture_output=True, text=True)
        runs.append((time.monotonic() - begun, processor_time() - used))
    took, used = sorted(runs)[1]
    totals = json.loads(done.stdout)["totals"]
    objects = totals["count"] + totals["unreached"]
    ours, ours_used = objects / took, objects / used
    print("  %-32s %8.2f s %10d objects %9.4f M/s, %.2f s of processors" % (
        "heapscan DUMP retained", took, objects, ours / 1e6, used), flush=True)
    what = "pyheap retained-heap"
    if not args.pyheap:
        peer_absent(what, "--pyheap names no source tree of it (no index has it)")
        return
    heap = core + ".pyheap"
    process.stdin.write("pyheap %s %s\n" % (os.path.abspath(args.pyheap), heap))
    process.stdin.flush()
    dumped, found = process.stdout.readline().split(None, 1)
    if dumped == "-":
        peer_absent(what, found)
        return
    source = os.path.join(os.path.abspath(args.pyheap), "pyheap-ui", "src")
    begun, used = time.monotonic(), processor_time()
    done = subprocess.run(
        [python, "analyzer.py", "retained-heap", "-f", heap, "-n", "20"],
        cwd=source, capture_output=True, text=True)
    took, used = time.monotonic() - begun, processor_time() - used
    for left in glob.glob(glob.escape(heap) + "*"):
        os.remove(left)
    found = re.findall(r"/(\d+) \[[^]]*objects/s\]", done.stderr)
    if done.returncode or not found:
        peer_absent(what, done.stderr[-300:])
        return
    peer_line(what, took, int(found[0]), ours,
              ", %.0f times by processor time; its dump stopped the process for "
              "%.2f s" % (ours_used * used / int(found[0]), float(dumped)))


def bench_peers(args):
    python = with_packages()
    if not python:
        print("peers: none here; tests/python/fetch_packages.sh fetches them")
        return
    path = os.path.join(os.path.abspath(args.tmp), "bench.peers.core")
    process = subprocess.Popen(
        [python, os.path.join(HERE, "peer.py"),
         str(int(args.peer_millions * 1e6))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        ready = process.stdout.readline().split()
        assert ready[:1] == ["READY"], ready
        packed = dump_and_count(process.pid, path + ".zst")
        dumped, seconds, objects = dump_and_count(process.pid, path,
                                                  "--no-compress")
        ours = objects / seconds
        print("objects by type, of one live process, %s objects; what runs "
              "inside of it stops it" % f"{objects:,}")
        for what, took, found in (
                ("heapscan DUMP types", seconds, objects),
                ("heapdump --no-compress, heapscan", dumped + seconds, objects),
                ("heapscan DUMP.zst types", packed[1], packed[2]),
                ("heapdump, heapscan", packed[0] + packed[1], packed[2])):
            print("  %-32s %8.2f s %10d objects %9.2f M/s" % (
                what, took, found, found / took / 1e6))
        subprocess.run([HEAPDUMP, "--max-pause", "10m", "-q", "--no-compress",
                        "-o", path, str(process.pid)], check=True)
        warm(path)
        bench_inside(process, ours, objects / (dumped + seconds))
        bench_on_core(python, path, ours)
        bench_retained(args, python, process, path)
    finally:
        process.kill()
        process.wait()
        if os.path.exists(path):
            os.remove(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="1,10,30",
                        type=lambda text: [float(n) for n in text.split(",")])
    parser.add_argument("--dump-millions", type=float, default=12)
    parser.add_argument("--dump-rounds", type=int, default=5)
    parser.add_argument("--tensor-gib", type=float, default=4)
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--tmp", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--peer-millions", type=float, default=1)
    parser.add_argument("--pyheap", metavar="SOURCE")
    parser.add_argument("--pause-sizes", default="1,4,8",
                        type=lambda text: [float(n) for n in text.split(",")])
    parser.add_argument("--service-millions", type=float, default=10)
    parser.add_argument("--stacks-gib", type=float, default=8)
    parser.add_argument("--malloc-millions", type=float, default=5)
    parser.add_argument("--tensors", type=int, default=50000)
    parser.add_argument("--only", choices=("types", "analysis", "dump", "content", "peers",
                                           "pause", "service", "stacks", "malloc",
                                           "tensors"))
    args = parser.parse_args()
    for name, bench in (("types", bench_types),
                        ("analysis", analysis.bench_analysis),
                        ("dump", bench_dump),
                        ("content", bench_content), ("peers", bench_peers),
                        ("pause", pause.bench_pause),
                        ("service", pause.bench_service),
                        ("stacks", stacks.bench_stacks),
                        ("malloc", stacks.bench_malloc),
                        ("tensors", held.bench_tensors)):
        if args.only in (None, name):
            bench(args)


main()
