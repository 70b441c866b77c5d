/*
 * The numbers of a process while it is watched; see vitals.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/vitals.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dumper/process_tree.h"
#include "image/base/guard.h"

/* The part of one processor that something dear may take: 1/4000. */
static const uint64_t COST_FACTOR = 4000;

static const uint64_t CGROUP_AGE_NS = UINT64_C(10000000000);

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)now.tv_nsec;
}

static bool is_due(const struct budget *budget)
{
	return clock_ns(CLOCK_MONOTONIC) >= budget->next_ns;
}

/** After something that began at cpu_ns of this program's own time. */
static void charge(struct budget *budget, uint64_t cpu_ns)
{
	uint64_t cost = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;

	budget->next_ns = clock_ns(CLOCK_MONOTONIC) + COST_FACTOR * cost;
}

/** A small file below /proc/PID, of this process and no later one. */
static bool read_small(int folder, const char *name, char *text, size_t size)
{
	CLEANUP(close_fd) int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);

	if (got <= 0)
		return false;
	text[got] = '\0';
	return true;
}

static bool read_rss(int folder, uint64_t *ret)
{
	char text[128];
	uint64_t pages;

	if (!read_small(folder, "statm", text, sizeof(text)) ||
	    sscanf(text, "%*u %" SCNu64, &pages) != 1)
		return false;
	*ret = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

static bool read_pss(int folder, uint64_t *ret)
{
	char text[2048];
	const char *at;
	uint64_t kib;

	if (!read_small(folder, "smaps_rollup", text, sizeof(text)))
		return false;
	at = strstr(text, "\nPss:");
	if (!at || sscanf(at + 5, "%" SCNu64, &kib) != 1)
		return false;
	*ret = kib * 1024;
	return true;
}

/** proc(5): the 18th number behind the name, which may hold anything. */
static bool read_threads(int folder, uint64_t *ret)
{
	char text[1024];
	const char *at;

	if (!read_small(folder, "stat", text, sizeof(text)))
		return false;
	at = strrchr(text, ')');
	return at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u "
			    "%*u %*u %*u %*d %*d %*d %*d %" SCNu64, ret) == 1;
}

static bool count_entries(int folder, uint64_t *ret)
{
	const struct dirent *entry;
	DIR *dir = fdopendir(folder);

	if (!dir) {
		(void)close(folder);
		return false;
	}
	*ret = 0;
	while ((entry = readdir(dir)) != NULL)
		*ret += entry->d_name[0] != '.';
	(void)closedir(dir);
	return true;
}

static bool read_fds(int folder, uint64_t *ret)
{
	struct stat status;
	int fd = openat(folder, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return false;
	// Linux 6.2 and later tell their number as the size.
	if (fstat(fd, &status) != 0 || status.st_size == 0)
		return count_entries(fd, ret);
	*ret = (uint64_t)status.st_size;
	(void)close(fd);
	return true;
}

/** Sum over the tree; unknown where the target itself does not tell. */
static uint64_t sum(const struct vitals_reader *reader,
		    bool (*read_one)(int folder, uint64_t *ret))
{
	uint64_t total = 0, one = 0;

	if (!read_one(reader->target->proc_fd, &total))
		return UINT64_MAX;
	for (size_t i = 1; i < reader->num_pids; i++) {
		char path[40];

		(void)snprintf(path, sizeof(path), "/proc/%d", reader->pids[i]);
		CLEANUP(close_fd) int folder = open(path, O_PATH | O_DIRECTORY |
						    O_CLOEXEC);
		if (folder >= 0 && read_one(folder, &one))
			total += one;
	}
	return total;
}

static void read_tree(struct vitals_reader *reader)
{
	uint64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	pid_t *pids;
	size_t count;
	struct error *err;

	if (!is_due(&reader->tree_budget))
		return;
	err = process_tree_list(reader->target->pid, &pids, NULL, &count);
	charge(&reader->tree_budget, began);
	if (err) {
		error_free(err);
		return;
	}
	free(reader->pids);
	reader->pids = pids;
	reader->num_pids = count;
}

/** Now and then anew: it may be moved to another one. */
static void find_cgroup(struct vitals_reader *reader)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (!is_due(&reader->cgroup_budget))
		return;
	reader->cgroup_budget.next_ns = now + CGROUP_AGE_NS;
	cgroup_deinit(&reader->cgroup);
	cgroup_find(reader->target->pid, &reader->cgroup);
}

static void read_dear(struct vitals_reader *reader, struct vitals *vitals)
{
	const struct vitals_wish *wish = &reader->wish;
	uint64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	// PSS is never above RSS.
	if (wish->pss && vitals->rss != UINT64_MAX &&
	    vitals->rss >= wish->pss_from && is_due(&reader->pss_budget)) {
		reader->last_pss = sum(reader, read_pss);
		vitals->pss_is_new = reader->last_pss != UINT64_MAX;
		charge(&reader->pss_budget, began);
	}
	began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	if (reader->gpu && is_due(&reader->gpu_budget)) {
		struct error *err = gpu_memory_read(
			reader->gpu,
			reader->num_pids ? reader->pids : &reader->target->pid,
			reader->num_pids ? reader->num_pids : 1,
			&reader->last_gpu);

		if (err)
			reader->last_gpu = UINT64_MAX;
		error_free(err);
		charge(&reader->gpu_budget, began);
	}
	vitals->pss = reader->last_pss;
	vitals->gpu = reader->last_gpu;
}

void vitals_open(const struct target *target, const struct vitals_wish *wish,
		 struct vitals_reader *ret)
{
	*ret = (struct vitals_reader){
		.target = target,
		.wish = *wish,
		.last_pss = UINT64_MAX,
		.last_gpu = UINT64_MAX,
	};
	if (wish->gpu)
		error_free(gpu_memory_open(&ret->gpu));
}

void vitals_close(struct vitals_reader *reader)
{
	cgroup_deinit(&reader->cgroup);
	gpu_memory_close(reader->gpu);
	free(reader->pids);
	*reader = (struct vitals_reader){ 0 };
}

void vitals_read(struct vitals_reader *reader, struct vitals *ret)
{
	static const struct cgroup_use unknown = { UINT64_MAX, UINT64_MAX,
						   UINT64_MAX };
	const struct vitals_wish *wish = &reader->wish;

	*ret = (struct vitals){
		.wall_ns = (int64_t)clock_ns(CLOCK_REALTIME),
		.when_ns = clock_ns(CLOCK_MONOTONIC),
		.threads = UINT64_MAX,
		.fds = UINT64_MAX,
		.cgroup = unknown,
		.fullest = unknown,
	};
	if (wish->children)
		read_tree(reader);
	ret->rss = sum(reader, read_rss);
	if (wish->threads)
		ret->threads = sum(reader, read_threads);
	if (wish->fds)
		ret->fds = sum(reader, read_fds);
	if (wish->cgroup) {
		find_cgroup(reader);
		cgroup_read(&reader->cgroup, &ret->cgroup);
		(void)cgroup_read_fullest(&reader->cgroup, &ret->fullest);
	}
	read_dear(reader, ret);
}
