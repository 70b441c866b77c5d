/*
 * Heaps of allocators that take malloc's place: what is theirs, and every
 * block of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * jemalloc, tcmalloc (gperftools') and mimalloc have one thing in common: spans
 * of whole pages, each of which is one large block, or blocks of one size, or
 * held back for later. All spans are found without a symbol, by tables that
 * prove themselves: what they say of an address says the same address. Each
 * allocator has a file of its own; here is what is the same for all.
 */
#ifndef IMAGE_OTHERHEAP_H
#define IMAGE_OTHERHEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"

enum { OTHER_HEAPS_MAX = 8, OTHER_PARTS_MAX = 8 };

/** What a piece of an allocator's memory is. */
enum other_kind {
	OTHER_USED,	/* a block that was asked for and not freed */
	OTHER_CACHED,	/* a block that was freed: kept at hand for a thread */
	OTHER_FREE,	/* a block that was freed, beside others of its size */
	OTHER_UNUSED,	/* pages without blocks, kept for later */
	OTHER_RETURNED,	/* addresses whose memory the system has back, or that
			   never had any */
	OTHER_OVERHEAD,	/* what of a span no block takes */
	OTHER_METADATA,	/* the allocator's own records */
	NUM_OTHER_KINDS
};

struct other_piece {
	uint64_t start, end;
	enum other_kind kind;
};

/** Pages that were handed out, or are held back, together. */
struct other_span {
	uint64_t start, end;
	uint64_t first;		/* address of its first block */
	uint64_t block;		/* bytes of each; 0: it has none */
	uint64_t record;	/* where the allocator describes it */
	uint32_t count;		/* blocks */
	uint32_t live;		/* of them not free; cached ones included */
	enum other_kind kind;	/* of what is behind its blocks; of all of it,
				   where it has none */
	uint8_t part;		/* which part of the heap it is of */
};

/** Blocks of one size. */
struct other_class {
	uint64_t block;		/* bytes of one */
	uint64_t spans, span_bytes;
	uint64_t used, cached, free;	/* blocks */
};

struct other_totals {
	uint64_t bytes[NUM_OTHER_KINDS];
	uint64_t blocks[NUM_OTHER_KINDS];	/* of the first three */
	uint64_t spans;
	uint64_t empty;		/* bytes of spans with blocks, none of them used
				   or cached: they could go as a whole */
};

struct other_heap;

struct other_heaps {
	struct other_heap *heaps[OTHER_HEAPS_MAX];
	size_t count;
};

/**
 * Find all of them, by names of libraries, by symbols, and by tables in the
 * data of each module. Damage is a finding of the image.
 *
 * @param image  borrowed for as long as the heaps are there
 */
struct error *other_heaps_find(struct image *image, struct other_heaps *ret);
void other_heaps_deinit(struct other_heaps *heaps);
void other_heap_close(struct other_heap *heap);

/** "jemalloc". */
const char *other_heap_name(const struct other_heap *heap);

/** The path of the module that it is in; borrowed. NULL: not known. */
const char *other_heap_module(const struct other_heap *heap);

/** NULL, or why it is not broken down: then it has no spans. */
const char *other_heap_unread(const struct other_heap *heap);

/** NULL, or what is not told apart: then cached blocks count as used. */
const char *other_heap_caches_unread(const struct other_heap *heap);

struct other_totals other_heap_totals(const struct other_heap *heap);

/** Parts that it keeps apart, by what they are for; 1: it does not. */
size_t other_heap_num_parts(const struct other_heap *heap);
/** "" where there is but one. */
const char *other_heap_part(const struct other_heap *heap, size_t part);
struct other_totals other_heap_part_totals(const struct other_heap *heap,
					   size_t part);

/** By size; of blocks that have a span for themselves, too. */
size_t other_heap_num_classes(const struct other_heap *heap);
const struct other_class *other_heap_class(const struct other_heap *heap,
					   size_t i);

/** By address, never overlapping. */
size_t other_heap_num_spans(const struct other_heap *heap);
const struct other_span *other_heap_span(const struct other_heap *heap,
					 size_t i);

/** An error ends the walk. */
typedef struct error *other_piece_fn(void *context,
				     const struct other_piece *piece);

/**
 * Call fn for every piece, in order of addresses, without gaps within a span:
 * each block by itself.
 */
struct error *other_heap_each(struct other_heap *heap, other_piece_fn *fn,
			      void *context);

#endif
