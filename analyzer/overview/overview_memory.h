/*
 * The section of the overview that says where every byte is.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A section that could not be made says so in its place.
 */
#ifndef ANALYZER_OVERVIEW_MEMORY_H
#define ANALYZER_OVERVIEW_MEMORY_H

#include "analyzer/ledger/ledger.h"
#include "analyzer/ledger/reclaimable.h"

struct scan;

struct overview_memory {
	const struct ledger *ledger;	/* borrowed; NULL: it failed */
	const char *measure;		/* what its total is */
	struct reclaimable reclaimable;
	struct error *why_not;		/* owned */
};

/** Never fails: what went wrong is in memory. */
void overview_memory_gather(struct scan *scan, struct overview_memory *memory);
/** Then, what could be had back: with the analysis, which takes longer. */
void overview_memory_reclaim(struct scan *scan, struct overview_memory *memory);
void overview_memory_deinit(struct overview_memory *memory);

void overview_memory_tell(struct scan *scan,
			  const struct overview_memory *memory);
/** The lines of that, with the gap. */
unsigned int overview_memory_lines(const struct overview_memory *memory);

/**
 * The view that says more of what is neither objects nor what they hold nor
 * modules: of the kind that takes the most, ret_bytes.
 *
 * @param least  bytes that are worth a question
 * @return words behind a dump's name, or NULL where none takes so much
 */
const char *overview_memory_question(const struct overview_memory *memory,
				     uint64_t least, uint64_t *ret_bytes);

enum { OVERVIEW_MEMORY_SHORT = 64 };

/** "99.7 % of resident bytes explained", or "" where that is not known. */
const char *overview_memory_short(const struct overview_memory *memory,
				  char text[OVERVIEW_MEMORY_SHORT]);

/** Who holds malloc's chunks is known, and they are much of the memory. */
bool overview_memory_has_owners(const struct ledger *ledger);

#endif
