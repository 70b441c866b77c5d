/*
 * The references between two objects; see pathedges.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/pathedges.h"

#include <stdlib.h>

enum {
	FEW = 64,		/* an object with so many references is looked
				   through each time */
	KEPT_MAX = 1 << 22,	/* references of all that are kept */
	ASKED_FEW = 8,		/* so often even a large one is, up to what is
				   looked for: sooner done than all are kept */
};

#define KEPT UINT32_MAX		/* instead of how often it was asked for */

struct between {
	uint64_t target;
	struct pyh_ref *ret;
	bool found;
};

static bool see_reference(void *context, const struct pyh_ref *ref)
{
	struct between *between = context;

	if (ref->address != between->target || ref->hold == PYH_HOLD_NONE ||
	    (between->found && ref->hold == PYH_HOLD_GUESSED))
		return true;
	*between->ret = *ref;
	between->found = true;
	return ref->hold == PYH_HOLD_GUESSED;
}

/* --- large objects ---------------------------------------------------------------- */

struct keeping {
	struct path_edges *edges;
	const struct heapgraph *heap;
	uint32_t from;
	struct error *err;
};

static uint64_t key_of(uint32_t from, uint32_t to)
{
	return ((uint64_t)from << 32 | to) + 1;
}

static bool keep_reference(void *context, const struct pyh_ref *ref)
{
	struct keeping *keeping = context;
	struct path_edges *edges = keeping->edges;
	uint32_t to = ref->hold == PYH_HOLD_NONE ? GRAPH_NONE :
			heapgraph_find(keeping->heap, ref->address);
	uint64_t key = key_of(keeping->from, to);
	uint32_t number;

	if (to == GRAPH_NONE)
		return true;
	if (hashmap_get(&edges->between, key, &number)) {
		struct pyh_ref *known = &edges->refs[number - 1];

		if (known->hold == PYH_HOLD_GUESSED &&
		    ref->hold != PYH_HOLD_GUESSED)
			*known = *ref;
		return true;
	}
	if (edges->count == edges->room) {
		size_t room = edges->room ? edges->room * 2 : 1024;
		struct pyh_ref *grown = realloc(edges->refs,
						room * sizeof(*grown));

		keeping->err = grown ? NULL : error_no_memory();
		if (!grown)
			return false;
		edges->refs = grown;
		edges->room = room;
	}
	edges->refs[edges->count++] = *ref;
	keeping->err = hashmap_put(&edges->between, key,
				   (uint32_t)edges->count);
	return !keeping->err;
}

/** All that an object refers to; false: there is no memory for that. */
static bool keep(struct path_edges *edges, const struct heapgraph *heap,
		 const struct pyh_referrer *referrer, uint32_t from)
{
	struct keeping keeping = { .edges = edges, .heap = heap, .from = from };

	if (edges->count > KEPT_MAX)
		path_edges_deinit(edges);
	pyh_refs_each(referrer, keep_reference, &keeping);
	if (!keeping.err)
		keeping.err = hashmap_put(&edges->known, (uint64_t)from + 1,
					  KEPT);
	if (!keeping.err)
		return true;
	error_free(keeping.err);
	path_edges_deinit(edges);
	return false;
}

/** True if all that an object refers to is kept, or now is. */
static bool is_kept(struct path_edges *edges, const struct heapgraph *heap,
		    const struct pyh_referrer *referrer, uint32_t from)
{
	const struct graph *graph = &heap->graph;
	uint32_t asked = 0;

	// Of an analysis that was kept there may be no graph.
	if (graph->out_at &&
	    graph->out_at[from + 1] - graph->out_at[from] <= FEW)
		return false;
	(void)hashmap_get(&edges->known, (uint64_t)from + 1, &asked);
	if (asked == KEPT)
		return true;
	if (asked >= ASKED_FEW)
		return keep(edges, heap, referrer, from);
	error_free(hashmap_put(&edges->known, (uint64_t)from + 1, asked + 1));
	return false;
}

void path_edges_find(struct path_edges *edges, const struct heapgraph *heap,
		     const struct pyh_referrer *referrer, uint32_t from,
		     uint32_t to, struct pyh_ref *ret)
{
	struct between between = { .target = heapgraph_address(heap, to),
				   .ret = ret };
	uint32_t number;

	if (!is_kept(edges, heap, referrer, from))
		pyh_refs_each(referrer, see_reference, &between);
	else if (hashmap_get(&edges->between, key_of(from, to), &number))
		*ret = edges->refs[number - 1];
}

void path_edges_deinit(struct path_edges *edges)
{
	hashmap_deinit(&edges->known);
	hashmap_deinit(&edges->between);
	free(edges->refs);
	*edges = (struct path_edges){ 0 };
}
