/*
 * The census: every object of a CPython heap, counted by type; see pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Three steps. (1) Arenas, in address order on all workers: each live block
 * is an object or raw memory; what an object owns is marked as a claim; words
 * that point out of the arenas are looked at as objects of their own.
 * (2) What lies outside of arenas (large, static, foreign-allocated objects)
 * is followed from there and from the roots until nothing new turns up.
 * (3) Blocks that look like an object but are somebody's buffer are taken
 * back.
 *
 * Every tally is a sum and every mark a set, so the result does not depend on
 * how the work was divided.
 */
#include "pyheap/pycensus.h"

#include <elf.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/workers.h"
#include "pyheap/pycensusworker.h"
#include "pyheap/pysize.h"
#include "pyheap/pycounts.h"

enum {
	TASK_BYTES = 1 << 20,		/* memory scanned at one go */
	DRAIN_MAX = 1 << 20,		/* objects a worker follows by itself */
	STACK_SCAN_MAX = 8 << 20,	/* bytes of a thread's native stack */
	INTERPRETER_SCAN_MAX = 1 << 20,	/* bytes of a PyInterpreterState */
	DATASTACK_CHUNKS_MAX = 1 << 16,
	LOOK_AHEAD = 6,			/* blocks whose pointers are followed */
	FETCH_AHEAD = 2048,		/* bytes of a pool asked for */
	OBJECT_HEADER = 16,		/* bytes of ob_refcnt and ob_type */
	CHUNK_MIN = 32,			/* bytes from one block to the next */
};

/* --- small parts ---------------------------------------------------------- */

static void push_task(struct census_worker *worker, struct task task)
{
	struct tasks *tasks = &worker->found;

	if (tasks->count == tasks->room) {
		size_t room = tasks->room ? tasks->room * 2 : 256;
		struct task *grown;

		grown = realloc(tasks->tasks, room * sizeof(*grown));
		if (!grown) {
			worker->no_memory = true;
			return;
		}
		tasks->tasks = grown;
		tasks->room = room;
	}
	tasks->tasks[tasks->count++] = task;
}

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

/** The part of tally_of() for a type not met before. */
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

