/*
 * Test of analyzer/graph: random graphs, against the definitions themselves.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "analyzer/graph/components.h"
#include "analyzer/graph/dominators.h"
#include "analyzer/graph/domtree.h"
#include "analyzer/graph/extend.h"
#include "analyzer/graph/graph.h"
#include "analyzer/graph/rank.h"
#include "analyzer/graph/reach.h"
#include "tests/lib/check.h"

/* So many things are checked that only what fails is worth a line. */
#define EXPECT(name, holds) \
	do { \
		if (!(holds)) \
			CHECK(name, false && (holds)); \
	} while (0)
#define EXPECT_U64(name, got, expected) \
	do { \
		if ((uint64_t)(got) != (uint64_t)(expected)) \
			CHECK_U64(name, got, expected); \
	} while (0)
#define EXPECT_OK(name, err) expect_ok(name, err, __LINE__)

static void expect_ok(const char *name, struct error *err, int line)
{
	if (err)
		(void)check_that(name, false, err->message, line);
	error_free(err);
}

enum { NODES_MAX = 64, GRAPHS = 2000, CLASSES = 3 };

static uint64_t seed = 88172645463325252;

static uint32_t random_below(uint32_t limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % limit;
}

/** A graph, and the same as a matrix of [from][to]. */
struct sample {
	struct spill spill;
	struct graph graph;
	uint32_t nodes;
	bool strong[NODES_MAX][NODES_MAX];
	uint32_t weights[NODES_MAX];
	struct node_set roots;
};

/** @param span  edges lead to so many nodes from the next on; 0: to any */
static void put_node(struct sample *sample, struct edge_writer *writer,
		     uint32_t node, uint32_t edges_max, uint32_t span)
{
	uint32_t edges[NODES_MAX], count = random_below(edges_max + 1);
	uint32_t degrees[2];
	struct edge_run run = { .first = node, .last = node,
				.degrees = &count, .edges = edges };

	for (uint32_t i = 0; i < count; i++) {
		uint32_t to = random_below(span ? span : sample->nodes);
		unsigned int hold = random_below(4);

		to = span ? (node + 1 + to) % sample->nodes : to;
		edges[i] = graph_edge(to, hold);
		if (hold != GRAPH_WEAK)
			sample->strong[node][to] = true;
	}
	run.num_edges = count;
	// Now and then in two pieces.
	if (count > 1 && random_below(4) == 0) {
		struct edge_run half = run;

		degrees[0] = count / 2;
		degrees[1] = count - count / 2;
		half.degrees = &degrees[0];
		half.num_edges = degrees[0];
		half.more = true;
		EXPECT_OK("a piece", edge_writer_put(writer, &half));
		run.degrees = &degrees[1];
		run.edges = edges + degrees[0];
		run.num_edges = degrees[1];
	}
	EXPECT_OK("a run", edge_writer_put(writer, &run));
}

static void make(struct sample *sample, bool on_disk)
{
	uint32_t order[NODES_MAX], edges_max, span;
	struct edge_writer *writer;

	memset(sample, 0, sizeof(*sample));
	sample->spill = (struct spill){ .folder = "/tmp",
					.budget = on_disk ? 0 : UINT64_MAX };
	sample->nodes = 1 + random_below(NODES_MAX);
	// Lists, trees, and what is dense; in order or without.
	edges_max = 1 + random_below(random_below(2) ? 4 : 20);
	span = random_below(3) ? 0 : 2 + random_below(8);
	EXPECT_OK("set", node_set_init(&sample->roots, sample->nodes));
	EXPECT_OK("writer", edge_writer_create(sample->nodes, &sample->spill,
					      &writer));
	for (uint32_t i = 0; i < sample->nodes; i++) {
		uint32_t j = random_below(i + 1);

		order[i] = order[j];
		order[j] = i;
		sample->weights[i] = random_below(8) == 0 ?
					     UINT32_MAX : 1 + random_below(100);
		if (random_below(sample->nodes) < 2)
			(void)node_set_add(&sample->roots, i);
	}
	for (uint32_t i = 0; i < sample->nodes; i++)
		put_node(sample, writer, order[i], edges_max, span);
	EXPECT_OK("finish", edge_writer_finish(writer, &sample->graph));
	edge_writer_destroy(writer);
	EXPECT_OK("reverse", graph_reverse(&sample->graph, 1 + random_below(3),
					  &sample->spill));
}

