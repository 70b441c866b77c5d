/*
 * A snapshot of PyTorch's caching allocator as a pickle; see torchsnapshot.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchsnapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cudaheap/cachinghost.h"
#include "cudaheap/torchannotations.h"
#include "cudaheap/torchclock.h"
#include "cudaheap/torchtext.h"
#include "cudaheap/torchtrace.h"

/* Releases that changed what a snapshot has. */
enum {
	RELEASE_HISTORY = 113,	/* blocks have a history, traces there are none */
	RELEASE_TRACES = 200,
	RELEASE_FRAMES = 201,	/* blocks have frames and addresses, events times,
				   segments are expandable and in pools */
	RELEASE_SETTINGS = 203,
	RELEASE_ANNOTATIONS = 205,
	RELEASE_COMPILE = 208,	/* events have compile_context, */
	RELEASE_USER = 210,	/* user_metadata, */
	RELEASE_POOL = 212,	/* pool_id */
	RELEASE_HOST = 214,	/* host_segments, host_traces */
	RELEASE_INTERNAL = 215,	/* internal_metadata */
};

enum { HISTORY_MAX = 1 << 10 };	/* of one block that is followed */

struct snapshot {
	const struct torch_snapshot_source *source;
	struct torch_snapshot_counts *counts;
	struct pickle pickle;
	struct torch_clock clock;
	struct torch_trace *traces;	/* one for each device */
	unsigned int release;
	uint32_t no_frames;		/* the list that is empty */
	bool has_no_frames;
	struct error *err;		/* no memory */
	char text[TORCH_TEXT_MAX], key[TORCH_TEXT_MAX];
};

unsigned int torch_release_parse(const char *text)
{
	char *end;
	unsigned long major = strtoul(text, &end, 10), minor;

	if (end == text || *end != '.' || major == 0 || major > 99)
		return 0;
	text = end + 1;
	minor = strtoul(text, &end, 10);
	return end == text || minor > 99 ? 0 : (unsigned int)(major * 100 +
							      minor);
}

/** The oldest release that has what there is. */
static unsigned int release_of_structures(const struct snapshot *snapshot)
{
	/* by how many strings an event has */
	static const unsigned int by_event[] = {
		RELEASE_TRACES, RELEASE_COMPILE, RELEASE_USER, RELEASE_INTERNAL,
	};
	const struct caching_allocator *allocator = snapshot->source->allocator;
	unsigned int release = 0;

	for (size_t i = 0; i < allocator->num_devices; i++) {
		const struct torch_trace *trace = &snapshot->traces[i];
		const struct caching_layout *layout =
			&allocator->devices[i].layout;
		unsigned int least = !layout->requested ? RELEASE_HISTORY :
				     !layout->context ? RELEASE_TRACES :
							RELEASE_SETTINGS;

		if (trace->count && by_event[trace->layout.num_strings] > least)
			least = by_event[trace->layout.num_strings];
		if (trace->count && trace->is_ring &&
		    least < RELEASE_ANNOTATIONS)
			least = RELEASE_ANNOTATIONS;
		release = least > release ? least : release;
	}
	return release ? release : RELEASE_ANNOTATIONS;
}

static void put_frames(struct snapshot *snapshot, uint64_t context)
{
	struct pickle *pickle = &snapshot->pickle;

	if (context) {
		snapshot->counts->recorded = true;
		snapshot->source->frames(snapshot->source->context, pickle,
					 "frames", context);
	} else if (snapshot->has_no_frames) {
		pickle_again(pickle, "frames", snapshot->no_frames);
	} else {
		pickle_list(pickle, "frames");
		snapshot->no_frames = pickle_keep(pickle);
		snapshot->has_no_frames = true;
		pickle_end(pickle);
	}
}

/* --- segments ------------------------------------------------------------- */

