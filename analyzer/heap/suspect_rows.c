/*
 * Leak suspects as rows and lines; see suspect_rows.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/suspect_rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "image/base/units.h"

const struct column suspect_columns[NUM_SUSPECT_COLUMNS] = {
	[SUSPECT_COLUMN_PATH] = { .key = "path", .title = "path", .unit = UNIT_TEXT,
		.about = "to the object where it piles up, or the attribute that "
			 "has copies; absent where there is none" },
	[SUSPECT_COLUMN_SENTENCE] = { .key = "sentence", .title = "sentence", .unit = UNIT_TEXT,
		.about = "what it is, and how much it keeps" },
	[SUSPECT_COLUMN_RETAINED] = { .key = "retained", .title = "retained", .unit = UNIT_BYTES,
		.about = "what would go with it of the process's memory" },
	[SUSPECT_COLUMN_DEVICE] = { .key = "device", .title = "device", .unit = UNIT_TEXT,
		.about = "the memory in question, of one that is about data of "
			 "tensors: cuda:0, or cpu" },
	[SUSPECT_COLUMN_DEVICE_RETAINED] = { .key = "device_retained",
		.title = "on devices", .unit = UNIT_BYTES,
		.about = "data of tensors on devices that would go with it" },
	[SUSPECT_COLUMN_SHARE] = { .key = "share", .title = "share", .unit = UNIT_SHARE,
		.about = "of the memory in question: RSS where that is known, "
			 "else all objects; of one on a device, of the data of "
			 "all tensors there, but for parameters, gradients, "
			 "buffers and an optimizer's state, which it never "
			 "counts" },
	[SUSPECT_COLUMN_PATTERN] = { .key = "pattern", .title = "pattern", .unit = UNIT_TEXT,
		.about = "the known kind of leak that it looks like" },
	[SUSPECT_COLUMN_EVIDENCE] = { .key = "evidence", .title = "evidence", .unit = UNIT_TEXT,
		.about = "why it is named" },
	[SUSPECT_COLUMN_ADDRESS] = { .key = "address", .title = "address", .unit = UNIT_ADDRESS,
		.about = "of the object where it piles up" },
	[SUSPECT_COLUMN_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.about = "of that object" },
	[SUSPECT_COLUMN_ELEMENT] = { .key = "element", .title = "element", .unit = UNIT_TEXT,
		.about = "the type that piles up" },
	[SUSPECT_COLUMN_COUNT] = { .key = "count", .title = "count", .unit = UNIT_COUNT,
		.about = "objects of that type" },
};

void suspect_cells(const struct analysis *analysis,
		   const struct suspect *suspect,
		   struct suspect_texts *texts,
		   struct cell cells[NUM_SUSPECT_COLUMNS])
{
	const struct heapgraph *heap = analysis->heap;

	for (int i = 0; i < NUM_SUSPECT_COLUMNS; i++)
		cells[i] = cell_unknown();
	if (suspect->path[0])
		cells[SUSPECT_COLUMN_PATH] = cell_text(suspect->path);
	if (suspect->object != GRAPH_NONE) {
		cells[SUSPECT_COLUMN_ADDRESS] = cell_number(
			UNIT_ADDRESS,
			heapgraph_address(heap, suspect->object));
		cells[SUSPECT_COLUMN_TYPE] = cell_text(
			heapgraph_type(heap, suspect->object)->name);
	}
	cells[SUSPECT_COLUMN_SENTENCE] = cell_text(suspect->sentence);
	cells[SUSPECT_COLUMN_RETAINED] = cell_number(UNIT_BYTES,
						     suspect->retained);
	if (suspect->in_tensors)
		cells[SUSPECT_COLUMN_DEVICE] = cell_text(
			suspect_memory(suspect, texts->memory));
	if (heldbytes_has_device(analysis->held) &&
	    suspect->object != GRAPH_NONE)
		cells[SUSPECT_COLUMN_DEVICE_RETAINED] = cell_number(
			UNIT_BYTES,
			heldbytes_device(analysis->held, suspect->object));
	cells[SUSPECT_COLUMN_SHARE] = cell_share(suspect->share);
	cells[SUSPECT_COLUMN_PATTERN] = cell_text(
		suspect_pattern_name(suspect->pattern));
	cells[SUSPECT_COLUMN_EVIDENCE] = cell_text(suspect->evidence);
	if (suspect->element)
		cells[SUSPECT_COLUMN_ELEMENT] =
			cell_text(suspect->element->name);
	if (suspect->elements)
		cells[SUSPECT_COLUMN_COUNT] = cell_number(UNIT_COUNT,
							  suspect->elements);
}

void suspect_table(struct render *render, const struct analysis *analysis,
		   const struct suspects *suspects, const char *json_key)
{
	struct cell cells[NUM_SUSPECT_COLUMNS];
	struct suspect_texts texts;

	render_table(render, &(struct table_spec){
		.json_key = json_key, .title = "SUSPECTS",
		.columns = suspect_columns,
		.num_columns = NUM_SUSPECT_COLUMNS });
	for (size_t i = 0; i < suspects->count; i++) {
		suspect_cells(analysis, &suspects->list[i], &texts, cells);
		render_row(render, cells);
	}
	render_table_end(render);
}

/* --- for people ------------------------------------------------------------ */

