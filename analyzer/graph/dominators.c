/*
 * Dominators; see dominators.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nodes with edges that count get numbers 2, 3 … in the order in which a search
 * in depth comes to them; 1 is what refers to the roots. All arrays of the
 * search are by these numbers, so that neighbours of the search are neighbours
 * in memory.
 */
#include "analyzer/graph/dominators.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "image/base/workers.h"

enum {
	TOP = 1,			/* refers to all roots */
	SHARD_NODES = 1 << 16,
	PREFETCH_EDGES = 16,
	AHEAD = 4,			/* numbers from one step to the next */
};

/* Of a node without edges that count, instead of a number. */
#define LEAF UINT32_MAX

/*
 * What is read together lies together: a look at a random number costs one
 * cache miss. Its two words serve three purposes, one after the other: while
 * nodes are looked for, label is the next edge to look at; then they are the
 * ancestor and the smallest label on the way to it; when all parents are known,
 * the depth and the jump.
 */
struct link {
	union {
		uint32_t ancestor;
		uint32_t depth;
	};
	union {
		uint32_t label;
		uint32_t next_edge;
		uint32_t jump;
	};
};

struct search {
	const struct graph *graph;
	const struct dominators_options *options;
	uint32_t *number;	/* by node: LEAF, or 0 where it is not reached */
	/* by number: */
	uint32_t *node;
	uint32_t *idom;		/* while nodes are looked for, who led here */
	uint32_t *semi;
	struct link *link;
	uint32_t count;		/* numbers go up to here */
	uint32_t *path;		/* of a compression */
	size_t path_room;
	_Atomic uint64_t *weight;	/* by node: what becomes retained */
	struct spill_array arrays[5];
	struct dominators *result;
};

/* --- the search in depth --------------------------------------------------- */

static size_t num_shards(const struct graph *graph)
{
	return ((size_t)graph->num_nodes + SHARD_NODES - 1) / SHARD_NODES;
}

static void nodes_of_shard(const struct graph *graph, size_t shard,
			   uint32_t *ret_begin, uint32_t *ret_end)
{
	uint32_t begin = (uint32_t)shard * SHARD_NODES;

	*ret_begin = begin;
	*ret_end = graph->num_nodes - begin < SHARD_NODES ?
			   graph->num_nodes : begin + SHARD_NODES;
}

static bool counts(const struct search *search, uint32_t edge)
{
	return graph_in(edge, search->options->mask);
}

static bool has_edges(const struct search *search, uint32_t node)
{
	const struct graph *graph = search->graph;

	for (uint32_t j = graph->out_at[node]; j < graph->out_at[node + 1]; j++)
		if (counts(search, graph->out[j]))
			return true;
	return false;
}

/** Ask for what will be looked at when the edges of a node are followed. */
static void ask_for_targets(const struct search *search, uint32_t begin,
			    uint32_t end)
{
	if (end - begin > PREFETCH_EDGES)
		end = begin + PREFETCH_EDGES;
	for (uint32_t j = begin; j < end; j++)
		__builtin_prefetch(&search->number[graph_end(
			search->graph->out[j])]);
}

static void give_number(struct search *search, uint32_t node, uint32_t from)
{
	const struct graph *graph = search->graph;
	uint32_t number = ++search->count;

	search->number[node] = number;
	search->node[number] = node;
	search->idom[number] = from;
	search->link[number] = (struct link){ .ancestor = from,
		.next_edge = graph->out_at[node] };
	ask_for_targets(search, graph->out_at[node], graph->out_at[node + 1]);
}

/** Give numbers to all that can be reached from a node, itself included. */
static void search_from(struct search *search, uint32_t root)
{
	const struct graph *graph = search->graph;
	uint32_t at;

	give_number(search, root, TOP);
	at = search->count;
	while (at != TOP) {
		uint32_t node = search->node[at], end = graph->out_at[node + 1];
		uint32_t j = search->link[at].next_edge;
		uint32_t next = GRAPH_NONE;

		for (; j < end && next == GRAPH_NONE; j++) {
			uint32_t target = graph_end(graph->out[j]);

			if (j % PREFETCH_EDGES == 0)
				ask_for_targets(search, j, end);
			if (counts(search, graph->out[j]) &&
			    search->number[target] == 0)
				next = target;
		}
		search->link[at].next_edge = j;
		if (next == GRAPH_NONE) {
			at = search->idom[at];
		} else {
			give_number(search, next, at);
			at = search->count;
		}
	}
}

