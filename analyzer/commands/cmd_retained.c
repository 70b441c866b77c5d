/*
 * `retained`: what would go with each object: the dominator tree from the top.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The largest first, so that an object stands before what lives by it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/heap/objecttop.h"
#include "analyzer/heap/paths.h"
#include "analyzer/heap/retained_groups.h"
#include "analyzer/heap/typefilter.h"
#include "analyzer/kept/kept.h"
#include "analyzer/show/toplist.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum {
	/* Objects on all paths that are shown: far more rows than anybody
	   reads, and an end to it where paths are long. */
	PATH_WORK = 10 << 20,
	PATH_WORK_LEAST = 1 << 10,	/* of one path, whatever its length */
};

enum retained_column {
	RETAINED_ADDRESS,
	RETAINED_TYPE,
	RETAINED_COUNT,
	RETAINED_RETAINED,
	RETAINED_DEVICE,
	RETAINED_SIZE,
	RETAINED_SHARE,
	RETAINED_PATH,
	RETAINED_DOMINATOR,
	RETAINED_TYPE_ADDRESS,
	NUM_RETAINED_COLUMNS
};

static const struct column retained_columns[NUM_RETAINED_COLUMNS] = {
	[RETAINED_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "where it is in the target", .width = 18 },
	[RETAINED_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "module and qualified name, bare for builtins; or the "
			 "group of --by" },
	[RETAINED_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "objects of the group, with --by" },
	[RETAINED_RETAINED] = { .key = "retained", .title = "retained", .unit = UNIT_BYTES,
		.about = "what the allocators hold for it and for all that "
			 "lives by it alone, data of tensors in the process "
			 "included" },
	[RETAINED_DEVICE] = { .key = "device_retained", .title = "on devices",
		.unit = UNIT_BYTES,
		.about = "data of tensors on devices that would go with it; "
			 "absent where no tensor is on one" },
	[RETAINED_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "what sys.getsizeof would say" },
	[RETAINED_SHARE] = { .key = "share", .title = "share", .unit = UNIT_SHARE,
		.about = "retained, of all objects that can be reached" },
	[RETAINED_PATH] = { .key = "path", .title = "path", .unit = UNIT_TEXT,
		.about = "a shortest way to it, as one would write it; absent "
			 "from row 10,240 on",
		.no_key = true },
	[RETAINED_DOMINATOR] = { .key = "dominator", .title = "lives by", .unit = UNIT_ADDRESS,
		.about = "the nearest object without which it would go; absent "
			 "where no single one is", .hidden = true },
	[RETAINED_TYPE_ADDRESS] = { .key = "type_address", .title = "type at", .unit = UNIT_ADDRESS,
		.about = "of its type object", .hidden = true },
};

enum {
	TOTAL_COUNT, TOTAL_RETAINED, TOTAL_DEVICE, TOTAL_UNREACHED,
	TOTAL_UNREACHED_BYTES, NUM_TOTALS
};

static const struct column retained_totals[NUM_TOTALS] = {
	[TOTAL_COUNT] = { .key = "count", .unit = UNIT_COUNT,
		.about = "objects that can be reached" },
	[TOTAL_RETAINED] = { .key = "retained", .unit = UNIT_BYTES,
		.about = "what the allocators hold for them, and data of "
			 "tensors in the process" },
	[TOTAL_DEVICE] = { .key = "device_retained", .unit = UNIT_BYTES,
		.about = "data of tensors on devices, each storage once" },
	[TOTAL_UNREACHED] = { .key = "unreached", .unit = UNIT_COUNT,
		.about = "objects that nothing known leads to: garbage, "
			 "but for those that native code holds in cycles" },
	[TOTAL_UNREACHED_BYTES] = { .key = "unreached_bytes", .unit = UNIT_BYTES,
		.about = "what the allocators hold for those" },
};

static struct error *run(struct scan *scan);

