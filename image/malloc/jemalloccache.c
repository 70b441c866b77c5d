/*
 * jemalloc: blocks that threads keep at hand; see jemalloc.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/malloc/jemallocstate.h"
#include "image/registers.h"

enum {
	BINS_MAX = 128,			/* of a thread's cache */
	BIN_SIZE = 24,
	BIN_BLOCKS_MAX = 8192,		/* 5.3: what 16 bits count, in words */
	TLS_REACH = 32 << 10,		/* around the thread pointer */
};

struct bin {
	uint64_t first;		/* address of the lowest of its pointers */
	uint64_t count;
};

/** Can a bin of a thread's cache be there? */
static bool read_bin(struct other_heap *heap, uint64_t at, struct bin *ret)
{
	uint64_t words[3];
	uint16_t head, full, empty;

	if (!memory_try_read(&heap->memory, at, words, sizeof(words)))
		return false;
	if (!jemalloc_layout(heap)->stack_down) {
		ret->count = words[0] >> 32;
		ret->first = words[2] - 8 * ret->count;
		return ret->count <= BIN_BLOCKS_MAX && words[2] % 8 == 0 &&
		       words[2] > 8 * ret->count &&
		       (int32_t)words[0] <= (int32_t)ret->count;
	}
	head = (uint16_t)words[0];
	full = (uint16_t)(words[2] >> 16);
	empty = (uint16_t)(words[2] >> 32);
	ret->first = words[0];
	ret->count = (uint16_t)(empty - head) / 8;
	return words[0] && words[0] % 8 == 0 && full % 8 == 0 &&
	       empty % 8 == 0 &&
	       (uint16_t)(head - full) + (uint16_t)(empty - head) ==
		       (uint16_t)(empty - full);
}

/** The size of all blocks that a bin has; 0: they are not of one, or none. */
static uint64_t bin_size(struct other_heap *heap, const struct bin *bin)
{
	uint64_t size = 0, at;

	for (uint64_t i = 0; i < bin->count; i++) {
		const struct other_span *span;

		if (!memory_try_u64(&heap->memory, bin->first + 8 * i, &at))
			return 0;
		span = other_span_at(heap, at);
		if (!span || !other_is_block(span, at) ||
		    (size && span->block != size))
			return 0;
		size = span->block;
	}
	return size;
}

/** Take up the bins from that of a size on, as far as they agree. */
static struct error *take_bins(struct other_heap *heap, uint64_t *at,
			       uint64_t index)
{
	struct error *err = NULL;
	struct bin bin;

	for (; !err && index < BINS_MAX && read_bin(heap, *at, &bin) &&
	       (bin.count == 0 ||
		bin_size(heap, &bin) == jemalloc_class_size(index)); index++) {
		for (uint64_t i = 0; !err && i < bin.count; i++) {
			uint64_t block;

			if (memory_try_u64(&heap->memory, bin.first + 8 * i,
					   &block))
				err = other_cached_add(heap, block);
		}
		*at += BIN_SIZE;
	}
	return err;
}

/** A block's class, or JEMALLOC_CLASSES where it is of none. */
static uint64_t class_of_size(uint64_t size)
{
	uint64_t index = 0;

	while (index < JEMALLOC_CLASSES && jemalloc_class_size(index) != size)
		index++;
	return index;
}

/**
 * Caches are in the thread-local data of their threads: bins in a row, by size
 * (in 5.2 those of large blocks in a row of their own). The first one that
 * holds something tells of which size it is, and the others follow.
 */
static struct error *find_caches(struct other_heap *heap, uint64_t thread,
				 uint64_t *num_found)
{
	uint64_t at = (thread - TLS_REACH) & ~UINT64_C(7);
	struct error *err = NULL;

	if (thread < TLS_REACH)
		return NULL;
	while (!err && at < thread + TLS_REACH) {
		uint64_t size, index;
		struct bin bin;

		if (!read_bin(heap, at, &bin) || bin.count == 0 ||
		    (size = bin_size(heap, &bin)) == 0 ||
		    (index = class_of_size(size)) >= BINS_MAX) {
			at += 8;
			continue;
		}
		err = take_bins(heap, &at, index);
		++*num_found;
	}
	return err;
}

struct error *jemalloc_find_caches(struct other_heap *heap)
{
	const struct core_notes *notes = &heap->image->notes;
	uint64_t found = 0, thread;
	struct error *err = NULL;
	bool any = false;

	for (size_t i = 0; !err && i < notes->num_threads; i++) {
		if (!core_register(&notes->threads[i], heap->image->machine,
				   CORE_TLS, &thread))
			continue;
		any = true;
		err = find_caches(heap, thread, &found);
	}
	if (!any)
		heap->caches_unread = "where threads keep their data is not "
				      "known";
	else if (found == 0)
		heap->caches_unread = "no cache of a thread was found";
	return err;
}
