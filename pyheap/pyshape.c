/*
 * Shapes: where in the instances of a type its references lie; see pyshape.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/pyshape.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "pyheap/pydict.h"
#include "pyheap/pystr.h"
#include "pyheap/pytypeview.h"

enum {
	SLOTS_MAX = 4096,	/* of one type */
	NAME_MAX_BYTES = 256,
	FIELDS_MAX = 20,
	/* Entries of dictionaries looked at for all types. */
	ENTRIES_MAX = 1 << 26,
	/* So many times may references be walked over. */
	WALKS_MAX = 64,
	/* PyMemberDef: name 0, type 8, offset 16. Include/descrobject.h; the
	   codes of types: Include/structmember.h. */
	MEMBER_TYPE = 8,
	MEMBER_OFFSET = 16,
	MEMBER_SIZE = 24,	/* bytes of it that are read */
	T_OBJECT = 6,
	T_OBJECT_EX = 16,
};

/*
 * What instances of builtin types refer to, by the type's name. A field that a
 * release does not have is passed over. Source: the tp_traverse and tp_dealloc
 * functions of each type.
 */
static const struct known_fields {
	const char *type;
	enum pyh_field fields[FIELDS_MAX];	/* ends with the first 0 */
	bool all;	/* no other word refers to an object */
} known[] = {
	{ "object", { 0 }, true },
	{ "list", { 0 }, true },
	{ "tuple", { 0 }, true },
	{ "dict", { 0 }, true },
	{ "set", { 0 }, true },
	{ "frozenset", { 0 }, true },
	{ "str", { 0 }, true },
	{ "bytes", { 0 }, true },
	{ "bytearray", { PYH_BYTEARRAY_OB_BYTES_OBJECT }, true },
	{ "int", { 0 }, true },
	{ "bool", { 0 }, true },
	{ "float", { 0 }, true },
	{ "complex", { 0 }, true },
	{ "collections.deque", { 0 }, true },
	{ "cell", { PYH_CELL_OB_REF }, true },
	{ "function", { PYH_FUNCTION_FUNC_CODE, PYH_FUNCTION_FUNC_GLOBALS,
		PYH_FUNCTION_FUNC_DEFAULTS, PYH_FUNCTION_FUNC_KWDEFAULTS,
		PYH_FUNCTION_FUNC_CLOSURE, PYH_FUNCTION_FUNC_DOC,
		PYH_FUNCTION_FUNC_NAME, PYH_FUNCTION_FUNC_DICT,
		PYH_FUNCTION_FUNC_MODULE, PYH_FUNCTION_FUNC_ANNOTATIONS,
		PYH_FUNCTION_FUNC_QUALNAME, PYH_FUNCTION_FUNC_BUILTINS,
		PYH_FUNCTION_FUNC_TYPEPARAMS, PYH_FUNCTION_FUNC_ANNOTATE },
	  true },
	{ "method", { PYH_METHOD_IM_FUNC, PYH_METHOD_IM_SELF }, true },
	{ "builtin_function_or_method",
	  { PYH_CFUNCTION_M_SELF, PYH_CFUNCTION_M_MODULE }, false },
	{ "code", { PYH_CODE_CO_CONSTS, PYH_CODE_CO_NAMES,
		PYH_CODE_CO_FILENAME, PYH_CODE_CO_NAME, PYH_CODE_CO_QUALNAME,
		PYH_CODE_CO_LINETABLE, PYH_CODE_CO_LNOTAB,
		PYH_CODE_CO_LOCALSPLUSNAMES, PYH_CODE_CO_LOCALSPLUSKINDS,
		PYH_CODE_CO_EXCEPTIONTABLE, PYH_CODE_CO_CODE,
		PYH_CODE_CO_VARNAMES, PYH_CODE_CO_FREEVARS,
		PYH_CODE_CO_CELLVARS, PYH_CODE_CACHED_CO_CODE,
		PYH_CODE_CO_ZOMBIEFRAME }, false },
	{ "module", { PYH_MODULE_MD_DICT, PYH_MODULE_MD_NAME }, true },
	{ "generator", { PYH_GEN_GI_FRAME, PYH_GEN_GI_CODE, PYH_GEN_GI_NAME,
		PYH_GEN_GI_QUALNAME }, false },
	{ "coroutine", { PYH_GEN_GI_FRAME, PYH_GEN_GI_CODE, PYH_GEN_GI_NAME,
		PYH_GEN_GI_QUALNAME }, false },
	{ "async_generator", { PYH_GEN_GI_FRAME, PYH_GEN_GI_CODE,
		PYH_GEN_GI_NAME, PYH_GEN_GI_QUALNAME }, false },
	{ "frame", { PYH_FRAME_F_BACK, PYH_FRAME_F_CODE, PYH_FRAME_F_BUILTINS,
		PYH_FRAME_F_GLOBALS, PYH_FRAME_F_LOCALS, PYH_FRAME_F_TRACE,
		PYH_FRAME_F_EXTRA_LOCALS, PYH_FRAME_F_LOCALS_CACHE,
		PYH_FRAME_F_OVERWRITTEN_FAST_LOCALS }, false },
	{ "BaseException", { PYH_EXCEPTION_DICT, PYH_EXCEPTION_ARGS,
		PYH_EXCEPTION_NOTES, PYH_EXCEPTION_TRACEBACK,
		PYH_EXCEPTION_CONTEXT, PYH_EXCEPTION_CAUSE }, true },
	{ "Exception", { 0 }, true },
	{ "traceback", { PYH_TRACEBACK_TB_NEXT, PYH_TRACEBACK_TB_FRAME }, true },
	{ "weakref.ReferenceType", { PYH_WEAKREF_WR_CALLBACK }, true },
	{ "weakref.ProxyType", { PYH_WEAKREF_WR_CALLBACK }, true },
	{ "weakref.CallableProxyType", { PYH_WEAKREF_WR_CALLBACK }, true },
	{ "property", { PYH_PROPERTY_PROP_GET, PYH_PROPERTY_PROP_SET,
		PYH_PROPERTY_PROP_DEL, PYH_PROPERTY_PROP_DOC }, false },
	{ "getset_descriptor", { PYH_DESCR_D_TYPE, PYH_DESCR_D_NAME,
		PYH_DESCR_D_QUALNAME }, true },
	{ "member_descriptor", { PYH_DESCR_D_TYPE, PYH_DESCR_D_NAME,
		PYH_DESCR_D_QUALNAME }, true },
	{ "method_descriptor", { PYH_DESCR_D_TYPE, PYH_DESCR_D_NAME,
		PYH_DESCR_D_QUALNAME }, true },
	{ "classmethod_descriptor", { PYH_DESCR_D_TYPE, PYH_DESCR_D_NAME,
		PYH_DESCR_D_QUALNAME }, true },
	{ "wrapper_descriptor", { PYH_DESCR_D_TYPE, PYH_DESCR_D_NAME,
		PYH_DESCR_D_QUALNAME }, true },
	{ "collections.defaultdict", { PYH_DEFAULTDICT_DEFAULT_FACTORY },
	  true },
	{ "collections.OrderedDict", { PYH_ODICT_OD_INST_DICT }, true },
	{ "functools.partial", { PYH_PARTIAL_FN, PYH_PARTIAL_ARGS,
		PYH_PARTIAL_KW, PYH_PARTIAL_DICT }, false },
	{ "functools._lru_cache_wrapper",
	  { PYH_LRUCACHE_CACHE, PYH_LRUCACHE_FUNC }, false },
	{ "memoryview", { PYH_MEMORYVIEW_MBUF }, false },
	{ "managedbuffer", { PYH_MANAGEDBUFFER_MASTER_OBJ }, false },
	{ "datetime.datetime", { PYH_DATETIME_TZINFO }, true },
	{ "datetime.time", { PYH_TIME_TZINFO }, true },
	{ "_ctypes._CData", { PYH_CDATA_B_BASE, PYH_CDATA_B_OBJECTS }, true },
	{ "xml.etree.ElementTree.Element",
	  { PYH_ELEMENT_TAG, PYH_ELEMENT_TEXT, PYH_ELEMENT_TAIL }, true },
	{ "_queue.SimpleQueue", { PYH_SIMPLEQUEUE_LST }, false },
	{ "types.GenericAlias",
	  { PYH_GENERICALIAS_ORIGIN, PYH_GENERICALIAS_ARGS }, false },
	{ "_contextvars.ContextVar",
	  { PYH_CONTEXTVAR_VAR_NAME, PYH_CONTEXTVAR_VAR_DEFAULT }, false },
	{ "hamt", { PYH_HAMT_H_ROOT }, true },
	{ "type", { PYH_TYPE_TP_BASE, PYH_TYPE_TP_DICT, PYH_TYPE_TP_BASES,
		PYH_TYPE_TP_MRO, PYH_TYPE_TP_CACHE, PYH_TYPE_TP_SUBCLASSES,
		PYH_HEAPTYPE_HT_NAME, PYH_HEAPTYPE_HT_SLOTS,
		PYH_HEAPTYPE_HT_QUALNAME, PYH_HEAPTYPE_HT_MODULE }, true },
};

