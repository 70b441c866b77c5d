/*
 * The overview: what happened, what takes the memory, what to ask next.
 * SPDX-License-Identifier: Apache-2.0
 *
 * At most 60 lines of 120 columns with --top 20, whatever the dump holds.
 */
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/coverage.h"
#include "analyzer/dump_header.h"
#include "analyzer/suspect_rows.h"
#include "analyzer/suspects.h"
#include "analyzer/type_rows.h"
#include "image/base/guard.h"
#include "image/base/units.h"

static struct error *run(struct scan *scan);

const struct view cmd_overview_view = {
	.name = "overview",
	.bit = VIEW_OVERVIEW,
	.about = "the first screen, when no view is named",
	.columns = type_columns,
	.num_columns = NUM_TYPE_COLUMNS,
	.totals = type_totals,
	.num_totals = NUM_TYPE_TOTALS,
	.run = run,
	.remark =
"Which process, when and why it was dumped, how complete the dump is, and the\n"
"types that take the most memory. --top bounds that table.\n",
};

/** "**name** " or "  name      ": the left edge of a line. */
static const char *label(const struct render *render, const char *name,
			 char text[32])
{
	if (render->format == RENDER_MD)
		(void)snprintf(text, 32, "**%s** ", name);
	else
		(void)snprintf(text, 32, "  %-9s ", name);
	return text;
}

static void tell_dumped(struct scan *scan, const struct dump_header *header)
{
	struct render *render = &scan->render;
	const struct image *image = opened_image(scan->opened);
	char cause[DUMP_HEADER_TEXT], safe[RENDER_NAME_MAX], left[32];
	char method[RENDER_NAME_MAX], content[RENDER_NAME_MAX];
	char pause[UNITS_TEXT_MAX];
	uint64_t ns;
	bool paused = core_notes_number(&image->notes, FORMAT_FACT_PAUSE, &ns);

	dump_header_cause(header, image, cause);
	(void)render_name(render, header->method, 24, method);
	(void)render_name(render, header->content, 24, content);
	render_line(render, "%s%s%s%s%s%s%s%s",
		    label(render, "dumped", left),
		    render_name(render, cause, 70, safe),
		    header->method ? ", method " : "",
		    header->method ? method : "",
		    paused ? ", paused " : "",
		    paused ? units_time(ns, pause) : "",
		    header->content ? ", content " : "",
		    header->content ? content : "");
}

/** ", KEY SIZE" of a fact, or nothing. */
static void add_size(char *line, size_t size, const struct core_notes *notes,
		     const char *what, const char *fact)
{
	char text[UNITS_TEXT_MAX];
	uint64_t number;

	if (core_notes_number(notes, fact, &number))
		(void)snprintf(line + strlen(line), size - strlen(line),
			       ", %s %s", what, units_size(number, text));
}

/** "WHAT: DETAILS" in two lines: both are longer than one line has room for. */
static void tell_no_runtime(struct render *render, const char *left,
			    const char *why_none)
{
	char what[RENDER_NAME_MAX], safe[RENDER_NAME_MAX], reason[32];
	const char *details;
	size_t length;

	assert(why_none);	/* no runtime without an error that says why */
	details = strstr(why_none, ": ");
	length = details ? (size_t)(details - why_none) : strlen(why_none);
	(void)snprintf(what, sizeof(what), "%.*s", (int)length, why_none);
	render_line(render, "%snone: %s", left,
		    render_name(render, what, 100, safe));
	if (details)
		render_line(render, "%s%s", label(render, "reason", reason),
			    render_name(render, details + 2, 106, safe));
}

