/*
 * A graph with more nodes than it has, and edges that it does not know.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_GRAPH_EXTEND_H
#define ANALYZER_GRAPH_EXTEND_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/graph/graph.h"

/** An edge that owns what it leads to. */
struct graph_link {
	uint32_t from, to;
};

/**
 * A copy, with edges both ways; nodes that are added come behind the others.
 *
 * @param more  nodes to be added
 * @param links  num of them, in any order, between nodes old and new
 */
struct error *graph_extend(const struct graph *graph, uint32_t more,
			   const struct graph_link *links, size_t num,
			   unsigned int workers, struct spill *spill,
			   struct graph *ret);

#endif
