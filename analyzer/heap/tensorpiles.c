/*
 * Where data of tensors piles up; see tensorpiles.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/tensorpiles.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/pileplace.h"
#include "analyzer/tensors/tensorshown.h"
#include "analyzer/tensors/tensorsums.h"
#include "image/base/guard.h"

enum {
	/* elements that are "many": tensors; results that have graphs; such of
	   one item each; exceptions, of which one is enough. Steps have fewer of
	   those of one item: terms of one loss have a graph in common. */
	PLAIN_LEAST = 100, GRAPHS_LEAST = 16, SCALARS_LEAST = 4,
	EXCEPTIONS_LEAST = 2,
	/* fewer are a pile where they are large: such a part of the memory, and
	   so many bytes; and none is so much larger than their mean */
	FEW_LEAST = 3, FEW_SHARE = 5, SOME_LEAST = 10, SOME_SHARE = 10,
	FEW_BYTES = 16 << 20, FEW_ALIKE = 4, FEW_GRAPHS = 4,
	STRAY_SHARE = 3,	/* of one tensor alone: a third */
	COPIES_MOST = 2,	/* of each parameter: an optimizer's two moments */
	COVERED_LEAST = 4,	/* a quarter of the parameters, of one model of
				   several */
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
	struct pileplaces *places;
	struct tensorshown shown;
	bool knows_shown;	/* its storages are those that are known */
	uint8_t *below;		/* by index of held->objects: of one at hand */
	uint64_t *numbers;	/* room for one of each storage */
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

/** Does it count in the memory at hand? What a model has does nowhere. */
static bool is_counted(const struct piling *piling,
		       const struct held_storage *storage)
{
	return storage->bytes > 0 && !(storage->flags & HELD_OF_MODEL) &&
	       is_same_memory(storage, piling->of);
}

