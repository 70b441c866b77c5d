/*
 * Finds the data of big buffers; see payload.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/payload.h"

#include <elf.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/workers.h"
#include "image/live/chunks.h"
#include "image/live/liveimage.h"
#include "image/live/pointers.h"

enum {
	MODELS_MAX = 8,
	CHUNKS_PER_SHARD = 8,
	/* Debug hooks in front of malloc put 16 bytes before a buffer, or 32. */
	BEGINNINGS = 3,
	/* Looking at memory costs less than a quarter of storing it. */
	LOOK_FACTOR = 4,
};

/* Chunks that are too few bytes are not worth to ask any model. */
static const uint64_t LEAST_IN_ALL = UINT64_C(1) << 20;

/* Looked at in any case. */
static const uint64_t LOOK_LEAST = UINT64_C(256) << 20;

/** A chunk that may be payload. */
struct suspect {
	struct chunk chunk;
	atomic_bool stays;
};

struct suspects {
	struct suspect *items;
	size_t count, capacity;
};

struct spans {
	struct select_span *items;
	size_t count, capacity;
};

struct opened_model {
	const struct model *model;
	void *opened;
	bool uses_malloc;
};

struct finder {
	struct standing *standing;
	const struct payload_options *options;
	struct image *image;
	struct opened_model models[MODELS_MAX];
	size_t num_models;
	struct spans kept;	/* by models: ascending and apart */
	struct suspects suspects;	/* ascending */
	uint64_t page;
};

static void finder_deinit(struct finder *finder)
{
	for (size_t i = 0; i < finder->num_models; i++)
		finder->models[i].model->close(finder->models[i].opened);
	image_close(finder->image);
	free(finder->kept.items);
	free(finder->suspects.items);
}

/* --- models ---------------------------------------------------------------------- */

static struct error *add_span(void *context, uint64_t start, uint64_t end)
{
	struct spans *spans = context;
	struct select_span *last = spans->count ?
		&spans->items[spans->count - 1] : NULL;

	if (start >= end)
		return NULL;
	if (last && last->end == start) {
		last->end = end;
		return NULL;
	}
	if (spans->count == spans->capacity) {
		size_t more = spans->capacity ? 2 * spans->capacity : 64;
		struct select_span *grown = reallocarray(spans->items, more,
							   sizeof(*grown));

		if (!grown)
			return error_no_memory();
		spans->items = grown;
		spans->capacity = more;
	}
	spans->items[spans->count++] = (struct select_span){ start, end };
	return NULL;
}

static int by_start(const void *a, const void *b)
{
	const struct select_span *left = a, *right = b;

	return left->start < right->start ? -1 : left->start > right->start;
}

/** Put spans into order and join those that touch. */
static void settle(struct spans *spans)
{
	size_t last = 0;

	if (spans->count < 2)
		return;
	qsort(spans->items, spans->count, sizeof(*spans->items), by_start);
	for (size_t i = 1; i < spans->count; i++) {
		struct select_span span = spans->items[i];

		if (span.start > spans->items[last].end)
			spans->items[++last] = span;
		else if (span.end > spans->items[last].end)
			spans->items[last].end = span.end;
	}
	spans->count = last + 1;
}

static struct error *open_models(struct finder *finder)
{
	const struct model *const *models = finder->options->models;
	struct error *err = live_image_open(finder->standing, &finder->image);

	for (size_t i = 0; !err && models[i] && i < MODELS_MAX; i++) {
		struct opened_model *model =
			&finder->models[finder->num_models];

		*model = (struct opened_model){ .model = models[i] };
		err = models[i]->open(finder->image, finder->options->workers,
				      &model->opened);
		if (err || !model->opened)
			continue;
		finder->num_models++;
		model->uses_malloc = models[i]->uses_malloc(model->opened);
		err = models[i]->each_range(model->opened, add_span,
					    &finder->kept);
	}
	settle(&finder->kept);
	return err;
}

/* --- suspects ------------------------------------------------------------------------ */

static struct error *add_suspect(void *context, const struct chunk *chunk)
{
	struct suspects *suspects = context;

	if (suspects->count == suspects->capacity) {
		size_t more = suspects->capacity ? 2 * suspects->capacity : 256;
		struct suspect *grown = reallocarray(suspects->items, more,
						     sizeof(*grown));

		if (!grown)
			return error_no_memory();
		suspects->items = grown;
		suspects->capacity = more;
	}
	suspects->items[suspects->count].chunk = *chunk;
	atomic_init(&suspects->items[suspects->count++].stays, false);
	return NULL;
}

/** The pages of a chunk that go if it is payload; empty: none. */
static struct select_span pages_of(const struct finder *finder,
				     const struct chunk *chunk)
{
	uint64_t mask = finder->page - 1;
	struct select_span span = {
		.start = (chunk->start + PAYLOAD_HEAD + mask) & ~mask,
		.end = chunk->end & ~mask,
	};

	if (span.end < span.start)
		span.end = span.start;
	return span;
}

