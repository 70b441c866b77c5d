/*
 * All objects of a census with their references; see pyrefsvisit.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyrefsvisit.h"

#include <stdlib.h>

#include "image/base/workers.h"
#include "pyheap/census/pycensusworker.h"

/** What a worker knows of types, by pyh_type_slot(). */
struct plans {
	struct pyh_quick_type types[PYH_TYPE_CACHE];
};

struct visiting {
	struct pyh_census *census;
	struct pyh_shapes *shapes;
	const struct pyh_refs_visitor *visitor;
	struct plans *plans;		/* by worker */
};

static struct pyh_referrer referrer_of(const struct visiting *visiting,
				       struct census_worker *worker,
				       const struct pyh_candidate *found)
{
	return (struct pyh_referrer){
		.runtime = visiting->census->runtime,
		.shapes = visiting->shapes, .type = found->type,
		.address = found->address, .body = found->body,
		.available = found->available, .extent = found->measure.extent,
		.memory = &worker->memory };
}

/** The object at a mark by all the rules. @param arena  NULL: in none */
__attribute__((noinline))
static void show_by_rules(const struct visiting *visiting,
			  struct census_worker *worker,
			  const struct pyh_arena *arena, uint64_t mark)
{
	const struct pyh_refs_visitor *visitor = visiting->visitor;
	struct pyh_candidate found;
	struct pyh_object object;
	uint64_t footprint;
	void *told = NULL;

	if (!census_object_at(worker, arena, mark, &found, &footprint))
		return;
	object = census_object(visiting->census, &found, footprint);
	if (visitor->object(visitor->context, worker->number, &object,
			    found.evidence, &told) &&
	    told && !pyh_object_is_leaf(found.type)) {
		struct pyh_referrer referrer = referrer_of(visiting, worker,
							   &found);

		pyh_refs_each(&referrer, visitor->reference, told);
	}
}

static void visit_between(const struct visiting *visiting,
			  struct census_worker *worker,
			  const struct pyh_arena *arena, uint64_t at,
			  uint64_t end)
{
	const struct pyh_space *space = &visiting->census->space;

	for (; pyh_space_next(space, PYH_MARK_OBJECT, at, end, &at); at += 8)
		show_by_rules(visiting, worker, arena, at);
}

/* --- pools of pymalloc ------------------------------------------------------ */

struct pool {
	uint64_t address;
	const uint8_t *bytes;	/* all of it */
	uint32_t block_size;
	const _Atomic uint64_t *held;	/* marks from its address on; NULL: none */
};

static bool is_held(const struct pool *pool, uint64_t address)
{
	return pool->held &&
	       atomic_load_explicit(&pool->held[(address - pool->address) >> 9],
				    memory_order_relaxed) &
		       pyh_space_bit(address);
}

/** Bytes held for what an object owns: mostly nothing, or one small block. */
static inline uint64_t held_for_claims(struct census_worker *worker,
				       const struct pyh_candidate *found)
{
	const struct pyh_measure *measure = &found->measure;

	if (measure->num_claims == 0 && !measure->more_claims)
		return 0;
	if (measure->num_claims == 1 && !measure->more_claims &&
	    measure->claims[0].size < worker->census->pymalloc_end &&
	    measure->claims[0].untouched == 0)
		return (measure->claims[0].size + PYH_BLOCK_ALIGN - 1) &
		       ~(uint64_t)(PYH_BLOCK_ALIGN - 1);
	return census_claims(worker, found);
}

static const struct pyh_quick_type *plan_of(const struct visiting *visiting,
					    const struct census_worker *worker,
					    const struct pyh_type *type)
{
	struct pyh_quick_type *plan =
		&visiting->plans[worker->number]
			 .types[pyh_type_slot(type->address)];

	if (plan->address != type->address)
		*plan = pyh_quick_type(visiting->census->runtime,
				       visiting->shapes, type);
	return plan;
}

static void tell_references(const struct visiting *visiting,
			    struct census_worker *worker,
			    const struct pyh_candidate *found, void *told)
{
	const struct pyh_refs_visitor *visitor = visiting->visitor;
	struct pyh_referrer referrer = referrer_of(visiting, worker, found);
	struct pyh_quick_refs refs;

	if (pyh_refs_quick(&referrer, plan_of(visiting, worker, found->type),
			   &refs))
		visitor->references(told, &refs);
	else
		pyh_refs_each(&referrer, visitor->reference, told);
}

