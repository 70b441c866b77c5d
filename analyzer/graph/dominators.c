/*
 * Dominators; see dominators.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of nodes that have edges by `likely`, and what that is not sure of by
 * `semidominators`; then of the others, and weights. All memory is fresh once
 * only: what becomes retained is scratch before, and what becomes the parents
 * has the numbers.
 */
#include "analyzer/graph/dominators.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "analyzer/graph/likely.h"
#include "analyzer/graph/semidominators.h"
#include "image/base/workers.h"

enum {
	TOP = LIKELY_TOP,
	AHEAD = 32,		/* edges whose nodes' numbers are asked for */
	STEPS_MAX = 64,		/* up the tree without jumps, for each leaf */
};

/* What is read together lies together. */
struct link {
	uint32_t depth, jump;
};

struct search {
	const struct graph *graph;
	const struct dominators_options *options;
	struct likely tree;
	struct link *link;		/* by number; NULL: not made yet */
	_Atomic uint64_t *weight;	/* by node: what becomes retained */
	struct spill_array links;
	_Atomic uint32_t num_far;	/* leaves that it takes links for */
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
	struct error *err = spill_alloc_unset(search->options->spill,
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

static uint32_t far_ancestor(const struct search *search, uint32_t a,
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

/**
 * The nearest common ancestor; 0 where it takes links, which there are none of
 * yet: mostly it is near.
 *
 * @param steps  counted down
 */
static uint32_t common_ancestor(const struct search *search, uint32_t a,
				uint32_t b, unsigned int *steps)
{
	const uint32_t *parent = search->tree.parent;

	if (search->link)
		return far_ancestor(search, a, b);
	// Parents have lower numbers than their children.
	for (; a != b; --*steps) {
		if (*steps == 0)
			return 0;
		if (a > b)
			a = parent[a];
		else
			b = parent[b];
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

/* Holders that are no numbers. */
#define HOLDER_NONE	UINT32_C(0)
#define HOLDER_FAR	UINT32_MAX	/* to be told once there are links */

_Static_assert(LIKELY_LEAF == DOMINATOR_UNREACHED,
	       "leaves have no parent until they get one");

/** The number that a node without edges hangs under, or one of the above. */
static uint32_t holder_of(const struct search *search, uint32_t node)
{
	const struct graph *graph = search->graph;
	const uint32_t *number = search->tree.number;
	uint32_t holder = HOLDER_NONE, end = graph->in_at[node + 1];
	unsigned int steps = STEPS_MAX;

	if (node_set_has(search->options->roots, node))
		return TOP;
	for (uint32_t j = graph->in_at[node]; holder != TOP && j < end; j++) {
		uint32_t from;

		if (graph->num_edges - j > AHEAD)
			__builtin_prefetch(
				&number[graph_end(graph->in[j + AHEAD])]);
		if (!likely_counts(&search->tree, graph->in[j]))
			continue;
		from = number[graph_end(graph->in[j])];
		// Not reached, or the same again.
		if (from == LIKELY_LEAF || from == holder)
			continue;
		holder = holder == HOLDER_NONE ?
				 from :
				 common_ancestor(search, holder, from, &steps);
		if (holder == 0)
			return HOLDER_FAR;
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

struct weighing {
	struct search *search;
	struct shard_total *totals;	/* by shard of nodes */
};

static void add_reached(struct shard_total *total, uint64_t weight)
{
	total->weight += weight;
	total->reached++;
}

/**
 * Of each node its own, before leaves of any shard add theirs. What has edges and
 * is not reached is a leaf from here on: nobody who counts leads to that either.
 */
static struct error *put_weights(void *context, unsigned int worker,
				 size_t shard)
{
	const struct weighing *weighing = context;
	struct search *search = weighing->search;
	uint32_t *number = search->tree.number;
	uint32_t end, begin = likely_shard(shard, search->graph->num_nodes,
					   &end);

	(void)worker;
	for (uint32_t node = begin; node < end; node++) {
		uint64_t weight = weight_of(search, node);

		search->result->retained[node] = weight;
		if (number[node] == 0)
			number[node] = LIKELY_LEAF;
		else if (number[node] != LIKELY_LEAF)
			add_reached(&weighing->totals[shard], weight);
	}
	return NULL;
}

/**
 * Leaves get their parents in the place of their numbers, which are those of
 * what is not reached. Nobody asks for numbers of leaves.
 */
static struct error *hang_leaves(void *context, unsigned int worker,
				 size_t shard)
{
	const struct weighing *weighing = context;
	struct search *search = weighing->search;
	uint32_t *parent = search->result->parent, num_far = 0;
	uint32_t end, begin = likely_shard(shard, search->graph->num_nodes,
					   &end);

	(void)worker;
	for (uint32_t node = begin; node < end; node++) {
		uint32_t holder = parent[node] == LIKELY_LEAF ?
					  holder_of(search, node) : HOLDER_NONE;
		uint64_t weight;

		num_far += holder == HOLDER_FAR;
		if (holder == HOLDER_NONE || holder == HOLDER_FAR)
			continue;
		weight = weight_of(search, node);
		add_reached(&weighing->totals[shard], weight);
		parent[node] = parent_node(search, holder);
		if (holder > TOP)
			(void)atomic_fetch_add_explicit(
				&search->weight[search->tree.node[holder]],
				weight, memory_order_relaxed);
	}
	(void)atomic_fetch_add(&search->num_far, num_far);
	return NULL;
}

/** Then all others, in the place of their numbers as well. */
static struct error *put_parents(void *context, unsigned int worker,
				 size_t shard)
{
	struct search *search = context;
	const struct likely *tree = &search->tree;
	uint32_t end, w = likely_shard(shard, tree->count + 1, &end);

	(void)worker;
	for (w = w > TOP ? w : TOP + 1; w < end; w++)
		search->result->parent[tree->node[w]] =
			parent_node(search, tree->parent[w]);
	return NULL;
}

static struct error *hang_nodes(struct weighing *weighing)
{
	struct search *search = weighing->search;
	unsigned int workers = search->options->workers;
	size_t shards = likely_shards(search->graph->num_nodes);
	struct error *err = workers_run(workers, shards, put_weights, weighing);

	if (!err)
		err = workers_run(workers, shards, hang_leaves, weighing);
	if (!err && search->num_far > 0) {
		err = hang_all(search);
		if (!err)
			err = workers_run(workers, shards, hang_leaves,
					  weighing);
	}
	return err ? err : workers_run(workers,
				       likely_shards(search->tree.count + 1),
				       put_parents, search);
}

static struct error *weigh(struct search *search)
{
	struct dominators *result = search->result;
	const struct likely *tree = &search->tree;
	size_t shards = likely_shards(search->graph->num_nodes);
	struct weighing weighing = { search, calloc(shards + 1,
						    sizeof(*weighing.totals)) };
	struct error *err;

	if (!weighing.totals)
		return error_no_memory();
	err = hang_nodes(&weighing);
	for (size_t i = 0; i < shards; i++) {
		result->reached_weight += weighing.totals[i].weight;
		result->num_reached += weighing.totals[i].reached;
	}
	free(weighing.totals);
	if (err)
		return err;
	for (uint32_t w = tree->count; w > TOP; w--)
		if (tree->parent[w] != TOP)
			result->retained[tree->node[tree->parent[w]]] +=
				result->retained[tree->node[w]];
	return NULL;
}

/* --- all of it ------------------------------------------------------------- */

/** What becomes retained has room for the search before, too. */
static struct error *result_init(struct dominators *result,
				 const struct graph *graph, struct spill *spill)
{
	uint64_t nodes = graph->num_nodes;
	uint64_t scratch = likely_scratch(graph) * sizeof(uint32_t);
	uint64_t retained = nodes * sizeof(uint64_t);
	struct error *err = spill_alloc_unset(spill, nodes * sizeof(uint32_t),
					      &result->arrays[0]);

	if (!err)
		err = spill_alloc_unset(spill, scratch > retained ?
						       scratch : retained,
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
	if (!err)
		err = likely_find(graph, options, ret->parent,
				  ret->arrays[1].data, &search.tree);
	if (!err && search.tree.num_unsure > 0)
		err = semidominators_find(&search.tree, ret->arrays[1].data);
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
