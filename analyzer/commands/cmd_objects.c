/*
 * `objects`: single objects with address, type, size and reference count.
 * SPDX-License-Identifier: Apache-2.0
 *
 * With --top the largest are kept while all go by. All of them (--top 0) are
 * printed as they come, in address order, and take no memory; only an order
 * that was asked for makes them be collected first, within --memory.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/heap/ranking.h"
#include "analyzer/heap/typefilter.h"
#include "analyzer/lookup.h"
#include "analyzer/show/previews.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum object_column {
	OBJECT_ADDRESS,
	OBJECT_TYPE,
	OBJECT_SIZE,
	OBJECT_REFCOUNT,
	OBJECT_EVIDENCE,
	OBJECT_FOOTPRINT,
	OBJECT_TYPE_ADDRESS,
	OBJECT_SIZE_EXACT,
	OBJECT_REFERRERS,	/* where they were asked for */
	OBJECT_RETAINED,
	OBJECT_DEVICE,
	OBJECT_PREVIEW,		/* with --values */
	NUM_OBJECT_COLUMNS
};

static const struct column object_columns[NUM_OBJECT_COLUMNS] = {
	[OBJECT_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "where it is in the target", .width = 18 },
	[OBJECT_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "module and qualified name; bare for builtins" },
	[OBJECT_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "what sys.getsizeof would say" },
	[OBJECT_REFCOUNT] = { .key = "refcount", .title = "refcount", .unit = UNIT_COUNT,
		.about = "references counted; absent where the object is "
			 "immortal" },
	[OBJECT_EVIDENCE] = { .key = "evidence", .title = "evidence", .unit = UNIT_TEXT,
		.about = "certain, probable or guessed: why it is "
			 "believed to be an object" },
	[OBJECT_FOOTPRINT] = { .key = "footprint", .title = "footprint", .unit = UNIT_BYTES,
		.about = "what the allocators hold for it, buffers outside "
			 "of the object included", .hidden = true },
	[OBJECT_TYPE_ADDRESS] = { .key = "type_address", .title = "type at", .unit = UNIT_ADDRESS,
		.about = "of its type object", .hidden = true },
	[OBJECT_SIZE_EXACT] = { .key = "size_exact", .title = "exact", .unit = UNIT_BOOL,
		.about = "false where the type's own __sizeof__ cannot "
			 "be known", .hidden = true },
	[OBJECT_REFERRERS] = { .key = "referrers", .title = "referrers", .unit = UNIT_COUNT,
		.about = "with --retained: objects that hold it" },
	[OBJECT_RETAINED] = { .key = "retained", .title = "retained", .unit = UNIT_BYTES,
		.about = "with --retained: what the allocators hold for it "
			 "and for all that lives by it alone, data of tensors "
			 "in the process included" },
	[OBJECT_DEVICE] = { .key = "device_retained", .title = "on devices",
		.unit = UNIT_BYTES,
		.about = "with --retained: data of tensors on devices that "
			 "would go with it; absent where no tensor is on one" },
	[OBJECT_PREVIEW] = { .key = "preview", .title = "preview",
		.unit = UNIT_TEXT, .about = "its value, with --values", .width = 48,
		.no_key = true },
};

enum { TOTAL_COUNT, TOTAL_SIZE, NUM_TOTALS };

static const struct column object_totals[NUM_TOTALS] = {
	[TOTAL_COUNT] = { .key = "count", .unit = UNIT_COUNT,
		.about = "objects that the filters let through" },
	[TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "their size" },
};

static struct error *run(struct scan *scan);

const struct view cmd_objects_view = {
	.name = "objects",
	.bit = VIEW_OBJECTS,
	.about = "single objects: address, type, size, reference count",
	.columns = object_columns,
	.num_columns = NUM_OBJECT_COLUMNS,
	.totals = object_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"The largest objects first. --top 0 without --sort prints all of them in the\n"
"order of their addresses, however many there are, as they are found.\n",
};

