# SPDX-License-Identifier: Apache-2.0
"""heapscan's command line: help, refusals, exit codes, formats, filters, and
where its answer goes. What the numbers are is tested elsewhere; here they must
agree with each other."""

import csv
import io
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import heaptest
from heaptest import equal, heapscan

SECRET = "hunter2-secret-argument"

TARGET = """
import os, sys
class Node:
    def __init__(self, i):
        self.i = i
class Other(Node):
    pass
nodes = [Node(i) for i in range(3000)]
others = [Other(i) for i in range(700)]
table = {"k%d" % i: b"v" * i for i in range(500)}
print("READY", os.getpid(), flush=True)
sys.stdin.read()
"""

VIEWS = ["overview", "suspects", "types", "objects", "object", "collections",
         "duplicates", "path", "retained", "cycles", "gc", "refcounts",
         "threads", "tracemalloc", "memory", "malloc", "shared", "tensors",
         "allocator", "torch-snapshot", "diff", "info"]
# Those that need no argument and answer about any process; the others have
# tests of their own.
PLAIN_VIEWS = [view for view in VIEWS
               if view not in ("object", "path", "threads", "tracemalloc",
                               "tensors", "allocator", "torch-snapshot",
                               "diff")]
LATER = """gpu
    trend query report explore export redact bundle""".split()
LATER_OPTIONS = ["--batch=d", "--gpu-core=f"]
OPTIONS = """format output color values fail-if dot top sort type match min-size
    by tracebacks locals native-only each segments blocks orphans history fits
    device-free arrays retained sysroot debuginfod memory threads tmp index
    no-index no-progress quiet verbose completion help version""".split()


def parsed(*args, **options):
    """The JSON of an answer that must be whole."""
    done = heapscan(*args, "-f", "json", **options)
    assert done.returncode == 0, "exit %d: %s" % (done.returncode, done.stderr)
    return json.loads(done.stdout)


def refused(name, args, *words, status=2):
    """Exit status and words of the sentence on standard error."""
    with heaptest.case(name):
        done = heapscan(*args, timeout=60)
        assert done.returncode == status, "expected exit %d, got %d: %s" % (
            status, done.returncode, done.stderr)
        assert done.stdout == "", "output: " + done.stdout[:200]
        assert done.stderr.startswith("heapscan: "), done.stderr
        for word in words:
            assert word in done.stderr, "no %r in %r" % (word, done.stderr)


def target(*args):
    """The running target."""
    script = heaptest.tmp("target.py")
    with open(script, "w") as file:
        file.write(TARGET)
    interpreter = heaptest.Interpreter("system", ["/usr/bin/python3"])
    return heaptest.start_target(interpreter, script, args)


def test_help():
    with heaptest.case("--help has a line for every option"):
        done = heapscan("--help")
        assert done.returncode == 0 and done.stderr == ""
        here, _, later = done.stdout.partition("\nKnown, but not in this")
        listed = re.findall(r"^  (?:-\w, )?--([a-z-]+)", here, re.M)
        assert sorted(listed) == sorted(OPTIONS), "listed: %r" % listed
        listed = re.findall(r"^  --([a-z-]+)", later, re.M)
        assert sorted(listed) == sorted(
            option[2:].partition("=")[0] for option in LATER_OPTIONS), listed
        for view in LATER:
            assert re.search(r"\b%s\b" % view, later), view
        for view in VIEWS:
            assert re.search("^  %s " % view, done.stdout, re.M), view
        wide = [line for line in done.stdout.splitlines() if len(line) > 79]
        assert not wide, "wider than 79: %r" % wide
    for view in VIEWS:
        with heaptest.case("help of " + view):
            done = heapscan(view, "--help")
            assert done.returncode == 0, done.stderr
            assert "Columns" in done.stdout
    with heaptest.case("--version"):
        done = heapscan("--version")
        assert re.fullmatch(r"heapscan \d+\.\d+\.\d+\n", done.stdout)
    with heaptest.case("completion of bash"):
        script = heapscan("--completion", "bash").stdout
        done = heaptest.run(["bash", "-c", script + """
            COMP_WORDS=(heapscan --forma); COMP_CWORD=1; _heapscan
            echo "${COMPREPLY[@]}"
            COMP_WORDS=(heapscan -f nd); COMP_CWORD=2; _heapscan
            echo "${COMPREPLY[@]}"
            COMP_WORDS=(heapscan typ); COMP_CWORD=1; _heapscan
            echo "${COMPREPLY[@]}" """])
        assert done.stdout.split() == ["--format", "ndjson", "types"], done
    for shell in "zsh", "fish":
        with heaptest.case("completion of " + shell):
            script = heapscan("--completion", shell).stdout
            for option in OPTIONS:
                assert re.search(r"\b%s\b" % option, script), option
    with heaptest.case("--help to a full disk"):
        with open("/dev/full", "w") as full:
            assert heapscan("--help", stdout=full).returncode == 1


