/*
 * Owners of containers and values by the graph; see owners.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/owners.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/kept/kept.h"
#include "analyzer/lookup.h"
#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "image/base/workers.h"
#include "pyheap/census/pyowners.h"
#include "pyheap/references/pyrefs.h"

enum {
	SHARD = 1 << 16,	/* objects of a shard */
	CACHED = 1 << 10,	/* rows met lately, of each worker */
	MANY = 64,		/* references that are not asked for twice */
};

#define SEVERAL		(GRAPH_NONE - 1)	/* more than one object */

/** What one worker counts, and reads with. */
struct share {
	_Alignas(128) struct hashmap numbers;	/* types of object and owner */
	struct kept_owned *rows;
	size_t count, room;
	struct {
		uint64_t key;
		uint32_t row;
	} lately[CACHED];
	struct memory_reader body, memory;
	struct hashmap held;		/* addresses: what one object … */
	uint32_t held_by;		/* … plus 1 holds after all; 0: none */
	bool held_all;			/* there was memory for them */
};

struct owning {
	const struct heapgraph *heap;
	struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	unsigned int workers;
	uint8_t *asked;			/* by type */
	/* of each object whose namespace it is; SEVERAL; GRAPH_NONE: of none */
	_Atomic uint32_t *namespaces;
	struct spill_array array;
	struct node_set is_namespace;	/* of one object */
	uint32_t *of;			/* of each object its owner's type plus
					   1, or 0; then the number of its row */
	struct spill_array of_array;
	struct share *shares;		/* by worker */
};

/* --- objects read again ---------------------------------------------------- */

static struct pyh_referrer referrer_of(const struct owning *owning,
				       struct share *share, uint32_t object)
{
	const struct heapgraph *heap = owning->heap;
	struct pyh_referrer referrer = {
		.runtime = owning->runtime, .shapes = owning->shapes,
		.type = heapgraph_type(heap, object),
		.address = heapgraph_address(heap, object),
		.memory = &share->memory,
	};

	referrer.extent = lookup_extent(owning->runtime, referrer.type,
					referrer.address, &share->body,
					&share->memory);
	return referrer;
}

/** A namespace, and the object whose it is. */
struct naming {
	const struct owning *owning;
	uint32_t object;
};

static void name(void *context, uint64_t dict)
{
	const struct naming *naming = context;
	const struct owning *owning = naming->owning;
	uint32_t id = heapgraph_find(owning->heap, dict);
	uint32_t old = GRAPH_NONE;

	if (id == GRAPH_NONE || !owning->asked[owning->heap->types[id]])
		return;
	// Who comes first makes no difference: two different ones are several.
	if (!atomic_compare_exchange_strong(&owning->namespaces[id], &old,
					    naming->object) &&
	    old != naming->object)
		atomic_store(&owning->namespaces[id], SEVERAL);
}

/** May it have one? Then it refers to it, but for classes of 3.12 and later. */
static bool may_have_namespace(const struct owning *owning, uint32_t object)
{
	const struct heapgraph *heap = owning->heap;
	const struct graph *graph = &heap->graph;

	if (heapgraph_type(heap, object)->kind == PYH_KIND_TYPE)
		return true;
	// Those that own nothing else need no second look.
	if (owning->asked[heap->types[object]])
		return heapgraph_type(heap, object)->dictoffset != 0 ||
		       !heapgraph_type(heap, object)->is_static;
	for (uint32_t j = graph->out_at[object]; j < graph->out_at[object + 1];
	     j++) {
		uint32_t end = graph_end(graph->out[j]);

		if (owning->asked[heap->types[end]] &&
		    (heapgraph_type(heap, end)->kind == PYH_KIND_DICT ||
		     heapgraph_type(heap, end)->kind == PYH_KIND_ODICT))
			return true;
	}
	return false;
}

static struct error *find_namespaces(void *context, unsigned int worker,
				     size_t shard)
{
	struct owning *owning = context;
	uint32_t first = (uint32_t)shard * SHARD;
	uint32_t left = owning->heap->count - first;
	uint32_t end = first + (left < SHARD ? left : SHARD);

	for (uint32_t i = first; i < end; i++) {
		struct naming naming = { owning, i };
		struct pyh_referrer referrer;

		if (!may_have_namespace(owning, i))
			continue;
		referrer = referrer_of(owning, &owning->shares[worker], i);
		pyh_owners_namespaces(&referrer, name, &naming);
	}
	return NULL;
}

