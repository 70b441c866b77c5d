/*
 * Walks over the heaps of glibc's malloc; see glibcheap.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each heap is walked once to find the tables of tcache, which are chunks like
 * any other, and once more with all lists known, which is when what does not
 * agree is said. What the lists lead to is sorted, so that a walk passes it
 * from one end to the other and looks nothing up.
 */
#include "image/malloc/glibcheap.h"

#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/malloc/glibcstate.h"

enum {
	WINDOW_LEAST = 4 << 10,
	WINDOW_MOST = 1 << 20,
	PAGE = 4096,
	CHUNK_STRUCT = 48,	/* sizeof(struct malloc_chunk) */
	FENCE = 16,		/* bytes of the chunks that end a heap */
	HEADER_WORDS = 3,	/* and the first of the user's */
};

struct walk {
	struct glibc_heap *heap;
	bool say;		/* findings */
	glibc_chunk_fn *fn;
	void *context;
	/* the bytes around the header that was read last */
	const uint8_t *window;
	uint64_t window_start;
	size_t window_size, window_next;
	/* of the heap that is being walked over */
	const struct glibc_region *region;
	struct glibc_arena *arena;
	uint64_t end;
	size_t listed;		/* the first one not passed yet */
	uint64_t lost, overhead;
};

/* --- reading -------------------------------------------------------------------- */

static bool read_slow(struct walk *walk, uint64_t at,
		      uint64_t ret[HEADER_WORDS])
{
	struct memory_reader *memory = &walk->heap->windows;
	const struct memory_range *range = memory_find(memory->memory, at);
	uint64_t ahead = at - walk->window_start, size;
	bool near = walk->window_size && ahead < 2 * WINDOW_MOST;

	walk->window_next = near ? 2 * walk->window_next : WINDOW_LEAST;
	if (walk->window_next > WINDOW_MOST)
		walk->window_next = WINDOW_MOST;
	walk->window_size = 0;
	ret[2] = 0;
	if (!range || range->state == MEMORY_NOT_CAPTURED)
		return false;
	size = range->end - at;
	if (size > walk->window_next)
		size = walk->window_next;
	if (size >= 8 * HEADER_WORDS)
		walk->window = memory_view(memory, at, (size_t)size);
	if (size < 8 * HEADER_WORDS || !walk->window)
		return memory_try_read(memory, at, ret, 8 * HEADER_WORDS) ||
		       memory_try_read(memory, at, ret, 16);
	walk->window_start = at;
	walk->window_size = (size_t)size;
	memcpy(ret, walk->window, 8 * HEADER_WORDS);
	return true;
}

static inline bool read_header(struct walk *walk, uint64_t at,
			       uint64_t ret[HEADER_WORDS])
{
	uint64_t inside = at - walk->window_start;

	if (inside >= walk->window_size ||
	    walk->window_size - inside < 8 * HEADER_WORDS)
		return read_slow(walk, at, ret);
	memcpy(ret, walk->window + inside, 8 * HEADER_WORDS);
	return true;
}

/* --- one heap ------------------------------------------------------------------- */

/** Whoever holds the arena's lock may be in the middle of something. */
static const char *excuse(const struct walk *walk)
{
	return walk->arena->locked ? " (a thread was at it)" : "";
}

static void finding(const struct walk *walk, const char *code, uint64_t at,
		    const char *what)
{
	if (walk->say)
		findings_add(walk->heap->image->findings, code, at,
			     "the chunk of malloc at 0x%llx %s%s",
			     (unsigned long long)at, what, excuse(walk));
}

static bool is_size(uint64_t word)
{
	uint64_t size = word & ~(uint64_t)GLIBC_SIZE_BITS;

	return size >= GLIBC_LEAST && size % GLIBC_ALIGN == 0 &&
	       !(word & GLIBC_IS_MMAPPED);
}

/** The next place behind at where a chunk is known to be. */
static uint64_t next_known(const struct walk *walk, uint64_t at)
{
	const struct glibc_heap *heap = walk->heap;
	uint64_t known = walk->end;

	for (size_t i = walk->listed; i < heap->num_listed; i++)
		if (heap->listed[i].at > at) {
			if (heap->listed[i].at < known)
				known = heap->listed[i].at;
			break;
		}
	if (walk->arena->top > at && walk->arena->top < known)
		known = walk->arena->top;
	return known;
}

