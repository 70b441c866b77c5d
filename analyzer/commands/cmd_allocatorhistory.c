/*
 * `allocator --history`: what PyTorch's allocator recorded of its past.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>

#include "analyzer/allocator/allocator.h"
#include "analyzer/allocator/allocatorwords.h"
#include "analyzer/cmd.h"
#include "analyzer/show/scan_progress.h"
#include "analyzer/tensors/torchframes.h"
#include "cudaheap/torchclock.h"
#include "cudaheap/torchtrace.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum event_column {
	EVENT_SIZE, EVENT_ACTION, EVENT_DEVICE, EVENT_ADDRESS, EVENT_STREAM,
	EVENT_AGE, EVENT_TIME, EVENT_FREE, EVENT_PLACE, EVENT_CONTEXT,
	NUM_EVENT_COLUMNS
};

static const struct column event_columns[NUM_EVENT_COLUMNS] = {
	[EVENT_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "as asked for; of segments as got from the driver" },
	[EVENT_ACTION] = { .key = "action", .title = "action", .unit = UNIT_TEXT,
		.about = "alloc, free_requested, free_completed, segment_alloc, "
			 "segment_free, segment_map, segment_unmap, snapshot, "
			 "oom, annotate", .whole = true },
	[EVENT_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT,
		.about = "cuda:0 …", .whole = true },
	[EVENT_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "on the device; of oom absent" },
	[EVENT_STREAM] = { .key = "stream", .title = "stream", .unit = UNIT_TEXT,
		.about = "0, or its handle", .hidden = true },
	[EVENT_AGE] = { .key = "before", .title = "before", .unit = UNIT_TEXT,
		.about = "how long before the newest event; from 2.1 on" },
	[EVENT_TIME] = { .key = "time_us", .title = "time", .unit = UNIT_COUNT,
		.about = "microseconds since 1970; from 2.1 on", .hidden = true },
	[EVENT_FREE] = { .key = "device_free", .title = "device free", .unit = UNIT_BYTES,
		.about = "of oom: what the driver had free" },
	[EVENT_PLACE] = { .key = "place", .title = "asked by", .unit = UNIT_TEXT,
		.about = "the innermost Python frame that is not PyTorch's own, "
			 "where stacks were recorded" },
	[EVENT_CONTEXT] = { .key = "context", .title = "context", .unit = UNIT_ADDRESS,
		.about = "what was recorded of the stack", .hidden = true },
};

enum { TOTAL_EVENTS, TOTAL_OOMS, TOTAL_UNREAD, NUM_TOTALS };

static const struct column event_totals[NUM_TOTALS] = {
	[TOTAL_EVENTS] = { .key = "events", .unit = UNIT_COUNT,
		.about = "that the filters let through" },
	[TOTAL_OOMS] = { .key = "ooms", .unit = UNIT_COUNT,
		.about = "of these, requests that failed" },
	[TOTAL_UNREAD] = { .key = "unread", .unit = UNIT_COUNT,
		.about = "that cannot be read" },
};

static struct error *run(struct scan *scan);

const struct view cmd_allocatorhistory_view = {
	.name = "allocator",
	.bit = VIEW_ALLOCATOR,
	.columns = event_columns,
	.num_columns = NUM_EVENT_COLUMNS,
	.totals = event_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
};

struct event_row {
	uint32_t device;
	struct torch_event event;
};

struct history {
	struct scan *scan;
	const struct allocator *allocator;
	struct memory_reader memory;
	struct torchframes *frames;
	struct torch_clock clock;
	struct event_row *rows;
	uint64_t sums[NUM_TOTALS];
	bool recorded;
};

static int newest_first(const void *a, const void *b)
{
	const struct event_row *x = *(const struct event_row *const *)a;
	const struct event_row *y = *(const struct event_row *const *)b;

	if (x->event.time != y->event.time)
		return x->event.time > y->event.time ? -1 : 1;
	// In the order of the ring, of which the last one is the newest.
	return x > y ? -1 : x < y;
}

static struct error *take_device(struct history *history, uint32_t device)
{
	struct torch_trace trace;
	struct event_row *rows;

	torch_trace_find(&history->memory,
			 history->allocator->devices[device].device, &trace);
	history->recorded |= torch_trace_report(
		opened_image(history->scan->opened)->findings,
		history->allocator->devices[device].device, &trace);
	history->recorded |= trace.count > 0;
	if (trace.count == 0)
		return NULL;
	rows = reallocarray(history->rows, history->sums[TOTAL_EVENTS] +
			    trace.count, sizeof(*rows));
	if (!rows)
		return error_no_memory();
	history->rows = rows;
	for (uint64_t i = 0; i < trace.count; i++) {
		struct event_row *row = &rows[history->sums[TOTAL_EVENTS]];

		row->device = device;
		if (!torch_trace_event(&trace, &history->memory, i,
				       &row->event)) {
			history->sums[TOTAL_UNREAD]++;
		} else if (row->event.size >=
			   history->scan->options->min_size) {
			history->sums[TOTAL_EVENTS]++;
			history->sums[TOTAL_OOMS] += row->event.action ==
						     TORCH_OOM;
		}
	}
	return NULL;
}

/* What cells are borrowed from. */
struct event_texts {
	char device[ALLOCATOR_NAME_MAX], stream[ALLOCATOR_POOL_MAX];
	char age[UNITS_TEXT_MAX], place[TORCHFRAMES_PLACE];
};

