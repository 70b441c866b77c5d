/*
 * Where data of tensors piles up: containers that keep many, or results with
 * their graphs; and sums of these.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What a model consists of (parameters, gradients, buffers, an optimizer's state)
 * piles up nowhere, however much it is. Nor do the results of one step: they share
 * a graph, which then lives by none of them. Several graphs, each kept by a result
 * of its own, are what a program has that forgot to let go of them.
 */
#ifndef ANALYZER_TENSORPILES_H
#define ANALYZER_TENSORPILES_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/bounded.h"
#include "analyzer/heap/suspects.h"

enum { TENSORPILES_MAX = 16 };

struct opened;

/**
 * Find those that have a twentieth of the memory that they are in.
 *
 * @param memory  of the process: what data of tensors in it is held against
 * @param ret  suspects without words, of SUSPECT_TENSORS, _GRAPHS and _SUM
 * @param ret_count  at most TENSORPILES_MAX
 */
struct error *tensorpiles_find(struct opened *opened,
			       const struct analysis *analysis,
			       struct bounded *bounded, uint64_t memory,
			       struct suspect ret[TENSORPILES_MAX],
			       size_t *ret_count);

#endif
