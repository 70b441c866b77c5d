/*
 * What the parts of chunkowners.h share.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_CHUNKOWNERSPARTS_H
#define ANALYZER_CHUNKOWNERSPARTS_H

#include <stdatomic.h>

#include "analyzer/malloc/chunkowners.h"
#include "image/base/spill.h"
#include "image/nativestacks.h"
#include "pyheap/census/pycensus.h"

enum {
	CHUNK_GRANULE_LOG2 = 16,	/* bytes of a granule of the filter */
	CHUNK_GRANULES = 1 << 16,	/* that it tells apart */
	CHUNK_SMALL = 1024,		/* bytes of what is taken for a structure */
};

/*
 * What is known of a chunk, so that of two the greater one is right: 4 bits say
 * who (the less enum chunk_owner is, the more), one that a pointer leads to its
 * first byte, one that this is no afterthought, and 26 which type, module or
 * thread (the less number, the more). 0: nothing.
 */
#define CHUNK_KEY_NUMBER ((UINT32_C(1) << 26) - 1)
#define CHUNK_KEY_FIRST (UINT32_C(1) << 26)
#define CHUNK_KEY_BEGINS (UINT32_C(1) << 27)
#define CHUNK_KEY_SHIFT 28

static inline uint32_t chunk_key(enum chunk_owner owner, bool begins,
				 uint32_t number)
{
	return (uint32_t)(CHUNK_NUM_OWNERS - owner) << CHUNK_KEY_SHIFT |
	       (begins ? CHUNK_KEY_BEGINS : 0) | CHUNK_KEY_FIRST |
	       (CHUNK_KEY_NUMBER -
		(number < CHUNK_KEY_NUMBER ? number : CHUNK_KEY_NUMBER));
}

/** CHUNK_NUM_OWNERS: nobody yet. */
static inline unsigned int chunk_key_owner(uint32_t key)
{
	return CHUNK_NUM_OWNERS - (key >> CHUNK_KEY_SHIFT);
}

static inline uint32_t chunk_key_number(uint32_t key)
{
	return CHUNK_KEY_NUMBER - (key & CHUNK_KEY_NUMBER);
}

/** A chunk has a word that leads into another one. */
struct chunk_edge {
	uint32_t from, to;	/* ids, and in the last bit: */
};

#define CHUNK_EDGE_ID ((UINT32_C(1) << 31) - 1)
#define CHUNK_EDGE_INSIDE (UINT32_C(1) << 31)	/* of to: not to its first byte */
#define CHUNK_EDGE_BUFFER (UINT32_C(1) << 31)	/* of from: no structure, whose
						   words may be left from before */

/** Memory that is numbers. */
struct chunk_data {
	uint64_t start, end;
};

struct chunkowners {
	const struct image *image;	/* borrowed, as all of opened's */
	const struct pyh_runtime *runtime;	/* NULL: no Python */
	struct pyh_census *census;
	struct chunktable *table;
	struct spill spill;
	unsigned int workers;
	uint8_t *filter;		/* CHUNK_GRANULES: chunks are there */
	_Atomic uint32_t *keys;		/* by id */
	struct spill_array keys_array;
	const struct pyh_type **types;	/* by number: in order of address */
	uint32_t *type_numbers;		/* by id of the type */
	uint32_t num_types;
	struct chunk_data *data;	/* by address, apart; num_data */
	size_t num_data;
	struct native_stacks stacks;
	struct native_stacks locals;	/* thread-local data that is elsewhere */
	/* in the order of from */
	struct chunk_edge *edges;
	struct spill_array edges_array;
	uint64_t num_edges;
	uint32_t *lost;			/* ids, ascending */
	uint32_t *heads;		/* of each: an index of lost */
	struct spill_array lost_array, heads_array;
	uint32_t num_lost;
	struct chunk_coverage coverage;
};

