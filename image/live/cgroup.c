/*
 * The memory cgroup of a process; see cgroup.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Sources: Linux Documentation/admin-guide/cgroup-v2.rst and
 * cgroup-v1/memory.rst; proc(5) for mountinfo.
 */
#include "image/live/cgroup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "image/base/guard.h"

enum { DEPTH_MAX = 64 };

/* Version 1 says "no limit" with the largest number of whole pages. */
static const uint64_t UNLIMITED = UINT64_C(1) << 62;

/* --- finding it -------------------------------------------------------------- */

static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (; *list; list += *list == ',') {
		size_t here = strcspn(list, ",");

		if (here == length && strncmp(list, word, length) == 0)
			return true;
		list += here;
	}
	return false;
}

/** A line is "ID:CONTROLLERS:PATH"; version 2 has no controllers there. */
static void find_path(FILE *file, bool unified_only, struct cgroup *cgroup)
{
	CLEANUP(free_pointer) char *line = NULL;
	CLEANUP(free_pointer) char *unified = NULL;
	size_t capacity = 0;

	while (getline(&line, &capacity, file) > 0) {
		char *list = strchr(line, ':');
		char *path = list ? strchr(list + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (!unified_only && has_word(list + 1, "memory")) {
			cgroup->path = strdup(path);
			cgroup->unified = false;
			return;
		}
		if (list[1] == '\0' && !unified)
			unified = strdup(path);
	}
	cgroup->path = TAKE(unified);
	cgroup->unified = true;
}

/** mountinfo writes blanks and backslashes as "\040"; in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++) {
		unsigned int code;

		if (at[0] == '\\' && sscanf(at + 1, "%3o", &code) == 1) {
			*to++ = (char)code;
			at += 3;
		} else {
			*to++ = *at;
		}
	}
	*to = '\0';
}

/** The part of path below root, both of one hierarchy; NULL: not below. */
static const char *below(const char *path, const char *root)
{
	size_t length = strlen(root);

	if (length > 0 && root[length - 1] == '/')
		length--;
	return strncmp(path, root, length) == 0 &&
	       (path[length] == '/' || path[length] == '\0') ?
		path + length : NULL;
}

/**
 * One line of mountinfo: "ID PARENT DEVICE ROOT MOUNT OPTIONS … - TYPE SOURCE
 * OPTIONS". True if the cgroup is in that mount.
 */
static bool try_mount(char *line, const char *prefix, struct cgroup *cgroup)
{
	char *rest = strstr(line, " - "), *fields[5], *save = NULL, *type;
	const char *inside, *options = NULL;

	if (!rest)
		return false;
	*rest = '\0';
	rest += 3;
	for (int i = 0; i < 5; i++) {
		fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
		if (!fields[i])
			return false;
	}
	save = NULL;
	type = strtok_r(rest, " \n", &save);
	if (strtok_r(NULL, " \n", &save))
		options = strtok_r(NULL, " \n", &save);
	if (!type || strcmp(type, cgroup->unified ? "cgroup2" : "cgroup") != 0 ||
	    (!cgroup->unified && !(options && has_word(options, "memory"))))
		return false;
	unescape(fields[3]);
	unescape(fields[4]);
	inside = below(cgroup->path, fields[3]);
	if (!inside)
		return false;
	if (strcmp(inside, "/") == 0)
		inside = "";
	if (asprintf(&cgroup->folder, "%s%s%s", prefix, fields[4], inside) < 0) {
		cgroup->folder = NULL;
		return false;
	}
	cgroup->mount = strlen(prefix) + strlen(fields[4]);
	if (access(cgroup->folder, X_OK) == 0)
		return true;
	free(cgroup->folder);
	cgroup->folder = NULL;
	return false;
}

static void find_folder(const char *mounts_file, const char *prefix,
			struct cgroup *cgroup)
{
	CLEANUP(close_file) FILE *file = fopen(mounts_file, "re");
	CLEANUP(free_pointer) char *line = NULL;
	size_t capacity = 0;

	while (file && getline(&line, &capacity, file) > 0)
		if (try_mount(line, prefix, cgroup))
			return;
}

static void find(const char *cgroup_file, const char *mounts_file,
		 const char *root, bool unified_only, struct cgroup *ret)
{
	CLEANUP(close_file) FILE *file = fopen(cgroup_file, "re");

	*ret = (struct cgroup){ 0 };
	if (!file)
		return;
	find_path(file, unified_only, ret);
	if (ret->path)
		find_folder(mounts_file, root, ret);
}

void cgroup_find_by(const char *cgroup_file, const char *mounts_file,
		    const char *root, struct cgroup *ret)
{
	find(cgroup_file, mounts_file, root, false, ret);
}

static void find_of(pid_t pid, bool unified_only, struct cgroup *ret)
{
	char own[40], mounts[40], root[40];

	(void)snprintf(own, sizeof(own), "/proc/%d/cgroup", pid);
	find(own, "/proc/self/mountinfo", "", unified_only, ret);
	if (ret->folder || !ret->path)
		return;
	(void)snprintf(mounts, sizeof(mounts), "/proc/%d/mountinfo", pid);
	(void)snprintf(root, sizeof(root), "/proc/%d/root", pid);
	find_folder(mounts, root, ret);
}

void cgroup_find(pid_t pid, struct cgroup *ret)
{
	find_of(pid, false, ret);
}

void cgroup_deinit(struct cgroup *cgroup)
{
	free(cgroup->path);
	free(cgroup->folder);
	*cgroup = (struct cgroup){ 0 };
}

/* --- its numbers --------------------------------------------------------------- */

static bool file_name(const struct cgroup *cgroup, const char *folder,
		      const char *unified, const char *old,
		      char path[PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s/%s", folder,
			cgroup->unified ? unified : old) < PATH_MAX;
}

static uint64_t read_number(const struct cgroup *cgroup, const char *folder,
			    const char *unified, const char *old)
{
	char path[PATH_MAX];
	uint64_t value;

	if (!file_name(cgroup, folder, unified, old, path))
		return UINT64_MAX;
	CLEANUP(close_file) FILE *file = fopen(path, "re");
	// "max" is no number: no limit.
	return file && fscanf(file, "%" SCNu64, &value) == 1 ? value :
							       UINT64_MAX;
}

/** The number after a word, in a file of "WORD NUMBER" lines. */
static uint64_t read_word(const struct cgroup *cgroup, const char *folder,
			  const char *unified, const char *old,
			  const char *word)
{
	char path[PATH_MAX], key[64];
	uint64_t value;

	if (!file_name(cgroup, folder, unified, old, path))
		return UINT64_MAX;
	CLEANUP(close_file) FILE *file = fopen(path, "re");
	while (file && fscanf(file, "%63s %" SCNu64, key, &value) == 2)
		if (strcmp(key, word) == 0)
			return value;
	return UINT64_MAX;
}

static uint64_t read_limit(const struct cgroup *cgroup, const char *folder)
{
	uint64_t limit = read_number(cgroup, folder, "memory.max",
				     "memory.limit_in_bytes");

	return limit < UNLIMITED ? limit : UINT64_MAX;
}

/** For memory.stat the kernel has to add up a lot. */
static void read_one(const struct cgroup *cgroup, const char *folder,
		     struct cgroup_use *ret)
{
	uint64_t files = read_word(cgroup, folder, "memory.stat", "memory.stat",
				   cgroup->unified ? "inactive_file" :
						     "total_inactive_file");

	ret->current = read_number(cgroup, folder, "memory.current",
				   "memory.usage_in_bytes");
	ret->limit = read_limit(cgroup, folder);
	ret->working = ret->current;
	if (ret->current != UINT64_MAX && files != UINT64_MAX)
		ret->working = files < ret->current ? ret->current - files : 0;
}

/** folder becomes that above it; false at the mount. */
static bool go_up(const struct cgroup *cgroup, char *folder)
{
	char *slash = strrchr(folder, '/');

	if (!slash || strlen(folder) <= cgroup->mount)
		return false;
	*slash = '\0';
	return true;
}

void cgroup_read(const struct cgroup *cgroup, struct cgroup_use *ret)
{
	CLEANUP(free_pointer) char *folder =
		cgroup->folder ? strdup(cgroup->folder) : NULL;

	*ret = (struct cgroup_use){ UINT64_MAX, UINT64_MAX, UINT64_MAX };
	if (!folder)
		return;
	read_one(cgroup, folder, ret);
	for (int i = 0; i < DEPTH_MAX && go_up(cgroup, folder); i++) {
		uint64_t limit = read_limit(cgroup, folder);

		if (limit < ret->limit)
			ret->limit = limit;
	}
}

bool cgroup_read_fullest(const struct cgroup *cgroup, struct cgroup_use *ret)
{
	CLEANUP(free_pointer) char *folder =
		cgroup->folder ? strdup(cgroup->folder) : NULL;
	double fullest = -1;
	int depth = 0;

	if (!folder)
		return false;
	do {
		struct cgroup_use use;
		double share;

		use.limit = read_limit(cgroup, folder);
		if (use.limit == UINT64_MAX || use.limit == 0)
			continue;
		read_one(cgroup, folder, &use);
		if (use.working == UINT64_MAX)
			continue;
		share = (double)use.working / (double)use.limit;
		if (share > fullest) {
			fullest = share;
			*ret = use;
		}
	} while (go_up(cgroup, folder) && ++depth < DEPTH_MAX);
	return fullest >= 0;
}

static void add_event(uint64_t *sum, uint64_t more)
{
	if (more != UINT64_MAX)
		*sum += more;
}

void cgroup_read_events(const struct cgroup *cgroup, struct cgroup_events *ret)
{
	CLEANUP(free_pointer) char *folder =
		cgroup->folder ? strdup(cgroup->folder) : NULL;
	int depth = 0;

	*ret = (struct cgroup_events){ 0 };
	if (!folder)
		return;
	do {
		const char *file = "memory.events.local";

		if (!cgroup->unified) {
			add_event(&ret->max, read_number(cgroup, folder, "",
							 "memory.failcnt"));
			add_event(&ret->oom_kill,
				  read_word(cgroup, folder, "",
					    "memory.oom_control", "oom_kill"));
			continue;
		}
		// What an older kernel counts for all below is told again by
		// each above: only a rise is of interest.
		if (read_word(cgroup, folder, file, "", "max") == UINT64_MAX)
			file = "memory.events";
		add_event(&ret->high, read_word(cgroup, folder, file, "", "high"));
		add_event(&ret->max, read_word(cgroup, folder, file, "", "max"));
		add_event(&ret->oom, read_word(cgroup, folder, file, "", "oom"));
		add_event(&ret->oom_kill,
			  read_word(cgroup, folder, file, "", "oom_kill"));
	} while (go_up(cgroup, folder) && ++depth < DEPTH_MAX);
}

/* --- its events ----------------------------------------------------------------- */

static void watch_file(const struct cgroup *cgroup, int fd, const char *folder)
{
	char path[PATH_MAX];

	if (file_name(cgroup, folder, "memory.events", "", path))
		(void)inotify_add_watch(fd, path, IN_MODIFY);
}

/** Version 1: "EVENTFD FILE [ARGUMENT]" in cgroup.event_control. */
static void ask_for_event(const struct cgroup *cgroup, int fd,
			  const char *folder, const char *name, uint64_t usage)
{
	char path[PATH_MAX], order[80];
	int length;

	if (!file_name(cgroup, folder, "", name, path))
		return;
	CLEANUP(close_fd) int file = open(path, O_RDONLY | O_CLOEXEC);
	if (!file_name(cgroup, folder, "", "cgroup.event_control", path))
		return;
	CLEANUP(close_fd) int control = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || control < 0)
		return;
	length = usage == UINT64_MAX ?
		snprintf(order, sizeof(order), "%d %d", fd, file) :
		snprintf(order, sizeof(order), "%d %d %" PRIu64, fd, file,
			 usage);
	// Refused: there is polling, too.
	if (write(control, order, (size_t)length) < 0)
		return;
}

