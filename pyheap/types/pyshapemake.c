/*
 * The making of shapes; see pyshape.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pyshapemake.h"

#include <stdlib.h>
#include <string.h>

#include "pyheap/types/pytypeview.h"
#include "pyheap/values/pydict.h"
#include "pyheap/values/pystr.h"

enum {
	SLOTS_MAX = 4096,	/* of one type */
	NAME_MAX_BYTES = 256,
	BASES_MAX = 1024,
	SHARED_KEYS_MAX = 255,
	/* PyMemberDef: name 0, type 8, offset 16. Include/descrobject.h; the
	   codes of types: Include/structmember.h. */
	MEMBER_TYPE = 8,
	MEMBER_OFFSET = 16,
	MEMBER_SIZE = 24,	/* bytes of it that are read */
	T_OBJECT = 6,
	T_OBJECT_EX = 16,
};

#define LRU_CACHE "functools._lru_cache_wrapper"
#define LRU_LINK "functools._lru_list_elem"
#define SQLITE_CACHE "sqlite3.Cache"

/** A shape under construction. */
struct draft {
	struct pyh_shapes *shapes;
	const struct pyh_type *type;
	struct pyh_shape *shape;
	size_t room;
	uint32_t closed;	/* up to here all references are known */
	bool collected;		/* the collector visits instances */
	bool no_memory;
};

static struct pyh_slot *slot_within(const struct pyh_shape *shape,
				    uint64_t offset, uint32_t size)
{
	for (size_t i = 0; i < shape->num_slots; i++) {
		struct pyh_slot *slot = &shape->slots[i];

		if (offset < slot->offset + (uint64_t)slot->size &&
		    slot->offset < offset + size)
			return slot;
	}
	return NULL;
}

static struct pyh_slot *new_slot(struct draft *draft)
{
	struct pyh_shape *shape = draft->shape;

	if (shape->num_slots == draft->room) {
		size_t room = draft->room ? draft->room * 2 : 8;
		struct pyh_slot *grown = reallocarray(shape->slots, room,
						      sizeof(*grown));

		if (!grown) {
			draft->no_memory = true;
			return NULL;
		}
		shape->slots = grown;
		draft->room = room;
	}
	return &shape->slots[shape->num_slots];
}

/** A copy of a name; NULL without memory, which the draft then says. */
static const char *copy_name(struct draft *draft, const char *name)
{
	const char *copy = strdup(name);

	draft->no_memory |= !copy;
	return copy;
}

/** Add a slot, unless there is one already. Takes a copy of the name. */
static void add_slot(struct draft *draft, uint64_t offset, uint32_t size,
		     enum pyh_slot_kind kind, enum pyh_hold hold,
		     const char *name)
{
	struct pyh_shape *shape = draft->shape;
	struct pyh_slot *slot;

	if (offset < draft->shapes->runtime->size_of[PYH_STRUCT_OBJECT] ||
	    shape->num_slots >= SLOTS_MAX ||
	    offset + size > (uint64_t)draft->type->basicsize ||
	    slot_within(shape, offset, size))
		return;
	slot = new_slot(draft);
	if (!slot)
		return;
	*slot = (struct pyh_slot){
		.offset = (uint32_t)offset, .size = size, .kind = kind,
		.hold = hold, .name = copy_name(draft, name),
	};
	if (slot->name)
		shape->num_slots++;
}

/** What is seen by a tp_traverse, if the collector sees instances at all. */
static enum pyh_hold hold_of(const struct draft *draft, bool visited)
{
	return draft->collected && visited ? PYH_HOLD_TRAVERSED :
					     PYH_HOLD_UNTRAVERSED;
}

/* --- what the target tells ------------------------------------------------------ */

/** Bytes of a C member by its PyMemberDef type; 0: not known. */
static uint32_t plain_size(uint32_t type)
{
	// T_SHORT … T_NONE; the codes have been the same since Python 2.
	static const uint8_t sizes[] = {
		2, 4, 8, 4, 8, 8, 8, 1, 1, 1, 2, 4, 8, 0, 1, 0, 8, 8, 8, 8,
	};

	return type < sizeof(sizes) ? sizes[type] : 0;
}

