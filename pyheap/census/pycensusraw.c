/*
 * Blocks of pymalloc that hold no object, and signs that one was there; see
 * pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Most are what objects own. They are looked at once that is known of those
 * next to them.
 */
#include "pyheap/census/pycensuswords.h"

#include <stdlib.h>

#include "pyheap/sizes/pysize.h"

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

void census_keep_raws(struct census_worker *worker, uint64_t first,
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
