/*
 * The ledger: chunks of glibc's malloc; see ledgerparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A chunk that Python holds has the row of the object. Of one that is free, the
 * whole pages that malloc_trim() would give back are told from those that lie
 * between chunks in use.
 */
#include "analyzer/ledgerparts.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/mallocheap.h"
#include "image/glibcheap.h"

enum { CHUNK_HEADER = 8 };	/* bytes of one that are malloc's own */

struct chunks {
	struct ledger_making *making;
	const struct glibc_heap *heap;
	size_t block;		/* the next of Python's */
	uint64_t last;		/* where the chunk before ends */
};

/** The first of Python's blocks at or above an address. */
static size_t block_from(const struct ledger_blocks *blocks, uint64_t address)
{
	size_t low = 0, high = blocks->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ledger_block_start(&blocks->items[middle]) < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/** Python's block in a chunk in use, with the rest of those in it passed. */
static bool take_block(struct chunks *chunks, const struct glibc_chunk *chunk,
		       enum ledger_category *ret)
{
	struct ledger_blocks *blocks = &chunks->making->blocks;
	bool found = false;

	if (chunk->start < chunks->last)
		chunks->block = block_from(blocks, chunk->start);
	chunks->last = chunk->end;
	for (; chunks->block < blocks->count; chunks->block++) {
		struct ledger_block *block = &blocks->items[chunks->block];
		uint64_t start = ledger_block_start(block);

		if (start >= chunk->end)
			break;
		if (start < chunk->start)
			continue;
		if (!found)
			*ret = ledger_block_category(block);
		found = true;
		block->size = 0;
	}
	return found;
}

static void tell_used(struct chunks *chunks, const struct glibc_chunk *chunk)
{
	struct ledger_making *making = chunks->making;
	enum ledger_category category = LEDGER_MALLOC_USED;

	if (!take_block(chunks, chunk, &category))
		making->ledger->rows[category].count++;
	if (ledger_tell(making, chunk->start, chunk->end, category) >=
	    CHUNK_HEADER)
		(void)ledger_move(making->ledger, category,
				  LEDGER_MALLOC_OVERHEAD, CHUNK_HEADER);
}

/** With `rest` for what malloc_trim() leaves. */
static void tell_free(struct chunks *chunks, const struct glibc_chunk *chunk,
		      enum ledger_category rest)
{
	struct ledger_making *making = chunks->making;
	struct glibc_span span;
	uint64_t bytes;

	making->ledger->rows[rest].count++;
	if (!glibc_trimmable(chunks->heap, chunk, &span)) {
		(void)ledger_tell(making, chunk->start, chunk->end, rest);
		return;
	}
	(void)ledger_tell(making, chunk->start, span.start, rest);
	bytes = ledger_tell(making, span.start, span.end, LEDGER_MALLOC_TRIM);
	(void)ledger_tell(making, span.end, chunk->end, rest);
	making->ledger->rows[LEDGER_MALLOC_TRIM].count += bytes > 0;
}

static struct error *tell_chunk(void *context, const struct glibc_chunk *chunk)
{
	struct chunks *chunks = context;
	struct resident_mapping *mapping;

	switch (chunk->kind) {
	case GLIBC_USED:
	case GLIBC_MAPPED:
		tell_used(chunks, chunk);
		break;
	case GLIBC_FREE:
		tell_free(chunks, chunk, LEDGER_MALLOC_BURIED);
		break;
	case GLIBC_TOP:
		tell_free(chunks, chunk, LEDGER_MALLOC_TOP);
		break;
	case GLIBC_FAST:
	case GLIBC_TCACHE:
		tell_free(chunks, chunk, LEDGER_MALLOC_CACHED);
		break;
	}
	if (chunk->kind == GLIBC_MAPPED)
		return NULL;
	mapping = residency_at(&chunks->making->residency,
			       chunk->start);
	if (mapping)
		mapping->is_malloc = true;
	return NULL;
}

/** What of malloc's memory is no chunk: headers and ends of heaps. */
static void tell_between(struct chunks *chunks)
{
	struct residency *residency = &chunks->making->residency;
	uint64_t overhead = 0;

	for (size_t i = 0; i < glibc_num_arenas(chunks->heap); i++)
		overhead += glibc_arena(chunks->heap, i)->overhead;
	for (size_t i = 0; i < residency->count; i++) {
		struct resident_mapping *mapping = &residency->mappings[i];
		uint64_t left = mapping->is_malloc ?
			mapping->resident - mapping->told : 0;
		uint64_t bytes = left < overhead ? left : overhead;

		ledger_tell_left(chunks->making, mapping, bytes,
				 LEDGER_MALLOC_OVERHEAD);
		ledger_tell_left(chunks->making, mapping, left - bytes,
				 LEDGER_MALLOC_LOST);
		overhead -= bytes;
	}
}

struct error *ledger_malloc(struct ledger_making *making)
{
	struct glibc_heap *heap;
	struct chunks chunks = { .making = making };
	struct error *err = mallocheap_open(making->opened, &heap);

	if (err)
		return err;
	chunks.heap = heap;
	err = glibc_each_chunk(heap, tell_chunk, &chunks);
	if (!err)
		tell_between(&chunks);
	glibc_heap_close(heap);
	return err;
}
