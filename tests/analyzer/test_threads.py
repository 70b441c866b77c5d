# SPDX-License-Identifier: Apache-2.0
"""heapscan threads: Python's frames against faulthandler's of the same process,
native frames, those that were inlined, lines and registers against gdb's of the
same core, and both in one order; of processes that wait, and of those that a
signal has ended."""

import collections
import http.server
import itertools
import json
import os
import re
import shutil
import signal
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import elfcore
import heaptest

TARGET = os.path.join(HERE, "threads_target.py")
NATIVE = os.path.join(HERE, "threads_native.cc")
ENGLISH = dict(os.environ, LC_ALL="C.UTF-8", DEBUGINFOD_URLS="")
EVAL = "_PyEval_EvalFrameDefault"
DEEP = 3000     # of threads_target.py
MOST = 100      # frames that faulthandler prints of one thread
OF_LIBRARY = ("extension", "bad_alloc", "held")
GREENLETS = r"^3\.(8|12)\."
CLOSELY = r"^3\.(8|12|15)\."   # what has to do with C code, in CI
NOTHING = "0x18"
# The innermost first: what end_here() is reached by.
CALLS = ["end_here", "descend", "descend", "descend", "descend", "__lt__",
         "generate", "called", "from_c", "main", "<module>"]


def answer(core, *options):
    done = heaptest.heapscan(core, "threads", "--top", "0", "-f", "json",
                             "--no-progress", *options)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def library():
    """threads_native.cc, built once, with debug information; None: no compiler."""
    path = heaptest.tmp("native.so")
    if not os.path.exists(path):
        done = heaptest.run([
            heaptest.tool("g++", "g++"), "-O2", "-g", "-shared", "-fPIC",
            "-static-libstdc++", "-static-libgcc", NATIVE, "-o", path])
        assert done.returncode == 0, done.stderr
    return path


def start(interpreter, way, with_library):
    """The target, with the library if that can be built."""
    arguments, beside = [way], []
    if with_library:
        beside = [library()]
        arguments += [os.path.basename(beside[0]) if interpreter.root
                      else beside[0]]
    return heaptest.start_target(interpreter, TARGET, arguments, beside=beside)


Frame = collections.namedtuple("Frame", "inlined pc line function")


def gdb_threads(core, program, gdb="gdb", package="gdb", *options):
    """{tid: ([Frame], {register: value})}, in gdb's order."""
    done = heaptest.run([
        heaptest.tool(gdb, package), "-nx", "-batch",
        "-iex", "set debuginfod enabled off", "-iex", "set auto-load off",
        *options, "-x", os.path.join(HERE, "..", "lib", "gdb_stacks.py"),
        program, core], env=ENGLISH)
    found = {}
    for line in done.stdout.splitlines():
        words = line.split(" ", 3)
        if line.startswith("THREAD "):
            frames, registers = found.setdefault(int(words[1]), ([], {}))
        elif line.startswith(("FRAME ", "INLINED ")):
            frames.append(Frame(words[0] == "INLINED", int(words[1]),
                                int(words[2]), words[3]))
        elif line.startswith("REGISTER "):
            registers[words[1]] = int(words[2])
    assert found, done.stdout + done.stderr
    return found


def check_native(rows, truth):
    assert {row["tid"] for row in rows} == truth.keys()
    for row in rows:
        ours = [(int(one["pc"], 16), one.get("inlined", False))
                for one in row["native"]]
        # Where gdb knows no better it goes on with what is on the stack.
        frames = truth[row["tid"]][0][:len(ours)]
        assert ours == [(one.pc, one.inlined) for one in frames], (
            row["tid"], [(one["pc"], one.get("function")) for one in
                         row["native"]], frames)
        for one, frame in zip(row["native"], frames):
            # Of C++ one tells names as they are written, the other does not.
            assert not frame.inlined or re.search(
                r"\b%s\b|\d%s" % (re.escape(one["function"]), re.escape(
                    frame.function.split("::")[-1].split("(")[0])),
                frame.function + " " + one["function"]), (one, frame)
        assert "incomplete" not in row, row["incomplete"]
        last = row["native"][-1]["function"]
        assert re.search("^_start$|clone", last), last
        assert row["native_frames"] == sum(not inlined for _, inlined in ours)


