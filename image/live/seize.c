/*
 * Stops all threads of a process by ptrace; see seize.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/seize.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#include "image/base/guard.h"
#include "image/live/regsets.h"
#include "image/live/tracee.h"

enum {
	/* Some wait in the kernel and stop no sooner than that is over. */
	SLEEPER_MS = 100,
	/* One that is ready to run stops as soon as it gets a processor. */
	STOP_MS = 5000,
	SEIZE_ROUNDS_MAX = 1000,
	DELIVERIES_MAX = 16,
};

uint64_t seize_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)now.tv_nsec;
}

/* --- stopping ---------------------------------------------------------------- */

static struct error *add_thread(struct seized *seized, pid_t tid, char state)
{
	struct error *err;

	if (seized->num_threads == seized->capacity) {
		size_t more = seized->capacity ? 2 * seized->capacity : 64;
		struct frozen_thread *grown = reallocarray(
			seized->threads, more, sizeof(*grown));

		if (!grown)
			return error_no_memory();
		seized->threads = grown;
		seized->capacity = more;
	}
	err = hashmap_put(&seized->known, (uint64_t)tid,
			  (uint32_t)seized->num_threads);
	if (err)
		return err;
	seized->threads[seized->num_threads++] = (struct frozen_thread){
		.tid = tid,
		.state = state,
	};
	return NULL;
}

static struct error *seize_failed(const struct seized *seized, pid_t tid,
				  int os_errno)
{
	struct procinfo info;
	struct error *err = procinfo_read(seized->pid, &info);

	if (err)
		return err;
	if (info.tracer != 0)
		return error_new(ERROR_OS, "process %d is already traced, by "
				 "process %d", seized->pid, info.tracer);
	return error_os(os_errno, "attaching to thread %d of process %d", tid,
			seized->pid);
}

/** The leader stays listed as a zombie when it ends before the others. */
static bool has_ended(char state)
{
	return state == 0 || state == 'Z' || state == 'X';
}

/** Seize one thread and ask it to stop; one that just ended is no error. */
static struct error *seize_thread(struct seized *seized, pid_t tid)
{
	uint32_t index;
	struct error *err;
	char state;

	if (hashmap_get(&seized->known, (uint64_t)tid, &index) &&
	    !seized->threads[index].gone)
		return NULL;
	state = procinfo_thread_state(seized->pid, tid);
	if (has_ended(state))
		return NULL;
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0) {
		int os_errno = errno;

		// It may have ended between the look and the attempt.
		if (os_errno == ESRCH ||
		    has_ended(procinfo_thread_state(seized->pid, tid)))
			return NULL;
		return seize_failed(seized, tid, os_errno);
	}
	err = add_thread(seized, tid, state);
	if (!err && ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) != 0 &&
	    errno != ESRCH)
		err = error_os(errno, "stopping thread %d", tid);
	return err;
}

static void note_stop(struct frozen_thread *thread, int status)
{
	if (!WIFSTOPPED(status)) {	/* it ended */
		thread->gone = true;
		return;
	}
	thread->stopped = true;
	thread->signal = 0;
	// A signal on its way arrives before our stop does: it is handed
	// over when the thread is let go. An event stop carries none.
	if (status >> 16 == 0) {
		thread->signal = WSTOPSIG(status);
		(void)ptrace(PTRACE_GETSIGINFO, thread->tid, NULL,
			     &thread->siginfo);
	}
}

/** Whether a thread that was asked to stop has. */
static bool look_at(struct frozen_thread *thread)
{
	int status;
	pid_t got;

	if (!thread->stopped && !thread->gone) {
		got = waitpid(thread->tid, &status, __WALL | WNOHANG);
		if (got == thread->tid)
			note_stop(thread, status);
		else if (got < 0 && errno == ECHILD)
			thread->gone = true;
	}
	return thread->stopped || thread->gone;
}

static struct error *stuck(const struct seized *seized,
			   const struct frozen_thread *thread)
{
	CLEANUP(free_pointer) char *where = NULL;
	char state = procinfo_thread_state(seized->pid, thread->tid);
	char name[64];
	size_t size;

	(void)snprintf(name, sizeof(name), "task/%d/wchan", thread->tid);
	error_free(procinfo_file(seized->pid, name, &where, &size));
	if (where && strstr(where, "vfork"))
		return error_new(ERROR_LIMIT, "thread %d of process %d waits "
				 "for a child that it made with vfork() and "
				 "cannot be stopped; the process runs on, try "
				 "again", thread->tid, seized->pid);
	return error_new(ERROR_LIMIT,
			 "thread %d of process %d did not stop within %" PRIu64
			 " ms (state %c, in %s of the kernel); the process runs "
			 "on, nothing was dumped", thread->tid, seized->pid,
			 (seize_now() - *seized->began_ns) / 1000000,
			 state ? state : '?',
			 where && *where && strcmp(where, "0") != 0 ?
				where : "an unnamed function");
}

