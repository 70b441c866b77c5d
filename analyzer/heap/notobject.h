/*
 * What is where no object is, in a sentence.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_NOTOBJECT_H
#define ANALYZER_NOTOBJECT_H

#include <stdint.h>

#include "analyzer/opened.h"
#include "image/base/error.h"
#include "pyheap/census/pycensus.h"

/**
 * Always an error: ERROR_NOT_FOUND with what is at an address instead of an
 * object, and whose memory it is. May look at all objects, and of a chunk of
 * malloc, for who holds it, at all of memory.
 *
 * @param census  of opened
 */
struct error *notobject_error(struct opened *opened, struct pyh_census *census,
			      const struct pyh_lookup *lookup,
			      uint64_t address);

#endif
