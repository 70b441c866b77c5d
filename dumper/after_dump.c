/*
 * Runs a command after each dump; see after_dump.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/after_dump.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dumper/child_command.h"
#include "image/base/guard.h"

enum { NAP_US = 20000 };

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)now.tv_nsec;
}

/** In the child: no way back. */
__attribute__((noreturn))
static void become_command(const char *command, const char *path,
			   const char *pid, const char *trigger)
{
	int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)setpgid(0, 0);
	child_command_reset_signals();
	(void)dup2(nothing, STDIN_FILENO);
	(void)dup2(STDERR_FILENO, STDOUT_FILENO);
	(void)setenv("HEAPDUMP_PATH", path, 1);
	(void)setenv("HEAPDUMP_PID", pid, 1);
	(void)setenv("HEAPDUMP_TRIGGER", trigger, 1);
	(void)execl("/bin/sh", "sh", "-c", command, "heapdump", path,
		    (char *)NULL);
	_exit(127);
}

struct error *after_dump_start(struct after_dump *after, const char *command,
			       const char *path, pid_t pid,
			       const char *trigger)
{
	char number[16];
	size_t at = 0;
	pid_t child;

	for (;;) {
		after_dump_look(after);
		for (at = 0; at < AFTER_DUMP_RUNNING_MAX; at++)
			if (after->running[at].pid == 0)
				break;
		if (at < AFTER_DUMP_RUNNING_MAX)
			break;
		(void)usleep(NAP_US);
	}
	(void)snprintf(number, sizeof(number), "%d", pid);
	child = fork();
	if (child == 0)
		become_command(command, path, number, trigger);
	if (child < 0)
		return error_os(errno, "--exec");
	(void)setpgid(child, child);	/* whoever is first */
	after->running[at].pid = child;
	after->running[at].deadline_ns =
		now_ns() + AFTER_DUMP_SECONDS * UINT64_C(1000000000);
	return NULL;
}

void after_dump_look(struct after_dump *after)
{
	for (size_t i = 0; i < AFTER_DUMP_RUNNING_MAX; i++) {
		pid_t pid = after->running[i].pid;
		int status;

		if (pid == 0)
			continue;
		if (now_ns() >= after->running[i].deadline_ns)
			(void)kill(-pid, SIGKILL);
		if (waitpid(pid, &status, WNOHANG | __WNOTHREAD) != pid)
			continue;
		after->running[i].pid = 0;
		after->failed |= status != 0;
	}
}

bool after_dump_is_running(const struct after_dump *after)
{
	for (size_t i = 0; i < AFTER_DUMP_RUNNING_MAX; i++)
		if (after->running[i].pid != 0)
			return true;
	return false;
}

void after_dump_finish(struct after_dump *after, const atomic_bool *stop)
{
	after_dump_look(after);
	while (after_dump_is_running(after)) {
		for (size_t i = 0; atomic_load(stop) &&
		     i < AFTER_DUMP_RUNNING_MAX; i++)
			after->running[i].deadline_ns = 0;
		(void)usleep(NAP_US);
		after_dump_look(after);
	}
}