/**
 * Wait until all seized threads have stopped or ended, or sleep where nothing
 * can stop them.
 */
static struct error *await_stops(struct seized *seized, uint64_t deadline)
{
	uint64_t patience = seize_now() + SLEEPER_MS * UINT64_C(1000000);
	useconds_t nap = 20;

	for (;;) {
		const struct frozen_thread *awake = NULL, *asleep = NULL;
		uint64_t now = seize_now();

		for (size_t i = 0; i < seized->num_threads; i++) {
			struct frozen_thread *thread = &seized->threads[i];

			if (look_at(thread))
				continue;
			if (now > patience && procinfo_thread_state(
						      seized->pid,
						      thread->tid) == 'D')
				asleep = thread;
			else
				awake = thread;
		}
		if (!awake) {
			bool any = false;

			for (size_t i = 0; i < seized->num_threads; i++)
				any |= seized->threads[i].stopped;
			return any || !asleep ? NULL : stuck(seized, asleep);
		}
		if (now >= deadline)
			return stuck(seized, awake);
		(void)usleep(nap);
		nap = nap < 1000 ? 2 * nap : 1000;
	}
}

/** What was seized must still be the process that was asked for. */
static struct error *check_identity(const struct seized *seized)
{
	struct procinfo info;
	struct error *err = procinfo_read(seized->pid, &info);

	if (err)
		return err;
	if (info.start_time != seized->start_time)
		return error_new(ERROR_NOT_FOUND, "process %d has ended; its "
				 "number belongs to another one now",
				 seized->pid);
	return NULL;
}

/**
 * Seize until a look at the list shows nobody new. A thread that is not held
 * yet can make others, one that is stopped cannot, so this ends.
 */
struct error *seize_stop(struct seized *seized, uint64_t max_ns)
{
	uint64_t most = STOP_MS * UINT64_C(1000000);
	uint64_t deadline = seize_now() + (max_ns < most ? max_ns : most);
	size_t before;
	int round = 0;

	do {
		CLEANUP(free_pointer) pid_t *tids = NULL;
		size_t count;
		struct error *err;

		before = seized->num_threads;
		err = procinfo_threads(seized->pid, &tids, &count);
		for (size_t i = 0; !err && i < count; i++) {
			err = seize_thread(seized, tids[i]);
			if (*seized->began_ns == 0 && seized->num_threads > 0)
				*seized->began_ns = seize_now();
		}
		if (!err)
			err = await_stops(seized, deadline);
		if (err)
			return err;
	} while (seized->num_threads != before && ++round < SEIZE_ROUNDS_MAX);
	if (seized->num_threads != before)
		return error_new(ERROR_LIMIT, "process %d makes threads faster "
				 "than they can be stopped", seized->pid);
	return check_identity(seized);
}

/* --- reading ------------------------------------------------------------------- */

#if defined(__x86_64__)
static void set_waiting(struct user_regs_struct *regs, int64_t call,
			const uint64_t arguments[6], uint64_t stack,
			uint64_t pc)
{
	*regs = (struct user_regs_struct){
		.orig_rax = (uint64_t)call,
		.rdi = arguments[0],
		.rsi = arguments[1],
		.rdx = arguments[2],
		.r10 = arguments[3],
		.r8 = arguments[4],
		.r9 = arguments[5],
		.rsp = stack,
		.rip = pc,
	};
}
#else
static void set_waiting(struct user_regs_struct *regs, int64_t call,
			const uint64_t arguments[6], uint64_t stack,
			uint64_t pc)
{
	*regs = (struct user_regs_struct){ .sp = stack, .pc = pc };
	regs->regs[8] = (uint64_t)call;
	for (size_t i = 0; i < 6; i++)
		regs->regs[i] = arguments[i];
}
#endif

/**
 * Of a thread that waits in the kernel /proc tells the system call, where its
 * stack is and where it will go on: enough to say what it waits in.
 */
static struct error *read_waiting(pid_t pid, struct frozen_thread *thread)
{
	CLEANUP(free_pointer) char *text = NULL;
	struct freeze_regset *set = &thread->regsets[0];
	struct user_regs_struct regs;
	uint64_t arguments[6], stack, pc;
	int64_t call;
	char name[64];
	size_t size;
	struct error *err;

