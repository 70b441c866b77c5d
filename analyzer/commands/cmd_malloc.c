/*
 * `malloc`: the heap of glibc's malloc.
 * SPDX-License-Identifier: Apache-2.0
 *
 * No object is looked at: all is in malloc's own structures.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/heap/other_rows.h"
#include "analyzer/malloc/allocators.h"
#include "analyzer/malloc/cxxclasses.h"
#include "analyzer/malloc/mallocheap.h"
#include "analyzer/malloc/mallocheap.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/malloc/glibcheap.h"

enum arena_column {
	ARENA_NAME,
	ARENA_USED,
	ARENA_FREE,
	ARENA_TOP,
	ARENA_MAPPED,
	ARENA_CHUNKS,
	ARENA_LARGEST,
	ARENA_TCACHE,
	ARENA_FAST,
	ARENA_TRIMMABLE,
	ARENA_SYSTEM,
	ARENA_LOST,
	ARENA_FREE_CHUNKS,
	ARENA_HEAPS,
	ARENA_ATTACHED,
	ARENA_ADDRESS,
	NUM_ARENA_COLUMNS
};

static const struct column arena_columns[NUM_ARENA_COLUMNS] = {
	[ARENA_NAME] = { .key = "arena", .title = "arena", .unit = UNIT_TEXT,
		.about = "main, or a number: the arenas that threads use" },
	[ARENA_USED] = { .key = "used", .title = "used", .unit = UNIT_BYTES,
		.about = "in chunks that were asked for and not freed, with "
			 "their headers" },
	[ARENA_FREE] = { .key = "free", .title = "free", .unit = UNIT_BYTES,
		.about = "in chunks that were freed: bins, fast bins and "
			 "tcache" },
	[ARENA_TOP] = { .key = "top", .title = "top", .unit = UNIT_BYTES,
		.about = "behind all chunks: room to grow into" },
	[ARENA_MAPPED] = { .key = "mmapped", .title = "mmapped", .unit = UNIT_BYTES,
		.about = "in use in mappings of their own; malloc counts them "
			 "with the main arena" },
	[ARENA_CHUNKS] = { .key = "chunks", .title = "chunks", .unit = UNIT_COUNT,
		.about = "in use" },
	[ARENA_LARGEST] = { .key = "largest_free", .title = "largest free", .unit = UNIT_BYTES,
		.about = "bytes of the largest chunk in a bin" },
	[ARENA_TCACHE] = { .key = "tcache", .title = "tcache", .unit = UNIT_BYTES,
		.about = "of free: kept at hand for a thread" },
	[ARENA_FAST] = { .key = "fast", .title = "fast bins", .unit = UNIT_BYTES,
		.about = "of free: not yet given back to a bin",
		.hidden = true },
	[ARENA_TRIMMABLE] = { .key = "trimmable", .title = "trimmable", .unit = UNIT_BYTES,
		.about = "whole free pages: what malloc_trim(0) would give "
			 "back to the system, if it has not yet" },
	[ARENA_SYSTEM] = { .key = "system", .title = "system", .unit = UNIT_BYTES,
		.about = "what the arena says that it got from the system",
		.hidden = true },
	[ARENA_LOST] = { .key = "lost", .title = "lost", .unit = UNIT_BYTES,
		.about = "not understood, for damage or missing pages",
		.hidden = true },
	[ARENA_FREE_CHUNKS] = { .key = "free_chunks", .title = "free chunks", .unit = UNIT_COUNT,
		.about = "in bins, fast bins and tcache", .hidden = true },
	[ARENA_HEAPS] = { .key = "heaps", .title = "heaps", .unit = UNIT_COUNT,
		.about = "pieces of memory it consists of", .hidden = true },
	[ARENA_ATTACHED] = { .key = "threads", .title = "threads", .unit = UNIT_COUNT,
		.about = "that use it", .hidden = true },
	[ARENA_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "of its struct malloc_state", .hidden = true },
};

enum {
	TOTAL_ALLOCATOR, TOTAL_ARENAS, TOTAL_USED, TOTAL_FREE, TOTAL_TOP,
	TOTAL_MAPPED, TOTAL_CHUNKS, TOTAL_LARGEST, TOTAL_TCACHE, TOTAL_FAST,
	TOTAL_TRIMMABLE, TOTAL_SYSTEM, TOTAL_OVERHEAD, TOTAL_LOST,
	TOTAL_BINNED, TOTAL_FAST_CHUNKS, TOTAL_TCACHE_CHUNKS,
	TOTAL_MAPPED_CHUNKS, TOTAL_MAPPED_SAID, TOTAL_MAPPED_CHUNKS_SAID,
	TOTAL_FOUND_BY, TOTAL_MODULE, NUM_TOTALS
};

static const struct column malloc_totals[NUM_TOTALS] = {
	[TOTAL_ALLOCATOR] = { .key = "allocator", .unit = UNIT_TEXT,
		.about = "glibc, where its heap was found" },
	[TOTAL_ARENAS] = { .key = "arenas", .unit = UNIT_COUNT,
		.about = "number of rows" },
	[TOTAL_USED] = { .key = "used", .unit = UNIT_BYTES,
		.about = "in use in arenas, as the column" },
	[TOTAL_FREE] = { .key = "free", .unit = UNIT_BYTES,
		.about = "chunks that were freed" },
	[TOTAL_TOP] = { .key = "top", .unit = UNIT_BYTES,
		.about = "room to grow into" },
	[TOTAL_MAPPED] = { .key = "mmapped", .unit = UNIT_BYTES,
		.about = "in mappings of their own" },
	[TOTAL_CHUNKS] = { .key = "chunks", .unit = UNIT_COUNT,
		.about = "in use, mappings of their own among them" },
	[TOTAL_LARGEST] = { .key = "largest_free", .unit = UNIT_BYTES,
		.about = "the largest chunk in a bin" },
	[TOTAL_TCACHE] = { .key = "tcache", .unit = UNIT_BYTES,
		.about = "of free: kept at hand for threads" },
	[TOTAL_FAST] = { .key = "fast", .unit = UNIT_BYTES,
		.about = "of free: in fast bins" },
	[TOTAL_TRIMMABLE] = { .key = "trimmable", .unit = UNIT_BYTES,
		.about = "what malloc_trim(0) would give back" },
	[TOTAL_SYSTEM] = { .key = "system", .unit = UNIT_BYTES,
		.about = "what arenas say that they got" },
	[TOTAL_OVERHEAD] = { .key = "overhead", .unit = UNIT_BYTES,
		.about = "headers and ends of heaps" },
	[TOTAL_LOST] = { .key = "lost", .unit = UNIT_BYTES,
		.about = "not understood" },
	[TOTAL_BINNED] = { .key = "bin_chunks", .unit = UNIT_COUNT,
		.about = "free chunks in bins" },
	[TOTAL_FAST_CHUNKS] = { .key = "fast_chunks", .unit = UNIT_COUNT,
		.about = "… in fast bins" },
	[TOTAL_TCACHE_CHUNKS] = { .key = "tcache_chunks", .unit = UNIT_COUNT,
		.about = "… in tcache" },
	[TOTAL_MAPPED_CHUNKS] = { .key = "mmapped_chunks", .unit = UNIT_COUNT,
		.about = "chunks with mappings of their own that were found" },
	[TOTAL_MAPPED_SAID] = { .key = "mmapped_counted", .unit = UNIT_BYTES,
		.about = "what malloc itself has counted of them" },
	[TOTAL_MAPPED_CHUNKS_SAID] = { .key = "mmapped_chunks_counted", .unit = UNIT_COUNT,
		.about = "and how many" },
	[TOTAL_FOUND_BY] = { .key = "found_by", .unit = UNIT_TEXT,
		.about = "what the main arena was found by" },
	[TOTAL_MODULE] = { .key = "module", .unit = UNIT_TEXT,
		.about = "where malloc is" },
};

enum class_column {
	CLASS_NAME, CLASS_COUNT, CLASS_BYTES, CLASS_SYMBOL, NUM_CLASS_COLUMNS
};

static const struct column class_columns[NUM_CLASS_COLUMNS] = {
	[CLASS_NAME] = { .key = "class", .title = "C++ class", .unit = UNIT_TEXT },
	[CLASS_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT },
	[CLASS_BYTES] = { .key = "size", .title = "size", .unit = UNIT_BYTES },
	[CLASS_SYMBOL] = { .key = "symbol", .title = "symbol", .unit = UNIT_TEXT,
		.hidden = true },
};

static struct error *run(struct scan *scan);

const struct view cmd_malloc_view = {
	.name = "malloc",
	.bit = VIEW_MALLOC,
	.about = "the heap of C code: what is in use, free, and can be given back",
	.columns = arena_columns,
	.num_columns = NUM_ARENA_COLUMNS,
	.totals = malloc_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.groups = 1 << BY_OWNER,
	.grouped = &cmd_mallocowners_view,
	.remark =
"Every chunk of glibc's malloc, by arena, as mallinfo2() and malloc_info() would\n"
"sum them up, from 2.26 on; of Python's processes and of others. What mallinfo2()\n"
"calls fordblks is free + top - tcache. In use are large objects and buffers of\n"
"objects as well as what C code keeps. JSON has \"classes\": instances of C++\n"
"classes with virtual functions, by their vtables' symbols.\n\n"
"\"others\" are allocators that take malloc's place, and the mimalloc of Python's\n"
"free-threaded builds, by what it is for: bytes of blocks in use, cached (freed,\n"
"and kept at hand for threads) and free beside others of their size; of pages\n"
"unused (kept for later) and returned (addresses without memory); overhead and\n"
"metadata; and empty: bytes of spans of blocks none of which is in use. \"sizes\"\n"
"are their blocks by size. Those not read say why: unread.\n\n"
"A heap that does not agree with itself (overwritten sizes, chunks freed twice,\n"
"broken lists) is shown below the table, and with -v in all formats.\n"
"\n"
"--by owner looks at all objects and through all of memory: rows are types of\n"
"Python, modules, threads with what they hold, directly or from chunk to chunk,\n"
"the nearest object first. What no pointer leads to is leaked; JSON has \"leaks\",\n"
"by size and C++ class, with the first addresses, for `object ADDR`.\n",
};

/** All that is printed. */
struct malloc_view {
	struct scan *scan;
	struct image *image;
	struct glibc_heap *heap;	/* NULL: there is none */
	struct cxx_classes classes;
	struct allocators others;
	size_t *order;		/* numbers of arenas, as they are shown */
	size_t num_arenas, shown;
	int column;		/* to sort by; -1: as they are */
};

