/*
 * Dominators of the unsure; see semidominators.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nodes that matter get numbers 2, 3 … in the order in which a search in depth
 * comes to them; 1 is what refers to the roots. All arrays of the search are by
 * these numbers, so that neighbours of the search are neighbours in memory.
 */
#include "analyzer/graph/semidominators.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	TOP = LIKELY_TOP,
	PREFETCH_EDGES = 16,
	AHEAD = 4,			/* numbers from one step to the next */
};

/*
 * What is read together lies together: a look at a random number costs one
 * cache miss. The second word serves three purposes, one after the other: while
 * nodes are looked for, it is the next edge to look at; then the smallest label
 * on the way to the ancestor; when all parents are known, the jump.
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
	struct likely *likely;
	const struct graph *graph;
	struct node_set wanted;	/* nodes that matter */
	struct node_set single;	/* those with one edge that matters */
	uint32_t num_wanted;
	uint32_t *pending;	/* of these, whose referrers are still to come */
	size_t num_pending, pending_room;
	uint32_t *number;	/* by node; 0: not found */
	/* by number: */
	uint32_t *node;
	uint32_t *idom;		/* while nodes are looked for, who led here */
	uint32_t *semi;
	struct link *link;
	uint32_t count;		/* numbers go up to here */
	uint32_t *path;		/* of a compression */
	size_t path_room;
	struct spill_array arrays[4];
};

/** True if of the edges to a node only that of its parent matters. */
static bool has_one_edge(const struct search *search, uint32_t node)
{
	const struct likely *likely = search->likely;
	uint32_t number = likely->number[node];

	return node_set_has(&likely->sure, number) &&
	       (!node_set_has(&likely->moved, number) ||
		likely->parent[number] == TOP);
}

/** Add a number to an array that grows. */
static bool append(uint32_t **array, size_t *room, size_t count,
		   uint32_t number)
{
	if (count == *room) {
		size_t wanted = count ? count * 2 : 256;
		uint32_t *grown = realloc(*array, wanted * sizeof(*grown));

		if (!grown)
			return false;
		*array = grown;
		*room = wanted;
	}
	(*array)[count] = number;
	return true;
}

/* --- which nodes matter ---------------------------------------------------- */

static bool want(struct search *search, uint32_t node)
{
	if (!node_set_add(&search->wanted, node))
		return true;
	search->num_wanted++;
	return append(&search->pending, &search->pending_room,
		      search->num_pending++, node);
}

/** Want all over which those that are wanted can be reached. */
static bool want_referrers(struct search *search)
{
	const struct likely *likely = search->likely;
	const struct graph *graph = search->graph;

	while (search->num_pending > 0) {
		uint32_t node = search->pending[--search->num_pending];
		uint32_t parent = likely->parent[likely->number[node]];

		if (has_one_edge(search, node)) {
			(void)node_set_add(&search->single, node);
			if (parent != TOP &&
			    !want(search, likely->node[parent]))
				return false;
			continue;
		}
		for (uint32_t j = graph->in_at[node];
		     j < graph->in_at[node + 1]; j++) {
			uint32_t from = graph_end(graph->in[j]);

			if (likely_counts(likely, graph->in[j]) &&
			    likely->number[from] != 0 && !want(search, from))
				return false;
		}
	}
	return true;
}

static bool want_all(struct search *search)
{
	const struct likely *likely = search->likely;

	for (uint32_t w = TOP + 1; w <= likely->count; w++)
		if (!node_set_has(&likely->sure, w) &&
		    (!want(search, likely->node[w]) ||
		     !want_referrers(search)))
			return false;
	return true;
}

/* --- the search in depth --------------------------------------------------- */

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

