/*
 * The census of blocks of pymalloc where there is no doubt; see pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nearly all blocks hold plain objects of a few types, or what those own. Here
 * is what the rules (pyobject.h) would say of them, in one go and in few
 * instructions: a count below PYH_REFCOUNT_LARGE, a type that is known, a GC
 * head that the one before leads back to or that is in no list, a size by the
 * first words that is that of the block. Whenever anything is not as plain as
 * that, nothing has been done yet and census_block() looks.
 *
 * Each pool is gone through twice: once to sort its blocks by type, then type by
 * type, in loops that know what all objects of the type have in common (their
 * plan). One loop that looked at each block as it came took a third more time.
 */
#include "pyheap/census/pycensuswords.h"

#include <stdlib.h>

#include "pyheap/sizes/pysize.h"

enum {
	LOOK_AHEAD = 12,			/* blocks whose pointers are followed */
	FETCH_AHEAD = 4096,		/* bytes of a pool asked for */
	CACHE_LINE = 64,
	OBJECT_HEADER = 16,		/* bytes of ob_refcnt and ob_type */
};

/* --- plans --------------------------------------------------------------- */

/** Add what was counted by a plan to the type's tally. */
static void settle_plan(struct census_worker *worker, size_t slot)
{
	const struct pyh_type *type = worker->plans[slot].type;
	struct census_sums *sums = &worker->sums[slot];
	struct tally *tally;

	if (sums->count == 0)
		return;
	tally = census_tally(worker, type);
	tally->count += sums->count;
	tally->size += sums->size;
	tally->footprint += sums->footprint;
	tally->refcounts += sums->refcounts;
	tally->inexact |= !type->size_exact;
	worker->coverage.gc_tracked += sums->tracked;
	*sums = (struct census_sums){ 0 };
}

void census_settle_plans(struct census_worker *worker)
{
	for (size_t slot = 0; slot < PYH_TYPE_CACHE; slot++)
		settle_plan(worker, slot);
}

/**
 * As pyh_measure_quick() of a leaf: its size, or UINT64_MAX if the handler of
 * its kind must look.
 *
 * @param ret_extent  bytes of its block, not rounded up
 */
static inline __attribute__((always_inline)) uint64_t
measure_leaf(const struct pyh_runtime *runtime,
				    const struct census_plan *plan,
				    enum pyh_lane lane, const uint8_t *body,
				    uint32_t available, uint64_t *ret_extent)
{
	struct pyh_measure measure = { .size = plan->basic,
				       .extent = plan->basic };
	bool done = false;

	if (lane == PYH_LANE_ASCII)
		done = pyh_quick_ascii(runtime, body, available, &measure);
	else if (lane == PYH_LANE_FIXED)
		done = true;
	else if (lane == PYH_LANE_INT && plan->basic <= available)
		done = pyh_quick_int(runtime, body, &measure);
	else if (lane == PYH_LANE_ITEMS && plan->basic <= available)
		done = pyh_quick_items(runtime, plan->type, body, &measure);
	*ret_extent = measure.extent;
	return done ? measure.size : UINT64_MAX;
}

