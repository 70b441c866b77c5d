# SPDX-License-Identifier: Apache-2.0
"""What the tests written in Python share: results, interpreters, targets,
dumps by every tool, and the census of a target.

    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
    import heaptest

    for interpreter in heaptest.interpreters():
        with heaptest.case("dump of " + interpreter.name):
            core = heaptest.tmp("core")
            with heaptest.start_target(interpreter, script) as target:
                heaptest.gcore(target.pid, core)
            assert os.path.getsize(core) > 0, "the core is empty"
    heaptest.finish()

Results are lines on standard output, "ok NAME", "not ok NAME: DETAIL" and
"skip NAME: REASON", which tests/run counts. Whatever else a test prints is
shown when it fails. HEAPSCAN_BUILD and HEAPSCAN_TMP come from tests/run; by
hand, the build is build/plain and the temporary folder a new one. In there
heapscan keeps its results, too.
"""

import array
import atexit
import collections
import contextlib
import ctypes
import fcntl
import gc
import glob
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

LIB = os.path.dirname(os.path.abspath(__file__))
SRC = os.environ.get("HEAPSCAN_SRC") or os.path.dirname(os.path.dirname(LIB))
BUILD = os.environ.get("HEAPSCAN_BUILD") or os.path.join(SRC, "build", "plain")
CACHE = (os.environ.get("HEAPSCAN_CACHE")
         or os.path.expanduser("~/.cache/heapscan-tests"))
TARGET = os.path.join(SRC, "tests", "python", "target.py")
MAKE_STUBS = os.path.join(SRC, "tests", "torch", "fakecuda", "make_stubs.py")

# The releases that are supported, and so should be tested.
RELEASES = [(3, minor) for minor in range(8, 16)]


# ---- Results

class Skip(Exception):
    """Something cannot be tested here; str() of it is the reason."""


_failed = False


def _line(text):
    """One printable line: results are read by the line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def _result(line):
    print(line, flush=True)


def ok(name):
    _result("ok " + _line(name))


def not_ok(name, detail):
    """detail: what was expected and what was got."""
    global _failed
    _failed = True
    _result("not ok %s: %s" % (_line(name), _line(detail)))


def skip(name, reason):
    _result("skip %s: %s" % (_line(name), _line(reason)))


def check(name, condition, detail="the condition does not hold"):
    """ok or not ok; returns the condition."""
    if condition:
        ok(name)
    else:
        not_ok(name, detail)
    return bool(condition)


def equal(name, got, expected):
    return check(name, got == expected,
                 "expected %r, got %r" % (expected, got))


@contextlib.contextmanager
def case(name):
    """One result for a block: ok when it ends; skip when it raises Skip; not
    ok, and on with the test program, when it raises anything else."""
    try:
        yield
    except Skip as reason:
        skip(name, reason)
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        detail = str(error)
        if not isinstance(error, AssertionError) or not detail:
            detail = "%s: %s" % (type(error).__name__, detail)
        not_ok(name, detail)
    else:
        ok(name)


def _unhandled(kind, error, trace):
    """A Skip outside of every case leaves out the rest of the program."""
    if issubclass(kind, Skip):
        skip("the rest of " + os.path.basename(sys.argv[0]), error)
        finish()
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _unhandled


def finish():
    """Exit with the status that the results deserve."""
    sys.exit(1 if _failed else 0)


# ---- Files and programs

_tmp = None


def tmp(name=""):
    """A path in this test program's private folder, which is removed when the
    program has ended."""
    global _tmp
    if _tmp is None:
        _tmp = os.environ.get("HEAPSCAN_TMP")
        if not _tmp:
            _tmp = tempfile.mkdtemp(prefix="heaptest.")
            atexit.register(shutil.rmtree, _tmp, ignore_errors=True)
    return os.path.join(_tmp, name)


# Heaps of a million objects are read into objects that live: looking among them
# for garbage again and again takes a third of the time, and there is hardly any.
gc.set_threshold(1 << 20)

# heapscan keeps results: nobody's but those of this test.
os.environ["XDG_CACHE_HOME"] = tmp("kept")


def run(argv, timeout=300, **options):
    """Run a program; returns a CompletedProcess with its output as text, which
    is also how far its bytes are UTF-8 (surrogateescape)."""
    options = dict(dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, encoding="utf-8",
                        errors="surrogateescape"), **options)
    return subprocess.run(argv, timeout=timeout, **options)


def program(name):
    """Path of heapdump or heapscan as built."""
    path = os.path.join(BUILD, name)
    if not os.access(path, os.X_OK):
        raise RuntimeError("%s is not built: run make first" % name)
    return path


def heapdump(*args, **options):
    return run([program("heapdump"), *map(str, args)], **options)


def heapscan(*args, **options):
    return run([program("heapscan"), *map(str, args)], **options)


def tool(name, package):
    """Path of a program of the machine; skips where it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise Skip("%s is not installed (package %s)" % (name, package))
    return path