static const char *evidence_text(enum pyh_evidence evidence)
{
	switch (evidence) {
	case PYH_EVIDENCE_CERTAIN:
		return "certain";
	case PYH_EVIDENCE_PROBABLE:
		return "probable";
	case PYH_EVIDENCE_GUESSED:
		break;
	}
	return "guessed";
}

/** What a cell is made with, and the column that orders. */
struct cells_context {
	const struct analysis *analysis;	/* NULL: not asked for */
	int sort;
};

static struct cell analysis_cell(const struct analysis *analysis,
				 const struct pyh_object *object, int column)
{
	uint32_t number = analysis ? heapgraph_find(analysis->heap,
						    object->address) :
				     GRAPH_NONE;

	if (number == GRAPH_NONE)
		return cell_unknown();
	if (column == OBJECT_DEVICE)
		return heldbytes_has_device(analysis->held) ?
			cell_number(UNIT_BYTES,
				    heldbytes_device(analysis->held, number)) :
			cell_unknown();
	return column == OBJECT_REFERRERS ?
		cell_number(UNIT_COUNT, graph_referrers(&analysis->heap->graph,
							number,
							GRAPH_MASK_STRONG)) :
		cell_number(UNIT_BYTES, analysis->dominators.retained[number]);
}

static struct cell object_cell(const struct cells_context *context,
			       const struct pyh_object *object, int column)
{
	switch (column) {
	case OBJECT_REFERRERS:
	case OBJECT_RETAINED:
	case OBJECT_DEVICE:
		return analysis_cell(context->analysis, object, column);
	case OBJECT_ADDRESS:
		return cell_number(UNIT_ADDRESS, object->address);
	case OBJECT_TYPE:
		return cell_text(object->type->name);
	case OBJECT_REFCOUNT:
		return object->immortal ?
			cell_unknown() :
			cell_number(UNIT_COUNT, object->refcount);
	case OBJECT_EVIDENCE:
		return cell_text(evidence_text(object->evidence));
	case OBJECT_FOOTPRINT:
		return cell_number(UNIT_BYTES, object->footprint);
	case OBJECT_TYPE_ADDRESS:
		return cell_number(UNIT_ADDRESS, object->type->address);
	case OBJECT_SIZE_EXACT:
		return cell_number(UNIT_BOOL, object->size_exact);
	case OBJECT_PREVIEW:
		return cell_unknown();
	default:
		return cell_number(UNIT_BYTES, object->size);
	}
}

static void object_cells(const struct cells_context *context,
			 const struct pyh_object *object,
			 struct cell cells[NUM_OBJECT_COLUMNS])
{
	for (int i = 0; i < NUM_OBJECT_COLUMNS; i++)
		cells[i] = object_cell(context, object, i);
}

/** < 0: a stands before b. Never 0 for two objects. */
static int order(const struct pyh_object *a, const struct pyh_object *b,
		 const void *context)
{
	const struct cells_context *by = context;
	int result = cell_compare(object_cell(by, a, by->sort),
				  object_cell(by, b, by->sort));

	if (result == 0)
		result = (a->address > b->address) - (a->address < b->address);
	return result;
}

/** Print a row, with the value of its object if that is wanted. */
static void print_row(struct scan *scan, struct previews *previews,
		      const struct pyh_object *object, struct cell *cells)
{
	char text[PREVIEW_MAX];

	cells[OBJECT_PREVIEW] = cell_text(previews_text(previews,
							object->address, text));
	render_row(&scan->render, cells);
}

/* --- all of them, as they come ------------------------------------------------ */

struct listing {
	struct scan *scan;
	const struct cells_context *context;
	struct typefilter *filter;
	struct error *err;
	struct previews *previews;	/* borrowed; NULL: no values */
	bool rows;		/* print them; else only hold them against the gate */
	uint64_t count, size;	/* of all that passed */
};

