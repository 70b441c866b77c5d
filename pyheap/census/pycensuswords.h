/*
 * Words that lead out of the arenas, at the speed at which heaps are read;
 * for the files of the census alone. See pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYCENSUSWORDS_H
#define PYHEAP_PYCENSUSWORDS_H

#include <string.h>

#include "pyheap/census/pycensusworker.h"
#include "pyheap/census/pyspace.h"

/** Look at a word: it may be the address of an object outside of arenas. */
void census_consider(struct census_worker *worker, uint64_t word);
void census_consider_words(struct census_worker *worker, const uint8_t *bytes,
			   uint32_t size);

/** The part of census_consider_neighbour() for those that may be outside. */
void census_look_at_neighbour(struct census_worker *worker, uint64_t head);

/** The filter's answer for the word at bytes, of which it takes two bytes. */
static inline uint8_t filtered(const uint8_t *filter, const uint8_t *bytes)
{
	uint16_t granule;

	memcpy(&granule, bytes + PYH_GRANULE_LOG2 / 8, sizeof(granule));
	return filter[granule];
}

/** Look at words, those that lead out of the arenas; size in bytes. */
static inline void census_scan(struct census_worker *worker,
			       const uint8_t *bytes, size_t size)
{
	const uint8_t *filter = worker->census->space.filter;
	const uint8_t *end = bytes + (size & ~(size_t)7);

	// Hardly any word leads out of the arenas: ask for four together.
	for (; end - bytes >= 32; bytes += 32) {
		if (filtered(filter, bytes) | filtered(filter, bytes + 8) |
		    filtered(filter, bytes + 16) | filtered(filter, bytes + 24))
			census_consider_words(worker, bytes, 32);
	}
	if (end - bytes >= 16) {
		if (filtered(filter, bytes) | filtered(filter, bytes + 8))
			census_consider_words(worker, bytes, 16);
		bytes += 16;
	}
	if (end - bytes >= 8 && filtered(filter, bytes))
		census_consider_words(worker, bytes, 8);
}

/** The same of memory whose size is a multiple of 16. */
static inline void census_scan_pairs(struct census_worker *worker,
				     const uint8_t *bytes, size_t size)
{
	const uint8_t *filter = worker->census->space.filter;

	if (size & 16) {
		if (filtered(filter, bytes) | filtered(filter, bytes + 8))
			census_consider_words(worker, bytes, 16);
		bytes += 16;
	}
	for (size /= 32; size > 0; size--, bytes += 32) {
		if (filtered(filter, bytes) | filtered(filter, bytes + 8) |
		    filtered(filter, bytes + 16) | filtered(filter, bytes + 24))
			census_consider_words(worker, bytes, 32);
	}
}

/** Look at a neighbour in a GC list: it is an object, unless damaged. */
static inline void census_consider_neighbour(struct census_worker *worker,
					     uint64_t head)
{
	if (pyh_space_may_be_other(&worker->census->space, head + PYH_GC_HEAD))
		census_look_at_neighbour(worker, head);
}

#endif
