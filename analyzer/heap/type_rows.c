/*
 * Rows of types; see type_rows.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/type_rows.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/heap/retained_groups.h"
#include "analyzer/heap/type_groups.h"
#include "analyzer/heap/typefilter.h"
#include "image/base/guard.h"
#include "image/base/units.h"

const struct column type_columns[NUM_TYPE_COLUMNS] = {
	[TYPE_NAME] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "module and qualified name; bare for builtins" },
	[TYPE_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "objects of this type" },
	[TYPE_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "sum of what sys.getsizeof would say" },
	[TYPE_SHARE] = { .key = "share", .title = "share", .unit = UNIT_SHARE,
		.about = "size as a part of the size of all objects" },
	[TYPE_CUMULATIVE] = { .key = "cumulative", .title = "cumul.", .unit = UNIT_SHARE,
		.about = "share of this row and those above" },
	[TYPE_FOOTPRINT] = { .key = "footprint", .title = "footprint", .unit = UNIT_BYTES,
		.about = "held from allocators: rounding and buffers "
			 "outside of the objects included" },
	[TYPE_ADDRESS] = { .key = "type_address", .title = "type at", .unit = UNIT_ADDRESS,
		.about = "of the type object: two types of one name are "
			 "two rows", .hidden = true },
	[TYPE_REFCOUNTS] = { .key = "refcounts", .title = "refcounts", .unit = UNIT_COUNT,
		.about = "sum of the reference counts of those that are not "
			 "immortal", .hidden = true },
	[TYPE_IMMORTAL] = { .key = "immortal", .title = "immortal", .unit = UNIT_COUNT,
		.about = "objects whose references are not counted",
		.hidden = true },
	[TYPE_OWNER_ADDRESS] = { .key = "owner_address", .title = "owner type at", .unit = UNIT_ADDRESS,
		.about = "with --by owner: of the type object of the owners",
		.hidden = true },
	[TYPE_RETAINED] = { .key = "retained", .title = "retained", .unit = UNIT_BYTES,
		.about = "with --retained: what the allocators hold for them "
			 "and for all that lives by them alone",
		.hidden = true, .absent = true },
	[TYPE_DEVICE] = { .key = "device_retained", .title = "on devices", .unit = UNIT_BYTES,
		.about = "with --retained: data of tensors on devices that "
			 "would go with them; absent where no tensor is on one",
		.hidden = true, .absent = true },
	[TYPE_SIZE_EXACT] = { .key = "size_exact", .title = "exact", .unit = UNIT_BOOL,
		.about = "false where the type's own __sizeof__ cannot "
			 "be known", .hidden = true },
};

const struct column type_totals[NUM_TYPE_TOTALS] = {
	[TYPE_TOTAL_COUNT] = { .key = "count", .unit = UNIT_COUNT,
		.about = "objects in all rows, shown or not" },
	[TYPE_TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "size of all rows" },
	[TYPE_TOTAL_FOOTPRINT] = { .key = "footprint", .unit = UNIT_BYTES,
		.about = "footprint of all rows" },
	[TYPE_TOTAL_TYPES] = { .key = "types", .unit = UNIT_COUNT,
		.about = "number of rows" },
	[TYPE_TOTAL_HEAP_COUNT] = { .key = "heap_count", .unit = UNIT_COUNT,
		.about = "objects of all types, filtered or not" },
	[TYPE_TOTAL_HEAP_SIZE] = { .key = "heap_size", .unit = UNIT_BYTES,
		.about = "size of all objects" },
	[TYPE_TOTAL_HEAP_FOOTPRINT] = { .key = "heap_footprint", .unit = UNIT_BYTES,
		.about = "footprint of all objects" },
};

static int sort_column(const char *key)
{
	for (int i = 0; key && i < NUM_TYPE_COLUMNS; i++) {
		if (strcmp(type_columns[i].key, key) == 0)
			return i;
	}
	return TYPE_SIZE;
}

static void sum_add(struct type_sum *sum, const struct pyh_type_total *total)
{
	sum->count += total->count;
	sum->size += total->size;
	sum->footprint += total->footprint;
}

static struct cell type_cell(const struct type_row *row, int column)
{
	const struct pyh_type_total *total = &row->total;

	switch (column) {
	case TYPE_COUNT:
		return cell_number(UNIT_COUNT, total->count);
	case TYPE_FOOTPRINT:
		return cell_number(UNIT_BYTES, total->footprint);
	case TYPE_NAME:
		return cell_text(row->name);
	case TYPE_ADDRESS:
		return total->type ? cell_number(UNIT_ADDRESS,
						 total->type->address) :
				     cell_unknown();
	case TYPE_OWNER_ADDRESS:
		return row->owner ? cell_number(UNIT_ADDRESS,
						row->owner->address) :
				    cell_unknown();
	case TYPE_REFCOUNTS:
		return cell_number(UNIT_COUNT, total->refcounts);
	case TYPE_IMMORTAL:
		return cell_number(UNIT_COUNT, total->immortal);
	case TYPE_RETAINED:
		return row->retained_known ?
			cell_number(UNIT_BYTES, row->retained) :
			cell_unknown();
	case TYPE_DEVICE:
		return row->device_known ?
			cell_number(UNIT_BYTES, row->device) :
			cell_unknown();
	case TYPE_SIZE_EXACT:
		return cell_number(UNIT_BOOL, total->size_exact);
	default:	// share and cumulative follow size
		return cell_number(UNIT_BYTES, total->size);
	}
}

static int by_column(const void *a, const void *b, void *context)
{
	const struct type_row *left = a, *right = b;
	int column = *(const int *)context;
	int order = cell_compare(type_cell(left, column),
				 type_cell(right, column));

	// Equal rows in a fixed order: answers must not differ from run to run.
	if (!order)
		order = cell_compare(type_cell(left, TYPE_SIZE),
				     type_cell(right, TYPE_SIZE));
	if (!order)
		order = strcmp(left->name, right->name);
	if (!order)
		order = cell_compare(type_cell(left, TYPE_ADDRESS),
				     type_cell(right, TYPE_ADDRESS));
	if (!order)
		order = cell_compare(type_cell(left, TYPE_OWNER_ADDRESS),
				     type_cell(right, TYPE_OWNER_ADDRESS));
	return order;
}

static struct error *take_row(struct type_rows *rows,
			      const struct options *options,
			      const struct type_row *row,
			      struct typefilter *filter)
{
	struct error *err;
	bool pass;

	if (row->total.size < options->min_size)
		return NULL;
	err = typefilter_pass_name(filter, row->name, &pass);
	if (err || !pass)
		return err;
	sum_add(&rows->selected, &row->total);
	rows->rows[rows->num_rows++] = *row;
	return NULL;
}

bool type_rows_want_retained(const struct scan *scan)
{
	int sort = sort_column(scan->options->sort);
	int gate = scan->gate.row_column;

	return scan->options->retained ||
	       scan->options->view->bit == VIEW_OVERVIEW ||
	       gate == TYPE_RETAINED || gate == TYPE_DEVICE ||
	       sort == TYPE_RETAINED || sort == TYPE_DEVICE;
}

void type_rows_columns(const struct scan *scan, bool retained,
		       struct column ret[NUM_TYPE_COLUMNS])
{
	const struct analysis *analysis = *opened_analysis(scan->opened);
	bool device = retained && analysis &&
		      heldbytes_has_device(analysis->held);

	memcpy(ret, type_columns, sizeof(type_columns));
	ret[TYPE_RETAINED].absent = ret[TYPE_RETAINED].hidden = !retained;
	ret[TYPE_DEVICE].absent = ret[TYPE_DEVICE].hidden = !device;
}

/** What types retain, of each by its id; NULL where nobody wants to know. */
struct by_type {
	uint64_t *retained;	/* owned */
	uint64_t *device;	/* owned; NULL also where no tensor is on one */
};

