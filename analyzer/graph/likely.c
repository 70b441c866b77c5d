/*
 * A tree that is likely to be that of the dominators; see likely.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/likely.h"

#include <stdatomic.h>

#include "image/base/guard.h"
#include "image/base/workers.h"

enum {
	TOP = LIKELY_TOP,
	AHEAD = 16,		/* nodes, or edges, whose memory is asked for */
	ROUNDS_MAX = 3,
	FEW = 64,		/* one of so many unsure is little left to do */
	STEPS_MAX = 64,		/* up the tree, for each node */
	STEPS_EACH = 2,		/* … on average of all nodes */
};

/** What is needed beside the tree; where nothing else is said, by number. */
struct checking {
	struct likely *likely;
	struct node_set seen;	/* nodes that need not be looked at any more */
	_Atomic uint32_t num_inner;	/* nodes that have edges that count */
	uint32_t *place;	/* by node: begin of its number; 0: it has none */
	/* the subtree of a node are those whose begins are from its own on up
	   to its end */
	uint32_t *begin, *end;
	/* the lowest and the highest begin of what has edges to anything below
	   a node, as far as these lie outside the subtrees of parents */
	struct reach_of {
		_Atomic uint32_t low, high;
	} *reach;
	struct spill_array arrays[2];
};

/* --- in breadth ------------------------------------------------------------ */

static bool has_edges(const struct likely *likely, uint32_t node)
{
	const struct graph *graph = likely->graph;

	for (uint32_t j = graph->out_at[node]; j < graph->out_at[node + 1]; j++)
		if (likely_counts(likely, graph->out[j]))
			return true;
	return false;
}

static struct error *mark_leaves(void *context, unsigned int worker,
				 size_t shard)
{
	struct checking *checking = context;
	struct likely *likely = checking->likely;
	uint32_t end, begin = likely_shard(shard, likely->graph->num_nodes,
					   &end);

	uint32_t num_inner = 0;

	(void)worker;
	for (uint32_t node = begin; node < end; node++) {
		bool inner = has_edges(likely, node);

		likely->number[node] = inner ? 0 : LIKELY_LEAF;
		num_inner += inner;
		if (!inner)
			(void)node_set_add(&checking->seen, node);
	}
	(void)atomic_fetch_add(&checking->num_inner, num_inner);
	return NULL;
}

/** Room for as many numbers as there may be. */
static struct error *make_numbers(struct checking *checking)
{
	struct likely *likely = checking->likely;
	uint64_t numbers = (uint64_t)checking->num_inner + TOP + 1;
	struct {
		struct spill_array *array;
		size_t size;
	} arrays[] = {
		{ &likely->arrays[0], sizeof(*likely->node) },
		{ &likely->arrays[1], sizeof(*likely->parent) },
		{ &checking->arrays[0], sizeof(*checking->end) },
		{ &checking->arrays[1], sizeof(*checking->reach) },
	};
	struct error *err = node_set_init(&likely->sure, (uint32_t)numbers);

	if (!err)
		err = node_set_init(&likely->moved, (uint32_t)numbers);
	for (size_t i = 0; !err && i < sizeof(arrays) / sizeof(arrays[0]); i++)
		err = spill_alloc_unset(likely->options->spill,
					numbers * arrays[i].size,
					arrays[i].array);
	likely->node = likely->arrays[0].data;
	likely->parent = likely->arrays[1].data;
	checking->end = checking->arrays[0].data;
	checking->reach = checking->arrays[1].data;
	return err;
}

static void take(struct checking *checking, uint32_t node, uint32_t from)
{
	struct likely *likely = checking->likely;

	if (!node_set_add(&checking->seen, node))
		return;
	likely->node[++likely->count] = node;
	likely->parent[likely->count] = from;
}

