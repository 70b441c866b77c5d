/*
 * Containers of a CPython heap: how many items one has room for, how many it
 * holds, and what the room it does not need takes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * `wasted` is what the smallest container of the same kind with as many items
 * would not hold from the allocator:
 *
 *	list		8 bytes for each item of room that is not used
 *	bytearray	a byte each; the whole buffer where it holds nothing
 *	array		itemsize bytes each
 *	dict		its table less the smallest that the interpreter makes
 *			for as many entries (8, 16, 32 … slots, two thirds of
 *			which may be used); a table that is not its own (the
 *			keys of a class, the empty one) is nobody's waste
 *	… of instances	(a shared table) 8 bytes for each value of its own
 *			array that is not there; none where the array lies
 *			inside of the instance (3.13 and later)
 *	OrderedDict	as a dict, and 8 bytes for each slot that the table of
 *			its list has more than that smallest one
 *	set, frozenset	its table less that of a copy (more than two slots
 *			for each item; up to four items lie in the object)
 *	deque		the blocks of 64 items beyond those that its items
 *			fill, one at least, and those kept for later
 */
#ifndef PYHEAP_PYCOLLECTIONS_H
#define PYHEAP_PYCOLLECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/types/pytypes.h"
#include "pyheap/values/pydict.h"

struct pyh_collection {
	uint64_t capacity;	/* items, bytes of a bytearray; at least used */
	uint64_t used;
	uint64_t wasted;	/* bytes */
};

/** True for lists, dicts, sets, deques, arrays, bytearrays and subclasses. */
bool pyh_is_collection(const struct pyh_type *type);

/**
 * Look into one container.
 *
 * @param type  for which pyh_is_collection() holds
 * @param body  its first bytes, borrowed; what is not in it comes from memory
 * @param memory  not the reader that body came from
 * @return PYH_FOUND_MISSING where bytes that tell were not captured, or a list
 *	is just being sorted: of arrays, whose width may be in a page that the
 *	dump has not got, ret then has capacity and items, of others nothing.
 *	PYH_FOUND_BAD where its fields contradict each other; ret is then zero
 */
enum pyh_found pyh_collection_read(const struct pyh_runtime *runtime,
				   const struct pyh_type *type,
				   uint64_t address, const uint8_t *body,
				   size_t available,
				   struct memory_reader *memory,
				   struct pyh_collection *ret);

/** Few of many: fewer than half, in a container that could be smaller. */
static inline bool pyh_collection_sparse(const struct pyh_collection *it)
{
	return it->used > 0 && it->used < it->capacity - it->used &&
	       it->wasted > 0;
}

#endif
