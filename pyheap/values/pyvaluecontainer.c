/*
 * Values of containers: list, tuple, dict, set, deque, array, and what is built
 * on them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/listobject.c, tupleobject.c, structseq.c,
 * dictobject.c, odictobject.c, setobject.c, Modules/_collectionsmodule.c,
 * arraymodule.c and Lib/collections/__init__.py (namedtuple).
 */
#include <inttypes.h>
#include <string.h>

#include "pyheap/values/pydict.h"
#include "pyheap/values/pyrepr.h"

enum {
	DEQUE_BLOCK_ITEMS = 64,
	SET_ENTRY = 16,		/* bytes: key and hash */
	MEMBER_DEF = 40,	/* bytes of a PyMemberDef; its name is first */
};

/** Put the separator before all but the first; false to stop. */
static bool next_item(struct pyh_repr *repr, bool *any)
{
	if (!pyh_repr_step(repr))
		return false;
	if (*any)
		pyh_repr_put(repr, ", ");
	*any = true;
	return !repr->full;
}

/** Put the items of an array of pointers, with commas between. */
static void put_items(struct pyh_repr *repr, uint64_t items, uint64_t count)
{
	bool any = false;
	uint64_t item;

	for (uint64_t i = 0; i < count && next_item(repr, &any); i++) {
		if (!memory_try_u64(repr->memory, items + i * 8, &item)) {
			pyh_repr_unread(repr, items + i * 8);
			return;
		}
		pyh_repr_value(repr, item);
	}
}

void pyh_write_list(struct pyh_repr *repr,
		    const struct pyh_repr_object *object)
{
	uint64_t count, items, allocated;

	pyh_repr_put(repr, "[");
	if (pyh_repr_count(repr, object->address, &count) &&
	    pyh_repr_field(repr, object->address, PYH_LIST_OB_ITEM, &items) &&
	    pyh_repr_field(repr, object->address, PYH_LIST_ALLOCATED,
			   &allocated)) {
		// While list.sort() has the items, there are none here.
		if (count > 0 && (items == 0 || items % 8 ||
				  count > allocated))
			pyh_repr_damaged(repr, "items of a list");
		else
			put_items(repr, items, count);
	}
	pyh_repr_put(repr, "]");
}

void pyh_write_tuple(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	uint64_t count;

	pyh_repr_put(repr, "(");
	if (pyh_repr_count(repr, object->address, &count)) {
		put_items(repr, object->address +
				pyh_offset(repr->runtime, PYH_TUPLE_OB_ITEM),
			  count);
		pyh_repr_put(repr, count == 1 ? "," : "");
	}
	pyh_repr_put(repr, ")");
}

/** Put "NAME=VALUE" for one item of a tuple with names; name 0: no name. */
static bool put_named(struct pyh_repr *repr, uint64_t at, uint64_t name,
		      bool *any)
{
	uint64_t item;

	if (!next_item(repr, any))
		return false;
	if (name) {
		pyh_repr_plain_str(repr, name);
		pyh_repr_put(repr, "=");
	}
	if (!memory_try_u64(repr->memory, at, &item)) {
		pyh_repr_unread(repr, at);
		return false;
	}
	pyh_repr_value(repr, item);
	return true;
}

void pyh_write_namedtuple(struct pyh_repr *repr,
			  const struct pyh_repr_object *object)
{
	uint32_t first = pyh_offset(repr->runtime, PYH_TUPLE_OB_ITEM);
	uint64_t fields = pyh_repr_fields(repr, object->type);
	uint64_t count, num_fields, name;
	bool any = false;

	pyh_repr_put(repr, pyh_repr_short_name(object->type));
	pyh_repr_put(repr, "(");
	if (fields && pyh_repr_count(repr, object->address, &count) &&
	    pyh_repr_count(repr, fields, &num_fields)) {
		for (uint64_t i = 0; i < count; i++) {
			if (i >= num_fields ||
			    !memory_try_u64(repr->memory,
					    fields + first + i * 8, &name))
				name = 0;
			if (!put_named(repr, object->address + first + i * 8,
				       name, &any))
				break;
		}
	}
	pyh_repr_put(repr, ")");
}

/** The name of a member of a struct sequence; false if it is not to be had. */
static bool put_member_name(struct pyh_repr *repr, uint64_t members,
			    uint64_t i)
{
	uint64_t name;

	return members &&
	       memory_try_u64(repr->memory, members + i * MEMBER_DEF, &name) &&
	       pyh_repr_c_string(repr, name);
}

