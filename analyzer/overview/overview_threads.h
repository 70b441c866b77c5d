/*
 * The section of the overview that is about threads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A section that could not be made says so in its place.
 */
#ifndef ANALYZER_OVERVIEW_THREADS_H
#define ANALYZER_OVERVIEW_THREADS_H

#include <stddef.h>

#include "analyzer/threads/threadending.h"
#include "analyzer/threads/threadnames.h"
#include "analyzer/threads/threadstacks.h"

struct scan;

enum { OVERVIEW_THREADS_MAX = 5 };	/* rows */

struct overview_threads {
	struct thread_stacks stacks;
	struct thread_ending ending;
	struct thread_names *names;
	struct overview_group {
		size_t stack;	/* the first of those that do the same */
		size_t count;
	} groups[OVERVIEW_THREADS_MAX];
	size_t num_groups;
	size_t num_left;	/* threads in none of them */
	struct error *why_not;	/* owned */
};

/** Never fails: what went wrong is in threads. */
void overview_threads_gather(struct scan *scan,
			     struct overview_threads *threads);
void overview_threads_deinit(struct overview_threads *threads);

/** True where the process crashed: then this is what is asked about first. */
bool overview_threads_crashed(const struct overview_threads *threads);

void overview_threads_tell(struct scan *scan,
			   const struct overview_threads *threads);
/** The lines of that. */
unsigned int overview_threads_lines(const struct overview_threads *threads);

#endif
