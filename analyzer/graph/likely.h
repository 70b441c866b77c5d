/*
 * A tree that is likely to be that of the dominators, and which of its nodes are
 * certain to hang where they do.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A search in depth has to wait for memory at each step. A search in breadth
 * knows long before where it will go, and of most objects it finds the dominator
 * at once: who holds a thing is also nearest to it. Where it did not, the
 * parent is moved up to the nearest common ancestor of those that refer to the
 * node (as Cooper, Harvey and Kennedy do, "A simple, fast dominance algorithm",
 * 2001).
 *
 * Of each node the true dominator is its parent in such a tree, or above that.
 * If no edge leads from outside a node's subtree to what is below it, the node
 * dominates all that is below, and its children hang where they should: they
 * are sure, whatever is wrong elsewhere. One look at all edges tells. Of the edges
 * that lead to a sure node that of its parent is all that matters then.
 */
#ifndef ANALYZER_GRAPH_LIKELY_H
#define ANALYZER_GRAPH_LIKELY_H

#include <stdint.h>

#include "analyzer/graph/dominators.h"

enum { LIKELY_TOP = 1 };	/* the number of what refers to all roots */

/* Of a node without edges that count, instead of a number. */
#define LIKELY_LEAF UINT32_MAX

/**
 * Nodes that are reached and have edges that count, numbered in the order of a
 * search in breadth from 2 on, so that parents come before their children.
 */
struct likely {
	const struct graph *graph;	/* borrowed, as are the options */
	const struct dominators_options *options;
	uint32_t *number;	/* by node: LIKELY_LEAF; 0: not reached.
				   Borrowed, too */
	/* by number: */
	uint32_t *node;
	uint32_t *parent;	/* its number */
	struct node_set sure;	/* whose parents are their dominators */
	struct node_set moved;	/* to where no edge need lead from the parent */
	uint32_t count;		/* numbers go up to here */
	uint32_t num_unsure;
	struct spill_array arrays[2];
};

/** Words that likely_find() needs beside its result. */
static inline uint64_t likely_scratch(const struct graph *graph)
{
	return 2 * (uint64_t)graph->num_nodes + LIKELY_TOP + 1;
}

/**
 * @param number  num_nodes words for the numbers, of any content
 * @param scratch  likely_scratch() words, of any content; then of no meaning
 */
struct error *likely_find(const struct graph *graph,
			  const struct dominators_options *options,
			  uint32_t *number, uint32_t *scratch,
			  struct likely *ret);
/** Safe on a zeroed one. */
void likely_deinit(struct likely *likely);

/** True if an edge is one of those that count. */
static inline bool likely_counts(const struct likely *likely, uint32_t edge)
{
	return graph_in(edge, likely->options->mask);
}

/** Runs of nodes, or of numbers, that workers take: whole words of sets. */
enum { LIKELY_SHARD = 1 << 16 };

static inline size_t likely_shards(uint32_t count)
{
	return ((size_t)count + LIKELY_SHARD - 1) / LIKELY_SHARD;
}

/** Those of a shard of 0 … count-1: begin … end-1. */
static inline uint32_t likely_shard(size_t shard, uint32_t count,
				    uint32_t *ret_end)
{
	uint32_t begin = (uint32_t)shard * LIKELY_SHARD;

	*ret_end = count - begin < LIKELY_SHARD ? count : begin + LIKELY_SHARD;
	return begin;
}

#endif
