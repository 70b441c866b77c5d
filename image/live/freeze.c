/*
 * Stops all threads of a process; see freeze.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/freeze.h"

#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "image/base/escape.h"
#include "image/base/guard.h"
#include "image/base/hashmap.h"

/* Newer than the C library's elf.h on some machines. */
enum {
	REGSET_ARM_PAC_MASK = 0x406,
	REGSET_ARM_TAGGED_ADDR_CTRL = 0x409,
	REGSET_ARM_GCS = 0x410,
	REGSET_ARM_SSVE = 0x40b,
};

/*
 * Register sets in the order of the kernel's own notes. Left out on purpose:
 * NT_ARM_PACA_KEYS, which are secrets, and NT_ARM_SYSTEM_CALL.
 */
static const uint32_t regset_types[] = {
	NT_PRSTATUS,
	NT_PRFPREG,
#if defined(__x86_64__)
	NT_X86_XSTATE,
#elif defined(__aarch64__)
	NT_ARM_TLS,
	NT_ARM_HW_BREAK,
	NT_ARM_HW_WATCH,
	NT_ARM_SVE,
	REGSET_ARM_PAC_MASK,
	REGSET_ARM_TAGGED_ADDR_CTRL,
	REGSET_ARM_SSVE,
	REGSET_ARM_GCS,
#else
#error "only x86-64 and aarch64"
#endif
};

enum {
	REGSET_SIZE_MAX = 64 << 10,
	/* A thread in the kernel's uninterruptible sleep stops no sooner. */
	STOP_TIMEOUT_MS = 1000,
	SEIZE_ROUNDS_MAX = 1000,
};

struct freeze {
	pid_t pid;
	uint64_t start_time;	/* of the process: see struct procinfo */
	uint64_t max_ns;
	pthread_t freezer;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool ready;		/* stopped, or failed with err */
	bool thaw_wanted;
	struct error *err;
	/* written by the freezer only */
	atomic_bool holds;
	atomic_bool expired;
	atomic_uint_least64_t began_ns, ended_ns;	/* 0: not yet */
	struct frozen_thread *threads;	/* fixed once ready */
	size_t num_threads, capacity;
	struct hashmap known;		/* tid -> index in threads */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)now.tv_nsec;
}

/* --- the freezer's thread -------------------------------------------------- */

static struct error *add_thread(struct freeze *freeze, pid_t tid, char state)
{
	struct error *err;

	if (freeze->num_threads == freeze->capacity) {
		size_t more = freeze->capacity ? 2 * freeze->capacity : 64;
		struct frozen_thread *grown = reallocarray(
			freeze->threads, more, sizeof(*grown));

		if (!grown)
			return error_no_memory();
		freeze->threads = grown;
		freeze->capacity = more;
	}
	err = hashmap_put(&freeze->known, (uint64_t)tid,
			  (uint32_t)freeze->num_threads);
	if (err)
		return err;
	freeze->threads[freeze->num_threads++] = (struct frozen_thread){
		.tid = tid,
		.state = state,
	};
	return NULL;
}

static struct error *seize_failed(const struct freeze *freeze, pid_t tid,
				  int os_errno)
{
	struct procinfo info;
	struct error *err = procinfo_read(freeze->pid, &info);

	if (err)
		return err;
	if (info.tracer != 0)
		return error_new(ERROR_OS, "process %d is already traced, by "
				 "process %d", freeze->pid, info.tracer);
	return error_os(os_errno, "attaching to thread %d of process %d", tid,
			freeze->pid);
}

/** Seize one thread and ask it to stop; one that just ended is no error. */
static struct error *seize_thread(struct freeze *freeze, pid_t tid)
{
	struct procinfo info = { .state = 0 };
	uint32_t index;
	struct error *err;

