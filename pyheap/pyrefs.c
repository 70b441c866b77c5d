/*
 * What an object refers to; see pyrefs.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: the tp_traverse functions of CPython, and what those leave out: keys
 * that are strings, names, fields of code. Bounds come from the census, which
 * has measured the object, and from the buffers' own headers, checked again.
 */
#include "pyheap/pyrefs.h"

#include <string.h>

#include "pyheap/pydict.h"
#include "pyheap/pyobject.h"

enum {
	BATCH = 256,			/* words read at a time */
	ITEMS_MAX = 1 << 30,
	FRAME_SLOTS_MAX = 1 << 20,
	DEQUE_BLOCK_ITEMS = 64,
	LINKS_MAX = 1 << 24,
	MODULE_STATE_MAX = 1 << 24,
	JOIN_TAG = 1,			/* in text and tail of an Element */
};

#define LRU_CACHE "functools._lru_cache_wrapper"
#define STACK_TAG_MASK UINT64_C(3)	/* of references in frames, 3.14+ */

struct walk {
	const struct pyh_referrer *of;
	const struct pyh_runtime *runtime;
	pyh_ref_fn *fn;
	void *context;
	bool stopped;
};

static void emit(struct walk *walk, struct pyh_ref ref)
{
	if (ref.kind == PYH_REF_GUESS)
		ref.hold = PYH_HOLD_GUESSED;
	if (ref.address != 0 && !walk->stopped)
		walk->stopped = !walk->fn(walk->context, &ref);
}

/** Bytes of the object itself. */
static bool own(const struct walk *walk, uint64_t offset, void *buffer,
		size_t size)
{
	const struct pyh_referrer *of = walk->of;

	if (offset <= of->available && size <= of->available - offset) {
		memcpy(buffer, of->body + offset, size);
		return true;
	}
	return memory_try_read(of->memory, of->address + offset, buffer, size);
}

static uint64_t own_word(const struct walk *walk, uint64_t offset)
{
	uint64_t word;

	return own(walk, offset, &word, sizeof(word)) ? word : 0;
}

static uint64_t own_field(const struct walk *walk, enum pyh_field field)
{
	struct pyh_field_at at = walk->runtime->at[field];
	uint64_t value = 0;

	return at.size >= 1 && at.size <= 8 &&
			       own(walk, at.offset, &value, at.size) ?
		       value : 0;
}

static uint64_t field_at(const struct walk *walk, uint64_t structure,
			 enum pyh_field field)
{
	uint64_t value;

	return structure && pyh_field(walk->runtime, walk->of->memory,
				      structure, field, &value) ? value : 0;
}

/** Few words need no counting: objects are as many as the dump has room for. */
static bool pay(const struct walk *walk, uint64_t words)
{
	return words <= BATCH ||
	       (words <= ITEMS_MAX &&
		pyh_shapes_pay(walk->of->shapes, walk->of->address, words));
}

/* --- arrays ----------------------------------------------------------------------- */

/** Words of an array elsewhere: references of one kind, without names. */
static void each_word(struct walk *walk, uint64_t array, uint64_t count,
		      enum pyh_ref_kind kind, uint64_t first_index)
{
	uint64_t words[BATCH];

	if (array == 0 || array % 8 || !pay(walk, count))
		return;
	for (uint64_t at = 0; at < count && !walk->stopped; at += BATCH) {
		uint64_t n = count - at < BATCH ? count - at : BATCH;

		if (!memory_try_read(walk->of->memory, array + at * 8, words,
				     (size_t)n * 8))
			return;
		for (uint64_t i = 0; i < n && !walk->stopped; i++)
			emit(walk, (struct pyh_ref){
				.kind = kind, .address = words[i],
				.index = first_index + at + i });
	}
}

