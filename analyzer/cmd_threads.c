/*
 * `threads`: what each thread was doing.
 * SPDX-License-Identifier: Apache-2.0
 *
 * No object is looked at but those that frames lead to.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/previews.h"
#include "analyzer/threadnames.h"
#include "analyzer/threadstacks.h"
#include "analyzer/threadwords.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/registers.h"
#include "pyheap/pyedgename.h"
#include "pyheap/pyexception.h"

enum {
	LINES_MAX = 60,		/* of one stack, for people */
	LINES_END = 20,		/* … of which the outermost ones */
	NUMBERS_MAX = 8,	/* threads of one stack that are listed */
	FUNCTION_WIDTH = 44,
};

enum thread_column {
	THREAD_TID,
	THREAD_NAME,
	THREAD_STATE,
	THREAD_GIL,
	THREAD_PYTHON,
	THREAD_NATIVE,
	THREAD_SIGNAL,
	THREAD_WHERE,
	THREAD_INCOMPLETE,
	THREAD_IDENT,
	NUM_THREAD_COLUMNS
};

static const struct column thread_columns[NUM_THREAD_COLUMNS] = {
	[THREAD_TID] = { .key = "tid", .title = "tid", .unit = UNIT_ID,
		.about = "the kernel's number of the thread" },
	[THREAD_NAME] = { .key = "name", .title = "name", .unit = UNIT_TEXT,
		.about = "as threading calls it, else as the kernel does" },
	[THREAD_STATE] = { .key = "state", .title = "state", .unit = UNIT_TEXT,
		.about = "running, sleeping, disk, stopped: what the kernel "
			 "said, in heapdump's dumps" },
	[THREAD_GIL] = { .key = "gil", .title = "gil", .unit = UNIT_TEXT,
		.about = "held, waiting (for it), none; absent where the thread "
			 "is not Python's" },
	[THREAD_PYTHON] = { .key = "python_frames", .title = "python", .unit = UNIT_COUNT,
		.about = "frames of Python code" },
	[THREAD_NATIVE] = { .key = "native_frames", .title = "native", .unit = UNIT_COUNT,
		.about = "frames of native code, the interpreter's own included" },
	[THREAD_SIGNAL] = { .key = "signal", .title = "signal", .unit = UNIT_TEXT,
		.about = "what ended the process, at the thread that it came "
			 "to", .hidden = true },
	[THREAD_WHERE] = { .key = "where", .title = "where", .unit = UNIT_TEXT,
		.about = "the innermost native and Python functions" },
	[THREAD_INCOMPLETE] = { .key = "incomplete", .title = "incomplete", .unit = UNIT_TEXT,
		.about = "why the native stack does not reach its end; absent: "
			 "it does", .hidden = true },
	[THREAD_IDENT] = { .key = "ident", .title = "ident", .unit = UNIT_ID,
		.about = "threading.get_ident()", .hidden = true },
};

enum {
	TOTAL_THREADS, TOTAL_PYTHON, TOTAL_HOLDER, TOTAL_SIGNAL,
	TOTAL_FAULT, TOTAL_FAULT_AT, TOTAL_INCOMPLETE, NUM_TOTALS
};

static const struct column thread_totals[NUM_TOTALS] = {
	[TOTAL_THREADS] = { .key = "threads", .unit = UNIT_COUNT,
		.about = "threads of the process" },
	[TOTAL_PYTHON] = { .key = "python_threads", .unit = UNIT_COUNT,
		.about = "those that have a state of Python's" },
	[TOTAL_HOLDER] = { .key = "gil_holder", .unit = UNIT_ID,
		.about = "tid of the thread that holds the interpreter's lock" },
	[TOTAL_SIGNAL] = { .key = "signal", .unit = UNIT_TEXT,
		.about = "the signal that ended the process" },
	[TOTAL_FAULT] = { .key = "fault_address", .unit = UNIT_ADDRESS,
		.about = "the address that was touched, of SIGSEGV and SIGBUS" },
	[TOTAL_FAULT_AT] = { .key = "fault", .unit = UNIT_TEXT,
		.about = "what is at that address" },
	[TOTAL_INCOMPLETE] = { .key = "incomplete", .unit = UNIT_COUNT,
		.about = "threads whose stack could not be followed to its end" },
};

static struct error *run(struct scan *scan);

