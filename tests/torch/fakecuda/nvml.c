/* libnvidia-ml.so.1 of the fake CUDA: what PyTorch asks of it, to count devices
 * and to tell of an out-of-memory what else uses the device.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOT_FOUND = 6 };

int nvmlInit(void)
{
	return 0;
}

int nvmlInit_v2(void)
{
	return 0;
}

int nvmlShutdown(void)
{
	return 0;
}

const char *nvmlErrorString(int error)
{
	return error ? "an error of the fake NVML" : "Success";
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
	*version = 13090;
	return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
	*count = fake_devices();
	return 0;
}

/* A handle is the number of the device and one. */
static int handle_of(long device, void **handle)
{
	if (device < 0 || device >= fake_devices())
		return NOT_FOUND;
	*handle = (void *)(device + 1);
	return 0;
}

static int device_of(void *handle)
{
	return (int)(uintptr_t)handle - 1;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
	return handle_of(index, handle);
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *text, void **handle)
{
	const char *bus = strchr(text, ':');

	return bus ? handle_of(strtol(bus + 1, NULL, 16) - 1, handle) :
		NOT_FOUND;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned size)
{
	snprintf(text, size, "GPU-66616b65-6375-6461-0000-%012d",
		 device_of(handle));
	return 0;
}

/* No fabric joins them: all of it is 0 that versions of the struct share, behind
   the version. 2.13 asks before it makes an expandable segment. */
int nvmlDeviceGetGpuFabricInfoV(void *handle, void *info)
{
	enum { VERSION = 4, SHARED = 29 };

	(void)handle;
	memset((char *)info + VERSION, 0, SHARED - VERSION);
	return 0;
}

/* This one. What FAKECUDA_OTHERS says is nobody's. */
int nvmlDeviceGetComputeRunningProcesses(void *handle, unsigned *count,
					 void *processes)
{
	struct {
		unsigned pid;
		unsigned long long used;
	} one = { getpid(), 0 };

	one.used = fake_used(device_of(handle));
	if (*count < 1) {
		*count = 1;
		return 7;	/* insufficient size */
	}
	memcpy(processes, &one, sizeof(one));
	*count = 1;
	return 0;
}
