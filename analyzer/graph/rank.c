/*
 * Numbers for addresses; see rank.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/rank.h"

#include <stdlib.h>

struct error *rank_create(struct rank **ret)
{
	struct rank *rank = calloc(1, sizeof(*rank));

	if (!rank)
		return error_no_memory();
	(void)pthread_mutex_init(&rank->lock, NULL);
	*ret = rank;
	return NULL;
}

void rank_destroy(struct rank *rank)
{
	if (!rank)
		return;
	for (size_t i = 0; i < RANK_ROOT_LEAVES; i++) {
		struct rank_leaf *leaf = rank->leaves[i];

		for (size_t j = 0; leaf && j < RANK_LEAF_CHUNKS; j++)
			free(leaf->chunks[j]);
		free(leaf);
	}
	(void)pthread_mutex_destroy(&rank->lock);
	free(rank);
}

static struct rank_cell *make_cells(struct rank *rank, uint64_t address)
{
	_Atomic(struct rank_leaf *) *leaf_at =
		&rank->leaves[address >> (RANK_CHUNK_LOG2 + 12)];
	struct rank_leaf *leaf = atomic_load(leaf_at);
	_Atomic(struct rank_cell *) *cells_at;
	struct rank_cell *cells;

	if (!leaf) {
		leaf = calloc(1, sizeof(*leaf));
		if (!leaf)
			return NULL;
		atomic_store(leaf_at, leaf);
	}
	cells_at = &leaf->chunks[address >> RANK_CHUNK_LOG2 &
				 (RANK_LEAF_CHUNKS - 1)];
	cells = atomic_load(cells_at);
	if (!cells) {
		cells = calloc(RANK_CELLS, sizeof(*cells));
		if (cells)
			atomic_store(cells_at, cells);
	}
	return cells;
}

struct rank_cell *rank_cells_slow(struct rank *rank, uint64_t address)
{
	struct rank_cell *cells;

	if (address >> 48 || address & 7)
		return NULL;
	(void)pthread_mutex_lock(&rank->lock);
	cells = make_cells(rank, address);
	(void)pthread_mutex_unlock(&rank->lock);
	if (!cells)
		atomic_store(&rank->no_memory, true);
	return cells;
}

typedef void cell_fn(void *context, struct rank_cell *cell, uint64_t address);

static void each_cell(const struct rank *rank, cell_fn *fn, void *context)
{
	for (uint64_t i = 0; i < RANK_ROOT_LEAVES; i++) {
		struct rank_leaf *leaf = rank->leaves[i];

		for (uint64_t j = 0; leaf && j < RANK_LEAF_CHUNKS; j++) {
			struct rank_cell *cells = leaf->chunks[j];
			uint64_t at = (i * RANK_LEAF_CHUNKS + j)
				      << RANK_CHUNK_LOG2;

			for (uint64_t k = 0; cells && k < RANK_CELLS; k++)
				fn(context, &cells[k], at + k * 512);
		}
	}
}

static void count_cell(void *context, struct rank_cell *cell, uint64_t address)
{
	uint64_t *count = context;

	(void)address;
	cell->before = (uint32_t)*count;
	*count += (uint64_t)__builtin_popcountll(
		atomic_load_explicit(&cell->bits, memory_order_relaxed));
}

struct error *rank_seal(struct rank *rank, uint32_t max, uint32_t *ret_count)
{
	uint64_t count = 0;

	if (atomic_load(&rank->no_memory))
		return error_no_memory();
	each_cell(rank, count_cell, &count);
	if (count > max)
		return error_new(ERROR_LIMIT, "%llu objects are more than this "
				 "version can number (%u)",
				 (unsigned long long)count, max);
	*ret_count = (uint32_t)count;
	return NULL;
}

static void list_cell(void *context, struct rank_cell *cell, uint64_t address)
{
	uint64_t **next = context;
	uint64_t bits = atomic_load_explicit(&cell->bits, memory_order_relaxed);

	for (; bits; bits &= bits - 1)
		*(*next)++ = address +
			     8 * (uint64_t)__builtin_ctzll(bits);
}

void rank_addresses(const struct rank *rank, uint64_t *ret)
{
	each_cell(rank, list_cell, &ret);
}
