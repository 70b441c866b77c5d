/*
 * Waiting for a thread that this one traces.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_LIVE_TRACEE_H
#define IMAGE_LIVE_TRACEE_H

#include <sys/types.h>

/**
 * The next stop of a traced thread, or its end. That of a process's first thread
 * is only told of when all others have been taken off who waits: where the process
 * is killed, those that this thread traces are, on the way.
 *
 * @return as waitpid() does
 */
pid_t tracee_wait(pid_t tid, int *ret_status);

#endif
