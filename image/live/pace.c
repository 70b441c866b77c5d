/*
 * How this program gets processors; see pace.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/pace.h"

struct pace pace_hurry(void)
{
	const struct sched_param first = {
		.sched_priority = sched_get_priority_min(SCHED_FIFO),
	};
	struct pace usual = { .policy = sched_getscheduler(0) };

	(void)sched_getparam(0, &usual.parameters);
	(void)sched_setscheduler(0, SCHED_FIFO, &first);
	return usual;
}

void pace_slow_down(const struct pace *usual)
{
	(void)sched_setscheduler(0, usual->policy, &usual->parameters);
}
