"""What the analysis of a whole heap takes: references both ways, roots, the
audit of counts, cycles, the collector replayed, dominators, suspects.

SPDX-License-Identifier: Apache-2.0

Used by bench.py.
"""
import json
import os
import shutil
import subprocess
import time

BUILD = os.environ.get("HEAPSCAN_BUILD", "build/plain")
HERE = os.path.dirname(os.path.abspath(__file__))
HEAPDUMP = os.path.join(BUILD, "heapdump")
HEAPSCAN = os.path.join(BUILD, "heapscan")
ROUNDS = 3
# All that is answered by what was kept.
SECOND = ["overview", "suspects", "types", "types --by module --retained",
          "types --by owner", "objects", "objects --sort refcount",
          "objects --sort referrers", "objects --type str --min-size 100",
          "object {}", "path {}", "path --type str", "retained",
          "retained --min-size 100", "retained --by type",
          "retained --by module", "retained --by thread", "retained --by root",
          "cycles", "cycles --by type", "gc", "refcounts"]


def dump_heap(python, millions, kind, path):
    """A plain dump of a heap that heap.py makes."""
    process = subprocess.Popen(
        [python, os.path.join(HERE, "heap.py"), str(int(millions * 1e6)), *kind],
        stdout=subprocess.PIPE, text=True)
    try:
        ready = process.stdout.readline().split()
        assert ready[:1] == ["READY"], ready
        subprocess.run([HEAPDUMP, "--max-pause", "10m", "-q", "--no-compress",
                        "-o", path, str(process.pid)], check=True)
    finally:
        process.kill()
        process.wait()


def analyse(path):
    """(median seconds, totals, peak bytes of anonymous memory)"""
    seconds, peaks = [], []
    for _ in range(ROUNDS):
        begun = time.monotonic()
        process = subprocess.Popen(
            [HEAPSCAN, path, "suspects", "-f", "json", "--no-index"],
            stdout=subprocess.PIPE)
        peak = 0
        while True:
            try:
                with open(f"/proc/{process.pid}/status") as status:
                    rows = dict(line.split(":", 1) for line in status)
                peak = max(peak, int(rows["RssAnon"].split()[0]) << 10)
            except (OSError, KeyError):
                pass
            if process.poll() is not None:
                break
            time.sleep(0.01)
        answer = json.loads(process.stdout.read())
        assert process.returncode in (0, 3), process.returncode
        seconds.append(time.monotonic() - begun)
        peaks.append(peak)
    return sorted(seconds)[ROUNDS // 2], answer["totals"], max(peaks)


def second_questions(path):
    """{question: median milliseconds} with results that were kept; and their
    size in bytes."""
    folder = path + ".kept"
    try:
        # The object that retains the most.
        first = subprocess.run(
            [HEAPSCAN, path, "retained", "-f", "csv", "--top", "1", "--index",
             folder], stdout=subprocess.PIPE, text=True, check=True)
        address = first.stdout.splitlines()[1].split(",")[0]
        size = sum(os.path.getsize(os.path.join(folder, name))
                   for name in os.listdir(folder))
        found = {}
        for question in SECOND:
            seconds = []
            for _ in range(ROUNDS * 2 + 1):
                begun = time.monotonic()
                subprocess.run([HEAPSCAN, path, *question.format(
                    address).split(), "--index", folder], check=True,
                    stdout=subprocess.DEVNULL)
                seconds.append(time.monotonic() - begun)
            found[question.replace(" {}", "")] = sorted(seconds)[ROUNDS] * 1e3
        return found, size
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bench_analysis(args):
    path = os.path.join(os.path.abspath(args.tmp), "bench.analysis.core")
    print("heapscan DUMP suspects: all of the analysis, median of %d" % ROUNDS)
    print("  heap      objects  references/object  seconds  objects/s  "
          "anonymous memory")
    per_object = {}
    for name, kind in (("records", ()), ("dense", ("dense",)),
                       ("points", ("points",)), ("chain", ("chain",))):
        for millions in args.sizes:
            if kind and millions > 10:
                continue
            dump_heap(args.python, millions, kind, path)
            with open(path, "rb", buffering=0) as file:
                while file.read(8 << 20):
                    pass
            seconds, totals, peak = analyse(path)
            objects = totals["objects"]
            print("  %-8s %9d  %17.1f  %7.2f  %7.2f M  %12.2f GiB" % (
                name, objects, totals["references"] / objects, seconds,
                objects / seconds / 1e6, peak / 2**30), flush=True)
            per_object.setdefault(name, []).append(seconds / objects)
            found, size = second_questions(path)
            print("    the next question, milliseconds; %.1f bytes kept for an "
                  "object:" % (size / objects))
            for question, milliseconds in found.items():
                print("      %6.0f  %s" % (milliseconds, question), flush=True)
            os.remove(path)
    for name, times in per_object.items():
        if len(times) > 1:
            print("  %s: time per object grows %.2f times from the smallest to "
                  "the largest, %.2f times from the one before the largest" % (
                      name, times[-1] / times[0], times[-1] / times[-2]))