static inline struct tally *tally_of(struct census_worker *worker,
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

/** The part of count_object() for a census that somebody watches. */
__attribute__((noinline))
static void show_counted(struct census_worker *worker,
			 const struct pyh_candidate *object, uint64_t footprint)
{
	const struct pyh_census_options *options = worker->census->options;

	census_show(worker, options->visit, options->visit_context, object,
	     footprint, /* taken_back= */ false);
}

/** True if a visitor wants to see an object of this size. */
static inline bool is_shown(const struct pyh_census *census, uint64_t size)
{
	return size >= atomic_load_explicit(census->least,
					    memory_order_relaxed);
}

static inline void count_object(struct census_worker *worker,
				const struct pyh_candidate *object,
				uint64_t footprint)
{
	struct tally *tally = tally_of(worker, object->type);

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

static void uncount_object(struct census_worker *worker,
			   const struct pyh_candidate *object,
			   uint64_t footprint)
{
	const struct pyh_census_options *options = worker->census->options;
	struct tally *tally = tally_of(worker, object->type);

	if (is_shown(worker->census, object->measure.size))
		census_show(worker, options->visit, options->visit_context, object,
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

uint64_t census_held_outside(const struct pyh_census *census,
			     const struct pyh_candidate *object)
{
	if (object->on_module && object->presize == 0)
		return object->measure.extent;
	return held_for(census, object->measure.extent + object->presize +
					census->rules.overhead);
}

/* --- what looks like an object and is none --------------------------------- */

/**
 * A reference count below PYH_REFCOUNT_LARGE and a type, in no GC list, and yet
 * no object: if that is because of what it says of itself, nobody claims it as
 * a buffer, and another object refers to it, it is a damaged one.
 *
 * @param at  where in bytes it begins; in front of it there is a GC head at
 *	most
 * @param size  bytes it may take; 0: not known
 */
static void check_refused(struct census_worker *worker, uint64_t address,
			  const uint8_t *bytes, size_t at, size_t size,
			  size_t available)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	const uint8_t *body = bytes + at;
	const struct pyh_type *type;
	struct pyh_measure measure;

	if (worker->num_refused == REFUSED_MAX)
		return;
	type = pyh_type_find(&worker->types, pyh_word(body, 8));
	if (!type || type->presize != (at ? PYH_GC_HEAD : 0) ||
	    type->kind == PYH_KIND_OTHER || type->kind == PYH_KIND_TYPE ||
	    (at && (pyh_word(body - PYH_GC_HEAD, 0) ||
		    pyh_word(body - PYH_GC_HEAD, 8))) ||
	    (pyh_measure(runtime, type, address, body, available,
			 &worker->memory, &measure) != PYH_MEASURE_REFUSED &&
	     (size == 0 || at + measure.extent <= size)))
		return;
	worker->refused[worker->num_refused].address = address;
	worker->refused[worker->num_refused++].type = type;
}

/** An object counted by less than all of it: is the rest not in the dump? */
__attribute__((noinline))
static void check_partly(struct census_worker *worker,
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

/* --- words that point out of the arenas ----------------------------------- */

/** The same for what a word outside of arenas leads to. */
static void refuse_outside(struct census_worker *worker, uint64_t address)
{
	uint8_t bytes[PYH_GC_HEAD + 64];
	const struct pyh_type *type;

	// Where there are no GC heads, nothing tells what was an object.
	if (worker->census->runtime->free_threaded ||
	    !memory_try_read(&worker->memory, address - PYH_GC_HEAD, bytes,
			     sizeof(bytes)))
		return;
	// Where nothing was asked about a type, there was no count.
	type = pyh_type_known(&worker->types,
			      pyh_word(bytes + PYH_GC_HEAD, 8));
	if (type &&
	    pyh_word(bytes + PYH_GC_HEAD, 0) - 1 < PYH_REFCOUNT_LARGE - 1)
		check_refused(worker, address, type->presize ? bytes :
			      bytes + PYH_GC_HEAD,
			      type->presize ? PYH_GC_HEAD : 0, 0, 64);
}

/** Look at an address outside of arenas; if it is an object, mark and queue. */
__attribute__((noinline))
static void consider_outside(struct census_worker *worker, uint64_t address)
{
	struct pyh_census *census = worker->census;
	size_t slot = (size_t)(address >> 3 ^ address >> 15) % RECENT_WORDS;
	struct pyh_candidate candidate;

	if (worker->recent[slot] == address)
		return;
	worker->recent[slot] = address;
	if (pyh_space_marked(&census->space, address, PYH_MARK_OBJECT))
		return;
	if (!pyh_object_outside(&census->rules, &worker->types,
				&worker->outside, &worker->memory, address,
				&candidate)) {
		refuse_outside(worker, address);
		return;
	}
	if (pyh_space_mark(&census->space, address, PYH_MARK_OBJECT))
		push_task(worker, (struct task){ .address = address });
}

/** Look at a word: it may be the address of an object. */
__attribute__((noinline))
static void consider_word(struct census_worker *worker, uint64_t word)
{
	const struct pyh_space *space = &worker->census->space;

	if (!(word & 7) && pyh_space_may_be_other(space, word) &&
	    pyh_space_page(space, word) == PYH_PAGE_OTHER)
		consider_outside(worker, word);
}

/** The filter's answer for the word at bytes, of which it takes two bytes. */
static inline uint8_t filtered(const uint8_t *filter, const uint8_t *bytes)
{
	uint16_t granule;

	memcpy(&granule, bytes + PYH_GRANULE_LOG2 / 8, sizeof(granule));
	return filter[granule];
}

static inline void scan_words(struct census_worker *worker, const uint8_t *bytes,
			      size_t size)
{
	const uint8_t *filter = worker->census->space.filter;
	const uint8_t *end = bytes + (size & ~(size_t)7);

	// Hardly any word leads out of the arenas: ask for four together.
	for (; end - bytes >= 32; bytes += 32) {
		if (!(filtered(filter, bytes) | filtered(filter, bytes + 8) |
		      filtered(filter, bytes + 16) |
		      filtered(filter, bytes + 24)))
			continue;
		for (uint32_t at = 0; at < 32; at += 8)
			consider_word(worker, pyh_word(bytes, at));
	}
	for (; bytes < end; bytes += 8) {
		if (filtered(filter, bytes))
			consider_word(worker, pyh_word(bytes, 0));
	}
}

/**
 * Whether an address is one of the heads that GC lists begin and end with.
 *
 * @param unknown  what to say if not all of them are known
 */
static bool is_list_head(const struct pyh_runtime *runtime, uint64_t address,
			 bool unknown)
{
	for (size_t i = 0; i < runtime->num_interpreters; i++) {
		const uint64_t *heads = runtime->interpreters[i].gc_heads;

		for (int j = 0; j < PYH_GC_LISTS; j++) {
			if (heads[j] == address)
				return true;
			// Not known, so it may be this one.
			if (heads[j] == 0 && unknown)
				return true;
		}
	}
	return false;
}

/** The part of consider_neighbour() for those that may be outside. */
__attribute__((noinline))
static void look_at_neighbour(struct census_worker *worker, uint64_t head)
{
	struct pyh_census *census = worker->census;
	uint64_t address = head + PYH_GC_HEAD;

	if (pyh_space_page(&census->space, address) != PYH_PAGE_OTHER)
		return;
	consider_word(worker, address);
	if (!pyh_space_marked(&census->space, address, PYH_MARK_OBJECT) &&
	    !census->rules.collecting &&
	    !is_list_head(census->runtime, head, /* unknown= */ true))
		findings_add(census->runtime->image->findings, "gc-object",
			     address, "a GC list leads here, but there is no "
			     "object that could be in one");
}

/** Look at a neighbour in a GC list: it is an object, unless damaged. */
static inline void consider_neighbour(struct census_worker *worker,
				      uint64_t head)
{
	if (pyh_space_may_be_other(&worker->census->space, head + PYH_GC_HEAD))
		look_at_neighbour(worker, head);
}

/** Whether a GC head lies here: that of a list, or before an object. */
static bool is_head(struct census_worker *worker, uint64_t head)
{
	const struct pyh_census *census = worker->census;
	const struct pyh_type *type;
	uint64_t words[2];

	if (is_list_head(census->runtime, head, /* unknown= */ false))
		return true;
	if (!memory_try_read(&worker->memory, head + PYH_GC_HEAD, words,
			     sizeof(words)) ||
	    !pyh_may_be_refcount(&census->rules, words[0]))
		return false;
	type = pyh_type_find(&worker->types, words[1]);
	return type && type->has_gc;
}

/**
 * A head names one before it that does not lead to it: say which of the two is
 * damaged. The one before is not if it is linked with another.
 *
 * @param shift  from a head to the address to be shown for it
 */
__attribute__((noinline))
static void report_link(struct census_worker *worker, uint64_t head,
			uint64_t before, uint64_t shift)
{
	struct findings *findings = worker->census->runtime->image->findings;
	uint64_t next, back;

	if (!memory_try_u64(&worker->memory, before, &next) ||
	    ((next & ~UINT64_C(3)) != before &&
	     memory_try_u64(&worker->memory, (next & ~UINT64_C(3)) + 8,
			    &back) && (back & ~UINT64_C(3)) == before) ||
	    !is_head(worker, before)) {
		findings_add(findings, "gc-list", head + shift, "its GC list "
			     "is damaged here: it leads back to 0x%" PRIx64
			     ", which does not lead on to this", before);
		return;
	}
	findings_add(findings, "gc-list", is_list_head(
			     worker->census->runtime, before, false) ?
			     before : before + PYH_GC_HEAD, "its GC list is "
		     "damaged here: it does not lead on to 0x%" PRIx64
		     ", which leads back to this", head + shift);
}

/** The GC list leads from one object to its neighbours. */
static void follow_link(struct census_worker *worker,
			const struct pyh_candidate *object)
{
	if (object->link != PYH_LINK_HOLDS)
		return;
	consider_neighbour(worker, object->gc_next);
	consider_neighbour(worker, object->gc_prev);
	if (object->link_damaged)
		report_link(worker, object->address - PYH_GC_HEAD,
			    object->gc_prev, PYH_GC_HEAD);
}

/** The same for the head of a list, whose ends nobody else looks at. */
static void check_list(struct census_worker *worker, uint64_t head)
{
	uint64_t words[2], back;

	if (head == 0 || worker->census->rules.collecting ||
	    !memory_try_read(&worker->memory, head, words, sizeof(words)))
		return;
	words[1] &= ~UINT64_C(3);
	// One that lies in what the dump lacks proves nothing.
	if (memory_try_u64(&worker->memory, words[1], &back) ?
		    (back & ~UINT64_C(3)) == head :
		    memory_state_at(worker->census->runtime->image->memory,
				    words[1]) == MEMORY_NOT_CAPTURED)
		return;
	report_link(worker, head, words[1], 0);
}

/** Whether two words are a GC head whose neighbours both lead back to it. */
static bool is_linked(struct census_worker *worker, uint64_t head,
		      const uint8_t *bytes)
{
	const struct pyh_space *space = &worker->census->space;
	uint64_t next, prev, back;

	memcpy(&next, bytes, sizeof(next));
	memcpy(&prev, bytes + 8, sizeof(prev));
	next &= ~UINT64_C(3);
	prev &= ~UINT64_C(3);
	return pyh_space_page(space, next) != PYH_PAGE_ABSENT &&
	       pyh_space_page(space, prev) != PYH_PAGE_ABSENT &&
	       memory_try_u64(&worker->memory, prev, &back) &&
	       (back & ~UINT64_C(3)) == head &&
	       memory_try_u64(&worker->memory, next + 8, &back) &&
	       (back & ~UINT64_C(3)) == head;
}

/**
 * A block that is no object, and yet its neighbours in a GC list know it, was
 * one before its header was damaged.
 */
static void check_raw(struct census_worker *worker, uint64_t block,
		      const uint8_t *bytes, uint32_t size)
{
	const struct pyh_object_rules *rules = &worker->census->rules;
	uint32_t at = rules->prefix, end = size - (rules->overhead - at);

	// In 3.11 and later two more words may come before the GC head.
	for (int i = 0; i < 2 && at + 2 * PYH_GC_HEAD <= size;
	     i++, at += PYH_GC_HEAD) {
		if (!is_linked(worker, block + at, bytes + at))
			continue;
		findings_add(rules->runtime->image->findings, "gc-object",
			     block + at + PYH_GC_HEAD, "a GC list leads here, "
			     "but reference count, type and size cannot be "
			     "those of an object");
		pyh_types_suspect(worker->census->types,
				  pyh_word(bytes + at, PYH_GC_HEAD + 8));
		return;
	}
	for (int i = 0; i < 2; i++) {
		uint32_t head = i * PYH_GC_HEAD;

		at = rules->prefix + head;
		if (at + 16 <= end && pyh_word(bytes + at, 0) - 1 <
					      PYH_REFCOUNT_LARGE - 1)
			check_refused(worker, block + at,
				      bytes + rules->prefix, head,
				      end - rules->prefix, end - at);
	}
}

/* --- claims ---------------------------------------------------------------- */

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
							census->rules.overhead);
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
		push_task(claiming->worker,
			  (struct task){ address, claim.size });
	}
}

static void take_one_of_chain(void *context, struct pyh_claim claim)
{
	take_claim(context, claim);
}

/** The part of claims_of() for objects that own something. */
__attribute__((noinline))
static uint64_t claims_of_owner(struct census_worker *worker,
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

/** Mark what an object owns (or only add it up); the bytes held for it. */
static inline uint64_t claims_of(struct census_worker *worker,
				 const struct pyh_candidate *object, bool take)
{
	// Most own nothing.
	return object->measure.num_claims == 0 && !object->measure.more_claims ?
		       0 : claims_of_owner(worker, object, take);
}

uint64_t census_claims(struct census_worker *worker,
		       const struct pyh_candidate *object)
{
	return claims_of(worker, object, /* take= */ false);
}

/* --- step 1: arenas --------------------------------------------------------- */

/** Marks of the pool being looked at, gathered: a bit for every 8 bytes. */
struct pool_marks {
	uint64_t words[PYH_POOL_MAX / 8 / 64];
};

static inline void mark_block(struct pool_marks *marks, size_t at)
{
	marks->words[at / 512] |= UINT64_C(1) << at / 8 % 64;
}

/** Pools are aligned, so the words of this one are nobody else's. */
static void keep_marks(struct census_worker *worker, uint64_t pool,
		       uint32_t size, const struct pool_marks *marks)
{
	_Atomic uint64_t *bits = pyh_space_bits(&worker->census->space, pool,
						PYH_MARK_OBJECT);

	for (size_t i = 0; bits && i < size / 512; i++)
		atomic_store_explicit(&bits[pyh_space_word(pool) + i],
				      marks->words[i], memory_order_relaxed);
}

/** Count the leaf in a block; false if census_block() must look at it. */
static inline bool census_leaf(struct census_worker *worker,
			       const uint8_t *bytes, uint32_t size)
{
	const struct pyh_census *census = worker->census;
	struct pyh_measure measure;
	const struct pyh_type *type;
	struct tally *tally;

	type = pyh_leaf_in_block(&census->rules, &worker->types, bytes, size,
				 &measure);
	if (!type || is_shown(census, measure.size))
		return false;
	tally = tally_of(worker, type);
	tally->count++;
	tally->size += measure.size;
	tally->footprint += size;
	// Its count is small: nothing but a count, and not that of an immortal.
	tally->refcounts += pyh_word(bytes, 0);
	tally->inexact |= !measure.exact;
	return true;
}

void census_take(struct census_worker *worker,
		 const struct pyh_candidate *object, uint64_t size)
{
	count_object(worker, object, size + claims_of(worker, object, true));
	if (!object->measure.exact && object->type->size_exact)
		check_partly(worker, object);
}

void census_scan(struct census_worker *worker, const uint8_t *bytes,
		 size_t size)
{
	scan_words(worker, bytes, size);
}

/** Look at any other block; true if there is an object in it. */
static bool census_block(struct census_worker *worker, uint64_t block,
			 const uint8_t *bytes, uint32_t size)
{
	struct pyh_census *census = worker->census;
	struct pyh_candidate object;

	if (!pyh_object_quick(&census->rules, &worker->types, &worker->memory,
			      block, bytes, size, &object) &&
	    !pyh_object_in_block(&census->rules, &worker->types,
				 &worker->memory, block, bytes, size,
				 &object)) {
		scan_words(worker, bytes, size);
		check_raw(worker, block, bytes, size);
		return false;
	}
	count_object(worker, &object, size + claims_of(worker, &object, true));
	follow_link(worker, &object);
	if (!object.measure.exact && object.type->size_exact)
		check_partly(worker, &object);
	// Behind the header: types are looked at once each, not by object.
	if (!pyh_object_is_leaf(object.type))
		scan_words(worker, object.body + OBJECT_HEADER,
			   object.available - OBJECT_HEADER);
	// The pre-header: instance dictionary and weak references.
	if (object.address - block > PYH_GC_HEAD)
		scan_words(worker, bytes, object.address - block - PYH_GC_HEAD);
	return true;
}

/** Ask for what the word at bytes leads to, if that is in view. */
static inline void prefetch(const struct census_worker *worker,
			    const uint8_t *bytes)
{
	const struct memory_reader *memory = &worker->memory;
	uint64_t at;

	memcpy(&at, bytes, sizeof(at));
	at -= memory->view_start;
	if (at < memory->view_size)
		__builtin_prefetch(memory->view + at);
}

/**
 * The second word of a block with a GC head leads to a neighbour in the list,
 * whose own links are looked at soon; that of a dict also has its keys read: a
 * cache miss for every object unless asked for in time.
 *
 * @param keys  where the keys of a dict are in a block, if it holds one
 */
static inline void prefetch_block(const struct census_worker *worker,
				  const uint8_t *block, uint32_t size,
				  uint32_t keys)
{
	prefetch(worker, block + 8);
	if (keys + 8 <= size)
		prefetch(worker, block + keys);
}

/** Look at the live blocks of a pool; returns how many there are. */
static uint32_t census_blocks(struct census_worker *worker, uint64_t address,
			      const uint8_t *bytes, uint32_t pool_size,
			      const struct pyh_pool *pool)
{
	const uint32_t size = pool->block_size, carved = pool->carved;
	uint32_t keys = PYH_GC_HEAD + pyh_offset(worker->census->runtime,
						 PYH_DICT_MA_KEYS);
	struct pool_marks marks = { 0 };
	uint32_t live = 0, objects = 0;
	size_t at = PYH_POOL_HEADER;

	for (uint32_t i = 0; i < carved; i++, at += size) {
		// Of the next pool, too: they mostly follow one another.
		__builtin_prefetch(bytes + at + FETCH_AHEAD);
		if (pool->free[i / 64] >> i % 64 & 1)
			continue;
		live++;
		if (!census_leaf(worker, bytes + at, size)) {
			// Those to come are often of the same type.
			if (i + LOOK_AHEAD < carved)
				prefetch_block(worker, bytes + at +
					       LOOK_AHEAD * size, size, keys);
			if (!census_block(worker, address + at, bytes + at,
					  size))
				continue;
		}
		objects++;
		mark_block(&marks, at);
	}
	worker->coverage.blocks_object += objects;
	keep_marks(worker, address, pool_size, &marks);
	return live;
}

/**
 * The block size of a pool whose header tells nothing: that with which objects
 * fill most of it; 0 if there are none.
 */
__attribute__((noinline))
static uint32_t guess_block_size(struct census_worker *worker, uint64_t address,
				 const uint8_t *bytes)
{
	const struct pyh_census *census = worker->census;
	uint32_t pool_size = census->arenas.pool_size;
	uint64_t most = 0;

	if (worker->guessed_pool == address)
		return worker->guessed_size;
	worker->guessed_pool = address;
	worker->guessed_size = 0;
	for (uint32_t size = PYH_BLOCK_ALIGN; size <= PYH_BLOCK_MAX;
	     size += PYH_BLOCK_ALIGN) {
		uint64_t filled = 0;

		for (uint32_t at = PYH_POOL_HEADER; at + size <= pool_size;
		     at += size) {
			struct pyh_candidate object;

			if (pyh_object_in_block(&census->rules, &worker->types,
						&worker->memory, address + at,
						bytes + at, size, &object))
				filled += object.presize +
					  object.measure.extent;
		}
		if (filled > most) {
			most = filled;
			worker->guessed_size = size;
		}
	}
	return worker->guessed_size;
}

void census_recover_pool(struct census_worker *worker, uint64_t address,
			 const uint8_t *bytes, struct pyh_pool *ret)
{
	uint32_t pool_size = worker->census->arenas.pool_size;

	pyh_pool_recover(address, bytes, pool_size, ret);
	if (ret->block_size != 0)
		return;
	ret->block_size = guess_block_size(worker, address, bytes);
	if (ret->block_size != 0)
		ret->carved = (pool_size - PYH_POOL_HEADER) / ret->block_size;
}

/** Look at a pool, and count it. */
static void census_pool_blocks(struct census_worker *worker, uint64_t address,
			       const uint8_t *bytes,
			       const struct pyh_pool *pool)
{
	uint32_t pool_size = worker->census->arenas.pool_size;
	struct pyh_coverage *coverage = &worker->coverage;
	uint32_t live = census_blocks(worker, address, bytes, pool_size, pool);

	coverage->blocks_in_use += live;
	coverage->blocks_in_use_bytes += (uint64_t)live * pool->block_size;
	coverage->free_bytes += pool_size - PYH_POOL_HEADER -
				(uint64_t)live * pool->block_size;
	coverage->overhead_bytes += PYH_POOL_HEADER;
}

/**
 * More pools of an arena say that they are free than the arena knows of: those
 * that are not in its list were in use before their count was damaged.
 */
__attribute__((noinline))
static void census_lost_pools(struct census_worker *worker,
			      const struct pyh_arena *arena)
{
	uint32_t pool_size = worker->census->arenas.pool_size;
	uint64_t listed[PYH_ARENA_WORDS], i = 0;
	struct pyh_pool pool;

	pyh_free_pools(arena, pool_size, &worker->memory, listed);
	for (uint64_t at = arena->start; at < arena->end && i / 64 <
	     PYH_ARENA_WORDS; at += pool_size, i++) {
		const uint8_t *bytes = memory_view(&worker->arena, at,
						   pool_size);
		const char *why;

		if (listed[i / 64] >> i % 64 & 1 || !bytes ||
		    pyh_pool_parse(at, bytes, pool_size, &pool, &why) !=
			    PYH_POOL_FREE)
			continue;
		findings_add(worker->census->runtime->image->findings, "pool",
			     at, "pool of small objects: it counts no blocks, "
			     "but is not among the free pools of its arena");
		worker->coverage.pools_free--;
		worker->coverage.free_bytes -= pool_size;
		census_recover_pool(worker, at, bytes, &pool);
		census_pool_blocks(worker, at, bytes, &pool);
	}
}

static void census_pool(struct census_worker *worker, uint64_t address,
			const uint8_t *bytes)
{
	uint32_t pool_size = worker->census->arenas.pool_size;
	struct pyh_coverage *coverage = &worker->coverage;
	struct pyh_pool pool;
	const char *why = NULL;

	switch (pyh_pool_parse(address, bytes, pool_size, &pool, &why)) {
	case PYH_POOL_FREE:
		coverage->pools_free++;
		coverage->free_bytes += pool_size;
		return;
	case PYH_POOL_DAMAGED:
		findings_add(worker->census->runtime->image->findings, "pool",
			     address, "pool of small objects: %s", why);
		census_recover_pool(worker, address, bytes, &pool);
		break;
	case PYH_POOL_USED:
		break;
	}
	census_pool_blocks(worker, address, bytes, &pool);
}

static struct error *census_arena(void *context, unsigned int worker_index,
				  size_t shard)
{
	struct pyh_census *census = context;
	struct census_worker *worker = &census->workers[worker_index];
	const struct pyh_arena *arena = &census->arenas.arenas[shard];
	uint32_t pool_size = census->arenas.pool_size;
	uint64_t free = worker->coverage.pools_free;

	worker->coverage.arenas++;
	worker->coverage.arena_bytes += arena->limit - arena->start;
	worker->coverage.pools += (arena->limit - arena->start) / pool_size;
	worker->coverage.pools_free += (arena->limit - arena->end) / pool_size;
	worker->coverage.free_bytes += arena->limit - arena->end;
	for (uint64_t at = arena->start; at < arena->end; at += pool_size) {
		const uint8_t *pool = memory_view(&worker->arena, at,
						  pool_size);

		if (pool)
			census_pool(worker, at, pool);
		else
			findings_add(census->runtime->image->findings,
				     "pool-missing", at,
				     "pool of small objects is not in the dump");
	}
	if (arena->entry &&
	    worker->coverage.pools_free - free > arena->free_pools)
		census_lost_pools(worker, arena);
	if (census->options->progress)
		census->options->progress(
			census->options->progress_context, "objects",
			atomic_fetch_add(&census->arenas_done, 1) + 1,
			census->arenas.count);
	return NULL;
}

/* --- step 2: outside of arenas ---------------------------------------------- */

/** A type object in a GC list is ready, and so a type. */
static void check_type(struct census_worker *worker,
		       const struct pyh_candidate *object)
{
	uint32_t at = pyh_offset(worker->census->runtime, PYH_TYPE_TP_FLAGS);

	if (pyh_type_find(&worker->types, object->address) ||
	    (object->link != PYH_LINK_HOLDS &&
	     (!object->on_module || object->available < at + 8 ||
	      !(pyh_word(object->body, at) & PYH_TPFLAGS_READY))))
		return;
	pyh_types_report(worker->census->types, object->address, "a type is "
			 "damaged: its flags, sizes or method resolution order "
			 "cannot be true; its instances are not counted");
}

/** Count one object outside, and look where it leads. */
static void census_outside(struct census_worker *worker, uint64_t address)
{
	struct pyh_census *census = worker->census;
	struct pyh_candidate object;
	uint64_t at, end;

	if (!pyh_object_outside(&census->rules, &worker->types,
				&worker->outside, &worker->memory, address,
				&object))
		return;
	count_object(worker, &object,
		     census_held_outside(census, &object) +
			     claims_of(worker, &object, true));
	worker->coverage.objects_outside++;
	if (!census->runtime->free_threaded)
		follow_link(worker, &object);
	if (object.type->kind == PYH_KIND_TYPE)
		check_type(worker, &object);
	if (!object.measure.exact && object.type->size_exact &&
	    object.link == PYH_LINK_HOLDS)
		check_partly(worker, &object);
	if (pyh_object_is_leaf(object.type))
		return;
	at = address - object.presize;
	end = address + object.measure.extent;
	while (at < end) {
		size_t step = end - at < TASK_BYTES ? (size_t)(end - at) :
						      TASK_BYTES;
		const uint8_t *bytes = memory_view(&worker->words, at, step);

		if (bytes)
			scan_words(worker, bytes, step);
		at += step;
	}
}

static void do_task(struct census_worker *worker, const struct task *task)
{
	const uint8_t *bytes;

	if (task->size == 0) {
		census_outside(worker, task->address);
		return;
	}
	bytes = memory_view(&worker->words, task->address,
			    (size_t)task->size);
	if (bytes) {
		scan_words(worker, bytes, (size_t)task->size);
		return;
	}
	// Not all of it was captured: page by page then.
	for (uint64_t at = 0; at < task->size; at += 4096) {
		uint64_t left = task->size - at;

		left = left < 4096 ? left : 4096;
		bytes = memory_view(&worker->words, task->address + at,
				    (size_t)left);
		if (bytes)
			scan_words(worker, bytes, (size_t)left);
	}
}

/** Tasks a shard: enough to make the handing out cheap. */
enum { TASKS_PER_SHARD = 64 };

static struct error *census_tasks(void *context, unsigned int worker_index,
				  size_t shard)
{
	struct pyh_census *census = context;
	struct census_worker *worker = &census->workers[worker_index];
	size_t first = shard * TASKS_PER_SHARD, base = worker->found.count;
	size_t followed = 0;

	for (size_t i = first; i < census->tasks.count &&
			       i < first + TASKS_PER_SHARD; i++)
		do_task(worker, &census->tasks.tasks[i]);
	// A list leads from one object to the next: follow it here and now,
	// rounds are for spreading the load.
	while (worker->found.count > base && followed++ < DRAIN_MAX) {
		struct task task = worker->found.tasks[worker->found.count - 1];

		if (task.size > TASK_BYTES)
			break;
		worker->found.count--;
		do_task(worker, &task);
	}
	return NULL;
}

/** Queue memory to be scanned, in pieces. */
static void push_memory(struct census_worker *worker, uint64_t start,
			uint64_t end)
{
	for (uint64_t at = (start + 7) & ~UINT64_C(7); at < end;
	     at += TASK_BYTES) {
		uint64_t left = end - at;

		push_task(worker, (struct task){
			at, left < TASK_BYTES ? left : TASK_BYTES });
	}
}

void census_push(struct census_worker *worker, uint64_t start, uint64_t end)
{
	push_memory(worker, start, end);
}

/** Locals of Python frames on the data stack (3.11 and later). */
static void push_datastack(struct census_worker *worker, uint64_t tstate)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	uint64_t chunk, size;

	if (!pyh_field(runtime, &worker->memory, tstate,
		       PYH_TSTATE_DATASTACK_CHUNK, &chunk))
		return;
	for (int i = 0; chunk && i < DATASTACK_CHUNKS_MAX; i++) {
		if (!memory_try_u64(&worker->memory, chunk + 8, &size) ||
		    size > (UINT64_C(1) << 32))
			return;
		push_memory(worker, chunk, chunk + size);
		if (!memory_try_u64(&worker->memory, chunk, &chunk))
			return;
	}
}

static void push_interpreter(struct census_worker *worker,
			     const struct pyh_interpreter *interpreter)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	uint64_t size = runtime->size_of[PYH_STRUCT_INTERP];
	uint64_t tstate = interpreter->first_thread;

	if (size == 0 || size > INTERPRETER_SCAN_MAX)
		size = INTERPRETER_SCAN_MAX;
	push_memory(worker, interpreter->address, interpreter->address + size);
	for (int i = 0; i < PYH_GC_LISTS; i++) {
		uint64_t next;

		check_list(worker, interpreter->gc_heads[i]);
		if (interpreter->gc_heads[i] &&
		    memory_try_u64(&worker->memory, interpreter->gc_heads[i],
				   &next))
			consider_word(worker, (next & ~UINT64_C(3)) +
						      PYH_GC_HEAD);
	}
	for (size_t i = 0; tstate && i < interpreter->num_threads; i++) {
		push_memory(worker, tstate, tstate + runtime->size_of[
				    pyh_has(runtime, PYH_MISEGMENT_SLICES) ?
					    PYH_STRUCT_TSTATEIMPL :
					    PYH_STRUCT_TSTATE]);
		push_datastack(worker, tstate);
		if (!pyh_field(runtime, &worker->memory, tstate,
			       PYH_TSTATE_NEXT, &tstate))
			break;
	}
}

