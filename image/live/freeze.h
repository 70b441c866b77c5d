/*
 * The memory of a process as of one moment: by stopping it while that is read,
 * or by a copy-on-write snapshot.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	freeze_start(&target, &options, &freeze);
 *	... read the memory of freeze_memory_pid(); check freeze_holds() after
 *	    what must be of one moment ...
 *	freeze_thaw(freeze);
 *	freeze_destroy(freeze);
 *
 * All that touches the target is done by a process of its own (freezer.h):
 * when this program is killed, that one puts everything back.
 */
#ifndef LIVE_FREEZE_H
#define LIVE_FREEZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/live/procmaps.h"
#include "image/live/room.h"
#include "image/live/seize.h"
#include "image/live/select.h"
#include "image/live/target.h"

struct freeze_options {
	/* a copy-on-write child; else the threads stand still until the end */
	bool snapshot;
	/*
	 * Longest time the target may stand still, in nanoseconds from the
	 * first thread's stop; 0: no limit. A fork cannot be interrupted.
	 */
	uint64_t max_ns;
	bool assume_fork_allowed;	/* see struct snapshot_options */
	bool ask;	/* have the target say whether it forbids dumps */
	void (*step)(const char *name);	/* for tests; see there as well */
};

/** A mapping that is not in the snapshot (MADV_DONTFORK). */
struct freeze_held {
	struct procmap map;
	const uint8_t *data;	/* all of it, read while it stood still; or NULL */
};

/** The threads of a process that stands still already, held by the caller. */
struct freeze_standing {
	const struct frozen_thread *threads;	/* whose signal is the cause,
						   first */
	size_t num_threads;
	uint64_t began_ns;	/* CLOCK_MONOTONIC: when it was stopped */
};

struct freeze;

/**
 * Stop every thread, read their registers and, for a snapshot, make it and let
 * the threads go.
 *
 * @return NULL, or why it cannot be done; all threads run again then. A
 *	thread that does not stop in time (ERROR_LIMIT) is named with what it
 *	waits for. ERROR_UNSUPPORTED: not by a snapshot
 */
struct error *freeze_start(const struct target *target,
			   const struct freeze_options *options,
			   struct freeze **ret);

/**
 * The same of a process that the caller holds, and goes on to hold until the
 * freeze is destroyed; standing is borrowed so long. Nothing is done to it.
 *
 * @param max_ns  from when it was stopped; 0: no limit
 */
struct error *freeze_adopt(const struct target *target,
			   const struct freeze_standing *standing,
			   uint64_t max_ns, struct freeze **ret);

/** Whose memory to read: the target's, or its snapshot's. */
pid_t freeze_memory_pid(const struct freeze *freeze);

/** Whether that is a snapshot. */
bool freeze_is_snapshot(const struct freeze *freeze);

/** The threads as they were, the main one first. */
const struct frozen_thread *freeze_threads(const struct freeze *freeze,
					   size_t *ret_count);

/** The process as it was. */
const struct procinfo *freeze_info(const struct freeze *freeze);

/** What the snapshot lacks, ascending. */
const struct freeze_held *freeze_held(const struct freeze *freeze,
				      size_t *ret_count);

/** True while the memory is of that one moment. */
bool freeze_holds(const struct freeze *freeze);

/**
 * Of a snapshot's memory some will not be read: that is let go of from now on,
 * beside whatever the caller does. Of a process that stands still nothing is.
 */
void freeze_discard(struct freeze *freeze, const struct select_span *spans,
		    size_t count);

/** The memory is needed no longer: let all threads go, drop the snapshot. */
void freeze_thaw(struct freeze *freeze);

/** Nanoseconds that the target stood still, so far or in all. */
uint64_t freeze_pause(const struct freeze *freeze);

/**
 * Nanoseconds in which a thread of the target was not itself: had this program
 * and its freezer been killed at once, the target would have been harmed. 0
 * without a snapshot.
 */
uint64_t freeze_window(const struct freeze *freeze);

/**
 * True if the snapshot was dropped before freeze_thaw() because the target was
 * short of memory.
 */
bool freeze_dropped(const struct freeze *freeze, struct room *ret);

/** True if the limit let the target go before freeze_thaw() did. */
bool freeze_expired(const struct freeze *freeze);

/** How the end of a freeze went. */
struct freeze_end {
	/* a snapshot's zombie is left in the target, until that ends */
	bool zombie_left;
	/* the target was held while its snapshot was dropped, ns */
	uint64_t held_ns;
};

/**
 * Thaw, wait until everything is put back, and release; NULL is fine.
 *
 * @param ret  may be NULL
 */
void freeze_destroy(struct freeze *freeze, struct freeze_end *ret);

#endif
