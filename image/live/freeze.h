/*
 * Stops all threads of a process, and always lets them go again.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	freeze_start(&target, max_ns, &freeze);
 *	... read the process; check freeze_holds() after what must be of
 *	    one moment ...
 *	freeze_thaw(freeze);
 *	freeze_destroy(freeze);
 *
 * All of ptrace is done by one thread made for it, the freezer. It alone
 * watches the limit, so the target is let go on time whatever the caller is
 * blocked in; and when it ends, or this whole program is killed, the kernel
 * detaches every thread that is still held, including those that were asked
 * to stop and had not yet. Stops by job control and pending signals are left
 * as they were found.
 *
 * Nothing here needs to be in the caller's process: a freezer process would
 * answer the same calls over a socket.
 */
#ifndef LIVE_FREEZE_H
#define LIVE_FREEZE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/live/target.h"

enum { FREEZE_REGSETS_MAX = 12 };

/** One register set, as the kernel gave it. */
struct freeze_regset {
	uint32_t type;		/* NT_* of elf.h */
	uint32_t size;		/* bytes; 0: not to be had */
	uint8_t *data;
};

struct frozen_thread {
	pid_t tid;
	char state;		/* before it was stopped: 'R', 'S', 'D' … */
	int signal;		/* being delivered when stopped, else 0 */
	siginfo_t siginfo;	/* of that signal */
	/* NT_PRSTATUS (only the registers) first, if there is any */
	struct freeze_regset regsets[FREEZE_REGSETS_MAX];
	size_t num_regsets;
	/* for the freezer itself */
	bool stopped, gone;
};

struct freeze;

/**
 * Stop every thread and read their registers.
 *
 * @param max_ns  longest time the target may stand still, in nanoseconds
 *	from the first thread's stop; 0: no limit
 * @return NULL, or why it cannot be done; all threads run again then. A
 *	thread that does not stop in time (ERROR_LIMIT) is named with what it
 *	waits for
 */
struct error *freeze_start(const struct target *target, uint64_t max_ns,
			   struct freeze **ret);

/** The threads that are stopped, the main one first. */
const struct frozen_thread *freeze_threads(const struct freeze *freeze,
					   size_t *ret_count);

/** True while the target stands still. */
bool freeze_holds(const struct freeze *freeze);

/** Let all threads go; nothing if that has happened. */
void freeze_thaw(struct freeze *freeze);

/** Nanoseconds that the target stood still, so far or in all. */
uint64_t freeze_pause(const struct freeze *freeze);

/** True if the limit let the target go before freeze_thaw() did. */
bool freeze_expired(const struct freeze *freeze);

/** Thaw and release; NULL is fine. */
void freeze_destroy(struct freeze *freeze);

#endif
