/*
 * `allocator`: PyTorch's caching allocator of device memory, device by device.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/allocator/allocator.h"
#include "analyzer/allocator/allocatordevices.h"
#include "analyzer/allocator/allocatorfree.h"
#include "analyzer/allocator/allocatorwords.h"
#include "analyzer/cmd.h"
#include "analyzer/show/scan_progress.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum {
	TOTAL_KIND, TOTAL_CLASS, TOTAL_FOUND_BY, TOTAL_MODULE, TOTAL_DEVICES,
	TOTAL_ALLOCATED, TOTAL_RESERVED, TOTAL_FREE, TOTAL_RETURNABLE,
	TOTAL_STUCK, TOTAL_PENDING, TOTAL_WASTE, TOTAL_ORPHANS,
	TOTAL_ORPHAN_BYTES, TOTAL_FOREIGN, TOTAL_FOREIGN_BYTES, TOTAL_RECEIVED,
	TOTAL_OOMS, TOTAL_CONF, TOTAL_EXPANDABLE, TOTAL_MAX_SPLIT,
	TOTAL_THRESHOLD, NUM_TOTALS
};

static const struct column allocator_totals[NUM_TOTALS] = {
	[TOTAL_KIND] = { .key = "allocator", .unit = UNIT_TEXT,
		.about = "native, cudaMallocAsync, pluggable, other, or unknown; "
			 "absent where there is no PyTorch with CUDA" },
	[TOTAL_CLASS] = { .key = "class", .unit = UNIT_TEXT,
		.about = "its C++ class" },
	[TOTAL_FOUND_BY] = { .key = "found_by", .unit = UNIT_TEXT,
		.about = "symbol or structure" },
	[TOTAL_MODULE] = { .key = "module", .unit = UNIT_TEXT,
		.about = "the library that it is in" },
	[TOTAL_DEVICES] = { .key = "devices", .unit = UNIT_COUNT,
		.about = "number of rows" },
	[TOTAL_ALLOCATED] = { .key = "allocated", .unit = UNIT_BYTES,
		.about = "of all devices, as the column" },
	[TOTAL_RESERVED] = { .key = "reserved", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_FREE] = { .key = "free", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_RETURNABLE] = { .key = "returnable", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_STUCK] = { .key = "stuck", .unit = UNIT_BYTES,
		.about = "the same" },
	[TOTAL_PENDING] = { .key = "pending", .unit = UNIT_BYTES,
		.about = "freed while a stream may still use it" },
	[TOTAL_WASTE] = { .key = "rounding", .unit = UNIT_BYTES,
		.about = "what blocks in use have more than was asked for" },
	[TOTAL_ORPHANS] = { .key = "orphans", .unit = UNIT_COUNT,
		.about = "blocks in use that no tensor is in that could be found" },
	[TOTAL_ORPHAN_BYTES] = { .key = "orphan_bytes", .unit = UNIT_BYTES,
		.about = "bytes of these" },
	[TOTAL_FOREIGN] = { .key = "foreign", .unit = UNIT_COUNT,
		.about = "storages of tensors on devices that are in no block" },
	[TOTAL_FOREIGN_BYTES] = { .key = "foreign_bytes", .unit = UNIT_BYTES,
		.about = "bytes of these: other libraries' memory" },
	[TOTAL_RECEIVED] = { .key = "received_bytes", .unit = UNIT_BYTES,
		.about = "of that, memory of another process" },
	[TOTAL_OOMS] = { .key = "ooms", .unit = UNIT_COUNT,
		.about = "of all devices, as the column" },
	[TOTAL_CONF] = { .key = "conf", .unit = UNIT_TEXT,
		.about = "PYTORCH_CUDA_ALLOC_CONF, as it was last set" },
	[TOTAL_EXPANDABLE] = { .key = "expandable_segments", .unit = UNIT_BOOL,
		.about = "whether new segments can grow" },
	[TOTAL_MAX_SPLIT] = { .key = "max_split_size", .unit = UNIT_BYTES,
		.about = "larger blocks are not split; absent: all are" },
	[TOTAL_THRESHOLD] = { .key = "garbage_collection_threshold", .unit = UNIT_SHARE,
		.about = "of the memory that it may have, from which on it gives "
			 "back first; absent: none" },
};

static struct error *run(struct scan *scan);

static bool wants_segments(const struct options *options)
{
	return options->segments;
}

static bool wants_blocks(const struct options *options)
{
	return options->blocks;
}

static bool wants_orphans(const struct options *options)
{
	return options->orphans;
}

static bool wants_history(const struct options *options)
{
	return options->history;
}

static bool wants_fits(const struct options *options)
{
	return options->fits != OPTIONS_NO_SIZE;
}

static const struct view_mode modes[] = {
	{ "--segments", wants_segments, &cmd_allocatorsegments_view },
	{ "--blocks", wants_blocks, &cmd_allocatorblocks_view },
	{ "--orphans", wants_orphans, &cmd_allocatororphans_view },
	{ "--history", wants_history, &cmd_allocatorhistory_view },
	{ "--fits", wants_fits, &cmd_allocatorfits_view },
};

const struct view cmd_allocator_view = {
	.name = "allocator",
	.bit = VIEW_ALLOCATOR,
	.about = "PyTorch's memory of GPUs: in use, free, cut up, would SIZE fit",
	.columns = allocator_device_columns,
	.num_columns = NUM_DEVICE_COLUMNS,
	.totals = allocator_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.modes = modes,
	.num_modes = sizeof(modes) / sizeof(*modes),
	.remark =
"What PyTorch's caching allocator has of each device, in torch's own words: the\n"
"numbers are those of torch.cuda.memory_stats(). \"pools\" are its free lists: a\n"
"free block is only used for its own pool and stream. \"held\" are segments in which\n"
"free memory stays because of what else is in them, with the largest of that: free\n"
"blocks can be given back to the driver only as whole segments.\n"
"\n"
"What other libraries have of a device (CUDA's context and code, NCCL, cuDNN), and\n"
"other processes, is not in here: \"outside\" is all of it, where it is known.\n"
"\n"
"--fits goes through the allocator's own rules: how it rounds, pool, stream, what it\n"
"may split, what it asks the driver for, and what it gives back before that fails.\n",
};

struct allocator_view {
	struct scan *scan;
	struct allocator *allocator;
};

/* --- cells ---------------------------------------------------------------------- */

