/*
 * What is where no object is, in a sentence.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_NOTOBJECT_H
#define ANALYZER_NOTOBJECT_H

#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/pycensus.h"

/**
 * Always an error: ERROR_NOT_FOUND with what is at an address instead of an
 * object, and whose memory it is. May look at all objects.
 */
struct error *notobject_error(const struct pyh_runtime *runtime,
			      struct pyh_census *census,
			      const struct pyh_lookup *lookup,
			      uint64_t address);

#endif