	(void)snprintf(name, sizeof(name), "task/%d/syscall", thread->tid);
	err = procinfo_file(pid, name, &text, &size);
	if (err || sscanf(text, "%" SCNd64 " %" SCNx64 " %" SCNx64 " %" SCNx64
			  " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64
			  " %" SCNx64, &call, &arguments[0], &arguments[1],
			  &arguments[2], &arguments[3], &arguments[4],
			  &arguments[5], &stack, &pc) != 9) {
		error_free(err);
		return NULL;
	}
	set_waiting(&regs, call, arguments, stack, pc);
	set->data = malloc(sizeof(regs));
	if (!set->data)
		return error_no_memory();
	memcpy(set->data, &regs, sizeof(regs));
	set->type = NT_PRSTATUS;
	set->size = sizeof(regs);
	thread->num_regsets = 1;
	return NULL;
}

static struct error *read_thread(const struct seized *seized,
				 struct frozen_thread *thread, uint8_t *scratch)
{
	struct error *err = procinfo_read_thread(seized->pid, thread->tid,
						 &thread->info);

	if (err) {
		// Killed just now: what is known will do.
		error_free(err);
		thread->info = (struct procinfo){
			.pid = thread->tid,
			.inside_pid = thread->tid,
		};
	}
	return thread->stopped ? regsets_read(thread, scratch) :
				 read_waiting(seized->pid, thread);
}

struct error *seize_read(struct seized *seized)
{
	CLEANUP(free_pointer) uint8_t *scratch = malloc(REGSETS_SCRATCH_SIZE);
	size_t kept = 0;

	if (!scratch)
		return error_no_memory();
	for (size_t i = 0; i < seized->num_threads; i++) {
		struct frozen_thread *thread = &seized->threads[i];

		if (!thread->gone) {
			struct error *err = read_thread(seized, thread,
							scratch);

			if (err)
				return err;
		}
		if (thread->gone) {
			regsets_release(thread);
			continue;
		}
		if (kept != i)
			seized->threads[kept] = *thread;
		if (seized->threads[kept].tid == seized->pid && kept > 0) {
			struct frozen_thread main = seized->threads[kept];

			memmove(&seized->threads[1], &seized->threads[0],
				kept * sizeof(main));
			seized->threads[0] = main;
		}
		kept++;
	}
	seized->num_threads = kept;
	if (kept == 0)
		return error_new(ERROR_NOT_FOUND, "process %d has ended",
				 seized->pid);
	return NULL;
}

/* --- letting go --------------------------------------------------------------------- */

static void release(struct frozen_thread *thread)
{
	int status;

	if (thread->stopped &&
	    ptrace(PTRACE_DETACH, thread->tid, NULL,
		   (void *)(uintptr_t)thread->signal) != 0)
		// Killed meanwhile: reap it, so that its parent can.
		(void)waitpid(thread->tid, &status, __WALL | WNOHANG);
	if (thread->stopped)
		thread->gone = true;
}

void seize_release(struct seized *seized)
{
	for (size_t i = 0; i < seized->num_threads; i++)
		if (!seized->threads[i].gone)
			release(&seized->threads[i]);
}

void seize_latecomers(struct seized *seized, bool hold)
{
	for (size_t i = 0; i < seized->num_threads; i++) {
		struct frozen_thread *thread = &seized->threads[i];

		if (!thread->gone && !thread->stopped && look_at(thread) &&
		    thread->stopped && !hold)
			release(thread);
	}
}

/** Signals that do nothing where the program has not asked for them. */
static bool is_harmless(int signal)
{
	return signal == SIGCHLD || signal == SIGURG || signal == SIGWINCH ||
	       signal == SIGCONT;
}

struct error *seize_deliver(struct frozen_thread *thread)
{
	for (int i = 0; i < DELIVERIES_MAX && thread->signal != 0; i++) {
		struct procinfo info = { 0 };
		uint64_t bit = UINT64_C(1) << (thread->signal - 1);
		int status;

		error_free(procinfo_read_thread(thread->tid, thread->tid,
						&info));
		if (!((info.caught | info.ignored) & bit) &&
		    !is_harmless(thread->signal))
			return error_new(ERROR_UNSUPPORTED, "the process is "
					 "about to be ended or stopped by "
					 "signal %d", thread->signal);
		if (ptrace(PTRACE_CONT, thread->tid, NULL,
			   (void *)(uintptr_t)thread->signal) != 0 ||
		    tracee_wait(thread->tid, &status) != thread->tid ||
		    !WIFSTOPPED(status)) {
			thread->gone = true;
			return error_new(ERROR_NOT_FOUND, "thread %d ended",
					 thread->tid);
		}
		note_stop(thread, status);
	}
	return NULL;
}

void seize_deinit(struct seized *seized)
{
	for (size_t i = 0; i < seized->num_threads; i++)
		regsets_release(&seized->threads[i]);
	free(seized->threads);
	hashmap_deinit(&seized->known);
	*seized = (struct seized){ 0 };
}
