/*
 * The rules that tell objects from raw memory; see pyobject.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/types/pyobject.h"

#include <elf.h>
#include <string.h>

#include "image/format.h"
#include "image/nativestacks.h"

enum {
	BODY_MAX = 64 << 10,	/* bytes of an object looked at in one view */
	GC_PREV_COLLECTING = 2,	/* _PyGC_PREV_MASK_COLLECTING */
	GC_PREV_SHIFT = 2,	/* _PyGC_PREV_SHIFT */
	SLOT_TP_BASE = 48,	/* Py_tp_base */
	SLOT_MAX = 255,		/* larger than any number of a slot */
	HOOK_PREFIX = 16,	/* size and domain before the data */
	HOOK_OVERHEAD = 24,	/* … and the fence after it */

	/* free-threaded builds: ob_gc_bits, ob_ref_local, ob_ref_shared */
	GC_BITS_TRACKED = 1 << 0,	/* _PyGC_BITS_TRACKED */
	GC_BITS_DEFERRED = 1 << 6,	/* _PyGC_BITS_DEFERRED */
	GC_BITS_UNKNOWN = 1 << 7,
	MUTEX_MAX = 3,			/* locked, and somebody waits */
	FLAGS_MAX = 0xFF,		/* of ob_flags, 3.14 and later */
	SHARED_SHIFT = 2,		/* _Py_REF_SHARED_SHIFT */
	MI_PRESIZE = 16,		/* of a pre-header */
	FREE_HEADER_MAX = 64,
};

void pyh_object_rules_init(struct pyh_object_rules *rules,
			   const struct pyh_runtime *runtime)
{
	static const enum pyh_field fields[] = {
		PYH_OBJECT_OB_TYPE, PYH_OBJECT_OB_GC_BITS,
		PYH_OBJECT_OB_REF_LOCAL, PYH_OBJECT_OB_REF_SHARED,
		PYH_OBJECT_OB_MUTEX,
	};

	*rules = (struct pyh_object_rules){
		.runtime = runtime,
		.header = runtime->size_of[PYH_STRUCT_OBJECT],
		.refcount_mask = UINT64_MAX,
		.refcount_max = UINT64_C(1) << 40,
		.flags_max = UINT16_MAX,
		// A pre-header before the GC head came with 3.11.
		.presize_max = (runtime->minor >= 11 ? 2 : 1) * PYH_GC_HEAD,
	};
	// 3.11 only gives its static objects a count of 999999999 to begin
	// with. Include/internal/pycore_object.h.
	if (runtime->minor == 11) {
		rules->immortal_from = UINT32_C(1) << 29;
		rules->immortal_value = 999999999;
	}
	// 3.12 and 3.13 make objects immortal by the sign of the low half,
	// 3.14 and later put flags into the top 16 bits. Include/refcount.h.
	if (runtime->minor >= 12) {
		rules->immortal_from = UINT32_C(1) << 31;
		rules->immortal_value = UINT32_MAX;
		rules->refcount_max = UINT32_MAX;
	}
	if (runtime->minor >= 14) {
		rules->refcount_mask = (UINT64_C(1) << 48) - 1;
		rules->immortal_value = UINT32_C(3) << 30;
		rules->flags_max = 0xFF;
	}
	// The lists are gone, the pre-header is where it was. Deferred objects
	// are counted from one, in 3.14 and later from _Py_REF_DEFERRED, an
	// eighth of PY_SSIZE_T_MAX; _PyObject_SetDeferredRefcount().
	if (runtime->free_threaded) {
		rules->presize_max = MI_PRESIZE;
		rules->immortal_value = UINT32_MAX;
		rules->deferred = runtime->minor >= 14 ? INT64_MAX / 8 : 1;
	}
	if (runtime->debug_hooks) {
		rules->prefix = HOOK_PREFIX;
		rules->overhead = HOOK_OVERHEAD;
	}
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (pyh_has(runtime, fields[i]) && rules->header <
			    pyh_offset(runtime, fields[i]) + sizeof(uint64_t))
			rules->header = pyh_offset(runtime, fields[i]) +
					(uint32_t)sizeof(uint64_t);
	for (size_t i = 0; i < runtime->num_interpreters; i++)
		rules->collecting |= runtime->interpreters[i].collecting;
}

