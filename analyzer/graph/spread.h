/*
 * What can be reached, in whichever way is less work.
 * SPDX-License-Identifier: Apache-2.0
 *
 * As long as few have been found whose edges are to be followed, these are
 * followed, wherever they lead. When there are many, it is better to ask all that
 * have not been found, in the order of memory, whether anything that was leads to
 * them (Beamer, Asanović and Patterson, "Direction-optimizing breadth-first
 * search", 2012): most have an answer at their first edges.
 */
#ifndef ANALYZER_GRAPH_SPREAD_H
#define ANALYZER_GRAPH_SPREAD_H

#include "analyzer/graph/reach.h"

struct spread_options {
	unsigned int mask;		/* of the edges that count */
	bool backward;			/* against their directions */
	const struct node_set *within;	/* no others are found or passed; NULL:
					   all are within */
	uint32_t enough;		/* stop when so many were found; 0: all */
	/* an edge from node i to kind_nodes[kinds[i]] does not count; NULL: all
	   count */
	const uint32_t *kinds, *kind_nodes;
	const struct node_set *classes;	/* all that such edges may lead to */
};

/**
 * @param found  where to begin; gets all that is found
 * @param ret_count  how many were found beyond those, at least as many as are
 *	enough if there are
 */
struct error *spread_all(const struct graph *graph,
			 const struct spread_options *options,
			 struct node_set *found, uint32_t *ret_count);

#endif
