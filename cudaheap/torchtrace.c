/*
 * What PyTorch's caching allocator has recorded; see torchtrace.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchtrace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cudaheap/torchring.h"
#include "cudaheap/torchtensor.h"
#include "cudaheap/torchtext.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum {
	/* of an event, in all releases; behind these comes what differs: the pool
	   that it is of, the time, and strings */
	EVENT_DEVICE = 4, EVENT_ADDRESS = 8, EVENT_CONTEXT = 16,
	EVENT_STREAM = 32, EVENT_SIZE = 40, EVENT_MORE = 48,
	EVENT_MAX = 512,	/* bytes */
	WORDS_MAX = (EVENT_MAX - EVENT_MORE) / 8,
	SAMPLES = 256,		/* events that are looked at to find the layout */
};

#define ADDRESS_MAX (UINT64_C(1) << 57)

const char *torch_action_name(enum torch_action action)
{
	static const char *const names[TORCH_ACTIONS] = {
		"alloc", "free_requested", "free_completed", "segment_alloc",
		"segment_free", "segment_map", "segment_unmap", "snapshot",
		"oom", "annotate",
	};

	return action < TORCH_ACTIONS ? names[action] : NULL;
}

static uint64_t word_of(const uint8_t *bytes, uint32_t offset)
{
	uint64_t word;

	memcpy(&word, bytes + offset, sizeof(word));
	return word;
}

/* --- events --------------------------------------------------------------- */

/** The number of an action as 2.1 and later have it; TORCH_ACTIONS: none. */
static uint32_t action_of(const struct torch_trace_layout *layout,
			  uint32_t action)
{
	static const uint8_t first[] = {
		TORCH_ALLOC, TORCH_FREE_REQUESTED, TORCH_FREE_COMPLETED,
		TORCH_SEGMENT_ALLOC, TORCH_SEGMENT_FREE, TORCH_SNAPSHOT,
		TORCH_OOM,
	};

	if (layout->old_actions)
		return action < COUNT(first) ? first[action] : TORCH_ACTIONS;
	return action < TORCH_ACTIONS ? action : TORCH_ACTIONS;
}

/* What is wanted of a ring, and what its events say of their layout. */
struct search {
	struct memory_reader *memory;
	struct torch_trace *trace;
	int device;
	bool is_old;		/* 2.0, if events have no time */
	uint64_t samples, fitting;
	uint64_t strings[TORCH_TRACE_STRINGS];	/* those that hold, from the end */
	uint64_t clocks[WORDS_MAX];		/* … behind what all have, in order:
						   larger than before */
};

/** Does what all releases have make sense here? */
static bool is_event(const struct torch_trace_layout *layout,
		     const uint8_t *bytes, int device)
{
	uint64_t size = word_of(bytes, EVENT_SIZE);
	uint64_t context = word_of(bytes, EVENT_CONTEXT);
	uint32_t action;

	memcpy(&action, bytes, sizeof(action));
	action = action_of(layout, action);
	// Addresses on devices are no larger than those of processes.
	if (action == TORCH_ACTIONS || context % 8 || context > ADDRESS_MAX ||
	    word_of(bytes, EVENT_ADDRESS) > ADDRESS_MAX || size > ADDRESS_MAX ||
	    (size == 0 && action != TORCH_SNAPSHOT && action != TORCH_ANNOTATE))
		return false;
	// 2.0 and 2.1 have neither device nor time. A snapshot is of all devices,
	// and says that it is of the first.
	return layout->size == EVENT_MORE ||
	       (int8_t)bytes[EVENT_DEVICE] == device || action == TORCH_SNAPSHOT;
}

/** What this event may have where releases differ. */
static void look_at_rest(struct search *search, uint32_t size, uint64_t address,
			 const uint8_t *bytes, uint64_t before[WORDS_MAX])
{
	for (uint32_t i = 0; i < TORCH_TRACE_STRINGS &&
			     (i + 1) * TORCH_STRING_SIZE <= size - EVENT_MORE;
	     i++) {
		uint32_t at = size - (i + 1) * TORCH_STRING_SIZE;

		search->strings[i] += torch_string_is(bytes + at, address + at);
	}
	for (uint32_t i = 0; EVENT_MORE + i * 8 < size; i++) {
		uint64_t word = word_of(bytes, EVENT_MORE + i * 8);

		search->clocks[i] += word > before[i];
		before[i] = word;
	}
}

/** Nine of ten that are looked at hold: one may be half written, or damaged. */
static bool most(const struct search *search, uint64_t fitting)
{
	return fitting * 10 >= search->samples * 9;
}

/** Strings are last, then comes the time, and in front of it the pool. */
static bool settle(const struct search *search, struct torch_trace_layout *layout)
{
	uint32_t at;

	while (layout->num_strings < TORCH_TRACE_STRINGS &&
	       search->strings[layout->num_strings] > 0 &&
	       most(search, search->strings[layout->num_strings]))
		layout->num_strings++;
	layout->strings = layout->size - layout->num_strings * TORCH_STRING_SIZE;
	for (at = layout->strings; at > EVENT_MORE && layout->time == 0; at -= 8)
		if (most(search, search->clocks[(at - EVENT_MORE) / 8 - 1]))
			layout->time = at - 8;
	if (layout->time >= EVENT_MORE + sizeof(((struct torch_event *)0)->pool))
		layout->pool = EVENT_MORE;
	// One that has more than all had, has a time.
	return layout->time != 0 || layout->size == EVENT_MORE;
}

