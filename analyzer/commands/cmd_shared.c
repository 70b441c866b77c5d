/*
 * `shared`: pages that forked processes still have in common, and why others
 * are no longer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/dump_header.h"
#include "analyzer/heap/family.h"
#include "analyzer/ledger/sharedpages.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum shared_column {
	SHARED_PID,
	SHARED_PARENT,
	SHARED_PAGES,
	SHARED_SAME,
	SHARED_BY_COUNTS,
	SHARED_BY_COLLECTOR,
	SHARED_BY_OTHERS,
	SHARED_OWN,
	SHARED_LEFT_OUT,
	SHARED_RESTORED,
	SHARED_RSS,
	SHARED_PSS,
	SHARED_SMAPS_SHARED,
	SHARED_SMAPS_PRIVATE,
	SHARED_PATH,
	NUM_SHARED_COLUMNS
};

static const struct column shared_columns[NUM_SHARED_COLUMNS] = {
	[SHARED_PID] = { .key = "pid", .title = "pid", .unit = UNIT_ID },
	[SHARED_PARENT] = { .key = "parent", .title = "parent", .unit = UNIT_ID,
		.about = "the process it is compared with; absent: none is there" },
	[SHARED_PAGES] = { .key = "private_memory", .title = "memory", .unit = UNIT_BYTES,
		.about = "private memory in the dump: pages that were written "
			 "to by it or by those it was forked from" },
	[SHARED_SAME] = { .key = "same", .title = "same", .unit = UNIT_BYTES,
		.about = "equal to the parent's, page by page; of a parent: to "
			 "that of a child" },
	[SHARED_BY_COUNTS] = { .key = "counts", .title = "counts", .unit = UNIT_BYTES,
		.about = "pages that differ in reference counts of objects alone" },
	[SHARED_BY_COLLECTOR] = { .key = "collector", .title = "collector", .unit = UNIT_BYTES,
		.about = "that differ in headers of the collector, and at most "
			 "in counts beside" },
	[SHARED_BY_OTHERS] = { .key = "written", .title = "written", .unit = UNIT_BYTES,
		.about = "that differ in other words, too" },
	[SHARED_OWN] = { .key = "new", .title = "new", .unit = UNIT_BYTES,
		.about = "where the parent has nothing" },
	[SHARED_LEFT_OUT] = { .key = "unknown", .title = "unknown", .unit = UNIT_BYTES,
		.about = "not in one of the dumps: data of big buffers, without "
			 "--content full", .hidden = true },
	[SHARED_RESTORED] = { .key = "restored", .title = "put back", .unit = UNIT_BYTES,
		.about = "of same: private all the same, as smaps counts: "
			 "written to, and now as before" },
	[SHARED_RSS] = { .key = "rss", .title = "RSS", .unit = UNIT_BYTES },
	[SHARED_PSS] = { .key = "pss", .title = "PSS", .unit = UNIT_BYTES,
		.about = "with a share alone of what others have, too" },
	[SHARED_SMAPS_SHARED] = { .key = "shared_dirty", .title = "shared dirty", .unit = UNIT_BYTES,
		.about = "as smaps counts", .hidden = true },
	[SHARED_SMAPS_PRIVATE] = { .key = "private_dirty", .title = "private dirty", .unit = UNIT_BYTES,
		.about = "as smaps counts", .hidden = true },
	[SHARED_PATH] = { .key = "path", .title = "dump", .unit = UNIT_TEXT,
		.hidden = true },
};

enum {
	TOTAL_PROCESSES, TOTAL_PAGES, TOTAL_SAME, TOTAL_COUNTS,
	TOTAL_COLLECTOR, TOTAL_WRITTEN, TOTAL_NEW, TOTAL_UNKNOWN,
	TOTAL_RESTORED, TOTAL_ONCE, NUM_TOTALS
};

static const struct column shared_totals[NUM_TOTALS] = {
	[TOTAL_PROCESSES] = { .key = "processes", .unit = UNIT_COUNT,
		.about = "rows" },
	[TOTAL_PAGES] = { .key = "private_memory", .unit = UNIT_BYTES,
		.about = "of all processes, each page as often as there are "
			 "that have it" },
	[TOTAL_SAME] = { .key = "same", .unit = UNIT_BYTES,
		.about = "in children: what sharing saves" },
	[TOTAL_COUNTS] = { .key = "counts", .unit = UNIT_BYTES,
		.about = "in children, as the column" },
	[TOTAL_COLLECTOR] = { .key = "collector", .unit = UNIT_BYTES,
		.about = "in children, as the column" },
	[TOTAL_WRITTEN] = { .key = "written", .unit = UNIT_BYTES,
		.about = "in children, as the column" },
	[TOTAL_NEW] = { .key = "new", .unit = UNIT_BYTES,
		.about = "in children, as the column" },
	[TOTAL_UNKNOWN] = { .key = "unknown", .unit = UNIT_BYTES,
		.about = "in children, as the column" },
	[TOTAL_RESTORED] = { .key = "restored", .unit = UNIT_BYTES,
		.about = "in children, as the column" },
	[TOTAL_ONCE] = { .key = "once", .unit = UNIT_BYTES,
		.about = "private_memory with what is the same counted once" },
};

static struct error *run(struct scan *scan);

const struct view cmd_shared_view = {
	.name = "shared",
	.bit = VIEW_SHARED,
	.about = "pages that forked workers have in common, and what ended it",
	.columns = shared_columns,
	.num_columns = NUM_SHARED_COLUMNS,
	.totals = shared_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.many = true,
	.remark =
"Of the manifest that heapdump --children writes, or of several dumps of one\n"
"tree: each process beside the one it was forked from. A page that is equal at\n"
"the same address is most likely the same page still. One that differs was\n"
"copied when somebody wrote to it: counted references alone (each look at an\n"
"object does so, but for immortal ones, from 3.12 on), or links of the cyclic\n"
"collector, which gc.freeze() before the fork keeps off, or other words.\n"
"Dumps of a tree are made one after the other, and its processes go on between.\n",
};

/** One process. */
struct row {
	struct family_member *member;	/* borrowed */
	struct opened *opened;		/* while it is compared, or a parent */
	uint64_t pid, parent_pid;
	size_t parent;			/* its row; its own: there is none */
	size_t children;		/* that are still to be compared */
	struct shared_pages pages;
	struct shared_marks marks;	/* of a parent */
	uint64_t private, shared;	/* bytes */
	bool is_parent;
	bool known;			/* smaps' numbers are: */
	uint64_t rss, pss, shared_dirty, private_dirty;
};

