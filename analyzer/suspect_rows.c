/*
 * Leak suspects as rows and lines; see suspect_rows.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/suspect_rows.h"

#include <stdio.h>
#include <string.h>

#include "image/base/units.h"

const struct column suspect_columns[NUM_SUSPECT_COLUMNS] = {
	[SUSPECT_COLUMN_PATH] = { .key = "path", .title = "path", .unit = UNIT_TEXT,
		.about = "to the object where it piles up; absent where there is "
			 "no such object" },
	[SUSPECT_COLUMN_SENTENCE] = { .key = "sentence", .title = "sentence", .unit = UNIT_TEXT,
		.about = "what it is, and how much it keeps" },
	[SUSPECT_COLUMN_RETAINED] = { .key = "retained", .title = "retained", .unit = UNIT_BYTES,
		.about = "what would go with it" },
	[SUSPECT_COLUMN_SHARE] = { .key = "share", .title = "share", .unit = UNIT_SHARE,
		.about = "of the memory in question: RSS where that is known, "
			 "else all objects" },
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

void suspect_cells(const struct heapgraph *heap,
		   const struct suspect *suspect,
		   struct cell cells[NUM_SUSPECT_COLUMNS])
{
	for (int i = 0; i < NUM_SUSPECT_COLUMNS; i++)
		cells[i] = cell_unknown();
	if (suspect->object != GRAPH_NONE) {
		cells[SUSPECT_COLUMN_PATH] = cell_text(suspect->path);
		cells[SUSPECT_COLUMN_ADDRESS] = cell_number(
			UNIT_ADDRESS,
			heapgraph_address(heap, suspect->object));
		cells[SUSPECT_COLUMN_TYPE] = cell_text(
			heapgraph_type(heap, suspect->object)->name);
	}
	cells[SUSPECT_COLUMN_SENTENCE] = cell_text(suspect->sentence);
	cells[SUSPECT_COLUMN_RETAINED] = cell_number(UNIT_BYTES,
						     suspect->retained);
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

void suspect_table(struct render *render, const struct heapgraph *heap,
		   const struct suspects *suspects, const char *json_key)
{
	struct cell cells[NUM_SUSPECT_COLUMNS];

	render_table(render, &(struct table_spec){
		.json_key = json_key, .title = "SUSPECTS",
		.columns = suspect_columns,
		.num_columns = NUM_SUSPECT_COLUMNS });
	for (size_t i = 0; i < suspects->count; i++) {
		suspect_cells(heap, &suspects->list[i], cells);
		render_row(render, cells);
	}
	render_table_end(render);
}

/* --- for people ------------------------------------------------------------ */

enum { PATH_COLUMNS = 60, LINE_COLUMNS = 112 };

/** Words up to a width, at a "; " where the rest is too long for one line. */
static void print_evidence(struct render *render, const char *evidence)
{
	char part[512], safe[RENDER_NAME_MAX];

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
		evidence += length;
		if (*evidence)
			evidence += 2;
	}
}

static void print_suspect(struct render *render, const struct suspect *suspect,
			  size_t number)
{
	char path[RENDER_NAME_MAX], sentence[RENDER_NAME_MAX];
	const char *text = suspect->path;
	bool own_line = strlen(text) + strlen(suspect->sentence) > 110;

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
	print_evidence(render, suspect->evidence);
}

/** Theories that are closed, each with a number. */
static void print_ruled_out(struct render *render,
			    const struct suspects *suspects)
{
	bool garbage = false, native = false;
	char bytes[UNITS_TEXT_MAX], number[UNITS_TEXT_MAX];
	char held[UNITS_TEXT_MAX], line[200] = "";

	for (size_t i = 0; i < suspects->count; i++) {
		garbage |= suspects->list[i].pattern == SUSPECT_GARBAGE;
		native |= suspects->list[i].pattern == SUSPECT_NATIVE;
	}
	if (!garbage)
		(void)snprintf(line, sizeof(line), "garbage %s",
			       units_size(suspects->garbage_bytes, bytes));
	if (!native)
		(void)snprintf(line + strlen(line), sizeof(line) - strlen(line),
			       "%s%s objects held by native code alone, %s",
			       line[0] ? ", " : "",
			       units_count(suspects->unexplained, number),
			       units_size(suspects->unexplained_bytes, held));
	if (line[0])
		render_line(render, "  ruled out: %s", line);
}

void suspect_lines(struct render *render, const struct suspects *suspects,
		   const char *see)
{
	char head[160];

	if (see && render->format == RENDER_TEXT)
		(void)snprintf(head, sizeof(head), "%-*s%s",
			       (int)(render->columns - strlen(see)), "SUSPECTS",
			       see);
	else
		(void)snprintf(head, sizeof(head), "SUSPECTS");
	render_head(render, head);
	if (suspects->count == 0)
		render_line(render, "  none stands out");
	for (size_t i = 0; i < suspects->count; i++)
		print_suspect(render, &suspects->list[i], i + 1);
	print_ruled_out(render, suspects);
}
