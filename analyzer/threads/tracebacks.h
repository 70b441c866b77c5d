/*
 * Tracebacks of allocations, as views print them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * File names and lines are code, not values: they are always shown.
 */
#ifndef ANALYZER_TRACEBACKS_H
#define ANALYZER_TRACEBACKS_H

#include <stdint.h>

#include "analyzer/show/render.h"
#include "image/base/hashmap.h"
#include "pyheap/census/pytrace.h"

/** Names of files, each read once. */
struct tracebacks {
	const struct pyh_tracer *tracer;	/* borrowed */
	struct memory_reader *memory;		/* borrowed */
	struct hashmap ids;			/* address of a name: its id */
	char **names;				/* owned; NULL: not to be had */
	uint32_t num_names;
	size_t bytes;				/* of all of them */
};

void tracebacks_init(struct tracebacks *tracebacks,
		     const struct pyh_tracer *tracer,
		     struct memory_reader *memory);
void tracebacks_deinit(struct tracebacks *tracebacks);

/** Valid as long as the tracebacks; NULL where it is not to be had. */
const char *tracebacks_file(struct tracebacks *tracebacks, uint64_t filename);

enum { TRACEBACKS_FILE_MAX = 80 };

/** For people, the end of a long name of a file; text is unescaped. */
const char *tracebacks_short(const char *file,
			     char text[TRACEBACKS_FILE_MAX]);

/** Frames as rows under "traceback" of the open row, the most recent first. */
void tracebacks_put_rows(struct tracebacks *tracebacks, struct render *render,
			 uint64_t traceback);

/**
 * The same as lines for people.
 *
 * @param first  index of the frame to begin with
 * @param indent  spaces before each
 */
void tracebacks_put_lines(struct tracebacks *tracebacks, struct render *render,
			  uint64_t traceback, uint32_t first, int indent);

#endif
