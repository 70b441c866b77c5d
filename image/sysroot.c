/*
 * Files of the target's own system; see sysroot.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/sysroot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image/base/guard.h"

enum { LINKS_MAX = 40 };	/* symbolic links in one path, as the kernel's */

char *sysroot_join(const char *root, const char *path)
{
	size_t length = strlen(root);
	char *joined;

	while (length && root[length - 1] == '/')
		length--;
	while (*path == '/')
		path++;
	if (asprintf(&joined, "%.*s/%s", (int)length, root, path) < 0)
		return NULL;
	return joined;
}

char *sysroot_build_id_path(const char *prefix, const uint8_t *build_id,
			    size_t size, const char *suffix)
{
	char hex[2 * 64 + 1];
	char *path;

	if (size < 2 || size > 64)
		return NULL;
	for (size_t i = 0; i < size; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", build_id[i]);
	if (asprintf(&path, "%s/.build-id/%.2s/%s%s", prefix, hex, hex + 2,
		     suffix) < 0)
		return NULL;
	return path;
}

/**
 * Where path leads if root is "/": a path without links, relative to root. A
 * name that does not exist is left for open() to complain about.
 */
static bool resolve_below(int root, const char *path, char ret[PATH_MAX])
{
	char rest[PATH_MAX], link[PATH_MAX];
	const char *at = rest;
	size_t used = 0, length;
	unsigned int links = 0;

	if (snprintf(rest, sizeof(rest), "%s", path) >= PATH_MAX)
		return false;
	for (ret[0] = '\0'; at += strspn(at, "/"), *at; at += length) {
		size_t before = used;
		ssize_t size;

		length = strcspn(at, "/");
		if (length == 1 && at[0] == '.')
			continue;
		if (length == 2 && at[0] == '.' && at[1] == '.') {
			// What is resolved has no links; above "/" is "/".
			while (used && ret[--used] != '/')
				;
			ret[used] = '\0';
			continue;
		}
		if (used + 1 + length >= PATH_MAX)
			return false;
		if (used)
			ret[used++] = '/';
		memcpy(ret + used, at, length);
		used += length;
		ret[used] = '\0';
		size = readlinkat(root, ret, link, sizeof(link));
		if (size < 0)
			continue;
		if (++links > LINKS_MAX ||
		    (size_t)size + strlen(at + length) >= PATH_MAX)
			return false;
		memmove(rest + size, at + length, strlen(at + length) + 1);
		memcpy(rest, link, (size_t)size);
		at = rest;
		length = 0;
		used = link[0] == '/' ? 0 : before;
		ret[used] = '\0';
	}
	return used > 0;
}

/** Open path as if root were "/". */
static int open_below(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	char resolved[PATH_MAX];
	long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));

	if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
		return (int)fd;
	// Before Linux 5.6, or a sandbox that does not know the call.
	return resolve_below(root, path, resolved) ?
	       openat(root, resolved, flags | O_NOFOLLOW) : -1;
}

static bool is_regular(int fd, uint64_t *ret_size)
{
	struct stat status;

	if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
	    status.st_size <= 0)
		return false;
	*ret_size = (uint64_t)status.st_size;
	return true;
}

bool sysroot_map(const char *root, const char *path, struct mapping *ret)
{
	CLEANUP(close_fd) int folder = -1;
	CLEANUP(close_fd) int looked_at = -1;
	CLEANUP(close_fd) int fd = -1;
	struct error *err;
	uint64_t size;

	folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return false;
	// Opening a device or a FIFO may do something; looking does not.
	looked_at = open_below(folder, path, O_PATH | O_CLOEXEC);
	if (!is_regular(looked_at, &size))
		return false;
	fd = open_below(folder, path,
			O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (!is_regular(fd, &size))
		return false;
	err = mapping_init(ret, fd, false, size, path);
	error_free(err);
	return !err;
}
