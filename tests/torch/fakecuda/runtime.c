/* libcudart of the fake CUDA: the functions of the runtime that do something.
 *
 * Compiled for one major version at a time (CUDART_MAJOR: 11, 12, 13), whose
 * structures and a few signatures differ. The offsets of cudaDeviceProp are
 * offsetof() in NVIDIA's cuda_runtime_api.h 11.8, 12.4 and 13.0. Whatever else
 * PyTorch needs of the runtime is a stub of make_stubs.py that returns 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fake.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct dim3 {
	unsigned x, y, z;
};

static __thread int current_device;
static __thread int last_error;

/* What every function returns: an error is remembered, as
 * cudaGetLastError() tells it. */
static int result(int error)
{
	if (error && error != FAKE_NOT_READY)
		last_error = error;
	return error;
}

/* ---- Errors */

int cudaGetLastError(void)
{
	int error = last_error;

	last_error = 0;
	return error;
}

int cudaPeekAtLastError(void)
{
	return last_error;
}

static const struct {
	int error;
	const char *name, *text;
} errors[] = {
	{ 0, "cudaSuccess", "no error" },
	{ FAKE_INVALID, "cudaErrorInvalidValue", "invalid argument" },
	{ FAKE_OUT_OF_MEMORY, "cudaErrorMemoryAllocation", "out of memory" },
	{ FAKE_NO_DEVICE, "cudaErrorNoDevice",
	  "no CUDA-capable device is detected" },
	{ FAKE_BAD_DEVICE, "cudaErrorInvalidDevice", "invalid device ordinal" },
	{ FAKE_NOT_READY, "cudaErrorNotReady", "device not ready" },
	{ FAKE_NOT_SUPPORTED, "cudaErrorNotSupported",
	  "operation not supported" },
};

static const char *about(int error, bool text)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (errors[i].error == error)
			return text ? errors[i].text : errors[i].name;
	return "an error of the fake CUDA";
}

const char *cudaGetErrorString(int error)
{
	return about(error, true);
}

const char *cudaGetErrorName(int error)
{
	return about(error, false);
}

/* ---- Versions and devices */

int cudaRuntimeGetVersion(int *version)
{
	*version = CUDART_MAJOR * 1000;
	return 0;
}

int cudaDriverGetVersion(int *version)
{
	*version = CUDART_MAJOR * 1000 + 90;
	return 0;
}

int cudaGetDeviceCount(int *count)
{
	*count = fake_devices();
	return result(*count ? 0 : FAKE_NO_DEVICE);
}

int cudaGetDevice(int *device)
{
	*device = current_device;
	return result(fake_devices() ? 0 : FAKE_NO_DEVICE);
}

int cudaSetDevice(int device)
{
	if (device < 0 || device >= fake_devices())
		return result(fake_devices() ? FAKE_BAD_DEVICE :
			      FAKE_NO_DEVICE);
	current_device = device;
	if (CUDART_MAJOR >= 12)
		fake_use(device);
	return 0;
}

#define PUT(offset, type, value) \
	(*(type *)((char *)properties + (offset)) = (value))

