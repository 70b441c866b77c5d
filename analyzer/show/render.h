/*
 * Answers as text, JSON, NDJSON, CSV or Markdown, from one description.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	render_begin(&render, out, RENDER_TEXT, "types");
 *	render_table(&render, &spec);
 *	render_row(&render, cells);
 *	render_rest(&render, cells);
 *	render_table_end(&render);
 *	render_object(&render, "totals", columns, cells, count);
 *	render_end(&render);
 *
 * Rows are written as they come, so any number of them takes no memory. Text
 * and Markdown show what people read (units, shortened names, a row for what
 * was left out); the others carry whole values: sizes in bytes, shares as
 * fractions of 1, addresses as "0x…", and nothing where nothing is known.
 * Every byte of text goes through escape.h. Write errors stay in ferror(out).
 */
#ifndef ANALYZER_RENDER_H
#define ANALYZER_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "image/base/json.h"

enum render_format {
	RENDER_TEXT,
	RENDER_JSON,
	RENDER_NDJSON,		/* the rows, one object a line */
	RENDER_CSV,		/* the rows, with a header line */
	RENDER_MD,
};

enum unit {
	UNIT_TEXT,
	UNIT_COUNT,
	UNIT_SIGNED,		/* a count that may be less than 0 */
	UNIT_BYTES,
	UNIT_CHANGE,		/* bytes more, or less */
	UNIT_RATE,		/* the same, an hour */
	UNIT_SHARE,		/* a fraction of 1 */
	UNIT_ADDRESS,
	UNIT_BOOL,
	UNIT_ID,		/* a number that is a name: pid, tid */
	UNIT_CELL,		/* columns only: each cell has its own unit */
};

struct cell {
	enum unit unit;
	bool known;		/* false: prints as nothing */
	union {
		uint64_t number;	/* count, bytes, address, bool; signed,
					   change, rate: in two's complement */
		double share;
		const char *text;	/* borrowed until the call returns */
	};
};

static inline struct cell cell_unknown(void)
{
	return (struct cell){ .known = false };
}

static inline struct cell cell_number(enum unit unit, uint64_t number)
{
	return (struct cell){ .unit = unit, .known = true, .number = number };
}

static inline struct cell cell_share(double share)
{
	return (struct cell){ .unit = UNIT_SHARE, .known = true,
			      .share = share };
}

static inline struct cell cell_signed(int64_t number)
{
	return cell_number(UNIT_SIGNED, (uint64_t)number);
}

/** unit: of those that may be less than 0. */
static inline struct cell cell_change(enum unit unit, int64_t number)
{
	return cell_number(unit, (uint64_t)number);
}

/** part / whole; unknown where whole is 0. */
static inline struct cell cell_part(uint64_t part, uint64_t whole)
{
	return whole ? cell_share((double)part / (double)whole) :
		       cell_unknown();
}

/** text may be NULL: unknown. */
static inline struct cell cell_text(const char *text)
{
	return (struct cell){ .unit = UNIT_TEXT, .known = text != NULL,
			      .text = text };
}

/**
 * Order of cells as tables are sorted: numbers and shares largest first, text
 * and addresses ascending, unknown ones last.
 */
int cell_compare(struct cell a, struct cell b);

struct column {
	const char *key;	/* its name in JSON, CSV, --sort and --fail-if */
	const char *title;	/* its head in text and Markdown */
	enum unit unit;
	const char *about;	/* for `heapscan VIEW --help` */
	bool hidden;		/* not in text and Markdown */
	bool absent;		/* hidden, and not in CSV either */
	bool no_key;		/* not for --sort and --fail-if */
	bool whole;		/* not cut to the width of the line in text */
	unsigned int width;	/* of text; 0: as the unit needs */
};

enum { RENDER_COLUMNS_MAX = 24 };

struct table_spec {
	const char *json_key;	/* "rows", or the name of an extra array */
	const char *title;	/* "TYPES  by size": heads the first column if
				   that is text, else stands above */
	const char *see;	/* at the right end of the head, or NULL */
	const struct column *columns;
	size_t num_columns;	/* at most RENDER_COLUMNS_MAX */
};

struct render {
	FILE *out;		/* borrowed */
	enum render_format format;
	bool color;
	unsigned int columns;	/* width of text; 120 unless set */
	struct json json;
	struct json line;	/* NDJSON: the row that is open */
	struct table_spec table;	/* the one being written */
	unsigned int widths[RENDER_COLUMNS_MAX];
	/* text rows held back until the widths are known */
	char **held;
	size_t num_held;
	bool flowing;		/* widths are settled, rows go straight out */
	bool table_open;
};

/** view: the schema is "heapscan.VIEW/1". */
void render_begin(struct render *render, FILE *out, enum render_format format,
		  const char *view);
void render_end(struct render *render);

/** True for the formats that people read. */
static inline bool render_for_people(const struct render *render)
{
	return render->format == RENDER_TEXT || render->format == RENDER_MD;
}

/**
 * Start a table. NDJSON and CSV have only the one whose key is "rows": of
 * others they print nothing.
 */
void render_table(struct render *render, const struct table_spec *spec);
void render_row(struct render *render, const struct cell *cells);
/**
 * A row that has more in it than its cells: arrays of objects, in JSON and
 * NDJSON. Elsewhere only its cells are printed.
 *
 *	render_row_open(&render, cells);
 *	render_nested(&render, "fields");
 *	render_nested_row(&render, field_columns, field_cells, count);
 *	render_nested_end(&render);
 *	render_row_close(&render);
 */
void render_row_open(struct render *render, const struct cell *cells);
void render_nested(struct render *render, const char *key);
void render_nested_row(struct render *render, const struct column *columns,
		       const struct cell *cells, size_t count);
/** An object instead of an array, with these cells; arrays may follow. */
void render_nested_object(struct render *render, const char *key,
			  const struct column *columns,
			  const struct cell *cells, size_t count);
void render_nested_end(struct render *render);
void render_row_close(struct render *render);

/** The row that makes columns sum up; text and Markdown only. */
void render_rest(struct render *render, const struct cell *cells);
void render_table_end(struct render *render);

/** An object of named values in JSON; nothing elsewhere. */
void render_object(struct render *render, const char *key,
		   const struct column *columns, const struct cell *cells,
		   size_t count);

/** A head of a section: text and Markdown only. */
void render_head(struct render *render, const char *head);

/**
 * A line for people; nothing in the other formats. It is our own words and
 * names made harmless by render_name(), and goes out as it is; in text it is
 * cut to the width.
 */
void render_line(struct render *render, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** As render_line(), with the view that shows more of it at the right end. */
void render_line_see(struct render *render, const char *text, const char *see);

/** As render_line(), never cut: commands to paste. */
void render_whole_line(struct render *render, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** An empty line between sections; text and Markdown only. */
void render_gap(struct render *render);

enum { RENDER_NAME_MAX = 1024 };

/**
 * A name from the dump for render_line(): escaped for the format and at most
 * columns wide.
 *
 * @param name  NULL: "?"
 * @return text
 */
const char *render_name(const struct render *render, const char *name,
			size_t columns, char text[RENDER_NAME_MAX]);

#endif
