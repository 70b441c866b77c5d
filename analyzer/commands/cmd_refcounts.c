/*
 * `refcounts`: reference counts held against the references that were found.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdlib.h>

#include "analyzer/cmd.h"
#include "analyzer/heap/excess.h"
#include "analyzer/heap/typefilter.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "pyheap/references/pyedge.h"

enum refcount_column {
	REFCOUNT_ADDRESS,
	REFCOUNT_TYPE,
	REFCOUNT_REFCOUNT,
	REFCOUNT_FOUND,
	REFCOUNT_EXCESS,
	REFCOUNT_GUESSED,
	REFCOUNT_HOLDERS,
	REFCOUNT_HOLDER,
	REFCOUNT_HOLDER_ADDRESS,
	REFCOUNT_IMMORTAL,
	REFCOUNT_TYPE_ADDRESS,
	NUM_REFCOUNT_COLUMNS
};

static const struct column refcount_columns[NUM_REFCOUNT_COLUMNS] = {
	[REFCOUNT_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "where it is in the target", .width = 18 },
	[REFCOUNT_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "module and qualified name, bare for builtins" },
	[REFCOUNT_REFCOUNT] = { .key = "refcount", .title = "refcount", .unit = UNIT_COUNT,
		.about = "what the object says" },
	[REFCOUNT_FOUND] = { .key = "found", .title = "found", .unit = UNIT_COUNT,
		.about = "references from objects, frames and states of the "
			 "interpreter that own a count" },
	[REFCOUNT_EXCESS] = { .key = "excess", .title = "excess", .unit = UNIT_SIGNED,
		.about = "refcount less found: above 0 native code holds it, "
			 "or has leaked it; below 0 it was released too often" },
	[REFCOUNT_GUESSED] = { .key = "guessed", .title = "guessed", .unit = UNIT_COUNT,
		.about = "words of unknown structures that lead to it and may "
			 "own a count; not in found" },
	[REFCOUNT_HOLDERS] = { .key = "holders", .title = "words", .unit = UNIT_COUNT,
		.about = "words of static variables, native stacks, memory of "
			 "malloc and other memory, as libffi's closures, that "
			 "lead to it or to its text: each may own a count, or "
			 "be left over; absent where they were not looked for" },
	[REFCOUNT_HOLDER] = { .key = "holder", .title = "held by", .unit = UNIT_TEXT,
		.about = "where the first of these words is, of closures if "
			 "there are some", .no_key = true },
	[REFCOUNT_HOLDER_ADDRESS] = { .key = "holder_address", .title = "held at", .unit = UNIT_ADDRESS,
		.about = "of that word", .hidden = true },
	[REFCOUNT_IMMORTAL] = { .key = "immortal", .title = "immortal", .unit = UNIT_BOOL,
		.about = "its count says nothing: no row then", .hidden = true },
	[REFCOUNT_TYPE_ADDRESS] = { .key = "type_address", .title = "type at", .unit = UNIT_ADDRESS,
		.about = "of its type object", .hidden = true },
};

enum {
	TOTAL_AUDITED, TOTAL_UNEXPLAINED, TOTAL_UNHELD, TOTAL_OVER_RELEASED, TOTAL_GUESSED,
	TOTAL_IMMORTAL, TOTAL_DANGLING, NUM_TOTALS
};

static const struct column refcount_totals[NUM_TOTALS] = {
	[TOTAL_AUDITED] = { .key = "audited", .unit = UNIT_COUNT,
		.about = "objects with a count" },
	[TOTAL_UNEXPLAINED] = { .key = "unexplained", .unit = UNIT_COUNT,
		.about = "those with counts that nothing found accounts for" },
	[TOTAL_UNHELD] = { .key = "unheld", .unit = UNIT_COUNT,
		.about = "those of them with more counts than words that lead "
			 "to them" },
	[TOTAL_OVER_RELEASED] = { .key = "over_released", .unit = UNIT_COUNT,
		.about = "those with fewer counts than owners" },
	[TOTAL_GUESSED] = { .key = "guessed_objects", .unit = UNIT_COUNT,
		.about = "those whose count only guessed references account "
			 "for: no rows" },
	[TOTAL_IMMORTAL] = { .key = "immortal_objects", .unit = UNIT_COUNT,
		.about = "objects whose counts say nothing: not audited" },
	[TOTAL_DANGLING] = { .key = "dangling", .unit = UNIT_COUNT,
		.about = "references to what is no object: it was released too "
			 "often and freed, or written over; -v lists some" },
};

static struct error *run(struct scan *scan);

const struct view cmd_refcounts_view = {
	.name = "refcounts",
	.bit = VIEW_REFCOUNTS,
	.about = "reference counts against the references found",
	.columns = refcount_columns,
	.num_columns = NUM_REFCOUNT_COLUMNS,
	.totals = refcount_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"Every reference that owns a count was looked for in objects, frames and states\n"
"of the interpreter. Rows are objects whose count is another: first those that\n"
"were released too often (they will be freed while in use), then those with\n"
"most counts that no word of memory accounts for, as after a leak, then those\n"
"that C code seems to hold: in a static variable, memory of its own, on its\n"
"stack, in a callback (libffi's closures, of cffi), in what a compiler has\n"
"written (executable memory). An excess that grows from dump to dump is a leak of an extension.\n",
};

/** What rows are made of. */
struct rows {
	struct scan *scan;
	const struct heapgraph *heap;
	struct excesses all;
	struct pyh_type_reader *types;
	struct memory_reader memory;
	struct pyh_naming naming;
};

