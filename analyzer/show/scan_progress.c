/*
 * A line on the terminal that says how far the work is; see scan_progress.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/show/scan_progress.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock;
	bool wanted;
	bool shown;		/* there is a line to wipe */
	struct timespec last;
} progress = { .lock = PTHREAD_MUTEX_INITIALIZER };

void progress_start(bool wanted)
{
	const char *terminal = getenv("TERM");

	// A line is renewed by erasing it, which a dumb terminal cannot do.
	progress.wanted = wanted && isatty(STDERR_FILENO) &&
			  !(terminal && strcmp(terminal, "dumb") == 0);
	// Work that is done within a second needs no line.
	(void)clock_gettime(CLOCK_MONOTONIC, &progress.last);
}

/** True if the last line is 100 ms old, and then it is renewed. */
static bool is_due(void)
{
	struct timespec now;
	int64_t elapsed;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	elapsed = (now.tv_sec - progress.last.tv_sec) * INT64_C(1000) +
		  (now.tv_nsec - progress.last.tv_nsec) / 1000000;
	if (elapsed < (progress.shown ? 100 : 500))
		return false;
	progress.last = now;
	return true;
}

void progress_tell(void *context, const char *what, uint64_t done,
		   uint64_t total)
{
	(void)context;
	// Nobody waits for the terminal: who comes while it is being written
	// to has nothing newer to say.
	if (!progress.wanted || pthread_mutex_trylock(&progress.lock) != 0)
		return;
	if (is_due()) {
		if (total)
			(void)fprintf(stderr, "\r\033[K%s %.0f %%", what,
				      100.0 * (double)done / (double)total);
		else
			(void)fprintf(stderr, "\r\033[K%s", what);
		(void)fflush(stderr);
		progress.shown = true;
	}
	(void)pthread_mutex_unlock(&progress.lock);
}

void progress_clear(void)
{
	(void)pthread_mutex_lock(&progress.lock);
	if (progress.shown)
		(void)fputs("\r\033[K", stderr);
	progress.shown = false;
	(void)pthread_mutex_unlock(&progress.lock);
}
