/*
 * Rows of types: filtered, ordered, summed up. For `types` and the overview.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_TYPE_ROWS_H
#define ANALYZER_TYPE_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/show/render.h"
#include "image/base/error.h"
#include "pyheap/census/pycensus.h"

struct scan;
struct type_counts;
struct type_groups;

enum type_column {
	TYPE_NAME,
	TYPE_COUNT,
	TYPE_SIZE,
	TYPE_SHARE,
	TYPE_CUMULATIVE,
	TYPE_FOOTPRINT,
	TYPE_ADDRESS,
	TYPE_SIZE_EXACT,
	TYPE_REFCOUNTS,
	TYPE_IMMORTAL,
	TYPE_OWNER_ADDRESS,
	TYPE_RETAINED,		/* where it was asked for */
	TYPE_DEVICE,		/* … and tensors are on devices */
	NUM_TYPE_COLUMNS
};

enum type_total {
	TYPE_TOTAL_COUNT,
	TYPE_TOTAL_SIZE,
	TYPE_TOTAL_FOOTPRINT,
	TYPE_TOTAL_TYPES,
	TYPE_TOTAL_HEAP_COUNT,
	TYPE_TOTAL_HEAP_SIZE,
	TYPE_TOTAL_HEAP_FOOTPRINT,
	NUM_TYPE_TOTALS
};

extern const struct column type_columns[NUM_TYPE_COLUMNS];
extern const struct column type_totals[NUM_TYPE_TOTALS];

struct type_sum {
	uint64_t count, size, footprint;
};

/** A row: all objects of a type, or some of them, or those of several. */
struct type_row {
	const char *name;		/* borrowed, or the groups' */
	struct pyh_type_total total;	/* type NULL: of several types */
	const struct pyh_type *owner;	/* borrowed; NULL: none */
	uint64_t retained;		/* bytes */
	uint64_t device;		/* data of tensors on devices, bytes */
	bool retained_known, device_known;
};

struct type_rows {
	struct type_row *rows;		/* owned array */
	struct type_groups *groups;	/* owned; NULL: by type */
	size_t num_rows;
	struct type_sum selected;	/* of the rows */
	struct type_sum heap;		/* of all types */
};

/**
 * Whether the rows say what is retained: --retained, or a condition or an order
 * by it.
 */
bool type_rows_want_retained(const struct scan *scan);

/** Columns of a table, with retained sizes if these are shown. */
void type_rows_columns(const struct scan *scan, bool retained,
		       struct column ret[NUM_TYPE_COLUMNS]);

/** Of counts those that --type, --match and --min-size let through, as --sort says;
 * by type, or as --by says where the view is grouped. */
struct error *type_rows_collect(struct scan *scan,
				const struct type_counts *counts,
				struct type_rows *ret);
void type_rows_deinit(struct type_rows *rows);

/** Cells of the view's columns. running: sizes of the rows up to this one. */
void type_rows_cells(const struct type_rows *rows, size_t i, uint64_t running,
		     struct cell cells[NUM_TYPE_COLUMNS]);

/** The row "1,196 more types" for all after the first shown ones. */
void type_rows_rest(const struct type_rows *rows, size_t shown,
		    char text[64], struct cell cells[NUM_TYPE_COLUMNS]);

/** Cells of the totals. */
void type_rows_totals(const struct type_rows *rows,
		      struct cell cells[NUM_TYPE_TOTALS]);

/** How many rows to print with --top. */
size_t type_rows_shown(const struct type_rows *rows, uint64_t top);

/** For people: the rows whose sizes are lower bounds, if there are any. */
void type_rows_inexact(const struct type_rows *rows, struct render *render);

/** Hold all rows and the totals against --fail-if. */
void type_rows_gate(const struct type_rows *rows, struct scan *scan);

#endif