typedef void root_fn(struct search *search, uint32_t node);

static void each_root(struct search *search, root_fn *fn)
{
	const struct node_set *roots = search->options->roots;

	for (uint32_t i = 0; i < roots->num_nodes; i += 64) {
		for (uint64_t bits = roots->words[i / 64]; bits;
		     bits &= bits - 1)
			fn(search, i + (uint32_t)__builtin_ctzll(bits));
	}
}

static void search_root(struct search *search, uint32_t node)
{
	if (search->number[node] == 0)
		search_from(search, node);
}

static struct error *mark_leaves(void *context, unsigned int worker,
				 size_t shard)
{
	struct search *search = context;
	uint32_t begin, end;

	(void)worker;
	nodes_of_shard(search->graph, shard, &begin, &end);
	for (uint32_t node = begin; node < end; node++)
		if (!has_edges(search, node))
			search->number[node] = LEAF;
	return NULL;
}

/* --- parents of nodes with edges ------------------------------------------- */

static bool path_add(struct search *search, size_t count, uint32_t number)
{
	if (count == search->path_room) {
		size_t room = count ? count * 2 : 256;
		uint32_t *path = realloc(search->path, room * sizeof(*path));

		if (!path)
			return false;
		search->path = path;
		search->path_room = room;
	}
	search->path[count] = number;
	return true;
}

/**
 * The smallest label on the way up from v, as far as nodes are linked, which
 * those from `linked` on are; v is one of them. The way is made short.
 */
static bool evaluate(struct search *search, uint32_t v, uint32_t linked,
		     uint32_t *ret)
{
	struct link *link = search->link;
	size_t count = 0;
	uint32_t at = v;

	if (link[v].ancestor >= linked) {
		while (link[link[at].ancestor].ancestor >= linked) {
			if (!path_add(search, count, at))
				return false;
			count++;
			at = link[at].ancestor;
		}
		// at's ancestor is the last that is linked.
		for (;;) {
			struct link above = link[link[at].ancestor];

			if (above.label < link[at].label)
				link[at].label = above.label;
			link[at].ancestor = above.ancestor;
			if (count == 0)
				break;
			at = search->path[--count];
		}
	}
	*ret = link[v].label;
	return true;
}

/** The first edges that lead to the node of a number. */
static void first_edges(const struct search *search, uint32_t w,
			uint32_t *ret_begin, uint32_t *ret_end)
{
	uint32_t node = search->node[w];

	*ret_begin = search->graph->in_at[node];
	*ret_end = search->graph->in_at[node + 1];
	if (*ret_end - *ret_begin > PREFETCH_EDGES)
		*ret_end = *ret_begin + PREFETCH_EDGES;
}

/**
 * Ask for memory that will be read soon, each piece when what says where it is
 * has come: edges, the numbers of those who refer, what is kept of these.
 */
static void ask_ahead(const struct search *search, uint32_t w)
{
	const struct graph *graph = search->graph;
	uint32_t begin, end;

	if (w <= 4 * AHEAD + TOP)
		return;
	__builtin_prefetch(&graph->in_at[search->node[w - 4 * AHEAD]]);
	first_edges(search, w - 3 * AHEAD, &begin, &end);
	__builtin_prefetch(&graph->in[begin]);
	first_edges(search, w - 2 * AHEAD, &begin, &end);
	for (uint32_t j = begin; j < end; j++)
		__builtin_prefetch(&search->number[graph_end(graph->in[j])]);
	first_edges(search, w - AHEAD, &begin, &end);
	for (uint32_t j = begin; j < end; j++) {
		uint32_t number = search->number[graph_end(graph->in[j])];

		if (number <= search->count)
			__builtin_prefetch(&search->link[number]);
	}
}

static struct error *find_semi(struct search *search)
{
	const struct graph *graph = search->graph;
	const struct node_set *roots = search->options->roots;

