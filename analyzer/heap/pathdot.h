/*
 * Paths as a digraph that Graphviz draws.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	pathdot_begin(&dot, out, paths, analysis);
 *	err = pathdot_add(&dot, &path, "3 objects, 168 B");
 *	pathdot_end(&dot);
 *
 * Objects and references that several paths share are drawn once.
 */
#ifndef ANALYZER_PATHDOT_H
#define ANALYZER_PATHDOT_H

#include <stdio.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/paths.h"
#include "image/base/error.h"
#include "image/base/hashmap.h"

struct pathdot {
	FILE *out;			/* borrowed, as the two below */
	struct paths *paths;
	const struct analysis *analysis;
	struct hashmap objects, edges;	/* that were written */
};

void pathdot_begin(struct pathdot *dot, FILE *out, struct paths *paths,
		   const struct analysis *analysis);

/**
 * Add a path, whose last object stands out. Write errors stay in ferror().
 *
 * @param remark  one more line in the last object's label, or NULL
 */
struct error *pathdot_add(struct pathdot *dot, const struct path *path,
			  const char *remark);

void pathdot_end(struct pathdot *dot);

#endif
