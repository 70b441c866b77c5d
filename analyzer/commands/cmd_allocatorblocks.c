/*
 * `allocator --blocks` and `--orphans`: what segments are cut into, and whose
 * each block is.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>

#include "analyzer/allocator/allocator.h"
#include "analyzer/allocator/allocatorwords.h"
#include "analyzer/cmd.h"
#include "analyzer/show/scan_progress.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum block_column {
	BLOCK_SIZE, BLOCK_REQUESTED, BLOCK_STATE, BLOCK_ROLE, BLOCK_DTYPE,
	BLOCK_DEVICE, BLOCK_ADDRESS, BLOCK_POOL, BLOCK_STREAM, BLOCK_SEGMENT,
	BLOCK_TENSORS, BLOCK_TENSOR, BLOCK_AT, BLOCK_CONTEXT, BLOCK_OWNER,
	NUM_BLOCK_COLUMNS
};

static const struct column block_columns[NUM_BLOCK_COLUMNS] = {
	[BLOCK_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "bytes of the block" },
	[BLOCK_REQUESTED] = { .key = "requested", .title = "requested", .unit = UNIT_BYTES,
		.about = "as last asked for; from 2.0 on" },
	[BLOCK_STATE] = { .key = "state", .title = "state", .unit = UNIT_TEXT,
		.about = "active_allocated, active_pending_free (a stream may "
			 "still use it) or inactive" },
	[BLOCK_ROLE] = { .key = "role", .title = "role", .unit = UNIT_TEXT,
		.about = "of the tensor, as `tensors` has it" },
	[BLOCK_DTYPE] = { .key = "dtype", .title = "dtype", .unit = UNIT_TEXT,
		.about = "of the tensor" },
	[BLOCK_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT,
		.about = "cuda:0 …" },
	[BLOCK_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "on the device: data_ptr() of what begins there" },
	[BLOCK_POOL] = { .key = "pool", .title = "pool", .unit = UNIT_TEXT,
		.about = "small or large; of a private pool with its id" },
	[BLOCK_STREAM] = { .key = "stream", .title = "stream", .unit = UNIT_TEXT,
		.about = "0, or its handle", .hidden = true },
	[BLOCK_SEGMENT] = { .key = "segment", .title = "segment", .unit = UNIT_ADDRESS,
		.about = "that it is cut from", .hidden = true },
	[BLOCK_TENSORS] = { .key = "tensors", .title = "tensors", .unit = UNIT_COUNT,
		.about = "that are in it", .hidden = true },
	[BLOCK_TENSOR] = { .key = "tensor", .title = "tensor", .unit = UNIT_ADDRESS,
		.about = "TensorImpl of the one that counts for it",
		.hidden = true },
	[BLOCK_AT] = { .key = "block", .title = "block", .unit = UNIT_ADDRESS,
		.about = "the allocator's own structure", .hidden = true },
	[BLOCK_CONTEXT] = { .key = "context", .title = "context", .unit = UNIT_ADDRESS,
		.about = "the stack that asked, where history was recorded",
		.hidden = true },
	[BLOCK_OWNER] = { .key = "owner", .title = "owner", .unit = UNIT_TEXT,
		.about = "the tensor's path, or who most likely has it" },
};

enum {
	TOTAL_BLOCKS, TOTAL_SIZE, TOTAL_ACTIVE, TOTAL_PENDING, TOTAL_INACTIVE,
	TOTAL_OWNED, TOTAL_ORPHAN, NUM_TOTALS
};

static const struct column block_totals[NUM_TOTALS] = {
	[TOTAL_BLOCKS] = { .key = "blocks", .unit = UNIT_COUNT,
		.about = "that the filters let through" },
	[TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "of these" },
	[TOTAL_ACTIVE] = { .key = "active_allocated", .unit = UNIT_BYTES,
		.about = "of these, by state" },
	[TOTAL_PENDING] = { .key = "active_pending_free", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_INACTIVE] = { .key = "inactive", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_OWNED] = { .key = "owned", .unit = UNIT_BYTES,
		.about = "of these, with a tensor" },
	[TOTAL_ORPHAN] = { .key = "orphaned", .unit = UNIT_BYTES,
		.about = "of these, in use without one" },
};

static struct error *run_blocks(struct scan *scan);
static struct error *run_orphans(struct scan *scan);

const struct view cmd_allocatorblocks_view = {
	.name = "allocator",
	.bit = VIEW_ALLOCATOR,
	.columns = block_columns,
	.num_columns = NUM_BLOCK_COLUMNS,
	.totals = block_totals,
	.num_totals = NUM_TOTALS,
	.run = run_blocks,
};

const struct view cmd_allocatororphans_view = {
	.name = "allocator",
	.bit = VIEW_ALLOCATOR,
	.columns = block_columns,
	.num_columns = NUM_BLOCK_COLUMNS,
	.totals = block_totals,
	.num_totals = NUM_TOTALS,
	.run = run_orphans,
};

struct block_row {
	uint32_t device, block;
	uint64_t size;
};

struct blocks_view {
	struct scan *scan;
	struct allocator *allocator;
	struct block_row *rows;
	uint64_t sums[NUM_TOTALS];
	const char *title;
	bool orphans;
};

static int largest_first(const void *a, const void *b)
{
	const struct block_row *x = a, *y = b;

	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	if (x->device != y->device)
		return x->device < y->device ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

/* --- rows ----------------------------------------------------------------------- */

