/*
 * A cache of decompressed zstd frames, shared by readers on several threads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A pinned frame stays where it is; unpinned ones are kept, most recently used
 * first, as far as the budget goes, of which no more is used than has proved to
 * be of use: frames that are read once, in order, need little. The lock covers
 * the bookkeeping only: frames are read and decompressed outside it, each by
 * the thread that wants it, and whoever wants a frame that another thread is
 * working on waits for that one. A frame that cannot be had is lost: one
 * finding, and no retry.
 */
#ifndef IMAGE_FRAMES_H
#define IMAGE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/base/findings.h"
#include "image/mapping.h"
#include "image/seektable.h"

struct frames;

/** What one thread needs to decompress. Not for two threads at a time. */
struct frames_decoder;

struct frames_options {
	int fd;			/* borrowed: read with pread() */
	const struct mapping *mapping;	/* of fd, borrowed: spares the copy; what
					   it lacks or lost is read. May be NULL */
	const char *name;	/* borrowed: for findings */
	uint64_t cache_bytes;	/* budget of decompressed frames, pinned ones
				   included; more only where all are pinned */
	struct findings *findings;	/* borrowed, may be NULL */
};

/** A cache over the frames of table, which may be released afterwards. */
struct error *frames_create(const struct seektable *table,
			    const struct frames_options *options,
			    struct frames **ret);

/** No frame may be pinned any more. */
void frames_destroy(struct frames *frames);

/** Frames that hold data, and the bytes of all of them. */
size_t frames_count(const struct frames *frames);
uint64_t frames_size(const struct frames *frames);

/** The frame that holds offset, which must be below frames_size(). */
size_t frames_find(const struct frames *frames, uint64_t offset);

/** Offset of the frame's first expanded byte. */
uint64_t frames_offset(const struct frames *frames, size_t frame);

struct error *frames_decoder_create(struct frames_decoder **ret);

/**
 * Say whether what is pinned with it goes by once, in order: such frames make
 * room for each other, and leave those that stay where they are.
 */
void frames_decoder_pass(struct frames_decoder *decoder, bool pass);
void frames_decoder_destroy(struct frames_decoder *decoder);

/**
 * Pin a frame, decompressing it if it is not in the cache.
 *
 * @param ret_size  its expanded bytes
 * @return its bytes, until frames_unpin(); NULL where it is lost
 */
const uint8_t *frames_pin(struct frames *frames, struct frames_decoder *decoder,
			  size_t frame, size_t *ret_size);
void frames_unpin(struct frames *frames, size_t frame);

/**
 * Copy a few bytes of a frame that is in the cache, without a pin and without
 * the lock: what many threads read here and there.
 *
 * @param offset  below frames_size()
 * @return false, and something in buffer, where it is not, or may not have been
 *	all the while, and where the bytes are of two frames
 */
bool frames_copy(struct frames *frames, uint64_t offset, void *buffer,
		 size_t size);

/** Ask for what frames_copy() will look at, if it is in the cache. */
void frames_fetch(const struct frames *frames, uint64_t offset);

/**
 * True if what is pinned takes half of what is kept or more: who keeps frames
 * pinned in case they are wanted again should give those back.
 */
bool frames_crowded(const struct frames *frames);

/** True if any frame with bytes in [offset, offset + size) is known lost. */
bool frames_lost(const struct frames *frames, uint64_t offset, uint64_t size);

/** Decompressed bytes held now, and the most there ever were. */
uint64_t frames_resident(struct frames *frames, uint64_t *ret_peak);

#endif
