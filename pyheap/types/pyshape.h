/*
 * Shapes: where in the instances of a type its references lie, by name.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Put together once for each type from what the target itself tells (the
 * member descriptors in the dictionaries of the type and its bases, which give
 * name and offset of __slots__ and of C members alike; tp_dictoffset) and from
 * the tables of builtin structures. What neither knows is left open. How a
 * reference is held follows from the same tables and from the tp_traverse of
 * each class.
 */
#ifndef PYHEAP_PYSHAPE_H
#define PYHEAP_PYSHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/types/pyshapetable.h"
#include "pyheap/types/pytypes.h"

/** How the referrer holds what it refers to. */
enum pyh_hold {
	PYH_HOLD_TRAVERSED,	/* it owns a count, and tp_traverse tells the
				   collector */
	PYH_HOLD_UNTRAVERSED,	/* it owns a count that no collector sees */
	PYH_HOLD_GUESSED,	/* perhaps: a word of an unknown structure, or
				   one of several that own it together */
	PYH_HOLD_NONE,		/* it owns none: weak references, and what
				   another object holds */
};

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
	enum pyh_hold hold;	/* unless PYH_SLOT_OTHER */
	bool by_table;		/* the name is CPython's */
	const char *name;	/* as Python code names it, else CPython's name
				   of the field; UTF-8, unescaped */
};

/** Kinds of objects beyond enum pyh_kind whose content is known. */
enum pyh_special {
	PYH_SPECIAL_NONE,
	PYH_SPECIAL_LRU_CACHE,	/* a functools.lru_cache */
	PYH_SPECIAL_SQLITE_CACHE,	/* a sqlite3.Cache, up to 3.10 */
};

struct pyh_shape {
	struct pyh_slot *slots;	/* by offset, none overlap */
	size_t num_slots;
	struct pyh_slot *refs;	/* of them those that refer to objects */
	size_t num_refs;
	uint32_t open_from;	/* words from here on that no slot covers may
				   refer to objects, too; the basic size if
				   all is known */
	bool complete;		/* there are none of those */
	uint32_t items_from;	/* more references begin here; 0: none */
	uint32_t items_step;	/* bytes from one to the next */
	uint32_t items_count;	/* offset of how many: 32 bits; 0: ob_size */
	enum pyh_hold items_hold;
	const char *items_name;
	const struct pyh_known_array *array;	/* behind a pointer; or NULL */
	enum pyh_hold array_hold;
	enum pyh_hold type_hold;	/* of ob_type */
	enum pyh_hold dict_hold;	/* of a dict of attributes without a
					   slot, and of values without a dict */
	enum pyh_hold content_hold;	/* of what the kind of object holds */
	enum pyh_special special;
	/* names of the attributes that instances keep without a dict (3.11 and
	   later), in the order of the values: addresses of str, or 0 */
	uint64_t *shared_keys;
	uint32_t num_shared_keys;
};

/**
 * True if words that nothing is known of are for a tp_traverse written in C: the
 * class, or a base in C, has one of its own.
 */
static inline bool pyh_shape_visits_open(const struct pyh_shape *shape)
{
	return !shape->complete && shape->content_hold == PYH_HOLD_TRAVERSED;
}

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

/**
 * Up to 3.10: the function that looks up keys of any type. Only in tables of
 * keys with this one does dict_traverse visit the keys. 0: not known.
 */
uint64_t pyh_shapes_lookdict(const struct pyh_shapes *shapes);

/** True if a type known when the shapes were made holds this table of keys. */
bool pyh_shapes_is_cached(const struct pyh_shapes *shapes, uint64_t keys);

#endif
