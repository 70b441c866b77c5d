/*
 * The cyclic collector, replayed: what gc.collect() would find now.
 * SPDX-License-Identifier: Apache-2.0
 *
 * With its own arithmetic, over all generations: of the objects that it tracks,
 * those whose counts are more than what others of them refer to are held from
 * outside, and whatever these lead to lives. The rest is garbage. References
 * that tp_traverse does not visit hold, for it, from outside; so do those of
 * frozen objects and of immortal ones, which it does not look at.
 *
 * What the tp_traverse of a type visits whose structure is not known can only be
 * guessed: words that lead to an object count as visited where these, and what is
 * known, are all that hold it. So do classes of Cython and mypyc.
 *
 * In free-threaded builds the references of frames take no counts of functions,
 * code and the like; the collector adds them before it subtracts, and so does
 * heapgraph_references(). Where a thread runs a frame of which it does not know
 * how deep its stack is, it keeps all such objects; here those are kept that the
 * stack may hold.
 *
 * What cannot be foretold is what finalizers do: one of them may bring objects
 * back, and closing a generator frees what only its frame holds before the
 * collector comes to it.
 *
 * Source: CPython Python/gc.c (Modules/gcmodule.c up to 3.12),
 * deduce_unreachable(), move_legacy_finalizers(), delete_garbage(); the same
 * for a full collection of the incremental collector of 3.14.0 to 3.14.4;
 * Python/gc_free_threading.c.
 */
#ifndef ANALYZER_COLLECTOR_H
#define ANALYZER_COLLECTOR_H

#include <stdint.h>

#include "analyzer/graph/reach.h"
#include "analyzer/heap/finalizers.h"
#include "analyzer/heap/heapgraph.h"

struct collector {
	struct node_set frozen;		/* objects that it never looks at */
	struct node_set garbage;	/* tracked objects that it would find */
	/* those of them that it would not free but put into gc.garbage: with
	   tp_del, or held by such */
	struct node_set uncollectable;
	/* the other ones, and what goes when they go */
	struct node_set freed;
	uint32_t num_tracked, num_frozen;
	uint32_t num_garbage, num_uncollectable, num_freed;
	uint32_t num_by_words;	/* garbage only if words of unknown structures
				   are references that tp_traverse visits */
	uint32_t num_finalizers;	/* of the garbage, still to be run */
	uint32_t num_lost;		/* see lost_bytes */
	uint64_t freed_bytes;		/* footprints */
	/* by collector_find_lost(): objects that neither anything known leads to
	   nor a collection frees, and their footprints */
	uint64_t lost_bytes;
};

struct error *collector_replay(struct heapgraph *heap,
			       const struct pyh_runtime *runtime,
			       struct pyh_shapes *shapes,
			       struct collector *ret);

/**
 * Count what is left: neither reached, nor freed, nor kept by gc.garbage. That
 * is held by cycles through native code, or through objects that no collector
 * sees.
 *
 * @param parents  of dominators: who is reached
 */
struct error *collector_find_lost(const struct heapgraph *heap,
				  const uint32_t *parents,
				  struct collector *collector);

/** True if an object that the dominators do not reach is such a one. */
static inline bool collector_is_lost(const struct heapgraph *heap,
				     const struct collector *collector,
				     uint32_t object)
{
	// What only looks like an object is held by nobody anyway.
	return !node_set_has(&collector->freed, object) &&
	       !node_set_has(&collector->garbage, object) &&
	       !(heap->flags[object] & HEAP_GUESSED) &&
	       heapgraph_references(heap, object) > 0;
}

void collector_deinit(struct collector *collector);

#endif
