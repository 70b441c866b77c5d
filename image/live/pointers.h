/*
 * Words of memory that are addresses: how many, and who holds which.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LIVE_POINTERS_H
#define LIVE_POINTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/live/standing.h"

/**
 * True if, by a sample, at least one word in `sparse` of [start, end) is an
 * aligned address in known memory, or one part of it is full of them, or its
 * end, as that of a stack would be; and where that cannot be told.
 */
bool pointers_abound(struct standing *standing, uint64_t start, uint64_t end,
		     unsigned int sparse);

/** The word at holder is the address target; worker: who calls. */
typedef void pointers_fn(void *context, unsigned int worker, uint64_t holder,
			 uint64_t target);

/**
 * Call fn, by all workers and in no order, for each aligned word in spans that
 * is one of some addresses.
 *
 * @param targets  ascending
 * @return ERROR_LIMIT where memory could not be read to the end
 */
struct error *pointers_search(struct standing *standing,
			      const struct select_span *spans,
			      size_t num_spans, const uint64_t *targets,
			      size_t num_targets, unsigned int workers,
			      pointers_fn *fn, void *context);

#endif
