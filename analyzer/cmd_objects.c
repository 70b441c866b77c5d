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

#include "analyzer/cmd.h"
#include "analyzer/typefilter.h"
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

struct lister {
	struct scan *scan;
	struct typefilter *filter;
	struct error *err;
	bool streaming;		/* print each at once */
	int column;		/* to order by */
	size_t limit;		/* objects to keep; 0: all */
	size_t budget;		/* objects that --memory allows to keep */
	struct pyh_object *kept;	/* a heap, the least wanted on top */
	size_t num_kept, room;
	uint64_t count, size;	/* of all that passed */
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

static struct cell object_cell(const struct pyh_object *object, int column)
{
	switch (column) {
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
	default:
		return cell_number(UNIT_BYTES, object->size);
	}
}

static void object_cells(const struct pyh_object *object,
			 struct cell cells[NUM_OBJECT_COLUMNS])
{
	for (int i = 0; i < NUM_OBJECT_COLUMNS; i++)
		cells[i] = object_cell(object, i);
}

/** < 0: a stands before b. Never 0 for two objects. */
static int order(const struct pyh_object *a, const struct pyh_object *b,
		 int column)
{
	int result = cell_compare(object_cell(a, column),
				  object_cell(b, column));

	if (result == 0)
		result = (a->address > b->address) - (a->address < b->address);
	return result;
}

static int order_for_sort(const void *a, const void *b, void *column)
{
	return order(a, b, *(const int *)column);
}

static void swap(struct pyh_object *a, struct pyh_object *b)
{
	struct pyh_object other = *a;

	*a = *b;
	*b = other;
}

/** Move the newest up until what is above stands behind it. */
static void sift_up(struct lister *lister, size_t at)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (order(&lister->kept[at], &lister->kept[parent],
			  lister->column) <= 0)
			return;
		swap(&lister->kept[at], &lister->kept[parent]);
		at = parent;
	}
}

static void sift_down(struct lister *lister)
{
	size_t at = 0;

	for (;;) {
		size_t last = at, child = at * 2 + 1;

		for (size_t i = child; i < child + 2 && i < lister->num_kept;
		     i++) {
			if (order(&lister->kept[i], &lister->kept[last],
				  lister->column) > 0)
				last = i;
		}
		if (last == at)
			return;
		swap(&lister->kept[at], &lister->kept[last]);
		at = last;
	}
}

static struct error *over_budget(const struct lister *lister)
{
	char size[UNITS_TEXT_MAX];

	(void)units_size(lister->budget * sizeof(*lister->kept), size);
	return error_new(ERROR_LIMIT, "ordering that many objects takes more "
			 "than %s: give more with --memory, fewer with --top, "
			 "--type or --min-size, or leave out --sort", size);
}

static struct error *grow(struct lister *lister)
{
	size_t room = lister->room ? lister->room * 2 : 1024;
	struct pyh_object *kept;

	if (lister->num_kept >= lister->budget)
		return over_budget(lister);
	if (room > lister->budget)
		room = lister->budget;
	kept = reallocarray(lister->kept, room, sizeof(*kept));
	if (!kept)
		return over_budget(lister);
	lister->kept = kept;
	lister->room = room;
	return NULL;
}

static struct error *keep(struct lister *lister,
			  const struct pyh_object *object)
{
	if (lister->limit && lister->num_kept == lister->limit) {
		if (order(object, &lister->kept[0], lister->column) < 0) {
			lister->kept[0] = *object;
			sift_down(lister);
		}
		return NULL;
	}
	if (lister->num_kept == lister->room) {
		struct error *err = grow(lister);

		if (err)
			return err;
	}
	lister->kept[lister->num_kept++] = *object;
	if (lister->limit)
		sift_up(lister, lister->num_kept - 1);
	return NULL;
}

static bool visit(void *context, const struct pyh_object *object)
{
	struct lister *lister = context;
	struct cell cells[NUM_OBJECT_COLUMNS];
	bool pass;

	lister->err = typefilter_pass(lister->filter, object->type, &pass);
	if (lister->err)
		return false;
	if (!pass || object->size < lister->scan->options->min_size)
		return true;
	lister->count++;
	lister->size += object->size;
	if (gate_open(&lister->scan->gate) || lister->streaming) {
		object_cells(object, cells);
		gate_row(&lister->scan->gate, cells);
	}
	if (!lister->streaming) {
		lister->err = keep(lister, object);
		return !lister->err;
	}
	render_row(&lister->scan->render, cells);
	return lister->count % 1024 != 0 || !scan_unread(lister->scan);
}

