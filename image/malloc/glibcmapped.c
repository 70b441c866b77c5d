/*
 * Chunks of glibc's malloc that have a mapping of their own; see glibcheap.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * No list has them. Such a mapping begins on a page with a header, which says
 * how far it is to its end. The kernel joins neighbours, so each page
 * that is not known to be something else may be the beginning of one, until all
 * that malloc has counted are found.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/malloc/glibcstate.h"

enum {
	PAGE = GLIBC_PAGE,
	HUGE = 1,		/* in 2.43: it is of huge pages */
	MOST = 1 << 20,		/* chunks: the kernel allows 65,530 mappings */
	IN_VAIN = 1 << 21,	/* pages without a chunk that are looked at */
};

struct search {
	struct glibc_heap *heap;
	size_t other;		/* the first that is not passed */
	size_t region;
	uint64_t end;		/* of the neighbours that are searched */
	uint64_t in_vain;
};

static struct error *add_mapped(struct glibc_heap *heap, uint64_t start,
				uint64_t chunk, uint64_t end)
{
	if (heap->num_mapped % 256 == 0) {
		size_t most = heap->num_mapped + 256;
		struct glibc_span *mapped =
			realloc(heap->mapped, most * sizeof(*mapped));
		uint64_t *chunks;

		if (!mapped)
			return error_no_memory();
		heap->mapped = mapped;
		chunks = realloc(heap->mapped_chunks, most * sizeof(*chunks));
		if (!chunks)
			return error_no_memory();
		heap->mapped_chunks = chunks;
	}
	heap->mapped[heap->num_mapped] = (struct glibc_span){ start, end };
	heap->mapped_chunks[heap->num_mapped++] = chunk;
	heap->mapped_bytes += end - start;
	return NULL;
}

/** The end of the mapping that begins at start, if this is its header; or 0. */
static uint64_t mapping_end(const uint64_t header[2], uint64_t start,
			    uint64_t lead, uint64_t end)
{
	uint64_t size = header[1] & ~(uint64_t)GLIBC_SIZE_BITS;

	if ((header[0] & ~(uint64_t)HUGE) != lead || size < GLIBC_LEAST ||
	    (header[1] & GLIBC_SIZE_BITS) != GLIBC_IS_MMAPPED ||
	    size > end - start || lead > end - start - size)
		return 0;
	size += lead;
	// In 2.43 a header's size less, so that chunks are as elsewhere.
	if ((size + GLIBC_HEADER) % PAGE == 0)
		size += GLIBC_HEADER;
	return size % PAGE == 0 && size <= end - start ? start + size : 0;
}

/** Has nobody written to the rest of a mapping's first page? */
static bool is_unwritten(const uint64_t page[PAGE / 8])
{
	for (int i = GLIBC_HEADER / 8; i < PAGE / 8; i++)
		if (page[i])
			return false;
	return true;
}

/**
 * Where alignment was asked for, the chunk begins later, and the header at the
 * mapping's start is what it had been before. The user's memory is then at the
 * first multiple of the alignment, or at the second one. What is in front of it
 * is never written to: so behind the first page it may be only if there is
 * nothing in that, and the data of a large array stays unread.
 */
static uint64_t aligned_chunk(struct search *search, uint64_t start,
			      uint64_t end)
{
	struct memory_reader *memory = &search->heap->memory;
	uint64_t page[PAGE / 8], header[2];
	bool far;

	if (!memory_try_few(memory, start, page, sizeof(page)))
		return start;
	far = is_unwritten(page);
	for (uint64_t align = 2 * GLIBC_ALIGN;
	     align < end - start && (far || align <= PAGE); align *= 2) {
		uint64_t user = (start + GLIBC_HEADER + align - 1) &
				~(align - 1);

		for (int i = 0; i < 2 && user < end; i++, user += align) {
			uint64_t at = user - GLIBC_HEADER;
			bool near = at - start <= PAGE - sizeof(header);

			if (at <= start || (!near && !far))
				continue;
			if (near)
				memcpy(header, page + (at - start) / 8,
				       sizeof(header));
			else if (!memory_try_few(memory, at, header,
					      sizeof(header)))
				continue;
			if (mapping_end(header, start, at - start, end) == end)
				return at;
		}
	}
	return start;
}

