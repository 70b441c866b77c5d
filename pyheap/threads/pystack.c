/*
 * Python's threads and what each was running; see pystack.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/threads/pystack.h"

#include "pyheap/threads/pyline.h"
#include "pyheap/types/pytypes.h"

enum {
	/* enum _frameowner: from here on it is nobody's function. 3.12 and
	   3.13: FRAME_OWNED_BY_CSTACK; 3.14: FRAME_OWNED_BY_INTERPRETER too. */
	OWNER_NO_FUNCTION = 3,
	/* Low bits of a _PyStackRef are tags. */
	TAG_BITS = 7,
	/* Between functions there is one at most; more are no stack. */
	PASSED_MAX = 16,
	LOCALS_MAX = 1 << 16,	/* variables of one frame */
	HANDLERS_MAX = 1 << 16,	/* generators that run inside each other */
};

static struct pyh_thread read_thread(const struct pyh_runtime *runtime,
				     struct memory_reader *memory,
				     uint64_t address, size_t interpreter)
{
	struct pyh_thread thread = {
		.address = address,
		.interpreter = interpreter,
	};

	(void)pyh_field(runtime, memory, address, PYH_TSTATE_THREAD_ID,
			&thread.ident);
	(void)pyh_field(runtime, memory, address, PYH_TSTATE_NATIVE_THREAD_ID,
			&thread.native);
	return thread;
}

void pyh_threads_each(const struct pyh_runtime *runtime,
		      struct memory_reader *memory, pyh_thread_fn *fn,
		      void *context)
{
	size_t left = PYH_STACK_THREADS_MAX;

	for (size_t i = 0; i < runtime->num_interpreters; i++) {
		uint64_t at = runtime->interpreters[i].first_thread, interp;
		uint64_t mark = 0;

		for (size_t n = 0; at != 0 && at != mark && left > 0;
		     n++, left--) {
			struct pyh_thread thread;

			// A damaged list may be a circle: see pyh_frames_each().
			if ((n & (n - 1)) == 0)
				mark = at;
			if (!pyh_field(runtime, memory, at, PYH_TSTATE_INTERP,
				       &interp) ||
			    interp != runtime->interpreters[i].address)
				break;
			thread = read_thread(runtime, memory, at, i);
			if (!fn(context, &thread))
				return;
			if (!pyh_field(runtime, memory, at, PYH_TSTATE_NEXT,
				       &at))
				break;
		}
	}
}

/** The innermost frame; 0: it runs none. */
static bool first_frame(const struct pyh_runtime *runtime,
			struct memory_reader *memory, uint64_t thread,
			uint64_t *ret)
{
	uint64_t cframe;

	if (pyh_has(runtime, PYH_TSTATE_CURRENT_FRAME))
		return pyh_field(runtime, memory, thread,
				 PYH_TSTATE_CURRENT_FRAME, ret);
	if (!pyh_has(runtime, PYH_CFRAME_CURRENT_FRAME))
		return pyh_field(runtime, memory, thread, PYH_TSTATE_FRAME,
				 ret);
	*ret = 0;
	return pyh_field(runtime, memory, thread, PYH_TSTATE_CFRAME, &cframe) &&
	       (cframe == 0 || pyh_field(runtime, memory, cframe,
					 PYH_CFRAME_CURRENT_FRAME, ret));
}

static bool is_str(const struct pyh_runtime *runtime,
		   struct memory_reader *memory, uint64_t address)
{
	uint64_t type;

	return pyh_field(runtime, memory, address, PYH_OBJECT_OB_TYPE, &type) &&
	       type == runtime->types.str;
}

/** False where it is no code object, told by what names it. */
static bool read_code(const struct pyh_runtime *runtime,
		      struct memory_reader *memory, struct pyh_frame *frame)
{
	uint64_t line;

