/*
 * What can be reached from where; see reach.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/reach.h"

#include <stdlib.h>

#include "analyzer/graph/spread.h"
#include "image/base/guard.h"

struct error *node_set_init(struct node_set *set, uint32_t num_nodes)
{
	set->num_nodes = num_nodes;
	set->words = calloc((size_t)num_nodes / 64 + 1, sizeof(uint64_t));
	return set->words ? NULL : error_no_memory();
}

void node_set_deinit(struct node_set *set)
{
	free(set->words);
	*set = (struct node_set){ 0 };
}

uint32_t node_set_count(const struct node_set *set)
{
	uint32_t count = 0;

	for (size_t i = 0; i < (size_t)set->num_nodes / 64 + 1; i++)
		count += (uint32_t)__builtin_popcountll(set->words[i]);
	return count;
}

/** Nodes whose edges have not been followed yet. */
struct pending {
	uint32_t *nodes;
	size_t count, room;
};

static bool push(struct pending *pending, uint32_t node)
{
	if (pending->count == pending->room) {
		size_t room = pending->room ? pending->room * 2 : 1024;
		uint32_t *nodes = realloc(pending->nodes,
					  room * sizeof(*nodes));

		if (!nodes)
			return false;
		pending->nodes = nodes;
		pending->room = room;
	}
	pending->nodes[pending->count++] = node;
	return true;
}

static bool has_edges(const struct graph *graph, uint32_t node)
{
	return graph->out_at[node] != graph->out_at[node + 1];
}

struct error *reach(const struct graph *graph, unsigned int mask,
		    const struct node_set *within, struct node_set *set)
{
	uint32_t count;

	return spread_all(graph, &(struct spread_options){
			.mask = mask, .within = within }, set, &count);
}

/* --- a way to one ---------------------------------------------------------- */

/** A search by breadth, backwards: nodes of one level stand together. */
struct breadth {
	const struct graph *graph;
	const struct reach_way_options *options;
	struct node_set seen;
	struct pending nodes;
	struct pending levels;	/* where each level begins in nodes */
	/* of the best set that a start was found of: its number, and the level
	   of the nearest ones */
	size_t best_set;
	uint32_t best_level;
};

static void breadth_deinit(struct breadth *breadth)
{
	node_set_deinit(&breadth->seen);
	free(breadth->nodes.nodes);
	free(breadth->levels.nodes);
}

/** Look whether a node is a start of a better set than those found so far. */
static void look_for_start(struct breadth *breadth, uint32_t node)
{
	const struct reach_way_options *options = breadth->options;

	for (size_t i = 0; i < breadth->best_set; i++) {
		if (!node_set_has(options->starts[i], node))
			continue;
		breadth->best_set = i;
		breadth->best_level = (uint32_t)breadth->levels.count - 1;
	}
}

/** Of some edges those that may still be looked at, which the budget pays. */
static uint32_t spend(const struct breadth *breadth, uint32_t edges)
{
	uint64_t *budget = breadth->options->budget;
	uint32_t paid = budget && *budget < edges ? (uint32_t)*budget : edges;

	if (budget)
		*budget -= paid;
	return paid;
}

static bool may_go_on(const struct breadth *breadth)
{
	const uint64_t *budget = breadth->options->budget;

	return !budget || *budget > 0;
}

/** Add those that lead to the nodes of the last level; false without memory. */
static bool add_level(struct breadth *breadth)
{
	const struct reach_way_options *options = breadth->options;
	const struct graph *graph = breadth->graph;
	uint32_t begin = breadth->levels.nodes[breadth->levels.count - 1];
	uint32_t end = (uint32_t)breadth->nodes.count;

	if (!push(&breadth->levels, end))
		return false;
	for (uint32_t i = begin; i < end && may_go_on(breadth); i++) {
		uint32_t at = breadth->nodes.nodes[i], first = graph->in_at[at];
		uint32_t last = first + spend(breadth,
					      graph->in_at[at + 1] - first);

		for (uint32_t j = first; j < last; j++) {
			uint32_t source = graph_end(graph->in[j]);

			if (!graph_in(graph->in[j], options->mask) ||
			    (options->avoid &&
			     node_set_has(options->avoid, source)) ||
			    !node_set_add(&breadth->seen, source))
				continue;
			if (!push(&breadth->nodes, source))
				return false;
			look_for_start(breadth, source);
		}
	}
	return true;
}

