# SPDX-License-Identifier: Apache-2.0
"""A target of test_watch.py that does what lines on its standard input say, and
answers each with a line.

usage: watched.py [NAME]
"""
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time


class Marker:
    """What the dump is searched for."""


MARKERS = [Marker() for _ in range(1234)]
KEPT, OPENED, CHILDREN = [], [], []
COUNTS = {}


def count(number, _frame):
    COUNTS[number] = COUNTS.get(number, 0) + 1


def grow(mebibytes):
    """Resident memory, all of it touched."""
    KEPT.append(bytearray(b"x") * int(float(mebibytes) * (1 << 20)))


def leak(rate, seconds):
    """So many MiB a second, in twenty steps a second."""
    began = time.monotonic()
    for step in range(int(float(seconds) * 20)):
        grow(float(rate) / 20)
        time.sleep(max(0, began + (step + 1) / 20 - time.monotonic()))


def threads(number):
    for _ in range(int(number)):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()


def fds(number):
    OPENED.extend(os.open("/dev/null", os.O_RDONLY)
                  for _ in range(int(number)))


def fault():
    """In a thread of its own, whose id is told before."""
    print("fault %d" % threading.get_native_id(), flush=True)
    ctypes.string_at(0x123)


def churn(number):
    """Threads that come and go."""
    for _ in range(int(number)):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()


def write(path, mebibytes):
    """Pages of a file, in the cgroup's account, and clean."""
    with open(path, "wb") as file:
        for _ in range(int(mebibytes)):
            file.write(b"y" * (1 << 20))
        file.flush()
        os.fsync(file.fileno())


def spawn(*args):
    """A child that is another target; keeps its pipes."""
    child = subprocess.Popen([sys.executable, __file__, *args],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    CHILDREN.append(child)
    return child.pid


def tell(index, *words):
    child = CHILDREN[int(index)]
    child.stdin.write((" ".join(words) + "\n").encode())
    child.stdin.flush()
    return child.stdout.readline().decode().strip()


def main():
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, count)
    orders = {
        "grow": grow, "leak": leak, "threads": threads, "fds": fds,
        "churn": churn, "write": write, "spawn": spawn, "tell": tell,
        "free": KEPT.clear, "abort": os.abort,
        "counts": lambda number: COUNTS.get(int(number), 0),
        "fault": lambda: threading.Thread(target=fault).start()
        or time.sleep(1000),
        "kill": lambda number: os.kill(os.getpid(), int(number)),
        "exit": lambda status: os._exit(int(status)),
    }
    print("READY %d" % os.getpid(), flush=True)
    for line in sys.stdin:
        name, *args = line.split()
        print(orders[name](*args), flush=True)


main()
