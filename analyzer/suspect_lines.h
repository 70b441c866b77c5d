/*
 * Leak suspects as lines for people: for `suspects` and the overview.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_SUSPECT_LINES_H
#define ANALYZER_SUSPECT_LINES_H

#include "analyzer/render.h"
#include "analyzer/suspects.h"

/** see: the view that shows more, at the right end of the head, or NULL. */
void suspect_lines(struct render *render, const struct suspects *suspects,
		   const char *see);

#endif
