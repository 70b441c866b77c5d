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
	STACK_TAG = 3,			/* bits of references in frames, 3.14+ */
	STACK_TAG_BORROWED = 1,
	SMALLEST_ADDRESS = 4096,
	INTERNED_LEAST = 512,		/* entries of a table of interned str */
	INTERNED_LOOK = 16,		/* of those that are looked at */
};

struct walk {
	const struct pyh_referrer *of;
	const struct pyh_runtime *runtime;
	const struct pyh_shape *shape;
	pyh_ref_fn *fn;
	void *context;
	enum pyh_hold hold;	/* of what its kind holds */
	bool uncollected;	/* the collector does not see this one */
	bool stopped;
};

static inline void emit(struct walk *walk, struct pyh_ref ref)
{
	if (ref.address == 0 || walk->stopped)
		return;
	if (walk->uncollected && ref.hold == PYH_HOLD_TRAVERSED)
		ref.hold = PYH_HOLD_UNTRAVERSED;
	walk->stopped = !walk->fn(walk->context, &ref);
}

static void emit_guess(struct walk *walk, uint64_t word, uint64_t index)
{
	if (word % 8 == 0)
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_GUESS,
			.hold = PYH_HOLD_GUESSED, .address = word,
			.index = index });
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

static inline uint64_t own_word(const struct walk *walk, uint64_t offset)
{
	const struct pyh_referrer *of = walk->of;
	uint64_t word;

	if (offset + 8 <= of->available) {
		memcpy(&word, of->body + offset, sizeof(word));
		return word;
	}
	return memory_try_u64(of->memory, of->address + offset, &word) ? word :
									 0;
}

static uint64_t own_field(const struct walk *walk, enum pyh_field field)
{
	struct pyh_field_at at = walk->runtime->at[field];
	uint64_t value = 0;

	if (at.size == 8)
		return own_word(walk, at.offset);
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

/**
 * Read up to count entries of some bytes each, as many as are there before a
 * gap: perhaps fewer than that, but not none.
 *
 * @return how many
 */
static uint64_t read_some(struct walk *walk, uint64_t address, void *buffer,
			  uint64_t count, size_t size)
{
	while (count && !memory_try_read(walk->of->memory, address, buffer,
					 (size_t)count * size))
		count /= 2;
	return count;
}

/** Words of an array elsewhere: references of one kind, without names. */
static void each_word(struct walk *walk, uint64_t array, uint64_t count,
		      struct pyh_ref like)
{
	uint64_t words[BATCH], first = like.index, n;

	if (array == 0 || array % 8 || !pay(walk, count))
		return;
	for (uint64_t at = 0; at < count && !walk->stopped; at += n) {
		n = read_some(walk, array + at * 8, words,
			      count - at < BATCH ? count - at : BATCH, 8);
		if (n == 0)
			return;
		for (uint64_t i = 0; i < n && !walk->stopped; i++) {
			like.address = words[i];
			like.index = first + at + i;
			emit(walk, like);
		}
	}
}

/** Words of the object itself, as many of them as it has room for. */
static void each_own_word(struct walk *walk, uint64_t offset, uint64_t count,
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
		like.address = own_word(walk, offset + i * 8);
		like.index = first + i;
		emit(walk, like);
	}
	like.index = first + inside;
	if (inside < count)
		each_word(walk, walk->of->address + offset + inside * 8,
			  count - inside, like);
}

static struct pyh_ref item_of(const struct walk *walk)
{
	return (struct pyh_ref){ .kind = PYH_REF_ITEM, .hold = walk->hold };
}

/* --- containers -------------------------------------------------------------------- */

static void each_of_list(struct walk *walk)
{
	uint64_t count = own_field(walk, PYH_VAR_OB_SIZE);

	if (count <= own_field(walk, PYH_LIST_ALLOCATED))
		each_word(walk, own_field(walk, PYH_LIST_OB_ITEM), count,
			  item_of(walk));
}

