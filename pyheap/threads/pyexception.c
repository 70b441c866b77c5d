/*
 * An exception, and where it was raised; see pyexception.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/threads/pyexception.h"

#include "pyheap/threads/pyline.h"
#include "pyheap/types/pytypes.h"
#include "pyheap/values/pydict.h"

enum { SYS_MAX = 1 << 16 };	/* entries of sys.__dict__ that are looked at */

/** A field that is an object; 0: it is None, absent or not to be had. */
static uint64_t object_at(const struct pyh_runtime *runtime,
			  struct memory_reader *memory, uint64_t structure,
			  enum pyh_field field)
{
	uint64_t address;

	return pyh_field(runtime, memory, structure, field, &address) ?
		       address : 0;
}

/** Of an exception only: causes and contexts may be None. */
static uint64_t exception_at(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t address,
			     uint64_t *ret_type)
{
	uint64_t type = object_at(runtime, memory, address,
				  PYH_OBJECT_OB_TYPE);
	uint64_t flags;

	if (address == 0 || type == 0 ||
	    !pyh_field(runtime, memory, type, PYH_TYPE_TP_FLAGS, &flags) ||
	    !(flags & PYH_TPFLAGS_BASE_EXC_SUBCLASS))
		return 0;
	*ret_type = type;
	return address;
}

/** The innermost entries are the last ones: those, the innermost first. */
static size_t last_tracebacks(const struct pyh_runtime *runtime,
			      struct memory_reader *memory, uint64_t traceback,
			      uint64_t *ret, size_t most)
{
	uint64_t ring[PYH_PLACES_MAX];
	size_t count = 0, kept;

	for (; traceback != 0; count++) {
		if (count == PYH_TRACEBACKS_MAX)
			return 0;
		ring[count % PYH_PLACES_MAX] = traceback;
		traceback = object_at(runtime, memory, traceback,
				      PYH_TRACEBACK_TB_NEXT);
	}
	kept = count < most ? count : most;
	kept = kept < PYH_PLACES_MAX ? kept : PYH_PLACES_MAX;
	for (size_t i = 0; i < kept; i++)
		ret[i] = ring[(count - 1 - i) % PYH_PLACES_MAX];
	return kept;
}

static bool read_place(const struct pyh_runtime *runtime,
		       struct memory_reader *memory, uint64_t traceback,
		       struct pyh_frame *ret)
{
	uint64_t frame, line, at;

	frame = object_at(runtime, memory, traceback, PYH_TRACEBACK_TB_FRAME);
	if (frame == 0 || !pyh_frame_of_object(runtime, memory, frame, ret) ||
	    !pyh_field(runtime, memory, traceback, PYH_TRACEBACK_TB_LINENO,
		       &line))
		return false;
	// Since 3.11 -1 until somebody asks. It counts bytes there.
	if ((int32_t)line > 0)
		ret->line = (uint32_t)line;
	else if (pyh_field(runtime, memory, traceback, PYH_TRACEBACK_TB_LASTI,
			   &at))
		ret->line = pyh_line(runtime, memory, ret->code, (int32_t)at);
	return true;
}

size_t pyh_exception_places(const struct pyh_runtime *runtime,
			    struct memory_reader *memory, uint64_t address,
			    struct pyh_frame *ret, size_t most)
{
	uint64_t tracebacks[PYH_PLACES_MAX];
	uint64_t first = object_at(runtime, memory, address,
				   PYH_EXCEPTION_TRACEBACK);
	size_t count = last_tracebacks(runtime, memory, first, tracebacks,
				       most), i = 0;

	while (i < count && read_place(runtime, memory, tracebacks[i], &ret[i]))
		i++;
	return i;
}

uint64_t pyh_exception_argument(const struct pyh_runtime *runtime,
				struct memory_reader *memory, uint64_t address)
{
	uint64_t args = object_at(runtime, memory, address,
				  PYH_EXCEPTION_ARGS);
	uint64_t type = object_at(runtime, memory, args, PYH_OBJECT_OB_TYPE);
	uint64_t flags, count, item;

	if (args == 0 || type == 0 || !pyh_has(runtime, PYH_TUPLE_OB_ITEM) ||
	    !pyh_field(runtime, memory, type, PYH_TYPE_TP_FLAGS, &flags) ||
	    !(flags & PYH_TPFLAGS_TUPLE_SUBCLASS) ||
	    !pyh_field(runtime, memory, args, PYH_VAR_OB_SIZE, &count) ||
	    count == 0 ||
	    !memory_try_u64(memory, args + pyh_offset(runtime,
						      PYH_TUPLE_OB_ITEM),
			    &item))
		return 0;
	return item;
}

bool pyh_exception_read(const struct pyh_runtime *runtime,
			struct memory_reader *memory, uint64_t address,
			struct pyh_exception *ret)
{
	uint64_t ignored;

	*ret = (struct pyh_exception){ 0 };
	ret->address = exception_at(runtime, memory, address, &ret->type);
	if (ret->address == 0)
		return false;
	ret->cause = exception_at(runtime, memory,
				  object_at(runtime, memory, address,
					    PYH_EXCEPTION_CAUSE), &ignored);
	ret->context = exception_at(runtime, memory,
				    object_at(runtime, memory, address,
					      PYH_EXCEPTION_CONTEXT), &ignored);
	ret->has_place = pyh_exception_places(runtime, memory, address,
					      &ret->place, 1) == 1;
	return true;
}

uint64_t pyh_uncaught_exception(const struct pyh_runtime *runtime,
				struct memory_reader *memory,
				size_t interpreter)
{
	// Since 3.12, and before.
	static const char *const names[] = { "last_exc", "last_value" };
	uint64_t values[2] = { 0 }, type;
	uint64_t sys = runtime->interpreters[interpreter].sysdict;
	uint64_t budget = SYS_MAX;

	if (sys == 0)
		return 0;
	(void)pyh_dict_find(runtime, memory, sys, names, 2, values, &budget);
	return exception_at(runtime, memory, values[0] ? values[0] : values[1],
			    &type);
}
