/*
 * Sizes and buffers of types, code, frames, generators and modules.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Objects/typeobject.c, codeobject.c, frameobject.c,
 * genobject.c, moduleobject.c and Modules/_ctypes/_ctypes.c.
 */
#include "pyheap/sizes/pysubject.h"
#include "pyheap/types/pytypes.h"

enum {
	CODE_UNIT = 2,			/* bytes of an instruction */
	SLOTS_MAX = 1 << 24,		/* of a frame */
	MODULE_STATE_MAX = 1 << 24,
};

#define TAG_MASK UINT64_C(3)		/* of references in frames, 3.14+ */

static void claim_type_buffers(struct pyh_subject *subject)
{
	uint64_t text, ignored = 0;

	if (pyh_has(subject->runtime, PYH_HEAPTYPE_HT_TPNAME) &&
	    pyh_subject_get(subject, PYH_HEAPTYPE_HT_TPNAME, &text))
		pyh_subject_claim_string(subject, text, &ignored);
	if (pyh_has(subject->runtime, PYH_TYPE_TP_DOC) &&
	    pyh_subject_get(subject, PYH_TYPE_TP_DOC, &text))
		pyh_subject_claim_string(subject, text, &ignored);
}

static bool size_heap_type(struct pyh_subject *subject)
{
	struct pyh_measure *measure = subject->measure;
	struct pyh_keys keys;
	uint64_t members, address;

	// Behind the type lie the descriptions of its __slots__, and always one
	// more, which is all zero.
	if (!pyh_subject_count(subject, &members) ||
	    !pyh_subject_items(subject, members, 1))
		return false;
	measure->size = subject->runtime->size_of[PYH_STRUCT_HEAPTYPE];
	if (!pyh_subject_get(subject, PYH_HEAPTYPE_HT_CACHED_KEYS, &address))
		return true;
	if (address) {
		if (!pyh_subject_keys(subject, address, &keys))
			return false;
		measure->size += keys.bytes;
		if (!pyh_subject_claim(subject, keys.address, keys.bytes))
			return false;
	}
	claim_type_buffers(subject);
	return true;
}

/**
 * Whether sys.getsizeof adds a GC head, which static types do not have: 3.11
 * and 3.12 do, and later releases only exempt direct instances of `type`, not
 * those of a metatype of C code like numpy's.
 */
static bool static_counts_head(const struct pyh_runtime *runtime,
			       const struct pyh_type *metatype)
{
	if (runtime->minor < 11)
		return false;
	return runtime->minor < 13 || metatype->metatype != metatype->address;
}

bool pyh_size_type(struct pyh_subject *subject)
{
	const struct pyh_runtime *runtime = subject->runtime;
	struct pyh_measure *measure = subject->measure;
	uint64_t flags;

	measure->size = runtime->size_of[PYH_STRUCT_TYPE];
	measure->extent = measure->size;
	if (!pyh_subject_get(subject, PYH_TYPE_TP_FLAGS, &flags))
		return true;
	if (flags & PYH_TPFLAGS_HEAPTYPE)
		return size_heap_type(subject);
	if (!static_counts_head(runtime, subject->type))
		subject->presize = 0;
	return true;
}

/* ctypes classes, 3.13 and later: the description follows the heap type. */
bool pyh_size_ctype(struct pyh_subject *subject)
{
	static const enum pyh_field fields[5] = {
		PYH_STGINFO_LENGTH, PYH_STGINFO_FFI_TYPE_POINTER_ELEMENTS,
		PYH_STGINFO_FORMAT, PYH_STGINFO_NDIM, PYH_STGINFO_SHAPE,
	};
	uint64_t info = subject->runtime->size_of[PYH_STRUCT_HEAPTYPE];
	uint64_t flags;

	if (!pyh_size_type(subject))
		return false;
	if (!pyh_subject_get(subject, PYH_TYPE_TP_FLAGS, &flags) ||
	    !(flags & PYH_TPFLAGS_HEAPTYPE))
		return true;
	info = (info + 15) & ~UINT64_C(15);
	subject->measure->size = (uint64_t)subject->type->basicsize +
		pyh_size_ctypes_info(subject, subject->address + info, fields);
	return true;
}

