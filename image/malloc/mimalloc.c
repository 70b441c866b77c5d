/*
 * mimalloc, loaded in malloc's place: pages, and the segments of version 2.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Version 2 has segments at multiples of 32 MiB, each with a cookie: its own
 * address, mixed with a number that the library keeps in its data, so that
 * segments of another mimalloc (Python has one) are told apart. A segment is cut
 * into slices, which make pages of blocks of one size; a page has three lists of
 * free blocks. Nothing is kept at hand for threads but that.
 *
 * Source: mimalloc 2.0.9, 2.1.2, 2.1.7 and 2.2.7: include/mimalloc/types.h,
 * src/segment.c. Builds with MI_SECURE or MI_DEBUG encode the links of lists,
 * and are not read.
 */
#include <elf.h>
#include <inttypes.h>
#include <string.h>

#include "image/malloc/mimallocstate.h"

enum {
	SEGMENT_LOG2 = 25,
	SLICES = 1 << (SEGMENT_LOG2 - MIMALLOC_SLICE_LOG2),
	INFO_MAX = 4,
	FLAGS = 3,		/* in the low bits of a link of threads */
	NUM_LISTS = 3,
	FIRST_OF_3 = 2,		/* of the records */
	SEGMENTS_TRIED = 64,
};

/* What own[] holds. */
enum { OWN_RECORD, OWN_COOKIE };

static const struct mimalloc_record records[] = {
	{ 10, 12, 16, 32, 40, 28, 4, 0, 0, 80 },	/* 2.0 to 2.1.2 */
	{ 10, 12, 16, 24, 56, 40, 8, 48, 0, 96 },	/* 2.1.7 to 2.2 */
	{ 18, 20, 8, 24, 32, 40, 8, 48, 0, 64 },	/* 3.0 */
	{ 18, 20, 8, 24, 32, 40, 8, 48, 8, 64 },	/* 3.4 */
	{ 56, 58, 16, 24, 64, 32, 8, 48, 1, 72 },	/* 3.6 */
};

/** Where a segment's header keeps what; each of 8 bytes. */
static const struct segment_layout {
	uint16_t cookie, slices, info, kind, entries, first;
	uint8_t record;		/* which of the records */
	/* of pages that do not say where they begin: */
	bool old_start;		/* 2.0: 384 bytes on, for small blocks */
} segment_layouts[] = {
	{ 216, 224, 232, 240, 248, 264, 0, true },	/* 2.0 */
	{ 216, 224, 232, 240, 248, 264, 0, false },	/* 2.1.2 */
	{ 216, 224, 232, 240, 248, 264, 1, false },	/* 2.1.7 */
	{ 224, 248, 256, 264, 272, 288, 1, false },	/* 2.2 */
};

struct segment {
	uint64_t start, slices, entries, info, key;
};

/* --- pages ------------------------------------------------------------------ */

const struct mimalloc_record *mimalloc_record(const struct other_heap *heap)
{
	return &records[heap->own[OWN_RECORD]];
}

static uint64_t part(const uint8_t *bytes, unsigned int at, unsigned int size)
{
	uint64_t value = 0;

	memcpy(&value, bytes + at, size);
	return value;
}

bool mimalloc_read_page(struct memory_reader *memory,
			const struct mimalloc_record *layout, uint64_t record,
			uint64_t start, uint64_t end, struct mimalloc_page *ret)
{
	uint8_t bytes[128] = { 0 };

	if (!memory_try_read(memory, record, bytes, layout->size))
		return false;
	*ret = (struct mimalloc_page){
		.record = record, .start = start, .end = end, .first = start,
		.block = part(bytes, layout->block, layout->block_bytes),
		.capacity = (uint32_t)part(bytes, layout->capacity, 2),
		.reserved = (uint32_t)part(bytes, layout->reserved, 2),
	};
	if (layout->start_unit)
		ret->first = record + part(bytes, layout->start, 4) *
					      layout->start_unit;
	else if (layout->start)
		ret->first = part(bytes, layout->start, 8);
	return ret->block >= 8 && ret->block % 8 == 0 && ret->first >= start &&
	       ret->first < end && ret->first % 8 == 0 &&
	       ret->capacity <= ret->reserved &&
	       ret->capacity <= (end - ret->first) / ret->block;
}

/** The lists of a page, each block marked; NULL or what is wrong. */
static const char *mark_free(struct other_heap *heap, uint64_t record,
			     const struct other_span *span, uint64_t *bits,
			     uint32_t *ret_free)
{
	const struct mimalloc_record *layout = mimalloc_record(heap);
	const uint8_t lists[NUM_LISTS] = { layout->free, layout->local_free,
					   layout->thread_free };

	for (int i = 0; i < NUM_LISTS; i++) {
		uint64_t at;

		if (!memory_try_u64(&heap->memory, record + lists[i], &at))
			return "the record is not in the dump";
		for (at &= ~(uint64_t)FLAGS; at; ) {
			uint64_t block = (at - span->first) / span->block;

			if (!other_is_block(span, at))
				return "a list of free blocks leaves it";
			if (bits[block / 64] >> block % 64 & 1)
				return "a block is in its lists twice: freed "
				       "twice";
			bits[block / 64] |= UINT64_C(1) << block % 64;
			++*ret_free;
			if (!memory_try_u64(&heap->memory, at, &at))
				return "a free block is not in the dump";
		}
	}
	return NULL;
}

