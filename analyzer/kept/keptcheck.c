/*
 * Numbers of kept results, checked; see keptcheck.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whoever follows them does so without a second look: ids below the number of
 * objects, edges that lie in the columns of edges, parents that lead to the top
 * and not in a circle, numbers of addresses that count up.
 */
#include "analyzer/kept/keptcheck.h"

#include <stdlib.h>

#include "image/base/workers.h"

enum { SHARD = 1 << 18 };	/* elements checked at one go */

struct checking {
	const struct store *store;
	const struct kept_facts *facts;
	uint32_t num_types;
};

enum rule {
	RULE_TYPE,		/* the id of a type */
	RULE_OBJECT,		/* the number of an object */
	RULE_EDGE,		/* … with how it is held */
	RULE_PARENT,		/* … or what stands for none */
	RULE_OFFSET,		/* not less than the one before */
};

/* Columns whose elements are numbers, each checked for itself. */
static const struct {
	enum kept_column column;
	enum rule rule;
} rules[] = {
	{ KEPT_OBJECT_TYPES, RULE_TYPE },
	{ KEPT_OUT_AT, RULE_OFFSET },
	{ KEPT_OUT, RULE_EDGE },
	{ KEPT_IN_AT, RULE_OFFSET },
	{ KEPT_IN, RULE_EDGE },
	{ KEPT_PARENTS, RULE_PARENT },
	{ KEPT_TREE_AT, RULE_OFFSET },
	{ KEPT_TREE, RULE_OBJECT },
	{ KEPT_COMPONENTS_AT, RULE_OFFSET },
	{ KEPT_COMPONENTS, RULE_OBJECT },
	{ KEPT_BEFORE, RULE_PARENT },
	{ KEPT_BY_RETAINED, RULE_OBJECT },
	{ KEPT_BY_SIZE, RULE_OBJECT },
};

enum { NUM_RULES = sizeof(rules) / sizeof(rules[0]) };

/** All of them below a limit? Without a branch for each: it is fast. */
static bool are_below(const uint32_t *numbers, uint64_t count, uint32_t mask,
		      uint32_t limit)
{
	uint32_t wrong = 0;

	for (uint64_t i = 0; i < count; i++)
		wrong |= (numbers[i] & mask) >= limit;
	return !wrong;
}

static bool are_parents(const uint32_t *numbers, uint64_t count, uint32_t limit)
{
	uint32_t wrong = 0;

	for (uint64_t i = 0; i < count; i++)
		wrong |= (numbers[i] >= limit) &
			 (numbers[i] < DOMINATOR_ROOT);
	return !wrong;
}

static bool are_ascending(const uint32_t *numbers, uint64_t count)
{
	uint32_t wrong = 0;

	for (uint64_t i = 1; i < count; i++)
		wrong |= numbers[i] < numbers[i - 1];
	return !wrong;
}

static bool holds(const struct checking *checking, enum rule rule,
		  const uint32_t *numbers, uint64_t count)
{
	uint32_t objects = checking->facts->num_objects;

	switch (rule) {
	case RULE_TYPE:
		return are_below(numbers, count, UINT32_MAX,
				 checking->num_types);
	case RULE_OBJECT:
		return are_below(numbers, count, UINT32_MAX, objects);
	case RULE_EDGE:
		return are_below(numbers, count, GRAPH_ID_MASK, objects);
	case RULE_PARENT:
		return are_parents(numbers, count, objects);
	case RULE_OFFSET:
		break;
	}
	return are_ascending(numbers, count);
}

static struct error *wrong(enum kept_column column)
{
	return error_new(ERROR_FORMAT, "numbers in column %d cannot be right",
			 (int)column);
}

/** A shard is a part of one column; there are as many for each. */
static struct error *check_shard(void *context, unsigned int worker,
				 size_t shard)
{
	const struct checking *checking = context;
	enum kept_column column = rules[shard % NUM_RULES].column;
	uint64_t begin = shard / NUM_RULES * SHARD, end = begin + SHARD, count;
	const uint32_t *numbers = store_column(checking->store, column,
					       sizeof(*numbers), &count);

	(void)worker;
	if (!numbers)
		return wrong(column);
	// Each offset is compared with that before it, across shards as well.
	if (begin > 0)
		begin--;
	if (end > count)
		end = count;
	return begin >= end || holds(checking, rules[shard % NUM_RULES].rule,
				     numbers + begin, end - begin) ?
		       NULL : wrong(column);
}