const struct view cmd_threads_view = {
	.name = "threads",
	.bit = VIEW_THREADS,
	.about = "what each thread was doing: Python's and native frames",
	.columns = thread_columns,
	.num_columns = NUM_THREAD_COLUMNS,
	.totals = thread_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"The innermost frame comes first. Where C code calls Python and Python C, their\n"
"frames stand in the order of the calls. Threads at the same place are shown\n"
"once. The interpreter's own functions are left out for people unless -v is\n"
"given. --locals adds the variables of each Python frame, with their types, and\n"
"with --values what is in them. --native-only does without Python.\n"
"A row has `python`, `native` and `merged` in JSON: arrays of frames, the last\n"
"of them both in one order; `exceptions`: those under way in the thread; and\n"
"`registers`, of a thread that a signal ended or with -v of all.\n",
};

/** All that is printed. */
struct threads_view {
	struct scan *scan;
	struct image *image;
	struct pyh_runtime *runtime;	/* NULL: none, or not wanted */
	struct thread_stacks stacks;
	struct thread_names *names;
	struct previews *previews;	/* NULL: values are not shown */
	size_t shown;
};

static void threads_view_deinit(struct threads_view *view)
{
	previews_close(view->previews);
	thread_names_close(view->names);
	thread_stacks_deinit(&view->stacks);
}

/* --- texts ------------------------------------------------------------------ */

/** "function+0x1f", or where it is in its module. */
static void native_text(const struct stack_native *native, char text[THREAD_TEXT_MAX])
{
	char function[THREAD_TEXT_MAX];
	const char *name = thread_words_function(native, function);

	(void)snprintf(text, THREAD_TEXT_MAX, "%.480s+0x%" PRIx64,
		       name ? name : native->module ? thread_words_module(native) : "?",
		       native->offset);
}

static const char *state_text(const struct thread_stack *stack)
{
	switch (stack->core ? stack->core->state : '\0') {
	case 'R':
		return "running";
	case 'S':
		return "sleeping";
	case 'D':
		return "disk";
	case 'T':
	case 't':
		return "stopped";
	case 'Z':
	case 'X':
		return "dead";
	case 'I':
		return "idle";
	default:
		return NULL;
	}
}

static const char *gil_text(const struct thread_stack *stack)
{
	return !stack->python_state ? NULL :
	       stack->has_gil ? "held" :
	       stack->waits_for_gil ? "waiting" : "none";
}

/* --- rows ------------------------------------------------------------------- */

struct row_texts {
	char name[THREAD_TEXT_MAX], where[THREAD_TEXT_MAX], signal[32];
	char incomplete[THREAD_TEXT_MAX];
};

static void row_cells(const struct threads_view *view,
		      const struct thread_stack *stack, struct row_texts *texts,
		      struct cell cells[NUM_THREAD_COLUMNS])
{
	const char *why = unwind_end_text(stack->end);

	for (int i = 0; i < NUM_THREAD_COLUMNS; i++)
		cells[i] = cell_unknown();
	if (stack->core)
		cells[THREAD_TID] = cell_number(UNIT_ID, stack->core->tid);
	cells[THREAD_NAME] = cell_text(thread_words_name(view->names, stack, texts->name));
	cells[THREAD_STATE] = cell_text(state_text(stack));
	cells[THREAD_GIL] = cell_text(gil_text(stack));
	if (stack->python_state)
		cells[THREAD_PYTHON] = cell_number(UNIT_COUNT,
						   stack->num_python);
	cells[THREAD_NATIVE] = cell_number(UNIT_COUNT, stack->num_native);
	cells[THREAD_SIGNAL] = cell_text(thread_words_signal(
		stack->core ? stack->core->signal : 0, texts->signal));
	thread_words_where(view->names, stack, /* places= */ false,
			   texts->where);
	cells[THREAD_WHERE] = cell_text(texts->where[0] ? texts->where : NULL);
	if (why) {
		(void)snprintf(texts->incomplete, THREAD_TEXT_MAX, "at 0x%" PRIx64
			       ": %s", stack->end_at, why);
		cells[THREAD_INCOMPLETE] = cell_text(texts->incomplete);
	} else if (stack->python_cut) {
		cells[THREAD_INCOMPLETE] =
			cell_text("a Python frame is not in the dump");
	}
	if (stack->ident)
		cells[THREAD_IDENT] = cell_number(UNIT_ID, stack->ident);
}

/* --- JSON ------------------------------------------------------------------- */