struct shared_view {
	struct scan *scan;
	struct family *family;
	struct row *rows;
	size_t count;
};

static void shared_view_deinit(struct shared_view *view)
{
	for (size_t i = 0; view->rows && i < view->count; i++) {
		shared_marks_deinit(&view->rows[i].marks);
		if (view->rows[i].opened != view->scan->opened)
			opened_destroy(view->rows[i].opened);
	}
	free(view->rows);
}

/* --- who is whose child -------------------------------------------------- */

static struct error *open_row(struct shared_view *view, struct row *row)
{
	if (row->opened)
		return NULL;
	// The first of the family is open already.
	if (row == view->rows) {
		row->opened = view->scan->opened;
		return NULL;
	}
	return opened_create(row->member->path, view->scan->options,
			     &row->opened);
}

static void close_row(struct shared_view *view, struct row *row)
{
	if (row->opened != view->scan->opened)
		opened_destroy(row->opened);
	row->opened = NULL;
}

/** What the notes say: ids as the manifest has them, and smaps' numbers. */
static void read_notes(struct row *row)
{
	const struct image *image = opened_image(row->opened);
	const struct core_notes *notes = &image->notes;

	row->pid = row->member->pid;
	row->parent_pid = row->member->parent;
	if (!row->pid && !core_notes_number(notes, FORMAT_FACT_HOST_PID,
					    &row->pid))
		row->pid = notes->pid;
	if (!row->member->pid)
		row->parent_pid = notes->ppid;
	(void)core_notes_number(notes, FORMAT_FACT_RSS, &row->rss);
	row->known = core_notes_number(notes, FORMAT_FACT_PSS, &row->pss) &&
		     core_notes_number(notes, FORMAT_FACT_SHARED_DIRTY,
				       &row->shared_dirty) &&
		     core_notes_number(notes, FORMAT_FACT_PRIVATE_DIRTY,
				       &row->private_dirty);
	row->private = shared_private_bytes(image);
}

static struct error *look_at_all(struct shared_view *view)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < view->count; i++) {
		struct row *row = &view->rows[i];

