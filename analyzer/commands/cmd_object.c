/*
 * `object ADDR`: one object whole, with what it refers to.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An address inside of an object stands for it. Of an address that is none
 * standard error says what is there instead. Fields are printed as they are
 * found, so that a list of any length takes no memory.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/allocator/allocation.h"
#include "analyzer/analysis.h"
#include "analyzer/cmd.h"
#include "analyzer/heap/notobject.h"
#include "analyzer/heap/referrer_rows.h"
#include "analyzer/lookup.h"
#include "analyzer/malloc/outside.h"
#include "analyzer/show/previews.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "pyheap/references/pyrefs.h"
#include "pyheap/types/pyobject.h"
#include "pyheap/values/pystr.h"

enum {
	/* Objects of the young generations looked at for one of them. */
	GENERATION_STEPS = 1 << 18,
	NAME_MAX_BYTES = 256,
	LINE_NAME = 100,	/* columns of a name in a line */
	LINE_VALUE = 100,
};

enum object_column {
	OBJECT_ADDRESS,
	OBJECT_TYPE,
	OBJECT_SIZE,
	OBJECT_REFCOUNT,
	OBJECT_EVIDENCE,
	OBJECT_FOOTPRINT,
	OBJECT_TYPE_ADDRESS,
	OBJECT_SIZE_EXACT,
	OBJECT_IMMORTAL,
	OBJECT_GC_TRACKED,
	OBJECT_GENERATION,
	OBJECT_FLAGS,
	OBJECT_RETAINED,	/* with --retained */
	OBJECT_DEVICE,
	OBJECT_PREVIEW,
	NUM_OBJECT_COLUMNS
};

static const struct column object_columns[NUM_OBJECT_COLUMNS] = {
	[OBJECT_ADDRESS] = { .key = "address", .unit = UNIT_ADDRESS,
		.about = "where it is in the target" },
	[OBJECT_TYPE] = { .key = "type", .unit = UNIT_TEXT,
		.about = "module and qualified name; bare for builtins" },
	[OBJECT_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "what sys.getsizeof would say" },
	[OBJECT_REFCOUNT] = { .key = "refcount", .unit = UNIT_COUNT,
		.about = "references counted; absent where the object is "
			 "immortal" },
	[OBJECT_EVIDENCE] = { .key = "evidence", .unit = UNIT_TEXT,
		.about = "certain, probable or guessed: why it is "
			 "believed to be an object" },
	[OBJECT_FOOTPRINT] = { .key = "footprint", .unit = UNIT_BYTES,
		.about = "what the allocators hold for it, buffers outside "
			 "of the object included" },
	[OBJECT_TYPE_ADDRESS] = { .key = "type_address", .unit = UNIT_ADDRESS,
		.about = "of its type object" },
	[OBJECT_SIZE_EXACT] = { .key = "size_exact", .unit = UNIT_BOOL,
		.about = "false where the type's own __sizeof__ cannot "
			 "be known" },
	[OBJECT_IMMORTAL] = { .key = "immortal", .unit = UNIT_BOOL,
		.about = "its references are not counted" },
	[OBJECT_GC_TRACKED] = { .key = "gc_tracked", .unit = UNIT_BOOL,
		.about = "the garbage collector has it in a list" },
	[OBJECT_GENERATION] = { .key = "generation", .unit = UNIT_ID,
		.about = "of the collector: 0, 1 or 2; absent where it takes "
			 "too long to be found out" },
	[OBJECT_FLAGS] = { .key = "flags", .unit = UNIT_TEXT,
		.about = "static (in a module's own data), interned (a str), "
			 "frozen (by gc.freeze), finalized (its finalizer "
			 "has run)" },
	[OBJECT_RETAINED] = { .key = "retained", .unit = UNIT_BYTES,
		.about = "with --retained: what the allocators hold for it "
			 "and for all that lives by it alone, data of tensors "
			 "in the process included" },
	[OBJECT_DEVICE] = { .key = "device_retained", .unit = UNIT_BYTES,
		.about = "with --retained: data of tensors on devices that "
			 "would go with it" },
	[OBJECT_PREVIEW] = { .key = "preview", .unit = UNIT_TEXT,
		.about = "its value, with --values", .no_key = true },
};

