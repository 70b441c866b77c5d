/*
 * Test of image/live/tracee: a process whose threads are all traced is killed, and
 * the end of its first one is told.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/tracee.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/check.h"

enum { THREADS = 6, PATIENCE_SECONDS = 20 };

static void *sleep_on(void *unused)
{
	(void)unused;
	for (;;)
		(void)pause();
	return NULL;
}

/** Says so when its threads are there. */
static pid_t start_process(void)
{
	int ready[2];
	pid_t pid;
	char byte;

	if (pipe(ready) != 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < THREADS; i++) {
			pthread_t thread;

			(void)pthread_create(&thread, NULL, sleep_on, NULL);
		}
		(void)!write(ready[1], "x", 1);
		(void)sleep_on(NULL);
	}
	(void)!read(ready[0], &byte, 1);
	(void)close(ready[0]);
	(void)close(ready[1]);
	return pid;
}

/** Trace and stop all threads; how many. */
static int seize_all(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	DIR *folder;
	int count = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		pid_t tid = atoi(entry->d_name);
		int status;

		if (tid <= 0 || ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0 ||
		    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) != 0)
			continue;
		count += tracee_wait(tid, &status) == tid && WIFSTOPPED(status);
	}
	if (folder)
		(void)closedir(folder);
	return count;
}

int main(void)
{
	pid_t other = fork(), pid;
	int status = 0;

	// A child that ends meanwhile is not taken off.
	if (other == 0)
		_exit(7);
	// Without an end it would wait for ever.
	(void)alarm(PATIENCE_SECONDS);
	pid = start_process();
	CHECK_U64("all threads are traced", (uint64_t)seize_all(pid), THREADS + 1);
	(void)kill(pid, SIGKILL);
	CHECK("its end is told", tracee_wait(pid, &status) == pid &&
				 WIFSIGNALED(status) &&
				 WTERMSIG(status) == SIGKILL);
	CHECK("and there is no more", tracee_wait(pid, &status) == -1);
	CHECK("another child is there", waitpid(other, &status, 0) == other &&
					WIFEXITED(status) &&
					WEXITSTATUS(status) == 7);
	return check_result();
}
