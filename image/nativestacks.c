/*
 * The stacks of an image's threads; see nativestacks.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/nativestacks.h"

#include <elf.h>
#include <stdlib.h>

#include "image/registers.h"

enum {
	RED_ZONE = 128,		/* bytes in use below a stack pointer */
	LOCAL_ABOVE = 16 << 10,	/* of a thread's structure, at its stack's top */
	THREAD_WORDS = 288,	/* of a thread's structure */
	STACK_MAX = 1 << 30,	/* bytes of a stack that a thread was given */
	BELOW_MAX = 1 << 20,	/* bytes that a pointer is below a stack which
				   has no more room */
};

static bool may_be_written(const struct memory_range *range)
{
	return range && (range->protection & PF_W);
}

uint64_t native_stack_pointer(const struct memory *memory, uint64_t pointer)
{
	const struct memory_range *at = memory_find(memory, pointer), *above;

	if (may_be_written(at))
		return pointer;
	above = memory_find_above(memory, at ? at->end : pointer);
	return may_be_written(above) && above->start - pointer <= BELOW_MAX ?
		       above->start : pointer;
}

/** Where memory of one kind begins and ends around an address. */
static void set_mapping(const struct memory *memory, uint64_t address,
			struct native_stack *stack)
{
	const struct memory_range *at = memory_find(memory, address), *next;

	if (!at)
		return;
	stack->room = at->start;
	stack->end = at->end;
	while (stack->room > 0 &&
	       (next = memory_find(memory, stack->room - 1)) != NULL &&
	       next->protection == at->protection)
		stack->room = next->start;
	while ((next = memory_find(memory, stack->end)) != NULL &&
	       next->protection == at->protection)
		stack->end = next->end;
}

/**
 * Narrow a stack to what glibc has given the thread: its structure has {where
 * the block begins, its size}, or zeroes for the first thread. The kernel joins
 * mappings, and guard pages need not divide them any more.
 * Source: glibc nptl/descr.h, struct pthread, stackblock.
 */
static void narrow(struct memory_reader *memory, uint64_t pointer,
		   struct native_stack *stack)
{
	uint64_t words[THREAD_WORDS];

	if (!memory_try_read(memory, stack->local, words, sizeof(words)))
		return;
	for (size_t i = 0; i + 1 < THREAD_WORDS; i++) {
		uint64_t start = words[i], size = words[i + 1];

		if (start % 4096 || size % 4096 || size == 0 ||
		    size > STACK_MAX || start > UINT64_MAX - size ||
		    start >= pointer || start + size <= stack->local ||
		    start + size > stack->end)
			continue;
		// It begins with its guard, which is no part of the mapping.
		if (stack->room < start)
			stack->room = start;
		stack->end = start + size;
		return;
	}
}

/** Memory that a program has made its stack itself may have others behind it. */
static void set_sure_end(const struct image *image, uint64_t pointer,
			 struct native_stack *stack)
{
	uint64_t random;

	if (stack->local > pointer && stack->local < stack->end)
		stack->sure_end = stack->local;
	else if (core_notes_auxv(&image->notes, AT_RANDOM, &random) &&
		 random > pointer && random < stack->end)
		stack->sure_end = random;
}

static bool find_stack(const struct image *image, size_t thread,
		       struct memory_reader *memory, struct native_stack *ret)
{
	const struct core_thread *of = &image->notes.threads[thread];
	uint64_t pointer;

	*ret = (struct native_stack){ .tid = of->tid, .thread = thread };
	(void)core_register(of, image->machine, CORE_TLS, &ret->local);
	if (!core_register(of, image->machine, CORE_SP, &pointer) ||
	    pointer < RED_ZONE)
		return false;
	pointer = native_stack_pointer(image->memory, pointer);
	set_mapping(image->memory, pointer, ret);
	if (ret->end == 0)
		return false;
	// The thread's own structure is at the top of a stack of glibc's; the
	// kernel may have joined other memory to its mapping.
	if (ret->local > pointer && ret->local < ret->end) {
		if (ret->end - ret->local > LOCAL_ABOVE)
			ret->end = ret->local + LOCAL_ABOVE;
		narrow(memory, pointer, ret);
	}
	set_sure_end(image, pointer, ret);
	ret->start = (pointer - RED_ZONE) & ~UINT64_C(7);
	if (ret->start < ret->room)
		ret->start = ret->room;
	return true;
}

static int by_start(const void *a, const void *b)
{
	const struct native_stack *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

void native_stacks_settle(struct native_stacks *stacks)
{
	struct native_stack *items = stacks->items;

	if (stacks->count)
		qsort(items, stacks->count, sizeof(*items), by_start);
	for (size_t i = 0; i < stacks->count; i++) {
		if (i + 1 < stacks->count && items[i].end > items[i + 1].start)
			items[i].end = items[i + 1].start;
		if (i > 0 && items[i].room < items[i - 1].end)
			items[i].room = items[i - 1].end;
	}
}

struct error *native_stacks_find(const struct image *image,
				 struct native_stacks *ret)
{
	struct memory_reader memory;
	struct error *err = memory_reader_init(&memory, image->memory);

	*ret = (struct native_stacks){ 0 };
	if (!err && image->notes.num_threads) {
		ret->items = calloc(image->notes.num_threads,
				    sizeof(*ret->items));
		if (!ret->items)
			err = error_no_memory();
	}
	for (size_t i = 0; !err && i < image->notes.num_threads; i++)
		ret->count += find_stack(image, i, &memory,
					 &ret->items[ret->count]);
	memory_reader_deinit(&memory);
	native_stacks_settle(ret);
	return err;
}

void native_stacks_deinit(struct native_stacks *stacks)
{
	free(stacks->items);
	*stacks = (struct native_stacks){ 0 };
}

const struct native_stack *native_stack_at(const struct native_stacks *stacks,
					   uint64_t address)
{
	size_t low = 0, high = stacks->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (stacks->items[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < stacks->count && stacks->items[low].room <= address ?
		       &stacks->items[low] : NULL;
}

bool native_stack_has(const struct native_stacks *stacks, uint64_t address)
{
	const struct native_stack *stack = native_stack_at(stacks, address);

	return stack && address >= stack->start && address < stack->sure_end;
}
