/*
 * PyTorch's C++ objects on the heap; see torchheap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/tensors/torchheap.h"

#include <stdio.h>
#include <stdlib.h>

#include "analyzer/malloc/allocators.h"
#include "analyzer/malloc/mallocheap.h"

enum {
	HEADER = 16,		/* of a chunk of glibc's malloc */
	TAIL = 8,		/* … whose user has the start of the next one's */
	SHARED = 16,		/* bytes in front of what a shared_ptr's counts
				   are with */
	UNREAD_MAX = 160,
	/* Sizes of the two smallest blocks of a class, in words: 16 bits each. */
	SIZES = 16, SIZE_MAX_WORDS = (1 << SIZES) - 1,
};

struct found {
	struct torch_block *items;
	size_t count, room;
};

struct torchheap {
	struct torch_classes *classes;
	struct hashmap sizes;		/* by a class's table: see SIZES */
	bool trimmed;			/* blocks are told no longer than that */
	struct allocators others;
	struct glibc_heap *malloc;	/* NULL: another one has its place */
	struct memory_reader memory;
	struct found found[TORCH_NUM_KINDS];
	char unread[UNREAD_MAX];
};

struct walk {
	struct torchheap *heap;
	torch_block_fn *fn;
	void *context;
};

/* --- how long objects of a class are ------------------------------------------------ */

/*
 * A block may be longer than what was asked for, by what malloc would not split
 * off; that has what was there before, as other objects' addresses. No object of a
 * class is longer than the block of any other one; of a single smaller one it is
 * not taken, as its first word may itself be what was there before.
 */

static struct error *see_size(struct torchheap *heap,
			      const struct torch_block *block)
{
	uint64_t size = (block->end - block->address) / 8;
	uint32_t least = SIZE_MAX_WORDS, next = SIZE_MAX_WORDS, sizes;

	if (hashmap_get(&heap->sizes, block->word, &sizes)) {
		least = sizes & SIZE_MAX_WORDS;
		next = sizes >> SIZES;
	}
	if (size >= next)
		return NULL;
	if (size >= least) {
		next = (uint32_t)size;
	} else {
		next = least;
		least = (uint32_t)size;
	}
	return hashmap_put(&heap->sizes, block->word, next << SIZES | least);
}

static uint64_t end_of(const struct torchheap *heap,
		       const struct torch_block *block)
{
	uint64_t size = block->end - block->address;
	uint32_t sizes;

	if (!hashmap_get(&heap->sizes, block->word, &sizes) ||
	    sizes >> SIZES == SIZE_MAX_WORDS || size / 8 <= sizes >> SIZES)
		return block->end;
	return block->address + (uint64_t)(sizes >> SIZES) * 8;
}

/* --- blocks --------------------------------------------------------------------------- */

static struct error *pass_on(const struct walk *walk, struct torch_block *block)
{
	if (walk->heap->trimmed)
		block->end = end_of(walk->heap, block);
	return walk->fn(walk->context, block);
}

static struct error *see_chunk(void *context, const struct glibc_chunk *chunk)
{
	const struct walk *walk = context;
	bool mapped = chunk->kind == GLIBC_MAPPED;

	if (chunk->kind != GLIBC_USED && !mapped)
		return NULL;
	return pass_on(walk, &(struct torch_block){
		.address = chunk->start + HEADER,
		.end = chunk->end + (mapped ? 0 : TAIL),
		.word = chunk->word });
}

static struct error *see_piece(void *context, const struct other_piece *piece)
{
	const struct walk *walk = context;
	struct torch_block block = { .address = piece->start,
				     .end = piece->end };

	if (piece->kind != OTHER_USED)
		return NULL;
	if (!memory_try_u64(&walk->heap->memory, piece->start, &block.word))
		block.word = 0;
	return pass_on(walk, &block);
}

struct error *torchheap_each(struct torchheap *heap, torch_block_fn *fn,
			     void *context)
{
	struct walk walk = { .heap = heap, .fn = fn, .context = context };
	struct error *err = NULL;

	for (size_t i = 0; !err && i < heap->others.num_malloc; i++)
		if (!other_heap_unread(heap->others.heaps.heaps[i]))
			err = other_heap_each(heap->others.heaps.heaps[i],
					      see_piece, &walk);
	if (!err && heap->malloc)
		err = glibc_each_chunk(heap->malloc, see_chunk, &walk);
	return err;
}

