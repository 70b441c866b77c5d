/*
 * Copies: equal str and bytes objects that waste memory, and whose they are.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is looked for are many copies of few values, as a sample of all str and
 * bytes shows them: values of which one in COPIES_SAMPLE has hardly one copy in
 * it are not seen. Only where the sample says that copies take enough is
 * everything looked at. No value is kept or told: a hash is, while it works.
 */
#ifndef ANALYZER_COPIES_H
#define ANALYZER_COPIES_H

#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/paths.h"
#include "image/base/error.h"
#include "pyheap/types/pytypes.h"

enum { COPIES_SAMPLE = 64 };	/* of so many objects one, in large heaps */

/** Those of one owner: the one with the most. */
struct copies {
	const struct pyh_type *type;	/* of most of the values; NULL: there are
					   too few copies */
	uint64_t values;		/* different ones */
	uint64_t count;			/* copies, beyond the first of each */
	uint64_t bytes;			/* that these take */
	/* instances of this type have them in attributes … */
	const struct pyh_type *owner;
	/* … or this container has; GRAPH_NONE: neither, they are in many
	   places */
	uint32_t container;
	uint32_t sample;		/* one of the copies */
	uint32_t samples[64];		/* of different values … */
	uint64_t weights[64];		/* … and how many copies these have */
	uint32_t num_samples;
};

/** least: bytes that are worth a word. The analysis has its dominators. */
struct error *copies_find(struct opened *opened,
			  const struct analysis *analysis, uint64_t least,
			  struct copies *ret);

/**
 * Where most of them are: "__main__.Session.headers", or the path of the
 * container; "" where they are in many places.
 *
 * @param ret_part  how many of them are there, 0 … 1
 */
struct error *copies_place(const struct copies *copies,
			   const struct analysis *analysis, struct paths *paths,
			   char text[PATH_TEXT_MAX], double *ret_part);

#endif
