/*
 * Dominators; see dominators.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of nodes that have edges by `likely`, and what that is not sure of by
 * `semidominators`; then of the others, and weights.
 */
#include "analyzer/graph/dominators.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "analyzer/graph/likely.h"
#include "analyzer/graph/semidominators.h"
#include "image/base/workers.h"

enum { TOP = LIKELY_TOP };

/* What is read together lies together. */
struct link {
	uint32_t depth, jump;
};

struct search {
	const struct graph *graph;
	const struct dominators_options *options;
	struct likely tree;
	struct link *link;		/* by number */
	_Atomic uint64_t *weight;	/* by node: what becomes retained */
	struct spill_array links;
	struct dominators *result;
};

/* --- ancestors ------------------------------------------------------------- */

/** Depth and jump of a number whose parent's are known. */
static void hang(struct search *search, uint32_t w)
{
	struct link *link = search->link;
	uint32_t parent = search->tree.parent[w];
	struct link above = link[parent], over = link[above.jump];

	link[w].depth = above.depth + 1;
	link[w].jump = above.depth - over.depth ==
				       over.depth - link[over.jump].depth ?
			       over.jump : parent;
}

static struct error *hang_all(struct search *search)
{
	struct likely *tree = &search->tree;
	struct error *err = spill_alloc(search->options->spill,
					((uint64_t)tree->count + 1) *
						sizeof(*search->link),
					&search->links);

	if (err)
		return err;
	search->link = search->links.data;
	search->link[TOP] = (struct link){ .depth = 0, .jump = TOP };
	tree->parent[TOP] = TOP;
	for (uint32_t w = TOP + 1; w <= tree->count; w++)
		hang(search, w);
	return NULL;
}

static uint32_t common_ancestor(const struct search *search, uint32_t a,
				uint32_t b)
{
	const struct link *link = search->link;
	const uint32_t *parent = search->tree.parent;

	while (link[a].depth > link[b].depth)
		a = link[link[a].jump].depth >= link[b].depth ?
			    link[a].jump : parent[a];
	while (link[b].depth > link[a].depth)
		b = link[link[b].jump].depth >= link[a].depth ?
			    link[b].jump : parent[b];
	while (a != b) {
		if (link[a].jump != link[b].jump) {
			a = link[a].jump;
			b = link[b].jump;
		} else {
			a = parent[a];
			b = parent[b];
		}
	}
	return a;
}

/* --- parents of all, and weights ------------------------------------------- */

static uint64_t weight_of(const struct search *search, uint32_t node)
{
	const struct dominators_options *options = search->options;

	return options->weights && options->weights[node] != UINT32_MAX ?
		       options->weights[node] :
		       options->weight(options->context, node);
}

/** The number that a node without edges hangs under; 0: none. */
static uint32_t holder_of(const struct search *search, uint32_t node)
{
	const struct graph *graph = search->graph;
	uint32_t holder = 0;

	if (node_set_has(search->options->roots, node))
		return TOP;
	for (uint32_t j = graph->in_at[node];
	     holder != TOP && j < graph->in_at[node + 1]; j++) {
		uint32_t from;

		if (!likely_counts(&search->tree, graph->in[j]))
			continue;
		from = search->tree.number[graph_end(graph->in[j])];
		if (from == 0 || from == holder)
			continue;
		holder = holder == 0 ? from :
				       common_ancestor(search, holder, from);
	}
	return holder;
}

static uint32_t parent_node(const struct search *search, uint32_t number)
{
	return number == TOP ? DOMINATOR_ROOT : search->tree.node[number];
}

struct shard_total {
	uint64_t weight;
	uint32_t reached;
};

struct leaves {
	struct search *search;
	struct shard_total *totals;	/* by shard */
};

/** Of each node its own, before leaves of any shard add theirs. */
static struct error *put_weights(void *context, unsigned int worker,
				 size_t shard)
{
	struct search *search = context;
	uint32_t end, begin = likely_shard(shard, search->graph->num_nodes,
					   &end);

	(void)worker;
	for (uint32_t node = begin; node < end; node++)
		search->result->retained[node] = weight_of(search, node);
	return NULL;
}

