/*
 * From an instruction of a code object to the line it was compiled from.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Three forms of table: co_lnotab (3.8, 3.9), co_linetable of 3.10, and the
 * location entries of 3.11 and later.
 *
 * Source: CPython Objects/lnotab_notes.txt, Objects/locations.md,
 * Objects/codeobject.c (PyCode_Addr2Line).
 */
#ifndef PYHEAP_PYLINE_H
#define PYHEAP_PYLINE_H

#include <stdint.h>

#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"

/**
 * The line of the instruction at a byte offset of the bytecode.
 *
 * @param at  bytes; negative: not begun, which is the first line of the code
 * @return 0: it has none, or the table was not captured
 */
uint32_t pyh_line(const struct pyh_runtime *runtime,
		  struct memory_reader *memory, uint64_t code, int64_t at);

/**
 * Where an instruction is in the bytecode of 3.11 and later, in bytes.
 *
 * @param pointer  its address
 * @param copy  tlbc_index of the frame: a thread's own copy of the bytecode
 * @return -1: it is not in it
 */
int64_t pyh_instruction_at(const struct pyh_runtime *runtime,
			   struct memory_reader *memory, uint64_t code,
			   uint64_t pointer, uint64_t copy);

#endif
