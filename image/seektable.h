/*
 * The table that makes a zstd file readable at random, and how to do without.
 * SPDX-License-Identifier: Apache-2.0
 *
 * zstd's seekable format 0.1.0: independent frames, then a skippable frame
 * (0x184D2A5E) that holds for every frame before it, in order, its stored and
 * its expanded size (u32 each, optionally a u32 checksum), then nine bytes:
 * number of frames, a descriptor (bit 7: checksums), 0x8F92EAB1. Skippable
 * frames are entries that expand to 0 bytes. `zstd -d` ignores the table.
 *
 * Source: contrib/seekable_format/zstd_seekable_compression_format.md of the
 * zstd repository; the limits are those of its reference code.
 */
#ifndef IMAGE_SEEKTABLE_H
#define IMAGE_SEEKTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum {
	SEEKTABLE_FRAMES_MAX = 0x8000000,
	SEEKTABLE_EXPANDED_MAX = 1 << 30,	/* bytes, one frame */
	SKIPPABLE_HEADER_SIZE = 8,		/* magic, size of what follows */
};

struct seektable_entry {
	uint32_t stored;	/* bytes in the file, headers included */
	uint32_t expanded;	/* bytes; 0: skippable, or empty */
};

/** One entry a frame, in the order of the file, which starts with the first. */
struct seektable {
	struct seektable_entry *entries;
	size_t count;
	size_t capacity;
};

void seektable_deinit(struct seektable *table);

/**
 * Append a frame.
 *
 * @return NULL, or ERROR_LIMIT where the format has no room for such a frame
 *	or for so many
 */
struct error *seektable_add(struct seektable *table, uint64_t stored,
			    uint64_t expanded);

/** Bytes that seektable_serialize() writes. */
size_t seektable_serialized_size(const struct seektable *table);

/** Write the whole skippable frame that ends a file. */
void seektable_serialize(const struct seektable *table, uint8_t *ret);

/** Write the header of a skippable frame with size bytes of content. */
void skippable_header(uint32_t magic, uint32_t size,
		      uint8_t ret[SKIPPABLE_HEADER_SIZE]);

/**
 * Read the table at the end of a file.
 *
 * Believed are only sizes that fit: the frames fill the file up to the table
 * exactly (where there are any), none is smaller than a frame can be, and none
 * expands to more than its stored size can. The frames themselves are not
 * looked at.
 *
 * @param file, size  the whole file
 * @param ret  to be released by seektable_deinit()
 * @param ret_start  offset in the file of the table's own frame
 * @return NULL, or ERROR_NOT_FOUND if the file does not end in one, or
 *	ERROR_FORMAT with what is wrong with it
 */
struct error *seektable_parse(const uint8_t *file, size_t size,
			      struct seektable *ret, uint64_t *ret_start);

/**
 * Compare a table with the headers of the frames it names: all of them in a
 * file of few frames; in one of many, the odd-sized ones and an even sample.
 *
 * @return NULL, or ERROR_FORMAT naming the first frame that differs
 */
struct error *seektable_verify(const struct seektable *table,
			       const uint8_t *file, size_t size);

/* Where a walk over frame headers ended. */
enum seektable_end {
	SEEKTABLE_WHOLE,	/* at the end of the file, after whole frames */
	SEEKTABLE_CUT,		/* in a frame that the file does not hold whole */
	SEEKTABLE_DAMAGED,	/* at bytes that are no frame */
	SEEKTABLE_NO_RANDOM_ACCESS,	/* at a frame that does not tell its
			size or is too large, or at too many tiny ones */
};

struct seektable_walk {
	enum seektable_end end;
	uint64_t stored;	/* offset in the file where it ended */
	uint64_t expanded;	/* sum */
	uint64_t cut_expanded;	/* what the cut frame claims, 0: unknown */
	uint32_t cut_magic;	/* of the frame at stored; 0: none there */
	size_t data_frames;	/* with an expanded size */
	uint32_t last_magic;	/* of the last whole frame; 0: there was none */
};

/**
 * Make the table from the frames' own headers. Touches every block header.
 * Never fails on what the file holds: walk says how far it got.
 */
struct error *seektable_rebuild(const uint8_t *file, size_t size,
				struct seektable *ret,
				struct seektable_walk *ret_walk);

/**
 * The content of the last of the skippable frames of this magic.
 *
 * @return borrowed from file, NULL if there is none
 */
const uint8_t *seektable_skippable(const struct seektable *table,
				   const uint8_t *file, size_t size,
				   uint32_t magic, uint32_t *ret_size);

#endif
