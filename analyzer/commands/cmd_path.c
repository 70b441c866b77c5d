/*
 * `path`: by which references an object, or those of a type, are held.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of one object the shortest path from a root, and others that share no object
 * with it. Of a type the ways in which its objects are held, one row each.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/heap/excess.h"
#include "analyzer/heap/pathdot.h"
#include "analyzer/heap/paths.h"
#include "analyzer/heap/typefilter.h"
#include "analyzer/show/scan_progress.h"
#include "analyzer/tensors/tensors.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum {
	PATHS_MAX = 1000,	/* of one object */
	/* references looked at for others than the shortest, without --top 0 */
	BUDGET = 1 << 18,
	STEPS_SHOWN = 100,	/* at each end of a path, for people */
};

enum path_column {
	PATH_COLUMN_COUNT,
	PATH_COLUMN_SIZE,
	PATH_COLUMN_DEVICE,
	PATH_COLUMN_ADDRESS,
	PATH_COLUMN_TYPE,
	PATH_COLUMN_LENGTH,
	PATH_COLUMN_PATH,
	NUM_PATH_COLUMNS
};

static const struct column path_columns[NUM_PATH_COLUMNS] = {
	[PATH_COLUMN_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "objects that are held in this way" },
	[PATH_COLUMN_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "what sys.getsizeof would say of them" },
	[PATH_COLUMN_DEVICE] = { .key = "device_retained", .title = "on devices",
		.unit = UNIT_BYTES,
		.about = "data of tensors on devices that would go with them; "
			 "absent where no tensor is on one",
		.hidden = true, .absent = true },
	[PATH_COLUMN_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "of the object, or of one of them", .width = 18 },
	[PATH_COLUMN_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "of the object" },
	[PATH_COLUMN_LENGTH] = { .key = "length", .title = "steps", .unit = UNIT_COUNT,
		.about = "references from the root's object to this one" },
	[PATH_COLUMN_PATH] = { .key = "path", .title = "path", .unit = UNIT_TEXT,
		.about = "as one would write it; absent where nothing holds it" },
};

enum step_column {
	STEP_ADDRESS, STEP_TYPE, STEP_DEVICE, STEP_EDGE, NUM_STEP_COLUMNS
};

static const struct column step_columns[NUM_STEP_COLUMNS] = {
	[STEP_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "of the object", .width = 18 },
	[STEP_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "its type", .width = 32 },
	[STEP_DEVICE] = { .key = "device_retained", .title = "on devices",
		.unit = UNIT_BYTES,
		.about = "data of tensors on devices that would go with it",
		.hidden = true, .absent = true },
	[STEP_EDGE] = { .key = "edge", .title = "held by", .unit = UNIT_TEXT,
		.about = "the reference that holds it: the root, or one of the "
			 "object before" },
};

enum { TOTAL_PATHS, TOTAL_COUNT, TOTAL_MORE, NUM_TOTALS };

static const struct column path_totals[NUM_TOTALS] = {
	[TOTAL_PATHS] = { .key = "paths", .unit = UNIT_COUNT,
		.about = "paths, or ways of being held" },
	[TOTAL_COUNT] = { .key = "count", .unit = UNIT_COUNT,
		.about = "objects that they are of" },
	[TOTAL_MORE] = { .key = "more", .unit = UNIT_BOOL, .no_key = true,
		.about = "of an object: there may be more paths than these" },
};

static struct error *run(struct scan *scan);

const struct view cmd_path_view = {
	.name = "path",
	.bit = VIEW_PATH,
	.about = "who holds an object: shortest paths from roots",
	.columns = path_columns,
	.num_columns = NUM_PATH_COLUMNS,
	.totals = path_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.argument = "ADDR",
	.or_type = true,
	.remark =
"Of an object at ADDR its shortest path from a root, then others that share no\n"
"object with those before, as far as these can be found quickly (with --top 0 all,\n"
"however long it takes). With --type NAME all objects of that type, grouped by\n"
"the types along the shortest path to each; the path shown is that of one of\n"
"them. Weak references hold nothing and are not followed. A row has `steps` in\n"
"JSON: an array of address, type and edge from the root on. Where tensors are on\n"
"devices, each says how much of these it keeps alive.\n"
"--dot draws the paths: heapscan DUMP path ADDR --dot | dot -Tsvg >paths.svg\n",
};

