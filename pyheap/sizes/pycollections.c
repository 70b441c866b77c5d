/*
 * Containers of a CPython heap: room and items; see pycollections.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/listobject.c, dictobject.c, setobject.c,
 * odictobject.c, bytearrayobject.c, Modules/_collectionsmodule.c and
 * arraymodule.c: when they grow, and what to.
 */
#include "pyheap/sizes/pycollections.h"

#include "pyheap/sizes/pysubject.h"

enum {
	DICT_SLOTS_MIN = 8,
	SET_SLOTS_MIN = 8,	/* they are in the object itself */
	SET_ENTRY = 16,		/* bytes */
	DEQUE_BLOCK_ITEMS = 64,
	DEQUE_FREE_MAX = 16,
};

typedef enum pyh_found collection_fn(struct pyh_subject *subject,
				     struct pyh_collection *ret);

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static enum pyh_found read_list(struct pyh_subject *subject,
				struct pyh_collection *ret)
{
	if (!pyh_subject_get(subject, PYH_VAR_OB_SIZE, &ret->used) ||
	    !pyh_subject_get(subject, PYH_LIST_ALLOCATED, &ret->capacity))
		return PYH_FOUND_MISSING;
	// list.sort() has taken the items away for a while.
	if (ret->capacity == UINT64_MAX)
		return PYH_FOUND_MISSING;
	if (ret->used > ret->capacity || ret->capacity >> 44)
		return PYH_FOUND_BAD;
	ret->wasted = (ret->capacity - ret->used) * 8;
	return PYH_FOUND;
}

/* --- dicts --------------------------------------------------------------- */

/** Slots of the smallest table for so many entries. */
static uint64_t tight_slots(uint64_t used)
{
	uint64_t slots = DICT_SLOTS_MIN;

	while (slots * 2 / 3 < used)
		slots *= 2;
	return slots;
}

/** Bytes of a table of keys: header, index and entries. */
static uint64_t table_bytes(const struct pyh_runtime *runtime, uint64_t slots,
			    bool unicode)
{
	// Since 3.11 an index of 2^8 slots has entries of two bytes, as it had
	// before: only the number of slots decides.
	uint64_t width = slots < 1 << 8 ? 1 : slots < 1 << 16 ? 2 :
			 slots < UINT64_C(1) << 32 ? 4 : 8;

	return runtime->size_of[PYH_STRUCT_KEYS] + slots * width +
	       slots * 2 / 3 * (unicode ? 16 : 24);
}

static enum pyh_found read_keys(struct pyh_subject *subject,
				struct pyh_keys *keys)
{
	uint64_t address;

	if (!pyh_subject_get(subject, PYH_DICT_MA_KEYS, &address))
		return PYH_FOUND_MISSING;
	return pyh_keys_read(subject->runtime, subject->memory, address, keys);
}

/** True if the values of a shared table lie in the instance. */
static bool values_embedded(struct pyh_subject *subject, uint64_t values)
{
	uint64_t embedded = 0;

	return pyh_has(subject->runtime, PYH_VALUES_EMBEDDED) &&
	       pyh_subject_at(subject, values, PYH_VALUES_EMBEDDED,
			      &embedded) && embedded;
}

static enum pyh_found read_split(struct pyh_subject *subject,
				 const struct pyh_keys *keys, uint64_t values,
				 struct pyh_collection *ret)
{
	ret->capacity = keys->shared_usable;
	if (ret->used > ret->capacity)
		return PYH_FOUND_BAD;
	if (!values_embedded(subject, values))
		ret->wasted = (ret->capacity - ret->used) * 8;
	return PYH_FOUND;
}

static enum pyh_found read_dict(struct pyh_subject *subject,
				struct pyh_collection *ret)
{
	struct pyh_keys keys;
	enum pyh_found found;
	uint64_t values, tight;

