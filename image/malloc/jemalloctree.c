/*
 * jemalloc's radix tree: where it is, how it is laid out, and all extents in it;
 * see jemalloc.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "image/malloc/jemallocstate.h"

enum {
	SLAB_BIT = 12,		/* behind the number of the arena */
	SLAB_BITMAP = 64,	/* where it is in an extent */
	TRIED_MAX = 1 << 16,	/* words that may lead to a leaf */
	SEARCHED_MAX = 1 << 29,	/* bytes of nodes, for their first words */
	ROOTS_MAX = 8,		/* that prove themselves, and have nothing */
	SLABS_BELIEVED = 8,	/* in a module that is not known to have one */
	SLABS_TRIED = 4096,	/* to tell the layout */
};

/** How addresses are cut up, by how the library was configured. */
static const struct jemalloc_geometry geometries[] = {
	{ 12, 18, 0, 18, 3, 48 },
	{ 12, 15, 15, 15, 4, 57 },
	{ 16, 16, 0, 16, 3, 48 },
	{ 14, 17, 0, 17, 3, 48 },
	{ 16, 18, 0, 18, 3, 52 },
};

/** Where the first word of an extent keeps what. */
static const struct jemalloc_layout layouts[] = {
	{ 17, 3, 20, 28, true },	/* 5.3 */
	{ 16, 2, 18, 26, false },	/* 5.1, 5.2 */
};

enum { ACTIVE };	/* the state of what is in use */

uint64_t jemalloc_class_size(uint64_t index)
{
	uint64_t group;

	if (index == 0)
		return 8;
	if (index <= 4)
		return 16 * index;
	if (index >= JEMALLOC_CLASSES - 24)
		return 0;
	group = (index - 5) / 4;
	return (UINT64_C(64) << group) +
	       ((index - 5) % 4 + 1) * (UINT64_C(16) << group);
}

const struct jemalloc_geometry *jemalloc_geometry(const struct other_heap *heap)
{
	return &geometries[heap->own[JEMALLOC_GEOMETRY]];
}

const struct jemalloc_layout *jemalloc_layout(const struct other_heap *heap)
{
	return &layouts[heap->own[JEMALLOC_LAYOUT]];
}

/* --- extents ------------------------------------------------------------- */

/** The extent that an element of a leaf leads to. */
static uint64_t record_of(const struct jemalloc_geometry *geometry,
			  uint64_t element)
{
	unsigned int unused = 64U - geometry->address;

	if (geometry->element_log2 == 3)
		element = (uint64_t)((int64_t)(element << unused) >> unused);
	return element & ~UINT64_C(63);
}

static bool read_extent(struct memory_reader *memory, uint64_t record,
			const struct jemalloc_geometry *geometry,
			struct jemalloc_extent *ret)
{
	uint64_t page = (UINT64_C(1) << geometry->page_log2) - 1, words[3];

	if (record == 0 ||
	    !memory_try_read(memory, record, words, sizeof(words)))
		return false;
	*ret = (struct jemalloc_extent){
		.record = record,
		.bits = words[0], .address = words[1], .size = words[2] & ~page,
		.start = words[1] & ~page,
	};
	ret->end = ret->start + ret->size;
	return ret->size > 0 && ret->start > 0 && ret->end > ret->start;
}

/* --- all extents --------------------------------------------------------- */

struct tree_walk {
	struct other_heap *heap;
	struct memory_reader nodes[3];	/* one for each level */
	struct memory_reader records;
	uint64_t prefix[3];		/* of addresses, by level */
	uint64_t last;			/* the record told before */
	uint64_t wrong;			/* elements that contradict */
	jemalloc_extent_fn *fn;
	void *context;
	struct error *err;
};

static bool walk_leaf(void *context, uint64_t at, uint64_t word)
{
	struct tree_walk *walk = context;
	const struct jemalloc_geometry *geometry = jemalloc_geometry(walk->heap);
	uint64_t record = record_of(geometry, word), page;
	struct jemalloc_extent extent;

	// Of an element of two words the second says no more than the extent.
	if (geometry->element_log2 == 4 && (at - walk->prefix[2]) % 16)
		return true;
	if (record == 0 || record == walk->last)
		return true;
	page = (walk->prefix[1] << geometry->leaf) +
	       ((at - walk->prefix[2]) >> geometry->element_log2);
	page <<= geometry->page_log2;
	if (!read_extent(&walk->records, record, geometry, &extent)) {
		walk->wrong++;
		return true;
	}
	// The last pages of others, which were told by their first.
	if (extent.start != page) {
		walk->wrong += page < extent.start || page >= extent.end;
		return true;
	}
	walk->last = record;
	walk->err = walk->fn(walk->context, &extent);
	return !walk->err;
}

static bool enter_leaf(struct tree_walk *walk, uint64_t leaf)
{
	const struct jemalloc_geometry *geometry = jemalloc_geometry(walk->heap);

	walk->prefix[2] = leaf;
	return other_each_word(&walk->nodes[2], leaf,
			       leaf + (UINT64_C(1) << geometry->leaf
						   << geometry->element_log2),
			       walk_leaf, walk);
}