def private_mounts():
    """The start of a command line with mounts of its own that nobody else
    sees; skips where they are not to be had, as in a chroot."""
    if os.geteuid() != 0:
        raise Skip("mounting needs root")
    argv = [tool("unshare", "util-linux"), "-m"]
    done = run([*argv, "true"])
    if done.returncode:
        raise Skip("no mounts of our own here: " + done.stderr.strip())
    return argv


class _ZstdBuffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer of zstd.h."""
    _fields_ = [("bytes", ctypes.c_void_p), ("size", ctypes.c_size_t),
                ("pos", ctypes.c_size_t)]


def _expand_by_library(path, to):
    """What zstd -d does, by the library that heapdump needs anyway."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_createDStream.restype = ctypes.c_void_p
    zstd.ZSTD_decompressStream.restype = ctypes.c_size_t
    zstd.ZSTD_decompressStream.argtypes = [ctypes.c_void_p] * 3
    zstd.ZSTD_isError.argtypes = [ctypes.c_size_t]
    stream = zstd.ZSTD_createDStream()
    space = ctypes.create_string_buffer(1 << 20)
    left = 0
    with open(path, "rb") as packed, open(to, "wb") as plain:
        while chunk := packed.read(1 << 20):
            source = _ZstdBuffer(ctypes.cast(chunk, ctypes.c_void_p),
                                 len(chunk), 0)
            full = False
            while source.pos < source.size or full:
                sink = _ZstdBuffer(ctypes.addressof(space), len(space), 0)
                left = zstd.ZSTD_decompressStream(
                    stream, ctypes.byref(sink), ctypes.byref(source))
                assert not zstd.ZSTD_isError(left), path + ": no zstd frames"
                plain.write(space.raw[:sink.pos])
                full = sink.pos == sink.size
    zstd.ZSTD_freeDStream(ctypes.c_void_p(stream))
    assert left == 0, path + ": the last zstd frame is cut off"
    return to


def expand(path, to):
    """Decompress a .zst with the reference tool, or else with its library;
    returns to."""
    if not shutil.which("zstd"):
        return _expand_by_library(path, to)
    done = run([tool("zstd", "zstd"), "-dqf", "--sparse", "-o", to, path])
    assert done.returncode == 0, "zstd -d %s: %s" % (path, done.stderr)
    return to


# ---- Interpreters

class Interpreter:
    """A Python to run targets with.

    .name           "3.12.1-pyenv", "3.11.2-system", "3.14.10-debian" (in a
                    root folder of its own), "3.14.10-debian-loader" (by its
                    own ld.so, in this root), "3.14.7t-built"
    .version        (3, 12, 1)
    .root           its root folder, or None if that is "/"
    .command        how to start it, as seen from there
    .env            to be added to the environment
    .free_threaded  built without the interpreter lock
    .debug          a Py_DEBUG build
    """

    def __init__(self, origin, command, root=None):
        self.root, self.command, self.env = root, command, {}
        about = ("import sys; print(*sys.version_info[:3], sys.abiflags or '-',"
                 " hasattr(sys, 'gettotalrefcount'))")
        # Every test asks all of them: without site, which costs more than this.
        done = run([*self.argv, "-IS", "-c", about], timeout=60,
                   env=self.environment())
        if done.returncode:
            raise OSError("does not run: " + done.stderr.strip()[-300:])
        major, minor, micro, flags, debug = done.stdout.split()
        self.version = int(major), int(minor), int(micro)
        self.free_threaded = "t" in flags
        self.debug = debug == "True"
        self.name = "%s.%s.%s%s-%s" % (major, minor, micro, flags.strip("-"),
                                       origin)

    def __repr__(self):
        return self.name

    @property
    def argv(self):
        """How to start it from here."""
        return self.argv_in("/")

    def argv_in(self, folder):
        """How to start it from here, with a working folder of its root; one
        without another root keeps that of the caller."""
        if self.root is None:
            return self.command
        return [sys.executable, "-S", os.path.join(LIB, "enter_root.py"),
                self.root, folder, *self.command]

    def environment(self):
        """The environment to start it in: nothing of ours that Python obeys."""
        env = {key: value for key, value in os.environ.items()
               if not key.startswith("PYTHON") and key != "TMPDIR"}
        env.update(self.env)
        return env