/** The nodes of a level, in or out of a set. */
static void mark_level(const struct breadth *breadth, uint32_t level,
		       struct node_set *set, bool in)
{
	uint32_t end = level + 1 < breadth->levels.count ?
			       breadth->levels.nodes[level + 1] :
			       (uint32_t)breadth->nodes.count;

	for (uint32_t i = breadth->levels.nodes[level]; i < end; i++) {
		uint32_t node = breadth->nodes.nodes[i];

		if (in)
			(void)node_set_add(set, node);
		else
			node_set_remove(set, node);
	}
}

/** The nearest start of the best set; of several the lowest. */
static uint32_t best_start(const struct breadth *breadth)
{
	const struct node_set *set =
		breadth->options->starts[breadth->best_set];
	uint32_t level = breadth->best_level, best = GRAPH_NONE;
	uint32_t end = level + 1 < breadth->levels.count ?
			       breadth->levels.nodes[level + 1] :
			       (uint32_t)breadth->nodes.count;

	for (uint32_t i = breadth->levels.nodes[level]; i < end; i++) {
		uint32_t node = breadth->nodes.nodes[i];

		if (node < best && node_set_has(set, node))
			best = node;
	}
	return best;
}

/** The first edge of a node that leads into a set. */
static uint32_t first_into(const struct breadth *breadth, uint32_t node,
			   const struct node_set *set)
{
	const struct graph *graph = breadth->graph;

	for (uint32_t j = graph->out_at[node]; j < graph->out_at[node + 1];
	     j++) {
		if (graph_in(graph->out[j], breadth->options->mask) &&
		    node_set_has(set, graph_end(graph->out[j])))
			return graph_end(graph->out[j]);
	}
	return node;	// Every node of a level leads to one of the level before.
}

/** From the start down the levels. */
static struct error *breadth_way(const struct breadth *breadth,
				 uint32_t **ret, uint32_t *ret_count)
{
	CLEANUP(node_set_deinit) struct node_set level = { 0 };
	uint32_t count = breadth->best_level + 1, node = best_start(breadth);
	struct error *err = node_set_init(&level, breadth->graph->num_nodes);

	if (err)
		return err;
	*ret = malloc(count * sizeof(**ret));
	if (!*ret)
		return error_no_memory();
	*ret_count = count;
	for (uint32_t i = 0;; i++) {
		(*ret)[i] = node;
		if (i + 1 == count)
			return NULL;
		mark_level(breadth, count - i - 2, &level, true);
		node = first_into(breadth, node, &level);
		mark_level(breadth, count - i - 2, &level, false);
	}
}

struct error *reach_way(const struct graph *graph,
			const struct reach_way_options *options, uint32_t node,
			uint32_t **ret, uint32_t *ret_count)
{
	CLEANUP(breadth_deinit) struct breadth breadth = {
		.graph = graph, .options = options,
		.best_set = options->num_starts,
	};
	struct error *err = node_set_init(&breadth.seen, graph->num_nodes);

	*ret = NULL;
	*ret_count = 0;
	if (err)
		return err;
	if (!push(&breadth.levels, 0) || !push(&breadth.nodes, node))
		return error_no_memory();
	(void)node_set_add(&breadth.seen, node);
	if (!options->from_others)
		look_for_start(&breadth, node);
	// Until there is nothing better, and nothing more.
	while (breadth.best_set > 0 && may_go_on(&breadth) &&
	       breadth.levels.nodes[breadth.levels.count - 1] <
		       breadth.nodes.count)
		if (!add_level(&breadth))
			return error_no_memory();
	return breadth.best_set < options->num_starts ?
		       breadth_way(&breadth, ret, ret_count) : NULL;
}

/* --- ways to all ----------------------------------------------------------- */

enum { AHEAD = 16 };	/* nodes of which memory is asked for early */

/** Nodes in the order in which they are found. */
struct queue {
	uint32_t *nodes;
	uint32_t *labels;	/* of each; NULL: none are wanted */
	uint32_t first, count;
	uint32_t depth;		/* of the first, and … */
	uint32_t level_end;	/* … of all before this one */
};

