/*
 * The ledger: chunks of glibc's malloc, and blocks of what has its place; see
 * ledgerparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A chunk that Python holds has the row of the object; of the others `chunkowners`
 * knows what leads to them. Of one that is free, the
 * whole pages that malloc_trim() would give back are told from those that lie
 * between chunks in use.
 */
#include "analyzer/ledger/ledgerparts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/malloc/chunkowners.h"
#include "analyzer/malloc/mallocheap.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/malloc/glibcheap.h"

enum { CHUNK_OWN = 8 };		/* bytes of one that are malloc's own */

/* What holds the most of chunks that pointers lead to. */
struct holders {
	uint64_t *types, *modules;	/* bytes, by id and by number */
	size_t num_types, num_modules;
	size_t last;			/* the module last looked for */
};

struct chunks {
	struct ledger_making *making;
	const struct glibc_heap *heap;
	struct chunkowners *owners;	/* NULL: they were not asked for */
	struct holders holders;
	size_t block;		/* the next of Python's */
	uint64_t last;		/* where the chunk before ends */
	struct ledger_area bare;	/* no arena is here */
};

/** The first of Python's blocks at or above an address. */
static size_t block_from(const struct ledger_blocks *blocks, uint64_t address)
{
	size_t low = 0, high = blocks->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ledger_block_start(&blocks->items[middle]) < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/** Python's block in a chunk in use, with the rest of those in it passed. */
static bool take_block(struct chunks *chunks, uint64_t chunk_start,
		       uint64_t chunk_end, enum ledger_category *ret)
{
	struct ledger_blocks *blocks = &chunks->making->blocks;
	bool found = false;

	if (chunk_start < chunks->last)
		chunks->block = block_from(blocks, chunk_start);
	chunks->last = chunk_end;
	for (; chunks->block < blocks->count; chunks->block++) {
		struct ledger_block *block = &blocks->items[chunks->block];
		uint64_t start = ledger_block_start(block);

		if (start >= chunk_end)
			break;
		if (start < chunk_start)
			continue;
		if (!found)
			*ret = ledger_block_category(block);
		found = true;
		block->size = 0;
	}
	return found;
}

/* --- arenas --------------------------------------------------------------------- */

/** The first area that ends above an address. */
static size_t area_from(const struct ledger_making *making, uint64_t address)
{
	size_t low = 0, high = making->num_areas;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (making->areas[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/** Whether an arena is in memory that malloc has handed out, from area i on. */
static bool has_arena(struct chunks *chunks, uint64_t start, uint64_t end,
		      size_t *ret_i)
{
	const struct ledger_making *making = chunks->making;
	size_t i;

	if (start >= chunks->bare.start && end <= chunks->bare.end)
		return false;
	*ret_i = i = area_from(making, start);
	if (i < making->num_areas && making->areas[i].start < end)
		return true;
	chunks->bare = (struct ledger_area){
		i > 0 ? making->areas[i - 1].end : 0,
		i < making->num_areas ? making->areas[i].start : UINT64_MAX };
	return false;
}

/**
 * A program may have Python's arenas from malloc (PyObject_SetArenaAllocator).
 * Those have rows of their own: of such a chunk only the rest is told.
 *
 * @return false if there is no arena in it
 */
static bool tell_around_arenas(struct chunks *chunks, uint64_t start,
			       uint64_t end, enum ledger_category category)
{
	struct ledger_making *making = chunks->making;
	size_t i;

	if (!has_arena(chunks, start, end, &i))
		return false;
	for (; i < making->num_areas && making->areas[i].start < end; i++) {
		if (start < making->areas[i].start)
			(void)ledger_tell(making, start,
					  making->areas[i].start, category);
		start = making->areas[i].end;
	}
	if (start < end)
		(void)ledger_tell(making, start, end, category);
	return true;
}

/* --- who holds the others ------------------------------------------------------- */

static void weigh_type(struct holders *holders, const struct pyh_type *type,
		       uint64_t bytes)
{
	if (type && type->id < holders->num_types)
		holders->types[type->id] += bytes;
}

static void weigh_module(struct chunks *chunks, const struct module *module,
			 uint64_t bytes)
{
	struct holders *holders = &chunks->holders;
	const struct modules *modules = chunks->making->image->modules;

	// Mostly it is the one of the last time.
	for (size_t i = 0; i < holders->num_modules; i++) {
		size_t at = (holders->last + i) % holders->num_modules;

		if (modules_get(modules, at) != module)
			continue;
		holders->last = at;
		holders->modules[at] += bytes;
		return;
	}
}

/** Of a chunk that is not Python's. */
static enum ledger_category by_owner(struct chunks *chunks,
				     const struct glibc_chunk *chunk)
{
	uint64_t user = chunk->start + CHUNK_HEADER;
	uint64_t bytes = chunk->end - chunk->start;
	struct chunk_row row;

	if (!chunks->owners || !chunkowners_at(chunks->owners, user, &row))
		return LEDGER_MALLOC_USED;
	switch (row.owner) {
	case CHUNK_OBJECT:
	case CHUNK_BUFFER:
	case CHUNK_BY_OBJECT:
		weigh_type(&chunks->holders, row.type, bytes);
		return LEDGER_MALLOC_PYTHON;
	case CHUNK_BY_PYMALLOC:
		return LEDGER_MALLOC_PYTHON;
	case CHUNK_BY_MODULE:
		weigh_module(chunks, row.module, bytes);
		return LEDGER_MALLOC_MODULE;
	case CHUNK_BY_THREAD:
		return LEDGER_MALLOC_THREAD;
	case CHUNK_BY_MEMORY:
		return LEDGER_MALLOC_MEMORY;
	case CHUNK_LOST:
	case CHUNK_LOST_WITH:
		return LEDGER_MALLOC_NOBODY;
	case CHUNK_UNUSED:
	case CHUNK_NUM_OWNERS:
		break;
	}
	return LEDGER_MALLOC_USED;
}

static struct error *find_owners(struct chunks *chunks, struct glibc_heap *heap)
{
	struct ledger_making *making = chunks->making;
	struct holders *holders = &chunks->holders;
	struct pyh_types *types;
	struct error *err;

	if (!making->ledger->owners)
		return NULL;
	err = chunkowners_create(making->opened, heap, &chunks->owners);
	if (err)
		return err;
	err = opened_types(making->opened, &types);
	if (!err)
		holders->num_types = pyh_types_count(types);
	error_free(err);	// there is no Python
	holders->num_modules = modules_count(making->image->modules);
	holders->types = calloc(holders->num_types + 1, sizeof(uint64_t));
	holders->modules = calloc(holders->num_modules + 1, sizeof(uint64_t));
	return holders->types && holders->modules ? NULL : error_no_memory();
}

static size_t largest_of(const uint64_t *bytes, size_t count)
{
	size_t most = 0;

	for (size_t i = 1; i < count; i++)
		if (bytes[i] > bytes[most])
			most = i;
	return most;
}

static void tell_most(struct ledger_row *row, const char *name, uint64_t bytes)
{
	char size[UNITS_TEXT_MAX];

	// Of what was never touched the row has nothing.
	if (bytes > row->bytes)
		bytes = row->bytes;
	if (bytes > 0)
		(void)snprintf(row->detail, LEDGER_DETAIL, "%.96s, %s", name,
			       units_size(bytes, size));
}

static void tell_holders(struct chunks *chunks)
{
	const struct holders *holders = &chunks->holders;
	const struct image *image = chunks->making->image;
	struct ledger_row *rows = chunks->making->ledger->rows;
	struct pyh_types *types;
	size_t most = largest_of(holders->types, holders->num_types);
	const char *path, *slash;

	if (holders->num_types > 0) {
		struct error *err = opened_types(chunks->making->opened,
						 &types);

		if (!err)
			tell_most(&rows[LEDGER_MALLOC_PYTHON],
				  pyh_types_get(types, (uint32_t)most)->name,
				  holders->types[most]);
		error_free(err);
	}
	if (holders->num_modules > 0) {
		most = largest_of(holders->modules, holders->num_modules);
		path = modules_get(image->modules, most)->path;
		slash = strrchr(path, '/');
		tell_most(&rows[LEDGER_MALLOC_MODULE], slash ? slash + 1 : path,
			  holders->modules[most]);
	}
}

/* --- chunks ------------------------------------------------------------------- */

static void tell_used(struct chunks *chunks, const struct glibc_chunk *chunk)
{
	struct ledger_making *making = chunks->making;
	enum ledger_category category;

	if (tell_around_arenas(chunks, chunk->start, chunk->end,
			       LEDGER_MALLOC_OVERHEAD))
		return;
	if (!take_block(chunks, chunk->start, chunk->end, &category)) {
		category = by_owner(chunks, chunk);
		making->ledger->rows[category].count++;
	}
	if (ledger_tell(making, chunk->start, chunk->end, category) >=
	    CHUNK_OWN)
		(void)ledger_move(making->ledger, category,
				  LEDGER_MALLOC_OVERHEAD, CHUNK_OWN);
}

/** With `rest` for what malloc_trim() leaves. */
static void tell_free(struct chunks *chunks, const struct glibc_chunk *chunk,
		      enum ledger_category rest)
{
	struct ledger_making *making = chunks->making;
	struct glibc_span span;
	uint64_t bytes;

	making->ledger->rows[rest].count++;
	if (!glibc_trimmable(chunks->heap, chunk, &span)) {
		(void)ledger_tell(making, chunk->start, chunk->end, rest);
		return;
	}
	(void)ledger_tell(making, chunk->start, span.start, rest);
	bytes = ledger_tell(making, span.start, span.end, LEDGER_MALLOC_TRIM);
	(void)ledger_tell(making, span.end, chunk->end, rest);
	making->ledger->rows[LEDGER_MALLOC_TRIM].count += bytes > 0;
}

static struct error *tell_chunk(void *context, const struct glibc_chunk *chunk)
{
	struct chunks *chunks = context;
	struct resident_mapping *mapping;

	switch (chunk->kind) {
	case GLIBC_USED:
	case GLIBC_MAPPED:
		tell_used(chunks, chunk);
		break;
	case GLIBC_FREE:
		tell_free(chunks, chunk, LEDGER_MALLOC_BURIED);
		break;
	case GLIBC_TOP:
		tell_free(chunks, chunk, LEDGER_MALLOC_TOP);
		break;
	case GLIBC_FAST:
	case GLIBC_TCACHE:
		tell_free(chunks, chunk, LEDGER_MALLOC_CACHED);
		break;
	}
	if (chunk->kind == GLIBC_MAPPED)
		return NULL;
	mapping = residency_at(chunks->making->residency,
			       chunk->start);
	if (mapping)
		mapping->is_malloc = true;
	return NULL;
}

/** What of malloc's memory is no chunk: headers and ends of heaps. */
static void tell_between(struct chunks *chunks)
{
	struct residency *residency = chunks->making->residency;
	uint64_t overhead = 0;

	for (size_t i = 0; i < glibc_num_arenas(chunks->heap); i++)
		overhead += glibc_arena(chunks->heap, i)->overhead;
	for (size_t i = 0; i < residency->count; i++) {
		struct resident_mapping *mapping = &residency->mappings[i];
		uint64_t left = mapping->is_malloc ?
			mapping->resident - mapping->told : 0;
		uint64_t bytes = left < overhead ? left : overhead;

		ledger_tell_left(chunks->making, mapping, bytes,
				 LEDGER_MALLOC_OVERHEAD);
		ledger_tell_left(chunks->making, mapping, left - bytes,
				 LEDGER_MALLOC_LOST);
		overhead -= bytes;
	}
}

static void chunks_deinit(struct chunks *chunks)
{
	chunkowners_destroy(chunks->owners);
	free(chunks->holders.types);
	free(chunks->holders.modules);
}

/* --- other allocators --------------------------------------------------------- */

static struct error *tell_piece(void *context, const struct other_piece *piece)
{
	struct chunks *chunks = context;
	struct ledger_making *making = chunks->making;
	enum ledger_category category = LEDGER_ALLOCATOR_FREE;

	if (piece->kind == OTHER_USED) {
		if (tell_around_arenas(chunks, piece->start, piece->end,
				       LEDGER_ALLOCATOR_OVERHEAD))
			return NULL;
		category = LEDGER_ALLOCATOR_USED;
		if (!take_block(chunks, piece->start, piece->end, &category))
			making->ledger->rows[category].count++;
	} else if (piece->kind == OTHER_OVERHEAD ||
		   piece->kind == OTHER_METADATA) {
		category = LEDGER_ALLOCATOR_OVERHEAD;
	}
	(void)ledger_tell(making, piece->start, piece->end, category);
	return NULL;
}

/** What is there by its name alone is left to the mappings. */
static void tell_unread(struct ledger *ledger, const struct other_heap *heap)
{
	struct ledger_row *row = &ledger->rows[LEDGER_ALLOCATOR];

	(void)snprintf(row->detail, sizeof(row->detail), "%s: %s",
		       other_heap_name(heap), other_heap_unread(heap));
}

static struct error *tell_others(struct chunks *chunks,
				 const struct allocators *others)
{
	struct ledger *ledger = chunks->making->ledger;
	struct error *err = NULL;
	char *names = ledger->rows[LEDGER_ALLOCATOR_USED].detail;

	for (size_t i = 0; !err && i < others->num_malloc; i++) {
		struct other_heap *heap = others->heaps.heaps[i];

		if (other_heap_unread(heap)) {
			tell_unread(ledger, heap);
			continue;
		}
		(void)snprintf(names + strlen(names),
			       LEDGER_DETAIL - strlen(names), "%s%s",
			       *names ? ", " : "", other_heap_name(heap));
		err = other_heap_each(heap, tell_piece, chunks);
	}
	return err;
}

struct error *ledger_malloc(struct ledger_making *making)
{
	struct glibc_heap *heap = NULL;
	struct allocators others;
	CLEANUP(chunks_deinit) struct chunks chunks = { .making = making };
	struct error *err = allocators_find(making->opened, &others);

	if (err)
		return err;
	err = tell_others(&chunks, &others);
	if (!err)
		err = mallocheap_open(making->opened, &others, &heap);
	allocators_deinit(&others);
	if (err || !heap)
		return err;
	chunks.heap = heap;
	err = find_owners(&chunks, heap);
	if (!err)
		err = glibc_each_chunk(heap, tell_chunk, &chunks);
	if (!err) {
		tell_between(&chunks);
		if (chunks.owners)
			tell_holders(&chunks);
	}
	glibc_heap_close(heap);
	return err;
}
