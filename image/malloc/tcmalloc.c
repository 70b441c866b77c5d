/*
 * tcmalloc of gperftools: its map of pages, spans, and what is kept at hand.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A map of two levels leads from a page's number to the span that holds it. Its
 * root lies in the data of the module: the word in it that leads to a leaf
 * tells where the root begins, by the number of the first page of the first
 * span there. A span is in use (blocks of one size, or one large block), free,
 * or free and returned to the system.
 *
 * A thread's cache has a list of free blocks for each size, and says which size
 * that is; the central lists, which the rings of spans lead to, have more such
 * lists, to be handed from one thread to another. What is in either counts as
 * not free in its span.
 *
 * Source: gperftools 2.8.1, 2.10, 2.16 and 2.18.1: src/pagemap.h, page_heap.h,
 * span.h, central_freelist.h, thread_cache.h. That of github.com/google/tcmalloc
 * shares the name and little else; it is not read, and neither are builds with
 * TCMALLOC_SMALL_BUT_SLOW, whose map has three levels.
 */
#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "image/malloc/otherstate.h"

enum {
	ADDRESS_BITS = 48,
	SPAN_SIZE = 48,
	CLASSES = 128,
	/* of a thread's cache: one list */
	LIST_SIZE = 32,
	LIST_LENGTH = 8,
	LIST_BLOCK = 24,
	LISTS_SIZE = CLASSES * LIST_SIZE,
	CLASSES_BELIEVED = 32,
	BLOCK_MAX = 256 << 10,
	LINKS_END = LISTS_SIZE + 512,	/* where links to others may be */
	CACHES_MAX = 1 << 16,
	LIST_MAX = 1 << 20,	/* blocks of one list of a cache */
	/* of a central list: */
	CENTRAL_CLASS = 8,
	CENTRAL_EMPTY = 16,	/* two heads of rings of spans */
	CENTRAL_NONEMPTY = CENTRAL_EMPTY + SPAN_SIZE,
	CENTRAL_SLOTS = CENTRAL_NONEMPTY + SPAN_SIZE + 16,
	SLOTS = 64,
	CENTRAL_USED = CENTRAL_SLOTS + 16 * SLOTS,
	TRIED_MAX = 1 << 16,
	SEARCHED_MAX = 1 << 29,	/* bytes of leaves, for their first words */
	METADATA_GAP = 1 << 20,	/* records closer than this are of one piece */
	PAGE = 4096,
};

/* What own[] holds. */
enum { OWN_ROOT, OWN_PAGE_LOG2 };

enum location { IN_USE, NORMAL, RETURNED };

struct record {
	uint64_t address;
	uint64_t start, length;		/* in pages */
	uint64_t next, previous;
	uint64_t objects;		/* the first of its free blocks */
	uint32_t in_use;		/* blocks that are not free */
	uint8_t class, location;
};

static unsigned int leaf_bits(unsigned int page_log2)
{
	return (ADDRESS_BITS - page_log2 + 1) / 2;
}

static unsigned int root_bits(unsigned int page_log2)
{
	return ADDRESS_BITS - page_log2 - leaf_bits(page_log2);
}

static bool read_record(struct memory_reader *memory, uint64_t address,
			struct record *ret)
{
	uint64_t words[SPAN_SIZE / 8];

	if (!memory_try_read(memory, address, words, sizeof(words)))
		return false;
	*ret = (struct record){
		.address = address, .start = words[0], .length = words[1],
		.next = words[2], .previous = words[3], .objects = words[4],
		.in_use = words[5] & UINT16_MAX,
		.class = (uint8_t)(words[5] >> 16),
		.location = words[5] >> 24 & 3,
	};
	return ret->start > 0 && ret->length > 0 &&
	       ret->start < UINT64_C(1) << (ADDRESS_BITS - 12) &&
	       ret->length < UINT64_C(1) << (ADDRESS_BITS - 12) &&
	       ret->location <= RETURNED && ret->class < CLASSES;
}

/* --- the root ------------------------------------------------------------ */

struct search {
	struct other_heap *heap;
	struct other_first leaves;
	struct memory_reader probe;
	size_t tried;
	bool found;
};

