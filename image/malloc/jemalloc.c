/*
 * jemalloc: its radix tree of extents, slabs, and threads' caches.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every extent (a run of pages) is in a radix tree by the addresses of its
 * first and last page. Its root lies in the data of the module; the word in it
 * that leads to a leaf tells where the root begins, by the address of the first
 * extent in that leaf. No symbol is needed, and another word that does so by
 * chance is as good as impossible.
 *
 * An extent is active (a slab of blocks of one size, or one large block), dirty
 * or muzzy (free, and its pages kept), or retained (free, without its pages).
 * What a thread has in its cache counts as not free in its slab.
 *
 * Source: jemalloc 5.2.1, 5.3.0, 5.3.1: include/jemalloc/internal/rtree.h,
 * extent_structs.h and edata.h, bitmap.h, cache_bin.h, base.h, sc.h. Extents of
 * its huge page allocator (opt.hpa) are in the tree only as far as they are in
 * use.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "image/malloc/jemallocstate.h"

enum {
	LARGE_PAGES = 4,	/* of the smallest large class */
	BASE_LOG2 = 21,		/* alignment of blocks of metadata */
	BASE_STEPS = 64,	/* of such blocks stepped down */
	BASES_MAX = 1 << 16,
	BASE_HEAD = 8 << 10,	/* bytes of it that may lead to others */
};

enum state { ACTIVE, DIRTY, MUZZY, RETAINED };

static const char *free_blocks(struct other_heap *heap,
			       const struct other_span *span, uint64_t *bits)
{
	uint64_t free;

	if (!jemalloc_bitmap(heap, span->record, span->count, bits, &free))
		return "the bitmap is not in the dump";
	return free > span->count ? "the bitmap has more blocks than there are" :
				    NULL;
}

/* --- spans --------------------------------------------------------------- */

struct reading {
	struct other_heap *heap;
	uint64_t unequal;	/* slabs whose count is not that of the bitmap */
};

static void read_slab(struct reading *reading,
		      const struct jemalloc_extent *extent,
		      struct other_span *span)
{
	struct other_heap *heap = reading->heap;
	uint64_t bits[JEMALLOC_BITMAP_MAX / 8], free = 0, count;

	count = extent->size / span->block;
	if (count > JEMALLOC_BITMAP_MAX * 8 ||
	    !jemalloc_bitmap(heap, extent->record, count, bits, &free) ||
	    free > count) {
		findings_add(heap->image->findings, "malloc-span",
			     extent->record, "jemalloc: the bitmap of the slab "
			     "at 0x%" PRIx64 " is damaged; its blocks count as "
			     "used", extent->start);
		free = 0;
	} else if (free != jemalloc_free_said(heap, extent->bits)) {
		reading->unequal++;
	}
	span->count = (uint32_t)count;
	span->live = (uint32_t)(count - free);
}

/**
 * One block, somewhere in it. By its class, or, from 5.3.1 on, with all but the
 * padding; less, where a small block has pages of its own to be a sample.
 */
static void read_large(const struct other_heap *heap,
		       const struct jemalloc_extent *extent, uint64_t size,
		       struct other_span *span)
{
	uint64_t room = extent->size - heap->own[JEMALLOC_PADDING];

	if (extent->size <= heap->own[JEMALLOC_PADDING])
		room = extent->size;
	if (size == 0 || size > room ||
	    size >= (uint64_t)LARGE_PAGES << jemalloc_geometry(heap)->page_log2)
		size = room;
	span->kind = OTHER_OVERHEAD;
	span->first = extent->address;
	if (size > extent->end - extent->address)
		size = extent->end - extent->address;
	span->block = size;
	span->count = span->live = 1;
}

