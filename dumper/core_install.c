/*
 * Makes heapdump the kernel's handler of cores; see core_install.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/core_install.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dumper/core_handler.h"
#include "image/base/guard.h"

static const char pattern_path[] = "/proc/sys/kernel/core_pattern";
static const char limit_path[] = "/proc/sys/kernel/core_pipe_limit";

/* With 0 the kernel does not wait, and the process is gone when asked about. */
static const char some_at_once[] = "8";

enum {
	PATTERN_MAX = 127,	/* CORENAME_MAX_SIZE of the kernel, less a NUL */
	STATE_MAX = 1024,
};

/* --- small files -------------------------------------------------------------- */

/** The whole of a small file without its last newline; NULL: not there. */
static char *read_small(const char *path)
{
	CLEANUP(close_fd) int fd =
		open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[STATE_MAX];
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (got < 0)
		return NULL;
	text[got] = '\0';
	if (got > 0 && text[got - 1] == '\n')
		text[got - 1] = '\0';
	return strdup(text);
}

static struct error *write_all(int fd, const char *text, const char *path)
{
	size_t size = strlen(text);

	// A setting must come in one piece.
	return write(fd, text, size) == (ssize_t)size ? NULL :
		error_os(errno, "writing %s", path);
}

static struct error *write_setting(const char *path, const char *text)
{
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? error_os(errno, "%s", path) : write_all(fd, text, path);
}

/** Under another name first: a file is there whole or not at all. */
static struct error *write_file(const char *path, const char *text)
{
	CLEANUP(free_pointer) char *temporary = NULL;
	struct error *err;
	int fd;

	if (asprintf(&temporary, "%s.new", path) < 0)
		return error_no_memory();
	(void)unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_os(errno, "%s", temporary);
	err = write_all(fd, text, temporary);
	if (!err && (fsync(fd) != 0 || rename(temporary, path) != 0))
		err = error_os(errno, "%s", path);
	if (err)
		(void)unlink(temporary);
	close_fd(&fd);
	return err;
}

struct error *core_change_apply(const struct core_change *change)
{
	switch (change->kind) {
	case CORE_CHANGE_SETTING:
		return write_setting(change->path, change->text);
	case CORE_CHANGE_FOLDER:
		return mkdir(change->path, 0755) == 0 ? NULL :
			error_os(errno, "making %s", change->path);
	case CORE_CHANGE_FILE:
		break;
	}
	if (change->text)
		return write_file(change->path, change->text);
	return unlink(change->path) == 0 || errno == ENOENT ? NULL :
		error_os(errno, "removing %s", change->path);
}

/* --- lists of changes --------------------------------------------------------- */

/** text is taken, also on failure. */
static struct error *add(struct core_changes *changes,
			 enum core_change_kind kind, const char *path,
			 char *text)
{
	struct core_change *change = &changes->items[changes->count];

	change->kind = kind;
	change->text = text;
	change->path = strdup(path);
	change->before = kind == CORE_CHANGE_SETTING ? read_small(path) : NULL;
	changes->count++;
	return change->path ? NULL : error_no_memory();
}

void core_changes_deinit(struct core_changes *changes)
{
	for (size_t i = 0; i < changes->count; i++) {
		free(changes->items[i].path);
		free(changes->items[i].text);
		free(changes->items[i].before);
	}
	free(changes->remark);
	*changes = (struct core_changes){ 0 };
}

/* --- the program ---------------------------------------------------------------- */

/** Root will run this file: nobody else may be able to replace it. */
static struct error *check_program(char *path)
{
	struct stat status;

	for (char *slash = path + strlen(path); slash;
	     slash = strrchr(path, '/')) {
		*slash = '\0';
		if (stat(*path ? path : "/", &status) != 0)
			return error_os(errno, "%s", path);
		if (status.st_uid != 0 ||
		    (status.st_mode & (S_IWGRP | S_IWOTH)))
			return error_new(ERROR_LIMIT, "%s can be changed by "
					 "somebody who is not root, and the "
					 "kernel would start what is there as "
					 "root: install heapdump into a folder "
					 "of root's first",
					 *path ? path : "/");
	}
	return NULL;
}

