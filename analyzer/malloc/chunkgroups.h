/*
 * Chunks of malloc summed up: by who holds them, and those that nobody does by
 * what they are.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_CHUNKGROUPS_H
#define ANALYZER_CHUNKGROUPS_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/malloc/chunkowners.h"

struct chunk_sum {
	uint64_t count, bytes;		/* of chunks, with their headers */
};

/** What one owner holds. */
struct chunk_group {
	enum chunk_owner owner;		/* OBJECT also for what else a type has */
	const struct pyh_type *type;
	const struct module *module;
	uint32_t tid;
	struct chunk_sum all;
	struct chunk_sum parts[CHUNK_NUM_OWNERS];	/* by how it holds them */
	struct chunk_sum inside;	/* only by pointers into their middle */
	uint64_t largest;		/* bytes of … */
	uint64_t sample;		/* … that chunk, the user's address */
};

struct chunk_groups {
	struct chunk_group *items;	/* largest first */
	size_t count;
};

struct error *chunk_groups_make(const struct chunkowners *owners,
				struct chunk_groups *ret);
void chunk_groups_deinit(struct chunk_groups *groups);

enum { CHUNK_SAMPLES = 3 };

/** Lost chunks of one size and class. */
struct lost_group {
	const char *symbol;		/* of the vtable that they begin with, or
					   NULL; the module's */
	uint64_t size;			/* of each chunk, with its header */
	struct chunk_sum heads;		/* that nothing leads to */
	struct chunk_sum with;		/* what is lost with them */
	uint64_t samples[CHUNK_SAMPLES];	/* the first ones, the user's
						   address; 0: no more */
};

struct lost_groups {
	struct lost_group *items;	/* largest first, with what is lost with
					   them */
	size_t count;
	struct chunk_sum heads, with;	/* of all */
};

/** @param image  that of owners */
struct error *lost_groups_make(const struct chunkowners *owners,
			       struct image *image, struct lost_groups *ret);
void lost_groups_deinit(struct lost_groups *groups);

#endif
