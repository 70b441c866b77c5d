/*
 * Looking into a census that has been taken; see pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The marks say where objects are; each is measured again when it is shown.
 */
#include <stdlib.h>

#include "image/base/workers.h"
#include "pyheap/census/pycensusworker.h"

/* --- one by one -------------------------------------------------------------- */

static const struct pyh_arena *arena_at(const struct pyh_arenas *arenas,
					uint64_t address)
{
	size_t low = 0, high = arenas->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (arenas->arenas[middle].limit <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < arenas->count && arenas->arenas[low].start <= address ?
		       &arenas->arenas[low] : NULL;
}

bool census_object_at(struct census_worker *worker,
		      const struct pyh_arena *arena, uint64_t mark,
		      struct pyh_candidate *ret, uint64_t *ret_footprint)
{
	struct pyh_census *census = worker->census;

	if (!arena) {
		if (!pyh_object_outside(&census->rules, &worker->types,
					&worker->outside, &worker->memory,
					mark, ret))
			return false;
		*ret_footprint = census_held_outside(worker, ret);
	} else {
		if (!census_object_in(worker, arena, mark, ret, ret_footprint))
			return false;
	}
	*ret_footprint += census_claims(worker, ret);
	return true;
}

static bool object_at(struct census_worker *worker, uint64_t mark,
		      struct pyh_candidate *ret, uint64_t *ret_footprint)
{
	return census_object_at(worker,
				arena_at(&worker->census->arenas, mark), mark,
				ret, ret_footprint);
}

unsigned int pyh_census_workers(const struct pyh_census *census)
{
	return census->num_workers;
}

struct error *pyh_census_each(struct pyh_census *census,
			      bool (*fn)(void *context,
					 const struct pyh_object *object),
			      void *context)
{
	struct census_worker *worker = &census->workers[0];
	uint64_t at = 0, end = UINT64_C(1) << PYH_ADDRESS_LOG2;

	for (; pyh_space_next(&census->space, PYH_MARK_OBJECT, at, end, &at);
	     at += 8) {
		struct pyh_candidate found;
		struct pyh_object object;
		uint64_t footprint;

		if (!object_at(worker, at, &found, &footprint))
			continue;
		object = census_object(census, &found, footprint);
		if (!fn(context, &object))
			break;
	}
	return NULL;
}

static int by_address(const void *a, const void *b)
{
	const struct pyh_object *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

/** Those of a worker that nobody claims; ret has room for all of them. */
static size_t take_refused(const struct census_worker *worker,
			   struct pyh_object *ret)
{
	const struct pyh_census *census = worker->census;
	size_t count = 0;

	for (size_t i = 0; i < worker->num_refused; i++) {
		const struct pyh_type *type = worker->refused[i].type;
		uint64_t address = worker->refused[i].address;
		uint64_t block = address - type->presize -
				 census->rules.prefix;

		if (!pyh_space_marked(&census->space, block, PYH_MARK_CLAIM))
			ret[count++] = (struct pyh_object){
				.address = address, .type = type,
				.evidence = PYH_EVIDENCE_GUESSED,
			};
	}
	return count;
}

size_t pyh_census_refused(const struct pyh_census *census,
			  struct pyh_object **ret)
{
	struct pyh_object *refused;
	size_t room = 0, count = 0, kept = 0;

	*ret = NULL;
	for (unsigned int i = 0; i < census->num_workers; i++)
		room += census->workers[i].num_refused;
	refused = room ? calloc(room, sizeof(*refused)) : NULL;
	if (!refused)
		return 0;
	for (unsigned int i = 0; i < census->num_workers; i++)
		count += take_refused(&census->workers[i], refused + count);
	qsort(refused, count, sizeof(*refused), by_address);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || refused[kept - 1].address != refused[i].address)
			refused[kept++] = refused[i];
	}
	*ret = refused;
	return kept;
}

bool pyh_census_held(const struct pyh_census *census, uint64_t address)
{
	return pyh_space_marked(&census->space, address, PYH_MARK_HELD);
}

struct visiting {
	struct pyh_census *census;
	pyh_visit_fn *fn;
	void *context;
	const uint32_t *order;		/* of shards; NULL: as they are */
	const atomic_bool *stop;	/* NULL: never */
};

