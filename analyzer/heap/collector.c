/*
 * The cyclic collector, replayed; see collector.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/collector.h"

#include <stdlib.h>

#include "analyzer/graph/dominators.h"
#include "analyzer/heap/frozen.h"
#include "image/base/guard.h"
#include "pyheap/references/pygreenlet.h"

enum {
	BITS_DEFERRED = 1 << 6,		/* of ob_gc_bits */
	GRAPH_MASK_VISITED = GRAPH_MASK_TRAVERSED | 1 << GRAPH_GUESSED,
};

/** Words of a set of all objects. */
static size_t num_words(const struct heapgraph *heap)
{
	return (size_t)heap->count / 64 + 1;
}

/* --- what it would find ---------------------------------------------------- */

struct replay {
	const struct heapgraph *heap;
	const struct pyh_runtime *runtime;
	struct node_set members;	/* those that it looks at */
	bool *by_words;		/* of each type: guesses are for its tp_traverse */
};

/** How many of those that lead to an object are visited. */
struct visits {
	uint64_t known;
	uint64_t guessed;	/* words of unknown structures … */
	uint64_t others;	/* … and guesses that no tp_traverse is for */
};

/** True if a word that may be a reference is one that tp_traverse is for. */
static bool is_visited(const struct replay *replay, uint32_t from,
		       uint32_t object)
{
	const struct heapgraph *heap = replay->heap;

	// A word that leads to its own object is mostly no count: frames of
	// Nuitka's have one, as CPython's own.
	return from != object && node_set_has(&replay->members, from) &&
	       !(heap->flags[from] & HEAP_GUESSED) &&
	       replay->by_words[heap->types[from]];
}

static struct visits count_visits(const struct replay *replay,
				  uint32_t object)
{
	const struct graph *graph = &replay->heap->graph;
	struct visits visits = { 0 };

	for (uint32_t j = graph->in_at[object]; j < graph->in_at[object + 1];
	     j++) {
		uint32_t from = graph_end(graph->in[j]);

		if (graph_hold(graph->in[j]) == GRAPH_TRAVERSED)
			visits.known += node_set_has(&replay->members, from);
		else if (graph_hold(graph->in[j]) != GRAPH_GUESSED)
			continue;
		else if (is_visited(replay, from, object))
			visits.guessed++;
		else
			visits.others++;
	}
	return visits;
}

/**
 * True if more hold the object than members refer to it. Guesses count where
 * they come out even: one too many, and nobody knows which of them it is.
 */