/** Words of the object itself. */
static void each_own_word(struct walk *walk, uint64_t offset, uint64_t count,
			  enum pyh_ref_kind kind)
{
	uint64_t room = walk->of->extent > offset ?
				(walk->of->extent - offset) / 8 : 0;
	uint64_t inside = walk->of->available > offset ?
				  (walk->of->available - offset) / 8 : 0;

	if (count > room)
		count = room;
	if (inside > count)
		inside = count;
	for (uint64_t i = 0; i < inside && !walk->stopped; i++)
		emit(walk, (struct pyh_ref){
			.kind = kind,
			.address = own_word(walk, offset + i * 8),
			.index = i });
	if (inside < count)
		each_word(walk, walk->of->address + offset + inside * 8,
			  count - inside, kind, inside);
}

/* --- containers -------------------------------------------------------------------- */

static void each_of_list(struct walk *walk)
{
	uint64_t count = own_field(walk, PYH_VAR_OB_SIZE);

	if (count <= own_field(walk, PYH_LIST_ALLOCATED))
		each_word(walk, own_field(walk, PYH_LIST_OB_ITEM), count,
			  PYH_REF_ITEM, 0);
}

static void each_of_tuple(struct walk *walk)
{
	uint64_t count = own_field(walk, PYH_VAR_OB_SIZE) +
			 walk->of->type->hidden_items;

	if (pyh_has(walk->runtime, PYH_TUPLE_OB_ITEM))
		each_own_word(walk, pyh_offset(walk->runtime,
					       PYH_TUPLE_OB_ITEM),
			      count, PYH_REF_ITEM);
}

static void each_of_dict(struct walk *walk)
{
	struct pyh_dict_walk entries;
	uint64_t key, value;

	if (pyh_dict_walk(walk->runtime, walk->of->memory, walk->of->address,
			  &entries) != PYH_FOUND ||
	    !pay(walk, entries.keys.nentries))
		return;
	while (!walk->stopped && pyh_dict_next(&entries, &key, &value)) {
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY,
			.address = key, .index = entries.next - 1 });
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_VALUE,
			.address = value, .key = key,
			.index = entries.next - 1 });
	}
}

/** The table of a set: pairs of key and hash; a deleted one has hash -1. */
static void each_of_set(struct walk *walk)
{
	uint64_t table = own_field(walk, PYH_SET_TABLE);
	uint64_t mask = own_field(walk, PYH_SET_MASK);
	uint64_t words[BATCH];

	if (table == 0 || table % 8 || mask & (mask + 1) || !pay(walk, mask))
		return;
	for (uint64_t at = 0; at <= mask && !walk->stopped; at += BATCH / 2) {
		uint64_t left = mask + 1 - at;
		uint64_t n = left < BATCH / 2 ? left : BATCH / 2;

		if (!memory_try_read(walk->of->memory, table + at * 16, words,
				     (size_t)n * 16))
			return;
		for (uint64_t i = 0; i < n; i++) {
			if (words[2 * i + 1] == UINT64_MAX)
				continue;
			emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY,
				.address = words[2 * i], .index = at + i });
		}
	}
}

static void each_of_deque(struct walk *walk)
{
	uint64_t count = own_field(walk, PYH_VAR_OB_SIZE), done = 0;
	uint64_t block = own_field(walk, PYH_DEQUE_LEFTBLOCK);
	uint64_t index = own_field(walk, PYH_DEQUE_LEFTINDEX);
	uint32_t data = pyh_offset(walk->runtime, PYH_DEQUEBLOCK_DATA);

	if (index > DEQUE_BLOCK_ITEMS || !pay(walk, count))
		return;
	while (done < count && block && block % 8 == 0 && !walk->stopped) {
		uint64_t n = DEQUE_BLOCK_ITEMS - index;

		if (n > count - done)
			n = count - done;
		each_word(walk, block + data + index * 8, n, PYH_REF_ITEM,
			  done);
		done += n;
		index = 0;
		block = field_at(walk, block, PYH_DEQUEBLOCK_RIGHTLINK);
	}
}

