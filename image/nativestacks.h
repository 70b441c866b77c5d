/*
 * The stacks of an image's threads: which memory they are, and how much of it is
 * in use.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IMAGE_NATIVESTACKS_H
#define IMAGE_NATIVESTACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/image.h"

struct native_stack {
	uint64_t room;		/* lowest address; from here up to … */
	uint64_t start;		/* … the stack pointer, less a red zone, nothing
				   is in use */
	uint64_t end;		/* with what glibc has at a stack's top: the
				   thread's structure, its thread-local data */
	uint64_t local;		/* thread pointer, in here or not; 0: unknown */
	uint64_t sure_end;	/* up to here it is a stack and nothing else: the
				   thread's structure is there, or what the kernel
				   gave the first thread; 0: nothing is known */
	uint32_t tid;
	size_t thread;		/* its index in the notes */
};

struct native_stacks {
	struct native_stack *items;	/* by address, never overlapping */
	size_t count;
};

/**
 * A stack pointer or, where that is right below its stack, as after too many
 * calls, where the stack begins: at the pointer is a guard then, or nothing.
 */
uint64_t native_stack_pointer(const struct memory *memory, uint64_t pointer);

/** Of all threads whose registers and stack are in the image. */
struct error *native_stacks_find(const struct image *image,
				 struct native_stacks *ret);
/** Order them. Several in one mapping end where the next one begins. */
void native_stacks_settle(struct native_stacks *stacks);

void native_stacks_deinit(struct native_stacks *stacks);

/** The stack that has an address in its room or in use, or NULL. */
const struct native_stack *native_stack_at(const struct native_stacks *stacks,
					   uint64_t address);

/** Whether only variables and saved registers of C code can be at an address. */
bool native_stack_has(const struct native_stacks *stacks, uint64_t address);

#endif
