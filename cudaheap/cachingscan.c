/*
 * Searching the variables of a module for a std::vector; see cachingscan.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/cachingscan.h"

#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"

enum {
	BATCH = 64 << 10,	/* bytes read at a time */
	VECTOR = 24,
};

const char *caching_base_name(const struct module *module)
{
	const char *slash = strrchr(module->path, '/');

	return slash ? slash + 1 : module->path;
}

static bool is_vector(const struct caching_vector *vector)
{
	return vector->first != 0 && vector->first % 8 == 0 &&
	       vector->last > vector->first && vector->last % 8 == 0 &&
	       vector->reserved >= vector->last && vector->reserved % 8 == 0;
}

static bool scan_range(struct memory_reader *memory, uint64_t start,
		       uint64_t end,
		       bool (*fn)(void *context,
				  const struct caching_vector *vector),
		       void *context)
{
	CLEANUP(free_pointer) uint8_t *bytes = malloc(BATCH);
	struct caching_vector last;
	size_t size;

	for (uint64_t at = start; bytes && at + VECTOR <= end;
	     at += size - (VECTOR - 8)) {
		struct caching_vector vector;

		size = end - at < BATCH ? (size_t)(end - at) & ~(size_t)7 : BATCH;
		if (!memory_try_read(memory, at, bytes, size))
			return false;
		for (size_t i = 0; i + VECTOR <= size; i += 8) {
			vector.address = at + i;
			memcpy(&vector.first, bytes + i, VECTOR);
			if (is_vector(&vector) && fn(context, &vector))
				return true;
		}
	}
	// One may end in the range behind this one.
	for (uint64_t at = end - (VECTOR - 8); at >= start && at < end; at += 8) {
		last.address = at;
		if (memory_try_read(memory, at, &last.first, VECTOR) &&
		    is_vector(&last) && fn(context, &last))
			return true;
	}
	return false;
}

/** What was captured of the process's own between two addresses. */
static bool next_range(const struct image *image, uint64_t *at, uint64_t end,
		       uint64_t *ret_from, uint64_t *ret_to)
{
	while (*at < end) {
		const struct memory_range *range =
			memory_find_above(image->memory, *at);

		if (!range || range->start >= end)
			return false;
		*ret_from = range->start > *at ? range->start : *at;
		*ret_from = (*ret_from + 7) & ~UINT64_C(7);
		*ret_to = range->end < end ? range->end : end;
		*at = range->end;
		if (range->state == MEMORY_CAPTURED &&
		    range->source == MEMORY_FROM_CORE)
			return true;
	}
	return false;
}

bool caching_scan(const struct image *image, struct memory_reader *memory,
		  uint64_t start, uint64_t end,
		  bool (*fn)(void *context, const struct caching_vector *vector),
		  void *context)
{
	uint64_t at = start, from, to;

	while (next_range(image, &at, end, &from, &to))
		if (scan_range(memory, from, to, fn, context))
			return true;
	return false;
}

bool caching_scan_words(const struct image *image, struct memory_reader *memory,
			uint64_t start, uint64_t end,
			bool (*fn)(void *context, uint64_t word),
			void *context)
{
	uint64_t at = start, from, to, word;

	while (next_range(image, &at, end, &from, &to))
		for (; from + 8 <= to; from += 8)
			if (memory_try_u64(memory, from, &word) && word != 0 &&
			    fn(context, word))
				return true;
	return false;
}
