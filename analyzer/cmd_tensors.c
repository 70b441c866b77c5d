/*
 * `tensors`: what PyTorch's tensors hold, and what each of them is for.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/scan_progress.h"
#include "analyzer/tensors.h"
#include "analyzer/typefilter.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum tensor_column {
	TENSOR_BYTES,
	TENSOR_COUNT,		/* of equal ones */
	TENSOR_ADDRESS,
	TENSOR_ROLE,
	TENSOR_DTYPE,
	TENSOR_SHAPE,
	TENSOR_STRIDES,
	TENSOR_DEVICE,
	TENSOR_VIEW,
	TENSOR_TYPE,
	TENSOR_PATH,
	TENSOR_DATA,
	TENSOR_STORAGE,
	TENSOR_REQUIRES_GRAD,
	TENSOR_GRAD,
	TENSOR_GRAD_FN,
	NUM_TENSOR_COLUMNS
};

static const struct column tensor_columns[NUM_TENSOR_COLUMNS] = {
	[TENSOR_BYTES] = { .key = "bytes", .title = "bytes", .unit = UNIT_BYTES,
		.about = "of its storage; of equal ones together, each storage "
			 "once" },
	[TENSOR_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "in text without --each: tensors that are equal in "
			 "all but where they are", .no_key = true },
	[TENSOR_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "of its Python object", .no_key = true, .width = 18 },
	[TENSOR_ROLE] = { .key = "role", .title = "role", .unit = UNIT_TEXT,
		.about = "parameter, gradient, optimizer (its state), buffer, "
			 "activation (a result that backward() can go back "
			 "through) or other", .no_key = true, .whole = true },
	[TENSOR_DTYPE] = { .key = "dtype", .title = "dtype", .unit = UNIT_TEXT,
		.about = "of its items", .no_key = true, .whole = true },
	[TENSOR_SHAPE] = { .key = "shape", .title = "shape", .unit = UNIT_TEXT,
		.about = "its sizes: [32, 64]; of sparse and other kinds absent",
		.no_key = true },
	[TENSOR_STRIDES] = { .key = "strides", .title = "strides", .unit = UNIT_TEXT,
		.about = "items from one to the next, of each dimension",
		.hidden = true, .no_key = true },
	[TENSOR_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT,
		.about = "where its data is", .no_key = true, .whole = true },
	[TENSOR_VIEW] = { .key = "view", .title = "view", .unit = UNIT_BOOL,
		.about = "another tensor has the same storage, and counts for "
			 "it", .no_key = true },
	[TENSOR_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "class of its Python object", .no_key = true },
	[TENSOR_PATH] = { .key = "path", .title = "path", .unit = UNIT_TEXT,
		.about = "where it is found; of equal ones the first of the "
			 "largest", .no_key = true },
	[TENSOR_DATA] = { .key = "data_ptr", .title = "data", .unit = UNIT_ADDRESS,
		.about = "of its first item", .hidden = true, .no_key = true },
	[TENSOR_STORAGE] = { .key = "storage", .title = "storage", .unit = UNIT_ADDRESS,
		.about = "where the data of its storage begins: the same for "
			 "all that share it", .hidden = true, .no_key = true },
	[TENSOR_REQUIRES_GRAD] = { .key = "requires_grad", .title = "grad?", .unit = UNIT_BOOL,
		.about = "as the tensor itself says", .hidden = true,
		.no_key = true },
	[TENSOR_GRAD] = { .key = "grad", .title = "grad", .unit = UNIT_ADDRESS,
		.about = "data_ptr of its gradient", .hidden = true,
		.no_key = true },
	[TENSOR_GRAD_FN] = { .key = "grad_fn", .title = "of", .unit = UNIT_TEXT,
		.about = "the function whose result it is", .hidden = true,
		.no_key = true },
};

