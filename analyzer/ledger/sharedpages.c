/*
 * Pages in common with a parent; see sharedpages.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/ledger/sharedpages.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/workers.h"
#include "pyheap/types/pyobject.h"

enum {
	PIECE = 16 << 20,	/* bytes for one worker at a time */
	VIEW = 256 << 10,	/* bytes looked at together */
	WORD = 8,
};

/** Is this range private memory of its process, and in the dump? */
static bool is_private(const struct image *image,
		       const struct memory_range *range)
{
	const struct core_notes *notes = &image->notes;
	size_t low = 0, high = notes->num_mappings;

	if (range->state != MEMORY_CAPTURED ||
	    range->source != MEMORY_FROM_CORE || !(range->protection & PF_W))
		return false;
	// In order of addresses, as /proc has them.
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (notes->mappings[middle].end <= range->start)
			low = middle + 1;
		else
			high = middle;
	}
	return low == notes->num_mappings ||
	       notes->mappings[low].start > range->start ||
	       !(notes->mappings[low].flags & FORMAT_MAPPING_SHARED);
}

uint64_t shared_private_bytes(const struct image *image)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < memory_num_ranges(image->memory); i++) {
		const struct memory_range *range =
			memory_range(image->memory, i);

		if (is_private(image, range))
			bytes += range->end - range->start;
	}
	return bytes;
}

/* --- marks --------------------------------------------------------------- */

struct error *shared_marks_init(struct shared_marks *marks,
				const struct image *image)
{
	size_t ranges = memory_num_ranges(image->memory);

	*marks = (struct shared_marks){ .pages = 0 };
	marks->before = calloc(ranges + 1, sizeof(*marks->before));
	if (!marks->before)
		return error_no_memory();
	for (size_t i = 0; i < ranges; i++) {
		const struct memory_range *range =
			memory_range(image->memory, i);

		marks->before[i] = marks->pages;
		if (is_private(image, range))
			marks->pages += (range->end - range->start) /
					image->page_size + 1;
	}
	marks->bits = calloc(marks->pages / 64 + 1, sizeof(*marks->bits));
	if (!marks->bits) {
		shared_marks_deinit(marks);
		return error_no_memory();
	}
	return NULL;
}

void shared_marks_deinit(struct shared_marks *marks)
{
	free(marks->bits);
	free(marks->before);
	*marks = (struct shared_marks){ .pages = 0 };
}

uint64_t shared_marks_bytes(const struct shared_marks *marks,
			    const struct image *image)
{
	uint64_t count = 0;

	for (uint64_t i = 0; marks->bits && i <= marks->pages / 64; i++)
		count += (uint64_t)__builtin_popcountll(marks->bits[i]);
	return count * image->page_size;
}

static void mark(struct shared_marks *marks, const struct image *image,
		 uint64_t address)
{
	const struct memory_range *first, *range;
	uint64_t page;

	if (!marks || !marks->bits)
		return;
	first = memory_range(image->memory, 0);
	range = memory_find(image->memory, address);
	if (!range || !is_private(image, range))
		return;
	page = marks->before[range - first] +
	       (address - range->start) / image->page_size;
	// Pieces of two workers may share a word.
	(void)__atomic_fetch_or(&marks->bits[page / 64],
				UINT64_C(1) << page % 64, __ATOMIC_RELAXED);
}

/* --- what differs -------------------------------------------------------- */

struct piece {
	uint64_t start, end;
};

struct worker {
	struct memory_reader parent, child;
	struct memory_reader words;	/* of the parent: beyond the page */
	struct pyh_type_reader types;
	struct shared_pages pages;
};

struct compare {
	const struct shared_question *question;
	struct piece *pieces;
	size_t num_pieces;
	struct worker *workers;
	uint64_t page;			/* bytes */
	uint64_t first_count, last_count, type;	/* words of an object */
};

/** Is this an object, by its type in both processes? */
static const struct pyh_type *type_of(const struct compare *compare,
				      struct worker *worker, uint64_t object)
{
	uint64_t type;

	if (!memory_try_u64(&worker->words, object + compare->type, &type) ||
	    type == 0 || type % WORD)
		return NULL;
	return pyh_type_find(&worker->types, type);
}

/** A word that counts references to an object, or says who owns it? */
static bool is_count(const struct compare *compare, struct worker *worker,
		     uint64_t at)
{
	for (uint64_t word = compare->first_count; word <= compare->last_count;
	     word += WORD)
		if (type_of(compare, worker, at - word))
			return true;
	return false;
}

/** A word of what the collector has before its objects? */
static bool is_link(const struct compare *compare, struct worker *worker,
		    uint64_t at)
{
	if (compare->question->runtime->free_threaded)
		return false;
	for (uint64_t word = 0; word < PYH_GC_HEAD; word += WORD) {
		const struct pyh_type *type =
			type_of(compare, worker, at - word + PYH_GC_HEAD);

		if (type && type->presize >= PYH_GC_HEAD)
			return true;
	}
	return false;
}

/** Why the page at an address, which differs, does. */
static enum shared_cause cause_of(const struct compare *compare,
				  struct worker *worker, uint64_t address,
				  const uint8_t *parent, const uint8_t *child)
{
	enum shared_cause cause = SHARED_COUNTS;

	if (!compare->question->runtime)
		return SHARED_WRITTEN;
	for (uint64_t i = 0; i + WORD <= compare->page; i += WORD) {
		if (memcmp(parent + i, child + i, WORD) == 0)
			continue;
		if (is_count(compare, worker, address + i))
			continue;
		if (!is_link(compare, worker, address + i))
			return SHARED_WRITTEN;
		cause = SHARED_COLLECTOR;
	}
	return cause;
}

/* --- page by page -------------------------------------------------------- */