/* Fields that hold the dict of an instance's attributes. */
static bool is_dict_field(enum pyh_field field)
{
	return field == PYH_FUNCTION_FUNC_DICT || field == PYH_MODULE_MD_DICT ||
	       field == PYH_EXCEPTION_DICT || field == PYH_PARTIAL_DICT ||
	       field == PYH_ODICT_OD_INST_DICT;
}

enum { LEAVES = 1 << 12, LEAF_SHAPES = 1 << 12 };

struct shapes_leaf {
	_Atomic(struct pyh_shape *) shapes[LEAF_SHAPES];
};

struct pyh_shapes {
	const struct pyh_runtime *runtime;	/* borrowed */
	struct pyh_types *types;		/* borrowed */
	_Atomic int64_t words;			/* that may still be walked */
	atomic_bool told;			/* that there are none left */
	/* by type id; made once, then never changed */
	_Atomic(struct shapes_leaf *) leaves[LEAVES];
	pthread_mutex_t lock;			/* of the making, and: */
	struct pyh_type_reader reader;
	struct memory_reader memory;
	uint64_t entries;	/* of dictionaries that may be looked at */
};

/** A shape under construction. */
struct draft {
	struct pyh_shapes *shapes;
	const struct pyh_type *type;
	struct pyh_shape *shape;
	size_t room;
	uint32_t closed;	/* up to here all references are known */
	bool no_memory;
};

