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

#include "analyzer/allocator/allocatorfree.h"
#include "analyzer/cmd.h"
#include "analyzer/dump_header.h"
#include "analyzer/heap/coverage.h"
#include "analyzer/heap/type_rows.h"
#include "analyzer/overview/overview_failure.h"
#include "analyzer/overview/overview_gpu.h"
#include "analyzer/overview/overview_heap.h"
#include "analyzer/overview/overview_memory.h"
#include "analyzer/overview/overview_tensors.h"
#include "analyzer/overview/overview_threads.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum {
	LINES_MAX = 60,
	LINES_HEAD = 5,		/* with the gap */
	LINES_ALWAYS = 10,	/* head and last row of types, gaps, allocator,
				   coverage, inexact sizes, next, the last line */
	ROWS_MORE = 5,		/* of tables that do not lead */
	TYPES_SHORT = 4, TYPES_SHORT_LINES = 2, TYPE_SHORT_MAX = 20,
};

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
"Which process, when and why it was dumped, how complete the dump is; why memory\n"
"of a device ran out, where an exception says that it did; suspects;\n"
"the types that take the most memory; who keeps most of the rest alive; garbage\n"
"and reference counts. --top bounds the table of types, which gives way where it\n"
"would not fit into 60 lines.\n",
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

static void tell_complete(struct scan *scan, const struct dump_header *header,
			  const struct overview_memory *memory)
{
	struct render *render = &scan->render;
	const struct image *image = opened_image(scan->opened);
	const struct pyh_coverage *coverage =
		opened_coverage_if_known(scan->opened);
	char left[32], number[UNITS_TEXT_MAX], missing[96] = "";
	char explained[OVERVIEW_MEMORY_SHORT] = "", size[UNITS_TEXT_MAX];

	if (image->missing_bytes)
		(void)snprintf(missing, sizeof(missing), ", %s missing",
			       units_size(image->missing_bytes, size));
	if (memory && memory->ledger)
		(void)overview_memory_short(memory, explained);
	else if (coverage)
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

static bool has_room(unsigned int lines)
{
	return lines + LINES_HEAD + LINES_ALWAYS < LINES_MAX;
}

/** At most 60 lines where no more were asked for: the types give way. */
static uint64_t top_of_leading(const struct scan *scan, unsigned int lines)
{
	uint64_t top = scan->options->top;
	unsigned int room = has_room(lines) ?
			LINES_MAX - lines - LINES_HEAD - LINES_ALWAYS : 1;

	return top > 0 && top <= OPTIONS_TOP_DEFAULT && top > room ? room : top;
}

static void tell_types(struct scan *scan, const struct type_rows *rows,
		       uint64_t top)
{
	size_t shown = type_rows_shown(rows, top);
	struct column columns[NUM_TYPE_COLUMNS];
	struct cell cells[NUM_TYPE_COLUMNS];
	uint64_t running = 0;
	char rest[64];

	type_rows_columns(scan, rows->num_rows > 0 &&
				rows->rows[0].retained_known, columns);
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

enum { NEXT_TYPE_MAX = 60, NEXT_MAX = 100 };

/** A type of the program's own: all its objects may be held in the same way. */
static bool is_telling(const struct pyh_type *type)
{
	return type && strchr(type->name, '.') != NULL &&
	       strlen(type->name) < NEXT_TYPE_MAX;
}

/** Who holds what piles up; without suspects: who has the most. */
static void next_path(const struct whole *whole, char text[NEXT_MAX])
{
	const struct heapgraph *heap = whole->analysis->heap;
	const struct suspect *first = whole->suspects.count > 0 ?
					      &whole->suspects.list[0] : NULL;
	CLEANUP(free_pointer) char *word = NULL;
	uint32_t object = GRAPH_NONE;

	if (first && first->in_tensors) {
		(void)strcpy(text, "tensors");
		return;
	}
	if (first && is_telling(first->element))
		word = shell_word(first->element->name);
	if (word) {
		(void)snprintf(text, NEXT_MAX, "path --type %s", word);
		return;
	}
	if (first)
		object = first->sample < heap->count ? first->sample :
						       first->object;
	else if (whole->largest.count > 0)
		object = whole->largest.objects[0];
	if (object < heap->count)
		(void)snprintf(text, NEXT_MAX, "path 0x%" PRIx64,
			       heapgraph_address(heap, object));
	else if (first && first->pattern == SUSPECT_GARBAGE)
		(void)snprintf(text, NEXT_MAX, "cycles --by type");
	else
		(void)snprintf(text, NEXT_MAX, "objects --retained --sort "
			       "retained");
}

/** After memory of a device ran out. */
static void next_of_failure(const struct failure *failure,
			    char first[NEXT_MAX], char second[NEXT_MAX])
{
	const struct torch_oom *oom = &failure->oom;

	(void)snprintf(second, NEXT_MAX, "torch-snapshot -o oom.pickle");
	// Of one that no thread has only the overview knows.
	if (oom->requested.known && oom->free.known &&
	    failure->how == FAILURE_KEPT)
		(void)snprintf(first, NEXT_MAX, "allocator --fits %" PRIu64
			       " --device-free %" PRIu64, oom->requested.bytes,
			       oom->free.bytes);
	else if (oom->requested.known)
		(void)snprintf(first, NEXT_MAX, "allocator --fits %" PRIu64,
			       oom->requested.bytes);
	else
		(void)snprintf(first, NEXT_MAX, "allocator --blocks");
}

/** What the object that has the most keeps alive. */
static uint64_t most_retained(const struct whole *whole)
{
	const struct suspects *suspects = &whole->suspects;

	if (!whole->analysis)
		return 0;
	if (suspects->count > 0)
		return suspects->list[0].retained;
	return whole->largest.count > 0 ?
		       whole->analysis->dominators
			       .retained[whole->largest.objects[0]] : 0;
}

/** What this dump asks for: words behind the file's name. */
static void choose_next(const struct overview_memory *memory,
			const struct whole *whole, bool crashed, bool findings,
			char first[NEXT_MAX], char second[NEXT_MAX])
{
	uint64_t bytes;
	const char *question = overview_memory_question(
		memory, suspects_least(&whole->suspects), &bytes);
	char path[NEXT_MAX] = "objects";

	// Who holds what is not told of every heap.
	if (whole->analysis)
		next_path(whole, path);
	if (!question)
		question = whole->analysis ? "retained" : "types";
	if (crashed) {
		(void)strcpy(first, "threads --locals");
		(void)strcpy(second, bytes > most_retained(whole) ? question :
								    path);
		return;
	}
	// What takes the most comes first.
	(void)strcpy(first, bytes > most_retained(whole) ? question : path);
	(void)strcpy(second, findings ? "-v" :
			     bytes > most_retained(whole) ? path : question);
}

/** Two questions that are right for this dump. */
static void tell_next(struct scan *scan, const struct dump_header *header,
		      const struct whole *whole,
		      const struct overview_memory *memory,
		      const struct overview_failure *failure, bool crashed)
{
	CLEANUP(free_pointer) char *path = shell_word(header->path);
	char *commands[2] = { NULL, NULL }, words[2][NEXT_MAX];
	const char *dump = path ? path : "DUMP";
	struct render *render = &scan->render;

	if (failure->failure.how != FAILURE_NONE && !crashed &&
	    failure_is_devices(&failure->failure))
		next_of_failure(&failure->failure, words[0], words[1]);
	else
		choose_next(memory, whole, crashed, header->findings > 0,
			    words[0], words[1]);
	for (int i = 0; i < 2; i++)
		if (asprintf(&commands[i], "heapscan %s %s", dump,
			     words[i]) < 0)
			commands[i] = NULL;
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
		      const struct overview_memory *memory,
		      const struct overview_gpu *gpu, const char *why_none)
{
	dump_header_line(header, &scan->render);
	tell_dumped(scan, header);
	tell_runtime(scan, header, why_none);
	overview_gpu_head(scan, gpu);
	tell_complete(scan, header, memory);
	render_gap(&scan->render);
}

/** Where there are no types to show: what can be said, and why not more. */
static struct error *without_types(struct scan *scan, struct error *err)
{
	struct pyh_runtime *runtime = opened_runtime_if_found(scan->opened);
	struct render *render = &scan->render;
	struct overview_threads threads;
	struct overview_memory memory;
	struct overview_gpu gpu;
	char why[RENDER_NAME_MAX];
	struct dump_header header;

	if (scan->options->format != RENDER_TEXT &&
	    scan->options->format != RENDER_MD)
		return err;
	scan_begin(scan, "overview");
	dump_header_gather(&header, scan->opened, runtime,
			   scan->options->values);
	overview_memory_gather(scan, &memory);
	overview_memory_reclaim(scan, &memory);
	overview_gpu_gather(scan, &gpu);
	tell_head(scan, &header, &memory, &gpu, err->message);
	overview_gpu_tell(scan, &gpu);
	overview_gpu_deinit(&gpu);
	overview_memory_tell(scan, &memory);
	overview_memory_deinit(&memory);
	overview_threads_gather(scan, &threads);
	overview_threads_tell(scan, &threads);
	overview_threads_deinit(&threads);
	if (runtime) {
		render_head(render, "TYPES");
		render_line(render, "  not counted: %s",
			    render_name(render, err->message, 100, why));
	}
	render_end(render);
	return err;
}

/** The document up to the first section. */
static void begin(struct scan *scan, const struct overview_memory *memory,
		  const struct overview_gpu *gpu, struct dump_header *header)
{
	scan_begin(scan, "overview");
	dump_header_gather(header, scan->opened,
			   opened_runtime_if_found(scan->opened),
			   scan->options->values);
	tell_head(scan, header, memory, gpu, NULL);
}

/** Where tensors lead, people need no more than a line: "dict 118 61.9 MiB". */
static void tell_types_short(struct scan *scan, const struct type_rows *rows)
{
	char line[TYPES_SHORT * (TYPE_SHORT_MAX + 2 * UNITS_TEXT_MAX) + 16];
	char count[UNITS_TEXT_MAX], size[UNITS_TEXT_MAX];
	char name[RENDER_NAME_MAX];
	size_t used = (size_t)snprintf(line, sizeof(line), "TYPES    ");

	for (size_t i = 0; i < rows->num_rows && i < TYPES_SHORT &&
	     used < sizeof(line); i++) {
		struct cell cells[NUM_TYPE_COLUMNS];

		type_rows_cells(rows, i, 0, cells);
		used += (size_t)snprintf(
			line + used, sizeof(line) - used, "%s %s %s %s",
			i ? "," : "",
			render_name(&scan->render, cells[TYPE_NAME].text,
				    TYPE_SHORT_MAX, name),
			units_count(rows->rows[i].total.count, count),
			units_size(rows->rows[i].total.size, size));
	}
	render_line_see(&scan->render, line, "types");
	render_gap(&scan->render);
}

/** Rows of a table that does not lead. */
static uint64_t top_of_others(const struct scan *scan)
{
	uint64_t top = scan->options->top;

	return top > ROWS_MORE ? ROWS_MORE : top;
}

/** The two tables that may lead; lines: of all other sections. */
static struct error *tell_tables(struct scan *scan, const struct type_rows *rows,
				 const struct overview_memory *memory,
				 const struct overview_tensors *tensors,
				 unsigned int lines)
{
	bool lead = overview_tensors_lead(tensors, rows->heap.size);
	uint64_t more = top_of_others(scan), top;
	struct error *err;

	// Where that is not enough, so does what does not lead.
	while (!lead && more > 1 && more <= ROWS_MORE &&
	       !has_room(lines + overview_tensors_lines(tensors, more)))
		more--;
	lines += lead ? TYPES_SHORT_LINES :
			overview_tensors_lines(tensors, more);
	top = top_of_leading(scan, lines);
	err = overview_tensors_tell(scan, tensors, lead ? top : more);
	overview_memory_tell(scan, memory);
	if (!err && lead && render_for_people(&scan->render))
		tell_types_short(scan, rows);
	else if (!err)
		tell_types(scan, rows, top);
	return err;
}

/** All sections, in their order. */
static struct error *tell_sections(struct scan *scan,
				   const struct type_counts *counts,
				   const struct type_rows *rows,
				   const struct whole *whole,
				   const struct overview_memory *memory,
				   const struct overview_gpu *gpu,
				   const struct overview_tensors *tensors,
				   const struct overview_threads *threads,
				   const struct overview_failure *failure)
{
	bool crashed = overview_threads_crashed(threads);
	struct cell totals[NUM_TYPE_TOTALS];
	unsigned int lines;
	struct error *err;

	type_rows_totals(rows, totals);
	render_object(&scan->render, "totals", type_totals, totals,
		      NUM_TYPE_TOTALS);
	coverage_json(&scan->render, counts->coverage);
	if (crashed) {
		overview_threads_tell(scan, threads);
		render_gap(&scan->render);
	}
	overview_failure_tell(scan, failure);
	err = whole_tell_suspects(scan, whole, memory->ledger, &lines);
	if (err)
		return err;
	lines += overview_failure_lines(failure) + overview_gpu_lines(gpu);
	overview_gpu_tell(scan, gpu);
	err = tell_tables(scan, rows, memory, tensors,
			  lines + whole_lines_of_largest(whole) +
				  whole_lines_of_state(whole) +
				  overview_memory_lines(memory) +
				  overview_threads_lines(threads));
	if (!err)
		err = whole_tell_largest(scan, whole);
	if (err)
		return err;
	if (!memory->ledger) {
		coverage_arenas(&scan->render, counts->coverage);
		coverage_lines(&scan->render, counts->coverage);
	}
	type_rows_inexact(rows, &scan->render);
	whole_tell_state(scan, whole);
	if (!crashed)
		overview_threads_tell(scan, threads);
	render_gap(&scan->render);
	return NULL;
}

static struct error *run(struct scan *scan)
{
	// Who looks on sees what there is while the rest is being found out;
	// elsewhere the head counts all findings.
	bool streams = scan->output->terminal &&
		       scan->options->format == RENDER_TEXT;
	struct type_counts counts;
	struct dump_header header;
	CLEANUP(whole_deinit) struct whole whole = { 0 };
	CLEANUP(overview_memory_deinit) struct overview_memory memory = { 0 };
	CLEANUP(overview_threads_deinit) struct overview_threads threads = { 0 };
	CLEANUP(overview_gpu_deinit) struct overview_gpu gpu = { 0 };
	CLEANUP(overview_failure_deinit) struct overview_failure failure = { 0 };
	CLEANUP(overview_tensors_deinit) struct overview_tensors tensors = { 0 };
	CLEANUP(type_rows_deinit) struct type_rows rows = { 0 };
	struct error *err;

	err = opened_counts(scan->opened, &counts);
	if (err)
		return without_types(scan, err);
	overview_memory_gather(scan, &memory);
	overview_gpu_gather(scan, &gpu);
	if (streams) {
		begin(scan, &memory, &gpu, &header);
		(void)fflush(scan->output->file);
	}
	whole_analyse(scan, &whole);
	overview_memory_reclaim(scan, &memory);
	overview_threads_gather(scan, &threads);
	overview_failure_gather(scan, &threads, &whole, &failure);
	if (gpu.allocator)
		allocator_free_said(gpu.allocator, &failure.failure.oom);
	overview_tensors_gather(scan, &tensors);
	err = type_rows_collect(scan, &counts, &rows);
	if (err)
		return err;
	if (!streams)
		begin(scan, &memory, &gpu, &header);
	err = tell_sections(scan, &counts, &rows, &whole, &memory, &gpu,
			    &tensors, &threads, &failure);
	if (err)
		return err;
	tell_next(scan, &header, &whole, &memory, &failure,
		  overview_threads_crashed(&threads));
	tell_values(scan);
	render_end(&scan->render);
	type_rows_gate(&rows, scan);
	return NULL;
}
