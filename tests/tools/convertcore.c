/*
 * Makes a dump of a core: of a file, or of what a pipe brings.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: convertcore CORE|- DUMP [MAX_STORED]
 *
 * Prints "complete=0|1 missing=BYTES threads=N stored=BYTES", or a sentence and
 * exits with 1. Compares with nothing: the tests do.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/live/convert.h"

int main(int argc, char **argv)
{
	struct live_options live = { .content = SELECT_FULL, .trigger = "test" };
	struct last_seen seen = { 0 };
	struct convert_options options = {
		.live = &live,
		.seen = &seen,
		.mem_fd = -1,
	};
	struct live_result result;
	struct error *err;
	int in, out;

	if (argc < 3)
		return 2;
	in = strcmp(argv[1], "-") == 0 ? STDIN_FILENO :
					 open(argv[1], O_RDONLY);
	out = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (in < 0 || out < 0)
		return 2;
	if (argc > 3)
		options.max_stored = strtoull(argv[3], NULL, 0);
	// No process has that number: nothing is known but the core.
	err = last_seen_read(INT32_MAX, &live, "test", &seen);
	if (!err)
		err = convert_core(&options, in, out, &result);
	if (err) {
		(void)fprintf(stderr, "%s\n", err->message);
		error_free(err);
		last_seen_deinit(&seen);
		return 1;
	}
	(void)printf("complete=%d missing=%" PRIu64 " threads=%zu "
		     "stored=%" PRIu64 "\n", result.complete,
		     result.missing_bytes, result.num_threads, result.stored);
	last_seen_deinit(&seen);
	return 0;
}