const struct view cmd_retained_view = {
	.name = "retained",
	.bit = VIEW_RETAINED,
	.about = "what would go with each object: the dominator tree",
	.columns = retained_columns,
	.num_columns = NUM_RETAINED_COLUMNS,
	.totals = retained_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.groups = 1 << BY_TYPE | 1 << BY_MODULE | 1 << BY_THREAD | 1 << BY_ROOT,
	.remark =
"An object retains itself and all that can be reached over it alone: what would\n"
"be freed if it went. The largest first, so an object stands before those that\n"
"live by it. --by sums up what each group retains together: objects that live by\n"
"another one of their group are not counted twice. Where tensors are on devices,\n"
"the order is that of both sums together.\n",
};

/* --- objects --------------------------------------------------------------- */

static struct cell device_cell(const struct analysis *analysis, uint64_t bytes)
{
	return heldbytes_has_device(analysis->held) ?
		       cell_number(UNIT_BYTES, bytes) : cell_unknown();
}

static void object_cells(const struct analysis *analysis, uint32_t object,
			 struct cell cells[NUM_RETAINED_COLUMNS])
{
	const struct heapgraph *heap = analysis->heap;
	const struct dominators *dominators = &analysis->dominators;
	const struct pyh_type *type = heapgraph_type(heap, object);
	uint32_t parent = dominators->parent[object];

	for (int i = 0; i < NUM_RETAINED_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[RETAINED_ADDRESS] = cell_number(UNIT_ADDRESS,
					      heapgraph_address(heap, object));
	cells[RETAINED_TYPE] = cell_text(type->name);
	cells[RETAINED_RETAINED] = cell_number(UNIT_BYTES,
					       dominators->retained[object]);
	cells[RETAINED_DEVICE] = device_cell(
		analysis, heldbytes_device(analysis->held, object));
	cells[RETAINED_SIZE] = cell_number(UNIT_BYTES,
					   heapgraph_size(heap, object));
	cells[RETAINED_SHARE] = cell_part(dominators->retained[object],
					  dominators->reached_weight);
	cells[RETAINED_TYPE_ADDRESS] = cell_number(UNIT_ADDRESS, type->address);
	if (parent < heap->count)
		cells[RETAINED_DOMINATOR] = cell_number(
			UNIT_ADDRESS, heapgraph_address(heap, parent));
}

/**
 * The largest that the filters let through, from the list that kept results
 * have.
 *
 * @param ret_done  false where that is too short to tell
 */
static struct error *choose_kept(struct scan *scan,
				 const struct analysis *analysis,
				 struct toplist *list, uint64_t *ret_passed,
				 bool *ret_done)
{
	const struct kept *kept = analysis->kept;
	const struct heapgraph *heap = analysis->heap;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	struct error *err = typefilter_create(scan->options->type,
					      scan->options->match, &filter);
	bool pass;

	*ret_passed = 0;
	for (uint32_t i = 0; !err && i < kept->num_types; i++) {
		err = typefilter_pass(filter, pyh_types_get(heap->pyh_types, i),
				      &pass);
		if (!err && pass)
			*ret_passed += kept->reached_by_type[i];
	}
	for (uint32_t i = 0; !err && i < kept->num_by_retained &&
			     list->count < list->limit; i++) {
		uint32_t id = kept->by_retained[i];

		err = typefilter_pass(filter, heapgraph_type(heap, id), &pass);
		if (!err && pass)
			err = toplist_add(list,
					  analysis->dominators.retained[id],
					  id);
	}
	*ret_done = list->count == list->limit || list->count == *ret_passed;
	return err;
}

/** The same by a look at each object. */
static struct error *choose_of_all(struct scan *scan,
				   const struct analysis *analysis,
				   struct toplist *list, uint64_t *ret_passed)
{
	const struct options *options = scan->options;
	const struct heapgraph *heap = analysis->heap;
	const struct dominators *dominators = &analysis->dominators;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	struct error *err = typefilter_create(options->type, options->match,
					      &filter);

