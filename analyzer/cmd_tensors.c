/*
 * `tensors`: what PyTorch's tensors hold, and what each of them is for.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/allocator.h"
#include "analyzer/cmd.h"
#include "analyzer/scan_progress.h"
#include "analyzer/tensor_rows.h"
#include "image/base/guard.h"
#include "image/base/units.h"

static const struct column tensor_columns[NUM_TENSOR_COLUMNS] = {
	[TENSOR_BYTES] = { .key = "bytes", .title = "bytes", .unit = UNIT_BYTES,
		.about = "of its storage; of equal ones together, each storage "
			 "once" },
	[TENSOR_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "in text without --each: tensors that are equal in "
			 "all but where they are" },
	[TENSOR_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "of its Python object; of what only C++ holds, of its "
			 "TensorImpl", .width = 18 },
	[TENSOR_ROLE] = { .key = "role", .title = "role", .unit = UNIT_TEXT,
		.about = "parameter, gradient, optimizer (its state), buffer, "
			 "input (received from another process), activation (a "
			 "result that backward() can go back through, or saved "
			 "for it), array (NumPy's) or other", .whole = true },
	[TENSOR_DTYPE] = { .key = "dtype", .title = "dtype", .unit = UNIT_TEXT,
		.about = "of its items", .whole = true },
	[TENSOR_SHAPE] = { .key = "shape", .title = "shape", .unit = UNIT_TEXT,
		.about = "its sizes: [32, 64]; of sparse and other kinds absent",
		.no_key = true },
	[TENSOR_STRIDES] = { .key = "strides", .title = "strides", .unit = UNIT_TEXT,
		.about = "items from one to the next, of each dimension",
		.hidden = true, .no_key = true },
	[TENSOR_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT,
		.about = "where its data is", .whole = true },
	[TENSOR_VIEW] = { .key = "view", .title = "view", .unit = UNIT_BOOL,
		.about = "another tensor has the same storage, and counts for "
			 "it", .no_key = true },
	[TENSOR_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "class of its Python object, or in C++" },
	[TENSOR_PATH] = { .key = "path", .title = "path", .unit = UNIT_TEXT,
		.about = "where it is found; of equal ones with * for what "
			 "differs; graph: in which node of autograd's",
		.no_key = true },
	[TENSOR_MEMORY] = { .key = "memory", .title = "memory", .unit = UNIT_TEXT,
		.about = "pinned, shared (and as what), file, numpy (an array's), "
			 "borrowed (of other code), ipc; else the device's "
			 "own", .hidden = true, .no_key = true },
	[TENSOR_DATA] = { .key = "data_ptr", .title = "data", .unit = UNIT_ADDRESS,
		.about = "of its first item", .hidden = true, .no_key = true },
	[TENSOR_STORAGE] = { .key = "storage", .title = "storage", .unit = UNIT_ADDRESS,
		.about = "where the data of its storage begins: the same for "
			 "all that share it", .hidden = true, .no_key = true },
	[TENSOR_BLOCK] = { .key = "block", .title = "block", .unit = UNIT_ADDRESS,
		.about = "of the caching allocator, that its storage is in: as "
			 "allocator --blocks has it", .hidden = true,
		.no_key = true },
	[TENSOR_REQUIRES_GRAD] = { .key = "requires_grad", .title = "grad?", .unit = UNIT_BOOL,
		.about = "as the tensor itself says", .hidden = true,
		.no_key = true },
	[TENSOR_GRAD] = { .key = "grad", .title = "grad", .unit = UNIT_ADDRESS,
		.about = "data_ptr of its gradient", .hidden = true,
		.no_key = true },
	[TENSOR_GRAD_FN] = { .key = "grad_fn", .title = "of", .unit = UNIT_TEXT,
		.about = "the function whose result it is", .hidden = true,
		.no_key = true },
	[TENSOR_HELD] = { .key = "held", .title = "held", .unit = UNIT_TEXT,
		.about = "by what: python, graph (autograd's), tensor (another "
			 "one), c++", .hidden = true, .no_key = true },
	[TENSOR_IMPL] = { .key = "impl", .title = "impl", .unit = UNIT_ADDRESS,
		.about = "address of its c10::TensorImpl", .hidden = true,
		.no_key = true },
};

static const struct column tensor_totals[NUM_TOTALS] = {
	[TOTAL_COUNT] = { .key = "count", .unit = UNIT_COUNT,
		.about = "tensors that the filters let through" },
	[TOTAL_STORAGES] = { .key = "storages", .unit = UNIT_COUNT,
		.about = "that they have, each once" },
	[TOTAL_BYTES] = { .key = "bytes", .unit = UNIT_BYTES,
		.about = "of these storages" },
	[TOTAL_CPU] = { .key = "cpu", .unit = UNIT_BYTES,
		.about = "of that, in the process's own memory" },
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
	[TOTAL_UNREAD] = { .key = "unread", .unit = UNIT_COUNT,
		.about = "tensors that cannot be read" },
	[TOTAL_RELEASED] = { .key = "released", .unit = UNIT_COUNT,
		.about = "tensors that are gone but for weak references" },
	[TOTAL_BARE] = { .key = "bare", .unit = UNIT_BYTES,
		.about = "of storages that no tensor has; not in bytes" },
	[TOTAL_NODES] = { .key = "nodes", .unit = UNIT_COUNT,
		.about = "of autograd's graph" },
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

/* --- cells --------------------------------------------------------------------------- */

