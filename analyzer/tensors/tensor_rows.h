/*
 * Rows of `tensors`: which tensors, which of them together, in which order.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_TENSOR_ROWS_H
#define ANALYZER_TENSOR_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "analyzer/cmd.h"
#include "analyzer/tensors/tensors.h"

enum tensor_column {
	TENSOR_BYTES,
	TENSOR_RESIDENT,
	TENSOR_COUNT,		/* of equal ones */
	TENSOR_ADDRESS,
	TENSOR_ROLE,
	TENSOR_DTYPE,
	TENSOR_SHAPE,
	TENSOR_STRIDES,
	TENSOR_LAYOUT,
	TENSOR_DEVICE,
	TENSOR_VIEW,
	TENSOR_TYPE,
	TENSOR_PATH,
	TENSOR_MEMORY,
	TENSOR_DATA,
	TENSOR_STORAGE,
	TENSOR_BLOCK,
	TENSOR_REQUIRES_GRAD,
	TENSOR_GRAD,
	TENSOR_GRAD_FN,
	TENSOR_HELD,
	TENSOR_OWNER,
	TENSOR_IMPL,
	NUM_TENSOR_COLUMNS
};

enum tensor_total {
	TOTAL_COUNT, TOTAL_STORAGES, TOTAL_BYTES, TOTAL_CPU,
	TOTAL_RESIDENT, TOTAL_OTHER_DEVICES,
	TOTAL_PARAMETERS, TOTAL_GRADIENTS, TOTAL_OPTIMIZER, TOTAL_BUFFERS,
	TOTAL_INPUTS, TOTAL_ACTIVATIONS, TOTAL_ARRAYS, TOTAL_REST, TOTAL_CXX,
	TOTAL_CXX_BYTES, TOTAL_BOTH, TOTAL_BOTH_BYTES, TOTAL_UNREAD, TOTAL_RELEASED, TOTAL_BARE, TOTAL_NODES,
	TOTAL_CUPY, TOTAL_CUPY_USED,
	NUM_TOTALS
};

struct tensor_row {
	uint32_t tensor;	/* its number; of equal ones the first */
	uint64_t bytes;		/* that it counts for; of a tensor alone those of
				   its storage */
	uint64_t resident;	/* … that were in memory of the process, or of which
				   that is not known */
	uint64_t count;
	bool knows_resident;
	uint64_t kind;		/* equal ones have the same; 0 where they are not
				   put together */
};

struct allocator;

struct tensor_rows {
	struct scan *scan;
	struct tensors *tensors;
	struct tensors_found all;
	struct allocator *allocator;	/* NULL: nothing is on a GPU */
	struct tensor_row *items;
	size_t count;
	uint64_t totals[NUM_TOTALS];
	bool grouped;
	int sort;		/* a column */
};

/** Fill items, count and totals, in order; the rest is given. */
struct error *tensor_rows_make(struct tensor_rows *rows);
static inline void tensor_rows_deinit(struct tensor_rows *rows)
{
	free(rows->items);
}

/** Was much less of them in memory than their storages have? */
bool tensor_rows_untouched(const struct tensor_rows *rows);

enum { TENSOR_DEVICE_MAX = 32 };

/** "cuda:0", "cpu"; NULL: no such device is known. */
const char *tensor_device_text(const struct tensor *tensor,
			       char text[TENSOR_DEVICE_MAX]);

/* What the cells of tensor_row_key() are borrowed from. */
struct tensor_row_texts {
	char device[TENSOR_DEVICE_MAX], type[TORCH_CLASS_MAX],
		dtype[TORCH_CLASS_MAX];
};

/** A cell of a column that rows may be ordered by; else unknown. */
struct cell tensor_row_key(const struct tensor_rows *rows,
			   const struct tensor_row *row, int column,
			   struct tensor_row_texts *texts);

#endif
