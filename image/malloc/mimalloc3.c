/*
 * mimalloc 3: its map of pages, and arenas; see mimalloc.c.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A map of two levels leads from each slice to the page that has it. Of its root
 * the module's data has the address; that an entry leads to a page whose blocks
 * begin in just that slice proves it. Pages mostly lie in arenas, large pieces
 * of memory that begin with a record of their own.
 *
 * Source: mimalloc 3.0.1 and 3.4.3: include/mimalloc/types.h, internal.h,
 * src/page-map.c, src/arena.c. Of 3.6.0 (records and arenas of other shapes, a
 * head before the root) what its memory shows; a source was not at hand.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "image/malloc/mimallocstate.h"

enum {
	SUB_LOG2 = 13,		/* slices that an entry of the root stands for */
	ROOT_LOG2 = 18,		/* entries: of 47 bits of addresses */
	TRIED_MAX = 1 << 14,
	SEARCHED_MAX = 1 << 28,
	PROVEN = 3,		/* pages that have to be where they say */
	HEAD_WORDS = 16,	/* before the root's first entry */
	ARENA_WORDS = 16,
	INFO_MAX = 1 << 16,	/* slices of an arena's own record */
};

#define PAGE_MAX (UINT64_C(1) << 44)	/* bytes of one that is believed */
#define SUB_BYTES (UINT64_C(8) << SUB_LOG2)
#define ROOT_BYTES (UINT64_C(8) << ROOT_LOG2)

/* --- all pages --------------------------------------------------------------- */

struct map_walk {
	struct other_heap *heap;
	struct memory_reader root, sub, pages;
	uint64_t map, sub_at;		/* addresses of the two levels */
	uint64_t slice;			/* the first of the sub at hand */
	/* slices in a row that lead to one page */
	uint64_t record, first, next;
	size_t most;			/* pages to look at; 0: all */
	size_t right, wrong;
	bool adding;
	struct error *err;
};

/** A row of slices has ended: is it a page? */
static bool end_row(struct map_walk *walk)
{
	struct mimalloc_page page;
	uint64_t record = walk->record, start, end;

	walk->record = 0;
	if (record == 0)
		return true;
	// Of a large one not all slices are in the map, only where it says.
	start = walk->first << MIMALLOC_SLICE_LOG2;
	end = walk->next << MIMALLOC_SLICE_LOG2;
	if (memory_state_at(walk->heap->image->memory, record) !=
	    MEMORY_CAPTURED)
		return true;
	if (memory_state_at(walk->heap->image->memory, start) ==
		    MEMORY_CAPTURED &&
	    mimalloc_read_page(&walk->pages, mimalloc_record(walk->heap),
			       record, start, start + PAGE_MAX, &page) &&
	    page.first < start + MIMALLOC_SLICE) {
		page.end = (page.first + page.reserved * page.block +
			    MIMALLOC_SLICE - 1) & ~(MIMALLOC_SLICE - 1);
		if (page.end < end)
			page.end = end;
	} else {
		// What a page had that is gone may still lead to its record.
		walk->wrong++;
		return walk->adding || walk->wrong <= PROVEN;
	}
	walk->right++;
	if (walk->adding)
		walk->err = mimalloc_add_page(walk->heap, &page);
	return !walk->err && (walk->most == 0 || walk->right < walk->most);
}

static bool take_slice(void *context, uint64_t at, uint64_t word)
{
	struct map_walk *walk = context;
	uint64_t slice = walk->slice + (at - walk->sub_at) / 8;

	// What stands for no page has the first slice.
	if (slice == 0)
		return true;
	if (word == walk->record && slice == walk->next) {
		walk->next++;
		return true;
	}
	if (!end_row(walk))
		return false;
	walk->record = word;
	walk->first = slice;
	walk->next = slice + 1;
	return true;
}

static bool take_sub(void *context, uint64_t at, uint64_t word)
{
	struct map_walk *walk = context;

	walk->slice = (at - walk->map) / 8 << SUB_LOG2;
	walk->sub_at = word;
	return word % 8 == 0 &&
	       other_each_word(&walk->sub, word, word + SUB_BYTES, take_slice,
			       walk);
}

static void walk_map(struct map_walk *walk, uint64_t map)
{
	walk->map = map;
	walk->record = walk->right = walk->wrong = 0;
	if (other_each_word(&walk->root, map, map + ROOT_BYTES, take_sub, walk))
		(void)end_row(walk);
}

/* --- the root ----------------------------------------------------------------- */

struct root_search {
	struct map_walk *walk;
	struct memory_reader words;
	size_t tried;
	uint64_t found;
};

static bool try_word(void *context, uint64_t at, uint64_t word)
{
	struct root_search *search = context;
	struct map_walk *walk = search->walk;
	const struct memory *memory = walk->heap->image->memory;
	uint64_t head[HEAD_WORDS];
	size_t i = 0;

	(void)at;
	if (word % 4096 ||
	    !memory_try_read(&search->words, word, head, sizeof(head)))
		return true;
	// It has a mapping for itself, and its first entry lies behind it.
	while (i < HEAD_WORDS && (head[i] < word + ROOT_BYTES ||
				  head[i] > word + 2 * ROOT_BYTES ||
				  !memory_find(memory, head[i])))
		i++;
	if (i == HEAD_WORDS)
		return true;
	word += i * sizeof(*head);
	walk->most = PROVEN;
	walk_map(walk, word);
	if (walk->right >= PROVEN && walk->wrong == 0)
		search->found = word;
	return !search->found && ++search->tried < TRIED_MAX;
}

