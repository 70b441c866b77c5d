/*
 * Greenlets that nothing but their own frames hold.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The collector never frees a greenlet that is suspended. Where a variable of
 * its own frames is all that leads to it, all counts are accounted for, nothing
 * else leads there, and it lives all the same, for ever.
 */
#ifndef ANALYZER_GREENLETS_H
#define ANALYZER_GREENLETS_H

#include "analyzer/graph/reach.h"
#include "analyzer/heap/heapgraph.h"
#include "pyheap/runtime/pyruntime.h"

/** Add to what is held those that nothing in it leads to. */
struct error *greenlets_hold_themselves(const struct heapgraph *heap,
					const struct pyh_runtime *runtime,
					struct node_set *held);

#endif