static void fill(const struct history *history, const struct event_row *row,
		 uint64_t newest, struct event_texts *texts,
		 struct cell cells[NUM_EVENT_COLUMNS])
{
	const struct torch_event *event = &row->event;

	for (int i = 0; i < NUM_EVENT_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[EVENT_SIZE] = cell_number(UNIT_BYTES, event->size);
	cells[EVENT_ACTION] = cell_text(torch_action_name(
		(enum torch_action)event->action));
	cells[EVENT_DEVICE] = cell_text(allocator_device_name(
		history->allocator, row->device, texts->device));
	if (event->action == TORCH_OOM)
		cells[EVENT_FREE] = cell_number(UNIT_BYTES, event->address);
	else
		cells[EVENT_ADDRESS] = cell_number(UNIT_ADDRESS,
						   event->address);
	cells[EVENT_STREAM] = cell_text(allocator_stream_text(event->stream,
							      texts->stream));
	if (event->time && history->clock.is_known) {
		double ns = (double)(newest - event->time) *
			    history->clock.rate;

		cells[EVENT_AGE] = cell_text(units_time((uint64_t)ns,
							texts->age));
		cells[EVENT_TIME] = cell_number(
			UNIT_COUNT, (uint64_t)torch_clock_us(&history->clock,
							     event->time));
	}
	if (!event->context)
		return;
	cells[EVENT_CONTEXT] = cell_number(UNIT_ADDRESS, event->context);
	torchframes_place(history->frames, event->context, texts->place);
	cells[EVENT_PLACE] = cell_text(*texts->place ? texts->place : NULL);
}

static void print(struct history *history, struct event_row **order)
{
	struct scan *scan = history->scan;
	uint64_t count = history->sums[TOTAL_EVENTS], shown = 0;
	uint64_t newest = count ? order[0]->event.time : 0;
	uint64_t top = scan->options->top;
	struct cell totals[NUM_TOTALS], cells[NUM_EVENT_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];
	struct event_texts texts;

	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = cell_number(event_totals[i].unit, history->sums[i]);
	scan_begin(scan, "allocator");
	render_object(&scan->render, "totals", event_totals, totals,
		      NUM_TOTALS);
	gate_totals(&scan->gate, totals);
	for (uint64_t i = 0; i < count && gate_open(&scan->gate); i++) {
		fill(history, order[i], newest, &texts, cells);
		gate_row(&scan->gate, cells);
	}
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = "HISTORY  the newest first",
		.columns = event_columns, .num_columns = NUM_EVENT_COLUMNS });
	for (; shown < count && (top == 0 || shown < top) && !scan_unread(scan);
	     shown++) {
		fill(history, order[shown], newest, &texts, cells);
		render_row(&scan->render, cells);
	}
	if (shown < count) {
		for (int i = 0; i < NUM_EVENT_COLUMNS; i++)
			cells[i] = cell_unknown();
		(void)snprintf(text, sizeof(text), "%s older",
			       units_count(count - shown, number));
		cells[EVENT_PLACE] = cell_text(text);
		render_rest(&scan->render, cells);
	}
	render_table_end(&scan->render);
	render_end(&scan->render);
}

static struct error *run_with(struct history *history)
{
	CLEANUP(free_pointer) struct event_row **order = NULL;
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < history->allocator->num_devices; i++)
		err = take_device(history, i);
	if (!err)
		err = torchframes_open(history->scan->opened,
				       &history->frames);
	if (err)
		return err;
	order = calloc(history->sums[TOTAL_EVENTS] + 1, sizeof(*order));
	if (!order)
		return error_no_memory();
	for (uint64_t i = 0; i < history->sums[TOTAL_EVENTS]; i++)
		order[i] = &history->rows[i];
	qsort(order, history->sums[TOTAL_EVENTS], sizeof(*order), newest_first);
	torch_clock_find(&history->memory, history->allocator->caching->address,
			 &history->clock);
	progress_clear();
	print(history, order);
	return NULL;
}

static struct error *run(struct scan *scan)
{
	CLEANUP(allocator_release) struct allocator *allocator = NULL;
	struct history history = { .scan = scan };
	struct error *err = allocator_open(scan->opened, false,
					   scan->options->values, &allocator);

	if (err)
		return err;
	history.allocator = allocator;
	err = memory_reader_init(&history.memory,
				 opened_image(scan->opened)->memory);
	if (err)
		return err;
	err = run_with(&history);
	torchframes_close(history.frames);
	memory_reader_deinit(&history.memory);
	free(history.rows);
	if (err)
		return err;
	if (allocator->num_devices && !history.recorded)
		scan_remark(scan, "nothing was recorded: the program had not "
			    "called torch.cuda.memory._record_memory_history()");
	allocator_remark(scan, allocator);
	return NULL;
}
