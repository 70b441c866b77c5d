/*
 * Rows of `tensors`; see tensor_rows.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors/tensor_rows.h"

#include <stdio.h>
#include <string.h>

#include "analyzer/heap/typefilter.h"
#include "image/base/guard.h"
#include "image/base/mixhash.h"

static uint64_t storage_bytes(const struct tensor_rows *rows,
			      const struct tensor *tensor)
{
	return tensor->storage == TENSORS_NONE ? 0 :
		       rows->all.storages[tensor->storage].read.bytes;
}

/** What of it was in memory; of devices nothing is. */
static uint64_t storage_resident(const struct tensor_rows *rows,
				 const struct tensor *tensor)
{
	const struct tensor_storage *storage;

	if (tensor->storage == TENSORS_NONE)
		return 0;
	storage = &rows->all.storages[tensor->storage];
	return storage->read.device ? 0 : tensor_storage_takes(storage);
}

static bool knows_resident(const struct tensor_rows *rows,
			   const struct tensor *tensor)
{
	return tensor->storage != TENSORS_NONE &&
	       rows->all.storages[tensor->storage].knows_resident;
}

bool tensor_rows_untouched(const struct tensor_rows *rows)
{
	// A page that is not there at the end of each is no news.
	return rows->totals[TOTAL_RESIDENT] < rows->totals[TOTAL_CPU] / 100 * 99;
}

static void add_up(struct tensor_rows *rows, const struct tensor *tensor,
		   uint64_t bytes)
{
	static const int of_roles[TENSOR_NUM_ROLES] = {
		[TENSOR_OTHER] = TOTAL_REST,
		[TENSOR_PARAMETER] = TOTAL_PARAMETERS,
		[TENSOR_GRADIENT] = TOTAL_GRADIENTS,
		[TENSOR_OPTIMIZER] = TOTAL_OPTIMIZER,
		[TENSOR_BUFFER] = TOTAL_BUFFERS,
		[TENSOR_INPUT] = TOTAL_INPUTS,
		[TENSOR_ACTIVATION] = TOTAL_ACTIVATIONS,
		[TENSOR_ARRAY] = TOTAL_ARRAYS,
	};
	uint8_t device = rows->all.storages[tensor->storage].read.device;

	rows->totals[TOTAL_STORAGES]++;
	rows->totals[TOTAL_BYTES] += bytes;
	rows->totals[device ? TOTAL_OTHER_DEVICES : TOTAL_CPU] += bytes;
	rows->totals[TOTAL_RESIDENT] += storage_resident(rows, tensor);
	rows->totals[of_roles[tensor->role]] += bytes;
	if (tensor->held != TENSOR_BY_PYTHON)
		rows->totals[TOTAL_CXX_BYTES] += bytes;
	if (tensor->also_cxx)
		rows->totals[TOTAL_BOTH_BYTES] += bytes;
}

static struct error *passes(const struct tensor_rows *rows,
			    struct typefilter *filter, uint32_t number,
			    bool *ret)
{
	char text[TORCH_CLASS_MAX];
	const struct pyh_type *type;

	(void)tensors_object(rows->tensors, number, &type);
	return type ? typefilter_pass(filter, type, ret) :
		      typefilter_pass_name(filter,
					   tensors_type(rows->tensors, number,
							text), ret);
}

/** What equal ones have in common, with all numbers in their paths the same. */
static struct error *find_kind(const struct tensor_rows *rows,
			       struct tensor_row *row)
{
	const struct tensor *tensor = &rows->all.items[row->tensor];
	char path[TENSOR_PATH_MAX], text[TORCH_CLASS_MAX];
	const char *type = tensors_type(rows->tensors, row->tensor, text);
	struct error *err = tensors_starred(rows->tensors, row->tensor, path);

	row->kind = mixhash(path, strlen(path),
			    mixhash(type, strlen(type),
				    tensor->shape_hash + tensor->role));
	return err;
}

static struct error *add_row(struct tensor_rows *rows, uint32_t number,
			     uint8_t *seen)
{
	const struct tensor *tensor = &rows->all.items[number];
	uint64_t bytes = storage_bytes(rows, tensor);
	uint64_t resident = storage_resident(rows, tensor);
	struct tensor_row *row = &rows->items[rows->count++];

	rows->totals[TOTAL_COUNT]++;
	rows->totals[TOTAL_CXX] += tensor->held != TENSOR_BY_PYTHON;
	rows->totals[TOTAL_BOTH] += tensor->also_cxx;
	if (tensor->storage != TENSORS_NONE && !seen[tensor->storage]) {
		seen[tensor->storage] = 1;
		add_up(rows, tensor, bytes);
	} else if (rows->grouped) {
		bytes = resident = 0;
	}
	*row = (struct tensor_row){ .tensor = number, .bytes = bytes,
				    .resident = resident, .count = 1,
				    .knows_resident =
					    knows_resident(rows, tensor) };
	return rows->grouped ? find_kind(rows, row) : NULL;
}