/**
 * The ends of heaps: two chunks that are too small to be any. In the main
 * arena memory of somebody else's brk may follow.
 */
static bool is_fence(struct walk *walk, uint64_t at, uint64_t word)
{
	uint64_t next[HEADER_WORDS];

	if (word == GLIBC_PREV_INUSE)
		return walk->end - at <= GLIBC_HEADER;
	return (word & ~(uint64_t)GLIBC_SIZE_BITS) == FENCE &&
	       (walk->end - at <= 2 * FENCE ||
		(walk->region->arena == 0 &&
		 read_header(walk, at + FENCE, next) &&
		 (next[1] & ~(uint64_t)GLIBC_SIZE_BITS) == FENCE));
}

/** Pass what cannot be walked over; returns where it goes on. */
static uint64_t pass(struct walk *walk, uint64_t at, uint64_t word, bool read)
{
	uint64_t next = next_known(walk, at);

	if (read && is_fence(walk, at, word)) {
		uint64_t rest = next - at;
		uint64_t fences = rest > 2 * FENCE ? 2 * FENCE : rest;

		walk->overhead += fences;
		walk->lost += rest - fences;
		return next;
	}
	if (read)
		finding(walk, "malloc-chunk", at,
			"has a size that cannot be one: overwritten");
	walk->lost += next - at;
	return next;
}

/** What the lists say of this chunk; NULL: nothing. */
static const struct glibc_listed *listed_at(struct walk *walk, uint64_t at)
{
	const struct glibc_heap *heap = walk->heap;

	while (walk->listed < heap->num_listed &&
	       heap->listed[walk->listed].at < at)
		walk->listed++;
	return walk->listed < heap->num_listed &&
	       heap->listed[walk->listed].at == at ?
		       &heap->listed[walk->listed++] : NULL;
}

/** A chunk that lies inside this one makes this one's size wrong. */
static bool holds_another(const struct walk *walk, uint64_t at, uint64_t size)
{
	const struct glibc_heap *heap = walk->heap;

	return (walk->listed < heap->num_listed &&
		heap->listed[walk->listed].at - at < size) ||
	       (walk->arena->top > at && walk->arena->top - at < size);
}

static enum glibc_kind kind_of(struct walk *walk, uint64_t at, uint64_t size,
			       const uint64_t *next,
			       const struct glibc_listed *listed)
{
	bool is_free = next && !(next[1] & GLIBC_PREV_INUSE);

	if (at == walk->arena->top)
		return GLIBC_TOP;
	if (is_free && next[0] != size)
		finding(walk, "malloc-prev-size", at,
			"is free, and the next one says another size of it");
	if (listed && listed->kind != GLIBC_FREE) {
		if (is_free)
			finding(walk, "malloc-twice", at,
				"was given back, and is kept at hand as well: "
				"freed twice");
		return listed->kind;
	}
	if (is_free && !listed)
		finding(walk, "malloc-unlisted", at,
			"is free, and in no list of free ones");
	if (listed && !is_free)
		finding(walk, "malloc-listed", at,
			"is in a list of free ones, and in use by what the "
			"next one says");
	return is_free || listed ? GLIBC_FREE : GLIBC_USED;
}

static struct error *walk_region(struct walk *walk)
{
	uint64_t header[HEADER_WORDS], next[HEADER_WORDS];
	uint64_t at = walk->region->first, size;
	bool has = at < walk->end && read_header(walk, at, header);
	struct error *err = NULL;

	while (!err && at < walk->end) {
		const struct glibc_listed *listed;
		struct glibc_chunk chunk;
		bool has_next;

		size = header[1] & ~(uint64_t)GLIBC_SIZE_BITS;
		if (!has || walk->end - at < GLIBC_LEAST ||
		    !is_size(header[1]) || size > walk->end - at) {
			at = pass(walk, at, header[1],
				  has && walk->end - at >= 16);
			has = at < walk->end && read_header(walk, at, header);
			continue;
		}
		listed = listed_at(walk, at);
		if (holds_another(walk, at, size)) {
			uint64_t known = next_known(walk, at);

			finding(walk, "malloc-chunk", at,
				"has a size that takes in another chunk: "
				"overwritten");
			walk->lost += known - at;
			at = known;
			has = read_header(walk, at, header);
			continue;
		}
		has_next = walk->end - at - size >= 16 &&
			   read_header(walk, at + size, next);
		chunk = (struct glibc_chunk){
			.start = at, .end = at + size, .word = header[2],
			.arena = walk->region->arena,
			.kind = kind_of(walk, at, size,
					has_next ? next : NULL, listed),
		};
		err = walk->fn(walk->context, &chunk);
		at += size;
		memcpy(header, next, sizeof(header));
		has = has_next;
	}
	return err;
}

