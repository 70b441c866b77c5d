/*
 * `duplicates`: equal str, bytes and tuples, and what the copies take.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/heap/duplicates.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "pyheap/values/pystr.h"

enum duplicate_column {
	DUPLICATE_TYPE,
	DUPLICATE_LENGTH,
	DUPLICATE_COUNT,
	DUPLICATE_SIZE,
	DUPLICATE_WASTED,
	DUPLICATE_ADDRESS,
	DUPLICATE_TYPE_ADDRESS,
	DUPLICATE_PREVIEW,	/* the last: in text with --values only */
	NUM_DUPLICATE_COLUMNS
};

static const struct column duplicate_columns[NUM_DUPLICATE_COLUMNS] = {
	[DUPLICATE_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "of all of them; a str and an equal one of a subclass "
			 "are two values", .width = 24 },
	[DUPLICATE_LENGTH] = { .key = "length", .title = "length", .unit = UNIT_COUNT,
		.about = "characters, bytes or items" },
	[DUPLICATE_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "objects of this value" },
	[DUPLICATE_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "what sys.getsizeof says of them, together" },
	[DUPLICATE_WASTED] = { .key = "wasted", .title = "wasted", .unit = UNIT_BYTES,
		.about = "the same of all but the largest one" },
	[DUPLICATE_ADDRESS] = { .key = "address", .title = "one at", .unit = UNIT_ADDRESS,
		.about = "of one of them, the lowest", .width = 18 },
	[DUPLICATE_TYPE_ADDRESS] = { .key = "type_address", .title = "type at", .unit = UNIT_ADDRESS,
		.about = "of the type object", .hidden = true },
	[DUPLICATE_PREVIEW] = { .key = "preview", .title = "preview", .unit = UNIT_TEXT,
		.about = "how the value of a str or bytes begins;"
			 " with --values",
		.width = 40 },
};

enum {
	TOTAL_VALUES, TOTAL_COUNT, TOTAL_SIZE, TOTAL_WASTED, TOTAL_LOOKED_AT,
	TOTAL_UNREAD, NUM_TOTALS
};

static const struct column duplicate_totals[NUM_TOTALS] = {
	[TOTAL_VALUES] = { .key = "values", .unit = UNIT_COUNT,
		.about = "values that occur more than once: the rows, shown or "
			 "not" },
	[TOTAL_COUNT] = { .key = "count", .unit = UNIT_COUNT,
		.about = "objects in them" },
	[TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "their size" },
	[TOTAL_WASTED] = { .key = "wasted", .unit = UNIT_BYTES,
		.about = "what would be free with one of each" },
	[TOTAL_LOOKED_AT] = { .key = "looked_at", .unit = UNIT_COUNT,
		.about = "str, bytes and tuples, repeated or not" },
	[TOTAL_UNREAD] = { .key = "unread", .unit = UNIT_COUNT,
		.about = "those of them whose content the dump has not got" },
};

static struct error *run(struct scan *scan);

const struct view cmd_duplicates_view = {
	.name = "duplicates",
	.bit = VIEW_DUPLICATES,
	.about = "equal str, bytes and tuples, and what the copies take",
	.columns = duplicate_columns,
	.num_columns = NUM_DUPLICATE_COLUMNS,
	.totals = duplicate_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"Objects of one type that hold the same, those that waste most first. Compared\n"
"by a hash of 128 bits, within --memory: what does not fit at once takes\n"
"another look at the dump. Tuples are equal where their items are: str, bytes,\n"
"int, float and tuples in them (three deep, 1,024 of them, 4 KiB) by value,\n"
"others only if they are the same object. Interned strings and constants count\n"
"like others. Values are printed only with --values.\n",
};

/* --- rows ---------------------------------------------------------------- */

enum { ROWS_MIN = 4096 };	/* kept however little memory there is */

struct rows {
	struct scan *scan;
	const struct pyh_types *types;
	int column;			/* to sort by */
	size_t limit;			/* rows to keep; 0: all */
	size_t budget;			/* rows that may be kept at most */
	struct duplicate *kept;		/* a heap, the least wanted on top */
	size_t num_kept, room;
	uint64_t values, count, size, wasted;	/* of all, kept or not */
};

