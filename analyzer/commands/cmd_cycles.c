/*
 * `cycles`: objects that hold each other, and which of them are garbage.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/heap/cycles.h"
#include "analyzer/heap/typefilter.h"
#include "analyzer/show/toplist.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "image/base/units.h"

enum cycle_column {
	CYCLE_TYPES,
	CYCLE_COUNT,
	CYCLE_OBJECTS,
	CYCLE_SIZE,
	CYCLE_GARBAGE,
	CYCLE_FINALIZERS,
	CYCLE_SAMPLE,
	NUM_CYCLE_COLUMNS
};

static const struct column cycle_columns[NUM_CYCLE_COLUMNS] = {
	[CYCLE_TYPES] = { .key = "types", .title = "types", .unit = UNIT_TEXT,
		.about = "of its objects and how many of each, the most "
			 "frequent first", .no_key = true },
	[CYCLE_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "cycles of these types, with --by type" },
	[CYCLE_OBJECTS] = { .key = "objects", .title = "objects", .unit = UNIT_COUNT,
		.about = "in it; with --by type, in all of them" },
	[CYCLE_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "what sys.getsizeof says of those, together" },
	[CYCLE_GARBAGE] = { .key = "garbage", .title = "garbage", .unit = UNIT_BOOL,
		.about = "nothing holds it: the collector would find it" },
	[CYCLE_FINALIZERS] = { .key = "finalizers", .title = "finalizers", .unit = UNIT_COUNT,
		.about = "objects in it whose finalizer would still be run: "
			 "__del__, a generator that waits at a yield, types in "
			 "C that have one (files, sockets, tasks)" },
	[CYCLE_SAMPLE] = { .key = "sample", .title = "one at", .unit = UNIT_ADDRESS,
		.about = "one of its objects, that of the lowest address",
		.width = 18 },
};

enum {
	TOTAL_CYCLES, TOTAL_OBJECTS, TOTAL_SIZE, TOTAL_GARBAGE_CYCLES,
	TOTAL_GARBAGE_OBJECTS, TOTAL_GARBAGE_SIZE, TOTAL_GARBAGE_FINALIZERS,
	TOTAL_LOST_CYCLES, TOTAL_LOST, TOTAL_LOST_BYTES, NUM_TOTALS
};

static const struct column cycle_totals[NUM_TOTALS] = {
	[TOTAL_CYCLES] = { .key = "cycles", .unit = UNIT_COUNT,
		.about = "cycles that the filters let through, shown or not" },
	[TOTAL_OBJECTS] = { .key = "objects", .unit = UNIT_COUNT,
		.about = "objects in them" },
	[TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "their size" },
	[TOTAL_GARBAGE_CYCLES] = { .key = "garbage_cycles", .unit = UNIT_COUNT,
		.about = "those of the cycles that are garbage" },
	[TOTAL_GARBAGE_OBJECTS] = { .key = "garbage_objects", .unit = UNIT_COUNT,
		.about = "objects in those" },
	[TOTAL_GARBAGE_SIZE] = { .key = "garbage_size", .unit = UNIT_BYTES,
		.about = "their size; what lives by them is not in it (see gc)" },
	[TOTAL_GARBAGE_FINALIZERS] = { .key = "garbage_finalizers", .unit = UNIT_COUNT,
		.about = "finalizers that would be run" },
	[TOTAL_LOST_CYCLES] = { .key = "lost_cycles", .unit = UNIT_COUNT,
		.about = "those of the cycles that nothing known leads to, but "
			 "that the collector would not find" },
	[TOTAL_LOST] = { .key = "lost", .unit = UNIT_COUNT,
		.about = "all such objects of the dump, as in gc, also what is "
			 "in cycles through native code, which are no rows" },
	[TOTAL_LOST_BYTES] = { .key = "lost_bytes", .unit = UNIT_BYTES,
		.about = "what the allocators hold for those" },
};

static struct error *run(struct scan *scan);

const struct view cmd_cycles_view = {
	.name = "cycles",
	.bit = VIEW_CYCLES,
	.groups = 1 << BY_TYPE,
	.about = "objects that hold each other, and which are garbage",
	.columns = cycle_columns,
	.num_columns = NUM_CYCLE_COLUMNS,
	.totals = cycle_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"Strongly connected components: from each object all others of the cycle can be\n"
"reached. Garbage first, then those that live, the largest first. Cycles that\n"
"live are normal: a class and the tuple of its bases, a module and its\n"
"functions. That an object refers to its class does not count. --by type makes\n"
"one row of cycles that have the same number of objects of each type; --type\n"
"and --match let cycles through that have such an object.\n",
};

struct rows {
	struct scan *scan;
	const struct analysis *analysis;
	struct cycle *cycles;
	uint32_t count, room;
	struct hashmap shapes;		/* of --by type: numbers in cycles */
	struct cell totals[NUM_TOTALS];
};

/* --- choosing -------------------------------------------------------------- */

