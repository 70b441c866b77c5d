/*
 * Type objects: found once, named, classified, and kept for good.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Found types live in chunks that never move, so ids and pointers stay valid
 * and readers need no lock. An open-addressing index from address to id is
 * read without a lock, too: it only grows, and an outgrown one is kept until
 * the end, because a reader may still be in it. Everything that adds holds
 * the lock. What is no type is remembered by the readers' caches alone.
 */
#include "pyheap/types/pytypes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "pyheap/sizes/pysize.h"
#include "pyheap/types/pykinds.h"
#include "pyheap/types/pynames.h"
#include "pyheap/types/pytypeview.h"
#include "pyheap/values/pydict.h"

enum {
	CHUNK_TYPES = 256,
	NUM_CHUNKS = 4096,
	TYPES_MAX = CHUNK_TYPES * NUM_CHUNKS,
	CHAIN_MAX = 256,		/* bases; real ones have below 50 */
	FIRST_CAPACITY = 4096,		/* slots of the index */
	HIDDEN_ITEMS_MAX = 1 << 10,
	MRO_CHECKED = 16,		/* classes of an MRO looked at */
	DAMAGED_MAX = 32,		/* damaged types remembered */
	DICT_IN_FRONT = 64,		/* bytes from an instance to its dict */
	SUSPECTS_MAX = 256,		/* and what may be some */
};

/*
 * What a hostile dump can make us do: entries of type dicts looked at, and
 * bytes of names kept. The largest programs seen need a hundredth.
 */
#define WALK_BUDGET (UINT64_C(1) << 27)
#define NAME_BUDGET (UINT64_C(1) << 28)

/* Steps along chains for each byte of memory: several passes over a heap that
   is nothing but the smallest links of 32 bytes. */
enum { STEPS_PER_BYTE = 2 };

enum sizeof_state { SIZEOF_UNKNOWN, SIZEOF_NONE, SIZEOF_OWN };

struct type_entry {
	struct pyh_type type;	/* first: readers get a pointer to it */
	struct pyh_name name;	/* owns what type.name and others point to */
	bool defines_kind;	/* its bases are not of this kind */
	enum sizeof_state own_sizeof;	/* has a __sizeof__ in its own dict */
};

struct type_index {
	size_t capacity;		/* power of two */
	struct type_index *outgrown;	/* freed with the types */
	_Atomic uint32_t slots[];	/* id + 1; 0: empty */
};

struct pyh_types {
	const struct pyh_runtime *runtime;	/* borrowed */
	struct type_entry *_Atomic chunks[NUM_CHUNKS];
	_Atomic uint32_t count;
	struct type_index *_Atomic index;
	pthread_mutex_t lock;			/* for everything below */
	struct pyh_names *names;
	struct pyh_chains chains;		/* not under the lock */
	uint64_t object;			/* address of `object` */
	uint64_t walk_budget;
	uint64_t name_bytes;
	uint64_t damaged[DAMAGED_MAX];		/* addresses reported */
	size_t num_damaged;
	uint64_t suspects[SUSPECTS_MAX];	/* addresses, told of once */
	size_t num_suspects;
};

/* --- the table ------------------------------------------------------------- */

static struct type_entry *entry_at(const struct pyh_types *types, uint32_t id)
{
	struct type_entry *chunk =
		atomic_load_explicit(&types->chunks[id / CHUNK_TYPES],
				     memory_order_acquire);

	return &chunk[id % CHUNK_TYPES];
}

static size_t index_slot(const struct type_index *index, uint64_t address)
{
	return (size_t)((address * UINT64_C(0x9E3779B97F4A7C15)) >> 24) &
	       (index->capacity - 1);
}

static struct type_entry *find_entry(const struct pyh_types *types,
				     uint64_t address)
{
	struct type_index *index =
		atomic_load_explicit(&types->index, memory_order_acquire);

	for (size_t slot = index_slot(index, address);;
	     slot = (slot + 1) & (index->capacity - 1)) {
		uint32_t id = atomic_load_explicit(&index->slots[slot],
						   memory_order_acquire);
		struct type_entry *entry;

		if (id == 0)
			return NULL;
		entry = entry_at(types, id - 1);
		if (entry->type.address == address)
			return entry;
	}
}

static void index_put(struct type_index *index, uint64_t address, uint32_t id)
{
	size_t slot = index_slot(index, address);

	while (atomic_load_explicit(&index->slots[slot], memory_order_relaxed))
		slot = (slot + 1) & (index->capacity - 1);
	atomic_store_explicit(&index->slots[slot], id + 1,
			      memory_order_release);
}

