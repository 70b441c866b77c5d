/*
 * Notices that a process is about to die of a signal; see deathwatch.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source for what stops when and how it goes on: ptrace(2), "PTRACE_SEIZE" and
 * "Stopped states".
 */
#include "image/live/deathwatch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/live/seize.h"

enum {
	LAST_SIGNALS = 16,	/* remembered, for the one that kills */
	SEIZE_ROUNDS_MAX = 1000,
	HOLD_TIMEOUT_MS = 1000,
	DETACH_TIMEOUT_MS = 2000,
	/* A tracer sees only its own, and not those of other threads here. */
	WAIT_OWN = __WALL | __WNOTHREAD,
};

struct last_signal {
	pid_t tid;
	siginfo_t siginfo;
};

struct deathwatch {
	pid_t pid;
	int proc_fd;		/* /proc/PID of that process */
	uint64_t start_time;
	bool is_init;		/* the first of its pid namespace */
	int event_fd;
	pthread_t tracer;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool ready;		/* tracing, or failed with err */
	struct error *err;
	bool let_go;
	atomic_bool leave;	/* the tracer shall end, or go on and end */
	atomic_bool left;
	_Atomic enum deathwatch_state state;
	/* the tracer's own, and fixed once dying */
	struct last_signal last[LAST_SIGNALS];
	size_t next;		/* in last, which is a ring */
	struct seized seized;	/* all threads, at the end */
	struct freeze_standing held;
	siginfo_t signal;
};

/* --- the tracer: attaching ---------------------------------------------------- */

/** One that just ended, or that the kernel attached already, is no error. */
static struct error *seize_thread(const struct deathwatch *watch, pid_t tid,
				  bool *ret_seized)
{
	struct procinfo info;
	struct error *err;
	int os_errno;

	if (ptrace(PTRACE_SEIZE, tid, NULL,
		   (void *)(uintptr_t)(PTRACE_O_TRACEEXIT |
				       PTRACE_O_TRACECLONE)) == 0) {
		*ret_seized = true;
		return NULL;
	}
	os_errno = errno;
	err = procinfo_read_thread(watch->pid, tid, &info);
	if (err || info.state == 'Z' || info.state == 'X') {
		error_free(err);
		return NULL;
	}
	if (procinfo_is_ours(info.tracer))
		return NULL;
	if (info.tracer != 0)
		return error_new(ERROR_OS, "process %d is traced by process %d",
				 watch->pid, info.tracer);
	return error_os(os_errno, "tracing thread %d of process %d", tid,
			watch->pid);
}

static struct error *seize_all(const struct deathwatch *watch)
{
	struct procinfo info;
	struct error *err = NULL;
	bool any = true;

	for (int round = 0; !err && any && round < SEIZE_ROUNDS_MAX; round++) {
		CLEANUP(free_pointer) pid_t *tids = NULL;
		size_t count = 0;

		any = false;
		err = procinfo_threads(watch->pid, &tids, &count);
		for (size_t i = 0; !err && i < count; i++)
			err = seize_thread(watch, tids[i], &any);
	}
	if (!err)
		err = procinfo_read(watch->pid, &info);
	if (!err && info.start_time != watch->start_time)
		err = error_new(ERROR_NOT_FOUND, "process %d has ended",
				watch->pid);
	return err;
}

/* --- the tracer: at the end ------------------------------------------------------ */

/** Whether what the signal does by default will be done. */
static bool is_default(const struct deathwatch *watch, int signal)
{
	struct procinfo info;
	struct error *err = procinfo_read(watch->pid, &info);

	if (err) {
		error_free(err);
		return false;
	}
	return !((info.ignored | info.caught) >> (signal - 1) & 1);
}

static bool is_fault(const siginfo_t *siginfo)
{
	int signal = siginfo->si_signo;

	return siginfo->si_code > 0 &&
	       (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL ||
		signal == SIGFPE || signal == SIGTRAP || signal == SIGSYS);
}