	for (uint32_t i = 0; i <= search->count; i++)
		search->link[i].label = i;
	for (uint32_t w = search->count; w > TOP; w--) {
		uint32_t node = search->node[w], best = search->idom[w];

		ask_ahead(search, w);
		if (node_set_has(roots, node))
			best = TOP;
		for (uint32_t j = graph->in_at[node];
		     best > TOP && j < graph->in_at[node + 1]; j++) {
			uint32_t from, found;

			if (!counts(search, graph->in[j]))
				continue;
			from = search->number[graph_end(graph->in[j])];
			if (from == 0)
				continue;
			found = from;
			if (from > w && !evaluate(search, from, w + 1, &found))
				return error_no_memory();
			if (found < best)
				best = found;
		}
		search->semi[w] = search->link[w].label = best;
	}
	return NULL;
}

/** Depth and jump of a number whose parent's are known. */
static void hang(struct search *search, uint32_t w, uint32_t parent)
{
	struct link *link = search->link;
	struct link above = link[parent], over = link[above.jump];

	search->idom[w] = parent;
	link[w].depth = above.depth + 1;
	link[w].jump = above.depth - over.depth ==
				       over.depth - link[over.jump].depth ?
			       over.jump : parent;
}

/** The first ancestor that is not above a number: they only get smaller. */
static uint32_t climb(const struct search *search, uint32_t from,
		      uint32_t most)
{
	while (from > most) {
		uint32_t jump = search->link[from].jump;

		from = jump >= most ? jump : search->idom[from];
	}
	return from;
}

static void find_parents(struct search *search)
{
	search->link[TOP] = (struct link){ .depth = 0, .jump = TOP };
	search->idom[TOP] = TOP;
	for (uint32_t w = TOP + 1; w <= search->count; w++)
		hang(search, w, climb(search, search->idom[w],
				      search->semi[w]));
}

static uint32_t common_ancestor(const struct search *search, uint32_t a,
				uint32_t b)
{
	const struct link *link = search->link;

	while (link[a].depth > link[b].depth)
		a = link[link[a].jump].depth >= link[b].depth ?
			    link[a].jump : search->idom[a];
	while (link[b].depth > link[a].depth)
		b = link[link[b].jump].depth >= link[a].depth ?
			    link[b].jump : search->idom[b];
	while (a != b) {
		if (link[a].jump != link[b].jump) {
			a = link[a].jump;
			b = link[b].jump;
		} else {
			a = search->idom[a];
			b = search->idom[b];
		}
	}
	return a;
}

/* --- parents of all, and weights ------------------------------------------- */

static uint64_t weight_of(const struct search *search, uint32_t node)
{
	const struct dominators_options *options = search->options;

	return options->weight ? options->weight(options->context, node) :
				 options->weights[node];
}

/** The number that a node without edges hangs under; 0: none. */
static uint32_t holder_of(const struct search *search, uint32_t node)
{
	const struct graph *graph = search->graph;
	uint32_t holder = 0;

	if (node_set_has(search->options->roots, node))
		return TOP;
	for (uint32_t j = graph->in_at[node];
	     holder != TOP && j < graph->in_at[node + 1]; j++) {
		uint32_t from;

		if (!counts(search, graph->in[j]))
			continue;
		from = search->number[graph_end(graph->in[j])];
		if (from == 0 || from == holder)
			continue;
		holder = holder == 0 ? from :
				       common_ancestor(search, holder, from);
	}
	return holder;
}

static uint32_t parent_node(const struct search *search, uint32_t number)
{
	return number == TOP ? DOMINATOR_ROOT : search->node[number];
}

struct shard_total {
	uint64_t weight;
	uint32_t reached;
};

struct leaves {
	struct search *search;
	struct shard_total *totals;	/* by shard */
};

