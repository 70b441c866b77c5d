/*
 * Two dumps beside each other: what there is more of, and what less.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of one process, types and objects are the same where they have the same
 * address. Of two processes, as before a restart and after it, names are all
 * there is to go by.
 */
#ifndef ANALYZER_DIFF_H
#define ANALYZER_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

struct opened;

enum diff_kind {
	DIFF_RETAINED,		/* objects, and what they keep alive */
	DIFF_TYPE,
	DIFF_OWNER,		/* "dict of X" */
	DIFF_TENSOR,		/* tensors that are alike */
	DIFF_DEVICE,		/* PyTorch's memory of a device */
	DIFF_MEMORY,		/* the ledger's categories */
	DIFF_NUM_KINDS
};

enum diff_side { DIFF_OLD, DIFF_NEW, DIFF_SIDES };

/** Words of a tensor's row, in this order behind each other in its name. */
enum diff_word {
	DIFF_ROLE, DIFF_DTYPE, DIFF_SHAPE, DIFF_ON, DIFF_NUM_WORDS
};

struct diff_row {
	char *name;		/* owned: type, path, category … */
	uint64_t address;	/* of the type, or of the object; 0: none, or of
				   two processes */
	uint64_t count[DIFF_SIDES];	/* objects, tensors, blocks … */
	uint64_t size[DIFF_SIDES];	/* bytes */
	uint64_t device[DIFF_SIDES];	/* of a RETAINED object: data of tensors
					   on devices, bytes */
	bool counted;		/* count says something */
	bool on_devices;	/* device does */
	bool at_least;		/* of the old side no more is known than that
				   it has at most size[DIFF_OLD], and as much on
				   devices at most */
	const char *type;	/* of a RETAINED object; borrowed */
	char *words;		/* owned, of a TENSOR: DIFF_NUM_WORDS strings,
				   each with its end, empty where not known */
};

struct diff_rows {
	struct diff_row *items;
	size_t count, room;
	char why_not[256];	/* there are none; "": there may be */
};

struct diff {
	struct opened *sides[DIFF_SIDES];	/* borrowed */
	bool values;		/* keys may be shown in paths */
	bool same;		/* one process, at two times */
	double hours;		/* between the dumps; 0: not known */
	struct diff_rows kinds[DIFF_NUM_KINDS];
};

/** Whose the dumps are, and how far apart. The rest of diff is given, or 0. */
void diff_identify(struct diff *diff);
void diff_deinit(struct diff *diff);

/** "retained", "type" … */
const char *diff_kind_name(enum diff_kind kind);

/** Bytes more, or less: on devices, too. */
static inline int64_t diff_grown(const struct diff_row *row)
{
	return (int64_t)(row->size[DIFF_NEW] - row->size[DIFF_OLD] +
			 row->device[DIFF_NEW] - row->device[DIFF_OLD]);
}

static inline uint64_t diff_changed(const struct diff_row *row)
{
	int64_t grown = diff_grown(row);

	return grown < 0 ? 0 - (uint64_t)grown : (uint64_t)grown;
}

/**
 * Add a row, whose names are copied; or what it has on one side. Afterwards
 * diff_join() makes one of those that are alike.
 */
struct error *diff_add(struct diff *diff, enum diff_kind kind,
		       const struct diff_row *row);
struct error *diff_add_side(struct diff *diff, enum diff_kind kind,
			    enum diff_side side, struct diff_row row,
			    uint64_t count, uint64_t size);
void diff_join(struct diff *diff, enum diff_kind kind);

/** Most changed first. */
void diff_sort(struct diff *diff, enum diff_kind kind);

/* The parts, each in order. What one of the dumps cannot tell is no failure, but
   kinds[].why_not. */
struct scan;

/** Types and owners, of those that --type and --match let through. */
struct error *diff_types(struct diff *diff, const struct scan *scan);
/**
 * @param groups  rows of the overview; else categories, with those of who holds
 *	malloc's chunks
 */
struct error *diff_memory(struct diff *diff, bool groups);
/** The largest of both dumps, each beside what it was or is in the other. */
struct error *diff_retained(struct diff *diff);
struct error *diff_tensors(struct diff *diff);

/** Keep why a part cannot be had; fails with what is not about the dumps. */
struct error *diff_forgive(struct diff *diff, enum diff_kind kind,
			   struct error *err);

#endif