/**
 * The used part of a native stack: from the stack pointer to the end of the
 * mapping, which a dump may have cut into ranges.
 */
static void push_stack(struct census_worker *worker, uint64_t sp)
{
	const struct memory *memory = worker->census->runtime->image->memory;
	uint64_t limit = sp + STACK_SCAN_MAX;

	while (sp != 0 && sp < limit) {
		const struct memory_range *range = memory_find(memory, sp);

		if (!range || !(range->protection & PF_W))
			break;
		if (range->state == MEMORY_CAPTURED)
			push_memory(worker, sp, range->end < limit ?
							range->end : limit);
		sp = range->end;
	}
}

/**
 * Where objects are held from outside of the heap: interpreters, threads,
 * writable data of modules, the used part of native stacks.
 */
static void push_roots(struct census_worker *worker)
{
	const struct image *image = worker->census->runtime->image;
	const struct pyh_runtime *runtime = worker->census->runtime;

	for (size_t i = 0; i < runtime->num_interpreters; i++)
		push_interpreter(worker, &runtime->interpreters[i]);
	for (size_t i = 0; i < memory_num_ranges(image->memory); i++) {
		const struct memory_range *range =
			memory_range(image->memory, i);

		if (range->state == MEMORY_CAPTURED &&
		    range->protection & PF_W &&
		    pyh_on_module(image, range->start))
			push_memory(worker, range->start, range->end);
	}
	for (size_t i = 0; i < image->notes.num_threads; i++)
		push_stack(worker, pyh_stack_pointer(image, i));
}

