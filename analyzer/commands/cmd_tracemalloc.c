/*
 * `tracemalloc`: where traced memory was allocated.
 * SPDX-License-Identifier: Apache-2.0
 *
 * No object is looked at: all is in tracemalloc's own tables.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/heap/sites.h"
#include "analyzer/heap/typefilter.h"
#include "analyzer/threads/tracebacks.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum site_column {
	SITE_FILE,
	SITE_LINE,
	SITE_COUNT,
	SITE_SIZE,
	SITE_AVERAGE,
	SITE_SHARE,
	SITE_TRACEBACKS,
	SITE_FRAMES,
	NUM_SITE_COLUMNS
};

static const struct column site_columns[NUM_SITE_COLUMNS] = {
	[SITE_FILE] = { .key = "file", .title = "file", .unit = UNIT_TEXT,
		.about = "of the most recent call, as in the code; <unknown> "
			 "where no Python code ran" },
	[SITE_LINE] = { .key = "line", .title = "line", .unit = UNIT_ID,
		.about = "in it; 0 where tracemalloc did not know" },
	[SITE_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "blocks that were allocated there and not freed" },
	[SITE_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "bytes asked for, of all of them" },
	[SITE_AVERAGE] = { .key = "average", .title = "average", .unit = UNIT_BYTES,
		.about = "of one of them" },
	[SITE_SHARE] = { .key = "share", .title = "share", .unit = UNIT_SHARE,
		.about = "of all that is traced" },
	[SITE_TRACEBACKS] = { .key = "tracebacks", .title = "tracebacks", .unit = UNIT_COUNT,
		.about = "different ones that lead there, as far as they were "
			 "kept", .hidden = true },
	[SITE_FRAMES] = { .key = "frames", .title = "frames", .unit = UNIT_COUNT,
		.about = "calls that were under way, kept or not: with "
			 "--tracebacks, of 3.9 and later", .hidden = true },
};

enum {
	TOTAL_SITES, TOTAL_COUNT, TOTAL_SIZE, TOTAL_TRACEBACKS, TOTAL_TRACED,
	TOTAL_PEAK, TOTAL_LIMIT, NUM_TOTALS
};

static const struct column site_totals[NUM_TOTALS] = {
	[TOTAL_SITES] = { .key = "sites", .unit = UNIT_COUNT,
		.about = "number of rows" },
	[TOTAL_COUNT] = { .key = "count", .unit = UNIT_COUNT,
		.about = "traced blocks, in rows or not" },
	[TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "their bytes" },
	[TOTAL_TRACEBACKS] = { .key = "tracebacks", .unit = UNIT_COUNT,
		.about = "different ones" },
	[TOTAL_TRACED] = { .key = "traced", .unit = UNIT_BYTES,
		.about = "what tracemalloc.get_traced_memory() would say: now" },
	[TOTAL_PEAK] = { .key = "peak", .unit = UNIT_BYTES,
		.about = "and at most" },
	[TOTAL_LIMIT] = { .key = "limit", .unit = UNIT_COUNT,
		.about = "frames that are kept of a traceback" },
};

static struct error *run(struct scan *scan);

const struct view cmd_tracemalloc_view = {
	.name = "tracemalloc",
	.bit = VIEW_TRACEMALLOC,
	.about = "where memory was allocated, if the process traced it",
	.columns = site_columns,
	.num_columns = NUM_SITE_COLUMNS,
	.totals = site_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"What tracemalloc.take_snapshot().statistics('lineno') would say, read from\n"
"its tables: blocks that were allocated since tracing began and not freed. A\n"
"process traces with PYTHONTRACEMALLOC=25 in its environment, with python3 -X\n"
"tracemalloc=25 (frames to keep of each traceback) or by tracemalloc.start().\n"
"A row has `traceback` in JSON: file and line of each frame, the most recent\n"
"call first, of the traceback that most of the row comes from. With\n"
"--tracebacks each traceback is a row. --match is about names of files.\n",
};

/** All that is printed. */
struct sites_view {
	struct scan *scan;
	struct memory_reader memory;
	struct pyh_tracer tracer;
	struct tracebacks tracebacks;
	struct sites sites;
	uint64_t all;		/* bytes of all, filtered out or not */
	size_t shown;
	int column;		/* to sort by */
};