static struct cell bytes(uint64_t number)
{
	return cell_number(UNIT_BYTES, number);
}

static struct cell count_cell(uint64_t number)
{
	return cell_number(UNIT_COUNT, number);
}

/* --- totals --------------------------------------------------------------------- */

static void settings_cells(const struct caching_allocator *caching,
			   struct cell totals[NUM_TOTALS])
{
	const struct torch_settings *settings = &caching->settings;

	if (!settings->source)
		return;
	totals[TOTAL_CONF] = cell_text(*settings->conf ? settings->conf : NULL);
	totals[TOTAL_EXPANDABLE] =
		cell_number(UNIT_BOOL, settings->expandable_segments);
	if (settings->max_split_size >= 0)
		totals[TOTAL_MAX_SPLIT] =
			bytes((uint64_t)settings->max_split_size);
	if (settings->garbage_collection_threshold > 0)
		totals[TOTAL_THRESHOLD] =
			cell_share(settings->garbage_collection_threshold);
}

static void add_device(const struct allocator_device *device,
		       uint64_t sums[NUM_TOTALS])
{
	sums[TOTAL_ALLOCATED] += device->device->allocated;
	sums[TOTAL_RESERVED] += device->device->reserved;
	sums[TOTAL_FREE] += device->free;
	sums[TOTAL_RETURNABLE] += device->returnable;
	sums[TOTAL_STUCK] += device->stuck_bytes;
	sums[TOTAL_PENDING] += device->pending;
	sums[TOTAL_WASTE] += device->waste;
	sums[TOTAL_ORPHANS] += device->orphans;
	sums[TOTAL_ORPHAN_BYTES] += device->orphan_bytes;
	if (device->device->stats.num_ooms > 0)
		sums[TOTAL_OOMS] += (uint64_t)device->device->stats.num_ooms;
}

static void make_totals(const struct allocator_view *view,
			struct cell totals[NUM_TOTALS])
{
	const struct allocator *allocator = view->allocator;
	const struct caching_allocator *caching = allocator->caching;
	uint64_t sums[NUM_TOTALS] = { 0 };
	bool joined = allocator->tensors != NULL;

	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = cell_unknown();
	totals[TOTAL_KIND] = cell_text(allocator_kind_name(caching->kind));
	totals[TOTAL_CLASS] =
		cell_text(*caching->class_name ? caching->class_name : NULL);
	totals[TOTAL_FOUND_BY] = cell_text(caching->found_by);
	totals[TOTAL_MODULE] = cell_text(
		caching->kind == CACHING_ABSENT ? NULL : caching->module);
	totals[TOTAL_DEVICES] = count_cell(allocator->num_devices);
	settings_cells(caching, totals);
	for (size_t i = 0; i < allocator->num_devices; i++)
		add_device(&allocator->devices[i], sums);
	sums[TOTAL_FOREIGN] = allocator->foreign;
	sums[TOTAL_FOREIGN_BYTES] = allocator->foreign_bytes;
	sums[TOTAL_RECEIVED] = allocator->received_bytes;
	for (int i = TOTAL_ALLOCATED; i <= TOTAL_OOMS; i++)
		if (i >= TOTAL_FOREIGN && i <= TOTAL_RECEIVED ?
			    joined :
			    allocator->num_devices > 0 &&
				    (joined || i < TOTAL_ORPHANS ||
				     i > TOTAL_RECEIVED))
			totals[i] = cell_number(allocator_totals[i].unit,
						sums[i]);
}

