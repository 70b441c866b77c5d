/*
 * Single objects; see lookup.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/lookup.h"

#include "analyzer/analysis.h"
#include "analyzer/opened.h"
#include "pyheap/sizes/pysize.h"

/**
 * Does another object refer to it? What says of which type an object is does not
 * count, nor do guesses, nor what only looks like an object.
 */
static bool is_held(const struct heapgraph *heap, uint32_t id)
{
	const struct graph *graph = &heap->graph;
	uint64_t address = heapgraph_address(heap, id);
	uint32_t before = GRAPH_NONE;

	for (uint32_t j = graph->in_at[id]; j < graph->in_at[id + 1]; j++) {
		uint32_t referrer = graph_end(graph->in[j]);
		const struct pyh_type *type = heapgraph_type(heap, referrer);
		bool is_first = referrer != before;

		before = referrer;
		// Of static types the graph has no such edge.
		if (graph_hold(graph->in[j]) == GRAPH_GUESSED ||
		    heap->flags[referrer] & HEAP_GUESSED ||
		    (is_first && !type->is_static && type->address == address))
			continue;
		return true;
	}
	return false;
}

struct pyh_object lookup_object(const struct heapgraph *heap, uint32_t id)
{
	uint8_t flags = heap->flags[id];

	return (struct pyh_object){
		.address = heapgraph_address(heap, id),
		.type = heapgraph_type(heap, id),
		.size = heapgraph_size(heap, id),
		.footprint = heapgraph_footprint(heap, id),
		.size_exact = !(flags & HEAP_INEXACT),
		.refcount = heapgraph_refcount(heap, id),
		.immortal = flags & HEAP_IMMORTAL,
		.gc_tracked = flags & HEAP_TRACKED,
		.evidence = flags & HEAP_CERTAIN || is_held(heap, id) ?
				    PYH_EVIDENCE_CERTAIN :
			    flags & HEAP_GUESSED ? PYH_EVIDENCE_GUESSED :
						   PYH_EVIDENCE_PROBABLE,
	};
}

/* --- by the analysis ------------------------------------------------------- */

enum {
	BODY_BEYOND = 64,	/* bytes behind the structure that are looked at */
	BODY_MAX = 4096,
};

/** The first bytes of an object, as many as measuring it needs. */
static const uint8_t *view_body(const struct pyh_runtime *runtime,
				struct memory_reader *reader,
				const struct pyh_type *type, uint64_t address,
				size_t *ret_size)
{
	uint64_t wanted = (uint64_t)type->basicsize + BODY_BEYOND;
	const struct memory_range *range = memory_find(runtime->image->memory,
						       address);

	if (!range || range->state != MEMORY_CAPTURED)
		return NULL;
	if (type->kind == PYH_KIND_TYPE &&
	    wanted < runtime->size_of[PYH_STRUCT_HEAPTYPE])
		wanted = runtime->size_of[PYH_STRUCT_HEAPTYPE];
	if (wanted > BODY_MAX)
		wanted = BODY_MAX;
	if (wanted > range->end - address)
		wanted = range->end - address;
	*ret_size = (size_t)wanted;
	return memory_view(reader, address, (size_t)wanted);
}

uint64_t lookup_extent(const struct pyh_runtime *runtime,
		       const struct pyh_type *type, uint64_t address,
		       struct memory_reader *body, struct memory_reader *memory)
{
	struct pyh_measure measure;
	size_t size;
	const uint8_t *bytes = view_body(runtime, body, type, address, &size);

	return bytes && pyh_measure(runtime, type, address, bytes, size, memory,
				    &measure) != PYH_MEASURE_REFUSED ?
		       measure.extent : 0;
}

/** The same with readers for this once. */
static uint64_t extent_of(struct opened *opened, const struct pyh_object *object)
{
	const struct pyh_runtime *runtime = opened_runtime_if_found(opened);
	struct memory_reader body = { 0 }, memory = { 0 };
	uint64_t extent = 0;
	struct error *err = memory_reader_init(&body, runtime->image->memory);

	if (!err)
		err = memory_reader_init(&memory, runtime->image->memory);
	if (!err)
		extent = lookup_extent(runtime, object->type, object->address,
				       &body, &memory);
	memory_reader_deinit(&memory);
	memory_reader_deinit(&body);
	error_free(err);
	return extent;
}

/** The object that begins at an address or that it lies in; false: not known. */
static bool look_in_heap(struct opened *opened, const struct heapgraph *heap,
			 uint64_t address, struct pyh_lookup *ret)
{
	uint32_t id = rank_below(heap->rank, address);
	struct pyh_lookup lookup = { .place = PYH_PLACE_OBJECT };

	if (id == RANK_NONE)
		return false;
	lookup.object = lookup_object(heap, id);
	lookup.extent = extent_of(opened, &lookup.object);
	if (lookup.extent == 0 ||
	    address - lookup.object.address >= lookup.extent)
		return false;
	*ret = lookup;
	return true;
}

/* --- by whatever there is -------------------------------------------------- */

struct error *lookup_at(struct opened *opened, uint64_t address,
			struct pyh_lookup *ret)
{
	struct pyh_types *types;
	struct pyh_census *census;
	// That of an earlier run comes with the types.
	struct error *err = opened_types(opened, &types);
	const struct analysis *analysis = *opened_analysis(opened);

	if (err)
		return err;
	if (analysis && look_in_heap(opened, analysis->heap, address, ret))
		return NULL;
	err = opened_census(opened, &census);
	if (err)
		return err;
	pyh_census_lookup(census, address, ret);
	return ret->place == PYH_PLACE_OBJECT ?
		       opened_settle_few(opened, &ret->object, 1) : NULL;
}

bool lookup_holds(struct opened *opened, uint64_t address)
{
	const struct analysis *analysis = *opened_analysis(opened);
	struct pyh_census *census;
	struct error *err;

	if (analysis)
		return heapgraph_find(analysis->heap, address) != GRAPH_NONE;
	err = opened_census(opened, &census);
	if (err) {
		error_free(err);
		return false;
	}
	return pyh_census_holds(census, address);
}
