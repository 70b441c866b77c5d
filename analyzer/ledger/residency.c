/*
 * Which bytes of the process were in memory; see residency.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/ledger/residency.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/opened.h"
#include "image/base/guard.h"
#include "image/base/workers.h"
#include "image/live/select.h"

enum {
	PAGE = 4096,			/* bytes of what is looked at for zeroes */
	PIECE = 1 << 20,		/* … in one go */
	BATCH = 16,			/* pieces, before it is asked whether more
					   have to be looked at */
};

static void residency_deinit(struct residency *residency)
{
	free(residency->mappings);
	free(residency->spans);
	*residency = (struct residency){ 0 };
}

void residency_destroy(struct residency *residency)
{
	if (residency)
		residency_deinit(residency);
	free(residency);
}

void residency_untell(struct residency *residency)
{
	for (size_t i = 0; i < residency->count; i++) {
		residency->mappings[i].told = 0;
		residency->mappings[i].is_malloc = false;
	}
}

bool residency_is_noted(const struct image *image)
{
	return image->notes.num_mappings > 0;
}

struct resident_mapping *residency_above(const struct residency *residency,
					 uint64_t address)
{
	size_t low = 0, high = residency->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (residency->mappings[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < residency->count ? &residency->mappings[low] : NULL;
}

struct resident_mapping *residency_at(const struct residency *residency,
				      uint64_t address)
{
	struct resident_mapping *mapping = residency_above(residency, address);

	return mapping && mapping->start <= address ? mapping : NULL;
}

/** The first span that ends above an address. */
static size_t span_above(const struct residency *residency, uint64_t address,
			 size_t hint)
{
	const struct resident_span *spans = residency->spans;
	size_t low = 0, high = residency->num_spans;

	// Mostly it is the one of the last time, or one of the next.
	if (hint < high && (hint == 0 || spans[hint - 1].end <= address)) {
		for (size_t step = 0; step < 4 && hint < high; step++, hint++)
			if (spans[hint].end > address)
				return hint;
		low = hint;
	}
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (spans[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint64_t residency_of(const struct residency *residency, uint64_t start,
		      uint64_t end, size_t *hint)
{
	size_t at = span_above(residency, start, *hint);
	uint64_t bytes = 0;

	*hint = at;
	for (; at < residency->num_spans && residency->spans[at].start < end;
	     at++) {
		const struct resident_span *span = &residency->spans[at];
		uint64_t from = span->start > start ? span->start : start;
		uint64_t to = span->end < end ? span->end : end;

		bytes += to - from;
	}
	return bytes;
}

/* --- pages ------------------------------------------------------------------ */

/** Whether pages of a range were in memory, though they are not in the dump. */
static bool left_out(const struct memory_range *range)
{
	return range->state == MEMORY_NOT_CAPTURED &&
	       (range->reason == FORMAT_PAYLOAD ||
		range->reason == FORMAT_CONTENT ||
		range->reason == FORMAT_FAILED ||
		range->reason == MEMORY_REASON_CUT);
}

static bool is_placed(const struct memory_range *range)
{
	return left_out(range) || (range->state == MEMORY_CAPTURED &&
				   range->source == MEMORY_FROM_CORE);
}

static struct error *make_spans(const struct memory *memory,
				struct residency *residency)
{
	size_t count = memory_num_ranges(memory);
	struct resident_span *spans = calloc(count + 1, sizeof(*spans));
	size_t kept = 0;

	if (!spans)
		return error_no_memory();
	for (size_t i = 0; i < count; i++) {
		const struct memory_range *range = memory_range(memory, i);

		if (!is_placed(range))
			continue;
		if (kept > 0 && spans[kept - 1].end == range->start)
			spans[kept - 1].end = range->end;
		else
			spans[kept++] = (struct resident_span){ range->start,
								range->end };
	}
	residency->spans = spans;
	residency->num_spans = kept;
	return NULL;
}

/* --- mappings ----------------------------------------------------------------- */

/** The kernel's own numbers, as heapdump noted them. */
static void mappings_of_notes(const struct core_notes *notes,
			      struct residency *ret)
{
	for (size_t i = 0; i < notes->num_mappings; i++) {
		const struct format_mapping *one = &notes->mappings[i];
		uint64_t room = one->end - one->start;

		// They are sorted; what is not is nothing to build on.
		if (one->start >= one->end ||
		    (ret->count > 0 &&
		     one->start < ret->mappings[ret->count - 1].end))
			continue;
		ret->mappings[ret->count++] = (struct resident_mapping){
			.start = one->start, .end = one->end,
			.name = notes->mapping_names + one->name,
			.protection = one->protection, .flags = one->flags,
			.resident = one->resident < room ? one->resident : room,
			.swapped = one->swapped < room ? one->swapped : room,
		};
	}
}

/** The file that NT_FILE has at an address. */
static const struct file_mapping *file_at(const struct core_notes *notes,
					  uint64_t address)
{
	size_t low = 0, high = notes->num_files;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (notes->files[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < notes->num_files && notes->files[low].start <= address ?
		       &notes->files[low] : NULL;
}

/** Without such notes: ranges that lie together and are of one kind. */
static void mappings_of_ranges(const struct image *image, struct residency *ret)
{
	for (size_t i = 0; i < memory_num_ranges(image->memory); i++) {
		const struct memory_range *range =
			memory_range(image->memory, i);
		const struct file_mapping *file = file_at(&image->notes,
							  range->start);
		const char *name = file ? file->path : "";
		struct resident_mapping *last =
			ret->count ? &ret->mappings[ret->count - 1] : NULL;

		if (last && last->end == range->start && last->name == name &&
		    last->protection == range->protection)
			last->end = range->end;
		else
			ret->mappings[ret->count++] = (struct resident_mapping){
				.start = range->start, .end = range->end,
				.name = name, .protection = range->protection };
	}
}

static struct error *make_mappings(struct image *image,
				   struct residency *residency)
{
	size_t room = residency->noted ? image->notes.num_mappings :
					 memory_num_ranges(image->memory);

	residency->mappings = calloc(room + 1, sizeof(*residency->mappings));
	if (!residency->mappings)
		return error_no_memory();
	if (residency->noted)
		mappings_of_notes(&image->notes, residency);
	else
		mappings_of_ranges(image, residency);
	return NULL;
}

/* --- pages of zeroes ---------------------------------------------------------- */

/* A piece of memory that is looked through. */
struct piece {
	uint64_t start, end;
	struct resident_mapping *mapping;	/* NULL: in none */
	uint64_t nonzero[PIECE / PAGE / 64];	/* a bit for each page */
};

struct looking {
	const struct residency *residency;
	struct memory_reader *readers;
	struct piece *pieces;
	size_t first;		/* of this batch */
};

/**
 * Whether pages of zeroes have to be told apart. Small holes are captured with
 * what is around them: then there is more than the kernel counted.
 */
static bool has_holes(const struct residency *residency,
		      const struct resident_mapping *mapping)
{
	return !residency->noted ||
	       (mapping && *mapping->name != '/' &&
		mapping->placed > mapping->resident &&
		mapping->holes < mapping->placed - mapping->resident);
}

static bool has_bytes(const uint8_t *bytes, size_t size)
{
	return size > 0 && (bytes[0] != 0 ||
			    memcmp(bytes, bytes + 1, size - 1) != 0);
}

/** Where the page of an address ends, or the piece. */
static uint64_t page_end(const struct piece *piece, uint64_t at)
{
	uint64_t end = (at & ~(uint64_t)(PAGE - 1)) + PAGE;

	return end < piece->end ? end : piece->end;
}

static struct error *look_at_piece(void *context, unsigned int worker,
				   size_t shard)
{
	const struct looking *looking = context;
	struct piece *piece = &looking->pieces[looking->first + shard];
	bool look = has_holes(looking->residency, piece->mapping);
	uint64_t at = piece->start, end;

	for (size_t i = 0; at < piece->end; i++, at = end) {
		const uint8_t *bytes = NULL;

		end = page_end(piece, at);
		if (look)
			bytes = memory_view(&looking->readers[worker], at,
					    (size_t)(end - at));
		if (!bytes || has_bytes(bytes, (size_t)(end - at)))
			piece->nonzero[i / 64] |= UINT64_C(1) << i % 64;
	}
	return NULL;
}

static bool is_zero(const struct piece *piece, size_t page)
{
	return !(piece->nonzero[page / 64] >> page % 64 & 1);
}

/** Zeroes that lie together, on the way down. */
struct run_down {
	struct resident_mapping *mapping;
	uint64_t start, size;
};

/** Only short ones may be holes. */
static void end_run(struct run_down *run)
{
	if (run->mapping && run->size < SELECT_HOLE_MIN)
		run->mapping->holes += run->size;
	*run = (struct run_down){ 0 };
}

static void count_holes(const struct piece *piece, struct run_down *run)
{
	size_t pages = (size_t)((piece->end - 1) / PAGE -
				piece->start / PAGE) + 1;
	uint64_t end = piece->end, at;

	if (run->mapping != piece->mapping || run->start != end)
		end_run(run);
	for (size_t i = pages; i-- > 0; end = at) {
		at = (end - 1) & ~(uint64_t)(PAGE - 1);
		if (at < piece->start)
			at = piece->start;
		if (!is_zero(piece, i)) {
			end_run(run);
			continue;
		}
		run->mapping = piece->mapping;
		run->start = at;
		run->size += end - at;
	}
}

/**
 * From the last piece on, as what was mapped last is at lower addresses, and that
 * is the data of large arrays rather than what has holes. It ends where there are
 * as many as the kernel's count says.
 */
static struct error *look_at_pieces(struct looking *looking,
				    unsigned int workers, size_t count)
{
	struct run_down run = { 0 };
	struct error *err = NULL;
	size_t size;

	for (size_t end = count; !err && end > 0; end = looking->first) {
		size = end < BATCH ? end : BATCH;
		looking->first = end - size;
		err = workers_run(workers, size, look_at_piece, looking);
		for (size_t i = end; i-- > looking->first;)
			count_holes(&looking->pieces[i], &run);
	}
	return err;
}

/** Pieces that lie in one span and one mapping; ret NULL: only count them. */
static size_t cut_into_pieces(const struct residency *residency,
			      struct piece *ret)
{
	size_t count = 0;

	for (size_t i = 0; i < residency->num_spans; i++) {
		const struct resident_span *span = &residency->spans[i];
		uint64_t at = span->start, end;

		for (; at < span->end; at = end, count++) {
			struct resident_mapping *mapping =
				residency_above(residency, at);

			end = (at & ~(uint64_t)(PIECE - 1)) + PIECE;
			if (end > span->end)
				end = span->end;
			if (mapping && mapping->start > at &&
			    end > mapping->start)
				end = mapping->start;
			if (mapping && mapping->start > at)
				mapping = NULL;
			if (mapping && end > mapping->end)
				end = mapping->end;
			if (ret)
				ret[count] = (struct piece){ at, end, mapping,
							     { 0 } };
		}
	}
	return count;
}

static struct error *add_span(struct residency *residency, size_t *room,
			      uint64_t start, uint64_t end)
{
	struct resident_span *grown = residency->spans;
	size_t last = residency->num_spans;

	if (last > 0 && grown[last - 1].end == start) {
		grown[last - 1].end = end;
		return NULL;
	}
	if (last == *room) {
		*room = *room ? *room * 2 : 256;
		grown = realloc(grown, *room * sizeof(*grown));
		if (!grown)
			return error_no_memory();
		residency->spans = grown;
	}
	grown[residency->num_spans++] = (struct resident_span){ start, end };
	return NULL;
}

/** How much of each mapping is not zero: in its `placed`. */
static void count_nonzero(const struct residency *residency,
			  const struct piece *pieces, size_t count)
{
	for (size_t i = 0; i < residency->count; i++)
		residency->mappings[i].placed = 0;
	for (size_t i = 0; i < count; i++) {
		const struct piece *piece = &pieces[i];
		uint64_t at = piece->start, end;

		for (size_t page = 0; piece->mapping && at < piece->end;
		     page++, at = end) {
			end = page_end(piece, at);
			if (!is_zero(piece, page))
				piece->mapping->placed += end - at;
		}
	}
}

/* Pages of zeroes that lie together, in one mapping. */
struct run {
	size_t piece, page;	/* the first of them */
	uint64_t start, end;
};

/** Only short holes are captured: where there are more zeroes, they are pages. */
static void keep_run(struct piece *pieces, const struct run *run)
{
	struct resident_mapping *mapping = pieces[run->piece].mapping;
	uint64_t size = run->end - run->start, at = run->start;
	size_t page = run->page;

	if (size < SELECT_HOLE_MIN ||
	    mapping->placed + size > mapping->resident)
		return;
	mapping->placed += size;
	for (size_t i = run->piece; at < run->end; i++, page = 0)
		for (; at < run->end && at < pieces[i].end;
		     page++, at = page_end(&pieces[i], at))
			pieces[i].nonzero[page / 64] |= UINT64_C(1)
							<< page % 64;
}

static void keep_long_runs(const struct residency *residency,
			   struct piece *pieces, size_t count)
{
	struct run run = { 0 };

	for (size_t i = 0; i < count && residency->noted; i++) {
		uint64_t at = pieces[i].start, end;

		for (size_t page = 0; at < pieces[i].end; page++, at = end) {
			bool zero = pieces[i].mapping &&
				    is_zero(&pieces[i], page);

			end = page_end(&pieces[i], at);
			if (zero && run.end == at && at > run.start &&
			    pieces[run.piece].mapping == pieces[i].mapping) {
				run.end = end;
				continue;
			}
			if (run.end > run.start)
				keep_run(pieces, &run);
			run = zero ? (struct run){ i, page, at, end } :
				     (struct run){ 0 };
		}
	}
	if (run.end > run.start)
		keep_run(pieces, &run);
}

/**
 * Keep of the spans what is not zero, and of each mapping as many pages of
 * zeroes as the kernel has counted beyond these: the first ones, as it is not
 * known which.
 */
static struct error *take_zeroes_out(struct residency *residency,
				     const struct piece *pieces, size_t count)
{
	struct error *err = NULL;
	size_t room = 0;

	free(residency->spans);
	residency->spans = NULL;
	residency->num_spans = 0;
	for (size_t i = 0; !err && i < count; i++) {
		struct resident_mapping *mapping = pieces[i].mapping;
		uint64_t at = pieces[i].start, end;

		for (size_t page = 0; !err && at < pieces[i].end;
		     page++, at = end) {
			bool zero = is_zero(&pieces[i], page);

			end = page_end(&pieces[i], at);
			if (zero && mapping &&
			    mapping->placed + (end - at) <= mapping->resident) {
				mapping->placed += end - at;
				zero = false;
			}
			if (!zero)
				err = add_span(residency, &room, at, end);
			else if (!residency->noted)
				residency->zeroes += end - at;
		}
	}
	return err;
}

static struct error *find_zeroes(struct image *image, unsigned int workers,
				 struct residency *residency)
{
	size_t count = cut_into_pieces(residency, NULL);
	CLEANUP(free_pointer) struct piece *pieces =
		calloc(count + 1, sizeof(*pieces));
	CLEANUP(free_pointer) struct memory_reader *readers =
		calloc(workers, sizeof(*readers));
	struct error *err = pieces && readers ? NULL : error_no_memory();
	unsigned int ready = 0;

	for (; !err && ready < workers; ready++)
		err = memory_reader_init(&readers[ready], image->memory);
	if (!err) {
		(void)cut_into_pieces(residency, pieces);
		err = look_at_pieces(&(struct looking){
			.residency = residency, .readers = readers,
			.pieces = pieces }, workers, count);
	}
	if (!err) {
		count_nonzero(residency, pieces, count);
		keep_long_runs(residency, pieces, count);
		err = take_zeroes_out(residency, pieces, count);
	}
	for (unsigned int i = 0; readers && i < ready; i++)
		memory_reader_deinit(&readers[i]);
	return err;
}

/** What is between mappings, and captured all the same, is in none of them. */
static void place(struct residency *residency)
{
	size_t hint = 0;

	for (size_t i = 0; i < residency->count; i++) {
		struct resident_mapping *mapping = &residency->mappings[i];

		mapping->placed = residency_of(residency, mapping->start,
					       mapping->end, &hint);
	}
}

static void settle(struct residency *residency)
{
	residency->total = residency->zeroes;
	for (size_t i = 0; i < residency->count; i++) {
		struct resident_mapping *mapping = &residency->mappings[i];

		// Pages of files are captured though they were not in memory;
		// others may have been counted at another moment.
		if (residency->noted && *mapping->name == '/' &&
		    mapping->placed > mapping->resident)
			mapping->placed = mapping->resident;
		if (mapping->resident < mapping->placed)
			mapping->resident = mapping->placed;
		residency->total += mapping->resident;
	}
}

/** workers: that look for zeroes. */
static struct error *residency_make(struct image *image, unsigned int workers,
				    struct residency *ret)
{
	struct residency residency = { .noted = residency_is_noted(image) };
	struct error *err = make_spans(image->memory, &residency);

	if (!err)
		err = make_mappings(image, &residency);
	if (!err) {
		place(&residency);
		err = find_zeroes(image, workers, &residency);
	}
	if (err) {
		residency_deinit(&residency);
		return err;
	}
	place(&residency);
	settle(&residency);
	*ret = residency;
	return NULL;
}

struct error *residency_of_dump(struct opened *opened, struct residency **ret)
{
	struct residency **known = opened_residency(opened), *residency;
	struct error *err = NULL;

	if (!*known) {
		residency = calloc(1, sizeof(*residency));
		err = residency ? residency_make(opened_image(opened),
						 opened_workers(opened),
						 residency) :
				  error_no_memory();
		if (err)
			free(residency);
		else
			*known = residency;
	}
	*ret = *known;
	return err;
}