/** Gather what all workers found into the next round. */
static struct error *next_round(struct pyh_census *census)
{
	struct tasks *all = &census->tasks;
	size_t count = 0;

	for (uint32_t n = pyh_types_count(census->types);
	     census->types_seen < n; census->types_seen++) {
		uint64_t address = pyh_types_get(census->types,
						 census->types_seen)->address;

		consider_word(&census->workers[0], address);
	}
	for (unsigned int i = 0; i < census->num_workers; i++)
		count += census->workers[i].found.count;
	if (count > all->room) {
		struct task *grown = realloc(all->tasks,
					     count * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		all->tasks = grown;
		all->room = count;
	}
	all->count = 0;
	for (unsigned int i = 0; i < census->num_workers; i++) {
		struct tasks *found = &census->workers[i].found;

		if (found->count > 0)
			memcpy(all->tasks + all->count, found->tasks,
			       found->count * sizeof(*found->tasks));
		all->count += found->count;
		found->count = 0;
	}
	return NULL;
}

/** A claim of many mebibytes is work for more than one worker. */
static struct error *split_large_tasks(struct pyh_census *census)
{
	struct tasks *all = &census->tasks;
	struct census_worker *worker = &census->workers[0];

	for (size_t i = 0; i < all->count; i++) {
		struct task task = all->tasks[i];

		if (task.size <= TASK_BYTES)
			continue;
		all->tasks[i].size = TASK_BYTES;
		push_memory(worker, task.address + TASK_BYTES,
			    task.address + task.size);
	}
	return worker->no_memory ? error_no_memory() : NULL;
}

static struct error *follow_outside(struct pyh_census *census)
{
	push_roots(&census->workers[0]);
	for (;;) {
		struct error *err = next_round(census);

		if (!err && census->tasks.count == 0)
			return NULL;
		if (!err)
			err = split_large_tasks(census);
		if (!err)
			err = workers_run(census->num_workers,
					  (census->tasks.count +
					   TASKS_PER_SHARD - 1) /
						  TASKS_PER_SHARD,
					  census_tasks, census);
		if (err)
			return err;
	}
}

void pyh_census_hold(struct pyh_census *census, uint64_t address)
{
	// Only captured memory can hold an object; most of it is known already.
	if (address % 8 == 0 &&
	    pyh_space_page(&census->space, address) != PYH_PAGE_ABSENT &&
	    !pyh_space_marked(&census->space, address, PYH_MARK_HELD))
		(void)pyh_space_mark(&census->space, address, PYH_MARK_HELD);
}

/** What the runtime itself has pointers to is held, without an object. */
static void hold_words(struct census_worker *worker, uint64_t start,
		       uint64_t end)
{
	for (uint64_t at = start; at < end; at += 4096) {
		size_t size = end - at < 4096 ? (size_t)(end - at) : 4096;
		const uint8_t *bytes = memory_view(&worker->words, at, size);

		for (size_t i = 0; bytes && i + 8 <= size; i += 8) {
			uint64_t word;

			memcpy(&word, bytes + i, sizeof(word));
			if (word != 0)
				pyh_census_hold(worker->census, word);
		}
	}
}

static void hold_roots(struct census_worker *worker)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	const struct memory *memory = runtime->image->memory;