static const char *free_blocks(struct other_heap *heap,
			       const struct other_span *span, uint64_t *bits)
{
	uint32_t number = 0;

	return mark_free(heap, span->record, span, bits, &number);
}

struct error *mimalloc_add_page(struct other_heap *heap,
				const struct mimalloc_page *page)
{
	static _Thread_local uint64_t bits[OTHER_BLOCKS_MAX / 64];
	struct other_span span = {
		.start = page->start, .end = page->end, .first = page->first,
		.block = page->block, .count = page->capacity,
		.record = page->record, .kind = OTHER_UNUSED,
	};
	uint32_t number = 0;
	const char *why;

	memset(bits, 0, ((size_t)span.count + 63) / 64 * sizeof(*bits));
	why = mark_free(heap, page->record, &span, bits, &number);
	if (why)
		findings_add(heap->image->findings, "malloc-span", page->record,
			     "mimalloc: of the page at 0x%" PRIx64 " %s",
			     page->start, why);
	span.live = span.count - number;
	if (page->end - page->first - span.count * span.block < span.block)
		span.kind = OTHER_OVERHEAD;
	return other_span_add(heap, &span);
}

/* --- segments ---------------------------------------------------------------- */

static bool read_segment(struct memory_reader *memory, uint64_t start,
			 const struct segment_layout *layout,
			 struct segment *ret)
{
	uint64_t cookie, kind;
	uint32_t first;

	*ret = (struct segment){ .start = start };
	if (!memory_try_u64(memory, start + layout->cookie, &cookie) ||
	    !memory_try_u64(memory, start + layout->slices, &ret->slices) ||
	    !memory_try_u64(memory, start + layout->info, &ret->info) ||
	    !memory_try_u64(memory, start + layout->kind, &kind) ||
	    !memory_try_u64(memory, start + layout->entries, &ret->entries) ||
	    !memory_try_u32(memory, start + layout->first, &first))
		return false;
	ret->key = cookie ^ start;
	return (uint32_t)kind <= 1 && ret->slices > 0 &&
	       ret->slices < UINT32_MAX && ret->entries <= ret->slices &&
	       ret->entries <= SLICES && ret->info > 0 &&
	       ret->info <= INFO_MAX && ret->info < ret->entries &&
	       first == ret->info;
}

struct key_search {
	uint64_t key;
	bool found;
};

static bool is_key(void *context, uint64_t at, uint64_t word)
{
	struct key_search *search = context;

	(void)at;
	search->found = word == search->key;
	return !search->found;
}

/** Does the module know the number that the cookie is mixed with? */
static bool is_ours(struct other_heap *heap, uint64_t key)
{
	struct key_search search = { .key = key };

	(void)other_each_word(&heap->memory, heap->module->start,
			      heap->module->end, is_key, &search);
	return search.found;
}

/** Where blocks begin, of pages that do not say. */
static uint64_t padding(const struct segment_layout *layout, uint64_t block)
{
	if (layout->old_start)
		return block <= 1024 ? 384 : 0;
	return block <= 64 ? 3 * block : block <= 512 ? block : 0;
}

static bool read_page(struct other_heap *heap,
		      const struct segment_layout *layout,
		      const struct segment *segment, uint64_t index,
		      uint64_t count, struct mimalloc_page *ret)
{
	const struct mimalloc_record *record = &records[layout->record];
	uint64_t start = segment->start + index * MIMALLOC_SLICE;

	if (!mimalloc_read_page(&heap->memory, record, segment->start +
				layout->first + index * record->size, start,
				start + count * MIMALLOC_SLICE, ret))
		return false;
	if (!record->start) {
		// The size of a huge block does not fit into its record.
		if (segment->slices > SLICES)
			ret->block = count * MIMALLOC_SLICE;
		ret->first += padding(layout, ret->block);
	}
	return ret->first + ret->capacity * ret->block <= ret->end;
}

