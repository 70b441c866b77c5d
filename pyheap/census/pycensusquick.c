/*
 * The census of blocks of pymalloc where there is no doubt; see pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nearly all blocks hold plain objects of a few types, or what those own. Here
 * is what the rules (pyobject.h) would say of them, in one go and in few
 * instructions: a count below PYH_REFCOUNT_LARGE, a type that is known, a GC
 * head that the one before leads back to or that is in no list, a size by the
 * first words that is that of the block. What a type has in common is in its
 * plan, with the sums of what was counted. Whenever anything is not as plain as
 * that, nothing has been done yet and census_block() looks.
 */
#include "pyheap/census/pycensuswords.h"

#include <stdlib.h>

#include "pyheap/sizes/pysize.h"

enum {
	LOOK_AHEAD = 12,			/* blocks whose pointers are followed */
	FETCH_AHEAD = 4096,		/* bytes of a pool asked for */
	OBJECT_HEADER = 16,		/* bytes of ob_refcnt and ob_type */
};

/* --- plans --------------------------------------------------------------- */

/** Add what was counted by a plan to the type's tally. */
static void settle_plan(struct census_worker *worker, struct census_plan *plan)
{
	struct tally *tally;

	if (plan->count == 0)
		return;
	tally = census_tally(worker, plan->type);
	tally->count += plan->count;
	tally->size += plan->size;
	tally->footprint += plan->footprint;
	tally->refcounts += plan->refcounts;
	tally->inexact |= !plan->type->size_exact;
	worker->coverage.gc_tracked += plan->tracked;
	plan->count = plan->size = plan->footprint = plan->refcounts = 0;
	plan->tracked = 0;
}

void census_settle_plans(struct census_worker *worker)
{
	for (size_t i = 0; i < PYH_TYPE_CACHE; i++)
		settle_plan(worker, &worker->plans[i]);
}

/** The part of plan_of() for a type that had no plan, or lost it to another. */
__attribute__((noinline))
static struct census_plan *make_plan(struct census_worker *worker,
				     uint64_t address)
{
	struct census_plan *plan = &worker->plans[pyh_type_slot(address)];
	const struct pyh_type *type = pyh_type_known(&worker->types, address);

	if (!type)
		return NULL;
	settle_plan(worker, plan);
	*plan = (struct census_plan){
		.address = address, .type = type, .presize = type->presize,
		.is_leaf = pyh_object_is_leaf(type), .fetch = -1,
	};
	if (type->basicsize < PYH_SMALL) {
		plan->lane = (uint8_t)type->lane;
		plan->basic = (uint16_t)type->basicsize;
	}
	if (type->lane == PYH_LANE_DICT)
		plan->fetch = (int16_t)(type->presize + pyh_offset(
				worker->census->runtime, PYH_DICT_MA_KEYS));
	if (type->lane == PYH_LANE_MANAGED)
		plan->fetch = worker->census->runtime->minor == 11 ? 0 : 8;
	return plan;
}

/** The plan for a type; NULL if none is known to be at its address. */
static inline struct census_plan *plan_of(struct census_worker *worker,
					  uint64_t address)
{
	struct census_plan *plan = &worker->plans[pyh_type_slot(address)];

	return plan->address == address ? plan : make_plan(worker, address);
}

/**
 * As pyh_measure_quick() of a leaf: its size, or UINT64_MAX if the handler of
 * its kind must look.
 *
 * @param ret_extent  bytes of its block, not rounded up
 */
static inline uint64_t measure_leaf(const struct pyh_runtime *runtime,
				    const struct census_plan *plan,
				    const uint8_t *body, uint32_t available,
				    uint64_t *ret_extent)
{
	struct pyh_measure measure = { .size = plan->basic,
				       .extent = plan->basic };
	bool done = false;

	if (plan->lane == PYH_LANE_ASCII)
		done = pyh_quick_ascii(runtime, body, available, &measure);
	else if (plan->lane == PYH_LANE_FIXED)
		done = true;
	else if (plan->lane == PYH_LANE_INT && plan->basic <= available)
		done = pyh_quick_int(runtime, body, &measure);
	else if (plan->lane == PYH_LANE_ITEMS && plan->basic <= available)
		done = pyh_quick_items(runtime, plan->type, body, &measure);
	*ret_extent = measure.extent;
	return done ? measure.size : UINT64_MAX;
}

