/*
 * Stops all threads of a process by ptrace, reads their registers, and lets
 * them go again.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	seize_stop(&seized, limits);
 *	seize_read(&seized);
 *	...
 *	seize_release(&seized);
 *
 * All calls must come from one thread, to which ptrace ties the target's. When
 * it ends, the kernel lets go of every thread that is still held, including
 * those that were asked to stop and had not yet. Stops by job control and
 * pending signals are left as they were found.
 */
#ifndef LIVE_SEIZE_H
#define LIVE_SEIZE_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/base/hashmap.h"
#include "image/live/procinfo.h"

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
	struct procinfo info;	/* read while it stood still */
	/* NT_PRSTATUS (only the registers) first, if there is any */
	struct freeze_regset regsets[FREEZE_REGSETS_MAX];
	size_t num_regsets;
	/*
	 * False: it waits in the kernel and cannot be stopped there. It comes
	 * no further than to the kernel's door. Of its registers only what
	 * /proc tells is known.
	 */
	bool stopped;
	bool gone;		/* it ended meanwhile */
};

struct seized {
	pid_t pid;
	uint64_t start_time;	/* of the process: see struct procinfo */
	struct frozen_thread *threads;
	size_t num_threads, capacity;
	struct hashmap known;	/* tid -> index in threads */
	/* when the first thread was stopped, CLOCK_MONOTONIC; 0: not yet */
	atomic_uint_least64_t *began_ns;
};

/**
 * Stop every thread. One that the kernel holds in uninterruptible sleep gets a
 * tenth of a second, then is left to wait there: all others must stand still by
 * the time given.
 *
 * @param max_ns  longest time this may take; 5 s at most
 * @return why not all can be stopped: some are seized then, and
 *	seize_release() must be called as after success
 */
struct error *seize_stop(struct seized *seized, uint64_t max_ns);

/**
 * Read registers and what /proc says of each thread. The main thread is first
 * afterwards, those that have ended are away.
 */
struct error *seize_read(struct seized *seized);

/** Let all threads that are stopped go. */
void seize_release(struct seized *seized);

/**
 * Look after threads that could not be stopped: one that has come to its stop
 * since is let go, or, with hold, counted as stopped.
 */
void seize_latecomers(struct seized *seized, bool hold);

/**
 * Make a thread that stands before a signal's delivery take that signal, if
 * the program has a handler for it or ignores it: it stands at the handler's
 * first instruction then.
 *
 * @return ERROR_UNSUPPORTED: the signal will end or stop the process
 */
struct error *seize_deliver(struct frozen_thread *thread);

void seize_deinit(struct seized *seized);

/** CLOCK_MONOTONIC in nanoseconds. */
uint64_t seize_now(void);

#endif