def test_refusals(core):
    for view in LATER:
        refused("view of another version: " + view, [core, view], view,
                "not in this version", ", ".join(VIEWS))
    for option in LATER_OPTIONS:
        refused("option of another version: " + option, [core, option],
                "not in this version")
    refused("a planned view first", ["gpu", core], "not in this version")
    refused("two modes", [core, "allocator", "--blocks", "--segments"],
            "two kinds of rows")
    refused("no dump", [], "--help")
    refused("unknown option", [core, "--tpo", "3"], "did you mean --top")
    refused("unknown letter", [core, "-x"], "-x")
    refused("unknown view", [core, "tpyes"], "did you mean types")
    refused("unknown view first", ["objcts", core], "did you mean objects")
    refused("two dumps", [core, core], "one dump")
    refused("argument of a view", [core, "types", "x"], "no argument")
    refused("no address", [core, "object"], "needs ADDR")
    refused("two addresses", [core, "object", "0x10", "0x20"], "second")
    for word in "0x", "xyz", "0x12g", "12g", "-1", "0x11112222333344445":
        refused("no address: " + word, [core, "object", "--", word],
                "no address")
    refused("an order by values", [core, "objects", "--sort", "preview"],
            "--sort")
    refused("a condition on values", [core, "objects", "--fail-if",
                                      "preview==x"], "--fail-if")
    refused("no number", [core, "--top", "many"], "--top")
    refused("no size", [core, "types", "--min-size", "1X"], "--min-size")
    refused("no value", [core, "--top"], "--top needs N")
    refused("value of a flag", [core, "--quiet=1"], "takes no value")
    refused("no format", [core, "--format", "xml"], "ndjson")
    refused("no column", [core, "types", "--sort", "age"], "'age'", "footprint")
    refused("filter without meaning", [core, "info", "--match", "x"], "info")
    refused("bad pattern", [core, "types", "--match", "a(b"], "offset 3")
    refused("pattern with \\C", [core, "types", "--match", r"\C"], "offset")
    refused("bad condition", [core, "types", "--fail-if", "size"], "KEY OP")
    refused("no column of a condition", [core, "types", "--fail-if", "age>1"],
            "'age'", "footprint")
    refused("no size of a condition", [core, "types", "--fail-if", "size>x"],
            "size")
    refused("share of more than all", [core, "types", "--fail-if", "share>40"],
            "40%")
    refused("standard input", ["-"], "standard input")
    refused("an empty name", ["", "types"], "name of a dump is empty")
    refused("no shell", ["--completion", "tcsh"], "bash")
    with heaptest.case("a pattern that never ends"):
        began = time.monotonic()
        heapscan(core, "types", "--match", "(?:[a-zA-Z_.]+)+#", timeout=60)
        assert time.monotonic() - began < 30


def test_bad_input(core, folder):
    path = os.path.join(folder, "thing")
    refused("no such file", [os.path.join(folder, "none")],
            "No such file", status=1)
    refused("no such process", ["2147483646"], "2147483646", status=1)
    with open(path, "w") as file:
        file.write("root:x:0:0\n" * 100)
    refused("not an ELF file", [path], "ELF", status=1)
    refused("an ELF file, but no core", ["/bin/true"], "core", status=1)
    open(path, "w").close()
    refused("an empty file", [path], "empty", status=1)
    os.unlink(path)
    os.mkfifo(path)
    refused("a FIFO", [path], "pipe")
    os.unlink(path)
    refused("a directory", [folder], "directory")
    with heaptest.case("a file without permission"):
        if os.geteuid() != 0:
            raise heaptest.Skip("needs root to become another user")
        public = tempfile.mkdtemp()
        try:
            os.chmod(public, 0o755)
            shutil.copy(heaptest.program("heapscan"), public)
            shutil.copy(core, public)
            own = os.path.join(public, os.path.basename(core))
            os.chmod(own, 0o600)
            done = heaptest.run([os.path.join(public, "heapscan"), own],
                                user=65534, group=65534, extra_groups=[])
            assert done.returncode == 1, done
            assert "Permission denied" in done.stderr, done.stderr
        finally:
            shutil.rmtree(public)


