/*
 * The search for words that lead to a few places, held against a plain loop.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pywords.h"

#include <elf.h>
#include <stdlib.h>

#include "tests/lib/check.h"

enum {
	WORDS = 40000,		/* of a range: more than a piece has */
	RANGES = 4,		/* of memory; the third is code */
	PLACES = 64,		/* words lead to, some of them wanted */
	GAP = 0x100000,		/* between the ranges of memory */
};

#define BASE UINT64_C(0x7f0000123000)	/* of the first range of memory */

static uint32_t seed = 7;

static uint32_t random_below(uint32_t limit)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % limit;
}

static uint64_t words[RANGES][WORDS];

/* As closures of libffi are, the last can be written to as well as run. */
static const uint32_t protections[RANGES] = {
	PF_R | PF_W, PF_R | PF_W, PF_R | PF_X, PF_R | PF_W | PF_X,
};

static uint64_t address_of(size_t range, size_t word)
{
	return BASE + range * (sizeof(words[0]) + GAP) + word * 8;
}

/** Words of all kinds: small numbers, text, addresses near and far, tagged. */
static uint64_t random_word(void)
{
	uint64_t place = BASE + (uint64_t)random_below(PLACES) * 0x8008;

	switch (random_below(8)) {
	case 0:
		return random_below(1000);
	case 1:
		return UINT64_C(0x2020202020202020) + random_below(1 << 20);
	case 2:
		return place + 8;
	case 3:
		return place | random_below(8);
	case 4:
		// As the filter sees it, another address of the same granule.
		return place ^ UINT64_C(1) << 40;
	default:
		return random_below(3) ? 0 : place;
	}
}

struct tally {
	const struct pyh_word_range *ranges;	/* as they were given */
	size_t num_ranges;
	atomic_uint wrong;
	atomic_uint found[RANGES];
	atomic_bool stop;
	unsigned int stop_after;		/* 0: never */
};

static bool is_wanted(const struct tally *tally, uint64_t word)
{
	for (size_t i = 0; i < tally->num_ranges; i++) {
		if (word >= tally->ranges[i].start &&
		    word < tally->ranges[i].end)
			return true;
	}
	return false;
}

static void take(void *context, unsigned int worker, uint64_t address,
		 uint64_t word)
{
	struct tally *tally = context;
	uint64_t offset = address - BASE;
	size_t range = (size_t)(offset / (sizeof(words[0]) + GAP));
	size_t at = (size_t)(offset % (sizeof(words[0]) + GAP) / 8);

	if (worker > 1 || range >= RANGES || at >= WORDS ||
	    (words[range][at] & ~UINT64_C(7)) != word ||
	    !is_wanted(tally, word))
		atomic_fetch_add(&tally->wrong, 1);
	else if (atomic_fetch_add(&tally->found[range], 1) + 1 ==
		 tally->stop_after)
		atomic_store(&tally->stop, true);
}

static struct error *search(const struct memory *memory, struct tally *tally,
			    uint64_t near)
{
	struct pyh_word_range ranges[PLACES];

	memcpy(ranges, tally->ranges, tally->num_ranges * sizeof(ranges[0]));
	return pyh_words_search(&(struct pyh_word_search){
		.memory = memory, .workers = 2,
		.ranges = ranges, .num_ranges = tally->num_ranges,
		.near = &near, .num_near = 1,
		.fn = take, .context = tally, .stop = &tally->stop,
	});
}

static void test_against_loop(const struct memory *memory)
{
	// Single addresses, ranges that overlap, and one over a granule's end.
	const struct pyh_word_range ranges[] = {
		{ BASE, BASE + 1 },
		{ BASE + 0x8008 * 5, BASE + 0x8008 * 5 + 1 },
		{ BASE + 0x8008 * 20, BASE + 0x8008 * 22 + 1 },
		{ BASE + 0x8008 * 21, BASE + 0x8008 * 24 },
		{ BASE + 0x8008 * 9 + 8, BASE + 0x8008 * 9 + 16 },
	};
	struct tally tally = { .ranges = ranges, .num_ranges = 5 };

	CHECK("search", !search(memory, &tally, BASE));
	CHECK_U64("no word but those wanted", tally.wrong, 0);
	for (size_t i = 0; i < RANGES; i++) {
		uint64_t expected = 0;

		for (size_t at = 0; at < WORDS; at++)
			expected += is_wanted(&tally,
					      words[i][at] & ~UINT64_C(7));
		CHECK_U64(i != 2 ? "every word of data" : "no word of code",
			  tally.found[i], i != 2 ? expected : 0);
	}
}

static void test_near_first(const struct memory *memory)
{
	const struct pyh_word_range range = { BASE, BASE + 1 };
	struct tally tally = { .ranges = &range, .num_ranges = 1,
			       .stop_after = 1 };

	// Both workers are in the nearest range when the first word is met.
	CHECK("search", !search(memory, &tally, address_of(1, 100)));
	CHECK("the nearest memory comes first", tally.found[1] > 0);
	CHECK_U64("and a search that is over goes no further", tally.found[0],
		  0);
}

int main(void)
{
	struct memory *memory = NULL;

	CHECK("create", !memory_create(NULL, &memory));
	for (size_t i = 0; i < RANGES; i++) {
		struct error *err;

		for (size_t at = 0; at < WORDS; at++)
			words[i][at] = random_word();
		err = memory_add(memory, &(struct memory_range){
			.start = address_of(i, 0),
			.end = address_of(i, WORDS),
			.protection = protections[i],
			.state = MEMORY_CAPTURED,
			.source = MEMORY_FROM_FILE,
			.bytes = (const uint8_t *)words[i],
		});
		if (err)
			CHECK("add", false);
		error_free(err);
	}
	CHECK("seal", !memory_seal(memory));
	test_against_loop(memory);
	test_near_first(memory);
	memory_destroy(memory);
	return check_result();
}
