/*
 * What an object refers to; see pyrefs.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: the tp_traverse functions of CPython, and what those leave out: keys
 * that are strings, names, fields of code. Bounds come from the census, which
 * has measured the object, and from the buffers' own headers, checked again.
 */
#include "pyheap/references/pyrefswalk.h"
#include "pyheap/types/pyobject.h"

enum {
	JOIN_TAG = 1,			/* in text and tail of an Element */
	SMALLEST_ADDRESS = 4096,
};

/* --- reading ---------------------------------------------------------------------- */

bool walk_own(const struct walk *walk, uint64_t offset, void *buffer,
	      size_t size)
{
	const struct pyh_referrer *of = walk->of;

	if (offset <= of->available && size <= of->available - offset) {
		memcpy(buffer, of->body + offset, size);
		return true;
	}
	return memory_try_read(of->memory, of->address + offset, buffer, size);
}

uint64_t walk_own_field(const struct walk *walk, enum pyh_field field)
{
	struct pyh_field_at at = walk->runtime->at[field];
	uint64_t value = 0;

	if (at.size == 8)
		return walk_own_word(walk, at.offset);
	return at.size >= 1 && at.size <= 8 &&
			       walk_own(walk, at.offset, &value, at.size) ?
		       value : 0;
}

uint64_t walk_field_at(const struct walk *walk, uint64_t structure,
		       enum pyh_field field)
{
	uint64_t value;

	return structure && pyh_field(walk->runtime, walk->of->memory,
				      structure, field, &value) ? value : 0;
}

void walk_each_word(struct walk *walk, uint64_t array, uint64_t count,
		    struct pyh_ref like)
{
	uint64_t words[BATCH], first = like.index, n;

	if (array == 0 || array % 8 || !walk_pay(walk, count))
		return;
	for (uint64_t at = 0; at < count && !walk->stopped; at += n) {
		n = walk_read_some(walk, array + at * 8, words,
				   count - at < BATCH ? count - at : BATCH, 8);
		if (n == 0)
			return;
		for (uint64_t i = 0; i < n && !walk->stopped; i++) {
			like.address = words[i];
			like.index = first + at + i;
			walk_tell(walk, &like);
		}
	}
}

void walk_each_own_word(struct walk *walk, uint64_t offset, uint64_t count,
			struct pyh_ref like)
{
	uint64_t room = walk->of->extent > offset ?
				(walk->of->extent - offset) / 8 : 0;
	uint64_t inside = walk->of->available > offset ?
				  (walk->of->available - offset) / 8 : 0;
	uint64_t first = like.index;

	if (count > room)
		count = room;
	if (inside > count)
		inside = count;
	for (uint64_t i = 0; i < inside && !walk->stopped; i++) {
		memcpy(&like.address, walk->of->body + offset + i * 8,
		       sizeof(like.address));
		like.index = first + i;
		walk_tell(walk, &like);
	}
	like.index = first + inside;
	if (inside < count)
		walk_each_word(walk, walk->of->address + offset + inside * 8,
			       count - inside, like);
}

/* --- attributes without a dict ---------------------------------------------------------- */

/** Values whose names are the shared keys of the type. */
static void each_value(struct walk *walk, uint64_t values, enum pyh_hold hold)
{
	const struct pyh_shape *shape = walk->shape;
	struct pyh_ref ref = { .kind = PYH_REF_ATTRIBUTE, .hold = hold };
	uint64_t words[BATCH];

	if (shape->num_shared_keys == 0 ||
	    !memory_try_read(walk->of->memory, values, words,
			     shape->num_shared_keys * sizeof(words[0])))
		return;
	for (uint32_t i = 0; i < shape->num_shared_keys && !walk->stopped;
	     i++) {
		ref.address = words[i];
		ref.key = shape->shared_keys[i];
		ref.index = i;
		walk_tell(walk, &ref);
	}
}

/**
 * 3.13 and later: values behind the fields, after a header of their own, and
 * the dict that was made later and uses them in the same place, until one of
 * the two dies. Only one of the two tells of them.
 */
static void each_inline_value(struct walk *walk, struct pyh_ref dict)
{
	const struct pyh_runtime *runtime = walk->runtime;
	uint64_t at = (uint64_t)walk->of->type->basicsize;
	enum pyh_hold hold = dict.hold;
	uint8_t valid = 0;

	if (walk->of->type->flags & PYH_TPFLAGS_INLINE_VALUES)
		(void)walk_own(walk, at + pyh_offset(runtime, PYH_VALUES_VALID),
			       &valid, 1);
	if (valid && dict.address && walk_values_go_first(runtime))
		dict.hold = PYH_HOLD_UNTRAVERSED;
	else if (dict.address)
		hold = PYH_HOLD_NONE;
	walk_emit(walk, dict);
	if (valid)
		each_value(walk, walk->of->address + at +
				 pyh_offset(runtime, PYH_VALUES_VALUES), hold);
}

