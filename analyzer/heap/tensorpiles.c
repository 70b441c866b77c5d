/*
 * Where data of tensors piles up; see tensorpiles.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/tensorpiles.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsums.h"
#include "image/base/guard.h"

enum {
	/* elements that are "many": tensors; results that have graphs; such of
	   one item each; exceptions, of which one is enough. Steps have fewer of
	   those of one item: terms of one loss have a graph in common. */
	PLAIN_LEAST = 100, GRAPHS_LEAST = 16, SCALARS_LEAST = 4,
	EXCEPTIONS_LEAST = 2,
	DEVICES_MAX = 64,
	REFERRERS_MAX = 256,	/* looked at, of one element */
	KEEPERS = 8,		/* objects above a sum that are asked */
};

/** Of one memory, what an object keeps that is not of a model. */
struct sum {
	uint64_t bytes, graph, scalar;
	uint64_t tensors;
};

/** Of children of one type. */
struct kind {
	struct sum sum;
	uint32_t count, sample;
};

struct piling {
	const struct analysis *analysis;
	const struct heldbytes *held;
	struct bounded *bounded;
	struct sum *sums;	/* by index of held->objects */
	struct kind *kinds;	/* by type */
	uint64_t memory;	/* the whole of it */
	const struct held_storage *of;	/* one that is in the memory at hand */
	struct tensors *tensors;	/* those of the sums; NULL: there are none */
	struct tensorsums running;
	struct sum *saved;	/* by their graphs, in the memory at hand */
	struct suspect *found;
	size_t num_found;
};

static bool is_same_memory(const struct held_storage *a,
			   const struct held_storage *b)
{
	return a->device == b->device &&
	       (a->flags & HELD_IN_HOST || a->index == b->index);
}

static void add(struct sum *to, const struct sum *more)
{
	to->bytes += more->bytes;
	to->graph += more->graph;
	to->scalar += more->scalar;
	to->tensors += more->tensors;
}

static void sum_up(struct piling *piling)
{
	const struct heldbytes *held = piling->held;

	memset(piling->sums, 0, held->num_objects * sizeof(*piling->sums));
	for (size_t i = 0; i < held->num_storages; i++) {
		const struct held_storage *storage = &held->storages[i];
		uint64_t bytes = storage->bytes;
		uint32_t at = heldbytes_find(held, storage->owner);

		if (at == GRAPH_NONE || bytes == 0 ||
		    storage->flags & HELD_OF_MODEL ||
		    !is_same_memory(storage, piling->of))
			continue;
		add(&piling->sums[at], &(struct sum){
			.bytes = bytes, .tensors = 1,
			.graph = storage->flags & HELD_BY_GRAPH ? bytes : 0,
			.scalar = storage->flags & HELD_BY_SCALAR ? bytes : 0 });
	}
	for (uint32_t i = 0; i < held->num_objects; i++) {
		uint32_t parent = held->objects[held->order[i]].parent;

		if (parent != GRAPH_NONE)
			add(&piling->sums[parent],
			    &piling->sums[held->order[i]]);
	}
}

static bool is_container(const struct pyh_type *type)
{
	switch (type->kind) {
	case PYH_KIND_LIST:
	case PYH_KIND_TUPLE:
	case PYH_KIND_DICT:
	case PYH_KIND_SET:
	case PYH_KIND_DEQUE:
	case PYH_KIND_ODICT:
		return true;
	default:
		return false;
	}
}

/**
 * Is it in a container, and does not only live by it, as results on the way do
 * that C++ alone has?
 */
static bool is_in(const struct graph *graph, uint32_t container, uint32_t object)
{
	uint32_t end = graph->in_at[object + 1];

	for (uint32_t i = graph->in_at[object];
	     i < end && i - graph->in_at[object] < REFERRERS_MAX; i++)
		if (graph_end(graph->in[i]) == container &&
		    graph_in(graph->in[i], GRAPH_MASK_STRONG))
			return true;
	return false;
}

/** The type whose children keep the most; ret_largest: of one child. */
static struct kind most_under(struct piling *piling, uint32_t at,
			      uint32_t *ret_type, uint64_t *ret_largest)
{
	const struct heldbytes *held = piling->held;
	const struct heapgraph *heap = piling->analysis->heap;
	uint32_t container = held->objects[at].object;
	const uint32_t *types = heap->types;
	struct kind most = { 0 };

	*ret_largest = 0;
	for (uint32_t i = held->objects[at].child; i != GRAPH_NONE;
	     i = held->objects[i].next) {
		uint32_t object = held->objects[i].object;
		struct kind *kind = &piling->kinds[types[object]];

		if (piling->sums[i].bytes == 0 ||
		    !is_in(&heap->graph, container, object))
			continue;
		if (kind->count++ == 0)
			kind->sample = object;
		add(&kind->sum, &piling->sums[i]);
		if (piling->sums[i].bytes > *ret_largest)
			*ret_largest = piling->sums[i].bytes;
	}
	for (uint32_t i = held->objects[at].child; i != GRAPH_NONE;
	     i = held->objects[i].next) {
		uint32_t type = types[held->objects[i].object];

		if (piling->kinds[type].sum.bytes > most.sum.bytes) {
			most = piling->kinds[type];
			*ret_type = type;
		}
		piling->kinds[type] = (struct kind){ 0 };
	}
	return most;
}

