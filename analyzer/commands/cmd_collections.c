/*
 * `collections`: containers by type: room, items, and what the room takes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/heap/typefilter.h"
#include "image/base/findings.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "pyheap/sizes/pycollections.h"

enum collection_column {
	COLLECTION_TYPE,
	COLLECTION_COUNT,
	COLLECTION_CAPACITY,
	COLLECTION_USED,
	COLLECTION_WASTED,
	COLLECTION_EMPTY,
	COLLECTION_SPARSE,
	COLLECTION_SIZE,
	COLLECTION_EMPTY_SIZE,
	COLLECTION_UNREAD,
	COLLECTION_TYPE_ADDRESS,
	NUM_COLLECTION_COLUMNS
};

static const struct column collection_columns[NUM_COLLECTION_COLUMNS] = {
	[COLLECTION_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "module and qualified name; bare for builtins" },
	[COLLECTION_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "containers of this type" },
	[COLLECTION_CAPACITY] = { .key = "capacity", .title = "capacity", .unit = UNIT_COUNT,
		.about = "items (of a bytearray: bytes) they have room for" },
	[COLLECTION_USED] = { .key = "used", .title = "used", .unit = UNIT_COUNT,
		.about = "items they hold" },
	[COLLECTION_WASTED] = { .key = "wasted", .title = "wasted", .unit = UNIT_BYTES,
		.about = "what the smallest containers for those items would "
			 "not hold from the allocators" },
	[COLLECTION_EMPTY] = { .key = "empty", .title = "empty", .unit = UNIT_COUNT,
		.about = "containers without an item" },
	[COLLECTION_SPARSE] = { .key = "sparse", .title = "sparse", .unit = UNIT_COUNT,
		.about = "containers, not empty, that use less than half of "
			 "their capacity and could be smaller" },
	[COLLECTION_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "sum of what sys.getsizeof would say",
		.hidden = true },
	[COLLECTION_EMPTY_SIZE] = { .key = "empty_size", .title = "empty size", .unit = UNIT_BYTES,
		.about = "the same of the empty ones", .hidden = true },
	[COLLECTION_UNREAD] = { .key = "unread", .title = "unread", .unit = UNIT_COUNT,
		.about = "containers that cannot be looked into, as the dump "
			 "has not got all of them or they are damaged: they "
			 "add to count and size, arrays to capacity and used as "
			 "well, and to nothing else", .hidden = true },
	[COLLECTION_TYPE_ADDRESS] = { .key = "type_address", .title = "type at", .unit = UNIT_ADDRESS,
		.about = "of the type object", .hidden = true },
};

enum {
	TOTAL_COUNT, TOTAL_CAPACITY, TOTAL_USED, TOTAL_WASTED, TOTAL_EMPTY,
	TOTAL_SPARSE, TOTAL_SIZE, TOTAL_EMPTY_SIZE, TOTAL_UNREAD, TOTAL_TYPES,
	NUM_TOTALS
};

static const struct column collection_totals[NUM_TOTALS] = {
	[TOTAL_COUNT] = { .key = "count", .unit = UNIT_COUNT,
		.about = "containers in all rows, shown or not" },
	[TOTAL_CAPACITY] = { .key = "capacity", .unit = UNIT_COUNT,
		.about = "items they have room for" },
	[TOTAL_USED] = { .key = "used", .unit = UNIT_COUNT,
		.about = "items they hold" },
	[TOTAL_WASTED] = { .key = "wasted", .unit = UNIT_BYTES,
		.about = "what smaller ones would not hold" },
	[TOTAL_EMPTY] = { .key = "empty", .unit = UNIT_COUNT,
		.about = "containers without an item" },
	[TOTAL_SPARSE] = { .key = "sparse", .unit = UNIT_COUNT,
		.about = "containers that use less than half of it" },
	[TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "size of all rows" },
	[TOTAL_EMPTY_SIZE] = { .key = "empty_size", .unit = UNIT_BYTES,
		.about = "size of the empty ones" },
	[TOTAL_UNREAD] = { .key = "unread", .unit = UNIT_COUNT,
		.about = "containers that cannot be looked into" },
	[TOTAL_TYPES] = { .key = "types", .unit = UNIT_COUNT,
		.about = "number of rows" },
};

static struct error *run(struct scan *scan);

const struct view cmd_collections_view = {
	.name = "collections",
	.bit = VIEW_COLLECTIONS,
	.about = "containers by type: capacity, items, waste; the empty ones",
	.columns = collection_columns,
	.num_columns = NUM_COLLECTION_COLUMNS,
	.totals = collection_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"Lists, dicts, sets, frozensets, deques, ordered dicts, bytearrays, arrays and\n"
"their subclasses; those that waste most first. What the smallest container\n"
"would need is told by the interpreter's own rules: a dict of 6 entries has a\n"
"table of 16 slots, so only what is beyond that is waste. Tables that several\n"
"dicts share are the waste of none; of a dict of an instance only the array of\n"
"its values counts. Empty containers have a table of their own below.\n",
};

/* --- gathering ----------------------------------------------------------- */

