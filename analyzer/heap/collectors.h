/*
 * The numbers of all collectors of a process, with the lengths of their lists.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_COLLECTORS_H
#define ANALYZER_COLLECTORS_H

#include <stddef.h>

#include "analyzer/analysis.h"
#include "image/base/error.h"
#include "pyheap/references/pygc.h"

/**
 * One for each interpreter that has its own: in 3.8 all share one. Read from
 * memory, which walks all lists, or taken from what an earlier run has kept.
 *
 * @param ret  the caller frees it; at least one
 */
struct error *collectors_read(struct opened *opened,
			      const struct analysis *analysis,
			      struct pyh_gc **ret, size_t *ret_count);

#endif
