/*
 * `memory`: the ledger, in which every byte that was in memory has one row.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/allocator/allocator.h"
#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/ledger/ledger.h"
#include "analyzer/ledger/reclaimable.h"
#include "analyzer/show/scan_progress.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum memory_column {
	MEMORY_BYTES,
	MEMORY_SHARE,
	MEMORY_GROUP,
	MEMORY_CATEGORY,
	MEMORY_COUNT,
	MEMORY_COUNTED,
	MEMORY_DETAIL,
	NUM_MEMORY_COLUMNS
};

static const struct column memory_columns[NUM_MEMORY_COLUMNS] = {
	[MEMORY_BYTES] = { .key = "bytes", .title = "bytes", .unit = UNIT_BYTES,
		.about = "in memory" },
	[MEMORY_SHARE] = { .key = "share", .title = "share", .unit = UNIT_SHARE,
		.about = "of the total" },
	[MEMORY_GROUP] = { .key = "group", .title = "group", .unit = UNIT_TEXT,
		.about = "the row of the overview that it belongs to",
		.whole = true },
	[MEMORY_CATEGORY] = { .key = "category", .title = "category", .unit = UNIT_TEXT,
		.about = "what the bytes are; no byte is in two of them",
		.whole = true },
	[MEMORY_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "objects, blocks, chunks or mappings that it consists "
			 "of, where they are counted" },
	[MEMORY_COUNTED] = { .key = "counted", .title = "of", .unit = UNIT_TEXT,
		.about = "which of these", .hidden = true },
	[MEMORY_DETAIL] = { .key = "most", .title = "most of it", .unit = UNIT_TEXT,
		.about = "what takes the largest part of it: a type, a file, "
			 "an address" },
};

enum {
	TOTAL_TOTAL, TOTAL_UNEXPLAINED, TOTAL_EXPLAINED, TOTAL_GC, TOTAL_TRIM,
	TOTAL_STAYS, TOTAL_OBJECTS, TOTAL_PAGE_TABLES, TOTAL_SWAPPED,
	TOTAL_PINNED_ARENAS, TOTAL_PINNED_BYTES, TOTAL_BALANCED, TOTAL_RESIDENT,
	NUM_TOTALS
};

static const struct column memory_totals[NUM_TOTALS] = {
	[TOTAL_TOTAL] = { .key = "total", .unit = UNIT_BYTES,
		.about = "in memory: the sum of all rows" },
	[TOTAL_UNEXPLAINED] = { .key = "unexplained", .unit = UNIT_BYTES,
		.about = "of that, what no part of the program is known to "
			 "use" },
	[TOTAL_EXPLAINED] = { .key = "explained", .unit = UNIT_SHARE,
		.about = "all the rest, as a part of the total" },
	[TOTAL_GC] = { .key = "reclaimable_gc", .unit = UNIT_BYTES,
		.about = "what gc.collect() would free" },
	[TOTAL_TRIM] = { .key = "reclaimable_trim", .unit = UNIT_BYTES,
		.about = "what malloc_trim(0) would give back to the system" },
	[TOTAL_STAYS] = { .key = "free_but_kept", .unit = UNIT_BYTES,
		.about = "free, and given back by neither: holes among what is "
			 "in use" },
	[TOTAL_OBJECTS] = { .key = "objects", .unit = UNIT_COUNT,
		.about = "Python's, those in modules too" },
	[TOTAL_PAGE_TABLES] = { .key = "page_tables", .unit = UNIT_BYTES,
		.about = "of the kernel's, for the process; not in the total" },
	[TOTAL_SWAPPED] = { .key = "swapped", .unit = UNIT_BYTES,
		.about = "swapped out; not in the total" },
	[TOTAL_PINNED_ARENAS] = { .key = "pinned_arenas", .unit = UNIT_COUNT,
		.about = "arenas of which less than an eighth is in use" },
	[TOTAL_PINNED_BYTES] = { .key = "pinned_used", .unit = UNIT_BYTES,
		.about = "what is in use in these, and keeps them" },
	[TOTAL_BALANCED] = { .key = "balanced", .unit = UNIT_BOOL,
		.about = "rows sum up to the total, and no two uses claim the "
			 "same bytes" },
	[TOTAL_RESIDENT] = { .key = "by_kernel", .unit = UNIT_BOOL,
		.about = "the kernel's own numbers of resident memory are in "
			 "the dump; else the total is what was captured" },
};

enum { PIN_TYPE, PIN_OBJECTS, PIN_BYTES, NUM_PIN_COLUMNS };

static const struct column pin_columns[NUM_PIN_COLUMNS] = {
	[PIN_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT },
	[PIN_OBJECTS] = { .key = "objects", .title = "objects", .unit = UNIT_COUNT },
	[PIN_BYTES] = { .key = "bytes", .title = "bytes", .unit = UNIT_BYTES },
};

enum {
	DEVICE_NAME, DEVICE_RESERVED, DEVICE_ALLOCATED, DEVICE_TOTAL,
	DEVICE_PRODUCT, NUM_DEVICE_COLUMNS
};

static const struct column device_columns[NUM_DEVICE_COLUMNS] = {
	[DEVICE_NAME] = { .key = "device", .title = "device", .unit = UNIT_TEXT },
	[DEVICE_RESERVED] = { .key = "reserved", .title = "reserved", .unit = UNIT_BYTES },
	[DEVICE_ALLOCATED] = { .key = "allocated", .title = "allocated", .unit = UNIT_BYTES },
	[DEVICE_TOTAL] = { .key = "device_total", .title = "of", .unit = UNIT_BYTES },
	[DEVICE_PRODUCT] = { .key = "product", .title = "", .unit = UNIT_TEXT },
};

static struct error *run(struct scan *scan);

const struct view cmd_memory_view = {
	.name = "memory",
	.bit = VIEW_MEMORY,
	.about = "every byte of the process in one row: where the rest is",
	.columns = memory_columns,
	.num_columns = NUM_MEMORY_COLUMNS,
	.totals = memory_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"What was in memory when the process was dumped (by the kernel's own numbers; of\n"
"cores that have none, what was captured), each byte in exactly one row. All rows\n"
"are shown; the program checks that they sum up to the total. Objects, blocks and\n"
"chunks count with all that the allocator holds for them, so a row may be more\n"
"than `types` says of sizes. Free memory is told by who could give it back:\n"
"malloc_trim(), or nobody while something in use lies beside it. Objects that\n"
"keep almost empty arenas are listed by type below the table. What PyTorch has of\n"
"GPUs is memory of these, and stands for itself; allocator has more of it.\n",
};

struct memory_view {
	struct scan *scan;
	const struct ledger *ledger;
	struct reclaimable reclaimable;
	enum ledger_category order[LEDGER_NUM_CATEGORIES];
	size_t count;
	uint64_t groups[LEDGER_NUM_GROUPS];
};

/* --- rows ------------------------------------------------------------------- */