/* --- pools ---------------------------------------------------------------------- */

enum pool_column {
	POOL_DEVICE, POOL_NAME, POOL_STREAM, POOL_RESERVED, POOL_ALLOCATED,
	POOL_FREE, POOL_LARGEST, POOL_RETURNABLE, POOL_STUCK, POOL_SEGMENTS,
	POOL_BLOCKS, NUM_POOL_COLUMNS
};

static const struct column pool_columns[NUM_POOL_COLUMNS] = {
	[POOL_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT },
	[POOL_NAME] = { .key = "pool", .title = "pool", .unit = UNIT_TEXT },
	[POOL_STREAM] = { .key = "stream", .title = "stream", .unit = UNIT_TEXT },
	[POOL_RESERVED] = { .key = "reserved", .title = "reserved", .unit = UNIT_BYTES },
	[POOL_ALLOCATED] = { .key = "allocated", .title = "allocated", .unit = UNIT_BYTES },
	[POOL_FREE] = { .key = "free", .title = "free", .unit = UNIT_BYTES },
	[POOL_LARGEST] = { .key = "largest_free", .title = "largest free", .unit = UNIT_BYTES },
	[POOL_RETURNABLE] = { .key = "returnable", .title = "returnable", .unit = UNIT_BYTES },
	[POOL_STUCK] = { .key = "stuck", .title = "stuck", .unit = UNIT_BYTES },
	[POOL_SEGMENTS] = { .key = "segments", .title = "segments", .unit = UNIT_COUNT },
	[POOL_BLOCKS] = { .key = "blocks", .title = "blocks", .unit = UNIT_COUNT },
};

static size_t bounded(const struct allocator_view *view, size_t count)
{
	uint64_t top = view->scan->options->top;

	return top == 0 || top > count ? count : (size_t)top;
}

static void put_pools(const struct allocator_view *view)
{
	struct render *render = &view->scan->render;

	render_table(render, &(struct table_spec){
		.json_key = "pools",
		.title = "POOLS  by size",
		.columns = pool_columns, .num_columns = NUM_POOL_COLUMNS });
	for (size_t i = 0; i < view->allocator->num_devices; i++) {
		const struct allocator_device *device =
			&view->allocator->devices[i];
		size_t shown = bounded(view, device->num_pools);

		for (size_t j = 0; j < shown; j++) {
			const struct allocator_pool *pool = &device->pools[j];
			char name[ALLOCATOR_NAME_MAX];
			char texts[2][ALLOCATOR_POOL_MAX];

			render_row(render, (struct cell[NUM_POOL_COLUMNS]){
				[POOL_DEVICE] = cell_text(allocator_device_name(
					view->allocator, i, name)),
				[POOL_NAME] = cell_text(allocator_pool_text(
					pool->is_small, pool->is_private,
					pool->id, texts[0])),
				[POOL_STREAM] = cell_text(allocator_stream_text(
					pool->stream, texts[1])),
				[POOL_RESERVED] = bytes(pool->reserved),
				[POOL_ALLOCATED] = bytes(pool->allocated),
				[POOL_FREE] = bytes(pool->free),
				[POOL_LARGEST] = bytes(pool->largest),
				[POOL_RETURNABLE] = bytes(pool->returnable),
				[POOL_STUCK] = bytes(pool->stuck),
				[POOL_SEGMENTS] = count_cell(pool->segments),
				[POOL_BLOCKS] = count_cell(pool->blocks),
			});
		}
	}
	render_table_end(render);
}

/* --- what is held --------------------------------------------------------------- */

enum held_column {
	HELD_STUCK, HELD_SIZE, HELD_TENANTS, HELD_BYTES, HELD_LARGEST,
	HELD_DEVICE, HELD_SEGMENT, HELD_PATH, NUM_HELD_COLUMNS
};

