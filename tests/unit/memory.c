/*
 * The address space: cutting, asking, reading.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/memory.h"

#include <elf.h>
#include <stdlib.h>

#include "image/format.h"
#include "tests/lib/check.h"

static struct memory *create(void)
{
	struct memory *memory = NULL;
	struct error *err = memory_create(NULL, &memory);

	CHECK("create", !err);
	return memory;
}

static void add(struct memory *memory, uint64_t start, uint64_t end,
		enum memory_state state, const void *bytes)
{
	struct error *err;

	err = memory_add(memory, &(struct memory_range){
		.start = start, .end = end, .state = state, .bytes = bytes,
		.source = bytes ? MEMORY_FROM_FILE : MEMORY_FROM_NOTHING,
	});
	if (err)
		CHECK("add", false);
	error_free(err);
}

/* --- against a model ------------------------------------------------------ */

enum { SPACE = 512, RANGES_MAX = 24 };

struct cell {
	enum memory_state state;
	uint8_t byte;
	unsigned int rank;	/* smaller wins */
};

static uint32_t seed = 1;

static uint32_t random_below(uint32_t limit)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % limit;
}

/** Put a random range into memory and, cell by cell, into the model. */
static void add_random(struct memory *memory, struct cell *model,
		       const uint8_t *bytes)
{
	static const enum memory_state states[] = {
		MEMORY_NOT_CAPTURED, MEMORY_CAPTURED, MEMORY_ZERO,
	};
	struct memory_range range = {
		.start = random_below(SPACE - 1),
		.state = states[random_below(3)],
	};
	bool failed = random_below(4) == 0;
	unsigned int rank;

	range.end = range.start + 1 + random_below(SPACE - 1 -
						   (uint32_t)range.start);
	if (range.state == MEMORY_CAPTURED) {
		range.source = MEMORY_FROM_FILE;
		range.bytes = bytes + random_below(SPACE);
		rank = 1;
	} else if (range.state == MEMORY_ZERO) {
		rank = 2;
	} else {
		range.reason = failed ? FORMAT_FAILED : FORMAT_FILE;
		rank = failed ? 0 : 3;
	}
	error_free(memory_add(memory, &range));
	for (uint64_t at = range.start; at < range.end; at++) {
		struct cell *cell = &model[at];

		if (cell->state != MEMORY_UNMAPPED && cell->rank <= rank)
			continue;
		*cell = (struct cell){ .state = range.state, .rank = rank };
		if (range.bytes)
			cell->byte = range.bytes[at - range.start];
	}
}

static bool cell_readable(const struct cell *cell)
{
	return cell->state == MEMORY_CAPTURED || cell->state == MEMORY_ZERO;
}

/** Compare every state and a read from every address; false if they differ. */
static bool same_as_model(struct memory *memory, const struct cell *model)
{
	struct memory_reader reader;
	bool same = true;

	error_free(memory_reader_init(&reader, memory));
	for (uint64_t at = 0; at < SPACE; at++) {
		size_t size = 1 + random_below(32), have = 0;
		uint8_t expected[32], got[32], untouched[32];
		const uint8_t *view;

		memset(got, 0xEE, sizeof(got));
		memset(untouched, 0xEE, sizeof(untouched));
		same &= memory_state_at(memory, at) == model[at].state;
		while (have < size && at + have < SPACE &&
		       cell_readable(&model[at + have])) {
			expected[have] = model[at + have].byte;
			have++;
		}
		if (memory_try_read(&reader, at, got, size) != (have == size))
			same = false;
		same &= memcmp(got, have == size ? expected : untouched,
			       size) == 0;
		view = memory_view(&reader, at, size);
		same &= (view != NULL) == (have == size);
		same &= !view || memcmp(view, expected, size) == 0;
	}
	memory_reader_deinit(&reader);
	return same;
}

/** Ranges are sorted, apart, and their sizes add up. */
static bool well_formed(const struct memory *memory)
{
	uint64_t totals[MEMORY_ZERO + 1] = { 0 };

	for (size_t i = 0; i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);

		if (range->start >= range->end ||
		    (i && range->start < memory_range(memory, i - 1)->end))
			return false;
		totals[range->state] += range->end - range->start;
	}
	return totals[MEMORY_CAPTURED] ==
		       memory_total(memory, MEMORY_CAPTURED) &&
	       totals[MEMORY_ZERO] == memory_total(memory, MEMORY_ZERO) &&
	       totals[MEMORY_NOT_CAPTURED] ==
		       memory_total(memory, MEMORY_NOT_CAPTURED);
}