/** As pyh_measure_quick() and pyh_measure_near() of what has a GC head. */
static inline __attribute__((always_inline)) bool
measure_container(const struct pyh_runtime *runtime,
				     const struct census_plan *plan,
				     enum pyh_lane lane, const uint8_t *body,
				     uint32_t available,
				     const struct memory_reader *memory,
				     struct pyh_measure *ret)
{
	ret->num_claims = 0;
	ret->claims[0] = (struct pyh_claim){ 0 };
	ret->size = ret->extent = plan->basic;
	if (available < plan->basic)
		return false;
	switch (lane) {
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

/* --- a pool -------------------------------------------------------------- */

/* A pool that is looked at. */
struct walk {
	const uint8_t *blocks;	/* the first, borrowed */
	uint64_t shift;		/* from where a byte is here to its address */
	uint64_t least;		/* sizes from here on are shown */
	uint32_t size;		/* bytes of a block */
	uint32_t last;		/* bytes of it before its last place */
	/* first words of a GC head or a pre-header, other than 0: from here,
	   so many */
	uint64_t heads, num_heads;
	/* how marks of blocks with objects differ from those of where plain
	   objects begin; NULL: nobody asks */
	struct pool_marks *moved;
	/* a bit for each block without an object, free or not, and for those
	   behind the last */
	uint64_t none[PYH_POOL_WORDS];
};

static inline const uint8_t *block_of(const struct walk *walk, uint32_t i)
{
	return walk->blocks + (size_t)i * walk->size;
}

static inline void set_none(struct walk *walk, uint32_t i)
{
	walk->none[i / 64] |= UINT64_C(1) << i % 64;
}

/** The mark of what is at bytes is there where it was not, or no more. */
static inline void move_mark(const struct walk *walk, const uint8_t *bytes)
{
	size_t at = PYH_POOL_HEADER + (size_t)(bytes - walk->blocks);

	walk->moved->words[at / 512] ^= UINT64_C(1) << at / 8 % 64;
}

/** A block that the rules must look at. */
static inline void leave_unsure(struct census_worker *worker, uint16_t i)
{
	worker->unsure.blocks[worker->unsure.count++] = i;
}

/* --- objects of one type ------------------------------------------------- */

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
static inline __attribute__((always_inline)) bool
quick_claim(struct census_worker *worker, uint64_t address)
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

/** Count the leaf in a block if there is no doubt. */
static inline __attribute__((always_inline)) bool
quick_leaf(const struct pyh_runtime *runtime, const struct walk *walk,
	   const struct census_plan *plan, enum pyh_lane lane,
	   const uint8_t *bytes, struct census_sums *sums)
{
	uint64_t extent;
	uint64_t size = measure_leaf(runtime, plan, lane, bytes, walk->size,
				     &extent);

	// It would not fit, or another size would have been asked for.
	if (walk->size - extent >= PYH_BLOCK_ALIGN || size >= walk->least)
		return false;
	sums->count++;
	sums->size += size;
	// Small: nothing but a count, and not that of an immortal.
	sums->refcounts += pyh_word(bytes, 0);
	return true;
}

/** Count the object with a GC head in a block if there is no doubt. */
static inline __attribute__((always_inline)) bool
quick_container(struct census_worker *worker,
				   const struct walk *walk,
				   const struct census_plan *plan,
				   enum pyh_lane lane, const uint8_t *bytes,
				   struct census_sums *sums)
{
	const struct pyh_census *census = worker->census;
	struct memory_reader *memory = &worker->memory;
	const uint8_t *filter = census->space.filter;
	const uint32_t at = plan->presize;
	const uint8_t *body = bytes + at;
	uint64_t next = pyh_word(body - PYH_GC_HEAD, 0) & ~UINT64_C(3);
	uint64_t prev = pyh_word(body - PYH_GC_HEAD, 8) & ~UINT64_C(3);
	uint64_t back, left, held = 0;
	struct pyh_measure measure;

	// The one before leads back, or it is in no list.
	if (next && (!memory_try_u64(memory, prev, &back) ||
		     (back & ~UINT64_C(3)) != walk->shift + (uintptr_t)body -
						      PYH_GC_HEAD))
		return false;
	if (!measure_container(census->runtime, plan, lane, body,
			       walk->size - at, memory, &measure))
		return false;
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
	sums->count++;
	sums->size += measure.size;
	sums->footprint += held;
	sums->refcounts += pyh_word(body, 0);
	if (next) {
		sums->tracked++;
		if (filter[pyh_space_granule(next + PYH_GC_HEAD)] |
		    filter[pyh_space_granule(prev + PYH_GC_HEAD)]) {
			census_consider_neighbour(worker, next);
			census_consider_neighbour(worker, prev);
		}
	}
	// What a list or a dict refers to is in what it owns.
	if (!plan->is_leaf && lane != PYH_LANE_LIST && lane != PYH_LANE_DICT)
		census_scan_pairs(worker, body + OBJECT_HEADER,
				  walk->size - at - OBJECT_HEADER);
	// The pre-header: instance dictionary and weak references.
	if (at > PYH_GC_HEAD)
		census_scan_pairs(worker, bytes, at - PYH_GC_HEAD);
	return true;
}

/** Ask for what quick_container() will look at elsewhere. */
static inline void fetch_links(struct census_worker *worker,
			       const struct census_plan *plan,
			       const uint8_t *bytes)
{
	memory_fetch(&worker->memory, pyh_word(bytes, plan->presize - 8u));
	if (plan->fetch >= 0)
		memory_fetch(&worker->memory,
			     pyh_word(bytes, (uint32_t)plan->fetch));
}

/** Leaves of a lane that is known: each lane has a loop of its own. */
static inline __attribute__((always_inline)) void
count_leaves(struct census_worker *worker, const struct walk *walk,
	     const struct census_group *group, enum pyh_lane lane,
	     struct census_sums *sums)
{
	const struct census_plan plan = *group->plan;
	const uint32_t count = group->count;

	for (uint32_t i = 0; i < count; i++) {
		// The inner loop changes nothing but sums.
		while (i < count &&
		       quick_leaf(worker->census->runtime, walk, &plan, lane,
				  block_of(walk, group->blocks[i]), sums))
			i++;
		if (i < count)
			leave_unsure(worker, group->blocks[i]);
	}
}

/** The same of what has a GC head. */
static inline __attribute__((always_inline)) void
count_containers(struct census_worker *worker, const struct walk *walk,
		 const struct census_group *group, enum pyh_lane lane,
		 struct census_sums *sums)
{
	const struct census_plan plan = *group->plan;
	const uint16_t *ahead = group->blocks + LOOK_AHEAD;

	for (uint32_t i = 0; i < group->count; i++) {
		const uint8_t *bytes = block_of(walk, group->blocks[i]);

		if (i + LOOK_AHEAD < group->count)
			fetch_links(worker, &plan, block_of(walk, ahead[i]));
		if (!quick_container(worker, walk, &plan, lane, bytes, sums)) {
			leave_unsure(worker, group->blocks[i]);
			continue;
		}
		if (walk->moved) {
			move_mark(walk, bytes);
			move_mark(walk, bytes + plan.presize);
		}
	}
}

/** None of a group is plain, after all. */
static void leave_group(struct census_worker *worker,
			const struct census_group *group)
{
	for (uint32_t i = 0; i < group->count; i++)
		leave_unsure(worker, group->blocks[i]);
}

static void count_leaf_group(struct census_worker *worker,
			     const struct walk *walk,
			     const struct census_group *group,
			     struct census_sums *sums)
{
	switch (group->plan->lane) {
	case PYH_LANE_FIXED:
		count_leaves(worker, walk, group, PYH_LANE_FIXED, sums);
		break;
	case PYH_LANE_ASCII:
		count_leaves(worker, walk, group, PYH_LANE_ASCII, sums);
		break;
	case PYH_LANE_INT:
		count_leaves(worker, walk, group, PYH_LANE_INT, sums);
		break;
	case PYH_LANE_ITEMS:
		count_leaves(worker, walk, group, PYH_LANE_ITEMS, sums);
		break;
	default:
		leave_group(worker, group);
	}
}

static void count_container_group(struct census_worker *worker,
				  const struct walk *walk,
				  const struct census_group *group,
				  struct census_sums *sums)
{
	switch (group->plan->lane) {
	case PYH_LANE_FIXED:
		count_containers(worker, walk, group, PYH_LANE_FIXED, sums);
		break;
	case PYH_LANE_ITEMS:
		count_containers(worker, walk, group, PYH_LANE_ITEMS, sums);
		break;
	case PYH_LANE_LIST:
		count_containers(worker, walk, group, PYH_LANE_LIST, sums);
		break;
	case PYH_LANE_DICT:
		count_containers(worker, walk, group, PYH_LANE_DICT, sums);
		break;
	case PYH_LANE_INLINE:
		count_containers(worker, walk, group, PYH_LANE_INLINE, sums);
		break;
	case PYH_LANE_MANAGED:
		count_containers(worker, walk, group, PYH_LANE_MANAGED, sums);
		break;
	default:
		leave_group(worker, group);
	}
}

/** Count the objects of a group; blocks in doubt are left to count_unsure(). */
static void count_group(struct census_worker *worker, const struct walk *walk,
			struct census_group *group)
{
	struct census_sums sums = { 0 };
	struct census_sums *all;

	if (!group->plan)
		return;
	if (group->plan->presize == 0)
		count_leaf_group(worker, walk, group, &sums);
	else
		count_container_group(worker, walk, group, &sums);
	all = &worker->sums[group->plan - worker->plans];
	all->count += sums.count;
	all->size += sums.size;
	all->footprint += sums.footprint + sums.count * walk->size;
	all->refcounts += sums.refcounts;
	all->tracked += sums.tracked;
	group->plan->group = NULL;
	group->plan = NULL;
	group->count = 0;
}

/* --- which type ---------------------------------------------------------- */

/** The part of plan_of() for a type that had no plan, or lost it to another. */
__attribute__((noinline))
static struct census_plan *make_plan(struct census_worker *worker,
				     const struct walk *walk, uint64_t address)
{
	const size_t slot = pyh_type_slot(address);
	struct census_plan *plan = &worker->plans[slot];
	const struct pyh_type *type = pyh_type_known(&worker->types, address);

	if (!type)
		return NULL;
	if (plan->group)
		count_group(worker, walk, plan->group);
	settle_plan(worker, slot);
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
	plan->at = plan->lane != PYH_LANE_NONE &&
		   (plan->is_leaf || plan->presize >= PYH_GC_HEAD) ?
			   plan->presize : PYH_BLOCK_MAX;
	return plan;
}

/** The plan for a type; NULL if none is known to be at its address. */
static inline struct census_plan *plan_of(struct census_worker *worker,
					  const struct walk *walk,
					  uint64_t address)
{
	struct census_plan *plan = &worker->plans[pyh_type_slot(address)];

	return plan->address == address ? plan :
	       address % 8 == 0 ? make_plan(worker, walk, address) : NULL;
}

/** The group of a plan that has none. */
__attribute__((noinline))
static struct census_group *open_group(struct census_worker *worker,
				       const struct walk *walk,
				       struct census_plan *plan)
{
	struct census_group *group;

	if (worker->num_groups < CENSUS_GROUPS) {
		group = &worker->groups[worker->num_groups++];
	} else {
		// In turn: a pool may hold objects of many types.
		group = &worker->groups[worker->next_group++ % CENSUS_GROUPS];
		count_group(worker, walk, group);
	}
	group->plan = plan;
	plan->group = group;
	return group;
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
 * Put a live block to others whose objects seem to be of the same type. A GC
 * head and a pre-header begin with a pointer or zero; small counts have no
 * flags and are nobody's address.
 */
static inline void sort_block(struct census_worker *worker, struct walk *walk,
			      uint32_t i, const uint8_t *bytes)
{
	uint64_t word = pyh_word(bytes, 0);
	uint32_t at = 0;

	while ((word - walk->heads < walk->num_heads || !word) &&
	       (at += PYH_GC_HEAD) <= walk->last)
		word = pyh_word(bytes + at, 0);
	if (word - 1 < PYH_REFCOUNT_LARGE - 1) {
		struct census_plan *plan =
			plan_of(worker, walk, pyh_word(bytes + at, 8));
		if (plan && plan->at == at) {
			struct census_group *group =
				plan->group ? plan->group :
					      open_group(worker, walk, plan);

			group->blocks[group->count++] = (uint16_t)i;
			return;
		}
	}
	while (at <= walk->last && !may_begin(worker, bytes + at))
		at += PYH_GC_HEAD;
	if (at <= walk->last) {
		leave_unsure(worker, (uint16_t)i);
		return;
	}
	// Nothing in it is of a type.
	census_scan_pairs(worker, bytes, walk->size);
	set_none(walk, i);
}

/** Look by all the rules at the blocks that were in doubt. */
static void count_unsure(struct census_worker *worker, struct walk *walk)
{
	for (uint32_t i = 0; i < worker->unsure.count; i++) {
		uint32_t index = worker->unsure.blocks[i];
		const uint8_t *bytes = block_of(walk, index);

		if (!census_block(worker, walk->shift + (uintptr_t)bytes, bytes,
				  walk->size))
			set_none(walk, index);
		else if (walk->moved)
			// It has been shown.
			move_mark(walk, bytes);
	}
	worker->unsure.count = 0;
}

/** As quick_blocks(), where blocks have the prefix of a debug hook. */
__attribute__((noinline))
static void hooked_blocks(struct census_worker *worker, struct walk *walk,
			  uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *bytes = block_of(walk, i);

		if (!(walk->none[i / 64] >> i % 64 & 1) &&
		    !census_block(worker, walk->shift + (uintptr_t)bytes, bytes,
				  walk->size))
			set_none(walk, i);
	}
}

/** Look at the first blocks of a pool that are not free. */
static void quick_blocks(struct census_worker *worker, struct walk *walk,
			 uint32_t count)
{
	for (uint32_t first = 0; first < count; first += 64) {
		uint64_t left = ~walk->none[first / 64];

		for (; left; left &= left - 1) {
			uint32_t i = first + (uint32_t)__builtin_ctzll(left);
			const uint8_t *bytes = block_of(walk, i);

			// Of the next pool, too: they mostly follow one another.
			__builtin_prefetch(bytes + FETCH_AHEAD);
			if (walk->size > CACHE_LINE)
				__builtin_prefetch(bytes + FETCH_AHEAD +
						   CACHE_LINE);
			sort_block(worker, walk, i, bytes);
		}
	}
	for (size_t i = 0; i < worker->num_groups; i++)
		count_group(worker, walk, &worker->groups[i]);
	worker->num_groups = 0;
	count_unsure(worker, walk);
	settle_claims(worker);
}

/* --- marks --------------------------------------------------------------- */

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

/** The blocks of a word of bits that hold nothing, or are behind the last. */
static inline uint64_t dead_blocks(const struct pyh_pool *pool, uint32_t first)
{
	if (first >= pool->carved)
		return UINT64_MAX;
	return pool->free[first / 64] |
	       (pool->carved - first < 64 ?
			UINT64_MAX << (pool->carved - first) : 0);
}

/**
 * Keep what was found in a pool: marks of blocks with objects, and which blocks
 * have none.
 *
 * @param all  blocks there is room for
 * @param ret_marks  where objects are marked now
 */
static void keep_found(struct census_worker *worker, const struct walk *walk,
		       const struct pyh_pool *pool, uint32_t all,
		       struct pool_marks *ret_marks)
{
	const struct pyh_census *census = worker->census;

	*ret_marks = census->starts[walk->size / PYH_BLOCK_ALIGN - 1];
	for (uint32_t first = 0; first < all; first += 64) {
		uint64_t none = walk->none[first / 64];
		uint64_t raw = none & ~dead_blocks(pool, first);

		worker->coverage.blocks_object +=
			(unsigned int)__builtin_popcountll(~none);
		if (raw && !census->rules.overhead)
			census_keep_raws(worker, walk->shift + (uintptr_t)
					 block_of(walk, first), walk->size,
					 raw);
		if (all - first < 64)
			none &= ~(UINT64_MAX << (all - first));
		unmark_blocks(ret_marks, walk->size, first, none);
	}
}

uint32_t census_blocks(struct census_worker *worker, uint64_t address,
		       const uint8_t *bytes, uint32_t pool_size,
		       const struct pyh_pool *pool)
{
	const struct pyh_census *census = worker->census;
	const struct pyh_object_rules *rules = &census->rules;
	// One that is damaged beyond recovery has none.
	const uint32_t size = pool->carved ? pool->block_size : PYH_BLOCK_ALIGN;
	const uint32_t all = (pool_size - PYH_POOL_HEADER) / size;
	const struct pyh_visitor *visitor = census->options->visitor;
	const bool begins = visitor && visitor->begins && !rules->overhead;
	struct pool_marks marks, moved = { 0 };
	// A visitor may raise the bar meanwhile, and is shown some too many.
	struct walk walk = {
		.blocks = bytes + PYH_POOL_HEADER, .shift = address - (uintptr_t)bytes,
		.size = size,
		.last = size - 16 < rules->presize_max ? size - 16 :
							 rules->presize_max,
		.least = begins ? UINT64_MAX :
			 atomic_load_explicit(census->least,
					      memory_order_relaxed),
		.heads = rules->refcount_max + 1,
		.num_heads = (UINT64_C(1) << PYH_ADDRESS_LOG2) -
			     (rules->refcount_max + 1),
		.moved = begins ? &moved : NULL,
	};
	uint32_t live = 0;

	for (uint32_t first = 0; first < all; first += 64) {
		uint64_t dead = dead_blocks(pool, first);

		walk.none[first / 64] = dead;
		live += (uint32_t)__builtin_popcountll(~dead);
	}
	if (rules->overhead)
		hooked_blocks(worker, &walk, pool->carved);
	else
		quick_blocks(worker, &walk, pool->carved);
	keep_found(worker, &walk, pool, all, &marks);
	keep_marks(worker, address, pool_size, &marks);
	if (begins)
		show_begins(visitor, address, pool_size, &marks, &moved);
	return live;
}