/** Groups together, the largest first; in each the largest category first. */
static int in_order(const void *a, const void *b, void *context)
{
	const struct memory_view *view = context;
	enum ledger_category x = *(const enum ledger_category *)a;
	enum ledger_category y = *(const enum ledger_category *)b;
	enum ledger_group of_x = ledger_group_of(x), of_y = ledger_group_of(y);
	uint64_t left = view->ledger->rows[x].bytes;
	uint64_t right = view->ledger->rows[y].bytes;

	if (of_x != of_y) {
		left = view->groups[of_x];
		right = view->groups[of_y];
		if (left == right)
			return of_x < of_y ? -1 : 1;
	}
	return left != right ? (left > right ? -1 : 1) :
	       x < y ? -1 : x > y;
}

static void sort_rows(struct memory_view *view)
{
	for (int i = 0; i < LEDGER_NUM_CATEGORIES; i++) {
		enum ledger_category category = (enum ledger_category)i;
		uint64_t bytes = view->ledger->rows[i].bytes;

		if (bytes == 0)
			continue;
		view->groups[ledger_group_of(category)] += bytes;
		view->order[view->count++] = category;
	}
	qsort_r(view->order, view->count, sizeof(*view->order), in_order, view);
}

static void fill(const struct memory_view *view, size_t i,
		 struct cell cells[NUM_MEMORY_COLUMNS])
{
	enum ledger_category category = view->order[i];
	const struct ledger_row *row = &view->ledger->rows[category];
	const char *group = ledger_group_name(ledger_group_of(category));
	const char *counts = ledger_counts(category);
	bool again = i > 0 && ledger_group_of(view->order[i - 1]) ==
				      ledger_group_of(category);