enum {
	PATH_COLUMNS = 60, LINE_COLUMNS = 112, THEORY_MAX = 100,
	THEORIES_COLUMNS = 118,
};

/** Words up to a width, at a "; " where the rest is too long for one line. */
static unsigned int print_evidence(struct render *render, const char *evidence)
{
	char part[512], safe[RENDER_NAME_MAX];
	unsigned int lines = 0;

	while (*evidence) {
		const char *end = strstr(evidence, "; ");
		size_t length = end ? (size_t)(end - evidence) :
				      strlen(evidence);

		// As many parts as one line holds.
		while (end) {
			const char *next = strstr(end + 2, "; ");
			size_t longer = next ? (size_t)(next - evidence) :
					       strlen(evidence);

			if (longer > LINE_COLUMNS)
				break;
			length = longer;
			end = next;
		}
		(void)snprintf(part, sizeof(part), "%.*s", (int)length,
			       evidence);
		render_line(render, "     %s",
			    render_name(render, part, LINE_COLUMNS, safe));
		lines++;
		evidence += length;
		if (*evidence)
			evidence += 2;
	}
	return lines;
}

static unsigned int print_suspect(struct render *render,
				  const struct suspect *suspect, size_t number)
{
	char path[RENDER_NAME_MAX], sentence[RENDER_NAME_MAX];
	const char *text = suspect->path;
	bool own_line = strlen(text) > PATH_COLUMNS ||
			strlen(text) + strlen(suspect->sentence) > 110;

	(void)render_name(render, suspect->sentence, LINE_COLUMNS, sentence);
	if (!text[0]) {
		render_line(render, "  %zu  %s", number, sentence);
	} else if (own_line) {
		render_line(render, "  %zu  %s", number,
			    render_name(render, text, LINE_COLUMNS, path));
		render_line(render, "     %s", sentence);
	} else {
		render_line(render, "  %zu  %s   %s", number,
			    render_name(render, text, PATH_COLUMNS, path),
			    sentence);
	}
	return (text[0] && own_line ? 2 : 1) +
	       print_evidence(render, suspect->evidence);
}

