/*
 * A copy-on-write child of a stopped process; see snapshot.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/snapshot.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/live/seccomp.h"

/* Newer than the C library's headers on some machines. */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#else
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#endif

enum {
	/* A thread that is to collect the child must stop within. */
	COLLECT_MS = 50,
	COLLECT_ROUNDS = 20,
	COLLECT_PAUSE_MS = 20,
	COLLECT_THREADS = 8,	/* tried in one round */
	ORPHAN_MS = 1000,	/* until a new process has come to its stop */
};

struct call {
	long number;
	uint64_t arguments[INJECT_ARGUMENTS];
	const char *name;
};

/*
 * No signal to the parent when it ends, and its table of files is the
 * process's own: nothing of it is held open twice.
 */
static const struct call clone_call = {
	SYS_clone, { CLONE_FILES | CLONE_FS }, "clone",
};
static const struct call dumpable_call = {
	SYS_prctl, { PR_GET_DUMPABLE }, "prctl",
};
static const struct call close_call = {
	SYS_close_range, { 0, UINT32_MAX, CLOSE_RANGE_UNSHARE }, "close_range",
};

static struct call discard_call(uint64_t start, uint64_t end)
{
	return (struct call){
		SYS_madvise, { start, end - start, MADV_DONTNEED }, "madvise",
	};
}

static struct call wait_call(pid_t child)
{
	return (struct call){
		SYS_wait4,
		{ (uint64_t)child, 0, __WALL | WNOHANG, 0 },
		"wait4",
	};
}

static void step(const struct snapshot_options *options, const char *name)
{
	if (options->step)
		options->step(name);
}

/* --- who is asked ------------------------------------------------------------ */

/**
 * How well a thread suits: one that sleeps in a system call is in the middle
 * of nothing. 0: not at all.
 */
static int suitability(const struct frozen_thread *thread)
{
	const struct freeze_regset *set = &thread->regsets[0];

	if (!thread->stopped || thread->gone || thread->num_regsets == 0 ||
	    set->type != NT_PRSTATUS)
		return 0;
	// Before a signal's delivery a thread cannot be made to do anything
	// without losing that signal.
	if (thread->signal != 0)
		return 1;
	if (inject_look(set->data, set->size).call < 0 && thread->state != 'S')
		return 2;
	return thread->state == 'S' ? 4 : 3;
}

static struct frozen_thread *choose(struct seized *seized)
{
	struct frozen_thread *best = NULL;
	int most = 0;

	for (size_t i = 0; i < seized->num_threads; i++) {
		int suits = suitability(&seized->threads[i]);

		if (suits > most) {
			most = suits;
			best = &seized->threads[i];
		}
	}
	return best;
}

/* --- whether it may --------------------------------------------------------------- */

static enum seccomp_verdict judge(const struct seccomp_filters *filters,
				  const struct call *call, uint64_t place)
{
	struct seccomp_data data = {
		.nr = (int)call->number,
		.arch = NATIVE_ARCH,
		.instruction_pointer = place,
	};

	memcpy(data.args, call->arguments, sizeof(data.args));
	return seccomp_judge(filters, &data);
}

static struct error *check_filters(const struct frozen_thread *thread,
				   const struct snapshot_options *options,
				   struct snapshot *ret)
{
	const struct call wait = wait_call(1), discard = discard_call(0, 4096);
	const struct call *const calls[] = {
		&clone_call, &wait, options->force ? NULL : &dumpable_call,
	};
	CLEANUP(seccomp_deinit) struct seccomp_filters filters = { 0 };
	struct error *err = seccomp_read(thread->tid, thread->info.seccomp,
					 &filters);

