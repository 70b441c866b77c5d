/*
 * Greenlets; see pygreenlet.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pygreenlet.h"

#include <elf.h>

enum {
	BODY_WORDS = 40,	/* of an object of C++ that are read */
	BODY_WORDS_MIN = 20,
	SAME_TABLES = 1 << 16,	/* bytes that vtables of a module lie within */
	CHUNK_HEADER = 24,	/* _PyStackChunk: previous, size, top */
	FRAME_WORDS = 4,	/* current_frame, datastack_chunk, _top, _limit */
	SUBCLASS_WORDS = 3,	/* _main_greenlet, _run_callable, _parent */
	/* words of the structure of C, behind the header */
	OLD_TOP_FRAME = 7,
	OLD_FRAMES = 9,
	OLD_WORDS = 13,
	/* words of the stack's state */
	STACK_START = 0, STACK_STOP, STACK_COPY, STACK_SAVED, STACK_PREVIOUS,
	STACK_WORDS,
};

/** The words of a greenlet being read. */
struct reading {
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	uint64_t address;
	uint64_t words[BODY_WORDS];
	uint32_t count;
};

static uint64_t word(const struct reading *reading, uint32_t i)
{
	return i < reading->count ? reading->words[i] : 0;
}

/** False if it can be no stack. */
static bool read_stack(const uint64_t words[static STACK_WORDS],
		       struct pyh_greenlet *ret)
{
	uint64_t start = words[STACK_START], stop = words[STACK_STOP];
	uint64_t saved = words[STACK_SAVED];

	// One that has ended has a stop and no start, that of a thread no stop.
	if (start > stop || saved > stop - start ||
	    (saved == 0) != (words[STACK_COPY] == 0))
		return false;
	ret->is_main = stop == UINT64_MAX;
	ret->active = start != 0;
	ret->stack_start = start;
	ret->stack_copy = words[STACK_COPY];
	ret->stack_saved = saved;
	return true;
}

/** The frames, unless it runs: then they are the thread's. */
static void read_frames(const struct reading *reading, uint32_t top,
			uint32_t frames, struct pyh_greenlet *ret)
{
	ret->suspended = ret->active && word(reading, top) != 0;
	if (!ret->suspended)
		return;
	ret->top_frame = word(reading, top);
	if (frames == 0)
		return;
	ret->current_frame = word(reading, frames);
	ret->datastack = word(reading, frames + 1);
	ret->datastack_top = word(reading, frames + 2);
}

/** Do these words lead to a chunk of a data stack, its top and its end? */
static bool is_datastack(const struct reading *reading, uint32_t at)
{
	uint64_t chunk = word(reading, at), top = word(reading, at + 1);
	uint64_t limit = word(reading, at + 2), size;

	return chunk != 0 && chunk % 8 == 0 && limit > chunk &&
	       memory_try_u64(reading->memory, chunk + 8, &size) &&
	       limit - chunk == size && top >= chunk + CHUNK_HEADER &&
	       top <= limit;
}

/* --- an object of C++ ------------------------------------------------------- */

/** The table of a class's functions: the first leads to code. */
static bool is_table(const struct reading *reading, uint64_t table)
{
	const struct memory_range *range;
	uint64_t function;

	if (table == 0 || table % 8 ||
	    !memory_try_u64(reading->memory, table, &function))
		return false;
	range = memory_find(reading->memory->memory, function);
	return range && range->protection & PF_X;
}

static uint64_t body_of(const struct reading *reading, uint64_t address)
{
	uint64_t at = address + reading->runtime->size_of[PYH_STRUCT_OBJECT] +
		      16, body;

	return address != 0 && address % 8 == 0 &&
			       memory_try_u64(reading->memory, at, &body) &&
			       body % 8 == 0 ? body : 0;
}

/** Is there a greenlet, too, by its table's being near? */
static bool is_greenlet(const struct reading *reading, uint64_t address)
{
	uint64_t body = body_of(reading, address), table;

	return body != 0 && memory_try_u64(reading->memory, body, &table) &&
	       table - reading->words[0] + SAME_TABLES < 2 * SAME_TABLES;
}

/** Where the frames are, of which there are some; 0: not found. */
static uint32_t find_frames(const struct reading *reading, uint32_t top)
{
	for (uint32_t i = top + 1; i + FRAME_WORDS <= reading->count &&
				   i < top + 16; i++)
		if (is_datastack(reading, i + 1))
			return i;
	return 0;
}

