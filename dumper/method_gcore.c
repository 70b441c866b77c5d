/*
 * --method gcore; see method_gcore.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Between this program and gdb stands a keeper: a process of a session of its
 * own that does nothing but end gdb, when it takes too long or when this
 * program is gone, and then see that the target runs.
 */
#include "dumper/method_gcore.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/live/convert.h"

/*
 * gdb's own speed: measured 120 MB/s and up, and the time to attach, which
 * grows with threads and libraries.
 */
static const uint64_t BYTES_PER_S = 100000000;
static const uint64_t ATTACH_NS = 500000000;
static const uint64_t SPACE_MARGIN = UINT64_C(16) << 20;

enum {
	LOOK_MS = 2,		/* how often the pause is looked at */
	SETTLE_MS = 200,
	COMPLAINT_MAX = 400,
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)now.tv_nsec;
}

static uint64_t pause_limit(const struct live_options *live)
{
	return live->max_pause_ns ? live->max_pause_ns : LIVE_MAX_PAUSE_NS;
}

/* --- before ------------------------------------------------------------------- */

/** The first gdb of $PATH. */
static char *find_gdb(void)
{
	const char *at = getenv("PATH");

	while (at && *at) {
		size_t length = strcspn(at, ":");
		char *path;

		if (length > 0 && asprintf(&path, "%.*s/gdb", (int)length,
					   at) > 0) {
			if (access(path, X_OK) == 0)
				return path;
			free(path);
		}
		at += length + (at[length] == ':');
	}
	return NULL;
}

static struct error *check_room(const char *folder, uint64_t needed)
{
	char need[UNITS_TEXT_MAX], have[UNITS_TEXT_MAX];
	struct statvfs status;
	uint64_t available;

	if (statvfs(folder, &status) != 0 || status.f_blocks == 0)
		return NULL;
	available = (uint64_t)status.f_bavail * status.f_frsize;
	if (available >= needed + SPACE_MARGIN)
		return NULL;
	return error_new(ERROR_LIMIT, "%s has %s free, and what gdb writes "
			 "there first may need %s", folder,
			 units_size(available, have), units_size(needed, need));
}

static const char *folder_or_default(const char *folder)
{
	return folder && *folder ? folder : "/var/tmp";
}

struct error *method_gcore_check(const struct target *target,
				 const struct live_options *live,
				 const char *folder, bool force,
				 uint64_t *ret_pause_ns)
{
	CLEANUP(free_pointer) char *gdb = find_gdb();
	uint64_t bytes = target->info.rss + target->info.swap;
	char pause[UNITS_TEXT_MAX], allowed[UNITS_TEXT_MAX];

	*ret_pause_ns = ATTACH_NS + bytes / (BYTES_PER_S / 1000000) * 1000;
	if (!gdb)
		return error_new(ERROR_UNSUPPORTED, "there is no gdb in $PATH: "
				 "install it (package gdb), or use --method "
				 "stop");
	if (*ret_pause_ns > pause_limit(live))
		return error_new(ERROR_LIMIT, "gdb would stop the process for "
				 "about %s, and %s is allowed",
				 units_time(*ret_pause_ns, pause),
				 units_time(pause_limit(live), allowed));
	return force ? NULL : check_room(folder_or_default(folder), bytes);
}

/* --- gdb ---------------------------------------------------------------------- */

/** In a child: become gdb. core_fd and log_fd are inherited. */
static _Noreturn void become_gdb(const char *gdb, pid_t pid, int core_fd,
				 int log_fd, pid_t parent)
{
	char attach[40], write[60];
	const char *argv[] = {
		gdb, "--nx", "--batch", "--readnever",
		"-iex", "set auto-load no",
		"-iex", "set debuginfod enabled off",
		"-ex", "set height 0",
		"-ex", attach, "-ex", write, "-ex", "detach", NULL,
	};
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;

	// Whoever is to end it must not be gone already.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(127);
	(void)snprintf(attach, sizeof(attach), "attach %d", pid);
	(void)snprintf(write, sizeof(write), "gcore /proc/self/fd/%d", core_fd);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)unsetenv("DEBUGINFOD_URLS");
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(log_fd, STDOUT_FILENO) < 0 ||
	    dup2(log_fd, STDERR_FILENO) < 0 ||
	    fcntl(core_fd, F_SETFD, 0) != 0)
		_exit(127);
	execv(gdb, (char *const *)(uintptr_t)argv);
	_exit(127);
}

