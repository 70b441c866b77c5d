/*
 * Native stacks: which functions a thread was in, by the unwind tables of the
 * modules.
 * SPDX-License-Identifier: Apache-2.0
 *
 * libdw executes the tables (.eh_frame) against the image's memory. A module's
 * table comes from its matched file, or else from the dumped module itself. A
 * function without one is passed by its frame pointer, if it kept one. Works on
 * cores of either machine, on either. Not for concurrent use.
 *
 * All memory that is read is the target's: stacks may be smashed, and a walk
 * says how it ended.
 */
#ifndef IMAGE_UNWIND_H
#define IMAGE_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"

enum { NATIVE_FRAMES_MAX = 1 << 18 };	/* of one thread: 8 MiB of recursion */

enum unwind_end {
	UNWIND_OUTERMOST,	/* the thread's first function */
	UNWIND_STOPPED,		/* by fn */
	UNWIND_NO_REGISTERS,	/* the core has none of this thread */
	UNWIND_NO_MODULE,	/* the last pc is in no module */
	UNWIND_NO_TABLE,	/* its module has no entry for it, or is lost */
	UNWIND_NOT_CAPTURED,	/* a word of the stack is not in the dump */
	UNWIND_TOO_DEEP,	/* NATIVE_FRAMES_MAX */
	UNWIND_LOST,		/* its return address is 0, or leads back to a
				   frame that was told */
};

struct native_frame {
	uint64_t pc;
	uint64_t sp;		/* the stack pointer; 0: not known. What lies
				   from here to that of the caller is the
				   function's own */
	bool exact;		/* pc is the instruction itself; else where a
				   call returns to, and the call is before it */
};

/** The signal that a handler on the stack was called for. */
struct native_signal {
	size_t frame;		/* which frame, of those told, the handler
				   returns to */
	bool is_fault;		/* a page was touched that was not there, */
	uint64_t address;	/* at this address */
};

struct unwinder;

/** @param image  borrowed; must outlive the unwinder */
struct error *unwinder_create(struct image *image, struct unwinder **ret);
void unwinder_destroy(struct unwinder *unwinder);

/** Return false to stop. */
typedef bool native_frame_fn(void *context, const struct native_frame *frame);

/**
 * The frames of a thread, the innermost first.
 *
 * @param thread  index in the image's notes
 * @param ret_at  where it ended, for what it ended with: an address of memory
 *	that is not captured, or else the last pc
 */
enum unwind_end unwinder_walk(struct unwinder *unwinder, size_t thread,
			      native_frame_fn *fn, void *context,
			      uint64_t *ret_at);

/**
 * The innermost signal whose handler the thread walked last was in: what
 * happened first, where the handler itself ended the process. False: none.
 */
bool unwinder_signal(const struct unwinder *unwinder,
		     struct native_signal *ret);

/** What an end means, for a sentence: "in no module"; NULL for a good one. */
const char *unwind_end_text(enum unwind_end end);

#endif
