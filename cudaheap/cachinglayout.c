/*
 * Where the fields of PyTorch's caching allocator lie; see cachinglayout.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/cachinglayout.h"

#include <string.h>

enum {
	SETS_MAX = 3,
	POOL_TAIL = 16,		/* behind a pool's sets: is it small, and whose */
	POOL_MORE = 64,		/* what may come behind that */
	ACTIVE_MORE = 256,	/* where the set of active blocks is, behind the
				   pools */
	SAMPLES = 256,		/* blocks */
	PRIVATE_MAX = 512,	/* bytes of a private pool that are looked at */
	PRIVATE_ENTRY = 32,	/* of their map: distance, {id, id, pointer} */
	PRIVATE_POINTER = 16,	/* behind the id */
	/* of a Block: its pool is known, so it is what the others are found by */
	POOL_MIN = 56, POOL_MAX = 128,
	/* … and from there on, in all releases */
	DATA = 8, ALLOCATED = 16, MAPPED = 17, PREV = 24, NEXT = 32, EVENTS = 40,
	BEHIND = 48,		/* what comes next differs */
	CHUNK_MIN = 128,	/* bytes of a chunk of malloc that has a Block */
	BLOCK_MAX = POOL_MAX + 96,
	/* of the statistics: the first four of numbers, two of bytes, and in newer
	   releases a map */
	STAT_ARRAY = 96, STAT = 32, OWN_TOTALS = 576,
	STATS_WITH_REQUESTED = 9 * STAT_ARRAY + 2 * STAT + 3 * 8,
};

#define MIB (UINT64_C(1) << 20)

/* --- pools ------------------------------------------------------------------ */

/** Is one pool here, with what the layout says? */
static bool is_pool(struct memory_reader *memory, uint64_t address,
		    const struct caching_layout *layout, uint64_t owner,
		    bool small)
{
	struct caching_set set;
	uint64_t whose;
	uint8_t flag;

	for (uint32_t i = 0; i < layout->num_sets; i++)
		if (!caching_set_at(memory, address + i * CACHING_SET, &set))
			return false;
	return memory_try_read(memory, address + layout->is_small, &flag, 1) &&
	       flag == small &&
	       memory_try_u64(memory, address + layout->owner, &whose) &&
	       whose == owner;
}

static bool pools_at(struct memory_reader *memory, uint64_t object,
		     uint32_t large, uint64_t owner,
		     struct caching_layout *layout)
{
	layout->is_small = layout->num_sets * CACHING_SET;
	layout->owner = layout->is_small + 8;
	layout->large = large;
	if (!is_pool(memory, object + large, layout, owner, false))
		return false;
	for (uint32_t more = 0; more <= POOL_MORE; more += 8) {
		layout->pool_size = layout->is_small + POOL_TAIL + more;
		layout->small = large + layout->pool_size;
		if (is_pool(memory, object + layout->small, layout, owner,
			    true))
			return true;
	}
	return false;
}

bool caching_pools_find(struct memory_reader *memory, uint64_t object,
			uint32_t from, uint32_t to, uint64_t owner,
			struct caching_layout *ret)
{
	struct caching_set set;

	for (uint32_t at = from; at + CACHING_SET <= to; at += 8) {
		if (!caching_set_at(memory, object + at, &set))
			continue;
		// More sets first: of fewer, the next one could be the rest.
		for (uint32_t sets = SETS_MAX; sets > 0; sets--) {
			struct caching_layout layout = { .num_sets = sets };

			if (!pools_at(memory, object, at, owner, &layout))
				continue;
			*ret = layout;
			return true;
		}
	}
	return false;
}

/* --- statistics --------------------------------------------------------------- */

/**
 * All behind the numbers is at its place by what there is: a map of what private
 * pools hold, bytes as requested, and counters in front of max_split_size.
 */
static bool find_stats(struct memory_reader *memory, uint64_t device,
		       struct caching_layout *layout)
{
	uint32_t end = layout->large - CACHING_STATS, at, left;
	uint64_t stats = device + CACHING_STATS, word = 0;
	struct caching_table table;

