/*
 * What one object keeps in memory outside of itself, and how an array of numpy is
 * laid out in it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Structure only: where the memory is and how much, shapes and types of items;
 * nothing of what is in it.
 */
#ifndef ANALYZER_OUTSIDE_H
#define ANALYZER_OUTSIDE_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/show/render.h"
#include "image/memory.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/sizes/pysize.h"

enum {
	OUTSIDE_CLAIMS_MAX = 64,	/* that are shown one by one */
	OUTSIDE_TEXT_MAX = 1600,	/* of a shape of 64 dimensions */
};

struct outside {
	struct pyh_claim claims[OUTSIDE_CLAIMS_MAX];
	size_t num_claims;		/* there may be more than are kept */
	uint64_t bytes;			/* of all that have a known size */
	bool is_array;			/* of numpy; the rest is about those */
	bool owns_data;
	uint64_t data, array_bytes;
	uint64_t base;			/* whose data it is; 0: nobody's */
	const char *base_type;		/* NULL: not known */
	char dtype[32];			/* "float64", ">f8", "<U10" … */
	char shape[OUTSIDE_TEXT_MAX], strides[OUTSIDE_TEXT_MAX];
};

/**
 * Look at an object. What cannot be read is left out.
 *
 * @param types  used for the name of the base's type, which lives as long as it
 */
void outside_find(const struct pyh_runtime *runtime,
		  struct memory_reader *memory, struct pyh_type_reader *types,
		  const struct pyh_object *object, struct outside *ret);

/** "array" and "outside" of the open row. */
void outside_put_row(const struct outside *outside, struct render *render);

/** Lines for people. */
void outside_put_lines(const struct outside *outside, struct render *render);

#endif
