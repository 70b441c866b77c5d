/*
 * Leak suspects as lines; see suspect_lines.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/suspect_lines.h"

#include <stdio.h>
#include <string.h>

#include "image/base/units.h"

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
