/*
 * Memory that piles up in threads: what each of many holds by itself.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threads that have not ended keep the variables of their functions, each a
 * buffer, a connection, a result of its own. No object holds these together, so
 * no branch of the dominator tree shows them.
 */
#ifndef ANALYZER_THREADPILES_H
#define ANALYZER_THREADPILES_H

#include <stdint.h>

#include "analyzer/analysis.h"

/** What threads have the most of: the largest object of each, of one type. */
struct threadpile {
	uint32_t threads;	/* 0: none is in question */
	uint32_t sample;	/* the largest of these objects */
	uint64_t retained;	/* by all of them */
};

/** The analysis has its tree. */
struct error *threadpile_find(const struct analysis *analysis,
			      struct threadpile *ret);

#endif