static struct error *passes(const struct rows *rows, struct typefilter *filter,
			    uint32_t component, bool *ret)
{
	const struct options *options = rows->scan->options;
	const struct components *components = &rows->analysis->components;
	struct error *err = NULL;

	*ret = !options->type && !options->match;
	for (uint32_t i = components->at[component];
	     !err && !*ret && i < components->at[component + 1]; i++)
		err = typefilter_pass(filter,
				      heapgraph_type(rows->analysis->heap,
						     components->members[i]),
				      ret);
	return err;
}

static struct error *append(struct rows *rows, const struct cycle *cycle)
{
	if (rows->count == rows->room) {
		uint32_t room = rows->room ? rows->room * 2 : 1024;
		struct cycle *cycles = reallocarray(rows->cycles, room,
						    sizeof(*cycles));

		if (!cycles)
			return error_no_memory();
		rows->cycles = cycles;
		rows->room = room;
	}
	rows->cycles[rows->count++] = *cycle;
	return NULL;
}

/** To the row of those of the same types, if that is asked for. */
static struct error *add(struct rows *rows, const struct cycle *cycle)
{
	uint64_t shape = 0;
	struct error *err;
	uint32_t at;

	if (!rows->scan->options->by_given)
		return append(rows, cycle);
	shape = cycles_shape(rows->analysis, cycle);
	if (hashmap_get(&rows->shapes, shape, &at)) {
		rows->cycles[at].count++;
		rows->cycles[at].objects += cycle->objects;
		rows->cycles[at].size += cycle->size;
		rows->cycles[at].finalizers += cycle->finalizers;
		return NULL;
	}
	err = hashmap_put(&rows->shapes, shape, rows->count);
	return err ? err : append(rows, cycle);
}

static struct error *gather(struct rows *rows, struct finalizers *finalizers)
{
	const struct options *options = rows->scan->options;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	struct error *err = typefilter_create(options->type, options->match,
					      &filter);

	for (uint32_t i = 0; !err && i < rows->analysis->components.count;
	     i++) {
		struct cycle cycle;
		bool pass;

		err = passes(rows, filter, i, &pass);
		if (err || !pass)
			continue;
		cycle = cycles_get(rows->analysis, finalizers, i);
		err = add(rows, &cycle);
	}
	return err;
}

/* --- printing -------------------------------------------------------------- */

static struct error *fill(const struct rows *rows, const struct cycle *cycle,
			  bool types, char text[CYCLES_TYPES_MAX],
			  struct cell cells[NUM_CYCLE_COLUMNS])
{
	const struct components *components = &rows->analysis->components;
	uint32_t sample = components->members[components->at[cycle->component]];
	struct error *err = types ? cycles_types(rows->analysis,
						 cycle->component, text) : NULL;

	cells[CYCLE_TYPES] = types && !err ? cell_text(text) : cell_unknown();
	cells[CYCLE_COUNT] = rows->scan->options->by_given ?
				     cell_number(UNIT_COUNT, cycle->count) :
				     cell_unknown();
	cells[CYCLE_OBJECTS] = cell_number(UNIT_COUNT, cycle->objects);
	cells[CYCLE_SIZE] = cell_number(UNIT_BYTES, cycle->size);
	cells[CYCLE_GARBAGE] = cell_number(UNIT_BOOL, cycle->garbage);
	cells[CYCLE_FINALIZERS] = cell_number(UNIT_COUNT, cycle->finalizers);
	cells[CYCLE_SAMPLE] = cell_number(
		UNIT_ADDRESS, heapgraph_address(rows->analysis->heap, sample));
	return err;
}

/** Sum up what --min-size lets through, and choose what is shown. */
static struct error *choose(struct rows *rows, struct toplist *list)
{
	struct cell cells[NUM_CYCLE_COLUMNS];
	struct error *err = NULL;

	for (int i = 0; i < NUM_TOTALS; i++)
		rows->totals[i] = cell_number(cycle_totals[i].unit, 0);
	rows->totals[TOTAL_LOST].number = rows->analysis->collector.num_lost;
	rows->totals[TOTAL_LOST_BYTES].number =
		rows->analysis->collector.lost_bytes;
	for (uint32_t i = 0; !err && i < rows->count; i++) {
		const struct cycle *cycle = &rows->cycles[i];
		struct cell *totals = rows->totals;

		if (cycle->size < rows->scan->options->min_size)
			continue;
		totals[TOTAL_CYCLES].number += cycle->count;
		totals[TOTAL_OBJECTS].number += cycle->objects;
		totals[TOTAL_SIZE].number += cycle->size;
		if (cycle->garbage) {
			totals[TOTAL_GARBAGE_CYCLES].number += cycle->count;
			totals[TOTAL_GARBAGE_OBJECTS].number += cycle->objects;
			totals[TOTAL_GARBAGE_SIZE].number += cycle->size;
			totals[TOTAL_GARBAGE_FINALIZERS].number +=
				cycle->finalizers;
		}
		totals[TOTAL_LOST_CYCLES].number += cycle->lost * cycle->count;
		if (gate_open(&rows->scan->gate)) {
			err = fill(rows, cycle, false, NULL, cells);
			gate_row(&rows->scan->gate, cells);
		}
		if (!err)
			err = toplist_add(list, cycle->size |
						(uint64_t)cycle->garbage << 63,
					  i);
	}
	return err;
}

