/*
 * Runs single system calls in a stopped thread; see inject.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Sources: ptrace(2); Linux arch/x86/kernel/signal.c and arch/arm64/kernel/
 * signal.c for where an interrupted system call is restarted; rseq(2).
 */
#include "image/live/inject.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "image/base/guard.h"
#include "image/live/procmaps.h"
#include "image/live/tracee.h"

enum {
	/* Stops that may come before the one that is waited for. */
	STOPS_MAX = 64,
	CODE_CHUNK = 64 << 10,
	SYSCALL_STOP = SIGTRAP | 0x80,	/* with PTRACE_O_TRACESYSGOOD */
	SIGNALS_SIZE = 8,		/* of the kernel's sigset_t */
};

#if defined(__x86_64__)

static const uint8_t instruction[] = { 0x0f, 0x05 };	/* syscall */
enum { INSTRUCTION_ALIGN = 1 };

static void set_call(struct user_regs_struct *regs, uint64_t place, long number,
		     const uint64_t arguments[INJECT_ARGUMENTS])
{
	regs->rip = place;
	regs->rax = (uint64_t)number;
	// Not in a system call: nothing is to be restarted.
	regs->orig_rax = UINT64_MAX;
	regs->rdi = arguments[0];
	regs->rsi = arguments[1];
	regs->rdx = arguments[2];
	regs->r10 = arguments[3];
	regs->r8 = arguments[4];
	regs->r9 = arguments[5];
}

static int64_t call_result(const struct user_regs_struct *regs)
{
	return (int64_t)regs->rax;
}

static uint64_t *program_counter(struct user_regs_struct *regs)
{
	return (uint64_t *)&regs->rip;
}

struct inject_registers inject_look(const uint8_t *registers, size_t size)
{
	struct user_regs_struct regs = { .orig_rax = UINT64_MAX };

	memcpy(&regs, registers, size < sizeof(regs) ? size : sizeof(regs));
	return (struct inject_registers){
		.pc = regs.rip,
		.call = (int64_t)regs.orig_rax < 0 ? -1 : (int64_t)regs.orig_rax,
	};
}

#elif defined(__aarch64__)

static const uint8_t instruction[] = { 0x01, 0x00, 0x00, 0xd4 };	/* svc #0 */
enum { INSTRUCTION_ALIGN = 4 };

static void set_call(struct user_regs_struct *regs, uint64_t place, long number,
		     const uint64_t arguments[INJECT_ARGUMENTS])
{
	regs->pc = place;
	regs->regs[8] = (uint64_t)number;
	for (size_t i = 0; i < INJECT_ARGUMENTS; i++)
		regs->regs[i] = arguments[i];
}

static int64_t call_result(const struct user_regs_struct *regs)
{
	return (int64_t)regs->regs[0];
}

static uint64_t *program_counter(struct user_regs_struct *regs)
{
	return (uint64_t *)&regs->pc;
}

struct inject_registers inject_look(const uint8_t *registers, size_t size)
{
	struct user_regs_struct regs = { 0 };

	memcpy(&regs, registers, size < sizeof(regs) ? size : sizeof(regs));
	return (struct inject_registers){ .pc = regs.pc, .call = -1 };
}

#else
#error "only x86-64 and aarch64"
#endif

_Static_assert(sizeof(struct user_regs_struct) <= INJECT_REGISTERS_MAX,
	       "room for the registers");

static struct error *ended(pid_t tid)
{
	return error_new(ERROR_NOT_FOUND, "thread %d ended", tid);
}

/* --- a place ----------------------------------------------------------------- */