static void malloc_view_deinit(struct malloc_view *view)
{
	glibc_heap_close(view->heap);
	allocators_deinit(&view->others);
	cxx_classes_deinit(&view->classes);
	free(view->order);
}

/* --- rows ----------------------------------------------------------------- */

enum { ARENA_TEXT = 24 };

static struct cell bytes(uint64_t number)
{
	return cell_number(UNIT_BYTES, number);
}

static struct cell count_cell(uint64_t number)
{
	return cell_number(UNIT_COUNT, number);
}

static void arena_cells(const struct malloc_view *view, size_t i,
			char name[ARENA_TEXT],
			struct cell cells[NUM_ARENA_COLUMNS])
{
	const struct glibc_arena *arena = glibc_arena(view->heap, i);
	uint64_t mapped = arena->is_main ? glibc_mapped(view->heap).bytes : 0;

	(void)snprintf(name, ARENA_TEXT, "%zu", i);
	cells[ARENA_NAME] = cell_text(arena->is_main ? "main" : name);
	cells[ARENA_USED] = bytes(arena->used);
	cells[ARENA_FREE] = bytes(arena->free + arena->fast + arena->tcache);
	cells[ARENA_TOP] = bytes(arena->top_size);
	cells[ARENA_MAPPED] = bytes(mapped);
	cells[ARENA_CHUNKS] = count_cell(
		arena->num_used +
		(arena->is_main ? glibc_mapped(view->heap).count : 0));
	cells[ARENA_LARGEST] = bytes(arena->largest_free);
	cells[ARENA_TCACHE] = bytes(arena->tcache);
	cells[ARENA_FAST] = bytes(arena->fast);
	cells[ARENA_TRIMMABLE] = bytes(arena->trimmable);
	cells[ARENA_SYSTEM] = bytes(arena->system);
	cells[ARENA_LOST] = bytes(arena->lost);
	cells[ARENA_FREE_CHUNKS] = count_cell(
		arena->num_free + arena->num_fast + arena->num_tcache);
	cells[ARENA_HEAPS] = count_cell(arena->num_heaps);
	cells[ARENA_ATTACHED] = count_cell(arena->attached);
	cells[ARENA_ADDRESS] = cell_number(UNIT_ADDRESS, arena->address);
}

