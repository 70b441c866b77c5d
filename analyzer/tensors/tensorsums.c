/*
 * Sums that go on and on; see tensorsums.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The chain is the longest way down from a result over nodes that only add; which
 * that is is told for all nodes at once, from the leaves up. Then what branches off
 * at each link is followed as far as nobody has been. Each node is looked at for
 * the one result whose graph it is in, so that all of it takes one look at each
 * edge.
 */
#include "analyzer/tensors/tensorsums.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"
#include "image/base/guard.h"

/* Marks of nodes: 0, the number of a link + 1, or a place in the chain. */
#define IN_CHAIN	(UINT32_C(1) << 31)

struct summing {
	struct tensors *tensors;
	const struct autograd *graph;
	struct tensorsums *sums;
	size_t room;
	uint32_t *order;	/* nodes, each before those that it leads to */
	uint8_t *steps;		/* enum step, of each node */
	uint32_t *heights;	/* … how many that only add follow, with itself */
	uint32_t *marks;
	uint32_t *pending;	/* nodes to be followed */
	uint32_t num_pending;
	uint32_t root;		/* the result at hand: a tensor */
	uint32_t *chain;	/* its nodes; num_chain */
	uint32_t num_chain;
	uint32_t *links;	/* places in the chain; num_links */
	uint32_t num_links;
	/* of each link, and of the end of the chain: how many that have something
	   in common begin with the one before, less those that end with it; and
	   whether it has anything that is not the result's alone */
	uint32_t *joined;
	uint8_t *foreign;
	const struct torch_block *blocks;	/* of nodes, by number */
	struct hashmap by_table;	/* enum step, by table of functions */
};

/** What a node of a chain may be. */
enum step { STEP_NONE, STEP_LINK, STEP_BETWEEN };

static uint32_t num_edges(const struct summing *summing, uint32_t node)
{
	return summing->graph->nodes[node + 1].first_edge -
	       summing->graph->nodes[node].first_edge;
}

static uint32_t edge(const struct summing *summing, uint32_t node, uint32_t i)
{
	return summing->graph->edges[summing->graph->nodes[node].first_edge + i];
}

/** What adds up gradients leads nowhere, and all steps have it in common. */
static bool is_leaf(const struct summing *summing, uint32_t node)
{
	return num_edges(summing, node) == 0;
}

/* --- what only adds ---------------------------------------------------------- */

static enum step step_of_class(struct tensors *tensors, uint64_t table)
{
	static const struct {
		const char *class;
		enum step step;
	} known[] = {
		{ "AddBackward0", STEP_LINK }, { "SubBackward0", STEP_LINK },
		{ "CatBackward0", STEP_LINK }, { "LerpBackward0", STEP_LINK },
		{ "LerpBackward1", STEP_LINK }, { "CopySlices", STEP_LINK },
		{ "MulBackward0", STEP_BETWEEN },
		{ "DivBackward0", STEP_BETWEEN },
		{ "NegBackward0", STEP_BETWEEN },
		{ "ToCopyBackward0", STEP_BETWEEN },
		{ "CloneBackward0", STEP_BETWEEN },
	};
	char text[TORCH_CLASS_MAX];
	const char *class = torch_table_class(&tensors->classes, table, text);

	for (size_t i = 0; class && i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(class, known[i].class) == 0)
			return known[i].step;
	return STEP_NONE;
}

/** A gate that a recurrent network multiplies by is saved; a number may be. */
static bool saves_data(const struct summing *summing, uint32_t node)
{
	const struct autograd *graph = summing->graph;

	for (uint32_t i = graph->nodes[node].first_saved;
	     i < graph->nodes[node + 1].first_saved; i++)
		if (summing->tensors->items[graph->saved[i]].numel > 1)
			return true;
	return false;
}

static struct error *find_steps(struct summing *summing)
{
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < summing->graph->count; i++) {
		uint64_t table = summing->blocks[i].word;
		uint32_t step = STEP_NONE;

		if (!hashmap_get(&summing->by_table, table, &step)) {
			step = step_of_class(summing->tensors, table);
			err = hashmap_put(&summing->by_table, table, step);
		}
		if (step != STEP_NONE && !saves_data(summing, i))
			summing->steps[i] = (uint8_t)step;
	}
	return err;
}

/* --- heights ----------------------------------------------------------------- */

/** In a circle, which damage alone can make, nodes have no height. */
static void find_heights(struct summing *summing)
{
	uint32_t count = summing->graph->count, head = 0, tail = 0;
	uint32_t *before = summing->marks;	/* that are not in order yet */

	for (size_t i = 0; i < summing->graph->num_edges; i++)
		before[summing->graph->edges[i]]++;
	for (uint32_t i = 0; i < count; i++)
		if (before[i] == 0)
			summing->order[tail++] = i;
	while (head < tail) {
		uint32_t node = summing->order[head++];

		for (uint32_t i = 0; i < num_edges(summing, node); i++)
			if (--before[edge(summing, node, i)] == 0)
				summing->order[tail++] = edge(summing, node, i);
	}
	while (tail-- > 0) {
		uint32_t node = summing->order[tail], most = 0;

		if (summing->steps[node] == STEP_NONE)
			continue;
		for (uint32_t i = 0; i < num_edges(summing, node); i++) {
			uint32_t below =
				summing->heights[edge(summing, node, i)];

			if (below > most)
				most = below;
		}
		summing->heights[node] = most + 1;
	}
	memset(summing->marks, 0, count * sizeof(*summing->marks));
}

