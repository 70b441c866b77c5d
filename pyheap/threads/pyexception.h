/*
 * An exception: what it came from, and where it was raised.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Include/cpython/pyerrors.h, Include/cpython/traceback.h.
 */
#ifndef PYHEAP_PYEXCEPTION_H
#define PYHEAP_PYEXCEPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/threads/pystack.h"

enum {
	PYH_EXCEPTIONS_MAX = 64,	/* of a chain that is followed */
	PYH_TRACEBACKS_MAX = 1 << 16,
	PYH_PLACES_MAX = 32,	/* that are told of one exception */
};

/** Addresses of objects; 0: none, or not to be had. */
struct pyh_exception {
	uint64_t address, type;
	uint64_t cause;		/* raise … from */
	uint64_t context;	/* being handled when it was raised */
	bool has_place;
	struct pyh_frame place;	/* where it was raised: code, names, line */
};

/** False if there is no exception at the address. */
bool pyh_exception_read(const struct pyh_runtime *runtime,
			struct memory_reader *memory, uint64_t address,
			struct pyh_exception *ret);

/**
 * The places that it went through, from where it was raised outwards.
 *
 * @param most  of them at ret; PYH_PLACES_MAX is of use
 * @return how many there are
 */
size_t pyh_exception_places(const struct pyh_runtime *runtime,
			    struct memory_reader *memory, uint64_t address,
			    struct pyh_frame *ret, size_t most);

/** The first of its arguments, which is its message mostly; 0: it has none. */
uint64_t pyh_exception_argument(const struct pyh_runtime *runtime,
				struct memory_reader *memory, uint64_t address);

/**
 * The last exception of an interpreter that nobody caught: what sys.excepthook was
 * called with, or an interactive shell has shown. 0: none.
 *
 * @param interpreter  its index in the runtime
 */
uint64_t pyh_uncaught_exception(const struct pyh_runtime *runtime,
				struct memory_reader *memory,
				size_t interpreter);

#endif
