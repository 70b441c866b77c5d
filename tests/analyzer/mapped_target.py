# SPDX-License-Identifier: Apache-2.0
"""A program whose memory is mapped, and no allocator's that is known.

usage: mapped_target.py BYTES FOLDER

So much each of shared memory, of a file that it makes in the folder, and of what
it asks for behind the heap of malloc.
"""
import ctypes
import mmap
import os
import sys
import tempfile

size = int(sys.argv[1])
shared = mmap.mmap(-1, size)
shared.write(b"s" * size)
with tempfile.TemporaryFile(dir=sys.argv[2]) as file:
    file.write(b"f" * size)
    file.flush()
    mapped = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
mapped.find(b"not there")
libc = ctypes.CDLL(None)
libc.sbrk.argtypes, libc.sbrk.restype = [ctypes.c_ssize_t], ctypes.c_void_p
ctypes.memset(libc.sbrk(size), ord("b"), size)
print("READY", os.getpid(), flush=True)
sys.stdin.read()