def test_truncated(core, folder):
    """Without its last bytes: kernel cores have their notes first, so most of
    what matters is there."""
    path = os.path.join(folder, "cut.core")
    with target() as running:
        heaptest.kernel_core(running.pid, path, filter=0x33)
    os.truncate(path, os.path.getsize(path) - 8192)
    with heaptest.case("a truncated core is answered in part"):
        done = heapscan(path, "info", "-f", "json")
        assert done.returncode == 3, done
        answer = json.loads(done.stdout)
        assert answer["dump"]["complete"] is False
        assert answer["findings"], "no finding"
        assert answer["totals"]["missing_bytes"] > 0
        assert "partial" in done.stderr
    with heaptest.case("types of a truncated core"):
        done = heapscan(path, "types", "-f", "json")
        assert done.returncode == 3, done
        rows = {row["type"]: row for row in json.loads(done.stdout)["rows"]}
        assert rows["__main__.Node"]["count"] == 3000, rows.get("__main__.Node")
    with heaptest.case("-q says nothing of what is missing"):
        done = heapscan(path, "types", "-q")
        assert done.returncode == 3 and done.stderr == "", done


def test_formats(core):
    for view in PLAIN_VIEWS:
        with heaptest.case(view + " as JSON"):
            answer = parsed(core, view)
            assert answer["schema"] == "heapscan.%s/1" % view
            dump = answer["dump"]
            assert dump["path"] == core and dump["complete"] is True
            assert isinstance(dump["pid"], int) and dump["arch"], dump
            assert dump["findings"] == 0, dump
            assert dump["python"].startswith("3."), dump
            assert isinstance(answer["totals"], dict)
            # That none stands out is an answer.
            assert answer["rows"] or view == "suspects"
        with heaptest.case(view + " as NDJSON and CSV are the rows of JSON"):
            lines = heapscan(core, view, "-f", "ndjson").stdout.splitlines()
            assert [json.loads(line) for line in lines] == answer["rows"]
            text = heapscan(core, view, "-f", "csv").stdout
            rows = list(csv.DictReader(io.StringIO(text)))
            assert len(rows) == len(answer["rows"])
            for row, expected in zip(rows, answer["rows"]):
                for key, value in expected.items():
                    # A ' before what a sheet would take for a formula.
                    assert row[key].lstrip("'") == (
                        "%.10g" % value if isinstance(value, float) else
                        str(value).lower() if isinstance(value, bool) else
                        str(value)), (key, row[key], value)
                assert all(not row[key] for key in set(row) - set(expected))
        with heaptest.case(view + " as Markdown"):
            text = heapscan(core, view, "-f", "md").stdout
            tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
            assert tables or view == "suspects"
            for table in tables:
                widths = {len(re.findall(r"(?<!\\)\|", line))
                          for line in table.splitlines()}
                assert len(widths) == 1, table
    with heaptest.case("both orders of view and dump"):
        assert (heapscan("types", core, "--top=2").stdout ==
                heapscan("-n2", core, "types").stdout != "")
    with heaptest.case("threads do not change the answer"):
        assert (heapscan(core, "types", "--top", "0", "--threads", "1").stdout
                == heapscan(core, "types", "--top", "0", "--threads",
                            "5").stdout)