/* co_extra: a count, and as many pointers of extensions like debuggers. */
static bool add_code_extra(struct pyh_subject *subject)
{
	uint64_t extra, count;

	if (!pyh_subject_get(subject, PYH_CODE_CO_EXTRA, &extra) || extra == 0)
		return true;
	if (!memory_try_u64(subject->memory, extra, &count)) {
		subject->missing = true;
		return true;
	}
	if (count > 255)
		return false;
	subject->measure->size += 8 + count * 8;
	return pyh_subject_claim(subject, extra, 8 + count * 8);
}

static uint64_t tuple_length(struct pyh_subject *subject, enum pyh_field field)
{
	uint64_t tuple, count = 0;

	if (pyh_subject_get(subject, field, &tuple) && tuple)
		(void)pyh_subject_at(subject, tuple, PYH_VAR_OB_SIZE, &count);
	return count;
}

/* 3.8 to 3.10: the bytecode is an object; caches of globals beside it. */
static bool size_old_code(struct pyh_subject *subject)
{
	const struct pyh_runtime *runtime = subject->runtime;
	struct pyh_measure *measure = subject->measure;
	uint64_t cells, map = 0, cache = 0, entries = 0, units;
	uint64_t entry = runtime->size_of[PYH_STRUCT_OPCACHE];

	if (pyh_subject_get(subject, PYH_CODE_CO_CELL2ARG, &cells) && cells) {
		uint64_t bytes = tuple_length(subject,
					      PYH_CODE_CO_CELLVARS) * 8;

		measure->size += bytes;
		if (!pyh_subject_claim(subject, cells, bytes))
			return false;
	}
	(void)pyh_subject_get(subject, PYH_CODE_CO_OPCACHE_MAP, &map);
	(void)pyh_subject_get(subject, PYH_CODE_CO_OPCACHE, &cache);
	(void)pyh_subject_get(subject, PYH_CODE_CO_OPCACHE_SIZE, &entries);
	units = tuple_length(subject, PYH_CODE_CO_CODE) / CODE_UNIT;
	if (cache) {
		measure->size += units + entries * entry;
		if (!pyh_subject_claim(subject, cache, entries * entry))
			return false;
	}
	return pyh_subject_claim(subject, map, units);
}

/*
 * A frame kept for the next call of the function, 3.8 to 3.10. What is in it
 * was let go, but not overwritten: on its stack are addresses of objects that
 * have died, some with new objects in their place. frame_dealloc().
 */
static void claim_zombie_frame(struct pyh_subject *subject)
{
	uint64_t frame, slots = 0;

	if (!pyh_has(subject->runtime, PYH_CODE_CO_ZOMBIEFRAME) ||
	    !pyh_subject_get(subject, PYH_CODE_CO_ZOMBIEFRAME, &frame) ||
	    frame < 16 || frame % 8 ||
	    !pyh_subject_at(subject, frame, PYH_VAR_OB_SIZE, &slots) ||
	    slots > SLOTS_MAX)
		return;
	(void)pyh_subject_claim_dead(
		subject, frame - 16,
		16 + subject->runtime->size_of[PYH_STRUCT_FRAME] + slots * 8);
}

