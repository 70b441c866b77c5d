/*
 * `diff`: two dumps beside each other: what grew, and where it piles up.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/diff/diff.h"
#include "analyzer/dump_header.h"
#include "analyzer/show/scan_progress.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum diff_column {
	COLUMN_NAME,
	COLUMN_SIZE_DELTA,
	COLUMN_GROWTH,
	COLUMN_SIZE_OLD,
	COLUMN_SIZE_NEW,
	COLUMN_COUNT_DELTA,
	COLUMN_COUNT_OLD,
	COLUMN_COUNT_NEW,
	COLUMN_ON_DEVICES_DELTA,
	COLUMN_ON_DEVICES_OLD,
	COLUMN_ON_DEVICES_NEW,
	COLUMN_KIND,
	COLUMN_TYPE,
	COLUMN_ADDRESS,
	COLUMN_TYPE_ADDRESS,
	COLUMN_PATH,
	COLUMN_CATEGORY,
	COLUMN_ROLE,
	COLUMN_DTYPE,
	COLUMN_SHAPE,
	COLUMN_DEVICE,
	NUM_DIFF_COLUMNS
};

static const struct column diff_columns[NUM_DIFF_COLUMNS] = {
	[COLUMN_NAME] = { .key = "name", .title = "name", .unit = UNIT_TEXT,
		.about = "a path, type, owner, kind of tensor, device, or "
			 "category of memory" },
	[COLUMN_SIZE_DELTA] = { .key = "size_delta", .title = "change", .unit = UNIT_CHANGE,
		.about = "bytes more in the newer dump; at least, where "
			 "size_old is absent" },
	[COLUMN_GROWTH] = { .key = "growth", .title = "an hour", .unit = UNIT_RATE,
		.about = "the same by the time between the dumps, of one process" },
	[COLUMN_SIZE_OLD] = { .key = "size_old", .title = "was", .unit = UNIT_BYTES,
		.about = "in the older dump: what is retained, sizes of objects, "
			 "bytes of storages, of blocks, in memory" },
	[COLUMN_SIZE_NEW] = { .key = "size_new", .title = "is", .unit = UNIT_BYTES,
		.about = "in the newer dump" },
	[COLUMN_COUNT_DELTA] = { .key = "count_delta", .title = "count", .unit = UNIT_SIGNED,
		.about = "objects, tensors, blocks more" },
	[COLUMN_COUNT_OLD] = { .key = "count_old", .title = "were", .unit = UNIT_COUNT,
		.about = "in the older dump", .hidden = true },
	[COLUMN_COUNT_NEW] = { .key = "count_new", .title = "are", .unit = UNIT_COUNT,
		.about = "in the newer dump", .hidden = true },
	[COLUMN_ON_DEVICES_DELTA] = { .key = "device_retained_delta",
		.title = "on devices", .unit = UNIT_CHANGE,
		.about = "of an object that retains: data of tensors on devices "
			 "more in the newer dump; absent where no tensor is on "
			 "one", .hidden = true },
	[COLUMN_ON_DEVICES_OLD] = { .key = "device_retained_old", .title = "was there",
		.unit = UNIT_BYTES, .about = "in the older dump", .hidden = true },
	[COLUMN_ON_DEVICES_NEW] = { .key = "device_retained_new", .title = "is there",
		.unit = UNIT_BYTES, .about = "in the newer dump", .hidden = true },
	[COLUMN_KIND] = { .key = "kind", .title = "kind", .unit = UNIT_TEXT,
		.about = "retained, type, owner, tensor, device or memory",
		.hidden = true },
	[COLUMN_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "of types, owners, and objects that retain",
		.hidden = true },
	[COLUMN_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "of an object that retains, in the newer dump",
		.width = 18, .hidden = true },
	[COLUMN_TYPE_ADDRESS] = { .key = "type_address", .title = "type at", .unit = UNIT_ADDRESS,
		.about = "of a type, where both dumps are of one process",
		.hidden = true },
	[COLUMN_PATH] = { .key = "path", .title = "path", .unit = UNIT_TEXT,
		.about = "to an object that retains", .hidden = true,
		.no_key = true },
	[COLUMN_CATEGORY] = { .key = "category", .title = "category", .unit = UNIT_TEXT,
		.about = "of memory, as the view memory has it", .hidden = true },
	[COLUMN_ROLE] = { .key = "role", .title = "role", .unit = UNIT_TEXT,
		.about = "of tensors, as the view tensors has it, and so the "
			 "next three", .hidden = true },
	[COLUMN_DTYPE] = { .key = "dtype", .title = "dtype", .unit = UNIT_TEXT,
		.hidden = true },
	[COLUMN_SHAPE] = { .key = "shape", .title = "shape", .unit = UNIT_TEXT,
		.hidden = true, .no_key = true },
	[COLUMN_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT,
		.about = "of tensors, and of PyTorch's memory there",
		.hidden = true },
};

enum {
	TOTAL_RSS_DELTA, TOTAL_GROWTH, TOTAL_RSS_OLD, TOTAL_RSS_NEW,
	TOTAL_COUNT_DELTA, TOTAL_COUNT_OLD, TOTAL_COUNT_NEW,
	TOTAL_SIZE_DELTA, TOTAL_SIZE_OLD, TOTAL_SIZE_NEW,
	TOTAL_SECONDS, TOTAL_SAME, NUM_TOTALS
};

static const struct column diff_totals[NUM_TOTALS] = {
	[TOTAL_RSS_DELTA] = { .key = "rss_delta", .unit = UNIT_CHANGE,
		.about = "resident memory of the process, by the kernel" },
	[TOTAL_GROWTH] = { .key = "growth", .unit = UNIT_RATE,
		.about = "of that, in an hour; of one process only" },
	[TOTAL_RSS_OLD] = { .key = "rss_old", .unit = UNIT_BYTES,
		.about = "in the older dump" },
	[TOTAL_RSS_NEW] = { .key = "rss_new", .unit = UNIT_BYTES,
		.about = "in the newer dump" },
	[TOTAL_COUNT_DELTA] = { .key = "count_delta", .unit = UNIT_SIGNED,
		.about = "objects more, of those that the filters let through" },
	[TOTAL_COUNT_OLD] = { .key = "count_old", .unit = UNIT_COUNT,
		.about = "in the older dump" },
	[TOTAL_COUNT_NEW] = { .key = "count_new", .unit = UNIT_COUNT,
		.about = "in the newer dump" },
	[TOTAL_SIZE_DELTA] = { .key = "size_delta", .unit = UNIT_CHANGE,
		.about = "sizes of these objects" },
	[TOTAL_SIZE_OLD] = { .key = "size_old", .unit = UNIT_BYTES,
		.about = "in the older dump" },
	[TOTAL_SIZE_NEW] = { .key = "size_new", .unit = UNIT_BYTES,
		.about = "in the newer dump" },
	[TOTAL_SECONDS] = { .key = "seconds", .unit = UNIT_COUNT,
		.about = "between the dumps" },
	[TOTAL_SAME] = { .key = "same_process", .unit = UNIT_BOOL,
		.about = "both dumps are of one process" },
};

static struct error *run(struct scan *scan);

const struct view cmd_diff_view = {
	.name = "diff",
	.bit = VIEW_DIFF,
	.about = "two dumps beside each other: what grew, and where",
	.columns = diff_columns,
	.num_columns = NUM_DIFF_COLUMNS,
	.totals = diff_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.pair = true,
	.remark =
"heapscan diff OLD NEW, or heapscan NEW diff OLD. The dumps are of one process at\n"
"two times, or of two, as before and after a restart; then types, paths and\n"
"tensors go by their names. First the objects that keep more alive, each where\n"
"it piles up; then types, owners (dict of X), tensors that are alike, PyTorch's\n"
"memory of devices, and the ledger. What changed most stands first, whether more\n"
"or less of it (--sort size_delta: the most grown first); --top bounds the types,\n"
"the other tables in text have half as many rows, and people see what changed\n"
"only. Retained sizes overlap, and so do types and owners: rows of one table\n"
"sum up, but for the first.\n",
};

struct diff_view {
	struct scan *scan;
	struct diff diff;
	struct cell totals[NUM_TOTALS];
};

/* --- cells ---------------------------------------------------------------- */

