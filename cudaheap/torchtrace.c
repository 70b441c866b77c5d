/*
 * What PyTorch's caching allocator has recorded; see torchtrace.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchtrace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cudaheap/torchtensor.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum {
	/* of an event, in all releases */
	EVENT_DEVICE = 4, EVENT_ADDRESS = 8, EVENT_CONTEXT = 16,
	EVENT_STREAM = 32, EVENT_SIZE = 40,
	EVENT_MAX = 168,	/* bytes */
	STRING_SIZE = 32, STRING_INLINE = 15,	/* of a std::string */
	SAMPLES = 256,		/* events that are looked at to find the layout */
	/* before the pointer to its vector */
	RING_LIMIT = 56, RING_NEXT = 8, FIELDS_LIMIT = 8, FIELDS_NEXT = 24,
};

#define STRING_MAX (UINT64_C(1) << 30)
#define ADDRESS_MAX (UINT64_C(1) << 57)
#define EVENTS_MAX (UINT64_C(1) << 40)	/* bytes of a vector of them */

/* The longest first: what holds of their strings cannot be by accident. */
static const struct torch_trace_layout layouts[] = {
	{ 168, 48, 64, 3, false },	/* 2.15 */
	{ 136, 48, 64, 2, false },	/* 2.12 to 2.14 */
	{ 120, 0, 48, 2, false },	/* user_metadata, about 2.11 */
	{ 104, 48, 64, 1, false },	/* 2.9 */
	{ 88, 0, 48, 1, false },	/* compile_context, from about 2.8 */
	{ 56, 0, 48, 0, false },	/* from 2.2 */
	{ 48, 0, 0, 0, false },		/* 2.1 */
	{ 48, 0, 0, 0, true },		/* 2.0 */
};

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

/** A std::vector; false: there is none, or it was not captured. */
static bool vector_at(struct memory_reader *memory, uint64_t address,
		      uint64_t *ret_begin, uint64_t *ret_bytes,
		      uint64_t *ret_room)
{
	uint64_t words[3];

	if (!memory_try_read(memory, address, words, sizeof(words)) ||
	    words[0] > words[1] || words[1] > words[2] || words[0] % 8 ||
	    words[2] - words[0] > EVENTS_MAX)
		return false;
	*ret_begin = words[0];
	*ret_bytes = words[1] - words[0];
	*ret_room = words[2] - words[0];
	return true;
}

/* --- text ----------------------------------------------------------------- */

/** Where the text of a std::string at an address is; false: it is none. */
static bool string_at(const uint8_t *bytes, uint64_t address,
		      uint64_t *ret_text, uint64_t *ret_size)
{
	uint64_t text = word_of(bytes, 0), size = word_of(bytes, 8);

	if (text == address + 16 ? size > STRING_INLINE :
	    text == 0 || size > STRING_MAX || word_of(bytes, 16) < size)
		return false;
	*ret_text = text;
	*ret_size = size;
	return true;
}

/** The same of wheels up to 2.6: a pointer to text behind {length, room, count}. */
static bool old_string_at(struct memory_reader *memory, const uint8_t *bytes,
			  uint64_t *ret_text, uint64_t *ret_size)
{
	uint64_t head[2];

	*ret_text = word_of(bytes, 0);
	if (*ret_text < 24 || *ret_text % 8 ||
	    !memory_try_read(memory, *ret_text - 24, head, sizeof(head)) ||
	    head[0] > head[1] || head[1] > STRING_MAX)
		return false;
	*ret_size = head[0];
	return true;
}

