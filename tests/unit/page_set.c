/*
 * A set of pages: what it takes, what not, and in which order it gives it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "image/live/page_set.h"
#include "tests/lib/check.h"

enum { PAGE = 4096, MOST = 1000 };

static struct select_span spans[MOST + 1];

static size_t give(const struct page_set *set)
{
	size_t count = 0;

	page_set_spans(set, spans, &count);
	return count;
}

static void check_joined(void)
{
	struct page_set set;

	CHECK("made", page_set_init(&set, PAGE, MOST * PAGE) == NULL);
	page_set_add(&set, 0x7fff00003001, 0x7fff00003002);
	page_set_add(&set, 0x5000, 0x5000);
	page_set_add(&set, 0x1fff, 0x3001);
	page_set_add(&set, 0x7fff00002fff, 0x7fff00003fff);
	CHECK_U64("pages", set.count, 5);
	if (CHECK_U64("spans", give(&set), 2)) {
		CHECK_U64("first start", spans[0].start, 0x1000);
		CHECK_U64("first end", spans[0].end, 0x4000);
		CHECK_U64("second start", spans[1].start, 0x7fff00002000);
		CHECK_U64("second end", spans[1].end, 0x7fff00004000);
	}
	CHECK("not full", !set.full);
	page_set_clear(&set);
	CHECK_U64("cleared", give(&set), 0);
	page_set_deinit(&set);
}

static void check_limit(void)
{
	struct page_set set;

	CHECK("made", page_set_init(&set, PAGE, MOST * PAGE) == NULL);
	// Every other one, downwards, each twice.
	for (uint64_t i = 2 * MOST; i > 0; i--)
		page_set_add(&set, (i + 1) / 2 * 2 * PAGE,
			     (i + 1) / 2 * 2 * PAGE + 8);
	CHECK("as many as may be", !set.full);
	CHECK_U64("apart", give(&set), MOST);
	for (size_t i = 0; i < MOST; i++)
		CHECK_U64("ascending", spans[i].start, (i + 1) * 2 * PAGE);
	page_set_add(&set, 2 * PAGE, 3 * PAGE);
	CHECK("one that is there", !set.full);
	page_set_add(&set, 0, UINT64_MAX);
	CHECK("one too many", set.full);
	CHECK_U64("not taken", set.count, MOST);
	page_set_deinit(&set);
}

static void check_except(void)
{
	const struct select_span except[] = {
		{ 0x2000, 0x4000 }, { 0x6000, 0x7000 },
	};
	struct page_set set;

	CHECK("made", page_set_init(&set, PAGE, MOST * PAGE) == NULL);
	CHECK("except", page_set_except(&set, except, 2) == NULL);
	page_set_add(&set, 0x1000, 0x8000);
	if (CHECK_U64("spans", give(&set), 3)) {
		CHECK_U64("below", spans[0].end, 0x2000);
		CHECK_U64("between", spans[1].start, 0x4000);
		CHECK_U64("between ends", spans[1].end, 0x6000);
		CHECK_U64("above", spans[2].start, 0x7000);
	}
	page_set_deinit(&set);
}

int main(void)
{
	check_joined();
	check_limit();
	check_except();
	return check_result();
}