/** Call fn for each page of a segment; what is between is a span of its own. */
static struct error *add_segment(struct other_heap *heap,
				 const struct segment_layout *layout,
				 const struct segment *segment)
{
	struct other_span span = {
		.start = segment->start,
		.end = segment->start + segment->info * MIMALLOC_SLICE,
		.record = segment->start, .kind = OTHER_METADATA,
	};
	struct error *err = other_span_add(heap, &span);
	uint64_t i = segment->info;

	span.kind = OTHER_UNUSED;
	while (!err && i < segment->entries) {
		uint64_t at = segment->start + layout->first +
			      i * records[layout->record].size;
		struct mimalloc_page page;
		uint32_t count;

		if (!memory_try_u32(&heap->memory, at, &count) || count == 0 ||
		    count > segment->slices - i) {
			findings_add(heap->image->findings, "malloc-span", at,
				     "mimalloc: the slices of the segment at 0x"
				     "%" PRIx64 " do not follow one another",
				     segment->start);
			count = (uint32_t)(segment->entries - i);
		}
		span.start = segment->start + i * MIMALLOC_SLICE;
		span.end = span.start + count * MIMALLOC_SLICE;
		err = read_page(heap, layout, segment, i, count, &page) ?
			      mimalloc_add_page(heap, &page) :
			      other_span_add(heap, &span);
		i += count;
	}
	return err;
}

typedef struct error *segment_fn(struct other_heap *heap,
				 const struct segment_layout *layout,
				 const struct segment *segment, void *context);

/** Call fn for each segment that has the key; any key: 0. */
static struct error *each_segment(struct other_heap *heap,
				  const struct segment_layout *layout,
				  uint64_t key, segment_fn *fn, void *context)
{
	const struct memory *memory = heap->image->memory;
	uint64_t size = UINT64_C(1) << SEGMENT_LOG2;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);
		uint64_t at = (range->start + size - 1) & ~(size - 1);
		struct segment segment;

		if (range->state != MEMORY_CAPTURED ||
		    !(range->protection & PF_W) || at < range->start)
			continue;
		for (; !err && at < range->end && at >= range->start;
		     at += size)
			if (read_segment(&heap->memory, at, layout, &segment) &&
			    (key == 0 || segment.key == key))
				err = fn(heap, layout, &segment, context);
	}
	return err;
}

/* --- which version -------------------------------------------------------------- */

struct votes {
	uint64_t key;		/* of the module; 0: not found yet */
	uint64_t pages, right;	/* with a free block, that is where one begins */
	size_t tried;
};

static struct error *vote(struct other_heap *heap,
			  const struct segment_layout *layout,
			  const struct segment *segment, void *context)
{
	const struct mimalloc_record *record = &records[layout->record];
	struct votes *votes = context;
	uint64_t i = segment->info;

	if (!votes->key && votes->tried++ < SEGMENTS_TRIED &&
	    is_ours(heap, segment->key))
		votes->key = segment->key;
	while (segment->key == votes->key && i < segment->entries) {
		uint64_t at = segment->start + layout->first + i * record->size;
		struct mimalloc_page page;
		uint32_t count;
		uint64_t block;

		if (!memory_try_u32(&heap->memory, at, &count) || count == 0 ||
		    count > segment->slices - i)
			break;
		if (read_page(heap, layout, segment, i, count, &page) &&
		    memory_try_u64(&heap->memory, at + record->free, &block) &&
		    block) {
			votes->pages++;
			votes->right += block >= page.first &&
					block < page.end &&
					(block - page.first) % page.block == 0;
		}
		i += count;
	}
	return NULL;
}

static struct error *fill(struct other_heap *heap,
			  const struct segment_layout *layout,
			  const struct segment *segment, void *context)
{
	(void)context;
	return add_segment(heap, layout, segment);
}

static struct error *read_segments(struct other_heap *heap)
{
	const struct segment_layout *best = NULL;
	uint64_t most = 0, key = 0;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < sizeof(segment_layouts) /
					       sizeof(*segment_layouts); i++) {
		struct votes votes = { .key = 0 };

		err = each_segment(heap, &segment_layouts[i], 0, vote, &votes);
		if (votes.right > most && votes.right > votes.pages / 2) {
			most = votes.right;
			best = &segment_layouts[i];
			key = votes.key;
		}
	}
	if (!err && !best)
		err = error_new(ERROR_NOT_FOUND, "no mimalloc is in there");
	if (err)
		return err;
	heap->own[OWN_RECORD] = best->record;
	heap->own[OWN_COOKIE] = key;
	return each_segment(heap, best, key, fill, NULL);
}

struct error *mimalloc_open(struct other_heap *heap)
{
	struct error *err = read_segments(heap);

	heap->free_blocks = free_blocks;
	if (err && err->kind == ERROR_NOT_FOUND) {
		error_free(err);
		err = NULL;
		for (size_t i = FIRST_OF_3; i < sizeof(records) / sizeof(*records);
		     i++) {
			error_free(err);
			heap->own[OWN_RECORD] = i;
			err = mimalloc3_read(heap);
			if (!err || err->kind != ERROR_NOT_FOUND)
				break;
		}
	}
	if (!err)
		other_spans_settle(heap);
	return err;
}