/** Whether something was at an address, though it may be left out as payload. */
static bool is_address(const struct pyh_object_rules *rules, uint64_t address)
{
	const struct memory_range *range =
		memory_find(rules->runtime->image->memory, address);

	return range && (range->state == MEMORY_CAPTURED ||
			 (range->state == MEMORY_NOT_CAPTURED &&
			  range->reason == FORMAT_PAYLOAD));
}

/**
 * A count as large as an address, and something lives at that address. The
 * heap of a program that is linked at a fixed address lies where counts of
 * immortal objects are, too: two classes in a tuple look like an object then.
 * Immortal counts move where they are counted on, in static objects.
 */
static bool is_pointer(const struct pyh_object_rules *rules,
		       const struct pyh_candidate *candidate)
{
	return candidate->refcount >= PYH_REFCOUNT_LARGE &&
	       candidate->refcount % 8 == 0 &&
	       candidate->refcount != rules->immortal_value &&
	       !(candidate->immortal && candidate->on_module) &&
	       is_address(rules, candidate->refcount);
}

/**
 * The first word of a free block of glibc (2.32 and later) leads to the next
 * one, mixed with its own address; in fast bins the words behind stay as they
 * were. Source: glibc malloc/malloc.c, PROTECT_PTR.
 */
static bool is_freed(const struct pyh_object_rules *rules,
		     const struct pyh_candidate *candidate)
{
	uint64_t next = candidate->refcount ^ candidate->address >> 12;

	return candidate->refcount >= PYH_REFCOUNT_LARGE &&
	       candidate->presize == 0 && !candidate->on_module &&
	       (next == 0 || (next % 16 == 0 && is_address(rules, next)));
}

/** A type behind its own hash: the two are an entry of a dict. */
static bool is_entry(const struct pyh_candidate *candidate)
{
	return candidate->refcount == candidate->type->address >> 4;
}

/**
 * A base in the slots of a type that C code makes: {Py_tp_base, the base}, and
 * behind it a slot with a function, or zeroes, which an object must be large
 * enough to have: a static one may have that count, too.
 * Source: Include/typeslots.h.
 */
static bool is_base_slot(const struct pyh_object_rules *rules,
			 struct memory_reader *memory,
			 const struct pyh_candidate *candidate)
{
	const struct memory_range *code;
	uint64_t next[2];

	if (candidate->refcount != SLOT_TP_BASE || !candidate->on_module ||
	    !(candidate->type->flags & PYH_TPFLAGS_BASETYPE) ||
	    !memory_try_read(memory, candidate->address + 16, next,
			     sizeof(next)))
		return false;
	if (next[0] == 0 && next[1] == 0)
		return candidate->type->basicsize >= 32;
	code = memory_find(rules->runtime->image->memory, next[1]);
	return next[0] != 0 && next[0] <= SLOT_MAX && code &&
	       code->protection & PF_X;
}

/** Whether a GC head can be at an address whose bytes the dump lacks. */
static bool may_hold_head(const struct pyh_object_rules *rules,
			  uint64_t address)
{
	const struct memory_range *range =
		memory_find(rules->runtime->image->memory, address);

	return range && range->state == MEMORY_NOT_CAPTURED &&
	       range->protection & PF_W && address % 4 == 0;
}

/** _gc_prev of an object whose references are being subtracted. */
static bool is_counting(uint64_t prev, uint64_t refcount)
{
	return (prev & GC_PREV_COLLECTING) &&
	       prev >> GC_PREV_SHIFT <= refcount;
}

/**
 * Does the GC list lead back to a head?
 *
 * @param head  address of the PyGC_Head
 * @param bytes  its 16 bytes
 */
