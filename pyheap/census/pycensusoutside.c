/*
 * Step 2 of the census: what lies outside of arenas; see pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pycensuswords.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/workers.h"

enum {
	TASK_BYTES = 1 << 20,		/* memory scanned at one go */
	DRAIN_MAX = 1 << 20,		/* objects a worker follows by itself */
	STACK_SCAN_MAX = 8 << 20,	/* bytes of a thread's native stack */
	INTERPRETER_SCAN_MAX = 1 << 20,	/* bytes of a PyInterpreterState */
	DATASTACK_CHUNKS_MAX = 1 << 16,
	TASKS_PER_SHARD = 64,		/* makes the handing out cheap */
};

/**
 * A class that is being made, as while mro() of its metaclass runs: it is in a
 * GC list before it is ready, and nothing of it needs to be true until then.
 */
static bool is_being_made(const struct pyh_runtime *runtime,
			  const struct pyh_candidate *object)
{
	uint32_t at = pyh_offset(runtime, PYH_TYPE_TP_FLAGS);
	uint64_t flags;

	if (object->available < at + 8)
		return false;
	flags = pyh_word(object->body, at);
	return (flags & PYH_TPFLAGS_READYING) && !(flags & PYH_TPFLAGS_READY);
}

/** Else a type object in a GC list is ready, and so a type. */
static void check_type(struct census_worker *worker,
		       const struct pyh_candidate *object)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	uint32_t at = pyh_offset(runtime, PYH_TYPE_TP_FLAGS);

	if (pyh_type_find(&worker->types, object->address) ||
	    is_being_made(runtime, object) ||
	    (object->link != PYH_LINK_HOLDS &&
	     (!object->on_module || object->available < at + 8 ||
	      !(pyh_word(object->body, at) & PYH_TPFLAGS_READY))))
		return;
	pyh_types_report(worker->census->types, object->address, "a type is "
			 "damaged: its flags, sizes or method resolution order "
			 "cannot be true; its instances are not counted");
}

/** Count one object outside, and look where it leads. */
static void census_outside(struct census_worker *worker, uint64_t address)
{
	struct pyh_census *census = worker->census;
	struct pyh_candidate object;
	uint64_t at, end;

	if (!pyh_object_outside(&census->rules, &worker->types,
				&worker->outside, &worker->memory, address,
				&object))
		return;
	census_count(worker, &object,
		     census_held_outside(worker, &object) +
			     census_take_claims(worker, &object));
	worker->coverage.objects_outside++;
	if (!census->runtime->free_threaded)
		census_follow_link(worker, &object);
	if (object.type->kind == PYH_KIND_TYPE)
		check_type(worker, &object);
	if (!object.measure.exact && object.type->size_exact &&
	    object.link == PYH_LINK_HOLDS)
		census_check_partly(worker, &object);
	if (pyh_object_is_leaf(object.type))
		return;
	at = address - object.presize;
	end = address + object.measure.extent;
	while (at < end) {
		size_t step = end - at < TASK_BYTES ? (size_t)(end - at) :
						      TASK_BYTES;
		const uint8_t *bytes = memory_view(&worker->words, at, step);

		if (bytes)
			census_scan(worker, bytes, step);
		at += step;
	}
}

static void do_task(struct census_worker *worker, const struct task *task)
{
	const uint8_t *bytes;

	if (task->size == 0) {
		census_outside(worker, task->address);
		return;
	}
	bytes = memory_view(&worker->words, task->address,
			    (size_t)task->size);
	if (bytes) {
		census_scan(worker, bytes, (size_t)task->size);
		return;
	}
	// Not all of it was captured: page by page then.
	for (uint64_t at = 0; at < task->size; at += 4096) {
		uint64_t left = task->size - at;

		left = left < 4096 ? left : 4096;
		bytes = memory_view(&worker->words, task->address + at,
				    (size_t)left);
		if (bytes)
			census_scan(worker, bytes, (size_t)left);
	}
}