def check_lines(core, rows, truth):
    """Lines are gdb's or, where it thinks better of what stands there, those of
    addr2line."""
    starts = {}
    for module in json.loads(heaptest.heapscan(
            core, "info", "--top", "0", "-f", "json").stdout)["modules"]:
        if os.path.exists(module["path"]):
            with open(module["path"], "rb") as file:
                fixed = file.read(17)[16] == 2
            starts[module["path"]] = 0 if fixed else int(module["start"], 16)
    doubtful = collections.defaultdict(dict)
    told = 0
    for row in rows:
        frames = truth[row["tid"]][0]
        for one, frame in zip(row["native"], frames):
            told += "line" in one
            if one.get("line", 0) != frame.line:
                doubtful[one["module"]].setdefault(
                    int(one["pc"], 16) - 1 - starts[one["module"]],
                    set()).add(one.get("line", 0))
    assert told or not any(one.line for one in frames), frames
    for module, places in doubtful.items():
        done = heaptest.run([heaptest.tool("addr2line", "binutils"), "-a", "-i",
                             "-e", module, *map(hex, places)])
        blocks = re.split("^0x0*([0-9a-f]+)$", done.stdout, flags=re.M)[1:]
        for place, lines in zip(blocks[::2], blocks[1::2]):
            known = set(map(int, re.findall(r":(\d+)", lines)))
            assert places[int(place, 16)] <= known | {0}, (
                module, place, places[int(place, 16)], lines)


def check_merged(row):
    """Python's frames are where the evaluation loop is, and in order."""
    merged = row["merged"]
    assert [one for one in merged if one["kind"] == "python"] == row["python"]
    for inlined in False, True:
        # Those of the loop come before the Python frames that it runs.
        assert [one for one in merged if one["kind"] == "native"
                and one.get("inlined", False) == inlined] == [
            one for one in row["native"]
            if one.get("inlined", False) == inlined]
    loops = [i for i, one in enumerate(merged)
             if one["kind"] == "native" and merged[i - 1]["kind"] == "python"]
    assert loops, merged
    # Compilers tear the loop to pieces, not all of which have its name.
    assert {merged[at].get("function", EVAL) for at in loops} == {EVAL}, [
        merged[at] for at in loops]
    assert merged[loops[-1] + 1]["kind"] == "native"


def check_order(row, *functions):
    """The innermost functions of either kind of these names."""
    order = [re.sub(r"^_ZL?N?\w*?\d+([a-z_]+)E\w*$", r"\1", one["function"])
             for one in row["merged"] if "function" in one]
    # The library's functions call themselves by other names.
    found = [one for one, _ in itertools.groupby(
        one for one in order if one in functions)]
    assert found[:len(functions)] == list(functions), (functions, order)


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


def check_faulthandler(rows, printed, threads):
    truth = faults(printed)
    # Free-threaded builds show the thread alone that has ended the process.
    if 0 in truth:
        truth[rows[0]["ident"]] = truth.pop(0)
    else:
        assert len(truth) == threads, printed
    assert len(rows) == threads
    for row in rows:
        if row["ident"] not in truth:
            continue
        frames = truth[row["ident"]]
        # It shows that many, and then three dots.
        ours = [(one["file"], one["line"], one["function"])
                for one in row["python"]][:MOST if len(frames) == MOST else None]
        assert ours == frames, (ours, frames)


def check_kinds(rows, with_library):
    """Threads of many kinds, by what is known of each."""
    kinds = {row["name"]: row for row in rows}
    depth = kinds["deeper"]["python"]
    assert [one["function"] for one in depth[:-3]] == ["deep"] * (DEEP + 1)
    assert kinds["deeper"]["python_frames"] == len(depth) == DEEP + 4
    check_order(kinds["sorter"], "compare", "ffi_call", "sort")
    check_order(kinds["run_coroutineer"], "leaf", "branch", "trunk",
                "run_coroutine")
    check_order(kinds["run_generatorer"], "delegated", "delegates",
                "run_generator")
    check_order(kinds["read_nothinger"], "read", "read_nothing")
    check_order(kinds["sleeper"], "sleep")
    if with_library:
        row = kinds["in_libraryer"]
        check_order(row, "read", "wait_here", "ffi_call", "in_library")
    for name in kinds.keys() - {"MainThread", "waiter"}:
        assert kinds[name]["python"][-1]["function"] == "_bootstrap"


