/*
 * What the files about mimalloc share: its pages, whichever version's.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_MIMALLOCSTATE_H
#define IMAGE_MIMALLOCSTATE_H

#include "image/malloc/otherstate.h"

enum { MIMALLOC_SLICE_LOG2 = 16 };	/* pages are made of such */

#define MIMALLOC_SLICE (UINT64_C(1) << MIMALLOC_SLICE_LOG2)

/** Where a page's record keeps what, in bytes. */
struct mimalloc_record {
	uint8_t capacity, reserved;	/* of 2 bytes each */
	uint8_t free, local_free, thread_free;
	uint8_t block, block_bytes;	/* 4 or 8 of them */
	uint8_t start;			/* 0: it is not said */
	uint8_t start_unit;		/* 0: an address; else 4 bytes: so far
					   from the record, in such units */
	uint8_t size;			/* of it all */
};

struct mimalloc_page {
	uint64_t record, start, end;	/* whole slices */
	uint64_t first, block;
	uint32_t capacity, reserved;	/* blocks: made, and room for */
};

/**
 * Read a page of these slices; false if it is none, or damaged. Without a start
 * of its own the first block is where the slices begin.
 */
bool mimalloc_read_page(struct memory_reader *memory,
			const struct mimalloc_record *layout, uint64_t record,
			uint64_t start, uint64_t end,
			struct mimalloc_page *ret);

/** Count what is free in it, and make a span of it. */
struct error *mimalloc_add_page(struct other_heap *heap,
				const struct mimalloc_page *page);

/** Of heap->own[0]: that of the version found. */
const struct mimalloc_record *mimalloc_record(const struct other_heap *heap);

/** Version 3, which has no segments. ERROR_NOT_FOUND: it is none. */
struct error *mimalloc3_read(struct other_heap *heap);

#endif