bool torch_string_read(struct memory_reader *memory, uint64_t address,
		       char text[TORCH_TRACE_TEXT])
{
	uint8_t bytes[STRING_SIZE];
	uint64_t at, size;

	if (!memory_try_read(memory, address, bytes, sizeof(bytes)))
		return false;
	if (!string_at(bytes, address, &at, &size) &&
	    !old_string_at(memory, bytes, &at, &size))
		return false;
	if (size > TORCH_TRACE_TEXT - 1)
		size = TORCH_TRACE_TEXT - 1;
	if (!memory_try_read(memory, at, text, size))
		return false;
	text[size] = '\0';
	return true;
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

static bool is_event(const struct torch_trace_layout *layout,
		     const uint8_t *bytes, uint64_t address, int device)
{
	uint32_t action;
	uint64_t text, size, context = word_of(bytes, EVENT_CONTEXT);
	uint32_t strings = layout->size - layout->num_strings * STRING_SIZE;

	memcpy(&action, bytes, sizeof(action));
	action = action_of(layout, action);
	// Addresses on devices are no larger than those of processes.
	if (action == TORCH_ACTIONS || context % 8 || context > ADDRESS_MAX ||
	    word_of(bytes, EVENT_ADDRESS) > ADDRESS_MAX ||
	    word_of(bytes, EVENT_SIZE) > ADDRESS_MAX)
		return false;
	// A snapshot is of all devices, and says that it is of the first.
	if (layout->time && (word_of(bytes, layout->time) == 0 ||
			     ((int8_t)bytes[EVENT_DEVICE] != device &&
			      action != TORCH_SNAPSHOT)))
		return false;
	for (uint32_t i = 0; i < layout->num_strings; i++) {
		uint32_t at = strings + i * STRING_SIZE;

		if (!string_at(bytes + at, address + at, &text, &size))
			return false;
	}
	return true;
}

/** Nine of ten that are looked at hold: one may be half written, or damaged. */
static bool are_events(struct memory_reader *memory,
		       const struct torch_trace_layout *layout,
		       uint64_t address, uint64_t count, int device)
{
	uint64_t samples = count < SAMPLES ? count : SAMPLES, fitting = 0;
	uint8_t bytes[EVENT_MAX];

	for (uint64_t i = 0; i < samples; i++) {
		uint64_t at = address + i * count / samples * layout->size;

		fitting += memory_try_read(memory, at, bytes, layout->size) &&
			   is_event(layout, bytes, at, device);
	}
	return fitting * 10 >= samples * 9;
}

/** How many there may be and which comes next: they say where they are. */
static bool counts_fit(uint64_t limit, uint64_t next, uint64_t count)
{
	return limit > 0 && count <= limit && next < limit &&
	       (next == 0 || next < count) && (count == limit || next == 0);
}

/** The ring whose vector is at an address that lies at `place`. */
static bool ring_at(struct memory_reader *memory, uint64_t place,
		    uint64_t vector, int device, bool is_old,
		    struct torch_trace *ret)
{
	uint64_t begin, bytes, room, limit, next;

	if (!vector_at(memory, vector, &begin, &bytes, &room) || bytes == 0)
		return false;
	for (size_t i = 0; i < COUNT(layouts); i++) {
		const struct torch_trace_layout *layout = &layouts[i];
		uint64_t count = bytes / layout->size;

		if (bytes % layout->size || room % layout->size ||
		    layout->old_actions != (is_old && layout->time == 0))
			continue;
		ret->is_ring = false;
		if (!memory_try_u64(memory, place - FIELDS_LIMIT, &limit) ||
		    !memory_try_u64(memory, place - FIELDS_NEXT, &next) ||
		    !counts_fit(limit, next, count)) {
			ret->is_ring = true;
			if (!memory_try_u64(memory, place - RING_LIMIT,
					    &limit) ||
			    !memory_try_u64(memory, place - RING_NEXT, &next) ||
			    !counts_fit(limit, next, count))
				continue;
		}
		if (!are_events(memory, layout, begin, count, device))
			continue;
		ret->layout = layout;
		ret->events = begin;
		ret->count = count;
		ret->next = next;
		ret->limit = limit;
		return true;
	}
	return false;
}

static void find_in(struct memory_reader *memory, uint64_t object,
		    uint32_t from, uint32_t end, int device, bool is_old,
		    struct torch_trace *ret)
{
	*ret = (struct torch_trace){ 0 };
	for (uint32_t at = from; at + 8 <= end; at += 8) {
		uint64_t place = object + at, vector;

		if (!memory_try_u64(memory, place, &vector))
			return;
		if (vector == 0 || vector % 8 || vector > ADDRESS_MAX)
			continue;
		if (ring_at(memory, place, vector, device, is_old, ret))
			return;
	}
	ret->layout = NULL;
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
		CACHING_DEVICE_MAX, device->index, device->layout.context == 0,
		ret);
}

bool torch_trace_event(const struct torch_trace *trace,
		       struct memory_reader *memory, uint64_t i,
		       struct torch_event *ret)
{
	const struct torch_trace_layout *layout = trace->layout;
	uint64_t number = i < trace->count - trace->next ?
				  trace->next + i :
				  i - (trace->count - trace->next);
	uint64_t address = trace->events + number * layout->size;
	uint32_t strings = layout->size - layout->num_strings * STRING_SIZE;
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
		ret->strings[k] = address + strings + k * STRING_SIZE;
	return true;
}

