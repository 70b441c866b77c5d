/*
 * Waits for a process by its command line; see name_wait.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/name_wait.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <dirent.h>
#include <fcntl.h>
#include <pcre2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "image/live/procinfo.h"

enum {
	FIRST_LOOKS = 5,
	LATER_LOOKS = 16,	/* then each so many */
	ANCESTORS_MAX = 64,
	CMDLINE_MAX = 4096,
	MATCH_LIMIT = 100000,	/* what a pattern may cost on one line */
};

struct name_wait {
	pcre2_code *pattern;
	pcre2_match_data *match;
	pcre2_match_context *limits;
	pid_t ancestors[ANCESTORS_MAX];	/* and this program itself */
	size_t num_ancestors;
	char *own_exe;
	struct hashmap looks;	/* pid -> how often it was seen */
};

static struct error *compile(const char *text, pcre2_code **ret)
{
	PCRE2_SIZE offset;
	unsigned char message[128];
	int code;

	*ret = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, &code,
			     &offset, NULL);
	if (*ret)
		return NULL;
	(void)pcre2_get_error_message(code, message, sizeof(message));
	return error_new(ERROR_USAGE, "'%s' is no regular expression: %s (at "
			 "%zu)", text, (char *)message, (size_t)offset);
}

struct error *name_wait_check(const char *pattern)
{
	pcre2_code *code;
	struct error *err = compile(pattern, &code);

	if (!err)
		pcre2_code_free(code);
	return err;
}

static void find_ancestors(struct name_wait *wait)
{
	struct procinfo info = { .parent = getpid() };

	while (info.parent > 0 && wait->num_ancestors < ANCESTORS_MAX) {
		struct error *err;

		wait->ancestors[wait->num_ancestors++] = info.parent;
		err = procinfo_read(info.parent, &info);
		if (err) {
			error_free(err);
			break;
		}
	}
}

struct error *name_wait_open(const char *pattern, struct name_wait **ret)
{
	struct name_wait *wait = calloc(1, sizeof(*wait));
	struct error *err;

	if (!wait)
		return error_no_memory();
	err = compile(pattern, &wait->pattern);
	if (!err) {
		wait->match = pcre2_match_data_create(1, NULL);
		wait->limits = pcre2_match_context_create(NULL);
		if (!wait->match || !wait->limits)
			err = error_no_memory();
	}
	if (err) {
		name_wait_close(wait);
		return err;
	}
	(void)pcre2_set_match_limit(wait->limits, MATCH_LIMIT);
	wait->own_exe = procinfo_link(getpid(), "exe");
	find_ancestors(wait);
	*ret = wait;
	return NULL;
}

void name_wait_close(struct name_wait *wait)
{
	if (!wait)
		return;
	pcre2_code_free(wait->pattern);
	pcre2_match_data_free(wait->match);
	pcre2_match_context_free(wait->limits);
	hashmap_deinit(&wait->looks);
	free(wait->own_exe);
	free(wait);
}

static bool is_ancestor(const struct name_wait *wait, pid_t pid)
{
	for (size_t i = 0; i < wait->num_ancestors; i++)
		if (wait->ancestors[i] == pid)
			return true;
	return false;
}

/** The arguments in one line, each followed by a blank but the last. */
static size_t read_cmdline(pid_t pid, char text[CMDLINE_MAX])
{
	char path[40];
	ssize_t size;

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	size = fd < 0 ? 0 : read(fd, text, CMDLINE_MAX);
	while (size > 0 && text[size - 1] == '\0')
		size--;
	for (ssize_t i = 0; i < size; i++)
		if (text[i] == '\0')
			text[i] = ' ';
	return size > 0 ? (size_t)size : 0;
}

static bool matches(const struct name_wait *wait, pid_t pid)
{
	CLEANUP(free_pointer) char *exe = NULL;
	char text[CMDLINE_MAX];
	size_t size = read_cmdline(pid, text);

	if (size == 0 ||
	    pcre2_match(wait->pattern, (PCRE2_SPTR)text, size, 0, 0,
			wait->match, wait->limits) < 0)
		return false;
	exe = procinfo_link(pid, "exe");
	return !(exe && wait->own_exe && strcmp(exe, wait->own_exe) == 0);
}

pid_t name_wait_look(struct name_wait *wait)
{
	struct hashmap seen = { 0 };
	const struct dirent *entry;
	pid_t found = 0;
	DIR *dir = opendir("/proc");

	while (dir && (entry = readdir(dir)) != NULL) {
		long pid = strtol(entry->d_name, NULL, 10);
		uint32_t looks = 0;

		if (pid <= 0 || is_ancestor(wait, (pid_t)pid))
			continue;
		(void)hashmap_get(&wait->looks, (uint64_t)pid, &looks);
		error_free(hashmap_put(&seen, (uint64_t)pid, looks + 1));
		if ((looks < FIRST_LOOKS || looks % LATER_LOOKS == 0) &&
		    (found == 0 || pid < found) && matches(wait, (pid_t)pid))
			found = (pid_t)pid;
	}
	if (dir)
		(void)closedir(dir);
	hashmap_deinit(&wait->looks);
	wait->looks = seen;
	return found;
}
