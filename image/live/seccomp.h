/*
 * Would a thread's seccomp filter let a system call through?
 * SPDX-License-Identifier: Apache-2.0
 *
 * Asked before a call is made in the thread's name: a filter may kill the
 * process for it. Source: seccomp(2), Linux kernel/seccomp.c.
 */
#ifndef LIVE_SECCOMP_H
#define LIVE_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "image/base/error.h"

enum { SECCOMP_FILTERS_MAX = 64 };	/* on top of each other */

/** The filters of a stopped thread that the caller traces. */
struct seccomp_filters {
	struct {
		struct sock_filter *code;
		size_t size;		/* instructions */
	} items[SECCOMP_FILTERS_MAX];
	size_t count;
	bool strict;		/* read, write, exit and nothing else */
};

/**
 * Read them; a thread without any has count 0.
 *
 * @param mode  of the thread: SECCOMP_MODE_*
 * @return ERROR_OS where the kernel does not show them: that takes
 *	CAP_SYS_ADMIN, and that the caller has no filter of its own
 */
struct error *seccomp_read(pid_t tid, unsigned int mode,
			   struct seccomp_filters *ret);
void seccomp_deinit(struct seccomp_filters *filters);

enum seccomp_verdict {
	SECCOMP_LETS_PASS,
	SECCOMP_REFUSES,	/* the call fails; no harm is done */
	SECCOMP_PUNISHES,	/* a signal, or somebody else is asked */
};

/** What all filters together say of a call. */
enum seccomp_verdict seccomp_judge(const struct seccomp_filters *filters,
				   const struct seccomp_data *call);

/**
 * Run one filter.
 *
 * @return its action; SECCOMP_RET_KILL_PROCESS for a program that the kernel
 *	would not have taken
 */
uint32_t seccomp_run(const struct sock_filter *code, size_t size,
		     const struct seccomp_data *call);

#endif