static void print_kept(struct lister *lister)
{
	struct render *render = &lister->scan->render;
	struct cell cells[NUM_OBJECT_COLUMNS];
	uint64_t shown = 0;

	qsort_r(lister->kept, lister->num_kept, sizeof(*lister->kept),
		order_for_sort, &lister->column);
	for (size_t i = 0; i < lister->num_kept; i++) {
		shown += lister->kept[i].size;
		object_cells(&lister->kept[i], cells);
		render_row(render, cells);
		if (i % 1024 == 1023 && scan_unread(lister->scan))
			return;
	}
	if (lister->count > lister->num_kept) {
		char number[UNITS_TEXT_MAX], text[64];
		uint64_t more = lister->count - lister->num_kept;

		(void)snprintf(text, sizeof(text), "%s more object%s",
			       units_count(more, number),
			       more == 1 ? "" : "s");
		for (int i = 0; i < NUM_OBJECT_COLUMNS; i++)
			cells[i] = cell_unknown();
		cells[OBJECT_TYPE] = cell_text(text);
		cells[OBJECT_SIZE] = cell_number(UNIT_BYTES,
						 lister->size - shown);
		render_rest(render, cells);
	}
}

static void lister_init(struct lister *lister, struct scan *scan)
{
	const struct options *options = scan->options;
	// Three quarters; the cache of frames has the fourth.
	uint64_t memory = options->memory ? options->memory / 4 * 3 :
					    UINT64_C(1) << 30;

	*lister = (struct lister){
		.scan = scan,
		.column = OBJECT_SIZE,
		.limit = (size_t)options->top,
		.streaming = options->top == 0 && !options->sort,
		.budget = (size_t)(memory / sizeof(struct pyh_object)),
	};
	for (int i = 0; options->sort && i < NUM_OBJECT_COLUMNS; i++) {
		if (strcmp(object_columns[i].key, options->sort) == 0)
			lister->column = i;
	}
	if (lister->budget == 0)
		lister->budget = 1;
}

static void lister_deinit(struct lister *lister)
{
	typefilter_destroy(lister->filter);
	free(lister->kept);
}

/** The document around the rows; collect-first forms print after the pass. */
static struct error *print(struct lister *lister, struct pyh_census *census)
{
	struct scan *scan = lister->scan;
	const char *sort = scan->options->sort ? scan->options->sort :
			   lister->streaming ? "address" : "size";
	struct cell totals[NUM_TOTALS];
	struct error *err;
	char title[64];

	if (!lister->streaming) {
		err = pyh_census_each(census, visit, lister);
		if (err || lister->err)
			return err ? err : TAKE(lister->err);
	}
	scan_begin(scan, "objects");
	(void)snprintf(title, sizeof(title), "OBJECTS  by %s", sort);
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = title,
		.columns = object_columns, .num_columns = NUM_OBJECT_COLUMNS,
	});
	err = NULL;
	if (lister->streaming)
		err = pyh_census_each(census, visit, lister);
	else
		print_kept(lister);
	render_table_end(&scan->render);
	totals[TOTAL_COUNT] = cell_number(UNIT_COUNT, lister->count);
	totals[TOTAL_SIZE] = cell_number(UNIT_BYTES, lister->size);
	render_object(&scan->render, "totals", object_totals, totals,
		      NUM_TOTALS);
	render_end(&scan->render);
	if (!err && lister->err)
		err = TAKE(lister->err);
	if (!err && lister->count == 0)
		scan_remark(scan, "no object of the dump passes the filters");
	gate_totals(&scan->gate, totals);
	return err;
}

static struct error *run(struct scan *scan)
{
	struct pyh_census *census;
	struct lister lister;
	struct error *err;

	err = opened_census(scan->opened, &census);
	if (err)
		return err;
	lister_init(&lister, scan);
	err = typefilter_create(scan->options->type, scan->options->match,
				&lister.filter);
	if (!err)
		err = print(&lister, census);
	error_free(lister.err);
	lister_deinit(&lister);
	return err;
}