	if (err && options->assume_fork_allowed) {
		error_free(err);
		return NULL;
	}
	if (err) {
		struct error *why = error_new(
			ERROR_UNSUPPORTED, "the process has a seccomp filter "
			"that this program may not read (%s), and that may "
			"kill it for the fork that a snapshot takes; "
			"--assume-fork-allowed takes the risk, sudo lets the "
			"filter be read", err->message);

		error_free(err);
		return why;
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (calls[i] && judge(&filters, calls[i], options->place) !=
					SECCOMP_LETS_PASS)
			return error_new(ERROR_UNSUPPORTED, "the process's "
					 "seccomp filter forbids %s(), which a "
					 "snapshot takes", calls[i]->name);
	ret->may_close = judge(&filters, &close_call, options->place) ==
			 SECCOMP_LETS_PASS;
	ret->may_discard = judge(&filters, &discard, options->place) ==
			   SECCOMP_LETS_PASS;
	return NULL;
}

static struct error *check_dumpable(struct injection *injection,
				    const struct snapshot_options *options)
{
	int64_t answer = 1;
	struct error *err = NULL;

	if (!options->force)
		err = inject_call(injection, dumpable_call.number,
				  dumpable_call.arguments, &answer);
	if (!err && answer != 1)
		err = error_new(ERROR_DENIED, "the process forbids dumps of "
				"itself (PR_SET_DUMPABLE, or a set-user-ID "
				"program)");
	return err;
}

/**
 * The best thread there is, ready to be made to do something.
 * @param ret_may  what the child's filters let it do
 */
static struct error *prepare(struct seized *seized,
			     const struct snapshot_options *options,
			     struct frozen_thread **ret,
			     struct snapshot *ret_may)
{
	struct frozen_thread *thread = choose(seized);
	struct error *err = NULL;

	if (!thread)
		return error_new(ERROR_UNSUPPORTED, "no thread of process %d "
				 "can be made to fork", seized->pid);
	if (thread->signal != 0)
		err = seize_deliver(thread);
	if (!err)
		err = check_filters(thread, options, ret_may);
	*ret = thread;
	return err;
}

struct error *snapshot_ask_dumpable(struct seized *seized,
				    const struct snapshot_options *options)
{
	struct frozen_thread *thread;
	struct injection injection;
	struct snapshot ignored = { 0 };
	struct error *err = prepare(seized, options, &thread, &ignored);

	if (!err)
		err = inject_begin(thread->tid, options->place, false,
				   &injection);
	if (err) {
		// Who cannot be asked has not forbidden it.
		error_free(err);
		return NULL;
	}
	err = check_dumpable(&injection, options);
	error_free(inject_end(&injection));
	if (err && err->kind != ERROR_DENIED) {
		error_free(err);
		err = NULL;
	}
	return err;
}

/* --- making it --------------------------------------------------------------------- */

static void destroy(struct snapshot *snapshot)
{
	int status;

	(void)kill(snapshot->pid, SIGKILL);
	while (waitpid(snapshot->pid, &status, __WALL) == snapshot->pid &&
	       WIFSTOPPED(status))
		(void)kill(snapshot->pid, SIGKILL);
}

/**
 * The process was killed while it made the child, whose number nobody told. It
 * is ours all the same, and must not get away: whoever stops and is no thread
 * of the process is it.
 *
 * @return 0: there is none
 */
static pid_t find_child(const struct seized *seized)
{
	uint64_t deadline = seize_now() + ORPHAN_MS * UINT64_C(1000000);

	while (seize_now() < deadline) {
		uint32_t index;
		int status;
		pid_t got = waitpid(-1, &status, __WALL | WNOHANG);

		if (got < 0)
			return 0;
		if (got == 0)
			(void)usleep(200);
		else if (WIFSTOPPED(status) &&
			 !hashmap_get(&seized->known, (uint64_t)got, &index))
			return got;
	}
	return 0;
}

/** From here on it cannot outlive us. */
static struct error *take_over(struct snapshot *snapshot, bool has_stopped)
{
	int status;

