/*
 * How much of the allocators' memory the objects found explain.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_COVERAGE_H
#define ANALYZER_COVERAGE_H

#include "analyzer/show/render.h"
#include "pyheap/census/pycensus.h"

/** The object "coverage" of JSON; nothing elsewhere. */
void coverage_json(struct render *render, const struct pyh_coverage *coverage);

/** For people: blocks in use by what they hold, objects elsewhere. */
void coverage_lines(struct render *render, const struct pyh_coverage *coverage);

/** "98.4 % of blocks in use explained", or "" where there are none. */
const char *coverage_short(const struct pyh_coverage *coverage, char text[64]);

/** For people: arenas, in use, free, overhead; nothing without arenas. */
void coverage_arenas(struct render *render,
		     const struct pyh_coverage *coverage);

#endif