		err = open_row(view, row);
		if (!err)
			read_notes(row);
		if (!err && i > 0)
			close_row(view, row);
	}
	for (size_t i = 0; i < view->count; i++) {
		struct row *row = &view->rows[i];

		row->parent = i;
		for (size_t j = 0; j < view->count; j++)
			if (j != i && view->rows[j].pid == row->parent_pid)
				row->parent = j;
		if (row->parent != i) {
			view->rows[row->parent].children++;
			view->rows[row->parent].is_parent = true;
		}
	}
	return err;
}

/* --- comparing ----------------------------------------------------------- */

/** The parent's Python, if it is one. */
static struct error *pythons(struct row *parent,
			     struct shared_question *question)
{
	struct pyh_runtime *runtime = NULL;
	struct error *err = opened_runtime(parent->opened, &runtime);

	if (!err)
		err = opened_types(parent->opened, &question->types);
	if (err && err->kind != ERROR_NO_MEMORY) {
		error_free(err);
		return NULL;
	}
	question->runtime = runtime;
	return err;
}

static struct error *compare(struct shared_view *view, struct row *child)
{
	struct row *parent = &view->rows[child->parent];
	struct shared_question question = { .marks = &parent->marks };
	struct error *err = open_row(view, parent);

	if (!err)
		err = open_row(view, child);
	if (err)
		return err;
	question.parent = opened_image(parent->opened);
	question.child = opened_image(child->opened);
	question.workers = opened_workers(child->opened);
	if (!parent->marks.bits)
		err = shared_marks_init(&parent->marks, question.parent);
	if (!err)
		err = pythons(parent, &question);
	if (!err)
		err = shared_pages_compare(&question, &child->pages);
	if (err || --parent->children > 0)
		return err;
	parent->shared = shared_marks_bytes(&parent->marks, question.parent);
	shared_marks_deinit(&parent->marks);
	return NULL;
}

/** Children of one parent one after the other, so that two are open at once. */
static struct error *compare_all(struct shared_view *view)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < view->count; i++) {
		if (!view->rows[i].is_parent)
			continue;
		for (size_t j = 0; !err && j < view->count; j++) {
			if (view->rows[j].parent != i || j == i)
				continue;
			err = compare(view, &view->rows[j]);
			close_row(view, &view->rows[j]);
		}
		close_row(view, &view->rows[i]);
	}
	return err;
}

/* --- printing ------------------------------------------------------------ */

static struct cell bytes(uint64_t number)
{
	return cell_number(UNIT_BYTES, number);
}

static bool is_child(const struct shared_view *view, const struct row *row)
{
	return row->parent != (size_t)(row - view->rows);
}

/**
 * Private by smaps, and equal by content; unknown where some of what is private
 * cannot be compared.
 */
static struct cell restored(const struct row *row)
{
	uint64_t differs = 0, rest;

	if (!row->known || row->pages.bytes[SHARED_UNKNOWN])
		return cell_unknown();
	for (int i = SHARED_COUNTS; i < SHARED_UNKNOWN; i++)
		differs += row->pages.bytes[i];
	rest = row->private_dirty > differs ? row->private_dirty - differs : 0;
	return bytes(rest < row->pages.bytes[SHARED_EQUAL] ?
			     rest : row->pages.bytes[SHARED_EQUAL]);
}

static void row_cells(const struct shared_view *view, const struct row *row,
		      struct cell cells[NUM_SHARED_COLUMNS])
{
	for (int i = 0; i < NUM_SHARED_COLUMNS; i++)
		cells[i] = cell_unknown();
	cells[SHARED_PID] = cell_number(UNIT_ID, row->pid);
	cells[SHARED_PAGES] = bytes(row->private);
	cells[SHARED_PATH] = cell_text(row->member->path);
	if (row->rss)
		cells[SHARED_RSS] = bytes(row->rss);
	if (row->known) {
		cells[SHARED_PSS] = bytes(row->pss);
		cells[SHARED_SMAPS_SHARED] = bytes(row->shared_dirty);
		cells[SHARED_SMAPS_PRIVATE] = bytes(row->private_dirty);
	}
	if (is_child(view, row)) {
		cells[SHARED_PARENT] = cell_number(
			UNIT_ID, view->rows[row->parent].pid);
		for (int i = 0; i < NUM_SHARED_CAUSES; i++)
			cells[SHARED_SAME + i] = bytes(row->pages.bytes[i]);
		cells[SHARED_RESTORED] = restored(row);
	} else if (row->is_parent) {
		cells[SHARED_SAME] = bytes(row->shared);
	}
}

