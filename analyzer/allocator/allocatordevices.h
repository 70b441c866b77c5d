/*
 * The rows of PyTorch's allocator for devices: of `allocator`, and of the overview.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_ALLOCATORDEVICES_H
#define ANALYZER_ALLOCATORDEVICES_H

#include "analyzer/allocator/allocator.h"
#include "analyzer/show/render.h"

enum device_column {
	DEVICE_NAME,
	DEVICE_ALLOCATED,
	DEVICE_RESERVED,
	DEVICE_REQUESTED,
	DEVICE_SPLIT,
	DEVICE_LARGEST,
	DEVICE_FRAGMENTATION,
	DEVICE_SEGMENTS,
	DEVICE_BLOCKS,
	DEVICE_RETRIES,
	DEVICE_OOMS,
	DEVICE_ACTIVE,
	DEVICE_ALLOCATED_PEAK,
	DEVICE_RESERVED_PEAK,
	DEVICE_FREE_BYTES,
	DEVICE_RETURNABLE,
	DEVICE_STUCK,
	DEVICE_TOTAL,
	DEVICE_FREE,
	DEVICE_FREE_FROM,
	DEVICE_OUTSIDE,
	DEVICE_MODEL,
	DEVICE_AGREES,
	NUM_DEVICE_COLUMNS
};

extern const struct column allocator_device_columns[NUM_DEVICE_COLUMNS];

/** Of one device; cells borrow from name and the allocator. */
void allocator_device_cells(const struct allocator *allocator, size_t i,
			    char name[ALLOCATOR_NAME_MAX],
			    struct cell cells[NUM_DEVICE_COLUMNS]);

enum { ALLOCATOR_SUM_MAX = 256 };

/**
 * What a device's memory is, in one sum: "79.11 GiB = 75.17 GiB allocated + …".
 */
const char *allocator_device_sum(const struct allocator *allocator, size_t i,
				 char text[ALLOCATOR_SUM_MAX]);

#endif