/** Show the object in a block at an offset, if it is a plain one. */
static inline bool show_plain(const struct visiting *visiting,
			      struct census_worker *worker,
			      const struct pool *pool, uint32_t at)
{
	const struct pyh_refs_visitor *visitor = visiting->visitor;
	const struct pyh_census *census = visiting->census;
	struct pyh_candidate found;
	void *told = NULL;

	if (!pyh_object_again(&census->rules, &worker->types, &worker->memory,
			      pool->address + at, pool->bytes + at,
			      pool->block_size, &found))
		return false;
	if (!visitor->object(visitor->context, worker->number,
			     &(struct pyh_object){
		.address = found.address, .type = found.type,
		.size = found.measure.size,
		.footprint = pool->block_size + held_for_claims(worker, &found),
		.size_exact = found.measure.exact,
		.refcount = found.refcount, .immortal = found.immortal,
		.gc_tracked = found.link == PYH_LINK_HOLDS,
		.evidence = is_held(pool, found.address) ?
				    PYH_EVIDENCE_CERTAIN : found.evidence },
			     found.evidence, &told))
		return false;
	if (told && !pyh_object_is_leaf(found.type))
		tell_references(visiting, worker, &found, told);
	return true;
}

static void visit_pool(const struct visiting *visiting,
		       struct census_worker *worker,
		       const struct pyh_arena *arena, uint64_t address)
{
	const struct pyh_census *census = visiting->census;
	const struct pyh_chunk *chunk = pyh_space_chunk(&census->space,
							address);
	uint32_t size = census->arenas.pool_size;
	const _Atomic uint64_t *marks = chunk ?
		atomic_load(&chunk->marks[PYH_MARK_OBJECT]) : NULL;
	const _Atomic uint64_t *held = marks ?
		atomic_load(&chunk->marks[PYH_MARK_HELD]) : NULL;
	struct pool pool = {
		.address = address,
		.bytes = marks ? memory_view(&worker->arena, address, size) :
				 NULL,
		.held = held ? held + pyh_space_word(address) : NULL };

	if (!pool.bytes)
		return;
	marks += pyh_space_word(address);
	// 0 where the header is damaged, so that no block has that size.
	pool.block_size = pyh_pool_block_size(pool.bytes, size);
	for (uint32_t word = 0; word < size / 512; word++) {
		uint64_t bits = atomic_load_explicit(&marks[word],
						     memory_order_relaxed);

		for (; bits; bits &= bits - 1) {
			uint32_t at = 512 * word +
				      8 * (uint32_t)__builtin_ctzll(bits);

			if (pool.block_size == 0 ||
			    at + pool.block_size > size ||
			    !show_plain(visiting, worker, &pool, at))
				show_by_rules(visiting, worker, arena,
					      address + at);
		}
	}
}

/** Shard 0 is what lies before the arenas, others an arena and what follows. */
static struct error *visit_shard(void *context, unsigned int worker_index,
				 size_t shard)
{
	const struct visiting *visiting = context;
	const struct pyh_census *census = visiting->census;
	struct census_worker *worker = &visiting->census->workers[worker_index];
	const struct pyh_arena *arenas = census->arenas.arenas;
	const struct pyh_arena *arena = shard ? &arenas[shard - 1] : NULL;
	uint64_t end = shard < census->arenas.count ?
			       arenas[shard].start :
			       UINT64_C(1) << PYH_ADDRESS_LOG2;

	if (arena && census->mi.count > 0)
		visit_between(visiting, worker, arena, arena->start,
			      arena->limit);
	else if (arena)
		for (uint64_t at = arena->start; at < arena->limit;
		     at += census->arenas.pool_size)
			visit_pool(visiting, worker, arena, at);
	visit_between(visiting, worker, NULL, arena ? arena->limit : 0, end);
	return NULL;
}

struct error *pyh_refs_visit(struct pyh_census *census,
			     struct pyh_shapes *shapes,
			     const struct pyh_refs_visitor *visitor)
{
	struct visiting visiting = {
		.census = census, .shapes = shapes, .visitor = visitor,
		.plans = calloc(census->num_workers, sizeof(struct plans)) };
	struct error *err = visiting.plans ?
		workers_run(census->num_workers, census->arenas.count + 1,
			    visit_shard, &visiting) :
		error_no_memory();

	free(visiting.plans);
	return err;
}