static void rename_slot(struct draft *draft, struct pyh_slot *slot,
			const char *name)
{
	const char *copy = copy_name(draft, name);

	if (!copy)
		return;
	free((char *)(uintptr_t)slot->name);
	slot->name = copy;
	slot->by_table = false;
}

/**
 * @param hold  of a reference by a member that no table knows. For one that a
 *	table knows, the name that Python code uses is taken over
 */
static void add_member(struct draft *draft, uint64_t key, uint64_t descriptor,
		       enum pyh_hold hold)
{
	struct pyh_shapes *shapes = draft->shapes;
	uint32_t at = shapes->runtime->size_of[PYH_STRUCT_DESCR];
	uint8_t definition[MEMBER_SIZE];
	char name[NAME_MAX_BYTES];
	struct pyh_slot *slot;
	struct pyh_str str;
	uint64_t member, offset;
	uint32_t type, size;

	if (at == 0 || !memory_try_u64(&shapes->memory, descriptor + at,
				       &member) ||
	    !memory_try_read(&shapes->memory, member, definition,
			     sizeof(definition)) ||
	    pyh_str_read(shapes->runtime, &shapes->memory, key, &str) !=
		    PYH_FOUND ||
	    !pyh_str_copy(&shapes->memory, &str, name, sizeof(name)))
		return;
	memcpy(&type, definition + MEMBER_TYPE, sizeof(type));
	memcpy(&offset, definition + MEMBER_OFFSET, sizeof(offset));
	size = plain_size(type);
	if (size == 0)
		return;
	// Told by add_offsets(). The members called offsets are no numbers in
	// the instance: C code tells by them where its dict and its list are.
	if (strcmp(name, "__dict__") == 0 || strcmp(name, "__weakref__") == 0 ||
	    strcmp(name, "__dictoffset__") == 0 ||
	    strcmp(name, "__weaklistoffset__") == 0)
		return;
	slot = slot_within(draft->shape, offset, size);
	if (!slot)
		add_slot(draft, offset, size,
			 type == T_OBJECT || type == T_OBJECT_EX ?
				 PYH_SLOT_OBJECT : PYH_SLOT_OTHER,
			 hold, name);
	else if (slot->offset == offset && slot->size == size &&
		 slot->by_table)
		rename_slot(draft, slot, name);
}

/** The member descriptors in the dict of a class. */
static void add_members(struct draft *draft, const struct pyh_type_view *view,
			enum pyh_hold hold)
{
	struct pyh_shapes *shapes = draft->shapes;
	const struct pyh_runtime *runtime = shapes->runtime;
	uint64_t dict = pyh_type_dict(runtime, &shapes->memory, view);
	uint64_t key, value, type_address;
	struct pyh_dict_walk walk;

	if (dict == 0 || pyh_dict_walk(runtime, &shapes->memory, dict, &walk) !=
				 PYH_FOUND)
		return;
	walk.budget = &shapes->entries;
	while (pyh_dict_next(&walk, &key, &value)) {
		const struct pyh_type *type;

		if (value % 8 ||
		    !memory_try_u64(&shapes->memory, value +
				    pyh_offset(runtime, PYH_OBJECT_OB_TYPE),
				    &type_address))
			continue;
		type = pyh_type_find(&shapes->reader, type_address);
		if (type && strcmp(type->name, "member_descriptor") == 0)
			add_member(draft, key, value, hold);
	}
}

/* --- what the tables tell -------------------------------------------------------- */

/** True if all fields lie within a structure of that size. */
static bool fields_fit(const struct pyh_runtime *runtime,
		       const enum pyh_field *fields, int64_t size)
{
	for (size_t i = 0; i < PYH_KNOWN_FIELDS_MAX && fields[i]; i++)
		if (pyh_has(runtime, fields[i]) &&
		    (int64_t)pyh_offset(runtime, fields[i]) + 8 > size)
			return false;
	return true;
}

