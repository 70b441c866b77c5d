/*
 * Leak suspects as rows, and as lines for people: for `suspects` and the
 * overview.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_SUSPECT_ROWS_H
#define ANALYZER_SUSPECT_ROWS_H

#include "analyzer/heap/suspects.h"
#include "analyzer/ledger/ledger.h"
#include "analyzer/show/render.h"
#include "pyheap/census/pycensus.h"

enum suspect_column {
	SUSPECT_COLUMN_PATH,
	SUSPECT_COLUMN_SENTENCE,
	SUSPECT_COLUMN_RETAINED,
	SUSPECT_COLUMN_DEVICE,
	SUSPECT_COLUMN_DEVICE_RETAINED,
	SUSPECT_COLUMN_SHARE,
	SUSPECT_COLUMN_PATTERN,
	SUSPECT_COLUMN_EVIDENCE,
	SUSPECT_COLUMN_ADDRESS,
	SUSPECT_COLUMN_TYPE,
	SUSPECT_COLUMN_ELEMENT,
	SUSPECT_COLUMN_COUNT,
	NUM_SUSPECT_COLUMNS
};

extern const struct column suspect_columns[NUM_SUSPECT_COLUMNS];

/** What the cells of a row are borrowed from. */
struct suspect_texts {
	char memory[SUSPECT_MEMORY_MAX];
};

void suspect_cells(const struct analysis *analysis,
		   const struct suspect *suspect, struct suspect_texts *texts,
		   struct cell cells[NUM_SUSPECT_COLUMNS]);

/** Rows for the formats that people do not read. */
void suspect_table(struct render *render, const struct analysis *analysis,
		   const struct suspects *suspects, const char *json_key);

/**
 * Lines for people.
 *
 * @param coverage  of the dump, if it is known, else NULL
 * @param ledger  the same; then free and native memory are all there is of it
 * @param see  the view that shows more, at the right end of the head, or NULL
 * @return how many lines
 */
unsigned int suspect_lines(struct render *render,
			   const struct suspects *suspects,
			   const struct pyh_coverage *coverage,
			   const struct ledger *ledger, const char *see);

#endif
