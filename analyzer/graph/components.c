/*
 * Strongly connected components; see components.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/components.h"

#include <stdbool.h>
#include <stdlib.h>

#include "analyzer/graph/giant.h"
#include "image/base/guard.h"

/** Where the search is in a node. */
struct step {
	uint32_t node, edge;
	bool is_root;		/* of a component, as far as is known */
};

struct search {
	const struct graph *graph;
	const struct components_options *options;
	/* by node: 0 not seen; while it is searched from, a number in the order
	   of seeing; when its component is known, DONE and the number of that,
	   from 1 on, or 0 where it is in no cycle */
	uint32_t *index;
	uint32_t next_index;
	struct step *steps;
	size_t num_steps, steps_room;
	uint32_t *open;		/* seen, of no known component yet */
	size_t num_open, open_room;
	uint32_t count;		/* of components so far */
};

/* More than any number in the order of seeing. */
#define DONE (UINT32_C(1) << 31)

enum { PREFETCH_EDGES = 16 };

static bool grow(void **array, size_t count, size_t *room, size_t size)
{
	size_t wanted = *room ? *room * 2 : 1024;
	void *grown;

	if (count < *room)
		return true;
	grown = realloc(*array, wanted * size);
	if (!grown)
		return false;
	*array = grown;
	*room = wanted;
	return true;
}

static bool enter(struct search *search, uint32_t node)
{
	const struct graph *graph = search->graph;

	if (!grow((void **)&search->steps, search->num_steps,
		  &search->steps_room, sizeof(*search->steps)))
		return false;
	search->index[node] = search->next_index++;
	for (uint32_t j = graph->out_at[node];
	     j < graph->out_at[node + 1] && j - graph->out_at[node] <
						    PREFETCH_EDGES; j++)
		__builtin_prefetch(&search->index[graph_end(graph->out[j])]);
	search->steps[search->num_steps++] = (struct step){
		.node = node, .edge = search->graph->out_at[node],
		.is_root = true };
	return true;
}

static bool add_open(struct search *search, uint32_t node)
{
	if (!grow((void **)&search->open, search->num_open, &search->open_room,
		  sizeof(*search->open)))
		return false;
	search->open[search->num_open++] = node;
	return true;
}

static bool counts(const struct search *search, uint32_t node, uint32_t edge)
{
	const struct components_options *options = search->options;

	return graph_in(edge, options->mask) &&
	       (!options->kinds ||
		graph_end(edge) != options->kind_nodes[options->kinds[node]]);
}

static bool refers_to_itself(const struct search *search, uint32_t node)
{
	const struct graph *graph = search->graph;

	for (uint32_t j = graph->out_at[node]; j < graph->out_at[node + 1]; j++)
		if (graph_end(graph->out[j]) == node &&
		    counts(search, node, graph->out[j]))
			return true;
	return false;
}

/** A node of which all has been seen, and which is the root of its component. */
static void close_component(struct search *search, uint32_t node)
{
	uint32_t own = search->index[node], component = DONE;
	size_t open = search->num_open;

	if ((open > 0 && search->index[search->open[open - 1]] >= own) ||
	    refers_to_itself(search, node))
		component = DONE + ++search->count;
	search->index[node] = component;
	while (open > 0 && search->index[search->open[open - 1]] >= own)
		search->index[search->open[--open]] = component;
	search->num_open = open;
}

/** Look at a node's edges until one leads to what has not been seen. */
static bool advance(struct search *search, struct step *step,
		    uint32_t *ret_next)
{
	const struct graph *graph = search->graph;
	uint32_t end = graph->out_at[step->node + 1];

	for (; step->edge < end; step->edge++) {
		uint32_t edge = graph->out[step->edge];
		uint32_t target = graph_end(edge);

		if (!counts(search, step->node, edge))
			continue;
		if (search->index[target] == 0) {
			*ret_next = target;
			return true;
		}
		// Of what is done the index is the largest.
		if (search->index[target] < search->index[step->node]) {
			search->index[step->node] = search->index[target];
			step->is_root = false;
		}
	}
	return false;
}

