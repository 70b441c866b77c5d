/*
 * How this program gets processors.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LIVE_PACE_H
#define LIVE_PACE_H

#include <sched.h>

/** How a thread gets them when nobody waits for it. */
struct pace {
	int policy;
	struct sched_param parameters;
};

/**
 * Have the calling thread, and those that it starts from now on, served first.
 * Whoever stands still waits for us, several times: on a busy machine each time is
 * as long as all of the rest otherwise. Not everybody may ask for that.
 *
 * @return for pace_slow_down()
 */
struct pace pace_hurry(void);

/** The calling thread alone: others are to have ended. */
void pace_slow_down(const struct pace *usual);

#endif
