/*
 * Who refers to one object, as rows; see referrer_rows.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/referrer_rows.h"

#include "image/base/units.h"

enum { EDGE_MAX_BYTES = 1024 };	/* of the text of a reference */

enum referrer_column {
	REFERRER_ADDRESS,
	REFERRER_TYPE,
	REFERRER_EDGE,
	NUM_REFERRER_COLUMNS
};

static const struct column referrer_columns[NUM_REFERRER_COLUMNS] = {
	[REFERRER_ADDRESS] = { .key = "address", .title = "address",
		.unit = UNIT_ADDRESS, .width = 18 },
	[REFERRER_TYPE] = { .key = "type", .title = "type", .unit = UNIT_TEXT,
		.width = 40 },
	[REFERRER_EDGE] = { .key = "edge", .title = "refers by",
		.unit = UNIT_TEXT },
};

static void referrer_cells(const struct pyh_naming *naming,
			   const struct referrer *referrer,
			   char text[EDGE_MAX_BYTES],
			   struct cell cells[NUM_REFERRER_COLUMNS])
{
	if (referrer->is_root) {
		pyh_path_text(naming, &referrer->root, NULL, 0, text,
			      EDGE_MAX_BYTES);
		cells[REFERRER_ADDRESS] = cells[REFERRER_TYPE] = cell_unknown();
	} else {
		pyh_step_text(naming, NULL, NULL, &referrer->edge, text,
			      EDGE_MAX_BYTES);
		cells[REFERRER_ADDRESS] = cell_number(UNIT_ADDRESS,
						      referrer->edge.holder);
		cells[REFERRER_TYPE] = cell_text(referrer->edge.type->name);
	}
	cells[REFERRER_EDGE] = cell_text(text);
}

void referrer_rows_nested(const struct referrers *referrers,
			  struct render *render,
			  const struct pyh_naming *naming)
{
	for (size_t i = 0; i < referrers->count; i++) {
		struct cell cells[NUM_REFERRER_COLUMNS];
		char text[EDGE_MAX_BYTES];

		referrer_cells(naming, &referrers->rows[i], text, cells);
		render_nested_row(render, referrer_columns, cells,
				  NUM_REFERRER_COLUMNS);
	}
}

void referrer_rows_table(const struct referrers *referrers,
			 struct render *render,
			 const struct pyh_naming *naming)
{
	char number[UNITS_TEXT_MAX];

	render_gap(render);
	render_table(render, &(struct table_spec){
		.json_key = "referrers", .title = "REFERRERS",
		.columns = referrer_columns,
		.num_columns = NUM_REFERRER_COLUMNS,
	});
	for (size_t i = 0; i < referrers->count; i++) {
		struct cell cells[NUM_REFERRER_COLUMNS];
		char text[EDGE_MAX_BYTES];

		referrer_cells(naming, &referrers->rows[i], text, cells);
		render_row(render, cells);
	}
	render_table_end(render);
	if (referrers->total > referrers->count)
		render_line(render, "  %s more (--top 0 shows all)",
			    units_count(referrers->total - referrers->count,
					number));
}