static struct cell rate_cell(const struct diff *diff, int64_t grown)
{
	if (!diff->same || diff->hours <= 0)
		return cell_unknown();
	return cell_change(UNIT_RATE, (int64_t)((double)grown / diff->hours));
}

/** A word of a tensor's row; NULL: it is not known. */
static const char *word_of(const struct diff_row *row, enum diff_word word)
{
	const char *at = row->words;

	for (int i = 0; i < (int)word; i++)
		at += strlen(at) + 1;
	return *at ? at : NULL;
}

/** What an object that retains has on devices. */
static void fill_devices(const struct diff_row *row, struct cell *cells)
{
	if (!row->on_devices)
		return;
	cells[COLUMN_ON_DEVICES_DELTA] = cell_change(
		UNIT_CHANGE, (int64_t)(row->device[DIFF_NEW] -
				       row->device[DIFF_OLD]));
	cells[COLUMN_ON_DEVICES_NEW] = cell_number(UNIT_BYTES,
						   row->device[DIFF_NEW]);
	if (!row->at_least)
		cells[COLUMN_ON_DEVICES_OLD] = cell_number(
			UNIT_BYTES, row->device[DIFF_OLD]);
}

/** The cells that only rows of one kind have. */
static void fill_kind(enum diff_kind kind, const struct diff_row *row,
		      struct cell *cells)
{
	struct cell address = row->address ?
		cell_number(UNIT_ADDRESS, row->address) : cell_unknown();

