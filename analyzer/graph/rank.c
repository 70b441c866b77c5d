/*
 * Numbers for addresses; see rank.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/rank.h"

#include <stdlib.h>

#include "image/base/hugemem.h"

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
	for (size_t i = 0; i < RANK_ROOT_LEAVES; i++)
		free(rank->leaves[i]);
	while (rank->slabs) {
		struct rank_slab *slab = rank->slabs;

		rank->slabs = slab->next;
		hugemem_free(slab->cells, HUGEMEM_PAGE);
		free(slab);
	}
	free(rank->chunks);
	(void)pthread_mutex_destroy(&rank->lock);
	free(rank);
}

/** Where the cells of a chunk are noted; NULL without memory. */
static _Atomic(struct rank_cell *) *make_place(struct rank *rank,
					       uint64_t address)
{
	_Atomic(struct rank_leaf *) *leaf_at =
		&rank->leaves[address >> (RANK_CHUNK_LOG2 + 12)];
	struct rank_leaf *leaf = atomic_load(leaf_at);

	if (!leaf) {
		leaf = calloc(1, sizeof(*leaf));
		if (!leaf)
			return NULL;
		atomic_store(leaf_at, leaf);
	}
	return &leaf->chunks[address >> RANK_CHUNK_LOG2 &
			     (RANK_LEAF_CHUNKS - 1)];
}

/** RANK_CELLS that are zero; NULL without memory. */
static struct rank_cell *take_cells(struct rank *rank)
{
	struct rank_slab *slab = rank->slabs;

	if (!slab || slab->used == HUGEMEM_PAGE / sizeof(*slab->cells)) {
		slab = calloc(1, sizeof(*slab));
		if (!slab)
			return NULL;
		slab->cells = hugemem_alloc(HUGEMEM_PAGE);
		if (!slab->cells) {
			free(slab);
			return NULL;
		}
		slab->next = rank->slabs;
		rank->slabs = slab;
	}
	slab->used += RANK_CELLS;
	return slab->cells + slab->used - RANK_CELLS;
}

static struct rank_cell *make_cells(struct rank *rank, uint64_t address)
{
	_Atomic(struct rank_cell *) *cells_at = make_place(rank, address);
	struct rank_cell *cells;

	if (!cells_at)
		return NULL;
	cells = atomic_load(cells_at);
	if (!cells) {
		cells = take_cells(rank);
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

/** The chunks of a leaf, behind those there are. */
static bool list_leaf(struct rank *rank, size_t number)
{
	const struct rank_leaf *leaf = rank->leaves[number];
	struct rank_chunk *chunks;

	if (!leaf)
		return true;
	chunks = realloc(rank->chunks, (rank->num_chunks + RANK_LEAF_CHUNKS) *
					       sizeof(*chunks));
	if (!chunks)
		return false;
	rank->chunks = chunks;
	for (size_t i = 0; i < RANK_LEAF_CHUNKS; i++) {
		if (leaf->chunks[i])
			chunks[rank->num_chunks++] = (struct rank_chunk){
				(number * RANK_LEAF_CHUNKS + i)
					<< RANK_CHUNK_LOG2,
				leaf->chunks[i] };
	}
	return true;
}

struct error *rank_seal(struct rank *rank, uint32_t max, uint32_t *ret_count)
{
	uint64_t count = 0;

	for (size_t i = 0; i < RANK_ROOT_LEAVES; i++)
		if (!list_leaf(rank, i))
			return error_no_memory();
	if (atomic_load(&rank->no_memory))
		return error_no_memory();
	for (size_t i = 0; i < rank->num_chunks; i++) {
		struct rank_cell *cells = rank_cell(rank,
						    rank->chunks[i].address);

		for (size_t j = 0; j < RANK_CELLS; j++) {
			cells[j].before = (uint32_t)count;
			count += rank_bits(atomic_load_explicit(
				&cells[j].bits, memory_order_relaxed));
		}
	}
	if (count > max)
		return error_new(ERROR_LIMIT, "%llu objects are more than this "
				 "version can number (%u)",
				 (unsigned long long)count, max);
	*ret_count = rank->count = (uint32_t)count;
	return NULL;
}

static bool borrow_chunk(struct rank *rank, uint64_t address,
			 const struct rank_cell *cells)
{
	_Atomic(struct rank_cell *) *place = make_place(rank, address);

	if (!place)
		return false;
	atomic_store(place, (struct rank_cell *)(uintptr_t)cells);
	rank->chunks[rank->num_chunks++] = (struct rank_chunk){ address, cells };
	return true;
}

struct error *rank_borrow(const uint64_t *addresses,
			  const struct rank_cell *cells, size_t num_chunks,
			  uint32_t count, struct rank **ret)
{
	struct rank *rank;
	struct error *err = rank_create(&rank);

	if (err)
		return err;
	rank->count = count;
	rank->chunks = calloc(num_chunks + 1, sizeof(*rank->chunks));
	if (!rank->chunks)
		err = error_no_memory();
	for (size_t i = 0; !err && i < num_chunks; i++) {
		if (addresses[i] >> 48 ||
		    addresses[i] % (UINT64_C(1) << RANK_CHUNK_LOG2) ||
		    (i > 0 && addresses[i] <= addresses[i - 1]))
			err = error_new(ERROR_FORMAT, "chunks of memory are out "
					"of order");
		else if (!borrow_chunk(rank, addresses[i],
				       cells + i * RANK_CELLS))
			err = error_no_memory();
	}
	if (err)
		rank_destroy(rank);
	else
		*ret = rank;
	return err;
}

uint64_t rank_address(const struct rank *rank, uint32_t id)
{
	size_t low = 0, high = rank->num_chunks;
	const struct rank_cell *cells;
	uint64_t bits, address;

	if (id >= rank->count)
		return 0;
	// The last chunk, then the last cell, before which are at most id.
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (rank->chunks[middle].cells[0].before <= id)
			low = middle;
		else
			high = middle;
	}
	cells = rank->chunks[low].cells;
	address = rank->chunks[low].address;
	low = 0;
	high = RANK_CELLS;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (cells[middle].before <= id)
			low = middle;
		else
			high = middle;
	}
	bits = atomic_load_explicit(&cells[low].bits, memory_order_relaxed);
	for (uint32_t skip = id - cells[low].before; skip > 0; skip--)
		bits &= bits - 1;
	return address + low * 512 +
	       8 * (uint64_t)__builtin_ctzll(bits);
}

uint32_t rank_below(const struct rank *rank, uint64_t address)
{
	size_t low = 0, high = rank->num_chunks;
	const struct rank_cell *cell;
	uint32_t before;
	uint64_t offset;

	// How many begin at or below it: those before its cell, and in that.
	while (high > low) {
		size_t middle = low + (high - low) / 2;

		if (rank->chunks[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return RANK_NONE;
	offset = address - rank->chunks[low - 1].address;
	if (offset >> RANK_CHUNK_LOG2)
		return (low < rank->num_chunks ?
			rank->chunks[low].cells[0].before : rank->count) - 1;
	cell = &rank->chunks[low - 1].cells[offset >> 9];
	before = cell->before +
		 rank_bits(atomic_load_explicit(&cell->bits,
						memory_order_relaxed) &
			   ((rank_bit(address) << 1) - 1));
	return before - 1;
}
