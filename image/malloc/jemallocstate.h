/*
 * What the files about jemalloc share: how its tree is laid out, and extents.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_JEMALLOCSTATE_H
#define IMAGE_JEMALLOCSTATE_H

#include "image/malloc/otherstate.h"

enum {
	JEMALLOC_CLASSES = 256,
	JEMALLOC_BITMAP_MAX = 1024,	/* bytes: pages of 64 KiB */
};

/* What own[] holds. */
enum jemalloc_own {
	JEMALLOC_ROOT,		/* address */
	JEMALLOC_GEOMETRY,	/* which of the geometries */
	JEMALLOC_LAYOUT,	/* which of the layouts */
	JEMALLOC_PADDING,	/* bytes that large blocks have for themselves */
};

/** How addresses are cut up, by how the library was configured. */
struct jemalloc_geometry {
	uint8_t page_log2;
	uint8_t root, middle, leaf;	/* bits; middle: 0 or a third level */
	uint8_t element_log2;		/* bytes of one of a leaf */
	uint8_t address;		/* bits, where an element is one word */
};

/** Where the first word of an extent keeps what. */
struct jemalloc_layout {
	uint8_t state, state_bits, size_class, free;
	bool stack_down;	/* caches' pointers are before their end, as in
				   5.3, not behind the first one */
};

struct jemalloc_extent {
	uint64_t record;
	uint64_t bits, address, size;	/* its first three words */
	uint64_t start, end;		/* whole pages */
};

/** Of the heap whose root was found. */
const struct jemalloc_geometry *
jemalloc_geometry(const struct other_heap *heap);
const struct jemalloc_layout *jemalloc_layout(const struct other_heap *heap);

/** Bytes of the blocks of a class; 0: there is no such class. */
uint64_t jemalloc_class_size(uint64_t index);

/** Bits of the first word of an extent. */
static inline uint64_t jemalloc_field(uint64_t bits, unsigned int shift,
				      unsigned int width)
{
	return bits >> shift & ((UINT64_C(1) << width) - 1);
}

/** Blocks of one size, rather than one large block? */
bool jemalloc_is_slab(const struct jemalloc_extent *extent);

/** What a slab says that it has free. */
uint64_t jemalloc_free_said(const struct other_heap *heap, uint64_t bits);

/**
 * Free blocks by the bitmap of a slab; more than count, if there are others.
 *
 * @return false where it is not to be had, or count is out of range
 */
bool jemalloc_bitmap(struct other_heap *heap, uint64_t record, uint64_t count,
		     uint64_t bits[JEMALLOC_BITMAP_MAX / 8],
		     uint64_t *ret_free);

/** ERROR_NOT_FOUND where the module has no such tree. */
struct error *jemalloc_find_root(struct other_heap *heap);

typedef struct error *jemalloc_extent_fn(void *context,
					 const struct jemalloc_extent *extent);

/**
 * Call fn for each extent, in order of addresses.
 *
 * @param ret_wrong  pages that lead to extents which do not hold them
 */
struct error *jemalloc_each_extent(struct other_heap *heap,
				   jemalloc_extent_fn *fn, void *context,
				   uint64_t *ret_wrong);

/** What threads keep at hand; spans must have settled. */
struct error *jemalloc_find_caches(struct other_heap *heap);

#endif
