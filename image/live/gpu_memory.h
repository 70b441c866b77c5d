/*
 * Memory that processes have on GPUs, by the driver's own library (NVML).
 * SPDX-License-Identifier: Apache-2.0
 *
 * The library is looked for when this is first asked, so that programs run
 * without it.
 */
#ifndef LIVE_GPU_MEMORY_H
#define LIVE_GPU_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"

struct gpu_memory;

/** ERROR_UNSUPPORTED where there is no such library, driver or GPU. */
struct error *gpu_memory_open(struct gpu_memory **ret);
void gpu_memory_close(struct gpu_memory *gpu);

/** Bytes of all these processes on all GPUs together. */
struct error *gpu_memory_read(const struct gpu_memory *gpu, const pid_t *pids,
			      size_t num_pids, uint64_t *ret);

#endif
