/*
 * Ranges that the program named; see torchannotations.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchannotations.h"

#include <string.h>

#include "cudaheap/torchring.h"
#include "cudaheap/torchtext.h"

enum {
	/* of an annotation: device, time, std::unordered_map of two strings */
	NOTE_TIME = 8, NOTE_MAP = 16, NOTE_SIZE = 72,
	/* of that: buckets, their number, first node, number of nodes, load */
	MAP_FIRST = 16, MAP_COUNT = 24, MAP_LOAD = 32,
	/* of a node */
	NODE_KEY = 8, NODE_VALUE = 40, NODE_VALUE_OLD = 16,
	PAIRS_MAX = 256,	/* of one annotation */
	SAMPLES = 256,		/* annotations that are looked at */
};

static uint64_t word_of(const uint8_t *bytes, uint32_t offset)
{
	uint64_t word;

	memcpy(&word, bytes + offset, sizeof(word));
	return word;
}

static bool is_note(const uint8_t *bytes)
{
	float load;

	memcpy(&load, bytes + NOTE_MAP + MAP_LOAD, sizeof(load));
	return load == 1.0F && word_of(bytes, NOTE_TIME) != 0 &&
	       word_of(bytes, NOTE_MAP + MAP_COUNT) <= PAIRS_MAX &&
	       word_of(bytes, NOTE_MAP) % 8 == 0;
}

struct search {
	struct memory_reader *memory;
	struct torch_annotations *found;
};

static bool take_ring(void *context, const struct torch_ring *ring)
{
	struct search *search = context;
	struct torch_annotations *found = search->found;
	uint64_t count = torch_ring_count(ring, NOTE_SIZE), fitting = 0;
	uint64_t samples = count < SAMPLES ? count : SAMPLES;
	uint8_t note[NOTE_SIZE];

	if (!ring->is_class || ring->bytes == 0)
		return false;
	for (uint64_t i = 0; i < samples; i++)
		fitting += memory_try_read(search->memory, ring->begin +
					   i * count / samples * NOTE_SIZE,
					   note, sizeof(note)) &&
			   is_note(note);
	if (samples == 0 || fitting * 10 < samples * 9) {
		found->unknown = ring->begin;
		return false;
	}
	*found = (struct torch_annotations){
		.events = ring->begin, .count = count, .next = ring->next };
	return true;
}

void torch_annotations_find(struct memory_reader *memory,
			    const struct caching_allocator *allocator,
			    struct torch_annotations *ret)
{
	struct search search = { .memory = memory, .found = ret };

	*ret = (struct torch_annotations){ 0 };
	(void)torch_ring_each(memory, allocator->address, 8, CACHING_OBJECT_MAX,
			      take_ring, &search);
}

bool torch_annotation_each(struct memory_reader *memory,
			   const struct torch_annotations *annotations,
			   uint64_t i, int *ret_device, uint64_t *ret_time,
			   void (*fn)(void *context, uint64_t key,
				      uint64_t value),
			   void *context)
{
	uint64_t number = i < annotations->count - annotations->next ?
				  annotations->next + i :
				  i - (annotations->count - annotations->next);
	uint64_t address = annotations->events + number * NOTE_SIZE, node, count;
	uint8_t bytes[NOTE_SIZE];

	if (!memory_try_read(memory, address, bytes, sizeof(bytes)) ||
	    !is_note(bytes))
		return false;
	*ret_device = (int8_t)bytes[0];
	*ret_time = word_of(bytes, NOTE_TIME);
	node = word_of(bytes, NOTE_MAP + MAP_FIRST);
	count = word_of(bytes, NOTE_MAP + MAP_COUNT);
	for (uint64_t k = 0; k < count; k++) {
		uint64_t at = node;
		uint8_t key[TORCH_STRING_SIZE];

		if (at == 0 || !memory_try_u64(memory, at, &node) ||
		    !memory_try_read(memory, at + NODE_KEY, key, sizeof(key)))
			return false;
		fn(context, at + NODE_KEY,
		   at + (torch_string_is(key, at + NODE_KEY) ?
				 NODE_VALUE : NODE_VALUE_OLD));
	}
	return node == 0;
}