/* 3.12 and later: what sys.monitoring keeps of a code object. */
static void claim_monitoring(struct pyh_subject *subject, uint64_t units)
{
	static const enum pyh_field bytes_per_unit[] = {
		PYH_COMONITORING_TOOLS, PYH_COMONITORING_LINE_TOOLS,
		PYH_COMONITORING_PER_INSTRUCTION_OPCODES,
		PYH_COMONITORING_PER_INSTRUCTION_TOOLS,
	};
	uint64_t data, buffer;

	if (!pyh_has(subject->runtime, PYH_CODE_CO_MONITORING) ||
	    !pyh_subject_get(subject, PYH_CODE_CO_MONITORING, &data) ||
	    data == 0 || data % 8)
		return;
	(void)pyh_subject_claim(
		subject, data,
		subject->runtime->size_of[PYH_STRUCT_COMONITORING]);
	for (size_t i = 0; i < 4; i++)
		if (pyh_subject_at(subject, data, bytes_per_unit[i], &buffer))
			(void)pyh_subject_claim(subject, buffer, units);
	// Lines take one or more bytes a unit, and since 3.14 say how many.
	if (pyh_subject_at(subject, data, PYH_COMONITORING_LINES, &buffer))
		(void)pyh_subject_claim(subject, buffer, 0);
}

static bool size_new_code(struct pyh_subject *subject)
{
	const struct pyh_runtime *runtime = subject->runtime;
	uint64_t units, cache;

	if (!pyh_subject_count(subject, &units) || units >> 40)
		return false;
	subject->measure->size += units * CODE_UNIT;
	subject->measure->size = (subject->measure->size + 7) & ~UINT64_C(7);
	subject->measure->extent = subject->measure->size;
	if (!pyh_subject_fits(subject, subject->address,
			      subject->measure->extent))
		return false;
	if (pyh_has(runtime, PYH_CODE_CO_LINEARRAY) &&
	    pyh_subject_get(subject, PYH_CODE_CO_LINEARRAY, &cache) &&
	    !pyh_subject_claim(subject, cache, 0))
		return false;
	if (pyh_has(runtime, PYH_CODE_CO_CACHED) &&
	    pyh_subject_get(subject, PYH_CODE_CO_CACHED, &cache) &&
	    !pyh_subject_claim(subject, cache,
			       runtime->size_of[PYH_STRUCT_COCACHED]))
		return false;
	claim_monitoring(subject, units);
	return true;
}

bool pyh_size_code(struct pyh_subject *subject)
{
	struct pyh_measure *measure = subject->measure;

	measure->size = (uint64_t)subject->type->basicsize;
	measure->extent = (measure->size + 7) & ~UINT64_C(7);
	if (pyh_has(subject->runtime, PYH_CODE_CO_CODE_ADAPTIVE)) {
		if (!size_new_code(subject))
			return false;
	} else if (!size_old_code(subject)) {
		return false;
	}
	if (!add_code_extra(subject))
		return false;
	claim_zombie_frame(subject);
	return true;
}

/* Slots of a frame of 3.11 and later: locals, cells and the stack. */
static bool frame_slots(struct pyh_subject *subject, uint64_t code,
			uint64_t *ret)
{
	uint64_t locals, stack;

	if (!pyh_subject_at(subject, code, PYH_CODE_CO_NLOCALSPLUS, &locals) ||
	    !pyh_subject_at(subject, code, PYH_CODE_CO_STACKSIZE, &stack))
		return false;
	*ret = locals + stack;
	return true;
}

/* The code of an interpreter frame at an address. */
static bool frame_code(struct pyh_subject *subject, uint64_t frame,
		       uint64_t *ret)
{
	const struct pyh_runtime *runtime = subject->runtime;
	enum pyh_field field = pyh_has(runtime, PYH_IFRAME_F_EXECUTABLE) ?
				       PYH_IFRAME_F_EXECUTABLE :
				       PYH_IFRAME_F_CODE;

	if (frame % 8 || !pyh_subject_at(subject, frame, field, ret))
		return false;
	if (runtime->minor >= 14)
		*ret &= ~TAG_MASK;
	return *ret != 0 && *ret % 8 == 0;
}

