/*
 * The overview: who has the memory that native code took of malloc, in a line.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Objects of extension modules lead to memory that is no object: trees of lxml,
 * databases of sqlite3, canvases. It counts for none of them alone, as pointers
 * are followed that nobody declared; but which type leads to the most is known,
 * and who has the objects of that type.
 */
#ifndef ANALYZER_OVERVIEW_NATIVE_H
#define ANALYZER_OVERVIEW_NATIVE_H

#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/ledger/ledger.h"
#include "image/base/error.h"

struct scan;

/**
 * @param least  bytes that are worth a word
 * @param ret_lines  that were told
 */
struct error *overview_native_tell(struct scan *scan,
				   const struct analysis *analysis,
				   const struct ledger *ledger, uint64_t least,
				   unsigned int *ret_lines);

#endif
