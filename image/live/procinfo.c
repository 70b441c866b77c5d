/*
 * What /proc says of a process and its threads; see procinfo.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/procinfo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "image/base/guard.h"
#include "image/live/cgroup.h"

enum {
	CONTAINER_DIGITS = 64,
	FILE_MAX_SIZE = 16 << 20,
	KERNEL_THREAD_FLAG = 0x00200000,	/* PF_KTHREAD of sched.h */
};

static struct error *read_file(const char *path, char **ret, size_t *ret_size)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	CLEANUP(free_pointer) char *text = NULL;
	size_t size = 0, capacity = 0;

	if (fd < 0)
		return error_os(errno, "%s", path);
	for (;;) {
		ssize_t got;

		if (size + 1 >= capacity) {
			char *grown;

			capacity = capacity ? 2 * capacity : 4096;
			grown = capacity > FILE_MAX_SIZE ?
				NULL : realloc(text, capacity);
			if (!grown)
				return error_no_memory();
			text = grown;
		}
		got = read(fd, text + size, capacity - size - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_os(errno, "%s", path);
		if (got == 0)
			break;
		size += (size_t)got;
	}
	text[size] = '\0';
	*ret = TAKE(text);
	*ret_size = size;
	return NULL;
}

struct error *procinfo_file(pid_t pid, const char *name, char **ret,
			    size_t *ret_size)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return read_file(path, ret, ret_size);
}

char *procinfo_link(pid_t pid, const char *name)
{
	char path[64], target[PATH_MAX + 16];
	ssize_t size;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	size = readlink(path, target, sizeof(target) - 1);
	if (size < 0)
		return NULL;
	target[size] = '\0';
	return strdup(target);
}

/** The text after "KEY:" and blanks in a status file, or NULL. */
static const char *status_field(const char *status, const char *key)
{
	size_t length = strlen(key);

	for (const char *line = status; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (strncmp(line, key, length) == 0 && line[length] == ':') {
			line += length + 1;
			return line + strspn(line, " \t");
		}
	}
	return NULL;
}

static uint64_t status_number(const char *status, const char *key, int base)
{
	const char *text = status_field(status, key);

	return text ? strtoull(text, NULL, base) : 0;
}

static uint64_t status_kib(const char *status, const char *key)
{
	return status_number(status, key, 10) * 1024;
}

/** The last number of a line: the innermost namespace's. */
static pid_t status_innermost(const char *status, const char *key, pid_t other)
{
	const char *text = status_field(status, key);
	long value = other;

	while (text && *text >= '0' && *text <= '9') {
		char *end;

		value = strtol(text, &end, 10);
		text = end + strspn(end, " \t");
	}
	return (pid_t)value;
}

static void parse_status(const char *status, struct procinfo *info)
{
	const char *uids = status_field(status, "Uid");
	const char *gids = status_field(status, "Gid");
	char *end;

	if (uids) {
		info->real_uid = (uint32_t)strtoul(uids, &end, 10);
		info->uid = (uint32_t)strtoul(end, NULL, 10);
	}
	if (gids) {
		(void)strtoul(gids, &end, 10);
		info->gid = (uint32_t)strtoul(end, NULL, 10);
	}
	info->process = (pid_t)status_number(status, "Tgid", 10);
	info->tracer = (pid_t)status_number(status, "TracerPid", 10);
	info->inside_pid = status_innermost(status, "NSpid", info->pid);
	info->group = status_innermost(status, "NSpgid", info->group);
	info->session = status_innermost(status, "NSsid", info->session);
	info->pending = status_number(status, "SigPnd", 16);
	info->blocked = status_number(status, "SigBlk", 16);
	info->ignored = status_number(status, "SigIgn", 16);
	info->caught = status_number(status, "SigCgt", 16);
	info->vm_size = status_kib(status, "VmSize");
	info->rss = status_kib(status, "VmRSS");
	info->rss_peak = status_kib(status, "VmHWM");
	info->swap = status_kib(status, "VmSwap");
	info->page_tables = status_kib(status, "VmPTE");
	info->rss_anonymous = status_kib(status, "RssAnon");
	info->data = status_kib(status, "VmData");
	info->pinned = status_kib(status, "VmPin");
	info->seccomp = (uint32_t)status_number(status, "Seccomp", 10);
}

/** proc(5): the name stands in parentheses and may hold any character. */
static bool parse_stat(const char *stat, size_t size, struct procinfo *info)
{
	const char *open_at = memchr(stat, '(', size);
	const char *close_at = memrchr(stat, ')', size);
	unsigned int flags = 0;
	size_t length;

	if (!open_at || !close_at || close_at < open_at)
		return false;
	length = (size_t)(close_at - open_at - 1);
	if (length > sizeof(info->name) - 1)
		length = sizeof(info->name) - 1;
	memcpy(info->name, open_at + 1, length);
	info->name[length] = '\0';
	if (sscanf(close_at + 1,
		   " %c %d %d %d %*d %*d %u %" SCNu64 " %*u %" SCNu64
		   " %*u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %*d %d %u %*d %" SCNu64,
		   &info->state, &info->parent, &info->group, &info->session,
		   &flags, &info->minor_faults, &info->major_faults,
		   &info->user_ticks, &info->system_ticks,
		   &info->child_user_ticks, &info->child_system_ticks,
		   &info->nice, &info->num_threads, &info->start_time) != 14)
		return false;
	info->kernel_thread = (flags & KERNEL_THREAD_FLAG) != 0;
	return true;
}