	if (hashmap_get(&freeze->known, (uint64_t)tid, &index) &&
	    !freeze->threads[index].gone)
		return NULL;
	err = procinfo_read_thread(freeze->pid, tid, &info);
	// The leader stays listed as a zombie when it ends before the others.
	if (err || info.state == 'Z' || info.state == 'X') {
		error_free(err);
		return NULL;
	}
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0) {
		int os_errno = errno;

		if (os_errno == ESRCH)
			return NULL;
		// It may have ended between the look and the attempt.
		err = procinfo_read_thread(freeze->pid, tid, &info);
		if (err || info.state == 'Z' || info.state == 'X') {
			error_free(err);
			return NULL;
		}
		return seize_failed(freeze, tid, os_errno);
	}
	err = add_thread(freeze, tid, info.state);
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
	// A signal on its way arrives before our stop does: it is handed
	// over when the thread is let go. An event stop carries none.
	if (status >> 16 == 0) {
		thread->signal = WSTOPSIG(status);
		(void)ptrace(PTRACE_GETSIGINFO, thread->tid, NULL,
			     &thread->siginfo);
	}
}

static struct error *stuck(const struct freeze *freeze)
{
	CLEANUP(free_pointer) char *where = NULL;
	pid_t tid = freeze->pid;
	struct procinfo info = { .state = '?' };
	char name[64];
	size_t size;

	for (size_t i = 0; i < freeze->num_threads; i++) {
		if (!freeze->threads[i].stopped && !freeze->threads[i].gone) {
			tid = freeze->threads[i].tid;
			break;
		}
	}
	error_free(procinfo_read_thread(freeze->pid, tid, &info));
	(void)snprintf(name, sizeof(name), "task/%d/wchan", tid);
	error_free(procinfo_file(freeze->pid, name, &where, &size));
	return error_new(ERROR_LIMIT,
			 "thread %d of process %d did not stop within %d ms "
			 "(state %c, in %s of the kernel); the process runs on, "
			 "nothing was dumped", tid, freeze->pid,
			 STOP_TIMEOUT_MS, info.state,
			 where && *where && strcmp(where, "0") != 0 ?
				where : "an unnamed function");
}

/** Wait until all seized threads have stopped or ended. */
static struct error *await_stops(struct freeze *freeze, uint64_t deadline)
{
	useconds_t nap = 20;

	for (;;) {
		size_t waiting = 0;

		for (size_t i = 0; i < freeze->num_threads; i++) {
			struct frozen_thread *thread = &freeze->threads[i];
			int status;
			pid_t got;

			if (thread->stopped || thread->gone)
				continue;
			got = waitpid(thread->tid, &status,
				      __WALL | __WNOTHREAD | WNOHANG);
			if (got == thread->tid)
				note_stop(thread, status);
			else if (got < 0 && errno == ECHILD)
				thread->gone = true;
			else
				waiting++;
		}
		if (waiting == 0)
			return NULL;
		if (now_ns() >= deadline)
			return stuck(freeze);
		(void)usleep(nap);
		nap = nap < 1000 ? 2 * nap : 1000;
	}
}

/**
 * Seize until a look at the list shows nobody new. A thread that is not held
 * yet can make others, one that is stopped cannot, so this ends.
 */
static struct error *seize_all(struct freeze *freeze)
{
	uint64_t deadline = now_ns() + STOP_TIMEOUT_MS * UINT64_C(1000000);
	size_t before;
	int round = 0;

	do {
		CLEANUP(free_pointer) pid_t *tids = NULL;
		size_t count;
		struct error *err;

		before = freeze->num_threads;
		err = procinfo_threads(freeze->pid, &tids, &count);
		for (size_t i = 0; !err && i < count; i++) {
			err = seize_thread(freeze, tids[i]);
			if (freeze->began_ns == 0 && freeze->num_threads > 0)
				freeze->began_ns = now_ns();
		}
		if (!err)
			err = await_stops(freeze, deadline);
		if (err)
			return err;
	} while (freeze->num_threads != before && ++round < SEIZE_ROUNDS_MAX);
	if (freeze->num_threads != before)
		return error_new(ERROR_LIMIT, "process %d makes threads faster "
				 "than they can be stopped", freeze->pid);
	return NULL;
}