static void by_type_deinit(struct by_type *sums)
{
	free(sums->retained);
	free(sums->device);
}

static struct error *find_retained(struct scan *scan, struct by_type *ret)
{
	const struct analysis *analysis;
	struct error *err;

	if (!type_rows_want_retained(scan))
		return NULL;
	// The overview has made it already, or says why it could not.
	analysis = *opened_analysis(scan->opened);
	if (scan->options->view->bit == VIEW_OVERVIEW &&
	    !(analysis && analysis->have & ANALYSIS_TREE))
		return NULL;
	err = analysis_of(scan->opened, ANALYSIS_TREE, &analysis);
	if (!err)
		err = retained_by_type(analysis, &ret->retained);
	return err ? err : heldbytes_by_group(
		analysis->held, analysis->heap->types, NULL,
		pyh_types_count(analysis->heap->pyh_types), &ret->device);
}

static struct error *take_types(struct type_rows *rows,
				const struct options *options,
				const struct type_counts *counts,
				const struct by_type *sums,
				struct typefilter *filter)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < counts->num_totals; i++) {
		const struct pyh_type_total *total = &counts->totals[i];
		uint32_t id = total->type->id;

		if (options->type && strcmp(options->type,
					    total->type->name) != 0)
			continue;
		err = take_row(rows, options, &(struct type_row){
			.name = total->type->name, .total = *total,
			.retained = sums->retained ? sums->retained[id] : 0,
			.retained_known = sums->retained != NULL,
			.device = sums->device ? sums->device[id] : 0,
			.device_known = sums->device != NULL }, filter);
	}
	return err;
}

