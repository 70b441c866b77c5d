/*
 * The one large component; see giant.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/giant.h"

#include "analyzer/graph/spread.h"
#include "image/base/guard.h"

enum {
	SAMPLES = 16,		/* nodes that are tried */
	MUCH = 4096,		/* nodes before and behind one */
	SMALL = 64,		/* … of small graphs one of so many */
};

/** Are there so many nodes before and behind one? */
static struct error *has_much(const struct graph *graph,
			      struct spread_options options, uint32_t node,
			      bool *ret)
{
	struct error *err = NULL;

	*ret = true;
	for (int i = 0; !err && *ret && i < 2; i++) {
		CLEANUP(node_set_deinit) struct node_set found = { 0 };
		uint32_t count;

		err = node_set_init(&found, graph->num_nodes);
		if (err)
			return err;
		(void)node_set_add(&found, node);
		options.backward = i == 1;
		err = spread_all(graph, &options, &found, &count);
		*ret = !err && count >= options.enough;
	}
	return err;
}

/** A node that may be in it, or GRAPH_NONE. */
static struct error *find_sample(const struct graph *graph,
				 const struct spread_options *all,
				 uint32_t *ret)
{
	uint64_t nodes = graph->num_nodes;
	struct spread_options options = *all;
	struct error *err = NULL;
	bool has = false;

	options.enough = nodes / SMALL < MUCH ? (uint32_t)(nodes / SMALL) + 1 :
						MUCH;
	*ret = GRAPH_NONE;
	for (uint32_t i = 0; !err && !has && i < SAMPLES && i < nodes; i++) {
		uint32_t node = (uint32_t)(nodes * i / SAMPLES);

		// What is near has as much to do with it.
		while (node + 1 < nodes &&
		       graph->out_at[node] == graph->out_at[node + 1])
			node++;
		err = has_much(graph, options, node, &has);
		if (has)
			*ret = node;
	}
	return err;
}

/** What edges may lead to that do not count for their kinds. */
static struct error *find_classes(const struct graph *graph,
				  const struct components_options *options,
				  struct node_set *ret)
{
	struct error *err = node_set_init(ret, graph->num_nodes);

	for (uint32_t i = 0; !err && options->kinds && i < graph->num_nodes;
	     i++) {
		uint32_t class = options->kind_nodes[options->kinds[i]];

		if (class < graph->num_nodes)
			(void)node_set_add(ret, class);
	}
	return err;
}

struct error *giant_find(const struct graph *graph,
			 const struct components_options *options,
			 struct node_set *ret)
{
	CLEANUP(node_set_deinit) struct node_set classes = { 0 };
	CLEANUP(node_set_deinit) struct node_set behind = { 0 };
	struct spread_options spreading = {
		.mask = options->mask, .kinds = options->kinds,
		.kind_nodes = options->kind_nodes, .classes = &classes,
	};
	uint32_t node = GRAPH_NONE, count;
	struct error *err = node_set_init(ret, graph->num_nodes);

	if (!err)
		err = node_set_init(&behind, graph->num_nodes);
	if (!err)
		err = find_classes(graph, options, &classes);
	if (!err)
		err = find_sample(graph, &spreading, &node);
	if (err || node == GRAPH_NONE)
		return err;
	(void)node_set_add(&behind, node);
	err = spread_all(graph, &spreading, &behind, &count);
	if (err)
		return err;
	(void)node_set_add(ret, node);
	spreading.backward = true;
	spreading.within = &behind;
	return spread_all(graph, &spreading, ret, &count);
}
