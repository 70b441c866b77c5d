/*
 * `info`: what the file is, where it came from, what could be found in it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/dump_header.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum { INFO_SECTION, INFO_KEY, INFO_VALUE, NUM_INFO_COLUMNS };

static const struct column info_columns[NUM_INFO_COLUMNS] = {
	[INFO_SECTION] = { .key = "section", .title = "section", .unit = UNIT_TEXT,
		.about = "file, process, memory, runtime" },
	[INFO_KEY] = { .key = "key", .title = "key", .unit = UNIT_TEXT,
		.about = "what is told" },
	[INFO_VALUE] = { .key = "value", .title = "value", .unit = UNIT_CELL,
		.about = "sizes in bytes, times in nanoseconds",
			 .whole = true },
};

enum {
	TOTAL_SEGMENTS, TOTAL_SEGMENT_BYTES, TOTAL_MISSING, TOTAL_MODULES,
	TOTAL_THREADS, TOTAL_FINDINGS, NUM_TOTALS
};

static const struct column info_totals[NUM_TOTALS] = {
	[TOTAL_SEGMENTS] = { .key = "segments", .unit = UNIT_COUNT,
		.about = "segments of the core" },
	[TOTAL_SEGMENT_BYTES] = { .key = "segment_bytes", .unit = UNIT_BYTES,
		.about = "their bytes in the core" },
	[TOTAL_MISSING] = { .key = "missing_bytes", .unit = UNIT_BYTES,
		.about = "of those, cut off or damaged" },
	[TOTAL_MODULES] = { .key = "modules", .unit = UNIT_COUNT,
		.about = "ELF files mapped" },
	[TOTAL_THREADS] = { .key = "threads", .unit = UNIT_COUNT,
		.about = "threads" },
	[TOTAL_FINDINGS] = { .key = "findings", .unit = UNIT_COUNT,
		.about = "damage and gaps found" },
};

static struct error *run(struct scan *scan);

const struct view cmd_info_view = {
	.name = "info",
	.bit = VIEW_INFO,
	.about = "what the file is: origin, process, modules, runtime, findings",
	.columns = info_columns,
	.num_columns = NUM_INFO_COLUMNS,
	.totals = info_totals,
	.num_totals = NUM_TOTALS,
	.run = run,
	.remark =
"Works on every core, of Python or not. JSON adds the arrays \"modules\",\n"
"\"threads\" and \"findings\"; --top bounds them. Arguments of the command\n"
"line and the environment are shown only with --values.\n",
};

/** Prints rows of (section, key, value); the section only where it changes. */
struct teller {
	struct render *render;
	struct gate *gate;
	const char *section, *shown;
};

static void tell(struct teller *teller, const char *key, struct cell value)
{
	struct cell cells[NUM_INFO_COLUMNS] = {
		[INFO_SECTION] = cell_text(teller->section),
		[INFO_KEY] = cell_text(key),
		[INFO_VALUE] = value,
	};

	if (!value.known)
		return;
	gate_row(teller->gate, cells);
	if (render_for_people(teller->render) &&
	    teller->shown == teller->section)
		cells[INFO_SECTION] = cell_unknown();
	teller->shown = teller->section;
	render_row(teller->render, cells);
}

static void tell_text(struct teller *teller, const char *key, const char *text)
{
	tell(teller, key, cell_text(text && text[0] ? text : NULL));
}

static void tell_number(struct teller *teller, const char *key, enum unit unit,
			uint64_t number)
{
	tell(teller, key, cell_number(unit, number));
}

/** A time in nanoseconds: in words for people. */
static void tell_time(struct teller *teller, const char *key, uint64_t ns)
{
	char text[UNITS_TEXT_MAX];

	if (render_for_people(teller->render))
		tell_text(teller, key, units_time(ns, text));
	else
		tell_number(teller, key, UNIT_COUNT, ns);
}