enum {
	NUMBER_MAX = 24,	/* characters of one, with what follows it */
	LIST_MAX = TORCH_DIMENSIONS_MAX * NUMBER_MAX + 3,
};

/* What cells are borrowed from. */
struct texts {
	struct torch_tensor read;
	char shape[LIST_MAX], strides[LIST_MAX];
	char grad_fn[TORCH_CLASS_MAX], path[TENSOR_PATH_MAX],
		memory[TENSOR_PATH_MAX];
	struct tensor_row_texts keys;
};

/** "[32, 64]" */
static const char *list_text(const int64_t *numbers, uint32_t count,
			     char text[LIST_MAX])
{
	size_t used = 1;

	text[0] = '[';
	for (uint32_t i = 0; i < count; i++)
		used += (size_t)snprintf(text + used, LIST_MAX - used,
					 "%s%" PRId64, i ? ", " : "",
					 numbers[i]);
	(void)snprintf(text + used, LIST_MAX - used, "]");
	return text;
}

static void fill_shape(const struct tensor_rows *view, uint32_t number,
		       struct texts *texts, struct cell *cells)
{
	struct torch_tensor *read = &texts->read;

	if (!tensors_read(view->tensors, number, read) || !read->has_shape)
		return;
	cells[TENSOR_SHAPE] = cell_text(list_text(
		read->sizes, read->num_dimensions, texts->shape));
	cells[TENSOR_STRIDES] = cell_text(list_text(
		read->strides, read->num_dimensions, texts->strides));
}

/** data_ptr of the gradient, where a Python object stands for it or not. */
static struct cell grad_cell(const struct tensor_rows *view,
			     const struct tensor *tensor)
{
	uint64_t data;

	return tensors_data_of(view->tensors, tensor->grad, &data) ?
		       cell_number(UNIT_ADDRESS, data) : cell_unknown();
}

static const char *held_text(enum tensor_held held)
{
	static const char *const names[] = {
		[TENSOR_BY_PYTHON] = "python", [TENSOR_BY_GRAPH] = "graph",
		[TENSOR_BY_TENSOR] = "tensor", [TENSOR_BY_CXX] = "c++",
	};

	return names[held];
}

static struct error *fill(const struct tensor_rows *view,
			  const struct tensor_row *row, struct texts *texts,
			  struct cell cells[NUM_TENSOR_COLUMNS])
{
	const struct tensor *tensor = &view->all.items[row->tensor];
	struct error *err;
	uint64_t block;

	for (int i = 0; i < NUM_TENSOR_COLUMNS; i++)
		cells[i] = tensor_row_key(view, row, i, &texts->keys);
	if (tensor->storage != TENSORS_NONE) {
		const struct tensor_storage *storage =
			&view->all.storages[tensor->storage];

		cells[TENSOR_STORAGE] = cell_number(UNIT_ADDRESS,
						    storage->read.data);
		cells[TENSOR_DATA] = cell_number(UNIT_ADDRESS, tensor->data);
		if (view->allocator &&
		    allocator_block(view->allocator, &storage->read, &block))
			cells[TENSOR_BLOCK] = cell_number(UNIT_ADDRESS, block);
		cells[TENSOR_MEMORY] = cell_text(
			tensor_memory_text(storage, texts->memory));
	}
	cells[TENSOR_VIEW] = cell_number(UNIT_BOOL, tensor->view);
	cells[TENSOR_HELD] = cell_text(held_text(tensor->held));
	if (!tensor->array)
		cells[TENSOR_IMPL] = cell_number(UNIT_ADDRESS,
						 tensor->address);
	if (tensor->knows_requires_grad)
		cells[TENSOR_REQUIRES_GRAD] = cell_number(
			UNIT_BOOL, tensor->requires_grad);
	cells[TENSOR_GRAD] = grad_cell(view, tensor);
	cells[TENSOR_GRAD_FN] = cell_text(tensors_grad_fn(
		view->tensors, row->tensor, texts->grad_fn));
	fill_shape(view, row->tensor, texts, cells);
	err = view->grouped && row->count > 1 ?
		tensors_starred(view->tensors, row->tensor, texts->path) :
		tensors_path(view->tensors, row->tensor, texts->path);
	cells[TENSOR_PATH] = cell_text(*texts->path ? texts->path : NULL);
	return err;
}