/** Where the last chunk of a heap ends. */
static uint64_t end_of(struct walk *walk)
{
	const struct glibc_region *region = walk->region;
	uint64_t top = walk->arena->top, header[HEADER_WORDS], size;

	if (top < region->first || top >= region->end ||
	    region->end - top < GLIBC_LEAST || !read_header(walk, top, header))
		return region->end;
	size = header[1] & ~(uint64_t)GLIBC_SIZE_BITS;
	if (is_size(header[1]) && size <= region->end - top &&
	    (region->arena == 0 || size == region->end - top))
		return top + size;
	if (walk->say)
		findings_add(walk->heap->image->findings, "malloc-top", top,
			     "the last chunk of the arena of malloc at 0x%llx, "
			     "at 0x%llx, has a size that its heap has not got "
			     "room for%s",
			     (unsigned long long)walk->arena->address,
			     (unsigned long long)top, excuse(walk));
	return region->end;
}

static struct error *walk_all(struct walk *walk)
{
	struct glibc_heap *heap = walk->heap;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < heap->num_regions; i++) {
		const struct glibc_region *region = &heap->regions[i];

		walk->region = region;
		walk->arena = &heap->arenas[region->arena];
		walk->lost = 0;
		walk->overhead = region->first - region->start;
		walk->end = end_of(walk);
		while (walk->listed < heap->num_listed &&
		       heap->listed[walk->listed].at < region->first)
			walk->listed++;
		err = walk_region(walk);
		if (walk->say) {
			walk->arena->lost += walk->lost;
			walk->arena->overhead += walk->overhead;
		}
	}
	return err;
}

/* --- what a first and a second walk find ---------------------------------------- */

struct table {
	uint64_t start, size;
};

struct tables {
	struct table *items;
	size_t count, most;
};

static void tables_deinit(struct tables *tables)
{
	free(tables->items);
}

static struct error *note_table(void *context, const struct glibc_chunk *chunk)
{
	struct tables *tables = context;
	struct table *items;

	if (chunk->kind != GLIBC_USED ||
	    !glibc_may_be_tcache(chunk->end - chunk->start))
		return NULL;
	if (tables->count == tables->most) {
		tables->most = tables->most ? 2 * tables->most : 64;
		items = realloc(tables->items, tables->most * sizeof(*items));
		if (!items)
			return error_no_memory();
		tables->items = items;
	}
	tables->items[tables->count++] = (struct table){
		chunk->start, chunk->end - chunk->start };
	return NULL;
}

static struct error *gather_tcaches(struct glibc_heap *heap)
{
	CLEANUP(tables_deinit) struct tables tables = { 0 };
	struct error *err = walk_all(&(struct walk){
		.heap = heap, .fn = note_table, .context = &tables });

	for (size_t i = 0; !err && i < tables.count; i++)
		err = glibc_gather_tcache(heap, tables.items[i].start,
					  tables.items[i].size);
	return err;
}

