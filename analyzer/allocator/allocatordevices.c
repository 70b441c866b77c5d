/*
 * The rows of PyTorch's allocator for devices; see allocatordevices.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/allocator/allocatordevices.h"

#include <stdio.h>

#include "image/base/units.h"

const struct column allocator_device_columns[NUM_DEVICE_COLUMNS] = {
	[DEVICE_NAME] = { .key = "device", .title = "device", .unit = UNIT_TEXT,
		.about = "cuda:0, cuda:1 …; of ROCm too" },
	[DEVICE_ALLOCATED] = { .key = "allocated", .title = "allocated", .unit = UNIT_BYTES,
		.about = "memory_allocated(): in blocks that are in use" },
	[DEVICE_RESERVED] = { .key = "reserved", .title = "reserved", .unit = UNIT_BYTES,
		.about = "memory_reserved(): in segments, all that was got from "
			 "the driver" },
	[DEVICE_REQUESTED] = { .key = "requested", .title = "requested", .unit = UNIT_BYTES,
		.about = "of active blocks, before they were rounded up; from "
			 "2.0 on" },
	[DEVICE_SPLIT] = { .key = "inactive_split", .title = "split", .unit = UNIT_BYTES,
		.about = "free blocks in segments with others that are not" },
	[DEVICE_LARGEST] = { .key = "largest_free", .title = "largest", .unit = UNIT_BYTES,
		.about = "the largest free block" },
	[DEVICE_FRAGMENTATION] = { .key = "fragmentation", .title = "frag", .unit = UNIT_SHARE,
		.about = "of reserved, what is free and cannot be given back "
			 "(stuck)" },
	[DEVICE_SEGMENTS] = { .key = "segments", .title = "segments", .unit = UNIT_COUNT,
		.about = "as _snapshot() has them" },
	[DEVICE_BLOCKS] = { .key = "blocks", .title = "blocks", .unit = UNIT_COUNT,
		.about = "in all segments" },
	[DEVICE_RETRIES] = { .key = "retries", .title = "retries", .unit = UNIT_COUNT,
		.about = "num_alloc_retries: times that all free segments were "
			 "given back to get another" },
	[DEVICE_OOMS] = { .key = "ooms", .title = "ooms", .unit = UNIT_COUNT,
		.about = "num_ooms: times that it failed after that" },
	[DEVICE_ACTIVE] = { .key = "active", .title = "active", .unit = UNIT_BYTES,
		.about = "allocated, and freed while a stream may still use it",
		.hidden = true },
	[DEVICE_ALLOCATED_PEAK] = { .key = "allocated_peak", .title = "peak", .unit = UNIT_BYTES,
		.about = "max_memory_allocated()", .hidden = true },
	[DEVICE_RESERVED_PEAK] = { .key = "reserved_peak", .title = "reserved peak", .unit = UNIT_BYTES,
		.about = "max_memory_reserved()", .hidden = true },
	[DEVICE_FREE_BYTES] = { .key = "free", .title = "free", .unit = UNIT_BYTES,
		.about = "all free blocks", .hidden = true },
	[DEVICE_RETURNABLE] = { .key = "returnable", .title = "returnable", .unit = UNIT_BYTES,
		.about = "of free: whole segments (of expandable ones whole "
			 "pages), what empty_cache() would give back",
		.hidden = true },
	[DEVICE_STUCK] = { .key = "stuck", .title = "stuck", .unit = UNIT_BYTES,
		.about = "of free: what it would not", .hidden = true },
	[DEVICE_TOTAL] = { .key = "device_total", .title = "total", .unit = UNIT_BYTES,
		.about = "memory of the device, as PyTorch knows it",
		.hidden = true },
	[DEVICE_FREE] = { .key = "device_free", .title = "device free", .unit = UNIT_BYTES,
		.about = "what the driver had, where that was recorded",
		.hidden = true },
	[DEVICE_FREE_FROM] = { .key = "device_free_from", .title = "by", .unit = UNIT_TEXT,
		.about = "\"option\": --device-free; \"event\": as recorded when "
			 "memory ran out; \"exception\": as its message says, "
			 "rounded", .hidden = true, .no_key = true },
	[DEVICE_OUTSIDE] = { .key = "outside", .title = "outside", .unit = UNIT_BYTES,
		.about = "of device_total, neither reserved nor free: what this "
			 "allocator cannot see", .hidden = true },
	[DEVICE_MODEL] = { .key = "model", .title = "model", .unit = UNIT_TEXT,
		.about = "what the device is called", .hidden = true },
	[DEVICE_AGREES] = { .key = "agrees", .title = "agrees", .unit = UNIT_BOOL,
		.about = "its own statistics say the same as its blocks",
		.hidden = true, .no_key = true },
};

static struct cell bytes(uint64_t number)
{
	return cell_number(UNIT_BYTES, number);
}

static struct cell count_cell(uint64_t number)
{
	return cell_number(UNIT_COUNT, number);
}

/** A statistic; one below 0 is damage, and not known. */
static struct cell stat_cell(enum unit unit, int64_t number)
{
	return number < 0 ? cell_unknown() :
			    cell_number(unit, (uint64_t)number);
}

