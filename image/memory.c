/*
 * The target's address space; see memory.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/memory.h"

#include <inttypes.h>
#include <stdlib.h>

#include "image/format.h"

enum {
	ZERO_WINDOW = 64 << 10,	/* bytes of a view of MEMORY_ZERO */
	FAR_MAX = 32,		/* bytes copied from far away, and … */
	FAR_TIMES = 8,		/* … how often in a row from one place */
	NUM_STATES = MEMORY_ZERO + 1,
};

struct memory {
	struct backing *backing;	/* borrowed; NULL: all is in memory */
	uint64_t grain;		/* of backing's views; 0: as far as the file */
	struct memory_range *ranges;
	size_t count, capacity;
	bool sealed;
	uint64_t total[NUM_STATES];	/* bytes */
};

static const uint8_t zeroes[ZERO_WINDOW];

struct error *memory_create(struct backing *backing, struct memory **ret)
{
	struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return error_no_memory();
	memory->backing = backing;
	memory->grain = backing ? backing_grain(backing) : 0;
	*ret = memory;
	return NULL;
}

void memory_destroy(struct memory *memory)
{
	if (!memory)
		return;
	free(memory->ranges);
	free(memory);
}

struct error *memory_add(struct memory *memory,
			 const struct memory_range *range)
{
	if (range->start >= range->end || range->state == MEMORY_UNMAPPED ||
	    range->state > MEMORY_ZERO)
		return error_at(ERROR_FORMAT, range->start,
				"a range of memory from 0x%" PRIx64
				" to 0x%" PRIx64 " cannot be",
				range->start, range->end);
	if (memory->count >= UINT32_MAX)
		return error_new(ERROR_LIMIT, "more than 4 billion ranges");
	if (memory->count == memory->capacity) {
		size_t capacity = memory->capacity ? memory->capacity * 2 : 64;
		struct memory_range *more;

		more = reallocarray(memory->ranges, capacity, sizeof(*more));
		if (!more)
			return error_no_memory();
		memory->ranges = more;
		memory->capacity = capacity;
	}
	memory->ranges[memory->count++] = *range;
	return NULL;
}

/* --- sealing -------------------------------------------------------------- */

/** Which of two ranges at one address is believed: the smaller number. */
static unsigned int precedence(const struct memory_range *range)
{
	if (range->state == MEMORY_CAPTURED)
		return 1;
	if (range->state == MEMORY_ZERO)
		return 2;
	return range->reason == FORMAT_FAILED ? 0 : 3;
}

/*
 * A sweep over the ranges by start address. The heap holds the numbers of
 * the ranges that have begun, the believed one on top; those that have ended
 * leave it when they come to the top.
 */
struct sweep {
	const struct memory_range *in;
	size_t num_in;
	uint32_t *heap;
	size_t heap_size;
	struct memory_range *out;
	size_t num_out, out_capacity;
	uint32_t last_from;	/* which range out's last one is a piece of */
};

static bool sweep_before(const struct sweep *sweep, uint32_t a, uint32_t b)
{
	unsigned int first = precedence(&sweep->in[a]);
	unsigned int second = precedence(&sweep->in[b]);

	return first != second ? first < second : a < b;
}

static void sweep_swap(struct sweep *sweep, size_t i, size_t j)
{
	uint32_t kept = sweep->heap[i];

	sweep->heap[i] = sweep->heap[j];
	sweep->heap[j] = kept;
}

static void sweep_push(struct sweep *sweep, uint32_t number)
{
	size_t at = sweep->heap_size++;

	sweep->heap[at] = number;
	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (!sweep_before(sweep, sweep->heap[at], sweep->heap[parent]))
			break;
		sweep_swap(sweep, at, parent);
		at = parent;
	}
}

static void sweep_pop(struct sweep *sweep)
{
	size_t at = 0;

	sweep->heap[0] = sweep->heap[--sweep->heap_size];
	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= sweep->heap_size)
			break;
		if (child + 1 < sweep->heap_size &&
		    sweep_before(sweep, sweep->heap[child + 1],
				 sweep->heap[child]))
			child++;
		if (!sweep_before(sweep, sweep->heap[child], sweep->heap[at]))
			break;
		sweep_swap(sweep, at, child);
		at = child;
	}
}

