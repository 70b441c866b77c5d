/*
 * Heaps of allocators that take malloc's place; see otherheap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/malloc/otherheap.h"

#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "image/malloc/otherstate.h"
#include "image/symbols.h"

enum {
	SCAN_BYTES = 64 << 10,	/* looked at together */
	CACHED_MAX = 1 << 24,	/* blocks at hand for threads: 128 MiB of ours */
	/* A table of pages is not smaller, whatever pages there are. */
	TABLE_MIN = 96 << 10,
};

static const struct known {
	const char *name, *library;
	const char *symbols[3];
	other_open_fn *open;
	bool by_name;		/* its tables are no proof by themselves */
} known[] = {
	{ "jemalloc", "libjemalloc", { "mallctl", "je_mallctl" },
	  jemalloc_open, false },
	{ "tcmalloc", "libtcmalloc", { "tc_malloc",
				       "TCMalloc_Internal_GetStats" },
	  tcmalloc_open, false },
	{ "mimalloc", "libmimalloc", { "mi_malloc" }, mimalloc_open, true },
};

/* --- what allocators share ----------------------------------------------- */

/** Make room for one more; *array is moved. */
static struct error *grow(void *array, size_t count, size_t *room, size_t size)
{
	size_t more = *room ? *room * 2 : 256;
	void *old, *grown;

	if (count < *room)
		return NULL;
	memcpy(&old, array, sizeof(old));
	grown = reallocarray(old, more, size);
	if (!grown)
		return error_no_memory();
	memcpy(array, &grown, sizeof(grown));
	*room = more;
	return NULL;
}

struct error *other_span_add(struct other_heap *heap,
			     const struct other_span *span)
{
	struct error *err = grow(&heap->spans, heap->num_spans,
				 &heap->span_room, sizeof(*span));
	struct other_span *added;

	if (err)
		return err;
	added = &heap->spans[heap->num_spans++];
	*added = *span;
	// Whatever damage made of it, nothing is behind its end.
	if (span->block && (span->first < span->start ||
			    span->first >= span->end ||
			    span->count > OTHER_BLOCKS_MAX ||
			    span->count > (span->end - span->first) /
						  span->block)) {
		added->first = span->start;
		added->block = span->end - span->start;
		added->count = added->live = 1;
	}
	return NULL;
}

static int by_address(const void *a, const void *b)
{
	const struct other_span *left = a, *right = b;

	return (left->start > right->start) - (left->start < right->start);
}

void other_spans_settle(struct other_heap *heap)
{
	bool sorted = true;
	size_t kept = 0;

	for (size_t i = 1; i < heap->num_spans; i++)
		sorted &= heap->spans[i - 1].start <= heap->spans[i].start;
	if (!sorted)
		qsort(heap->spans, heap->num_spans, sizeof(*heap->spans),
		      by_address);
	for (size_t i = 0; i < heap->num_spans; i++) {
		const struct other_span *span = &heap->spans[i];

		if (kept > 0 && span->start < heap->spans[kept - 1].end) {
			findings_add(heap->image->findings, "malloc-span",
				     span->record, "%s: the span at 0x%" PRIx64
				     " overlaps another one and is left out",
				     heap->name, span->start);
			continue;
		}
		heap->spans[kept++] = *span;
	}
	heap->num_spans = kept;
}

