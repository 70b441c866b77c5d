# SPDX-License-Identifier: Apache-2.0
"""The runtime found in a dump is the one that the process says it has.

For every interpreter: gcore's core, read with the module files; the kernel's
core without file-backed pages, read without any module file; the same with the
development mode and with malloc for all; then cores with named damage.
"""

import json
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import elfcore
import heaptest

TARGET = os.path.join(HERE, "runtime_target.py")
TYPES = ("type", "object", "dict", "str", "tuple", "module")
NAMESPACES = ("sysdict", "builtins", "modules")
TRACKED_SLACK = 64      # objects made between the count and the dump


class Runtime:
    """What tests/tools/runtimeinfo prints of a core."""

    def __init__(self, core, sysroot=None):
        tool = os.path.join(heaptest.BUILD, "tests", "tools", "runtimeinfo")
        argv = [tool, core] + ([] if sysroot is None else [sysroot])
        done = heaptest.run(argv)
        self.status, self.stderr = done.returncode, done.stderr
        self.values, self.interpreters, self.findings = {}, [], []
        for line in done.stdout.splitlines():
            key, _, value = line.partition("=")
            if key == "interpreter":
                self.interpreters.append(
                    dict(pair.split("=") for pair in line.split()))
            elif key == "finding":
                self.findings.append(value)
            else:
                self.values[key] = value

    def __getitem__(self, key):
        return self.values.get(key)

    def number(self, key):
        return int(self.values[key], 0)


def truth_of(target):
    text, tracked, _ = target.printed().splitlines()[-3:]
    return dict(json.loads(text), tracked=int(tracked))


def differences(runtime, truth):
    """What differs, as a list of sentences."""
    if runtime.status != 0:
        return ["status %d: %s %s" % (runtime.status, runtime["error"],
                                      runtime.stderr[-500:])]
    found = []

    def compare(what, got, expected):
        if got != expected:
            found.append("%s: expected %s, got %s" % (
                what, *(hex(n) if n > 65536 else n
                        for n in (expected, got))))

    for key in ("version", "interpreters", *TYPES):
        compare(key, runtime.number(key), truth[key])
    if truth["runtime"] is not None:
        compare("_PyRuntime", runtime.number("runtime"), truth["runtime"])
    for key in "debug", "free_threaded":
        shown = {"debug": "debug_build"}.get(key, key)
        compare(key, runtime.number(shown), int(truth[key]))
    main = runtime.interpreters[0]
    for key in NAMESPACES:
        compare(key, int(main[key], 0), truth[key])
    compare("threads", int(main["threads"]), truth["threads"])
    if not truth["free_threaded"]:
        tracked = sum(int(main["list%d" % i]) for i in range(3))
        if not 0 <= tracked - truth["tracked"] <= TRACKED_SLACK:
            found.append("tracked objects: gc.get_objects() had %d, lists "
                         "have %d" % (truth["tracked"], tracked))
    return found


def compare(name, runtime, truth, **also):
    wrong = differences(runtime, truth)
    for key, expected in also.items():
        if not wrong and runtime[key] != expected:
            wrong.append("%s: expected %s, got %s" % (key, expected,
                                                      runtime[key]))
    print("# %s: %s; %s" % (name, runtime["found_by"], runtime["layout_by"]))
    heaptest.check(name, not wrong, "; ".join(wrong))


def pymalloc_state(interpreter, runtime):
    """3.12 and later know where pymalloc's state is."""
    if interpreter.version >= (3, 12) and not interpreter.free_threaded:
        heaptest.check(
            interpreter.name + ": state of pymalloc",
            all(int(i["obmalloc"], 0) for i in runtime.interpreters),
            "not found in %r" % runtime.interpreters)