static void check_link(const struct pyh_object_rules *rules,
		       struct memory_reader *memory, uint64_t head,
		       const uint8_t *bytes, struct pyh_candidate *ret)
{
	// The low bits are flags: NEXT_MASK_UNREACHABLE or the old space of
	// 3.14.0 - 3.14.4, PREV_MASK_FINALIZED and _COLLECTING.
	uint64_t next = pyh_word(bytes, 0) & ~UINT64_C(3);
	uint64_t prev = pyh_word(bytes + 8, 0) & ~UINT64_C(3);
	uint64_t back;
	bool next_known, prev_known;

	ret->link = PYH_LINK_NONE;
	ret->link_damaged = false;
	if (next == 0)
		return;
	ret->gc_next = next;
	ret->gc_prev = prev;
	ret->link = PYH_LINK_HOLDS;
	// The one before was made earlier and is more often in the cache.
	prev_known = memory_try_u64(memory, prev, &back);
	if (prev_known && (back & ~UINT64_C(3)) == head)
		return;
	next_known = memory_try_u64(memory, next + 8, &back);
	if (next_known && (back & ~UINT64_C(3)) == head) {
		ret->link_damaged = !rules->collecting &&
				    (prev_known || !may_hold_head(rules, prev));
		return;
	}
	// Inside a collection _gc_prev may hold a flag and what is left of the
	// reference count; then only the way forward is a list.
	if (rules->collecting && next_known && next % 4 == 0 &&
	    is_counting(pyh_word(bytes + 8, 0), ret->refcount))
		return;
	// Neighbours that the dump lacks prove nothing either.
	if (!next_known && !prev_known && may_hold_head(rules, next) &&
	    may_hold_head(rules, prev))
		return;
	ret->link = PYH_LINK_BROKEN;
}

/**
 * How sure: in a GC list, or everything fits, or the size does not tell.
 * @param room  bytes there are for the object and its pre-header
 */
static bool weigh(struct pyh_candidate *candidate, uint64_t room)
{
	uint64_t need = candidate->presize + candidate->measure.extent;

	if (need > room)
		return false;
	if (candidate->link == PYH_LINK_HOLDS) {
		candidate->evidence = PYH_EVIDENCE_CERTAIN;
		return true;
	}
	candidate->evidence = PYH_EVIDENCE_PROBABLE;
	// realloc() leaves at most a quarter of a block unused; an extension
	// type may have asked for more than its type says; arithmetic drops
	// leading zero digits of an int without giving its memory back.
	if (((need + 15) & ~UINT64_C(15)) < room && need * 4 <= room * 3 &&
	    candidate->type->kind != PYH_KIND_INT) {
		if (candidate->type->kind != PYH_KIND_OTHER)
			return false;
		candidate->evidence = PYH_EVIDENCE_GUESSED;
	}
	return true;
}

/**
 * Bytes of a block that its user may use: with debug hooks the very number
 * asked for, which the hook keeps (big-endian) in front; else all of it.
 */
static inline uint64_t asked_for(const struct pyh_object_rules *rules,
				 const uint8_t *block, uint32_t size)
{
	uint64_t asked;

	if (rules->overhead == 0)
		return size;
	asked = __builtin_bswap64(pyh_word(block, 0));
	// Sizes of objects are counted in whole words.
	asked = (asked + 7) & ~UINT64_C(7);
	return asked < size - rules->overhead ? asked : size - rules->overhead;
}

/**
 * Whether an object that begins like one of a type is one.
 *
 * @param at  where in the block it begins
 */
static inline bool check_place(const struct pyh_object_rules *rules,
			       struct memory_reader *memory, uint64_t block,
			       const uint8_t *bytes, uint32_t size, uint32_t at,
			       struct pyh_candidate *ret)
{
	const uint8_t *body = bytes + at;

