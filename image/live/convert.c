/*
 * Makes a dump of a core that somebody else writes; see convert.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/convert.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "image/base/findings.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/live/coremaps.h"
#include "image/live/corestream.h"
#include "image/live/missing.h"
#include "image/live/plan.h"
#include "image/live/process_notes.h"
#include "image/notes.h"

enum {
	WAIT_MS = 50,
	LIMITED_WAIT_MS = 5,	/* so that a limit is not passed by much */
};

#define IN_MEMORY UINT64_MAX

/** Bytes of the dump that come from one place. */
struct piece {
	uint64_t offset, size;	/* in the dump's core */
	uint64_t address;
	uint64_t from;		/* offset in the core that is read, or
				   IN_MEMORY */
};

struct run {
	const struct convert_options *options;
	struct corestream stream;
	struct core_notes notes;	/* of the core that is read */
	struct plan plan;
	struct piece *pieces;
	size_t count, capacity;
	uint64_t total;
	atomic_uint_least64_t done;
	struct pack *pack;
	const uint8_t *header;
	size_t header_size;
	struct missing missing;
	atomic_bool enough;	/* the file is as large as it may be */
	uint64_t began_ns;
	/* whose turn it is to read the pipe: whoever fills from here on */
	pthread_mutex_t lock;
	pthread_cond_t next;
	uint64_t turn;
	bool cancelled;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)now.tv_nsec;
}

/* --- what is taken ------------------------------------------------------------ */

static bool is_module_file(const struct procmap *map)
{
	return map && procmap_is_file(map) && !procmap_is_shared_memory(map) &&
	       !(map->flags & FORMAT_MAPPING_SHARED);
}

/** For select_ranges(): which pages the core has. */
static struct error *scan(void *context, uint64_t start, uint64_t end,
			  pagemap_fn *fn, void *fn_context)
{
	const struct run *run = context;
	struct error *err = NULL;

	while (!err && start < end) {
		const struct corestream_segment *segment =
			corestream_segment_at(&run->stream, start);
		const struct procmap *map =
			procmaps_find(&run->plan.maps, start);
		struct page_run pages = { .start = start, .end = end };
		uint64_t edge = end;

		if (segment && start < segment->start) {
			edge = segment->start;
		} else if (segment) {
			edge = segment->start + segment->captured;
			pages.kind = map && core_mapping_is_clean(map) ?
					     PAGE_FILE : PAGE_PRIVATE;
		}
		if (!segment || start < segment->start || start >= edge) {
			pages.kind = run->options->mem_fd >= 0 &&
				     is_module_file(map) ? PAGE_ABSENT :
							   PAGE_LEFT_OUT;
			if (segment && start >= segment->start)
				edge = segment->end;
		}
		pages.end = edge < end ? edge : end;
		err = fn(fn_context, &pages);
		start = pages.end;
	}
	return err;
}

static struct error *select_pages(struct run *run)
{
	struct select_options select = {
		.content = run->options->live->content,
		.rules = run->options->live->rules,
		.read_swap = true,
		.page_size = run->stream.page_size,
		.process_fd = -1,
		.scan = scan,
		.scan_context = run,
	};
	struct error *err = core_mappings(&run->stream, &run->notes,
					  &run->options->seen->maps,
					  &run->plan.maps);

	run->plan.page_size = run->stream.page_size;
	return err ? err : select_ranges(&run->plan.maps, NULL, &select,
					 &run->plan.selection);
}

/* --- the headers -------------------------------------------------------------- */

static const struct format_thread *find_seen(const struct last_seen *seen,
					     uint32_t tid)
{
	for (size_t i = 0; i < seen->num_threads; i++)
		if (seen->threads[i].tid == tid)
			return &seen->threads[i];
	return NULL;
}

/** The threads whose registers are there, with what was seen of them. */
static struct error *list_threads(const struct run *run,
				  struct format_thread **ret)
{
	size_t count = run->notes.num_threads;
	struct format_thread *threads = calloc(count + 1, sizeof(*threads));

	if (!threads)
		return error_no_memory();
	for (size_t i = 0; i < count; i++) {
		const struct format_thread *seen = find_seen(
			run->options->seen, run->notes.threads[i].tid);

		threads[i].tid = run->notes.threads[i].tid;
		if (seen)
			threads[i] = *seen;
	}
	*ret = threads;
	return NULL;
}

