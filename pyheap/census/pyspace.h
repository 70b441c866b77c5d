/*
 * A map of the target's address space for the census: what each page is, and
 * one bit per possible object or buffer address.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Addresses fall into chunks of 1 MiB. Pages are classified once, before the
 * workers start. The bits, one for every 8 bytes, are made on first use and
 * set atomically, so that any worker may mark any address; in address order
 * they are also the list of what was marked.
 */
#ifndef PYHEAP_PYSPACE_H
#define PYHEAP_PYSPACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum {
	PYH_PAGE_LOG2 = 12,
	PYH_CHUNK_LOG2 = 20,
	PYH_CHUNK_PAGES = 1 << (PYH_CHUNK_LOG2 - PYH_PAGE_LOG2),
	PYH_CHUNK_WORDS = 1 << (PYH_CHUNK_LOG2 - 3 - 6),	/* of 64 bits */
	PYH_LEAF_CHUNKS = 1 << 12,	/* chunks in a leaf: 4 GiB */
	PYH_ADDRESS_LOG2 = 48,
	PYH_ROOT_LEAVES = 1 << (PYH_ADDRESS_LOG2 - PYH_CHUNK_LOG2 - 12),
	PYH_GRANULE_LOG2 = 16,		/* bytes of a granule of the filter */
	PYH_FILTER_GRANULES = 1 << 16,	/* that it tells apart */
};

enum pyh_page {
	PYH_PAGE_ABSENT,	/* unmapped, not captured, or known zero */
	PYH_PAGE_ARENA,		/* pools of pymalloc */
	PYH_PAGE_OTHER,		/* any other captured memory */
};

enum pyh_mark {
	PYH_MARK_OBJECT,	/* an object, or in arenas a block with one */
	PYH_MARK_CLAIM,		/* memory that an object owns starts here */
	PYH_MARK_HELD,		/* an object refers to the object here */
	PYH_MARK_TOLD,		/* pyholdings has told of the claim here */
	PYH_NUM_MARKS
};

struct pyh_chunk {
	uint8_t pages[PYH_CHUNK_PAGES];		/* enum pyh_page */
	_Atomic(_Atomic uint64_t *) marks[PYH_NUM_MARKS];
};

struct pyh_leaf {
	struct pyh_chunk *chunks[PYH_LEAF_CHUNKS];
};

/* Memory for bits, handed out in order. */
struct pyh_bits {
	struct pyh_bits *next;
	_Atomic uint64_t *words;
	size_t used;
};

struct pyh_space {
	struct pyh_leaf **leaves;	/* PYH_ROOT_LEAVES */
	/* a byte for all granules whose numbers are alike modulo
	   PYH_FILTER_GRANULES: set if any of them has a PYH_PAGE_OTHER */
	uint8_t *filter;
	atomic_bool no_memory;		/* a mark could not be kept */
	pthread_mutex_t lock;		/* of the making of bits */
	struct pyh_bits *bits;
};

struct error *pyh_space_init(struct pyh_space *space);
void pyh_space_deinit(struct pyh_space *space);

/**
 * Say what the whole pages of [start, end) are. Partial pages at the edges of
 * PYH_PAGE_OTHER are included, of PYH_PAGE_ARENA there are none. Not for
 * concurrent use.
 */
struct error *pyh_space_classify(struct pyh_space *space, uint64_t start,
				 uint64_t end, enum pyh_page page);

/** Say that all pages have been classified: before anything else is asked. */
void pyh_space_seal(struct pyh_space *space);

static inline struct pyh_chunk *pyh_space_chunk(const struct pyh_space *space,
						uint64_t address)
{
	struct pyh_leaf *leaf;

	if (address >> PYH_ADDRESS_LOG2)
		return NULL;
	leaf = space->leaves[address >> (PYH_CHUNK_LOG2 + 12)];
	return leaf ? leaf->chunks[address >> PYH_CHUNK_LOG2 &
				   (PYH_LEAF_CHUNKS - 1)] : NULL;
}

