/*
 * `gc`: the state of the cyclic collector, and what it would free now.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <string.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/heap/collectors.h"
#include "analyzer/heap/cycles.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum gc_column {
	GC_GENERATION,
	GC_OBJECTS,
	GC_COUNT,
	GC_THRESHOLD,
	GC_COLLECTIONS,
	GC_COLLECTED,
	GC_UNCOLLECTABLE,
	GC_CANDIDATES,
	GC_INTERPRETER,
	NUM_GC_COLUMNS
};

static const struct column gc_columns[NUM_GC_COLUMNS] = {
	[GC_GENERATION] = { .key = "generation", .title = "generation", .unit = UNIT_ID,
		.about = "0 is that of new objects" },
	[GC_OBJECTS] = { .key = "objects", .title = "objects", .unit = UNIT_COUNT,
		.about = "in its list; absent in free-threaded builds, which "
			 "have no lists" },
	[GC_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "as gc.get_count(): new objects less freed ones, or "
			 "collections of the generation before" },
	[GC_THRESHOLD] = { .key = "threshold", .title = "threshold", .unit = UNIT_COUNT,
		.about = "as gc.get_threshold()" },
	[GC_COLLECTIONS] = { .key = "collections", .title = "collections", .unit = UNIT_COUNT,
		.about = "of it so far, as gc.get_stats()" },
	[GC_COLLECTED] = { .key = "collected", .title = "collected", .unit = UNIT_COUNT,
		.about = "objects that these freed" },
	[GC_UNCOLLECTABLE] = { .key = "uncollectable", .title = "uncollectable", .unit = UNIT_COUNT,
		.about = "objects that these put into gc.garbage" },
	[GC_CANDIDATES] = { .key = "candidates", .title = "candidates", .unit = UNIT_COUNT,
		.about = "objects that these looked at; 3.15 and later",
		.hidden = true },
	[GC_INTERPRETER] = { .key = "interpreter", .title = "interpreter", .unit = UNIT_ID,
		.about = "whose collector it is: 0 is the main one" },
};

enum {
	TOTAL_GARBAGE, TOTAL_BY_WORDS, TOTAL_FREED, TOTAL_FREED_BYTES,
	TOTAL_LOST, TOTAL_LOST_BYTES, TOTAL_FINALIZERS,
	TOTAL_STAY, TOTAL_GC_GARBAGE, TOTAL_TRACKED, TOTAL_FROZEN,
	TOTAL_ENABLED, TOTAL_COLLECTING, NUM_TOTALS
};

static const struct column gc_totals[NUM_TOTALS] = {
	[TOTAL_GARBAGE] = { .key = "garbage", .unit = UNIT_COUNT,
		.about = "objects that gc.collect() would find now" },
	[TOTAL_BY_WORDS] = { .key = "garbage_by_words", .unit = UNIT_COUNT,
		.about = "those of them that are garbage only if words of "
			 "unknown structures are references, as they are in "
			 "classes of Cython and mypyc" },
	[TOTAL_FREED] = { .key = "freed", .unit = UNIT_COUNT,
		.about = "objects that it would free: those, and what lives by "
			 "them" },
	[TOTAL_FREED_BYTES] = { .key = "freed_bytes", .unit = UNIT_BYTES,
		.about = "what the allocators hold for these" },
	[TOTAL_LOST] = { .key = "lost", .unit = UNIT_COUNT,
		.about = "objects that nothing known leads to and that "
			 "gc.collect() would not free: garbage that it cannot "
			 "see, or a cycle through native code" },
	[TOTAL_LOST_BYTES] = { .key = "lost_bytes", .unit = UNIT_BYTES,
		.about = "what the allocators hold for those" },
	[TOTAL_FINALIZERS] = { .key = "finalizers", .unit = UNIT_COUNT,
		.about = "finalizers that it would run" },
	[TOTAL_STAY] = { .key = "garbage_uncollectable", .unit = UNIT_COUNT,
		.about = "objects of the garbage that it would not free: types "
			 "in C with tp_del, and what these lead to" },
	[TOTAL_GC_GARBAGE] = { .key = "gc_garbage", .unit = UNIT_COUNT,
		.about = "length of gc.garbage" },
	[TOTAL_TRACKED] = { .key = "tracked", .unit = UNIT_COUNT,
		.about = "objects that the collector knows" },
	[TOTAL_FROZEN] = { .key = "frozen", .unit = UNIT_COUNT,
		.about = "those it never looks at: gc.freeze(), and in 3.12 "
			 "what is immortal" },
	[TOTAL_ENABLED] = { .key = "enabled", .unit = UNIT_BOOL,
		.about = "as gc.isenabled(), of the main interpreter" },
	[TOTAL_COLLECTING] = { .key = "collecting", .unit = UNIT_BOOL,
		.about = "the dump was taken inside a collection" },
};

static struct error *run(struct scan *scan);

const struct view cmd_gc_view = {
	.name = "gc",
	.bit = VIEW_GC,
	.about = "the cyclic collector, and what it would free now",
	.columns = gc_columns,
	.num_columns = NUM_GC_COLUMNS,
	.totals = gc_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"The collector's own numbers, and a full collection replayed: what is tracked,\n"
"and held by nothing but what is as dead as itself. Finalizers may bring objects\n"
"back when it really runs. Some garbage is normal between collections; much of\n"
"it means that the collector is off, or frozen objects and native code keep it\n"
"from being found. `cycles` shows which objects hold each other.\n",
};

/* --- numbers --------------------------------------------------------------- */