bool glibc_trimmable(const struct glibc_heap *heap,
		     const struct glibc_chunk *chunk, struct glibc_span *ret)
{
	uint64_t kept;

	if (chunk->kind == GLIBC_FREE)
		kept = CHUNK_STRUCT;
	// Of the others' tops malloc_trim() leaves all.
	else if (chunk->kind == GLIBC_TOP && heap->arenas[chunk->arena].is_main)
		kept = GLIBC_LEAST + 1;
	else
		return false;
	ret->start = (chunk->start + kept + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	ret->end = chunk->end & ~(uint64_t)(PAGE - 1);
	return ret->start < ret->end;
}

static void add_trimmable(const struct glibc_heap *heap,
			  const struct glibc_chunk *chunk,
			  struct glibc_arena *arena)
{
	struct glibc_span span;

	if (glibc_trimmable(heap, chunk, &span))
		arena->trimmable += span.end - span.start;
}

static struct error *tally(void *context, const struct glibc_chunk *chunk)
{
	struct glibc_heap *heap = context;
	struct glibc_arena *arena = &heap->arenas[chunk->arena];
	uint64_t size = chunk->end - chunk->start;

	switch (chunk->kind) {
	case GLIBC_FREE:
		arena->free += size;
		arena->num_free++;
		add_trimmable(heap, chunk, arena);
		if (size > arena->largest_free)
			arena->largest_free = size;
		break;
	case GLIBC_FAST:
		arena->fast += size;
		arena->num_fast++;
		break;
	case GLIBC_TCACHE:
		arena->tcache += size;
		arena->num_tcache++;
		break;
	case GLIBC_TOP:
		arena->top_size += size;
		add_trimmable(heap, chunk, arena);
		break;
	case GLIBC_USED:
	case GLIBC_MAPPED:
		arena->used += size;
		arena->num_used++;
		break;
	}
	return NULL;
}

/* --- from outside --------------------------------------------------------------- */

void glibc_heap_close(struct glibc_heap *heap)
{
	if (!heap)
		return;
	memory_reader_deinit(&heap->memory);
	memory_reader_deinit(&heap->windows);
	free(heap->arenas);
	free(heap->regions);
	free(heap->listed);
	free(heap->mapped);
	free(heap->mapped_chunks);
	free(heap);
}

static struct error *open_heap(struct glibc_heap *heap)
{
	struct error *err = memory_reader_init(&heap->memory,
					       heap->image->memory);

	if (!err)
		err = memory_reader_init(&heap->windows, heap->image->memory);
	if (!err)
		err = glibc_find_arenas(heap);
	if (!err)
		err = glibc_gather_bins(heap);
	if (!err)
		glibc_sort_listed(heap);
	return err;
}

struct error *glibc_heap_open(struct image *image,
			      const struct glibc_options *options,
			      struct glibc_heap **ret)
{
	struct glibc_heap *heap = calloc(1, sizeof(*heap));
	struct error *err;

	if (!heap)
		return error_no_memory();
	heap->image = image;
	heap->options = *options;
	err = open_heap(heap);
	if (!err)
		err = gather_tcaches(heap);
	if (!err) {
		glibc_sort_listed(heap);
		err = walk_all(&(struct walk){ .heap = heap, .say = true,
					       .fn = tally, .context = heap });
	}
	if (!err)
		err = glibc_find_mapped(heap);
	// Not needed any more, and not borrowed for longer.
	heap->options = (struct glibc_options){ 0 };
	if (err) {
		glibc_heap_close(heap);
		return err;
	}
	*ret = heap;
	return NULL;
}

size_t glibc_num_arenas(const struct glibc_heap *heap)
{
	return heap->num_arenas;
}

const struct glibc_arena *glibc_arena(const struct glibc_heap *heap, size_t i)
{
	return &heap->arenas[i];
}

struct glibc_mapped glibc_mapped(const struct glibc_heap *heap)
{
	return (struct glibc_mapped){
		.count = heap->num_mapped, .bytes = heap->mapped_bytes,
		.counted = heap->parameters.known,
		.count_said = heap->parameters.num_mapped,
		.bytes_said = heap->parameters.mapped,
	};
}

const char *glibc_found_by(const struct glibc_heap *heap)
{
	return heap->found_by;
}

const char *glibc_module(const struct glibc_heap *heap)
{
	return heap->module->path;
}

struct error *glibc_each_chunk(struct glibc_heap *heap, glibc_chunk_fn *fn,
			       void *context)
{
	struct walk walk = { .heap = heap, .fn = fn, .context = context };
	struct error *err = walk_all(&walk);

	for (size_t i = 0; !err && i < heap->num_mapped; i++) {
		struct glibc_chunk chunk = {
			.start = heap->mapped_chunks[i],
			.end = heap->mapped[i].end, .kind = GLIBC_MAPPED,
		};

		(void)memory_try_u64(&heap->memory,
				     chunk.start + GLIBC_HEADER, &chunk.word);
		err = fn(context, &chunk);
	}
	return err;
}