static struct error *make_header(struct run *run)
{
	CLEANUP(free_pointer) struct format_thread *threads = NULL;
	CLEANUP(free_pointer) uint8_t *data = NULL;
	struct foreign_notes notes = {
		.core = run->stream.notes,
		.core_size = run->stream.notes_size,
		.maps = &run->plan.maps,
		.selection = &run->plan.selection,
		.num_threads = run->notes.num_threads,
		.facts = run->options->seen->facts,
		.facts_size = run->options->seen->facts_size,
		.compressed = !run->options->live->no_compress,
	};
	struct error *err = list_threads(run, &threads);
	size_t size;

	notes.threads = threads;
	if (!err)
		err = corewriter_create(run->stream.machine,
					run->stream.page_size,
					&run->plan.writer);
	if (!err)
		err = foreign_notes_make(&notes, &data, &size);
	if (!err)
		err = corewriter_set_notes(run->plan.writer, data, size);
	if (!err)
		// It comes as a stream.
		err = select_segments(&run->plan.selection, &run->plan.maps,
				      /* rearrange= */ false,
				      run->plan.writer);
	if (!err)
		err = corewriter_plan(run->plan.writer);
	if (err)
		return err;
	run->plan.num_threads = run->notes.num_threads;
	run->header = corewriter_header(run->plan.writer, &run->header_size);
	return NULL;
}

/* --- where the bytes come from ------------------------------------------------ */

static struct error *add_piece(struct run *run, const struct piece *piece)
{
	if (run->count == run->capacity) {
		size_t more = run->capacity ? 2 * run->capacity : 256;
		struct piece *grown = reallocarray(run->pieces, more,
						   sizeof(*grown));

		if (!grown)
			return error_no_memory();
		run->pieces = grown;
		run->capacity = more;
	}
	run->pieces[run->count++] = *piece;
	run->total += piece->size;
	return NULL;
}

/** Cut a range at the edges of what the core has. */
static struct error *add_range(struct run *run, uint64_t offset, uint64_t start,
			       uint64_t end)
{
	struct error *err = NULL;

	while (!err && start < end) {
		const struct corestream_segment *segment =
			corestream_segment_at(&run->stream, start);
		struct piece piece = {
			.offset = offset,
			.address = start,
			.from = IN_MEMORY,
		};
		uint64_t edge = end;

		if (segment && start < segment->start)
			edge = segment->start;
		else if (segment && start - segment->start < segment->captured)
			edge = segment->start + segment->captured;
		else if (segment)
			edge = segment->end;
		if (segment && start >= segment->start &&
		    start - segment->start < segment->captured)
			piece.from = segment->offset + (start - segment->start);
		piece.size = (edge < end ? edge : end) - start;
		err = add_piece(run, &piece);
		offset += piece.size;
		start += piece.size;
	}
	return err;
}

/** Segments of the dump and ranges are both in the order of addresses. */
static struct error *add_ranges(struct run *run)
{
	size_t count = corewriter_num_segments(run->plan.writer), at = 0;
	const struct core_segment *segments =
		corewriter_segments(run->plan.writer);
	struct error *err = NULL;

	for (size_t i = 0; !err && i < run->plan.selection.count; i++) {
		const struct select_range *range =
			&run->plan.selection.ranges[i];

		if (range->reason != FORMAT_CAPTURED || range->known_zero)
			continue;
		while (at < count && segments[at].end <= range->start)
			at++;
		if (at == count)
			break;
		err = add_range(run, segments[at].offset + range->start -
					     segments[at].start,
				range->start, range->end);
	}
	return err;
}

/* --- filling ------------------------------------------------------------------ */

static size_t read_memory(const struct run *run, uint64_t address,
			  uint8_t *buffer, size_t size)
{
	size_t have = 0;

	while (have < size && run->options->mem_fd >= 0) {
		ssize_t got = pread(run->options->mem_fd, buffer + have,
				    size - have, (off_t)(address + have));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		have += (size_t)got;
	}
	return have;
}

static void fill_piece(struct run *run, const struct piece *piece, uint64_t at,
		       uint8_t *buffer, size_t size)
{
	uint64_t address = piece->address + (at - piece->offset);
	bool enough = atomic_load(&run->enough);
	size_t have = 0;

	if (!enough)
		have = piece->from == IN_MEMORY ?
			read_memory(run, address, buffer, size) :
			corestream_read(&run->stream,
					piece->from + (at - piece->offset),
					buffer, size);
	atomic_fetch_add(&run->done, size);
	if (have == size)
		return;
	memset(buffer + have, 0, size - have);
	missing_add(&run->missing, address + have, address + size,
		    enough ? EFBIG : piece->from == IN_MEMORY ? EIO : ENODATA);
}