/* --- one path -------------------------------------------------------------- */

struct view_of_paths {
	struct scan *scan;
	const struct analysis *analysis;
	struct paths *paths;
	struct pathdot *dot;	/* where they are drawn; NULL: a table */
	bool device;		/* there is memory of devices: columns have it */
	struct column columns[NUM_PATH_COLUMNS], steps[NUM_STEP_COLUMNS];
};

static void prepare_columns(struct view_of_paths *view)
{
	memcpy(view->columns, path_columns, sizeof(view->columns));
	memcpy(view->steps, step_columns, sizeof(view->steps));
	view->columns[PATH_COLUMN_DEVICE].hidden =
		view->columns[PATH_COLUMN_DEVICE].absent = !view->device;
	view->steps[STEP_DEVICE].hidden =
		view->steps[STEP_DEVICE].absent = !view->device;
}

static struct cell device_cell(const struct view_of_paths *view, uint64_t bytes)
{
	return view->device ? cell_number(UNIT_BYTES, bytes) : cell_unknown();
}

/** The reference that holds object i of a path. */
static void edge_of(const struct view_of_paths *view, const struct path *path,
		    uint32_t i, char text[PATH_TEXT_MAX])
{
	if (i == 0)
		paths_start_text(view->paths, path, text);
	else
		paths_step_text(view->paths, path, i - 1, text);
}

/** Cells of a step; text is borrowed. */
static void step_cells(const struct view_of_paths *view,
		       const struct path *path, uint32_t i, const char *text,
		       struct cell cells[NUM_STEP_COLUMNS])
{
	const struct heapgraph *heap = view->analysis->heap;
	uint32_t object = path->objects[i];

	cells[STEP_ADDRESS] = cell_number(UNIT_ADDRESS,
					  heapgraph_address(heap, object));
	cells[STEP_TYPE] = cell_text(heapgraph_type(heap, object)->name);
	cells[STEP_DEVICE] = device_cell(
		view, heldbytes_device(view->analysis->held, object));
	cells[STEP_EDGE] = cell_text(text);
}

static void print_steps(const struct view_of_paths *view,
			const struct path *path)
{
	struct render *render = &view->scan->render;
	char text[PATH_TEXT_MAX];

	render_nested(render, "steps");
	for (uint32_t i = 0; i < path->count; i++) {
		struct cell cells[NUM_STEP_COLUMNS];

		edge_of(view, path, i, text);
		step_cells(view, path, i, text, cells);
		render_nested_row(render, view->steps, cells, NUM_STEP_COLUMNS);
	}
	render_nested_end(render);
}

static void print_more_steps(struct render *render, uint32_t count)
{
	struct cell cells[NUM_STEP_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];

	for (int i = 0; i < NUM_STEP_COLUMNS; i++)
		cells[i] = cell_unknown();
	(void)snprintf(text, sizeof(text), "%s more steps",
		       units_count(count, number));
	cells[STEP_TYPE] = cell_text(text);
	render_rest(render, cells);
}

/** The steps as a table of their own, for people. */
static void print_step_table(const struct view_of_paths *view,
			     const struct path *path, const char *title)
{
	struct render *render = &view->scan->render;
	char text[PATH_TEXT_MAX];

	render_table(render, &(struct table_spec){
		.json_key = "steps", .title = title,
		.columns = view->steps, .num_columns = NUM_STEP_COLUMNS });
	for (uint32_t i = 0; i < path->count; i++) {
		struct cell cells[NUM_STEP_COLUMNS];

		if (i == STEPS_SHOWN && path->count > 2 * STEPS_SHOWN + 1) {
			i = path->count - STEPS_SHOWN;
			print_more_steps(render, i - STEPS_SHOWN);
		}
		edge_of(view, path, i, text);
		step_cells(view, path, i, text, cells);
		render_row(render, cells);
	}
	render_table_end(render);
}

