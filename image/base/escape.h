/*
 * Bytes from a dump made harmless for where they go.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Names and strings in a target are chosen by whoever wrote the target, or by
 * whoever attacked it. None of them reaches a terminal, a page or a
 * spreadsheet except through here. Invalid UTF-8 and, everywhere, control
 * characters (C0, DEL, C1, bidirectional overrides, line separators) come out
 * as \xNN or \uNNNN (JSON: \u00NN and U+FFFD), so that one name stays on one
 * line.
 */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include <stddef.h>
#include <stdio.h>

enum escape_for {
	ESCAPE_TEXT,		/* a terminal or a log */
	ESCAPE_JSON,		/* inside the quotes of a JSON string */
	ESCAPE_CSV,		/* a whole field, quoted where needed; a leading
				   = + - @ gets a ' so that no sheet runs it */
	ESCAPE_MARKDOWN,	/* a cell of a table, HTML and | made inert */
	ESCAPE_HTML,		/* text or a quoted attribute */
	ESCAPE_DOT,		/* inside the quotes of a label for Graphviz */
};

/** Write size bytes of text to out, escaped. Write errors stay in ferror(). */
void escape_write(FILE *out, enum escape_for destination, const char *text,
		  size_t size);

/** As escape_write() of a NUL-terminated string. */
void escape_puts(FILE *out, enum escape_for destination, const char *text);

/** A new string the caller frees; NULL without memory. */
char *escape_copy(enum escape_for destination, const char *text, size_t size);

#endif
