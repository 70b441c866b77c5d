/*
 * --fail-if; see gate.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/gate.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/views.h"
#include "image/base/guard.h"
#include "image/base/units.h"

/* Longer ones first, as > is also how >= starts. */
static const struct {
	const char *text;
	enum gate_operator operator;
} operators[] = {
	{ ">=", GATE_GREATER_EQUAL }, { "<=", GATE_LESS_EQUAL },
	{ "==", GATE_EQUAL },	      { "!=", GATE_NOT_EQUAL },
	{ ">", GATE_GREATER },	      { "<", GATE_LESS },
	{ "=", GATE_EQUAL },
};

static int find_column(const struct column *columns, size_t count,
		       const char *key)
{
	for (size_t i = 0; i < count; i++) {
		if (!columns[i].no_key && strcmp(columns[i].key, key) == 0)
			return (int)i;
	}
	return -1;
}

/** "types has no 'x' (there are: count, size)". */
static struct error *unknown_key(const struct view *view, const char *key)
{
	char list[256] = "";

	for (size_t i = 0; i < view->num_columns; i++) {
		if (!view->columns[i].no_key)
			(void)snprintf(list + strlen(list),
				       sizeof(list) - strlen(list), "%s%s",
				       i ? ", " : "", view->columns[i].key);
	}
	for (size_t i = 0; i < view->num_totals; i++) {
		if (!view->totals[i].no_key &&
		    find_column(view->columns, view->num_columns,
				view->totals[i].key) < 0)
			(void)snprintf(list + strlen(list),
				       sizeof(list) - strlen(list), ", %s",
				       view->totals[i].key);
	}
	return error_new(ERROR_USAGE, "--fail-if: %s has no '%s' (it has %s)",
			 view->name, key, list);
}

static struct error *parse_count(const char *text, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno)
		return error_new(ERROR_USAGE, "'%s' is not a number", text);
	return NULL;
}

static struct error *parse_signed(const char *text, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = (uint64_t)strtoll(text, &end, 10);
	if (end == text || *end || errno)
		return error_new(ERROR_USAGE, "'%s' is not a number", text);
	return NULL;
}

/** "1MiB" "-64K"; of a rate also "1MiB/h". */
static struct error *parse_change(const char *text, bool rate, uint64_t *ret)
{
	size_t size = strlen(text);
	char bytes[64];
	struct error *err;

	if (rate && size > 2 && strcmp(text + size - 2, "/h") == 0)
		size -= 2;
	if (size >= sizeof(bytes))
		return error_new(ERROR_USAGE, "'%s' is not a size", text);
	memcpy(bytes, text, size);
	bytes[size] = '\0';
	err = units_parse_size(bytes + (*bytes == '-' || *bytes == '+'), ret);
	if (!err && *ret > INT64_MAX)
		return error_new(ERROR_USAGE, "'%s' is too much", text);
	if (!err && *bytes == '-')
		*ret = 0 - *ret;
	return err;
}

static struct error *parse_share(const char *text, double *ret)
{
	char *end;

	*ret = strtod(text, &end);
	if (end != text && strcmp(end, "%") == 0)
		*ret /= 100;
	else if (end == text || *end || !(*ret >= 0 && *ret <= 1))
		return error_new(ERROR_USAGE,
				 "'%s' is not a share (as in 40%% or 0.4)",
				 text);
	return NULL;
}

static struct error *parse_value(struct gate *gate, enum unit unit,
				 const char *text, struct cell *value)
{
	char *end;

	*value = (struct cell){ .unit = unit };
	switch (unit) {
	case UNIT_BYTES:
		return units_parse_size(text, &value->number);
	case UNIT_COUNT:
	case UNIT_ID:
		return parse_count(text, &value->number);
	case UNIT_SIGNED:
		return parse_signed(text, &value->number);
	case UNIT_CHANGE:
	case UNIT_RATE:
		return parse_change(text, unit == UNIT_RATE, &value->number);
	case UNIT_SHARE:
		return parse_share(text, &value->share);
	case UNIT_ADDRESS:
		value->number = strtoull(text, &end, 16);
		return end != text && !*end ? NULL :
			error_new(ERROR_USAGE, "'%s' is not an address", text);
	case UNIT_BOOL:
		value->number = strcmp(text, "true") == 0;
		return value->number || strcmp(text, "false") == 0 ?
			NULL : error_new(ERROR_USAGE, "'%s' is not true or "
					 "false", text);
	case UNIT_TEXT:
	case UNIT_CELL:
		break;
	}
	if (strlen(text) >= sizeof(gate->text))
		return error_new(ERROR_USAGE, "the value is too long");
	value->unit = UNIT_TEXT;
	value->text = strcpy(gate->text, text);
	return NULL;
}