/** 1.13 and 2.0: who asked for the bytes that a block has been joined from. */
static void put_history(struct snapshot *snapshot, uint64_t history)
{
	/* {address, size, context}, from 2.0 on the context's count, and the
	   next one */
	enum { ADDRESS, SIZE, CONTEXT, NEXT, WORDS = NEXT + 2 };
	const int next = snapshot->release < RELEASE_TRACES ? NEXT : NEXT + 1;
	struct pickle *pickle = &snapshot->pickle;
	uint64_t words[WORDS] = { 0 };

	if (history == 0)
		return;
	snapshot->counts->recorded = true;
	pickle_list(pickle, "history");
	for (int i = 0; i < HISTORY_MAX && history != 0; i++) {
		if (!memory_try_read(snapshot->source->memory, history, words,
				     (size_t)(next + 1) * sizeof(*words))) {
			findings_add(snapshot->source->findings,
				     "torch-history", history,
				     "the history of a block cannot be read");
			break;
		}
		pickle_dict(pickle, NULL);
		pickle_u64(pickle, "addr", words[ADDRESS]);
		pickle_u64(pickle, "real_size", words[SIZE]);
		if (words[CONTEXT])
			snapshot->source->frames(snapshot->source->context,
						 pickle, "frames",
						 words[CONTEXT]);
		pickle_end(pickle);
		history = words[next];
	}
	pickle_end(pickle);
}

static void put_block(struct snapshot *snapshot, const struct torch_block *block)
{
	struct pickle *pickle = &snapshot->pickle;

	pickle_dict(pickle, NULL);
	if (snapshot->release >= RELEASE_FRAMES)
		pickle_u64(pickle, "address", block->data);
	pickle_u64(pickle, "size", block->size);
	if (snapshot->release >= RELEASE_TRACES)
		pickle_u64(pickle, "requested_size", block->requested);
	pickle_string(pickle, "state",
		      caching_state_name((enum caching_state)block->state));
	if (snapshot->release >= RELEASE_FRAMES)
		put_frames(snapshot, block->context);
	else
		put_history(snapshot, block->history);
	pickle_end(pickle);
	snapshot->counts->blocks++;
}

static void put_segment(struct snapshot *snapshot,
			const struct torch_device *device,
			const struct torch_segment *segment)
{
	const struct torch_pool *pool = segment->pool < device->num_pools ?
						&device->pools[segment->pool] :
						NULL;
	struct pickle *pickle = &snapshot->pickle;

	pickle_dict(pickle, NULL);
	pickle_i64(pickle, "device", device->index);
	pickle_u64(pickle, "address", segment->address);
	pickle_u64(pickle, "total_size", segment->total);
	pickle_u64(pickle, "allocated_size", segment->allocated);
	pickle_u64(pickle, "active_size", segment->active);
	if (snapshot->release >= RELEASE_TRACES)
		pickle_u64(pickle, "requested_size", segment->requested);
	pickle_i64(pickle, "stream", (int64_t)segment->stream);
	pickle_string(pickle, "segment_type",
		      pool && pool->is_small ? "small" : "large");
	if (snapshot->release >= RELEASE_FRAMES) {
		pickle_pair(pickle, "segment_pool_id", pool ? pool->id[0] : 0,
			    pool ? pool->id[1] : 0);
		pickle_bool(pickle, "is_expandable", segment->is_expandable);
		put_frames(snapshot, segment->context);
	}
	pickle_list(pickle, "blocks");
	for (uint32_t i = 0; i < segment->num_blocks; i++)
		put_block(snapshot, &device->blocks[segment->first_block + i]);
	pickle_end(pickle);
	pickle_end(pickle);
	snapshot->counts->segments++;
}

/** The number of the list in the pickle. */
static uint32_t put_segments(struct snapshot *snapshot, const char *key)
{
	const struct caching_allocator *allocator = snapshot->source->allocator;
	uint32_t number;

	pickle_list(&snapshot->pickle, key);
	number = pickle_keep(&snapshot->pickle);
	for (size_t i = 0; i < allocator->num_devices; i++)
		for (size_t k = 0; k < allocator->devices[i].num_segments; k++)
			put_segment(snapshot, &allocator->devices[i],
				    &allocator->devices[i].segments[k]);
	pickle_end(&snapshot->pickle);
	return number;
}

/* --- events --------------------------------------------------------------- */

static void put_text(struct snapshot *snapshot, const char *key,
		     uint64_t address, bool always)
{
	if (address && torch_string_read(snapshot->source->memory, address,
					 snapshot->text) &&
	    (always || snapshot->text[0]))
		pickle_string(&snapshot->pickle, key, snapshot->text);
}

