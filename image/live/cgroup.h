/*
 * The memory cgroup of a process, and those above it, whose limits count too.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Version 2 and version 1. Where it is found is told by /proc/PID/cgroup and
 * the mounts: those of this program, else those that the process itself sees
 * (below /proc/PID/root), as from one container into another.
 */
#ifndef LIVE_CGROUP_H
#define LIVE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup {
	char *path;	/* as /proc/PID/cgroup has it; NULL: not known */
	char *folder;	/* where its files are; NULL: not to be found */
	size_t mount;	/* length of the mount's own path in folder */
	bool unified;	/* version 2 */
};

/** What a cgroup says; UINT64_MAX: unknown, or no limit. */
struct cgroup_use {
	uint64_t current;	/* bytes, as the kernel counts */
	/* without pages of files that the kernel drops before it runs short:
	 * what the process cannot do without */
	uint64_t working;
	uint64_t limit;
};

/** How often the kernel ran short for a cgroup, as its counters say. */
struct cgroup_events {
	uint64_t high, max, oom, oom_kill;
};

/** Find it; one that cannot be found has no folder and no numbers. */
void cgroup_find(pid_t pid, struct cgroup *ret);

/**
 * The same by files of another name.
 *
 * @param root  goes before the mounts' paths
 */
void cgroup_find_by(const char *cgroup_file, const char *mounts_file,
		    const char *root, struct cgroup *ret);
void cgroup_deinit(struct cgroup *cgroup);

/** Numbers of the cgroup itself, with the least limit of it and those above. */
void cgroup_read(const struct cgroup *cgroup, struct cgroup_use *ret);

/**
 * Numbers of that one, of it and those above, which is the nearest to its own
 * limit; false where none has a limit.
 */
bool cgroup_read_fullest(const struct cgroup *cgroup, struct cgroup_use *ret);

/** Sums over the cgroup and those above it. */
void cgroup_read_events(const struct cgroup *cgroup,
			struct cgroup_events *ret);

/**
 * A descriptor that polls as readable when the counters of one of them have
 * changed, or (version 1) when its usage passes usage bytes; -1 where that
 * cannot be had. cgroup_clear_event() makes it wait again.
 *
 * @param usage  UINT64_MAX: not asked for
 */
int cgroup_open_events(const struct cgroup *cgroup, uint64_t usage);
void cgroup_clear_event(int fd);

/** The file of a cgroup of version 2 that tells its pressure; NULL: none. */
char *cgroup_pressure_file(pid_t pid);

#endif