const struct other_span *other_span_at(const struct other_heap *heap,
				       uint64_t address)
{
	size_t low = 0, high = heap->num_spans;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (heap->spans[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < heap->num_spans && heap->spans[low].start <= address ?
		       &heap->spans[low] : NULL;
}

bool other_is_block(const struct other_span *span, uint64_t address)
{
	uint64_t offset = address - span->first;

	return span->block && address >= span->first &&
	       offset % span->block == 0 && offset / span->block < span->count;
}

struct error *other_cached_add(struct other_heap *heap, uint64_t address)
{
	struct error *err;

	if (heap->num_cached >= CACHED_MAX)
		return error_new(ERROR_LIMIT, "%s: threads have more blocks at "
				 "hand than is believed", heap->name);
	err = grow(&heap->cached, heap->num_cached, &heap->cached_room,
		   sizeof(*heap->cached));
	if (!err)
		heap->cached[heap->num_cached++] = address;
	return err;
}

struct error *other_cached_settle(struct other_heap *heap, struct error *err)
{
	if (!err || err->kind != ERROR_LIMIT)
		return err;
	findings_take(heap->image->findings, "malloc-cached", err);
	heap->num_cached = 0;
	heap->caches_unread = "there are more than can be";
	return NULL;
}

/**
 * What of [at, end) lies in one captured range that may be written to, at most
 * SCAN_BYTES of it.
 */
static const uint8_t *next_words(struct memory_reader *memory, uint64_t *at,
				 uint64_t end, uint64_t *ret_size)
{
	while (*at < end) {
		const struct memory_range *range =
			memory_find_above(memory->memory, *at);
		const uint8_t *view = NULL;
		uint64_t size;
		bool has;

		if (!range || range->start >= end)
			return NULL;
		if (range->start > *at)
			*at = (range->start + 7) & ~UINT64_C(7);
		size = (range->end < end ? range->end : end) - *at;
		if (size > SCAN_BYTES)
			size = SCAN_BYTES;
		size &= ~UINT64_C(7);
		has = range->state == MEMORY_CAPTURED &&
		      range->protection & PF_W && size > 0;
		if (has && (view = memory_view(memory, *at, size))) {
			*ret_size = size;
			return view;
		}
		*at = has ? *at + size : (range->end + 7) & ~UINT64_C(7);
	}
	return NULL;
}

bool other_each_word(struct memory_reader *memory, uint64_t start, uint64_t end,
		     other_word_fn *fn, void *context)
{
	uint64_t at = (start + 7) & ~UINT64_C(7), size;
	const uint8_t *view;

	while ((view = next_words(memory, &at, end, &size))) {
		for (uint64_t i = 0; i < size; i += sizeof(uint64_t)) {
			uint64_t word;

			memcpy(&word, view + i, sizeof(word));
			if (word && !fn(context, at + i, word))
				return false;
		}
		at += size;
	}
	return true;
}

static bool take_first(void *context, uint64_t at, uint64_t word)
{
	struct other_first *first = context;

	first->at = at;
	first->word = word;
	return false;
}

bool other_first_word(struct other_first *first, uint64_t node, uint64_t size)
{
	uint64_t from = node, looked;

	if (first->node == node && first->word)
		return first->at < node + size;
	if (first->node == node && size <= first->searched)
		return false;
	if (first->node == node)
		from += first->searched;
	else
		*first = (struct other_first){ .memory = first->memory,
					       .node = node,
					       .budget = first->budget };
	if (first->budget == 0)
		return false;
	(void)other_each_word(&first->memory, from, node + size, take_first,
			      first);
	looked = (first->word ? first->at : node + size) - from;
	first->budget -= looked < first->budget ? looked : first->budget;
	first->searched = size;
	return first->word != 0;
}

/* --- sums ---------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/** Of the addresses at hand keep those where a block begins, each once. */
static void settle_cached(struct other_heap *heap)
{
	size_t kept = 0;

	if (heap->num_cached)
		qsort(heap->cached, heap->num_cached, sizeof(*heap->cached),
		      by_number);
	for (size_t i = 0; i < heap->num_cached; i++) {
		uint64_t at = heap->cached[i];
		const struct other_span *span = other_span_at(heap, at);

		if (kept > 0 && heap->cached[kept - 1] == at) {
			findings_add(heap->image->findings, "malloc-twice", at,
				     "%s: the block at 0x%" PRIx64 " is kept "
				     "at hand twice: freed twice", heap->name,
				     at);
			continue;
		}
		if (!span || !other_is_block(span, at)) {
			findings_add(heap->image->findings, "malloc-cached",
				     at, "%s: 0x%" PRIx64 ", kept at hand for "
				     "a thread, is no block", heap->name, at);
			continue;
		}
		heap->cached[kept++] = at;
	}
	heap->num_cached = kept;
}

/** The class of a size; it may have to be made. */
static struct other_class *class_of(struct other_heap *heap, uint64_t block,
				    size_t *room)
{
	size_t low = 0, high = heap->num_classes;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (heap->classes[middle].block < block)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < heap->num_classes && heap->classes[low].block == block)
		return &heap->classes[low];
	if (heap->num_classes == *room) {
		size_t more = *room ? *room * 2 : 64;
		void *grown = reallocarray(heap->classes, more,
					   sizeof(*heap->classes));

		if (!grown)
			return NULL;
		heap->classes = grown;
		*room = more;
	}
	memmove(&heap->classes[low + 1], &heap->classes[low],
		(heap->num_classes - low) * sizeof(*heap->classes));
	heap->num_classes++;
	heap->classes[low] = (struct other_class){ .block = block };
	return &heap->classes[low];
}

static void add_blocks(struct other_totals *totals, enum other_kind kind,
		       uint64_t blocks, uint64_t size)
{
	totals->blocks[kind] += blocks;
	totals->bytes[kind] += blocks * size;
}

static struct error *sum_up(struct other_heap *heap)
{
	size_t room = 0, cached = 0;

	for (size_t i = 0; i < heap->num_spans; i++) {
		const struct other_span *span = &heap->spans[i];
		uint64_t size = span->end - span->start, at_hand = 0;
		struct other_totals *totals = &heap->totals[span->part];
		struct other_class *class;

		totals->spans++;
		if (!span->block) {
			totals->bytes[span->kind] += size;
			continue;
		}
		for (; cached < heap->num_cached &&
		       heap->cached[cached] < span->end; cached++)
			at_hand++;
		if (at_hand > span->live)
			at_hand = span->live;
		class = class_of(heap, span->block, &room);
		if (!class)
			return error_no_memory();
		class->spans++;
		class->span_bytes += size;
		class->used += span->live - at_hand;
		class->cached += at_hand;
		class->free += span->count - span->live;
		add_blocks(totals, OTHER_USED, span->live - at_hand,
			   span->block);
		add_blocks(totals, OTHER_CACHED, at_hand, span->block);
		add_blocks(totals, OTHER_FREE, span->count - span->live,
			   span->block);
		totals->bytes[OTHER_OVERHEAD] += span->first - span->start;
		totals->bytes[span->kind] += size - (span->first - span->start) -
					     span->count * span->block;
		totals->empty += span->live == at_hand ? size : 0;
	}
	return NULL;
}

/* --- pieces -------------------------------------------------------------- */

struct walk {
	struct other_heap *heap;
	other_piece_fn *fn;
	void *context;
	size_t cached;		/* the next of heap->cached */
	uint64_t bits[OTHER_BLOCKS_MAX / 64];
};

static struct error *tell(struct walk *walk, uint64_t start, uint64_t end,
			  enum other_kind kind)
{
	if (start >= end)
		return NULL;
	return walk->fn(walk->context,
			&(struct other_piece){ start, end, kind });
}

static struct error *tell_blocks(struct walk *walk,
				 const struct other_span *span)
{
	struct other_heap *heap = walk->heap;
	const char *why = NULL;
	struct error *err;

	if (span->count > 1) {
		memset(walk->bits, 0, ((size_t)span->count + 63) / 64 * 8);
		why = heap->free_blocks(heap, span, walk->bits);
	}
	if (why)
		findings_add(heap->image->findings, "malloc-span",
			     span->record, "%s: of the span at 0x%" PRIx64
			     " %s", heap->name, span->start, why);
	err = tell(walk, span->start, span->first, OTHER_OVERHEAD);
	for (uint32_t i = 0; !err && i < span->count; i++) {
		uint64_t at = span->first + i * span->block;
		enum other_kind kind = OTHER_USED;

		// Of a single block that is all there is to know.
		if (span->count > 1 ? walk->bits[i / 64] >> i % 64 & 1 :
				      span->live == 0)
			kind = OTHER_FREE;
		if (walk->cached < heap->num_cached &&
		    heap->cached[walk->cached] == at) {
			walk->cached++;
			if (kind == OTHER_FREE)
				findings_add(heap->image->findings,
					     "malloc-twice", at, "%s: the "
					     "block at 0x%" PRIx64 " is free, "
					     "and kept at hand: freed twice",
					     heap->name, at);
			kind = OTHER_CACHED;
		}
		err = tell(walk, at, at + span->block, kind);
	}
	if (!err)
		err = tell(walk, span->first + span->count * span->block,
			   span->end, span->kind);
	return err;
}

struct error *other_heap_each(struct other_heap *heap, other_piece_fn *fn,
			      void *context)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	struct error *err = NULL;

	if (!walk)
		return error_no_memory();
	*walk = (struct walk){ .heap = heap, .fn = fn, .context = context };
	for (size_t i = 0; !err && i < heap->num_spans; i++) {
		const struct other_span *span = &heap->spans[i];

		err = span->block ? tell_blocks(walk, span) :
				    tell(walk, span->start, span->end,
					 span->kind);
	}
	free(walk);
	return err;
}