static bool walk_middle(void *context, uint64_t at, uint64_t word)
{
	struct tree_walk *walk = context;
	const struct jemalloc_geometry *geometry = jemalloc_geometry(walk->heap);

	walk->prefix[1] = (walk->prefix[0] << geometry->middle) +
			  (at - walk->prefix[2]) / 8;
	at = walk->prefix[2];
	if (!enter_leaf(walk, word))
		return false;
	walk->prefix[2] = at;
	return true;
}

static bool walk_root(void *context, uint64_t at, uint64_t word)
{
	struct tree_walk *walk = context;
	const struct jemalloc_geometry *geometry = jemalloc_geometry(walk->heap);

	walk->prefix[0] = (at - walk->heap->own[JEMALLOC_ROOT]) / 8;
	if (geometry->middle) {
		walk->prefix[2] = word;
		return other_each_word(&walk->nodes[1], word,
				       word + (UINT64_C(8)
					       << geometry->middle),
				       walk_middle, walk);
	}
	walk->prefix[1] = walk->prefix[0];
	return enter_leaf(walk, word);
}

struct error *jemalloc_each_extent(struct other_heap *heap,
				   jemalloc_extent_fn *fn, void *context,
				   uint64_t *ret_wrong)
{
	const struct memory *memory = heap->image->memory;
	struct tree_walk walk = { .heap = heap, .fn = fn, .context = context };
	struct error *err = memory_reader_init(&walk.records, memory);
	int made = 0;

	for (; !err && made < 3; made++)
		err = memory_reader_init(&walk.nodes[made], memory);
	if (!err)
		(void)other_each_word(
			&walk.nodes[0], heap->own[JEMALLOC_ROOT],
			heap->own[JEMALLOC_ROOT] +
				(UINT64_C(8) << jemalloc_geometry(heap)->root),
			walk_root, &walk);
	for (int i = 0; i < made; i++)
		memory_reader_deinit(&walk.nodes[i]);
	memory_reader_deinit(&walk.records);
	*ret_wrong = walk.wrong;
	return err ? err : walk.err;
}

/* --- slabs --------------------------------------------------------------- */

uint64_t jemalloc_free_said(const struct other_heap *heap, uint64_t bits)
{
	return jemalloc_field(bits, jemalloc_layout(heap)->free,
			      jemalloc_geometry(heap)->page_log2 - 2U);
}

bool jemalloc_bitmap(struct other_heap *heap, uint64_t record, uint64_t count,
		     uint64_t bits[JEMALLOC_BITMAP_MAX / 8],
		     uint64_t *ret_free)
{
	uint64_t words = (count + 63) / 64, number = 0;

	if (count == 0 || words * 8 > JEMALLOC_BITMAP_MAX ||
	    !memory_try_read(&heap->memory, record + SLAB_BITMAP, bits,
			     words * 8))
		return false;
	for (uint64_t i = 0; i < words; i++)
		number += (uint64_t)__builtin_popcountll(bits[i]);
	if (count % 64)
		number += count *
			  (uint64_t)(bits[words - 1] >> count % 64 != 0);
	*ret_free = number;
	return true;
}

bool jemalloc_is_slab(const struct jemalloc_extent *extent)
{
	return extent->bits >> SLAB_BIT & 1;
}

struct vote {
	struct other_heap *heap;
	uint64_t votes[sizeof(layouts) / sizeof(*layouts)];
	uint64_t slabs;
	bool shifted;		/* one does not begin with its page */
};

/** A slab's own count and its bitmap agree in the right layout alone. */
static struct error *vote(void *context, const struct jemalloc_extent *extent)
{
	struct vote *vote = context;
	unsigned int free_bits = jemalloc_geometry(vote->heap)->page_log2 - 2U;
	uint64_t bits[JEMALLOC_BITMAP_MAX / 8];

	vote->shifted |= extent->address != extent->start;
	if (!jemalloc_is_slab(extent) || vote->slabs >= SLABS_TRIED)
		return NULL;
	vote->slabs++;
	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
		const struct jemalloc_layout *layout = &layouts[i];
		uint64_t block = jemalloc_class_size(jemalloc_field(
			extent->bits, layout->size_class, 8));
		uint64_t state = jemalloc_field(extent->bits, layout->state,
						layout->state_bits);
		uint64_t said = jemalloc_field(extent->bits, layout->free,
					       free_bits), free;

		if (block && extent->size % block == 0 && state == ACTIVE &&
		    jemalloc_bitmap(vote->heap, extent->record,
				    extent->size / block, bits, &free) &&
		    said == free)
			vote->votes[i]++;
	}
	return NULL;
}

/** Do extents of one of the layouts hang on this root? */
static struct error *choose_layout(struct other_heap *heap, bool *ret)
{
	struct vote counts = { .heap = heap };
	uint64_t wrong;
	size_t best = 0;
	struct error *err = jemalloc_each_extent(heap, vote, &counts, &wrong);

