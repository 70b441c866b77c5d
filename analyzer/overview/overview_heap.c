/*
 * The overview: the heap as a whole; see overview_heap.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/overview/overview_heap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/cmd.h"
#include "analyzer/heap/paths.h"
#include "analyzer/heap/suspect_rows.h"
#include "analyzer/overview/overview_native.h"
#include "analyzer/show/scan_progress.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum { GARBAGE_SHARE_LEAST = 100 };	/* a hundredth of the memory */

void whole_deinit(struct whole *whole)
{
	error_free(whole->why_not);
}

static struct error *read_gc(struct scan *scan, struct whole *whole)
{
	struct pyh_runtime *runtime;
	struct memory_reader memory;
	struct error *err = opened_runtime(scan->opened, &runtime);

	if (!err)
		err = memory_reader_init(&memory, runtime->image->memory);
	if (err)
		return err;
	pyh_gc_read(runtime, &memory, 0, /* lists= */ false, &whole->gc);
	memory_reader_deinit(&memory);
	return NULL;
}

/** The types that garbage takes most for, where that is worth a line each. */
static struct error *weigh_garbage(struct whole *whole)
{
	const struct collector *collector = &whole->analysis->collector;
	const struct heapgraph *heap = whole->analysis->heap;
	uint32_t types = pyh_types_count(heap->pyh_types);
	CLEANUP(free_pointer) struct whole_garbage *sums = NULL;

	if (collector->freed_bytes <
	    whole->suspects.memory / GARBAGE_SHARE_LEAST + 1)
		return NULL;
	sums = calloc((size_t)types + 1, sizeof(*sums));
	if (!sums)
		return error_no_memory();
	for (uint32_t i = 0; i < heap->count; i++) {
		struct whole_garbage *sum = &sums[heap->types[i]];

		if (!node_set_has(&collector->freed, i))
			continue;
		sum->type = heapgraph_type(heap, i);
		sum->count++;
		sum->bytes += heapgraph_footprint(heap, i);
	}
	while (whole->num_garbage < WHOLE_ROWS_MAX) {
		struct whole_garbage *most = &sums[0];

		for (uint32_t i = 1; i < types; i++)
			if (sums[i].bytes > most->bytes)
				most = &sums[i];
		if (most->bytes == 0)
			break;
		whole->garbage[whole->num_garbage++] = *most;
		most->bytes = 0;
	}
	return NULL;
}

/** A row for each type: what one module does to an object, it does to its like. */
static void list_over_released(struct whole *whole)
{
	const struct heaproots *roots = &whole->analysis->roots;
	const struct heapgraph *heap = whole->analysis->heap;

	uint32_t seen = 0;

	for (uint32_t i = 0;
	     i < heap->count && seen < roots->num_over_released; i++) {
		size_t row = 0;

		if (!node_set_has(&roots->over_released, i))
			continue;
		seen++;
		while (row < whole->num_over_released &&
		       heapgraph_type(heap, whole->over_released[row]) !=
			       heapgraph_type(heap, i))
			row++;
		if (row == WHOLE_ROWS_MAX)
			continue;
		if (row == whole->num_over_released)
			whole->over_released[whole->num_over_released++] = i;
		whole->alike[row]++;
	}
}

static struct error *find_largest(struct scan *scan, struct whole *whole)
{
	CLEANUP(paths_release) struct paths *paths = NULL;
	struct error *err = paths_open(scan->opened, whole->analysis,
				       scan->options->values, &paths);

	return err ? err : largest_find(whole->analysis, &whole->suspects,
					paths, &whole->largest);
}

void whole_analyse(struct scan *scan, struct whole *whole)
{
	whole->why_not = analysis_of(scan->opened,
				     ANALYSIS_TREE | ANALYSIS_CYCLES,
				     &whole->analysis);
	if (!whole->why_not)
		whole->why_not = suspects_find(scan->opened, whole->analysis,
					       scan->options->values,
					       &whole->suspects);
	if (!whole->why_not)
		whole->why_not = find_largest(scan, whole);
	if (!whole->why_not)
		whole->why_not = weigh_garbage(whole);
	if (!whole->why_not)
		whole->why_not = read_gc(scan, whole);
	if (whole->why_not)
		whole->analysis = NULL;
	else
		list_over_released(whole);
	progress_clear();
}

