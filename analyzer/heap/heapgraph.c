/*
 * The heap as a graph; see heapgraph.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/heapgraph.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/hashmap.h"
#include "pyheap/references/pyrefsvisit.h"
#include "pyheap/types/pyobject.h"

enum {
	PENDING = 1024,		/* references whose cells are on their way */
	RUN_NODES = 1 << 15,	/* objects whose edges are put down together */
	RUN_EDGES = 1 << 17,
};

_Static_assert((int)GRAPH_TRAVERSED == (int)PYH_HOLD_TRAVERSED &&
		       (int)GRAPH_UNTRAVERSED == (int)PYH_HOLD_UNTRAVERSED &&
		       (int)GRAPH_GUESSED == (int)PYH_HOLD_GUESSED &&
		       (int)GRAPH_WEAK == (int)PYH_HOLD_NONE,
	       "edges are held as references are");

/* --- which objects there are ----------------------------------------------- */

static void mark(void *context, const struct pyh_visit *visit)
{
	struct rank *rank = context;

	if (visit->taken_back)
		rank_unmark(rank, visit->object.address);
	else
		rank_mark(rank, visit->object.address);
}

static void mark_begins(void *context, uint64_t address, const uint64_t *marks,
			size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (marks[i] != 0)
			rank_mark_bits(context, address + 512 * i, marks[i]);
}

static struct error *make_columns(struct heapgraph *heap)
{
	struct {
		void **column;
		size_t size;
	} columns[] = {
		{ (void **)&heap->types, sizeof(*heap->types) },
		{ (void **)&heap->sizes, sizeof(*heap->sizes) },
		{ (void **)&heap->footprints, sizeof(*heap->footprints) },
		{ (void **)&heap->refcounts, sizeof(*heap->refcounts) },
		{ (void **)&heap->flags, sizeof(*heap->flags) },
	};
	struct error *err = NULL;

	for (size_t i = 0; !err && i < sizeof(columns) / sizeof(columns[0]);
	     i++) {
		err = spill_alloc(&heap->spill,
				  (uint64_t)heap->count * columns[i].size,
				  &heap->arrays[i]);
		*columns[i].column = heap->arrays[i].data;
	}
	return err;
}

/* --- what each of them is, and refers to ----------------------------------- */

struct pending {
	const struct rank_cell *cell;
	uint64_t address;
	uint32_t referrer;
	uint8_t hold;
	bool deferred;
	bool leads;		/* to an object, unless something is wrong */
};

struct build_worker {
	struct build *build;
	struct error *err;
	uint32_t first, last;	/* of the run; none if num_nodes is 0 */
	uint32_t num_nodes;
	size_t num_edges;
	size_t num_pending;
	uint64_t footprint;	/* of all that it has seen */
	bool guessed;		/* the object at hand only looks like one */
	uint32_t degrees[RUN_NODES];
	uint32_t edges[RUN_EDGES + PENDING];
	struct pending pending[PENDING];
	struct hashmap deferred;	/* how many, by object + 1 */
};

struct build {
	const struct heapgraph_options *options;
	struct heapgraph *heap;
	struct edge_writer *writer;
	struct pyh_shapes *shapes;	/* borrowed */
	struct build_worker **workers;	/* made when they first come */
	unsigned int num_workers;
	pthread_mutex_t lock;		/* of the bigs */
	bool no_memory;
};

static void count_deferred(struct build_worker *worker, uint32_t object)
{
	uint32_t count = 0;
	struct error *err;

	(void)hashmap_get(&worker->deferred, (uint64_t)object + 1, &count);
	err = hashmap_put(&worker->deferred, (uint64_t)object + 1, count + 1);
	if (err && worker->err)
		error_free(err);
	else if (err)
		worker->err = err;
}

static bool is_there(const struct memory *memory, uint64_t address)
{
	const struct memory_range *range = memory_find(memory, address);

	return range && range->state != MEMORY_NOT_CAPTURED;
}

