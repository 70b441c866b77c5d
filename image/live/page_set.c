/*
 * A set of pages that has a limit; see page_set.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/page_set.h"

#include <stdlib.h>
#include <string.h>

#include "image/live/standing.h"

struct error *page_set_init(struct page_set *set, uint32_t page_size,
			    uint64_t most_bytes)
{
	*set = (struct page_set){
		.page_size = page_size,
		.most = (size_t)(most_bytes / page_size),
		.num_slots = 2,
	};
	while (set->num_slots < 2 * set->most)
		set->num_slots *= 2;
	set->slots = calloc(set->num_slots, sizeof(*set->slots));
	return set->slots ? NULL : error_no_memory();
}

void page_set_deinit(struct page_set *set)
{
	free(set->slots);
	free(set->except);
	*set = (struct page_set){ 0 };
}

struct error *page_set_except(struct page_set *set,
			      const struct select_span *spans, size_t count)
{
	set->except = calloc(count + 1, sizeof(*set->except));
	if (!set->except)
		return error_no_memory();
	if (count > 0)
		memcpy(set->except, spans, count * sizeof(*spans));
	set->num_except = count;
	return NULL;
}

void page_set_clear(struct page_set *set)
{
	memset(set->slots, 0, set->num_slots * sizeof(*set->slots));
	set->count = 0;
	set->full = false;
}

static bool is_except(const struct page_set *set, uint64_t address)
{
	size_t i = standing_find(set->except, set->num_except, address);

	return i < set->num_except && set->except[i].start <= address;
}

/** The slot that has the page, or the free one that it belongs in. */
static uint64_t *slot_of(const struct page_set *set, uint64_t page)
{
	size_t at = (size_t)(page * UINT64_C(0x9E3779B97F4A7C15) >> 32);

	while (true) {
		uint64_t *slot = &set->slots[at & (set->num_slots - 1)];

		if (*slot == 0 || *slot == page + 1)
			return slot;
		at++;
	}
}

void page_set_add(struct page_set *set, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	for (uint64_t page = start / set->page_size;
	     page <= (end - 1) / set->page_size; page++) {
		uint64_t *slot = slot_of(set, page);

		if (*slot != 0 || is_except(set, page * set->page_size))
			continue;
		if (set->count == set->most) {
			set->full = true;
			return;
		}
		*slot = page + 1;
		set->count++;
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = ((const struct select_span *)a)->start;
	uint64_t y = ((const struct select_span *)b)->start;

	return (x > y) - (x < y);
}

void page_set_spans(const struct page_set *set, struct select_span *spans,
		    size_t *count)
{
	size_t first = *count, last = first, end = first;

	for (size_t i = 0; i < set->num_slots; i++) {
		uint64_t start = (set->slots[i] - 1) * set->page_size;

		if (set->slots[i] != 0)
			spans[end++] = (struct select_span){
				start, start + set->page_size,
			};
	}
	if (end == first)
		return;
	qsort(spans + first, end - first, sizeof(*spans), compare);
	for (size_t i = first + 1; i < end; i++) {
		if (spans[i].start == spans[last].end)
			spans[last].end = spans[i].end;
		else
			spans[++last] = spans[i];
	}
	*count = last + 1;
}