static int properties_of(void *properties, int device)
{
	char *name = properties;

	if (device < 0 || device >= fake_devices())
		return result(FAKE_BAD_DEVICE);
	memset(properties, 0, CUDART_MAJOR == 11 ? 728 :
	       CUDART_MAJOR == 12 ? 1032 : 1008);
	snprintf(name, 256, "Fake GPU %d", device);
	fake_uuid(name + 256, device);
	PUT(288, size_t, fake_capacity());
	PUT(296, size_t, fake_attribute(8));
	PUT(304, int, fake_attribute(12));
	PUT(308, int, fake_attribute(10));
	PUT(312, size_t, 0x7fffffff);		/* memPitch */
	PUT(320, int, fake_attribute(1));
	for (int i = 0; i < 3; i++) {
		PUT(324 + 4 * i, int, fake_attribute(2 + i));
		PUT(336 + 4 * i, int, fake_attribute(5 + i));
	}
	PUT(352, size_t, fake_attribute(9));
	PUT(360, int, fake_attribute(75));
	PUT(364, int, fake_attribute(76));
	PUT(368, size_t, 512);			/* textureAlignment */
#if CUDART_MAJOR < 13
	PUT(348, int, fake_attribute(13));
	PUT(388, int, fake_attribute(16));
	PUT(400, int, 1);			/* canMapHostMemory */
	PUT(576, int, 1);			/* concurrentKernels */
	PUT(584, int, device + 1);		/* pciBusID */
	PUT(600, int, fake_attribute(40));
	PUT(604, int, 1);			/* unifiedAddressing */
	PUT(608, int, fake_attribute(36));
	PUT(612, int, fake_attribute(37));
	PUT(616, int, fake_attribute(38));
	PUT(624, int, fake_attribute(39));
	PUT(640, size_t, fake_attribute(81));
	PUT(648, int, fake_attribute(82));
	PUT(652, int, fake_attribute(83));
	PUT(688, int, fake_attribute(95));
	PUT(696, size_t, fake_attribute(97));
	PUT(712, int, fake_attribute(106));
#else
	PUT(384, int, fake_attribute(16));
	PUT(392, int, 1);
	PUT(560, int, 1);
	PUT(568, int, device + 1);
	PUT(584, int, fake_attribute(40));
	PUT(588, int, 1);
	PUT(592, int, fake_attribute(37));
	PUT(596, int, fake_attribute(38));
	PUT(604, int, fake_attribute(39));
	PUT(624, size_t, fake_attribute(81));
	PUT(632, int, fake_attribute(82));
	PUT(636, int, fake_attribute(83));
	PUT(668, int, fake_attribute(95));
	PUT(672, size_t, fake_attribute(97));
	PUT(688, int, fake_attribute(106));
#endif
	return 0;
}

int cudaGetDeviceProperties(void *properties, int device)
{
	return properties_of(properties, device);
}

int cudaGetDeviceProperties_v2(void *properties, int device)
{
	return properties_of(properties, device);
}

int cudaDeviceGetAttribute(int *value, int attribute, int device)
{
	if (device < 0 || device >= fake_devices())
		return result(FAKE_BAD_DEVICE);
	*value = fake_attribute(attribute);
	return 0;
}

int cudaDeviceGetPCIBusId(char *text, int size, int device)
{
	snprintf(text, size, "0000:%02x:00.0", device + 1);
	return 0;
}

int cudaDeviceGetByPCIBusId(int *device, const char *text)
{
	*device = (int)strtol(text + 5, NULL, 16) - 1;
	return 0;
}

int cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
	*can = device != peer;
	return 0;
}

int cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
	*least = 0;
	*greatest = -5;
	return 0;
}

int cudaDeviceSynchronize(void)
{
	fake_use(current_device);
	fake_device_wait();
	return 0;
}

/* A function of the driver by its name. */
static int entry_point(const char *name, void **function, int *status)
{
	void *driver = dlopen("libcuda.so.1", RTLD_LAZY);
	char variant[256];

	*function = NULL;
	for (int version = 3; driver && !*function && version; version--) {
		snprintf(variant, sizeof(variant), version > 1 ? "%s_v%d" :
			 "%s", name, version);
		*function = dlsym(driver, variant);
	}
	if (status)
		*status = *function ? 0 : 1;
	return 0;
}

int cudaGetDriverEntryPoint(const char *name, void **function,
			    unsigned long long flags, int *status)
{
	(void)flags;
	return entry_point(name, function, status);
}

int cudaGetDriverEntryPointByVersion(const char *name, void **function,
				     unsigned version, unsigned long long flags,
				     int *status)
{
	(void)version;
	(void)flags;
	return entry_point(name, function, status);
}

/* ---- Memory */

int cudaMemGetInfo(size_t *left, size_t *all)
{
	fake_use(current_device);
	*left = fake_free(current_device);
	*all = fake_capacity();
	return 0;
}

int cudaMalloc(void **memory, size_t size)
{
	if (!fake_devices())
		return result(FAKE_NO_DEVICE);
	return result(fake_malloc(current_device, size, memory));
}