static void unmake(struct sample *sample)
{
	graph_deinit(&sample->graph);
	node_set_deinit(&sample->roots);
	spill_deinit(&sample->spill);
	EXPECT_U64("memory given back", atomic_load(&sample->spill.used), 0);
}

/** Both directions say the same, in order. */
static void check_edges(const struct sample *sample)
{
	const struct graph *graph = &sample->graph;
	uint32_t seen = 0;

	for (uint32_t to = 0; to < sample->nodes; to++) {
		uint32_t last = 0;

		for (uint32_t j = graph->in_at[to]; j < graph->in_at[to + 1];
		     j++) {
			uint32_t from = graph_end(graph->in[j]);
			bool found = false;

			EXPECT("in order", from >= last);
			last = from;
			for (uint32_t k = graph->out_at[from];
			     k < graph->out_at[from + 1]; k++)
				found |= graph->out[k] ==
					 graph_edge(to,
						    graph_hold(graph->in[j]));
			EXPECT("an edge both ways", found);
			seen++;
		}
	}
	EXPECT_U64("edges", seen, graph->num_edges);
}

/** What can be reached from the roots without passing a node. */
static void naive_reach(const struct sample *sample, uint32_t without,
			bool reached[NODES_MAX])
{
	bool changed = true;

	for (uint32_t i = 0; i < sample->nodes; i++)
		reached[i] = i != without && node_set_has(&sample->roots, i);
	while (changed) {
		changed = false;
		for (uint32_t i = 0; i < sample->nodes; i++) {
			for (uint32_t j = 0; reached[i] && j < sample->nodes;
			     j++) {
				if (!sample->strong[i][j] || reached[j] ||
				    j == without)
					continue;
				reached[j] = changed = true;
			}
		}
	}
}

/** By climbing from each node, which the tree is there to avoid. */
static void check_tree(struct sample *sample, const struct dominators *found)
{
	static const uint32_t turned[CLASSES] = { 2, 0, 1 };
	uint32_t groups[NODES_MAX], seen = 0, count;
	uint64_t together[CLASSES] = { 0 }, expected[CLASSES] = { 0 };
	struct domtree tree;

	EXPECT_OK("tree", domtree_make(found, &sample->spill, &tree));
	for (uint32_t i = 0; i < sample->nodes; i++)
		groups[i] = random_below(CLASSES);
	for (uint32_t i = 0; i < sample->nodes; i++) {
		uint32_t at = found->parent[i];

		if (at == DOMINATOR_UNREACHED)
			continue;
		while (at != DOMINATOR_ROOT && groups[at] != groups[i])
			at = found->parent[at];
		if (at == DOMINATOR_ROOT)
			expected[groups[i]] += found->retained[i];
	}
	EXPECT_OK("by group", domtree_by_group(&tree, groups, NULL, CLASSES,
					       together));
	for (uint32_t i = 0; i < CLASSES; i++)
		EXPECT_U64("of a group", together[i], expected[i]);
	memset(together, 0, sizeof(together));
	EXPECT_OK("by group", domtree_by_group(&tree, groups, turned, CLASSES,
					       together));
	for (uint32_t i = 0; i < CLASSES; i++)
		EXPECT_U64("of a kind's group", together[turned[i]],
			   expected[i]);
	for (uint32_t i = 0; i <= sample->nodes; i++) {
		uint32_t node = i < sample->nodes ? i : DOMINATOR_ROOT;
		const uint32_t *children = domtree_children(&tree, node,
							    &count);

		for (uint32_t j = 0; j < count; j++)
			EXPECT_U64("a child", found->parent[children[j]], node);
		seen += count;
	}
	EXPECT_U64("children", seen, found->num_reached);
	domtree_deinit(&tree);
}

/** Of those that 32 bits do not hold. */
static uint64_t large_weight(void *context, uint32_t node)
{
	(void)context;
	return (UINT64_C(5) << 32) + node;
}

static uint64_t weight_of(const struct sample *sample, uint32_t node)
{
	return sample->weights[node] == UINT32_MAX ?
		       large_weight(NULL, node) : sample->weights[node];
}

