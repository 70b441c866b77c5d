/*
 * A type object as it lies in memory, checked but not yet named.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pytypeview.h"

#include "image/modules.h"

enum {
	HEAD_MAX = 512,			/* more than sizeof(PyTypeObject) */
	METATYPE_STEPS = 4,		/* enough for all but contrived chains */
	METATYPE_STEPS_MAX = 4096,
	BASE_STEPS = 64,
	SIZE_MAX_OF_INSTANCE = 1 << 30,
	STATIC_REFERENCES_MAX = 1 << 16,	/* to one that is not ready */
	STATIC_TYPES_MAX = 1024,	/* entries in the interpreter's table */
	GC_HEAD = 16,			/* sizeof(PyGC_Head) */
};

#define GC_FLAGS UINT64_C(3)		/* low bits of its two words */

struct head {
	const struct pyh_runtime *runtime;
	uint8_t bytes[HEAD_MAX];
	size_t size;
};

static uint64_t head_u64(const struct head *head, enum pyh_field field)
{
	uint32_t offset = pyh_offset(head->runtime, field);
	uint64_t value = 0;

	if (pyh_has(head->runtime, field) && offset <= head->size - 8)
		memcpy(&value, head->bytes + offset, sizeof(value));
	return value;
}

enum metatypes { METATYPES_BROKEN, METATYPES_END_IN_TYPE, METATYPES_GO_ON };

/* Does a class derive from type, by its first bases? */
static bool derives_from_type(const struct pyh_runtime *runtime,
			      struct memory_reader *memory, uint64_t class)
{
	for (int i = 0; i < BASE_STEPS && class != 0 && class % 8 == 0; i++) {
		if (class == runtime->types.type)
			return true;
		if (!memory_try_u64(memory,
				    class + pyh_offset(runtime,
						       PYH_TYPE_TP_BASE),
				    &class))
			return false;
	}
	return false;
}

/* Follow metatypes of metatypes; *steps are taken at most, and are left. */
static enum metatypes follow_metatypes(const struct pyh_runtime *runtime,
				       struct memory_reader *memory,
				       uint64_t metatype, int *steps)
{
	uint64_t type = runtime->types.type;

	for (; *steps > 0; --*steps) {
		uint64_t flags, last = metatype;

		if (metatype == type)
			return METATYPES_END_IN_TYPE;
		if (metatype == 0 || metatype % 8 ||
		    !memory_try_u64(memory,
				    metatype + pyh_offset(runtime,
							  PYH_TYPE_TP_FLAGS),
				    &flags) ||
		    !(flags & PYH_TPFLAGS_TYPE_SUBCLASS) ||
		    !memory_try_u64(memory,
				    metatype + pyh_offset(runtime,
							  PYH_OBJECT_OB_TYPE),
				    &metatype))
			return METATYPES_BROKEN;
		// A metaclass may be made an instance of itself, as type is.
		if (metatype == last)
			return derives_from_type(runtime, memory, last) ?
				       METATYPES_END_IN_TYPE : METATYPES_BROKEN;
	}
	return metatype == type ? METATYPES_END_IN_TYPE : METATYPES_GO_ON;
}

/*
 * A class of a class of a class … can be a thousand deep and is a type all the
 * same. As every address may be asked about, steps are made from what all
 * chains may take together.
 */
static bool long_chain_ends_in_type(const struct pyh_runtime *runtime,
				    struct memory_reader *memory,
				    struct pyh_chains *chains,
				    uint64_t metatype)
{
	int steps = METATYPE_STEPS_MAX;
	enum metatypes end;

	if (!chains || atomic_load_explicit(&chains->steps,
					    memory_order_relaxed) <= 0)
		return false;
	end = follow_metatypes(runtime, memory, metatype, &steps);
	atomic_fetch_sub_explicit(&chains->steps, METATYPE_STEPS_MAX - steps,
				  memory_order_relaxed);
	return end == METATYPES_END_IN_TYPE;
}

