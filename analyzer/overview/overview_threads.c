/*
 * The overview's section about threads; see overview_threads.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/overview/overview_threads.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/threads/threadwords.h"
#include "image/base/units.h"

enum {
	CRASH_LINES = 6,	/* frames of a thread that crashed */
	HEAD_COLUMNS = 108,	/* of the head, so that none of it is cut */
};

enum thread_total {
	THREADS_COUNT, THREADS_HOLDER, THREADS_SIGNAL, THREADS_FAULT,
	THREADS_CAUSE, NUM_THREADS_TOTALS
};

static const struct column totals_columns[NUM_THREADS_TOTALS] = {
	[THREADS_COUNT] = { .key = "count", .unit = UNIT_COUNT },
	[THREADS_HOLDER] = { .key = "gil_holder", .unit = UNIT_ID },
	[THREADS_SIGNAL] = { .key = "signal", .unit = UNIT_TEXT },
	[THREADS_FAULT] = { .key = "fault_address", .unit = UNIT_ADDRESS },
	[THREADS_CAUSE] = { .key = "cause", .unit = UNIT_TEXT },
};

/* --- gathering ------------------------------------------------------------- */

/** Threads that do the same make one row; of many threads few are compared. */
static void group(struct overview_threads *threads)
{
	const struct thread_stacks *stacks = &threads->stacks;

	for (size_t i = 0; i < stacks->count; i++) {
		size_t of = 0;

		while (of < threads->num_groups &&
		       !thread_stacks_equal(
			       &stacks->items[threads->groups[of].stack],
			       &stacks->items[i]))
			of++;
		if (of < threads->num_groups)
			threads->groups[of].count++;
		else if (of < OVERVIEW_THREADS_MAX)
			threads->groups[threads->num_groups++] =
				(struct overview_group){ i, 1 };
		else
			threads->num_left++;
	}
}

void overview_threads_gather(struct scan *scan,
			     struct overview_threads *threads)
{
	struct image *image = opened_image(scan->opened);
	struct pyh_runtime *runtime = opened_runtime_if_found(scan->opened);

	*threads = (struct overview_threads){ 0 };
	if (image->notes.num_threads == 0)
		return;
	threads->why_not = thread_stacks_gather(image, runtime,
						&threads->stacks);
	if (!threads->why_not && runtime)
		threads->why_not = thread_names_open(scan->opened,
						     &threads->names);
	if (threads->why_not)
		return;
	thread_ending_find(image, &threads->stacks, &threads->ending);
	group(threads);
}

void overview_threads_deinit(struct overview_threads *threads)
{
	thread_names_close(threads->names);
	thread_stacks_deinit(&threads->stacks);
	error_free(threads->why_not);
}

/* --- telling --------------------------------------------------------------- */

static const struct thread_stack *
holder_of(const struct overview_threads *threads)
{
	for (size_t i = 0; i < threads->stacks.count; i++)
		if (threads->stacks.items[i].has_gil &&
		    threads->stacks.items[i].core)
			return &threads->stacks.items[i];
	return NULL;
}

static void tell_head(struct scan *scan, const struct overview_threads *threads)
{
	const struct image *image = opened_image(scan->opened);
	const struct pyh_runtime *runtime =
		opened_runtime_if_found(scan->opened);
	const struct thread_stack *holder = holder_of(threads);
	const struct thread_ending *ending = &threads->ending;
	struct render *render = &scan->render;
	char signal[32], number[UNITS_TEXT_MAX], line[256];
	char text[ENDING_TEXT_MAX], safe[RENDER_NAME_MAX];
	const char *died = thread_ending_text(image, ending, text);
	struct cell cells[NUM_THREADS_TOTALS] = {
		[THREADS_COUNT] = cell_number(UNIT_COUNT,
					      threads->stacks.count),
		[THREADS_SIGNAL] = cell_text(thread_words_signal(ending->signal,
								 signal)),
		[THREADS_CAUSE] = cell_text(died),
	};
	int used;

	used = snprintf(line, sizeof(line), "THREADS   %s",
			units_count(threads->stacks.count, number));
	if (holder) {
		used += snprintf(line + used, sizeof(line) - (size_t)used,
				 ", %" PRIu32 " holds the GIL",
				 holder->core->tid);
		cells[THREADS_HOLDER] = cell_number(UNIT_ID, holder->core->tid);
	} else if (runtime && !runtime->free_threaded) {
		used += snprintf(line + used, sizeof(line) - (size_t)used,
				 ", none holds the GIL");
	}
	if (ending->has_address)
		cells[THREADS_FAULT] = cell_number(UNIT_ADDRESS,
						   ending->address);
	if (died)
		died = render_name(render, died, 104, safe);
	if (died && (size_t)used + strlen(died) < HEAD_COLUMNS - 10) {
		(void)snprintf(line + used, sizeof(line) - (size_t)used,
			       "; ended by %s", died);
		died = NULL;
	}
	render_line_see(render, line, "threads");
	if (died)
		render_line(render, "  ended by %s", died);
	render_object(render, "threads", totals_columns, cells,
		      NUM_THREADS_TOTALS);
}