def test_interpreter(interpreter):
    default = "mimalloc" if interpreter.free_threaded else "pymalloc"
    hooks = "1" if interpreter.debug else "0"
    name, core = interpreter.name, heaptest.tmp("core")

    with heaptest.start_target(interpreter, TARGET) as target:
        truth = truth_of(target)
        heaptest.plain_core(target.pid, core)
        runtime = Runtime(core)
        compare(name + ": gcore", runtime, truth, allocator=default,
                debug_hooks=hooks)
        pymalloc_state(interpreter, runtime)
        heaptest.kernel_core(target.pid, core)
        compare(name + ": kernel", Runtime(core), truth, allocator=default,
                debug_hooks=hooks)
        # No symbols, no sections, no read-only pages.
        compare(name + ": kernel, no files", Runtime(core, ""), truth,
                allocator=default, debug_hooks=hooks)

    with heaptest.start_target(interpreter, TARGET,
                               env={"PYTHONDEVMODE": "1"}) as target:
        truth = truth_of(target)
        heaptest.kernel_core(target.pid, core)
        compare(name + ": development mode", Runtime(core, ""), truth,
                allocator=default, debug_hooks="1")

    if not interpreter.free_threaded:
        with heaptest.start_target(interpreter, TARGET,
                                   env={"PYTHONMALLOC": "malloc"}) as target:
            truth = truth_of(target)
            heaptest.kernel_core(target.pid, core)
            compare(name + ": malloc", Runtime(core, ""), truth,
                    allocator="malloc", debug_hooks="0")
    os.unlink(core)


# ---- Damage

class Damaged:
    """A core that bytes at addresses of the target can be written to."""

    def __init__(self, path):
        self.path = path
        self.core = elfcore.ElfCore(path)

    def write(self, address, data):
        for segment in self.core.segments:
            at = address - segment.vaddr
            if 0 <= at < segment.filesz:
                with open(self.path, "r+b") as file:
                    file.seek(segment.offset + at)
                    before = file.read(len(data))
                    file.seek(segment.offset + at)
                    file.write(data)
                return before
        raise AssertionError("%#x is not in the core" % address)

    def word(self, address, value):
        return self.write(address, struct.pack("<Q", value))

    def damaged(self, address, value, sysroot=None):
        """What is found with one word changed."""
        before = self.word(address, value)
        try:
            return Runtime(self.path, sysroot)
        finally:
            self.write(address, before)