void pyh_write_structseq(struct pyh_repr *repr,
			 const struct pyh_repr_object *object)
{
	uint64_t first = object->address +
			 pyh_offset(repr->runtime, PYH_TUPLE_OB_ITEM);
	uint64_t count, members = 0;
	bool any = false;

	(void)pyh_field(repr->runtime, repr->memory, object->base->address,
			PYH_TYPE_TP_MEMBERS, &members);
	pyh_repr_put(repr, object->type->name);
	pyh_repr_put(repr, "(");
	if (pyh_repr_count(repr, object->address, &count)) {
		for (uint64_t i = 0; i < count; i++) {
			if (any)
				pyh_repr_put(repr, ", ");
			// Names are in pages that many cores lack.
			if (put_member_name(repr, members, i))
				pyh_repr_put(repr, "=");
			any = false;
			if (!put_named(repr, first + i * 8, 0, &any))
				break;
		}
	}
	pyh_repr_put(repr, ")");
}

/* --- dict ----------------------------------------------------------------- */

/** How many entries a dict says it has; 0 where it is damaged or not there. */
static bool begin_walk(struct pyh_repr *repr, uint64_t dict,
		       struct pyh_dict_walk *walk)
{
	switch (pyh_dict_walk(repr->runtime, repr->memory, dict, walk)) {
	case PYH_FOUND:
		walk->budget = &repr->budget;
		return true;
	case PYH_FOUND_MISSING:
		pyh_repr_unread(repr, dict);
		return false;
	default:
		pyh_repr_damaged(repr, "keys of a dict");
		return false;
	}
}

static void put_entry(struct pyh_repr *repr, uint64_t key, uint64_t value,
		      bool pair)
{
	pyh_repr_put(repr, pair ? "(" : "");
	pyh_repr_value(repr, key);
	pyh_repr_put(repr, pair ? ", " : ": ");
	pyh_repr_value(repr, value);
	pyh_repr_put(repr, pair ? ")" : "");
}

/**
 * Where a split dict of 3.11 and later keeps the order in which its values were
 * set: one byte each, the index of an entry. In 3.11 and 3.12 they lie before
 * the values, the last one first.
 *
 * @return false if that is not to be had; ret then has nothing
 */
static bool read_order(struct pyh_repr *repr, const struct pyh_dict_walk *walk,
		       uint8_t order[UINT8_MAX], size_t *ret_count)
{
	const struct pyh_runtime *runtime = repr->runtime;
	uint64_t start, capacity, size;
	uint8_t count;

	if (runtime->minor < 11)
		return false;
	if (runtime->minor <= 12) {
		if (!memory_try_read(repr->memory, walk->values - 2, &count, 1))
			return false;
		*ret_count = count;
		for (size_t i = 0; i < count; i++)
			if (!memory_try_read(repr->memory,
					     walk->values - 3 - i, &order[i],
					     1))
				return false;
		return true;
	}
	start = walk->values - pyh_offset(runtime, PYH_VALUES_VALUES);
	if (!pyh_field(runtime, repr->memory, start, PYH_VALUES_CAPACITY,
		       &capacity) ||
	    !pyh_field(runtime, repr->memory, start, PYH_VALUES_SIZE, &size) ||
	    size > capacity || size > UINT8_MAX)
		return false;
	*ret_count = (size_t)size;
	return memory_try_read(repr->memory, walk->values + capacity * 8,
			       order, (size_t)size);
}

/** The entries of a split dict in the order in which they were set. */
static bool put_split(struct pyh_repr *repr, struct pyh_dict_walk *walk,
		      bool pairs)
{
	uint8_t order[UINT8_MAX];
	uint64_t key, value;
	bool any = false;
	size_t count;

	if (!read_order(repr, walk, order, &count))
		return false;
	for (size_t i = 0; i < count; i++)
		if (order[i] >= walk->keys.nentries)
			return false;
	for (size_t i = 0; i < count && next_item(repr, &any); i++) {
		// What is at that index, or an entry behind if it is gone.
		walk->next = order[i];
		if (!pyh_dict_next(walk, &key, &value)) {
			if (pyh_repr_step(repr))
				pyh_repr_put(repr, "<not captured>");
			break;
		}
		put_entry(repr, key, value, pairs);
	}
	return true;
}

