/*
 * Step 1 of the census: the arenas of pymalloc, in order; see pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pycensuswords.h"

#include "pyheap/sizes/pysize.h"

enum { OBJECT_HEADER = 16 };	/* bytes of ob_refcnt and ob_type */

bool census_block(struct census_worker *worker, uint64_t block,
		  const uint8_t *bytes, uint32_t size)
{
	struct pyh_census *census = worker->census;
	struct pyh_candidate object;

	if (!pyh_object_quick(&census->rules, &worker->types, &worker->memory,
			      block, bytes, size, &object) &&
	    !pyh_object_in_block(&census->rules, &worker->types,
				 &worker->memory, block, bytes, size,
				 &object)) {
		census_scan(worker, bytes, size);
		census_check_raw(worker, block, bytes, size);
		return false;
	}
	census_take(worker, &object, size);
	census_follow_link(worker, &object);
	// Behind the header: types are looked at once each, not by object.
	if (!pyh_object_is_leaf(object.type))
		census_scan(worker, object.body + OBJECT_HEADER,
			    object.available - OBJECT_HEADER);
	// The pre-header: instance dictionary and weak references.
	if (object.address - block > PYH_GC_HEAD)
		census_scan(worker, bytes,
			    object.address - block - PYH_GC_HEAD);
	return true;
}

/* --- pools --------------------------------------------------------------- */

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

struct error *census_arena(void *context, unsigned int worker_index,
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
	census_check_raws(worker);
	if (census->options->progress)
		census->options->progress(
			census->options->progress_context, "objects",
			atomic_fetch_add(&census->arenas_done, 1) + 1,
			census->arenas.count);
	return NULL;
}

/* --- one block ----------------------------------------------------------- */

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
	return pyh_object_quick(&census->rules, &worker->types,
				&worker->memory, block, bytes, size, ret) ||
	       pyh_object_in_block(&census->rules, &worker->types,
				   &worker->memory, block, bytes, size, ret);
}