static void take_roots(struct checking *checking)
{
	struct likely *likely = checking->likely;
	const struct node_set *roots = likely->options->roots;

	for (uint32_t i = 0; i < roots->num_nodes; i += 64)
		for (uint64_t bits = roots->words[i / 64]; bits;
		     bits &= bits - 1)
			take(checking, i + (uint32_t)__builtin_ctzll(bits),
			     TOP);
	for (uint32_t w = TOP + 1; w <= likely->count; w++)
		(void)node_set_add(&likely->sure, w);
}

static void ask_ahead(const struct likely *likely, uint32_t w)
{
	const struct graph *graph = likely->graph;

	if (likely->count - w <= 2 * AHEAD)
		return;
	__builtin_prefetch(&graph->out_at[likely->node[w + 2 * AHEAD]]);
	__builtin_prefetch(
		&graph->out[graph->out_at[likely->node[w + AHEAD]]]);
}

static void spread(struct checking *checking)
{
	struct likely *likely = checking->likely;
	const struct graph *graph = likely->graph;

	take_roots(checking);
	for (uint32_t w = TOP + 1; w <= likely->count; w++) {
		uint32_t node = likely->node[w], end = graph->out_at[node + 1];

		ask_ahead(likely, w);
		for (uint32_t j = graph->out_at[node]; j < end; j++)
			if (likely_counts(likely, graph->out[j]))
				take(checking, graph_end(graph->out[j]), w);
	}
	likely->num_unsure = likely->count - TOP -
			     node_set_count(&likely->sure);
}

static void give_numbers(struct checking *checking)
{
	const struct likely *likely = checking->likely;

	for (uint32_t w = TOP + 1; w <= likely->count; w++)
		likely->number[likely->node[w]] = w;
}

/* --- subtrees -------------------------------------------------------------- */

/** Before subtrees are found: of numbers up to one, without that. */
static void begin_numbers(struct checking *checking, uint32_t end)
{
	for (uint32_t w = 0; w < end; w++) {
		checking->end[w] = 1;
		atomic_init(&checking->reach[w].low, UINT32_MAX);
		atomic_init(&checking->reach[w].high, 0);
	}
}

static void begin_all(struct checking *checking)
{
	begin_numbers(checking, checking->num_inner + TOP + 1);
}

/** Number all anew, so that subtrees are without gaps. */
static void find_subtrees(struct checking *checking)
{
	const struct likely *likely = checking->likely;
	uint32_t *begin = checking->begin, *end = checking->end;

	// How many; then where the next child begins, which ends as their end.
	for (uint32_t w = likely->count; w > TOP; w--)
		end[likely->parent[w]] += end[w];
	begin[TOP] = 1;
	end[TOP] = 2;
	for (uint32_t w = TOP + 1; w <= likely->count; w++) {
		uint32_t *next = &end[likely->parent[w]], size = end[w];

		begin[w] = *next;
		*next += size;
		end[w] = begin[w] + 1;
	}
}

static struct error *place_shard(void *context, unsigned int worker,
				 size_t shard)
{
	const struct checking *checking = context;
	const uint32_t *number = checking->likely->number;
	uint32_t end, node = likely_shard(shard,
					  checking->likely->graph->num_nodes,
					  &end);

	(void)worker;
	for (; node < end; node++)
		checking->place[node] =
			number[node] != 0 && number[node] != LIKELY_LEAF ?
				checking->begin[number[node]] : 0;
	return NULL;
}

/** What one worker alone can do, and something for another one meanwhile. */
struct meanwhile {
	struct checking *checking;
	void (*parts[2])(struct checking *checking);
};

static struct error *do_part(void *context, unsigned int worker, size_t shard)
{
	const struct meanwhile *meanwhile = context;

	(void)worker;
	meanwhile->parts[shard](meanwhile->checking);
	return NULL;
}

static struct error *do_both(struct checking *checking,
			     void (*part)(struct checking *checking),
			     void (*other)(struct checking *checking))
{
	struct meanwhile meanwhile = { checking, { part, other } };

	return workers_run(checking->likely->options->workers, 2, do_part,
			   &meanwhile);
}

