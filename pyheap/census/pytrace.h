/*
 * What tracemalloc knows: each traced block, and where it was allocated.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A hash table leads from the address of a block to its size and traceback,
 * another from the number of a domain to such a table for blocks that are not
 * Python's own. Tracebacks are shared: two of one address are the same one.
 * Since 3.12 all of it hangs on _PyRuntime; before, on static variables, which
 * are found by their symbols or else by what they lead to.
 *
 * Source: CPython Modules/_tracemalloc.c (3.8 to 3.11), Python/tracemalloc.c
 * and Include/internal/pycore_tracemalloc.h (3.12 and later).
 */
#ifndef PYHEAP_PYTRACE_H
#define PYHEAP_PYTRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/sizes/pyhashtable.h"

enum pyh_tracing {
	PYH_TRACING_OFF,	/* never begun, or ended: nothing is known */
	PYH_TRACING_ON,
	PYH_TRACING_MISSING,	/* on, but the dump has not got the tables */
	PYH_TRACING_LOST,	/* on, but the tables are damaged */
};

/** The traced blocks of one domain; Python's own allocators are domain 0. */
struct pyh_trace_domain {
	uint32_t number;
	struct pyh_hashtable traces;
};

struct pyh_tracer {
	const struct pyh_runtime *runtime;	/* borrowed */
	enum pyh_tracing tracing;
	/* of the target: tracemalloc.get_traceback_limit(); 0: not known */
	uint64_t limit;
	/* what tracemalloc.get_traced_memory() would say, in bytes */
	bool totals_known;
	uint64_t traced, peak;	/* peak 0: not known */
	struct pyh_trace_domain *domains;	/* owned; the first is 0 */
	size_t num_domains;
	uint64_t found_at;	/* address of the word that leads to the table
				   of domain 0; 0: unknown */
};

/**
 * Find what tracemalloc knows. Damage is a finding.
 *
 * @return NULL also where the target did not trace; ERROR_NO_MEMORY
 */
struct error *pyh_tracer_open(const struct pyh_runtime *runtime,
			      struct memory_reader *memory,
			      struct pyh_tracer *ret);
void pyh_tracer_deinit(struct pyh_tracer *tracer);

/**
 * Find traced and peak where only their values tell which variables they are.
 *
 * @param size  of all blocks together, in bytes
 */
void pyh_tracer_find_totals(struct pyh_tracer *tracer,
			    struct memory_reader *memory, uint64_t size);

/* --- traces --------------------------------------------------------------- */

struct pyh_trace {
	uint64_t address;	/* of the block */
	uint64_t size;		/* bytes asked for */
	uint64_t traceback;	/* address */
	uint32_t domain;
};

/** Called by several workers at once, 0 … workers-1. */
typedef void pyh_trace_fn(void *context, unsigned int worker,
			  const struct pyh_trace *trace);

/** Each traced block, in no order. Damage is a finding. */
struct error *pyh_traces_each(const struct pyh_tracer *tracer,
			      unsigned int workers, pyh_trace_fn *fn,
			      void *context);

/** The trace of the block that begins at an address, in domain 0. */
bool pyh_trace_find(const struct pyh_tracer *tracer,
		    struct memory_reader *memory, uint64_t block,
		    struct pyh_trace *ret);

/* --- tracebacks ----------------------------------------------------------- */

struct pyh_alloc_traceback {
	uint64_t frames;	/* address of the first */
	uint32_t count;		/* frames kept, at least 1 */
	uint32_t total;		/* frames there were; 0: not kept (3.8) */
};

/** A frame, the most recent call being frame 0. */
struct pyh_alloc_frame {
	uint64_t filename;	/* address; one for each name */
	uint32_t line;		/* 0: unknown */
};

/** ret is untouched unless PYH_FOUND. */
enum pyh_found pyh_alloc_traceback(const struct pyh_tracer *tracer,
				   struct memory_reader *memory,
				   uint64_t address,
				   struct pyh_alloc_traceback *ret);

/** index must be below count. */
bool pyh_alloc_frame(const struct pyh_tracer *tracer,
		     struct memory_reader *memory,
		     const struct pyh_alloc_traceback *traceback,
		     uint32_t index, struct pyh_alloc_frame *ret);

/**
 * The name of a file in UTF-8, NUL-terminated, cut where it is too long.
 *
 * @param size  bytes at buffer, at least 4
 * @return false where it is not to be had; buffer is then undefined
 */
bool pyh_alloc_filename(const struct pyh_tracer *tracer,
			struct memory_reader *memory, uint64_t filename,
			char *buffer, size_t size);

#endif
