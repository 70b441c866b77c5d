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
#include "image/live/cgroup.h"
#include "image/live/procinfo.h"

/**
 * Whether a snapshot can be made without harm. Nothing is stopped for it.
 *
 * @return ERROR_UNSUPPORTED or ERROR_LIMIT with the reason
 */
struct error *room_check(const struct procinfo *info);

/** What is left where it is least. */
struct room {
	uint64_t left, wanted;	/* bytes */
	bool of_cgroup;		/* else of the machine */
};

/** Bytes that a process could take now: of the machine, or of its cgroup. */
uint64_t room_left(pid_t pid);

/** Looks at it again and again. */
struct room_watch {
	struct cgroup cgroup;
	unsigned int processors;
};

void room_open(pid_t pid, struct room_watch *ret);
void room_close(struct room_watch *watch);

/** True if the snapshot must go now. */
bool room_is_short(const struct room_watch *watch, struct room *ret);

/**
 * Milliseconds after which to look again: what is left lasts longer, if all
 * processors do nothing but write to shared pages. At least 1.
 */
int room_patience(const struct room_watch *watch, const struct room *room);

#endif