enum {
	FRAME_KIND, FRAME_FUNCTION, FRAME_QUALNAME, FRAME_FILE, FRAME_LINE, FRAME_MODULE,
	FRAME_OFFSET, FRAME_PC, FRAME_INDEX, NUM_FRAME_COLUMNS
};

static const struct column frame_columns[NUM_FRAME_COLUMNS] = {
	[FRAME_KIND] = { .key = "kind", .unit = UNIT_TEXT },
	[FRAME_FUNCTION] = { .key = "function", .unit = UNIT_TEXT },
	[FRAME_QUALNAME] = { .key = "qualname", .unit = UNIT_TEXT },
	[FRAME_FILE] = { .key = "file", .unit = UNIT_TEXT },
	[FRAME_LINE] = { .key = "line", .unit = UNIT_ID },
	[FRAME_MODULE] = { .key = "module", .unit = UNIT_TEXT },
	[FRAME_OFFSET] = { .key = "offset", .unit = UNIT_ID },
	[FRAME_PC] = { .key = "pc", .unit = UNIT_ADDRESS },
	[FRAME_INDEX] = { .key = "frame", .unit = UNIT_ID },
};

static void put_python_frame(const struct threads_view *view,
			     const struct thread_stack *stack, size_t i)
{
	const struct pyh_frame *frame = &stack->python[i];
	char function[THREAD_TEXT_MAX], qualname[THREAD_TEXT_MAX];
	char file[THREAD_TEXT_MAX];
	struct cell cells[NUM_FRAME_COLUMNS] = {
		[FRAME_KIND] = cell_text("python"),
	};

	if (thread_names_str(view->names, frame->name, function))
		cells[FRAME_FUNCTION] = cell_text(function);
	if (thread_names_str(view->names, frame->qualname, qualname))
		cells[FRAME_QUALNAME] = cell_text(qualname);
	if (thread_names_str(view->names, frame->filename, file))
		cells[FRAME_FILE] = cell_text(file);
	if (frame->line)
		cells[FRAME_LINE] = cell_number(UNIT_ID, frame->line);
	cells[FRAME_INDEX] = cell_number(UNIT_ID, i);
	render_nested_row(&view->scan->render, frame_columns, cells,
			  NUM_FRAME_COLUMNS);
}

static void put_native_frame(const struct threads_view *view,
			     const struct thread_stack *stack, size_t i)
{
	const struct stack_native *native = &stack->native[i];
	struct cell cells[NUM_FRAME_COLUMNS] = {
		[FRAME_KIND] = cell_text("native"),
	};
	char function[THREAD_TEXT_MAX];
	struct native_line line;

	cells[FRAME_FUNCTION] = cell_text(thread_words_function(native, function));
	if (unwinder_line(view->stacks.unwinder, &native->frame, &line)) {
		cells[FRAME_FILE] = cell_text(line.file);
		cells[FRAME_LINE] = cell_number(UNIT_ID, (uint64_t)line.line);
	}
	if (native->module)
		cells[FRAME_MODULE] = cell_text(native->module->path);
	cells[FRAME_OFFSET] = cell_number(UNIT_ID, native->offset);
	cells[FRAME_PC] = cell_number(UNIT_ADDRESS, native->frame.pc);
	render_nested_row(&view->scan->render, frame_columns, cells,
			  NUM_FRAME_COLUMNS);
}

static void put_frames(const struct threads_view *view,
		       const struct thread_stack *stack)
{
	struct render *render = &view->scan->render;

	render_nested(render, "python");
	for (size_t i = 0; i < stack->num_python; i++)
		put_python_frame(view, stack, i);
	render_nested_end(render);
	render_nested(render, "native");
	for (size_t i = 0; i < stack->num_native; i++)
		put_native_frame(view, stack, i);
	render_nested_end(render);
	render_nested(render, "merged");
	for (size_t i = 0; i < stack->num_merged; i++)
		(stack->merged[i].is_python ? put_python_frame :
					      put_native_frame)
			(view, stack, stack->merged[i].index);
	render_nested_end(render);
}

enum { EXCEPTION_HOW, EXCEPTION_TYPE, EXCEPTION_ADDRESS, EXCEPTION_FUNCTION,
       EXCEPTION_QUALNAME, EXCEPTION_FILE, EXCEPTION_LINE, EXCEPTION_PREVIEW,
       NUM_EXCEPTION_COLUMNS };

