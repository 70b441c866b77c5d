/*
 * Large arrays: in memory as long as the budget lasts, then in files.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A file is temporary, unlinked at once and mapped, and its blocks are the
 * file system's own before they are written to, so that a full disk is an error
 * and no signal. What is in a file the kernel may write out and forget; a limit
 * on memory holds.
 *
 * Fresh memory is dear: the kernel clears it, which takes several times as long
 * as writing to it. So what released arrays were in goes to others that ask for
 * no zeroes.
 */
#ifndef IMAGE_BASE_SPILL_H
#define IMAGE_BASE_SPILL_H

#include <stdatomic.h>
#include <stdint.h>

#include "image/base/error.h"

/** Where arrays of one analysis go. */
struct spill {
	const char *folder;	/* of temporary files; borrowed */
	uint64_t budget;	/* bytes that may be in memory */
	_Atomic uint64_t used;	/* … that are, spares included */
	_Atomic(struct spill_spare *) spares;	/* what released arrays left */
};

/** Gives back what released arrays left. */
void spill_deinit(struct spill *spill);

struct spill_array {
	void *data;		/* NULL: released, or never made */
	uint64_t size;		/* bytes that may be touched */
	uint64_t reserved;	/* bytes of address space */
	int fd;			/* -1: in memory */
	struct spill *spill;	/* borrowed */
};

/** An array of size bytes, all zero. */
struct error *spill_alloc(struct spill *spill, uint64_t size,
			  struct spill_array *ret);

/** The same for who writes to all of it first: bytes are of no meaning. */
struct error *spill_alloc_unset(struct spill *spill, uint64_t size,
				struct spill_array *ret);

/** An array that may grow up to most bytes without moving; none at first. */
struct error *spill_reserve(struct spill *spill, uint64_t most,
			    struct spill_array *ret);

/**
 * Let the first size bytes of a reserved array be touched. What is new is zero.
 */
struct error *spill_grow(struct spill_array *array, uint64_t size);

/** Give back what is beyond the first size bytes. */
void spill_trim(struct spill_array *array, uint64_t size);

/** Safe on a zeroed or released array, from any thread. */
void spill_free(struct spill_array *array);

#endif
