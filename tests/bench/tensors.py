# SPDX-License-Identifier: Apache-2.0
"""The process of a model: parameters in buffers of several sizes, as PyTorch's
allocator asks for them (posix_memalign of 64), and a heap of small objects.

usage: tensors.py GIBIBYTES [--huge]

  --huge  in huge pages, as where the kernel is told to give them to everybody
          (/sys/kernel/mm/transparent_hugepage/enabled is "always")

The numbers are random: what is easier to compress makes a full dump slower.
"""
import ctypes
import os
import random
import sys
import time

MIB = 1 << 20
HUGE = 2 * MIB
MADV_HUGEPAGE = 14
SIZES = (256 * MIB, 64 * MIB, 16 * MIB, 4 * MIB, MIB)


def tensor(libc, size, block, huge):
    address = ctypes.c_void_p()
    assert libc.posix_memalign(ctypes.byref(address), ctypes.c_size_t(64),
                               ctypes.c_size_t(size)) == 0
    if huge and size > HUGE:
        first = (address.value + HUGE - 1) // HUGE * HUGE
        assert libc.madvise(
            ctypes.c_void_p(first),
            ctypes.c_size_t((address.value + size - first) // HUGE * HUGE),
            MADV_HUGEPAGE) == 0
    for at in range(0, size, len(block)):
        # Each piece another one: nothing in it repeats within a frame.
        ctypes.memmove(address.value + at, block, min(len(block), size - at))
    return {"data_ptr": address.value, "size": size, "shape": (size // 4,)}


def main():
    libc = ctypes.CDLL(None)
    left = int(float(sys.argv[1]) * 1024) * MIB
    block = os.urandom(8 * MIB)
    tensors = []
    while left > 0:
        size = random.choice([s for s in SIZES if s <= left])
        tensors.append(tensor(libc, size, block, "--huge" in sys.argv))
        left -= size
    heap = [{"name": "parameter %d" % i, "value": i * 0.5}
            for i in range(100000)]
    print("READY", len(tensors), len(heap), flush=True)
    time.sleep(100000)


main()