/** What was seized must still be the process that was asked for. */
static struct error *check_identity(const struct freeze *freeze)
{
	struct procinfo info;
	struct error *err = procinfo_read(freeze->pid, &info);

	if (err)
		return err;
	if (info.start_time != freeze->start_time)
		return error_new(ERROR_NOT_FOUND, "process %d has ended; its "
				 "number belongs to another one now",
				 freeze->pid);
	return NULL;
}

static struct error *read_regsets(struct frozen_thread *thread, uint8_t *scratch)
{
	size_t count = sizeof(regset_types) / sizeof(*regset_types);

	_Static_assert(sizeof(regset_types) / sizeof(*regset_types) <=
		       FREEZE_REGSETS_MAX, "room for all sets");
	for (size_t i = 0; i < count; i++) {
		struct freeze_regset *set = &thread->regsets[thread->num_regsets];
		struct iovec vector = {
			.iov_base = scratch,
			.iov_len = REGSET_SIZE_MAX,
		};

		if (ptrace(PTRACE_GETREGSET, thread->tid,
			   (void *)(uintptr_t)regset_types[i], &vector) != 0) {
			if (errno == ESRCH)
				thread->gone = true;
			continue;	/* this processor has no such set */
		}
		set->data = malloc(vector.iov_len + 1);
		if (!set->data)
			return error_no_memory();
		memcpy(set->data, scratch, vector.iov_len);
		set->type = regset_types[i];
		set->size = (uint32_t)vector.iov_len;
		thread->num_regsets++;
	}
	return NULL;
}

static void release_thread(struct frozen_thread *thread)
{
	for (size_t i = 0; i < thread->num_regsets; i++)
		free(thread->regsets[i].data);
	thread->num_regsets = 0;
}

/** The main thread first, those that ended away, registers read. */
static struct error *collect(struct freeze *freeze)
{
	CLEANUP(free_pointer) uint8_t *scratch = malloc(REGSET_SIZE_MAX);
	size_t kept = 0;

	if (!scratch)
		return error_no_memory();
	for (size_t i = 0; i < freeze->num_threads; i++) {
		struct frozen_thread *thread = &freeze->threads[i];

		if (!thread->gone) {
			struct error *err = read_regsets(thread, scratch);

			if (err)
				return err;
		}
		if (thread->gone) {
			release_thread(thread);
			continue;
		}
		if (kept != i)
			freeze->threads[kept] = *thread;
		if (freeze->threads[kept].tid == freeze->pid && kept > 0) {
			struct frozen_thread main = freeze->threads[kept];

			memmove(&freeze->threads[1], &freeze->threads[0],
				kept * sizeof(main));
			freeze->threads[0] = main;
		}
		kept++;
	}
	freeze->num_threads = kept;
	if (kept == 0)
		return error_new(ERROR_NOT_FOUND, "process %d has ended",
				 freeze->pid);
	return NULL;
}

static void detach_all(struct freeze *freeze)
{
	// First, so that nobody takes what is read from now on for frozen.
	atomic_store(&freeze->holds, false);
	for (size_t i = 0; i < freeze->num_threads; i++) {
		struct frozen_thread *thread = &freeze->threads[i];
		int status;

		if (thread->stopped &&
		    ptrace(PTRACE_DETACH, thread->tid, NULL,
			   (void *)(uintptr_t)thread->signal) != 0)
			// Killed meanwhile: reap it, so that its parent can.
			(void)waitpid(thread->tid, &status,
				      __WALL | __WNOTHREAD | WNOHANG);
	}
	atomic_store(&freeze->ended_ns, now_ns());
}

static void await_thaw(struct freeze *freeze)
{
	uint64_t end = freeze->began_ns + freeze->max_ns;
	struct timespec deadline = {
		.tv_sec = (time_t)(end / UINT64_C(1000000000)),
		.tv_nsec = (long)(end % UINT64_C(1000000000)),
	};
	int result = 0;

	while (!freeze->thaw_wanted && result != ETIMEDOUT)
		result = freeze->max_ns == 0 ?
			pthread_cond_wait(&freeze->changed, &freeze->lock) :
			pthread_cond_timedwait(&freeze->changed, &freeze->lock,
					       &deadline);
	if (!freeze->thaw_wanted)
		atomic_store(&freeze->expired, true);
}