static int order(const void *a, const void *b, void *context)
{
	const struct malloc_view *view = context;
	size_t left = *(const size_t *)a, right = *(const size_t *)b;
	struct cell lefts[NUM_ARENA_COLUMNS], rights[NUM_ARENA_COLUMNS];
	char names[2][ARENA_TEXT];
	int result;

	arena_cells(view, left, names[0], lefts);
	arena_cells(view, right, names[1], rights);
	result = cell_compare(lefts[view->column], rights[view->column]);
	return result ? result : (left > right) - (left < right);
}

/** Sums of the arenas from this one of the order on. */
static void sum_cells(const struct malloc_view *view, size_t from,
		      struct cell cells[NUM_ARENA_COLUMNS])
{
	struct cell row[NUM_ARENA_COLUMNS];
	char name[ARENA_TEXT];

	for (int i = 0; i < NUM_ARENA_COLUMNS; i++)
		cells[i] = arena_columns[i].unit == UNIT_BYTES ? bytes(0) :
			   arena_columns[i].unit == UNIT_COUNT ? count_cell(0) :
								 cell_unknown();
	for (size_t i = from; i < view->num_arenas; i++) {
		arena_cells(view, view->order[i], name, row);
		for (int j = 0; j < NUM_ARENA_COLUMNS; j++) {
			if (!cells[j].known)
				continue;
			if (j != ARENA_LARGEST)
				cells[j].number += row[j].number;
			else if (row[j].number > cells[j].number)
				cells[j].number = row[j].number;
		}
	}
}

