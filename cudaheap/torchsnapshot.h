/*
 * What torch.cuda.memory._snapshot() of a process would have returned, as a
 * pickle: segments and blocks of each device, what was recorded of their past,
 * settings, annotations.
 * SPDX-License-Identifier: Apache-2.0
 *
 * With the keys of the release that the process has, so that what reads its own
 * snapshots reads this. Written as it is read: nothing of it is kept in memory.
 *
 * Source: PyTorch torch/csrc/cuda/Module.cpp (THCPModule_memorySnapshot),
 * c10/cuda/CUDACachingAllocator.cpp of 1.13 to 2.15.
 */
#ifndef CUDAHEAP_TORCHSNAPSHOT_H
#define CUDAHEAP_TORCHSNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cudaheap/cachingallocator.h"
#include "image/base/error.h"
#include "image/base/findings.h"
#include "image/base/pickle.h"
#include "image/memory.h"

/** "2.6.0+cu124" as 206; 0: it is none. */
unsigned int torch_release_parse(const char *text);

struct torch_snapshot_source {
	const struct caching_allocator *allocator;
	struct memory_reader *memory;
	struct image *image;
	struct findings *findings;	/* what cannot be read is told there */
	unsigned int release;		/* as torch_release_parse(); 0: not known,
					   then it is told by the structures */
	/* Write the list of frames of a GatheredContext under a key. Called with
	   the same one again and again. */
	void (*frames)(void *context, struct pickle *pickle, const char *key,
		       uint64_t gathered);
	void *context;
	/* Of the findings, those from here on go into the file, under a key that
	   no release has, and what is missing of the image is told there. */
	size_t first_finding;
	bool partial;
};

struct torch_snapshot_counts {
	uint64_t segments, blocks, events, annotations;
	uint64_t unread;	/* events and annotations that could not be read */
	bool recorded;		/* there are events, or contexts of blocks */
	bool clock_unknown;	/* events have times, and nothing says what those
				   mean: they are counts of cycles */
	bool partial;		/* the file says that it is */
};

/** Write errors stay in ferror(out). */
struct error *torch_snapshot_write(const struct torch_snapshot_source *source,
				   FILE *out,
				   struct torch_snapshot_counts *ret);

#endif
