/*
 * Who holds what from outside: roots, and the audit of reference counts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A count says how many references there are; those that were found say how
 * many of them are known. What is left over is held by somebody that is no
 * object and no known state: native code. So the roots of the heap are known
 * even where their holders are not.
 */
#ifndef ANALYZER_HEAPROOTS_H
#define ANALYZER_HEAPROOTS_H

#include <stdint.h>

#include "analyzer/graph/reach.h"
#include "analyzer/heap/heapgraph.h"
#include "pyheap/references/pyroots.h"

/** A root, and which object it holds. */
struct heap_root {
	uint32_t object;
	struct pyh_root root;
};

struct heaproots {
	struct heap_root *roots;	/* by object, then as they were told */
	size_t num_roots;
	/* objects with counts that nothing found accounts for */
	struct node_set unexplained;
	/* objects with fewer counts than there are owners */
	struct node_set over_released;
	uint32_t num_immortal;	/* of which counts say nothing */
	uint32_t num_unexplained, num_over_released;
	uint32_t num_guessed;	/* explained only by what may own a count */
	/* all that is held from outside: roots that own a count, what is
	   unexplained, what is immortal */
	struct node_set held;
};

/**
 * Gather the roots, compare counts with what was found, and settle guesses: an
 * edge that may own a count is made weak where all counts are accounted for
 * without it.
 */
struct error *heaproots_find(struct heapgraph *heap,
			     const struct pyh_runtime *runtime,
			     unsigned int workers, struct heaproots *ret);
void heaproots_deinit(struct heaproots *roots);

/** True if a root owns a count, or what may be one is needed for the count. */
static inline bool heaproots_holds(const struct heaproots *roots,
				   const struct heap_root *root)
{
	return root->root.hold == PYH_HOLD_TRAVERSED ||
	       root->root.hold == PYH_HOLD_UNTRAVERSED ||
	       (root->root.hold == PYH_HOLD_GUESSED &&
		node_set_has(&roots->unexplained, root->object));
}

/**
 * Of what is unexplained that which native code alone holds: nothing that is
 * known leads to it. A count too many says of another object only that native
 * code holds it, too.
 */
struct error *heaproots_native(const struct heapgraph *heap,
			       const struct heaproots *roots,
			       struct node_set *ret);

/** Roots of an object: the first, and how many follow it. */
const struct heap_root *heaproots_of(const struct heaproots *roots,
				     uint32_t object, size_t *ret_count);

/** What accounts for the count of an object. */
struct heap_count {
	uint64_t objects;	/* references from objects that own one */
	uint64_t guessed;	/* … that may own one */
	uint64_t roots;		/* from roots that own one */
	uint64_t maybe_roots;	/* … that may own one */
};

struct heap_count heaproots_count(const struct heapgraph *heap,
				  const struct heaproots *roots,
				  uint32_t object);

#endif