int cudaMallocManaged(void **memory, size_t size, unsigned flags)
{
	(void)flags;
	return cudaMalloc(memory, size);
}

int cudaFree(void *memory)
{
	fake_use(current_device);
	return result(fake_release(memory));
}

int cudaHostAlloc(void **memory, size_t size, unsigned flags)
{
	(void)flags;
	return result(fake_host_alloc(size, memory));
}

int cudaMallocHost(void **memory, size_t size)
{
	return cudaHostAlloc(memory, size, 0);
}

int cudaFreeHost(void *memory)
{
	return result(fake_host_free(memory));
}

int cudaHostRegister(void *memory, size_t size, unsigned flags)
{
	(void)flags;
	return result(fake_host_register(memory, size));
}

int cudaHostUnregister(void *memory)
{
	return result(fake_host_unregister(memory));
}

int cudaHostGetDevicePointer(void **device, void *host, unsigned flags)
{
	(void)flags;
	*device = host;
	return 0;
}

int cudaPointerGetAttributes(void *attributes, const void *memory)
{
	struct {
		int type, device;
		void *on_device, *on_host;
	} told = { .device = -2 };
	void *begin;
	size_t size;

	told.type = fake_lookup(memory, &begin, &size, &told.device);
	if (told.type != FAKE_UNKNOWN)
		told.on_device = (void *)memory;
	if (told.type != FAKE_DEVICE)
		told.on_host = (void *)memory;
	memcpy(attributes, &told, sizeof(told));
	return 0;
}

/* Each copy is one of host memory. */
static int copy(void *to, const void *from, size_t size, void *stream)
{
	memmove(to, from, size);
	fake_stream_work(stream);
	return 0;
}

int cudaMemcpy(void *to, const void *from, size_t size, int kind)
{
	(void)kind;
	return copy(to, from, size, NULL);
}

int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind,
		    void *stream)
{
	(void)kind;
	return copy(to, from, size, stream);
}

int cudaMemcpyPeerAsync(void *to, int device, const void *from, int other,
			size_t size, void *stream)
{
	(void)device;
	(void)other;
	return copy(to, from, size, stream);
}

int cudaMemcpy2DAsync(void *to, size_t pitch, const void *from, size_t other,
		      size_t width, size_t height, int kind, void *stream)
{
	(void)kind;
	for (size_t i = 0; i < height; i++)
		memmove((char *)to + i * pitch, (char *)from + i * other,
			width);
	fake_stream_work(stream);
	return 0;
}

int cudaMemcpy2D(void *to, size_t pitch, const void *from, size_t other,
		 size_t width, size_t height, int kind)
{
	return cudaMemcpy2DAsync(to, pitch, from, other, width, height, kind,
				 NULL);
}

/* Whole pages that are to be zero are given back: they cost nothing then. */
static void set(char *to, int byte, size_t size)
{
	size_t head = -(uintptr_t)to & 4095;
	size_t pages = size > head ? (size - head) & ~(size_t)4095 : 0;
	void *begin;
	size_t whole;
	int device;

	if (byte || !pages ||
	    fake_lookup(to, &begin, &whole, &device) != FAKE_DEVICE ||
	    madvise(to + head, pages, MADV_DONTNEED) != 0) {
		memset(to, byte, size);
		return;
	}
	memset(to, byte, head);
	memset(to + head + pages, byte, size - head - pages);
}

int cudaMemset(void *to, int byte, size_t size)
{
	set(to, byte, size);
	return 0;
}

int cudaMemsetAsync(void *to, int byte, size_t size, void *stream)
{
	set(to, byte, size);
	fake_stream_work(stream);
	return 0;
}

/* The allocator that comes with CUDA (backend:cudaMallocAsync). */

int cudaMallocAsync(void **memory, size_t size, void *stream)
{
	(void)stream;
	return cudaMalloc(memory, size);
}

int cudaFreeAsync(void *memory, void *stream)
{
	(void)stream;
	return cudaFree(memory);
}

int cudaDeviceGetDefaultMemPool(void **pool, int device)
{
	static char pools[FAKE_MAX_DEVICES];

	*pool = &pools[device];
	return 0;
}

