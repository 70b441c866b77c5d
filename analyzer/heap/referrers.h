/*
 * Who refers to one object.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Roots first, then objects. All objects are asked, from around the one at hand
 * outwards, until there are as many references as it counts; no graph is made, but
 * one that is there is used.
 */
#ifndef ANALYZER_REFERRERS_H
#define ANALYZER_REFERRERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/heap/heapgraph.h"
#include "image/base/error.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/references/pyedge.h"
#include "pyheap/references/pyroots.h"

/** A root or an object, and its first reference. */
struct referrer {
	bool is_root;
	struct pyh_root root;
	struct pyh_edge edge;
};

struct referrers {
	struct referrer *rows;		/* roots, then objects by address */
	size_t count;
	uint64_t total;			/* of them, also those not in rows */
};

struct referrers_options {
	const struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	struct pyh_census *census;	/* whose objects are asked */
	const struct heapgraph *heap;	/* whose are, if not NULL: those alone
					   that refer to the one at hand */
	uint64_t limit;		/* rows to keep, the lowest addresses; 0: all */
};

/**
 * Find those that hold an object: weak references are left out, and what may
 * hold it where all that it counts is found without.
 */
struct error *referrers_find(const struct referrers_options *options,
			     const struct pyh_object *object,
			     struct referrers *ret);
void referrers_deinit(struct referrers *referrers);

#endif
