/*
 * What each object holds from the allocators; see pyholdings.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pyholdings.h"

#include <stdlib.h>

#include "image/base/guard.h"
#include "pyheap/census/pycensusworker.h"

struct telling {
	struct pyh_census *census;
	pyh_holding_fn *fn;
	void *context;
	uint32_t *last;		/* of each worker: the arena last found */
};

/** One object's claims. */
struct claims {
	const struct telling *telling;
	struct pyh_holding holding;	/* what all of them have in common */
	struct memory_reader *memory;
};

/** @param hint  the arena last found: objects come in order of addresses */
static uint32_t arena_of(const struct pyh_census *census, uint64_t address,
			 uint32_t *hint)
{
	const struct pyh_arenas *arenas = &census->arenas;
	size_t low = 0, high = arenas->count;

	if (*hint < high && arenas->arenas[*hint].start <= address &&
	    address < arenas->arenas[*hint].limit)
		return *hint;
	if (pyh_space_page(&census->space, address) != PYH_PAGE_ARENA)
		return PYH_HOLDING_OUTSIDE;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (arenas->arenas[middle].limit <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == arenas->count || arenas->arenas[low].start > address)
		return PYH_HOLDING_OUTSIDE;
	*hint = (uint32_t)low;
	return *hint;
}

/** Bytes of the block at an address in an arena; 0: not known. */
static uint64_t block_size(const struct pyh_census *census, uint32_t arena,
			   uint64_t address, struct memory_reader *memory)
{
	uint64_t start = census->arenas.arenas[arena].start;
	uint32_t pool_size = census->arenas.pool_size;
	uint8_t header[PYH_POOL_HEADER];

	if (census->mi.count > 0)
		return census->mi.pages[arena].block_size;
	start += (address - start) / pool_size * pool_size;
	return memory_try_read(memory, start, header, sizeof(header)) ?
		       pyh_pool_block_size(header, pool_size) : 0;
}

/**
 * Where its block is and how large that is.
 *
 * @param known  bytes of the block, if it is in an arena; 0: not known
 */
static void place(const struct telling *telling, struct memory_reader *memory,
		  uint64_t known, struct pyh_holding *holding)
{
	const struct pyh_census *census = telling->census;

	holding->arena = holding->in_module ? PYH_HOLDING_OUTSIDE :
			 arena_of(census, holding->start,
				  &telling->last[holding->worker]);
	if (holding->arena == PYH_HOLDING_OUTSIDE)
		return;
	if (known == 0)
		known = block_size(census, holding->arena, holding->start,
				   memory);
	if (known != 0)
		holding->size = known;
}

static void tell_claim(void *context, struct pyh_claim claim)
{
	struct claims *claims = context;
	struct pyh_census *census = claims->telling->census;
	struct pyh_holding holding = claims->holding;

	if (claim.address & 7 || claim.address < census->rules.prefix)
		return;
	holding.start = claim.address - census->rules.prefix;
	holding.size = claim.size + census->rules.overhead;
	if (!pyh_space_mark(&census->space, holding.start, PYH_MARK_TOLD))
		return;
	place(claims->telling, claims->memory, 0, &holding);
	claims->telling->fn(claims->telling->context, &holding);
}

static void tell_object(void *context, const struct pyh_visit *visit)
{
	const struct telling *telling = context;
	const struct pyh_type *type = visit->object.type;
	struct pyh_holding holding = {
		.type = type, .object = visit->object.address,
		.worker = visit->worker, .in_module = visit->in_module,
		.start = visit->object.address - visit->before,
		.size = visit->extent + visit->before +
			(visit->in_module ? 0 : telling->census->rules.overhead -
						 telling->census->rules.prefix),
	};

	// Of one that owns nothing else the footprint is its block.
	place(telling, visit->memory,
	      visit->owns ? 0 : visit->object.footprint, &holding);
	telling->fn(telling->context, &holding);
	holding.claimed = true;
	holding.in_module = false;
	if (visit->owns)
		pyh_claims_each(telling->census->runtime, type,
				visit->object.address, visit->body,
				visit->available, visit->memory, tell_claim,
				&(struct claims){ telling, holding,
						  visit->memory });
}

