/*
 * What otherheap.c and the files of single allocators share.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_OTHERSTATE_H
#define IMAGE_OTHERSTATE_H

#include "image/malloc/otherheap.h"

enum { OTHER_BLOCKS_MAX = 1 << 16 };	/* of a span that has more than one */

struct other_heap {
	const char *name;
	struct image *image;		/* borrowed */
	struct module *module;		/* borrowed; NULL: not known */
	struct memory_reader memory;
	bool named;			/* its module says that it is in there */
	const char *unread;		/* as other_heap_unread() */
	const char *caches_unread;
	struct other_span *spans;	/* by address */
	size_t num_spans, span_room;
	uint64_t *cached;		/* addresses of blocks, ascending */
	size_t num_cached, cached_room;
	struct other_class *classes;	/* by size */
	size_t num_classes;
	const char *parts[OTHER_PARTS_MAX];	/* static; num_parts 0: one */
	size_t num_parts;
	struct other_totals totals[OTHER_PARTS_MAX];

	/**
	 * Set bit i where block i of a span is free. bits are zero before.
	 *
	 * @return NULL, or what is wrong with it
	 */
	const char *(*free_blocks)(struct other_heap *heap,
				   const struct other_span *span,
				   uint64_t *bits);
	/* numbers of the allocator's own; see its file */
	uint64_t own[4];
	void *data;			/* and whatever else, */
	void (*free_data)(void *data);	/* which this takes away; or NULL */
};

/** A heap without anything in it yet. module may be NULL. */
struct error *other_heap_create(const char *name, struct image *image,
				struct module *module, struct other_heap **ret);

/** Check what is at hand and sum up, once all spans are there. */
struct error *other_heap_finish(struct other_heap *heap);

/** Spans may come in any order: other_spans_settle() sorts them. */
struct error *other_span_add(struct other_heap *heap,
			     const struct other_span *span);

/** Sort, and leave out what overlaps, which only damage makes. */
void other_spans_settle(struct other_heap *heap);

/** The span that holds an address, or NULL; after they have settled. */
const struct other_span *other_span_at(const struct other_heap *heap,
				       uint64_t address);

/** Does a block begin there? */
bool other_is_block(const struct other_span *span, uint64_t address);

/** A block that somebody keeps at hand. ERROR_LIMIT: there are too many. */
struct error *other_cached_add(struct other_heap *heap, uint64_t address);

/** All of them are there, or err came of it: too many are none, with a reason. */
struct error *other_cached_settle(struct other_heap *heap, struct error *err);

/** Calls fn for each word that is not 0, until it returns false. */
typedef bool other_word_fn(void *context, uint64_t at, uint64_t word);

/**
 * Look through the words of [start, end) that are in the dump, where something
 * could be written: all that an allocator keeps is there.
 *
 * @param memory  moved about; fn must read by another one
 * @return false where fn ended it
 */
bool other_each_word(struct memory_reader *memory, uint64_t start, uint64_t end,
		     other_word_fn *fn, void *context);

/** The search for a word of a node of a tree, which may be mostly empty. */
struct other_first {
	struct memory_reader memory;	/* its own */
	uint64_t node, searched;	/* what was looked through last */
	uint64_t at, word;		/* and found there; word 0: nothing */
	uint64_t budget;		/* bytes that are still looked through */
};

/** The first word in [node, node + size) that is not 0; false: none. */
bool other_first_word(struct other_first *first, uint64_t node, uint64_t size);

/**
 * One allocator in one module.
 *
 * @return ERROR_NOT_FOUND where it is not in there
 */
typedef struct error *other_open_fn(struct other_heap *heap);
other_open_fn jemalloc_open, tcmalloc_open, mimalloc_open;

#endif
