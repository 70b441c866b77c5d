/*
 * The numbers of a process while it is watched.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What costs something (PSS walks page tables, the driver of a GPU takes its
 * time, so does the tree of descendants) is measured only so often that it
 * stays below a thousandth of one processor.
 */
#ifndef DUMPER_VITALS_H
#define DUMPER_VITALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"
#include "image/live/cgroup.h"
#include "image/live/gpu_memory.h"
#include "image/live/target.h"

/** What was measured last; UINT64_MAX: not known. Of the tree, if asked for. */
struct vitals {
	int64_t wall_ns;	/* since the epoch */
	uint64_t when_ns;	/* CLOCK_MONOTONIC */
	uint64_t rss, pss;	/* bytes */
	bool pss_is_new;	/* measured this time */
	uint64_t gpu;		/* bytes on all GPUs */
	uint64_t threads, fds;
	struct cgroup_use cgroup;	/* its own */
	struct cgroup_use fullest;	/* nearest to its limit: of it, or above */
};

/** What is to be measured beside RSS. */
struct vitals_wish {
	bool children;		/* sums over all descendants */
	bool pss;
	uint64_t pss_from;	/* with less RSS it need not be measured */
	bool cgroup, gpu, threads, fds;
};

/** When something dear may be measured next. */
struct budget {
	uint64_t next_ns;
};

struct vitals_reader {
	const struct target *target;	/* borrowed */
	struct vitals_wish wish;
	struct cgroup cgroup;
	struct gpu_memory *gpu;
	pid_t *pids;		/* of the tree, the target first */
	size_t num_pids;
	struct budget tree_budget, pss_budget, gpu_budget, cgroup_budget;
	uint64_t last_pss, last_gpu;
};

/** What cannot be had, as GPUs where there are none, is unknown then. */
void vitals_open(const struct target *target, const struct vitals_wish *wish,
		 struct vitals_reader *ret);
void vitals_close(struct vitals_reader *reader);

/** Measure; numbers that fail are unknown. */
void vitals_read(struct vitals_reader *reader, struct vitals *ret);

#endif