struct collection_row {
	const struct pyh_type *type;	/* NULL: none of this type */
	uint64_t count, capacity, used, wasted, empty, sparse, size,
		empty_size, unread;
};

/** What one worker has seen, by type id. */
struct share {
	_Alignas(128) struct collection_row *rows;
	size_t num_rows;
	bool no_memory;
	bool damage;		/* some contradict themselves */
};

struct gathering {
	const struct pyh_runtime *runtime;
	struct share *shares;
	unsigned int num_shares;
};

static struct collection_row *row_of(struct share *share,
				     const struct pyh_type *type)
{
	size_t room = (type->id | 255) + 1;
	struct collection_row *grown;

	if (type->id >= share->num_rows) {
		grown = reallocarray(share->rows, room, sizeof(*grown));
		if (!grown) {
			share->no_memory = true;
			return NULL;
		}
		memset(grown + share->num_rows, 0,
		       (room - share->num_rows) * sizeof(*grown));
		share->rows = grown;
		share->num_rows = room;
	}
	share->rows[type->id].type = type;
	return &share->rows[type->id];
}

static void row_add(struct collection_row *sum,
		    const struct collection_row *add)
{
	sum->count += add->count;
	sum->capacity += add->capacity;
	sum->used += add->used;
	sum->wasted += add->wasted;
	sum->empty += add->empty;
	sum->sparse += add->sparse;
	sum->size += add->size;
	sum->empty_size += add->empty_size;
	sum->unread += add->unread;
}

/** Unsigned: what another worker has added makes up for it. */
static void row_take(struct collection_row *sum,
		     const struct collection_row *take)
{
	sum->count -= take->count;
	sum->capacity -= take->capacity;
	sum->used -= take->used;
	sum->wasted -= take->wasted;
	sum->empty -= take->empty;
	sum->sparse -= take->sparse;
	sum->size -= take->size;
	sum->empty_size -= take->empty_size;
	sum->unread -= take->unread;
}

static enum pyh_found look_into(const struct gathering *gathering,
				const struct pyh_visit *visit,
				struct pyh_collection *ret)
{
	return pyh_collection_read(gathering->runtime, visit->object.type,
				   visit->object.address, visit->body,
				   visit->available, visit->memory, ret);
}

static void gather(void *context, const struct pyh_visit *visit)
{
	struct gathering *gathering = context;
	struct share *share = &gathering->shares[visit->worker];
	const struct pyh_object *object = &visit->object;
	struct pyh_collection inside;
	struct collection_row one, *row;
	enum pyh_found found;
	bool empty;

	if (!pyh_is_collection(object->type))
		return;
	found = look_into(gathering, visit, &inside);
	empty = found == PYH_FOUND && inside.used == 0;
	share->damage |= found == PYH_FOUND_BAD;
	one = (struct collection_row){
		.count = 1,
		.capacity = inside.capacity,
		.used = inside.used,
		.wasted = inside.wasted,
		.empty = empty,
		.sparse = pyh_collection_sparse(&inside),
		.size = object->size,
		.empty_size = empty ? object->size : 0,
		.unread = found != PYH_FOUND,
	};
	row = row_of(share, object->type);
	if (row)
		(visit->taken_back ? row_take : row_add)(row, &one);
}

