/*
 * `allocator --fits SIZE`: would it have fit, and if not, why.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/allocator/allocator.h"
#include "analyzer/allocator/allocatorfree.h"
#include "analyzer/allocator/allocatorwords.h"
#include "analyzer/cmd.h"
#include "analyzer/show/scan_progress.h"
#include "cudaheap/cachingfits.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum fit_column {
	FIT_DEVICE, FIT_STREAM, FIT_VERDICT, FIT_ROUNDED, FIT_POOL,
	FIT_LARGEST, FIT_FREE, FIT_ASKED, FIT_GIVEN_BACK, FIT_MISSING,
	FIT_BLOCK, FIT_REST, FIT_REFUSED, FIT_OTHER_STREAM, FIT_PRIVATE,
	FIT_JOINED, FIT_WHY, FIT_HELP, NUM_FIT_COLUMNS
};

static const struct column fit_columns[NUM_FIT_COLUMNS] = {
	[FIT_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT,
		.about = "cuda:0 …" },
	[FIT_STREAM] = { .key = "stream", .title = "stream", .unit = UNIT_TEXT,
		.about = "0, or its handle: the default one, and all that have "
			 "memory" },
	[FIT_VERDICT] = { .key = "fits", .title = "fits", .unit = UNIT_TEXT,
		.about = "\"cached\": in a free block; \"driver\": in what the "
			 "driver has; \"released\": once free segments are given "
			 "back; \"depends\": on whether the driver has missing; "
			 "\"no\"" },
	[FIT_ROUNDED] = { .key = "rounded", .title = "rounded", .unit = UNIT_BYTES,
		.about = "what it is rounded to" },
	[FIT_POOL] = { .key = "pool", .title = "pool", .unit = UNIT_TEXT,
		.about = "that it would be taken from" },
	[FIT_LARGEST] = { .key = "largest_free", .title = "largest free", .unit = UNIT_BYTES,
		.about = "block of this pool and stream" },
	[FIT_FREE] = { .key = "free", .title = "free", .unit = UNIT_BYTES,
		.about = "all of them together" },
	[FIT_ASKED] = { .key = "asked", .title = "asked", .unit = UNIT_BYTES,
		.about = "that the driver would be asked for" },
	[FIT_GIVEN_BACK] = { .key = "released", .title = "released", .unit = UNIT_BYTES,
		.about = "that can be given back to it first" },
	[FIT_MISSING] = { .key = "missing", .title = "missing", .unit = UNIT_BYTES,
		.about = "that it must have free beside that" },
	[FIT_BLOCK] = { .key = "block", .title = "block", .unit = UNIT_ADDRESS,
		.about = "that would be taken", .hidden = true },
	[FIT_REST] = { .key = "rest", .title = "rest", .unit = UNIT_BYTES,
		.about = "that would be split off it", .hidden = true },
	[FIT_REFUSED] = { .key = "refused", .title = "refused", .unit = UNIT_BYTES,
		.about = "a free block that max_split_size keeps from it",
		.hidden = true },
	[FIT_OTHER_STREAM] = { .key = "other_stream", .title = "other stream", .unit = UNIT_BYTES,
		.about = "a free block that would do, of another stream",
		.hidden = true },
	[FIT_PRIVATE] = { .key = "other_private", .title = "private", .unit = UNIT_BYTES,
		.about = "a free block that would do, of a private pool",
		.hidden = true },
	[FIT_JOINED] = { .key = "joined", .title = "joined", .unit = UNIT_BYTES,
		.about = "all that is free outside of private pools",
		.hidden = true },
	[FIT_WHY] = { .key = "why", .title = "why", .unit = UNIT_TEXT,
		.about = "the same in words", .hidden = true, .no_key = true },
	[FIT_HELP] = { .key = "help", .title = "help", .unit = UNIT_TEXT,
		.about = "what would have helped", .hidden = true,
		.no_key = true },
};

enum { TOTAL_SIZE, NUM_TOTALS };

static const struct column fit_totals[NUM_TOTALS] = {
	[TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "what was asked for" },
};

static struct error *run(struct scan *scan);

const struct view cmd_allocatorfits_view = {
	.name = "allocator",
	.bit = VIEW_ALLOCATOR,
	.columns = fit_columns,
	.num_columns = NUM_FIT_COLUMNS,
	.totals = fit_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
};

enum { TEXT_MAX = 768 };

struct fit_row {
	size_t device;
	struct caching_fit fit;
	char why[TEXT_MAX], help[TEXT_MAX];
};

struct fits_view {
	struct scan *scan;
	struct allocator *allocator;
	struct fit_row *rows;
	size_t num_rows;
};

/* --- words ----------------------------------------------------------------------- */

