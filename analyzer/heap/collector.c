/*
 * The cyclic collector, replayed; see collector.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/collector.h"

#include <stdlib.h>

#include "analyzer/heap/frozen.h"
#include "image/base/guard.h"
#include "pyheap/references/pygreenlet.h"

enum { BITS_DEFERRED = 1 << 6 };	/* of ob_gc_bits */

/** Words of a set of all objects. */
static size_t num_words(const struct heapgraph *heap)
{
	return (size_t)heap->count / 64 + 1;
}

/* --- what it would find ---------------------------------------------------- */

/** True if more hold the object than members refer to it. */
static bool held_from_outside(const struct heapgraph *heap,
			      const struct node_set *members, uint32_t object)
{
	const struct graph *graph = &heap->graph;
	uint64_t count = 0;

	for (uint32_t j = graph->in_at[object]; j < graph->in_at[object + 1];
	     j++)
		count += graph_hold(graph->in[j]) == GRAPH_TRAVERSED &&
			 node_set_has(members, graph_end(graph->in[j]));
	return heapgraph_references(heap, object) > count;
}

static bool is_passed_over(const struct heapgraph *heap,
			   const struct pyh_runtime *runtime,
			   struct memory_reader *memory, uint32_t object)
{
	const struct pyh_type *type = heapgraph_type(heap, object);

	// An address has to be searched for.
	return pyh_greenlet_is_one(type) &&
	       pyh_greenlet_is_passed_over(runtime, memory, type,
					   heapgraph_address(heap, object));
}

/** Those that it looks at: tracked, not frozen, not immortal. */
static void find_members(const struct heapgraph *heap,
			 const struct pyh_runtime *runtime,
			 struct memory_reader *memory, struct collector *ret,
			 struct node_set *members)
{
	for (uint32_t i = 0; i < heap->count; i++) {
		if (!(heap->flags[i] & HEAP_TRACKED))
			continue;
		ret->num_tracked++;
		if (!(heap->flags[i] & HEAP_IMMORTAL) &&
		    !node_set_has(&ret->frozen, i) &&
		    !is_passed_over(heap, runtime, memory, i))
			(void)node_set_add(members, i);
	}
}

static struct error *find_garbage(const struct heapgraph *heap,
				  const struct pyh_runtime *runtime,
				  struct collector *ret)
{
	CLEANUP(node_set_deinit) struct node_set members = { 0 };
	CLEANUP(node_set_deinit) struct node_set alive = { 0 };
	struct memory_reader memory;
	struct error *err = node_set_init(&members, heap->count);

	if (!err)
		err = node_set_init(&alive, heap->count);
	if (!err)
		err = memory_reader_init(&memory, runtime->image->memory);
	if (err)
		return err;
	find_members(heap, runtime, &memory, ret, &members);
	memory_reader_deinit(&memory);
	for (uint32_t i = 0; i < heap->count; i++)
		if (node_set_has(&members, i) &&
		    held_from_outside(heap, &members, i))
			(void)node_set_add(&alive, i);
	err = reach(&heap->graph, GRAPH_MASK_TRAVERSED, &members, &alive);
	for (size_t i = 0; !err && i < num_words(heap); i++)
		ret->garbage.words[i] = members.words[i] & ~alive.words[i];
	return err;
}

/**
 * What has a finalizer from before 3.4 stays, with all that it leads to; of the
 * others the finalizers are run.
 */
static struct error *find_uncollectable(const struct heapgraph *heap,
					const struct pyh_runtime *runtime,
					struct collector *ret)
{
	CLEANUP(finalizers_deinit) struct finalizers finalizers = { 0 };
	struct error *err = finalizers_init(&finalizers, heap, runtime);

	if (err)
		return err;
	for (uint32_t i = 0; i < heap->count; i++)
		if (node_set_has(&ret->garbage, i) &&
		    finalizers_of(&finalizers, i) == PYH_FINALIZER_LEGACY)
			(void)node_set_add(&ret->uncollectable, i);
	err = reach(&heap->graph, GRAPH_MASK_TRAVERSED, &ret->garbage,
		    &ret->uncollectable);
	for (uint32_t i = 0; !err && i < heap->count; i++)
		if (node_set_has(&ret->garbage, i) &&
		    !node_set_has(&ret->uncollectable, i))
			ret->num_finalizers += finalizers_pending(&finalizers,
								  i);
	return err;
}

/* --- what would be free then ----------------------------------------------- */

/** Freeing, as counts fall to zero. */
struct freeing {
	const struct heapgraph *heap;
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	const struct node_set *kept;	/* in gc.garbage, or held by it */
	struct node_set *freed;
	uint32_t *gone;		/* references to each object that are no more */
	uint32_t *pending;	/* freed, but what they held still counts them */
	size_t num_pending, room;
};