/** Append the piece [start, end) of range number, or lengthen the last one. */
static struct error *sweep_emit(struct sweep *sweep, uint32_t number,
				uint64_t start, uint64_t end)
{
	struct memory_range piece = sweep->in[number];
	struct memory_range *last = sweep->num_out ?
				    &sweep->out[sweep->num_out - 1] : NULL;

	if (last && sweep->last_from == number && last->end == start) {
		last->end = end;
		return NULL;
	}
	if (sweep->num_out == sweep->out_capacity) {
		size_t capacity = sweep->out_capacity + sweep->num_in / 2 + 64;
		struct memory_range *more;

		more = reallocarray(sweep->out, capacity, sizeof(*more));
		if (!more)
			return error_no_memory();
		sweep->out = more;
		sweep->out_capacity = capacity;
	}
	piece.offset += start - piece.start;
	if (piece.bytes)
		piece.bytes += start - piece.start;
	piece.start = start;
	piece.end = end;
	sweep->out[sweep->num_out++] = piece;
	sweep->last_from = number;
	return NULL;
}

/** Emit what is believed between at and limit from the ranges in the heap. */
static struct error *sweep_advance(struct sweep *sweep, uint64_t at,
				   uint64_t limit)
{
	struct error *err;

	while (at < limit && sweep->heap_size) {
		uint32_t top = sweep->heap[0];
		uint64_t end = sweep->in[top].end;

		if (end <= at) {
			sweep_pop(sweep);
			continue;
		}
		if (end > limit)
			end = limit;
		err = sweep_emit(sweep, top, at, end);
		if (err)
			return err;
		at = end;
	}
	return NULL;
}

static struct error *sweep_run(struct sweep *sweep, const uint32_t *order)
{
	struct error *err = NULL;

	for (size_t i = 0; i < sweep->num_in && !err; i++) {
		uint64_t at = sweep->in[order[i]].start;
		uint64_t next = i + 1 < sweep->num_in ?
				sweep->in[order[i + 1]].start : UINT64_MAX;

		sweep_push(sweep, order[i]);
		err = sweep_advance(sweep, at, next);
	}
	return err;
}

static int compare_start(const void *a, const void *b, void *context)
{
	const struct memory_range *ranges = context;
	uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;

	if (ranges[first].start != ranges[second].start)
		return ranges[first].start < ranges[second].start ? -1 : 1;
	return first < second ? -1 : first > second;
}

static bool already_apart(const struct memory *memory)
{
	for (size_t i = 1; i < memory->count; i++) {
		if (memory->ranges[i].start < memory->ranges[i - 1].end)
			return false;
	}
	return true;
}

/** Put the numbers of all ranges, by start address, into order. */
static void sort_numbers(const struct memory *memory, uint32_t *order)
{
	for (size_t i = 0; i < memory->count; i++)
		order[i] = (uint32_t)i;
	qsort_r(order, memory->count, sizeof(*order), compare_start,
		memory->ranges);
}

/** Replace the ranges by sorted ones that do not overlap. */
static struct error *sort_and_cut(struct memory *memory)
{
	struct sweep sweep = { .in = memory->ranges, .num_in = memory->count };
	uint32_t *order = calloc(memory->count, sizeof(*order));
	struct error *err;

	sweep.heap = calloc(memory->count, sizeof(*sweep.heap));
	if (order && sweep.heap) {
		sort_numbers(memory, order);
		err = sweep_run(&sweep, order);
	} else {
		err = error_no_memory();
	}
	free(order);
	free(sweep.heap);
	if (err) {
		free(sweep.out);
		return err;
	}
	free(memory->ranges);
	memory->ranges = sweep.out;
	memory->count = sweep.num_out;
	memory->capacity = sweep.out_capacity;
	return NULL;
}

struct error *memory_seal(struct memory *memory)
{
	struct error *err;