static bool list(void *context, const struct pyh_object *object)
{
	struct listing *listing = context;
	struct cell cells[NUM_OBJECT_COLUMNS];
	bool pass;

	listing->err = typefilter_pass(listing->filter, object->type, &pass);
	if (listing->err)
		return false;
	if (!pass || object->size < listing->scan->options->min_size)
		return true;
	listing->count++;
	listing->size += object->size;
	object_cells(listing->context, object, cells);
	gate_row(&listing->scan->gate, cells);
	if (!listing->rows)
		return gate_open(&listing->scan->gate);
	print_row(listing->scan, listing->previews, object, cells);
	return listing->count % 1024 != 0 || !scan_unread(listing->scan);
}

/** The same as a census would show, from kept results. */
static struct error *list_kept(const struct analysis *analysis,
			       struct listing *listing)
{
	const struct heapgraph *heap = analysis->heap;
	struct error *err = NULL;

	for (uint32_t i = 0; !err && i < heap->count; i++) {
		struct pyh_object object;
		bool pass;

		err = typefilter_pass(listing->filter, heapgraph_type(heap, i),
				      &pass);
		if (err || !pass ||
		    heapgraph_size(heap, i) < listing->scan->options->min_size)
			continue;
		object = lookup_object(heap, i);
		if (!list(listing, &object))
			break;
	}
	return err;
}

static struct error *list_census(struct scan *scan, struct listing *listing)
{
	struct pyh_census *census;
	struct error *err = opened_census(scan->opened, &census);

	return err ? err : pyh_census_each(census, list, listing);
}

static struct error *list_all(struct scan *scan,
			      const struct cells_context *context,
			      bool rows, struct previews *previews,
			      struct listing *ret)
{
	struct listing listing = { .scan = scan, .context = context,
				   .rows = rows, .previews = previews };
	const struct analysis *analysis = *opened_analysis(scan->opened);
	struct error *err = typefilter_create(scan->options->type,
					      scan->options->match,
					      &listing.filter);

	if (!err)
		err = analysis && analysis->kept ?
			      list_kept(analysis, &listing) :
			      list_census(scan, &listing);
	typefilter_destroy(listing.filter);
	*ret = listing;
	return err ? err : listing.err;
}

/* --- the first of them ---------------------------------------------------------- */

/** The same order by columns: cells are compared as their units say. */
static enum object_key key_of(int column)
{
	switch (column) {
	case OBJECT_TYPE:
		return OBJECT_BY_TYPE;
	case OBJECT_TYPE_ADDRESS:
		return OBJECT_BY_TYPE_ADDRESS;
	case OBJECT_SIZE:
		return OBJECT_BY_SIZE;
	case OBJECT_FOOTPRINT:
		return OBJECT_BY_FOOTPRINT;
	case OBJECT_REFCOUNT:
		return OBJECT_BY_REFCOUNT;
	case OBJECT_SIZE_EXACT:
		return OBJECT_BY_EXACT;
	case OBJECT_EVIDENCE:
		return OBJECT_BY_EVIDENCE;
	case OBJECT_REFERRERS:
		return OBJECT_BY_REFERRERS;
	case OBJECT_RETAINED:
		return OBJECT_BY_RETAINED;
	case OBJECT_DEVICE:
		return OBJECT_BY_DEVICE;
	default:	// what is not known of any object orders none
		return OBJECT_BY_ADDRESS;
	}
}

static struct error *make_ranking(const struct scan *scan,
				  const struct cells_context *context,
				  struct ranking **ret)
{
	const struct options *options = scan->options;
	// Three quarters; the cache of frames has the fourth.
	uint64_t memory = options->memory ? options->memory / 4 * 3 :
					    UINT64_C(1) << 30;
	struct ranking_options wanted = {
		.workers = opened_workers(scan->opened),
		.type = options->type,
		.match = options->match,
		.min_size = options->min_size,
		.limit = (size_t)options->top,
		.budget = (size_t)(memory / sizeof(struct pyh_object)),
		.order = order,
		.context = context,
		.by_size = context->sort == OBJECT_SIZE,
		.key = key_of(context->sort),
	};

