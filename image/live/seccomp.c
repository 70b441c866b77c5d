/*
 * Runs seccomp filters; see seccomp.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/seccomp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif

struct error *seccomp_read(pid_t tid, unsigned int mode,
			   struct seccomp_filters *ret)
{
	struct seccomp_filters filters = {
		.strict = mode == SECCOMP_MODE_STRICT,
	};

	while (mode == SECCOMP_MODE_FILTER) {
		struct sock_filter *code;
		long size = ptrace(PTRACE_SECCOMP_GET_FILTER, tid,
				   (void *)(uintptr_t)filters.count, NULL);

		if (size < 0 && errno == ENOENT)
			break;
		if (size >= 0 && filters.count == SECCOMP_FILTERS_MAX) {
			size = -1;
			errno = E2BIG;
		}
		code = size < 0 ? NULL : calloc((size_t)size + 1, sizeof(*code));
		if (size < 0 || !code ||
		    ptrace(PTRACE_SECCOMP_GET_FILTER, tid,
			   (void *)(uintptr_t)filters.count, code) != size) {
			int os_errno = errno;

			free(code);
			seccomp_deinit(&filters);
			return error_os(os_errno, "reading the seccomp filter "
					"of thread %d", tid);
		}
		filters.items[filters.count].code = code;
		filters.items[filters.count++].size = (size_t)size;
	}
	*ret = filters;
	return NULL;
}

void seccomp_deinit(struct seccomp_filters *filters)
{
	for (size_t i = 0; i < filters->count; i++)
		free(filters->items[i].code);
	*filters = (struct seccomp_filters){ 0 };
}

/* --- the machine ------------------------------------------------------------ */

struct machine {
	uint32_t a, x, memory[BPF_MEMWORDS];
};

static bool load(struct machine *machine, const struct sock_filter *step,
		 const struct seccomp_data *call)
{
	uint32_t value;

	switch (BPF_MODE(step->code)) {
	case BPF_ABS:
		if (step->k % 4 || step->k > sizeof(*call) - sizeof(value))
			return false;
		memcpy(&value, (const uint8_t *)call + step->k, sizeof(value));
		break;
	case BPF_IMM:
		value = step->k;
		break;
	case BPF_LEN:
		value = sizeof(*call);
		break;
	case BPF_MEM:
		if (step->k >= BPF_MEMWORDS)
			return false;
		value = machine->memory[step->k];
		break;
	default:
		return false;
	}
	*(BPF_CLASS(step->code) == BPF_LD ? &machine->a : &machine->x) = value;
	return true;
}

static bool compute(struct machine *machine, const struct sock_filter *step)
{
	uint32_t other = BPF_SRC(step->code) == BPF_X ? machine->x : step->k;
	uint32_t *a = &machine->a;

	switch (BPF_OP(step->code)) {
	case BPF_ADD: *a += other; return true;
	case BPF_SUB: *a -= other; return true;
	case BPF_MUL: *a *= other; return true;
	case BPF_OR: *a |= other; return true;
	case BPF_AND: *a &= other; return true;
	case BPF_XOR: *a ^= other; return true;
	case BPF_NEG: *a = -*a; return true;
	case BPF_LSH: *a = other < 32 ? *a << other : 0; return true;
	case BPF_RSH: *a = other < 32 ? *a >> other : 0; return true;
	case BPF_DIV:
		// The kernel ends the program with 0, which is to kill.
		if (other == 0)
			return false;
		*a /= other;
		return true;
	}
	return false;
}

/** How many instructions to step over; SIZE_MAX: not a jump we know. */
static size_t jump(const struct machine *machine,
		   const struct sock_filter *step)
{
	uint32_t other = BPF_SRC(step->code) == BPF_X ? machine->x : step->k;
	bool holds;

	switch (BPF_OP(step->code)) {
	case BPF_JA: return step->k;
	case BPF_JEQ: holds = machine->a == other; break;
	case BPF_JGT: holds = machine->a > other; break;
	case BPF_JGE: holds = machine->a >= other; break;
	case BPF_JSET: holds = (machine->a & other) != 0; break;
	default: return SIZE_MAX;
	}
	return holds ? step->jt : step->jf;
}

uint32_t seccomp_run(const struct sock_filter *code, size_t size,
		     const struct seccomp_data *call)
{
	struct machine machine = { 0 };

	// Jumps lead forward only, so this ends.
	for (size_t at = 0; at < size; at++) {
		const struct sock_filter *step = &code[at];
		bool known = true;

		switch (BPF_CLASS(step->code)) {
		case BPF_LD:
		case BPF_LDX:
			known = load(&machine, step, call);
			break;
		case BPF_ST:
		case BPF_STX:
			known = step->k < BPF_MEMWORDS;
			if (known)
				machine.memory[step->k] =
					BPF_CLASS(step->code) == BPF_ST ?
					machine.a : machine.x;
			break;
		case BPF_ALU:
			known = compute(&machine, step);
			break;
		case BPF_JMP: {
			size_t over = jump(&machine, step);

			known = over < size;
			at += known ? over : 0;
			break;
		}
		case BPF_MISC:
			if (BPF_MISCOP(step->code) == BPF_TAX)
				machine.x = machine.a;
			else
				machine.a = machine.x;
			break;
		case BPF_RET:
			return BPF_RVAL(step->code) == BPF_A ? machine.a :
							       step->k;
		}
		if (!known)
			break;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

enum seccomp_verdict seccomp_judge(const struct seccomp_filters *filters,
				   const struct seccomp_data *call)
{
	uint32_t action = SECCOMP_RET_ALLOW;

	if (filters->strict)
		return SECCOMP_PUNISHES;
	for (size_t i = 0; i < filters->count; i++) {
		uint32_t own = seccomp_run(filters->items[i].code,
					   filters->items[i].size, call);

		// The least action wins, as a signed number.
		if ((int32_t)(own & SECCOMP_RET_ACTION_FULL) <
		    (int32_t)(action & SECCOMP_RET_ACTION_FULL))
			action = own;
	}
	switch (action & SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_ALLOW:
	case SECCOMP_RET_LOG:
		return SECCOMP_LETS_PASS;
	case SECCOMP_RET_ERRNO:
	case SECCOMP_RET_TRACE:	/* nobody traces for it: the call fails */
		return SECCOMP_REFUSES;
	}
	return SECCOMP_PUNISHES;
}
