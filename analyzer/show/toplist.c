/*
 * The largest of many numbers; see toplist.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/show/toplist.h"

#include <stdbool.h>
#include <stdlib.h>

void toplist_init(struct toplist *list, size_t limit)
{
	*list = (struct toplist){ .limit = limit };
}

void toplist_deinit(struct toplist *list)
{
	free(list->entries);
	*list = (struct toplist){ 0 };
}

/** True if a stands before b. */
static bool is_larger(struct toplist_entry a, struct toplist_entry b)
{
	return a.value != b.value ? a.value > b.value : a.id < b.id;
}

/** The smallest stands at the root: an entry that is put there sinks. */
static void sink(struct toplist *list, struct toplist_entry entry)
{
	size_t at = 0, child;

	while ((child = 2 * at + 1) < list->count) {
		if (child + 1 < list->count &&
		    is_larger(list->entries[child], list->entries[child + 1]))
			child++;
		if (!is_larger(entry, list->entries[child]))
			break;
		list->entries[at] = list->entries[child];
		at = child;
	}
	list->entries[at] = entry;
}

static void rise(struct toplist *list, struct toplist_entry entry)
{
	size_t at = list->count++;

	while (at > 0 && is_larger(list->entries[(at - 1) / 2], entry)) {
		list->entries[at] = list->entries[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	list->entries[at] = entry;
}

struct error *toplist_add(struct toplist *list, uint64_t value, uint32_t id)
{
	struct toplist_entry entry = { value, id };

	if (list->limit && list->count == list->limit) {
		if (is_larger(entry, list->entries[0]))
			sink(list, entry);
		return NULL;
	}
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 64;
		struct toplist_entry *entries = realloc(list->entries,
							room * sizeof(*entries));

		if (!entries)
			return error_no_memory();
		list->entries = entries;
		list->room = room;
	}
	if (list->limit)
		rise(list, entry);
	else
		list->entries[list->count++] = entry;
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	const struct toplist_entry *x = a, *y = b;

	return is_larger(*x, *y) ? -1 : is_larger(*y, *x);
}

void toplist_sort(struct toplist *list)
{
	if (list->count > 0)
		qsort(list->entries, list->count, sizeof(*list->entries),
		      by_value);
}
