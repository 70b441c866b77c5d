/*
 * Is a copy quicker made than a snapshot? See brief.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/brief.h"

#include <unistd.h>

#include "image/base/guard.h"
#include "image/live/chunks.h"
#include "image/live/pagemap.h"
#include "image/live/peek.h"
#include "image/live/plan.h"
#include "image/live/room.h"

enum {
	/* Stopping threads, opening the models. */
	FIXED_MS = 20,
	/* What the kernel counts of each mapping, beside all the looking. */
	LOOK_MS_PER_GIB = 14,
	/* Looked through for owners of payload, and copied. */
	COPY_MS_PER_GIB = 500,
	PAGES_AT_ONCE = 128,
	/* Pages that begin no chunk, before it gives up: 30 ms. */
	PAGES_IN_VAIN = 32 << 10,
};

/** A walk over the chunks that malloc gave mappings of their own. */
struct glance {
	struct pagemap *pagemap;
	struct peek peek;
	uint64_t page;
	uint64_t chunks;	/* bytes in those that are large … */
	uint64_t huge;		/* … and of these in huge pages */
	uint64_t in_vain;
	uint64_t places[PAGES_AT_ONCE];	/* pages that are there */
	size_t num_places;
};

static struct error *add_places(void *context, const struct page_run *run)
{
	struct glance *glance = context;

	for (uint64_t at = run->start; run->kind == PAGE_PRIVATE &&
	     at < run->end && glance->num_places < PAGES_AT_ONCE;
	     at += glance->page)
		glance->places[glance->num_places++] = at;
	return NULL;
}

/** The first words of the pages that are there; how many could be read. */
static size_t read_places(struct glance *glance, uint64_t start, uint64_t end,
			  uint64_t (*words)[CHUNKS_PROBE / 8])
{
	struct iovec local[PAGES_AT_ONCE], remote[PAGES_AT_ONCE];

	glance->num_places = 0;
	// What cannot be scanned is not read either.
	error_free(pagemap_scan(glance->pagemap, start, end,
				/* tell_files= */ false, add_places, glance));
	for (size_t i = 0; i < glance->num_places; i++) {
		local[i] = (struct iovec){ words[i], CHUNKS_PROBE };
		remote[i] = (struct iovec){
			(void *)(uintptr_t)glance->places[i], CHUNKS_PROBE,
		};
	}
	return peek_vectors(&glance->peek, local, remote, glance->num_places) /
	       CHUNKS_PROBE;
}

static void count_chunk(struct glance *glance, uint64_t start, uint64_t size)
{
	if (size < PAYLOAD_MIN)
		return;
	glance->chunks += size;
	if (pagemap_is_huge(glance->pagemap,
			    (start + size / 2) & ~(glance->page - 1)))
		glance->huge += size;
}

/**
 * Look at pages up to the first that begins a chunk.
 *
 * @param end  of the mapping
 * @return where to go on: behind the chunk, or at stop
 */
static uint64_t look(struct glance *glance, uint64_t at, uint64_t stop,
		     uint64_t end)
{
	uint64_t words[PAGES_AT_ONCE][CHUNKS_PROBE / 8];
	size_t count = read_places(glance, at, stop, words);

	for (size_t i = 0; i < count; i++) {
		uint64_t place = glance->places[i], first;
		uint64_t size = chunks_mapped_size(words[i], end - place,
						   glance->page, &first);

		if (size == 0)
			continue;
		count_chunk(glance, place, size);
		return place + size;
	}
	glance->in_vain += 1 + glance->num_places;
	return stop;
}

static void walk_mapping(struct glance *glance, uint64_t at, uint64_t end)
{
	uint64_t most = PAGES_AT_ONCE * glance->page, width = glance->page;

	while (at < end && glance->in_vain < PAGES_IN_VAIN) {
		uint64_t stop = end - at < width ? end : at + width;

		at = look(glance, at, stop, end);
		// Behind a chunk there is another one, most often.
		width = at != stop ? glance->page :
			width < most ? 2 * width : most;
	}
}

/** Bytes in large chunks; 0 where most of them are in huge pages. */
static uint64_t large_chunks(pid_t pid)
{
	CLEANUP(procmaps_deinit) struct procmaps maps = { 0 };
	struct glance glance = {
		.peek.mem_fd = -1,
		.page = (uint64_t)sysconf(_SC_PAGESIZE),
	};
	struct error *err = procmaps_read_lines(pid, &maps);

	if (!err)
		err = pagemap_open(pid, /* slow= */ false, &glance.pagemap);
	if (!err) {
		err = peek_open(pid, /* snapshot= */ true, &glance.peek);
		for (size_t i = 0; !err && i < maps.count; i++) {
			const struct procmap *map = &maps.items[i];

			if (chunks_may_be_mapped(map))
				walk_mapping(&glance, map->start,
					     chunks_end(&maps, &i));
		}
		peek_close(&glance.peek);
	}
	pagemap_close(glance.pagemap);
	error_free(err);
	return glance.huge > glance.chunks / 2 ? 0 : glance.chunks;
}

static double gib(uint64_t bytes)
{
	return (double)bytes / (1 << 30);
}

bool brief_expected(const struct target *target,
		    const struct live_options *options)
{
	const struct procinfo *info = &target->info;
	double ms = FIXED_MS + LOOK_MS_PER_GIB * gib(info->rss_anonymous);
	double fork_ms = (double)live_fork_ns(info, /* huge= */ 0) / 1e6;
	uint64_t chunks, rest;

	// Rules may want payload, too; what is in swap would be brought back.
	if (options->content != SELECT_HEAP || !options->models ||
	    (options->rules && options->rules->count > 0) || info->swap > 0 ||
	    ms > fork_ms)
		return false;
	chunks = large_chunks(target->pid);
	rest = info->rss > chunks ? info->rss - chunks : 0;
	return rest <= BRIEF_BYTES_MAX && rest <= room_left(target->pid) / 4 &&
	       ms + COPY_MS_PER_GIB * gib(rest) <= fork_ms;
}
