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

uint32_t node_set_count(const struct node_set *set);

/**
 * Add to set all that can be reached from its members over edges of a mask.
 *
 * @param within  nodes outside of it are neither added nor passed; NULL: all
 *	are within
 */
struct error *reach(const struct graph *graph, unsigned int mask,
		    const struct node_set *within, struct node_set *set);

/**
 * A shortest way to a node from one that is_start() says yes to: found
 * backwards, by breadth. Of several the one over the lowest numbers.
 *
 * @param avoid  nodes that no way may lead over; NULL: none
 * @param ret  the nodes from the start to the node, both included; the caller
 *	frees it. NULL and 0 where there is no way
 */
struct error *reach_way(const struct graph *graph, unsigned int mask,
			uint32_t node, const struct node_set *avoid,
			bool (*is_start)(void *context, uint32_t node),
			void *context, uint32_t **ret, uint32_t *ret_count);

/* Of a node that is a start, in what reach_tree() returns. */
#define REACH_START	(GRAPH_NONE - 1)

/**
 * Shortest ways to all nodes: of each the one before it, REACH_START, or
 * GRAPH_NONE where no way leads to it. First from the nodes of starts[0], then
 * to what these do not lead to from those of starts[1], and so on.
 *
 * @param ret  num_nodes; the caller frees it
 */
struct error *reach_tree(const struct graph *graph, unsigned int mask,
			 const struct node_set *const *starts,
			 size_t num_starts, uint32_t **ret);

#endif
