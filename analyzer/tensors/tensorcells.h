/*
 * What a row of `tensors` shows, there and in the overview.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_TENSORCELLS_H
#define ANALYZER_TENSORCELLS_H

#include "analyzer/tensors/tensor_rows.h"

extern const struct column tensor_columns[NUM_TENSOR_COLUMNS];

enum {
	TENSOR_NUMBER_MAX = 24,	/* characters of one, with what follows it */
	TENSOR_LIST_MAX = TORCH_DIMENSIONS_MAX * TENSOR_NUMBER_MAX + 3,
};

/** What the cells of a row are borrowed from. */
struct tensor_texts {
	struct torch_tensor read;
	char shape[TENSOR_LIST_MAX], strides[TENSOR_LIST_MAX];
	char grad_fn[TORCH_CLASS_MAX], path[TENSOR_PATH_MAX],
		memory[TENSOR_PATH_MAX];
	struct tensor_row_texts keys;
};

/** "[32, 64]"; NULL: it cannot be read, or is of a kind that has none. */
const char *tensor_shape_text(struct tensors *tensors, size_t i,
			      char text[TENSOR_LIST_MAX]);

/** The cells of a row; rows of several tensors have a path for all of them. */
struct error *tensor_cells(const struct tensor_rows *view,
			   const struct tensor_row *row,
			   struct tensor_texts *texts,
			   struct cell cells[NUM_TENSOR_COLUMNS]);

/** The last line of a table: what the rows from number shown on have. */
void tensor_cells_rest(const struct tensor_rows *view, size_t shown);

/** "parameters 4.9 GiB, optimizer 9.8 GiB": bytes by role; "" for none. */
enum { TENSOR_ROLES_MAX = 256 };
const char *tensor_roles_text(const struct tensor_rows *view,
			      char text[TENSOR_ROLES_MAX]);

#endif
