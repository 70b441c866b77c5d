/*
 * Roots, and the audit of reference counts; see heaproots.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heaproots.h"

#include <stdlib.h>

/* --- gathering ------------------------------------------------------------- */

struct gathering {
	const struct heapgraph *heap;
	struct heaproots *roots;
	size_t room;
	bool no_memory;
};

static bool gather(void *context, const struct pyh_root *root)
{
	struct gathering *gathering = context;
	struct heaproots *roots = gathering->roots;
	uint32_t object = heapgraph_find(gathering->heap, root->address);

	if (object == GRAPH_NONE)
		return true;
	if (roots->num_roots == gathering->room) {
		size_t room = gathering->room ? gathering->room * 2 : 1024;
		struct heap_root *grown = realloc(roots->roots,
						  room * sizeof(*grown));

		if (!grown) {
			gathering->no_memory = true;
			return false;
		}
		roots->roots = grown;
		gathering->room = room;
	}
	roots->roots[roots->num_roots++] = (struct heap_root){ object, *root };
	return true;
}

/** By object; of one object as they came, which the holder's address keeps. */
static int by_object(const void *a, const void *b)
{
	const struct heap_root *x = a, *y = b;

	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	if (x->root.kind != y->root.kind)
		return x->root.kind < y->root.kind ? -1 : 1;
	return (x->root.holder > y->root.holder) -
	       (x->root.holder < y->root.holder);
}

const struct heap_root *heaproots_of(const struct heaproots *roots,
				     uint32_t object, size_t *ret_count)
{
	size_t low = 0, high = roots->num_roots, end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (roots->roots[middle].object < object)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < roots->num_roots &&
			roots->roots[end].object == object;)
		end++;
	*ret_count = end - low;
	return end > low ? &roots->roots[low] : NULL;
}

/* --- the audit ------------------------------------------------------------- */

static void count_edges(const struct graph *graph, uint32_t object,
			struct heap_count *count)
{
	for (uint32_t j = graph->in_at[object]; j < graph->in_at[object + 1];
	     j++) {
		count->objects += graph_in(graph->in[j], GRAPH_MASK_OWNED);
		count->guessed += graph_hold(graph->in[j]) == GRAPH_GUESSED;
	}
}

static void count_roots(const struct heap_root *root, size_t num,
			struct heap_count *count)
{
	for (size_t i = 0; i < num; i++) {
		count->roots += root[i].root.hold == PYH_HOLD_TRAVERSED ||
				root[i].root.hold == PYH_HOLD_UNTRAVERSED;
		count->maybe_roots += root[i].root.hold == PYH_HOLD_GUESSED;
	}
}

struct heap_count heaproots_count(const struct heapgraph *heap,
				  const struct heaproots *roots,
				  uint32_t object)
{
	struct heap_count count = { 0 };
	size_t num;
	const struct heap_root *root = heaproots_of(roots, object, &num);

	count_edges(&heap->graph, object, &count);
	count_roots(root, num, &count);
	return count;
}

/** Edges to an object that are only guessed own nothing after all. */
static void drop_guesses(struct graph *graph, uint32_t object)
{
	for (uint32_t j = graph->in_at[object]; j < graph->in_at[object + 1];
	     j++)
		if (graph_hold(graph->in[j]) == GRAPH_GUESSED)
			graph->in[j] = graph_edge(graph_end(graph->in[j]),
						  GRAPH_WEAK);
}

/** The same from the other side. */
static void drop_guesses_out(struct graph *graph,
			     const struct node_set *explained)
{
	for (uint32_t j = 0; j < graph->num_edges; j++) {
		uint32_t target = graph_end(graph->out[j]);

		if (graph_hold(graph->out[j]) == GRAPH_GUESSED &&
		    node_set_has(explained, target))
			graph->out[j] = graph_edge(target, GRAPH_WEAK);
	}
}

static struct error *audit(struct heapgraph *heap, struct heaproots *roots)
{
	struct node_set explained = { 0 };
	struct error *err = node_set_init(&explained, heap->count);
	size_t next = 0;

	for (uint32_t i = 0; !err && i < heap->count; i++) {
		struct heap_count count = { 0 };
		uint64_t wanted = heapgraph_refcount(heap, i);
		size_t end = next;

		while (end < roots->num_roots && roots->roots[end].object == i)
			end++;
		count_edges(&heap->graph, i, &count);
		count_roots(&roots->roots[next], end - next, &count);
		next = end;
		if (heap->flags[i] & HEAP_IMMORTAL || count.roots > 0)
			(void)node_set_add(&roots->held, i);
		if (heap->flags[i] & HEAP_IMMORTAL)
			continue;
		if (count.objects + count.roots >= wanted) {
			if (count.guessed > 0) {
				(void)node_set_add(&explained, i);
				drop_guesses(&heap->graph, i);
			}
			continue;
		}
		if (count.objects + count.roots + count.guessed < wanted) {
			(void)node_set_add(&roots->unexplained, i);
			(void)node_set_add(&roots->held, i);
		}
	}
	if (!err)
		drop_guesses_out(&heap->graph, &explained);
	node_set_deinit(&explained);
	return err;
}

struct error *heaproots_find(struct heapgraph *heap,
			     const struct pyh_runtime *runtime,
			     struct heaproots *ret)
{
	struct gathering gathering = { .heap = heap, .roots = ret };
	struct memory_reader memory;
	struct error *err;

	*ret = (struct heaproots){ 0 };
	err = memory_reader_init(&memory, runtime->image->memory);
	if (err)
		return err;
	pyh_roots_each(runtime, &memory, gather, &gathering);
	memory_reader_deinit(&memory);
	if (ret->num_roots > 0)
		qsort(ret->roots, ret->num_roots, sizeof(*ret->roots),
		      by_object);
	err = gathering.no_memory ? error_no_memory() :
				    node_set_init(&ret->unexplained,
						  heap->count);
	if (!err)
		err = node_set_init(&ret->held, heap->count);
	if (!err)
		err = audit(heap, ret);
	if (err)
		heaproots_deinit(ret);
	return err;
}

void heaproots_deinit(struct heaproots *roots)
{
	free(roots->roots);
	node_set_deinit(&roots->unexplained);
	node_set_deinit(&roots->held);
	*roots = (struct heaproots){ 0 };
}
