/*
 * What each object holds from the allocators, piece by piece.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The totals of a census say what objects hold together. Here is each block
 * once: the object's own, and those that it claims.
 */
#ifndef PYHEAP_PYHOLDINGS_H
#define PYHEAP_PYHOLDINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "pyheap/census/pyblocks.h"
#include "pyheap/census/pycensus.h"

struct pyh_holding {
	const struct pyh_type *type;	/* of the object that holds it */
	uint64_t object;	/* address of that */
	uint64_t start;		/* of the block, as the allocator gave it */
	/* bytes: in arenas of the block; elsewhere those that were asked for,
	   as far as the object tells */
	uint64_t size;
	uint32_t arena;		/* its number, as of pyh_arena_use();
				   PYH_HOLDING_OUTSIDE: in none */
	unsigned int worker;	/* that calls: 0 … pyh_census_workers() - 1 */
	bool claimed;		/* beside the object: not its own block */
	bool in_module;		/* it is part of a module's data */
};

enum { PYH_HOLDING_OUTSIDE = UINT32_MAX };

typedef void pyh_holding_fn(void *context, const struct pyh_holding *holding);

/**
 * Call fn for every block that an object holds, on all workers and in no
 * order. A block that several objects claim is the first one's. Reads the image
 * once more.
 */
struct error *pyh_holdings_each(struct pyh_census *census, pyh_holding_fn *fn,
				void *context);

/* --- how full the arenas are ------------------------------------------------ */

/**
 * An arena, or in free-threaded builds a page of mimalloc, which is a pool of
 * its own.
 */
struct pyh_arena_use {
	uint64_t start, limit;
	uint64_t used;		/* bytes of blocks in use */
	uint64_t blocks;	/* how many */
	uint64_t overhead;	/* headers of pools, and ends that are too small
				   for a block */
	uint32_t pool_size;	/* bytes */
	/* a bit for each pool without blocks in use */
	uint64_t empty[PYH_ARENA_WORDS];
};

uint32_t pyh_arena_count(const struct pyh_census *census);

/** Read the headers of an arena's pools. Not for concurrent use. */
void pyh_arena_use(struct pyh_census *census, uint32_t arena,
		   struct pyh_arena_use *ret);

/**
 * What arenas lie in, in address order: segments of mimalloc, or themselves with
 * what of them is too little for a pool. Not for concurrent use.
 */
uint32_t pyh_area_count(const struct pyh_census *census);
void pyh_area(struct pyh_census *census, uint32_t i, uint64_t *ret_start,
	      uint64_t *ret_limit);

#endif