	switch (kind) {
	case DIFF_RETAINED:
		cells[COLUMN_PATH] = cell_text(row->name);
		cells[COLUMN_TYPE] = cell_text(row->type);
		cells[COLUMN_ADDRESS] = address;
		fill_devices(row, cells);
		break;
	case DIFF_TYPE:
		cells[COLUMN_TYPE_ADDRESS] = address;
		cells[COLUMN_TYPE] = cell_text(row->name);
		break;
	case DIFF_OWNER:
		cells[COLUMN_TYPE] = cell_text(row->name);
		break;
	case DIFF_TENSOR:
		cells[COLUMN_ROLE] = cell_text(word_of(row, DIFF_ROLE));
		cells[COLUMN_DTYPE] = cell_text(word_of(row, DIFF_DTYPE));
		cells[COLUMN_SHAPE] = cell_text(word_of(row, DIFF_SHAPE));
		cells[COLUMN_DEVICE] = cell_text(word_of(row, DIFF_ON));
		break;
	case DIFF_MEMORY:
		cells[COLUMN_CATEGORY] = cell_text(row->name);
		break;
	case DIFF_DEVICE:
	case DIFF_NUM_KINDS:
		break;
	}
}

static void fill(const struct diff_view *view, enum diff_kind kind,
		 const struct diff_row *row,
		 struct cell cells[NUM_DIFF_COLUMNS])
{
	int64_t grown = (int64_t)(row->size[DIFF_NEW] - row->size[DIFF_OLD]);