	if (!already_apart(memory)) {
		err = sort_and_cut(memory);
		if (err)
			return err;
	}
	for (size_t i = 0; i < memory->count; i++) {
		struct memory_range *range = &memory->ranges[i];
		uint64_t size = range->end - range->start;

		memory->total[range->state] += size;
		if (range->state == MEMORY_CAPTURED && !range->bytes &&
		    memory->backing)
			range->bytes = backing_mapped(memory->backing,
						      range->offset, size);
	}
	memory->sealed = true;
	return NULL;
}

/* --- asking --------------------------------------------------------------- */

size_t memory_num_ranges(const struct memory *memory)
{
	return memory->count;
}

const struct memory_range *memory_range(const struct memory *memory, size_t i)
{
	return &memory->ranges[i];
}

const struct memory_range *memory_find_above(const struct memory *memory,
					     uint64_t address)
{
	size_t low = 0, high = memory->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (memory->ranges[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low < memory->count ? &memory->ranges[low] : NULL;
}

const struct memory_range *memory_find(const struct memory *memory,
				       uint64_t address)
{
	const struct memory_range *range = memory_find_above(memory, address);

	return range && range->start <= address ? range : NULL;
}

enum memory_state memory_state_at(const struct memory *memory,
				  uint64_t address)
{
	const struct memory_range *range = memory_find(memory, address);

	return range ? range->state : MEMORY_UNMAPPED;
}

uint64_t memory_total(const struct memory *memory, enum memory_state state)
{
	return memory->total[state];
}

/* --- reading -------------------------------------------------------------- */

struct error *memory_reader_init(struct memory_reader *reader,
				 const struct memory *memory)
{
	struct backing_reader *backing = NULL;
	struct error *err;

	if (memory->backing) {
		err = backing_reader_create(memory->backing, &backing);
		if (err)
			return err;
	}
	*reader = (struct memory_reader){ .memory = memory, .backing = backing };
	return NULL;
}

void memory_reader_pass(struct memory_reader *reader, bool pass)
{
	if (reader->backing)
		backing_reader_pass(reader->backing, pass);
}

void memory_reader_deinit(struct memory_reader *reader)
{
	if (reader->backing)
		backing_reader_destroy(reader->backing);
	free(reader->bounce);
	*reader = (struct memory_reader){ 0 };
}

/** The range that holds address, or NULL; an earlier answer is tried first. */
static const struct memory_range *find_cached(struct memory_reader *reader,
					      uint64_t address)
{
	size_t slot = memory_recent_slot(address);
	const struct memory_range *range = reader->recent[slot];

	if (range && address >= range->start && address < range->end)
		return range;
	range = memory_find(reader->memory, address);
	if (range)
		reader->recent[slot] = range;
	return range;
}

/** Try the backing for bytes at from that reach beyond address. */
static bool open_core_window(struct memory_reader *reader,
			     const struct memory_range *range, uint64_t from,
			     uint64_t address)
{
	uint64_t want = range->end - from;
	const uint8_t *view;
	size_t size;

	// The pointer of the earlier window dies with this call.
	reader->view_size = 0;
	if (want > SIZE_MAX / 2)
		want = SIZE_MAX / 2;
	view = backing_view(reader->backing, range->offset +
			    (from - range->start), (size_t)want, &size);
	if (!view || size <= address - from)
		return false;
	reader->view = view;
	reader->view_start = from;
	reader->view_size = size;
	return true;
}

/**
 * Make the window the largest one known that holds address; false where the
 * byte at address is not to be had. The window ends with the range.
 */
static bool open_window(struct memory_reader *reader, uint64_t address)
{
	const struct memory_range *range = find_cached(reader, address);
	uint64_t offset, back, from;

	if (!range || range->state == MEMORY_NOT_CAPTURED)
		return false;
	if (range->state == MEMORY_ZERO) {
		from = address & ~(uint64_t)(ZERO_WINDOW - 1);
		from = from > range->start ? from : range->start;
		reader->view = zeroes;
		reader->view_start = from;
		reader->view_size = range->end - from < ZERO_WINDOW ?
				    range->end - from : ZERO_WINDOW;
		// from may be the range's start, off the 64 KiB grid.
		return address - from < reader->view_size;
	}
	if (range->bytes) {
		reader->view = range->bytes;
		reader->view_start = range->start;
		reader->view_size = range->end - range->start;
		return true;
	}
	if (!reader->backing)
		return false;
	from = range->start;
	if (reader->memory->grain) {
		// Frames of ours lie on a grid; beginning there makes the
		// window the whole frame, whichever byte was asked for.
		offset = range->offset + (address - range->start);
		back = offset & (reader->memory->grain - 1);
		if (back < address - range->start)
			from = address - back;
	}
	return open_core_window(reader, range, from, address) ||
	       (from != address &&
		open_core_window(reader, range, address, address));
}

/**
 * Go over size bytes at address window by window and copy them to buffer, or
 * only see whether they are there where buffer is NULL.
 *
 * @param ret_bad  the first address that is not to be had; may be NULL
 */
static bool gather(struct memory_reader *reader, uint64_t address,
		   uint8_t *buffer, size_t size, uint64_t *ret_bad)
{
	size_t done = 0;

	while (done < size) {
		uint64_t at = address + done, inside;
		size_t part = size - done;

		inside = at - reader->view_start;
		if (at < address || (inside >= reader->view_size &&
				     !open_window(reader, at))) {
			if (ret_bad)
				*ret_bad = at;
			return false;
		}
		inside = at - reader->view_start;
		if (part > reader->view_size - inside)
			part = (size_t)(reader->view_size - inside);
		if (buffer)
			memcpy(buffer + done, reader->view + inside, part);
		done += part;
	}
	return true;
}

static bool in_window(const struct memory_reader *reader, uint64_t address,
		      size_t size)
{
	uint64_t at = address - reader->view_start;

	return at < reader->view_size && size <= reader->view_size - at;
}

/** Copy size bytes at address, touching buffer only if all can be had. */
static bool read_all(struct memory_reader *reader, uint64_t address,
		     void *buffer, size_t size, uint64_t *ret_bad)
{
	uint64_t bad = address;

	if (size == 0)
		return true;
	if (!in_window(reader, address, size) && open_window(reader, address) &&
	    in_window(reader, address, size)) {
		memcpy(buffer, reader->view + (address - reader->view_start),
		       size);
		return true;
	}
	// What crosses windows is looked at as a whole before it is copied.
	if (gather(reader, address, NULL, size, &bad) &&
	    gather(reader, address, buffer, size, &bad))
		return true;
	if (ret_bad)
		*ret_bad = bad;
	return false;
}

/**
 * Copy few bytes from far away, and leave the window where it is: its own bytes
 * will be wanted next. Where more and more are wanted there, it has to move.
 */
static bool read_far(struct memory_reader *reader, uint64_t address,
		     void *buffer, size_t size)
{
	const struct memory_range *range;
	uint64_t grain = reader->memory->grain, words[FAR_MAX / 8];
	uint64_t place = address & ~(grain - 1);

	if (reader->far_place != place) {
		reader->far_place = place;
		reader->far_count = 0;
	}
	if (reader->far_count == FAR_TIMES)
		return false;
	range = find_cached(reader, address);
	if (!range || range->source != MEMORY_FROM_CORE ||
	    size > range->end - address ||
	    !backing_copy(reader->memory->backing,
			  range->offset + (address - range->start), words,
			  size))
		return false;
	reader->far_count++;
	memcpy(buffer, words, size);
	return true;
}

void memory_fetch_slow(struct memory_reader *reader, uint64_t address)
{
	const struct memory_range *range =
		reader->recent[memory_recent_slot(address)];

	if (range && !range->bytes && range->source == MEMORY_FROM_CORE &&
	    address >= range->start && address < range->end &&
	    reader->memory->grain)
		backing_fetch(reader->memory->backing,
			      range->offset + (address - range->start));
}

bool memory_read_slow(struct memory_reader *reader, uint64_t address,
		      void *buffer, size_t size)
{
	if (reader->memory->grain && size <= FAR_MAX &&
	    read_far(reader, address, buffer, size))
		return true;
	return read_all(reader, address, buffer, size, NULL);
}

bool memory_try_few(struct memory_reader *reader, uint64_t address,
		    void *buffer, size_t size)
{
	const struct memory *memory = reader->memory;
	const struct memory_range *range = memory_find(memory, address);

	if (range && range->source == MEMORY_FROM_CORE && memory->backing &&
	    size <= range->end - address &&
	    backing_peek(memory->backing,
			 range->offset + (address - range->start), buffer, size))
		return true;
	return memory_try_read(reader, address, buffer, size);
}

struct error *memory_read(struct memory_reader *reader, uint64_t address,
			  void *buffer, size_t size)
{
	const struct memory_range *range;
	uint64_t bad = address;

	if (read_all(reader, address, buffer, size, &bad))
		return NULL;
	range = memory_find(reader->memory, bad);
	if (!range)
		return error_at(ERROR_UNMAPPED, bad, "nothing was mapped at "
				"0x%" PRIx64, bad);
	if (range->state == MEMORY_NOT_CAPTURED)
		return error_at(ERROR_NOT_CAPTURED, bad, "the dump does not "
				"hold the memory at 0x%" PRIx64, bad);
	return error_at(ERROR_NOT_CAPTURED, bad, "the memory at 0x%" PRIx64
			" is lost with a damaged part of the file", bad);
}

struct error *memory_read_u64(struct memory_reader *reader, uint64_t address,
			      uint64_t *ret)
{
	return memory_read(reader, address, ret, sizeof(*ret));
}

bool memory_try_string(struct memory_reader *reader, uint64_t address,
		       char *buffer, size_t size)
{
	size_t done = 0;

	// The terminator may stand before the first byte that is not there,
	// so this looks at what each window holds, not at size bytes.
	while (done < size) {
		uint64_t at = address + done, inside = at - reader->view_start;
		size_t part = size - done, length;

		if (at < address || (inside >= reader->view_size &&
				     !open_window(reader, at)))
			break;
		inside = at - reader->view_start;
		if (part > reader->view_size - inside)
			part = (size_t)(reader->view_size - inside);
		length = strnlen((const char *)reader->view + inside, part);
		memcpy(buffer + done, reader->view + inside, length);
		done += length;
		if (length < part) {
			buffer[done] = '\0';
			return true;
		}
	}
	return false;
}

/** Whether the bounce buffer has these bytes from before. */
static bool in_bounce(const struct memory_reader *reader, uint64_t address,
		      size_t size)
{
	uint64_t at = address - reader->bounce_start;

	return at < reader->bounced && size <= reader->bounced - at;
}

/** Room for size bytes in the bounce buffer; false without memory. */
static bool grow_bounce(struct memory_reader *reader, size_t size)
{
	size_t capacity = 4096;
	uint8_t *more;

	if (size <= reader->bounce_size)
		return true;
	while (capacity < size)
		capacity *= 2;
	more = realloc(reader->bounce, capacity);
	if (!more)
		return false;
	reader->bounce = more;
	reader->bounce_size = capacity;
	return true;
}

/** Copy what crosses windows; false if not all of it is there. */
static bool fill_bounce(struct memory_reader *reader, uint64_t address,
			size_t size)
{
	reader->bounced = 0;
	if (!grow_bounce(reader, size) ||
	    !gather(reader, address, reader->bounce, size, NULL))
		return false;
	reader->bounce_start = address;
	reader->bounced = size;
	return true;
}

const void *memory_view(struct memory_reader *reader, uint64_t address,
			size_t size)
{
	if (size == 0)
		return zeroes;
	if (in_window(reader, address, size))
		return reader->view + (address - reader->view_start);
	// Who looks at a pool's objects one by one asks for it each time.
	if (in_bounce(reader, address, size))
		return reader->bounce + (address - reader->bounce_start);
	if (!open_window(reader, address))
		return NULL;
	if (in_window(reader, address, size))
		return reader->view + (address - reader->view_start);
	if (size > MEMORY_VIEW_MAX || address + size < address ||
	    !fill_bounce(reader, address, size))
		return NULL;
	return reader->bounce;
}
