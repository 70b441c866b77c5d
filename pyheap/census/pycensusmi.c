/*
 * The census of free-threaded builds, whose objects are in mimalloc's pages;
 * see pycensus.h and pymimalloc.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * To the rest of the census a page is an arena of its own. Which heap a page
 * is of says what its blocks hold: objects are only in those for objects, and
 * the heap for memory that objects own, or C code, has words at most.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "pyheap/census/pycensuswords.h"

enum {
	VIEW_MAX = 1 << 20,	/* bytes of blocks looked at together */
	HEAD_MAX = 64 << 10,	/* of a block that is larger */
	LOOK_AHEAD = 4,		/* blocks asked for */
};

struct error *census_mi_find(struct pyh_census *census)
{
	struct error *err = pyh_mi_find(census->runtime, &census->mi);
	struct pyh_arenas *arenas = &census->arenas;
	size_t count = census->mi.count;

	if (err)
		return err;
	if (count == 0)
		findings_add(census->runtime->image->findings, "mimalloc",
			     census->runtime->address, "no memory of mimalloc "
			     "was found; objects are missing");
	arenas->found_by = "the segments of mimalloc";
	arenas->arenas = calloc(count ? count : 1, sizeof(*arenas->arenas));
	if (!arenas->arenas)
		return error_no_memory();
	arenas->count = count;
	for (size_t i = 0; i < count; i++) {
		const struct pyh_mi_page *page = &census->mi.pages[i];

		arenas->arenas[i] = (struct pyh_arena){
			.start = page->start, .end = page->limit,
			.limit = page->limit,
		};
	}
	return NULL;
}

/* --- blocks -------------------------------------------------------------------- */

/**
 * Bytes of the block at an address, as many as are looked at together.
 *
 * @param ret_have  how many
 * @return borrowed from the worker's view of arenas; NULL: not in the dump
 */
static const uint8_t *view_block(struct census_worker *worker,
				 const struct pyh_mi_page *page, uint64_t block,
				 size_t *ret_have)
{
	*ret_have = page->block_size < HEAD_MAX ? (size_t)page->block_size :
						  HEAD_MAX;
	return memory_view(&worker->arena, block, *ret_have);
}

bool census_mi_object(struct census_worker *worker,
		      const struct pyh_mi_page *page, uint64_t block,
		      struct pyh_candidate *ret)
{
	size_t have;
	const uint8_t *bytes = view_block(worker, page, block, &have);

	return bytes && page->heap != PYH_MI_MEM &&
	       pyh_object_in_mi_block(&worker->census->rules, &worker->types,
				      &worker->memory, block, bytes, have,
				      page->block_size, ret);
}

/** Which blocks of a page are free: in worker->mi_free. */
static const char *know_free(struct census_worker *worker,
			     const struct pyh_mi_page *page, uint32_t *ret_live)
{
	size_t index = (size_t)(page - worker->census->mi.pages);

	worker->mi_page = index + 1;
	return pyh_mi_free_blocks(page, &worker->arena, worker->mi_free,
				  ret_live);
}

bool census_mi_block(struct census_worker *worker,
		     const struct pyh_mi_page *page, uint64_t address,
		     uint64_t *ret_block, bool *ret_free)
{
	size_t index = (size_t)(page - worker->census->mi.pages);
	uint64_t i = (address - page->first) / page->block_size;
	uint32_t live;

	if (address < page->first || i >= page->capacity)
		return false;
	if (worker->mi_page != index + 1)
		(void)know_free(worker, page, &live);
	*ret_block = page->first + i * page->block_size;
	*ret_free = worker->mi_free[i / 64] >> i % 64 & 1;
	return true;
}

/* --- step 1 ---------------------------------------------------------------------- */

/** Words of a block, the rest of a large one later and by any worker. */
static void scan_block(struct census_worker *worker,
		       const struct pyh_mi_page *page, uint64_t block,
		       const uint8_t *bytes, size_t have)
{
	census_scan(worker, bytes, have);
	if (page->block_size > have)
		census_push(worker, block + have, block + page->block_size);
}