	if (!pyh_field(runtime, memory, frame->code, PYH_CODE_CO_NAME,
		       &frame->name) ||
	    !pyh_field(runtime, memory, frame->code, PYH_CODE_CO_FILENAME,
		       &frame->filename) ||
	    !is_str(runtime, memory, frame->name) ||
	    !is_str(runtime, memory, frame->filename))
		return false;
	if (pyh_field(runtime, memory, frame->code, PYH_CODE_CO_QUALNAME,
		      &frame->qualname) &&
	    !is_str(runtime, memory, frame->qualname))
		frame->qualname = 0;
	if (pyh_field(runtime, memory, frame->code, PYH_CODE_CO_FIRSTLINENO,
		      &line))
		frame->first_line = (uint32_t)line;
	return true;
}

/** Up to 3.10: an object. */
static bool read_frame_object(const struct pyh_runtime *runtime,
			      struct memory_reader *memory,
			      struct pyh_frame *frame, uint64_t *ret_next)
{
	frame->entry = true;
	return pyh_field(runtime, memory, frame->address, PYH_FRAME_F_CODE,
			 &frame->code) &&
	       pyh_field(runtime, memory, frame->address, PYH_FRAME_F_BACK,
			 ret_next);
}

/** Is what called a frame of 3.11 and later C code? */
static bool is_entry(const struct pyh_runtime *runtime,
		     struct memory_reader *memory, uint64_t frame,
		     uint64_t caller)
{
	uint64_t entry, owner;

	if (pyh_has(runtime, PYH_IFRAME_IS_ENTRY))
		return pyh_field(runtime, memory, frame, PYH_IFRAME_IS_ENTRY,
				 &entry) && entry != 0;
	return caller == 0 ||
	       (pyh_field(runtime, memory, caller, PYH_IFRAME_OWNER, &owner) &&
		owner >= OWNER_NO_FUNCTION);
}

/** From 3.11 on. One of the interpreter's own has no code for anybody. */
static bool read_internal_frame(const struct pyh_runtime *runtime,
				struct memory_reader *memory,
				struct pyh_frame *frame, uint64_t *ret_next)
{
	enum pyh_field code = pyh_has(runtime, PYH_IFRAME_F_EXECUTABLE) ?
		PYH_IFRAME_F_EXECUTABLE : PYH_IFRAME_F_CODE;
	uint64_t owner;

	if (!pyh_field(runtime, memory, frame->address, code, &frame->code) ||
	    !pyh_field(runtime, memory, frame->address, PYH_IFRAME_OWNER,
		       &owner) ||
	    !pyh_field(runtime, memory, frame->address, PYH_IFRAME_PREVIOUS,
		       ret_next))
		return false;
	frame->code &= ~(uint64_t)TAG_BITS;
	if (owner >= OWNER_NO_FUNCTION)
		frame->code = 0;
	else
		frame->entry = is_entry(runtime, memory, frame->address,
					*ret_next);
	// What it is called from is a frame that the loop has among its own
	// variables, since 3.12.
	if (frame->entry && !pyh_has(runtime, PYH_IFRAME_IS_ENTRY))
		frame->loop = *ret_next;
	return true;
}

static void read_line(const struct pyh_runtime *runtime,
		      struct memory_reader *memory, struct pyh_frame *frame)
{
	uint64_t at, copy = 0;
	int64_t bytes;

	if (!pyh_has(runtime, PYH_IFRAME_PREVIOUS)) {
		if (!pyh_field(runtime, memory, frame->address,
			       PYH_FRAME_F_LASTI, &at))
			return;
		// Since 3.10 it counts instructions.
		bytes = (int32_t)at;
		bytes *= runtime->minor >= 10 && bytes > 0 ? 2 : 1;
	} else {
		if (!pyh_field(runtime, memory, frame->address,
			       pyh_has(runtime, PYH_IFRAME_INSTR_PTR) ?
			       PYH_IFRAME_INSTR_PTR : PYH_IFRAME_PREV_INSTR,
			       &at))
			return;
		(void)pyh_field(runtime, memory, frame->address,
				PYH_IFRAME_TLBC_INDEX, &copy);
		bytes = pyh_instruction_at(runtime, memory, frame->code, at,
					   copy);
	}
	frame->line = pyh_line(runtime, memory, frame->code, bytes);
}

