/*
 * Roots, and the audit of reference counts; see heaproots.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/heaproots.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "analyzer/heap/greenlets.h"
#include "image/base/guard.h"
#include "image/base/workers.h"
#include "pyheap/types/pyobject.h"

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

/** The first root of an object, or of one with a higher number. */
static size_t first_root(const struct heaproots *roots, uint32_t object)
{
	size_t low = 0, high = roots->num_roots;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (roots->roots[middle].object < object)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct heap_root *heaproots_of(const struct heaproots *roots,
				     uint32_t object, size_t *ret_count)
{
	size_t low = first_root(roots, object), end;

	for (end = low; end < roots->num_roots &&
			roots->roots[end].object == object;)
		end++;
	*ret_count = end - low;
	return end > low ? &roots->roots[low] : NULL;
}

/** Those of frames that take no counts. */
static struct error *defer_roots(struct heapgraph *heap,
				 const struct heaproots *roots)
{
	struct heap_deferred *some;
	struct error *err;
	size_t count = 0;

	some = calloc(roots->num_roots + 1, sizeof(*some));
	if (!some)
		return error_no_memory();
	for (size_t i = 0; i < roots->num_roots; i++)
		if (roots->roots[i].root.deferred)
			some[count++] = (struct heap_deferred){
				.object = roots->roots[i].object, .count = 1 };
	err = heapgraph_defer(heap, some, count);
	free(some);
	return err;
}

/* --- the audit ------------------------------------------------------------- */

static void count_edges(const struct graph *graph, uint32_t object,
			struct heap_count *count)
{
	uint32_t begin = graph->in_at[object], end = graph->in_at[object + 1];
	uint32_t other = 0;

	// Mostly all are owned: of both such holds the higher bit is not set.
	for (uint32_t j = begin; j < end; j++)
		other |= graph->in[j];
	count->objects = end - begin;
	if (graph_in(other, GRAPH_MASK_OWNED))
		return;
	for (uint32_t j = begin; j < end; j++) {
		count->objects -= !graph_in(graph->in[j], GRAPH_MASK_OWNED);
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

/**
 * References from immortal objects: those that were written down by a compiler
 * and not made (code of modules that 3.11 has frozen) take no counts. 3.13
 * without a GIL makes many others immortal, namespaces of modules among them.
 */
static uint64_t of_immortals(const struct heapgraph *heap,
			     const struct pyh_runtime *runtime, uint32_t object)
{
	const struct graph *graph = &heap->graph;
	uint64_t count = 0;

	for (uint32_t j = graph->in_at[object]; j < graph->in_at[object + 1];
	     j++)
		count += graph_in(graph->in[j], GRAPH_MASK_OWNED) &&
			 heap->flags[graph_end(graph->in[j])] & HEAP_IMMORTAL &&
			 (!runtime->free_threaded ||
			  pyh_on_module(runtime->image,
					heapgraph_address(
						heap,
						graph_end(graph->in[j]))));
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

enum {
	SHARD_OBJECTS = 1 << 16,	/* whole words of sets */
	SHARD_EDGES = 1 << 20,
};

struct audit {
	struct heapgraph *heap;
	const struct pyh_runtime *runtime;
	struct heaproots *roots;
	/* objects whose counts need no guess although there are some */
	struct node_set settled;
	_Atomic uint32_t num_settled;
	_Atomic uint32_t num_immortal, num_unexplained, num_over_released,
		num_guessed;
};

/** What shards counted. */
struct tally {
	uint32_t settled, immortal, unexplained, over_released, guessed;
};

/** @param root  its roots, and num of them */
static void audit_object(struct audit *audit, uint32_t object,
			 const struct heap_root *root, size_t num,
			 struct tally *tally)
{
	struct heapgraph *heap = audit->heap;
	struct heaproots *roots = audit->roots;
	uint64_t wanted = heapgraph_references(heap, object);
	struct heap_count count = { 0 };
	uint64_t found;

	count_roots(root, num, &count);
	if (heap->flags[object] & HEAP_IMMORTAL || count.roots > 0)
		(void)node_set_add(&roots->held, object);
	if (heap->flags[object] & HEAP_IMMORTAL) {
		tally->immortal++;
		return;
	}
	count_edges(&heap->graph, object, &count);
	found = count.objects + count.roots;
	if (found > wanted &&
	    found - of_immortals(heap, audit->runtime, object) > wanted) {
		(void)node_set_add(&roots->over_released, object);
		tally->over_released++;
	}
	if (found >= wanted) {
		if (count.guessed > 0) {
			(void)node_set_add(&audit->settled, object);
			drop_guesses(&heap->graph, object);
			tally->settled++;
		}
	} else if (found + count.guessed < wanted) {
		(void)node_set_add(&roots->unexplained, object);
		(void)node_set_add(&roots->held, object);
		tally->unexplained++;
	} else {
		tally->guessed++;
	}
}

static struct error *audit_shard(void *context, unsigned int worker,
				 size_t shard)
{
	struct audit *audit = context;
	const struct heaproots *roots = audit->roots;
	uint32_t first = (uint32_t)shard * SHARD_OBJECTS, last = first;
	size_t next = first_root(roots, first);
	struct tally tally = { 0 };

	(void)worker;
	last += audit->heap->count - first < SHARD_OBJECTS ?
			audit->heap->count - first : SHARD_OBJECTS;
	for (uint32_t i = first; i < last; i++) {
		size_t end = next;

		while (end < roots->num_roots && roots->roots[end].object == i)
			end++;
		audit_object(audit, i, &roots->roots[next], end - next, &tally);
		next = end;
	}
	audit->num_settled += tally.settled;
	audit->num_immortal += tally.immortal;
	audit->num_unexplained += tally.unexplained;
	audit->num_over_released += tally.over_released;
	audit->num_guessed += tally.guessed;
	return NULL;
}

/** Edges that are only guessed to such objects, seen from the other side. */
static struct error *settle_shard(void *context, unsigned int worker,
				  size_t shard)
{
	const struct audit *audit = context;
	struct graph *graph = &audit->heap->graph;
	uint64_t first = (uint64_t)shard * SHARD_EDGES;
	uint64_t last = first + SHARD_EDGES;

	(void)worker;
	for (uint64_t j = first; j < last && j < graph->num_edges; j++) {
		uint32_t target = graph_end(graph->out[j]);

		if (graph_hold(graph->out[j]) == GRAPH_GUESSED &&
		    node_set_has(&audit->settled, target))
			graph->out[j] = graph_edge(target, GRAPH_WEAK);
	}
	return NULL;
}

static struct error *audit(struct heapgraph *heap,
			   const struct pyh_runtime *runtime,
			   unsigned int workers,
			   struct heaproots *roots)
{
	struct audit audit = { .heap = heap, .runtime = runtime,
			       .roots = roots };
	struct error *err = node_set_init(&audit.settled, heap->count);

	if (!err)
		err = workers_run(workers, ((size_t)heap->count +
					    SHARD_OBJECTS - 1) / SHARD_OBJECTS,
				  audit_shard, &audit);
	if (!err && audit.num_settled > 0)
		err = workers_run(workers, ((size_t)heap->graph.num_edges +
					    SHARD_EDGES - 1) / SHARD_EDGES,
				  settle_shard, &audit);
	roots->num_immortal = audit.num_immortal;
	roots->num_unexplained = audit.num_unexplained;
	roots->num_over_released = audit.num_over_released;
	roots->num_guessed = audit.num_guessed;
	node_set_deinit(&audit.settled);
	return err;
}

struct error *heaproots_find(struct heapgraph *heap,
			     const struct pyh_runtime *runtime,
			     unsigned int workers, struct heaproots *ret)
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
				    defer_roots(heap, ret);
	if (!err)
		err = node_set_init(&ret->unexplained, heap->count);
	if (!err)
		err = node_set_init(&ret->held, heap->count);
	if (!err)
		err = node_set_init(&ret->over_released, heap->count);
	if (!err)
		err = audit(heap, runtime, workers, ret);
	if (!err)
		err = greenlets_hold_themselves(heap, runtime, &ret->held);
	if (err)
		heaproots_deinit(ret);
	return err;
}

/** All that is held, but for what nothing says so of except a count. */
static void take_known(const struct heaproots *roots, struct node_set *known)
{
	size_t num_words = (size_t)known->num_nodes / 64 + 1;

	for (size_t i = 0; i < num_words; i++)
		known->words[i] = roots->held.words[i] &
				  ~roots->unexplained.words[i];
	for (size_t i = 0; i < roots->num_roots; i++)
		if (heaproots_holds(roots, &roots->roots[i]))
			(void)node_set_add(known, roots->roots[i].object);
}

struct error *heaproots_native(const struct heapgraph *heap,
			       const struct heaproots *roots,
			       struct node_set *ret)
{
	CLEANUP(node_set_deinit) struct node_set known = { 0 };
	struct error *err = node_set_init(ret, heap->count);

	if (err || roots->num_unexplained == 0)
		return err;
	err = node_set_init(&known, heap->count);
	if (err)
		return err;
	take_known(roots, &known);
	err = reach(&heap->graph, GRAPH_MASK_STRONG, NULL, &known);
	for (size_t i = 0; !err && i < (size_t)heap->count / 64 + 1; i++)
		ret->words[i] = roots->unexplained.words[i] & ~known.words[i];
	return err;
}

void heaproots_deinit(struct heaproots *roots)
{
	free(roots->roots);
	node_set_deinit(&roots->unexplained);
	node_set_deinit(&roots->over_released);
	node_set_deinit(&roots->held);
	*roots = (struct heaproots){ 0 };
}