/**
 * The managed dict of 3.11 and later, or the values that stand for it, in
 * words before the GC head.
 */
static void each_managed(struct walk *walk)
{
	struct memory_reader *memory = walk->of->memory;
	uint64_t address = walk->of->address, values = 0;
	struct pyh_ref dict = { .kind = PYH_REF_DICT, .name = "__dict__",
				.hold = walk->shape->dict_hold };

	if (walk->runtime->minor == 11)
		(void)memory_try_u64(memory, address - 32, &values);
	// Free-threaded builds have no GC head between.
	(void)memory_try_u64(memory, address -
			     (walk->runtime->free_threaded ? 8 : 24),
			     &dict.address);
	if (walk->runtime->minor == 12 && dict.address & 1) {
		values = dict.address + 1;
		dict.address = 0;
	}
	if (walk->runtime->minor >= 13) {
		each_inline_value(walk, dict);
		return;
	}
	walk_emit(walk, dict);
	if (values && values % 8 == 0)
		each_value(walk, values, walk->shape->dict_hold);
}

/* --- fields -------------------------------------------------------------------------------- */

/**
 * How a static type holds what a slot refers to. It does not count its base,
 * but for one that was not named and became `object`, up to 3.9. A few name that
 * (`bytes`, `str`, those of _decimal), and nothing tells which. Source:
 * PyType_Ready().
 */
static enum pyh_hold static_type_hold(const struct walk *walk, uint32_t offset,
				      uint64_t word)
{
	if (offset != pyh_offset(walk->runtime, PYH_TYPE_TP_BASE))
		return PYH_HOLD_UNTRAVERSED;
	return walk->runtime->minor >= 10 ||
			       word != walk->runtime->types.object ?
		       PYH_HOLD_NONE : PYH_HOLD_GUESSED;
}

static void each_slot(struct walk *walk)
{
	const struct pyh_shape *shape = walk->shape;
	uint64_t tags = walk->of->type->kind == PYH_KIND_ELEMENT ? JOIN_TAG : 0;
	struct pyh_ref ref = { 0 };

	for (size_t i = 0; i < shape->num_refs && !walk->stopped; i++) {
		const struct pyh_slot *slot = &shape->refs[i];
		uint64_t word;

		if ((uint64_t)slot->offset + 8 > walk->of->extent)
			continue;
		word = walk_own_word(walk, slot->offset) & ~tags;
		if (word % 8 || word < SMALLEST_ADDRESS)
			continue;
		ref.kind = slot->kind == PYH_SLOT_DICT ? PYH_REF_DICT :
							 PYH_REF_FIELD;
		ref.hold = walk->uncollected ?
			static_type_hold(walk, slot->offset, word) : slot->hold;
		ref.address = word;
		ref.index = slot->offset;
		ref.name = slot->name;
		walk_tell(walk, &ref);
	}
}

/** References behind the structure, as many as a word of it says. */
static void each_item_behind(struct walk *walk)
{
	const struct pyh_shape *shape = walk->shape;
	uint64_t step = shape->items_step;
	uint64_t count = shape->items_count ?
		walk_own_word(walk, shape->items_count) & UINT32_MAX :
		walk_own_field(walk, PYH_VAR_OB_SIZE);

	if (step < 8 || count > ITEMS_MAX || !walk_pay(walk, count))
		return;
	for (uint64_t i = 0; i < count && !walk->stopped &&
		     shape->items_from + i * step + 8 <= walk->of->extent; i++)
		walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_ITEM, .index = i,
			.hold = shape->items_hold, .name = shape->items_name,
			.address = walk_own_word(walk,
					    shape->items_from + i * step) });
}

/** References in memory of its own. */
static void each_of_array(struct walk *walk)
{
	const struct pyh_known_array *array = walk->shape->array;
	uint64_t header = walk->runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t at = walk_own_word(walk, header + array->pointer * 8U), index = 0;
	uint64_t count = 0, words[BATCH / 8];

	if (array->count == PYH_ONE)
		count = 1;
	else if (!array->inner)
		count = walk_own_word(walk, header + array->count * 8U);
	else if (at == 0 || at % 8 ||
		 !memory_try_u64(walk->of->memory, at + array->count * 8U,
				 &count) ||
		 !memory_try_u64(walk->of->memory, at + array->inner * 8U, &at))
		return;
	if (at == 0 || at % 8 || !walk_pay(walk, count))
		return;
	for (uint64_t i = 0; i < count && !walk->stopped; i++, at += array->step) {
		if (!memory_try_read(walk->of->memory, at, words,
				     array->each * sizeof(words[0])))
			return;
		for (uint8_t j = 0; j < array->each; j++, index++)
			walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_ITEM,
				.hold = walk->shape->array_hold,
				.address = words[j], .index = index });
	}
}