/** What a table says of a word goes before what anything else says. */
static void add_known(struct draft *draft, uint64_t offset,
		      enum pyh_slot_kind kind, enum pyh_hold hold,
		      const char *name)
{
	struct pyh_slot *slot = slot_within(draft->shape, offset, 8);

	if (slot && slot->offset == offset && slot->kind == PYH_SLOT_DICT)
		slot->hold = hold;
	if (slot)
		return;
	add_slot(draft, offset, 8, kind, hold, name);
	slot = slot_within(draft->shape, offset, 8);
	if (slot)
		slot->by_table = true;
}

static void add_fields(struct draft *draft, const enum pyh_field *fields,
		       enum pyh_hold hold)
{
	const struct pyh_runtime *runtime = draft->shapes->runtime;

	for (size_t i = 0; i < PYH_KNOWN_FIELDS_MAX && fields[i]; i++)
		if (pyh_has(runtime, fields[i]))
			add_known(draft, pyh_offset(runtime, fields[i]),
				  pyh_is_dict_field(fields[i]) ?
					  PYH_SLOT_DICT : PYH_SLOT_OBJECT,
				  hold, pyh_field_member(fields[i]));
}

/** A token of pyh_known_words_of(), without what tells how often it counts. */
struct word {
	char name[48];
	unsigned int times;
	bool items;
	uint32_t counted_by;	/* of items: the word that says how many */
	char mark;		/* '~', '-', '=', '@', or 0 */
};

/** The next word; false at the end. */
static bool next_word(const char **words, struct word *ret)
{
	const char *at = *words;
	size_t length;

	at += strspn(at, " ");
	if (!*at)
		return false;
	*ret = (struct word){ .times = 1 };
	if (strchr("~-=@?", *at))
		ret->mark = *at++;
	length = strcspn(at, " *[");
	memcpy(ret->name, at, length < sizeof(ret->name) ?
				      length : sizeof(ret->name) - 1);
	at += length;
	ret->items = *at == '[';
	if (ret->items)
		ret->counted_by = (uint32_t)strtoul(at + 1, NULL, 10);
	if (*at == '*')
		ret->times = (unsigned int)strtoul(at + 1, NULL, 10);
	*words = at + strcspn(at, " ");
	return true;
}

/** Where a metatype has its own data. Source: PyObject_GetTypeData(). */
static uint64_t metatype_end(const struct pyh_runtime *runtime)
{
	return (runtime->size_of[PYH_STRUCT_HEAPTYPE] + 15U) & ~15U;
}

/** Bytes of the structure that these words tell of. */
static uint64_t words_end(const struct pyh_runtime *runtime, const char *words)
{
	uint64_t end = runtime->size_of[PYH_STRUCT_OBJECT];
	struct word word;

	while (next_word(&words, &word))
		if (word.mark == '@')
			end = metatype_end(runtime);
		else
			end += word.items ? 0 : (uint64_t)word.times * 8;
	return end;
}

static void add_items(struct draft *draft, const struct word *word,
		      uint32_t at, enum pyh_hold hold)
{
	struct pyh_shape *shape = draft->shape;
	uint32_t first = draft->shapes->runtime->size_of[PYH_STRUCT_OBJECT];

	if (shape->items_from)
		return;
	shape->items_from = at;
	shape->items_hold = hold;
	shape->items_name = copy_name(draft, word->name);
	shape->items_step = word->counted_by ? 8 :
					       (uint32_t)draft->type->itemsize;
	if (word->counted_by)
		shape->items_count = first + word->counted_by * 8;
}

