/*
 * Would PyTorch's caching allocator have found room for so many bytes?
 * SPDX-License-Identifier: Apache-2.0
 *
 * By the rules of its malloc(): how it rounds, which pool it takes, that blocks
 * of other streams and of private pools are never used, when it refuses a block
 * that is too large, what it asks the driver for, and what it gives back first.
 *
 * Source: PyTorch c10/cuda/CUDACachingAllocator.cpp, of 2.0 to 2.15: the rules
 * are the same, and what has become a setting since has the value it had.
 */
#ifndef CUDAHEAP_CACHINGFITS_H
#define CUDAHEAP_CACHINGFITS_H

#include "cudaheap/cachingallocator.h"

enum caching_verdict {
	FIT_CACHED,	/* a free block is taken */
	FIT_DRIVER,	/* the driver is asked, and has enough */
	FIT_RELEASED,	/* … once free segments were given back to it */
	FIT_UNKNOWN,	/* it depends on what the driver has: missing says */
	FIT_NO,
};

struct caching_fit {
	enum caching_verdict verdict;
	uint64_t stream;
	uint64_t rounded;	/* bytes of the block */
	bool small;		/* which pool */
	const struct torch_block *block;	/* FIT_CACHED: that one, else NULL */
	uint64_t rest;		/* of it, bytes that are split off; 0: none are */
	uint64_t asked;		/* bytes that the driver is asked for */
	uint64_t missing;	/* bytes that it must have free beside what is given
				   back to it; 0: none */
	uint64_t released;	/* bytes that can be given back */
	/* Why no block is taken: the largest free ones, 0: none */
	uint64_t largest;	/* of the pool and stream */
	uint64_t other_stream;	/* that would do, of another stream */
	uint64_t other_private;	/* … of a private pool */
	uint64_t refused;	/* … that max_split_size forbids */
	uint64_t free;		/* all free bytes of the pool and stream */
	uint64_t joined;	/* bytes that expandable segments could have used:
				   what is free in all, of the default pools */
};

/**
 * @param size  bytes asked for
 * @param device_free  bytes that the driver had; UINT64_MAX: not known
 */
void caching_fit(const struct caching_allocator *allocator,
		 const struct torch_device *device, uint64_t stream,
		 uint64_t size, uint64_t device_free, struct caching_fit *ret);

/** Bytes of the block that is made for so many. */
uint64_t caching_round(const struct torch_settings *settings, uint64_t size);

/** Bytes of the segment that the driver is asked for when a block needs one. */
uint64_t caching_segment(uint64_t rounded);

/** Bytes of the pages that an expandable segment grows by. */
uint64_t caching_page(bool small);

/**
 * Bytes of whole pages that expandable segments need at least for what is in use
 * and a request of so many bytes: each pool and stream has pages of its own.
 *
 * @return 0: not known, as the release does not keep what was asked for
 */
uint64_t caching_least_pages(const struct caching_allocator *allocator,
			     const struct torch_device *device, uint64_t size);

/** Bytes of a free block that can be given back to the driver. */
uint64_t caching_returnable(const struct torch_device *device,
			    const struct torch_block *block);

#endif
