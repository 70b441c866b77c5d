#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heapdump does no harm: whatever happens to it, the target lives on as it
was, and no half-written dump has a dump's name."""
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import patients
from patients import heaptest

STOP = ("--method", "stop", "--max-pause", "60s")
SLOW = (*STOP, "-z", "19")
KILLS = 20
PROFILE = os.path.join(heaptest.SRC, "tests", "lib", "seccomp_profile.py")


def nameless_files():
    """Whether files of the tests' folder may be without a name at first."""
    try:
        os.close(os.open(heaptest.tmp(), os.O_TMPFILE | os.O_RDWR, 0o600))
    except OSError:
        return False
    return True


NAMELESS = nameless_files()


def hear_hangups():
    """Under nohup they are ignored, by heapdump as well."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start(*args, prefix=(), **options):
    return subprocess.Popen([*prefix, heaptest.program("heapdump"),
                             *map(str, args)],
                            stdin=subprocess.DEVNULL,
                            preexec_fn=hear_hangups, **options)


def visible(folder):
    """Names a person would take for dumps."""
    return [name for name in os.listdir(folder) if not name.startswith(".")]


def is_frozen(target):
    return "t" in target.states()


def start_slow(target, folder, **options):
    """A dump that is under way and takes long."""
    process = start(*SLOW, "-o", folder, target.pid, stderr=subprocess.PIPE,
                    stdout=subprocess.PIPE, text=True, **options)
    patients.wait_for("the freeze", lambda: is_frozen(target)
                      or process.poll() is not None)
    return process


def test_kill(target):
    with heaptest.case("killed at %d random moments" % KILLS):
        folder = patients.folder("killed")
        chance = random.Random(4)
        killed = lasts = 0
        # How long a dump lasts is the machine's affair: aim by the last ones.
        for attempt in range(20 * KILLS):
            if killed == KILLS:
                break
            begin = time.monotonic()
            process = start("-q", *STOP, "-o", folder,
                            target.pid)
            if attempt:
                time.sleep(chance.uniform(0, lasts))
                process.kill()
            if process.wait() == -signal.SIGKILL:
                killed += 1
            else:
                lasts = time.monotonic() - begin
            patients.wait_for("the thaw", lambda: not is_frozen(target))
        assert killed == KILLS, "only %d were killed" % killed
        target.assert_well()
        for name in os.listdir(folder):
            # A trial, of no bytes, has a name for a moment.
            path = os.path.join(folder, name)
            if not re.search(r"^\..*\.tmp-\d+$", name):
                patients.Container(path)
            elif NAMELESS:
                assert os.path.getsize(path) == 0, name
    with heaptest.case("killed in the middle"):
        folder = patients.folder("middle")
        process = start_slow(target, folder)
        process.kill()
        process.communicate()
        target.assert_well()
        assert not (os.listdir if NAMELESS else visible)(folder), \
            os.listdir(folder)
    with heaptest.case("killed where files cannot get their names later"):
        folder = patients.folder("named")
        process = start_slow(target, folder, prefix=[
            sys.executable, PROFILE, "linkat=errno"])
        assert not visible(folder)
        left, = os.listdir(folder)
        assert left.endswith(".tmp-%d" % process.pid), left
        process.kill()
        process.communicate()
        target.assert_well()


def test_signals(target):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with heaptest.case("ends in order at " + number.name):
            folder = patients.folder(number.name)
            process = start_slow(target, folder)
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
            assert process.returncode == 130, process.returncode
            assert "interrupted" in errors, errors
            assert not os.listdir(folder), os.listdir(folder)
            target.assert_well()
    with heaptest.case("Ctrl-Z does not leave the target standing"):
        folder = patients.folder("tstp")
        process = start_slow(target, folder)
        process.send_signal(signal.SIGTSTP)
        time.sleep(0.1)
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 130
        target.assert_well()


def test_waits(target):
    with heaptest.case("threads in waiting system calls notice nothing"):
        path = heaptest.tmp("waits")
        for _ in range(10):
            done = heaptest.heapdump("-q", *STOP, "-o", path,
                                     target.pid)
            assert done.returncode == 0, done.stderr
        target.assert_well()


def test_stopped(target):
    with heaptest.case("a stopped target stays stopped"):
        os.kill(target.pid, signal.SIGSTOP)
        patients.wait_for("the stop", lambda: target.states() == {"T"})
        before = target.beats()
        path = heaptest.tmp("stopped")
        done = heaptest.heapdump("-q", *STOP, "-o", path,
                                 target.pid)
        assert done.returncode == 0, done.stderr
        time.sleep(0.3)
        assert target.states() == {"T"}, target.states()
        assert target.beats() == before
    with heaptest.case("also when heapdump is killed"):
        process = start_slow(target, patients.folder("stopped.killed"))
        process.kill()
        process.communicate()
        patients.wait_for("the stop", lambda: target.states() == {"T"})
        time.sleep(0.2)
        assert target.states() == {"T"} and target.beats() == before
    with heaptest.case("and goes on when told to"):
        os.kill(target.pid, signal.SIGCONT)
        target.assert_well()
    with heaptest.case("stopped while it is being dumped, it stops after"):
        process = start_slow(target, patients.folder("stopped.during"))
        os.kill(target.pid, signal.SIGSTOP)
        process.terminate()
        process.communicate(timeout=20)
        patients.wait_for("the stop", lambda: target.states() == {"T"})
        os.kill(target.pid, signal.SIGCONT)
        target.assert_well()


def test_signal_storm(target):
    with heaptest.case("signals on their way are delivered"):
        # SIGWINCH is ignored by default, but passes through a tracer.
        over = threading.Event()

        def storm():
            while not over.is_set():
                os.kill(target.pid, signal.SIGWINCH)
                time.sleep(0.0005)

        thread = threading.Thread(target=storm)
        thread.start()
        try:
            for _ in range(10):
                done = heaptest.heapdump("-q", *STOP, "-o",
                                         heaptest.tmp("storm"), target.pid)
                assert done.returncode == 0, done.stderr
        finally:
            over.set()
            thread.join()
        target.assert_well()


def test_target_ends():
    with heaptest.case("a target that is killed during the dump"):
        with patients.patient() as target:
            folder = patients.folder("ends")
            process = start_slow(target, folder)
            os.kill(target.pid, signal.SIGKILL)
            _, errors = process.communicate(timeout=30)
            assert process.returncode == 1, process.returncode
            assert "ended" in errors, errors
            assert not os.listdir(folder), os.listdir(folder)


def test_spawning():
    with patients.patient("--spawn", "--megabytes", "1") as target:
        with heaptest.case("a target that keeps making threads"):
            path = heaptest.tmp("spawning")
            for _ in range(10):
                done = heaptest.heapdump("-q", *STOP, "-o", path,
                                         target.pid)
                assert done.returncode == 0, done.stderr
                assert patients.Container(path).facts["complete"] == "yes"
            target.assert_well()


def test_pause(target):
    with heaptest.case("an estimate above --max-pause is refused"):
        folder = patients.folder("refused")
        done = heaptest.heapdump("--method", "stop", "--max-pause", "1ms",
                                 "-o", folder, target.pid)
        assert done.returncode == 1
        assert "would stop the process for about" in done.stderr, done.stderr
        assert not os.listdir(folder)
        advice = re.search(r"heapdump (--method stop --max-pause \d+s)[^\n]* %d$"
                           % target.pid, done.stderr.strip())
        assert advice, done.stderr
    with heaptest.case("the command that it advises works"):
        done = heaptest.heapdump("-q", *advice[1].split(), "-o", folder,
                                 target.pid)
        assert done.returncode == 0, done.stderr
    with heaptest.case("the limit lets the target go"):
        path = heaptest.tmp("slow.zst")
        with open(path, "wb") as out:
            process = start("--json", "--method", "stop", "--max-pause",
                            "700ms", "-o", "-",
                            "--no-compress", target.pid,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            out.write(process.stdout.read(1 << 16))
            # Nobody reads on: nothing can be written, nothing more be read.
            patients.wait_for("the thaw", lambda: not is_frozen(target))
            beats = target.beats()
            target.assert_well()
            assert target.beats() != beats and process.poll() is None
            out.write(process.stdout.read())
            errors = process.stderr.read().decode()
            process.wait()
        assert process.returncode == 3, (process.returncode, errors)
        assert '"complete": false' in errors, errors
        pause = float(re.search(r'"pause_ms": ([\d.]+)', errors)[1])
        assert 690 <= pause < 1500, pause
        container = patients.Container(path)
        assert container.facts["complete"] == "no"
        assert container.missing
        assert {reason for _, _, reason, _ in container.missing} == {"failed"}
        missing = int(re.search(r'"missing_bytes": (\d+)', errors)[1])
        assert missing == sum(end - begin for begin, end, _, _
                              in container.missing)


def mount_tmpfs(size, script, *args, **options):
    """Run a shell script with a small tmpfs at $1 that nobody else sees."""
    folder = patients.folder("tmpfs." + size)
    return heaptest.run([
        *heaptest.private_mounts(), "sh", "-c",
        "mount -t tmpfs -o size=%s none \"$1\" || exit 99; %s" % (size, script),
        "sh", folder, *map(str, args)], **options)


def test_space(target):
    program = heaptest.program("heapdump")
    with heaptest.case("too little space is refused beforehand"):
        done = mount_tmpfs("1m", '"$2" --max-pause 60s -o "$1" "$3"; '
                           'echo "status $?"; ls -A "$1"', program, target.pid)
        assert done.returncode != 99, done.stderr
        assert "status 1\n" == done.stdout, done.stdout
        assert "free and the dump needs about" in done.stderr, done.stderr
        assert "--force" in done.stderr
    with heaptest.case("a disk that fills up"):
        done = mount_tmpfs("2m", '"$2" --force --no-compress --max-pause 60s '
                           '-o "$1" "$3"; echo "status $?"; ls -A "$1"',
                           program, target.pid)
        assert "status 1\n" == done.stdout, done.stdout
        assert "No space left on device" in done.stderr, done.stderr
        target.assert_well()
    with heaptest.case("an output that is closed"):
        process = start("--max-pause", "60s", "-o", "-", target.pid,
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.stdout.close()
        errors = process.stderr.read().decode()
        assert process.wait() == 1 and "Broken pipe" in errors, errors
        target.assert_well()


def refused(pid, *words, **options):
    done = heaptest.heapdump("-o", patients.folder("refused.%s.%d" % (
        words[0].replace(" ", "_"), pid)), pid, **options)
    assert done.returncode == 1, (done.returncode, done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr


# An i386 program: pause() for ever.
TINY_CODE = bytes.fromhex("b81d000000cd80ebf7")


def tiny_32bit():
    """The smallest 32-bit program."""
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += (2).to_bytes(2, "little") + (3).to_bytes(2, "little")
    base, size = 0x08048000, 52 + 32 + len(TINY_CODE)

    def words(*values):
        return b"".join(value.to_bytes(4, "little") for value in values)

    header += words(1, base + 84, 52, 0, 0)
    header += b"".join(value.to_bytes(2, "little")
                       for value in (52, 32, 1, 0, 0, 0))
    header += words(1, 0, base, base, size, size, 5, 0x1000)
    return header + TINY_CODE


def test_memory_output(target):
    with heaptest.case("no file in memory that the target's cgroup pays for"):
        with open("/proc/self/cgroup") as file:
            paths = re.findall(r"^\d+:(?:.*\bmemory\b.*|):(.*)$", file.read(),
                               re.M)
        if not paths or paths[0] == "/":
            raise heaptest.Skip("this is the topmost cgroup")
        script = ('"$2" --max-pause 60s -o "$1" "$3"; echo "status $?"; '
                  'ls -A "$1"; "$2" -q --force --max-pause 60s -o "$1/x" "$3";'
                  ' echo "status $?"; ls -A "$1"')
        done = mount_tmpfs("256m", script, heaptest.program("heapdump"),
                           target.pid)
        assert "charged to the process's own cgroup" in done.stderr, done.stderr
        assert done.stdout == "status 1\nstatus 0\nx\n", done.stdout


def test_refusals(target):
    with heaptest.case("no such process"):
        free = int(open("/proc/sys/kernel/pid_max").read()) - 1
        refused(free, "there is no process")
    with heaptest.case("a thread's number"):
        thread = max(map(int, os.listdir("/proc/%d/task" % target.pid)))
        done = heaptest.heapdump(thread)
        assert done.returncode in (1, 2)
        assert "thread of process %d" % target.pid in done.stderr, done.stderr
    with heaptest.case("a zombie"):
        child = subprocess.Popen(["true"])
        patients.wait_for("its end", lambda: open(
            "/proc/%d/stat" % child.pid).read().split()[2] == "Z")
        refused(child.pid, "zombie")
        child.wait()
    with heaptest.case("a kernel thread"):
        if not os.path.exists("/proc/2/stat") or "kthreadd" not in open(
                "/proc/2/stat").read():
            raise heaptest.Skip("none is visible here")
        refused(2, "kernel thread")
    with heaptest.case("heapdump itself"):
        done = heaptest.run(["sh", "-c", 'exec "$0" $$',
                             heaptest.program("heapdump")])
        assert done.returncode in (1, 2)
        assert "itself" in done.stderr, done.stderr
    with heaptest.case("a process that is traced already"):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                                ctypes.c_void_p]
        assert libc.ptrace(0x4206, target.pid, None, None) == 0     # SEIZE
        refused(target.pid, "already traced", str(os.getpid()))
        # Not stopped, so it cannot be detached by asking: but by stopping.
        assert libc.ptrace(0x4207, target.pid, None, None) == 0 # INTERRUPT
        os.waitpid(target.pid, 0x40000000)
        assert libc.ptrace(17, target.pid, None, None) == 0     # DETACH
        target.assert_well()
    with heaptest.case("a 32-bit program"):
        if os.uname().machine != "x86_64":
            raise heaptest.Skip("made for x86-64 only")
        path = heaptest.tmp("tiny32")
        with open(path, "wb") as file:
            file.write(tiny_32bit())
        os.chmod(path, 0o755)
        try:
            child = subprocess.Popen([path])
        except OSError as error:
            raise heaptest.Skip("this kernel runs none: %s" % error)
        try:
            refused(child.pid, "32-bit")
        finally:
            child.kill()
            child.wait()
    test_permission(target)


def test_permission(target):
    with heaptest.case("a process of another user"):
        if os.geteuid() != 0:
            raise heaptest.Skip("needs root to be somebody else")
        program = "/tmp/heapdump.%d" % os.getpid()
        shutil.copy(heaptest.program("heapdump"), program)
        os.chmod(program, 0o755)
        try:
            done = heaptest.run([program, str(target.pid)], user=65534,
                                group=65534, extra_groups=[], cwd="/tmp")
        finally:
            os.unlink(program)
        assert done.returncode == 1, done.returncode
        for word in ("belongs to user 0", "sudo", "cap_sys_ptrace"):
            assert word in done.stderr, done.stderr


def test_own_process():
    with heaptest.case("without privileges, a process of one's own"):
        if os.geteuid() != 0:
            raise heaptest.Skip("needs root to be somebody else")
        with open("/proc/sys/kernel/yama/ptrace_scope") if os.path.exists(
                "/proc/sys/kernel/yama/ptrace_scope") else open(
                    os.devnull) as file:
            if file.read().strip() not in ("", "0"):
                raise heaptest.Skip("kernel.yama.ptrace_scope forbids it")
        folder = "/tmp/heapdump.own.%d" % os.getpid()
        program = os.path.join(folder, "heapdump")
        who = dict(user=65534, group=65534, extra_groups=[], cwd=folder)
        os.mkdir(folder)
        try:
            shutil.copy(heaptest.program("heapdump"), program)
            os.chown(folder, 65534, 65534)
            os.chmod(program, 0o755)
            own = subprocess.Popen(
                ["/usr/bin/python3", "-c", "import time; x = [str(i) for i in "
                 "range(100000)]; print('up', flush=True); time.sleep(600)"],
                stdout=subprocess.PIPE, **who)
            try:
                own.stdout.readline()
                done = heaptest.run([program, "-q", "-o", "own.zst",
                                     str(own.pid)], **who)
                assert done.returncode == 0, done.stderr
                path = os.path.join(folder, "own.zst")
                assert patients.Container(path).facts["complete"] == "yes"
                assert own.poll() is None
            finally:
                own.kill()
                own.communicate()
        finally:
            shutil.rmtree(folder)


def main():
    with patients.patient("--megabytes", "20") as target:
        test_waits(target)
        test_kill(target)
        test_signals(target)
        test_stopped(target)
        test_signal_storm(target)
        test_pause(target)
        test_space(target)
        test_memory_output(target)
        test_refusals(target)
    test_target_ends()
    test_spawning()
    test_own_process()
    heaptest.finish()


main()