int cgroup_open_events(const struct cgroup *cgroup, uint64_t usage)
{
	CLEANUP(free_pointer) char *folder =
		cgroup->folder ? strdup(cgroup->folder) : NULL;
	int depth = 0, fd;

	if (!folder)
		return -1;
	fd = cgroup->unified ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) :
			       eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -1;
	if (!cgroup->unified && usage != UINT64_MAX)
		ask_for_event(cgroup, fd, folder, "memory.usage_in_bytes",
			      usage);
	do {
		if (cgroup->unified)
			watch_file(cgroup, fd, folder);
		else
			ask_for_event(cgroup, fd, folder, "memory.oom_control",
				      UINT64_MAX);
	} while (go_up(cgroup, folder) && ++depth < DEPTH_MAX);
	return fd;
}

void cgroup_clear_event(int fd)
{
	char unused[4096];

	while (read(fd, unused, sizeof(unused)) > 0)
		continue;
}

char *cgroup_pressure_file(pid_t pid)
{
	struct cgroup cgroup;
	char *path = NULL;

	find_of(pid, /* unified_only= */ true, &cgroup);
	if (!cgroup.folder ||
	    asprintf(&path, "%s/memory.pressure", cgroup.folder) < 0)
		path = NULL;
	if (path && access(path, R_OK) != 0) {
		free(path);
		path = NULL;
	}
	cgroup_deinit(&cgroup);
	return path;
}
