/*
 * Is there room for a snapshot, and is there still?
 * SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot costs page tables at once, then a copy of each page that the
 * target writes to; both are charged to the target's cgroup. Before it gets
 * into need for them, the snapshot has to go.
 */
#ifndef LIVE_ROOM_H
#define LIVE_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/live/procinfo.h"

/**
 * Whether a snapshot can be made without harm. Nothing is stopped for it.
 *
 * @return ERROR_UNSUPPORTED or ERROR_LIMIT with the reason
 */
struct error *room_check(const struct procinfo *info);

/** What was short when room_is_short() said so. */
struct room {
	uint64_t left, wanted;	/* bytes */
	bool of_cgroup;		/* else of the machine */
};

/** True if the snapshot must go now. */
bool room_is_short(pid_t pid, struct room *ret);

#endif
