/*
 * The rings in which PyTorch's allocators record; see torchring.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchring.h"

#include <string.h>

enum {
	/* of the class: limit, a std::mutex, next, the pointer */
	CLASS_LIMIT = 0, CLASS_MUTEX = 1, CLASS_NEXT = 6, CLASS_WORDS = 7,
	/* of fields in front of the pointer: next, something, limit */
	FIELDS_NEXT = 4, FIELDS_LIMIT = 6,
};

#define ADDRESS_MAX (UINT64_C(1) << 57)
#define BYTES_MAX (UINT64_C(1) << 40)	/* of a vector */

bool torch_vector_at(struct memory_reader *memory, uint64_t address,
		     uint64_t *ret_begin, uint64_t *ret_bytes,
		     uint64_t *ret_room)
{
	uint64_t words[3];

	if (!memory_try_read(memory, address, words, sizeof(words)) ||
	    words[0] > words[1] || words[1] > words[2] || words[0] % 8 ||
	    words[2] - words[0] > BYTES_MAX)
		return false;
	*ret_begin = words[0];
	*ret_bytes = words[1] - words[0];
	*ret_room = words[2] - words[0];
	return true;
}

/** Do a limit and a next place make sense, whatever the size of an entry? */
static bool take_counts(struct torch_ring *ring, uint64_t limit, uint64_t next)
{
	ring->limit = limit;
	ring->next = next;
	return limit > 0 && next < limit && next <= ring->bytes / 8;
}

/** Free, or held by a thread: {lock, 0, owner, users}, {kind 0, 0}, {0, 0}. */
static bool is_mutex(const uint64_t words[5])
{
	return words[0] <= 2 && words[2] == 0 && words[3] == 0 && words[4] == 0;
}

/** What may be a ring by the words in front of a pointer; false: it is none. */
static bool ring_at(struct memory_reader *memory,
		    const uint64_t words[CLASS_WORDS], uint64_t vector,
		    bool is_class, struct torch_ring *ret)
{
	ret->is_class = is_class;
	if (vector == 0 || vector % 8 || vector > ADDRESS_MAX ||
	    (is_class && !is_mutex(words + CLASS_MUTEX)) ||
	    !torch_vector_at(memory, vector, &ret->begin, &ret->bytes,
			     &ret->room))
		return false;
	return is_class ? take_counts(ret, words[CLASS_LIMIT],
				      words[CLASS_NEXT]) :
			  take_counts(ret, words[FIELDS_LIMIT],
				      words[FIELDS_NEXT]);
}

bool torch_ring_each(struct memory_reader *memory, uint64_t object,
		     uint32_t from, uint32_t end,
		     bool (*fn)(void *context, const struct torch_ring *ring),
		     void *context)
{
	uint64_t words[CLASS_WORDS + 1];

	for (uint32_t at = from; at + 8 <= end; at += 8) {
		struct torch_ring ring;

		if (at < CLASS_WORDS * 8)
			continue;
		if (!memory_try_read(memory, object + at - CLASS_WORDS * 8,
				     words, sizeof(words)))
			return false;
		// The class first, as its mutex is a proof.
		for (int is_class = 1; is_class >= 0; is_class--)
			if (ring_at(memory, words, words[CLASS_WORDS],
				    is_class, &ring) && fn(context, &ring))
				return true;
	}
	return false;
}

uint64_t torch_ring_count(const struct torch_ring *ring, uint32_t size)
{
	uint64_t count = ring->bytes / size;

	if (ring->bytes % size || ring->room % size || count > ring->limit ||
	    (ring->next != 0 && (ring->next >= count || count != ring->limit)))
		return 0;
	return count;
}