static bool held_from_outside(const struct replay *replay, uint32_t object,
			      bool *ret_by_words)
{
	uint64_t references = heapgraph_references(replay->heap, object);
	struct visits visits = count_visits(replay, object);

	*ret_by_words = references > visits.known && visits.others == 0 &&
			references == visits.known + visits.guessed;
	return references > visits.known && !*ret_by_words;
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

/** Types whose instances' unknown words are for a tp_traverse. */
static struct error *find_types(const struct heapgraph *heap,
				struct pyh_shapes *shapes, bool **ret)
{
	uint32_t count = pyh_types_count(heap->pyh_types);

	*ret = calloc((size_t)count + 1, sizeof(**ret));
	if (!*ret)
		return error_no_memory();
	for (uint32_t i = 0; i < count; i++) {
		const struct pyh_type *type = pyh_types_get(heap->pyh_types, i);
		const struct pyh_shape *shape;

		// Of greenlets these are words of a stack.
		if (!type->has_gc || pyh_greenlet_is_one(type))
			continue;
		shape = pyh_shape_of(shapes, type);
		(*ret)[i] = shape && pyh_shape_visits_open(shape);
	}
	return NULL;
}

static struct error *find_alive(const struct replay *replay,
				struct node_set *alive,
				struct node_set *by_words)
{
	for (uint32_t i = 0; i < replay->heap->count; i++) {
		bool words;

		if (!node_set_has(&replay->members, i))
			continue;
		if (held_from_outside(replay, i, &words))
			(void)node_set_add(alive, i);
		else if (words)
			(void)node_set_add(by_words, i);
	}
	// Other guesses lead to what is held anyway.
	return reach(&replay->heap->graph, GRAPH_MASK_VISITED,
		     &replay->members, alive);
}

/** What would live if none of the guesses were a reference. */
static struct error *count_by_words(const struct heapgraph *heap,
				    struct node_set *by_words,
				    struct collector *ret)
{
	struct error *err;

	for (size_t i = 0; i < num_words(heap); i++)
		by_words->words[i] &= ret->garbage.words[i];
	err = reach(&heap->graph, GRAPH_MASK_TRAVERSED, &ret->garbage,
		    by_words);
	ret->num_by_words = node_set_count(by_words);
	return err;
}

static struct error *find_in_sets(struct replay *replay,
				  struct pyh_shapes *shapes,
				  struct collector *ret)
{
	const struct heapgraph *heap = replay->heap;
	CLEANUP(node_set_deinit) struct node_set alive = { 0 };
	CLEANUP(node_set_deinit) struct node_set by_words = { 0 };
	struct memory_reader memory;
	struct error *err = node_set_init(&alive, heap->count);

	if (!err)
		err = node_set_init(&by_words, heap->count);
	if (!err)
		err = find_types(heap, shapes, &replay->by_words);
	if (!err)
		err = memory_reader_init(&memory,
					 replay->runtime->image->memory);
	if (err)
		return err;
	find_members(heap, replay->runtime, &memory, ret, &replay->members);
	memory_reader_deinit(&memory);
	err = find_alive(replay, &alive, &by_words);
	for (size_t i = 0; !err && i < num_words(heap); i++)
		ret->garbage.words[i] = replay->members.words[i] &
					~alive.words[i];
	return err ? err : count_by_words(heap, &by_words, ret);
}

static struct error *find_garbage(const struct heapgraph *heap,
				  const struct pyh_runtime *runtime,
				  struct pyh_shapes *shapes,
				  struct collector *ret)
{
	struct replay replay = { .heap = heap, .runtime = runtime };
	struct error *err = node_set_init(&replay.members, heap->count);

	if (!err)
		err = find_in_sets(&replay, shapes, ret);
	free(replay.by_words);
	node_set_deinit(&replay.members);
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
	err = reach(&heap->graph, GRAPH_MASK_VISITED, &ret->garbage,
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

static struct error *run_replay(struct heapgraph *heap,
				const struct pyh_runtime *runtime,
				struct pyh_shapes *shapes,
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
		err = find_garbage(heap, runtime, shapes, ret);
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
			       struct pyh_shapes *shapes,
			       struct collector *ret)
{
	struct error *err;

	*ret = (struct collector){ 0 };
	err = run_replay(heap, runtime, shapes, ret);
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

/** What gc.garbage would hold, and what that leads to. */
static struct error *find_kept(const struct heapgraph *heap,
			       const struct collector *collector,
			       struct node_set *ret)
{
	struct error *err = node_set_init(ret, heap->count);

	if (err || collector->num_uncollectable == 0)
		return err;
	for (size_t i = 0; i < num_words(heap); i++)
		ret->words[i] = collector->garbage.words[i] &
				~collector->freed.words[i];
	return reach(&heap->graph, GRAPH_MASK_STRONG, NULL, ret);
}

struct error *collector_find_lost(const struct heapgraph *heap,
				  const uint32_t *parents,
				  struct collector *collector)
{
	CLEANUP(node_set_deinit) struct node_set kept = { 0 };
	struct error *err = find_kept(heap, collector, &kept);

	collector->num_lost = 0;
	collector->lost_bytes = 0;
	for (uint32_t i = 0; !err && i < heap->count; i++) {
		if (parents[i] != DOMINATOR_UNREACHED ||
		    !collector_is_lost(heap, collector, i) ||
		    node_set_has(&kept, i))
			continue;
		collector->num_lost++;
		collector->lost_bytes += heapgraph_footprint(heap, i);
	}
	return err;
}

void collector_deinit(struct collector *collector)
{
	node_set_deinit(&collector->frozen);
	node_set_deinit(&collector->garbage);
	node_set_deinit(&collector->uncollectable);
	node_set_deinit(&collector->freed);
	*collector = (struct collector){ 0 };
}