/**
 * True if what is there has the head of an object. Outside of arenas not all are
 * known: some that only native code leads to are not (docs/support.md), and they
 * are no damage. What is freed has its count overwritten by a link of a free list.
 */
static bool has_head(const struct heapgraph_options *options, uint64_t address)
{
	const struct pyh_runtime *runtime = options->runtime;
	struct memory_reader memory;
	uint64_t count = 0, type = 0;
	struct error *err = memory_reader_init(&memory, runtime->image->memory);
	bool found = false;

	if (!err && pyh_field(runtime, &memory, address, PYH_OBJECT_OB_REFCNT,
			      &count) &&
	    pyh_field(runtime, &memory, address, PYH_OBJECT_OB_TYPE, &type) &&
	    count > 0 && count <= UINT32_MAX)
		for (uint32_t i = 0; !found && i < pyh_types_count(options->types);
		     i++)
			found = pyh_types_get(options->types, i)->address ==
				type;
	if (err)
		error_free(err);
	else
		memory_reader_deinit(&memory);
	return found;
}

/**
 * An item, a key, a value or an attribute is no object: it was released too often
 * and freed while it was still referred to, or something has written there. What
 * has a count of 0 is being taken apart, and what was not captured may be one.
 */
static void tell_dangling(const struct build *build, uint32_t referrer,
			  uint64_t address)
{
	const struct heapgraph *heap = build->heap;
	struct image *image = build->options->runtime->image;

	if (heap->refcounts[referrer] == 0 &&
	    !(heap->flags[referrer] & HEAP_IMMORTAL))
		return;
	if (!is_there(image->memory, address) &&
	    (image->missing_bytes || memory_find(image->memory, address)))
		return;
	if (has_head(build->options, address))
		return;
	findings_add(image->findings, HEAP_DANGLING,
		     heapgraph_address(heap, referrer), "%s refers to 0x%" PRIx64
		     ", where no object is: it was released too often and "
		     "freed, or written over",
		     heapgraph_type(heap, referrer)->name, address);
}

/** Cells that were asked for long enough ago. */
static void resolve(struct build_worker *worker)
{
	for (size_t i = 0; i < worker->num_pending; i++) {
		const struct pending *pending = &worker->pending[i];
		uint32_t id = rank_in_cell(pending->cell,
					   rank_bit(pending->address));

		// Guesses lead to anything; damage does, too.
		if (id == RANK_NONE && pending->leads)
			tell_dangling(worker->build, pending->referrer,
				      pending->address);
		if (id == RANK_NONE)
			continue;
		worker->degrees[pending->referrer - worker->first]++;
		worker->edges[worker->num_edges++] = graph_edge(id,
								pending->hold);
		if (pending->deferred)
			count_deferred(worker, id);
	}
	worker->num_pending = 0;
}

/** @param more  the last object has more references, still to come */
static void put_run(struct build_worker *worker, bool more)
{
	struct error *err;

	resolve(worker);
	if (worker->num_nodes == 0)
		return;
	err = edge_writer_put(worker->build->writer, &(struct edge_run){
		.first = worker->first, .last = worker->last, .more = more,
		.degrees = worker->degrees, .edges = worker->edges,
		.num_edges = worker->num_edges });
	if (err && worker->err)
		error_free(err);
	else if (err)
		worker->err = err;
	worker->num_edges = 0;
	worker->num_nodes = 0;
	if (more) {
		worker->first = worker->last;
		worker->num_nodes = 1;
		worker->degrees[0] = 0;
	}
}

static void begin_node(struct build_worker *worker, uint32_t object)
{
	if (worker->num_nodes > 0 &&
	    (object != worker->last + 1 || worker->num_nodes == RUN_NODES ||
	     worker->num_edges >= RUN_EDGES))
		put_run(worker, /* more= */ false);
	if (worker->num_nodes == 0)
		worker->first = object;
	worker->last = object;
	worker->degrees[worker->num_nodes++] = 0;
}