static const char *verdict_name(enum caching_verdict verdict)
{
	static const char *const names[] = {
		[FIT_CACHED] = "cached",
		[FIT_DRIVER] = "driver",
		[FIT_RELEASED] = "released",
		[FIT_UNKNOWN] = "depends",
		[FIT_NO] = "no",
	};

	return names[verdict];
}

/** Add a sentence; what has no room is left out. */
__attribute__((format(printf, 2, 3)))
static void say(char text[TEXT_MAX], const char *format, ...)
{
	size_t used = strlen(text);
	va_list list;
	int size;

	if (used)
		used += (size_t)snprintf(text + used, TEXT_MAX - used, "; ");
	va_start(list, format);
	size = vsnprintf(text + used, TEXT_MAX - used, format, list);
	va_end(list);
	if (size < 0 || (size_t)size >= TEXT_MAX - used)
		text[used > 2 ? used - 2 : 0] = '\0';
}

static void say_driver(const struct allocator_device *device,
		       const struct caching_fit *fit, char text[TEXT_MAX])
{
	char texts[4][UNITS_TEXT_MAX];

	(void)units_size(fit->asked, texts[0]);
	(void)units_size(fit->released, texts[1]);
	(void)units_size(fit->missing, texts[2]);
	if (device->device_free != UINT64_MAX)
		say(text, "the driver is asked for %s and has %s%s free%s; %s can "
		    "be given back to it first", texts[0],
		    device->free_from == ALLOCATOR_FREE_MESSAGE ? "about " : "",
		    units_size(device->device_free, texts[3]),
		    device->free_from == ALLOCATOR_FREE_TOLD ? "" :
		    ", as when memory ran out", texts[1]);
	else if (fit->missing)
		say(text, "the driver is asked for %s; %s can be given back to it "
		    "first, so it must have %s free beside that, which was not "
		    "recorded", texts[0], texts[1], texts[2]);
	else
		say(text, "the driver is asked for %s; %s is given back to it "
		    "first if it has not got that", texts[0], texts[1]);
}

static void explain(const struct fits_view *view, struct fit_row *row)
{
	const struct allocator_device *device =
		&view->allocator->devices[row->device];
	const struct caching_fit *fit = &row->fit;
	char texts[3][UNITS_TEXT_MAX];

	(void)units_size(fit->rounded, texts[0]);
	if (!view->allocator->caching->settings.source)
		say(row->why, "how it was set up is not known: this is as without "
		    "roundup_power2_divisions and expandable_segments");
	if (fit->block) {
		say(row->why, "the smallest free block that is large enough has "
		    "%s", units_size(fit->block->size, texts[1]));
		if (fit->rest)
			say(row->why, "%s of it stays free",
			    units_size(fit->rest, texts[1]));
		else if (fit->block->size > fit->rounded)
			say(row->why, "it is not split: %s more than is needed",
			    units_size(fit->block->size - fit->rounded,
				       texts[1]));
		return;
	}
	if (fit->largest)
		say(row->why, "the largest free block of the %s pool and stream "
		    "has %s, of %s that is free there",
		    fit->small ? "small" : "large",
		    units_size(fit->largest, texts[1]),
		    units_size(fit->free, texts[2]));
	else
		say(row->why, "the %s pool has no free block of this stream",
		    fit->small ? "small" : "large");
	if (fit->refused)
		say(row->why, "a free block of %s may not be taken: "
		    "max_split_size", units_size(fit->refused, texts[1]));
	say_driver(device, fit, row->why);
}

