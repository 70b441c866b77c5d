/*
 * Dominators: whom does a node live by, and how much would go with it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A node dominates another if every way to that from the roots leads over it:
 * without the first the second could not be reached. The nearest one is the
 * parent in a tree, and what a node retains is its weight and that of all
 * below it.
 *
 * Semi-NCA (Georgiadis and Tarjan, "Finding dominators revisited", 2004) on the
 * nodes that have edges of their own; jump pointers (Myers, "An applicative
 * random-access stack", 1983) keep the worst case at n log n. Nodes without
 * edges, most of a heap, come after: their parent is the nearest common ancestor
 * of those that refer to them.
 */
#ifndef ANALYZER_GRAPH_DOMINATORS_H
#define ANALYZER_GRAPH_DOMINATORS_H

#include <stdint.h>

#include "analyzer/graph/graph.h"
#include "analyzer/graph/reach.h"
#include "image/base/spill.h"

/* Parents that are no node. */
#define DOMINATOR_ROOT		(GRAPH_NONE - 1)	/* only the roots together */
#define DOMINATOR_UNREACHED	GRAPH_NONE

struct dominators {
	uint32_t num_nodes;
	uint32_t *parent;	/* of each node */
	uint64_t *retained;	/* … its weight and that of all below; its own
				   weight where it was not reached */
	uint64_t reached_weight;
	uint32_t num_reached;
	struct spill_array arrays[2];
};

struct dominators_options {
	unsigned int workers;
	unsigned int mask;		/* of the edges that count */
	const struct node_set *roots;
	const uint32_t *weights;	/* of each node; UINT32_MAX: ask weight */
	/* of nodes whose weights 32 bits do not hold; without weights, of all */
	uint64_t (*weight)(void *context, uint32_t node);
	void *context;
	struct spill *spill;
};

/** The graph has its edges both ways. */
struct error *dominators_find(const struct graph *graph,
			      const struct dominators_options *options,
			      struct dominators *ret);
void dominators_deinit(struct dominators *dominators);

#endif
