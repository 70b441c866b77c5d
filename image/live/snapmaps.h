/*
 * The mappings of a snapshot, presumed while they are being read.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	snapmaps_look(&snap, pid);		while the process runs
 *	snapmaps_presume(&snap, snapshot_pid, &maps);
 *	... find out what depends on them ...
 *	snapmaps_confirm(&snap, &maps, &same);	or do it again
 *
 * What smaps tells beyond maps takes the kernel a look at the record of every
 * page: 15 ms per GiB, measured. How much of a process others have, only its own
 * list tells, before there is a snapshot; what flags each mapping has, only
 * that of the snapshot tells for sure. They hardly ever differ, so that nobody
 * waits for the second one.
 *
 * Of a process that stands still nothing is looked at before: its mappings are
 * presumed to have no flags, which is so of nearly all that are not the kernel's.
 * Nothing else is at stake, as of no mapping that may be a device's memory is
 * read that the page map does not know.
 */
#ifndef LIVE_SNAPMAPS_H
#define LIVE_SNAPMAPS_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/live/procmaps.h"

struct snapmaps {
	struct procmaps before;	/* of the process; empty if not to be had */
	bool itself;		/* set by the caller: the process stands still,
				   and there is no snapshot */
	bool presumed;		/* those handed out are of these */
	/* the exact ones, read by a thread of its own */
	pid_t pid;
	pthread_t reader;
	bool reading;		/* that has not been waited for */
	struct procmaps exact;
	struct error *err;
};

/** Read what will be presumed, and how much of it others have. */
void snapmaps_look(struct snapmaps *snap, pid_t pid);

/**
 * The mappings of pid, the snapshot or the process itself. If not all of them were there before, they are
 * read at once, and nothing is presumed.
 */
struct error *snapmaps_presume(struct snapmaps *snap, pid_t pid,
			       struct procmaps *ret);

/**
 * Wait for what was read meanwhile. Numbers in maps become those of the
 * snapshot; resident pages of files stay those of the process, as a fork
 * leaves them out.
 *
 * @param maps  from snapmaps_presume(); others may have been put in, marked
 *	PROCMAP_NOT_INHERITED
 * @param ret_same  false: some are not as presumed, and maps are those that
 *	are right
 */
struct error *snapmaps_confirm(struct snapmaps *snap, struct procmaps *maps,
			       bool *ret_same);

/** Waits for the thread as well. */
void snapmaps_deinit(struct snapmaps *snap);

#endif