struct error *pyh_holdings_each(struct pyh_census *census, pyh_holding_fn *fn,
				void *context)
{
	CLEANUP(free_pointer) uint32_t *last =
		calloc(census->num_workers, sizeof(*last));
	struct error *err = last ? pyh_census_visit(
		census, tell_object,
		&(struct telling){ census, fn, context, last }) :
		error_no_memory();

	pyh_space_clear(&census->space, PYH_MARK_TOLD);
	return err;
}

/* --- how full the arenas are ------------------------------------------------ */

uint32_t pyh_arena_count(const struct pyh_census *census)
{
	return (uint32_t)census->arenas.count;
}

/** A page of mimalloc has blocks of one size and no pools. */
static void use_of_page(const struct pyh_mi_page *page,
			struct pyh_arena_use *ret)
{
	uint64_t room = page->limit - page->first;

	ret->pool_size = (uint32_t)(page->limit - page->start);
	ret->blocks = page->used;
	ret->used = page->used * page->block_size;
	ret->empty[0] = page->used == 0;
	ret->overhead = page->used == 0 ? 0 :
			page->first - page->start + room % page->block_size;
}

static void use_of_pools(struct pyh_census *census,
			 const struct pyh_arena *arena,
			 struct pyh_arena_use *ret)
{
	struct memory_reader *memory = &census->workers[0].arena;
	uint32_t size = census->arenas.pool_size;
	uint64_t pools = (arena->limit - arena->start) / size;

	ret->pool_size = size;
	for (uint64_t i = 0; i < pools && i / 64 < PYH_ARENA_WORDS; i++) {
		uint64_t at = arena->start + i * size;
		const uint8_t *bytes = at < arena->end ?
			memory_view(memory, at, size) : NULL;
		enum pyh_pool_state state = PYH_POOL_FREE;
		struct pyh_pool pool;
		const char *why;

		if (bytes)
			state = pyh_pool_parse(at, bytes, size, &pool, &why);
		if (state == PYH_POOL_FREE) {
			ret->empty[i / 64] |= UINT64_C(1) << i % 64;
			continue;
		}
		ret->overhead += PYH_POOL_HEADER;
		if (state != PYH_POOL_USED)
			continue;
		ret->overhead += (size - PYH_POOL_HEADER) % pool.block_size;
		ret->blocks += pool.in_use;
		ret->used += (uint64_t)pool.in_use * pool.block_size;
	}
}

void pyh_arena_use(struct pyh_census *census, uint32_t arena,
		   struct pyh_arena_use *ret)
{
	const struct pyh_arena *of = &census->arenas.arenas[arena];

	*ret = (struct pyh_arena_use){ .start = of->start, .limit = of->limit };
	if (census->mi.count > 0)
		use_of_page(&census->mi.pages[arena], ret);
	else
		use_of_pools(census, of, ret);
}

uint32_t pyh_area_count(const struct pyh_census *census)
{
	return census->mi.count > 0 ? (uint32_t)census->mi.num_segments :
				      pyh_arena_count(census);
}

/**
 * Pools are aligned, and what the system gave need not be: then there is room
 * for one less, before the first and behind the last. Source: CPython
 * Objects/obmalloc.c, new_arena(); struct arena_object begins with the address.
 */
static void widen(struct pyh_census *census, const struct pyh_arena *arena,
		  uint64_t *start, uint64_t *limit)
{
	uint32_t pool_size = census->arenas.pool_size;
	uint64_t base;

	if (arena->entry == 0 ||
	    !memory_try_u64(&census->workers[0].memory, arena->entry, &base) ||
	    base >= arena->start || arena->start - base >= pool_size)
		return;
	*start = base;
	*limit = base + (arena->limit - arena->start) + pool_size;
}

void pyh_area(struct pyh_census *census, uint32_t i, uint64_t *ret_start,
	      uint64_t *ret_limit)
{
	if (census->mi.count > 0) {
		*ret_start = census->mi.segments[i].start;
		*ret_limit = census->mi.segments[i].limit;
		return;
	}
	*ret_start = census->arenas.arenas[i].start;
	*ret_limit = census->arenas.arenas[i].limit;
	widen(census, &census->arenas.arenas[i], ret_start, ret_limit);
}
