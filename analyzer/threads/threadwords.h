/*
 * Threads in words: what they are called, where they are, what ended them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_THREADWORDS_H
#define ANALYZER_THREADWORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/threads/threadnames.h"
#include "analyzer/threads/threadstacks.h"
#include "image/image.h"
#include "pyheap/threads/pyexception.h"

/** The base name of a frame's module; NULL: it is in none. */
const char *thread_words_module(const struct stack_native *native);

/** A function without the version of its symbol; NULL: not known. */
const char *thread_words_function(const struct stack_native *native,
				  char text[THREAD_TEXT_MAX]);

/** Return false to end the walk. */
typedef bool thread_words_fn(void *context, const char *text);

/**
 * The functions that say where a thread was, the innermost first: of native code
 * that is not the interpreter's the one above Python's, then Python's. Of a
 * thread that a signal ended up to three native ones, the interpreter's too where
 * it ended in them, but none of those by which a process ends itself.
 *
 * @param names  NULL where there is no Python
 * @param places  with file and line
 */
void thread_words_each(struct thread_names *names,
		       const struct thread_stack *stack, bool places,
		       thread_words_fn *fn, void *context);

/** The first of those: "read < wait < main". */
void thread_words_where(struct thread_names *names,
			const struct thread_stack *stack, bool places,
			char text[THREAD_TEXT_MAX]);

/** "KeyError, raised in look shop.py:17". */
void thread_words_exception(struct thread_names *names,
			    const struct pyh_exception *exception,
			    char text[THREAD_TEXT_MAX]);

/** As threading calls it, else as the kernel does; NULL: neither. */
const char *thread_words_name(struct thread_names *names,
			      const struct thread_stack *stack,
			      char text[THREAD_TEXT_MAX]);

/** True of signals by which programs end that have gone wrong. */
bool thread_words_is_crash(int number);

/** "SIGSEGV"; NULL: none. */
const char *thread_words_signal(int number, char text[32]);

#endif
