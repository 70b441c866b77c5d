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
	uint32_t num_finalizers;	/* of the garbage, still to be run */
	uint64_t freed_bytes;		/* footprints */
};

struct error *collector_replay(struct heapgraph *heap,
			       const struct pyh_runtime *runtime,
			       struct collector *ret);
void collector_deinit(struct collector *collector);

#endif
