/*
 * Tops: nodes that no single other one dominates, and who leads to whom of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every way from outside to a node leads over its top. So whoever leads to the
 * top, and only they, lead to what is below it; and of all edges only those
 * that end at a top lead from below one to below another.
 */
#ifndef ANALYZER_GRAPH_DOMTOPS_H
#define ANALYZER_GRAPH_DOMTOPS_H

#include <stdint.h>

#include "analyzer/graph/dominators.h"
#include "analyzer/graph/graph.h"
#include "image/base/spill.h"

struct domtops {
	uint32_t *of;		/* the top of each node: an index in nodes, or
				   GRAPH_NONE where it was not reached */
	uint32_t *nodes;	/* the tops, by number; count of them */
	uint32_t count;
	struct graph graph;	/* of tops, without loops; only out and out_at
				   are there */
	struct spill_array arrays[2];
};

/** @param mask  of the edges that the dominators were found by */
struct error *domtops_make(const struct dominators *dominators,
			   const struct graph *graph, unsigned int mask,
			   struct spill *spill, struct domtops *ret);
/** Safe on a zeroed one. */
void domtops_deinit(struct domtops *tops);

#endif