static void prefetch(const struct graph *graph, const struct queue *queue)
{
	if (queue->first + AHEAD < queue->count)
		__builtin_prefetch(
			&graph->out_at[queue->nodes[queue->first + AHEAD]]);
	if (queue->first + AHEAD / 2 < queue->count)
		__builtin_prefetch(&graph->out[graph->out_at[
			queue->nodes[queue->first + AHEAD / 2]]]);
}

/** Put in what was found, with its label. */
static void enqueue(struct queue *queue, uint32_t node, uint32_t label,
		    bool followed)
{
	if (!followed)
		return;
	if (queue->labels)
		queue->labels[queue->count] = label;
	queue->nodes[queue->count++] = node;
}

/** From those that were found, and those found from them. */
static void spread(const struct graph *graph, unsigned int mask,
		   const struct reach_labels *labels, uint32_t *before,
		   struct queue *queue)
{
	queue->depth = 0;
	queue->level_end = queue->count;
	while (queue->first < queue->count) {
		uint32_t node, label = 0;

		if (queue->first == queue->level_end) {
			queue->depth++;
			queue->level_end = queue->count;
		}
		node = queue->nodes[queue->first];
		prefetch(graph, queue);
		for (uint32_t j = graph->out_at[node];
		     j < graph->out_at[node + 1]; j++) {
			uint32_t target = graph_end(graph->out[j]);

			if (!graph_in(graph->out[j], mask) ||
			    before[target] != GRAPH_NONE)
				continue;
			before[target] = node;
			if (labels)
				label = labels->label(
					labels->context,
					queue->labels[queue->first], target,
					queue->depth + 1);
			enqueue(queue, target, label, has_edges(graph, target));
		}
		queue->first++;
	}
}

/** Those of a set that no way leads to so far. */
static void begin_from(const struct node_set *starts,
		       const struct reach_labels *labels, uint32_t *before,
		       struct queue *queue)
{
	for (size_t i = 0; i < (size_t)starts->num_nodes / 64 + 1; i++) {
		for (uint64_t bits = starts->words[i]; bits; bits &= bits - 1) {
			uint32_t node = (uint32_t)(i * 64) +
					(uint32_t)__builtin_ctzll(bits);

			if (before[node] != GRAPH_NONE)
				continue;
			before[node] = REACH_START;
			enqueue(queue, node,
				labels ? labels->label(labels->context, 0, node,
						       0) : 0, true);
		}
	}
}

struct error *reach_tree_make(const struct graph *graph, unsigned int mask,
			      const struct node_set *const *starts,
			      size_t num_starts,
			      const struct reach_labels *labels,
			      struct spill *spill, struct reach_tree *ret)
{
	uint64_t bytes = (uint64_t)graph->num_nodes * sizeof(uint32_t);
	struct spill_array nodes = { .fd = -1 }, of_nodes = { .fd = -1 };
	struct queue queue = { 0 };
	struct error *err = spill_alloc(spill, bytes, &ret->array);

	if (!err)
		err = spill_alloc(spill, bytes, &nodes);
	if (!err && labels)
		err = spill_alloc(spill, bytes, &of_nodes);
	if (err) {
		spill_free(&nodes);
		reach_tree_deinit(ret);
		return err;
	}
	queue.nodes = nodes.data;
	queue.labels = of_nodes.data;
	ret->before = ret->array.data;
	for (uint32_t i = 0; i < graph->num_nodes; i++)
		ret->before[i] = GRAPH_NONE;
	for (size_t i = 0; i < num_starts; i++) {
		begin_from(starts[i], labels, ret->before, &queue);
		spread(graph, mask, labels, ret->before, &queue);
	}
	spill_free(&nodes);
	spill_free(&of_nodes);
	return NULL;
}

void reach_tree_deinit(struct reach_tree *tree)
{
	spill_free(&tree->array);
	tree->before = NULL;
}

struct error *reach_tree_way(const struct reach_tree *tree, uint32_t node,
			     uint32_t **ret, uint32_t *ret_count)
{
	uint32_t count = 0, at;

	*ret = NULL;
	*ret_count = 0;
	if (tree->before[node] == GRAPH_NONE)
		return NULL;
	for (at = node; at != REACH_START; at = tree->before[at])
		count++;
	*ret = malloc(count * sizeof(**ret));
	if (!*ret)
		return error_no_memory();
	*ret_count = count;
	for (at = node; at != REACH_START; at = tree->before[at])
		(*ret)[--count] = at;
	return NULL;
}