static void advise(const struct fits_view *view, struct fit_row *row)
{
	const struct torch_settings *settings =
		&view->allocator->caching->settings;
	const struct allocator_device *device =
		&view->allocator->devices[row->device];
	const struct caching_fit *fit = &row->fit;
	char texts[2][UNITS_TEXT_MAX];
	uint64_t least;

	if (fit->verdict == FIT_CACHED || fit->verdict == FIT_DRIVER)
		return;
	if (fit->other_stream)
		say(row->help, "another stream has a free block of %s, which "
		    "only it may use: allocating on that stream would do",
		    units_size(fit->other_stream, texts[0]));
	if (fit->other_private)
		say(row->help, "a private pool has a free block of %s, which "
		    "only its graph or MemPool may use",
		    units_size(fit->other_private, texts[0]));
	if (fit->refused)
		say(row->help, "a larger max_split_size_mb would let the block "
		    "of %s be used", units_size(fit->refused, texts[0]));
	if (fit->verdict == FIT_RELEASED)
		return;
	if (!settings->source || settings->expandable_segments)
		return;
	least = caching_least_pages(view->allocator->caching, device->device,
				    view->scan->options->fits);
	if (device->device_free != UINT64_MAX &&
	    least > device->device->reserved + device->device_free +
			    device->free_error)
		say(row->help, "expandable_segments:True would not be enough: "
		    "with pages for each stream it needs at least %s",
		    units_size(least, texts[0]));
	else if (fit->joined >= fit->asked)
		say(row->help, "expandable_segments:True might help: %s is free "
		    "in pieces, which it maps to one range (whole pages of %s)",
		    units_size(fit->joined, texts[0]),
		    units_size(caching_page(fit->small), texts[1]));
	else
		say(row->help, "expandable_segments:True would not be enough: "
		    "only %s is free in all pieces together",
		    units_size(fit->joined, texts[0]));
}

/* --- rows ------------------------------------------------------------------------ */

static bool has_row(const struct fits_view *view, size_t device,
		    uint64_t stream)
{
	for (size_t i = 0; i < view->num_rows; i++)
		if (view->rows[i].device == device &&
		    view->rows[i].fit.stream == stream)
			return true;
	return false;
}

/** What was rounded is asked at both its ends: it decides where they agree. */
static void fit(const struct fits_view *view, const struct allocator_device *one,
		uint64_t stream, struct caching_fit *ret)
{
	const struct caching_allocator *caching = view->allocator->caching;
	uint64_t size = view->scan->options->fits, free = one->device_free;
	uint64_t error = one->free_error;
	struct caching_fit most;

	caching_fit(caching, one->device, stream, size,
		    free - (error < free ? error : free), ret);
	if (error == 0)
		return;
	caching_fit(caching, one->device, stream, size, free + error, &most);
	if (most.verdict != ret->verdict)
		ret->verdict = FIT_UNKNOWN;
}

static void add_row(struct fits_view *view, size_t device, uint64_t stream)
{
	const struct allocator_device *one = &view->allocator->devices[device];
	struct fit_row *row;

	if (has_row(view, device, stream))
		return;
	row = &view->rows[view->num_rows++];
	row->device = device;
	fit(view, one, stream, &row->fit);
	explain(view, row);
	advise(view, row);
}

/** Streams that have memory; and the default one, as most allocate there. */
static struct error *take_rows(struct fits_view *view)
{
	size_t room = 1;

	for (size_t i = 0; i < view->allocator->num_devices; i++)
		room += view->allocator->devices[i].num_pools + 1;
	view->rows = calloc(room, sizeof(*view->rows));
	if (!view->rows)
		return error_no_memory();
	for (size_t i = 0; i < view->allocator->num_devices; i++) {
		const struct allocator_device *device =
			&view->allocator->devices[i];

		if (!device->device->is_known)
			continue;
		add_row(view, i, 0);
		for (size_t j = 0; j < device->num_pools; j++)
			if (!device->pools[j].is_private)
				add_row(view, i, device->pools[j].stream);
	}
	return NULL;
}

/* What cells are borrowed from. */
struct fit_texts {
	char device[ALLOCATOR_NAME_MAX], stream[ALLOCATOR_POOL_MAX];
};

/** 0: there is none. */
static struct cell bytes_or_none(uint64_t bytes)
{
	return bytes ? cell_number(UNIT_BYTES, bytes) : cell_unknown();
}

static void fill(const struct fits_view *view, const struct fit_row *row,
		 struct fit_texts *texts, struct cell cells[NUM_FIT_COLUMNS])
{
	const struct caching_fit *fit = &row->fit;

