/* Streams, events and graphs of a device that does nothing.
 *
 * Work is done when it is launched, unless it is PyTorch's spin kernel
 * (torch.cuda._sleep): what comes behind that on its stream is late, and events
 * are not ready until then. So what waits for an event can be seen waiting.
 * Captures count their nodes, and an event takes a capture to other streams.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fake.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct kept {
	struct kept *next;
	void (*destroy)(void *);
	void *data;
};

struct fake_graph {
	uint64_t id;
	size_t nodes;
	struct kept *kept;
};

struct fake_stream {
	struct fake_stream *next;
	int device, priority;
	int64_t busy_until;
	struct fake_graph *graph;	/* that it is captured into */
	bool origin;
};

struct fake_event {
	int64_t ready;
	struct fake_graph *graph;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_stream standard;
static struct fake_stream *streams = &standard;
static uint64_t last_id;

static void *zeroed(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		abort();
	return memory;
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void wait_until(int64_t when)
{
	struct timespec time = {
		.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000,
	};

	while (now() < when)
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* The special handles 1 and 2 are the default stream, and that per thread. */
static struct fake_stream *of(struct fake_stream *stream)
{
	return (uintptr_t)stream < 16 ? &standard : stream;
}

struct fake_stream *fake_stream_new(int device, int priority)
{
	struct fake_stream *stream = zeroed(sizeof(*stream));

	fake_use(device);
	stream->device = device;
	stream->priority = priority;
	pthread_mutex_lock(&lock);
	stream->next = streams;
	streams = stream;
	pthread_mutex_unlock(&lock);
	return stream;
}

void fake_stream_end(struct fake_stream *stream)
{
	struct fake_stream **link = &streams;

	if (of(stream) == &standard)
		return;
	pthread_mutex_lock(&lock);
	while (*link && *link != stream)
		link = &(*link)->next;
	if (*link) {
		*link = stream->next;
		free(stream);
	}
	pthread_mutex_unlock(&lock);
}

int fake_stream_priority(struct fake_stream *stream)
{
	return of(stream)->priority;
}

void fake_stream_work(struct fake_stream *stream)
{
	pthread_mutex_lock(&lock);
	if (of(stream)->graph)
		of(stream)->graph->nodes++;
	pthread_mutex_unlock(&lock);
}

void fake_stream_spin(struct fake_stream *stream, int64_t nanoseconds)
{
	int64_t from = now();

	stream = of(stream);
	pthread_mutex_lock(&lock);
	if (stream->busy_until > from)
		from = stream->busy_until;
	stream->busy_until = from + nanoseconds;
	pthread_mutex_unlock(&lock);
}

int fake_stream_query(struct fake_stream *stream)
{
	return of(stream)->busy_until > now() ? FAKE_NOT_READY : FAKE_OK;
}

void fake_stream_wait(struct fake_stream *stream)
{
	wait_until(of(stream)->busy_until);
}

void fake_device_wait(void)
{
	int64_t when = 0;

	pthread_mutex_lock(&lock);
	for (struct fake_stream *one = streams; one; one = one->next)
		if (one->busy_until > when)
			when = one->busy_until;
	pthread_mutex_unlock(&lock);
	wait_until(when);
}

/* ---- Events */

struct fake_event *fake_event_new(void)
{
	return zeroed(sizeof(struct fake_event));
}

void fake_event_end(struct fake_event *event)
{
	free(event);
}

void fake_event_record(struct fake_event *event, struct fake_stream *stream)
{
	int64_t time = now();

	stream = of(stream);
	pthread_mutex_lock(&lock);
	event->ready = stream->busy_until > time ? stream->busy_until : time;
	event->graph = stream->graph;
	pthread_mutex_unlock(&lock);
}

int fake_event_query(struct fake_event *event)
{
	return event->ready > now() ? FAKE_NOT_READY : FAKE_OK;
}

void fake_event_wait(struct fake_event *event)
{
	wait_until(event->ready);
}

float fake_event_between(struct fake_event *from, struct fake_event *to)
{
	return (float)(to->ready - from->ready) / 1e6f;
}

/* Is anything captured into this graph still? Else an event of it is old. */
static bool is_captured(const struct fake_graph *graph)
{
	for (struct fake_stream *one = streams; one; one = one->next)
		if (one->graph == graph)
			return true;
	return false;
}

void fake_stream_wait_event(struct fake_stream *stream,
			    struct fake_event *event)
{
	stream = of(stream);
	pthread_mutex_lock(&lock);
	if (event->ready > stream->busy_until)
		stream->busy_until = event->ready;
	if (event->graph && !stream->graph && is_captured(event->graph))
		stream->graph = event->graph;
	pthread_mutex_unlock(&lock);
}

/* ---- Graphs */

static struct fake_graph *new_graph(void)
{
	struct fake_graph *graph = zeroed(sizeof(*graph));

	graph->id = ++last_id;
	return graph;
}

struct fake_graph *fake_graph_new(void)
{
	struct fake_graph *graph;

	pthread_mutex_lock(&lock);
	graph = new_graph();
	pthread_mutex_unlock(&lock);
	return graph;
}

int fake_capture_begin(struct fake_stream *stream, struct fake_graph *into)
{
	int error = FAKE_INVALID;

	stream = of(stream);
	pthread_mutex_lock(&lock);
	if (stream != &standard && !stream->graph) {
		stream->graph = into ? into : new_graph();
		stream->origin = true;
		error = FAKE_OK;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

int fake_capture_end(struct fake_stream *stream, struct fake_graph **graph)
{
	int error = FAKE_NOT_IN_CAPTURE;

	stream = of(stream);
	pthread_mutex_lock(&lock);
	if (stream->graph && stream->origin) {
		*graph = stream->graph;
		for (struct fake_stream *one = streams; one; one = one->next)
			if (one->graph == *graph) {
				one->graph = NULL;
				one->origin = false;
			}
		error = FAKE_OK;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

struct fake_graph *fake_capturing(struct fake_stream *stream, uint64_t *id)
{
	struct fake_graph *graph;

	pthread_mutex_lock(&lock);
	graph = of(stream)->graph;
	if (graph)
		*id = graph->id;
	pthread_mutex_unlock(&lock);
	return graph;
}

size_t fake_graph_nodes(const struct fake_graph *graph)
{
	return graph->nodes;
}

void fake_graph_keep(struct fake_graph *graph, void (*destroy)(void *),
		     void *data)
{
	struct kept *kept = zeroed(sizeof(*kept));

	kept->destroy = destroy;
	kept->data = data;
	pthread_mutex_lock(&lock);
	kept->next = graph->kept;
	graph->kept = kept;
	pthread_mutex_unlock(&lock);
}

void fake_graph_end(struct fake_graph *graph)
{
	struct kept *kept;

	if (!graph)
		return;
	while ((kept = graph->kept)) {
		graph->kept = kept->next;
		kept->destroy(kept->data);
		free(kept);
	}
	free(graph);
}