static void sites_view_deinit(struct sites_view *view)
{
	sites_deinit(&view->sites);
	tracebacks_deinit(&view->tracebacks);
	pyh_tracer_deinit(&view->tracer);
	memory_reader_deinit(&view->memory);
}

/* --- rows ----------------------------------------------------------------- */

static struct cell frames_cell(struct sites_view *view,
			       const struct site *site)
{
	struct pyh_alloc_traceback traceback;

	if (!view->scan->options->tracebacks ||
	    pyh_alloc_traceback(&view->tracer, &view->memory, site->traceback,
				&traceback) != PYH_FOUND ||
	    traceback.total == 0)
		return cell_unknown();
	return cell_number(UNIT_COUNT, traceback.total);
}

static struct cell site_cell(struct sites_view *view, const struct site *site,
			     int column)
{
	switch (column) {
	case SITE_FILE:
		return cell_text(tracebacks_file(&view->tracebacks,
						 site->filename));
	case SITE_LINE:
		return site->filename ? cell_number(UNIT_ID, site->line) :
					cell_unknown();
	case SITE_COUNT:
		return cell_number(UNIT_COUNT, site->count);
	case SITE_SIZE:
		return cell_number(UNIT_BYTES, site->size);
	case SITE_AVERAGE:
		return site->count ? cell_number(UNIT_BYTES,
						 site->size / site->count) :
				     cell_unknown();
	case SITE_SHARE:
		return cell_part(site->size, view->all);
	case SITE_TRACEBACKS:
		return cell_number(UNIT_COUNT, site->tracebacks);
	default:
		return frames_cell(view, site);
	}
}

static void site_cells(struct sites_view *view, const struct site *site,
		       struct cell cells[NUM_SITE_COLUMNS])
{
	for (int i = 0; i < NUM_SITE_COLUMNS; i++)
		cells[i] = site_cell(view, site, i);
}

static int order(const void *a, const void *b, void *context)
{
	struct sites_view *view = context;
	const int columns[] = { view->column, SITE_SIZE, SITE_COUNT, SITE_FILE,
				SITE_LINE };
	const struct site *left = a, *right = b;
	int result = 0;

	for (size_t i = 0; !result && i < sizeof(columns) / sizeof(*columns);
	     i++)
		result = cell_compare(site_cell(view, a, columns[i]),
				      site_cell(view, b, columns[i]));
	return result ? result : (left->traceback > right->traceback) -
				 (left->traceback < right->traceback);
}

/** Leave out what the filters are against. */
static struct error *filter(struct sites_view *view)
{
	const struct options *options = view->scan->options;
	CLEANUP(typefilter_release) struct typefilter *match = NULL;
	struct error *err = typefilter_create(NULL, options->match, &match);
	size_t kept = 0;

	for (size_t i = 0; !err && i < view->sites.count; i++) {
		struct site *site = &view->sites.items[i];
		const char *file = tracebacks_file(&view->tracebacks,
						   site->filename);
		bool pass;

		err = typefilter_pass_name(match, file ? file : "", &pass);
		if (!err && pass && site->size >= options->min_size)
			view->sites.items[kept++] = *site;
	}
	if (!err)
		view->sites.count = kept;
	return err;
}

/* --- printing ------------------------------------------------------------- */