static void put_event(struct snapshot *snapshot,
		      const struct torch_event *event)
{
	static const char *const keys[TORCH_TRACE_STRINGS] = {
		"compile_context", "user_metadata", "internal_metadata",
	};
	struct pickle *pickle = &snapshot->pickle;

	pickle_dict(pickle, NULL);
	pickle_string(pickle, "action",
		      torch_action_name((enum torch_action)event->action));
	pickle_u64(pickle, event->action == TORCH_OOM ? "device_free" : "addr",
		   event->address);
	pickle_u64(pickle, "size", event->size);
	pickle_i64(pickle, "stream", (int64_t)event->stream);
	if (event->time)
		pickle_i64(pickle, "time_us",
			   torch_clock_us(&snapshot->clock, event->time));
	if (snapshot->release >= RELEASE_POOL)
		pickle_pair(pickle, "pool_id", event->pool[0], event->pool[1]);
	for (int i = 0; i < TORCH_TRACE_STRINGS; i++)
		put_text(snapshot, keys[i], event->strings[i], i < 2);
	if (event->context)
		put_frames(snapshot, event->context);
	pickle_end(pickle);
	snapshot->counts->events++;
}

static void put_trace(struct snapshot *snapshot, const char *key,
		      const struct torch_trace *trace)
{
	struct torch_event event;

	pickle_list(&snapshot->pickle, key);
	for (uint64_t i = 0; i < trace->count; i++) {
		if (torch_trace_event(trace, snapshot->source->memory, i,
				      &event)) {
			put_event(snapshot, &event);
			continue;
		}
		if (snapshot->counts->unread++ == 0)
			findings_add(snapshot->source->findings, "torch-trace",
				     trace->events,
				     "events of the allocator's past cannot be "
				     "read, and are left out");
	}
	pickle_end(&snapshot->pickle);
	snapshot->counts->recorded |= trace->count > 0;
	snapshot->counts->clock_unknown |= trace->count > 0 &&
					   trace->layout.time &&
					   !snapshot->clock.is_known;
}

/** A list for each device, by its number: viewers take it by that. */
static void put_traces(struct snapshot *snapshot)
{
	const struct caching_allocator *allocator = snapshot->source->allocator;

	pickle_list(&snapshot->pickle, "device_traces");
	for (size_t i = 0; i < allocator->num_devices; i++)
		put_trace(snapshot, NULL, &snapshot->traces[i]);
	pickle_end(&snapshot->pickle);
}

/* --- pinned memory -------------------------------------------------------- */

enum { HOST_OBJECT_MAX = 32 << 10 };	/* bytes of its allocator */

/** Each block is a segment of its own, which is never cut. */
static void put_host_block(struct snapshot *snapshot,
			   const struct torch_host_block *block)
{
	struct pickle *pickle = &snapshot->pickle;
	bool allocated = block->state == CACHING_ACTIVE;
	bool active = block->state != CACHING_FREE;

	pickle_dict(pickle, NULL);
	pickle_i64(pickle, "device", -1);
	pickle_u64(pickle, "address", block->data);
	pickle_u64(pickle, "total_size", block->size);
	pickle_u64(pickle, "allocated_size", allocated ? block->size : 0);
	pickle_u64(pickle, "active_size", active ? block->size : 0);
	pickle_u64(pickle, "requested_size", block->size);
	pickle_i64(pickle, "stream", 0);
	pickle_string(pickle, "segment_type", "small");
	pickle_pair(pickle, "segment_pool_id", block->pool[0], block->pool[1]);
	pickle_bool(pickle, "is_expandable", false);
	put_frames(snapshot, block->context);
	pickle_list(pickle, "blocks");
	pickle_dict(pickle, NULL);
	pickle_u64(pickle, "address", block->data);
	pickle_u64(pickle, "size", block->size);
	pickle_u64(pickle, "requested_size", block->size);
	pickle_string(pickle, "state",
		      caching_state_name((enum caching_state)block->state));
	put_frames(snapshot, block->context);
	pickle_end(pickle);
	pickle_end(pickle);
	pickle_end(pickle);
}