/**
 * Of a view that has the key twice, as what rows say in words and a total counts,
 * the one is meant whose value it can be.
 */
static struct error *parse_values(struct gate *gate, const struct view *view,
				  const char *text)
{
	struct error *row = NULL, *total = NULL;

	if (gate->row_column >= 0) {
		row = parse_value(gate, view->columns[gate->row_column].unit,
				  text, &gate->row_value);
		gate->row_value.known = !row;
	}
	if (gate->total_column >= 0) {
		total = parse_value(gate, view->totals[gate->total_column].unit,
				    text, &gate->total_value);
		gate->total_value.known = !total;
	}
	if (gate->row_value.known || gate->total_value.known) {
		error_free(row);
		error_free(total);
		return NULL;
	}
	if (row)
		error_free(total);
	return row ? row : total;
}

struct error *gate_init(struct gate *gate, const char *expression,
			const struct view *view)
{
	CLEANUP(free_pointer) char *key = NULL;
	size_t length, found;
	const char *rest;

	*gate = (struct gate){ .row_column = -1, .total_column = -1 };
	if (!expression)
		return NULL;
	length = strcspn(expression, "<>=!");
	key = strndup(expression, length);
	if (!key)
		return error_no_memory();
	while (length > 0 && key[length - 1] == ' ')
		key[--length] = '\0';
	rest = expression + strcspn(expression, "<>=!");
	for (found = 0; found < sizeof(operators) / sizeof(*operators); found++) {
		if (strncmp(rest, operators[found].text,
			    strlen(operators[found].text)) == 0)
			break;
	}
	if (found == sizeof(operators) / sizeof(*operators) || length == 0)
		return error_new(ERROR_USAGE,
				 "--fail-if '%s' is not KEY OP VALUE, as in "
				 "size>1GiB (OP: < <= > >= == !=)", expression);
	rest += strlen(operators[found].text);
	rest += strspn(rest, " ");
	gate->row_column = find_column(view->columns, view->num_columns, key);
	gate->total_column = find_column(view->totals, view->num_totals, key);
	if (gate->row_column < 0 && gate->total_column < 0)
		return unknown_key(view, key);
	gate->operator = operators[found].operator;
	return error_context(parse_values(gate, view, rest), "--fail-if %s", key);
}

/** -1, 0, 1 as cell is less than, equal to or greater than the value. */
static int compare(struct cell cell, struct cell value)
{
	int order = cell_compare(cell, value);

	// Tables are sorted largest first, except for these.
	return cell.unit == UNIT_TEXT || cell.unit == UNIT_ADDRESS ? order :
								     -order;
}

static bool holds(const struct gate *gate, struct cell cell, struct cell value)
{
	int order;

	if (!cell.known || !value.known ||
	    (cell.unit == UNIT_TEXT) != (value.unit == UNIT_TEXT))
		return false;
	order = compare(cell, value);
	switch (gate->operator) {
	case GATE_LESS:
		return order < 0;
	case GATE_LESS_EQUAL:
		return order <= 0;
	case GATE_GREATER:
		return order > 0;
	case GATE_GREATER_EQUAL:
		return order >= 0;
	case GATE_EQUAL:
		return order == 0;
	case GATE_NOT_EQUAL:
		return order != 0;
	case GATE_NONE:
		break;
	}
	return false;
}

/** What met it, in words: "the total is 3,123,456". */
static void meet(struct gate *gate, const char *what, struct cell cell)
{
	char number[UNITS_TEXT_MAX];

	gate->met = true;
	if (cell.unit == UNIT_BYTES)
		(void)units_size(cell.number, number);
	else if (cell.unit == UNIT_CHANGE || cell.unit == UNIT_RATE)
		(void)units_change((int64_t)cell.number, number);
	else if (cell.unit == UNIT_SHARE)
		(void)snprintf(number, sizeof(number), "%.1f %%",
			       cell.share * 100);
	else if (cell.unit == UNIT_SIGNED)
		(void)snprintf(number, sizeof(number), "%+" PRId64,
			       (int64_t)cell.number);
	else if (cell.unit == UNIT_COUNT)
		(void)units_count(cell.number, number);
	else
		number[0] = '\0';
	(void)snprintf(gate->why, sizeof(gate->why), "%s%s%s", what,
		       number[0] ? " has " : "", number);
}

void gate_row(struct gate *gate, const struct cell *cells)
{
	if (gate_open(gate) && gate->row_column >= 0 &&
	    holds(gate, cells[gate->row_column], gate->row_value))
		meet(gate, "a row", cells[gate->row_column]);
}

void gate_totals(struct gate *gate, const struct cell *cells)
{
	if (gate_open(gate) && gate->total_column >= 0 &&
	    holds(gate, cells[gate->total_column], gate->total_value))
		meet(gate, "the total", cells[gate->total_column]);
}
