/*
 * Pressure on memory; see pressure.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: Linux Documentation/accounting/psi.rst.
 */
#include "image/live/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/live/cgroup.h"

enum {
	WINDOW_MIN_US = 500000,
	WINDOW_MAX_US = 10000000,
	WINDOW_STEP_US = 2000000,	/* for who has not CAP_SYS_RESOURCE */
};

static const char machine[] = "/proc/pressure/memory";

static char *find_file(pid_t pid, bool *ret_of_cgroup)
{
	char *path = cgroup_pressure_file(pid);

	*ret_of_cgroup = path != NULL;
	return path ? path : strdup(machine);
}

void pressure_read(pid_t pid, struct pressure *ret)
{
	CLEANUP(free_pointer) char *path = find_file(pid, &ret->of_cgroup);
	CLEANUP(close_file) FILE *file = path ? fopen(path, "re") : NULL;
	CLEANUP(free_pointer) char *line = NULL;
	size_t capacity = 0;

	ret->some[0] = ret->full[0] = '\0';
	while (file && getline(&line, &capacity, file) > 0) {
		char *to = strncmp(line, "some ", 5) == 0 ? ret->some :
			   strncmp(line, "full ", 5) == 0 ? ret->full : NULL;

		line[strcspn(line, "\n")] = '\0';
		if (to)
			(void)snprintf(to, PRESSURE_TEXT_MAX, "%s", line + 5);
	}
}

struct error *pressure_parse(const char *text, struct pressure_limit *ret)
{
	unsigned int stall, window;
	char word[8], more;

	if (sscanf(text, " %7s %u %u %c", word, &stall, &window, &more) != 3 ||
	    (strcmp(word, "some") != 0 && strcmp(word, "full") != 0))
		return error_new(ERROR_USAGE, "'%s' is not as in 'some 150000 "
				 "1000000': some or full, microseconds of stall, "
				 "microseconds of the window", text);
	if (window < WINDOW_MIN_US || window > WINDOW_MAX_US || stall == 0 ||
	    stall > window)
		return error_new(ERROR_USAGE, "'%s': the window is %d to %d "
				 "microseconds, and the stall is within it",
				 text, WINDOW_MIN_US, WINDOW_MAX_US);
	*ret = (struct pressure_limit){
		.full = word[0] == 'f',
		.stall_us = stall,
		.window_us = window,
	};
	return NULL;
}

/** Tell the kernel when to wake who polls. */
static struct error *arm(int fd, const char *path,
			 const struct pressure_limit *limit)
{
	char order[64];
	int length = snprintf(order, sizeof(order), "%s %u %u",
			      limit->full ? "full" : "some", limit->stall_us,
			      limit->window_us);

	if (write(fd, order, (size_t)length + 1) >= 0)
		return NULL;
	if (errno == EINVAL && limit->window_us % WINDOW_STEP_US != 0)
		return error_new(ERROR_UNSUPPORTED, "%s: without "
				 "CAP_SYS_RESOURCE the kernel takes only "
				 "windows of whole multiples of %d "
				 "microseconds", path, WINDOW_STEP_US);
	return error_os(errno, "%s", path);
}

struct error *pressure_open(pid_t pid, const struct pressure_limit *limit,
			    int *ret)
{
	bool of_cgroup;
	CLEANUP(free_pointer) char *path = find_file(pid, &of_cgroup);
	struct error *err;
	int fd;

	if (!path)
		return error_no_memory();
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	// In a container the cgroup's own file is often read-only.
	if (fd < 0 && of_cgroup)
		fd = open(machine, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_os(errno, "%s", path);
	err = arm(fd, path, limit);
	if (err)
		(void)close(fd);
	else
		*ret = fd;
	return err;
}
