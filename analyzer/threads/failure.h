/*
 * Why PyTorch could not have the memory that it asked a device for: the exception
 * that says so, and the allocator's picture beside it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An exception says what was asked for and what there was, rounded; the allocator
 * says how that was cut up, unless it has changed since. What was recorded of the
 * allocator's past has the exact numbers.
 */
#ifndef ANALYZER_FAILURE_H
#define ANALYZER_FAILURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyzer/threads/threadnames.h"
#include "analyzer/threads/threadstacks.h"
#include "cudaheap/torchoom.h"
#include "image/base/error.h"
#include "pyheap/threads/pyexception.h"

struct heapgraph;
struct opened;

/** Where the exception was found: the first that applies. */
enum failure_how {
	FAILURE_NONE,		/* there is none */
	FAILURE_THROWN,		/* by what the dump says of why it was made: C++
				   throws it, Python has none yet */
	FAILURE_RAISED,		/* on its way up a thread's stack */
	FAILURE_HANDLED,	/* by an except or finally of a thread */
	FAILURE_CHAINED,	/* what one of these came from */
	FAILURE_KEPT,		/* an object that something holds */
};

enum failure_verdict {
	FAILURE_UNKNOWN,	/* the message does not say enough */
	FAILURE_TOO_LITTLE,	/* all that was free together is less */
	FAILURE_PIECES,		/* it would have been enough in one piece */
	FAILURE_LIMIT,		/* the process may not have as much */
	FAILURE_NO_SIZE,	/* more than any memory: a size that went wrong */
	FAILURE_OUTSIDE,	/* it was not the allocator that asked */
};

/** Of expandable_segments. */
enum failure_expandable {
	EXPANDABLE_UNKNOWN,
	EXPANDABLE_ON,		/* it was in use already */
	EXPANDABLE_WOULD,	/* would have made the request fit */
	EXPANDABLE_MIGHT,
	EXPANDABLE_WOULD_NOT,
};

/** What the allocator has of the device, in the dump. */
struct failure_device {
	bool known;
	bool as_then;		/* as when the request failed; */
	bool knows_then;	/* whether it is, is known */
	uint64_t allocated, reserved, free;	/* bytes; free: of reserved */
	uint64_t pieces, largest;	/* of what is free */
	uint64_t pages;		/* bytes of it that expandable segments could have
				   given to others */
	uint64_t stuck;		/* bytes of it that lie beside what is in use, in
				   the unit that the driver takes back */
	uint64_t least;		/* bytes of pages that expandable segments need for
				   what is in use and the request; 0: not known */
	bool expandable;	/* segments are */
};

enum { FAILURE_TYPE_MAX = 128 };

struct failure {
	enum failure_how how;
	uint64_t exception;		/* its address */
	const char *type;		/* borrowed from thread names, or: */
	char type_text[FAILURE_TYPE_MAX];
	const struct thread_stack *stack;	/* NULL: of no thread, or of one
						   that is not in the dump */
	uint32_t tid;			/* of THROWN, by what the dump says */
	uint64_t kept;			/* such objects that something holds */
	struct torch_oom oom;
	bool is_exact;			/* requested and free of oom are, as the
					   allocator recorded them */
	struct pyh_frame places[PYH_PLACES_MAX];	/* from where it was
							   raised outwards */
	size_t num_places;
	struct failure_device device;
	enum failure_verdict verdict;
	enum failure_expandable expandable;
	uint64_t short_of;		/* FAILURE_TOO_LITTLE: bytes, about */
};

/**
 * Find it. Never fails for want of one; how says so.
 *
 * @param ret  stays where it is: it may refer to itself
 * @param heap  where objects are looked for that something holds; NULL: nowhere
 */
struct error *failure_find(struct opened *opened, struct thread_names *names,
			   const struct thread_stacks *stacks,
			   const struct heapgraph *heap, struct failure *ret);

/** The same without a look at the allocator: nothing is judged. */
struct error *failure_find_exception(struct opened *opened,
				     struct thread_names *names,
				     const struct thread_stacks *stacks,
				     const struct heapgraph *heap,
				     struct failure *ret);

/** Is it a device's memory that there was too little of? */
bool failure_is_devices(const struct failure *failure);

/** The raw message, for --values; false: it cannot be read. */
bool failure_message(const struct failure *failure, struct opened *opened,
		     struct thread_names *names, char *text, size_t size);

#endif
