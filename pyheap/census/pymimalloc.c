/*
 * mimalloc: segments, pages and live blocks; see pymimalloc.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pymimalloc.h"

#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	SEGMENT_SLICES = 1 << (PYH_MI_SEGMENT_LOG2 - PYH_MI_SLICE_LOG2),
	INFO_SLICES_MAX = 4,	/* of a header; with guard pages two */
	NUM_QUEUES = 75,	/* of pages of one size, in a heap */
	QUEUE_SIZE = 24,	/* mi_page_queue_t: first, last, block_size */
	THREADS_MAX = 1 << 16,
	MEDIUM_MAX = 128 << 10,	/* bytes of a block that shares its page */
	KIND_HUGE = 1,		/* a segment of one page, of one block */
	TAG_SHIFT = 3,		/* 2.1.2: four bits of a byte */
	DELAYED_FLAGS = 3,	/* in the low bits of xthread_free */
	DESCRIPTOR_MAX = 256,
	DEBUG_KEYS = 16,	/* Py_DEBUG builds: bytes of keys[2] */
	/* What a thread that was stopped half-way through may have in hand. */
	IN_HAND = 2,
};

#define SEGMENT_SIZE (UINT64_C(1) << PYH_MI_SEGMENT_LOG2)
#define SLICE_SIZE (UINT64_C(1) << PYH_MI_SLICE_LOG2)

/* Larger segments than this are not believed: 2^32 slices. */
#define SLICES_MAX (UINT64_C(1) << 32)

struct candidate {
	uint64_t start;
	uint64_t cookie;	/* as it is in the header, mixed with start */
	uint64_t slices;	/* of the whole segment */
	uint64_t entries;	/* descriptors of slices */
	uint64_t info;		/* slices that the header takes */
	bool huge;
	bool led_to;		/* a heap has pages in it */
};

struct finder {
	const struct pyh_runtime *runtime;
	struct memory_reader reader;
	struct pyh_mi_pages *pages;
	size_t room, segment_room;
	uint32_t slice_size;	/* bytes of a descriptor */
	uint32_t keys;		/* where it has keys; 0: nowhere */
	struct candidate *candidates;
	size_t count, candidate_room;
};

/** Make room for one more; *array is moved. */
static struct error *grow(void *array, size_t count, size_t *room, size_t size)
{
	size_t more = *room ? *room * 2 : 64;
	void *old, *grown;

	if (count < *room)
		return NULL;
	memcpy(&old, array, sizeof(old));
	grown = reallocarray(old, more, size);
	if (!grown)
		return error_no_memory();
	memcpy(array, &grown, sizeof(grown));
	*room = more;
	return NULL;
}

/* --- segments ---------------------------------------------------------------- */

static bool field_of(struct finder *finder, uint64_t structure,
		     enum pyh_field field, uint64_t *ret)
{
	return pyh_field(finder->runtime, &finder->reader, structure, field,
			 ret);
}

/** Whether a segment begins at an address, by all but its cookie. */
static bool is_segment(struct finder *finder, uint64_t start,
		       struct candidate *ret)
{
	uint64_t slices = start + pyh_offset(finder->runtime,
					     PYH_MISEGMENT_SLICES);
	uint64_t kind, first;

	*ret = (struct candidate){ .start = start };
	if (!field_of(finder, start, PYH_MISEGMENT_COOKIE, &ret->cookie) ||
	    !field_of(finder, start, PYH_MISEGMENT_SEGMENT_SLICES,
		      &ret->slices) ||
	    !field_of(finder, start, PYH_MISEGMENT_SEGMENT_INFO_SLICES,
		      &ret->info) ||
	    !field_of(finder, start, PYH_MISEGMENT_KIND, &kind) ||
	    !field_of(finder, start, PYH_MISEGMENT_SLICE_ENTRIES,
		      &ret->entries) ||
	    !field_of(finder, slices, PYH_MIPAGE_SLICE_COUNT, &first))
		return false;
	ret->huge = kind == KIND_HUGE;
	// The header is described by a slice as if it were a page.
	return kind <= KIND_HUGE && ret->slices > 0 &&
	       ret->slices <= SLICES_MAX && ret->entries <= ret->slices &&
	       ret->entries <= SEGMENT_SLICES && ret->info > 0 &&
	       ret->info <= INFO_SLICES_MAX && ret->info < ret->entries &&
	       first == ret->info;
}

