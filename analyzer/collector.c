/*
 * The cyclic collector, replayed; see collector.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/collector.h"

#include "image/base/guard.h"

/** References that the collector takes off the count of an object. */
static uint64_t internal_references(const struct heapgraph *heap,
				    const struct node_set *members,
				    uint32_t object)
{
	const struct graph *graph = &heap->graph;
	uint64_t count = 0;

	for (uint32_t j = graph->in_at[object]; j < graph->in_at[object + 1];
	     j++)
		count += graph_hold(graph->in[j]) == GRAPH_TRAVERSED &&
			 node_set_has(members, graph_end(graph->in[j]));
	return count;
}

/** Those that it looks at: tracked, and not frozen. */
static void find_members(const struct heapgraph *heap,
			 const struct node_set *frozen,
			 struct node_set *members)
{
	for (uint32_t i = 0; i < heap->count; i++)
		if (heap->flags[i] & HEAP_TRACKED &&
		    !(frozen && node_set_has(frozen, i)))
			(void)node_set_add(members, i);
}

static struct error *find_garbage(const struct heapgraph *heap,
				  const struct node_set *members,
				  struct collector *ret)
{
	struct node_set alive = { 0 };
	struct error *err = node_set_init(&alive, heap->count);

	for (uint32_t i = 0; !err && i < heap->count; i++) {
		if (!node_set_has(members, i))
			continue;
		if (heap->flags[i] & HEAP_IMMORTAL ||
		    heapgraph_refcount(heap, i) >
			    internal_references(heap, members, i))
			(void)node_set_add(&alive, i);
	}
	if (!err)
		err = reach(&heap->graph, GRAPH_MASK_TRAVERSED, members, &alive);
	for (size_t i = 0; !err && i < (size_t)heap->count / 64 + 1; i++)
		ret->garbage.words[i] = members->words[i] & ~alive.words[i];
	node_set_deinit(&alive);
	return err;
}

/** What goes with the garbage: all that cannot be reached without it. */
static struct error *find_freed(const struct heapgraph *heap,
				const struct heaproots *roots,
				struct collector *ret)
{
	struct node_set others = { 0 }, alive = { 0 };
	size_t words = (size_t)heap->count / 64 + 1;
	struct error *err = node_set_init(&others, heap->count);

	if (!err)
		err = node_set_init(&alive, heap->count);
	for (size_t i = 0; !err && i < words; i++) {
		others.words[i] = ~ret->garbage.words[i];
		alive.words[i] = roots->held.words[i] & others.words[i];
	}
	if (!err)
		err = reach(&heap->graph, GRAPH_MASK_STRONG, &others, &alive);
	// What only the garbage leads to; other unreachable objects are not its.
	for (size_t i = 0; !err && i < words; i++)
		ret->freed.words[i] = ret->garbage.words[i];
	for (size_t i = 0; !err && i < words; i++)
		others.words[i] = ~alive.words[i];
	if (!err)
		err = reach(&heap->graph, GRAPH_MASK_OWNED, &others,
			    &ret->freed);
	node_set_deinit(&others);
	node_set_deinit(&alive);
	return err;
}

struct error *collector_replay(const struct heapgraph *heap,
			       const struct heaproots *roots,
			       const struct node_set *frozen,
			       struct collector *ret)
{
	struct node_set members = { 0 };
	struct error *err = node_set_init(&ret->garbage, heap->count);

	if (!err)
		err = node_set_init(&ret->freed, heap->count);
	if (!err)
		err = node_set_init(&members, heap->count);
	if (!err) {
		find_members(heap, frozen, &members);
		err = find_garbage(heap, &members, ret);
	}
	if (!err)
		err = find_freed(heap, roots, ret);
	node_set_deinit(&members);
	if (err) {
		collector_deinit(ret);
		return err;
	}
	ret->num_garbage = node_set_count(&ret->garbage);
	ret->num_freed = node_set_count(&ret->freed);
	for (uint32_t i = 0; i < heap->count; i++)
		if (node_set_has(&ret->freed, i))
			ret->freed_bytes += heapgraph_footprint(heap, i);
	return NULL;
}

void collector_deinit(struct collector *collector)
{
	node_set_deinit(&collector->garbage);
	node_set_deinit(&collector->freed);
	*collector = (struct collector){ 0 };
}