static struct type_index *index_new(size_t capacity)
{
	struct type_index *index =
		calloc(1, sizeof(*index) + capacity * sizeof(index->slots[0]));

	if (index)
		index->capacity = capacity;
	return index;
}

/* Make sure that one more type fits. False without memory or beyond limits. */
static bool make_room(struct pyh_types *types)
{
	uint32_t count = atomic_load(&types->count);
	struct type_index *index = atomic_load(&types->index), *larger;

	if (count >= TYPES_MAX)
		return false;
	if (count % CHUNK_TYPES == 0 &&
	    !atomic_load(&types->chunks[count / CHUNK_TYPES])) {
		struct type_entry *chunk = calloc(CHUNK_TYPES, sizeof(*chunk));

		if (!chunk)
			return false;
		atomic_store_explicit(&types->chunks[count / CHUNK_TYPES],
				      chunk, memory_order_release);
	}
	if (count < index->capacity / 2)
		return true;
	larger = index_new(index->capacity * 2);
	if (!larger)
		return false;
	for (uint32_t id = 0; id < count; id++)
		index_put(larger, entry_at(types, id)->type.address, id);
	larger->outgrown = index;
	atomic_store_explicit(&types->index, larger, memory_order_release);
	return true;
}

/* --- what the dict of a type says ------------------------------------------- */

enum attribute {
	ATTRIBUTE_SIZEOF, ATTRIBUTE_MODULE, ATTRIBUTE_FIELDS,
	ATTRIBUTE_SEQUENCE_FIELDS, ATTRIBUTE_UNNAMED_FIELDS, NUM_ATTRIBUTES
};

static const char *const attribute_names[NUM_ATTRIBUTES] = {
	"__sizeof__", "__module__", "n_fields", "n_sequence_fields",
	"n_unnamed_fields",
};

struct attributes {
	bool seen;	/* the whole dict was read */
	uint64_t values[NUM_ATTRIBUTES];
};

static void read_attributes(struct pyh_types *types,
			    struct memory_reader *memory,
			    const struct pyh_type_view *view,
			    struct attributes *ret)
{
	uint64_t dict = pyh_type_dict(types->runtime, memory, view);

	*ret = (struct attributes){ 0 };
	ret->seen = dict != 0 &&
		    pyh_dict_find(types->runtime, memory, dict, attribute_names,
				  NUM_ATTRIBUTES, ret->values,
				  &types->walk_budget) == PYH_FOUND;
}

/* A small int object of the target; only what a count of fields can be. */
static bool read_small_int(const struct pyh_runtime *runtime,
			   struct memory_reader *memory, uint64_t object,
			   uint32_t *ret)
{
	bool tagged = pyh_has(runtime, PYH_LONG_LONG_VALUE_LV_TAG);
	enum pyh_field digits = tagged ? PYH_LONG_LONG_VALUE_OB_DIGIT :
					 PYH_LONG_OB_DIGIT;
	uint64_t size;

	if (object == 0 || object % 8 ||
	    !memory_try_u64(memory,
			    object + pyh_offset(runtime, tagged ?
						PYH_LONG_LONG_VALUE_LV_TAG :
						PYH_VAR_OB_SIZE), &size))
		return false;
	if (tagged)
		size = (size & 3) == 2 ? 2 : size >> 3;
	*ret = 0;
	return size == 0 ||
	       (size == 1 &&
		memory_try_u32(memory, object + pyh_offset(runtime, digits),
			       ret));
}

/* Struct sequences hold more items than they show as a tuple. */
static bool is_struct_sequence(struct pyh_types *types,
			       struct memory_reader *memory,
			       const struct attributes *attributes,
			       uint32_t *ret_hidden)
{
	const uint64_t *values = attributes->values;
	uint32_t fields, shown;

	if (!values[ATTRIBUTE_UNNAMED_FIELDS] ||
	    !read_small_int(types->runtime, memory, values[ATTRIBUTE_FIELDS],
			    &fields) ||
	    !read_small_int(types->runtime, memory,
			    values[ATTRIBUTE_SEQUENCE_FIELDS], &shown) ||
	    shown > fields || fields - shown > HIDDEN_ITEMS_MAX)
		return false;
	*ret_hidden = fields - shown;
	return true;
}