/* The types that everything else is told from are known by their addresses. */
static bool is_core_type(const struct pyh_runtime *runtime, uint64_t address)
{
	const struct pyh_core_types *types = &runtime->types;

	return address == types->type || address == types->object ||
	       address == types->dict || address == types->tuple ||
	       address == types->str || address == types->module;
}

/* Every type that is ready heads its own MRO. */
static bool heads_its_mro(const struct pyh_runtime *runtime,
			  struct memory_reader *memory, uint64_t mro,
			  struct pyh_type_view *view)
{
	uint64_t words[3];	/* ob_type, ob_size, first item */
	const enum pyh_field fields[] = { PYH_OBJECT_OB_TYPE, PYH_VAR_OB_SIZE,
					  PYH_TUPLE_OB_ITEM };

	if (mro == 0 || mro % 8)
		return false;
	for (size_t i = 0; i < 3; i++)
		if (!memory_try_u64(memory, mro + pyh_offset(runtime, fields[i]),
				    &words[i]))
			return false;
	view->mro = mro + pyh_offset(runtime, PYH_TUPLE_OB_ITEM);
	view->mro_count = words[1];
	return (runtime->types.tuple == 0 || words[0] == runtime->types.tuple) &&
	       words[1] >= 1 && words[1] <= PYH_MRO_MAX &&
	       words[2] == view->address;
}

/* No class derives from two of the types that these bits are about. */
static bool plausible_flags(uint64_t flags)
{
	uint64_t kinds = flags & PYH_TPFLAGS_KINDS;

	return (kinds & (kinds - 1)) == 0;
}

static bool plausible_sizes(const struct pyh_runtime *runtime,
			    const struct pyh_type_view *view)
{
	return view->basicsize >= (int64_t)runtime->size_of[PYH_STRUCT_OBJECT] &&
	       view->basicsize <= SIZE_MAX_OF_INSTANCE &&
	       view->itemsize >= 0 && view->itemsize <= SIZE_MAX_OF_INSTANCE;
}

/*
 * What a static type begins with, and what references to it have made of that:
 * few, as nobody asks for an attribute of one that is not ready. Since 3.12
 * those of the interpreter are immortal from the start, and since 3.13 those of
 * extension modules, too; 3.14 keeps flags in the high half.
 * Source: CPython Include/object.h, PyObject_HEAD_INIT().
 */
static bool static_refcount(const struct pyh_runtime *runtime, uint64_t word)
{
	bool immortal = word & UINT64_C(0x80000000);

	return (word > 0 && word <= STATIC_REFERENCES_MAX) ||
	       (runtime->minor >= 12 && immortal);
}

/*
 * Some static types get ready only when somebody asks for an attribute, and by
 * then may have many instances: lru_cache's links up to 3.10, for one. Of any
 * release are those of programs that never call PyType_Ready(), as that of
 * LibreOffice's pyuno. Such a type has nothing yet that a ready one has, and
 * lies in a module.
 */
static bool never_got_ready(const struct pyh_runtime *runtime,
			    const struct head *head,
			    const struct pyh_type_view *view)
{
	static const enum pyh_field none_yet[] = {
		PYH_VAR_OB_SIZE, PYH_TYPE_TP_DICT, PYH_TYPE_TP_BASES,
		PYH_TYPE_TP_MRO, PYH_TYPE_TP_CACHE, PYH_TYPE_TP_SUBCLASSES,
		PYH_TYPE_TP_WEAKLIST,
	};

	if (view->metatype != runtime->types.type ||
	    (view->flags & PYH_TPFLAGS_HEAPTYPE) || view->tp_name == 0 ||
	    !static_refcount(runtime, head_u64(head, PYH_OBJECT_OB_REFCNT)))
		return false;
	for (size_t i = 0; i < sizeof(none_yet) / sizeof(none_yet[0]); i++)
		if (head_u64(head, none_yet[i]) != 0)
			return false;
	return runtime->image->modules &&
	       modules_find(runtime->image->modules, view->address);
}