/** The entries as "KEY: VALUE", or in pairs "(KEY, VALUE)". */
static void put_entries(struct pyh_repr *repr, uint64_t dict, bool pairs)
{
	struct pyh_dict_walk walk;
	uint64_t key, value;
	bool any = false;

	if (!begin_walk(repr, dict, &walk))
		return;
	if (walk.values && put_split(repr, &walk, pairs))
		return;
	walk.next = 0;
	while (!repr->full && pyh_dict_next(&walk, &key, &value)) {
		if (!next_item(repr, &any))
			return;
		put_entry(repr, key, value, pairs);
	}
	if (repr->full || walk.next >= walk.keys.nentries)
		return;
	// The walk stopped early: no more work is allowed, or a gap.
	if (!pyh_repr_step(repr))
		return;
	if (any)
		pyh_repr_put(repr, ", ");
	pyh_repr_put(repr, "<not captured>");
}

void pyh_write_dict(struct pyh_repr *repr,
		    const struct pyh_repr_object *object)
{
	pyh_repr_put(repr, "{");
	put_entries(repr, object->address, /* pairs= */ false);
	pyh_repr_put(repr, "}");
}

void pyh_write_frozendict(struct pyh_repr *repr,
			  const struct pyh_repr_object *object)
{
	uint64_t used;

	pyh_repr_put(repr, pyh_repr_short_name(object->type));
	pyh_repr_put(repr, "(");
	if (pyh_repr_field(repr, object->address, PYH_DICT_MA_USED, &used) &&
	    used > 0)
		pyh_write_dict(repr, object);
	pyh_repr_put(repr, ")");
}

/** "NAME(FACTORY, " */
static void put_factory(struct pyh_repr *repr,
			const struct pyh_repr_object *object)
{
	uint64_t factory;

	pyh_repr_put(repr, pyh_repr_short_name(object->type));
	pyh_repr_put(repr, "(");
	if (pyh_repr_field(repr, object->address,
			   PYH_DEFAULTDICT_DEFAULT_FACTORY, &factory)) {
		if (factory)
			pyh_repr_value(repr, factory);
		else
			pyh_repr_put(repr, "None");
	}
	pyh_repr_put(repr, ", ");
}

void pyh_write_defaultdict(struct pyh_repr *repr,
			   const struct pyh_repr_object *object)
{
	put_factory(repr, object);
	pyh_write_dict(repr, object);
	pyh_repr_put(repr, ")");
}

void pyh_write_defaultdict_cycle(struct pyh_repr *repr,
				 const struct pyh_repr_object *object)
{
	// A factory may hold the dict, too; that of most is a class.
	put_factory(repr, object);
	pyh_repr_put(repr, "{...})");
}

/** The value of a key of a dict, by identity; 0 if it is not there. */
static uint64_t value_of(struct pyh_repr *repr, uint64_t dict, uint64_t key)
{
	struct pyh_dict_walk walk;
	uint64_t k, value;

	if (pyh_dict_walk(repr->runtime, repr->memory, dict, &walk) !=
	    PYH_FOUND)
		return 0;
	walk.budget = &repr->budget;
	while (pyh_dict_next(&walk, &k, &value))
		if (k == key)
			return value;
	return 0;
}

/** True if the list of nodes has another order than the table. */
static bool is_reordered(struct pyh_repr *repr, uint64_t dict, uint64_t node)
{
	struct pyh_dict_walk walk;
	uint64_t key, value, wanted;

	if (pyh_dict_walk(repr->runtime, repr->memory, dict, &walk) !=
	    PYH_FOUND)
		return false;
	walk.budget = &repr->budget;
	while (node && pyh_dict_next(&walk, &key, &value)) {
		if (!pyh_field(repr->runtime, repr->memory, node,
			       PYH_ODICTNODE_KEY, &wanted))
			return false;
		if (key != wanted)
			return true;
		if (!pyh_field(repr->runtime, repr->memory, node,
			       PYH_ODICTNODE_NEXT, &node))
			return false;
	}
	return false;
}

/** In the order of the list of nodes, which move_to_end() has changed. */
static void put_nodes(struct pyh_repr *repr, uint64_t dict, uint64_t node,
		      bool pairs)
{
	uint64_t key, value;
	bool any = false;

	while (node) {
		if (!next_item(repr, &any))
			return;
		if (node % 8 || !pyh_field(repr->runtime, repr->memory, node,
					   PYH_ODICTNODE_KEY, &key) ||
		    !pyh_field(repr->runtime, repr->memory, node,
			       PYH_ODICTNODE_NEXT, &node)) {
			pyh_repr_damaged(repr, "node of an OrderedDict");
			return;
		}
		value = value_of(repr, dict, key);
		put_entry(repr, key, value, pairs);
	}
}

