# SPDX-License-Identifier: Apache-2.0
"""heapscan threads: Python's frames against faulthandler's of the same process,
native frames and registers against gdb's of the same core, and both in one
order; of processes that wait, and of those that a signal has ended."""

import http.server
import json
import os
import re
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import elfcore
import heaptest

TARGET = os.path.join(HERE, "threads_target.py")
ENGLISH = dict(os.environ, LC_ALL="C.UTF-8", DEBUGINFOD_URLS="")
EVAL = "_PyEval_EvalFrameDefault"
NOTHING = "0x18"
# The innermost first: what end_here() is reached by.
CALLS = ["end_here", "descend", "descend", "descend", "descend", "__lt__",
         "generate", "called", "from_c", "main", "<module>"]


def answer(core, *options):
    done = heaptest.heapscan(core, "threads", "--top", "0", "-f", "json",
                             "--no-progress", *options)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def gdb_threads(core, program):
    """{tid: ([pc], {register: value})}, in gdb's order."""
    done = heaptest.run([
        heaptest.tool("gdb", "gdb"), "-nx", "-batch",
        "-iex", "set debuginfod enabled off",
        "-x", os.path.join(HERE, "..", "lib", "gdb_stacks.py"), program, core],
        env=ENGLISH)
    found = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if line.startswith("THREAD "):
            frames, registers = found.setdefault(int(words[1]), ([], {}))
        elif line.startswith("FRAME "):
            frames.append(int(words[1]))
        elif line.startswith("REGISTER "):
            registers[words[1]] = int(words[2])
    assert found, done.stdout + done.stderr
    return found


def check_native(rows, truth):
    assert {row["tid"] for row in rows} == truth.keys()
    for row in rows:
        ours = [int(frame["pc"], 16) for frame in row["native"]]
        # Where gdb knows no better it goes on with what is on the stack.
        frames = truth[row["tid"]][0][:len(ours)]
        assert ours == frames, "%d: %s, gdb: %s" % (
            row["tid"], [(hex(pc), frame.get("function")) for pc, frame in
                         zip(ours, row["native"])], list(map(hex, frames)))
        assert "incomplete" not in row, row["incomplete"]
        last = row["native"][-1]["function"]
        assert re.search("^_start$|clone", last), last


def check_merged(row):
    """Python's frames are where the evaluation loop is, and in order."""
    merged = row["merged"]
    for kind in "python", "native":
        assert [one for one in merged if one["kind"] == kind] == row[kind]
    loops = [i for i, one in enumerate(merged)
             if one["kind"] == "native" and merged[i - 1]["kind"] == "python"]
    assert loops, merged
    # Compilers tear the loop to pieces, not all of which have its name.
    assert {merged[at].get("function", EVAL) for at in loops} == {EVAL}, [
        merged[at] for at in loops]
    assert merged[loops[-1] + 1]["kind"] == "native"


def check_calls(row):
    assert [one["function"] for one in row["python"]] == CALLS, row["python"]
    # sorted() and the foreign function call are C between Python and Python.
    order = [one["function"] for one in row["merged"] if "function" in one
             and (one["kind"] == "python" or "ffi_call" in one["function"])]
    assert order.index("called") < order.index("ffi_call") \
        < order.index("from_c"), order


def faults(text):
    """{get_ident(), 0 for who does not say: [(file, line, function)]}, as
    faulthandler has printed it."""
    found = {}
    for line in text.splitlines():
        thread = re.match(r"(?:Current t|T)hread 0x([0-9a-f]+)|Stack \(most",
                          line)
        frame = re.match(r'  File "(.*)", line (\d+) in (.*)', line)
        if thread:
            frames = found.setdefault(int(thread[1] or "0", 16), [])
        elif frame and found:
            frames.append((frame[1], int(frame[2]), frame[3]))
    return found


def check_faulthandler(rows, printed):
    truth = faults(printed)
    # Free-threaded builds show the thread alone that has ended the process.
    if 0 in truth:
        truth[rows[0]["ident"]] = truth.pop(0)
    else:
        assert len(truth) == 4, printed
    assert len(rows) == 4
    for row in rows[:len(truth)]:
        ours = [(one["file"], one["line"], one["function"])
                for one in row["python"]]
        assert ours == truth[row["ident"]], (ours, truth[row["ident"]])