	if (err)
		return err;
	for (size_t i = 1; i < sizeof(layouts) / sizeof(*layouts); i++)
		if (counts.votes[i] > counts.votes[best])
			best = i;
	heap->own[JEMALLOC_LAYOUT] = best;
	// So that large blocks do not all begin in the same lines of a cache.
	if (counts.shifted)
		heap->own[JEMALLOC_PADDING] = UINT64_C(1)
					 << jemalloc_geometry(heap)->page_log2;
	// Where nothing else says so, one slab may be a coincidence.
	*ret = counts.votes[best] > counts.slabs / 2 &&
	       (heap->named || counts.votes[best] >= SLABS_BELIEVED);
	return NULL;
}

/* --- the root ------------------------------------------------------------ */

struct search {
	struct other_heap *heap;
	struct other_first nodes, leaves;	/* of two levels */
	struct memory_reader probe;
	const struct jemalloc_geometry *geometry;
	size_t tried, roots;
	bool found;
	struct error *err;
};

/** Does this node, of a level above the leaves or a leaf, prove itself? */
static bool proves(struct search *search, uint64_t node, uint64_t *ret_address)
{
	const struct jemalloc_geometry *geometry = search->geometry;
	uint64_t middle = 0, index;
	struct jemalloc_extent extent;

	if (geometry->middle) {
		if (!other_first_word(&search->nodes, node,
				      UINT64_C(8) << geometry->middle))
			return false;
		middle = (search->nodes.at - node) / 8;
		node = search->nodes.word;
		if (node % 8)
			return false;
	}
	if (!other_first_word(&search->leaves, node,
			      UINT64_C(1) << geometry->leaf
					  << geometry->element_log2))
		return false;
	index = (search->leaves.at - node) >> geometry->element_log2;
	if (!read_extent(&search->probe,
			 record_of(geometry, search->leaves.word), geometry,
			 &extent))
		return false;
	if (!memory_find(search->probe.memory, extent.start) ||
	    !memory_find(search->probe.memory, extent.end - 1))
		return false;
	*ret_address = extent.start;
	extent.start >>= geometry->page_log2;
	return jemalloc_field(extent.start, 0, geometry->leaf) == index &&
	       (!geometry->middle ||
		jemalloc_field(extent.start, geometry->leaf, geometry->middle) ==
			middle);
}

/** Is this word of the module's data one of the root's? */
static bool try_word(void *context, uint64_t at, uint64_t word)
{
	struct search *search = context;
	struct other_heap *heap = search->heap;
	const struct memory_range *range;

	if (word % 64 || search->tried >= TRIED_MAX)
		return search->tried < TRIED_MAX;
	// Most words of a module's data lead into the module itself.
	if (word >= heap->module->start && word < heap->module->end)
		return true;
	range = memory_find(search->probe.memory, word);
	if (!range || range->state != MEMORY_CAPTURED)
		return true;
	search->tried++;
	for (size_t i = 0; i < sizeof(geometries) / sizeof(*geometries); i++) {
		const struct jemalloc_geometry *geometry = &geometries[i];
		uint64_t address, root;

		search->geometry = geometry;
		if (!proves(search, word, &address))
			continue;
		address >>= geometry->page_log2 + geometry->leaf +
			    geometry->middle;
		root = at - 8 * jemalloc_field(address, 0, geometry->root);
		if (root < heap->module->start ||
		    root + (UINT64_C(8) << geometry->root) > heap->module->end)
			continue;
		heap->own[JEMALLOC_ROOT] = root;
		heap->own[JEMALLOC_GEOMETRY] = i;
		search->err = choose_layout(heap, &search->found);
		if (search->err || search->found ||
		    ++search->roots >= ROOTS_MAX)
			return false;
	}
	return true;
}

static struct error *find_root(struct search *search)
{
	struct other_heap *heap = search->heap;

	struct memory_reader memory = { 0 };
	struct error *err = memory_reader_init(&memory, heap->image->memory);

	if (!err)
		(void)other_each_word(&memory, heap->module->start,
				      heap->module->end, try_word, search);
	memory_reader_deinit(&memory);
	if (err || search->err)
		return err ? err : search->err;
	return search->found ? NULL : error_new(ERROR_NOT_FOUND,
						"no jemalloc is in there");
}

struct error *jemalloc_find_root(struct other_heap *heap)
{
	const struct memory *memory = heap->image->memory;
	struct search search = {
		.heap = heap,
		.nodes.budget = SEARCHED_MAX, .leaves.budget = SEARCHED_MAX,
	};
	struct error *err = memory_reader_init(&search.probe, memory);

	if (!err)
		err = memory_reader_init(&search.nodes.memory, memory);
	if (!err)
		err = memory_reader_init(&search.leaves.memory, memory);
	if (!err)
		err = find_root(&search);
	memory_reader_deinit(&search.probe);
	memory_reader_deinit(&search.nodes.memory);
	memory_reader_deinit(&search.leaves.memory);
	return err;
}