/* --- what is more than single numbers -------------------------------------- */

/** Bits count up, and none is set beyond the last object. */
static struct error *check_cells(const struct checking *checking)
{
	uint64_t num_cells, before = 0;
	const struct rank_cell *cells = store_column(checking->store,
						     KEPT_CELLS, sizeof(*cells),
						     &num_cells);

	for (uint64_t i = 0; cells && i < num_cells; i++) {
		if (cells[i].before != before)
			return wrong(KEPT_CELLS);
		before += rank_bits(atomic_load_explicit(&cells[i].bits,
							 memory_order_relaxed));
	}
	return cells && before == checking->facts->num_objects ? NULL :
								 wrong(KEPT_CELLS);
}

static struct error *check_set(const struct checking *checking,
			       enum kept_column column)
{
	uint32_t objects = checking->facts->num_objects;
	uint64_t count;
	const uint64_t *words = store_column(checking->store, column,
					     sizeof(*words), &count);

	return words && count == (uint64_t)objects / 64 + 1 &&
	       words[objects / 64] >> objects % 64 == 0 ? NULL : wrong(column);
}

/** The children that each parent has are those that say it is theirs. */
static struct error *check_children(const struct checking *checking)
{
	uint32_t objects = checking->facts->num_objects;
	const uint32_t *parents = kept_column(checking->store, KEPT_PARENTS,
					      sizeof(*parents), objects);
	uint64_t count;
	const uint32_t *at = kept_column(checking->store, KEPT_TREE_AT,
					 sizeof(*at), (uint64_t)objects + 2);
	const uint32_t *tree = store_column(checking->store, KEPT_TREE,
					    sizeof(*tree), &count);

	if (!parents || !at || !tree || at[objects + 1] != count)
		return wrong(KEPT_TREE);
	for (uint32_t i = 0; i <= objects; i++)
		for (uint32_t j = at[i]; j < at[i + 1]; j++)
			if (parents[tree[j]] !=
			    (i == objects ? DOMINATOR_ROOT : i))
				return wrong(KEPT_TREE);
	return NULL;
}

/**
 * From every object the way up leads to the top, and not in a circle: each is
 * walked until one that is known to lead there, and then known itself.
 */
static struct error *check_tree(const struct checking *checking,
				enum kept_column column)
{
	uint32_t objects = checking->facts->num_objects;
	const uint32_t *parents = kept_column(checking->store, column,
					      sizeof(*parents), objects);
	struct node_set known = { 0 };
	struct error *err = node_set_init(&known, objects);

	for (uint32_t i = 0; !err && i < objects; i++) {
		uint32_t at = i, steps = 0;

		for (; at < objects && !node_set_has(&known, at) &&
		       steps <= objects; steps++)
			at = parents[at];
		if (steps > objects)
			err = wrong(column);
		for (at = i; !err && at < objects && node_set_add(&known, at);)
			at = parents[at];
	}
	node_set_deinit(&known);
	return err;
}

struct error *keptcheck_all(const struct store *store, uint32_t num_types,
			    unsigned int workers)
{
	static const enum kept_column sets[] = {
		KEPT_UNEXPLAINED, KEPT_HELD, KEPT_OVER_RELEASED, KEPT_GARBAGE,
		KEPT_FREED, KEPT_FROZEN, KEPT_UNCOLLECTABLE,
	};
	struct checking checking = {
		.store = store, .num_types = num_types,
		.facts = kept_column(store, KEPT_FACTS,
				     sizeof(struct kept_facts), 1) };
	uint64_t most, shards;
	struct error *err;

	if (!checking.facts)
		return wrong(KEPT_FACTS);
	most = checking.facts->num_objects > checking.facts->num_edges ?
		       (uint64_t)checking.facts->num_objects + 1 :
		       checking.facts->num_edges;
	shards = most / SHARD + 1;
	err = workers_run(workers, (size_t)shards * NUM_RULES, check_shard,
			  &checking);
	for (size_t i = 0; !err && i < sizeof(sets) / sizeof(sets[0]); i++)
		err = check_set(&checking, sets[i]);
	if (!err)
		err = check_cells(&checking);
	if (!err)
		err = check_children(&checking);
	if (!err)
		err = check_tree(&checking, KEPT_PARENTS);
	return err ? err : check_tree(&checking, KEPT_BEFORE);
}
