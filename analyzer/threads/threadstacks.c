/*
 * Stacks of threads; see threadstacks.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/threads/threadstacks.h"

#include <stdlib.h>
#include <string.h>

#include "image/base/hashmap.h"
#include "image/registers.h"
#include "image/symbols.h"

/**
 * An array with room for one more, as it grows by doubling; NULL without memory,
 * and then items are as they were.
 */
static void *grown(void *items, size_t count, size_t size)
{
	if (count & (count - 1))
		return items;
	return realloc(items, (count ? 2 * count : 1) * size);
}

struct gathering {
	struct image *image;
	const struct pyh_runtime *runtime;
	struct memory_reader memory;
	struct thread_stacks *stacks;
	struct unwinder *unwinder;
	struct thread_stack *stack;	/* the one under way */
	struct hashmap by_local, by_tid;	/* to the index of a stack */
	size_t num_native, num_python;	/* of all threads */
	bool no_memory, too_many;
};

/* --- native frames --------------------------------------------------------- */

/** The names of the function that runs Python code: also as clang splits it. */
static bool is_eval_name(const char *name)
{
	static const char loop[] = "_PyEval_EvalFrameDefault";

	return name && strncmp(name, loop, sizeof(loop) - 1) == 0 &&
	       (name[sizeof(loop) - 1] == '\0' ||
		name[sizeof(loop) - 1] == '.');
}

static void name_native(struct gathering *gathering, struct stack_native *native)
{
	uint64_t pc = native->frame.pc;
	struct symbol symbol;

	// Behind a call that does not return there may be another function.
	pc -= !native->frame.exact;
	native->module = modules_find(gathering->image->modules, pc);
	if (!native->module) {
		native->offset = native->frame.pc;
		return;
	}
	native->is_runtime = gathering->runtime &&
			     native->module == gathering->runtime->module;
	if (symbols_at(native->module, gathering->image->memory, pc,
		       &symbol)) {
		native->function = symbol.name;
		native->offset = native->frame.pc - symbol.address;
	} else {
		native->offset = native->frame.pc - native->module->bias;
	}
	native->is_eval = native->is_runtime && is_eval_name(native->function);
}

/** True if a thread that has some frames may have another one. */
static bool has_room(size_t of_all, size_t of_thread)
{
	return of_all < THREAD_FRAMES_MAX || of_thread < THREAD_FRAMES_LEAST;
}

static bool add_native(void *context, const struct native_frame *frame)
{
	struct gathering *gathering = context;
	struct thread_stack *stack = gathering->stack;
	struct stack_native *native;

	gathering->too_many = !has_room(gathering->num_native++,
					stack->num_native);
	if (gathering->too_many)
		return false;
	native = grown(stack->native, stack->num_native, sizeof(*native));

	gathering->no_memory = !native;
	if (!native)
		return false;
	stack->native = native;
	native += stack->num_native++;
	*native = (struct stack_native){ .frame = *frame };
	name_native(gathering, native);
	return true;
}

/* --- Python's frames ------------------------------------------------------- */

static bool add_python(void *context, const struct pyh_frame *frame)
{
	struct gathering *gathering = context;
	struct thread_stack *stack = gathering->stack;
	struct pyh_frame *python;

	gathering->too_many = !has_room(gathering->num_python++,
					stack->num_python);
	if (gathering->too_many)
		return false;
	python = grown(stack->python, stack->num_python, sizeof(*python));

	gathering->no_memory = !python;
	if (!python)
		return false;
	stack->python = python;
	python[stack->num_python++] = *frame;
	return true;
}

/** Leave of a circle what is in it once. */
static void cut_circle(struct gathering *gathering, struct thread_stack *stack)
{
	struct hashmap seen = { 0 };
	struct error *err = NULL;
	uint32_t before;
	size_t i = 0;

	while (!err && i < stack->num_python &&
	       !hashmap_get(&seen, stack->python[i].address, &before)) {
		err = hashmap_put(&seen, stack->python[i].address, 0);
		i++;
	}
	gathering->no_memory |= err != NULL;
	error_free(err);
	hashmap_deinit(&seen);
	stack->num_python = i;
}

/** What a thread of the core is found by. */
static struct error *remember(struct gathering *gathering, uint32_t index)
{
	const struct core_thread *core = gathering->stacks->items[index].core;
	struct error *err = core->tid == 0 ? NULL :
		hashmap_put(&gathering->by_tid, core->tid, index);
	uint64_t local;

	if (!err && core_register(core, gathering->image->machine, CORE_TLS,
				  &local) && local != 0)
		err = hashmap_put(&gathering->by_local, local, index);
	return err;
}

