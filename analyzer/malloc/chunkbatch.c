/*
 * Which words lead into chunks of malloc; see chunkownersparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whether a word is of interest is told from two of its bytes, as in
 * pyheap/census/pywords.h. Those that are get collected until there are some, so that
 * memory has time to bring what is asked about each.
 */
#include <stdlib.h>
#include <string.h>

#include "analyzer/malloc/chunkownersparts.h"

struct error *chunk_filter_make(struct chunkowners *owners)
{
	const struct chunktable *table = owners->table;
	struct chunk_cursor cursor;
	uint64_t user;
	uint32_t id;

	owners->filter = calloc(CHUNK_GRANULES, 1);
	if (!owners->filter)
		return error_no_memory();
	chunk_cursor_set(&cursor, table, 0);
	while (chunk_cursor_next(&cursor, &id, &user)) {
		uint64_t first = user >> CHUNK_GRANULE_LOG2;
		uint64_t last = cursor.user >> CHUNK_GRANULE_LOG2;

		if (!chunk_is_used(table, id))
			continue;
		for (uint64_t at = first;
		     at <= last && at - first < CHUNK_GRANULES; at++)
			owners->filter[at % CHUNK_GRANULES] = 1;
	}
	return NULL;
}

/** The filter's answer, which takes two bytes of the word. */
static inline uint8_t filtered(const uint8_t *filter, const uint8_t *bytes)
{
	uint16_t granule;

	memcpy(&granule, bytes + CHUNK_GRANULE_LOG2 / 8, sizeof(granule));
	return filter[granule];
}

void chunk_words_end(struct chunk_batch *batch)
{
	const struct chunkowners *owners = batch->owners;

	for (size_t i = 0; i < batch->count; i++) {
		uint32_t id = chunk_led_to(owners->table, batch->words[i].word,
					   &batch->words[i].begins);

		batch->words[i].id = id;
		if (id != CHUNK_NONE)
			__builtin_prefetch(&owners->keys[id]);
	}
	for (size_t i = 0; i < batch->count; i++)
		if (batch->words[i].id != CHUNK_NONE)
			batch->fn(batch->context, batch->words[i].address,
				  batch->words[i].from, batch->words[i].id,
				  batch->words[i].begins);
	batch->count = 0;
}

static inline void look(struct chunk_batch *batch, const uint8_t *bytes,
			uint64_t address)
{
	const struct chunkowners *owners = batch->owners;
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	// What is not in the filter is not worth a look at a table.
	if (word - owners->table->low >= owners->table->high -
						 owners->table->low ||
	    !owners->filter[(word >> CHUNK_GRANULE_LOG2) % CHUNK_GRANULES])
		return;
	__builtin_prefetch(rank_cell(owners->table->users,
				     word & ~UINT64_C(7)));
	batch->words[batch->count].word = word;
	batch->words[batch->count].address = address;
	batch->words[batch->count++].from = batch->from;
	if (batch->count == CHUNK_BATCH)
		chunk_words_end(batch);
}

void chunk_words_add(struct chunk_batch *batch, const uint8_t *bytes,
		     size_t size, uint64_t address)
{
	const uint8_t *filter = batch->owners->filter;
	size_t at = 0;

	for (; at + 32 <= size; at += 32) {
		const uint8_t *four = bytes + at;

		if (!(filtered(filter, four) | filtered(filter, four + 8) |
		      filtered(filter, four + 16) |
		      filtered(filter, four + 24)))
			continue;
		for (size_t i = 0; i < 32; i += 8)
			look(batch, four + i, address + at + i);
	}
	for (; at + 8 <= size; at += 8)
		look(batch, bytes + at, address + at);
}
