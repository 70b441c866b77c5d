/*
 * Finds what a dump of threads and runtime alone must hold of a process.
 * SPDX-License-Identifier: Apache-2.0
 *
 * For debuggers: the threads' stacks, their thread-local data, the modules as
 * far as `heap` takes them, the loader's list of them. For object models: what
 * reading their runtime, threads and frames reads. Nobody lists that: it is
 * read here, and every page read is kept, so that a later reader who goes the
 * same way finds it.
 */
#ifndef LIVE_STACKS_H
#define LIVE_STACKS_H

#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/live/select.h"
#include "image/live/standing.h"
#include "image/model.h"

enum {
	STACKS_THREADS_MAX = 1 << 16,
	STACKS_WHY_MAX = 200,
};

/* Of a thread's stack, above its stack pointer. */
#define STACKS_STACK_MAX (UINT64_C(8) << 20)
/* Of what is read of the loader and of the object models. */
#define STACKS_READ_MAX (UINT64_C(64) << 20)

/** What registers say of a thread; 0: nothing. */
struct stacks_thread {
	uint64_t stack;		/* the stack pointer */
	uint64_t local;		/* the thread pointer: its local data */
};

struct stacks_options {
	const struct model *const *models;	/* ended by a NULL */
	const struct select_rules *rules;	/* --include keeps; may be NULL */
	const struct stacks_thread *threads;
	size_t num_threads;
	uint32_t page_size;
};

/** What is kept: ascending, whole pages, apart from each other. */
struct stacks {
	struct select_span *spans;
	size_t count;
	/* Why there is nothing of a model, or not all; else "" */
	char native_only[STACKS_WHY_MAX];
};

struct error *stacks_find(struct standing *standing,
			  const struct stacks_options *options,
			  struct stacks *ret);
void stacks_deinit(struct stacks *stacks);

#endif