/**
 * Is so little of a chunk in memory that nothing is gained without it? The
 * nodes of a radix tree are such: a table of which hardly any entry was ever
 * written, and those lead to all that is below.
 */
static bool is_hardly_touched(const struct finder *finder,
			      const struct chunk *chunk)
{
	const struct standing *standing = finder->standing;
	struct select_span pages = pages_of(finder, chunk);
	uint64_t bytes = 0;

	for (size_t i = standing_find(standing->there, standing->num_there,
				      pages.start);
	     i < standing->num_there && bytes < PAYLOAD_TOUCHED &&
	     standing->there[i].start < pages.end; i++) {
		struct select_span there = standing->there[i];

		if (there.start < pages.start)
			there.start = pages.start;
		if (there.end > pages.end)
			there.end = pages.end;
		bytes += there.end - there.start;
	}
	return bytes < PAYLOAD_TOUCHED;
}

static bool is_stack(const struct payload_options *options,
		     const struct chunk *chunk)
{
	for (size_t i = 0; i < options->num_stack_pointers; i++)
		if (options->stack_pointers[i] - chunk->start <
		    chunk->end - chunk->start)
			return true;
	return false;
}

static bool is_kept(const struct finder *finder, const struct chunk *chunk)
{
	const struct procmap *map =
		procmaps_find(finder->standing->options.maps, chunk->start);
	size_t i = standing_find(finder->kept.items, finder->kept.count,
				 chunk->start);

	return !map || is_stack(finder->options, chunk) ||
	       select_is_included(finder->options->rules, map, chunk->start) ||
	       (i < finder->kept.count &&
		finder->kept.items[i].start < chunk->end);
}

static bool is_object(const struct finder *finder, unsigned int worker,
		      const struct chunk *chunk)
{
	for (size_t i = 0; i < finder->num_models; i++) {
		const struct opened_model *model = &finder->models[i];

		if (model->uses_malloc &&
		    model->model->is_object(model->opened, worker,
					    chunk->start, chunk->end))
			return true;
	}
	return false;
}

static struct error *judge_shard(void *context, unsigned int worker,
				 size_t shard)
{
	struct finder *finder = context;
	size_t first = shard * CHUNKS_PER_SHARD, end = first + CHUNKS_PER_SHARD;

	if (end > finder->suspects.count)
		end = finder->suspects.count;
	for (size_t i = first; i < end; i++) {
		struct suspect *suspect = &finder->suspects.items[i];
		const struct chunk *chunk = &suspect->chunk;

		if (is_kept(finder, chunk) ||
		    is_hardly_touched(finder, chunk) ||
		    pointers_abound(finder->standing, chunk->start, chunk->end,
				    PAYLOAD_SPARSE) ||
		    is_object(finder, worker, chunk))
			atomic_store(&suspect->stays, true);
	}
	return NULL;
}

/** Forget those that stay; returns the bytes that the others would spare. */
static uint64_t drop_innocent(struct finder *finder)
{
	struct suspects *suspects = &finder->suspects;
	uint64_t bytes = 0;
	size_t left = 0;

	for (size_t i = 0; i < suspects->count; i++) {
		struct select_span pages;

		if (atomic_load(&suspects->items[i].stays))
			continue;
		pages = pages_of(finder, &suspects->items[i].chunk);
		bytes += pages.end - pages.start;
		suspects->items[left].chunk = suspects->items[i].chunk;
		atomic_init(&suspects->items[left++].stays, false);
	}
	suspects->count = left;
	return bytes;
}

static struct error *judge(struct finder *finder)
{
	size_t shards = (finder->suspects.count + CHUNKS_PER_SHARD - 1) /
			CHUNKS_PER_SHARD;

	return workers_run(finder->options->workers, shards, judge_shard,
			   finder);
}

/* --- owners -------------------------------------------------------------------------- */

/** One model being asked. */
struct questions {
	struct finder *finder;
	const struct opened_model *model;
};

static int by_chunk(const void *key, const void *item)
{
	const uint64_t *address = key;
	const struct suspect *suspect = item;

	return *address < suspect->chunk.start ? -1 :
	       *address >= suspect->chunk.end;
}

static void look_at_holder(void *context, unsigned int worker, uint64_t holder,
			   uint64_t target)
{
	const struct questions *questions = context;
	const struct opened_model *model = questions->model;
	struct suspects *suspects = &questions->finder->suspects;
	struct suspect *suspect = bsearch(&target, suspects->items,
					  suspects->count,
					  sizeof(*suspects->items), by_chunk);

	if (suspect && !atomic_load(&suspect->stays) &&
	    model->model->needs_buffer(model->opened, worker, holder, target))
		atomic_store(&suspect->stays, true);
}