static const struct column held_columns[NUM_HELD_COLUMNS] = {
	[HELD_STUCK] = { .key = "stuck", .title = "stuck", .unit = UNIT_BYTES },
	[HELD_SIZE] = { .key = "size", .title = "of segment", .unit = UNIT_BYTES },
	[HELD_TENANTS] = { .key = "tenants", .title = "blocks", .unit = UNIT_COUNT },
	[HELD_BYTES] = { .key = "held_by", .title = "in use", .unit = UNIT_BYTES },
	[HELD_LARGEST] = { .key = "tenant_size", .title = "largest", .unit = UNIT_BYTES },
	[HELD_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT },
	[HELD_SEGMENT] = { .key = "segment", .title = "segment", .unit = UNIT_ADDRESS },
	[HELD_PATH] = { .key = "tenant", .title = "is of", .unit = UNIT_TEXT },
};

static struct error *put_held_row(const struct allocator_view *view, size_t i,
				  const struct allocator_stuck *stuck)
{
	const struct torch_device *torch = view->allocator->devices[i].device;
	const struct torch_segment *segment = &torch->segments[stuck->segment];
	struct allocator_text *text = malloc(sizeof(*text));
	char name[ALLOCATOR_NAME_MAX];
	const char *owner;
	struct error *err;

	if (!text)
		return error_no_memory();
	err = allocator_owner_text(view->allocator, i, stuck->tenant, text,
				   &owner);
	render_row(&view->scan->render, (struct cell[NUM_HELD_COLUMNS]){
		[HELD_STUCK] = bytes(stuck->stuck),
		[HELD_SIZE] = bytes(segment->total),
		[HELD_TENANTS] = count_cell(stuck->tenants),
		[HELD_BYTES] = bytes(stuck->held),
		[HELD_LARGEST] = bytes(torch->blocks[stuck->tenant].size),
		[HELD_DEVICE] = cell_text(
			allocator_device_name(view->allocator, i, name)),
		[HELD_SEGMENT] = cell_number(UNIT_ADDRESS, segment->address),
		[HELD_PATH] = cell_text(owner),
	});
	free(text);
	return err;
}

static struct error *put_held(const struct allocator_view *view)
{
	struct render *render = &view->scan->render;
	char texts[2][UNITS_TEXT_MAX];
	struct error *err = NULL;
	size_t more = 0;
	uint64_t rest = 0;

	render_gap(render);
	render_table(render, &(struct table_spec){
		.json_key = "held",
		.title = "HELD  free, and not to be given back",
		.see = "allocator --segments",
		.columns = held_columns, .num_columns = NUM_HELD_COLUMNS });
	for (size_t i = 0; i < view->allocator->num_devices; i++) {
		const struct allocator_device *device =
			&view->allocator->devices[i];
		size_t shown = bounded(view, device->num_stuck);

		for (size_t j = 0; !err && j < shown; j++)
			err = put_held_row(view, i, &device->stuck[j]);
		more += device->num_stuck - shown;
		for (size_t j = shown; j < device->num_stuck; j++)
			rest += device->stuck[j].stuck;
	}
	render_table_end(render);
	if (more)
		render_line(render, "%s more segments with %s (--top 0 shows all)",
			    units_count(more, texts[0]),
			    units_size(rest, texts[1]));
	return err;
}

/* --- lines ---------------------------------------------------------------------- */

static void put_what(const struct allocator_view *view)
{
	const struct caching_allocator *caching = view->allocator->caching;
	const struct torch_settings *settings = &caching->settings;
	struct render *render = &view->scan->render;
	char name[RENDER_NAME_MAX], text[UNITS_TEXT_MAX];

	render_line(render, "%s allocator, found by its %s",
		    allocator_kind_name(caching->kind), caching->found_by);
	if (!settings->source) {
		render_line(render, "settings: not found; max_split_size %s by "
			    "its statistics", settings->max_split_size < 0 ?
			    "none" : units_size((uint64_t)
				settings->max_split_size, text));
		return;
	}
	render_line(render, "settings: expandable_segments %s, max_split_size %s, "
		    "garbage_collection_threshold %.3g%s",
		    settings->expandable_segments ? "on" : "off",
		    settings->max_split_size < 0 ? "none" :
		    units_size((uint64_t)settings->max_split_size, text),
		    settings->garbage_collection_threshold,
		    *settings->conf ? ", by:" : "");
	if (*settings->conf)
		render_line(render, "  %s", render_name(render, settings->conf,
							100, name));
}

