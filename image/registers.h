/*
 * The registers of a thread, by what they are for and by DWARF's numbers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * NT_PRSTATUS holds them in the order of the kernel: struct user_regs_struct
 * of x86-64, struct user_pt_regs of aarch64.
 *
 * Source: the kernel's uapi/asm/ptrace.h and sys/user.h; System V ABI, AMD64
 * supplement, figure 3.36; DWARF for the Arm 64-bit Architecture.
 */
#ifndef IMAGE_REGISTERS_H
#define IMAGE_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/notes.h"

enum core_register {
	CORE_PC,
	CORE_SP,
	CORE_FP,	/* rbp, x29: the frame's, if the code keeps one there */
	CORE_TLS,	/* fs_base; aarch64 keeps it elsewhere: never there */
};

/** Numbers 0 … of DWARF that unwinding needs; pc is not always one of them. */
enum { CORE_DWARF_REGISTERS_MAX = 32 };

/** False where the note of this thread has not got it. */
bool core_register(const struct core_thread *thread, uint16_t machine,
		   enum core_register which, uint64_t *ret);

/**
 * The registers in DWARF's order, from number 0.
 *
 * @return how many, or 0: the note has not got them
 */
size_t core_dwarf_registers(const struct core_thread *thread, uint16_t machine,
			    uint64_t ret[CORE_DWARF_REGISTERS_MAX]);

/**
 * Each register by the name that debuggers use; the i-th of the note.
 *
 * @return false where there are no more
 */
bool core_register_named(const struct core_thread *thread, uint16_t machine,
			 size_t i, char ret_name[16], uint64_t *ret);

#endif