static bool read_memory(pid_t pid, uint64_t address, void *buffer, size_t size)
{
	struct iovec local = { buffer, size };
	struct iovec remote = { (void *)(uintptr_t)address, size };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

/** Search one mapping for the instruction; 0: not there. */
static uint64_t search(pid_t pid, const struct procmap *map)
{
	CLEANUP(free_pointer) uint8_t *code = malloc(CODE_CHUNK);
	uint64_t at = map->start;

	while (code && at < map->end) {
		size_t size = map->end - at < CODE_CHUNK ?
			(size_t)(map->end - at) : CODE_CHUNK;

		if (!read_memory(pid, at, code, size))
			break;
		for (size_t i = 0; i + sizeof(instruction) <= size;
		     i += INSTRUCTION_ALIGN)
			if (memcmp(code + i, instruction,
				   sizeof(instruction)) == 0)
				return at + i;
		// One that lies across two chunks is not missed for long.
		at += size;
	}
	return 0;
}

static bool is_code(const struct procmap *map)
{
	return (map->protection & PF_X) &&
	       !(map->flags & FORMAT_MAPPING_SHARED) && map->name[0] != '\0' &&
	       strcmp(map->name, "[vsyscall]") != 0;
}

struct error *inject_find(pid_t pid, uint64_t *ret)
{
	CLEANUP(procmaps_deinit) struct procmaps maps = { 0 };
	struct error *err = procmaps_read_lines(pid, &maps);
	uint64_t place = 0;

	if (err)
		return err;
	for (size_t i = 0; place == 0 && i < maps.count; i++)
		if (strcmp(maps.items[i].name, "[vdso]") == 0)
			place = search(pid, &maps.items[i]);
	for (size_t i = 0; place == 0 && i < maps.count; i++)
		if (is_code(&maps.items[i]))
			place = search(pid, &maps.items[i]);
	// All processes have some memory, but for those that are dying.
	if (maps.count == 0 || (place == 0 && kill(pid, 0) != 0 &&
				 errno == ESRCH))
		return ended(pid);
	if (place == 0)
		return error_new(ERROR_UNSUPPORTED, "no system call instruction "
				 "was found in process %d", pid);
	*ret = place;
	return NULL;
}

/* --- stops ----------------------------------------------------------------------- */

static struct error *traced(long result, pid_t tid, const char *what)
{
	if (result == 0)
		return NULL;
	if (errno == ESRCH)
		return ended(tid);
	return error_os(errno, "%s of thread %d", what, tid);
}

static struct error *get_registers(pid_t tid, struct user_regs_struct *regs,
				   size_t *ret_size)
{
	struct iovec vector = { regs, sizeof(*regs) };
	struct error *err = traced(ptrace(PTRACE_GETREGSET, tid,
					  (void *)(uintptr_t)NT_PRSTATUS,
					  &vector), tid, "reading the registers");

	if (!err && ret_size)
		*ret_size = vector.iov_len;
	return err;
}

static struct error *set_registers(pid_t tid, struct user_regs_struct *regs)
{
	struct iovec vector = { regs, sizeof(*regs) };

	return traced(ptrace(PTRACE_SETREGSET, tid,
			     (void *)(uintptr_t)NT_PRSTATUS, &vector), tid,
		      "setting the registers");
}

static struct error *set_mask(pid_t tid, uint64_t mask)
{
	return traced(ptrace(PTRACE_SETSIGMASK, tid,
			     (void *)(uintptr_t)SIGNALS_SIZE, &mask), tid,
		      "setting the signal mask");
}

enum wanted_stop { WANT_SYSCALL_STOP, WANT_EVENT_STOP };

/**
 * Let the thread run until the stop that is wanted. No signal can come but
 * SIGSTOP, which is kept for later, and those of a fault, which mean that the
 * instruction was none.
 */
static struct error *run_until(struct injection *injection,
			       enum wanted_stop wanted)
{
	pid_t tid = injection->tid;
	int request = wanted == WANT_SYSCALL_STOP ? PTRACE_SYSCALL : PTRACE_CONT;

	for (int i = 0; i < STOPS_MAX; i++) {
		struct error *err = traced(ptrace(request, tid, NULL, NULL), tid,
					   "resuming");
		int status, event;
		pid_t got;

		if (err)
			return err;
		got = tracee_wait(tid, &status);
		if (got < 0 || !WIFSTOPPED(status))
			return ended(tid);
		event = status >> 16;
		if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK ||
		    event == PTRACE_EVENT_VFORK) {
			unsigned long child = 0;

			(void)ptrace(PTRACE_GETEVENTMSG, tid, NULL, &child);
			injection->child = (pid_t)child;
		} else if (event == PTRACE_EVENT_STOP) {
			if (wanted == WANT_EVENT_STOP)
				return NULL;
		} else if (WSTOPSIG(status) == SYSCALL_STOP) {
			if (wanted == WANT_SYSCALL_STOP)
				return NULL;
		} else if (event == 0 && WSTOPSIG(status) == SIGSTOP) {
			injection->stop_seen = true;
		} else if (event == 0) {
			return error_new(ERROR_OS, "thread %d got signal %d "
					 "when it was to make a system call",
					 tid, WSTOPSIG(status));
		}
	}
	return error_new(ERROR_LIMIT, "thread %d does not come to a stop", tid);
}