enum pyh_frames_end
pyh_frames_each(const struct pyh_runtime *runtime,
		struct memory_reader *memory,
		const struct pyh_thread *thread, pyh_frame_fn *fn,
		void *context)
{
	uint64_t at, next, mark = 0;
	size_t passed = 0;

	if (!first_frame(runtime, memory, thread->address, &at))
		return PYH_FRAMES_UNREADABLE;
	for (size_t i = 0; at != 0; i++) {
		struct pyh_frame frame = { .address = at };

		if (at == mark)
			return PYH_FRAMES_CIRCLE;
		if (i >= PYH_STACK_FRAMES_MAX)
			return PYH_FRAMES_TOO_MANY;
		// Whoever goes in a circle comes by a mark that is far enough
		// along, and is not moved until the circle has been gone round.
		if ((i & (i - 1)) == 0)
			mark = at;
		if (!(pyh_has(runtime, PYH_IFRAME_PREVIOUS) ?
			      read_internal_frame : read_frame_object)
		    (runtime, memory, &frame, &next))
			return PYH_FRAMES_UNREADABLE;
		if (frame.code != 0 && !read_code(runtime, memory, &frame))
			frame.code = 0;
		if (frame.code != 0)
			read_line(runtime, memory, &frame);
		passed = frame.code != 0 ? 0 : passed + 1;
		if (passed > PASSED_MAX)
			return PYH_FRAMES_UNREADABLE;
		if (frame.code != 0 && !fn(context, &frame))
			return PYH_FRAMES_WHOLE;
		at = next;
	}
	return PYH_FRAMES_WHOLE;
}

const char *pyh_frames_end_text(enum pyh_frames_end end)
{
	switch (end) {
	case PYH_FRAMES_WHOLE:
		return NULL;
	case PYH_FRAMES_UNREADABLE:
		return "the next Python frame is not in the dump, or damaged";
	case PYH_FRAMES_CIRCLE:
		return "the next Python frame is one of these again: damaged";
	case PYH_FRAMES_TOO_MANY:
		return "there are more Python frames than are followed";
	}
	return NULL;
}

bool pyh_frame_of_object(const struct pyh_runtime *runtime,
			 struct memory_reader *memory, uint64_t object,
			 struct pyh_frame *ret)
{
	struct pyh_frame frame = { .address = object };
	uint64_t next;

	if (pyh_has(runtime, PYH_IFRAME_PREVIOUS) &&
	    !pyh_field(runtime, memory, object, PYH_FRAME_F_FRAME,
		       &frame.address))
		return false;
	if (!(pyh_has(runtime, PYH_IFRAME_PREVIOUS) ?
		      read_internal_frame : read_frame_object)
	    (runtime, memory, &frame, &next) ||
	    frame.code == 0 || !read_code(runtime, memory, &frame))
		return false;
	read_line(runtime, memory, &frame);
	*ret = frame;
	return true;
}

bool pyh_frame_of_code(const struct pyh_runtime *runtime,
		       struct memory_reader *memory, uint64_t code, int64_t at,
		       struct pyh_frame *ret)
{
	struct pyh_frame frame = { .code = code };

	if (code == 0 || !read_code(runtime, memory, &frame))
		return false;
	frame.line = pyh_line(runtime, memory, code, at);
	*ret = frame;
	return true;
}

/* --- variables ------------------------------------------------------------- */

/** Up to 3.10: how many there are of all kinds. */
static uint64_t count_old_locals(const struct pyh_runtime *runtime,
				 struct memory_reader *memory, uint64_t code)
{
	static const enum pyh_field tuples[] = { PYH_CODE_CO_CELLVARS,
						 PYH_CODE_CO_FREEVARS };
	uint64_t count = 0, tuple, size;

	(void)pyh_field(runtime, memory, code, PYH_CODE_CO_NLOCALS, &count);
	for (size_t i = 0; i < 2; i++)
		if (pyh_field(runtime, memory, code, tuples[i], &tuple) &&
		    pyh_field(runtime, memory, tuple, PYH_VAR_OB_SIZE, &size) &&
		    size < LOCALS_MAX)
			count += size;
	return count;
}