static void each_of_tuple(struct walk *walk)
{
	uint64_t count = own_field(walk, PYH_VAR_OB_SIZE);
	uint64_t hidden = walk->of->type->hidden_items;
	uint64_t from = pyh_offset(walk->runtime, PYH_TUPLE_OB_ITEM);
	struct pyh_ref like = item_of(walk);

	if (!pyh_has(walk->runtime, PYH_TUPLE_OB_ITEM) || count > ITEMS_MAX)
		return;
	each_own_word(walk, from, count, like);
	if (hidden == 0)
		return;
	like.index = count;
	each_own_word(walk, from + count * 8, hidden, like);
}

/* --- dicts ------------------------------------------------------------------------- */

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
static bool is_interned(struct walk *walk, const struct entries *entries)
{
	const struct pyh_runtime *runtime = walk->runtime;
	uint64_t words[3], key, value;

	if (runtime->minor >= 12) {
		for (size_t i = 0; i < runtime->num_interpreters; i++)
			if (field_at(walk, runtime->interpreters[i].address,
				     PYH_INTERP_CACHED_OBJECTS_INTERNED_STRINGS)
			    == walk->of->address)
				return true;
		return false;
	}
	if (entries->values || entries->keys.nentries < INTERNED_LEAST)
		return false;
	for (uint64_t i = 0; i < INTERNED_LOOK; i++) {
		size_t size = entries->keys.unicode ? 16 : 24;
		uint64_t state;

		if (!memory_try_read(walk->of->memory,
				     entries->keys.entries + i * size, words,
				     size))
			return false;
		key = words[size / 8 - 2];
		value = words[size / 8 - 1];
		if (key != value)
			return false;
		state = field_at(walk, key, PYH_ASCII_STATE) & 3;
		if (key && state != 1 && state != 2)
			return false;
	}
	return true;
}

/**
 * 3.13.0 to 3.13.12 and 3.14.0 to 3.14.3: values inside an instance are visited
 * by the instance, whose dict, if it has one, is not, and does not visit them.
 * Since then the dict is asked where there is one. Source: issue 130327,
 * PyObject_VisitManagedDict().
 */
static bool values_go_first(const struct pyh_runtime *runtime)
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
		field_at(walk, entries->keys.address, PYH_KEYS_DK_LOOKUP) ==
			pyh_shapes_lookdict(walk->of->shapes) :
		!entries->keys.unicode;

	entries->value_hold = walk->hold;
	entries->key_hold = visited ? walk->hold : PYH_HOLD_UNTRAVERSED;
	if (!entries->values)
		return;
	// A table that others share belongs to the type, which tells of it.
	if (entries->keys.refcount != 1)
		entries->key_hold = PYH_HOLD_NONE;
	if (values_go_first(walk->runtime) &&
	    field_at(walk, entries->values -
			   pyh_offset(walk->runtime, PYH_VALUES_VALUES),
		     PYH_VALUES_EMBEDDED) & 1)
		entries->value_hold = PYH_HOLD_NONE;
}

static void emit_entry(struct walk *walk, const struct entries *entries,
		       uint64_t key, uint64_t value, uint64_t index)
{
	if (key == 0 || value == 0)
		return;
	emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY, .address = key,
		.index = index, .hold = entries->key_hold });
	emit(walk, (struct pyh_ref){ .kind = PYH_REF_VALUE, .address = value,
		.key = key, .index = index, .hold = entries->value_hold });
}

static void each_entry(struct walk *walk, const struct entries *entries)
{
	size_t words = entries->keys.unicode ? 2 : 3;
	uint64_t table[BATCH * 3], values[BATCH], n;

	for (uint64_t at = 0; at < entries->keys.nentries && !walk->stopped;
	     at += n) {
		uint64_t left = entries->keys.nentries - at;

		n = read_some(walk, entries->keys.entries + at * words * 8,
			      table, left < BATCH ? left : BATCH, words * 8);
		if (entries->values)
			n = read_some(walk, entries->values + at * 8, values,
				      n, 8);
		if (n == 0)
			return;
		for (uint64_t i = 0; i < n && !walk->stopped; i++) {
			const uint64_t *pair = table + i * words + words - 2;

			emit_entry(walk, entries, pair[0], entries->values ?
						   values[i] : pair[1], at + i);
		}
	}
}