/** True if job control has stopped the process. */
static bool is_stopped(pid_t pid)
{
	struct procinfo info = { 0 };
	struct error *err = procinfo_read(pid, &info);

	error_free(err);
	return !err && info.state == 'T';
}

/**
 * End gdb, and the kernel lets go of what it held. Asked nicely (SIGTERM), gdb
 * 13 sends the process a SIGINT if it is just attaching, which kills it.
 */
static void end_gdb(pid_t gdb, int *status)
{
	(void)kill(gdb, SIGKILL);
	while (waitpid(gdb, status, 0) < 0 && errno == EINTR)
		continue;
}

/**
 * A debugger that is killed while it attaches leaves stop signals behind, one
 * for each thread, which arrive when the threads run again.
 */
static void let_run(const struct target *target)
{
	for (int waited = 0; waited < SETTLE_MS; waited += LOOK_MS) {
		if (is_stopped(target->pid) && target_alive(target))
			(void)kill(target->pid, SIGCONT);
		(void)poll(NULL, 0, LOOK_MS);
	}
}

/** What the keeper tells at the end. */
struct kept {
	int status;		/* of gdb, as wait(2) gives it */
	bool late;		/* it was ended, as it took too long */
	uint64_t pause_ns;	/* how long the process was traced */
};

/** Wait for gdb; end it at the limit, or when nobody holds the line. */
static struct kept watch_gdb(pid_t gdb, const struct target *target, int line,
			     uint64_t max_pause_ns)
{
	struct pollfd event = { .fd = line, .events = POLLIN };
	struct kept kept = { 0 };
	uint64_t since = 0;

	while (waitpid(gdb, &kept.status, WNOHANG) == 0) {
		struct procinfo info = { 0 };

		error_free(procinfo_read(target->pid, &info));
		if (info.tracer != 0 && since == 0)
			since = now_ns();
		if (info.tracer != 0)
			kept.pause_ns = now_ns() - since;
		kept.late = kept.pause_ns > max_pause_ns;
		if (poll(&event, 1, LOOK_MS) > 0 || kept.late) {
			end_gdb(gdb, &kept.status);
			break;
		}
	}
	return kept;
}

/** The keeper's whole life. */
static _Noreturn void keep(const struct target *target, const char *path,
			   int core_fd, int log_fd, int line,
			   uint64_t max_pause_ns)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT,
				       SIGPIPE };
	bool was_stopped = is_stopped(target->pid);
	pid_t self = getpid(), gdb;
	struct kept kept;

	(void)setsid();
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		(void)signal(ignored[i], SIG_IGN);
	gdb = fork();
	if (gdb == 0)
		become_gdb(path, target->pid, core_fd, log_fd, self);
	if (gdb < 0)
		_exit(1);
	kept = watch_gdb(gdb, target, line, max_pause_ns);
	if (!was_stopped && WIFSIGNALED(kept.status))
		let_run(target);
	(void)!write(line, &kept, sizeof(kept));
	_exit(0);
}

/** The last line that gdb said, for people. */
static void read_complaint(int log_fd, char text[COMPLAINT_MAX])
{
	off_t size = lseek(log_fd, 0, SEEK_END);
	off_t from = size > COMPLAINT_MAX - 1 ? size - (COMPLAINT_MAX - 1) : 0;
	ssize_t got = pread(log_fd, text, COMPLAINT_MAX - 1, from);

	text[got > 0 ? got : 0] = '\0';
	for (char *at = text; *at; at++)
		if (*at == '\n')
			*at = at[1] ? ' ' : '\0';
}

