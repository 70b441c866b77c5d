/*
 * A copy-on-write child of a stopped process: its memory as it was.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One of the stopped threads is made to call clone(): the child shares all
 * private pages until somebody writes to them. It never runs an instruction of
 * the program, dies with the caller (PTRACE_O_EXITKILL), raises no SIGCHLD and
 * is invisible to the program's wait(). Used by the freezer process only.
 */
#ifndef LIVE_SNAPSHOT_H
#define LIVE_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/live/inject.h"
#include "image/live/seize.h"

struct snapshot_options {
	uint64_t place;		/* of inject_find() */
	/* go on where a seccomp filter cannot be read */
	bool assume_fork_allowed;
	/* do not ask the process whether it forbids dumps */
	bool force;
	/* for tests: called before each step, with its name; may be NULL */
	void (*step)(const char *name);
};

struct snapshot {
	pid_t pid;		/* of the child, by our numbers; 0: none */
	bool dead;
	pid_t inside_pid;	/* as the process itself sees it */
	uint64_t window_ns;	/* how long a thread was not itself */
	bool may_close;		/* no filter is against close_range() … */
	bool may_discard;	/* … or madvise() */
};

/**
 * Make one. The threads are stopped by seize_stop() and read by seize_read();
 * they are as they were when this returns, and stopped still.
 *
 * @return ERROR_UNSUPPORTED: a filter forbids it, or the kernel refuses (no
 *	memory, too many processes); ERROR_DENIED: the process forbids dumps
 */
struct error *snapshot_make(struct seized *seized,
			    const struct snapshot_options *options,
			    struct snapshot *ret);

/**
 * Ask a stopped process whether it forbids dumps; ERROR_DENIED if it does.
 * Where it cannot be asked it is taken not to.
 */
struct error *snapshot_ask_dumpable(struct seized *seized,
				    const struct snapshot_options *options);

/**
 * When the process runs again: let the child close its files, so that it keeps
 * none open, and make it the first to die when memory runs out.
 */
void snapshot_settle(struct snapshot *snapshot, uint64_t place);

/**
 * Let go of memory that nobody will read: it then costs the process no copy any
 * more, and the child's end no time. As far as that is possible.
 */
void snapshot_discard(struct snapshot *snapshot, uint64_t place, uint64_t start,
		      uint64_t end);

/** True while its memory can be read. Collects its exit. */
bool snapshot_lives(struct snapshot *snapshot);

/** Kill it; its memory is free when snapshot_lives() says no. */
void snapshot_kill(const struct snapshot *snapshot);

/**
 * Have the process collect its child, which has died, for which one of its
 * threads is stopped for a moment.
 *
 * @return false if a zombie is left in the process
 */
bool snapshot_collect(const struct snapshot *snapshot, pid_t pid,
		      const struct snapshot_options *options);

#endif