	// People see the group where it begins.
	cells[MEMORY_GROUP] = cell_text(
		again && render_for_people(&view->scan->render) ? "" : group);
	cells[MEMORY_CATEGORY] = cell_text(ledger_name(category));
	cells[MEMORY_BYTES] = cell_number(UNIT_BYTES, row->bytes);
	cells[MEMORY_SHARE] = cell_part(row->bytes, view->ledger->total);
	cells[MEMORY_COUNT] = counts && row->count ?
		cell_number(UNIT_COUNT, row->count) : cell_unknown();
	cells[MEMORY_COUNTED] = counts && row->count ? cell_text(counts) :
						       cell_unknown();
	cells[MEMORY_DETAIL] = cell_text(*row->detail ? row->detail : NULL);
}

static void make_totals(const struct memory_view *view,
			struct cell totals[NUM_TOTALS])
{
	const struct ledger *ledger = view->ledger;
	uint64_t unexplained = view->groups[LEDGER_OF_UNEXPLAINED];

	totals[TOTAL_TOTAL] = cell_number(UNIT_BYTES, ledger->total);
	totals[TOTAL_UNEXPLAINED] = cell_number(UNIT_BYTES, unexplained);
	totals[TOTAL_EXPLAINED] = cell_part(ledger->total - unexplained,
					    ledger->total);
	totals[TOTAL_GC] = view->reclaimable.has_gc ?
		cell_number(UNIT_BYTES, view->reclaimable.gc) : cell_unknown();
	totals[TOTAL_TRIM] = *ledger->no_malloc ? cell_unknown() :
		cell_number(UNIT_BYTES, view->reclaimable.trim);
	totals[TOTAL_STAYS] = cell_number(UNIT_BYTES, view->reclaimable.kept);
	totals[TOTAL_OBJECTS] = *ledger->no_python ? cell_unknown() :
		cell_number(UNIT_COUNT, ledger->objects);
	totals[TOTAL_PAGE_TABLES] = ledger->has_page_tables ?
		cell_number(UNIT_BYTES, ledger->page_tables) : cell_unknown();
	totals[TOTAL_SWAPPED] = ledger->has_swapped ?
		cell_number(UNIT_BYTES, ledger->swapped) : cell_unknown();
	totals[TOTAL_PINNED_ARENAS] = cell_number(UNIT_COUNT,
						  ledger->pinned.arenas);
	totals[TOTAL_PINNED_BYTES] = cell_number(UNIT_BYTES,
						 ledger->pinned.used);
	totals[TOTAL_BALANCED] = cell_number(UNIT_BOOL, ledger->balanced);
	totals[TOTAL_RESIDENT] = cell_number(UNIT_BOOL,
					     ledger->noted);
}

/* --- below the table ---------------------------------------------------------- */

static void put_pins(struct memory_view *view)
{
	const struct ledger_pinned *pinned = &view->ledger->pinned;
	struct render *render = &view->scan->render;
	char title[160], texts[3][UNITS_TEXT_MAX];

	if (pinned->arenas == 0 && render_for_people(render))
		return;
	(void)snprintf(title, sizeof(title), "PINNED  %s in %s arena%s, kept by "
		       "%s in use", units_size(pinned->bytes, texts[0]),
		       units_count(pinned->arenas, texts[1]),
		       pinned->arenas == 1 ? "" : "s",
		       units_size(pinned->used, texts[2]));
	render_gap(render);
	render_table(render, &(struct table_spec){
		.json_key = "pinned_by", .title = title,
		.columns = pin_columns, .num_columns = NUM_PIN_COLUMNS });
	for (size_t i = 0; i < pinned->num_types; i++)
		render_row(render, (struct cell[NUM_PIN_COLUMNS]){
			[PIN_TYPE] = cell_text(pinned->types[i].type),
			[PIN_OBJECTS] = cell_number(UNIT_COUNT,
						    pinned->types[i].objects),
			[PIN_BYTES] = cell_number(UNIT_BYTES,
						  pinned->types[i].bytes) });
	render_table_end(render);
}

