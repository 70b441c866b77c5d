/*
 * Runs a command after each dump: --exec.
 * SPDX-License-Identifier: Apache-2.0
 *
 * By /bin/sh -c, with the dump's path as $1 and HEAPDUMP_PATH, HEAPDUMP_PID
 * and HEAPDUMP_TRIGGER in the environment, in a process group of its own, with
 * nothing to read and its output on standard error. Nobody waits for it, but
 * what runs after AFTER_DUMP_SECONDS is killed, its whole group.
 */
#ifndef DUMPER_AFTER_DUMP_H
#define DUMPER_AFTER_DUMP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"

enum {
	AFTER_DUMP_SECONDS = 600,
	AFTER_DUMP_RUNNING_MAX = 8,	/* at once; more have to wait */
};

struct after_dump {
	struct {
		pid_t pid;	/* 0: free */
		uint64_t deadline_ns;
	} running[AFTER_DUMP_RUNNING_MAX];
	bool failed;		/* one of them did not end well */
};

/** Start the command. */
struct error *after_dump_start(struct after_dump *after, const char *command,
			       const char *path, pid_t pid,
			       const char *trigger);

/** Reap those that have ended, kill those that are over time; all are told. */
void after_dump_look(struct after_dump *after);

bool after_dump_is_running(const struct after_dump *after);

/** Wait for all of them; killed where stop is set. */
void after_dump_finish(struct after_dump *after, const atomic_bool *stop);

#endif