/** A dominates B if B cannot be reached without A; by the definition. */
static void check_dominators(struct sample *sample)
{
	struct dominators_options options = {
		.workers = 2, .mask = GRAPH_MASK_STRONG,
		.roots = &sample->roots, .weights = sample->weights,
		.weight = large_weight,
		.spill = &sample->spill,
	};
	static bool reached[NODES_MAX + 1][NODES_MAX];
	struct dominators found;
	uint64_t total = 0;

	EXPECT_OK("dominators", dominators_find(&sample->graph, &options,
					       &found));
	for (uint32_t i = 0; i <= sample->nodes; i++)
		naive_reach(sample, i < sample->nodes ? i : UINT32_MAX,
			    reached[i == sample->nodes ? NODES_MAX : i]);
	for (uint32_t i = 0; i < sample->nodes; i++) {
		uint64_t retained = weight_of(sample, i);
		uint32_t parent = DOMINATOR_ROOT, best = 0;

		if (!reached[NODES_MAX][i]) {
			EXPECT_U64("unreached", found.parent[i],
				  DOMINATOR_UNREACHED);
			EXPECT_U64("its weight", found.retained[i], retained);
			continue;
		}
		total += retained;
		for (uint32_t j = 0; j < sample->nodes; j++) {
			uint32_t dominators = 0;

			if (j == i || !reached[NODES_MAX][j])
				continue;
			if (!reached[i][j])
				retained += weight_of(sample, j);
			if (reached[j][i])
				continue;
			// The nearest has the most dominators of its own.
			for (uint32_t k = 0; k < sample->nodes; k++)
				dominators += reached[NODES_MAX][k] &&
					      !reached[k][j];
			if (dominators > best) {
				best = dominators;
				parent = j;
			}
		}
		EXPECT_U64("parent", found.parent[i], parent);
		EXPECT_U64("retained", found.retained[i], retained);
	}
	EXPECT_U64("all of it", found.reached_weight, total);
	check_tree(sample, &found);
	dominators_deinit(&found);
}

static void check_components(struct sample *sample)
{
	static bool way[NODES_MAX][NODES_MAX];
	uint32_t kinds[NODES_MAX], classes[CLASSES];
	uint32_t component[NODES_MAX], nodes = sample->nodes, cyclic = 0;
	struct components found;

	memcpy(way, sample->strong, sizeof(way));
	for (uint32_t i = 0; i < CLASSES; i++)
		classes[i] = random_below(nodes);
	for (uint32_t i = 0; i < nodes; i++) {
		kinds[i] = random_below(CLASSES);
		way[i][classes[kinds[i]]] = false;
	}
	for (uint32_t k = 0; k < nodes; k++)
		for (uint32_t i = 0; i < nodes; i++)
			for (uint32_t j = 0; j < nodes; j++)
				way[i][j] |= way[i][k] && way[k][j];
	EXPECT_OK("components", components_find(&sample->graph,
		&(struct components_options){
			.mask = GRAPH_MASK_STRONG,
			.kinds = kinds, .kind_nodes = classes,
			.spill = &sample->spill }, &found));
	memset(component, 0xFF, sizeof(component));
	for (uint32_t i = 0; i < found.count; i++)
		for (uint32_t j = found.at[i]; j < found.at[i + 1]; j++)
			component[found.members[j]] = i;
	for (uint32_t i = 0; i < nodes; i++) {
		EXPECT("in a cycle", way[i][i] == (component[i] != UINT32_MAX));
		cyclic += way[i][i];
		for (uint32_t j = 0; way[i][i] && j < nodes; j++)
			EXPECT("together", (way[i][j] && way[j][i]) ==
						  (component[i] == component[j]));
	}
	EXPECT_U64("members", found.count ? found.at[found.count] : 0, cyclic);
	components_deinit(&found);
}