/* --- finding them -------------------------------------------------------- */

struct error *other_heap_create(const char *name, struct image *image,
				struct module *module, struct other_heap **ret)
{
	struct other_heap *heap = calloc(1, sizeof(*heap));
	struct error *err;

	if (!heap)
		return error_no_memory();
	heap->name = name;
	heap->image = image;
	heap->module = module;
	err = memory_reader_init(&heap->memory, image->memory);
	if (err) {
		free(heap);
		return err;
	}
	*ret = heap;
	return NULL;
}

struct error *other_heap_finish(struct other_heap *heap)
{
	settle_cached(heap);
	return sum_up(heap);
}

void other_heap_close(struct other_heap *heap)
{
	if (!heap)
		return;
	if (heap->free_data)
		heap->free_data(heap->data);
	memory_reader_deinit(&heap->memory);
	free(heap->spans);
	free(heap->cached);
	free(heap->classes);
	free(heap);
}

/** By its name, or by what the program itself exports. */
static bool is_named(struct module *module, const struct memory *memory,
		     const struct known *one)
{
	const char *slash = strrchr(module->path, '/');
	struct symbol symbol;

	if (strncmp(slash ? slash + 1 : module->path, one->library,
		    strlen(one->library)) == 0)
		return true;
	// A program may have it built in. What it does not export is its own
	// affair: Python has a mimalloc for its objects alone.
	for (size_t i = 0; module->is_executable && i < 3 && one->symbols[i];
	     i++)
		if (symbols_lookup(module, memory, one->symbols[i], &symbol) &&
		    symbol.dynamic)
			return true;
	return false;
}