enum field_column {
	FIELD_NAME,
	FIELD_ADDRESS,
	FIELD_TYPE,
	FIELD_PREVIEW,
	NUM_FIELD_COLUMNS
};

static const struct column field_columns[NUM_FIELD_COLUMNS] = {
	[FIELD_NAME] = { .key = "name", .title = "name", .unit = UNIT_TEXT },
	[FIELD_ADDRESS] = { .key = "address", .title = "address",
		.unit = UNIT_ADDRESS, .width = 18 },
	[FIELD_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.width = 40 },
	[FIELD_PREVIEW] = { .key = "preview", .title = "preview",
		.unit = UNIT_TEXT },
};

enum { TOTAL_FIELDS, TOTAL_REFERRERS, NUM_TOTALS };

static const struct column object_totals[NUM_TOTALS] = {
	[TOTAL_FIELDS] = { .key = "fields", .unit = UNIT_COUNT,
		.about = "references that it has, shown or not" },
	[TOTAL_REFERRERS] = { .key = "referrers", .unit = UNIT_COUNT,
		.about = "roots and objects that hold it, shown or not" },
};

static struct error *run(struct scan *scan);

const struct view cmd_object_view = {
	.name = "object",
	.bit = VIEW_OBJECT,
	.about = "one object whole, with what it refers to",
	.columns = object_columns,
	.num_columns = NUM_OBJECT_COLUMNS,
	.totals = object_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.argument = "ADDR",
	.remark =
"ADDR is where the object is, as other views print it (0x...); an address\n"
"inside of an object stands for it. A row has `fields` in JSON: an array of\n"
"name, address, type and, with --values, preview of what it refers to:\n"
"attributes and fields by name, then items, as many in all as --top says; and\n"
"`referrers`: the address, type and reference (edge) of who holds it, roots\n"
"first, which have no address and type; `outside`: address and bytes of memory\n"
"that it owns outside of itself. An array of numpy has `array`: dtype, shape,\n"
"strides, data_ptr, bytes, owns_data, and base and base_type of whose data it is.\n"
"Where the process traced its allocations\n"
"it has `allocated`: file and line, and in `traceback` those of each frame that\n"
"was kept, the most recent call first.\n",
};

/** What is needed to look at one object. */
struct inspection {
	struct scan *scan;
	const struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;	/* borrowed */
	struct previews *previews;	/* NULL: no values are shown */
	struct allocation allocation;
	struct outside outside;
	struct memory_reader memory;
	struct pyh_type_reader types;
	struct pyh_lookup lookup;
	uint64_t fields;	/* seen so far */
	uint64_t elements;	/* of a set, seen so far */
	uint64_t attributes;	/* address of the dict they are in, 0: none */
	bool table;		/* fields are rows of a table, for people */
	struct referrers referrers;
	const struct analysis *analysis;	/* NULL: not asked for */
};

/* --- opening -------------------------------------------------------------- */

static void inspection_deinit(struct inspection *inspection)
{
	referrers_deinit(&inspection->referrers);
	previews_close(inspection->previews);
	allocation_deinit(&inspection->allocation);
	memory_reader_deinit(&inspection->memory);
	pyh_type_reader_deinit(&inspection->types);
}

/** By --retained, or by a condition that is about it. */
static bool wants_retained(const struct scan *scan)
{
	return scan->options->retained ||
	       scan->gate.row_column == OBJECT_RETAINED ||
	       scan->gate.row_column == OBJECT_DEVICE;
}

static struct error *inspection_init(struct inspection *inspection,
				     struct scan *scan)
{
	struct pyh_runtime *runtime = NULL;
	struct pyh_types *types = NULL;
	struct error *err = NULL;

	inspection->scan = scan;
	if (wants_retained(scan))
		err = analysis_of(scan->opened, ANALYSIS_DOMINATORS,
				  &inspection->analysis);
	if (!err)
		err = opened_runtime(scan->opened, &runtime);
	if (!err)
		err = opened_types(scan->opened, &types);
	inspection->runtime = runtime;
	if (!err)
		err = opened_shapes(scan->opened, &inspection->shapes);
	if (!err)
		err = memory_reader_init(&inspection->memory,
					 runtime->image->memory);
	if (!err)
		err = pyh_type_reader_init(&inspection->types, types);
	if (!err && scan->options->values)
		err = previews_open(scan->opened, &inspection->previews);
	return err;
}

