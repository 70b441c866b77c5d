/*
 * `threads` for people; see threadsview.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/commands/threadsview.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/units.h"
#include "image/registers.h"

enum {
	LINES_MAX = 60,		/* frames of one stack that are shown */
	LINES_END = 20,		/* … of which the outermost ones */
	FUNCTION_WIDTH = 44,
};

/* --- frames ------------------------------------------------------------------- */

/** "function+0x1f", or where it is in its module. */
static void native_text(const struct stack_native *native, char text[THREAD_TEXT_MAX])
{
	char function[THREAD_TEXT_MAX];
	const char *name = thread_words_function(native, function);

	(void)snprintf(text, THREAD_TEXT_MAX, "%.480s+0x%" PRIx64,
		       name ? name : native->module ? thread_words_module(native) : "?",
		       native->offset);
}

static void print_local(void *context, const char *name, const char *type,
			uint64_t address, const char *value)
{
	char shown_name[RENDER_NAME_MAX], shown_type[RENDER_NAME_MAX];
	char shown_value[RENDER_NAME_MAX];
	struct render *render = context;

	(void)address;
	render_line(render, "          %s: %s%s%s",
		    render_name(render, name, 40, shown_name),
		    render_name(render, type, 60, shown_type),
		    value ? " = " : "",
		    value ? render_name(render, value, 200, shown_value) : "");
}

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
		threads_each_local(view, frame, print_local, render);
}

/** One function of a native frame: its own, or one that was inlined in it. */
static void print_place(const struct threads_view *view,
			const struct stack_native *native,
			const struct source_place *place)
{
	struct render *render = &view->scan->render;
	char text[THREAD_TEXT_MAX], name[RENDER_NAME_MAX], module[RENDER_NAME_MAX];
	char file[RENDER_NAME_MAX], number[32] = "";
	bool has_file = place && place->file;

	if (place && place->function)
		(void)snprintf(text, sizeof(text), "%.480s (inlined)",
			       place->function);
	else
		native_text(native, text);
	if (has_file && place->line)
		(void)snprintf(number, sizeof(number), ":%d", place->line);
	render_line(render, "      %-*s  %s%s%s%s", FUNCTION_WIDTH - 2,
		    render_name(render, text, 200, name),
		    render_name(render, thread_words_module(native), 80, module),
		    has_file ? "  " : "",
		    has_file ? render_name(render, place->file, 120, file) : "",
		    number);
}

static void print_inlined(const struct threads_view *view,
			  const struct stack_native *native)
{
	const struct source_place *places;
	size_t count = thread_stacks_places(&view->stacks, native, &places);

	for (size_t i = 0; i + 1 < count; i++)
		print_place(view, native, &places[i]);
}

static void print_function(const struct threads_view *view,
			   const struct stack_native *native)
{
	const struct source_place *places;
	size_t count = thread_stacks_places(&view->stacks, native, &places);

	print_place(view, native, count > 0 ? &places[count - 1] : NULL);
}

static void print_merged(const struct threads_view *view,
			 const struct thread_stack *stack, size_t at)
{
	const struct stack_native *loop = threads_loop_of(stack, at);
	size_t index = stack->merged[at].index;

	if (loop && view->scan->options->verbose)
		print_inlined(view, loop);
	if (stack->merged[at].is_python) {
		print_python(view, stack, index);
		return;
	}
	if (!threads_is_loop(stack, at))
		print_inlined(view, &stack->native[index]);
	print_function(view, &stack->native[index]);
}

/**
 * The interpreter's own functions say little to who asks what Python does, but
 * of a thread that a signal ended the innermost ones are where it happened.
 */
static bool is_shown(const struct threads_view *view,
		     const struct thread_stack *stack, size_t at,
		     size_t first_python, size_t last_python)
{
	const struct stack_entry *entry = &stack->merged[at];

	return entry->is_python || view->scan->options->verbose ||
	       stack->num_python == 0 ||
	       (at < last_python &&
		(!stack->native[entry->index].is_runtime ||
		 (stack->ended_by > 0 && at < first_python)));
}

static void print_frames(const struct threads_view *view,
			 const struct thread_stack *stack)
{
	struct render *render = &view->scan->render;
	size_t first_python = 0, last_python = 0, lines = 0, line = 0;
	char number[UNITS_TEXT_MAX];
	bool all = view->scan->options->top == 0;

	while (first_python < stack->num_merged &&
	       !stack->merged[first_python].is_python)
		first_python++;
	for (size_t i = 0; i < stack->num_merged; i++)
		if (stack->merged[i].is_python)
			last_python = i;
	for (size_t i = 0; i < stack->num_merged; i++)
		lines += is_shown(view, stack, i, first_python, last_python);
	for (size_t i = 0; i < stack->num_merged; i++) {
		if (!is_shown(view, stack, i, first_python, last_python))
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
		print_merged(view, stack, i);
	}
}

/* --- threads ------------------------------------------------------------------ */

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
		    strcmp(how, "uncaught") == 0 ?
			    "the last that nobody caught" :
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

	if (!threads_shows_registers(view, stack))
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
	const char *state = threads_state(stack);
	const char *died = thread_words_signal(stack->ended_by,
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
	const char *python_why = pyh_frames_end_text(stack->python_end);

	print_thread_head(view, stack, equal);
	threads_each_exception(view, stack, print_exception);
	print_frames(view, stack);
	if (why && stack->core)
		render_line(&view->scan->render, "      (the native stack ends "
			    "at 0x%" PRIx64 ": %s)", stack->end_at, why);
	if (python_why)
		render_line(&view->scan->render, "      (%s)", python_why);
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
	char count[UNITS_TEXT_MAX], text[256], holder[64] = "";
	char ending[ENDING_TEXT_MAX], safe[RENDER_NAME_MAX];
	const char *died = thread_ending_text(view->image, &view->ending,
					      ending);

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
	if (died)
		render_line(render, "ended by %s",
			    render_name(render, died, 400, safe));
	threads_each_uncaught(view, print_exception);
}

void threads_print(const struct threads_view *view)
{
	print_head(view);
	print_people(view);
}
