/*
 * The heap of glibc's malloc: its arenas, and every chunk of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The main arena is found by its symbol, else in the writable data of libc (or
 * of a static program) by what no other data looks like: 127 list heads in a
 * row, each of which points at itself or at a chunk that points back. From
 * there a ring leads to the arenas of threads, whose heaps begin at multiples
 * of 64 MiB. A heap is walked from its first chunk to its last; a chunk is free
 * by what the next one says, and is then in a list of its arena.
 *
 * Nothing is believed that can be held against something else. What does not
 * agree is a finding, and the walk goes on at the next chunk that a list knows.
 *
 * Source: glibc malloc/malloc.c and malloc/arena.c, 2.26 to 2.43.
 */
#ifndef IMAGE_GLIBCHEAP_H
#define IMAGE_GLIBCHEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"

enum glibc_kind {
	GLIBC_USED,
	GLIBC_FREE,		/* in a bin */
	GLIBC_FAST,		/* freed, in a fast bin of its arena */
	GLIBC_TCACHE,		/* freed, kept at hand for one thread */
	GLIBC_TOP,		/* the last of an arena: room to grow into */
	GLIBC_MAPPED,		/* in use, with a mapping of its own */
};

struct glibc_chunk {
	uint64_t start, end;	/* with its header; the user's begins 16 on */
	uint64_t word;		/* the first of the user's, 0: not to be had */
	enum glibc_kind kind;
	uint32_t arena;		/* its number; those of mappings: 0 */
};

struct glibc_arena {
	uint64_t address;	/* of its struct malloc_state */
	uint64_t top;		/* where it says its last chunk is */
	uint64_t system;	/* bytes it says it got */
	uint64_t attached;	/* threads that use it */
	bool is_main;
	bool locked;		/* somebody was in it: lists may be half done */
	/* bytes of chunks, with their headers */
	uint64_t used, free, fast, tcache, top_size;
	uint64_t overhead;	/* of heaps: their headers and ends */
	uint64_t lost;		/* not understood, or not in the dump */
	uint64_t trimmable;	/* what malloc_trim(0) would give back */
	uint64_t largest_free;
	uint64_t num_used, num_free, num_fast, num_tcache, num_heaps;
};

struct glibc_heap;

struct glibc_span {
	uint64_t start, end;
};

struct glibc_options {
	/* memory known to be somebody else's, ascending: not looked through */
	const struct glibc_span *others;
	size_t num_others;
};

/**
 * Find and check all of it.
 *
 * @param image  borrowed; its findings get what is damaged
 * @return ERROR_NOT_FOUND where there is no such heap
 */
struct error *glibc_heap_open(struct image *image,
			      const struct glibc_options *options,
			      struct glibc_heap **ret);
void glibc_heap_close(struct glibc_heap *heap);

/** Arenas: the main one is number 0. */
size_t glibc_num_arenas(const struct glibc_heap *heap);
const struct glibc_arena *glibc_arena(const struct glibc_heap *heap, size_t i);

/** Chunks with a mapping of their own, and the bytes of those mappings. */
struct glibc_mapped {
	uint64_t count, bytes;	/* that were found */
	bool counted;		/* malloc's own numbers are known: */
	uint64_t count_said, bytes_said;
};
struct glibc_mapped glibc_mapped(const struct glibc_heap *heap);

/** How the main arena was found, and in which module. */
const char *glibc_found_by(const struct glibc_heap *heap);
const char *glibc_module(const struct glibc_heap *heap);

/**
 * Whole free pages of a chunk that malloc_trim(0) would give back, if it has not
 * yet; false: none.
 */
bool glibc_trimmable(const struct glibc_heap *heap,
		     const struct glibc_chunk *chunk, struct glibc_span *ret);

/** An error ends the walk. */
typedef struct error *glibc_chunk_fn(void *context,
				     const struct glibc_chunk *chunk);

/** Call fn for every chunk, heap by heap, in each in order of addresses. */
struct error *glibc_each_chunk(struct glibc_heap *heap, glibc_chunk_fn *fn,
			       void *context);

#endif