static const char *type_name(struct inspection *inspection, uint64_t object)
{
	const struct pyh_type *type = NULL;
	uint64_t address;

	if (memory_try_u64(&inspection->memory,
			   object + pyh_offset(inspection->runtime,
					       PYH_OBJECT_OB_TYPE),
			   &address))
		type = pyh_type_find(&inspection->types, address);
	return type ? type->name : NULL;
}

/* --- the object itself ---------------------------------------------------- */

/** Look for a GC head in a list; false where that took too long. */
static bool search_list(struct inspection *inspection, uint64_t list,
			uint64_t head, unsigned int *steps, bool *found)
{
	uint64_t at = list;

	*found = false;
	do {
		if (!memory_try_u64(&inspection->memory, at, &at) ||
		    (*steps)-- == 0)
			return false;
		at &= ~UINT64_C(3);
		if (at == head) {
			*found = true;
			return true;
		}
	} while (at != list);
	return true;
}

enum { GENERATION_OLD = 2, GENERATION_FROZEN = 3, GENERATION_UNKNOWN = -1 };

/**
 * Which list of the collector a tracked object is in. The others are looked
 * through; what is not in them is in the oldest generation.
 */
static int generation_of(struct inspection *inspection)
{
	enum { GC_BITS_FROZEN = 1 << 3 };	/* _PyGC_BITS_FROZEN */
	static const int order[] = { 0, 1, GENERATION_FROZEN };
	const struct pyh_runtime *runtime = inspection->runtime;
	uint64_t head = inspection->lookup.object.address - PYH_GC_HEAD;
	unsigned int steps = GENERATION_STEPS;
	uint64_t bits;
	bool found;

	// There is but one in free-threaded builds; what is frozen has a bit.
	if (runtime->free_threaded)
		return pyh_field(runtime, &inspection->memory,
				 inspection->lookup.object.address,
				 PYH_OBJECT_OB_GC_BITS, &bits) &&
				       bits & GC_BITS_FROZEN ?
			       GENERATION_FROZEN : GENERATION_UNKNOWN;
	for (size_t i = 0; i < runtime->num_interpreters; i++) {
		const struct pyh_interpreter *interpreter =
			&runtime->interpreters[i];

		if (interpreter->collecting)
			return GENERATION_UNKNOWN;
		for (size_t j = 0; j < sizeof(order) / sizeof(order[0]); j++) {
			uint64_t list = interpreter->gc_heads[order[j]];

			if (list == 0 || !search_list(inspection, list, head,
						      &steps, &found))
				return GENERATION_UNKNOWN;
			if (found)
				return order[j];
		}
	}
	return GENERATION_OLD;
}

/** Whether its finalizer was called: a bit of its GC head or of its header. */
static bool was_finalized(struct inspection *inspection)
{
	enum { IN_PREV = 1, IN_BITS = 2 };	/* _PyGC_…_FINALIZED */
	const struct pyh_object *object = &inspection->lookup.object;
	const struct pyh_runtime *runtime = inspection->runtime;
	uint64_t word;

	if (!object->gc_tracked)
		return false;
	if (runtime->free_threaded)
		return pyh_field(runtime, &inspection->memory, object->address,
				 PYH_OBJECT_OB_GC_BITS, &word) &&
		       word & IN_BITS;
	return memory_try_u64(&inspection->memory, object->address - 8,
			      &word) && word & IN_PREV;
}

enum { FLAGS_MAX = 64 };

/** Words about the object, or NULL. */
static const char *flags_of(struct inspection *inspection, int generation,
			    char text[FLAGS_MAX])
{
	const struct pyh_object *object = &inspection->lookup.object;
	const struct pyh_runtime *runtime = inspection->runtime;
	uint64_t word;

	text[0] = '\0';
	// Memory of the allocator may begin right behind a module's.
	if (inspection->lookup.block == 0 && !object->gc_tracked &&
	    pyh_on_module(runtime->image, object->address))
		(void)strcat(text, "static ");
	// Two bits of the state, whatever the release.
	if (object->type->kind == PYH_KIND_STR &&
	    pyh_field(runtime, &inspection->memory, object->address,
		      PYH_ASCII_STATE, &word) && word & 3)
		(void)strcat(text, "interned ");
	if (generation == GENERATION_FROZEN)
		(void)strcat(text, "frozen ");
	if (was_finalized(inspection))
		(void)strcat(text, "finalized ");
	if (text[0] == '\0')
		return NULL;
	text[strlen(text) - 1] = '\0';
	return text;
}

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