/** One that a thread raises or handles will be gone with its frames soon. */
static bool is_of_thread(const struct piling *piling, uint32_t object)
{
	size_t count;
	const struct heap_root *roots = heaproots_of(&piling->analysis->roots,
						     object, &count);

	for (size_t i = 0; i < count; i++)
		if (roots[i].root.kind == PYH_ROOT_THREAD)
			return true;
	return false;
}

/** An exception that is kept, and with it the variables of all its frames. */
static void look_at_exception(struct piling *piling, uint32_t at)
{
	const struct heapgraph *heap = piling->analysis->heap;
	uint32_t object = piling->held->objects[at].object;
	const struct sum *sum = &piling->sums[at];

	if (piling->num_found == TENSORPILES_MAX ||
	    is_of_thread(piling, object))
		return;
	piling->found[piling->num_found++] = (struct suspect){
		.pattern = SUSPECT_EXCEPTIONS, .object = object,
		.sample = object, .element = heapgraph_type(heap, object),
		.elements = 1,
		.retained = piling->analysis->dominators.retained[object],
		.share = (double)sum->bytes / (double)piling->memory,
		.in_tensors = sum->bytes, .tensors = sum->tensors,
		.device = piling->of->device, .index = piling->of->index };
}

static bool is_exception(const struct pyh_type *type)
{
	return type->flags & PYH_TPFLAGS_BASE_EXC_SUBCLASS;
}

/** Does it pile up there? Then it is noted. */
static bool is_pile(struct piling *piling, uint32_t at)
{
	const struct heapgraph *heap = piling->analysis->heap;
	uint32_t object = piling->held->objects[at].object, type = 0;
	const struct sum *sum = &piling->sums[at];
	const struct pyh_type *element;
	struct kind most;
	uint64_t largest;
	bool graphs, scalars;

	if (is_exception(heapgraph_type(heap, object))) {
		look_at_exception(piling, at);
		return true;
	}
	if (!is_container(heapgraph_type(heap, object)) ||
	    piling->num_found == TENSORPILES_MAX)
		return false;
	most = most_under(piling, at, &type, &largest);
	graphs = most.sum.graph >= most.sum.bytes / 2;
	scalars = most.sum.scalar >= most.sum.bytes / 2;
	element = pyh_types_get(heap->pyh_types, type);
	if (most.sum.bytes < sum->bytes / 2 || largest >= sum->bytes / 2 ||
	    most.count < (is_exception(element) ? EXCEPTIONS_LEAST :
			  scalars ? SCALARS_LEAST :
			  graphs ? GRAPHS_LEAST : PLAIN_LEAST) ||
	    bounded_is(piling->bounded, object))
		return false;
	piling->found[piling->num_found++] = (struct suspect){
		.pattern = is_exception(element) ? SUSPECT_EXCEPTIONS :
			   graphs ? SUSPECT_GRAPHS : SUSPECT_TENSORS,
		.object = object, .sample = most.sample, .element = element,
		.elements = most.count,
		.retained = piling->analysis->dominators.retained[object],
		.share = (double)sum->bytes / (double)piling->memory,
		.in_tensors = sum->bytes, .tensors = sum->tensors,
		.of_scalars = scalars, .device = piling->of->device,
		.index = piling->of->index };
	return true;
}

/** From the top down, to where it divides. */
static void look(struct piling *piling, uint64_t least)
{
	const struct heldbytes *held = piling->held;
	uint32_t at = held->first;

	while (at != GRAPH_NONE) {
		if (piling->sums[at].bytes >= least && !is_pile(piling, at) &&
		    held->objects[at].child != GRAPH_NONE) {
			at = held->objects[at].child;
			continue;
		}
		while (held->objects[at].next == GRAPH_NONE &&
		       held->objects[at].parent != GRAPH_NONE)
			at = held->objects[at].parent;
		at = held->objects[at].next;
	}
}

/* --- sums -------------------------------------------------------------------- */

/** What the graphs of sums have saved in this memory, and no model has. */
static void sum_up_saved(struct piling *piling)
{
	const struct heldbytes *held = piling->held;
	const struct tensorsums *running = &piling->running;

	memset(piling->saved, 0, running->count * sizeof(*piling->saved));
	for (size_t i = 0; running->count > 0 && i < held->num_storages; i++) {
		const struct held_storage *storage = &held->storages[i];
		uint32_t number = running->of_storage[i];

		if (number == TENSORS_NONE || storage->bytes == 0 ||
		    storage->flags & HELD_OF_MODEL ||
		    !is_same_memory(storage, piling->of))
			continue;
		piling->saved[number].bytes += storage->bytes;
		piling->saved[number].tensors++;
	}
}