static const struct pyh_type *type_of(const struct rows *rows,
				      const struct duplicate *group)
{
	return pyh_types_get(rows->types, group->type);
}

static struct cell duplicate_cell(const struct rows *rows,
				  const struct duplicate *group, int column)
{
	switch (column) {
	case DUPLICATE_TYPE:
		return cell_text(type_of(rows, group)->name);
	case DUPLICATE_TYPE_ADDRESS:
		return cell_number(UNIT_ADDRESS, type_of(rows, group)->address);
	case DUPLICATE_LENGTH:
		return cell_number(UNIT_COUNT, group->length);
	case DUPLICATE_COUNT:
		return cell_number(UNIT_COUNT, group->count);
	case DUPLICATE_SIZE:
		return cell_number(UNIT_BYTES, group->size);
	case DUPLICATE_ADDRESS:
		return cell_number(UNIT_ADDRESS, group->address);
	case DUPLICATE_PREVIEW:
		return cell_unknown();
	default:
		return cell_number(UNIT_BYTES, duplicate_wasted(group));
	}
}

/** < 0: a stands before b. Never 0 for two groups. */
static int order(const struct rows *rows, const struct duplicate *a,
		 const struct duplicate *b)
{
	const int columns[] = { rows->column, DUPLICATE_WASTED,
				DUPLICATE_ADDRESS };
	int result = 0;

	for (size_t i = 0; !result && i < sizeof(columns) / sizeof(*columns);
	     i++)
		result = cell_compare(duplicate_cell(rows, a, columns[i]),
				      duplicate_cell(rows, b, columns[i]));
	return result;
}

static int order_for_sort(const void *a, const void *b, void *rows)
{
	return order(rows, a, b);
}

static void swap(struct duplicate *a, struct duplicate *b)
{
	struct duplicate other = *a;

	*a = *b;
	*b = other;
}

static void sift_up(struct rows *rows)
{
	size_t at = rows->num_kept - 1;

	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (order(rows, &rows->kept[at], &rows->kept[parent]) <= 0)
			return;
		swap(&rows->kept[at], &rows->kept[parent]);
		at = parent;
	}
}

static void sift_down(struct rows *rows)
{
	size_t at = 0;

	for (;;) {
		size_t last = at, child = at * 2 + 1;

		for (size_t i = child; i < child + 2 && i < rows->num_kept;
		     i++) {
			if (order(rows, &rows->kept[i], &rows->kept[last]) > 0)
				last = i;
		}
		if (last == at)
			return;
		swap(&rows->kept[at], &rows->kept[last]);
		at = last;
	}
}

static struct error *over_budget(const struct rows *rows)
{
	char size[UNITS_TEXT_MAX];

	(void)units_size(rows->budget * sizeof(*rows->kept), size);
	return error_new(ERROR_LIMIT, "that many values take more than %s: "
			 "give more with --memory, fewer with --top, --type or "
			 "--min-size", size);
}

static struct error *keep(struct rows *rows, const struct duplicate *group)
{
	if (rows->limit && rows->num_kept == rows->limit) {
		if (order(rows, group, &rows->kept[0]) < 0) {
			rows->kept[0] = *group;
			sift_down(rows);
		}
		return NULL;
	}
	if (rows->num_kept == rows->room) {
		size_t room = rows->room ? rows->room * 2 : 1024;
		struct duplicate *kept;

		if (rows->num_kept >= rows->budget)
			return over_budget(rows);
		kept = reallocarray(rows->kept, room, sizeof(*kept));
		if (!kept)
			return over_budget(rows);
		rows->kept = kept;
		rows->room = room;
	}
	rows->kept[rows->num_kept++] = *group;
	if (rows->limit)
		sift_up(rows);
	return NULL;
}

static void duplicate_cells(const struct rows *rows,
			    const struct duplicate *group,
			    struct cell cells[NUM_DUPLICATE_COLUMNS])
{
	for (int i = 0; i < NUM_DUPLICATE_COLUMNS; i++)
		cells[i] = duplicate_cell(rows, group, i);
}