/** As pyh_measure_quick() and pyh_measure_near() of what has a GC head. */
static inline bool measure_container(const struct pyh_runtime *runtime,
				     const struct census_plan *plan,
				     const uint8_t *body, uint32_t available,
				     const struct memory_reader *memory,
				     struct pyh_measure *ret)
{
	ret->num_claims = 0;
	ret->claims[0] = (struct pyh_claim){ 0 };
	ret->size = ret->extent = plan->basic;
	if (available < plan->basic)
		return false;
	switch (plan->lane) {
	case PYH_LANE_FIXED:
		return true;
	case PYH_LANE_ITEMS:
		return pyh_quick_items(runtime, plan->type, body, ret);
	case PYH_LANE_LIST:
		return pyh_quick_list(runtime, body, ret);
	case PYH_LANE_DICT:
		return pyh_quick_dict(runtime, body, memory, ret);
	case PYH_LANE_INLINE:
		return pyh_quick_inline(runtime, plan->type, body, available,
					ret);
	case PYH_LANE_MANAGED:
		return pyh_quick_managed(runtime, plan->type, body, memory,
					 ret);
	default:
		return false;
	}
}

/* --- blocks -------------------------------------------------------------- */

/* A pool that is looked at. */
struct walk {
	uint64_t shift;		/* from where a byte is here to its address */
	const uint8_t *fetch_end;	/* blocks before have one LOOK_AHEAD */
	uint64_t least;		/* sizes from here on are shown */
	uint32_t size;		/* bytes of a block */
	uint32_t last;		/* bytes of it before its last place */
	const uint8_t *pool;
	/* how marks of blocks with objects differ from those of where plain
	   objects begin; NULL: nobody asks */
	struct pool_marks *moved;
};

/** The mark of what is at bytes is there where it was not, or no more. */
static inline void move_mark(const struct walk *walk, const uint8_t *bytes)
{
	size_t at = (size_t)(bytes - walk->pool);

	walk->moved->words[at / 512] ^= UINT64_C(1) << at / 8 % 64;
}

/** Make the marks that quick_claim() holds back. */
static inline void settle_claims(struct census_worker *worker)
{
	if (worker->claims_at)
		(void)atomic_fetch_or_explicit(worker->claims_at,
					       worker->claims_pending,
					       memory_order_relaxed);
	worker->claims_at = NULL;
	worker->claims_pending = 0;
}

/**
 * Mark a claim in an arena, soon: what objects of one pool own lies together,
 * and atomic changes are dear.
 *
 * @return false if it lies elsewhere
 */
static inline bool quick_claim(struct census_worker *worker, uint64_t address)
{
	struct pyh_space *space = &worker->census->space;
	uint64_t chunk = address >> PYH_CHUNK_LOG2;
	_Atomic uint64_t *word;

	if (pyh_space_may_be_other(space, address))
		return false;
	if (chunk != worker->claims_chunk) {
		worker->claims_chunk = chunk;
		worker->claims_bits = pyh_space_bits(space, address,
						     PYH_MARK_CLAIM);
	}
	if (!worker->claims_bits)
		return false;
	word = &worker->claims_bits[pyh_space_word(address)];
	if (word != worker->claims_at) {
		settle_claims(worker);
		worker->claims_at = word;
	}
	worker->claims_pending |= pyh_space_bit(address);
	return true;
}

/** Count the leaf in a block, that begins with a small count, if it is one. */
static inline bool quick_leaf(struct census_worker *worker,
			      const struct walk *walk, const uint8_t *bytes)
{
	struct census_plan *plan = plan_of(worker, pyh_word(bytes, 8));
	uint64_t size, extent;

	if (!plan || !plan->is_leaf)
		return false;
	size = measure_leaf(worker->census->runtime, plan, bytes, walk->size,
			    &extent);
	// It would not fit, or another size would have been asked for.
	if (walk->size - extent >= PYH_BLOCK_ALIGN || size >= walk->least)
		return false;
	plan->count++;
	plan->size += size;
	plan->footprint += walk->size;
	// Small: nothing but a count, and not that of an immortal.
	plan->refcounts += pyh_word(bytes, 0);
	return true;
}

/**
 * Count the object with a GC head that begins in a block, with a small count,
 * if there is no doubt.
 */