	ret->address = block + at;
	ret->body = body;
	ret->available = size - at - (rules->overhead - rules->prefix);
	ret->presize = ret->type->presize;
	ret->on_module = false;
	ret->link = PYH_LINK_NONE;
	ret->link_damaged = false;
	pyh_take_refcount(rules, pyh_word(body, 0), ret);
	if (ret->presize) {
		check_link(rules, memory, ret->address - PYH_GC_HEAD,
			   body - PYH_GC_HEAD, ret);
		if (ret->link == PYH_LINK_BROKEN)
			return false;
	}
	if (!pyh_measure_quick(rules->runtime, ret->type, body, ret->available,
			       &ret->measure) &&
	    pyh_measure(rules->runtime, ret->type, ret->address, body,
			ret->available, memory,
			&ret->measure) == PYH_MEASURE_REFUSED)
		return false;
	if (!weigh(ret, asked_for(rules, bytes, size)))
		return false;
	return ret->link == PYH_LINK_HOLDS || !is_pointer(rules, ret);
}

/* --- free-threaded builds --------------------------------------------------- */

/**
 * Understand the header of an object: who owns it counts apart from all other
 * threads. Include/cpython/object.h, Include/refcount.h.
 *
 * @param body  sizeof(PyObject) bytes
 * @return false if it cannot be one that lives
 */
static bool read_free_header(const struct pyh_object_rules *rules,
			     uint64_t address, const uint8_t *body,
			     struct pyh_candidate *ret)
{
	const struct pyh_runtime *runtime = rules->runtime;
	uint8_t bits = body[pyh_offset(runtime, PYH_OBJECT_OB_GC_BITS)];
	uint32_t mutex = pyh_offset(runtime, PYH_OBJECT_OB_MUTEX);
	int64_t shared, count;
	uint16_t flags;
	uint32_t local, beside;
	bool may_be_zero = bits & GC_BITS_DEFERRED;

	// Two bytes of padding in 3.13.
	memcpy(&flags, body + mutex - sizeof(flags), sizeof(flags));
	if (flags > (runtime->minor >= 14 ? FLAGS_MAX : 0) ||
	    body[mutex] > MUTEX_MAX || bits & GC_BITS_UNKNOWN)
		return false;
	memcpy(&local, body + pyh_offset(runtime, PYH_OBJECT_OB_REF_LOCAL),
	       sizeof(local));
	memcpy(&shared, body + pyh_offset(runtime, PYH_OBJECT_OB_REF_SHARED),
	       sizeof(shared));
	count = (shared >> SHARED_SHIFT) + local;
	if (bits & GC_BITS_DEFERRED &&
	    count > (int64_t)(rules->deferred / 2))
		count -= (int64_t)rules->deferred;
	if ((bits & GC_BITS_DEFERRED || rules->collecting) &&
	    rules->beside && hashmap_get(rules->beside, address, &beside)) {
		count += (int32_t)beside;
		may_be_zero = true;
	}
	ret->immortal = local == UINT32_MAX;
	ret->refcount = ret->immortal ? local : count > 0 ? (uint64_t)count : 0;
	ret->link = bits & GC_BITS_TRACKED ? PYH_LINK_HOLDS : PYH_LINK_NONE;
	ret->link_damaged = false;
	return (ret->immortal || may_be_zero || count > 0) &&
	       count < (INT64_C(1) << 40);
}

