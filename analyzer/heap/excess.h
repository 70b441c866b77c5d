/*
 * Objects whose counts are others than the references found, and the words of
 * memory that may hold them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_EXCESS_H
#define ANALYZER_EXCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/opened.h"

struct excess {
	uint32_t object;
	bool looked;		/* for holders */
	uint64_t found;		/* references that own a count */
	int64_t excess;		/* the count less those; never 0 */
	uint64_t guessed;	/* words of unknown structures that lead to it */
	uint32_t holders;	/* words of native memory that do */
	struct pyh_root holder;	/* the first of those, if there are any: of
				   closures, if there are some */
};

/** Counts that neither guesses nor holders account for; 0 if over-released. */
static inline uint64_t excess_left(const struct excess *excess)
{
	uint64_t known = excess->guessed + excess->holders;

	return excess->excess > 0 && (uint64_t)excess->excess > known ?
		       (uint64_t)excess->excess - known : 0;
}

struct excesses {
	/* in order: those that were released too often, the worst first, then
	   those of which most counts are left over */
	struct excess *list;
	size_t count;
	uint64_t left;		/* objects with excess_left() */
};

/**
 * Gather all such objects. Holders are looked for in all of captured memory,
 * which is read once: those of the PYH_HOLDERS_OBJECTS with most counts too
 * many. What an earlier run has kept of them is taken instead.
 */
struct error *excesses_find(struct opened *opened,
			    const struct analysis *analysis,
			    struct excesses *ret);
/** The same of one object, whatever its count. */
struct error *excess_find(struct opened *opened,
			  const struct analysis *analysis, uint32_t object,
			  struct excess *ret);
/** Safe on a zeroed one. */
void excesses_deinit(struct excesses *excesses);

#endif