/**
 * What std::make_shared() makes lies behind two counts of its owners, in an object
 * of a class of its own.
 */
static struct error *look_behind_counts(struct torchheap *heap,
					struct torch_block *block)
{
	enum torch_kind kind;
	struct error *err;
	uint64_t word;

	if (block->end - block->address < SHARED + 8 ||
	    !memory_try_u64(&heap->memory, block->address + SHARED, &word))
		return NULL;
	err = torch_kind_of(heap->classes, word, &kind);
	if (!err && kind == TORCH_KIND_NODE) {
		block->address += SHARED;
		block->word = word;
		block->kind = kind;
	}
	return err;
}

static struct error *keep(void *context, const struct torch_block *seen)
{
	struct torchheap *heap = context;
	struct torch_block block = *seen, *grown;
	struct error *err = torch_kind_of(heap->classes, block.word,
					  &block.kind);
	struct found *found;

	if (!err && block.kind != TORCH_KIND_NONE)
		err = see_size(heap, seen);
	if (!err && block.kind == TORCH_KIND_CLASS)
		err = look_behind_counts(heap, &block);
	if (err || block.kind < TORCH_KIND_TENSOR)
		return err;
	found = &heap->found[block.kind];
	if (found->count == found->room) {
		size_t room = found->room ? found->room * 2 : 1024;

		grown = realloc(found->items, room * sizeof(*grown));
		if (!grown)
			return error_no_memory();
		found->items = grown;
		found->room = room;
	}
	found->items[found->count++] = block;
	return NULL;
}

static int by_address(const void *a, const void *b)
{
	const struct torch_block *x = a, *y = b;

	return (x->address > y->address) - (x->address < y->address);
}

/** What there is, and why it may not be all. */
static struct error *open_heaps(struct opened *opened, struct torchheap *heap)
{
	struct error *err = allocators_find(opened, &heap->others);

	if (err)
		return err;
	err = mallocheap_open(opened, &heap->others, &heap->malloc);
	if (err && err->kind != ERROR_NO_MEMORY) {
		(void)snprintf(heap->unread, sizeof(heap->unread),
			       "%s", err->message);
		error_free(err);
		err = NULL;
	}
	for (size_t i = 0; i < heap->others.num_malloc; i++) {
		const struct other_heap *other = heap->others.heaps.heaps[i];

		if (other_heap_unread(other))
			(void)snprintf(heap->unread, sizeof(heap->unread),
				       "%s: %s", other_heap_name(other),
				       other_heap_unread(other));
	}
	return err;
}

struct error *torchheap_open(struct opened *opened,
			     struct torch_classes *classes,
			     struct torchheap **ret)
{
	struct torchheap *heap = calloc(1, sizeof(*heap));
	struct error *err;

	if (!heap)
		return error_no_memory();
	heap->classes = classes;
	err = memory_reader_init(&heap->memory, opened_image(opened)->memory);
	if (!err)
		err = open_heaps(opened, heap);
	if (!err)
		err = torchheap_each(heap, keep, heap);
	if (err) {
		torchheap_close(heap);
		return err;
	}
	heap->trimmed = true;
	for (int kind = 0; kind < TORCH_NUM_KINDS; kind++) {
		struct found *found = &heap->found[kind];

		for (size_t i = 0; i < found->count; i++)
			found->items[i].end = end_of(heap, &found->items[i]);
		if (found->count)
			qsort(found->items, found->count, sizeof(*found->items),
			      by_address);
	}
	*ret = heap;
	return NULL;
}

void torchheap_close(struct torchheap *heap)
{
	if (!heap)
		return;
	for (int kind = 0; kind < TORCH_NUM_KINDS; kind++)
		free(heap->found[kind].items);
	memory_reader_deinit(&heap->memory);
	hashmap_deinit(&heap->sizes);
	glibc_heap_close(heap->malloc);
	allocators_deinit(&heap->others);
	free(heap);
}

const struct torch_block *torchheap_blocks(const struct torchheap *heap,
					   enum torch_kind kind,
					   size_t *ret_count)
{
	*ret_count = heap->found[kind].count;
	return heap->found[kind].items;
}

const char *torchheap_unread(const struct torchheap *heap)
{
	return *heap->unread ? heap->unread : NULL;
}