/** @param column  OBJECT_RETAINED or OBJECT_DEVICE */
static struct cell retained_cell(const struct inspection *inspection,
				 int column)
{
	const struct analysis *analysis = inspection->analysis;
	uint32_t number = analysis ?
		heapgraph_find(analysis->heap,
			       inspection->lookup.object.address) : GRAPH_NONE;

	if (number == GRAPH_NONE)
		return cell_unknown();
	if (column == OBJECT_RETAINED)
		return cell_number(UNIT_BYTES,
				   analysis->dominators.retained[number]);
	return heldbytes_has_device(analysis->held) ?
		cell_number(UNIT_BYTES,
			    heldbytes_device(analysis->held, number)) :
		cell_unknown();
}

/** The texts must live as long as the cells. */
static void object_cells(struct inspection *inspection, char flags[FLAGS_MAX],
			 char preview[PREVIEW_MAX],
			 struct cell cells[NUM_OBJECT_COLUMNS])
{
	const struct pyh_object *object = &inspection->lookup.object;
	int generation = object->gc_tracked ? generation_of(inspection) :
					      GENERATION_UNKNOWN;

	cells[OBJECT_ADDRESS] = cell_number(UNIT_ADDRESS, object->address);
	cells[OBJECT_TYPE] = cell_text(object->type->name);
	cells[OBJECT_SIZE] = cell_number(UNIT_BYTES, object->size);
	cells[OBJECT_REFCOUNT] = object->immortal ?
		cell_unknown() : cell_number(UNIT_COUNT, object->refcount);
	cells[OBJECT_EVIDENCE] = cell_text(evidence_text(object->evidence));
	cells[OBJECT_FOOTPRINT] = cell_number(UNIT_BYTES, object->footprint);
	cells[OBJECT_TYPE_ADDRESS] = cell_number(UNIT_ADDRESS,
						 object->type->address);
	cells[OBJECT_SIZE_EXACT] = cell_number(UNIT_BOOL, object->size_exact);
	cells[OBJECT_IMMORTAL] = cell_number(UNIT_BOOL, object->immortal);
	cells[OBJECT_GC_TRACKED] = cell_number(UNIT_BOOL, object->gc_tracked);
	cells[OBJECT_GENERATION] =
		generation >= 0 && generation <= GENERATION_OLD ?
			cell_number(UNIT_ID, (uint64_t)generation) :
			cell_unknown();
	cells[OBJECT_FLAGS] = cell_text(flags_of(inspection, generation,
						 flags));
	cells[OBJECT_RETAINED] = retained_cell(inspection, OBJECT_RETAINED);
	cells[OBJECT_DEVICE] = retained_cell(inspection, OBJECT_DEVICE);
	cells[OBJECT_PREVIEW] = cell_text(previews_text(
		inspection->previews, object->address, preview));
}

