/*
 * The one large component that many graphs have.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Where objects refer to each other without much order, most of them are in one
 * component. What can be reached from one of its nodes, and what reaches that,
 * are found in breadth, with a bit for each node: several times as fast as the
 * search in depth that finds all components.
 */
#ifndef ANALYZER_GRAPH_GIANT_H
#define ANALYZER_GRAPH_GIANT_H

#include "analyzer/graph/components.h"
#include "analyzer/graph/reach.h"

/**
 * The component of one of some nodes that have much both before and behind them.
 *
 * @param ret  made by this: its nodes; none where there is none. One node alone
 *	need not be in a cycle
 */
struct error *giant_find(const struct graph *graph,
			 const struct components_options *options,
			 struct node_set *ret);

#endif