static struct error *add_candidate(struct finder *finder,
				   const struct candidate *candidate)
{
	struct error *err;

	err = grow(&finder->candidates, finder->count, &finder->candidate_room,
		   sizeof(*candidate));
	if (!err)
		finder->candidates[finder->count++] = *candidate;
	return err;
}

static struct candidate *candidate_at(const struct finder *finder,
				      uint64_t start)
{
	size_t low = 0, high = finder->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (finder->candidates[middle].start < start)
			low = middle + 1;
		else
			high = middle;
	}
	return low < finder->count && finder->candidates[low].start == start ?
		       &finder->candidates[low] : NULL;
}

/** Everything aligned that looks like one, in order of address. */
static struct error *find_candidates(struct finder *finder)
{
	const struct memory *memory = finder->reader.memory;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);
		uint64_t at = (range->start + SEGMENT_SIZE - 1) &
			      ~(SEGMENT_SIZE - 1);
		struct candidate candidate;

		if (range->state != MEMORY_CAPTURED ||
		    !(range->protection & PF_W) || at < range->start)
			continue;
		for (; !err && at < range->end && at >= range->start;
		     at += SEGMENT_SIZE)
			if (is_segment(finder, at, &candidate))
				err = add_candidate(finder, &candidate);
	}
	return err;
}

/* --- which of them are this runtime's ------------------------------------------ */

/** The pages of a heap lead to their segments. */
static void follow_heap(struct finder *finder, uint64_t heap)
{
	uint64_t queues = heap + pyh_offset(finder->runtime, PYH_MIHEAP_PAGES);

	// Debug builds have one page more at hand for small blocks.
	if (finder->keys)
		queues += sizeof(uint64_t);
	for (uint64_t i = 0; i < NUM_QUEUES; i++) {
		struct candidate *candidate;
		uint64_t page;

		if (!memory_try_u64(&finder->reader, queues + i * QUEUE_SIZE,
				    &page) || page == 0)
			continue;
		candidate = candidate_at(finder, page & ~(SEGMENT_SIZE - 1));
		if (candidate)
			candidate->led_to = true;
	}
}

static void follow_threads(struct finder *finder)
{
	const struct pyh_runtime *runtime = finder->runtime;
	uint64_t heaps = pyh_offset(runtime, PYH_TSTATEIMPL_MIMALLOC_HEAPS);
	uint64_t size = runtime->size_of[PYH_STRUCT_MIHEAP] +
			(finder->keys ? sizeof(uint64_t) : 0);

	for (size_t i = 0; i < runtime->num_interpreters; i++) {
		uint64_t thread = runtime->interpreters[i].first_thread;

		for (size_t n = 0; thread != 0 && n < THREADS_MAX; n++) {
			for (uint64_t j = 0; j < PYH_NUM_MI_HEAPS; j++)
				follow_heap(finder, thread + heaps + j * size);
			if (!field_of(finder, thread, PYH_TSTATE_NEXT, &thread))
				break;
		}
	}
}

/**
 * The number that the cookies of one process are mixed with: that of most
 * segments, those that heaps lead to before all others. Another library may
 * have a mimalloc of its own.
 */
static uint64_t process_cookie(const struct finder *finder)
{
	uint64_t best = 0, most = 0;

	for (size_t i = 0; i < finder->count; i++) {
		const struct candidate *one = &finder->candidates[i];
		uint64_t cookie = one->cookie ^ one->start, votes = 0;

		if (cookie == best)
			continue;
		for (size_t j = 0; j < finder->count; j++) {
			const struct candidate *other = &finder->candidates[j];

			if ((other->cookie ^ other->start) == cookie)
				votes += other->led_to ? finder->count + 1 : 1;
		}
		if (votes > most) {
			most = votes;
			best = cookie;
		}
		// No other can have more.
		if (votes > finder->count * (finder->count + 2) / 2)
			break;
	}
	return best;
}