enum {
	TOTAL_COUNT, TOTAL_STORAGES, TOTAL_BYTES, TOTAL_CPU, TOTAL_OTHER_DEVICES,
	TOTAL_PARAMETERS, TOTAL_GRADIENTS, TOTAL_OPTIMIZER, TOTAL_BUFFERS,
	TOTAL_ACTIVATIONS, TOTAL_REST, TOTAL_UNREAD,
	NUM_TOTALS
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
	[TOTAL_ACTIVATIONS] = { .key = "activations", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_REST] = { .key = "other", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_UNREAD] = { .key = "unread", .unit = UNIT_COUNT,
		.about = "objects whose tensors cannot be read" },
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
"Tensors that Python objects stand for, those with the largest storages first.\n"
"Several may share one storage: it counts once, for the one that has all of it.\n"
"In text, tensors of one role, type, dtype, shape and device make one row; --each\n"
"and the other formats have a row for each. Paths go by the names that modules\n"
"have for what is in them. What only C++ code holds (saved for backward()) is not\n"
"shown, nor are the data of other devices.\n",
};

struct view_row {
	uint32_t tensor;	/* its number; of equal ones the first */
	uint64_t bytes;		/* that it counts for; of a tensor alone those of
				   its storage */
	uint64_t count;
};

struct tensor_view {
	struct scan *scan;
	struct tensors *tensors;
	struct tensors_found all;
	struct view_row *rows;
	size_t num_rows;
	uint64_t totals[NUM_TOTALS];
	bool grouped;
};

/* --- rows --------------------------------------------------------------------------- */

static uint64_t storage_bytes(const struct tensor_view *view,
			      const struct tensor *tensor)
{
	return tensor->storage == TENSORS_NONE ? 0 :
		       view->all.storages[tensor->storage].bytes;
}

static void add_up(struct tensor_view *view, const struct tensor *tensor,
		   uint64_t bytes)
{
	static const int of_roles[] = {
		[TENSOR_OTHER] = TOTAL_REST,
		[TENSOR_PARAMETER] = TOTAL_PARAMETERS,
		[TENSOR_GRADIENT] = TOTAL_GRADIENTS,
		[TENSOR_OPTIMIZER] = TOTAL_OPTIMIZER,
		[TENSOR_BUFFER] = TOTAL_BUFFERS,
		[TENSOR_ACTIVATION] = TOTAL_ACTIVATIONS,
	};
	uint8_t device = view->all.storages[tensor->storage].device;

	view->totals[TOTAL_STORAGES]++;
	view->totals[TOTAL_BYTES] += bytes;
	view->totals[device ? TOTAL_OTHER_DEVICES : TOTAL_CPU] += bytes;
	view->totals[of_roles[tensor->role]] += bytes;
}

/** Each tensor that the filters let through; those that count first. */
static struct error *take_rows(struct tensor_view *view)
{
	const struct options *options = view->scan->options;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	CLEANUP(free_pointer) uint8_t *seen =
		calloc(view->all.num_storages + 1, 1);
	struct error *err = typefilter_create(options->type, options->match,
					      &filter);

	view->rows = calloc(view->all.count + 1, sizeof(*view->rows));
	if (!err && (!view->rows || !seen))
		err = error_no_memory();
	for (size_t i = 0; !err && i < view->all.count * 2; i++) {
		size_t number = i % view->all.count;
		const struct tensor *tensor = &view->all.items[number];
		uint64_t bytes = storage_bytes(view, tensor);
		const struct pyh_type *type;
		bool pass;

		if (tensor->view != (i >= view->all.count) ||
		    bytes < options->min_size)
			continue;
		(void)tensors_object(view->tensors, number, &type);
		err = typefilter_pass(filter, type, &pass);
		if (err || !pass)
			continue;
		view->totals[TOTAL_COUNT]++;
		if (tensor->storage != TENSORS_NONE && !seen[tensor->storage]) {
			seen[tensor->storage] = 1;
			add_up(view, tensor, bytes);
		} else if (view->grouped) {
			bytes = 0;
		}
		view->rows[view->num_rows++] = (struct view_row){
			.tensor = (uint32_t)number, .bytes = bytes,
			.count = 1 };
	}
	return err;
}

