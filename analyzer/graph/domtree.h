/*
 * The dominator tree from the top down: who lives by whom.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_GRAPH_DOMTREE_H
#define ANALYZER_GRAPH_DOMTREE_H

#include <stdint.h>

#include "analyzer/graph/dominators.h"
#include "image/base/spill.h"

/** Children of each node, by number. */
struct domtree {
	const struct dominators *dominators;	/* borrowed */
	uint32_t *at;		/* num_nodes + 2: of node i, and last of the top */
	uint32_t *children;
	struct spill_array arrays[2];
};

struct error *domtree_make(const struct dominators *dominators,
			   struct spill *spill, struct domtree *ret);
void domtree_deinit(struct domtree *tree);

/** Children of a node, or of DOMINATOR_ROOT; ret_count of them. */
const uint32_t *domtree_children(const struct domtree *tree, uint32_t node,
				 uint32_t *ret_count);

/** Call fn for a node and all that lives by it; not for DOMINATOR_ROOT. */
struct error *domtree_each(const struct domtree *tree, uint32_t node,
			   void (*fn)(void *context, uint32_t node),
			   void *context);

/**
 * What each group of nodes retains together: the sum over those of it that no
 * other of it dominates.
 *
 * @param kinds  of each node
 * @param groups  group of each kind, below num_groups; NULL: kinds are groups
 * @param ret  added to, by group
 */
struct error *domtree_by_group(const struct domtree *tree,
			       const uint32_t *kinds, const uint32_t *groups,
			       uint32_t num_groups, uint64_t *ret);

#endif
