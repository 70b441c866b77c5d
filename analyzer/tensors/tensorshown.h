/*
 * What tensors make of their storages: how much of one can be seen, and which
 * result's graph it belongs to.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_TENSORSHOWN_H
#define ANALYZER_TENSORSHOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/tensors/tensors.h"

struct tensorshown_one {
	uint64_t numel;		/* of the tensor that counts for it */
	uint64_t shown;		/* bytes in the tensors that Python or a graph
				   has, at most all; 0: it has none of these */
	uint32_t root;		/* the result whose graph saved it, or that it
				   is a result of on the way; of its own graph
				   itself; TENSORS_NONE: it is of no graph */
	bool received;		/* from another process */
};

struct tensorshown {
	struct tensorshown_one *items;	/* by storage */
	size_t count;
	uint64_t *parameters;	/* numel of parameters and buffers, the smallest
				   first */
	size_t num_parameters;
};

struct error *tensorshown_make(const struct tensors *tensors,
			       struct tensorshown *ret);
/** Safe on a zeroed one. */
void tensorshown_deinit(struct tensorshown *shown);

#endif