static enum sizeof_state sizeof_of(struct pyh_types *types,
				   const struct pyh_type_view *view,
				   const struct attributes *attributes,
				   const struct type_entry *entry)
{
	if (attributes->values[ATTRIBUTE_SIZEOF])
		return SIZEOF_OWN;
	if (attributes->seen)
		return SIZEOF_NONE;
	// A static type's dict that is out of reach: go by the table.
	if (!(view->flags & PYH_TPFLAGS_HEAPTYPE) && entry->type.name_known)
		return entry->defines_kind &&
		       pyh_kind_has_sizeof(types->runtime, entry->type.kind) ?
			       SIZEOF_OWN : SIZEOF_NONE;
	return SIZEOF_UNKNOWN;
}

/* --- building one ----------------------------------------------------------- */

static uint8_t presize(const struct pyh_runtime *runtime, uint64_t flags)
{
	uint64_t slots = runtime->minor >= 12 ?
		PYH_TPFLAGS_MANAGED_DICT | PYH_TPFLAGS_MANAGED_WEAKREF :
		runtime->minor == 11 ? PYH_TPFLAGS_MANAGED_DICT : 0;
	uint8_t size = flags & slots ? 16 : 0;

	if ((flags & PYH_TPFLAGS_HAVE_GC) && !runtime->free_threaded)
		size += 16;
	return size;
}

static uint64_t traverse_of(const struct pyh_types *types,
			    struct memory_reader *memory, uint64_t type)
{
	uint64_t traverse;

	return memory_try_u64(memory, type + pyh_offset(types->runtime,
							PYH_TYPE_TP_TRAVERSE),
			      &traverse) ? traverse : 0;
}

/*
 * Whether instances do not begin with the structure of the base's. A static
 * type may name any base, to pass for it in isinstance(): Nuitka's functions,
 * generators and methods do so with CPython's, which are no bases (without
 * Py_TPFLAGS_BASETYPE) and have other fields. Where the collector looks for
 * both's references by one function they are real: odict_keys is upon
 * dict_keys. So are frames: tracebacks and threads lead to them without asking
 * for their type. A module's dict is where its type says.
 */
static bool has_own_layout(const struct pyh_types *types,
			   struct memory_reader *memory,
			   const struct pyh_type_view *view,
			   const struct type_entry *base)
{
	uint64_t traverse;

	// Of a heap type this has been checked when it was made.
	if (!base || (view->flags & PYH_TPFLAGS_HEAPTYPE))
		return false;
	if (view->basicsize < base->type.basicsize ||
	    (base->type.kind == PYH_KIND_MODULE &&
	     view->dictoffset != base->type.dictoffset))
		return true;
	if ((base->type.flags & PYH_TPFLAGS_BASETYPE) ||
	    base->type.kind == PYH_KIND_FRAME)
		return false;
	traverse = traverse_of(types, memory, view->address);
	return !traverse ||
	       traverse != traverse_of(types, memory, base->type.address);
}

static void classify(struct pyh_types *types, struct memory_reader *memory,
		     const struct pyh_type_view *view,
		     const struct attributes *attributes,
		     const struct type_entry *base, struct type_entry *entry)
{
	struct pyh_type *type = &entry->type;
	enum pyh_kind kind = PYH_KIND_OTHER;

	if (type->name_known)
		kind = pyh_kind_by_name(types->runtime, view, type->name);
	type->own_layout = has_own_layout(types, memory, view, base);
	if (kind == PYH_KIND_OTHER && base && !type->own_layout) {
		kind = base->type.kind;
		type->hidden_items = base->type.hidden_items;
	}
	if (kind == PYH_KIND_OTHER)
		kind = pyh_kind_by_flags(types->runtime, view);
	if (kind == PYH_KIND_TUPLE &&
	    is_struct_sequence(types, memory, attributes, &type->hidden_items))
		kind = PYH_KIND_STRUCTSEQ;
	type->kind = kind;
	entry->defines_kind = !base || base->type.kind != kind;
	// frozenset is as much a set as set is, and neither is the other's base.
	if (kind != PYH_KIND_OTHER && pyh_kind_by_name(types->runtime, view,
						       type->name) == kind)
		entry->defines_kind = true;
}

/* The same without an MRO: that of the base, or an own one of the kind. */
static bool exact_by_base(const struct pyh_types *types,
			  const struct type_entry *entry)
{
	const struct type_entry *base =
		entry->type.base ? find_entry(types, entry->type.base) : NULL;

	if (entry->own_sizeof == SIZEOF_NONE)
		return base && base->type.size_exact;
	return entry->own_sizeof == SIZEOF_OWN && entry->defines_kind &&
	       pyh_kind_has_sizeof(types->runtime, entry->type.kind);
}