static void tell_file(struct teller *teller, const struct dump_header *header,
		      const struct image *image)
{
	const struct core_notes *notes = &image->notes;
	char when[DUMP_HEADER_TEXT];
	uint64_t number;

	teller->section = "file";
	tell_text(teller, "path", header->path);
	tell_text(teller, "container", backing_describe(image->backing));
	tell_number(teller, "stored", UNIT_BYTES,
		    backing_stored_size(image->backing));
	tell_number(teller, "uncompressed", UNIT_BYTES,
		    backing_size(image->backing));
	tell_text(teller, "writer", image_writer(image));
	if (header->has_captured_at && render_for_people(teller->render)) {
		dump_header_time(header->captured_at, when);
		tell_text(teller, "captured", when);
	} else if (header->has_captured_at) {
		tell_text(teller, "captured",
			  units_utc(header->captured_at, when));
	}
	tell_text(teller, "trigger", header->trigger);
	tell_text(teller, "reason", core_notes_fact(notes, FORMAT_FACT_REASON));
	tell_text(teller, "method", header->method);
	tell_text(teller, "content", header->content);
	tell_text(teller, "payload_kept",
		  core_notes_fact(notes, FORMAT_FACT_PAYLOAD_KEPT));
	if (core_notes_number(notes, FORMAT_FACT_PAUSE, &number))
		tell_time(teller, "pause", number);
	if (core_notes_number(notes, FORMAT_FACT_TOTAL, &number))
		tell_time(teller, "duration", number);
	tell(teller, "complete", cell_number(UNIT_BOOL, header->complete));
}

static void tell_fact(struct teller *teller, const struct core_notes *notes,
		      const char *key, const char *fact, enum unit unit)
{
	uint64_t number;

	if (core_notes_number(notes, fact, &number))
		tell_number(teller, key, unit, number);
}

static void tell_signal(struct teller *teller, const struct core_notes *notes)
{
	const char *name = dump_header_signal(notes->signal);
	char text[64];

	if (!notes->has_siginfo || notes->signal <= 0)
		return;
	(void)snprintf(text, sizeof(text), "%" PRId32 "%s%s%s", notes->signal,
		       name ? " (" : "", name ? name : "", name ? ")" : "");
	tell_text(teller, "signal", text);
	if (notes->fault_address)
		tell_number(teller, "fault_address", UNIT_ADDRESS,
			    notes->fault_address);
}

static void tell_process(struct teller *teller,
			 const struct dump_header *header,
			 const struct image *image)
{
	const struct core_notes *notes = &image->notes;
	uint64_t number;

	teller->section = "process";
	tell_text(teller, "command", header->command);
	tell_text(teller, "exe", core_notes_fact(notes, FORMAT_FACT_EXE));
	if (header->has_pid)
		tell_number(teller, "pid", UNIT_ID, header->pid);
	tell_text(teller, "host", header->host);
	tell_text(teller, "kernel",
		  core_notes_fact(notes, FORMAT_FACT_KERNEL));
	tell_text(teller, "container_id",
		  core_notes_fact(notes, FORMAT_FACT_CONTAINER));
	tell_text(teller, "arch", header->arch);
	tell_signal(teller, notes);
	if (core_notes_number(notes, FORMAT_FACT_UPTIME, &number))
		tell_time(teller, "uptime", number);
	tell_fact(teller, notes, "vm_size", FORMAT_FACT_VMSIZE, UNIT_BYTES);
	tell_fact(teller, notes, "rss", FORMAT_FACT_RSS, UNIT_BYTES);
	tell_fact(teller, notes, "rss_peak", FORMAT_FACT_PEAK_RSS, UNIT_BYTES);
	tell_fact(teller, notes, "pss", FORMAT_FACT_PSS, UNIT_BYTES);
	tell_fact(teller, notes, "shared_clean", FORMAT_FACT_SHARED_CLEAN,
		  UNIT_BYTES);
	tell_fact(teller, notes, "shared_dirty", FORMAT_FACT_SHARED_DIRTY,
		  UNIT_BYTES);
	tell_fact(teller, notes, "private_clean", FORMAT_FACT_PRIVATE_CLEAN,
		  UNIT_BYTES);
	tell_fact(teller, notes, "private_dirty", FORMAT_FACT_PRIVATE_DIRTY,
		  UNIT_BYTES);
	tell_fact(teller, notes, "swap", FORMAT_FACT_SWAP, UNIT_BYTES);
	tell_fact(teller, notes, "page_tables", FORMAT_FACT_PAGE_TABLES,
		  UNIT_BYTES);
	tell_fact(teller, notes, "minor_faults", FORMAT_FACT_MINOR_FAULTS,
		  UNIT_COUNT);
	tell_fact(teller, notes, "major_faults", FORMAT_FACT_MAJOR_FAULTS,
		  UNIT_COUNT);
	tell_text(teller, "cgroup", core_notes_fact(notes, FORMAT_FACT_CGROUP));
	tell_fact(teller, notes, "cgroup_current", FORMAT_FACT_CGROUP_CURRENT,
		  UNIT_BYTES);
	tell_fact(teller, notes, "cgroup_working", FORMAT_FACT_CGROUP_WORKING,
		  UNIT_BYTES);
	tell_fact(teller, notes, "cgroup_limit", FORMAT_FACT_CGROUP_LIMIT,
		  UNIT_BYTES);
	tell_text(teller, "psi_memory_some",
		  core_notes_fact(notes, FORMAT_FACT_PSI_SOME));
	tell_text(teller, "psi_memory_full",
		  core_notes_fact(notes, FORMAT_FACT_PSI_FULL));
	tell_number(teller, "threads", UNIT_COUNT, notes->num_threads);
}