static void each_of_element(struct walk *walk)
{
	uint64_t extra = own_field(walk, PYH_ELEMENT_EXTRA);
	uint64_t count = field_at(walk, extra, PYH_ELEMENTEXTRA_LENGTH);

	if (extra == 0 || extra % 8)
		return;
	emit(walk, (struct pyh_ref){ .kind = PYH_REF_FIELD, .name = "attrib",
		.address = field_at(walk, extra, PYH_ELEMENTEXTRA_ATTRIB) });
	if (count <= field_at(walk, extra, PYH_ELEMENTEXTRA_ALLOCATED))
		each_word(walk, field_at(walk, extra,
					 PYH_ELEMENTEXTRA_CHILDREN),
			  count, PYH_REF_ITEM, 0);
}

/** The results that a functools.lru_cache keeps: a ring of links. */
static void each_of_lru_cache(struct walk *walk)
{
	uint64_t link = own_field(walk, PYH_LRUCACHE_ROOT_NEXT);
	uint64_t root = walk->of->address +
			pyh_offset(walk->runtime, PYH_LRUCACHE_ROOT_PREV) -
			pyh_offset(walk->runtime, PYH_LRULINK_PREV);

	for (uint64_t i = 0; link && link % 8 == 0 && link != root &&
			     i < LINKS_MAX && !walk->stopped; i++) {
		uint64_t key = field_at(walk, link, PYH_LRULINK_KEY);

		if (i % BATCH == BATCH - 1 && !pay(walk, BATCH + 1))
			return;
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_ITEM,
			.address = link, .index = i });
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY,
			.address = key, .index = i });
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_VALUE, .key = key,
			.address = field_at(walk, link, PYH_LRULINK_RESULT),
			.index = i });
		link = field_at(walk, link, PYH_LRULINK_NEXT);
	}
}

/** What a module written in C keeps for itself is known to its code alone. */
static void each_of_module(struct walk *walk)
{
	uint64_t size = own_field(walk, PYH_MODULE_MD_STATE_SIZE);
	uint64_t definition = own_field(walk, PYH_MODULE_MD_DEF);

	if (size == 0)
		size = field_at(walk, definition, PYH_MODULEDEF_M_SIZE);
	if (size <= MODULE_STATE_MAX)
		each_word(walk, own_field(walk, PYH_MODULE_MD_STATE), size / 8,
			  PYH_REF_GUESS, 0);
}

/** 3.12 and later: objects that were made when asked for, then kept. */
static void each_of_code(struct walk *walk)
{
	uint64_t cached = own_field(walk, PYH_CODE_CO_CACHED);

	each_word(walk, cached,
		  walk->runtime->size_of[PYH_STRUCT_COCACHED] / 8,
		  PYH_REF_FIELD, 0);
}

/* --- frames --------------------------------------------------------------------------- */

static void emit_stack_ref(struct walk *walk, uint64_t word,
			   struct pyh_ref ref)
{
	// 3.14 and later: tags in the low bits; 3 is an integer, 1 alone NULL.
	if (walk->runtime->minor >= 14) {
		if ((word & STACK_TAG_MASK) == STACK_TAG_MASK)
			return;
		word &= ~STACK_TAG_MASK;
	}
	ref.address = word;
	if (word % 8 == 0)
		emit(walk, ref);
}