static void each_of_dict(struct walk *walk)
{
	struct pyh_dict_walk found;
	struct entries entries;
	uint64_t words[3];

	if (pyh_dict_walk(walk->runtime, walk->of->memory, walk->of->address,
			  &found) != PYH_FOUND ||
	    !pay(walk, found.keys.nentries) || found.keys.nentries == 0)
		return;
	entries = (struct entries){ .keys = found.keys,
				    .values = found.values };
	set_holds(walk, &entries);
	if (memory_try_read(walk->of->memory, found.keys.entries, words,
			    sizeof(words)) &&
	    words[found.keys.unicode ? 0 : 1] ==
		    words[found.keys.unicode ? 1 : 2] &&
	    is_interned(walk, &entries))
		entries.key_hold = entries.value_hold = PYH_HOLD_NONE;
	each_entry(walk, &entries);
}

/** Its nodes hold the keys once more. */
static void each_of_odict(struct walk *walk)
{
	uint64_t node = own_field(walk, PYH_ODICT_OD_FIRST);
	uint64_t count = own_field(walk, PYH_DICT_MA_USED);

	each_of_dict(walk);
	if (!pay(walk, count))
		return;
	for (uint64_t i = 0; i < count && node && node % 8 == 0 &&
			     !walk->stopped; i++) {
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY, .index = i,
			.hold = walk->hold,
			.address = field_at(walk, node, PYH_ODICTNODE_KEY) });
		node = field_at(walk, node, PYH_ODICTNODE_NEXT);
	}
}

/* --- other containers -------------------------------------------------------------- */

/** The table of a set: pairs of key and hash; a deleted one has hash -1. */
static void each_of_set(struct walk *walk)
{
	uint64_t table = own_field(walk, PYH_SET_TABLE);
	uint64_t mask = own_field(walk, PYH_SET_MASK);
	uint64_t words[BATCH], n;

	if (table == 0 || table % 8 || mask & (mask + 1) || !pay(walk, mask))
		return;
	for (uint64_t at = 0; at <= mask && !walk->stopped; at += n) {
		uint64_t left = mask + 1 - at;

		n = read_some(walk, table + at * 16, words,
			      left < BATCH / 2 ? left : BATCH / 2, 16);
		if (n == 0)
			return;
		for (uint64_t i = 0; i < n; i++)
			if (words[2 * i + 1] != UINT64_MAX)
				emit(walk, (struct pyh_ref){
					.kind = PYH_REF_KEY,
					.hold = walk->hold,
					.address = words[2 * i],
					.index = at + i });
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
		each_word(walk, block + data + index * 8, n, (struct pyh_ref){
			.kind = PYH_REF_ITEM, .hold = walk->hold,
			.index = done });
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
		.hold = walk->hold,
		.address = field_at(walk, extra, PYH_ELEMENTEXTRA_ATTRIB) });
	if (count <= field_at(walk, extra, PYH_ELEMENTEXTRA_ALLOCATED))
		each_word(walk, field_at(walk, extra,
					 PYH_ELEMENTEXTRA_CHILDREN),
			  count, item_of(walk));
}

/**
 * The results that a functools.lru_cache keeps: a ring of links, each of which
 * the cache and its dict hold. Its tp_traverse visits what they refer to.
 */
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
			.hold = PYH_HOLD_UNTRAVERSED, .address = link,
			.index = i });
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY,
			.hold = walk->hold, .address = key, .index = i });
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_VALUE, .key = key,
			.hold = walk->hold, .index = i,
			.address = field_at(walk, link, PYH_LRULINK_RESULT) });
		if (walk->runtime->minor >= 10)
			emit(walk, (struct pyh_ref){ .kind = PYH_REF_TYPE,
				.hold = walk->hold, .index = i,
				.address = field_at(walk, link,
						    PYH_OBJECT_OB_TYPE) });
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
			  (struct pyh_ref){ .kind = PYH_REF_GUESS,
					    .hold = PYH_HOLD_GUESSED });
}

