/*
 * What /proc says of a process, kept for when it is gone.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A core that the kernel writes has registers and memory. Names of threads,
 * what the mappings are and how much of them was used, the cgroup: that can be
 * asked only while the process is there, also while it waits for its core to
 * be taken.
 */
#ifndef LIVE_LASTSEEN_H
#define LIVE_LASTSEEN_H

#include <stddef.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/format.h"
#include "image/live/live.h"
#include "image/live/procinfo.h"
#include "image/live/procmaps.h"

struct last_seen {
	struct procinfo info;
	struct procmaps maps;		/* empty: could not be read */
	struct format_thread *threads;
	size_t num_threads;
	char *facts;			/* of FORMAT_NOTE_FACTS */
	size_t facts_size;
};

/**
 * Look at a process. Whatever cannot be read stays empty, all of it where the
 * process is gone, and that is no error.
 *
 * @param options  content, trigger, no_cmdline and extra go into the facts
 * @param method  likewise
 */
struct error *last_seen_read(pid_t pid, const struct live_options *options,
			     const char *method, struct last_seen *ret);
void last_seen_deinit(struct last_seen *seen);

#endif
