/*
 * Hash tables of pandas; see pypandas.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pypandas.h"

#include <stddef.h>
#include <string.h>

#define OF_OBJECTS "PyObject"

bool pyh_khash_read(struct memory_reader *memory, uint64_t address,
		    struct pyh_khash *ret)
{
	uint32_t counts[4];	// slots, size, used, most that may be used
	uint64_t arrays[3];

	*ret = (struct pyh_khash){ 0 };
	if (address == 0)
		return true;
	if (address % 8 ||
	    !memory_try_read(memory, address, counts, sizeof(counts)) ||
	    !memory_try_read(memory, address + sizeof(counts), arrays,
			     sizeof(arrays)))
		return false;
	if (counts[0] & (counts[0] - 1) || counts[1] > counts[2] ||
	    counts[2] > counts[3] || counts[3] > counts[0] ||
	    arrays[0] % 8 || arrays[1] % 8 || arrays[2] % 8)
		return false;
	*ret = (struct pyh_khash){
		.address = address, .slots = counts[0], .used = counts[2],
		.flags = arrays[0], .keys = arrays[1], .values = arrays[2],
		.flags_size = counts[0] < 32 ? 4 : counts[0] / 32 * UINT64_C(4),
	};
	return counts[0] == 0 || (arrays[0] && arrays[1] && arrays[2]);
}

static const struct {
	const char *of;
	uint32_t size;
} keys[] = {
	{ OF_OBJECTS, 8 }, { "String", 8 },
	{ "Int64", 8 }, { "UInt64", 8 }, { "Float64", 8 }, { "Complex64", 8 },
	{ "Int32", 4 }, { "UInt32", 4 }, { "Float32", 4 },
	{ "Int16", 2 }, { "UInt16", 2 }, { "Int8", 1 }, { "UInt8", 1 },
	{ "Complex128", 16 },
};

/** Does a class have the name of the hash table of such keys? */
static bool is_of(const char *type, const char *of)
{
	static const char module[] = "pandas._libs.hashtable.";
	size_t length = strlen(of);

	return strncmp(type, module, sizeof(module) - 1) == 0 &&
	       strncmp(type + sizeof(module) - 1, of, length) == 0 &&
	       strcmp(type + sizeof(module) - 1 + length, "HashTable") == 0;
}

uint32_t pyh_khash_key_size(const char *type)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (is_of(type, keys[i].of))
			return keys[i].size;
	return 0;
}

bool pyh_khash_of_objects(const char *type)
{
	return is_of(type, OF_OBJECTS);
}
