/*
 * The process to be dumped: that process and no other, or a clear refusal.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LIVE_TARGET_H
#define LIVE_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/live/procinfo.h"

struct target {
	pid_t pid;
	int pidfd;		/* -1 where the kernel has none */
	int proc_fd;		/* /proc/PID, of this process and no later one */
	struct procinfo info;	/* as it was when opened */
};

/**
 * Take hold of a process, so that its number being used again is noticed.
 * Refuses, with the reason: none of that number, a thread's number, a kernel
 * thread, a zombie, this program itself, a process that another one traces
 * already, a 32-bit program (ERROR_UNSUPPORTED), and one that may not be read
 * (ERROR_OS with EPERM, which names what forbids it and the ways out).
 */
struct error *target_open(pid_t pid, struct target *ret);
void target_close(struct target *target);

/**
 * ERROR_DENIED where the process forbids dumps of itself: it shows in the
 * owner of its files in /proc, but not for the superuser's own processes, which
 * are asked when they stand still.
 */
struct error *target_allows(const struct target *target);

/** False once the process has ended, or is another one of that number. */
bool target_alive(const struct target *target);

#endif
