/*
 * Arrays of numpy: what they say of themselves, and what of it can be true.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An array that has the flag OWNDATA frees its data; a view keeps its base
 * alive and owns nothing. How many bytes that are, follows from the dimensions
 * and from the size of an item, which the dtype knows.
 *
 * Source: numpy/_core/include/numpy/ndarraytypes.h, numpy/_core/src/multiarray/
 * methods.c (array_sizeof), ctors.c and alloc.c. The first 64 bytes of an array
 * are the same in 1.7 to 2.5; those of a dtype are not, and tell it themselves.
 */
#ifndef PYHEAP_PYNUMPY_H
#define PYHEAP_PYNUMPY_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"

enum {
	PYH_NDARRAY_WORDS = 7,		/* of an array, behind its header */
	PYH_NDARRAY_DIMENSIONS_MAX = 64,
};

struct pyh_dtype {
	uint64_t item;		/* bytes of one */
	char kind;		/* 'i', 'u', 'f', 'c', 'b', 'O', 'S', 'U', 'V' … */
	char order;		/* '=' of this machine, '<', '>', '|' none */
	bool of_objects;	/* items are references, or NULL */
	bool has_objects;	/* … or there are some in them */
	uint64_t fields;	/* dict of names, (dtype, offset, …); or no dict */
	uint64_t base;		/* dtype of what items are made of; 0: nothing */
};

struct pyh_ndarray {
	uint64_t data;
	uint32_t num_dimensions;
	uint64_t dimensions, strides;	/* addresses of arrays of 8 bytes each */
	uint64_t base, descr;
	struct pyh_dtype dtype;
	uint64_t count;		/* items */
	uint64_t bytes;		/* of all */
	bool owns_data;
};

enum pyh_ndarray_read {
	PYH_NDARRAY_READ,
	PYH_NDARRAY_MISSING,	/* its dtype or its shape were not captured:
				   count and bytes are 0 */
	PYH_NDARRAY_BAD,	/* it can be no array */
};

/**
 * @param words  what follows the header of the array
 * @param header  bytes of an object's header
 */
enum pyh_ndarray_read
pyh_ndarray_read(struct memory_reader *memory,
		 const uint64_t words[static PYH_NDARRAY_WORDS],
		 uint32_t header, struct pyh_ndarray *ret);

/** The same of a dtype. */
enum pyh_ndarray_read pyh_dtype_read(struct memory_reader *memory,
				     uint64_t address, uint32_t header,
				     struct pyh_dtype *ret);

#endif