	if ((has_stopped ||
	     (waitpid(snapshot->pid, &status, __WALL) == snapshot->pid &&
	      WIFSTOPPED(status))) &&
	    ptrace(PTRACE_SETOPTIONS, snapshot->pid, NULL,
		   (void *)(uintptr_t)PTRACE_O_EXITKILL) == 0)
		return NULL;
	return error_os(errno, "taking hold of the snapshot");
}

static struct error *explain_clone(int64_t result)
{
	switch (-result) {
	case EAGAIN:
		return error_new(ERROR_UNSUPPORTED, "a snapshot is one more "
				 "process, and there are as many as pids.max or "
				 "RLIMIT_NPROC allows");
	case ENOMEM:
		return error_new(ERROR_UNSUPPORTED, "there is not the memory "
				 "for a snapshot");
	}
	return error_new(ERROR_UNSUPPORTED, "the kernel refuses to make a "
			 "snapshot: %s", strerror((int)-result));
}

/** Killed in the middle of it: the child, if there is one, is the snapshot. */
static struct error *salvage(const struct seized *seized,
			     const struct injection *injection,
			     struct error *err, struct snapshot *snapshot)
{
	bool has_stopped = injection->child == 0;

	snapshot->pid = has_stopped ? find_child(seized) : injection->child;
	if (snapshot->pid == 0)
		return err;
	error_free(err);
	return take_over(snapshot, has_stopped);
}

static struct error *call_clone(const struct seized *seized,
				struct injection *injection,
				const struct snapshot_options *options,
				struct snapshot *snapshot)
{
	int64_t result = 0;
	struct error *err = check_dumpable(injection, options);

	if (err)
		return err;
	step(options, "clone");
	err = inject_call(injection, clone_call.number, clone_call.arguments,
			  &result);
	if (err)
		return salvage(seized, injection, err, snapshot);
	if (result < 0)
		return explain_clone(result);
	snapshot->inside_pid = (pid_t)result;
	snapshot->pid = injection->child;
	step(options, "take over");
	return snapshot->pid > 0 ? take_over(snapshot, false) :
		error_new(ERROR_OS, "the kernel does not name the snapshot");
}

struct error *snapshot_make(struct seized *seized,
			    const struct snapshot_options *options,
			    struct snapshot *ret)
{
	struct frozen_thread *thread;
	struct snapshot snapshot = { 0 };
	struct injection injection;
	struct error *err = prepare(seized, options, &thread, &snapshot);
	struct error *ended;
	uint64_t began;

	if (err)
		return err;
	began = seize_now();
	step(options, "begin");
	err = inject_begin(thread->tid, options->place, false, &injection);
	if (err)
		return err;
	err = call_clone(seized, &injection, options, &snapshot);
	step(options, "restore");
	ended = inject_end(&injection);
	snapshot.window_ns = seize_now() - began;
	step(options, "restored");
	// Killed meanwhile, the process has left its memory to the snapshot.
	if (!err && ended && ended->kind != ERROR_NOT_FOUND)
		err = ended;
	else
		error_free(ended);
	if (err && snapshot.pid > 0)
		destroy(&snapshot);
	if (!err)
		*ret = snapshot;
	return err;
}

void snapshot_settle(struct snapshot *snapshot, uint64_t place)
{
	struct injection injection;
	struct error *err;
	char path[48];
	int64_t ignored;

	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj",
		       snapshot->pid);
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "1000", 4);
	err = inject_begin(snapshot->pid, place, true, &injection);
	if (err) {
		error_free(err);
		return;
	}
	// A kernel before 5.9 does not know the call, and no harm is done.
	if (snapshot->may_close)
		err = inject_call(&injection, close_call.number,
				  close_call.arguments, &ignored);
	error_free(err);
	inject_doom(&injection);
}

void snapshot_discard(struct snapshot *snapshot, uint64_t place, uint64_t start,
		      uint64_t end)
{
	const struct call call = discard_call(start, end);
	struct injection injection;
	struct error *err;
	int64_t ignored;

	if (!snapshot->may_discard || snapshot->dead)
		return;
	err = inject_begin(snapshot->pid, place, true, &injection);
	if (!err) {
		err = inject_call(&injection, call.number, call.arguments,
				  &ignored);
		inject_doom(&injection);
	}
	error_free(err);
}