static const struct column exception_columns[NUM_EXCEPTION_COLUMNS] = {
	[EXCEPTION_HOW] = { .key = "how", .unit = UNIT_TEXT },
	[EXCEPTION_TYPE] = { .key = "type", .unit = UNIT_TEXT },
	[EXCEPTION_ADDRESS] = { .key = "address", .unit = UNIT_ADDRESS },
	[EXCEPTION_FUNCTION] = { .key = "function", .unit = UNIT_TEXT },
	[EXCEPTION_QUALNAME] = { .key = "qualname", .unit = UNIT_TEXT },
	[EXCEPTION_FILE] = { .key = "file", .unit = UNIT_TEXT },
	[EXCEPTION_LINE] = { .key = "line", .unit = UNIT_ID },
	[EXCEPTION_PREVIEW] = { .key = "preview", .unit = UNIT_TEXT },
};

/** What an exception is to the one told before: NULL ends the chain. */
typedef void exception_fn(const struct threads_view *view, const char *how,
			  const struct pyh_exception *exception);

/** Tell an exception and those that it came from. */
static void each_exception(const struct threads_view *view, const char *how,
			   uint64_t address, exception_fn *fn)
{
	struct memory_reader *memory = thread_names_memory(view->names);
	struct pyh_exception exception;

	for (int i = 0; i < PYH_EXCEPTIONS_MAX && address != 0 &&
	     pyh_exception_read(view->runtime, memory, address, &exception);
	     i++) {
		fn(view, how, &exception);
		how = exception.cause ? "cause" : "context";
		address = exception.cause ? exception.cause : exception.context;
	}
}

static void put_exception(const struct threads_view *view, const char *how,
			  const struct pyh_exception *exception)
{
	char function[THREAD_TEXT_MAX], qualname[THREAD_TEXT_MAX];
	char file[THREAD_TEXT_MAX];
	struct cell cells[NUM_EXCEPTION_COLUMNS] = { 0 };
	char preview[PREVIEW_MAX];

	cells[EXCEPTION_HOW] = cell_text(how);
	cells[EXCEPTION_TYPE] = cell_text(thread_names_type(view->names,
							    exception->type));
	cells[EXCEPTION_ADDRESS] = cell_number(UNIT_ADDRESS,
					       exception->address);
	if (exception->has_place) {
		if (thread_names_str(view->names, exception->place.name,
				     function))
			cells[EXCEPTION_FUNCTION] = cell_text(function);
		if (thread_names_str(view->names, exception->place.qualname,
				     qualname))
			cells[EXCEPTION_QUALNAME] = cell_text(qualname);
		if (thread_names_str(view->names, exception->place.filename,
				     file))
			cells[EXCEPTION_FILE] = cell_text(file);
		if (exception->place.line)
			cells[EXCEPTION_LINE] =
				cell_number(UNIT_ID, exception->place.line);
	}
	cells[EXCEPTION_PREVIEW] = cell_text(previews_text(
		view->previews, exception->address, preview));
	render_nested_row(&view->scan->render, exception_columns, cells,
			  NUM_EXCEPTION_COLUMNS);
}

static void put_exceptions(const struct threads_view *view,
			   const struct thread_stack *stack)
{
	struct render *render = &view->scan->render;

	if (!stack->exceptions.raised && !stack->exceptions.handled)
		return;
	render_nested(render, "exceptions");
	each_exception(view, "raised", stack->exceptions.raised,
		       put_exception);
	each_exception(view, "handled", stack->exceptions.handled,
		       put_exception);
	render_nested_end(render);
}

enum { REGISTER_NAME, REGISTER_VALUE, NUM_REGISTER_COLUMNS };

static const struct column register_columns[NUM_REGISTER_COLUMNS] = {
	[REGISTER_NAME] = { .key = "name", .unit = UNIT_TEXT },
	[REGISTER_VALUE] = { .key = "value", .unit = UNIT_ADDRESS },
};

static bool shows_registers(const struct threads_view *view,
			    const struct thread_stack *stack)
{
	return stack->core && (stack->core->signal > 0 ||
			       view->scan->options->verbose);
}

static void put_registers(const struct threads_view *view,
			  const struct thread_stack *stack)
{
	struct render *render = &view->scan->render;
	char name[16];
	uint64_t value;

	if (!shows_registers(view, stack))
		return;
	render_nested(render, "registers");
	for (size_t i = 0; core_register_named(stack->core,
					       view->image->machine, i, name,
					       &value); i++) {
		struct cell cells[NUM_REGISTER_COLUMNS] = {
			cell_text(name), cell_number(UNIT_ADDRESS, value),
		};

		render_nested_row(render, register_columns, cells,
				  NUM_REGISTER_COLUMNS);
	}
	render_nested_end(render);
}

