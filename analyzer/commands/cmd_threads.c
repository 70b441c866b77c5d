/*
 * `threads`: what each thread was doing.
 * SPDX-License-Identifier: Apache-2.0
 *
 * No object is looked at but those that frames lead to.
 */
#include <inttypes.h>

#include "analyzer/commands/threadsview.h"
#include "image/base/guard.h"

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
		.about = "why the native stack or, if that does, Python's does "
			 "not reach its end; absent: it does", .hidden = true },
	[THREAD_IDENT] = { .key = "ident", .title = "ident", .unit = UNIT_ID,
		.about = "threading.get_ident()", .hidden = true },
};

enum {
	TOTAL_THREADS, TOTAL_PYTHON, TOTAL_HOLDER, TOTAL_SIGNAL,
	TOTAL_FAULT, TOTAL_FAULT_AT, TOTAL_SENDER, TOTAL_MESSAGE,
	TOTAL_EXCEPTION, TOTAL_INCOMPLETE, NUM_TOTALS
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
	[TOTAL_SENDER] = { .key = "sent_by", .unit = UNIT_ID,
		.about = "the other process that sent the signal" },
	[TOTAL_MESSAGE] = { .key = "message", .unit = UNIT_TEXT,
		.about = "what glibc said before it aborted: of a free() that "
			 "was wrong, a smashed stack, an assertion" },
	[TOTAL_EXCEPTION] = { .key = "exception", .unit = UNIT_TEXT,
		.about = "class of the C++ exception that nobody caught" },
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
"Functions that the compiler has put into others are marked as inlined.\n"
"A row has `python`, `native` and `merged` in JSON: arrays of frames, the last\n"
"of them both in one order; `exceptions`: those under way in the thread; and\n"
"`registers`, of a thread that a signal ended or with -v of all.\n",
};

static void threads_view_deinit(struct threads_view *view)
{
	previews_close(view->previews);
	thread_names_close(view->names);
	thread_stacks_deinit(&view->stacks);
}

/* --- what threads have -------------------------------------------------------- */

struct locals {
	const struct threads_view *view;
	const struct pyh_frame *frame;
	threads_local_fn *fn;
	void *context;
};

static bool tell_local(void *context, uint64_t index, uint64_t address)
{
	const struct locals *locals = context;
	const struct threads_view *view = locals->view;
	char name[THREAD_TEXT_MAX], preview[PREVIEW_MAX];

	if (!thread_names_local(view->names, locals->frame, index, name))
		return true;
	address = thread_names_out_of_cell(view->names, address);
	if (address != 0)
		locals->fn(locals->context, name,
			   thread_names_type_of(view->names, address), address,
			   previews_text(view->previews, address, preview));
	return true;
}

void threads_each_local(const struct threads_view *view,
			const struct pyh_frame *frame, threads_local_fn *fn,
			void *context)
{
	struct locals locals = { view, frame, fn, context };

	pyh_locals_each(view->runtime, thread_names_memory(view->names), frame,
			tell_local, &locals);
}

static void each_exception(const struct threads_view *view, const char *how,
			   uint64_t address, threads_exception_fn *fn)
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

void threads_each_exception(const struct threads_view *view,
			    const struct thread_stack *stack,
			    threads_exception_fn *fn)
{
	if (stack->exceptions.raised)
		each_exception(view, "raised", stack->exceptions.raised, fn);
	if (stack->exceptions.handled)
		each_exception(view, "handled", stack->exceptions.handled, fn);
}

void threads_each_uncaught(const struct threads_view *view,
			   threads_exception_fn *fn)
{
	const struct pyh_runtime *runtime = view->runtime;

	for (size_t i = 0; runtime && i < runtime->num_interpreters; i++)
		each_exception(view, "uncaught",
			       pyh_uncaught_exception(
				       runtime, thread_names_memory(view->names),
				       i), fn);
}