static bool check_mi_place(const struct pyh_object_rules *rules,
			   struct memory_reader *memory, uint64_t block,
			   const uint8_t *bytes, size_t have, uint64_t size,
			   uint32_t at, struct pyh_candidate *ret)
{
	uint32_t behind = rules->overhead - rules->prefix;
	uint64_t room = size, need;

	if (rules->overhead) {
		room = __builtin_bswap64(pyh_word(bytes, 0));
		room = (room + 7) & ~UINT64_C(7);
		if (room > size - rules->overhead)
			room = size - rules->overhead;
	}
	ret->address = block + at;
	ret->body = bytes + at;
	ret->available = have - at;
	if (ret->available > size - at - behind)
		ret->available = (size_t)(size - at - behind);
	ret->presize = ret->type->presize;
	ret->on_module = false;
	if (!pyh_measure_quick(rules->runtime, ret->type, ret->body,
			       ret->available, &ret->measure) &&
	    !pyh_measure_near(rules->runtime, ret->type, ret->body,
			      ret->available, memory, &ret->measure) &&
	    pyh_measure(rules->runtime, ret->type, ret->address, ret->body,
			ret->available, memory,
			&ret->measure) == PYH_MEASURE_REFUSED)
		return false;
	need = ret->presize + ret->measure.extent;
	if (need > room)
		return false;
	ret->evidence = ret->link == PYH_LINK_HOLDS ? PYH_EVIDENCE_CERTAIN :
						      PYH_EVIDENCE_PROBABLE;
	// realloc() leaves up to half of a block unused, see weigh().
	if (ret->link != PYH_LINK_HOLDS && need * 2 + 16 < room &&
	    ret->type->kind != PYH_KIND_INT) {
		if (ret->type->kind != PYH_KIND_OTHER)
			return false;
		ret->evidence = PYH_EVIDENCE_GUESSED;
	}
	return true;
}

bool pyh_object_in_mi_block(const struct pyh_object_rules *rules,
			    struct pyh_type_reader *types,
			    struct memory_reader *memory, uint64_t block,
			    const uint8_t *bytes, size_t have, uint64_t size,
			    struct pyh_candidate *ret)
{
	uint32_t head = rules->header;
	uint32_t type_at = pyh_offset(rules->runtime, PYH_OBJECT_OB_TYPE);

	for (uint32_t presize = 0; presize <= MI_PRESIZE;
	     presize += MI_PRESIZE) {
		uint32_t at = rules->prefix + presize;
		uint64_t type;

		if (at + head > have || at + head + rules->overhead -
						rules->prefix > size)
			return false;
		type = pyh_word(bytes + at, type_at);
		if (type == 0 || type & 7)
			continue;
		ret->type = pyh_type_find(types, type);
		if (ret->type && ret->type->presize == presize &&
		    read_free_header(rules, block + at, bytes + at, ret) &&
		    check_mi_place(rules, memory, block, bytes, have, size, at,
				   ret))
			return true;
	}
	return false;
}

bool pyh_object_in_block(const struct pyh_object_rules *rules,
			 struct pyh_type_reader *types,
			 struct memory_reader *memory, uint64_t block,
			 const uint8_t *bytes, uint32_t size,
			 struct pyh_candidate *ret)
{
	// A first word that cannot be a count rules each place out cheaply:
	// where there is a GC head or a pre-header, it is a pointer or zero.
	for (uint32_t presize = 0; presize <= rules->presize_max;
	     presize += PYH_GC_HEAD) {
		uint32_t at = rules->prefix + presize;
		uint64_t type;

		if (at + 16 > size)
			return false;
		type = pyh_word(bytes + at + 8, 0);
		if (!pyh_may_be_refcount(rules, pyh_word(bytes + at, 0)) || type == 0 ||
		    type & 7)
			continue;
		ret->type = pyh_type_find(types, type);
		if (ret->type && ret->type->presize == presize &&
		    check_place(rules, memory, block, bytes, size, at, ret))
			return true;
	}
	return false;
}

/** Type objects have a GC head only if they are heap types themselves. */
static uint8_t presize_of(const struct pyh_runtime *runtime,
			  const struct pyh_type *type, const uint8_t *body,
			  size_t available)
{
	uint32_t at = pyh_offset(runtime, PYH_TYPE_TP_FLAGS);

	if (type->kind == PYH_KIND_TYPE && available >= at + 8 &&
	    !(pyh_word(body + at, 0) & PYH_TPFLAGS_HEAPTYPE))
		return 0;
	return type->presize;
}

