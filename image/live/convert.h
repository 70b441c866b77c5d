/*
 * Makes a dump of a core that somebody else writes: the kernel, or gdb.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	last_seen_read(pid, &live, "kernel", &seen);	(while it is there)
 *	convert_core(&options, in_fd, out_fd, &result);
 *
 * The core may come through a pipe and be of any size: its headers and notes
 * are read first, which is all that is needed to fix the geometry of the dump,
 * then its memory passes through. A core that ends too early gives a dump that
 * says what is missing.
 *
 * The kernel leaves out what files have. While the process is there, the parts
 * of modules that symbols and unwinding need come from its memory.
 */
#ifndef LIVE_CONVERT_H
#define LIVE_CONVERT_H

#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/live/lastseen.h"
#include "image/live/live.h"

struct convert_options {
	const struct live_options *live;	/* max_pause_ns says nothing */
	const struct last_seen *seen;
	int mem_fd;		/* /proc/PID/mem while the process is there,
				   else -1; borrowed */
	pid_t runs_on;		/* it was not stopped: see afterwards that what
				   mem_fd gave was mapped all the time; else 0 */
	uint64_t pause_ns;	/* how long the process was stopped for it */
	uint64_t max_image;	/* how large the uncompressed core may be, in
				   bytes; refused where it is more; 0: no limit */
	uint64_t max_stored;	/* about how large the file may become, in
				   bytes; 0: no limit. The rest is missing */
};

/** As live_dump(). in_fd and out_fd: from where they stand. */
struct error *convert_core(const struct convert_options *options, int in_fd,
			   int out_fd, struct live_result *ret);

#endif