/** Look at a live block; true if there is an object in it. */
static bool census_mi_live(struct census_worker *worker,
			   const struct pyh_mi_page *page, uint64_t block,
			   const uint8_t *bytes, size_t have)
{
	const struct pyh_object_rules *rules = &worker->census->rules;
	struct pyh_candidate object;
	uint64_t end;

	if (page->heap == PYH_MI_MEM ||
	    !pyh_object_in_mi_block(rules, &worker->types, &worker->memory,
				    block, bytes, have, page->block_size,
				    &object)) {
		scan_block(worker, page, block, bytes, have);
		return false;
	}
	census_take(worker, &object, page->block_size);
	if (pyh_object_is_leaf(object.type))
		return true;
	// Behind the header: types are looked at once each, not by object.
	if (object.available > rules->header)
		census_scan(worker, object.body + rules->header,
			    object.available - rules->header);
	end = object.address + object.measure.extent;
	if (end > block + page->block_size)
		end = block + page->block_size;
	if (end > object.address + object.available)
		census_push(worker, object.address + object.available, end);
	// The pre-header: instance dictionary and weak references.
	if (object.presize)
		census_scan(worker, object.body - object.presize,
			    object.presize);
	return true;
}

/** All live blocks of a page, one by one. */
static void census_mi_blocks(struct census_worker *worker,
			     const struct pyh_mi_page *page)
{
	struct pyh_census *census = worker->census;
	uint64_t bytes = page->block_size * page->capacity;
	const uint8_t *all = NULL;
	bool missing = false;

	if (bytes <= VIEW_MAX)
		all = memory_view(&worker->arena, page->first, (size_t)bytes);
	for (uint32_t i = 0; i < page->capacity; i++) {
		uint64_t block = page->first + i * page->block_size;
		const uint8_t *own = all;
		size_t have = (size_t)page->block_size;

		if (worker->mi_free[i / 64] >> i % 64 & 1)
			continue;
		if (all) {
			own += i * page->block_size;
			__builtin_prefetch(own + LOOK_AHEAD * have);
		} else {
			own = view_block(worker, page, block, &have);
		}
		if (!own) {
			missing = true;
			continue;
		}
		if (!census_mi_live(worker, page, block, own, have))
			continue;
		worker->coverage.blocks_object++;
		(void)pyh_space_set(&census->space, block, PYH_MARK_OBJECT);
	}
	if (missing)
		findings_add(census->runtime->image->findings,
			     "mimalloc-missing", page->first, "blocks of "
			     "mimalloc are not in the dump");
}

struct error *census_mi_page(void *context, unsigned int worker_index,
			     size_t shard)
{
	struct pyh_census *census = context;
	struct census_worker *worker = &census->workers[worker_index];
	const struct pyh_mi_page *page = &census->mi.pages[shard];
	struct pyh_coverage *coverage = &worker->coverage;
	uint64_t bytes = page->block_size * page->capacity;
	const char *why;
	uint32_t live;

	// One view for the lists and for the blocks.
	if (bytes <= VIEW_MAX)
		(void)memory_view(&worker->arena, page->first, (size_t)bytes);
	why = know_free(worker, page, &live);
	if (why)
		findings_add(census->runtime->image->findings, "mimalloc-page",
			     page->descriptor, "page of blocks at 0x%" PRIx64
			     ": %s", page->start, why);
	census_mi_blocks(worker, page);
	coverage->pools++;
	coverage->pools_free += live == 0;
	coverage->blocks_in_use += live;
	coverage->blocks_in_use_bytes += live * page->block_size;
	coverage->free_bytes += page->limit - page->first -
				live * page->block_size;
	coverage->overhead_bytes += page->first - page->start;
	if (census->options->progress)
		census->options->progress(
			census->options->progress_context, "objects",
			atomic_fetch_add(&census->arenas_done, 1) + 1,
			census->arenas.count);
	return NULL;
}

void census_mi_cover(struct pyh_census *census)
{
	struct pyh_coverage *coverage = &census->coverage;
	uint64_t in_pages = 0, header = UINT64_C(1) << PYH_MI_SLICE_LOG2;

	for (size_t i = 0; i < census->mi.count; i++)
		in_pages += census->mi.pages[i].limit -
			    census->mi.pages[i].start;
	coverage->mimalloc = 1;
	coverage->arenas = census->mi.num_segments;
	for (size_t i = 0; i < census->mi.num_segments; i++)
		coverage->arena_bytes += census->mi.segments[i].limit -
					 census->mi.segments[i].start;
	coverage->overhead_bytes += coverage->arenas * header;
	if (coverage->arena_bytes > in_pages + coverage->arenas * header)
		coverage->free_bytes += coverage->arena_bytes - in_pages -
					coverage->arenas * header;
}