static struct error *add_extent(void *context,
				const struct jemalloc_extent *extent)
{
	struct reading *reading = context;
	struct other_heap *heap = reading->heap;
	const struct jemalloc_layout *layout = jemalloc_layout(heap);
	uint64_t state = jemalloc_field(extent->bits, layout->state,
					layout->state_bits);
	uint64_t size = jemalloc_class_size(jemalloc_field(
		extent->bits, layout->size_class, 8));
	struct other_span span = {
		.start = extent->start, .end = extent->end,
		.first = extent->start, .record = extent->record,
		.kind = OTHER_UNUSED,
	};

	if (state == ACTIVE && jemalloc_is_slab(extent) && size &&
	    size <= extent->size) {
		span.block = size;
		span.kind = OTHER_OVERHEAD;
		read_slab(reading, extent, &span);
	} else if (state == ACTIVE) {
		read_large(heap, extent, size, &span);
	} else if (state == RETAINED) {
		span.kind = OTHER_RETURNED;
	}
	return other_span_add(heap, &span);
}

/* --- metadata ------------------------------------------------------------ */

/**
 * Blocks that extents' records and nodes of the tree lie in begin with their
 * size, the next one, and a record of what is left at their end.
 */
static bool is_base(struct other_heap *heap, uint64_t at, uint64_t *ret_end,
		    uint64_t *ret_next)
{
	uint64_t words[5], alignment = UINT64_C(1) << BASE_LOG2, end;

	if (at == 0 ||
	    !memory_try_read(&heap->memory, at, words, sizeof(words)))
		return false;
	end = at + words[0];
	*ret_end = end;
	*ret_next = words[1];
	return words[0] && words[0] % alignment == 0 && end > at &&
	       words[1] % alignment == 0 && words[3] >= at &&
	       words[3] <= end && words[4] <= end - at &&
	       words[3] + words[4] == end;
}

struct bases {
	uint64_t (*items)[2];	/* start, end; by address */
	size_t count, room;
};

static bool has_base(const struct bases *bases, uint64_t at, size_t *ret_place)
{
	size_t low = 0, high = bases->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (bases->items[middle][1] <= at)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_place = low;
	return low < bases->count && bases->items[low][0] <= at;
}

static struct error *add_base(struct bases *bases, size_t place, uint64_t start,
			      uint64_t end)
{
	if (bases->count == bases->room) {
		size_t more = bases->room ? bases->room * 2 : 64;
		void *grown = reallocarray(bases->items, more,
					   sizeof(*bases->items));

		if (!grown)
			return error_no_memory();
		bases->items = grown;
		bases->room = more;
	}
	memmove(&bases->items[place + 1], &bases->items[place],
		(bases->count - place) * sizeof(*bases->items));
	bases->count++;
	bases->items[place][0] = start;
	bases->items[place][1] = end;
	return NULL;
}

/** The block around an address, and those that follow it in its list. */
static struct error *follow_bases(struct other_heap *heap, struct bases *bases,
				  uint64_t inside)
{
	uint64_t at = inside & ~((UINT64_C(1) << BASE_LOG2) - 1), end, next;
	struct error *err = NULL;
	size_t place;

	if (has_base(bases, inside, &place))
		return NULL;
	for (int i = 0; i < BASE_STEPS; i++) {
		if (is_base(heap, at, &end, &next) && end > inside)
			break;
		at -= UINT64_C(1) << BASE_LOG2;
	}
	while (!err && bases->count < BASES_MAX &&
	       is_base(heap, at, &end, &next) && !has_base(bases, at, &place)) {
		err = add_base(bases, place, at, end);
		at = next;
	}
	return err;
}

struct node_walk {
	struct other_heap *heap;
	struct bases *bases;
	struct memory_reader lower;
	bool leaves;
	struct error *err;
};

/** Nodes of the tree are metadata, too. */
static bool follow_node(void *context, uint64_t at, uint64_t word)
{
	struct node_walk *walk = context;
	const struct jemalloc_geometry *geometry = jemalloc_geometry(walk->heap);

	(void)at;
	walk->err = follow_bases(walk->heap, walk->bases, word);
	if (!walk->err && !walk->leaves && geometry->middle) {
		walk->leaves = true;
		(void)other_each_word(&walk->lower, word, word +
				      (UINT64_C(8) << geometry->middle),
				      follow_node, walk);
		walk->leaves = false;
	}
	return !walk->err;
}

