/*
 * Where traced memory was allocated; see sites.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tracebacks are shared by the traces, so that adding up by their addresses is
 * all that has to be done for each trace.
 */
#include "analyzer/heap/sites.h"

#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/hashmap.h"

/** What one worker has seen. */
struct tally {
	_Alignas(128) struct hashmap ids;	/* traceback: index */
	struct site *items;
	uint32_t count, room;
	bool no_memory;
};

struct gathering {
	struct tally *tallies;
	unsigned int workers;
};

/* --- by traceback --------------------------------------------------------- */

static struct site *site_of(struct tally *tally, uint64_t traceback)
{
	uint64_t key = traceback ? traceback : 1;	/* 0 cannot be one */
	struct error *err;
	uint32_t id;

	if (hashmap_get(&tally->ids, key, &id))
		return &tally->items[id];
	if (tally->count == tally->room) {
		uint32_t room = tally->room ? tally->room * 2 : 256;
		struct site *more = reallocarray(tally->items, room,
						 sizeof(*more));

		if (!more)
			return NULL;
		tally->items = more;
		tally->room = room;
	}
	id = tally->count;
	err = hashmap_put(&tally->ids, key, id);
	if (err) {
		error_free(err);
		return NULL;
	}
	tally->items[id] = (struct site){
		.traceback = traceback, .tracebacks = 1,
	};
	tally->count++;
	return &tally->items[id];
}

static void see_trace(void *context, unsigned int worker,
		      const struct pyh_trace *trace)
{
	struct gathering *gathering = context;
	struct tally *tally = &gathering->tallies[worker];
	struct site *site = site_of(tally, trace->traceback);

	if (!site) {
		tally->no_memory = true;
		return;
	}
	site->count++;
	site->size += trace->size;
}

static int by_traceback(const void *a, const void *b)
{
	const struct site *left = a, *right = b;

	return (left->traceback > right->traceback) -
	       (left->traceback < right->traceback);
}

/** By line; those of one line with the largest traceback first. */
static int by_line(const void *a, const void *b)
{
	const struct site *left = a, *right = b;

	if (left->filename != right->filename)
		return left->filename > right->filename ? 1 : -1;
	if (left->line != right->line)
		return left->line > right->line ? 1 : -1;
	if (left->most != right->most)
		return left->most < right->most ? 1 : -1;
	return by_traceback(a, b);
}

static bool same_traceback(const struct site *a, const struct site *b)
{
	return a->traceback == b->traceback;
}

static bool same_line(const struct site *a, const struct site *b)
{
	return a->filename == b->filename && a->line == b->line;
}

/** Join neighbours that are the same. */
static void join(struct sites *sites,
		 bool (*same)(const struct site *, const struct site *))
{
	size_t kept = 0;

	for (size_t i = 0; i < sites->count; i++) {
		const struct site *site = &sites->items[i];

		if (kept == 0 || !same(&sites->items[kept - 1], site)) {
			sites->items[kept++] = *site;
			continue;
		}
		sites->items[kept - 1].count += site->count;
		sites->items[kept - 1].size += site->size;
		if (same != same_traceback)
			sites->items[kept - 1].tracebacks += site->tracebacks;
	}
	sites->count = kept;
}

/** What all workers have, by traceback. */
static struct error *merge(const struct gathering *gathering,
			   struct sites *sites)
{
	size_t count = 0;

	for (unsigned int i = 0; i < gathering->workers; i++) {
		if (gathering->tallies[i].no_memory)
			return error_no_memory();
		count += gathering->tallies[i].count;
	}
	sites->items = calloc(count + 1, sizeof(*sites->items));
	if (!sites->items)
		return error_no_memory();
	for (unsigned int i = 0; i < gathering->workers; i++) {
		const struct tally *tally = &gathering->tallies[i];

		if (tally->count)
			memcpy(sites->items + sites->count, tally->items,
			       tally->count * sizeof(*tally->items));
		sites->count += tally->count;
	}
	qsort(sites->items, sites->count, sizeof(*sites->items), by_traceback);
	join(sites, same_traceback);
	sites->tracebacks = sites->count;
	return NULL;
}

/* --- by line -------------------------------------------------------------- */

/** The most recent call of each traceback. */
static void find_lines(const struct pyh_tracer *tracer,
		       struct memory_reader *memory, struct sites *sites)
{
	for (size_t i = 0; i < sites->count; i++) {
		struct site *site = &sites->items[i];
		struct pyh_alloc_traceback traceback;
		struct pyh_alloc_frame frame = { 0 };

		site->most = site->size;
		sites->traces += site->count;
		sites->size += site->size;
		if (pyh_alloc_traceback(tracer, memory, site->traceback,
					&traceback) != PYH_FOUND ||
		    !pyh_alloc_frame(tracer, memory, &traceback, 0, &frame))
			findings_add(tracer->runtime->image->findings,
				     "tracemalloc-traceback", site->traceback,
				     "the traceback of %llu traced blocks "
				     "cannot be read",
				     (unsigned long long)site->count);
		site->filename = frame.filename;
		site->line = frame.line;
	}
}

static void gathering_deinit(struct gathering *gathering)
{
	for (unsigned int i = 0; gathering->tallies && i < gathering->workers;
	     i++) {
		hashmap_deinit(&gathering->tallies[i].ids);
		free(gathering->tallies[i].items);
	}
	free(gathering->tallies);
}

struct error *sites_gather(const struct pyh_tracer *tracer,
			   struct memory_reader *memory, unsigned int workers,
			   bool whole, struct sites *ret)
{
	CLEANUP(gathering_deinit) struct gathering gathering = {
		.tallies = aligned_alloc(_Alignof(struct tally),
					 workers * sizeof(struct tally)),
		.workers = workers,
	};
	struct error *err;

	*ret = (struct sites){ 0 };
	if (!gathering.tallies)
		return error_no_memory();
	memset(gathering.tallies, 0, workers * sizeof(struct tally));
	err = pyh_traces_each(tracer, workers, see_trace, &gathering);
	if (!err)
		err = merge(&gathering, ret);
	if (err)
		return err;
	find_lines(tracer, memory, ret);
	if (whole)
		return NULL;
	qsort(ret->items, ret->count, sizeof(*ret->items), by_line);
	join(ret, same_line);
	return NULL;
}

void sites_deinit(struct sites *sites)
{
	free(sites->items);
	sites->items = NULL;
	sites->count = 0;
}