/** The first piece that ends above offset. */
static size_t first_piece(const struct run *run, uint64_t offset)
{
	size_t low = 0, high = run->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct piece *piece = &run->pieces[middle];

		if (piece->offset + piece->size <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void fill_pieces(struct run *run, uint64_t offset, uint8_t *buffer,
			size_t size)
{
	uint64_t end = offset + size, at = offset;

	for (size_t i = first_piece(run, offset);
	     i < run->count && run->pieces[i].offset < end; i++) {
		const struct piece *piece = &run->pieces[i];
		uint64_t low = piece->offset > offset ? piece->offset : offset;
		uint64_t high = piece->offset + piece->size;

		high = high < end ? high : end;
		memset(buffer + (at - offset), 0, low - at);
		fill_piece(run, piece, low, buffer + (low - offset),
			   (size_t)(high - low));
		at = high;
	}
	memset(buffer + (at - offset), 0, end - at);
}

/** A pipe is read in order; frames are claimed in order, so a turn comes. */
static bool wait_for_turn(struct run *run, uint64_t offset)
{
	bool mine;

	(void)pthread_mutex_lock(&run->lock);
	while (run->turn != offset && !run->cancelled)
		(void)pthread_cond_wait(&run->next, &run->lock);
	mine = !run->cancelled;
	(void)pthread_mutex_unlock(&run->lock);
	return mine;
}

static void pass_turn(struct run *run, uint64_t offset)
{
	(void)pthread_mutex_lock(&run->lock);
	run->turn = offset;
	(void)pthread_cond_broadcast(&run->next);
	(void)pthread_mutex_unlock(&run->lock);
}

static void cancel(struct run *run)
{
	corestream_cancel(&run->stream);
	(void)pthread_mutex_lock(&run->lock);
	run->cancelled = true;
	(void)pthread_cond_broadcast(&run->next);
	(void)pthread_mutex_unlock(&run->lock);
}

/** The workers' source: the headers' bytes, then memory. */
static bool fill(void *context, uint64_t offset, uint8_t *buffer, size_t size)
{
	struct run *run = context;
	bool in_order = !run->stream.any_order;
	size_t left;

	if (in_order && !wait_for_turn(run, offset)) {
		memset(buffer, 0, size);
		return false;
	}
	fill_pieces(run, offset, buffer, size);
	if (in_order)
		pass_turn(run, offset + size);
	if (offset < run->header_size) {
		left = run->header_size - offset;
		memcpy(buffer, run->header + offset, left < size ? left : size);
	}
	return buffer[0] != 0 || memcmp(buffer, buffer + 1, size - 1) != 0;
}

/* --- the whole ---------------------------------------------------------------- */

/** Memory that was reserved and never used is in a core all the same. */
static struct error *check_size(const struct run *run)
{
	uint64_t size = corewriter_size(run->plan.writer);
	char is[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];

	if (run->options->max_image == 0 || size <= run->options->max_image)
		return NULL;
	return error_new(ERROR_LIMIT, "the core is of %s uncompressed, and %s "
			 "is the most", units_size(size, is),
			 units_size(run->options->max_image, most));
}

static struct error *prepare(struct run *run)
{
	struct error *err = core_notes_add(
		&run->notes,
		bytes_over(run->stream.notes, run->stream.notes_size),
		run->stream.machine, NULL);

	if (!err)
		err = core_notes_finish(&run->notes, NULL);
	if (!err)
		err = select_pages(run);
	if (!err)
		err = make_header(run);
	if (!err)
		err = check_size(run);
	return err ? err : add_ranges(run);
}

static void report(struct run *run, const struct pack_progress *packed)
{
	const struct live_options *live = run->options->live;
	struct live_progress progress = {
		.done = atomic_load(&run->done),
		.total = run->total,
		.stored = packed->stored,
	};

	if (live->progress)
		live->progress(live->progress_context, &progress);
	if (run->options->max_stored > 0 &&
	    packed->stored >= run->options->max_stored)
		atomic_store(&run->enough, true);
}

static struct error *transfer(struct run *run, int out_fd)
{
	const struct live_options *live = run->options->live;
	struct pack_options options = {
		.fd = out_fd,
		.size = corewriter_size(run->plan.writer),
		.compress = !live->no_compress,
		.level = live->level ? live->level : LIVE_LEVEL,
		.workers = live_workers(live),
		.own_file = live->own_file,
		.hash = live->hash,
		.fill = fill,
		.context = run,
	};
	unsigned int wait_ms = run->options->max_stored ? LIMITED_WAIT_MS :
							  WAIT_MS;
	struct pack_progress progress;
	struct error *err = pack_start(&options, &run->pack);
	bool done = false;

	while (!err && !done) {
		done = pack_wait(run->pack, wait_ms, &progress);
		report(run, &progress);
		if (live->stop && atomic_load(live->stop))
			err = error_new(ERROR_INTERRUPTED, "interrupted");
	}
	// Whoever still waits for a turn of a worker that has given up.
	cancel(run);
	return err;
}

/** What was read from memory counts only if its mapping was there all along. */
static struct error *check_memory(struct run *run)
{
	CLEANUP(procmaps_deinit) struct procmaps now = { 0 };

	if (run->options->runs_on == 0)
		return NULL;
	error_free(procmaps_read(run->options->runs_on, &now));
	for (size_t i = 0; i < run->count; i++) {
		const struct piece *piece = &run->pieces[i];
		const struct procmap *old = procmaps_find(&run->plan.maps,
							  piece->address);
		const struct procmap *new = procmaps_find(&now, piece->address);

		if (piece->from != IN_MEMORY)
			continue;
		if (!old || !new || old->inode != new->inode ||
		    old->device != new->device ||
		    old->start - old->file_offset !=
			    new->start - new->file_offset ||
		    piece->address + piece->size > new->end)
			missing_add(&run->missing, piece->address,
				    piece->address + piece->size, ESTALE);
	}
	return NULL;
}

static void summarize(const struct run *run, struct live_result *result)
{
	const struct selection *selection = &run->plan.selection;

	for (size_t i = 0; i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];
		struct live_skipped *skipped = &result->skipped[range->reason];

		skipped->bytes += range->end - range->start;
		skipped->ranges++;
	}
	result->num_threads = run->plan.num_threads;
	result->memory_bytes = selection->bytes_read;
	result->image_bytes = corewriter_size(run->plan.writer);
}

static struct error *finish(struct run *run, struct live_result *result)
{
	CLEANUP(free_pointer) uint8_t *data = NULL;
	struct final_notes notes = { 0 };
	struct pack_result packed;
	struct error *err = check_memory(run);
	size_t size;

	if (err)
		return err;
	summarize(run, result);
	notes.missing = missing_list(&run->missing, &notes.num_missing);
	for (size_t i = 0; i < notes.num_missing; i++)
		result->missing_bytes += notes.missing[i].end -
					 notes.missing[i].start;
	result->complete = notes.num_missing == 0 && !run->stream.notes_cut;
	result->total_ns = now_ns() - run->began_ns;
	result->pause_ns = run->options->pause_ns;
	notes.complete = result->complete;
	notes.pause_ns = result->pause_ns;
	notes.total_ns = result->total_ns;
	notes.image_bytes = result->image_bytes;
	err = final_notes_make(&notes, &data, &size);
	if (!err)
		err = pack_finish(run->pack, data, size, &packed);
	if (err)
		return err;
	result->stored = packed.stored;
	result->hashed = packed.hashed;
	memcpy(result->sha256, packed.sha256, sizeof(result->sha256));
	return NULL;
}

static void release(struct run *run)
{
	pack_destroy(run->pack);
	plan_deinit(&run->plan);
	core_notes_deinit(&run->notes);
	corestream_close(&run->stream);
	missing_deinit(&run->missing);
	free(run->pieces);
	(void)pthread_mutex_destroy(&run->lock);
	(void)pthread_cond_destroy(&run->next);
}

struct error *convert_core(const struct convert_options *options, int in_fd,
			   int out_fd, struct live_result *ret)
{
	struct run run = { .options = options, .began_ns = now_ns() };
	struct live_result result = { 0 };
	struct error *err;

	missing_init(&run.missing);
	(void)pthread_mutex_init(&run.lock, NULL);
	(void)pthread_cond_init(&run.next, NULL);
	err = error_context(corestream_open(in_fd, &run.stream), "the core");
	if (!err)
		err = prepare(&run);
	if (!err)
		err = transfer(&run, out_fd);
	if (!err)
		err = finish(&run, &result);
	release(&run);
	if (err)
		return err;
	*ret = result;
	return NULL;
}
