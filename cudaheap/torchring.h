/*
 * The rings in which PyTorch's allocators record what happens: a std::vector that
 * a pointer in the allocator's object leads to. How many entries it may have and
 * which is the next to be replaced are near that pointer: fields of their own up
 * to 2.5, later a class around a mutex. How large an entry is, they do not say.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: PyTorch c10/cuda/CUDACachingAllocator.cpp, c10/core/
 * CachingDeviceAllocator.h of 2.0 to 2.15.
 */
#ifndef CUDAHEAP_TORCHRING_H
#define CUDAHEAP_TORCHRING_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"

struct torch_ring {
	uint64_t begin;		/* address of the first entry in the vector */
	uint64_t bytes, room;	/* of those that there are, and reserved */
	uint64_t next;		/* number of the oldest one, where it is full */
	uint64_t limit;		/* as many as there may be */
	bool is_class;		/* of 2.6 and later, with a mutex that can be told */
};

/** A std::vector; false: there is none, or it was not captured. */
bool torch_vector_at(struct memory_reader *memory, uint64_t address,
		     uint64_t *ret_begin, uint64_t *ret_bytes,
		     uint64_t *ret_room);

/**
 * Call fn with all that may be a ring between two offsets of an object, in order
 * of addresses, also with those that are empty, until it returns true.
 *
 * @return false: fn never did
 */
bool torch_ring_each(struct memory_reader *memory, uint64_t object,
		     uint32_t from, uint32_t end,
		     bool (*fn)(void *context, const struct torch_ring *ring),
		     void *context);

/** How many entries of a size there are; 0: they cannot be of that size. */
uint64_t torch_ring_count(const struct torch_ring *ring, uint32_t size);

#endif
