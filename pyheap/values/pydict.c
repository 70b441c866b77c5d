/*
 * Dictionaries of a CPython heap: their tables of keys, and what is in them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/values/pydict.h"

#include "pyheap/values/pystr.h"

/* No table has more slots than fit the address space. */
enum { KEYS_LOG2_MAX = 44, KEYS_HEADER_MAX = 64 };

enum {
	INTERNED_LEAST = 512,	/* entries of a table of interned str */
	INTERNED_LOOK = 16,	/* of those that are looked at */
};

static uint64_t header_field(const struct pyh_runtime *runtime,
			     const uint8_t *header, enum pyh_field field)
{
	struct pyh_field_at at = runtime->at[field];
	uint64_t word;

	// Eight bytes always, and those that are too many cut off: quicker
	// than a copy of a size that is not known before.
	if (at.size == 0 || at.size > sizeof(word) ||
	    at.offset > KEYS_HEADER_MAX - at.size)
		return 0;
	memcpy(&word, header + at.offset, sizeof(word));
	return word & UINT64_MAX >> (64 - 8 * at.size);
}

/* 3.8 to 3.10: a count of slots, and entries that always hold the hash. */
static bool read_old_size(const struct pyh_runtime *runtime,
			  const uint8_t *header, struct pyh_keys *keys,
			  uint64_t *index_bytes)
{
	uint64_t slots = header_field(runtime, header, PYH_KEYS_DK_SIZE);

	if (slots == 0 || (slots & (slots - 1)) || slots >> KEYS_LOG2_MAX)
		return false;
	keys->slots = slots;
	keys->unicode = false;
	*index_bytes = slots <= 0xff ? slots :
		       slots <= 0xffff ? slots * 2 :
		       slots <= 0xffffffff ? slots * 4 : slots * 8;
	return true;
}

/* 3.11 and later: logarithms, and a kind. */
static bool read_new_size(const struct pyh_runtime *runtime,
			  const uint8_t *header, struct pyh_keys *keys,
			  uint64_t *index_bytes)
{
	uint64_t slots = header_field(runtime, header, PYH_KEYS_DK_LOG2_SIZE);
	uint64_t bytes =
		header_field(runtime, header, PYH_KEYS_DK_LOG2_INDEX_BYTES);
	uint64_t kind = header_field(runtime, header, PYH_KEYS_DK_KIND);

	if (slots > KEYS_LOG2_MAX || bytes < slots || bytes > slots + 3 ||
	    kind > 2)
		return false;
	keys->slots = UINT64_C(1) << slots;
	keys->unicode = kind != 0;
	*index_bytes = UINT64_C(1) << bytes;
	return true;
}

enum pyh_found pyh_keys_read(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t address,
			     struct pyh_keys *ret)
{
	uint8_t header[KEYS_HEADER_MAX + sizeof(uint64_t)] = { 0 };
	uint32_t header_size = runtime->size_of[PYH_STRUCT_KEYS];
	struct pyh_keys keys = { .address = address };
	uint64_t index_bytes, entry, left;
	bool old = pyh_has(runtime, PYH_KEYS_DK_SIZE);

	if (address == 0 || address % 8 || header_size == 0 ||
	    header_size > KEYS_HEADER_MAX)
		return PYH_FOUND_BAD;
	// The usual size (3.11 and later) is copied in place.
	if (!(header_size == 32 ?
	      memory_try_read(memory, address, header, 32) :
	      memory_try_read(memory, address, header, header_size)))
		return PYH_FOUND_MISSING;
	if (!(old ? read_old_size : read_new_size)(runtime, header, &keys,
						   &index_bytes))
		return PYH_FOUND_BAD;

	keys.refcount = (int64_t)header_field(runtime, header,
					      PYH_KEYS_DK_REFCNT);
	keys.nentries = header_field(runtime, header, PYH_KEYS_DK_NENTRIES);
	left = header_field(runtime, header, PYH_KEYS_DK_USABLE);
	keys.usable = keys.slots * 2 / 3;
	if (keys.nentries > keys.usable || left > keys.usable)
		return PYH_FOUND_BAD;
	keys.shared_usable = old ? keys.usable : left + keys.nentries;
	entry = keys.unicode ? 16 : 24;
	keys.entries = address + header_size + index_bytes;
	keys.bytes = header_size + index_bytes + keys.usable * entry;
	if (keys.entries < address)
		return PYH_FOUND_BAD;
	*ret = keys;
	return PYH_FOUND;
}

