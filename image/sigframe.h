/*
 * What the kernel leaves on a stack for a signal's handler to return to.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: the kernel's arch/x86/include/asm/sigframe.h, arch/arm64/kernel/
 * signal.c, uapi/asm/sigcontext.h and ucontext.h.
 */
#ifndef IMAGE_SIGFRAME_H
#define IMAGE_SIGFRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "image/memory.h"
#include "image/registers.h"

/**
 * True if the code at pc is the call of rt_sigreturn: told by itself, or, where
 * that code is not in the dump (qemu's), by what is on the stack.
 */
bool sigframe_returns_at(struct memory_reader *memory, uint16_t machine,
			 uint64_t pc, uint64_t sp);

/**
 * The address that was touched, of a page fault. The kernel fills in siginfo
 * only for handlers that asked for it; this stands there for all.
 *
 * @param sp  the stack pointer of the code that calls rt_sigreturn
 */
bool sigframe_fault(struct memory_reader *memory, uint16_t machine, uint64_t sp,
		    uint64_t *ret_address);

/** The registers as they were when the signal came, by DWARF's numbers. */
bool sigframe_registers(struct memory_reader *memory, uint16_t machine,
			uint64_t sp, uint64_t ret[CORE_DWARF_REGISTERS_MAX],
			uint64_t *ret_pc);

#endif
