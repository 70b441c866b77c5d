/*
 * The mimalloc of free-threaded builds as a heap; see pymiheap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pymiheap.h"

#include <inttypes.h>
#include <stdlib.h>

#include "image/malloc/otherstate.h"
#include "pyheap/census/pymimalloc.h"

enum { PART_SEGMENTS = PYH_NUM_MI_HEAPS, NUM_PARTS };

static const char *const part_names[NUM_PARTS] = {
	[PYH_MI_MEM] = "memory of C code",
	[PYH_MI_OBJECT] = "objects not tracked",
	[PYH_MI_GC] = "objects tracked",
	[PYH_MI_GC_PRE] = "objects tracked, with a pre-header",
	[PART_SEGMENTS] = "no page",
};

static const struct pyh_mi_page *page_at(const struct pyh_mi_pages *pages,
					 uint64_t start)
{
	size_t low = 0, high = pages->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pages->pages[middle].start < start)
			low = middle + 1;
		else
			high = middle;
	}
	return low < pages->count && pages->pages[low].start == start ?
		       &pages->pages[low] : NULL;
}

static const char *free_blocks(struct other_heap *heap,
			       const struct other_span *span, uint64_t *bits)
{
	const struct pyh_mi_page *page = page_at(heap->data, span->start);
	uint32_t live;

	return page ? pyh_mi_free_blocks(page, &heap->memory, bits, &live) :
		      NULL;
}

static void free_pages(void *data)
{
	pyh_mi_deinit(data);
	free(data);
}

static struct error *add_page(struct other_heap *heap,
			      const struct pyh_mi_page *page, uint64_t *bits)
{
	struct other_span span = {
		.start = page->start, .end = page->limit,
		.first = page->first, .block = page->block_size,
		.record = page->descriptor, .count = page->capacity,
		.kind = OTHER_UNUSED, .part = (uint8_t)page->heap,
	};
	const char *why = pyh_mi_free_blocks(page, &heap->memory, bits,
					     &span.live);

	if (why)
		findings_add(heap->image->findings, "malloc-span",
			     page->descriptor, "mimalloc: of the page at 0x%"
			     PRIx64 " %s", page->start, why);
	// What is left behind the last block for which there is room.
	if (page->limit - page->first - page->capacity * page->block_size <
	    page->block_size)
		span.kind = OTHER_OVERHEAD;
	return other_span_add(heap, &span);
}

/** What of a segment is between its pages. */
static struct error *add_gap(struct other_heap *heap, uint64_t start,
			     uint64_t end, enum other_kind kind)
{
	if (start >= end)
		return NULL;
	return other_span_add(heap, &(struct other_span){
		.start = start, .end = end, .record = start, .kind = kind,
		.part = PART_SEGMENTS });
}

static struct error *add_segments(struct other_heap *heap, uint64_t *bits)
{
	const struct pyh_mi_pages *pages = heap->data;
	struct error *err = NULL;
	size_t next = 0;

	for (size_t i = 0; !err && i < pages->num_segments; i++) {
		uint64_t at = pages->segments[i].first;

		err = add_gap(heap, pages->segments[i].start, at,
			      OTHER_METADATA);
		while (next < pages->count && pages->pages[next].start < at)
			next++;
		for (; !err && next < pages->count &&
		       pages->pages[next].start < pages->segments[i].limit;
		     next++) {
			err = add_gap(heap, at, pages->pages[next].start,
				      OTHER_UNUSED);
			if (!err)
				err = add_page(heap, &pages->pages[next], bits);
			at = pages->pages[next].limit;
		}
		if (!err)
			err = add_gap(heap, at, pages->segments[i].limit,
				      OTHER_UNUSED);
	}
	return err;
}

static struct error *fill(struct other_heap *heap,
			  const struct pyh_runtime *runtime)
{
	struct pyh_mi_pages *pages = calloc(1, sizeof(*pages));
	uint64_t *bits = calloc(PYH_MI_WORDS, sizeof(*bits));
	struct error *err = NULL;

	heap->data = pages;
	heap->free_data = pages ? free_pages : NULL;
	if (!pages || !bits)
		err = error_no_memory();
	if (!err)
		err = pyh_mi_find(runtime, pages);
	if (!err && pages->num_segments == 0)
		err = error_new(ERROR_NOT_FOUND, "there is no mimalloc");
	if (!err)
		err = add_segments(heap, bits);
	free(bits);
	if (err)
		return err;
	other_spans_settle(heap);
	return other_heap_finish(heap);
}

struct error *pyh_mi_heap_open(const struct pyh_runtime *runtime,
			       struct other_heap **ret)
{
	struct other_heap *heap;
	struct error *err = other_heap_create("mimalloc of Python",
					      runtime->image, runtime->module,
					      &heap);

	if (err)
		return err;
	heap->free_blocks = free_blocks;
	heap->num_parts = NUM_PARTS;
	for (size_t i = 0; i < NUM_PARTS; i++)
		heap->parts[i] = part_names[i];
	err = fill(heap, runtime);
	if (err)
		other_heap_close(heap);
	else
		*ret = heap;
	return err;
}
