/*
 * `malloc --by owner`: who holds the chunks of malloc, and which are leaked.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/malloc/chunkgroups.h"
#include "analyzer/malloc/cxxclasses.h"
#include "analyzer/malloc/mallocheap.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum owner_column {
	OWNER_NAME,
	OWNER_KIND,
	OWNER_CHUNKS,
	OWNER_SIZE,
	OWNER_SHARE,
	OWNER_OBJECTS,
	OWNER_BUFFERS,
	OWNER_REFERRED,
	OWNER_INSIDE,
	OWNER_SAMPLE,
	OWNER_TYPE_ADDRESS,
	NUM_OWNER_COLUMNS
};

static const struct column owner_columns[NUM_OWNER_COLUMNS] = {
	[OWNER_NAME] = { .key = "owner", .title = "owner", .unit = UNIT_TEXT,
		.about = "a type of Python, a module whose data it is, a thread "
			 "by its number, or what kind says" },
	[OWNER_KIND] = { .key = "kind", .title = "kind", .unit = UNIT_TEXT,
		.about = "type; allocator: blocks of Python's own one that are "
			 "no objects; module: its data; thread: stack, "
			 "registers, thread-local data; memory: other memory; "
			 "leaked: nothing leads there; leaked with: only what "
			 "is leaked leads there" },
	[OWNER_CHUNKS] = { .key = "chunks", .title = "chunks", .unit = UNIT_COUNT,
		.about = "in use" },
	[OWNER_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES,
		.about = "of them, with their headers" },
	[OWNER_SHARE] = { .key = "share", .title = "share", .unit = UNIT_SHARE,
		.about = "size, of all that is in use" },
	[OWNER_OBJECTS] = { .key = "objects", .title = "objects", .unit = UNIT_BYTES,
		.about = "of size: an object of the type lies in it" },
	[OWNER_BUFFERS] = { .key = "buffers", .title = "buffers", .unit = UNIT_BYTES,
		.about = "of size: known to be a buffer or table of one" },
	[OWNER_REFERRED] = { .key = "referred", .title = "referred", .unit = UNIT_BYTES,
		.about = "of size: a pointer leads there, from chunk to chunk "
			 "maybe, and from no type that stands nearer" },
	[OWNER_INSIDE] = { .key = "inside", .title = "inside", .unit = UNIT_BYTES,
		.about = "of referred: only pointers into the middle of a chunk",
		.hidden = true },
	[OWNER_SAMPLE] = { .key = "sample", .title = "largest at", .unit = UNIT_ADDRESS,
		.about = "the memory of the largest of the chunks" },
	[OWNER_TYPE_ADDRESS] = { .key = "type_address", .title = "type at", .unit = UNIT_ADDRESS,
		.about = "of the type object", .hidden = true },
};

enum {
	TOTAL_OWNERS, TOTAL_CHUNKS, TOTAL_SIZE, TOTAL_OBJECTS, TOTAL_BUFFERS,
	TOTAL_REFERRED, TOTAL_LOST, TOTAL_LOST_CHUNKS, TOTAL_WITH,
	TOTAL_WITH_CHUNKS, TOTAL_SCANNED, TOTAL_MISSING, NUM_TOTALS
};

static const struct column owner_totals[NUM_TOTALS] = {
	[TOTAL_OWNERS] = { .key = "owners", .unit = UNIT_COUNT,
		.about = "number of rows" },
	[TOTAL_CHUNKS] = { .key = "chunks", .unit = UNIT_COUNT,
		.about = "in use, mappings of their own among them" },
	[TOTAL_SIZE] = { .key = "size", .unit = UNIT_BYTES,
		.about = "of them" },
	[TOTAL_OBJECTS] = { .key = "objects", .unit = UNIT_BYTES,
		.about = "objects of Python lie in them" },
	[TOTAL_BUFFERS] = { .key = "buffers", .unit = UNIT_BYTES,
		.about = "buffers and tables of objects" },
	[TOTAL_REFERRED] = { .key = "referred", .unit = UNIT_BYTES,
		.about = "pointers lead there, from wherever" },
	[TOTAL_LOST] = { .key = "leaked", .unit = UNIT_BYTES,
		.about = "nothing leads there" },
	[TOTAL_LOST_CHUNKS] = { .key = "leaked_chunks", .unit = UNIT_COUNT,
		.about = "how many those are" },
	[TOTAL_WITH] = { .key = "leaked_with", .unit = UNIT_BYTES,
		.about = "only what is leaked leads there" },
	[TOTAL_WITH_CHUNKS] = { .key = "leaked_with_chunks", .unit = UNIT_COUNT,
		.about = "how many those are" },
	[TOTAL_SCANNED] = { .key = "scanned", .unit = UNIT_BYTES,
		.about = "memory that was looked through for pointers" },
	[TOTAL_MISSING] = { .key = "missing", .unit = UNIT_BYTES,
		.about = "writable memory that is not in the dump: pointers in "
			 "it are not known, and what only they lead to shows "
			 "as leaked" },
};

enum lost_column {
	LOST_CLASS, LOST_CHUNK, LOST_COUNT, LOST_SIZE, LOST_WITH_COUNT,
	LOST_WITH_SIZE, LOST_SAMPLE, LOST_SAMPLE_2, LOST_SAMPLE_3, LOST_SYMBOL,
	NUM_LOST_COLUMNS
};

static const struct column lost_columns[NUM_LOST_COLUMNS] = {
	[LOST_CLASS] = { .key = "class", .title = "C++ class", .unit = UNIT_TEXT },
	[LOST_CHUNK] = { .key = "chunk_size", .title = "each", .unit = UNIT_BYTES },
	[LOST_COUNT] = { .key = "count", .title = "chunks", .unit = UNIT_COUNT },
	[LOST_SIZE] = { .key = "size", .title = "size", .unit = UNIT_BYTES },
	[LOST_WITH_COUNT] = { .key = "with", .title = "with them", .unit = UNIT_COUNT },
	[LOST_WITH_SIZE] = { .key = "with_size", .title = "size", .unit = UNIT_BYTES },
	[LOST_SAMPLE] = { .key = "sample", .title = "first at", .unit = UNIT_ADDRESS },
	[LOST_SAMPLE_2] = { .key = "sample_2", .title = "second at", .unit = UNIT_ADDRESS,
		.hidden = true },
	[LOST_SAMPLE_3] = { .key = "sample_3", .title = "third at", .unit = UNIT_ADDRESS,
		.hidden = true },
	[LOST_SYMBOL] = { .key = "symbol", .title = "symbol", .unit = UNIT_TEXT,
		.hidden = true },
};

static struct error *run(struct scan *scan);

const struct view cmd_mallocowners_view = {
	.name = "malloc",
	.bit = VIEW_MALLOC,
	.columns = owner_columns,
	.num_columns = NUM_OWNER_COLUMNS,
	.totals = owner_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
};

struct owners_view {
	struct scan *scan;
	struct chunk_groups groups;
	struct lost_groups lost;
	struct chunk_coverage coverage;
	bool free_threaded;
	uint64_t size;			/* of all chunks in use */
	size_t *order;			/* numbers of groups, as they are shown */
	size_t shown;
	int column;			/* to sort by; -1: as they are */
};