/* --- arenas -------------------------------------------------------------------- */

struct arena {
	uint64_t start, end;
	uint64_t first;		/* behind its record */
};

/**
 * An arena by its record, which begins it, or is in it and says where that is:
 * slices, and those of the record, are two words that follow one another.
 */
static bool read_arena(struct other_heap *heap, uint64_t record,
		       struct arena *ret)
{
	const struct memory *memory = heap->image->memory;
	uint64_t words[ARENA_WORDS], start = record;

	if (!memory_try_read(&heap->memory, record, words, sizeof(words)))
		return false;
	if (words[0] <= record && record - words[0] < INFO_MAX *
						      MIMALLOC_SLICE &&
	    words[0] % MIMALLOC_SLICE == 0 && words[0])
		start = words[0];
	for (int i = 3; i + 1 < ARENA_WORDS; i++) {
		if (words[i + 1] == 0 || words[i + 1] > INFO_MAX ||
		    words[i] <= words[i + 1] || words[i] > UINT32_MAX)
			continue;
		*ret = (struct arena){
			.start = start,
			.end = start + words[i] * MIMALLOC_SLICE,
			.first = start + words[i + 1] * MIMALLOC_SLICE,
		};
		return memory_find(memory, ret->end - 1) != NULL;
	}
	return false;
}

static struct error *add_gap(struct other_heap *heap, uint64_t start,
			     uint64_t end, enum other_kind kind)
{
	if (start >= end)
		return NULL;
	return other_span_add(heap, &(struct other_span){
		.start = start, .end = end, .record = start, .kind = kind });
}

/** What of an arena no page has. pages is how many spans are pages. */
static struct error *add_arena(struct other_heap *heap,
			       const struct arena *arena, size_t pages)
{
	uint64_t at = arena->first;
	struct error *err = add_gap(heap, arena->start, at, OTHER_METADATA);

	for (size_t i = 0; !err && i < pages; i++) {
		uint64_t start = heap->spans[i].start;
		uint64_t limit = heap->spans[i].end;

		if (limit <= at || start >= arena->end)
			continue;
		err = add_gap(heap, at, start, OTHER_UNUSED);
		at = limit;
	}
	return err ? err : add_gap(heap, at, arena->end, OTHER_UNUSED);
}

/** Of each page: the arena is what its record says behind its links. */
static struct error *add_arenas(struct other_heap *heap)
{
	enum { FROM = 64, TO = 136, ARENAS_MAX = 256 };
	struct arena arenas[ARENAS_MAX];
	size_t count = 0, pages = heap->num_spans;
	struct error *err = NULL;

	for (size_t i = 0; i < pages && count < ARENAS_MAX; i++) {
		const struct other_span *page = &heap->spans[i];

		if (count > 0 && page->start < arenas[count - 1].end)
			continue;
		for (uint64_t at = FROM; at < TO; at += 8) {
			uint64_t words[2];

			// The arena, and which of its slices the page begins.
			if (!memory_try_read(&heap->memory, page->record + at,
					     words, sizeof(words)) ||
			    words[0] == 0 || words[0] % 4096 ||
			    !read_arena(heap, words[0], &arenas[count]) ||
			    arenas[count].start + (uint32_t)words[1] *
					MIMALLOC_SLICE != page->start)
				continue;
			count++;
			break;
		}
	}
	for (size_t i = 0; !err && i < count; i++)
		err = add_arena(heap, &arenas[i], pages);
	return err;
}

/* --- all of it -------------------------------------------------------------------- */

/** Of two pages at one place the one in which nothing lives is gone. */
static void drop_stale(struct other_heap *heap)
{
	size_t kept = 0;

	for (size_t i = 0; i < heap->num_spans; i++) {
		const struct other_span *span = &heap->spans[i];
		struct other_span *last = kept ? &heap->spans[kept - 1] : NULL;

		if (!last || span->start >= last->end)
			heap->spans[kept++] = *span;
		else if (last->live == 0)
			*last = *span;
		else if (span->live > 0)
			heap->spans[kept++] = *span;
	}
	heap->num_spans = kept;
}

static struct error *init(struct map_walk *walk, struct root_search *search)
{
	const struct memory *memory = walk->heap->image->memory;
	struct error *err = memory_reader_init(&walk->root, memory);

	if (!err)
		err = memory_reader_init(&walk->sub, memory);
	if (!err)
		err = memory_reader_init(&walk->pages, memory);
	if (!err)
		err = memory_reader_init(&search->words, memory);
	return err;
}

struct error *mimalloc3_read(struct other_heap *heap)
{
	struct map_walk walk = { .heap = heap };
	struct root_search search = { .walk = &walk };
	struct error *err = init(&walk, &search);

	if (!err)
		(void)other_each_word(&heap->memory, heap->module->start,
				      heap->module->end, try_word, &search);
	if (!err && !search.found)
		err = error_new(ERROR_NOT_FOUND, "no mimalloc is in there");
	if (!err) {
		walk.most = 0;
		walk.adding = true;
		walk_map(&walk, search.found);
		err = walk.err;
		if (walk.wrong > walk.right)
			findings_add(heap->image->findings, "malloc-tree",
				     search.found, "mimalloc: %zu entries of "
				     "its map lead to no page", walk.wrong);
	}
	memory_reader_deinit(&walk.root);
	memory_reader_deinit(&walk.sub);
	memory_reader_deinit(&walk.pages);
	memory_reader_deinit(&search.words);
	drop_stale(heap);
	return err ? err : add_arenas(heap);
}