static void row_cells(const struct view_of_paths *view, uint32_t object,
		      const struct path *path, const char *text,
		      struct cell cells[NUM_PATH_COLUMNS])
{
	const struct heapgraph *heap = view->analysis->heap;

	cells[PATH_COLUMN_COUNT] = cell_number(UNIT_COUNT, 1);
	cells[PATH_COLUMN_SIZE] = cell_number(UNIT_BYTES,
					      heapgraph_size(heap, object));
	cells[PATH_COLUMN_DEVICE] = device_cell(
		view, heldbytes_device(view->analysis->held, object));
	cells[PATH_COLUMN_ADDRESS] = cell_number(UNIT_ADDRESS,
						 heapgraph_address(heap,
								   object));
	cells[PATH_COLUMN_TYPE] = cell_text(heapgraph_type(heap, object)->name);
	cells[PATH_COLUMN_LENGTH] = path->count ?
		cell_number(UNIT_COUNT, path->count - 1) : cell_unknown();
	cells[PATH_COLUMN_PATH] = path->count ? cell_text(text) :
						cell_unknown();
}

/** The answer begins. */
static void begin(const struct view_of_paths *view)
{
	struct scan *scan = view->scan;

	if (!view->dot) {
		scan_begin(scan, "path");
		return;
	}
	progress_clear();
	pathdot_begin(view->dot, scan->output->file, view->paths,
		      view->analysis);
}

/* --- of one object --------------------------------------------------------- */

static struct error *print_path(const struct view_of_paths *view,
				uint32_t object, const struct path *path,
				uint32_t number)
{
	struct scan *scan = view->scan;
	struct render *render = &scan->render;
	struct cell cells[NUM_PATH_COLUMNS];
	char text[PATH_TEXT_MAX], name[RENDER_NAME_MAX], title[32];

	paths_text(view->paths, path, text);
	row_cells(view, object, path, text, cells);
	gate_row(&scan->gate, cells);
	if (view->dot)
		return pathdot_add(view->dot, path, NULL);
	if (!render_for_people(render)) {
		render_row_open(render, cells);
		print_steps(view, path);
		render_row_close(render);
		return NULL;
	}
	if (number > 1)
		render_gap(render);
	render_whole_line(render, "%s", render_name(render, text,
						    RENDER_NAME_MAX - 1, name));
	(void)snprintf(title, sizeof(title), "PATH %" PRIu32, number);
	print_step_table(view, path, title);
	return NULL;
}

static void begin_table(const struct view_of_paths *view, const char *title)
{
	render_table(&view->scan->render, &(struct table_spec){
		.json_key = "rows", .title = title, .columns = view->columns,
		.num_columns = NUM_PATH_COLUMNS });
}

static void begin_rows(const struct view_of_paths *view)
{
	if (!view->dot && !render_for_people(&view->scan->render))
		begin_table(view, "PATHS");
}

/** What was found of an object. */
struct found {
	uint64_t paths;
	bool more;		/* there may be … */
	bool stopped;		/* as the search took too long */
	uint32_t native;	/* held by native code, where the shortest path
				   begins so; or GRAPH_NONE */
};

static struct error *print_paths(const struct view_of_paths *view,
				 uint32_t object, struct found *found)
{
	uint64_t top = view->scan->options->top;
	uint64_t most = top == 0 || top > PATHS_MAX ? PATHS_MAX : top;
	CLEANUP(paths_search_deinit) struct paths_search search = {
		.object = object, .budget = top == 0 ? UINT64_MAX : BUDGET };
	struct error *err = NULL;

	begin_rows(view);
	found->more = true;
	found->native = GRAPH_NONE;
	while (!err && found->more && found->paths < most) {
		CLEANUP(path_deinit) struct path path = { 0 };

		err = paths_find_next(view->paths, &search, &path);
		if (!err && found->paths == 0 && path.count > 0 &&
		    path.start == PATH_UNEXPLAINED && !path.said_root)
			found->native = path.objects[0];
		if (!err && path.count > 0)
			err = print_path(view, object, &path,
					 (uint32_t)++found->paths);
		else
			found->more = false;
	}
	found->stopped = search.budget == 0;
	found->more |= found->stopped;
	if (!view->dot && !render_for_people(&view->scan->render))
		render_table_end(&view->scan->render);
	return err;
}