/**
 * Of which thread of the core a thread state is: by the thread's local memory,
 * where registers tell, as numbers differ between PID namespaces.
 */
static struct thread_stack *stack_of(const struct gathering *gathering,
				     const struct pyh_thread *thread)
{
	uint32_t index;

	if ((thread->ident != 0 &&
	     hashmap_get(&gathering->by_local, thread->ident, &index)) ||
	    (thread->native != 0 &&
	     hashmap_get(&gathering->by_tid, thread->native, &index)))
		return &gathering->stacks->items[index];
	return NULL;
}

static struct thread_stack *new_stack(struct thread_stacks *stacks)
{
	struct thread_stack *items = grown(stacks->items, stacks->count,
					   sizeof(*items));

	if (!items)
		return NULL;
	stacks->items = items;
	return &items[stacks->count++];
}

/** An address on the native stack that says where frames of Python are. */
static uint64_t place_of(const struct pyh_frame *frames, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (frames[i].entry && frames[i].loop != 0)
			return frames[i].loop;
	return 0;
}

/**
 * True if frames from `from` on, of one more interpreter, were called by those
 * before them, by what both have on the native stack; where that does not tell, a
 * younger interpreter was called by an older one.
 */
static bool is_inner(const struct gathering *gathering, size_t from,
		     size_t interpreter)
{
	const struct pyh_interpreter *all = gathering->runtime->interpreters;
	const struct thread_stack *stack = gathering->stack;
	uint64_t other = place_of(stack->python, from);
	uint64_t own = place_of(stack->python + from, stack->num_python - from);

	if (own != 0 && other != 0)
		return own < other;
	return all[interpreter].id > all[stack->interpreter].id;
}

/** What a thread is by its state in one interpreter. */
static void take_state(struct gathering *gathering,
		       const struct pyh_thread *thread)
{
	const struct pyh_runtime *runtime = gathering->runtime;
	struct thread_stack *stack = gathering->stack;
	uint64_t holder;

	stack->python_state = thread->address;
	stack->interpreter = thread->interpreter;
	stack->ident = thread->ident;
	stack->has_gil = pyh_gil_holder(runtime, &gathering->memory,
					thread->interpreter, &holder) &&
			 holder == thread->address;
	stack->in_gc = stack->has_gil &&
		       runtime->interpreters[thread->interpreter].collecting;
	pyh_thread_exceptions(runtime, &gathering->memory, thread,
			      &stack->exceptions);
}

static void reverse(struct pyh_frame *frames, size_t count)
{
	for (size_t i = 0; i < count / 2; i++) {
		struct pyh_frame other = frames[i];

		frames[i] = frames[count - 1 - i];
		frames[count - 1 - i] = other;
	}
}

/**
 * A thread may have a state in each of several interpreters, one of which has
 * called the next: it is in the innermost, and its frames are those of all.
 *
 * @param from  where the frames of this state begin; before them are others'
 */
static void settle_state(struct gathering *gathering,
			 const struct pyh_thread *thread, size_t from)
{
	struct thread_stack *stack = gathering->stack;
	size_t added = stack->num_python - from;

	if (from == 0) {
		take_state(gathering, thread);
		return;
	}
	if (added == 0)
		return;
	stack->python[from - 1].entry = true;
	stack->python[stack->num_python - 1].entry = true;
	if (!is_inner(gathering, from, thread->interpreter))
		return;
	reverse(stack->python, from);
	reverse(stack->python + from, added);
	reverse(stack->python, stack->num_python);
	take_state(gathering, thread);
}

static bool add_thread(void *context, const struct pyh_thread *thread)
{
	struct gathering *gathering = context;
	const struct pyh_runtime *runtime = gathering->runtime;
	struct thread_stack *stack = stack_of(gathering, thread);
	enum pyh_frames_end end;
	size_t from;

	if (!stack) {
		stack = new_stack(gathering->stacks);
		gathering->no_memory = !stack;
		if (!stack)
			return false;
		*stack = (struct thread_stack){ .end = UNWIND_NO_REGISTERS };
	}
	from = stack->num_python;
	gathering->stack = stack;
	gathering->too_many = false;
	end = pyh_frames_each(runtime, &gathering->memory, thread, add_python,
			      gathering);
	if (gathering->too_many)
		end = PYH_FRAMES_TOO_MANY;
	if (end == PYH_FRAMES_CIRCLE)
		cut_circle(gathering, stack);
	if (from == 0 || end != PYH_FRAMES_WHOLE)
		stack->python_end = end;
	if (!gathering->no_memory)
		settle_state(gathering, thread, from);
	return !gathering->no_memory;
}