/* An object that ends with an interpreter frame, which starts at an offset. */
static bool size_with_frame(struct pyh_subject *subject, uint32_t start,
			    uint64_t code)
{
	struct pyh_measure *measure = subject->measure;
	uint64_t slots;

	measure->size = start + pyh_offset(subject->runtime,
					   PYH_IFRAME_LOCALSPLUS);
	measure->extent = measure->size;
	if (!frame_slots(subject, code, &slots)) {
		subject->missing = true;
		return true;
	}
	if (slots > SLOTS_MAX)
		return false;
	measure->size += slots * 8;
	measure->extent = measure->size;
	return pyh_subject_fits(subject, subject->address, measure->extent);
}

/* 3.8 to 3.10: the frame is the object; what it needs, its code knows. */
static bool size_old_frame(struct pyh_subject *subject)
{
	struct pyh_measure *measure = subject->measure;
	uint64_t slots, code, needed = 0;
	static const enum pyh_field counts[] = { PYH_CODE_CO_NLOCALS,
						 PYH_CODE_CO_STACKSIZE };
	static const enum pyh_field tuples[] = { PYH_CODE_CO_CELLVARS,
						 PYH_CODE_CO_FREEVARS };

	if (!pyh_subject_count(subject, &slots) || slots > SLOTS_MAX)
		return false;
	measure->size = (uint64_t)subject->type->basicsize;
	measure->extent = measure->size + slots * 8;
	if (!pyh_subject_get(subject, PYH_FRAME_F_CODE, &code))
		return true;
	if (code == 0 || code % 8)
		return false;
	for (size_t i = 0; i < 2; i++) {
		uint64_t count = 0, tuple;

		(void)pyh_subject_at(subject, code, counts[i], &count);
		needed += count & UINT32_MAX;
		count = 0;
		if (pyh_subject_at(subject, code, tuples[i], &tuple))
			(void)pyh_subject_at(subject, tuple, PYH_VAR_OB_SIZE,
					     &count);
		if (count > SLOTS_MAX)
			return false;
		needed += count;
	}
	// One slot is part of the basic size, but not of what is counted.
	measure->size += needed * 8 - 8;
	return needed <= SLOTS_MAX;
}

bool pyh_size_frame(struct pyh_subject *subject)
{
	const struct pyh_runtime *runtime = subject->runtime;
	uint64_t frame, code = 0;

	if (!pyh_has(runtime, PYH_FRAME_F_FRAME))
		return size_old_frame(subject);
	if (pyh_subject_get(subject, PYH_FRAME_F_FRAME, &frame))
		(void)frame_code(subject, frame, &code);
	return size_with_frame(subject,
			       pyh_offset(runtime, PYH_FRAME_F_FRAME_DATA),
			       code);
}

bool pyh_size_generator(struct pyh_subject *subject)
{
	const struct pyh_runtime *runtime = subject->runtime;
	uint32_t start = pyh_offset(runtime, PYH_GEN_GI_IFRAME);
	uint64_t code = 0;

	if (!pyh_has(runtime, PYH_GEN_GI_IFRAME))
		return pyh_size_other(subject);
	(void)frame_code(subject, subject->address + start, &code);
	return size_with_frame(subject, start, code);
}

bool pyh_size_module(struct pyh_subject *subject)
{
	const struct pyh_runtime *runtime = subject->runtime;
	uint64_t state, def, size = 0;

	if (!pyh_size_other(subject))
		return false;
	if (!pyh_subject_get(subject, PYH_MODULE_MD_STATE, &state) ||
	    state == 0)
		return true;
	if (pyh_has(runtime, PYH_MODULE_MD_STATE_SIZE))
		(void)pyh_subject_get(subject, PYH_MODULE_MD_STATE_SIZE, &size);
	else if (pyh_subject_get(subject, PYH_MODULE_MD_DEF, &def))
		(void)pyh_subject_at(subject, def, PYH_MODULEDEF_M_SIZE, &size);
	if (size > MODULE_STATE_MAX)
		return false;
	return pyh_subject_claim(subject, state, size);
}
