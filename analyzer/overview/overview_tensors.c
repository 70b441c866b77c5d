/*
 * The section of the overview about tensors; see overview_tensors.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/overview/overview_tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/tensors/tensorcells.h"
#include "image/base/guard.h"
#include "image/base/units.h"

void overview_tensors_gather(struct scan *scan,
			     struct overview_tensors *tensors)
{
	struct tensor_rows *rows = &tensors->rows;

	*tensors = (struct overview_tensors){
		.rows = { .scan = scan, .sort = TENSOR_BYTES, .grouped = true },
	};
	tensors->why_not = tensors_find(scan->opened, &(struct tensors_options){
		.values = scan->options->values }, &rows->tensors);
	if (tensors->why_not)
		return;
	rows->all = tensors_found(rows->tensors);
	tensors->why_not = tensor_rows_make(rows);
}

void overview_tensors_deinit(struct overview_tensors *tensors)
{
	tensor_rows_deinit(&tensors->rows);
	tensors_close(tensors->rows.tensors);
	error_free(tensors->why_not);
	*tensors = (struct overview_tensors){ 0 };
}

static bool has_any(const struct overview_tensors *tensors)
{
	return !tensors->why_not && tensors->rows.totals[TOTAL_BYTES] > 0;
}

bool overview_tensors_lead(const struct overview_tensors *tensors,
			   uint64_t bytes)
{
	const uint64_t *totals = tensors->rows.totals;

	// What was never touched takes nothing.
	return has_any(tensors) && totals[TOTAL_BYTES] - totals[TOTAL_CPU] +
					   totals[TOTAL_RESIDENT] > bytes;
}

static size_t num_shown(const struct overview_tensors *tensors, uint64_t top)
{
	return top == 0 || tensors->rows.count < top ? tensors->rows.count :
						       (size_t)top;
}

unsigned int overview_tensors_lines(const struct overview_tensors *tensors,
				    uint64_t top)
{
	size_t shown = num_shown(tensors, top);

	if (tensors->why_not)
		return 3;
	// Title, a row for the rest, gap.
	return !has_any(tensors) ? 0 :
	       (unsigned int)(shown + 2 + (shown < tensors->rows.count));
}

/** What the screen has room for. */
static void choose_columns(struct column columns[NUM_TENSOR_COLUMNS])
{
	static const enum tensor_column hidden[] = {
		TENSOR_ADDRESS, TENSOR_VIEW, TENSOR_TYPE,
	};

	memcpy(columns, tensor_columns, NUM_TENSOR_COLUMNS * sizeof(*columns));
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++)
		columns[hidden[i]].hidden = true;
}

struct error *overview_tensors_tell(struct scan *scan,
				    const struct overview_tensors *tensors,
				    uint64_t top)
{
	const struct tensor_rows *rows = &tensors->rows;
	CLEANUP(free_pointer) struct tensor_texts *texts =
		calloc(1, sizeof(*texts));
	struct column columns[NUM_TENSOR_COLUMNS];
	struct cell cells[NUM_TENSOR_COLUMNS];
	char title[TENSOR_ROLES_MAX + 32], roles[TENSOR_ROLES_MAX];
	char why[RENDER_NAME_MAX];
	size_t shown = num_shown(tensors, top);
	struct error *err = texts ? NULL : error_no_memory();

	if (tensors->why_not && render_for_people(&scan->render)) {
		render_head(&scan->render, "TENSORS");
		render_line(&scan->render, "  not read: %s",
			    render_name(&scan->render,
					tensors->why_not->message, 100, why));
		render_gap(&scan->render);
	}
	if (err || !has_any(tensors))
		return err;
	(void)snprintf(title, sizeof(title), "TENSORS  %s",
		       tensor_roles_text(rows, roles));
	choose_columns(columns);
	columns[TENSOR_RESIDENT].hidden = !tensor_rows_untouched(rows);
	render_table(&scan->render, &(struct table_spec){
		.json_key = "tensors", .title = title, .see = "tensors",
		.columns = columns, .num_columns = NUM_TENSOR_COLUMNS });
	for (size_t i = 0; !err && i < shown; i++) {
		err = tensor_cells(rows, &rows->items[i], texts, cells);
		if (!err)
			render_row(&scan->render, cells);
	}
	if (!err && shown < rows->count)
		tensor_cells_rest(rows, shown);
	render_table_end(&scan->render);
	render_gap(&scan->render);
	return err;
}