/** 3.12 and later: objects that were made when asked for, then kept. */
static void each_of_code(struct walk *walk)
{
	uint64_t cached = own_field(walk, PYH_CODE_CO_CACHED);

	each_word(walk, cached,
		  walk->runtime->size_of[PYH_STRUCT_COCACHED] / 8,
		  (struct pyh_ref){ .kind = PYH_REF_FIELD,
				    .hold = PYH_HOLD_UNTRAVERSED });
}

/** 3.13 and later: a ring; what is not in use is NULL. */
static void each_of_simple_queue(struct walk *walk)
{
	if (pyh_has(walk->runtime, PYH_SIMPLEQUEUE_BUF_ITEMS))
		each_word(walk, own_field(walk, PYH_SIMPLEQUEUE_BUF_ITEMS),
			  own_field(walk, PYH_SIMPLEQUEUE_BUF_ITEMS_CAP),
			  item_of(walk));
}

/**
 * A class holds the table of the names of its instances' attributes, which
 * their dicts, or the instances themselves, share.
 */
static void each_of_type(struct walk *walk)
{
	uint64_t at = own_field(walk, PYH_HEAPTYPE_HT_CACHED_KEYS);
	struct entries entries = { .key_hold = PYH_HOLD_UNTRAVERSED };
	uint64_t entry[3];

	if (walk->uncollected || at == 0 ||
	    pyh_keys_read(walk->runtime, walk->of->memory, at,
			  &entries.keys) != PYH_FOUND ||
	    !pay(walk, entries.keys.nentries))
		return;
	for (uint64_t i = 0; i < entries.keys.nentries && !walk->stopped; i++) {
		size_t size = entries.keys.unicode ? 16 : 24;

		if (memory_try_read(walk->of->memory,
				    entries.keys.entries + i * size, entry,
				    size))
			emit(walk, (struct pyh_ref){ .kind = PYH_REF_KEY,
				.hold = PYH_HOLD_UNTRAVERSED, .index = i,
				.address = entry[size / 8 - 2] });
	}
}

/* --- frames --------------------------------------------------------------------------- */

/** Variables and stack of a frame, in order. */
struct frame_slots {
	uint64_t at;		/* address of the first */
	uint64_t locals;	/* how many of them are variables */
	uint64_t stack;		/* … and then entries of the stack */
	bool running;		/* how deep the stack is, is not told: stack is
				   the room for it */
};

static void emit_stack_ref(struct walk *walk, uint64_t word,
			   struct pyh_ref ref)
{
	// 3.14 and later: tags in the low bits; 3 is an integer, 1 alone NULL.
	if (walk->runtime->minor >= 14) {
		uint64_t tag = word & STACK_TAG;

		if (tag == STACK_TAG)
			return;
		if (tag == STACK_TAG_BORROWED)
			ref.hold = PYH_HOLD_NONE;
		word &= ~(uint64_t)STACK_TAG;
	}
	ref.address = word;
	if (word % 8 == 0)
		emit(walk, ref);
}

static void each_frame_slot(struct walk *walk, const struct frame_slots *slots)
{
	uint64_t count = slots->locals + slots->stack, words[BATCH], n;
	// While a frame runs, tp_traverse does not find its variables either.
	struct pyh_ref like = {
		.kind = PYH_REF_LOCAL,
		.hold = slots->running && walk->runtime->minor >= 11 ?
				PYH_HOLD_UNTRAVERSED : walk->hold,
	};

	if (slots->locals > FRAME_SLOTS_MAX || slots->stack > FRAME_SLOTS_MAX ||
	    !pay(walk, count))
		return;
	for (uint64_t at = 0; at < count && !walk->stopped; at += n) {
		n = read_some(walk, slots->at + at * 8, words,
			      count - at < BATCH ? count - at : BATCH, 8);
		if (n == 0)
			return;
		for (uint64_t i = 0; i < n && !walk->stopped; i++) {
			like.index = at + i;
			if (slots->running && like.index >= slots->locals)
				emit_guess(walk, words[i], like.index);
			else
				emit_stack_ref(walk, words[i], like);
		}
	}
}

