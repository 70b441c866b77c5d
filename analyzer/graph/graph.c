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
	err = spill_alloc_unset(spill,
				((uint64_t)num_nodes + 1) * sizeof(uint32_t),
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

/** Nodes that were not given, up to one, have no edges. */
static void skip_nodes(struct edge_writer *writer, uint32_t end)
{
	uint32_t *at = writer->out_at.data;

	for (uint32_t i = writer->next; i < end; i++)
		at[i + 1] = (uint32_t)writer->num_edges;
}

static struct error *append(struct edge_writer *writer,
			    const struct edge_run *run)
{
	uint32_t *ends = (uint32_t *)writer->out_at.data + 1;
	uint32_t next = (uint32_t)writer->num_edges;
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
	skip_nodes(writer, run->first);
	for (uint32_t i = run->first; i <= run->last; i++)
		ends[i] = next += run->degrees[i - run->first];
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
	skip_nodes(writer, writer->num_nodes);
	at[0] = 0;
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
	spill_free(&writer->kept);
	return NULL;
}

/* --- turned round ---------------------------------------------------------- */

enum {
	BUCKETS_LOG2 = 10,	/* as many, unless … */
	BUCKET_LOG2 = 16,	/* … they had more nodes than this */
	SLICES = 64,		/* runs of nodes that workers take */
	GROUPS = 4,		/* of buckets, where there is little room */
};

/*
 * Edges to anywhere would each wait for memory. So they first go to buckets by
 * the nodes that they lead to, each slice to places of its own; what one of
 * these has is then put in order where the caches hold all of it. A bucket is
 * where its edges will be in the end: beside them is only which of its nodes
 * each leads to. In a file that would be looked at everywhere all the time, so
 * that there need to be groups.
 */
struct reversing {
	struct graph *graph;
	struct spill *spill;
	uint32_t shift;		/* nodes of a bucket: two to the power of it */
	uint32_t num_buckets;
	uint32_t *counts;	/* by slice and bucket; then where the next goes */
	uint32_t *begins;	/* of buckets in graph->in, one more than these */
	uint32_t first, last;	/* buckets of the group at hand, without last */
	uint16_t *targets;	/* of their edges, from begins[first] on: the
				   node's number in its bucket */
	struct spill_array array;
	struct spill_array *copies;	/* by worker: of the bucket at hand */
};

static void nodes_of_slice(const struct reversing *reversing, size_t slice,
			   uint32_t *ret_begin, uint32_t *ret_end)
{
	uint64_t nodes = reversing->graph->num_nodes;

	*ret_begin = (uint32_t)(nodes * slice / SLICES);
	*ret_end = (uint32_t)(nodes * (slice + 1) / SLICES);
}

static uint32_t *counts_of(const struct reversing *reversing, size_t slice)
{
	return reversing->counts + slice * reversing->num_buckets;
}

static struct error *count_slice(void *context, unsigned int worker,
				 size_t slice)
{
	const struct reversing *reversing = context;
	const struct graph *graph = reversing->graph;
	uint32_t *counts = counts_of(reversing, slice), begin, end;

	(void)worker;
	nodes_of_slice(reversing, slice, &begin, &end);
	for (uint32_t j = graph->out_at[begin]; j < graph->out_at[end]; j++)
		counts[graph_end(graph->out[j]) >> reversing->shift]++;
	return NULL;
}

/** From how many there are to where the first of them goes. */
static void place_buckets(struct reversing *reversing)
{
	uint32_t next = 0;

	for (uint32_t i = 0; i < reversing->num_buckets; i++) {
		reversing->begins[i] = next;
		for (size_t slice = 0; slice < SLICES; slice++) {
			uint32_t *at = &counts_of(reversing, slice)[i];
			uint32_t count = *at;

			*at = next;
			next += count;
		}
	}
	reversing->begins[reversing->num_buckets] = next;
}

static struct error *fill_slice(void *context, unsigned int worker,
				size_t slice)
{
	const struct reversing *reversing = context;
	const struct graph *graph = reversing->graph;
	uint16_t *targets = reversing->targets;
	uint32_t *next = counts_of(reversing, slice), node, end;
	uint32_t first = reversing->first, num = reversing->last - first;
	uint32_t begin = reversing->begins[first];
	uint32_t shift = reversing->shift, mask = (UINT32_C(1) << shift) - 1;

	(void)worker;
	nodes_of_slice(reversing, slice, &node, &end);
	for (; node < end; node++) {
		for (uint32_t j = graph->out_at[node];
		     j < graph->out_at[node + 1]; j++) {
			uint32_t edge = graph->out[j];
			uint32_t target = graph_end(edge), at;

			if ((target >> shift) - first >= num)
				continue;
			at = next[target >> shift]++;
			graph->in[at] = graph_edge(node, graph_hold(edge));
			targets[at - begin] = (uint16_t)(target & mask);
		}
	}
	return NULL;
}

/** Copy a bucket's edges to where the worker has room for them. */
static struct error *copy_bucket(const struct reversing *reversing,
				 unsigned int worker, uint32_t begin,
				 uint32_t count, const uint32_t **ret)
{
	struct spill_array *copy = &reversing->copies[worker];
	uint64_t bytes = (uint64_t)count * sizeof(uint32_t);
	struct error *err = NULL;

	if (copy->size < bytes) {
		spill_free(copy);
		err = spill_alloc_unset(reversing->spill, bytes, copy);
	}
	if (err)
		return err;
	memcpy(copy->data, reversing->graph->in + begin, bytes);
	*ret = copy->data;
	return NULL;
}

/** Put the edges of a bucket in order, and say where those of each node end. */
static struct error *sort_bucket(void *context, unsigned int worker,
				 size_t number)
{
	const struct reversing *reversing = context;
	const struct graph *graph = reversing->graph;
	uint32_t bucket = reversing->first + (uint32_t)number;
	uint32_t node = bucket << reversing->shift;
	uint32_t left = graph->num_nodes - node;
	uint32_t nodes = left >> reversing->shift ?
				 UINT32_C(1) << reversing->shift : left;
	uint32_t next = reversing->begins[bucket];
	uint32_t count = reversing->begins[bucket + 1] - next;
	const uint16_t *targets = reversing->targets + next -
				  reversing->begins[reversing->first];
	uint32_t *ends = graph->in_at + 1 + node;
	const uint32_t *edges;
	struct error *err;

	if (count > 0) {
		err = copy_bucket(reversing, worker, next, count, &edges);
		if (err)
			return err;
	}
	// How many; then where the next goes, which ends as their end.
	memset(ends, 0, nodes * sizeof(*ends));
	for (uint32_t i = 0; i < count; i++)
		ends[targets[i]]++;
	for (uint32_t i = 0; i < nodes; i++) {
		uint32_t degree = ends[i];

		ends[i] = next;
		next += degree;
	}
	for (uint32_t i = 0; i < count; i++)
		graph->in[ends[targets[i]]++] = edges[i];
	return NULL;
}

/** The next buckets that go together: at least one, and as many as fit. */
static void take_group(struct reversing *reversing, uint32_t room)
{
	const uint32_t *begins = reversing->begins;

	reversing->first = reversing->last++;
	while (reversing->last < reversing->num_buckets &&
	       begins[reversing->last + 1] - begins[reversing->first] <= room)
		reversing->last++;
}

/** How many edges may be on their way: at least those of any bucket. */
static uint32_t find_room(const struct reversing *reversing)
{
	const struct graph *graph = reversing->graph;
	const struct spill *spill = reversing->spill;
	uint64_t used = atomic_load(&spill->used);
	uint64_t left = spill->budget > used ? spill->budget - used : 0;
	uint64_t bytes = (uint64_t)graph->num_edges *
			 sizeof(*reversing->targets);
	uint32_t room = graph->arrays[IN].fd < 0 && bytes <= left / 4 ?
				graph->num_edges : graph->num_edges / GROUPS;

	for (uint32_t i = 0; i < reversing->num_buckets; i++) {
		uint32_t count = reversing->begins[i + 1] -
				 reversing->begins[i];

		room = count > room ? count : room;
	}
	return room;
}

static struct error *turn(struct reversing *reversing, unsigned int workers)
{
	uint32_t room;
	struct error *err = workers_run(workers, SLICES, count_slice,
					reversing);

	if (err)
		return err;
	place_buckets(reversing);
	room = find_room(reversing);
	err = spill_alloc_unset(reversing->spill,
				(uint64_t)room * sizeof(*reversing->targets),
				&reversing->array);
	reversing->targets = reversing->array.data;
	while (!err && reversing->last < reversing->num_buckets) {
		take_group(reversing, room);
		err = workers_run(workers, SLICES, fill_slice, reversing);
		if (!err)
			err = workers_run(workers,
					  reversing->last - reversing->first,
					  sort_bucket, reversing);
	}
	spill_free(&reversing->array);
	for (unsigned int i = 0; i < workers; i++)
		spill_free(&reversing->copies[i]);
	return err;
}

static struct error *make_in(struct graph *graph, struct spill *spill)
{
	struct error *err = spill_alloc_unset(
		spill, ((uint64_t)graph->num_nodes + 1) * sizeof(uint32_t),
		&graph->arrays[IN_AT]);

	if (!err)
		err = spill_alloc_unset(spill, (uint64_t)graph->num_edges *
						       sizeof(uint32_t),
					&graph->arrays[IN]);
	if (err)
		return err;
	graph->in_at = graph->arrays[IN_AT].data;
	graph->in_at[0] = 0;
	graph->in = graph->arrays[IN].data;
	return NULL;
}

struct error *graph_reverse(struct graph *graph, unsigned int workers,
			    struct spill *spill)
{
	struct reversing reversing = { .graph = graph, .spill = spill };
	uint64_t nodes = graph->num_nodes;
	struct error *err = make_in(graph, spill);

	workers = workers ? workers : 1;
	while (reversing.shift < BUCKET_LOG2 &&
	       nodes >> reversing.shift >> BUCKETS_LOG2)
		reversing.shift++;
	reversing.num_buckets = (uint32_t)(nodes >> reversing.shift) + 1;
	reversing.counts = calloc((size_t)SLICES * reversing.num_buckets,
				  sizeof(*reversing.counts));
	reversing.begins = calloc((size_t)reversing.num_buckets + 1,
				  sizeof(*reversing.begins));
	reversing.copies = calloc(workers, sizeof(*reversing.copies));
	if (!err && (!reversing.counts || !reversing.begins ||
		     !reversing.copies))
		err = error_no_memory();
	if (!err)
		err = turn(&reversing, workers);
	free(reversing.counts);
	free(reversing.begins);
	free(reversing.copies);
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
