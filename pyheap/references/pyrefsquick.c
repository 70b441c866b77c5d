/*
 * References of plain objects; see pyrefsquick.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyrefsquick.h"

#include "pyheap/sizes/pysize.h"
#include "pyheap/values/pydict.h"

enum { SMALLEST_ADDRESS = 4096 };

/* --- types ------------------------------------------------------------------- */

static enum pyh_quick_content content_of(const struct pyh_runtime *runtime,
					 const struct pyh_type *type)
{
	bool managed = runtime->minor >= 11 &&
		       type->flags & PYH_TPFLAGS_MANAGED_DICT;

	if (type->kind == PYH_KIND_OTHER && managed && type->presize == 32)
		return type->lane == PYH_LANE_MANAGED ? PYH_QUICK_BESIDE :
		       type->lane == PYH_LANE_INLINE ? PYH_QUICK_BEHIND :
						       PYH_QUICK_NO;
	// Variable ones have their dict at the end.
	if (managed || type->dictoffset < 0 || type->lane == PYH_LANE_NONE)
		return PYH_QUICK_NO;
	switch (type->kind) {
	case PYH_KIND_OTHER:
		return PYH_QUICK_NOTHING;
	case PYH_KIND_LIST:
		return PYH_QUICK_LIST;
	case PYH_KIND_TUPLE:
		return PYH_QUICK_TUPLE;
	case PYH_KIND_DICT:
		return PYH_QUICK_DICT;
	default:
		return PYH_QUICK_NO;
	}
}

struct pyh_quick_type pyh_quick_type(const struct pyh_runtime *runtime,
				     struct pyh_shapes *shapes,
				     const struct pyh_type *type)
{
	const struct pyh_shape *shape = pyh_shape_of(shapes, type);
	bool plain = shape && shape->complete && !shape->items_from &&
		     !shape->array && shape->special == PYH_SPECIAL_NONE;

	return (struct pyh_quick_type){
		.address = type->address, .shape = shape,
		.content = plain ? content_of(runtime, type) : PYH_QUICK_NO };
}

/* --- objects ----------------------------------------------------------------- */

/** Tell of a reference, unless it is none. The caller knows that there is room. */
static inline void add(struct pyh_quick_refs *ret, enum pyh_ref_kind kind,
		       enum pyh_hold hold, uint64_t address)
{
	ret->refs[ret->count] = (struct pyh_quick_ref){
		.address = address, .kind = (uint8_t)kind,
		.hold = (uint8_t)hold };
	ret->count += address != 0;
}

static inline bool has_room(const struct pyh_quick_refs *ret, uint64_t more)
{
	return more < PYH_QUICK_REFS - ret->count;
}

/** @return false if the words are not at hand, or too many */
static inline bool add_words(struct pyh_quick_refs *ret,
			     enum pyh_ref_kind kind, enum pyh_hold hold,
			     const uint8_t *words, uint64_t count)
{
	if (!words || !has_room(ret, count))
		return false;
	for (uint32_t i = 0; i < count; i++)
		add(ret, kind, hold, pyh_word(words, 8 * i));
	return true;
}

/** Bytes at an address elsewhere, if that is where words can be. */
static inline const uint8_t *words_at(const struct pyh_referrer *of,
				      uint64_t address, uint64_t count)
{
	return address % 8 == 0 && count < PYH_QUICK_REFS ?
		       memory_peek(of->memory, address, count * 8) : NULL;
}

static inline bool add_slots(const struct pyh_referrer *of,
			     const struct pyh_shape *shape,
			     struct pyh_quick_refs *ret)
{
	if (!has_room(ret, shape->num_refs))
		return false;
	for (size_t i = 0; i < shape->num_refs; i++) {
		const struct pyh_slot *slot = &shape->refs[i];
		uint64_t end = (uint64_t)slot->offset + 8, word;

		if (end > of->extent)
			continue;
		if (end > of->available)
			return false;
		word = pyh_word(of->body, slot->offset);
		if (word % 8 == 0 && word >= SMALLEST_ADDRESS)
			add(ret, slot->kind == PYH_SLOT_DICT ? PYH_REF_DICT :
							       PYH_REF_FIELD,
			    slot->hold, word);
	}
	return true;
}

static inline bool add_list(const struct pyh_referrer *of,
			    enum pyh_hold hold, struct pyh_quick_refs *ret)
{
	const struct pyh_runtime *runtime = of->runtime;
	uint64_t count = pyh_word(of->body,
				  pyh_offset(runtime, PYH_VAR_OB_SIZE));
	uint64_t items = pyh_word(of->body,
				  pyh_offset(runtime, PYH_LIST_OB_ITEM));

	return count == 0 ||
	       (count <= pyh_word(of->body,
				  pyh_offset(runtime, PYH_LIST_ALLOCATED)) &&
		add_words(ret, PYH_REF_ITEM, hold, words_at(of, items, count),
			  count));
}

