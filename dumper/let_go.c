/*
 * One heapdump asks another to let go of a process; see let_go.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/let_go.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/live/procinfo.h"

enum {
	NAP_US = 5000,
	NAPS_MAX = 200,
};

int let_go_signal(void)
{
	return SIGRTMAX - 3;
}

/** The thread that traces the process; 0: none. */
static pid_t tracer_of(pid_t pid)
{
	struct procinfo info = { .tracer = 0 };
	struct error *err = procinfo_read(pid, &info);

	error_free(err);
	return err ? 0 : info.tracer;
}

/** The signal would end any other program. */
static bool is_watcher(const struct procinfo *tracer)
{
	struct stat own, theirs;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/exe", tracer->process);
	return strcmp(tracer->name, "heapdump") == 0 &&
	       stat("/proc/self/exe", &own) == 0 && stat(path, &theirs) == 0 &&
	       own.st_dev == theirs.st_dev && own.st_ino == theirs.st_ino;
}

void let_go_ask(pid_t pid)
{
	struct procinfo tracer;
	pid_t tid = tracer_of(pid);
	struct error *err;

	if (tid == 0 || procinfo_is_ours(tid))
		return;
	err = procinfo_read(tid, &tracer);
	if (err || !is_watcher(&tracer) ||
	    kill(tracer.process, let_go_signal()) != 0) {
		error_free(err);
		return;
	}
	for (int i = 0; i < NAPS_MAX && tracer_of(pid) == tid; i++)
		(void)usleep(NAP_US);
}