	for (size_t i = 0; i < runtime->num_interpreters; i++)
		hold_words(worker, runtime->interpreters[i].address,
			   runtime->interpreters[i].address +
				   runtime->size_of[PYH_STRUCT_INTERP]);
	for (size_t i = 0; i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);

		if (range->state == MEMORY_CAPTURED &&
		    range->protection & PF_W && runtime->module &&
		    modules_find(runtime->image->modules, range->start) ==
			    runtime->module)
			hold_words(worker, range->start, range->end);
	}
}

/* --- step 3: taking back ------------------------------------------------------ */

/**
 * The block at an address in an arena of pymalloc's.
 *
 * @param ret_bytes  borrowed from the worker's view of arenas
 */
static bool block_at(struct census_worker *worker,
		     const struct pyh_arena *arena, uint64_t address,
		     const uint8_t **ret_bytes, uint32_t *ret_size)
{
	uint32_t pool_size = worker->census->arenas.pool_size;
	uint64_t at = address - (address - arena->start) % pool_size;
	const uint8_t *bytes = memory_view(&worker->arena, at, pool_size);
	uint32_t block_size;

	if (!bytes)
		return false;
	block_size = pyh_pool_block_size(bytes, pool_size);
	if (block_size == 0)
		block_size = guess_block_size(worker, at, bytes);
	if (block_size == 0 || address - at > pool_size - block_size)
		return false;
	*ret_bytes = bytes + (address - at);
	*ret_size = block_size;
	return true;
}