static bool put_pending(struct freeing *freeing, uint32_t object)
{
	if (freeing->num_pending == freeing->room) {
		size_t room = freeing->room ? freeing->room * 2 : 1024;
		uint32_t *pending = reallocarray(freeing->pending, room,
						 sizeof(*pending));

		if (!pending)
			return false;
		freeing->pending = pending;
		freeing->room = room;
	}
	freeing->pending[freeing->num_pending++] = object;
	return true;
}

/**
 * Free-threaded: true if the object does not go with the last reference to it,
 * but only when a collection finds it.
 */
static bool is_deferred(const struct freeing *freeing, uint32_t object)
{
	uint64_t bits;

	return freeing->runtime->free_threaded &&
	       pyh_field(freeing->runtime, freeing->memory,
			 heapgraph_address(freeing->heap, object),
			 PYH_OBJECT_OB_GC_BITS, &bits) && bits & BITS_DEFERRED;
}

/** Take back what an object held. */
static bool let_go(struct freeing *freeing, uint32_t object)
{
	const struct heapgraph *heap = freeing->heap;
	const struct graph *graph = &heap->graph;

	for (uint32_t j = graph->out_at[object]; j < graph->out_at[object + 1];
	     j++) {
		uint32_t target = graph_end(graph->out[j]);

		if (!graph_in(graph->out[j], GRAPH_MASK_STRONG) ||
		    heap->flags[target] & HEAP_IMMORTAL ||
		    node_set_has(freeing->kept, target) ||
		    node_set_has(freeing->freed, target) ||
		    ++freeing->gone[target] <
			    heapgraph_references(heap, target) ||
		    is_deferred(freeing, target))
			continue;
		(void)node_set_add(freeing->freed, target);
		if (!put_pending(freeing, target))
			return false;
	}
	return true;
}

static bool let_all_go(struct freeing *freeing, const struct node_set *garbage)
{
	for (uint32_t i = 0; i < freeing->heap->count; i++) {
		// Of these all are freed, in whichever order.
		if (!node_set_has(garbage, i) ||
		    !node_set_has(freeing->freed, i))
			continue;
		if (!let_go(freeing, i))
			return false;
		while (freeing->num_pending > 0)
			if (!let_go(freeing,
				    freeing->pending[--freeing->num_pending]))
				return false;
	}
	return true;
}

static struct error *find_freed(struct heapgraph *heap,
				const struct pyh_runtime *runtime,
				struct collector *ret)
{
	struct spill_array gone = { .fd = -1 };
	struct memory_reader memory = { 0 };
	struct freeing freeing = { .heap = heap, .freed = &ret->freed,
				   .kept = &ret->uncollectable,
				   .runtime = runtime, .memory = &memory };
	struct error *err = memory_reader_init(&memory, runtime->image->memory);

	if (!err)
		err = spill_alloc(&heap->spill, (uint64_t)heap->count *
						sizeof(*freeing.gone), &gone);
	if (err) {
		memory_reader_deinit(&memory);
		return err;
	}
	freeing.gone = gone.data;
	for (size_t i = 0; i < num_words(heap); i++)
		ret->freed.words[i] = ret->garbage.words[i] &
				      ~ret->uncollectable.words[i];
	if (!let_all_go(&freeing, &ret->garbage))
		err = error_no_memory();
	free(freeing.pending);
	spill_free(&gone);
	memory_reader_deinit(&memory);
	return err;
}

static struct error *replay(struct heapgraph *heap,
			    const struct pyh_runtime *runtime,
			    struct collector *ret)
{
	struct error *err = frozen_find(heap, runtime, &ret->frozen);

	if (!err)
		err = node_set_init(&ret->garbage, heap->count);
	if (!err)
		err = node_set_init(&ret->uncollectable, heap->count);
	if (!err)
		err = node_set_init(&ret->freed, heap->count);
	if (!err)
		err = find_garbage(heap, runtime, ret);
	if (err)
		return err;
	ret->num_frozen = node_set_count(&ret->frozen);
	ret->num_garbage = node_set_count(&ret->garbage);
	if (ret->num_garbage == 0)
		return NULL;
	err = find_uncollectable(heap, runtime, ret);
	return err ? err : find_freed(heap, runtime, ret);
}

struct error *collector_replay(struct heapgraph *heap,
			       const struct pyh_runtime *runtime,
			       struct collector *ret)
{
	struct error *err;

	*ret = (struct collector){ 0 };
	err = replay(heap, runtime, ret);
	if (err) {
		collector_deinit(ret);
		return err;
	}
	ret->num_uncollectable = node_set_count(&ret->uncollectable);
	ret->num_freed = node_set_count(&ret->freed);
	for (uint32_t i = 0; ret->num_freed > 0 && i < heap->count; i++)
		if (node_set_has(&ret->freed, i))
			ret->freed_bytes += heapgraph_footprint(heap, i);
	return NULL;
}

void collector_deinit(struct collector *collector)
{
	node_set_deinit(&collector->frozen);
	node_set_deinit(&collector->garbage);
	node_set_deinit(&collector->uncollectable);
	node_set_deinit(&collector->freed);
	*collector = (struct collector){ 0 };
}
