/*
 * Parallel for over shards.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Shards are handed out in order to whichever worker is free. What a caller
 * keeps per shard and merges in shard order does not depend on the number of
 * workers; what it keeps per worker must not depend on order.
 */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include <stddef.h>

#include "image/base/error.h"

/**
 * One shard of work. worker is 0 ... workers-1, for scratch space that must
 * not be shared. The first error stops the handing out of further shards.
 */
typedef struct error *workers_shard_fn(void *context, unsigned int worker,
				       size_t shard);

/** Processors this process may run on: affinity and cgroup quota; >= 1. */
unsigned int workers_available(void);

/**
 * Call fn for shards 0 ... shards-1 on up to workers threads (the caller's is
 * one of them) and wait for all. Returns the error of the lowest shard that
 * failed. If threads cannot be made the work is done with those there are.
 */
struct error *workers_run(unsigned int workers, size_t shards,
			  workers_shard_fn *fn, void *context);

#endif