static bool is_writable(const struct memory *memory, uint64_t address)
{
	const struct memory_range *range = memory_find(memory, address);

	return range && range->protection & PF_W;
}

/** Is this word of the module's data one that leads to a leaf? */
static bool try_word(void *context, uint64_t at, uint64_t word)
{
	struct search *search = context;
	struct other_heap *heap = search->heap;
	const struct memory *memory = heap->image->memory;

	if (word % 8 || word >> ADDRESS_BITS || search->tried >= TRIED_MAX)
		return search->tried < TRIED_MAX;
	// Most words of a module's data lead into the module itself.
	if ((word >= heap->module->start && word < heap->module->end) ||
	    !is_writable(memory, word))
		return true;
	search->tried++;
	for (unsigned int log2 = 12; log2 <= 18; log2++) {
		uint64_t leaf = UINT64_C(1) << leaf_bits(log2), root;
		struct record record;

		if (!other_first_word(&search->leaves, word, leaf * 8) ||
		    !read_record(&search->probe, search->leaves.word,
				 &record) ||
		    record.start % leaf != (search->leaves.at - word) / 8 ||
		    !is_writable(memory, record.start << log2) ||
		    !is_writable(memory, ((record.start + record.length)
					  << log2) - 1) ||
		    record.start >> leaf_bits(log2) >> root_bits(log2))
			continue;
		root = at - 8 * (record.start >> leaf_bits(log2));
		if (root < heap->module->start ||
		    root + (UINT64_C(8) << root_bits(log2)) >
			    heap->module->end)
			continue;
		heap->own[OWN_ROOT] = root;
		heap->own[OWN_PAGE_LOG2] = log2;
		search->found = true;
		return false;
	}
	return true;
}

/* --- all spans ----------------------------------------------------------- */

struct pieces {
	uint64_t (*items)[2];
	size_t count, room;
};

struct central {
	uint64_t address;	/* 0: not known */
	uint64_t free;		/* blocks that its spans have */
};

struct reading {
	struct other_heap *heap;
	struct memory_reader root, leaves, records;
	uint64_t leaf;		/* address of the one at hand */
	uint64_t prefix;	/* of the numbers of its pages */
	uint64_t next;		/* the first page behind the last span */
	uint64_t blocks[CLASSES];	/* bytes of each class; 0: not known */
	struct central centrals[CLASSES];
	struct pieces metadata;
	struct error *err;
};

/** What is the allocator's own, in pieces that are joined later. */
static struct error *add_metadata(struct reading *reading, uint64_t start,
				  uint64_t size)
{
	struct pieces *pieces = &reading->metadata;
	uint64_t (*last)[2] = pieces->count ?
				      &pieces->items[pieces->count - 1] : NULL;

	// Records are mostly made one after the other.
	if (last && start >= (*last)[0] && start <= (*last)[1] + PAGE) {
		if (start + size > (*last)[1])
			(*last)[1] = start + size;
		return NULL;
	}
	if (pieces->count == pieces->room) {
		size_t more = pieces->room ? pieces->room * 2 : 256;
		void *grown = reallocarray(pieces->items, more,
					   sizeof(*pieces->items));

		if (!grown)
			return error_no_memory();
		pieces->items = grown;
		pieces->room = more;
	}
	pieces->items[pieces->count][0] = start;
	pieces->items[pieces->count++][1] = start + size;
	return NULL;
}

/** The central list of a class is where a ring of its spans begins. */
static void note_central(struct reading *reading, const struct record *record,
			 uint64_t link)
{
	const struct module *module = reading->heap->module;
	struct central *central = &reading->centrals[record->class];
	static const uint64_t heads[] = { CENTRAL_EMPTY, CENTRAL_NONEMPTY };

	if (central->address || link < module->start || link >= module->end)
		return;
	for (size_t i = 0; i < 2; i++) {
		uint64_t class;

		if (memory_try_u64(&reading->records, link - heads[i] +
				   CENTRAL_CLASS, &class) &&
		    class == record->class)
			central->address = link - heads[i];
	}
}

