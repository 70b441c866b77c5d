/*
 * The cyclic collector, replayed: what gc.collect() would find now.
 * SPDX-License-Identifier: Apache-2.0
 *
 * With its own arithmetic, over all generations: of the objects that it tracks,
 * those whose counts are more than what others of them refer to are held from
 * outside, and whatever these lead to lives. The rest is garbage. References
 * that tp_traverse does not visit hold, for it, from outside.
 *
 * Source: CPython Python/gc.c (Modules/gcmodule.c up to 3.12), deduce_unreachable().
 */
#ifndef ANALYZER_COLLECTOR_H
#define ANALYZER_COLLECTOR_H

#include <stdint.h>

#include "analyzer/graph/reach.h"
#include "analyzer/heapgraph.h"
#include "analyzer/heaproots.h"

struct collector {
	struct node_set garbage;	/* tracked objects that it would find */
	struct node_set freed;		/* those, and what nobody else holds */
	uint32_t num_garbage, num_freed;
	uint64_t freed_bytes;		/* footprints */
};

struct error *collector_replay(const struct heapgraph *heap,
			       const struct heaproots *roots,
			       const struct node_set *frozen,
			       struct collector *ret);
void collector_deinit(struct collector *collector);

#endif
