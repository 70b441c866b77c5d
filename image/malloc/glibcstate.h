/*
 * What the parts of glibcheap.h share: arenas as they lie in memory.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_GLIBCSTATE_H
#define IMAGE_GLIBCSTATE_H

#include "image/malloc/glibcheap.h"

enum {
	GLIBC_PAGE = 4096,
	GLIBC_HEADER = 16,		/* prev_size and size: CHUNK_HDR_SZ */
	GLIBC_LEAST = 32,		/* MINSIZE */
	GLIBC_ALIGN = 16,		/* MALLOC_ALIGNMENT */
	GLIBC_PREV_INUSE = 1,
	GLIBC_IS_MMAPPED = 2,
	GLIBC_SIZE_BITS = 7,
	GLIBC_BINS = 127,		/* NBINS - 1: each two words */
	GLIBC_FAST_BINS = 10,		/* NFASTBINS */
	GLIBC_ARENAS_MAX = 1 << 14,
};

#define GLIBC_HEAP_ALIGN (UINT64_C(64) << 20)	/* HEAP_MAX_SIZE */

/** Where fields are in struct malloc_state: three layouts. */
struct glibc_layout {
	uint32_t bins;		/* bytes before the bins; top stands 16 before */
	uint32_t fast;		/* … before the fast bins, 0: there are none */
};

/** What struct malloc_par says. */
struct glibc_parameters {
	bool known;
	uint64_t first;		/* where the heap of brk began */
	uint64_t num_mapped, mapped;
	uint64_t tcache_count;	/* chunks that a list may have */
};

/** A heap: [start, end), whose first chunk's header is at first. */
struct glibc_region {
	uint64_t start, end, first;
	uint32_t arena;
};

/** A chunk that a list leads to. */
struct glibc_listed {
	uint64_t at;		/* its header */
	enum glibc_kind kind;
};

struct glibc_heap {
	struct image *image;
	struct memory_reader memory;	/* for single words */
	struct memory_reader windows;	/* for walks */
	struct glibc_options options;
	struct glibc_layout layout;
	struct glibc_parameters parameters;
	struct module *module;
	const char *found_by;
	struct glibc_arena *arenas;
	size_t num_arenas;
	struct glibc_region *regions;	/* by address */
	size_t num_regions;
	struct glibc_listed *listed;	/* by address */
	size_t num_listed, max_listed;
	struct glibc_span *mapped;	/* mappings, by address, and their */
	uint64_t *mapped_chunks;	/* chunks' headers */
	size_t num_mapped;
	uint64_t mapped_bytes;
};

/* --- glibcarena.c ----------------------------------------------------------- */

/** Find the main arena, the parameters, the others and their heaps. */
struct error *glibc_find_arenas(struct glibc_heap *heap);

/** The region that holds address, or NULL. */
const struct glibc_region *glibc_region_at(const struct glibc_heap *heap,
					   uint64_t address);

/**
 * From where on memory may be a heap's: writable, and of no module. The kernel
 * joins what it maps behind a module's .bss with that. The range's end: nowhere.
 */
uint64_t glibc_heap_from(const struct glibc_heap *heap,
			 const struct memory_range *range);
/** Whether all of it may be. */
bool glibc_may_be_heap(const struct glibc_heap *heap,
		       const struct memory_range *range);

/* --- glibclist.c ------------------------------------------------------------ */

/** Gather what is in bins and fast bins of all arenas. */
struct error *glibc_gather_bins(struct glibc_heap *heap);

/** Whether a chunk of this size may be the table of a thread's tcache. */
bool glibc_may_be_tcache(uint64_t size);

/** Gather what this table leads to, if it is one. */
struct error *glibc_gather_tcache(struct glibc_heap *heap, uint64_t start,
				  uint64_t size);

/** Sort what was gathered; a chunk that is there twice was freed twice. */
void glibc_sort_listed(struct glibc_heap *heap);

/* --- glibcmapped.c ---------------------------------------------------------- */

/** Look for chunks with mappings of their own. */
struct error *glibc_find_mapped(struct glibc_heap *heap);

#endif