def waiting(interpreter):
    core = heaptest.tmp("core")
    with heaptest.start_target(interpreter, TARGET, ["wait"]) as target:
        program = os.path.realpath("/proc/%d/exe" % target.pid)
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "1m",
                                 "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
    whole = answer(core)
    rows = whole["rows"]
    with heaptest.case("%s: calls of C and Python, both ways" % interpreter):
        check_calls(rows[0])
        for row in rows:
            check_merged(row)
    with heaptest.case("%s: names, states and the lock" % interpreter):
        assert [row["name"] for row in rows] == ["MainThread"] + 3 * ["waiter"]
        assert {row["state"] for row in rows} == {"sleeping"}, rows
        assert "gil_holder" not in whole["totals"], whole["totals"]
    with heaptest.case("%s: without any file of the target" % interpreter):
        bare = answer(core, "--sysroot", "none")["rows"]
        for row, other in zip(rows, bare):
            assert row["python"] == other["python"]
            assert [one["pc"] for one in row["native"]] == [
                one["pc"] for one in other["native"]]
            check_merged(other)
    with heaptest.case("%s: exceptions, variables, values" % interpreter):
        check_values(core, rows[0])
    if not interpreter.root:
        with heaptest.case("%s: native frames are gdb's" % interpreter):
            check_native(rows, gdb_threads(core, program))
    with heaptest.case("%s: damaged stacks" % interpreter):
        check_damaged(core, rows)
    os.unlink(core)


def check_values(core, row):
    chain = [(one["how"], one["type"]) for one in row["exceptions"]]
    assert chain == [("handled", "ValueError"), ("cause", "KeyError")], chain
    assert all(one["function"] == "called" for one in row["exceptions"])
    lines = [one["line"] for one in row["exceptions"]]
    with open(TARGET) as source:
        text = source.read().splitlines()
    assert "ValueError" in text[lines[0] - 1] and "KeyError" in text[
        lines[1] - 1], lines
    done = heaptest.heapscan(core, "threads", "--locals")
    assert "secret: str\n" in done.stdout and "number: int\n" in done.stdout
    assert "a value of" not in done.stdout and "secret key" not in done.stdout
    done = heaptest.heapscan(core, "threads", "--locals", "--values")
    assert "secret: str = 'a value of the program'" in done.stdout, done.stdout
    assert "ValueError('a secret value')" in done.stdout, done.stdout
    locals_ = {one["name"]: one for one in answer(core, "--locals",
                                                  "--values")["rows"][0]["locals"]
               if one["frame"] == 0}
    assert locals_["number"]["preview"] == "7" and locals_["way"]["type"] == "str"
    # What a function inside uses too is in a cell, but named as it is.
    ways = [one for one in answer(core, "--locals")["rows"][0]["locals"]
            if one["name"] == "way"]
    assert {one["type"] for one in ways} == {"str"}, ways


