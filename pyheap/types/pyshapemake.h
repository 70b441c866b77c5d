/*
 * The making of shapes: inner part of pyshape.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYSHAPEMAKE_H
#define PYHEAP_PYSHAPEMAKE_H

#include <pthread.h>
#include <stdatomic.h>

#include "image/base/hashmap.h"
#include "pyheap/types/pyshape.h"

enum { LEAVES = 1 << 12, LEAF_SHAPES = 1 << 12 };

struct shapes_leaf {
	_Atomic(struct pyh_shape *) shapes[LEAF_SHAPES];
};

struct pyh_shapes {
	const struct pyh_runtime *runtime;	/* borrowed */
	struct pyh_types *types;		/* borrowed */
	_Atomic int64_t words;			/* that may still be walked */
	atomic_bool told;			/* that there are none left */
	/* by type id; made once, then never changed */
	_Atomic(struct shapes_leaf *) leaves[LEAVES];
	pthread_mutex_t lock;			/* of the making, and: */
	struct pyh_type_reader reader;
	struct memory_reader memory;
	uint64_t entries;	/* of dictionaries that may be looked at */
	uint64_t subtype_traverse;	/* tp_traverse of classes written in
					   Python; 0: not known */
	uint64_t lookdict;	/* see pyh_shapes_lookdict() */
	struct hashmap cached;	/* addresses of types' ht_cached_keys */
};

/** A new shape; NULL without memory. With the lock held. */
struct pyh_shape *pyh_shape_make(struct pyh_shapes *shapes,
				 const struct pyh_type *type);
void pyh_shape_destroy(struct pyh_shape *shape);

/** The tp_traverse of a type, or 0. With the lock held. */
uint64_t pyh_shape_traverse(struct pyh_shapes *shapes, uint64_t type);

#endif
