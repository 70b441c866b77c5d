# SPDX-License-Identifier: Apache-2.0
"""A process most of whose memory is lost by C code: as many chunks of 1,000 bytes
as asked for, with no pointer to them."""
import ctypes
import os
import sys

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
for _ in range(int(sys.argv[1])):
    libc.memset(libc.malloc(1000), 1, 1000)
print("READY", os.getpid(), flush=True)
sys.stdin.read()