def test_types(core):
    every = parsed(core, "types", "--top", "0")
    rows, totals = every["rows"], every["totals"]
    names = [row["type"] for row in rows]
    equal("count of a class", rows[names.index("__main__.Node")]["count"], 3000)
    for key in "count", "size", "footprint":
        equal("%ss sum up to the total" % key, sum(row[key] for row in rows),
              totals[key])
    equal("types in the totals", totals["types"], len(rows))
    with heaptest.case("shares"):
        assert abs(sum(row["share"] for row in rows) - 1) < 1e-6
        assert abs(rows[-1]["cumulative"] - 1) < 1e-6
    first = parsed(core, "types", "--top", "3")
    equal("--top is the beginning", first["rows"], rows[:3])
    equal("--top leaves the totals", first["totals"], totals)
    equal("20 rows by default", len(parsed(core, "types")["rows"]), 20)
    with heaptest.case("the remainder row"):
        text = heapscan(core, "types", "--top", "3").stdout
        found = re.search(r"^  ([\d,]+) more types +([\d,]+) ", text, re.M)
        more, count = (int(n.replace(",", "")) for n in found.groups())
        assert more == len(rows) - 3, more
        assert count + sum(row["count"] for row in rows[:3]) == totals["count"]
        assert "more types" not in heapscan(core, "types", "-n0").stdout
    for key in "count", "size", "footprint":
        with heaptest.case("--sort " + key):
            values = [row[key] for row in parsed(core, "types", "--sort", key,
                                                 "-n0")["rows"]]
            assert values == sorted(values, reverse=True)
    for key in "type", "type_address":
        with heaptest.case("--sort " + key):
            values = [row[key] for row in parsed(core, "types", "--sort", key,
                                                 "-n0")["rows"]]
            if key == "type_address":
                values = [int(value, 16) for value in values]
            assert values == sorted(values)
    for pattern in r"^__main__\.", "dict", r"[A-Z]\w+$", r"^(?!.*\.)", "(?i)NODE":
        with heaptest.case("--match " + pattern):
            got = parsed(core, "types", "-n0", "--match", pattern)
            expected = [name for name in names if re.search(pattern, name)]
            assert [row["type"] for row in got["rows"]] == expected
            assert got["totals"]["heap_size"] == totals["size"]
    with heaptest.case("--type is exact"):
        got = parsed(core, "types", "--type", "__main__.Node")
        assert [row["type"] for row in got["rows"]] == ["__main__.Node"]
    with heaptest.case("--min-size"):
        got = parsed(core, "types", "-n0", "--min-size", "10K")["rows"]
        assert got == [row for row in rows if row["size"] >= 10240]
    with heaptest.case("a filter that nothing passes"):
        done = heapscan(core, "types", "--type", "NoSuchType", "-f", "json")
        assert done.returncode == 0 and json.loads(done.stdout)["rows"] == []
        assert "no type" in done.stderr
    for condition, status in (("size>1", 5), ("count>=%d" % totals["count"], 5),
                              ("count>%d" % totals["count"], 0),
                              ("types==%d" % len(rows), 5), ("size>1TiB", 0),
                              ("type=__main__.Node", 5), ("share>99%", 0),
                              ("type=NoSuchType", 0), ("share > 0.1", 5)):
        equal("--fail-if " + condition, heapscan(
            core, "types", "--fail-if", condition, "-n1").returncode, status)


def test_objects(core):
    counts = {row["type"]: row for row in
              parsed(core, "types", "--top", "0")["rows"]}
    with heaptest.case("objects of a type are as many as types says"):
        got = parsed(core, "objects", "--type", "__main__.Node", "-n0")
        assert len(got["rows"]) == 3000
        assert len({row["address"] for row in got["rows"]}) == 3000
        assert sum(row["size"] for row in got["rows"]) == \
            counts["__main__.Node"]["size"] == got["totals"]["size"]
    with heaptest.case("all objects, streamed in the order of addresses"):
        done = heapscan(core, "objects", "--top", "0", "-f", "ndjson")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        addresses = [int(row["address"], 16) for row in rows]
        assert addresses == sorted(set(addresses))
        assert len(rows) == sum(row["count"] for row in counts.values())
        assert sum(row["size"] for row in rows) == \
            sum(row["size"] for row in counts.values())
        assert {row["evidence"] for row in rows} <= {"certain", "probable",
                                                     "guessed"}
    with heaptest.case("the largest first"):
        got = parsed(core, "objects", "--top", "50")
        largest = sorted((row["size"] for row in rows), reverse=True)[:50]
        assert [row["size"] for row in got["rows"]] == largest
        assert got["totals"]["count"] == len(rows)
    with heaptest.case("an order of all"):
        got = parsed(core, "objects", "-n0", "--sort", "refcount",
                     "--match", "^__main__")["rows"]
        values = [row.get("refcount", -1) for row in got]
        assert len(got) == 3700 and values == sorted(values, reverse=True)
    with heaptest.case("an order of all that does not fit"):
        done = heapscan(core, "objects", "-n0", "--sort", "size", "--memory",
                        "64K")
        assert done.returncode == 1 and "--memory" in done.stderr, done
    with heaptest.case("--min-size of objects"):
        got = parsed(core, "objects", "-n0", "--min-size", "4K")["rows"]
        assert [row["address"] for row in got] == [
            row["address"] for row in rows if row["size"] >= 4096]
    with heaptest.case("the remainder row of objects"):
        text = heapscan(core, "objects", "--type", "__main__.Node", "-n",
                        "10").stdout
        assert "2,990 more objects" in text, text


