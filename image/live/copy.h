/*
 * Reads the target's memory as the pieces of a core file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A copy knows which bytes of the core come from which addresses; all others
 * are zero. What cannot be read after all becomes zeroes too, because the
 * geometry stands, and is remembered. Any number of threads may read at once.
 */
#ifndef LIVE_COPY_H
#define LIVE_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/format.h"

struct copy;

struct copy_options {
	pid_t pid;		/* whose memory: the target, or its snapshot */
	bool snapshot;		/* the latter, or one that is to notice as
				   little of it: see peek.h */
	uint32_t page_size;
	/*
	 * Asked after each read: false means that the target runs again, so
	 * that what was read is not of the same moment and does not count.
	 * NULL: always true.
	 */
	bool (*holds)(const void *context);
	const void *context;
	int lost_errno;		/* what is said of ranges read after that */
};

struct error *copy_create(const struct copy_options *options,
			  struct copy **ret);
void copy_destroy(struct copy *copy);

/**
 * Bytes [offset, offset + size) of the core are those at address. In any order:
 * after the last one copy_arrange().
 */
struct error *copy_add(struct copy *copy, uint64_t offset, uint64_t address,
		       uint64_t size);

/**
 * Fill buffer with bytes [offset, offset + size) of the core; what no address
 * was given for is zero.
 *
 * @return false if no address was given for any of it
 */
bool copy_read(struct copy *copy, uint64_t offset, uint8_t *buffer, size_t size);

/**
 * The same for bytes that are at hand: the target has them at address. data is
 * borrowed.
 */
struct error *copy_add_held(struct copy *copy, uint64_t offset,
			    uint64_t address, const uint8_t *data,
			    uint64_t size);

/** Put in order what was added. */
void copy_arrange(struct copy *copy);

/**
 * Read all of it now, into memory of this program: from then on copy_read() needs
 * no process. Nothing may have been read before.
 */
struct error *copy_gather(struct copy *copy, unsigned int workers);

/** Bytes to be read in all, and read so far (missing ones count as read). */
uint64_t copy_total(const struct copy *copy);
uint64_t copy_done(const struct copy *copy);

/** True once the process was found to be gone. */
bool copy_target_gone(const struct copy *copy);

/**
 * Ranges that could not be read, ascending and joined; valid until the copy
 * is destroyed. Not while reads are going on.
 */
const struct format_skipped *copy_missing(struct copy *copy, size_t *ret_count);

#endif