static bool is_taken(const struct pyh_shape *shape, uint32_t offset,
		     uint32_t size)
{
	for (size_t i = 0; i < shape->num_slots; i++) {
		const struct pyh_slot *slot = &shape->slots[i];

		if (offset < slot->offset + slot->size &&
		    slot->offset < offset + size)
			return true;
	}
	return false;
}

/** Add a slot, unless there is one already. Takes a copy of the name. */
static void add_slot(struct draft *draft, uint64_t offset, uint32_t size,
		     enum pyh_slot_kind kind, const char *name)
{
	struct pyh_shape *shape = draft->shape;
	struct pyh_slot *slot;

	if (offset < 16 || shape->num_slots >= SLOTS_MAX ||
	    offset + size > (uint64_t)draft->type->basicsize ||
	    is_taken(shape, (uint32_t)offset, size))
		return;
	if (shape->num_slots == draft->room) {
		size_t room = draft->room ? draft->room * 2 : 8;
		struct pyh_slot *grown = reallocarray(shape->slots, room,
						      sizeof(*grown));

		if (!grown) {
			draft->no_memory = true;
			return;
		}
		shape->slots = grown;
		draft->room = room;
	}
	slot = &shape->slots[shape->num_slots];
	*slot = (struct pyh_slot){
		.offset = (uint32_t)offset,
		.size = size,
		.kind = kind,
		.name = strdup(name),
	};
	if (slot->name)
		shape->num_slots++;
	else
		draft->no_memory = true;
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

static void add_member(struct draft *draft, uint64_t key, uint64_t descriptor)
{
	struct pyh_shapes *shapes = draft->shapes;
	uint32_t at = shapes->runtime->size_of[PYH_STRUCT_DESCR];
	uint8_t definition[MEMBER_SIZE];
	char name[NAME_MAX_BYTES];
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
	add_slot(draft, offset, size,
		 type == T_OBJECT || type == T_OBJECT_EX ? PYH_SLOT_OBJECT :
							   PYH_SLOT_OTHER,
		 name);
}

/** The member descriptors in the dict of a class. */
static void add_members(struct draft *draft, const struct pyh_type_view *view)
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
		    !memory_try_u64(&shapes->memory, value + 8, &type_address))
			continue;
		type = pyh_type_find(&shapes->reader, type_address);
		if (type && strcmp(type->name, "member_descriptor") == 0)
			add_member(draft, key, value);
	}
}

