/*
 * `suspects`: leak suspects in words.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/suspect_lines.h"
#include "analyzer/suspects.h"

enum suspect_column {
	SUSPECT_COLUMN_PATH,
	SUSPECT_COLUMN_SENTENCE,
	SUSPECT_COLUMN_RETAINED,
	SUSPECT_COLUMN_SHARE,
	SUSPECT_COLUMN_PATTERN,
	SUSPECT_COLUMN_EVIDENCE,
	SUSPECT_COLUMN_ADDRESS,
	SUSPECT_COLUMN_TYPE,
	SUSPECT_COLUMN_ELEMENT,
	SUSPECT_COLUMN_COUNT,
	NUM_SUSPECT_COLUMNS
};

static const struct column suspect_columns[NUM_SUSPECT_COLUMNS] = {
	[SUSPECT_COLUMN_PATH] = { .key = "path", .title = "path", .unit = UNIT_TEXT,
		.about = "to the object where it piles up; absent where there is "
			 "no such object" },
	[SUSPECT_COLUMN_SENTENCE] = { .key = "sentence", .title = "sentence", .unit = UNIT_TEXT,
		.about = "what it is, and how much it keeps" },
	[SUSPECT_COLUMN_RETAINED] = { .key = "retained", .title = "retained", .unit = UNIT_BYTES,
		.about = "what would go with it" },
	[SUSPECT_COLUMN_SHARE] = { .key = "share", .title = "share", .unit = UNIT_SHARE,
		.about = "of the memory in question: RSS where that is known, "
			 "else all objects" },
	[SUSPECT_COLUMN_PATTERN] = { .key = "pattern", .title = "pattern", .unit = UNIT_TEXT,
		.about = "the known kind of leak that it looks like" },
	[SUSPECT_COLUMN_EVIDENCE] = { .key = "evidence", .title = "evidence", .unit = UNIT_TEXT,
		.about = "why it is named" },
	[SUSPECT_COLUMN_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "of the object where it piles up" },
	[SUSPECT_COLUMN_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "of that object" },
	[SUSPECT_COLUMN_ELEMENT] = { .key = "element", .title = "element", .unit = UNIT_TEXT,
		.about = "the type that piles up" },
	[SUSPECT_COLUMN_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "objects of that type" },
};

enum { TOTAL_SUSPECTS, TOTAL_MEMORY, TOTAL_GARBAGE, TOTAL_UNEXPLAINED,
       NUM_TOTALS };

static const struct column suspect_totals[NUM_TOTALS] = {
	[TOTAL_SUSPECTS] = { .key = "suspects", .unit = UNIT_COUNT,
		.about = "how many stand out" },
	[TOTAL_MEMORY] = { .key = "memory", .unit = UNIT_BYTES,
		.about = "the memory in question" },
	[TOTAL_GARBAGE] = { .key = "garbage", .unit = UNIT_BYTES,
		.about = "what gc.collect() would free" },
	[TOTAL_UNEXPLAINED] = { .key = "unexplained", .unit = UNIT_COUNT,
		.about = "objects that native code holds" },
};

static struct error *run(struct scan *scan);

const struct view cmd_suspects_view = {
	.name = "suspects",
	.bit = VIEW_SUSPECTS,
	.about = "leak suspects in words: where memory piles up, and why",
	.columns = suspect_columns,
	.num_columns = NUM_SUSPECT_COLUMNS,
	.totals = suspect_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"At most three, each with at least a twentieth of the memory in question and 4\n"
"MiB. That none stands out is an answer.\n",
};

static void suspect_cells(const struct analysis *analysis,
			  const struct suspect *suspect,
			  struct cell cells[NUM_SUSPECT_COLUMNS])
{
	const struct heapgraph *heap = analysis->heap;

	for (int i = 0; i < NUM_SUSPECT_COLUMNS; i++)
		cells[i] = cell_unknown();
	if (suspect->object != GRAPH_NONE) {
		cells[SUSPECT_COLUMN_PATH] = cell_text(suspect->path);
		cells[SUSPECT_COLUMN_ADDRESS] = cell_number(
			UNIT_ADDRESS,
			heapgraph_address(heap, suspect->object));
		cells[SUSPECT_COLUMN_TYPE] = cell_text(
			heapgraph_type(heap, suspect->object)->name);
	}
	cells[SUSPECT_COLUMN_SENTENCE] = cell_text(suspect->sentence);
	cells[SUSPECT_COLUMN_RETAINED] = cell_number(UNIT_BYTES,
						     suspect->retained);
	cells[SUSPECT_COLUMN_SHARE] = cell_share(suspect->share);
	cells[SUSPECT_COLUMN_PATTERN] = cell_text(
		suspect_pattern_name(suspect->pattern));
	cells[SUSPECT_COLUMN_EVIDENCE] = cell_text(suspect->evidence);
	if (suspect->element)
		cells[SUSPECT_COLUMN_ELEMENT] =
			cell_text(suspect->element->name);
	if (suspect->elements)
		cells[SUSPECT_COLUMN_COUNT] = cell_number(UNIT_COUNT,
							  suspect->elements);
}

static struct error *run(struct scan *scan)
{
	struct render *render = &scan->render;
	const struct analysis *analysis;
	struct cell cells[NUM_SUSPECT_COLUMNS], totals[NUM_TOTALS];
	struct suspects suspects;
	struct error *err = analysis_of(scan->opened,
					ANALYSIS_TREE | ANALYSIS_CYCLES,
					&analysis);

	if (!err)
		err = suspects_find(scan->opened, analysis,
				    scan->options->values, &suspects);
	if (err)
		return err;
	scan_begin(scan, "suspects");
	totals[TOTAL_SUSPECTS] = cell_number(UNIT_COUNT, suspects.count);
	totals[TOTAL_MEMORY] = cell_number(UNIT_BYTES, suspects.memory);
	totals[TOTAL_GARBAGE] = cell_number(UNIT_BYTES, suspects.garbage_bytes);
	totals[TOTAL_UNEXPLAINED] = cell_number(UNIT_COUNT,
						suspects.unexplained);
	render_object(render, "totals", suspect_totals, totals, NUM_TOTALS);
	if (render_for_people(render))
		suspect_lines(render, &suspects, NULL);
	else
		render_table(render, &(struct table_spec){
			.json_key = "rows", .title = "SUSPECTS",
			.columns = suspect_columns,
			.num_columns = NUM_SUSPECT_COLUMNS });
	for (size_t i = 0; i < suspects.count; i++) {
		suspect_cells(analysis, &suspects.list[i], cells);
		gate_row(&scan->gate, cells);
		if (!render_for_people(render))
			render_row(render, cells);
	}
	if (!render_for_people(render))
		render_table_end(render);
	render_end(render);
	gate_totals(&scan->gate, totals);
	return NULL;
}
