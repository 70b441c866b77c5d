/*
 * The garbage collector's own numbers; see pygc.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pygc.h"

#include <inttypes.h>
#include <string.h>

#include "image/base/findings.h"

enum {
	GC_FLAGS = 3,		/* low bits of the words of PyGC_Head */
	PERMANENT = 3,		/* index of that list */
	SHORT = 4,		/* bytes of an int */
};

/** Reading one collector. */
struct reading {
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	const struct pyh_interpreter *interpreter;
	uint64_t gc;		/* address of _gc_runtime_state */
};

/** A field as the signed number it is. */
static int64_t number(const struct reading *reading, uint64_t structure,
		      enum pyh_field field)
{
	uint64_t value;

	if (!pyh_field(reading->runtime, reading->memory, structure, field,
		       &value))
		return PYH_GC_UNKNOWN;
	return reading->runtime->at[field].size == SHORT ?
		       (int32_t)value : (int64_t)value;
}

/* --- lists ---------------------------------------------------------------- */

/** One word of a PyGC_Head, without its flags. */
static bool link_at(const struct reading *reading, uint64_t address,
		    uint64_t *ret)
{
	if (!memory_try_u64(reading->memory, address, ret))
		return false;
	*ret &= ~(uint64_t)GC_FLAGS;
	return true;
}

/**
 * Follow a list one way while each link leads back.
 *
 * @param forth  offset of the word to follow: 0 or 8; the other leads back
 * @param ret_last  the last head that was reached
 * @return heads passed, that of the list not counted
 */
static int64_t follow(const struct reading *reading, uint64_t list,
		      unsigned int forth, uint64_t *ret_last)
{
	uint64_t at = list, next, back;
	int64_t count = 0;

	// Every head has one before it, so that this comes back to the list
	// or ends: no cycle can be entered.
	while (link_at(reading, at + forth, &next) &&
	       link_at(reading, next + (forth ^ 8), &back) && back == at &&
	       next != list) {
		at = next;
		count++;
	}
	*ret_last = at;
	return count;
}

/** As long as there is no damage, from one end alone. */
static int64_t count_list(const struct reading *reading, uint64_t list)
{
	struct findings *findings = reading->runtime->image->findings;
	uint64_t first, last, next;
	int64_t forward, backward;

	forward = follow(reading, list, 0, &first);
	if (link_at(reading, first, &next) && next == list)
		return forward;
	backward = follow(reading, list, 8, &last);
	findings_add(findings, "gc-list", first, "the collector's list at 0x%"
		     PRIx64 " is broken behind this head: %" PRId64
		     " objects before it, %" PRId64 " after 0x%" PRIx64,
		     list, forward, backward, last);
	return forward + backward;
}

/**
 * The same while a collection runs: links back hold counts then, so that only
 * those forward can be followed.
 */
static int64_t count_forward(const struct reading *reading, uint64_t list)
{
	uint64_t at = list, seen = 0;
	int64_t count = 0;

	for (;;) {
		if (!link_at(reading, at, &at) || at == seen || at == 0)
			return PYH_GC_UNKNOWN;
		if (at == list)
			return count;
		// Brent: a cycle comes back to where it was at a power of two.
		if ((count & (count - 1)) == 0)
			seen = at;
		count++;
	}
}

static int64_t list_length(const struct reading *reading, unsigned int list)
{
	uint64_t head = reading->interpreter->gc_heads[list];

	if (head == 0)
		return PYH_GC_UNKNOWN;
	return reading->interpreter->collecting && list != PERMANENT ?
		       count_forward(reading, head) :
		       count_list(reading, head);
}

/* --- statistics ----------------------------------------------------------- */

/**
 * Where the gc_generation_stats of a generation are. 3.15 keeps some of the
 * last collections, each with the sums up to it, and which is the newest.
 */
static uint64_t stats_address(const struct reading *reading,
			      unsigned int generation)
{
	const struct pyh_runtime *runtime = reading->runtime;
	uint32_t size = runtime->size_of[PYH_STRUCT_GENERATIONSTATS];
	uint64_t stats = reading->gc +
			 pyh_offset(runtime, PYH_GC_GENERATION_STATS);
	enum pyh_field items = PYH_GCSTATS_YOUNG_ITEMS;
	enum pyh_field index = PYH_GCSTATS_YOUNG_INDEX;
	uint64_t newest;

	if (!pyh_has(runtime, PYH_GCSTATS_YOUNG_ITEMS))
		return stats + (uint64_t)generation * size;
	if (!memory_try_u64(reading->memory, stats, &stats) || stats == 0)
		return 0;
	if (generation > 0) {
		stats += pyh_offset(runtime, PYH_GCSTATS_OLD) +
			 (generation - 1) *
			 (uint64_t)runtime->size_of[PYH_STRUCT_OLDSTATS];
		items = PYH_OLDSTATS_ITEMS;
		index = PYH_OLDSTATS_INDEX;
	}
	if (!pyh_field(runtime, reading->memory, stats, index, &newest) ||
	    newest >= runtime->at[items].size / size)
		return 0;
	return stats + pyh_offset(runtime, items) + newest * size;
}

static void read_stats(const struct reading *reading, unsigned int index,
		       struct pyh_gc_generation *ret)
{
	const struct pyh_runtime *runtime = reading->runtime;
	uint64_t stats = 0, duration;

