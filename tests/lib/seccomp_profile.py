# SPDX-License-Identifier: Apache-2.0
"""Seccomp filters for targets: one that lets through exactly what containers'
default profile does on x86-64 (without added capabilities), and ones that
forbid single calls.

    python3 seccomp_profile.py container|CALL=ACTION[,...] PROGRAM ARGS...

installs a filter and becomes PROGRAM. ACTION: kill, errno.

The facts (which calls, which arguments) are those of the profile of Docker and
containerd as of 2024: everything is refused with EPERM but what is named there.
Said the other way round, which is shorter: of the calls up to number 449, these
are refused."""
import ctypes
import os
import re
import struct
import sys

REFUSED = """_sysctl acct add_key afs_syscall bpf clock_settime create_module
    delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick
    get_kernel_syms get_mempolicy getpmsg init_module ioperm iopl kcmp
    kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages mount
    mount_setattr move_mount move_pages nfsservctl open_by_handle_at open_tree
    perf_event_open pidfd_getfd pivot_root process_madvise putpmsg query_module
    quotactl quotactl_fd reboot request_key security set_mempolicy
    set_mempolicy_home_node setdomainname sethostname setns settimeofday swapoff
    swapon sysfs syslog tuxcall umount2 unshare uselib userfaultfd ustat vhangup
    vserver""".split()
LAST = 449
CLONE_NAMESPACES = 0x7E020000
PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
AF_VSOCK = 40

ALLOW, KILL = 0x7FFF0000, 0x80000000
ARCH_X86_64 = 0xC000003E
LOAD, JEQ, JGT, AND, RET = 0x20, 0x15, 0x25, 0x54, 0x06
NR, ARCH, ARGUMENT_0 = 0, 4, 16


def errno(number):
    return 0x00050000 | number


def numbers():
    with open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h") as file:
        return {name: int(number) for name, number in
                re.findall(r"#define __NR_(\w+) (\d+)", file.read())}


def step(code, k, jt=0, jf=0):
    return struct.pack("<HBBI", code, jt, jf, k)


def one_call(number, *steps):
    """Steps for one call, which end in RET; else the number is loaded still."""
    return [step(JEQ, number, 0, len(steps)), *steps]


def refuse(number, action):
    return one_call(number, step(RET, action))


def container():
    known = numbers()
    eperm = errno(1)
    program = []
    for name in REFUSED:
        if name in known:
            program += refuse(known[name], eperm)
    program += refuse(known["clone3"], errno(38))
    program += one_call(known["clone"], step(LOAD, ARGUMENT_0),
                        step(AND, CLONE_NAMESPACES), step(JEQ, 0, 0, 1),
                        step(RET, ALLOW), step(RET, eperm))
    program += one_call(known["socket"], step(LOAD, ARGUMENT_0),
                        step(JEQ, AF_VSOCK, 0, 1), step(RET, eperm),
                        step(RET, ALLOW))
    personality = [step(LOAD, ARGUMENT_0)]
    for value in PERSONALITIES:
        personality += one_call(value, step(RET, ALLOW))
    program += one_call(known["personality"], *personality, step(RET, eperm))
    program += [step(JGT, LAST, 0, 1), step(RET, eperm)]
    return program


def single(text):
    known = numbers()
    program = []
    for rule in text.split(","):
        name, action = rule.split("=")
        program += refuse(known[name], KILL if action == "kill" else errno(1))
    return program


def install(program):
    program = [step(LOAD, ARCH), step(JEQ, ARCH_X86_64, 1, 0), step(RET, KILL),
               step(LOAD, NR), *program, step(RET, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(
        struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    prctl = libc.prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.addressof(header), 0, 0):
        raise OSError(ctypes.get_errno(), "installing a seccomp filter")


if __name__ == "__main__":
    install(container() if sys.argv[1] == "container" else single(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