/* --- pages ------------------------------------------------------------------------ */

static uint64_t part(const struct pyh_runtime *runtime, const uint8_t *bytes,
		     enum pyh_field field)
{
	struct pyh_field_at at = runtime->at[field];
	uint64_t value = 0;

	if (at.size > 0 && at.size <= sizeof(value) &&
	    at.offset + at.size <= DESCRIPTOR_MAX)
		memcpy(&value, bytes + at.offset, at.size);
	return value;
}

/** 2.1.2: small blocks do not begin at the edge of a slice. */
static uint64_t padding(uint64_t block_size)
{
	return block_size <= 64 ? 3 * block_size :
	       block_size <= 512 ? block_size : 0;
}

/** Size and place of the blocks; those of huge pages have no number. */
static void place_blocks(const struct finder *finder, const uint8_t *bytes,
			 struct pyh_mi_page *page, bool huge)
{
	const struct pyh_runtime *runtime = finder->runtime;

	if (pyh_has(runtime, PYH_MIPAGE_BLOCK_SIZE)) {
		page->block_size = part(runtime, bytes, PYH_MIPAGE_BLOCK_SIZE);
		page->first = part(runtime, bytes, PYH_MIPAGE_PAGE_START);
		page->heap = (enum pyh_mi_heap)part(runtime, bytes,
						    PYH_MIPAGE_HEAP_TAG);
		return;
	}
	page->block_size = part(runtime, bytes, PYH_MIPAGE_XBLOCK_SIZE);
	if (huge)
		page->block_size = page->limit - page->start;
	page->first = page->start + padding(page->block_size);
	page->heap = (enum pyh_mi_heap)
		(part(runtime, bytes, PYH_MIPAGE_TAG) >> TAG_SHIFT & 15);
}

/** NULL, or what of a page cannot be true. */
static const char *check_page(const struct pyh_mi_page *page, uint64_t reserved)
{
	uint64_t room = page->limit - page->first;

	if (page->heap >= PYH_NUM_MI_HEAPS)
		return "it is of no heap";
	if (page->first < page->start || page->first >= page->limit ||
	    page->first % 8)
		return "its blocks begin outside of it";
	if (page->block_size < 8 || page->block_size % 8 ||
	    page->block_size > room)
		return "its block size is out of range";
	if (page->capacity > reserved || page->capacity > room / page->block_size)
		return "it has more blocks than room for them";
	if (page->used > page->capacity)
		return "more of its blocks are in use than it has";
	return NULL;
}

/** The page that a slice begins; false if there is none, or a damaged one. */
static bool read_page(struct finder *finder, const struct candidate *segment,
		      uint64_t index, uint64_t slices, const uint8_t *bytes,
		      struct pyh_mi_page *page)
{
	static const enum pyh_field lists[3] = {
		PYH_MIPAGE_FREE, PYH_MIPAGE_LOCAL_FREE, PYH_MIPAGE_XTHREAD_FREE,
	};
	const struct pyh_runtime *runtime = finder->runtime;
	const char *why;

	*page = (struct pyh_mi_page){
		.start = segment->start + index * SLICE_SIZE,
		.limit = segment->start + (index + slices) * SLICE_SIZE,
		.capacity = (uint32_t)part(runtime, bytes, PYH_MIPAGE_CAPACITY),
		.used = (uint32_t)part(runtime, bytes, PYH_MIPAGE_USED),
		.descriptor = segment->start + pyh_offset(runtime,
							  PYH_MISEGMENT_SLICES) +
			      index * finder->slice_size,
	};
	place_blocks(finder, bytes, page, segment->huge);
	// Free slices say 0, those of the header 1.
	if (page->block_size <= 1)
		return false;
	for (size_t i = 0; i < 3; i++)
		page->lists[i] = part(runtime, bytes, lists[i]);
	if (finder->keys) {
		memcpy(page->keys, bytes + finder->keys, sizeof(page->keys));
		memcpy(&page->lists[2], bytes + finder->keys + DEBUG_KEYS,
		       sizeof(page->lists[2]));
	}
	page->lists[2] &= ~(uint64_t)DELAYED_FLAGS;
	why = check_page(page, part(runtime, bytes, PYH_MIPAGE_RESERVED));
	if (why)
		findings_add(runtime->image->findings, "mimalloc-page",
			     page->descriptor, "page of blocks at 0x%" PRIx64
			     ": %s; its objects are not counted", page->start,
			     why);
	return !why;
}