static struct error *found(void *context, const struct duplicate *group)
{
	struct rows *rows = context;
	struct cell cells[NUM_DUPLICATE_COLUMNS];

	if (group->size < rows->scan->options->min_size)
		return NULL;
	rows->values++;
	rows->count += group->count;
	rows->size += group->size;
	rows->wasted += duplicate_wasted(group);
	if (gate_open(&rows->scan->gate)) {
		duplicate_cells(rows, group, cells);
		gate_row(&rows->scan->gate, cells);
	}
	return keep(rows, group);
}

/* --- values -------------------------------------------------------------- */

enum { PREVIEW_MAX = 128, PREVIEW_BYTES = 24 };

/** b'…' as Python writes it, of the first bytes. */
static bool preview_bytes(const struct pyh_runtime *runtime,
			  struct memory_reader *memory,
			  const struct duplicate *group, char *text)
{
	uint8_t bytes[PREVIEW_BYTES];
	size_t size = group->length < PREVIEW_BYTES ? (size_t)group->length :
						      PREVIEW_BYTES;
	char *at = text;

	if (!memory_try_read(memory, group->address +
			     pyh_offset(runtime, PYH_BYTES_OB_SVAL), bytes,
			     size))
		return false;
	*at++ = 'b';
	*at++ = '\'';
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == '\'' || bytes[i] == '\\')
			at += snprintf(at, 5, "\\%c", bytes[i]);
		else if (bytes[i] >= ' ' && bytes[i] < 0x7f)
			*at++ = (char)bytes[i];
		else
			at += snprintf(at, 5, "\\x%02x", bytes[i]);
	}
	*at++ = '\'';
	(void)strcpy(at, size < group->length ? "\xe2\x80\xa6" : "");
	return true;
}

static struct cell preview(const struct rows *rows,
			   const struct pyh_runtime *runtime,
			   struct memory_reader *memory,
			   const struct duplicate *group,
			   char text[PREVIEW_MAX])
{
	struct pyh_str str;

	switch (type_of(rows, group)->kind) {
	case PYH_KIND_STR:
		if (pyh_str_read(runtime, memory, group->address, &str) ==
			    PYH_FOUND &&
		    pyh_str_copy(memory, &str, text, PREVIEW_MAX))
			return cell_text(text);
		break;
	case PYH_KIND_BYTES:
		if (preview_bytes(runtime, memory, group, text))
			return cell_text(text);
		break;
	default:
		break;
	}
	return cell_unknown();
}

/* --- printing ------------------------------------------------------------ */

static void print_rest(const struct rows *rows)
{
	struct cell cells[NUM_DUPLICATE_COLUMNS];
	uint64_t more = rows->values - rows->num_kept;
	uint64_t count = rows->count, size = rows->size, wasted = rows->wasted;
	char text[64], number[UNITS_TEXT_MAX];

	if (more == 0)
		return;
	for (size_t i = 0; i < rows->num_kept; i++) {
		count -= rows->kept[i].count;
		size -= rows->kept[i].size;
		wasted -= duplicate_wasted(&rows->kept[i]);
	}
	(void)snprintf(text, sizeof(text), "%s more value%s",
		       units_count(more, number), more == 1 ? "" : "s");
	for (int i = 0; i < NUM_DUPLICATE_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[DUPLICATE_TYPE] = cell_text(text);
	cells[DUPLICATE_COUNT] = cell_number(UNIT_COUNT, count);
	cells[DUPLICATE_SIZE] = cell_number(UNIT_BYTES, size);
	cells[DUPLICATE_WASTED] = cell_number(UNIT_BYTES, wasted);
	render_rest(&rows->scan->render, cells);
}

static void print_rows(struct rows *rows, const struct pyh_runtime *runtime,
		       struct memory_reader *memory)
{
	struct render *render = &rows->scan->render;
	bool values = rows->scan->options->values;
	struct cell cells[NUM_DUPLICATE_COLUMNS];
	char title[64], text[PREVIEW_MAX];

	(void)snprintf(title, sizeof(title), "DUPLICATES  by %s",
		       duplicate_columns[rows->column].key);
	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = title,
		.columns = duplicate_columns,
		.num_columns = values || !render_for_people(render) ?
				       NUM_DUPLICATE_COLUMNS :
				       DUPLICATE_PREVIEW,
	});
	for (size_t i = 0; i < rows->num_kept && !scan_unread(rows->scan);
	     i++) {
		duplicate_cells(rows, &rows->kept[i], cells);
		if (values)
			cells[DUPLICATE_PREVIEW] = preview(rows, runtime,
							   memory,
							   &rows->kept[i],
							   text);
		render_row(render, cells);
	}
	print_rest(rows);
	render_table_end(render);
}

