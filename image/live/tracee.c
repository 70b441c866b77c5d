/*
 * Waiting for a thread that this one traces; see tracee.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/tracee.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static bool has_ended(const siginfo_t *info)
{
	return info->si_code == CLD_EXITED || info->si_code == CLD_KILLED ||
	       info->si_code == CLD_DUMPED;
}

/** Others that end are somebody else's to be waited for. */
static bool are_of_one_process(pid_t tid, pid_t other)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d", tid, other);
	return access(path, F_OK) == 0;
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
		} else if (info.si_pid != tid) {
			if (has_ended(&info) &&
			    are_of_one_process(tid, info.si_pid))
				(void)waitpid(info.si_pid, NULL,
					      __WALL | WNOHANG);
			else
				(void)nanosleep(&moment, NULL);
		}
	}
}
