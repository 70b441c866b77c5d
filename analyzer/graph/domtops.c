/*
 * Nodes that no single other one dominates; see domtops.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/domtops.h"

/** Number the tops, in their order. */
static struct error *number_tops(const struct dominators *dominators,
				 struct spill *spill, struct domtops *tops)
{
	struct error *err;

	for (uint32_t i = 0; i < dominators->num_nodes; i++)
		tops->count += dominators->parent[i] == DOMINATOR_ROOT;
	err = spill_alloc(spill, (uint64_t)tops->count * sizeof(*tops->nodes),
			  &tops->arrays[1]);
	if (err)
		return err;
	tops->nodes = tops->arrays[1].data;
	tops->count = 0;
	for (uint32_t i = 0; i < dominators->num_nodes; i++) {
		tops->of[i] = GRAPH_NONE;
		if (dominators->parent[i] != DOMINATOR_ROOT)
			continue;
		tops->of[i] = tops->count;
		tops->nodes[tops->count++] = i;
	}
	return NULL;
}

/** From each node up to one whose top is known; then the same way once more. */
static void find_tops(const struct dominators *dominators, uint32_t *of)
{
	const uint32_t *parent = dominators->parent;

	for (uint32_t i = 0; i < dominators->num_nodes; i++) {
		uint32_t at = i, top;

		if (of[i] != GRAPH_NONE || parent[i] == DOMINATOR_UNREACHED)
			continue;
		while (of[at] == GRAPH_NONE)
			at = parent[at];
		top = of[at];
		for (at = i; of[at] == GRAPH_NONE; at = parent[at])
			of[at] = top;
	}
}

/**
 * Edges between tops, as those that lead to each: counted, or put in place.
 *
 * @param at  by top, one more than tops: counts are added behind the place of
 *	each, or places used up
 */
static void each_edge(const struct domtops *tops, const struct graph *graph,
		      unsigned int mask, uint32_t *at, uint32_t *out)
{
	for (uint32_t i = 0; i < tops->count; i++) {
		uint32_t node = tops->nodes[i], before = i;

		for (uint32_t j = graph->in_at[node]; j < graph->in_at[node + 1];
		     j++) {
			uint32_t from = tops->of[graph_end(graph->in[j])];

			// Most come from the same one, one after the other.
			if (!graph_in(graph->in[j], mask) || from == i ||
			    from == before || from == GRAPH_NONE)
				continue;
			before = from;
			if (out)
				out[at[from]++] = graph_edge(i, GRAPH_TRAVERSED);
			else
				at[from + 1]++;
		}
	}
}

static struct error *make_graph(const struct graph *graph, unsigned int mask,
				struct spill *spill, struct domtops *tops)
{
	struct graph *made = &tops->graph;
	uint32_t *at;
	struct error *err = spill_alloc(spill, ((uint64_t)tops->count + 1) *
						       sizeof(*made->out_at),
					&made->arrays[0]);

	if (err)
		return err;
	made->num_nodes = tops->count;
	made->out_at = at = made->arrays[0].data;
	each_edge(tops, graph, mask, at, NULL);
	for (uint32_t i = 0; i < tops->count; i++)
		at[i + 1] += at[i];
	made->num_edges = at[tops->count];
	err = spill_alloc(spill, (uint64_t)made->num_edges * sizeof(*made->out),
			  &made->arrays[1]);
	if (err)
		return err;
	made->out = made->arrays[1].data;
	each_edge(tops, graph, mask, at, made->out);
	// Each has been moved to where the one behind it began.
	for (uint32_t i = tops->count; i > 0; i--)
		at[i] = at[i - 1];
	at[0] = 0;
	return NULL;
}

struct error *domtops_make(const struct dominators *dominators,
			   const struct graph *graph, unsigned int mask,
			   struct spill *spill, struct domtops *ret)
{
	struct error *err;

	*ret = (struct domtops){ 0 };
	err = spill_alloc(spill, (uint64_t)dominators->num_nodes *
					 sizeof(*ret->of), &ret->arrays[0]);
	if (!err) {
		ret->of = ret->arrays[0].data;
		err = number_tops(dominators, spill, ret);
	}
	if (!err) {
		find_tops(dominators, ret->of);
		err = make_graph(graph, mask, spill, ret);
	}
	if (err)
		domtops_deinit(ret);
	return err;
}

void domtops_deinit(struct domtops *tops)
{
	graph_deinit(&tops->graph);
	spill_free(&tops->arrays[0]);
	spill_free(&tops->arrays[1]);
	*tops = (struct domtops){ 0 };
}