/** How many entries are on the stack of an interpreter frame. */
static void measure_stack(struct walk *walk, uint64_t frame,
			  struct frame_slots *slots)
{
	uint64_t room = slots->stack, top;

	if (pyh_has(walk->runtime, PYH_IFRAME_STACKTOP))
		top = field_at(walk, frame, PYH_IFRAME_STACKTOP) & UINT32_MAX;
	else
		top = (field_at(walk, frame, PYH_IFRAME_STACKPOINTER) -
		       slots->at) / 8;
	slots->running = top < slots->locals || top > slots->locals + room;
	slots->stack = slots->running ? room : top - slots->locals;
}

/** The code of an interpreter frame, whose address is returned. */
static uint64_t emit_code(struct walk *walk, uint64_t frame,
			  enum pyh_hold hold)
{
	enum pyh_field field = pyh_has(walk->runtime,
				       PYH_IFRAME_F_EXECUTABLE) ?
				       PYH_IFRAME_F_EXECUTABLE :
				       PYH_IFRAME_F_CODE;
	uint64_t word = field_at(walk, frame, field);

	emit_stack_ref(walk, word, (struct pyh_ref){ .kind = PYH_REF_FIELD,
		.hold = hold, .name = "f_code" });
	return walk->runtime->minor >= 14 ? word & ~(uint64_t)STACK_TAG : word;
}

/** An interpreter frame (3.11 and later) within an object or a frame's data. */
static void each_of_iframe(struct walk *walk, uint64_t frame)
{
	static const struct {
		enum pyh_field field;
		const char *name;
	} fields[] = {
		{ PYH_IFRAME_F_FUNC, "f_func" },
		{ PYH_IFRAME_F_FUNCOBJ, "f_funcobj" },
		{ PYH_IFRAME_F_LOCALS, "f_locals" },
		{ PYH_IFRAME_FRAME_OBJ, "frame_obj" },
	};
	struct frame_slots slots = { 0 };
	uint64_t code = emit_code(walk, frame, walk->hold);

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (pyh_has(walk->runtime, fields[i].field))
			emit_stack_ref(walk,
				       field_at(walk, frame, fields[i].field),
				       (struct pyh_ref){ .kind = PYH_REF_FIELD,
					.hold = walk->hold,
					.name = fields[i].name });
	if (code == 0 || code % 8)
		return;
	slots.at = frame + pyh_offset(walk->runtime, PYH_IFRAME_LOCALSPLUS);
	slots.locals = field_at(walk, code, PYH_CODE_CO_NLOCALSPLUS) &
		       UINT32_MAX;
	slots.stack = field_at(walk, code, PYH_CODE_CO_STACKSIZE) & UINT32_MAX;
	measure_stack(walk, frame, &slots);
	each_frame_slot(walk, &slots);
}

/** States in which the frame of a generator holds nothing any more. */
static bool generator_is_over(const struct walk *walk)
{
	int8_t state = (int8_t)own_field(walk, PYH_GEN_GI_FRAME_STATE);

	return walk->runtime->minor >= 15 ? state >= 5 : state >= 1;
}

static void each_of_generator(struct walk *walk)
{
	uint64_t frame = walk->of->address +
			 pyh_offset(walk->runtime, PYH_GEN_GI_IFRAME);

	if (!pyh_has(walk->runtime, PYH_GEN_GI_IFRAME))
		return;
	if (!generator_is_over(walk))
		each_of_iframe(walk, frame);
	else if (walk->runtime->minor >= 12)
		emit_code(walk, frame, walk->runtime->minor >= 14 ?
					       walk->hold :
					       PYH_HOLD_UNTRAVERSED);
}

