/*
 * Where one object was allocated, if the target traced that.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_ALLOCATION_H
#define ANALYZER_ALLOCATION_H

#include <stdbool.h>

#include "analyzer/threads/tracebacks.h"
#include "pyheap/census/pycensus.h"

struct allocation {
	bool known;		/* else there is nothing to be printed */
	struct pyh_trace trace;
	struct pyh_tracer tracer;
	struct tracebacks tracebacks;
};

/** memory is borrowed. ret is to be released also after an error. */
struct error *allocation_find(const struct pyh_runtime *runtime,
			      struct memory_reader *memory,
			      const struct pyh_object *object,
			      struct allocation *ret);
void allocation_deinit(struct allocation *allocation);

/** "allocated" of the open row: file, line and the traceback. */
void allocation_put_row(struct allocation *allocation, struct render *render);

/** Lines for people, with a heading of their own. */
void allocation_put_lines(struct allocation *allocation,
			  struct render *render);

#endif
