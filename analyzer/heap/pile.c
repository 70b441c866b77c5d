/*
 * What piles up under an object; see pile.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/pile.h"

#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"

static int by_name(const struct pyh_type *one, const struct pyh_type *other)
{
	return one == other ? 0 : strcmp(one->name, other->name);
}

bool pile_types_are_alike(const struct pyh_type *one,
			  const struct pyh_type *other)
{
	return by_name(one, other) == 0;
}

static int by_name_of(const void *a, const void *b, void *context)
{
	const struct pyh_types *types = context;

	return by_name(pyh_types_get(types, *(const uint32_t *)a),
		       pyh_types_get(types, *(const uint32_t *)b));
}

/** For each type one that is alike, the same one for all that are. */
static struct error *find_alike(struct pyh_types *types, uint32_t *alike)
{
	uint32_t count = pyh_types_count(types);
	CLEANUP(free_pointer) uint32_t *sorted =
		malloc(((size_t)count + 1) * sizeof(*sorted));

	if (!sorted)
		return error_no_memory();
	for (uint32_t i = 0; i < count; i++)
		sorted[i] = i;
	qsort_r(sorted, count, sizeof(*sorted), by_name_of, types);
	for (uint32_t i = 0; i < count; i++)
		alike[sorted[i]] =
			i > 0 && by_name_of(&sorted[i - 1], &sorted[i],
					    types) == 0 ?
				alike[sorted[i - 1]] : sorted[i];
	return NULL;
}

struct error *piles_init(struct piles *piles, const struct analysis *analysis,
			 uint64_t least)
{
	size_t types = pyh_types_count(analysis->heap->pyh_types);

	*piles = (struct piles){
		.analysis = analysis, .least = least,
		.sums = calloc(types + 1, sizeof(*piles->sums)),
		.counts = calloc(types + 1, sizeof(*piles->counts)),
		.samples = calloc(types + 1, sizeof(*piles->samples)),
		.alike = calloc(types + 1, sizeof(*piles->alike)),
	};
	struct error *err = piles->sums && piles->counts && piles->samples &&
					    piles->alike ?
			find_alike(analysis->heap->pyh_types, piles->alike) :
			error_no_memory();

	if (err)
		piles_deinit(piles);
	return err;
}

void piles_deinit(struct piles *piles)
{
	free(piles->sums);
	free(piles->counts);
	free(piles->samples);
	free(piles->alike);
	*piles = (struct piles){ 0 };
}

uint64_t pile_retained(const struct analysis *analysis, uint32_t object)
{
	uint64_t retained = analysis->dominators.retained[object], host;
	uint32_t at = analysis->held ? heldbytes_find(analysis->held, object) :
				       GRAPH_NONE;

	host = at == GRAPH_NONE ? 0 : analysis->held->objects[at].host;
	return host < retained ? retained - host : 0;
}

bool pile_is_namespace(const struct heapgraph *heap, uint32_t object)
{
	const struct graph *graph = &heap->graph;

	if (heapgraph_type(heap, object)->kind != PYH_KIND_DICT)
		return false;
	for (uint32_t i = graph->in_at[object]; i < graph->in_at[object + 1]; i++)
		if (graph_in(graph->in[i], GRAPH_MASK_STRONG) &&
		    heapgraph_type(heap, graph_end(graph->in[i]))->kind ==
			    PYH_KIND_MODULE)
			return true;
	return false;
}

static void add_to_pile(const struct of_type *one, struct pile *pile)
{
	if (one->retained > pile->most.retained)
		pile->most = *one;
	if (one->count < PILE_MANY)
		return;
	pile->retained_by_many += one->retained;
	if (one->retained > pile->many[0].retained) {
		pile->many[1] = pile->many[0];
		pile->many[0] = *one;
	} else if (one->retained > pile->many[1].retained) {
		pile->many[1] = *one;
	}
}

struct pile pile_under(struct piles *piles, uint32_t object)
{
	const struct analysis *analysis = piles->analysis;
	const uint32_t *types = analysis->heap->types;
	uint32_t count;
	const uint32_t *children = domtree_children(&analysis->tree, object,
						    &count);
	struct pile pile = { .largest = GRAPH_NONE };
	uint64_t most = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t child = children[i];
		uint32_t type = piles->alike[types[child]];
		uint64_t retained = pile_retained(analysis, child);

		// Large ones are branches of their own.
		if (object == DOMINATOR_ROOT &&
		    (retained >= piles->least ||
		     pile_is_namespace(analysis->heap, child)))
			continue;
		if (piles->counts[type]++ == 0)
			piles->samples[type] = child;
		piles->sums[type] += retained;
		if (pile.largest == GRAPH_NONE || retained > most) {
			pile.largest = child;
			most = retained;
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		uint32_t type = piles->alike[types[children[i]]];

		if (piles->counts[type] == 0)
			continue;
		add_to_pile(&(struct of_type){ .type = type,
				.count = piles->counts[type],
				.sample = piles->samples[type],
				.retained = piles->sums[type] }, &pile);
		piles->sums[type] = 0;
		piles->counts[type] = 0;
	}
	return pile;
}
