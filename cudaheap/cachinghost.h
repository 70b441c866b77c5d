/*
 * PyTorch's allocator of pinned memory of the host: its blocks, and what it has
 * recorded.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One for the process. Blocks are never cut: each is what was got from the driver,
 * and is kept for who asks for as much. Laid out as from 2.14 on, when it came
 * into snapshots; that the structures are those shows in each block, which has a
 * table in its middle, and in two tables that have the same blocks.
 *
 * Source: PyTorch aten/src/ATen/core/CachingHostAllocator.h,
 * aten/src/ATen/cuda/CachingHostAllocator.cpp of 2.14 and 2.15.
 */
#ifndef CUDAHEAP_CACHINGHOST_H
#define CUDAHEAP_CACHINGHOST_H

#include "cudaheap/cachingallocator.h"

struct torch_host_block {
	uint64_t address;	/* of the HostBlock */
	uint64_t data;		/* of its bytes, in the process */
	uint64_t size;		/* bytes */
	uint64_t pool[2];	/* MempoolId_t */
	uint64_t context;	/* c10::GatheredContext of who asked; 0: none */
	uint8_t state;		/* enum caching_state; never CACHING_UNMAPPED */
};

struct caching_host {
	uint64_t address;	/* of the object; 0: there is none that is known */
	struct torch_host_block *blocks;	/* in the order of its tables */
	size_t num_blocks;
};

/** What cannot be read of it is a finding. */
struct error *caching_host_read(struct image *image,
				struct memory_reader *memory,
				struct caching_host *ret);
void caching_host_deinit(struct caching_host *host);

#endif
