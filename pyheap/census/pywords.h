/*
 * Words of the target's memory that lead to a few places.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All of memory is read once, from around given addresses outwards, at about
 * the speed at which it can be read: whether a word is of interest is told from
 * two of its bytes.
 */
#ifndef PYHEAP_PYWORDS_H
#define PYHEAP_PYWORDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/memory.h"

/** Words w with start <= (w & ~7) < end: the low bits may be a tag. */
struct pyh_word_range {
	uint64_t start, end;
};

struct pyh_word_search {
	const struct memory *memory;
	unsigned int workers;
	struct pyh_word_range *ranges;	/* put in order */
	size_t num_ranges;
	const uint64_t *near;		/* begin around these addresses */
	size_t num_near;
	/* called for each word, by any worker */
	void (*fn)(void *context, unsigned int worker, uint64_t address,
		   uint64_t word);
	void *context;
	const atomic_bool *stop;	/* end the search */
};

/** Search captured memory other than code that cannot be written to; parts that
    cannot be read are left out. */
struct error *pyh_words_search(const struct pyh_word_search *search);

#endif