/* --- variables --------------------------------------------------------------- */

enum { LOCAL_FRAME, LOCAL_NAME, LOCAL_TYPE, LOCAL_ADDRESS, LOCAL_PREVIEW,
       NUM_LOCAL_COLUMNS };

static const struct column local_columns[NUM_LOCAL_COLUMNS] = {
	[LOCAL_FRAME] = { .key = "frame", .unit = UNIT_ID },
	[LOCAL_NAME] = { .key = "name", .unit = UNIT_TEXT },
	[LOCAL_TYPE] = { .key = "type", .unit = UNIT_TEXT },
	[LOCAL_ADDRESS] = { .key = "address", .unit = UNIT_ADDRESS },
	[LOCAL_PREVIEW] = { .key = "preview", .unit = UNIT_TEXT },
};

struct locals {
	const struct threads_view *view;
	const struct pyh_frame *frame;
	size_t index;		/* of the frame */
	bool lines;		/* for people */
};

static bool put_local(void *context, uint64_t index, uint64_t address)
{
	const struct locals *locals = context;
	const struct threads_view *view = locals->view;
	struct render *render = &view->scan->render;
	char name[THREAD_TEXT_MAX], preview[PREVIEW_MAX];
	char shown_name[RENDER_NAME_MAX], shown_type[RENDER_NAME_MAX];
	char shown_value[RENDER_NAME_MAX];
	const char *type, *value;

	if (!thread_names_local(view->names, locals->frame, index, name))
		return true;
	address = thread_names_out_of_cell(view->names, address);
	if (address == 0)
		return true;
	type = thread_names_type_of(view->names, address);
	value = previews_text(view->previews, address, preview);
	if (locals->lines) {
		render_line(render, "          %s: %s%s%s",
			    render_name(render, name, 40, shown_name),
			    render_name(render, type, 60, shown_type),
			    value ? " = " : "",
			    value ? render_name(render, value, 200,
						shown_value) : "");
	} else {
		struct cell cells[NUM_LOCAL_COLUMNS] = {
			cell_number(UNIT_ID, locals->index), cell_text(name),
			cell_text(type), cell_number(UNIT_ADDRESS, address),
			cell_text(value),
		};

		render_nested_row(render, local_columns, cells,
				  NUM_LOCAL_COLUMNS);
	}
	return true;
}

static void put_locals_of(const struct threads_view *view,
			  const struct thread_stack *stack, size_t i,
			  bool lines)
{
	struct locals locals = { view, &stack->python[i], i, lines };

	pyh_locals_each(view->runtime, thread_names_memory(view->names),
			&stack->python[i], put_local, &locals);
}

static void put_locals(const struct threads_view *view,
		       const struct thread_stack *stack)
{
	if (!view->scan->options->locals)
		return;
	render_nested(&view->scan->render, "locals");
	for (size_t i = 0; i < stack->num_python; i++)
		put_locals_of(view, stack, i, /* lines= */ false);
	render_nested_end(&view->scan->render);
}

/* --- for people -------------------------------------------------------------- */

static void print_python(const struct threads_view *view,
			 const struct thread_stack *stack, size_t i)
{
	struct render *render = &view->scan->render;
	char function[THREAD_TEXT_MAX], file[THREAD_TEXT_MAX];
	char name[RENDER_NAME_MAX], place[RENDER_NAME_MAX], line[32] = "";
	const struct pyh_frame *frame = &stack->python[i];

	thread_names_code(view->names, frame, function);
	if (!thread_names_str(view->names, frame->filename, file))
		(void)strcpy(file, "?");
	if (frame->line)
		(void)snprintf(line, sizeof(line), ":%" PRIu32, frame->line);
	render_line(render, "    %-*s  %s%s", FUNCTION_WIDTH,
		    render_name(render, function, 200, name),
		    render_name(render, file, 200, place), line);
	if (view->scan->options->locals)
		put_locals_of(view, stack, i, /* lines= */ true);
}