/** Once it is known which are objects: say which of them are damaged. */
static void tell_damage(void *context, const struct pyh_visit *visit)
{
	struct gathering *gathering = context;
	const struct pyh_object *object = &visit->object;
	struct pyh_collection inside;

	if (pyh_is_collection(object->type) &&
	    look_into(gathering, visit, &inside) == PYH_FOUND_BAD)
		findings_add(gathering->runtime->image->findings, "collection",
			     object->address, "the fields of this %s "
			     "contradict each other: how much it holds is not "
			     "known", object->type->name);
}

/* --- rows ---------------------------------------------------------------- */

struct collections {
	struct collection_row *rows;	/* owned */
	size_t num_rows;
	struct collection_row sum;	/* of the rows */
	int column;			/* to sort by */
};

static struct cell collection_cell(const struct collection_row *row, int column)
{
	switch (column) {
	case COLLECTION_TYPE:
		return cell_text(row->type ? row->type->name : NULL);
	case COLLECTION_TYPE_ADDRESS:
		return row->type ? cell_number(UNIT_ADDRESS,
					       row->type->address) :
				   cell_unknown();
	case COLLECTION_COUNT:
		return cell_number(UNIT_COUNT, row->count);
	case COLLECTION_CAPACITY:
		return cell_number(UNIT_COUNT, row->capacity);
	case COLLECTION_USED:
		return cell_number(UNIT_COUNT, row->used);
	case COLLECTION_EMPTY:
		return cell_number(UNIT_COUNT, row->empty);
	case COLLECTION_SPARSE:
		return cell_number(UNIT_COUNT, row->sparse);
	case COLLECTION_UNREAD:
		return cell_number(UNIT_COUNT, row->unread);
	case COLLECTION_SIZE:
		return cell_number(UNIT_BYTES, row->size);
	case COLLECTION_EMPTY_SIZE:
		return cell_number(UNIT_BYTES, row->empty_size);
	default:
		return cell_number(UNIT_BYTES, row->wasted);
	}
}

static void collection_cells(const struct collection_row *row,
			     struct cell cells[NUM_COLLECTION_COLUMNS])
{
	for (int i = 0; i < NUM_COLLECTION_COLUMNS; i++)
		cells[i] = collection_cell(row, i);
}

static int by_column(const void *a, const void *b, void *context)
{
	const struct collection_row *left = a, *right = b;
	const int order[] = { *(const int *)context, COLLECTION_WASTED,
			      COLLECTION_SIZE, COLLECTION_TYPE,
			      COLLECTION_TYPE_ADDRESS };
	int result = 0;

	for (size_t i = 0; !result && i < sizeof(order) / sizeof(*order); i++)
		result = cell_compare(collection_cell(left, order[i]),
				      collection_cell(right, order[i]));
	return result;
}

/** Put together what the workers have, type by type. */
static struct collection_row merged(const struct gathering *gathering,
				    uint32_t id)
{
	struct collection_row sum = { 0 };

	for (unsigned int i = 0; i < gathering->num_shares; i++) {
		const struct share *share = &gathering->shares[i];

		if (id >= share->num_rows || !share->rows[id].type)
			continue;
		sum.type = share->rows[id].type;
		row_add(&sum, &share->rows[id]);
	}
	return sum;
}

static struct error *take_rows(const struct scan *scan,
			       const struct gathering *gathering,
			       uint32_t num_types, struct collections *ret)
{
	CLEANUP(typefilter_release) struct typefilter *filter = NULL;
	struct error *err = typefilter_create(scan->options->type,
					      scan->options->match, &filter);

	for (uint32_t id = 0; !err && id < num_types; id++) {
		struct collection_row row = merged(gathering, id);
		bool pass;

		if (row.count == 0 || row.size < scan->options->min_size)
			continue;
		err = typefilter_pass(filter, row.type, &pass);
		if (err || !pass)
			continue;
		row_add(&ret->sum, &row);
		ret->rows[ret->num_rows++] = row;
	}
	return err;
}