def test_damage(interpreter):
    core = heaptest.tmp("damaged")
    with heaptest.start_target(interpreter, TARGET) as target:
        truth = truth_of(target)
        heaptest.plain_core(target.pid, core)
    good = Runtime(core)
    main = good.interpreters[0]
    damage = Damaged(core)
    name = interpreter.name + ": damage: "

    def found(what, address, value, finding):
        runtime = damage.damaged(address, value)
        heaptest.check(name + what, runtime.status == 0 and
                       any(finding in text for text in runtime.findings),
                       "expected a finding '%s', got status %d, %r" % (
                           finding, runtime.status, runtime.findings))

    thread = damage.core.word(damage.core.word(
        int(main["address"], 0) + THREADS_HEAD[interpreter.version[1]]) + 8)
    found("thread list bent back", thread + 8, thread, "thread states")
    found("thread of nobody", thread + 16, 0, "thread states")
    head = int(main["gc"], 0) + GENERATIONS[interpreter.version[1]]
    found("GC list head", damage.core.word(head + 48) + 8, 0x1000,
          "head of GC list 2")
    if good.number("interpreters") == 2:
        # The newest is first in the list and leads to the main one.
        other = int(good.interpreters[1]["address"], 0)
        found("interpreters in a cycle",
              other, other, "cycle")

    zeroed = Damaged(core)
    before = zeroed.write(good.number("runtime"), bytes(2048))
    runtime = Runtime(core)
    heaptest.check(name + "runtime of zeroes", runtime.status == 1 and
                   runtime["error"] and "CPython" in runtime["error"],
                   "expected an error that names CPython, got %d %s %s" % (
                       runtime.status, runtime["error"],
                       runtime["found_by"]))
    zeroed.write(good.number("runtime"), before)
    compare(name + "undone", Runtime(core), truth)

    size = os.path.getsize(core)
    for part in range(1, 8):
        os.truncate(core, size * (8 - part) // 8)
        runtime = Runtime(core)
        if runtime.status not in (0, 1) or runtime.stderr:
            heaptest.not_ok(name + "cut off", "%d/8: status %d, %s" % (
                8 - part, runtime.status, runtime.stderr[-300:]))
            break
    else:
        heaptest.ok(name + "cut off")
    os.unlink(core)


# Offsets by minor release: of the first thread state in PyInterpreterState (the
# next interpreter is at 0), of the generations in _gc_runtime_state.
THREADS_HEAD = {8: 8, 9: 8, 10: 8, 11: 16, 12: 72}
GENERATIONS = {8: 24, 9: 24, 10: 24, 11: 24, 12: 24}


# ---- Other situations

def write_script(name, text):
    path = heaptest.tmp(name)
    with open(path, "w") as file:
        file.write(text)
    return path


def test_collecting(interpreter):
    """Stopped in a finalizer, in the middle of a collection."""
    script = write_script("collecting.py", """
import gc, os
class Node:
    def __del__(self):
        os.write(1, b"READY %d\\n" % os.getpid())
        os.read(0, 1)
gc.disable()
node = Node()
node.itself = node
del node
gc.collect()
""")
    core = heaptest.tmp("collecting")
    with heaptest.start_target(interpreter, script) as target:
        heaptest.kernel_core(target.pid, core)
    runtime = Runtime(core, "")
    heaptest.check(interpreter.name + ": inside a collection",
                   runtime.status == 0 and runtime.interpreters and
                   runtime.interpreters[0]["collecting"] == "1" and
                   runtime.interpreters[0]["gc"] != "0x0",
                   "got %d %s %r" % (runtime.status, runtime["error"],
                                     runtime.interpreters))
    os.unlink(core)


def test_finalizing(interpreter):
    """Stopped while the interpreter shuts down."""
    script = write_script("finalizing.py", """
import os, sys
class Last:
    def __init__(self):
        self.write, self.read = os.write, os.read
        self.text = b"READY %d\\n" % os.getpid()
    def __del__(self):
        self.write(1, self.text)
        self.read(0, 1)
sys.last = Last()
""")
    core = heaptest.tmp("finalizing")
    with heaptest.start_target(interpreter, script) as target:
        heaptest.kernel_core(target.pid, core)
    runtime = Runtime(core, "")
    heaptest.check(interpreter.name + ": shutting down",
                   runtime.status == 0 and runtime["finalizing"] == "1",
                   "got %d %s %s" % (runtime.status, runtime["error"],
                                     runtime["finalizing"]))
    os.unlink(core)


def test_two_runtimes(interpreter):
    """A libpython beside the executable that has its own runtime: only one of
    the two is alive."""
    core = heaptest.tmp("two")
    library = "libpython%d.%d.so.1.0" % interpreter.version[:2]
    script = write_script("two.py", """
import ctypes, os
try:
    there = ctypes.CDLL(%r)
    other = ctypes.addressof(ctypes.c_char.in_dll(there, "_PyRuntime"))
except OSError:
    other = 0
own = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
os.write(1, b"%%d %%d\\nREADY %%d\\n" %% (own, other, os.getpid()))
os.read(0, 1)
""" % library)
    with heaptest.start_target(interpreter, script) as target:
        own, other = map(int, target.printed().splitlines()[-2].split())
        if other in (0, own):
            raise heaptest.Skip("no other %s to load" % library)
        heaptest.plain_core(target.pid, core)
    for sysroot, how in (None, "with files"), ("", "without files"):
        runtime = Runtime(core, sysroot)
        heaptest.check("%s: two runtimes, %s" % (interpreter.name, how),
                       runtime.status == 0 and
                       runtime.number("runtime") == own and
                       runtime["candidates"] == "1",
                       "expected %#x and 1 other, got %s and %s" % (
                           own, runtime["runtime"], runtime["candidates"]))
    os.unlink(core)


def test_two_alive(interpreter):
    """A second libpython whose runtime is started, too: one is read, and that
    there is another one is a finding."""
    core = heaptest.tmp("alive")
    script = write_script("alive.py", """
import ctypes, os, shutil, sys, sysconfig
if sysconfig.get_config_var("Py_ENABLE_SHARED"):
    name = sysconfig.get_config_var("INSTSONAME")
    copy = shutil.copy(os.path.join(sysconfig.get_config_var("LIBDIR"), name),
                       os.path.join(sys.argv[1], name))
    second = ctypes.CDLL(copy, ctypes.RTLD_LOCAL | os.RTLD_DEEPBIND)
    # 3.11 aborts in there, whoever calls it.
    child = os.fork()
    if child == 0:
        second.Py_InitializeEx(0)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        second.Py_InitializeEx(0)
        second.PyRun_SimpleString(b"class Second: pass")
        print("ALIVE")
print("READY", os.getpid(), flush=True)
os.read(0, 1)
""")
    folder = heaptest.tmp("copies-" + interpreter.name)
    os.makedirs(folder)
    with heaptest.start_target(interpreter, script, [folder]) as target:
        if "ALIVE" not in target.printed():
            raise heaptest.Skip("no libpython beside this program that starts")
        heaptest.plain_core(target.pid, core)
    runtime = Runtime(core)
    heaptest.check("%s: two runtimes at work" % interpreter.name,
                   runtime.status == 0 and
                   sum("a second CPython" in finding
                       for finding in runtime.findings) == 1,
                   "%d %s" % (runtime.status, runtime.findings))
    os.unlink(core)


def test_other_module_type(interpreter):
    """A module builtins of a type upon that of modules, as Nuitka makes one."""
    script = write_script("modules.py", """
import builtins, os, types
class Module(types.ModuleType):
    pass
builtins.__class__ = Module
os.write(1, b"%d\\nREADY %d\\n" % (id(types.ModuleType), os.getpid()))
os.read(0, 1)
""")
    core = heaptest.tmp("modules")
    with heaptest.start_target(interpreter, script) as target:
        module = int(target.printed().splitlines()[-2])
        heaptest.plain_core(target.pid, core)
    runtime = Runtime(core)
    heaptest.check(interpreter.name + ": builtins of another type",
                   runtime.status == 0 and not runtime.findings and
                   runtime.number("module") == module,
                   "expected %#x, got %d %s %r" % (
                       module, runtime.status, runtime["module"],
                       runtime.findings))
    os.unlink(core)


def refusal(name, argv, expected, kind):
    """What is said of a process that is none of ours."""
    core = heaptest.tmp("other")
    process = heaptest.subprocess.Popen(
        argv, stdin=heaptest.subprocess.PIPE,
        stdout=heaptest.subprocess.DEVNULL)
    try:
        heaptest.time.sleep(0.5)
        heaptest.plain_core(process.pid, core)
    finally:
        process.kill()
        process.communicate()
    runtime = Runtime(core)
    heaptest.check(name, runtime.status == 1 and
                   runtime["error_kind"] == str(kind) and
                   expected in (runtime["error"] or ""),
                   "expected '%s', got %d %s" % (expected, runtime.status,
                                                 runtime["error"]))
    os.unlink(core)


NOT_FOUND, UNSUPPORTED = 6, 7       # of enum error_kind


def test_others():
    refusal("no Python", ["/bin/sleep", "600"], "no Python", NOT_FOUND)
    # By its name; the real one has no other distinction that we look for.
    pypy = heaptest.tmp("pypy3.10")
    heaptest.shutil.copy("/bin/sleep", pypy)
    refusal("PyPy", [pypy, "600"], "PyPy", NOT_FOUND)
    found = sorted(heaptest.glob.glob(os.path.expanduser(
        os.environ.get("PYENV_ROOT", "~/.pyenv") + "/versions/*/bin/python")))
    old = {path: version for path, version in (
        (path, path.split("/")[-3]) for path in found)
        if version.startswith("2.") or version[:4] in ("3.6.", "3.7.")}
    if not old:
        heaptest.skip("old releases", "no CPython before 3.8 here")
    for path, version in old.items():
        refusal("CPython " + version, [path, "-c", "input()"],
                "CPython " + version.rpartition(".")[0], UNSUPPORTED)


def main():
    interpreters = heaptest.interpreters(debug=True)
    for release in heaptest.absent_releases(interpreters):
        heaptest.skip("runtime of " + release, "no such interpreter here")
    for interpreter in interpreters:
        with heaptest.case(interpreter.name):
            test_interpreter(interpreter)
    for interpreter in interpreters:
        if interpreter.version[1] in THREADS_HEAD and not interpreter.root:
            with heaptest.case(interpreter.name + ": damage"):
                test_damage(interpreter)
            for test in (test_collecting, test_finalizing,
                         test_two_runtimes, test_two_alive,
                         test_other_module_type):
                with heaptest.case("%s: %s" % (interpreter.name,
                                               test.__name__)):
                    test(interpreter)
    with heaptest.case("other processes"):
        test_others()
    heaptest.finish()


main()