/** An interpreter frame (3.11 and later) within an object or a frame's data. */
static void each_of_iframe(struct walk *walk, uint64_t frame)
{
	static const struct {
		enum pyh_field field;
		const char *name;
	} fields[] = {
		{ PYH_IFRAME_F_EXECUTABLE, "f_code" },
		{ PYH_IFRAME_F_CODE, "f_code" },
		{ PYH_IFRAME_F_FUNC, "f_func" },
		{ PYH_IFRAME_F_FUNCOBJ, "f_funcobj" },
		{ PYH_IFRAME_F_LOCALS, "f_locals" },
		{ PYH_IFRAME_FRAME_OBJ, "frame_obj" },
	};
	struct memory_reader *memory = walk->of->memory;
	uint64_t code = 0, locals, stack, word;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct pyh_ref ref = { .kind = PYH_REF_FIELD,
				       .name = fields[i].name };

		if (!pyh_has(walk->runtime, fields[i].field))
			continue;
		word = field_at(walk, frame, fields[i].field);
		emit_stack_ref(walk, word, ref);
		if (i < 2)
			code = walk->runtime->minor >= 14 ?
				       word & ~STACK_TAG_MASK : word;
	}
	if (code == 0 || code % 8)
		return;
	locals = field_at(walk, code, PYH_CODE_CO_NLOCALSPLUS) & UINT32_MAX;
	stack = field_at(walk, code, PYH_CODE_CO_STACKSIZE) & UINT32_MAX;
	if (locals + stack > FRAME_SLOTS_MAX || !pay(walk, locals + stack))
		return;
	// How deep the stack is, is told while the frame does not run.
	if (pyh_has(walk->runtime, PYH_IFRAME_STACKTOP)) {
		uint64_t top = field_at(walk, frame, PYH_IFRAME_STACKTOP) &
			       UINT32_MAX;

		stack = top >= locals && top <= locals + stack ? top - locals :
								 0;
	} else {
		uint64_t start = frame + pyh_offset(walk->runtime,
						    PYH_IFRAME_LOCALSPLUS);
		uint64_t top = field_at(walk, frame, PYH_IFRAME_STACKPOINTER);

		top = (top - start) / 8;
		stack = top >= locals && top <= locals + stack ? top - locals :
								 0;
	}
	for (uint64_t i = 0; i < locals + stack && !walk->stopped; i++) {
		if (!memory_try_u64(memory, frame +
				    pyh_offset(walk->runtime,
					       PYH_IFRAME_LOCALSPLUS) + i * 8,
				    &word))
			return;
		emit_stack_ref(walk, word, (struct pyh_ref){
			.kind = PYH_REF_LOCAL, .index = i });
	}
}

/** States in which the frame of a generator holds nothing any more. */
static bool generator_is_over(const struct walk *walk)
{
	int8_t state = (int8_t)own_field(walk, PYH_GEN_GI_FRAME_STATE);

	return walk->runtime->minor >= 15 ? state >= 5 : state >= 1;
}

static void each_of_generator(struct walk *walk)
{
	if (pyh_has(walk->runtime, PYH_GEN_GI_IFRAME) &&
	    !generator_is_over(walk))
		each_of_iframe(walk, walk->of->address +
					     pyh_offset(walk->runtime,
							PYH_GEN_GI_IFRAME));
}

/** 3.8 to 3.10: all variables and the stack are in the object. */
static void each_of_old_frame(struct walk *walk)
{
	uint64_t slots = own_field(walk, PYH_VAR_OB_SIZE);

	if (pyh_has(walk->runtime, PYH_FRAME_F_LOCALSPLUS))
		each_own_word(walk, pyh_offset(walk->runtime,
					       PYH_FRAME_F_LOCALSPLUS),
			      slots, PYH_REF_LOCAL);
}

static void each_of_frame(struct walk *walk)
{
	uint64_t frame;

	if (!pyh_has(walk->runtime, PYH_FRAME_F_FRAME)) {
		each_of_old_frame(walk);
		return;
	}
	// A frame that runs, or that a generator owns, is not this object's.
	frame = own_field(walk, PYH_FRAME_F_FRAME);
	if (frame == walk->of->address + pyh_offset(walk->runtime,
						    PYH_FRAME_F_FRAME_DATA))
		each_of_iframe(walk, frame);
}

/* --- attributes without a dict ---------------------------------------------------------- */

