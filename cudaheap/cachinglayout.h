/*
 * Where the fields of PyTorch's caching allocator lie, in the release that a
 * process has.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Its structures grew with the releases, and one of them holds a structure of
 * the CUDA toolkit by value. So nothing is taken from a version: the two pools
 * of a device have sets whose headers lead to themselves, lie one behind the
 * other, and say of themselves which is the small one. They tell where they are,
 * what is in front of them tells what statistics there are, and the blocks in
 * them know their pool: from there the fields of a block are few steps.
 *
 * Source: PyTorch c10/cuda/CUDACachingAllocator.cpp and .h, c10/core/
 * CachingDeviceAllocator.h of 1.13 to 2.15; libstdc++ bits/stl_tree.h;
 * c10/util/flat_hash_map.h.
 */
#ifndef CUDAHEAP_CACHINGLAYOUT_H
#define CUDAHEAP_CACHINGLAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/memory.h"

enum {
	CACHING_SET = 48,	/* bytes of a std::set */
	CACHING_TABLE = 32,	/* bytes of a ska::flat_hash_set, and of a map */
	CACHING_STATS = 40,	/* offset in a device's allocator: what is in front
				   is a mutex */
	CACHING_DEVICE_MAX = 8192,	/* bytes of a device's allocator that are
					   looked at */
};

/** Offsets in bytes, from the start of each structure. */
struct caching_layout {
	/* of a BlockPool */
	uint32_t num_sets;	/* of free blocks, then of unmapped ones */
	uint32_t is_small, owner;
	uint32_t pool_size;	/* from a large pool to the small one behind it */
	/* of a device's allocator */
	uint32_t large, small;	/* its pools */
	uint32_t active;	/* set of the blocks that are in use, or waited for */
	uint32_t private_pools;	/* map of private pools; 0: none was found */
	/* of its statistics, from their start */
	uint32_t active_bytes, requested_bytes;	/* requested: 0: not kept */
	uint32_t retries, max_split_size;
	uint32_t num_counters;	/* words between oversize_segments and
				   max_split_size */
	bool has_own_totals;	/* reserved_bytes_by_private_pools */
	/* of a Block */
	uint32_t size, requested;	/* requested: 0: not kept */
	uint32_t pool, data, allocated, mapped;	/* mapped: 0: not kept */
	uint32_t prev, next, events;
	uint32_t context, segment_context, expandable;	/* 0: not kept */
	uint32_t history;	/* 1.13, 2.0: what is there instead of a context */
	uint32_t block_size;
	size_t looked, fitting;	/* blocks */
};

/** The set at an address, by its header. */
struct caching_set {
	uint64_t address, root, leftmost, count;
};

/** False: there is none, or it was not captured. */
bool caching_set_at(struct memory_reader *memory, uint64_t address,
		    struct caching_set *ret);

/** A table at an address. */
struct caching_table {
	uint64_t entries, slots, count;
	uint32_t lookups;
};

/** The same of a table; one that is empty is one too. */
bool caching_table_at(struct memory_reader *memory, uint64_t address,
		      struct caching_table *ret);

/**
 * Call fn for each entry of a set or table; of a table with the address of its
 * value.
 *
 * @param entry  bytes of a table's entry
 * @return false where it does not hold what it says: a node that leads
 *	elsewhere, or another number of them; ret_bad is the address of where
 *	that showed
 */
bool caching_set_each(struct memory_reader *memory, const struct caching_set *set,
		      bool (*fn)(void *context, uint64_t item), void *context,
		      uint64_t *ret_bad);
bool caching_table_each(struct memory_reader *memory,
			const struct caching_table *table, uint32_t entry,
			bool (*fn)(void *context, uint64_t item), void *context,
			uint64_t *ret_bad);

/**
 * Two pools, a large and a small one, anywhere in an object.
 *
 * @param owner  what they say whose they are: 0 for those of a device, else the
 *	object
 * @param ret  num_sets, is_small, owner, pool_size, large and small are set
 */
bool caching_pools_find(struct memory_reader *memory, uint64_t object,
			uint32_t from, uint32_t to, uint64_t owner,
			struct caching_layout *ret);

/**
 * The rest of the layout of a device's allocator, once its pools are found.
 *
 * @param end  bytes of it that may be looked at
 * @return false: it is none, or not all of it was captured
 */
bool caching_layout_find(struct memory_reader *memory, uint64_t device,
			 uint32_t end, struct caching_layout *layout);

#endif
