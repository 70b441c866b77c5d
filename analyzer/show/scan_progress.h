/*
 * A line on the terminal that says how far the work is.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_SCAN_PROGRESS_H
#define ANALYZER_SCAN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/** Progress is shown from now on, if standard error is a terminal. */
void progress_start(bool wanted);

/**
 * A callback of the libraries; at most ten times a second something is
 * printed. From any thread. total 0: unknown.
 */
void progress_tell(void *context, const char *what, uint64_t done,
		   uint64_t total);

/** Wipe the line, before anything else is printed. */
void progress_clear(void);

#endif