/** What --environ of heapdump recorded. */
static void tell_environment(struct teller *teller,
			     const struct core_notes *notes)
{
	size_t prefix = strlen(FORMAT_FACT_ENVIRON);

	teller->section = "environment";
	for (size_t i = 0; i < notes->num_facts; i++)
		if (strncmp(notes->facts[i].key, FORMAT_FACT_ENVIRON,
			    prefix) == 0)
			tell_text(teller, notes->facts[i].key + prefix,
				  notes->facts[i].value);
}

/* What format_reason says, as keys. */
static const char *const reasons[] = {
	[FORMAT_CAPTURED] = "not_captured",
	[FORMAT_ZERO] = "not_captured_zero",
	[FORMAT_DEVICE] = "not_captured_device",
	[FORMAT_UNREADABLE] = "not_captured_unreadable",
	[FORMAT_FILE] = "not_captured_file",
	[FORMAT_SHARED] = "not_captured_shared",
	[FORMAT_DONTDUMP] = "not_captured_dontdump",
	[FORMAT_EXCLUDED] = "not_captured_excluded",
	[FORMAT_PAYLOAD] = "not_captured_payload",
	[FORMAT_SWAPPED] = "not_captured_swapped",
	[FORMAT_FAILED] = "not_captured_failed",
	[FORMAT_KERNEL] = "not_captured_kernel",
	[FORMAT_DONTFORK] = "not_captured_dontfork",
	[FORMAT_WIPEONFORK] = "not_captured_wipeonfork",
	[FORMAT_CONTENT] = "not_captured_content",
};

enum { NUM_REASONS = sizeof(reasons) / sizeof(*reasons) };

static void tell_memory(struct teller *teller, const struct image *image)
{
	const struct memory *memory = image->memory;
	uint64_t by_reason[NUM_REASONS] = { 0 }, from_file = 0;

	for (size_t i = 0; i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);
		uint64_t size = range->end - range->start;

		if (range->state == MEMORY_NOT_CAPTURED)
			by_reason[range->reason < NUM_REASONS ?
					range->reason : 0] += size;
		else if (range->source == MEMORY_FROM_FILE)
			from_file += size;
	}
	teller->section = "memory";
	tell_number(teller, "segments", UNIT_COUNT, image->num_segments);
	tell_number(teller, "segment_bytes", UNIT_BYTES, image->segment_bytes);
	if (image->missing_bytes)
		tell_number(teller, "missing_bytes", UNIT_BYTES,
			    image->missing_bytes);
	tell_number(teller, "page_size", UNIT_BYTES, image->page_size);
	tell_number(teller, "captured", UNIT_BYTES,
		    memory_total(memory, MEMORY_CAPTURED) - from_file);
	tell_number(teller, "from_files", UNIT_BYTES, from_file);
	tell_number(teller, "zero", UNIT_BYTES,
		    memory_total(memory, MEMORY_ZERO));
	for (int i = 0; i < NUM_REASONS; i++) {
		if (by_reason[i])
			tell_number(teller, reasons[i], UNIT_BYTES,
				    by_reason[i]);
	}
}

static const char *allocator_text(enum pyh_allocator allocator)
{
	switch (allocator) {
	case PYH_ALLOCATOR_PYMALLOC:
		return "pymalloc";
	case PYH_ALLOCATOR_MIMALLOC:
		return "mimalloc";
	case PYH_ALLOCATOR_MALLOC:
		break;
	}
	return "malloc";
}

