/*
 * Arrays of numpy; see pynumpy.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pynumpy.h"

#include <string.h>

enum {
	/* words of an array */
	ARRAY_DATA, ARRAY_ND, ARRAY_DIMENSIONS, ARRAY_STRIDES, ARRAY_BASE,
	ARRAY_DESCR, ARRAY_FLAGS,
	/* flags of an array */
	OWNDATA = 4,
	/* offsets in a dtype behind its header: kind, type, byteorder and, in
	   1.x, flags of one byte each, then the type's number; from there on
	   1.x: int elsize, alignment. 2.x: 8 bytes each of flags, elsize and
	   alignment */
	DTYPE_KIND = 8,
	DTYPE_ORDER = 10,
	DTYPE_OLD_FLAGS = 11,
	DTYPE_NUMBER = 12,
	DTYPE_REST = 16,
	DTYPE_SIZE = 40,
	/* … and of those of records: subarray, which begins with the dtype of
	   its items, then fields */
	OLD_SUBARRAY = 24,
	NEW_SUBARRAY = 72,
	NUMBER_OBJECT = 17,
	NUMBER_VOID = 20,
	ITEM_REFCOUNT = 1,	/* flag: items hold references */
	ALIGNMENT_MAX = 64,
};

/* Flags of an array that there are: of 1.x and 2.x, and what ufuncs note on one
   that they made of a number of Python's. Source: numpy's ndarraytypes.h and
   abstractdtypes.h (NPY_ARRAY_WAS_PYTHON_INT …). */
#define ALL_FLAGS UINT32_C(0xf800ffff)

/* No array is larger than half the address space. */
#define BYTES_MAX (UINT64_C(1) << 47)

static bool is_alignment(uint64_t value)
{
	return value != 0 && value <= ALIGNMENT_MAX && !(value & (value - 1));
}

enum pyh_ndarray_read pyh_dtype_read(struct memory_reader *memory,
				     uint64_t address, uint32_t header,
				     struct pyh_dtype *ret)
{
	uint64_t flags, size, alignment, subarray = 0;
	uint8_t bytes[DTYPE_SIZE];
	uint32_t old[2], number, rest = NEW_SUBARRAY;

	*ret = (struct pyh_dtype){ 0 };
	if (address % 8)
		return PYH_NDARRAY_BAD;
	if (!memory_try_read(memory, address + header, bytes, sizeof(bytes)))
		return PYH_NDARRAY_MISSING;
	memcpy(&number, bytes + DTYPE_NUMBER, sizeof(number));
	memcpy(old, bytes + DTYPE_REST, sizeof(old));
	memcpy(&flags, bytes + DTYPE_REST, sizeof(flags));
	memcpy(&size, bytes + DTYPE_REST + 8, sizeof(size));
	memcpy(&alignment, bytes + DTYPE_REST + 16, sizeof(alignment));
	// In 2.x the upper half of the flags is where 1.x has the alignment,
	// which is never 0.
	if (old[1] != 0) {
		size = old[0];
		alignment = old[1];
		flags = bytes[DTYPE_OLD_FLAGS];
		rest = OLD_SUBARRAY;
	}
	if (!is_alignment(alignment) || size > BYTES_MAX)
		return PYH_NDARRAY_BAD;
	ret->item = size;
	ret->kind = (char)bytes[DTYPE_KIND];
	ret->order = (char)bytes[DTYPE_ORDER];
	ret->of_objects = number == NUMBER_OBJECT && size == 8;
	ret->has_objects = flags & ITEM_REFCOUNT;
	// Those that numpy 2 calls new have nothing of the sort, but no fields
	// either.
	if (number != NUMBER_VOID)
		return PYH_NDARRAY_READ;
	(void)memory_try_u64(memory, address + header + rest, &subarray);
	(void)memory_try_u64(memory, address + header + rest + 8, &ret->fields);
	if (subarray != 0 && subarray % 8 == 0)
		(void)memory_try_u64(memory, subarray, &ret->base);
	return PYH_NDARRAY_READ;
}

enum pyh_ndarray_read
pyh_ndarray_read(struct memory_reader *memory,
		 const uint64_t words[static PYH_NDARRAY_WORDS],
		 uint32_t header, struct pyh_ndarray *ret)
{
	uint64_t shape[PYH_NDARRAY_DIMENSIONS_MAX], count = 1;
	uint32_t n = (uint32_t)words[ARRAY_ND];
	enum pyh_ndarray_read read;

	*ret = (struct pyh_ndarray){
		.data = words[ARRAY_DATA],
		.num_dimensions = n,
		.dimensions = words[ARRAY_DIMENSIONS],
		.strides = words[ARRAY_STRIDES],
		.base = words[ARRAY_BASE],
		.descr = words[ARRAY_DESCR],
		.owns_data = words[ARRAY_FLAGS] & OWNDATA,
	};
	if (n > PYH_NDARRAY_DIMENSIONS_MAX || ret->dimensions % 8 ||
	    ret->strides % 8 || ret->base % 8 ||
	    ((uint32_t)words[ARRAY_FLAGS] & ~ALL_FLAGS))
		return PYH_NDARRAY_BAD;
	read = pyh_dtype_read(memory, ret->descr, header, &ret->dtype);
	if (read != PYH_NDARRAY_READ)
		return read;
	if (n > 0 && !memory_try_read(memory, ret->dimensions, shape, n * 8U))
		return PYH_NDARRAY_MISSING;
	for (uint32_t i = 0; i < n; i++)
		if (shape[i] > BYTES_MAX ||
		    __builtin_mul_overflow(count, shape[i], &count) ||
		    count > BYTES_MAX)
			return PYH_NDARRAY_BAD;
	ret->count = count;
	return __builtin_mul_overflow(count, ret->dtype.item, &ret->bytes) ||
			       ret->bytes > BYTES_MAX ?
		       PYH_NDARRAY_BAD : PYH_NDARRAY_READ;
}
