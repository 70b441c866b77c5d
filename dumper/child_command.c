/*
 * heapdump -- CMD; see child_command.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/child_command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/base/guard.h"

/* What a terminal sends to its whole foreground group. */
static const int terminal_signals[] = { SIGINT, SIGQUIT, SIGTSTP, SIGTTIN,
					SIGTTOU, SIGWINCH };

/* What tells of a fault of this program itself, of its own children and
 * pipes, or cannot be caught. */
static const int own_signals[] = { SIGKILL, SIGSTOP, SIGCHLD, SIGPIPE, SIGSEGV,
				   SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT,
				   SIGSYS };

static struct sigaction at_start[NSIG];
static sigset_t mask_at_start;
static _Atomic pid_t receiver;
static atomic_bool stop_wanted, end_wanted;
static atomic_uint_least64_t early;	/* came before there was a receiver */

static bool is_among(int number, const int *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == number)
			return true;
	return false;
}

#define IS_AMONG(number, list) \
	is_among(number, list, sizeof(list) / sizeof(*(list)))

void child_command_remember_signals(void)
{
	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, NULL, &at_start[i]);
	(void)sigprocmask(SIG_SETMASK, NULL, &mask_at_start);
}

void child_command_reset_signals(void)
{
	// At the start none was handled: each was ignored or by default.
	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, &at_start[i], NULL);
	(void)sigprocmask(SIG_SETMASK, &mask_at_start, NULL);
}

static void pass_on(int number, siginfo_t *info, void *context)
{
	int before = errno;
	pid_t pid = atomic_load(&receiver);
	bool typed = info->si_code == SI_KERNEL &&
		     IS_AMONG(number, terminal_signals);

	(void)context;
	if (number == SIGTSTP && typed)
		atomic_store(&stop_wanted, true);
	if (pid == 0 && !typed)
		(void)atomic_fetch_or(&early, UINT64_C(1) << (number - 1));
	else if (pid > 0 && !typed)
		(void)kill(pid, number);
	else if (pid < 0 && (number == SIGINT || number == SIGTERM ||
			     number == SIGHUP))
		atomic_store(&end_wanted, true);
	errno = before;
}

void child_command_catch(const sigset_t *own)
{
	struct sigaction action = {
		.sa_sigaction = pass_on,
		.sa_flags = SA_SIGINFO | SA_RESTART,
	};

	(void)sigfillset(&action.sa_mask);
	for (int i = 1; i < NSIG; i++)
		if (!IS_AMONG(i, own_signals) && sigismember(own, i) != 1)
			(void)sigaction(i, &action, NULL);
}

/** The new process gets what came too early for it. */
static void set_receiver(pid_t pid)
{
	uint64_t signals;

	atomic_store(&receiver, pid);
	signals = atomic_exchange(&early, 0);
	for (int i = 1; i < NSIG; i++)
		if (signals >> (i - 1) & 1)
			(void)kill(pid, i);
}

const atomic_bool *child_command_end_wanted(void)
{
	return &end_wanted;
}

bool child_command_stop_wanted(void)
{
	return atomic_exchange(&stop_wanted, false);
}

/** In the child: no way back. What fails is told through the pipe. */
__attribute__((noreturn))
static void become_command(char **command, char **settings, int report)
{
	int os_errno;

	child_command_reset_signals();
	for (size_t i = 0; settings[i]; i++)
		(void)putenv(settings[i]);
	(void)execvp(command[0], command);
	os_errno = errno;
	if (write(report, &os_errno, sizeof(os_errno)) < 0)
		_exit(CHILD_NOT_EXECUTABLE);
	_exit(os_errno == ENOENT ? CHILD_NOT_FOUND : CHILD_NOT_EXECUTABLE);
}

struct error *child_command_start(char **command, char **settings, pid_t *ret,
				  int *ret_status)
{
	int ends[2], os_errno = 0;
	sigset_t all, before;
	ssize_t got;
	pid_t child;

	*ret_status = CHILD_NOT_EXECUTABLE;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return error_os(errno, "a pipe");
	// Our handlers are not for the child, which would lose what it gets.
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	child = fork();
	if (child == 0)
		become_command(command, settings, ends[1]);
	if (child > 0)
		set_receiver(child);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)close(ends[1]);
	if (child < 0) {
		(void)close(ends[0]);
		return error_os(errno, "starting %s", command[0]);
	}
	// Nothing is read where exec() has closed the other end.
	do {
		got = read(ends[0], &os_errno, sizeof(os_errno));
	} while (got < 0 && errno == EINTR);
	(void)close(ends[0]);
	if (got != sizeof(os_errno)) {
		*ret = child;
		return NULL;
	}
	*ret_status = child_command_wait(child);
	return error_os(os_errno, "starting %s", command[0]);
}

static int exit_status(const siginfo_t *info)
{
	return info->si_code == CLD_EXITED ? info->si_status :
					     CHILD_SIGNALLED + info->si_status;
}

/** No signal may reach the number once another process can have it. */
static bool reap(pid_t pid, int options, int *ret)
{
	siginfo_t info = { 0 };
	sigset_t all, before;
	bool ended;

	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | options |
		   __WNOTHREAD) != 0) {
		*ret = CHILD_NOT_EXECUTABLE;
		return errno != EINTR;
	}
	if (info.si_pid != pid)
		return false;
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	ended = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG |
		       __WNOTHREAD) == 0 && info.si_pid == pid;
	if (ended)
		atomic_store(&receiver, -1);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	*ret = exit_status(&info);
	return ended;
}

bool child_command_has_ended(pid_t pid, int *ret)
{
	return reap(pid, WNOHANG, ret);
}

int child_command_wait(pid_t pid)
{
	int status = 0;

	while (!reap(pid, 0, &status))
		continue;
	return status;
}