static struct error *add_page(struct finder *finder,
			      const struct pyh_mi_page *page)
{
	struct pyh_mi_pages *pages = finder->pages;
	struct error *err = grow(&pages->pages, pages->count, &finder->room,
				 sizeof(*page));

	if (!err)
		pages->pages[pages->count++] = *page;
	return err;
}

/** Slices follow one another, each with a word about how long its span is. */
static struct error *read_segment(struct finder *finder,
				  const struct candidate *segment)
{
	const struct pyh_runtime *runtime = finder->runtime;
	uint64_t slices = segment->start +
			  pyh_offset(runtime, PYH_MISEGMENT_SLICES);
	struct error *err = NULL;
	bool damaged = false;
	uint64_t i = segment->info;

	while (!err && i < segment->entries) {
		uint64_t at = slices + i * finder->slice_size, count;
		uint8_t bytes[DESCRIPTOR_MAX] = { 0 };
		struct pyh_mi_page page;

		if (!memory_try_read(&finder->reader, at, bytes,
				     finder->slice_size)) {
			damaged = true;
			break;
		}
		count = part(runtime, bytes, PYH_MIPAGE_SLICE_COUNT);
		if (count == 0 || count > segment->slices - i ||
		    part(runtime, bytes, PYH_MIPAGE_SLICE_OFFSET) != 0) {
			damaged = true;
			i++;
			continue;
		}
		if (read_page(finder, segment, i, count, bytes, &page))
			err = add_page(finder, &page);
		i += count;
	}
	if (damaged)
		findings_add(runtime->image->findings, "mimalloc-segment",
			     segment->start, "the slices of this segment do not "
			     "follow one another; objects may be missing");
	return err;
}

static struct error *add_segment(struct finder *finder,
				 const struct candidate *candidate,
				 uint64_t cookie)
{
	struct pyh_mi_pages *pages = finder->pages;
	struct error *err;

	if ((candidate->cookie ^ candidate->start) != cookie) {
		if (!candidate->led_to)
			return NULL;
		findings_add(finder->runtime->image->findings,
			     "mimalloc-segment", candidate->start, "the cookie "
			     "of this segment is damaged");
	}
	err = grow(&pages->segments, pages->num_segments,
		   &finder->segment_room, sizeof(*pages->segments));
	if (err)
		return err;
	pages->segments[pages->num_segments++] = (struct pyh_mi_segment){
		candidate->start,
		candidate->start + candidate->slices * SLICE_SIZE,
		candidate->start + candidate->info * SLICE_SIZE };
	return read_segment(finder, candidate);
}

/** Only damage makes segments overlap. */
static void settle(const struct pyh_runtime *runtime,
		   struct pyh_mi_pages *pages)
{
	size_t kept = 0;

	for (size_t i = 0; i < pages->count; i++) {
		if (kept > 0 &&
		    pages->pages[i].start < pages->pages[kept - 1].limit) {
			findings_add(runtime->image->findings, "mimalloc-page",
				     pages->pages[i].descriptor, "page of "
				     "blocks overlaps another and is left out");
			continue;
		}
		pages->pages[kept++] = pages->pages[i];
	}
	pages->count = kept;
}

static struct error *find(struct finder *finder)
{
	struct error *err = find_candidates(finder);
	uint64_t cookie;

	if (err)
		return err;
	follow_threads(finder);
	cookie = process_cookie(finder);
	for (size_t i = 0; !err && i < finder->count; i++)
		err = add_segment(finder, &finder->candidates[i], cookie);
	return err;
}