static void tell_runtime(struct scan *scan, const struct dump_header *header,
			 const char *why_none)
{
	const struct core_notes *notes = &opened_image(scan->opened)->notes;
	struct render *render = &scan->render;
	char rest[256] = "", time[UNITS_TEXT_MAX], left[32];
	uint64_t ns, swap;

	if (core_notes_number(notes, FORMAT_FACT_UPTIME, &ns))
		(void)snprintf(rest, sizeof(rest), ", up %s",
			       units_time(ns, time));
	if (notes->num_threads)
		(void)snprintf(rest + strlen(rest),
			       sizeof(rest) - strlen(rest), ", %zu thread%s",
			       notes->num_threads,
			       notes->num_threads == 1 ? "" : "s");
	add_size(rest, sizeof(rest), notes, "RSS", FORMAT_FACT_RSS);
	add_size(rest, sizeof(rest), notes, "peak RSS", FORMAT_FACT_PEAK_RSS);
	if (core_notes_number(notes, FORMAT_FACT_SWAP, &swap)) {
		if (swap)
			add_size(rest, sizeof(rest), notes, "swap",
				 FORMAT_FACT_SWAP);
		else
			(void)strcat(rest, ", no swap");
	}
	label(render, "runtime", left);
	if (header->python[0])
		render_line(render, "%sCPython %s (%s)%s", left, header->python,
			    header->python_build, rest);
	else
		tell_no_runtime(render, left, why_none);
}

static void tell_complete(struct scan *scan, const struct dump_header *header)
{
	struct render *render = &scan->render;
	const struct image *image = opened_image(scan->opened);
	const struct pyh_coverage *coverage =
		opened_coverage_if_known(scan->opened);
	char left[32], number[UNITS_TEXT_MAX], missing[96] = "";
	char explained[64] = "", size[UNITS_TEXT_MAX];

	if (image->missing_bytes)
		(void)snprintf(missing, sizeof(missing), ", %s missing",
			       units_size(image->missing_bytes, size));
	if (coverage)
		(void)coverage_short(coverage, explained);
	if (header->findings)
		render_line(render, "%s%s%s%s%s; %s finding%s (-v lists them)",
			    label(render, "complete", left),
			    header->complete ? "yes" : "NO: the dump is cut or "
						       "damaged",
			    missing, explained[0] ? "; " : "", explained,
			    units_count(header->findings, number),
			    header->findings == 1 ? "" : "s");
	else
		render_line(render, "%s%s%s%s%s; no findings",
			    label(render, "complete", left),
			    header->complete ? "yes" : "NO", missing,
			    explained[0] ? "; " : "", explained);
}

static void tell_types(struct scan *scan, const struct type_rows *rows)
{
	size_t shown = type_rows_shown(rows, scan->options->top);
	struct column columns[NUM_TYPE_COLUMNS];
	struct cell cells[NUM_TYPE_COLUMNS];
	uint64_t running = 0;
	char rest[64];

	memcpy(columns, type_columns, sizeof(columns));
	columns[TYPE_RETAINED].hidden = rows->num_rows == 0 ||
					!rows->rows[0].retained_known;
	columns[TYPE_RETAINED].absent = columns[TYPE_RETAINED].hidden;
	columns[TYPE_CUMULATIVE].hidden = !columns[TYPE_RETAINED].hidden;
	render_table(&scan->render, &(struct table_spec){
		.json_key = "rows", .title = "TYPES  by size", .see = "types",
		.columns = columns, .num_columns = NUM_TYPE_COLUMNS,
	});
	for (size_t i = 0; i < shown; i++) {
		running += rows->rows[i].total.size;
		type_rows_cells(rows, i, running, cells);
		render_row(&scan->render, cells);
	}
	if (shown < rows->num_rows) {
		type_rows_rest(rows, shown, rest, cells);
		render_rest(&scan->render, cells);
	}
	render_table_end(&scan->render);
	render_gap(&scan->render);
}

/* --- the heap as a whole -------------------------------------------------- */

/** What the analysis of all objects together says. */
struct whole {
	const struct analysis *analysis;	/* NULL: it failed */
	struct suspects suspects;
	struct error *why_not;			/* owned */
};

static void whole_deinit(struct whole *whole)
{
	error_free(whole->why_not);
}

static void analyse(struct scan *scan, struct whole *whole)
{
	whole->why_not = analysis_of(scan->opened,
				     ANALYSIS_TREE | ANALYSIS_CYCLES,
				     &whole->analysis);
	if (!whole->why_not)
		whole->why_not = suspects_find(scan->opened, whole->analysis,
					       scan->options->values,
					       &whole->suspects);
	if (whole->why_not)
		whole->analysis = NULL;
}

static void tell_suspects(struct scan *scan, const struct whole *whole)
{
	struct render *render = &scan->render;
	char safe[RENDER_NAME_MAX];

	if (!whole->analysis) {
		render_head(render, "SUSPECTS");
		render_line(render, "  not looked for: %s",
			    render_name(render, whole->why_not->message, 100,
					safe));
	} else if (render_for_people(render)) {
		suspect_lines(render, &whole->suspects, "suspects");
	} else {
		suspect_table(render, whole->analysis->heap, &whole->suspects,
			      "suspects");
	}
	render_gap(render);
}