struct asking {
	uint64_t address;
	bool holds;
};

static bool holds_by(const struct pyh_ref *ref)
{
	return ref->hold != PYH_HOLD_NONE && ref->kind != PYH_REF_TYPE &&
	       ref->kind != PYH_REF_DICT;
}

static bool see_reference(void *context, const struct pyh_ref *ref)
{
	struct asking *asking = context;

	asking->holds = ref->address == asking->address && holds_by(ref);
	return !asking->holds;
}

static bool note_reference(void *context, const struct pyh_ref *ref)
{
	struct share *share = context;
	struct error *err = holds_by(ref) && ref->address != 0 ?
				    hashmap_put(&share->held, ref->address, 1) :
				    NULL;

	share->held_all = !err;
	error_free(err);
	return share->held_all;
}

/** The dict of interned strings holds none of its keys, and is asked for each. */
static void note_held(const struct owning *owning, struct share *share,
		      uint32_t from)
{
	struct pyh_referrer referrer = referrer_of(owning, share, from);

	hashmap_deinit(&share->held);
	share->held_by = from + 1;
	share->held_all = true;
	pyh_refs_each(&referrer, note_reference, share);
}

/** Is there a reference that was no weak one before counts were compared? */
static bool holds_after_all(const struct owning *owning, struct share *share,
			    uint32_t from, uint32_t to)
{
	const struct graph *graph = &owning->heap->graph;
	struct asking asking = {
		.address = heapgraph_address(owning->heap, to) };
	struct pyh_referrer referrer;
	uint32_t unused;

	if (graph->out_at[from + 1] - graph->out_at[from] >= MANY) {
		if (share->held_by != from + 1)
			note_held(owning, share, from);
		if (share->held_all)
			return hashmap_get(&share->held, asking.address,
					   &unused);
	}
	referrer = referrer_of(owning, share, from);
	pyh_refs_each(&referrer, see_reference, &asking);
	return asking.holds;
}

/* --- owners ---------------------------------------------------------------- */

/** Who holds what an object refers to: it, or the one whose namespace it is. */
static uint32_t holder_of(const struct owning *owning, uint32_t referrer)
{
	return node_set_has(&owning->is_namespace, referrer) ?
		       atomic_load_explicit(&owning->namespaces[referrer],
					    memory_order_relaxed) : referrer;
}

/** One more of those who hold an object. */
static uint32_t joined(uint32_t before, uint32_t holder)
{
	return before == GRAPH_NONE || before == holder ? holder : SEVERAL;
}

/** The only object that holds one; SEVERAL, or GRAPH_NONE. */
static uint32_t owner_of(const struct owning *owning, struct share *share,
			 uint32_t object)
{
	const struct graph *graph = &owning->heap->graph;
	uint32_t owner = atomic_load_explicit(&owning->namespaces[object],
					      memory_order_relaxed);
	bool weak = false;

	// Whose namespace it is comes before who refers to it.
	if (owner != GRAPH_NONE)
		return owner;
	for (uint32_t j = graph->in_at[object]; j < graph->in_at[object + 1] &&
						owner != SEVERAL; j++) {
		if (graph_hold(graph->in[j]) == GRAPH_WEAK)
			weak = true;
		else
			owner = joined(owner, holder_of(
					owning, graph_end(graph->in[j])));
	}
	for (uint32_t j = graph->in_at[object];
	     weak && j < graph->in_at[object + 1] && owner != SEVERAL; j++) {
		uint32_t from = graph_end(graph->in[j]);

		if (graph_hold(graph->in[j]) == GRAPH_WEAK &&
		    joined(owner, holder_of(owning, from)) != owner &&
		    holds_after_all(owning, share, from, object))
			owner = joined(owner, holder_of(owning, from));
	}
	return owner;
}

/* --- counting -------------------------------------------------------------- */

