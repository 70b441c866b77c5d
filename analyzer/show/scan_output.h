/*
 * Where the answer goes: standard output, or a file that appears only whole.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_SCAN_OUTPUT_H
#define ANALYZER_SCAN_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

#include "image/base/error.h"

struct output {
	FILE *file;
	bool terminal;
	const char *path;	/* borrowed; NULL: standard output */
	char *temporary;	/* renamed to path when finished; or NULL */
};

/**
 * Open path, NULL or "-" being standard output. A file is written under a
 * temporary name beside it; what is no regular file (/dev/null, a FIFO) is
 * written to directly.
 *
 * @param private  the file is for its owner alone
 */
struct error *output_open(struct output *output, const char *path,
			  bool private);

/**
 * Flush, and give the file its name.
 *
 * @param ret_unread  set where the reader of a pipe went away, which is no
 *	error: `heapscan ... | head`
 * @return ERROR_OS with the reason (no space left ...); no file is left then
 */
struct error *output_finish(struct output *output, bool *ret_unread);

/** Drop what output_finish() was not called for. */
void output_discard(struct output *output);

/** Remove the temporary file; safe in a signal handler. */
void output_interrupted(void);

#endif