static inline bool quick_container(struct census_worker *worker,
				   const struct walk *walk,
				   const uint8_t *bytes, uint32_t at)
{
	const struct pyh_census *census = worker->census;
	struct memory_reader *memory = &worker->memory;
	const uint8_t *filter = census->space.filter;
	const uint8_t *body = bytes + at;
	struct census_plan *plan = plan_of(worker, pyh_word(body, 8));
	uint64_t next = pyh_word(body - PYH_GC_HEAD, 0) & ~UINT64_C(3);
	uint64_t prev = pyh_word(body - PYH_GC_HEAD, 8) & ~UINT64_C(3);
	uint64_t back, left, held = 0;
	struct pyh_measure measure;

	if (!plan || plan->presize != at)
		return false;
	// The one before leads back, or it is in no list.
	if (next && (!memory_try_u64(memory, prev, &back) ||
		     (back & ~UINT64_C(3)) != walk->shift + (uintptr_t)body -
						      PYH_GC_HEAD))
		return false;
	if (!measure_container(census->runtime, plan, body, walk->size - at,
			       memory, &measure))
		return false;
	if (bytes < walk->fetch_end) {
		const uint8_t *later = bytes + LOOK_AHEAD * walk->size;

		// Those to come are often of the same type.
		memory_fetch(memory, pyh_word(later, at - 8));
		if (plan->fetch >= 0)
			memory_fetch(memory, pyh_word(later,
						      (uint32_t)plan->fetch));
	}
	// In a list it is certain if it fits. Else another size would have been
	// asked for.
	left = walk->size - at - measure.extent;
	measure.size += at;
	if (left >= (next ? PYH_BLOCK_MAX : PYH_BLOCK_ALIGN) ||
	    measure.size >= walk->least)
		return false;
	if (measure.num_claims) {
		held = (measure.claims[0].size + PYH_BLOCK_ALIGN - 1) &
		       ~(uint64_t)(PYH_BLOCK_ALIGN - 1);
		if (measure.claims[0].size >= census->pymalloc_end ||
		    !quick_claim(worker, measure.claims[0].address))
			return false;
	}
	plan->count++;
	plan->size += measure.size;
	plan->footprint += walk->size + held;
	plan->refcounts += pyh_word(body, 0);
	if (next) {
		plan->tracked++;
		if (filter[pyh_space_granule(next + PYH_GC_HEAD)] |
		    filter[pyh_space_granule(prev + PYH_GC_HEAD)]) {
			census_consider_neighbour(worker, next);
			census_consider_neighbour(worker, prev);
		}
	}
	if (!plan->is_leaf)
		census_scan_pairs(worker, body + OBJECT_HEADER,
				  walk->size - at - OBJECT_HEADER);
	// The pre-header: instance dictionary and weak references.
	if (at > PYH_GC_HEAD)
		census_scan_pairs(worker, bytes, at - PYH_GC_HEAD);
	return true;
}

/**
 * Whether the rules would find an object of a type at a place of a block, by
 * what the cache of types knows.
 */
static inline bool may_begin(const struct census_worker *worker,
			     const uint8_t *body)
{
	const struct pyh_type_reader *types = &worker->types;
	uint64_t type = pyh_word(body, 8);
	size_t slot = pyh_type_slot(type);

	return pyh_may_be_refcount(&worker->census->rules, pyh_word(body, 0)) &&
	       type && !(type & 7) &&
	       (types->cache[slot].address != type || types->cache[slot].type);
}

/**
 * Look at a block that quick_leaf() has not counted; true if there is an object
 * in it. A GC head and a pre-header begin with a pointer or zero.
 */
__attribute__((noinline))
static bool quick_rest(struct census_worker *worker, const struct walk *walk,
		       const uint8_t *bytes)
{
	const struct pyh_object_rules *rules = &worker->census->rules;
	uint64_t word = pyh_word(bytes, 0);
	uint32_t at = 0;

	while (word - 1 >= rules->refcount_max && !(word >> 48)) {
		at += PYH_GC_HEAD;
		if (at > walk->last)
			break;
		word = pyh_word(bytes + at, 0);
	}
	if (at > 0 && word - 1 < PYH_REFCOUNT_LARGE - 1 &&
	    quick_container(worker, walk, bytes, at)) {
		if (walk->moved) {
			move_mark(walk, bytes);
			move_mark(walk, bytes + at);
		}
		return true;
	}
	while (at <= walk->last && !may_begin(worker, bytes + at))
		at += PYH_GC_HEAD;
	if (at > walk->last) {
		// Nothing in it is of a type.
		census_scan_pairs(worker, bytes, walk->size);
		return false;
	}
	if (!census_block(worker, walk->shift + (uintptr_t)bytes, bytes,
			  walk->size))
		return false;
	// It has been shown.
	if (walk->moved)
		move_mark(walk, bytes);
	return true;
}

