/*
 * Heaps of allocators that take malloc's place, as rows; see other_rows.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/other_rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "image/base/units.h"

enum heap_column {
	HEAP_NAME,
	HEAP_USED,
	HEAP_CACHED,
	HEAP_FREE,
	HEAP_UNUSED,
	HEAP_RETURNED,
	HEAP_OVERHEAD,
	HEAP_METADATA,
	HEAP_BLOCKS,
	HEAP_EMPTY,
	HEAP_PART,
	HEAP_CACHED_BLOCKS,
	HEAP_FREE_BLOCKS,
	HEAP_UNREAD,
	HEAP_MODULE,
	NUM_HEAP_COLUMNS
};

static const struct column heap_columns[NUM_HEAP_COLUMNS] = {
	[HEAP_NAME] = { .key = "allocator", .title = "allocator", .unit = UNIT_TEXT },
	[HEAP_USED] = { .key = "used", .title = "used", .unit = UNIT_BYTES },
	[HEAP_CACHED] = { .key = "cached", .title = "cached", .unit = UNIT_BYTES },
	[HEAP_FREE] = { .key = "free", .title = "free", .unit = UNIT_BYTES },
	[HEAP_UNUSED] = { .key = "unused", .title = "unused", .unit = UNIT_BYTES },
	[HEAP_RETURNED] = { .key = "returned", .title = "returned", .unit = UNIT_BYTES },
	[HEAP_OVERHEAD] = { .key = "overhead", .title = "overhead", .unit = UNIT_BYTES },
	[HEAP_METADATA] = { .key = "metadata", .title = "metadata", .unit = UNIT_BYTES },
	[HEAP_BLOCKS] = { .key = "blocks", .title = "blocks", .unit = UNIT_COUNT },
	[HEAP_EMPTY] = { .key = "empty", .title = "empty", .unit = UNIT_BYTES },
	[HEAP_PART] = { .key = "part", .title = "part", .unit = UNIT_TEXT, .hidden = true },
	[HEAP_CACHED_BLOCKS] = { .key = "cached_blocks", .title = "cached blocks", .unit = UNIT_COUNT, .hidden = true },
	[HEAP_FREE_BLOCKS] = { .key = "free_blocks", .title = "free blocks", .unit = UNIT_COUNT, .hidden = true },
	[HEAP_UNREAD] = { .key = "unread", .title = "unread", .unit = UNIT_TEXT, .hidden = true },
	[HEAP_MODULE] = { .key = "module", .title = "module", .unit = UNIT_TEXT, .hidden = true },
};

enum size_column {
	SIZE_NAME, SIZE_BLOCK, SIZE_USED, SIZE_CACHED, SIZE_FREE, SIZE_BYTES,
	SIZE_SPANS, NUM_SIZE_COLUMNS
};

static const struct column size_columns[NUM_SIZE_COLUMNS] = {
	[SIZE_NAME] = { .key = "allocator", .title = "allocator", .unit = UNIT_TEXT },
	[SIZE_BLOCK] = { .key = "block", .title = "block", .unit = UNIT_BYTES },
	[SIZE_USED] = { .key = "used", .title = "used", .unit = UNIT_COUNT },
	[SIZE_CACHED] = { .key = "cached", .title = "cached", .unit = UNIT_COUNT },
	[SIZE_FREE] = { .key = "free", .title = "free", .unit = UNIT_COUNT },
	[SIZE_BYTES] = { .key = "size", .title = "size", .unit = UNIT_BYTES },
	[SIZE_SPANS] = { .key = "spans", .title = "spans", .unit = UNIT_COUNT },
};

enum { NAME_TEXT = 80, SIZES_MAX = 1 << 16 };

static struct cell bytes(uint64_t number)
{
	return cell_number(UNIT_BYTES, number);
}

static struct cell count_cell(uint64_t number)
{
	return cell_number(UNIT_COUNT, number);
}

static void put_part(const struct other_heap *heap, size_t part,
		     struct render *render)
{
	struct other_totals totals = other_heap_part_totals(heap, part);
	const char *what = other_heap_part(heap, part);
	const char *unread = other_heap_unread(heap);
	struct cell cells[NUM_HEAP_COLUMNS];
	char name[NAME_TEXT];

	(void)snprintf(name, sizeof(name), "%s%s%s", other_heap_name(heap),
		       *what ? ": " : "", what);
	for (size_t i = 0; i < NUM_HEAP_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[HEAP_NAME] = cell_text(render_for_people(render) ?
					     name : other_heap_name(heap));
	cells[HEAP_PART] = cell_text(*what ? what : NULL);
	cells[HEAP_MODULE] = cell_text(other_heap_module(heap));
	cells[HEAP_UNREAD] = cell_text(unread);
	if (!unread) {
		for (int i = 0; i < NUM_OTHER_KINDS; i++)
			cells[HEAP_USED + i] = bytes(totals.bytes[i]);
		cells[HEAP_BLOCKS] = count_cell(totals.blocks[OTHER_USED]);
		cells[HEAP_EMPTY] = bytes(totals.empty);
		cells[HEAP_CACHED_BLOCKS] =
			count_cell(totals.blocks[OTHER_CACHED]);
		cells[HEAP_FREE_BLOCKS] = count_cell(totals.blocks[OTHER_FREE]);
	}
	render_row(render, cells);
}

static void put_heaps(const struct other_heaps *heaps, struct render *render)
{
	char text[RENDER_NAME_MAX];

	render_table(render, &(struct table_spec){
		.json_key = "others", .title = "OTHER ALLOCATORS",
		.columns = heap_columns, .num_columns = NUM_HEAP_COLUMNS });
	for (size_t i = 0; i < heaps->count; i++)
		for (size_t j = 0; j < other_heap_num_parts(heaps->heaps[i]);
		     j++)
			put_part(heaps->heaps[i], j, render);
	render_table_end(render);
	for (size_t i = 0; i < heaps->count; i++) {
		const struct other_heap *heap = heaps->heaps[i];
		const char *module = other_heap_module(heap);
		const char *unread = other_heap_unread(heap);

		if (unread)
			render_line(render, "%s is not broken down: %s",
				    other_heap_name(heap), unread);
		if (other_heap_caches_unread(heap))
			render_line(render, "%s: blocks kept at hand for "
				    "threads count as used: %s",
				    other_heap_name(heap),
				    other_heap_caches_unread(heap));
		if (module)
			render_line(render, "%s: %s", other_heap_name(heap),
				    render_name(render, module, 100, text));
	}
}

struct size_row {
	const struct other_heap *heap;
	const struct other_class *class;
};

/** Most bytes first; then as they are. */
static int by_bytes(const void *a, const void *b)
{
	const struct size_row *left = a, *right = b;
	uint64_t lefts = left->class->span_bytes;
	uint64_t rights = right->class->span_bytes;

	if (lefts != rights)
		return lefts < rights ? 1 : -1;
	return (left->class > right->class) - (left->class < right->class);
}