static void put_outside(const struct allocator_view *view, size_t i)
{
	const struct allocator_device *device = &view->allocator->devices[i];
	struct render *render = &view->scan->render;
	char name[ALLOCATOR_NAME_MAX], sum[ALLOCATOR_SUM_MAX];

	(void)allocator_device_name(view->allocator, i, name);
	render_line(render, "%s: %s", name,
		    allocator_device_sum(view->allocator, i, sum));
	render_line(render, "%s: outside are CUDA's context and code, NCCL, other "
		    "libraries and processes%s", name,
		    device->device->total == 0 ||
		    device->device_free == UINT64_MAX ?
		    ": how much was not recorded" : "");
}

static void put_device_lines(const struct allocator_view *view, size_t i)
{
	const struct allocator_device *device = &view->allocator->devices[i];
	struct render *render = &view->scan->render;
	char name[ALLOCATOR_NAME_MAX], texts[3][UNITS_TEXT_MAX];

	put_outside(view, i);
	(void)allocator_device_name(view->allocator, i, name);
	if (!device->device->is_known) {
		render_line(render, "%s: its allocator cannot be read; -v says "
			    "why", name);
		return;
	}
	if (device->free)
		render_line(render, "%s: %s free; empty_cache() would give back "
			    "%s, and %s stays beside what is in use", name,
			    units_size(device->free, texts[0]),
			    units_size(device->returnable, texts[1]),
			    units_size(device->stuck_bytes, texts[2]));
	if (device->pending)
		render_line(render, "%s: %s was freed and waits for streams that "
			    "may use it", name,
			    units_size(device->pending, texts[0]));
	if (device->orphans)
		render_line(render, "%s: %s in %s blocks of no tensor that could "
			    "be found (--orphans)", name,
			    units_size(device->orphan_bytes, texts[0]),
			    units_count(device->orphans, texts[1]));
	if (device->device->is_locked)
		render_line(render, "%s: thread %" PRIu32 " was in the allocator: "
			    "its sums may differ", name,
			    device->device->locked_by);
	else if (!device->device->agrees)
		render_line(render, "%s: its statistics say otherwise than its "
			    "blocks; -v says how", name);
}

static void put_lines(const struct allocator_view *view)
{
	const struct allocator *allocator = view->allocator;
	struct render *render = &view->scan->render;
	char texts[2][UNITS_TEXT_MAX];

	if (!render_for_people(render))
		return;
	if (allocator->num_devices == 0) {
		if (allocator->foreign)
			render_line(render, "tensors have %s of GPUs, in %s "
				    "storage%s",
				    units_size(allocator->foreign_bytes,
					       texts[0]),
				    units_count(allocator->foreign, texts[1]),
				    allocator->foreign == 1 ? "" : "s");
		return;
	}
	for (size_t i = 0; i < allocator->num_devices; i++)
		put_device_lines(view, i);
	if (allocator->foreign)
		render_line(render, "tensors have %s that is not this "
			    "allocator's, %s of it another process's",
			    units_size(allocator->foreign_bytes, texts[0]),
			    units_size(allocator->received_bytes, texts[1]));
	put_what(view);
	render_gap(render);
}

static struct error *print(struct allocator_view *view)
{
	struct scan *scan = view->scan;
	struct cell totals[NUM_TOTALS], cells[NUM_DEVICE_COLUMNS];
	char name[ALLOCATOR_NAME_MAX];
	struct error *err = NULL;

	make_totals(view, totals);
	scan_begin(scan, "allocator");
	render_object(&scan->render, "totals", allocator_totals, totals,
		      NUM_TOTALS);
	gate_totals(&scan->gate, totals);
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = "ALLOCATOR",
		.columns = allocator_device_columns, .num_columns = NUM_DEVICE_COLUMNS });
	for (size_t i = 0; i < view->allocator->num_devices; i++) {
		allocator_device_cells(view->allocator, i, name, cells);
		if (gate_open(&scan->gate))
			gate_row(&scan->gate, cells);
		render_row(&scan->render, cells);
	}
	render_table_end(&scan->render);
	put_lines(view);
	if (view->allocator->num_devices || !render_for_people(&scan->render)) {
		put_pools(view);
		err = put_held(view);
	}
	render_end(&scan->render);
	return err;
}

static struct error *run(struct scan *scan)
{
	CLEANUP(allocator_release) struct allocator *allocator = NULL;
	struct allocator_view view = { .scan = scan };
	struct error *err = allocator_open_scan(scan, /* with_tensors= */ true,
						&allocator);

	if (err)
		return err;
	view.allocator = allocator;
	progress_clear();
	err = print(&view);
	if (!err)
		allocator_remark(scan, allocator);
	return err;
}
