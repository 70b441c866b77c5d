/*
 * `suspects`: leak suspects in words.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/heap/suspect_rows.h"
#include "analyzer/heap/suspects.h"
#include "analyzer/ledger/ledger.h"
#include "analyzer/show/scan_progress.h"

enum {
	TOTAL_SUSPECTS, TOTAL_MEMORY, TOTAL_GARBAGE, TOTAL_UNEXPLAINED,
	TOTAL_LOST, TOTAL_LOST_BYTES, TOTAL_OBJECTS, TOTAL_REFERENCES,
	NUM_TOTALS
};

static const struct column suspect_totals[NUM_TOTALS] = {
	[TOTAL_SUSPECTS] = { .key = "suspects", .unit = UNIT_COUNT,
		.about = "how many stand out" },
	[TOTAL_MEMORY] = { .key = "memory", .unit = UNIT_BYTES,
		.about = "the memory in question" },
	[TOTAL_GARBAGE] = { .key = "garbage", .unit = UNIT_BYTES,
		.about = "what gc.collect() would free" },
	[TOTAL_UNEXPLAINED] = { .key = "unexplained", .unit = UNIT_COUNT,
		.about = "objects that native code alone holds" },
	[TOTAL_LOST] = { .key = "lost", .unit = UNIT_COUNT,
		.about = "objects that nothing known leads to and that "
			 "gc.collect() would not free" },
	[TOTAL_LOST_BYTES] = { .key = "lost_bytes", .unit = UNIT_BYTES,
		.about = "what the allocators hold for those" },
	[TOTAL_OBJECTS] = { .key = "objects", .unit = UNIT_COUNT,
		.about = "all objects that were looked at" },
	[TOTAL_REFERENCES] = { .key = "references", .unit = UNIT_COUNT,
		.about = "between them" },
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
"MiB. That none stands out is an answer. Data of tensors is held against the\n"
"memory that it is in; that of a device whose memory ran out comes first.\n",
};

/** As the overview has it: without one the numbers would be others. */
static const struct ledger *ledger_if_any(struct scan *scan)
{
	const struct ledger *ledger = NULL;
	struct error *err = ledger_of(scan->opened, /* owners= */ false,
				      &ledger);

	progress_clear();
	if (!err)
		return ledger;
	error_free(err);
	return NULL;
}

static struct error *run(struct scan *scan)
{
	struct render *render = &scan->render;
	const struct analysis *analysis;
	struct cell cells[NUM_SUSPECT_COLUMNS], totals[NUM_TOTALS];
	struct suspect_texts texts;
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
	totals[TOTAL_LOST] = cell_number(UNIT_COUNT, suspects.lost);
	totals[TOTAL_LOST_BYTES] = cell_number(UNIT_BYTES,
					       suspects.lost_bytes);
	totals[TOTAL_OBJECTS] = cell_number(UNIT_COUNT, analysis->heap->count);
	totals[TOTAL_REFERENCES] = cell_number(
		UNIT_COUNT, analysis->heap->graph.num_edges);
	render_object(render, "totals", suspect_totals, totals, NUM_TOTALS);
	if (render_for_people(render))
		(void)suspect_lines(render, &suspects,
				    opened_coverage_if_known(scan->opened),
				    ledger_if_any(scan), NULL);
	else
		suspect_table(render, analysis, &suspects, "rows");
	render_end(render);
	for (size_t i = 0; i < suspects.count; i++) {
		suspect_cells(analysis, &suspects.list[i], &texts, cells);
		gate_row(&scan->gate, cells);
	}
	gate_totals(&scan->gate, totals);
	return NULL;
}