static struct error *follow_nodes(struct other_heap *heap, struct bases *bases)
{
	const struct memory *memory = heap->image->memory;
	uint64_t root = heap->own[JEMALLOC_ROOT];
	struct node_walk walk = { .heap = heap, .bases = bases };
	struct memory_reader upper = { 0 };
	struct error *err = memory_reader_init(&upper, memory);

	if (!err)
		err = memory_reader_init(&walk.lower, memory);
	if (!err)
		(void)other_each_word(&upper, root, root +
				      (UINT64_C(8) << jemalloc_geometry(heap)->root),
				      follow_node, &walk);
	memory_reader_deinit(&upper);
	memory_reader_deinit(&walk.lower);
	return err ? err : walk.err;
}

/** A word of the module's data, or of a block's head, that leads to a block. */
static bool follow_word(void *context, uint64_t at, uint64_t word)
{
	struct node_walk *walk = context;
	uint64_t start = word & ~((UINT64_C(1) << BASE_LOG2) - 1), end, next;
	size_t place;

	(void)at;
	if (word % 8 == 0 && !has_base(walk->bases, word, &place) &&
	    is_base(walk->heap, start, &end, &next))
		walk->err = follow_bases(walk->heap, walk->bases, word);
	return !walk->err;
}

/**
 * The module knows its arenas, and these are in the first block of those that
 * they take their records from; which leads to the latest one.
 */
static struct error *follow_arenas(struct other_heap *heap, struct bases *bases)
{
	const struct module *module = heap->module;
	struct node_walk walk = { .heap = heap, .bases = bases };
	struct error *err = memory_reader_init(&walk.lower,
					       heap->image->memory);
	size_t count = 0;

	if (!err)
		(void)other_each_word(&walk.lower, module->start, module->end,
				      follow_word, &walk);
	// Until a pass over all heads finds none that is new.
	while (!err && !walk.err && count < bases->count) {
		count = bases->count;
		for (size_t i = 0; !walk.err && i < bases->count; i++)
			(void)other_each_word(&walk.lower, bases->items[i][0],
					      bases->items[i][0] + BASE_HEAD,
					      follow_word, &walk);
	}
	memory_reader_deinit(&walk.lower);
	return err ? err : walk.err;
}

static struct error *find_metadata(struct other_heap *heap)
{
	struct bases bases = { .count = 0 };
	size_t spans = heap->num_spans;
	struct error *err = follow_nodes(heap, &bases);

	for (size_t i = 0; !err && i < spans; i++)
		err = follow_bases(heap, &bases, heap->spans[i].record);
	if (!err)
		err = follow_arenas(heap, &bases);
	for (size_t i = 0; !err && i < bases.count; i++)
		err = other_span_add(heap, &(struct other_span){
			.start = bases.items[i][0], .end = bases.items[i][1],
			.record = bases.items[i][0], .kind = OTHER_METADATA });
	free(bases.items);
	return err;
}

/* --- all of it ----------------------------------------------------------- */

static struct error *read_all(struct other_heap *heap)
{
	struct reading reading = { .heap = heap };
	uint64_t wrong = 0;
	struct error *err = jemalloc_each_extent(heap, add_extent, &reading, &wrong);

	if (!err)
		err = find_metadata(heap);
	if (err)
		return err;
	other_spans_settle(heap);
	// Each thread may have been in the middle of one change.
	if (wrong > heap->image->notes.num_threads)
		findings_add(heap->image->findings, "malloc-tree",
			     heap->own[JEMALLOC_ROOT], "jemalloc: %" PRIu64 " pages "
			     "lead to extents that do not hold them", wrong);
	if (reading.unequal > heap->image->notes.num_threads)
		findings_add(heap->image->findings, "malloc-span", 0,
			     "jemalloc: of %" PRIu64 " slabs the bitmap does "
			     "not agree with the count", reading.unequal);
	return other_cached_settle(heap, jemalloc_find_caches(heap));
}

struct error *jemalloc_open(struct other_heap *heap)
{
	struct error *err = jemalloc_find_root(heap);

	heap->free_blocks = free_blocks;
	return err ? err : read_all(heap);
}
