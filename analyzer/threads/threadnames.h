/*
 * Names that stacks are shown with: of code, variables, types and threads.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_THREADNAMES_H
#define ANALYZER_THREADNAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/memory.h"
#include "pyheap/threads/pystack.h"

enum { THREAD_TEXT_MAX = 512 };	/* bytes of a name, NUL included */

struct opened;
struct thread_names;

/** Not for concurrent use. opened must outlive it. */
struct error *thread_names_open(struct opened *opened,
				struct thread_names **ret);
void thread_names_close(struct thread_names *names);

/** The reader that it reads with, for others who read between. */
struct memory_reader *thread_names_memory(struct thread_names *names);

/** A str object in UTF-8, cut; false where there is none. */
bool thread_names_str(struct thread_names *names, uint64_t str,
		      char text[THREAD_TEXT_MAX]);

/** The same, as much of it as there is room for. */
bool thread_names_long_str(struct thread_names *names, uint64_t str, char *text,
			   size_t size);

/** The qualified name of a frame's function or, up to 3.10, its name. */
void thread_names_code(struct thread_names *names,
		       const struct pyh_frame *frame,
		       char text[THREAD_TEXT_MAX]);

/** The name of a variable by its index in a frame; false: it has none. */
bool thread_names_local(struct thread_names *names,
			const struct pyh_frame *frame, uint64_t index,
			char text[THREAD_TEXT_MAX]);

/** What is in a cell, or the object itself that is none; 0: an empty cell. */
uint64_t thread_names_out_of_cell(struct thread_names *names,
				  uint64_t address);

/** The name of a type, by its address or that of an instance; never NULL. */
const char *thread_names_type(struct thread_names *names, uint64_t type);
const char *thread_names_type_of(struct thread_names *names,
				 uint64_t address);

/** What threading calls a thread; false: it does not know it. */
bool thread_names_thread(struct thread_names *names, uint64_t ident,
			 char text[THREAD_TEXT_MAX]);

#endif
