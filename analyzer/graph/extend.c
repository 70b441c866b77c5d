/*
 * A graph with more nodes than it has; see extend.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/extend.h"

#include <string.h>

/** Where the edges of each node begin: as before, and one more for each link. */
static void place(const struct graph *graph, const struct graph_link *links,
		  size_t num, struct graph *made)
{
	uint32_t *at = made->out_at;

	for (size_t i = 0; i < num; i++)
		at[links[i].from + 1]++;
	for (uint32_t i = 0; i < graph->num_nodes; i++)
		at[i + 1] += graph->out_at[i + 1] - graph->out_at[i];
	for (uint32_t i = 0; i < made->num_nodes; i++)
		at[i + 1] += at[i];
}

/** What each had comes first; links behind it, from the last to the first. */
static void fill(const struct graph *graph, const struct graph_link *links,
		 size_t num, struct graph *made)
{
	for (uint32_t i = 0; i < graph->num_nodes; i++) {
		uint32_t first = graph->out_at[i];

		memcpy(made->out + made->out_at[i], graph->out + first,
		       (graph->out_at[i + 1] - first) * sizeof(*made->out));
	}
	// Ends move down to where the links of each begin, and up again.
	for (size_t i = 0; i < num; i++) {
		uint32_t *end = &made->out_at[links[i].from + 1];

		made->out[--*end] = graph_edge(links[i].to, GRAPH_UNTRAVERSED);
	}
	for (size_t i = 0; i < num; i++)
		made->out_at[links[i].from + 1]++;
}

struct error *graph_extend(const struct graph *graph, uint32_t more,
			   const struct graph_link *links, size_t num,
			   unsigned int workers, struct spill *spill,
			   struct graph *ret)
{
	uint64_t nodes = (uint64_t)graph->num_nodes + more;
	uint64_t edges = (uint64_t)graph->num_edges + num;
	struct error *err;

	*ret = (struct graph){ 0 };
	if (nodes > GRAPH_MAX_NODES || edges > UINT32_MAX - 1)
		return error_new(ERROR_LIMIT, "too many objects and references "
				 "for one graph");
	ret->num_nodes = (uint32_t)nodes;
	ret->num_edges = (uint32_t)edges;
	err = spill_alloc(spill, (nodes + 1) * sizeof(*ret->out_at),
			  &ret->arrays[0]);
	if (!err)
		err = spill_alloc(spill, edges * sizeof(*ret->out),
				  &ret->arrays[1]);
	if (!err) {
		ret->out_at = ret->arrays[0].data;
		ret->out = ret->arrays[1].data;
		place(graph, links, num, ret);
		fill(graph, links, num, ret);
		err = graph_reverse(ret, workers, spill);
	}
	if (err)
		graph_deinit(ret);
	return err;
}