static void make_totals(const struct malloc_view *view,
			struct cell totals[NUM_TOTALS])
{
	static const struct {
		int total, column;
	} sums[] = {
		{ TOTAL_USED, ARENA_USED }, { TOTAL_FREE, ARENA_FREE },
		{ TOTAL_TOP, ARENA_TOP }, { TOTAL_MAPPED, ARENA_MAPPED },
		{ TOTAL_CHUNKS, ARENA_CHUNKS },
		{ TOTAL_LARGEST, ARENA_LARGEST },
		{ TOTAL_TCACHE, ARENA_TCACHE }, { TOTAL_FAST, ARENA_FAST },
		{ TOTAL_TRIMMABLE, ARENA_TRIMMABLE },
		{ TOTAL_SYSTEM, ARENA_SYSTEM }, { TOTAL_LOST, ARENA_LOST },
	};
	struct cell cells[NUM_ARENA_COLUMNS];
	uint64_t binned = 0, fast = 0, tcache = 0, overhead = 0;
	struct glibc_mapped mapped;

	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = cell_unknown();
	totals[TOTAL_ARENAS] = count_cell(view->num_arenas);
	if (!view->heap)
		return;
	sum_cells(view, 0, cells);
	for (size_t i = 0; i < sizeof(sums) / sizeof(*sums); i++)
		totals[sums[i].total] = cells[sums[i].column];
	for (size_t i = 0; i < view->num_arenas; i++) {
		const struct glibc_arena *arena = glibc_arena(view->heap, i);

		binned += arena->num_free;
		fast += arena->num_fast;
		tcache += arena->num_tcache;
		overhead += arena->overhead;
	}
	mapped = glibc_mapped(view->heap);
	totals[TOTAL_ALLOCATOR] = cell_text("glibc");
	totals[TOTAL_OVERHEAD] = bytes(overhead);
	totals[TOTAL_BINNED] = count_cell(binned);
	totals[TOTAL_FAST_CHUNKS] = count_cell(fast);
	totals[TOTAL_TCACHE_CHUNKS] = count_cell(tcache);
	totals[TOTAL_MAPPED_CHUNKS] = count_cell(mapped.count);
	if (mapped.counted) {
		totals[TOTAL_MAPPED_SAID] = bytes(mapped.bytes_said);
		totals[TOTAL_MAPPED_CHUNKS_SAID] =
			count_cell(mapped.count_said);
	}
	totals[TOTAL_FOUND_BY] = cell_text(glibc_found_by(view->heap));
	totals[TOTAL_MODULE] = cell_text(glibc_module(view->heap));
}