/** Whether the thread stands still; one that has ended is marked so. */
static bool stands(struct frozen_thread *thread, bool dying)
{
	siginfo_t info = { 0 };
	int event;

	if (waitid(P_PID, (id_t)thread->tid, &info, WSTOPPED | WEXITED |
		   WNOWAIT | WNOHANG | WAIT_OWN) != 0) {
		thread->gone = true;
		return false;
	}
	if (info.si_pid == 0)
		return false;
	if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED) {
		thread->gone = true;
		return false;
	}
	event = info.si_status >> 8;
	if (!dying || event == PTRACE_EVENT_EXIT)
		return true;
	// On its way to the end it was stopped for something else.
	(void)ptrace(PTRACE_CONT, thread->tid, NULL,
		     (void *)(uintptr_t)(event ? 0 : info.si_status & 0xff));
	return false;
}

static struct error *list_threads(struct deathwatch *watch, bool dying)
{
	CLEANUP(free_pointer) pid_t *tids = NULL;
	struct seized *seized = &watch->seized;
	size_t count;
	struct error *err = procinfo_threads(watch->pid, &tids, &count);

	if (err)
		return err;
	seized->threads = calloc(count + 1, sizeof(*seized->threads));
	if (!seized->threads)
		return error_no_memory();
	for (size_t i = 0; i < count; i++) {
		seized->threads[i].tid = tids[i];
		seized->threads[i].state = 't';
		if (!dying)
			(void)ptrace(PTRACE_INTERRUPT, tids[i], NULL, NULL);
	}
	seized->num_threads = count;
	return NULL;
}

static void await_threads(struct deathwatch *watch, bool dying)
{
	uint64_t deadline = seize_now() + HOLD_TIMEOUT_MS * UINT64_C(1000000);
	size_t waiting;

	do {
		waiting = 0;
		for (size_t i = 0; i < watch->seized.num_threads; i++) {
			struct frozen_thread *thread = &watch->seized.threads[i];

			if (thread->gone || thread->stopped)
				continue;
			thread->stopped = stands(thread, dying);
			waiting += !thread->stopped && !thread->gone;
		}
		if (waiting > 0)
			(void)usleep(500);
	} while (waiting > 0 && seize_now() < deadline);
}

/**
 * As in the kernel's cores: the thread that the signal hit goes first, and the
 * signal's number stands with all of them (gdb looks at the last).
 */
static void put_first(struct deathwatch *watch, pid_t tid)
{
	struct frozen_thread *threads = watch->seized.threads, hit;
	size_t count = watch->seized.num_threads, at = 0;

	for (size_t i = 0; i < count; i++)
		threads[i].signal = watch->signal.si_signo;
	while (at < count && threads[at].tid != tid)
		at++;
	if (at == count)
		at = 0;		/* it ended before the others came */
	hit = threads[at];
	memmove(&threads[1], &threads[0], at * sizeof(hit));
	hit.siginfo = watch->signal;
	threads[0] = hit;
	watch->held.threads = threads;
	watch->held.num_threads = count;
}

/** Which thread a signal of that number hit last; reported by one that ends. */
static pid_t find_hit(struct deathwatch *watch, int signal, pid_t reporter)
{
	for (size_t i = 1; i <= LAST_SIGNALS; i++) {
		const struct last_signal *last =
			&watch->last[(watch->next + LAST_SIGNALS - i) %
				     LAST_SIGNALS];

		if (last->tid != 0 && last->siginfo.si_signo == signal) {
			watch->signal = last->siginfo;
			return last->tid;
		}
	}
	watch->signal = (siginfo_t){ .si_signo = signal };
	return reporter;
}

static void become(struct deathwatch *watch, enum deathwatch_state state)
{
	atomic_store(&watch->state, state);
	(void)eventfd_write(watch->event_fd, 1);
}

/**
 * Hold all threads where they are.
 *
 * @param dying  they come to their ends by themselves; else they are stopped
 */
