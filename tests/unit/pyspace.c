/*
 * Test of pyheap/census/pyspace: marks found upwards and downwards, beside a list
 * of them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pyspace.h"

#include <stdlib.h>

#include "image/base/guard.h"
#include "tests/lib/check.h"

#define BASE UINT64_C(0x7f0000000000)
#define SIZE (UINT64_C(64) << 20)
#define FAR (UINT64_C(1) << 46)		/* another leaf */

enum { MARKS = 300, QUESTIONS = 20000, WORDS = 64 << 17 };

static uint64_t seed = 1;

static uint64_t next_random(void)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return seed >> 24;
}

/** What of [start, end) is marked first and last, by looking at all. */
static bool look(const bool *marked, uint64_t start, uint64_t end,
		 uint64_t *first, uint64_t *last)
{
	bool found = false;

	for (uint64_t at = (start + 7) & ~UINT64_C(7); at < end; at += 8) {
		if (!marked[(at - BASE) / 8])
			continue;
		if (!found)
			*first = at;
		*last = at;
		found = true;
	}
	return found;
}

static bool agrees(const struct pyh_space *space, const bool *marked)
{
	for (int i = 0; i < QUESTIONS; i++) {
		// Most spans are short, some are of many chunks.
		uint64_t span = i % 64 == 0 ? SIZE :
					      UINT64_C(1) << next_random() % 20;
		uint64_t start = BASE + next_random() % SIZE;
		uint64_t end = start + next_random() % span;
		uint64_t first = 0, last = 0, next = 0, before = 0;

		if (end > BASE + SIZE)
			end = BASE + SIZE;
		bool any = look(marked, start, end, &first, &last);
		if (pyh_space_next(space, PYH_MARK_CLAIM, start, end, &next) !=
			    any ||
		    pyh_space_last(space, PYH_MARK_CLAIM, start, end, &before) !=
			    any ||
		    next != first || before != last)
			return false;
	}
	return true;
}

int main(void)
{
	CLEANUP(free_pointer) bool *marked = calloc(WORDS, sizeof(*marked));
	struct pyh_space space;
	uint64_t found = 7;
	struct error *err = pyh_space_init(&space);

	// A hole of eight chunks is in the midst.
	if (!err)
		err = pyh_space_classify(&space, BASE, BASE + SIZE / 2,
					 PYH_PAGE_OTHER);
	if (!err)
		err = pyh_space_classify(&space, BASE + SIZE / 2 + (8 << 20),
					 BASE + SIZE, PYH_PAGE_OTHER);
	if (!CHECK("made", !err && marked))
		return check_result();
	pyh_space_seal(&space);
	CHECK("nothing is marked",
	      !pyh_space_last(&space, PYH_MARK_CLAIM, 0, BASE + SIZE, &found));
	for (int i = 0; i < MARKS; i++) {
		// Some side by side, most far apart.
		uint64_t offset = (i % 2 ? next_random() % SIZE :
					   next_random() % 4096) & ~UINT64_C(7);

		if (offset >= SIZE / 2 && offset < SIZE / 2 + (8 << 20))
			continue;
		(void)pyh_space_mark(&space, BASE + offset, PYH_MARK_CLAIM);
		marked[offset / 8] = true;
	}
	CHECK("first and last of random spans", agrees(&space, marked));
	CHECK("from far above, through leaves that are not there",
	      pyh_space_last(&space, PYH_MARK_CLAIM, FAR, FAR * 4 - 1, &found) &&
		      found > BASE + SIZE / 2);
	CHECK("of another kind nothing",
	      !pyh_space_last(&space, PYH_MARK_OBJECT, 0, BASE + SIZE, &found));
	pyh_space_deinit(&space);
	return check_result();
}
