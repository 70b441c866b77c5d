/*
 * --fail-if: a condition on totals and rows, for checks that must stop a build.
 * SPDX-License-Identifier: Apache-2.0
 *
 * KEY OP VALUE, as in size>1GiB, count>=100000, share>40%. KEY is a column of
 * the view or one of its totals; it holds when any row that the filters let
 * through (shown or not) or the total meets it.
 */
#ifndef ANALYZER_GATE_H
#define ANALYZER_GATE_H

#include <stdbool.h>
#include <stddef.h>

#include "analyzer/show/render.h"
#include "image/base/error.h"

struct view;

enum gate_operator {
	GATE_NONE,		/* no condition: never met */
	GATE_LESS,
	GATE_LESS_EQUAL,
	GATE_GREATER,
	GATE_GREATER_EQUAL,
	GATE_EQUAL,
	GATE_NOT_EQUAL,
};

struct gate {
	enum gate_operator operator;
	int row_column;		/* index of KEY, -1: no such column */
	int total_column;
	/* VALUE as each of them has it, which may differ; unknown: as none */
	struct cell row_value, total_value;
	char text[128];		/* owned copy of a text value */
	bool met;
	char why[192];		/* what met it first; harmless text */
};

/** expression NULL: a gate that nothing meets. */
struct error *gate_init(struct gate *gate, const char *expression,
			const struct view *view);

/** Hold a row, or the totals, against the condition. */
void gate_row(struct gate *gate, const struct cell *cells);
void gate_totals(struct gate *gate, const struct cell *cells);

/** True while it can still be met: rows need not be shown otherwise. */
static inline bool gate_open(const struct gate *gate)
{
	return gate->operator != GATE_NONE && !gate->met;
}

#endif