/** Values whose names are the shared keys of the type. */
static void each_value(struct walk *walk, uint64_t values, enum pyh_hold hold)
{
	uint64_t keys_at = field_at(walk, walk->of->type->address,
				    PYH_HEAPTYPE_HT_CACHED_KEYS);
	size_t step;
	struct pyh_keys keys;

	if (pyh_keys_read(walk->runtime, walk->of->memory, keys_at, &keys) !=
		    PYH_FOUND ||
	    keys.nentries > UINT8_MAX)
		return;
	step = keys.unicode ? 16 : 24;
	for (uint64_t i = 0; i < keys.nentries && !walk->stopped; i++) {
		uint64_t key, value;

		if (!memory_try_u64(walk->of->memory, values + i * 8, &value) ||
		    !memory_try_u64(walk->of->memory,
				    keys.entries + i * step + (step - 16),
				    &key))
			return;
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_ATTRIBUTE,
			.address = value, .key = key, .index = i,
			.hold = hold });
	}
}

static void each_inline_value(struct walk *walk, enum pyh_hold hold)
{
	const struct pyh_runtime *runtime = walk->runtime;
	uint64_t at = walk->of->address + (uint64_t)walk->of->type->basicsize;

	if (field_at(walk, at, PYH_VALUES_VALID) & 1)
		each_value(walk, at + pyh_offset(runtime, PYH_VALUES_VALUES),
			   hold);
}

/**
 * The managed dict of 3.11 and later, or the values that stand for it, in
 * words before the GC head.
 */
static void each_managed(struct walk *walk)
{
	struct memory_reader *memory = walk->of->memory;
	uint64_t address = walk->of->address, dict = 0, values = 0;

	switch (walk->runtime->minor) {
	case 11:
		(void)memory_try_u64(memory, address - 32, &values);
		(void)memory_try_u64(memory, address - 24, &dict);
		break;
	case 12:
		(void)memory_try_u64(memory, address - 24, &dict);
		if (dict & 1) {
			values = dict + 1;
			dict = 0;
		}
		break;
	default:
		(void)memory_try_u64(memory, address - 24, &dict);
	}
	emit(walk, (struct pyh_ref){ .kind = PYH_REF_DICT, .address = dict,
				     .name = "__dict__" });
	if (values && values % 8 == 0)
		each_value(walk, values, PYH_HOLD_TRAVERSED);
	// A dict that was made later holds them, in the same place, until one
	// of the two dies.
	if (walk->of->type->flags & PYH_TPFLAGS_INLINE_VALUES &&
	    pyh_has(walk->runtime, PYH_VALUES_VALUES))
		each_inline_value(walk, dict ? PYH_HOLD_NONE :
					       PYH_HOLD_TRAVERSED);
}

/* --- fields -------------------------------------------------------------------------------- */

static void each_slot(struct walk *walk, const struct pyh_shape *shape)
{
	bool element = walk->of->type->kind == PYH_KIND_ELEMENT;

	for (size_t i = 0; i < shape->num_slots && !walk->stopped; i++) {
		const struct pyh_slot *slot = &shape->slots[i];
		uint64_t word;

		if (slot->kind == PYH_SLOT_OTHER ||
		    (uint64_t)slot->offset + 8 > walk->of->extent)
			continue;
		word = own_word(walk, slot->offset);
		if (element)
			word &= ~(uint64_t)JOIN_TAG;
		if (word % 8)
			continue;
		emit(walk, (struct pyh_ref){
			.kind = slot->kind == PYH_SLOT_DICT ? PYH_REF_DICT :
							      PYH_REF_FIELD,
			.address = word, .index = slot->offset,
			.name = slot->name });
	}
}

/** Words of the structure that nothing is known of. */
static void each_guess(struct walk *walk, const struct pyh_shape *shape)
{
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
		word = own_word(walk, at);
		if (word % 8 == 0)
			emit(walk, (struct pyh_ref){ .kind = PYH_REF_GUESS,
				.address = word, .index = at });
	}
}

