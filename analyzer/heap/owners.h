/*
 * Owners of containers and values by the graph: pyowners.h has the rule.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Who refers to whom the graph knows already, so that hardly any object is read
 * again: those that may have a namespace, and those that hold something by a
 * reference that the audit of counts has made weak, which counts here.
 */
#ifndef ANALYZER_OWNERS_H
#define ANALYZER_OWNERS_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "image/base/error.h"

struct kept_owned;

/**
 * Count all objects by their type and that of their owner: the rows of
 * `types --by owner`, in no particular order, with what they retain.
 *
 * @param analysis  with its tree
 * @param ret  the caller frees it
 */
struct error *owners_tally(struct opened *opened,
			   const struct analysis *analysis,
			   struct kept_owned **ret, size_t *ret_count);

#endif