static void *freezer_main(void *argument)
{
	struct freeze *freeze = argument;
	struct error *err = seize_all(freeze);

	if (!err)
		err = check_identity(freeze);
	if (!err)
		err = collect(freeze);
	(void)pthread_mutex_lock(&freeze->lock);
	if (!err)
		atomic_store(&freeze->holds, true);
	freeze->err = err;
	freeze->ready = true;
	(void)pthread_cond_broadcast(&freeze->changed);
	if (!err)
		await_thaw(freeze);
	(void)pthread_mutex_unlock(&freeze->lock);
	detach_all(freeze);
	// Ending, this thread lets go of what could not be detached because
	// it has not stopped: ptrace ties tracees to the tracing thread.
	return NULL;
}

/* --- the caller's side ----------------------------------------------------- */

static struct error *start_freezer(struct freeze *freeze)
{
	pthread_condattr_t attributes;
	sigset_t all, before;
	int result;

	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&freeze->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	(void)pthread_mutex_init(&freeze->lock, NULL);
	// Signals to this program are not the freezer's business.
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&freeze->freezer, NULL, freezer_main, freeze);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result != 0) {
		(void)pthread_cond_destroy(&freeze->changed);
		(void)pthread_mutex_destroy(&freeze->lock);
		return error_os(result, "starting a thread");
	}
	return NULL;
}

struct error *freeze_start(const struct target *target, uint64_t max_ns,
			   struct freeze **ret)
{
	struct freeze *freeze = calloc(1, sizeof(*freeze));
	struct error *err;

	if (!freeze)
		return error_no_memory();
	freeze->pid = target->pid;
	freeze->start_time = target->info.start_time;
	freeze->max_ns = max_ns;
	err = start_freezer(freeze);
	if (err) {
		free(freeze);
		return err;
	}
	(void)pthread_mutex_lock(&freeze->lock);
	while (!freeze->ready)
		(void)pthread_cond_wait(&freeze->changed, &freeze->lock);
	err = freeze->err;
	freeze->err = NULL;
	(void)pthread_mutex_unlock(&freeze->lock);
	if (err) {
		freeze_destroy(freeze);
		return err;
	}
	*ret = freeze;
	return NULL;
}

const struct frozen_thread *freeze_threads(const struct freeze *freeze,
					   size_t *ret_count)
{
	*ret_count = freeze->num_threads;
	return freeze->threads;
}

bool freeze_holds(const struct freeze *freeze)
{
	return atomic_load(&freeze->holds);
}

bool freeze_expired(const struct freeze *freeze)
{
	return atomic_load(&freeze->expired);
}

uint64_t freeze_pause(const struct freeze *freeze)
{
	uint64_t ended = atomic_load(&freeze->ended_ns);

	if (freeze->began_ns == 0)
		return 0;
	return (ended ? ended : now_ns()) - freeze->began_ns;
}

static void want_thaw(struct freeze *freeze)
{
	(void)pthread_mutex_lock(&freeze->lock);
	freeze->thaw_wanted = true;
	(void)pthread_cond_broadcast(&freeze->changed);
	(void)pthread_mutex_unlock(&freeze->lock);
}

void freeze_thaw(struct freeze *freeze)
{
	want_thaw(freeze);
	// The pause is over when the last thread is detached.
	while (atomic_load(&freeze->ended_ns) == 0)
		(void)usleep(50);
}

void freeze_destroy(struct freeze *freeze)
{
	if (!freeze)
		return;
	want_thaw(freeze);
	(void)pthread_join(freeze->freezer, NULL);
	for (size_t i = 0; i < freeze->num_threads; i++)
		release_thread(&freeze->threads[i]);
	free(freeze->threads);
	hashmap_deinit(&freeze->known);
	(void)pthread_cond_destroy(&freeze->changed);
	(void)pthread_mutex_destroy(&freeze->lock);
	free(freeze);
}