static bool has_crashed(const struct thread_stack *stack)
{
	return thread_words_is_crash(stack->ended_by);
}

struct crash_lines {
	struct render *render;
	int count;
};

static bool tell_frame(void *context, const char *text)
{
	struct crash_lines *lines = context;
	char name[RENDER_NAME_MAX];

	render_line(lines->render, "      %s", render_name(lines->render, text,
							   100, name));
	return ++lines->count < CRASH_LINES;
}

/** What it was about, beside the signal: an exception under way, or none. */
static void tell_exception(struct scan *scan,
			   const struct overview_threads *threads,
			   const char *how, uint64_t address)
{
	const struct pyh_runtime *runtime =
		opened_runtime_if_found(scan->opened);
	struct pyh_exception exception;
	char text[THREAD_TEXT_MAX], safe[RENDER_NAME_MAX];

	if (!runtime || !threads->names ||
	    !pyh_exception_read(runtime, thread_names_memory(threads->names),
				address, &exception))
		return;
	thread_words_exception(threads->names, &exception, text);
	render_line(&scan->render, "%s: %s", how,
		    render_name(&scan->render, text, 90, safe));
}

/** The last exception that nobody caught, where the process crashed. */
static void tell_uncaught(struct scan *scan,
			  const struct overview_threads *threads)
{
	const struct pyh_runtime *runtime =
		opened_runtime_if_found(scan->opened);
	uint64_t address = 0;

	if (!runtime || !threads->names || !overview_threads_crashed(threads))
		return;
	for (size_t i = 0; i < runtime->num_interpreters && address == 0; i++)
		address = pyh_uncaught_exception(
			runtime, thread_names_memory(threads->names), i);
	if (address)
		tell_exception(scan, threads, "  the last exception that nobody "
			       "caught", address);
}

/** "  23 MainThread  epoll_wait < select selectors.py:468" */
static void tell_group(struct scan *scan,
		       const struct overview_threads *threads,
		       const struct overview_group *of)
{
	const struct thread_stack *stack = &threads->stacks.items[of->stack];
	struct render *render = &scan->render;
	char text[THREAD_TEXT_MAX], where[THREAD_TEXT_MAX];
	char number[UNITS_TEXT_MAX], first[48];
	char name[RENDER_NAME_MAX], place[RENDER_NAME_MAX];

	if (of->count > 1)
		(void)snprintf(first, sizeof(first), "%s ×",
			       units_count(of->count, number));
	else
		(void)snprintf(first, sizeof(first), "%" PRIu32,
			       stack->core ? stack->core->tid : 0);
	if (has_crashed(stack)) {
		struct crash_lines lines = { .render = render };

		render_line(render, "  %s %s", first,
			    render_name(render,
					thread_words_name(threads->names, stack,
							  text), 60, name));
		if (stack->exceptions.raised)
			tell_exception(scan, threads, "      exception on its "
				       "way up", stack->exceptions.raised);
		else if (stack->exceptions.handled)
			tell_exception(scan, threads, "      exception being "
				       "handled", stack->exceptions.handled);
		thread_words_each(threads->names, stack, /* places= */ true,
				  tell_frame, &lines);
		return;
	}
	thread_words_where(threads->names, stack, /* places= */ true, where);
	render_line(render, "  %s %s  %s%s", first,
		    render_name(render, thread_words_name(threads->names, stack,
							  text), 24, name),
		    stack->waits_for_gil ? "waits for the GIL in " : "",
		    where[0] ? render_name(render, where, 200, place) :
			       "no frame");
}

bool overview_threads_crashed(const struct overview_threads *threads)
{
	return threads->stacks.count > 0 &&
	       thread_words_is_crash(threads->ending.signal);
}

void overview_threads_tell(struct scan *scan,
			   const struct overview_threads *threads)
{
	char number[UNITS_TEXT_MAX], why[RENDER_NAME_MAX];
	struct render *render = &scan->render;

	if (threads->why_not) {
		render_line(render, "THREADS   not looked at: %s",
			    render_name(render, threads->why_not->message, 90,
					why));
		return;
	}
	if (threads->stacks.count == 0) {
		render_line(render, "THREADS   the core has none in its notes");
		return;
	}
	tell_head(scan, threads);
	tell_uncaught(scan, threads);
	for (size_t i = 0; i < threads->num_groups; i++)
		tell_group(scan, threads, &threads->groups[i]);
	if (threads->num_left)
		render_line(render, "  %s more",
			    units_count(threads->num_left, number));
}

unsigned int overview_threads_lines(const struct overview_threads *threads)
{
	// What the ending and exceptions take is known when they are told.
	unsigned int lines = 1 + (threads->ending.signal > 0) +
			     2 * overview_threads_crashed(threads) +
			     (unsigned int)threads->num_groups +
			     (threads->num_left > 0);

	for (size_t i = 0; i < threads->num_groups; i++)
		if (has_crashed(&threads->stacks.items[threads->groups[i].stack]))
			lines += CRASH_LINES;
	return lines;
}
