/*
 * Who refers to one object; see referrers.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/referrers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/lookup.h"
#include "image/base/guard.h"
#include "pyheap/references/pyrefs.h"

/** Rows in order, the first of them where there are too many. */
struct listed {
	struct referrer *rows;
	size_t count, room;
	uint64_t total;		/* also those left out */
	bool no_memory;
};

struct finding_referrers {
	const struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	uint64_t target;
	uint64_t limit;
	uint64_t wanted;	/* references that it counts; 0: it does not */
	_Atomic uint64_t counted;	/* … found */
	atomic_bool stop;
	struct listed roots;
	pthread_mutex_t lock;	/* of what follows */
	struct listed owners, guesses;
};

static bool make_room(struct listed *list)
{
	size_t room = list->room ? list->room * 2 : 64;
	struct referrer *rows;

	if (list->count < list->room)
		return true;
	rows = realloc(list->rows, room * sizeof(*rows));
	if (!rows) {
		list->no_memory = true;
		return false;
	}
	list->rows = rows;
	list->room = room;
	return true;
}

/** A row in its place; the last one goes where there are too many. */
static void insert(struct listed *list, uint64_t limit,
		   const struct referrer *row)
{
	size_t low = 0, high = list->count;

	list->total++;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (list->rows[middle].edge.holder < row->edge.holder)
			low = middle + 1;
		else
			high = middle;
	}
	if (limit && low >= limit)
		return;
	if (limit && list->count == limit)
		list->count--;
	if (!make_room(list))
		return;
	memmove(&list->rows[low + 1], &list->rows[low],
		(list->count - low) * sizeof(*row));
	list->rows[low] = *row;
	list->count++;
}

static void count(struct finding_referrers *finding, enum pyh_hold hold,
		  bool deferred)
{
	uint64_t counted;

	if (deferred ||
	    (hold != PYH_HOLD_TRAVERSED && hold != PYH_HOLD_UNTRAVERSED))
		return;
	counted = atomic_fetch_add(&finding->counted, 1) + 1;
	// Others may hold it without a count.
	if (counted == finding->wanted && !finding->runtime->free_threaded)
		atomic_store(&finding->stop, true);
}

/* --- roots ----------------------------------------------------------------- */

static bool see_root(void *context, const struct pyh_root *root)
{
	struct finding_referrers *finding = context;

	if (root->address != finding->target ||
	    root->hold == PYH_HOLD_NONE || root->hold == PYH_HOLD_GUESSED)
		return true;
	count(finding, root->hold, root->deferred);
	finding->roots.total++;
	if (finding->limit && finding->roots.count >= finding->limit)
		return true;
	if (!make_room(&finding->roots))
		return false;
	finding->roots.rows[finding->roots.count++] =
		(struct referrer){ .is_root = true, .root = *root };
	return true;
}

static struct error *find_roots(struct finding_referrers *finding)
{
	struct memory_reader memory;
	struct error *err = memory_reader_init(&memory,
					       finding->runtime->image->memory);

	if (err)
		return err;
	pyh_roots_each(finding->runtime, &memory, see_root, finding);
	memory_reader_deinit(&memory);
	return NULL;
}

/* --- objects --------------------------------------------------------------- */

struct asking {
	struct finding_referrers *finding;
	struct referrer row;
	bool found;
};

static bool see_reference(void *context, const struct pyh_ref *ref)
{
	struct asking *asking = context;

	if (ref->address != asking->finding->target ||
	    ref->hold == PYH_HOLD_NONE)
		return true;
	count(asking->finding, ref->hold, ref->deferred);
	// The first that owns a count, else the first at all.
	if (!asking->found || (asking->row.edge.ref.hold == PYH_HOLD_GUESSED &&
			       ref->hold != PYH_HOLD_GUESSED))
		asking->row.edge.ref = *ref;
	asking->found = true;
	return true;
}