static struct error *add_span(struct reading *reading,
			      const struct record *record)
{
	struct other_heap *heap = reading->heap;
	uint64_t log2 = heap->own[OWN_PAGE_LOG2];
	uint64_t block = reading->blocks[record->class];
	struct other_span span = {
		.start = record->start << log2,
		.end = (record->start + record->length) << log2,
		.record = record->address,
		.kind = record->location == RETURNED ? OTHER_RETURNED :
						       OTHER_UNUSED,
	};
	uint64_t count = 1;

	if (record->location == IN_USE) {
		span.kind = OTHER_OVERHEAD;
		span.first = span.start;
		span.block = span.end - span.start;
		if (record->class && block && block <= span.block) {
			count = span.block / block;
			span.block = block;
			note_central(reading, record, record->next);
			note_central(reading, record, record->previous);
		}
		if (count > OTHER_BLOCKS_MAX) {
			count = OTHER_BLOCKS_MAX;
		}
		span.count = span.live = (uint32_t)count;
		if (count > 1 || record->class)
			span.live = record->in_use < count ? record->in_use :
							     (uint32_t)count;
		reading->centrals[record->class].free += span.count -
							 span.live;
	}
	return other_span_add(heap, &span);
}

static bool walk_leaf(void *context, uint64_t at, uint64_t word)
{
	struct reading *reading = context;
	uint64_t page = reading->prefix + (at - reading->leaf) / 8;
	struct record record;

	// Within a span there may be what was left of older ones.
	if (page < reading->next || !read_record(&reading->records, word,
						 &record) ||
	    record.start != page)
		return true;
	reading->next = page + record.length;
	reading->err = add_span(reading, &record);
	if (!reading->err)
		reading->err = add_metadata(reading, word, SPAN_SIZE);
	return !reading->err;
}

static bool walk_root(void *context, uint64_t at, uint64_t word)
{
	struct reading *reading = context;
	struct other_heap *heap = reading->heap;
	unsigned int bits = leaf_bits((unsigned int)heap->own[OWN_PAGE_LOG2]);
	uint64_t size = UINT64_C(8) << bits;

	reading->leaf = word;
	reading->prefix = (at - heap->own[OWN_ROOT]) / 8 << bits;
	reading->err = add_metadata(reading, word, size);
	return !reading->err &&
	       other_each_word(&reading->leaves, word, word + size, walk_leaf,
			       reading);
}

/** A span's free blocks are a list through them. */
static const char *free_blocks(struct other_heap *heap,
			       const struct other_span *span, uint64_t *bits)
{
	uint64_t left = span->count - span->live, at;
	struct record record;

	if (!read_record(&heap->memory, span->record, &record))
		return "the record is not in the dump";
	for (at = record.objects; at && left > 0; left--) {
		uint64_t block = (at - span->first) / span->block;

		if (!other_is_block(span, at))
			return "the list of free blocks leaves it";
		if (bits[block / 64] >> block % 64 & 1)
			return "the list of free blocks is a circle: freed "
			       "twice";
		bits[block / 64] |= UINT64_C(1) << block % 64;
		if (!memory_try_u64(&heap->memory, at, &at))
			return "a free block is not in the dump";
	}
	return left || at ? "the list of free blocks is not as long as the "
			    "record says" : NULL;
}

/* --- caches of threads --------------------------------------------------- */

/** The sizes of a cache's lists: they rise from 8 or 16 bytes. */
static bool read_sizes(struct memory_reader *memory, uint64_t cache,
		       uint64_t ret[CLASSES])
{
	uint64_t before = 0;
	size_t count = 0;

	memset(ret, 0, CLASSES * sizeof(*ret));
	for (uint64_t i = 0; i < CLASSES; i++) {
		uint32_t block;

		if (!memory_try_u32(memory, cache + i * LIST_SIZE + LIST_BLOCK,
				    &block))
			return false;
		if (i > 0 && block == 0)
			break;
		if ((i == 0 && block != 0) || (i == 1 && block > 32) ||
		    (i > 0 && block <= before) || block > BLOCK_MAX ||
		    block % 8)
			return false;
		ret[i] = before = block;
		count++;
	}
	return count >= CLASSES_BELIEVED;
}

