/*
 * pymalloc: arenas, pools and live blocks.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/obmalloc.c and Include/internal/pycore_obmalloc.h.
 * 3.8 and 3.9 cut arenas of 256 KiB into pools of 4 KiB, later releases arenas
 * of 1 MiB (2 MiB with huge pages) into pools of 16 KiB. Blocks are multiples
 * of 16 bytes up to 512; larger requests go to malloc.
 *
 * Arenas are listed by the allocator's own array where that can be found
 * (through the interpreter in 3.12 and later, by invariants in the module's
 * data before), else by what pool headers look like.
 */
#ifndef PYHEAP_PYBLOCKS_H
#define PYHEAP_PYBLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/runtime/pyruntime.h"

enum {
	PYH_BLOCK_ALIGN = 16,
	PYH_BLOCK_MAX = 512,		/* bytes; larger blocks are malloc's */
	PYH_BLOCK_SIZES = PYH_BLOCK_MAX / PYH_BLOCK_ALIGN,
	PYH_POOL_HEADER = 48,		/* bytes before the first block */
	PYH_POOL_MAX = 16384,		/* bytes of the largest kind of pool */
	PYH_POOL_BLOCKS_MAX = (PYH_POOL_MAX - PYH_POOL_HEADER) / PYH_BLOCK_ALIGN,
	PYH_POOL_WORDS = (PYH_POOL_BLOCKS_MAX + 63) / 64,
	PYH_ARENA_WORDS = 4,		/* words of bits for its pools */
};

struct pyh_arena {
	uint64_t start;		/* of the first pool */
	uint64_t end;		/* of the last pool ever carved, exclusive */
	uint64_t limit;		/* of the last pool there is room for */
	uint64_t entry;		/* of its arena_object; 0: not to be believed */
	uint32_t free_pools;	/* how many that says there are */
};

struct pyh_arenas {
	struct pyh_arena *arenas;	/* by address, never overlapping */
	size_t count;
	uint32_t pool_size;		/* bytes */
	const char *found_by;		/* for `info` */
};

/**
 * Find the arenas of all interpreters. None at all is no error: count is 0
 * then. Damaged entries are findings of the image.
 */
struct error *pyh_arenas_find(const struct pyh_runtime *runtime,
			      struct pyh_arenas *ret);
void pyh_arenas_deinit(struct pyh_arenas *arenas);

/** A pool header, checked, and which of its carved blocks are free. */
struct pyh_pool {
	uint32_t block_size;		/* bytes, 16 … 512 */
	uint32_t carved;		/* blocks ever handed out */
	uint32_t in_use;		/* ref.count */
	uint64_t free[PYH_POOL_WORDS];	/* bit i: block i is free */
};

enum pyh_pool_state {
	PYH_POOL_USED,
	PYH_POOL_FREE,			/* no block in use; nothing else is set */
	PYH_POOL_DAMAGED,		/* header or free list cannot be true */
};

/**
 * Which pools of an arena are in its list of free ones, as far as that goes.
 *
 * @param ret  a bit for each pool from the start of the arena on
 */
void pyh_free_pools(const struct pyh_arena *arena, uint32_t pool_size,
		    struct memory_reader *memory,
		    uint64_t ret[PYH_ARENA_WORDS]);

/**
 * Check the header of a pool and follow its free list.
 *
 * @param address  of the pool in the target
 * @param bytes  all of the pool, borrowed
 * @param size  bytes of it: the pool size
 * @param ret  set if PYH_POOL_USED; if PYH_POOL_DAMAGED, as by
 *	pyh_pool_recover()
 */
enum pyh_pool_state pyh_pool_parse(uint64_t address, const uint8_t *bytes,
				   uint32_t size, struct pyh_pool *ret,
				   const char **ret_why);

/**
 * Read a pool whose header is damaged by what is left of it: the block size is
 * said twice, and all blocks count as handed out where it does not tell.
 * carved is 0 where nothing is left.
 */
void pyh_pool_recover(uint64_t address, const uint8_t *bytes, uint32_t size,
		      struct pyh_pool *ret);

/** Block size by the header of a pool of this size; 0: there is none. */
uint32_t pyh_pool_block_size(const uint8_t *bytes, uint32_t size);

#endif
