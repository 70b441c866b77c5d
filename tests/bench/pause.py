"""How long a dump stops its target, and what a service's clients see of it.

SPDX-License-Identifier: Apache-2.0

Used by bench.py. The target is tests/tools/workload: 64 threads that sleep most
of the time (two processors have no room for more), and one that looks at the
clock without a pause and keeps the longest gap. So what the target itself saw
stands beside what heapdump says, for gcore too, which says nothing.
"""
import contextlib
import http.client
import json
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("HEAPSCAN_BUILD", "build/plain")
HEAPDUMP = os.path.join(BUILD, "heapdump")
WORKLOAD = os.path.abspath(os.path.join(BUILD, "tests/tools/workload"))
GAP, READY = 2, 3


class WroteNothing(Exception):
    """A peer that says it is done, and there is no file."""


class Workload:
    """A running workload of that many MiB."""

    def __init__(self, tmp, megabytes, *words):
        self.path = os.path.join(tmp, "bench.workload")
        self.tmp = tmp
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path)
        self.process = subprocess.Popen(
            ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", WORKLOAD,
             self.path, "threads", "64", "idle", "megabytes", str(megabytes), "spin",
             *words], cwd=tmp, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        while not (os.path.exists(self.path) and os.path.getsize(self.path)
                   and self.number(READY)):
            time.sleep(0.1)
        time.sleep(0.5)

    def number(self, index):
        with open(self.path, "rb") as file:
            file.seek(8 * index)
            return struct.unpack("<Q", file.read(8))[0]

    def forget_gap(self):
        with open(self.path, "r+b") as file:
            file.seek(8 * GAP)
            file.write(bytes(8))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.wait()
        os.remove(self.path)


def by_heapdump(target, path):
    out = subprocess.run([HEAPDUMP, "--json", "--max-pause", "10m", "-o", path,
                          str(target.pid)], check=True, capture_output=True,
                         text=True).stdout
    report = json.loads(out)
    assert report["method"] == "snapshot" and report["complete"], report
    os.remove(path)
    return report["pause_ms"], report["window_ms"]