static bool is_cache(struct reading *reading, uint64_t cache)
{
	uint64_t blocks[CLASSES];

	return cache && cache % 8 == 0 &&
	       read_sizes(&reading->records, cache, blocks) &&
	       memcmp(blocks, reading->blocks, sizeof(blocks)) == 0;
}

struct cache_search {
	struct reading *reading;
	uint64_t found;
	size_t tried;
};

static bool try_cache(void *context, uint64_t at, uint64_t word)
{
	struct cache_search *search = context;
	struct reading *reading = search->reading;

	(void)at;
	if (word % 8 || !is_writable(reading->heap->image->memory, word))
		return true;
	if (read_sizes(&reading->records, word, reading->blocks))
		search->found = word;
	return !search->found && ++search->tried < TRIED_MAX;
}

/**
 * Where in a cache the link to the next one is, the one back being behind it;
 * 0: there is no other.
 */
static uint64_t find_link(struct reading *reading, uint64_t cache)
{
	for (uint64_t at = LISTS_SIZE; at < LINKS_END; at += 8) {
		uint64_t other, back;

		if (!memory_try_u64(&reading->records, cache + at, &other) ||
		    other == cache || !is_cache(reading, other))
			continue;
		if (memory_try_u64(&reading->records, other + at + 8, &back) &&
		    back == cache)
			return at;
		if (memory_try_u64(&reading->records, other + at - 8, &back) &&
		    back == cache)
			return at - 8;
	}
	return 0;
}

/** Take up a list of blocks at hand, up to a last one and at most so many. */
static struct error *take_list(struct other_heap *heap, uint64_t at,
			       uint64_t last, uint64_t length)
{
	struct error *err = NULL;

	for (; !err && at && length > 0; length--) {
		const struct other_span *span = other_span_at(heap, at);

		err = other_cached_add(heap, at);
		if (!span || at == last ||
		    !memory_try_u64(&heap->memory, at, &at))
			break;
	}
	return err;
}

static struct error *take_cache(struct reading *reading, uint64_t cache)
{
	struct error *err = add_metadata(reading, cache, LINKS_END);

	for (uint64_t i = 1; !err && i < CLASSES && reading->blocks[i]; i++) {
		uint64_t list = cache + i * LIST_SIZE, first;
		uint32_t length;

		if (memory_try_u64(&reading->records, list, &first) &&
		    memory_try_u32(&reading->records, list + LIST_LENGTH,
				   &length) && length)
			err = take_list(reading->heap, first, 0,
					length < LIST_MAX ? length : LIST_MAX);
	}
	return err;
}

static struct error *take_caches(struct reading *reading, uint64_t cache)
{
	uint64_t link = find_link(reading, cache), at = cache, number = 0;
	struct error *err = take_cache(reading, cache);

	if (!link)
		return err;
	for (uint64_t direction = link; direction <= link + 8; direction += 8) {
		at = cache;
		while (!err && number++ < CACHES_MAX &&
		       memory_try_u64(&reading->records, at + direction, &at) &&
		       at != cache && is_cache(reading, at))
			err = take_cache(reading, at);
	}
	return err;
}

/** Lists of blocks on their way from one thread to another. */
static struct error *take_transfers(struct reading *reading)
{
	struct other_heap *heap = reading->heap;
	struct error *err = NULL;

	for (uint64_t i = 1; !err && i < CLASSES; i++) {
		uint64_t address = reading->centrals[i].address, slot[2];
		uint32_t used;

		if (!address ||
		    !memory_try_u32(&reading->records, address + CENTRAL_USED,
				    &used))
			continue;
		if (used > SLOTS) {
			findings_add(heap->image->findings, "malloc-central",
				     address, "tcmalloc: the central list of "
				     "blocks of %" PRIu64 " bytes says that it "
				     "has %" PRIu32 " lists", reading->blocks[i],
				     used);
			continue;
		}
		for (uint64_t j = 0; !err && j < used; j++)
			if (memory_try_read(&reading->records, address +
					    CENTRAL_SLOTS + 16 * j, slot,
					    sizeof(slot)))
				err = take_list(heap, slot[0], slot[1],
						OTHER_BLOCKS_MAX);
	}
	return err;
}

/* --- metadata ------------------------------------------------------------ */

static int by_start(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (left[0] > right[0]) - (left[0] < right[0]);
}

