/*
 * Edges put together, and turned round; see graph.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/graph/graph.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/workers.h"

enum { OUT_AT, OUT, IN_AT, IN };

enum { AHEAD = 24 };		/* edges, whose targets' memory is asked for */

#define EDGES_MAX	UINT32_MAX
#define GROW_BYTES	(UINT64_C(32) << 20)
#define RESERVE_LEAST	(UINT64_C(16) << 20)

/* --- edges as they are found ----------------------------------------------- */

/** A run that came too early; its arrays are copied to kept. */
struct waiting {
	struct waiting *next;
	struct edge_run run;
	uint64_t offset;	/* of its degrees in kept, then of its edges */
};

struct edge_writer {
	struct spill_array out_at, out;
	uint32_t num_nodes, next;	/* the node whose edges come next */
	uint64_t num_edges;
	struct waiting *waiting;	/* by their first nodes */
	struct spill_array kept;	/* what these have */
	uint64_t kept_bytes;
	struct spill *spill;
	pthread_mutex_t lock;
};

/**
 * Address space for most bytes, or, where that is limited (ulimit -v), a fair
 * part of what there is.
 */
static struct error *reserve(struct spill *spill, uint64_t most,
			     struct spill_array *ret)
{
	struct error *err = spill_reserve(spill, most, ret);

	if (!err)
		return NULL;
	while (err && most > RESERVE_LEAST) {
		error_free(err);
		most /= 2;
		err = spill_reserve(spill, most, ret);
	}
	if (err)
		return err;
	spill_free(ret);
	return spill_reserve(spill, most / 4, ret);
}

struct error *edge_writer_create(uint32_t num_nodes, struct spill *spill,
				 struct edge_writer **ret)
{
	struct edge_writer *writer = calloc(1, sizeof(*writer));
	struct error *err;

	if (!writer)
		return error_no_memory();
	writer->num_nodes = num_nodes;
	writer->spill = spill;
	(void)pthread_mutex_init(&writer->lock, NULL);
	err = spill_alloc(spill, ((uint64_t)num_nodes + 1) * sizeof(uint32_t),
			  &writer->out_at);
	if (!err)
		err = reserve(spill, EDGES_MAX * sizeof(uint32_t),
			      &writer->out);
	if (err)
		edge_writer_destroy(writer);
	else
		*ret = writer;
	return err;
}

void edge_writer_destroy(struct edge_writer *writer)
{
	if (!writer)
		return;
	while (writer->waiting) {
		struct waiting *first = writer->waiting;

		writer->waiting = first->next;
		free(first);
	}
	spill_free(&writer->out_at);
	spill_free(&writer->out);
	spill_free(&writer->kept);
	(void)pthread_mutex_destroy(&writer->lock);
	free(writer);
}

static struct error *append(struct edge_writer *writer,
			    const struct edge_run *run)
{
	uint32_t *degrees = (uint32_t *)writer->out_at.data + 1;
	uint64_t end = writer->num_edges + run->num_edges;
	uint64_t bytes = end * sizeof(uint32_t);

	if (end > EDGES_MAX)
		return error_new(ERROR_LIMIT, "more than %" PRIu32 " references "
				 "are more than this version can number",
				 EDGES_MAX);
	if (bytes > writer->out.size) {
		struct error *err = spill_grow(&writer->out,
					       bytes + GROW_BYTES <
						       writer->out.reserved ?
					       bytes + GROW_BYTES : bytes);

		if (err)
			return err;
	}
	for (uint32_t i = run->first; i <= run->last; i++)
		degrees[i] += run->degrees[i - run->first];
	if (run->num_edges > 0)
		memcpy((uint32_t *)writer->out.data + writer->num_edges,
		       run->edges, run->num_edges * sizeof(uint32_t));
	writer->num_edges = end;
	writer->next = run->more ? run->last : run->last + 1;
	return NULL;
}