static void print_native(const struct threads_view *view,
			 const struct thread_stack *stack, size_t i)
{
	struct render *render = &view->scan->render;
	char text[THREAD_TEXT_MAX], name[RENDER_NAME_MAX], module[RENDER_NAME_MAX];
	char file[RENDER_NAME_MAX], number[32] = "";
	const struct stack_native *native = &stack->native[i];
	struct native_line line;
	bool has_line = unwinder_line(view->stacks.unwinder, &native->frame,
				      &line);

	native_text(native, text);
	if (has_line)
		(void)snprintf(number, sizeof(number), ":%d", line.line);
	render_line(render, "      %-*s  %s%s%s%s", FUNCTION_WIDTH - 2,
		    render_name(render, text, 200, name),
		    render_name(render, thread_words_module(native), 80, module),
		    has_line ? "  " : "",
		    has_line ? render_name(render, line.file, 120, file) : "",
		    number);
}

/** The interpreter's own functions say little to who asks what Python does. */
static bool is_shown(const struct threads_view *view,
		     const struct thread_stack *stack, size_t at,
		     size_t last_python)
{
	const struct stack_entry *entry = &stack->merged[at];

	return entry->is_python || view->scan->options->verbose ||
	       stack->num_python == 0 ||
	       (!stack->native[entry->index].is_runtime && at < last_python);
}

static void print_frames(const struct threads_view *view,
			 const struct thread_stack *stack)
{
	struct render *render = &view->scan->render;
	size_t last_python = 0, lines = 0, line = 0;
	char number[UNITS_TEXT_MAX];
	bool all = view->scan->options->top == 0;

	for (size_t i = 0; i < stack->num_merged; i++)
		if (stack->merged[i].is_python)
			last_python = i;
	for (size_t i = 0; i < stack->num_merged; i++)
		lines += is_shown(view, stack, i, last_python);
	for (size_t i = 0; i < stack->num_merged; i++) {
		if (!is_shown(view, stack, i, last_python))
			continue;
		line++;
		if (!all && lines > LINES_MAX && line > LINES_MAX - LINES_END &&
		    line <= lines - LINES_END) {
			if (line == LINES_MAX - LINES_END + 1)
				render_line(render, "      … %s more frames "
					    "(--top 0 shows all)",
					    units_count(lines - LINES_MAX,
							number));
			continue;
		}
		(stack->merged[i].is_python ? print_python : print_native)
			(view, stack, stack->merged[i].index);
	}
}

static void print_exception(const struct threads_view *view, const char *how,
			    const struct pyh_exception *exception)
{
	struct render *render = &view->scan->render;
	char function[THREAD_TEXT_MAX], file[THREAD_TEXT_MAX];
	char type[RENDER_NAME_MAX], name[RENDER_NAME_MAX];
	char place[RENDER_NAME_MAX], value[RENDER_NAME_MAX];
	char where[2 * RENDER_NAME_MAX] = "", preview[PREVIEW_MAX];
	const char *text = previews_text(view->previews, exception->address,
					 preview);

	if (exception->has_place &&
	    thread_names_str(view->names, exception->place.filename, file)) {
		thread_names_code(view->names, &exception->place, function);
		(void)snprintf(where, sizeof(where), ", raised in %s %s:%"
			       PRIu32,
			       render_name(render, function, 100, name),
			       render_name(render, file, 200, place),
			       exception->place.line);
	}
	render_line(render, "    %s: %s%s",
		    strcmp(how, "raised") == 0 ? "on its way up" :
		    strcmp(how, "handled") == 0 ? "being handled" :
		    strcmp(how, "cause") == 0 ? "  caused by" :
						"  while handling",
		    text ? render_name(render, text, 200, value) :
			   render_name(render,
				       thread_names_type(view->names,
							 exception->type),
				       100, type), where);
}

static void print_registers(const struct threads_view *view,
			    const struct thread_stack *stack)
{
	enum { PER_LINE = 4 };
	char name[16], line[PER_LINE * 40];
	size_t used = 0, count = 0;
	uint64_t value;

	if (!shows_registers(view, stack))
		return;
	while (core_register_named(stack->core, view->image->machine, count,
				   name, &value)) {
		used += (size_t)snprintf(line + used, sizeof(line) - used,
					 "  %8s %016" PRIx64, name, value);
		if (++count % PER_LINE == 0) {
			render_line(&view->scan->render, "  %s", line);
			used = 0;
		}
	}
	if (used)
		render_line(&view->scan->render, "  %s", line);
}

