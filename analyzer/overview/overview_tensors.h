/*
 * The section of the overview that is about PyTorch's tensors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It is the leading one, with as many rows as were asked for, where tensors hold
 * more than all objects of Python; else it has five. Absent where there are none.
 */
#ifndef ANALYZER_OVERVIEW_TENSORS_H
#define ANALYZER_OVERVIEW_TENSORS_H

#include <stdbool.h>

#include "analyzer/tensors/tensor_rows.h"

struct overview_tensors {
	struct tensor_rows rows;
	struct error *why_not;	/* owned */
};

/** Never fails: what went wrong is in tensors. */
void overview_tensors_gather(struct scan *scan,
			     struct overview_tensors *tensors);
void overview_tensors_deinit(struct overview_tensors *tensors);

/** Do they hold more than so many bytes? */
bool overview_tensors_lead(const struct overview_tensors *tensors,
			   uint64_t bytes);

/** The section, of so many rows, 0: all; and its lines with the gap. */
struct error *overview_tensors_tell(struct scan *scan,
				    const struct overview_tensors *tensors,
				    uint64_t top);
unsigned int overview_tensors_lines(const struct overview_tensors *tensors,
				    uint64_t top);

#endif
