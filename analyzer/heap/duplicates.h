/*
 * Equal values: every str, bytes and tuple by content, in bounded memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Values are told apart by a hash of 128 bits (pyheap/references/pycontent.h); a group
 * takes 64 bytes. Where all of them would not fit the budget, a first look at
 * the heap leaves out what occurs once: it sets two bits for each hash, in
 * 2 to 4 bytes for each object if the budget has them. What is left is grouped
 * by ranges of the hash: when memory runs out the highest of 256 ranges is
 * put off to another look at the heap. So memory is the budget, or what one
 * range takes if that is more; which worker sees what makes no difference.
 */
#ifndef ANALYZER_DUPLICATES_H
#define ANALYZER_DUPLICATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pytypes.h"

/** Objects of one type and one content. */
struct duplicate {
	uint64_t hash[2];
	uint64_t address;	/* the lowest of them */
	uint64_t count;
	uint64_t size;		/* of all, as sys.getsizeof says */
	uint64_t largest;	/* the size of the largest */
	uint64_t length;	/* characters, bytes or items */
	uint32_t type;		/* its id */
};

struct duplicates_options {
	unsigned int workers;
	const char *type, *match;	/* as --type and --match; may be NULL */
	uint64_t budget;		/* bytes */
	/**
	 * Called for every group of two or more, in no particular order.
	 * @return an error to stop with
	 */
	struct error *(*found)(void *context, const struct duplicate *group);
	void *context;
};

struct duplicates_result {
	uint64_t looked_at;	/* objects that the filters let through */
	uint64_t unread;	/* … whose content the dump has not got */
	unsigned int looks;	/* at the heap */
};

/** Find them. The census has been taken. */
struct error *duplicates_find(struct pyh_census *census,
			      const struct pyh_runtime *runtime,
			      const struct pyh_types *types,
			      const struct duplicates_options *options,
			      struct duplicates_result *ret);

/** What would be free if all but the largest of them went. */
static inline uint64_t duplicate_wasted(const struct duplicate *group)
{
	return group->size - group->largest;
}

#endif
