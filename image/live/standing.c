/*
 * The memory of a process that stands still; see standing.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/standing.h"

#include <stdlib.h>

#include "image/live/page_set.h"

bool standing_has(const struct standing *standing,
		  const struct select_range *range)
{
	const struct procmap *map =
		&standing->options.maps->items[range->mapping];

	return range->reason == FORMAT_CAPTURED && !range->known_zero &&
	       !(map->flags & PROCMAP_NOT_INHERITED);
}

/** Lengthen the last span, or begin another one; there is room. */
static void add_span(struct select_span *spans, size_t *count,
		     const struct select_range *range)
{
	if (*count > 0 && spans[*count - 1].end == range->start)
		spans[*count - 1].end = range->end;
	else
		spans[(*count)++] = (struct select_span){ range->start,
							    range->end };
}

struct error *standing_init(struct standing *standing,
			    const struct standing_options *options)
{
	const struct selection *selection = options->selection;
	struct error *err;

	*standing = (struct standing){ .options = *options,
				       .peek.mem_fd = -1 };
	err = peek_open(options->pid, options->snapshot, &standing->peek);
	if (err)
		return err;
	standing->there = calloc(selection->count + 1,
				 sizeof(*standing->there));
	standing->known = calloc(selection->count + 1,
				 sizeof(*standing->known));
	if (!standing->there || !standing->known) {
		standing_deinit(standing);
		return error_no_memory();
	}
	for (size_t i = 0; i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];

		if (standing_has(standing, range))
			add_span(standing->there, &standing->num_there, range);
		if (range->reason == FORMAT_CAPTURED ||
		    range->reason == FORMAT_FILE)
			add_span(standing->known, &standing->num_known, range);
	}
	return NULL;
}

void standing_deinit(struct standing *standing)
{
	peek_close(&standing->peek);
	free(standing->there);
	free(standing->known);
	standing->there = standing->known = NULL;
	standing->num_there = standing->num_known = 0;
}

size_t standing_find(const struct select_span *spans, size_t count,
		     uint64_t address)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (spans[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

uint64_t standing_extent(const struct standing *standing, uint64_t address)
{
	size_t i = standing_find(standing->there, standing->num_there,
				 address);

	return i < standing->num_there &&
	       standing->there[i].start <= address ?
		       standing->there[i].end - address : 0;
}

bool standing_holds(const struct standing *standing)
{
	return !standing->options.holds ||
	       standing->options.holds(standing->options.context);
}

bool standing_read(struct standing *standing, uint64_t address, void *buffer,
		   size_t size)
{
	bool good = standing_holds(standing) &&
		    peek_read(&standing->peek, address, buffer, size);

	// What is read begins there and may end on the next page.
	if (good && standing->read)
		page_set_add(standing->read, address,
			     address + size + standing->read->page_size);
	if (!good && !standing->options.may_run)
		atomic_store(&standing->failed, true);
	return good;
}

size_t standing_read_pieces(struct standing *standing,
			    const uint64_t *addresses, size_t count,
			    void *buffer, size_t piece)
{
	struct iovec local[STANDING_PIECES_MAX], remote[STANDING_PIECES_MAX];

	for (size_t i = 0; i < count; i++) {
		local[i] = (struct iovec){ (uint8_t *)buffer + i * piece,
					   piece };
		remote[i] = (struct iovec){ (void *)(uintptr_t)addresses[i],
					    piece };
	}
	if (count == 0 || !standing_holds(standing))
		return 0;
	return peek_vectors(&standing->peek, local, remote, count) / piece;
}