static void ask(struct finding_referrers *finding,
		const struct pyh_referrer *referrer)
{
	struct asking asking = { .finding = finding };

	pyh_refs_each(referrer, see_reference, &asking);
	if (!asking.found)
		return;
	asking.row.edge.holder = referrer->address;
	asking.row.edge.type = referrer->type;
	(void)pthread_mutex_lock(&finding->lock);
	insert(asking.row.edge.ref.hold == PYH_HOLD_GUESSED ?
		       &finding->guesses : &finding->owners,
	       finding->limit, &asking.row);
	(void)pthread_mutex_unlock(&finding->lock);
}

static void see_object(void *context, const struct pyh_visit *visit)
{
	struct finding_referrers *finding = context;
	struct pyh_referrer referrer;

	// What only looks like an object proves nothing.
	if (visit->alone == PYH_EVIDENCE_GUESSED)
		return;
	referrer = pyh_referrer(finding->runtime, finding->shapes, visit);
	ask(finding, &referrer);
}

/** Ask those that refer to it. */
static struct error *ask_graph(struct finding_referrers *finding,
			       const struct heapgraph *heap)
{
	const struct graph *graph = &heap->graph;
	uint32_t id = heapgraph_find(heap, finding->target), before = GRAPH_NONE;
	struct memory_reader memory = { 0 }, body = { 0 };
	struct error *err = memory_reader_init(&memory,
					       finding->runtime->image->memory);

	if (!err)
		err = memory_reader_init(&body, finding->runtime->image->memory);
	for (uint32_t j = graph->in_at[id];
	     !err && j < graph->in_at[id + 1] && !atomic_load(&finding->stop);
	     j++) {
		uint32_t from = graph_end(graph->in[j]);
		struct pyh_referrer referrer = {
			.runtime = finding->runtime, .shapes = finding->shapes,
			.type = heapgraph_type(heap, from),
			.address = heapgraph_address(heap, from),
			.memory = &memory,
		};

		if (from == before || heap->flags[from] & HEAP_GUESSED)
			continue;
		before = from;
		referrer.extent = lookup_extent(finding->runtime, referrer.type,
						referrer.address, &body,
						&memory);
		ask(finding, &referrer);
	}
	memory_reader_deinit(&body);
	memory_reader_deinit(&memory);
	return err;
}

/** Put together what was found, in order. */
static struct error *gather(struct finding_referrers *finding,
			    struct referrers *ret)
{
	struct listed *all = &finding->roots, *owners = &finding->owners;
	const struct listed *guesses = &finding->guesses;

	// Where all counts are accounted for a guess holds nothing.
	if (finding->wanted == 0 || atomic_load(&finding->counted) < finding->wanted) {
		for (size_t i = 0; i < guesses->count; i++)
			insert(owners, finding->limit, &guesses->rows[i]);
		owners->total += guesses->total - guesses->count;
	}
	for (size_t i = 0; i < owners->count; i++) {
		if (finding->limit && all->count >= finding->limit)
			break;
		if (make_room(all))
			all->rows[all->count++] = owners->rows[i];
	}
	if (all->no_memory || owners->no_memory || guesses->no_memory)
		return error_no_memory();
	*ret = (struct referrers){ .rows = TAKE(all->rows),
				   .count = all->count,
				   .total = all->total + owners->total };
	return NULL;
}

struct error *referrers_find(const struct referrers_options *options,
			     const struct pyh_object *object,
			     struct referrers *ret)
{
	struct finding_referrers finding = {
		.runtime = options->runtime, .shapes = options->shapes,
		.target = object->address, .limit = options->limit,
		.wanted = object->immortal ? 0 : object->refcount,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	struct error *err = find_roots(&finding);

	*ret = (struct referrers){ 0 };
	if (!err && options->heap)
		err = ask_graph(&finding, options->heap);
	else if (!err && !atomic_load(&finding.stop))
		err = pyh_census_search(options->census, &object->address, 1,
					see_object, &finding, &finding.stop);
	if (!err)
		err = gather(&finding, ret);
	(void)pthread_mutex_destroy(&finding.lock);
	free(finding.roots.rows);
	free(finding.owners.rows);
	free(finding.guesses.rows);
	return err;
}

void referrers_deinit(struct referrers *referrers)
{
	free(referrers->rows);
	*referrers = (struct referrers){ 0 };
}
