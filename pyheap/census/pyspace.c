/*
 * A map of the target's address space for the census; see pyspace.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pyspace.h"

#include <stdlib.h>

#include "image/base/hugemem.h"

#define CHUNK_SIZE (UINT64_C(1) << PYH_CHUNK_LOG2)

enum {
	LEAF_LOG2 = PYH_CHUNK_LOG2 + 12,
	BITS_WORDS = HUGEMEM_PAGE / 8,	/* of a struct pyh_bits */
};

struct error *pyh_space_init(struct pyh_space *space)
{
	*space = (struct pyh_space){ 0 };
	(void)pthread_mutex_init(&space->lock, NULL);
	space->leaves = calloc(PYH_ROOT_LEAVES, sizeof(*space->leaves));
	space->filter = calloc(PYH_FILTER_GRANULES, 1);
	return space->leaves && space->filter ? NULL : error_no_memory();
}

static void leaf_destroy(struct pyh_leaf *leaf)
{
	for (size_t i = 0; leaf && i < PYH_LEAF_CHUNKS; i++)
		free(leaf->chunks[i]);
	free(leaf);
}

void pyh_space_deinit(struct pyh_space *space)
{
	for (size_t i = 0; space->leaves && i < PYH_ROOT_LEAVES; i++)
		leaf_destroy(space->leaves[i]);
	while (space->bits) {
		struct pyh_bits *bits = space->bits;

		space->bits = bits->next;
		hugemem_free((void *)bits->words, HUGEMEM_PAGE);
		free(bits);
	}
	free(space->leaves);
	free(space->filter);
	(void)pthread_mutex_destroy(&space->lock);
	*space = (struct pyh_space){ 0 };
}

static struct error *make_chunk(struct pyh_space *space, uint64_t address,
				struct pyh_chunk **ret)
{
	struct pyh_leaf **leaf;
	struct pyh_chunk **chunk;

	leaf = &space->leaves[address >> LEAF_LOG2];
	if (!*leaf)
		*leaf = calloc(1, sizeof(**leaf));
	if (!*leaf)
		return error_no_memory();
	chunk = &(*leaf)->chunks[address >> PYH_CHUNK_LOG2 &
				 (PYH_LEAF_CHUNKS - 1)];
	if (!*chunk)
		*chunk = calloc(1, sizeof(**chunk));
	if (!*chunk)
		return error_no_memory();
	*ret = *chunk;
	return NULL;
}

struct error *pyh_space_classify(struct pyh_space *space, uint64_t start,
				 uint64_t end, enum pyh_page page)
{
	uint64_t limit = UINT64_C(1) << PYH_ADDRESS_LOG2;
	uint64_t step = UINT64_C(1) << PYH_PAGE_LOG2;

	if (end > limit)
		end = limit;
	for (uint64_t at = start & ~(step - 1); at < end;) {
		struct pyh_chunk *chunk;
		struct error *err = make_chunk(space, at, &chunk);

		if (err)
			return err;
		do {
			chunk->pages[at >> PYH_PAGE_LOG2 &
				     (PYH_CHUNK_PAGES - 1)] = (uint8_t)page;
			at += step;
		} while (at < end && (at & (CHUNK_SIZE - 1)) != 0);
	}
	return NULL;
}

static void filter_chunk(struct pyh_space *space, const struct pyh_chunk *chunk,
			 uint64_t first_page)
{
	for (uint64_t i = 0; i < PYH_CHUNK_PAGES; i++) {
		uint64_t address = (first_page + i) << PYH_PAGE_LOG2;

		if (chunk->pages[i] == PYH_PAGE_OTHER)
			space->filter[pyh_space_granule(address)] = 1;
	}
}

void pyh_space_seal(struct pyh_space *space)
{
	for (uint64_t i = 0; i < PYH_ROOT_LEAVES; i++) {
		const struct pyh_leaf *leaf = space->leaves[i];

		for (uint64_t j = 0; leaf && j < PYH_LEAF_CHUNKS; j++) {
			if (leaf->chunks[j])
				filter_chunk(space, leaf->chunks[j],
					     (i * PYH_LEAF_CHUNKS + j) *
						     PYH_CHUNK_PAGES);
		}
	}
}