struct error *whole_tell_suspects(struct scan *scan, const struct whole *whole,
				  const struct ledger *ledger,
				  unsigned int *ret_lines)
{
	struct render *render = &scan->render;
	char safe[RENDER_NAME_MAX];
	unsigned int lines = 2, of_native = 0;
	struct error *err = NULL;

	if (!whole->analysis) {
		render_head(render, "SUSPECTS");
		render_line(render, "  not looked for: %s",
			    render_name(render, whole->why_not->message, 100,
					safe));
	} else if (render_for_people(render)) {
		lines = suspect_lines(render, &whole->suspects,
				      opened_coverage_if_known(scan->opened),
				      ledger, "suspects");
		if (ledger)
			err = overview_native_tell(
				scan, whole->analysis, ledger,
				suspects_least(&whole->suspects), &of_native);
	} else {
		suspect_table(render, whole->analysis, &whole->suspects,
			      "suspects");
	}
	render_gap(render);
	*ret_lines = lines + of_native + 1;
	return err;
}

/* --- the largest owners --------------------------------------------------- */

enum { LARGEST_TYPE, LARGEST_RETAINED, LARGEST_DEVICE, LARGEST_SHARE,
       LARGEST_PATH, LARGEST_ADDRESS, NUM_LARGEST };

static const struct column largest_columns[NUM_LARGEST] = {
	[LARGEST_RETAINED] = { .key = "retained", .title = "retained", .unit = UNIT_BYTES },
	[LARGEST_DEVICE] = { .key = "device_retained", .title = "on devices",
		.unit = UNIT_BYTES },
	[LARGEST_SHARE] = { .key = "share", .title = "share", .unit = UNIT_SHARE },
	[LARGEST_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT, .width = 40 },
	[LARGEST_PATH] = { .key = "path", .title = "path", .unit = UNIT_TEXT },
	[LARGEST_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.hidden = true },
};

/** Head and rows, or the one line that says that there are none. */
unsigned int whole_lines_of_largest(const struct whole *whole)
{
	return !whole->analysis ? 3 :
	       whole->largest.count > 0 ?
		       (unsigned int)whole->largest.count + 2 :
		       whole->suspects.count > 0 ? 0 : 2;
}

static struct error *print_largest(struct scan *scan,
				   const struct whole *whole)
{
	const struct analysis *analysis = whole->analysis;
	bool device = heldbytes_has_device(analysis->held);
	struct column columns[NUM_LARGEST];
	CLEANUP(paths_release) struct paths *paths = NULL;
	struct error *err = paths_open(scan->opened, analysis,
				       scan->options->values, &paths);

	if (err)
		return err;
	memcpy(columns, largest_columns, sizeof(columns));
	columns[LARGEST_DEVICE].hidden = columns[LARGEST_DEVICE].absent =
		!device;
	render_table(&scan->render, &(struct table_spec){
		.json_key = "retained", .title = "RETAINED", .see = "retained",
		.columns = columns, .num_columns = NUM_LARGEST });
	for (size_t i = 0; !err && i < whole->largest.count; i++) {
		uint32_t object = whole->largest.objects[i];
		uint64_t retained = analysis->dominators.retained[object];
		uint64_t on_device = heldbytes_device(analysis->held, object);
		CLEANUP(path_deinit) struct path path = { 0 };
		char text[PATH_TEXT_MAX];

		err = paths_find(paths, object, &path);
		if (err)
			break;
		paths_text(paths, &path, text);
		render_row(&scan->render, (struct cell[NUM_LARGEST]){
			[LARGEST_RETAINED] = cell_number(UNIT_BYTES, retained),
			[LARGEST_DEVICE] = device ?
				cell_number(UNIT_BYTES, on_device) :
				cell_unknown(),
			[LARGEST_SHARE] = cell_part(retained + on_device,
						    whole->largest.memory),
			[LARGEST_TYPE] = cell_text(
				heapgraph_type(analysis->heap, object)->name),
			[LARGEST_PATH] = cell_text(text),
			[LARGEST_ADDRESS] = cell_number(
				UNIT_ADDRESS,
				heapgraph_address(analysis->heap, object)) });
	}
	render_table_end(&scan->render);
	return err;
}

/** Who keeps what suspects do not. */
struct error *whole_tell_largest(struct scan *scan, const struct whole *whole)
{
	struct error *err = NULL;