/** Something more is known of a chunk. Safe from any worker. */
static inline void chunk_offer(struct chunkowners *owners, uint32_t id,
			       uint32_t key)
{
	uint32_t before = atomic_load_explicit(&owners->keys[id],
					       memory_order_relaxed);

	while (before < key &&
	       !atomic_compare_exchange_weak_explicit(
		       &owners->keys[id], &before, key, memory_order_relaxed,
		       memory_order_relaxed))
		;
}

static inline uint32_t chunk_known(const struct chunkowners *owners,
				   uint32_t id)
{
	return atomic_load_explicit(&owners->keys[id], memory_order_relaxed);
}

/** Find what is numbers: once the table is there. */
struct error *chunk_data_find(struct chunkowners *owners,
			      struct opened *opened);

/**
 * Step over what is numbers.
 *
 * @param start  where it goes on: at end or beyond it if nothing is left
 * @return where the next begins, or end
 */
uint64_t chunk_data_skip(const struct chunkowners *owners, uint64_t *start,
			 uint64_t end);

/** Is there, a page away at most, what is numbers? */
bool chunk_data_beside(const struct chunkowners *owners, uint64_t start,
		       uint64_t end);

/** Note the granules that chunks in use are in. */
struct error *chunk_filter_make(struct chunkowners *owners);

/** A word at an address leads into a chunk in use. */
typedef void chunk_word_fn(void *context, uint64_t address, uint32_t from,
			   uint32_t id, bool begins);

enum { CHUNK_BATCH = 64 };

/**
 * Words that may lead into chunks. What is to be known of each lies anywhere in
 * large tables, and is asked for some words before it is needed.
 */
struct chunk_batch {
	const struct chunkowners *owners;
	chunk_word_fn *fn;
	void *context;
	uint32_t from;		/* given to fn with words from now on */
	size_t count;
	struct {
		uint64_t address, word;
		uint32_t from, id;
		bool begins;
	} words[CHUNK_BATCH];
};

/** Look at all aligned words that were at an address; some are told later. */
void chunk_words_add(struct chunk_batch *batch, const uint8_t *bytes,
		     size_t size, uint64_t address);

/** Tell of all. */
void chunk_words_end(struct chunk_batch *batch);

/** The number of a type that the census has met; true: there is one. */
static inline bool chunk_type_number(const struct chunkowners *owners,
				     const struct pyh_type *type,
				     uint32_t *ret)
{
	if (type->id >= owners->num_types)
		return false;
	*ret = owners->type_numbers[type->id];
	return true;
}

/**
 * Words of objects of a type that are numbers, whatever they look like. In a dict,
 * between its table and how many items are in use, may be its version. All dicts
 * count on from the same number, by 4096 from 3.12 on, so that it is soon as great
 * as the addresses of a heap that lies as low as those of programs at fixed places.
 *
 * @return false: there are none
 */
static inline bool chunk_numbers_of(const struct chunkowners *owners,
				    const struct pyh_type *type,
				    uint32_t *ret_start, uint32_t *ret_end)
{
	const struct pyh_runtime *runtime = owners->runtime;

	if (!(type->flags & PYH_TPFLAGS_DICT_SUBCLASS) ||
	    !pyh_has(runtime, PYH_DICT_MA_USED) ||
	    !pyh_has(runtime, PYH_DICT_MA_KEYS))
		return false;
	*ret_start = pyh_offset(runtime, PYH_DICT_MA_USED);
	*ret_end = pyh_offset(runtime, PYH_DICT_MA_KEYS);
	return *ret_start < *ret_end;
}

/** True if one of them is at an address. */
bool chunk_type_at(const struct chunkowners *owners, uint64_t address);

/** What the census knows: objects, buffers, and where they lead to. */
struct error *chunk_claims_find(struct chunkowners *owners);

/** Read all memory: what other words lead to, and edges. */
struct error *chunk_words_find(struct chunkowners *owners);

#endif
