/*
 * Stacks of threads: native and Python's frames of each, in one order.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each call of CPython's evaluation loop on the native stack runs Python frames
 * up to one that C code called; so the two are laid side by side from the
 * outermost one in, or, where the native stack could not be followed to its end,
 * from the innermost one out.
 */
#ifndef ANALYZER_THREADSTACKS_H
#define ANALYZER_THREADSTACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"
#include "image/sourcelines.h"
#include "image/unwind.h"
#include "pyheap/threads/pystack.h"

/** A native frame with the function that it is in. */
struct stack_native {
	struct native_frame frame;
	struct module *module;		/* NULL: in none */
	const char *function;		/* NULL: not known; borrowed */
	uint64_t offset;		/* of pc in function or, where that is
					   not known, in the module */
	bool is_eval;			/* the evaluation loop */
	bool is_runtime;		/* in the interpreter's own module */
};

/** One of the merged order. */
struct stack_entry {
	bool is_python;
	uint32_t index;			/* in python or native */
};

struct thread_stack {
	const struct core_thread *core;	/* NULL: Python's alone */
	uint64_t python_state;		/* PyThreadState; 0: not Python's */
	size_t interpreter;		/* index in the runtime */
	uint64_t ident;			/* threading.get_ident(); 0: none */
	struct stack_native *native;	/* the innermost first */
	size_t num_native;
	struct pyh_frame *python;	/* the innermost first */
	size_t num_python;
	struct stack_entry *merged;	/* all of both */
	size_t num_merged;
	enum unwind_end end;		/* how the native stack ended, */
	uint64_t end_at;		/* and where */
	int ended_by;			/* the signal that came to it and ended
					   the process; 0: none did */
	bool in_handler;		/* of this signal: */
	struct native_signal handled;
	enum pyh_frames_end python_end;	/* how Python's ended */
	bool has_gil, waits_for_gil, in_gc;
	struct pyh_thread_exceptions exceptions;
};

enum {
	/* Frames of either kind that all threads may have together, and how many
	   each may have after that: a dump can lead all of its threads to the
	   same long stack. */
	THREAD_FRAMES_MAX = 1 << 20,
	THREAD_FRAMES_LEAST = 64,
};

struct thread_stacks {
	struct thread_stack *items;	/* in the core's order, then others */
	size_t count;
	struct source_lines *lines;	/* of native frames, for who asks */
};

/**
 * @param runtime  NULL: no Python's stacks
 * @param ret  to be released by thread_stacks_deinit()
 */
struct error *thread_stacks_gather(struct image *image,
				   const struct pyh_runtime *runtime,
				   struct thread_stacks *ret);
void thread_stacks_deinit(struct thread_stacks *stacks);

/**
 * Where a native frame is in the source, with what was inlined there: see
 * image/sourcelines.h. What is found in debug information is only looked for when
 * asked.
 */
size_t thread_stacks_places(const struct thread_stacks *stacks,
			    const struct stack_native *native,
			    const struct source_place **ret);

/** True where two threads are at the same places, so that one can be shown. */
bool thread_stacks_equal(const struct thread_stack *a,
			 const struct thread_stack *b);

#endif