void pyh_write_odict(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	bool pairs = repr->runtime->minor < 12;
	uint64_t used, first;

	pyh_repr_put(repr, pyh_repr_short_name(object->type));
	pyh_repr_put(repr, "(");
	if (pyh_repr_field(repr, object->address, PYH_DICT_MA_USED, &used) &&
	    used > 0 &&
	    pyh_repr_field(repr, object->address, PYH_ODICT_OD_FIRST,
			   &first)) {
		pyh_repr_put(repr, pairs ? "[" : "{");
		if (is_reordered(repr, object->address, first))
			put_nodes(repr, object->address, first, pairs);
		else
			put_entries(repr, object->address, pairs);
		pyh_repr_put(repr, pairs ? "]" : "}");
	}
	pyh_repr_put(repr, ")");
}

/* --- set ------------------------------------------------------------------ */

/**
 * The keys of a table. Deleted entries have a key that is no member and the
 * hash -1, which no member has.
 */
static void put_keys(struct pyh_repr *repr, uint64_t table, uint64_t mask,
		     uint64_t used)
{
	uint64_t entry[2], done = 0;
	bool any = false;

	for (uint64_t i = 0; i <= mask && done < used; i++) {
		uint64_t at = table + i * SET_ENTRY;

		if (!pyh_repr_step(repr))
			return;
		if (!memory_try_read(repr->memory, at, entry, sizeof(entry))) {
			pyh_repr_unread(repr, at);
			return;
		}
		if (entry[0] == 0 || entry[1] == UINT64_MAX)
			continue;
		if (!next_item(repr, &any))
			return;
		pyh_repr_value(repr, entry[0]);
		done++;
	}
}

static void put_set(struct pyh_repr *repr,
		    const struct pyh_repr_object *object, bool bare)
{
	uint64_t used, mask, table;

	if (!pyh_repr_field(repr, object->address, PYH_SET_USED, &used) ||
	    !pyh_repr_field(repr, object->address, PYH_SET_MASK, &mask) ||
	    !pyh_repr_field(repr, object->address, PYH_SET_TABLE, &table))
		return;
	if (!bare || used == 0) {
		pyh_repr_put(repr, pyh_repr_short_name(object->type));
		pyh_repr_put(repr, "(");
	}
	if (used > 0) {
		pyh_repr_put(repr, "{");
		if (mask >> 43 || used > mask + 1 || table == 0 || table % 8)
			pyh_repr_damaged(repr, "table of a set");
		else
			put_keys(repr, table, mask, used);
		pyh_repr_put(repr, "}");
	}
	if (!bare || used == 0)
		pyh_repr_put(repr, ")");
}

void pyh_write_set(struct pyh_repr *repr,
		   const struct pyh_repr_object *object)
{
	put_set(repr, object, /* bare= */ object->type == object->base);
}

void pyh_write_frozenset(struct pyh_repr *repr,
			 const struct pyh_repr_object *object)
{
	put_set(repr, object, /* bare= */ false);
}

/* --- deque, array --------------------------------------------------------- */

static void put_deque_items(struct pyh_repr *repr, uint64_t block,
			    uint64_t first, uint64_t count)
{
	uint32_t data = pyh_offset(repr->runtime, PYH_DEQUEBLOCK_DATA);
	bool any = false;
	uint64_t item;

	for (uint64_t i = first; i < first + count && next_item(repr, &any);
	     i++) {
		uint64_t slot = i % DEQUE_BLOCK_ITEMS;
		uint64_t at = block + data + slot * 8;

		if (!memory_try_u64(repr->memory, at, &item)) {
			pyh_repr_unread(repr, at);
			return;
		}
		pyh_repr_value(repr, item);
		if (slot == DEQUE_BLOCK_ITEMS - 1 && i + 1 < first + count &&
		    (!pyh_repr_field(repr, block, PYH_DEQUEBLOCK_RIGHTLINK,
				     &block) ||
		     block == 0 || block % 8))
			return;
	}
}

