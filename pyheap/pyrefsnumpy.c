/*
 * What arrays of numpy refer to beyond the fields of their structures; see
 * pyrefswalk.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: numpy/_core/include/numpy/ndarraytypes.h, 1.7 to 2.5.
 */
#include "pyheap/pydict.h"
#include "pyheap/pyrefswalk.h"

enum {
	DIMENSIONS_MAX = 64,
	OWNS_DATA = 4,		/* of the flags of an array */
	NUMBER_OBJECT = 17,	/* numbers of types */
	NUMBER_VOID = 20,
	PLACES_MAX = 64,	/* objects in one record */
	FIELDS_MAX = 1024,	/* looked at for one array */
	RECORD_MAX = 1 << 20,	/* bytes */
};

/** Where in a record the objects are, and the descrs still to be looked at. */
struct record {
	struct walk *walk;
	uint64_t places[PLACES_MAX];
	size_t num_places;
	struct {
		uint64_t descr, offset;
	} pending[PLACES_MAX];
	size_t num_pending;
	unsigned int looked_at;
};

static uint64_t word_at(const struct walk *walk, uint64_t address)
{
	uint64_t word;

	return memory_try_u64(walk->of->memory, address, &word) ? word : 0;
}

static bool is_of(const struct walk *walk, uint64_t object, uint64_t type)
{
	return object && object % 8 == 0 &&
	       word_at(walk, object + pyh_offset(walk->runtime,
						 PYH_OBJECT_OB_TYPE)) == type;
}

/** The number of a descr's type; 0 if it cannot be read. */
static uint32_t number_of(const struct walk *walk, uint64_t descr)
{
	uint32_t header = walk->runtime->size_of[PYH_STRUCT_OBJECT], number;

	return memory_try_u32(walk->of->memory, descr + header + 12, &number) ?
		       number : 0;
}

/** The dict of its fields. numpy 2 has put words before it. */
static uint64_t fields_of(const struct walk *walk, uint64_t descr)
{
	static const uint32_t places[] = { 80, 32 };
	uint32_t header = walk->runtime->size_of[PYH_STRUCT_OBJECT];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t at = descr + header + places[i];
		uint64_t fields = word_at(walk, at);

		if (is_of(walk, fields, walk->runtime->types.dict) &&
		    is_of(walk, word_at(walk, at + 8),
			  walk->runtime->types.tuple))
			return fields;
	}
	return 0;
}

/** Bytes of one item: an int in numpy 1, a word behind the flags in 2. */
static uint64_t size_of_item(const struct walk *walk, uint64_t descr)
{
	uint32_t header = walk->runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t at = descr + header, fields = fields_of(walk, descr);

	if (fields && fields == word_at(walk, at + 80))
		return word_at(walk, at + 24);
	return word_at(walk, at + 16) & UINT32_MAX;
}

/** What an int of at most one digit says; false if it is another. */
static bool small_int(const struct walk *walk, uint64_t object, uint64_t *ret)
{
	uint64_t at = object + walk->runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t size = word_at(walk, at);
	uint32_t digit;

	// Up to 3.11 the number of digits; else above three bits.
	if (pyh_has(walk->runtime, PYH_LONG_LONG_VALUE_LV_TAG))
		size >>= 3;
	*ret = 0;
	if (size != 1)
		return size == 0;
	if (!memory_try_u32(walk->of->memory, at + 8, &digit))
		return false;
	*ret = digit;
	return true;
}

static void add_place(struct record *record, uint64_t offset)
{
	// A field with a title is in the dict twice.
	for (size_t i = 0; i < record->num_places; i++)
		if (record->places[i] == offset)
			return;
	if (record->num_places < PLACES_MAX)
		record->places[record->num_places++] = offset;
}

static void add_descr(struct record *record, uint64_t descr, uint64_t offset)
{
	uint32_t number = number_of(record->walk, descr);

	if (number == NUMBER_OBJECT) {
		add_place(record, offset);
	} else if (number == NUMBER_VOID &&
		   record->num_pending < PLACES_MAX) {
		record->pending[record->num_pending].descr = descr;
		record->pending[record->num_pending++].offset = offset;
	}
}

/** Fields are tuples of descr, offset and perhaps a title. */
static void look_at_fields(struct record *record, uint64_t fields,
			   uint64_t offset)
{
	const struct walk *walk = record->walk;
	uint32_t items = pyh_offset(walk->runtime, PYH_TUPLE_OB_ITEM);
	struct pyh_dict_walk entries;
	uint64_t key, field, at;

	if (pyh_dict_walk(walk->runtime, walk->of->memory, fields,
			  &entries) != PYH_FOUND)
		return;
	while (record->looked_at++ < FIELDS_MAX &&
	       pyh_dict_next(&entries, &key, &field))
		if (is_of(walk, field, walk->runtime->types.tuple) &&
		    small_int(walk, word_at(walk, field + items + 8), &at))
			add_descr(record, word_at(walk, field + items),
				  offset + at);
}

/** Of records that have objects in some of their fields. */
static void each_of_records(struct walk *walk, uint64_t data, uint64_t count,
			    uint64_t descr)
{
	struct record record = { .walk = walk };
	uint64_t size = size_of_item(walk, descr);
	struct pyh_ref ref = walk_item(walk);

	add_descr(&record, descr, 0);
	while (record.num_pending > 0) {
		uint64_t at = record.pending[--record.num_pending].offset;
		uint64_t fields = fields_of(
			walk, record.pending[record.num_pending].descr);

		if (fields)
			look_at_fields(&record, fields, at);
	}
	if (record.num_places == 0 || size == 0 || size > RECORD_MAX ||
	    !walk_pay(walk, count * record.num_places))
		return;
	for (uint64_t i = 0; i < count && !walk->stopped; i++, data += size)
		for (size_t j = 0; j < record.num_places; j++) {
			// Records are packed: they begin anywhere.
			if (record.places[j] + 8 > size ||
			    !memory_try_read(walk->of->memory,
					     data + record.places[j],
					     &ref.address, sizeof(ref.address)))
				return;
			ref.index = i;
			walk_tell(walk, &ref);
		}
}

/**
 * Items that are objects or have some, as far as they are the array's own and
 * not another one's. Words behind the header: data, the number of dimensions,
 * those, their strides, base, descr, flags.
 */
void walk_ndarray(struct walk *walk)
{
	uint32_t header = walk->runtime->size_of[PYH_STRUCT_OBJECT], number;
	uint64_t dimensions = walk_own_word(walk, header + 8) & UINT32_MAX;
	uint64_t at = walk_own_word(walk, header + 16), count = 1;
	uint64_t descr = walk_own_word(walk, header + 40);

	if (!(walk_own_word(walk, header + 48) & OWNS_DATA) ||
	    dimensions > DIMENSIONS_MAX)
		return;
	number = number_of(walk, descr);
	if (number != NUMBER_OBJECT && number != NUMBER_VOID)
		return;
	for (uint64_t i = 0; i < dimensions; i++) {
		uint64_t size;

		if (!memory_try_u64(walk->of->memory, at + i * 8, &size) ||
		    size > ITEMS_MAX || count * size > ITEMS_MAX)
			return;
		count *= size;
	}
	if (number == NUMBER_OBJECT)
		walk_each_word(walk, walk_own_word(walk, header), count,
			       walk_item(walk));
	else
		each_of_records(walk, walk_own_word(walk, header), count,
				descr);
}