static struct error *find_object(const struct view_of_paths *view,
				 uint32_t *ret)
{
	struct scan *scan = view->scan;
	uint64_t address = scan->options->address;
	struct pyh_lookup lookup;
	struct pyh_census *census;
	struct error *err;

	*ret = heapgraph_find(view->analysis->heap, address);
	if (*ret != GRAPH_NONE)
		return NULL;
	err = opened_census(scan->opened, &census);
	if (err)
		return err;
	pyh_census_lookup(census, address, &lookup);
	if (lookup.place == PYH_PLACE_OBJECT)
		*ret = heapgraph_find(view->analysis->heap,
				      lookup.object.address);
	if (*ret == GRAPH_NONE)
		return error_new(ERROR_NOT_FOUND, "0x%" PRIx64 " is no object "
				 "(`object 0x%" PRIx64 "` says what is there)",
				 address, address);
	scan_remark(scan, "0x%" PRIx64 " is in the memory of the %s at 0x%"
		    PRIx64 ", which is shown", address,
		    lookup.object.type->name, lookup.object.address);
	return NULL;
}

/** Why an object has no path: not all such objects are garbage. */
static struct error *remark_no_path(const struct view_of_paths *view,
				    uint32_t object)
{
	const struct heapgraph *heap = view->analysis->heap;
	const struct analysis *analysis;
	struct error *err = analysis_of(view->scan->opened, ANALYSIS_REACH,
					&analysis);

	if (err)
		return err;
	if (node_set_has(&analysis->collector.freed, object))
		scan_remark(view->scan, "nothing that lives holds the %s at 0x%"
			    PRIx64 ": it is garbage",
			    heapgraph_type(heap, object)->name,
			    heapgraph_address(heap, object));
	else
		scan_remark(view->scan, "nothing known leads to the %s at 0x%"
			    PRIx64 ", and gc.collect() would not free it",
			    heapgraph_type(heap, object)->name,
			    heapgraph_address(heap, object));
	return NULL;
}

/** Where in native code's memory the address of what it holds was seen. */
static struct error *remark_holder(const struct view_of_paths *view,
				   uint32_t object)
{
	const struct heapgraph *heap = view->analysis->heap;
	const char *type = heapgraph_type(heap, object)->name;
	uint64_t address = heapgraph_address(heap, object);
	struct path start = { 0 };
	char text[PATH_TEXT_MAX], number[UNITS_TEXT_MAX];
	char place[32], more[64] = "";
	struct excess excess;
	struct error *err = excess_find(view->scan->opened, view->analysis,
					object, &excess);

	if (err || !excess.looked)
		return err;
	if (excess.holders == 0) {
		scan_remark(view->scan, "no word of memory leads to the %s at "
			    "0x%" PRIx64 " that would hold it", type, address);
		return NULL;
	}
	if (excess.holders > 1)
		(void)snprintf(more, sizeof(more), " and %s more word%s",
			       units_count(excess.holders - 1, number),
			       excess.holders == 2 ? "" : "s");
	start.root = &excess.holder;
	paths_start_text(view->paths, &start, text);
	(void)snprintf(place, sizeof(place), " at 0x%" PRIx64,
		       excess.holder.holder);
	scan_remark(view->scan, "to the %s at 0x%" PRIx64 " leads %s%s%s", type,
		    address, text, strstr(text, place) ? "" : place, more);
	return NULL;
}

static struct error *show_object(const struct view_of_paths *view,
				 struct found *found)
{
	uint32_t object;
	struct error *err = find_object(view, &object);