	layout->has_own_totals =
		caching_table_at(memory, stats + OWN_TOTALS, &table);
	layout->active_bytes = OWN_TOTALS +
			       (layout->has_own_totals ? CACHING_TABLE : 0);
	layout->requested_bytes =
		layout->requested ? layout->active_bytes + 2 * STAT_ARRAY : 0;
	at = layout->active_bytes + (layout->requested ? 3U : 2U) * STAT_ARRAY;
	layout->retries = at;
	at += 2 * 8 + 2 * STAT;
	if (end < at + 8 || !memory_try_u64(memory, stats + end - 8, &word))
		return false;
	// The number of the device may come behind.
	left = (end - at) / 8;
	if (left > 1 && word != UINT64_MAX &&
	    (word == 0 || word % MIB != 0 || word >= UINT64_C(1) << 48))
		left--;
	layout->num_counters = left - 1;
	layout->max_split_size = at + (left - 1) * 8;
	return true;
}

/* --- blocks ------------------------------------------------------------------- */

struct samples {
	struct memory_reader *memory;
	uint64_t device;
	const struct caching_layout *layout;
	uint64_t items[SAMPLES];
	size_t count;
	bool of_table;		/* items are places of pointers */
};

static bool take_sample(void *context, uint64_t item)
{
	struct samples *samples = context;

	if (samples->of_table &&
	    !memory_try_u64(samples->memory, item, &item))
		return false;
	if (item != 0 && item % 8 == 0)
		samples->items[samples->count++] = item;
	return samples->count < SAMPLES;
}

static void sample_pool(struct samples *samples, uint64_t pool)
{
	struct caching_set set;
	uint64_t bad;

	for (uint32_t i = 0; i < samples->layout->num_sets; i++)
		if (samples->count < SAMPLES &&
		    caching_set_at(samples->memory, pool + i * CACHING_SET,
				   &set))
			(void)caching_set_each(samples->memory, &set,
					       take_sample, samples, &bad);
}

/** Is this a pool that is known, or one of a private one? */
static bool is_known_pool(const struct samples *samples, uint64_t pool)
{
	const struct caching_layout *layout = samples->layout;
	uint64_t owner;

	if (pool == samples->device + layout->large ||
	    pool == samples->device + layout->small)
		return true;
	return pool != 0 && pool % 8 == 0 &&
	       memory_try_u64(samples->memory, pool + layout->owner, &owner) &&
	       owner != 0 && pool > owner && pool - owner < PRIVATE_MAX &&
	       (is_pool(samples->memory, pool, layout, owner, false) ||
		is_pool(samples->memory, pool, layout, owner, true));
}

/** Blocks in which a known pool is there. */
static size_t count_pools(const struct samples *samples, uint32_t offset)
{
	size_t count = 0;
	uint64_t pool;

	for (size_t i = 0; i < samples->count; i++)
		count += memory_try_u64(samples->memory,
					samples->items[i] + offset, &pool) &&
			 is_known_pool(samples, pool);
	return count;
}

/** Neighbours between which there is no gap, with a size at this offset. */
static size_t count_neighbours(const struct samples *samples,
			       const struct caching_layout *layout,
			       uint32_t offset)
{
	struct memory_reader *memory = samples->memory;
	size_t count = 0;

	for (size_t i = 0; i < samples->count; i++) {
		uint64_t block = samples->items[i], next, size, data, then;

		count += memory_try_u64(memory, block + layout->next, &next) &&
			 next != 0 && next % 8 == 0 &&
			 memory_try_u64(memory, block + offset, &size) &&
			 memory_try_u64(memory, block + layout->data, &data) &&
			 memory_try_u64(memory, next + layout->data, &then) &&
			 size != 0 && data + size == then;
	}
	return count;
}

/**
 * 2.1 counts rounds of garbage collection in half a word, beside the events. Where
 * nothing was recorded of it a block is zeroes from there on, and only glibc's word
 * in front says that the whole of them would not be in it.
 */
static bool has_short_rounds(const struct samples *samples, uint32_t behind)
{
	for (size_t i = 0; i < samples->count; i++) {
		uint64_t words[5], table, chunk;

		if (memory_try_u64(samples->memory, samples->items[i] - 8,
				   &chunk) &&
		    (chunk & ~UINT64_C(7)) % 16 == 0 && chunk >= CHUNK_MIN &&
		    (chunk & ~UINT64_C(7)) - 8 < behind + 48)
			return true;
		if (!memory_try_read(samples->memory,
				     samples->items[i] + behind, words,
				     sizeof(words)))
			continue;
		if (words[0] >> 16 && words[0] % 8 == 0 &&
		    memory_try_u64(samples->memory, words[0], &table))
			return true;	// a context
		if (words[4] != 0 && words[3] == 0)
			return true;	// an expandable segment
	}
	return false;
}