static void make_totals(const struct shared_view *view,
			struct cell totals[NUM_TOTALS])
{
	bool told = true;

	for (int i = 0; i < NUM_TOTALS; i++)
		totals[i] = bytes(0);
	totals[TOTAL_PROCESSES] = cell_number(UNIT_COUNT, view->count);
	for (size_t i = 0; i < view->count; i++) {
		const struct row *row = &view->rows[i];

		totals[TOTAL_PAGES].number += row->private;
		for (int j = 0; j < NUM_SHARED_CAUSES; j++)
			totals[TOTAL_SAME + j].number += row->pages.bytes[j];
		if (is_child(view, row) && restored(row).known)
			totals[TOTAL_RESTORED].number += restored(row).number;
		else if (is_child(view, row))
			told = false;
	}
	if (!told)
		totals[TOTAL_RESTORED] = cell_unknown();
	totals[TOTAL_ONCE] = bytes(totals[TOTAL_PAGES].number -
				   totals[TOTAL_SAME].number);
}

/** For people: what it comes to, and what would help. */
static void put_summary(struct shared_view *view,
			const struct cell totals[NUM_TOTALS])
{
	struct render *render = &view->scan->render;
	char texts[4][UNITS_TEXT_MAX];
	uint64_t collector = totals[TOTAL_COLLECTOR].number;

	render_line(render, "private memory of all: %s, of that %s once more "
		    "what a parent has; %s without",
		    units_size(totals[TOTAL_PAGES].number, texts[0]),
		    units_size(totals[TOTAL_SAME].number, texts[1]),
		    units_size(totals[TOTAL_ONCE].number, texts[2]));
	render_line(render, "no longer shared: %s by reference counts alone, %s "
		    "by the collector, %s written to; new %s",
		    units_size(totals[TOTAL_COUNTS].number, texts[0]),
		    units_size(collector, texts[1]),
		    units_size(totals[TOTAL_WRITTEN].number, texts[2]),
		    units_size(totals[TOTAL_NEW].number, texts[3]));
	if (totals[TOTAL_RESTORED].known)
		render_line(render, "gc.freeze() before the fork would have "
			    "kept at most %s, of that written to and put back "
			    "%s",
			    units_size(collector +
				       totals[TOTAL_RESTORED].number, texts[0]),
			    units_size(totals[TOTAL_RESTORED].number,
				       texts[1]));
	else
		render_line(render, "what was written to and put back, as the "
			    "collector does, cannot be told: take dumps with "
			    "--content full");
	if (totals[TOTAL_UNKNOWN].number)
		render_line(render, "not compared, as it is not in the dumps: "
			    "%s", units_size(totals[TOTAL_UNKNOWN].number,
					     texts[0]));
}

static void print(struct shared_view *view)
{
	struct scan *scan = view->scan;
	struct render *render = &scan->render;
	struct cell totals[NUM_TOTALS], cells[NUM_SHARED_COLUMNS];

	make_totals(view, totals);
	scan_begin(scan, "shared");
	render_object(render, "totals", shared_totals, totals, NUM_TOTALS);
	gate_totals(&scan->gate, totals);
	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = "SHARED",
		.columns = shared_columns, .num_columns = NUM_SHARED_COLUMNS });
	for (size_t i = 0; i < view->count; i++) {
		row_cells(view, &view->rows[i], cells);
		if (gate_open(&scan->gate))
			gate_row(&scan->gate, cells);
		render_row(render, cells);
	}
	render_table_end(render);
	if (render_for_people(render))
		put_summary(view, totals);
	render_end(render);
}

static struct error *run(struct scan *scan)
{
	CLEANUP(shared_view_deinit) struct shared_view view = {
		.scan = scan, .family = scan->family,
	};
	struct pyh_runtime *runtime;
	struct error *err = opened_runtime(scan->opened, &runtime);

	// Which Python it is, if it is one, is said of every dump.
	if (err && err->kind == ERROR_NO_MEMORY)
		return err;
	error_free(err);
	view.rows = calloc(view.family->count, sizeof(*view.rows));
	if (!view.rows)
		return error_no_memory();
	view.count = view.family->count;
	for (size_t i = 0; i < view.count; i++)
		view.rows[i].member = &view.family->members[i];
	err = look_at_all(&view);
	if (!err)
		err = compare_all(&view);
	if (!err)
		print(&view);
	return err;
}