/** Components all of whose objects are garbage, or none is. */
static uint32_t count_garbage_cycles(const struct analysis *analysis)
{
	const struct components *components = &analysis->components;
	uint32_t count = 0;

	for (uint32_t i = 0; i < components->count; i++)
		count += node_set_has(&analysis->collector.garbage,
				      components->members[components->at[i]]);
	return count;
}

enum { GARBAGE_OBJECTS, GARBAGE_FREED, GARBAGE_BYTES, GARBAGE_CYCLES,
       GARBAGE_NATIVE, NUM_GARBAGE };

static const struct column garbage_columns[NUM_GARBAGE] = {
	[GARBAGE_OBJECTS] = { .key = "objects", .unit = UNIT_COUNT },
	[GARBAGE_FREED] = { .key = "freed", .unit = UNIT_COUNT },
	[GARBAGE_BYTES] = { .key = "bytes", .unit = UNIT_BYTES },
	[GARBAGE_CYCLES] = { .key = "cycles", .unit = UNIT_COUNT },
	[GARBAGE_NATIVE] = { .key = "held_by_native_code", .unit = UNIT_COUNT },
};

/** One line each of what is well in most programs. */
static void tell_garbage(struct scan *scan, const struct whole *whole)
{
	const struct collector *collector;
	struct render *render = &scan->render;
	char objects[UNITS_TEXT_MAX], bytes[UNITS_TEXT_MAX];
	char cycles[UNITS_TEXT_MAX], native[UNITS_TEXT_MAX];
	uint32_t num_cycles;

	if (!whole->analysis)
		return;
	collector = &whole->analysis->collector;
	num_cycles = count_garbage_cycles(whole->analysis);
	render_line(render, "GARBAGE   %s objects in %s cycle%s; gc.collect() "
		    "would free %s",
		    units_count(collector->num_garbage, objects),
		    units_count(num_cycles, cycles), num_cycles == 1 ? "" : "s",
		    units_size(collector->freed_bytes, bytes));
	render_line(render, "REFCOUNTS %s object%s held by native code alone",
		    units_count(whole->suspects.unexplained, native),
		    whole->suspects.unexplained == 1 ? "" : "s");
	render_object(render, "garbage", garbage_columns, (struct cell[]){
		cell_number(UNIT_COUNT, collector->num_garbage),
		cell_number(UNIT_COUNT, collector->num_freed),
		cell_number(UNIT_BYTES, collector->freed_bytes),
		cell_number(UNIT_COUNT, num_cycles),
		cell_number(UNIT_COUNT, whole->suspects.unexplained) },
		NUM_GARBAGE);
}

/* --- next ----------------------------------------------------------------- */

/** A word as a shell reads it back; NULL without memory or where unsafe. */
static char *shell_word(const char *word)
{
	static const char plain[] = "_-./:,+@%=";
	bool quote = !word[0] || word[0] == '-';
	char *quoted, *end;

	for (const char *at = word; *at; at++) {
		// What cannot be shown cannot be pasted either.
		if (iscntrl((unsigned char)*at) || !isascii(*at) ||
		    *at == '\'' || *at == '`')
			return NULL;
		if (!isalnum((unsigned char)*at) && !strchr(plain, *at))
			quote = true;
	}
	if (!quote)
		return strdup(word);
	quoted = malloc(strlen(word) + 3);
	if (!quoted)
		return NULL;
	end = stpcpy(stpcpy(stpcpy(quoted, "'"), word), "'");
	*end = '\0';
	return quoted;
}

enum { NEXT_TYPE_MAX = 60 };

/** The type that it is about: of what piles up, else the largest. */
static const char *next_type(const struct whole *whole,
			     const struct type_rows *rows)
{
	if (whole->suspects.count && whole->suspects.list[0].element)
		return whole->suspects.list[0].element->name;
	return rows->num_rows ? rows->rows[0].name : NULL;
}