bool census_object_in(struct census_worker *worker,
		      const struct pyh_arena *arena, uint64_t block,
		      struct pyh_candidate *ret, uint64_t *ret_size)
{
	const struct pyh_census *census = worker->census;
	const uint8_t *bytes;
	uint32_t size;

	if (census->mi.count > 0) {
		const struct pyh_mi_page *page =
			&census->mi.pages[arena - census->arenas.arenas];

		*ret_size = page->block_size;
		return census_mi_object(worker, page, block, ret);
	}
	if (!block_at(worker, arena, block, &bytes, &size))
		return false;
	*ret_size = size;
	return pyh_object_in_block(&census->rules, &worker->types,
				   &worker->memory, block, bytes, size, ret);
}

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
	uncount_object(worker, &object,
		       size + claims_of(worker, &object, false));
	worker->coverage.blocks_object--;
	worker->coverage.blocks_claimed++;
	pyh_space_unmark(&census->space, block, PYH_MARK_OBJECT);
}

static struct error *prune_arena(void *context, unsigned int worker_index,
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
	uncount_object(worker, &object,
		       census_held_outside(census, &object) +
			       claims_of(worker, &object, false));
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
static void prune_outside(struct pyh_census *census)
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

/* --- putting it together -------------------------------------------------------- */

static void worker_deinit(struct census_worker *worker)
{
	pyh_type_reader_deinit(&worker->types);
	memory_reader_deinit(&worker->arena);
	memory_reader_deinit(&worker->outside);
	memory_reader_deinit(&worker->words);
	memory_reader_deinit(&worker->memory);
	free(worker->tallies);
	free(worker->found.tasks);
}

static struct error *worker_init(struct census_worker *worker,
				 struct pyh_census *census)
{
	const struct memory *memory = census->runtime->image->memory;
	struct error *err;

	worker->census = census;
	worker->number = (unsigned int)(worker - census->workers);
	err = pyh_type_reader_init(&worker->types, census->types);
	if (!err)
		err = memory_reader_init(&worker->arena, memory);
	if (!err)
		err = memory_reader_init(&worker->outside, memory);
	if (!err)
		err = memory_reader_init(&worker->words, memory);
	if (!err)
		err = memory_reader_init(&worker->memory, memory);
	return err;
}

void pyh_census_destroy(struct pyh_census *census)
{
	if (!census)
		return;
	for (unsigned int i = 0; census->workers && i < census->num_workers;
	     i++)
		worker_deinit(&census->workers[i]);
	free(census->workers);
	free(census->tasks.tasks);
	free(census->totals);
	pyh_space_deinit(&census->space);
	pyh_arenas_deinit(&census->arenas);
	pyh_mi_deinit(&census->mi);
	hashmap_deinit(&census->counts_beside);
	free(census);
}

/** Say what every page is, before workers ask. */
static struct error *classify_pages(struct pyh_census *census)
{
	const struct memory *memory = census->runtime->image->memory;
	struct error *err = pyh_space_init(&census->space);

	for (size_t i = 0; !err && i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);

		// Code holds no objects; constants of the program may.
		if (range->state == MEMORY_CAPTURED &&
		    !(range->protection & PF_X))
			err = pyh_space_classify(&census->space, range->start,
						 range->end, PYH_PAGE_OTHER);
	}
	// Of a segment only pages have objects that live.
	for (size_t i = 0; !err && i < census->mi.num_segments; i++)
		err = pyh_space_classify(&census->space,
					 census->mi.segments[i].start,
					 census->mi.segments[i].limit,
					 PYH_PAGE_ABSENT);
	for (size_t i = 0; !err && i < census->arenas.count; i++)
		err = pyh_space_classify(&census->space,
					 census->arenas.arenas[i].start,
					 census->arenas.arenas[i].limit,
					 PYH_PAGE_ARENA);
	if (!err)
		pyh_space_seal(&census->space);
	return err;
}