static void add_up(struct blocks_view *view, const struct torch_block *block,
		   bool owned)
{
	static const int of_states[] = {
		[CACHING_ACTIVE] = TOTAL_ACTIVE,
		[CACHING_PENDING] = TOTAL_PENDING,
		[CACHING_FREE] = TOTAL_INACTIVE,
	};

	view->sums[TOTAL_SIZE] += block->size;
	view->sums[of_states[block->state]] += block->size;
	if (owned)
		view->sums[TOTAL_OWNED] += block->size;
	else if (block->state != CACHING_FREE && view->allocator->tensors)
		view->sums[TOTAL_ORPHAN] += block->size;
}

static struct error *take_rows(struct blocks_view *view)
{
	const struct allocator *allocator = view->allocator;
	size_t room = 1, count = 0;

	for (size_t i = 0; i < allocator->num_devices; i++)
		room += allocator->devices[i].device->num_blocks;
	view->rows = calloc(room, sizeof(*view->rows));
	if (!view->rows)
		return error_no_memory();
	for (size_t i = 0; i < allocator->num_devices; i++) {
		const struct allocator_device *device = &allocator->devices[i];

		for (size_t j = 0; j < device->device->num_blocks; j++) {
			const struct torch_block *block =
				&device->device->blocks[j];
			bool owned = device->owners[j].tensor != TENSORS_NONE;

			if (block->size < view->scan->options->min_size ||
			    (view->orphans &&
			     (owned || block->state == CACHING_FREE)))
				continue;
			view->rows[count++] = (struct block_row){
				.device = (uint32_t)i, .block = (uint32_t)j,
				.size = block->size };
			add_up(view, block, owned);
		}
	}
	qsort(view->rows, count, sizeof(*view->rows), largest_first);
	view->sums[TOTAL_BLOCKS] = count;
	return NULL;
}

/* --- cells ---------------------------------------------------------------------- */

/* What cells are borrowed from. */
struct block_texts {
	char device[ALLOCATOR_NAME_MAX];
	char pool[ALLOCATOR_POOL_MAX], stream[ALLOCATOR_POOL_MAX];
	struct allocator_text owner;
};

static void tensor_cells(const struct allocator *allocator,
			 const struct allocator_owner *owner,
			 struct cell cells[NUM_BLOCK_COLUMNS])
{
	const struct tensor *tensor;

	if (!allocator->tensors)
		return;
	cells[BLOCK_TENSORS] = cell_number(UNIT_COUNT, owner->count);
	if (owner->tensor == TENSORS_NONE)
		return;
	tensor = &allocator->found.items[owner->tensor];
	cells[BLOCK_TENSOR] = cell_number(UNIT_ADDRESS, tensor->address);
	cells[BLOCK_ROLE] =
		cell_text(tensor_role_name((enum tensor_role)tensor->role));
	cells[BLOCK_DTYPE] = cell_text(torch_dtype_name(tensor->dtype));
}

static struct error *fill(const struct blocks_view *view,
			  const struct block_row *row,
			  struct block_texts *texts,
			  struct cell cells[NUM_BLOCK_COLUMNS])
{
	const struct allocator *allocator = view->allocator;
	const struct allocator_device *device =
		&allocator->devices[row->device];
	const struct torch_device *torch = device->device;
	const struct torch_block *block = &torch->blocks[row->block];
	const struct torch_pool *pool = &torch->pools[block->pool];
	const char *owner = NULL;
	struct error *err = NULL;

