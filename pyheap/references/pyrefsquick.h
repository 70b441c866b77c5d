/*
 * References of plain objects, in few instructions.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nearly all objects of a heap are lists, tuples and small dicts, or instances
 * with slots, or with attributes beside or behind them. Here is what pyh_refs_each()
 * would say of them, put together at one go; whenever anything is not as plain as
 * that, it must be asked.
 */
#ifndef PYHEAP_PYREFSQUICK_H
#define PYHEAP_PYREFSQUICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pyheap/references/pyrefs.h"

enum { PYH_QUICK_REFS = 128 };	/* an object with more is not plain */

struct pyh_quick_ref {
	uint64_t address;
	uint8_t kind;		/* enum pyh_ref_kind */
	uint8_t hold;		/* enum pyh_hold */
};

struct pyh_quick_refs {
	struct pyh_quick_ref refs[PYH_QUICK_REFS];
	size_t count;
};

/** What the instances of a type hold beyond their slots. */
enum pyh_quick_content {
	PYH_QUICK_NO,		/* pyh_refs_each() must be asked */
	PYH_QUICK_NOTHING, PYH_QUICK_LIST, PYH_QUICK_TUPLE, PYH_QUICK_DICT,
	PYH_QUICK_BESIDE,	/* 3.11 and 3.12: attributes in a buffer */
	PYH_QUICK_BEHIND,	/* 3.13 and later: … in the instance */
};

/** What is known beforehand of a type. */
struct pyh_quick_type {
	uint64_t address;	/* 0: none */
	const struct pyh_shape *shape;
	enum pyh_quick_content content;
};

struct pyh_quick_type pyh_quick_type(const struct pyh_runtime *runtime,
				     struct pyh_shapes *shapes,
				     const struct pyh_type *type);

/**
 * The references of an object in a block, all of which is at hand.
 *
 * @param type  what is known of its type
 * @return false if pyh_refs_each() must be asked
 */
bool pyh_refs_quick(const struct pyh_referrer *of,
		    const struct pyh_quick_type *type,
		    struct pyh_quick_refs *ret);

#endif
