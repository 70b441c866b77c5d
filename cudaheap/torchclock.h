/*
 * The clock of the events that PyTorch's allocators record.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: PyTorch c10/util/ApproximateClock.h of 2.1 to 2.15.
 */
#ifndef CUDAHEAP_TORCHCLOCK_H
#define CUDAHEAP_TORCHCLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"

/**
 * Events have the processor's count of cycles. What that is in time was measured
 * when the allocator was made, over some tens of microseconds, which gives how
 * long a cycle is to about 1 in 100,000: PyTorch measures once more when asked.
 */
struct torch_clock {
	bool is_known;
	double rate;		/* ns of a cycle */
	uint64_t cycles;	/* at … */
	int64_t ns;		/* … this time, since 1970 */
};

/** By the measurements in an allocator's object. */
void torch_clock_find(struct memory_reader *memory, uint64_t allocator,
		      struct torch_clock *ret);

/** Microseconds since 1970; the count itself where the clock is not known. */
int64_t torch_clock_us(const struct torch_clock *clock, uint64_t count);

#endif