static void tell_runtime(struct teller *teller,
			 const struct dump_header *header,
			 const struct pyh_runtime *runtime,
			 const char *why_none)
{
	size_t threads = 0;

	teller->section = "runtime";
	if (!runtime) {
		tell_text(teller, "none", why_none);
		return;
	}
	tell_text(teller, "version", header->python);
	tell(teller, "version_exact",
	     cell_number(UNIT_BOOL, runtime->version_exact));
	tell_text(teller, "build", runtime->build);
	tell_text(teller, "allocator", allocator_text(runtime->allocator));
	// No list of all blocks, so nobody vouches for what nothing leads to.
	if (runtime->allocator == PYH_ALLOCATOR_MALLOC)
		tell_text(teller, "objects_by", "GC lists and references; what "
			  "only native code holds is not seen");
	if (runtime->debug_hooks)
		tell(teller, "debug_hooks", cell_number(UNIT_BOOL, 1));
	if (runtime->finalizing)
		tell(teller, "finalizing", cell_number(UNIT_BOOL, 1));
	tell_number(teller, "address", UNIT_ADDRESS, runtime->address);
	if (runtime->module)
		tell_text(teller, "module", runtime->module->path);
	tell_text(teller, "found_by", runtime->found_by);
	tell_text(teller, "layout_by", runtime->layout_by);
	for (size_t i = 0; i < runtime->num_interpreters; i++)
		threads += runtime->interpreters[i].num_threads;
	tell_number(teller, "interpreters", UNIT_COUNT,
		    runtime->num_interpreters);
	tell_number(teller, "python_threads", UNIT_COUNT, threads);
	if (runtime->num_candidates)
		tell_number(teller, "other_candidates", UNIT_COUNT,
			    runtime->num_candidates);
}

/* --- lists ---------------------------------------------------------------- */

static size_t bounded(size_t count, uint64_t top)
{
	return top == 0 || top > count ? count : (size_t)top;
}

/** "12 more modules" under a table for people. */
static void tell_more(struct render *render, size_t count, size_t shown,
		      const char *what)
{
	char number[UNITS_TEXT_MAX];

	if (shown < count)
		render_line(render, "  %s more %s (--top 0 shows all)",
			    units_count(count - shown, number), what);
}

static const char *file_state_text(enum module_file_state state)
{
	switch (state) {
	case MODULE_FILE_MISSING:
		return "missing";
	case MODULE_FILE_OTHER:
		return "another file";
	case MODULE_FILE_MATCHED:
		return "matched";
	case MODULE_FILE_NOT_NEEDED:
		break;
	}
	return "not needed";
}

static const char *build_id_text(const struct module *module,
				 char text[MODULE_BUILD_ID_MAX * 2 + 1])
{
	if (module->build_id_size == 0)
		return NULL;
	for (size_t i = 0; i < module->build_id_size; i++)
		(void)snprintf(text + i * 2, 3, "%02x", module->build_id[i]);
	return text;
}

static void tell_modules(struct render *render, const struct modules *modules,
			 uint64_t top)
{
	static const struct column columns[] = {
		{ .key = "path", .title = "path", .unit = UNIT_TEXT },
		{ .key = "build_id", .title = "build id", .unit = UNIT_TEXT,
		  .width = 41 },
		{ .key = "file", .title = "file", .unit = UNIT_TEXT },
		{ .key = "start", .title = "start", .unit = UNIT_ADDRESS },
		{ .key = "end", .title = "end", .unit = UNIT_ADDRESS,
		  .hidden = true },
		{ .key = "executable", .title = "program", .unit = UNIT_BOOL,
		  .hidden = true },
	};
	size_t count = modules_count(modules), shown = bounded(count, top);

	render_table(render, &(struct table_spec){
		.json_key = "modules", .title = "MODULES", .columns = columns,
		.num_columns = sizeof(columns) / sizeof(*columns),
	});
	for (size_t i = 0; i < shown; i++) {
		const struct module *module =
			modules_get((struct modules *)modules, i);
		char build_id[MODULE_BUILD_ID_MAX * 2 + 1];

		render_row(render, (struct cell[]){
			cell_text(module->path),
			cell_text(build_id_text(module, build_id)),
			cell_text(file_state_text(module->file_state)),
			cell_number(UNIT_ADDRESS, module->start),
			cell_number(UNIT_ADDRESS, module->end),
			cell_number(UNIT_BOOL, module->is_executable),
		});
	}
	render_table_end(render);
	tell_more(render, count, shown, "modules");
	render_gap(render);
}

static void tell_threads(struct render *render, const struct core_notes *notes,
			 uint64_t top)
{
	static const struct column columns[] = {
		{ .key = "name", .title = "name", .unit = UNIT_TEXT },
		{ .key = "tid", .title = "tid", .unit = UNIT_ID },
		{ .key = "state", .title = "state", .unit = UNIT_TEXT },
		{ .key = "signal", .title = "signal", .unit = UNIT_ID },
	};
	size_t count = notes->num_threads, shown = bounded(count, top);

	render_table(render, &(struct table_spec){
		.json_key = "threads", .title = "THREADS", .columns = columns,
		.num_columns = sizeof(columns) / sizeof(*columns),
	});
	for (size_t i = 0; i < shown; i++) {
		const struct core_thread *thread = &notes->threads[i];
		char name[sizeof(thread->name) + 1] = "";
		char state[2] = { thread->state, '\0' };

		memcpy(name, thread->name, sizeof(thread->name));
		render_row(render, (struct cell[]){
			cell_text(name[0] ? name : NULL),
			cell_number(UNIT_ID, thread->tid),
			cell_text(state[0] ? state : NULL),
			thread->signal ?
				cell_number(UNIT_ID,
					    (uint64_t)thread->signal) :
				cell_unknown(),
		});
	}
	render_table_end(render);
	tell_more(render, count, shown, "threads");
	render_gap(render);
}