static void print_more(const struct rows *rows, const struct toplist *list)
{
	struct cell cells[NUM_CYCLE_COLUMNS];
	uint64_t more = rows->totals[TOTAL_CYCLES].number;
	uint64_t objects = rows->totals[TOTAL_OBJECTS].number;
	uint64_t size = rows->totals[TOTAL_SIZE].number;
	char number[UNITS_TEXT_MAX], text[64];

	for (size_t i = 0; i < list->count; i++) {
		const struct cycle *cycle = &rows->cycles[list->entries[i].id];

		more -= cycle->count;
		objects -= cycle->objects;
		size -= cycle->size;
	}
	if (more == 0)
		return;
	(void)snprintf(text, sizeof(text), "%s more cycle%s",
		       units_count(more, number), more == 1 ? "" : "s");
	for (int i = 0; i < NUM_CYCLE_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[CYCLE_TYPES] = cell_text(text);
	cells[CYCLE_OBJECTS] = cell_number(UNIT_COUNT, objects);
	cells[CYCLE_SIZE] = cell_number(UNIT_BYTES, size);
	render_rest(&rows->scan->render, cells);
}

static struct error *print_rows(const struct rows *rows,
				const struct toplist *list)
{
	struct render *render = &rows->scan->render;
	struct cell cells[NUM_CYCLE_COLUMNS];
	struct column columns[NUM_CYCLE_COLUMNS];
	char text[CYCLES_TYPES_MAX];
	struct error *err = NULL;

	memcpy(columns, cycle_columns, sizeof(columns));
	columns[CYCLE_COUNT].hidden = !rows->scan->options->by_given;
	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = "CYCLES", .columns = columns,
		.num_columns = NUM_CYCLE_COLUMNS });
	for (size_t i = 0; !err && i < list->count &&
			   !scan_unread(rows->scan); i++) {
		err = fill(rows, &rows->cycles[list->entries[i].id], true, text,
			   cells);
		if (!err)
			render_row(render, cells);
	}
	print_more(rows, list);
	render_table_end(render);
	return err;
}

/** What is normal and what is not. */
static void print_remark(const struct rows *rows)
{
	struct render *render = &rows->scan->render;
	uint64_t all = rows->totals[TOTAL_CYCLES].number;
	uint64_t garbage = rows->totals[TOTAL_GARBAGE_CYCLES].number;
	uint64_t lost = rows->totals[TOTAL_LOST_CYCLES].number;
	char number[UNITS_TEXT_MAX], size[UNITS_TEXT_MAX];

	render_gap(render);
	if (garbage > 0)
		render_line(render, "%s of garbage in %s cycle%s that nothing "
			    "holds: gc.collect() would find them",
			    units_size(rows->totals[TOTAL_GARBAGE_SIZE].number,
				       size), units_count(garbage, number),
			    garbage == 1 ? "" : "s");
	else
		render_line(render, "no garbage among them");
	if (all > garbage + lost)
		render_line(render, "%s live, which is normal: classes and "
			    "their bases, modules and their functions",
			    units_count(all - garbage - lost, number));
}

static struct error *print(struct rows *rows)
{
	CLEANUP(toplist_deinit) struct toplist list;
	struct scan *scan = rows->scan;
	struct error *err;

	toplist_init(&list, (size_t)scan->options->top);
	err = choose(rows, &list);
	if (err)
		return err;
	toplist_sort(&list);
	scan_begin(scan, "cycles");
	render_object(&scan->render, "totals", cycle_totals, rows->totals,
		      NUM_TOTALS);
	err = print_rows(rows, &list);
	if (!err && rows->totals[TOTAL_CYCLES].number > 0)
		print_remark(rows);
	cycles_lost_line(&scan->render, &rows->analysis->collector);
	render_end(&scan->render);
	gate_totals(&scan->gate, rows->totals);
	if (!err && rows->totals[TOTAL_CYCLES].number == 0)
		scan_remark(scan, "no cycle of the dump passes the filters");
	return err;
}

static struct error *run(struct scan *scan)
{
	CLEANUP(finalizers_deinit) struct finalizers finalizers = { 0 };
	struct rows rows = { .scan = scan };
	struct pyh_runtime *runtime;
	struct error *err = analysis_of(scan->opened, ANALYSIS_COMPONENTS |
						ANALYSIS_REACH,
					&rows.analysis);

	if (!err)
		err = opened_runtime(scan->opened, &runtime);
	if (!err)
		err = finalizers_init(&finalizers, rows.analysis->heap,
				      runtime);
	if (!err)
		err = gather(&rows, &finalizers);
	if (!err)
		err = print(&rows);
	hashmap_deinit(&rows.shapes);
	free(rows.cycles);
	return err;
}
