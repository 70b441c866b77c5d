/*
 * The first objects in some order, by columns; see objecttop.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/objecttop.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/typefilter.h"
#include "image/base/guard.h"
#include "image/base/workers.h"

enum { SHARD = 1 << 16 };	/* objects of a shard */

struct share {
	_Alignas(128) struct toplist list;
	uint64_t count, size;
};

struct looking {
	const struct analysis *analysis;
	const struct objecttop_options *options;
	uint8_t *pass;			/* by type */
	uint64_t *of_types;		/* what orders types; NULL: not needed */
	struct share *shares;
};

/* --- types ----------------------------------------------------------------- */

static struct error *filter_types(struct looking *looking)
{
	const struct pyh_types *types = looking->analysis->heap->pyh_types;
	const struct objecttop_options *options = looking->options;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	uint32_t count = pyh_types_count(types);
	struct error *err = typefilter_create(options->type, options->match,
					      &filter);

	looking->pass = calloc((size_t)count + 1, 1);
	if (!err && !looking->pass)
		err = error_no_memory();
	for (uint32_t i = 0; !err && i < count; i++) {
		bool pass = false;

		err = typefilter_pass(filter, pyh_types_get(types, i), &pass);
		looking->pass[i] = pass;
	}
	return err;
}

static int by_name(const void *a, const void *b)
{
	const struct pyh_type *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/** Numbers that stand for names: the first name's is the largest. */
static struct error *order_names(struct looking *looking)
{
	const struct pyh_types *types = looking->analysis->heap->pyh_types;
	uint32_t count = pyh_types_count(types);
	CLEANUP(free_pointer) const struct pyh_type **sorted =
		calloc((size_t)count + 1, sizeof(struct pyh_type *));
	uint64_t number = count;

	if (!sorted)
		return error_no_memory();
	for (uint32_t i = 0; i < count; i++)
		sorted[i] = pyh_types_get(types, i);
	qsort(sorted, count, sizeof(struct pyh_type *), by_name);
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0 && strcmp(sorted[i - 1]->name, sorted[i]->name) != 0)
			number--;
		looking->of_types[sorted[i]->id] = number;
	}
	return NULL;
}

static struct error *order_types(struct looking *looking)
{
	const struct pyh_types *types = looking->analysis->heap->pyh_types;
	uint32_t count = pyh_types_count(types);
	bool names = looking->options->key == OBJECT_BY_TYPE;

	if (!names && looking->options->key != OBJECT_BY_TYPE_ADDRESS)
		return NULL;
	looking->of_types = calloc((size_t)count + 1,
				   sizeof(*looking->of_types));
	if (!looking->of_types)
		return error_no_memory();
	if (names)
		return order_names(looking);
	for (uint32_t i = 0; i < count; i++)
		looking->of_types[i] = ~pyh_types_get(types, i)->address;
	return NULL;
}

/* --- objects --------------------------------------------------------------- */

/** What an object shows by itself, whoever refers to it. */
static uint64_t evidence_value(const struct heapgraph *heap, uint32_t object)
{
	return heap->flags[object] & HEAP_CERTAIN ? 2 :
	       heap->flags[object] & HEAP_GUESSED ? 1 : 0;
}

/**
 * What orders objects: the largest first.
 *
 * @param least  what is not above it has no place: then that need not be told
 *	exactly
 */
static uint64_t value_of(const struct looking *looking, uint32_t object,
			 uint64_t least)
{
	const struct heapgraph *heap = looking->analysis->heap;
	const struct graph *graph = &heap->graph;
	uint32_t edges;

	switch (looking->options->key) {
	case OBJECT_BY_ADDRESS:
		return UINT32_MAX - object;
	case OBJECT_BY_TYPE:
	case OBJECT_BY_TYPE_ADDRESS:
		return looking->of_types[heap->types[object]];
	case OBJECT_BY_SIZE:
		break;
	case OBJECT_BY_FOOTPRINT:
		return heapgraph_footprint(heap, object);
	case OBJECT_BY_REFCOUNT:
		return heap->flags[object] & HEAP_IMMORTAL ?
			       0 : heapgraph_refcount(heap, object) + 1;
	case OBJECT_BY_EXACT:
		return !(heap->flags[object] & HEAP_INEXACT);
	case OBJECT_BY_EVIDENCE:
		return evidence_value(heap, object);
	case OBJECT_BY_REFERRERS:
		// There are no more of them than edges.
		edges = graph->in_at[object + 1] - graph->in_at[object];
		return edges <= least ? edges :
					graph_referrers(graph, object,
							GRAPH_MASK_STRONG);
	case OBJECT_BY_DEVICE:
		return heldbytes_device(looking->analysis->held, object);
	case OBJECT_BY_RETAINED:
	case OBJECT_BY_RETAINED_REACHED:
		return looking->analysis->dominators.retained[object];
	}
	return heapgraph_size(heap, object);
}