/** Room for a table of pages in its data? */
static bool has_room(const struct module *module, const struct memory *memory)
{
	uint64_t at = module->start, bytes = 0;
	const struct memory_range *range;

	while (at < module->end &&
	       (range = memory_find_above(memory, at)) &&
	       range->start < module->end) {
		if (range->protection & PF_W)
			bytes += (range->end < module->end ? range->end :
							     module->end) -
				 (range->start > at ? range->start : at);
		at = range->end;
	}
	return bytes >= TABLE_MIN;
}

/** ERROR_NOT_FOUND if it is named and there is nothing, or is not there. */
static struct error *open_heap(struct image *image, struct module *module,
			       const struct known *one, bool named,
			       struct other_heap **ret)
{
	struct other_heap *heap;
	struct error *err = other_heap_create(one->name, image, module, &heap);

	if (err)
		return err;
	heap->named = named;
	err = one->open(heap);
	if (err && err->kind == ERROR_NOT_FOUND && named) {
		error_free(err);
		err = NULL;
		heap->unread = "its tables were not found in the dump";
	}
	if (!err)
		err = other_heap_finish(heap);
	if (err) {
		other_heap_close(heap);
		return err;
	}
	*ret = heap;
	return NULL;
}

struct error *other_heaps_find(struct image *image, struct other_heaps *ret)
{
	struct error *err = NULL;

	*ret = (struct other_heaps){ .count = 0 };
	for (size_t i = 0; i < modules_count(image->modules); i++) {
		struct module *module = modules_get(image->modules, i);
		bool room = has_room(module, image->memory);

		for (size_t j = 0; j < sizeof(known) / sizeof(*known) &&
		     ret->count < OTHER_HEAPS_MAX; j++) {
			bool named = is_named(module, image->memory, &known[j]);

			if (!named && (!room || known[j].by_name))
				continue;
			err = open_heap(image, module, &known[j], named,
					&ret->heaps[ret->count]);
			if (!err)
				ret->count++;
			else if (err->kind != ERROR_NOT_FOUND)
				break;
			error_free(err);
			err = NULL;
		}
		if (err)
			break;
	}
	if (err)
		other_heaps_deinit(ret);
	return err;
}

void other_heaps_deinit(struct other_heaps *heaps)
{
	for (size_t i = 0; i < heaps->count; i++)
		other_heap_close(heaps->heaps[i]);
	heaps->count = 0;
}

/* --- asking -------------------------------------------------------------- */

const char *other_heap_name(const struct other_heap *heap)
{
	return heap->name;
}

const char *other_heap_module(const struct other_heap *heap)
{
	return heap->module ? heap->module->path : NULL;
}

const char *other_heap_unread(const struct other_heap *heap)
{
	return heap->unread;
}

const char *other_heap_caches_unread(const struct other_heap *heap)
{
	return heap->caches_unread;
}

struct other_totals other_heap_totals(const struct other_heap *heap)
{
	struct other_totals sum = { .spans = 0 };

	for (size_t i = 0; i < OTHER_PARTS_MAX; i++) {
		const struct other_totals *part = &heap->totals[i];

		for (size_t j = 0; j < NUM_OTHER_KINDS; j++) {
			sum.bytes[j] += part->bytes[j];
			sum.blocks[j] += part->blocks[j];
		}
		sum.spans += part->spans;
		sum.empty += part->empty;
	}
	return sum;
}

size_t other_heap_num_parts(const struct other_heap *heap)
{
	return heap->num_parts ? heap->num_parts : 1;
}

const char *other_heap_part(const struct other_heap *heap, size_t part)
{
	return heap->num_parts ? heap->parts[part] : "";
}

struct other_totals other_heap_part_totals(const struct other_heap *heap,
					   size_t part)
{
	return heap->totals[part];
}

size_t other_heap_num_classes(const struct other_heap *heap)
{
	return heap->num_classes;
}

const struct other_class *other_heap_class(const struct other_heap *heap,
					   size_t i)
{
	return &heap->classes[i];
}

size_t other_heap_num_spans(const struct other_heap *heap)
{
	return heap->num_spans;
}

const struct other_span *other_heap_span(const struct other_heap *heap,
					 size_t i)
{
	return &heap->spans[i];
}