/** Whether an item, a key, a value or an attribute should be an object. */
static bool should_lead(const struct build_worker *worker,
			enum pyh_ref_kind kind, enum pyh_hold hold)
{
	return !worker->guessed && kind != PYH_REF_FIELD &&
	       kind != PYH_REF_LOCAL && kind != PYH_REF_TYPE &&
	       (hold == PYH_HOLD_TRAVERSED || hold == PYH_HOLD_UNTRAVERSED);
}

static inline void take_reference(struct build_worker *worker,
				  uint64_t address, enum pyh_ref_kind kind,
				  enum pyh_hold hold, bool deferred)
{
	const struct rank_cell *cell;
	bool leads = should_lead(worker, kind, hold);

	// Of which type it is says its column; half of a heap would say it again.
	if (kind == PYH_REF_TYPE && hold == PYH_HOLD_NONE)
		return;
	cell = rank_cell(worker->build->heap->rank, address);
	if (!cell && leads)
		tell_dangling(worker->build, worker->last, address);
	if (!cell)
		return;
	__builtin_prefetch(cell);
	// What only looks like an object proves nothing.
	worker->pending[worker->num_pending++] = (struct pending){
		.cell = cell, .referrer = worker->last, .address = address,
		.leads = leads,
		.hold = worker->guessed && hold != PYH_HOLD_NONE ?
				GRAPH_GUESSED : (uint8_t)hold,
		.deferred = deferred && !worker->guessed };
	if (worker->num_pending == PENDING) {
		resolve(worker);
		if (worker->num_edges >= RUN_EDGES)
			put_run(worker, /* more= */ true);
	}
}

static bool see_reference(void *context, const struct pyh_ref *ref)
{
	struct build_worker *worker = context;

	take_reference(worker, ref->address, ref->kind, ref->hold,
		       ref->deferred);
	return !worker->err;
}

static void see_references(void *context, const struct pyh_quick_refs *refs)
{
	for (size_t i = 0; i < refs->count; i++)
		take_reference(context, refs->refs[i].address,
			       (enum pyh_ref_kind)refs->refs[i].kind,
			       (enum pyh_hold)refs->refs[i].hold,
			       /* deferred= */ false);
}

static uint32_t small(uint64_t value)
{
	return value < HEAP_BIG ? (uint32_t)value : HEAP_BIG;
}

static void keep_big(struct build *build, uint32_t id,
		     const struct pyh_object *object)
{
	struct heapgraph *heap = build->heap;
	struct heap_big *bigs;

	(void)pthread_mutex_lock(&build->lock);
	bigs = realloc(heap->bigs, (heap->num_bigs + 1) * sizeof(*bigs));
	if (bigs) {
		heap->bigs = bigs;
		bigs[heap->num_bigs++] = (struct heap_big){
			.object = id, .size = object->size,
			.footprint = object->footprint,
			.refcount = object->refcount };
	} else {
		build->no_memory = true;
	}
	(void)pthread_mutex_unlock(&build->lock);
}

static void fill_columns(struct build *build, uint32_t id,
			 const struct pyh_object *object,
			 enum pyh_evidence alone)
{
	struct heapgraph *heap = build->heap;
	uint64_t refcount = object->immortal ? 0 : object->refcount;

	heap->types[id] = object->type->id;
	heap->sizes[id] = small(object->size);
	heap->footprints[id] = small(object->footprint);
	heap->refcounts[id] = refcount < HEAP_MANY ? (uint16_t)refcount :
						     HEAP_MANY;
	heap->flags[id] = (uint8_t)
		((object->gc_tracked ? HEAP_TRACKED : 0) |
		 (object->immortal ? HEAP_IMMORTAL : 0) |
		 (object->size_exact ? 0 : HEAP_INEXACT) |
		 (alone == PYH_EVIDENCE_GUESSED ? HEAP_GUESSED : 0) |
		 (object->evidence == PYH_EVIDENCE_CERTAIN ? HEAP_CERTAIN : 0));
	if (object->size >= HEAP_BIG || object->footprint >= HEAP_BIG ||
	    refcount >= HEAP_MANY)
		keep_big(build, id, object);
}