/** "thread 4713 MainThread, sleeping, holds the GIL" and how many more. */
static void print_thread_head(const struct threads_view *view,
			      const struct thread_stack *stack, size_t equal)
{
	struct render *render = &view->scan->render;
	char text[THREAD_TEXT_MAX], name[RENDER_NAME_MAX], tid[64], more[64];
	char signal[32], count[UNITS_TEXT_MAX];
	const char *named = thread_words_name(view->names, stack, text);
	const char *state = state_text(stack);
	const char *died = thread_words_signal(stack->core ? stack->core->signal : 0,
				       signal);

	(void)snprintf(tid, sizeof(tid), "thread %" PRIu32,
		       stack->core ? stack->core->tid : 0);
	more[0] = '\0';
	if (equal > 1)
		(void)snprintf(more, sizeof(more), " and %s more",
			       units_count(equal - 1, count));
	render_gap(render);
	render_line(render, "%s%s%s%s%s%s%s%s%s%s%s",
		    stack->core ? tid : "a thread that the core has not got",
		    named ? "  " : "",
		    named ? render_name(render, named, 60, name) : "", more,
		    state ? ", " : "", state ? state : "",
		    stack->has_gil ? ", holds the GIL" :
		    stack->waits_for_gil ? ", waits for the GIL" : "",
		    stack->in_gc ? ", collecting garbage" : "",
		    died ? ", ended by " : "", died ? died : "",
		    stack->num_python == 0 && stack->python_state ?
			    ", no Python frame" : "");
}

static void print_thread(const struct threads_view *view,
			 const struct thread_stack *stack, size_t equal)
{
	const char *why = unwind_end_text(stack->end);

	print_thread_head(view, stack, equal);
	if (stack->exceptions.raised)
		each_exception(view, "raised", stack->exceptions.raised,
			       print_exception);
	if (stack->exceptions.handled)
		each_exception(view, "handled", stack->exceptions.handled,
			       print_exception);
	print_frames(view, stack);
	if (why && stack->core)
		render_line(&view->scan->render, "      (the native stack ends "
			    "at 0x%" PRIx64 ": %s)", stack->end_at, why);
	if (stack->python_cut)
		render_line(&view->scan->render, "      (the next Python frame "
			    "is not in the dump, or damaged)");
	print_registers(view, stack);
}

static void print_people(const struct threads_view *view)
{
	const struct thread_stacks *stacks = &view->stacks;
	struct render *render = &view->scan->render;
	bool *done = calloc(stacks->count + 1, sizeof(*done));
	size_t groups = 0, left = 0;
	char number[UNITS_TEXT_MAX];

	for (size_t i = 0; done && i < stacks->count && !scan_unread(view->scan);
	     i++) {
		size_t equal = 1;

		if (done[i])
			continue;
		if (groups == view->shown) {
			left++;
			continue;
		}
		// Threads that do the same follow each other as a rule, and no
		// more of them are compared than can matter.
		for (size_t j = i + 1; j < stacks->count; j++) {
			if (done[j] || !thread_stacks_equal(&stacks->items[i],
							    &stacks->items[j]))
				continue;
			done[j] = true;
			equal++;
		}
		groups++;
		print_thread(view, &stacks->items[i], equal);
	}
	free(done);
	if (left)
		render_line(render, "%s more threads (--top 0 shows all)",
			    units_count(left, number));
}

static void print_head(const struct threads_view *view)
{
	struct render *render = &view->scan->render;
	char count[UNITS_TEXT_MAX], signal[32], text[256], holder[64] = "";
	struct thread_ending ending = thread_ending_of(view->image,
						       &view->stacks);
	const char *died = thread_words_signal(ending.signal, signal);

	for (size_t i = 0; i < view->stacks.count; i++)
		if (view->stacks.items[i].has_gil && view->stacks.items[i].core)
			(void)snprintf(holder, sizeof(holder),
				       ", %" PRIu32 " holds the GIL",
				       view->stacks.items[i].core->tid);
	(void)snprintf(text, sizeof(text), "THREADS  %s%s",
		       units_count(view->stacks.count, count),
		       holder[0] ? holder :
		       view->runtime && !view->runtime->free_threaded ?
		       ", none holds the GIL" : "");
	render_head(render, text);
	if (died && ending.has_address)
		render_line(render, "ended by %s at address 0x%" PRIx64
			    ", which is %s", died, ending.address,
			    thread_words_fault(view->image, ending.address));
	else if (died)
		render_line(render, "ended by %s", died);
}

