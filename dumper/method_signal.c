/*
 * --method signal; see method_signal.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/method_signal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "dumper/signal_name.h"
#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/live/convert.h"

/*
 * Anonymous memory, private and shared, huge pages, and private pages of files:
 * the kernel then writes the parts of modules that symbols and unwinding need,
 * and the text, which is not taken over.
 */
static const char core_filter[] = "0x77";

enum {
	POLL_MS = 50,
	/* In which a process that takes the signal begins to die. */
	REACTION_MS = 10000,
};

/* --- before ------------------------------------------------------------------- */

static struct error *check_signal(int signal)
{
	char name[SIGNAL_NAME_MAX];
	static const int dumping[] = {
		SIGABRT, SIGQUIT, SIGILL, SIGTRAP, SIGFPE, SIGSEGV, SIGBUS,
		SIGSYS, SIGXCPU, SIGXFSZ,
	};

	for (size_t i = 0; i < sizeof(dumping) / sizeof(*dumping); i++)
		if (dumping[i] == signal)
			return NULL;
	return error_new(ERROR_USAGE, "--method signal: %s writes no core; "
			 "ABRT, QUIT, ILL, TRAP, FPE, SEGV, BUS, SYS, XCPU and "
			 "XFSZ do", signal_name(signal, name));
}

/** One of the masks in a status file, bit n-1 for signal n. */
static uint64_t read_mask(const char *status, const char *key)
{
	const char *at = strstr(status, key);
	uint64_t mask = 0;

	if (at)
		(void)sscanf(at + strlen(key), "%" SCNx64, &mask);
	return mask;
}

/** True if no thread would take the signal. */
static bool all_block(pid_t pid, uint64_t bit)
{
	CLEANUP(free_pointer) pid_t *tids = NULL;
	size_t count = 0;
	bool all = true;

	error_free(procinfo_threads(pid, &tids, &count));
	for (size_t i = 0; i < count && all; i++) {
		struct procinfo info = { 0 };
		struct error *err = procinfo_read_thread(pid, tids[i], &info);

		all = !err && (info.blocked & bit);
		error_free(err);
	}
	return count > 0 && all;
}

/** What the process does with the signal, if not dying of it. */
static struct error *check_disposition(const struct target *target, int signal)
{
	char name[SIGNAL_NAME_MAX];
	CLEANUP(free_pointer) char *status = NULL;
	uint64_t bit = UINT64_C(1) << (signal - 1);
	const char *does = NULL;
	struct error *err;
	size_t size;

	err = procinfo_file(target->pid, "status", &status, &size);
	if (err)
		return err;
	if (read_mask(status, "\nSigIgn:") & bit)
		does = "ignores";
	else if (read_mask(status, "\nSigCgt:") & bit)
		does = "has a handler for";
	else if (all_block(target->pid, bit))
		does = "blocks";
	if (!does)
		return NULL;
	return error_new(ERROR_LIMIT, "process %d %s %s: it may go on, and "
			 "no core be written. Another signal may do (--method "
			 "signal=SEGV), or --force sends this one", target->pid,
			 does, signal_name(signal, name));
}

/** What the kernel and its administrator forbid. */
static struct error *check_limits(const struct target *target)
{
	struct rlimit limit;
	struct stat status;

	if (fstat(target->proc_fd, &status) == 0 &&
	    status.st_uid != target->info.uid)
		return error_new(ERROR_LIMIT, "process %d has made itself "
				 "undumpable (prctl, or a set-user-ID program): "
				 "the kernel may write no core of it",
				 target->pid);
	if (prlimit(target->pid, RLIMIT_CORE, NULL, &limit) != 0)
		return error_os(errno, "the limits of process %d", target->pid);
	if (limit.rlim_max != RLIM_INFINITY && geteuid() != 0 &&
	    limit.rlim_max < target->info.rss)
		return error_new(ERROR_LIMIT, "process %d may write %llu bytes "
				 "of core (ulimit -Hc) and has more memory; "
				 "root can raise that", target->pid,
				 (unsigned long long)limit.rlim_max);
	return NULL;
}

static struct error *check_space(const struct target *target,
				 const struct core_file *core)
{
	char need[UNITS_TEXT_MAX], have[UNITS_TEXT_MAX];
	uint64_t needed = target->info.rss + target->info.swap;
	struct statvfs status;
	uint64_t available;

	if (fstatvfs(core->folder_fd, &status) != 0 || status.f_blocks == 0)
		return NULL;
	available = (uint64_t)status.f_bavail * status.f_frsize;
	if (available >= needed)
		return NULL;
	return error_new(ERROR_LIMIT, "%s, where the kernel would write the "
			 "core, has %s free and the core may need %s",
			 core->folder, units_size(available, have),
			 units_size(needed, need));
}