/** Does a span lie between two addresses? */
static bool is_between(const struct other_heap *heap, size_t spans,
		       uint64_t start, uint64_t end)
{
	size_t low = 0, high = spans;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (heap->spans[middle].end <= start)
			low = middle + 1;
		else
			high = middle;
	}
	return low < spans && heap->spans[low].start < end;
}

/** Records lie close together; what is between them has held others. */
static struct error *join_metadata(struct reading *reading)
{
	struct pieces *pieces = &reading->metadata;
	struct other_heap *heap = reading->heap;
	size_t spans = heap->num_spans;
	struct error *err = NULL;

	if (pieces->count)
		qsort(pieces->items, pieces->count, sizeof(*pieces->items),
		      by_start);
	for (size_t i = 0; !err && i < pieces->count; ) {
		uint64_t start = pieces->items[i][0] & ~(uint64_t)(PAGE - 1);
		uint64_t end = pieces->items[i][1];

		for (i++; i < pieces->count &&
			  pieces->items[i][0] < end + METADATA_GAP &&
			  !is_between(heap, spans, end, pieces->items[i][0]);
		     i++)
			if (pieces->items[i][1] > end)
				end = pieces->items[i][1];
		end = (end + PAGE - 1) & ~(uint64_t)(PAGE - 1);
		if (!is_between(heap, spans, start, end))
			err = other_span_add(heap, &(struct other_span){
				.start = start, .end = end, .record = start,
				.kind = OTHER_METADATA });
	}
	return err;
}

/* --- all of it ----------------------------------------------------------- */

static struct error *read_all(struct reading *reading)
{
	struct other_heap *heap = reading->heap;
	struct cache_search search = { .reading = reading };
	uint64_t root = heap->own[OWN_ROOT];
	unsigned int log2 = (unsigned int)heap->own[OWN_PAGE_LOG2];
	struct error *err;

	(void)other_each_word(&heap->memory, heap->module->start,
			      heap->module->end, try_cache, &search);
	// Where nothing else says so, there has to be more than a tree.
	if (!search.found && !heap->named)
		return error_new(ERROR_NOT_FOUND, "no tcmalloc is in there");
	(void)other_each_word(&reading->root, root,
			      root + (UINT64_C(8) << root_bits(log2)),
			      walk_root, reading);
	err = reading->err;
	if (err)
		return err;
	other_spans_settle(heap);
	if (search.found)
		err = take_caches(reading, search.found);
	else
		heap->caches_unread = "no cache of a thread was found; blocks "
				      "are not told apart";
	if (!err)
		err = take_transfers(reading);
	err = other_cached_settle(heap, err);
	if (!err)
		err = join_metadata(reading);
	other_spans_settle(heap);
	return err;
}

static bool find_root(struct search *search)
{
	struct other_heap *heap = search->heap;

	(void)other_each_word(&heap->memory, heap->module->start,
			      heap->module->end, try_word, search);
	return search->found;
}

struct error *tcmalloc_open(struct other_heap *heap)
{
	const struct memory *memory = heap->image->memory;
	struct search search = { .heap = heap,
				 .leaves.budget = SEARCHED_MAX };
	struct reading *reading = calloc(1, sizeof(*reading));
	struct error *err;

	if (!reading)
		return error_no_memory();
	reading->heap = heap;
	err = memory_reader_init(&search.probe, memory);
	if (!err)
		err = memory_reader_init(&search.leaves.memory, memory);
	if (!err)
		err = memory_reader_init(&reading->root, memory);
	if (!err)
		err = memory_reader_init(&reading->leaves, memory);
	if (!err)
		err = memory_reader_init(&reading->records, memory);
	if (!err && !find_root(&search))
		err = error_new(ERROR_NOT_FOUND, "no tcmalloc is in there");
	heap->free_blocks = free_blocks;
	if (!err)
		err = read_all(reading);
	memory_reader_deinit(&search.probe);
	memory_reader_deinit(&search.leaves.memory);
	memory_reader_deinit(&reading->root);
	memory_reader_deinit(&reading->leaves);
	memory_reader_deinit(&reading->records);
	free(reading->metadata.items);
	free(reading);
	return err;
}