	if (!whole->analysis) {
		render_head(&scan->render, "RETAINED");
		render_line(&scan->render, "  not known, for the reason above");
	} else if (whole->largest.count > 0 ||
		   !render_for_people(&scan->render)) {
		err = print_largest(scan, whole);
	} else if (whole->suspects.count > 0) {
		return NULL;		/* these keep all there is */
	} else {
		char least[UNITS_TEXT_MAX];

		render_line(&scan->render, "RETAINED  nothing keeps %s or more "
			    "alive, 1 %% of %s%s",
			    units_size(whole->largest.least, least),
			    whole->suspects.memory_is_rss ? "RSS" :
							    "all objects",
			    heldbytes_has_device(whole->analysis->held) ?
				    " and tensors on devices" : "");
	}
	render_gap(&scan->render);
	return err;
}

/* --- garbage and counts --------------------------------------------------- */

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
       GARBAGE_FINALIZERS, GARBAGE_UNCOLLECTABLE, GARBAGE_ENABLED,
       GARBAGE_NATIVE, GARBAGE_OVER_RELEASED, GARBAGE_BY_WORDS,
       GARBAGE_LOST, GARBAGE_LOST_BYTES, NUM_GARBAGE };

static const struct column garbage_columns[NUM_GARBAGE] = {
	[GARBAGE_OBJECTS] = { .key = "objects", .unit = UNIT_COUNT },
	[GARBAGE_FREED] = { .key = "freed", .unit = UNIT_COUNT },
	[GARBAGE_BYTES] = { .key = "bytes", .unit = UNIT_BYTES },
	[GARBAGE_CYCLES] = { .key = "cycles", .unit = UNIT_COUNT },
	[GARBAGE_FINALIZERS] = { .key = "finalizers", .unit = UNIT_COUNT },
	[GARBAGE_UNCOLLECTABLE] = { .key = "uncollectable", .unit = UNIT_COUNT },
	[GARBAGE_ENABLED] = { .key = "gc_enabled", .unit = UNIT_BOOL },
	[GARBAGE_NATIVE] = { .key = "held_by_native_code", .unit = UNIT_COUNT },
	[GARBAGE_OVER_RELEASED] = { .key = "over_released", .unit = UNIT_COUNT },
	[GARBAGE_BY_WORDS] = { .key = "by_words", .unit = UNIT_COUNT },
	[GARBAGE_LOST] = { .key = "lost", .unit = UNIT_COUNT },
	[GARBAGE_LOST_BYTES] = { .key = "lost_bytes", .unit = UNIT_BYTES },
};

/** "; gc on, thresholds 700 10 10", as far as that is known. */
static void add_gc(char *line, size_t size, const struct pyh_gc *gc)
{
	const char *before = "; thresholds";

	if (gc->enabled != PYH_GC_UNKNOWN) {
		(void)snprintf(line + strlen(line), size - strlen(line),
			       "; gc %s%s", gc->enabled ? "on" : "off",
			       gc->enabled && pyh_gc_never_runs(gc) ?
				       ", but never by itself" : "");
		before = ", thresholds";
	}
	for (int i = 0; i < PYH_GC_GENERATIONS_MAX; i++) {
		int64_t threshold = gc->generations[i].threshold;

		if (threshold == PYH_GC_UNKNOWN)
			continue;
		(void)snprintf(line + strlen(line), size - strlen(line),
			       "%s %" PRId64, before, threshold);
		before = "";
	}
}

static void tell_garbage(struct scan *scan, const struct whole *whole,
			 uint32_t num_cycles)
{
	const struct collector *collector = &whole->analysis->collector;
	struct render *render = &scan->render;
	char number[UNITS_TEXT_MAX], bytes[UNITS_TEXT_MAX];
	char cycles[UNITS_TEXT_MAX], line[200], safe[RENDER_NAME_MAX];

	(void)snprintf(line, sizeof(line), "GARBAGE   %s objects, in or hanging "
		       "on %s cycle%s, %s",
		       units_count(collector->num_garbage, number),
		       units_count(num_cycles, cycles),
		       num_cycles == 1 ? "" : "s",
		       units_size(collector->freed_bytes, bytes));
	if (collector->num_garbage == 0)
		(void)snprintf(line, sizeof(line), "GARBAGE   none");
	else if (collector->num_finalizers > 0)
		(void)snprintf(line + strlen(line), sizeof(line) - strlen(line),
			       ", %s finalizer%s",
			       units_count(collector->num_finalizers, number),
			       collector->num_finalizers == 1 ? "" : "s");
	else
		(void)strcat(line, ", no finalizers");
	if (collector->num_uncollectable > 0)
		(void)snprintf(line + strlen(line), sizeof(line) - strlen(line),
			       ", %s uncollectable",
			       units_count(collector->num_uncollectable,
					   number));
	add_gc(line, sizeof(line), &whole->gc);
	render_line_see(render, line, "cycles");
	if (collector->num_by_words > 0)
		render_line(render, "  %s of them if words of unknown "
			    "structures are references",
			    units_count(collector->num_by_words, number));
	for (size_t i = 0; i < whole->num_garbage; i++) {
		const struct whole_garbage *sum = &whole->garbage[i];

		render_line(render, "  %s %s, %s",
			    units_count(sum->count, number),
			    render_name(render, sum->type->name, 60, safe),
			    units_size(sum->bytes, bytes));
	}
}