static struct error *search(struct checking *checking)
{
	const struct likely *likely = checking->likely;
	uint32_t nodes = likely->graph->num_nodes;
	struct error *err = node_set_init(&checking->seen, nodes);

	if (!err)
		err = workers_run(likely->options->workers,
				  likely_shards(nodes), mark_leaves, checking);
	if (!err)
		err = make_numbers(checking);
	if (!err)
		err = do_both(checking, spread, begin_all);
	return err ? err : do_both(checking, find_subtrees, give_numbers);
}

/* --- which are sure -------------------------------------------------------- */

/** Something below a node can be reached from places low … high. */
static void widen(struct reach_of *reach, uint32_t low, uint32_t high)
{
	uint32_t seen = atomic_load_explicit(&reach->low, memory_order_relaxed);

	while (low < seen && !atomic_compare_exchange_weak_explicit(
				     &reach->low, &seen, low,
				     memory_order_relaxed,
				     memory_order_relaxed))
		;
	seen = atomic_load_explicit(&reach->high, memory_order_relaxed);
	while (high > seen && !atomic_compare_exchange_weak_explicit(
				      &reach->high, &seen, high,
				      memory_order_relaxed,
				      memory_order_relaxed))
		;
}

static void look_at_edges(struct checking *checking, uint32_t node,
			  uint32_t parent)
{
	const struct graph *graph = checking->likely->graph;
	uint32_t low = UINT32_MAX, high = 0, last = graph->in_at[node + 1];

	for (uint32_t j = graph->in_at[node]; j < last; j++) {
		uint32_t at;

		if (graph->num_edges - j > 2 * AHEAD)
			__builtin_prefetch(&checking->place[graph_end(
				graph->in[j + 2 * AHEAD])]);
		at = checking->place[graph_end(graph->in[j])];
		if (!likely_counts(checking->likely, graph->in[j]) || at == 0)
			continue;
		low = at < low ? at : low;
		high = at > high ? at : high;
	}
	if (low < checking->begin[parent] || high >= checking->end[parent])
		widen(&checking->reach[parent], low, high);
}

static struct error *look_at_shard(void *context, unsigned int worker,
				   size_t shard)
{
	struct checking *checking = context;
	const struct likely *likely = checking->likely;
	uint32_t end, begin = likely_shard(shard, likely->graph->num_nodes,
					   &end);

	(void)worker;
	for (uint32_t node = begin; node < end; node++) {
		uint32_t w = likely->number[node];

		if (w != 0 && w != LIKELY_LEAF &&
		    !node_set_has(&likely->sure, w))
			look_at_edges(checking, node, likely->parent[w]);
	}
	return NULL;
}

/** From below to above: is a node all that leads to what is below it? */
static inline bool is_closed(const struct checking *checking, uint32_t w)
{
	const struct reach_of *reach = &checking->reach[w];

	return atomic_load_explicit(&reach->low, memory_order_relaxed) >=
		       checking->begin[w] &&
	       atomic_load_explicit(&reach->high, memory_order_relaxed) <
		       checking->end[w];
}

static void settle(struct checking *checking)
{
	struct likely *likely = checking->likely;
	uint32_t parent = 0;
	bool closed = false;

	for (uint32_t w = likely->count; w > TOP; w--) {
		const struct reach_of *reach = &checking->reach[w];

		if (!is_closed(checking, w))
			widen(&checking->reach[likely->parent[w]],
			      atomic_load_explicit(&reach->low,
						   memory_order_relaxed),
			      atomic_load_explicit(&reach->high,
						   memory_order_relaxed));
	}
	likely->num_unsure = 0;
	for (uint32_t w = TOP + 1; w <= likely->count; w++) {
		// Those of one parent mostly stand together.
		if (likely->parent[w] != parent) {
			parent = likely->parent[w];
			closed = is_closed(checking, parent);
		}
		if (closed)
			(void)node_set_add(&likely->sure, w);
		likely->num_unsure += !node_set_has(&likely->sure, w);
	}
}

