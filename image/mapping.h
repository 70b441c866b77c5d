/*
 * A file mapped read-only, and what happens when it shrinks meanwhile.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Touching a mapped page that lies past the end of its file, or that the disk
 * cannot deliver, raises SIGBUS. A dump that someone truncates, or a library
 * that a package upgrade rewrites, must not kill the analysis: a program calls
 * mapping_guard_sigbus() once, and from then on such a page of a registered
 * mapping reads as zeroes and mapping_lost() says which bytes those are.
 * Faults anywhere else go to whatever handled SIGBUS before.
 */
#ifndef IMAGE_MAPPING_H
#define IMAGE_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum { MAPPING_GUARDED_MAX = 2048 };	/* further ones are not guarded */

struct mapping {
	const uint8_t *data;	/* NULL: nothing is mapped */
	size_t size;		/* bytes */
	int slot;		/* in the table of guarded mappings; -1: none */
};

/**
 * Map the first size bytes (at least 1) of fd. The file is not touched yet.
 *
 * @param fd  the caller's. With fd_stays it is kept open until
 *	mapping_deinit(), and a shrunk file costs one fault; without, it may be
 *	closed at once, and a shrunk file costs one fault a page
 * @param name  for the sentence of an error
 */
struct error *mapping_init(struct mapping *mapping, int fd, bool fd_stays,
			   uint64_t size, const char *name);

/** Unmap. A mapping that is all zeroes is fine. */
void mapping_deinit(struct mapping *mapping);

/**
 * True if bytes of the mapping turned out to be gone.
 *
 * @param ret_start, ret_end  offsets that enclose all of them
 */
bool mapping_lost(const struct mapping *mapping, uint64_t *ret_start,
		  uint64_t *ret_end);

/** Install the handler of SIGBUS, for the whole process. Once is enough. */
void mapping_guard_sigbus(void);

#endif