/** Edges to each node from the nearest of the starts, that node included. */
static void naive_distances(const struct sample *sample,
			    const struct node_set *starts,
			    const struct node_set *avoid,
			    uint32_t far[NODES_MAX])
{
	uint32_t nodes = sample->nodes;
	bool changed = true;

	for (uint32_t i = 0; i < nodes; i++)
		far[i] = node_set_has(starts, i) ? 1 : NODES_MAX + 1;
	while (changed) {
		changed = false;
		for (uint32_t i = 0; i < nodes; i++)
			for (uint32_t j = 0; j < nodes; j++)
				if (sample->strong[i][j] &&
				    !(avoid && node_set_has(avoid, i)) &&
				    far[i] + 1 < far[j]) {
					far[j] = far[i] + 1;
					changed = true;
				}
	}
}

static void check_way(const struct sample *sample, const uint32_t *way,
		      uint32_t count, const struct node_set *start,
		      uint32_t node)
{
	EXPECT("begins", node_set_has(start, way[0]));
	EXPECT_U64("ends", way[count - 1], node);
	for (uint32_t j = 1; j < count; j++)
		EXPECT("a step", sample->strong[way[j - 1]][way[j]]);
}

/** What was said of nodes when they were found. */
struct labelling {
	uint32_t labels[NODES_MAX], depths[NODES_MAX], times[NODES_MAX];
};

static uint32_t label(void *context, uint32_t before, uint32_t node,
		      uint32_t depth)
{
	struct labelling *labelling = context;

	labelling->times[node]++;
	labelling->depths[node] = depth;
	labelling->labels[node] = before * 31 + node + 1;
	return labelling->labels[node];
}

static void check_labels(const struct labelling *labelling, const uint32_t *way,
			 uint32_t count, uint32_t node)
{
	uint32_t expected = 0;

	for (uint32_t j = 0; j < count; j++)
		expected = expected * 31 + way[j] + 1;
	EXPECT_U64("found once", labelling->times[node], count > 0);
	if (count == 0)
		return;
	EXPECT_U64("label along the way", labelling->labels[node], expected);
	EXPECT_U64("depth", labelling->depths[node], count - 1);
}

/** The shortest way, by relaxing all edges until nothing gets shorter. */
static void check_ways(struct sample *sample)
{
	uint32_t far[2][NODES_MAX], nodes = sample->nodes;
	struct node_set better;
	const struct node_set *starts[] = { &better, &sample->roots };
	struct reach_way_options options = {
		.mask = GRAPH_MASK_STRONG, .starts = starts, .num_starts = 2,
	};
	struct reach_tree tree, plain;
	struct labelling labelling;
	struct reach_labels labels = { label, &labelling };

	memset(&labelling, 0, sizeof(labelling));
	EXPECT_OK("set", node_set_init(&better, nodes));
	(void)node_set_add(&better, random_below(nodes));
	for (int i = 0; i < 2; i++)
		naive_distances(sample, starts[i], NULL, far[i]);
	EXPECT_OK("ways", reach_tree_make(&sample->graph, GRAPH_MASK_STRONG,
					  starts, 2, &labels, &sample->spill,
					  &tree));
	EXPECT_OK("ways", reach_tree_make(&sample->graph, GRAPH_MASK_STRONG,
					  starts, 2, NULL, &sample->spill,
					  &plain));
	EXPECT("the same without labels",
	       memcmp(tree.before, plain.before,
		      nodes * sizeof(*tree.before)) == 0);
	reach_tree_deinit(&plain);
	for (uint32_t i = 0; i < nodes; i++) {
		int set = far[0][i] > NODES_MAX;
		uint32_t *way, *same, count, same_count;

		EXPECT_OK("way", reach_way(&sample->graph, &options, i, &way,
					   &count));
		EXPECT_OK("way", reach_tree_way(&tree, i, &same, &same_count));
		EXPECT_U64("length", count,
			   far[set][i] > NODES_MAX ? 0 : far[set][i]);
		EXPECT("the same way in the tree", same_count == count &&
		       (count == 0 ||
			memcmp(way, same, count * sizeof(*way)) == 0));
		if (count)
			check_way(sample, way, count, starts[set], i);
		check_labels(&labelling, way, count, i);
		free(way);
		free(same);
	}
	reach_tree_deinit(&tree);
	node_set_deinit(&better);
}