/* --- printing ------------------------------------------------------------- */

static void put_rest(struct malloc_view *view)
{
	struct cell cells[NUM_ARENA_COLUMNS];
	size_t more = view->num_arenas - view->shown;
	char text[64], number[UNITS_TEXT_MAX];

	if (more == 0)
		return;
	sum_cells(view, view->shown, cells);
	(void)snprintf(text, sizeof(text), "%s more arena%s",
		       units_count(more, number), more == 1 ? "" : "s");
	cells[ARENA_NAME] = cell_text(text);
	render_rest(&view->scan->render, cells);
}

static void put_arenas(struct malloc_view *view)
{
	struct render *render = &view->scan->render;

	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = "MALLOC",
		.columns = arena_columns, .num_columns = NUM_ARENA_COLUMNS });
	for (size_t i = 0; i < view->shown && !scan_unread(view->scan); i++) {
		struct cell cells[NUM_ARENA_COLUMNS];
		char name[ARENA_TEXT];

		arena_cells(view, view->order[i], name, cells);
		render_row(render, cells);
	}
	put_rest(view);
	render_table_end(render);
}

static size_t bounded(const struct malloc_view *view, size_t count)
{
	uint64_t top = view->scan->options->top;

	return top == 0 || top > count ? count : (size_t)top;
}

static void put_classes(struct malloc_view *view)
{
	struct render *render = &view->scan->render;
	size_t shown = bounded(view, view->classes.count);
	char number[UNITS_TEXT_MAX];

	if (view->classes.count == 0 && render_for_people(render))
		return;
	render_gap(render);
	render_table(render, &(struct table_spec){
		.json_key = "classes", .title = "C++ CLASSES  by size",
		.columns = class_columns, .num_columns = NUM_CLASS_COLUMNS });
	for (size_t i = 0; i < shown && !scan_unread(view->scan); i++) {
		const struct cxx_class *one = &view->classes.items[i];
		char text[DEMANGLE_MAX];

		render_row(render, (struct cell[NUM_CLASS_COLUMNS]){
			[CLASS_NAME] = cell_text(cxx_name(one->symbol, text)),
			[CLASS_COUNT] = count_cell(one->count),
			[CLASS_BYTES] = bytes(one->bytes),
			[CLASS_SYMBOL] = cell_text(one->symbol),
		});
	}
	render_table_end(render);
	if (shown < view->classes.count)
		render_line(render, "  %s more classes (--top 0 shows all)",
			    units_count(view->classes.count - shown, number));
}

/** For people: what JSON has in its totals. */
static void put_summary(struct malloc_view *view,
			const struct cell totals[NUM_TOTALS])
{
	struct render *render = &view->scan->render;
	struct glibc_mapped mapped;
	char texts[5][UNITS_TEXT_MAX];

	if (!view->heap || !render_for_people(render))
		return;
	mapped = glibc_mapped(view->heap);
	render_line(render, "used: %s in %s chunks, %s of it in %s mapping%s "
		    "of their own",
		    units_size(totals[TOTAL_USED].number + mapped.bytes,
			       texts[0]),
		    units_count(totals[TOTAL_CHUNKS].number, texts[1]),
		    units_size(mapped.bytes, texts[2]),
		    units_count(mapped.count, texts[3]),
		    mapped.count == 1 ? "" : "s");
	render_line(render, "free: %s, of that %s kept at hand by tcache and "
		    "%s by fast bins; %s at the top",
		    units_size(totals[TOTAL_FREE].number, texts[0]),
		    units_size(totals[TOTAL_TCACHE].number, texts[1]),
		    units_size(totals[TOTAL_FAST].number, texts[2]),
		    units_size(totals[TOTAL_TOP].number, texts[3]));
	render_line(render, "malloc_trim(0) would give back at most %s",
		    units_size(totals[TOTAL_TRIMMABLE].number, texts[0]));
	if (mapped.counted && mapped.count != mapped.count_said)
		render_line(render, "malloc itself counts %s mappings of their "
			    "own, %s",
			    units_count(mapped.count_said, texts[0]),
			    units_size(mapped.bytes_said, texts[1]));
	if (totals[TOTAL_LOST].number)
		render_line(render, "not understood: %s",
			    units_size(totals[TOTAL_LOST].number, texts[0]));
}