/* --- one order ------------------------------------------------------------- */

/** Calls of the evaluation loop that Python's frames make up. */
static size_t count_segments(const struct thread_stack *stack)
{
	size_t count = 0;

	for (size_t i = 0; i < stack->num_python; i++)
		count += stack->python[i].entry || i + 1 == stack->num_python;
	return count;
}

static size_t count_loops(const struct thread_stack *stack)
{
	size_t count = 0;

	for (size_t i = 0; i < stack->num_native; i++)
		count += stack->native[i].is_eval;
	return count;
}

/** The native function that has an address among its variables. */
static size_t owner_of(const struct thread_stack *stack, uint64_t address)
{
	for (size_t i = 0; i + 1 < stack->num_native; i++) {
		uint64_t sp = stack->native[i].frame.sp;

		if (sp != 0 && address >= sp &&
		    address < stack->native[i + 1].frame.sp)
			return i;
	}
	return stack->num_native;
}

/**
 * A greenlet runs on the stack of the one that started it, whose Python frames
 * are no longer the thread's: its loops run none of these.
 */
static void forget_other_greenlets(struct thread_stack *stack)
{
	static const char module[] = "_greenlet.";
	bool other = false;

	for (size_t i = 0; i < stack->num_native; i++) {
		const struct module *in = stack->native[i].module;
		const char *slash = in ? strrchr(in->path, '/') : NULL;

		other |= slash && strncmp(slash + 1, module,
					  sizeof(module) - 1) == 0;
		if (other)
			stack->native[i].is_eval = false;
	}
}

/**
 * Where the calls of the evaluation loop say themselves which ones they are,
 * names do not count: compilers tear the loop to pieces that have none.
 */
static struct error *find_loops(struct thread_stack *stack)
{
	bool *loops = calloc(stack->num_native + 1, sizeof(*loops));
	bool all = true;

	if (!loops)
		return error_no_memory();
	for (size_t i = 0; i < stack->num_python && all; i++) {
		size_t owner;

		if (!stack->python[i].entry)
			continue;
		owner = owner_of(stack, stack->python[i].loop);
		all = stack->python[i].loop != 0 && owner < stack->num_native &&
		      !loops[owner];
		loops[owner] = true;
	}
	for (size_t i = 0; i < stack->num_native && all; i++)
		stack->native[i].is_eval = loops[i];
	if (!all)
		forget_other_greenlets(stack);
	free(loops);
	return NULL;
}

/** Put Python's frames from next to the end of its segment; where that is. */
static size_t put_segment(struct thread_stack *stack, size_t next)
{
	bool last = false;

	while (next < stack->num_python && !last) {
		last = stack->python[next].entry;
		stack->merged[stack->num_merged++] = (struct stack_entry){
			.is_python = true, .index = (uint32_t)next++,
		};
	}
	return next;
}

static struct error *merge(struct thread_stack *stack)
{
	size_t loops = count_loops(stack), segments = count_segments(stack);
	size_t total = stack->num_native + stack->num_python, next = 0;
	// From the outermost in: what is too much on one side is the innermost.
	bool whole = stack->end == UNWIND_OUTERMOST;
	size_t skip = whole && loops > segments ? loops - segments : 0;

	stack->merged = malloc((total + 1) * sizeof(*stack->merged));
	if (!stack->merged)
		return error_no_memory();
	for (size_t i = loops; whole && i < segments; i++)
		next = put_segment(stack, next);
	for (size_t i = 0; i < stack->num_native; i++) {
		if (stack->native[i].is_eval && skip > 0)
			skip--;
		else if (stack->native[i].is_eval)
			next = put_segment(stack, next);
		stack->merged[stack->num_merged++] = (struct stack_entry){
			.index = (uint32_t)i,
		};
	}
	while (next < stack->num_python)
		next = put_segment(stack, next);
	return NULL;
}

/** Waiting for the lock shows in what is called. */
static bool waits_for_gil(const struct thread_stack *stack)
{
	static const char *const functions[] = {
		"take_gil", "PyEval_AcquireThread", "PyEval_RestoreThread",
		"PyEval_AcquireLock", "PyGILState_Ensure",
		"_PyThreadState_Attach",
	};
	enum { NEAR = 12 };	/* frames of the lock's own functions */

	if (!stack->python_state || stack->has_gil)
		return false;
	for (size_t i = 0; i < stack->num_native && i < NEAR; i++) {
		const char *name = stack->native[i].function;

		if (stack->native[i].is_eval)
			return false;
		for (size_t j = 0;
		     name && j < sizeof(functions) / sizeof(functions[0]); j++)
			if (strncmp(name, functions[j],
				    strlen(functions[j])) == 0)
				return true;
	}
	return false;
}