/** The object for people, in lines. */
static void put_lines(struct inspection *inspection, const struct cell *cells)
{
	struct render *render = &inspection->scan->render;
	const struct pyh_object *object = &inspection->lookup.object;
	char name[RENDER_NAME_MAX], size[UNITS_TEXT_MAX];
	char footprint[UNITS_TEXT_MAX], refcount[UNITS_TEXT_MAX];
	const struct cell *generation = &cells[OBJECT_GENERATION];

	render_head(render, "OBJECT");
	render_line(render, "  address    0x%" PRIx64 "%s%s", object->address,
		    cells[OBJECT_FLAGS].known ? ", " : "",
		    cells[OBJECT_FLAGS].known ? cells[OBJECT_FLAGS].text : "");
	render_line(render, "  type       %s",
		    render_name(render, object->type->name, LINE_NAME, name));
	render_line(render, "  size       %s%s, footprint %s",
		    object->size_exact ? "" : "at least ",
		    units_size(object->size, size),
		    units_size(object->footprint, footprint));
	if (cells[OBJECT_RETAINED].known)
		render_line(render, "  retained   %s",
			    units_size(cells[OBJECT_RETAINED].number, size));
	if (cells[OBJECT_DEVICE].known)
		render_line(render, "  on devices %s",
			    units_size(cells[OBJECT_DEVICE].number, size));
	render_line(render, "  refcount   %s", object->immortal ? "immortal" :
		    units_count(object->refcount, refcount));
	if (generation->known)
		render_line(render, "  collector  tracked, generation %" PRIu64,
			    generation->number);
	else
		render_line(render, "  collector  %s", object->gc_tracked ?
			    "tracked" : "not tracked");
	render_line(render, "  evidence   %s",
		    evidence_text(object->evidence));
	if (cells[OBJECT_PREVIEW].known)
		render_line(render, "  value      %s",
			    render_name(render, cells[OBJECT_PREVIEW].text,
					LINE_VALUE, name));
	outside_put_lines(&inspection->outside, render);
	allocation_put_lines(&inspection->allocation, render);
	render_gap(render);
}

/* --- fields --------------------------------------------------------------- */

/** Print one field, if there is room for it. */
static void put_field(struct inspection *inspection, const char *name,
		      uint64_t address)
{
	struct scan *scan = inspection->scan;
	char preview[PREVIEW_MAX];
	struct cell cells[NUM_FIELD_COLUMNS] = {
		[FIELD_NAME] = cell_text(name),
		[FIELD_ADDRESS] = cell_number(UNIT_ADDRESS, address),
	};

	inspection->fields++;
	if (scan->options->top && inspection->fields > scan->options->top)
		return;
	cells[FIELD_TYPE] = cell_text(type_name(inspection, address));
	cells[FIELD_PREVIEW] = cell_text(previews_text(inspection->previews,
						       address, preview));
	if (inspection->table)
		render_row(&scan->render, cells);
	else
		render_nested_row(&scan->render, field_columns, cells,
				  NUM_FIELD_COLUMNS);
}

/**
 * Names of attributes stand in code. Of a dict that is used as a mapping, even
 * one of attributes, what is no identifier is a value.
 */
static bool is_identifier(const char *text)
{
	for (size_t i = 0; text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		if (!(c == '_' || c >= 0x80 || (c | 32u) - 'a' < 26 ||
		      (i > 0 && c >= '0' && c <= '9')))
			return false;
	}
	return text[0] != '\0';
}

static bool is_kind(struct inspection *inspection, uint64_t object,
		    enum pyh_kind kind)
{
	const struct pyh_type *type = NULL;
	uint64_t address;

	if (memory_try_u64(&inspection->memory,
			   object + pyh_offset(inspection->runtime,
					       PYH_OBJECT_OB_TYPE),
			   &address))
		type = pyh_type_find(&inspection->types, address);
	return type && type->kind == kind;
}

/** The text of a name, if it is one. */
static bool read_name(struct inspection *inspection, uint64_t key,
		      char name[NAME_MAX_BYTES])
{
	struct pyh_str str;

	return is_kind(inspection, key, PYH_KIND_STR) &&
	       pyh_str_read(inspection->runtime, &inspection->memory, key,
			    &str) == PYH_FOUND &&
	       pyh_str_copy(&inspection->memory, &str, name, NAME_MAX_BYTES) &&
	       is_identifier(name);
}

/** "['key']" where values may be shown, else which entry it is. */
static void name_entry(struct inspection *inspection, uint64_t key,
		       uint64_t index, char name[NAME_MAX_BYTES])
{
	char preview[PREVIEW_MAX];

	if (previews_text(inspection->previews, key, preview))
		(void)snprintf(name, NAME_MAX_BYTES, "[%s]", preview);
	else
		(void)snprintf(name, NAME_MAX_BYTES, "entry %" PRIu64, index);
}

static void put_attribute(struct inspection *inspection, uint64_t key,
			  uint64_t index, uint64_t value)
{
	char name[NAME_MAX_BYTES];

	if (!read_name(inspection, key, name))
		name_entry(inspection, key, index, name);
	put_field(inspection, name, value);
}