/** Where an edge of a node leads to what has no number yet. */
static bool is_followed(const struct search *search, uint32_t node,
			uint32_t edge)
{
	const struct likely *likely = search->likely;
	uint32_t target = graph_end(edge);

	return search->number[target] == 0 && likely_counts(likely, edge) &&
	       node_set_has(&search->wanted, target) &&
	       (!node_set_has(&search->single, target) ||
		likely->parent[likely->number[target]] == likely->number[node]);
}

/** Give numbers to all that can be reached from a root, itself included. */
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
			if (j % PREFETCH_EDGES == 0)
				ask_for_targets(search, j, end);
			if (is_followed(search, node, graph->out[j]))
				next = graph_end(graph->out[j]);
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

static void search_all(struct search *search)
{
	const struct likely *likely = search->likely;

	search->link[TOP] = (struct link){ 0 };
	// Roots, and others that nothing dominates.
	for (uint32_t w = TOP + 1; w <= likely->count; w++)
		if (likely->parent[w] == TOP &&
		    node_set_has(&search->wanted, likely->node[w]) &&
		    search->number[likely->node[w]] == 0)
			search_from(search, likely->node[w]);
}

/* --- parents --------------------------------------------------------------- */

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
			if (!append(&search->path, &search->path_room, count,
				    at))
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

	for (uint32_t i = 0; i <= search->count; i++)
		search->link[i].label = i;
	for (uint32_t w = search->count; w > TOP; w--) {
		uint32_t node = search->node[w], best = search->idom[w];
		bool one = node_set_has(&search->single, node);

		ask_ahead(search, w);
		for (uint32_t j = graph->in_at[node];
		     !one && best > TOP && j < graph->in_at[node + 1]; j++) {
			uint32_t from, found;

			if (!likely_counts(search->likely, graph->in[j]))
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
	struct likely *likely = search->likely;

	search->link[TOP] = (struct link){ .depth = 0, .jump = TOP };
	search->idom[TOP] = TOP;
	for (uint32_t w = TOP + 1; w <= search->count; w++) {
		uint32_t parent = climb(search, search->idom[w],
					search->semi[w]);

		hang(search, w, parent);
		likely->parent[likely->number[search->node[w]]] =
			parent == TOP ? TOP :
					likely->number[search->node[parent]];
	}
}

/* --- all of it ------------------------------------------------------------- */

static struct error *search_init(struct search *search)
{
	struct spill *spill = search->likely->options->spill;
	uint64_t numbers = (uint64_t)search->num_wanted + TOP + 1;
	uint32_t **small[] = { &search->node, &search->idom, &search->semi };
	struct error *err = NULL;

	for (size_t i = 0; !err && i < sizeof(small) / sizeof(small[0]); i++) {
		err = spill_alloc_unset(spill, numbers * sizeof(uint32_t),
					&search->arrays[i]);
		*small[i] = search->arrays[i].data;
	}
	if (!err)
		err = spill_alloc_unset(spill, numbers * sizeof(struct link),
					&search->arrays[3]);
	search->link = search->arrays[3].data;
	return err;
}

struct error *semidominators_find(struct likely *likely, uint32_t *scratch)
{
	struct search search = { .likely = likely, .graph = likely->graph,
				 .number = scratch, .count = TOP };
	struct error *err = node_set_init(&search.wanted,
					  likely->graph->num_nodes);

	if (!err)
		err = node_set_init(&search.single, likely->graph->num_nodes);
	if (!err && !want_all(&search))
		err = error_no_memory();
	if (!err)
		err = search_init(&search);
	if (!err) {
		memset(scratch, 0, (size_t)likely->graph->num_nodes *
					   sizeof(*scratch));
		search_all(&search);
		err = find_semi(&search);
	}
	if (!err)
		find_parents(&search);
	for (size_t i = 0; i < sizeof(search.arrays) / sizeof(search.arrays[0]);
	     i++)
		spill_free(&search.arrays[i]);
	node_set_deinit(&search.wanted);
	node_set_deinit(&search.single);
	free(search.pending);
	free(search.path);
	return err;
}