	return ranking_create(&wanted, ret);
}

/** By results of an earlier run, where these tell. */
static struct error *rank_kept(struct scan *scan, struct ranking *ranking,
			       struct ranking_result *ret, bool *ret_done)
{
	struct pyh_types *types;
	struct error *err = opened_types(scan->opened, &types);
	const struct analysis *analysis = *opened_analysis(scan->opened);

	*ret_done = false;
	return err || !analysis ? err :
		ranking_from_kept(ranking, analysis, ret, ret_done);
}

static struct error *rank_all(struct scan *scan,
			      const struct cells_context *context,
			      struct ranking *ranking,
			      struct ranking_result *ret)
{
	struct pyh_census *census;
	struct error *err = NULL;

	// What holds an object is known when all have been found.
	if (context->sort == OBJECT_EVIDENCE)
		err = opened_census(scan->opened, &census);
	if (!err)
		err = opened_census_visited(scan->opened, &(struct pyh_visitor){
			.visit = ranking_visit, .context = ranking,
			.least = ranking_least(ranking) }, &census);
	if (!err && ranking_spoilt(ranking)) {
		ranking_reset(ranking);
		err = pyh_census_visit(census, ranking_visit, ranking);
	}
	if (!err)
		err = ranking_finish(ranking, census, ret);
	// Of what is not certain by itself, those who refer to it decide.
	return err ? err : opened_settle_few(scan->opened, ret->objects,
					     ret->num_objects);
}

static struct error *rank(struct scan *scan,
			  const struct cells_context *context,
			  struct ranking *ranking,
			  struct ranking_result *ret)
{
	bool done;
	struct error *err = rank_kept(scan, ranking, ret, &done);

	return err || done ? err : rank_all(scan, context, ranking, ret);
}

static void print_ranked(struct scan *scan, const struct cells_context *context,
			 const struct ranking_result *ranked,
			 struct previews *previews)
{
	struct cell cells[NUM_OBJECT_COLUMNS];
	uint64_t shown = 0;

	for (size_t i = 0; i < ranked->num_objects; i++) {
		shown += ranked->objects[i].size;
		object_cells(context, &ranked->objects[i], cells);
		print_row(scan, previews, &ranked->objects[i], cells);
		if (i % 1024 == 1023 && scan_unread(scan))
			return;
	}
	if (ranked->count > ranked->num_objects) {
		char number[UNITS_TEXT_MAX], text[64];
		uint64_t more = ranked->count - ranked->num_objects;

		(void)snprintf(text, sizeof(text), "%s more object%s",
			       units_count(more, number),
			       more == 1 ? "" : "s");
		for (int i = 0; i < NUM_OBJECT_COLUMNS; i++)
			cells[i] = cell_unknown();
		cells[OBJECT_TYPE] = cell_text(text);
		cells[OBJECT_SIZE] = cell_number(UNIT_BYTES,
						 ranked->size - shown);
		render_rest(&scan->render, cells);
	}
}

/* --- the document around the rows ---------------------------------------------- */

enum { TITLE_MAX = 64 };

static const struct column *columns_of(const struct scan *scan,
				       const struct cells_context *context)
{
	static struct column columns[NUM_OBJECT_COLUMNS];

	memcpy(columns, object_columns, sizeof(columns));
	for (int i = OBJECT_REFERRERS; i <= OBJECT_PREVIEW; i++)
		columns[i].hidden = columns[i].absent =
			i == OBJECT_PREVIEW ? !scan->options->values :
					      !context->analysis;
	if (!context->analysis || !heldbytes_has_device(context->analysis->held))
		columns[OBJECT_DEVICE].hidden = columns[OBJECT_DEVICE].absent =
			true;
	return columns;
}

