/*
 * What can be reached, in whichever way is less work; see spread.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/spread.h"

#include <stdlib.h>

enum {
	FEW = 8,		/* one of so many nodes to be followed is many */
	AHEAD = 4,		/* nodes of which memory is asked for early */
};

struct spreading {
	const struct graph *graph;
	const struct spread_options *options;
	struct node_set *found;
	/* edges in the direction, and against it; NULL: there are none */
	const uint32_t *at, *edges, *back_at, *back;
	uint32_t *pending;	/* found, but not followed */
	uint32_t num_pending, most;
	bool too_many;		/* pending has not all of them */
	uint32_t count;
	uint32_t enough;
};

static bool has_edges(const struct spreading *spreading, uint32_t node)
{
	return spreading->at[node] != spreading->at[node + 1];
}

static void add(struct spreading *spreading, uint32_t node)
{
	(void)node_set_add(spreading->found, node);
	spreading->count++;
	if (!has_edges(spreading, node))
		return;
	if (spreading->num_pending < spreading->most)
		spreading->pending[spreading->num_pending++] = node;
	else
		spreading->too_many = true;
}

/** Does an edge count? @param from, to  in the direction that is searched */
static bool counts(const struct spreading *spreading, uint32_t edge,
		   uint32_t from, uint32_t to)
{
	const struct spread_options *options = spreading->options;
	uint32_t holder = options->backward ? to : from;
	uint32_t held = options->backward ? from : to;

	return graph_in(edge, options->mask) &&
	       !(options->kinds && node_set_has(options->classes, held) &&
		 options->kind_nodes[options->kinds[holder]] == held);
}

static bool is_within(const struct spreading *spreading, uint32_t node)
{
	const struct node_set *within = spreading->options->within;

	return !within || node_set_has(within, node);
}

static void ask_ahead(const struct spreading *spreading)
{
	const uint32_t *pending = spreading->pending + spreading->num_pending;

	if (spreading->num_pending <= 2 * AHEAD)
		return;
	__builtin_prefetch(&spreading->at[pending[-2 * AHEAD]]);
	__builtin_prefetch(&spreading->edges[spreading->at[pending[-AHEAD]]]);
}

/** Follow all that are pending, as long as they are not too many. */
static void follow(struct spreading *spreading)
{
	while (spreading->num_pending > 0 && !spreading->too_many &&
	       spreading->count < spreading->enough) {
		uint32_t node = spreading->pending[--spreading->num_pending];
		uint32_t end = spreading->at[node + 1];

		ask_ahead(spreading);
		for (uint32_t j = spreading->at[node]; j < end; j++) {
			uint32_t edge = spreading->edges[j];
			uint32_t other = graph_end(edge);

			if (!node_set_has(spreading->found, other) &&
			    is_within(spreading, other) &&
			    counts(spreading, edge, node, other))
				add(spreading, other);
		}
	}
}

/** True if an edge leads to a node from what has been found. */
static bool is_next(const struct spreading *spreading, uint32_t node)
{
	uint32_t end = spreading->back_at[node + 1];

	for (uint32_t j = spreading->back_at[node]; j < end; j++) {
		uint32_t edge = spreading->back[j];

		if (node_set_has(spreading->found, graph_end(edge)) &&
		    counts(spreading, edge, graph_end(edge), node))
			return true;
	}
	return false;
}

/** Ask all that were not found. Those that are found now become pending. */
static void sweep(struct spreading *spreading)
{
	const struct node_set *within = spreading->options->within;
	uint32_t nodes = spreading->graph->num_nodes;

	spreading->num_pending = 0;
	spreading->too_many = false;
	for (uint32_t i = 0; i < nodes; i += 64) {
		uint64_t left = ~spreading->found->words[i / 64] &
				(within ? within->words[i / 64] : UINT64_MAX);

		for (; left; left &= left - 1) {
			uint32_t node = i + (uint32_t)__builtin_ctzll(left);

			if (node < nodes && is_next(spreading, node))
				add(spreading, node);
		}
	}
}

/** All where it begins. */
static void begin(struct spreading *spreading)
{
	for (uint32_t i = 0; i < spreading->graph->num_nodes; i += 64) {
		for (uint64_t bits = spreading->found->words[i / 64]; bits;
		     bits &= bits - 1)
			add(spreading, i + (uint32_t)__builtin_ctzll(bits));
	}
	spreading->count = 0;
}

struct error *spread_all(const struct graph *graph,
			 const struct spread_options *options,
			 struct node_set *found, uint32_t *ret_count)
{
	struct spreading spreading = {
		.graph = graph, .options = options, .found = found,
		.at = graph->out_at, .edges = graph->out,
		.back_at = graph->in_at, .back = graph->in,
		.most = graph->num_nodes / FEW + 1,
		.enough = options->enough ? options->enough : UINT32_MAX,
	};

	if (options->backward) {
		spreading.at = graph->in_at;
		spreading.edges = graph->in;
		spreading.back_at = graph->out_at;
		spreading.back = graph->out;
	}
	// Without edges in the other direction all have to be followed.
	if (!spreading.back_at)
		spreading.most = graph->num_nodes;
	spreading.pending = malloc((size_t)spreading.most *
				   sizeof(*spreading.pending));
	if (!spreading.pending)
		return error_no_memory();
	begin(&spreading);
	do {
		// Each time many were found: that does not happen often.
		if (spreading.too_many)
			sweep(&spreading);
		follow(&spreading);
	} while (spreading.too_many && spreading.count < spreading.enough);
	free(spreading.pending);
	*ret_count = spreading.count;
	return NULL;
}