static void owners_view_deinit(struct owners_view *view)
{
	chunk_groups_deinit(&view->groups);
	lost_groups_deinit(&view->lost);
	free(view->order);
}

/* --- rows ----------------------------------------------------------------------- */

enum { NAME_TEXT = 32 };

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/** The name of an owner, and which kind it is. */
static const char *name_of(const struct owners_view *view,
			   const struct chunk_group *group, char text[NAME_TEXT], const char **ret_kind)
{
	switch (group->owner) {
	case CHUNK_OBJECT:
	case CHUNK_BUFFER:
	case CHUNK_BY_OBJECT:
		*ret_kind = "type";
		return group->type->name;
	case CHUNK_BY_MODULE:
		*ret_kind = "module";
		return base_name(group->module->path);
	case CHUNK_BY_THREAD:
		*ret_kind = "thread";
		(void)snprintf(text, NAME_TEXT, "thread %u", group->tid);
		return text;
	case CHUNK_BY_PYMALLOC:
		*ret_kind = "allocator";
		return view->free_threaded ? "mimalloc" : "pymalloc";
	case CHUNK_BY_MEMORY:
		*ret_kind = "memory";
		return "other memory";
	case CHUNK_LOST:
		*ret_kind = "leaked";
		return "nobody";
	case CHUNK_LOST_WITH:
		*ret_kind = "leaked with";
		return "nobody but what is leaked";
	case CHUNK_UNUSED:
	case CHUNK_NUM_OWNERS:
		break;
	}
	return *ret_kind = "?";
}