int cudaMemPoolGetAttribute(void *pool, int attribute, void *value)
{
	(void)pool;
	/* The first three are ints, the others of 64 bits. */
	memset(value, 0, attribute <= 3 ? sizeof(int) : sizeof(uint64_t));
	return 0;
}

int cudaIpcGetMemHandle(void *handle, void *memory)
{
	(void)memory;
	(void)handle;
	return result(FAKE_NOT_SUPPORTED);
}

/* ---- Streams */

int cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority)
{
	(void)flags;
	*stream = fake_stream_new(current_device, priority);
	return 0;
}

int cudaStreamCreateWithFlags(void **stream, unsigned flags)
{
	return cudaStreamCreateWithPriority(stream, flags, 0);
}

int cudaStreamCreate(void **stream)
{
	return cudaStreamCreateWithPriority(stream, 0, 0);
}

int cudaStreamDestroy(void *stream)
{
	fake_stream_end(stream);
	return 0;
}

int cudaStreamGetPriority(void *stream, int *priority)
{
	*priority = fake_stream_priority(stream);
	return 0;
}

int cudaStreamQuery(void *stream)
{
	return result(fake_stream_query(stream));
}

int cudaStreamSynchronize(void *stream)
{
	fake_stream_wait(stream);
	return 0;
}

int cudaStreamWaitEvent(void *stream, void *event, unsigned flags)
{
	(void)flags;
	fake_stream_wait_event(stream, event);
	return 0;
}

int cudaStreamAddCallback(void *stream, void (*callback)(void *, int, void *),
			  void *data, unsigned flags)
{
	(void)flags;
	callback(stream, 0, data);
	return 0;
}

int cudaLaunchHostFunc(void *stream, void (*function)(void *), void *data)
{
	fake_stream_work(stream);
	function(data);
	return 0;
}

/* ---- Events */

int cudaEventCreateWithFlags(void **event, unsigned flags)
{
	(void)flags;
	*event = fake_event_new();
	return 0;
}

int cudaEventCreate(void **event)
{
	return cudaEventCreateWithFlags(event, 0);
}

int cudaEventDestroy(void *event)
{
	fake_event_end(event);
	return 0;
}

int cudaEventRecord(void *event, void *stream)
{
	fake_event_record(event, stream);
	return 0;
}

int cudaEventRecordWithFlags(void *event, void *stream, unsigned flags)
{
	(void)flags;
	return cudaEventRecord(event, stream);
}

int cudaEventQuery(void *event)
{
	return result(fake_event_query(event));
}

int cudaEventSynchronize(void *event)
{
	fake_event_wait(event);
	return 0;
}

int cudaEventElapsedTime(float *milliseconds, void *from, void *to)
{
	*milliseconds = fake_event_between(from, to);
	return 0;
}

/* ---- Graphs */

int cudaStreamBeginCapture(void *stream, int mode)
{
	(void)mode;
	return result(fake_capture_begin(stream, NULL));
}

int cudaStreamBeginCaptureToGraph(void *stream, void *graph, const void *nodes,
				  const void *edges, size_t count, int mode)
{
	(void)nodes;
	(void)edges;
	(void)count;
	(void)mode;
	return result(fake_capture_begin(stream, graph));
}

int cudaStreamEndCapture(void *stream, void **graph)
{
	*graph = NULL;
	return result(fake_capture_end(stream, (struct fake_graph **)graph));
}

int cudaStreamIsCapturing(void *stream, int *status)
{
	uint64_t id;

	*status = fake_capturing(stream, &id) != NULL;
	return 0;
}

/* All of the results but status may be left out. */
static int capture_info(void *stream, int *status, unsigned long long *id,
			void **graph, const void ***nodes, const void **edges,
			size_t *count)
{
	uint64_t number = 0;
	void *into = fake_capturing(stream, &number);

	*status = into != NULL;
	if (id)
		*id = number;
	if (graph)
		*graph = into;
	if (nodes)
		*nodes = NULL;
	if (edges)
		*edges = NULL;
	if (count)
		*count = 0;
	return 0;
}

