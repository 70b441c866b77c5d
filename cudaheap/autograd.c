/*
 * PyTorch's graph of autograd; see autograd.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/autograd.h"

#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"

#define NONE UINT32_MAX

enum {
	/* Where a class's own begins: at least, at most, and where its edges, and
	   its Python object that follows them, are at most. 1.13: 392 and 96;
	   since: 472, 464 and 96, 88. */
	OWN_LEAST = 392, OWN_MOST = 640, EDGES_MOST = 112,
	/* since nodes count their owners themselves */
	OWN_INTRUSIVE = 464,
	SAMPLES = 64,		/* nodes that add up gradients, or save tensors */
	SAVERS = 4096,		/* nodes that may be among these */
	NUM_FLAGS = 5,		/* of a SavedVariable: bools, of which one or the
				   other is set: */
	FLAG_ORIGINAL = 2, FLAG_OUTPUT = 4,
};

/* Where a SavedVariable has its flags, and how long one is: as 1.13 and 2.4 have it,
   2.5 to 2.9, and later ones. */
static const struct {
	uint32_t flags, size;
} saved_tables[] = { { 56, 112 }, { 48, 104 }, { 40, 80 } };

enum { TABLE_LONG, TABLE_SHORT, TABLE_INTRUSIVE, NUM_TABLES };

struct reading {
	const struct autograd_options *options;
	struct autograd *graph;
	uint32_t node;		/* that is being read */
};