static struct error *take_groups(struct type_rows *rows,
				 const struct options *options,
				 struct typefilter *filter)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < type_groups_count(rows->groups); i++)
		err = take_row(rows, options, type_groups_row(rows->groups, i),
			       filter);
	return err;
}

static struct error *collect(struct scan *scan,
			     const struct type_counts *counts,
			     struct type_rows *rows)
{
	const struct options *options = scan->options;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	CLEANUP(by_type_deinit) struct by_type sums = { 0 };
	size_t count = counts->num_totals;
	struct error *err;

	// --type is about objects, --match about the rows that are shown.
	err = typefilter_create(NULL, options->match, &filter);
	if (!err && options->by != BY_TYPE)
		err = type_groups_make(scan, counts, &rows->groups);
	else if (!err)
		err = find_retained(scan, &sums);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		sum_add(&rows->heap, &counts->totals[i]);
	if (rows->groups)
		count = type_groups_count(rows->groups);
	rows->rows = calloc(count + 1, sizeof(*rows->rows));
	if (!rows->rows)
		return error_no_memory();
	return rows->groups ? take_groups(rows, options, filter) :
			      take_types(rows, options, counts, &sums, filter);
}

struct error *type_rows_collect(struct scan *scan,
				const struct type_counts *counts,
				struct type_rows *ret)
{
	int column = sort_column(scan->options->sort);
	struct type_rows rows = { 0 };
	struct error *err = collect(scan, counts, &rows);

	if (err) {
		type_rows_deinit(&rows);
		return err;
	}
	qsort_r(rows.rows, rows.num_rows, sizeof(*rows.rows), by_column,
		&column);
	*ret = rows;
	return NULL;
}

void type_rows_deinit(struct type_rows *rows)
{
	free(rows->rows);
	type_groups_destroy(rows->groups);
	*rows = (struct type_rows){ 0 };
}

void type_rows_cells(const struct type_rows *rows, size_t i, uint64_t running,
		     struct cell cells[NUM_TYPE_COLUMNS])
{
	for (int column = 0; column < NUM_TYPE_COLUMNS; column++)
		cells[column] = type_cell(&rows->rows[i], column);
	cells[TYPE_SHARE] = cell_part(rows->rows[i].total.size,
				      rows->heap.size);
	cells[TYPE_CUMULATIVE] = cell_part(running, rows->heap.size);
}