static struct error *find_row(struct share *share, uint64_t key,
			      uint32_t *ret)
{
	struct error *err;

	if (hashmap_get(&share->numbers, key, ret))
		return NULL;
	if (share->count == share->room) {
		size_t room = share->room ? share->room * 2 : 256;
		struct kept_owned *rows = reallocarray(share->rows, room,
						       sizeof(*rows));

		if (!rows)
			return error_no_memory();
		share->rows = rows;
		share->room = room;
	}
	*ret = (uint32_t)share->count;
	err = hashmap_put(&share->numbers, key, *ret);
	if (!err)
		share->rows[share->count++] = (struct kept_owned){
			.total.size_exact = true };
	return err;
}

/** The row of a type and an owner's type, of which keys are ids plus 1. */
static struct error *row_of(const struct owning *owning, struct share *share,
			    uint32_t type, uint32_t owner,
			    struct kept_owned **ret)
{
	const struct pyh_types *types = owning->heap->pyh_types;
	uint64_t key = ((uint64_t)type + 1) << 32 | owner;
	size_t slot = (type * 31 + owner) % CACHED;
	struct error *err;

	if (share->lately[slot].key != key) {
		err = find_row(share, key, &share->lately[slot].row);
		if (err)
			return err;
		share->lately[slot].key = key;
	}
	*ret = &share->rows[share->lately[slot].row];
	(*ret)->total.type = pyh_types_get(types, type);
	(*ret)->owner = owner ? pyh_types_get(types, owner - 1) : NULL;
	return NULL;
}

static void add(struct pyh_type_total *sum, const struct pyh_type_total *one)
{
	sum->count += one->count;
	sum->size += one->size;
	sum->footprint += one->footprint;
	sum->refcounts += one->refcounts;
	sum->immortal += one->immortal;
	sum->size_exact &= one->size_exact;
}

static struct error *count(void *context, unsigned int worker, size_t shard)
{
	struct owning *owning = context;
	const struct heapgraph *heap = owning->heap;
	struct share *share = &owning->shares[worker];
	uint32_t first = (uint32_t)shard * SHARD, left = heap->count - first;
	uint32_t end = first + (left < SHARD ? left : SHARD);
	struct error *err = NULL;

	for (uint32_t i = first; !err && i < end; i++) {
		uint32_t type = heap->types[i], owner = GRAPH_NONE;
		struct kept_owned *row;

		if (owning->asked[type])
			owner = owner_of(owning, share, i);
		owning->of[i] = owner < SEVERAL ? heap->types[owner] + 1 : 0;
		err = row_of(owning, share, type, owning->of[i], &row);
		if (!err)
			add(&row->total, &(struct pyh_type_total){
				.count = 1, .size = heapgraph_size(heap, i),
				.footprint = heapgraph_footprint(heap, i),
				.refcounts = heapgraph_refcount(heap, i),
				.immortal = (heap->flags[i] & HEAP_IMMORTAL) != 0,
				.size_exact = !(heap->flags[i] & HEAP_INEXACT),
			});
	}
	return err;
}

/** All shares into the first. */
static struct error *merge(struct owning *owning)
{
	struct error *err = NULL;

	for (unsigned int i = 1; i < owning->workers; i++) {
		const struct share *share = &owning->shares[i];

		for (size_t j = 0; !err && j < share->count; j++) {
			const struct kept_owned *from = &share->rows[j];
			struct kept_owned *row;

			err = row_of(owning, &owning->shares[0],
				     from->total.type->id,
				     from->owner ? from->owner->id + 1 : 0,
				     &row);
			if (!err)
				add(&row->total, &from->total);
		}
	}
	return err;
}

