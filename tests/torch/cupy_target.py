# SPDX-License-Identifier: Apache-2.0
"""Arrays of CuPy of many kinds, for test_cupy.py: prints what CuPy says of them and
of its pool, and waits.

usage: cupy_target.py
"""

import json
import os
import sys

import cupy
import numpy

POOL = cupy.get_default_memory_pool()
HELD = {
    "large": cupy.empty((1 << 17, 8), "f8"),
    "scalar": cupy.empty((), "i2"),
    "empty": cupy.empty((0, 3), "f4"),
    "complex": cupy.empty((3, 4, 5, 6), "c16"),
    "fortran": cupy.empty((30, 40), "f4", order="F"),
    "bool": cupy.empty(999, "?"),
}
HELD["view"] = HELD["large"][100:2000:3, ::2]
HELD["transposed"] = HELD["complex"].T
HELD["layers"] = [cupy.empty((64 * (i + 1), 7), "f4") for i in range(6)]
# Goes back to the pool, and not to the device.
del HELD["layers"][2]
# What is somebody else's.
HELD["borrowed"] = cupy.ndarray((10, 50), "f4", cupy.cuda.MemoryPointer(
    cupy.cuda.UnownedMemory(0x7E0000000000, 4000, HELD, 0), 40))
with cupy.cuda.Stream():
    HELD["stream"] = cupy.empty(12345, "i2")
HOST = numpy.arange(777)


def about(name, array):
    return {"name": name, "id": id(array), "shape": list(array.shape),
            "strides": [step // array.itemsize for step in array.strides],
            "dtype": array.dtype.name, "data": array.data.ptr,
            "storage": array.data.mem.ptr, "bytes": array.data.mem.size}


def main():
    arrays = [about(name, one) for name, one in HELD.items()
              if name != "layers"]
    arrays += [about("layers[%d]" % i, one)
               for i, one in enumerate(HELD["layers"])]
    print("ARRAYS " + json.dumps({
        "arrays": arrays, "used": POOL.used_bytes(),
        "total": POOL.total_bytes(), "version": cupy.__version__}),
        flush=True)
    print("READY %d" % os.getpid(), flush=True)
    sys.stdin.readline()


main()
