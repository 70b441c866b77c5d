/*
 * Frozen objects: those of the permanent generation.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_FROZEN_H
#define ANALYZER_FROZEN_H

#include "analyzer/graph/reach.h"
#include "analyzer/heap/heapgraph.h"

/**
 * Make the set of objects that gc.freeze(), or immortality since 3.12, has put
 * out of the collector's sight, by walking that list of each interpreter. A
 * list that is broken is walked from both ends, and is a finding.
 */
struct error *frozen_find(const struct heapgraph *heap,
			  const struct pyh_runtime *runtime,
			  struct node_set *ret);

#endif