/** With enough to spend the same way; with less some way, or none. */
static void check_budget(const struct sample *sample,
			 const struct reach_way_options *options, uint32_t node,
			 const uint32_t *way, uint32_t count)
{
	struct reach_way_options bounded = *options;
	uint64_t budget = sample->graph.num_edges + 1, spent;
	uint32_t *same, same_count;

	bounded.budget = &budget;
	EXPECT_OK("a way", reach_way(&sample->graph, &bounded, node, &same,
				     &same_count));
	EXPECT("the same way", same_count == count &&
	       (count == 0 || memcmp(way, same, count * sizeof(*way)) == 0));
	free(same);
	spent = sample->graph.num_edges + 1 - budget;
	EXPECT("each edge once", budget > 0);
	budget = random_below((uint32_t)spent + 1);
	EXPECT_OK("a way", reach_way(&sample->graph, &bounded, node, &same,
				     &same_count));
	EXPECT("the budget lasts, or the search ends",
	       budget == 0 || same_count == count);
	if (same_count)
		check_way(sample, same, same_count, &sample->roots, node);
	for (uint32_t i = 0; i < same_count; i++)
		EXPECT("avoided", !node_set_has(options->avoid, same[i]));
	free(same);
}

/** Ways that some nodes are closed to, and from other nodes only. */
static void check_other_ways(struct sample *sample)
{
	uint32_t far[NODES_MAX], nodes = sample->nodes;
	struct node_set starts, avoid;
	const struct node_set *sets[] = { &starts };
	struct reach_way_options options = {
		.mask = GRAPH_MASK_STRONG, .starts = sets, .num_starts = 1,
		.avoid = &avoid, .from_others = true,
	};
	uint32_t node = random_below(nodes), *way, count;

	EXPECT_OK("set", node_set_init(&starts, nodes));
	EXPECT_OK("set", node_set_init(&avoid, nodes));
	for (uint32_t i = 0; i < nodes; i++) {
		if (i != node && random_below(4) == 0)
			(void)node_set_add(&avoid, i);
		else if (i != node && node_set_has(&sample->roots, i))
			(void)node_set_add(&starts, i);
	}
	naive_distances(sample, &starts, &avoid, far);
	(void)node_set_add(&starts, node);
	EXPECT_OK("another way", reach_way(&sample->graph, &options, node, &way,
					   &count));
	EXPECT_U64("length", count, far[node] > NODES_MAX ? 0 : far[node]);
	for (uint32_t i = 0; i < count; i++)
		EXPECT("avoided", !node_set_has(&avoid, way[i]));
	if (count)
		check_way(sample, way, count, &sample->roots, node);
	check_budget(sample, &options, node, way, count);
	free(way);
	node_set_deinit(&starts);
	node_set_deinit(&avoid);
}

static void check_reach(struct sample *sample)
{
	bool reached[NODES_MAX];
	struct node_set set;

	EXPECT_OK("set", node_set_init(&set, sample->nodes));
	for (uint32_t i = 0; i < sample->nodes; i++)
		if (node_set_has(&sample->roots, i))
			(void)node_set_add(&set, i);
	EXPECT_OK("reach", reach(&sample->graph, GRAPH_MASK_STRONG, NULL, &set));
	naive_reach(sample, UINT32_MAX, reached);
	for (uint32_t i = 0; i < sample->nodes; i++)
		EXPECT("reached", node_set_has(&set, i) == reached[i]);
	node_set_deinit(&set);
}

static void check_random_graphs(void)
{
	struct sample *sample = calloc(1, sizeof(*sample));

	for (int i = 0; i < GRAPHS; i++) {
		make(sample, i % 100 == 0);
		check_edges(sample);
		check_reach(sample);
		check_dominators(sample);
		check_components(sample);
		check_ways(sample);
		check_other_ways(sample);
		unmake(sample);
	}
	free(sample);
}

static void count_one(void *context, uint32_t node)
{
	(void)node;
	++*(uint32_t *)context;
}

/** The tree of two chains of so many links: deeper than ways back are kept. */
static void check_deep_tree(const struct dominators *found, uint32_t links,
			    struct spill *spill)
{
	uint32_t nodes = 4 * links, seen = 0;
	uint32_t *kinds = calloc(nodes, sizeof(*kinds));
	uint64_t together[3] = { 0 };
	struct domtree tree;

