# SPDX-License-Identifier: Apache-2.0
"""--content stacks: every thread's stack, native and Python's, as on another
machine that has none of the files, and next to nothing of the heap."""
import contextlib
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import elfcore
import heaptest
import test_content

SCRIPT = os.path.join(HERE, "stacks_target.py")
MIB = 1 << 20
HEAP = 64 * MIB
REFUSED = "objects are not in it"
ENGLISH = dict(os.environ, LC_ALL="C.UTF-8", DEBUGINFOD_URLS="")


def dump(pid, content, *options):
    path = heaptest.tmp(content)
    done = heaptest.heapdump("--content", content, "--max-pause", "5m",
                             "--json", "-o", path, *options, pid)
    assert done.returncode == 0, "heapdump: exit %d: %s" % (done.returncode,
                                                            done.stderr)
    return path, json.loads(done.stdout)


def skipped(result, reason="content"):
    return sum(one["bytes"] for one in result["skipped"]
               if one["reason"] == reason)


def info(path):
    done = heaptest.heapscan(path, "info", "--sysroot", "none", "-f", "json",
                             "--no-progress")
    assert done.returncode == 0, done.stderr
    return {row["key"]: row["value"] for row in json.loads(done.stdout)["rows"]
            if "key" in row}


# ---- Python's stacks

def by_thread(lines):
    """{ident: [what is behind it]}, from "IDENT FUNCTION FIRST LINE FILE"."""
    found = {}
    for line in lines:
        ident, rest = line.split(" ", 1)
        found.setdefault(int(ident), []).append(rest)
    return found


def check_python(target, path):
    truth = by_thread(re.findall(r"^FRAME (.*)$", target.printed(), re.M))
    assert len(truth) == 7 and max(map(len, truth.values())) > 800
    done = heaptest.run([heaptest.program("tests/tools/stackdump"), path, ""],
                        env=ENGLISH)
    assert done.returncode == 0, done.stderr
    found = by_thread(done.stdout.splitlines())
    assert found.keys() == truth.keys(), (found.keys(), truth.keys())
    for ident, frames in truth.items():
        assert found[ident] == frames, "%d: %.500r and %.500r" % (
            ident, found[ident], frames)


def check_runtime(interpreter, path):
    told = info(path)
    assert told["version"].startswith("%d.%d" % interpreter.version[:2]), told
    assert told["interpreters"] == 1 and told["python_threads"] == 7, told
    assert told["content"] == "stacks" and told["complete"], told


