/*
 * Numbers for addresses: which of all objects, in address order, begins here.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	rank_mark(rank, address);	for each, by any worker
 *	rank_seal(rank, &count);
 *	id = rank_id(rank, address);
 *
 * One bit for every 8 bytes of memory that has objects, and a count before each
 * 64 of them, side by side: a number costs one cache miss, and a thirty-second
 * of the heap in memory.
 */
#ifndef ANALYZER_GRAPH_RANK_H
#define ANALYZER_GRAPH_RANK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum {
	RANK_CHUNK_LOG2 = 20,		/* bytes of a chunk: 1 MiB */
	RANK_CELLS = 1 << (RANK_CHUNK_LOG2 - 3 - 6),
	RANK_LEAF_CHUNKS = 1 << 12,
	RANK_ROOT_LEAVES = 1 << (48 - RANK_CHUNK_LOG2 - 12),
};

#define RANK_NONE UINT32_MAX

struct rank_cell {
	_Atomic uint64_t bits;
	uint32_t before;	/* marks below this cell; after rank_seal() */
};

/** Cells of many chunks, which are anywhere: the fewer pages the better. */
struct rank_slab {
	struct rank_slab *next;
	struct rank_cell *cells;
	size_t used;
};

struct rank_leaf {
	_Atomic(struct rank_cell *) chunks[RANK_LEAF_CHUNKS];
};

/** A chunk that has marks. */
struct rank_chunk {
	uint64_t address;
	const struct rank_cell *cells;
};

struct rank {
	_Atomic(struct rank_leaf *) leaves[RANK_ROOT_LEAVES];
	atomic_bool no_memory;	/* a mark was lost */
	pthread_mutex_t lock;	/* of the making of chunks */
	struct rank_slab *slabs;
	struct rank_chunk *chunks;	/* in order; after rank_seal() */
	size_t num_chunks;
	uint32_t count;
};

struct error *rank_create(struct rank **ret);
/** NULL is fine. */
void rank_destroy(struct rank *rank);

/** The cells of a chunk, made now if there are none; NULL without memory. */
struct rank_cell *rank_cells_slow(struct rank *rank, uint64_t address);

/** The cell of an 8-aligned address below 2^48, or NULL. */
static inline struct rank_cell *rank_cell(const struct rank *rank,
					  uint64_t address)
{
	const struct rank_leaf *leaf;
	struct rank_cell *cells;

	if (address >> 48 || address & 7)
		return NULL;
	leaf = atomic_load_explicit(&rank->leaves[address >>
						  (RANK_CHUNK_LOG2 + 12)],
				    memory_order_acquire);
	if (!leaf)
		return NULL;
	cells = atomic_load_explicit(&leaf->chunks[address >> RANK_CHUNK_LOG2 &
						   (RANK_LEAF_CHUNKS - 1)],
				     memory_order_acquire);
	return cells ? &cells[address >> 9 & (RANK_CELLS - 1)] : NULL;
}

static inline uint64_t rank_bit(uint64_t address)
{
	return UINT64_C(1) << (address >> 3 & 63);
}

/** Set bits of the 512 bytes around an 8-aligned address. */
static inline void rank_mark_bits(struct rank *rank, uint64_t address,
				  uint64_t bits)
{
	struct rank_cell *cell = rank_cell(rank, address);

	if (!cell) {
		struct rank_cell *cells = rank_cells_slow(rank, address);

		if (!cells)
			return;
		cell = &cells[address >> 9 & (RANK_CELLS - 1)];
	}
	(void)atomic_fetch_or_explicit(&cell->bits, bits, memory_order_relaxed);
}

/** Safe from any thread. What is not 8-aligned is not marked. */
static inline void rank_mark(struct rank *rank, uint64_t address)
{
	rank_mark_bits(rank, address, rank_bit(address));
}

static inline void rank_unmark(struct rank *rank, uint64_t address)
{
	struct rank_cell *cell = rank_cell(rank, address);

	if (cell)
		(void)atomic_fetch_and_explicit(&cell->bits,
						~rank_bit(address),
						memory_order_relaxed);
}

/**
 * Count. Nothing is marked after this.
 *
 * @return NULL, or ERROR_LIMIT where there are more than max
 */
struct error *rank_seal(struct rank *rank, uint32_t max, uint32_t *ret_count);

/**
 * A sealed one of cells that are kept elsewhere, for as long as it lives.
 *
 * @param addresses  of the chunks, ascending
 * @param cells  RANK_CELLS of each, in this order
 * @return ERROR_FORMAT where the chunks cannot be those of any; the cells are not
 *	looked at
 */
struct error *rank_borrow(const uint64_t *addresses,
			  const struct rank_cell *cells, size_t num_chunks,
			  uint32_t count, struct rank **ret);

/** Bits set; machines that count them in one instruction are not assumed. */
static inline uint32_t rank_bits(uint64_t bits)
{
	bits -= bits >> 1 & UINT64_C(0x5555555555555555);
	bits = (bits & UINT64_C(0x3333333333333333)) +
	       (bits >> 2 & UINT64_C(0x3333333333333333));
	bits = (bits + (bits >> 4)) & UINT64_C(0x0F0F0F0F0F0F0F0F);
	return (uint32_t)(bits * UINT64_C(0x0101010101010101) >> 56);
}

/** What rank_id() answers for an address, with its cell. */
static inline uint32_t rank_in_cell(const struct rank_cell *cell, uint64_t bit)
{
	uint64_t bits = atomic_load_explicit(&cell->bits, memory_order_relaxed);

	return bits & bit ? cell->before + rank_bits(bits & (bit - 1)) :
			    RANK_NONE;
}

/** The number of the object at an address, 0 … count-1, or RANK_NONE. */
static inline uint32_t rank_id(const struct rank *rank, uint64_t address)
{
	const struct rank_cell *cell = rank_cell(rank, address);

	return cell ? rank_in_cell(cell, rank_bit(address)) : RANK_NONE;
}

/** The address of an object: the other way round. 0: there is none. */
uint64_t rank_address(const struct rank *rank, uint32_t id);

/** The last object that begins at or below an address, or RANK_NONE. */
uint32_t rank_below(const struct rank *rank, uint64_t address);

#endif