/** Add a range but for the pages of suspects, the first of which may touch it. */
static struct error *add_but_suspects(const struct finder *finder,
				      const struct select_range *range,
				      size_t *first, struct spans *spans)
{
	const struct suspects *suspects = &finder->suspects;
	uint64_t at = range->start;
	struct error *err = NULL;

	while (*first < suspects->count &&
	       suspects->items[*first].chunk.end <= at)
		(*first)++;
	for (size_t i = *first; !err && i < suspects->count &&
	     suspects->items[i].chunk.start < range->end; i++) {
		struct select_span pages =
			pages_of(finder, &suspects->items[i].chunk);

		if (pages.start > at)
			err = add_span(spans, at, pages.start < range->end ?
						  pages.start : range->end);
		if (pages.end > at)
			at = pages.end;
	}
	return err || at >= range->end ? err : add_span(spans, at, range->end);
}

/** All that objects may lie in: writable memory that the dump takes. */
static struct error *find_places(const struct finder *finder,
				 struct spans *ret, uint64_t *ret_bytes)
{
	const struct standing_options *from = &finder->standing->options;
	struct error *err = NULL;
	size_t first = 0;

	for (size_t i = 0; !err && i < from->selection->count; i++) {
		const struct select_range *range = &from->selection->ranges[i];

		if (standing_has(finder->standing, range) &&
		    (from->maps->items[range->mapping].protection & PF_W))
			err = add_but_suspects(finder, range, &first, ret);
	}
	*ret_bytes = 0;
	for (size_t i = 0; i < ret->count; i++)
		*ret_bytes += ret->items[i].end - ret->items[i].start;
	return err;
}

static void free_spans(struct spans *spans)
{
	free(spans->items);
}

/** Ask a model about whoever holds the address of a suspect. */
static struct error *ask_model(struct finder *finder, size_t model,
			       const struct spans *places)
{
	struct questions questions = { finder, &finder->models[model] };
	size_t count = finder->suspects.count * BEGINNINGS;
	CLEANUP(free_pointer) uint64_t *targets =
		calloc(count + 1, sizeof(*targets));

	if (!targets)
		return error_no_memory();
	for (size_t i = 0; i < count; i++)
		targets[i] = finder->suspects.items[i / BEGINNINGS].chunk.start +
			     i % BEGINNINGS * 16;
	return pointers_search(finder->standing, places->items, places->count,
			       targets, count, finder->options->workers,
			       look_at_holder, &questions);
}

static struct error *find_owners(struct finder *finder, uint64_t bytes)
{
	CLEANUP(free_spans) struct spans places = { 0 };
	uint64_t to_look_at;
	struct error *err = find_places(finder, &places, &to_look_at);

	for (size_t i = 0; !err && i < finder->num_models; i++) {
		if (!finder->models[i].uses_malloc)
			continue;
		if (to_look_at > LOOK_LEAST &&
		    to_look_at / LOOK_FACTOR > bytes)
			return error_new(ERROR_LIMIT, "the data of big buffers "
					 "is too small a part of this process "
					 "for looking for its owners");
		err = ask_model(finder, i, &places);
	}
	return err;
}

/* --- putting it together ------------------------------------------------------------- */

/** Memory in which there could be any payload at all. */
static uint64_t bytes_there(const struct standing *standing)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < standing->num_there; i++)
		sum += standing->there[i].end - standing->there[i].start;
	return sum;
}

static struct error *find(struct finder *finder, struct spans *ret)
{
	struct error *err = open_models(finder);
	uint64_t bytes = 0;

	if (!err)
		err = chunks_each(finder->standing, finder->kept.items,
				  finder->kept.count, PAYLOAD_MIN, add_suspect,
				  &finder->suspects);
	if (!err)
		err = judge(finder);
	if (!err)
		bytes = drop_innocent(finder);
	if (!err && bytes >= LEAST_IN_ALL)
		err = find_owners(finder, bytes);
	if (!err && (!standing_holds(finder->standing) ||
		     atomic_load(&finder->standing->failed)))
		err = error_new(ERROR_LIMIT, "the memory of the process cannot "
				"be read any more");
	if (err || bytes < LEAST_IN_ALL)
		return err;
	(void)drop_innocent(finder);
	for (size_t i = 0; !err && i < finder->suspects.count; i++) {
		struct select_span pages =
			pages_of(finder, &finder->suspects.items[i].chunk);

		err = add_span(ret, pages.start, pages.end);
	}
	return err;
}

struct error *payload_find(struct standing *standing,
			   const struct payload_options *options,
			   struct payload *ret)
{
	CLEANUP(finder_deinit) struct finder finder = {
		.standing = standing,
		.options = options,
		.page = (uint64_t)sysconf(_SC_PAGESIZE),
	};
	CLEANUP(free_spans) struct spans spans = { 0 };
	struct error *err = NULL;

	*ret = (struct payload){ 0 };
	if (bytes_there(standing) >= LEAST_IN_ALL)
		err = find(&finder, &spans);
	if (err && err->kind == ERROR_NO_MEMORY)
		return err;
	if (err) {
		// Keeping all of it is always right, only larger.
		(void)snprintf(ret->kept_because, sizeof(ret->kept_because),
			       "%s", err->message);
		error_free(err);
		return NULL;
	}
	ret->spans = TAKE(spans.items);
	ret->count = spans.count;
	return NULL;
}

void payload_deinit(struct payload *payload)
{
	free(payload->spans);
	*payload = (struct payload){ 0 };
}