static void tell_findings(struct render *render,
			  const struct findings *findings, uint64_t top)
{
	static const struct column columns[] = {
		{ .key = "text", .title = "finding", .unit = UNIT_TEXT },
		{ .key = "code", .title = "code", .unit = UNIT_TEXT },
		{ .key = "address", .title = "address", .unit = UNIT_ADDRESS },
		{ .key = "count", .title = "of this code", .unit = UNIT_COUNT },
	};
	size_t kept = findings_kept(findings), shown = bounded(kept, top);
	char number[UNITS_TEXT_MAX];

	if (kept == 0 && render_for_people(render)) {
		render_line(render, "no findings");
		return;
	}
	render_table(render, &(struct table_spec){
		.json_key = "findings", .title = "FINDINGS", .columns = columns,
		.num_columns = sizeof(columns) / sizeof(*columns),
	});
	for (size_t i = 0; i < shown; i++) {
		const struct finding *finding = findings_get(findings, i);

		render_row(render, (struct cell[]){
			cell_text(finding->text),
			cell_text(finding->code),
			finding->address ? cell_number(UNIT_ADDRESS,
						       finding->address) :
					   cell_unknown(),
			cell_number(UNIT_COUNT,
				    findings_of(findings, finding->code)),
		});
	}
	render_table_end(render);
	if (findings_total(findings) > shown)
		render_line(render, "  %s findings in all",
			    units_count(findings_total(findings), number));
}

static void gather_totals(const struct image *image,
			  struct cell cells[NUM_TOTALS])
{
	cells[TOTAL_SEGMENTS] = cell_number(UNIT_COUNT, image->num_segments);
	cells[TOTAL_SEGMENT_BYTES] = cell_number(UNIT_BYTES,
						 image->segment_bytes);
	cells[TOTAL_MISSING] = cell_number(UNIT_BYTES, image->missing_bytes);
	cells[TOTAL_MODULES] = cell_number(UNIT_COUNT,
					   modules_count(image->modules));
	cells[TOTAL_THREADS] = cell_number(UNIT_COUNT,
					   image->notes.num_threads);
	cells[TOTAL_FINDINGS] = cell_number(UNIT_COUNT,
					    findings_total(image->findings));
}

/** Why there is no runtime, where that is an answer and not a failure. */
static struct error *find_runtime(struct opened *opened,
				  struct pyh_runtime **ret, char **ret_why)
{
	struct error *err = opened_runtime(opened, ret);

	if (!err)
		return NULL;
	if (err->kind == ERROR_NO_MEMORY || err->kind == ERROR_INTERRUPTED)
		return err;
	*ret_why = strdup(err->message);
	error_free(err);
	return *ret_why ? NULL : error_no_memory();
}

static struct error *run(struct scan *scan)
{
	struct image *image = opened_image(scan->opened);
	struct render *render = &scan->render;
	struct teller teller = { .render = render, .gate = &scan->gate };
	CLEANUP(free_pointer) char *why_none = NULL;
	struct pyh_runtime *runtime = NULL;
	struct cell totals[NUM_TOTALS];
	struct dump_header header;
	struct error *err;

	err = find_runtime(scan->opened, &runtime, &why_none);
	if (err)
		return err;
	scan_begin(scan, "info");
	dump_header_gather(&header, scan->opened, runtime,
			   scan->options->values);
	gather_totals(image, totals);
	render_object(render, "totals", info_totals, totals, NUM_TOTALS);
	render_table(render, &(struct table_spec){
		.json_key = "rows", .title = NULL, .columns = info_columns,
		.num_columns = NUM_INFO_COLUMNS,
	});
	tell_file(&teller, &header, image);
	tell_process(&teller, &header, image);
	if (scan->options->values)
		tell_environment(&teller, &image->notes);
	tell_memory(&teller, image);
	tell_runtime(&teller, &header, runtime, why_none);
	render_table_end(render);
	render_gap(render);
	tell_modules(render, image->modules, scan->options->top);
	tell_threads(render, &image->notes, scan->options->top);
	tell_findings(render, image->findings, scan->options->top);
	render_end(render);
	gate_totals(&scan->gate, totals);
	return NULL;
}