/** PYH_CHUNK_WORDS words that are zero, with the lock; NULL without memory. */
static _Atomic uint64_t *take_bits(struct pyh_space *space)
{
	struct pyh_bits *bits = space->bits;

	if (!bits || bits->used == BITS_WORDS) {
		bits = calloc(1, sizeof(*bits));
		if (!bits)
			return NULL;
		bits->words = hugemem_alloc(HUGEMEM_PAGE);
		if (!bits->words) {
			free(bits);
			return NULL;
		}
		bits->next = space->bits;
		space->bits = bits;
	}
	bits->used += PYH_CHUNK_WORDS;
	return bits->words + bits->used - PYH_CHUNK_WORDS;
}

_Atomic uint64_t *pyh_space_bits_slow(struct pyh_space *space,
				      struct pyh_chunk *chunk,
				      enum pyh_mark mark)
{
	_Atomic uint64_t *bits;

	(void)pthread_mutex_lock(&space->lock);
	bits = atomic_load(&chunk->marks[mark]);
	if (!bits) {	// another worker may have been faster
		bits = take_bits(space);
		atomic_store(&chunk->marks[mark], bits);
	}
	(void)pthread_mutex_unlock(&space->lock);
	if (!bits)
		atomic_store(&space->no_memory, true);
	return bits;
}

static void clear_leaf(struct pyh_leaf *leaf, enum pyh_mark mark)
{
	for (size_t i = 0; leaf && i < PYH_LEAF_CHUNKS; i++) {
		_Atomic uint64_t *bits = leaf->chunks[i] ?
			atomic_load(&leaf->chunks[i]->marks[mark]) : NULL;

		for (size_t j = 0; bits && j < PYH_CHUNK_WORDS; j++)
			atomic_store_explicit(&bits[j], 0,
					      memory_order_relaxed);
	}
}

void pyh_space_clear(struct pyh_space *space, enum pyh_mark mark)
{
	for (size_t i = 0; i < PYH_ROOT_LEAVES; i++)
		clear_leaf(space->leaves[i], mark);
}

void pyh_space_unmark(struct pyh_space *space, uint64_t address,
		      enum pyh_mark mark)
{
	struct pyh_chunk *chunk = pyh_space_chunk(space, address);
	_Atomic uint64_t *bits = chunk ? atomic_load(&chunk->marks[mark]) : NULL;

	if (bits)
		atomic_fetch_and_explicit(&bits[pyh_space_word(address)],
					  ~pyh_space_bit(address),
					  memory_order_relaxed);
}

bool pyh_space_marked(const struct pyh_space *space, uint64_t address,
		      enum pyh_mark mark)
{
	struct pyh_chunk *chunk = pyh_space_chunk(space, address);
	_Atomic uint64_t *bits = chunk ? atomic_load(&chunk->marks[mark]) : NULL;

	return bits && (atomic_load_explicit(&bits[pyh_space_word(address)],
					     memory_order_relaxed) &
			pyh_space_bit(address));
}

bool pyh_space_next(const struct pyh_space *space, enum pyh_mark mark,
		    uint64_t address, uint64_t end, uint64_t *ret)
{
	address = (address + 7) & ~UINT64_C(7);
	while (address < end && !(address >> PYH_ADDRESS_LOG2)) {
		struct pyh_leaf *leaf =
			space->leaves[address >> LEAF_LOG2];
		struct pyh_chunk *chunk;
		_Atomic uint64_t *bits;
		uint64_t word;

		if (!leaf) {
			address = ((address >> LEAF_LOG2) + 1)
				  << LEAF_LOG2;
			continue;
		}
		chunk = pyh_space_chunk(space, address);
		bits = chunk ? atomic_load(&chunk->marks[mark]) : NULL;
		if (!bits) {
			address = (address & ~(CHUNK_SIZE - 1)) + CHUNK_SIZE;
			continue;
		}
		word = atomic_load_explicit(&bits[pyh_space_word(address)],
					    memory_order_relaxed);
		word &= ~(pyh_space_bit(address) - 1);
		if (!word) {
			address = (address & ~UINT64_C(511)) + 512;
			continue;
		}
		address = (address & ~UINT64_C(511)) +
			  8 * (uint64_t)__builtin_ctzll(word);
		if (address >= end)
			break;
		*ret = address;
		return true;
	}
	return false;
}