	*ret_passed = 0;
	for (uint32_t i = 0; !err && i < heap->count; i++) {
		bool pass = true;

		if (dominators->parent[i] == DOMINATOR_UNREACHED ||
		    analysis_retained(analysis, i) < options->min_size)
			continue;
		if (options->type || options->match)
			err = typefilter_pass(filter, heapgraph_type(heap, i),
					      &pass);
		if (err || !pass)
			continue;
		++*ret_passed;
		// A condition holds where any row meets it, shown or not.
		if (gate_open(&scan->gate)) {
			struct cell cells[NUM_RETAINED_COLUMNS];

			object_cells(analysis, i, cells);
			gate_row(&scan->gate, cells);
		}
		err = toplist_add(list, analysis_retained(analysis, i), i);
	}
	return err;
}

static struct error *choose(struct scan *scan, const struct analysis *analysis,
			    struct toplist *list, uint64_t *ret_passed)
{
	bool device = heldbytes_has_device(analysis->held);
	size_t limit = list->limit;
	bool done = false;
	uint64_t size;
	struct error *err = NULL;

	// A condition is held against all rows, shown or not.
	if (gate_open(&scan->gate) || limit == 0 ||
	    (device && scan->options->min_size))
		return choose_of_all(scan, analysis, list, ret_passed);
	if (analysis->kept && scan->options->min_size == 0)
		err = choose_kept(scan, analysis, list, ret_passed, &done);
	if (!err && !done) {
		toplist_deinit(list);
		toplist_init(list, limit);
		err = objecttop_find(analysis, &(struct objecttop_options){
			.workers = opened_workers(scan->opened),
			.type = scan->options->type,
			.match = scan->options->match,
			.min_size = scan->options->min_size,
			.key = OBJECT_BY_RETAINED_REACHED }, list, ret_passed,
			&size);
	}
	return err ? err : objecttop_with_devices(
		analysis, scan->options->type, scan->options->match, list);
}

static void print_more(struct scan *scan, uint64_t more, const char *what)
{
	struct cell cells[NUM_RETAINED_COLUMNS];
	char number[UNITS_TEXT_MAX], text[64];

	for (int i = 0; i < NUM_RETAINED_COLUMNS; i++)
		cells[i] = cell_unknown();
	(void)snprintf(text, sizeof(text), "%s more %s%s",
		       units_count(more, number), what, more == 1 ? "" : "s");
	cells[RETAINED_TYPE] = cell_text(text);
	render_rest(&scan->render, cells);
}

/** A row, with the path to its object as long as there is work left. */
static struct error *print_object(struct scan *scan, struct paths *paths,
				  const struct analysis *analysis,
				  uint32_t object, uint64_t *work)
{
	CLEANUP(path_deinit) struct path path = { 0 };
	struct cell cells[NUM_RETAINED_COLUMNS];
	char text[PATH_TEXT_MAX];
	struct error *err = NULL;

	object_cells(analysis, object, cells);
	if (*work > 0) {
		uint64_t done;

		err = paths_find(paths, object, &path);
		if (err)
			return err;
		paths_text(paths, &path, text);
		cells[RETAINED_PATH] = cell_text(text);
		done = path.count > PATH_WORK_LEAST ? path.count :
						      PATH_WORK_LEAST;
		*work -= done < *work ? done : *work;
	}
	render_row(&scan->render, cells);
	return NULL;
}

static struct error *print_objects(struct scan *scan,
				   const struct analysis *analysis)
{
	CLEANUP(toplist_deinit) struct toplist list;
	CLEANUP(paths_release) struct paths *paths = NULL;
	uint64_t passed, work = PATH_WORK;
	struct error *err;

	toplist_init(&list, (size_t)scan->options->top);
	err = choose(scan, analysis, &list, &passed);
	if (!err)
		err = paths_open(scan->opened, analysis, scan->options->values,
				 &paths);
	if (err)
		return err;
	toplist_sort(&list);
	for (size_t i = 0; i < list.count; i++) {
		err = print_object(scan, paths, analysis, list.entries[i].id,
				   &work);
		if (err)
			return err;
		if (i % 1024 == 1023 && scan_unread(scan))
			return NULL;
	}
	if (passed > list.count)
		print_more(scan, passed - list.count, "object");
	if (passed == 0)
		scan_remark(scan, "no object of the dump passes the filters");
	return NULL;
}

/* --- groups ---------------------------------------------------------------- */

static void group_cells(const struct analysis *analysis,
			const struct retained_group *group,
			struct cell cells[NUM_RETAINED_COLUMNS])
{
	for (int i = 0; i < NUM_RETAINED_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[RETAINED_TYPE] = cell_text(group->name);
	cells[RETAINED_COUNT] = cell_number(UNIT_COUNT, group->count);
	cells[RETAINED_RETAINED] = cell_number(UNIT_BYTES, group->retained);
	cells[RETAINED_DEVICE] = device_cell(analysis, group->device);
	cells[RETAINED_SIZE] = cell_number(UNIT_BYTES, group->size);
	cells[RETAINED_SHARE] = cell_part(group->retained,
					  analysis->dominators.reached_weight);
	if (group->type)
		cells[RETAINED_TYPE_ADDRESS] = cell_number(
			UNIT_ADDRESS, group->type->address);
}

static struct error *print_groups(struct scan *scan,
				  const struct analysis *analysis)
{
	CLEANUP(retained_groups_deinit) struct retained_groups groups;
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	const struct options *options = scan->options;
	struct cell cells[NUM_RETAINED_COLUMNS];
	uint64_t shown = 0, left = 0;
	struct error *err = retained_groups_make(scan->opened, analysis,
						 options->by, &groups);

	if (!err)
		err = typefilter_create(options->type, options->match, &filter);
	for (size_t i = 0; !err && i < groups.count; i++) {
		const struct retained_group *group = &groups.groups[i];
		bool pass;

		err = typefilter_pass_name(filter, group->name, &pass);
		if (err || !pass ||
		    group->retained + group->device < options->min_size)
			continue;
		group_cells(analysis, group, cells);
		gate_row(&scan->gate, cells);
		if (options->top && shown == options->top) {
			left++;
		} else {
			render_row(&scan->render, cells);
			shown++;
		}
	}
	if (left)
		print_more(scan, left, "row");
	return err;
}

/* --- the document ---------------------------------------------------------- */

/** Columns of the table: of objects, or of groups. */
static void begin_table(struct scan *scan, const struct analysis *analysis)
{
	static struct column columns[NUM_RETAINED_COLUMNS];
	bool groups = scan->options->by_given;

	memcpy(columns, retained_columns, sizeof(columns));
	columns[RETAINED_COUNT].hidden = !groups;
	columns[RETAINED_DEVICE].hidden = !heldbytes_has_device(analysis->held);
	columns[RETAINED_ADDRESS].hidden = groups;
	columns[RETAINED_PATH].hidden = groups;
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = "RETAINED",
		.columns = columns, .num_columns = NUM_RETAINED_COLUMNS });
}

