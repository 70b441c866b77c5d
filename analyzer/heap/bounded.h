/*
 * Containers that have a bound and are near it: they cannot grow without end.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A functools.lru_cache with a maxsize, a deque with a maxlen, a queue with a
 * maxsize. One that is less than half full may grow as any other does.
 */
#ifndef ANALYZER_BOUNDED_H
#define ANALYZER_BOUNDED_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "image/base/error.h"

struct bounded;

/** What is read with; borrows both. */
struct error *bounded_open(struct opened *opened,
			   const struct analysis *analysis,
			   struct bounded **ret);
/** NULL is fine. */
void bounded_close(struct bounded *bounded);

/** True of an object that is one, or that lives by one whose content it is. */
bool bounded_is(struct bounded *bounded, uint32_t object);

#endif