bool torch_trace_device_free(struct memory_reader *memory,
			     const struct torch_device *device, uint64_t *ret)
{
	struct torch_trace trace;
	struct torch_event event;
	uint64_t got = 0, given = 0;

	torch_trace_find(memory, device, &trace);
	for (uint64_t i = trace.layout ? trace.count : 0; i > 0; i--) {
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

/* --- time ----------------------------------------------------------------- */

enum {
	PAIRS = 1001,		/* of {ns since 1970, count} */
	ALLOCATOR_MAX = 1 << 16,	/* bytes of its object that are looked at */
};

/* Years 2001 to 2096. */
#define NS_MIN INT64_C(1000000000000000000)
#define NS_MAX INT64_C(4000000000000000000)
#define SPAN_MAX INT64_C(60000000000)	/* that measuring can take, in ns */

struct pair {
	int64_t ns;
	uint64_t count;
};

/** ns = at + rate × cycles */
struct line {
	double at, rate;
};

static bool are_pairs(const struct pair *pairs)
{
	if (pairs[0].ns < NS_MIN || pairs[0].ns > NS_MAX ||
	    pairs[PAIRS - 1].ns <= pairs[0].ns ||
	    pairs[PAIRS - 1].ns - pairs[0].ns > SPAN_MAX ||
	    pairs[PAIRS - 1].count <= pairs[0].count)
		return false;
	for (int i = 1; i < PAIRS; i++)
		if (pairs[i].count < pairs[i - 1].count ||
		    pairs[i].ns < NS_MIN || pairs[i].ns > NS_MAX)
			return false;
	return true;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *numbers, size_t count)
{
	qsort(numbers, count, sizeof(*numbers), by_size);
	return numbers[count / 2];
}

/** The straight line through those that are true with the least squares. */
static void fit_squares(const double *x, const double *y, const double *off,
			double most, struct line *line)
{
	double mean_x = 0, mean_y = 0, xx = 0, xy = 0, count = 0;

	for (int i = 0; i < PAIRS; i++) {
		if (fabs(off[i]) > most)
			continue;
		count++;
		mean_x += x[i];
		mean_y += y[i];
	}
	mean_x /= count;
	mean_y /= count;
	for (int i = 0; i < PAIRS; i++) {
		if (fabs(off[i]) > most)
			continue;
		xx += (x[i] - mean_x) * (x[i] - mean_x);
		xy += (x[i] - mean_x) * (y[i] - mean_y);
	}
	if (xx > 0 && xy > 0)
		line->rate = xy / xx;
	line->at = mean_y - line->rate * mean_x;
}

/**
 * The line through them. Where the process was interrupted in the middle of one it
 * is wrong by as much: what most of them say decides which are taken.
 */
static void fit_line(const struct pair *pairs, struct torch_clock *ret)
{
	double x[PAIRS], y[PAIRS], off[PAIRS], some[PAIRS];
	struct line line = { 0, 0 };
	size_t count = 0;

	for (int i = 0; i < PAIRS; i++) {
		x[i] = (double)(pairs[i].count - pairs[0].count);
		y[i] = (double)(pairs[i].ns - pairs[0].ns);
	}
	for (int i = 0; i < PAIRS / 2; i++)
		if (x[i + PAIRS / 2] > x[i])
			some[count++] = (y[i + PAIRS / 2] - y[i]) /
					(x[i + PAIRS / 2] - x[i]);
	if (count == 0 || (line.rate = median(some, count)) <= 0)
		return;
	for (int i = 0; i < PAIRS; i++)
		some[i] = y[i] - line.rate * x[i];
	line.at = median(some, PAIRS);
	for (int i = 0; i < PAIRS; i++) {
		off[i] = y[i] - line.rate * x[i] - line.at;
		some[i] = fabs(off[i]);
	}
	fit_squares(x, y, off, 3 * median(some, PAIRS) + 1, &line);
	ret->is_known = true;
	ret->rate = line.rate;
	ret->cycles = pairs[0].count;
	ret->ns = pairs[0].ns + (int64_t)line.at;
}

void torch_clock_find(struct memory_reader *memory, uint64_t allocator,
		      struct torch_clock *ret)
{
	enum { SIZE = PAIRS * sizeof(struct pair) };
	struct pair *pairs = malloc(SIZE);

	*ret = (struct torch_clock){ 0 };
	for (uint32_t at = 8; pairs && allocator && !ret->is_known &&
	     at < ALLOCATOR_MAX; at += 8) {
		uint64_t address = allocator + at, first;

		if (!memory_try_u64(memory, address, &first))
			break;
		if ((int64_t)first < NS_MIN || (int64_t)first > NS_MAX ||
		    !memory_try_read(memory, address, pairs, SIZE))
			continue;
		if (are_pairs(pairs))
			fit_line(pairs, ret);
	}
	free(pairs);
}

int64_t torch_clock_us(const struct torch_clock *clock, uint64_t count)
{
	double past = (double)(int64_t)(count - clock->cycles) * clock->rate;

	if (!clock->is_known)
		return (int64_t)count;
	if (past > (double)NS_MAX || past < -(double)NS_MAX)
		return 0;
	return (clock->ns + (int64_t)past) / 1000;
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

	if (!vector_at(memory, address + CONTEXT_PYTHON, &begin, &bytes,
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

	if (!vector_at(memory, address + CONTEXT_NATIVE, &begin, &bytes,
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
	if (vector_at(memory, address + CONTEXT_SCRIPT, &begin, &bytes, &room))
		ret->num_script = bytes > 0;
	return true;
}

void torch_context_deinit(struct torch_context *context)
{
	free(context->python);
	free(context->native);
	*context = (struct torch_context){ 0 };
}

/* --- annotations ---------------------------------------------------------- */

enum {
	/* of an annotation: device, time, std::unordered_map of two strings */
	NOTE_TIME = 8, NOTE_MAP = 16, NOTE_SIZE = 72,
	/* of that: buckets, their number, first node, number of nodes, load */
	MAP_FIRST = 16, MAP_COUNT = 24, MAP_LOAD = 32,
	/* of a node */
	NODE_KEY = 8, NODE_VALUE = 40, NODE_VALUE_OLD = 16,
	PAIRS_MAX = 256,	/* of one annotation */
};

static bool is_note(const uint8_t *bytes)
{
	float load;

	memcpy(&load, bytes + NOTE_MAP + MAP_LOAD, sizeof(load));
	return load == 1.0F && word_of(bytes, NOTE_TIME) != 0 &&
	       word_of(bytes, NOTE_MAP + MAP_COUNT) <= PAIRS_MAX &&
	       word_of(bytes, NOTE_MAP) % 8 == 0;
}

static bool notes_at(struct memory_reader *memory, uint64_t place,
		     uint64_t vector, struct torch_annotations *ret)
{
	uint64_t begin, bytes, room, limit, next, samples, fitting = 0;
	uint8_t note[NOTE_SIZE];

	if (!vector_at(memory, vector, &begin, &bytes, &room) || bytes == 0 ||
	    bytes % NOTE_SIZE || room % NOTE_SIZE ||
	    !memory_try_u64(memory, place - RING_LIMIT, &limit) ||
	    !memory_try_u64(memory, place - RING_NEXT, &next) ||
	    !counts_fit(limit, next, bytes / NOTE_SIZE))
		return false;
	ret->count = bytes / NOTE_SIZE;
	samples = ret->count < SAMPLES ? ret->count : SAMPLES;
	for (uint64_t i = 0; i < samples; i++) {
		uint64_t at = begin + i * ret->count / samples * NOTE_SIZE;

		fitting += memory_try_read(memory, at, note, sizeof(note)) &&
			   is_note(note);
	}
	ret->events = begin;
	ret->next = next;
	ret->is_known = fitting * 10 >= samples * 9;
	return ret->is_known;
}

void torch_annotations_find(struct memory_reader *memory,
			    const struct caching_allocator *allocator,
			    struct torch_annotations *ret)
{
	*ret = (struct torch_annotations){ 0 };
	for (uint32_t at = RING_LIMIT + 8; at < ALLOCATOR_MAX; at += 8) {
		uint64_t place = allocator->address + at, vector;

		if (!memory_try_u64(memory, place, &vector))
			break;
		if (vector && vector % 8 == 0 && vector < ADDRESS_MAX &&
		    notes_at(memory, place, vector, ret))
			return;
	}
	*ret = (struct torch_annotations){ 0 };
}

bool torch_annotation_each(struct memory_reader *memory,
			   const struct torch_annotations *annotations,
			   uint64_t i, int *ret_device, uint64_t *ret_time,
			   void (*fn)(void *context, uint64_t key,
				      uint64_t value),
			   void *context)
{
	uint64_t number = i < annotations->count - annotations->next ?
				  annotations->next + i :
				  i - (annotations->count - annotations->next);
	uint64_t address = annotations->events + number * NOTE_SIZE, node, count;
	uint8_t bytes[NOTE_SIZE];

	if (!memory_try_read(memory, address, bytes, sizeof(bytes)) ||
	    !is_note(bytes))
		return false;
	*ret_device = (int8_t)bytes[0];
	*ret_time = word_of(bytes, NOTE_TIME);
	node = word_of(bytes, NOTE_MAP + MAP_FIRST);
	count = word_of(bytes, NOTE_MAP + MAP_COUNT);
	for (uint64_t k = 0; k < count; k++) {
		uint64_t at = node, text, size;
		uint8_t key[STRING_SIZE];

		if (at == 0 || !memory_try_u64(memory, at, &node) ||
		    !memory_try_read(memory, at + NODE_KEY, key, sizeof(key)))
			return false;
		fn(context, at + NODE_KEY,
		   at + (string_at(key, at + NODE_KEY, &text, &size) ?
				 NODE_VALUE : NODE_VALUE_OLD));
	}
	return node == 0;
}