/*
 * Which __sizeof__ do instances use? That of object, or one that belongs to
 * the kind, and the answer will be exact; any other is code we cannot run.
 */
static bool size_is_exact(struct pyh_types *types, struct memory_reader *memory,
			  const struct pyh_type_view *view,
			  const struct type_entry *entry)
{
	const struct pyh_runtime *runtime = types->runtime;

	if (view->mro_lost)
		return exact_by_base(types, entry);
	// Nobody has made an own __sizeof__ of a type that is not ready, and
	// none of those that come that late is known to have one.
	if (view->mro_count == 0)
		return entry->type.kind == PYH_KIND_OTHER;
	for (uint64_t i = 0; i < view->mro_count; i++) {
		const struct type_entry *definer = entry;
		struct pyh_type_view item;
		struct attributes attributes;
		enum sizeof_state state = entry->own_sizeof;
		uint64_t address;

		if (!memory_try_u64(memory, view->mro + i * 8, &address))
			return false;
		if (address == types->object)
			return !pyh_kind_has_sizeof(runtime, entry->type.kind);
		if (i > 0) {
			definer = find_entry(types, address);
			if (definer)
				state = definer->own_sizeof;
			else if (!pyh_type_view(runtime, memory,
						&types->chains, address, &item))
				return false;
		}
		if (!definer) {
			read_attributes(types, memory, &item, &attributes);
			state = attributes.values[ATTRIBUTE_SIZEOF] ? SIZEOF_OWN :
				attributes.seen ? SIZEOF_NONE : SIZEOF_UNKNOWN;
		}
		if (state == SIZEOF_UNKNOWN)
			return false;
		if (state == SIZEOF_OWN)
			return definer && definer->defines_kind &&
			       definer->type.kind == entry->type.kind &&
			       pyh_kind_has_sizeof(runtime, entry->type.kind);
	}
	return false;
}

static bool keep_name(struct pyh_types *types, struct memory_reader *memory,
		      const struct pyh_type_view *view,
		      const struct attributes *attributes,
		      struct type_entry *entry)
{
	uint64_t module = attributes->values[ATTRIBUTE_MODULE];
	struct pyh_type_view nameless = { .address = view->address };

	// With the budget spent, what is left are types without a name.
	if (types->name_bytes > NAME_BUDGET)
		view = &nameless;
	if (!pyh_names_of(types->names, memory, view, module, attributes->seen,
			  &entry->name))
		return false;
	types->name_bytes += strlen(entry->name.full) * 2 + 64;
	entry->type.name = entry->name.full;
	entry->type.module = entry->name.module;
	entry->type.qualname = entry->name.qualname;
	entry->type.name_known = entry->name.known;
	return true;
}

/* 3.11 and 3.12: how many attribute values a new instance gets. */
static uint8_t shared_values(const struct pyh_runtime *runtime,
			     struct memory_reader *memory,
			     const struct pyh_type_view *view)
{
	struct pyh_keys keys;
	uint64_t address;

	if ((runtime->minor != 11 && runtime->minor != 12) ||
	    !(view->flags & PYH_TPFLAGS_MANAGED_DICT) ||
	    !(view->flags & PYH_TPFLAGS_HEAPTYPE) ||
	    !memory_try_u64(memory,
			    view->address +
				    pyh_offset(runtime,
					       PYH_HEAPTYPE_HT_CACHED_KEYS),
			    &address) ||
	    address == 0 ||
	    pyh_keys_read(runtime, memory, address, &keys) != PYH_FOUND)
		return 0;
	return keys.shared_usable < UINT8_MAX ? (uint8_t)keys.shared_usable : 0;
}

/* Say once that there is a damaged type object. */
static void report_damaged(struct pyh_types *types, uint64_t address,
			   const char *what)
{
	for (size_t i = 0; i < types->num_damaged; i++)
		if (types->damaged[i] == address)
			return;
	if (types->num_damaged < DAMAGED_MAX)
		types->damaged[types->num_damaged++] = address;
	findings_add(types->runtime->image->findings, "type", address, "%s",
		     what);
}