static void hold(struct deathwatch *watch, int signal, pid_t reporter,
		 bool dying)
{
	struct error *err;

	watch->held.began_ns = seize_now();
	err = list_threads(watch, dying);
	if (!err) {
		await_threads(watch, dying);
		err = seize_read(&watch->seized);
	}
	if (err) {
		error_free(err);
		return;
	}
	put_first(watch, find_hit(watch, signal, reporter));
	(void)pthread_mutex_lock(&watch->lock);
	become(watch, DEATHWATCH_DYING);
	while (!watch->let_go)
		(void)pthread_cond_wait(&watch->changed, &watch->lock);
	(void)pthread_mutex_unlock(&watch->lock);
}

/* --- the tracer: what happens ------------------------------------------------------ */

static void go_on(pid_t tid, int signal)
{
	// Killed meanwhile: the next wait tells.
	(void)ptrace(PTRACE_CONT, tid, NULL, (void *)(uintptr_t)signal);
}

/** A signal on its way to a thread; false when that was the end. */
static bool see_signal(struct deathwatch *watch, pid_t tid, int signal)
{
	struct last_signal *last = &watch->last[watch->next];

	*last = (struct last_signal){ .tid = tid };
	if (ptrace(PTRACE_GETSIGINFO, tid, NULL, &last->siginfo) == 0)
		watch->next = (watch->next + 1) % LAST_SIGNALS;
	// The kernel lets a fault end the first process of a namespace only if
	// nobody traces it; traced, it would run into the fault for ever.
	if (watch->is_init && is_fault(&last->siginfo) &&
	    is_default(watch, signal)) {
		hold(watch, signal, tid, /* dying= */ false);
		return false;
	}
	go_on(tid, signal);
	return true;
}

static bool see_exit(struct deathwatch *watch, pid_t tid)
{
	unsigned long code = 0;
	int signal;

	if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &code) != 0)
		code = 0;
	signal = (int)(code & 0x7f);
	if (signal != 0 && signal != SIGKILL) {
		hold(watch, signal, tid, /* dying= */ true);
		return false;
	}
	go_on(tid, 0);
	return true;
}

static void see_event_stop(const struct deathwatch *watch, pid_t tid,
			   int signal)
{
	char name[40];

	(void)snprintf(name, sizeof(name), "task/%d", tid);
	if (signal != SIGTRAP)
		(void)ptrace(PTRACE_LISTEN, tid, NULL, NULL);
	else if (faccessat(watch->proc_fd, name, F_OK, 0) != 0)
		// A clone() that made a process and no thread.
		(void)ptrace(PTRACE_DETACH, tid, NULL, NULL);
	else
		go_on(tid, 0);
}

/** False when there is nothing more to be seen. */
static bool see(struct deathwatch *watch, const siginfo_t *info)
{
	int event = info->si_status >> 8, signal = info->si_status & 0xff;
	pid_t tid = info->si_pid;
	siginfo_t unused;

	if (info->si_code != CLD_TRAPPED && info->si_code != CLD_STOPPED) {
		// The process's end is for its parent to see, perhaps in this
		// very program.
		if (tid == watch->pid)
			return false;
		(void)waitid(P_PID, (id_t)tid, &unused, WEXITED | WNOHANG |
			     WAIT_OWN);
		return true;
	}
	switch (event) {
	case 0:
		return see_signal(watch, tid, signal);
	case PTRACE_EVENT_EXIT:
		return see_exit(watch, tid);
	case PTRACE_EVENT_STOP:
		see_event_stop(watch, tid, signal);
		return true;
	default:
		go_on(tid, 0);
		return true;
	}
}

static void *tracer_main(void *argument)
{
	struct deathwatch *watch = argument;
	struct error *err = seize_all(watch);
	bool more = !err;

	(void)pthread_mutex_lock(&watch->lock);
	watch->err = err;
	watch->ready = true;
	(void)pthread_cond_broadcast(&watch->changed);
	(void)pthread_mutex_unlock(&watch->lock);
	while (more && !atomic_load(&watch->leave)) {
		siginfo_t info;
		int result = waitid(P_ALL, 0, &info, WSTOPPED | WEXITED |
				    WNOWAIT | WAIT_OWN);

		if (result != 0 && errno == EINTR)
			continue;
		more = result == 0 && see(watch, &info);
	}
	if (atomic_load(&watch->state) != DEATHWATCH_DYING)
		become(watch, DEATHWATCH_OVER);
	atomic_store(&watch->left, true);
	// When this thread ends, the kernel lets all go that it traces.
	return NULL;
}

