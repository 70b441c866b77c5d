# SPDX-License-Identifier: Apache-2.0
"""Stops at a moment when an interpreter is not as it usually is.

usage: moments_target.py MOMENT     prints "READY PID" when it is there
"""
import os
import sys

ITEMS = 5_000


class Kept:
    pass


KEPT = [Kept() for _ in range(ITEMS)]


def wait(print=print, pid=os.getpid(), read=os.read):
    print("READY", pid, flush=True)
    read(0, 1)


class Meta(type):
    def mro(cls):
        """What type() calls while the class is half made."""
        if cls.__name__ == "Half":
            wait()
        return super().mro()


class Base(metaclass=Meta):
    pass


class AtEnd:
    def __del__(self, wait=wait):
        wait()


def half_made():
    type(Base)("Half", (Base,), {"__slots__": ("one", "two")})


def shutting_down():
    """When sys.modules has None for each module."""
    module = type(sys)("last")
    module.at_end = AtEnd()
    sys.modules["last"] = module


def exit_handlers():
    import atexit
    atexit.register(wait)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