static void add_words(struct draft *draft, const char *words, bool visited)
{
	uint64_t at = draft->shapes->runtime->size_of[PYH_STRUCT_OBJECT];
	struct word word;

	while (next_word(&words, &word)) {
		enum pyh_hold hold = word.mark == '=' ? PYH_HOLD_NONE :
			word.mark == '?' ? PYH_HOLD_GUESSED :
			hold_of(draft, visited && word.mark != '-');

		if (word.mark == '@') {
			at = metatype_end(draft->shapes->runtime);
			continue;
		}
		if (word.items) {
			at += word.mark == '~' ? 8 : 0;
			add_items(draft, &word, (uint32_t)at, hold);
			return;
		}
		for (unsigned int i = 0; i < word.times; i++, at += 8)
			if (word.mark != '~')
				add_known(draft, at,
					  strcmp(word.name, "dict") == 0 ?
						  PYH_SLOT_DICT :
						  PYH_SLOT_OBJECT,
					  hold, word.name);
	}
}

/**
 * tp_dictoffset and tp_weaklistoffset; a list of weak references is none. Only
 * the type's own hold, which are its base's unless it has others: a
 * _io.BufferedRWPair has its reader and its writer where an instance of
 * _io._IOBase has these two.
 */
static void add_offsets(struct draft *draft, const struct pyh_type_view *view)
{
	if (view->dictoffset > 0)
		add_slot(draft, (uint64_t)view->dictoffset, 8, PYH_SLOT_DICT,
			 hold_of(draft, true), "__dict__");
	if (view->weaklistoffset > 0)
		add_slot(draft, (uint64_t)view->weaklistoffset, 8,
			 PYH_SLOT_OTHER, PYH_HOLD_NONE, "__weakref__");
}

/* --- putting it together ----------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
	const struct pyh_slot *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

uint64_t pyh_shape_traverse(struct pyh_shapes *shapes, uint64_t type)
{
	uint64_t traverse;

	return pyh_field(shapes->runtime, &shapes->memory, type,
			 PYH_TYPE_TP_TRAVERSE, &traverse) ? traverse : 0;
}

static void add_array(struct draft *draft, const char *type, bool visited)
{
	struct pyh_shape *shape = draft->shape;

	if (shape->array)
		return;
	shape->array = pyh_known_array_of(type, draft->shapes->runtime->minor);
	if (shape->array)
		shape->array_hold = hold_of(draft, visited &&
			(draft->shapes->runtime->version >> 8 & 0xff) >=
				shape->array->seen_from);
}

/** What the tables know of a class that is written in C. */
static void add_tables(struct draft *draft, const struct pyh_type *type,
		       int64_t size, bool visited)
{
	const struct pyh_runtime *runtime = draft->shapes->runtime;
	const struct pyh_known_fields *fields = pyh_known_fields_of(type->name);
	const char *words;
	size_t n = 0;
	bool all = false;

	// Names are free for everyone: what is called as a class of the
	// interpreter without being one has fields that nobody knows.
	if (type->foreign && fields && !strchr(type->name, '.'))
		return;
	// And a class that is not as large as the structure is another one.
	do {
		words = pyh_known_words_of(type->name, runtime->minor, n++);
	} while (words && words_end(runtime, words) > (uint64_t)size);
	if (words) {
		add_words(draft, words, visited);
		add_array(draft, type->name, visited);
		all = true;
	}
	if (fields && fields_fit(runtime, fields->fields, size) &&
	    (type->is_static || fields_fit(runtime, fields->hidden, size))) {
		add_fields(draft, fields->fields, hold_of(draft, visited));
		add_fields(draft, fields->hidden, PYH_HOLD_UNTRAVERSED);
		all |= fields->all;
	}
	if (all && size > draft->closed)
		draft->closed = (uint32_t)size;
}

/** One class of the MRO: what it knows goes before what its bases know. */
static void add_class(struct draft *draft, uint64_t address)
{
	struct pyh_shapes *shapes = draft->shapes;
	const struct pyh_type *type = pyh_type_find(&shapes->reader, address);
	uint64_t traverse = pyh_shape_traverse(shapes, address);
	struct pyh_type_view view;

	if (!type || !pyh_type_view(shapes->runtime, &shapes->memory,
				    type->chains, address, &view))
		return;
	if (!traverse || traverse != shapes->subtype_traverse)
		add_tables(draft, type, view.basicsize, traverse != 0);
	// Those of struct sequences are items.
	if (type->kind != PYH_KIND_STRUCTSEQ)
		add_members(draft, &view, hold_of(draft, traverse != 0));
}