/** None of these can be negative, so such a one is unknown or damaged. */
static struct cell number(enum unit unit, int64_t value)
{
	return value < 0 ? cell_unknown() :
			   cell_number(unit, (uint64_t)value);
}

static void fill(const struct pyh_gc *gc, int64_t interpreter,
		 unsigned int generation, struct cell cells[NUM_GC_COLUMNS])
{
	const struct pyh_gc_generation *of = &gc->generations[generation];

	cells[GC_GENERATION] = cell_number(UNIT_ID, generation);
	cells[GC_OBJECTS] = number(UNIT_COUNT, of->objects);
	cells[GC_COUNT] = number(UNIT_COUNT, of->count);
	cells[GC_THRESHOLD] = number(UNIT_COUNT, of->threshold);
	cells[GC_COLLECTIONS] = number(UNIT_COUNT, of->collections);
	cells[GC_COLLECTED] = number(UNIT_COUNT, of->collected);
	cells[GC_UNCOLLECTABLE] = number(UNIT_COUNT, of->uncollectable);
	cells[GC_CANDIDATES] = number(UNIT_COUNT, of->candidates);
	cells[GC_INTERPRETER] = cell_number(UNIT_ID, (uint64_t)interpreter);
}

static void print_rows(struct scan *scan, const struct pyh_runtime *runtime,
		       const struct pyh_gc *collectors, size_t count)
{
	struct column columns[NUM_GC_COLUMNS];
	struct cell cells[NUM_GC_COLUMNS];

	memcpy(columns, gc_columns, sizeof(columns));
	columns[GC_INTERPRETER].hidden = count == 1;
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = "COLLECTOR", .columns = columns,
		.num_columns = NUM_GC_COLUMNS });
	for (size_t i = 0; i < count; i++) {
		for (unsigned int j = 0; j < PYH_GC_GENERATIONS_MAX; j++) {
			fill(&collectors[i], runtime->interpreters[i].id, j, cells);
			gate_row(&scan->gate, cells);
			render_row(&scan->render, cells);
		}
	}
	render_table_end(&scan->render);
}

/* --- what it means --------------------------------------------------------- */

static void print_garbage(struct render *render,
			  const struct collector *collector)
{
	char garbage[UNITS_TEXT_MAX], freed[UNITS_TEXT_MAX],
		size[UNITS_TEXT_MAX], number[UNITS_TEXT_MAX];

	if (collector->num_garbage == 0) {
		render_line(render, "no garbage: gc.collect() would free "
			    "nothing");
		return;
	}
	render_line(render, "garbage: %s objects in cycles or hanging on "
		    "them; gc.collect() would free %s in %s objects",
		    units_count(collector->num_garbage, garbage),
		    units_size(collector->freed_bytes, size),
		    units_count(collector->num_freed, freed));
	if (collector->num_by_words > 0)
		render_line(render, "by words: %s of them, if words of unknown "
			    "structures are references",
			    units_count(collector->num_by_words, number));
	if (collector->num_finalizers > 0)
		render_line(render, "finalizers: it would run %s",
			    units_count(collector->num_finalizers, number));
	if (collector->num_uncollectable > 0)
		render_line(render, "uncollectable: %s of them would stay, in "
			    "gc.garbage or held by it",
			    units_count(collector->num_uncollectable, number));
}

