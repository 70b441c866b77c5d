/*
 * Dominators of those nodes of a likely tree that are not sure.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Semi-NCA (Georgiadis and Tarjan, "Finding dominators revisited", 2004); jump
 * pointers (Myers, "An applicative random-access stack", 1983) keep the worst
 * case at n log n. Of all nodes only those are looked at over which an unsure one
 * can be reached, and of the edges to a sure one only that of its parent, where
 * there is one.
 */
#ifndef ANALYZER_GRAPH_SEMIDOMINATORS_H
#define ANALYZER_GRAPH_SEMIDOMINATORS_H

#include <stdint.h>

#include "analyzer/graph/likely.h"

/**
 * Let the unsure hang where they should. The tree is right then, whatever sure
 * says.
 *
 * @param scratch  num_nodes words; then of no meaning
 */
struct error *semidominators_find(struct likely *likely, uint32_t *scratch);

#endif