const struct stack_native *threads_loop_of(const struct thread_stack *stack,
					   size_t at)
{
	const struct stack_native *loop;

	if (!stack->merged[at].is_python ||
	    (at > 0 && stack->merged[at - 1].is_python))
		return NULL;
	while (at < stack->num_merged && stack->merged[at].is_python)
		at++;
	loop = at < stack->num_merged ?
		&stack->native[stack->merged[at].index] : NULL;
	return loop && loop->is_eval ? loop : NULL;
}

bool threads_is_loop(const struct thread_stack *stack, size_t at)
{
	return at > 0 && !stack->merged[at].is_python &&
	       stack->merged[at - 1].is_python &&
	       stack->native[stack->merged[at].index].is_eval;
}

bool threads_shows_registers(const struct threads_view *view,
			     const struct thread_stack *stack)
{
	return stack->core && (stack->ended_by > 0 ||
			       view->scan->options->verbose);
}

const char *threads_state(const struct thread_stack *stack)
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
	cells[THREAD_STATE] = cell_text(threads_state(stack));
	cells[THREAD_GIL] = cell_text(gil_text(stack));
	if (stack->python_state)
		cells[THREAD_PYTHON] = cell_number(UNIT_COUNT,
						   stack->num_python);
	cells[THREAD_NATIVE] = cell_number(UNIT_COUNT, stack->num_native);
	cells[THREAD_SIGNAL] = cell_text(thread_words_signal(
		stack->ended_by, texts->signal));
	thread_words_where(view->names, stack, /* places= */ false,
			   texts->where);
	cells[THREAD_WHERE] = cell_text(texts->where[0] ? texts->where : NULL);
	if (why) {
		(void)snprintf(texts->incomplete, THREAD_TEXT_MAX, "at 0x%" PRIx64
			       ": %s", stack->end_at, why);
		cells[THREAD_INCOMPLETE] = cell_text(texts->incomplete);
	} else {
		cells[THREAD_INCOMPLETE] =
			cell_text(pyh_frames_end_text(stack->python_end));
	}
	if (stack->ident)
		cells[THREAD_IDENT] = cell_number(UNIT_ID, stack->ident);
}

/* --- all of it ---------------------------------------------------------------- */

static void make_totals(const struct threads_view *view, char signal[32],
			struct cell totals[NUM_TOTALS])
{
	const struct thread_ending *ending = &view->ending;
	uint64_t python = 0, incomplete = 0;

	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = cell_unknown();
	for (size_t i = 0; i < view->stacks.count; i++) {
		const struct thread_stack *stack = &view->stacks.items[i];

		python += stack->python_state != 0;
		incomplete += unwind_end_text(stack->end) ||
			      pyh_frames_end_text(stack->python_end);
		if (stack->has_gil && stack->core)
			totals[TOTAL_HOLDER] = cell_number(UNIT_ID,
							   stack->core->tid);
	}
	totals[TOTAL_THREADS] = cell_number(UNIT_COUNT, view->stacks.count);
	if (view->runtime)
		totals[TOTAL_PYTHON] = cell_number(UNIT_COUNT, python);
	totals[TOTAL_SIGNAL] = cell_text(thread_words_signal(ending->signal,
							     signal));
	if (ending->has_address)
		totals[TOTAL_FAULT] = cell_number(UNIT_ADDRESS,
						  ending->address);
	totals[TOTAL_FAULT_AT] = cell_text(thread_ending_fault(view->image,
							       ending));
	if (ending->sender)
		totals[TOTAL_SENDER] = cell_number(UNIT_ID, ending->sender);
	if (ending->message[0])
		totals[TOTAL_MESSAGE] = cell_text(ending->message);
	if (ending->exception[0])
		totals[TOTAL_EXCEPTION] = cell_text(ending->exception);
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
		threads_put_nested(view, stack);
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
	if (render_for_people(&scan->render))
		threads_print(view);
	else
		print_rows(view);
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
	thread_ending_find(view.image, &view.stacks, &view.ending);
	view.shown = top == 0 || top > view.stacks.count ? view.stacks.count :
							   (size_t)top;
	print(&view);
	return NULL;
}
