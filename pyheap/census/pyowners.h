/*
 * Owners: which type's instances the containers and values of a heap belong
 * to, as people think of it: a dict of a Node, a list of a Node.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	pyh_owners_create(runtime, types, workers, &owners);
 *	... pyh_owners_mark() is shown every object, as a pyh_visit_fn ...
 *	pyh_owners_find(owners, census);	two more looks at the heap
 *	type = pyh_owner_of(owners, address);
 *
 * Asked for are instances of the builtin containers and values: list, tuple,
 * dict, set, frozenset, str, bytes, bytearray, int, float, complex, and those
 * of collections and array. The rule:
 *
 * A dict that is the namespace of exactly one object (an instance, a module, a
 * class) belongs to the type of that object, whoever else refers to it. Else
 * what exactly one object refers to (an attribute, a slot, an item, a key, a
 * variable of a generator; however often) belongs to the type of that object;
 * what such a namespace refers to counts as referred to by its object. What
 * several objects refer to, or none (only running frames, C code), has no
 * owner. References of types whose structure is not known are guesses, and
 * count.
 *
 * Memory: 8 bytes for each object asked for, and a bit for every 8 bytes of
 * the heap.
 */
#ifndef PYHEAP_PYOWNERS_H
#define PYHEAP_PYOWNERS_H

#include <stdbool.h>
#include <stdint.h>

#include "pyheap/census/pycensus.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pytypes.h"

struct pyh_owners;

/** runtime and types are borrowed. */
struct error *pyh_owners_create(const struct pyh_runtime *runtime,
				struct pyh_types *types,
				struct pyh_owners **ret);
void pyh_owners_destroy(struct pyh_owners *owners);

/** True if objects of this type are asked for. */
bool pyh_owners_asks(const struct pyh_type *type);

struct pyh_referrer;

/**
 * Call fn with the address of each dict that is a namespace of an object: the
 * first half of the rule, for who knows by other means who refers to whom.
 */
void pyh_owners_namespaces(const struct pyh_referrer *referrer,
			   void (*fn)(void *context, uint64_t dict),
			   void *context);

/**
 * A pyh_visit_fn; context is the owners. Must see every object, while the
 * census is taken or after.
 */
void pyh_owners_mark(void *owners, const struct pyh_visit *visit);

/** When all have been marked: find who owns them. */
struct error *pyh_owners_find(struct pyh_owners *owners,
			      struct pyh_census *census);

/** The type of the owner, or NULL if there is none. Safe from any thread. */
const struct pyh_type *pyh_owner_of(const struct pyh_owners *owners,
				    uint64_t address);

#endif