	for (int i = 0; i < NUM_BLOCK_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[BLOCK_SIZE] = cell_number(UNIT_BYTES, block->size);
	if (torch->layout.requested)
		cells[BLOCK_REQUESTED] =
			cell_number(UNIT_BYTES, block->requested);
	cells[BLOCK_STATE] = cell_text(
		caching_state_name((enum caching_state)block->state));
	cells[BLOCK_DEVICE] = cell_text(allocator_device_name(
		allocator, row->device, texts->device));
	cells[BLOCK_ADDRESS] = cell_number(UNIT_ADDRESS, block->data);
	cells[BLOCK_POOL] = cell_text(allocator_pool_text(
		pool->is_small, pool->owner != 0, pool->id, texts->pool));
	cells[BLOCK_STREAM] = cell_text(
		allocator_stream_text(block->stream, texts->stream));
	cells[BLOCK_SEGMENT] = cell_number(
		UNIT_ADDRESS, torch->segments[block->segment].address);
	cells[BLOCK_AT] = cell_number(UNIT_ADDRESS, block->address);
	if (block->context)
		cells[BLOCK_CONTEXT] =
			cell_number(UNIT_ADDRESS, block->context);
	tensor_cells(allocator, &device->owners[row->block], cells);
	if (block->state != CACHING_FREE)
		err = allocator_owner_text(allocator, row->device, row->block,
					   &texts->owner, &owner);
	cells[BLOCK_OWNER] = cell_text(owner);
	return err;
}

/* --- printing -------------------------------------------------------------------- */

static void put_rest(const struct blocks_view *view, size_t shown)
{
	struct cell cells[NUM_BLOCK_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];
	size_t count = view->sums[TOTAL_BLOCKS];
	uint64_t size = 0;

	if (shown == count)
		return;
	for (int i = 0; i < NUM_BLOCK_COLUMNS; i++)
		cells[i] = cell_unknown();
	for (size_t i = shown; i < count; i++)
		size += view->rows[i].size;
	(void)snprintf(text, sizeof(text), "%s more blocks",
		       units_count(count - shown, number));
	cells[BLOCK_SIZE] = cell_number(UNIT_BYTES, size);
	cells[BLOCK_OWNER] = cell_text(text);
	render_rest(&view->scan->render, cells);
}

static struct error *hold_against_gate(const struct blocks_view *view,
				       struct block_texts *texts)
{
	struct cell cells[NUM_BLOCK_COLUMNS];
	struct error *err = NULL;

	for (size_t i = 0; !err && i < view->sums[TOTAL_BLOCKS] &&
			   gate_open(&view->scan->gate); i++) {
		err = fill(view, &view->rows[i], texts, cells);
		if (!err)
			gate_row(&view->scan->gate, cells);
	}
	return err;
}

static struct error *print(const struct blocks_view *view)
{
	CLEANUP(free_pointer) struct block_texts *texts =
		calloc(1, sizeof(*texts));
	struct cell totals[NUM_TOTALS], cells[NUM_BLOCK_COLUMNS];
	struct scan *scan = view->scan;
	size_t count = view->sums[TOTAL_BLOCKS], shown = 0;
	uint64_t top = scan->options->top;
	struct error *err;

	if (!texts)
		return error_no_memory();
	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = cell_number(block_totals[i].unit, view->sums[i]);
	if (!view->allocator->tensors)
		totals[TOTAL_OWNED] = totals[TOTAL_ORPHAN] = cell_unknown();
	scan_begin(scan, "allocator");
	render_object(&scan->render, "totals", block_totals, totals,
		      NUM_TOTALS);
	gate_totals(&scan->gate, totals);
	err = hold_against_gate(view, texts);
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = view->title,
		.columns = block_columns, .num_columns = NUM_BLOCK_COLUMNS });
	for (; !err && shown < count && (top == 0 || shown < top) &&
	       !scan_unread(scan); shown++) {
		err = fill(view, &view->rows[shown], texts, cells);
		if (!err)
			render_row(&scan->render, cells);
	}
	put_rest(view, shown);
	render_table_end(&scan->render);
	render_end(&scan->render);
	return err;
}

static struct error *run(struct scan *scan, bool orphans, const char *title)
{
	CLEANUP(allocator_release) struct allocator *allocator = NULL;
	struct blocks_view view = { .scan = scan, .orphans = orphans,
				    .title = title };
	struct error *err = allocator_open(scan->opened, true,
					   scan->options->values, &allocator);

	if (err)
		return err;
	// Without tensors all would be orphans.
	if (orphans && allocator->tensors_error)
		return error_context(TAKE(allocator->tensors_error),
				     "which blocks no tensor is in is not known");
	view.allocator = allocator;
	err = take_rows(&view);
	progress_clear();
	if (!err)
		err = print(&view);
	if (!err)
		allocator_remark(scan, allocator);
	free(view.rows);
	return err;
}

static struct error *run_blocks(struct scan *scan)
{
	return run(scan, false, "BLOCKS  by size");
}

static struct error *run_orphans(struct scan *scan)
{
	return run(scan, true, "ORPHANS  in use, and of no tensor");
}
