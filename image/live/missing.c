/*
 * Ranges of memory that could not be had; see missing.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/missing.h"

#include <stdlib.h>

/* More separate holes than this are joined into one wider one. */
enum { MISSING_MAX = 1 << 20 };

void missing_init(struct missing *missing)
{
	*missing = (struct missing){ 0 };
	(void)pthread_mutex_init(&missing->lock, NULL);
}

void missing_deinit(struct missing *missing)
{
	(void)pthread_mutex_destroy(&missing->lock);
	free(missing->items);
}

static bool has_room(struct missing *missing)
{
	size_t more = missing->capacity ? 2 * missing->capacity : 64;
	struct format_skipped *grown;

	if (missing->items && missing->count < missing->capacity)
		return true;
	grown = more > MISSING_MAX ? NULL :
		reallocarray(missing->items, more, sizeof(*grown));
	if (!grown)
		return false;
	missing->items = grown;
	missing->capacity = more;
	return true;
}

void missing_add(struct missing *missing, uint64_t start, uint64_t end,
		 int os_errno)
{
	struct format_skipped *last;

	(void)pthread_mutex_lock(&missing->lock);
	last = missing->count ? &missing->items[missing->count - 1] : NULL;
	if (last && last->end == start && last->os_errno == (uint32_t)os_errno) {
		last->end = end;
	} else if (has_room(missing)) {
		missing->items[missing->count++] = (struct format_skipped){
			.start = start,
			.end = end,
			.reason = FORMAT_FAILED,
			.os_errno = (uint32_t)os_errno,
		};
	} else if (last) {
		// Saying too much is missing is the safe mistake.
		last->end = last->end < end ? end : last->end;
		last->start = last->start > start ? start : last->start;
	}
	(void)pthread_mutex_unlock(&missing->lock);
}

static int compare(const void *a, const void *b)
{
	const struct format_skipped *left = a, *right = b;

	return left->start < right->start ? -1 : left->start > right->start;
}

const struct format_skipped *missing_list(struct missing *missing,
					  size_t *ret_count)
{
	struct format_skipped *items = missing->items;
	size_t kept = 0;

	if (missing->count > 0)
		qsort(items, missing->count, sizeof(*items), compare);
	for (size_t i = 1; i < missing->count; i++) {
		if (items[i].start > items[kept].end)
			items[++kept] = items[i];
		else if (items[i].end > items[kept].end)
			items[kept].end = items[i].end;
	}
	if (missing->count > 0)
		missing->count = kept + 1;
	*ret_count = missing->count;
	return items;
}