	for (int i = 0; i < NUM_FIT_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[FIT_DEVICE] = cell_text(allocator_device_name(
		view->allocator, row->device, texts->device));
	cells[FIT_STREAM] = cell_text(
		allocator_stream_text(fit->stream, texts->stream));
	cells[FIT_VERDICT] = cell_text(verdict_name(fit->verdict));
	cells[FIT_ROUNDED] = cell_number(UNIT_BYTES, fit->rounded);
	cells[FIT_POOL] = cell_text(fit->small ? "small" : "large");
	cells[FIT_LARGEST] = cell_number(UNIT_BYTES, fit->largest);
	cells[FIT_FREE] = cell_number(UNIT_BYTES, fit->free);
	cells[FIT_GIVEN_BACK] = cell_number(UNIT_BYTES, fit->released);
	if (fit->block)
		cells[FIT_BLOCK] = cell_number(UNIT_ADDRESS, fit->block->data);
	else
		cells[FIT_ASKED] = cell_number(UNIT_BYTES, fit->asked);
	cells[FIT_MISSING] = cell_number(UNIT_BYTES, fit->missing);
	cells[FIT_REST] = bytes_or_none(fit->rest);
	cells[FIT_REFUSED] = bytes_or_none(fit->refused);
	cells[FIT_OTHER_STREAM] = bytes_or_none(fit->other_stream);
	cells[FIT_PRIVATE] = bytes_or_none(fit->other_private);
	cells[FIT_JOINED] = cell_number(UNIT_BYTES, fit->joined);
	cells[FIT_WHY] = cell_text(row->why);
	cells[FIT_HELP] = cell_text(*row->help ? row->help : NULL);
}

/** For people: a sentence a line. */
static void put_sentences(struct render *render, const char *head,
			  const char *text)
{
	while (*text) {
		const char *end = strstr(text, "; ");
		int size = end ? (int)(end - text) : (int)strlen(text);

		render_line(render, "  %s%.*s", head, size, text);
		text += size;
		text += *text ? 2 : 0;
	}
}

static void put_lines(const struct fits_view *view)
{
	struct render *render = &view->scan->render;

	if (!render_for_people(render))
		return;
	for (size_t i = 0; i < view->num_rows; i++) {
		const struct fit_row *row = &view->rows[i];
		char device[ALLOCATOR_NAME_MAX], stream[ALLOCATOR_POOL_MAX];

		render_gap(render);
		render_line(render, "%s, stream %s: %s",
			    allocator_device_name(view->allocator, row->device,
						  device),
			    allocator_stream_text(row->fit.stream, stream),
			    verdict_name(row->fit.verdict));
		put_sentences(render, "", row->why);
		put_sentences(render, "help: ", row->help);
	}
	render_gap(render);
	render_line(render, "an estimate by the allocator's rules: what other "
		    "processes took meanwhile is not known");
}

static void print(struct fits_view *view)
{
	struct scan *scan = view->scan;
	struct cell totals[NUM_TOTALS] = {
		[TOTAL_SIZE] = cell_number(UNIT_BYTES, scan->options->fits),
	};
	struct cell cells[NUM_FIT_COLUMNS];
	struct fit_texts texts;

	scan_begin(scan, "allocator");
	render_object(&scan->render, "totals", fit_totals, totals, NUM_TOTALS);
	gate_totals(&scan->gate, totals);
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = "FITS",
		.columns = fit_columns, .num_columns = NUM_FIT_COLUMNS });
	for (size_t i = 0; i < view->num_rows; i++) {
		fill(view, &view->rows[i], &texts, cells);
		if (gate_open(&scan->gate))
			gate_row(&scan->gate, cells);
		render_row(&scan->render, cells);
	}
	render_table_end(&scan->render);
	put_lines(view);
	render_end(&scan->render);
}

static struct error *run(struct scan *scan)
{
	CLEANUP(allocator_release) struct allocator *allocator = NULL;
	struct fits_view view = { .scan = scan };
	struct error *err = allocator_open_scan(scan, /* with_tensors= */ false,
						&allocator);

	if (err)
		return err;
	view.allocator = allocator;
	err = take_rows(&view);
	progress_clear();
	if (!err)
		print(&view);
	if (!err)
		allocator_remark(scan, allocator);
	free(view.rows);
	return err;
}
