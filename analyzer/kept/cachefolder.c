/*
 * The folder that results are kept in; see cachefolder.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/kept/cachefolder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/units.h"

enum { DISK_LEFT = 20 };	/* a twentieth of the disk stays free */

/* --- the folder ------------------------------------------------------------ */

/** Make a folder, and those on the way to it. */
static struct error *make_folder(char *path)
{
	for (char *at = path + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		(void)mkdir(path, 0700);
		*at = '/';
	}
	return mkdir(path, 0700) == 0 || errno == EEXIST ? NULL :
		error_os(errno, "making %s", path);
}

static struct error *default_path(char **ret)
{
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	int size;

	if (cache && cache[0] == '/')
		size = asprintf(ret, "%s/heapscan", cache);
	else if (home && home[0] == '/')
		size = asprintf(ret, "%s/.cache/heapscan", home);
	else
		return error_new(ERROR_NOT_FOUND, "there is no home folder to "
				 "keep results in (see --index)");
	if (size < 0) {
		*ret = NULL;
		return error_no_memory();
	}
	return NULL;
}

static struct error *open_own(const char *path, int *ret_fd)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY |
						      O_CLOEXEC);
	struct stat status;

	if (fd < 0 && errno == ENOENT) {
		*ret_fd = -1;
		return NULL;
	}
	if (fd < 0 || fstat(fd, &status) != 0)
		return error_os(errno, "opening %s", path);
	if (status.st_uid != geteuid())
		return error_new(ERROR_DENIED, "%s is somebody else's", path);
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return error_new(ERROR_DENIED, "others can write to %s", path);
	*ret_fd = fd;
	fd = -1;
	return NULL;
}

struct error *cachefolder_open(const char *named, bool make, int *ret_fd)
{
	CLEANUP(free_pointer) char *path = named ? strdup(named) : NULL;
	struct error *err = NULL;

	if (named && !path)
		return error_no_memory();
	if (!named)
		err = default_path(&path);
	if (!err && make)
		err = make_folder(path);
	return err ? err : open_own(path, ret_fd);
}

void cachefolder_path(const char *name, const char *suffix, char path[64])
{
	(void)snprintf(path, 64, "%.*s.%s", CACHE_NAME, name, suffix);
}

/* --- what is in it --------------------------------------------------------- */

struct kept_file {
	char name[CACHE_NAME + 1];
	uint64_t size;
	struct timespec used;
};

struct kept_files {
	struct kept_file *files;
	size_t count, room;
};

/** True if a file's name is ours, with this suffix; any of six if NULL. */
static bool is_ours(const char *file, const char *suffix)
{
	if (strspn(file, "0123456789abcdef") != CACHE_NAME ||
	    file[CACHE_NAME] != '.')
		return false;
	return suffix ? strcmp(file + CACHE_NAME + 1, suffix) == 0 :
			strlen(file + CACHE_NAME + 1) == 6;
}

static struct error *add_file(struct kept_files *list, int folder,
			      const char *file)
{
	struct kept_file kept = { 0 };
	struct stat status;
	char seen[64];

	if (fstatat(folder, file, &status, AT_SYMLINK_NOFOLLOW) != 0)
		return NULL;	// somebody else removed it just now
	memcpy(kept.name, file, CACHE_NAME);
	kept.size = (uint64_t)status.st_size;
	kept.used = status.st_mtim;
	cachefolder_path(kept.name, "seen", seen);
	if (fstatat(folder, seen, &status, AT_SYMLINK_NOFOLLOW) == 0)
		kept.used = status.st_mtim;
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 32;
		struct kept_file *grown = realloc(list->files,
						  room * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		list->files = grown;
		list->room = room;
	}
	list->files[list->count++] = kept;
	return NULL;
}

/** A file that is being written is locked; one that is not was given up. */
static void remove_abandoned(int folder, const char *file)
{
	CLEANUP(close_fd) int fd = openat(folder, file, O_RDONLY | O_CLOEXEC |
					  O_NOFOLLOW | O_NONBLOCK);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		(void)unlinkat(folder, file, 0);
}

static struct error *list_folder(int folder, struct kept_files *list)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct error *err = NULL;
	const struct dirent *entry;

	if (!dir) {
		err = error_os(errno, "listing kept results");
		if (fd >= 0)
			(void)close(fd);
		return err;
	}
	while (!err && (entry = readdir(dir))) {
		if (is_ours(entry->d_name, "index"))
			err = add_file(list, folder, entry->d_name);
		else if (is_ours(entry->d_name, NULL))
			remove_abandoned(folder, entry->d_name);
	}
	(void)closedir(dir);
	return err;
}

static int longest_unused_first(const void *a, const void *b)
{
	const struct kept_file *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	return (x->used.tv_nsec > y->used.tv_nsec) -
	       (x->used.tv_nsec < y->used.tv_nsec);
}

static void remove_kept(int folder, const char *name)
{
	char path[64];

	cachefolder_path(name, "index", path);
	(void)unlinkat(folder, path, 0);
	cachefolder_path(name, "seen", path);
	(void)unlinkat(folder, path, 0);
}

static struct error *check_disk(int folder, uint64_t size)
{
	char text[UNITS_TEXT_MAX];
	struct statvfs disk;
	uint64_t unused, whole;

	if (fstatvfs(folder, &disk) != 0)
		return error_os(errno, "statvfs");
	unused = (uint64_t)disk.f_bavail * disk.f_frsize;
	whole = (uint64_t)disk.f_blocks * disk.f_frsize;
	return unused >= size && unused - size >= whole / DISK_LEFT ? NULL :
		error_new(ERROR_LIMIT, "results of %s would leave too little "
			  "of the disk free", units_size(size, text));
}

struct error *cachefolder_make_room(int folder, const char *name,
				    uint64_t size)
{
	struct kept_files list = { 0 };
	char text[UNITS_TEXT_MAX];
	struct error *err;
	uint64_t total = size;

	if (size > CACHE_MOST)
		return error_new(ERROR_LIMIT, "results of %s are more than is "
				 "kept", units_size(size, text));
	err = list_folder(folder, &list);
	for (size_t i = 0; i < list.count; i++)
		if (strcmp(list.files[i].name, name) != 0)
			total += list.files[i].size;
	if (list.count > 0)
		qsort(list.files, list.count, sizeof(*list.files),
		      longest_unused_first);
	for (size_t i = 0; !err && i < list.count && total > CACHE_MOST; i++) {
		if (strcmp(list.files[i].name, name) == 0)
			continue;
		remove_kept(folder, list.files[i].name);
		total -= list.files[i].size;
	}
	free(list.files);
	return err ? err : check_disk(folder, size);
}
