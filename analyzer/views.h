/*
 * The views: what heapscan can be asked.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_VIEWS_H
#define ANALYZER_VIEWS_H

#include <stdbool.h>
#include <stddef.h>

#include "analyzer/show/render.h"
#include "image/base/error.h"

struct options;
struct scan;

/* For the options that not every view has a meaning for. */
enum view_bit {
	VIEW_OVERVIEW = 1 << 0,
	VIEW_TYPES = 1 << 1,
	VIEW_OBJECTS = 1 << 2,
	VIEW_INFO = 1 << 3,
	VIEW_COLLECTIONS = 1 << 4,
	VIEW_DUPLICATES = 1 << 5,
	VIEW_OBJECT = 1 << 6,
	VIEW_RETAINED = 1 << 7,
	VIEW_PATH = 1 << 8,
	VIEW_SUSPECTS = 1 << 9,
	VIEW_TRACEMALLOC = 1 << 10,
	VIEW_CYCLES = 1 << 11,
	VIEW_GC = 1 << 12,
	VIEW_REFCOUNTS = 1 << 13,
	VIEW_THREADS = 1 << 14,
	VIEW_MALLOC = 1 << 15,
	VIEW_MEMORY = 1 << 16,
	VIEW_SHARED = 1 << 17,
	VIEW_TENSORS = 1 << 18,
	VIEW_ALLOCATOR = 1 << 19,
	VIEW_TORCH_SNAPSHOT = 1 << 20,
	VIEW_DIFF = 1 << 21,
	VIEW_EVERY = 0x3FFFFF,
};

struct view;

/** What a view is with an option of its own: other rows. */
struct view_mode {
	const char *option;	/* "--blocks" */
	bool (*chosen)(const struct options *options);
	const struct view *view;
};

struct view {
	const char *name;
	enum view_bit bit;
	const char *about;
	const struct column *columns;	/* of its rows */
	size_t num_columns;
	const struct column *totals;	/* of "totals" in JSON */
	size_t num_totals;
	struct error *(*run)(struct scan *scan);
	unsigned int groups;	/* of --by: a bit for each enum group_by */
	/* with --by: columns, totals and run() are this one's; NULL: the same */
	const struct view *grouped;
	const struct view_mode *modes;	/* the same; at most one is chosen */
	size_t num_modes;
	const char *argument;	/* the name of what must follow it, or NULL */
	bool or_type;		/* … unless --type is given */
	bool many;		/* takes several dumps, or a manifest of them */
	bool pair;		/* takes two dumps, the older one first */
	bool private_file;	/* -o is for the user alone: not names only */
	/* A longer remark for `heapscan VIEW --help`. */
	const char *remark;
};

/** Those of this version: 0 … views_count()-1; the overview is the first. */
size_t views_count(void);
const struct view *views_get(size_t i);

/** By name, or NULL. */
const struct view *views_find(const char *name);

/** What a view is with these options: a mode or group of it, or itself. */
const struct view *views_shown(const struct options *options);

/** A view that is designed, but not in this version. */
bool views_planned(const char *name);

/** "overview, types, objects": those of this version. */
const char *views_list(void);

/** As views_list(), those that are only planned. */
const char *views_later(void);

/** The name nearest to what was typed, or NULL where none is near. */
const char *views_nearest(const char *typed);

/**
 * Edits (insert, delete, replace, swap neighbours) from one word to the other;
 * words of more than 31 bytes are as far as can be.
 */
unsigned int views_distance(const char *a, const char *b);

#endif
