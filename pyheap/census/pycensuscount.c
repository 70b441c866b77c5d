/*
 * Counting the objects of the census, with what they own; see pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pyheap/census/pycensusworker.h"
#include "pyheap/sizes/pysize.h"

enum {
	PAGE = 4096,
	CHUNK_BEFORE_IN_USE = 1,	/* in the size of glibc's chunks … */
	CHUNK_MAPPED = 2,		/* … this one has a mapping of its own */
};

#define CHUNK_MAX (UINT64_C(1) << 40)

struct pyh_object census_object(const struct pyh_census *census,
				const struct pyh_candidate *found,
				uint64_t footprint)
{
	bool held = found->evidence != PYH_EVIDENCE_CERTAIN &&
		    pyh_space_marked(&census->space, found->address,
				     PYH_MARK_HELD);

	return (struct pyh_object){
		.address = found->address,
		.type = found->type,
		.size = found->measure.size,
		.footprint = footprint,
		.size_exact = found->measure.exact,
		.refcount = found->refcount,
		.immortal = found->immortal,
		.gc_tracked = found->link == PYH_LINK_HOLDS,
		.evidence = held ? PYH_EVIDENCE_CERTAIN : found->evidence,
	};
}

/** The part of census_tally() for a type not met before. */
__attribute__((noinline))
static struct tally *new_tally(struct census_worker *worker,
			       const struct pyh_type *type)
{
	static struct tally nowhere;	// written only when memory is gone
	size_t room;
	struct tally *grown;

	room = (type->id | 1023) + 1;
	grown = realloc(worker->tallies, room * sizeof(*grown));
	if (!grown) {
		worker->no_memory = true;
		return &nowhere;
	}
	memset(grown + worker->num_tallies, 0,
	       (room - worker->num_tallies) * sizeof(*grown));
	worker->tallies = grown;
	worker->num_tallies = room;
	return &grown[type->id];
}

struct tally *census_tally(struct census_worker *worker,
			   const struct pyh_type *type)
{
	return type->id < worker->num_tallies ? &worker->tallies[type->id] :
						new_tally(worker, type);
}

void census_show(struct census_worker *worker, pyh_visit_fn *fn, void *context,
		 const struct pyh_candidate *found, uint64_t footprint,
		 bool taken_back)
{
	struct pyh_visit visit = {
		.object = census_object(worker->census, found, footprint),
		.worker = worker->number,
		.taken_back = taken_back,
		.alone = found->evidence,
		.body = found->body,
		.available = found->available,
		.extent = found->measure.extent,
		.owns = found->measure.num_claims > 0 ||
			found->measure.more_claims,
		.in_module = found->on_module && found->presize == 0,
		.memory = &worker->memory,
	};

	visit.before = visit.in_module ? 0 : found->presize +
					     worker->census->rules.prefix;
	fn(context, &visit);
}

/** The part of census_count() for a census that somebody watches. */
__attribute__((noinline))
static void show_counted(struct census_worker *worker,
			 const struct pyh_candidate *object, uint64_t footprint)
{
	const struct pyh_visitor *visitor = worker->census->options->visitor;

	census_show(worker, visitor->visit, visitor->context, object,
		    footprint, /* taken_back= */ false);
}

/** True if a visitor wants to see an object of this size. */
static inline bool is_shown(const struct pyh_census *census, uint64_t size)
{
	return size >= atomic_load_explicit(census->least,
					    memory_order_relaxed);
}

void census_count(struct census_worker *worker,
		  const struct pyh_candidate *object, uint64_t footprint)
{
	struct tally *tally = census_tally(worker, object->type);

	if (is_shown(worker->census, object->measure.size))
		show_counted(worker, object, footprint);
	tally->count++;
	tally->size += object->measure.size;
	tally->footprint += footprint;
	tally->refcounts += object->immortal ? 0 : object->refcount;
	tally->immortal += object->immortal;
	tally->inexact |= !object->measure.exact;
	worker->coverage.gc_tracked += object->link == PYH_LINK_HOLDS;
}

void census_uncount(struct census_worker *worker,
		    const struct pyh_candidate *object, uint64_t footprint)
{
	const struct pyh_visitor *visitor = worker->census->options->visitor;
	struct tally *tally = census_tally(worker, object->type);

	if (is_shown(worker->census, object->measure.size))
		census_show(worker, visitor->visit, visitor->context, object,
			    footprint, /* taken_back= */ true);
	// Unsigned sums wrap and meet again when the workers are merged.
	tally->count--;
	tally->size -= object->measure.size;
	tally->footprint -= footprint;
	tally->refcounts -= object->immortal ? 0 : object->refcount;
	tally->immortal -= object->immortal;
	worker->coverage.gc_tracked -= object->link == PYH_LINK_HOLDS;
}

/**
 * Bytes an allocator holds for a request: pymalloc's classes of 16, above
 * them glibc's chunk (8 bytes of header, 16 of granularity), or mimalloc's.
 */
static uint64_t held_for(const struct pyh_census *census, uint64_t size)
{
	if (size < census->pymalloc_end)
		return (size + PYH_BLOCK_ALIGN - 1) &
		       ~(uint64_t)(PYH_BLOCK_ALIGN - 1);
	if (census->mi.count > 0)
		return pyh_mi_block_size(size);
	return size <= 24 ? 32 : (size + 8 + 15) & ~UINT64_C(15);
}

/**
 * The size of a chunk of glibc's malloc, by its header, if the chunk behind it
 * says that it is in use; 0: it is none.
 */