struct error *pyh_mi_find(const struct pyh_runtime *runtime,
			  struct pyh_mi_pages *ret)
{
	struct pyh_mi_pages pages = { 0 };
	struct finder finder = {
		.runtime = runtime,
		.pages = &pages,
		.slice_size = runtime->size_of[PYH_STRUCT_MIPAGE],
	};
	struct error *err;

	// Debug builds encode links, and keep the keys before the last list.
	if (runtime->debug_build) {
		finder.keys = pyh_offset(runtime, PYH_MIPAGE_XTHREAD_FREE);
		finder.slice_size += DEBUG_KEYS;
	}
	*ret = pages;
	if (!pyh_has(runtime, PYH_MISEGMENT_SLICES) ||
	    finder.slice_size > DESCRIPTOR_MAX)
		return NULL;
	err = memory_reader_init(&finder.reader, runtime->image->memory);
	if (!err)
		err = find(&finder);
	memory_reader_deinit(&finder.reader);
	free(finder.candidates);
	if (err) {
		pyh_mi_deinit(&pages);
		return err;
	}
	settle(runtime, &pages);
	*ret = pages;
	return NULL;
}

void pyh_mi_deinit(struct pyh_mi_pages *pages)
{
	free(pages->pages);
	free(pages->segments);
	*pages = (struct pyh_mi_pages){ 0 };
}

/* --- blocks ------------------------------------------------------------------------- */

/** What a link of a list leads to; debug builds encode it. */
static uint64_t decode(const struct pyh_mi_page *page, uint64_t link)
{
	unsigned int turn = page->keys[0] % 64;

	if (page->keys[0] == 0 && page->keys[1] == 0)
		return link;
	link -= page->keys[0];
	if (turn)
		link = link >> turn | link << (64 - turn);
	link ^= page->keys[1];
	// The end of a list is the page itself.
	return link == page->descriptor ? 0 : link;
}

/** Follow one list, marking its blocks; NULL or what is wrong. */
static const char *follow_list(const struct pyh_mi_page *page, uint64_t first,
			       struct memory_reader *memory, uint64_t *free,
			       uint32_t *num_free)
{
	for (uint64_t at = first; at != 0; at = decode(page, at)) {
		uint64_t offset = at - page->first;
		uint64_t block = offset / page->block_size;

		if (at < page->first || block >= page->capacity ||
		    offset % page->block_size != 0)
			return "a list of free blocks leaves its blocks";
		// While a list is moved, it is in two places.
		if (free[block / 64] >> block % 64 & 1)
			return at == first ? NULL :
			       "a list of free blocks is a cycle";
		free[block / 64] |= UINT64_C(1) << block % 64;
		++*num_free;
		if (!memory_try_u64(memory, at, &at))
			return "a free block is not in the dump";
	}
	return NULL;
}

const char *pyh_mi_free_blocks(const struct pyh_mi_page *page,
			       struct memory_reader *memory,
			       uint64_t ret_free[PYH_MI_WORDS],
			       uint32_t *ret_live)
{
	const char *why = NULL, *first = NULL;
	uint32_t num_free = 0, before = 0;

	memset(ret_free, 0, ((size_t)page->capacity + 63) / 64 *
				    sizeof(*ret_free));
	for (size_t i = 0; i < 3; i++) {
		before = num_free;
		why = follow_list(page, page->lists[i], memory, ret_free,
				  &num_free);
		if (!first)
			first = why;
	}
	*ret_live = page->capacity - num_free;
	// Those of the last list count as used until its owner looks at it.
	if (!first && page->capacity - before > page->used + IN_HAND)
		return "fewer of its blocks are free than it says";
	return first;
}

uint64_t pyh_mi_block_size(uint64_t request)
{
	// mi_bin(): by words; up to 8 in steps of 2, then in eighths.
	uint64_t words = (request + 7) / 8, step;

	if (words <= 1)
		return 8;
	if (words <= 8)
		return (words + 1) / 2 * 16;
	if (request > MEDIUM_MAX)
		return (request + SLICE_SIZE - 1) & ~(SLICE_SIZE - 1);
	// The highest three bits stay, the rest is rounded up.
	words--;
	step = UINT64_C(1) << (61 - __builtin_clzll(words));
	return (words / step + 1) * step * 8;
}
