/*
 * Two dumps beside each other; see diff.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/diff/diff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/opened.h"

/* Clocks of the kernel tick, and a dump takes a moment. */
#define SAME_START_NS UINT64_C(2000000000)
#define NS_PER_HOUR 3.6e12

const char *diff_kind_name(enum diff_kind kind)
{
	static const char *const names[DIFF_NUM_KINDS] = {
		[DIFF_RETAINED] = "retained", [DIFF_TYPE] = "type",
		[DIFF_OWNER] = "owner", [DIFF_TENSOR] = "tensor",
		[DIFF_DEVICE] = "device", [DIFF_MEMORY] = "memory",
	};

	return names[kind];
}

/* --- whose they are ------------------------------------------------------- */

static bool same_fact(const struct core_notes *const notes[DIFF_SIDES],
		      const char *name)
{
	const char *old = core_notes_fact(notes[DIFF_OLD], name);
	const char *new = core_notes_fact(notes[DIFF_NEW], name);

	return old && new && strcmp(old, new) == 0;
}

/** When the process was started, in ns since the epoch. */
static bool started(const struct core_notes *notes, uint64_t *ret)
{
	uint64_t captured, uptime;

	if (!core_notes_number(notes, FORMAT_FACT_CAPTURED_AT, &captured) ||
	    !core_notes_number(notes, FORMAT_FACT_UPTIME, &uptime) ||
	    uptime > captured)
		return false;
	*ret = captured - uptime;
	return true;
}

void diff_identify(struct diff *diff)
{
	const struct core_notes *notes[DIFF_SIDES];
	uint64_t at[DIFF_SIDES], start[DIFF_SIDES];
	bool timed = true, aged = true;

	for (int i = 0; i < DIFF_SIDES; i++) {
		notes[i] = &opened_image(diff->sides[i])->notes;
		timed &= core_notes_number(notes[i], FORMAT_FACT_CAPTURED_AT,
					   &at[i]);
		aged &= started(notes[i], &start[i]);
	}
	diff->hours = timed && at[DIFF_NEW] > at[DIFF_OLD] ?
		(double)(at[DIFF_NEW] - at[DIFF_OLD]) / NS_PER_HOUR : 0;
	// A number is given to another process some day, a start is not.
	diff->same = aged && same_fact(notes, FORMAT_FACT_HOST) &&
		     (same_fact(notes, FORMAT_FACT_HOST_PID) ||
		      same_fact(notes, FORMAT_FACT_PID)) &&
		     start[DIFF_NEW] - start[DIFF_OLD] + SAME_START_NS <=
			     2 * SAME_START_NS;
}

/* --- rows ----------------------------------------------------------------- */

static size_t words_size(const char *words)
{
	size_t size = 0;

	for (int i = 0; i < DIFF_NUM_WORDS; i++)
		size += strlen(words + size) + 1;
	return size;
}

static void row_deinit(struct diff_row *row)
{
	free(row->name);
	free(row->words);
}

void diff_deinit(struct diff *diff)
{
	for (int kind = 0; kind < DIFF_NUM_KINDS; kind++) {
		struct diff_rows *rows = &diff->kinds[kind];

		for (size_t i = 0; i < rows->count; i++)
			row_deinit(&rows->items[i]);
		free(rows->items);
		*rows = (struct diff_rows){ 0 };
	}
}

struct error *diff_add(struct diff *diff, enum diff_kind kind,
		       const struct diff_row *row)
{
	struct diff_rows *rows = &diff->kinds[kind];
	struct diff_row copy = *row;

	if (rows->count == rows->room) {
		size_t room = rows->room ? rows->room * 2 : 64;
		struct diff_row *items = reallocarray(rows->items, room,
						      sizeof(*items));

		if (!items)
			return error_no_memory();
		rows->items = items;
		rows->room = room;
	}
	copy.name = strdup(row->name);
	copy.words = NULL;
	if (row->words) {
		size_t size = words_size(row->words);

		copy.words = malloc(size);
		if (copy.words)
			memcpy(copy.words, row->words, size);
	}
	if (!copy.name || (row->words && !copy.words)) {
		row_deinit(&copy);
		return error_no_memory();
	}
	rows->items[rows->count++] = copy;
	return NULL;
}

struct error *diff_add_side(struct diff *diff, enum diff_kind kind,
			    enum diff_side side, struct diff_row row,
			    uint64_t count, uint64_t size)
{
	row.count[side] = count;
	row.size[side] = size;
	return diff_add(diff, kind, &row);
}

static int by_identity(const void *a, const void *b)
{
	const struct diff_row *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->address > y->address) -
				       (x->address < y->address);
}

void diff_join(struct diff *diff, enum diff_kind kind)
{
	struct diff_rows *rows = &diff->kinds[kind];
	size_t kept = 0;

	if (rows->count > 0)
		qsort(rows->items, rows->count, sizeof(*rows->items),
		      by_identity);
	for (size_t i = 0; i < rows->count; i++) {
		struct diff_row *row = &rows->items[i];
		struct diff_row *last = kept ? &rows->items[kept - 1] : NULL;

		if (!last || by_identity(last, row) != 0) {
			rows->items[kept++] = *row;
			continue;
		}
		for (int side = 0; side < DIFF_SIDES; side++) {
			last->count[side] += row->count[side];
			last->size[side] += row->size[side];
		}
		row_deinit(row);
	}
	rows->count = kept;
}

static int by_change(const void *a, const void *b)
{
	const struct diff_row *x = a, *y = b;
	uint64_t left = diff_changed(x), right = diff_changed(y);

	if (left != right)
		return left > right ? -1 : 1;
	// Of what did not change, the largest.
	if (x->size[DIFF_NEW] != y->size[DIFF_NEW])
		return x->size[DIFF_NEW] > y->size[DIFF_NEW] ? -1 : 1;
	return by_identity(a, b);
}

void diff_sort(struct diff *diff, enum diff_kind kind)
{
	struct diff_rows *rows = &diff->kinds[kind];

	if (rows->count > 0)
		qsort(rows->items, rows->count, sizeof(*rows->items),
		      by_change);
}

struct error *diff_forgive(struct diff *diff, enum diff_kind kind,
			   struct error *err)
{
	struct diff_rows *rows = &diff->kinds[kind];

	if (!err || err->kind == ERROR_NO_MEMORY ||
	    err->kind == ERROR_INTERRUPTED || err->kind == ERROR_USAGE)
		return err;
	(void)snprintf(rows->why_not, sizeof(rows->why_not), "%s",
		       err->message);
	error_free(err);
	// Of one side alone everything would be new, or gone.
	for (size_t i = 0; i < rows->count; i++)
		row_deinit(&rows->items[i]);
	rows->count = 0;
	return NULL;
}