def by_gcore(target, path):
    subprocess.run(["gcore", "-o", path, str(target.pid)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.remove(f"{path}.{target.pid}")


def by_procdump(target, path):
    # Its exit status says nothing.
    subprocess.run(["procdump", "-n", "1", "-s", "1", "-o", path, "-p",
                    str(target.pid)], stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = [name for name in os.listdir(os.path.dirname(path))
             if name.startswith(os.path.basename(path))]
    if not found:
        raise WroteNothing("wrote nothing")
    for name in found:
        os.remove(os.path.join(os.path.dirname(path), name))


def by_twin(target, path):
    """SIGUSR2: the target forks, the child aborts, the kernel writes."""
    del path

    def cores():
        return [os.path.join(target.tmp, name) for name in
                os.listdir(target.tmp)
                if name == "core" or name.startswith("core.")]
    for core in cores():
        os.remove(core)
    os.kill(target.pid, signal.SIGUSR2)
    size, since = -1, time.monotonic()
    while time.monotonic() - since < 1:
        now = sum(os.path.getsize(core) for core in cores())
        if now != size or now == 0:
            size, since = now, time.monotonic()
        time.sleep(0.05)
    for core in cores():
        os.remove(core)


def rounds(target, way, path, count):
    """[(the target's longest gap in ms, what way returned, seconds)]"""
    rows = []
    for _ in range(count):
        target.forget_gap()
        begun = time.monotonic()
        told = way(target, path)
        rows.append((target.number(GAP) / 1e6, told,
                     time.monotonic() - begun))
        time.sleep(0.5)
    return rows


def quiet_gap(target, seconds=3):
    """What the target sees when nobody dumps it: the machine's noise."""
    target.forget_gap()
    time.sleep(seconds)
    return target.number(GAP) / 1e6


def print_rows(name, rows, beside=None):
    gaps = [gap for gap, _, _ in rows]
    median = statistics.median(gaps)
    text = "    %-18s gap %8.1f ms (worst %8.1f)" % (name, median, max(gaps))
    if isinstance(rows[0][1], tuple):
        told = [row[1][0] for row in rows]
        text += "  says %8.1f (worst %8.1f), window %.2f ms (worst %.2f)" % (
            statistics.median(told), max(told),
            statistics.median(row[1][1] for row in rows),
            max(row[1][1] for row in rows))
    if beside:
        text += "  %.0f times heapdump's" % (median / beside)
    print("%s  %.1f s" % (text, statistics.median(s for _, _, s in rows)),
          flush=True)
    return median


def bench_pause(args):
    path = os.path.join(os.path.abspath(args.tmp), "bench.pause")
    print("pause by a snapshot, 64 threads, median of %d; the target's own "
          "longest gap" % args.dump_rounds)
    for gigabytes in args.pause_sizes:
        for words in ((), ("huge",)):
            limit = 25 + (3 if words else 20) * gigabytes
            with Workload(os.path.abspath(args.tmp), int(gigabytes * 1024),
                          *words) as target:
                print("  %g GiB, %s pages (asked: %.0f ms); undisturbed gap "
                      "%.1f ms" % (gigabytes, "huge" if words else "4 KiB",
                                   limit, quiet_gap(target)))
                ours = print_rows("heapdump", rounds(
                    target, by_heapdump, path, args.dump_rounds))
                if words:
                    continue
                for name, program, way in (
                        ("gcore", "gcore", by_gcore),
                        ("procdump", "procdump", by_procdump),
                        ("the kernel, a twin", "sh", by_twin)):
                    if not shutil.which(program):
                        continue
                    try:
                        count = args.dump_rounds if way is by_gcore else 1
                        print_rows(name, rounds(target, way, path, count),
                                   ours)
                    except WroteNothing as error:
                        print("    %-18s %s" % (name, error))


# ---- a service

def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class Clients:
    """Threads that ask a service and keep how long each answer took."""

    def __init__(self, port, count=4, per_second=50):
        self.port, self.pause = port, 1 / per_second
        self.over, self.samples = False, []
        self.threads = [threading.Thread(target=self.ask, daemon=True)
                        for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        while not self.over:
            begun = time.monotonic()
            connection.request("GET", "/")
            connection.getresponse().read()
            self.samples.append((begun, time.monotonic() - begun))
            time.sleep(self.pause)

    def between(self, begin, end):
        return [took * 1e3 for begun, took in self.samples
                if begin <= begun < end]


def bench_service(args):
    process = subprocess.Popen(
        [sys.executable, os.path.join(HERE, "service.py"),
         str(int(args.service_millions * 1e6))], stdout=subprocess.PIPE,
        text=True)
    path = os.path.join(os.path.abspath(args.tmp), "bench.service")
    try:
        ready = process.stdout.readline().split()
        assert ready[:1] == ["READY"], ready
        clients = Clients(int(ready[1]))
        times = [time.monotonic()]
        time.sleep(5)
        times.append(time.monotonic())
        for _ in range(args.dump_rounds):
            subprocess.run([HEAPDUMP, "-q", "-o", path, str(process.pid)],
                           check=True)
        times.append(time.monotonic())
        time.sleep(5)
        times.append(time.monotonic())
        clients.over = True
    finally:
        process.kill()
        process.wait()
    os.remove(path)
    print("a service of Python's http.server, %g million objects, dumped %d "
          "times in %.1f s" % (args.service_millions, args.dump_rounds,
                               times[2] - times[1]))
    for name, begin, end in (("before", *times[0:2]), ("during", *times[1:3]),
                             ("after", *times[2:4])):
        took = clients.between(begin, end)
        print("  %-8s %5d answers  median %6.1f ms  p99 %6.1f ms  worst %6.1f"
              % (name, len(took), statistics.median(took),
                 percentile(took, 0.99), max(took)))