/** The nearest base, or the type itself, with another tp_traverse. */
static uint64_t other_traverse(struct pyh_shapes *shapes, uint64_t address,
			       uint64_t traverse)
{
	for (int i = 0; i < BASES_MAX; i++) {
		const struct pyh_type *type;

		if (pyh_shape_traverse(shapes, address) != traverse)
			return address;
		type = pyh_type_find(&shapes->reader, address);
		if (!type || !type->base)
			return 0;
		address = type->base;
	}
	return 0;
}

/** True if the tp_traverse of a class written in C visits instances' types. */
static bool visits_type(struct pyh_shapes *shapes, uint64_t address)
{
	uint64_t traverse = pyh_shape_traverse(shapes, address);
	const struct pyh_type *type = pyh_type_find(&shapes->reader, address);

	// It may be inherited from one that has no need to.
	for (int i = 0; i < BASES_MAX && type && type->base &&
			pyh_shape_traverse(shapes, type->base) == traverse; i++)
		type = pyh_type_find(&shapes->reader, type->base);
	return type && !type->is_static && shapes->runtime->minor >= 9 &&
	       !pyh_omits_type(type->name, shapes->runtime->minor,
			       shapes->runtime->version >> 8 & 0xff);
}

/**
 * How instances hold their type: those of heap types own a count. Source:
 * subtype_traverse(), which leaves the type to a base that is a heap type.
 */
static void set_holds(struct draft *draft, uint64_t traverse)
{
	struct pyh_shapes *shapes = draft->shapes;
	const struct pyh_type *type = draft->type, *base;
	struct pyh_shape *shape = draft->shape;
	bool python = traverse && traverse == shapes->subtype_traverse;
	uint64_t address = python ? other_traverse(shapes, type->address,
						   traverse) : type->address;
	bool visited = !python && visits_type(shapes, type->address);

	base = pyh_type_find(&shapes->reader, address);
	if (python)
		visited = shapes->runtime->minor == 8 || !base ||
			  base->is_static || !pyh_shape_traverse(shapes, address) ||
			  visits_type(shapes, address);
	shape->type_hold = type->is_static ? PYH_HOLD_NONE :
					     hold_of(draft, visited);
	shape->dict_hold = hold_of(draft, true);
	shape->content_hold = hold_of(draft, base && pyh_shape_traverse(shapes,
								 address));
	if (base && strcmp(base->name, LRU_CACHE) == 0)
		shape->special = PYH_SPECIAL_LRU_CACHE;
	if (strcmp(type->name, SQLITE_CACHE) == 0)
		shape->special = PYH_SPECIAL_SQLITE_CACHE;
	// Its cache visits what a link holds.
	if (strcmp(type->name, LRU_LINK) == 0)
		shape->type_hold = PYH_HOLD_NONE;
}

/** The names of attributes without a dict: 3.11 and later. */
static void add_shared_keys(struct draft *draft)
{
	struct pyh_shapes *shapes = draft->shapes;
	struct pyh_shape *shape = draft->shape;
	struct pyh_keys keys;
	uint64_t at;

	if (draft->type->is_static || shapes->runtime->minor < 11 ||
	    !(draft->type->flags & PYH_TPFLAGS_MANAGED_DICT) ||
	    !pyh_field(shapes->runtime, &shapes->memory, draft->type->address,
		       PYH_HEAPTYPE_HT_CACHED_KEYS, &at) ||
	    pyh_keys_read(shapes->runtime, &shapes->memory, at, &keys) !=
		    PYH_FOUND ||
	    keys.nentries == 0 || keys.nentries > SHARED_KEYS_MAX)
		return;
	shape->shared_keys = calloc(keys.nentries, sizeof(uint64_t));
	if (!shape->shared_keys) {
		draft->no_memory = true;
		return;
	}
	shape->num_shared_keys = (uint32_t)keys.nentries;
	for (uint32_t i = 0; i < shape->num_shared_keys; i++)
		(void)memory_try_u64(&shapes->memory,
				     keys.entries + (keys.unicode ? i * 16 :
						     i * 24 + 8),
				     &shape->shared_keys[i]);
}