uint64_t pyh_values_bytes(const struct pyh_runtime *runtime, uint64_t count)
{
	if (!pyh_has(runtime, PYH_VALUES_CAPACITY))
		return count * 8;
	return pyh_offset(runtime, PYH_VALUES_VALUES) + count * 8 +
	       ((count + 7) & ~UINT64_C(7));
}

enum pyh_found pyh_dict_walk(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t dict,
			     struct pyh_dict_walk *ret)
{
	struct pyh_dict_walk walk = { .runtime = runtime, .memory = memory };
	uint64_t keys;
	enum pyh_found found;

	if (dict == 0 || dict % 8)
		return PYH_FOUND_BAD;
	if (!memory_try_u64(memory, dict + pyh_offset(runtime, PYH_DICT_MA_KEYS),
			    &keys) ||
	    !memory_try_u64(memory,
			    dict + pyh_offset(runtime, PYH_DICT_MA_VALUES),
			    &walk.values))
		return PYH_FOUND_MISSING;
	found = pyh_keys_read(runtime, memory, keys, &walk.keys);
	if (found != PYH_FOUND)
		return found;
	if (walk.values && pyh_has(runtime, PYH_VALUES_VALUES))
		walk.values += pyh_offset(runtime, PYH_VALUES_VALUES);
	// A split dict has no more values than it has room for.
	if (walk.values && walk.keys.nentries > walk.keys.shared_usable)
		return PYH_FOUND_BAD;
	*ret = walk;
	return PYH_FOUND;
}

bool pyh_dict_next(struct pyh_dict_walk *walk, uint64_t *key, uint64_t *value)
{
	const struct pyh_keys *keys = &walk->keys;

	while (walk->next < keys->nentries) {
		uint64_t entry[3] = { 0 }, i = walk->next++;
		size_t size = keys->unicode ? 16 : 24;
		uint64_t *pair = keys->unicode ? entry : entry + 1;

		if (walk->budget && (*walk->budget)-- == 0) {
			*walk->budget = 0;
			return false;
		}
		if (!memory_try_read(walk->memory, keys->entries + i * size,
				     entry, size))
			return false;
		if (walk->values &&
		    !memory_try_u64(walk->memory, walk->values + i * 8,
				    &pair[1]))
			return false;
		if (pair[0] == 0 || pair[1] == 0)
			continue;
		*key = pair[0];
		*value = pair[1];
		return true;
	}
	return false;
}

bool pyh_dict_is_interned(const struct pyh_dict_walk *walk)
{
	const struct pyh_runtime *runtime = walk->runtime;
	struct pyh_dict_walk copy = *walk;
	uint64_t key, value, type, state;

	if (walk->values || walk->keys.nentries < INTERNED_LEAST)
		return false;
	for (int i = 0; i < INTERNED_LOOK; i++)
		if (!pyh_dict_next(&copy, &key, &value) || key != value ||
		    !pyh_field(runtime, walk->memory, key, PYH_OBJECT_OB_TYPE,
			       &type) || type != runtime->types.str ||
		    !pyh_field(runtime, walk->memory, key, PYH_ASCII_STATE,
			       &state) || (state & 3) == 0 || (state & 3) == 3)
			return false;
	return true;
}

enum pyh_found pyh_dict_find(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t dict,
			     const char *const *names, size_t count,
			     uint64_t *values, uint64_t *budget)
{
	struct pyh_dict_walk walk;
	enum pyh_found found;
	uint64_t key, value;

	memset(values, 0, count * sizeof(*values));
	found = pyh_dict_walk(runtime, memory, dict, &walk);
	if (found != PYH_FOUND)
		return found;
	walk.budget = budget;
	while (pyh_dict_next(&walk, &key, &value)) {
		struct pyh_str str;

		if (pyh_str_read(runtime, memory, key, &str) != PYH_FOUND)
			continue;
		for (size_t i = 0; i < count; i++)
			if (pyh_str_is(memory, &str, names[i]))
				values[i] = value;
	}
	return walk.next == walk.keys.nentries &&
		       (!budget || *budget > 0) ?
		       PYH_FOUND : PYH_FOUND_MISSING;
}