static struct error *hang_leaves(void *context, unsigned int worker,
				 size_t shard)
{
	const struct leaves *leaves = context;
	struct search *search = leaves->search;
	const struct likely *tree = &search->tree;
	struct dominators *result = search->result;
	struct shard_total *total = &leaves->totals[shard];
	uint32_t end, begin = likely_shard(shard, search->graph->num_nodes,
					   &end);

	(void)worker;
	for (uint32_t node = begin; node < end; node++) {
		uint32_t number = tree->number[node];
		uint32_t holder = number == 0 ? 0 :
				  number == LIKELY_LEAF ?
					  holder_of(search, node) :
					  tree->parent[number];
		uint64_t weight;

		result->parent[node] = holder ? parent_node(search, holder) :
						DOMINATOR_UNREACHED;
		if (holder == 0)
			continue;
		weight = weight_of(search, node);
		total->weight += weight;
		total->reached++;
		if (number == LIKELY_LEAF && holder > TOP)
			(void)atomic_fetch_add_explicit(
				&search->weight[tree->node[holder]], weight,
				memory_order_relaxed);
	}
	return NULL;
}

static struct error *weigh(struct search *search)
{
	struct dominators *result = search->result;
	const struct likely *tree = &search->tree;
	size_t shards = likely_shards(search->graph->num_nodes);
	struct leaves leaves = { search, calloc(shards + 1,
						sizeof(*leaves.totals)) };
	struct error *err;

	if (!leaves.totals)
		return error_no_memory();
	err = workers_run(search->options->workers, shards, put_weights,
			  search);
	if (!err)
		err = workers_run(search->options->workers, shards, hang_leaves,
				  &leaves);
	for (size_t i = 0; i < shards; i++) {
		result->reached_weight += leaves.totals[i].weight;
		result->num_reached += leaves.totals[i].reached;
	}
	free(leaves.totals);
	if (err)
		return err;
	for (uint32_t w = tree->count; w > TOP; w--)
		if (tree->parent[w] != TOP)
			result->retained[tree->node[tree->parent[w]]] +=
				result->retained[tree->node[w]];
	return NULL;
}

/* --- all of it ------------------------------------------------------------- */

static struct error *result_init(struct dominators *result,
				 const struct graph *graph, struct spill *spill)
{
	uint64_t nodes = graph->num_nodes;
	struct error *err = spill_alloc(spill, nodes * sizeof(uint32_t),
					&result->arrays[0]);

	if (!err)
		err = spill_alloc(spill, nodes * sizeof(uint64_t),
				  &result->arrays[1]);
	result->num_nodes = graph->num_nodes;
	result->parent = result->arrays[0].data;
	result->retained = result->arrays[1].data;
	return err;
}

struct error *dominators_find(const struct graph *graph,
			      const struct dominators_options *options,
			      struct dominators *ret)
{
	struct search search = { .graph = graph, .options = options,
				 .result = ret };
	struct error *err;

	*ret = (struct dominators){ 0 };
	err = result_init(ret, graph, options->spill);
	// Until they are known, the parents have room for other things.
	if (!err)
		err = likely_find(graph, options, ret->parent, &search.tree);
	if (!err && search.tree.num_unsure > 0)
		err = semidominators_find(&search.tree, ret->parent);
	if (!err)
		err = hang_all(&search);
	if (!err) {
		search.weight = ret->arrays[1].data;
		err = weigh(&search);
	}
	likely_deinit(&search.tree);
	spill_free(&search.links);
	if (err)
		dominators_deinit(ret);
	return err;
}

void dominators_deinit(struct dominators *dominators)
{
	spill_free(&dominators->arrays[0]);
	spill_free(&dominators->arrays[1]);
	*dominators = (struct dominators){ 0 };
}