static struct build_worker *worker_of(struct build *build, unsigned int number)
{
	struct build_worker *worker = build->workers[number];

	if (!worker) {
		worker = calloc(1, sizeof(*worker));
		if (worker)
			worker->build = build;
		else
			build->no_memory = true;
		build->workers[number] = worker;
	}
	return worker;
}

static bool see_object(void *context, unsigned int number,
		       const struct pyh_object *object,
		       enum pyh_evidence alone, void **ret_told)
{
	struct build *build = context;
	struct build_worker *worker = worker_of(build, number);
	uint32_t id = rank_id(build->heap->rank, object->address);

	if (id == RANK_NONE)
		return false;
	if (!worker || worker->err)
		return true;
	begin_node(worker, id);
	fill_columns(build, id, object, alone);
	worker->footprint += object->footprint;
	worker->guessed = alone == PYH_EVIDENCE_GUESSED;
	*ret_told = worker;
	return true;
}

static int by_object(const void *a, const void *b)
{
	const struct heap_big *x = a, *y = b;

	return x->object < y->object ? -1 : x->object > y->object;
}

static void tell(const struct build *build, const char *what)
{
	const struct heapgraph_options *options = build->options;

	if (options->progress)
		options->progress(options->progress_context, what, 0, 0);
}

/** What all workers have counted. */
static struct error *gather_deferred(struct build *build)
{
	struct error *err = NULL;

	for (unsigned int i = 0; !err && i < build->num_workers; i++) {
		const struct hashmap *map;
		struct heap_deferred *some;
		size_t count = 0;

		if (!build->workers[i] ||
		    build->workers[i]->deferred.count == 0)
			continue;
		map = &build->workers[i]->deferred;
		some = calloc(map->count, sizeof(*some));
		if (!some)
			return error_no_memory();
		for (size_t j = 0; j < map->capacity; j++)
			if (map->keys[j] != 0)
				some[count++] = (struct heap_deferred){
					.object = (uint32_t)(map->keys[j] - 1),
					.count = map->values[j] };
		err = heapgraph_defer(build->heap, some, count);
		free(some);
	}
	return err;
}

static struct error *collect(struct build *build, struct pyh_census *census)
{
	struct heapgraph *heap = build->heap;
	struct error *err;

	tell(build, "reading references");
	err = pyh_refs_visit(census, build->shapes, &(struct pyh_refs_visitor){
		.object = see_object, .references = see_references,
		.reference = see_reference, .context = build });
	for (unsigned int i = 0; i < build->num_workers; i++) {
		struct build_worker *worker = build->workers[i];

		if (!worker)
			continue;
		put_run(worker, /* more= */ false);
		heap->footprint += worker->footprint;
		if (!err)
			err = worker->err;
		else
			error_free(worker->err);
		worker->err = NULL;
	}
	if (!err && build->no_memory)
		err = error_no_memory();
	if (err)
		return err;
	err = gather_deferred(build);
	if (err)
		return err;
	if (heap->num_bigs > 0)
		qsort(heap->bigs, heap->num_bigs, sizeof(*heap->bigs),
		      by_object);
	err = edge_writer_finish(build->writer, &heap->graph);
	tell(build, "turning references round");
	return err ? err : graph_reverse(&heap->graph, build->options->workers,
					 &heap->spill);
}

static struct error *build_heap(struct build *build)
{
	const struct heapgraph_options *options = build->options;
	struct heapgraph *heap = build->heap;
	struct pyh_census *census;
	struct error *err = rank_create(&heap->rank);