static void sum_up(struct piling *piling)
{
	const struct heldbytes *held = piling->held;

	memset(piling->sums, 0, held->num_objects * sizeof(*piling->sums));
	for (size_t i = 0; i < held->num_storages; i++) {
		const struct held_storage *storage = &held->storages[i];
		uint64_t bytes = storage->bytes;
		uint32_t at = heldbytes_find(held, storage->owner);

		if (at == GRAPH_NONE || !is_counted(piling, storage))
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

/* --- what lives by one object ------------------------------------------------- */

/** Of the storages that an object keeps, in the memory at hand. */
struct beneath {
	uint64_t bytes, shown;	/* … what can be seen of them in tensors */
	uint64_t of_graphs;	/* bytes of those that are in a graph, */
	uint64_t graphs;	/* how many results lead to these, */
	uint64_t received;	/* bytes of those from other processes */
	bool is_copy;		/* they are as parameters are, one by one */
};

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/** Which objects live by one, with itself. */
static void mark_below(struct piling *piling, uint32_t at)
{
	const struct heldbytes *held = piling->held;

	// Above before below.
	for (uint32_t i = held->num_objects; i-- > 0;) {
		uint32_t one = held->order[i];
		uint32_t parent = held->objects[one].parent;

		piling->below[one] = one == at ||
				     (parent != GRAPH_NONE &&
				      piling->below[parent]);
	}
}

static bool is_below(const struct piling *piling, size_t storage)
{
	const struct held_storage *one = &piling->held->storages[storage];
	uint32_t owner;

	if (!is_counted(piling, one))
		return false;
	owner = heldbytes_find(piling->held, one->owner);
	return owner != GRAPH_NONE && piling->below[owner];
}

static uint64_t count_graphs(struct piling *piling)
{
	size_t count = 0, different = 0;

	for (size_t i = 0; i < piling->held->num_storages; i++)
		if (piling->shown.items[i].root != TENSORS_NONE &&
		    is_below(piling, i))
			piling->numbers[count++] = piling->shown.items[i].root;
	qsort(piling->numbers, count, sizeof(*piling->numbers), by_number);
	for (size_t i = 0; i < count; i++)
		different += i == 0 ||
			     piling->numbers[i] != piling->numbers[i - 1];
	return different;
}

/**
 * Are they copies of parameters, one or two of each, as an average of a model's
 * weights has them, or its last checkpoint? These grow no more than the model does.
 */
static bool is_copy(struct piling *piling)
{
	const uint64_t *numbers = piling->numbers;
	const uint64_t *parameters = piling->shown.parameters;
	size_t count = 0, at = 0, of = piling->shown.num_parameters;
	uint64_t all = 0, matched = 0, covered = 0;

	for (size_t i = 0; i < piling->held->num_storages; i++)
		if (is_below(piling, i))
			piling->numbers[count++] =
				piling->shown.items[i].numel;
	qsort(piling->numbers, count, sizeof(*numbers), by_number);
	for (size_t i = 0, end; i < count; i = end) {
		size_t first, there;

		for (end = i; end < count && numbers[end] == numbers[i]; end++)
			all += numbers[i];
		while (at < of && parameters[at] < numbers[i])
			at++;
		for (first = at; at < of && parameters[at] == numbers[i];)
			at++;
		there = at - first;
		matched += numbers[i] * (end - i < there * COPIES_MOST ?
						 end - i : there * COPIES_MOST);
		covered += end - i < there ? end - i : there;
	}
	return covered > 0 && covered >= of / COVERED_LEAST &&
	       matched >= all / 10 * 9;
}

static struct beneath look_beneath(struct piling *piling, uint32_t at)
{
	struct beneath beneath = { 0 };

	if (!piling->knows_shown)
		return beneath;
	mark_below(piling, at);
	for (size_t i = 0; i < piling->held->num_storages; i++) {
		uint64_t bytes = piling->held->storages[i].bytes;
		const struct tensorshown_one *one = &piling->shown.items[i];

		if (!is_below(piling, i))
			continue;
		beneath.bytes += bytes;
		beneath.shown += one->shown < bytes ? one->shown : bytes;
		beneath.of_graphs += one->root != TENSORS_NONE ? bytes : 0;
		beneath.received += one->received ? bytes : 0;
	}
	beneath.graphs = count_graphs(piling);
	beneath.is_copy = is_copy(piling);
	return beneath;
}

/* --- few, and one -------------------------------------------------------------- */

/** Are few so large that they matter? Several objects with many each need not be. */
static bool are_large(const struct piling *piling, const struct kind *most,
		      uint64_t largest, const struct pyh_type *element)
{
	uint64_t bytes = most->sum.bytes;

	if (most->count < FEW_LEAST || bytes < FEW_BYTES ||
	    largest / FEW_ALIKE > bytes / most->count)
		return false;
	return bytes >= piling->memory / FEW_SHARE ||
	       (most->count >= SOME_LEAST &&
		bytes >= piling->memory / SOME_SHARE) ||
	       (most->count > FEW_LEAST && is_container(element) &&
		most->sum.tensors >= PLAIN_LEAST);
}

/**
 * Where few pile up: what functions that run work with does not, but for a list of
 * theirs with more tensors than a step takes.
 */
static bool is_place_for_few(const struct piling *piling, uint32_t container,
			     const struct kind *most,
			     const struct pyh_type *element)
{
	if (heapgraph_type(piling->analysis->heap, container)->kind ==
		    PYH_KIND_TUPLE ||
	    pileplaces_is_names(piling->places, container))
		return false;
	switch (pileplaces_of(piling->places, container)) {
	case PILE_KEPT:
	case PILE_ATTRIBUTE:
		return true;
	case PILE_VARIABLE:
		return most->count >= SOME_LEAST &&
		       pileplaces_is_tensor(piling->places, element);
	case PILE_PASSING:
		break;
	}
	return false;
}

/** One large tensor that belongs to no model, and that the program keeps. */
static bool is_stray(struct piling *piling, uint32_t at)
{
	const struct heapgraph *heap = piling->analysis->heap;
	uint32_t object = piling->held->objects[at].object;
	const struct sum *sum = &piling->sums[at];
	struct beneath beneath;

	if (object >= heap->count || sum->tensors != 1 ||
	    sum->bytes < FEW_BYTES || sum->bytes < piling->memory / STRAY_SHARE ||
	    !piling->knows_shown || piling->num_found == TENSORPILES_MAX ||
	    !pileplaces_is_tensor(piling->places, heapgraph_type(heap, object)) ||
	    pileplaces_is_part(piling->places, object) ||
	    pileplaces_of(piling->places, object) != PILE_KEPT)
		return false;
	beneath = look_beneath(piling, at);
	if (beneath.graphs > 0 || beneath.received > 0)
		return false;
	piling->found[piling->num_found++] = (struct suspect){
		.pattern = SUSPECT_SINGLE, .object = object, .sample = object,
		.elements = 1, .shown = beneath.shown,
		.retained = piling->analysis->dominators.retained[object],
		.share = (double)sum->bytes / (double)piling->memory,
		.in_tensors = sum->bytes, .tensors = 1,
		.device = piling->of->device, .index = piling->of->index };
	return true;
}

/* --- piles --------------------------------------------------------------------- */

/** One container, and what there is the most of in it. */
struct pile_at {
	const struct pyh_type *element;
	struct kind most;
	uint64_t largest;
	enum suspect_pattern pattern;
	bool scalars, few;
};

/** Are there so many of them that this says enough? */
static bool are_many(const struct pile_at *pile)
{
	uint32_t least = pile->pattern == SUSPECT_EXCEPTIONS ? EXCEPTIONS_LEAST :
			 pile->scalars ? SCALARS_LEAST :
			 pile->pattern == SUSPECT_GRAPHS ? GRAPHS_LEAST :
			 PLAIN_LEAST;

	return pile->most.count >= least;
}

static struct pile_at pile_at(struct piling *piling, uint32_t at)
{
	struct pile_at pile = { 0 };
	uint32_t type = 0;

	pile.most = most_under(piling, at, &type, &pile.largest);
	pile.element = pyh_types_get(piling->analysis->heap->pyh_types, type);
	pile.scalars = pile.most.sum.scalar >= pile.most.sum.bytes / 2;
	pile.pattern = is_exception(pile.element) ? SUSPECT_EXCEPTIONS :
		       pile.most.sum.graph >= pile.most.sum.bytes / 2 ?
			       SUSPECT_GRAPHS : SUSPECT_TENSORS;
	pile.few = !are_many(&pile);
	return pile;
}

/** Results of one step have one graph, however many they are. */
static bool has_graphs(const struct pile_at *pile,
		       const struct beneath *beneath)
{
	if (pile->pattern == SUSPECT_GRAPHS)
		return beneath->graphs >= FEW_GRAPHS;
	return pile->pattern != SUSPECT_TENSORS || !pile->few ||
	       beneath->of_graphs < beneath->bytes / 2 ||
	       beneath->graphs >= FEW_LEAST;
}

static void note(struct piling *piling, uint32_t at, const struct pile_at *pile,
		 const struct beneath *beneath)
{
	const struct sum *sum = &piling->sums[at];
	uint32_t object = piling->held->objects[at].object;

	piling->found[piling->num_found++] = (struct suspect){
		.pattern = pile->pattern, .object = object,
		.sample = pile->most.sample, .element = pile->element,
		.elements = pile->most.count,
		.graphs = piling->knows_shown ? beneath->graphs :
						pile->most.count,
		.shown = piling->knows_shown ? beneath->shown : sum->bytes,
		.retained = piling->analysis->dominators.retained[object],
		.share = (double)sum->bytes / (double)piling->memory,
		.in_tensors = sum->bytes, .tensors = sum->tensors,
		.of_scalars = pile->scalars, .device = piling->of->device,
		.index = piling->of->index };
}

/** Does it pile up there? Then it is noted, or known to be none. */
static bool is_pile(struct piling *piling, uint32_t at)
{
	const struct heapgraph *heap = piling->analysis->heap;
	uint32_t object = piling->held->objects[at].object;
	uint64_t bytes = piling->sums[at].bytes;
	struct beneath beneath;
	struct pile_at pile;

	if (is_exception(heapgraph_type(heap, object))) {
		look_at_exception(piling, at);
		return true;
	}
	if (!is_container(heapgraph_type(heap, object)))
		return is_stray(piling, at);
	if (piling->num_found == TENSORPILES_MAX)
		return false;
	pile = pile_at(piling, at);
	if (pile.most.sum.bytes < bytes / 2 || pile.largest >= bytes / 2 ||
	    (pile.few && (!piling->knows_shown ||
			  !are_large(piling, &pile.most, pile.largest,
				     pile.element) ||
			  !is_place_for_few(piling, object, &pile.most,
					    pile.element))) ||
	    bounded_is(piling->bounded, object))
		return false;
	beneath = look_beneath(piling, at);
	if (pile.pattern == SUSPECT_TENSORS &&
	    (beneath.is_copy ||
	     (pile.few && pile.most.count >= SOME_LEAST &&
	      pileplaces_is_by_layer(piling->places, pile.most.count)) || pileplaces_is_state(piling->places, object)))
		return true;
	if (piling->knows_shown &&
	    (!has_graphs(&pile, &beneath) ||
	     (pile.few && beneath.received >= beneath.bytes / 2)))
		return false;
	note(piling, at, &pile, &beneath);
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

		if (number == TENSORS_NONE || !is_counted(piling, storage))
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

/** What can be seen of storages, on the same condition. */
static struct error *find_shown(struct piling *piling)
{
	struct error *err;

	if (!piling->tensors || tensors_found(piling->tensors).num_storages !=
					piling->held->num_storages)
		return NULL;
	err = tensorshown_make(piling->tensors, &piling->shown);
	piling->knows_shown = !err;
	return err;
}

/** Room for sums of all kinds. */
static struct error *make_room(struct piling *piling)
{
	const struct heldbytes *held = piling->held;

	piling->sums = calloc(held->num_objects, sizeof(*piling->sums));
	piling->kinds = calloc((size_t)pyh_types_count(
				       piling->analysis->heap->pyh_types) + 1,
			       sizeof(*piling->kinds));
	piling->saved = calloc(piling->running.count + 1,
			       sizeof(*piling->saved));
	piling->below = calloc(held->num_objects, sizeof(*piling->below));
	piling->numbers = calloc(held->num_storages + 1,
				 sizeof(*piling->numbers));
	return piling->sums && piling->kinds && piling->saved &&
			       piling->below && piling->numbers ?
		       NULL : error_no_memory();
}

static void release(struct piling *piling)
{
	tensorsums_deinit(&piling->running);
	tensorshown_deinit(&piling->shown);
	tensors_close(piling->tensors);
	pileplaces_close(piling->places);
	free(piling->saved);
	free(piling->sums);
	free(piling->kinds);
	free(piling->below);
	free(piling->numbers);
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
	if (!err)
		err = find_shown(&piling);
	if (!err)
		err = pileplaces_open(opened, analysis, &piling.places);
	if (!err)
		err = make_room(&piling);
	count = err ? 0 : list_memories(held, memories, bytes);
	for (size_t i = 0; i < count; i++) {
		piling.of = memories[i];
		look_in_memory(&piling, memories[i]->flags & HELD_IN_HOST ?
						memory : bytes[i]);
	}
	*ret_count = piling.num_found;
	release(&piling);
	return err;
}