/** Look at the first bytes of what may be an object outside of arenas. */
static bool view_body(const struct pyh_object_rules *rules,
		      struct memory_reader *outside, uint64_t address,
		      size_t wanted, struct pyh_candidate *ret)
{
	const struct memory_range *range;
	uint64_t left;

	range = memory_find(rules->runtime->image->memory, address);
	if (!range || range->state != MEMORY_CAPTURED)
		return false;
	left = range->end - address;
	ret->available = left < wanted ? (size_t)left : wanted;
	ret->body = memory_view(outside, address, ret->available);
	return ret->body != NULL;
}

/** The whole of it must lie where the target had memory. */
static bool extent_fits(const struct pyh_object_rules *rules,
			const struct pyh_candidate *candidate)
{
	return !(candidate->measure.extent >> 48) &&
	       memory_state_at(rules->runtime->image->memory,
			       candidate->address + candidate->measure.extent -
				       1) != MEMORY_UNMAPPED;
}

/** Bytes of an object that are looked at together. */
static size_t wanted_of(const struct pyh_runtime *runtime,
			const struct pyh_type *type)
{
	size_t wanted = (size_t)type->basicsize + 64;

	if (wanted < runtime->size_of[PYH_STRUCT_HEAPTYPE] &&
	    type->kind == PYH_KIND_TYPE)
		wanted = runtime->size_of[PYH_STRUCT_HEAPTYPE];
	return wanted < BODY_MAX ? wanted : BODY_MAX;
}

/**
 * Registers that calls have saved may look like an object: a count of one, its
 * type, what it holds. Nothing allocates objects there.
 */
static bool is_on_stack(const struct pyh_object_rules *rules, uint64_t address)
{
	return rules->stacks && native_stack_has(rules->stacks, address);
}

/**
 * What allocators give out is aligned to 16 bytes, and so are objects behind all
 * that may be in front of them. Between, the size of a chunk of malloc's would
 * be a count, and the first word of its data a type. Those that another library
 * has set may do as they like.
 */
static bool is_between(const struct pyh_object_rules *rules,
		       const struct pyh_candidate *object)
{
	return object->address % 16 != 0 && !object->on_module &&
	       !rules->runtime->foreign_allocators;
}

/**
 * Outside of mimalloc there are static objects, and those of other allocators.
 */
static bool free_outside(const struct pyh_object_rules *rules,
			 struct pyh_type_reader *types,
			 struct memory_reader *outside,
			 struct memory_reader *memory, uint64_t address,
			 struct pyh_candidate *ret)
{
	const struct pyh_runtime *runtime = rules->runtime;
	uint32_t head = rules->header;
	uint8_t header[FREE_HEADER_MAX];
	uint64_t type, owner;

	if (address & 7 || head > sizeof(header) ||
	    !memory_try_read(memory, address, header, head))
		return false;
	type = pyh_word(header, pyh_offset(runtime, PYH_OBJECT_OB_TYPE));
	owner = pyh_word(header, pyh_offset(runtime, PYH_OBJECT_OB_TID));
	if (type == 0 || type & 7 || !read_free_header(rules, address, header, ret) ||
	    (owner != 0 && !rules->collecting && !is_address(rules, owner)))
		return false;
	ret->type = pyh_type_find(types, type);
	if (!ret->type ||
	    !view_body(rules, outside, address, wanted_of(runtime, ret->type),
		       ret) || ret->available < head)
		return false;
	ret->address = address;
	ret->presize = presize_of(runtime, ret->type, ret->body,
				  ret->available);
	// As below: a metaclass in a table of keys, and what was left behind.
	if (ret->type->kind == PYH_KIND_TYPE ?
		    !ret->type->is_static && !pyh_type_find(types, address) :
		    ret->link == PYH_LINK_NONE && ret->type->has_gc &&
			    !ret->immortal && !ret->type->is_static &&
			    ret->type->flags & PYH_TPFLAGS_BASETYPE)
		return false;
	if (pyh_measure(runtime, ret->type, address, ret->body, ret->available,
			memory, &ret->measure) == PYH_MEASURE_REFUSED ||
	    !extent_fits(rules, ret) || is_on_stack(rules, address))
		return false;
	ret->on_module = pyh_on_module(runtime->image, address);
	if (is_between(rules, ret))
		return false;
	ret->evidence = PYH_EVIDENCE_PROBABLE;
	return true;
}