static struct error *hang_leaves(void *context, unsigned int worker,
				 size_t shard)
{
	const struct leaves *leaves = context;
	struct search *search = leaves->search;
	struct dominators *result = search->result;
	struct shard_total *total = &leaves->totals[shard];
	uint32_t begin, end;

	(void)worker;
	nodes_of_shard(search->graph, shard, &begin, &end);
	for (uint32_t node = begin; node < end; node++) {
		uint64_t weight = weight_of(search, node);
		uint32_t number = search->number[node];
		uint32_t holder = number == 0 ? 0 :
				  number == LEAF ? holder_of(search, node) :
						   search->idom[number];

		// Leaves of others may have added to it already.
		(void)atomic_fetch_add_explicit(&search->weight[node], weight,
						memory_order_relaxed);
		if (number == LEAF && holder > TOP)
			(void)atomic_fetch_add_explicit(
				&search->weight[search->node[holder]], weight,
				memory_order_relaxed);
		result->parent[node] = holder ? parent_node(search, holder) :
						DOMINATOR_UNREACHED;
		if (holder) {
			total->weight += weight;
			total->reached++;
		}
	}
	return NULL;
}

static struct error *weigh(struct search *search)
{
	struct dominators *result = search->result;
	size_t shards = num_shards(search->graph);
	struct leaves leaves = { search, calloc(shards + 1,
						sizeof(*leaves.totals)) };
	struct error *err;

	if (!leaves.totals)
		return error_no_memory();
	err = workers_run(search->options->workers, shards, hang_leaves,
			  &leaves);
	for (size_t i = 0; i < shards; i++) {
		result->reached_weight += leaves.totals[i].weight;
		result->num_reached += leaves.totals[i].reached;
	}
	free(leaves.totals);
	if (err)
		return err;
	for (uint32_t w = search->count; w > TOP; w--)
		if (search->idom[w] != TOP)
			result->retained[search->node[search->idom[w]]] +=
				result->retained[search->node[w]];
	return NULL;
}

/* --- all of it ------------------------------------------------------------- */

/** How many nodes will get numbers, at most. */
static uint32_t count_inner(const struct graph *graph)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < graph->num_nodes; i++)
		count += graph->out_at[i] != graph->out_at[i + 1];
	return count;
}

static struct error *search_init(struct search *search)
{
	struct spill *spill = search->options->spill;
	uint64_t nodes = search->graph->num_nodes;
	uint64_t numbers = (uint64_t)count_inner(search->graph) + 2;
	uint32_t **small[] = { &search->number, &search->node, &search->idom,
			       &search->semi };
	struct error *err = NULL;

	for (size_t i = 0; !err && i < sizeof(small) / sizeof(small[0]); i++) {
		err = spill_alloc(spill, (i == 0 ? nodes : numbers) *
						 sizeof(uint32_t),
				  &search->arrays[i]);
		*small[i] = search->arrays[i].data;
	}
	if (!err)
		err = spill_alloc(spill, numbers * sizeof(struct link),
				  &search->arrays[4]);
	search->link = search->arrays[4].data;
	return err ? err : workers_run(search->options->workers,
				       num_shards(search->graph), mark_leaves,
				       search);
}

static struct error *result_init(struct dominators *result,
				 const struct graph *graph, struct spill *spill)
{
	uint64_t nodes = graph->num_nodes;
	struct error *err = spill_alloc(spill, nodes * sizeof(uint32_t),
					&result->arrays[0]);

	if (!err)
		err = spill_alloc(spill, nodes * sizeof(uint64_t),
				  &result->arrays[1]);
	result->num_nodes = graph->num_nodes;
	result->parent = result->arrays[0].data;
	result->retained = result->arrays[1].data;
	return err;
}

struct error *dominators_find(const struct graph *graph,
			      const struct dominators_options *options,
			      struct dominators *ret)
{
	struct search search = { .graph = graph, .options = options,
				 .result = ret, .count = TOP };
	struct error *err;

	*ret = (struct dominators){ 0 };
	err = search_init(&search);
	if (!err)
		err = result_init(ret, graph, options->spill);
	if (!err) {
		search.weight = ret->arrays[1].data;
		each_root(&search, search_root);
		err = find_semi(&search);
	}
	if (!err) {
		find_parents(&search);
		err = weigh(&search);
	}
	for (size_t i = 0; i < sizeof(search.arrays) / sizeof(search.arrays[0]);
	     i++)
		spill_free(&search.arrays[i]);
	free(search.path);
	if (err)
		dominators_deinit(ret);
	return err;
}

void dominators_deinit(struct dominators *dominators)
{
	spill_free(&dominators->arrays[0]);
	spill_free(&dominators->arrays[1]);
	*dominators = (struct dominators){ 0 };
}
