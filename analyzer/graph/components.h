/*
 * Strongly connected components: nodes that hold each other in cycles.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pearce, "A space-efficient algorithm for finding strongly connected
 * components" (2016): one word for each node.
 */
#ifndef ANALYZER_GRAPH_COMPONENTS_H
#define ANALYZER_GRAPH_COMPONENTS_H

#include <stdint.h>

#include "analyzer/graph/graph.h"
#include "analyzer/graph/reach.h"

/** Those of more than one node, and single nodes with an edge to themselves. */
struct components {
	uint32_t count;
	/* of component i the nodes are members[at[i]] … members[at[i+1]-1], by
	   number; components by their lowest */
	uint32_t *at;
	uint32_t *members;
};

/**
 * @param mask  of the edges that count
 * @param within  nodes outside are left out; NULL: all are within
 * @param spill  of what is needed meanwhile
 */
struct error *components_find(const struct graph *graph, unsigned int mask,
			      const struct node_set *within,
			      struct spill *spill, struct components *ret);
void components_deinit(struct components *components);

#endif