/* --- the chain --------------------------------------------------------------- */

static bool is_own(const struct summing *summing, uint32_t node)
{
	return summing->tensors->node_roots[node] == summing->root;
}

/** Where the chain goes on; TENSORS_NONE: nowhere. */
static uint32_t next_of(const struct summing *summing, uint32_t node)
{
	uint32_t next = TENSORS_NONE;

	for (uint32_t i = 0; i < num_edges(summing, node); i++) {
		uint32_t to = edge(summing, node, i);

		// The height falls at each step, so that there is an end.
		if (!is_leaf(summing, to) && is_own(summing, to) &&
		    summing->heights[to] < summing->heights[node] &&
		    (next == TENSORS_NONE ||
		     summing->heights[to] > summing->heights[next]))
			next = to;
	}
	return next;
}

/** Does anything but the next node follow? */
static bool branches(const struct summing *summing, uint32_t node, uint32_t next)
{
	for (uint32_t i = 0; i < num_edges(summing, node); i++)
		if (edge(summing, node, i) != next &&
		    !is_leaf(summing, edge(summing, node, i)))
			return true;
	return false;
}

/** The chain from a node on; the last one is what is at its end. */
static void lay_chain(struct summing *summing, uint32_t node)
{
	summing->num_chain = summing->num_links = 0;
	while (node != TENSORS_NONE) {
		uint32_t next = next_of(summing, node);

		summing->marks[node] = IN_CHAIN | summing->num_chain;
		if (summing->steps[node] == STEP_LINK && next != TENSORS_NONE &&
		    branches(summing, node, next))
			summing->links[summing->num_links++] =
				summing->num_chain;
		summing->chain[summing->num_chain++] = node;
		node = next;
	}
}

/* --- what is at the links ---------------------------------------------------- */

/** All from one link to another have something in common. */
static void join(struct summing *summing, uint32_t first, uint32_t last)
{
	summing->joined[first + 1]++;
	summing->joined[last + 1]--;
}