/** A key that is a str stands in the name of its value. */
static void put_key(struct inspection *inspection, const struct pyh_ref *ref)
{
	enum pyh_kind kind = inspection->lookup.object.type->kind;
	char name[NAME_MAX_BYTES];

	if (kind == PYH_KIND_SET)
		(void)snprintf(name, sizeof(name), "element %" PRIu64,
			       inspection->elements++);
	else if (is_kind(inspection, ref->address, PYH_KIND_STR))
		return;
	else
		(void)snprintf(name, sizeof(name), "key %" PRIu64, ref->index);
	put_field(inspection, name, ref->address);
}

static bool see_reference(void *context, const struct pyh_ref *ref)
{
	struct inspection *inspection = context;
	char name[NAME_MAX_BYTES];

	switch (ref->kind) {
	case PYH_REF_TYPE:
		put_field(inspection, "__class__", ref->address);
		break;
	case PYH_REF_DICT:
		inspection->attributes = ref->address;
		put_field(inspection, "__dict__", ref->address);
		break;
	case PYH_REF_FIELD:
		put_field(inspection, ref->name, ref->address);
		break;
	case PYH_REF_ATTRIBUTE:
		// Those that a dict has, too, are shown with it.
		if (!inspection->attributes)
			put_attribute(inspection, ref->key, ref->index,
				      ref->address);
		break;
	case PYH_REF_VALUE:
		name_entry(inspection, ref->key, ref->index, name);
		put_field(inspection, name, ref->address);
		break;
	case PYH_REF_KEY:
		put_key(inspection, ref);
		break;
	case PYH_REF_ITEM:
		(void)snprintf(name, sizeof(name), "[%" PRIu64 "]", ref->index);
		put_field(inspection, name, ref->address);
		break;
	case PYH_REF_LOCAL:
		(void)snprintf(name, sizeof(name), "local %" PRIu64,
			       ref->index);
		put_field(inspection, name, ref->address);
		break;
	case PYH_REF_GUESS:
		if (!lookup_holds(inspection->scan->opened, ref->address))
			break;
		(void)snprintf(name, sizeof(name), "at +%" PRIu64, ref->index);
		put_field(inspection, name, ref->address);
		break;
	}
	return !scan_unread(inspection->scan);
}

/** What is in the dict of attributes. */
static void put_attributes(struct inspection *inspection)
{
	struct pyh_dict_walk walk;
	uint64_t key, value;

	if (!inspection->attributes ||
	    !is_kind(inspection, inspection->attributes, PYH_KIND_DICT) ||
	    pyh_dict_walk(inspection->runtime, &inspection->memory,
			  inspection->attributes, &walk) != PYH_FOUND)
		return;
	while (!scan_unread(inspection->scan) &&
	       pyh_dict_next(&walk, &key, &value))
		put_attribute(inspection, key, walk.next - 1, value);
}

static void put_fields(struct inspection *inspection)
{
	struct pyh_referrer referrer = {
		.runtime = inspection->runtime,
		.shapes = inspection->shapes,
		.type = inspection->lookup.object.type,
		.address = inspection->lookup.object.address,
		.extent = inspection->lookup.extent,
		.memory = &inspection->memory,
	};

	pyh_refs_each(&referrer, see_reference, inspection);
	put_attributes(inspection);
}

/* --- the document --------------------------------------------------------- */

/** A table for people, after the lines about the object. */
static void put_field_table(struct inspection *inspection)
{
	const struct options *options = inspection->scan->options;
	struct render *render = &inspection->scan->render;
	char number[UNITS_TEXT_MAX];

	inspection->table = true;
	render_table(render, &(struct table_spec){
		.json_key = "fields", .title = "FIELDS",
		.columns = field_columns,
		.num_columns = inspection->previews ? NUM_FIELD_COLUMNS :
						      FIELD_PREVIEW,
	});
	put_fields(inspection);
	render_table_end(render);
	if (options->top && inspection->fields > options->top)
		render_line(render, "  %s more (--top 0 shows all)",
			    units_count(inspection->fields - options->top,
					number));
}