/** As quick_blocks(), where blocks have the prefix of a debug hook. */
__attribute__((noinline))
static uint64_t hooked_blocks(struct census_worker *worker,
			      const struct walk *walk, const uint8_t *block,
			      uint64_t out)
{
	for (uint32_t i = 0; i < 64; i++, block += walk->size) {
		if (!(out >> i & 1) &&
		    !census_block(worker, walk->shift + (uintptr_t)block, block,
				  walk->size))
			out |= UINT64_C(1) << i;
	}
	return out;
}

/**
 * Look at up to 64 blocks of a pool that follow one another.
 *
 * @param out  a bit for each that is free, or behind the last one
 * @return the same, and a bit for each that holds no object
 */
static inline uint64_t quick_blocks(struct census_worker *worker,
				    const struct walk *walk,
				    const uint8_t *block, uint64_t out)
{
	uint64_t left = ~out;

	for (uint32_t i = 0; left; i++, left >>= 1, block += walk->size) {
		// Of the next pool, too: they mostly follow one another.
		__builtin_prefetch(block + FETCH_AHEAD);
		if (!(left & 1))
			continue;
		// Small counts have no flags and are nobody's address.
		if (pyh_word(block, 0) - 1 < PYH_REFCOUNT_LARGE - 1 &&
		    quick_leaf(worker, walk, block))
			continue;
		if (!quick_rest(worker, walk, block))
			out |= UINT64_C(1) << i;
	}
	return out;
}

/* --- what is no object --------------------------------------------------- */

/** What the one before a GC head in its list says of it. */
enum linked {
	LINKED_NOT,
	LINKED_BEFORE,		/* the one before leads to it */
	LINKED_FAR,		/* that one is not at hand */
};

/** Whether two words are a GC head that the one before leads to. */
static inline enum linked linked_before(const struct census_worker *worker,
					uint64_t head, const uint8_t *bytes)
{
	const struct memory_reader *memory = &worker->memory;
	uint64_t prev = pyh_word(bytes, 8) & ~UINT64_C(3);
	const uint8_t *before = memory_peek(memory, prev, 8);

	if (before)
		return (pyh_word(before, 0) & ~UINT64_C(3)) == head ?
			       LINKED_BEFORE : LINKED_NOT;
	return pyh_space_page(&worker->census->space, prev) == PYH_PAGE_ABSENT ?
		       LINKED_NOT : LINKED_FAR;
}

/**
 * Look at a block for signs that there was an object.
 *
 * @return false if that takes more than a look at what is at hand
 */
static bool check_raw(struct census_worker *worker, uint64_t block,
		      uint32_t size, bool at_hand)
{
	const uint8_t *bytes = memory_view(&worker->arena, block, size);

	for (uint32_t at = 0; bytes && at < 2 * PYH_GC_HEAD &&
			      size - at >= 2 * PYH_GC_HEAD; at += PYH_GC_HEAD) {
		switch (linked_before(worker, block + at, bytes + at)) {
		case LINKED_NOT:
			continue;
		case LINKED_FAR:
			if (at_hand)
				return false;
			break;
		case LINKED_BEFORE:
			break;
		}
		census_check_raw(worker, block, bytes, size);
		break;
	}
	return true;
}

/** Check some blocks but for what objects own; those that are still to be. */
static uint64_t check_raws(struct census_worker *worker,
			   const struct raw_blocks *raws, bool at_hand)
{
	_Atomic uint64_t *bits = pyh_space_bits(&worker->census->space,
						raws->first, PYH_MARK_CLAIM);
	uint64_t left = 0, block;

	for (uint64_t raw = raws->raw; raw && bits; raw &= raw - 1) {
		block = raws->first +
			(uint64_t)raws->size * (unsigned int)__builtin_ctzll(raw);
		if (!(atomic_load_explicit(&bits[pyh_space_word(block)],
					   memory_order_relaxed) &
		      pyh_space_bit(block)) &&
		    !check_raw(worker, block, raws->size, at_hand))
			left |= raw & -raw;
	}
	return left;
}

void census_check_raws(struct census_worker *worker)
{
	size_t kept = worker->num_raws_far;

	for (size_t i = kept; i < worker->num_raws; i++) {
		struct raw_blocks raws = worker->raws[i];

		raws.raw = check_raws(worker, &raws, /* at_hand= */ true);
		if (raws.raw)
			worker->raws[kept++] = raws;
	}
	worker->num_raws = worker->num_raws_far = kept;
}