static struct cell bytes(uint64_t number)
{
	return cell_number(UNIT_BYTES, number);
}

static struct cell count_cell(uint64_t number)
{
	return cell_number(UNIT_COUNT, number);
}

static uint64_t referred(const struct chunk_group *group)
{
	uint64_t sum = 0;

	for (int i = CHUNK_BY_OBJECT; i <= CHUNK_BY_MEMORY; i++)
		sum += group->parts[i].bytes;
	return sum;
}

static void group_cells(const struct owners_view *view, size_t i,
			char text[NAME_TEXT],
			struct cell cells[NUM_OWNER_COLUMNS])
{
	const struct chunk_group *group = &view->groups.items[i];
	const char *kind;

	cells[OWNER_NAME] = cell_text(name_of(view, group, text, &kind));
	cells[OWNER_KIND] = cell_text(kind);
	cells[OWNER_CHUNKS] = count_cell(group->all.count);
	cells[OWNER_SIZE] = bytes(group->all.bytes);
	cells[OWNER_SHARE] = cell_part(group->all.bytes, view->size);
	cells[OWNER_OBJECTS] = bytes(group->parts[CHUNK_OBJECT].bytes);
	cells[OWNER_BUFFERS] = bytes(group->parts[CHUNK_BUFFER].bytes);
	cells[OWNER_REFERRED] = bytes(referred(group));
	cells[OWNER_INSIDE] = bytes(group->inside.bytes);
	cells[OWNER_SAMPLE] = cell_number(UNIT_ADDRESS, group->sample);
	cells[OWNER_TYPE_ADDRESS] = group->type ?
		cell_number(UNIT_ADDRESS, group->type->address) :
		cell_unknown();
}

static int order(const void *a, const void *b, void *context)
{
	const struct owners_view *view = context;
	size_t left = *(const size_t *)a, right = *(const size_t *)b;
	struct cell lefts[NUM_OWNER_COLUMNS], rights[NUM_OWNER_COLUMNS];
	char texts[2][NAME_TEXT];
	int result;

	group_cells(view, left, texts[0], lefts);
	group_cells(view, right, texts[1], rights);
	result = cell_compare(lefts[view->column], rights[view->column]);
	return result ? result : (left > right) - (left < right);
}

static void make_totals(const struct owners_view *view,
			struct cell totals[NUM_TOTALS])
{
	struct chunk_sum parts[CHUNK_NUM_OWNERS] = { { 0 } };
	uint64_t count = 0, leads = 0;

	for (size_t i = 0; i < view->groups.count; i++) {
		const struct chunk_group *group = &view->groups.items[i];

		count += group->all.count;
		leads += referred(group);
		for (int j = 0; j < CHUNK_NUM_OWNERS; j++) {
			parts[j].count += group->parts[j].count;
			parts[j].bytes += group->parts[j].bytes;
		}
	}
	totals[TOTAL_OWNERS] = count_cell(view->groups.count);
	totals[TOTAL_CHUNKS] = count_cell(count);
	totals[TOTAL_SIZE] = bytes(view->size);
	totals[TOTAL_OBJECTS] = bytes(parts[CHUNK_OBJECT].bytes);
	totals[TOTAL_BUFFERS] = bytes(parts[CHUNK_BUFFER].bytes);
	totals[TOTAL_REFERRED] = bytes(leads);
	totals[TOTAL_LOST] = bytes(parts[CHUNK_LOST].bytes);
	totals[TOTAL_LOST_CHUNKS] = count_cell(parts[CHUNK_LOST].count);
	totals[TOTAL_WITH] = bytes(parts[CHUNK_LOST_WITH].bytes);
	totals[TOTAL_WITH_CHUNKS] = count_cell(parts[CHUNK_LOST_WITH].count);
	totals[TOTAL_SCANNED] = bytes(view->coverage.scanned);
	totals[TOTAL_MISSING] = bytes(view->coverage.missing);
}