static int by_size(const void *a, const void *b)
{
	const struct pyh_type_total *x = a, *y = b;
	int order;

	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	order = strcmp(x->type->name, y->type->name);
	if (order)
		return order;
	return x->type->address < y->type->address ? -1 :
	       x->type->address > y->type->address;
}

static void add_coverage(struct pyh_coverage *sum,
			 const struct pyh_coverage *part)
{
	sum->arenas += part->arenas;
	sum->arena_bytes += part->arena_bytes;
	sum->pools += part->pools;
	sum->pools_free += part->pools_free;
	sum->blocks_in_use += part->blocks_in_use;
	sum->blocks_in_use_bytes += part->blocks_in_use_bytes;
	sum->blocks_object += part->blocks_object;
	sum->blocks_claimed += part->blocks_claimed;
	sum->free_bytes += part->free_bytes;
	sum->overhead_bytes += part->overhead_bytes;
	sum->objects_outside += part->objects_outside;
	sum->gc_tracked += part->gc_tracked;
}

static struct error *add_up(struct pyh_census *census)
{
	uint32_t count = pyh_types_count(census->types);
	struct pyh_coverage *coverage = &census->coverage;

	census->totals = calloc(count ? count : 1, sizeof(*census->totals));
	if (!census->totals)
		return error_no_memory();
	for (uint32_t id = 0; id < count; id++) {
		struct pyh_type_total total = {
			.type = pyh_types_get(census->types, id),
			.size_exact = true,
		};

		for (unsigned int i = 0; i < census->num_workers; i++) {
			const struct census_worker *worker =
				&census->workers[i];

			if (id >= worker->num_tallies)
				continue;
			total.count += worker->tallies[id].count;
			total.size += worker->tallies[id].size;
			total.footprint += worker->tallies[id].footprint;
			total.refcounts += worker->tallies[id].refcounts;
			total.immortal += worker->tallies[id].immortal;
			total.size_exact &= !worker->tallies[id].inexact;
		}
		if (total.count > 0)
			census->totals[census->num_totals++] = total;
	}
	qsort(census->totals, census->num_totals, sizeof(*census->totals),
	      by_size);
	for (unsigned int i = 0; i < census->num_workers; i++)
		add_coverage(coverage, &census->workers[i].coverage);
	if (census->runtime->free_threaded)
		census_mi_cover(census);
	if (coverage->blocks_in_use >
	    coverage->blocks_object + coverage->blocks_claimed)
		coverage->blocks_other = coverage->blocks_in_use -
					 coverage->blocks_object -
					 coverage->blocks_claimed;
	return NULL;
}