	// The later half of each chain, and all leaves.
	for (uint32_t i = 0; i < nodes; i++)
		kinds[i] = i >= 2 * links ? 2 : i % links >= links / 2;
	EXPECT_OK("tree", domtree_make(found, spill, &tree));
	EXPECT_OK("by group", domtree_by_group(&tree, kinds, NULL, 3, together));
	EXPECT_U64("chains", together[0], 3 * links);
	EXPECT_U64("their later halves", together[1], 3 * links / 2);
	EXPECT_U64("leaves", together[2], 2 * links);
	EXPECT_OK("each", domtree_each(&tree, links / 4, count_one, &seen));
	EXPECT_U64("below a link", seen, 2 * (links - links / 4));
	domtree_deinit(&tree);
	free(kinds);
}

/**
 * Lists of a million nodes, one behind the other, which share their leaves; the
 * first has others of its own.
 */
static void check_long_chain(void)
{
	enum { LINKS = 1 << 20 };
	struct spill spill = { .folder = "/tmp", .budget = UINT64_MAX };
	struct edge_writer *writer;
	struct graph graph;
	struct node_set roots;
	struct dominators found;
	uint32_t *weights = calloc(4 * LINKS, sizeof(*weights));
	struct dominators_options options = {
		.workers = 2, .mask = GRAPH_MASK_STRONG, .roots = &roots,
		.weights = weights, .spill = &spill,
	};

	// Two chains side by side, whose i-th links share the i-th leaf.
	EXPECT_OK("writer", edge_writer_create(4 * LINKS, &spill, &writer));
	for (uint32_t i = 0; i < 4 * LINKS; i++) {
		uint32_t edges[3] = { i + 1, 2 * LINKS + i % LINKS,
				      3 * LINKS + i };
		uint32_t degree = i >= 2 * LINKS ? 0 : i >= LINKS ? 2 : 3;

		if (i % LINKS == LINKS - 1)
			edges[0] = edges[1];
		weights[i] = 1;
		EXPECT_OK("run", edge_writer_put(writer, &(struct edge_run){
			.first = i, .last = i, .degrees = &degree,
			.edges = edges, .num_edges = degree }));
	}
	EXPECT_OK("finish", edge_writer_finish(writer, &graph));
	edge_writer_destroy(writer);
	EXPECT_OK("reverse", graph_reverse(&graph, 2, &spill));
	EXPECT_OK("set", node_set_init(&roots, 4 * LINKS));
	(void)node_set_add(&roots, 0);
	(void)node_set_add(&roots, LINKS);
	EXPECT_OK("dominators", dominators_find(&graph, &options, &found));
	EXPECT_U64("of a chain", found.retained[0], 2 * LINKS);
	EXPECT_U64("of the other", found.retained[LINKS], LINKS);
	EXPECT_U64("the last", found.parent[LINKS - 1], LINKS - 2);
	EXPECT_U64("a leaf", found.parent[3 * LINKS - 1], DOMINATOR_ROOT);
	check_deep_tree(&found, LINKS, &spill);
	dominators_deinit(&found);
	node_set_deinit(&roots);
	graph_deinit(&graph);
	spill_deinit(&spill);
	free(weights);
}

/** Edges of the one node that leads to all, or of one of these. */
static uint32_t dense_edges(uint32_t node, uint32_t nodes, uint32_t *edges)
{
	uint32_t degree = 0;

	if (node == 0) {
		edges[degree++] = 1;
		return degree;
	}
	if (node == 1) {
		for (uint32_t i = 2; i < nodes; i++)
			edges[degree++] = i;
		return degree;
	}
	// All in one circle, and to anywhere on it; some lead out, to leaves.
	edges[degree++] = node + 1 < nodes ? node + 1 : 2;
	while (degree < 7)
		edges[degree++] = 2 + random_below(nodes - 2);
	edges[degree++] = nodes + node;
	return degree;
}