	if (err)
		return err;
	begin(view);
	err = print_paths(view, object, found);
	if (!err && found->stopped)
		scan_remark(view->scan, "there may be more paths: the search "
			    "ended after %d references (`--top 0` looks for "
			    "all)", BUDGET);
	if (!err && found->paths == 0)
		err = remark_no_path(view, object);
	if (!err && found->native != GRAPH_NONE)
		err = remark_holder(view, found->native);
	return err;
}

/* --- of a type ------------------------------------------------------------- */

static struct error *passes(void *context, const struct pyh_type *type,
			    bool *ret)
{
	return typefilter_pass(context, type, ret);
}

/** Cells but for the path itself. */
static void group_cells(const struct view_of_paths *view,
			const struct path_group *group,
			const struct path *path, const char *text,
			struct cell cells[NUM_PATH_COLUMNS])
{
	row_cells(view, group->sample, path, text, cells);
	cells[PATH_COLUMN_COUNT] = cell_number(UNIT_COUNT, group->count);
	cells[PATH_COLUMN_SIZE] = cell_number(UNIT_BYTES, group->size);
	cells[PATH_COLUMN_DEVICE] = device_cell(view, group->device);
}

static struct error *draw_group(const struct view_of_paths *view,
				const struct path_group *group,
				const struct path *path)
{
	char count[UNITS_TEXT_MAX], size[UNITS_TEXT_MAX], text[128];

	(void)snprintf(text, sizeof(text), "%s object%s, %s",
		       units_count(group->count, count),
		       group->count == 1 ? "" : "s",
		       units_size(group->size, size));
	return pathdot_add(view->dot, path, text);
}

/**
 * What stands where objects have no path: some of one type may be garbage, and
 * others not.
 */
static struct error *no_path_text(const struct view_of_paths *view,
				  uint32_t type, const char **ret)
{
	const struct heapgraph *heap = view->analysis->heap;
	const struct analysis *analysis;
	struct error *err = analysis_of(view->scan->opened, ANALYSIS_REACH,
					&analysis);
	bool freed = false, others = false;

	for (uint32_t i = 0; !err && i < heap->count && !(freed && others);
	     i++) {
		if (heap->types[i] != type || analysis->dominators.parent[i] !=
						      DOMINATOR_UNREACHED)
			continue;
		if (node_set_has(&analysis->collector.freed, i))
			freed = true;
		else
			others = true;
	}
	*ret = !others ? "(garbage)" :
	       freed ? "(garbage, or nothing known leads to it)" :
		       "(nothing known leads to it)";
	return err;
}

static struct error *print_group(const struct view_of_paths *view,
				 const struct path_group *group)
{
	struct render *render = &view->scan->render;
	CLEANUP(path_deinit) struct path path = { 0 };
	struct cell cells[NUM_PATH_COLUMNS];
	char text[PATH_TEXT_MAX];
	struct error *err = paths_find(view->paths, group->sample, &path);

	if (err)
		return err;
	if (view->dot)
		return draw_group(view, group, &path);
	paths_text(view->paths, &path, text);
	group_cells(view, group, &path, text, cells);
	if (path.count == 0 && render_for_people(render)) {
		const char *none;

		err = no_path_text(view, group->type, &none);
		if (err)
			return err;
		cells[PATH_COLUMN_PATH] = cell_text(none);
	}
	if (render_for_people(render)) {
		render_row(render, cells);
		return NULL;
	}
	render_row_open(render, cells);
	print_steps(view, &path);
	render_row_close(render);
	return NULL;
}

/** A condition holds where any row meets it, shown or not. */
static struct error *gate_groups(const struct view_of_paths *view,
				 const struct path_group *groups, size_t count)
{
	struct gate *gate = &view->scan->gate;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < count && gate_open(gate); i++) {
		CLEANUP(path_deinit) struct path path = { 0 };
		struct cell cells[NUM_PATH_COLUMNS];
		char text[PATH_TEXT_MAX];

		err = paths_find(view->paths, groups[i].sample, &path);
		if (err)
			break;
		paths_text(view->paths, &path, text);
		group_cells(view, &groups[i], &path, text, cells);
		gate_row(gate, cells);
	}
	return err;
}

