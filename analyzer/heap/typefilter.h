/*
 * --type and --match: which types an answer is about.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_TYPEFILTER_H
#define ANALYZER_TYPEFILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/types/pytypes.h"

struct typefilter;

/**
 * @param name  exact, NULL: any
 * @param pattern  a PCRE2 regular expression that must match somewhere in the
 *	name, NULL: any
 * @return NULL, or ERROR_USAGE with what is wrong in the pattern and where
 */
struct error *typefilter_create(const char *name, const char *pattern,
				struct typefilter **ret);
void typefilter_destroy(struct typefilter *filter);
static inline void typefilter_release(struct typefilter **filter)
{
	typefilter_destroy(*filter);
}

/**
 * Does a type pass? Answers are remembered by type, so that asking for every
 * object costs a look into a table. Not for concurrent use.
 *
 * @return NULL, or ERROR_LIMIT where the pattern needs so much work on this
 *	name that it might never end
 */
struct error *typefilter_pass(struct typefilter *filter,
			      const struct pyh_type *type, bool *ret);

/** The same for a name, of which nothing is remembered. */
struct error *typefilter_pass_name(struct typefilter *filter, const char *name,
				   bool *ret);

#endif
