/*
 * Step 3 of the census: what looks like an object and belongs to one is taken
 * back; see pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pycensusworker.h"

enum { CHUNK_MIN = 32 };	/* bytes from one block to the next */

struct pruning {
	struct census_worker *worker;
	const struct pyh_arena *arena;
};

/** A block that looks like an object but belongs to one is no object. */
static void prune_block(void *context, uint64_t block)
{
	struct pruning *pruning = context;
	struct census_worker *worker = pruning->worker;
	struct pyh_census *census = worker->census;
	struct pyh_candidate object;
	uint64_t size;

	if (!census_object_in(worker, pruning->arena, block, &object, &size))
		return;
	if (object.link == PYH_LINK_HOLDS && !census->runtime->free_threaded) {
		findings_add(census->runtime->image->findings, "claim",
			     object.address,
			     "%s in a GC list lies in memory that another "
			     "object claims as its buffer", object.type->name);
		return;
	}
	census_uncount(worker, &object,
		       size + census_claims(worker, &object));
	worker->coverage.blocks_object--;
	worker->coverage.blocks_claimed++;
	pyh_space_unmark(&census->space, block, PYH_MARK_OBJECT);
}

struct error *census_prune_arena(void *context, unsigned int worker_index,
				 size_t shard)
{
	struct pyh_census *census = context;
	struct pruning pruning = {
		.worker = &census->workers[worker_index],
		.arena = &census->arenas.arenas[shard],
	};

	pruning.worker->coverage.blocks_claimed += pyh_space_compare(
		&census->space, pruning.arena->start, pruning.arena->end,
		PYH_MARK_CLAIM, PYH_MARK_OBJECT, prune_block, &pruning);
	return NULL;
}

/** As prune_block(), of an object outside of arenas: a type that is one stays,
    whatever claims it. */
static void prune_object(void *context, uint64_t address)
{
	struct census_worker *worker = context;
	struct pyh_census *census = worker->census;
	struct pyh_candidate object;

	if (pyh_space_page(&census->space, address) != PYH_PAGE_OTHER ||
	    !pyh_object_outside(&census->rules, &worker->types,
				&worker->outside, &worker->memory, address,
				&object) ||
	    object.link == PYH_LINK_HOLDS ||
	    (object.type->kind == PYH_KIND_TYPE &&
	     pyh_type_find(&worker->types, address)))
		return;
	census_uncount(worker, &object,
		       census_held_outside(worker, &object) +
			       census_claims(worker, &object));
	worker->coverage.objects_outside--;
	pyh_space_unmark(&census->space, address, PYH_MARK_OBJECT);
}

/**
 * Two objects closer together than two blocks can be: the second may be words
 * of the first. A tuple of one class looks like an instance of that, seen from
 * its ob_size.
 */
static void prune_inner(struct census_worker *worker, uint64_t outer,
			uint64_t inner)
{
	struct pyh_census *census = worker->census;
	struct pyh_candidate object;

	if (pyh_object_outside(&census->rules, &worker->types, &worker->outside,
			       &worker->memory, outer, &object) &&
	    inner - outer < object.measure.extent)
		prune_object(worker, inner);
}

static void prune_between(struct census_worker *worker, uint64_t start,
			  uint64_t end)
{
	const struct pyh_space *space = &worker->census->space;
	uint64_t outer = 0, at;

	for (at = start; pyh_space_next(space, PYH_MARK_OBJECT, at, end, &at);
	     at += 8) {
		if (outer && at - outer < CHUNK_MIN)
			prune_inner(worker, outer, at);
		else
			outer = at;
	}
}

/** The same for what lies between the arenas. */
void census_prune_outside(struct pyh_census *census)
{
	uint64_t at = 0;

	for (size_t i = 0; i <= census->arenas.count; i++) {
		bool last = i == census->arenas.count;
		uint64_t end = last ? UINT64_C(1) << PYH_ADDRESS_LOG2 :
				      census->arenas.arenas[i].start;

		if (end > at) {
			(void)pyh_space_compare(&census->space, at, end,
						PYH_MARK_OBJECT,
						PYH_MARK_CLAIM, prune_object,
						&census->workers[0]);
			prune_between(&census->workers[0], at, end);
		}
		if (!last)
			at = census->arenas.arenas[i].limit;
	}
}