/* --- all of it ------------------------------------------------------------- */

/**
 * The kernel notes the signal for all threads alike, and puts the one first that
 * it came to.
 */
static int ended_by(const struct image *image, size_t i)
{
	const struct core_notes *notes = &image->notes;
	int number = notes->threads[i].signal;

	return i > 0 && number == notes->threads[0].signal ?
		0 : image_ended_by(image, number);
}

static struct error *gather_native(struct gathering *gathering)
{
	struct thread_stacks *stacks = gathering->stacks;
	const struct core_notes *notes = &gathering->image->notes;

	for (size_t i = 0; i < notes->num_threads; i++) {
		struct thread_stack *stack = new_stack(stacks);
		struct error *err;

		if (!stack)
			return error_no_memory();
		*stack = (struct thread_stack){
			.core = &notes->threads[i],
			.ended_by = ended_by(gathering->image, i),
		};
		gathering->stack = stack;
		gathering->too_many = false;
		stack->end = unwinder_walk(gathering->unwinder, i, add_native,
					   gathering, &stack->end_at);
		if (gathering->too_many)
			stack->end = UNWIND_TOO_DEEP;
		stack->in_handler = unwinder_signal(gathering->unwinder,
						    &stack->handled);
		err = gathering->no_memory ? error_no_memory() :
		      remember(gathering, (uint32_t)i);
		if (err)
			return err;
	}
	return NULL;
}

static struct error *gather_all(struct gathering *gathering)
{
	struct thread_stacks *stacks = gathering->stacks;
	struct error *err = gather_native(gathering);

	if (!err && gathering->runtime)
		pyh_threads_each(gathering->runtime, &gathering->memory,
				 add_thread, gathering);
	if (!err && gathering->no_memory)
		err = error_no_memory();
	for (size_t i = 0; !err && i < stacks->count; i++) {
		err = find_loops(&stacks->items[i]);
		if (!err)
			err = merge(&stacks->items[i]);
		stacks->items[i].waits_for_gil =
			waits_for_gil(&stacks->items[i]);
	}
	return err;
}

struct error *thread_stacks_gather(struct image *image,
				   const struct pyh_runtime *runtime,
				   struct thread_stacks *ret)
{
	struct gathering gathering = {
		.image = image, .runtime = runtime, .stacks = ret,
	};
	struct error *err = memory_reader_init(&gathering.memory,
					       image->memory);

	*ret = (struct thread_stacks){ 0 };
	if (err)
		return err;
	err = unwinder_create(image, &gathering.unwinder);
	if (!err)
		err = source_lines_create(image, &ret->lines);
	if (!err)
		err = gather_all(&gathering);
	unwinder_destroy(gathering.unwinder);
	if (err)
		thread_stacks_deinit(ret);
	hashmap_deinit(&gathering.by_local);
	hashmap_deinit(&gathering.by_tid);
	memory_reader_deinit(&gathering.memory);
	return err;
}

void thread_stacks_deinit(struct thread_stacks *stacks)
{
	for (size_t i = 0; i < stacks->count; i++) {
		free(stacks->items[i].native);
		free(stacks->items[i].python);
		free(stacks->items[i].merged);
	}
	free(stacks->items);
	source_lines_destroy(stacks->lines);
	*stacks = (struct thread_stacks){ 0 };
}

size_t thread_stacks_places(const struct thread_stacks *stacks,
			    const struct stack_native *native,
			    const struct source_place **ret)
{
	const struct native_frame *frame = &native->frame;

	return native->module ?
		source_lines_at(stacks->lines, frame->pc - !frame->exact, ret) :
		0;
}

bool thread_stacks_equal(const struct thread_stack *a,
			 const struct thread_stack *b)
{
	if (!a->core != !b->core || !a->python_state != !b->python_state ||
	    a->num_native != b->num_native || a->num_python != b->num_python ||
	    a->has_gil != b->has_gil || a->end != b->end ||
	    a->waits_for_gil != b->waits_for_gil ||
	    a->exceptions.raised || b->exceptions.raised ||
	    a->exceptions.handled || b->exceptions.handled ||
	    (a->core && (a->core->state != b->core->state ||
			 a->ended_by != b->ended_by)))
		return false;
	for (size_t i = 0; i < a->num_native; i++)
		if (a->native[i].frame.pc != b->native[i].frame.pc)
			return false;
	for (size_t i = 0; i < a->num_python; i++)
		if (a->python[i].code != b->python[i].code ||
		    a->python[i].line != b->python[i].line)
			return false;
	return true;
}