/* --- printing ------------------------------------------------------------------------ */

static const struct column *columns_of(const struct tensor_rows *view)
{
	static struct column columns[NUM_TENSOR_COLUMNS];

	memcpy(columns, tensor_columns, sizeof(columns));
	columns[TENSOR_COUNT].hidden = columns[TENSOR_COUNT].absent =
		!view->grouped;
	columns[TENSOR_ADDRESS].hidden = view->grouped;
	columns[TENSOR_VIEW].hidden = view->grouped;
	columns[TENSOR_TYPE].hidden = view->grouped;
	return columns;
}

static void print_more(struct tensor_rows *view, size_t shown)
{
	struct cell cells[NUM_TENSOR_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];
	uint64_t bytes = 0, count = 0;

	for (size_t i = shown; i < view->count; i++) {
		bytes += view->items[i].bytes;
		count += view->items[i].count;
	}
	for (int i = 0; i < NUM_TENSOR_COLUMNS; i++)
		cells[i] = cell_unknown();
	(void)snprintf(text, sizeof(text), "%s more tensor%s",
		       units_count(count, number), count == 1 ? "" : "s");
	if (view->grouped)
		cells[TENSOR_BYTES] = cell_number(UNIT_BYTES, bytes);
	cells[TENSOR_PATH] = cell_text(text);
	render_rest(&view->scan->render, cells);
}

static struct error *print_rows(struct tensor_rows *view, struct texts *texts)
{
	struct scan *scan = view->scan;
	uint64_t top = scan->options->top;
	struct cell cells[NUM_TENSOR_COLUMNS];
	struct error *err = NULL;
	size_t shown = 0;

	for (; !err && shown < view->count && (top == 0 || shown < top) &&
	       !scan_unread(scan); shown++) {
		err = fill(view, &view->items[shown], texts, cells);
		if (!err)
			render_row(&scan->render, cells);
	}
	if (view->count > shown)
		print_more(view, shown);
	return err;
}

static void put_remarks(const struct tensor_rows *view)
{
	static const struct {
		int total;
		const char *name;
	} parts[] = {
		{ TOTAL_PARAMETERS, "parameters" }, { TOTAL_GRADIENTS, "gradients" },
		{ TOTAL_OPTIMIZER, "optimizer" }, { TOTAL_BUFFERS, "buffers" },
		{ TOTAL_INPUTS, "inputs" }, { TOTAL_ACTIVATIONS, "activations" },
		{ TOTAL_ARRAYS, "arrays" }, { TOTAL_REST, "other" },
	};
	struct render *render = &view->scan->render;
	char line[256] = "", text[UNITS_TEXT_MAX], more[UNITS_TEXT_MAX];
	size_t used = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (view->totals[parts[i].total])
			used += (size_t)snprintf(
				line + used, sizeof(line) - used, "%s%s %s",
				used ? ", " : "", parts[i].name,
				units_size(view->totals[parts[i].total], text));
	render_gap(render);
	if (*line)
		render_line(render, "%s", line);
	if (view->totals[TOTAL_CXX])
		render_line(render, "%s held by C++ alone%s%s",
			    units_count(view->totals[TOTAL_CXX], text),
			    view->totals[TOTAL_CXX_BYTES] ? ", " : "",
			    view->totals[TOTAL_CXX_BYTES] ?
				    units_size(view->totals[TOTAL_CXX_BYTES],
					       more) : "");
	if (view->all.bare_bytes)
		render_line(render, "storages without a tensor: %s",
			    units_size(view->all.bare_bytes, text));
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
	CLEANUP(free_pointer) struct texts *cells = calloc(1, sizeof(*cells));
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
			    "no Python object of the dump stands for a tensor "
			    "of PyTorch");
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

/** The allocator of GPU memory, where a tensor has some. */
static struct error *find_blocks(struct tensor_rows *view,
				 struct allocator **ret)
{
	for (size_t i = 0; i < view->all.num_storages; i++)
		if (view->all.storages[i].read.device != 0 &&
		    view->all.storages[i].read.data != 0)
			return allocator_open(view->scan->opened, false, false,
					      ret);
	return NULL;
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
