/*
 * One device of PyTorch's caching allocator: for cachingallocator.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CUDAHEAP_CACHINGDEVICE_H
#define CUDAHEAP_CACHINGDEVICE_H

#include "cudaheap/cachingallocator.h"

/** Are there two pools, as a device's allocator has them? */
bool caching_device_is(struct memory_reader *memory, uint64_t address);

/**
 * Read it: address, size and index are set, the rest is filled in. What is damaged
 * is a finding.
 *
 * @return errors are those of this machine
 */
struct error *caching_device_read(struct image *image,
				  struct memory_reader *memory,
				  struct torch_device *device);
/** The statistics alone, once the layout is known. */
void caching_stats_read(struct memory_reader *memory,
			struct torch_device *device);

void caching_device_deinit(struct torch_device *device);

#endif