int cudaStreamGetCaptureInfo_v2(void *stream, int *status,
				unsigned long long *id, void **graph,
				const void ***nodes, size_t *count)
{
	return capture_info(stream, status, id, graph, nodes, NULL, count);
}

int cudaStreamGetCaptureInfo_v3(void *stream, int *status,
				unsigned long long *id, void **graph,
				const void ***nodes, const void **edges,
				size_t *count)
{
	return capture_info(stream, status, id, graph, nodes, edges, count);
}

#if CUDART_MAJOR >= 13
int cudaStreamGetCaptureInfo(void *stream, int *status, unsigned long long *id,
			     void **graph, const void ***nodes,
			     const void **edges, size_t *count)
{
	return capture_info(stream, status, id, graph, nodes, edges, count);
}
#else
int cudaStreamGetCaptureInfo(void *stream, int *status, unsigned long long *id)
{
	return capture_info(stream, status, id, NULL, NULL, NULL, NULL);
}
#endif

int cudaThreadExchangeStreamCaptureMode(int *mode)
{
	static __thread int current;
	int before = current;

	current = *mode;
	*mode = before;
	return 0;
}

int cudaGraphCreate(void **graph, unsigned flags)
{
	(void)flags;
	*graph = fake_graph_new();
	return 0;
}

int cudaGraphDestroy(void *graph)
{
	fake_graph_end(graph);
	return 0;
}

/* Which nodes there are nobody asks, only how many. */
int cudaGraphGetNodes(void *graph, void **nodes, size_t *count)
{
	if (!nodes)
		*count = fake_graph_nodes(graph);
	else
		memset(nodes, 0, *count * sizeof(*nodes));
	return 0;
}

#if CUDART_MAJOR >= 12
int cudaGraphInstantiate(void **executable, void *graph,
			 unsigned long long flags)
{
	(void)flags;
#else
int cudaGraphInstantiate(void **executable, void *graph, void **node,
			 char *log, size_t size)
{
	(void)node;
	(void)log;
	(void)size;
#endif
	(void)graph;
	*executable = malloc(1);
	return 0;
}

int cudaGraphInstantiateWithFlags(void **executable, void *graph,
				  unsigned long long flags)
{
	(void)graph;
	(void)flags;
	*executable = malloc(1);
	return 0;
}

int cudaGraphExecDestroy(void *executable)
{
	free(executable);
	return 0;
}

struct user_object {
	void (*destroy)(void *);
	void *data;
};

int cudaUserObjectCreate(void **object, void *data, void (*destroy)(void *),
			 unsigned count, unsigned flags)
{
	struct user_object *made = malloc(sizeof(*made));

	(void)count;
	(void)flags;
	*made = (struct user_object){ destroy, data };
	*object = made;
	return 0;
}

int cudaGraphRetainUserObject(void *graph, void *object, unsigned count,
			      unsigned flags)
{
	struct user_object *kept = object;

	(void)count;
	(void)flags;
	fake_graph_keep(graph, kept->destroy, kept->data);
	free(kept);
	return 0;
}

/* ---- A runtime that is linked into a library of PyTorch's: that of 1.13 has one
 * in libc10_cuda.so and in libtorch_python.so. Their functions are known by name and address, and are made
 * to jump here, in memory. */

/* Of make_stubs.py; the last one has no library. */
extern const struct {
	const char *library;
	unsigned long at;
	void *to;
} fake_patches[];

static int patch(struct dl_phdr_info *about, size_t size, void *unused)
{
	const char *name = strrchr(about->dlpi_name, '/');

	(void)size, (void)unused;
	for (size_t i = 0; name && fake_patches[i].library; i++) {
		/* jmp *0(%rip), and where to. */
		unsigned char code[14] = { 0xff, 0x25 };
		char *at = (char *)about->dlpi_addr + fake_patches[i].at;
		char *page = (char *)((uintptr_t)at & ~(uintptr_t)4095);

		if (strcmp(name + 1, fake_patches[i].library) != 0)
			continue;
		memcpy(code + 6, &fake_patches[i].to, 8);
		if (mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC))
			abort();
		memcpy(at, code, sizeof(code));
		mprotect(page, 8192, PROT_READ | PROT_EXEC);
	}
	return 0;
}

