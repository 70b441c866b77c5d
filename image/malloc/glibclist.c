/*
 * What the lists of glibc's malloc lead to; see glibcheap.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Bins are linked both ways, so that a list that goes in circles is seen where
 * a chunk does not lead back. Fast bins and those of tcache are linked one way:
 * a second finger, which stays behind, meets the first one in a circle. Since
 * 2.32 their links are mixed with the place they stand in.
 */
#include <stdlib.h>

#include "image/malloc/glibcstate.h"

enum {
	SMALL_BINS = 64,	/* of tcache: one size each */
	LARGE_BINS = 12,	/* … and one power of two each, since 2.42 */
	ALL_BINS = SMALL_BINS + LARGE_BINS,
	SMALL_MOST = 1040,	/* bytes of the largest chunk of a small bin */
	SLACK = 16,		/* bytes that a chunk may be larger than asked */
	LISTED_GROW = 1024,
};

/* struct tcache_perthread_struct, by the size of its chunk */
static const struct tcache_kind {
	uint64_t size;
	uint32_t bins;
	uint32_t count_size;	/* bytes of a count */
	bool slots;		/* what is counted are free places */
} kinds[] = {
	{ 0x250, SMALL_BINS, 1, false },	/* 2.26 to 2.29 */
	{ 0x290, SMALL_BINS, 2, false },	/* 2.30 to 2.41 */
	{ 0x300, ALL_BINS, 2, true },		/* 2.42 and later */
};

static struct error *add_listed(struct glibc_heap *heap, uint64_t at,
				enum glibc_kind kind)
{
	struct glibc_listed *listed;

	if (heap->num_listed == heap->max_listed) {
		size_t most = heap->max_listed ? 2 * heap->max_listed :
						 LISTED_GROW;

		listed = realloc(heap->listed, most * sizeof(*listed));
		if (!listed)
			return error_no_memory();
		heap->listed = listed;
		heap->max_listed = most;
	}
	heap->listed[heap->num_listed++] =
		(struct glibc_listed){ at, kind };
	return NULL;
}

/** The header of a chunk can be here. */
static bool may_be_chunk(const struct glibc_heap *heap, uint64_t at)
{
	const struct glibc_region *region = at % GLIBC_ALIGN ? NULL :
		glibc_region_at(heap, at);

	return region && at >= region->first &&
	       region->end - at >= GLIBC_LEAST;
}

/* --- bins ----------------------------------------------------------------------- */

/**
 * Follow a bin one way: 2 is the word that leads on, 3 the one that leads
 * back; or the other way round.
 *
 * @param until  where to stop: the head, or where the other way broke off
 * @param ret_bad  the chunk that does not agree with the one before it; 0
 */
static struct error *follow_bin(struct glibc_heap *heap, uint64_t head, int on,
				uint64_t until, uint64_t *ret_bad)
{
	uint64_t before = head, at, words[4];
	struct error *err = NULL;

	*ret_bad = 0;
	if (!memory_try_u64(&heap->memory, head + 8 * (uint64_t)on, &at))
		return NULL;
	while (!err && at != head && at != until) {
		if (!may_be_chunk(heap, at) ||
		    !memory_try_read(&heap->memory, at, words,
				     sizeof(words)) ||
		    words[5 - on] != before) {
			*ret_bad = at;
			break;
		}
		err = add_listed(heap, at, GLIBC_FREE);
		before = at;
		at = words[on];
	}
	if (!err && at == head && until == 0 &&
	    (!memory_try_u64(&heap->memory, head + 8 * (uint64_t)(5 - on),
			     &at) || at != before))
		*ret_bad = head;
	return err;
}

static struct error *gather_bin(struct glibc_heap *heap,
				const struct glibc_arena *arena, uint64_t i)
{
	uint64_t head = arena->address + heap->layout.bins + 16 * i - 16;
	uint64_t bad, unused;
	struct error *err = follow_bin(heap, head, 2, 0, &bad);

	if (err || bad == 0)
		return err;
	findings_add(heap->image->findings, "malloc-bin", bad,
		     "bin %llu of the arena of malloc at 0x%llx leads to 0x%llx, "
		     "which does not lead back%s", (unsigned long long)i + 1,
		     (unsigned long long)arena->address,
		     (unsigned long long)bad,
		     arena->locked ? " (a thread was at it)" : "");
	return follow_bin(heap, head, 3, bad, &unused);
}