static void print(struct rows *rows, const struct pyh_runtime *runtime,
		  struct memory_reader *memory,
		  const struct duplicates_result *result)
{
	struct scan *scan = rows->scan;
	struct cell totals[NUM_TOTALS] = {
		[TOTAL_VALUES] = cell_number(UNIT_COUNT, rows->values),
		[TOTAL_COUNT] = cell_number(UNIT_COUNT, rows->count),
		[TOTAL_SIZE] = cell_number(UNIT_BYTES, rows->size),
		[TOTAL_WASTED] = cell_number(UNIT_BYTES, rows->wasted),
		[TOTAL_LOOKED_AT] = cell_number(UNIT_COUNT, result->looked_at),
		[TOTAL_UNREAD] = cell_number(UNIT_COUNT, result->unread),
	};
	char number[UNITS_TEXT_MAX];

	qsort_r(rows->kept, rows->num_kept, sizeof(*rows->kept),
		order_for_sort, rows);
	scan_begin(scan, "duplicates");
	render_object(&scan->render, "totals", duplicate_totals, totals,
		      NUM_TOTALS);
	print_rows(rows, runtime, memory);
	if (result->unread)
		render_line(&scan->render, "%s not compared: the dump has not "
			    "got what they hold",
			    units_count(result->unread, number));
	render_end(&scan->render);
	gate_totals(&scan->gate, totals);
	if (rows->values == 0)
		scan_remark(scan, "no value of the dump occurs twice");
	if (scan->options->verbose)
		scan_remark(scan, "duplicates: %u looks at the heap",
			    result->looks);
}

static struct error *search(struct rows *rows, struct pyh_runtime **ret_runtime,
			    struct duplicates_result *ret)
{
	struct scan *scan = rows->scan;
	// Three quarters; the cache of frames has the fourth.
	uint64_t memory = scan->options->memory ?
				  scan->options->memory / 4 * 3 :
				  UINT64_C(1) << 30;
	struct duplicates_options options = {
		.workers = opened_workers(scan->opened),
		.type = scan->options->type,
		.match = scan->options->match,
		.budget = memory / 4 * 3,
		.found = found,
		.context = rows,
	};
	struct pyh_census *census;
	struct pyh_types *types;
	struct error *err = opened_census(scan->opened, &census);

	if (!err)
		err = opened_types(scan->opened, &types);
	if (!err)
		err = opened_runtime(scan->opened, ret_runtime);
	if (err)
		return err;
	rows->types = types;
	rows->budget = (size_t)(memory / 4 / sizeof(*rows->kept));
	if (rows->budget < ROWS_MIN)
		rows->budget = ROWS_MIN;
	return duplicates_find(census, *ret_runtime, types, &options, ret);
}

static struct error *run(struct scan *scan)
{
	struct rows rows = {
		.scan = scan,
		.column = DUPLICATE_WASTED,
		.limit = (size_t)scan->options->top,
	};
	struct duplicates_result result;
	struct memory_reader memory;
	struct pyh_runtime *runtime;
	struct error *err;

	for (int i = 0; scan->options->sort && i < NUM_DUPLICATE_COLUMNS; i++) {
		if (strcmp(duplicate_columns[i].key, scan->options->sort) == 0)
			rows.column = i;
	}
	err = memory_reader_init(&memory, opened_image(scan->opened)->memory);
	if (err)
		return err;
	err = search(&rows, &runtime, &result);
	if (!err)
		print(&rows, runtime, &memory, &result);
	memory_reader_deinit(&memory);
	free(rows.kept);
	return err;
}