/* --- restartable sequences ----------------------------------------------------------- */

/* Newer than the C library's headers on some machines. */
#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif

struct rseq_configuration {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

struct rseq_sequence {
	uint32_t version, flags;
	uint64_t start, length, abort;
};

enum { RSEQ_SEQUENCE_OFFSET = 8 };	/* rseq_cs in struct rseq */

/**
 * Inside a sequence the kernel would forget it once the thread runs elsewhere,
 * and the thread would go on without noticing that it was preempted.
 */
static void leave_sequence(pid_t tid, struct user_regs_struct *regs)
{
	struct rseq_configuration rseq = { 0 };
	struct rseq_sequence sequence;
	uint64_t address = 0, *pc = program_counter(regs);

	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid,
		   (void *)sizeof(rseq), &rseq) != sizeof(rseq) ||
	    rseq.pointer == 0 ||
	    !read_memory(tid, rseq.pointer + RSEQ_SEQUENCE_OFFSET, &address,
			 sizeof(address)) || address == 0 ||
	    !read_memory(tid, address, &sequence, sizeof(sequence)))
		return;
	if (*pc - sequence.start < sequence.length)
		*pc = sequence.abort;
}

/* --- calls ------------------------------------------------------------------------------ */

struct error *inject_begin(pid_t tid, uint64_t place, bool ours,
			   struct injection *ret)
{
	struct injection injection = { .tid = tid, .place = place };
	uintptr_t options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
			    PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
			    (ours ? PTRACE_O_EXITKILL : 0);
	struct user_regs_struct regs;
	struct error *err = get_registers(tid, &regs, &injection.registers_size);

	if (err)
		return err;
	// A 32-bit program's set is shorter: its calls are others.
	if (injection.registers_size != sizeof(regs))
		return error_new(ERROR_UNSUPPORTED, "thread %d runs 32-bit code",
				 tid);
	leave_sequence(tid, &regs);
	memcpy(injection.registers, &regs, sizeof(regs));
	err = traced(ptrace(PTRACE_SETOPTIONS, tid, NULL, (void *)options),
		     tid, "setting trace options");
	if (!err)
		err = traced(ptrace(PTRACE_GETSIGMASK, tid,
				    (void *)(uintptr_t)SIGNALS_SIZE,
				    &injection.mask), tid,
			     "reading the signal mask");
	if (!err)
		err = set_mask(tid, UINT64_MAX);
	if (err)
		return err;
	*ret = injection;
	return NULL;
}

struct error *inject_call(struct injection *injection, long number,
			  const uint64_t arguments[INJECT_ARGUMENTS],
			  int64_t *ret)
{
	struct user_regs_struct regs;
	struct error *err;

	memcpy(&regs, injection->registers, sizeof(regs));
	set_call(&regs, injection->place, number, arguments);
	injection->child = 0;
	err = set_registers(injection->tid, &regs);
	if (!err)
		err = run_until(injection, WANT_SYSCALL_STOP);	/* enters */
	if (!err)
		err = run_until(injection, WANT_SYSCALL_STOP);	/* leaves */
	if (!err)
		err = get_registers(injection->tid, &regs, NULL);
	if (err)
		return err;
	*ret = call_result(&regs);
	return NULL;
}

struct error *inject_end(struct injection *injection)
{
	pid_t tid = injection->tid;
	struct user_regs_struct regs;
	struct error *err = traced(ptrace(PTRACE_INTERRUPT, tid, NULL, NULL),
				   tid, "stopping");
	struct error *failed;

	if (!err)
		err = run_until(injection, WANT_EVENT_STOP);
	// Whatever went wrong: its own registers are better than ours.
	memcpy(&regs, injection->registers, sizeof(regs));
	failed = set_registers(tid, &regs);
	if (!failed)
		failed = set_mask(tid, injection->mask);
	if (!failed && injection->stop_seen)
		(void)syscall(SYS_tkill, tid, SIGSTOP);
	if (err) {
		error_free(failed);
		return err;
	}
	return failed;
}

void inject_doom(struct injection *injection)
{
	static const uint64_t none[INJECT_ARGUMENTS];
	struct user_regs_struct regs;

	memcpy(&regs, injection->registers, sizeof(regs));
	set_call(&regs, injection->place, SYS_exit_group, none);
	error_free(set_registers(injection->tid, &regs));
}
