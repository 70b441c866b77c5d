/*
 * The one large component; see giant.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/giant.h"

enum {
	SAMPLES = 16,		/* nodes that are tried */
	MUCH = 4096,		/* nodes before and behind one */
	SMALL = 64,		/* … of small graphs one of so many */
	AHEAD = 16,		/* nodes of which memory is asked for early */
};

struct search {
	const struct graph *graph;
	const struct components_options *options;
	struct node_set before, behind;	/* found in each direction */
	struct node_set classes;	/* that edges of kinds lead to */
	uint32_t *queue;	/* nodes in the order of finding */
	uint32_t count;
};

/** The edges of a node in one direction, and what is needed to follow them. */
struct direction {
	const uint32_t *at, *edges;
	struct node_set *found;
	const struct node_set *within;	/* NULL: all */
	bool forward;
};

static bool is_to_class(const struct search *search, uint32_t from, uint32_t to)
{
	const struct components_options *options = search->options;

	return options->kinds &&
	       options->kind_nodes[options->kinds[from]] == to;
}

static void ask_ahead(const struct search *search,
		      const struct direction *direction, uint32_t first)
{
	if (search->count - first <= 2 * AHEAD)
		return;
	__builtin_prefetch(&direction->at[search->queue[first + 2 * AHEAD]]);
	__builtin_prefetch(&direction->edges[direction->at[
		search->queue[first + AHEAD]]]);
}

/** Note to which class a node leads that is passed: seldom does another. */
static void note_class(struct search *search, uint32_t node)
{
	const struct components_options *options = search->options;
	uint32_t class;

	if (!options->kinds)
		return;
	class = options->kind_nodes[options->kinds[node]];
	if (class < search->graph->num_nodes)
		(void)node_set_add(&search->classes, class);
}

static void follow(struct search *search, const struct direction *direction,
		   uint32_t node)
{
	bool class = !direction->forward &&
		     node_set_has(&search->classes, node);

	for (uint32_t j = direction->at[node]; j < direction->at[node + 1];
	     j++) {
		uint32_t edge = direction->edges[j], other = graph_end(edge);

		if (node_set_has(direction->found, other) ||
		    !graph_in(edge, search->options->mask) ||
		    (direction->within &&
		     !node_set_has(direction->within, other)) ||
		    (direction->forward ? is_to_class(search, node, other) :
			     class && is_to_class(search, other, node)))
			continue;
		(void)node_set_add(direction->found, other);
		search->queue[search->count++] = other;
	}
}

/** All that is found from a node, or at least so many. @return how many */
static uint32_t spread(struct search *search,
		       const struct direction *direction, uint32_t node,
		       uint32_t enough)
{
	search->count = 0;
	search->queue[search->count++] = node;
	(void)node_set_add(direction->found, node);
	for (uint32_t i = 0; i < search->count && search->count < enough; i++) {
		ask_ahead(search, direction, i);
		if (direction->forward)
			note_class(search, search->queue[i]);
		follow(search, direction, search->queue[i]);
	}
	return search->count;
}

/** Are there so many nodes before and behind one? */
static bool has_much(struct search *search,
		     const struct direction directions[2], uint32_t node,
		     uint32_t much)
{
	bool has = true;

	for (int i = 0; has && i < 2; i++) {
		struct direction direction = directions[i];

		direction.within = NULL;
		has = spread(search, &direction, node, much) >= much;
		for (uint32_t j = 0; j < search->count; j++)
			node_set_remove(direction.found, search->queue[j]);
	}
	return has;
}

/** A node that may be in it, or GRAPH_NONE. */
static uint32_t find_sample(struct search *search,
			    const struct direction directions[2])
{
	uint64_t nodes = search->graph->num_nodes;
	uint32_t much = nodes / SMALL < MUCH ? (uint32_t)(nodes / SMALL) + 2 :
					       MUCH;

	for (uint32_t i = 0; i < SAMPLES && i < nodes; i++) {
		uint32_t node = (uint32_t)(nodes * i / SAMPLES);

		// What is near has as much to do with it.
		while (node + 1 < nodes && search->graph->out_at[node] ==
						   search->graph->out_at[node + 1])
			node++;
		if (has_much(search, directions, node, much))
			return node;
	}
	return GRAPH_NONE;
}

static void search_all(struct search *search)
{
	const struct graph *graph = search->graph;
	const struct direction directions[2] = {
		{ graph->out_at, graph->out, &search->behind, NULL, true },
		{ graph->in_at, graph->in, &search->before, &search->behind,
		  false },
	};
	uint32_t node = find_sample(search, directions);

	for (int i = 0; node != GRAPH_NONE && i < 2; i++)
		(void)spread(search, &directions[i], node, UINT32_MAX);
}

struct error *giant_find(const struct graph *graph,
			 const struct components_options *options,
			 struct node_set *ret)
{
	struct search search = { .graph = graph, .options = options };
	struct spill_array queue = { .fd = -1 };
	struct error *err = spill_alloc(options->spill,
					(uint64_t)graph->num_nodes *
						sizeof(*search.queue), &queue);

	search.queue = queue.data;
	if (!err)
		err = node_set_init(&search.before, graph->num_nodes);
	if (!err)
		err = node_set_init(&search.behind, graph->num_nodes);
	if (!err)
		err = node_set_init(&search.classes, graph->num_nodes);
	if (!err) {
		search_all(&search);
		// Only what is behind has been looked for before it.
		*ret = search.before;
		search.before = (struct node_set){ 0 };
	}
	spill_free(&queue);
	node_set_deinit(&search.before);
	node_set_deinit(&search.behind);
	node_set_deinit(&search.classes);
	return err;
}