enum { HOLDER_TEXT_MAX = 256 };

static void fill(const struct rows *rows, const struct excess *excess,
		 char text[HOLDER_TEXT_MAX],
		 struct cell cells[NUM_REFCOUNT_COLUMNS])
{
	const struct heapgraph *heap = rows->heap;
	const struct pyh_type *type = heapgraph_type(heap, excess->object);

	cells[REFCOUNT_ADDRESS] = cell_number(
		UNIT_ADDRESS, heapgraph_address(heap, excess->object));
	cells[REFCOUNT_TYPE] = cell_text(type->name);
	cells[REFCOUNT_REFCOUNT] = cell_number(
		UNIT_COUNT, heapgraph_refcount(heap, excess->object));
	cells[REFCOUNT_FOUND] = cell_number(UNIT_COUNT, excess->found);
	cells[REFCOUNT_EXCESS] = cell_signed(excess->excess);
	cells[REFCOUNT_GUESSED] = cell_number(UNIT_COUNT, excess->guessed);
	cells[REFCOUNT_HOLDERS] = excess->looked ?
		cell_number(UNIT_COUNT, excess->holders) : cell_unknown();
	cells[REFCOUNT_HOLDER] = cells[REFCOUNT_HOLDER_ADDRESS] =
		cell_unknown();
	if (excess->holders > 0) {
		pyh_path_text(&rows->naming, &excess->holder, NULL, 0, text,
			      HOLDER_TEXT_MAX);
		cells[REFCOUNT_HOLDER] = cell_text(text);
		cells[REFCOUNT_HOLDER_ADDRESS] = cell_number(
			UNIT_ADDRESS, excess->holder.holder);
	}
	cells[REFCOUNT_IMMORTAL] = cell_number(UNIT_BOOL, false);
	cells[REFCOUNT_TYPE_ADDRESS] = cell_number(UNIT_ADDRESS, type->address);
}

/** Leave only those that the filters let through, in their order. */
static struct error *filter(struct rows *rows)
{
	const struct options *options = rows->scan->options;
	CLEANUP(typefilter_release) struct typefilter *types = NULL;
	struct error *err = typefilter_create(options->type, options->match,
					      &types);
	struct cell cells[NUM_REFCOUNT_COLUMNS];
	char text[HOLDER_TEXT_MAX];
	size_t kept = 0;

	for (size_t i = 0; !err && i < rows->all.count; i++) {
		const struct excess *excess = &rows->all.list[i];
		bool pass = true;

		if (options->type || options->match)
			err = typefilter_pass(types, heapgraph_type(
						rows->heap, excess->object),
					      &pass);
		if (err || !pass)
			continue;
		if (gate_open(&rows->scan->gate)) {
			fill(rows, excess, text, cells);
			gate_row(&rows->scan->gate, cells);
		}
		rows->all.list[kept++] = *excess;
	}
	rows->all.count = kept;
	return err;
}

/* --- printing -------------------------------------------------------------- */

static void print_more(struct scan *scan, uint64_t more)
{
	struct cell cells[NUM_REFCOUNT_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];

	for (int i = 0; i < NUM_REFCOUNT_COLUMNS; i++)
		cells[i] = cell_unknown();
	(void)snprintf(text, sizeof(text), "%s more object%s",
		       units_count(more, number), more == 1 ? "" : "s");
	cells[REFCOUNT_TYPE] = cell_text(text);
	render_rest(&scan->render, cells);
}