def test_overview(core):
    text = heapscan(core).stdout
    lines = text.splitlines()
    with heaptest.case("the overview fits its screen"):
        assert len(lines) <= 60 and max(map(len, lines)) <= 120
    with heaptest.case("what opens the overview"):
        assert lines[0].startswith(os.path.basename(core)), lines[0]
        assert " pid " in lines[0]
        for word in "dumped", "runtime", "complete":
            assert any(line.startswith("  %s " % word) for line in lines[1:4])
    with heaptest.case("its commands can be pasted"):
        commands = re.findall(r"(?:^next: |^      )(heapscan .*)$", text, re.M)
        assert len(commands) == 2
        for command in commands:
            done = heaptest.run(["sh", "-c", command], env=dict(
                os.environ, PATH=heaptest.BUILD + ":" + os.environ["PATH"]))
            assert done.returncode == 0, command
    # As many as there is room for.
    rows = parsed(core)["rows"]
    assert len(rows) >= 15, rows
    equal("its rows are those of types", rows,
          parsed(core, "types", "--retained")["rows"][:len(rows)])


def test_secrets(folder):
    """Arguments are values: only --values shows them."""
    core = os.path.join(folder, "secret.core")
    with target(SECRET) as running:
        done = heaptest.heapdump(running.pid, "-o", core)
    if done.returncode:
        heaptest.skip("arguments", "heapdump: " + done.stderr)
        return
    for view in PLAIN_VIEWS:
        for form in "text", "json", "ndjson", "csv", "md":
            with heaptest.case("no argument in %s as %s" % (view, form)):
                done = heapscan(core, view, "-f", form, "--top", "0", "-v")
                assert done.returncode == 0, done.stderr
                assert SECRET not in done.stdout + done.stderr
    equal("--values shows the arguments", SECRET in
          parsed(core, "info", "--values")["dump"]["command"], True)


