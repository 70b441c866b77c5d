/*
 * Runs single system calls in a stopped thread of another process.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	inject_find(pid, &place);
 *	inject_begin(tid, place, &injection);
 *	inject_call(&injection, SYS_clone, arguments, &result);
 *	inject_end(&injection);
 *
 * The thread must be traced by the caller (PTRACE_SEIZE) and stand in an event
 * stop. It runs one instruction of its own program at a time, a system call;
 * nothing is written to its memory. Signals are blocked meanwhile, so that none
 * is delivered on borrowed registers; they stay pending. inject_end() restores
 * the mask and the registers, and does so in an event stop: there the kernel
 * still does what an interrupted system call needs to be restarted, which it
 * would not after a system call's own stop (the program would see -512 and the
 * like).
 */
#ifndef LIVE_INJECT_H
#define LIVE_INJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/base/error.h"

enum {
	INJECT_REGISTERS_MAX = 512,	/* bytes: x86-64 has 216, aarch64 272 */
	INJECT_ARGUMENTS = 6,
};

struct injection {
	pid_t tid;
	uint64_t place;
	uint8_t registers[INJECT_REGISTERS_MAX];	/* NT_PRSTATUS, as found */
	size_t registers_size;
	uint64_t mask;		/* of blocked signals, as found */
	bool stop_seen;		/* a SIGSTOP came: to be sent again */
	pid_t child;		/* that the last call made, by our numbers; 0 */
};

/**
 * Find a system call instruction in a process: in its vdso, else in the C
 * library or whatever other code it has mapped.
 *
 * @return ERROR_UNSUPPORTED where there is none
 */
struct error *inject_find(pid_t pid, uint64_t *ret);

/** What a thread's registers say; from the bytes of NT_PRSTATUS. */
struct inject_registers {
	uint64_t pc;
	/* of the system call that the thread stands in, -1: none, or not known */
	int64_t call;
};

struct inject_registers inject_look(const uint8_t *registers, size_t size);

/**
 * Save the thread's state and block its signals. A thread in the middle of a
 * restartable sequence (rseq) will find itself at the sequence's abort handler,
 * as after any other preemption.
 *
 * @param ours  it is to die with the tracer (PTRACE_O_EXITKILL)
 */
struct error *inject_begin(pid_t tid, uint64_t place, bool ours,
			   struct injection *ret);

/**
 * Run one system call.
 *
 * @param ret  what it returned, negative errno included
 * @return ERROR_NOT_FOUND: the thread has ended
 */
struct error *inject_call(struct injection *injection, long number,
			  const uint64_t arguments[INJECT_ARGUMENTS],
			  int64_t *ret);

/** Restore all; the thread stands in an event stop again. */
struct error *inject_end(struct injection *injection);

/**
 * Instead of inject_end(), for a process that shall never run again: when it
 * does, it ends at once.
 */
void inject_doom(struct injection *injection);

#endif