/** Are these events of a size? Then *ret says where the rest of their fields is. */
static bool are_events(struct search *search, const struct torch_ring *ring,
		       uint32_t size, struct torch_trace_layout *ret)
{
	uint64_t count = torch_ring_count(ring, size), before[WORDS_MAX] = { 0 };
	uint8_t bytes[EVENT_MAX];

	*ret = (struct torch_trace_layout){
		.size = size,
		.old_actions = search->is_old && size == EVENT_MORE,
	};
	search->samples = count < SAMPLES ? count : SAMPLES;
	search->fitting = 0;
	memset(search->strings, 0, sizeof(search->strings));
	memset(search->clocks, 0, sizeof(search->clocks));
	for (uint64_t i = 0; i < search->samples; i++) {
		uint64_t number = (ring->next + i * count / search->samples) %
				  count;
		uint64_t at = ring->begin + number * size;

		if (!memory_try_read(search->memory, at, bytes, size) ||
		    !is_event(ret, bytes, search->device))
			continue;
		search->fitting++;
		look_at_rest(search, size, at, bytes, before);
	}
	return search->fitting > 0 && most(search, search->fitting) &&
	       settle(search, ret);
}

/**
 * Of all sizes that hold the one with the most strings, as what holds of them
 * is hardly by accident, and then the smallest: twice as much holds, too, and what
 * is in the middle of it may look like a string.
 */
static bool take_ring(void *context, const struct torch_ring *ring)
{
	struct search *search = context;
	struct torch_trace *trace = search->trace;
	struct torch_trace_layout layout;

	trace->has_ring = true;
	for (uint32_t size = EVENT_MORE; ring->bytes && size <= EVENT_MAX;
	     size += 8) {
		if (!torch_ring_count(ring, size) ||
		    !are_events(search, ring, size, &layout) ||
		    (trace->count &&
		     (layout.num_strings <= trace->layout.num_strings ||
		      size % trace->layout.size == 0)))
			continue;
		trace->layout = layout;
		trace->count = torch_ring_count(ring, size);
	}
	if (trace->count == 0) {
		// Fields of their own are no proof that there is one.
		if (ring->bytes && ring->is_class)
			trace->unknown = ring->begin;
		return false;
	}
	trace->events = ring->begin;
	trace->next = ring->next;
	trace->limit = ring->limit;
	trace->is_ring = ring->is_class;
	trace->unknown = 0;
	return true;
}

static void find_in(struct memory_reader *memory, uint64_t object,
		    uint32_t from, uint32_t end, int device, bool is_old,
		    struct torch_trace *ret)
{
	struct search search = { .memory = memory, .trace = ret,
				 .device = device, .is_old = is_old };

	*ret = (struct torch_trace){ 0 };
	(void)torch_ring_each(memory, object, from, end, take_ring, &search);
}

void torch_trace_find_in(struct memory_reader *memory, uint64_t object,
			 uint32_t from, uint32_t end, int device,
			 struct torch_trace *ret)
{
	find_in(memory, object, from, end, device, false, ret);
}

void torch_trace_find(struct memory_reader *memory,
		      const struct torch_device *device,
		      struct torch_trace *ret)
{
	// 2.0 has no contexts, but histories, and no expandable segments, whose
	// actions come in between.
	find_in(memory, device->address, device->layout.active + CACHING_TABLE,
		device->size, device->index, device->layout.context == 0, ret);
}

bool torch_trace_report(struct findings *findings,
			const struct torch_device *device,
			const struct torch_trace *trace)
{
	if (trace->unknown)
		findings_add(findings, "torch-trace", trace->unknown,
			     "what device %d has recorded of its past, at 0x%"
			     PRIx64 ", is damaged, or laid out otherwise than "
			     "in any release that is known (2.0 to 2.15): it is "
			     "left out", device->index, trace->unknown);
	else if (!trace->has_ring && device->is_known &&
		 device->layout.requested)	// 1.13 has none
		findings_add(findings, "torch-trace", device->address,
			     "where device %d records its past is not to be "
			     "found in its allocator at 0x%" PRIx64 ": whether "
			     "it has recorded any is not known", device->index,
			     device->address);
	else
		return false;
	return true;
}

bool torch_trace_event(const struct torch_trace *trace,
		       struct memory_reader *memory, uint64_t i,
		       struct torch_event *ret)
{
	const struct torch_trace_layout *layout = &trace->layout;
	uint64_t number = i < trace->count - trace->next ?
				  trace->next + i :
				  i - (trace->count - trace->next);
	uint64_t address = trace->events + number * layout->size;
	uint8_t bytes[EVENT_MAX];
	uint32_t action;

