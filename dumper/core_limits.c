/*
 * How often, how many at once, how much of the disk; see core_limits.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/core_limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/units.h"

enum {
	HOUR = 3600,
	RATE_MAX = 100000,	/* times that are kept */
};

/** Root's folder, and nobody else's. */
static struct error *open_state(int *ret)
{
	struct stat status;
	int fd;

	if (mkdir(CORE_LIMITS_FOLDER, 0700) != 0 && errno != EEXIST)
		return error_os(errno, "%s", CORE_LIMITS_FOLDER);
	fd = open(CORE_LIMITS_FOLDER,
		  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_os(errno, "%s", CORE_LIMITS_FOLDER);
	if (fstat(fd, &status) != 0 || status.st_uid != geteuid() ||
	    (status.st_mode & (S_IWGRP | S_IWOTH))) {
		close_fd(&fd);
		return error_new(ERROR_LIMIT, "%s is not root's alone",
				 CORE_LIMITS_FOLDER);
	}
	*ret = fd;
	return NULL;
}

static int open_locked(int folder, const char *name, int how)
{
	int fd = openat(folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
			0600);

	if (fd < 0 || flock(fd, how) == 0)
		return fd;
	close_fd(&fd);
	return -1;
}

/** One of so many files that this process locks for as long as it lives. */
static struct error *take_slot(int folder, unsigned int count)
{
	char name[32];

	for (unsigned int i = 0; i < count; i++) {
		(void)snprintf(name, sizeof(name), "slot.%u", i);
		if (open_locked(folder, name, LOCK_EX | LOCK_NB) >= 0)
			return NULL;
	}
	return error_new(ERROR_LIMIT, "%u dumps are being written already "
			 "(max_concurrent)", count);
}

/** Times of the last hour, one a line; the file is rewritten. */
static struct error *count_rate(int folder, unsigned int most, int64_t now)
{
	int fd = open_locked(folder, "rate", LOCK_EX);
	CLEANUP(close_file) FILE *file = fd < 0 ? NULL : fdopen(fd, "r+");
	CLEANUP(free_pointer) int64_t *times =
		calloc(RATE_MAX, sizeof(*times));
	size_t count = 0;
	int64_t when;

	if (!file || !times) {
		if (!file)
			close_fd(&fd);
		return error_os(errno, "%s/rate", CORE_LIMITS_FOLDER);
	}
	while (count + 1 < RATE_MAX && fscanf(file, "%" SCNd64, &when) == 1)
		if (when <= now && now - when < HOUR)
			times[count++] = when;
	if (count >= most)
		return error_new(ERROR_LIMIT, "%zu dumps were made within an "
				 "hour (max_rate)", count);
	times[count++] = now;
	rewind(file);
	if (ftruncate(fd, 0) != 0)
		return error_os(errno, "%s/rate", CORE_LIMITS_FOLDER);
	for (size_t i = 0; i < count; i++)
		(void)fprintf(file, "%" PRId64 "\n", times[i]);
	return fflush(file) == 0 ? NULL :
		error_os(errno, "%s/rate", CORE_LIMITS_FOLDER);
}

/* --- the disk ----------------------------------------------------------------- */

static void close_folder(DIR **folder)
{
	if (*folder)
		(void)closedir(*folder);
}

/** What the files of a folder take, those being written included. */
static uint64_t used_bytes(const char *path)
{
	CLEANUP(close_folder) DIR *folder = opendir(path);
	struct dirent *entry;
	struct stat status;
	uint64_t used = 0;

	while (folder && (entry = readdir(folder)) != NULL)
		if (fstatat(dirfd(folder), entry->d_name, &status,
			    AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(status.st_mode))
			used += (uint64_t)status.st_blocks * 512;
	return used;
}

static struct error *count_bytes(const struct dump_config *config,
				 const char *folder, uint64_t *ret_bytes)
{
	char have[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
	uint64_t room = config->max_size ? config->max_size : UINT64_MAX;
	struct statvfs status;
	uint64_t unused, used;

	if (statvfs(folder, &status) != 0)
		return error_os(errno, "%s", folder);
	unused = (uint64_t)status.f_bavail * status.f_frsize;
	if (unused <= config->min_free)
		return error_new(ERROR_LIMIT, "%s has %s free, and %s must "
				 "stay so (min_free)", folder,
				 units_size(unused, have),
				 units_size(config->min_free, most));
	if (unused - config->min_free < room)
		room = unused - config->min_free;
	used = config->max_total ? used_bytes(folder) : 0;
	if (config->max_total && used >= config->max_total)
		return error_new(ERROR_LIMIT, "%s holds %s, and %s is the most "
				 "(max_total): remove old dumps", folder,
				 units_size(used, have),
				 units_size(config->max_total, most));
	if (config->max_total && config->max_total - used < room)
		room = config->max_total - used;
	*ret_bytes = room;
	return NULL;
}

struct error *core_limits_enter(const struct dump_config *config,
				const char *folder, int64_t now,
				uint64_t *ret_bytes)
{
	CLEANUP(close_fd) int state = -1;
	struct error *err = open_state(&state);

	if (!err)
		err = take_slot(state, config->max_concurrent);
	if (!err)
		err = count_bytes(config, folder, ret_bytes);
	return err ? err : count_rate(state, config->max_rate, now);
}