bool snapshot_lives(struct snapshot *snapshot)
{
	int status;
	pid_t got;

	if (snapshot->dead)
		return false;
	got = waitpid(snapshot->pid, &status, __WALL | WNOHANG);
	// It may have ended in a call, which has then waited for that.
	if ((got == snapshot->pid && !WIFSTOPPED(status)) ||
	    (got < 0 && errno == ECHILD))
		snapshot->dead = true;
	return !snapshot->dead;
}

/* --- its end ------------------------------------------------------------------------ */

/** Stop one thread, and nothing but stop it. */
static bool stop_thread(pid_t tid)
{
	uint64_t deadline = seize_now() + COLLECT_MS * UINT64_C(1000000);
	int status;

	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0)
		return false;
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) != 0)
		return false;
	while (seize_now() < deadline) {
		pid_t got = waitpid(tid, &status, __WALL | WNOHANG);

		if (got < 0 || (got == tid && !WIFSTOPPED(status)))
			return false;
		if (got == tid && status >> 16 == PTRACE_EVENT_STOP)
			return true;
		// A signal first: it is delivered, the stop comes after it.
		if (got == tid)
			(void)ptrace(PTRACE_CONT, tid, NULL,
				     (void *)(uintptr_t)WSTOPSIG(status));
		else
			(void)usleep(50);
	}
	// It stays seized, and comes free with our end.
	return false;
}

static bool collect_by(pid_t tid, pid_t child, uint64_t place,
		       const struct snapshot_options *options)
{
	struct call call = wait_call(child);
	struct injection injection;
	int64_t result = 0;
	struct error *err;

	if (!stop_thread(tid))
		return false;
	step(options, "collect");
	err = inject_begin(tid, place, false, &injection);
	if (!err) {
		err = inject_call(&injection, call.number, call.arguments,
				  &result);
		error_free(inject_end(&injection));
	}
	step(options, "collected");
	(void)ptrace(PTRACE_DETACH, tid, NULL, NULL);
	if (err) {
		error_free(err);
		return false;
	}
	// Somebody else's wait, with __WALL, may have had it.
	return result == child || result == -ECHILD;
}

/** One round over some threads, those first that sleep. */
static bool collect_once(pid_t pid, pid_t child, uint64_t place,
			 const struct snapshot_options *options)
{
	CLEANUP(free_pointer) pid_t *tids = NULL;
	size_t count = 0, tried = 0;
	struct error *err = procinfo_threads(pid, &tids, &count);

	error_free(err);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < count && tried < COLLECT_THREADS; i++) {
			char state = procinfo_thread_state(pid, tids[i]);

			if (state == 0 || state == 'Z' || state == 'D' ||
			    (state == 'S') != (pass == 0))
				continue;
			tried++;
			if (collect_by(tids[i], child, place, options))
				return true;
		}
	}
	return false;
}

/** Whether the process still has the child, dead, on its list. */
static bool is_zombie_of(pid_t pid, pid_t child)
{
	struct procinfo info;
	struct error *err = procinfo_read(child, &info);
	bool zombie = !err && info.state == 'Z' && info.parent == pid;

	error_free(err);
	return zombie;
}

void snapshot_kill(const struct snapshot *snapshot)
{
	if (!snapshot->dead)
		(void)kill(snapshot->pid, SIGKILL);
}

bool snapshot_collect(const struct snapshot *snapshot, pid_t pid,
		      const struct snapshot_options *options)
{
	for (int i = 0; i < COLLECT_ROUNDS; i++) {
		uint64_t place;
		struct error *err;

		if (!is_zombie_of(pid, snapshot->pid))
			return true;
		// It may have become another program meanwhile.
		err = inject_find(pid, &place);
		if (!err && collect_once(pid, snapshot->inside_pid, place,
					 options))
			return true;
		error_free(err);
		(void)usleep(COLLECT_PAUSE_MS * 1000);
	}
	return !is_zombie_of(pid, snapshot->pid);
}
