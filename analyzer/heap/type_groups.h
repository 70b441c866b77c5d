/*
 * Objects grouped otherwise than by type, for `types --by`: by owner ("dict of
 * __main__.Node") and by the module of their type.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_TYPE_GROUPS_H
#define ANALYZER_TYPE_GROUPS_H

#include <stddef.h>

#include "analyzer/heap/type_rows.h"
#include "image/base/error.h"

struct scan;
struct type_groups;

struct type_counts;

/** As --by says, of the objects that --type lets through. */
struct error *type_groups_make(struct scan *scan,
			       const struct type_counts *counts,
			       struct type_groups **ret);
void type_groups_destroy(struct type_groups *groups);

/** In no particular order. */
size_t type_groups_count(const struct type_groups *groups);
const struct type_row *type_groups_row(const struct type_groups *groups,
				       size_t i);

#endif
