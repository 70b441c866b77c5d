/* What the libraries of the fake CUDA share: devices, their memory, streams.
 *
 * All of the state is in libfakecuda.so, which libcudart, libcuda and
 * libnvidia-ml need. Error numbers are CUDA's: those of the runtime and of the
 * driver are the same for what is used here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FAKE_OK = 0,
	FAKE_INVALID = 1,
	FAKE_OUT_OF_MEMORY = 2,
	FAKE_NO_DEVICE = 100,
	FAKE_BAD_DEVICE = 101,
	FAKE_NOT_READY = 600,
	FAKE_ALREADY_REGISTERED = 712,
	FAKE_NOT_REGISTERED = 713,
	FAKE_NOT_SUPPORTED = 801,
	FAKE_NOT_IN_CAPTURE = 900,
};

#define FAKE_MAX_DEVICES 16
#define FAKE_GRANULARITY ((size_t)2 << 20)

/* ---- Devices (memory.c) */

/* FAKECUDA_DEVICES, 1 unless told; 0 is a machine without one. */
int fake_devices(void);
/* FAKECUDA_MEMORY, of each device, and what is left of it. */
size_t fake_capacity(void);
size_t fake_free(int device);
/* What this process has of it, without FAKECUDA_OTHERS. */
size_t fake_used(int device);
/* Was anything done on the device yet? Then it has a context. */
bool fake_has_context(int device);
void fake_use(int device);
void fake_uuid(char uuid[16], int device);
/* The answer to cudaDeviceGetAttribute, whose numbers the driver shares. */
int fake_attribute(int attribute);

/* ---- Memory (memory.c) */

int fake_malloc(int device, size_t size, void **memory);
int fake_release(void *memory);

/* Addresses without memory, and memory without addresses. */
int fake_reserve(size_t size, uintptr_t hint, void **address);
int fake_unreserve(void *address, size_t size);
struct fake_physical;
int fake_create(int device, size_t size, struct fake_physical **physical);
int fake_destroy(struct fake_physical *physical);
int fake_map(void *address, size_t size, struct fake_physical *physical);
int fake_unmap(void *address, size_t size);
int fake_physical_device(const struct fake_physical *physical);

/* Pinned memory: allocated here, or the caller's and only registered. */
int fake_host_alloc(size_t size, void **memory);
int fake_host_free(void *memory);
int fake_host_register(void *memory, size_t size);
int fake_host_unregister(void *memory);

enum fake_kind { FAKE_UNKNOWN, FAKE_HOST, FAKE_DEVICE };
/* What an address is in, where that begins, how long it is, whose it is. */
enum fake_kind fake_lookup(const void *address, void **begin, size_t *size,
			   int *device);

/* ---- Streams, events, graphs (streams.c); NULL is the default stream */

struct fake_stream;
struct fake_event;
struct fake_graph;

struct fake_stream *fake_stream_new(int device, int priority);
void fake_stream_end(struct fake_stream *stream);
int fake_stream_priority(struct fake_stream *stream);
/* Something is launched: a node of the graph that is captured, if one is. */
void fake_stream_work(struct fake_stream *stream);
/* What is launched takes so long. */
void fake_stream_spin(struct fake_stream *stream, int64_t nanoseconds);
int fake_stream_query(struct fake_stream *stream);
void fake_stream_wait(struct fake_stream *stream);
void fake_device_wait(void);

struct fake_event *fake_event_new(void);
void fake_event_end(struct fake_event *event);
void fake_event_record(struct fake_event *event, struct fake_stream *stream);
int fake_event_query(struct fake_event *event);
void fake_event_wait(struct fake_event *event);
float fake_event_between(struct fake_event *from, struct fake_event *to);
void fake_stream_wait_event(struct fake_stream *stream,
			    struct fake_event *event);

int fake_capture_begin(struct fake_stream *stream, struct fake_graph *into);
/* FAKE_NOT_IN_CAPTURE without one; the caller owns the graph. */
int fake_capture_end(struct fake_stream *stream, struct fake_graph **graph);
/* The graph that the stream is captured into, or NULL, and its number. */
struct fake_graph *fake_capturing(struct fake_stream *stream, uint64_t *id);
struct fake_graph *fake_graph_new(void);
size_t fake_graph_nodes(const struct fake_graph *graph);
void fake_graph_end(struct fake_graph *graph);
/* Called when the graph ends. */
void fake_graph_keep(struct fake_graph *graph, void (*destroy)(void *),
		     void *data);