/** Two questions that are right for this dump. */
static void tell_next(struct scan *scan, const struct dump_header *header,
		      const struct type_rows *rows, const struct whole *whole)
{
	CLEANUP(free_pointer) char *path = shell_word(header->path);
	CLEANUP(free_pointer) char *type = NULL;
	char *commands[2] = { NULL, NULL };
	const char *dump = path ? path : "DUMP";
	struct render *render = &scan->render;
	const char *name = next_type(whole, rows);

	// Who holds what is not told of every heap.
	if (whole->analysis && name && strlen(name) < NEXT_TYPE_MAX)
		type = shell_word(name);
	if (asprintf(&commands[0], type ? "heapscan %s path --type %s" :
					  "heapscan %s objects", dump,
		     type) < 0)
		commands[0] = NULL;
	if (asprintf(&commands[1], header->findings ? "heapscan %s -v" :
				   whole->analysis ? "heapscan %s retained" :
						     "heapscan %s types",
		     dump) < 0)
		commands[1] = NULL;
	if (render->format == RENDER_JSON) {
		json_array(&render->json, "next");
		for (int i = 0; i < 2; i++)
			json_string(&render->json, NULL, commands[i]);
		json_end(&render->json);
	} else if (commands[0] && commands[1]) {
		const char *tick = render->format == RENDER_MD ? "`" : "";

		render_whole_line(render, "next: %s%s%s", tick, commands[0],
				  tick);
		render_whole_line(render, "%s %s%s%s", *tick ? "next:" : "     ",
				  tick, commands[1], tick);
	}
	free(commands[0]);
	free(commands[1]);
}

static void tell_values(struct scan *scan)
{
	if (scan->options->values)
		render_line(&scan->render, "Values of the program are shown "
			    "(--values): the arguments of its command line.");
	else
		render_line(&scan->render, "Names of types, modules and "
			    "attributes only: no value of the program is "
			    "shown (--values shows them).");
}

/** The lines above the first table. */
static void tell_head(struct scan *scan, const struct dump_header *header,
		      const char *why_none)
{
	dump_header_line(header, &scan->render);
	tell_dumped(scan, header);
	tell_runtime(scan, header, why_none);
	tell_complete(scan, header);
	render_gap(&scan->render);
}

/** Where there are no types to show: what can be said, and why not more. */
static struct error *without_types(struct scan *scan, struct error *err)
{
	struct pyh_runtime *runtime = opened_runtime_if_found(scan->opened);
	struct render *render = &scan->render;
	char why[RENDER_NAME_MAX];
	struct dump_header header;

	if (scan->options->format != RENDER_TEXT &&
	    scan->options->format != RENDER_MD)
		return err;
	scan_begin(scan, "overview");
	dump_header_gather(&header, scan->opened, runtime,
			   scan->options->values);
	tell_head(scan, &header, err->message);
	if (runtime) {
		render_head(render, "TYPES");
		render_line(render, "  not counted: %s",
			    render_name(render, err->message, 100, why));
	}
	render_end(render);
	return err;
}

static struct error *run(struct scan *scan)
{
	struct cell totals[NUM_TYPE_TOTALS];
	struct type_counts counts;
	struct dump_header header;
	CLEANUP(whole_deinit) struct whole whole = { 0 };
	struct type_rows rows;
	struct error *err;

	err = opened_counts(scan->opened, &counts);
	if (err)
		return without_types(scan, err);
	analyse(scan, &whole);
	err = type_rows_collect(scan, &counts, &rows);
	if (err)
		return err;
	scan_begin(scan, "overview");
	dump_header_gather(&header, scan->opened,
			   opened_runtime_if_found(scan->opened),
			   scan->options->values);
	tell_head(scan, &header, NULL);
	type_rows_totals(&rows, totals);
	render_object(&scan->render, "totals", type_totals, totals,
		      NUM_TYPE_TOTALS);
	coverage_json(&scan->render, counts.coverage);
	tell_suspects(scan, &whole);
	tell_types(scan, &rows);
	coverage_arenas(&scan->render, counts.coverage);
	coverage_lines(&scan->render, counts.coverage);
	type_rows_inexact(&rows, &scan->render);
	tell_garbage(scan, &whole);
	render_gap(&scan->render);
	tell_next(scan, &header, &rows, &whole);
	tell_values(scan);
	render_end(&scan->render);
	type_rows_gate(&rows, scan);
	type_rows_deinit(&rows);
	return NULL;
}