static void print_rows(const struct rows *rows)
{
	struct render *render = &rows->scan->render;
	uint64_t top = rows->scan->options->top;
	struct cell cells[NUM_REFCOUNT_COLUMNS];
	char text[HOLDER_TEXT_MAX];
	size_t shown = 0;

	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = "REFCOUNTS",
		.columns = refcount_columns,
		.num_columns = NUM_REFCOUNT_COLUMNS });
	for (; shown < rows->all.count && (top == 0 || shown < top) &&
	       !scan_unread(rows->scan); shown++) {
		fill(rows, &rows->all.list[shown], text, cells);
		render_row(render, cells);
	}
	if (rows->all.count > shown)
		print_more(rows->scan, rows->all.count - shown);
	render_table_end(render);
}

static void print_remark(const struct rows *rows,
			 const struct heaproots *roots)
{
	struct render *render = &rows->scan->render;
	char first[UNITS_TEXT_MAX], second[UNITS_TEXT_MAX],
		third[UNITS_TEXT_MAX];

	render_gap(render);
	render_line(render, "%s counts compared: %s too many, %s of them "
		    "without a word of memory that would hold them; %" PRIu32
		    " too few",
		    units_count(rows->heap->count - roots->num_immortal, first),
		    units_count(roots->num_unexplained, second),
		    units_count(rows->all.left, third),
		    roots->num_over_released);
	if (roots->num_guessed > 0)
		render_line(render, "%s more are as they should be if words "
			    "of unknown structures hold what they lead to",
			    units_count(roots->num_guessed, first));
}

static uint64_t dangling_of(const struct rows *rows)
{
	return findings_of(opened_image(rows->scan->opened)->findings,
			   HEAP_DANGLING);
}

static void print(struct rows *rows, const struct heaproots *roots)
{
	struct scan *scan = rows->scan;
	char dangling[UNITS_TEXT_MAX];
	const struct cell totals[NUM_TOTALS] = {
		[TOTAL_AUDITED] = cell_number(
			UNIT_COUNT, rows->heap->count - roots->num_immortal),
		[TOTAL_UNEXPLAINED] = cell_number(UNIT_COUNT,
						  roots->num_unexplained),
		[TOTAL_UNHELD] = cell_number(UNIT_COUNT, rows->all.left),
		[TOTAL_OVER_RELEASED] = cell_number(UNIT_COUNT,
						    roots->num_over_released),
		[TOTAL_GUESSED] = cell_number(UNIT_COUNT, roots->num_guessed),
		[TOTAL_IMMORTAL] = cell_number(UNIT_COUNT,
					       roots->num_immortal),
		[TOTAL_DANGLING] = cell_number(UNIT_COUNT, dangling_of(rows)),
	};

	scan_begin(scan, "refcounts");
	render_object(&scan->render, "totals", refcount_totals, totals,
		      NUM_TOTALS);
	print_rows(rows);
	print_remark(rows, roots);
	if (dangling_of(rows) > 0)
		render_line(&scan->render, "%s references lead to what is no "
			    "object: it was released too often and freed, or "
			    "written over (-v lists some)",
			    units_count(dangling_of(rows), dangling));
	render_end(&scan->render);
	gate_totals(&scan->gate, totals);
	if (rows->all.count == 0)
		scan_remark(scan, "no count is other than the references "
			    "found%s", scan->options->type ||
			    scan->options->match ? " of these types" : "");
}

static struct error *open_naming(struct rows *rows)
{
	struct pyh_runtime *runtime;
	struct pyh_types *types;
	struct error *err = opened_runtime(rows->scan->opened, &runtime);

	if (!err)
		err = opened_types(rows->scan->opened, &types);
	if (!err)
		err = memory_reader_init(&rows->memory,
					 runtime->image->memory);
	if (err)
		return err;
	rows->types = calloc(1, sizeof(*rows->types));
	if (!rows->types)
		return error_no_memory();
	rows->naming = (struct pyh_naming){ .runtime = runtime,
					    .types = rows->types,
					    .memory = &rows->memory };
	return pyh_type_reader_init(rows->types, types);
}

static struct error *run(struct scan *scan)
{
	struct rows rows = { .scan = scan };
	const struct analysis *analysis;
	struct error *err = analysis_of(scan->opened, 0, &analysis);

	if (err)
		return err;
	rows.heap = analysis->heap;
	err = open_naming(&rows);
	if (!err)
		err = excesses_find(scan->opened, analysis, &rows.all);
	if (!err)
		err = filter(&rows);
	if (!err)
		print(&rows, &analysis->roots);
	excesses_deinit(&rows.all);
	if (rows.types)
		pyh_type_reader_deinit(rows.types);
	free(rows.types);
	memory_reader_deinit(&rows.memory);
	return err;
}
