/*
 * The section of the overview that is about memory of GPUs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of what PyTorch's allocator says of itself, which is little to read; whose it
 * is, `allocator` and `tensors` tell. Absent where there is none.
 */
#ifndef ANALYZER_OVERVIEW_GPU_H
#define ANALYZER_OVERVIEW_GPU_H

#include "analyzer/allocator/allocator.h"

struct scan;

struct overview_gpu {
	struct allocator *allocator;	/* NULL: it failed */
	struct error *why_not;		/* owned */
	size_t used[4];			/* devices that have memory, the first */
	size_t num_used, num_more;
};

/** Never fails: what went wrong is in gpu. */
void overview_gpu_gather(struct scan *scan, struct overview_gpu *gpu);
void overview_gpu_deinit(struct overview_gpu *gpu);

/** In the head: what the memory of each device is. */
void overview_gpu_head(struct scan *scan, const struct overview_gpu *gpu);
/** The section, and its lines for people with the gap. */
void overview_gpu_tell(struct scan *scan, const struct overview_gpu *gpu);
unsigned int overview_gpu_lines(const struct overview_gpu *gpu);

#endif
