/*
 * Would so many bytes have fit? See cachingfits.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/cachingfits.h"

#include <stdlib.h>

#define MIB (UINT64_C(1) << 20)

/* The allocator's constants, by their names there. */
#define MIN_BLOCK_SIZE UINT64_C(512)
#define SMALL_SIZE MIB			/* at most: of the small pool */
#define SMALL_BUFFER (2 * MIB)		/* a segment of it */
#define MIN_LARGE_ALLOC (10 * MIB)	/* from there on a segment of its own */
#define LARGE_BUFFER (20 * MIB)		/* … and below of this size */
#define ROUND_LARGE (2 * MIB)

static uint64_t round_up(uint64_t size, uint64_t unit)
{
	return size > UINT64_MAX - unit ? UINT64_MAX - unit + 1 :
					  (size + unit - 1) / unit * unit;
}

/* --- sizes ---------------------------------------------------------------------- */

/** Which part of a power of two is rounded to; 0: none. */
static uint64_t divisions_of(const struct torch_settings *settings,
			     uint64_t size)
{
	int power = 63 - __builtin_clzll(size);
	int index = power > 20 ? power - 20 : 0;

	return settings->roundup_power2_divisions[index < 15 ? index : 15];
}

uint64_t caching_round(const struct torch_settings *settings, uint64_t size)
{
	uint64_t divisions, floor, part;

	if (size < MIN_BLOCK_SIZE)
		return MIN_BLOCK_SIZE;
	divisions = divisions_of(settings, size);
	if (divisions <= 1 || size <= MIN_BLOCK_SIZE * divisions)
		return round_up(size, MIN_BLOCK_SIZE);
	floor = UINT64_C(1) << (63 - __builtin_clzll(size));
	part = floor >> (63 - __builtin_clzll(divisions));
	if (size == floor)
		return size;
	return part == 0 ? floor << 1 : round_up(size, part);
}

uint64_t caching_segment(uint64_t rounded)
{
	return rounded <= SMALL_SIZE ? SMALL_BUFFER :
	       rounded < MIN_LARGE_ALLOC ? LARGE_BUFFER :
	       round_up(rounded, ROUND_LARGE);
}

uint64_t caching_page(bool small)
{
	return small ? SMALL_BUFFER : LARGE_BUFFER;
}

uint64_t caching_returnable(const struct torch_device *device,
			    const struct torch_block *block)
{
	const struct torch_pool *pool = &device->pools[block->pool];
	const struct torch_segment *segment;
	uint64_t page, start, end;

	// A private pool keeps all that it has for as long as it is used.
	if (block->state != CACHING_FREE || block->segment == UINT32_MAX ||
	    (pool->owner && pool->use_count > 0))
		return 0;
	segment = &device->segments[block->segment];
	if (!segment->is_expandable)
		return segment->is_whole ? block->size : 0;
	// Whole pages; where they begin, the segment's own address shows, as
	// they lie one behind the other.
	page = caching_page(pool->is_small);
	start = segment->address + round_up(block->data - segment->address, page);
	end = segment->address +
	      (block->data + block->size - segment->address) / page * page;
	return end > start ? end - start : 0;
}

/* --- blocks --------------------------------------------------------------------- */

struct question {
	const struct torch_settings *settings;
	const struct torch_device *device;
	uint64_t limit;		/* max_split_size */
	struct caching_fit *fit;
	const struct torch_block *best;
};

static bool is_default(const struct torch_device *device,
		       const struct torch_block *block)
{
	return device->pools[block->pool].owner == 0;
}

static bool is_expandable(const struct torch_device *device,
			  const struct torch_block *block)
{
	return block->segment != UINT32_MAX &&
	       device->segments[block->segment].is_expandable;
}

/** May a block of these bytes be taken, however large it is? */
static bool is_allowed(const struct question *question, uint64_t size)
{
	uint64_t rounded = question->fit->rounded;
	uint64_t more = (uint64_t)question->settings->max_non_split_rounding;

	if (rounded < question->limit)
		return size < question->limit;
	return size < rounded + more;
}

/** Of the blocks that would do, the smallest, and of those the first. */
static void look_at(struct question *question, const struct torch_block *block)
{
	struct caching_fit *fit = question->fit;
	const struct torch_device *device = question->device;
	bool enough = block->size >= fit->rounded;

	if (!is_default(device, block)) {
		if (enough && block->size > fit->other_private)
			fit->other_private = block->size;
		return;
	}
	fit->joined += block->size;
	fit->released += caching_returnable(device, block);
	if (device->pools[block->pool].is_small != fit->small)
		return;
	if (block->stream != fit->stream) {
		if (enough && block->size > fit->other_stream)
			fit->other_stream = block->size;
		return;
	}
	fit->free += block->size;
	if (block->size > fit->largest)
		fit->largest = block->size;
	// Where expandable segments were turned off, theirs are passed over.
	if (!enough || (is_expandable(device, block) &&
			!question->settings->expandable_segments &&
			question->settings->source))
		return;
	if (!question->best || block->size < question->best->size)
		question->best = block;
}

static uint64_t rest_of(const struct question *question,
			const struct torch_block *block)
{
	const struct caching_fit *fit = question->fit;
	uint64_t rest = block->size - fit->rounded;

	if (fit->small || is_expandable(question->device, block))
		return rest >= MIN_BLOCK_SIZE ? rest : 0;
	return fit->rounded < question->limit && rest > SMALL_SIZE ? rest : 0;
}

/* --- the driver ------------------------------------------------------------------ */

