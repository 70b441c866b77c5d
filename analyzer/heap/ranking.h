/*
 * The first objects in some order, gathered by several workers.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	ranking_create(&options, &ranking);
 *	... ranking_visit() for every object that is not smaller than
 *	ranking_least(), by any worker ...
 *	err = ranking_finish(ranking, census, &result);
 *
 * Each worker keeps the best of what it sees in a heap of its own; which
 * worker sees what makes no difference to the result.
 */
#ifndef ANALYZER_RANKING_H
#define ANALYZER_RANKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/heap/objecttop.h"
#include "image/base/error.h"
#include "pyheap/census/pycensus.h"

struct ranking;

/** < 0: a stands before b. Never 0 for two objects. */
typedef int ranking_order_fn(const struct pyh_object *a,
			     const struct pyh_object *b, const void *context);

struct ranking_options {
	unsigned int workers;
	const char *type, *match;	/* as --type and --match; may be NULL */
	uint64_t min_size;
	size_t limit;		/* objects to keep; 0: all */
	size_t budget;		/* objects that may be kept at most */
	ranking_order_fn *order;
	const void *context;	/* of order */
	bool by_size;		/* the order begins with the largest size */
	enum object_key key;	/* the same order, for kept results */
};

/** Borrows the texts. Says what is wrong in the pattern. */
struct error *ranking_create(const struct ranking_options *options,
			     struct ranking **ret);
void ranking_destroy(struct ranking *ranking);
static inline void ranking_release(struct ranking **ranking)
{
	ranking_destroy(*ranking);
}

/** A pyh_visit_fn; context is the ranking. */
void ranking_visit(void *context, const struct pyh_visit *visit);

/** Objects smaller than this need not be shown any more; it only grows. */
const _Atomic uint64_t *ranking_least(const struct ranking *ranking);

/**
 * True where an object that was taken back had a place: another one should
 * have it, so that all must be shown again, after ranking_reset().
 */
bool ranking_spoilt(const struct ranking *ranking);
void ranking_reset(struct ranking *ranking);

struct ranking_result {
	struct pyh_object *objects;	/* in order; the ranking's */
	size_t num_objects;
	uint64_t count, size;	/* of all that the filters let through */
};

/**
 * The same from kept results: by the list of the largest, without a look at any
 * other object, or else by columns.
 *
 * @param ret_done  false where there are none, or too many objects are wanted,
 *	and nothing was done
 */
struct error *ranking_from_kept(struct ranking *ranking,
				const struct analysis *analysis,
				struct ranking_result *ret, bool *ret_done);

/**
 * Merge what the workers have.
 *
 * @param census  that the objects are of
 * @return ERROR_LIMIT where it was more than allowed
 */
struct error *ranking_finish(struct ranking *ranking,
			     const struct pyh_census *census,
			     struct ranking_result *ret);

#endif
