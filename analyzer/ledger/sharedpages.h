/*
 * Pages that a process still has in common with the one it was forked from.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Private memory of both is compared page by page, in order of addresses: what
 * is equal at the same address is most likely the same page still, what differs
 * was copied when one of them wrote to it. Which words differ tells why.
 */
#ifndef ANALYZER_SHAREDPAGES_H
#define ANALYZER_SHAREDPAGES_H

#include <stdint.h>

#include "image/image.h"
#include "pyheap/types/pytypes.h"

/** What became of a page of the child. */
enum shared_cause {
	SHARED_EQUAL,		/* as the parent has it */
	SHARED_COUNTS,		/* differs in reference counts alone */
	SHARED_COLLECTOR,	/* in headers of the collector, and at most in
				   reference counts beside */
	SHARED_WRITTEN,		/* in something else as well */
	SHARED_NEW,		/* the parent has nothing there */
	SHARED_UNKNOWN,		/* one of the dumps has not got it */
	NUM_SHARED_CAUSES
};

/** Bytes, by cause. */
struct shared_pages {
	uint64_t bytes[NUM_SHARED_CAUSES];
};

/** Pages of one process that others have as well: a bit for each. */
struct shared_marks {
	uint64_t *bits;		/* NULL: not wanted */
	uint64_t *before;	/* pages before each range of the memory */
	uint64_t pages;
};

struct error *shared_marks_init(struct shared_marks *marks,
				const struct image *image);
void shared_marks_deinit(struct shared_marks *marks);

/** Bytes of the pages that are marked. */
uint64_t shared_marks_bytes(const struct shared_marks *marks,
			    const struct image *image);

/** Bytes of private memory that is in the dump: those that can be compared. */
uint64_t shared_private_bytes(const struct image *image);

struct shared_question {
	struct image *parent, *child;
	/* of the parent; NULL: no word is told from another */
	const struct pyh_runtime *runtime;
	struct pyh_types *types;
	struct shared_marks *marks;	/* equal pages of the parent get one */
	unsigned int workers;
};

/** Compare all private memory of the child that is in its dump. */
struct error *shared_pages_compare(const struct shared_question *question,
				   struct shared_pages *ret);

#endif
