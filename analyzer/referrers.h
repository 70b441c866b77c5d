/*
 * Who refers to one object.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Roots first, then objects. All objects are asked, from around the one at hand
 * outwards, until there are as many references as it counts; no graph is made.
 */
#ifndef ANALYZER_REFERRERS_H
#define ANALYZER_REFERRERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/pycensus.h"
#include "pyheap/pyedge.h"
#include "pyheap/pyroots.h"

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

/**
 * Find those that hold an object: weak references are left out, and what may
 * hold it where all that it counts is found without.
 *
 * @param limit  rows to keep, the lowest addresses; 0: all
 */
struct error *referrers_find(const struct pyh_runtime *runtime,
			     struct pyh_census *census,
			     struct pyh_shapes *shapes,
			     const struct pyh_object *object, uint64_t limit,
			     struct referrers *ret);
void referrers_deinit(struct referrers *referrers);

#endif
