/*
 * The large chunks of glibc's malloc in a process that stands still.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A mapping is no unit: the kernel joins neighbours of one kind, and what is
 * smaller than malloc's threshold (up to 32 MiB) lies in the heap or in a
 * thread's arena. Chunks say themselves where they end, in a header in front
 * of each. Source: glibc malloc/malloc.c and malloc/arena.c, 2.26 to 2.43.
 *
 * Three places are looked at: the heap, by its chain of chunks from the start;
 * arenas of threads, which begin at multiples of 64 MiB, the same way; and
 * chunks with a mapping of their own, which begin on pages. Whatever has no
 * chunk's header, or stands behind a chain that breaks off, is passed over.
 */
#ifndef LIVE_CHUNKS_H
#define LIVE_CHUNKS_H

#include "image/base/error.h"
#include "image/live/standing.h"

/* Of a page's beginning is enough to tell whether a chunk with a mapping of its
   own begins there: memalign() moves the header on. Bytes. */
enum { CHUNKS_PROBE = 128 };

/** What the user of a chunk got, [start, end), free or not. */
struct chunk {
	uint64_t start, end;
};

typedef struct error *chunk_fn(void *context, const struct chunk *chunk);

/**
 * Call fn for chunks of at least size bytes in anonymous memory.
 *
 * @param passed  spans to pass over, ascending: what is known to be none
 */
struct error *chunks_each(struct standing *standing,
			  const struct select_span *passed,
			  size_t num_passed, uint64_t size, chunk_fn *fn,
			  void *context);

/**
 * The size of the chunk whose mapping begins at a page, or 0. The header says
 * how far from the beginning of the mapping it is, and how far it is to the end;
 * in 2.43 and later a header's size less.
 *
 * @param words  the first CHUNKS_PROBE bytes of the page
 * @param left  bytes from there to the end of malloc's mappings
 * @param ret_first  bytes before what the user got
 */
uint64_t chunks_mapped_size(const uint64_t *words, uint64_t left, uint64_t page,
			    uint64_t *ret_first);

/** Private, writable, and of no file: malloc's mappings are that. */
bool chunks_may_be_mapped(const struct procmap *map);

/**
 * Where neighbours of malloc's mappings end. A chunk may lie in several:
 * madvise() cuts a mapping up.
 *
 * @param i  the first of them, set to the last
 */
uint64_t chunks_end(const struct procmaps *maps, size_t *i);

#endif
