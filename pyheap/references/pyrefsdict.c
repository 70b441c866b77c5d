/*
 * What a dict refers to; see pyrefswalk.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyrefswalk.h"
#include "pyheap/values/pydict.h"

/** What the entries of a dict have in common. */
struct entries {
	struct pyh_keys keys;
	uint64_t values;		/* address; 0: in the entries */
	enum pyh_hold key_hold, value_hold;
};

/**
 * The table of interned strings holds each as key and value, and counts
 * neither. Up to 3.11 it is known by what it holds alone.
 */
static bool is_interned(struct walk *walk, const struct pyh_dict_walk *found)
{
	const struct pyh_runtime *runtime = walk->runtime;

	if (runtime->minor >= 12) {
		for (size_t i = 0; i < runtime->num_interpreters; i++)
			if (walk_field_at(walk, runtime->interpreters[i].address,
				     PYH_INTERP_CACHED_OBJECTS_INTERNED_STRINGS)
			    == walk->of->address)
				return true;
		return false;
	}
	return pyh_dict_is_interned(found);
}

/**
 * 3.13.0 to 3.13.12 and 3.14.0 to 3.14.3: values inside an instance are visited
 * by the instance, whose dict, if it has one, is not, and does not visit them.
 * Since then the dict is asked where there is one. Source: issue 130327,
 * PyObject_VisitManagedDict().
 */
bool walk_values_go_first(const struct pyh_runtime *runtime)
{
	unsigned int micro = runtime->version >> 8 & 0xff;

	return runtime->version_exact &&
	       ((runtime->minor == 13 && micro < 13) ||
		(runtime->minor == 14 && micro < 4));
}

/** Where keys go uncounted or unseen: Source: dict_traverse(). */
static void set_holds(struct walk *walk, struct entries *entries)
{
	bool visited = pyh_has(walk->runtime, PYH_KEYS_DK_LOOKUP) ?
		walk_field_at(walk, entries->keys.address, PYH_KEYS_DK_LOOKUP) ==
			pyh_shapes_lookdict(walk->of->shapes) :
		!entries->keys.unicode;

	entries->value_hold = walk->hold;
	entries->key_hold = visited ? walk->hold : PYH_HOLD_UNTRAVERSED;
	if (!entries->values)
		return;
	// A table that others share belongs to the type, which tells of it, or
	// to one of them, once the type has another.
	if (entries->keys.refcount != 1)
		entries->key_hold = pyh_shapes_is_cached(
			walk->of->shapes, entries->keys.address) ?
				PYH_HOLD_NONE : PYH_HOLD_GUESSED;
	if (walk_values_go_first(walk->runtime) &&
	    walk_field_at(walk, entries->values -
			   pyh_offset(walk->runtime, PYH_VALUES_VALUES),
		     PYH_VALUES_EMBEDDED) & 1)
		entries->value_hold = PYH_HOLD_NONE;
}

static void emit_entry(struct walk *walk, const struct entries *entries,
		       uint64_t key, uint64_t value, uint64_t index)
{
	struct pyh_ref ref = { .kind = PYH_REF_KEY, .address = key,
			       .index = index, .hold = entries->key_hold };

	walk_tell(walk, &ref);
	ref.kind = PYH_REF_VALUE;
	ref.hold = entries->value_hold;
	ref.address = value;
	ref.key = key;
	walk_tell(walk, &ref);
}

static void each_entry(struct walk *walk, const struct entries *entries)
{
	size_t words = entries->keys.unicode ? 2 : 3;
	uint64_t table[BATCH * 3], values[BATCH], n;

	for (uint64_t at = 0; at < entries->keys.nentries && !walk->stopped;
	     at += n) {
		uint64_t left = entries->keys.nentries - at;

		n = walk_read_some(walk, entries->keys.entries + at * words * 8,
				   table, left < BATCH ? left : BATCH,
				   words * 8);
		if (entries->values)
			n = walk_read_some(walk, entries->values + at * 8,
					   values, n, 8);
		if (n == 0)
			return;
		for (uint64_t i = 0; i < n && !walk->stopped; i++) {
			const uint64_t *pair = table + i * words + words - 2;
			uint64_t value = entries->values ? values[i] : pair[1];

			if (pair[0] && value)
				emit_entry(walk, entries, pair[0], value,
					   at + i);
		}
	}
}

void walk_dict(struct walk *walk)
{
	struct pyh_dict_walk found;
	struct entries entries;
	uint64_t words[3];

	if (pyh_dict_walk(walk->runtime, walk->of->memory, walk->of->address,
			  &found) != PYH_FOUND ||
	    !walk_pay(walk, found.keys.nentries) || found.keys.nentries == 0)
		return;
	entries = (struct entries){ .keys = found.keys,
				    .values = found.values };
	set_holds(walk, &entries);
	if (memory_try_read(walk->of->memory, found.keys.entries, words,
			    sizeof(words)) &&
	    words[found.keys.unicode ? 0 : 1] ==
		    words[found.keys.unicode ? 1 : 2] &&
	    is_interned(walk, &found))
		entries.key_hold = entries.value_hold = PYH_HOLD_NONE;
	each_entry(walk, &entries);
}

/** Its nodes hold the keys once more. */
void walk_odict(struct walk *walk)
{
	uint64_t node = walk_own_field(walk, PYH_ODICT_OD_FIRST);
	uint64_t count = walk_own_field(walk, PYH_DICT_MA_USED);

	walk_dict(walk);
	if (!walk_pay(walk, count))
		return;
	for (uint64_t i = 0; i < count && node && node % 8 == 0 &&
			     !walk->stopped; i++) {
		walk_emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY, .index = i,
			.hold = walk->hold,
			.address = walk_field_at(walk, node, PYH_ODICTNODE_KEY) });
		node = walk_field_at(walk, node, PYH_ODICTNODE_NEXT);
	}
}
