/*
 * What the rows of `allocator` have in common: names of pools, streams, owners.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_ALLOCATORWORDS_H
#define ANALYZER_ALLOCATORWORDS_H

#include "analyzer/allocator/allocator.h"

struct scan;

enum { ALLOCATOR_POOL_MAX = 64 };

/** "native", "cudaMallocAsync"; NULL: there is none. */
const char *allocator_kind_name(enum caching_kind kind);

/** "large", "small (0, 1)": of a private pool. */
const char *allocator_pool_text(bool small, bool private, const uint64_t id[2],
				char text[ALLOCATOR_POOL_MAX]);

/** "0", or in hexadecimal. */
const char *allocator_stream_text(uint64_t stream,
				  char text[ALLOCATOR_POOL_MAX]);

/* What texts are borrowed from. */
struct allocator_text {
	char path[TENSOR_PATH_MAX];
	char guess[ALLOCATOR_OWNER_MAX];
};

/**
 * Where the tensor in a block is, or who most likely has the block.
 *
 * @param ret  NULL: not known, as tensors could not be had
 */
struct error *allocator_owner_text(const struct allocator *allocator,
				   size_t device, uint32_t block,
				   struct allocator_text *text,
				   const char **ret);

/** On standard error: why there is nothing, or less than there could be. */
void allocator_remark(const struct scan *scan,
		      const struct allocator *allocator);

#endif
