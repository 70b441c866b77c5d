/*
 * Reads another process's memory, without effect on it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * process_vm_readv() is the fastest way, but not for a snapshot: it pins the
 * pages, and of a page that two processes share copy-on-write the kernel makes
 * a copy for that (Linux 5.19 and later, gup_must_unshare() in mm/internal.h).
 * Reading all of a snapshot would double the target's memory, on the target's
 * account. /proc/PID/mem takes no pins. The same is so of a process that shares
 * pages with those it has forked.
 */
#ifndef LIVE_PEEK_H
#define LIVE_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "image/base/error.h"

struct peek {
	pid_t pid;
	int mem_fd;		/* /proc/PID/mem, or -1 */
	bool snapshot;		/* shares its pages with another process, or
				   may do so */
};

struct error *peek_open(pid_t pid, bool snapshot, struct peek *ret);
void peek_close(struct peek *peek);

/**
 * Fill each local vector from the remote one, of equal length, of its index.
 *
 * @return bytes read, in order; fewer than asked where memory cannot be read,
 *	errno says why then: ESRCH if the process is no more
 */
size_t peek_vectors(const struct peek *peek, const struct iovec *local,
		    const struct iovec *remote, size_t count);

/** The same for one range; true if all of it was read. */
bool peek_read(const struct peek *peek, uint64_t address, void *buffer,
	       size_t size);

/**
 * The same by the mem file, which also reads what the process itself may only
 * execute.
 */
bool peek_read_forced(const struct peek *peek, uint64_t address, void *buffer,
		      size_t size);

#endif
