/*
 * Which objects of a heap have finalizers, by type.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_FINALIZERS_H
#define ANALYZER_FINALIZERS_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/heap/heapgraph.h"
#include "pyheap/references/pyfinal.h"

struct finalizers {
	const struct heapgraph *heap;		/* borrowed */
	const struct pyh_runtime *runtime;	/* borrowed */
	struct memory_reader memory;
	uint8_t *of_types;	/* enum pyh_finalizer by the types' ids */
};

struct error *finalizers_init(struct finalizers *finalizers,
			      const struct heapgraph *heap,
			      const struct pyh_runtime *runtime);
/** Safe on a zeroed one. */
void finalizers_deinit(struct finalizers *finalizers);

/** What the type of an object says. */
static inline enum pyh_finalizer
finalizers_of(const struct finalizers *finalizers, uint32_t object)
{
	return finalizers->of_types[finalizers->heap->types[object]];
}

/** True if a finalizer of the object would still be run, or is in the way. */
bool finalizers_pending(struct finalizers *finalizers, uint32_t object);

#endif