static bool search_from(struct search *search, uint32_t root)
{
	if (!enter(search, root))
		return false;
	while (search->num_steps > 0) {
		struct step *step = &search->steps[search->num_steps - 1];
		uint32_t node = step->node, next;

		if (advance(search, step, &next)) {
			// The edge is looked at again when that is known.
			if (!enter(search, next))
				return false;
			continue;
		}
		search->num_steps--;
		if (step->is_root)
			close_component(search, node);
		else if (!add_open(search, node))
			return false;
	}
	return true;
}

/**
 * Put them in order, in two passes over all nodes: components come in the order
 * of their lowest nodes, and nodes in theirs.
 */
static struct error *list(const struct search *search, struct components *ret)
{
	uint32_t nodes = search->graph->num_nodes, members = 0;
	uint32_t *place = calloc((size_t)search->count + 1, sizeof(*place));
	uint32_t *sizes = calloc((size_t)search->count + 1, sizeof(*sizes));

	ret->at = calloc((size_t)search->count + 2, sizeof(*ret->at));
	if (place && sizes && ret->at) {
		for (uint32_t i = 0; i < nodes; i++) {
			uint32_t component = search->index[i] - DONE;

			if (component == 0)
				continue;
			if (place[component - 1] == 0)
				place[component - 1] = ++ret->count;
			sizes[place[component - 1] - 1]++;
			members++;
		}
		ret->members = malloc(((size_t)members + 1) *
				      sizeof(*ret->members));
	}
	// at[i + 1] is where the next one of component i goes.
	for (uint32_t i = 0; ret->members && i < ret->count; i++)
		ret->at[i + 2] = ret->at[i + 1] + sizes[i];
	for (uint32_t i = 0; ret->members && i < nodes; i++) {
		uint32_t component = search->index[i] - DONE;

		if (component > 0)
			ret->members[ret->at[place[component - 1]]++] = i;
	}
	free(place);
	free(sizes);
	return ret->members ? NULL : error_no_memory();
}

/** The largest is found in another way, where there is one. */
static struct error *take_giant(struct search *search)
{
	CLEANUP(node_set_deinit) struct node_set giant = { 0 };
	struct error *err = giant_find(search->graph, search->options, &giant);

	if (err || node_set_count(&giant) < 2)
		return err;
	search->count++;
	for (uint32_t i = 0; i < search->graph->num_nodes; i++)
		if (node_set_has(&giant, i))
			search->index[i] = DONE + search->count;
	return NULL;
}

struct error *components_find(const struct graph *graph,
			      const struct components_options *options,
			      struct components *ret)
{
	struct search search = { .graph = graph, .options = options,
				 .next_index = 1 };
	struct spill_array index = { .fd = -1 };
	struct error *err;

	*ret = (struct components){ 0 };
	err = spill_alloc(options->spill,
			  (uint64_t)graph->num_nodes * sizeof(uint32_t),
			  &index);
	search.index = index.data;
	if (!err)
		err = take_giant(&search);
	// What leads nowhere is in no cycle.
	for (uint32_t i = 0; !err && i < graph->num_nodes; i++)
		if (graph->out_at[i] == graph->out_at[i + 1])
			search.index[i] = DONE;
	for (uint32_t i = 0; !err && i < graph->num_nodes; i++)
		if (search.index[i] == 0 && !search_from(&search, i))
			err = error_no_memory();
	if (!err)
		err = list(&search, ret);
	spill_free(&index);
	free(search.steps);
	free(search.open);
	if (err)
		components_deinit(ret);
	return err;
}

void components_deinit(struct components *components)
{
	free(components->at);
	free(components->members);
	*components = (struct components){ 0 };
}
