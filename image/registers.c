/*
 * The registers of a thread; see registers.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/registers.h"

#include <elf.h>
#include <stdio.h>

/* Words of struct user_regs_struct. */
static const char *const amd64_names[] = {
	"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8",
	"rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags",
	"rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
};

enum {
	AMD64_WORDS = sizeof(amd64_names) / sizeof(amd64_names[0]),
	ARM64_WORDS = 34,	/* x0 … x30, sp, pc, pstate */
	ARM64_SP = 31, ARM64_PC = 32,
};

/* Of DWARF's numbers 0 … 16 (rax, rdx, rcx, rbx …): the words of the above. */
static const uint8_t amd64_dwarf[] = {
	10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16,
};

static bool word_at(const struct core_thread *thread, size_t i, uint64_t *ret)
{
	struct bytes registers = thread->registers;

	return bytes_take(&registers, i * sizeof(*ret)) &&
	       bytes_u64(&registers, ret);
}

bool core_register(const struct core_thread *thread, uint16_t machine,
		   enum core_register which, uint64_t *ret)
{
	static const uint8_t amd64[] = {
		[CORE_PC] = 16, [CORE_SP] = 19, [CORE_FP] = 4, [CORE_TLS] = 21,
	};
	static const uint8_t arm64[] = {
		[CORE_PC] = ARM64_PC, [CORE_SP] = ARM64_SP, [CORE_FP] = 29,
	};

	if (machine == EM_AARCH64)
		return which != CORE_TLS && word_at(thread, arm64[which], ret);
	return word_at(thread, amd64[which], ret);
}

size_t core_dwarf_registers(const struct core_thread *thread, uint16_t machine,
			    uint64_t ret[CORE_DWARF_REGISTERS_MAX])
{
	bool arm = machine == EM_AARCH64;
	size_t count = arm ? ARM64_SP + 1 : sizeof(amd64_dwarf);

	for (size_t i = 0; i < count; i++)
		if (!word_at(thread, arm ? i : amd64_dwarf[i], &ret[i]))
			return 0;
	return count;
}

bool core_register_named(const struct core_thread *thread, uint16_t machine,
			 size_t i, char ret_name[16], uint64_t *ret)
{
	bool arm = machine == EM_AARCH64;

	if (i >= (size_t)(arm ? ARM64_WORDS : AMD64_WORDS) ||
	    !word_at(thread, i, ret))
		return false;
	if (!arm)
		(void)snprintf(ret_name, 16, "%s", amd64_names[i]);
	else if (i < ARM64_SP)
		(void)snprintf(ret_name, 16, "x%zu", i);
	else
		(void)snprintf(ret_name, 16, "%s", i == ARM64_SP ? "sp" :
			       i == ARM64_PC ? "pc" : "pstate");
	return true;
}
