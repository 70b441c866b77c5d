/*
 * What the files of `threads` share: cmd_threads.c has the rows, threadsrows.c
 * what programs get with each of them, threadspeople.c what people read.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_THREADSVIEW_H
#define ANALYZER_THREADSVIEW_H

#include "analyzer/cmd.h"
#include "analyzer/show/previews.h"
#include "analyzer/threads/threadending.h"
#include "analyzer/threads/threadnames.h"
#include "analyzer/threads/threadstacks.h"
#include "analyzer/threads/threadwords.h"
#include "pyheap/threads/pyexception.h"

/** All that is printed. */
struct threads_view {
	struct scan *scan;
	struct image *image;
	struct pyh_runtime *runtime;	/* NULL: none, or not wanted */
	struct thread_stacks stacks;
	struct thread_ending ending;
	struct thread_names *names;
	struct previews *previews;	/* NULL: values are not shown */
	size_t shown;
};

/** A variable of a frame as text; value: NULL unless values are shown. */
typedef void threads_local_fn(void *context, const char *name, const char *type,
			      uint64_t address, const char *value);

/** The variables of a Python frame that have a value. */
void threads_each_local(const struct threads_view *view,
			const struct pyh_frame *frame, threads_local_fn *fn,
			void *context);

/**
 * Gets an exception and what it is to the one told before: "cause" or "context";
 * of the first it is what was said of it.
 */
typedef void threads_exception_fn(const struct threads_view *view,
				  const char *how,
				  const struct pyh_exception *exception);

/** Tell those under way in a thread, each with the ones that it came from. */
void threads_each_exception(const struct threads_view *view,
			    const struct thread_stack *stack,
			    threads_exception_fn *fn);

/** The last one of each interpreter that nobody caught: "uncaught". */
void threads_each_uncaught(const struct threads_view *view,
			   threads_exception_fn *fn);

/**
 * What was inlined in the evaluation loop is called by the Python frames that it
 * runs: of the frame, those of which begin at entry `at` of the merged order.
 * NULL: none begin there.
 */
const struct stack_native *threads_loop_of(const struct thread_stack *stack,
					   size_t at);
/** True of the loop itself, of which only its own place is left to tell. */
bool threads_is_loop(const struct thread_stack *stack, size_t at);

/** Of a thread that a signal ended, and with -v of all. */
bool threads_shows_registers(const struct threads_view *view,
			     const struct thread_stack *stack);

/** "sleeping", by the kernel; NULL: not known. */
const char *threads_state(const struct thread_stack *stack);

/** What nests in a thread's row: frames, variables, exceptions, registers. */
void threads_put_nested(const struct threads_view *view,
			const struct thread_stack *stack);

/** All of it as text. */
void threads_print(const struct threads_view *view);

#endif