/* --- all of it ---------------------------------------------------------------- */

static void make_totals(const struct threads_view *view, char signal[32],
			struct cell totals[NUM_TOTALS])
{
	struct thread_ending ending = thread_ending_of(view->image,
						       &view->stacks);
	uint64_t python = 0, incomplete = 0;

	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = cell_unknown();
	for (size_t i = 0; i < view->stacks.count; i++) {
		const struct thread_stack *stack = &view->stacks.items[i];

		python += stack->python_state != 0;
		incomplete += unwind_end_text(stack->end) || stack->python_cut;
		if (stack->has_gil && stack->core)
			totals[TOTAL_HOLDER] = cell_number(UNIT_ID,
							   stack->core->tid);
	}
	totals[TOTAL_THREADS] = cell_number(UNIT_COUNT, view->stacks.count);
	if (view->runtime)
		totals[TOTAL_PYTHON] = cell_number(UNIT_COUNT, python);
	totals[TOTAL_SIGNAL] = cell_text(thread_words_signal(ending.signal, signal));
	if (ending.has_address) {
		totals[TOTAL_FAULT] = cell_number(UNIT_ADDRESS, ending.address);
		totals[TOTAL_FAULT_AT] = cell_text(thread_words_fault(view->image,
							      ending.address));
	}
	totals[TOTAL_INCOMPLETE] = cell_number(UNIT_COUNT, incomplete);
}

static void print_rows(const struct threads_view *view)
{
	struct render *render = &view->scan->render;

	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = "THREADS",
		.columns = thread_columns, .num_columns = NUM_THREAD_COLUMNS });
	for (size_t i = 0; i < view->stacks.count && i < view->shown &&
	     !scan_unread(view->scan); i++) {
		const struct thread_stack *stack = &view->stacks.items[i];
		struct cell cells[NUM_THREAD_COLUMNS];
		struct row_texts texts;

		row_cells(view, stack, &texts, cells);
		render_row_open(render, cells);
		put_frames(view, stack);
		put_locals(view, stack);
		put_exceptions(view, stack);
		put_registers(view, stack);
		render_row_close(render);
	}
	render_table_end(render);
}

static void print(struct threads_view *view)
{
	struct scan *scan = view->scan;
	struct cell totals[NUM_TOTALS], cells[NUM_THREAD_COLUMNS];
	struct row_texts texts;
	char signal[32];

	make_totals(view, signal, totals);
	scan_begin(scan, "threads");
	render_object(&scan->render, "totals", thread_totals, totals,
		      NUM_TOTALS);
	for (size_t i = 0; i < view->stacks.count && gate_open(&scan->gate);
	     i++) {
		row_cells(view, &view->stacks.items[i], &texts, cells);
		gate_row(&scan->gate, cells);
	}
	gate_totals(&scan->gate, totals);
	if (render_for_people(&scan->render)) {
		print_head(view);
		print_people(view);
	} else {
		print_rows(view);
	}
	render_end(&scan->render);
}

/** Without a runtime the native stacks are still there. */
static struct error *find_python(struct threads_view *view)
{
	struct scan *scan = view->scan;
	struct error *err;

	if (scan->options->native_only)
		return NULL;
	err = opened_runtime(scan->opened, &view->runtime);
	if (!err)
		return NULL;
	view->runtime = NULL;
	if (err->kind == ERROR_NO_MEMORY)
		return err;
	scan_remark(scan, "native stacks only: %s", err->message);
	error_free(err);
	return NULL;
}

static struct error *run(struct scan *scan)
{
	CLEANUP(threads_view_deinit) struct threads_view view = {
		.scan = scan, .image = opened_image(scan->opened),
	};
	uint64_t top = scan->options->top;
	struct error *err = find_python(&view);

	if (!err)
		err = thread_stacks_gather(view.image, view.runtime,
					   &view.stacks);
	if (!err && view.runtime)
		err = thread_names_open(scan->opened, &view.names);
	if (!err && view.runtime && scan->options->values)
		err = previews_open(scan->opened, &view.previews);
	if (err)
		return err;
	if (view.stacks.count == 0)
		return error_new(ERROR_NOT_FOUND,
				 "the core has no threads in its notes");
	view.shown = top == 0 || top > view.stacks.count ? view.stacks.count :
							   (size_t)top;
	print(&view);
	return NULL;
}