/* --- lists that are linked one way ---------------------------------------------- */

/**
 * The address that a link stands for; 0 at the end.
 *
 * @param header  bytes from the address to the chunk's header
 * @param ret_bad  true where it leads nowhere
 */
static uint64_t unmix(const struct glibc_heap *heap, uint64_t place,
		      uint64_t link, uint64_t header, bool *ret_bad)
{
	uint64_t mixed = link ^ place >> 12;

	*ret_bad = false;
	if (link == 0 || mixed == 0)
		return 0;
	if (may_be_chunk(heap, mixed - header))
		return mixed;
	if (may_be_chunk(heap, link - header))
		return link;
	*ret_bad = true;
	return link;
}

struct list {
	const char *name;
	uint64_t owner;		/* of the list: an arena, a tcache */
	uint64_t header;	/* bytes from a link's address to the header */
	uint64_t least, most;	/* bytes of its chunks */
	enum glibc_kind kind;
	uint64_t count;		/* chunks it says it has; UINT64_MAX: unsaid */
};

static void list_finding(struct glibc_heap *heap, const struct list *list,
			 uint64_t at, const char *what)
{
	findings_add(heap->image->findings, list->name, at,
		     "the list of free chunks of malloc at 0x%llx leads to "
		     "0x%llx, %s", (unsigned long long)list->owner,
		     (unsigned long long)at, what);
}

static bool fits(struct glibc_heap *heap, const struct list *list,
		 uint64_t chunk)
{
	uint64_t size;

	if (!may_be_chunk(heap, chunk) ||
	    !memory_try_u64(&heap->memory, chunk + 8, &size))
		return false;
	size &= ~(uint64_t)GLIBC_SIZE_BITS;
	return size >= list->least && size <= list->most;
}

/** @param at  the first one, as links are: with the header before it */
static struct error *follow_list(struct glibc_heap *heap,
				 const struct list *list, uint64_t at)
{
	uint64_t behind = 0, steps = 0, limit = 1, place, link;
	struct error *err = NULL;
	bool bad = false;

	while (!err && at != 0) {
		if (bad || !fits(heap, list, at - list->header)) {
			list_finding(heap, list, at, "which is no chunk of it");
			return NULL;
		}
		if (at == behind) {
			list_finding(heap, list, at, "where it has been before: "
				     "freed twice");
			return NULL;
		}
		if (steps == list->count) {
			list_finding(heap, list, at, "which is one more than it "
				     "has");
			return NULL;
		}
		err = add_listed(heap, at - list->header, list->kind);
		if (++steps == limit) {
			behind = at;
			limit *= 2;
		}
		place = at - list->header + GLIBC_HEADER;
		if (!memory_try_u64(&heap->memory, place, &link))
			return err;
		at = unmix(heap, place, link, list->header, &bad);
	}
	if (!err && list->count != UINT64_MAX && steps != list->count)
		list_finding(heap, list, 0, "before all of its chunks were met");
	return err;
}

static struct error *gather_fast(struct glibc_heap *heap,
				 const struct glibc_arena *arena, uint64_t i)
{
	uint64_t at = 0, size = GLIBC_LEAST + GLIBC_ALIGN * i;

	(void)memory_try_u64(&heap->memory, arena->address + heap->layout.fast +
			     8 * i, &at);
	return follow_list(heap, &(struct list){
		.name = "malloc-fast-bin", .owner = arena->address,
		.least = size, .most = size, .kind = GLIBC_FAST,
		.count = UINT64_MAX }, at);
}

struct error *glibc_gather_bins(struct glibc_heap *heap)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < heap->num_arenas; i++) {
		const struct glibc_arena *arena = &heap->arenas[i];

		for (uint64_t bin = 0; !err && bin < GLIBC_BINS; bin++)
			err = gather_bin(heap, arena, bin);
		for (uint64_t bin = 0; !err && heap->layout.fast &&
		     bin < GLIBC_FAST_BINS; bin++)
			err = gather_fast(heap, arena, bin);
	}
	return err;
}

/* --- tcache ----------------------------------------------------------------------- */

static const struct tcache_kind *kind_of(uint64_t size)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (size == kinds[i].size || size == kinds[i].size + SLACK)
			return &kinds[i];
	return NULL;
}

bool glibc_may_be_tcache(uint64_t size)
{
	return kind_of(size) != NULL;
}

