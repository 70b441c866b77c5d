/*
 * Test of image/base/hashmap.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/hashmap.h"

#include "tests/lib/check.h"

enum { KEYS = 200000 };

/* Like addresses of objects: 16 apart, in two far places. */
static uint64_t key_of(uint32_t i)
{
	return (i % 2 ? UINT64_C(0x7f0000000010) : UINT64_C(0x10)) + i * 16;
}

static bool all_there(const struct hashmap *map, uint32_t plus)
{
	uint32_t value;

	for (uint32_t i = 0; i < KEYS; i++) {
		if (!hashmap_get(map, key_of(i), &value) || value != i + plus)
			return false;
	}
	return true;
}

static bool put_all(struct hashmap *map, uint32_t plus)
{
	for (uint32_t i = 0; i < KEYS; i++) {
		struct error *err = hashmap_put(map, key_of(i), i + plus);

		error_free(err);
		if (err)
			return false;
	}
	return true;
}

int main(void)
{
	struct hashmap map = { 0 };
	uint32_t value = 7;

	CHECK("empty map has nothing", !hashmap_get(&map, 16, &value));
	CHECK_U64("a miss leaves the output alone", value, 7);
	CHECK("put", put_all(&map, 1));
	CHECK_U64("count", map.count, KEYS);
	CHECK("get", all_there(&map, 1));
	CHECK("put again", put_all(&map, 5));
	CHECK_U64("overwriting adds nothing", map.count, KEYS);
	CHECK("get what was overwritten", all_there(&map, 5));
	CHECK("a neighbour is not there",
	      !hashmap_get(&map, key_of(0) + 8, &value));
	CHECK("key 0 is not there", !hashmap_get(&map, 0, &value));
	CHECK("at most 70 % full", map.count * 10 <= map.capacity * 7);
	CHECK("at most doubled", map.capacity <= 4 * (size_t)KEYS);
	hashmap_deinit(&map);
	CHECK("empty after deinit", !hashmap_get(&map, key_of(1), &value));
	error_free(hashmap_put(&map, 1, 2));
	CHECK("usable again", hashmap_get(&map, 1, &value) && value == 2);
	hashmap_deinit(&map);
	return check_result();
}