def check_damaged(core, rows):
    """Of a stack that is overwritten there is less, or nonsense, and an end."""
    with elfcore.ElfCore(core) as image:
        registers = {one["name"]: int(one["value"], 16)
                     for one in answer(core, "-v")["rows"][0]["registers"]}
        segment = image.segment_at(registers["rsp"])
        at = segment.offset + registers["rsp"] - segment.vaddr
        size = min(segment.offset + segment.filesz - at, 1 << 16)
    spoilt = heaptest.tmp("spoilt")
    with open(core, "rb") as file:
        data = bytearray(file.read())
    for pattern in (b"\0" * 8, registers["rsp"].to_bytes(8, "little"),
                    int(rows[0]["native"][3]["pc"], 16).to_bytes(8, "little"),
                    b"\xff" * 8):
        changed = bytearray(data)
        changed[at:at + size] = pattern * (size // 8) + b"\0" * (size % 8)
        with open(spoilt, "wb") as file:
            file.write(changed)
        row = answer(spoilt)["rows"][0]
        assert row["tid"] == rows[0]["tid"] and "incomplete" in row, row
        # Python's own frames are elsewhere.
        assert [one["function"] for one in row["python"]] == CALLS \
            or len(row["python"]) < len(CALLS)
    os.unlink(spoilt)


def crashed(interpreter, way, signal):
    core = heaptest.tmp("core." + way)
    with heaptest.start_target(interpreter, TARGET, [way]) as target:
        program = os.path.realpath("/proc/%d/exe" % target.pid)

        def end():
            target.process.stdin.write(b"x")
            target.process.stdin.flush()

        heaptest.kernel_core(target.pid, core, end=end)
        printed = target.printed()
    whole = answer(core, "--sysroot", interpreter.root or "/")
    rows, totals = whole["rows"], whole["totals"]
    assert totals["signal"] == rows[0]["signal"] == signal
    check_faulthandler(rows, printed)
    check_merged(rows[0])
    # A foreign function is called without the lock.
    assert rows[0]["gil"] == ("none" if interpreter.free_threaded or
                              way == "null" else "held"), rows[0]["gil"]
    if way == "segfault":
        assert totals["fault_address"] == NOTHING
        assert totals["fault"] == "not mapped"
    if way == "null":
        assert "0x10" in [one["pc"] for one in rows[0]["native"]]
        assert any("ffi_call" in one.get("function", "")
                   for one in rows[0]["native"])
        # gdb does not find the way back from there.
        rows = rows[1:]
    if not interpreter.root:
        truth = gdb_threads(core, program)
        if way == "null":
            del truth[whole["rows"][0]["tid"]]
        check_native(rows, truth)
        for one in whole["rows"][0]["registers"] if way != "null" else ():
            registers = truth[rows[0]["tid"]][1]
            if one["name"] in registers:
                assert int(one["value"], 16) == registers[one["name"]], one
    text = heaptest.heapscan(core, "threads", "--sysroot",
                             interpreter.root or "/").stdout
    assert "ended by " + signal in text and "end_here" in text, text


def by_network():
    """Lines of a program whose debug file a server on this machine has: asked
    for with --debuginfod, and not without it, whatever the environment says."""
    sys.path.insert(0, os.path.join(HERE, "..", "dumper"))
    import test_content
    program = heaptest.program("tests/tools/nativetarget")
    stripped, debug = heaptest.tmp("stripped"), heaptest.tmp("debug")
    objcopy = heaptest.tool("objcopy", "binutils")
    for argv in ([objcopy, "--only-keep-debug", program, debug],
                 [objcopy, "--strip-all", program, stripped]):
        done = heaptest.run(argv)
        assert done.returncode == 0, done.stderr
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path == wanted else 404)
            self.end_headers()
            if self.path == wanted:
                with open(debug, "rb") as file:
                    self.wfile.write(file.read())

        def log_message(self, *args):
            pass

    core = heaptest.tmp("stripped.core")
    with test_content.native_target(stripped) as target:
        done = heaptest.heapdump("-q", "--no-compress", "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
    done = heaptest.run([heaptest.tool("readelf", "binutils"), "-n", program])
    wanted = "/buildid/%s/debuginfo" % re.search("Build ID: ([0-9a-f]+)",
                                                 done.stdout)[1]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = dict(os.environ, DEBUGINFOD_CACHE_PATH=heaptest.tmp("cache"),
                   DEBUGINFOD_URLS="http://127.0.0.1:%d/" %
                   server.server_address[1])
        for options in [], ["--debuginfod"]:
            done = heaptest.heapscan(core, "threads", "-f", "json", *options,
                                     env=env)
            assert done.returncode == 0, done.stderr
            lines = [one.get("file", "") for row in
                     json.loads(done.stdout)["rows"] for one in row["native"]
                     if one.get("module", "").endswith("/stripped")]
            assert lines, done.stdout
            assert any("nativetarget.c" in line for line in lines) == bool(
                options), (options, lines, asked)
            assert (wanted in asked) == bool(options), asked
        server.shutdown()


def native_only():
    """A program that is not Python's."""
    sys.path.insert(0, os.path.join(HERE, "..", "dumper"))
    import test_content
    core = heaptest.tmp("native")
    with test_content.native_target() as target:
        done = heaptest.heapdump("-q", "--no-compress", "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
    truth = gdb_threads(core, heaptest.program("tests/tools/nativetarget"))
    for options in ["--native-only"], []:
        whole = answer(core, *options)
        check_native(whole["rows"], truth)
        assert "python_threads" not in whole["totals"]
        assert not any(row["python"] for row in whole["rows"])


def main():
    for interpreter in heaptest.interpreters(few=True):
        if interpreter.name.endswith("-loader"):
            continue
        with heaptest.case("%s: a process that waits" % interpreter):
            waiting(interpreter)
        for way, signal in (("segfault", "SIGSEGV"), ("null", "SIGSEGV"),
                            ("abort", "SIGABRT")):
            with heaptest.case("%s: ended by %s" % (interpreter, way)):
                crashed(interpreter, way, signal)
    with heaptest.case("debug files from the network"):
        by_network()
    with heaptest.case("a program that is not Python's"):
        native_only()
    heaptest.finish()


if __name__ == "__main__":
    main()
