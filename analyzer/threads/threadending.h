/*
 * What ended a process, as far as the core can tell.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_THREADENDING_H
#define ANALYZER_THREADENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/threads/threadstacks.h"
#include "image/image.h"

enum {
	ENDING_MESSAGE_MAX = 240,	/* bytes of what was said, with the NUL */
	ENDING_TEXT_MAX = 800,
};

struct thread_ending {
	int signal;		/* 0: none */
	bool has_address;	/* … that was touched: */
	uint64_t address;
	bool is_no_address;	/* what was touched can be no address: the
				   processor does not say what it was */
	bool is_overflow;	/* the thread's stack had no more room */
	uint32_t sender;	/* process that sent the signal; 0: none, or the
				   process itself */
	char message[ENDING_MESSAGE_MAX];	/* of glibc, before abort() */
	char exception[ENDING_MESSAGE_MAX];	/* class of the C++ exception that
						   nobody caught */
};

/**
 * Handlers that say what happened (faulthandler's) send the signal once more:
 * where it first came from is on the stack.
 */
void thread_ending_find(struct image *image, const struct thread_stacks *stacks,
			struct thread_ending *ret);

/** What is at the address that was touched: "not mapped"; NULL: none was. */
const char *thread_ending_fault(const struct image *image,
				const struct thread_ending *ending);

/** "SIGSEGV at 0x18, not mapped"; NULL: nothing ended it. */
const char *thread_ending_text(const struct image *image,
			       const struct thread_ending *ending,
			       char text[ENDING_TEXT_MAX]);

#endif