/** Shard 0 is what lies before the arenas, others an arena and what follows. */
static struct error *visit_shard(void *context, unsigned int worker_index,
				 size_t shard)
{
	const struct visiting *visiting = context;
	struct pyh_census *census = visiting->census;
	struct census_worker *worker = &census->workers[worker_index];
	const struct pyh_arena *arenas = census->arenas.arenas;
	uint64_t at, end, limit;

	if (visiting->stop && atomic_load(visiting->stop))
		return NULL;
	if (visiting->order)
		shard = visiting->order[shard];
	at = shard == 0 ? 0 : arenas[shard - 1].start;
	limit = shard == 0 ? 0 : arenas[shard - 1].limit;
	end = shard < census->arenas.count ? arenas[shard].start :
					     UINT64_C(1) << PYH_ADDRESS_LOG2;
	for (; pyh_space_next(&census->space, PYH_MARK_OBJECT, at, end, &at);
	     at += 8) {
		struct pyh_candidate found;
		uint64_t footprint;

		if (census_object_at(worker,
				     at < limit ? &arenas[shard - 1] : NULL,
				     at, &found, &footprint))
			census_show(worker, visiting->fn, visiting->context,
				    &found, footprint,
				    /* taken_back= */ false);
	}
	return NULL;
}

struct error *pyh_census_visit(struct pyh_census *census, pyh_visit_fn *fn,
			       void *context)
{
	struct visiting visiting = {
		.census = census, .fn = fn, .context = context,
	};

	return workers_run(census->num_workers, census->arenas.count + 1,
			   visit_shard, &visiting);
}

struct ranked_shard {
	uint64_t distance;	/* from the nearest address, in bytes */
	uint32_t shard;
};

static int by_distance(const void *a, const void *b)
{
	const struct ranked_shard *x = a, *y = b;

	if (x->distance != y->distance)
		return x->distance < y->distance ? -1 : 1;
	return x->shard < y->shard ? -1 : x->shard > y->shard;
}

static uint64_t distance_to(const struct pyh_arenas *arenas, uint32_t shard,
			    uint64_t address)
{
	uint64_t start = shard == 0 ? arenas->arenas[0].start :
				      arenas->arenas[shard - 1].start;

	return address > start ? address - start : start - address;
}

/** Shards by their distance from the nearest address. */
static uint32_t *order_shards(const struct pyh_census *census,
			      const uint64_t *near, size_t num_near)
{
	uint32_t count = (uint32_t)census->arenas.count + 1;
	struct ranked_shard *ranked = calloc(count, sizeof(*ranked));
	uint32_t *order = calloc(count, sizeof(*order));

	for (uint32_t i = 0; ranked && order && i < count; i++) {
		ranked[i] = (struct ranked_shard){ UINT64_MAX, i };
		for (size_t j = 0; count > 1 && j < num_near; j++) {
			uint64_t distance = distance_to(&census->arenas, i,
							near[j]);

			if (distance < ranked[i].distance)
				ranked[i].distance = distance;
		}
	}
	if (ranked && order)
		qsort(ranked, count, sizeof(*ranked), by_distance);
	for (uint32_t i = 0; ranked && order && i < count; i++)
		order[i] = ranked[i].shard;
	free(ranked);
	return order;
}

struct error *pyh_census_search(struct pyh_census *census,
				const uint64_t *near, size_t num_near,
				pyh_visit_fn *fn, void *context,
				const atomic_bool *stop)
{
	struct visiting visiting = {
		.census = census, .fn = fn, .context = context, .stop = stop,
		.order = order_shards(census, near, num_near),
	};
	struct error *err;

	if (!visiting.order)
		return error_no_memory();
	err = workers_run(census->num_workers, census->arenas.count + 1,
			  visit_shard, &visiting);
	free((void *)(uintptr_t)visiting.order);
	return err;
}

/* --- looking one address up ----------------------------------------------- */