static void append(char *line, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** One more theory on a line of them. */
static void append(char *line, size_t size, const char *format, ...)
{
	size_t length = strlen(line);
	va_list args;

	if (length > 0 && length + 2 < size) {
		(void)memcpy(line + length, ", ", 3);
		length += 2;
	}
	va_start(args, format);
	(void)vsnprintf(line + length, size - length, format, args);
	va_end(args);
}

/** Theories that were looked into. */
enum theory { THEORY_GARBAGE, THEORY_LOST, THEORY_FREE, THEORY_MALLOC, THEORY_NATIVE,
	      THEORY_SHARED, THEORY_FILES, THEORY_UNEXPLAINED, NUM_THEORIES };

/** Free memory of the allocators: of Python's alone, where the rest is not known. */
static bool free_space(const struct pyh_coverage *coverage,
		       const struct ledger *ledger, uint64_t *ret)
{
	if (ledger && !*ledger->no_python)
		*ret = ledger_group_bytes(ledger, LEDGER_OF_PYMALLOC) +
		       ledger_group_bytes(ledger, LEDGER_OF_MALLOC_FREE) +
		       ledger->rows[LEDGER_ALLOCATOR_FREE].bytes;
	else if (coverage && coverage->arenas)
		*ret = coverage->free_bytes;
	else
		return false;
	return true;
}

/** What is mapped and no allocator's: few programs have enough for a word. */
static bool put_group(const struct suspects *suspects,
		      const struct ledger *ledger, enum ledger_group group,
		      const char *name, char text[THEORY_MAX],
		      uint64_t *ret_bytes)
{
	char bytes[UNITS_TEXT_MAX];

	if (!ledger)
		return false;
	*ret_bytes = ledger_group_bytes(ledger, group);
	(void)snprintf(text, THEORY_MAX, "%s %s", name,
		       units_size(*ret_bytes, bytes));
	return *ret_bytes >= suspects_least(suspects);
}

/** One of them, with its number; false: it is a suspect, or not known. */
static bool put_theory(const struct suspects *suspects,
		       const struct pyh_coverage *coverage,
		       const struct ledger *ledger, enum theory theory,
		       char text[THEORY_MAX], uint64_t *ret_bytes)
{
	static const int patterns[] = { [THEORY_GARBAGE] = SUSPECT_GARBAGE,
					[THEORY_LOST] = NUM_SUSPECT_PATTERNS,
					[THEORY_FREE] = NUM_SUSPECT_PATTERNS,
					[THEORY_MALLOC] = NUM_SUSPECT_PATTERNS,
					[THEORY_NATIVE] = SUSPECT_NATIVE,
					[THEORY_SHARED] = NUM_SUSPECT_PATTERNS,
					[THEORY_FILES] = NUM_SUSPECT_PATTERNS,
					[THEORY_UNEXPLAINED] = NUM_SUSPECT_PATTERNS };
	char bytes[UNITS_TEXT_MAX], number[UNITS_TEXT_MAX];

	for (size_t i = 0; i < suspects->count; i++)
		if ((int)suspects->list[i].pattern == patterns[theory])
			return false;
	switch (theory) {
	case THEORY_GARBAGE:
		*ret_bytes = suspects->garbage_bytes;
		(void)snprintf(text, THEORY_MAX, "garbage %s",
			       units_size(*ret_bytes, bytes));
		return true;
	case THEORY_LOST:
		*ret_bytes = suspects->lost_bytes;
		(void)snprintf(text, THEORY_MAX, "%s objects that nothing "
			       "known leads to, nor gc.collect() frees: %s",
			       units_count(suspects->lost, number),
			       units_size(*ret_bytes, bytes));
		// Most programs have none.
		return *ret_bytes >= suspects_least(suspects);
	case THEORY_FREE:
		if (!free_space(coverage, ledger, ret_bytes))
			return false;
		(void)snprintf(text, THEORY_MAX, "free allocator space %s",
			       units_size(*ret_bytes, bytes));
		return true;
	case THEORY_MALLOC:
		if (!ledger || *ledger->no_malloc)
			return false;
		*ret_bytes = ledger_group_bytes(ledger, LEDGER_OF_MALLOC_USED) +
			     ledger_group_bytes(ledger, LEDGER_OF_MAPPED) +
			     ledger->rows[LEDGER_ALLOCATOR_USED].bytes +
			     ledger->rows[LEDGER_ALLOCATOR].bytes;
		(void)snprintf(text, THEORY_MAX, "native code %s",
			       units_size(*ret_bytes, bytes));
		return true;
	case THEORY_SHARED:
		return put_group(suspects, ledger, LEDGER_OF_SHARED,
				 "shared memory", text, ret_bytes);
	case THEORY_FILES:
		return put_group(suspects, ledger, LEDGER_OF_FILES,
				 "mapped files", text, ret_bytes);
	case THEORY_UNEXPLAINED:
		return put_group(suspects, ledger, LEDGER_OF_UNEXPLAINED,
				 "unexplained memory", text, ret_bytes);
	default:
		*ret_bytes = suspects->unexplained_bytes;
		(void)snprintf(text, THEORY_MAX, "%s object%s held by %s code "
			       "alone, %s",
			       units_count(suspects->unexplained, number),
			       suspects->unexplained == 1 ? "" : "s",
			       ledger ? "C" : "native",
			       units_size(*ret_bytes, bytes));
		return true;
	}
}

#define RULED_OUT	"  ruled out: "
#define BELOW_RULED_OUT	"             "

/** Those that are closed, and those that have enough to be looked into. */
static unsigned int print_theories(struct render *render,
				   const struct suspects *suspects,
				   const struct pyh_coverage *coverage,
				   const struct ledger *ledger)
{
	char closed[THEORIES_COLUMNS + 1] = "", text[THEORY_MAX];
	const char *before = RULED_OUT;
	unsigned int lines = 0;
	uint64_t bytes;

	for (int i = 0; i < NUM_THEORIES; i++) {
		if (!put_theory(suspects, coverage, ledger, i, text, &bytes) ||
		    bytes >= suspects_least(suspects))
			continue;
		// What one line has no room for goes on the next.
		if (closed[0] && strlen(before) + strlen(closed) +
				 strlen(text) + 2 > THEORIES_COLUMNS) {
			render_line(render, "%s%s,", before, closed);
			lines++;
			before = BELOW_RULED_OUT;
			closed[0] = '\0';
		}
		append(closed, sizeof(closed), "%s", text);
	}
	if (closed[0]) {
		render_line(render, "%s%s", before, closed);
		lines++;
	}
	for (int i = 0; i < NUM_THEORIES; i++) {
		if (!put_theory(suspects, coverage, ledger, i, text, &bytes) ||
		    bytes < suspects_least(suspects))
			continue;
		render_line(render, "  not ruled out: %s, %.1f %% of %s", text,
			    100.0 * (double)bytes / (double)suspects->memory,
			    suspects->memory_is_rss ? "RSS" : "all objects");
		lines++;
	}
	return lines;
}

unsigned int suspect_lines(struct render *render,
			   const struct suspects *suspects,
			   const struct pyh_coverage *coverage,
			   const struct ledger *ledger, const char *see)
{
	unsigned int lines = 1;
	char head[160];

	if (see && render->format == RENDER_TEXT)
		(void)snprintf(head, sizeof(head), "%-*s%s",
			       (int)(render->columns - strlen(see)), "SUSPECTS",
			       see);
	else
		(void)snprintf(head, sizeof(head), "SUSPECTS");
	render_head(render, head);
	if (suspects->count == 0) {
		render_line(render, "  none stands out");
		lines++;
	}
	for (size_t i = 0; i < suspects->count; i++)
		lines += print_suspect(render, &suspects->list[i], i + 1);
	return lines + print_theories(render, suspects, coverage, ledger);
}
