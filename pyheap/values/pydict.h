/*
 * Dictionaries of a CPython heap: their tables of keys, and what is in them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/dictobject.c and Include/internal/pycore_dict.h.
 */
#ifndef PYHEAP_PYDICT_H
#define PYHEAP_PYDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"

/** A PyDictKeysObject, checked against itself. */
struct pyh_keys {
	uint64_t address;
	int64_t refcount;	/* 1: belongs to one dict or type alone */
	uint64_t slots;		/* of the index, a power of two */
	uint64_t usable;	/* entries there is room for */
	uint64_t nentries;	/* entries used so far, deleted ones included */
	uint64_t shared_usable;	/* values that a split dict has room for */
	uint64_t entries;	/* address of the first entry */
	uint64_t bytes;		/* all of it, as asked of the allocator */
	bool unicode;		/* entries are key and value, without a hash */
};

enum pyh_found {
	PYH_FOUND,
	PYH_FOUND_MISSING,	/* bytes that would tell were not captured */
	PYH_FOUND_BAD,		/* it cannot be what it was taken for */
};

/** ret is untouched unless PYH_FOUND. */
enum pyh_found pyh_keys_read(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t address,
			     struct pyh_keys *ret);

/**
 * Bytes of the values of a split dict: 3.13 and later hold them in a structure
 * with a header and the order of insertion behind; before, those that 3.11
 * and 3.12 keep in front of the first value are not included.
 */
uint64_t pyh_values_bytes(const struct pyh_runtime *runtime, uint64_t count);

/** A walk over the entries of a dict. */
struct pyh_dict_walk {
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	struct pyh_keys keys;
	uint64_t values;	/* address of a split dict's values, else 0 */
	uint64_t next;		/* index of the next entry */
	uint64_t *budget;	/* entries that may still be looked at, empty
				   ones included; counted down; NULL: all */
};

/**
 * Begin a walk over the dict at an address, of whatever subclass; its type is
 * not looked at. The walk is bounded by what the table claims to hold, which
 * has been checked against its own size only.
 */
enum pyh_found pyh_dict_walk(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t dict,
			     struct pyh_dict_walk *ret);

/**
 * Whether a dict that a walk has begun over is the table of interned strings, by
 * what it holds alone, as up to 3.11 nothing else tells: each is its own value.
 */
bool pyh_dict_is_interned(const struct pyh_dict_walk *walk);

/** Step to the next entry that has a value; false at the end or at a gap. */
bool pyh_dict_next(struct pyh_dict_walk *walk, uint64_t *key, uint64_t *value);

/**
 * Look up ASCII keys of a dict, all in one walk.
 *
 * @param names  what to look for
 * @param values  address of the value for each, or 0 where there is none
 * @param budget  as in struct pyh_dict_walk
 * @return PYH_FOUND if the whole dict was seen (whether or not a key was in
 *	it); values are set as far as was seen
 */
enum pyh_found pyh_dict_find(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t dict,
			     const char *const *names, size_t count,
			     uint64_t *values, uint64_t *budget);

#endif