/* --- the caller's side ---------------------------------------------------------------- */

static void wake(int number)
{
	(void)number;
}

/**
 * The tracer waits in the kernel, and SIGCHLD to it alone interrupts that. All
 * other signals to this program are not its business.
 */
static struct error *start_tracer(struct deathwatch *watch)
{
	struct sigaction action = { .sa_handler = wake };
	sigset_t all, before;
	int result;

	(void)sigaction(SIGCHLD, &action, NULL);
	watch->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (watch->event_fd < 0)
		return error_os(errno, "eventfd");
	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGCHLD);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&watch->tracer, NULL, tracer_main, watch);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result == 0 ? NULL : error_os(result, "starting a thread");
}

static void release(struct deathwatch *watch)
{
	seize_deinit(&watch->seized);
	error_free(watch->err);
	close_fd(&watch->event_fd);
	close_fd(&watch->proc_fd);
	(void)pthread_cond_destroy(&watch->changed);
	(void)pthread_mutex_destroy(&watch->lock);
	free(watch);
}

struct error *deathwatch_start(const struct target *target,
			       struct deathwatch **ret)
{
	struct deathwatch *watch = calloc(1, sizeof(*watch));
	struct error *err;

	if (!watch)
		return error_no_memory();
	watch->pid = watch->seized.pid = target->pid;
	watch->start_time = target->info.start_time;
	watch->is_init = target->info.inside_pid == 1;
	watch->event_fd = -1;
	watch->proc_fd = fcntl(target->proc_fd, F_DUPFD_CLOEXEC, 3);
	(void)pthread_mutex_init(&watch->lock, NULL);
	(void)pthread_cond_init(&watch->changed, NULL);
	err = start_tracer(watch);
	if (err) {
		release(watch);
		return err;
	}
	(void)pthread_mutex_lock(&watch->lock);
	while (!watch->ready)
		(void)pthread_cond_wait(&watch->changed, &watch->lock);
	err = watch->err;
	watch->err = NULL;
	(void)pthread_mutex_unlock(&watch->lock);
	if (err) {
		deathwatch_end(watch);
		return err;
	}
	*ret = watch;
	return NULL;
}

int deathwatch_fd(const struct deathwatch *deathwatch)
{
	return deathwatch->event_fd;
}

enum deathwatch_state deathwatch_state(const struct deathwatch *deathwatch)
{
	return atomic_load(&deathwatch->state);
}

const struct freeze_standing *deathwatch_held(const struct deathwatch *deathwatch)
{
	return &deathwatch->held;
}

const siginfo_t *deathwatch_signal(const struct deathwatch *deathwatch)
{
	return &deathwatch->signal;
}

/** A joined thread may have a last step to do: to detach. */
static void await_detached(pid_t pid)
{
	uint64_t deadline = seize_now() + DETACH_TIMEOUT_MS * UINT64_C(1000000);
	struct procinfo info;

	while (seize_now() < deadline) {
		struct error *err = procinfo_read(pid, &info);

		if (err || !procinfo_is_ours(info.tracer) ||
		    info.state == 'Z') {
			error_free(err);
			return;
		}
		(void)usleep(200);
	}
}

void deathwatch_end(struct deathwatch *deathwatch)
{
	if (!deathwatch)
		return;
	(void)pthread_mutex_lock(&deathwatch->lock);
	deathwatch->let_go = true;
	(void)pthread_cond_broadcast(&deathwatch->changed);
	(void)pthread_mutex_unlock(&deathwatch->lock);
	atomic_store(&deathwatch->leave, true);
	// Again, as it may have been about to wait.
	while (!atomic_load(&deathwatch->left)) {
		(void)pthread_kill(deathwatch->tracer, SIGCHLD);
		(void)usleep(200);
	}
	(void)pthread_join(deathwatch->tracer, NULL);
	await_detached(deathwatch->pid);
	release(deathwatch);
}
