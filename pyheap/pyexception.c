/*
 * An exception, and where it was raised; see pyexception.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/pyexception.h"

#include "pyheap/pyline.h"
#include "pyheap/pytypes.h"

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

/** The innermost entry is the last one. */
static uint64_t last_traceback(const struct pyh_runtime *runtime,
			       struct memory_reader *memory, uint64_t traceback)
{
	for (int i = 0; i < PYH_TRACEBACKS_MAX; i++) {
		uint64_t next = object_at(runtime, memory, traceback,
					  PYH_TRACEBACK_TB_NEXT);

		if (next == 0)
			return traceback;
		traceback = next;
	}
	return 0;
}

static bool read_place(const struct pyh_runtime *runtime,
		       struct memory_reader *memory, uint64_t traceback,
		       struct pyh_frame *ret)
{
	uint64_t frame, line, at;

	traceback = last_traceback(runtime, memory, traceback);
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

bool pyh_exception_read(const struct pyh_runtime *runtime,
			struct memory_reader *memory, uint64_t address,
			struct pyh_exception *ret)
{
	uint64_t ignored, traceback;

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
	traceback = object_at(runtime, memory, address,
			      PYH_EXCEPTION_TRACEBACK);
	ret->has_place = traceback != 0 &&
			 read_place(runtime, memory, traceback, &ret->place);
	return true;
}
