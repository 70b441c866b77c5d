/*
 * heapdump -- CMD: starts the command, passes signals on to it, and waits.
 * SPDX-License-Identifier: Apache-2.0
 *
 * As the first process of a container: every signal that can be passed on is,
 * orphans are reaped, and the command is outlived. The command stays in this
 * program's process group, so that a terminal's keys reach it as they would
 * without heapdump; a signal that the terminal sent to the whole group is
 * therefore not passed on a second time.
 */
#ifndef DUMPER_CHILD_COMMAND_H
#define DUMPER_CHILD_COMMAND_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "image/base/error.h"

enum {
	CHILD_NOT_EXECUTABLE = 126,	/* as shells do */
	CHILD_NOT_FOUND = 127,
	CHILD_SIGNALLED = 128,		/* and the signal's number */
};

/** First of all in main(): what the command inherits must be as it was. */
void child_command_remember_signals(void);

/** In a child between fork() and exec(): signals as they were at the start. */
void child_command_reset_signals(void);

/** From now on signals are for the command, but for those in own. */
void child_command_catch(const sigset_t *own);

/**
 * Start it; returns once it is the program that was asked for.
 *
 * @param settings  NAME=VALUE to be added to its environment, then NULL
 * @param ret_status  what to exit with where it cannot be started
 */
struct error *child_command_start(char **command, char **settings, pid_t *ret,
				  int *ret_status);

/**
 * True once it has ended; reaps it.
 *
 * @param ret  what to exit with
 */
bool child_command_has_ended(pid_t pid, int *ret);

/** Wait for its end. */
int child_command_wait(pid_t pid);

/** Set once a signal that ends programs comes when the command has ended. */
const atomic_bool *child_command_end_wanted(void);

/** True, after a key of the terminal asked this group to stop. */
bool child_command_stop_wanted(void);

#endif