def _pyenv():
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    found = []
    for path in glob.glob(os.path.join(glob.escape(root), "versions", "3.*")):
        release = re.match(r"3\.(\d+)", os.path.basename(path))
        if (3, int(release[1])) >= RELEASES[0]:
            found.append((int(release[1]), path))
    for _, path in sorted(found):
        yield "pyenv", [os.path.join(path, "bin", "python3")], None


def _fetched():
    """What tests/python/fetch_interpreters.sh has put into the cache."""
    pattern = os.path.join(glob.escape(CACHE), "interpreters", "*-debian")
    for folder in sorted(glob.glob(pattern)):
        root = os.path.join(folder, "root")
        if not os.path.exists(os.path.join(folder, "packages")):
            continue            # being fetched just now, or given up
        loader = glob.glob(root + "/lib*/ld-linux-*.so.*")[0]
        libraries = glob.glob(root + "/usr/lib/*-linux-gnu")[0]
        for path in sorted(glob.glob(root + "/usr/bin/python3.*")):
            if not re.fullmatch(r"python3\.\d+[td]*", os.path.basename(path)):
                continue
            if os.geteuid() == 0:
                yield "debian", [path[len(root):]], root
            yield ("debian-loader",
                   [loader, "--library-path", libraries, path], None)


def _built():
    """What tests/python/build_interpreters.sh has put into the cache."""
    pattern = os.path.join(glob.escape(CACHE), "interpreters", "*-built")
    for folder in sorted(glob.glob(pattern)):
        if not os.path.exists(os.path.join(folder, "built")):
            continue            # being built just now, or given up
        # The same program has a name with its flags, and one without.
        paths = [path for path in glob.glob(folder + "/bin/python3.*")
                 if re.fullmatch(r"python3\.\d+[td]*", os.path.basename(path))]
        yield "built", [max(paths, key=len)], None


# One for each way in which objects are laid out: what takes long, and depends on
# the release in few places, is tested with these unless others are named.
FEW = r"^3\.(8|10|12|14|15)\..*-(pyenv|debian)$"
# Of those built here, of which each costs minutes: the release in which
# free-threaded builds are supported, and a collector of its own.
NOT_ASKED_FOR = r"^3\.(13|15)\..*-built$"


def interpreters(debug=False, few=False):
    """The interpreters of this machine to test with: the system's, pyenv's,
    those fetched and those built. Debug builds only if asked for. The
    environment variable HEAPSCAN_INTERPRETERS is a regular expression that
    names must match; without it few are those of FEW."""
    wanted = re.compile(os.environ.get("HEAPSCAN_INTERPRETERS")
                        or (FEW if few else ""))
    found = []
    for origin, command, root in [("system", ["/usr/bin/python3"], None),
                                  *_pyenv(), *_fetched(), *_built()]:
        try:
            interpreter = Interpreter(origin, command, root)
        except (OSError, subprocess.TimeoutExpired) as error:
            print("# %s %s" % (" ".join(command), error))
            continue
        if interpreter.debug and not debug:
            continue
        if not wanted.pattern and re.search(NOT_ASKED_FOR, interpreter.name):
            continue
        if wanted.search(interpreter.name):
            found.append(interpreter)
    return found


def looked_at_closely(interpreter):
    """One of FEW, or interpreters are named: what takes long is done, too."""
    return bool(os.environ.get("HEAPSCAN_INTERPRETERS")
                or re.search(FEW, interpreter.name))


def allocators(interpreter, variants):
    """Those of these tuples whose last item, an environment, the interpreter
    obeys: free-threaded builds have mimalloc and nothing else. Of those that are
    not of FEW the first alone, unless interpreters are named."""
    if not looked_at_closely(interpreter):
        variants = variants[:1]
    return [variant for variant in variants if not interpreter.free_threaded
            or (variant[-1] or {}).get("PYTHONMALLOC") != "malloc"]


