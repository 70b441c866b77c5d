/*
 * The sections of the overview that are about the heap as a whole: suspects, the
 * largest owners, garbage, reference counts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A section that could not be made says so in its place.
 */
#ifndef ANALYZER_OVERVIEW_HEAP_H
#define ANALYZER_OVERVIEW_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/largest.h"
#include "analyzer/heap/suspects.h"
#include "analyzer/ledger/ledger.h"
#include "pyheap/references/pygc.h"

struct scan;

enum { WHOLE_ROWS_MAX = 5 };	/* of each section */

/** Garbage of one type. */
struct whole_garbage {
	const struct pyh_type *type;
	uint64_t count, bytes;
};

/** What the analysis of all objects together says. */
struct whole {
	const struct analysis *analysis;	/* NULL: it failed */
	struct suspects suspects;
	struct largest largest;
	struct pyh_gc gc;
	struct whole_garbage garbage[WHOLE_ROWS_MAX];	/* where there is much of it */
	size_t num_garbage;
	/* objects, the first of their type, and how many that has */
	uint32_t over_released[WHOLE_ROWS_MAX];
	uint32_t alike[WHOLE_ROWS_MAX];
	size_t num_over_released;
	struct error *why_not;			/* owned */
};

/** Never fails: what went wrong is in whole. */
void whole_analyse(struct scan *scan, struct whole *whole);
void whole_deinit(struct whole *whole);

/**
 * @param ledger  NULL: there is none
 * @param ret_lines  how many there are for people, with the gap
 */
struct error *whole_tell_suspects(struct scan *scan, const struct whole *whole,
				  const struct ledger *ledger,
				  unsigned int *ret_lines);

/** Who keeps what suspects do not. */
struct error *whole_tell_largest(struct scan *scan, const struct whole *whole);
/** The lines of that, with the gap. */
unsigned int whole_lines_of_largest(const struct whole *whole);

/** Garbage and counts: a line each of what is well, and rows of what is not. */
void whole_tell_state(struct scan *scan, const struct whole *whole);
unsigned int whole_lines_of_state(const struct whole *whole);

#endif
