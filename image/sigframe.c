/*
 * Frames of signals; see sigframe.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/sigframe.h"

#include <elf.h>
#include <string.h>

/* x86-64: a struct ucontext first; aarch64: siginfo, then the ucontext. */
enum {
	AMD64_GREGS = 40,
	AMD64_TRAP = AMD64_GREGS + 20 * 8, AMD64_FAULT = AMD64_GREGS + 22 * 8,
	AMD64_PAGE_FAULT = 14,
	AMD64_RIP = 16,
	ARM64_CONTEXT = 128,
	ARM64_FAULT = ARM64_CONTEXT + 176, ARM64_REGISTERS = ARM64_FAULT + 8,
	SIGNALS = 64,
	ARM64_COUNT = 32,	/* x0 … x30, sp; pc is the next one */
};

/** aarch64: signal number, flags and link of the ucontext, a pc and sp. */
static bool looks_like_one(struct memory_reader *memory, uint64_t sp)
{
	uint64_t number, flags, link, pc, from;

	return memory_try_u64(memory, sp, &number) &&
	       memory_try_u64(memory, sp + ARM64_CONTEXT, &flags) &&
	       memory_try_u64(memory, sp + ARM64_CONTEXT + 8, &link) &&
	       memory_try_u64(memory, sp + ARM64_REGISTERS + 31 * 8, &from) &&
	       memory_try_u64(memory, sp + ARM64_REGISTERS + 32 * 8, &pc) &&
	       (uint32_t)number - 1 < SIGNALS && flags <= 1 && link == 0 &&
	       memory_find(memory->memory, from) &&
	       memory_find(memory->memory, pc);
}

bool sigframe_returns_at(struct memory_reader *memory, uint16_t machine,
			 uint64_t pc, uint64_t sp)
{
	static const uint8_t amd64[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0,
					 0x0f, 0x05 };
	static const uint8_t arm64[] = { 0x68, 0x11, 0x80, 0xd2,
					 0x01, 0x00, 0x00, 0xd4 };
	bool arm = machine == EM_AARCH64;
	size_t size = arm ? sizeof(arm64) : sizeof(amd64);
	uint8_t code[sizeof(amd64)];

	if (!memory_try_read(memory, pc, code, size))
		return arm && looks_like_one(memory, sp);
	return memcmp(code, arm ? arm64 : amd64, size) == 0;
}

bool sigframe_fault(struct memory_reader *memory, uint16_t machine, uint64_t sp,
		    uint64_t *ret_address)
{
	uint64_t trap;

	if (machine == EM_AARCH64)
		return memory_try_u64(memory, sp + ARM64_FAULT, ret_address) &&
		       *ret_address != 0;
	return memory_try_u64(memory, sp + AMD64_TRAP, &trap) &&
	       trap == AMD64_PAGE_FAULT &&
	       memory_try_u64(memory, sp + AMD64_FAULT, ret_address);
}

bool sigframe_registers(struct memory_reader *memory, uint16_t machine,
			uint64_t sp, uint64_t ret[CORE_DWARF_REGISTERS_MAX],
			uint64_t *ret_pc)
{
	// r8 … r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip by DWARF's
	// numbers.
	static const uint8_t amd64[] = { 8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6,
					 3, 1, 0, 2, 7, AMD64_RIP };
	bool arm = machine == EM_AARCH64;
	uint64_t at = sp + (arm ? ARM64_REGISTERS : AMD64_GREGS);
	size_t count = arm ? ARM64_COUNT : sizeof(amd64);

	for (size_t i = 0; i < count; i++)
		if (!memory_try_u64(memory, at + i * 8,
				    &ret[arm ? i : amd64[i]]))
			return false;
	if (arm)
		return memory_try_u64(memory, at + count * 8, ret_pc);
	*ret_pc = ret[AMD64_RIP];
	return true;
}
