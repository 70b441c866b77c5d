/*
 * Hash tables of pandas, which its indexes look up by.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each class of pandas._libs.hashtable has one, or none yet: a structure with
 * three arrays. In those of objects the keys are objects; since pandas 3 they
 * are counted.
 *
 * Source: pandas/_libs/include/pandas/vendored/klib/khash.h and khash_python.h,
 * pandas/_libs/hashtable.pxd; seen in pandas 2.0.3 and 3.1.1.
 */
#ifndef PYHEAP_PYPANDAS_H
#define PYHEAP_PYPANDAS_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"

struct pyh_khash {
	uint64_t address;	/* of the structure; 0: there is none */
	uint32_t slots;
	uint32_t used;		/* and those of keys that were deleted */
	uint64_t flags, keys, values;	/* arrays: of a bit, a key, 8 bytes each */
	uint64_t flags_size;	/* bytes */
};

enum { PYH_KHASH_SIZE = 40 };	/* bytes of the structure */

/**
 * @param address  of the structure, which may be 0
 * @return false if it is none
 */
bool pyh_khash_read(struct memory_reader *memory, uint64_t address,
		    struct pyh_khash *ret);

/** Bytes of a key in a hash table of this class; 0: not known. */
uint32_t pyh_khash_key_size(const char *type);

/** True if keys of this class are objects. */
bool pyh_khash_of_objects(const char *type);

#endif
