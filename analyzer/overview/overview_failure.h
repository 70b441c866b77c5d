/*
 * The overview's section about memory of a device that ran out: why it failed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Made to be pasted into a bug as it is: numbers that the exception says, never
 * its text, which is a value of the program.
 */
#ifndef ANALYZER_OVERVIEW_FAILURE_H
#define ANALYZER_OVERVIEW_FAILURE_H

#include "analyzer/overview/overview_heap.h"
#include "analyzer/overview/overview_threads.h"
#include "analyzer/tensors/torchversion.h"
#include "analyzer/threads/failure.h"

struct scan;

struct overview_failure {
	struct failure failure;
	const struct overview_threads *threads;	/* borrowed */
	char folder[TORCH_FOLDER_MAX];	/* of PyTorch's own files */
	struct error *why_not;	/* owned */
};

/** Never fails: what went wrong is in failure. threads must outlive it. */
void overview_failure_gather(struct scan *scan,
			     const struct overview_threads *threads,
			     const struct whole *whole,
			     struct overview_failure *failure);
void overview_failure_deinit(struct overview_failure *failure);

/** Nothing where there was no such failure. */
void overview_failure_tell(struct scan *scan,
			   const struct overview_failure *failure);
/** The lines of that, with the gap. */
unsigned int overview_failure_lines(const struct overview_failure *failure);

#endif
