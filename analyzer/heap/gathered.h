/*
 * Who has the most of what several hold.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What two containers hold lives by neither, so that the dominator tree has it
 * where both are known: rows that a list and an ORM's session have, results of
 * cells that a notebook keeps by number and by name. Somebody has them all.
 */
#ifndef ANALYZER_GATHERED_H
#define ANALYZER_GATHERED_H

#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/graph/reach.h"
#include "image/base/error.h"

struct gathered {
	uint32_t object;	/* GRAPH_NONE: nobody has several */
	uint32_t count;		/* of what was asked for, that it refers to */
	uint64_t retained;	/* by these together */
	uint64_t largest;	/* by one of these */
};

/**
 * Of a set of objects: who refers to the most of them, by what they retain, and
 * to little else. Modules, classes and their namespaces are not asked.
 */
void gathered_find(const struct analysis *analysis, const struct node_set *set,
		   struct gathered *ret);

/** The same of the children of an object in the dominator tree that are alike. */
struct error *gathered_under(const struct analysis *analysis, uint32_t parent,
			     const struct pyh_type *element,
			     struct gathered *ret);

#endif