/** How the collector is started, if it is. */
static const char *state_of(const struct pyh_gc *gc)
{
	if (gc->enabled == PYH_GC_UNKNOWN)
		return "there";
	if (!gc->enabled)
		return "disabled";
	return pyh_gc_never_runs(gc) ? "enabled, but with a threshold of 0 it "
				       "never runs by itself" : "enabled";
}

static void print_remarks(struct scan *scan, const struct pyh_gc *gc,
			  const struct collector *collector)
{
	struct render *render = &scan->render;
	char tracked[UNITS_TEXT_MAX], number[UNITS_TEXT_MAX];

	render_gap(render);
	render_line(render, "the collector is %s; it knows %s objects",
		    state_of(gc),
		    units_count(collector->num_tracked, tracked));
	if (gc->collecting)
		render_line(render, "the dump was taken inside of a "
			    "collection");
	print_garbage(render, collector);
	cycles_lost_line(render, collector);
	if (gc->garbage > 0)
		render_line(render, "gc.garbage has %s objects",
			    units_count((uint64_t)gc->garbage, number));
	if (collector->num_frozen > 0)
		render_line(render, "frozen: %s objects that it never looks at",
			    units_count(collector->num_frozen, number));
}

static struct error *run(struct scan *scan)
{
	struct cell totals[NUM_TOTALS];
	const struct collector *collector;
	const struct analysis *analysis;
	CLEANUP(free_pointer) struct pyh_gc *collectors = NULL;
	struct pyh_runtime *runtime;
	size_t count;
	struct pyh_gc gc;
	struct error *err = analysis_of(scan->opened, ANALYSIS_REACH,
					&analysis);

	if (!err)
		err = opened_runtime(scan->opened, &runtime);
	if (!err)
		err = collectors_read(scan->opened, analysis, &collectors,
				      &count);
	if (err)
		return err;
	gc = collectors[0];
	collector = &analysis->collector;
	totals[TOTAL_GARBAGE] = cell_number(UNIT_COUNT, collector->num_garbage);
	totals[TOTAL_BY_WORDS] = cell_number(UNIT_COUNT,
					     collector->num_by_words);
	totals[TOTAL_LOST] = cell_number(UNIT_COUNT, collector->num_lost);
	totals[TOTAL_LOST_BYTES] = cell_number(UNIT_BYTES,
					       collector->lost_bytes);
	totals[TOTAL_FREED] = cell_number(UNIT_COUNT, collector->num_freed);
	totals[TOTAL_FREED_BYTES] = cell_number(UNIT_BYTES,
						collector->freed_bytes);
	totals[TOTAL_FINALIZERS] = cell_number(UNIT_COUNT,
					       collector->num_finalizers);
	totals[TOTAL_STAY] = cell_number(UNIT_COUNT,
					 collector->num_uncollectable);
	totals[TOTAL_GC_GARBAGE] = number(UNIT_COUNT, gc.garbage);
	totals[TOTAL_TRACKED] = cell_number(UNIT_COUNT, collector->num_tracked);
	totals[TOTAL_FROZEN] = cell_number(UNIT_COUNT, collector->num_frozen);
	totals[TOTAL_ENABLED] = number(UNIT_BOOL, gc.enabled);
	totals[TOTAL_COLLECTING] = cell_number(UNIT_BOOL, gc.collecting);
	scan_begin(scan, "gc");
	render_object(&scan->render, "totals", gc_totals, totals, NUM_TOTALS);
	print_rows(scan, runtime, collectors, count);
	print_remarks(scan, &gc, collector);
	render_end(&scan->render);
	gate_totals(&scan->gate, totals);
	return NULL;
}
