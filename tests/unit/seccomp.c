/*
 * Unit tests of seccomp.h: what filters say, by the machine that runs them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * That the verdicts are the kernel's is tested on real filters, in
 * tests/dumper/test_snapshot.py.
 */
#include "image/live/seccomp.h"

#include <stddef.h>

#include "tests/lib/check.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum { LOAD = BPF_LD | BPF_W | BPF_ABS };

static const struct seccomp_data call = {
	.nr = 56,
	.arch = 0xC000003E,
	.instruction_pointer = 0x7fff12345678,
	.args = { 0x600, UINT64_C(0x1234567800000002) },
};

static uint32_t run(const struct sock_filter *code, size_t size)
{
	return seccomp_run(code, size, &call);
}

static void check_loads(void)
{
	const struct sock_filter number[] = {
		BPF_STMT(LOAD, offsetof(struct seccomp_data, nr)),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	const struct sock_filter high[] = {
		BPF_STMT(LOAD, offsetof(struct seccomp_data, args[1]) + 4),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	const struct sock_filter length[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	const struct sock_filter beyond[] = {
		BPF_STMT(LOAD, sizeof(struct seccomp_data)),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	CHECK_U64("the call's number", run(number, COUNT(number)), 56);
	CHECK_U64("the upper half of an argument", run(high, COUNT(high)),
		  0x12345678);
	CHECK_U64("the length", run(length, COUNT(length)),
		  sizeof(struct seccomp_data));
	CHECK_U64("beyond the data", run(beyond, COUNT(beyond)),
		  SECCOMP_RET_KILL_PROCESS);
}

static void check_arithmetic(void)
{
	const struct sock_filter mask[] = {
		BPF_STMT(LOAD, offsetof(struct seccomp_data, args[0])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x400),
		BPF_STMT(BPF_ST, 3),
		BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, 5),
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_X, 0),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_MEM, 3),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	const struct sock_filter nothing[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_IMM, 7),
		BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, 0),
		BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	CHECK_U64("arithmetic and memory", run(mask, COUNT(mask)), 0x420);
	CHECK_U64("division by nothing", run(nothing, COUNT(nothing)),
		  SECCOMP_RET_KILL_PROCESS);
}

static void check_jumps(void)
{
	const struct sock_filter branch[] = {
		BPF_STMT(LOAD, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 57, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 1),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 55, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 2),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 8, 0, 1),
		BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
		BPF_STMT(BPF_RET | BPF_K, 3),
		BPF_STMT(BPF_RET | BPF_K, 4),
	};
	const struct sock_filter away[] = {
		BPF_JUMP(BPF_JMP | BPF_JA, 0xffffffff, 0, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_filter endless[] = {
		BPF_STMT(LOAD, 0),
	};

	CHECK_U64("jumps", run(branch, COUNT(branch)), 4);
	CHECK_U64("a jump that leads away", run(away, COUNT(away)),
		  SECCOMP_RET_KILL_PROCESS);
	CHECK_U64("no end", run(endless, COUNT(endless)),
		  SECCOMP_RET_KILL_PROCESS);
}

static void check_together(void)
{
	struct sock_filter allow[] = {
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_filter refuse[] = {
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
	};
	struct sock_filter punish[] = {
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
	};
	struct sock_filter ask[] = {
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	};
	struct seccomp_filters filters = { .count = 0 };

	CHECK("no filter", seccomp_judge(&filters, &call) == SECCOMP_LETS_PASS);
	filters.items[0].code = allow;
	filters.items[0].size = 1;
	filters.count = 1;
	CHECK("one that allows",
	      seccomp_judge(&filters, &call) == SECCOMP_LETS_PASS);
	filters.items[1].code = refuse;
	filters.items[1].size = 1;
	filters.count = 2;
	CHECK("one that refuses counts more",
	      seccomp_judge(&filters, &call) == SECCOMP_REFUSES);
	filters.items[0].code = punish;
	CHECK("one that kills counts most",
	      seccomp_judge(&filters, &call) == SECCOMP_PUNISHES);
	filters.items[0].code = ask;
	filters.count = 1;
	CHECK("one that asks somebody",
	      seccomp_judge(&filters, &call) == SECCOMP_PUNISHES);
	filters = (struct seccomp_filters){ .strict = true };
	CHECK("the strict mode",
	      seccomp_judge(&filters, &call) == SECCOMP_PUNISHES);
}

int main(void)
{
	check_loads();
	check_arithmetic();
	check_jumps();
	check_together();
	return check_result();
}
