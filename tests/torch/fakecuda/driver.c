/* libcuda.so.1 of the fake CUDA: what PyTorch asks of the driver by name, most
 * of it for expandable segments. The rest is stubs that are not supported.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fake.h"


int cuInit(unsigned flags)
{
	(void)flags;
	return fake_devices() ? 0 : FAKE_NO_DEVICE;
}

int cuDriverGetVersion(int *version)
{
	*version = 13090;
	return 0;
}

int cuGetErrorString(int error, const char **text)
{
	*text = error == FAKE_OUT_OF_MEMORY ? "out of memory" :
		error == FAKE_NOT_SUPPORTED ? "operation not supported" :
		error ? "an error of the fake CUDA" : "no error";
	return 0;
}

int cuGetErrorName(int error, const char **text)
{
	return cuGetErrorString(error, text);
}

/* ---- Devices and contexts */

int cuDeviceGetCount(int *count)
{
	*count = fake_devices();
	return 0;
}

int cuDeviceGet(int *device, int ordinal)
{
	*device = ordinal;
	return ordinal < fake_devices() ? 0 : FAKE_BAD_DEVICE;
}

int cuDeviceGetUuid(char *uuid, int device)
{
	fake_uuid(uuid, device);
	return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
	(void)device;
	*value = fake_attribute(attribute);
	return 0;
}

int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active)
{
	*flags = 0;
	*active = fake_has_context(device);
	return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
	static char contexts[FAKE_MAX_DEVICES];

	fake_use(device);
	*context = &contexts[device];
	return 0;
}

int cuCtxGetCurrent(void **context)
{
	return cuDevicePrimaryCtxRetain(context, 0);
}

int cuCtxSetCurrent(void *context)
{
	(void)context;
	return 0;
}

/* ---- Memory */

/* Of CUmemAllocationProp what is used here. */
struct allocation {
	int type, handle_types;
	struct {
		int type, id;
	} location;
};

int cuMemGetAllocationGranularity(size_t *size, const void *properties,
				  int option)
{
	(void)properties;
	(void)option;
	*size = FAKE_GRANULARITY;
	return 0;
}

int cuMemAddressReserve(void **address, size_t size, size_t alignment,
			uintptr_t hint, unsigned long long flags)
{
	(void)alignment;
	(void)flags;
	return fake_reserve(size, hint, address);
}

int cuMemAddressFree(void *address, size_t size)
{
	return fake_unreserve(address, size);
}

int cuMemCreate(struct fake_physical **handle, size_t size,
		const struct allocation *properties, unsigned long long flags)
{
	int device = properties->location.id;

	(void)flags;
	if (device < 0 || device >= fake_devices())
		return FAKE_BAD_DEVICE;
	return fake_create(device, size, handle);
}

int cuMemRelease(struct fake_physical *handle)
{
	return fake_destroy(handle);
}

int cuMemMap(void *address, size_t size, size_t offset,
	     struct fake_physical *handle, unsigned long long flags)
{
	(void)flags;
	return offset ? FAKE_INVALID : fake_map(address, size, handle);
}

int cuMemUnmap(void *address, size_t size)
{
	return fake_unmap(address, size);
}

/* It is readable as soon as it is mapped. */
int cuMemSetAccess(void *address, size_t size, const void *who, size_t count)
{
	(void)address, (void)size, (void)who, (void)count;
	return 0;
}

int cuMemGetAddressRange_v2(void **begin, size_t *size, const void *address)
{
	size_t length;
	void *start;
	int device;

	if (fake_lookup(address, &start, &length, &device) != FAKE_DEVICE)
		return FAKE_INVALID;
	if (begin)
		*begin = start;
	if (size)
		*size = length;
	return 0;
}

int cuPointerGetAttribute(void *value, int attribute, const void *address)
{
	size_t size;
	void *begin;
	int device = 0, kind = fake_lookup(address, &begin, &size, &device);

	if (kind == FAKE_UNKNOWN)
		return FAKE_INVALID;
	switch (attribute) {
	case 2:				/* type of memory */
		*(unsigned *)value = kind == FAKE_DEVICE ? 2 : 1;
		return 0;
	case 9:				/* ordinal of the device */
		*(int *)value = device;
		return 0;
	default:
		return FAKE_NOT_SUPPORTED;
	}
}

/* ---- Kernels */

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz,
		   unsigned bx, unsigned by, unsigned bz, unsigned shared,
		   void *stream, void **arguments, void **more)
{
	(void)function, (void)gx, (void)gy, (void)gz, (void)bx, (void)by;
	(void)bz, (void)shared, (void)arguments, (void)more;
	fake_stream_work(stream);
	return 0;
}

int cuFuncGetAttribute(int *value, int attribute, void *function)
{
	(void)function;
	*value = attribute == 0 ? 1024 : 0;
	return 0;
}

int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function,
						int size, size_t shared)
{
	(void)function, (void)size, (void)shared;
	*blocks = 2;
	return 0;
}

static char something;

int cuModuleLoadData(void **module, const void *image)
{
	(void)image;
	*module = &something;
	return 0;
}

int cuModuleLoadDataEx(void **module, const void *image, unsigned count,
		       int *options, void **values)
{
	(void)count, (void)options, (void)values;
	return cuModuleLoadData(module, image);
}

int cuModuleGetFunction(void **function, void *module, const char *name)
{
	(void)module, (void)name;
	*function = &something;
	return 0;
}