/** 3.8 to 3.10: all variables and the stack are in the object. */
static void each_of_old_frame(struct walk *walk)
{
	uint64_t from = pyh_offset(walk->runtime, PYH_FRAME_F_LOCALSPLUS);
	uint64_t room = walk->of->extent > from ?
				(walk->of->extent - from) / 8 : 0;
	uint64_t stack = own_field(walk, PYH_FRAME_F_VALUESTACK);
	struct frame_slots slots = { .at = walk->of->address + from };
	uint64_t depth;

	if (!pyh_has(walk->runtime, PYH_FRAME_F_LOCALSPLUS))
		return;
	slots.locals = (stack - slots.at) / 8;
	if (slots.locals > room)
		return;
	room -= slots.locals;
	depth = pyh_has(walk->runtime, PYH_FRAME_F_STACKDEPTH) ?
			own_field(walk, PYH_FRAME_F_STACKDEPTH) & UINT32_MAX :
			(own_field(walk, PYH_FRAME_F_STACKTOP) - stack) / 8;
	slots.running = depth > room;
	slots.stack = slots.running ? room : depth;
	each_frame_slot(walk, &slots);
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
	const struct pyh_shape *shape = walk->shape;
	uint64_t words[BATCH];

	if (shape->num_shared_keys == 0 ||
	    !memory_try_read(walk->of->memory, values, words,
			     shape->num_shared_keys * sizeof(words[0])))
		return;
	for (uint32_t i = 0; i < shape->num_shared_keys && !walk->stopped; i++)
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_ATTRIBUTE,
			.hold = hold, .address = words[i],
			.key = shape->shared_keys[i], .index = i });
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
		(void)own(walk, at + pyh_offset(runtime, PYH_VALUES_VALID),
			  &valid, 1);
	if (valid && dict.address && values_go_first(runtime))
		dict.hold = PYH_HOLD_UNTRAVERSED;
	else if (dict.address)
		hold = PYH_HOLD_NONE;
	emit(walk, dict);
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
	(void)memory_try_u64(memory, address - 24, &dict.address);
	if (walk->runtime->minor == 12 && dict.address & 1) {
		values = dict.address + 1;
		dict.address = 0;
	}
	if (walk->runtime->minor >= 13) {
		each_inline_value(walk, dict);
		return;
	}
	emit(walk, dict);
	if (values && values % 8 == 0)
		each_value(walk, values, walk->shape->dict_hold);
}

/* --- fields -------------------------------------------------------------------------------- */

/**
 * Static types do not count their base, but for one that was not named and
 * became `object`, up to 3.9. Source: PyType_Ready().
 */
static bool is_uncounted_base(const struct walk *walk, uint32_t offset,
			      uint64_t word)
{
	return walk->uncollected &&
	       offset == pyh_offset(walk->runtime, PYH_TYPE_TP_BASE) &&
	       (walk->runtime->minor >= 10 ||
		word != walk->runtime->types.object);
}

static void each_slot(struct walk *walk)
{
	const struct pyh_shape *shape = walk->shape;
	uint64_t tags = walk->of->type->kind == PYH_KIND_ELEMENT ? JOIN_TAG : 0;

	for (size_t i = 0; i < shape->num_refs && !walk->stopped; i++) {
		const struct pyh_slot *slot = &shape->refs[i];
		uint64_t word;

		if ((uint64_t)slot->offset + 8 > walk->of->extent)
			continue;
		word = own_word(walk, slot->offset) & ~tags;
		if (word % 8 == 0 && word >= SMALLEST_ADDRESS)
			emit(walk, (struct pyh_ref){
				.kind = slot->kind == PYH_SLOT_DICT ?
						PYH_REF_DICT : PYH_REF_FIELD,
				.hold = is_uncounted_base(walk, slot->offset,
							  word) ?
						PYH_HOLD_NONE : slot->hold,
				.address = word, .index = slot->offset,
				.name = slot->name });
	}
}