	for (int i = 0; i < NUM_DIFF_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[COLUMN_NAME] = cell_text(row->name);
	cells[COLUMN_KIND] = cell_text(diff_kind_name(kind));
	cells[COLUMN_SIZE_DELTA] = cell_change(UNIT_CHANGE, grown);
	cells[COLUMN_GROWTH] = rate_cell(&view->diff, grown);
	if (!row->at_least)
		cells[COLUMN_SIZE_OLD] = cell_number(UNIT_BYTES,
						     row->size[DIFF_OLD]);
	cells[COLUMN_SIZE_NEW] = cell_number(UNIT_BYTES, row->size[DIFF_NEW]);
	if (row->counted) {
		cells[COLUMN_COUNT_DELTA] = cell_signed(
			(int64_t)(row->count[DIFF_NEW] - row->count[DIFF_OLD]));
		cells[COLUMN_COUNT_OLD] = cell_number(UNIT_COUNT,
						      row->count[DIFF_OLD]);
		cells[COLUMN_COUNT_NEW] = cell_number(UNIT_COUNT,
						      row->count[DIFF_NEW]);
	}
	fill_kind(kind, row, cells);
}

static void sum_totals(struct diff_view *view)
{
	const struct diff_rows *types = &view->diff.kinds[DIFF_TYPE];
	uint64_t count[DIFF_SIDES] = { 0 }, size[DIFF_SIDES] = { 0 };
	uint64_t rss[DIFF_SIDES];
	struct cell *totals = view->totals;
	bool known = true;

	for (int side = 0; side < DIFF_SIDES; side++) {
		known &= core_notes_number(
			&opened_image(view->diff.sides[side])->notes,
			FORMAT_FACT_RSS, &rss[side]);
		for (size_t i = 0; i < types->count; i++) {
			count[side] += types->items[i].count[side];
			size[side] += types->items[i].size[side];
		}
	}
	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = cell_unknown();
	if (known) {
		int64_t grown = (int64_t)(rss[DIFF_NEW] - rss[DIFF_OLD]);

		totals[TOTAL_RSS_DELTA] = cell_change(UNIT_CHANGE, grown);
		totals[TOTAL_GROWTH] = rate_cell(&view->diff, grown);
		totals[TOTAL_RSS_OLD] = cell_number(UNIT_BYTES, rss[DIFF_OLD]);
		totals[TOTAL_RSS_NEW] = cell_number(UNIT_BYTES, rss[DIFF_NEW]);
	}
	if (!*types->why_not) {
		totals[TOTAL_COUNT_DELTA] = cell_signed(
			(int64_t)(count[DIFF_NEW] - count[DIFF_OLD]));
		totals[TOTAL_COUNT_OLD] = cell_number(UNIT_COUNT,
						      count[DIFF_OLD]);
		totals[TOTAL_COUNT_NEW] = cell_number(UNIT_COUNT,
						      count[DIFF_NEW]);
		totals[TOTAL_SIZE_DELTA] = cell_change(
			UNIT_CHANGE, (int64_t)(size[DIFF_NEW] - size[DIFF_OLD]));
		totals[TOTAL_SIZE_OLD] = cell_number(UNIT_BYTES, size[DIFF_OLD]);
		totals[TOTAL_SIZE_NEW] = cell_number(UNIT_BYTES, size[DIFF_NEW]);
	}
	if (view->diff.hours > 0)
		totals[TOTAL_SECONDS] = cell_number(
			UNIT_COUNT, (uint64_t)(view->diff.hours * 3600));
	totals[TOTAL_SAME] = cell_number(UNIT_BOOL, view->diff.same);
}

/* --- rows that are shown -------------------------------------------------- */

struct order {
	const struct diff_view *view;
	enum diff_kind kind;
	int column;
};

static int by_column(const void *a, const void *b, void *context)
{
	const struct order *order = context;
	struct cell x[NUM_DIFF_COLUMNS], y[NUM_DIFF_COLUMNS];

	fill(order->view, order->kind, a, x);
	fill(order->view, order->kind, b, y);
	return cell_compare(x[order->column], y[order->column]);
}

static void sort_rows(struct diff_view *view, enum diff_kind kind)
{
	const char *sort = view->scan->options->sort;
	struct diff_rows *rows = &view->diff.kinds[kind];
	struct order order = { .view = view, .kind = kind };

	diff_sort(&view->diff, kind);
	for (int i = 0; sort && i < NUM_DIFF_COLUMNS; i++)
		if (strcmp(diff_columns[i].key, sort) == 0)
			order.column = i;
	if (sort && rows->count > 0)
		qsort_r(rows->items, rows->count, sizeof(*rows->items),
			by_column, &order);
}

static bool passes(const struct diff_view *view, const struct diff_row *row)
{
	bool changed = row->size[DIFF_OLD] != row->size[DIFF_NEW] ||
		       row->device[DIFF_OLD] != row->device[DIFF_NEW] ||
		       row->count[DIFF_OLD] != row->count[DIFF_NEW];

	return diff_changed(row) >= view->scan->options->min_size &&
	       (changed || !render_for_people(&view->scan->render));
}

static size_t rows_wanted(const struct diff_view *view, enum diff_kind kind)
{
	uint64_t top = view->scan->options->top;

	if (top == 0)
		return SIZE_MAX;
	return render_for_people(&view->scan->render) && kind != DIFF_TYPE ?
		(size_t)(top + 1) / 2 : (size_t)top;
}

/** @return rows that pass, and were not shown */
static size_t put_rows(struct diff_view *view, enum diff_kind kind)
{
	const struct diff_rows *rows = &view->diff.kinds[kind];
	size_t wanted = rows_wanted(view, kind), more = 0;
	struct cell cells[NUM_DIFF_COLUMNS];

	for (size_t i = 0; i < rows->count; i++) {
		if (!passes(view, &rows->items[i]))
			continue;
		fill(view, kind, &rows->items[i], cells);
		gate_row(&view->scan->gate, cells);
		if (wanted > 0) {
			render_row(&view->scan->render, cells);
			wanted--;
		} else {
			more++;
		}
	}
	return more;
}

/* --- for programs: one table of all --------------------------------------- */

static void put_all(struct diff_view *view)
{
	struct render *render = &view->scan->render;

	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = "DIFF", .columns = diff_columns,
		.num_columns = NUM_DIFF_COLUMNS });
	for (int kind = 0; kind < DIFF_NUM_KINDS; kind++)
		(void)put_rows(view, (enum diff_kind)kind);
	render_table_end(render);
}

