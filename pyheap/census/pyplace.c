/*
 * Where fields are that nothing confirms; see pyplace.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pyplace.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/*
 * Fields of an interpreter and of the runtime that were believed for what they
 * hold. Others are as far from the nearest of these as the table has them.
 */
static const enum pyh_field anchors[] = {
	PYH_INTERP_NEXT, PYH_INTERP_TSTATE_HEAD, PYH_INTERP_THREADS_HEAD,
	PYH_INTERP_GC, PYH_INTERP_MODULES, PYH_INTERP_IMPORTS_MODULES,
	PYH_INTERP_SYSDICT, PYH_INTERP_BUILTINS, PYH_INTERP_GIL,
	PYH_INTERP_OBMALLOC, PYH_INTERP_TYPES_BUILTINS,
	PYH_INTERP_CACHED_OBJECTS_INTERNED_STRINGS,
	PYH_RUNTIME_INTERPRETERS_HEAD, PYH_RUNTIME_PRECONFIG_ALLOCATOR,
	PYH_RUNTIME_STATIC_OBJECTS,
};

/** Bytes that the field is moved by, against the table. */
static uint32_t moved_by(const struct pyh_runtime *runtime,
			 enum pyh_field field)
{
	const struct pyh_field_at *table = runtime->layout->at;
	enum pyh_struct structure = pyh_field_owner(field);
	uint32_t nearest = UINT32_MAX, moved = 0;

	for (size_t i = 0; i < COUNT(anchors); i++) {
		uint32_t here = table[field].offset;
		uint32_t there = table[anchors[i]].offset;
		uint32_t distance = here > there ? here - there : there - here;

		if (table[anchors[i]].size == 0 ||
		    !pyh_has(runtime, anchors[i]) ||
		    pyh_field_owner(anchors[i]) != structure ||
		    distance >= nearest)
			continue;
		nearest = distance;
		moved = pyh_offset(runtime, anchors[i]) - there;
	}
	return moved;
}

struct pyh_field_at pyh_place_of(const struct pyh_runtime *runtime,
				 enum pyh_field field)
{
	struct pyh_field_at at = runtime->layout->at[field];

	switch (pyh_field_owner(field)) {
	case PYH_STRUCT_INTERP:
	case PYH_STRUCT_RUNTIME:
		at.offset += at.size ? moved_by(runtime, field) : 0;
		return at;
	case PYH_STRUCT_TSTATEIMPL:
		// Of a micro release that is known to differ, as the table says.
		if (runtime->at[field].offset != at.offset)
			return runtime->at[field];
		// It begins with a PyThreadState, which tells its own size.
		at.offset += runtime->size_of[PYH_STRUCT_TSTATE] -
			     runtime->layout->size_of[PYH_STRUCT_TSTATE];
		return at;
	default:
		return runtime->at[field];
	}
}