/* --- what the tables tell -------------------------------------------------------- */

static const struct known_fields *find_known(const char *name)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].type, name) == 0)
			return &known[i];
	}
	return NULL;
}

/** True if all fields lie within a structure of that size. */
static bool fields_fit(const struct pyh_runtime *runtime,
		       const struct known_fields *fields, int64_t size)
{
	for (size_t i = 0; i < FIELDS_MAX && fields->fields[i]; i++) {
		enum pyh_field field = fields->fields[i];

		if (pyh_has(runtime, field) &&
		    (int64_t)pyh_offset(runtime, field) + 8 > size)
			return false;
	}
	return true;
}

static void add_known(struct draft *draft, const struct known_fields *fields)
{
	const struct pyh_runtime *runtime = draft->shapes->runtime;

	for (size_t i = 0; i < FIELDS_MAX && fields->fields[i]; i++) {
		enum pyh_field field = fields->fields[i];

		if (pyh_has(runtime, field))
			add_slot(draft, pyh_offset(runtime, field), 8,
				 is_dict_field(field) ? PYH_SLOT_DICT :
							PYH_SLOT_OBJECT,
				 pyh_field_member(field));
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
			 "__dict__");
	if (view->weaklistoffset > 0)
		add_slot(draft, (uint64_t)view->weaklistoffset, 8,
			 PYH_SLOT_OTHER, "__weakref__");
}

/* --- putting it together ----------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
	const struct pyh_slot *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/** One class of the MRO: what it knows goes before what its bases know. */
static void add_class(struct draft *draft, uint64_t address)
{
	struct pyh_shapes *shapes = draft->shapes;
	const struct pyh_type *type = pyh_type_find(&shapes->reader, address);
	const struct known_fields *fields;
	struct pyh_type_view view;

	if (!type || !pyh_type_view(shapes->runtime, &shapes->memory,
				    type->chains, address, &view))
		return;
	add_members(draft, &view);
	fields = find_known(type->name);
	// Names are free for everyone: a class that is not as large as the
	// structure is another one.
	if (!fields || !fields_fit(shapes->runtime, fields, view.basicsize))
		return;
	add_known(draft, fields);
	if (fields->all && view.basicsize > draft->closed)
		draft->closed = (uint32_t)view.basicsize;
}

/** Words that nothing is known of begin here, or the structure ends. */
static uint32_t first_open(const struct draft *draft)
{
	uint32_t end = (uint32_t)draft->type->basicsize & ~7U;
	uint32_t at = draft->closed > 16 ? (draft->closed + 7) & ~7U : 16;

	while (at < end && is_taken(draft->shape, at, 8))
		at += 8;
	return at < end ? at : end;
}

static void build(struct draft *draft)
{
	struct pyh_shapes *shapes = draft->shapes;
	struct pyh_type_view view;

	if (pyh_type_view(shapes->runtime, &shapes->memory,
			  draft->type->chains, draft->type->address, &view)) {
		add_offsets(draft, &view);
		for (uint64_t i = 0; i < view.mro_count; i++) {
			uint64_t address;

			if (memory_try_u64(&shapes->memory, view.mro + i * 8,
					   &address))
				add_class(draft, address);
		}
	}
	draft->shape->open_from = first_open(draft);
	if (draft->shape->num_slots > 0)
		qsort(draft->shape->slots, draft->shape->num_slots,
		      sizeof(*draft->shape->slots), by_offset);
}

static void shape_destroy(struct pyh_shape *shape)
{
	for (size_t i = 0; shape && i < shape->num_slots; i++)
		free((char *)(uintptr_t)shape->slots[i].name);
	if (shape)
		free(shape->slots);
	free(shape);
}