/* ---- Kernels */

/* PyTorch's spin kernel, in each library that has one. */
static const void *spinning[8];

void **__cudaRegisterFatBinary(void *binary)
{
	static void *handle;
	static bool patched;

	(void)binary;
	/* Called as libraries that need the patched one are loaded. */
	if (!patched) {
		patched = true;
		dl_iterate_phdr(patch, NULL);
	}
	return &handle;
}

void __cudaRegisterFatBinaryEnd(void **handle)
{
	(void)handle;
}

void __cudaUnregisterFatBinary(void **handle)
{
	(void)handle;
}

void __cudaRegisterFunction(void **handle, const char *host, char *device,
			    const char *name, int limit, void *a, void *b,
			    void *c, void *d, int *size)
{
	(void)handle, (void)device, (void)limit;
	(void)a, (void)b, (void)c, (void)d, (void)size;
	if (!strstr(name, "spin_kernel"))
		return;
	for (size_t i = 0; i < sizeof(spinning) / sizeof(*spinning); i++)
		if (!spinning[i]) {
			spinning[i] = host;
			break;
		}
}

static __thread struct {
	struct dim3 grid, block;
	size_t shared;
	void *stream;
} configuration;

unsigned __cudaPushCallConfiguration(struct dim3 grid, struct dim3 block,
				     size_t shared, void *stream)
{
	configuration.grid = grid;
	configuration.block = block;
	configuration.shared = shared;
	configuration.stream = stream;
	return 0;
}

int __cudaPopCallConfiguration(struct dim3 *grid, struct dim3 *block,
			       size_t *shared, void **stream)
{
	*grid = configuration.grid;
	*block = configuration.block;
	*shared = configuration.shared;
	*stream = configuration.stream;
	return 0;
}

static int launch(const void *function, void **arguments, void *stream)
{
	fake_use(current_device);
	fake_stream_work(stream);
	for (size_t i = 0; i < sizeof(spinning) / sizeof(*spinning); i++)
		if (spinning[i] == function && arguments)
			/* Of cycles of a clock of 1 GHz. */
			fake_stream_spin(stream, *(int64_t *)arguments[0]);
	return 0;
}

int cudaLaunchKernel(const void *function, struct dim3 grid, struct dim3 block,
		     void **arguments, size_t shared, void *stream)
{
	(void)grid, (void)block, (void)shared;
	return launch(function, arguments, stream);
}

int __cudaLaunchKernel(const void *kernel, struct dim3 grid, struct dim3 block,
		       void **arguments, size_t shared, void *stream)
{
	(void)grid, (void)block, (void)shared;
	return launch(kernel, arguments, stream);
}

/* A kernel is what the host calls it by. */
int __cudaGetKernel(const void **kernel, const void *function)
{
	*kernel = function;
	return 0;
}

int cudaLaunchKernelExC(const void *configured, const void *function,
			void **arguments)
{
	/* The stream is behind two dim3 and the size of shared memory. */
	return launch(function, arguments,
		      *(void *const *)((const char *)configured + 32));
}

int cudaFuncGetAttributes(void *attributes, const void *function)
{
	int *words = attributes;

	(void)function;
	memset(attributes, 0, CUDART_MAJOR == 11 ? 56 : 144);
	words[6] = 1024;	/* maxThreadsPerBlock */
	words[7] = 32;		/* numRegs */
	words[8] = 80;		/* ptxVersion */
	words[9] = 80;		/* binaryVersion */
	words[11] = 49152;	/* maxDynamicSharedSizeBytes */
	return 0;
}

int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
	int *blocks, const void *function, int size, size_t shared,
	unsigned flags)
{
	(void)function, (void)size, (void)shared, (void)flags;
	*blocks = 2;
	return 0;
}

int cudaOccupancyMaxActiveBlocksPerMultiprocessor(
	int *blocks, const void *function, int size, size_t shared)
{
	return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
		blocks, function, size, shared, 0);
}