static const char *const froms[] = { NULL, "option", "event", "exception" };

static void memory_cells(const struct allocator_device *device,
			 struct cell cells[NUM_DEVICE_COLUMNS])
{
	const struct torch_device *torch = device->device;

	if (*torch->name)
		cells[DEVICE_MODEL] = cell_text(torch->name);
	if (torch->total)
		cells[DEVICE_TOTAL] = bytes(torch->total);
	if (device->device_free == UINT64_MAX)
		return;
	cells[DEVICE_FREE] = bytes(device->device_free);
	cells[DEVICE_FREE_FROM] = cell_text(froms[device->free_from]);
	if (torch->total >= device->device_free &&
	    torch->total - device->device_free >= torch->reserved)
		cells[DEVICE_OUTSIDE] = bytes(torch->total -
					      device->device_free -
					      torch->reserved);
}

void allocator_device_cells(const struct allocator *allocator, size_t i,
			    char name[ALLOCATOR_NAME_MAX],
			    struct cell cells[NUM_DEVICE_COLUMNS])
{
	const struct allocator_device *device = &allocator->devices[i];
	const struct torch_device *torch = device->device;
	const struct torch_device_stats *stats = &torch->stats;

	for (int j = 0; j < NUM_DEVICE_COLUMNS; j++)
		cells[j] = cell_unknown();
	cells[DEVICE_NAME] =
		cell_text(allocator_device_name(allocator, i, name));
	memory_cells(device, cells);
	if (!torch->is_known)
		return;
	cells[DEVICE_ALLOCATED] = bytes(torch->allocated);
	cells[DEVICE_RESERVED] = bytes(torch->reserved);
	cells[DEVICE_ACTIVE] = bytes(torch->active);
	if (torch->layout.requested)
		cells[DEVICE_REQUESTED] = bytes(torch->requested);
	cells[DEVICE_SPLIT] = stat_cell(
		UNIT_BYTES, stats->inactive_split_bytes[TORCH_STAT_ALL].current);
	cells[DEVICE_LARGEST] = bytes(device->largest_free);
	cells[DEVICE_FRAGMENTATION] =
		cell_part(device->stuck_bytes, torch->reserved);
	cells[DEVICE_SEGMENTS] = count_cell(torch->num_segments);
	cells[DEVICE_BLOCKS] = count_cell(torch->num_blocks);
	cells[DEVICE_RETRIES] = stat_cell(UNIT_COUNT, stats->num_alloc_retries);
	cells[DEVICE_OOMS] = stat_cell(UNIT_COUNT, stats->num_ooms);
	cells[DEVICE_ALLOCATED_PEAK] = stat_cell(
		UNIT_BYTES, stats->allocated_bytes[TORCH_STAT_ALL].peak);
	cells[DEVICE_RESERVED_PEAK] = stat_cell(
		UNIT_BYTES, stats->reserved_bytes[TORCH_STAT_ALL].peak);
	cells[DEVICE_FREE_BYTES] = bytes(device->free);
	cells[DEVICE_RETURNABLE] = bytes(device->returnable);
	cells[DEVICE_STUCK] = bytes(device->stuck_bytes);
	cells[DEVICE_AGREES] = cell_number(UNIT_BOOL, torch->agrees);
}

const char *allocator_device_sum(const struct allocator *allocator, size_t i,
				 char text[ALLOCATOR_SUM_MAX])
{
	const struct allocator_device *device = &allocator->devices[i];
	const struct torch_device *torch = device->device;
	uint64_t rest = torch->total - torch->reserved;
	char texts[5][UNITS_TEXT_MAX];

	(void)units_size(torch->total, texts[0]);
	(void)units_size(torch->allocated, texts[1]);
	(void)units_size(torch->reserved - torch->allocated, texts[2]);
	if (torch->total == 0 || torch->total < torch->reserved)
		(void)snprintf(text, ALLOCATOR_SUM_MAX, "%s allocated + %s "
			       "reserved and free", texts[1], texts[2]);
	else if (device->device_free <= rest)
		(void)snprintf(text, ALLOCATOR_SUM_MAX, "%s = %s allocated + %s "
			       "reserved and free + %s outside PyTorch + %s free",
			       texts[0], texts[1], texts[2],
			       units_size(rest - device->device_free, texts[3]),
			       units_size(device->device_free, texts[4]));
	else
		(void)snprintf(text, ALLOCATOR_SUM_MAX, "%s = %s allocated + %s "
			       "reserved and free + %s free or outside PyTorch",
			       texts[0], texts[1], texts[2],
			       units_size(rest, texts[3]));
	return text;
}