/** What is known of a graph by how it was made: caches do not hold it. */
static void check_dense(void)
{
	enum { NODES = 200000, ALL = 2 * NODES };
	struct spill spill = { .folder = "/tmp", .budget = UINT64_MAX };
	uint32_t *edges = calloc(NODES, sizeof(*edges)), last = 0;
	uint32_t *weights = calloc(ALL, sizeof(*weights));
	struct edge_writer *writer;
	struct graph graph;
	struct node_set roots, reached;
	struct dominators found;
	struct components components;

	EXPECT_OK("writer", edge_writer_create(ALL, &spill, &writer));
	for (uint32_t i = 0; i < ALL; i++) {
		uint32_t degree = i < NODES ? dense_edges(i, NODES, edges) : 0;

		weights[i] = 1;
		EXPECT_OK("run", edge_writer_put(writer, &(struct edge_run){
			.first = i, .last = i, .degrees = &degree,
			.edges = edges, .num_edges = degree }));
	}
	EXPECT_OK("finish", edge_writer_finish(writer, &graph));
	edge_writer_destroy(writer);
	EXPECT_OK("reverse", graph_reverse(&graph, 2, &spill));
	for (uint32_t i = 0; i < ALL; i++, last = 0) {
		for (uint32_t j = graph.in_at[i]; j < graph.in_at[i + 1]; j++) {
			EXPECT("in order", graph.in[j] >= last);
			last = graph.in[j];
		}
	}
	EXPECT_OK("set", node_set_init(&roots, ALL));
	EXPECT_OK("set", node_set_init(&reached, ALL));
	(void)node_set_add(&roots, 0);
	(void)node_set_add(&reached, NODES / 2);
	EXPECT_OK("dominators", dominators_find(&graph,
		&(struct dominators_options){
			.workers = 2, .mask = GRAPH_MASK_STRONG,
			.roots = &roots, .weights = weights, .spill = &spill },
		&found));
	for (uint32_t i = 0; i < ALL; i++)
		EXPECT_U64("who holds it", found.parent[i],
			   i == 0 ? DOMINATOR_ROOT : i == 1 ? 0 :
			   i < NODES ? 1 : i < NODES + 2 ?
				   DOMINATOR_UNREACHED : i - NODES);
	EXPECT_U64("of that", found.retained[1], ALL - 3);
	EXPECT_OK("components", components_find(&graph,
		&(struct components_options){ .mask = GRAPH_MASK_STRONG,
					      .spill = &spill }, &components));
	EXPECT_U64("one component", components.count, 1);
	EXPECT_U64("of these", components.at[1], NODES - 2);
	EXPECT_OK("reach", reach(&graph, GRAPH_MASK_STRONG, NULL, &reached));
	EXPECT_U64("reached", node_set_count(&reached), 2 * (NODES - 2));
	components_deinit(&components);
	dominators_deinit(&found);
	node_set_deinit(&roots);
	node_set_deinit(&reached);
	graph_deinit(&graph);
	spill_deinit(&spill);
	free(weights);
	free(edges);
}

/** The same of its own cells, kept by somebody else. */
static void check_borrowed(const struct rank *rank, const uint64_t *marks,
			   uint32_t count)
{
	struct rank_cell *cells = calloc(rank->num_chunks * RANK_CELLS,
					 sizeof(*cells));
	uint64_t *chunks = calloc(rank->num_chunks, sizeof(*chunks));
	struct rank *borrowed = NULL;
	struct error *err;

	for (size_t i = 0; i < rank->num_chunks; i++) {
		chunks[i] = rank->chunks[i].address;
		memcpy(cells + i * RANK_CELLS, rank->chunks[i].cells,
		       RANK_CELLS * sizeof(*cells));
	}
	EXPECT_OK("borrow", rank_borrow(chunks, cells, rank->num_chunks, count,
					&borrowed));
	for (uint32_t i = 0; i < count; i++) {
		EXPECT_U64("number", rank_id(borrowed, marks[i]), i);
		EXPECT_U64("address", rank_address(borrowed, i), marks[i]);
		EXPECT_U64("at", rank_below(borrowed, marks[i]), i);
		EXPECT_U64("above", rank_below(borrowed, marks[i] + 7), i);
		EXPECT_U64("below", rank_below(borrowed, marks[i] - 1), i - 1);
	}
	EXPECT_U64("last of all", rank_below(borrowed, UINT64_MAX), count - 1);
	rank_destroy(borrowed);
	chunks[rank->num_chunks - 1] = chunks[0];
	err = rank_borrow(chunks, cells, rank->num_chunks, count, &borrowed);
	EXPECT("out of order", err && err->kind == ERROR_FORMAT);
	error_free(err);
	free(cells);
	free(chunks);
}