static bool is_reached(const struct looking *looking, uint32_t object)
{
	return looking->options->key != OBJECT_BY_RETAINED_REACHED ||
	       looking->analysis->dominators.parent[object] !=
		       DOMINATOR_UNREACHED;
}

/** What --min-size is about. */
static uint64_t filtered_size(const struct looking *looking, uint32_t object)
{
	return looking->options->key == OBJECT_BY_RETAINED_REACHED ?
		       looking->analysis->dominators.retained[object] :
		       heapgraph_size(looking->analysis->heap, object);
}

static struct error *look(void *context, unsigned int worker, size_t shard)
{
	const struct looking *looking = context;
	const struct heapgraph *heap = looking->analysis->heap;
	struct share *share = &looking->shares[worker];
	struct toplist *list = &share->list;
	uint32_t first = (uint32_t)shard * SHARD, left = heap->count - first;
	uint32_t end = first + (left < SHARD ? left : SHARD);
	struct error *err = NULL;

	for (uint32_t i = first; !err && i < end; i++) {
		bool full = list->limit && list->count == list->limit;
		// Shards come in their order: of equal ones the first is kept.
		uint64_t least = full ? list->entries[0].value : 0;
		uint64_t size, value;

		if (!looking->pass[heap->types[i]])
			continue;
		size = filtered_size(looking, i);
		if (size < looking->options->min_size ||
		    !is_reached(looking, i))
			continue;
		share->count++;
		share->size += size;
		value = value_of(looking, i, full ? least : 0);
		if (!full || value > least)
			err = toplist_add(list, value, i);
	}
	return err;
}

static struct error *merge(struct looking *looking, struct toplist *list,
			   uint64_t *ret_count, uint64_t *ret_size)
{
	struct error *err = NULL;

	*ret_count = *ret_size = 0;
	for (unsigned int i = 0; i < looking->options->workers; i++) {
		const struct share *share = &looking->shares[i];

		*ret_count += share->count;
		*ret_size += share->size;
		for (size_t j = 0; !err && j < share->list.count; j++)
			err = toplist_add(list, share->list.entries[j].value,
					  share->list.entries[j].id);
	}
	if (!err)
		toplist_sort(list);
	return err;
}

static void looking_deinit(struct looking *looking)
{
	for (unsigned int i = 0; looking->shares &&
				 i < looking->options->workers; i++)
		toplist_deinit(&looking->shares[i].list);
	free(looking->shares);
	free(looking->of_types);
	free(looking->pass);
}

struct error *objecttop_find(const struct analysis *analysis,
			     const struct objecttop_options *options,
			     struct toplist *list, uint64_t *ret_count,
			     uint64_t *ret_size)
{
	CLEANUP(looking_deinit) struct looking looking = {
		.analysis = analysis, .options = options };
	uint32_t objects = analysis->heap->count;
	struct error *err = filter_types(&looking);

	if (!err)
		err = order_types(&looking);
	if (err)
		return err;
	looking.shares = aligned_alloc(_Alignof(struct share),
				       options->workers *
					       sizeof(*looking.shares));
	if (!looking.shares)
		return error_no_memory();
	memset(looking.shares, 0, options->workers * sizeof(*looking.shares));
	for (unsigned int i = 0; i < options->workers; i++)
		toplist_init(&looking.shares[i].list, list->limit);
	err = workers_run(options->workers,
			  objects / SHARD + (objects % SHARD != 0), look,
			  &looking);
	return err ? err : merge(&looking, list, ret_count, ret_size);
}

/* --- with memory of devices ------------------------------------------------ */

struct error *objecttop_with_devices(const struct analysis *analysis,
				     const char *type, const char *match,
				     struct toplist *list)
{
	const struct heldbytes *held = analysis->held;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	struct toplist both;
	struct error *err = NULL;

	if (!heldbytes_has_device(held))
		return NULL;
	err = typefilter_create(type, match, &filter);
	toplist_init(&both, list->limit);
	for (size_t i = 0; !err && i < list->count; i++)
		if (heldbytes_device(held, list->entries[i].id) == 0)
			err = toplist_add(&both, list->entries[i].value,
					  list->entries[i].id);
	for (uint32_t i = 0; !err && i < held->num_objects; i++) {
		uint32_t object = held->objects[i].object;
		bool pass;

		if (held->objects[i].device == 0)
			continue;
		err = typefilter_pass(filter,
				      heapgraph_type(analysis->heap, object),
				      &pass);
		if (!err && pass)
			err = toplist_add(&both,
					  analysis_retained(analysis, object),
					  object);
	}
	toplist_deinit(list);
	*list = both;
	return err;
}
