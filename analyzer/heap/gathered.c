/*
 * Who has the most of what several hold; see gathered.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/gathered.h"

#include "analyzer/heap/pile.h"
#include "image/base/guard.h"

enum { SEVERAL = 2 };

static struct error *collect(const struct analysis *analysis, uint32_t parent,
			     const struct pyh_type *element,
			     struct node_set *ret)
{
	const struct heapgraph *heap = analysis->heap;
	uint32_t count;
	const uint32_t *children = domtree_children(&analysis->tree, parent,
						    &count);
	struct error *err = node_set_init(ret, heap->count);

	for (uint32_t i = 0; !err && i < count; i++)
		if (pile_types_are_alike(heapgraph_type(heap, children[i]),
					 element))
			(void)node_set_add(ret, children[i]);
	return err;
}

/** How much of a set one object refers to, and how little else. */
struct holding {
	struct gathered sum;
	uint64_t entries;	/* references that it has */
};

static struct holding sum_up(const struct analysis *analysis, uint32_t object,
			     const struct node_set *set)
{
	const struct graph *graph = &analysis->heap->graph;
	struct holding holding = { .sum.object = object };
	struct gathered *sum = &holding.sum;
	uint32_t before = GRAPH_NONE;

	for (uint32_t i = graph->out_at[object]; i < graph->out_at[object + 1];
	     i++) {
		uint32_t end = graph_end(graph->out[i]);
		uint64_t retained;

		// [x] * n has one.
		if (!graph_in(graph->out[i], GRAPH_MASK_OWNED) || end == before)
			continue;
		holding.entries++;
		if (!node_set_has(set, end))
			continue;
		before = end;
		retained = pile_retained(analysis, end);
		sum->count++;
		sum->retained += retained;
		if (retained > sum->largest)
			sum->largest = retained;
	}
	// To each value of a dict there is a key.
	if (heapgraph_type(analysis->heap, object)->kind == PYH_KIND_DICT)
		holding.entries = (holding.entries + 1) / 2;
	return holding;
}

/**
 * What one has, weighed by how much of all it has that is: a namespace has what
 * the container in it has, and more of other things.
 */
static double weight(const struct holding *holding)
{
	double part = holding->entries > holding->sum.count ?
			(double)holding->sum.count / (double)holding->entries : 1;

	return part * (double)holding->sum.retained;
}

/** Modules, classes and their namespaces have what the program consists of. */
static bool is_container(const struct heapgraph *heap, uint32_t object)
{
	enum pyh_kind kind = heapgraph_type(heap, object)->kind;

	return kind != PYH_KIND_TYPE && kind != PYH_KIND_MODULE &&
	       !pile_is_namespace(heap, object);
}

void gathered_find(const struct analysis *analysis, const struct node_set *set,
		   struct gathered *ret)
{
	const struct heapgraph *heap = analysis->heap;
	const uint32_t *out_at = heap->graph.out_at;

	double most = 0;

	*ret = (struct gathered){ .object = GRAPH_NONE };
	for (uint32_t i = 0; i < heap->count; i++) {
		struct holding holding;

		if (out_at[i + 1] - out_at[i] < SEVERAL)
			continue;
		holding = sum_up(analysis, i, set);
		if (holding.sum.count < SEVERAL || weight(&holding) <= most ||
		    !is_container(heap, i))
			continue;
		*ret = holding.sum;
		most = weight(&holding);
	}
}

struct error *gathered_under(const struct analysis *analysis, uint32_t parent,
			     const struct pyh_type *element,
			     struct gathered *ret)
{
	CLEANUP(node_set_deinit) struct node_set set = { 0 };
	struct error *err = collect(analysis, parent, element, &set);

	if (!err)
		gathered_find(analysis, &set, ret);
	return err;
}