/** The parent's state, of a page that the child has. */
static enum shared_cause absence(const struct memory *parent, uint64_t address)
{
	return memory_state_at(parent, address) == MEMORY_NOT_CAPTURED ?
		       SHARED_UNKNOWN : SHARED_NEW;
}

static void compare_view(const struct compare *compare, struct worker *worker,
			 uint64_t at, uint64_t size, const uint8_t *child)
{
	const struct memory *memory = worker->parent.memory;

	for (uint64_t i = 0; i < size; i += compare->page) {
		uint64_t address = at + i, bytes = size - i < compare->page ?
						   size - i : compare->page;
		const struct memory_range *range = memory_find(memory, address);
		const uint8_t *parent = NULL;
		enum shared_cause cause;

		if (range && range->state == MEMORY_CAPTURED)
			parent = memory_view(&worker->parent, address, bytes);
		if (!parent)
			cause = absence(memory, address);
		else if (memcmp(parent, child + i, bytes) == 0)
			cause = SHARED_EQUAL;
		else if (bytes < compare->page)
			cause = SHARED_WRITTEN;
		else
			cause = cause_of(compare, worker, address, parent,
					 child + i);
		worker->pages.bytes[cause] += bytes;
		if (cause == SHARED_EQUAL)
			mark(compare->question->marks,
			     compare->question->parent, address);
	}
}

static struct error *compare_piece(void *context, unsigned int number,
				   size_t shard)
{
	const struct compare *compare = context;
	const struct piece *piece = &compare->pieces[shard];
	struct worker *worker = &compare->workers[number];

	for (uint64_t at = piece->start; at < piece->end; at += VIEW) {
		uint64_t size = piece->end - at < VIEW ? piece->end - at : VIEW;
		const uint8_t *child = memory_view(&worker->child, at, size);

		if (child)
			compare_view(compare, worker, at, size, child);
		else
			worker->pages.bytes[SHARED_UNKNOWN] += size;
	}
	return NULL;
}

/* --- all of it ----------------------------------------------------------- */

/** Private memory of the child, in pieces; what is not in the dump is counted. */
static struct error *cut(struct compare *compare, uint64_t *ret_unknown)
{
	const struct image *child = compare->question->child;
	size_t count = 0, ranges = memory_num_ranges(child->memory);

	for (size_t i = 0; i < ranges; i++) {
		const struct memory_range *range =
			memory_range(child->memory, i);

		if (range->state == MEMORY_NOT_CAPTURED &&
		    range->reason == FORMAT_PAYLOAD)
			*ret_unknown += range->end - range->start;
		if (is_private(child, range))
			count += (range->end - range->start) / PIECE + 1;
	}
	compare->pieces = calloc(count + 1, sizeof(*compare->pieces));
	if (!compare->pieces)
		return error_no_memory();
	for (size_t i = 0; i < ranges; i++) {
		const struct memory_range *range =
			memory_range(child->memory, i);

		if (!is_private(child, range))
			continue;
		for (uint64_t at = range->start; at < range->end; at += PIECE)
			compare->pieces[compare->num_pieces++] =
				(struct piece){ at, range->end - at < PIECE ?
						range->end : at + PIECE };
	}
	return NULL;
}

static struct error *worker_init(struct worker *worker,
				 const struct shared_question *question)
{
	struct error *err = memory_reader_init(&worker->parent,
					       question->parent->memory);

	if (!err)
		err = memory_reader_init(&worker->child,
					 question->child->memory);
	if (!err)
		err = memory_reader_init(&worker->words,
					 question->parent->memory);
	if (!err && question->types)
		err = pyh_type_reader_init(&worker->types, question->types);
	return err;
}

static void worker_deinit(struct worker *worker)
{
	memory_reader_deinit(&worker->parent);
	memory_reader_deinit(&worker->child);
	memory_reader_deinit(&worker->words);
	if (worker->types.types)
		pyh_type_reader_deinit(&worker->types);
}

/** Where an object has its counts. */
static void find_counts(struct compare *compare)
{
	const struct pyh_runtime *runtime = compare->question->runtime;

	if (!runtime)
		return;
	compare->type = pyh_offset(runtime, PYH_OBJECT_OB_TYPE);
	// Builds without a GIL have the owner first, then flags and counts.
	compare->first_count = runtime->free_threaded ?
				       0 : pyh_offset(runtime,
						      PYH_OBJECT_OB_REFCNT);
	compare->last_count = runtime->free_threaded ?
				      compare->type - WORD :
				      compare->first_count;
}

struct error *shared_pages_compare(const struct shared_question *question,
				   struct shared_pages *ret)
{
	unsigned int count = question->workers ? question->workers : 1;
	struct compare compare = {
		.question = question, .page = question->child->page_size,
		.workers = calloc(count, sizeof(*compare.workers)),
	};
	struct shared_pages pages = { 0 };
	struct error *err = NULL;

	if (!compare.workers)
		return error_no_memory();
	if (compare.page == 0 || compare.page % WORD)
		err = error_new(ERROR_FORMAT, "the size of a page is not known");
	find_counts(&compare);
	if (!err)
		err = cut(&compare, &pages.bytes[SHARED_UNKNOWN]);
	for (unsigned int i = 0; !err && i < count; i++)
		err = worker_init(&compare.workers[i], question);
	if (!err)
		err = workers_run(count, compare.num_pieces, compare_piece,
				  &compare);
	for (unsigned int i = 0; i < count; i++) {
		for (int j = 0; j < NUM_SHARED_CAUSES; j++)
			pages.bytes[j] += compare.workers[i].pages.bytes[j];
		worker_deinit(&compare.workers[i]);
	}
	free(compare.workers);
	free(compare.pieces);
	if (!err)
		*ret = pages;
	return err;
}
