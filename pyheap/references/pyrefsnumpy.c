/*
 * What arrays of numpy refer to: their items, and objects in records; see
 * pyrefswalk.h and pynumpy.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyrefswalk.h"
#include "pyheap/types/pynumpy.h"
#include "pyheap/values/pydict.h"

enum {
	RECORD_OBJECTS_MAX = 64,	/* in one record */
	RECORD_PARTS_MAX = 64,		/* of a record that wait */
	DIGIT_BITS = 30,		/* of an int */
};

/** A part of a record. */
struct part {
	uint64_t dtype, offset;
};

/** Where in a record objects are. */
struct record {
	struct walk *walk;
	uint32_t header;
	uint64_t size;
	uint64_t offsets[RECORD_OBJECTS_MAX];
	size_t num_offsets;
	struct part parts[RECORD_PARTS_MAX];
	size_t num_parts;
	uint64_t looks;		/* entries of dicts that may still be seen */
};

static void put_part(struct record *record, uint64_t dtype, uint64_t offset)
{
	if (record->num_parts < RECORD_PARTS_MAX && offset < record->size)
		record->parts[record->num_parts++] =
			(struct part){ dtype, offset };
}

/** Fields have a second name, perhaps: each place counts once. */
static void put_offset(struct record *record, uint64_t offset)
{
	for (size_t i = 0; i < record->num_offsets; i++)
		if (record->offsets[i] == offset)
			return;
	if (record->num_offsets < RECORD_OBJECTS_MAX &&
	    offset + 8 <= record->size)
		record->offsets[record->num_offsets++] = offset;
}

/** An int that is small and not negative. */
static bool read_int(struct record *record, uint64_t number, uint64_t *ret)
{
	const struct pyh_runtime *runtime = record->walk->runtime;
	bool tagged = pyh_has(runtime, PYH_LONG_LONG_VALUE_LV_TAG);
	uint64_t count = walk_field_at(record->walk, number, tagged ?
				       PYH_LONG_LONG_VALUE_LV_TAG :
				       PYH_VAR_OB_SIZE);
	uint32_t digit = 0;

	count = tagged ? count >> 3 : count;
	*ret = 0;
	if (count == 0)
		return true;
	if (count != 1 ||
	    !memory_try_u32(record->walk->of->memory, number +
			    pyh_offset(runtime, tagged ?
				       PYH_LONG_LONG_VALUE_OB_DIGIT :
				       PYH_LONG_OB_DIGIT), &digit))
		return false;
	*ret = digit;
	return digit >> DIGIT_BITS == 0;
}

/** A tuple of a dtype, its offset, and perhaps more. */
static void put_field(struct record *record, uint64_t tuple, uint64_t offset)
{
	const struct pyh_runtime *runtime = record->walk->runtime;
	uint64_t items[2], at;

	if (tuple % 8 == 0 && pyh_has(runtime, PYH_TUPLE_OB_ITEM) &&
	    walk_field_at(record->walk, tuple, PYH_VAR_OB_SIZE) >= 2 &&
	    memory_try_read(record->walk->of->memory, tuple +
			    pyh_offset(runtime, PYH_TUPLE_OB_ITEM), items,
			    sizeof(items)) &&
	    items[1] % 8 == 0 && read_int(record, items[1], &at))
		put_part(record, items[0], offset + at);
}

/** What is in one part: an object, items that are parts, or fields. */
static void look_at_part(struct record *record, struct part part)
{
	struct memory_reader *memory = record->walk->of->memory;
	struct pyh_dict_walk dict;
	struct pyh_dtype dtype, item;
	uint64_t key, value;

	if (pyh_dtype_read(memory, part.dtype, record->header, &dtype) !=
		    PYH_NDARRAY_READ ||
	    !dtype.has_objects)
		return;
	if (dtype.of_objects) {
		put_offset(record, part.offset);
	} else if (dtype.base) {
		if (pyh_dtype_read(memory, dtype.base, record->header,
				   &item) == PYH_NDARRAY_READ && item.item)
			for (uint64_t at = 0; at < dtype.item &&
			     record->num_parts < RECORD_PARTS_MAX;
			     at += item.item)
				put_part(record, dtype.base, part.offset + at);
	} else if (dtype.fields % 8 == 0 &&
		   pyh_dict_walk(record->walk->runtime, memory, dtype.fields,
				 &dict) == PYH_FOUND) {
		dict.budget = &record->looks;
		while (pyh_dict_next(&dict, &key, &value))
			put_field(record, value, part.offset);
	}
}

static void each_of_records(struct walk *walk, const struct pyh_ndarray *array)
{
	struct record record = {
		.walk = walk, .size = array->dtype.item, .looks = 1 << 12,
		.header = walk->runtime->size_of[PYH_STRUCT_OBJECT],
	};

	put_part(&record, array->descr, 0);
	for (int i = 0; record.num_parts > 0 && i < 1 << 12; i++)
		look_at_part(&record, record.parts[--record.num_parts]);
	if (array->count > ITEMS_MAX || record.num_offsets == 0 ||
	    !walk_pay(walk, array->count * record.num_offsets))
		return;
	for (uint64_t i = 0; i < array->count && !walk->stopped; i++) {
		struct pyh_ref ref = walk_item(walk);

		ref.index = i;
		for (size_t j = 0; j < record.num_offsets && !walk->stopped;
		     j++) {
			if (!memory_try_u64(walk->of->memory, array->data +
					    i * record.size + record.offsets[j],
					    &ref.address))
				return;
			if (ref.address % 8 == 0)
				walk_tell(walk, &ref);
		}
	}
}

void walk_ndarray(struct walk *walk)
{
	uint32_t header = walk->runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t words[PYH_NDARRAY_WORDS];
	struct pyh_ndarray array;

	if (!walk_own(walk, header, words, sizeof(words)) ||
	    pyh_ndarray_read(walk->of->memory, words, header, &array) !=
		    PYH_NDARRAY_READ ||
	    !array.owns_data)
		return;
	// Views are left to the array that owns the data.
	if (array.dtype.of_objects)
		walk_each_word(walk, array.data, array.count, walk_item(walk));
	else if (array.dtype.has_objects)
		each_of_records(walk, &array);
}
