/*
 * Cycles as rows: strongly connected components with what is in them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_CYCLES_H
#define ANALYZER_CYCLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/finalizers.h"

/** One component, or several with the same number of each type. */
struct cycle {
	uint32_t component;	/* the first of them */
	uint32_t count;		/* of components */
	uint64_t objects, size;	/* of all of them; bytes by sys.getsizeof */
	uint64_t finalizers;	/* objects whose finalizers are still to run */
	bool garbage;		/* nothing holds them any more */
	bool lost;		/* nothing known leads to them, but the
				   collector would not find them */
};

/** What a component is. */
struct cycle cycles_get(const struct analysis *analysis,
			struct finalizers *finalizers, uint32_t component);

/**
 * A number that is the same for components that have the same number of
 * objects of each type and are garbage or lost alike, and but for chance for no others.
 * Never 0.
 */
uint64_t cycles_shape(const struct analysis *analysis,
		      const struct cycle *cycle);

enum { CYCLES_TYPES_MAX = 512 };

/**
 * What types there are in a component, the most frequent first: "Node 2, dict
 * 2", and how many types are not named. Cut where text ends.
 */
struct error *cycles_types(const struct analysis *analysis, uint32_t component,
			   char text[CYCLES_TYPES_MAX]);

struct render;

/** Lines about what is lost, where that is anything. */
void cycles_lost_line(struct render *render, const struct collector *collector);

#endif