static void settle_block(const struct samples *samples, uint32_t pool,
			 struct caching_layout *layout)
{
	uint32_t behind = pool + BEHIND;

	layout->pool = pool;
	layout->data = pool + DATA;
	layout->allocated = pool + ALLOCATED;
	layout->prev = pool + PREV;
	layout->next = pool + NEXT;
	layout->events = pool + EVENTS;
	// Before it are the sizes: as asked for too, except in 1.13.
	layout->requested = pool > POOL_MIN ? pool - 8 : 0;
	layout->size = pool > POOL_MIN ? pool - 16 : pool - 8;
	if (layout->requested &&
	    count_neighbours(samples, layout, pool - 8) >
	    count_neighbours(samples, layout, pool - 16)) {
		layout->size = pool - 8;
		layout->requested = 0;
	}
	if (layout->num_sets == 1) {
		layout->history = behind;
		layout->block_size = behind + 8;
		return;
	}
	layout->mapped = pool + MAPPED;
	if (!has_short_rounds(samples, behind))
		behind += 8;
	layout->context = behind;
	layout->segment_context = behind + 16;
	layout->expandable = behind + 32;
	layout->block_size = behind + 40;
}

static void find_blocks(struct samples *samples, struct caching_layout *layout)
{
	// Where no block is to be seen, none is read with it; but the statistics
	// in front of the pools are larger where what is asked for is kept.
	uint32_t best = layout->large - CACHING_STATS < STATS_WITH_REQUESTED ?
				POOL_MIN : POOL_MIN + 8;
	size_t most = 0;

	for (uint32_t at = POOL_MIN; at <= POOL_MAX; at += 8) {
		size_t fitting = count_pools(samples, at);

		if (fitting > most) {
			most = fitting;
			best = at;
		}
	}
	layout->looked = samples->count;
	layout->fitting = most;
	settle_block(samples, best, layout);
}

/* --- private pools ------------------------------------------------------------ */

static bool is_private(struct memory_reader *memory,
		       const struct caching_layout *layout,
		       const struct caching_table *table)
{
	uint64_t total = table->slots + table->lookups;

	for (uint64_t i = 0; i < total && i < SAMPLES; i++) {
		uint8_t entry[PRIVATE_ENTRY];
		struct caching_layout own;
		uint64_t pool;

		if (!memory_try_read(memory, table->entries +
				     i * PRIVATE_ENTRY, entry, sizeof(entry)))
			return false;
		if ((int8_t)entry[0] < 0)
			continue;
		memcpy(&pool, entry + 8 + PRIVATE_POINTER, sizeof(pool));
		return pool != 0 && pool % 8 == 0 &&
		       caching_pools_find(memory, pool, 0, PRIVATE_MAX, pool,
					  &own) &&
		       own.pool_size == layout->pool_size;
	}
	return false;
}

static void find_private(struct memory_reader *memory, uint64_t device,
			 uint32_t end, struct caching_layout *layout)
{
	struct caching_table table;

	for (uint32_t at = layout->active + CACHING_TABLE;
	     at + CACHING_TABLE <= end; at += 8) {
		if (!caching_table_at(memory, device + at, &table) ||
		    table.count == 0 || !is_private(memory, layout, &table))
			continue;
		layout->private_pools = at;
		return;
	}
}

/* --- all of it ---------------------------------------------------------------- */

bool caching_layout_find(struct memory_reader *memory, uint64_t device,
			 uint32_t end, struct caching_layout *layout)
{
	struct samples samples = { .memory = memory, .device = device,
				   .layout = layout };
	uint32_t at = layout->small + layout->pool_size;
	struct caching_table table;
	uint64_t bad;

	for (uint32_t last = at + ACTIVE_MORE; layout->active == 0 && at < last;
	     at += 8)
		if (caching_table_at(memory, device + at, &table))
			layout->active = at;
	if (layout->active == 0)
		return false;
	samples.of_table = true;
	(void)caching_table_each(memory, &table, 16, take_sample, &samples,
				 &bad);
	samples.of_table = false;
	sample_pool(&samples, device + layout->large);
	sample_pool(&samples, device + layout->small);
	find_private(memory, device, end, layout);
	find_blocks(&samples, layout);
	return find_stats(memory, device, layout);
}
