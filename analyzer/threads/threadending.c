/*
 * What ended a process; see threadending.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/threads/threadending.h"

#include <elf.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/threads/threadwords.h"
#include "image/base/guard.h"
#include "image/demangle.h"
#include "image/symbols.h"

enum {
	BY_KERNEL = 0x80,	/* SI_KERNEL: of a fault, by no page */
	/* What ends a process is not far from the innermost function. */
	INNER_FRAMES = 32,
	NEAR_POINTER = 64 << 10,	/* bytes that are one function's */
	GUARD_MAX = 1 << 20,	/* bytes below a stack that stay free; the
				   kernel's stack_guard_gap */
	FRAME_MAX = 16 << 20,	/* of a function that takes more than all */
	/* Of the stack, where the exception's address is looked for. */
	EXCEPTION_WORDS = 4096,
};

/* --- what was touched --------------------------------------------------------- */

static bool touches(int number)
{
	return number == SIGSEGV || number == SIGBUS;
}

static bool may_be_written(const struct memory_range *range)
{
	return range && (range->protection & PF_W);
}

/** Where the code was that touched something; 0: not known. */
static uint64_t stack_pointer(const struct thread_stack *stack)
{
	size_t at = stack->in_handler ? stack->handled.frame : 0;

	return at < stack->num_native ? stack->native[at].frame.sp : 0;
}

/**
 * True if it was the room below a thread's stack: nothing can be written there,
 * the stack begins right above, and the function that was called had its own
 * variables there.
 */
static bool is_overflow(const struct memory *memory,
			const struct thread_stack *stack, uint64_t address)
{
	const struct memory_range *above = memory_find(memory, address);
	uint64_t pointer = stack_pointer(stack), outer;

	if (pointer == 0 || may_be_written(above))
		return false;
	while (above && !may_be_written(above))
		above = memory_find(memory, above->end);
	if (!above)
		above = memory_find_above(memory, address);
	if (!may_be_written(above) || above->start - address > GUARD_MAX)
		return false;
	outer = stack->native[stack->num_native - 1].frame.sp;
	if (outer != 0 && outer < above->start)
		return false;
	return pointer >= above->start ?
		       pointer - above->start <= NEAR_POINTER :
		       above->start - pointer <= FRAME_MAX &&
			       address + NEAR_POINTER >= pointer;
}

static void find_fault(const struct image *image,
		       const struct thread_stacks *stacks,
		       struct thread_ending *ret)
{
	const struct core_notes *notes = &image->notes;
	const struct thread_stack *first =
		stacks->count > 0 ? stacks->items : NULL;
	bool told = notes->has_siginfo && notes->signal_code > 0;

	if (!touches(notes->signal))
		return;
	if (told && notes->signal_code == BY_KERNEL && notes->fault_address == 0) {
		ret->is_no_address = true;
	} else if (told) {
		ret->has_address = true;
		ret->address = notes->fault_address;
	} else if (first && first->in_handler && first->handled.is_fault) {
		ret->has_address = true;
		ret->address = first->handled.address;
	}
	ret->is_overflow = ret->has_address && first &&
			   is_overflow(image->memory, first, ret->address);
}

/* --- who sent it ------------------------------------------------------------------ */

static const struct stack_native *find_function(const struct thread_stack *stack,
						const char *beginning)
{
	for (size_t i = 0; i < stack->num_native && i < INNER_FRAMES; i++)
		if (stack->native[i].function &&
		    strncmp(stack->native[i].function, beginning,
			    strlen(beginning)) == 0)
			return &stack->native[i];
	return NULL;
}

/**
 * By kill(), of another process. Of namespaces the numbers differ: who is in
 * kill() itself has most likely sent it to itself.
 */
static void find_sender(const struct core_notes *notes,
			const struct thread_stacks *stacks,
			struct thread_ending *ret)
{
	bool by_kill = notes->signal_code == SI_USER ||
		       notes->signal_code == SI_QUEUE;
	const struct stack_native *kill = stacks->count > 0 ?
		find_function(stacks->items, "kill") : NULL;

	if (notes->has_siginfo && by_kill && notes->signal_pid != notes->pid &&
	    !kill)
		ret->sender = notes->signal_pid;
}

/* --- what was said ---------------------------------------------------------------- */

/**
 * glibc keeps what it said before it aborted: of a stack that was smashed, of a
 * chunk that is no chunk, of an assertion.
 * Source: glibc include/abort-msg: { unsigned int size; char msg[]; }, size bytes
 * in all.
 */
static void find_message(struct image *image, struct memory_reader *memory,
			 const struct thread_stacks *stacks,
			 struct thread_ending *ret)
{
	const struct stack_native *abort = stacks->count > 0 ?
		find_function(stacks->items, "abort") : NULL;
	struct symbol symbol;
	uint64_t at;