static void tell_counts(struct scan *scan, const struct whole *whole)
{
	const struct heaproots *roots = &whole->analysis->roots;
	const struct heapgraph *heap = whole->analysis->heap;
	struct render *render = &scan->render;
	char released[UNITS_TEXT_MAX], native[UNITS_TEXT_MAX];
	char line[200], safe[RENDER_NAME_MAX], dangling[96] = "";
	uint64_t freed = findings_of(opened_image(scan->opened)->findings,
				     HEAP_DANGLING);

	if (freed)
		(void)snprintf(dangling, sizeof(dangling), "%s reference%s to "
			       "no object (-v), ",
			       units_count(freed, native),
			       freed == 1 ? "" : "s");
	(void)snprintf(line, sizeof(line), "REFCOUNTS %s%s released too often; "
		       "%s object%s held by native code", dangling,
		       roots->num_over_released ?
			       units_count(roots->num_over_released, released) :
		       freed ? "no other" : "none",
		       units_count(roots->num_unexplained, native),
		       roots->num_unexplained == 1 ? "" : "s");
	render_line_see(render, line, "refcounts");
	for (size_t i = 0; i < whole->num_over_released; i++) {
		uint32_t object = whole->over_released[i];
		struct heap_count count = heaproots_count(heap, roots, object);
		char alike[UNITS_TEXT_MAX + 20] = "";

		if (whole->alike[i] > 1)
			(void)snprintf(alike, sizeof(alike), ", as %s more",
				       units_count(whole->alike[i] - 1,
						   native));
		render_line(render, "  0x%" PRIx64 " %s has a count of %" PRIu64
			    " and %" PRIu64 " owners: it will be freed while "
			    "in use%s", heapgraph_address(heap, object),
			    render_name(render, heapgraph_type(heap,
							       object)->name,
					40, safe),
			    heapgraph_refcount(heap, object),
			    count.objects + count.roots, alike);
	}
}

/** One line each of what is well in most programs, and rows of what is not. */
void whole_tell_state(struct scan *scan, const struct whole *whole)
{
	const struct collector *collector;
	struct render *render = &scan->render;
	uint32_t num_cycles;

	if (!whole->analysis) {
		render_line(render, "GARBAGE   not looked for, for the reason "
			    "above");
		render_line(render, "REFCOUNTS not compared, for the reason "
			    "above");
		return;
	}
	collector = &whole->analysis->collector;
	num_cycles = count_garbage_cycles(whole->analysis);
	tell_garbage(scan, whole, num_cycles);
	tell_counts(scan, whole);
	render_object(render, "garbage", garbage_columns, (struct cell[]){
		cell_number(UNIT_COUNT, collector->num_garbage),
		cell_number(UNIT_COUNT, collector->num_freed),
		cell_number(UNIT_BYTES, collector->freed_bytes),
		cell_number(UNIT_COUNT, num_cycles),
		cell_number(UNIT_COUNT, collector->num_finalizers),
		cell_number(UNIT_COUNT, collector->num_uncollectable),
		whole->gc.enabled == PYH_GC_UNKNOWN ? cell_unknown() :
			cell_number(UNIT_BOOL, whole->gc.enabled != 0),
		cell_number(UNIT_COUNT,
			    whole->analysis->roots.num_unexplained),
		cell_number(UNIT_COUNT,
			    whole->analysis->roots.num_over_released),
		cell_number(UNIT_COUNT, collector->num_by_words),
		cell_number(UNIT_COUNT, collector->num_lost),
		cell_number(UNIT_BYTES, collector->lost_bytes) },
		NUM_GARBAGE);
}

unsigned int whole_lines_of_state(const struct whole *whole)
{
	bool by_words = whole->analysis &&
			whole->analysis->collector.num_by_words > 0;

	return 2 + by_words + (unsigned int)(whole->num_garbage +
					     whole->num_over_released);
}
