/*
 * Pressure on memory: how long tasks stood still for lack of it (PSI).
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of the process's cgroup where it has one of version 2, else of the machine.
 */
#ifndef LIVE_PRESSURE_H
#define LIVE_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"

enum { PRESSURE_TEXT_MAX = 96 };

/** The kernel's own words, as "avg10=0.00 avg60=0.00 avg300=0.00 total=0". */
struct pressure {
	bool of_cgroup;		/* else of the whole machine */
	char some[PRESSURE_TEXT_MAX];	/* empty: unknown */
	char full[PRESSURE_TEXT_MAX];
};

void pressure_read(pid_t pid, struct pressure *ret);

/** When the kernel shall tell: as one writes it, "some 150000 1000000". */
struct pressure_limit {
	bool full;		/* else some */
	uint32_t stall_us, window_us;
};

/** ERROR_USAGE where text is not what the kernel takes. */
struct error *pressure_parse(const char *text, struct pressure_limit *ret);

/**
 * A descriptor on which poll() reports POLLPRI each time the limit is passed,
 * at most once in a window.
 */
struct error *pressure_open(pid_t pid, const struct pressure_limit *limit,
			    int *ret);

#endif