void type_rows_rest(const struct type_rows *rows, size_t shown, char text[64],
		    struct cell cells[NUM_TYPE_COLUMNS])
{
	struct type_sum rest = { 0 };
	char number[UNITS_TEXT_MAX];
	bool one = rows->num_rows - shown == 1;

	for (size_t i = shown; i < rows->num_rows; i++)
		sum_add(&rest, &rows->rows[i].total);
	(void)snprintf(text, 64, "%s more %s%s",
		       units_count(rows->num_rows - shown, number),
		       rows->groups ? "row" : "type", one ? "" : "s");
	for (int column = 0; column < NUM_TYPE_COLUMNS; column++)
		cells[column] = cell_unknown();
	cells[TYPE_COUNT] = cell_number(UNIT_COUNT, rest.count);
	cells[TYPE_SIZE] = cell_number(UNIT_BYTES, rest.size);
	cells[TYPE_SHARE] = cell_part(rest.size, rows->heap.size);
	cells[TYPE_CUMULATIVE] = cell_part(rows->selected.size,
					   rows->heap.size);
	cells[TYPE_FOOTPRINT] = cell_number(UNIT_BYTES, rest.footprint);
	cells[TYPE_NAME] = cell_text(text);
}

void type_rows_totals(const struct type_rows *rows,
		      struct cell cells[NUM_TYPE_TOTALS])
{
	cells[TYPE_TOTAL_COUNT] = cell_number(UNIT_COUNT, rows->selected.count);
	cells[TYPE_TOTAL_SIZE] = cell_number(UNIT_BYTES, rows->selected.size);
	cells[TYPE_TOTAL_FOOTPRINT] =
		cell_number(UNIT_BYTES, rows->selected.footprint);
	cells[TYPE_TOTAL_TYPES] = cell_number(UNIT_COUNT, rows->num_rows);
	cells[TYPE_TOTAL_HEAP_COUNT] =
		cell_number(UNIT_COUNT, rows->heap.count);
	cells[TYPE_TOTAL_HEAP_SIZE] = cell_number(UNIT_BYTES, rows->heap.size);
	cells[TYPE_TOTAL_HEAP_FOOTPRINT] =
		cell_number(UNIT_BYTES, rows->heap.footprint);
}

size_t type_rows_shown(const struct type_rows *rows, uint64_t top)
{
	return top == 0 || top > rows->num_rows ? rows->num_rows : (size_t)top;
}

void type_rows_inexact(const struct type_rows *rows, struct render *render)
{
	char names[2][RENDER_NAME_MAX], number[UNITS_TEXT_MAX];
	size_t count = 0;

	for (size_t i = 0; i < rows->num_rows; i++) {
		if (rows->rows[i].total.size_exact)
			continue;
		if (count < 2)
			(void)render_name(render, rows->rows[i].name, 24,
					  names[count]);
		count++;
	}
	if (count == 0)
		return;
	(void)units_count(count - 2, number);
	render_line(render, "sizes without what a __sizeof__ of their own "
		    "adds: %s%s%s%s%s%s", names[0], count > 1 ? ", " : "",
		    count > 1 ? names[1] : "", count > 2 ? " and " : "",
		    count > 2 ? number : "", count > 2 ? " more" : "");
}

void type_rows_gate(const struct type_rows *rows, struct scan *scan)
{
	struct cell cells[NUM_TYPE_COLUMNS], totals[NUM_TYPE_TOTALS];
	uint64_t running = 0;

	for (size_t i = 0; i < rows->num_rows && gate_open(&scan->gate); i++) {
		running += rows->rows[i].total.size;
		type_rows_cells(rows, i, running, cells);
		gate_row(&scan->gate, cells);
	}
	type_rows_totals(rows, totals);
	gate_totals(&scan->gate, totals);
}
