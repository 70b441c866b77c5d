/*
 * PyTorch's caching allocator beside what Python holds: which tensor a block of
 * device memory is for, and what keeps free memory from being given back.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_ALLOCATOR_H
#define ANALYZER_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/tensors/tensors.h"
#include "cudaheap/cachingallocator.h"

struct opened;

/* Whose a block is. */
struct allocator_owner {
	uint32_t tensor;	/* number of one that counts for it; TENSORS_NONE:
				   none that is known */
	uint32_t cxx;		/* number of one that only C++ has, and no
				   object of Python's leads to; TENSORS_NONE */
	uint32_t count;		/* of tensors in it */
};

/* Free memory of a pool and stream of a device. */
struct allocator_pool {
	uint64_t stream, reserved, allocated, active, free;
	uint64_t largest;	/* free block */
	uint64_t returnable;	/* bytes that empty_cache() would give back */
	uint64_t stuck;		/* free bytes that it would not */
	size_t segments, blocks;
	uint64_t id[2];		/* of a private pool */
	bool is_private, is_small;
};

/* A segment in which free bytes are kept by few others. */
struct allocator_stuck {
	uint32_t segment;
	uint32_t tenants;	/* blocks that are not free */
	uint32_t tenant;	/* number of the largest of them */
	uint64_t held;		/* bytes of these */
	uint64_t stuck;		/* free bytes that stay because of them */
};

/* Where it is known from what the driver had free of a device. */
enum allocator_free {
	ALLOCATOR_FREE_UNKNOWN,
	ALLOCATOR_FREE_TOLD,	/* by who asks */
	ALLOCATOR_FREE_EVENT,	/* the allocator recorded it when memory ran out */
	ALLOCATOR_FREE_MESSAGE,	/* the exception says so, and rounds it */
};

struct allocator_device {
	const struct torch_device *device;	/* borrowed */
	struct allocator_owner *owners;		/* of each block */
	struct allocator_pool *pools;		/* largest reserved first */
	size_t num_pools;
	struct allocator_stuck *stuck;		/* most stuck bytes first */
	size_t num_stuck;
	uint64_t inactive_split;	/* free bytes beside others */
	uint64_t largest_free, free, returnable, stuck_bytes, pending;
	uint64_t orphans, orphan_bytes;		/* allocated, of no tensor */
	uint64_t device_free;	/* bytes; UINT64_MAX: not known */
	uint64_t free_error;	/* bytes that this may be more or less */
	enum allocator_free free_from;
	uint64_t waste;		/* bytes that blocks have more than was asked for */
};

struct allocator {
	struct caching_allocator *caching;	/* owned */
	struct tensors *tensors;	/* owned; NULL: they could not be had */
	struct error *tensors_error;	/* owned; why */
	struct tensors_found found;
	struct allocator_device *devices;
	size_t num_devices;
	/* tensors' memory on such devices that is in no block */
	uint64_t foreign, foreign_bytes;
	uint64_t received_bytes;	/* of that, another process's */
};

/**
 * May it be there, and the dump not have it? Else NULL, also where there is none.
 */
struct error *allocator_check(const struct image *image,
			      const struct caching_allocator *caching);

/**
 * Read the allocator, and join it with tensors. It fails where allocator_check()
 * does.
 *
 * @param with_tensors  false: the allocator alone, which needs no Python
 * @param values  as for tensors_find()
 */
struct error *allocator_open(struct opened *opened, bool with_tensors,
			     bool values, struct allocator **ret);
/** NULL is fine. */
void allocator_close(struct allocator *allocator);
static inline void allocator_release(struct allocator **allocator)
{
	allocator_close(*allocator);
}

/** Where the block of a storage begins, on its device; false: it is in none. */
bool allocator_block(const struct allocator *allocator,
		     const struct torch_storage *storage, uint64_t *ret);

enum { ALLOCATOR_OWNER_MAX = 256 };

/**
 * Who most likely has a block that no tensor is in, and what shows it; for
 * blocks in use.
 */
const char *allocator_guess(const struct allocator *allocator, size_t device,
			    size_t block, char text[ALLOCATOR_OWNER_MAX]);

/** "cuda:0" */
enum { ALLOCATOR_NAME_MAX = 16 };
const char *allocator_device_name(const struct allocator *allocator,
				  size_t device,
				  char text[ALLOCATOR_NAME_MAX]);

/** Why there is nothing to tell, in a sentence; NULL: there is. */
const char *allocator_absence(const struct allocator *allocator,
			      char text[ALLOCATOR_OWNER_MAX]);

#endif