	ret->duration = -1;
	if (pyh_has(runtime, PYH_GC_GENERATION_STATS))
		stats = stats_address(reading, index);
	ret->collections = ret->collected = ret->uncollectable =
		ret->candidates = PYH_GC_UNKNOWN;
	if (stats == 0)
		return;
	ret->collections = number(reading, stats,
				  PYH_GENERATIONSTATS_COLLECTIONS);
	ret->collected = number(reading, stats, PYH_GENERATIONSTATS_COLLECTED);
	ret->uncollectable = number(reading, stats,
				    PYH_GENERATIONSTATS_UNCOLLECTABLE);
	ret->candidates = number(reading, stats,
				 PYH_GENERATIONSTATS_CANDIDATES);
	if (pyh_field(runtime, reading->memory, stats,
		      PYH_GENERATIONSTATS_DURATION, &duration))
		memcpy(&ret->duration, &duration, sizeof(duration));
}

/* --- generations ---------------------------------------------------------- */

/** Which list is that of a generation. */
static unsigned int list_of(const struct reading *reading,
			    enum pyh_gc_kind kind, unsigned int generation)
{
	int64_t visited = 0;

	if (kind != PYH_GC_INCREMENTAL || generation == 0)
		return generation;
	visited = number(reading, reading->gc, PYH_GC_VISITED_SPACE);
	return visited == 1 ? PYH_GC_GENERATIONS_MAX - generation : generation;
}

static void read_generation(const struct reading *reading,
			    enum pyh_gc_kind kind, unsigned int index,
			    bool lists, struct pyh_gc_generation *ret)
{
	const struct pyh_runtime *runtime = reading->runtime;
	unsigned int list = list_of(reading, kind, index);
	uint64_t size = runtime->size_of[PYH_STRUCT_GENERATION];
	uint64_t first = reading->gc + pyh_offset(runtime, PYH_GC_GENERATIONS);

	ret->objects = lists ? list_length(reading, list) : PYH_GC_UNKNOWN;
	// Thresholds do not change places with the spaces.
	ret->threshold = number(reading, first + index * size,
				PYH_GENERATION_THRESHOLD);
	ret->count = number(reading, first + list * size,
			    PYH_GENERATION_COUNT);
	read_stats(reading, index, ret);
}

static enum pyh_gc_kind kind_of(const struct pyh_runtime *runtime)
{
	if (runtime->free_threaded)
		return PYH_GC_FREE_THREADED;
	return pyh_has(runtime, PYH_GC_GENERATION0) ? PYH_GC_GENERATIONAL :
						      PYH_GC_INCREMENTAL;
}

/** Length of a list object that a field leads to. */
static int64_t length_of(const struct reading *reading, enum pyh_field field,
			 uint64_t *ret_list)
{
	int64_t length;

	*ret_list = 0;
	if (!pyh_field(reading->runtime, reading->memory, reading->gc, field,
		       ret_list))
		return PYH_GC_UNKNOWN;
	length = number(reading, *ret_list, PYH_VAR_OB_SIZE);
	return length >= 0 ? length : PYH_GC_UNKNOWN;
}

static void set_unknown(struct pyh_gc *gc)
{
	*gc = (struct pyh_gc){
		.enabled = PYH_GC_UNKNOWN, .debug = PYH_GC_UNKNOWN,
		.frozen = PYH_GC_UNKNOWN, .garbage = PYH_GC_UNKNOWN,
		.callbacks = PYH_GC_UNKNOWN,
		.long_lived_total = PYH_GC_UNKNOWN,
		.long_lived_pending = PYH_GC_UNKNOWN,
		.heap_size = PYH_GC_UNKNOWN,
	};
	for (unsigned int i = 0; i < PYH_GC_GENERATIONS_MAX; i++)
		gc->generations[i] = (struct pyh_gc_generation){
			.objects = PYH_GC_UNKNOWN,
			.threshold = PYH_GC_UNKNOWN, .count = PYH_GC_UNKNOWN,
			.collections = PYH_GC_UNKNOWN,
			.collected = PYH_GC_UNKNOWN,
			.uncollectable = PYH_GC_UNKNOWN,
			.candidates = PYH_GC_UNKNOWN, .duration = -1,
		};
}

void pyh_gc_read(const struct pyh_runtime *runtime,
		 struct memory_reader *memory, size_t interpreter, bool lists,
		 struct pyh_gc *ret)
{
	struct reading reading = {
		.runtime = runtime, .memory = memory,
		.interpreter = &runtime->interpreters[interpreter],
	};
	uint64_t list;

	set_unknown(ret);
	ret->kind = kind_of(runtime);
	ret->collecting = reading.interpreter->collecting;
	reading.gc = reading.interpreter->gc;
	if (reading.gc == 0)
		return;
	ret->enabled = number(&reading, reading.gc, PYH_GC_ENABLED);
	ret->debug = number(&reading, reading.gc, PYH_GC_DEBUG);
	ret->garbage = length_of(&reading, PYH_GC_GARBAGE,
				 &ret->garbage_list);
	ret->callbacks = length_of(&reading, PYH_GC_CALLBACKS, &list);
	ret->long_lived_total = number(&reading, reading.gc,
				       PYH_GC_LONG_LIVED_TOTAL);
	ret->long_lived_pending = number(&reading, reading.gc,
					 PYH_GC_LONG_LIVED_PENDING);
	ret->heap_size = number(&reading, reading.gc, PYH_GC_HEAP_SIZE);
	for (unsigned int i = 0; i < PYH_GC_GENERATIONS_MAX; i++)
		read_generation(&reading, ret->kind, i, lists,
				&ret->generations[i]);
	if (lists)
		ret->frozen = list_length(&reading, PERMANENT);
}