static struct pyh_shape *make(struct pyh_shapes *shapes,
			      const struct pyh_type *type)
{
	struct pyh_shape *shape = calloc(1, sizeof(*shape));
	struct draft draft = { .shapes = shapes, .type = type, .shape = shape };

	if (!shape)
		return NULL;
	build(&draft);
	if (draft.no_memory) {
		shape_destroy(shape);
		return NULL;
	}
	return shape;
}

/** Where the shape of a type is kept; NULL without memory, or one too many. */
static _Atomic(struct pyh_shape *) *place_of(struct pyh_shapes *shapes,
					     uint32_t id)
{
	_Atomic(struct shapes_leaf *) *at = &shapes->leaves[id / LEAF_SHAPES %
							    LEAVES];
	struct shapes_leaf *leaf = atomic_load(at), *made;

	if (id / LEAF_SHAPES >= LEAVES)
		return NULL;
	if (!leaf) {
		made = calloc(1, sizeof(*made));
		if (!made)
			return NULL;
		if (atomic_compare_exchange_strong(at, &leaf, made))
			leaf = made;
		else
			free(made);
	}
	return &leaf->shapes[id % LEAF_SHAPES];
}

const struct pyh_shape *pyh_shape_of(struct pyh_shapes *shapes,
				     const struct pyh_type *type)
{
	_Atomic(struct pyh_shape *) *place = place_of(shapes, type->id);
	struct pyh_shape *shape;

	if (!place)
		return NULL;
	shape = atomic_load_explicit(place, memory_order_acquire);
	if (shape)
		return shape;
	(void)pthread_mutex_lock(&shapes->lock);
	shape = atomic_load(place);
	if (!shape) {
		shape = make(shapes, type);
		atomic_store_explicit(place, shape, memory_order_release);
	}
	(void)pthread_mutex_unlock(&shapes->lock);
	return shape;
}

bool pyh_shapes_pay(struct pyh_shapes *shapes, uint64_t address,
		    uint64_t words)
{
	int64_t left = atomic_fetch_sub_explicit(&shapes->words,
						 (int64_t)words,
						 memory_order_relaxed);

	if (left > (int64_t)words)
		return true;
	// Kept from wrapping around, however often it is asked.
	(void)atomic_fetch_add_explicit(&shapes->words, (int64_t)words,
					memory_order_relaxed);
	if (!atomic_exchange(&shapes->told, true))
		findings_add(shapes->runtime->image->findings, "references",
			     address, "containers claim the same memory so "
			     "many times that references are left out from "
			     "here on");
	return false;
}

struct error *pyh_shapes_create(const struct pyh_runtime *runtime,
				struct pyh_types *types,
				struct pyh_shapes **ret)
{
	struct pyh_shapes *shapes = calloc(1, sizeof(*shapes));
	struct error *err;

	if (!shapes)
		return error_no_memory();
	shapes->runtime = runtime;
	shapes->types = types;
	shapes->entries = ENTRIES_MAX;
	atomic_store(&shapes->words,
		     WALKS_MAX * (int64_t)(memory_total(runtime->image->memory,
							MEMORY_CAPTURED) / 8 +
					   1024));
	(void)pthread_mutex_init(&shapes->lock, NULL);
	err = pyh_type_reader_init(&shapes->reader, types);
	if (!err)
		err = memory_reader_init(&shapes->memory,
					 runtime->image->memory);
	if (err) {
		pyh_shapes_destroy(shapes);
		return err;
	}
	*ret = shapes;
	return NULL;
}

static void leaf_destroy(struct shapes_leaf *leaf)
{
	for (size_t i = 0; leaf && i < LEAF_SHAPES; i++)
		shape_destroy(atomic_load(&leaf->shapes[i]));
	free(leaf);
}

void pyh_shapes_destroy(struct pyh_shapes *shapes)
{
	if (!shapes)
		return;
	for (size_t i = 0; i < LEAVES; i++)
		leaf_destroy(atomic_load(&shapes->leaves[i]));
	pyh_type_reader_deinit(&shapes->reader);
	memory_reader_deinit(&shapes->memory);
	(void)pthread_mutex_destroy(&shapes->lock);
	free(shapes);
}
