/*
 * Python's threads and what each was running: frames and their code.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Up to 3.10 a frame is an object that leads to its caller's; since then it is
 * a piece of the thread's data stack, of a generator or of a frame object, and
 * leads on all the same. Frames that the interpreter puts between for itself
 * are passed over.
 *
 * Source: CPython Include/cpython/pystate.h, Include/internal/pycore_frame.h.
 */
#ifndef PYHEAP_PYSTACK_H
#define PYHEAP_PYSTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"

enum {
	PYH_STACK_THREADS_MAX = 1 << 16,	/* of all interpreters */
	PYH_STACK_FRAMES_MAX = 1 << 20,		/* of one thread */
};

/** How a walk over the frames of a thread ended. */
enum pyh_frames_end {
	PYH_FRAMES_WHOLE,	/* with the thread's first one, or by fn */
	PYH_FRAMES_UNREADABLE,	/* the next one is not there, or is none */
	PYH_FRAMES_CIRCLE,	/* the next one was told before */
	PYH_FRAMES_TOO_MANY,	/* PYH_STACK_FRAMES_MAX */
};

struct pyh_thread {
	uint64_t address;	/* of PyThreadState */
	size_t interpreter;	/* index in the runtime */
	uint64_t ident;		/* threading.get_ident() */
	uint64_t native;	/* the kernel's number; 0: not kept (3.10) */
};

struct pyh_frame {
	uint64_t address;
	uint64_t code;			/* PyCodeObject */
	uint64_t name, filename;	/* str objects */
	uint64_t qualname;		/* 0: not kept (3.10 and older) */
	uint32_t first_line;		/* of the code, not of the call */
	uint32_t line;			/* where it is; 0: not known */
	bool entry;			/* C code called it: one call of the
					   evaluation loop begins here */
	uint64_t loop;			/* of an entry, an address among the
					   native variables of that call; 0: not
					   known (3.11 and older) */
};

/** Return false to end the walk. */
typedef bool pyh_thread_fn(void *context, const struct pyh_thread *thread);
typedef bool pyh_frame_fn(void *context, const struct pyh_frame *frame);

/**
 * Each thread of each interpreter, the newest of each first. Of a circle some
 * are told twice.
 */
void pyh_threads_each(const struct pyh_runtime *runtime,
		      struct memory_reader *memory, pyh_thread_fn *fn,
		      void *context);

/**
 * The frames of a thread, the innermost first. Of a circle some are told twice.
 */
enum pyh_frames_end
pyh_frames_each(const struct pyh_runtime *runtime,
		struct memory_reader *memory,
		const struct pyh_thread *thread, pyh_frame_fn *fn,
		void *context);

/** What an end means, for a sentence; NULL for the good one. */
const char *pyh_frames_end_text(enum pyh_frames_end end);

/** The frame of a frame object; false where there is none or it cannot be read. */
bool pyh_frame_of_object(const struct pyh_runtime *runtime,
			 struct memory_reader *memory, uint64_t object,
			 struct pyh_frame *ret);

/**
 * What code says of a place in it, where no frame is left: names and the line.
 *
 * @param at  bytes from the start of its bytecode
 * @return false where there is no code at the address
 */
bool pyh_frame_of_code(const struct pyh_runtime *runtime,
		       struct memory_reader *memory, uint64_t code, int64_t at,
		       struct pyh_frame *ret);

/** Return false to end the walk. */
typedef bool pyh_local_fn(void *context, uint64_t index, uint64_t address);

/**
 * The variables of a frame that have a value: those of functions, not of
 * modules and classes, which keep theirs in a dict. Of one that a function
 * inside uses too it is the cell.
 *
 * fn gets the index, as in co_localsplusnames or, up to 3.10, in co_varnames,
 * co_cellvars and co_freevars one behind the other, and the object's address.
 */
void pyh_locals_each(const struct pyh_runtime *runtime,
		     struct memory_reader *memory,
		     const struct pyh_frame *frame, pyh_local_fn *fn,
		     void *context);

/**
 * The thread state that holds the lock of an interpreter (in free-threaded
 * builds: if it is enabled). False: nobody holds it, or it is not known.
 *
 * @param interpreter  index in the runtime
 */
bool pyh_gil_holder(const struct pyh_runtime *runtime,
		    struct memory_reader *memory, size_t interpreter,
		    uint64_t *ret);

/** An exception of a thread; addresses of objects, 0: none. */
struct pyh_thread_exceptions {
	uint64_t raised;	/* on its way up the stack */
	uint64_t handled;	/* by the innermost `except` or `finally` */
};

void pyh_thread_exceptions(const struct pyh_runtime *runtime,
			   struct memory_reader *memory,
			   const struct pyh_thread *thread,
			   struct pyh_thread_exceptions *ret);

#endif
