/*
 * What memory could be had back, and by what.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_RECLAIMABLE_H
#define ANALYZER_RECLAIMABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/ledger/ledger.h"

struct reclaimable {
	uint64_t gc;		/* bytes: what gc.collect() would free */
	bool has_gc;
	char why_not[LEDGER_DETAIL];	/* that is not known; "": it is */
	uint64_t trim;		/* … malloc_trim(0) would give back */
	bool has_trim;
	uint64_t kept;		/* free, and nothing gives it back */
};

/** Replays a collection, unless that was done. */
void reclaimable_find(struct opened *opened, const struct ledger *ledger,
		      struct reclaimable *ret);

enum { RECLAIMABLE_LINE = 200 };

/** "reclaimable: 0.3 MiB by gc.collect(), …". Returns line. */
const char *reclaimable_line(const struct reclaimable *reclaimable,
			     char line[RECLAIMABLE_LINE]);

#endif