/** Equal ones: 0. */
static int by_kind(const struct tensor_view *view, uint32_t a, uint32_t b)
{
	const struct tensor *x = &view->all.items[a], *y = &view->all.items[b];
	const struct pyh_type *types[2];

	if (x->role != y->role)
		return x->role < y->role ? -1 : 1;
	if (x->shape_hash != y->shape_hash)
		return x->shape_hash < y->shape_hash ? -1 : 1;
	(void)tensors_object(view->tensors, a, &types[0]);
	(void)tensors_object(view->tensors, b, &types[1]);
	return types[0]->id < types[1]->id ? -1 : types[0]->id > types[1]->id;
}

/** Equal ones together, the one with most bytes first. */
static int in_groups(const void *a, const void *b, void *context)
{
	const struct view_row *x = a, *y = b;
	int order = by_kind(context, x->tensor, y->tensor);

	if (order)
		return order;
	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static int largest_first(const void *a, const void *b, void *context)
{
	const struct view_row *x = a, *y = b;
	const struct tensor_view *view = context;
	bool of_x = view->all.items[x->tensor].view;
	bool of_y = view->all.items[y->tensor].view;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	if (of_x != of_y)
		return of_x ? 1 : -1;
	return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static void group_rows(struct tensor_view *view)
{
	size_t kept = 0;

	qsort_r(view->rows, view->num_rows, sizeof(*view->rows), in_groups,
		view);
	for (size_t i = 0; i < view->num_rows; i++) {
		const struct view_row *row = &view->rows[i];

		if (kept > 0 && by_kind(view, view->rows[kept - 1].tensor,
					row->tensor) == 0) {
			view->rows[kept - 1].bytes += row->bytes;
			view->rows[kept - 1].count++;
		} else {
			view->rows[kept++] = *row;
		}
	}
	view->num_rows = kept;
}

/* --- cells --------------------------------------------------------------------------- */

enum {
	NUMBER_MAX = 24,	/* characters of one, with what follows it */
	LIST_MAX = TORCH_DIMENSIONS_MAX * NUMBER_MAX + 3,
};

/* What cells are borrowed from. */
struct texts {
	struct torch_tensor read;
	char shape[LIST_MAX], strides[LIST_MAX];
	char device[32], grad_fn[TORCH_CLASS_MAX], path[TENSOR_PATH_MAX];
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

static const char *device_text(const struct tensor *tensor, char text[32])
{
	const char *name = torch_device_name(tensor->device);

	if (!name)
		return NULL;
	if (tensor->index < 0 || tensor->device == 0)
		return name;
	(void)snprintf(text, 32, "%s:%d", name, tensor->index);
	return text;
}

static void fill_shape(const struct tensor_view *view, uint32_t number,
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
static struct cell grad_cell(const struct tensor_view *view,
			     const struct tensor *tensor)
{
	uint64_t data;

	return tensors_data_of(view->tensors, tensor->grad, &data) ?
		       cell_number(UNIT_ADDRESS, data) : cell_unknown();
}

static struct error *fill(const struct tensor_view *view,
			  const struct view_row *row, struct texts *texts,
			  struct cell cells[NUM_TENSOR_COLUMNS])
{
	const struct tensor *tensor = &view->all.items[row->tensor];
	const struct pyh_type *type;
	struct error *err;

	for (int i = 0; i < NUM_TENSOR_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[TENSOR_ADDRESS] = cell_number(
		UNIT_ADDRESS, tensors_object(view->tensors, row->tensor, &type));
	cells[TENSOR_TYPE] = cell_text(type->name);
	if (tensor->storage != TENSORS_NONE) {
		const struct torch_storage *storage =
			&view->all.storages[tensor->storage];

		cells[TENSOR_BYTES] = cell_number(UNIT_BYTES, row->bytes);
		cells[TENSOR_STORAGE] = cell_number(UNIT_ADDRESS,
						    storage->data);
		cells[TENSOR_DATA] = cell_number(UNIT_ADDRESS, tensor->data);
	}
	cells[TENSOR_COUNT] = cell_number(UNIT_COUNT, row->count);
	cells[TENSOR_ROLE] = cell_text(tensor_role_name(tensor->role));
	cells[TENSOR_DTYPE] = cell_text(torch_dtype_name(tensor->dtype));
	cells[TENSOR_DEVICE] = cell_text(device_text(tensor, texts->device));
	cells[TENSOR_VIEW] = cell_number(UNIT_BOOL, tensor->view);
	if (tensor->knows_requires_grad)
		cells[TENSOR_REQUIRES_GRAD] = cell_number(
			UNIT_BOOL, tensor->requires_grad);
	cells[TENSOR_GRAD] = grad_cell(view, tensor);
	cells[TENSOR_GRAD_FN] = cell_text(tensors_grad_fn(
		view->tensors, row->tensor, texts->grad_fn));
	fill_shape(view, row->tensor, texts, cells);
	err = tensors_path(view->tensors, row->tensor, texts->path);
	cells[TENSOR_PATH] = cell_text(*texts->path ? texts->path : NULL);
	return err;
}

/* --- printing ------------------------------------------------------------------------ */

static const struct column *columns_of(const struct tensor_view *view)
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

static void print_more(struct tensor_view *view, size_t shown)
{
	struct cell cells[NUM_TENSOR_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];
	uint64_t bytes = 0, count = 0;

	for (size_t i = shown; i < view->num_rows; i++) {
		bytes += view->rows[i].bytes;
		count += view->rows[i].count;
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

static struct error *print_rows(struct tensor_view *view, struct texts *texts)
{
	struct scan *scan = view->scan;
	uint64_t top = scan->options->top;
	struct cell cells[NUM_TENSOR_COLUMNS];
	struct error *err = NULL;
	size_t shown = 0;

	for (; !err && shown < view->num_rows && (top == 0 || shown < top) &&
	       !scan_unread(scan); shown++) {
		err = fill(view, &view->rows[shown], texts, cells);
		if (!err)
			render_row(&scan->render, cells);
	}
	if (view->num_rows > shown)
		print_more(view, shown);
	return err;
}

static void put_remarks(const struct tensor_view *view)
{
	static const struct {
		int total;
		const char *name;
	} parts[] = {
		{ TOTAL_PARAMETERS, "parameters" }, { TOTAL_GRADIENTS, "gradients" },
		{ TOTAL_OPTIMIZER, "optimizer" }, { TOTAL_BUFFERS, "buffers" },
		{ TOTAL_ACTIVATIONS, "activations" }, { TOTAL_REST, "other" },
	};
	struct render *render = &view->scan->render;
	char line[256] = "", text[UNITS_TEXT_MAX];
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
	if (view->all.unread)
		render_line(render, "of %s objects the tensors cannot be read; "
			    "-v says why", units_count(view->all.unread, text));
}

static struct error *print(struct tensor_view *view)
{
	struct scan *scan = view->scan;
	struct cell totals[NUM_TOTALS];
	char title[128], texts[3][UNITS_TEXT_MAX];
	CLEANUP(free_pointer) struct texts *cells = calloc(1, sizeof(*cells));
	struct error *err;

	if (!cells)
		return error_no_memory();
	view->totals[TOTAL_UNREAD] = view->all.unread;
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

static struct error *run(struct scan *scan)
{
	CLEANUP(tensors_release) struct tensors *tensors = NULL;
	struct tensor_view view = {
		.scan = scan,
		.grouped = !scan->options->each &&
			   (scan->options->format == RENDER_TEXT ||
			    scan->options->format == RENDER_MD),
	};
	struct error *err = tensors_find(scan->opened, scan->options->values,
					 &tensors);

	if (err)
		return err;
	view.tensors = tensors;
	view.all = tensors_found(tensors);
	if (view.all.count > 0)
		err = take_rows(&view);
	if (!err && view.grouped && view.num_rows)
		group_rows(&view);
	if (!err && view.num_rows)
		qsort_r(view.rows, view.num_rows, sizeof(*view.rows),
			largest_first, &view);
	progress_clear();
	if (!err)
		err = print(&view);
	free(view.rows);
	return err;
}