/**
 * The parent as the target sees it: its innermost number if it lives as deep
 * as the target does. A parent outside the namespace is 0, as getppid() says.
 */
static pid_t inside_parent(const struct procinfo *info, const char *status)
{
	CLEANUP(free_pointer) char *other = NULL;
	const char *own = status_field(status, "NSpid"), *theirs;
	size_t size, depth = 0, parent_depth = 0;
	struct error *err;

	err = procinfo_file(info->parent, "status", &other, &size);
	if (err) {
		error_free(err);
		return 0;
	}
	theirs = status_field(other, "NSpid");
	for (; own && *own != '\n' && *own != '\0'; own++)
		depth += *own == '\t';
	for (; theirs && *theirs != '\n' && *theirs != '\0'; theirs++)
		parent_depth += *theirs == '\t';
	return depth == parent_depth ?
		status_innermost(other, "NSpid", info->parent) : 0;
}

static struct error *read_task(const char *folder, pid_t id, bool process,
			       struct procinfo *ret)
{
	CLEANUP(free_pointer) char *stat = NULL;
	CLEANUP(free_pointer) char *status = NULL;
	struct procinfo info = { .pid = id };
	char path[64];
	struct error *err;
	size_t size;

	(void)snprintf(path, sizeof(path), "%s/stat", folder);
	err = read_file(path, &stat, &size);
	if (!err && !parse_stat(stat, size, &info))
		err = error_new(ERROR_FORMAT, "%s is not as expected", path);
	(void)snprintf(path, sizeof(path), "%s/status", folder);
	if (!err)
		err = read_file(path, &status, &size);
	if (err && (err->os_errno == ENOENT || err->os_errno == ESRCH)) {
		error_free(err);
		return error_new(ERROR_NOT_FOUND, "there is no %s %d",
				 process ? "process" : "thread", id);
	}
	if (err)
		return err;
	parse_status(status, &info);
	if (process)
		info.inside_parent = inside_parent(&info, status);
	*ret = info;
	return NULL;
}

struct error *procinfo_read(pid_t pid, struct procinfo *ret)
{
	char folder[40];

	(void)snprintf(folder, sizeof(folder), "/proc/%d", pid);
	return read_task(folder, pid, true, ret);
}

struct error *procinfo_read_thread(pid_t pid, pid_t tid, struct procinfo *ret)
{
	char folder[40];

	(void)snprintf(folder, sizeof(folder), "/proc/%d/task/%d", pid, tid);
	return read_task(folder, tid, false, ret);
}

char procinfo_thread_state(pid_t pid, pid_t tid)
{
	CLEANUP(free_pointer) char *stat = NULL;
	struct procinfo info = { 0 };
	char path[64];
	size_t size;
	struct error *err;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	err = read_file(path, &stat, &size);
	if (err || !parse_stat(stat, size, &info))
		info.state = 0;
	error_free(err);
	return info.state;
}

static void close_dir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