def waiting(interpreter):
    core = heaptest.tmp("core")
    with_library = bool(shutil.which("g++"))
    with start(interpreter, "wait", with_library) as target:
        program = os.path.realpath("/proc/%d/exe" % target.pid)
        done = heaptest.heapdump("-q", "--no-compress", "--max-pause", "1m",
                                 "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
        os.kill(target.pid, signal.SIGUSR1)
        deadline = time.monotonic() + 60
        while "in <module>" not in target.printed():
            assert time.monotonic() < deadline, target.printed()
            time.sleep(0.01)
        printed = target.printed()
    whole = answer(core)
    rows = whole["rows"]
    threads = 4 + 6 + with_library
    with heaptest.case("%s: calls of C and Python, both ways" % interpreter):
        check_calls(rows[0])
        for row in rows:
            check_merged(row)
        check_kinds(rows, with_library)
    with heaptest.case("%s: Python's frames are faulthandler's" % interpreter):
        check_faulthandler(rows, printed, threads)
    with heaptest.case("%s: names, states and the lock" % interpreter):
        assert [row["name"] for row in rows[:4]] == [
            "MainThread"] + 3 * ["waiter"]
        assert {row["state"] for row in rows} == {"sleeping"}, rows
        assert "gil_holder" not in whole["totals"], whole["totals"]
    with heaptest.case("%s: without any file of the target" % interpreter):
        bare = answer(core, "--sysroot", "none")["rows"]
        for row, other in zip(rows, bare):
            assert row["python"] == other["python"]
            assert [one["pc"] for one in row["native"] if "inlined" not in one
                    ] == [one["pc"] for one in other["native"]]
            check_merged(other)
    with heaptest.case("%s: exceptions, variables, values" % interpreter):
        check_values(core, rows[0])
    if not interpreter.root:
        with heaptest.case("%s: native frames are gdb's" % interpreter):
            truth = gdb_threads(core, program)
            check_native(rows, truth)
            check_lines(core, rows, truth)
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
    """Of a stack that is overwritten there is less, or nonsense, and an end; of
    one that is elsewhere the innermost function, and why there is no more."""
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
    note = data.index(struct.pack("<%dQ" % len(registers), *registers.values()))
    data[note:note + 8 * len(registers)] = struct.pack(
        "<%dQ" % len(registers), *dict(registers, rsp=8).values())
    with open(spoilt, "wb") as file:
        file.write(data)
    row = answer(spoilt)["rows"][0]
    assert row["native_frames"] == 1 and row["python"] == rows[0]["python"]
    assert re.fullmatch("at 0x[0-9a-f]+: that part of its stack is not in the "
                        "dump", row["incomplete"]), row["incomplete"]
    os.unlink(spoilt)


def greenlets(interpreter):
    """On the stack of a greenlet that runs is also that of the one that started
    it, whose Python frames are elsewhere."""
    core = heaptest.tmp("core")
    with heaptest.start_target(interpreter, TARGET, ["greenlets"]) as target:
        done = heaptest.heapdump("-q", "--no-compress", "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
    row = {one["name"]: one for one in answer(core)["rows"]}["switcher"]
    assert [one["function"] for one in row["python"]] == 4 * ["deep"] + [
        "in_greenlet"], row["python"]
    order = [one for one in row["merged"] if one["kind"] == "python"
             or "/_greenlet." in one["module"]]
    assert [one["kind"] for one in order[:6]] == 5 * ["python"] + ["native"]
    assert row["merged"].index(order[4]) < len(row["merged"]) - 12
    assert "incomplete" not in row, row
    os.unlink(core)


def without_table(interpreter):
    """A function of a library without unwind table is the last one known; what
    the frame pointer happens to be is not followed into nonsense."""
    core, stripped = heaptest.tmp("core"), heaptest.tmp("stripped.so")
    done = heaptest.run([
        heaptest.tool("objcopy", "binutils"), "--remove-section=.eh_frame",
        "--remove-section=.eh_frame_hdr", library(), stripped])
    assert done.returncode == 0, done.stderr
    with heaptest.start_target(interpreter, TARGET, ["held", stripped]) as target:
        done = heaptest.heapdump("-q", "--no-compress", "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
    row = answer(core)["rows"][0]
    last = row["native"][-1]
    assert last["function"] == "wait_here" and row["incomplete"] == (
        "at %s: its module has no unwind table there" % last["pc"]), row
    assert [one["function"] for one in row["python"]] == CALLS
    os.unlink(core)


def held(interpreter):
    """The lock is held by a thread that waits in C code; another wants it."""
    core = heaptest.tmp("held")
    with start(interpreter, "held", True) as target:
        program = os.path.realpath("/proc/%d/exe" % target.pid)
        time.sleep(0.2)
        done = heaptest.heapdump("-q", "--no-compress", "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
    whole = answer(core)
    rows = {row["name"]: row for row in whole["rows"]}
    if not interpreter.free_threaded:
        assert whole["totals"]["gil_holder"] == rows["MainThread"]["tid"]
        assert [rows[name]["gil"] for name in ("MainThread", "hurryer",
                                               "waiter")] == [
            "held", "waiting", "none"], rows
        text = heaptest.heapscan(core, "threads").stdout
        assert re.search("hurryer, .*waits for the GIL", text), text
    if not interpreter.root:
        check_native(whole["rows"], gdb_threads(core, program))
        order = ["read", "wait_inlined", "wait_here", "ffi_call", "end_here"]
        check_order(rows["MainThread"], *order)
    os.unlink(core)


def check_screen(core, tid):
    """The first screen begins with what happened, and says how to go on."""
    done = heaptest.heapscan(core, "--top", "3")
    assert done.returncode == 0, done.stderr
    where = done.stdout.index("\nTHREADS ")
    assert where < done.stdout.index("\nSUSPECTS"), done.stdout
    lines = done.stdout[where:].splitlines()[1:]
    assert "ended by SIGSEGV at 0x18, not mapped" in lines[0], lines[0]
    assert lines[1] == "  %d MainThread" % tid
    assert re.match("      exception being handled: ValueError, raised in .* "
                    "threads_target.py:[0-9]+$", lines[2]), lines
    assert lines[3] == "      touch in native.so"
    assert re.match("      end_here threads_target.py:[0-9]+$", lines[6]), lines
    assert re.match("  3 × waiter  .* < wait threads_ta", lines[9]), lines
    assert "next: heapscan %s threads --locals\n" % core in done.stdout


def crashed(interpreter, way, name):
    core = heaptest.tmp("core." + way)
    with start(interpreter, way, way in OF_LIBRARY) as target:
        program = os.path.realpath("/proc/%d/exe" % target.pid)

        def end():
            target.process.stdin.write(b"x")
            target.process.stdin.flush()

        heaptest.kernel_core(target.pid, core, end=end)
        printed = target.printed()
    whole = answer(core, "--sysroot", interpreter.root or "/")
    rows, totals = whole["rows"], whole["totals"]
    assert totals["signal"] == rows[0]["signal"] == name
    assert not any("signal" in row for row in rows[1:])
    check_faulthandler(rows, printed, 4)
    check_merged(rows[0])
    # A foreign function is called without the lock.
    assert rows[0]["gil"] == ("none" if interpreter.free_threaded or
                              way == "null" else "held"), rows[0]["gil"]
    if way in ("segfault", "extension"):
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
        check_lines(core, rows, truth)
        if way == "extension":
            check_order(rows[0], "innermost", "middle", "touch", "ffi_call",
                        "end_here")
            check_screen(core, rows[0]["tid"])
        if way == "bad_alloc":
            check_order(rows[0], "abort", "take", "exhaust", "ffi_call",
                        "end_here")
        for one in whole["rows"][0]["registers"] if way != "null" else ():
            registers = truth[rows[0]["tid"]][1]
            if one["name"] in registers:
                assert int(one["value"], 16) == registers[one["name"]], one
    text = heaptest.heapscan(core, "threads", "--sysroot",
                             interpreter.root or "/").stdout
    assert "ended by " + name in text and "end_here" in text, text


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
    """A program that is not Python's; gdb, which stops it for its core, has not
    ended it."""
    sys.path.insert(0, os.path.join(HERE, "..", "dumper"))
    import test_content
    core = heaptest.tmp("native")
    with test_content.native_target() as target:
        done = heaptest.heapdump("-q", "--no-compress", "-o", core, target.pid)
        assert done.returncode == 0, done.stderr
        stopped = heaptest.gcore(target.pid, heaptest.tmp("stopped"))
    assert "signal" not in answer(stopped)["totals"]
    for view in [], ["threads"]:
        text = heaptest.heapscan(stopped, *view).stdout
        assert "THREADS" in text and "ended by" not in text, text
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
        for way, name in (("segfault", "SIGSEGV"), ("null", "SIGSEGV"),
                            ("abort", "SIGABRT")):
            with heaptest.case("%s: ended by %s" % (interpreter, way)):
                crashed(interpreter, way, name)
        if not re.search(CLOSELY, interpreter.name) and not os.environ.get(
                "HEAPSCAN_INTERPRETERS"):
            continue
        for way, name in (("extension", "SIGSEGV"), ("bad_alloc", "SIGABRT")):
            with heaptest.case("%s: ended by %s" % (interpreter, way)):
                crashed(interpreter, way, name)
        with heaptest.case("%s: the lock is held" % interpreter):
            held(interpreter)
    here = [one for one in heaptest.interpreters(few=True) if not one.root][-1:]
    for interpreter in here:
        with heaptest.case("%s: a library without unwind table" % interpreter):
            without_table(interpreter)
    for interpreter in heaptest.with_extensions():
        if re.search(GREENLETS, interpreter.name) or os.environ.get(
                "HEAPSCAN_INTERPRETERS"):
            with heaptest.case("%s: greenlets" % interpreter):
                greenlets(interpreter)
    with heaptest.case("debug files from the network"):
        by_network()
    with heaptest.case("a program that is not Python's"):
        native_only()
    heaptest.finish()


if __name__ == "__main__":
    main()
