/*
 * Numbers of kept results, each held against what it may be.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_KEPTCHECK_H
#define ANALYZER_KEPTCHECK_H

#include "analyzer/kept/keptcolumns.h"
#include "analyzer/kept/store.h"
#include "image/base/error.h"

/** Of the large columns; facts and those of few elements have been checked. */
struct error *keptcheck_all(const struct store *store, uint32_t num_types,
			    unsigned int workers);

#endif