uint32_t autograd_find(const struct autograd *graph, uint64_t address)
{
	uint32_t low = 0, high = graph->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (graph->nodes[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < graph->count && graph->nodes[low].address == address ?
		       low : NONE;
}

static struct error *append(uint32_t **list, size_t *count, size_t *room,
			    size_t first, uint32_t number)
{
	uint32_t *grown;

	// A node has few: that one is there twice is told by looking.
	for (size_t i = first; i < *count && i < first + 64; i++)
		if ((*list)[i] == number)
			return NULL;
	if (*count >= NONE - 1)
		return error_new(ERROR_LIMIT, "autograd's graph has more than "
				 "2^32 edges");
	if (*count == *room) {
		*room = *room ? *room * 2 : 1024;
		grown = realloc(*list, *room * sizeof(**list));
		if (!grown)
			return error_no_memory();
		*list = grown;
	}
	(*list)[(*count)++] = number;
	return NULL;
}

static struct error *add_edge(struct reading *reading, uint64_t word)
{
	struct autograd *graph = reading->graph;
	uint32_t number = word && word % 8 == 0 ? autograd_find(graph, word) :
						  NONE;

	// Each knows itself.
	if (number == NONE || number == reading->node)
		return NULL;
	return append(&graph->edges, &graph->num_edges, &graph->room_edges,
		      graph->nodes[reading->node].first_edge, number);
}

/** It has both of a shared_ptr's words or none behind its first. */
static bool has_shared(const uint64_t *words, size_t count)
{
	return count >= 3 && (words[1] == 0) == (words[2] == 0) &&
	       words[1] % 8 == 0 && words[2] % 8 == 0;
}

/**
 * The flags of a SavedVariable: the first says that it is none after all. What has
 * a tensor has the one that was to be saved, or a copy of a result.
 */
static bool has_flags(const uint64_t *words, size_t count, uint32_t at,
		      bool has_tensor)
{
	uint8_t bytes[NUM_FLAGS];

	if (at + NUM_FLAGS > count * 8)
		return false;
	memcpy(bytes, (const uint8_t *)words + at, NUM_FLAGS);
	for (int i = 0; i < NUM_FLAGS; i++)
		if (bytes[i] > (i > 0))
			return false;
	return !has_tensor || bytes[FLAG_ORIGINAL] || bytes[FLAG_OUTPUT];
}

static bool is_saved_variable(const struct autograd *graph,
			      const uint64_t *words, size_t count,
			      bool has_tensor)
{
	return has_shared(words, count) &&
	       (graph->flags == 0 ||
		has_flags(words, count, graph->flags, has_tensor));
}

/** A SavedVariable whose tensor is one that is none: hooks may have had it. */
static struct error *add_packed(struct reading *reading, const uint64_t *words,
				size_t count)
{
	const struct autograd_options *options = reading->options;
	struct autograd *graph = reading->graph;
	size_t at = graph->flags / 8 + 1;

	if (graph->flags == 0 || !options->hooks || at >= count ||
	    words[at] == 0 || words[at] % 8 ||
	    !is_saved_variable(graph, words, count, false) ||
	    !options->hooks(options->context, words[at]))
		return NULL;
	if (graph->num_packed == graph->room_packed) {
		size_t room = graph->room_packed ? graph->room_packed * 2 : 256;
		struct autograd_packed *grown =
			realloc(graph->packed, room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		graph->packed = grown;
		graph->room_packed = room;
	}
	graph->packed[graph->num_packed++] = (struct autograd_packed){
		.hooks = words[at], .node = reading->node };
	return NULL;
}

static struct error *add_saved(struct reading *reading, const uint64_t *words,
			       size_t count)
{
	struct autograd *graph = reading->graph;
	uint32_t number;

	if (words[0] == 0 || words[0] % 8)
		return NULL;
	if (!hashmap_get(reading->options->tensors, words[0], &number))
		return add_packed(reading, words, count);
	if (!is_saved_variable(graph, words, count, true))
		return NULL;
	if (reading->options->owners)
		reading->options->owners[number - 1]++;
	return append(&graph->saved, &graph->num_saved, &graph->room_saved,
		      graph->nodes[reading->node].first_saved, number - 1);
}

/** Begin, end and room of a vector that has something in it. */
static bool is_vector(const uint64_t words[3])
{
	return words[0] && words[0] % 8 == 0 && words[1] > words[0] &&
	       words[2] >= words[1] &&
	       words[2] - words[0] <= AUTOGRAD_VECTOR_MAX &&
	       (words[1] - words[0]) % 8 == 0;
}

/** … that can be one of SavedVariables: other words may look like a vector. */
static bool is_saved_vector(const struct autograd *graph,
			    const uint64_t words[3])
{
	return graph->saved_size &&
	       (words[1] - words[0]) % graph->saved_size == 0 &&
	       (words[2] - words[0]) % graph->saved_size == 0;
}

/** A copy: what it leads to is read in between. */
static struct error *read_words(struct reading *reading, uint64_t start,
				uint64_t size, uint64_t **ret)
{
	uint64_t *words = malloc(size + 1);

	*ret = NULL;
	if (!words)
		return error_no_memory();
	if (memory_try_read(reading->options->memory, start, words, size))
		*ret = words;
	else
		free(words);
	return NULL;
}

/** @param saved  tensors are looked for; else nodes */
static struct error *look_at_vector(struct reading *reading, uint64_t start,
				    uint64_t end, bool saved)
{
	CLEANUP(free_pointer) uint64_t *words = NULL;
	struct error *err = read_words(reading, start, end - start, &words);
	size_t count = words ? (end - start) / 8 : 0;
	size_t step = saved ? reading->graph->saved_size / 8 : 1;

	for (size_t i = 0; !err && i < count; i += step)
		err = saved ? add_saved(reading, words + i, count - i) :
			      add_edge(reading, words[i]);
	return err;
}

/**
 * @param own  where what is a class's own begins
 * @param more  it may lead to more
 */
static struct error *look_at_place(struct reading *reading,
				   const struct autograd_place *place,
				   uint64_t own, bool more)
{
	const struct autograd_options *options = reading->options;
	CLEANUP(free_pointer) uint64_t *words = NULL;
	uint64_t size = (place->end - place->address) & ~UINT64_C(7);
	struct autograd_place other;
	struct error *err;
	size_t count;

	if (place->end <= place->address)
		return NULL;
	if (size > AUTOGRAD_NODE_MAX)
		size = AUTOGRAD_NODE_MAX;
	err = read_words(reading, place->address, size, &words);
	if (!err && !words)
		reading->graph->unread++;
	count = words ? size / 8 : 0;
	// The first word says of which class it is.
	for (size_t i = 1; !err && i < count; i++) {
		bool is_own = i * 8 >= own;

		if (!is_own && i * 8 > EDGES_MOST)
			continue;
		if (i + 3 <= count && is_vector(words + i) &&
		    (!is_own || is_saved_vector(reading->graph, words + i)))
			err = look_at_vector(reading, words[i], words[i + 1],
					     is_own);
		if (!err && is_own)
			err = add_saved(reading, words + i, count - i);
		if (!err && more && options->more &&
		    options->more(options->context, place->address, words[i],
				  &other))
			err = look_at_place(reading, &other, 0, false);
	}
	return err;
}

/**
 * Where nodes that add up gradients have a tensor. Those that are gone, but for
 * weak references that tensors have to them, have none; a word that was left in
 * memory may look like one.
 */
static void find_own(const struct autograd_options *options,
		     struct autograd *graph)
{
	uint32_t hits[OWN_MOST / 8] = { 0 }, looked = 0, most = 0;

	graph->own = OWN_LEAST;
	for (size_t i = 0; i < options->count && looked < SAMPLES; i++) {
		uint64_t at = options->places[i].address, words[OWN_MOST / 8];
		uint64_t size = options->places[i].end - at;
		uint32_t number;
		bool has_any = false;

		if (size > OWN_MOST)
			size = OWN_MOST;
		if (!options->accumulates ||
		    !options->accumulates(options->context, at) ||
		    !memory_try_read(options->memory, at, words, size & ~7))
			continue;
		for (size_t j = OWN_LEAST / 8; j < size / 8; j++)
			if (words[j] && hashmap_get(options->tensors, words[j],
						    &number)) {
				hits[j]++;
				has_any = true;
			}
		looked += has_any;
	}
	for (uint32_t j = OWN_LEAST / 8; j < OWN_MOST / 8; j++)
		if (hits[j] > most && hits[j] * 4 >= looked * 3) {
			most = hits[j];
			graph->own = j * 8;
			graph->knows_own = true;
		}
}

/**
 * Which tables fit a SavedVariable at the start of these words: a bit for each.
 * What hooks made of a tensor follows the flags.
 */
static unsigned int tables_of(const struct autograd_options *options,
			      const uint64_t *words, size_t count)
{
	uint32_t number;
	bool has_tensor = words[0] && hashmap_get(options->tensors, words[0],
						  &number);
	unsigned int fitting = 0;

	if (words[0] == 0 || words[0] % 8 || !has_shared(words, count))
		return 0;
	for (int i = 0; i < NUM_TABLES; i++) {
		uint32_t flags = saved_tables[i].flags;
		size_t hooks = flags / 8 + 1;

		if (has_flags(words, count, flags, has_tensor) &&
		    (has_tensor ||
		     (options->hooks && hooks < count && words[hooks] &&
		      words[hooks] % 8 == 0 &&
		      options->hooks(options->context, words[hooks]))))
			fitting |= 1U << i;
	}
	return fitting;
}

/**
 * How a SavedVariable is laid out, by what nodes have saved. Where none has saved
 * anything, owners are counted in it as they are in a node and a tensor.
 */
static void find_flags(const struct autograd_options *options,
		       struct autograd *graph)
{
	uint32_t hits[NUM_TABLES] = { 0 }, looked = 0;
	int best = graph->own == OWN_INTRUSIVE ? TABLE_INTRUSIVE :
		   options->long_counts ? TABLE_LONG : TABLE_SHORT;

	for (size_t i = 0; i < options->count && i < SAVERS && looked < SAMPLES;
	     i++) {
		uint64_t at = options->places[i].address + graph->own;
		uint64_t words[OWN_MOST / 8], size = sizeof(words);
		unsigned int fitting = 0;

		if (options->places[i].end <= at)
			continue;
		if (size > options->places[i].end - at)
			size = (options->places[i].end - at) & ~UINT64_C(7);
		if (!memory_try_read(options->memory, at, words, size))
			continue;
		for (size_t j = 0; j < size / 8 && fitting == 0; j++)
			fitting = tables_of(options, words + j, size / 8 - j);
		for (int j = 0; j < NUM_TABLES; j++)
			hits[j] += fitting >> j & 1;
		looked += fitting != 0;
	}
	for (int i = 0; i < NUM_TABLES; i++)
		if (hits[i] > hits[best])
			best = i;
	graph->flags = saved_tables[best].flags;
	graph->saved_size = saved_tables[best].size;
}

struct error *autograd_make(const struct autograd_options *options,
			    struct autograd *ret)
{
	struct reading reading = { .options = options, .graph = ret };
	struct error *err = NULL;

	*ret = (struct autograd){ 0 };
	if (options->count >= NONE - 1)
		return error_new(ERROR_LIMIT, "autograd's graph has more than "
				 "2^32 nodes");
	ret->nodes = calloc(options->count + 1, sizeof(*ret->nodes));
	if (!ret->nodes)
		return error_no_memory();
	ret->count = (uint32_t)options->count;
	for (uint32_t i = 0; i < ret->count; i++)
		ret->nodes[i].address = options->places[i].address;
	find_own(options, ret);
	if (ret->knows_own)
		find_flags(options, ret);
	for (uint32_t i = 0; !err && i < ret->count; i++) {
		ret->nodes[i].first_edge = (uint32_t)ret->num_edges;
		ret->nodes[i].first_saved = (uint32_t)ret->num_saved;
		reading.node = i;
		err = look_at_place(&reading, &options->places[i], ret->own,
				    true);
	}
	ret->nodes[ret->count].first_edge = (uint32_t)ret->num_edges;
	ret->nodes[ret->count].first_saved = (uint32_t)ret->num_saved;
	if (err)
		autograd_deinit(ret);
	return err;
}

void autograd_deinit(struct autograd *graph)
{
	free(graph->nodes);
	free(graph->edges);
	free(graph->saved);
	free(graph->packed);
	*graph = (struct autograd){ 0 };
}

/* --- what is reached from where ---------------------------------------------------- */

struct reaching {
	const struct autograd *graph;
	const uint32_t *roots;
	uint32_t *owners;	/* by node: index into roots */
	uint32_t *outer;	/* by root: one that leads to it, or NONE */
	uint32_t *queue;
};

/** The root that is not reached from another one. */
static uint32_t outermost(const struct reaching *reaching, uint32_t root)
{
	while (reaching->outer[root] != NONE)
		root = reaching->outer[root];
	return root;
}

/** All that is nobody's yet; a root on the way becomes an inner one. */
static void flood(struct reaching *reaching, uint32_t root)
{
	const struct autograd *graph = reaching->graph;
	size_t head = 0, tail = 0;

	if (reaching->owners[reaching->roots[root]] != NONE) {
		uint32_t other = outermost(
			reaching, reaching->owners[reaching->roots[root]]);

		if (other != root)
			reaching->outer[root] = other;
		return;
	}
	reaching->owners[reaching->roots[root]] = root;
	reaching->queue[tail++] = reaching->roots[root];
	while (head < tail) {
		uint32_t node = reaching->queue[head++];
		uint32_t last = graph->nodes[node + 1].first_edge;

		for (uint32_t i = graph->nodes[node].first_edge; i < last;
		     i++) {
			uint32_t next = graph->edges[i];
			uint32_t owner = reaching->owners[next], other;

			if (owner == NONE) {
				reaching->owners[next] = root;
				reaching->queue[tail++] = next;
				continue;
			}
			if (owner == root || reaching->roots[owner] != next)
				continue;
			other = outermost(reaching, owner);
			if (other != root)
				reaching->outer[other] = root;
		}
	}
}

struct error *autograd_reach(const struct autograd *graph,
			     const uint32_t *roots, size_t count, uint32_t *ret)
{
	CLEANUP(free_pointer) uint32_t *outer =
		malloc((count + 1) * sizeof(*outer));
	CLEANUP(free_pointer) uint32_t *queue =
		malloc(((size_t)graph->count + 1) * sizeof(*queue));
	struct reaching reaching = { .graph = graph, .roots = roots,
				     .owners = ret, .outer = outer,
				     .queue = queue };

	if (!outer || !queue)
		return error_no_memory();
	memset(ret, 0xFF, graph->count * sizeof(*ret));
	memset(outer, 0xFF, count * sizeof(*outer));
	for (uint32_t i = 0; i < count; i++)
		flood(&reaching, i);
	for (uint32_t i = 0; i < graph->count; i++)
		if (ret[i] != NONE)
			ret[i] = outermost(&reaching, ret[i]);
	return NULL;
}
