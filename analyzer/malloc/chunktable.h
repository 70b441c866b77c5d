/*
 * All chunks of a heap of glibc's malloc, by number in the order of addresses.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Where chunks begin is a rank (analyzer/graph/rank.h): a bit for every place,
 * with counts between. So the chunk that an address lies in is found by two looks
 * at memory, however many there are, and neither starts nor sizes are columns.
 * Marked is where the user's memory begins, 16 bytes after the header. A chunk
 * ends where the next one begins; what is no chunk (ends of heaps, damage,
 * other memory) has a number, too, and is a gap. 4 bytes a chunk, when they are
 * of 100.
 */
#ifndef ANALYZER_CHUNKTABLE_H
#define ANALYZER_CHUNKTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/graph/rank.h"
#include "image/base/spill.h"
#include "image/malloc/glibcheap.h"

enum {
	CHUNK_HEADER = 16,	/* bytes before what the user got */
	CHUNK_GAP = 0xFF,	/* in kinds: no chunk */
};

#define CHUNK_NONE UINT32_MAX

struct chunktable {
	struct rank *users;	/* where the user's memory begins */
	uint32_t count;		/* gaps included; at most 2^31 - 1 */
	uint64_t low, high;	/* the users' memory is in between */
	uint8_t *kinds;		/* enum glibc_kind, or CHUNK_GAP */
	struct spill_array kinds_array;
};

/**
 * Walk over the heap once.
 *
 * @param spill  borrowed; must outlive the table
 * @return ERROR_LIMIT where there are too many chunks
 */
struct error *chunktable_create(struct glibc_heap *heap, struct spill *spill,
				struct chunktable **ret);
/** NULL is fine. */
void chunktable_destroy(struct chunktable *table);

static inline bool chunk_is_used(const struct chunktable *table, uint32_t id)
{
	return table->kinds[id] == GLIBC_USED ||
	       table->kinds[id] == GLIBC_MAPPED;
}

/**
 * The chunk in use that a word leads into, or CHUNK_NONE. An address in the 16
 * bytes of the next chunk's header leads into none: the last 8 bytes of what the
 * user got are there, but most words that lead there were left by malloc's
 * lists.
 *
 * @param ret_begins  true if it leads to the first byte of the user's memory
 */
static inline uint32_t chunk_led_to(const struct chunktable *table,
				    uint64_t word, bool *ret_begins)
{
	uint64_t at = word & ~UINT64_C(7), next = (word | 15) + 1;
	const struct rank_cell *cell = rank_cell(table->users, at), *after = cell;
	uint64_t bit = rank_bit(at), bits = 0;
	uint32_t id;

	if (cell) {
		bits = atomic_load_explicit(&cell->bits, memory_order_relaxed);
		id = cell->before + rank_bits(bits & ((bit << 1) - 1)) - 1;
	} else {
		id = rank_below(table->users, at);
	}
	if (id >= table->count || !chunk_is_used(table, id))
		return CHUNK_NONE;
	*ret_begins = bits & bit && at == word;
	if (*ret_begins)
		return id;
	// A header is what the next chunk begins 16 bytes after.
	if ((next ^ at) >> 9)
		after = rank_cell(table->users, next);
	return after && atomic_load_explicit(&after->bits,
					     memory_order_relaxed) &
				rank_bit(next) ? CHUNK_NONE : id;
}

/** The chunk that an address lies in, with its header, or CHUNK_NONE. */
uint32_t chunktable_find(const struct chunktable *table, uint64_t address);

/** Chunks one after the other. */
struct chunk_cursor {
	const struct chunktable *table;
	size_t chunk, cell;	/* of the rank: where the next one is */
	uint64_t bits;		/* of that cell, those not passed */
	uint32_t id;		/* of the next one */
	uint64_t user;		/* where its memory begins; 0: there is none */
};

/** Begin with a chunk by number. */
void chunk_cursor_set(struct chunk_cursor *cursor,
		      const struct chunktable *table, uint32_t id);

/**
 * Step over one.
 *
 * @param ret_user  where its user's memory begins: 16 above its start. It ends,
 *	with the chunk, 16 below cursor->user, or, if that is 0, at most 2^48
 * @return false at the end
 */
bool chunk_cursor_next(struct chunk_cursor *cursor, uint32_t *ret_id,
		       uint64_t *ret_user);

#endif
