/*
 * References: what an object refers to, one by one.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Typed: each comes with what it is (an attribute, an item, a key, a field of
 * the C structure). Where the structure of a type is not known, its words are
 * handed out as guesses, and the caller finds out whether an object is there.
 * Nothing is checked about the other end; addresses are not 0. A reference that
 * owns a count is told once for each count, and once if the count is deferred.
 */
#ifndef PYHEAP_PYREFS_H
#define PYHEAP_PYREFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/types/pyshape.h"

enum pyh_ref_kind {
	PYH_REF_TYPE,		/* ob_type */
	PYH_REF_FIELD,		/* a slot or a field of the structure: name */
	PYH_REF_DICT,		/* the dict of its attributes: name */
	PYH_REF_ATTRIBUTE,	/* an attribute kept without a dict: key */
	PYH_REF_ITEM,		/* an item of a sequence: index */
	PYH_REF_KEY,		/* a key of a dict, an element of a set: index */
	PYH_REF_VALUE,		/* a value of a dict: key, index */
	PYH_REF_LOCAL,		/* a variable or stack entry of a frame: index */
	PYH_REF_GUESS,		/* a word of an unknown structure: index is its
				   offset in the object */
};

struct pyh_ref {
	enum pyh_ref_kind kind;
	enum pyh_hold hold;
	bool deferred;		/* it holds, but no count says so: of frames in
				   free-threaded builds */
	uint64_t address;	/* what is referred to */
	uint64_t key;		/* address of the name or key object; of the
				   variable of a greenlet's frame: its code */
	uint64_t index;
	const char *name;	/* valid as long as the shapes; else NULL */
};

/** An object whose references are wanted. */
struct pyh_referrer {
	const struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	const struct pyh_type *type;
	uint64_t address;
	const uint8_t *body;	/* its first bytes, borrowed */
	size_t available;	/* bytes at body */
	uint64_t extent;	/* bytes of the object's own block */
	struct memory_reader *memory;	/* not the one that body is from */
};

/** From what a visitor is shown. */
static inline struct pyh_referrer
pyh_referrer(const struct pyh_runtime *runtime, struct pyh_shapes *shapes,
	     const struct pyh_visit *visit)
{
	return (struct pyh_referrer){
		.runtime = runtime,
		.shapes = shapes,
		.type = visit->object.type,
		.address = visit->object.address,
		.body = visit->body,
		.available = visit->available,
		.extent = visit->extent,
		.memory = visit->memory,
	};
}

/** Return false to stop. */
typedef bool pyh_ref_fn(void *context, const struct pyh_ref *ref);

/**
 * Call fn for every reference, in the order of memory and of containers. What
 * is damaged or was not captured is left out.
 */
void pyh_refs_each(const struct pyh_referrer *referrer, pyh_ref_fn *fn,
		   void *context);

#endif
