/*
 * Notices that a process is about to die of a signal, and holds it there.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	deathwatch_start(&target, &deathwatch);
 *	... poll() deathwatch_fd() ...
 *	if (deathwatch_state(deathwatch) == DEATHWATCH_DYING)
 *		... live_dump() with deathwatch_held() ...
 *	deathwatch_end(deathwatch);
 *
 * All threads are traced, by a thread made for it. Signals, stops by job
 * control and normal exits pass as they would without; only each signal costs
 * a moment more. When a signal ends the process, its threads stop for the last
 * time while the memory is still there, and stay until deathwatch_end().
 *
 * Nothing is lost when this program is killed at any moment: what a thread
 * was stopped for is never taken off it (WNOWAIT), so that the kernel goes on
 * with it when it detaches.
 *
 * A process can have one tracer: whoever else wants to stop this one, such as
 * a dump for another reason, calls deathwatch_end() before and starts anew
 * afterwards. SIGKILL is let through, always: whoever sends it, the kernel out
 * of memory above all, wants the memory back now.
 */
#ifndef LIVE_DEATHWATCH_H
#define LIVE_DEATHWATCH_H

#include <signal.h>

#include "image/base/error.h"
#include "image/live/freeze.h"
#include "image/live/target.h"

enum deathwatch_state {
	DEATHWATCH_TRACING,
	DEATHWATCH_DYING,	/* held at its end, by a signal */
	DEATHWATCH_OVER,	/* it has ended, or cannot be traced any more */
};

struct deathwatch;

/**
 * Sets a handler for SIGCHLD, which the caller's threads should block: it
 * makes system calls return early.
 *
 * @return ERROR_OS where the kernel does not allow it, or another one traces it
 */
struct error *deathwatch_start(const struct target *target,
			       struct deathwatch **ret);

/** Readable once the state is not DEATHWATCH_TRACING any more. */
int deathwatch_fd(const struct deathwatch *deathwatch);
enum deathwatch_state deathwatch_state(const struct deathwatch *deathwatch);

/** While DEATHWATCH_DYING: the threads, and first the one that the signal hit. */
const struct freeze_standing *
deathwatch_held(const struct deathwatch *deathwatch);

/** The signal that ends it, with what is known of where it came from. */
const siginfo_t *deathwatch_signal(const struct deathwatch *deathwatch);

/**
 * Let the process go on, or die, untraced, and release; NULL is fine. The
 * process can be traced by somebody else when this returns.
 */
void deathwatch_end(struct deathwatch *deathwatch);

#endif
