/*
 * A set of pages that has a limit: what was read of a process, to be kept.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LIVE_PAGE_SET_H
#define LIVE_PAGE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/live/select.h"

struct page_set {
	uint64_t *slots;	/* page numbers and 1, by their hash; 0: free */
	size_t num_slots;	/* a power of two, at least twice most */
	size_t count, most;
	uint32_t page_size;
	bool full;		/* some pages were not taken */
	/* not taken, and not wanted: ascending and apart */
	struct select_span *except;
	size_t num_except;
};

/** @param most_bytes  of all pages together, at least one */
struct error *page_set_init(struct page_set *set, uint32_t page_size,
			    uint64_t most_bytes);
void page_set_deinit(struct page_set *set);

/** Never take pages of these spans, ascending, whole pages, which are copied. */
struct error *page_set_except(struct page_set *set,
			      const struct select_span *spans, size_t count);

/** Forget all pages. */
void page_set_clear(struct page_set *set);

/** Add the pages of [start, end), whole ones, as long as there is room. */
void page_set_add(struct page_set *set, uint64_t start, uint64_t end);

/** Append the pages to spans, ascending and joined; there is room for count. */
void page_set_spans(const struct page_set *set, struct select_span *spans,
		    size_t *count);

#endif