static struct error *census_tasks(void *context, unsigned int worker_index,
				  size_t shard)
{
	struct pyh_census *census = context;
	struct census_worker *worker = &census->workers[worker_index];
	size_t first = shard * TASKS_PER_SHARD, base = worker->found.count;
	size_t followed = 0;

	for (size_t i = first; i < census->tasks.count &&
			       i < first + TASKS_PER_SHARD; i++)
		do_task(worker, &census->tasks.tasks[i]);
	// A list leads from one object to the next: follow it here and now,
	// rounds are for spreading the load.
	while (worker->found.count > base && followed++ < DRAIN_MAX) {
		struct task task = worker->found.tasks[worker->found.count - 1];

		if (task.size > TASK_BYTES)
			break;
		worker->found.count--;
		do_task(worker, &task);
	}
	return NULL;
}

void census_push(struct census_worker *worker, uint64_t start, uint64_t end)
{
	for (uint64_t at = (start + 7) & ~UINT64_C(7); at < end;
	     at += TASK_BYTES) {
		uint64_t left = end - at;

		census_push_task(worker, (struct task){
			at, left < TASK_BYTES ? left : TASK_BYTES });
	}
}

/** Locals of Python frames on the data stack (3.11 and later). */
static void push_datastack(struct census_worker *worker, uint64_t tstate)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	uint64_t chunk, size;

	if (!pyh_field(runtime, &worker->memory, tstate,
		       PYH_TSTATE_DATASTACK_CHUNK, &chunk))
		return;
	for (int i = 0; chunk && i < DATASTACK_CHUNKS_MAX; i++) {
		if (!memory_try_u64(&worker->memory, chunk + 8, &size) ||
		    size > (UINT64_C(1) << 32))
			return;
		census_push(worker, chunk, chunk + size);
		if (!memory_try_u64(&worker->memory, chunk, &chunk))
			return;
	}
}

static void push_interpreter(struct census_worker *worker,
			     const struct pyh_interpreter *interpreter)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	uint64_t size = runtime->size_of[PYH_STRUCT_INTERP];
	uint64_t tstate = interpreter->first_thread;

	if (size == 0 || size > INTERPRETER_SCAN_MAX)
		size = INTERPRETER_SCAN_MAX;
	census_push(worker, interpreter->address, interpreter->address + size);
	for (int i = 0; i < PYH_GC_LISTS; i++) {
		uint64_t next;

		census_check_list(worker, interpreter->gc_heads[i]);
		if (interpreter->gc_heads[i] &&
		    memory_try_u64(&worker->memory, interpreter->gc_heads[i],
				   &next))
			census_consider(worker, (next & ~UINT64_C(3)) +
							PYH_GC_HEAD);
	}
	for (size_t i = 0; tstate && i < interpreter->num_threads; i++) {
		census_push(worker, tstate, tstate + runtime->size_of[
			    pyh_has(runtime, PYH_MISEGMENT_SLICES) ?
				    PYH_STRUCT_TSTATEIMPL :
				    PYH_STRUCT_TSTATE]);
		push_datastack(worker, tstate);
		if (!pyh_field(runtime, &worker->memory, tstate,
			       PYH_TSTATE_NEXT, &tstate))
			break;
	}
}

/**
 * The used part of a native stack: from the stack pointer to the end of the
 * mapping, which a dump may have cut into ranges.
 */
static void push_stack(struct census_worker *worker, uint64_t sp)
{
	const struct memory *memory = worker->census->runtime->image->memory;
	uint64_t limit = sp + STACK_SCAN_MAX;

	while (sp != 0 && sp < limit) {
		const struct memory_range *range = memory_find(memory, sp);

		if (!range || !(range->protection & PF_W))
			break;
		if (range->state == MEMORY_CAPTURED)
			census_push(worker, sp, range->end < limit ?
							range->end : limit);
		sp = range->end;
	}
}

/**
 * Where objects are held from outside of the heap: interpreters, threads,
 * writable data of modules, the used part of native stacks.
 */
static void push_roots(struct census_worker *worker)
{
	const struct image *image = worker->census->runtime->image;
	const struct pyh_runtime *runtime = worker->census->runtime;

	for (size_t i = 0; i < runtime->num_interpreters; i++)
		push_interpreter(worker, &runtime->interpreters[i]);
	for (size_t i = 0; i < memory_num_ranges(image->memory); i++) {
		const struct memory_range *range =
			memory_range(image->memory, i);

		if (range->state == MEMORY_CAPTURED &&
		    range->protection & PF_W &&
		    pyh_on_module(image, range->start))
			census_push(worker, range->start, range->end);
	}
	for (size_t i = 0; i < image->notes.num_threads; i++)
		push_stack(worker, pyh_stack_pointer(image, i));
}