static void test_model(void)
{
	static uint8_t bytes[2 * SPACE];
	unsigned int differ = 0, malformed = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(1 + random_below(255));
	for (unsigned int round = 0; round < 300; round++) {
		struct cell model[SPACE] = { 0 };
		struct memory *memory = NULL;

		error_free(memory_create(NULL, &memory));
		for (uint32_t i = random_below(RANGES_MAX); i > 0; i--)
			add_random(memory, model, bytes);
		error_free(memory_seal(memory));
		differ += !same_as_model(memory, model);
		malformed += !well_formed(memory);
		memory_destroy(memory);
	}
	CHECK_U64("300 random address spaces read as the model", differ, 0);
	CHECK_U64("their ranges are sorted and apart", malformed, 0);
}

/* --- one thing at a time -------------------------------------------------- */

static void test_three_answers(void)
{
	static const uint8_t page[16] = "captured bytes.";
	struct memory *memory = create();
	struct memory_reader reader;
	uint64_t value = 77;
	struct error *err;

	add(memory, 0x1000, 0x1010, MEMORY_CAPTURED, page);
	add(memory, 0x1010, 0x1020, MEMORY_ZERO, NULL);
	add(memory, 0x1020, 0x1030, MEMORY_NOT_CAPTURED, NULL);
	CHECK("seal", !memory_seal(memory));
	CHECK("reader", !memory_reader_init(&reader, memory));

	CHECK("captured and zero together",
	      !memory_read_u64(&reader, 0x100C, &value) &&
	      value == (uint64_t)('e' | 's' << 8 | '.' << 16));
	value = 77;
	err = memory_read_u64(&reader, 0x101C, &value);
	CHECK("into what is not captured",
	      err && err->kind == ERROR_NOT_CAPTURED && err->has_address);
	CHECK_U64("the first address missing", err ? err->address : 0, 0x1020);
	CHECK_U64("nothing was written", value, 77);
	error_free(err);
	err = memory_read_u64(&reader, 0xFFC, &value);
	CHECK("from what is not mapped", err && err->kind == ERROR_UNMAPPED);
	CHECK_U64("the address not mapped", err ? err->address : 0, 0xFFC);
	error_free(err);
	err = memory_read_u64(&reader, UINT64_MAX - 2, &value);
	CHECK("at the end of the address space",
	      err && err->kind == ERROR_UNMAPPED);
	error_free(err);
	CHECK("range above a hole", memory_find_above(memory, 0) ==
				    memory_range(memory, 0));
	CHECK("no range above all", !memory_find_above(memory, 0x1030));
	CHECK("no range at its end", !memory_find(memory, 0x1030));
	CHECK("no bytes is always there",
	      memory_try_read(&reader, 0x5000, &value, 0));
	memory_reader_deinit(&reader);
	memory_destroy(memory);
}

static void test_strings(void)
{
	static const char text[] = "first\0second without an end";
	struct memory *memory = create();
	struct memory_reader reader;
	char buffer[64];

	add(memory, 0x1000, 0x1000 + sizeof(text) - 1, MEMORY_CAPTURED, text);
	add(memory, 0x2000, 0x2006, MEMORY_CAPTURED, text + 6);
	add(memory, 0x2006, 0x2008, MEMORY_ZERO, NULL);
	CHECK("seal", !memory_seal(memory));
	CHECK("reader", !memory_reader_init(&reader, memory));
	CHECK("a string before the end of memory",
	      memory_try_string(&reader, 0x1000, buffer, sizeof(buffer)));
	CHECK_STRING("its text", buffer, "first");
	CHECK("a string that runs out of memory",
	      !memory_try_string(&reader, 0x1006, buffer, sizeof(buffer)));
	CHECK("a string that ends in the next range",
	      memory_try_string(&reader, 0x2000, buffer, sizeof(buffer)));
	CHECK_STRING("its text too", buffer, "second");
	CHECK("a string with just room",
	      memory_try_string(&reader, 0x1000, buffer, 6));
	CHECK("a string without room for the end",
	      !memory_try_string(&reader, 0x1000, buffer, 5));
	memory_reader_deinit(&reader);
	memory_destroy(memory);
}

