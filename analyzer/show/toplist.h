/*
 * The largest of many numbers, in bounded memory.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_TOPLIST_H
#define ANALYZER_TOPLIST_H

#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

struct toplist_entry {
	uint64_t value;
	uint32_t id;
};

struct toplist {
	struct toplist_entry *entries;	/* a heap, until it is sorted */
	size_t count, room;
	size_t limit;			/* at most so many; 0: all */
};

/** limit 0: all are kept. */
void toplist_init(struct toplist *list, size_t limit);
void toplist_deinit(struct toplist *list);

/** Of equal values the smaller id is the larger. */
struct error *toplist_add(struct toplist *list, uint64_t value, uint32_t id);

/** Order the entries, largest first. Nothing is added after this. */
void toplist_sort(struct toplist *list);

#endif