/** Room for bytes in kept. */
static struct error *grow_kept(struct edge_writer *writer, uint64_t bytes)
{
	// Of each edge, and of each node twice where a run ends within it.
	uint64_t most = UINT64_C(3) * EDGES_MAX * sizeof(uint32_t);
	uint64_t end = writer->kept_bytes + bytes;
	struct error *err = NULL;

	if (!writer->kept.data)
		err = reserve(writer->spill, most, &writer->kept);
	return err || end <= writer->kept.size ?
		       err : spill_grow(&writer->kept,
					end + GROW_BYTES < writer->kept.reserved ?
						end + GROW_BYTES : end);
}

static struct error *keep(struct edge_writer *writer,
			  const struct edge_run *run)
{
	size_t degrees = ((size_t)(run->last - run->first) + 1) *
			 sizeof(uint32_t);
	size_t edges = run->num_edges * sizeof(uint32_t);
	struct error *err = grow_kept(writer, degrees + edges);
	struct waiting **at = &writer->waiting;
	struct waiting *kept;
	uint8_t *bytes;

	if (err)
		return err;
	kept = malloc(sizeof(*kept));
	if (!kept)
		return error_no_memory();
	bytes = (uint8_t *)writer->kept.data + writer->kept_bytes;
	memcpy(bytes, run->degrees, degrees);
	if (edges)
		memcpy(bytes + degrees, run->edges, edges);
	*kept = (struct waiting){ .run = *run, .offset = writer->kept_bytes };
	writer->kept_bytes += degrees + edges;
	// One that goes on with a node stands behind that which began it.
	while (*at && (*at)->run.first <= run->first)
		at = &(*at)->next;
	kept->next = *at;
	*at = kept;
	return NULL;
}

/** One that waited has its turn. */
static struct error *append_kept(struct edge_writer *writer,
				 struct waiting *kept)
{
	const uint32_t *words = (const uint32_t *)writer->kept.data +
				kept->offset / sizeof(uint32_t);

	kept->run.degrees = words;
	kept->run.edges = words + (kept->run.last - kept->run.first) + 1;
	return append(writer, &kept->run);
}

/** Append those that wait, as far as no node is missing between, or all. */
static struct error *append_waiting(struct edge_writer *writer, bool all)
{
	struct error *err = NULL;

	while (!err && writer->waiting &&
	       (all || writer->waiting->run.first == writer->next)) {
		struct waiting *first = writer->waiting;

		writer->waiting = first->next;
		err = append_kept(writer, first);
		free(first);
	}
	if (!writer->waiting)
		writer->kept_bytes = 0;
	return err;
}

struct error *edge_writer_put(struct edge_writer *writer,
			      const struct edge_run *run)
{
	struct error *err;

	(void)pthread_mutex_lock(&writer->lock);
	if (run->first == writer->next) {
		err = append(writer, run);
		if (!err)
			err = append_waiting(writer, /* all= */ false);
	} else {
		err = keep(writer, run);
	}
	(void)pthread_mutex_unlock(&writer->lock);
	return err;
}

struct error *edge_writer_finish(struct edge_writer *writer,
				 struct graph *graph)
{
	struct error *err = append_waiting(writer, /* all= */ true);
	uint32_t *at = writer->out_at.data;

	if (err)
		return err;
	for (uint32_t i = 0; i < writer->num_nodes; i++)
		at[i + 1] += at[i];
	spill_trim(&writer->out, writer->num_edges * sizeof(uint32_t));
	*graph = (struct graph){
		.num_nodes = writer->num_nodes,
		.num_edges = (uint32_t)writer->num_edges,
		.out_at = at,
		.out = writer->out.data,
		.arrays = { [OUT_AT] = writer->out_at, [OUT] = writer->out },
	};
	writer->out_at = (struct spill_array){ .fd = -1 };
	writer->out = (struct spill_array){ .fd = -1 };
	return NULL;
}

/* --- turned round ---------------------------------------------------------- */

/*
 * Each worker has the edges that lead to a range of nodes, and looks at all:
 * what it writes to is its own, and as small as can be.
 */
