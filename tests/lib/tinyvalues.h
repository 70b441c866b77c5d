/*
 * One object of every kind that has a value of its own, built by hand.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	struct tinyvalues values;
 *	tinyheap_init(&heap, 12);
 *	tinyvalues_build(&values, &heap);
 *	... spoil some of it ...
 *	tinyheap_open(&heap);
 *	tinyvalues_text(&values, values.list, text, sizeof(text));
 *	tinyvalues_deinit(&values);
 *	tinyheap_deinit(&heap);
 */
#ifndef TESTS_TINYVALUES_H
#define TESTS_TINYVALUES_H

#include "pyheap/types/pyshape.h"
#include "pyheap/values/pyvalue.h"
#include "tests/lib/tinyheap.h"

enum { TINYVALUES_MAX = 64 };

struct tinyvalues {
	struct tinyheap *heap;		/* borrowed */
	/* each object with what repr() would say of it */
	struct {
		uint64_t address;
		const char *text;
	} all[TINYVALUES_MAX];
	size_t count;
	uint64_t start, end;		/* where all of it lies */
	/* some of them, by name */
	uint64_t none, five, str, list, list_items, tuple, dict, set, deque,
		deque_block, bytes, floating, date, delta, decimal, named,
		color, exception, function, wide;
	struct pyh_shapes *shapes;
	struct pyh_value_reader *reader;
};

void tinyvalues_build(struct tinyvalues *values, struct tinyheap *heap);

/** The value of an object; makes the reader on its first call. */
const char *tinyvalues_text(struct tinyvalues *values, uint64_t address,
			    char *text, size_t size);
void tinyvalues_deinit(struct tinyvalues *values);

#endif