/* Types that hold together tell of others that do not. */
static void check_mro(struct pyh_types *types, struct memory_reader *memory,
		      const struct pyh_type_view *view)
{
	const struct memory *image = types->runtime->image->memory;
	bool base_seen = view->mro_count == 0 || view->mro_count > MRO_CHECKED ||
			 (view->address == types->object && !view->base) ||
			 view->metatype != types->runtime->types.type;
	struct pyh_type_view other;
	uint64_t address;

	if (view->mro_lost)
		report_damaged(types, view->address, "the method resolution "
			       "order of this type cannot be read");
	for (uint64_t i = 1; i < view->mro_count && i < MRO_CHECKED; i++) {
		if (!memory_try_u64(memory, view->mro + i * 8, &address))
			continue;
		base_seen |= address == view->base;
		if (memory_state_at(image, address) == MEMORY_UNMAPPED)
			report_damaged(types, view->address, "the method "
				       "resolution order of this type leads "
				       "nowhere");
		if (find_entry(types, address) ||
		    memory_state_at(image, address) != MEMORY_CAPTURED ||
		    pyh_type_view(types->runtime, memory, &types->chains,
				  address, &other))
			continue;
		report_damaged(types, address, "a type is damaged: it is among "
			       "the bases of others, but cannot be one; its own "
			       "instances are not counted");
	}
	// Only a metaclass can leave it out.
	if (!base_seen)
		report_damaged(types, view->address, "the base of this type "
			       "is not in its method resolution order");
}

/*
 * Whether there can be an object of a type, or of one derived from it.
 *
 * @param type  its address; 0: not known
 * @param flag  what all types derived from it have in tp_flags
 */
static bool may_be_a(const struct pyh_types *types,
		     struct memory_reader *memory, uint64_t object,
		     uint64_t type, uint64_t flag)
{
	const struct pyh_runtime *runtime = types->runtime;
	uint64_t found, flags;

	switch (memory_state_at(runtime->image->memory, object)) {
	case MEMORY_UNMAPPED:
		return false;
	case MEMORY_NOT_CAPTURED:
		return true;
	case MEMORY_CAPTURED:
	case MEMORY_ZERO:
		break;
	}
	if (!memory_try_u64(memory,
			    object + pyh_offset(runtime, PYH_OBJECT_OB_TYPE),
			    &found) || found == type)
		return true;
	return memory_try_u64(memory,
			      found + pyh_offset(runtime, PYH_TYPE_TP_FLAGS),
			      &flags) && (flags & flag);
}

/* Pointers of a type that is ready lead to objects of known types. */
static void check_members(struct pyh_types *types, struct memory_reader *memory,
			  const struct pyh_type_view *view)
{
	const struct pyh_runtime *runtime = types->runtime;
	const struct pyh_core_types *core = &runtime->types;
	const enum pyh_field names[] = { PYH_HEAPTYPE_HT_NAME,
					 PYH_HEAPTYPE_HT_QUALNAME };
	bool heap_type = view->flags & PYH_TPFLAGS_HEAPTYPE;
	uint64_t name;

	if (view->metatype_lost && view->address != core->type)
		report_damaged(types, view->address,
			       "the type of this type is damaged");
	// A static one has them when it gets ready.
	if (view->mro_count == 0 && !view->mro_lost)
		return;
	if ((view->dict || heap_type || runtime->minor < 12) &&
	    !may_be_a(types, memory, view->dict, core->dict,
		      PYH_TPFLAGS_DICT_SUBCLASS))
		report_damaged(types, view->address,
			       "the dict of this type is damaged");
	if (!may_be_a(types, memory, view->bases, core->tuple,
		      PYH_TPFLAGS_TUPLE_SUBCLASS))
		report_damaged(types, view->address,
			       "the bases of this type are damaged");
	if (heap_type && view->subclasses &&
	    !may_be_a(types, memory, view->subclasses, core->dict,
		      PYH_TPFLAGS_DICT_SUBCLASS))
		report_damaged(types, view->address,
			       "the subclasses of this type are damaged");
	for (size_t i = 0; heap_type && i < sizeof(names) / sizeof(names[0]);
	     i++) {
		if (pyh_has(runtime, names[i]) &&
		    memory_try_u64(memory, view->address +
				   pyh_offset(runtime, names[i]), &name) &&
		    !may_be_a(types, memory, name, core->str,
			      PYH_TPFLAGS_UNICODE_SUBCLASS))
			report_damaged(types, view->address,
				       "the name of this type is damaged");
	}
	if (memory_state_at(runtime->image->memory, view->tp_name) ==
	    MEMORY_UNMAPPED)
		report_damaged(types, view->address,
			       "the name of this type is damaged");
	// Counted from the end it may lie in front, by a few words (3.11).
	if (view->dictoffset > view->basicsize ||
	    view->dictoffset < -view->basicsize - DICT_IN_FRONT ||
	    (view->dictoffset > 0 && view->dictoffset <
				     (int64_t)runtime->size_of[PYH_STRUCT_OBJECT]))
		report_damaged(types, view->address, "the place of the dict in "
			       "instances of this type is damaged");
}

