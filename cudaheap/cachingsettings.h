/*
 * What PyTorch's caching allocator was told, and of which devices it knows: for
 * cachingallocator.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CUDAHEAP_CACHINGSETTINGS_H
#define CUDAHEAP_CACHINGSETTINGS_H

#include "cudaheap/cachingallocator.h"

/** Fill in settings, and names and memory of devices, as far as they are found. */
void caching_settings_read(struct image *image, struct memory_reader *memory,
			   struct caching_allocator *allocator);

#endif