void pyh_locals_each(const struct pyh_runtime *runtime,
		     struct memory_reader *memory,
		     const struct pyh_frame *frame, pyh_local_fn *fn,
		     void *context)
{
	bool old = !pyh_has(runtime, PYH_IFRAME_PREVIOUS);
	uint64_t count = 0, word;
	uint64_t at = frame->address +
		      pyh_offset(runtime, old ? PYH_FRAME_F_LOCALSPLUS :
				 PYH_IFRAME_LOCALSPLUS);

	if (old)
		count = count_old_locals(runtime, memory, frame->code);
	else
		(void)pyh_field(runtime, memory, frame->code,
				PYH_CODE_CO_NLOCALSPLUS, &count);
	for (uint64_t i = 0; i < count && i < LOCALS_MAX; i++) {
		if (!memory_try_u64(memory, at + i * 8, &word))
			return;
		// Since 3.14 the two lowest bits are a tag; 3: a small int.
		if (runtime->minor >= 14 && (word & 3) == 3)
			continue;
		word &= ~(uint64_t)(runtime->minor >= 14 ? 3 : 0);
		if (word != 0 && !fn(context, i, word))
			return;
	}
}

/* --- the lock and exceptions ----------------------------------------------- */

static bool is_thread(const struct pyh_runtime *runtime,
		      struct memory_reader *memory, uint64_t thread,
		      size_t interpreter)
{
	uint64_t interp;

	return thread != 0 &&
	       pyh_field(runtime, memory, thread, PYH_TSTATE_INTERP,
			 &interp) &&
	       interp == runtime->interpreters[interpreter].address;
}

bool pyh_gil_holder(const struct pyh_runtime *runtime,
		    struct memory_reader *memory, size_t interpreter,
		    uint64_t *ret)
{
	uint64_t gil, locked, holder;

	if (pyh_has(runtime, PYH_RUNTIME_GIL_LOCKED)) {
		if (!pyh_field(runtime, memory, runtime->address,
			       PYH_RUNTIME_GIL_LOCKED, &locked) ||
		    !pyh_field(runtime, memory, runtime->address,
			       PYH_RUNTIME_GIL_LAST_HOLDER, &holder))
			return false;
	} else if (!pyh_field(runtime, memory,
			      runtime->interpreters[interpreter].address,
			      PYH_INTERP_CEVAL_GIL, &gil) ||
		   !pyh_field(runtime, memory, gil, PYH_GIL_LOCKED, &locked) ||
		   !pyh_field(runtime, memory, gil, PYH_GIL_LAST_HOLDER,
			      &holder)) {
		return false;
	}
	*ret = holder;
	return locked == 1 && is_thread(runtime, memory, holder, interpreter);
}

/** None stands for no exception up to 3.10. */
static uint64_t exception_at(const struct pyh_runtime *runtime,
			     struct memory_reader *memory, uint64_t address)
{
	uint64_t type, flags;

	return address != 0 &&
	       pyh_field(runtime, memory, address, PYH_OBJECT_OB_TYPE, &type) &&
	       pyh_field(runtime, memory, type, PYH_TYPE_TP_FLAGS, &flags) &&
	       flags & PYH_TPFLAGS_BASE_EXC_SUBCLASS ? address : 0;
}

void pyh_thread_exceptions(const struct pyh_runtime *runtime,
			   struct memory_reader *memory,
			   const struct pyh_thread *thread,
			   struct pyh_thread_exceptions *ret)
{
	uint64_t item, value;

	*ret = (struct pyh_thread_exceptions){ 0 };
	if (pyh_field(runtime, memory, thread->address,
		      pyh_has(runtime, PYH_TSTATE_CURRENT_EXCEPTION) ?
		      PYH_TSTATE_CURRENT_EXCEPTION : PYH_TSTATE_CUREXC_VALUE,
		      &value))
		ret->raised = exception_at(runtime, memory, value);
	if (!pyh_field(runtime, memory, thread->address, PYH_TSTATE_EXC_INFO,
		       &item))
		return;
	for (int i = 0; i < HANDLERS_MAX && item != 0 && !ret->handled; i++) {
		if (!pyh_field(runtime, memory, item,
			       PYH_ERRSTACKITEM_EXC_VALUE, &value))
			return;
		ret->handled = exception_at(runtime, memory, value);
		if (!pyh_field(runtime, memory, item,
			       PYH_ERRSTACKITEM_PREVIOUS_ITEM, &item))
			return;
	}
}
