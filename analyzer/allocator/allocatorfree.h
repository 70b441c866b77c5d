/*
 * What the driver had free of a device: nothing in the process's memory says that,
 * but where memory ran out the allocator or its exception has noted it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What was noted is as of then. What the allocator has got or given back since is
 * taken off or added; what other processes did is not known.
 */
#ifndef ANALYZER_ALLOCATORFREE_H
#define ANALYZER_ALLOCATORFREE_H

#include "analyzer/allocator/allocator.h"
#include "cudaheap/torchoom.h"

struct scan;

/** As the option says, of each device. */
void allocator_free_told(struct allocator *allocator, uint64_t bytes);

/** By what each device's allocator has recorded. */
struct error *allocator_free_recorded(struct allocator *allocator,
				      const struct image *image);

/** By an exception's message, if it is about a device that nothing is known of. */
void allocator_free_said(struct allocator *allocator,
			 const struct torch_oom *oom);

/**
 * allocator_open(), with what the driver had free: by --device-free, or by what was
 * noted of it.
 */
struct error *allocator_open_scan(const struct scan *scan, bool with_tensors,
				  struct allocator **ret);

#endif
