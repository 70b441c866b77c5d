/*
 * Memory that processes have on GPUs; see gpu_memory.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: NVIDIA Management Library (NVML) API reference: the names, the
 * result codes and the layout of nvmlProcessInfo_v2_t, which version 3 of the
 * call fills as well.
 */
#include "image/live/gpu_memory.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "image/base/guard.h"

enum {
	SUCCESS = 0,
	NOT_SUPPORTED = 3,
	INSUFFICIENT_SIZE = 7,
	PROCESSES_MAX = 1 << 16,
	TRIES = 5,	/* processes come while room is made for them */
};

struct process_memory {
	unsigned int pid;
	unsigned long long used;	/* bytes; all ones: not to be had */
	unsigned int gpu_instance, compute_instance;
};

struct gpu_memory {
	void *library;
	int (*init)(void);
	int (*shutdown)(void);
	int (*count)(unsigned int *ret);
	int (*device)(unsigned int index, void **ret);
	int (*processes)(void *device, unsigned int *count,
			 struct process_memory *ret);
	const char *(*explain)(int code);
	unsigned int num_devices;
};

static struct error *failed(const struct gpu_memory *gpu, const char *what,
			    int code)
{
	return error_new(ERROR_UNSUPPORTED, "memory of GPUs: %s: %s", what,
			 gpu->explain(code));
}

static struct error *find_functions(struct gpu_memory *gpu)
{
	const struct {
		const char *name, *older;
		void *to;
	} wanted[] = {
		{ "nvmlInit_v2", NULL, &gpu->init },
		{ "nvmlShutdown", NULL, &gpu->shutdown },
		{ "nvmlDeviceGetCount_v2", NULL, &gpu->count },
		{ "nvmlDeviceGetHandleByIndex_v2", NULL, &gpu->device },
		{ "nvmlDeviceGetComputeRunningProcesses_v3",
		  "nvmlDeviceGetComputeRunningProcesses_v2", &gpu->processes },
		{ "nvmlErrorString", NULL, &gpu->explain },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		void *found = dlsym(gpu->library, wanted[i].name);

		if (!found && wanted[i].older)
			found = dlsym(gpu->library, wanted[i].older);
		if (!found)
			return error_new(ERROR_UNSUPPORTED, "memory of GPUs: "
					 "the driver's libnvidia-ml.so.1 has no "
					 "%s: it is too old", wanted[i].name);
		*(void **)wanted[i].to = found;
	}
	return NULL;
}

static struct error *open_library(struct gpu_memory *gpu)
{
	struct error *err;
	int code;

	gpu->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!gpu->library)
		return error_new(ERROR_UNSUPPORTED, "memory of GPUs: the "
				 "driver's library cannot be loaded: %s",
				 dlerror());
	err = find_functions(gpu);
	if (err)
		return err;
	code = gpu->init();
	if (code != SUCCESS) {
		gpu->shutdown = NULL;
		return failed(gpu, "starting the driver's library", code);
	}
	code = gpu->count(&gpu->num_devices);
	if (code != SUCCESS)
		return failed(gpu, "counting the GPUs", code);
	return gpu->num_devices > 0 ? NULL :
		error_new(ERROR_UNSUPPORTED, "memory of GPUs: there is no GPU");
}

struct error *gpu_memory_open(struct gpu_memory **ret)
{
	struct gpu_memory *gpu = calloc(1, sizeof(*gpu));
	struct error *err;

	if (!gpu)
		return error_no_memory();
	err = open_library(gpu);
	if (err) {
		gpu_memory_close(gpu);
		return err;
	}
	*ret = gpu;
	return NULL;
}

void gpu_memory_close(struct gpu_memory *gpu)
{
	if (!gpu)
		return;
	if (gpu->shutdown)
		(void)gpu->shutdown();
	if (gpu->library)
		(void)dlclose(gpu->library);
	free(gpu);
}

/** What runs on one device; a device that does not tell has nothing. */
static struct error *list_processes(const struct gpu_memory *gpu,
				    unsigned int index,
				    struct process_memory **ret,
				    unsigned int *ret_count)
{
	unsigned int room = 64, count = 0;
	void *device = NULL;
	int code = gpu->device(index, &device);

	for (int i = 0; code == SUCCESS && i < TRIES; i++) {
		CLEANUP(free_pointer) struct process_memory *list =
			calloc(room, sizeof(*list));

		if (!list)
			return error_no_memory();
		count = room;
		code = gpu->processes(device, &count, list);
		if (code == SUCCESS && count <= room) {
			*ret = TAKE(list);
			*ret_count = count;
			return NULL;
		}
		if (code == INSUFFICIENT_SIZE && count < PROCESSES_MAX) {
			room = count + 16;
			code = SUCCESS;
		}
	}
	if (code == NOT_SUPPORTED) {
		*ret_count = 0;
		return NULL;
	}
	return failed(gpu, "listing the processes of a GPU", code);
}

struct error *gpu_memory_read(const struct gpu_memory *gpu, const pid_t *pids,
			      size_t num_pids, uint64_t *ret)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < gpu->num_devices; i++) {
		CLEANUP(free_pointer) struct process_memory *list = NULL;
		unsigned int count = 0;
		struct error *err = list_processes(gpu, i, &list, &count);

		if (err)
			return err;
		for (unsigned int k = 0; k < count; k++)
			for (size_t at = 0; at < num_pids; at++)
				if (list[k].pid == (unsigned int)pids[at] &&
				    list[k].used != ~0ULL)
					sum += list[k].used;
	}
	*ret = sum;
	return NULL;
}
