/*
 * The numbers of a watched process as lines of JSON; see samples_file.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/samples_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/json.h"
#include "image/base/units.h"

enum { LINE_MAX_SIZE = 1024 };

struct error *samples_file_open(const char *path, struct samples_file *ret)
{
	// A FIFO without a reader must not hold us up.
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC |
		      O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
	struct stat status;

	if (fd < 0)
		return error_os(errno, "--samples %s", path);
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		(void)close(fd);
		return error_new(ERROR_USAGE, "--samples %s: not a regular "
				 "file", path);
	}
	*ret = (struct samples_file){ .path = path, .fd = fd };
	return NULL;
}

void samples_file_close(struct samples_file *file)
{
	close_fd(&file->fd);
	file->fd = -1;
}

static bool is_still_there(const struct samples_file *file)
{
	struct stat ours, there;

	return file->fd >= 0 && fstat(file->fd, &ours) == 0 &&
	       lstat(file->path, &there) == 0 &&
	       ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

static void number(struct json *json, const char *key, uint64_t value)
{
	if (value != UINT64_MAX)
		json_u64(json, key, value);
}

static void write_line(FILE *out, pid_t pid, const struct vitals *vitals)
{
	char when[UNITS_TEXT_MAX];
	struct json json;

	json_begin(&json, out, /* indent= */ false);
	json_object(&json, NULL);
	json_string(&json, "time",
		    units_utc(vitals->wall_ns / 1000000000, when));
	json_i64(&json, "time_ns", vitals->wall_ns);
	json_u64(&json, "monotonic_ns", vitals->when_ns);
	json_i64(&json, "pid", pid);
	number(&json, "rss", vitals->rss);
	if (vitals->pss_is_new)
		number(&json, "pss", vitals->pss);
	number(&json, "cgroup_current", vitals->cgroup.current);
	number(&json, "cgroup_working", vitals->cgroup.working);
	number(&json, "cgroup_limit", vitals->cgroup.limit);
	number(&json, "gpu", vitals->gpu);
	number(&json, "threads", vitals->threads);
	number(&json, "fds", vitals->fds);
	json_finish(&json);
}

struct error *samples_file_write(struct samples_file *file, pid_t pid,
				 const struct vitals *vitals)
{
	char line[LINE_MAX_SIZE];
	FILE *out = fmemopen(line, sizeof(line), "w");
	long size;

	if (!out)
		return error_no_memory();
	write_line(out, pid, vitals);
	size = ftell(out);
	if (fclose(out) != 0 || size <= 0)
		return error_no_memory();
	if (!is_still_there(file)) {
		const char *path = file->path;
		struct error *err;

		samples_file_close(file);
		err = samples_file_open(path, file);
		if (err)
			return err;
	}
	if (write(file->fd, line, (size_t)size) != size)
		return error_os(errno, "--samples %s", file->path);
	return NULL;
}
