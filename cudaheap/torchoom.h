/*
 * What PyTorch's messages about memory of a device that ran out say, as numbers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The wording changed with the releases; the words around each number are what
 * it is known by. Numbers are rounded there: to two digits of their unit.
 *
 * Source: PyTorch c10/cuda/CUDACachingAllocator.cpp, CUDAMallocAsyncAllocator.cpp
 * of 1.13 to 2.15, in which "CUDA" may be another device's name.
 */
#ifndef CUDAHEAP_TORCHOOM_H
#define CUDAHEAP_TORCHOOM_H

#include <stdbool.h>
#include <stdint.h>

enum torch_oom_kind {
	TORCH_OOM_NONE,		/* it is about something else */
	TORCH_OOM_TRIED,	/* the driver had not enough, nor had the cache */
	TORCH_OOM_REJECTED,	/* more than set_per_process_memory_fraction() or
				   the like allows; the driver was not asked */
	TORCH_OOM_HUGE,		/* more than 1 EB: a size that went wrong */
	TORCH_OOM_ASYNC,	/* of cudaMallocAsync's pool */
	TORCH_OOM_DRIVER,	/* "CUDA error: out of memory": not the
				   allocator's: a context, a kernel, a library */
	TORCH_OOM_CPU,		/* the process's own memory */
};

/** Bytes, to within half of the last digit that was written. */
struct torch_oom_size {
	uint64_t bytes, error;
	bool known;
};

struct torch_oom {
	enum torch_oom_kind kind;
	char device_kind[8];	/* "CUDA", "HIP", "XPU"; "": not said */
	int device;		/* its number; -1: not said */
	struct torch_oom_size requested;
	struct torch_oom_size total;	/* memory of the device */
	struct torch_oom_size free;	/* of that, by the driver */
	struct torch_oom_size allowed;	/* that this process may have */
	struct torch_oom_size process;	/* that it has, with what is not PyTorch's */
	struct torch_oom_size others;	/* that other processes have, together */
	struct torch_oom_size allocated;	/* by tensors */
	struct torch_oom_size private_pools;	/* of that, in such */
	struct torch_oom_size cached;	/* reserved by PyTorch, and not allocated */
};

/** @return false: it is about something else; ret->kind then says so */
bool torch_oom_parse(const char *message, struct torch_oom *ret);

/** "20.00 MiB", "512 bytes" at the start of a text. */
bool torch_oom_parse_size(const char *text, struct torch_oom_size *ret);

/**
 * Is this a class of exceptions for it? "torch.OutOfMemoryError", and what it was
 * called before.
 */
bool torch_oom_is_class(const char *name);

#endif