/* --- others move up -------------------------------------------------------- */

/** The nearest common ancestor; 0 where the steps do not suffice. */
static uint32_t common_ancestor(const struct likely *likely, uint32_t a,
				uint32_t b, uint64_t *steps)
{
	while (a != b) {
		if (*steps == 0)
			return 0;
		--*steps;
		if (a > b)
			a = likely->parent[a];
		else
			b = likely->parent[b];
	}
	return a;
}

/** Move a node up, if so many steps suffice, which are counted down. */
static bool lift(struct likely *likely, uint32_t w, uint64_t *steps)
{
	const struct graph *graph = likely->graph;
	uint32_t node = likely->node[w], best = likely->parent[w];

	for (uint32_t j = graph->in_at[node];
	     best > TOP && j < graph->in_at[node + 1]; j++) {
		uint32_t from = likely->number[graph_end(graph->in[j])];

		if (likely_counts(likely, graph->in[j]) && from != 0)
			best = common_ancestor(likely, best, from, steps);
	}
	if (best == 0 || best == likely->parent[w])
		return false;
	likely->parent[w] = best;
	(void)node_set_add(&likely->moved, w);
	return true;
}

/** @return how many have moved */
static uint32_t lift_unsure(struct likely *likely)
{
	uint32_t moved = 0;
	uint64_t steps = (uint64_t)likely->count * STEPS_EACH;

	for (uint32_t w = TOP + 1; w <= likely->count && steps > 0; w++)
		if (!node_set_has(&likely->sure, w)) {
			uint64_t some = steps < STEPS_MAX ? steps : STEPS_MAX;

			steps -= some;
			moved += lift(likely, w, &some);
			steps += some;
		}
	return moved;
}

/* --- all of it ------------------------------------------------------------- */

/** Which of the tree are sure, whose subtrees are known. */
static struct error *check(struct checking *checking)
{
	const struct likely *likely = checking->likely;
	unsigned int workers = likely->options->workers;
	size_t shards = likely_shards(likely->graph->num_nodes);
	struct error *err = workers_run(workers, shards, place_shard, checking);

	if (!err)
		err = workers_run(workers, shards, look_at_shard, checking);
	if (!err)
		settle(checking);
	return err;
}

static struct error *find(struct checking *checking)
{
	struct likely *likely = checking->likely;
	struct error *err = search(checking);

	for (int round = 1; !err; round++) {
		uint32_t before = likely->num_unsure;

		err = check(checking);
		// Semidominators are better where this does not lead far.
		if (err || round == ROUNDS_MAX || likely->num_unsure == 0 ||
		    (round > 1 && (likely->num_unsure < likely->count / FEW ||
				   likely->num_unsure > before / 2)) ||
		    lift_unsure(likely) < likely->num_unsure / 4)
			break;
		begin_numbers(checking, likely->count + 1);
		find_subtrees(checking);
	}
	return err;
}

struct error *likely_find(const struct graph *graph,
			  const struct dominators_options *options,
			  uint32_t *number, uint32_t *scratch,
			  struct likely *ret)
{
	struct checking checking = { .likely = ret, .place = scratch,
				     .begin = scratch + graph->num_nodes };
	struct error *err;

	*ret = (struct likely){ .graph = graph, .options = options,
				.number = number, .count = TOP };
	err = find(&checking);
	node_set_deinit(&checking.seen);
	for (size_t i = 0; i < 2; i++)
		spill_free(&checking.arrays[i]);
	if (err)
		likely_deinit(ret);
	return err;
}

void likely_deinit(struct likely *likely)
{
	for (int i = 0; i < 2; i++)
		spill_free(&likely->arrays[i]);
	node_set_deinit(&likely->sure);
	node_set_deinit(&likely->moved);
	*likely = (struct likely){ 0 };
}
