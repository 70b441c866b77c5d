/*
 * A trigger that is set on a process: whether it has fired, and may again.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DUMPER_ARMED_H
#define DUMPER_ARMED_H

#include <stdbool.h>
#include <stdint.h>

#include "dumper/trigger.h"
#include "image/base/error.h"
#include "image/base/regression.h"
#include "image/live/cgroup.h"
#include "image/live/target.h"

struct armed {
	struct trigger trigger;
	bool repeats;		/* fires again, after a pause */
	bool over;		/* will not fire any more */
	bool due;		/* it has fired: a dump is to be made */
	char reason[TRIGGER_TEXT_MAX];	/* while due */
	uint64_t not_before_ns;	/* CLOCK_MONOTONIC */
	unsigned int failures;	/* dumps that failed since one that did not */
	int fd;			/* that tells of an event; -1: none */
	struct regression *sizes;	/* of TRIGGER_GROWTH; else NULL */
	double window_s;
};

/**
 * Set it; ERROR_NOT_FOUND or ERROR_UNSUPPORTED where it could never fire.
 *
 * @param interval_ns  between looks
 */
struct error *armed_set(const struct trigger *trigger, bool repeats,
			uint64_t interval_ns, const struct target *target,
			const struct cgroup *cgroup, struct armed *ret);
void armed_release(struct armed *armed);

/** True if it is for looks, not for events of its own, to find out. */
bool armed_is_threshold(const struct armed *armed);

/** After a look: fire where the threshold is reached. */
void armed_look(struct armed *armed, const struct vitals *vitals);

/** The event has happened. */
void armed_fire(struct armed *armed, const char *reason);

/**
 * When the threshold will be reached if things go on as between two looks.
 *
 * @return nanoseconds from the later one; UINT64_MAX: not in sight
 */
uint64_t armed_expects(const struct armed *armed, const struct vitals *before,
		       const struct vitals *now);

#endif
