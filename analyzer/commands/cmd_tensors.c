/*
 * `tensors`: what PyTorch's tensors hold, and what each of them is for.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/allocator/allocator.h"
#include "analyzer/cmd.h"
#include "analyzer/show/scan_progress.h"
#include "analyzer/tensors/tensorcells.h"
#include "image/base/guard.h"
#include "image/base/units.h"

static const struct column tensor_totals[NUM_TOTALS] = {
	[TOTAL_COUNT] = { .key = "count", .unit = UNIT_COUNT,
		.about = "tensors that the filters let through" },
	[TOTAL_STORAGES] = { .key = "storages", .unit = UNIT_COUNT,
		.about = "that they have, each once" },
	[TOTAL_BYTES] = { .key = "bytes", .unit = UNIT_BYTES,
		.about = "of these storages" },
	[TOTAL_CPU] = { .key = "cpu", .unit = UNIT_BYTES,
		.about = "of that, in the process's own memory" },
	[TOTAL_RESIDENT] = { .key = "resident", .unit = UNIT_BYTES,
		.about = "of cpu, what was in memory, or of which that is not "
			 "known" },
	[TOTAL_OTHER_DEVICES] = { .key = "devices", .unit = UNIT_BYTES,
		.about = "of that, in devices'" },
	[TOTAL_PARAMETERS] = { .key = "parameters", .unit = UNIT_BYTES,
		.about = "of that, by role" },
	[TOTAL_GRADIENTS] = { .key = "gradients", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_OPTIMIZER] = { .key = "optimizer", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_BUFFERS] = { .key = "buffers", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_INPUTS] = { .key = "inputs", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_ACTIVATIONS] = { .key = "activations", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_ARRAYS] = { .key = "arrays", .unit = UNIT_BYTES,
		.about = "the same, with --arrays" },
	[TOTAL_REST] = { .key = "other", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_CXX] = { .key = "cxx", .unit = UNIT_COUNT,
		.about = "tensors that no reference of Python holds" },
	[TOTAL_CXX_BYTES] = { .key = "cxx_bytes", .unit = UNIT_BYTES,
		.about = "of storages that only these have" },
	[TOTAL_BOTH] = { .key = "python_and_cxx", .unit = UNIT_COUNT,
		.about = "tensors that Python holds, and C++ beside it" },
	[TOTAL_BOTH_BYTES] = { .key = "python_and_cxx_bytes", .unit = UNIT_BYTES,
		.about = "of storages that are these's" },
	[TOTAL_UNREAD] = { .key = "unread", .unit = UNIT_COUNT,
		.about = "tensors that cannot be read" },
	[TOTAL_RELEASED] = { .key = "released", .unit = UNIT_COUNT,
		.about = "tensors that are gone but for weak references" },
	[TOTAL_BARE] = { .key = "bare", .unit = UNIT_BYTES,
		.about = "of storages that no tensor has; not in bytes" },
	[TOTAL_NODES] = { .key = "nodes", .unit = UNIT_COUNT,
		.about = "of autograd's graph" },
	[TOTAL_CUPY] = { .key = "cupy_allocated", .unit = UNIT_BYTES,
		.about = "what CuPy got from devices, with --arrays" },
	[TOTAL_CUPY_USED] = { .key = "cupy_used", .unit = UNIT_BYTES,
		.about = "of that, what its pools have given out" },
};

static struct error *run(struct scan *scan);

const struct view cmd_tensors_view = {
	.name = "tensors",
	.bit = VIEW_TENSORS,
	.about = "PyTorch's tensors: shape, bytes, what they are for, where",
	.columns = tensor_columns,
	.num_columns = NUM_TENSOR_COLUMNS,
	.totals = tensor_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"Tensors, those with the largest storages first: those that Python objects stand\n"
"for, and those that only C++ code holds, as what is saved for backward().\n"
"Several may share one storage: it counts once, for the one that has all of it.\n"
"In text, tensors of one role, type, dtype, shape, device and path (but for\n"
"numbers in it) make one row; --each and the other formats have a row for each.\n"
"Paths go by the names that modules have for what is in them.\n",
};

/* --- printing ------------------------------------------------------------------------ */

/** Is there a tensor of another layout among the rows that are shown? */
static bool has_layouts(const struct tensor_rows *view)
{
	uint64_t top = view->scan->options->top;

	for (size_t i = 0; i < view->count && (top == 0 || i < top); i++) {
		const char *layout = tensors_layout(view->tensors,
						    view->items[i].tensor);

		if (layout && strcmp(layout, "strided") != 0)
			return true;
	}
	return false;
}

static const struct column *columns_of(const struct tensor_rows *view)
{
	static struct column columns[NUM_TENSOR_COLUMNS];

	memcpy(columns, tensor_columns, sizeof(columns));
	columns[TENSOR_COUNT].hidden = columns[TENSOR_COUNT].absent =
		!view->grouped;
	columns[TENSOR_ADDRESS].hidden = view->grouped;
	columns[TENSOR_VIEW].hidden = view->grouped;
	columns[TENSOR_TYPE].hidden = view->grouped;
	columns[TENSOR_LAYOUT].hidden = !has_layouts(view);
	columns[TENSOR_RESIDENT].hidden = !tensor_rows_untouched(view);
	return columns;
}

static struct error *print_rows(struct tensor_rows *view, struct tensor_texts *texts)
{
	struct scan *scan = view->scan;
	uint64_t top = scan->options->top;
	struct cell cells[NUM_TENSOR_COLUMNS];
	struct error *err = NULL;
	size_t shown = 0;