/** The object marked somewhere, if an address is in it or just before it. */
static bool lookup_object(struct census_worker *worker, uint64_t mark,
			  uint64_t address, struct pyh_lookup *ret)
{
	struct pyh_candidate found;
	uint64_t footprint;

	if (!object_at(worker, mark, &found, &footprint) ||
	    address < found.address - found.presize ||
	    (ret->block == 0 && address != found.address &&
	     address >= found.address + found.measure.extent))
		return false;
	ret->place = PYH_PLACE_OBJECT;
	ret->object = census_object(worker->census, &found, footprint);
	ret->extent = found.measure.extent;
	return true;
}

/** What a live block holds. */
static void lookup_in_block(struct census_worker *worker, uint64_t address,
			    struct pyh_lookup *ret)
{
	const struct pyh_space *space = &worker->census->space;

	ret->place = pyh_space_marked(space, ret->block, PYH_MARK_CLAIM) ?
			     PYH_PLACE_CLAIMED : PYH_PLACE_RAW;
	if (pyh_space_marked(space, ret->block, PYH_MARK_OBJECT))
		(void)lookup_object(worker, ret->block, address, ret);
}

/** The same as lookup_in_arena() for a page of mimalloc. */
static void lookup_in_mi_page(struct census_worker *worker,
			      const struct pyh_mi_page *page, uint64_t address,
			      struct pyh_lookup *ret)
{
	bool is_free;

	ret->place = address < page->first ? PYH_PLACE_POOL : PYH_PLACE_FREE;
	if (!census_mi_block(worker, page, address, &ret->block, &is_free))
		return;
	ret->block_size = page->block_size;
	if (!is_free)
		lookup_in_block(worker, address, ret);
}

static void lookup_in_arena(struct census_worker *worker,
			    const struct pyh_arena *arena, uint64_t address,
			    struct pyh_lookup *ret)
{
	const struct pyh_space *space = &worker->census->space;
	uint32_t pool_size = worker->census->arenas.pool_size;
	uint64_t at = address - (address - arena->start) % pool_size, i;
	const uint8_t *bytes = memory_view(&worker->arena, at, pool_size);
	struct pyh_pool pool = { 0 };
	const char *why;

	if (at >= arena->end) {
		ret->place = PYH_PLACE_FREE;
		return;
	}
	ret->place = PYH_PLACE_NOT_CAPTURED;
	if (!bytes)
		return;
	ret->place = PYH_PLACE_POOL;
	switch (pyh_pool_parse(at, bytes, pool_size, &pool, &why)) {
	case PYH_POOL_USED:
		break;
	case PYH_POOL_FREE:
		// One that only says so has objects all the same.
		if (!pyh_space_next(space, PYH_MARK_OBJECT, at, at + pool_size,
				    &i)) {
			ret->place = PYH_PLACE_FREE;
			return;
		}
		census_recover_pool(worker, at, bytes, &pool);
		break;
	case PYH_POOL_DAMAGED:
		census_recover_pool(worker, at, bytes, &pool);
		break;
	}
	if (pool.block_size == 0 || address - at < PYH_POOL_HEADER)
		return;
	i = (address - at - PYH_POOL_HEADER) / pool.block_size;
	if (PYH_POOL_HEADER + (i + 1) * pool.block_size > pool_size)
		return;
	ret->block = at + PYH_POOL_HEADER + i * pool.block_size;
	ret->block_size = pool.block_size;
	ret->place = PYH_PLACE_FREE;
	if (i >= pool.carved || pool.free[i / 64] >> i % 64 & 1)
		return;
	lookup_in_block(worker, address, ret);
}

/** What is in an arena, whosesoever. */
static void lookup_inside(struct census_worker *worker,
			  const struct pyh_arena *arena, uint64_t address,
			  struct pyh_lookup *ret)
{
	const struct pyh_census *census = worker->census;

	if (census->mi.count > 0)
		lookup_in_mi_page(worker, &census->mi.pages[
					  arena - census->arenas.arenas],
				  address, ret);
	else
		lookup_in_arena(worker, arena, address, ret);
}

/**
 * The last address marked at or below another one, in memory that reaches from
 * there to it without a gap.
 */
static bool last_marked(const struct pyh_census *census, enum pyh_mark mark,
			uint64_t address, uint64_t *ret)
{
	const struct memory *memory = census->runtime->image->memory;
	const struct memory_range *range = memory_find(memory, address);

	for (uint64_t end = address + 1; range;
	     range = end > 0 ? memory_find(memory, end - 1) : NULL) {
		if (pyh_space_last(&census->space, mark, range->start, end, ret))
			return true;
		end = range->start;
	}
	return false;
}