def test_output(core, folder):
    path = os.path.join(folder, "answer")
    with heaptest.case("-o FILE"):
        assert heapscan(core, "types", "-f", "json", "-o", path).stdout == ""
        with open(path) as file:
            assert json.load(file) == parsed(core, "types")
        assert os.listdir(folder).count("answer") == 1
    with heaptest.case("-o - is standard output"):
        assert heapscan(core, "types", "-o", "-").stdout == \
            heapscan(core, "types").stdout
    with heaptest.case("-o keeps what is no regular file"):
        assert heapscan(core, "types", "-o", "/dev/null").returncode == 0
        assert not os.path.isfile("/dev/null")
    with heaptest.case("-o does not replace what is read"):
        link = os.path.join(folder, "link")
        os.symlink(core, link)
        size = os.path.getsize(core)
        for argv in ((core, "types", "-o", core), (core, "-o", link),
                     ("diff", core, link, "-o", core),
                     (core, "shared", "-o", core)):
            done = heapscan(*argv)
            assert done.returncode == 2 and "is what is read" in done.stderr, \
                done
            assert os.path.getsize(core) == size
        os.unlink(link)
        assert not [name for name in os.listdir(os.path.dirname(core))
                    if name.startswith(os.path.basename(core) + ".")]
    with heaptest.case("no space for -o"):
        done = heapscan(core, "types", "-o", "/dev/full")
        assert done.returncode == 1 and "No space left" in done.stderr, done
    with heaptest.case("no space for standard output"):
        with open("/dev/full", "w") as full:
            done = heapscan(core, "objects", "-n0", stdout=full)
        assert done.returncode == 1 and "No space left" in done.stderr, done
    with heaptest.case("a file that may not grow leaves nothing"):
        other = os.path.join(folder, "limited")
        done = heapscan(core, "objects", "-n0", "-f", "csv", "-o", other,
                        preexec_fn=lambda: resource.setrlimit(
                            resource.RLIMIT_FSIZE, (65536, 65536)))
        assert done.returncode == 1 and "too large" in done.stderr, done
        assert not [name for name in os.listdir(folder) if "limited" in name]
    with heaptest.case("no folder for -o"):
        done = heapscan(core, "-o", os.path.join(folder, "none", "x"))
        assert done.returncode == 1 and "No such file" in done.stderr, done
    with heaptest.case("a reader that has seen enough"):
        process = subprocess.Popen(
            [heaptest.program("heapscan"), core, "objects", "-n0", "-f", "csv"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0
    with heaptest.case("interrupted"):
        process = subprocess.Popen(
            [heaptest.program("heapscan"), core, "objects", "-n0"],
            stdout=subprocess.PIPE)
        process.stdout.read(1)      # the pipe is full soon after
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    with heaptest.case("interrupted, a temporary file is removed"):
        for attempt in range(20):
            process = subprocess.Popen(
                [heaptest.program("heapscan"), core, "objects", "-n0",
                 "--sort", "type", "-o", os.path.join(folder, "stopped")])
            while (process.poll() is None and not
                   [n for n in os.listdir(folder) if n.startswith("stopped.")]):
                time.sleep(0.0005)
            process.send_signal(signal.SIGINT)
            if process.wait(timeout=60) == 130:
                break
        else:
            raise heaptest.Skip("it was always done before the signal")
        assert not [n for n in os.listdir(folder) if n.startswith("stopped.")]


def on_terminal(argv, env):
    """What a program writes to a terminal that it has for all its output."""
    master, slave = pty.openpty()
    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave,
                               env=env)
    os.close(slave)
    output = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:     # what Linux says when the other end is closed
            break
        if not data:
            break
        output += data
    os.close(master)
    process.wait()
    return output


def test_color(core):
    environment = {key: value for key, value in os.environ.items()
                   if key != "NO_COLOR"}
    environment["TERM"] = "xterm"
    argv = [heaptest.program("heapscan"), core, "types"]
    for name, args, env, expected in (
            ("on a terminal", [], {}, True),
            ("with NO_COLOR", [], {"NO_COLOR": "1"}, False),
            ("with an empty NO_COLOR", [], {"NO_COLOR": ""}, True),
            ("on a dumb terminal", [], {"TERM": "dumb"}, False),
            ("with --color never", ["--color", "never"], {}, False),
            ("with --color always", ["--color=always"], {"NO_COLOR": "1"},
             True)):
        output = on_terminal(argv + args, dict(environment, **env))
        equal("colours " + name, b"\033[1m" in output, expected)
    equal("no colours in a pipe", "\033" in heapscan(core).stdout, False)
    equal("colours in a pipe by --color always",
          "\033" in heapscan(core, "--color", "always").stdout, True)
    equal("nothing on standard error", heapscan(core).stderr, "")


def test_not_python(folder):
    core = os.path.join(folder, "sleep.core")
    process = subprocess.Popen(["sleep", "1000"])
    try:
        heaptest.plain_core(process.pid, core)
    finally:
        process.kill()
        process.wait()
    for view in "types", "objects":
        refused(view + " of a program that is no Python", [core, view],
                "no Python", status=1)
    refused("JSON of a program that is no Python", [core, "-f", "json"],
            "no Python", status=1)
    with heaptest.case("the overview of a program that is no Python"):
        done = heapscan(core)
        assert done.returncode == 1 and "no Python" in done.stderr
        assert "runtime   none" in done.stdout and "sleep" in done.stdout
    with heaptest.case("info of a program that is no Python"):
        answer = parsed(core, "info")
        rows = {(row["section"], row["key"]): row["value"]
                for row in answer["rows"]}
        assert "no Python" in rows["runtime", "none"]
        assert rows["process", "pid"] == process.pid
        assert "python" not in answer["dump"]
        assert any(module["path"].endswith("/sleep")
                   for module in answer["modules"])


def test_live():
    with heaptest.case("a running process"):
        with target() as running:
            done = heapscan(running.pid, "types", "-f", "json")
            if "may not" in done.stderr or "not permitted" in done.stderr:
                raise heaptest.Skip("processes may not be traced here")
            assert done.returncode == 0, done.stderr
            answer = json.loads(done.stdout)
            rows = {row["type"]: row for row in answer["rows"]}
            assert rows["__main__.Node"]["count"] == 3000
            assert answer["dump"]["pid"] == running.pid
            assert running.end() == 0, "the target did not go on"


def main():
    folder = tempfile.mkdtemp(dir=heaptest.tmp())
    test_help()
    core = os.path.join(folder, "target.core")
    with target() as running:
        heaptest.plain_core(running.pid, core)
    test_refusals(core)
    test_bad_input(core, folder)
    test_formats(core)
    test_types(core)
    test_objects(core)
    test_overview(core)
    test_output(core, folder)
    test_color(core)
    test_secrets(folder)
    test_not_python(folder)
    test_live()
    try:
        test_truncated(core, folder)
    except heaptest.Skip as reason:
        heaptest.skip("a truncated core", reason)
    heaptest.finish()


main()