static struct error *check_gathered(const struct gathering *gathering,
				    bool *damage)
{
	*damage = false;
	for (unsigned int i = 0; i < gathering->num_shares; i++) {
		if (gathering->shares[i].no_memory)
			return error_no_memory();
		*damage |= gathering->shares[i].damage;
	}
	return NULL;
}

static struct error *collect(struct scan *scan, struct gathering *gathering,
			     struct collections *ret)
{
	struct pyh_runtime *runtime;
	struct pyh_census *census;
	struct pyh_types *types;
	uint32_t num_types;
	bool damage;
	struct error *err = opened_types(scan->opened, &types);

	if (!err)
		err = opened_runtime(scan->opened, &runtime);
	if (err)
		return err;
	gathering->runtime = runtime;
	err = opened_census_visited(scan->opened, &(struct pyh_visitor){
		.visit = gather, .context = gathering }, &census);
	if (!err)
		err = check_gathered(gathering, &damage);
	if (!err && damage)
		err = pyh_census_visit(census, tell_damage, gathering);
	if (err)
		return err;
	num_types = pyh_types_count(types);
	ret->rows = calloc((size_t)num_types + 1, sizeof(*ret->rows));
	if (!ret->rows)
		return error_no_memory();
	err = take_rows(scan, gathering, num_types, ret);
	if (err)
		return err;
	qsort_r(ret->rows, ret->num_rows, sizeof(*ret->rows), by_column,
		&ret->column);
	return NULL;
}

/* --- printing ------------------------------------------------------------ */

/** A row for what --top leaves out. */
static void print_rest(struct render *render, const struct collections *all,
		       size_t shown)
{
	struct cell cells[NUM_COLLECTION_COLUMNS];
	struct collection_row rest = { 0 };
	char text[64], number[UNITS_TEXT_MAX];
	size_t more = all->num_rows - shown;

	if (more == 0)
		return;
	for (size_t i = shown; i < all->num_rows; i++)
		row_add(&rest, &all->rows[i]);
	(void)snprintf(text, sizeof(text), "%s more type%s",
		       units_count(more, number), more == 1 ? "" : "s");
	collection_cells(&rest, cells);
	cells[COLLECTION_TYPE] = cell_text(text);
	render_rest(render, cells);
}

static void print_rows(struct scan *scan, const struct collections *all,
		       size_t shown)
{
	struct cell cells[NUM_COLLECTION_COLUMNS];
	char title[64];

	(void)snprintf(title, sizeof(title), "COLLECTIONS  by %s",
		       collection_columns[all->column].key);
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = title,
		.columns = collection_columns,
		.num_columns = NUM_COLLECTION_COLUMNS,
	});
	for (size_t i = 0; i < shown && !scan_unread(scan); i++) {
		collection_cells(&all->rows[i], cells);
		render_row(&scan->render, cells);
	}
	print_rest(&scan->render, all, shown);
	render_table_end(&scan->render);
}

static int by_empty(const void *a, const void *b)
{
	const struct collection_row *left = a, *right = b;

	if (left->empty_size != right->empty_size)
		return left->empty_size > right->empty_size ? -1 : 1;
	return by_column(a, b, &(int){ COLLECTION_EMPTY });
}