bool pyh_space_last(const struct pyh_space *space, enum pyh_mark mark,
		    uint64_t start, uint64_t end, uint64_t *ret)
{
	// Each step leaves what was looked at: a word of bits, or a chunk or a
	// leaf that there is not.
	for (uint64_t below; end > start; end = below) {
		uint64_t address = (end - 1) & ~UINT64_C(7), word;
		struct pyh_chunk *chunk = pyh_space_chunk(space, address);
		_Atomic uint64_t *bits =
			chunk ? atomic_load(&chunk->marks[mark]) : NULL;

		if (!bits) {
			uint64_t size = address >> PYH_ADDRESS_LOG2 ||
					!space->leaves[address >> LEAF_LOG2] ?
				UINT64_C(1) << LEAF_LOG2 : CHUNK_SIZE;

			below = address & ~(size - 1);
			continue;
		}
		below = address & ~UINT64_C(511);
		word = atomic_load_explicit(&bits[pyh_space_word(address)],
					    memory_order_relaxed);
		word &= (pyh_space_bit(address) << 1) - 1;
		if (word) {
			address = below +
				  8 * (63 - (uint64_t)__builtin_clzll(word));
			if (address < start)
				break;
			*ret = address;
			return true;
		}
	}
	return false;
}

/* What is to be compared, and with which other mark. */
struct comparison {
	uint64_t start, end;
	enum pyh_mark mark, other;
	void (*fn)(void *context, uint64_t address);
	void *context;
};

/** The part of pyh_space_compare() for a chunk. */
static uint64_t compare_chunk(const struct pyh_chunk *chunk,
			      const struct comparison *comparison, uint64_t at,
			      uint64_t limit)
{
	const _Atomic uint64_t *bits = atomic_load(
		&chunk->marks[comparison->mark]);
	const _Atomic uint64_t *others = atomic_load(
		&chunk->marks[comparison->other]);
	uint64_t alone = 0;

	for (; bits && at < limit; at += 512) {
		uint64_t word = atomic_load_explicit(&bits[pyh_space_word(at)],
						     memory_order_relaxed);
		uint64_t both = 0;

		if (!word)
			continue;
		if (at < comparison->start)
			word &= ~(pyh_space_bit(comparison->start) - 1);
		if (comparison->end - at < 512)
			word &= pyh_space_bit(comparison->end) - 1;
		if (others)
			both = word & atomic_load_explicit(
					      &others[pyh_space_word(at)],
					      memory_order_relaxed);
		alone += (uint64_t)__builtin_popcountll(word & ~both);
		for (; both; both &= both - 1)
			comparison->fn(comparison->context,
				       at + 8 * (uint64_t)
						    __builtin_ctzll(both));
	}
	return alone;
}

uint64_t pyh_space_compare(const struct pyh_space *space, uint64_t start,
			   uint64_t end, enum pyh_mark mark,
			   enum pyh_mark other,
			   void (*fn)(void *context, uint64_t address),
			   void *context)
{
	struct comparison comparison = {
		.start = start, .end = end, .mark = mark, .other = other,
		.fn = fn, .context = context,
	};
	uint64_t alone = 0, next;

	if (end >> PYH_ADDRESS_LOG2)
		comparison.end = UINT64_C(1) << PYH_ADDRESS_LOG2;
	for (uint64_t at = start & ~UINT64_C(511); at < comparison.end;
	     at = next) {
		const struct pyh_chunk *chunk;

		next = ((at >> LEAF_LOG2) + 1) << LEAF_LOG2;
		if (!space->leaves[at >> LEAF_LOG2])
			continue;
		next = (at & ~(CHUNK_SIZE - 1)) + CHUNK_SIZE;
		chunk = pyh_space_chunk(space, at);
		if (chunk)
			alone += compare_chunk(chunk, &comparison, at,
					       next < comparison.end ? next :
							comparison.end);
	}
	return alone;
}