/**
 * The end of the mapping of a chunk that begins here; 0: there is none.
 *
 * @param far  nothing before it was looked at
 * @param ret_chunk  its header
 */
static uint64_t find_chunk(struct search *search, uint64_t start, uint64_t end,
			   bool far, uint64_t *ret_chunk)
{
	struct memory_reader *memory = &search->heap->memory;
	uint64_t header[2], found;

	if (far ? !memory_try_few(memory, start, header, sizeof(header)) :
		  !memory_try_read(memory, start, header, sizeof(header)))
		return 0;
	found = mapping_end(header, start, 0, end);
	if (found)
		*ret_chunk = aligned_chunk(search, start, found);
	return found;
}

/** Past heaps, and what the caller knows to be somebody else's. */
static uint64_t skip_known(struct search *search, uint64_t at)
{
	const struct glibc_heap *heap = search->heap;
	uint64_t before;

	do {
		before = at;
		while (search->other < heap->options.num_others &&
		       heap->options.others[search->other].end <= at)
			search->other++;
		if (search->other < heap->options.num_others &&
		    heap->options.others[search->other].start <= at)
			at = heap->options.others[search->other].end;
		while (search->region < heap->num_regions &&
		       heap->regions[search->region].end <= at)
			search->region++;
		if (search->region < heap->num_regions &&
		    heap->regions[search->region].start <= at)
			at = heap->regions[search->region].end;
	} while (at != before);
	return (at + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

/** All that malloc has counted are there. */
static bool is_done(const struct search *search)
{
	const struct glibc_heap *heap = search->heap;

	return search->in_vain >= IN_VAIN || heap->num_mapped >= MOST ||
	       (heap->parameters.known &&
		heap->num_mapped >= heap->parameters.num_mapped);
}

/** Whether a range may hold the beginning of a chunk's mapping. */
static bool is_searched(const struct search *search,
			const struct memory_range *range)
{
	return range->state == MEMORY_CAPTURED &&
	       range->source == MEMORY_FROM_CORE &&
	       glibc_heap_from(search->heap, range) < range->end;
}

/** Where ranges that follow each other, captured or not, end. */
static uint64_t end_of_kind(const struct search *search, size_t i)
{
	const struct memory *memory = search->heap->image->memory;
	const struct memory_range *range = memory_range(memory, i), *next;

	for (; ++i < memory_num_ranges(memory); range = next) {
		next = memory_range(memory, i);
		if (next->start != range->end ||
		    !glibc_may_be_heap(search->heap, next))
			break;
	}
	return range->end;
}

static struct error *search_range(struct search *search, size_t i,
				  uint64_t *at)
{
	const struct memory_range *range =
		memory_range(search->heap->image->memory, i);
	bool far = true;
	uint64_t chunk;
	struct error *err = NULL;

	if (range->start >= search->end)
		search->end = end_of_kind(search, i);
	if (*at < glibc_heap_from(search->heap, range))
		*at = glibc_heap_from(search->heap, range);
	while (!err && !is_done(search)) {
		uint64_t found;

		*at = skip_known(search, *at);
		if (*at >= range->end)
			break;
		found = find_chunk(search, *at, search->end, far, &chunk);
		far = found != 0;
		if (found) {
			err = add_mapped(search->heap, *at, chunk, found);
			*at = found;
		} else {
			search->in_vain++;
			*at += PAGE;
		}
	}
	return err;
}

struct error *glibc_find_mapped(struct glibc_heap *heap)
{
	const struct memory *memory = heap->image->memory;
	struct search search = { .heap = heap };
	struct error *err = NULL;
	uint64_t at = 0;

	for (size_t i = 0; !err && i < memory_num_ranges(memory) &&
	     !is_done(&search); i++) {
		const struct memory_range *range = memory_range(memory, i);

		if (is_searched(&search, range))
			err = search_range(&search, i, &at);
	}
	return err;
}
