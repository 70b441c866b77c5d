/*
 * Answers as text, JSON, NDJSON, CSV or Markdown; see render.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/show/render.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/show/textwidth.h"
#include "image/base/escape.h"
#include "image/base/guard.h"
#include "image/base/units.h"

enum {
	COLUMNS_DEFAULT = 120,
	/* Rows held back before widths are settled: more than anybody reads
	   on a screen, few enough to be no memory at all. */
	ROWS_HELD = 256,
	TEXT_WIDTH_LEAST = 16,
	/* Where nothing must line up, names must still end somewhere. */
	NAME_WIDTH_MOST = 1000,
};

#define BOLD "\033[1m"
#define PLAIN "\033[0m"

int cell_compare(struct cell a, struct cell b)
{
	if (!a.known || !b.known)
		return (int)b.known - (int)a.known;
	switch (a.unit) {
	case UNIT_TEXT:
		return strcmp(a.text, b.text);
	case UNIT_ADDRESS:
		return (a.number > b.number) - (a.number < b.number);
	case UNIT_SHARE:
		return (a.share < b.share) - (a.share > b.share);
	case UNIT_SIGNED:
	case UNIT_CHANGE:
	case UNIT_RATE:
		return ((int64_t)a.number < (int64_t)b.number) -
		       ((int64_t)a.number > (int64_t)b.number);
	case UNIT_COUNT:
	case UNIT_BYTES:
	case UNIT_BOOL:
	case UNIT_ID:
	case UNIT_CELL:
		break;
	}
	return (a.number < b.number) - (a.number > b.number);
}

void render_begin(struct render *render, FILE *out, enum render_format format,
		  const char *view)
{
	char schema[64];

	*render = (struct render){
		.out = out, .format = format, .columns = COLUMNS_DEFAULT,
	};
	if (format != RENDER_JSON)
		return;
	(void)snprintf(schema, sizeof(schema), "heapscan.%s/1", view);
	json_begin(&render->json, out, true);
	json_object(&render->json, NULL);
	json_string(&render->json, "schema", schema);
}

void render_end(struct render *render)
{
	assert(!render->table_open);
	if (render->format == RENDER_JSON)
		json_finish(&render->json);
}

/* --- single values -------------------------------------------------------- */

/** One cell under key in an object, or as an item (key NULL). */
static void json_cell(struct json *json, const char *key, struct cell cell)
{
	if (!cell.known)
		return;
	switch (cell.unit) {
	case UNIT_TEXT:
		json_string(json, key, cell.text);
		return;
	case UNIT_SHARE:
		json_double(json, key, cell.share);
		return;
	case UNIT_ADDRESS:
		json_address(json, key, cell.number);
		return;
	case UNIT_BOOL:
		json_bool(json, key, cell.number != 0);
		return;
	case UNIT_SIGNED:
	case UNIT_CHANGE:
	case UNIT_RATE:
		json_i64(json, key, (int64_t)cell.number);
		return;
	case UNIT_COUNT:
	case UNIT_BYTES:
	case UNIT_ID:
	case UNIT_CELL:
		json_u64(json, key, cell.number);
		return;
	}
}

static void csv_cell(FILE *out, struct cell cell)
{
	if (!cell.known)
		return;
	switch (cell.unit) {
	case UNIT_TEXT:
		escape_puts(out, ESCAPE_CSV, cell.text);
		return;
	case UNIT_SHARE:
		(void)fprintf(out, "%.10g", cell.share);
		return;
	case UNIT_ADDRESS:
		(void)fprintf(out, "0x%" PRIx64, cell.number);
		return;
	case UNIT_BOOL:
		(void)fputs(cell.number ? "true" : "false", out);
		return;
	case UNIT_SIGNED:
	case UNIT_CHANGE:
	case UNIT_RATE:
		(void)fprintf(out, "%" PRId64, (int64_t)cell.number);
		return;
	case UNIT_COUNT:
	case UNIT_BYTES:
	case UNIT_ID:
	case UNIT_CELL:
		(void)fprintf(out, "%" PRIu64, cell.number);
		return;
	}
}