	for (; !err && shown < view->count && (top == 0 || shown < top) &&
	       !scan_unread(scan); shown++) {
		err = tensor_cells(view, &view->items[shown], texts, cells);
		if (!err)
			render_row(&scan->render, cells);
	}
	if (view->count > shown)
		tensor_cells_rest(view, shown);
	return err;
}

static void put_remarks(const struct tensor_rows *view)
{
	struct render *render = &view->scan->render;
	char roles[TENSOR_ROLES_MAX], text[UNITS_TEXT_MAX];
	char more[UNITS_TEXT_MAX];

	render_gap(render);
	if (*tensor_roles_text(view, roles))
		render_line(render, "%s", roles);
	if (view->totals[TOTAL_CXX])
		render_line(render, "%s held by C++ alone%s%s",
			    units_count(view->totals[TOTAL_CXX], text),
			    view->totals[TOTAL_CXX_BYTES] ? ", " : "",
			    view->totals[TOTAL_CXX_BYTES] ?
				    units_size(view->totals[TOTAL_CXX_BYTES],
					       more) : "");
	if (view->totals[TOTAL_BOTH])
		render_line(render, "%s held by Python and by C++, %s: they stay "
			    "when Python lets go of them",
			    units_count(view->totals[TOTAL_BOTH], text),
			    units_size(view->totals[TOTAL_BOTH_BYTES], more));
	if (view->all.bare_bytes)
		render_line(render, "storages without a tensor: %s",
			    units_size(view->all.bare_bytes, text));
	if (view->all.cupy_allocated)
		render_line(render, "CuPy has %s from devices; its pools have "
			    "given out %s",
			    units_size(view->all.cupy_allocated, text),
			    units_size(view->all.cupy_pooled, more));
	if (view->all.unread)
		render_line(render, "%s tensors cannot be read; -v says why",
			    units_count(view->all.unread, text));
	if (view->all.unswept)
		render_line(render, "C++ may hold more than is known: %s",
			    view->all.unswept);
}

static struct error *print(struct tensor_rows *view)
{
	struct scan *scan = view->scan;
	struct cell totals[NUM_TOTALS];
	char title[128], texts[3][UNITS_TEXT_MAX];
	CLEANUP(free_pointer) struct tensor_texts *cells = calloc(1, sizeof(*cells));
	struct error *err;

	if (!cells)
		return error_no_memory();
	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = cell_number(tensor_totals[i].unit, view->totals[i]);
	scan_begin(scan, "tensors");
	render_object(&scan->render, "totals", tensor_totals, totals,
		      NUM_TOTALS);
	gate_totals(&scan->gate, totals);
	(void)snprintf(title, sizeof(title), "TENSORS  %s in %s storages of %s",
		       units_count(view->totals[TOTAL_COUNT], texts[0]),
		       units_count(view->totals[TOTAL_STORAGES], texts[1]),
		       units_size(view->totals[TOTAL_BYTES], texts[2]));
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = title,
		.columns = columns_of(view),
		.num_columns = NUM_TENSOR_COLUMNS });
	err = print_rows(view, cells);
	render_table_end(&scan->render);
	if (render_for_people(&scan->render))
		put_remarks(view);
	render_end(&scan->render);
	if (view->totals[TOTAL_COUNT] == 0)
		scan_remark(scan, view->all.count ?
			    "no tensor passes the filters" :
			    "the dump has no tensor of PyTorch");
	return err;
}

/** Every row that the filters let through, shown or not. */
static void hold_rows(struct tensor_rows *view)
{
	struct gate *gate = &view->scan->gate;

	for (size_t i = 0; i < view->count && gate_open(gate); i++) {
		struct cell cells[NUM_TENSOR_COLUMNS];
		struct tensor_row_texts texts;

		for (int column = 0; column < NUM_TENSOR_COLUMNS; column++)
			cells[column] = tensor_row_key(view, &view->items[i],
						       column, &texts);
		gate_row(gate, cells);
	}
}

/** The allocator of GPU memory, where a tensor has some; there may be none. */
static struct error *find_blocks(struct tensor_rows *view,
				 struct allocator **ret)
{
	struct error *err = NULL;
	bool any = false;

	for (size_t i = 0; !any && i < view->all.num_storages; i++)
		any = view->all.storages[i].read.device != 0 &&
		      view->all.storages[i].read.data != 0;
	if (any)
		err = allocator_open(view->scan->opened, false, false, ret);
	// What it has is not known then, as `allocator` says.
	if (err && err->kind == ERROR_NOT_FOUND) {
		error_free(err);
		err = NULL;
	}
	return err;
}

static struct error *run(struct scan *scan)
{
	CLEANUP(allocator_release) struct allocator *allocator = NULL;
	CLEANUP(tensors_release) struct tensors *tensors = NULL;
	CLEANUP(tensor_rows_deinit) struct tensor_rows view = {
		.scan = scan, .sort = TENSOR_BYTES,
		.grouped = !scan->options->each &&
			   (scan->options->format == RENDER_TEXT ||
			    scan->options->format == RENDER_MD),
	};
	const char *sort = scan->options->sort;
	struct error *err;

	for (int i = 0; sort && i < NUM_TENSOR_COLUMNS; i++)
		if (strcmp(tensor_columns[i].key, sort) == 0)
			view.sort = i;
	err = tensors_find(scan->opened, &(struct tensors_options){
		.values = scan->options->values,
		.arrays = scan->options->arrays }, &tensors);
	if (err)
		return err;
	view.tensors = tensors;
	view.all = tensors_found(tensors);
	err = find_blocks(&view, &allocator);
	view.allocator = allocator;
	if (!err)
		err = tensor_rows_make(&view);
	progress_clear();
	if (err)
		return err;
	hold_rows(&view);
	return print(&view);
}