void pyh_types_report(struct pyh_types *types, uint64_t address,
		      const char *what)
{
	pthread_mutex_lock(&types->lock);
	report_damaged(types, address, what);
	pthread_mutex_unlock(&types->lock);
}

void pyh_types_suspect(struct pyh_types *types, uint64_t address)
{
	size_t i = 0;

	if (address == 0 || address % 8 ||
	    memory_state_at(types->runtime->image->memory, address) !=
		    MEMORY_CAPTURED)
		return;
	pthread_mutex_lock(&types->lock);
	while (i < types->num_suspects && types->suspects[i] != address)
		i++;
	if (i < types->num_suspects)
		report_damaged(types, address, "a type is damaged: objects in "
			       "GC lists say that it is theirs, but it cannot "
			       "be; they are not counted");
	else if (i < SUSPECTS_MAX)
		types->suspects[types->num_suspects++] = address;
	pthread_mutex_unlock(&types->lock);
}

/*
 * Types that a class statement makes are of the same kind as their base; what
 * says otherwise is damaged, and the base is right.
 */
static uint64_t check_kind(struct pyh_types *types,
			   const struct pyh_type_view *view,
			   const struct type_entry *base)
{
	uint64_t wrong;

	if (!base || !(view->flags & PYH_TPFLAGS_HEAPTYPE))
		return view->flags;
	wrong = (view->flags ^ base->type.flags) & PYH_TPFLAGS_KINDS;
	if (wrong)
		report_damaged(types, view->address, "the flags of this type "
			       "are damaged: they say that it is of another "
			       "kind than its base");
	return view->flags ^ wrong;
}

static bool is_leaf(const struct pyh_type *type)
{
	// Subclasses may have a dictionary and slots, or fields of C code: then
	// the collector knows them.
	return type->is_static && !type->has_gc &&
	       (type->kind == PYH_KIND_STR || type->kind == PYH_KIND_BYTES ||
		type->kind == PYH_KIND_INT || type->kind == PYH_KIND_FLOAT ||
		type->kind == PYH_KIND_COMPLEX);
}

/* Add a type whose base, if that is a type at all, has been added. */
static struct type_entry *add_type(struct pyh_types *types,
				   struct memory_reader *memory,
				   struct pyh_type_view *view)
{
	struct attributes attributes;
	const struct type_entry *base;
	struct type_entry *entry;
	uint32_t id;

	if (!make_room(types))
		return NULL;
	id = atomic_load(&types->count);
	entry = entry_at(types, id);
	base = view->base ? find_entry(types, view->base) : NULL;
	view->flags = check_kind(types, view, base);
	read_attributes(types, memory, view, &attributes);
	*entry = (struct type_entry){
		.type = {
			.id = id,
			.address = view->address,
			.flags = view->flags,
			.basicsize = view->basicsize,
			.itemsize = view->itemsize,
			.dictoffset = view->dictoffset,
			.weaklistoffset = view->weaklistoffset,
			.metatype = view->metatype,
			.base = view->base,
			.presize = presize(types->runtime, view->flags),
			.has_gc = view->flags & PYH_TPFLAGS_HAVE_GC,
			.is_static = !(view->flags & PYH_TPFLAGS_HEAPTYPE),
			.foreign = !pyh_kind_may_be_builtin(types->runtime,
							    view),
			.chains = &types->chains,
			.shared_values = shared_values(types->runtime, memory,
						       view),
		},
	};
	if (!keep_name(types, memory, view, &attributes, entry))
		return NULL;
	classify(types, memory, view, &attributes, base, entry);
	entry->own_sizeof = sizeof_of(types, view, &attributes, entry);
	entry->type.size_exact = size_is_exact(types, memory, view, entry);
	entry->type.lane = pyh_lane_of(types->runtime, &entry->type);
	entry->type.is_leaf = is_leaf(&entry->type);
	check_mro(types, memory, view);
	check_members(types, memory, view);

	atomic_store_explicit(&types->count, id + 1, memory_order_release);
	index_put(atomic_load(&types->index), view->address, id);
	return entry;
}

/*
 * Add a type and those of its bases that are new, the last base first. A chain
 * that is longer than any real one, or runs in a circle, is cut.
 */