/**
 * Without which object most of it would go: what adds up losses may have made
 * something of the sum, which leads to the graph as well.
 */
static uint32_t keeper_of(const struct piling *piling, uint32_t object,
			  uint64_t bytes)
{
	const struct dominators *dominators = &piling->analysis->dominators;
	uint32_t above = object;

	for (int i = 0; i < KEEPERS && above < dominators->num_nodes; i++) {
		uint32_t at = heldbytes_find(piling->held, above);

		if (at != GRAPH_NONE && piling->sums[at].bytes >= bytes / 2)
			return above;
		above = dominators->parent[above];
	}
	return object;
}

static void look_at_sum(struct piling *piling, size_t number, uint64_t least)
{
	const struct tensorsum *one = &piling->running.items[number];
	uint32_t object = tensors_found(piling->tensors).items[one->tensor].object;
	struct sum sum = piling->saved[number];
	uint64_t nodes = piling->of->flags & HELD_IN_HOST ? one->node_bytes : 0;
	uint32_t keeper = keeper_of(piling, object, sum.bytes);

	if (sum.bytes + nodes < least || piling->num_found == TENSORPILES_MAX)
		return;
	piling->found[piling->num_found++] = (struct suspect){
		.pattern = SUSPECT_SUM, .object = keeper, .sample = object,
		.elements = one->graphs,
		.retained = piling->analysis->dominators.retained[keeper],
		.share = (double)(sum.bytes + nodes) / (double)piling->memory,
		.in_tensors = sum.bytes + nodes, .tensors = sum.tensors,
		.device = piling->of->device, .index = piling->of->index };
}

/* --- memories ---------------------------------------------------------------- */

static void look_in_memory(struct piling *piling, uint64_t memory)
{
	uint64_t least = memory / SUSPECTS_SHARE;

	if (least < SUSPECTS_BYTES)
		least = SUSPECTS_BYTES;
	piling->memory = memory;
	sum_up(piling);
	look(piling, least);
	sum_up_saved(piling);
	for (size_t i = 0; i < piling->running.count; i++)
		look_at_sum(piling, i, least);
}

/** One storage of each memory, the process's first, and what all of these have. */
static size_t list_memories(const struct heldbytes *held,
			    const struct held_storage *list[DEVICES_MAX],
			    uint64_t bytes[DEVICES_MAX])
{
	static const struct held_storage in_host = { .flags = HELD_IN_HOST };
	size_t count = 1;

	list[0] = &in_host;
	bytes[0] = 0;
	for (size_t i = 0; i < held->num_storages; i++) {
		size_t j = 0;

		if (held->storages[i].bytes == 0)
			continue;
		while (j < count && !is_same_memory(&held->storages[i], list[j]))
			j++;
		if (j == DEVICES_MAX)
			continue;
		if (j == count) {
			bytes[count] = 0;
			list[count++] = &held->storages[i];
		}
		bytes[j] += held->storages[i].bytes;
	}
	return count;
}

/** Sums, where the storages that are known are those of the tensors. */
static struct error *find_sums(struct opened *opened, struct piling *piling)
{
	struct error *err = tensors_look(opened, &piling->tensors);

	if (!err && piling->tensors && tensors_found(piling->tensors).num_storages ==
			    piling->held->num_storages)
		err = tensorsums_find(piling->tensors, &piling->running);
	return err;
}

struct error *tensorpiles_find(struct opened *opened,
			       const struct analysis *analysis,
			       struct bounded *bounded, uint64_t memory,
			       struct suspect ret[TENSORPILES_MAX],
			       size_t *ret_count)
{
	const struct heldbytes *held = analysis->held;
	const struct held_storage *memories[DEVICES_MAX];
	struct piling piling = { .analysis = analysis, .held = held,
				 .bounded = bounded, .found = ret };
	uint64_t bytes[DEVICES_MAX];
	struct error *err;
	size_t count;

	*ret_count = 0;
	if (!held || held->num_objects == 0)
		return NULL;
	err = find_sums(opened, &piling);
	piling.sums = calloc(held->num_objects, sizeof(*piling.sums));
	piling.kinds = calloc((size_t)pyh_types_count(
				      analysis->heap->pyh_types) + 1,
			      sizeof(*piling.kinds));
	piling.saved = calloc(piling.running.count + 1, sizeof(*piling.saved));
	if (!err && (!piling.sums || !piling.kinds || !piling.saved))
		err = error_no_memory();
	count = err ? 0 : list_memories(held, memories, bytes);
	for (size_t i = 0; i < count; i++) {
		piling.of = memories[i];
		look_in_memory(&piling, memories[i]->flags & HELD_IN_HOST ?
						memory : bytes[i]);
	}
	*ret_count = piling.num_found;
	tensorsums_deinit(&piling.running);
	tensors_close(piling.tensors);
	free(piling.saved);
	free(piling.sums);
	free(piling.kinds);
	return err;
}
