/*
 * Ranges that a program named with torch.autograd.profiler.record_function(),
 * where torch.cuda.memory._record_memory_history() was told to keep them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: PyTorch c10/cuda/CUDACachingAllocator.h of 2.5 to 2.15.
 */
#ifndef CUDAHEAP_TORCHANNOTATIONS_H
#define CUDAHEAP_TORCHANNOTATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "cudaheap/cachingallocator.h"

/** Ranges that the program named: pairs of texts, a device, a time. */
struct torch_annotations {
	uint64_t events, count, next;
	uint64_t unknown;	/* address of what there is, but is not known how;
				   0: there is no such thing */
};

void torch_annotations_find(struct memory_reader *memory,
			    const struct caching_allocator *allocator,
			    struct torch_annotations *ret);

/**
 * The i-th, the oldest first. fn gets addresses of std::strings.
 *
 * @return false: it is none, or was not captured; fn may have been called
 */
bool torch_annotation_each(struct memory_reader *memory,
			   const struct torch_annotations *annotations,
			   uint64_t i, int *ret_device, uint64_t *ret_time,
			   void (*fn)(void *context, uint64_t key,
				      uint64_t value),
			   void *context);

#endif
