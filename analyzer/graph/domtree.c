/*
 * The dominator tree from the top down; see domtree.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/domtree.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/** Where the children of a parent are counted; GRAPH_NONE: it has no place. */
static uint32_t place_of(const struct dominators *dominators, uint32_t parent)
{
	return parent == DOMINATOR_ROOT ? dominators->num_nodes :
	       parent == DOMINATOR_UNREACHED ? GRAPH_NONE : parent;
}

struct error *domtree_make(const struct dominators *dominators,
			   struct spill *spill, struct domtree *ret)
{
	uint64_t nodes = dominators->num_nodes;
	struct error *err;

	*ret = (struct domtree){ .dominators = dominators };
	err = spill_alloc(spill, (nodes + 2) * sizeof(uint32_t),
			  &ret->arrays[0]);
	if (!err)
		err = spill_alloc(spill, nodes * sizeof(uint32_t),
				  &ret->arrays[1]);
	if (err) {
		domtree_deinit(ret);
		return err;
	}
	ret->at = ret->arrays[0].data;
	ret->children = ret->arrays[1].data;
	for (uint32_t i = 0; i < nodes; i++) {
		uint32_t place = place_of(dominators, dominators->parent[i]);

		if (place != GRAPH_NONE)
			ret->at[place + 1]++;
	}
	for (uint32_t i = 0; i <= nodes; i++)
		ret->at[i + 1] += ret->at[i];
	for (uint32_t i = 0; i < nodes; i++) {
		uint32_t place = place_of(dominators, dominators->parent[i]);

		if (place != GRAPH_NONE)
			ret->children[ret->at[place]++] = i;
	}
	// Each has been moved to where the one behind it began.
	memmove(ret->at + 1, ret->at, (nodes + 1) * sizeof(uint32_t));
	ret->at[0] = 0;
	return NULL;
}

void domtree_deinit(struct domtree *tree)
{
	spill_free(&tree->arrays[0]);
	spill_free(&tree->arrays[1]);
	*tree = (struct domtree){ 0 };
}

const uint32_t *domtree_children(const struct domtree *tree, uint32_t node,
				 uint32_t *ret_count)
{
	uint32_t place = place_of(tree->dominators, node);

	*ret_count = tree->at[place + 1] - tree->at[place];
	return tree->children + tree->at[place];
}

/* --- walks ---------------------------------------------------------------- */

/* Levels of the tree that the way back up is kept for; below it is looked up. */
enum { LEVELS = 1 << 16 };

/** Where a node, or the top, stands among the children of its parent. */
static uint32_t position_of(const struct domtree *tree, uint32_t node)
{
	uint32_t place = place_of(tree->dominators,
				  tree->dominators->parent[node]);
	uint32_t low = tree->at[place], high = tree->at[place + 1];

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (tree->children[middle] <= node)
			low = middle;
		else
			high = middle;
	}
	return low;
}

struct walk {
	const struct domtree *tree;
	uint32_t place;		/* whose children are visited */
	uint32_t next;		/* index in children */
	uint64_t depth;
	uint32_t *back;		/* where it went on, by depth */
};

static void descend(struct walk *walk, uint32_t node)
{
	if (walk->depth < LEVELS)
		walk->back[walk->depth] = walk->next;
	walk->depth++;
	walk->place = node;
	walk->next = walk->tree->at[node];
}

static void ascend(struct walk *walk)
{
	const struct dominators *dominators = walk->tree->dominators;

	walk->depth--;
	walk->next = walk->depth < LEVELS ?
			     walk->back[walk->depth] :
			     position_of(walk->tree, walk->place) + 1;
	walk->place = place_of(dominators, dominators->parent[walk->place]);
}

static bool walk_init(struct walk *walk, const struct domtree *tree,
		      uint32_t from)
{
	*walk = (struct walk){ .tree = tree, .place = from,
			       .next = tree->at[from],
			       .back = malloc(LEVELS * sizeof(uint32_t)) };
	return walk->back != NULL;
}

struct error *domtree_each(const struct domtree *tree, uint32_t node,
			   void (*fn)(void *context, uint32_t node),
			   void *context)
{
	struct walk walk;
	bool ready = walk_init(&walk, tree, node);

	if (ready)
		fn(context, node);
	while (ready) {
		uint32_t next;

		if (walk.next == tree->at[walk.place + 1]) {
			if (walk.place == node)
				break;
			ascend(&walk);
			continue;
		}
		next = tree->children[walk.next++];
		fn(context, next);
		if (tree->at[next] != tree->at[next + 1])
			descend(&walk, next);
	}
	free(walk.back);
	return ready ? NULL : error_no_memory();
}

static uint32_t group_of(const uint32_t *kinds, const uint32_t *groups,
			 uint32_t node)
{
	return groups ? groups[kinds[node]] : kinds[node];
}

struct error *domtree_by_group(const struct domtree *tree,
			       const uint32_t *kinds, const uint32_t *groups,
			       uint32_t num_groups, uint64_t *ret)
{
	const uint64_t *retained = tree->dominators->retained;
	uint32_t top = tree->dominators->num_nodes;
	uint32_t *open = calloc((size_t)num_groups + 1, sizeof(*open));
	struct walk walk;
	bool ready = walk_init(&walk, tree, top) && open;

	while (ready) {
		uint32_t node, group;

		if (walk.next == tree->at[walk.place + 1]) {
			if (walk.place == top)
				break;
			open[group_of(kinds, groups, walk.place)]--;
			ascend(&walk);
			continue;
		}
		node = tree->children[walk.next++];
		group = group_of(kinds, groups, node);
		if (open[group] == 0)
			ret[group] += retained[node];
		if (tree->at[node] == tree->at[node + 1])
			continue;
		open[group]++;
		descend(&walk, node);
	}
	free(walk.back);
	free(open);
	return ready ? NULL : error_no_memory();
}