def with_packages():
    """Interpreters that tests/python/fetch_packages.sh has made, which can
    import numpy, lxml and others; HEAPSCAN_INTERPRETERS applies as well."""
    wanted = re.compile(os.environ.get("HEAPSCAN_INTERPRETERS", ""))
    found = []
    pattern = os.path.join(glob.escape(CACHE), "packages", "*-packages")
    for folder in sorted(glob.glob(pattern)):
        if not os.path.exists(os.path.join(folder, "installed")):
            continue            # being fetched just now, or given up
        command = [os.path.join(folder, "bin", "python3")]
        try:
            interpreter = Interpreter("packages", command)
        except (OSError, subprocess.TimeoutExpired) as error:
            print("# %s %s" % (" ".join(command), error))
            continue
        if wanted.search(interpreter.name):
            found.append(interpreter)
    return found


def with_extensions():
    """Those of pyenv's interpreters for which fetch_packages.sh has put greenlet,
    numpy and others into folders: they find them by their environment."""
    wanted = re.compile(os.environ.get("HEAPSCAN_INTERPRETERS", ""))
    found = []
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    pattern = os.path.join(glob.escape(CACHE), "packages", "*-extensions")
    for folder in sorted(glob.glob(pattern)):
        release = os.path.basename(folder).rpartition("-")[0]
        python = os.path.join(pyenv, "versions", release, "bin", "python3")
        if os.path.exists(os.path.join(folder, "installed")) \
                and os.path.exists(python):
            interpreter = Interpreter("extensions", [python])
            interpreter.env["PYTHONPATH"] = folder
            if wanted.search(interpreter.name):
                found.append(interpreter)
    return found


def with_torch(devices=0, roots=False):
    """Interpreters that have PyTorch, by fetch_torch.sh; each has .torch, its
    version; HEAPSCAN_INTERPRETERS applies as well, to names like
    "3.12.1-torch-2.15.0". They are wheels for CUDA, which run with the libraries
    of tests/torch/fakecuda in place of NVIDIA's, and with so many devices.

    roots   also Debian's builds for the CPU, each in a root folder of its own
    """
    wanted = re.compile(os.environ.get("HEAPSCAN_INTERPRETERS", ""))
    found = []
    folders = glob.glob(os.path.join(glob.escape(CACHE), "torch", "*",
                                     "installed"))
    for folder in sorted(map(os.path.dirname, folders), key=_by_numbers):
        root = os.path.join(folder, "root")
        if not os.path.isdir(root):
            root = None
        elif not roots:
            continue
        elif os.geteuid() != 0:
            skip("PyTorch of " + os.path.basename(folder),
                 "entering its root folder needs root")
            continue
        with open(os.path.join(folder, "python")) as python:
            command = [python.read().strip()]
        try:
            interpreter = Interpreter("torch-" + os.path.basename(folder),
                                      command, root)
        except (OSError, subprocess.TimeoutExpired) as error:
            print("# %s %s" % (folder, error))
            continue
        if not wanted.search(interpreter.name):
            continue
        with open(os.path.join(folder, "installed")) as installed:
            interpreter.torch = re.search(r"^torch==([\d.]*\d)",
                                          installed.read(), re.M)[1]
        if not root:
            site = os.path.join(folder, "site")
            interpreter.env["PYTHONPATH"] = site
            _with_fakecuda(interpreter, os.path.join(site, "torch"),
                           folder + "-fakecuda", devices)
        found.append(interpreter)
    return found


def with_cupy(devices=1):
    """The same of those that have CuPy, by fetch_packages.sh."""
    found = []
    for interpreter in with_extensions():
        folder = interpreter.env["PYTHONPATH"]
        if os.path.exists(os.path.join(folder, "cupy")):
            _with_fakecuda(interpreter, folder, folder + "-fakecuda", devices)
            found.append(interpreter)
    return found


def _with_fakecuda(interpreter, wheel, beside, devices):
    done = run([sys.executable, MAKE_STUBS, wheel, beside])
    if done.returncode:
        raise RuntimeError("fakecuda: " + done.stderr[-1000:])
    stubs, preload, _ = done.stdout.split("\n")
    interpreter.env.update(LD_LIBRARY_PATH=stubs,
                           FAKECUDA_DEVICES=str(devices))
    if preload:
        interpreter.env["LD_PRELOAD"] = preload


def _by_numbers(path):
    return [int(digits) for digits in re.findall(r"\d+",
                                                 os.path.basename(path))]