struct tcache {
	uint64_t counts[ALL_BINS];
	uint64_t entries[ALL_BINS];
};

static bool read_tcache(struct glibc_heap *heap, uint64_t at,
			const struct tcache_kind *kind, struct tcache *ret)
{
	uint8_t bytes[ALL_BINS * 2];
	size_t counts = (size_t)kind->bins * kind->count_size;

	if (!memory_try_read(&heap->memory, at, bytes, counts) ||
	    !memory_try_read(&heap->memory, at + counts, ret->entries,
			     kind->bins * sizeof(*ret->entries)))
		return false;
	for (size_t i = 0; i < kind->bins; i++)
		ret->counts[i] = kind->count_size == 1 ? bytes[i] :
			bytes[2 * i] | (uint64_t)bytes[2 * i + 1] << 8;
	return true;
}

/** Turn free places into chunks; false: they cannot be that. */
static bool count_chunks(const struct glibc_heap *heap,
			 const struct tcache_kind *kind, struct tcache *tcache)
{
	uint64_t places = heap->parameters.known ?
		heap->parameters.tcache_count : 0;

	for (size_t i = 0; i < kind->bins; i++)
		if (!heap->parameters.known && tcache->counts[i] > places)
			places = tcache->counts[i];
	for (size_t i = 0; i < kind->bins; i++) {
		if (tcache->counts[i] > places)
			return false;
		tcache->counts[i] = places - tcache->counts[i];
	}
	return true;
}

/**
 * Nothing says that a chunk is a thread's tcache but what is in it: each list
 * has chunks or none, as its count says, and they are in heaps of malloc.
 */
static bool is_tcache(const struct glibc_heap *heap,
		      const struct tcache_kind *kind,
		      const struct tcache *tcache)
{
	size_t lists = 0;

	for (size_t i = 0; i < kind->bins; i++) {
		uint64_t entry = tcache->entries[i];

		if ((entry == 0) != (tcache->counts[i] == 0) ||
		    (entry && !may_be_chunk(heap, entry - GLIBC_HEADER)))
			return false;
		lists += entry != 0;
	}
	return lists > 0;
}

struct error *glibc_gather_tcache(struct glibc_heap *heap, uint64_t start,
				  uint64_t size)
{
	const struct tcache_kind *kind = kind_of(size);
	struct tcache tcache;
	struct error *err = NULL;

	if (!kind || !read_tcache(heap, start + GLIBC_HEADER, kind, &tcache) ||
	    (kind->slots && !count_chunks(heap, kind, &tcache)) ||
	    !is_tcache(heap, kind, &tcache))
		return NULL;
	for (size_t i = 0; !err && i < kind->bins; i++) {
		struct list list = {
			.name = "malloc-tcache", .owner = start + GLIBC_HEADER,
			.header = GLIBC_HEADER, .kind = GLIBC_TCACHE,
			.least = GLIBC_LEAST + GLIBC_ALIGN * i,
			.count = tcache.counts[i],
		};

		list.most = list.least;
		if (i >= SMALL_BINS) {
			list.least = UINT64_C(1024) << (i - SMALL_BINS);
			list.most = 2 * list.least - 1;
			if (i == SMALL_BINS)
				list.least = SMALL_MOST + 1;
		}
		if (tcache.entries[i])
			err = follow_list(heap, &list, tcache.entries[i]);
	}
	return err;
}

/* --- all of it ---------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
	const struct glibc_listed *left = a, *right = b;

	if (left->at != right->at)
		return left->at < right->at ? -1 : 1;
	return (left->kind > right->kind) - (left->kind < right->kind);
}

void glibc_sort_listed(struct glibc_heap *heap)
{
	size_t kept = 0;

	if (heap->num_listed == 0)
		return;
	qsort(heap->listed, heap->num_listed, sizeof(*heap->listed),
	      by_address);
	for (size_t i = 0; i < heap->num_listed; i++) {
		uint64_t at = heap->listed[i].at;

		if (kept && heap->listed[kept - 1].at == at) {
			findings_add(heap->image->findings, "malloc-twice", at,
				     "the chunk of malloc at 0x%llx is in two "
				     "lists of free ones: freed twice",
				     (unsigned long long)at);
			continue;
		}
		heap->listed[kept++] = heap->listed[i];
	}
	heap->num_listed = kept;
}
