/*
 * An open-addressing map from 64-bit keys (addresses) to 32-bit values (ids).
 * SPDX-License-Identifier: Apache-2.0
 *
 * 12 bytes a slot, at most 70 % full. Key 0 is not allowed (no object lives at
 * address 0). Not safe for concurrent change; concurrent look-ups are fine.
 */
#ifndef BASE_HASHMAP_H
#define BASE_HASHMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

struct hashmap {
	uint64_t *keys;		/* 0: empty slot */
	uint32_t *values;
	size_t capacity;	/* power of two, or 0 before the first put */
	size_t count;
};

static inline size_t hashmap_slot(const struct hashmap *map, uint64_t key)
{
	// Fibonacci hashing: addresses differ in their middle bits.
	return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 20) &
	       (map->capacity - 1);
}

/** Look key up; *ret is untouched and false returned when it is not there. */
static inline bool hashmap_get(const struct hashmap *map, uint64_t key,
			       uint32_t *ret)
{
	size_t slot;

	if (map->capacity == 0 || key == 0)
		return false;
	for (slot = hashmap_slot(map, key); map->keys[slot] != 0;
	     slot = (slot + 1) & (map->capacity - 1)) {
		if (map->keys[slot] == key) {
			*ret = map->values[slot];
			return true;
		}
	}
	return false;
}

/** Insert or overwrite. Fails only without memory; the map is then as before. */
struct error *hashmap_put(struct hashmap *map, uint64_t key, uint32_t value);

/** Release the storage; the map is empty and usable again. */
void hashmap_deinit(struct hashmap *map);

#endif