/* A GC head that a neighbour leads back to; the other one may be lost. */
static bool in_gc_list(struct memory_reader *memory, uint64_t head)
{
	uint64_t words[2], back = 0, forth = 0;

	if (!memory_try_read(memory, head, words, sizeof(words)) ||
	    words[0] == 0 || words[1] == 0)
		return false;
	return (memory_try_u64(memory, (words[0] & ~GC_FLAGS) + 8, &back) &&
		(back & ~GC_FLAGS) == head) ||
	       (memory_try_u64(memory, words[1] & ~GC_FLAGS, &forth) &&
		(forth & ~GC_FLAGS) == head);
}

/*
 * Is this a type although its MRO is damaged, or not in the dump? Only where
 * types live: in a GC list, a static one in a module; and on a base that is
 * ready and not larger.
 */
static bool stands_without_mro(const struct pyh_runtime *runtime,
			       struct memory_reader *memory,
			       const struct pyh_type_view *view)
{
	const struct modules *modules = runtime->image->modules;
	uint64_t metatype, flags, basicsize;
	uint64_t base = view->base;
	int steps = METATYPE_STEPS;

	if (base == 0)
		return view->address == runtime->types.object;
	if (base % 8 || base == view->address ||
	    !memory_try_u64(memory,
			    base + pyh_offset(runtime, PYH_OBJECT_OB_TYPE),
			    &metatype) ||
	    !memory_try_u64(memory,
			    base + pyh_offset(runtime, PYH_TYPE_TP_FLAGS),
			    &flags) ||
	    !memory_try_u64(memory,
			    base + pyh_offset(runtime, PYH_TYPE_TP_BASICSIZE),
			    &basicsize) ||
	    !(flags & PYH_TPFLAGS_READY) ||
	    basicsize > (uint64_t)view->basicsize ||
	    follow_metatypes(runtime, memory, metatype, &steps) ==
		    METATYPES_BROKEN)
		return false;
	if (view->flags & PYH_TPFLAGS_HEAPTYPE)
		return !runtime->free_threaded &&
		       in_gc_list(memory, view->address - GC_HEAD);
	return modules && modules_find(modules, view->address);
}

static void read_view(const struct head *head, struct pyh_type_view *view)
{
	view->flags = head_u64(head, PYH_TYPE_TP_FLAGS);
	view->metatype = head_u64(head, PYH_OBJECT_OB_TYPE);
	view->tp_name = head_u64(head, PYH_TYPE_TP_NAME);
	view->basicsize = (int64_t)head_u64(head, PYH_TYPE_TP_BASICSIZE);
	view->itemsize = (int64_t)head_u64(head, PYH_TYPE_TP_ITEMSIZE);
	view->dictoffset = (int64_t)head_u64(head, PYH_TYPE_TP_DICTOFFSET);
	view->weaklistoffset =
		(int64_t)head_u64(head, PYH_TYPE_TP_WEAKLISTOFFSET);
	view->base = head_u64(head, PYH_TYPE_TP_BASE);
	view->dict = head_u64(head, PYH_TYPE_TP_DICT);
	view->bases = head_u64(head, PYH_TYPE_TP_BASES);
	view->subclasses = head_u64(head, PYH_TYPE_TP_SUBCLASSES);
}

/*
 * A type whose own type is damaged is known by its flags and its MRO. What
 * else is asked about has other words where those are.
 */
static bool may_stand_without_metatype(const struct pyh_runtime *runtime,
				       struct memory_reader *memory,
				       uint64_t address)
{
	uint64_t flags, mro, first;

	return memory_try_u64(memory,
			      address + pyh_offset(runtime, PYH_TYPE_TP_FLAGS),
			      &flags) &&
	       (flags & PYH_TPFLAGS_READY) &&
	       memory_try_u64(memory,
			      address + pyh_offset(runtime, PYH_TYPE_TP_MRO),
			      &mro) &&
	       memory_try_u64(memory,
			      mro + pyh_offset(runtime, PYH_TUPLE_OB_ITEM),
			      &first) &&
	       first == address;
}

