/*
 * Arrays of CuPy, whose data is on a GPU: what they say of themselves, and what of
 * it can be true.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An array leads to a MemoryPointer, which leads to the memory that it is in: that
 * of a pool, or what was allocated for it. Several arrays may be in one.
 *
 * Source: cupy/_core/core.pxd, cupy/cuda/memory.pxd of 12 to 14, compiled by Cython:
 * fields are in the order of their declaration.
 */
#ifndef PYHEAP_PYCUPY_H
#define PYHEAP_PYCUPY_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/types/pynumpy.h"

/** A cupy.cuda.memory.BaseMemory: bytes of a device. */
struct pyh_cupy_memory {
	uint64_t address;	/* of the object */
	uint64_t data, bytes;
	int32_t device;		/* number */
};

/** False: it can be none, or was not captured. @param header  of an object */
bool pyh_cupy_memory_read(struct memory_reader *memory, uint64_t object,
			  uint32_t header, struct pyh_cupy_memory *ret);

/**
 * An array: as one of NumPy's that owns nothing, and where its data is. Of what is
 * not in its memory, whose shape has another number of items than it says, or
 * whose dtype is none, it is said to be no array.
 */
bool pyh_cupy_array_read(struct memory_reader *memory, uint64_t object,
			 uint32_t header, struct pyh_ndarray *ret,
			 struct pyh_cupy_memory *ret_memory);

#endif