/** For people, in at most columns; a new string, NULL without memory. */
static char *people_cell(struct cell cell, size_t columns)
{
	char text[UNITS_TEXT_MAX] = "";

	if (cell.known) {
		switch (cell.unit) {
		case UNIT_TEXT:
			return textwidth_fit(cell.text, strlen(cell.text),
					     columns);
		case UNIT_SHARE:
			(void)snprintf(text, sizeof(text), "%.1f %%",
				       cell.share * 100);
			break;
		case UNIT_ADDRESS:
			(void)snprintf(text, sizeof(text), "0x%" PRIx64,
				       cell.number);
			break;
		case UNIT_BOOL:
			(void)snprintf(text, sizeof(text), "%s",
				       cell.number ? "yes" : "no");
			break;
		case UNIT_SIGNED:
			(void)snprintf(text, sizeof(text), "%+" PRId64,
				       (int64_t)cell.number);
			break;
		case UNIT_BYTES:
			(void)units_size(cell.number, text);
			break;
		case UNIT_CHANGE:
		case UNIT_RATE:
			(void)units_change((int64_t)cell.number, text);
			break;
		case UNIT_ID:
			(void)snprintf(text, sizeof(text), "%" PRIu64,
				       cell.number);
			break;
		case UNIT_COUNT:
		case UNIT_CELL:
			(void)units_count(cell.number, text);
			break;
		}
	}
	return strdup(text);
}

/* --- text tables ---------------------------------------------------------- */

static bool is_left(const struct column *column)
{
	return column->unit == UNIT_TEXT || column->unit == UNIT_CELL;
}

static size_t last_shown(const struct table_spec *table)
{
	size_t last = 0;

	for (size_t i = 0; i < table->num_columns; i++) {
		if (!table->columns[i].hidden)
			last = i;
	}
	return last;
}

/** The title heads the first column where that holds text. */
static bool title_in_head(const struct table_spec *table)
{
	return table->title && is_left(&table->columns[0]) &&
	       !table->columns[0].hidden;
}

static const char *head_of(const struct table_spec *table, size_t i)
{
	return i == 0 && title_in_head(table) ? table->title :
						table->columns[i].title;
}

/** Pad text to width on the side that its column wants. */
static void put_padded(FILE *out, const char *text, size_t width, bool left,
		       bool last)
{
	size_t used = textwidth(text, strlen(text));
	int pad = used < width ? (int)(width - used) : 0;

	if (!left)
		(void)fprintf(out, "%*s", pad, "");
	(void)fputs(text, out);
	if (left && !last)
		(void)fprintf(out, "%*s", pad, "");
}

static void text_head(struct render *render)
{
	const struct table_spec *table = &render->table;
	size_t last = last_shown(table), used = 0;

	if (render->color)
		(void)fputs(BOLD, render->out);
	if (table->title && !title_in_head(table))
		(void)fprintf(render->out, "%s\n", table->title);
	for (size_t i = 0; i <= last; i++) {
		// A title starts at the margin, rows two columns in.
		bool outdented = i == 0 && title_in_head(table);
		size_t width = render->widths[i] + (outdented ? 2 : 0);

		if (table->columns[i].hidden)
			continue;
		if (!outdented)
			(void)fputs("  ", render->out);
		put_padded(render->out, head_of(table, i), width,
			   is_left(&table->columns[i]),
			   i == last && !table->see);
		used += width + (outdented ? 0 : 2);
	}
	if (table->see && used + 2 + strlen(table->see) <= render->columns)
		(void)fprintf(render->out, "%*s",
			      (int)(render->columns - used), table->see);
	(void)fputs(render->color ? PLAIN "\n" : "\n", render->out);
}

static void text_row(struct render *render, char *const *texts)
{
	const struct table_spec *table = &render->table;
	size_t last = last_shown(table);

	// No blanks at the ends of lines.
	while (last > 0 && (table->columns[last].hidden ||
			    (texts[last] && !texts[last][0])))
		last--;
	for (size_t i = 0; i <= last; i++) {
		if (table->columns[i].hidden)
			continue;
		(void)fputs("  ", render->out);
		put_padded(render->out, texts[i] ? texts[i] : "?",
			   render->widths[i], is_left(&table->columns[i]),
			   i == last);
	}
	(void)fputc('\n', render->out);
}

