/*
 * The process to be dumped; see target.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image/base/escape.h"
#include "image/base/guard.h"

static int open_pidfd(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/** What Yama says: 0 classic, 1 descendants only, 2 admins, 3 nobody. */
static int ptrace_scope(void)
{
	CLEANUP(close_file) FILE *file =
		fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	int scope = 0;

	return file && fscanf(file, "%d", &scope) == 1 ? scope : 0;
}

static bool may_ptrace_all(void)
{
	CLEANUP(close_file) FILE *file = fopen("/proc/self/status", "re");
	CLEANUP(free_pointer) char *line = NULL;
	size_t capacity = 0;
	unsigned long long effective = 0;

	while (file && getline(&line, &capacity, file) > 0)
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	return (effective >> CAP_SYS_PTRACE) & 1;
}

/** Why the kernel said no, as far as can be told from outside. */
static void explain_refusal(const struct target *target, char *why, size_t size)
{
	const struct procinfo *info = &target->info;
	bool capable = may_ptrace_all();
	int scope = ptrace_scope();
	struct stat status;

	if (!capable && info->real_uid != geteuid())
		(void)snprintf(why, size, "it belongs to user %u and this "
			       "is user %u", info->real_uid, geteuid());
	else if (scope == 3)
		(void)snprintf(why, size, "kernel.yama.ptrace_scope is 3: "
			       "nothing may be traced until a reboot");
	else if (!capable && scope == 2)
		(void)snprintf(why, size, "kernel.yama.ptrace_scope is 2: "
			       "only a program with CAP_SYS_PTRACE may");
	else if (!capable && scope == 1)
		(void)snprintf(why, size, "kernel.yama.ptrace_scope is 1: "
			       "only programs that started it may");
	else if (!capable &&
		 fstatat(target->proc_fd, "mem", &status, 0) == 0 &&
		 status.st_uid != info->uid)
		(void)snprintf(why, size, "it has made itself unreadable "
			       "(set-user-ID program, or prctl)");
	else if (!capable)
		(void)snprintf(why, size, "it has capabilities that this "
			       "program lacks, or a security module forbids it");
	else
		(void)snprintf(why, size, "a security module, or a user "
			       "namespace beyond this one, forbids it");
}

/** The same check that attaching will meet, without touching the process. */
static struct error *check_permission(const struct target *target)
{
	CLEANUP(close_fd) int fd =
		openat(target->proc_fd, "mem", O_RDONLY | O_CLOEXEC);
	char why[160];
	struct error *err;

	if (fd >= 0)
		return NULL;
	if (errno != EACCES && errno != EPERM)
		return error_os(errno, "process %d", target->pid);
	explain_refusal(target, why, sizeof(why));
	err = error_new(ERROR_OS,
			"process %d may not be read: %s. Ways out: run this "
			"with sudo; or give it the capability (sudo setcap "
			"cap_sys_ptrace+ep PROGRAM); or start the process from "
			"the program that dumps it, where only ptrace_scope "
			"forbids", target->pid, why);
	if (err->kind == ERROR_OS)
		err->os_errno = EPERM;
	return err;
}

static struct error *check_class(const struct target *target)
{
	CLEANUP(close_fd) int fd =
		openat(target->proc_fd, "exe", O_RDONLY | O_CLOEXEC);
	unsigned char ident[EI_NIDENT];

	if (fd < 0 || pread(fd, ident, sizeof(ident), 0) != sizeof(ident))
		return NULL;	/* not known: the registers will tell */
	if (ident[EI_CLASS] == ELFCLASS32)
		return error_new(ERROR_UNSUPPORTED,
				 "process %d is a 32-bit program; only 64-bit "
				 "ones can be dumped", target->pid);
	return NULL;
}

static struct error *refuse_traced(const struct procinfo *info)
{
	CLEANUP(free_pointer) char *name = NULL;
	struct procinfo tracer;
	struct error *err = procinfo_read(info->tracer, &tracer);

	if (err) {
		error_free(err);
		tracer.name[0] = '\0';
	}
	name = escape_copy(ESCAPE_TEXT, tracer.name, strlen(tracer.name));
	return error_new(ERROR_OS,
			 "process %d is already traced, by process %d (%s); a "
			 "process can have one debugger only%s", info->pid,
			 info->tracer, name && *name ? name : "unknown",
			 name && strcmp(name, "heapdump") == 0 ?
				". That one waits for its death: end it, or "
				"have it dump by a signal (--on-signal)" : "");
}

static struct error *check_kind(const struct procinfo *info)
{
	if (info->process != info->pid)
		return error_new(ERROR_USAGE,
				 "%d is a thread of process %d; give %d",
				 info->pid, info->process, info->process);
	if (info->pid == getpid())
		return error_new(ERROR_USAGE, "%d is this program itself",
				 info->pid);
	if (info->kernel_thread)
		return error_new(ERROR_UNSUPPORTED,
				 "process %d is a kernel thread: it has no "
				 "memory of its own", info->pid);
	if (info->state == 'Z' && info->num_threads > 1)
		return error_new(ERROR_UNSUPPORTED,
				 "the main thread of process %d has ended while "
				 "others run on; Linux gives no access to such "
				 "a process's memory by its number", info->pid);
	if (info->state == 'Z' || info->state == 'X')
		return error_new(ERROR_UNSUPPORTED,
				 "process %d has ended (a zombie, waiting for "
				 "its parent %d to notice)", info->pid,
				 info->parent);
	// Traced by this program: it waits for its death.
	return info->tracer != 0 && !procinfo_is_ours(info->tracer) ?
		refuse_traced(info) : NULL;
}

struct error *target_open(pid_t pid, struct target *ret)
{
	struct target target = { .pid = pid, .pidfd = -1, .proc_fd = -1 };
	char path[40];
	struct error *err;

	// The descriptor first: whatever is read after it is of this process,
	// or fails.
	target.pidfd = open_pidfd(pid);
	(void)snprintf(path, sizeof(path), "/proc/%d", pid);
	target.proc_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (target.proc_fd < 0)
		err = errno == ENOENT ?
			error_new(ERROR_NOT_FOUND, "there is no process %d", pid) :
			error_os(errno, "%s", path);
	else
		err = procinfo_read(pid, &target.info);
	if (!err)
		err = check_kind(&target.info);
	if (!err)
		err = check_permission(&target);
	if (!err)
		err = check_class(&target);
	if (err) {
		target_close(&target);
		return err;
	}
	*ret = target;
	return NULL;
}

void target_close(struct target *target)
{
	if (target->pidfd >= 0)
		(void)close(target->pidfd);
	if (target->proc_fd >= 0)
		(void)close(target->proc_fd);
	target->pidfd = target->proc_fd = -1;
}

struct error *target_allows(const struct target *target)
{
	struct stat status;

	// The folder itself stays its user's.
	if (target->info.uid == 0 ||
	    fstatat(target->proc_fd, "mem", &status, 0) != 0 ||
	    status.st_uid == target->info.uid)
		return NULL;
	return error_new(ERROR_DENIED, "the process forbids dumps of itself "
			 "(PR_SET_DUMPABLE, or a set-user-ID program)");
}

bool target_alive(const struct target *target)
{
	struct procinfo now;
	struct error *err;

	// An open /proc/PID does not move on to a later process.
	if (faccessat(target->proc_fd, "stat", F_OK, 0) != 0)
		return false;
	err = procinfo_read(target->pid, &now);
	if (err) {
		error_free(err);
		return false;
	}
	return now.start_time == target->info.start_time &&
	       now.state != 'Z' && now.state != 'X';
}
