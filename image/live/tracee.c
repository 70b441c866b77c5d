/*
 * Waiting for a thread that this one traces; see tracee.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/tracee.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

/** Other threads of its process that have ended; false: there are none. */
static bool take_off(pid_t tid)
{
	char path[64];
	struct dirent *entry;
	bool any = false;
	DIR *folder;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", tid);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		siginfo_t info = { .si_pid = 0 };
		pid_t other = atoi(entry->d_name);

		if (other > 0 && other != tid &&
		    waitid(P_PID, (id_t)other, &info,
			   WEXITED | WNOHANG | __WALL) == 0 && info.si_pid != 0)
			any = true;
	}
	if (folder)
		(void)closedir(folder);
	return any;
}

pid_t tracee_wait(pid_t tid, int *ret_status)
{
	static const struct timespec moment = { .tv_nsec = 200000 };

	for (;;) {
		pid_t got = waitpid(tid, ret_status, __WALL | WNOHANG);
		siginfo_t info = { .si_pid = 0 };

		if (got > 0 || (got < 0 && errno != EINTR))
			return got;
		// Whatever comes first is looked at, and left there.
		if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOWAIT |
				   __WALL | __WNOTHREAD) != 0) {
			if (errno != EINTR)
				return -1;
		} else if (info.si_pid != tid && !take_off(tid)) {
			(void)nanosleep(&moment, NULL);
		}
	}
}