static inline enum pyh_page pyh_space_page(const struct pyh_space *space,
					   uint64_t address)
{
	const struct pyh_chunk *chunk = pyh_space_chunk(space, address);

	return chunk ? (enum pyh_page)chunk->pages[address >> PYH_PAGE_LOG2 &
						   (PYH_CHUNK_PAGES - 1)] :
		       PYH_PAGE_ABSENT;
}

/** Where the filter (of struct pyh_space) has an address. */
static inline uint16_t pyh_space_granule(uint64_t address)
{
	return (uint16_t)(address >> PYH_GRANULE_LOG2);
}

/**
 * False only if the page of address is not PYH_PAGE_OTHER: one look where
 * pyh_space_page() takes three, for the many words that lead elsewhere.
 */
static inline bool pyh_space_may_be_other(const struct pyh_space *space,
					  uint64_t address)
{
	return space->filter[pyh_space_granule(address)];
}

/** The bits of a chunk, made now if there are none; NULL without memory. */
_Atomic uint64_t *pyh_space_bits_slow(struct pyh_space *space,
				      struct pyh_chunk *chunk,
				      enum pyh_mark mark);

/** The PYH_CHUNK_WORDS words of a mark around address; NULL without memory. */
static inline _Atomic uint64_t *pyh_space_bits(struct pyh_space *space,
					       uint64_t address,
					       enum pyh_mark mark)
{
	struct pyh_chunk *chunk = pyh_space_chunk(space, address);
	_Atomic uint64_t *bits;

	if (!chunk)
		return NULL;
	bits = atomic_load_explicit(&chunk->marks[mark], memory_order_acquire);
	return bits ? bits : pyh_space_bits_slow(space, chunk, mark);
}

static inline size_t pyh_space_word(uint64_t address)
{
	return address >> 9 & (PYH_CHUNK_WORDS - 1);
}

static inline uint64_t pyh_space_bit(uint64_t address)
{
	return UINT64_C(1) << (address >> 3 & 63);
}

/**
 * Set the mark of an 8-aligned address in a classified chunk.
 *
 * @return true if it was not set before. False also without memory, which
 *	sets space->no_memory
 */
static inline bool pyh_space_mark(struct pyh_space *space, uint64_t address,
				  enum pyh_mark mark)
{
	_Atomic uint64_t *bits = pyh_space_bits(space, address, mark);
	uint64_t bit = pyh_space_bit(address);

	return bits && !(atomic_fetch_or_explicit(
				 &bits[pyh_space_word(address)], bit,
				 memory_order_relaxed) & bit);
}

/**
 * As pyh_space_mark() for who need not know: one instruction instead of a loop.
 *
 * @return false where no memory was captured near address
 */
static inline bool pyh_space_set(struct pyh_space *space, uint64_t address,
				 enum pyh_mark mark)
{
	_Atomic uint64_t *bits = pyh_space_bits(space, address, mark);

	if (bits)
		(void)atomic_fetch_or_explicit(&bits[pyh_space_word(address)],
					       pyh_space_bit(address),
					       memory_order_relaxed);
	return bits != NULL;
}

/** Take a mark from all addresses. Not for concurrent use. */
void pyh_space_clear(struct pyh_space *space, enum pyh_mark mark);

void pyh_space_unmark(struct pyh_space *space, uint64_t address,
		      enum pyh_mark mark);
bool pyh_space_marked(const struct pyh_space *space, uint64_t address,
		      enum pyh_mark mark);

/**
 * The next marked address at or above address and below end.
 * @return false if there is none
 */
bool pyh_space_next(const struct pyh_space *space, enum pyh_mark mark,
		    uint64_t address, uint64_t end, uint64_t *ret);

/**
 * The last marked address at or above start and below end.
 * @return false if there is none
 */
bool pyh_space_last(const struct pyh_space *space, enum pyh_mark mark,
		    uint64_t start, uint64_t end, uint64_t *ret);

/**
 * Call fn for each address in [start, end) that carries both marks, and count
 * those that carry mark but not other.
 */
uint64_t pyh_space_compare(const struct pyh_space *space, uint64_t start,
			   uint64_t end, enum pyh_mark mark,
			   enum pyh_mark other,
			   void (*fn)(void *context, uint64_t address),
			   void *context);

#endif
