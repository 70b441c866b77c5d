/*
 * mimalloc, which free-threaded builds allocate with: segments, pages and live
 * blocks.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Include/internal/mimalloc/mimalloc/types.h and
 * Objects/mimalloc/segment.c; Include/internal/pycore_mimalloc.h. 3.13, 3.14 up
 * to 3.14.9 and 3.15 up to 3.15.1 have mimalloc 2.1.2, later ones 2.5.2; the
 * layout tables tell them apart.
 *
 * Segments are aligned to 32 MiB, and each begins with a header that holds a
 * cookie: its own address, mixed with a number of the process. By that all of
 * them are found wherever they are, also those that ended threads left behind
 * and nobody has taken over. A segment is cut into slices of 64 KiB, some of
 * them make a page, and a page into blocks of one size, all for one of a
 * thread's four heaps.
 */
#ifndef PYHEAP_PYMIMALLOC_H
#define PYHEAP_PYMIMALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/runtime/pyruntime.h"

enum {
	PYH_MI_SEGMENT_LOG2 = 25,
	PYH_MI_SLICE_LOG2 = 16,
	PYH_MI_BLOCKS_MAX = 1 << 16,	/* of a page: they are counted so */
	PYH_MI_WORDS = PYH_MI_BLOCKS_MAX / 64,
};

/** What the blocks of a page hold: the heap it is of. */
enum pyh_mi_heap {
	PYH_MI_MEM,		/* no objects: PyMem_Malloc() */
	PYH_MI_OBJECT,		/* objects that the collector does not track */
	PYH_MI_GC,		/* objects that it does */
	PYH_MI_GC_PRE,		/* … behind two words of a pre-header */
	PYH_NUM_MI_HEAPS
};

struct pyh_mi_page {
	uint64_t start, limit;	/* slices that it has */
	uint64_t first;		/* address of its first block */
	uint64_t block_size;	/* bytes, at least 8 */
	uint64_t descriptor;	/* address of its mi_page_t */
	uint64_t lists[3];	/* of free blocks: the first of each, or 0 */
	uint64_t keys[2];	/* that links are encoded with; 0: they are not */
	uint32_t capacity;	/* blocks ever carved */
	uint32_t used;		/* as it says, those freed by other threads
				   included */
	enum pyh_mi_heap heap;
};

struct pyh_mi_pages {
	struct pyh_mi_page *pages;	/* by address, never overlapping */
	size_t count;
	struct pyh_mi_segment {
		uint64_t start, limit;
		uint64_t first;		/* behind its header */
	} *segments;			/* by address */
	size_t num_segments;
};

/**
 * Find the pages of all threads, living or not. None at all is no error.
 * Damaged segments and pages are findings of the image.
 */
struct error *pyh_mi_find(const struct pyh_runtime *runtime,
			  struct pyh_mi_pages *ret);
void pyh_mi_deinit(struct pyh_mi_pages *pages);

/**
 * Which blocks of a page are free.
 *
 * @param memory  reads quicker if its view holds the blocks
 * @param ret_free  bit i: block i is free; as many as the lists lead to
 * @param ret_live  how many are not
 * @return NULL, or what is wrong with the lists
 */
const char *pyh_mi_free_blocks(const struct pyh_mi_page *page,
			       struct memory_reader *memory,
			       uint64_t ret_free[PYH_MI_WORDS],
			       uint32_t *ret_live);

/** Bytes mimalloc takes for a request; of large ones at least. */
uint64_t pyh_mi_block_size(uint64_t request);

#endif