/** Gather what all workers found into the next round. */
static struct error *next_round(struct pyh_census *census)
{
	struct tasks *all = &census->tasks;
	size_t count = 0;

	for (uint32_t n = pyh_types_count(census->types);
	     census->types_seen < n; census->types_seen++) {
		uint64_t address = pyh_types_get(census->types,
						 census->types_seen)->address;

		census_consider(&census->workers[0], address);
	}
	for (unsigned int i = 0; i < census->num_workers; i++)
		count += census->workers[i].found.count;
	if (count > all->room) {
		struct task *grown = realloc(all->tasks,
					     count * sizeof(*grown));

		if (!grown)
			return error_no_memory();
		all->tasks = grown;
		all->room = count;
	}
	all->count = 0;
	for (unsigned int i = 0; i < census->num_workers; i++) {
		struct tasks *found = &census->workers[i].found;

		if (found->count > 0)
			memcpy(all->tasks + all->count, found->tasks,
			       found->count * sizeof(*found->tasks));
		all->count += found->count;
		found->count = 0;
	}
	return NULL;
}

/** A claim of many mebibytes is work for more than one worker. */
static struct error *split_large_tasks(struct pyh_census *census)
{
	struct tasks *all = &census->tasks;
	struct census_worker *worker = &census->workers[0];

	for (size_t i = 0; i < all->count; i++) {
		struct task task = all->tasks[i];

		if (task.size <= TASK_BYTES)
			continue;
		all->tasks[i].size = TASK_BYTES;
		census_push(worker, task.address + TASK_BYTES,
			    task.address + task.size);
	}
	return worker->no_memory ? error_no_memory() : NULL;
}

struct error *census_follow_outside(struct pyh_census *census)
{
	push_roots(&census->workers[0]);
	for (;;) {
		struct error *err = next_round(census);

		if (!err && census->tasks.count == 0)
			return NULL;
		if (!err)
			err = split_large_tasks(census);
		if (!err)
			err = workers_run(census->num_workers,
					  (census->tasks.count +
					   TASKS_PER_SHARD - 1) /
						  TASKS_PER_SHARD,
					  census_tasks, census);
		if (err)
			return err;
	}
}

/* --- what is held -------------------------------------------------------- */

void pyh_census_hold(struct pyh_census *census, uint64_t address)
{
	// Only captured memory can hold an object; most of it is known already.
	if (address % 8 == 0 &&
	    pyh_space_page(&census->space, address) != PYH_PAGE_ABSENT &&
	    !pyh_space_marked(&census->space, address, PYH_MARK_HELD))
		(void)pyh_space_mark(&census->space, address, PYH_MARK_HELD);
}

/** What the runtime itself has pointers to is held, without an object. */
static void hold_words(struct census_worker *worker, uint64_t start,
		       uint64_t end)
{
	for (uint64_t at = start; at < end; at += 4096) {
		size_t size = end - at < 4096 ? (size_t)(end - at) : 4096;
		const uint8_t *bytes = memory_view(&worker->words, at, size);

		for (size_t i = 0; bytes && i + 8 <= size; i += 8) {
			uint64_t word;

			memcpy(&word, bytes + i, sizeof(word));
			if (word != 0)
				pyh_census_hold(worker->census, word);
		}
	}
}

void census_hold_roots(struct census_worker *worker)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	const struct memory *memory = runtime->image->memory;

	for (size_t i = 0; i < runtime->num_interpreters; i++)
		hold_words(worker, runtime->interpreters[i].address,
			   runtime->interpreters[i].address +
				   runtime->size_of[PYH_STRUCT_INTERP]);
	for (size_t i = 0; i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);

		if (range->state == MEMORY_CAPTURED &&
		    range->protection & PF_W && runtime->module &&
		    modules_find(runtime->image->modules, range->start) ==
			    runtime->module)
			hold_words(worker, range->start, range->end);
	}
}
