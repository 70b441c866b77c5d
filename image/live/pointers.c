/*
 * Words of memory that are addresses; see pointers.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/pointers.h"

#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/workers.h"

enum {
	PIECE_WORDS = 64,		/* looked at together */
	PIECE = 8 * PIECE_WORDS,
	PIECES_LEAST = 8,		/* of the smallest memory */
	BYTES_PER_PIECE = 256 << 10,	/* of large memory */
	PIECES_ENOUGH = 256,
	BYTES_BEYOND = 4 << 20,		/* … where there are so many already */
	PIECES_AT_ONCE = 64,
	PIECES_OF_END = 8,
	/* A piece with one pointer in so many words is part of a table. */
	FULL = 8,
	SHARD = 4 << 20,		/* bytes searched at one go */
	READ = 256 << 10,		/* … read at once */
	FILTER_LOG2 = 20,		/* bits */
};

/* --- how many ------------------------------------------------------------------- */

static bool is_known(const struct standing *standing, uint64_t word)
{
	const struct select_span *known = standing->known;
	size_t count = standing->num_known, i;

	if (word % 8 != 0 || count == 0 || word < known[0].start ||
	    word >= known[count - 1].end)
		return false;
	i = standing_find(known, count, word);
	return known[i].start <= word;
}

static size_t count_pointers(const struct standing *standing,
			     const uint64_t *words)
{
	size_t found = 0;

	for (size_t i = 0; i < PIECE_WORDS; i++)
		found += is_known(standing, words[i]);
	return found;
}

/** A number that looks like chance and is the same each time. */
static uint64_t scatter(uint64_t number)
{
	number *= UINT64_C(0x9E3779B97F4A7C15);
	return number ^ number >> 32;
}

/**
 * One place in each of equal parts of the memory, anywhere in the part, so that
 * what repeats itself is met at all of its phases. Places that are not there
 * are left out.
 */
static size_t pick_places(const struct standing *standing, uint64_t start,
			  uint64_t part, size_t first, size_t count,
			  uint64_t *ret)
{
	size_t picked = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t room = part - PIECE;
		uint64_t at = start + (first + i) * part;

		at = (at + scatter(at) % (room + 1) + 7) & ~UINT64_C(7);
		if (standing_extent(standing, at) >= PIECE)
			ret[picked++] = at;
	}
	return picked;
}

static size_t how_many(uint64_t size)
{
	uint64_t pieces = PIECES_LEAST + size / BYTES_PER_PIECE;

	if (pieces > PIECES_ENOUGH)
		pieces = PIECES_ENOUGH + size / BYTES_BEYOND;
	return (size_t)pieces;
}

/** A stack grows down: whatever its size, its end is in use. */
static bool ends_as_stack(struct standing *standing, uint64_t start,
			  uint64_t end)
{
	uint64_t words[PIECES_OF_END * PIECE_WORDS];
	uint64_t at = (end & ~UINT64_C(7)) - sizeof(words);

	if (at < start || standing_extent(standing, at) < sizeof(words))
		return false;
	if (!standing_read(standing, at, words, sizeof(words)))
		return true;
	for (size_t i = 0; i < PIECES_OF_END; i++)
		if (count_pointers(standing, words + i * PIECE_WORDS) * FULL >=
		    PIECE_WORDS)
			return true;
	return false;
}

bool pointers_abound(struct standing *standing, uint64_t start, uint64_t end,
		     unsigned int sparse)
{
	uint64_t addresses[PIECES_AT_ONCE], words[PIECES_AT_ONCE * PIECE_WORDS];
	uint64_t seen = 0, found = 0, part;
	size_t pieces = how_many(end - start);

	part = (end - start) / pieces;
	if (part < PIECE + 8 || ends_as_stack(standing, start, end))
		return true;
	for (size_t i = 0; i < pieces; i += PIECES_AT_ONCE) {
		size_t count = pieces - i < PIECES_AT_ONCE ? pieces - i :
							     PIECES_AT_ONCE;

		count = pick_places(standing, start, part, i, count,
				    addresses);
		if (standing_read_pieces(standing, addresses, count, words,
					 PIECE) != count)
			return true;
		for (size_t j = 0; j < count; j++) {
			size_t here = count_pointers(standing,
						     words + j * PIECE_WORDS);

			if (here * FULL >= PIECE_WORDS)
				return true;
			found += here;
		}
		seen += count * PIECE_WORDS;
	}
	return found * sparse >= seen && found > 0;
}