/* --- for people: a table of each kind -------------------------------------- */

static bool any_on_devices(const struct diff_rows *rows)
{
	for (size_t i = 0; i < rows->count; i++)
		if (rows->items[i].on_devices)
			return true;
	return false;
}

static bool any_passes(const struct diff_view *view, enum diff_kind kind)
{
	const struct diff_rows *rows = &view->diff.kinds[kind];

	for (size_t i = 0; i < rows->count; i++)
		if (passes(view, &rows->items[i]))
			return true;
	return false;
}

static void put_more(struct diff_view *view, size_t more)
{
	struct cell cells[NUM_DIFF_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];

	for (int i = 0; i < NUM_DIFF_COLUMNS; i++)
		cells[i] = cell_unknown();
	(void)snprintf(text, sizeof(text), "%s more row%s changed",
		       units_count(more, number), more == 1 ? "" : "s");
	cells[COLUMN_NAME] = cell_text(text);
	render_rest(&view->scan->render, cells);
}

static void put_section(struct diff_view *view, enum diff_kind kind)
{
	static const struct {
		const char *title, *see;
	} heads[DIFF_NUM_KINDS] = {
		[DIFF_RETAINED] = { "RETAINED  where it piles up", "retained" },
		[DIFF_TYPE] = { "TYPES  by change of size", "types" },
		[DIFF_OWNER] = { "OWNERS", "types --by owner" },
		[DIFF_TENSOR] = { "TENSORS", "tensors" },
		[DIFF_DEVICE] = { "DEVICES", "allocator" },
		[DIFF_MEMORY] = { "MEMORY", "memory" },
	};
	const struct diff *diff = &view->diff;
	struct render *render = &view->scan->render;
	struct column columns[NUM_DIFF_COLUMNS];
	size_t more;

	if (!any_passes(view, kind))
		return;
	memcpy(columns, diff_columns, sizeof(columns));
	columns[COLUMN_GROWTH].hidden = !diff->same || diff->hours <= 0;
	columns[COLUMN_COUNT_DELTA].hidden = kind == DIFF_RETAINED ||
					     kind == DIFF_MEMORY;
	columns[COLUMN_ON_DEVICES_DELTA].hidden =
		!any_on_devices(&diff->kinds[kind]);
	columns[COLUMN_TYPE].hidden = columns[COLUMN_ADDRESS].hidden =
		kind != DIFF_RETAINED;
	render_gap(render);
	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = heads[kind].title,
		.see = heads[kind].see, .columns = columns,
		.num_columns = NUM_DIFF_COLUMNS });
	more = put_rows(view, kind);
	if (more > 0)
		put_more(view, more);
	render_table_end(render);
}

/** "RSS 92.4 MiB, then 120.1 MiB: +27.7 MiB, +1.2 GiB an hour" */
static void put_change(const struct diff_view *view, const char *what,
		       const struct cell *was, const struct cell *is,
		       const struct cell *change, const struct cell *growth)
{
	char texts[4][UNITS_TEXT_MAX], rate[UNITS_TEXT_MAX + 16] = "";

	if (!was->known || !is->known)
		return;
	if (growth && growth->known)
		(void)snprintf(rate, sizeof(rate), ", %s an hour",
			       units_change((int64_t)growth->number, texts[3]));
	if (is->unit == UNIT_BYTES)
		render_line(&view->scan->render, "  %-9s %s, then %s: %s%s",
			    what, units_size(was->number, texts[0]),
			    units_size(is->number, texts[1]),
			    units_change((int64_t)change->number, texts[2]),
			    rate);
	else
		render_line(&view->scan->render, "  %-9s %s, then %s: %+" PRId64,
			    what, units_count(was->number, texts[0]),
			    units_count(is->number, texts[1]),
			    (int64_t)change->number);
}

static void put_head(struct diff_view *view,
		     const struct dump_header headers[DIFF_SIDES])
{
	struct render *render = &view->scan->render;
	const struct cell *totals = view->totals;
	char text[UNITS_TEXT_MAX];

	for (int side = 0; side < DIFF_SIDES; side++)
		dump_header_line(&headers[side], render);
	render_line(render, "  %-9s %s%s%s", "process",
		    view->diff.same ? "the same" :
		    "another one, or not known to be the same: by names",
		    view->diff.hours > 0 ? ", after " : "",
		    view->diff.hours > 0 ?
			units_time((uint64_t)(view->diff.hours * 3.6e12), text) :
			"");
	put_change(view, "RSS", &totals[TOTAL_RSS_OLD], &totals[TOTAL_RSS_NEW],
		   &totals[TOTAL_RSS_DELTA], &totals[TOTAL_GROWTH]);
	put_change(view, "objects", &totals[TOTAL_COUNT_OLD],
		   &totals[TOTAL_COUNT_NEW], &totals[TOTAL_COUNT_DELTA], NULL);
	put_change(view, "size", &totals[TOTAL_SIZE_OLD],
		   &totals[TOTAL_SIZE_NEW], &totals[TOTAL_SIZE_DELTA], NULL);
}