static void check_rank(void)
{
	static const uint64_t marks[] = {
		0x10000, 0x10010, 0x101F8, 0x10200, 0x7F0000000000,
		0x7F00000FFFF8, 0x7F0000100000, UINT64_C(0xFFFFFFFFFFF8),
	};
	enum { COUNT = sizeof(marks) / sizeof(marks[0]) };
	struct rank *rank;
	uint32_t count;

	EXPECT_OK("create", rank_create(&rank));
	for (int i = COUNT; i-- > 0;)
		rank_mark(rank, marks[i]);
	rank_mark(rank, 0x20000);
	rank_unmark(rank, 0x20000);
	rank_mark(rank, 0x30004);
	rank_mark(rank, UINT64_C(1) << 48);
	EXPECT_OK("seal", rank_seal(rank, 100, &count));
	EXPECT_U64("count", count, COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		EXPECT_U64("number", rank_id(rank, marks[i]), i);
		EXPECT_U64("address", rank_address(rank, i), marks[i]);
		if (i == 0 || marks[i - 1] != marks[i] - 8)
			EXPECT_U64("none", rank_id(rank, marks[i] - 8),
				   RANK_NONE);
		EXPECT_U64("odd", rank_id(rank, marks[i] + 4), RANK_NONE);
	}
	EXPECT_U64("beyond", rank_address(rank, COUNT), 0);
	EXPECT_U64("unmarked", rank_id(rank, 0x20000), RANK_NONE);
	check_borrowed(rank, marks, COUNT);
	rank_destroy(rank);
}

/** More nodes and edges: each edge as often as it was given, both ways. */
static void check_extended(void)
{
	enum { MORE = 16, LINKS = 100, MOST = NODES_MAX + MORE };
	static uint32_t expected[MOST][MOST];
	struct graph_link links[LINKS];
	struct sample sample;
	struct graph graph;
	uint32_t nodes;

	make(&sample, random_below(2));
	nodes = sample.nodes + MORE;
	memset(expected, 0, sizeof(expected));
	for (uint32_t i = 0; i < sample.nodes; i++)
		for (uint32_t j = sample.graph.out_at[i];
		     j < sample.graph.out_at[i + 1]; j++)
			expected[i][graph_end(sample.graph.out[j])]++;
	for (int i = 0; i < LINKS; i++) {
		links[i] = (struct graph_link){ random_below(nodes),
						random_below(nodes) };
		expected[links[i].from][links[i].to]++;
	}
	EXPECT_OK("extended", graph_extend(&sample.graph, MORE, links, LINKS, 2,
					   &sample.spill, &graph));
	EXPECT_U64("nodes", graph.num_nodes, nodes);
	EXPECT_U64("edges", graph.num_edges, sample.graph.num_edges + LINKS);
	for (uint32_t i = 0; i < nodes; i++)
		for (uint32_t j = 0; j < nodes; j++) {
			uint32_t out = 0, in = 0;

			for (uint32_t k = graph.out_at[i];
			     k < graph.out_at[i + 1]; k++)
				out += graph_end(graph.out[k]) == j;
			for (uint32_t k = graph.in_at[j];
			     k < graph.in_at[j + 1]; k++)
				in += graph_end(graph.in[k]) == i;
			EXPECT_U64("away", out, expected[i][j]);
			EXPECT_U64("to", in, expected[i][j]);
		}
	// Whatever it had is held as it was, and in the same order.
	for (uint32_t i = 0; i < sample.nodes; i++)
		EXPECT("before", memcmp(graph.out + graph.out_at[i],
					sample.graph.out + sample.graph.out_at[i],
					(sample.graph.out_at[i + 1] -
					 sample.graph.out_at[i]) *
						sizeof(uint32_t)) == 0);
	graph_deinit(&graph);
	unmake(&sample);
}

int main(void)
{
	check_rank();
	CHECK("numbers of addresses", check_failures == 0);
	check_random_graphs();
	CHECK("random graphs", check_failures == 0);
	for (int i = 0; i < 50; i++)
		check_extended();
	CHECK("graphs with more nodes", check_failures == 0);
	check_long_chain();
	CHECK("long chains", check_failures == 0);
	check_dense();
	CHECK("a large dense graph", check_failures == 0);
	return check_result();
}
