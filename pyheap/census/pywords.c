/*
 * Words of the target's memory that lead to a few places; see pywords.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pywords.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/workers.h"

enum {
	PIECE = 256 << 10,		/* bytes searched at one go */
	GRANULE_LOG2 = 16,		/* bytes of a granule of the filter */
	GRANULES = 1 << 16,		/* that it tells apart */
};

#define TAG UINT64_C(7)			/* low bits that are no address */

struct piece {
	uint64_t distance;	/* from the nearest address, in bytes */
	uint64_t start, end;
};

struct searching {
	const struct pyh_word_search *search;
	struct piece *pieces;
	size_t num_pieces;
	struct memory_reader *readers;	/* by worker */
	uint8_t filter[GRANULES];	/* of granules that ranges touch */
};

static int by_start(const void *a, const void *b)
{
	const struct pyh_word_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int by_distance(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->distance != y->distance)
		return x->distance < y->distance ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

/** Order the ranges and let them not overlap. @return how many are left */
static size_t settle_ranges(struct pyh_word_range *ranges, size_t count)
{
	size_t kept = 0;

	qsort(ranges, count, sizeof(*ranges), by_start);
	for (size_t i = 0; i < count; i++) {
		if (kept > 0 && ranges[i].start <= ranges[kept - 1].end) {
			if (ranges[i].end > ranges[kept - 1].end)
				ranges[kept - 1].end = ranges[i].end;
		} else {
			ranges[kept++] = ranges[i];
		}
	}
	return kept;
}

static void make_filter(struct searching *searching, size_t num_ranges)
{
	for (size_t i = 0; i < num_ranges; i++) {
		const struct pyh_word_range *range =
			&searching->search->ranges[i];
		uint64_t first = range->start >> GRANULE_LOG2;
		uint64_t last = (range->end - 1) >> GRANULE_LOG2;

		for (uint64_t at = first; at <= last && at - first < GRANULES;
		     at++)
			searching->filter[at % GRANULES] = 1;
	}
}

static uint64_t distance_of(const struct pyh_word_search *search,
			    uint64_t address)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < search->num_near; i++) {
		uint64_t near = search->near[i];
		uint64_t distance = address > near ? address - near :
						     near - address;

		least = distance < least ? distance : least;
	}
	return least;
}

/**
 * Code leads to no objects. What can be written to as well as run is more than
 * code: closures of libffi, and all there is where a library asked for stacks
 * that can be run.
 */
static bool is_searched(const struct memory_range *range)
{
	return range->state == MEMORY_CAPTURED &&
	       (range->protection & (PF_W | PF_X)) != PF_X;
}

static struct error *make_pieces(struct searching *searching)
{
	const struct memory *memory = searching->search->memory;
	size_t count = 0;

	for (size_t i = 0; i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);

		if (is_searched(range))
			count += (range->end - range->start) / PIECE + 1;
	}
	searching->pieces = calloc(count + 1, sizeof(*searching->pieces));
	if (!searching->pieces)
		return error_no_memory();
	for (size_t i = 0; i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);
		uint64_t at = (range->start + 7) & ~UINT64_C(7);

		while (is_searched(range) && at < range->end) {
			uint64_t left = range->end - at;
			struct piece piece = {
				distance_of(searching->search, at), at,
				at + (left < PIECE ? left : PIECE),
			};

			searching->pieces[searching->num_pieces++] = piece;
			at = piece.end;
		}
	}
	qsort(searching->pieces, searching->num_pieces,
	      sizeof(*searching->pieces), by_distance);
	return NULL;
}

/** True if a word leads into one of the ranges. */
static bool leads_there(const struct pyh_word_search *search, size_t num_ranges,
			uint64_t word)
{
	size_t low = 0, high = num_ranges;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (search->ranges[middle].end <= word)
			low = middle + 1;
		else
			high = middle;
	}
	return low < num_ranges && search->ranges[low].start <= word;
}

static uint64_t word_at(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

/** The filter's answer, which takes two bytes of the word. */
static uint8_t filtered(const struct searching *searching, const uint8_t *bytes)
{
	uint16_t granule;

	memcpy(&granule, bytes + GRANULE_LOG2 / 8, sizeof(granule));
	return searching->filter[granule];
}

static void look_at_word(const struct searching *searching, unsigned int worker,
			 uint64_t address, uint64_t word)
{
	const struct pyh_word_search *search = searching->search;

	if (leads_there(search, search->num_ranges, word & ~TAG))
		search->fn(search->context, worker, address, word & ~TAG);
}

static void search_bytes(const struct searching *searching, unsigned int worker,
			 uint64_t address, const uint8_t *bytes, size_t size)
{
	size_t at = 0;

	// Hardly any word leads there: ask for four together.
	for (; at + 32 <= size; at += 32) {
		const uint8_t *four = bytes + at;

		if (!(filtered(searching, four) | filtered(searching, four + 8) |
		      filtered(searching, four + 16) |
		      filtered(searching, four + 24)))
			continue;
		for (size_t i = 0; i < 32; i += 8)
			look_at_word(searching, worker, address + at + i,
				     word_at(four + i));
	}
	for (; at + 8 <= size; at += 8)
		look_at_word(searching, worker, address + at,
			     word_at(bytes + at));
}

static struct error *search_piece(void *context, unsigned int worker,
				  size_t shard)
{
	const struct searching *searching = context;
	const struct piece *piece = &searching->pieces[shard];
	size_t size = (size_t)(piece->end - piece->start);
	const uint8_t *bytes;

	if (atomic_load_explicit(searching->search->stop, memory_order_relaxed))
		return NULL;
	bytes = memory_view(&searching->readers[worker], piece->start, size);
	if (bytes) {
		search_bytes(searching, worker, piece->start, bytes, size);
		return NULL;
	}
	// Something in it cannot be read: page by page then.
	for (uint64_t at = piece->start; at < piece->end; at += 4096) {
		size = piece->end - at < 4096 ? (size_t)(piece->end - at) : 4096;
		bytes = memory_view(&searching->readers[worker], at, size);
		if (bytes)
			search_bytes(searching, worker, at, bytes, size);
	}
	return NULL;
}

struct error *pyh_words_search(const struct pyh_word_search *search)
{
	struct pyh_word_search settled = *search;
	CLEANUP(free_pointer) struct searching *searching =
		calloc(1, sizeof(*searching));
	CLEANUP(free_pointer) struct memory_reader *readers =
		calloc(search->workers, sizeof(*readers));
	struct error *err = NULL;

	if (!searching || !readers)
		return error_no_memory();
	settled.num_ranges = settle_ranges(settled.ranges, settled.num_ranges);
	searching->search = &settled;
	searching->readers = readers;
	make_filter(searching, settled.num_ranges);
	for (unsigned int i = 0; !err && i < search->workers; i++)
		err = memory_reader_init(&readers[i], search->memory);
	if (!err)
		err = make_pieces(searching);
	if (!err)
		err = workers_run(search->workers, searching->num_pieces,
				  search_piece, searching);
	for (unsigned int i = 0; i < search->workers; i++)
		memory_reader_deinit(&readers[i]);
	free(searching->pieces);
	return err;
}