/** The first link at a place of the chain, or behind it; num_links: the end. */
static uint32_t link_at(const struct summing *summing, uint32_t place)
{
	uint32_t low = 0, high = summing->num_links;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (summing->links[middle] < place)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void meet(struct summing *summing, uint32_t link, uint32_t node)
{
	uint32_t mark = summing->marks[node];

	if (is_leaf(summing, node))
		return;
	if (!is_own(summing, node)) {
		summing->foreign[link] = 1;
	} else if (mark & IN_CHAIN) {
		uint32_t other = link_at(summing, mark & ~IN_CHAIN);

		join(summing, link < other ? link : other,
		     link < other ? other : link);
	} else if (mark) {
		join(summing, mark - 1, link);
	} else {
		summing->marks[node] = link + 1;
		summing->pending[summing->num_pending++] = node;
	}
}

/** What branches off at a link, as far as nobody has been. */
static void follow(struct summing *summing, uint32_t link)
{
	uint32_t place = summing->links[link], node = summing->chain[place];

	for (uint32_t i = 0; i < num_edges(summing, node); i++)
		if (edge(summing, node, i) != summing->chain[place + 1])
			meet(summing, link, edge(summing, node, i));
	while (summing->num_pending > 0) {
		node = summing->pending[--summing->num_pending];
		for (uint32_t i = 0; i < num_edges(summing, node); i++)
			meet(summing, link, edge(summing, node, i));
	}
}

/** Those that have nothing in common with what is around them. */
static uint32_t count_graphs(const struct summing *summing)
{
	uint32_t count = 0, open = 0;
	bool foreign = false;

	for (uint32_t i = 0; i <= summing->num_links; i++) {
		open += summing->joined[i];
		if (open == 0) {
			count += i > 0 && !foreign;
			foreign = false;
		}
		foreign |= summing->foreign[i];
	}
	return count + !foreign;
}

static struct error *add(struct summing *summing, uint32_t graphs)
{
	struct tensorsums *sums = summing->sums;

	if (sums->count == summing->room) {
		size_t room = summing->room ? summing->room * 2 : 16;
		struct tensorsum *grown = realloc(sums->items,
						  room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		sums->items = grown;
		summing->room = room;
	}
	sums->items[sums->count++] = (struct tensorsum){
		.tensor = summing->root, .links = summing->num_links,
		.graphs = graphs };
	return NULL;
}

static struct error *look_at(struct summing *summing, uint32_t tensor)
{
	uint32_t node = autograd_find(
		summing->graph, summing->tensors->items[tensor].grad_fn);
	uint32_t graphs;

	summing->root = tensor;
	// Of several with one graph it is one's.
	if (node == TENSORS_NONE || !is_own(summing, node) ||
	    summing->heights[node] < TENSORSUMS_LEAST)
		return NULL;
	lay_chain(summing, node);
	if (summing->num_links < TENSORSUMS_LEAST)
		return NULL;
	memset(summing->joined, 0,
	       ((size_t)summing->num_links + 2) * sizeof(*summing->joined));
	memset(summing->foreign, 0, (size_t)summing->num_links + 1);
	for (uint32_t i = 0; i < summing->num_links; i++)
		follow(summing, i);
	graphs = count_graphs(summing);
	return graphs < TENSORSUMS_LEAST ? NULL : add(summing, graphs);
}

/* --- what they take ---------------------------------------------------------- */

static uint32_t sum_of_node(const struct summing *summing,
			    const uint32_t *of_tensor, uint32_t node)
{
	uint32_t root = summing->tensors->node_roots[node];

	return root == TENSORS_NONE ? TENSORS_NONE : of_tensor[root];
}

static void take_node(struct summing *summing, uint32_t number, uint32_t node,
		      uint64_t bytes)
{
	const struct autograd *graph = summing->graph;
	struct tensorsums *sums = summing->sums;

	sums->items[number].nodes++;
	sums->items[number].node_bytes += bytes;
	for (uint32_t i = graph->nodes[node].first_saved;
	     i < graph->nodes[node + 1].first_saved; i++) {
		uint32_t storage =
			summing->tensors->items[graph->saved[i]].storage;

		if (storage != TENSORS_NONE &&
		    sums->of_storage[storage] == TENSORS_NONE)
			sums->of_storage[storage] = number;
	}
}

static struct error *weigh(struct summing *summing)
{
	const struct tensors *tensors = summing->tensors;
	struct tensorsums *sums = summing->sums;
	size_t storages = tensors->num_storages;
	CLEANUP(free_pointer) uint32_t *of_tensor =
		malloc((tensors->count + 1) * sizeof(*of_tensor));

	sums->of_storage = malloc((storages + 1) * sizeof(*sums->of_storage));
	if (!of_tensor || !sums->of_storage)
		return error_no_memory();
	memset(sums->of_storage, 0xFF, storages * sizeof(*sums->of_storage));
	memset(of_tensor, 0xFF, tensors->count * sizeof(*of_tensor));
	for (size_t i = 0; i < sums->count; i++)
		of_tensor[sums->items[i].tensor] = (uint32_t)i;
	for (uint32_t i = 0; i < summing->graph->count; i++) {
		uint32_t number = sum_of_node(summing, of_tensor, i);

		// Leaves were there before, and will be afterwards.
		if (number != TENSORS_NONE && !is_leaf(summing, i))
			take_node(summing, number, i,
				  summing->blocks[i].end -
					  summing->blocks[i].address);
	}
	return NULL;
}

/* --- all of it --------------------------------------------------------------- */

static struct error *find(struct summing *summing)
{
	const struct tensors *tensors = summing->tensors;
	size_t count = (size_t)summing->graph->count + 2;
	CLEANUP(free_pointer) uint32_t *columns = calloc(count * 7,
							 sizeof(*columns));
	CLEANUP(free_pointer) uint8_t *bytes = calloc(count * 2, 1);
	struct error *err;

	if (!columns || !bytes)
		return error_no_memory();
	summing->order = columns;
	summing->heights = columns + count;
	summing->marks = columns + count * 2;
	summing->chain = columns + count * 3;
	summing->links = columns + count * 4;
	summing->pending = columns + count * 5;
	summing->joined = columns + count * 6;
	summing->steps = bytes;
	summing->foreign = bytes + count;
	err = find_steps(summing);
	if (!err)
		find_heights(summing);
	for (size_t i = 0; !err && i < tensors->count; i++)
		if (tensors->items[i].grad_fn && !tensors->items[i].array &&
		    tensors->items[i].held == TENSOR_BY_PYTHON)
			err = look_at(summing, (uint32_t)i);
	return err || summing->sums->count == 0 ? err : weigh(summing);
}

struct error *tensorsums_find(struct tensors *tensors, struct tensorsums *ret)
{
	struct summing summing = { .tensors = tensors,
				   .graph = &tensors->graph, .sums = ret };
	struct error *err;
	size_t count;

	*ret = (struct tensorsums){ 0 };
	// A chain has a node for each of them, and so has what is beside it.
	if (!tensors->node_roots || tensors->graph.count < 2 * TENSORSUMS_LEAST)
		return NULL;
	// The graph was made of these.
	summing.blocks = torchheap_blocks(tensors->heap, TORCH_KIND_NODE,
					  &count);
	err = find(&summing);
	hashmap_deinit(&summing.by_table);
	if (err)
		tensorsums_deinit(ret);
	return err;
}

void tensorsums_deinit(struct tensorsums *sums)
{
	free(sums->items);
	free(sums->of_storage);
	*sums = (struct tensorsums){ 0 };
}