	if (!abort || !abort->module ||
	    !symbols_lookup(abort->module, image->memory, "__abort_msg",
			    &symbol) ||
	    !memory_try_u64(memory, symbol.address, &at) || at == 0)
		return;
	// What is longer is cut where it no longer fits.
	for (size_t i = 0; i + 1 < sizeof(ret->message); i++) {
		char *byte = &ret->message[i];

		if (!memory_try_read(memory, at + sizeof(uint32_t) + i, byte, 1) ||
		    *byte == '\0' || *byte == '\n') {
			*byte = '\0';
			break;
		}
	}
}

/**
 * The class of an exception that was thrown, by its header.
 * Source: the Itanium C++ ABI for exception handling and libstdc++'s
 * unwind-cxx.h: exceptionType is the first of the 80 bytes before unwindHeader,
 * which begins with the class "GNUCC++\0" and has 32 bytes itself.
 */
static bool read_exception(struct memory_reader *memory, uint64_t header,
			   struct thread_ending *ret)
{
	static const uint64_t class = UINT64_C(0x474e5543432b2b00);
	char name[ENDING_MESSAGE_MAX], text[DEMANGLE_MAX];
	uint64_t word, type;

	if (header % 8 || !memory_try_u64(memory, header, &word) ||
	    word != class || !memory_try_u64(memory, header - 80, &type) ||
	    !memory_try_u64(memory, type + 8, &word) ||
	    !memory_try_string(memory, word, name, sizeof(name)))
		return false;
	(void)snprintf(ret->exception, sizeof(ret->exception), "%s",
		       demangle_type(name + (name[0] == '*'), text));
	return true;
}

/** Who ends the process has the exception among its variables. */
static void find_exception(struct memory_reader *memory,
			   const struct thread_stacks *stacks,
			   struct thread_ending *ret)
{
	enum { HEADER = 32 };
	const struct stack_native *end = stacks->count > 0 ?
		find_function(stacks->items, "_ZSt9terminatev") : NULL;
	uint64_t at = end ? end->frame.sp : 0, word;

	if (at == 0)
		return;
	for (int i = 0; i < EXCEPTION_WORDS &&
			memory_try_u64(memory, at + 8 * (uint64_t)i, &word); i++)
		if (read_exception(memory, word, ret) ||
		    read_exception(memory, word - HEADER, ret))
			return;
}

/* --- all of it ---------------------------------------------------------------------- */

void thread_ending_find(struct image *image, const struct thread_stacks *stacks,
			struct thread_ending *ret)
{
	CLEANUP(memory_reader_deinit) struct memory_reader memory = { 0 };
	struct error *err;

	*ret = (struct thread_ending){
		.signal = image_ended_by(image, image->notes.signal),
	};
	if (ret->signal == 0)
		return;
	find_fault(image, stacks, ret);
	find_sender(&image->notes, stacks, ret);
	if (ret->signal != SIGABRT)
		return;
	err = memory_reader_init(&memory, image->memory);
	if (!err) {
		find_message(image, &memory, stacks, ret);
		find_exception(&memory, stacks, ret);
	}
	error_free(err);
}

const char *thread_ending_fault(const struct image *image,
				const struct thread_ending *ending)
{
	const struct memory_range *range;

	if (ending->is_no_address)
		return "at what can be no address";
	if (!ending->has_address)
		return NULL;
	if (ending->is_overflow)
		return "below the thread's stack, which has overflowed";
	range = memory_find(image->memory, ending->address);
	if (!range)
		return "not mapped";
	if (!(range->protection & (PF_R | PF_W | PF_X)))
		return "mapped without access";
	if (range->state == MEMORY_NOT_CAPTURED)
		return "mapped, not in the dump";
	return may_be_written(range) ? "mapped" : "mapped read-only";
}

const char *thread_ending_text(const struct image *image,
			       const struct thread_ending *ending,
			       char text[ENDING_TEXT_MAX])
{
	const char *fault = thread_ending_fault(image, ending);
	char signal[32], where[160] = "", sender[48] = "";

	if (!thread_words_signal(ending->signal, signal))
		return NULL;
	if (ending->has_address)
		(void)snprintf(where, sizeof(where), " at 0x%" PRIx64 ", %s",
			       ending->address, fault);
	else if (fault)
		(void)snprintf(where, sizeof(where), " %s", fault);
	if (ending->sender)
		(void)snprintf(sender, sizeof(sender), ", sent by process %"
			       PRIu32, ending->sender);
	(void)snprintf(text, ENDING_TEXT_MAX, "%s%s%s%s%s%s%s", signal, where,
		       sender, ending->exception[0] ? ", nobody caught " : "",
		       ending->exception, ending->message[0] ? ": " : "",
		       ending->message);
	return text;
}