	if (!err)
		err = options->census(options->context, &(struct pyh_visitor){
			.visit = mark, .begins = mark_begins,
			.context = heap->rank }, &census, &build->shapes);
	if (!err)
		err = rank_seal(heap->rank, GRAPH_MAX_NODES, &heap->count);
	if (!err)
		err = make_columns(heap);
	if (!err)
		err = edge_writer_create(heap->count, &heap->spill,
					 &build->writer);
	if (err)
		return err;
	build->num_workers = pyh_census_workers(census);
	build->workers = calloc(build->num_workers, sizeof(*build->workers));
	return build->workers ? collect(build, census) : error_no_memory();
}

struct error *heapgraph_build(const struct heapgraph_options *options,
			      struct heapgraph **ret)
{
	struct heapgraph *heap = calloc(1, sizeof(*heap));
	struct build build = { .options = options, .heap = heap,
			       .lock = PTHREAD_MUTEX_INITIALIZER };
	struct error *err;

	if (!heap)
		return error_no_memory();
	heap->spill.folder = options->tmp_dir;
	heap->spill.budget = options->memory;
	heap->pyh_types = options->types;
	err = build_heap(&build);
	for (unsigned int i = 0; build.workers && i < build.num_workers; i++) {
		if (!build.workers[i])
			continue;
		hashmap_deinit(&build.workers[i]->deferred);
		free(build.workers[i]);
	}
	free(build.workers);
	edge_writer_destroy(build.writer);
	(void)pthread_mutex_destroy(&build.lock);
	if (err)
		heapgraph_destroy(heap);
	else
		*ret = heap;
	return err;
}

void heapgraph_destroy(struct heapgraph *heap)
{
	if (!heap)
		return;
	graph_deinit(&heap->graph);
	for (size_t i = 0; i < sizeof(heap->arrays) / sizeof(heap->arrays[0]);
	     i++)
		spill_free(&heap->arrays[i]);
	spill_deinit(&heap->spill);
	rank_destroy(heap->rank);
	free(heap->bigs);
	free(heap->deferred);
	free(heap);
}

const struct heap_big *heapgraph_big(const struct heapgraph *heap,
				     uint32_t object)
{
	static const struct heap_big none;
	const struct heap_big *found =
		bsearch(&(struct heap_big){ .object = object }, heap->bigs,
			heap->num_bigs, sizeof(*heap->bigs), by_object);

	return found ? found : &none;
}

/* --- references without a count --------------------------------------------- */

static int by_deferred(const void *a, const void *b)
{
	const struct heap_deferred *x = a, *y = b;

	return x->object < y->object ? -1 : x->object > y->object;
}

struct error *heapgraph_defer(struct heapgraph *heap,
			      const struct heap_deferred *more, size_t num)
{
	size_t count = heap->num_deferred, kept = 0;
	struct heap_deferred *all;

	if (num == 0)
		return NULL;
	all = reallocarray(heap->deferred, count + num, sizeof(*all));
	if (!all)
		return error_no_memory();
	heap->deferred = all;
	memcpy(all + count, more, num * sizeof(*all));
	count += num;
	qsort(all, count, sizeof(*all), by_deferred);
	for (size_t i = 0; i < count; i++) {
		heap->flags[all[i].object] |= HEAP_DEFERRED;
		if (kept > 0 && all[kept - 1].object == all[i].object)
			all[kept - 1].count += all[i].count;
		else
			all[kept++] = all[i];
	}
	heap->num_deferred = kept;
	return NULL;
}

uint32_t heapgraph_deferred(const struct heapgraph *heap, uint32_t object)
{
	const struct heap_deferred *found =
		bsearch(&(struct heap_deferred){ .object = object },
			heap->deferred, heap->num_deferred,
			sizeof(*heap->deferred), by_deferred);

	return found ? found->count : 0;
}