static struct error *run_steps(struct pyh_census *census)
{
	struct error *err;

	err = workers_run(census->num_workers, census->arenas.count,
			  census->mi.count ? census_mi_page : census_arena,
			  census);
	if (!err)
		err = follow_outside(census);
	if (!err)
		err = workers_run(census->num_workers, census->arenas.count,
				  prune_arena, census);
	if (err)
		return err;
	prune_outside(census);
	hold_roots(&census->workers[0]);
	for (unsigned int i = 0; i < census->num_workers; i++) {
		if (census->workers[i].no_memory)
			return error_no_memory();
	}
	return atomic_load(&census->space.no_memory) ? error_no_memory() :
						       add_up(census);
}

/** What this model cannot enumerate, said in a sentence. */
static struct error *check_supported(const struct pyh_runtime *runtime)
{
	if (runtime->trace_refs)
		return error_new(ERROR_UNSUPPORTED,
				 "this CPython 3.%u was built with "
				 "--with-trace-refs; its objects cannot be "
				 "enumerated in this version (info works)",
				 runtime->minor);
	return NULL;
}

static struct error *read_counts_beside(struct pyh_census *census)
{
	struct memory_reader memory;
	struct error *err;

	if (!census->runtime->free_threaded)
		return NULL;
	err = memory_reader_init(&memory, census->runtime->image->memory);
	if (err)
		return err;
	err = pyh_counts_beside(census->runtime, &memory,
				     &census->counts_beside);
	memory_reader_deinit(&memory);
	census->rules.beside = &census->counts_beside;
	return err;
}

struct error *pyh_census_take(const struct pyh_runtime *runtime,
			      struct pyh_types *types,
			      const struct pyh_census_options *options,
			      struct pyh_census **ret)
{
	static const _Atomic uint64_t all = 0, nothing = UINT64_MAX;
	struct pyh_census *census;
	struct error *err = check_supported(runtime);

	if (err)
		return err;
	census = calloc(1, sizeof(*census));
	if (!census)
		return error_no_memory();
	census->runtime = runtime;
	census->types = types;
	census->options = options;
	census->least = !options->visit ? &nothing :
			options->visit_least ? options->visit_least : &all;
	census->num_workers = options->workers ? options->workers :
						 workers_available();
	census->workers = calloc(census->num_workers,
				 sizeof(*census->workers));
	if (!census->workers) {
		err = error_no_memory();
		goto fail;
	}
	pyh_object_rules_init(&census->rules, runtime);
	err = read_counts_beside(census);
	if (err)
		goto fail;
	err = runtime->free_threaded ?
		      census_mi_find(census) :
		      pyh_arenas_find(runtime, &census->arenas);
	if (!err && census->arenas.count > census->mi.count)
		census->pymalloc_end = PYH_BLOCK_MAX + 1;
	if (!err)
		err = classify_pages(census);
	for (unsigned int i = 0; !err && i < census->num_workers; i++)
		err = worker_init(&census->workers[i], census);
	if (!err)
		err = run_steps(census);
	census->options = NULL;
	if (!err) {
		*ret = census;
		return NULL;
	}
fail:
	pyh_census_destroy(census);
	return err;
}

size_t pyh_census_num_types(const struct pyh_census *census)
{
	return census->num_totals;
}

const struct pyh_type_total *pyh_census_type(const struct pyh_census *census,
					     size_t i)
{
	return &census->totals[i];
}

const struct pyh_coverage *pyh_census_coverage(const struct pyh_census *census)
{
	return &census->coverage;
}