/** Words between the top frame and what a subclass adds, at most. */
static uint32_t words_behind_top(const struct pyh_runtime *runtime)
{
	uint32_t words = 0;

	switch (runtime->minor) {
	case 8:
	case 9:
		return 1;
	case 10:
		return 3;
	case 11:
	case 12:
		return 7;
	case 13:
		words = 7;
		break;
	default:
		words = 9;
	}
	// A list of references of its C stack, and a vector of them.
	return words + (runtime->free_threaded && runtime->minor >= 14 ? 4 : 0);
}

static bool is_subclass_at(const struct reading *reading, uint32_t at)
{
	return (word(reading, at) == 0 ||
		is_greenlet(reading, word(reading, at))) &&
	       is_greenlet(reading, word(reading, at + 2)) &&
	       word(reading, at + 1) % 8 == 0;
}

/** What a class of greenlets other than a thread's main one adds. */
static void read_subclass(const struct reading *reading, uint32_t at,
			  bool certain, struct pyh_greenlet *ret)
{
	for (int i = 0; i < 2; i++, at--) {
		uint32_t first = at + (word(reading, at) == reading->address);

		if (!certain && i == 0 && !is_subclass_at(reading, first))
			continue;
		ret->main_greenlet = word(reading, first);
		ret->run = word(reading, first + 1);
		ret->parent = word(reading, first + 2);
		ret->body_size = (first + SUBCLASS_WORDS) * 8U;
		return;
	}
}

static bool read_body(struct reading *reading, struct pyh_greenlet *ret)
{
	uint32_t i = 1, states = reading->runtime->minor <= 10 ? 3 : 1;
	uint32_t top, frames, subclass;

	if (!is_table(reading, reading->words[0]))
		return false;
	i += reading->words[1] == reading->address;
	i++;		// exc_info, which leads to the next word or elsewhere
	for (uint32_t j = 0; j < states; j++)
		ret->exception[j] = reading->words[i++];
	i++;		// previous_item
	ret->args = reading->words[i++];
	ret->kwargs = reading->words[i++];
	if (!read_stack(reading->words + i, ret))
		return false;
	i += STACK_WORDS;
	ret->context = reading->words[i++];
	top = i;
	frames = reading->runtime->minor >= 11 ? find_frames(reading, top) : 0;
	read_frames(reading, top, frames, ret);
	subclass = frames ? frames + FRAME_WORDS :
			    top + 1 + words_behind_top(reading->runtime);
	ret->body_size = subclass * 8U;
	if (!ret->is_main)
		read_subclass(reading, subclass,
			      frames || reading->runtime->minor < 13, ret);
	return true;
}

static bool read_new(struct reading *reading, struct pyh_greenlet *ret)
{
	ret->body = body_of(reading, reading->address);
	reading->count = BODY_WORDS;
	while (!memory_try_read(reading->memory, ret->body, reading->words,
				reading->count * sizeof(reading->words[0])))
		if (--reading->count < BODY_WORDS_MIN)
			return false;
	return read_body(reading, ret);
}

/* --- a structure of C --------------------------------------------------------- */

static bool read_old(struct reading *reading, struct pyh_greenlet *ret)
{
	uint64_t at = reading->address +
		      reading->runtime->size_of[PYH_STRUCT_OBJECT];

	reading->count = OLD_WORDS;
	if (!memory_try_read(reading->memory, at, reading->words,
			     OLD_WORDS * sizeof(reading->words[0])) ||
	    !read_stack(reading->words, ret))
		return false;
	read_frames(reading, OLD_TOP_FRAME,
		    reading->runtime->minor >= 11 &&
				    is_datastack(reading, OLD_FRAMES + 1) ?
			    OLD_FRAMES : 0, ret);
	return true;
}

bool pyh_greenlet_read(const struct pyh_runtime *runtime,
		       struct memory_reader *memory, enum pyh_kind kind,
		       uint64_t address, struct pyh_greenlet *ret)
{
	struct reading reading = { .runtime = runtime, .memory = memory,
				   .address = address };

	*ret = (struct pyh_greenlet){ 0 };
	return kind == PYH_KIND_GREENLET ? read_new(&reading, ret) :
					   read_old(&reading, ret);
}

bool pyh_greenlet_is_passed_over(const struct pyh_runtime *runtime,
				 struct memory_reader *memory,
				 const struct pyh_type *type, uint64_t address)
{
	struct pyh_greenlet greenlet;

	// Free-threaded builds of 3.14 are not asked either.
	return runtime->minor < (runtime->free_threaded ? 14 : 15) &&
	       pyh_greenlet_is_one(type) &&
	       pyh_greenlet_read(runtime, memory, type->kind, address,
				 &greenlet) &&
	       greenlet.active && !greenlet.is_main;
}