static void print_more_groups(struct scan *scan,
			      const struct path_group *groups, size_t count)
{
	struct cell cells[NUM_PATH_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];
	uint64_t objects = 0, size = 0;

	for (size_t i = 0; i < count; i++) {
		objects += groups[i].count;
		size += groups[i].size;
	}
	for (int i = 0; i < NUM_PATH_COLUMNS; i++)
		cells[i] = cell_unknown();
	(void)snprintf(text, sizeof(text), "%s more way%s",
		       units_count(count, number), count == 1 ? "" : "s");
	cells[PATH_COLUMN_COUNT] = cell_number(UNIT_COUNT, objects);
	cells[PATH_COLUMN_SIZE] = cell_number(UNIT_BYTES, size);
	cells[PATH_COLUMN_PATH] = cell_text(text);
	render_rest(&scan->render, cells);
}

static struct error *show_type(const struct view_of_paths *view,
			       uint64_t *ret_ways, uint64_t *ret_count)
{
	const struct options *options = view->scan->options;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	CLEANUP(free_pointer) struct path_group *groups = NULL;
	size_t count = 0, shown;
	struct error *err = typefilter_create(options->type, options->match,
					      &filter);

	if (!err)
		err = paths_group(view->paths, passes, filter, &groups, &count);
	if (!err)
		err = gate_groups(view, groups, count);
	if (err)
		return err;
	*ret_ways = count;
	*ret_count = 0;
	for (size_t i = 0; i < count; i++)
		*ret_count += groups[i].count;
	shown = options->top && options->top < count ? (size_t)options->top :
						       count;
	begin(view);
	if (!view->dot)
		begin_table(view, "WAYS");
	for (size_t i = 0; !err && i < shown; i++)
		err = print_group(view, &groups[i]);
	if (!err && !view->dot && shown < count)
		print_more_groups(view->scan, groups + shown, count - shown);
	if (!view->dot)
		render_table_end(&view->scan->render);
	if (count == 0)
		scan_remark(view->scan, "no object of the dump passes the "
			    "filters");
	return err;
}

static struct error *run(struct scan *scan)
{
	CLEANUP(paths_release) struct paths *paths = NULL;
	struct pathdot dot = { 0 };
	struct view_of_paths view = { .scan = scan,
				      .dot = scan->options->dot ? &dot : NULL };
	struct cell totals[NUM_TOTALS];
	struct found found = { 0 };
	uint64_t count = 1;
	struct error *err = analysis_of(scan->opened, 0, &view.analysis);

	// What is on devices goes with objects, and only with tensors.
	if (!err && tensors_possible(view.analysis->heap->pyh_types))
		err = analysis_of(scan->opened, ANALYSIS_DOMINATORS,
				  &view.analysis);
	view.device = !err && heldbytes_has_device(view.analysis->held);
	prepare_columns(&view);
	if (!err)
		err = paths_open(scan->opened, view.analysis,
				 scan->options->values, &paths);
	view.paths = paths;
	if (!err)
		err = scan->options->address_given ?
			      show_object(&view, &found) :
			      show_type(&view, &found.paths, &count);
	if (view.dot && dot.out)
		pathdot_end(&dot);
	if (err)
		return err;
	totals[TOTAL_PATHS] = cell_number(UNIT_COUNT, found.paths);
	totals[TOTAL_COUNT] = cell_number(UNIT_COUNT, count);
	totals[TOTAL_MORE] = scan->options->address_given ?
		cell_number(UNIT_BOOL, found.more) : cell_unknown();
	gate_totals(&scan->gate, totals);
	if (view.dot)
		return NULL;
	render_object(&scan->render, "totals", path_totals, totals, NUM_TOTALS);
	render_end(&scan->render);
	return NULL;
}