	if (!memory_try_read(memory, address, bytes, layout->size))
		return false;
	memcpy(&action, bytes, sizeof(action));
	action = action_of(layout, action);
	if (action == TORCH_ACTIONS)
		return false;
	*ret = (struct torch_event){
		.action = (uint8_t)action,
		.address = word_of(bytes, EVENT_ADDRESS),
		.context = word_of(bytes, EVENT_CONTEXT),
		.stream = word_of(bytes, EVENT_STREAM),
		.size = word_of(bytes, EVENT_SIZE),
		.time = layout->time ? word_of(bytes, layout->time) : 0,
	};
	if (layout->pool)
		memcpy(ret->pool, bytes + layout->pool, sizeof(ret->pool));
	for (uint32_t k = 0; k < layout->num_strings; k++)
		ret->strings[k] = address + layout->strings +
				  k * TORCH_STRING_SIZE;
	return true;
}

bool torch_trace_device_free(struct memory_reader *memory,
			     const struct torch_device *device, uint64_t *ret)
{
	struct torch_trace trace;
	struct torch_event event;
	uint64_t got = 0, given = 0;

	torch_trace_find(memory, device, &trace);
	for (uint64_t i = trace.count; i > 0; i--) {
		// One that cannot be read may have changed it.
		if (!torch_trace_event(&trace, memory, i - 1, &event))
			return false;
		if (event.action == TORCH_OOM) {
			*ret = event.address + given - got;
			return event.address + given >= got;
		}
		if (event.action == TORCH_SEGMENT_ALLOC ||
		    event.action == TORCH_SEGMENT_MAP)
			got += event.size;
		else if (event.action == TORCH_SEGMENT_FREE ||
			 event.action == TORCH_SEGMENT_UNMAP)
			given += event.size;
	}
	return false;
}

/* --- who asked ------------------------------------------------------------ */

enum {
	CONTEXT_PYTHON = 8, CONTEXT_NATIVE = 32, CONTEXT_SCRIPT = 56,
	PYTHON_SIZE = 16,
};

/** Up to 2.0 it has frames of Python alone. */
static bool is_context(struct memory_reader *memory, uint64_t address,
		       bool *ret_python_only)
{
	char text[TORCH_CLASS_MAX];
	const char *name = torch_class(memory, address, text);

	*ret_python_only = name && strcmp(name, "StackContext") == 0;
	// Names may not have been captured; then what it has must do.
	return !name || *ret_python_only ||
	       strcmp(name, "CapturedTraceback") == 0;
}

static bool read_python(struct memory_reader *memory, uint64_t address,
			struct torch_context *ret)
{
	uint64_t begin, bytes, room, count;
	uint8_t item[PYTHON_SIZE];

	if (!torch_vector_at(memory, address + CONTEXT_PYTHON, &begin, &bytes,
		       &room) || bytes % PYTHON_SIZE)
		return false;
	count = bytes / PYTHON_SIZE;
	ret->cut |= count > TORCH_FRAMES_MAX;
	if (count > TORCH_FRAMES_MAX)
		count = TORCH_FRAMES_MAX;
	ret->python = count ? calloc(count, sizeof(*ret->python)) : NULL;
	if (count && !ret->python)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		if (!memory_try_read(memory, begin + i * PYTHON_SIZE, item,
				     sizeof(item))) {
			ret->cut = true;
			break;
		}
		ret->python[ret->num_python].code = word_of(item, 0);
		memcpy(&ret->python[ret->num_python++].at, item + 8, 4);
	}
	return true;
}

static void read_native(struct memory_reader *memory, uint64_t address,
			struct torch_context *ret)
{
	uint64_t begin, bytes, room, count;

	if (!torch_vector_at(memory, address + CONTEXT_NATIVE, &begin, &bytes,
		       &room) || bytes % 8)
		return;
	count = bytes / 8;
	ret->cut |= count > TORCH_FRAMES_MAX;
	if (count > TORCH_FRAMES_MAX)
		count = TORCH_FRAMES_MAX;
	ret->native = count ? calloc(count, 8) : NULL;
	if (count && (!ret->native ||
		      !memory_try_read(memory, begin, ret->native, count * 8)))
		ret->cut = true;
	else
		ret->num_native = count;
}

bool torch_context_read(struct memory_reader *memory, uint64_t address,
			struct torch_context *ret)
{
	uint64_t begin, bytes, room;
	bool python_only;

	*ret = (struct torch_context){ 0 };
	if (address == 0 || address % 8 ||
	    !is_context(memory, address, &python_only) ||
	    !read_python(memory, address, ret))
		return false;
	if (python_only)
		return true;
	read_native(memory, address, ret);
	// What one has depends on the release; that there are some does not.
	if (torch_vector_at(memory, address + CONTEXT_SCRIPT, &begin, &bytes, &room))
		ret->num_script = bytes > 0;
	return true;
}

void torch_context_deinit(struct torch_context *context)
{
	free(context->python);
	free(context->native);
	*context = (struct torch_context){ 0 };
}
