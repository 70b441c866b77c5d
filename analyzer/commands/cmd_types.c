/*
 * `types`: how many objects of each type there are, and what they take.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/dump_header.h"
#include "analyzer/heap/coverage.h"
#include "analyzer/heap/type_rows.h"

static struct error *run(struct scan *scan);

const struct view cmd_types_view = {
	.name = "types",
	.bit = VIEW_TYPES,
	.about = "objects by type: count, size, footprint",
	.columns = type_columns,
	.num_columns = NUM_TYPE_COLUMNS,
	.totals = type_totals,
	.num_totals = NUM_TYPE_TOTALS,
	.run = run,
	.groups = 1 << BY_TYPE | 1 << BY_OWNER | 1 << BY_MODULE,
	.remark =
"Sizes are what the interpreter itself would report; the footprint adds what\n"
"the allocators hold for them. The last lines say how much of the memory in\n"
"use the objects found explain. Long names are cut in text and md only.\n"
"--by owner splits containers and values by what holds them (dict of X), --by\n"
"module sums up types; with --retained each row says what it retains together.\n"
"In JSON the object \"coverage\" holds the numbers of the last lines.\n",
};

static void print_table(struct scan *scan, const struct type_rows *rows)
{
	static const char *const heads[NUM_BY] = {
		[BY_TYPE] = "TYPES", [BY_OWNER] = "OWNERS",
		[BY_MODULE] = "MODULES",
	};
	const char *sort = scan->options->sort ? scan->options->sort : "size";
	size_t shown = type_rows_shown(rows, scan->options->top);
	struct column columns[NUM_TYPE_COLUMNS];
	struct cell cells[NUM_TYPE_COLUMNS];
	uint64_t running = 0;
	char title[64], rest[64];

	(void)snprintf(title, sizeof(title), "%s  by %s",
		       heads[scan->options->by], sort);
	type_rows_columns(scan, type_rows_want_retained(scan), columns);
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = title,
		.columns = columns, .num_columns = NUM_TYPE_COLUMNS,
	});
	for (size_t i = 0; i < shown && !scan_unread(scan); i++) {
		running += rows->rows[i].total.size;
		type_rows_cells(rows, i, running, cells);
		render_row(&scan->render, cells);
	}
	if (shown < rows->num_rows) {
		type_rows_rest(rows, shown, rest, cells);
		render_rest(&scan->render, cells);
	}
	render_table_end(&scan->render);
}

static struct error *run(struct scan *scan)
{
	struct cell totals[NUM_TYPE_TOTALS];
	const struct analysis *analysis;
	struct type_counts counts;
	struct type_rows rows;
	struct error *err = NULL;

	// The census that the analysis takes is seen by it as well.
	if (type_rows_want_retained(scan))
		err = analysis_of(scan->opened, ANALYSIS_TREE, &analysis);
	if (!err)
		err = opened_counts(scan->opened, &counts);
	if (!err)
		err = type_rows_collect(scan, &counts, &rows);
	if (err)
		return err;
	scan_begin(scan, "types");
	type_rows_totals(&rows, totals);
	render_object(&scan->render, "totals", type_totals, totals,
		      NUM_TYPE_TOTALS);
	coverage_json(&scan->render, counts.coverage);
	print_table(scan, &rows);
	render_gap(&scan->render);
	coverage_lines(&scan->render, counts.coverage);
	type_rows_inexact(&rows, &scan->render);
	render_end(&scan->render);
	if (rows.num_rows == 0)
		scan_remark(scan, "no type of the dump passes the filters");
	type_rows_gate(&rows, scan);
	type_rows_deinit(&rows);
	return NULL;
}