/** For people: the empty ones, which fill other columns than the rest. */
static void print_empty(struct scan *scan, struct collections *all)
{
	static const struct column columns[] = {
		{ .key = "type", .title = "type", .unit = UNIT_TEXT },
		{ .key = "empty", .title = "count", .unit = UNIT_COUNT },
		{ .key = "empty_size", .title = "size", .unit = UNIT_BYTES },
	};
	uint64_t top = scan->options->top;
	struct cell cells[3];

	if (!render_for_people(&scan->render) || all->sum.empty == 0)
		return;
	qsort(all->rows, all->num_rows, sizeof(*all->rows), by_empty);
	render_gap(&scan->render);
	render_table(&scan->render, &(struct table_spec){
		.json_key = "empty", .title = "EMPTY  by size",
		.columns = columns, .num_columns = 3,
	});
	for (size_t i = 0; i < all->num_rows && (top == 0 || i < top) &&
	     all->rows[i].empty && !scan_unread(scan); i++) {
		cells[0] = collection_cell(&all->rows[i], COLLECTION_TYPE);
		cells[1] = collection_cell(&all->rows[i], COLLECTION_EMPTY);
		cells[2] = collection_cell(&all->rows[i],
					   COLLECTION_EMPTY_SIZE);
		render_row(&scan->render, cells);
	}
	render_table_end(&scan->render);
}

static void print_unread(struct render *render, const struct collections *all)
{
	char number[UNITS_TEXT_MAX];

	if (all->sum.unread)
		render_line(render, "%s container%s cannot be looked into: "
			    "what they waste is not known",
			    units_count(all->sum.unread, number),
			    all->sum.unread == 1 ? "" : "s");
}

static void make_totals(const struct collections *all,
			struct cell totals[NUM_TOTALS])
{
	static const int columns[NUM_TOTALS - 1] = {
		COLLECTION_COUNT, COLLECTION_CAPACITY, COLLECTION_USED,
		COLLECTION_WASTED, COLLECTION_EMPTY, COLLECTION_SPARSE,
		COLLECTION_SIZE, COLLECTION_EMPTY_SIZE, COLLECTION_UNREAD,
	};

	for (int i = 0; i < NUM_TOTALS - 1; i++)
		totals[i] = collection_cell(&all->sum, columns[i]);
	totals[TOTAL_TYPES] = cell_number(UNIT_COUNT, all->num_rows);
}

static void hold_against_gate(struct scan *scan, const struct collections *all,
			      const struct cell *totals)
{
	struct cell cells[NUM_COLLECTION_COLUMNS];

	for (size_t i = 0; i < all->num_rows && gate_open(&scan->gate); i++) {
		collection_cells(&all->rows[i], cells);
		gate_row(&scan->gate, cells);
	}
	gate_totals(&scan->gate, totals);
}

static void print(struct scan *scan, struct collections *all)
{
	uint64_t top = scan->options->top;
	size_t shown = top == 0 || top > all->num_rows ? all->num_rows :
							 (size_t)top;
	struct cell totals[NUM_TOTALS];

	make_totals(all, totals);
	scan_begin(scan, "collections");
	render_object(&scan->render, "totals", collection_totals, totals,
		      NUM_TOTALS);
	hold_against_gate(scan, all, totals);
	print_rows(scan, all, shown);
	print_empty(scan, all);
	print_unread(&scan->render, all);
	render_end(&scan->render);
	if (all->num_rows == 0)
		scan_remark(scan,
			    "no container of the dump passes the filters");
}

static struct error *run(struct scan *scan)
{
	struct gathering gathering = {
		.num_shares = opened_workers(scan->opened),
	};
	struct collections all = { .column = COLLECTION_WASTED };
	const char *sort = scan->options->sort;
	struct error *err;

	for (int i = 0; sort && i < NUM_COLLECTION_COLUMNS; i++) {
		if (strcmp(collection_columns[i].key, sort) == 0)
			all.column = i;
	}
	gathering.shares = aligned_alloc(_Alignof(struct share),
					 gathering.num_shares *
						sizeof(*gathering.shares));
	if (!gathering.shares)
		return error_no_memory();
	memset(gathering.shares, 0,
	       gathering.num_shares * sizeof(*gathering.shares));
	err = collect(scan, &gathering, &all);
	if (!err)
		print(scan, &all);
	for (unsigned int i = 0; i < gathering.num_shares; i++)
		free(gathering.shares[i].rows);
	free(gathering.shares);
	free(all.rows);
	return err;
}
