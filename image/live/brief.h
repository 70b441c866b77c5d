/*
 * Is a copy quicker made than a snapshot?
 * SPDX-License-Identifier: Apache-2.0
 *
 * A fork takes as long as the process is large, and so does the snapshot's end,
 * whatever a dump takes of it. Of a process that is mostly payload hardly
 * anything is taken: that is copied sooner than the fork would be done, and
 * nothing is shared with the process afterwards.
 */
#ifndef LIVE_BRIEF_H
#define LIVE_BRIEF_H

#include <stdbool.h>

#include "image/live/live.h"
#include "image/live/target.h"

enum {
	BRIEF_BYTES_MAX = 256 << 20,	/* copied at once, of our own memory */
};

/**
 * Whether a process stands still no longer while all is copied that a dump by
 * options takes of it than while it forks. At a glance: its large chunks of
 * malloc are taken for payload, all else for what is to be copied.
 */
bool brief_expected(const struct target *target,
		    const struct live_options *options);

#endif