/** The title must live until the table ends. */
static void begin(struct scan *scan, const struct cells_context *context,
		  const char *sort, char title[TITLE_MAX])
{
	scan_begin(scan, "objects");
	(void)snprintf(title, TITLE_MAX, "OBJECTS  by %s", sort);
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = title,
		.columns = columns_of(scan, context),
		.num_columns = NUM_OBJECT_COLUMNS,
	});
}

static void end(struct scan *scan, uint64_t count, uint64_t size)
{
	struct cell totals[NUM_TOTALS] = {
		[TOTAL_COUNT] = cell_number(UNIT_COUNT, count),
		[TOTAL_SIZE] = cell_number(UNIT_BYTES, size),
	};

	render_table_end(&scan->render);
	render_object(&scan->render, "totals", object_totals, totals,
		      NUM_TOTALS);
	render_end(&scan->render);
	if (count == 0)
		scan_remark(scan, "no object of the dump passes the filters");
	gate_totals(&scan->gate, totals);
}

/** Whatever can fail comes before the first line. */
static struct error *prepare_listing(struct scan *scan)
{
	const struct analysis *analysis = *opened_analysis(scan->opened);
	struct pyh_census *census;
	struct error *err;

	if (analysis && analysis->kept)
		return NULL;
	err = opened_census(scan->opened, &census);
	return err ? err : opened_settle(scan->opened);
}

static struct error *run_listing(struct scan *scan,
				 const struct cells_context *context)
{
	CLEANUP(previews_release) struct previews *previews = NULL;
	struct listing listing;
	struct pyh_types *types;
	char title[TITLE_MAX];
	// What an earlier run has kept comes with the types.
	struct error *err = opened_types(scan->opened, &types);

	if (!err)
		err = prepare_listing(scan);
	if (!err && scan->options->values)
		err = previews_open(scan->opened, &previews);
	if (err)
		return err;
	begin(scan, context, "address", title);
	err = list_all(scan, context, /* rows= */ true, previews, &listing);
	end(scan, listing.count, listing.size);
	return err;
}

static struct error *run_ranking(struct scan *scan,
				 const struct cells_context *context)
{
	const char *sort = scan->options->sort ? scan->options->sort : "size";
	CLEANUP(ranking_release) struct ranking *ranking = NULL;
	CLEANUP(previews_release) struct previews *previews = NULL;
	struct ranking_result ranked;
	struct listing listing;
	char title[TITLE_MAX];
	struct error *err = make_ranking(scan, context, &ranking);

	if (!err)
		err = rank(scan, context, ranking, &ranked);
	// A condition holds where any row meets it, shown or not.
	if (!err && gate_open(&scan->gate))
		err = list_all(scan, context, /* rows= */ false, NULL,
			       &listing);
	if (!err && scan->options->values)
		err = previews_open(scan->opened, &previews);
	if (err)
		return err;
	begin(scan, context, sort, title);
	print_ranked(scan, context, &ranked, previews);
	end(scan, ranked.count, ranked.size);
	return NULL;
}

/** By --retained, or by an order or a condition that is about it. */
static bool wants_analysis(const struct scan *scan, int sort)
{
	int gated = scan->gate.row_column;

	return scan->options->retained || sort == OBJECT_REFERRERS ||
	       sort == OBJECT_RETAINED || sort == OBJECT_DEVICE ||
	       gated == OBJECT_REFERRERS || gated == OBJECT_RETAINED ||
	       gated == OBJECT_DEVICE;
}

static struct error *run(struct scan *scan)
{
	const char *sort = scan->options->sort;
	struct cells_context context = { .sort = OBJECT_SIZE };
	struct error *err = NULL;

	for (int i = 0; sort && i < NUM_OBJECT_COLUMNS; i++)
		if (strcmp(object_columns[i].key, sort) == 0)
			context.sort = i;
	if (wants_analysis(scan, context.sort))
		err = analysis_of(scan->opened, ANALYSIS_DOMINATORS,
				  &context.analysis);
	if (err)
		return err;
	return scan->options->top == 0 && !sort ? run_listing(scan, &context) :
						  run_ranking(scan, &context);
}