/** What PyTorch's allocator has of each device that it uses. */
static void put_devices(struct memory_view *view)
{
	CLEANUP(allocator_release) struct allocator *allocator = NULL;
	struct render *render = &view->scan->render;
	struct error *err = allocator_open(view->scan->opened,
					   /* with_tensors= */ false,
					   /* values= */ false, &allocator);
	char name[ALLOCATOR_NAME_MAX];
	bool begun = false;

	// The view allocator says why it cannot be read.
	error_free(err);
	for (size_t i = 0; !err && i < allocator->num_devices; i++) {
		const struct torch_device *device =
			allocator->devices[i].device;

		if (!device->is_known || device->reserved == 0)
			continue;
		if (!begun) {
			render_gap(render);
			render_table(render, &(struct table_spec){
				.json_key = "devices",
				.title = "DEVICES  by PyTorch, not in the sum",
				.see = "allocator", .columns = device_columns,
				.num_columns = NUM_DEVICE_COLUMNS });
			begun = true;
		}
		render_row(render, (struct cell[NUM_DEVICE_COLUMNS]){
			[DEVICE_NAME] = cell_text(allocator_device_name(
				allocator, i, name)),
			[DEVICE_RESERVED] = cell_number(UNIT_BYTES,
							device->reserved),
			[DEVICE_ALLOCATED] = cell_number(UNIT_BYTES,
							 device->allocated),
			[DEVICE_TOTAL] = device->total ?
				cell_number(UNIT_BYTES, device->total) :
				cell_unknown(),
			[DEVICE_PRODUCT] = cell_text(
				*device->name ? device->name : NULL) });
	}
	if (begun)
		render_table_end(render);
}

static void put_remarks(struct memory_view *view)
{
	const struct ledger *ledger = view->ledger;
	struct render *render = &view->scan->render;
	char line[RECLAIMABLE_LINE], safe[RENDER_NAME_MAX];
	char text[UNITS_TEXT_MAX];

	render_gap(render);
	render_line(render, "reclaimable: %s", reclaimable_line(&view->reclaimable, line));
	if (!view->reclaimable.has_gc && *view->reclaimable.why_not)
		render_line(render, "what gc.collect() would free is not known: "
			    "%s", render_name(render, view->reclaimable.why_not,
					      90, safe));
	if (ledger->has_page_tables)
		render_line(render, "page tables: %s, not in the sum",
			    units_size(ledger->page_tables, text));
	if (ledger->has_swapped && ledger->swapped)
		render_line(render, "swapped out: %s, not in the sum",
			    units_size(ledger->swapped, text));
	if (*ledger->no_python)
		render_line(render, "Python's memory is not told: %s",
			    render_name(render, ledger->no_python, 90, safe));
	if (*ledger->no_malloc)
		render_line(render, "malloc's memory is not told: %s",
			    render_name(render, ledger->no_malloc, 90, safe));
	if (!ledger->balanced)
		render_line(render, "some bytes are claimed twice; -v says "
			    "where");
}

static void print(struct memory_view *view)
{
	struct scan *scan = view->scan;
	struct render *render = &scan->render;
	struct cell totals[NUM_TOTALS], cells[NUM_MEMORY_COLUMNS];
	char title[96], size[UNITS_TEXT_MAX];

	make_totals(view, totals);
	scan_begin(scan, "memory");
	render_object(render, "totals", memory_totals, totals, NUM_TOTALS);
	gate_totals(&scan->gate, totals);
	(void)snprintf(title, sizeof(title), "MEMORY  %s %s, each byte in one "
		       "row", units_size(view->ledger->total, size),
		       ledger_measure(view->ledger,
				      opened_image(scan->opened)));
	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = title,
		.columns = memory_columns, .num_columns = NUM_MEMORY_COLUMNS });
	for (size_t i = 0; i < view->count; i++) {
		fill(view, i, cells);
		gate_row(&scan->gate, cells);
		render_row(render, cells);
	}
	render_table_end(render);
	put_pins(view);
	put_devices(view);
	if (render_for_people(render))
		put_remarks(view);
	render_end(render);
}

static struct error *run(struct scan *scan)
{
	struct memory_view view = { .scan = scan };
	struct error *err = ledger_of(scan->opened, /* owners= */ true,
				      &view.ledger);

	if (err)
		return err;
	reclaimable_find(scan->opened, view.ledger, &view.reclaimable);
	progress_clear();
	sort_rows(&view);
	print(&view);
	return NULL;
}