/** Words that nothing is known of begin here, or the structure ends. */
static uint32_t first_open(const struct draft *draft)
{
	uint32_t end = (uint32_t)draft->type->basicsize & ~7U;
	uint32_t head = draft->shapes->runtime->size_of[PYH_STRUCT_OBJECT];
	uint32_t at = draft->closed > head ? (draft->closed + 7) & ~7U : head;

	while (at < end && slot_within(draft->shape, at, 8))
		at += 8;
	return at < end ? at : end;
}

/** A list of its own of what refers to objects. */
static void put_refs(struct draft *draft)
{
	struct pyh_shape *shape = draft->shape;

	if (shape->num_slots == 0)
		return;
	qsort(shape->slots, shape->num_slots, sizeof(*shape->slots), by_offset);
	shape->refs = calloc(shape->num_slots, sizeof(*shape->refs));
	draft->no_memory |= !shape->refs;
	for (size_t i = 0; shape->refs && i < shape->num_slots; i++)
		if (shape->slots[i].kind != PYH_SLOT_OTHER)
			shape->refs[shape->num_refs++] = shape->slots[i];
}

/**
 * The nearest base that instances do not begin as, or 0: what it and those
 * behind it know is of other structures.
 */
static uint64_t foreign_base(struct pyh_shapes *shapes,
			     const struct pyh_type *type)
{
	for (int i = 0; i < BASES_MAX && type; i++) {
		if (type->own_layout)
			return type->base;
		type = pyh_type_find(&shapes->reader, type->base);
	}
	return 0;
}

static void build(struct draft *draft)
{
	uint64_t foreign = foreign_base(draft->shapes, draft->type);
	struct pyh_shapes *shapes = draft->shapes;
	uint64_t traverse = pyh_shape_traverse(shapes, draft->type->address);
	struct pyh_type_view view;

	draft->collected = draft->type->has_gc && traverse;
	set_holds(draft, traverse);
	if (pyh_type_view(shapes->runtime, &shapes->memory,
			  draft->type->chains, draft->type->address, &view)) {
		add_offsets(draft, &view);
		// A static type may have instances before it is ready.
		if (view.mro_count == 0)
			add_class(draft, draft->type->address);
		for (uint64_t i = 0; i < view.mro_count; i++) {
			uint64_t address;

			if (!memory_try_u64(&shapes->memory, view.mro + i * 8,
					    &address))
				continue;
			if (foreign && address == foreign)
				break;
			add_class(draft, address);
		}
	}
	draft->shape->open_from = first_open(draft);
	draft->shape->complete = draft->closed > 0 &&
		draft->shape->open_from >= (draft->type->basicsize & ~7);
	add_shared_keys(draft);
	put_refs(draft);
}

void pyh_shape_destroy(struct pyh_shape *shape)
{
	for (size_t i = 0; shape && i < shape->num_slots; i++)
		free((char *)(uintptr_t)shape->slots[i].name);
	if (shape) {
		free(shape->slots);
		free(shape->refs);
		free((char *)(uintptr_t)shape->items_name);
		free(shape->shared_keys);
	}
	free(shape);
}

struct pyh_shape *pyh_shape_make(struct pyh_shapes *shapes,
				 const struct pyh_type *type)
{
	struct pyh_shape *shape = calloc(1, sizeof(*shape));
	struct draft draft = { .shapes = shapes, .type = type, .shape = shape };

	if (!shape)
		return NULL;
	build(&draft);
	if (draft.no_memory) {
		pyh_shape_destroy(shape);
		return NULL;
	}
	return shape;
}