/** Where to look next: who holds what grew most. */
static void put_next(const struct diff_view *view)
{
	const struct diff_rows *rows = &view->diff.kinds[DIFF_RETAINED];
	char safe[RENDER_NAME_MAX];

	for (size_t i = 0; i < rows->count; i++) {
		if (diff_grown(&rows->items[i]) <= 0 || !rows->items[i].address)
			continue;
		render_gap(&view->scan->render);
		render_whole_line(&view->scan->render,
				  "next: heapscan %s path 0x%" PRIx64,
				  render_name(&view->scan->render,
					      opened_name(view->scan->opened),
					      RENDER_NAME_MAX - 1, safe),
				  rows->items[i].address);
		return;
	}
}

static void put_missing(const struct diff_view *view)
{
	char safe[RENDER_NAME_MAX];
	const char *last = "";

	for (int kind = 0; kind < DIFF_NUM_KINDS; kind++) {
		const char *why = view->diff.kinds[kind].why_not;

		// That there is no PyTorch in most programs is no news.
		if (!*why || kind == DIFF_TENSOR || kind == DIFF_DEVICE ||
		    strcmp(why, last) == 0)
			continue;
		render_line(&view->scan->render, "not compared: %s: %s",
			    diff_kind_name((enum diff_kind)kind),
			    render_name(&view->scan->render, why, 90, safe));
		last = why;
	}
}

/* --- run ------------------------------------------------------------------ */

static struct error *compare(struct diff_view *view)
{
	struct diff *diff = &view->diff;
	unsigned int format = view->scan->options->format;
	struct error *err = diff_types(diff, view->scan);

	if (!err)
		err = diff_retained(diff);
	if (!err)
		err = diff_tensors(diff);
	if (!err)
		err = diff_memory(diff, format == RENDER_TEXT ||
						format == RENDER_MD);
	return err;
}

static void print(struct diff_view *view)
{
	struct scan *scan = view->scan;
	struct dump_header headers[DIFF_SIDES];

	scan_begin(scan, "diff");
	for (int side = 0; side < DIFF_SIDES; side++)
		dump_header_gather(&headers[side], view->diff.sides[side],
				   opened_runtime_if_found(
					   view->diff.sides[side]),
				   scan->options->values);
	dump_header_json(&headers[DIFF_OLD], "older", &scan->render);
	render_object(&scan->render, "totals", diff_totals, view->totals,
		      NUM_TOTALS);
	gate_totals(&scan->gate, view->totals);
	if (render_for_people(&scan->render)) {
		put_head(view, headers);
		for (int kind = 0; kind < DIFF_NUM_KINDS; kind++)
			put_section(view, (enum diff_kind)kind);
		put_next(view);
		put_missing(view);
	} else {
		put_all(view);
	}
	render_end(&scan->render);
}

static struct error *run(struct scan *scan)
{
	struct diff_view view = {
		.scan = scan,
		.diff = { .sides = { [DIFF_OLD] = scan->older,
				     [DIFF_NEW] = scan->opened },
			  .values = scan->options->values },
	};
	int64_t at[DIFF_SIDES];
	struct error *err;

	diff_identify(&view.diff);
	if (image_captured_at(opened_image(scan->older), &at[DIFF_OLD]) &&
	    image_captured_at(opened_image(scan->opened), &at[DIFF_NEW]) &&
	    at[DIFF_OLD] > at[DIFF_NEW])
		scan_remark(scan, "%s was made after %s, and is shown as the "
			    "older one", opened_name(scan->older),
			    opened_name(scan->opened));
	err = compare(&view);
	progress_clear();
	if (!err) {
		sum_totals(&view);
		for (int kind = 0; kind < DIFF_NUM_KINDS; kind++)
			sort_rows(&view, (enum diff_kind)kind);
		print(&view);
	}
	diff_deinit(&view.diff);
	return err;
}