static struct type_entry *add_chain(struct pyh_types *types,
				    struct memory_reader *memory,
				    uint64_t address)
{
	uint64_t chain[CHAIN_MAX];
	struct type_entry *entry = NULL;
	struct pyh_type_view view;
	size_t length = 0;

	while (length < CHAIN_MAX && address != 0 &&
	       !find_entry(types, address) &&
	       pyh_type_view(types->runtime, memory, &types->chains, address,
			     &view)) {
		chain[length++] = address;
		address = view.base;
	}
	while (length > 0) {
		address = chain[--length];
		entry = find_entry(types, address);
		if (!entry &&
		    pyh_type_view(types->runtime, memory, &types->chains,
				  address, &view))
			entry = add_type(types, memory, &view);
		if (!entry)
			return NULL;
	}
	return entry;
}

const struct pyh_type *pyh_type_find_slow(struct pyh_type_reader *reader,
					  uint64_t address)
{
	struct pyh_types *types = reader->types;
	size_t slot = pyh_type_slot(address);
	struct type_entry *entry = find_entry(types, address);
	struct pyh_type_view view;

	// Most of what is asked about is no type: find out without the lock.
	if (!entry &&
	    pyh_type_view(types->runtime, &reader->memory, &types->chains,
			  address, &view)) {
		pthread_mutex_lock(&types->lock);
		entry = find_entry(types, address);
		if (!entry)
			entry = add_chain(types, &reader->memory, address);
		pthread_mutex_unlock(&types->lock);
	}
	reader->cache[slot].address = address;
	reader->cache[slot].type = entry ? &entry->type : NULL;
	return reader->cache[slot].type;
}

/* --- life -------------------------------------------------------------------- */

/* The last of the MRO of `type` is `object`. */
static uint64_t find_object(const struct pyh_runtime *runtime)
{
	struct memory_reader memory;
	struct pyh_type_view view;
	uint64_t object = runtime->types.object;
	struct error *err;

	if (object)
		return object;
	err = memory_reader_init(&memory, runtime->image->memory);
	if (err) {
		error_free(err);
		return 0;
	}
	if (pyh_type_view(runtime, &memory, NULL, runtime->types.type, &view) &&
	    view.mro_count > 0 &&
	    !memory_try_u64(&memory, view.mro + (view.mro_count - 1) * 8,
			    &object))
		object = 0;
	memory_reader_deinit(&memory);
	return object;
}

/* Of these so much depends that damage is worth a word even without users. */
static struct error *check_core_types(struct pyh_types *types)
{
	const struct pyh_runtime *runtime = types->runtime;
	const struct pyh_core_types *core = &runtime->types;
	const uint64_t addresses[] = { core->type, core->object, core->dict,
				       core->str, core->tuple, core->module };
	struct memory_reader memory;
	struct pyh_type_view view;
	struct error *err;
	uint64_t metatype;

	err = memory_reader_init(&memory, runtime->image->memory);
	if (err)
		return err;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		if (addresses[i] == 0 ||
		    !memory_try_u64(&memory, addresses[i] +
				    pyh_offset(runtime, PYH_OBJECT_OB_TYPE),
				    &metatype))
			continue;
		if (metatype != core->type)
			report_damaged(types, addresses[i], "the type of this "
				       "builtin type is damaged");
		else if (!pyh_type_view(runtime, &memory, NULL, addresses[i],
					&view))
			report_damaged(types, addresses[i], "a builtin type is "
				       "damaged; its instances are not counted");
	}
	memory_reader_deinit(&memory);
	return NULL;
}

struct error *pyh_types_create(const struct pyh_runtime *runtime,
			       struct pyh_types **ret)
{
	struct pyh_types *types;
	struct error *err;
	uint64_t captured;

	if (runtime->types.type == 0)
		return error_new(ERROR_NOT_FOUND,
				 "the type object of types was not found");
	types = calloc(1, sizeof(*types));
	if (!types)
		return error_no_memory();
	types->runtime = runtime;
	types->walk_budget = WALK_BUDGET;
	types->object = find_object(runtime);
	// Links are not zero, so steps are made in what was captured.
	captured = memory_total(runtime->image->memory, MEMORY_CAPTURED);
	types->chains.bytes =
		captured + memory_total(runtime->image->memory, MEMORY_ZERO);
	if (captured > INT64_MAX / STEPS_PER_BYTE)
		captured = INT64_MAX / STEPS_PER_BYTE;
	atomic_init(&types->chains.steps,
		    (int64_t)captured * STEPS_PER_BYTE);
	err = check_core_types(types);
	if (!err)
		err = pyh_names_create(runtime, &types->names);
	if (!err) {
		struct type_index *index = index_new(FIRST_CAPACITY);

		atomic_init(&types->index, index);
		if (!index)
			err = error_no_memory();
	}
	if (err) {
		pyh_names_destroy(types->names);
		free(types);
		return err;
	}
	pthread_mutex_init(&types->lock, NULL);
	*ret = types;
	return NULL;
}

