/*
 * A graph of objects: who refers to whom, both ways.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Objects are numbers 0 … num_nodes-1, in the order of their addresses. An edge
 * is one word: the number at its other end, and in the two highest bits how the
 * reference is held. The edges of node i are out[out_at[i]] … out[out_at[i+1]-1]
 * in the order in which the object has them; those that lead to it
 * in[in_at[i]] … in the order of who refers.
 */
#ifndef ANALYZER_GRAPH_GRAPH_H
#define ANALYZER_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/base/spill.h"

enum {
	GRAPH_ID_BITS = 30,
	GRAPH_MAX_NODES = (1 << GRAPH_ID_BITS) - 1,
};

#define GRAPH_NONE	UINT32_MAX
#define GRAPH_ID_MASK	((UINT32_C(1) << GRAPH_ID_BITS) - 1)

/** How an edge is held: the numbers of enum pyh_hold. */
enum graph_hold {
	GRAPH_TRAVERSED,	/* owns a count; the collector sees it */
	GRAPH_UNTRAVERSED,	/* owns a count; it does not */
	GRAPH_GUESSED,		/* may own one */
	GRAPH_WEAK,		/* owns none */
};

/** Sets of holds, as masks. */
enum {
	GRAPH_MASK_TRAVERSED = 1 << GRAPH_TRAVERSED,
	GRAPH_MASK_OWNED = 1 << GRAPH_TRAVERSED | 1 << GRAPH_UNTRAVERSED,
	GRAPH_MASK_STRONG = GRAPH_MASK_OWNED | 1 << GRAPH_GUESSED,
};

static inline uint32_t graph_end(uint32_t edge)
{
	return edge & GRAPH_ID_MASK;
}

static inline unsigned int graph_hold(uint32_t edge)
{
	return edge >> GRAPH_ID_BITS;
}

static inline uint32_t graph_edge(uint32_t end, unsigned int hold)
{
	return end | (uint32_t)hold << GRAPH_ID_BITS;
}

/** True if the edge is one of a set. */
static inline bool graph_in(uint32_t edge, unsigned int mask)
{
	return mask >> graph_hold(edge) & 1;
}

struct graph {
	uint32_t num_nodes;
	uint32_t num_edges;
	uint32_t *out_at;	/* num_nodes + 1 */
	uint32_t *out;
	uint32_t *in_at;	/* num_nodes + 1; NULL before graph_reverse() */
	uint32_t *in;
	struct spill_array arrays[4];	/* what these are in */
};

/** Make the edges that lead to each node from those that lead away. */
struct error *graph_reverse(struct graph *graph, unsigned int workers,
			    struct spill *spill);

/** Nodes with edges of a mask that lead to a node: each once. */
uint32_t graph_referrers(const struct graph *graph, uint32_t node,
			 unsigned int mask);

/** Releases all four arrays. */
void graph_deinit(struct graph *graph);

/* --- edges as they are found ----------------------------------------------- */

/**
 * Puts together edges that several workers find, each for runs of nodes. Runs
 * that come too early wait, in memory as far as the budget has room.
 */
struct edge_writer;

struct error *edge_writer_create(uint32_t num_nodes, struct spill *spill,
				 struct edge_writer **ret);
/** NULL is fine. */
void edge_writer_destroy(struct edge_writer *writer);

/** A run of nodes with their edges, borrowed. */
struct edge_run {
	uint32_t first, last;
	bool more;		/* the last one has more, in the next run of
				   the same worker, which begins with it */
	const uint32_t *degrees;	/* of each, from first on */
	const uint32_t *edges;
	size_t num_edges;
};

/** Safe from any thread; every node once. */
struct error *edge_writer_put(struct edge_writer *writer,
			      const struct edge_run *run);

/**
 * All nodes have been given; those that were not have no edges. Moves what was
 * put together to graph, of which only out and out_at are there.
 */
struct error *edge_writer_finish(struct edge_writer *writer,
				 struct graph *graph);

#endif