def absent_releases(found):
    """The supported releases that none of these interpreters is, as "3.9".
    A free-threaded build is none: those are tested where they were built."""
    here = {interpreter.version[:2] for interpreter in found
            if not interpreter.free_threaded}
    return ["%d.%d" % release for release in RELEASES if release not in here]


def absent_builds(found):
    """The free-threaded builds that none of these interpreters is, as "3.13t"."""
    here = {interpreter.version[:2] for interpreter in found
            if interpreter.free_threaded}
    return ["%d.%dt" % release for release in RELEASES
            if release >= (3, 13) and release not in here]


# ---- Targets

class Target:
    """A running target; see start_target().

    .pid      the process to dump, as its id is here
    .process  the Popen that began it: perhaps of another process
    .folder   its working folder, private, as seen from here
    .output   path of what it printed
    """

    def __init__(self, interpreter, process, folder, output):
        self.interpreter, self.process = interpreter, process
        self.folder, self.output = folder, output
        self.pid = None

    def printed(self):
        with open(self.output, errors="replace") as file:
            return file.read()

    def wait_until_ready(self, timeout):
        deadline = time.monotonic() + timeout
        while True:
            ready = re.search(r"^READY (\d+)$", self.printed(), re.M)
            if ready:
                self.pid = self._id_here(int(ready[1]))
                return
            if self.process.poll() is not None:
                raise RuntimeError("the target ended with status %s: %s" % (
                    self.process.returncode, self.printed()[-2000:]))
            if time.monotonic() > deadline:
                raise RuntimeError("the target is not ready after %d s: %s" % (
                    timeout, self.printed()[-2000:]))
            time.sleep(0.01)

    def _id_here(self, pid):
        """Our id of the process that has this one in its own PID namespace:
        it is among the descendants of what we started."""
        pending = [self.process.pid]
        while pending:
            candidate = pending.pop()
            with open("/proc/%d/status" % candidate) as status:
                ids = re.search(r"^NSpid:(.*)", status.read(), re.M)[1].split()
            if int(ids[-1]) == pid:
                return candidate
            with open("/proc/%d/task/%d/children" % (candidate,
                                                     candidate)) as children:
                pending += map(int, children.read().split())
        raise RuntimeError("no process of the target has the id %d" % pid)

    def end(self):
        """Ask the target to end, by closing its input; returns its status."""
        self.process.stdin.close()
        return self.process.wait(timeout=60)

    def kill(self):
        """End all of its processes, whatever they do."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def start_target(interpreter, script=TARGET, args=(), census=None, timeout=120,
                 env=None, pid_namespace=False, beside=()):
    """Run a script and wait until it prints "READY PID".

    beside         files that the script needs in its own folder
    census         a path: adds --census with a descriptor of that file, so that
                   it need not be visible in the target's root
    env            added to its environment
    pid_namespace  start it as the first process of a PID namespace

    As a context manager gives a Target, and kills all of it at the end.
    """
    inside = "/tmp" if interpreter.root else tmp()
    folder = tempfile.mkdtemp(prefix="target.",
                              dir=(interpreter.root or "") + inside)
    inside = os.path.join(inside, os.path.basename(folder))
    if interpreter.root:
        for path in (script, *beside):
            shutil.copy(path, folder)
        script = os.path.join(inside, os.path.basename(script))
    argv = [*interpreter.argv_in(inside), script, *map(str, args)]
    if pid_namespace:
        if os.geteuid() != 0:
            raise Skip("a PID namespace needs root")
        argv[:0] = [tool("unshare", "util-linux"), "--pid", "--fork"]

    descriptors = []
    if census:
        descriptors.append(os.open(census, os.O_RDWR | os.O_CREAT | os.O_TRUNC,
                                   0o600))
        argv += ["--census", "fd:%d" % descriptors[0]]
    # What it prints goes to a file: nobody need read it for it to go on.
    output = folder + ".output"
    try:
        with open(output, "wb") as out:
            process = subprocess.Popen(
                argv, cwd=folder, env=dict(interpreter.environment(),
                                           **(env or {})),
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
                pass_fds=descriptors, start_new_session=True)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    target = Target(interpreter, process, folder, output)
    try:
        target.wait_until_ready(timeout)
        yield target
    finally:
        target.kill()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(output)


# ---- Dumps by the tools that people have

def _is_elf_core(path):
    with open(path, "rb") as file:
        start = file.read(18)
    return start[:4] == b"\x7fELF" and start[16:18] == b"\x04\0"


def gcore(pid, path, all_mappings=False):
    """gdb's; returns path. The target goes on."""
    argv = [tool("gcore", "gdb"), *["-a"] * all_mappings, "-o", path, str(pid)]
    done = run(argv, env=dict(os.environ, DEBUGINFOD_URLS=""))
    made = "%s.%d" % (path, pid)
    if not os.path.exists(made):
        raise RuntimeError("gcore made no core: " + done.stderr[-1000:])
    os.rename(made, path)
    return path