static struct error *run(struct scan *scan)
{
	bool groups = scan->options->by_given;
	const struct analysis *analysis;
	struct cell totals[NUM_TOTALS];
	struct error *err = analysis_of(scan->opened,
					groups ? ANALYSIS_TREE :
						 ANALYSIS_DOMINATORS,
					&analysis);

	if (err)
		return err;
	scan_begin(scan, "retained");
	totals[TOTAL_COUNT] = cell_number(UNIT_COUNT,
					  analysis->dominators.num_reached);
	totals[TOTAL_RETAINED] = cell_number(UNIT_BYTES,
					     analysis->dominators.reached_weight);
	totals[TOTAL_DEVICE] = device_cell(
		analysis, analysis->held ? analysis->held->device_reached : 0);
	totals[TOTAL_UNREACHED] = cell_number(
		UNIT_COUNT, analysis->heap->count -
				    analysis->dominators.num_reached);
	totals[TOTAL_UNREACHED_BYTES] = cell_number(
		UNIT_BYTES, analysis->heap->footprint +
				    (analysis->held ? analysis->held->host : 0) -
				    analysis->dominators.reached_weight);
	render_object(&scan->render, "totals", retained_totals, totals,
		      NUM_TOTALS);
	begin_table(scan, analysis);
	err = groups ? print_groups(scan, analysis) :
		       print_objects(scan, analysis);
	render_table_end(&scan->render);
	render_end(&scan->render);
	gate_totals(&scan->gate, totals);
	return err;
}
