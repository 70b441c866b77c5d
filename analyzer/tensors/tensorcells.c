/*
 * What a row of `tensors` shows; see tensorcells.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors/tensorcells.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/allocator/allocator.h"
#include "image/base/units.h"

const struct column tensor_columns[NUM_TENSOR_COLUMNS] = {
	[TENSOR_BYTES] = { .key = "bytes", .title = "bytes", .unit = UNIT_BYTES,
		.about = "of its storage; of equal ones together, each storage "
			 "once" },
	[TENSOR_RESIDENT] = { .key = "resident", .title = "in memory", .unit = UNIT_BYTES,
		.about = "of these bytes, those that were: not what was never "
			 "touched; absent of what is on a device, and where the "
			 "dump does not tell", .hidden = true },
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
		.about = "its sizes: [32, 64]; absent of nested ones, and where "
			 "sizes are symbols",
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
			 "one), c++; or \"python, c++\": by both", .hidden = true,
		.no_key = true },
	[TENSOR_OWNER] = { .key = "owner", .title = "owner", .unit = UNIT_TEXT,
		.about = "what of C++ holds it: a class, a library's variable, or "
			 "the type of a Python object that stands for one",
		.hidden = true, .no_key = true },
	[TENSOR_LAYOUT] = { .key = "layout", .title = "layout", .unit = UNIT_TEXT,
		.about = "of its data: strided, sparse_coo, sparse_csr, _mkldnn, "
			 "jagged; absent of wrappers of other tensors",
		.hidden = true, .no_key = true },
	[TENSOR_IMPL] = { .key = "impl", .title = "impl", .unit = UNIT_ADDRESS,
		.about = "address of its c10::TensorImpl", .hidden = true,
		.no_key = true },
};

/** "[32, 64]" */
static const char *list_text(const int64_t *numbers, uint32_t count,
			     char text[TENSOR_LIST_MAX])
{
	size_t used = 1;

	text[0] = '[';
	for (uint32_t i = 0; i < count; i++)
		used += (size_t)snprintf(text + used, TENSOR_LIST_MAX - used,
					 "%s%" PRId64, i ? ", " : "",
					 numbers[i]);
	(void)snprintf(text + used, TENSOR_LIST_MAX - used, "]");
	return text;
}

const char *tensor_shape_text(struct tensors *tensors, size_t i,
			      char text[TENSOR_LIST_MAX])
{
	struct torch_tensor read;

	return tensors_read(tensors, i, &read) && read.has_shape ?
		list_text(read.sizes, read.num_dimensions, text) : NULL;
}

static void fill_shape(const struct tensor_rows *view, uint32_t number,
		       struct tensor_texts *texts, struct cell *cells)
{
	struct torch_tensor *read = &texts->read;

	const char *layout = tensors_layout(view->tensors, number);

	cells[TENSOR_LAYOUT] = cell_text(layout);
	// What is nested as a class in Python knows its sizes there.
	if (!tensors_read(view->tensors, number, read) || !read->has_shape ||
	    (layout && strcmp(layout, "jagged") == 0))
		return;
	cells[TENSOR_SHAPE] = cell_text(list_text(
		read->sizes, read->num_dimensions, texts->shape));
	// Those that are compressed have none.
	if (!layout || strncmp(layout, "sparse_", 7) != 0 ||
	    strcmp(layout, "sparse_coo") == 0)
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

static const char *held_text(const struct tensor *tensor)
{
	static const char *const names[] = {
		[TENSOR_BY_PYTHON] = "python", [TENSOR_BY_GRAPH] = "graph",
		[TENSOR_BY_TENSOR] = "tensor", [TENSOR_BY_CXX] = "c++",
	};

	return tensor->also_cxx ? "python, c++" : names[tensor->held];
}

struct error *tensor_cells(const struct tensor_rows *view,
			   const struct tensor_row *row,
			   struct tensor_texts *texts,
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
	cells[TENSOR_HELD] = cell_text(held_text(tensor));
	cells[TENSOR_OWNER] = cell_text(tensors_owner(view->tensors,
						      row->tensor));
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

void tensor_cells_rest(const struct tensor_rows *view, size_t shown)
{
	struct cell cells[NUM_TENSOR_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];
	uint64_t bytes = 0, resident = 0, count = 0;

	for (size_t i = shown; i < view->count; i++) {
		bytes += view->items[i].bytes;
		resident += view->items[i].resident;
		count += view->items[i].count;
	}
	for (int i = 0; i < NUM_TENSOR_COLUMNS; i++)
		cells[i] = cell_unknown();
	(void)snprintf(text, sizeof(text), "%s more tensor%s",
		       units_count(count, number), count == 1 ? "" : "s");
	if (view->grouped)
		cells[TENSOR_BYTES] = cell_number(UNIT_BYTES, bytes);
	if (view->grouped)
		cells[TENSOR_RESIDENT] = cell_number(UNIT_BYTES, resident);
	cells[TENSOR_PATH] = cell_text(text);
	render_rest(&view->scan->render, cells);
}

const char *tensor_roles_text(const struct tensor_rows *view,
			      char text[TENSOR_ROLES_MAX])
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
	char size[UNITS_TEXT_MAX];
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (view->totals[parts[i].total])
			used += (size_t)snprintf(
				text + used, TENSOR_ROLES_MAX - used, "%s%s %s",
				used ? ", " : "", parts[i].name,
				units_size(view->totals[parts[i].total], size));
	return text;
}