static void lookup_outside(struct census_worker *worker, uint64_t address,
			   struct pyh_lookup *ret)
{
	struct pyh_census *census = worker->census;
	const struct pyh_space *space = &census->space;
	uint64_t before, after;

	ret->place = PYH_PLACE_OTHER;
	if (last_marked(census, PYH_MARK_OBJECT, address, &before) &&
	    !arena_at(&census->arenas, before) &&
	    lookup_object(worker, before, address, ret))
		return;
	// A GC head and a pre-header belong to the object behind them.
	if (pyh_space_next(space, PYH_MARK_OBJECT, address,
			   address + 2 * PYH_GC_HEAD + 1, &after) &&
	    !arena_at(&census->arenas, after) &&
	    lookup_object(worker, after, address, ret))
		return;
	if (address % 8 == 0 &&
	    pyh_space_marked(space, address - census->rules.prefix,
			     PYH_MARK_CLAIM))
		ret->place = PYH_PLACE_CLAIMED;
}

static void lookup_by(struct census_worker *worker, uint64_t address,
		      struct pyh_lookup *ret)
{
	struct pyh_census *census = worker->census;
	const struct pyh_arena *arena = arena_at(&census->arenas, address);

	*ret = (struct pyh_lookup){ .place = PYH_PLACE_UNMAPPED };
	if (address >> PYH_ADDRESS_LOG2)
		return;
	switch (memory_state_at(census->runtime->image->memory, address)) {
	case MEMORY_UNMAPPED:
		return;
	case MEMORY_NOT_CAPTURED:
		ret->place = PYH_PLACE_NOT_CAPTURED;
		return;
	case MEMORY_CAPTURED:
	case MEMORY_ZERO:
		break;
	}
	if (arena)
		lookup_inside(worker, arena, address, ret);
	else
		lookup_outside(worker, address, ret);
}

void pyh_census_lookup(struct pyh_census *census, uint64_t address,
		       struct pyh_lookup *ret)
{
	lookup_by(&census->workers[0], address, ret);
}

void pyh_census_lookup_by(struct pyh_census *census, unsigned int worker,
			  uint64_t address, struct pyh_lookup *ret)
{
	lookup_by(&census->workers[worker], address, ret);
}

enum pyh_place pyh_census_show(struct pyh_census *census, unsigned int worker,
			       uint64_t address, pyh_visit_fn *fn,
			       void *context, uint64_t *ret_buffer)
{
	struct census_worker *looking = &census->workers[worker];
	struct pyh_candidate found;
	struct pyh_lookup lookup;
	uint64_t footprint;

	if (ret_buffer)
		*ret_buffer = 0;
	lookup_by(looking, address, &lookup);
	if (lookup.place == PYH_PLACE_OBJECT) {
		if (object_at(looking, lookup.block ? lookup.block :
						      lookup.object.address,
			      &found, &footprint))
			census_show(looking, fn, context, &found, footprint,
				    /* taken_back= */ false);
	} else if (!ret_buffer) {
		return lookup.place;
	} else if (lookup.place == PYH_PLACE_CLAIMED && lookup.block) {
		*ret_buffer = lookup.block + census->rules.prefix;
	} else if (!lookup.block &&
		   last_marked(census, PYH_MARK_CLAIM, address, ret_buffer)) {
		*ret_buffer += census->rules.prefix;
	}
	return lookup.place;
}

bool pyh_census_holds(struct pyh_census *census, uint64_t address)
{
	const struct pyh_arena *arena = arena_at(&census->arenas, address);
	struct pyh_lookup lookup = { .place = PYH_PLACE_OTHER };

	if (address % 8 || address >> PYH_ADDRESS_LOG2)
		return false;
	if (!arena)
		return pyh_space_marked(&census->space, address,
					PYH_MARK_OBJECT);
	lookup_inside(&census->workers[0], arena, address, &lookup);
	return lookup.place == PYH_PLACE_OBJECT &&
	       lookup.object.address == address;
}
