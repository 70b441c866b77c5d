/*
 * `allocator --segments`: what PyTorch's allocator got from the driver.
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

enum segment_column {
	SEGMENT_SIZE, SEGMENT_ALLOCATED, SEGMENT_ACTIVE, SEGMENT_REQUESTED,
	SEGMENT_FREE, SEGMENT_LARGEST, SEGMENT_BLOCKS, SEGMENT_DEVICE,
	SEGMENT_ADDRESS, SEGMENT_POOL, SEGMENT_POOL_ID, SEGMENT_STREAM,
	SEGMENT_EXPANDABLE, SEGMENT_WHOLE, SEGMENT_CONTEXT,
	NUM_SEGMENT_COLUMNS
};

static const struct column segment_columns[NUM_SEGMENT_COLUMNS] = {
	[SEGMENT_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "total_size" },
	[SEGMENT_ALLOCATED] = { .key = "allocated", .title = "allocated", .unit = UNIT_BYTES,
		.about = "allocated_size: of blocks in use" },
	[SEGMENT_ACTIVE] = { .key = "active", .title = "active", .unit = UNIT_BYTES,
		.about = "active_size: and of those that wait for a stream",
		.hidden = true },
	[SEGMENT_REQUESTED] = { .key = "requested", .title = "requested", .unit = UNIT_BYTES,
		.about = "requested_size: of active ones, as asked for",
		.hidden = true },
	[SEGMENT_FREE] = { .key = "free", .title = "free", .unit = UNIT_BYTES,
		.about = "of its free blocks" },
	[SEGMENT_LARGEST] = { .key = "largest_free", .title = "largest free", .unit = UNIT_BYTES,
		.about = "of these the largest" },
	[SEGMENT_BLOCKS] = { .key = "blocks", .title = "blocks", .unit = UNIT_COUNT,
		.about = "that it is cut into" },
	[SEGMENT_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT,
		.about = "cuda:0 …" },
	[SEGMENT_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "on the device" },
	[SEGMENT_POOL] = { .key = "pool", .title = "pool", .unit = UNIT_TEXT,
		.about = "segment_type: small or large; of a private pool with its "
			 "id" },
	[SEGMENT_POOL_ID] = { .key = "pool_id", .title = "pool id", .unit = UNIT_TEXT,
		.about = "segment_pool_id: \"(0, 0)\" for those of the device",
		.hidden = true },
	[SEGMENT_STREAM] = { .key = "stream", .title = "stream", .unit = UNIT_TEXT,
		.about = "that its free blocks are for: 0, or its handle" },
	[SEGMENT_EXPANDABLE] = { .key = "expandable", .title = "grows", .unit = UNIT_BOOL,
		.about = "a mapped part of a segment that can grow" },
	[SEGMENT_WHOLE] = { .key = "whole", .title = "whole", .unit = UNIT_BOOL,
		.about = "one free block: empty_cache() would give it back" },
	[SEGMENT_CONTEXT] = { .key = "context", .title = "context", .unit = UNIT_ADDRESS,
		.about = "the stack that needed it, where history was recorded",
		.hidden = true },
};

enum { TOTAL_SEGMENTS, TOTAL_SIZE, TOTAL_ALLOCATED, NUM_TOTALS };

static const struct column segment_totals[NUM_TOTALS] = {
	[TOTAL_SEGMENTS] = { .key = "segments", .unit = UNIT_COUNT,
		.about = "that the filters let through" },
	[TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "of these" },
	[TOTAL_ALLOCATED] = { .key = "allocated", .unit = UNIT_BYTES,
		.about = "of these, in use" },
};

static struct error *run(struct scan *scan);

const struct view cmd_allocatorsegments_view = {
	.name = "allocator",
	.bit = VIEW_ALLOCATOR,
	.columns = segment_columns,
	.num_columns = NUM_SEGMENT_COLUMNS,
	.totals = segment_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
};

struct segment_row {
	uint32_t device, segment;
	uint64_t size;
};

static int largest_first(const void *a, const void *b)
{
	const struct segment_row *x = a, *y = b;

	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	if (x->device != y->device)
		return x->device < y->device ? -1 : 1;
	return x->segment < y->segment ? -1 : x->segment > y->segment;
}

/* What cells are borrowed from. */
struct segment_texts {
	char device[ALLOCATOR_NAME_MAX];
	char pool[ALLOCATOR_POOL_MAX], id[ALLOCATOR_POOL_MAX];
	char stream[ALLOCATOR_POOL_MAX];
};

static void fill(const struct allocator *allocator,
		 const struct segment_row *row, struct segment_texts *texts,
		 struct cell cells[NUM_SEGMENT_COLUMNS])
{
	const struct torch_device *torch =
		allocator->devices[row->device].device;
	const struct torch_segment *segment = &torch->segments[row->segment];
	const struct torch_pool *pool = &torch->pools[segment->pool];
	uint64_t free = 0, largest = 0;

