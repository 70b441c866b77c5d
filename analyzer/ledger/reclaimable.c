/*
 * What memory could be had back, and by what; see reclaimable.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/ledger/reclaimable.h"

#include <stdio.h>
#include <string.h>

#include "analyzer/analysis.h"
#include "image/base/units.h"

static uint64_t bytes_of(const struct ledger *ledger,
			 enum ledger_category category)
{
	return ledger->rows[category].bytes;
}

void reclaimable_find(struct opened *opened, const struct ledger *ledger,
		      struct reclaimable *ret)
{
	const struct analysis *analysis;
	struct error *err;

	*ret = (struct reclaimable){
		.trim = bytes_of(ledger, LEDGER_MALLOC_TRIM),
		.has_trim = !*ledger->no_malloc,
		.kept = bytes_of(ledger, LEDGER_FREE_BLOCKS) +
			bytes_of(ledger, LEDGER_EMPTY_POOLS) +
			bytes_of(ledger, LEDGER_PINNED) +
			bytes_of(ledger, LEDGER_MALLOC_CACHED) +
			bytes_of(ledger, LEDGER_MALLOC_BURIED) +
			bytes_of(ledger, LEDGER_MALLOC_TOP) +
			bytes_of(ledger, LEDGER_ALLOCATOR_FREE),
	};
	// Where there is no Python the reason has been said.
	if (*ledger->no_python)
		return;
	err = analysis_of(opened, ANALYSIS_CYCLES, &analysis);
	if (err) {
		(void)snprintf(ret->why_not, sizeof(ret->why_not), "%s",
			       err->message);
		error_free(err);
		return;
	}
	ret->has_gc = true;
	ret->gc = analysis->collector.freed_bytes;
}

const char *reclaimable_line(const struct reclaimable *reclaimable,
			     char line[RECLAIMABLE_LINE])
{
	char text[UNITS_TEXT_MAX];
	size_t length = 0;

	line[0] = '\0';
	if (reclaimable->has_gc)
		length += (size_t)snprintf(line, RECLAIMABLE_LINE,
					   "%s by gc.collect(), ",
					   units_size(reclaimable->gc, text));
	if (reclaimable->has_trim)
		length += (size_t)snprintf(line + length,
					   RECLAIMABLE_LINE - length,
					   "%s by malloc_trim(), ",
					   units_size(reclaimable->trim, text));
	// Where neither is known, nothing is.
	(void)snprintf(line + length, RECLAIMABLE_LINE - length,
		       length ? "else drop references; free but kept: %s" :
				"not known (free but kept: %s)",
		       units_size(reclaimable->kept, text));
	return line;
}