static void put_rest(struct sites_view *view)
{
	struct site rest = { 0 };
	struct cell cells[NUM_SITE_COLUMNS];
	size_t more = view->sites.count - view->shown;
	char text[64], number[UNITS_TEXT_MAX];

	if (more == 0)
		return;
	for (size_t i = view->shown; i < view->sites.count; i++) {
		rest.count += view->sites.items[i].count;
		rest.size += view->sites.items[i].size;
	}
	(void)snprintf(text, sizeof(text), "%s more line%s",
		       units_count(more, number), more == 1 ? "" : "s");
	site_cells(view, &rest, cells);
	cells[SITE_FILE] = cell_text(text);
	render_rest(&view->scan->render, cells);
}

static void put_table(struct sites_view *view)
{
	struct render *render = &view->scan->render;
	char title[64], text[TRACEBACKS_FILE_MAX];

	(void)snprintf(title, sizeof(title), "TRACEMALLOC  by %s",
		       site_columns[view->column].key);
	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = title, .columns = site_columns,
		.num_columns = NUM_SITE_COLUMNS,
	});
	for (size_t i = 0; i < view->shown && !scan_unread(view->scan); i++) {
		const struct site *site = &view->sites.items[i];
		struct cell cells[NUM_SITE_COLUMNS];

		site_cells(view, site, cells);
		if (render_for_people(render))
			cells[SITE_FILE] = cell_text(tracebacks_short(
				cells[SITE_FILE].known ?
					cells[SITE_FILE].text : NULL, text));
		render_row_open(render, cells);
		tracebacks_put_rows(&view->tracebacks, render,
				    site->traceback);
		render_row_close(render);
	}
	put_rest(view);
	render_table_end(render);
}

/** For people: whole tracebacks, one below the other. */
static void put_tracebacks(struct sites_view *view)
{
	struct render *render = &view->scan->render;
	char head[64], size[UNITS_TEXT_MAX], count[UNITS_TEXT_MAX];

	(void)snprintf(head, sizeof(head), "TRACEMALLOC  tracebacks by %s, "
		       "most recent call first", site_columns[view->column].key);
	render_head(render, head);
	for (size_t i = 0; i < view->shown && !scan_unread(view->scan); i++) {
		const struct site *site = &view->sites.items[i];

		render_line(render, "  %s in %s block%s",
			    units_size(site->size, size),
			    units_count(site->count, count),
			    site->count == 1 ? "" : "s");
		tracebacks_put_lines(&view->tracebacks, render,
				     site->traceback, 0, 6);
	}
	if (view->shown < view->sites.count)
		render_line(render, "  %s more tracebacks (--top 0 shows all)",
			    units_count(view->sites.count - view->shown,
					count));
}

static void make_totals(const struct sites_view *view,
			struct cell totals[NUM_TOTALS])
{
	const struct pyh_tracer *tracer = &view->tracer;
	bool known = tracer->totals_known;

	totals[TOTAL_SITES] = cell_number(UNIT_COUNT, view->sites.count);
	totals[TOTAL_COUNT] = cell_number(UNIT_COUNT, view->sites.traces);
	totals[TOTAL_SIZE] = cell_number(UNIT_BYTES, view->sites.size);
	totals[TOTAL_TRACEBACKS] = cell_number(UNIT_COUNT,
					       view->sites.tracebacks);
	totals[TOTAL_TRACED] = known ? cell_number(UNIT_BYTES, tracer->traced) :
				       cell_unknown();
	totals[TOTAL_PEAK] = known && tracer->peak ?
		cell_number(UNIT_BYTES, tracer->peak) : cell_unknown();
	totals[TOTAL_LIMIT] = tracer->limit ?
		cell_number(UNIT_COUNT, tracer->limit) : cell_unknown();
}

/** For people: what JSON has in its totals. */
static void put_summary(const struct sites_view *view)
{
	const struct pyh_tracer *tracer = &view->tracer;
	char size[UNITS_TEXT_MAX], count[UNITS_TEXT_MAX], peak[UNITS_TEXT_MAX];
	char most[64] = "", limit[64] = "";

	if (tracer->totals_known && tracer->peak)
		(void)snprintf(most, sizeof(most), ", at most %s",
			       units_size(tracer->peak, peak));
	if (tracer->limit)
		(void)snprintf(limit, sizeof(limit), "; %" PRIu64 " frame%s of "
			       "each traceback kept", tracer->limit,
			       tracer->limit == 1 ? "" : "s");
	render_line(&view->scan->render, "traced: %s in %s blocks%s%s",
		    units_size(view->sites.size, size),
		    units_count(view->sites.traces, count), most, limit);
}

