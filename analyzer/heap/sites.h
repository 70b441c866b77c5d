/*
 * Where traced memory was allocated: by line, or by traceback.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_SITES_H
#define ANALYZER_SITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/census/pytrace.h"

struct site {
	uint64_t filename;	/* of the most recent call; 0: unknown */
	uint32_t line;
	uint32_t tracebacks;	/* different ones that end there */
	uint64_t count, size;	/* blocks, and bytes that were asked for */
	uint64_t traceback;	/* the one that holds most of it: address */
	uint64_t most;		/* bytes of that one */
};

struct sites {
	struct site *items;	/* owned; by address of file name and line, or
				   by address of the traceback */
	size_t count;
	uint64_t traces, size, tracebacks;	/* in all */
};

/**
 * Add up all traces. Does not depend on the number of workers. Damage is a
 * finding, and what it leaves unknown is in a site of its own.
 *
 * @param whole  one site for each traceback, else for each line
 */
struct error *sites_gather(const struct pyh_tracer *tracer,
			   struct memory_reader *memory, unsigned int workers,
			   bool whole, struct sites *ret);
void sites_deinit(struct sites *sites);

#endif