/** Words of the structure that nothing is known of. */
static void each_guess(struct walk *walk)
{
	const struct pyh_shape *shape = walk->shape;
	uint64_t end = walk->of->extent & ~UINT64_C(7);
	size_t slot = 0;

	// Items behind an unknown structure are as unknown.
	if (walk->of->type->itemsize == 0 &&
	    end > (uint64_t)walk->of->type->basicsize)
		end = (uint64_t)walk->of->type->basicsize & ~UINT64_C(7);
	for (uint64_t at = shape->open_from; at < end && !walk->stopped;
	     at += 8) {
		uint64_t word;

		while (slot < shape->num_slots &&
		       shape->slots[slot].offset +
				       (uint64_t)shape->slots[slot].size <= at)
			slot++;
		if (slot < shape->num_slots &&
		    shape->slots[slot].offset < at + 8)
			continue;
		word = walk_own_word(walk, at);
		walk_emit_guess(walk, word, at);
	}
}

/**
 * Types of variable size have their dict at the end: tp_dictoffset counts from
 * there. Source: _PyObject_GetDictPtr().
 */
static void each_dict_at_end(struct walk *walk)
{
	const struct pyh_type *type = walk->of->type;
	uint64_t count = walk_own_field(walk, PYH_VAR_OB_SIZE), size;

	if (type->kind == PYH_KIND_INT) {
		// The count carries the sign, or stands above three bits.
		if (pyh_has(walk->runtime, PYH_LONG_LONG_VALUE_LV_TAG))
			count = walk_own_field(walk, PYH_LONG_LONG_VALUE_LV_TAG) >> 3;
		else if (count >> 63)
			count = -count;
	}
	if (count > ITEMS_MAX)
		return;
	size = (uint64_t)type->basicsize + count * (uint64_t)type->itemsize;
	size = ((size + 7) & ~UINT64_C(7)) - (uint64_t)-type->dictoffset;
	if (size >= 16 && size + 8 <= walk->of->extent)
		walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_DICT,
			.hold = walk->shape->dict_hold,
			.address = walk_own_word(walk, size), .index = size,
			.name = "__dict__" });
}

static bool has_managed_dict(const struct walk *walk)
{
	return walk->runtime->minor >= 11 &&
	       walk->of->type->flags & PYH_TPFLAGS_MANAGED_DICT;
}

/** Type objects themselves: those that are no heap types are not collected. */
static bool is_static_type(const struct walk *walk)
{
	const struct pyh_type *type = walk->of->type;

	return (type->kind == PYH_KIND_TYPE || type->kind == PYH_KIND_CTYPE) &&
	       !(walk_own_field(walk, PYH_TYPE_TP_FLAGS) & PYH_TPFLAGS_HEAPTYPE);
}

void pyh_refs_each(const struct pyh_referrer *referrer, pyh_ref_fn *fn,
		   void *context)
{
	const struct pyh_type *type = referrer->type;
	const struct pyh_shape *shape;
	struct walk walk = { .of = referrer, .runtime = referrer->runtime,
			     .fn = fn, .context = context };

	if (pyh_object_is_leaf(type)) {
		walk_emit(&walk, (struct pyh_ref){ .kind = PYH_REF_TYPE,
			.hold = PYH_HOLD_NONE, .address = type->address });
		return;
	}
	shape = pyh_shape_of(referrer->shapes, type);
	if (!shape)
		return;
	walk.shape = shape;
	walk.hold = shape->content_hold;
	walk.uncollected = is_static_type(&walk);
	walk_emit(&walk, (struct pyh_ref){ .kind = PYH_REF_TYPE,
		.hold = shape->type_hold, .address = type->address });
	each_slot(&walk);
	if (has_managed_dict(&walk))
		each_managed(&walk);
	else if (type->dictoffset < 0)
		each_dict_at_end(&walk);
	walk_content(&walk);
	if (shape->items_from)
		each_item_behind(&walk);
	if (shape->array)
		each_of_array(&walk);
	if (!shape->complete)
		each_guess(&walk);
}
