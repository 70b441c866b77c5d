/*
 * An open-addressing map from addresses to ids; see hashmap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/hashmap.h"

#include <assert.h>
#include <stdlib.h>

static void place(struct hashmap *map, uint64_t key, uint32_t value)
{
	size_t slot = hashmap_slot(map, key);

	while (map->keys[slot] != 0 && map->keys[slot] != key)
		slot = (slot + 1) & (map->capacity - 1);
	if (map->keys[slot] == 0)
		map->count++;
	map->keys[slot] = key;
	map->values[slot] = value;
}

static struct error *grow(struct hashmap *map)
{
	struct hashmap larger = {
		.capacity = map->capacity ? map->capacity * 2 : 64,
	};

	larger.keys = calloc(larger.capacity, sizeof(*larger.keys));
	larger.values = malloc(larger.capacity * sizeof(*larger.values));
	if (!larger.keys || !larger.values) {
		hashmap_deinit(&larger);
		return error_no_memory();
	}
	for (size_t i = 0; i < map->capacity; i++) {
		if (map->keys[i] != 0)
			place(&larger, map->keys[i], map->values[i]);
	}
	hashmap_deinit(map);
	*map = larger;
	return NULL;
}

struct error *hashmap_put(struct hashmap *map, uint64_t key, uint32_t value)
{
	assert(key != 0);
	if ((map->count + 1) * 10 > map->capacity * 7) {
		struct error *err = grow(map);

		if (err)
			return err;
	}
	place(map, key, value);
	return NULL;
}

void hashmap_deinit(struct hashmap *map)
{
	free(map->keys);
	free(map->values);
	*map = (struct hashmap){ 0 };
}
