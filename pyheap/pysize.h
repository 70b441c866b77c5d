/*
 * How big an object is, and which memory outside of itself it owns.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A table of one handler per enum pyh_kind. Sizes are those of sys.getsizeof
 * in the release at hand. Nothing here trusts the object: a count that cannot
 * be true makes the measure fail, and the caller then knows that what it holds
 * is no such object.
 */
#ifndef PYHEAP_PYSIZE_H
#define PYHEAP_PYSIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/pytypes.h"

/** Memory outside an object that the object owns. */
struct pyh_claim {
	uint64_t address;	/* as the allocator returned it */
	uint64_t size;		/* bytes asked of the allocator, at least;
				   0: unknown */
};

enum { PYH_CLAIMS_INLINE = 4 };

enum pyh_measured {
	PYH_MEASURED,		/* all of it */
	PYH_MEASURED_PARTLY,	/* something that must be read elsewhere was not
				   captured: size is a lower bound */
	PYH_MEASURE_REFUSED,	/* it cannot be such an object */
};

struct pyh_measure {
	uint64_t size;		/* sys.getsizeof, pre-header included */
	uint64_t extent;	/* bytes of the object's own block, counted
				   from the object's address. At least: ints
				   may have lost leading zeros, the first
				   instances of a class of 3.13 and later have
				   a little more, extension types may ask for
				   what their type does not tell */
	bool exact;		/* size is what sys.getsizeof says */
	unsigned int num_claims;
	struct pyh_claim claims[PYH_CLAIMS_INLINE];
	/* deque blocks, ordered-dict nodes: a chain of claims that must be
	   walked with pyh_claims_each(); claims[] has the first of it only */
	bool more_claims;
};

/**
 * Measure one object.
 *
 * @param type  its type (never NULL)
 * @param address  of the object
 * @param body  its first bytes, at least type->basicsize of them if available
 *	allows, borrowed from the caller's view
 * @param available  bytes at body
 * @param memory  for what lies elsewhere (dict keys, table headers); not the
 *	reader that body came from
 * @return what could be done; when refused, ret holds nothing of use
 */
enum pyh_measured pyh_measure(const struct pyh_runtime *runtime,
			      const struct pyh_type *type, uint64_t address,
			      const uint8_t *body, size_t available,
			      struct memory_reader *memory,
			      struct pyh_measure *ret);

/**
 * The measure of a type whose instances are all of one size and own nothing
 * else, without looking at one: most objects of most heaps.
 * @return false if instances differ; ret is then untouched
 */
static inline bool pyh_measure_fixed(const struct pyh_type *type,
				     struct pyh_measure *ret)
{
	if (type->itemsize != 0 ||
	    (type->kind != PYH_KIND_OTHER && type->kind != PYH_KIND_FLOAT &&
	     type->kind != PYH_KIND_COMPLEX) ||
	    type->flags & (PYH_TPFLAGS_INLINE_VALUES |
			   PYH_TPFLAGS_MANAGED_DICT))
		return false;
	ret->size = (uint64_t)type->basicsize + type->presize;
	ret->extent = ((uint64_t)type->basicsize + 7) & ~UINT64_C(7);
	ret->exact = type->size_exact;
	ret->num_claims = 0;
	ret->more_claims = false;
	return true;
}

/** Call fn for every claim of an object, chains included (bounded). */
void pyh_claims_each(const struct pyh_runtime *runtime,
		     const struct pyh_type *type, uint64_t address,
		     const uint8_t *body, size_t available,
		     struct memory_reader *memory,
		     void (*fn)(void *context, struct pyh_claim claim),
		     void *context);

#endif