static uint64_t chunk_at(struct memory_reader *memory, uint64_t block)
{
	uint64_t word, size, next;

	if (block % 16 || !memory_try_u64(memory, block - 8, &word))
		return 0;
	size = word & ~(uint64_t)7;
	if (size < 32 || size % 16 || size > CHUNK_MAX)
		return 0;
	if (word & CHUNK_MAPPED)
		return block % PAGE == 16 && size % PAGE == 0 ? size : 0;
	return memory_try_u64(memory, block + size - 8, &next) &&
			       (next & CHUNK_BEFORE_IN_USE) && next % 16 < 8 &&
			       next >= 16 && next < CHUNK_MAX ? size : 0;
}

uint64_t census_held_outside(struct census_worker *worker,
			     const struct pyh_candidate *object)
{
	const struct pyh_census *census = worker->census;
	uint64_t size = object->measure.extent + object->presize +
			census->rules.overhead;
	uint64_t held = held_for(census, size), chunk;

	if (object->on_module && object->presize == 0)
		return object->measure.extent;
	// An arena would have it if it were no larger than its type says.
	if (size >= census->pymalloc_end || object->on_module)
		return held;
	chunk = chunk_at(&worker->memory, object->address - object->presize -
						  census->rules.prefix);
	return chunk > held ? chunk : held;
}

/** An object counted by less than all of it: is the rest not in the dump? */
__attribute__((noinline))
void census_check_partly(struct census_worker *worker,
			 const struct pyh_candidate *object)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	const enum pyh_field fields[] = { PYH_DICT_MA_KEYS,
					  PYH_DICT_MA_VALUES };

	for (size_t i = 0; i < 2 && object->type->kind == PYH_KIND_DICT; i++) {
		uint32_t at = pyh_offset(runtime, fields[i]);
		uint64_t word = object->available >= at + 8 ?
					pyh_word(object->body, at) : 0;

		if (word != 0 && memory_state_at(runtime->image->memory,
						 word) == MEMORY_UNMAPPED)
			findings_add(runtime->image->findings, "object",
				     object->address, "%s is damaged: its %s "
				     "are said to be at 0x%" PRIx64 ", where "
				     "nothing is", object->type->name,
				     i ? "values" : "keys", word);
	}
}

/* --- claims -------------------------------------------------------------- */

struct claiming {
	struct census_worker *worker;
	const struct pyh_candidate *owner;
	uint64_t footprint;	/* bytes held for the claims so far */
	bool take;		/* false: only add up */
};

/** What an object claims cannot be where it says. */
__attribute__((noinline))
static void report_claim(const struct claiming *claiming, uint64_t address)
{
	const struct image *image = claiming->worker->census->runtime->image;
	const struct pyh_candidate *owner = claiming->owner;

	// What malloc's free blocks were left with says nothing.
	if (owner->link != PYH_LINK_HOLDS &&
	    pyh_space_page(&claiming->worker->census->space, owner->address) !=
		    PYH_PAGE_ARENA)
		return;
	if (address & 7 ||
	    memory_state_at(image->memory, address) == MEMORY_UNMAPPED)
		findings_add(image->findings, "object",
			     owner->address, "%s is damaged: a buffer of it is "
			     "said to be at 0x%" PRIx64 ", where none can be",
			     owner->type->name, address);
}

static inline void take_claim(struct claiming *claiming,
			      struct pyh_claim claim)
{
	struct pyh_census *census = claiming->worker->census;
	uint64_t address = claim.address;
	uint64_t block = address - census->rules.prefix;

	claiming->footprint += held_for(census, claim.size +
							census->rules.overhead) -
			       claim.untouched;
	if (!claiming->take)
		return;
	if (address & 7) {
		report_claim(claiming, address);
		return;
	}
	// Blocks of arenas are looked at as such, whoever claims them.
	if (!pyh_space_may_be_other(&census->space, address) ||
	    pyh_space_page(&census->space, address) != PYH_PAGE_OTHER) {
		if (!pyh_space_set(&census->space, block, PYH_MARK_CLAIM))
			report_claim(claiming, address);
	} else if (pyh_space_mark(&census->space, block, PYH_MARK_CLAIM) &&
		   claim.size >= 8 && !claim.dead) {
		census_push_task(claiming->worker,
				 (struct task){ address, claim.size });
	}
}

static void take_one_of_chain(void *context, struct pyh_claim claim)
{
	take_claim(context, claim);
}

/** Mark what an object owns (or only add it up); the bytes held for it. */
__attribute__((noinline))
static uint64_t claims_of(struct census_worker *worker,
				const struct pyh_candidate *object, bool take)
{
	struct claiming claiming = { .worker = worker, .owner = object,
				     .take = take };

	if (object->measure.more_claims) {
		pyh_claims_each(worker->census->runtime, object->type,
				object->address, object->body,
				object->available, &worker->memory,
				take_one_of_chain, &claiming);
	} else {
		for (unsigned int i = 0; i < object->measure.num_claims; i++)
			take_claim(&claiming, object->measure.claims[i]);
	}
	return claiming.footprint;
}

uint64_t census_take_claims(struct census_worker *worker,
			    const struct pyh_candidate *object)
{
	return claims_of(worker, object, /* take= */ true);
}

uint64_t census_claims(struct census_worker *worker,
		       const struct pyh_candidate *object)
{
	return claims_of(worker, object, /* take= */ false);
}

void census_take(struct census_worker *worker,
		 const struct pyh_candidate *object, uint64_t size)
{
	census_count(worker, object, size + census_take_claims(worker, object));
	if (!object->measure.exact && object->type->size_exact)
		census_check_partly(worker, object);
}