	if (!pyh_subject_get(subject, PYH_DICT_MA_USED, &ret->used) ||
	    !pyh_subject_get(subject, PYH_DICT_MA_VALUES, &values))
		return PYH_FOUND_MISSING;
	found = read_keys(subject, &keys);
	if (found != PYH_FOUND)
		return found;
	if (ret->used > keys.nentries)
		return PYH_FOUND_BAD;
	// The empty table has room for nothing; up to 3.10 it has values.
	if (keys.usable == 0)
		return PYH_FOUND;
	if (values)
		return read_split(subject, &keys, values, ret);
	ret->capacity = keys.usable;
	if (keys.refcount != 1)
		return PYH_FOUND;
	tight = ret->used == 0 ? 0 :
		table_bytes(subject->runtime, tight_slots(ret->used),
			    keys.unicode);
	ret->wasted = less(keys.bytes, tight);
	return PYH_FOUND;
}

static enum pyh_found read_odict(struct pyh_subject *subject,
				 struct pyh_collection *ret)
{
	enum pyh_found found = read_dict(subject, ret);
	uint64_t slots, tight;

	if (found != PYH_FOUND)
		return found;
	if (!pyh_subject_get(subject, PYH_ODICT_OD_FAST_NODES_SIZE, &slots))
		return PYH_FOUND_MISSING;
	if (slots >> 44)
		return PYH_FOUND_BAD;
	tight = ret->used == 0 ? 0 : tight_slots(ret->used);
	ret->wasted += less(slots, tight) * 8;
	return PYH_FOUND;
}

/* --- the others ---------------------------------------------------------- */

/** Slots that a copy of a set with so many items has. */
static uint64_t copied_slots(uint64_t used)
{
	uint64_t slots = SET_SLOTS_MIN;

	if (used * 5 < (slots - 1) * 3)
		return slots;
	while (slots <= used * 2)
		slots *= 2;
	return slots;
}

static enum pyh_found read_set(struct pyh_subject *subject,
			       struct pyh_collection *ret)
{
	uint64_t mask, fill, slots;

	if (!pyh_subject_get(subject, PYH_SET_USED, &ret->used) ||
	    !pyh_subject_get(subject, PYH_SET_FILL, &fill) ||
	    !pyh_subject_get(subject, PYH_SET_MASK, &mask))
		return PYH_FOUND_MISSING;
	if (mask < 7 || (mask & (mask + 1)) || mask >> 43 ||
	    ret->used > fill || fill > mask)
		return PYH_FOUND_BAD;
	// The next item beyond three fifths of the slots makes it grow.
	ret->capacity = (mask * 3 - 1) / 5;
	if (ret->capacity < ret->used)
		ret->capacity = ret->used;
	slots = copied_slots(ret->used);
	ret->wasted = less(mask + 1 > SET_SLOTS_MIN ? mask + 1 : 0,
			   slots > SET_SLOTS_MIN ? slots : 0) * SET_ENTRY;
	return PYH_FOUND;
}

static enum pyh_found read_deque(struct pyh_subject *subject,
				 struct pyh_collection *ret)
{
	uint64_t size = subject->runtime->size_of[PYH_STRUCT_DEQUEBLOCK];
	uint64_t first, blocks, needed, kept = 0;

	if (!pyh_subject_get(subject, PYH_VAR_OB_SIZE, &ret->used) ||
	    !pyh_subject_get(subject, PYH_DEQUE_LEFTINDEX, &first))
		return PYH_FOUND_MISSING;
	if (pyh_has(subject->runtime, PYH_DEQUE_NUMFREEBLOCKS) &&
	    !pyh_subject_get(subject, PYH_DEQUE_NUMFREEBLOCKS, &kept))
		return PYH_FOUND_MISSING;
	if (ret->used >> 44 || first > DEQUE_BLOCK_ITEMS ||
	    kept > DEQUE_FREE_MAX)
		return PYH_FOUND_BAD;
	blocks = (first + ret->used + DEQUE_BLOCK_ITEMS - 1) /
		 DEQUE_BLOCK_ITEMS;
	needed = (ret->used + DEQUE_BLOCK_ITEMS - 1) / DEQUE_BLOCK_ITEMS;
	if (blocks == 0)
		blocks = 1;
	if (needed == 0)
		needed = 1;
	ret->capacity = blocks * DEQUE_BLOCK_ITEMS;
	ret->wasted = (blocks - needed + kept) * size;
	return PYH_FOUND;
}

/** 3.15 and later: the bytes are those of a bytes object of its own. */
static enum pyh_found read_bytearray_of_object(struct pyh_subject *subject,
					       struct pyh_collection *ret)
{
	uint64_t buffer;