/**
 * Types of variable size have their dict at the end: tp_dictoffset counts from
 * there. Source: _PyObject_GetDictPtr().
 */
static void each_dict_at_end(struct walk *walk)
{
	const struct pyh_type *type = walk->of->type;
	uint64_t count = own_field(walk, PYH_VAR_OB_SIZE), size;

	if (type->kind == PYH_KIND_INT) {
		// The count carries the sign, or stands above three bits.
		if (pyh_has(walk->runtime, PYH_LONG_LONG_VALUE_LV_TAG))
			count = own_field(walk, PYH_LONG_LONG_VALUE_LV_TAG) >> 3;
		else if (count >> 63)
			count = -count;
	}
	if (count > ITEMS_MAX)
		return;
	size = (uint64_t)type->basicsize + count * (uint64_t)type->itemsize;
	size = ((size + 7) & ~UINT64_C(7)) - (uint64_t)-type->dictoffset;
	if (size >= 16 && size + 8 <= walk->of->extent)
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_DICT,
			.address = own_word(walk, size), .index = size,
			.name = "__dict__" });
}

static bool has_managed_dict(const struct walk *walk)
{
	return walk->runtime->minor >= 11 &&
	       walk->of->type->flags & PYH_TPFLAGS_MANAGED_DICT;
}

static void each_of_content(struct walk *walk)
{
	switch (walk->of->type->kind) {
	case PYH_KIND_LIST:
		each_of_list(walk);
		break;
	case PYH_KIND_TUPLE:
	case PYH_KIND_STRUCTSEQ:
		each_of_tuple(walk);
		break;
	case PYH_KIND_DICT:
	case PYH_KIND_STGDICT:
	case PYH_KIND_ODICT:
		each_of_dict(walk);
		break;
	case PYH_KIND_SET:
		each_of_set(walk);
		break;
	case PYH_KIND_DEQUE:
		each_of_deque(walk);
		break;
	case PYH_KIND_ELEMENT:
		each_of_element(walk);
		break;
	case PYH_KIND_GENERATOR:
		each_of_generator(walk);
		break;
	case PYH_KIND_FRAME:
		each_of_frame(walk);
		break;
	case PYH_KIND_CODE:
		each_of_code(walk);
		break;
	case PYH_KIND_MODULE:
		each_of_module(walk);
		break;
	case PYH_KIND_OTHER:
		if (strcmp(walk->of->type->name, LRU_CACHE) == 0)
			each_of_lru_cache(walk);
		break;
	default:
		break;
	}
}

/** Kinds whose own bytes are values and no references. */
static bool holds_values(enum pyh_kind kind)
{
	return kind == PYH_KIND_STR || kind == PYH_KIND_BYTES ||
	       kind == PYH_KIND_BYTEARRAY || kind == PYH_KIND_INT ||
	       kind == PYH_KIND_FLOAT || kind == PYH_KIND_COMPLEX ||
	       kind == PYH_KIND_DECIMAL;
}

void pyh_refs_each(const struct pyh_referrer *referrer, pyh_ref_fn *fn,
		   void *context)
{
	struct walk walk = { .of = referrer, .runtime = referrer->runtime,
			     .fn = fn, .context = context };
	const struct pyh_type *type = referrer->type;
	const struct pyh_shape *shape;

	emit(&walk, (struct pyh_ref){ .kind = PYH_REF_TYPE,
				      .address = type->address });
	if (pyh_object_is_leaf(type))
		return;
	shape = pyh_shape_of(referrer->shapes, type);
	if (!shape)
		return;
	each_slot(&walk, shape);
	if (has_managed_dict(&walk))
		each_managed(&walk);
	else if (type->dictoffset < 0)
		each_dict_at_end(&walk);
	each_of_content(&walk);
	if (!holds_values(type->kind) && type->kind != PYH_KIND_TUPLE)
		each_guess(&walk, shape);
}