def plain_core(pid, path):
    """A plain core for tests that ask nothing of its writer: gdb's, or where
    gdb is not installed heapdump's; returns path. The target goes on."""
    if shutil.which("gcore"):
        return gcore(pid, path)
    done = heapdump("-q", "--no-compress", "--content", "full", "--max-pause",
                    "1m", "-o", path, pid)
    assert done.returncode == 0, "heapdump: exit %d: %s" % (done.returncode,
                                                            done.stderr)
    return path


def lldb_core(pid, path):
    """lldb's, in its full style; returns path. The target goes on. Skips where
    lldb writes no ELF core: as of 2025 it knows only minidumps on Linux, and
    lldb 14 writes neither."""
    done = run([tool("lldb", "lldb"), "-b", "-p", str(pid),
                "-o", "process save-core --style full " + path,
                "-o", "detach", "-o", "quit"],
               env=dict(os.environ, DEBUGINFOD_URLS=""))
    if not os.path.exists(path):
        errors = re.findall("^error: (.*)", done.stdout + done.stderr, re.M)
        raise Skip("lldb: " + (errors or ["wrote no core"])[-1])
    if not _is_elf_core(path):
        raise Skip("this lldb writes a minidump, not an ELF core")
    return path


def _process_state(pid):
    try:
        with open("/proc/%d/stat" % pid) as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


@contextlib.contextmanager
def core_pattern_lock(exclusive):
    """The settings of the kernel for cores are the machine's: whoever relies on
    them holds this shared, whoever changes them alone."""
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "core_pattern.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


_RESTORER = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.read()
for path, value in zip(sys.argv[1::2], sys.argv[2::2]):
    with open(path, "w") as file:
        file.write(value)
"""


@contextlib.contextmanager
def kernel_settings(**values):
    """Files of /proc/sys/kernel with other values for a while. They come back
    also when this program is killed: a process of its own sees to that, which
    waits for the end of its input. Skips where they cannot be written."""
    if os.geteuid() != 0:
        raise Skip("settings of the kernel need root")
    paths = {"/proc/sys/kernel/" + name: value
             for name, value in values.items()}
    before = []
    for path in paths:
        with open(path) as file:
            before += [path, file.read()]
        try:
            with open(path, "w") as file:
                file.write(before[-1])
        except OSError as error:
            raise Skip("%s cannot be written: %s" % (path, error.strerror))
    restorer = subprocess.Popen([sys.executable, "-c", _RESTORER, *before],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                start_new_session=True)
    try:
        restorer.stdout.readline()
        for path, value in paths.items():
            with open(path, "w") as file:
                file.write(value)
        yield
    finally:
        restorer.stdin.close()
        restorer.wait()
        restorer.stdout.close()


def kernel_core(pid, path, filter=0x33, timeout=120, end=None):
    """As _kernel_core(), while nobody changes the kernel's settings."""
    with core_pattern_lock(exclusive=False):
        return _kernel_core(pid, path, filter, timeout, end)


