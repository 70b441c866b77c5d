/*
 * Strongly connected components: nodes that hold each other in cycles.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pearce, "A space-efficient algorithm for finding strongly connected
 * components" (2016): one word for each node; but for the largest (giant.h).
 */
#ifndef ANALYZER_GRAPH_COMPONENTS_H
#define ANALYZER_GRAPH_COMPONENTS_H

#include <stdint.h>

#include "analyzer/graph/graph.h"
#include "image/base/spill.h"

/** Those of more than one node, and single nodes with an edge to themselves. */
struct components {
	uint32_t count;
	/* of component i the nodes are members[at[i]] … members[at[i+1]-1], by
	   number; components by their lowest */
	uint32_t *at;
	uint32_t *members;
};

struct components_options {
	unsigned int mask;		/* of the edges that count */
	/* an edge from node i to kind_nodes[kinds[i]] does not count: to its
	   class, by which all instances would be in one component with all
	   that the class leads to. NULL: all count */
	const uint32_t *kinds, *kind_nodes;
	struct spill *spill;		/* of what is needed meanwhile */
};

/** The graph has its edges both ways. */
struct error *components_find(const struct graph *graph,
			      const struct components_options *options,
			      struct components *ret);
void components_deinit(struct components *components);

#endif