static void put_sizes(const struct other_heaps *heaps, struct render *render,
		      uint64_t top)
{
	struct size_row *rows;
	size_t count = 0, shown;
	char number[UNITS_TEXT_MAX];

	for (size_t i = 0; i < heaps->count; i++)
		count += other_heap_num_classes(heaps->heaps[i]);
	rows = count ? calloc(count, sizeof(*rows)) : NULL;
	if (!rows)
		count = 0;
	if (count == 0 && render_for_people(render))
		return;
	count = 0;
	for (size_t i = 0; rows && i < heaps->count; i++)
		for (size_t j = 0; j < other_heap_num_classes(heaps->heaps[i]);
		     j++)
			rows[count++] = (struct size_row){
				heaps->heaps[i],
				other_heap_class(heaps->heaps[i], j) };
	if (count)
		qsort(rows, count, sizeof(*rows), by_bytes);
	shown = top == 0 || top > count ? count : (size_t)top;
	render_gap(render);
	render_table(render, &(struct table_spec){
		.json_key = "sizes", .title = "THEIR BLOCKS  by size",
		.columns = size_columns, .num_columns = NUM_SIZE_COLUMNS });
	for (size_t i = 0; i < shown; i++) {
		const struct other_class *class = rows[i].class;

		render_row(render, (struct cell[NUM_SIZE_COLUMNS]){
			[SIZE_NAME] = cell_text(other_heap_name(rows[i].heap)),
			[SIZE_BLOCK] = bytes(class->block),
			[SIZE_USED] = count_cell(class->used),
			[SIZE_CACHED] = count_cell(class->cached),
			[SIZE_FREE] = count_cell(class->free),
			[SIZE_BYTES] = bytes(class->span_bytes),
			[SIZE_SPANS] = count_cell(class->spans),
		});
	}
	render_table_end(render);
	if (shown < count)
		render_line(render, "  %s more sizes (--top 0 shows all)",
			    units_count(count - shown, number));
	free(rows);
}

void other_rows(const struct other_heaps *heaps, struct render *render,
		uint64_t top)
{
	if (heaps->count == 0 && render_for_people(render))
		return;
	render_gap(render);
	put_heaps(heaps, render);
	put_sizes(heaps, render, top);
}