/** References behind the structure, as many as a word of it says. */
static void each_item_behind(struct walk *walk)
{
	const struct pyh_shape *shape = walk->shape;
	uint64_t step = shape->items_step;
	uint64_t count = shape->items_count ?
		own_word(walk, shape->items_count) & UINT32_MAX :
		own_field(walk, PYH_VAR_OB_SIZE);

	if (step < 8 || count > ITEMS_MAX || !pay(walk, count))
		return;
	for (uint64_t i = 0; i < count && !walk->stopped &&
		     shape->items_from + i * step + 8 <= walk->of->extent; i++)
		emit(walk, (struct pyh_ref){ .kind = PYH_REF_ITEM, .index = i,
			.hold = shape->items_hold, .name = shape->items_name,
			.address = own_word(walk,
					    shape->items_from + i * step) });
}

/** References in memory of its own. */
static void each_of_array(struct walk *walk)
{
	const struct pyh_known_array *array = walk->shape->array;
	uint64_t header = walk->runtime->size_of[PYH_STRUCT_OBJECT];
	uint64_t at = own_word(walk, header + array->pointer * 8U), index = 0;
	uint64_t count = 0, words[BATCH / 8];

	if (!array->inner)
		count = own_word(walk, header + array->count * 8U);
	else if (at == 0 || at % 8 ||
		 !memory_try_u64(walk->of->memory, at + array->count * 8U,
				 &count) ||
		 !memory_try_u64(walk->of->memory, at + array->inner * 8U, &at))
		return;
	if (at == 0 || at % 8 || !pay(walk, count))
		return;
	for (uint64_t i = 0; i < count && !walk->stopped; i++, at += array->step) {
		if (!memory_try_read(walk->of->memory, at, words,
				     array->each * sizeof(words[0])))
			return;
		for (uint8_t j = 0; j < array->each; j++, index++)
			emit(walk, (struct pyh_ref){ .kind = PYH_REF_ITEM,
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
		word = own_word(walk, at);
		emit_guess(walk, word, at);
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
			.hold = walk->shape->dict_hold,
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
		each_of_dict(walk);
		break;
	case PYH_KIND_ODICT:
		each_of_odict(walk);
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
	case PYH_KIND_TYPE:
	case PYH_KIND_CTYPE:
		each_of_type(walk);
		break;
	case PYH_KIND_SIMPLEQUEUE:
		each_of_simple_queue(walk);
		break;
	case PYH_KIND_OTHER:
		if (walk->shape->lru_cache)
			each_of_lru_cache(walk);
		break;
	default:
		break;
	}
}

/** Type objects themselves: those that are no heap types are not collected. */
static bool is_static_type(const struct walk *walk)
{
	const struct pyh_type *type = walk->of->type;

	return (type->kind == PYH_KIND_TYPE || type->kind == PYH_KIND_CTYPE) &&
	       !(own_field(walk, PYH_TYPE_TP_FLAGS) & PYH_TPFLAGS_HEAPTYPE);
}

void pyh_refs_each(const struct pyh_referrer *referrer, pyh_ref_fn *fn,
		   void *context)
{
	const struct pyh_type *type = referrer->type;
	const struct pyh_shape *shape;
	struct walk walk = { .of = referrer, .runtime = referrer->runtime,
			     .fn = fn, .context = context };

	if (pyh_object_is_leaf(type)) {
		emit(&walk, (struct pyh_ref){ .kind = PYH_REF_TYPE,
			.hold = PYH_HOLD_NONE, .address = type->address });
		return;
	}
	shape = pyh_shape_of(referrer->shapes, type);
	if (!shape)
		return;
	walk.shape = shape;
	walk.hold = shape->content_hold;
	walk.uncollected = is_static_type(&walk);
	emit(&walk, (struct pyh_ref){ .kind = PYH_REF_TYPE,
		.hold = shape->type_hold, .address = type->address });
	each_slot(&walk);
	if (has_managed_dict(&walk))
		each_managed(&walk);
	else if (type->dictoffset < 0)
		each_dict_at_end(&walk);
	each_of_content(&walk);
	if (shape->items_from)
		each_item_behind(&walk);
	if (shape->array)
		each_of_array(&walk);
	if (!shape->complete)
		each_guess(&walk);
}