	for (uint32_t i = 0; i < segment->num_blocks; i++) {
		const struct torch_block *block =
			&torch->blocks[segment->first_block + i];

		if (block->state != CACHING_FREE)
			continue;
		free += block->size;
		if (block->size > largest)
			largest = block->size;
	}
	(void)snprintf(texts->id, sizeof(texts->id), "(%llu, %llu)",
		       (unsigned long long)pool->id[0],
		       (unsigned long long)pool->id[1]);
	for (int i = 0; i < NUM_SEGMENT_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[SEGMENT_SIZE] = cell_number(UNIT_BYTES, segment->total);
	cells[SEGMENT_ALLOCATED] = cell_number(UNIT_BYTES, segment->allocated);
	cells[SEGMENT_ACTIVE] = cell_number(UNIT_BYTES, segment->active);
	if (torch->layout.requested)
		cells[SEGMENT_REQUESTED] =
			cell_number(UNIT_BYTES, segment->requested);
	cells[SEGMENT_FREE] = cell_number(UNIT_BYTES, free);
	cells[SEGMENT_LARGEST] = cell_number(UNIT_BYTES, largest);
	cells[SEGMENT_BLOCKS] = cell_number(UNIT_COUNT, segment->num_blocks);
	cells[SEGMENT_DEVICE] = cell_text(allocator_device_name(
		allocator, row->device, texts->device));
	cells[SEGMENT_ADDRESS] = cell_number(UNIT_ADDRESS, segment->address);
	cells[SEGMENT_POOL] = cell_text(allocator_pool_text(
		pool->is_small, pool->owner != 0, pool->id, texts->pool));
	if (pool->owner == 0 || pool->knows_id)
		cells[SEGMENT_POOL_ID] = cell_text(texts->id);
	cells[SEGMENT_STREAM] = cell_text(
		allocator_stream_text(segment->stream, texts->stream));
	cells[SEGMENT_EXPANDABLE] =
		cell_number(UNIT_BOOL, segment->is_expandable);
	cells[SEGMENT_WHOLE] = cell_number(UNIT_BOOL, segment->is_whole);
	if (segment->context)
		cells[SEGMENT_CONTEXT] =
			cell_number(UNIT_ADDRESS, segment->context);
}

static struct error *take_rows(const struct allocator *allocator,
			       uint64_t min_size, uint64_t sums[NUM_TOTALS],
			       struct segment_row **ret)
{
	size_t room = 1, count = 0;
	struct segment_row *rows;

	for (size_t i = 0; i < allocator->num_devices; i++)
		room += allocator->devices[i].device->num_segments;
	rows = calloc(room, sizeof(*rows));
	if (!rows)
		return error_no_memory();
	for (size_t i = 0; i < allocator->num_devices; i++) {
		const struct torch_device *torch = allocator->devices[i].device;

		for (size_t j = 0; j < torch->num_segments; j++) {
			const struct torch_segment *segment =
				&torch->segments[j];

			if (segment->total < min_size)
				continue;
			rows[count++] = (struct segment_row){
				.device = (uint32_t)i, .segment = (uint32_t)j,
				.size = segment->total };
			sums[TOTAL_SIZE] += segment->total;
			sums[TOTAL_ALLOCATED] += segment->allocated;
		}
	}
	qsort(rows, count, sizeof(*rows), largest_first);
	sums[TOTAL_SEGMENTS] = count;
	*ret = rows;
	return NULL;
}

static void put_rest(struct scan *scan, const struct segment_row *rows,
		     size_t shown, size_t count)
{
	struct cell cells[NUM_SEGMENT_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];
	uint64_t size = 0;

	if (shown == count)
		return;
	for (int i = 0; i < NUM_SEGMENT_COLUMNS; i++)
		cells[i] = cell_unknown();
	for (size_t i = shown; i < count; i++)
		size += rows[i].size;
	(void)snprintf(text, sizeof(text), "%s more",
		       units_count(count - shown, number));
	cells[SEGMENT_SIZE] = cell_number(UNIT_BYTES, size);
	cells[SEGMENT_DEVICE] = cell_text(text);
	render_rest(&scan->render, cells);
}

static void print(struct scan *scan, const struct allocator *allocator,
		  const struct segment_row *rows,
		  const uint64_t sums[NUM_TOTALS])
{
	size_t count = sums[TOTAL_SEGMENTS], shown = 0;
	struct cell totals[NUM_TOTALS], cells[NUM_SEGMENT_COLUMNS];
	struct segment_texts texts;
	uint64_t top = scan->options->top;

	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = cell_number(segment_totals[i].unit, sums[i]);
	scan_begin(scan, "allocator");
	render_object(&scan->render, "totals", segment_totals, totals,
		      NUM_TOTALS);
	gate_totals(&scan->gate, totals);
	for (size_t i = 0; i < count && gate_open(&scan->gate); i++) {
		fill(allocator, &rows[i], &texts, cells);
		gate_row(&scan->gate, cells);
	}
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = "SEGMENTS  by size",
		.columns = segment_columns,
		.num_columns = NUM_SEGMENT_COLUMNS });
	for (; shown < count && (top == 0 || shown < top) && !scan_unread(scan);
	     shown++) {
		fill(allocator, &rows[shown], &texts, cells);
		render_row(&scan->render, cells);
	}
	put_rest(scan, rows, shown, count);
	render_table_end(&scan->render);
	render_end(&scan->render);
}

static struct error *run(struct scan *scan)
{
	CLEANUP(allocator_release) struct allocator *allocator = NULL;
	CLEANUP(free_pointer) struct segment_row *rows = NULL;
	uint64_t sums[NUM_TOTALS] = { 0 };
	struct error *err = allocator_open(scan->opened, false,
					   scan->options->values, &allocator);

	if (!err)
		err = take_rows(allocator, scan->options->min_size, sums, &rows);
	if (err)
		return err;
	progress_clear();
	print(scan, allocator, rows, sums);
	allocator_remark(scan, allocator);
	return NULL;
}