	if (!pyh_subject_get(subject, PYH_BYTEARRAY_OB_BYTES_OBJECT, &buffer))
		return PYH_FOUND_MISSING;
	if (buffer && !pyh_subject_at(subject, buffer, PYH_VAR_OB_SIZE,
				      &ret->capacity))
		return PYH_FOUND_MISSING;
	if (ret->used > ret->capacity || ret->capacity >> 47)
		return PYH_FOUND_BAD;
	ret->wasted = ret->capacity - ret->used;
	if (ret->used == 0 && ret->capacity > 0)
		ret->wasted += pyh_offset(subject->runtime,
					  PYH_BYTES_OB_SVAL) + 1;
	return PYH_FOUND;
}

static enum pyh_found read_bytearray(struct pyh_subject *subject,
				     struct pyh_collection *ret)
{
	uint64_t allocated;

	if (!pyh_subject_get(subject, PYH_VAR_OB_SIZE, &ret->used))
		return PYH_FOUND_MISSING;
	if (pyh_has(subject->runtime, PYH_BYTEARRAY_OB_BYTES_OBJECT))
		return read_bytearray_of_object(subject, ret);
	if (!pyh_subject_get(subject, PYH_BYTEARRAY_OB_ALLOC, &allocated))
		return PYH_FOUND_MISSING;
	if (allocated >> 47 || ret->used > allocated)
		return PYH_FOUND_BAD;
	// One of them is a NUL behind the last.
	ret->capacity = less(allocated, 1);
	if (ret->capacity < ret->used)
		ret->capacity = ret->used;
	ret->wasted = ret->used == 0 ? allocated : ret->capacity - ret->used;
	return PYH_FOUND;
}

static enum pyh_found read_array(struct pyh_subject *subject,
				 struct pyh_collection *ret)
{
	uint64_t used, capacity, descr, width;

	if (!pyh_subject_get(subject, PYH_VAR_OB_SIZE, &used) ||
	    !pyh_subject_get(subject, PYH_ARRAY_ALLOCATED, &capacity) ||
	    !pyh_subject_get(subject, PYH_ARRAY_OB_DESCR, &descr))
		return PYH_FOUND_MISSING;
	ret->used = used;
	ret->capacity = capacity;
	if (ret->used > ret->capacity || ret->capacity >> 44)
		return PYH_FOUND_BAD;
	if (!pyh_subject_at(subject, descr, PYH_ARRAYDESCR_ITEMSIZE, &width))
		return PYH_FOUND_MISSING;
	width &= UINT32_MAX;
	if (width == 0 || width > 16)
		return PYH_FOUND_BAD;
	ret->wasted = (ret->capacity - ret->used) * width;
	return PYH_FOUND;
}

static collection_fn *const readers[PYH_NUM_KINDS] = {
	[PYH_KIND_LIST] = read_list,
	[PYH_KIND_DICT] = read_dict,
	[PYH_KIND_STGDICT] = read_dict,
	[PYH_KIND_ODICT] = read_odict,
	[PYH_KIND_SET] = read_set,
	[PYH_KIND_DEQUE] = read_deque,
	[PYH_KIND_BYTEARRAY] = read_bytearray,
	[PYH_KIND_ARRAY] = read_array,
};

bool pyh_is_collection(const struct pyh_type *type)
{
	return readers[type->kind] != NULL;
}

enum pyh_found pyh_collection_read(const struct pyh_runtime *runtime,
				   const struct pyh_type *type,
				   uint64_t address, const uint8_t *body,
				   size_t available,
				   struct memory_reader *memory,
				   struct pyh_collection *ret)
{
	struct pyh_subject subject = {
		.runtime = runtime, .type = type, .address = address,
		.body = body, .available = available, .memory = memory,
	};
	enum pyh_found found;

	*ret = (struct pyh_collection){ 0 };
	found = readers[type->kind](&subject, ret);
	if (found == PYH_FOUND_BAD ||
	    (found == PYH_FOUND_MISSING && type->kind != PYH_KIND_ARRAY))
		*ret = (struct pyh_collection){ 0 };
	return found;
}