def _kernel_core(pid, path, filter, timeout, end):
    """The kernel's own, of a process that SIGABRT ends, or that ends by itself
    when end() is called; returns path.

    filter is its coredump_filter: by default, file-backed pages that were never
    written to are not in the core. Skips where the kernel is configured to pipe
    cores to a program.
    """
    with open("/proc/sys/kernel/core_pattern") as file:
        pattern = file.read().strip()
    folder, name = os.path.split(pattern)
    if pattern.startswith("|"):
        raise Skip("the kernel pipes cores to %s (kernel.core_pattern)"
                   % pattern[1:].split()[0])
    if "%" in folder:
        raise Skip("cores go to changing folders: kernel.core_pattern is "
                   + pattern)
    # Relative to the working folder of the process, or else to its root.
    folder = ("/proc/%d/root%s" if folder.startswith("/")
              else "/proc/%d/cwd/%s") % (pid, folder)
    name = re.compile("".join(
        ".*" if part.startswith("%") else re.escape(part)
        for part in re.split("(%.)", name)) + r"(\.\d+)?")

    with open("/proc/%d/coredump_filter" % pid, "w") as file:
        file.write("%#x" % filter)
    try:
        resource.prlimit(pid, resource.RLIMIT_CORE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (PermissionError, ValueError):
        raise Skip("the limit on core sizes (ulimit -c) cannot be raised")

    # The folder stays open, as its name under /proc goes with the process.
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        folder = "/proc/self/fd/%d" % opened

        def cores():
            return {entry.name: entry.stat().st_mtime_ns
                    for entry in os.scandir(folder)
                    if name.fullmatch(entry.name)}

        before = cores()
        if end:
            end()
        else:
            os.kill(pid, signal.SIGABRT)
        deadline = time.monotonic() + timeout
        while _process_state(pid) not in (None, "Z", "X"):
            if time.monotonic() > deadline:
                raise RuntimeError("no core after %d s" % timeout)
            time.sleep(0.01)
        new = [n for n, when in cores().items() if before.get(n) != when]
        if len(new) != 1:
            raise RuntimeError("expected one new core by kernel.core_pattern "
                               "%s, got %r" % (pattern, new))
        shutil.move(os.path.join(folder, new[0]), path)
    finally:
        os.close(opened)
    return path


# ---- The census

CensusType = collections.namedtuple("CensusType", "name user count")
CensusObject = collections.namedtuple("CensusObject",
                                      "address type size tracked word")


class Census:
    """What target.py's twin found; the format is described there.

    .pid .python .hexversion .gil .counted
                                    as in its first line
    .own                            addresses of what its code itself uses
    .sized                          whether its sizes are to be believed
    .types                          address of a type: a CensusType
    .references                     as tp_traverse visits them: words, in turn
                                    referrer and referent
    .hidden                         the same of those it does not visit
    Iteration gives every object as a CensusObject.
    """

    def __init__(self, path):
        with open(path, "rb") as file:
            about = json.loads(file.readline())
            words = array.array("Q", file.read())
        if sys.byteorder == "big":
            words.byteswap()
        objects, references = about["objects"] * 5, about["references"] * 2
        assert len(words) == objects + references + about["hidden"] * 2, \
            "the census is cut off"
        self._words = words[:objects]
        self.references = words[objects:objects + references]
        self.hidden = words[objects + references:]
        self.pid, self.python = about["pid"], about["python"]
        self.hexversion, self.gil = about["hexversion"], about["gil"]
        self.counted, self.own = about["counted"], set(about["own"])
        self.sized = True
        self.types = {int(address): CensusType(*described)
                      for address, described in about["types"].items()}

    def join(self, other):
        """Add what another census of the same process has beyond this one, that
        of another interpreter; what both have is as this one has it."""
        there = set(self.column("address"))
        for thing in other:
            if thing.address not in there:
                self._words.extend(thing)
        for mine, its in ((self.references, other.references),
                          (self.hidden, other.hidden)):
            for holder, referent in zip(its[::2], its[1::2]):
                if holder not in there:
                    mine.extend((holder, referent))
        self.own |= other.own
        for address, row in other.types.items():
            if address in self.types:
                row = row._replace(count=row.count + self.types[address].count)
            self.types[address] = row

    def __len__(self):
        return len(self._words) // 5

    def __iter__(self):
        return map(CensusObject._make, zip(*[iter(self._words)] * 5))

    def column(self, name):
        """One field of every object."""
        return self._words[CensusObject._fields.index(name)::5]

    def user_counts(self):
        """(type's address, name): count, of the types the target made."""
        return {(address, t.name): t.count
                for address, t in self.types.items() if t.user}

    def is_live(self, core, thing):
        """Does the core hold this object at its address, with its type and a
        positive reference count? core is an elfcore.ElfCore, which raises
        Missing where it holds nothing."""
        if self.gil:
            count, cls = core.words(thing.address, 2)
            # In 3.14 and later free lists are linked through the count, whose
            # upper half is flags, and in between nothing.
            return cls == thing.type and count & 0xFFFFFFFF != 0 and not (
                self.hexversion >= 0x030E0000 and count >> 32 & 0xFFFF)
        _, flags, shared, cls = core.words(thing.address, 4)
        if shared >> 63:
            shared -= 1 << 64
        return cls == thing.type and (flags >> 32) + (shared >> 2) > 0
