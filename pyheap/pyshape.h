/*
 * Shapes: where in the instances of a type its references lie, by name.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Put together once for each type from what the target itself tells (the
 * member descriptors in the dictionaries of the type and its bases, which give
 * name and offset of __slots__ and of C members alike; tp_dictoffset) and from
 * the tables of builtin structures. What neither knows is left open.
 */
#ifndef PYHEAP_PYSHAPE_H
#define PYHEAP_PYSHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/pytypes.h"

/** A word of an instance. */
enum pyh_slot_kind {
	PYH_SLOT_OBJECT,	/* refers to an object */
	PYH_SLOT_DICT,		/* refers to the dict of its attributes */
	PYH_SLOT_OTHER,		/* known to be something else */
};

struct pyh_slot {
	uint32_t offset;	/* bytes from the object's address */
	uint32_t size;		/* bytes */
	enum pyh_slot_kind kind;
	const char *name;	/* as Python code names it, else CPython's name
				   of the field; UTF-8, unescaped */
};

struct pyh_shape {
	struct pyh_slot *slots;	/* by offset, none overlap */
	size_t num_slots;
	uint32_t open_from;	/* words from here on that no slot covers may
				   refer to objects, too; the basic size if
				   all is known */
};

struct pyh_shapes;

/** runtime and types are borrowed. */
struct error *pyh_shapes_create(const struct pyh_runtime *runtime,
				struct pyh_types *types,
				struct pyh_shapes **ret);
void pyh_shapes_destroy(struct pyh_shapes *shapes);

/**
 * Pay for walking over that many words of one object; false when far more have
 * been walked over than the dump has, by objects that claim the same memory: a
 * finding the first time.
 */
bool pyh_shapes_pay(struct pyh_shapes *shapes, uint64_t address,
		    uint64_t words);

/**
 * The shape of a type's instances, valid as long as the shapes; NULL without
 * memory. Safe from any thread.
 */
const struct pyh_shape *pyh_shape_of(struct pyh_shapes *shapes,
				     const struct pyh_type *type);

#endif
