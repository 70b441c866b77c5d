/*
 * What can be reached from where; see reach.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/reach.h"

#include <stdlib.h>

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

static bool follow(const struct graph *graph, unsigned int mask,
		   const struct node_set *within, struct node_set *set,
		   struct pending *pending)
{
	while (pending->count > 0) {
		uint32_t node = pending->nodes[--pending->count];

		for (uint32_t j = graph->out_at[node];
		     j < graph->out_at[node + 1]; j++) {
			uint32_t target = graph_end(graph->out[j]);

			if (!graph_in(graph->out[j], mask) ||
			    (within && !node_set_has(within, target)) ||
			    !node_set_add(set, target))
				continue;
			if (!push(pending, target))
				return false;
		}
	}
	return true;
}

struct error *reach(const struct graph *graph, unsigned int mask,
		    const struct node_set *within, struct node_set *set)
{
	struct pending pending = { 0 };
	size_t words = (size_t)graph->num_nodes / 64 + 1;
	// What is found goes through the words again only as far as it is new,
	// so all that were there at first are taken one by one.
	uint64_t *first = malloc(words * sizeof(*first));
	bool done = first != NULL;

	for (size_t i = 0; done && i < words; i++)
		first[i] = set->words[i];
	for (size_t i = 0; done && i < words; i++) {
		for (uint64_t bits = first[i]; done && bits;
		     bits &= bits - 1) {
			uint32_t node = (uint32_t)(i * 64) +
					(uint32_t)__builtin_ctzll(bits);

			done = push(&pending, node) &&
			       follow(graph, mask, within, set, &pending);
		}
	}
	free(pending.nodes);
	free(first);
	return done ? NULL : error_no_memory();
}

/* --- a way to one ---------------------------------------------------------- */

/** Nodes by breadth, each with the one that it leads to. */
struct breadth {
	uint32_t *nodes;
	uint32_t *leads_to;	/* indices in nodes */
	uint32_t count, room;
};

static bool breadth_add(struct breadth *breadth, uint32_t node,
			uint32_t leads_to)
{
	if (breadth->count == breadth->room) {
		uint32_t room = breadth->room ? breadth->room * 2 : 256;
		uint32_t *nodes = realloc(breadth->nodes, room * sizeof(*nodes));
		uint32_t *ends;

		if (!nodes)
			return false;
		breadth->nodes = nodes;
		ends = realloc(breadth->leads_to, room * sizeof(*ends));
		if (!ends)
			return false;
		breadth->leads_to = ends;
		breadth->room = room;
	}
	breadth->nodes[breadth->count] = node;
	breadth->leads_to[breadth->count++] = leads_to;
	return true;
}

/** The way from one of them to the first, as nodes. */
static struct error *breadth_way(const struct breadth *breadth, uint32_t at,
				 uint32_t **ret, uint32_t *ret_count)
{
	uint32_t count = 1;

	for (uint32_t i = at; i != 0; i = breadth->leads_to[i])
		count++;
	*ret = malloc(count * sizeof(**ret));
	if (!*ret)
		return error_no_memory();
	*ret_count = count;
	for (uint32_t i = 0; i < count; i++) {
		(*ret)[i] = breadth->nodes[at];
		at = breadth->leads_to[at];
	}
	return NULL;
}

struct error *reach_way(const struct graph *graph, unsigned int mask,
			uint32_t node, const struct node_set *avoid,
			bool (*is_start)(void *context, uint32_t node),
			void *context, uint32_t **ret, uint32_t *ret_count)
{
	CLEANUP(node_set_deinit) struct node_set seen = { 0 };
	struct breadth breadth = { 0 };
	struct error *err = node_set_init(&seen, graph->num_nodes);
	bool done = false;

	*ret = NULL;
	*ret_count = 0;
	if (!err && !breadth_add(&breadth, node, 0))
		err = error_no_memory();
	if (!err)
		(void)node_set_add(&seen, node);
	for (uint32_t i = 0; !err && !done && i < breadth.count; i++) {
		uint32_t at = breadth.nodes[i];

		if (is_start(context, at)) {
			err = breadth_way(&breadth, i, ret, ret_count);
			done = true;
			continue;
		}
		for (uint32_t j = graph->in_at[at]; j < graph->in_at[at + 1];
		     j++) {
			uint32_t source = graph_end(graph->in[j]);

			if (!graph_in(graph->in[j], mask) ||
			    (avoid && node_set_has(avoid, source)) ||
			    !node_set_add(&seen, source))
				continue;
			if (!breadth_add(&breadth, source, i)) {
				err = error_no_memory();
				break;
			}
		}
	}
	free(breadth.nodes);
	free(breadth.leads_to);
	return err;
}

/* --- ways to all ----------------------------------------------------------- */

/** From those of nodes from *first on, which the last ones are found from. */
static void spread(const struct graph *graph, unsigned int mask,
		   uint32_t *before, uint32_t *nodes, uint32_t *first,
		   uint32_t *count)
{
	while (*first < *count) {
		uint32_t node = nodes[(*first)++];

		for (uint32_t j = graph->out_at[node];
		     j < graph->out_at[node + 1]; j++) {
			uint32_t target = graph_end(graph->out[j]);

			if (!graph_in(graph->out[j], mask) ||
			    before[target] != GRAPH_NONE)
				continue;
			before[target] = node;
			nodes[(*count)++] = target;
		}
	}
}

struct error *reach_tree(const struct graph *graph, unsigned int mask,
			 const struct node_set *const *starts,
			 size_t num_starts, uint32_t **ret)
{
	uint32_t *before = malloc(((size_t)graph->num_nodes + 1) *
				  sizeof(*before));
	uint32_t *nodes = malloc(((size_t)graph->num_nodes + 1) *
				 sizeof(*nodes));
	uint32_t first = 0, count = 0;

	if (!before || !nodes) {
		free(before);
		free(nodes);
		return error_no_memory();
	}
	for (uint32_t i = 0; i < graph->num_nodes; i++)
		before[i] = GRAPH_NONE;
	for (size_t i = 0; i < num_starts; i++) {
		for (uint32_t node = 0; node < graph->num_nodes; node++) {
			if (before[node] != GRAPH_NONE ||
			    !node_set_has(starts[i], node))
				continue;
			before[node] = REACH_START;
			nodes[count++] = node;
		}
		spread(graph, mask, before, nodes, &first, &count);
	}
	free(nodes);
	*ret = before;
	return NULL;
}