static struct error *make_pattern(char **ret)
{
	char path[PATH_MAX], copy[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	struct error *err;

	if (length < 0)
		return error_os(errno, "/proc/self/exe");
	path[length] = '\0';
	(void)strcpy(copy, path);
	err = check_program(copy);
	if (err)
		return err;
	if (strpbrk(path, " \t\n%") ||
	    asprintf(ret, "|%s --core-pattern %s", path,
		     CORE_HANDLER_SPECIFIERS) < 0)
		return error_new(ERROR_LIMIT, "the kernel does not take the "
				 "path %s", path);
	if (strlen(*ret) <= PATTERN_MAX)
		return NULL;
	free(*ret);
	return error_new(ERROR_LIMIT, "the kernel takes %d letters, and with "
			 "the path %s they are more", PATTERN_MAX, path);
}

static bool is_ours(const char *pattern)
{
	return pattern && pattern[0] == '|' &&
	       strstr(pattern, "/heapdump --core-pattern ");
}

/* --- installing ----------------------------------------------------------------- */

static struct error *plan_settings(struct core_changes *changes,
				   const char *pattern, const char *limit)
{
	bool wait = limit && strcmp(limit, "0") != 0;
	const char *at_once = wait ? limit : some_at_once;
	char *text = NULL, *copy = strdup(pattern);
	struct error *err;

	// The limit first: no process crashes in between unwaited for.
	err = wait ? NULL : add(changes, CORE_CHANGE_SETTING, limit_path,
				strdup(some_at_once));
	if (err || !copy) {
		free(copy);
		return err ? err : error_no_memory();
	}
	err = add(changes, CORE_CHANGE_SETTING, pattern_path, copy);
	if (!err && asprintf(&text, "# by heapdump --core-pattern --install\n"
			     "kernel.core_pipe_limit = %s\n"
			     "kernel.core_pattern = %s\n", at_once,
			     pattern) < 0)
		return error_no_memory();
	return err ? err : add(changes, CORE_CHANGE_FILE, CORE_INSTALL_SYSCTL,
			       text);
}

struct error *core_install_plan(const char *folder, struct core_changes *ret)
{
	CLEANUP(free_pointer) char *pattern = NULL;
	CLEANUP(free_pointer) char *old = read_small(pattern_path);
	CLEANUP(free_pointer) char *limit = read_small(limit_path);
	struct core_changes changes = { 0 };
	char *state = NULL;
	struct error *err = make_pattern(&pattern);

	if (!err && !old)
		err = error_os(errno, "%s", pattern_path);
	if (err)
		return err;
	if (strcmp(old, pattern) == 0) {
		*ret = changes;
		return NULL;
	}
	if (access(folder, F_OK) != 0)
		err = add(&changes, CORE_CHANGE_FOLDER, folder, NULL);
	// Of an older heapdump's settings only the first ones are of interest.
	if (!err && !is_ours(old)) {
		if (asprintf(&state, "%s\n%s\n", limit ? limit : "0", old) < 0)
			err = error_no_memory();
		else
			err = add(&changes, CORE_CHANGE_FILE,
				  CORE_INSTALL_STATE, state);
	}
	if (!err)
		err = plan_settings(&changes, pattern, limit);
	if (err) {
		core_changes_deinit(&changes);
		return err;
	}
	*ret = changes;
	return NULL;
}

/* --- uninstalling --------------------------------------------------------------- */

/** What the settings were: the limit's line, then the pattern's. */
static struct error *plan_restore(struct core_changes *changes, char *state)
{
	char *pattern = strchr(state, '\n');
	struct error *err;

	if (!pattern)
		return error_new(ERROR_FORMAT, "%s does not hold the settings "
				 "that were there before: set %s by hand and "
				 "remove both", CORE_INSTALL_STATE,
				 pattern_path);
	*pattern++ = '\0';
	err = add(changes, CORE_CHANGE_SETTING, pattern_path, strdup(pattern));
	return err ? err : add(changes, CORE_CHANGE_SETTING, limit_path,
			       strdup(state));
}

struct error *core_uninstall_plan(struct core_changes *ret)
{
	CLEANUP(free_pointer) char *state = read_small(CORE_INSTALL_STATE);
	CLEANUP(free_pointer) char *now = read_small(pattern_path);
	struct core_changes changes = { 0 };
	struct error *err = NULL;

	if (!state)
		return error_new(ERROR_NOT_FOUND, "heapdump is not installed as "
				 "the kernel's handler: there is no %s",
				 CORE_INSTALL_STATE);
	if (is_ours(now))
		err = plan_restore(&changes, state);
	else if (asprintf(&changes.remark, "kernel.core_pattern is '%s' now, "
			  "which heapdump did not set: it is left alone",
			  now ? now : "?") < 0)
		err = error_no_memory();
	if (!err)
		err = add(&changes, CORE_CHANGE_FILE, CORE_INSTALL_SYSCTL,
			  NULL);
	if (!err)
		err = add(&changes, CORE_CHANGE_FILE, CORE_INSTALL_STATE, NULL);
	if (err) {
		core_changes_deinit(&changes);
		return err;
	}
	*ret = changes;
	return NULL;
}