bool pyh_type_view(const struct pyh_runtime *runtime,
		   struct memory_reader *memory, struct pyh_chains *chains,
		   uint64_t address, struct pyh_type_view *ret)
{
	struct head head = { .runtime = runtime,
			     .size = runtime->size_of[PYH_STRUCT_TYPE] };
	struct pyh_type_view view = { .address = address };
	int steps = METATYPE_STEPS;
	enum metatypes metatypes;
	uint64_t metatype;

	if (address < 4096 || address % 8 || head.size > sizeof(head.bytes) ||
	    head.size < 8)
		return false;
	// Most addresses asked about are no types, and end here.
	if (!memory_try_u64(memory,
			    address + pyh_offset(runtime, PYH_OBJECT_OB_TYPE),
			    &metatype))
		return false;
	metatypes = follow_metatypes(runtime, memory, metatype, &steps);
	if ((metatypes == METATYPES_BROKEN &&
	     !is_core_type(runtime, address) &&
	     !may_stand_without_metatype(runtime, memory, address)) ||
	    !memory_try_read(memory, address, head.bytes, head.size))
		return false;
	read_view(&head, &view);
	if (metatypes == METATYPES_BROKEN) {
		view.metatype = runtime->types.type;
		view.metatype_lost = true;
	}
	if (!plausible_sizes(runtime, &view) || !plausible_flags(view.flags))
		return false;
	if (!(view.flags & PYH_TPFLAGS_READY)) {
		if (!never_got_ready(runtime, &head, &view))
			return false;
	} else if (!heads_its_mro(runtime, memory,
				  head_u64(&head, PYH_TYPE_TP_MRO), &view)) {
		view.mro = view.mro_count = 0;
		view.mro_lost = true;
		if (view.metatype_lost && !is_core_type(runtime, address))
			return false;
		if (!stands_without_mro(runtime, memory, &view))
			return false;
	}
	if (metatypes == METATYPES_GO_ON &&
	    !long_chain_ends_in_type(runtime, memory, chains, metatype))
		return false;
	*ret = view;
	return true;
}

/*
 * The interpreter's table of static builtin types: 3.12 has entries of 40
 * bytes {type, bools, dict, subclasses, weaklist}; since 3.13 a count comes
 * first and entries are 48 bytes, with the dict one word later. tp_subclasses
 * holds the index plus one.
 * Source: CPython Include/internal/pycore_interp_structs.h (3.13 and older:
 * pycore_typeobject.h), managed_static_type_state.
 */
static uint64_t static_builtin_dict(const struct pyh_runtime *runtime,
				    struct memory_reader *memory,
				    const struct pyh_type_view *view)
{
	bool counted = runtime->minor >= 13;
	uint64_t size = counted ? 48 : 40, index = view->subclasses - 1;
	uint64_t entry, type, dict;

	if (index >= STATIC_TYPES_MAX || runtime->num_interpreters == 0 ||
	    !pyh_has(runtime, PYH_INTERP_TYPES_BUILTINS))
		return 0;
	entry = runtime->interpreters[0].address +
		pyh_offset(runtime, PYH_INTERP_TYPES_BUILTINS) +
		(counted ? 8 : 0) + index * size;
	if (!memory_try_u64(memory, entry, &type) || type != view->address ||
	    !memory_try_u64(memory, entry + (counted ? 24 : 16), &dict))
		return 0;
	return dict;
}

uint64_t pyh_type_dict(const struct pyh_runtime *runtime,
		       struct memory_reader *memory,
		       const struct pyh_type_view *view)
{
	if (view->dict || !(view->flags & PYH_TPFLAGS_STATIC_BUILTIN))
		return view->dict;
	return static_builtin_dict(runtime, memory, view);
}