/** A row with an array, for programs. */
static void put_row(struct inspection *inspection,
		    const struct pyh_naming *naming, const struct cell *cells)
{
	struct render *render = &inspection->scan->render;

	render_table(render, &(struct table_spec){
		.json_key = "rows", .columns = object_columns,
		.num_columns = NUM_OBJECT_COLUMNS,
	});
	render_row_open(render, cells);
	render_nested(render, "fields");
	put_fields(inspection);
	render_nested_end(render);
	outside_put_row(&inspection->outside, render);
	allocation_put_row(&inspection->allocation, render);
	render_nested(render, "referrers");
	referrer_rows_nested(&inspection->referrers, render, naming);
	render_nested_end(render);
	render_row_close(render);
	render_table_end(render);
}

static void print(struct inspection *inspection)
{
	struct scan *scan = inspection->scan;
	struct cell cells[NUM_OBJECT_COLUMNS], totals[NUM_TOTALS];
	char flags[FLAGS_MAX], preview[PREVIEW_MAX];
	struct pyh_naming naming = {
		.runtime = inspection->runtime, .types = &inspection->types,
		.memory = &inspection->memory,
		.values = previews_reader(inspection->previews),
	};

	scan_begin(scan, "object");
	object_cells(inspection, flags, preview, cells);
	gate_row(&scan->gate, cells);
	if (render_for_people(&scan->render)) {
		put_lines(inspection, cells);
		put_field_table(inspection);
		referrer_rows_table(&inspection->referrers, &scan->render,
				    &naming);
	} else {
		put_row(inspection, &naming, cells);
	}
	totals[TOTAL_REFERRERS] = cell_number(UNIT_COUNT,
					      inspection->referrers.total);
	totals[TOTAL_FIELDS] = cell_number(UNIT_COUNT, inspection->fields);
	render_object(&scan->render, "totals", object_totals, totals,
		      NUM_TOTALS);
	render_end(&scan->render);
	gate_totals(&scan->gate, totals);
}

static struct error *no_object(struct inspection *inspection, uint64_t address)
{
	struct pyh_census *census;
	struct error *err = opened_census(inspection->scan->opened, &census);

	return err ? err : notobject_error(inspection->scan->opened, census,
					   &inspection->lookup, address);
}

/** By the graph where there is one, else a look at all objects. */
static struct error *find_referrers(struct inspection *inspection)
{
	struct opened *opened = inspection->scan->opened;
	const struct analysis *analysis = *opened_analysis(opened);
	struct referrers_options options = {
		.runtime = inspection->runtime, .shapes = inspection->shapes,
		.heap = analysis ? analysis->heap : NULL,
		.limit = inspection->scan->options->top,
	};
	struct error *err = analysis ? NULL :
				       opened_census(opened, &options.census);

	return err ? err : referrers_find(&options, &inspection->lookup.object,
					  &inspection->referrers);
}

static struct error *run(struct scan *scan)
{
	uint64_t address = scan->options->address;
	CLEANUP(inspection_deinit) struct inspection inspection = { 0 };
	const struct pyh_object *object = &inspection.lookup.object;
	struct error *err = inspection_init(&inspection, scan);

	if (err)
		return err;
	err = lookup_at(scan->opened, address, &inspection.lookup);
	if (err)
		return err;
	if (inspection.lookup.place != PYH_PLACE_OBJECT)
		return no_object(&inspection, address);
	err = allocation_find(inspection.runtime, &inspection.memory, object,
			      &inspection.allocation);
	if (!err)
		err = find_referrers(&inspection);
	if (err)
		return err;
	outside_find(inspection.runtime, &inspection.memory, &inspection.types,
		     object, &inspection.outside);
	if (address > object->address)
		scan_remark(scan, "0x%" PRIx64 " is %" PRIu64 " bytes inside "
			    "of the %s at 0x%" PRIx64 ", which is shown", address,
			    address - object->address, object->type->name,
			    object->address);
	else if (address < object->address)
		scan_remark(scan, "0x%" PRIx64 " is %" PRIu64 " bytes before "
			    "the %s at 0x%" PRIx64 ", whose memory it is; that "
			    "object is shown", address,
			    object->address - address, object->type->name,
			    object->address);
	print(&inspection);
	return NULL;
}
