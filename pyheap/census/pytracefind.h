/*
 * Where tracemalloc keeps its tables; for pytrace.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYTRACEFIND_H
#define PYHEAP_PYTRACEFIND_H

#include <stdbool.h>
#include <stdint.h>

#include "pyheap/census/pytrace.h"

/** What the target's variables say. */
struct pyh_trace_state {
	enum pyh_tracing tracing;
	uint64_t limit;			/* frames; 0: not known */
	bool totals_known;
	uint64_t traced, peak;		/* bytes */
	uint64_t at;			/* address of the pointer to `traces` */
	struct pyh_hashtable traces;	/* with PYH_TRACING_ON */
	uint64_t domains;		/* address of that table; 0: none */
};

/** Damage is a finding of the image. */
void pyh_trace_state_find(const struct pyh_runtime *runtime,
			  struct memory_reader *memory,
			  struct pyh_trace_state *ret);

/**
 * Size and traceback of an entry of a table of traces.
 *
 * @return false where they cannot be read, or not be true
 */
bool pyh_trace_of_entry(const struct pyh_runtime *runtime,
			struct memory_reader *memory,
			const struct pyh_hashentry *entry,
			struct pyh_trace *ret);

#endif