static struct error *judge(const struct kept *kept, const struct target *target,
			   const struct live_options *live, int core_fd,
			   int log_fd)
{
	char allowed[UNITS_TEXT_MAX], complaint[COMPLAINT_MAX];
	struct stat status;

	if (live->stop && atomic_load(live->stop))
		return error_new(ERROR_INTERRUPTED, "interrupted");
	if (kept->late)
		return error_new(ERROR_LIMIT, "gdb had stopped process %d for "
				 "%s and was not done: it was ended, and the "
				 "process runs. Allow more with --max-pause",
				 target->pid,
				 units_time(pause_limit(live), allowed));
	if (WIFEXITED(kept->status) && WEXITSTATUS(kept->status) == 0 &&
	    fstat(core_fd, &status) == 0 && status.st_size > 0)
		return NULL;
	read_complaint(log_fd, complaint);
	return error_new(ERROR_OS, "gdb wrote no core of process %d: %s",
			 target->pid, complaint);
}

/** Wait for the keeper's answer; let go of the line to have gdb ended. */
static struct error *await(int *line, pid_t keeper, const struct live_options *live,
			   struct kept *kept)
{
	struct pollfd event = { .fd = *line, .events = POLLIN };
	ssize_t got = -1;

	while (poll(&event, 1, 50) <= 0)
		if (live->stop && atomic_load(live->stop))
			(void)shutdown(*line, SHUT_WR);
	got = read(*line, kept, sizeof(*kept));
	while (waitpid(keeper, NULL, 0) < 0 && errno == EINTR)
		continue;
	return got == (ssize_t)sizeof(*kept) ? NULL :
		error_new(ERROR_OS, "the process that watches gdb ended");
}

static struct error *run_gdb(const struct target *target,
			     const struct live_options *live, int core_fd,
			     uint64_t *ret_pause_ns)
{
	CLEANUP(free_pointer) char *gdb = find_gdb();
	CLEANUP(close_fd) int log_fd = memfd_create("gdb", MFD_CLOEXEC);
	CLEANUP(close_fd) int ours = -1;
	struct kept kept = { 0 };
	int line[2];
	struct error *err;
	pid_t keeper;

	if (!gdb || log_fd < 0)
		return error_new(ERROR_UNSUPPORTED, "there is no gdb in $PATH");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) != 0)
		return error_os(errno, "a pair of sockets");
	keeper = fork();
	if (keeper == 0) {
		(void)close(line[0]);
		keep(target, gdb, core_fd, log_fd, line[1], pause_limit(live));
	}
	(void)close(line[1]);
	ours = line[0];
	if (keeper < 0)
		return error_os(errno, "starting gdb");
	err = await(&ours, keeper, live, &kept);
	*ret_pause_ns = kept.pause_ns;
	return err ? err : judge(&kept, target, live, core_fd, log_fd);
}

/* --- the whole ---------------------------------------------------------------- */

/** What was said of it before gdb came is a little older than the core. */
static struct error *convert(const struct target *target,
			     const struct live_options *live,
			     const struct last_seen *seen, uint64_t pause_ns,
			     int core_fd, int fd, struct live_result *ret)
{
	CLEANUP(close_fd) int mem_fd =
		openat(target->proc_fd, "mem", O_RDONLY | O_CLOEXEC);
	struct convert_options options = {
		.live = live,
		.seen = seen,
		.mem_fd = mem_fd,
		.runs_on = target->pid,
		.pause_ns = pause_ns,
	};

	if (lseek(core_fd, 0, SEEK_SET) != 0)
		return error_os(errno, "gdb's core");
	return convert_core(&options, core_fd, fd, ret);
}

struct error *method_gcore_dump(const struct target *target,
				const struct live_options *live,
				const char *folder, int fd,
				struct live_result *ret)
{
	CLEANUP(last_seen_deinit) struct last_seen seen = { 0 };
	CLEANUP(close_fd) int core_fd =
		open(folder_or_default(folder), O_TMPFILE | O_RDWR | O_CLOEXEC,
		     0600);
	uint64_t pause_ns = 0;
	struct error *err;

	if (core_fd < 0)
		return error_os(errno, "a temporary file in %s",
				folder_or_default(folder));
	err = last_seen_read(target->pid, live, "gcore", &seen);
	if (!err)
		err = run_gdb(target, live, core_fd, &pause_ns);
	return err ? err : convert(target, live, &seen, pause_ns, core_fd, fd,
				   ret);
}
