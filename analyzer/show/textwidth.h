/*
 * How wide text is on a terminal, and cutting it to a width.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Independent of the locale: scripts run with LC_ALL=C, and their output must
 * line up the same. Text is UTF-8 that escape.h has made harmless.
 */
#ifndef ANALYZER_TEXTWIDTH_H
#define ANALYZER_TEXTWIDTH_H

#include <stddef.h>

/** Columns that size bytes of text take; an invalid byte takes one. */
size_t textwidth(const char *text, size_t size);

/**
 * A name from a dump in at most columns terminal columns: escaped for a
 * terminal, and where it is too wide cut in the middle with an ellipsis.
 * Takes time and memory for columns, not for size.
 *
 * @param columns  at least 3
 * @return a new string that the caller frees; NULL without memory
 */
char *textwidth_fit(const char *text, size_t size, size_t columns);

#endif