/** What each row retains. */
static struct error *sum_retained(struct owning *owning,
				  const struct analysis *analysis)
{
	const struct heapgraph *heap = owning->heap;
	struct share *first = &owning->shares[0];
	CLEANUP(free_pointer) uint64_t *sums = calloc(first->count + 1,
						      sizeof(*sums));
	CLEANUP(free_pointer) uint64_t *devices = NULL;
	struct error *err = NULL;

	if (!sums)
		return error_no_memory();
	for (uint32_t i = 0; !err && i < heap->count; i++) {
		struct kept_owned *row;

		err = row_of(owning, first, heap->types[i], owning->of[i],
			     &row);
		if (!err)
			owning->of[i] = (uint32_t)(row - first->rows);
	}
	if (!err)
		err = domtree_by_group(&analysis->tree, owning->of, NULL,
				       (uint32_t)first->count, sums);
	if (!err)
		err = heldbytes_by_group(analysis->held, owning->of, NULL,
					 (uint32_t)first->count, &devices);
	for (size_t i = 0; !err && i < first->count; i++) {
		first->rows[i].retained = sums[i];
		first->rows[i].device = devices ? devices[i] : 0;
	}
	return err;
}

/* --- the whole ------------------------------------------------------------- */

static struct error *prepare(struct opened *opened, struct heapgraph *heap,
			     struct owning *owning)
{
	const struct pyh_types *types = heap->pyh_types;
	uint32_t num_types = pyh_types_count(types);
	size_t size = owning->workers * sizeof(*owning->shares);
	struct error *err = opened_runtime(opened, &owning->runtime);

	if (!err)
		err = opened_shapes(opened, &owning->shapes);
	if (!err)
		err = spill_alloc(&heap->spill, (uint64_t)heap->count *
						   sizeof(uint32_t),
				  &owning->array);
	if (!err)
		err = spill_alloc(&heap->spill, (uint64_t)heap->count *
						   sizeof(uint32_t),
				  &owning->of_array);
	if (!err)
		err = node_set_init(&owning->is_namespace, heap->count);
	if (err)
		return err;
	owning->of = owning->of_array.data;
	owning->namespaces = owning->array.data;
	memset(owning->array.data, 0xFF, (size_t)heap->count *
						 sizeof(uint32_t));
	owning->asked = calloc((size_t)num_types + 1, 1);
	owning->shares = aligned_alloc(_Alignof(struct share), size);
	if (owning->shares)
		memset(owning->shares, 0, size);
	if (!owning->asked || !owning->shares)
		return error_no_memory();
	for (uint32_t i = 0; i < num_types; i++)
		owning->asked[i] = pyh_owners_asks(pyh_types_get(types, i));
	for (unsigned int i = 0; !err && i < owning->workers; i++) {
		const struct memory *memory = owning->runtime->image->memory;

		err = memory_reader_init(&owning->shares[i].body, memory);
		if (!err)
			err = memory_reader_init(&owning->shares[i].memory,
						 memory);
	}
	return err;
}

static void owning_deinit(struct owning *owning)
{
	for (unsigned int i = 0; owning->shares && i < owning->workers; i++) {
		struct share *share = &owning->shares[i];

		hashmap_deinit(&share->numbers);
		hashmap_deinit(&share->held);
		free(share->rows);
		memory_reader_deinit(&share->body);
		memory_reader_deinit(&share->memory);
	}
	free(owning->shares);
	free(owning->asked);
	node_set_deinit(&owning->is_namespace);
	spill_free(&owning->array);
	spill_free(&owning->of_array);
}

struct error *owners_tally(struct opened *opened,
			   const struct analysis *analysis,
			   struct kept_owned **ret, size_t *ret_count)
{
	CLEANUP(owning_deinit) struct owning owning = {
		.heap = analysis->heap, .workers = opened_workers(opened) };
	uint32_t objects = analysis->heap->count;
	size_t shards = objects / SHARD + (objects % SHARD != 0);
	struct error *err = prepare(opened, analysis->heap, &owning);

	if (!err)
		err = workers_run(owning.workers, shards, find_namespaces,
				  &owning);
	for (uint32_t i = 0; !err && i < objects; i++)
		if (owning.namespaces[i] < SEVERAL)
			(void)node_set_add(&owning.is_namespace, i);
	if (!err)
		err = workers_run(owning.workers, shards, count, &owning);
	if (!err)
		err = merge(&owning);
	if (!err)
		err = sum_retained(&owning, analysis);
	if (err)
		return err;
	*ret = TAKE(owning.shares[0].rows);
	*ret_count = owning.shares[0].count;
	return NULL;
}