/** Its allocator has a clock and a ring of its own. */
static void put_host(struct snapshot *snapshot)
{
	const struct torch_snapshot_source *source = snapshot->source;
	struct torch_trace trace = { 0 };
	struct caching_host host;

	snapshot->err = caching_host_read(source->image, source->memory, &host);
	pickle_list(&snapshot->pickle, "host_segments");
	for (size_t i = 0; i < host.num_blocks; i++)
		put_host_block(snapshot, &host.blocks[i]);
	pickle_end(&snapshot->pickle);
	if (host.address)
		torch_trace_find_in(source->memory, host.address, 8,
				    HOST_OBJECT_MAX, -1, &trace);
	if (trace.unknown)
		findings_add(source->findings, "torch-trace", trace.unknown,
			     "what was recorded of pinned memory, at 0x%" PRIx64
			     ", is damaged, or laid out otherwise than in any "
			     "release that is known (2.14 and 2.15): it is left "
			     "out", trace.unknown);
	if (trace.count)
		torch_clock_find(source->memory, host.address,
				 &snapshot->clock);
	put_trace(snapshot, "host_traces", &trace);
	caching_host_deinit(&host);
}

/* --- the rest ------------------------------------------------------------- */

static void put_settings(struct snapshot *snapshot)
{
	const struct torch_settings *settings =
		&snapshot->source->allocator->settings;
	struct pickle *pickle = &snapshot->pickle;
	char key[16];

	pickle_dict(pickle, "allocator_settings");
	if (!settings->source) {
		// Not known: a default would be a guess.
		pickle_end(pickle);
		return;
	}
	pickle_string(pickle, "PYTORCH_CUDA_ALLOC_CONF", settings->conf);
	pickle_i64(pickle, "max_split_size", settings->max_split_size);
	pickle_double(pickle, "garbage_collection_threshold",
		      settings->garbage_collection_threshold);
	pickle_bool(pickle, "expandable_segments",
		    settings->expandable_segments);
	pickle_u64(pickle, "pinned_num_register_threads",
		   settings->pinned_num_register_threads);
	pickle_bool(pickle, "release_lock_on_cudamalloc",
		    settings->release_lock_on_cudamalloc);
	pickle_bool(pickle, "pinned_use_cuda_host_register",
		    settings->pinned_use_cuda_host_register);
	pickle_dict(pickle, "roundup_power2_divisions");
	for (int i = 0; i < 16; i++) {
		(void)snprintf(key, sizeof(key), "%d", 1 << i);
		pickle_u64(pickle, key, settings->roundup_power2_divisions[i]);
	}
	pickle_end(pickle);
	pickle_end(pickle);
}

static void put_pair(void *context, uint64_t key, uint64_t value)
{
	struct snapshot *snapshot = context;

	if (torch_string_read(snapshot->source->memory, key, snapshot->key) &&
	    torch_string_read(snapshot->source->memory, value, snapshot->text))
		pickle_string(&snapshot->pickle, snapshot->key, snapshot->text);
}

static void pass_pair(void *context, uint64_t key, uint64_t value)
{
	(void)context;
	(void)key;
	(void)value;
}

static void put_annotations(struct snapshot *snapshot)
{
	struct memory_reader *memory = snapshot->source->memory;
	struct pickle *pickle = &snapshot->pickle;
	struct torch_annotations annotations;
	uint64_t time;
	int device;

	torch_annotations_find(memory, snapshot->source->allocator,
			       &annotations);
	if (annotations.unknown)
		findings_add(snapshot->source->findings, "torch-trace",
			     annotations.unknown, "the annotations at 0x%" PRIx64
			     " are damaged, or laid out otherwise than in any "
			     "release that is known (2.5 to 2.15), and are left "
			     "out", annotations.unknown);
	pickle_list(pickle, "external_annotations");
	for (uint64_t i = 0; i < annotations.count; i++) {
		// Half of one would be wrong.
		if (!torch_annotation_each(memory, &annotations, i, &device,
					   &time, pass_pair, NULL)) {
			if (snapshot->counts->unread++ == 0)
				findings_add(snapshot->source->findings,
					     "torch-trace", annotations.events,
					     "annotations cannot be read, and "
					     "are left out");
			continue;
		}
		pickle_dict(pickle, NULL);
		(void)torch_annotation_each(memory, &annotations, i, &device,
					    &time, put_pair, snapshot);
		pickle_i64(pickle, "device", device);
		pickle_i64(pickle, "time_us",
			   torch_clock_us(&snapshot->clock, time));
		pickle_end(pickle);
		snapshot->counts->annotations++;
	}
	pickle_end(pickle);
}