static void free_texts(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

/** How wide the held rows and the head want each column. */
static void wanted_widths(struct render *render)
{
	const struct table_spec *table = &render->table;

	for (size_t i = 0; i < table->num_columns; i++) {
		const char *head = head_of(table, i);
		size_t width = textwidth(head, strlen(head));

		if (i == 0 && title_in_head(table))
			width -= 2;
		for (size_t row = 0; row < render->num_held; row++) {
			const char *text =
				render->held[row * table->num_columns + i];
			size_t wanted = text ? textwidth(text, strlen(text)) :
					       1;

			if (wanted > width)
				width = wanted;
		}
		render->widths[i] = (unsigned int)width;
	}
}

/** The width of the widest column that may be narrower, the last of several. */
static unsigned int *widest_text(struct render *render)
{
	const struct table_spec *table = &render->table;
	unsigned int *widest = NULL;

	for (size_t i = 0; i < table->num_columns; i++) {
		if (!table->columns[i].hidden && !table->columns[i].whole &&
		    is_left(&table->columns[i]) &&
		    render->widths[i] > TEXT_WIDTH_LEAST &&
		    (!widest || render->widths[i] >= *widest))
			widest = &render->widths[i];
	}
	return widest;
}

/** Take from the widest text columns what the line is too wide by. */
static void narrow_widths(struct render *render)
{
	const struct table_spec *table = &render->table;
	unsigned int *widest;
	size_t total = 0;

	for (size_t i = 0; i < table->num_columns; i++) {
		if (table->columns[i].hidden)
			continue;
		if (table->columns[i].width &&
		    render->widths[i] > table->columns[i].width)
			render->widths[i] = table->columns[i].width;
		total += render->widths[i] + 2;
	}
	while (total > render->columns &&
	       (widest = widest_text(render)) != NULL) {
		--*widest;
		total--;
	}
}

/** Cut texts of one row to the settled widths. */
static void refit(struct render *render, char **texts)
{
	for (size_t i = 0; i < render->table.num_columns; i++) {
		char *cut;

		if (!texts[i] || !is_left(&render->table.columns[i]) ||
		    render->table.columns[i].whole ||
		    textwidth(texts[i], strlen(texts[i])) <= render->widths[i])
			continue;
		cut = textwidth_fit(texts[i], strlen(texts[i]),
				    render->widths[i] < 3 ? 3 :
							    render->widths[i]);
		free(texts[i]);
		texts[i] = cut;
	}
}

/** Decide the widths and let the held rows go. */
static void settle(struct render *render)
{
	size_t columns = render->table.num_columns;

	if (render->flowing)
		return;
	wanted_widths(render);
	narrow_widths(render);
	text_head(render);
	for (size_t row = 0; row < render->num_held; row++) {
		refit(render, render->held + row * columns);
		text_row(render, render->held + row * columns);
	}
	free_texts(render->held, render->num_held * columns);
	render->held = NULL;
	render->num_held = 0;
	render->flowing = true;
}

static void text_add(struct render *render, const struct cell *cells)
{
	size_t columns = render->table.num_columns;
	char *texts[RENDER_COLUMNS_MAX];

	for (size_t i = 0; i < columns; i++)
		texts[i] = people_cell(cells[i],
				       render->table.columns[i].whole ?
					       NAME_WIDTH_MOST :
					       render->columns);
	assert(columns > 0);
	if (!render->flowing && !render->held)
		render->held = calloc(ROWS_HELD * columns, sizeof(char *));
	if (!render->flowing && render->held) {
		memcpy(render->held + render->num_held * columns, texts,
		       columns * sizeof(*texts));
		if (++render->num_held == ROWS_HELD)
			settle(render);
		return;
	}
	settle(render);
	refit(render, texts);
	text_row(render, texts);
	for (size_t i = 0; i < columns; i++)
		free(texts[i]);
}

/* --- Markdown tables ------------------------------------------------------ */

static void md_head(struct render *render)
{
	const struct table_spec *table = &render->table;

	if (table->title)
		(void)fprintf(render->out, "### %s\n\n", table->title);
	(void)fputc('|', render->out);
	for (size_t i = 0; i < table->num_columns; i++) {
		if (!table->columns[i].hidden)
			(void)fprintf(render->out, " %s |",
				      table->columns[i].title);
	}
	(void)fputs("\n|", render->out);
	for (size_t i = 0; i < table->num_columns; i++) {
		if (!table->columns[i].hidden)
			(void)fputs(is_left(&table->columns[i]) ? "---|" :
								  "---:|",
				    render->out);
	}
	(void)fputc('\n', render->out);
}

static void md_row(struct render *render, const struct cell *cells)
{
	const struct table_spec *table = &render->table;

	(void)fputc('|', render->out);
	for (size_t i = 0; i < table->num_columns; i++) {
		CLEANUP(free_pointer) char *text = NULL;

		if (table->columns[i].hidden)
			continue;
		text = people_cell(cells[i], NAME_WIDTH_MOST);
		(void)fputc(' ', render->out);
		escape_puts(render->out, ESCAPE_MARKDOWN, text ? text : "?");
		(void)fputs(" |", render->out);
	}
	(void)fputc('\n', render->out);
}

/* --- tables --------------------------------------------------------------- */

/** NDJSON and CSV are one table only. */
static bool is_printed(const struct render *render)
{
	return (render->format != RENDER_NDJSON &&
		render->format != RENDER_CSV) ||
	       strcmp(render->table.json_key, "rows") == 0;
}

static void csv_head(struct render *render)
{
	const char *comma = "";

	for (size_t i = 0; i < render->table.num_columns; i++) {
		if (render->table.columns[i].absent)
			continue;
		(void)fprintf(render->out, "%s%s", comma,
			      render->table.columns[i].key);
		comma = ",";
	}
	(void)fputc('\n', render->out);
}

void render_table(struct render *render, const struct table_spec *spec)
{
	assert(!render->table_open && spec->num_columns <= RENDER_COLUMNS_MAX);
	render->table = *spec;
	render->table_open = true;
	render->flowing = false;
	if (render->format == RENDER_JSON)
		json_array(&render->json, spec->json_key);
	else if (render->format == RENDER_CSV && is_printed(render))
		csv_head(render);
	else if (render->format == RENDER_MD)
		md_head(render);
}

static void json_cells(struct json *json, const char *key,
		       const struct column *columns, const struct cell *cells,
		       size_t count)
{
	json_object(json, key);
	for (size_t i = 0; i < count; i++)
		json_cell(json, columns[i].key, cells[i]);
	json_end(json);
}

static void ndjson_row(struct render *render, const struct cell *cells)
{
	struct json json;

	json_begin(&json, render->out, false);
	json_cells(&json, NULL, render->table.columns, cells,
		   render->table.num_columns);
	json_finish(&json);
}

static void csv_row(struct render *render, const struct cell *cells)
{
	const char *comma = "";

	for (size_t i = 0; i < render->table.num_columns; i++) {
		if (render->table.columns[i].absent)
			continue;
		(void)fputs(comma, render->out);
		csv_cell(render->out, cells[i]);
		comma = ",";
	}
	(void)fputc('\n', render->out);
}

void render_row(struct render *render, const struct cell *cells)
{
	assert(render->table_open);
	if (!is_printed(render))
		return;
	switch (render->format) {
	case RENDER_TEXT:
		text_add(render, cells);
		return;
	case RENDER_JSON:
		json_cells(&render->json, NULL, render->table.columns, cells,
			   render->table.num_columns);
		return;
	case RENDER_NDJSON:
		ndjson_row(render, cells);
		return;
	case RENDER_CSV:
		csv_row(render, cells);
		return;
	case RENDER_MD:
		md_row(render, cells);
		return;
	}
}

/* --- rows with arrays ----------------------------------------------------- */

/** Where the open row is written to; NULL where there are no arrays. */
static struct json *open_row(struct render *render)
{
	return render->format == RENDER_JSON ? &render->json :
	       render->format == RENDER_NDJSON && is_printed(render) ?
		       &render->line : NULL;
}

void render_row_open(struct render *render, const struct cell *cells)
{
	struct json *json = open_row(render);

	assert(render->table_open);
	if (!json) {
		render_row(render, cells);
		return;
	}
	if (render->format == RENDER_NDJSON)
		json_begin(json, render->out, false);
	json_object(json, NULL);
	for (size_t i = 0; i < render->table.num_columns; i++)
		json_cell(json, render->table.columns[i].key, cells[i]);
}

void render_nested(struct render *render, const char *key)
{
	struct json *json = open_row(render);

	if (json)
		json_array(json, key);
}

void render_nested_row(struct render *render, const struct column *columns,
		       const struct cell *cells, size_t count)
{
	struct json *json = open_row(render);

	if (json)
		json_cells(json, NULL, columns, cells, count);
}

void render_nested_object(struct render *render, const char *key,
			  const struct column *columns,
			  const struct cell *cells, size_t count)
{
	struct json *json = open_row(render);

	if (!json)
		return;
	json_object(json, key);
	for (size_t i = 0; i < count; i++)
		json_cell(json, columns[i].key, cells[i]);
}

void render_nested_end(struct render *render)
{
	struct json *json = open_row(render);

	if (json)
		json_end(json);
}

void render_row_close(struct render *render)
{
	if (render->format == RENDER_JSON)
		json_end(&render->json);
	else if (open_row(render))
		json_finish(&render->line);
}

void render_rest(struct render *render, const struct cell *cells)
{
	if (render_for_people(render))
		render_row(render, cells);
}

void render_table_end(struct render *render)
{
	assert(render->table_open);
	if (render->format == RENDER_JSON)
		json_end(&render->json);
	else if (render->format == RENDER_TEXT)
		settle(render);
	render->table_open = false;
}

void render_object(struct render *render, const char *key,
		   const struct column *columns, const struct cell *cells,
		   size_t count)
{
	if (render->format == RENDER_JSON)
		json_cells(&render->json, key, columns, cells, count);
}

/* --- lines ---------------------------------------------------------------- */

void render_head(struct render *render, const char *head)
{
	if (render->format == RENDER_TEXT)
		(void)fprintf(render->out, "%s%s%s\n",
			      render->color ? BOLD : "", head,
			      render->color ? PLAIN : "");
	else if (render->format == RENDER_MD)
		(void)fprintf(render->out, "### %s\n\n", head);
}

__attribute__((format(printf, 3, 0)))
static void put_line(struct render *render, bool cut, const char *format,
		     va_list args)
{
	CLEANUP(free_pointer) char *line = NULL;
	CLEANUP(free_pointer) char *fitted = NULL;

	if (!render_for_people(render) || vasprintf(&line, format, args) < 0)
		return;
	if (cut && render->format == RENDER_TEXT)
		fitted = textwidth_fit(line, strlen(line), render->columns);
	(void)fprintf(render->out, "%s%s\n",
		      render->format == RENDER_MD ? "- " : "",
		      fitted ? fitted : line);
}

void render_line(struct render *render, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put_line(render, true, format, args);
	va_end(args);
}

void render_line_see(struct render *render, const char *text, const char *see)
{
	int width = (int)render->columns - (int)strlen(see);

	if (render->format == RENDER_TEXT && (int)strlen(text) + 2 <= width)
		render_line(render, "%-*s%s", width, text, see);
	else
		render_line(render, "%s", text);
}

void render_whole_line(struct render *render, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put_line(render, false, format, args);
	va_end(args);
}

void render_gap(struct render *render)
{
	if (render_for_people(render))
		(void)fputc('\n', render->out);
}

const char *render_name(const struct render *render, const char *name,
			size_t columns, char text[RENDER_NAME_MAX])
{
	for (; name && columns >= 3; columns /= 2) {
		CLEANUP(free_pointer) char *fitted =
			textwidth_fit(name, strlen(name), columns);
		CLEANUP(free_pointer) char *safe = NULL;

		if (fitted && render->format == RENDER_MD)
			safe = escape_copy(ESCAPE_MARKDOWN, fitted,
					   strlen(fitted));
		else
			safe = TAKE(fitted);
		if (safe && strlen(safe) < RENDER_NAME_MAX)
			return strcpy(text, safe);
	}
	return strcpy(text, "?");
}