/* --- printing ------------------------------------------------------------------- */

/** Sums of the rows from this one of the order on. */
static void put_rest(struct owners_view *view)
{
	struct cell sums[NUM_OWNER_COLUMNS], row[NUM_OWNER_COLUMNS];
	size_t more = view->groups.count - view->shown;
	char text[64], number[UNITS_TEXT_MAX], name[NAME_TEXT];
	uint64_t size = 0;

	if (more == 0)
		return;
	for (int i = 0; i < NUM_OWNER_COLUMNS; i++)
		sums[i] = cell_unknown();
	for (size_t i = view->shown; i < view->groups.count; i++) {
		group_cells(view, view->order[i], name, row);
		size += row[OWNER_SIZE].number;
		for (int j = OWNER_CHUNKS; j <= OWNER_INSIDE; j++) {
			if (j != OWNER_SHARE)
				sums[j] = cell_number(row[j].unit,
						      row[j].number +
						      (sums[j].known ?
						       sums[j].number : 0));
		}
	}
	sums[OWNER_SHARE] = cell_part(size, view->size);
	(void)snprintf(text, sizeof(text), "%s more owner%s",
		       units_count(more, number), more == 1 ? "" : "s");
	sums[OWNER_NAME] = cell_text(text);
	render_rest(&view->scan->render, sums);
}

static void put_owners(struct owners_view *view)
{
	struct render *render = &view->scan->render;

	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = "MALLOC  by owner",
		.columns = owner_columns, .num_columns = NUM_OWNER_COLUMNS });
	for (size_t i = 0; i < view->shown && !scan_unread(view->scan); i++) {
		struct cell cells[NUM_OWNER_COLUMNS];
		char text[NAME_TEXT];

		group_cells(view, view->order[i], text, cells);
		render_row(render, cells);
	}
	put_rest(view);
	render_table_end(render);
}

static size_t bounded(const struct owners_view *view, size_t count)
{
	uint64_t top = view->scan->options->top;

	return top == 0 || top > count ? count : (size_t)top;
}

static struct cell address_cell(uint64_t address)
{
	return address ? cell_number(UNIT_ADDRESS, address) : cell_unknown();
}

static void put_lost(struct owners_view *view)
{
	struct render *render = &view->scan->render;
	size_t shown = bounded(view, view->lost.count);
	char number[UNITS_TEXT_MAX];

	if (view->lost.count == 0 && render_for_people(render))
		return;
	render_gap(render);
	render_table(render, &(struct table_spec){
		.json_key = "leaks", .title = "LEAKS  nothing leads to them",
		.columns = lost_columns, .num_columns = NUM_LOST_COLUMNS });
	for (size_t i = 0; i < shown && !scan_unread(view->scan); i++) {
		const struct lost_group *one = &view->lost.items[i];
		char text[DEMANGLE_MAX];

		render_row(render, (struct cell[NUM_LOST_COLUMNS]){
			[LOST_CLASS] = cell_text(
				one->symbol ? cxx_name(one->symbol, text) :
				render_for_people(render) ? "-" : NULL),
			[LOST_CHUNK] = bytes(one->size),
			[LOST_COUNT] = count_cell(one->heads.count),
			[LOST_SIZE] = bytes(one->heads.bytes),
			[LOST_WITH_COUNT] = count_cell(one->with.count),
			[LOST_WITH_SIZE] = bytes(one->with.bytes),
			[LOST_SAMPLE] = address_cell(one->samples[0]),
			[LOST_SAMPLE_2] = address_cell(one->samples[1]),
			[LOST_SAMPLE_3] = address_cell(one->samples[2]),
			[LOST_SYMBOL] = cell_text(one->symbol),
		});
	}
	render_table_end(render);
	if (shown < view->lost.count)
		render_line(render, "  %s more sizes (--top 0 shows all)",
			    units_count(view->lost.count - shown, number));
}