static inline bool add_tuple(const struct pyh_referrer *of,
			     enum pyh_hold hold, struct pyh_quick_refs *ret)
{
	const struct pyh_runtime *runtime = of->runtime;
	uint64_t count = pyh_word(of->body,
				  pyh_offset(runtime, PYH_VAR_OB_SIZE));
	uint64_t from = pyh_offset(runtime, PYH_TUPLE_OB_ITEM), end;

	if (!pyh_has(runtime, PYH_TUPLE_OB_ITEM) || count > PYH_QUICK_REFS)
		return false;
	end = from + count * 8;
	return end <= of->extent && end <= of->available &&
	       of->type->hidden_items == 0 &&
	       add_words(ret, PYH_REF_ITEM, hold, of->body + from, count);
}

/**
 * Entries in the table of a dict, with a hash, or with keys of str only, which
 * are not visited. Up to 3.10 no dict is measured quickly.
 */
static bool add_entries(const struct pyh_referrer *of,
			const struct pyh_keys *keys, enum pyh_hold hold,
			struct pyh_quick_refs *ret)
{
	uint32_t words = keys->unicode ? 2 : 3;
	const uint8_t *entry = words_at(of, keys->entries,
					keys->nentries * words);
	enum pyh_hold key_hold = keys->unicode ? PYH_HOLD_UNTRAVERSED : hold;

	if (!entry || !has_room(ret, keys->nentries * 2))
		return false;
	for (uint64_t i = 0; i < keys->nentries; i++, entry += words * 8) {
		uint64_t key = pyh_word(entry, words * 8 - 16);
		uint64_t value = pyh_word(entry, words * 8 - 8);

		// It may be that of interned strings.
		if (i == 0 && key == value)
			return false;
		if (key && value) {
			add(ret, PYH_REF_KEY, key_hold, key);
			add(ret, PYH_REF_VALUE, hold, value);
		}
	}
	return true;
}

static bool add_dict(const struct pyh_referrer *of, enum pyh_hold hold,
		     struct pyh_quick_refs *ret)
{
	const struct pyh_runtime *runtime = of->runtime;
	struct pyh_keys keys;

	return pyh_word(of->body, pyh_offset(runtime, PYH_DICT_MA_VALUES)) ==
		       0 &&
	       pyh_keys_read(runtime, of->memory,
			     pyh_word(of->body, pyh_offset(runtime,
							   PYH_DICT_MA_KEYS)),
			     &keys) == PYH_FOUND &&
	       (keys.nentries == 0 ||
		(keys.nentries < PYH_QUICK_REFS / 3 &&
		 add_entries(of, &keys, hold, ret)));
}

/** Words before the GC head: 3.11 has values and a dict, 3.12 one of the two. */
static inline bool add_beside(const struct pyh_referrer *of,
			      const struct pyh_shape *shape,
			      struct pyh_quick_refs *ret)
{
	uint64_t dict = pyh_word(of->body - 24, 0), values;

	if (of->runtime->minor == 11) {
		values = dict ? 0 : pyh_word(of->body - 32, 0);
	} else {
		values = dict & 1 ? dict + 1 : 0;
		dict = values ? 0 : dict;
	}
	if (dict || values % 8)
		return false;
	return values == 0 || shape->num_shared_keys == 0 ||
	       add_words(ret, PYH_REF_ATTRIBUTE, shape->dict_hold,
			 words_at(of, values, shape->num_shared_keys),
			 shape->num_shared_keys);
}

/** Values behind the fields that no dict has taken over. */
static inline bool add_behind(const struct pyh_referrer *of,
			      const struct pyh_shape *shape,
			      struct pyh_quick_refs *ret)
{
	const struct pyh_runtime *runtime = of->runtime;
	uint64_t at = (uint64_t)of->type->basicsize;
	uint64_t from = at + pyh_offset(runtime, PYH_VALUES_VALUES);
	uint64_t end = from + 8 * (uint64_t)shape->num_shared_keys;

	if (end > of->available || pyh_word(of->body - 24, 0) != 0)
		return false;
	return of->body[at + pyh_offset(runtime, PYH_VALUES_VALID)] &&
	       add_words(ret, PYH_REF_ATTRIBUTE, shape->dict_hold,
			 of->body + from, shape->num_shared_keys);
}

bool pyh_refs_quick(const struct pyh_referrer *of,
		    const struct pyh_quick_type *type,
		    struct pyh_quick_refs *ret)
{
	const struct pyh_shape *shape = type->shape;

	if (type->content == PYH_QUICK_NO ||
	    of->available < (uint64_t)of->type->basicsize)
		return false;
	ret->count = 0;
	add(ret, PYH_REF_TYPE, shape->type_hold, type->address);
	if (!add_slots(of, shape, ret))
		return false;
	switch (type->content) {
	case PYH_QUICK_LIST:
		return add_list(of, shape->content_hold, ret);
	case PYH_QUICK_TUPLE:
		return add_tuple(of, shape->content_hold, ret);
	case PYH_QUICK_DICT:
		return add_dict(of, shape->content_hold, ret);
	case PYH_QUICK_BESIDE:
		return add_beside(of, shape, ret);
	case PYH_QUICK_BEHIND:
		return add_behind(of, shape, ret);
	default:
		return true;
	}
}
