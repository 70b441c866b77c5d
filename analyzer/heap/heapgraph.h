/*
 * The heap as a graph: every object a number, what is known of it in columns,
 * its references both ways.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two passes over the dump: the census, which says what is an object, and one
 * that reads each object once more and resolves what it refers to.
 */
#ifndef ANALYZER_HEAPGRAPH_H
#define ANALYZER_HEAPGRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/graph/graph.h"
#include "analyzer/graph/rank.h"
#include "image/base/error.h"
#include "image/base/spill.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/types/pyshape.h"
#include "pyheap/types/pytypes.h"

enum {
	HEAP_TRACKED = 1 << 0,		/* linked into a GC list */
	HEAP_IMMORTAL = 1 << 1,
	HEAP_INEXACT = 1 << 2,		/* its size cannot be known exactly */
	HEAP_GUESSED = 1 << 3,		/* only looks like an object */
	HEAP_CERTAIN = 1 << 4,		/* the collector's lists, or the states
					   of the runtime, lead to it */
	HEAP_DEFERRED = 1 << 5,		/* references hold it that its count
					   does not tell of */
};

/* In sizes and footprints, and in refcounts: what these bits do not hold is in
   bigs. */
#define HEAP_BIG UINT32_MAX
#define HEAP_MANY UINT16_MAX

struct heap_big {
	uint32_t object;
	uint64_t size, footprint, refcount;
};

/* References to an object that hold it without a count: of frames in
   free-threaded builds. */
struct heap_deferred {
	uint32_t object, count;
};

struct heapgraph {
	uint32_t count;		/* objects: 0 … count-1, in address order */
	struct rank *rank;	/* addresses and numbers */
	uint32_t *types;	/* ids of pyh_types_get() */
	uint32_t *sizes;	/* sys.getsizeof; HEAP_BIG: heapgraph_size() */
	uint32_t *footprints;	/* held from allocators; the same */
	uint16_t *refcounts;	/* of those that are not immortal; HEAP_MANY:
				   heapgraph_refcount() */
	uint8_t *flags;
	uint64_t footprint;	/* of all together, bytes */
	struct graph graph;
	struct heap_big *bigs;	/* by number */
	size_t num_bigs;
	struct heap_deferred *deferred;	/* of those with HEAP_DEFERRED, by
					   number */
	size_t num_deferred;
	struct spill_array arrays[5];
	struct spill spill;
	struct pyh_types *pyh_types;	/* borrowed */
};

/* Findings: references that own a count and lead to no object. */
#define HEAP_DANGLING "dangling-reference"

struct heapgraph_options {
	const struct pyh_runtime *runtime;
	struct pyh_types *types;
	unsigned int workers;
	uint64_t memory;	/* bytes of columns that may be in memory */
	const char *tmp_dir;	/* where the others go */
	/**
	 * Take the census, or go through it, with all objects shown to the
	 * visitor (see opened_census_visited()). The shapes are made after
	 * it, when all types are known.
	 */
	struct error *(*census)(void *context,
				const struct pyh_visitor *visitor,
				struct pyh_census **ret,
				struct pyh_shapes **ret_shapes);
	void *context;
	void (*progress)(void *context, const char *what, uint64_t done,
			 uint64_t total);
	void *progress_context;
};

struct error *heapgraph_build(const struct heapgraph_options *options,
			      struct heapgraph **ret);
/** NULL is fine. */
void heapgraph_destroy(struct heapgraph *heap);

/** Of an object that is in bigs. */
const struct heap_big *heapgraph_big(const struct heapgraph *heap,
				     uint32_t object);

static inline uint64_t heapgraph_size(const struct heapgraph *heap,
				      uint32_t object)
{
	uint32_t size = heap->sizes[object];

	return size == HEAP_BIG ? heapgraph_big(heap, object)->size : size;
}

static inline uint64_t heapgraph_footprint(const struct heapgraph *heap,
					   uint32_t object)
{
	uint32_t size = heap->footprints[object];

	return size == HEAP_BIG ? heapgraph_big(heap, object)->footprint : size;
}

/** ob_refcnt as far as it counts; of immortal objects 0. */
static inline uint64_t heapgraph_refcount(const struct heapgraph *heap,
					  uint32_t object)
{
	uint16_t count = heap->refcounts[object];

	return count == HEAP_MANY ? heapgraph_big(heap, object)->refcount : count;
}

/** Of an object with HEAP_DEFERRED. */
uint32_t heapgraph_deferred(const struct heapgraph *heap, uint32_t object);

/** How many references hold an object: its count, and those without one. */
static inline uint64_t heapgraph_references(const struct heapgraph *heap,
					    uint32_t object)
{
	uint64_t count = heapgraph_refcount(heap, object);

	return heap->flags[object] & HEAP_DEFERRED ?
		       count + heapgraph_deferred(heap, object) : count;
}

/**
 * Add references without a count, which are to be in the graph or among the
 * roots.
 *
 * @param more  num of them, in any order, objects more than once; borrowed
 */
struct error *heapgraph_defer(struct heapgraph *heap,
			      const struct heap_deferred *more, size_t num);

static inline const struct pyh_type *
heapgraph_type(const struct heapgraph *heap, uint32_t object)
{
	return pyh_types_get(heap->pyh_types, heap->types[object]);
}

static inline uint64_t heapgraph_address(const struct heapgraph *heap,
					 uint32_t object)
{
	return rank_address(heap->rank, object);
}

/** The object that begins at an address, or GRAPH_NONE. */
static inline uint32_t heapgraph_find(const struct heapgraph *heap,
				      uint64_t address)
{
	return rank_id(heap->rank, address);
}

#endif