/** Each tensor that the filters let through; those that count first. */
static struct error *take_rows(struct tensor_rows *rows)
{
	const struct options *options = rows->scan->options;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	CLEANUP(free_pointer) uint8_t *seen =
		calloc(rows->all.num_storages + 1, 1);
	struct error *err = typefilter_create(options->type, options->match,
					      &filter);

	rows->items = calloc(rows->all.count + 1, sizeof(*rows->items));
	if (!err && (!rows->items || !seen))
		err = error_no_memory();
	for (size_t i = 0; !err && i < rows->all.count * 2; i++) {
		uint32_t number = (uint32_t)(i % rows->all.count);
		const struct tensor *tensor = &rows->all.items[number];
		bool pass;

		if (tensor->view != (i >= rows->all.count) ||
		    storage_bytes(rows, tensor) < options->min_size)
			continue;
		err = passes(rows, filter, number, &pass);
		if (!err && pass)
			err = add_row(rows, number, seen);
	}
	return err;
}

/* --- order --------------------------------------------------------------------------- */

/** Equal ones together, the one with most bytes first. */
static int in_groups(const void *a, const void *b)
{
	const struct tensor_row *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static void group_rows(struct tensor_rows *rows)
{
	size_t kept = 0;

	qsort(rows->items, rows->count, sizeof(*rows->items), in_groups);
	for (size_t i = 0; i < rows->count; i++) {
		const struct tensor_row *row = &rows->items[i];

		if (kept > 0 && rows->items[kept - 1].kind == row->kind) {
			rows->items[kept - 1].bytes += row->bytes;
			rows->items[kept - 1].resident += row->resident;
			rows->items[kept - 1].count++;
		} else {
			rows->items[kept++] = *row;
		}
	}
	rows->count = kept;
}

const char *tensor_device_text(const struct tensor *tensor,
			       char text[TENSOR_DEVICE_MAX])
{
	const char *name = torch_device_name(tensor->device);

	if (!name)
		return NULL;
	if (tensor->index < 0 || tensor->device == 0)
		return name;
	(void)snprintf(text, TENSOR_DEVICE_MAX, "%s:%d", name, tensor->index);
	return text;
}

struct cell tensor_row_key(const struct tensor_rows *rows,
			   const struct tensor_row *row, int column,
			   struct tensor_row_texts *texts)
{
	const struct tensor *tensor = &rows->all.items[row->tensor];
	const struct pyh_type *type;

	switch (column) {
	case TENSOR_BYTES:
		return tensor->storage == TENSORS_NONE ? cell_unknown() :
			cell_number(UNIT_BYTES, row->bytes);
	case TENSOR_RESIDENT:
		return row->knows_resident ?
			cell_number(UNIT_BYTES, row->resident) :
			cell_unknown();
	case TENSOR_COUNT:
		return cell_number(UNIT_COUNT, row->count);
	case TENSOR_ADDRESS:
		return cell_number(UNIT_ADDRESS,
				   tensors_object(rows->tensors, row->tensor,
						  &type));
	case TENSOR_ROLE:
		return cell_text(tensor_role_name(tensor->role));
	case TENSOR_DTYPE:
		return cell_text(tensors_dtype(rows->tensors, row->tensor,
					       texts->dtype));
	case TENSOR_DEVICE:
		return cell_text(tensor_device_text(tensor, texts->device));
	case TENSOR_TYPE:
		return cell_text(tensors_type(rows->tensors, row->tensor,
					      texts->type));
	default:
		return cell_unknown();
	}
}

static int in_order(const void *a, const void *b, void *context)
{
	const struct tensor_row *x = a, *y = b;
	const struct tensor_rows *rows = context;
	struct tensor_row_texts texts[2];
	bool of_x = rows->all.items[x->tensor].view;
	bool of_y = rows->all.items[y->tensor].view;
	int order = 0;

	if (rows->sort != TENSOR_BYTES)
		order = cell_compare(
			tensor_row_key(rows, x, rows->sort, &texts[0]),
			tensor_row_key(rows, y, rows->sort, &texts[1]));
	if (order)
		return order;
	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	if (of_x != of_y)
		return of_x ? 1 : -1;
	return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

struct error *tensor_rows_make(struct tensor_rows *rows)
{
	struct error *err = NULL;

	if (rows->all.count > 0)
		err = take_rows(rows);
	if (err)
		return err;
	if (rows->grouped && rows->count)
		group_rows(rows);
	if (rows->count)
		qsort_r(rows->items, rows->count, sizeof(*rows->items),
			in_order, rows);
	rows->totals[TOTAL_UNREAD] = rows->all.unread;
	rows->totals[TOTAL_RELEASED] = rows->all.released;
	rows->totals[TOTAL_BARE] = rows->all.bare_bytes;
	rows->totals[TOTAL_NODES] = rows->all.nodes;
	rows->totals[TOTAL_CUPY] = rows->all.cupy_allocated;
	rows->totals[TOTAL_CUPY_USED] = rows->all.cupy_pooled;
	return NULL;
}