struct error *method_signal_check(const struct target *target, int signal,
				  bool force, struct core_file *ret)
{
	struct core_file core = { .folder_fd = -1, .fd = -1 };
	struct error *err = check_signal(signal);

	if (!err && !force)
		err = check_disposition(target, signal);
	if (!err && !force)
		err = check_limits(target);
	if (!err)
		err = core_file_expect(target, signal, &core);
	if (!err && !force)
		err = check_space(target, &core);
	if (err) {
		core_file_deinit(&core);
		return err;
	}
	*ret = core;
	return NULL;
}

/* --- the signal --------------------------------------------------------------- */

/** Let the kernel write all of it. */
static struct error *raise_limits(const struct target *target)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	int fd;

	if (prlimit(target->pid, RLIMIT_CORE, &limit, NULL) != 0 &&
	    prlimit(target->pid, RLIMIT_CORE, NULL, &limit) == 0) {
		// Only root may go above the hard limit.
		limit.rlim_cur = limit.rlim_max;
		if (prlimit(target->pid, RLIMIT_CORE, &limit, NULL) != 0)
			return error_os(errno, "raising the limit on the core "
					"of process %d", target->pid);
	}
	// Without it the core still has all memory, but no unwind tables.
	fd = openat(target->proc_fd, "coredump_filter", O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, core_filter, sizeof(core_filter) - 1);
	close_fd(&fd);
	return NULL;
}

static struct error *send(const struct target *target, int signal)
{
	char name[SIGNAL_NAME_MAX];
	// Not to a later process of that number.
	int result = target->pidfd >= 0 ?
		(int)syscall(SYS_pidfd_send_signal, target->pidfd, signal, NULL,
			     0) :
		target_alive(target) ? kill(target->pid, signal) : -1;

	return result == 0 ? NULL : error_os(errno, "sending %s to process "
					     "%d", signal_name(signal, name),
					     target->pid);
}

/** True while the kernel writes the core. */
static bool is_dumping(const struct target *target)
{
	CLEANUP(free_pointer) char *status = NULL;
	struct error *err;
	size_t size;

	err = procinfo_file(target->pid, "status", &status, &size);
	error_free(err);
	return !err && strstr(status, "\nCoreDumping:\t1");
}

static bool has_ended(const struct target *target)
{
	struct pollfd event = { .fd = target->pidfd, .events = POLLIN };

	if (target->pidfd >= 0)
		return poll(&event, 1, POLL_MS) > 0;
	(void)poll(NULL, 0, POLL_MS);
	return !target_alive(target);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/** Wait until the core is written, however long, if it is begun in time. */
static struct error *wait_for_end(const struct target *target, int signal,
				  const atomic_bool *stop)
{
	char name[SIGNAL_NAME_MAX];
	uint64_t began = now_ms();
	bool dumping = false;

	while (!has_ended(target)) {
		if (stop && atomic_load(stop))
			return error_new(ERROR_INTERRUPTED, "interrupted; "
					 "%s was sent, and the kernel goes "
					 "on writing the core",
					 signal_name(signal, name));
		dumping |= is_dumping(target);
		if (!dumping && now_ms() - began > REACTION_MS)
			return error_new(ERROR_LIMIT, "process %d goes on after "
					 "%s: it handles, ignores or blocks "
					 "it", target->pid,
					 signal_name(signal, name));
	}
	return NULL;
}

static struct error *convert(const struct last_seen *seen,
			     const struct live_options *live,
			     const struct core_file *core, int fd,
			     struct live_result *ret)
{
	struct convert_options options = {
		.live = live,
		.seen = seen,
		.mem_fd = -1,
	};

	if (lseek(core->fd, 0, SEEK_SET) != 0)
		return error_os(errno, "the core");
	return error_context(convert_core(&options, core->fd, fd, ret),
			     "the kernel's core is %s/%s, and no dump was made "
			     "of it", core->folder, core->name);
}

struct error *method_signal_dump(const struct target *target,
				 const struct live_options *live, int signal,
				 int fd, struct core_file *core,
				 struct live_result *ret)
{
	CLEANUP(last_seen_deinit) struct last_seen seen = { 0 };
	struct error *err = last_seen_read(target->pid, live, "signal", &seen);

	if (!err)
		err = raise_limits(target);
	if (!err)
		err = send(target, signal);
	if (!err)
		err = wait_for_end(target, signal, live->stop);
	if (!err)
		err = core_file_find(core);
	return err ? err : convert(&seen, live, core, fd, ret);
}
