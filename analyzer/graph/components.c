/*
 * Strongly connected components; see components.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/components.h"

#include <stdbool.h>
#include <stdlib.h>

/** Where the search is in a node. */
struct step {
	uint32_t node, edge;
	bool is_root;		/* of a component, as far as is known */
};

struct search {
	const struct graph *graph;
	const struct components_options *options;
	/* by node: 0 not seen; while it is searched from, a number in the order
	   of seeing; when its component is known, DONE */
	uint32_t *index;
	uint32_t next_index;
	struct step *steps;
	size_t num_steps, steps_room;
	uint32_t *open;		/* seen, of no known component yet */
	size_t num_open, open_room;
	uint32_t *members;	/* of components found, each closed by its size */
	size_t num_members, members_room;
	uint32_t count;
};

#define DONE UINT32_MAX

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
	if (!grow((void **)&search->steps, search->num_steps,
		  &search->steps_room, sizeof(*search->steps)))
		return false;
	search->index[node] = search->next_index++;
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

static bool add_member(struct search *search, uint32_t node)
{
	if (!grow((void **)&search->members, search->num_members,
		  &search->members_room, sizeof(*search->members)))
		return false;
	search->members[search->num_members++] = node;
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
static bool close_component(struct search *search, uint32_t node)
{
	uint32_t own = search->index[node];
	size_t first = search->num_open;
	uint32_t size;

	search->index[node] = DONE;
	while (first > 0 && search->index[search->open[first - 1]] >= own)
		first--;
	size = (uint32_t)(search->num_open - first) + 1;
	if (size == 1 && !refers_to_itself(search, node))
		return true;
	for (size_t i = first; i < search->num_open; i++) {
		search->index[search->open[i]] = DONE;
		if (!add_member(search, search->open[i]))
			return false;
	}
	search->num_open = first;
	search->count++;
	return add_member(search, node) && add_member(search, size);
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
			// What leads nowhere is in no cycle.
			if (graph->out_at[target] ==
			    graph->out_at[target + 1]) {
				search->index[target] = DONE;
				continue;
			}
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
		if (!(step->is_root ? close_component(search, node) :
				      add_open(search, node)))
			return false;
	}
	return true;
}

struct listed {
	uint32_t lowest, first, size;
};

static int by_lowest(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return x->lowest < y->lowest ? -1 : x->lowest > y->lowest;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/** Put what was found in order. */
static struct error *list(struct search *search, struct components *ret)
{
	struct listed *all = calloc((size_t)search->count + 1, sizeof(*all));
	size_t end = search->num_members;
	uint32_t done = 0;

	ret->at = calloc((size_t)search->count + 1, sizeof(*ret->at));
	ret->members = calloc(search->num_members + 1, sizeof(*ret->members));
	if (!all || !ret->at || !ret->members) {
		free(all);
		return error_no_memory();
	}
	for (uint32_t i = 0; i < search->count; i++) {
		uint32_t size = search->members[--end];

		end -= size;
		qsort(search->members + end, size, sizeof(uint32_t), by_number);
		all[i] = (struct listed){ search->members[end], (uint32_t)end,
					  size };
	}
	qsort(all, search->count, sizeof(*all), by_lowest);
	for (uint32_t i = 0; i < search->count; i++) {
		for (uint32_t j = 0; j < all[i].size; j++)
			ret->members[done++] =
				search->members[all[i].first + j];
		ret->at[i + 1] = done;
	}
	ret->count = search->count;
	free(all);
	return NULL;
}

struct error *components_find(const struct graph *graph,
			      const struct components_options *options,
			      struct components *ret)
{
	struct search search = { .graph = graph, .options = options,
				 .next_index = 1 };
	struct spill_array index = { .fd = -1 };
	struct error *err = spill_alloc(options->spill,
					(uint64_t)graph->num_nodes *
						sizeof(uint32_t),
					&index);

	*ret = (struct components){ 0 };
	search.index = index.data;
	for (uint32_t i = 0; !err && i < graph->num_nodes; i++) {
		if (search.index[i] != 0 ||
		    graph->out_at[i] == graph->out_at[i + 1])
			continue;
		if (!search_from(&search, i))
			err = error_no_memory();
	}
	if (!err)
		err = list(&search, ret);
	spill_free(&index);
	free(search.steps);
	free(search.open);
	free(search.members);
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