struct error *procinfo_threads(pid_t pid, pid_t **ret, size_t *ret_count)
{
	CLEANUP(free_pointer) pid_t *threads = NULL;
	size_t count = 0, capacity = 0;
	const struct dirent *entry;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	CLEANUP(close_dir) DIR *dir = opendir(path);
	if (!dir)
		return error_os(errno, "%s", path);
	while ((entry = readdir(dir)) != NULL) {
		long tid = strtol(entry->d_name, NULL, 10);

		if (tid <= 0)
			continue;
		if (count == capacity) {
			pid_t *grown;

			capacity = capacity ? 2 * capacity : 64;
			grown = reallocarray(threads, capacity, sizeof(*grown));
			if (!grown)
				return error_no_memory();
			threads = grown;
		}
		threads[count++] = (pid_t)tid;
	}
	*ret = TAKE(threads);
	*ret_count = count;
	return NULL;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool python_name(const char *name)
{
	return strncmp(name, "python", 6) == 0 || strncmp(name, "pypy", 4) == 0;
}

/**
 * Skip the interpreter's own options.
 *
 * @param how  'm' for a module, 'c' for code on the command line, else 0
 * @return the script or module in the arguments; NULL where there is none
 */
static const char *find_script(const char *arg, const char *end, char *how)
{
	for (; arg < end; arg += strlen(arg) + 1) {
		const char *next = arg + strlen(arg) + 1;
		size_t at;

		if (arg[0] != '-' || arg[1] == '\0')
			return arg;
		if (strcmp(arg, "--check-hash-based-pycs") == 0 && next < end)
			arg = next;
		if (arg[1] == '-')
			continue;
		// Short options cluster: "-um module", "-cpass", "-X dev".
		at = 1 + strcspn(arg + 1, "mcWX");
		*how = arg[at];
		if (arg[at] == 'c')
			return NULL;
		if (arg[at] == 'm')
			return arg[at + 1] ? arg + at + 1 :
			       next < end ? next : NULL;
		if (arg[at] && !arg[at + 1] && next < end)
			arg = next;
		*how = 0;
	}
	return NULL;
}

char *procinfo_script(const char *cmdline, size_t size, const char **script)
{
	const char *program, *end = cmdline + size, *found = NULL;
	char how = 0, *text;
	int made;

	*script = NULL;
	// A title set by setproctitle() or prctl() has no arguments in it.
	if (size == 0 || end[-1] != '\0')
		return strndup(cmdline, size);
	program = base_name(cmdline);
	if (python_name(program))
		found = find_script(cmdline + strlen(cmdline) + 1, end, &how);
	*script = found;
	if (how == 'm' && found)
		made = asprintf(&text, "%s -m %s", program, found);
	else if (found || how == 'c')
		made = asprintf(&text, "%s %s", program, found ? found : "-c");
	else
		made = asprintf(&text, "%s", program);
	return made < 0 ? NULL : text;
}

bool procinfo_is_python(pid_t pid)
{
	CLEANUP(free_pointer) char *exe = procinfo_link(pid, "exe");
	CLEANUP(close_file) FILE *maps = NULL;
	CLEANUP(free_pointer) char *line = NULL;
	size_t capacity = 0;
	char path[40];

	if (exe && python_name(base_name(exe)))
		return true;
	(void)snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (maps && getline(&line, &capacity, maps) > 0) {
		const char *name = strchr(line, '/');

		// Debuggers have the files of others mapped, to read them.
		if (name && strstr(line, "r-xp ") &&
		    (strncmp(base_name(name), "libpython", 9) == 0 ||
		     strncmp(base_name(name), "libpypy", 7) == 0))
			return true;
	}
	return false;
}

/** The first run of exactly CONTAINER_DIGITS hexadecimal digits in a text. */
static char *find_container(const char *text)
{
	for (const char *at = text; *at; ) {
		size_t length = strspn(at, "0123456789abcdef");

		if (length == CONTAINER_DIGITS)
			return strndup(at, length);
		at += length;
		at += strcspn(at, "0123456789abcdef");
	}
	return NULL;
}

char *procinfo_container(pid_t pid)
{
	static const char *const files[] = { "cgroup", "mountinfo" };
	char *found = NULL;

	for (size_t i = 0; !found && i < sizeof(files) / sizeof(*files); i++) {
		CLEANUP(free_pointer) char *text = NULL;
		size_t size;

		error_free(procinfo_file(pid, files[i], &text, &size));
		// A layer's folder of overlayfs has such a name as well; only
		// what is mounted of the runtime's own names the container.
		if (text && i > 0) {
			char *at = strstr(text, "/containers/");

			found = at ? find_container(at) : NULL;
		} else if (text) {
			found = find_container(text);
		}
	}
	return found;
}

uint64_t procinfo_huge(pid_t pid)
{
	CLEANUP(free_pointer) char *text = NULL;
	size_t size;
	struct error *err = procinfo_file(pid, "smaps_rollup", &text, &size);

	error_free(err);
	return text ? status_kib(text, "AnonHugePages") : 0;
}

bool procinfo_is_ours(pid_t tid)
{
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
	return access(path, F_OK) == 0;
}

uint64_t procinfo_uptime(const struct procinfo *info)
{
	struct timespec now;
	uint64_t tick = UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t since_boot;

	if (clock_gettime(CLOCK_BOOTTIME, &now) != 0)
		return 0;
	since_boot = (uint64_t)now.tv_sec * UINT64_C(1000000000) +
		     (uint64_t)now.tv_nsec;
	return since_boot > info->start_time * tick ?
		since_boot - info->start_time * tick : 0;
}

void procinfo_cgroup(pid_t pid, struct procinfo_cgroup *ret)
{
	struct cgroup cgroup;
	struct cgroup_use use;

	cgroup_find(pid, &cgroup);
	cgroup_read(&cgroup, &use);
	cgroup_deinit(&cgroup);
	ret->current = use.current == UINT64_MAX ? 0 : use.current;
	ret->limit = use.limit;
}

bool procinfo_same_cgroup(pid_t pid, pid_t other)
{
	struct cgroup first, second;
	struct cgroup_use use;
	bool same;

	cgroup_find(pid, &first);
	cgroup_find(other, &second);
	same = first.path && second.path &&
	       strcmp(first.path, second.path) == 0;
	// "/" is the topmost of a host, but also of a container's own view.
	if (same && strcmp(first.path, "/") == 0) {
		cgroup_read(&first, &use);
		same = use.limit != UINT64_MAX;
	}
	cgroup_deinit(&first);
	cgroup_deinit(&second);
	return same;
}
