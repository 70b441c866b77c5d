/*
 * Arrays of CuPy; see pycupy.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pycupy.h"

enum {
	/* words of an array behind its header: its table of functions, weak
	   references, … */
	ARRAY_SIZE = 2, ARRAY_SHAPE = 3, ARRAY_STRIDES = 6, ARRAY_DTYPE = 11,
	ARRAY_POINTER = 12, ARRAY_BASE = 13, ARRAY_WORDS = 14,
	/* … of a MemoryPointer: its table of functions, … */
	POINTER_DATA = 1, POINTER_DEVICE = 2, POINTER_MEMORY = 3,
	POINTER_WORDS = 4,
	/* … of a BaseMemory, which has none */
	MEMORY_DATA = 0, MEMORY_BYTES = 1, MEMORY_DEVICE = 2, MEMORY_WORDS = 3,
	DEVICES_MAX = 128,
};

/* No device has as much. */
#define BYTES_MAX (UINT64_C(1) << 47)

/** A std::vector of numbers of 8 bytes: how many; false: it can be none. */
static bool count_of(const uint64_t vector[3], uint32_t *ret)
{
	uint64_t bytes = vector[1] - vector[0];

	*ret = (uint32_t)(bytes / 8);
	return vector[0] % 8 == 0 && vector[1] >= vector[0] && bytes % 8 == 0 &&
	       vector[2] >= vector[1] && bytes / 8 <= PYH_NDARRAY_DIMENSIONS_MAX;
}

static bool read_words(struct memory_reader *memory, uint64_t object,
		       uint32_t header, uint64_t *words, int count)
{
	return object != 0 && object % 8 == 0 &&
	       memory_try_read(memory, object + header, words,
			       (size_t)count * sizeof(*words));
}

bool pyh_cupy_memory_read(struct memory_reader *memory, uint64_t object,
			  uint32_t header, struct pyh_cupy_memory *ret)
{
	uint64_t words[MEMORY_WORDS];

	if (!read_words(memory, object, header, words, MEMORY_WORDS) ||
	    words[MEMORY_BYTES] > BYTES_MAX ||
	    (uint32_t)words[MEMORY_DEVICE] >= DEVICES_MAX)
		return false;
	*ret = (struct pyh_cupy_memory){
		.address = object, .data = words[MEMORY_DATA],
		.bytes = words[MEMORY_BYTES],
		.device = (int32_t)words[MEMORY_DEVICE] };
	return true;
}

/** The shape of an array, by its items. */
static bool is_shape(struct memory_reader *memory,
		     const struct pyh_ndarray *array)
{
	uint64_t shape[PYH_NDARRAY_DIMENSIONS_MAX], count = 1;
	uint32_t n = array->num_dimensions;

	if (n && !memory_try_read(memory, array->dimensions, shape, n * 8U))
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (shape[i] > BYTES_MAX ||
		    __builtin_mul_overflow(count, shape[i], &count) ||
		    count > BYTES_MAX)
			return false;
	return count == array->count;
}

bool pyh_cupy_array_read(struct memory_reader *memory, uint64_t object,
			 uint32_t header, struct pyh_ndarray *ret,
			 struct pyh_cupy_memory *ret_memory)
{
	uint64_t words[ARRAY_WORDS], pointer[POINTER_WORDS];
	uint32_t strides;

	if (!read_words(memory, object, header, words, ARRAY_WORDS) ||
	    !read_words(memory, words[ARRAY_POINTER], header, pointer,
			POINTER_WORDS) ||
	    !pyh_cupy_memory_read(memory, pointer[POINTER_MEMORY], header,
				  ret_memory))
		return false;
	*ret = (struct pyh_ndarray){
		.data = pointer[POINTER_DATA],
		.dimensions = words[ARRAY_SHAPE],
		.strides = words[ARRAY_STRIDES],
		.base = words[ARRAY_BASE], .descr = words[ARRAY_DTYPE],
		.count = words[ARRAY_SIZE],
	};
	// Where it has no items, it may be at the end.
	return count_of(words + ARRAY_SHAPE, &ret->num_dimensions) &&
	       count_of(words + ARRAY_STRIDES, &strides) &&
	       strides == ret->num_dimensions && is_shape(memory, ret) &&
	       pyh_dtype_read(memory, ret->descr, header, &ret->dtype) ==
		       PYH_NDARRAY_READ &&
	       !__builtin_mul_overflow(ret->count, ret->dtype.item,
				       &ret->bytes) &&
	       (int32_t)pointer[POINTER_DEVICE] == ret_memory->device &&
	       ret->data >= ret_memory->data &&
	       ret->data - ret_memory->data <= ret_memory->bytes;
}