/** For people: what does not agree in the heap. */
static void put_findings(struct malloc_view *view)
{
	const struct findings *findings = view->image->findings;
	struct render *render = &view->scan->render;
	bool head = false;

	if (!render_for_people(render))
		return;
	for (size_t i = 0; i < findings_kept(findings); i++) {
		const struct finding *one = findings_get(findings, i);
		char text[RENDER_NAME_MAX];

		if (strncmp(one->code, "malloc-", 7) != 0)
			continue;
		if (!head) {
			render_gap(render);
			render_head(render, "DAMAGE");
		}
		head = true;
		render_line(render, "  %s",
			    render_name(render, one->text, 200, text));
	}
}

static void print(struct malloc_view *view)
{
	struct scan *scan = view->scan;
	struct render *render = &scan->render;
	struct cell totals[NUM_TOTALS], cells[NUM_ARENA_COLUMNS];
	char name[ARENA_TEXT];

	make_totals(view, totals);
	scan_begin(scan, "malloc");
	render_object(render, "totals", malloc_totals, totals, NUM_TOTALS);
	for (size_t i = 0; i < view->num_arenas && gate_open(&scan->gate);
	     i++) {
		arena_cells(view, view->order[i], name, cells);
		gate_row(&scan->gate, cells);
	}
	gate_totals(&scan->gate, totals);
	if (view->heap || !render_for_people(render))
		put_arenas(view);
	put_summary(view, totals);
	other_rows(&view->others.heaps, render, view->scan->options->top);
	put_classes(view);
	put_findings(view);
	render_end(render);
}

/* --- gathering ------------------------------------------------------------ */

static struct error *add_class(void *context, const struct glibc_chunk *chunk)
{
	struct cxx_classes *classes = context;

	return chunk->kind == GLIBC_USED || chunk->kind == GLIBC_MAPPED ?
		cxx_classes_add(classes, chunk->word,
				chunk->end - chunk->start) : NULL;
}

static struct error *gather(struct malloc_view *view)
{
	struct error *err = allocators_find(view->scan->opened, &view->others);

	if (!err)
		err = cxx_classes_init(&view->classes, view->image);
	if (!err)
		err = mallocheap_open(view->scan->opened, &view->others,
				      &view->heap);
	if (err || !view->heap)
		return err;
	err = glibc_each_chunk(view->heap, add_class, &view->classes);
	if (err)
		return err;
	cxx_classes_sort(&view->classes);
	view->num_arenas = glibc_num_arenas(view->heap);
	view->order = calloc(view->num_arenas, sizeof(*view->order));
	if (!view->order)
		return error_no_memory();
	for (size_t i = 0; i < view->num_arenas; i++)
		view->order[i] = i;
	if (view->column >= 0)
		qsort_r(view->order, view->num_arenas, sizeof(*view->order),
			order, view);
	view->shown = bounded(view, view->num_arenas);
	return NULL;
}

static struct error *run(struct scan *scan)
{
	CLEANUP(malloc_view_deinit) struct malloc_view view = {
		.scan = scan, .image = opened_image(scan->opened),
		.column = -1,
	};
	const char *sort = scan->options->sort;
	struct error *err;

	for (int i = 0; sort && i < NUM_ARENA_COLUMNS; i++) {
		if (strcmp(arena_columns[i].key, sort) == 0)
			view.column = i;
	}
	err = gather(&view);
	if (!err)
		print(&view);
	return err;
}