struct reversing {
	struct graph *graph;
	unsigned int parts;
};

static void part_of(const struct reversing *reversing, size_t shard,
		    uint32_t *ret_begin, uint32_t *ret_end)
{
	uint64_t nodes = reversing->graph->num_nodes;

	*ret_begin = (uint32_t)(nodes * shard / reversing->parts);
	*ret_end = (uint32_t)(nodes * (shard + 1) / reversing->parts);
}

/** Ask for what is kept of the targets of edges that come soon. */
static void ask_ahead(const struct graph *graph, uint32_t edge,
		      const uint32_t *of_targets)
{
	if (graph->num_edges - edge > AHEAD)
		__builtin_prefetch(
			&of_targets[graph_end(graph->out[edge + AHEAD])], 1);
}

static struct error *count_part(void *context, unsigned int worker,
				size_t shard)
{
	const struct reversing *reversing = context;
	const struct graph *graph = reversing->graph;
	uint32_t *counts = graph->in_at + 1, begin, end;

	(void)worker;
	part_of(reversing, shard, &begin, &end);
	for (uint32_t i = 0; i < graph->num_edges; i++) {
		uint32_t target = graph_end(graph->out[i]);

		ask_ahead(graph, i, counts);
		if (target - begin < end - begin)
			counts[target]++;
	}
	return NULL;
}

/** in_at[i] is where the next edge that leads to node i goes. */
static struct error *fill_part(void *context, unsigned int worker, size_t shard)
{
	const struct reversing *reversing = context;
	const struct graph *graph = reversing->graph;
	uint32_t begin, end;

	(void)worker;
	part_of(reversing, shard, &begin, &end);
	for (uint32_t i = 0; i < graph->num_nodes; i++) {
		for (uint32_t j = graph->out_at[i]; j < graph->out_at[i + 1];
		     j++) {
			uint32_t edge = graph->out[j];
			uint32_t target = graph_end(edge);

			ask_ahead(graph, j, graph->in_at);
			if (target - begin < end - begin)
				graph->in[graph->in_at[target]++] =
					graph_edge(i, graph_hold(edge));
		}
	}
	return NULL;
}

struct error *graph_reverse(struct graph *graph, unsigned int workers,
			    struct spill *spill)
{
	struct reversing reversing = { graph, workers ? workers : 1 };
	uint64_t nodes = graph->num_nodes;
	struct error *err;

	err = spill_alloc(spill, (nodes + 1) * sizeof(uint32_t),
			  &graph->arrays[IN_AT]);
	if (!err)
		err = spill_alloc(spill, (uint64_t)graph->num_edges *
						 sizeof(uint32_t),
				  &graph->arrays[IN]);
	if (err)
		return err;
	graph->in_at = graph->arrays[IN_AT].data;
	graph->in = graph->arrays[IN].data;
	err = workers_run(workers, reversing.parts, count_part, &reversing);
	if (err)
		return err;
	for (uint32_t i = 0; i < graph->num_nodes; i++)
		graph->in_at[i + 1] += graph->in_at[i];
	err = workers_run(workers, reversing.parts, fill_part, &reversing);
	// Each has been moved to where the one behind it began.
	memmove(graph->in_at + 1, graph->in_at, nodes * sizeof(uint32_t));
	graph->in_at[0] = 0;
	return err;
}

uint32_t graph_referrers(const struct graph *graph, uint32_t node,
			 unsigned int mask)
{
	uint32_t count = 0, last = GRAPH_NONE;

	// Those of one referrer stand together.
	for (uint32_t j = graph->in_at[node]; j < graph->in_at[node + 1]; j++) {
		uint32_t source = graph_end(graph->in[j]);

		if (source == last || !graph_in(graph->in[j], mask))
			continue;
		last = source;
		count++;
	}
	return count;
}

void graph_deinit(struct graph *graph)
{
	for (int i = 0; i < 4; i++)
		spill_free(&graph->arrays[i]);
	*graph = (struct graph){ 0 };
}