void pyh_types_destroy(struct pyh_types *types)
{
	struct type_index *index;

	if (!types)
		return;
	for (uint32_t id = 0; id < atomic_load(&types->count); id++)
		pyh_name_deinit(&entry_at(types, id)->name);
	for (size_t i = 0; i < NUM_CHUNKS; i++)
		free(atomic_load(&types->chunks[i]));
	for (index = atomic_load(&types->index); index;) {
		struct type_index *outgrown = index->outgrown;

		free(index);
		index = outgrown;
	}
	pyh_names_destroy(types->names);
	pthread_mutex_destroy(&types->lock);
	free(types);
}

struct error *pyh_type_reader_init(struct pyh_type_reader *reader,
				   struct pyh_types *types)
{
	struct error *err;

	*reader = (struct pyh_type_reader){ .types = types };
	err = memory_reader_init(&reader->memory, types->runtime->image->memory);
	return err;
}

void pyh_type_reader_deinit(struct pyh_type_reader *reader)
{
	memory_reader_deinit(&reader->memory);
}

uint32_t pyh_types_count(const struct pyh_types *types)
{
	return atomic_load_explicit(&types->count, memory_order_acquire);
}

const struct pyh_type *pyh_types_get(const struct pyh_types *types, uint32_t id)
{
	return id < pyh_types_count(types) ? &entry_at(types, id)->type : NULL;
}

/* --- types that are kept ------------------------------------------------------ */

void pyh_types_keep(const struct pyh_types *types, uint32_t id,
		    struct pyh_type_kept *ret)
{
	const struct type_entry *entry = entry_at(types, id);

	*ret = (struct pyh_type_kept){
		.type = entry->type,
		.defines_kind = entry->defines_kind,
		.own_sizeof = (uint8_t)entry->own_sizeof,
	};
}

#define KEPT_SIZE_MAX	(INT64_C(1) << 31)

/* What measuring and walking rely on. */
static bool may_be_adopted(const struct pyh_types *types,
			   const struct pyh_type_kept *kept)
{
	const struct pyh_type *type = &kept->type;

	return type->id == atomic_load(&types->count) && type->address != 0 &&
	       !find_entry(types, type->address) && type->name &&
	       (unsigned int)type->kind < PYH_NUM_KINDS &&
	       (unsigned int)type->lane <= PYH_LANE_MANAGED &&
	       type->basicsize >= 0 && type->basicsize <= KEPT_SIZE_MAX &&
	       type->itemsize >= 0 && type->itemsize <= KEPT_SIZE_MAX &&
	       type->hidden_items <= HIDDEN_ITEMS_MAX &&
	       type->presize == presize(types->runtime, type->flags) &&
	       kept->own_sizeof <= SIZEOF_OWN;
}

/* Copies of names, as entries own theirs. */
static bool copy_names(struct type_entry *entry)
{
	struct pyh_type *type = &entry->type;
	struct pyh_name *name = &entry->name;

	name->known = type->name_known;
	name->full = strdup(type->name);
	name->module = type->module ? strdup(type->module) : NULL;
	name->qualname = type->qualname ? strdup(type->qualname) : NULL;
	if (!name->full || (type->module && !name->module) ||
	    (type->qualname && !name->qualname)) {
		pyh_name_deinit(name);
		return false;
	}
	type->name = name->full;
	type->module = name->module;
	type->qualname = name->qualname;
	return true;
}

struct error *pyh_types_adopt(struct pyh_types *types,
			      const struct pyh_type_kept *kept)
{
	struct type_entry *entry;

	if (!may_be_adopted(types, kept))
		return error_new(ERROR_FORMAT, "a kept type cannot be one");
	if (!make_room(types))
		return error_no_memory();
	entry = entry_at(types, kept->type.id);
	*entry = (struct type_entry){
		.type = kept->type,
		.defines_kind = kept->defines_kind,
		.own_sizeof = kept->own_sizeof,
	};
	entry->type.chains = &types->chains;
	if (!copy_names(entry))
		return error_no_memory();
	types->name_bytes += strlen(entry->name.full) * 2 + 64;
	atomic_store_explicit(&types->count, kept->type.id + 1,
			      memory_order_release);
	index_put(atomic_load(&types->index), kept->type.address,
		  kept->type.id);
	return NULL;
}