/** For people: what JSON has in its totals. */
static void put_summary(struct owners_view *view,
			const struct cell totals[NUM_TOTALS])
{
	struct render *render = &view->scan->render;
	char texts[5][UNITS_TEXT_MAX];

	if (!render_for_people(render))
		return;
	render_line(render, "used: %s in %s chunk%s: objects %s, buffers of "
		    "objects %s, held by pointers %s",
		    units_size(view->size, texts[0]),
		    units_count(totals[TOTAL_CHUNKS].number, texts[1]),
		    totals[TOTAL_CHUNKS].number == 1 ? "" : "s",
		    units_size(totals[TOTAL_OBJECTS].number, texts[2]),
		    units_size(totals[TOTAL_BUFFERS].number, texts[3]),
		    units_size(totals[TOTAL_REFERRED].number, texts[4]));
	render_line(render, "leaked: %s in %s chunk%s that nothing leads to, and "
		    "%s in %s that only those lead to",
		    units_size(view->lost.heads.bytes, texts[0]),
		    units_count(view->lost.heads.count, texts[1]),
		    view->lost.heads.count == 1 ? "" : "s",
		    units_size(view->lost.with.bytes, texts[2]),
		    units_count(view->lost.with.count, texts[3]));
	if (view->coverage.missing)
		render_line(render, "%s of writable memory are not in the dump: "
			    "what only they lead to shows as leaked",
			    units_size(view->coverage.missing, texts[0]));
}

static void print(struct owners_view *view)
{
	struct scan *scan = view->scan;
	struct cell totals[NUM_TOTALS], cells[NUM_OWNER_COLUMNS];
	char text[NAME_TEXT];

	make_totals(view, totals);
	scan_begin(scan, "malloc");
	render_object(&scan->render, "totals", owner_totals, totals,
		      NUM_TOTALS);
	for (size_t i = 0; i < view->groups.count && gate_open(&scan->gate);
	     i++) {
		group_cells(view, view->order[i], text, cells);
		gate_row(&scan->gate, cells);
	}
	gate_totals(&scan->gate, totals);
	put_owners(view);
	put_summary(view, totals);
	put_lost(view);
	render_end(&scan->render);
}

/* --- gathering ------------------------------------------------------------------ */

static struct error *gather(struct owners_view *view)
{
	struct opened *opened = view->scan->opened;
	const struct pyh_runtime *runtime;
	struct chunkowners *owners = NULL;
	struct glibc_heap *heap = NULL;
	struct error *err = mallocheap_open(opened, NULL, &heap);

	if (!err)
		err = chunkowners_create(opened, heap, &owners);
	if (!err)
		err = chunk_groups_make(owners, &view->groups);
	if (!err)
		err = lost_groups_make(owners, opened_image(opened),
				       &view->lost);
	if (!err)
		view->coverage = chunkowners_coverage(owners);
	runtime = opened_runtime_if_found(opened);
	view->free_threaded = runtime && runtime->free_threaded;
	chunkowners_destroy(owners);
	glibc_heap_close(heap);
	return err;
}

static struct error *put_in_order(struct owners_view *view)
{
	view->order = calloc(view->groups.count + 1, sizeof(*view->order));
	if (!view->order)
		return error_no_memory();
	for (size_t i = 0; i < view->groups.count; i++) {
		view->order[i] = i;
		view->size += view->groups.items[i].all.bytes;
	}
	if (view->column >= 0)
		qsort_r(view->order, view->groups.count, sizeof(*view->order),
			order, view);
	view->shown = bounded(view, view->groups.count);
	return NULL;
}

static struct error *run(struct scan *scan)
{
	CLEANUP(owners_view_deinit) struct owners_view view = {
		.scan = scan, .column = -1,
	};
	const char *sort = scan->options->sort;
	struct error *err;

	for (int i = 0; sort && i < NUM_OWNER_COLUMNS; i++) {
		if (strcmp(owner_columns[i].key, sort) == 0)
			view.column = i;
	}
	err = gather(&view);
	if (!err)
		err = put_in_order(&view);
	if (!err)
		print(&view);
	return err;
}