struct error *census_check_raws_far(void *context, unsigned int worker_index,
				    size_t shard)
{
	struct pyh_census *census = context;
	struct census_worker *of = &census->workers[shard];

	for (size_t i = 0; i < of->num_raws; i++)
		(void)check_raws(&census->workers[worker_index], &of->raws[i],
				 /* at_hand= */ false);
	free(of->raws);
	of->raws = NULL;
	of->num_raws = of->room_raws = 0;
	return NULL;
}

/** Remember blocks to look at once it is known what most of them are. */
static void keep_raws(struct census_worker *worker, uint64_t first,
		      uint32_t size, uint64_t raw)
{
	if (worker->num_raws == worker->room_raws) {
		size_t room = worker->room_raws ? worker->room_raws * 2 : 1024;
		struct raw_blocks *raws = realloc(worker->raws,
						  room * sizeof(*raws));

		if (!raws) {
			worker->no_memory = true;
			return;
		}
		worker->raws = raws;
		worker->room_raws = room;
	}
	worker->raws[worker->num_raws++] = (struct raw_blocks){
		.first = first, .raw = raw, .size = size };
}

/* --- pools --------------------------------------------------------------- */

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

/** Take marks away: those of blocks of a size that a bit is set for. */
static inline void unmark_blocks(struct pool_marks *marks, uint32_t size,
				 uint32_t first, uint64_t out)
{
	for (; out; out &= out - 1) {
		uint32_t at = PYH_POOL_HEADER +
			      size * (first + (uint32_t)__builtin_ctzll(out));

		marks->words[at / 512] &= ~(UINT64_C(1) << at / 8 % 64);
	}
}

/** Tell where the plain objects of a pool begin, whose blocks are marked. */
static void show_begins(const struct pyh_visitor *visitor, uint64_t pool,
			uint32_t size, const struct pool_marks *blocks,
			struct pool_marks *moved)
{
	for (size_t i = 0; i < size / 512; i++)
		moved->words[i] ^= blocks->words[i];
	visitor->begins(visitor->context, pool, moved->words, size / 512);
}

uint32_t census_blocks(struct census_worker *worker, uint64_t address,
		       const uint8_t *bytes, uint32_t pool_size,
		       const struct pyh_pool *pool)
{
	const struct pyh_census *census = worker->census;
	const struct pyh_object_rules *rules = &census->rules;
	// One that is damaged beyond recovery has none.
	const uint32_t size = pool->carved ? pool->block_size : PYH_BLOCK_ALIGN;
	const uint32_t carved = pool->carved;
	const uint32_t all = (pool_size - PYH_POOL_HEADER) / size;
	const uint8_t *block = bytes + PYH_POOL_HEADER;
	const struct pyh_visitor *visitor = census->options->visitor;
	const bool begins = visitor && visitor->begins && !rules->overhead;
	struct pool_marks moved = { 0 };
	// A visitor may raise the bar meanwhile, and is shown some too many.
	const struct walk walk = {
		.shift = address - (uintptr_t)bytes, .size = size,
		.fetch_end = carved <= LOOK_AHEAD ? block :
			     block + (size_t)(carved - LOOK_AHEAD) * size,
		.last = size - 16 < rules->presize_max ? size - 16 :
							 rules->presize_max,
		.least = begins ? UINT64_MAX :
			 atomic_load_explicit(census->least,
					      memory_order_relaxed),
		.pool = bytes, .moved = begins ? &moved : NULL,
	};
	struct pool_marks marks = census->starts[size / PYH_BLOCK_ALIGN - 1];
	uint32_t live = 0, objects = 0;

	for (uint32_t first = 0; first < all;
	     first += 64, block += 64 * (size_t)size) {
		uint64_t none = all - first < 64 ?
				UINT64_MAX << (all - first) : 0;
		uint64_t out = UINT64_MAX, free;

		if (first < carved) {
			out = pool->free[first / 64];
			if (carved - first < 64)
				out |= UINT64_MAX << (carved - first);
			free = out;
			live += (uint32_t)__builtin_popcountll(~free);
			out = rules->overhead ?
			      hooked_blocks(worker, &walk, block, free) :
			      quick_blocks(worker, &walk, block, free);
			objects += (uint32_t)__builtin_popcountll(~out);
			if (!rules->overhead && out != free)
				keep_raws(worker, walk.shift + (uintptr_t)block,
					  size, out & ~free);
		}
		unmark_blocks(&marks, size, first, out & ~none);
	}
	settle_claims(worker);
	worker->coverage.blocks_object += objects;
	keep_marks(worker, address, pool_size, &marks);
	if (begins)
		show_begins(visitor, address, pool_size, &marks, &moved);
	return live;
}
