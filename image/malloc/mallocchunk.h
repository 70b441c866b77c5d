/*
 * The chunk of glibc's malloc that an address of an image lies in.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Chunks have a header in front that says where the next one is, and that one
 * whether this is in use. So each region is walked from its start: the heap of
 * brk, a thread's arena, or a chunk with a mapping of its own. Addresses that
 * come in ascending order cost one walk for all, also where there is no chunk.
 * Chunks that malloc keeps at hand for the next call (tcache, fast bins) look in
 * use.
 *
 * Source: glibc malloc/malloc.c and malloc/arena.c, 2.26 to 2.43.
 */
#ifndef IMAGE_MALLOCCHUNK_H
#define IMAGE_MALLOCCHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"

struct malloc_chunk {
	uint64_t start, end;	/* what the user got */
	bool in_use;
};

/** Pages of a mapping on which no chunk with a mapping of its own begins. */
struct malloc_bare {
	uint64_t start, end;	/* of the mapping */
	uint64_t from, to;	/* the pages; equal: none is known */
};

/** Begin with all zeroes but memory, which is borrowed. */
struct malloc_walk {
	struct memory_reader *memory;
	uint64_t start, end;	/* of the region walked last; 0: none */
	uint64_t first, at;	/* headers of its first chunk, of the last seen */
	struct malloc_bare bare;
};

/**
 * @param start, end  the mapping, as far as it is of one kind, that address
 *	lies in
 * @return false where there is no chain of chunks: another allocator's memory,
 *	or damaged
 */
bool malloc_chunk_at(struct malloc_walk *walk, uint64_t start, uint64_t end,
		     uint64_t address, struct malloc_chunk *ret);

#endif