/** Free bytes at the end of what is mapped, in front of an unmapped block. */
static uint64_t tail_before(const struct torch_device *device,
			    const struct torch_block *unmapped)
{
	const struct torch_block *before =
		caching_block_at(device, unmapped->data - 1);

	return before && before->state == CACHING_FREE &&
	       is_expandable(device, before) ? before->size : 0;
}

/** What growing an expandable segment takes, or a new one. */
static uint64_t pages_for(const struct question *question)
{
	const struct torch_device *device = question->device;
	const struct caching_fit *fit = question->fit;
	uint64_t page = caching_page(fit->small);
	uint64_t least = round_up(fit->rounded, page);

	for (size_t i = 0; i < device->num_unmapped; i++) {
		const struct torch_block *block =
			&device->blocks[device->num_blocks + i];
		uint64_t tail, need;

		if (block->stream != fit->stream || !is_default(device, block) ||
		    device->pools[block->pool].is_small != fit->small)
			continue;
		tail = tail_before(device, block);
		need = tail < fit->rounded ?
			       round_up(fit->rounded - tail, page) : page;
		if (need <= block->size && need < least)
			least = need;
	}
	return least;
}

static void ask_driver(struct question *question, uint64_t device_free)
{
	struct caching_fit *fit = question->fit;

	fit->asked = question->settings->expandable_segments ?
			     pages_for(question) : caching_segment(fit->rounded);
	fit->missing = fit->asked > fit->released ?
			       fit->asked - fit->released : 0;
	if (device_free == UINT64_MAX) {
		// What was given back may be in pieces, but the driver maps
		// them anew; and it may have been somebody else's by then.
		fit->verdict = fit->missing ? FIT_UNKNOWN : FIT_RELEASED;
		return;
	}
	fit->verdict = fit->asked <= device_free ? FIT_DRIVER :
		       fit->missing <= device_free ? FIT_RELEASED : FIT_NO;
}

void caching_fit(const struct caching_allocator *allocator,
		 const struct torch_device *device, uint64_t stream,
		 uint64_t size, uint64_t device_free, struct caching_fit *ret)
{
	struct question question = {
		.settings = &allocator->settings, .device = device, .fit = ret,
		.limit = (uint64_t)allocator->settings.max_split_size,
	};

	*ret = (struct caching_fit){
		.stream = stream,
		.rounded = caching_round(&allocator->settings, size),
	};
	ret->small = ret->rounded <= SMALL_SIZE;
	for (size_t i = 0; i < device->num_blocks; i++)
		if (device->blocks[i].state == CACHING_FREE)
			look_at(&question, &device->blocks[i]);
	// Only the best one is asked, though another could be allowed.
	if (question.best && is_allowed(&question, question.best->size)) {
		ret->verdict = FIT_CACHED;
		ret->block = question.best;
		ret->rest = rest_of(&question, question.best);
		return;
	}
	if (question.best)
		ret->refused = question.best->size;
	ask_driver(&question, device_free);
}

/* --- expandable segments ---------------------------------------------------------- */

enum { POOLS_MAX = 1024 };	/* pools and streams that are told apart */

/** What is in use of a pool and stream, in bytes of blocks. */
struct in_use {
	uint64_t pool, stream, bytes;
	bool small;
};

static struct in_use *in_use_of(struct in_use *pools, size_t *count,
				const struct torch_pool *pool, uint64_t stream)
{
	for (size_t i = 0; i < *count; i++)
		if (pools[i].pool == pool->address && pools[i].stream == stream)
			return &pools[i];
	if (*count == POOLS_MAX)
		return NULL;
	pools[*count] = (struct in_use){ .pool = pool->address,
					 .stream = stream,
					 .small = pool->is_small };
	return &pools[(*count)++];
}

static uint64_t pages_of(uint64_t bytes, bool small)
{
	return round_up(bytes, caching_page(small));
}

/** The fewest bytes of pages more that a request takes, of whichever stream. */
static uint64_t pages_more(const struct in_use *pools, size_t count,
			   uint64_t rounded)
{
	bool small = rounded <= SMALL_SIZE;
	uint64_t least = pages_of(rounded, small);

	for (size_t i = 0; i < count; i++) {
		uint64_t more = pages_of(pools[i].bytes + rounded, small) -
				pages_of(pools[i].bytes, small);

		if (pools[i].small == small && more < least)
			least = more;
	}
	return least;
}

uint64_t caching_least_pages(const struct caching_allocator *allocator,
			     const struct torch_device *device, uint64_t size)
{
	struct in_use *pools = calloc(POOLS_MAX, sizeof(*pools));
	uint64_t pages = 0;
	size_t count = 0;

	for (size_t i = 0; pools && device->layout.requested &&
			   i < device->num_blocks; i++) {
		const struct torch_block *block = &device->blocks[i];
		struct in_use *in_use;
		uint64_t rounded;

		if (block->state == CACHING_FREE ||
		    block->pool >= device->num_pools)
			continue;
		in_use = in_use_of(pools, &count, &device->pools[block->pool],
				   block->stream);
		rounded = caching_round(&allocator->settings, block->requested);
		// More than that it would not have got there.
		if (in_use)
			in_use->bytes += rounded < block->size ? rounded :
								 block->size;
	}
	for (size_t i = 0; i < count; i++)
		pages += pages_of(pools[i].bytes, pools[i].small);
	if (count)
		pages += pages_more(pools, count,
				    caching_round(&allocator->settings, size));
	free(pools);
	return pages;
}