/* --- who holds which ------------------------------------------------------------- */

struct search {
	struct standing *standing;
	const uint64_t *targets;
	size_t num_targets;
	pointers_fn *fn;
	void *context;
	const struct select_span *shards;
	/* a bit for what a target may look like */
	uint64_t filter[(1 << FILTER_LOG2) / 64];
	uint8_t **buffers;	/* one for each worker */
};

static inline size_t filter_slot(uint64_t word)
{
	return (size_t)(word >> 4 ^ word >> 24) & ((1 << FILTER_LOG2) - 1);
}

static bool is_target(const struct search *search, uint64_t word)
{
	size_t low = 0, high = search->num_targets;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (search->targets[middle] < word)
			low = middle + 1;
		else
			high = middle;
	}
	return low < search->num_targets && search->targets[low] == word;
}

static void search_words(const struct search *search, unsigned int worker,
			 uint64_t address, const uint8_t *bytes, size_t size)
{
	uint64_t first = search->targets[0];
	uint64_t span = search->targets[search->num_targets - 1] - first;

	for (size_t i = 0; i + 8 <= size; i += 8) {
		uint64_t word;
		size_t slot;

		memcpy(&word, bytes + i, sizeof(word));
		if (word - first > span)
			continue;
		slot = filter_slot(word);
		if ((search->filter[slot / 64] >> slot % 64 & 1) &&
		    is_target(search, word))
			search->fn(search->context, worker, address + i, word);
	}
}

static struct error *search_shard(void *context, unsigned int worker,
				  size_t shard)
{
	struct search *search = context;
	uint8_t *buffer = search->buffers[worker];
	uint64_t end = search->shards[shard].end;

	for (uint64_t at = search->shards[shard].start; at < end; at += READ) {
		size_t size = end - at < READ ? (size_t)(end - at) : READ;

		if (standing_read(search->standing, at, buffer, size))
			search_words(search, worker, at, buffer, size);
		else if (!search->standing->options.may_run)
			return error_at(ERROR_LIMIT, at, "the memory of the "
					"process cannot be read any more");
	}
	return NULL;
}

/** Cut spans into pieces that workers take in turn. */
static struct error *cut_shards(const struct select_span *spans, size_t count,
				struct select_span **ret, size_t *ret_count)
{
	struct select_span *shards;
	size_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += (size_t)((spans[i].end - spans[i].start) / SHARD) + 1;
	shards = calloc(total + 1, sizeof(*shards));
	if (!shards)
		return error_no_memory();
	total = 0;
	for (size_t i = 0; i < count; i++) {
		for (uint64_t at = spans[i].start; at < spans[i].end;
		     at += SHARD) {
			uint64_t left = spans[i].end - at;

			shards[total++] = (struct select_span){
				at, at + (left < SHARD ? left : SHARD) };
		}
	}
	*ret = shards;
	*ret_count = total;
	return NULL;
}

static void free_search(struct search **search)
{
	free(*search);
}

struct error *pointers_search(struct standing *standing,
			      const struct select_span *spans,
			      size_t num_spans, const uint64_t *targets,
			      size_t num_targets, unsigned int workers,
			      pointers_fn *fn, void *context)
{
	CLEANUP(free_search) struct search *search = calloc(1, sizeof(*search));
	CLEANUP(free_pointer) struct select_span *shards = NULL;
	CLEANUP(free_pointer) uint8_t *space = malloc(workers * (size_t)READ);
	CLEANUP(free_pointer) uint8_t **buffers =
		calloc(workers, sizeof(*buffers));
	size_t num_shards = 0;
	struct error *err;

	if (num_targets == 0)
		return NULL;
	if (!search || !space || !buffers)
		return error_no_memory();
	err = cut_shards(spans, num_spans, &shards, &num_shards);
	if (err)
		return err;
	for (unsigned int i = 0; i < workers; i++)
		buffers[i] = space + i * (size_t)READ;
	search->standing = standing;
	search->targets = targets;
	search->num_targets = num_targets;
	search->fn = fn;
	search->context = context;
	search->shards = shards;
	search->buffers = buffers;
	for (size_t i = 0; i < num_targets; i++) {
		size_t slot = filter_slot(targets[i]);

		search->filter[slot / 64] |= UINT64_C(1) << slot % 64;
	}
	return workers_run(workers, num_shards, search_shard, search);
}