void pyh_write_deque(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	uint64_t count, block, first, limit;

	pyh_repr_put(repr, pyh_repr_short_name(object->type));
	pyh_repr_put(repr, "([");
	if (pyh_repr_count(repr, object->address, &count) &&
	    pyh_repr_field(repr, object->address, PYH_DEQUE_LEFTBLOCK,
			   &block) &&
	    pyh_repr_field(repr, object->address, PYH_DEQUE_LEFTINDEX,
			   &first)) {
		if (first > DEQUE_BLOCK_ITEMS || block == 0 || block % 8)
			pyh_repr_damaged(repr, "blocks of a deque");
		else
			put_deque_items(repr, block, first, count);
	}
	pyh_repr_put(repr, "]");
	if (pyh_field(repr->runtime, repr->memory, object->address,
		      PYH_DEQUE_MAXLEN, &limit) && limit >> 63 == 0)
		pyh_repr_format(repr, ", maxlen=%" PRIu64, limit);
	pyh_repr_put(repr, ")");
}

/** One item of an array; false for a typecode that is not known. */
static bool put_array_item(struct pyh_repr *repr, char code,
			   const uint8_t *bytes, size_t size)
{
	uint64_t number = 0;
	float single;
	double value;

	memcpy(&number, bytes, size);
	switch (code) {
	case 'b': case 'h': case 'i': case 'l': case 'q':
		number = number << (64 - 8 * size);
		pyh_repr_format(repr, "%" PRId64,
				(int64_t)number >> (64 - 8 * size));
		return true;
	case 'B': case 'H': case 'I': case 'L': case 'Q':
		pyh_repr_format(repr, "%" PRIu64, number);
		return true;
	case 'f':
		memcpy(&single, bytes, sizeof(single));
		pyh_repr_double(repr, (double)single, /* dot= */ true);
		return true;
	case 'd':
		memcpy(&value, bytes, sizeof(value));
		pyh_repr_double(repr, value, /* dot= */ true);
		return true;
	default:
		return false;
	}
}

static size_t array_item_size(char code)
{
	switch (code) {
	case 'b': case 'B':
		return 1;
	case 'h': case 'H':
		return 2;
	case 'i': case 'I': case 'f':
		return 4;
	case 'l': case 'L': case 'q': case 'Q': case 'd':
		return 8;
	default:
		return 0;
	}
}

static void put_array_items(struct pyh_repr *repr, uint64_t items,
			    uint64_t count, char code)
{
	size_t size = array_item_size(code);
	bool any = false;
	uint8_t bytes[8];

	if (size == 0) {
		// Characters ('u', 'w'), or something new.
		pyh_repr_put(repr, "\xe2\x80\xa6");
		return;
	}
	for (uint64_t i = 0; i < count && next_item(repr, &any); i++) {
		if (!memory_try_read(repr->memory, items + i * size, bytes,
				     size)) {
			pyh_repr_unread(repr, items + i * size);
			return;
		}
		(void)put_array_item(repr, code, bytes, size);
	}
}

/** The letters of an array's type; empty where they are not to be had. */
static void read_typecode(struct pyh_repr *repr, uint64_t descr, char code[4])
{
	struct pyh_field_at at = repr->runtime->at[PYH_ARRAYDESCR_TYPECODE];

	memset(code, 0, 4);
	if (descr == 0 || at.size > 3 ||
	    !memory_try_read(repr->memory, descr + at.offset, code, at.size))
		return;
	for (int i = 0; code[i]; i++)
		if ((code[i] < 'A' || code[i] > 'Z') &&
		    (code[i] < 'a' || code[i] > 'z'))
			code[0] = '\0';
}

void pyh_write_array(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	uint64_t count, items, descr;
	char code[4];

	pyh_repr_put(repr, pyh_repr_short_name(object->type));
	pyh_repr_put(repr, "(");
	if (pyh_repr_count(repr, object->address, &count) &&
	    pyh_repr_field(repr, object->address, PYH_ARRAY_OB_ITEM, &items) &&
	    pyh_repr_field(repr, object->address, PYH_ARRAY_OB_DESCR, &descr)) {
		read_typecode(repr, descr, code);
		if (code[0])
			pyh_repr_format(repr, "'%s'", code);
		else
			pyh_repr_unread(repr, descr);
		if (count > 0) {
			pyh_repr_put(repr, ", [");
			// Codes of two letters are not known here.
			if (code[1])
				code[0] = '\0';
			put_array_items(repr, items, count, code[0]);
			pyh_repr_put(repr, "]");
		}
	}
	pyh_repr_put(repr, ")");
}
