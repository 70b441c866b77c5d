# SPDX-License-Identifier: Apache-2.0
"""Start a command in another root folder, as a container's process would run.

usage: enter_root.py ROOT WORKDIR COMMAND [ARG...]    (WORKDIR seen from ROOT)

In a mount namespace of its own, ROOT becomes "/" and the old root is gone: what
/proc/PID/maps then shows to others are paths that mean nothing, or something
else, in their root. Where a new mount namespace is not permitted (a container
without CAP_SYS_ADMIN), a plain chroot has to do. The process id stays, as the
command replaces this program. It has the machine's /dev and /proc where the root
has folders for them.
"""

import ctypes
import os
import platform
import sys

CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def pivot(root):
    """Make root the root of a new mount namespace."""
    check(libc.unshare(CLONE_NEWNS))
    check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    check(libc.mount(root, root, None, MS_BIND, None))
    for folder in b"/dev", b"/proc":
        if os.path.isdir(root + folder):
            check(libc.mount(folder, root + folder, None, MS_BIND | MS_REC,
                             None))
    os.chdir(root)
    # The old root comes to lie on top of the new one, and is taken away.
    check(libc.syscall(SYS_PIVOT_ROOT[platform.machine()], b".", b"."))
    check(libc.umount2(b".", MNT_DETACH))


def main():
    root, workdir, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    try:
        pivot(os.fsencode(root))
    except (OSError, KeyError):
        os.chroot(root)
    os.chdir(workdir)
    os.execv(command[0], command)


main()