def check_size(target, path, result):
    address, size = map(int, re.search(r"^HEAP (\d+) (\d+)$", target.printed(),
                                       re.M).groups())
    assert result["bytes"] < HEAP / 4 and skipped(result) > HEAP * 0.9, result
    with elfcore.ElfCore(heaptest.expand(path, heaptest.tmp("core"))) as core:
        there = sum(not test_content.is_missing(
            core, address + i * size // 64) for i in range(1, 64))
    assert there <= 1, "%d of 63 samples of the heap are there" % there


def check_views(path):
    """What needs the heap says that it is not there, and finds no damage."""
    for view in (["types"], ["objects"], ["collections"], ["duplicates"],
                 ["object", "0x1000"], ["malloc"],
                 ["--top", "5", "-f", "json"]):
        done = heaptest.heapscan(path, *view, "--no-progress")
        assert done.returncode == 1 and REFUSED in done.stderr, (view, done)
        assert "partial" not in done.stderr, (view, done.stderr)
    done = heaptest.heapscan(path, "--no-progress")
    assert done.returncode == 1 and REFUSED in done.stdout, done
    # Whose the heap's mappings are is not guessed by a word in some module.
    assert "mapped by modules" not in done.stdout, done.stdout
    assert re.search("reclaimable: not known", done.stdout), done.stdout
    done = heaptest.heapscan(path, "info", "--no-progress", "-v",
                             "--sysroot", "none")
    assert done.returncode == 0 and "no findings" in done.stdout, done


def test_python(interpreter):
    name = "%s: " % interpreter
    with heaptest.start_target(interpreter, SCRIPT, [HEAP]) as target:
        for method in "snapshot", "stop":
            path, result = dump(target.pid, "stacks", "--method", method)
            with heaptest.case(name + "each thread's Python stack, " + method):
                check_python(target, path)
        with heaptest.case(name + "the runtime"):
            check_runtime(interpreter, path)
        with heaptest.case(name + "next to nothing of the heap"):
            assert "native_only" not in result, result
            check_size(target, path, result)
        with heaptest.case(name + "views"):
            check_views(path)


# ---- what debuggers show

def names(lines):
    """Without arguments, whose values may lie on the heap."""
    return [re.sub(r"\(.*", "", line) if "#" in line else line
            for line in lines]


def gdb_stacks(core, program):
    done = heaptest.run([
        heaptest.tool("gdb", "gdb"), "-nx", "-batch",
        "-ex", "set pagination off", "-ex", "set debuginfod enabled off",
        "-ex", "info sharedlibrary", "-ex", "thread apply all bt", program,
        core], env=ENGLISH)
    return names(re.findall(r"^0x.*\.so.*|^Thread .*|^#\d+ .*", done.stdout,
                            re.M))


def eu_stacks(core, _):
    done = heaptest.run([heaptest.tool("eu-stack", "elfutils"), "--core",
                         core], env=ENGLISH)
    return names(re.findall(r"^TID .*|^#\d+ .*", done.stdout, re.M))


def lldb_stacks(core, program):
    done = heaptest.run([heaptest.tool("lldb", "lldb"), "-b", "-x", "-o",
                         "bt all", "--core", core, program], env=ENGLISH)
    return names(re.findall(r"^[* ] thread #.*|^ +\*? *frame #.*", done.stdout,
                            re.M))


def test_debuggers(target, program, count):
    """The same as on a dump of the whole heap."""
    cores = [heaptest.expand(dump(target.pid, content)[0],
                             heaptest.tmp(content + ".core"))
             for content in ("stacks", "heap")]
    for show in gdb_stacks, eu_stacks, lldb_stacks:
        with heaptest.case("%s of %s" % (show.__name__,
                                         os.path.basename(program))):
            stacks, heap = [show(core, program) for core in cores]
            assert stacks == heap, "%.2000r and %.2000r" % (stacks, heap)
            text = "\n".join(stacks)
            assert len(re.findall(r"^(Thread|TID|[* ] thread) ", text,
                                  re.M)) == count, text[:2000]
            assert re.search(r"\b_start|\bmain\b", text) and "clone" in text


# ---- and others

def test_include(target):
    address, size = map(int, re.search(r"^HEAP (\d+) (\d+)$", target.printed(),
                                       re.M).groups())
    start = address + size // 2 & -4096
    path, _ = dump(target.pid, "stacks", "--include",
                   "%#x-%#x" % (start, start + MIB))
    with elfcore.ElfCore(heaptest.expand(path, heaptest.tmp("core"))) as core:
        assert core.read(start, MIB) == b"\xA5" * MIB
        assert test_content.is_missing(core, start + 4 * MIB)


def test_dry_run(target):
    told = {}
    for content in "stacks", "heap":
        done = heaptest.heapdump("--dry-run", "--json", "--content", content,
                                 "--max-pause", "5m", target.pid)
        assert done.returncode == 0, done.stderr
        told[content] = json.loads(done.stdout)["memory_bytes"]
    assert 0 < told["stacks"] < HEAP / 2, told


@contextlib.contextmanager
def native():
    with test_content.native_target() as target:
        yield target, os.path.join(heaptest.BUILD, "tests", "tools",
                                   "nativetarget")


def test_native():
    with native() as (target, program):
        path, result = dump(target.pid, "stacks")
        with heaptest.case("without Python: that is said"):
            assert "no runtime" in result["native_only"], result
            done = heaptest.heapdump("-v", "--content", "stacks", "-o",
                                     heaptest.tmp("told"), target.pid)
            assert result["native_only"] in done.stderr + done.stdout, done
            assert "version" not in info(path)
        with heaptest.case("without Python: what is left out"):
            pieces = re.findall(r"^PAYLOAD \S+ (\d+) (\d+)$",
                                target.printed(), re.M)
            assert skipped(result) >= sum(int(size) for _, size in pieces)
        test_debuggers(target, program,
                       len(os.listdir("/proc/%d/task" % target.pid)))


if __name__ == "__main__":
    found = test_content.of_each_release(heaptest.interpreters())
    for interpreter in found:
        with heaptest.case(str(interpreter)):
            test_python(interpreter)
    with heaptest.case("a program without Python"):
        test_native()
    for interpreter in found[:1]:
        with heaptest.start_target(interpreter, SCRIPT, [HEAP]) as target:
            with heaptest.case("--include adds a range"):
                test_include(target)
            with heaptest.case("--dry-run tells the size"):
                test_dry_run(target)
            test_debuggers(target, os.path.realpath(
                "/proc/%d/exe" % target.pid), 7)
    heaptest.finish()