static void print(struct sites_view *view)
{
	struct scan *scan = view->scan;
	struct render *render = &scan->render;
	struct cell totals[NUM_TOTALS], cells[NUM_SITE_COLUMNS];

	make_totals(view, totals);
	scan_begin(scan, "tracemalloc");
	render_object(render, "totals", site_totals, totals, NUM_TOTALS);
	for (size_t i = 0; i < view->sites.count && gate_open(&scan->gate);
	     i++) {
		site_cells(view, &view->sites.items[i], cells);
		gate_row(&scan->gate, cells);
	}
	gate_totals(&scan->gate, totals);
	if (scan->options->tracebacks && render_for_people(render))
		put_tracebacks(view);
	else
		put_table(view);
	put_summary(view);
	render_end(render);
	if (view->sites.count == 0)
		scan_remark(scan, "no traced block passes the filters");
}

/* --- gathering ------------------------------------------------------------ */

static struct error *not_traced(enum pyh_tracing tracing)
{
	switch (tracing) {
	case PYH_TRACING_OFF:
		break;
	case PYH_TRACING_MISSING:
		return error_new(ERROR_NOT_FOUND, "the process traced its "
				 "allocations, but the dump has not got "
				 "tracemalloc's tables");
	case PYH_TRACING_LOST:
	case PYH_TRACING_ON:
		return error_new(ERROR_NOT_FOUND, "the process traced its "
				 "allocations, but tracemalloc's tables were "
				 "not found: they are damaged, or not in the "
				 "dump");
	}
	return error_new(ERROR_NOT_FOUND, "the process did not trace its "
			 "allocations: start it with PYTHONTRACEMALLOC=1 in "
			 "its environment (25 keeps 25 frames of each "
			 "traceback) or with python3 -X tracemalloc, or have "
			 "it call tracemalloc.start()");
}

static struct error *gather(struct sites_view *view)
{
	struct scan *scan = view->scan;
	struct pyh_runtime *runtime;
	struct error *err = opened_runtime(scan->opened, &runtime);

	if (!err)
		err = memory_reader_init(&view->memory, runtime->image->memory);
	if (!err)
		err = pyh_tracer_open(runtime, &view->memory, &view->tracer);
	if (!err && view->tracer.tracing != PYH_TRACING_ON)
		err = not_traced(view->tracer.tracing);
	if (err)
		return err;
	tracebacks_init(&view->tracebacks, &view->tracer, &view->memory);
	err = sites_gather(&view->tracer, &view->memory,
			   opened_workers(scan->opened),
			   scan->options->tracebacks, &view->sites);
	if (err)
		return err;
	view->all = view->sites.size;
	pyh_tracer_find_totals(&view->tracer, &view->memory, view->all);
	return filter(view);
}

static struct error *run(struct scan *scan)
{
	CLEANUP(sites_view_deinit) struct sites_view view = {
		.scan = scan, .column = SITE_SIZE,
	};
	const char *sort = scan->options->sort;
	uint64_t top = scan->options->top;
	struct error *err;

	for (int i = 0; sort && i < NUM_SITE_COLUMNS; i++) {
		if (strcmp(site_columns[i].key, sort) == 0)
			view.column = i;
	}
	err = gather(&view);
	if (err)
		return err;
	qsort_r(view.sites.items, view.sites.count, sizeof(*view.sites.items),
		order, &view);
	view.shown = top == 0 || top > view.sites.count ? view.sites.count :
							  (size_t)top;
	print(&view);
	return NULL;
}
