/*
 * What can be reached from where.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_GRAPH_REACH_H
#define ANALYZER_GRAPH_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/graph/graph.h"
#include "image/base/spill.h"

/** A set of nodes: one bit each. */
struct node_set {
	uint64_t *words;
	uint32_t num_nodes;
};

/** An empty set. */
struct error *node_set_init(struct node_set *set, uint32_t num_nodes);
/** Safe on a zeroed one. */
void node_set_deinit(struct node_set *set);

static inline bool node_set_has(const struct node_set *set, uint32_t node)
{
	return set->words[node / 64] >> node % 64 & 1;
}

/** Returns true if the node was not in it. */
static inline bool node_set_add(struct node_set *set, uint32_t node)
{
	uint64_t bit = UINT64_C(1) << node % 64;
	bool is_new = !(set->words[node / 64] & bit);

	set->words[node / 64] |= bit;
	return is_new;
}

static inline void node_set_remove(struct node_set *set, uint32_t node)
{
	set->words[node / 64] &= ~(UINT64_C(1) << node % 64);
}

uint32_t node_set_count(const struct node_set *set);

/**
 * Add to set all that can be reached from its members over edges of a mask.
 *
 * @param within  nodes outside of it are neither added nor passed; NULL: all
 *	are within
 */
struct error *reach(const struct graph *graph, unsigned int mask,
		    const struct node_set *within, struct node_set *set);

/** What reach_way() looks for. */
struct reach_way_options {
	unsigned int mask;		/* of the edges that count */
	/* where a way may begin: one from an earlier set is taken also where
	   one from a later set is shorter */
	const struct node_set *const *starts;
	size_t num_starts;
	const struct node_set *avoid;	/* no way leads over these; NULL: none */
	bool from_others;		/* the node itself is no start */
	/* edges that may be looked at, counted down: at 0 the search ends with
	   the best that was found, which need not be a shortest way of the best
	   set, or with none; NULL: any number */
	uint64_t *budget;
};

/**
 * A shortest way to a node, found backwards, by breadth. Of several it is the
 * one that reach_tree_make() finds: from the start of the lowest number, then
 * by the first edge of each node.
 *
 * @param ret  the nodes from the start to the node, both included; the caller
 *	frees it. NULL and 0 where there is no way
 */
struct error *reach_way(const struct graph *graph,
			const struct reach_way_options *options, uint32_t node,
			uint32_t **ret, uint32_t *ret_count);

/* Of a node that is a start, in a reach_tree. */
#define REACH_START	(GRAPH_NONE - 1)

/**
 * Labels along shortest ways: that of a node follows from that of the node
 * before it.
 */
struct reach_labels {
	/**
	 * Called once for each node that a way leads to, when it is found.
	 *
	 * @param before  label of the node before it; 0 for a start
	 * @param depth  nodes before it
	 */
	uint32_t (*label)(void *context, uint32_t before, uint32_t node,
			  uint32_t depth);
	void *context;
};

/** Shortest ways to all nodes. */
struct reach_tree {
	/* of each node the one before it, REACH_START, or GRAPH_NONE where no
	   way leads to it */
	uint32_t *before;
	struct spill_array array;
};

/**
 * First from the nodes of starts[0], then to what these do not lead to from
 * those of starts[1], and so on.
 *
 * @param labels  NULL: none are wanted
 */
struct error *reach_tree_make(const struct graph *graph, unsigned int mask,
			      const struct node_set *const *starts,
			      size_t num_starts,
			      const struct reach_labels *labels,
			      struct spill *spill, struct reach_tree *ret);
/** Safe on a zeroed one. */
void reach_tree_deinit(struct reach_tree *tree);

/** As reach_way(), of a tree. */
struct error *reach_tree_way(const struct reach_tree *tree, uint32_t node,
			     uint32_t **ret, uint32_t *ret_count);

#endif