static bool is_partial(const struct snapshot *snapshot)
{
	return snapshot->source->partial ||
	       findings_kept(snapshot->source->findings) >
		       snapshot->source->first_finding;
}

/** What is not to be relied on, in a file that travels without the dump. */
static void put_findings(struct snapshot *snapshot)
{
	const struct torch_snapshot_source *source = snapshot->source;
	struct pickle *pickle = &snapshot->pickle;
	size_t count = findings_kept(source->findings);
	char text[512];

	if (!is_partial(snapshot))
		return;
	snapshot->counts->partial = true;
	pickle_dict(pickle, "heapscan");
	pickle_bool(pickle, "complete", false);
	pickle_list(pickle, "findings");
	for (size_t i = source->first_finding; i < count; i++) {
		const struct finding *finding = findings_get(source->findings,
							     i);

		(void)snprintf(text, sizeof(text), "%s at 0x%" PRIx64 ": %s",
			       finding->code, finding->address, finding->text);
		pickle_string(pickle, NULL, text);
	}
	pickle_end(pickle);
	pickle_end(pickle);
}

/**
 * Up to 1.13 a snapshot is the list of segments alone. Where it has to say that it
 * is partial it becomes what later releases have, in which the list is meant again:
 * what is loaded is the value that was written last.
 */
static void put_list(struct snapshot *snapshot)
{
	struct pickle *pickle = &snapshot->pickle;
	uint32_t segments = put_segments(snapshot, NULL);

	if (!is_partial(snapshot))
		return;
	pickle_dict(pickle, NULL);
	pickle_again(pickle, "segments", segments);
	pickle_list(pickle, "device_traces");
	pickle_end(pickle);
	put_findings(snapshot);
}

static void put_all(struct snapshot *snapshot)
{
	const struct torch_snapshot_source *source = snapshot->source;

	for (size_t i = 0; i < source->allocator->num_devices; i++) {
		torch_trace_find(source->memory,
				 &source->allocator->devices[i],
				 &snapshot->traces[i]);
		(void)torch_trace_report(source->findings,
					 &source->allocator->devices[i],
					 &snapshot->traces[i]);
	}
	snapshot->release = source->release ? source->release :
					      release_of_structures(snapshot);
	torch_clock_find(source->memory, source->allocator->address,
			 &snapshot->clock);
	if (snapshot->release < RELEASE_TRACES) {
		put_list(snapshot);
		return;
	}
	pickle_dict(&snapshot->pickle, NULL);
	(void)put_segments(snapshot, "segments");
	put_traces(snapshot);
	if (snapshot->release >= RELEASE_SETTINGS)
		put_settings(snapshot);
	if (snapshot->release >= RELEASE_ANNOTATIONS)
		put_annotations(snapshot);
	if (snapshot->release >= RELEASE_HOST)
		put_host(snapshot);
	put_findings(snapshot);
}

struct error *torch_snapshot_write(const struct torch_snapshot_source *source,
				   FILE *out, struct torch_snapshot_counts *ret)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
	struct torch_trace *traces = calloc(source->allocator->num_devices + 1,
					    sizeof(*traces));
	struct error *err = NULL;

	*ret = (struct torch_snapshot_counts){ 0 };
	if (snapshot && traces) {
		snapshot->source = source;
		snapshot->counts = ret;
		snapshot->traces = traces;
		pickle_begin(&snapshot->pickle, out);
		put_all(snapshot);
		pickle_finish(&snapshot->pickle);
		err = snapshot->err;
	} else {
		err = error_no_memory();
	}
	free(traces);
	free(snapshot);
	return err;
}