static void test_views(void)
{
	static uint8_t page[4096];
	struct memory *memory = create();
	struct memory_reader reader;
	const uint8_t *view;
	size_t nonzero = 0;

	add(memory, 0x1000, 0x2000, MEMORY_CAPTURED, page);
	add(memory, 0x2000, 0x3000, MEMORY_CAPTURED, page);
	add(memory, 0x100000, 0x100000 + (UINT64_C(200) << 20), MEMORY_ZERO,
	    NULL);
	CHECK("seal", !memory_seal(memory));
	CHECK("reader", !memory_reader_init(&reader, memory));
	CHECK("a view within a range is not copied",
	      memory_view(&reader, 0x1010, 100) == page + 16);
	view = memory_view(&reader, 0x1FF0, 32);
	CHECK("a view across ranges is", view && view != page + 0xFF0);
	CHECK("but part of it not once more",
	      memory_view(&reader, 0x1FF8, 16) == view + 8);
	view = memory_view(&reader, 0x100010, 1 << 20);
	for (size_t i = 0; view && i < 1 << 20; i++)
		nonzero += view[i] != 0;
	CHECK("a view of zeroes", view != NULL);
	CHECK_U64("all of which are zero", nonzero, 0);
	CHECK("a view of too much",
	      !memory_view(&reader, 0x100010, MEMORY_VIEW_MAX + 1));
	CHECK("a view past the end", !memory_view(&reader, 0x2FF0, 17));
	CHECK("a view around the address space",
	      !memory_view(&reader, 0x1000, SIZE_MAX - 8));
	memory_reader_deinit(&reader);
	memory_destroy(memory);
}

static void test_refused(void)
{
	struct memory *memory = create();
	struct error *err;

	err = memory_add(memory, &(struct memory_range){
		.start = 0x2000, .end = 0x1000, .state = MEMORY_ZERO });
	CHECK("a range that ends before it starts",
	      err && err->kind == ERROR_FORMAT);
	error_free(err);
	err = memory_add(memory, &(struct memory_range){
		.start = 0x1000, .end = 0x1000, .state = MEMORY_ZERO });
	CHECK("an empty range", err != NULL);
	error_free(err);
	err = memory_add(memory, &(struct memory_range){
		.start = 0x1000, .end = 0x2000 });
	CHECK("a range of nothing", err != NULL);
	error_free(err);
	CHECK("seal of nothing", !memory_seal(memory));
	CHECK_U64("no ranges", memory_num_ranges(memory), 0);
	CHECK("nothing is mapped",
	      memory_state_at(memory, 0x1000) == MEMORY_UNMAPPED);
	memory_destroy(memory);
}

/** A million ranges in reverse, each overlapping its neighbour. */
static void test_many(void)
{
	enum { COUNT = 1000000 };
	struct memory *memory = create();
	uint64_t wrong = 0;

	for (uint64_t i = COUNT; i > 0; i--)
		add(memory, i * 0x1000, i * 0x1000 + 0x1800,
		    i % 2 ? MEMORY_ZERO : MEMORY_NOT_CAPTURED, NULL);
	CHECK("seal of a million", !memory_seal(memory));
	for (uint64_t i = 1; i <= COUNT; i++) {
		bool odd = i % 2;

		// Zero wins in the half page shared with the one before.
		wrong += memory_state_at(memory, i * 0x1000 + 0x400) !=
			 MEMORY_ZERO;
		wrong += memory_state_at(memory, i * 0x1000 + 0xC00) !=
			 (odd ? MEMORY_ZERO : MEMORY_NOT_CAPTURED);
	}
	CHECK_U64("states that are wrong", wrong, 0);
	CHECK("a million ranges are well formed", well_formed(memory));
	memory_destroy(memory);
}

int main(void)
{
	test_three_answers();
	test_strings();
	test_views();
	test_refused();
	test_model();
	test_many();
	return check_result();
}
