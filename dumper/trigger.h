/*
 * What makes a watcher dump: thresholds and events, as options name them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_TRIGGER_H
#define DUMPER_TRIGGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dumper/vitals.h"
#include "image/base/error.h"
#include "image/base/regression.h"
#include "image/live/pressure.h"

enum trigger_kind {
	/* thresholds: something is at least so large */
	TRIGGER_RSS,
	TRIGGER_PSS,
	TRIGGER_CGROUP,
	TRIGGER_GROWTH,
	TRIGGER_GPU_MEM,
	TRIGGER_THREADS,
	TRIGGER_FDS,
	/* events: something happens */
	TRIGGER_PSI,
	TRIGGER_OOM_EVENT,
	TRIGGER_ON_SIGNAL,
	TRIGGER_ON_EXIT,
};

enum {
	TRIGGERS_MAX = 64,
	TRIGGER_TEXT_MAX = 256,
	TRIGGER_GROWTH_LOOKS = 60,	/* the window, where none is given */
};

struct trigger {
	enum trigger_kind kind;
	uint64_t limit;		/* bytes, bytes an hour, or a number */
	double percent;		/* above 0: instead of limit */
	uint64_t window_ns;	/* of growth; 0: TRIGGER_GROWTH_LOOKS looks */
	struct pressure_limit pressure;
	int signal;
};

/** The word of its option: "rss", "on-exit". */
const char *trigger_word(enum trigger_kind kind);

/** What an option's value asks for; ERROR_USAGE without the option's name. */
struct error *trigger_parse(enum trigger_kind kind, const char *value,
			    struct trigger *ret);

/** "RSS >= 2.00 GiB". Returns text. */
const char *trigger_describe(const struct trigger *trigger,
			     char text[TRIGGER_TEXT_MAX]);

/**
 * Whether a threshold is reached.
 *
 * @param sizes  seconds and RSS, for TRIGGER_GROWTH: the window only
 * @param reason  what was measured, where it is reached
 */
bool trigger_is_reached(const struct trigger *trigger,
			const struct vitals *vitals,
			const struct regression *sizes, double window_s,
			char reason[TRIGGER_TEXT_MAX]);

/**
 * What a threshold compares, and with what; false where one of them is not
 * known.
 */
bool trigger_compares(const struct trigger *trigger,
		      const struct vitals *vitals, double *ret_value,
		      double *ret_limit);

#endif