bool pyh_object_outside(const struct pyh_object_rules *rules,
			struct pyh_type_reader *types,
			struct memory_reader *outside,
			struct memory_reader *memory, uint64_t address,
			struct pyh_candidate *ret)
{
	const struct pyh_runtime *runtime = rules->runtime;
	uint64_t header[2];

	if (runtime->free_threaded)
		return free_outside(rules, types, outside, memory, address, ret);
	if (address & 7 ||
	    !memory_try_read(memory, address, header, sizeof(header)) ||
	    !pyh_may_be_refcount(rules, header[0]) || header[1] & 7 ||
	    header[1] == 0)
		return false;
	pyh_take_refcount(rules, header[0], ret);
	ret->type = pyh_type_find(types, header[1]);
	if (!ret->type)
		return false;
	if (!view_body(rules, outside, address, wanted_of(runtime, ret->type),
		       ret) ||
	    ret->available < 16)
		return false;
	ret->address = address;
	ret->presize = presize_of(runtime, ret->type, ret->body,
				  ret->available);
	// In a table of keys, a small hash and a metaclass look like the start
	// of a static type, which has one that is static itself.
	if (ret->type->kind == PYH_KIND_TYPE && ret->presize == 0 &&
	    !ret->type->is_static && !pyh_type_find(types, address))
		return false;
	ret->link = PYH_LINK_NONE;
	ret->link_damaged = false;
	if (ret->presize) {
		uint8_t head[PYH_GC_HEAD];

		if (!memory_try_read(memory, address - PYH_GC_HEAD, head,
				     sizeof(head)))
			return false;
		check_link(rules, memory, address - PYH_GC_HEAD, head, ret);
		// An instance of a class is in a GC list from birth to death;
		// what looks like one and is not was left behind in memory
		// that has another use now. Types of C code that nothing can
		// derive from may forget to list theirs: os.stat_result.
		if (ret->link == PYH_LINK_BROKEN ||
		    (ret->link == PYH_LINK_NONE && !ret->type->is_static &&
		     (ret->type->flags & PYH_TPFLAGS_BASETYPE) &&
		     ret->type->kind != PYH_KIND_TYPE))
			return false;
	}
	if (pyh_measure(runtime, ret->type, address, ret->body, ret->available,
			memory, &ret->measure) == PYH_MEASURE_REFUSED)
		return false;
	if (!extent_fits(rules, ret))
		return false;
	ret->on_module = pyh_on_module(runtime->image, address);
	if (ret->link != PYH_LINK_HOLDS &&
	    (is_between(rules, ret) || is_on_stack(rules, address)))
		return false;
	ret->evidence = ret->link == PYH_LINK_HOLDS ? PYH_EVIDENCE_CERTAIN :
						      PYH_EVIDENCE_PROBABLE;
	return ret->link == PYH_LINK_HOLDS ||
	       (!is_pointer(rules, ret) && !is_freed(rules, ret) &&
		!is_entry(ret) && !is_base_slot(rules, memory, ret));
}

bool pyh_on_module(const struct image *image, uint64_t address)
{
	const struct memory_range *range;

	if (modules_find(image->modules, address))
		return true;
	// The bss is anonymous memory right behind the last file mapping.
	range = memory_find(image->memory, address);
	return range && range->start > 0 &&
	       modules_find(image->modules, range->start - 1);
}

uint64_t pyh_stack_pointer(const struct image *image, size_t thread)
{
	// struct user_regs_struct: rsp is the 20th word; struct
	// user_pt_regs: sp follows x0 … x30.
	size_t index = image->machine == EM_AARCH64 ? 31 : 19;
	struct bytes registers = image->notes.threads[thread].registers;
	uint64_t value;

	if (!bytes_take(&registers, index * 8) ||
	    !bytes_u64(&registers, &value))
		return 0;
	return value;
}
